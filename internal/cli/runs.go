package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"

	"oakum.dev/wire/codec"
)

func newRunsCommand(s *Streams) *cobra.Command {
	var limit int
	var follow, local bool
	var node string
	cmd, o := clientCommand(&cobra.Command{
		Use:     "runs [ID [NODE]]",
		Aliases: []string{"run"},
		Short:   "List commands that were run, or show one with its nodes and their output",
		Long: `List the commands that were run on nodes, newest first. With the ID of one, show how it ended on each node; with a NODE
too, show the output of its steps there.

With --local, list what "oakum install", "oakum undo" and commands installed on this machine, out of its own records; the ID of
one of those (run-...) shows what it changed and what the package manager said.`,
		Example: "  oakum runs --local\n  oakum runs --limit 5\n  oakum runs 3f2c1c9e-7a55-4b5e-9b0e-0d5c5d1f7a11 web1",
		Args:    argRange(0, 2, "ID"),
	})
	f := cmd.Flags()
	f.IntVar(&limit, "limit", 20, "how many commands to list at most")
	f.StringVar(&node, "node", "", "only commands for this `NODE`")
	f.BoolVar(&follow, "watch", false, "wait for the command's end, showing its progress")
	f.BoolVar(&local, "local", false, "the installs of this machine; needs no server")
	noError(cmd.RegisterFlagCompletionFunc("node", completeNodes(o, 0)))
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case limit < 1:
			return usage("--limit is at least 1, not %d", limit)
		case follow && len(args) != 1:
			return usage("--watch needs the ID of a command, and no node")
		case node != "" && len(args) > 0:
			return usage("--node goes with the list of commands")
		case local && (node != "" || follow || len(args) > 0):
			return usage("--local lists what was installed on this machine, and takes no node or command")
		case local || len(args) == 1 && localRunForm(args[0]):
			if err := o.check(); err != nil {
				return err
			}
			if len(args) == 1 {
				return showLocalRun(s, o.output, args[0])
			}
			return listLocalRuns(s, o.output, limit)
		case len(args) > 0 && !commandIDForm(args[0]):
			return usageHint(fmt.Sprintf("%q is not the id of a command", args[0]), `"oakum runs" lists the commands`)
		}
		c, err := o.connect(cmd.Context(), "runs")
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		switch len(args) {
		case 0:
			return c.explain(listRuns(ctx, s, o, c, node, limit))
		case 1:
			return c.explain(showRun(ctx, s, o, c, args[0], follow))
		}
		return c.explain(showOutput(ctx, s, o, c, args[0], args[1]))
	}
	return cmd
}

// commandIDForm reports whether text looks like the id of a command, a UUID.
func commandIDForm(text string) bool {
	return len(text) == 36 && strings.Trim(strings.ToLower(text), "0123456789abcdef-") == "" && strings.Count(text, "-") == 4
}

func listRuns(ctx context.Context, s *Streams, o *clientOptions, c *Client, node string, limit int) error {
	in := &ssm.ListCommandsInput{MaxResults: aws.Int32(int32(min(limit, 50)))}
	if node != "" {
		n, err := c.findNode(ctx, node)
		if err != nil {
			return err
		}
		in.InstanceId = n.InstanceId
	}
	list := []types.Command{}
	pages := ssm.NewListCommandsPaginator(c.SSM, in)
	for pages.HasMorePages() && len(list) < limit {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		list = append(list, page.Commands...)
	}
	list = list[:min(len(list), limit)]
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.ListCommandsOutput{Commands: list})
	case "csv":
		rows := [][]string{{"CommandId", "DocumentName", "RequestedDateTime", "Status", "StatusDetails", "TargetCount", "CompletedCount", "ErrorCount", "DeliveryTimedOutCount", "Comment"}}
		for _, r := range list {
			rows = append(rows, []string{
				aws.ToString(r.CommandId), aws.ToString(r.DocumentName), when(aws.ToTime(r.RequestedDateTime)), string(r.Status), aws.ToString(r.StatusDetails),
				fmt.Sprint(r.TargetCount), fmt.Sprint(r.CompletedCount), fmt.Sprint(r.ErrorCount), fmt.Sprint(r.DeliveryTimedOutCount), aws.ToString(r.Comment),
			})
		}
		return writeCSV(s.Out, rows)
	}
	if len(list) == 0 {
		o.say(s, `no commands were run; "oakum patch-now" runs one`)
		return nil
	}
	now := time.Now()
	rows := [][]string{{"COMMAND", "DOCUMENT", "OPERATION", "REQUESTED", "STATUS", "NODES", "DONE", "ERRORS", "COMMENT"}}
	for _, r := range list {
		rows = append(rows, []string{
			aws.ToString(r.CommandId), aws.ToString(r.DocumentName), strings.Join(r.Parameters["Operation"], ","), ago(aws.ToTime(r.RequestedDateTime), now),
			orDefault(aws.ToString(r.StatusDetails), string(r.Status)), fmt.Sprint(r.TargetCount), fmt.Sprint(r.CompletedCount), fmt.Sprint(r.ErrorCount), aws.ToString(r.Comment),
		})
	}
	o.table(s, rows, "COMMENT", "ERRORS", "OPERATION")
	return nil
}

func showRun(ctx context.Context, s *Streams, o *clientOptions, c *Client, id string, follow bool) error {
	w := &watch{c: c, s: s, o: o, id: id, what: "Command"}
	if follow {
		if err := w.run(ctx); err != nil {
			return noSuchCommand(err, id, c.Region)
		}
		return w.finish(ctx)
	}
	if err := w.poll(ctx); err != nil {
		return noSuchCommand(err, id, c.Region)
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, struct {
			Command            *types.Command
			CommandInvocations []types.CommandInvocation
		}{w.command, w.invocations})
	case "csv":
		rows := [][]string{{"CommandId", "InstanceId", "InstanceName", "RequestedDateTime", "Status", "StatusDetails"}}
		for _, v := range w.invocations {
			rows = append(rows, []string{id, aws.ToString(v.InstanceId), aws.ToString(v.InstanceName), when(aws.ToTime(v.RequestedDateTime)), string(v.Status), aws.ToString(v.StatusDetails)})
		}
		return writeCSV(s.Out, rows)
	}
	r := w.command
	var b bytes.Buffer
	fields(&b, o.paint(s.Out),
		"Command", id, "Document", aws.ToString(r.DocumentName), "Operation", strings.Join(r.Parameters["Operation"], ","), "Comment", aws.ToString(r.Comment),
		"Requested", stamp(aws.ToTime(r.RequestedDateTime)), "Expires", stamp(aws.ToTime(r.ExpiresAfter)),
		"Status", orDefault(aws.ToString(r.StatusDetails), string(r.Status)),
		"Nodes", fmt.Sprintf("%d: %d done, %d with errors, %d not reached in time", r.TargetCount, r.CompletedCount, r.ErrorCount, r.DeliveryTimedOutCount),
		"Rate control", fmt.Sprintf("%s at a time, stop after %s errors", aws.ToString(r.MaxConcurrency), aws.ToString(r.MaxErrors)))
	rows := [][]string{{"NODE", "NAME", "STATUS", "REASON"}}
	for i := range w.invocations {
		v := &w.invocations[i]
		reason := ""
		if invocationEnded(v.Status) && v.Status != types.CommandInvocationStatusSuccess && i < 200 {
			if _, text := w.reason(ctx, v); text != nil {
				reason = *text
			}
		}
		rows = append(rows, []string{aws.ToString(v.InstanceId), aws.ToString(v.InstanceName), orDefault(aws.ToString(v.StatusDetails), string(v.Status)), reason})
	}
	if len(rows) > 1 {
		fmt.Fprintln(&b)
		writeColumns(&b, rows, terminalWidth(s.Out), o.paint(s.Out))
	}
	if !ended(r.Status) {
		o.say(s, `"oakum runs %s --watch" waits for its end`, id)
	}
	_, err := s.Out.Write(b.Bytes())
	return err
}

func noSuchCommand(err error, id, region string) error {
	if isCode(err, "InvalidCommandId") {
		return failed(hinted("there is no command "+id+" in region "+region, `"oakum runs" lists the commands`))
	}
	return err
}

// showOutput shows what the steps of a command wrote on a node.
func showOutput(ctx context.Context, s *Streams, o *clientOptions, c *Client, id, ref string) error {
	n, err := c.findNode(ctx, ref)
	if err != nil {
		return err
	}
	node := codec.Value(n.InstanceId)
	list, err := c.SSM.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{CommandId: &id, InstanceId: &node, Details: true})
	if err != nil {
		return noSuchCommand(err, id, c.Region)
	}
	if len(list.CommandInvocations) == 0 {
		return failed(hinted(fmt.Sprintf("command %s was not for node %s", id, node), fmt.Sprintf(`"oakum runs %s" shows the nodes of the command`, id)))
	}
	var steps []*ssm.GetCommandInvocationOutput
	for _, p := range list.CommandInvocations[0].CommandPlugins {
		out, err := c.SSM.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: &id, InstanceId: &node, PluginName: p.Name})
		if err != nil {
			return err
		}
		steps = append(steps, out)
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, struct {
			CommandInvocation types.CommandInvocation
			Steps             []*ssm.GetCommandInvocationOutput
		}{list.CommandInvocations[0], steps})
	case "csv":
		rows := [][]string{{"PluginName", "Status", "StatusDetails", "ResponseCode", "StandardOutputContent", "StandardErrorContent"}}
		for _, st := range steps {
			rows = append(rows, []string{
				aws.ToString(st.PluginName), string(st.Status), aws.ToString(st.StatusDetails), fmt.Sprint(st.ResponseCode),
				aws.ToString(st.StandardOutputContent), aws.ToString(st.StandardErrorContent),
			})
		}
		return writeCSV(s.Out, rows)
	}
	var b bytes.Buffer
	for _, st := range steps {
		text, errText := aws.ToString(st.StandardOutputContent), aws.ToString(st.StandardErrorContent)
		if len(steps) > 1 && text == "" && (errText == "" || strings.HasPrefix(errText, "Step execution skipped")) && st.ResponseCode <= 0 {
			continue // a step for another platform
		}
		if why, skipped := strings.CutPrefix(text, "Step skipped: "); skipped && errText == "" && st.ResponseCode == 0 {
			if !strings.Contains(why, "[platformType ") && !strings.HasPrefix(why, "unsupported plugin") {
				fmt.Fprintf(&b, "%s: Skipped: %s\n", aws.ToString(st.PluginName), printable(why))
			}
			continue
		}
		fmt.Fprintf(&b, "%s: %s, exit code %d\n", aws.ToString(st.PluginName), aws.ToString(st.StatusDetails), st.ResponseCode)
		writeOutput(&b, "stdout", text)
		writeOutput(&b, "stderr", errText)
	}
	_, err = s.Out.Write(b.Bytes())
	return err
}

func writeOutput(b *bytes.Buffer, name, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "--- %s\n", name)
	for line := range strings.Lines(text) {
		fmt.Fprintln(b, printable(strings.TrimRight(line, "\r\n")))
	}
}
