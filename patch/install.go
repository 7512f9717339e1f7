package patch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
)

// Values of RebootOption. The first two are those of Systems Manager.
const (
	RebootIfNeeded   = "RebootIfNeeded"   // when anything was installed, or waits for a reboot
	NoReboot         = "NoReboot"         // never
	RebootIfRequired = "RebootIfRequired" // on evidence alone
	RestartServices  = "RestartServices"  // never; units that use replaced files are restarted
)

// RebootOptions lists the values of RebootOption.
func RebootOptions() []string {
	return []string{RebootIfNeeded, NoReboot, RebootIfRequired, RestartServices}
}

// Exit codes of the engine after an Install. Source: the codes of the original's node engine.
const (
	CodeReboot           = 194
	CodeRebootFailed     = 195 // a reboot is due, and some patches failed
	CodeRebootDependency = 196 // a reboot is due, and dependencies kept some patches out
)

const (
	minTimeLeft = 2 * time.Minute // less is not enough to begin a transaction
	maxIdle     = 12              // transactions in a row that change nothing
	maxAsked    = 2               // times that a run asks for its reboot
)

// InstallRequest says what an Install is to do. RebootOption is that of the ScanRequest.
type InstallRequest struct {
	ScanRequest
	List     *baseline.InstallList // takes the place of what the baseline approves
	ListName string                // where it came from
	Step     string                // of the document, when a command asks: its run is taken up after a crash
	Deadline time.Time             // no transaction is begun shortly before or after it; zero: none
	// LivePatchReboot keeps AWS's rule for RebootIfNeeded: live patches count like every other patch.
	LivePatchReboot bool
}

// Progress is where an install stands.
type Progress struct {
	Phase       string // "repair", "refresh", "plan", "download", "install", "verify", "restart"
	Done, Total int    // packages; 0 of 0 when they cannot be counted
	Text        string // a sentence; may be empty
}

// Installation is what an Install did.
type Installation struct {
	Result *compliance.Result // of the scan after it
	Run    Run
	Reboot bool // the node has to be rebooted now; the caller does it
}

// Preview is what an Install would do.
type Preview struct {
	Plan   *Plan
	Left   map[string]Block // targets that are left out, by Package.Key
	Before *compliance.Result
	Room   error // what is short of disk space, or nil
}

// Preview plans an Install and changes nothing but the package manager's lists.
func (e *Engine) Preview(ctx context.Context, req InstallRequest) (*Preview, error) {
	started := e.Now().UTC()
	release, err := e.lock(ctx, "install --dry-run", req.ExecutionID, started)
	if err != nil {
		return nil, err
	}
	defer release()
	req.Record = false // nothing has been done that a later result must be newer than
	w, err := e.prepare(ctx, req, started)
	if err != nil {
		return nil, err
	}
	plan, _, err := w.planner.best(ctx, w.targets)
	if err != nil {
		return nil, asError(err, "DEPENDENCY", CodeDependency)
	}
	p := &Preview{Plan: plan, Left: w.left(), Before: w.report(ctx, started, "Scan")}
	if len(plan.Changes) > 0 {
		p.Room = e.Manager.Room(ctx, w.wish(nil), plan)
	}
	return p, nil
}

// work is an install under way.
type work struct {
	*sight
	req     InstallRequest
	planner *planner
	aims    map[string]Target // all targets, by Package.Key
	skipped map[string]Block  // of them, those that were never tried
	targets []Target          // those that are still to be installed
	retried map[string]bool   // by Package.Key: left half way at the old version once, and tried again
	again   bool              // the run is taken up: what is tried is what it had planned
	broken  map[string]string // what was left half way before the run, by Package.Key
	before  int               // changes that came about before the last reboot
	halfWay []string          // names of what is so only since
}

// prepare looks at the node and finds the targets.
func (e *Engine) prepare(ctx context.Context, req InstallRequest, started time.Time) (*work, error) {
	e.progress(Progress{Phase: "refresh"})
	s, err := e.look(ctx, req.ScanRequest, started)
	if err != nil {
		return nil, err
	}
	w := &work{sight: s, req: req, aims: map[string]Target{}, skipped: map[string]Block{}, retried: map[string]bool{}}
	if req.List != nil {
		s.targets, s.listed = listed(req.List, s.inv, s.platform.Node.OS), true
	}
	e.progress(Progress{Phase: "plan"})
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	for _, t := range s.targets {
		w.aims[t.Package.Key()] = t
		if b, no := s.blocks[t.Package.Key()]; no && b.Reason != "" && req.List == nil {
			w.skipped[t.Package.Key()] = b
			continue
		}
		w.targets = append(w.targets, t)
	}
	sources, err := applicable(req.Baseline, s.platform.Node)
	if err != nil {
		return nil, &Error{Reason: "REPO_METADATA", Code: CodeFailed, Err: err}
	}
	w.planner = &planner{
		manager: e.Manager, sources: sources, lacking: map[string]string{}, refused: map[string]Block{}, facts: factsOf(s.inv),
		guard: &Guard{Baseline: req.Baseline, Node: s.platform.Node, Now: s.j.Now, List: req.List},
	}
	return w, nil
}

// left is what was left out of the plan, and why.
func (w *work) left() map[string]Block {
	out := maps.Clone(w.skipped)
	maps.Copy(out, w.planner.refused)
	return out
}

// listed are the targets of an InstallOverrideList: per installed package that an entry names, the newest offered
// version that one takes. Source: AWS Systems Manager User Guide, "InstallOverrideList".
func listed(l *baseline.InstallList, inv *Inventory, os baseline.OS) []Target {
	var out []Target
	for i := range inv.Packages {
		p := &inv.Packages[i]
		for k := len(p.Versions) - 1; k >= 0; k-- {
			v := &p.Versions[k]
			if v.Order <= 0 {
				break
			}
			if !v.Offered || v.Unusable == ReasonNotTrusted || v.Kept != "" || p.Held != "" || len(v.Patches) == 0 {
				continue
			}
			if _, taken := l.Names(os, &v.Patches[0]); taken {
				out = append(out, Target{p, v})
				break
			}
		}
	}
	return out
}

// Install installs what the baseline approves, or the list names, and reports a second scan. A run of the same command
// that was interrupted is taken up; one that has rebooted the node is finished. The error is about the run as a whole
// and an *Error; single patches that failed are in the result, and in Run.Code.
func (e *Engine) Install(ctx context.Context, req InstallRequest) (*Installation, error) {
	started := e.Now().UTC()
	if e.StateDir == "" {
		return nil, Fail("FAILED", "an install needs root on a running system")
	}
	release, err := e.lock(ctx, "install", req.ExecutionID, started)
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := e.takeRun(req)
	if err != nil {
		return nil, err
	}
	defer r.close()
	out, err := e.install(ctx, r, req, started)
	if err != nil {
		return nil, e.fail(ctx, r, err)
	}
	return out, nil
}

// fail ends the record of a run that an error ended, with what came of it so far.
func (e *Engine) fail(ctx context.Context, r *liveRun, cause error) *Error {
	err := asError(cause, "FAILED", CodeFailed)
	if r.Phase == PhaseEnded {
		return err
	}
	outcome := OutcomeFailed
	if err.Reason == "INTERRUPTED" {
		outcome = OutcomeInterrupted
	}
	ctx = context.WithoutCancel(ctx)
	changed, _ := e.changed(ctx, r) // best effort: the first error is the one that matters
	e.undecided(ctx, r, changed)
	if err := r.append(entry{Kind: PhaseEnded, Outcome: outcome, Text: err.Reason + ": " + err.Error(), Code: err.Code, Changed: changed}); err != nil {
		e.warn("%v", err)
	}
	return err
}

// takeRun opens the unfinished run of the same command, or begins a new one.
func (e *Engine) takeRun(req InstallRequest) (*liveRun, error) {
	runs, err := Runs(e.StateDir)
	if err != nil {
		return nil, diskError("read the records of earlier runs", err)
	}
	for _, old := range runs {
		if old.Operation != OperationInstall || old.ExecutionID == "" || old.ExecutionID != req.ExecutionID || old.Step != req.Step {
			continue
		}
		if old.Phase == PhaseEnded {
			if old.Outcome == OutcomeInterrupted { // it was ended in the meantime, and is not begun again
				return nil, Fail("INTERRUPTED", "%s", strings.TrimPrefix(old.Text, "INTERRUPTED: "))
			}
		}
		r, err := openRun(old.Dir, e.Now)
		if err != nil {
			return nil, diskError("take up the interrupted run", err)
		}
		return r, nil
	}
	if err := pruneRuns(e.StateDir); err != nil {
		e.warn("old records of runs stay: %v", err)
	}
	if err := pruneKept(e.StateDir); err != nil {
		e.warn("old package files stay: %v", err)
	}
	return newRun(e.StateDir, Run{
		Operation: OperationInstall, ExecutionID: req.ExecutionID, Step: req.Step, BaselineID: req.Baseline.BaselineID, Baseline: req.Baseline.Name,
		SnapshotID: req.SnapshotID, RebootOption: req.RebootOption, List: req.ListName,
	}, e.BootID, e.Now)
}

func (e *Engine) install(ctx context.Context, r *liveRun, req InstallRequest, started time.Time) (*Installation, error) {
	resumed := r.Phase != PhaseStarted || len(r.Planned) > 0
	over := r.Phase == PhaseReboot || r.Phase == PhaseInstalled || r.Phase == PhaseEnded // nothing more is installed
	if resumed && r.Phase != PhaseReboot && r.Phase != PhaseEnded {
		if r.Resumes >= maxResumes {
			return nil, e.stopped(ctx, r, fmt.Sprintf("the run was interrupted %d times", r.Resumes+1))
		}
		if err := r.append(entry{Kind: kindResumed, Boot: e.BootID}); err != nil {
			return nil, err
		}
		r.note("the run was interrupted in phase %s and is taken up", r.Phase)
	}
	e.progress(Progress{Phase: "repair"})
	health, err := e.Manager.Repair(ctx, r.log, nil)
	if err != nil {
		return nil, asError(err, "LOCKED", CodeFailed)
	}
	if resumed {
		if err := e.marks(ctx, r.Planned, r.log); err != nil {
			e.warn("%v", err)
		}
	}
	if over {
		req.Refresh = false // what was decided before holds: nothing new is looked for
	}
	w, err := e.prepare(ctx, req, started)
	if err != nil {
		return nil, err
	}
	if len(health.Broken) > 0 { // with the lists at hand more can be mended
		again, err := e.Manager.Repair(ctx, r.log, w.allowed)
		if err != nil {
			return nil, asError(err, "LOCKED", CodeFailed)
		}
		health.Repaired, health.Trouble = append(health.Repaired, again.Repaired...), again.Trouble
	}
	w.degraded = append(w.degraded, slices.Concat(health.Repaired, health.Trouble)...)
	w.broken = health.Broken
	if resumed && r.open {
		w.degraded = append(w.degraded, e.redo(ctx, r.Planned, r.log)...)
		if err := e.marks(ctx, r.Planned, r.log); err != nil {
			e.warn("%v", err)
		}
	}
	leftovers, err := e.Manager.Leftovers(ctx)
	if err != nil {
		w.degraded = append(w.degraded, "files left for a decision: "+err.Error())
	}
	w.again = over || resumed && len(r.Planned) > 0
	onward := over && w.goesOn(r)
	if onward {
		before, err := e.changed(ctx, r)
		if err != nil {
			return nil, err
		}
		over, w.before = false, len(before)
		r.note("after the reboot: %d more patches", len(w.targets))
	}
	if len(w.skipped) > 0 && !w.again {
		if err := r.append(entry{Kind: kindPlanned, Failed: w.skipped}); err != nil {
			return nil, err
		}
	}
	var fail *Error
	if !over {
		if resumed && !onward {
			if err := w.only(ctx, r); err != nil {
				return nil, err
			}
		}
		fail, err = w.carryOut(ctx, r)
		if fail == nil && err == nil && (!resumed || onward) {
			fail, err = w.further(ctx, r)
		}
		if err != nil {
			return nil, err
		}
		if err := r.append(entry{Kind: PhaseInstalled, Boot: e.BootID}); err != nil {
			return nil, err
		}
	}
	return w.finish(ctx, r, started, leftovers, fail)
}

// allowed reports whether a repair may make a change: what the guard lets into a plan.
func (w *work) allowed(c Change) bool {
	return len(w.planner.guard.Check(&Plan{Changes: []Change{c}}, w.planner.facts)) == 0
}

// only restricts a run that is taken up to what is left of its own plan.
func (w *work) only(ctx context.Context, r *liveRun) error {
	if len(r.Planned) == 0 {
		return nil // it was interrupted before anything was decided
	}
	present, err := w.e.Manager.Present(ctx)
	if err != nil {
		return err
	}
	w.planner.guard.Only = map[string]string{}
	var rest []Target
	lost := map[string]Block{}
	for _, c := range r.Planned {
		w.planner.guard.Only[c.Key()] = c.New
		if !c.Wanted || present[c.Key()].Version == c.New {
			continue
		}
		if _, failed := r.Failed[c.Key()]; failed {
			continue
		}
		t, ok := target(w.inv, c)
		if !ok {
			lost[c.Key()] = Block{ReasonSuperseded, c.Name + " " + c.New + " is not offered any more"}
			continue
		}
		w.aims[c.Key()] = t
		rest = append(rest, t)
	}
	w.targets = rest
	if len(lost) > 0 {
		return r.append(entry{Kind: kindPlanned, Failed: lost})
	}
	return nil
}

// target finds the version of a change in an inventory.
func target(inv *Inventory, c Change) (Target, bool) {
	i := slices.IndexFunc(inv.Packages, func(p Package) bool { return p.Key() == c.Key() })
	if i < 0 {
		return Target{}, false
	}
	p := &inv.Packages[i]
	k := slices.IndexFunc(p.Versions, func(v Version) bool { return v.Text == c.New && v.Offered && v.Order > 0 })
	if k < 0 {
		return Target{}, false
	}
	return Target{p, &p.Versions[k]}, true
}

// carryOut installs the targets: all in one transaction; what is left after one that failed in further ones, halved
// where nothing went forward. The *Error is why the run as a whole came to an early end, with what is left not tried.
func (w *work) carryOut(ctx context.Context, r *liveRun) (*Error, error) {
	groups := [][]Target{w.targets}
	idle := 0
	for len(groups) > 0 {
		group := groups[0]
		groups = groups[1:]
		if len(group) == 0 {
			continue
		}
		if stop := w.mayGoOn(ctx); stop != nil {
			return stop, w.giveUp(r, append([][]Target{group}, groups...), stop)
		}
		plan, accepted, err := w.ready(ctx, r, group)
		if err != nil {
			return w.halt(ctx, r, err, append([][]Target{group}, groups...))
		}
		if len(plan.Changes) == 0 {
			continue
		}
		left, applied, err := w.transact(ctx, r, plan, accepted)
		if err != nil {
			return w.halt(ctx, r, err, append([][]Target{accepted}, groups...))
		}
		idle++
		if len(left) < len(accepted) {
			idle = 0
		}
		switch {
		case len(left) == 0:
		case idle >= maxIdle:
			stop := Fail("PATCH_FAILED", "the package manager changed nothing %d times in a row: %s", idle, applied.Text)
			return stop, w.giveUp(r, append([][]Target{left}, groups...), stop)
		case len(left) < len(accepted): // something went forward
			groups = append(groups, left)
		case len(left) > 1:
			groups = append(groups, left[:len(left)/2], left[len(left)/2:])
		default:
			if err := w.failed(r, left[0], cmp.Or(applied.Reason, ReasonInstall), applied); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// mayGoOn says why no further transaction may be begun.
func (w *work) mayGoOn(ctx context.Context) *Error {
	switch {
	case ctx.Err() != nil:
		return Fail("INTERRUPTED", "the run was stopped; what was under way was finished")
	case !w.req.Deadline.IsZero() && w.e.Now().After(w.req.Deadline.Add(-minTimeLeft)):
		return Fail("TIME_BUDGET", "the step's time ends at %s: too soon to begin a transaction", w.req.Deadline.UTC().Format(time.RFC3339))
	}
	return nil
}

// halt ends a run early. Where something may have been installed by then, that is reported all the same; else the error
// says it all.
func (w *work) halt(ctx context.Context, r *liveRun, cause error, groups [][]Target) (*Error, error) {
	stop := asError(cause, "FAILED", CodeFailed)
	if ctx.Err() != nil && errors.Is(cause, ctx.Err()) {
		stop = w.mayGoOn(ctx)
	}
	if r.Transactions == 0 && stop.Reason != "DISK" && stop.Reason != "READ_ONLY" && stop.Reason != "INTERRUPTED" {
		return nil, stop
	}
	return stop, w.giveUp(r, groups, stop)
}

// giveUp records that targets were not tried because the run as a whole has to end.
func (w *work) giveUp(r *liveRun, groups [][]Target, why *Error) error {
	reason := ReasonNotTried
	switch why.Reason {
	case "DISK":
		reason = ReasonNoSpace
	case "INTERRUPTED", "TIME_BUDGET":
		reason = ReasonInterrupted
	}
	lost := map[string]Block{}
	for _, g := range groups {
		for _, t := range g {
			lost[t.Package.Key()] = Block{reason, why.Error()}
		}
	}
	return r.append(entry{Kind: kindPlanned, Failed: lost})
}

// ready makes a plan whose package files are all there and for which there is room, and puts it into the journal.
func (w *work) ready(ctx context.Context, r *liveRun, group []Target) (*Plan, []Target, error) {
	e := w.e
	for {
		e.progress(Progress{Phase: "plan"})
		plan, accepted, err := w.planner.best(ctx, group)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, Fail("INTERRUPTED", "the run was stopped before anything was changed")
			}
			return nil, nil, asError(err, "DEPENDENCY", CodeDependency)
		}
		if refused := w.planner.refused; len(refused) > 0 {
			if err := r.append(entry{Kind: kindPlanned, Failed: maps.Clone(refused)}); err != nil {
				return nil, nil, err
			}
		}
		if len(plan.Changes) == 0 {
			return plan, nil, nil
		}
		if err := e.Manager.Room(ctx, w.wish(accepted), plan); err != nil {
			return nil, nil, asError(err, "DISK", CodeFailed)
		}
		e.progress(Progress{Phase: "download", Total: len(plan.Changes)})
		lacking, err := e.Manager.Fetch(ctx, w.wish(accepted), plan, r.log)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, Fail("INTERRUPTED", "the run was stopped while packages were downloaded")
			}
			return nil, nil, asError(err, "REPO_METADATA", CodeFailed)
		}
		if len(lacking) > 0 {
			r.note("not to be had: %s", strings.Join(slices.Sorted(maps.Keys(lacking)), " "))
			maps.Copy(w.planner.lacking, lacking)
			continue
		}
		kept := r.Kept
		if kept == nil {
			if kept, err = e.Manager.Keep(ctx, plan, r.Dir, r.log); err != nil {
				r.note("old package files are not kept: %v", err)
			}
		}
		return plan, accepted, r.append(entry{Kind: kindPlanned, Plan: plan.Changes, Kept: kept})
	}
}

func (w *work) wish(targets []Target) Wish {
	out := Wish{Sources: w.planner.sources}
	for _, t := range targets {
		out.Install = append(out.Install, want(t))
	}
	return out
}

// transact carries a plan out and returns the targets that are still as they were.
func (w *work) transact(ctx context.Context, r *liveRun, plan *Plan, targets []Target) (left []Target, applied Applied, err error) {
	e := w.e
	inv, _, err := e.inventory(ctx, w.platform, ScanRequest{Baseline: w.req.Baseline})
	if err != nil {
		return nil, applied, err
	}
	if bad := w.planner.guard.Check(plan, factsOf(inv)); len(bad) > 0 { // the lists changed since the plan was made
		lost := map[string]Block{}
		for _, t := range targets {
			lost[t.Package.Key()] = bad[0].Block
		}
		return nil, applied, r.append(entry{Kind: kindPlanned, Failed: lost})
	}
	applied, health, err := w.apply(ctx, r, w.wish(targets), plan, w.allowed)
	if err != nil {
		return nil, applied, err
	}
	ctx = context.WithoutCancel(ctx) // also when the run is to stop, it says what came of this
	present, err := e.Manager.Present(ctx)
	if err != nil {
		return nil, applied, err
	}
	for _, c := range plan.Changes { // rpm goes on after a script that failed, and the package counts as installed
		if why := applied.Faults[c.Name]; why != "" && c.New != "" && present[c.Key()].Version == c.New && present[c.Key()].Broken == "" {
			w.degraded = append(w.degraded, c.Name+" "+c.New+" is installed, and "+why)
		}
	}
	lost := map[string]Block{}
	for _, t := range targets {
		key := t.Package.Key()
		now := present[key]
		switch {
		case now.Version == t.Version.Text && now.Broken == "":
		case now.Broken != "" && now.Version == t.Package.Installed && applied.Faults[t.Package.Name] == "" && !w.retried[key]:
			// It was cut off on its way, and nothing is known against it: installing it is what mends it.
			w.retried[key] = true
			left = append(left, t)
		case now.Broken != "" || health.Broken[key] != "":
			how := cmp.Or(health.Broken[key], now.Broken)
			lost[key] = Block{ReasonBroken, fault(applied, t.Package.Name, "left "+how)}
		case now.Version != t.Package.Installed:
			lost[key] = Block{ReasonInstall, fmt.Sprintf("%s is installed now, not %s", now.Version, t.Version.Text)}
		case applied.Code == 0:
			lost[key] = Block{ReasonInstall, "the package manager ended well and left it as it was"}
		case applied.Faults[t.Package.Name] != "":
			lost[key] = Block{cmp.Or(applied.Reason, ReasonInstall), applied.Faults[t.Package.Name]}
		default:
			left = append(left, t)
		}
	}
	return left, applied, r.append(entry{Kind: kindOver, N: r.Transactions, Code: applied.Code, Text: applied.Text, Failed: lost})
}

// apply runs one transaction and leaves nothing half way that can be mended, also when the run is to stop.
func (w *work) apply(ctx context.Context, r *liveRun, wish Wish, plan *Plan, allowed func(Change) bool) (Applied, Health, error) {
	e := w.e
	if err := r.append(entry{Kind: PhaseTransaction, N: r.Transactions + 1, Boot: e.BootID}); err != nil {
		return Applied{}, Health{}, err
	}
	stop := e.follow(r.log.Name(), plan)
	applied, err := e.Manager.Apply(ctx, wish, plan, fmt.Sprintf("oakum-%s-%d", r.ID, r.Transactions), r.log)
	stop()
	if err != nil {
		return applied, Health{}, asError(err, "FAILED", CodeFailed)
	}
	ctx = context.WithoutCancel(ctx)
	health, err := e.Manager.Repair(ctx, r.log, allowed)
	if err != nil {
		return applied, health, asError(err, "LOCKED", CodeFailed)
	}
	if applied.Code != 0 {
		w.degraded = append(w.degraded, e.redo(ctx, plan.Changes, r.log)...)
	}
	if err := e.marks(ctx, plan.Changes, r.log); err != nil {
		w.degraded = append(w.degraded, err.Error())
	}
	return applied, health, nil
}

// redo lets a package manager finish what the scripts of a transaction's packages may have been cut off at.
func (e *Engine) redo(ctx context.Context, changes []Change, log *os.File) []string {
	m, ok := e.Manager.(Redoer)
	if !ok {
		return nil
	}
	trouble, err := m.Redo(ctx, changes, log)
	if err != nil {
		trouble = append(trouble, "after an interrupted transaction: "+err.Error())
	}
	return trouble
}

// marks makes the marks of packages those of the plan. What does so may be killed like the transaction before it, and
// nothing comes after it that would make up for that: it is repeated, twice at most.
func (e *Engine) marks(ctx context.Context, changes []Change, log *os.File) error {
	err := e.Manager.Settle(ctx, changes, log)
	for tries := 1; err != nil && tries < 3 && ctx.Err() == nil; tries++ {
		err = e.Manager.Settle(ctx, changes, log)
	}
	return err
}

func fault(a Applied, name, def string) string {
	if f := a.Faults[name]; f != "" {
		return f
	}
	if a.Text != "" && !strings.Contains(def, ": ") {
		return def + "; " + a.Text
	}
	return def
}

func (w *work) failed(r *liveRun, t Target, reason string, a Applied) error {
	return r.append(entry{Kind: kindPlanned, Failed: map[string]Block{t.Package.Key(): {reason, fault(a, t.Package.Name, "it was not installed")}}})
}

func (e *Engine) progress(p Progress) {
	if e.Progress != nil {
		e.Progress(p)
	}
}

func (e *Engine) warn(format string, args ...any) {
	e.progress(Progress{Phase: "warning", Text: fmt.Sprintf(format, args...)})
}

// follow reports how far a transaction is by what the package manager writes.
func (e *Engine) follow(log string, plan *Plan) (stop func()) {
	if e.Progress == nil {
		return func() {}
	}
	info, err := os.Stat(log)
	if err != nil {
		return func() {}
	}
	at := info.Size()
	done, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		f := follower{plan: plan, finished: e.Manager.Finished, progress: e.Progress}
		f.progress(Progress{Phase: "install", Total: len(plan.Changes)})
		for {
			at = f.read(log, at)
			select {
			case <-quit:
				f.read(log, at)
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return func() { close(quit); <-done }
}
