package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/awserr"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

func newFreezeCommand(s *Streams) *cobra.Command {
	root, o := clientCommand(&cobra.Command{
		Use:   "freeze",
		Short: "Refuse installs on all nodes for a time, and show whether they are refused",
		Long: `Show whether installs are frozen, freeze them, or lift the freeze.

A freeze holds for one account and region. Until it ends, which it does by itself, the server takes no command that
installs patches, and nodes do not begin one that they got before. An install that is under way, or that a crash or a
reboot interrupted, is finished: a node is not left half way. Scans go on.
"oakum install", on a machine itself, asks no server and is not affected.`,
		Example: "  oakum freeze\n  oakum freeze set --until 2026-12-27 --reason \"year's end: nobody is there\"\n  oakum freeze lift",
		Args:    argRange(0, 0, ""),
	})
	run := func(what string, do func(ctx context.Context, c *Client) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect(cmd.Context(), what)
			if err != nil {
				return err
			}
			return c.explain(do(cmd.Context(), c))
		}
	}
	show := func(ctx context.Context, c *Client) error {
		var f oakum.GetInstallFreezeOutput
		if err := c.Oakum(ctx, "GetInstallFreeze", &oakum.GetInstallFreezeInput{}, &f); err != nil {
			return err
		}
		return writeFreeze(s, o, c, (*oakum.InstallFreeze)(&f), time.Now())
	}
	root.RunE = run("freeze", show)
	showCommand := &cobra.Command{
		Use: "show", Short: "Show whether installs are frozen, until when, why and by whom", Args: argRange(0, 0, ""), RunE: run("freeze show", show),
	}
	quietly(showCommand)
	lift := &cobra.Command{Use: "lift", Short: "Allow installs again", Args: argRange(0, 0, "")}
	quietly(lift)
	lift.RunE = run("freeze lift", func(ctx context.Context, c *Client) error { return liftFreeze(ctx, s, o, c) })
	root.AddCommand(showCommand, newFreezeSet(s, o, run), lift)
	return root
}

func newFreezeSet(s *Streams, o *clientOptions, run func(string, func(context.Context, *Client) error) func(*cobra.Command, []string) error) *cobra.Command {
	var until, reason string
	cmd := &cobra.Command{
		Use:   "set --until DATE --reason TEXT",
		Short: "Freeze installs until a date",
		Long: `Freeze installs until a date. Where they are frozen already, reason and end are changed.

--until is a date, which stands for its first minute, or a date with a time, in this machine's zone unless it names one.`,
		Example: "  oakum freeze set --until 2026-12-27 --reason \"year's end\"\n  oakum freeze set --until 2026-12-27T06:00:00Z --reason \"migration of the mail servers\"",
		Args:    argRange(0, 0, ""),
	}
	f := cmd.Flags()
	f.StringVar(&until, "until", "", "when it ends: `DATE`, such as 2026-12-27, \"2026-12-27 06:00\" or 2026-12-27T06:00:00Z")
	f.StringVar(&reason, "reason", "", "why, for those who want to install meanwhile: one line")
	quietly(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case until == "":
			return usageHint("no end is given", "give --until, such as --until "+time.Now().AddDate(0, 0, 14).Format(time.DateOnly))
		case strings.TrimSpace(reason) == "":
			return usageHint("no reason is given", "give --reason: who is kept from installing wants to know why")
		case len([]rune(reason)) > 512:
			return usage("--reason has at most 512 characters")
		}
		end, err := parseUntil(until, time.Local)
		if err != nil {
			return err
		}
		if !end.After(time.Now()) {
			return usage("--until %s is not in the future", stamp(end))
		}
		return run("freeze set", func(ctx context.Context, c *Client) error {
			var f oakum.PutInstallFreezeOutput
			if err := c.Oakum(ctx, "PutInstallFreeze", &oakum.PutInstallFreezeInput{Reason: &reason, EndDate: codec.NewTime(end)}, &f); err != nil {
				return err
			}
			return writeFreeze(s, o, c, (*oakum.InstallFreeze)(&f), time.Now())
		})(cmd, args)
	}
	return cmd
}

// parseUntil reads an instant as people write it. Without a zone it is one of the given location.
func parseUntil(text string, loc *time.Location) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, strings.TrimSpace(text), loc); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageHint(fmt.Sprintf("--until %q is not a date", text), `write it as 2026-12-27, "2026-12-27 06:00" or 2026-12-27T06:00:00Z`)
}

func liftFreeze(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	var out oakum.DeleteInstallFreezeOutput
	if err := c.Oakum(ctx, "DeleteInstallFreeze", &oakum.DeleteInstallFreezeInput{}, &out); err != nil {
		return err
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, out)
	case "csv":
		return writeCSV(s.Out, [][]string{{"Lifted"}, {strconv.FormatBool(codec.Value(out.Lifted))}})
	}
	text := "the freeze is lifted: installs are allowed in " + c.Region
	if !codec.Value(out.Lifted) {
		text = "installs were not frozen in " + c.Region
	}
	_, err := fmt.Fprintln(s.Out, text)
	return err
}

func writeFreeze(s *Streams, o *clientOptions, c *Client, f *oakum.InstallFreeze, now time.Time) error {
	t := codec.Value[string]
	switch o.output {
	case "json":
		return writeJSON(s.Out, f)
	case "csv":
		return writeCSV(s.Out, [][]string{
			{"Active", "Reason", "StartDate", "EndDate", "By"},
			{strconv.FormatBool(codec.Value(f.Active)), t(f.Reason), when(codec.TimeOf(f.StartDate)), when(codec.TimeOf(f.EndDate)), t(f.By)},
		})
	}
	var b bytes.Buffer
	freezeText(&b, f, c.Region, now)
	_, err := s.Out.Write(b.Bytes())
	return err
}

func freezeText(b *bytes.Buffer, f *oakum.InstallFreeze, region string, now time.Time) {
	if !codec.Value(f.Active) {
		fmt.Fprintf(b, "installs are allowed in %s\n", region)
		return
	}
	end := codec.TimeOf(f.EndDate)
	fmt.Fprintf(b, "installs are frozen in %s; scans go on\n", region)
	fields(b, nil, "  Until", fmt.Sprintf("%s (%s)", stamp(end), ahead(end, now)), "  Reason", codec.Value(f.Reason),
		"  Since", stamp(codec.TimeOf(f.StartDate)), "  By", codec.Value(f.By))
}

// ahead is a coming instant as people say it.
func ahead(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d < 0:
		return "over"
	case d < 2*time.Minute:
		return fmt.Sprintf("in %ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("in %dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("in %dh", int(d.Hours()))
	default:
		return fmt.Sprintf("in %dd", int(d.Hours()/24))
	}
}

// freezeLine says in one line that installs are frozen; it is empty when they are not.
func freezeLine(f *oakum.InstallFreeze, region string) string {
	if f == nil || !codec.Value(f.Active) {
		return ""
	}
	return fmt.Sprintf("installs are frozen in %s until %s: %s", region, stamp(codec.TimeOf(f.EndDate)), printable(codec.Value(f.Reason)))
}

// frozen asks the server whether installs are frozen. A server that does not know the question freezes nothing.
func (c *Client) frozen(ctx context.Context) (*oakum.InstallFreeze, error) {
	var f oakum.GetInstallFreezeOutput
	err := c.Oakum(ctx, "GetInstallFreeze", &oakum.GetInstallFreezeInput{}, &f)
	if isCode(err, "UnknownOperationException") {
		return nil, nil
	}
	return (*oakum.InstallFreeze)(&f), err
}

// nodeFrozen is frozen as a managed node asks it. A server that is busy is asked again.
func nodeFrozen(ctx context.Context, node *agent.Node) (*oakum.InstallFreeze, error) {
	var f oakum.GetInstallFreezeOutput
	for try := 1; ; try++ {
		err := node.Client().Call(ctx, "oakum", "GetInstallFreeze", &oakum.GetInstallFreezeInput{}, &f)
		switch code := awserr.Code(err); {
		case err == nil:
			return (*oakum.InstallFreeze)(&f), nil
		case code == "UnknownOperationException":
			return nil, nil
		case try == 3 || code == "AccessDeniedException":
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(try) * 2 * time.Second):
		}
	}
}

// checkFreeze fails where installs are frozen, just before one begins. A run of the same step that has begun before is
// let through, whatever its phase: it is finished by its journal, and takes up nothing new.
func checkFreeze(ctx context.Context, node *agent.Node, stateDir string, req *patch.InstallRequest) error {
	if begun(stateDir, req) {
		return nil
	}
	f, err := nodeFrozen(ctx, node)
	switch {
	case err != nil:
		return coded("FAILED", patch.CodeFailed, "it cannot be found out whether installs are frozen: %v. Nothing was changed", err)
	case f != nil && codec.Value(f.Active):
		return coded("FROZEN", patch.CodeFailed, "installs are frozen until %s: %s", stamp(codec.TimeOf(f.EndDate)), printable(codec.Value(f.Reason)))
	}
	return nil
}

func begun(stateDir string, req *patch.InstallRequest) bool {
	if req.ExecutionID == "" {
		return false
	}
	runs, err := patch.Runs(stateDir)
	if err != nil {
		return false // the engine looks for the run next, and says what is wrong
	}
	return slices.ContainsFunc(runs, func(r patch.Run) bool {
		return r.Operation == patch.OperationInstall && r.ExecutionID == req.ExecutionID && r.Step == req.Step
	})
}
