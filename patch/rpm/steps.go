package rpm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// Order is one thing that a package manager is told to do with one package.
type Order struct {
	Verb       string // install, upgrade, downgrade or remove
	Name, Arch string
	Version    string // as in titles, with its epoch
	File       string // package file on the node to install from; empty: from a repository
	Repo       string // the repository to take it from, where the same version of another one is kept away; empty: any
}

// Spec is the package in its version, NAME-EVR.ARCH, or its file.
func (o *Order) Spec() string {
	if o.File != "" {
		return o.File
	}
	return o.Name + "-" + o.Version + "." + o.Arch
}

// Orders turn a wish into what the manager is told. A package that is there is upgraded, so that it stays marked as it is;
// what is not there is installed.
func (r *Reader) Orders(ctx context.Context, w patch.Wish) ([]Order, error) {
	var out []Order
	for _, p := range w.Install {
		have, err := r.Installed(ctx, p.Name)
		if err != nil {
			return nil, err
		}
		o := Order{Name: p.Name, Arch: r.ArchOf(ctx, p), Version: p.Version, File: p.File}
		if p.File == "" {
			o.Repo = r.from(ctx, o)
		}
		versions := have[p.Arch]
		for arch, list := range have { // noarch may change places with the machine's own
			if len(versions) == 0 && (arch == "noarch" || p.Arch == "noarch") {
				versions = list
			}
		}
		if len(versions) == 0 {
			o.Verb = "install"
			out = append(out, o)
			continue
		}
		top := versions[len(versions)-1]
		switch c := pkgver.RPM(p.Version, Text(top)); {
		case c >= 0:
			o.Verb = "upgrade"
			out = append(out, o)
		case r.installOnly(top): // the older one is there still, or it is brought back beside the newer one
			if !slices.ContainsFunc(versions, func(v *md.Package) bool { return pkgver.RPM(Text(v), p.Version) == 0 }) {
				o.Verb = "install"
				out = append(out, o)
			}
			for _, v := range versions {
				if pkgver.RPM(Text(v), p.Version) > 0 {
					out = append(out, removal(v))
				}
			}
		default:
			o.Verb = "downgrade"
			out = append(out, o)
		}
	}
	for _, x := range w.Remove {
		name, arch, _ := strings.Cut(x, ":")
		have, err := r.Installed(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, v := range have[arch] {
			out = append(out, removal(v))
		}
	}
	for _, o := range out { // the manager takes words, some of them in a script of its own
		if o.File == "" && !md.Sound(o.Name, o.Arch, strings.ReplaceAll(o.Version, ":", "")) || o.Name == "" || strings.ContainsAny(o.File, " \t\r\n") {
			return nil, patch.Fail("REPO_METADATA", "%q is no name of a package, or its file's name has blanks: nothing is asked about it", o.Spec())
		}
	}
	return out, nil
}

func removal(p *md.Package) Order {
	return Order{Verb: "remove", Name: p.Name, Arch: p.Arch, Version: Text(p)}
}

// ArchOf is the architecture of the offered version: noarch may change places with the machine's own.
func (r *Reader) ArchOf(ctx context.Context, p patch.Want) string {
	if o, ok := r.Offered(ctx, p.Name, p.Arch, p.Version); ok {
		return o.Arch
	}
	return p.Arch
}

// FileOf is the name of the package file of a change's new version.
func (r *Reader) FileOf(ctx context.Context, c *patch.Change) string {
	return PackageFile(c.Name, c.New, r.ArchOf(ctx, patch.Want{Name: c.Name, Arch: c.Arch, Version: c.New}))
}

// from names the repository that a version has to come from because others offer the same one, which is kept away: a manager
// that is told the version alone takes any of them.
func (r *Reader) from(ctx context.Context, want Order) string {
	n, err := r.loaded(ctx)
	if err != nil {
		return ""
	}
	for _, i := range n.byName[want.Name] {
		var free *Repo
		kept := false
		best := n.bestPriority(i)
		for _, o := range n.offers[want.Name] {
			switch {
			case o.Arch != want.Arch || Text(o.Package) != want.Version || !n.fits(i, o.Arch):
			case n.away(o, i.newest(), best).Reason != "":
				kept = true
			case free == nil || o.repo.Priority < free.Priority:
				free = o.repo
			}
		}
		if kept && free != nil {
			return free.ID
		}
	}
	return ""
}

func (r *Reader) installOnly(p *md.Package) bool {
	return r.view != nil && r.view.InstallOnly != nil && r.view.InstallOnly(p)
}

// Step is a line of what a manager says that it would do.
type Step struct {
	Action, Name, Arch, EVR string   // Action: install, upgrade (also to an older version), reinstall or remove
	Replaces                []string // "name.arch evr", or "name arch evr"
}

// Plan turns a manager's steps to a wish into a plan. Packages have the architecture that the wish has them under.
func (r *Reader) Plan(ctx context.Context, w patch.Wish, steps []Step) (*patch.Plan, error) {
	p := &patch.Plan{}
	at := map[string]int{}
	put := func(c patch.Change) {
		if i, twice := at[c.Key()]; twice {
			if c.New != "" { // an old kernel that makes room for a new one says nothing
				p.Changes[i] = c
			}
			return
		}
		at[c.Key()] = len(p.Changes)
		p.Changes = append(p.Changes, c)
	}
	for _, s := range steps {
		if s.Action == "" || s.Action == "reinstall" {
			continue
		}
		have, err := r.Installed(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		c := patch.Change{Name: s.Name, Arch: s.Arch}
		versions := have[s.Arch]
		if len(versions) == 0 && s.Action != "install" {
			for arch, list := range have { // noarch has become the machine's own, or the other way round
				if arch == "noarch" || s.Arch == "noarch" {
					c.Arch, versions = arch, list
				}
			}
		}
		if !slices.ContainsFunc(w.Install, func(x patch.Want) bool { return x.Name == c.Name && x.Arch == c.Arch }) {
			for _, x := range w.Install {
				if x.Name == c.Name && (x.Arch == "noarch" || c.Arch == "noarch") {
					c.Arch = x.Arch
				}
			}
		}
		text := Full(s.EVR)
		if s.Action == "remove" {
			c.Old = text
			if left := slices.DeleteFunc(slices.Clone(versions), func(v *md.Package) bool { return pkgver.RPM(Text(v), text) == 0 }); len(left) > 0 {
				top := Text(left[len(left)-1])
				if pkgver.RPM(top, text) > 0 {
					continue // an older one of several kernels: the package stays where it is
				}
				c.New, c.Down = top, true
			}
			put(c)
			continue
		}
		c.New = text
		if len(versions) > 0 {
			top := versions[len(versions)-1]
			c.Old = Text(top)
			c.Down = pkgver.RPM(c.New, c.Old) < 0
			c.Own = r.elsewhere(ctx, top)
			if r.view.Held != nil {
				c.Held = r.view.Held(top) != ""
			}
		} else {
			c.Auto = true // it is there for another package only
		}
		if c.Old == c.New {
			continue
		}
		if o, ok := r.Offered(ctx, s.Name, s.Arch, text); ok {
			c.Bytes, c.Grows = o.Bytes, o.DiskBytes
			if len(versions) > 0 && !r.installOnly(versions[0]) {
				c.Grows -= versions[len(versions)-1].DiskBytes
			}
		}
		put(c)
		for _, old := range s.Replaces {
			w := strings.Fields(old)
			if len(w) == 2 {
				if i := strings.LastIndexByte(w[0], '.'); i > 0 {
					w = []string{w[0][:i], w[0][i+1:], w[1]}
				}
			}
			if len(w) >= 3 && w[0] != s.Name { // dnf 5 also lists the older version of the same package
				put(patch.Change{Name: w[0], Arch: w[1], Old: Full(w[2]), By: s.Name})
			}
		}
	}
	for i := range p.Changes { // zypper does not say that a package is removed because a new one takes its place
		if c := &p.Changes[i]; c.New == "" && c.By == "" {
			by, err := r.replacing(ctx, p, c)
			if err != nil {
				return nil, err
			}
			c.By = by
		}
	}
	return p, nil
}

// elsewhere reports whether a repository has another build of an installed package's version: other vendors have the same
// numbers, and a package manager that is asked for one takes either.
func (r *Reader) elsewhere(ctx context.Context, have *md.Package) bool {
	n, err := r.loaded(ctx)
	return err == nil && slices.ContainsFunc(n.offers[have.Name], func(o offer) bool {
		same := o.Vendor == have.Vendor && (o.Built.IsZero() || have.Built.IsZero() || o.Built.Equal(have.Built))
		return o.Arch == have.Arch && Text(o.Package) == Text(have) && !same
	})
}

// replacing names the package of a plan whose new version obsoletes what a change removes, or nothing.
func (r *Reader) replacing(ctx context.Context, p *patch.Plan, c *patch.Change) (string, error) {
	have, err := r.Installed(ctx, c.Name)
	if err != nil {
		return "", err
	}
	for _, old := range have[c.Arch] {
		for _, n := range p.Changes {
			if n.New == "" {
				continue
			}
			o, ok := r.Offered(ctx, n.Name, n.Arch, n.New)
			if ok && slices.ContainsFunc(o.Obsoletes, func(x md.Relation) bool { return x.Name == old.Name && Takes(&x, old) }) {
				return n.Name, nil
			}
		}
	}
	return "", nil
}

// Differs says what two plans have not in common, or nothing.
func Differs(want, have *patch.Plan) string {
	if have.Refused != "" {
		return have.Refused
	}
	news := map[string]string{}
	for _, c := range want.Changes {
		news[c.Key()] = c.New
	}
	for _, c := range have.Changes {
		if n, ok := news[c.Key()]; !ok || n != c.New {
			return fmt.Sprintf("%s would change to %q, which was not planned", c.Name, c.New)
		}
		delete(news, c.Key())
	}
	for k := range news {
		return k + " would be left out"
	}
	return ""
}

// Fetched reports that nothing is known of newer versions: without metadata nothing would be missing, which would be no
// more than not knowing. list and refresh are the manager's commands to name, said is what it complained of in the last refresh
// about no repository.
func (v *View) Fetched(sourced bool, list, refresh string, said []string) error {
	why := ""
	for i := range v.Repos {
		if v.Repos[i].Dir != "" {
			return nil
		}
		if why == "" {
			why = v.Repos[i].Failed
		}
	}
	e := patch.Fail("REPO_METADATA", "there is no metadata of the %d enabled repositories: newer versions are not known", len(v.Repos))
	manager, _, _ := strings.Cut(refresh, " ")
	switch {
	case len(v.Repos) == 0 && !sourced:
		e = patch.Fail("REPO_METADATA", "no repository is enabled: newer versions are not known")
		e.Hint = "a system that needs a subscription has repositories once it is registered; see " + list
	case why != "":
		e.Hint = manager + " says: " + why
	case len(said) > 0:
		e.Hint = strings.Join(said, "; ")
	default:
		e.Hint = "run " + refresh + ", or scan as root without --no-refresh"
	}
	return e
}
