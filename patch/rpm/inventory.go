package rpm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// Text is a version as titles have it: with its epoch, also when that is 0.
func Text(p *md.Package) string { return Full(p.EVR()) }

// Full is a version with its epoch, also when that is 0.
func Full(evr string) string {
	if i := strings.IndexByte(evr, ':'); i > 0 && strings.Trim(evr[:i], "0123456789") == "" {
		return evr
	}
	return "0:" + evr
}

// inventory joins what was read.
func (n *node) inventory(now time.Time) *patch.Inventory {
	inv := &patch.Inventory{Repositories: n.repositories(now), Packages: make([]patch.Package, 0, len(n.order))}
	inv.Degraded = append(slices.Clone(n.view.Degraded), n.degraded...)
	for i := range n.view.Repos {
		if r := &n.view.Repos[i]; n.odds[r] > 0 {
			inv.Degraded = append(inv.Degraded, fmt.Sprintf("repository %s names %d packages with characters that no package has: they are left out", r.ID, n.odds[r]))
		}
	}
	for _, i := range n.order {
		inv.Packages = append(inv.Packages, n.describe(i))
	}
	inv.NotApplicable = n.others.uninstalled(n.view)
	return inv
}

func (n *node) repositories(now time.Time) []compliance.Repository {
	out := make([]compliance.Repository, 0, len(n.view.Repos))
	for i := range n.view.Repos {
		r := &n.view.Repos[i]
		c := compliance.Repository{URI: r.URI, Suite: r.ID, Label: r.Name, Date: n.dates[r], Trusted: r.Trusted}
		c.NoAdvisories = r.Dir != "" && !n.advised[r]
		if c.Date.After(now) {
			c.Date = time.Time{}
		}
		out = append(out, c)
	}
	return out
}

// state is one version of an installed package while it is put together.
type state struct {
	text    string
	order   int
	offers  []offer
	naming  []naming
	epoch   string
	version string
	release string
	built   time.Time
}

// describe lists every version of a package that matters: the installed one, newer ones, and older ones that a notice
// names.
func (n *node) describe(i *installed) patch.Package {
	top := i.newest()
	out := patch.Package{Name: i.name, Arch: i.arch, Installed: Text(top), InstalledTime: top.Installed, Broken: i.broken}
	if n.view.Held != nil {
		out.Held = n.view.Held(top)
	}
	states := map[string]*state{}
	at := func(epoch, version, release, evr string) *state {
		text := Full(evr)
		s := states[text]
		if s == nil {
			s = &state{text: text, order: pkgver.RPM(text, out.Installed), epoch: epoch, version: version, release: release}
			states[text] = s
		}
		return s
	}
	at(top.Epoch, top.Version, top.Release, top.EVR()).built = top.Built
	for _, o := range n.offers[i.name] {
		if !n.fits(i, o.Arch) || pkgver.RPM(o.EVR(), top.EVR()) < 0 {
			continue
		}
		s := at(o.Epoch, o.Version, o.Release, o.EVR())
		s.offers = append(s.offers, o)
		if s.built.IsZero() || o.Built.Before(s.built) && !o.Built.IsZero() {
			s.built = o.Built
		}
	}
	for _, x := range n.notices[i.name] {
		if x.pkg.Arch != "" && !n.fits(i, x.pkg.Arch) {
			continue
		}
		s := at(x.pkg.Epoch, x.pkg.Version, x.pkg.Release, x.pkg.EVR())
		s.naming = append(s.naming, x)
	}
	best := n.bestPriority(i)
	for _, s := range states {
		out.Versions = append(out.Versions, n.version(i, s, best))
	}
	slices.SortFunc(out.Versions, func(a, b patch.Version) int { return pkgver.RPM(a.Text, b.Text) })
	for _, o := range n.obsoletes[i.name] {
		if away := n.away(o, top, o.repo.Priority); away.Reason == "" && !n.view.KeepsNames {
			out.Replaced = o.Name + " " + o.EVR()
		}
	}
	return out
}

// fits reports whether a version of an architecture can take the place of an installed one. noarch and the machine's
// own architecture may change places, unless the package is installed for that one too.
func (n *node) fits(i *installed, arch string) bool {
	if arch == i.arch {
		return true
	}
	if arch != "noarch" && i.arch != "noarch" {
		return false
	}
	return !slices.ContainsFunc(n.byName[i.name], func(o *installed) bool { return o.arch == arch })
}

// bestPriority is the lowest number among the repositories that offer a package.
func (n *node) bestPriority(i *installed) int {
	best := 1 << 30
	for _, o := range n.offers[i.name] {
		// What is kept away for another reason hides nothing.
		if n.fits(i, o.Arch) && (n.view.Away == nil || n.view.Away(o.repo, o.Package, i.newest()).Reason == "") {
			best = min(best, o.repo.Priority)
		}
	}
	return best
}

// away says why an offer is kept away.
func (n *node) away(o offer, have *md.Package, best int) Away {
	if n.view.Away != nil {
		if a := n.view.Away(o.repo, o.Package, have); a.Reason != "" {
			return a
		}
	}
	if o.repo.Priority > best {
		return Away{Reason: patch.ReasonPriority, Detail: "repository " + o.repo.ID + " has a lower priority than another one that has the package"}
	}
	return Away{}
}

func (n *node) version(i *installed, s *state, best int) patch.Version {
	v := patch.Version{Text: s.text, Order: s.order, Offered: len(s.offers) > 0}
	v.Unadvised = v.Offered && !slices.ContainsFunc(s.offers, func(o offer) bool { return n.advised[o.repo] })
	slices.SortStableFunc(s.offers, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.repo.Priority, b.repo.Priority), cmp.Compare(a.repo.Cost, b.repo.Cost))
	})
	for k, o := range s.offers {
		a := n.away(o, i.newest(), best)
		if k > 0 && a.Reason != "" {
			continue
		}
		v.Repository, v.Kept, v.Unusable, v.Detail = o.repo.ID, "", "", a.Detail
		switch {
		case a.Reason == "":
		case a.Unusable:
			v.Unusable = a.Reason
		default:
			v.Kept = a.Reason
		}
		if a.Reason == "" {
			break
		}
	}
	slices.SortStableFunc(s.naming, func(a, b naming) int { // the newest first, and of one day's the gravest, as dnf shows it
		return cmp.Or(cmp.Compare(n.view.released(b.notice, s.built).Unix(), n.view.released(a.notice, s.built).Unix()), cmp.Compare(gravity(b.notice), gravity(a.notice)))
	})
	fact := baseline.Patch{Name: i.name, Arch: i.arch, Epoch: cmp.Or(s.epoch, "0"), Version: s.version, Release: s.release}
	seen := map[string]bool{}
	for _, x := range s.naming {
		p := n.view.facts(x.notice)
		// The same in two repositories, or for two architectures. One of the same id that says anything else counts by itself.
		id := fmt.Sprint(p.AdvisoryIDs, p.Classification, p.Severity, p.CVEs, p.Bugzillas, n.view.released(x.notice, s.built).Unix())
		if seen[id] {
			continue
		}
		seen[id] = true
		p.Name, p.Arch, p.Epoch, p.Version, p.Release = fact.Name, fact.Arch, fact.Epoch, fact.Version, fact.Release
		p.Released = n.view.released(x.notice, s.built)
		v.Patches = append(v.Patches, p)
		if n.view.Remark != nil && v.Kept == "" && v.Unusable == "" && v.Detail == "" {
			v.Detail = n.view.Remark(x.notice)
		}
	}
	n.refuse(&v, s)
	if len(v.Patches) == 0 {
		fact.Released = s.built
		v.Patches = []baseline.Patch{fact}
	}
	return v
}

// refuse keeps a version away that all of its notices are refused for.
func (n *node) refuse(v *patch.Version, s *state) {
	if n.view.Refused == nil || len(s.naming) == 0 || v.Kept != "" || v.Unusable != "" {
		return
	}
	why := ""
	for _, x := range s.naming {
		if why = n.view.Refused(x.notice); why == "" {
			return
		}
	}
	v.Kept, v.Detail = patch.ReasonHeld, why
}

// released is when a notice's versions were released: updated, else issued, else the package's build.
// Source: AWS Systems Manager User Guide, "How security patches are selected".
func (v *View) released(x *md.Notice, built time.Time) time.Time {
	switch {
	case !x.Updated.IsZero() && !v.Issued:
		return x.Updated
	case !x.Issued.IsZero():
		return x.Issued
	}
	return built
}

// facts are what a baseline goes by of a notice. Every version that a notice names counts as a security patch, whatever
// the notice's type: the classification filter decides. Source: as above.
func (v *View) facts(x *md.Notice) baseline.Patch {
	p := baseline.Patch{
		HasNotice: true, Security: true, AdvisoryIDs: append([]string{x.ID}, x.Self...), CVEs: x.CVEs, Bugzillas: x.Bugzillas,
		Classification: v.Classify(x.Type), Severity: Title(x.Severity), Released: v.released(x, time.Time{}),
	}
	if p.Severity == "" {
		p.Severity = v.NoSeverity
	}
	return p
}

// gravity orders severities, the gravest highest. A word that no publisher uses is below all of them.
func gravity(x *md.Notice) int {
	return slices.Index([]string{"Low", "Medium", "Moderate", "Important", "Critical"}, Title(x.Severity))
}

// Title writes a word of a notice as baselines do: security is Security.
func Title(s string) string {
	r := []rune(strings.ToLower(strings.TrimSpace(s)))
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r)
}
