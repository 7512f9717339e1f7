package dnf

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

// updaters names timers and services that install updates.
func (m *Manager) updaters(inv *patch.Inventory) []string {
	var out []string
	for _, t := range []string{
		"timers.target.wants/dnf-automatic.timer", "timers.target.wants/dnf-automatic-install.timer", "timers.target.wants/dnf5-automatic.timer",
		"multi-user.target.wants/yum-cron.service", "timers.target.wants/yum-cron.timer",
	} {
		if _, err := fs.Lstat(m.cfg.FS, "etc/systemd/system/"+t); err == nil {
			name := path.Base(t)
			out = append(out, name)
		}
	}
	if slices.ContainsFunc(inv.Packages, func(p patch.Package) bool { return p.Name == "PackageKit" }) {
		out = append(out, "packagekit")
	}
	return out
}
