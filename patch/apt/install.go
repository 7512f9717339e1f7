package apt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	"oakum.dev/repo/deb"
)

const (
	fetchTimeout = 2 * time.Hour
	maxNames     = 12 // in one of apt's sentences
	maxKilled    = 3  // starts of an apt-get that changes nothing and that a signal ended: that says nothing about packages
)

// transactionOptions are those of every apt-get that plans or changes something.
func (m *Manager) transactionOptions(sources []baseline.Source) ([]string, error) {
	// Only what is installed is patched, and what that depends on: recommendations are neither.
	opts := []string{
		"-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Progress-Fancy=0", "-o", "APT::Get::Show-User-Simulation-Note=false",
		"-o", "APT::Install-Recommends=false", "-o", "APT::Install-Suggests=false", "-o", "APT::Get::AutomaticRemove=false", "-o", "Acquire::Retries=3",
	}
	for _, o := range m.conffileOptions() {
		opts = append(opts, "-o", "Dpkg::Options::="+o)
	}
	if sources != nil {
		own, err := m.ownOptions(sources)
		if err != nil {
			return nil, err
		}
		opts = append(opts, own...)
	}
	return opts, nil
}

// conffileOptions are none where the node itself says what becomes of configuration files that were changed on it.
func (m *Manager) conffileOptions() []string {
	if m.node != nil && slices.ContainsFunc(m.node.conf["dpkg::options"], forcesConffiles) || m.dpkgForcesConffiles() {
		return nil
	}
	return conffilePolicy
}

// forcesConffiles reports whether an option of dpkg's decides that. The others that are about configuration files,
// --force-confdef and --force-confmiss, leave cases in which dpkg asks, and there is nobody to answer.
func forcesConffiles(option string) bool {
	option, _, _ = strings.Cut(option, "#")
	things, ok := strings.CutPrefix(strings.TrimLeft(strings.TrimSpace(option), "-"), "force-")
	return ok && slices.ContainsFunc(strings.Split(things, ","), func(s string) bool { return s == "confold" || s == "confnew" })
}

// dpkgForcesConffiles looks for such an option in dpkg's own configuration, where each line is one without its dashes.
// Source: dpkg(1).
func (m *Manager) dpkgForcesConffiles() bool {
	files := []string{"etc/dpkg/dpkg.cfg"}
	entries, _ := fs.ReadDir(m.cfg.FS, "etc/dpkg/dpkg.cfg.d") // most nodes have none
	for _, e := range entries {
		if strings.Trim(e.Name(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
			files = append(files, "etc/dpkg/dpkg.cfg.d/"+e.Name())
		}
	}
	for _, name := range files {
		b, _ := fs.ReadFile(m.cfg.FS, name) // dpkg itself says what it cannot read
		if slices.ContainsFunc(strings.Split(string(b), "\n"), forcesConffiles) {
			return true
		}
	}
	return false
}

// conffilePolicy keeps configuration files that were changed on the node and takes the package's choice for the rest.
// Without --force-confold dpkg would still ask where there is no default.
var conffilePolicy = []string{"--force-confdef", "--force-confold"}

// Plan runs apt-get -s.
func (m *Manager) Plan(ctx context.Context, w patch.Wish) (*patch.Plan, error) {
	opts, err := m.transactionOptions(w.Sources)
	if err != nil {
		return nil, err
	}
	conf, done, err := m.pointAt(m.node.native, m.node.archs)
	if err != nil {
		return nil, err
	}
	defer done()
	args := append(append([]string{"-s", "-o", "Debug::NoLocking=1"}, opts...), m.wishArgs(w)...)
	var out patch.Output
	for range maxKilled {
		if out, err = m.cfg.Exec.Run(ctx, patch.Command{
			Path: "/usr/bin/apt-get", Args: args, Env: append(patch.BaseEnv(), conf...), Timeout: 5 * time.Minute, MaxOutput: 8 << 20,
		}); err != nil {
			return nil, fmt.Errorf("run apt-get -s: %w", err)
		}
		if out.Code >= 0 {
			break
		}
	}
	if out.Code != 0 {
		return &patch.Plan{Refused: refusal(out.Stdout, out.Stderr, out.Code)}, nil
	}
	return m.changes(out.Stdout), nil
}

// wishArgs are the words of "apt-get install" for a wish.
func (m *Manager) wishArgs(w patch.Wish) []string {
	var args []string
	if w.Down {
		args = append(args, "--allow-downgrades")
	}
	args = append(args, "install", "--")
	for _, p := range w.Install {
		if p.File != "" {
			args = append(args, p.File)
			continue
		}
		args = append(args, p.Name+":"+m.archOf(p.Arch)+"="+p.Version)
	}
	for _, r := range w.Remove {
		name, arch, _ := strings.Cut(r, ":")
		args = append(args, name+":"+m.archOf(arch)+"-")
	}
	return args
}

// archOf is the architecture by which apt names a package: all is the native one.
func (m *Manager) archOf(arch string) string {
	if arch == "all" || arch == "" {
		return m.native()
	}
	return arch
}

// refusal picks out of apt's complaint what a person needs.
func refusal(stdout, stderr []byte, code int) string {
	var out []string
	unmet := false
	for line := range bytes.Lines(append(slices.Clone(stdout), stderr...)) {
		s := strings.TrimSpace(string(line))
		switch {
		case strings.HasPrefix(s, "The following packages have unmet dependencies"):
			unmet = true
		case strings.HasPrefix(s, "E: "):
			unmet = false
			if !strings.Contains(s, "you have held broken packages") {
				out = append(out, strings.TrimPrefix(s, "E: "))
			}
		case unmet && s != "" && len(out) < maxNames:
			out = append(out, strings.Join(strings.Fields(s), " "))
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("apt-get ended with %d", code)
	}
	return strings.Join(out, "; ")
}

// changes reads the Inst and Remv lines of a simulation: "Inst name[:arch] [old] (new Archive [arch])".
func (m *Manager) changes(b []byte) *patch.Plan {
	auto := m.marks()
	at := map[string]int{}
	p := &patch.Plan{}
	for line := range bytes.Lines(b) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if verb != "Inst" && verb != "Remv" {
			continue
		}
		name, rest, _ := strings.Cut(rest, " ")
		name, arch, foreign := strings.Cut(name, ":")
		if !foreign {
			arch = m.node.native
		}
		c := patch.Change{Name: name, Arch: arch}
		if inside, ok := between(rest, "(", ")"); ok && verb == "Inst" {
			c.New, _, _ = strings.Cut(inside, " ")
			if a, ok := between(inside, "[", "]"); ok {
				c.Arch = a
			}
		}
		if old := m.node.pkgs[key(name, arch)]; old != nil && old.installed != nil {
			c.Old, c.Arch, c.Held, c.Auto = old.installed.Version, old.installed.Arch, old.installed.Held(), auto[key(name, arch)]
			c.Own = old.installed.own
		} else {
			c.Auto = true // it is there for another package only
		}
		c.Down = c.Old != "" && c.New != "" && pkgver.Dpkg(c.New, c.Old) < 0
		if c.Old == c.New {
			continue
		}
		if i, twice := at[c.Key()]; twice { // removed and installed again
			if c.New != "" {
				p.Changes[i] = c
			}
			continue
		}
		at[c.Key()] = len(p.Changes)
		p.Changes = append(p.Changes, c)
	}
	return p
}

func between(s, from, to string) (string, bool) {
	_, rest, ok := strings.Cut(s, from)
	if !ok {
		return "", false
	}
	inside, _, ok := strings.Cut(rest, to)
	return inside, ok
}

// marks reads which packages were installed for others only, by name and architecture.
func (m *Manager) marks() map[string]bool {
	out := map[string]bool{}
	f, err := m.cfg.FS.Open("var/lib/apt/extended_states")
	if err != nil {
		return out // apt makes it with the first mark
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, deb.MaxSmall))
	if err != nil {
		return out
	}
	for stanza := range strings.SplitSeq(string(b), "\n\n") {
		name, arch, set := "", "", false
		for line := range strings.Lines(stanza) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch k {
			case "Package":
				name = v
			case "Architecture":
				arch = v
			case "Auto-Installed":
				set = v == "1"
			}
		}
		if set {
			out[key(name, arch)] = true
		}
	}
	return out
}

// Fetch downloads what the plan installs and is not in apt's cache.
func (m *Manager) Fetch(ctx context.Context, w patch.Wish, p *patch.Plan, log *os.File) (map[string]string, error) {
	opts, err := m.transactionOptions(w.Sources)
	if err != nil {
		return nil, err
	}
	var text string
	code := -1
	for try := 0; code < 0 && try < maxKilled; try++ {
		if text, code, err = m.aptGet(ctx, log, "", append(append([]string{"--download-only"}, opts...), m.exact(w, p)...)); err != nil || code == 0 {
			return nil, err
		}
	}
	if strings.Contains(text, "enough free space") || strings.Contains(text, "No space left on device") {
		return nil, patch.Fail("DISK", "download the packages: %s", complaint(text, code))
	}
	lacking := map[string]string{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "E: Failed to fetch ")
		if !ok {
			continue
		}
		uri, why, _ := strings.Cut(rest, " ")
		for _, c := range p.Changes {
			if file := m.fileOf(&c); file != "" && path.Base(uri) == file {
				lacking[c.Key()] = strings.TrimSpace(why)
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

// fileOf is the name of the package file of a change's new version in the archive.
func (m *Manager) fileOf(c *patch.Change) string {
	p := m.node.pkgs[key(c.Name, m.archOf(c.Arch))]
	if p == nil {
		return ""
	}
	for _, v := range p.versions {
		if v.Version == c.New && v.Filename != "" {
			return path.Base(v.Filename)
		}
	}
	return ""
}

// exact names every package of a plan with its version, so that apt does this plan and no other.
func (m *Manager) exact(w patch.Wish, p *patch.Plan) []string {
	x := patch.Wish{Down: w.Down, Remove: w.Remove}
	for _, c := range p.Changes {
		if c.New == "" {
			continue
		}
		want := patch.Want{Name: c.Name, Arch: c.Arch, Version: c.New}
		if i := slices.IndexFunc(w.Install, func(o patch.Want) bool { return o.Name == c.Name && o.Arch == c.Arch }); i >= 0 {
			want.File = w.Install[i].File
		}
		x.Install = append(x.Install, want)
	}
	return m.wishArgs(x)
}

// Apply runs apt-get install once.
func (m *Manager) Apply(ctx context.Context, w patch.Wish, p *patch.Plan, unit string, log *os.File) (patch.Applied, error) {
	opts, err := m.transactionOptions(w.Sources)
	if err != nil {
		return patch.Applied{}, err
	}
	if !w.Down {
		opts = append(opts, "--no-remove")
	}
	text, code, err := m.aptGet(ctx, log, unit, append(opts, m.exact(w, p)...))
	if err != nil {
		return patch.Applied{}, err
	}
	a := patch.Applied{Code: code, Faults: faults(text)}
	if code != 0 {
		a.Text = complaint(text, code)
	}
	return a, nil
}

// aptGet waits for apt's locks and runs apt-get to its end, whatever becomes of this process. It returns what apt-get
// wrote. An apt-get that finds a lock taken all the same is started again, until the time for waiting is over.
func (m *Manager) aptGet(ctx context.Context, log *os.File, unit string, args []string) (string, int, error) {
	deadline := time.Now().Add(m.cfg.LockWait)
	for try := 1; ; try++ {
		if err := system.WaitLocks(ctx, m.lockFiles(), time.Until(deadline), m.cfg.Note); err != nil {
			return "", 0, err
		}
		c := patch.Command{Path: "/usr/bin/apt-get", Args: args, Env: patch.BaseEnv(), Log: log, Lasting: unit != "", Timeout: fetchTimeout}
		if unit != "" {
			c.Env = append(c.Env, system.TransactionMark)
			c.Unit = fmt.Sprintf("%s-%d", unit, try)
		}
		text, code, err := system.LoggedCommand(ctx, m.cfg.Exec, c)
		if err != nil {
			return "", 0, err
		}
		if code != 0 && strings.Contains(text, "Could not get lock") && time.Now().Before(deadline) {
			continue
		}
		return text, code, nil
	}
}

func (m *Manager) lockFiles() []string {
	var out []string
	for _, f := range []string{"var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/cache/apt/archives/lock"} {
		out = append(out, filepath.Join(m.cfg.Root, f))
	}
	return out
}

// complaint is what apt says about its failure, in one line.
func complaint(text string, code int) string {
	var out []string
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "E: "); ok && !slices.Contains(out, s) && len(out) < maxNames {
			out = append(out, s)
		}
	}
	return system.Said(out, "apt-get", code)
}

// faults reads what dpkg says about single packages, with the last words of their scripts.
func faults(text string) map[string]string {
	out := map[string]string{}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "dpkg: error processing ")
		if !ok {
			continue
		}
		kind, name, _ := strings.Cut(rest, " ")
		name, _, _ = strings.Cut(name, " ")
		if kind == "archive" {
			dir, file := filepath.Split(name)
			if strings.HasPrefix(filepath.Base(dir), "apt-dpkg-install-") { // apt numbers the files that it hands over
				if _, rest, ok := strings.Cut(file, "-"); ok {
					file = rest
				}
			}
			name, _, _ = strings.Cut(file, "_")
		}
		name, _, _ = strings.Cut(strings.TrimSuffix(name, ":"), ":")
		if out[name] != "" {
			continue
		}
		var said []string
		if i+1 < len(lines) {
			said = append(said, strings.TrimSpace(lines[i+1]))
		}
		for k := i - 1; k >= 0 && k >= i-3; k-- {
			s := strings.TrimSpace(lines[k])
			if s == "" || strings.HasPrefix(s, "Setting up ") || strings.HasPrefix(s, "Unpacking ") || strings.HasPrefix(s, "Preparing to ") || strings.HasPrefix(s, "dpkg:") ||
				strings.HasPrefix(s, "(Reading database") {
				break
			}
			said = slices.Insert(said, 1, s)
		}
		out[name] = strings.Join(said, "; ")
	}
	return out
}

// Finished reads dpkg's progress.
func (m *Manager) Finished(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "Setting up ")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, " ")
	name, _, _ = strings.Cut(name, ":")
	return name, name != ""
}

// Settle marks as installed for others what was so before, or came along for others: apt-get takes every package that
// is named for one that somebody wants.
func (m *Manager) Settle(ctx context.Context, changes []patch.Change, log *os.File) error {
	marks := m.marks()
	present, err := m.Present(ctx)
	if err != nil {
		return err
	}
	args := []string{"auto"}
	for _, c := range changes {
		name := key(c.Name, m.archOf(c.Arch))
		if _, there := present[c.Key()]; c.Auto && there && !marks[name] {
			args = append(args, name)
		}
	}
	if len(args) == 1 {
		return nil
	}
	text, code, err := system.Logged(ctx, m.cfg.Exec, log, "/usr/bin/apt-mark", args)
	if err == nil && code != 0 {
		err = fmt.Errorf("packages that were installed for others are marked as wanted now: apt-mark: %s", complaint(text, code))
	}
	return err
}
