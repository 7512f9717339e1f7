package patch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"oakum.dev/baseline"
)

// Reversal is the reverse plan of a run.
type Reversal struct {
	Of   Run
	Plan *Plan    // what would be done; nil when it cannot be
	Why  []string // what stands against it; empty: the run is reversible
	wish Wish
}

// Undo plans the reverse of a run, and carries it out unless dry. The record of an undo is a run of its own, which can
// be undone too. baseline is what the node is judged by afterwards.
func (e *Engine) Undo(ctx context.Context, id string, dry bool, b *baseline.Baseline) (*Reversal, *Installation, error) {
	started := e.Now().UTC()
	what := "undo"
	if dry {
		what = "undo --dry-run"
	}
	release, err := e.lock(ctx, what, id, started)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	run, err := LoadRun(e.StateDir, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &Error{Reason: "FAILED", Code: CodeFailed, Err: fmt.Errorf("there is no run %s on this node", id), Hint: `"oakum runs --local" lists the runs of this node`}
	}
	if err != nil {
		return nil, nil, Fail("FAILED", "read the run's record: %w", err)
	}
	req := InstallRequest{ScanRequest: ScanRequest{Baseline: b, RebootOption: NoReboot, Record: true}}
	s, err := e.look(ctx, req.ScanRequest, started)
	if err != nil {
		return nil, nil, err
	}
	rev, err := e.reverse(ctx, run)
	if err != nil || dry || len(rev.Why) > 0 || len(rev.Plan.Changes) == 0 {
		return rev, nil, err
	}
	r, err := newRun(e.StateDir, Run{Operation: OperationUndo, Undoes: run.ID, BaselineID: b.BaselineID, Baseline: b.Name, RebootOption: NoReboot}, e.BootID, e.Now)
	if err != nil {
		return rev, nil, err
	}
	defer r.close()
	w := &work{sight: s, req: req, aims: map[string]Target{}, skipped: map[string]Block{}, again: true, planner: &planner{}}
	out, err := w.undo(ctx, r, rev)
	if err != nil {
		return rev, nil, e.fail(ctx, r, err)
	}
	return rev, out, nil
}

// reverse works out how to take a run back, and whether that goes.
func (e *Engine) reverse(ctx context.Context, run *Run) (*Reversal, error) {
	rev := &Reversal{Of: *run, wish: Wish{Down: true}}
	no := func(format string, args ...any) { rev.Why = append(rev.Why, fmt.Sprintf(format, args...)) }
	if run.Phase != PhaseEnded && run.Phase != PhaseReboot {
		no("the run has not ended")
		return rev, nil
	}
	changes := run.Changed
	if run.Phase == PhaseReboot {
		changes = run.Planned
	}
	present, err := e.Manager.Present(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range run.Planned { // what its scripts left half way can be put back too
		p := present[c.Key()]
		if p.Broken != "" && p.Version == c.New && !slices.ContainsFunc(changes, func(x Change) bool { return x.Key() == c.Key() }) {
			changes = append(slices.Clip(changes), c)
		}
	}
	if len(changes) == 0 {
		no("the run changed nothing")
		return rev, nil
	}
	for _, c := range changes {
		now, there := present[c.Key()]
		switch {
		case c.New != "" && !there:
			no("%s has been removed since", c.Name)
		case c.New != "" && now.Version != c.New:
			no("%s is at %s now, not at the %s that the run installed", c.Name, now.Version, c.New)
		case c.New == "" && there:
			no("%s has been installed again since", c.Name)
		case c.Old == "":
			rev.wish.Remove = append(rev.wish.Remove, c.Name+":"+c.Arch)
		default:
			w := Want{Name: c.Name, Arch: c.Arch, Version: c.Old}
			if file := run.keptFile(c.Key()); file != "" {
				w.File = file
			} else if c.Own {
				no("%s %s was another build than one that can be downloaded, and its package file was not kept", c.Name, c.Old)
			}
			rev.wish.Install = append(rev.wish.Install, w)
		}
	}
	if len(rev.Why) > 0 {
		return rev, nil
	}
	plan, err := e.Manager.Plan(ctx, rev.wish)
	if err != nil {
		return nil, asError(err, "DEPENDENCY", CodeDependency)
	}
	if plan.Refused != "" {
		no("the package manager would not do it: %s", plan.Refused)
		return rev, nil
	}
	for i := range plan.Changes {
		p := &plan.Changes[i]
		k := slices.IndexFunc(changes, func(c Change) bool { return c.Key() == p.Key() })
		if k < 0 {
			no("%s would change from %q to %q, which the run did not touch", p.Name, p.Old, p.New)
			continue
		}
		p.Wanted, p.Auto = true, changes[k].Auto
		if changes[k].Old != p.New {
			no("%s %s is not to be had any more", p.Name, changes[k].Old)
		}
	}
	if len(plan.Changes) < len(changes) && len(rev.Why) == 0 {
		no("the package manager's plan leaves %d packages as they are", len(changes)-len(plan.Changes))
	}
	rev.Plan = plan
	return rev, nil
}

// undo carries a reverse plan out.
func (w *work) undo(ctx context.Context, r *liveRun, rev *Reversal) (*Installation, error) {
	e := w.e
	health, err := e.Manager.Repair(ctx, r.log, nil)
	if err != nil {
		return nil, asError(err, "LOCKED", CodeFailed)
	}
	w.degraded = append(w.degraded, slices.Concat(health.Repaired, health.Trouble)...)
	w.broken = health.Broken // not the undo's fault
	leftovers, err := e.Manager.Leftovers(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.Manager.Room(ctx, rev.wish, rev.Plan); err != nil {
		return nil, asError(err, "DISK", CodeFailed)
	}
	lacking, err := e.Manager.Fetch(ctx, rev.wish, rev.Plan, r.log)
	if err != nil {
		return nil, asError(err, "REPO_METADATA", CodeFailed)
	}
	if len(lacking) > 0 {
		var names []string
		for k, why := range lacking {
			names = append(names, k+" ("+why+")")
		}
		slices.Sort(names)
		return nil, Fail("PATCH_FAILED", "old package files are not to be had: %s", strings.Join(names, ", "))
	}
	kept, err := e.Manager.Keep(ctx, rev.Plan, r.Dir, r.log)
	if err != nil {
		r.note("package files are not kept: %v", err)
	}
	if err := r.append(entry{Kind: kindPlanned, Plan: rev.Plan.Changes, Kept: kept}); err != nil {
		return nil, err
	}
	applied, _, err := w.apply(ctx, r, rev.wish, rev.Plan, nil)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	changed, err := e.changed(ctx, r)
	if err != nil {
		return nil, err
	}
	var fail *Error
	if len(changed) < len(r.Planned) {
		fail = Fail("PATCH_FAILED", "%s; %s", applied.Text, account(r.Planned, changed))
	}
	if err := r.append(entry{Kind: PhaseInstalled, Boot: e.BootID}); err != nil {
		return nil, err
	}
	return w.finish(ctx, r, w.e.Now().UTC(), leftovers, fail)
}
