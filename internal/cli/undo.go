package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"oakum.dev/internal/agent"
	"oakum.dev/patch"
)

func newUndoCommand(s *Streams) *cobra.Command {
	var dry, yes bool
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take back what an install did on this machine",
		Long: `Take back what a run of "oakum install", or of AWS-RunPatchBaseline with Operation=Install, did on this machine: old versions
are put back, and packages that came along are removed. The reverse plan is shown first. A run can be undone as long as
every package is at the version that the run installed, and the old package files are to be had; otherwise it is said
what stands against it, and nothing changes. "oakum runs --local" lists the runs.`,
		Example: "  oakum undo run-20261122T061500Z-1a2b3c4d --dry-run",
		Args:    argRange(1, 1, "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUndo(cmd.Context(), s, &o, args[0], dry, yes)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "show the reverse plan, and change nothing")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.StringVar(&o.baseline, "baseline", "", "predefined baseline `NAME` or a file: what the machine is judged by afterwards")
	f.StringVar(&o.output, "output", "table", "table, json or csv")
	return cmd
}

func runUndo(ctx context.Context, s *Streams, o *scanOptions, id string, dry, yes bool) error {
	if o.output != "table" && o.output != "json" && o.output != "csv" {
		return usage("--output is table, json or csv, not %q", o.output)
	}
	o.root = "/"
	if err := asRoot(o.root); err != nil {
		return err
	}
	engine, platform, _, err := scanEngine(ctx, s, o)
	if err != nil {
		return failed(err)
	}
	b, _, err := chooseBaseline(o.baseline, platform)
	if err != nil {
		return failed(err)
	}
	show := &installProgress{s: s, live: isTerminal(s.Err)}
	engine.Progress = show.show
	if !dry { // what a crash left of a run has to be known before it can be taken back
		if err := settleRuns(ctx, s, engine); err != nil {
			return failed(scanFailure(err))
		}
	}
	rev, _, err := engine.Undo(ctx, id, true, b)
	show.erase()
	if err != nil {
		return noRunHere(err)
	}
	if len(rev.Why) > 0 {
		return failed(hinted("the run cannot be undone: "+strings.Join(rev.Why, "; "), `"oakum runs `+id+`" shows what it did`))
	}
	if dry || o.output == "table" {
		if err := writeReversal(s, o.output, rev); err != nil || dry {
			return err
		}
	}
	if !yes {
		if err := confirm(s, "Do this?"); err != nil {
			return err
		}
	}
	rev, in, err := engine.Undo(ctx, id, false, b)
	show.erase()
	switch {
	case err != nil:
		return noRunHere(err)
	case len(rev.Why) > 0:
		return failed(hinted("the run cannot be undone any more: "+strings.Join(rev.Why, "; "), "nothing was changed"))
	case in == nil:
		return nil
	}
	if o.output != "table" {
		if err := writeInstallation(s, o.output, in); err != nil {
			return failed(err)
		}
	} else {
		fmt.Fprintf(s.Out, "\n%s\n", undone(in))
	}
	if in.Run.Code != 0 {
		return &ExitError{Code: exitFailed}
	}
	return nil
}

func undone(in *patch.Installation) string {
	if in.Run.Code != 0 {
		return "not all was taken back: " + in.Run.Text
	}
	return fmt.Sprintf("%s taken back; take that back with: oakum undo %s", plural(len(in.Run.Changed), "package", "packages"), in.Run.ID)
}

func writeReversal(s *Streams, output string, rev *patch.Reversal) error {
	rows := rowsOf(rev.Plan.Changes)
	if output == "json" {
		return writeJSON(s.Out, struct {
			Run     string
			Changes []changeRow
		}{rev.Of.ID, rows})
	}
	w := bufio.NewWriter(s.Out)
	table := [][]string{{"PACKAGE", "FROM", "TO"}}
	for _, c := range rows {
		from, to := c.From, c.To
		if from == "" {
			from = "(not installed)"
		}
		if to == "" {
			to = "(removed)"
		}
		table = append(table, []string{idOf(c.Name, c.Arch), from, to})
	}
	if output == "csv" {
		return writeCSV(s.Out, table)
	}
	writeColumns(w, table, terminalWidth(s.Out), nil)
	fmt.Fprintf(w, "\nthis takes back the run of %s\n", stamp(rev.Of.StartedAt))
	return w.Flush()
}

// confirm asks on a terminal; without one the answer has to be given by --yes.
func confirm(s *Streams, question string) error {
	if !isTerminal(s.In) {
		return usageHint("this changes the machine, and there is nobody to ask", "say --yes")
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	line, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil && line == "" {
		return failed(errors.New("no answer: nothing was changed"))
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return failed(errors.New("nothing was changed"))
	}
	return nil
}

// localRunForm reports whether text looks like the id of a run in a node's own records.
func localRunForm(text string) bool { return strings.HasPrefix(text, "run-") }

// listLocalRuns lists the installs of this machine.
func listLocalRuns(s *Streams, output string, limit int) error {
	runs, err := patch.Runs(agent.DefaultStateDir)
	if err != nil {
		return localRunError(err)
	}
	runs = runs[:min(len(runs), limit)]
	rows := [][]string{{"RUN", "OPERATION", "STARTED", "OUTCOME", "CHANGED", "NOT INSTALLED", "TEXT"}}
	switch output {
	case "json":
		if runs == nil {
			runs = []patch.Run{}
		}
		return writeJSON(s.Out, struct{ Runs []patch.Run }{runs})
	case "csv":
		rows[0] = []string{"Run", "Operation", "StartedAt", "EndedAt", "Outcome", "Changed", "Failed", "Command", "Text"}
		for _, r := range runs {
			rows = append(rows, []string{r.ID, r.Operation, when(r.StartedAt), when(r.EndedAt), outcomeOf(&r), fmt.Sprint(len(r.Changed)), fmt.Sprint(len(r.Failed)), r.ExecutionID, r.Text})
		}
		return writeCSV(s.Out, rows)
	}
	if len(runs) == 0 {
		fmt.Fprintln(s.Err, `oakum: nothing was installed by Oakum on this machine yet; "oakum install" does`)
		return nil
	}
	for _, r := range runs {
		rows = append(rows, []string{r.ID, r.Operation, stamp(r.StartedAt), outcomeOf(&r), fmt.Sprint(len(r.Changed)), fmt.Sprint(len(r.Failed)), r.Text})
	}
	width := terminalWidth(s.Out)
	writeColumns(s.Out, narrow(rows, width, "TEXT", "NOT INSTALLED"), width, nil)
	return nil
}

func outcomeOf(r *patch.Run) string {
	switch r.Phase {
	case patch.PhaseEnded:
		return r.Outcome
	case patch.PhaseReboot:
		return "Rebooting"
	}
	return "InProgress"
}

// showLocalRun shows one install of this machine, with what the package manager said.
func showLocalRun(s *Streams, output, id string) error {
	r, err := patch.LoadRun(agent.DefaultStateDir, id)
	if err != nil {
		return localRunError(err)
	}
	if output == "json" {
		return writeJSON(s.Out, r)
	}
	changes := r.Changed
	if r.Phase != patch.PhaseEnded {
		changes = r.Planned
	}
	rows := rowsOf(changes)
	if output == "csv" {
		table := [][]string{{"Name", "Arch", "From", "To", "Because"}}
		for _, c := range rows {
			table = append(table, []string{c.Name, c.Arch, c.From, c.To, because(c)})
		}
		return writeCSV(s.Out, table)
	}
	w := bufio.NewWriter(s.Out)
	fmt.Fprintf(w, "%s, started %s", r.Operation, stamp(r.StartedAt))
	if !r.EndedAt.IsZero() {
		fmt.Fprintf(w, ", took %s", r.EndedAt.Sub(r.StartedAt).Round(100_000_000))
	}
	fmt.Fprintf(w, ": %s\n", outcomeOf(r))
	for _, x := range [][2]string{{"baseline", r.Baseline}, {"command", r.ExecutionID}, {"reboot option", r.RebootOption}, {"list", r.List}, {"undoes", r.Undoes}} {
		if x[1] != "" {
			fmt.Fprintf(w, "%s: %s\n", x[0], x[1])
		}
	}
	if r.Resumes > 0 {
		fmt.Fprintf(w, "interrupted and taken up %s\n", plural(r.Resumes, "time", "times"))
	}
	if r.Text != "" {
		fmt.Fprintln(w, r.Text)
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		writeChanges(w, s, rows)
	}
	writeLeft(w, s, leftRows(r.Failed))
	if b, err := os.ReadFile(r.LogPath()); err == nil && len(b) > 0 {
		fmt.Fprintf(w, "\nthe package manager's words (%s):\n%s", r.LogPath(), b)
		if b[len(b)-1] != '\n' {
			fmt.Fprintln(w)
		}
	}
	return w.Flush()
}

func localRunError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return failed(hinted("the records of installs are root's to read", "run it with sudo"))
	case errors.Is(err, fs.ErrNotExist):
		return failed(hinted("there is no such run on this machine", `"oakum runs --local" lists them`))
	}
	return failed(err)
}
