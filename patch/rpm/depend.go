package rpm

import (
	"slices"
	"strings"

	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// Takes reports whether a relation is met by a package's own version.
func Takes(r *md.Relation, p *md.Package) bool { return overlaps(r, p.Epoch, p.Version, p.Release) }

// overlaps reports whether a relation takes a version. Without a release on one side releases are not compared.
// Source: rpm's dependency documentation.
func overlaps(r *md.Relation, epoch, version, release string) bool {
	if r.Sense == 0 || r.Version == "" {
		return true
	}
	have, want := version, r.Version
	if release != "" && r.Release != "" {
		have, want = have+"-"+release, want+"-"+r.Release
	}
	if epoch != "" {
		have = epoch + ":" + have
	}
	if r.Epoch != "" {
		want = r.Epoch + ":" + want
	}
	switch c := pkgver.RPM(have, want); {
	case c < 0:
		return r.Sense&md.Less != 0
	case c > 0:
		return r.Sense&md.Greater != 0
	}
	return r.Sense&md.Equal != 0
}

// meets reports whether a provided capability meets a requirement of the same name.
func meets(need, have *md.Relation) bool {
	if need.Sense == 0 || have.Sense == 0 || have.Version == "" {
		return true
	}
	return overlaps(need, have.Epoch, have.Version, have.Release)
}

// world is what would be installed: by name of a capability, who provides it.
type world struct {
	provides map[string][]provided
	packages []*md.Package
}

type provided struct {
	by  *md.Package
	rel *md.Relation
}

func (w *world) add(p *md.Package) {
	w.packages = append(w.packages, p)
	for i := range p.Provides {
		w.provides[p.Provides[i].Name] = append(w.provides[p.Provides[i].Name], provided{p, &p.Provides[i]})
	}
}

func (w *world) has(need *md.Relation, but *md.Package) *md.Package {
	for _, x := range w.provides[need.Name] {
		if x.by != but && meets(need, x.rel) {
			return x.by
		}
	}
	return nil
}

// certain reports whether the changes go in together with nothing else changed; where it does not, the solver has to be asked.
// owner is the name of the package that has a file now. olds are the versions that the changes replace, nil for one that
// is installed beside others.
func (n *node) certain(news, olds []*md.Package, owner func(file string) string) bool {
	gone := map[*md.Package]bool{}
	for _, o := range olds {
		if o != nil {
			gone[o] = true
		}
	}
	changes := map[string]bool{} // names of packages that are replaced
	for _, o := range olds {
		if o != nil {
			changes[o.Name] = true
		}
	}
	w := world{provides: map[string][]provided{}}
	for _, i := range n.order {
		for _, p := range i.versions {
			if !gone[p] {
				w.add(p)
			}
		}
	}
	stay := len(w.packages)
	for _, p := range news {
		w.add(p)
	}
	// What is new needs nothing that is not there, and fights with nothing.
	for _, p := range news {
		for r := range p.Requires {
			if !n.met(&w, &p.Requires[r], news, changes, owner) {
				return false
			}
		}
		for r := range p.Conflicts {
			if p.Conflicts[r].Rich() || w.has(&p.Conflicts[r], p) != nil {
				return false
			}
		}
		for r := range p.Obsoletes {
			for _, x := range w.packages {
				if x.Name == p.Obsoletes[r].Name && x.Name != p.Name && Takes(&p.Obsoletes[r], x) {
					return false
				}
			}
		}
	}
	// What stays keeps what it needs, and fights with nothing new.
	lost := map[string]bool{}
	for k, o := range olds {
		if o == nil {
			continue
		}
		for i := range o.Provides {
			r := &o.Provides[i]
			if !slices.ContainsFunc(news[k].Provides, func(x md.Relation) bool { return x == *r }) {
				lost[r.Name] = true
			}
		}
	}
	fresh := world{provides: map[string][]provided{}}
	for _, p := range news {
		fresh.add(p)
	}
	for _, p := range w.packages[:stay] {
		for i := range p.Requires {
			r := &p.Requires[i]
			switch {
			case r.Rich():
				if mentions(r.Name, lost) {
					return false
				}
			case lost[r.Name] && w.has(r, nil) == nil:
				return false
			case strings.HasPrefix(r.Name, "/") && w.has(r, nil) == nil &&
				!slices.ContainsFunc(news, func(p *md.Package) bool { return slices.Contains(p.Files, r.Name) }) && changes[owner(r.Name)]:
				return false // its owner changes, and may drop it
			}
		}
		for i := range p.Conflicts {
			if r := &p.Conflicts[i]; r.Rich() || fresh.has(r, p) != nil {
				return false
			}
		}
		for i := range p.Obsoletes {
			for _, x := range news {
				if x.Name == p.Obsoletes[i].Name && x.Name != p.Name && Takes(&p.Obsoletes[i], x) {
					return false
				}
			}
		}
	}
	return true
}

// met reports whether a requirement of a new package certainly holds. Expressions are for a solver; a file has to be one that
// a new package lists, or that a package has which stays as it is.
func (n *node) met(w *world, need *md.Relation, news []*md.Package, changes map[string]bool, owner func(string) string) bool {
	switch {
	case need.Rich():
		return false
	case w.has(need, nil) != nil:
		return true
	case !strings.HasPrefix(need.Name, "/"):
		return false
	}
	if slices.ContainsFunc(news, func(p *md.Package) bool { return slices.Contains(p.Files, need.Name) }) {
		return true
	}
	o := owner(need.Name)
	return o != "" && !changes[o]
}

// mentions reports whether an expression speaks of one of the names.
func mentions(expression string, names map[string]bool) bool {
	for w := range strings.FieldsFuncSeq(expression, func(r rune) bool { return strings.ContainsRune(" ()<>=", r) }) {
		if names[w] {
			return true
		}
	}
	return false
}
