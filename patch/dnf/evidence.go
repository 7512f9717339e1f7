package dnf

import (
	"context"

	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// updaters are the timers and services that install updates by themselves.
var updaters = []string{
	"etc/systemd/system/timers.target.wants/dnf-automatic.timer", "etc/systemd/system/timers.target.wants/dnf-automatic-install.timer",
	"etc/systemd/system/timers.target.wants/dnf5-automatic.timer", "etc/systemd/system/multi-user.target.wants/yum-cron.service",
	"etc/systemd/system/timers.target.wants/yum-cron.timer",
}

// Evidence collects what speaks for a reboot or for restarts, and what else updates the node by itself.
func (m *Manager) Evidence(ctx context.Context, inv *patch.Inventory) (compliance.Reboot, []string, error) {
	return m.reader.Evidence(ctx, inv, updaters)
}
