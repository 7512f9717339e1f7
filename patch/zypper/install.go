package zypper

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// order makes zypper's whole command line, but for what run adds.
func (m *Manager) order(ctx context.Context, w patch.Wish, options ...string) ([]string, error) {
	orders, err := m.reader.Orders(ctx, w)
	if err != nil {
		return nil, err
	}
	own, err := m.ownOptions(w.Sources)
	return slices.Concat(own, m.install(orders, options...)), err
}

// Fetch downloads what the plan installs. zypper checks signatures as it downloads.
func (m *Manager) Fetch(ctx context.Context, w patch.Wish, p *patch.Plan, log *os.File) (map[string]string, error) {
	args, err := m.order(ctx, w, "--download-only")
	if err != nil {
		return nil, err
	}
	text, code, err := m.run(ctx, log, "", args)
	if err != nil || done(code) {
		return nil, err
	}
	why := complaint(text, code)
	if rpm.NoRoom(text) {
		return nil, patch.Fail("DISK", "download the packages: %s", why)
	}
	lacking := map[string]string{}
	for _, c := range p.Changes { // zypper ends with the first one that it cannot have
		if c.New != "" && failedFile(text, m.reader.FileOf(ctx, &c)) {
			lacking[c.Key()] = why
		}
	}
	if len(lacking) == 0 {
		for _, c := range p.Changes {
			if c.New != "" {
				lacking[c.Key()] = why
			}
		}
	}
	return lacking, nil
}

// failedFile reports whether zypper complains about a package file.
func failedFile(text, file string) bool {
	name := strings.TrimSuffix(file, ".rpm")
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		if strings.HasPrefix(s, "Retrieving") || strings.HasPrefix(s, "$ ") || strings.HasPrefix(s, "In cache") {
			continue
		}
		if strings.Contains(s, file) || strings.Contains(s, name+":") || strings.Contains(s, name+" ") && strings.Contains(s, "Failed to provide") {
			return true
		}
	}
	return false
}

// Apply runs zypper once. When the node has changed since the plan was made, the plan is made again first, and nothing is
// done when it is another one: that is what keeps rejected packages out, without locks that a crash would leave behind.
func (m *Manager) Apply(ctx context.Context, w patch.Wish, p *patch.Plan, unit string, log *os.File) (patch.Applied, error) {
	again, err := m.Plan(ctx, w)
	if err != nil {
		return patch.Applied{}, err
	}
	if why := rpm.Differs(p, again); why != "" {
		return patch.Applied{Code: 1, Text: "nothing was done: " + why}, nil
	}
	args, err := m.order(ctx, w, "--details")
	if err != nil {
		return patch.Applied{}, err
	}
	text, code, err := m.run(ctx, log, unit, args)
	if err != nil {
		return patch.Applied{}, err
	}
	a := patch.Applied{Code: code, Faults: faults(text)}
	if done(code) {
		a.Code = 0
	} else {
		a.Text = complaint(text, code)
		if rpm.NoRoom(a.Text) {
			a.Reason = patch.ReasonNoSpace
		}
	}
	return a, nil
}

// complaint is what zypper says about its failure, in one line.
func complaint(text string, code int) string {
	var out []string
	taking := false
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		low := strings.ToLower(s)
		switch {
		case strings.HasPrefix(s, "$ ") || s == "":
			taking = false
			continue
		case strings.HasPrefix(s, "rpm: ") || strings.HasPrefix(s, "Abort, retry") || strings.HasPrefix(s, "Retrieving") || strings.HasPrefix(s, "Additional rpm output"):
			continue
		case strings.HasPrefix(s, "Problem:") || strings.HasPrefix(low, "error:") || strings.HasPrefix(s, "Error code:") || strings.HasPrefix(s, "Download (curl) error") ||
			strings.HasPrefix(s, "Problem occurred") || strings.HasPrefix(s, "Problem with") || strings.HasPrefix(s, "Failed to ") || strings.HasPrefix(s, "Can't provide") ||
			strings.HasPrefix(s, "File '") || strings.HasPrefix(s, "No provider") || strings.Contains(low, "signature verification") || strings.HasPrefix(s, "Installation of "):
			taking = true
		}
		if s = strings.TrimPrefix(s, "Error: "); taking && !slices.Contains(out, s) && len(out) < maxWords {
			out = append(out, s)
		}
	}
	return system.Said(out, "zypper", code)
}

// faults reads what rpm says about single packages: scripts that failed, and packages that could not be installed.
func faults(text string) map[string]string {
	out := map[string]string{}
	failing := "" // the package whose failure the next lines explain
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		nevra := ""
		if failing != "" {
			words := strings.TrimPrefix(s, "Error: Subprocess failed. Error: RPM failed: ")
			if s == "" || strings.HasPrefix(s, "Abort, retry") {
				failing = ""
			} else if words != "" && !strings.HasPrefix(words, "rpm: ") && !strings.Contains(words, "killed by signal") && !strings.Contains(words, "scriptlet failed") && !strings.Contains(out[failing], "scriptlet failed") {
				out[failing] += " " + words
			}
		}
		if i, k := strings.IndexByte(s, '('), strings.Index(s, ") scriptlet failed"); i >= 0 && k > i { // warning: %post(NEVRA) scriptlet failed
			nevra = s[i+1 : k]
		} else if rest, ok := strings.CutPrefix(s, "Installation of "); ok { // Installation of NEVRA failed:
			nevra, ok = strings.CutSuffix(rest, " failed:")
			if !ok {
				nevra = ""
			} else {
				failing = rpm.NameOf(nevra)
			}
		}
		if nevra == "" {
			continue
		}
		if name := rpm.NameOf(nevra); out[name] == "" || strings.Contains(s, "exit status") {
			out[name] = strings.TrimPrefix(strings.TrimPrefix(s, "warning: "), "error: ")
		}
	}
	for name, words := range out { // rpm was killed: nothing is known against the package
		if strings.HasSuffix(words, " failed:") {
			delete(out, name)
		}
	}
	return out
}

// Finished reads zypper's progress: "(1/3) Installing: alpha-1.1-1.x86_64 [.....done]".
func (m *Manager) Finished(line string) (string, bool) {
	_, rest, ok := strings.Cut(line, ") Installing: ")
	nevra, state, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if !ok || !strings.HasPrefix(strings.TrimSpace(line), "(") || !strings.HasSuffix(strings.TrimSpace(state), "done]") {
		return "", false
	}
	return rpm.NameOf(nevra), true
}

// Present reads the rpm database. A package of architecture noarch is found under the machine's own too, and the other
// way round: a package may go from one to the other with a new version.
func (m *Manager) Present(ctx context.Context) (map[string]patch.Presence, error) {
	only, err := m.installOnly()
	if err != nil {
		return nil, err
	}
	return rpm.Present(ctx, m.cfg.FS, only)
}

// installOnly tells what is installed in several versions side by side, by the node's configuration.
func (m *Manager) installOnly() (func(*md.Package) bool, error) {
	if m.view != nil {
		return m.view.InstallOnly, nil
	}
	c, err := m.readConfig(nil)
	if err != nil {
		return nil, err
	}
	return c.installOnly, nil
}

// Leftovers lists new and old versions of configuration files that wait for a decision.
func (m *Manager) Leftovers(ctx context.Context) ([]string, error) {
	return system.Leftovers(ctx, m.cfg.FS, []string{".rpmnew", ".rpmsave", ".rpmorig"})
}

// Room compares what the plan needs with what is free. A system whose root is a snapshot cannot be patched in place.
func (m *Manager) Room(_ context.Context, _ patch.Wish, p *patch.Plan) error {
	if _, err := fs.Stat(m.cfg.FS, "usr/sbin/transactional-update"); err == nil {
		if v, err := system.VolumeOf(m.cfg.Root, "usr"); err == nil && v.ReadOnly {
			e := patch.Fail("READ_ONLY", "the root file system is a read-only snapshot, and transactional-update makes the next one: Oakum does not install there")
			e.Hint = "run transactional-update patch and reboot; scans go on to tell what is missing"
			return e
		}
	}
	return rpm.Room(m.cfg, "var/cache/zypp", p)
}

// Keep puts the package files of the versions that the plan replaces into dir: out of zypper's cache, or from a repository
// that still has them.
func (m *Manager) Keep(ctx context.Context, p *patch.Plan, dir string, log *os.File) (map[string]string, error) {
	return m.reader.Keep(ctx, p, dir, m.cached, func(old []*md.Package) error {
		if m.sourced != nil {
			return nil
		}
		cache, err := os.MkdirTemp(dir, "fetch-")
		if err != nil {
			return fmt.Errorf("fetch the old packages: %w", err)
		}
		defer os.RemoveAll(cache)
		args := []string{"--pkg-cache-dir", cache, "download"}
		for _, o := range old {
			args = append(args, o.Name+"."+o.Arch+"="+o.EVR())
		}
		text, code, err := m.run(ctx, log, "", args)
		if err != nil {
			return err
		}
		err = filepath.WalkDir(cache, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(name) != ".rpm" {
				return err
			}
			return os.Rename(name, filepath.Join(dir, filepath.Base(name)))
		})
		if err == nil && !done(code) {
			err = fmt.Errorf("fetch the old packages: %s", complaint(text, code))
		}
		return err
	})
}

// cached finds the package file of a version in zypper's cache.
func (m *Manager) cached(name, text, arch string) []string {
	var out []string
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		found, err := fs.Glob(m.cfg.FS, path.Join(m.conf.packages, pattern, rpm.PackageFile(name, text, arch)))
		if err != nil {
			continue // a name with brackets in it
		}
		for _, f := range found {
			out = append(out, filepath.Join(m.cfg.Root, f))
		}
	}
	return out
}
