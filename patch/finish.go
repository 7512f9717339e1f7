package patch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"oakum.dev/compliance"
)

// finish looks at the node again, decides about a reboot and reports.
func (w *work) finish(ctx context.Context, r *liveRun, started time.Time, leftovers []string, fail *Error) (*Installation, error) {
	e := w.e
	ctx = context.WithoutCancel(ctx) // a run that is stopped still says what it did
	e.progress(Progress{Phase: "verify"})
	changed, err := e.changed(ctx, r)
	if err != nil {
		return nil, err
	}
	req := w.req.ScanRequest
	req.Refresh = false
	after, err := e.look(ctx, req, started)
	if err != nil {
		return nil, err
	}
	after.degraded = append(w.degraded, after.degraded...)
	for i := range after.inv.Packages {
		if p := &after.inv.Packages[i]; p.Broken != "" && w.broken[p.Key()] == "" {
			w.halfWay = append(w.halfWay, p.Name)
		}
	}
	rebooted := r.Phase == PhaseReboot || r.Phase == PhaseEnded
	reboot := false
	switch {
	case !rebooted:
		// While somebody else is at work with the package manager the node is not rebooted either.
		stopped := fail != nil && (fail.Reason == "INTERRUPTED" || fail.Reason == "LOCKED")
		if reboot, err = w.decide(ctx, r, after, changed, stopped, started); err != nil {
			return nil, err
		}
	case r.Phase == PhaseReboot && r.Boot == e.BootID && e.BootID != "" && r.Reboots < maxAsked:
		// The run was stopped before it could ask whoever reboots the node.
		reboot, after.j.Pending, after.j.Rebooting = true, nil, true
	}
	if err := w.judge(ctx, after, r); err != nil {
		return nil, err
	}
	res := after.report(ctx, started, "Install")
	now, err := e.Manager.Leftovers(ctx)
	if err != nil {
		res.Header.Degraded = append(res.Header.Degraded, "files left for a decision: "+err.Error())
	}
	res.Header.InstallOverrideList = w.req.ListName
	res.Header.Install = &compliance.Install{
		Run: r.ID, Resumes: r.Resumes, Leftovers: without(now, leftovers), Transactions: r.Transactions, Changes: compact(changed), Restarts: restartLines(r.Restarts),
	}
	if watch, ok := e.Exec.(*Stopwatch); ok {
		res.Header.Install.ManagerMillis = watch.Spent.Milliseconds()
	}
	res.Header.EndedAt = e.Now().UTC()
	return w.end(r, res, changed, reboot, rebooted, fail)
}

// decide finds out whether the node is to be rebooted, restarts services where that is asked for, and remembers what
// waits for a reboot. Source: AWS Systems Manager User Guide, "RebootOption"; design decision D9a for ours.
func (w *work) decide(ctx context.Context, r *liveRun, after *sight, changed []Change, stopped bool, started time.Time) (reboot bool, err error) {
	e, option := w.e, w.req.RebootOption
	if !w.req.LivePatchReboot || option != RebootIfNeeded { // they are in force without a reboot
		changed = after.inv.LivePatching.counting(changed)
	}
	waits := true // for a reboot, until one happens
	switch {
	case stopped:
	case option == RebootIfNeeded:
		reboot = len(changed) > w.before || len(after.state.pending(e.BootID)) > 0 || r.restartFirst() && r.Reboots < maxRoundReboots
	case option == RebootIfRequired, option == RestartServices:
		evidence, _, err := e.Manager.Evidence(ctx, after.inv)
		if err != nil { // the report says so too; without evidence there is no reboot, and what was installed waits for one
			evidence.Required = false
			break
		}
		if option == RestartServices && len(evidence.Services) > 0 {
			e.progress(Progress{Phase: "restart"})
			if err := r.append(entry{Kind: kindRestarts, Restarts: e.restart(ctx, evidence.Services, r)}); err != nil {
				return false, err
			}
		}
		waits = evidence.Required
		reboot = option == RebootIfRequired && evidence.Required
	}
	if len(changed) > w.before && waits {
		if err := after.remember(changed, started, option); err != nil {
			after.degraded = append(after.degraded, err.Error())
		}
	}
	if reboot { // what waits for the reboot that comes now is reported as installed
		after.j.Pending, after.j.Rebooting = nil, true
	}
	return reboot, nil
}

// end writes the last record and sums up.
func (w *work) end(r *liveRun, res *compliance.Result, changed []Change, reboot, rebooted bool, fail *Error) (*Installation, error) {
	code, text := w.sum(r, res, fail)
	if fail != nil && fail.Reason == "INTERRUPTED" {
		text += "; " + account(r.Planned, changed)
	}
	if r.Phase == PhaseEnded { // by an earlier start of the same step, which could not say so
		res.Header.Install.Outcome, res.Header.Install.Text = r.Outcome, r.Text
		return &Installation{Result: res, Run: r.Run}, nil
	}
	outcome := OutcomeSuccess
	switch {
	case fail != nil && fail.Reason == "INTERRUPTED":
		outcome = OutcomeInterrupted
	case code != 0:
		outcome = OutcomeFailed
	}
	res.Header.Install.Outcome, res.Header.Install.Text = outcome, text
	if reboot {
		code = map[int]int{0: CodeReboot, CodeDependency: CodeRebootDependency}[code]
		if code == 0 {
			code = CodeRebootFailed
		}
		if err := r.append(entry{Kind: PhaseReboot, Boot: w.e.BootID, Code: code, Text: text}); err != nil {
			return nil, err
		}
		run := r.Run
		run.Changed, run.Text = changed, text
		return &Installation{Result: res, Run: run, Reboot: true}, nil
	}
	if rebooted && r.Boot == w.e.BootID && w.e.BootID != "" {
		text = strings.TrimPrefix(text+"; the reboot has not happened", "; ")
		code, outcome = CodeFailed, OutcomeFailed
	}
	if err := r.append(entry{Kind: PhaseEnded, Outcome: outcome, Text: text, Code: code, Changed: changed}); err != nil {
		return nil, err
	}
	return &Installation{Result: res, Run: r.Run}, nil
}

// sum finds the run's code and the sentence about it.
func (w *work) sum(r *liveRun, res *compliance.Result, fail *Error) (int, string) {
	if fail != nil {
		return fail.Code, fail.Reason + ": " + fail.Error()
	}
	dependency, other := 0, 0
	var names []string
	beside := slices.Clone(w.halfWay) // packages that were no targets, such as one whose trigger failed
	for i := range res.Items {
		it := &res.Items[i]
		if it.State != compliance.Failed {
			continue
		}
		beside = slices.DeleteFunc(beside, func(name string) bool { return name == it.Name })
		names = append(names, it.Name)
		switch it.Reason {
		case ReasonBlockedByRejected, ReasonUnmetDependency, ReasonConflict, ReasonSolver, ReasonRemoval, ReasonListVersion, ReasonDowngrade:
			dependency++
		default:
			other++
		}
	}
	if len(names) > 5 {
		names = append(names[:5], fmt.Sprintf("and %d more", len(names)-5))
	}
	switch {
	case len(beside) > 0:
		return CodeFailed, "packages were left half way: " + strings.Join(append(beside, names...), ", ")
	case other > 0:
		return CodeFailed, fmt.Sprintf("%s not installed: %s", counted(other+dependency, "patch was", "patches were"), strings.Join(names, ", "))
	case dependency > 0:
		return CodeDependency, fmt.Sprintf("dependencies kept %s out: %s", counted(dependency, "patch", "patches"), strings.Join(names, ", "))
	}
	return 0, ""
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// judge gives the items of the second scan their states, with what the run knows about those that failed.
func (w *work) judge(ctx context.Context, after *sight, r *liveRun) error {
	after.j.Installs = r.Operation != OperationUndo // what an undo took back is missing, and has not failed
	if err := after.check(ctx); err != nil {
		return err
	}
	if after.blocks == nil {
		after.blocks = map[string]Block{}
	}
	maps.Copy(after.blocks, r.Failed)
	after.j.Tried = map[string]bool{}
	if !w.again {
		for k := range w.aims {
			after.j.Tried[k] = true
		}
	}
	for k := range r.Failed {
		after.j.Tried[k] = true
	}
	for _, c := range r.Planned {
		after.j.Tried[c.Key()] = true
	}
	for _, t := range after.targets { // it got what was tried, and a newer version that is blocked is missing
		k := t.Package.Key()
		if _, failed := r.Failed[k]; !failed && w.aims[k].Version != nil && w.aims[k].Version.Text == t.Package.Installed {
			delete(after.j.Tried, k)
		}
	}
	if w.req.List != nil {
		after.j.Attempted = map[string]*Version{}
		for k, t := range w.aims {
			after.j.Attempted[k] = t.Version
		}
	}
	return nil
}

// changed lists what of a run's plans has come about.
func (e *Engine) changed(ctx context.Context, r *liveRun) ([]Change, error) {
	if len(r.Planned) == 0 {
		return nil, nil
	}
	present, err := e.Manager.Present(ctx)
	if err != nil {
		return nil, err
	}
	var out []Change
	for _, c := range r.Planned {
		p, there := present[c.Key()]
		if c.New == "" && !there || there && p.Version == c.New && p.Broken == "" {
			out = append(out, c)
		}
	}
	return out, nil
}

// stopped ends a run that cannot be taken up, and says what was installed and what was not.
func (e *Engine) stopped(ctx context.Context, r *liveRun, why string) *Error {
	changed, err := e.changed(ctx, r)
	if err != nil {
		return Fail("INTERRUPTED", "%s; what was installed is not known: %w", why, err)
	}
	return Fail("INTERRUPTED", "%s in phase %s; %s", why, r.Phase, account(r.Planned, changed))
}

// account says in words what of a plan came about.
func account(planned, changed []Change) string {
	if len(planned) == 0 {
		return "nothing was installed"
	}
	done := map[string]bool{}
	var in, out, gone, left []string
	for _, c := range changed {
		done[c.Key()] = true
		if c.New == "" {
			gone = append(gone, c.Name+" "+c.Old)
		} else {
			in = append(in, c.Name+" "+c.New)
		}
	}
	for _, c := range planned {
		switch {
		case done[c.Key()]:
		case c.New == "":
			left = append(left, c.Name+" "+c.Old)
		default:
			out = append(out, c.Name+" "+c.New)
		}
	}
	list := func(s []string) string {
		if len(s) == 0 {
			return "nothing"
		}
		if len(s) > 10 {
			return fmt.Sprintf("%s and %d more", strings.Join(s[:10], ", "), len(s)-10)
		}
		return strings.Join(s, ", ")
	}
	text := "installed: " + list(in) + "; not installed: " + list(out)
	if len(gone) > 0 {
		text += "; removed: " + list(gone)
	}
	if len(left) > 0 {
		text += "; not removed: " + list(left)
	}
	return text
}

// remember keeps which titles wait for a reboot.
func (s *sight) remember(changed []Change, started time.Time, option string) error {
	if s.state.BootID != s.e.BootID {
		s.state.Pending = nil
	}
	s.state.BootID = s.e.BootID
	for _, c := range changed {
		if t := s.title(c); c.New != "" && !slices.Contains(s.state.Pending, t) {
			s.state.Pending = append(s.state.Pending, t)
		}
	}
	if option == NoReboot {
		s.state.LastNoReboot = started
	}
	s.j.Pending = s.state.pending(s.e.BootID)
	return s.state.save(s.e.StateDir)
}

// title is what a change made of its package, under the architecture that it has now: noarch may become the machine's own.
func (s *sight) title(c Change) string {
	same := func(p Package) bool { return p.Name == c.Name && p.Installed == c.New }
	if s.inv == nil { // the node could not be read
		return s.j.title(&Package{Name: c.Name, Arch: c.Arch}, c.New)
	}
	if i := slices.IndexFunc(s.inv.Packages, same); i >= 0 && !slices.ContainsFunc(s.inv.Packages, func(p Package) bool { return same(p) && p.Arch == c.Arch }) {
		c.Arch = s.inv.Packages[i].Arch
	}
	return s.j.title(&Package{Name: c.Name, Arch: c.Arch}, c.New)
}

func without(list, known []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return slices.Contains(known, s) })
}

// Earlier lists what runs of a command that ended before the given one have changed, oldest first: one command may install
// in one step and reboot in another.
func Earlier(stateDir, command, before string) ([]compliance.Change, error) {
	if stateDir == "" || command == "" {
		return nil, nil
	}
	runs, err := Runs(stateDir)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return a.StartedAt.Compare(b.StartedAt) })
	var out []compliance.Change
	for i := range runs {
		if r := &runs[i]; r.ExecutionID == command && r.ID != before && r.Phase == PhaseEnded {
			out = append(out, compact(r.Changed)...)
		}
	}
	return out, nil
}

func compact(changed []Change) []compliance.Change {
	var out []compliance.Change
	for _, c := range changed {
		out = append(out, compliance.Change{Name: c.Name, Arch: c.Arch, Old: c.Old, New: c.New, Dependency: !c.Wanted})
	}
	return out
}

func restartLines(rs []Restart) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Unit+": "+r.Outcome)
	}
	return out
}
