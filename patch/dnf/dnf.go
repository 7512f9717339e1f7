// Package dnf is the engine's view of the RPM family: Amazon Linux, RHEL, CentOS, Rocky, Alma, Oracle and what is like
// them, managed by dnf 4, dnf 5 or yum 3. What is installed and offered is read from files (patch/rpm); dnf refreshes
// metadata, solves and installs. Start with New.
package dnf

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
)

// Manager is dnf on one node. It implements patch.PackageManager and is used by one goroutine at a time.
type Manager struct {
	cfg      system.Config
	tool     tool
	reader   *rpm.Reader
	view     *rpm.View // of the last Inventory
	sourced  []baseline.Source
	platform patch.Platform
	failed   map[string]string // of the last Refresh: by repository's id, why it was not fetched
	broken   []string          // of the last Refresh: complaints about no repository
	mender   *rpm.Mender
}

// tool is the program that manages the node. They differ in their words.
type tool struct {
	name string // dnf4, dnf5 or yum3
	path string // of the program, absolute
}

// New returns a manager. FS and Root are required.
func New(cfg system.Config) *Manager {
	cfg = cfg.Complete()
	cfg.Exec = system.Repeat(cfg.Exec)
	m := &Manager{cfg: cfg, tool: findTool(cfg.FS), reader: rpm.NewReader(cfg, "dnf")}
	m.mender = rpm.NewMender(cfg, m.again)
	return m
}

// findTool finds the program that a distribution means by dnf or yum.
func findTool(root fs.FS) tool {
	has := func(name string) bool { _, err := fs.Stat(root, name); return err == nil }
	target := func(name string) string {
		to, err := fs.ReadLink(root, name)
		if err != nil {
			return ""
		}
		return path.Base(to)
	}
	switch {
	case has("usr/bin/dnf5") && (target("usr/bin/dnf") == "dnf5" || !has("usr/bin/dnf")):
		return tool{"dnf5", "/usr/bin/dnf5"}
	case has("usr/bin/dnf"):
		return tool{"dnf4", "/usr/bin/dnf"}
	case has("usr/bin/dnf-3"):
		return tool{"dnf4", "/usr/bin/dnf-3"}
	case has("usr/bin/yum"):
		return tool{"yum3", "/usr/bin/yum"}
	}
	return tool{"dnf4", "/usr/bin/dnf"} // a root without one is read as dnf would leave it
}

// Name is "dnf" or "yum".
func (m *Manager) Name() string { return strings.TrimRight(m.tool.name, "0123456789") }

// Platform reads os-release and finds the operating system that baselines name.
func (m *Manager) Platform(context.Context) (patch.Platform, error) {
	p, err := system.Platform(m.cfg.FS, m.Name(), baseline.OS.RPM)
	if err != nil {
		return p, err
	}
	p.Arch = rpm.Machine(m.cfg.FS)
	m.platform = p
	return p, nil
}

// Inventory reads what is installed and what the repositories' metadata on the disk offers.
func (m *Manager) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	v, err := m.look(ctx, req.Sources)
	if err != nil {
		return nil, err
	}
	inv, err := m.reader.Inventory(ctx, v, req.Now)
	if err != nil {
		return nil, err
	}
	inv.Degraded = append(inv.Degraded, m.broken...)
	return inv, nil
}

// look makes the view of a node's configuration, or of a baseline's sources.
func (m *Manager) look(ctx context.Context, sources []baseline.Source) (*rpm.View, error) {
	if m.platform.Node.OS == "" {
		if _, err := m.Platform(ctx); err != nil {
			return nil, err
		}
	}
	v, err := m.readView(ctx, sources)
	if err != nil {
		return nil, err
	}
	if err := v.Fetched(len(sources) > 0, m.Name()+" repolist --all", m.Name()+" makecache", m.broken); err != nil {
		return nil, err
	}
	m.view, m.sourced = v, sources
	return v, nil
}

// Check says which targets dnf would not install together, and why. Where there is no dnf to be asked, a scan tells what it
// can without.
func (m *Manager) Check(ctx context.Context, inv *patch.Inventory, targets []patch.Target, rejected func(baseline.Patch) bool) (map[string]patch.Block, error) {
	id := m.tool.name
	_, err := os.Stat(m.tool.path) // another system's root may be looked at from a machine without dnf
	able := m.cfg.Exec != nil && err == nil
	if rejected != nil || !able {
		id = "" // what is rejected is not part of the question's name
	}
	blocks, err := m.reader.Check(ctx, targets, id, func() (map[string]patch.Block, error) {
		if !able {
			inv.Degraded = append(inv.Degraded, m.Name()+" was not asked which updates go in together: it is not on this machine")
			return nil, nil
		}
		return patch.CheckByPlan(ctx, m, m.platform.Node.OS, m.sourced, targets, rejected)
	})
	if e, ok := errors.AsType[*patch.Error](err); ok && e.Reason == "READ_ONLY" { // a scan tells the rest all the same
		inv.Degraded = append(inv.Degraded, e.Error())
		return nil, nil
	}
	return blocks, err
}

// Lower finds nothing: of an RPM system only the newest approved version is a target.
// Source: AWS Systems Manager User Guide, "How security patches are selected".
func (m *Manager) Lower(
	context.Context, []patch.Target, map[string]patch.Block, map[string][]*patch.Version, func(baseline.Patch) bool,
) (map[string]*patch.Version, error) {
	return nil, nil
}
