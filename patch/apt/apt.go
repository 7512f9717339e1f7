// Package apt is the engine's view of Debian, Ubuntu and Raspberry Pi OS. It reads dpkg's status and apt's lists
// itself, because that is five times faster than asking; decides candidates, phasing and pins as apt does; and leaves
// trust, downloads and transactions to apt. Where its own look at dependencies is not certain it asks apt-get -s.
// Start with New.
package apt

import (
	"context"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Config says where a node's root is and what may be used there.
type Config = system.Config

// Manager is apt on one node. It implements patch.PackageManager and is used by one goroutine at a time.
type Manager struct {
	cfg  Config
	node *node // what the last Inventory read
	// failed are the complaints of the last Refresh.
	failed []string
	// hopeless is what the last Repair could not mend. Its scripts are not started again in vain.
	hopeless map[string]string
}

// New returns a manager. FS and Root are required.
func New(cfg Config) *Manager {
	return &Manager{cfg: cfg.Complete()}
}

// Name is "apt".
func (m *Manager) Name() string { return "apt" }

// Platform reads os-release and finds the operating system that baselines name.
func (m *Manager) Platform(context.Context) (patch.Platform, error) {
	return system.Platform(m.cfg.FS, "apt", baseline.OS.Apt)
}
