package macos

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// Inventory reads what is installed and what is offered. Packages of installers are only listed: nobody offers newer ones.
func (m *Manager) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	if _, err := m.Platform(ctx); err != nil {
		return nil, err
	}
	inv := &patch.Inventory{}
	if !m.listed {
		if err := m.list(ctx); err != nil {
			return nil, err
		}
	}
	past, err := m.past(ctx, inv)
	if err != nil {
		return nil, err
	}
	repository := compliance.Repository{URI: "https://swscan.apple.com", Label: "Software Update", Trusted: true, RefreshedAt: req.Now.UTC().Truncate(time.Second)}
	inv.Repositories = append(inv.Repositories, repository)
	m.class = map[string]string{}
	inv.Packages = append(inv.Packages, m.apple(past, inv)...)
	for _, b := range m.findBrews(&inv.Degraded) {
		list, err := m.formulae(ctx, b)
		r := compliance.Repository{URI: "https://formulae.brew.sh", Label: "Homebrew in /" + b.prefix, Trusted: true, RefreshedAt: repository.RefreshedAt}
		if err != nil {
			r.Missing, r.Detail = true, err.Error()
			inv.Degraded = append(inv.Degraded, "Homebrew in /"+b.prefix+": "+err.Error())
		}
		inv.Repositories = append(inv.Repositories, r)
		for _, f := range list {
			inv.Packages = append(inv.Packages, m.brewed(f, b))
		}
	}
	for i := range inv.Packages {
		m.have[inv.Packages[i].Name] = inv.Packages[i].Installed
	}
	inv.Degraded = append(inv.Degraded, deferrals(m.cfg.FS)...)
	return inv, nil
}

// past puts the three histories together: the newest entry of each name.
func (m *Manager) past(ctx context.Context, inv *patch.Inventory) ([]Past, error) {
	all, err := installHistory(m.cfg.FS)
	if err != nil {
		return nil, &patch.Error{Reason: "REPO_METADATA", Code: patch.CodeFailed, Err: fmt.Errorf("read what is installed: %w", err)}
	}
	text, err := m.ask(ctx, softwareupdate, "--history")
	if err != nil { // not every version has it
		inv.Degraded = append(inv.Degraded, "Software Update tells no history: "+err.Error())
	}
	all = append(all, parseHistory(text, time.Local)...)
	seen := map[string]bool{}
	for _, p := range all {
		for _, id := range p.Packages {
			seen[id] = true
		}
	}
	packages, err := receipts(m.cfg.FS)
	if err != nil {
		inv.Degraded = append(inv.Degraded, "not every receipt of an installer can be read: "+err.Error())
	}
	for _, p := range packages {
		if !seen[p.Name] {
			all = append(all, p)
		}
	}
	newest := map[string]Past{}
	for _, p := range all {
		if old, ok := newest[p.Name]; !ok || p.At.After(old.At) {
			newest[p.Name] = p
		}
	}
	var out []Past
	for _, p := range newest {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Past) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// byApple reports whether Software Update has put it in.
func (p *Past) byApple() bool {
	return p.By == "softwareupdated" || p.By == "softwareupdate" || p.By == "Software Update" || strings.HasPrefix(p.By, "macOS Installer")
}

// apple makes the packages that are Apple's to update, and those of other installers.
func (m *Manager) apple(past []Past, inv *patch.Inventory) []patch.Package {
	var out []patch.Package
	index := map[string]int{}
	system := patch.Package{Name: m.platform.Name, Installed: m.platform.Version, Versions: []patch.Version{{Text: m.platform.Version, Patches: []baseline.Patch{
		{Name: m.platform.Name, Version: m.platform.Version, Classification: classSoftwareUpdate, HasNotice: true},
	}}}}
	add := func(p patch.Package, class string) {
		index[p.Name] = len(out)
		out = append(out, p)
		m.class[p.Name] = class
	}
	for _, p := range past {
		class := classInstaller
		if p.byApple() {
			class = classSoftwareUpdate
		}
		if i := (Item{Title: p.Name}); i.upgrade() {
			continue // the system itself is told by its own version
		}
		f := baseline.Patch{Name: p.Name, Version: p.Version, Classification: class, Security: class == classSoftwareUpdate, HasNotice: true, Released: p.At}
		add(patch.Package{Name: p.Name, Installed: cmp.Or(p.Version, "0"), InstalledTime: p.At, Versions: []patch.Version{{Text: cmp.Or(p.Version, "0"), Patches: []baseline.Patch{f}}}}, class)
	}
	for _, i := range m.items {
		f := baseline.Patch{Name: i.Title, Version: i.Version, Classification: classSoftwareUpdate, Security: i.Recommended, HasNotice: true}
		v := patch.Version{Text: i.Version, Order: 1, Offered: true, Repository: "Software Update", Patches: []baseline.Patch{f}}
		switch {
		case i.upgrade():
			v.Unusable, v.Detail = patch.ReasonOSUpgrade, i.Title+" replaces the system; a person or device management upgrades it"
			v.Patches[0].Name = system.Name
			system.Versions = append(system.Versions, v)
			continue
		case i.Deferred:
			v.Kept, v.Detail = patch.ReasonDeferred, "a device management profile hides it for now"
		case i.Restart && m.silicon:
			v.Kept, v.Detail = patch.ReasonAuthorization, "on Apple silicon it needs an owner of the volume, or device management with a bootstrap token: install it with System Settings or the management's own command"
		}
		if at, known := index[i.Title]; known {
			if out[at].Installed != i.Version {
				out[at].Versions = append(out[at].Versions, v)
				m.class[i.Title] = classSoftwareUpdate
			}
			continue
		}
		add(patch.Package{Name: i.Title, Versions: []patch.Version{v}}, classSoftwareUpdate)
	}
	if n := len(system.Versions); n > 1 {
		inv.Degraded = append(inv.Degraded, fmt.Sprintf("%s %s is offered: patching does not upgrade the system itself", system.Name, system.Versions[n-1].Text))
	}
	return append(out, system)
}

func (m *Manager) brewed(f formula, b brew) patch.Package {
	class := classBrew
	if f.Cask {
		class = classCask
	}
	fact := func(version string) []baseline.Patch {
		return []baseline.Patch{{Name: f.Name, Version: version, Classification: class, HasNotice: true}}
	}
	p := patch.Package{Name: f.Name, Installed: f.Version, InstalledTime: f.At, Versions: []patch.Version{{Text: f.Version, Offered: true, Repository: "Homebrew", Patches: fact(f.Version)}}}
	if f.Newer != "" && f.Newer != f.Version {
		p.Versions = append(p.Versions, patch.Version{Text: f.Newer, Order: 1, Offered: true, Repository: "Homebrew", Patches: fact(f.Newer)})
	}
	if f.Pinned {
		p.Held = "pinned: brew unpin " + f.Name
	}
	m.class[f.Name] = class + " " + b.prefix
	return p
}

// Evidence goes by the time of the boot: what Software Update has put in since and what counts as part of the system
// waits for a restart.
func (m *Manager) Evidence(ctx context.Context, _ *patch.Inventory) (compliance.Reboot, []string, error) {
	var out compliance.Reboot
	text, err := m.ask(ctx, "/usr/sbin/sysctl", "-n", "kern.boottime")
	if err != nil {
		return out, nil, err
	}
	boot, ok := parseBoot(text)
	if !ok {
		return out, nil, fmt.Errorf("kern.boottime is %q", strings.TrimSpace(text))
	}
	past, err := installHistory(m.cfg.FS)
	if err != nil {
		return out, nil, err
	}
	for _, p := range past {
		i := Item{Title: p.Name}
		if p.byApple() && p.At.After(boot) && (i.upgrade() || strings.Contains(p.Name, "Security")) {
			out.Required = true
			out.Reasons = append(out.Reasons, p.Name+" "+p.Version+" was installed after the last boot")
		}
	}
	var updaters []string
	if on, err := m.ask(ctx, "/usr/bin/defaults", "read", "/Library/Preferences/com.apple.SoftwareUpdate", "AutomaticallyInstallMacOSUpdates"); err == nil && strings.TrimSpace(on) == "1" {
		updaters = append(updaters, "Software Update installs updates of macOS by itself")
	}
	return out, updaters, nil
}

// parseBoot reads kern.boottime: { sec = 1752480000, usec = 123456 } Mon Jul 14 08:00:00 2026
func parseBoot(text string) (time.Time, bool) {
	_, rest, ok := strings.Cut(text, "sec = ")
	if !ok {
		return time.Time{}, false
	}
	digits, _, _ := strings.Cut(rest, ",")
	sec, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || sec <= 0 {
		return time.Time{}, false
	}
	return time.Unix(sec, 0).UTC(), true
}
