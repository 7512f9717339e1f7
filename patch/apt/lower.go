package apt

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"slices"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// lowering looks for versions below the newest approved ones where those cannot be installed.
type lowering struct {
	ctx      context.Context
	m        *Manager
	rejected func(baseline.Patch) bool
	in       map[*pkg]*version // what goes in: the targets that are not blocked, and the lower versions found so far
	out      map[*pkg]bool     // targets that are blocked: nothing may bring them in after all
	asked    int
	failed   bool // apt-get could not be asked, so there may be more
}

// Lower tries one name at a time, and takes a lower version only when everything else still goes in beside it. Where
// apt-get can be asked it has the last word; elsewhere only what the engine is certain of counts.
func (m *Manager) Lower(
	ctx context.Context, targets []patch.Target, blocks map[string]patch.Block, lower map[string][]*patch.Version, rejected func(baseline.Patch) bool,
) (map[string]*patch.Version, error) {
	n := m.node
	defer n.lists.done()
	memo := "lower " + n.lowerID(targets, blocks, lower, m.cfg.Exec != nil)
	if rejected == nil {
		if found, ok := recallLower(n, memo, lower); ok {
			return found, nil
		}
	}
	n.recall()
	l := &lowering{ctx: ctx, m: m, rejected: rejected, in: map[*pkg]*version{}, out: map[*pkg]bool{}}
	var open []patch.Target
	for _, t := range targets {
		p := n.find(t.Package)
		if blocks[t.Package.Key()].Reason == "" {
			l.in[p] = p.find(t.Version)
			continue
		}
		l.out[p] = true
		open = append(open, t)
	}
	for _, p := range n.order { // what a phase keeps away and goes in all the same
		if b, ok := blocks[p.name+"."+p.installed.Arch]; ok && b.Reason == "" && l.in[p] == nil {
			l.in[p] = p.candidate
		}
	}
	found := map[string]*patch.Version{}
	for again := true; again; { // one that went in may be what another one needs
		again = false
		for _, t := range open {
			k := t.Package.Key()
			for _, v := range lower[k] {
				if found[k] != nil {
					break
				}
				set := together(n, open, t, v, lower)
				fits, err := l.fits(set)
				if err != nil {
					return nil, err
				}
				if !fits {
					continue
				}
				again = true
				for _, x := range set {
					found[x.Package.Key()] = x.Version
				}
			}
		}
	}
	if rejected == nil && !l.failed {
		texts := map[string]string{}
		for k, v := range found {
			texts[k] = v.Text
		}
		if b, err := json.Marshal(texts); err == nil {
			n.lists.remember(memo, string(b))
		}
	}
	return found, nil
}

// together is a lower version with those of its copies for other architectures, which move in lockstep.
func together(n *node, open []patch.Target, t patch.Target, v *patch.Version, lower map[string][]*patch.Version) []patch.Target {
	set := []patch.Target{{Package: t.Package, Version: v}}
	p := n.find(t.Package)
	if p.find(v).MultiArch != "same" {
		return set
	}
	for _, o := range open {
		if o.Package.Name != t.Package.Name || o.Package == t.Package {
			continue
		}
		for _, w := range lower[o.Package.Key()] {
			if w.Text == v.Text {
				set = append(set, patch.Target{Package: o.Package, Version: w})
			}
		}
	}
	return set
}

// fits reports whether a set goes in beside what goes in already, and keeps it when it does.
func (l *lowering) fits(set []patch.Target) (bool, error) {
	n := l.m.node
	s := newSolver(l.ctx, n, l.rejected)
	for p, v := range l.in {
		s.goal[p] = v
	}
	added := map[*pkg]*version{}
	for _, t := range set {
		p := n.find(t.Package)
		added[p] = p.find(t.Version)
		s.goal[p] = added[p]
	}
	if err := s.run(); err != nil {
		return false, err
	}
	ask := l.m.cfg.Exec != nil && !n.sourced
	if !ask && len(s.unsure) > 0 {
		return false, nil
	}
	for p := range s.goal {
		// Where the engine sees a conflict apt may know a way; where a dependency is missing there is none.
		if b, no := s.blocked[p]; no && (!ask || b.Reason != patch.ReasonConflict) {
			return false, nil
		}
	}
	if len(s.blocked) == 0 && !l.keeps(s) {
		return false, nil
	}
	if ask {
		if ok, err := l.confirmed(s); !ok || err != nil {
			return false, err
		}
	}
	for p, v := range added {
		l.in[p] = v
		delete(l.out, p)
	}
	return true, nil
}

// keeps reports whether the plan has every goal at its version, and none of what is reported as blocked.
func (l *lowering) keeps(s *solver) bool {
	for p, v := range s.goal {
		if s.world[p] != v {
			return false
		}
	}
	for p := range s.changed {
		if l.out[p] && s.goal[p] == nil {
			return false
		}
	}
	return true
}

// confirmed asks apt-get whether it installs all goals, removes nothing, and takes along only what it may.
func (l *lowering) confirmed(s *solver) (bool, error) {
	if l.asked >= maxSingles {
		return false, nil
	}
	l.asked++
	args := []string{}
	byName := make(map[string]*pkg, len(s.n.pkgs))
	for _, p := range s.n.pkgs {
		byName[planKey(s, p)] = p
	}
	for p, v := range s.goal {
		args = append(args, installName(p, v))
	}
	slices.Sort(args)
	plan, ok, err := l.m.simulate(s, append([]string{"install"}, args...))
	if err != nil {
		l.failed = true
		s.n.cfg.Note("apt-get could not be asked about lower versions: " + err.Error())
		return false, nil
	}
	if !ok || len(plan.removes) > 0 {
		return false, nil
	}
	for p, v := range s.goal {
		if plan.installs[planKey(s, p)] != v.Version {
			return false, nil
		}
	}
	for name, text := range plan.installs {
		p := byName[name]
		if p == nil {
			if l.rejected != nil {
				return false, nil // nothing is known of it, so it may be one that is rejected
			}
			continue
		}
		if s.goal[p] != nil {
			continue
		}
		i := slices.IndexFunc(p.versions, func(v *version) bool { return v.Version == text })
		if i < 0 || s.rejects(p, p.versions[i]) || p.installed != nil && (l.out[p] || !s.free(p) || p.candidate != p.versions[i]) {
			return false, nil
		}
	}
	return true, nil
}

// lowerID names everything that the answer follows from beyond the lists.
func (n *node) lowerID(targets []patch.Target, blocks map[string]patch.Block, lower map[string][]*patch.Version, asks bool) string {
	h := sha256.New()
	io.WriteString(h, n.checkID(targets, false, asks))
	for _, t := range targets {
		k := t.Package.Key()
		io.WriteString(h, k+" "+blocks[k].Reason)
		for _, v := range lower[k] {
			io.WriteString(h, " "+v.Text)
		}
		io.WriteString(h, "\n")
	}
	return string(h.Sum(nil))
}

// recallLower is the answer of an earlier scan of the same lists.
func recallLower(n *node, memo string, lower map[string][]*patch.Version) (map[string]*patch.Version, bool) {
	text, ok := n.lists.memo(memo)
	var texts map[string]string
	if !ok || json.Unmarshal([]byte(text), &texts) != nil {
		return nil, false
	}
	out := map[string]*patch.Version{}
	for k, want := range texts {
		i := slices.IndexFunc(lower[k], func(v *patch.Version) bool { return v.Text == want })
		if i < 0 {
			return nil, false
		}
		out[k] = lower[k][i]
	}
	return out, true
}
