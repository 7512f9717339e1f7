package apt

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/repo/deb"
)

// entry is one package of dpkg's database. A package whose very first unpacking was cut off may have no version.
type entry struct{ name, arch, version, status, state string }

// database reads dpkg's status as it is, also where dpkg was stopped half way.
func (m *Manager) database() ([]entry, error) {
	f, err := m.cfg.FS.Open("var/lib/dpkg/status")
	if err != nil {
		return nil, fmt.Errorf("read what is installed: %w", rooted(err))
	}
	defer f.Close()
	var out []entry
	err = deb.ReadStatus(f, func(p *deb.Package) error {
		if p.Present() {
			out = append(out, entry{p.Name, p.Arch, p.Version, p.Status, p.State()})
		}
		return nil
	})
	return out, err
}

// broken lists what dpkg left half way, by Package.Key, and what waits for triggers.
func broken(db []entry) (left map[string]string, triggers bool) {
	left = map[string]string{}
	for _, e := range db {
		switch e.state {
		case "half-installed", "half-configured", "unpacked":
			left[e.name+"."+e.arch] = e.state
		case "triggers-pending", "triggers-awaited":
			triggers = true
		}
		if strings.Contains(e.status, " reinstreq ") {
			left[e.name+"."+e.arch] = e.state + ", and dpkg asks for it to be installed again"
		}
	}
	return left, triggers
}

// Present reads dpkg's database. A package of architecture all is found under the native one too, and the other way round:
// a package may go from one to the other with a new version.
func (m *Manager) Present(context.Context) (map[string]patch.Presence, error) {
	db, err := m.database()
	if err != nil {
		return nil, err
	}
	left, _ := broken(db)
	out := make(map[string]patch.Presence, 2*len(db))
	native := m.native()
	for _, e := range db {
		p := patch.Presence{Version: e.version, Broken: left[e.name+"."+e.arch]}
		out[e.name+"."+e.arch] = p
		switch e.arch {
		case "all":
			out[e.name+"."+native] = p
		case native:
			out[e.name+".all"] = p
		}
	}
	return out, nil
}

func (m *Manager) native() string {
	if m.node != nil {
		return m.node.native
	}
	b, err := fs.ReadFile(m.cfg.FS, "var/lib/dpkg/arch")
	if w := strings.Fields(string(b)); err == nil && len(w) > 0 {
		return w[0]
	}
	return "amd64"
}

// interrupted reports whether dpkg was stopped before it had written down what it did.
func (m *Manager) interrupted() bool {
	updates, err := fs.ReadDir(m.cfg.FS, "var/lib/dpkg/updates")
	return err == nil && slices.ContainsFunc(updates, func(e fs.DirEntry) bool { return strings.Trim(e.Name(), "0123456789") == "" })
}

const maxRepairs = 3 // rounds that were themselves killed

// Repair waits for whoever is at work and does what dpkg and apt advise after an interruption: dpkg --configure -a, then
// apt-get -f install, the latter only when its plan takes nothing away and is allowed.
func (m *Manager) Repair(ctx context.Context, log *os.File, allowed func(patch.Change) bool) (patch.Health, error) {
	h := patch.Health{Broken: map[string]string{}}
	if err := system.WaitTransactions(ctx, []string{"apt-get", "dpkg"}, m.cfg.LockWait, m.cfg.Note); err != nil {
		return h, err
	}
	if err := system.WaitLocks(ctx, m.lockFiles(), m.cfg.LockWait, m.cfg.Note); err != nil {
		return h, err
	}
	db, err := m.database()
	if err != nil {
		return h, err
	}
	before, triggers := broken(db)
	cut := m.interrupted()
	if len(before) == 0 && !triggers && !cut || len(before) > 0 && !cut && maps.Equal(before, m.hopeless) {
		maps.Copy(h.Broken, before)
		return h, nil
	}
	text := ""
	for try := 1; ; try++ {
		said, killed, err := m.mend(ctx, log, allowed, &h)
		if err != nil {
			return h, err
		}
		text += said
		if db, err = m.database(); err != nil {
			return h, err
		}
		// A repair that was itself cut off says nothing about what can be repaired.
		if !killed && !m.interrupted() || try == maxRepairs {
			break
		}
		h.Trouble = nil
	}
	after, _ := broken(db)
	if m.node != nil { // without the lists the best has not been tried
		m.hopeless = after
	}
	said := faults(text)
	for k, how := range after {
		h.Broken[k] = how
		if why := said[k[:strings.LastIndexByte(k, '.')]]; why != "" { // names have dots too
			h.Broken[k] = how + ": " + why
		}
	}
	var mended []string
	for k := range before {
		if after[k] == "" {
			mended = append(mended, k)
		}
	}
	slices.Sort(mended)
	switch {
	case len(mended) > 0:
		h.Repaired = append(h.Repaired, "dpkg had been interrupted; finished: "+strings.Join(mended, " "))
	case cut && len(after) == 0:
		h.Repaired = append(h.Repaired, "dpkg had been interrupted; its records are in order again")
	}
	return h, nil
}

// mend runs one round of repairs. It returns what dpkg said, and whether a signal ended a program.
func (m *Manager) mend(ctx context.Context, log *os.File, allowed func(patch.Change) bool, h *patch.Health) (text string, killed bool, err error) {
	text, code, err := m.configure(ctx, log)
	if err != nil {
		return text, false, err
	}
	if code != 0 {
		h.Trouble = append(h.Trouble, "dpkg --configure -a: "+strings.Join(troubles(text, code), "; "))
	}
	db, err := m.database()
	if err != nil {
		return text, false, err
	}
	killed = code < 0 || strings.Contains(text, "was killed by signal") // dpkg, or a package's script
	left, _ := broken(db)
	if len(left) == 0 || killed || m.node == nil {
		return text, killed, nil
	}
	if code, err = m.fixMissing(ctx, log, left, allowed, h); err != nil || code < 0 {
		return text, true, err
	}
	if db, err = m.database(); err != nil {
		return text, false, err
	}
	code, err = m.reinstall(ctx, log, db, h)
	return text, code < 0, err
}

// reinstall puts in again, at the version that it has, what dpkg does not configure in any other way: a package whose
// upgrade was cut off between its scripts. It returns apt's exit code, 0 when it was not run.
func (m *Manager) reinstall(ctx context.Context, log *os.File, db []entry, h *patch.Health) (code int, err error) {
	opts, err := m.transactionOptions(nil)
	if err != nil {
		return 0, err
	}
	opts = append(opts, "--reinstall", "--no-remove")
	for _, e := range db {
		if !strings.Contains(e.status, " reinstreq ") || e.version == "" {
			continue
		}
		args := append(slices.Clone(opts), "install", e.name+":"+m.archOf(e.arch)+"="+e.version)
		out, err := m.cfg.Exec.Run(ctx, patch.Command{
			Path: "/usr/bin/apt-get", Args: append([]string{"-s", "-o", "Debug::NoLocking=1"}, args...), Env: patch.BaseEnv(), Timeout: 5 * time.Minute, MaxOutput: 8 << 20,
		})
		if err != nil {
			return 0, fmt.Errorf("run apt-get -s --reinstall: %w", err)
		}
		if out.Code != 0 {
			code = min(code, out.Code)
			h.Trouble = append(h.Trouble, e.name+" cannot be installed again: "+refusal(out.Stdout, out.Stderr, out.Code))
			continue
		}
		if plan := m.changes(out.Stdout); len(plan.Changes) > 0 {
			h.Trouble = append(h.Trouble, fmt.Sprintf("%s is not installed again: that would change %s", e.name, plan.Changes[0].Name))
			continue
		}
		text, got, err := m.aptGet(ctx, log, fmt.Sprintf("oakum-repair-%d-%s", os.Getpid(), e.name), args)
		if err != nil {
			return 0, err
		}
		if code = min(code, got); got != 0 {
			h.Trouble = append(h.Trouble, e.name+" cannot be installed again: "+complaint(text, got))
		}
	}
	return code, nil
}

// configure runs dpkg --configure -a. dpkg does not wait for its lock.
func (m *Manager) configure(ctx context.Context, log *os.File) (string, int, error) {
	deadline := time.Now().Add(m.cfg.LockWait)
	for {
		text, code, err := system.Logged(ctx, m.cfg.Exec, log, "/usr/bin/dpkg", append(slices.Clone(m.conffileOptions()), "--configure", "-a"))
		if err != nil || code == 0 || !strings.Contains(text, "lock") || time.Now().After(deadline) {
			return text, code, err
		}
		if !strings.Contains(text, "was locked by another process") && !strings.Contains(text, "is locked by another process") {
			return text, code, nil
		}
		if err := system.WaitLocks(ctx, m.lockFiles(), time.Until(deadline), m.cfg.Note); err != nil {
			return text, code, err
		}
	}
}

// fixMissing lets apt fetch what half-installed packages need, when that is all that it would do. It returns apt's exit
// code, 0 when it was not run.
func (m *Manager) fixMissing(ctx context.Context, log *os.File, left map[string]string, allowed func(patch.Change) bool, h *patch.Health) (code int, err error) {
	opts, err := m.transactionOptions(nil)
	if err != nil {
		return 0, err
	}
	out, err := m.cfg.Exec.Run(ctx, patch.Command{
		Path: "/usr/bin/apt-get", Args: append(append([]string{"-s", "-o", "Debug::NoLocking=1"}, opts...), "-f", "install"), Env: patch.BaseEnv(), Timeout: 5 * time.Minute, MaxOutput: 8 << 20,
	})
	if err != nil {
		return 0, fmt.Errorf("run apt-get -s -f install: %w", err)
	}
	if out.Code != 0 {
		h.Trouble = append(h.Trouble, "apt-get -f install would not help: "+refusal(out.Stdout, out.Stderr, out.Code))
		return min(out.Code, 0), nil
	}
	plan := m.changes(out.Stdout)
	if len(plan.Changes) == 0 {
		return 0, nil
	}
	for _, c := range plan.Changes {
		c.Wanted = c.Old != "" // a version of what is there has to be approved; what is new may be a dependency
		if c.New == "" || c.Down || c.Held || c.Old != "" && left[c.Key()] == "" || allowed == nil || !allowed(c) {
			h.Trouble = append(h.Trouble, fmt.Sprintf("apt-get -f install is not run: it would change %s from %q to %q", c.Name, c.Old, c.New))
			return 0, nil
		}
	}
	text, code, err := m.aptGet(ctx, log, "oakum-repair-"+fmt.Sprint(os.Getpid()), append(append(opts, "--no-remove"), "-f", "install"))
	if err != nil {
		return 0, err
	}
	if code != 0 {
		h.Trouble = append(h.Trouble, "apt-get -f install: "+complaint(text, code))
	}
	return code, nil
}

// troubles lists what dpkg says about single packages, sorted, or that it failed.
func troubles(text string, code int) []string {
	var out []string
	for name, why := range faults(text) {
		out = append(out, name+": "+why)
	}
	slices.Sort(out)
	if len(out) == 0 {
		out = []string{fmt.Sprintf("it ended with %d", code)}
	}
	return out
}

// leftoverSuffixes are what dpkg and ucf leave beside a configuration file that was changed on the node.
var leftoverSuffixes = []string{".dpkg-dist", ".dpkg-new", ".ucf-dist", ".ucf-new"}

// Leftovers lists new versions of configuration files that wait beside changed ones.
func (m *Manager) Leftovers(ctx context.Context) ([]string, error) {
	return system.Leftovers(ctx, m.cfg.FS, leftoverSuffixes)
}
