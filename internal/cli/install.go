package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
)

// installOptions are the flags of oakum install.
type installOptions struct {
	scanOptions
	reboot   string
	list     string
	dryRun   bool
	restarts bool
	// livePatchReboot reboots after live patches alone too.
	livePatchReboot bool
}

// rebootFlags are the values of --reboot.
var rebootFlags = map[string]string{"ifneeded": patch.RebootIfNeeded, "never": patch.NoReboot, "ifrequired": patch.RebootIfRequired}

func newInstallCommand(s *Streams) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install on this machine what a patch baseline approves",
		Long: `Install on this machine the patches that a patch baseline approves and that are missing. No server is needed.

The exact versions are worked out with the package manager's own solver before anything changes; --dry-run shows them.
Nothing is removed or put back to an older version, held packages stay, and a package that fails does not keep the rest
from being installed. The record of the run stays on the machine: "oakum runs --local" lists it, "oakum undo" takes it back.

Exit codes: 0 compliant, 3 not compliant, 4 not compliant only because a reboot is pending, 1 failed, 2 usage.`,
		Example: "  oakum install --dry-run\n  oakum install --baseline security.json --reboot IfRequired",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runInstall(cmd.Context(), s, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.root, "root", "/", "only / can be installed to; given for symmetry with scan")
	noError(f.MarkHidden("root"))
	f.StringVar(&o.baseline, "baseline", "", "predefined baseline `NAME`, or a file in the JSON of get-patch-baseline (default: the predefined one)")
	f.StringVar(&o.list, "install-override-list", "", "install what this `FILE` lists (YAML) in place of what the baseline approves")
	f.StringVar(&o.reboot, "reboot", "Never", "IfNeeded reboots when anything was installed, IfRequired on evidence only, Never not at all")
	f.BoolVar(&o.livePatchReboot, "compat-livepatch-reboot", false, "with --reboot IfNeeded, "+strings.Replace(livePatchRebootUsage, " with RebootIfNeeded", "", 1))
	f.BoolVar(&o.restarts, "restart-services", false, "restart services that use replaced files, and look whether they live")
	f.BoolVar(&o.dryRun, "dry-run", false, "show the plan, and change nothing but the package lists")
	f.BoolVar(&o.noRefresh, "no-refresh", false, "go by the metadata on the disk as it is")
	f.StringVar(&o.output, "output", "table", "table, json or csv")
	noError(cmd.RegisterFlagCompletionFunc("reboot", cobra.FixedCompletions([]string{"IfNeeded", "IfRequired", "Never"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// asRoot says what is missing to change this machine.
func asRoot(root string) error {
	switch {
	case root != "/":
		return failed(hinted("patches can be installed on the running system only, not below "+root, `"oakum scan --root" judges a mounted root`))
	case !agent.Privileged() && runtime.GOOS == "windows":
		return failed(hinted("installing patches needs an administrator with all rights", "run it in a terminal that was started as administrator"))
	case !agent.Privileged():
		return failed(hinted("installing patches needs root", "run it with sudo"))
	}
	return nil
}

func runInstall(ctx context.Context, s *Streams, o *installOptions) error {
	option, ok := rebootFlags[strings.ToLower(o.reboot)]
	switch {
	case !ok:
		return usage("--reboot is IfNeeded, IfRequired or Never, not %q", o.reboot)
	case o.livePatchReboot && option != patch.RebootIfNeeded:
		return usage("--compat-livepatch-reboot goes with --reboot IfNeeded")
	case o.restarts && option != patch.NoReboot:
		return usage("--restart-services goes in place of a reboot: leave out --reboot %s", o.reboot)
	case o.output != "table" && o.output != "json" && o.output != "csv":
		return usage("--output is table, json or csv, not %q", o.output)
	}
	if o.restarts {
		option = patch.RestartServices
	}
	if err := asRoot(o.root); err != nil {
		return err
	}
	engine, platform, _, err := scanEngine(ctx, s, &o.scanOptions)
	if err != nil {
		return failed(scanFailure(err))
	}
	scanMemory(engine.Manager.Name())
	show := &installProgress{s: s, live: isTerminal(s.Err)}
	engine.Progress = show.show
	req := patch.InstallRequest{ScanRequest: patch.ScanRequest{RebootOption: option, Refresh: !o.noRefresh, Record: true}, LivePatchReboot: o.livePatchReboot}
	if req.Baseline, req.EvaluatedAt, err = chooseBaseline(o.baseline, platform); err != nil {
		return failed(err)
	}
	if o.list != "" {
		if req.List, err = readInstallList(o.list); err != nil {
			return failed(err)
		}
		req.ListName = o.list
	}
	if o.dryRun {
		p, err := engine.Preview(ctx, req)
		show.erase()
		if err != nil {
			return failed(scanFailure(err))
		}
		return writePreview(s, o.output, p)
	}
	if err := settleRuns(ctx, s, engine); err != nil {
		return failed(scanFailure(err))
	}
	in, err := engine.Install(ctx, req)
	show.erase()
	if err != nil {
		return failed(scanFailure(err))
	}
	if err := writeInstallation(s, o.output, in); err != nil {
		return failed(fmt.Errorf("write the result: %w", err))
	}
	return afterInstall(ctx, s, in)
}

// settleRuns ends what a crash left of earlier runs that were started by hand, and says so. Those of commands are the
// agent's to take up.
func settleRuns(ctx context.Context, s *Streams, e *patch.Engine) error {
	ended, err := e.Settle(ctx, func(command string) bool { return command == "" })
	for _, r := range ended {
		fmt.Fprintf(s.Err, "oakum: the earlier run %s: %s\n", r.ID, r.Text)
	}
	return err
}

// afterInstall reboots where that was asked for, and turns the result into the exit code.
func afterInstall(ctx context.Context, s *Streams, in *patch.Installation) error {
	if in.Reboot {
		fmt.Fprintln(s.Err, "oakum: the machine reboots in a minute; \"shutdown -c\" calls it off")
		if err := agent.RealSystem().Reboot(ctx); err != nil {
			return failed(fmt.Errorf("the reboot could not be started: %w", err))
		}
	}
	return installExit(in)
}

// installExit is the exit code of an install. That a reboot comes now is no failure.
func installExit(in *patch.Installation) error {
	if in.Run.Code != 0 && in.Run.Code != patch.CodeReboot {
		return &ExitError{Code: exitFailed}
	}
	return scanExit(in.Result)
}

func readInstallList(name string) (*baseline.InstallList, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the list of patches to install: %w", err)
	}
	l, err := baseline.ParseInstallList(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// installProgress shows where an install stands: one line, on terminals only.
type installProgress struct {
	s     *Streams
	live  bool
	shown bool
}

var phaseText = map[string]string{
	"repair": "looking at the package manager", "refresh": "refreshing package lists", "plan": "planning", "download": "downloading packages",
	"install": "installing", "verify": "checking what is installed", "restart": "restarting services",
}

func (p *installProgress) show(at patch.Progress) {
	if at.Phase == "warning" {
		p.erase()
		fmt.Fprintf(p.s.Err, "oakum: warning: %s\n", at.Text)
		return
	}
	if !p.live {
		return
	}
	text := cmp.Or(phaseText[at.Phase], at.Phase)
	if at.Total > 0 && at.Phase == "install" {
		text += fmt.Sprintf(" %d of %d", at.Done, at.Total)
	} else if at.Total > 0 {
		text += fmt.Sprintf(" (%d)", at.Total)
	}
	if at.Text != "" {
		text += ": " + at.Text
	}
	fmt.Fprintf(p.s.Err, "\r\x1b[K%s", text)
	p.shown = true
}

func (p *installProgress) erase() {
	if p.shown {
		fmt.Fprint(p.s.Err, "\r\x1b[K")
		p.shown = false
	}
}

// changeRow is a change in the answers of install, undo and runs.
type changeRow struct {
	Name, Arch string
	From       string `json:",omitempty"`
	To         string `json:",omitempty"`
	Dependency bool   `json:",omitempty"`
	replaced   bool   // another package takes its place
}

// leftRow is a patch that was left out.
type leftRow struct{ ID, Reason, Detail string }

func rowsOf(changes []patch.Change) []changeRow {
	out := make([]changeRow, 0, len(changes))
	for _, c := range changes {
		out = append(out, changeRow{c.Name, c.Arch, c.Old, c.New, !c.Wanted, c.New == "" && c.By != ""})
	}
	slices.SortFunc(out, func(a, b changeRow) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	return out
}

func leftRows(left map[string]patch.Block) []leftRow {
	out := []leftRow{}
	for _, k := range slices.Sorted(maps.Keys(left)) {
		out = append(out, leftRow{strings.TrimSuffix(k, "."), left[k].Reason, left[k].Detail})
	}
	return out
}

func writePreview(s *Streams, output string, p *patch.Preview) error {
	changes, left := rowsOf(p.Plan.Changes), leftRows(p.Left)
	var download, grows int64
	for _, c := range p.Plan.Changes {
		download, grows = download+c.Bytes, grows+c.Grows
	}
	room := ""
	if p.Room != nil {
		room = p.Room.Error()
	}
	switch output {
	case "json":
		return writeJSON(s.Out, struct {
			BaselineID, BaselineName string
			Changes                  []changeRow
			LeftOut                  []leftRow
			DownloadBytes            int64
			DiskBytes                int64
			Problem                  string `json:",omitempty"`
		}{p.Before.Header.BaselineID, p.Before.Header.BaselineName, changes, left, download, grows, room})
	case "csv":
		rows := [][]string{{"Name", "Arch", "From", "To", "Because", "LeftOutReason", "Detail"}}
		for _, c := range changes {
			rows = append(rows, []string{c.Name, c.Arch, c.From, c.To, because(c), "", ""})
		}
		for _, l := range left {
			rows = append(rows, []string{l.ID, "", "", "", "", l.Reason, l.Detail})
		}
		return writeCSV(s.Out, rows)
	}
	w := bufio.NewWriter(s.Out)
	h := &p.Before.Header
	if len(changes) == 0 {
		fmt.Fprintf(w, "nothing to install: baseline %s, %s\n", h.BaselineName, plural(h.Counts.Missing, "patch is missing", "patches are missing"))
	} else {
		writeChanges(w, s, changes)
		replaced := 0
		for _, c := range changes {
			if c.replaced {
				replaced++
			}
		}
		fmt.Fprintf(w, "\n%s would be installed%s (baseline %s): %s to download, %s on the disk\n", plural(len(changes)-replaced, "package", "packages"),
			company(0, replaced), h.BaselineName, size(download), signed(grows))
	}
	writeLeft(w, s, left)
	if room != "" {
		fmt.Fprintf(w, "\nthe install would not start: %s\n", room)
	}
	return w.Flush()
}

func because(c changeRow) string {
	switch {
	case c.replaced:
		return "replaced"
	case c.Dependency:
		return "dependency"
	}
	return "approved"
}

// company is what comes with patches: packages that they need, and packages that they take the place of.
func company(along, replaced int) string {
	text := ""
	if along > 0 {
		text += ", and " + plural(along, "package", "packages") + " that they need"
	}
	if replaced > 0 {
		text += ", in place of " + plural(replaced, "package", "packages")
	}
	return text
}

// idOf is what a package is called in tables: name.arch, and the name alone on systems that tell no architectures apart.
func idOf(name, arch string) string {
	if arch == "" {
		return name
	}
	return name + "." + arch
}

func writeChanges(w *bufio.Writer, s *Streams, changes []changeRow) {
	rows := [][]string{{"PACKAGE", "FROM", "TO", "BECAUSE"}}
	for _, c := range changes {
		from, to := c.From, c.To
		if from == "" {
			from = "(new)"
		}
		if to == "" {
			to = "(removed)"
		}
		rows = append(rows, []string{idOf(c.Name, c.Arch), from, to, because(c)})
	}
	writeColumns(w, rows, terminalWidth(s.Out), nil)
}

func writeLeft(w *bufio.Writer, s *Streams, left []leftRow) {
	if len(left) == 0 {
		return
	}
	rows := [][]string{{"NOT INSTALLED", "REASON", "DETAIL"}}
	for _, l := range left {
		rows = append(rows, []string{l.ID, l.Reason, l.Detail})
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, terminalWidth(s.Out), nil)
}

// size writes bytes as a person reads them.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

func signed(n int64) string {
	if n < 0 {
		return size(-n) + " less"
	}
	return size(n) + " more"
}

func writeInstallation(s *Streams, output string, in *patch.Installation) error {
	switch output {
	case "json":
		return writeScanJSON(s, in.Result)
	case "csv":
		return writeScanCSV(s, in.Result)
	}
	return writeInstallTable(s, in)
}

func writeInstallTable(s *Streams, in *patch.Installation) error {
	w := bufio.NewWriter(s.Out)
	h, r := &in.Result.Header, &in.Run
	changes := rowsOf(r.Changed)
	wanted, along, replaced := 0, 0, 0
	for _, c := range changes {
		switch {
		case c.replaced:
			replaced++
		case c.Dependency:
			along++
		default:
			wanted++
		}
	}
	if len(changes) > 0 {
		writeChanges(w, s, changes)
		fmt.Fprintln(w)
	}
	var left []leftRow
	for i := range in.Result.Items {
		it := &in.Result.Items[i]
		if it.State == compliance.Failed || it.State == compliance.Missing {
			left = append(left, leftRow{it.ID + " " + it.AvailableVersion, it.Reason, it.Detail})
		}
	}
	switch {
	case len(changes) == 0 && len(left) == 0:
		fmt.Fprintf(w, "nothing to install: everything that baseline %s approves is there\n", h.BaselineName)
	default:
		fmt.Fprintf(w, "%s installed%s", plural(wanted, "patch", "patches"), company(along, replaced))
		fmt.Fprintf(w, " in %s, %s of it in the package manager's programs (baseline %s)\n", h.EndedAt.Sub(h.StartedAt).Round(100_000_000),
			(time.Duration(h.Install.ManagerMillis) * time.Millisecond).Round(100_000_000), h.BaselineName)
	}
	writeLeft(w, s, left)
	if r.Text != "" {
		fmt.Fprintf(w, "\n%s\n", r.Text)
	}
	if i := h.Install; i != nil {
		for _, f := range i.Leftovers {
			fmt.Fprintf(w, "changed configuration kept; the new version is %s\n", f)
		}
		for _, u := range i.Restarts {
			fmt.Fprintf(w, "service %s\n", u)
		}
	}
	for _, x := range h.Reboot.Reasons {
		fmt.Fprintf(w, "reboot needed: %s\n", x)
	}
	if text := livePatchText(h.Reboot.LivePatch, h.EndedAt); text != "" {
		fmt.Fprintf(w, "kernel live patching: %s\n", printable(text))
	}
	for _, u := range h.Reboot.Services {
		fmt.Fprintf(w, "restart needed: %s\n", u.Unit)
	}
	for _, u := range h.Updaters {
		fmt.Fprintf(w, "this machine also updates itself: %s\n", u)
	}
	for _, d := range h.Degraded {
		fmt.Fprintf(w, "note: %s\n", d)
	}
	if len(changes) > 0 {
		fmt.Fprintf(w, "take it back with: oakum undo %s\n", r.ID)
	}
	return w.Flush()
}

// noRunHere explains that a run is not known.
func noRunHere(err error) error {
	if e, ok := errors.AsType[*patch.Error](err); ok && e.Hint != "" {
		return failed(hinted(e.Error(), e.Hint))
	}
	return failed(err)
}
