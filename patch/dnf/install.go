package dnf

import (
	"context"
	"errors"
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

// run waits for the locks and runs dnf to its end. A unit makes it one that goes on whatever becomes of this process.
func (m *Manager) run(ctx context.Context, log *os.File, unit string, args []string) (string, int, error) {
	if err := system.WaitLocks(ctx, m.locks(), m.cfg.LockWait, m.cfg.Note); err != nil {
		return "", 0, err
	}
	c := patch.Command{Path: m.tool.path, Args: args, Env: patch.BaseEnv(), Log: log, Timeout: fetchTimeout}
	if unit != "" {
		c.Lasting, c.Unit, c.Env = true, unit, append(c.Env, system.TransactionMark)
	}
	return system.LoggedCommand(ctx, m.cfg.Exec, c)
}

// locks are the files by which dnf, yum and rpm keep others away. dnf itself would wait for the first ones for ever.
func (m *Manager) locks() []string {
	var out []string
	for _, f := range []string{
		"var/cache/dnf/metadata_lock.pid", "var/cache/dnf/download_lock.pid", "var/lib/dnf/rpmdb_lock.pid", "var/run/yum.pid",
		"var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock",
	} {
		out = append(out, filepath.Join(m.cfg.Root, f))
	}
	return out
}

// Fetch downloads what the plan installs, and then checks the signatures itself, where a repository asks for that: dnf would
// import a missing key without being told to. When it installs it finds the keys there, or checks and refuses as well.
func (m *Manager) Fetch(ctx context.Context, w patch.Wish, p *patch.Plan, log *os.File) (map[string]string, error) {
	args, done, err := m.words(ctx, w)
	if err != nil {
		return nil, err
	}
	defer done()
	text, code, err := m.run(ctx, log, "", slices.Concat([]string{"-y", "--downloadonly", "--setopt=gpgcheck=0", "--setopt=*.gpgcheck=0"}, args))
	if err != nil {
		return nil, err
	}
	lacking := map[string]string{}
	if code != 0 {
		if rpm.NoRoom(text) {
			return nil, patch.Fail("DISK", "download the packages: %s", complaint(text, code))
		}
		for _, c := range p.Changes {
			if c.New != "" {
				if why := about(text, m.reader.FileOf(ctx, &c)); why != "" {
					lacking[c.Key()] = why
				}
			}
		}
		if len(lacking) == 0 {
			for _, c := range p.Changes {
				if c.New != "" {
					lacking[c.Key()] = complaint(text, code)
				}
			}
		}
		return lacking, nil
	}
	return m.unsigned(ctx, p, log)
}

// about is what dnf says of a file that it could not fetch.
func about(text, file string) string {
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		for _, prefix := range []string{"[FAILED] ", "Cannot download ", "- ", "Failed to download "} {
			s = strings.TrimPrefix(s, prefix)
		}
		if rest, ok := strings.CutPrefix(s, file); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, ": "))
		}
		if i := strings.Index(s, "/"+file); i >= 0 {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// unsigned finds downloaded packages of repositories with gpgcheck whose signature the node does not accept.
func (m *Manager) unsigned(ctx context.Context, p *patch.Plan, log *os.File) (map[string]string, error) {
	trusted := map[string]bool{}
	for i := range m.view.Repos {
		trusted[m.view.Repos[i].ID] = m.view.Repos[i].Trusted
	}
	files := map[string]string{} // path to key
	for _, c := range p.Changes {
		if c.New == "" {
			continue
		}
		for _, f := range m.cached(c.Name, c.New, m.reader.ArchOf(ctx, patch.Want{Name: c.Name, Arch: c.Arch, Version: c.New})) {
			if trusted[f.repo] {
				files[filepath.Join(m.cfg.Root, f.path)] = c.Key()
			}
		}
	}
	return rpm.Unsigned(ctx, m.cfg.Exec, files, log)
}

// cachedFile is a package file in dnf's cache.
type cachedFile struct{ path, repo string } // path is for fs.FS

// cached finds the package file of a version in dnf's cache.
func (m *Manager) cached(name, text, arch string) []cachedFile {
	var out []cachedFile
	if m.view == nil {
		return nil
	}
	for i := range m.view.Repos {
		r := &m.view.Repos[i]
		if r.Dir == "" {
			continue
		}
		for _, dir := range []string{path.Join(path.Dir(r.Dir), "packages"), path.Join(r.Dir, "packages")} {
			f := path.Join(dir, rpm.PackageFile(name, text, arch))
			if _, err := fs.Stat(m.cfg.FS, f); err == nil {
				out = append(out, cachedFile{f, r.ID})
			}
		}
	}
	return out
}

// Apply runs dnf once. When the metadata has changed since the plan was made, the plan is made again first, and nothing
// is done when it is another one.
func (m *Manager) Apply(ctx context.Context, w patch.Wish, p *patch.Plan, unit string, log *os.File) (patch.Applied, error) {
	again, err := m.Plan(ctx, w)
	if err != nil {
		return patch.Applied{}, err
	}
	if why := rpm.Differs(p, again); why != "" {
		return patch.Applied{Code: 1, Text: "nothing was done: " + why}, nil
	}
	args, done, err := m.words(ctx, w)
	if err != nil {
		return patch.Applied{}, err
	}
	defer done()
	text, code, err := m.run(ctx, log, unit, append([]string{"-y"}, args...))
	if err != nil {
		return patch.Applied{}, err
	}
	a := patch.Applied{Code: code, Faults: faults(text)}
	if code != 0 {
		a.Text = complaint(text, code)
		if rpm.NoRoom(a.Text) {
			a.Reason = patch.ReasonNoSpace
		}
	}
	return a, nil
}

// complaint is what dnf says about its failure, in one line.
func complaint(text string, code int) string {
	var out []string
	taking := false
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		low := strings.ToLower(s)
		switch {
		case strings.HasPrefix(s, "Error:") || strings.HasPrefix(low, "error: "):
			taking = true
			s = strings.TrimSpace(s[len("Error:"):])
		case s == "" || strings.HasPrefix(s, "$ "):
			taking = false
		}
		if taking && s != "" && s != "Transaction test error:" && !strings.HasPrefix(s, "(try to add") && !strings.HasPrefix(s, "You can try") && !slices.Contains(out, s) && len(out) < maxWords {
			out = append(out, s)
		}
	}
	return system.Said(out, "dnf", code)
}

// faults reads what rpm says about single packages: scripts that failed and files that could not be unpacked.
func faults(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		nevra := ""
		if _, rest, ok := strings.Cut(s, " rpm package "); ok && strings.HasPrefix(s, "Error ") { // Error in POSTIN scriptlet in rpm package X
			nevra, _, _ = strings.Cut(rest, " ")
		} else if i, k := strings.IndexByte(s, '('), strings.Index(s, ") scriptlet failed"); i >= 0 && k > i { // warning: %post(X) scriptlet failed
			nevra = s[i+1 : k]
		}
		if nevra == "" {
			continue
		}
		name := rpm.NameOf(nevra)
		if !strings.Contains(nevra, "-") {
			name = nevra
		}
		if out[name] == "" || strings.Contains(s, "exit status") {
			out[name] = strings.TrimPrefix(strings.TrimPrefix(s, "warning: "), "error: ")
		}
	}
	return out
}

// Finished reads rpm's progress: "  Upgrading        : alpha-1.1-1.el9.x86_64    1/3".
func (m *Manager) Finished(line string) (string, bool) {
	verb, rest, ok := strings.Cut(line, ": ")
	if !ok || !slices.Contains([]string{"Upgrading", "Installing", "Updating", "Downgrading"}, strings.TrimSpace(verb)) {
		return "", false
	}
	w := strings.Fields(rest)
	if len(w) < 2 {
		return "", false
	}
	return rpm.NameOf(w[0]), true
}

// Present reads the rpm database. A package of architecture noarch is found under the machine's own too, and the other
// way round: a package may go from one to the other with a new version.
func (m *Manager) Present(ctx context.Context) (map[string]patch.Presence, error) {
	only, err := m.installOnly(ctx)
	if err != nil {
		return nil, err
	}
	return rpm.Present(ctx, m.cfg.FS, only)
}

// Leftovers lists new and old versions of configuration files that wait for a decision.
func (m *Manager) Leftovers(ctx context.Context) ([]string, error) {
	return system.Leftovers(ctx, m.cfg.FS, []string{".rpmnew", ".rpmsave", ".rpmorig"})
}

// Room compares what the plan needs with what is free.
func (m *Manager) Room(_ context.Context, _ patch.Wish, p *patch.Plan) error {
	return rpm.Room(m.cfg, "var/cache/dnf", p)
}

// Keep puts the package files of the versions that the plan replaces into dir: out of dnf's cache, or from a repository that
// still has them.
func (m *Manager) Keep(ctx context.Context, p *patch.Plan, dir string, log *os.File) (map[string]string, error) {
	cached := func(name, text, arch string) []string {
		var out []string
		for _, f := range m.cached(name, text, arch) {
			out = append(out, filepath.Join(m.cfg.Root, f.path))
		}
		return out
	}
	kept, err := m.reader.Keep(ctx, p, dir, cached, func(old []*md.Package) error {
		if m.sourced != nil {
			return nil
		}
		args := []string{"-y", "--downloadonly", "--downloaddir=" + dir, "--setopt=metadata_expire=-1", "--setopt=gpgcheck=0", "--setopt=*.gpgcheck=0", "reinstall"}
		for _, o := range old {
			args = append(args, o.Name+"-"+rpm.Text(o)+"."+o.Arch)
		}
		text, code, err := m.run(ctx, log, "", slices.Concat(m.release(), args))
		if err == nil && code != 0 {
			err = fmt.Errorf("fetch the old packages: %s", complaint(text, code))
		}
		return err
	})
	if !slices.ContainsFunc(m.view.Repos, func(r rpm.Repo) bool { return r.Trusted }) {
		return kept, err
	}
	files := map[string]string{}
	for key, file := range kept {
		files[filepath.Join(dir, file)] = key
	}
	lacking, no := rpm.Unsigned(ctx, m.cfg.Exec, files, log)
	for file, key := range files { // dnf does not check the signature of a file that it is handed
		if _, bad := lacking[key]; bad || no != nil {
			delete(kept, key)
			err = errors.Join(err, os.Remove(file))
		}
	}
	return kept, errors.Join(err, no)
}
