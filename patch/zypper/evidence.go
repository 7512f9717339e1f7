package zypper

import (
	"context"

	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// updaters are the timers, services and cron jobs that install updates by themselves, or reboot for them.
var updaters = []string{
	"etc/systemd/system/timers.target.wants/transactional-update.timer", "etc/systemd/system/timers.target.wants/os-update.timer",
	"etc/systemd/system/timers.target.wants/packagekit-background.timer", "etc/systemd/system/multi-user.target.wants/rebootmgr.service",
	"etc/cron.daily/opensuse.org-online_update", "etc/cron.weekly/opensuse.org-online_update", "etc/cron.monthly/opensuse.org-online_update",
}

// Evidence collects what speaks for a reboot or for restarts, and what else updates the node by itself.
func (m *Manager) Evidence(ctx context.Context, inv *patch.Inventory) (compliance.Reboot, []string, error) {
	return m.reader.Evidence(ctx, inv, updaters)
}
