// Package macos is the macOS half of the patch engine: Software Update, the history of installers, and Homebrew. It runs
// the programs of the system and reads its property lists; what it makes of them is portable and tested from recorded
// output. Newer versions of macOS itself are named and never installed. Which patches are wanted is decided in package
// patch. Start with New.
package macos

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// Config is the edge of the process.
type Config struct {
	Exec   patch.Exec
	FS     fs.FS                                      // the node's root; links that lead up, such as /var, are as the system has them
	Owner  func(path string) (user string, err error) // of a folder; "" for root
	Free   func(dir string) (int64, error)            // bytes; nil: enough
	Now    func() time.Time
	Note   func(string) // may be nil
	Root   bool         // this is root: without it Software Update installs nothing
	Prefix []string     // where Homebrew may be; nil: its two places
}

// Classifications are the package managers, as baselines name them.
const (
	classSoftwareUpdate = "softwareupdate"
	classInstaller      = "installer"
	classBrew           = "brew"
	classCask           = "brew cask"
)

const (
	softwareupdate = "/usr/sbin/softwareupdate"
	searchLimit    = 30 * time.Minute
	askLimit       = 2 * time.Minute
)

// Manager is the package manager of macOS. It is used by one goroutine at a time.
type Manager struct {
	cfg      Config
	platform patch.Platform
	items    []Item            // that Software Update offered last
	listed   bool              // it was asked, and nothing has been installed since
	brews    []brew            // installations of Homebrew
	silicon  bool              // an Apple processor
	class    map[string]string // package name to its class, of the last inventory
	have     map[string]string // package name to its installed version, of the last inventory
	wanted   map[string]string // package name to the version that a run planned
}

var _ patch.PackageManager = (*Manager)(nil)

// New returns the manager of a Mac.
func New(cfg Config) *Manager {
	if cfg.Prefix == nil {
		cfg.Prefix = []string{"opt/homebrew", "usr/local"}
	}
	return &Manager{cfg: cfg, class: map[string]string{}, have: map[string]string{}, wanted: map[string]string{}}
}

// Name is the program's name.
func (*Manager) Name() string { return "softwareupdate" }

// Platform identifies the node. A version of macOS that is newer than this program is one all the same.
func (m *Manager) Platform(ctx context.Context) (patch.Platform, error) {
	if m.platform.Name != "" {
		return m.platform, nil
	}
	out, err := m.ask(ctx, "/usr/bin/sw_vers")
	if err != nil {
		return patch.Platform{}, fmt.Errorf("find out which macOS this is: %w", err)
	}
	name, version := parseVersion(out)
	n, ok := baseline.Detect(name, version)
	if !ok {
		return patch.Platform{}, &patch.Error{Reason: "UNSUPPORTED_OS", Code: patch.CodeUnsupported, Err: fmt.Errorf("sw_vers names no macOS: %q", name)}
	}
	// The processor, not this program's architecture: it may run under translation.
	if arm, err := m.ask(ctx, "/usr/sbin/sysctl", "-n", "hw.optional.arm64"); err == nil {
		m.silicon = strings.TrimSpace(arm) == "1"
	}
	m.platform = patch.Platform{Name: name, Version: version, Node: n}
	return m.platform, nil
}

// parseVersion reads what sw_vers prints: ProductName, ProductVersion and, where there was one, ProductVersionExtra.
func parseVersion(text string) (name, version string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "ProductName":
			name = value
		case "ProductVersion":
			version = value
		}
	}
	return name, version
}

// env is the environment of programs: as elsewhere, with the paths of macOS.
func env() []string {
	e := slices.DeleteFunc(patch.BaseEnv(), func(s string) bool { return strings.HasPrefix(s, "HOME=") || strings.HasPrefix(s, "LC_ALL=") })
	return append(e, "HOME=/var/root", "LC_ALL=C", "LANG=C")
}

// ask runs a program that changes nothing and returns what it printed.
func (m *Manager) ask(ctx context.Context, path string, args ...string) (string, error) {
	return m.run(ctx, patch.Command{Path: path, Args: args, Env: env(), Timeout: askLimit})
}

func (m *Manager) run(ctx context.Context, c patch.Command) (string, error) {
	c.MaxOutput = 32 << 20
	out, err := m.cfg.Exec.Run(ctx, c)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", c.Path, err)
	}
	if out.Code != 0 {
		return "", fmt.Errorf("%s ended with %d: %s", strings.Join(append([]string{c.Path}, c.Args...), " "), out.Code, lastLine(string(out.Stderr)+"\n"+string(out.Stdout)))
	}
	if out.Truncated {
		return "", fmt.Errorf("%s printed more than %d bytes", c.Path, c.MaxOutput)
	}
	return string(out.Stdout), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func (m *Manager) note(format string, args ...any) {
	if m.cfg.Note != nil {
		m.cfg.Note(fmt.Sprintf(format, args...))
	}
}

// Refresh asks Apple and Homebrew what there is. Homebrew's failure is told; without Software Update nothing is known.
func (m *Manager) Refresh(ctx context.Context, _ patch.InventoryRequest) (patch.RefreshReport, error) {
	var report patch.RefreshReport
	if err := m.list(ctx); err != nil {
		return report, err
	}
	for _, b := range m.findBrews(&report.Failed) {
		if _, err := m.run(ctx, m.brewCommand(b, searchLimit, "update", "--quiet")); err != nil {
			report.Failed = append(report.Failed, "Homebrew in /"+b.prefix+": "+err.Error())
		}
	}
	return report, nil
}

// list asks Software Update what it offers.
func (m *Manager) list(ctx context.Context) error {
	m.note("asking Software Update, which can take some minutes")
	out, err := m.cfg.Exec.Run(ctx, patch.Command{Path: softwareupdate, Args: []string{"--list"}, Env: env(), Timeout: searchLimit, MaxOutput: 4 << 20})
	if err != nil {
		return &patch.Error{Reason: "REPO_METADATA", Code: patch.CodeFailed, Err: fmt.Errorf("ask Software Update: %w", err), Hint: "launchctl kickstart -k system/com.apple.softwareupdated"}
	}
	text := string(out.Stdout) + "\n" + string(out.Stderr)
	items, ok := parseList(text)
	if out.Code != 0 || !ok {
		return &patch.Error{
			Reason: "REPO_METADATA", Code: patch.CodeFailed, Err: fmt.Errorf("no list from Software Update (exit code %d): %s", out.Code, lastLine(text)),
			Hint: "look at the way to Apple's servers, then: launchctl kickstart -k system/com.apple.softwareupdated",
		}
	}
	m.items, m.listed = items, true
	return nil
}

// Lower finds nothing: one version of an item is offered at a time.
func (*Manager) Lower(context.Context, []patch.Target, map[string]patch.Block, map[string][]*patch.Version, func(baseline.Patch) bool) (map[string]*patch.Version, error) {
	return nil, nil
}

// Check finds nothing in the way that the inventory has not told: Software Update and Homebrew have no dry run to ask.
func (*Manager) Check(context.Context, *patch.Inventory, []patch.Target, func(baseline.Patch) bool) (map[string]patch.Block, error) {
	return map[string]patch.Block{}, nil
}

// Repair looks for nothing: both managers leave the old version in place until the new one is complete.
func (m *Manager) Repair(context.Context, *os.File, func(patch.Change) bool) (patch.Health, error) {
	if !m.cfg.Root {
		return patch.Health{}, &patch.Error{Reason: "FAILED", Code: patch.CodeFailed, Err: fmt.Errorf("installing updates needs root"), Hint: "run it with sudo"}
	}
	return patch.Health{}, nil
}
