package apt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/repo/deb"
)

// A baseline's sources stand in for the node's own without a file of the node being touched: apt is given another
// sources.list and another folder of lists for the run.

func ownDir(cfg *Config) string { return filepath.Join(cfg.CacheDir, "apt-sources") }

// ownListsDir is where the lists of a baseline's sources are, as a path for the root's fs.FS.
func ownListsDir(cfg *Config) string {
	if cfg.Live && cfg.CacheDir != "" {
		return strings.TrimPrefix(filepath.ToSlash(filepath.Join(ownDir(cfg), "lists")), "/")
	}
	return "var/lib/apt/lists"
}

func ownSources(own []baseline.Source) ([]deb.Source, error) {
	var out []deb.Source
	for _, s := range own {
		got, err := deb.ReadSourcesList(strings.NewReader(s.Configuration))
		if err != nil {
			return nil, fmt.Errorf("patch source %s: %w", s.Name, err)
		}
		out = append(out, got...)
	}
	return out, nil
}

// ownOptions writes the sources.list of a baseline's sources and returns the options that make apt use it.
func (m *Manager) ownOptions(own []baseline.Source) ([]string, error) {
	if m.cfg.CacheDir == "" {
		return nil, fmt.Errorf("a baseline with sources needs a folder for their lists")
	}
	dir := ownDir(&m.cfg)
	if err := os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755); err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, s := range own {
		fmt.Fprintf(&b, "# %s\n%s\n", s.Name, s.Configuration)
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	return []string{
		"-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
	}, nil
}
