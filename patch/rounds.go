package patch

import (
	"context"
	"slices"
)

// Rounder is a package manager whose patches unlock others: what an install has put in makes further patches applicable,
// at once or after a reboot. An install looks again as long as it finds approved ones that it has not tried.
type Rounder interface {
	// Rounds is how often an install goes on before a reboot; at least 1.
	Rounds() int
}

// maxRoundReboots is how often a run that finds more to install after its reboot asks for a further one. The agent has a
// bound of its own for a whole command.
const maxRoundReboots = 3

// further carries out rounds beyond the first.
func (w *work) further(ctx context.Context, r *liveRun) (*Error, error) {
	m, ok := w.e.Manager.(Rounder)
	if !ok {
		return nil, nil
	}
	for n := 1; n < m.Rounds(); n++ {
		if ctx.Err() != nil || !w.lookAgain(ctx, r) {
			return nil, nil
		}
		r.note("round %d: what is installed has made %d more patches applicable", n+1, len(w.targets))
		if stop, err := w.carryOut(ctx, r); stop != nil || err != nil {
			return stop, err
		}
	}
	return nil, nil
}

// lookAgain finds approved targets that were not there before. A node that cannot be read now is read once more, and
// with more patience, when the run ends.
func (w *work) lookAgain(ctx context.Context, r *liveRun) bool {
	if w.listed { // a list is as long as it is
		return false
	}
	req := w.req.ScanRequest
	req.Refresh = false
	s, err := w.e.look(ctx, req, w.j.Now)
	if err == nil {
		err = s.check(ctx)
	}
	if err != nil {
		r.note("the node could not be looked at again: %v", err)
		return false
	}
	w.inv, w.targets = s.inv, nil
	w.planner.facts = factsOf(s.inv)
	for _, t := range s.targets {
		k := t.Package.Key()
		if b := s.blocks[k]; b.Reason != "" || w.known(r, t) {
			continue
		}
		w.aims[k] = t
		w.targets = append(w.targets, t)
	}
	return len(w.targets) > 0
}

// known reports whether a run has planned or tried a target in that version.
func (w *work) known(r *liveRun, t Target) bool {
	k := t.Package.Key()
	if b, failed := r.Failed[k]; failed && b.Reason != ReasonRestartFirst {
		return true
	}
	return slices.ContainsFunc(r.Planned, func(c Change) bool { return c.Key() == k && c.New == t.Version.Text })
}

// goesOn reports whether a run that has rebooted the node has more to install: what the reboot was needed for, or what
// it made applicable. Then only that is left of the targets.
func (w *work) goesOn(r *liveRun) bool {
	if _, ok := w.e.Manager.(Rounder); !ok || w.listed && len(r.Planned) > 0 {
		return false
	}
	if r.Phase != PhaseReboot || r.Boot == w.e.BootID || r.Reboots >= maxRoundReboots || w.req.RebootOption != RebootIfNeeded {
		return false
	}
	w.targets = slices.DeleteFunc(w.targets, func(t Target) bool { return w.known(r, t) })
	return len(w.targets) > 0
}

// restartFirst reports whether something could not be tried because the node has to be rebooted before.
func (r *Run) restartFirst() bool {
	for _, b := range r.Failed {
		if b.Reason == ReasonRestartFirst {
			return true
		}
	}
	return false
}
