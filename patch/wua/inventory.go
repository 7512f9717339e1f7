package wua

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// Inventory judges what the last search found; without one since the last installation it searches.
func (m *Manager) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	inv := &patch.Inventory{}
	if !m.asked {
		if err := m.search(ctx, m.online); err != nil {
			return nil, err
		}
	}
	history, err := m.cfg.Client.History(ctx, historyLength)
	if err != nil { // dates of installation, nothing else
		inv.Degraded = append(inv.Degraded, "the history of Windows Update cannot be read: "+err.Error())
	}
	mem := readMemory(m.cfg.StateDir)
	mem.note(m.seen, m.cfg.Now().UTC())
	if err := mem.save(m.cfg.StateDir, m.cfg.Now().UTC()); err != nil {
		inv.Degraded = append(inv.Degraded, "first sightings of updates are not kept: "+err.Error())
	}
	source := m.source()
	installedAt := succeeded(history)
	kbs, of := m.groups()
	for _, kb := range kbs {
		inv.Packages = append(inv.Packages, m.pack(kb, of[kb], mem, installedAt, source.URI))
	}
	inv.Packages = append(inv.Packages, m.elsewhere(req.Catalogue, of)...)
	inv.Repositories = []compliance.Repository{source}
	inv.Degraded = append(append(inv.Degraded, m.partly...), m.policy().warnings...)
	return inv, nil
}

const historyLength = 500

// source is where updates come from, as a repository of the result.
func (m *Manager) source() compliance.Repository {
	p := m.policy()
	r := compliance.Repository{URI: p.source, Label: "Windows Update", Trusted: true, RefreshedAt: m.status.LastSearch.UTC(), Stale: !m.online || m.partly != nil, Detail: p.detail}
	if !m.status.MicrosoftUpdate && p.server == "" {
		r.Detail = strings.TrimPrefix(r.Detail+"; updates for other Microsoft products are not switched on, so applications are not seen", "; ")
	}
	return r
}

// pack makes a package of the updates of one KB.
func (m *Manager) pack(kb string, us []*Update, mem memory, installedAt map[Identity]time.Time, source string) patch.Package {
	p := patch.Package{Name: kb}
	var have, want []*Update
	for _, u := range us {
		if u.in() {
			have = append(have, u)
			p.Waits = p.Waits || u.RebootRequired
			if at := installedAt[u.Identity]; at.After(p.InstalledTime) {
				p.InstalledTime = at
			}
		} else {
			want = append(want, u)
		}
	}
	if len(have) > 0 {
		p.Installed = m.installedText(kb, us)
		p.Title = newest(have).Title
		v := patch.Version{Text: p.Installed, Offered: true, Repository: source}
		for _, u := range have {
			v.Patches = append(v.Patches, u.facts(mem.of(u))...)
		}
		p.Versions = append(p.Versions, v)
	}
	if len(want) == 0 {
		return p
	}
	v := patch.Version{Text: text(want), Order: 1, Offered: true, Repository: source, Fleeting: true}
	for _, u := range want {
		v.Patches = append(v.Patches, u.facts(mem.of(u))...)
		v.Fleeting = v.Fleeting && u.classification() == "DefinitionUpdates"
		if u.Hidden && v.Kept == "" {
			v.Kept, v.Detail = patch.ReasonHidden, "it was hidden with \"Hide update\"; whoever hid it can show it again"
		}
		if u.CanAsk && v.Kept == "" {
			v.Kept, v.Detail = patch.ReasonInteractive, "its installer can ask a person at the screen"
		}
	}
	if p.Installed == "" {
		p.Title = newest(want).Title
	}
	p.Versions = append(p.Versions, v)
	return p
}

// text names updates exactly, as a version.
func text(us []*Update) string {
	var ids []string
	for _, u := range us {
		ids = append(ids, u.Identity.String())
	}
	return strings.Join(ids, "+")
}

func newest(us []*Update) *Update {
	return slices.MaxFunc(us, func(a, b *Update) int { return a.Released.Compare(b.Released) })
}

// installedText is the version of a KB that is installed: the one that was planned, as soon as all of it is in, so that
// what an installation replaced along the way does not make it look like another one.
func (m *Manager) installedText(kb string, us []*Update) string {
	var have []*Update
	open := map[string]bool{}
	for _, u := range us {
		if u.in() {
			have = append(have, u)
		} else {
			open[u.Identity.String()] = true
		}
	}
	if w := m.wanted[kb]; w != "" && len(have) > 0 && !slices.ContainsFunc(strings.Split(w, "+"), func(id string) bool { return open[id] }) {
		return w
	}
	return text(have)
}

// elsewhere are the updates of a catalogue that this node is neither offered nor has.
func (m *Manager) elsewhere(catalogue []baseline.SnapshotPatch, of map[string][]*Update) []patch.Package {
	by := map[string]string{} // update id to the KB that supersedes it
	for i := range m.seen {
		for _, id := range m.seen[i].Supersedes {
			by[strings.ToLower(id)] = m.seen[i].KB()
		}
	}
	var out []patch.Package
	done := map[string]bool{}
	for _, c := range catalogue {
		kb := "KB" + strings.TrimPrefix(strings.ToUpper(c.KB), "KB")
		if kb == "KB" || of[kb] != nil || done[kb] {
			continue
		}
		done[kb] = true
		why := "it is not for this node: what it patches is not installed here"
		if s := by[strings.ToLower(c.ID)]; s != "" {
			why = "superseded by " + s
		}
		f := baseline.Patch{
			Name: kb, KB: kb, Version: c.ID, Classification: c.Classification, Severity: c.MSRCSeverity, PatchSet: "OS", HasNotice: true,
			Security: c.Classification == "SecurityUpdates",
		}
		if f.Severity == "" {
			f.Severity = "Unspecified"
		}
		if t, err := time.Parse(time.RFC3339, c.ReleaseDate); err == nil {
			f.Released = t.UTC()
		} else if t, err := time.Parse(time.DateOnly, c.ReleaseDate); err == nil {
			f.Released = t
		}
		out = append(out, patch.Package{
			Name: kb, Title: c.Title, NotApplicable: why, Versions: []patch.Version{{Text: c.ID, Order: 1, Patches: []baseline.Patch{f}}},
		})
	}
	return out
}

// Check says which targets cannot be installed now. Nothing can before a reboot that the installer waits for.
func (m *Manager) Check(_ context.Context, _ *patch.Inventory, targets []patch.Target, _ func(baseline.Patch) bool) (map[string]patch.Block, error) {
	out := map[string]patch.Block{}
	if !m.status.RebootFirst {
		return out, nil
	}
	for _, t := range targets {
		out[t.Package.Key()] = patch.Block{
			Reason: patch.ReasonRestartFirst,
			Detail: "Windows Update installs nothing before the reboot that an earlier change waits for (" + Explain(0x80240016).Name + ")",
		}
	}
	return out, nil
}

// Present reads what is installed. What an installation has put in and another update has replaced since is in the
// agent's history.
func (m *Manager) Present(ctx context.Context) (map[string]patch.Presence, error) {
	if !m.asked {
		if err := m.search(ctx, m.online); err != nil {
			return nil, err
		}
	}
	out := map[string]patch.Presence{}
	kbs, of := m.groups()
	for _, kb := range kbs {
		if t := m.installedText(kb, of[kb]); t != "" {
			out[kb+"."] = patch.Presence{Version: t}
		}
	}
	var gone []string
	for kb := range m.wanted {
		if of[kb] == nil {
			gone = append(gone, kb)
		}
	}
	if len(gone) == 0 {
		return out, nil
	}
	history, err := m.cfg.Client.History(ctx, historyLength)
	if err != nil {
		return nil, fmt.Errorf("read the history of Windows Update: %w", err)
	}
	at := succeeded(history)
	for _, kb := range gone {
		ids, err := identities(m.wanted[kb])
		if err == nil && !slices.ContainsFunc(ids, func(id Identity) bool { return at[id].IsZero() }) {
			out[kb+"."] = patch.Presence{Version: m.wanted[kb]}
		}
	}
	return out, nil
}
