package apt

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
)

// Inventory reads what is installed and what the lists on the disk offer.
func (m *Manager) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	n, err := loadSteady(ctx, &m.cfg, req.Sources)
	if err != nil {
		return nil, err
	}
	m.node = n
	if len(n.indexes) == 0 { // without lists nothing would be missing, which would be no more than not knowing
		e := patch.Fail("REPO_METADATA", "there are no package lists of the %d configured sources: newer versions are not known", len(n.sources))
		e.Hint = "run apt-get update, or scan as root without --no-refresh"
		if len(n.sources) == 0 {
			e = patch.Fail("REPO_METADATA", "apt has no sources of packages: newer versions are not known")
			e.Hint = "name the archives to install from in /etc/apt/sources.list or in a file of /etc/apt/sources.list.d"
		}
		if len(m.failed) > 0 {
			e.Hint = "apt-get update says: " + m.failed[0]
		}
		return nil, e
	}
	inv := &patch.Inventory{Repositories: n.repositories(req.Now, m.failed), Degraded: n.degraded, Packages: make([]patch.Package, 0, len(n.order))}
	for _, r := range inv.Repositories {
		if r.Missing {
			inv.Degraded = append(inv.Degraded, r.Detail)
		} else if r.Stale && !slices.Contains(m.failed, r.Detail) { // those are in the report of the refresh
			inv.Degraded = append(inv.Degraded, fmt.Sprintf("%s %s: %s", r.URI, r.Suite, r.Detail))
		}
	}
	var broken []string
	dates := newDates(ctx, n, req)
	times := n.installedTimes()
	for i, p := range n.order {
		if p.installed.Broken() {
			broken = append(broken, p.name)
		}
		inv.Packages = append(inv.Packages, n.describe(p, times[i], dates))
	}
	dates.keep(n)
	dates.save()
	inv.NotApplicable = n.uninstalled()
	if len(broken) > 0 {
		inv.Degraded = append(inv.Degraded, "dpkg left half way: "+strings.Join(broken, " "))
	}
	return inv, nil
}

func (n *node) describe(p *pkg, at time.Time, dates *dates) patch.Package {
	arch := p.installed.Arch
	out := patch.Package{Name: p.name, Arch: arch, Installed: p.installed.Version, InstalledTime: at}
	if p.installed.Broken() {
		out.Broken = p.installed.State()
	}
	if p.installed.Held() {
		out.Held = "held by dpkg's selection (apt-mark hold)"
	}
	for k := len(p.versions) - 1; k >= 0; k-- {
		v := p.versions[k]
		order := pkgver.Dpkg(v.Version, p.installed.Version)
		if order < 0 {
			continue
		}
		best := v.best()
		ver := patch.Version{Text: v.Version, Order: order, Offered: best != nil}
		fact := baseline.Patch{Name: p.name, Arch: arch, Version: v.Version, Priority: v.Priority, Section: v.Section}
		if best != nil {
			ver.Repository = best.name()
			if best.security() {
				fact.Security, fact.Classification = true, "Security"
			}
			fact.Released = dates.of(v, order > 0)
		}
		if order > 0 {
			ver.Kept, ver.Unusable, ver.Detail = n.away(p, v)
			ver.Settled = v == p.candidate && ver.Kept != ""
		}
		ver.Patches = []baseline.Patch{fact}
		out.Versions = append(out.Versions, ver)
	}
	return out
}

// uninstalled describes what trusted lists offer beyond what is installed. Their names are not kept, so a rule or
// list that asks for one does not count them; no rule of an apt system can.
func (n *node) uninstalled() []patch.Uninstalled {
	var out []patch.Uninstalled
	for _, o := range n.lists.others {
		u := patch.Uninstalled{Count: o.Count}
		for _, f := range o.In {
			i := n.indexes[f.List]
			if !i.trusted {
				continue
			}
			fact := baseline.Patch{Priority: f.Fact.Priority, Section: f.Fact.Section, Released: i.rel.Date}
			if i.security() {
				fact.Security, fact.Classification = true, "Security"
			}
			u.Patches = append(u.Patches, fact)
		}
		if len(u.Patches) > 0 {
			out = append(out, u)
		}
	}
	return out
}

// best is the list that a version is said to come from: a security archive before others, then the highest priority.
func (v *version) best() *index {
	var best *index
	for _, i := range v.indexes {
		if best == nil || i.security() && !best.security() || i.security() == best.security() && i.priority > best.priority {
			best = i
		}
	}
	return best
}

// installedTimes are when dpkg last wrote each package's list of files. They change with the status file only.
func (n *node) installedTimes() []time.Time {
	out := make([]time.Time, len(n.order))
	key := "times " + n.statusID
	if memo, ok := n.lists.memo(key); ok {
		b := []byte(memo)
		for i := range out {
			sec, size := binary.Varint(b)
			if size <= 0 {
				break
			}
			b = b[size:]
			if sec != 0 {
				out[i] = time.Unix(sec, 0).UTC()
			}
		}
		return out
	}
	var b []byte
	for i, p := range n.order {
		out[i] = n.installedTime(p)
		sec := int64(0)
		if !out[i].IsZero() {
			sec = out[i].Unix()
		}
		b = binary.AppendVarint(b, sec)
	}
	n.lists.remember(key, string(b))
	return out
}

func (n *node) installedTime(p *pkg) time.Time {
	names := []string{p.name, p.name + ":" + p.installed.Arch}
	if p.installed.MultiArch == "same" {
		slices.Reverse(names)
	}
	for _, name := range names {
		if info, err := fs.Stat(n.cfg.FS, "var/lib/dpkg/info/"+name+".list"); err == nil {
			return info.ModTime().UTC().Truncate(time.Second)
		}
	}
	return time.Time{}
}

func noLists(uri, suite string) string {
	return "no lists of " + uri + " " + suite + ": run apt-get update"
}

func (n *node) repositories(now time.Time, failed []string) []compliance.Repository {
	var out []compliance.Repository
	for _, r := range n.releases {
		if r.path == "" {
			out = append(out, compliance.Repository{URI: r.uri, Suite: r.suite, Stale: true, Missing: true, Detail: noLists(r.uri, r.suite)})
			continue
		}
		i := slices.IndexFunc(n.indexes, func(i *index) bool { return i.rel == r })
		if i < 0 {
			continue
		}
		x := n.indexes[i]
		rep := compliance.Repository{
			URI: x.base, Suite: x.suite, Codename: r.Codename, Origin: r.Origin, Label: r.Label, Date: r.Date, RefreshedAt: r.refreshed, Trusted: x.trusted,
		}
		if !r.ValidUntil.IsZero() && r.ValidUntil.Before(now) {
			rep.Stale, rep.Detail = true, "its Release file was valid until "+r.ValidUntil.Format(time.RFC3339)
		}
		for _, f := range failed { // apt names the address of what it could not fetch
			if strings.Contains(f, strings.TrimSuffix(x.base, "/")) && strings.Contains(f, x.suite) {
				rep.Stale, rep.Detail = true, f
			}
		}
		out = append(out, rep)
	}
	return out
}
