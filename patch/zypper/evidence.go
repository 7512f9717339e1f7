package zypper

import (
	"context"
	"io/fs"
	"path"
	"slices"

	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// Evidence collects what speaks for a reboot or for restarts, and what else updates the node by itself.
func (m *Manager) Evidence(ctx context.Context, inv *patch.Inventory) (compliance.Reboot, []string, error) {
	updaters := m.updaters(inv)
	if !m.cfg.Live {
		return compliance.Reboot{}, updaters, nil
	}
	r, err := m.reader.Reboot(ctx)
	return r, updaters, err
}

// updaters names timers, services and cron jobs that install updates or reboot for them.
func (m *Manager) updaters(inv *patch.Inventory) []string {
	var out []string
	for _, t := range []string{
		"etc/systemd/system/timers.target.wants/transactional-update.timer", "etc/systemd/system/timers.target.wants/os-update.timer",
		"etc/systemd/system/timers.target.wants/packagekit-background.timer", "etc/systemd/system/multi-user.target.wants/rebootmgr.service",
		"etc/cron.daily/opensuse.org-online_update", "etc/cron.weekly/opensuse.org-online_update", "etc/cron.monthly/opensuse.org-online_update",
	} {
		if _, err := fs.Lstat(m.cfg.FS, t); err == nil {
			out = append(out, path.Base(t))
		}
	}
	if slices.ContainsFunc(inv.Packages, func(p patch.Package) bool { return p.Name == "PackageKit" }) {
		out = append(out, "packagekit")
	}
	slices.Sort(out)
	return slices.Compact(out)
}
