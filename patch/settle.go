package patch

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Settle ends the runs that a crash, a power loss or a kill interrupted and that nobody takes up: it repairs what the
// package manager was stopped at, and records what was installed and what was not. mine says whether a run with this
// execution id, empty for one started by hand, is the caller's to end: others are taken up by whoever runs their command.
// It returns the runs that it ended. Runs that are at work are waited for.
func (e *Engine) Settle(ctx context.Context, mine func(executionID string) bool) ([]Run, error) {
	open, err := e.unsettled(mine)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	release, err := e.lock(ctx, "settle", "", e.Now().UTC())
	if err != nil {
		return nil, err
	}
	defer release()
	if open, err = e.unsettled(mine); err != nil { // whoever held the lock may have ended them
		return nil, err
	}
	var out []Run
	for _, run := range open {
		r, err := openRun(run.Dir, e.Now)
		if err != nil {
			return out, diskError("take up the interrupted run", err)
		}
		err = e.settle(ctx, r)
		r.close()
		if err != nil {
			return out, err
		}
		out = append(out, r.Run)
	}
	return out, nil
}

func (e *Engine) unsettled(mine func(string) bool) ([]Run, error) {
	runs, err := Runs(e.StateDir)
	if err != nil {
		return nil, diskError("read the records of earlier runs", err)
	}
	return slices.DeleteFunc(runs, func(r Run) bool {
		return r.Phase == PhaseEnded || !mine(r.ExecutionID)
	}), nil
}

func (e *Engine) settle(ctx context.Context, r *liveRun) error {
	if _, err := e.Manager.Inventory(ctx, InventoryRequest{Now: e.Now()}); err != nil {
		r.note("the node cannot be read: %v", err) // repairing needs no inventory
	}
	health, err := e.Manager.Repair(ctx, r.log, func(c Change) bool {
		return slices.ContainsFunc(r.Planned, func(p Change) bool { return p.Key() == c.Key() && p.New == c.New })
	})
	if err != nil {
		return asError(err, "LOCKED", CodeFailed)
	}
	if r.open {
		for _, trouble := range e.redo(ctx, r.Planned, r.log) {
			e.warn("%s", trouble)
		}
	}
	if err := e.marks(ctx, r.Planned, r.log); err != nil {
		e.warn("%v", err)
	}
	changed, err := e.changed(ctx, r)
	if err != nil {
		return err
	}
	end := entry{Kind: PhaseEnded, Changed: changed, Outcome: OutcomeInterrupted, Code: CodeFailed}
	switch {
	case r.Phase == PhaseReboot && r.Boot != e.BootID:
		end.Outcome, end.Code = OutcomeSuccess, 0
		if len(r.Failed) > 0 {
			end.Outcome, end.Code = OutcomeFailed, CodeFailed
		}
		end.Text = "the node was rebooted"
	case r.Phase == PhaseReboot:
		end.Outcome, end.Text = OutcomeFailed, "the reboot has not happened"
	case len(r.Planned) == 0:
		end.Text = "INTERRUPTED: the run was stopped before anything was installed"
	default:
		end.Text = fmt.Sprintf("INTERRUPTED: the run was stopped in phase %s; %s", r.Phase, account(r.Planned, changed))
	}
	for _, k := range slices.Sorted(maps.Keys(health.Broken)) {
		how := health.Broken[k]
		end.Text += fmt.Sprintf("; %s is left half way: %s", k, how)
	}
	e.undecided(ctx, r, changed)
	return r.append(end)
}

// undecided remembers what waits for a reboot after a run that ended before it could decide about one.
func (e *Engine) undecided(ctx context.Context, r *liveRun, changed []Change) {
	if len(changed) == 0 || r.Phase == PhaseReboot || r.RebootOption == "" || r.Boot != e.BootID {
		return
	}
	state, err := loadState(e.StateDir)
	if err != nil {
		e.warn("%v", err)
	}
	s := &sight{e: e, state: state}
	if p, err := e.Manager.Platform(ctx); err == nil {
		s.j.Node = p.Node
	}
	if err := s.remember(changed, r.StartedAt, r.RebootOption); err != nil {
		e.warn("%v", err)
	}
}
