// Package zypper is the engine's view of SUSE systems: SLES and openSUSE, managed by zypper. What is installed and offered
// is read from files (patch/rpm); zypper refreshes metadata, solves and installs. Start with New.
package zypper

import (
	"context"
	"os"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
)

const program = "/usr/bin/zypper"

// Manager is zypper on one node. It implements patch.PackageManager and is used by one goroutine at a time.
type Manager struct {
	cfg      system.Config
	reader   *rpm.Reader
	conf     *config // of the last Inventory
	view     *rpm.View
	sourced  []baseline.Source
	platform patch.Platform
	failed   map[string]string // of the last Refresh: by repository's alias, why it was not fetched
	broken   []string          // of the last Refresh: complaints about no repository
	mender   *rpm.Mender
}

// New returns a manager. FS and Root are required.
func New(cfg system.Config) *Manager {
	cfg = cfg.Complete()
	cfg.Exec = system.Repeat(cfg.Exec)
	m := &Manager{cfg: cfg, reader: rpm.NewReader(cfg, "zypper")}
	m.mender = rpm.NewMender(cfg, m.again)
	return m
}

// Name is "zypper".
func (m *Manager) Name() string { return "zypper" }

// Platform reads os-release and finds the operating system that baselines name.
func (m *Manager) Platform(context.Context) (patch.Platform, error) {
	p, err := system.Platform(m.cfg.FS, m.Name(), func(os baseline.OS) bool { return os == baseline.SUSE })
	if err != nil {
		return p, err
	}
	p.Arch = rpm.Machine(m.cfg.FS)
	m.platform = p
	return p, nil
}

// Inventory reads what is installed and what the repositories' metadata on the disk offers.
func (m *Manager) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	if m.platform.Node.OS == "" {
		if _, err := m.Platform(ctx); err != nil {
			return nil, err
		}
	}
	c, err := m.readConfig(req.Sources)
	if err != nil {
		return nil, err
	}
	v := m.newView(c, req.Sources)
	if err := v.Fetched(len(req.Sources) > 0, "zypper repos", "zypper refresh", m.broken); err != nil {
		return nil, err
	}
	m.conf, m.view, m.sourced = c, v, req.Sources
	inv, err := m.reader.Inventory(ctx, v, req.Now)
	if err != nil {
		return nil, err
	}
	inv.Degraded = append(inv.Degraded, m.broken...)
	return inv, nil
}

// Check says which targets zypper would not install together, and why. Where zypper cannot be asked, which plans for root
// only, a scan tells what it can without.
func (m *Manager) Check(ctx context.Context, inv *patch.Inventory, targets []patch.Target, rejected func(baseline.Patch) bool) (map[string]patch.Block, error) {
	id := "zypper"
	_, err := os.Stat(program) // another system's root may be looked at from a machine without zypper
	able := m.cfg.Exec != nil && os.Geteuid() == 0 && err == nil
	if rejected != nil || !able {
		id = "" // what is rejected is not part of the question's name
	}
	return m.reader.Check(ctx, targets, id, func() (map[string]patch.Block, error) {
		if !able {
			inv.Degraded = append(inv.Degraded, "zypper was not asked which updates go in together: that takes root, and zypper on this machine")
			return nil, nil
		}
		return patch.CheckByPlan(ctx, m, m.platform.Node.OS, m.sourced, targets, rejected)
	})
}

// Lower finds nothing: of an RPM system only the newest approved version is a target.
// Source: AWS Systems Manager User Guide, "How security patches are selected".
func (m *Manager) Lower(
	context.Context, []patch.Target, map[string]patch.Block, map[string][]*patch.Version, func(baseline.Patch) bool,
) (map[string]*patch.Version, error) {
	return nil, nil
}
