package apt

import (
	"slices"
	"strings"

	"oakum.dev/pkgver"
	"oakum.dev/repo/deb"
)

// alternative is one "name:arch (op version)" of a relation.
type alternative struct {
	name, arch, op, version string
}

// relation is a group of alternatives of which one is enough.
type relation []alternative

func (r relation) String() string {
	var parts []string
	for _, a := range r {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, " | ")
}

// plain is the relation as dpkg writes it: < and > mean <= and >=.
func (r relation) plain() string {
	out := slices.Clone(r)
	for i := range out {
		if out[i].op == "<" || out[i].op == ">" {
			out[i].op += "="
		}
	}
	return out.String()
}

func (a alternative) String() string {
	s := a.name
	if a.arch != "" {
		s += ":" + a.arch
	}
	if a.op != "" {
		s += " (" + a.op + " " + a.version + ")"
	}
	return s
}

// relations reads the value of a Depends, Conflicts or Provides field. What it cannot read it leaves out.
func relations(s string) []relation {
	if s == "" {
		return nil
	}
	var out []relation
	for group := range strings.SplitSeq(s, ",") {
		var r relation
		for one := range strings.SplitSeq(group, "|") {
			if a, ok := parseAlternative(one); ok {
				r = append(r, a)
			}
		}
		if len(r) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func parseAlternative(s string) (alternative, bool) {
	var a alternative
	name, rest, versioned := strings.Cut(s, "(")
	a.name = strings.TrimSpace(name)
	a.name, a.arch, _ = strings.Cut(a.name, ":")
	if versioned {
		rest, _, _ = strings.Cut(rest, ")")
		rest = strings.TrimSpace(rest)
		i := 0
		for i < len(rest) && strings.IndexByte("<>=", rest[i]) >= 0 {
			i++
		}
		a.op, a.version = rest[:i], strings.TrimSpace(rest[i:])
	}
	return a, a.name != ""
}

// takes reports whether a version satisfies the relation's condition.
func (a *alternative) takes(version string) bool {
	c := 0
	if a.op != "" {
		c = pkgver.Dpkg(version, a.version)
	}
	switch a.op {
	case "":
		return true
	case "=":
		return c == 0
	case ">=", ">":
		return c >= 0
	case "<=", "<":
		return c <= 0
	case ">>":
		return c > 0
	case "<<":
		return c < 0
	}
	return false
}

// links are the parsed relations of one package version.
type links struct {
	depends, conflicts []relation
	provides           []relation
}

type linkCache map[*deb.Package]*links

func (c linkCache) of(p *deb.Package) *links {
	l := c[p]
	if l == nil {
		l = &links{
			depends: append(relations(p.PreDepends), relations(p.Depends)...), conflicts: append(relations(p.Conflicts), relations(p.Breaks)...),
			provides: relations(p.Provides),
		}
		c[p] = l
	}
	return l
}
