package patch

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"oakum.dev/baseline"
)

// planner asks the package manager for a plan that the guard accepts, and leaves out the targets that spoil it.
type planner struct {
	manager PackageManager
	guard   *Guard // nil: a scan asks, which wants to know only what goes in
	facts   func(key, version string) []baseline.Patch
	sources []baseline.Source
	lacking map[string]string // Change.Key to why its package file cannot be had
	refused map[string]Block  // Package.Key of targets that were left out
	// Without a guard: what the baseline rejects as a dependency, and how its names are made.
	rejected func(baseline.Patch) bool
	os       baseline.OS
}

// want says under which name and version the package manager knows a target.
func want(t Target) Want {
	return Want{Name: t.Package.Name, Arch: t.Package.Arch, Version: t.Version.Text}
}

// best plans all targets together; when that does not go, the largest part of them that halving finds. The rest is in
// refused. What is accepted alone may need company: what was refused is tried once more beside the rest.
func (p *planner) best(ctx context.Context, targets []Target) (*Plan, []Target, error) {
	var accepted []Target
	plan := &Plan{}
	var add func(more []Target) error
	add = func(more []Target) error {
		if len(more) == 0 {
			return nil
		}
		got, block, err := p.try(ctx, append(slices.Clone(accepted), more...), nil)
		if err != nil {
			return err
		}
		if block.Reason != "" && len(more) == 1 && len(accepted) > 0 {
			// Beside exactly what the rest brings along it may fit: left to itself the solver may choose otherwise.
			beside, no, err := p.try(ctx, append(slices.Clone(accepted), more...), plan.Changes)
			if err != nil {
				return err
			}
			if no.Reason == "" {
				got, block = beside, no
			}
		}
		if block.Reason == "" {
			accepted, plan = append(accepted, more...), got
			for _, t := range more {
				delete(p.refused, t.Package.Key())
			}
			return nil
		}
		if len(more) == 1 {
			p.refused[more[0].Package.Key()] = block
			return nil
		}
		half := len(more) / 2
		if err := add(more[:half]); err != nil {
			return err
		}
		return add(more[half:])
	}
	if err := add(targets); err != nil {
		return nil, nil, err
	}
	if n := len(accepted); n > 0 && n < len(targets) {
		for _, t := range targets {
			if _, no := p.refused[t.Package.Key()]; !no {
				continue
			}
			if err := add([]Target{t}); err != nil {
				return nil, nil, err
			}
		}
	}
	return plan, accepted, nil
}

// try plans targets together, with what else is fixed. The Block says why that does not go.
func (p *planner) try(ctx context.Context, targets []Target, fixed []Change) (*Plan, Block, error) {
	w := Wish{Sources: p.sources}
	for _, t := range targets {
		w.Install = append(w.Install, want(t))
	}
	for _, c := range fixed {
		if !slices.ContainsFunc(targets, func(t Target) bool { return t.Package.Key() == c.Key() }) {
			w.Install = append(w.Install, Want{Name: c.Name, Arch: c.Arch, Version: c.New})
		}
	}
	plan, err := p.manager.Plan(ctx, w)
	if err != nil {
		return nil, Block{}, err
	}
	if plan.Refused != "" {
		return nil, Block{cmp.Or(plan.Reason, ReasonSolver), plan.Refused}, nil
	}
	mark(plan, targets)
	if b := p.objection(plan); b.Reason != "" {
		return nil, b, nil
	}
	for i := range plan.Changes {
		c := &plan.Changes[i]
		if why, no := p.lacking[c.Key()]; no {
			return nil, Block{ReasonDownload, c.Name + " " + c.New + ": " + why}, nil
		}
	}
	for _, t := range targets {
		i := slices.IndexFunc(plan.Changes, func(c Change) bool { return c.Key() == t.Package.Key() })
		if i < 0 || plan.Changes[i].New != t.Version.Text {
			return nil, Block{ReasonSolver, "the package manager's plan leaves it out"}, nil
		}
	}
	return plan, Block{}, nil
}

// objection is what the guard, or where there is none what a scan, has against a plan.
func (p *planner) objection(plan *Plan) Block {
	if p.guard != nil {
		if bad := p.guard.Check(plan, p.facts); len(bad) > 0 {
			return bad[0].Block
		}
		return Block{}
	}
	for i := range plan.Changes {
		c := &plan.Changes[i]
		if b := c.takesAway(); b.Reason != "" {
			return b
		}
		if !c.Wanted && c.New != "" && p.rejected != nil && p.rejected(c.fact(p.os)) {
			return Block{ReasonBlockedByRejected, "needs " + c.Name + " " + c.New + ", which the baseline rejects"}
		}
	}
	return Block{}
}

// CheckByPlan answers a PackageManager's Check by its own solver: all targets together, and where that does not go in
// halves.
func CheckByPlan(ctx context.Context, m PackageManager, os baseline.OS, sources []baseline.Source, targets []Target, rejected func(baseline.Patch) bool) (map[string]Block, error) {
	p := &planner{manager: m, sources: sources, rejected: rejected, os: os, refused: map[string]Block{}}
	if _, _, err := p.best(ctx, targets); err != nil {
		return nil, err
	}
	return p.refused, nil
}

// mark tells the targets of a plan from what the package manager adds.
func mark(plan *Plan, targets []Target) {
	wanted := make(map[string]bool, len(targets))
	for _, t := range targets {
		wanted[t.Package.Key()] = true
	}
	for i := range plan.Changes {
		plan.Changes[i].Wanted = wanted[plan.Changes[i].Key()]
	}
	slices.SortFunc(plan.Changes, func(a, b Change) int { return strings.Compare(a.Key(), b.Key()) })
}

// factsOf looks up the notices about a version of an installed package.
func factsOf(inv *Inventory) func(key, version string) []baseline.Patch {
	byKey := make(map[string]*Package, len(inv.Packages))
	for i := range inv.Packages {
		byKey[inv.Packages[i].Key()] = &inv.Packages[i]
	}
	return func(key, version string) []baseline.Patch {
		p := byKey[key]
		if p == nil {
			return nil
		}
		for i := range p.Versions {
			if p.Versions[i].Text == version {
				return p.Versions[i].Patches
			}
		}
		return nil
	}
}
