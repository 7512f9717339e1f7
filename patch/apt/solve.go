package apt

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
	"oakum.dev/repo/deb"
)

// solver looks whether targets can be installed together. It knows three moves: take a package that a target needs
// along, upgrade a dependant along, and leave a target out. Where only a removal would help, it is not certain.
type solver struct {
	ctx      context.Context
	n        *node
	rejected func(baseline.Patch) bool
	links    linkCache
	byName   map[string][]*pkg // packages by name
	provides map[string][]*pkg // by a name that some version of theirs provides
	known    map[*pkg]bool

	world   map[*pkg]*version // what is there after the plan
	changed map[*pkg]bool
	goal    map[*pkg]*version
	blocked map[*pkg]patch.Block
	unsure  map[*pkg]bool
	wanted  map[string]struct{} // names to look up before the next try
}

func newSolver(ctx context.Context, n *node, rejected func(baseline.Patch) bool) *solver {
	return &solver{
		ctx: ctx, n: n, rejected: rejected, links: linkCache{}, byName: map[string][]*pkg{}, provides: map[string][]*pkg{}, known: map[*pkg]bool{},
		goal: map[*pkg]*version{}, blocked: map[*pkg]patch.Block{}, unsure: map[*pkg]bool{},
	}
}

// Check says which targets apt would not install together, and why.
func (m *Manager) Check(ctx context.Context, _ *patch.Inventory, targets []patch.Target, rejected func(baseline.Patch) bool) (map[string]patch.Block, error) {
	n := m.node
	defer n.lists.done()
	if len(targets) == 0 {
		return nil, nil
	}
	s := newSolver(ctx, n, rejected)
	memo := n.checkID(targets, rejected != nil, m.cfg.Exec != nil)
	if rejected == nil {
		if text, ok := n.lists.memo(memo); ok {
			var out map[string]patch.Block
			if json.Unmarshal([]byte(text), &out) == nil {
				return out, nil
			}
		}
	}
	full := true
	byKey := map[*pkg]string{}
	for _, t := range targets {
		p := n.find(t.Package)
		s.goal[p] = p.find(t.Version)
		byKey[p] = t.Package.Key()
	}
	for _, p := range n.order {
		if c := p.candidate; c != nil && s.goal[p] != c && s.free(p) && pkgver.Dpkg(c.Version, p.installed.Version) > 0 {
			full = false
		}
	}
	n.recall()
	if err := s.run(); err != nil {
		return nil, err
	}
	failed := false
	if len(s.unsure) > 0 && m.cfg.Exec != nil && !n.sourced {
		if err := s.ask(m, full && rejected == nil); err != nil {
			failed = true
			n.cfg.Note("apt-get could not be asked about dependencies: " + err.Error())
		}
	}
	out := map[string]patch.Block{}
	for p, b := range s.blocked {
		if k, ok := byKey[p]; ok {
			out[k] = b
		} else if b.Reason == "" && p.installed != nil {
			out[p.name+"."+p.installed.Arch] = b
		}
	}
	if text, err := json.Marshal(out); err == nil && rejected == nil && !failed {
		n.lists.remember(memo, string(text))
	}
	return out, nil
}

// checkID names everything that a Check's answer follows from beyond the lists: what is installed, what is wanted,
// and what configuration makes of both.
func (n *node) checkID(targets []patch.Target, rejects, asks bool) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %v %v %s\n", n.statusID, rejects, asks, n.aptVer)
	fmt.Fprintf(h, "%v %v\n", n.pins, n.conf) // they bear on packages that a target would bring in, too
	for _, t := range targets {
		io.WriteString(h, t.Package.Key()+" "+t.Version.Text+"\n")
	}
	for _, p := range n.order {
		if p.candidate != nil && p.candidate != p.installed {
			kept, unusable, _ := n.away(p, p.candidate)
			io.WriteString(h, p.name+":"+p.arch+" "+p.candidate.Version+" "+kept+unusable+"\n")
		}
	}
	return "check " + string(h.Sum(nil))
}

// find returns what is known of an installed package.
func (n *node) find(p *patch.Package) *pkg {
	arch := p.Arch
	if arch == "all" {
		arch = n.native
	}
	return n.pkgs[key(p.Name, arch)]
}

func (p *pkg) find(v *patch.Version) *version {
	return p.versions[slices.IndexFunc(p.versions, func(x *version) bool { return x.Version == v.Text })]
}

// recall adds what was looked up in earlier scans of the same lists.
func (n *node) recall() {
	n.take(n.lists.extra)
	for name := range n.lists.looked {
		n.looked[name] = true
	}
}

// take adds looked-up stanzas and chooses candidates of packages that were not known.
func (n *node) take(hits []deb.Hit) {
	n.addHits(hits)
	for _, h := range hits {
		arch := h.Package.Arch
		if arch == "all" {
			arch = n.native
		}
		if p := n.pkgs[key(h.Package.Name, arch)]; p != nil && p.installed == nil {
			p.candidate = nil
			n.choose(p)
		}
	}
}

// free reports whether an upgrade to the candidate is nothing that the node keeps away.
func (s *solver) free(p *pkg) bool {
	if p.installed != nil && p.installed.Held() || p.candidate == nil {
		return false
	}
	if p.installed == nil {
		return true
	}
	kept, unusable, _ := s.n.away(p, p.candidate)
	return kept == "" && unusable == ""
}

// run repeats the plan, each time without what turned out not to fit, until the rest fits.
func (s *solver) run() error {
	for range 200 {
		s.wanted = map[string]struct{}{}
		if s.try() {
			return nil
		}
		if len(s.wanted) > 0 {
			hits, err := s.n.lists.find(s.ctx, s.wanted)
			if errors.Is(err, errChanged) {
				return patch.Fail("REPO_METADATA", "%w", err)
			}
			if err != nil {
				return err
			}
			s.n.take(hits)
			for name := range s.wanted {
				s.n.looked[name] = true
			}
		}
	}
	return fmt.Errorf("dependencies of %d targets do not settle", len(s.goal))
}

// register makes a package findable by its name and what any of its versions provides.
func (s *solver) register(p *pkg) {
	if s.known[p] {
		return
	}
	s.known[p] = true
	s.byName[p.name] = append(s.byName[p.name], p)
	for _, v := range p.versions {
		for _, r := range s.links.of(v.Package).provides {
			if l := s.provides[r[0].name]; !slices.Contains(l, p) {
				s.provides[r[0].name] = append(l, p)
			}
		}
	}
}

// try makes one plan. It returns true when the plan holds.
func (s *solver) try() bool {
	s.world, s.changed = make(map[*pkg]*version, len(s.n.order)), map[*pkg]bool{}
	for _, p := range s.n.pkgs {
		s.register(p)
		if p.installed != nil {
			s.world[p] = p.installed
		}
	}
	// What is broken before the plan is not the plan's fault.
	before := s.broken(s.n.order)
	for p, v := range s.goal {
		if _, no := s.blocked[p]; !no {
			s.set(p, v)
		}
	}
	for range 100 {
		moved, settled := s.repair(before)
		if settled {
			return true
		}
		if !moved {
			return false
		}
	}
	return false
}

func (s *solver) set(p *pkg, v *version) {
	s.world[p] = v
	s.changed[p] = true
}

// flaw is a relation of a package of the world that does not hold.
type flaw struct {
	p        *pkg
	r        string
	relation relation
	conflict *pkg // nil: an unmet dependency
}

func (s *solver) broken(of []*pkg) map[string]bool {
	out := map[string]bool{}
	for _, f := range s.flaws(of, false) {
		out[f.id()] = true
	}
	return out
}

func (f flaw) id() string {
	id := key(f.p.name, f.p.arch) + " " + f.r
	if f.conflict != nil {
		id += " x " + key(f.conflict.name, f.conflict.arch)
	}
	return id
}

// flaws lists what does not hold. first stops at the first one.
func (s *solver) flaws(of []*pkg, first bool) []flaw {
	var out []flaw
	for _, p := range of {
		v := s.world[p]
		if v == nil {
			continue
		}
		l := s.links.of(v.Package)
		for _, r := range l.depends {
			if !s.met(p, r) {
				out = append(out, flaw{p: p, r: r.String(), relation: r})
			}
		}
		for _, r := range l.conflicts {
			for _, q := range s.matching(p, r[0], true) {
				out = append(out, flaw{p: p, r: r.String(), relation: r, conflict: q})
			}
		}
		for _, q := range s.byName[p.name] {
			if w := s.world[q]; q != p && w != nil && !sideBySide(v, w) {
				out = append(out, flaw{p: p, r: "another architecture", conflict: q})
			}
		}
		if first && len(out) > 0 {
			return out
		}
	}
	return out
}

// sideBySide reports whether versions of one name for two architectures can be installed together: both say that they
// can, and they are the same version.
func sideBySide(v, w *version) bool {
	return v.MultiArch == "same" && w.MultiArch == "same" && v.Version == w.Version
}

func (s *solver) met(p *pkg, r relation) bool {
	for _, a := range r {
		if len(s.matching(p, a, false)) > 0 {
			return true
		}
	}
	return false
}

// matching lists the packages of the world that an alternative of p's speaks of.
func (s *solver) matching(p *pkg, a alternative, negative bool) []*pkg {
	var out []*pkg
	for _, q := range s.byName[a.name] {
		if v := s.world[q]; v != nil && (!negative || q.name != p.name) && s.archFits(p, a, q, v, negative) && a.takes(v.Version) {
			out = append(out, q)
			if !negative {
				return out
			}
		}
	}
	for _, q := range s.provides[a.name] {
		v := s.world[q]
		if v == nil || negative && q.name == p.name || !s.archFits(p, a, q, v, negative) {
			continue
		}
		if s.providesIt(v, a) && !slices.Contains(out, q) {
			out = append(out, q)
			if !negative {
				return out
			}
		}
	}
	return out
}

func (s *solver) providesIt(v *version, a alternative) bool {
	for _, r := range s.links.of(v.Package).provides {
		if r[0].name == a.name && (a.op == "" || r[0].version != "" && a.takes(r[0].version)) {
			return true
		}
	}
	return false
}

func (s *solver) archFits(p *pkg, a alternative, q *pkg, v *version, negative bool) bool {
	switch a.arch {
	case "":
		return negative || q.arch == p.arch || v.MultiArch == "foreign"
	case "any":
		return v.MultiArch == "allowed"
	case "native":
		return q.arch == s.n.native
	}
	return q.arch == a.arch
}

// repair finds what the plan broke and makes one round of moves. settled: nothing is broken. Not moved and not
// settled: something was blocked or must be looked up, and the plan has to start again.
func (s *solver) repair(before map[string]bool) (moved, settled bool) {
	all := make([]*pkg, 0, len(s.world))
	all = append(all, s.n.order...)
	for p := range s.changed {
		if p.installed == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(key(a.name, a.arch), key(b.name, b.arch)) })
	settled = true
	restart := false
	for _, f := range s.flaws(all, false) {
		if before[f.id()] {
			continue
		}
		settled = false
		switch s.fix(f) {
		case fixMoved:
			moved = true
		case fixRestart:
			restart = true
		}
	}
	return moved && !restart, settled
}

type fixResult int

const (
	fixMoved fixResult = iota
	fixRestart
)

func (s *solver) fix(f flaw) fixResult {
	if s.world[f.p] == nil {
		return fixMoved
	}
	if f.conflict != nil {
		return s.fixConflict(f)
	}
	if s.met(f.p, f.relation) { // an earlier move of this round did it
		return fixMoved
	}
	rejectedOnly := false
	// A dependant that was not touched may have a version that fits the new world.
	if !s.changed[f.p] && s.upgradeAlong(f.p, func() bool {
		return s.met(f.p, f.relation) || !hasRelation(s.links.of(s.world[f.p].Package).depends, f.r)
	}) {
		return fixMoved
	}
	for i, a := range f.relation {
		ok, rejected := s.bring(f.p, a)
		if ok {
			if i > 0 { // apt may insist on an earlier alternative and give up
				s.unsure[f.p] = true
			}
			return fixMoved
		}
		rejectedOnly = rejectedOnly || rejected
	}
	unknown := false
	for _, a := range f.relation { // what is not installed has not been read yet
		if !s.n.looked[a.name] {
			s.wanted[a.name] = struct{}{}
			unknown = true
		}
	}
	if unknown {
		return fixRestart
	}
	block := patch.Block{Reason: patch.ReasonUnmetDependency, Detail: "needs " + f.r}
	if rejectedOnly {
		block = patch.Block{Reason: patch.ReasonBlockedByRejected, Detail: "needs " + f.r + ", which the baseline rejects"}
	}
	if s.changed[f.p] {
		s.block(f.p, block, false)
		return fixRestart
	}
	// A package that stays needs something that the plan took away: whoever took it has to stay too.
	block = patch.Block{Reason: patch.ReasonConflict, Detail: f.p.name + " needs " + f.r}
	for _, q := range s.changers(f.relation) {
		s.block(q, block, true)
	}
	return fixRestart
}

func hasRelation(rs []relation, text string) bool {
	return slices.ContainsFunc(rs, func(r relation) bool { return r.String() == text })
}

// changers lists the changed packages that met the relation before they changed.
func (s *solver) changers(r relation) []*pkg {
	var out []*pkg
	for p := range s.changed {
		if p.installed == nil {
			continue
		}
		for _, a := range r {
			if p.name == a.name && a.takes(p.installed.Version) || s.providesIt(p.installed, a) {
				out = append(out, p)
				break
			}
		}
	}
	if len(out) == 0 { // not to be told: nobody is certain
		for p := range s.changed {
			out = append(out, p)
		}
	}
	return out
}

func (s *solver) fixConflict(f flaw) fixResult {
	p, q := f.p, f.conflict
	still := func() bool {
		v, w := s.world[p], s.world[q]
		if v == nil || w == nil {
			return false
		}
		if f.relation == nil {
			return !sideBySide(v, w)
		}
		return hasRelation(s.links.of(v.Package).conflicts, f.r) && slices.Contains(s.matching(p, f.relation[0], true), q)
	}
	if !still() {
		return fixMoved
	}
	for _, x := range []*pkg{q, p} {
		if !s.changed[x] && s.upgradeAlong(x, func() bool { return !still() }) {
			return fixMoved
		}
	}
	block := patch.Block{Reason: patch.ReasonConflict, Detail: fmt.Sprintf("%s %s conflicts with %s %s", p.name, s.world[p].Version, q.name, s.world[q].Version)}
	if s.changed[p] {
		s.block(p, block, true)
	} else {
		s.block(q, block, true)
	}
	return fixRestart
}

// upgradeAlong moves an installed package that is not a goal to its candidate when that helps.
func (s *solver) upgradeAlong(p *pkg, helps func() bool) bool {
	if p.installed == nil || s.isBlocked(p) || !s.free(p) || pkgver.Dpkg(p.candidate.Version, p.installed.Version) <= 0 || s.rejects(p, p.candidate) {
		return false
	}
	old := s.world[p]
	s.world[p] = p.candidate
	if !helps() {
		s.world[p] = old
		return false
	}
	s.changed[p] = true
	return true
}

// bring satisfies an alternative with a version that is not in the world: of an installed package, or of a new one.
func (s *solver) bring(p *pkg, a alternative) (ok, rejected bool) {
	for _, q := range append(slices.Clone(s.byName[a.name]), s.provides[a.name]...) {
		v := q.candidate
		if v == nil || s.world[q] == v || s.isBlocked(q) || !s.archFits(p, a, q, v, false) || !s.free(q) {
			continue
		}
		if !(q.name == a.name && a.takes(v.Version) || s.providesIt(v, a)) {
			continue
		}
		if s.changed[q] && q.installed == nil {
			continue
		}
		if q.installed != nil && pkgver.Dpkg(v.Version, q.installed.Version) <= 0 {
			continue
		}
		if s.rejects(q, v) {
			rejected = true
			continue
		}
		s.set(q, v)
		return true, false
	}
	return false, rejected
}

func (s *solver) isBlocked(p *pkg) bool {
	_, ok := s.blocked[p]
	return ok
}

func (s *solver) rejects(p *pkg, v *version) bool {
	return s.rejected != nil && s.rejected(baseline.Patch{Name: p.name, Arch: v.Arch, Version: v.Version, Priority: v.Priority, Section: v.Section})
}

func (s *solver) block(p *pkg, b patch.Block, unsure bool) {
	if !s.isBlocked(p) {
		s.blocked[p] = b
	}
	if unsure {
		s.unsure[p] = true
	}
}
