package zypper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// zypper's exit codes that are more than yes or no. Source: zypper(8), "EXIT CODES".
const (
	exitProblem    = 4   // of libzypp or its solver
	exitPrivileges = 5   // it is for root
	exitLocked     = 7   // another process uses libzypp
	exitReboot     = 102 // done; a reboot is asked for
	exitRestart    = 103 // done; the package manager itself was updated
	exitNoCap      = 104 // nothing of that name
	exitSkipped    = 106 // done; some repositories were skipped
)

const (
	askTimeout   = time.Hour
	fetchTimeout = 2 * time.Hour
)

// done reports whether an exit code says that everything was done that was asked for.
func done(code int) bool {
	return code == 0 || code == exitReboot || code == exitRestart || code == exitSkipped
}

// locks are the files by which libzypp and rpm keep others away. libzypp's holds the number of the process that uses it.
func (m *Manager) locks() []string {
	var out []string
	for _, f := range []string{"run/zypp.pid", "var/run/zypp.pid", "var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"} {
		out = append(out, filepath.Join(m.cfg.Root, f))
	}
	return out
}

// pointAt makes zypper look at another root than the running system's.
func (m *Manager) pointAt() []string {
	if m.cfg.Live || m.cfg.Root == "/" {
		return nil
	}
	return []string{"--root", m.cfg.Root}
}

// patiently runs zypper again while another process uses libzypp: its lock may be taken between our look at it and zypper's.
func (m *Manager) patiently(ctx context.Context, run func() (int, error)) error {
	deadline := time.Now().Add(m.cfg.LockWait)
	for {
		if err := system.WaitLocks(ctx, m.locks(), max(time.Until(deadline), 0), m.cfg.Note); err != nil {
			return err
		}
		code, err := run()
		if err != nil || code != exitLocked {
			return err
		}
		if time.Now().After(deadline) {
			return patch.Fail("LOCKED", "zypper says that another process manages software")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// ask runs a zypper that changes nothing of what is installed, for its answer.
func (m *Manager) ask(ctx context.Context, args []string) (patch.Output, error) {
	var out patch.Output
	args = slices.Concat([]string{"--xmlout", "--non-interactive"}, m.pointAt(), args)
	err := m.patiently(ctx, func() (int, error) {
		var err error
		out, err = m.cfg.Exec.Run(ctx, patch.Command{Path: program, Args: args, Env: patch.BaseEnv(), Timeout: askTimeout, MaxOutput: 16 << 20})
		return out.Code, err
	})
	if err != nil {
		return out, fmt.Errorf("run zypper: %w", err)
	}
	if out.Code < 0 {
		return out, fmt.Errorf("zypper %s was killed", args[len(args)-1])
	}
	return out, nil
}

// run runs zypper with its words in a run's log. A unit makes it one that goes on whatever becomes of this process.
func (m *Manager) run(ctx context.Context, log *os.File, unit string, args []string) (text string, code int, err error) {
	c := patch.Command{Path: program, Args: slices.Concat([]string{"--non-interactive", "--no-refresh"}, args), Env: patch.BaseEnv(), Log: log, Timeout: fetchTimeout}
	if unit != "" {
		c.Lasting, c.Unit, c.Env = true, unit, append(c.Env, system.TransactionMark)
	}
	err = m.patiently(ctx, func() (int, error) {
		var err error
		text, code, err = system.LoggedCommand(ctx, m.cfg.Exec, c)
		return code, err
	})
	return text, code, err
}

// global are the options before zypper's command: with sources, those and a cache of their own.
func (m *Manager) global(sources []baseline.Source) ([]string, error) {
	own, err := m.ownOptions(sources)
	return append([]string{"--no-refresh"}, own...), err
}

// install makes zypper's command for orders. Licenses are agreed to: nobody is there to be asked, and an update that were
// left out for one would be missing for ever. What only recommends is not installed. Repositories that were never
// fetched are left out: zypper would go and fetch them now.
func (m *Manager) install(orders []rpm.Order, options ...string) []string {
	args := []string{"install", "--name", "--no-recommends", "--no-force-resolution", "--auto-agree-with-licenses"}
	args = append(args, options...)
	if slices.ContainsFunc(m.view.Repos, func(r rpm.Repo) bool { return r.Dir == "" }) {
		for i := range m.view.Repos {
			if r := &m.view.Repos[i]; r.Dir != "" {
				args = append(args, "--repo", r.ID)
			}
		}
	}
	down, local := false, false
	var words []string
	for _, o := range orders {
		down = down || o.Verb == "downgrade" || o.Verb == "install" && o.File != ""
		local = local || o.File != ""
		words = append(words, word(o))
	}
	if down {
		args = append(args, "--oldpackage")
	}
	if local { // files that were kept had been accepted when they were first installed
		args = append(args, "--allow-unsigned-rpm")
	}
	return append(append(args, "--"), words...)
}

// word is one order in zypper's words.
func word(o rpm.Order) string {
	if o.File != "" {
		return o.File
	}
	s := o.Name + "." + o.Arch + "=" + strings.TrimPrefix(o.Version, "0:")
	switch {
	case o.Verb == "remove":
		return "!" + s
	case o.Repo != "" && !strings.ContainsAny(o.Repo, "<>="): // which would be taken for the version's
		return o.Repo + ":" + s
	}
	return s
}

// Plan asks zypper's solver.
func (m *Manager) Plan(ctx context.Context, w patch.Wish) (*patch.Plan, error) {
	orders, err := m.reader.Orders(ctx, w)
	if err != nil || len(orders) == 0 {
		return &patch.Plan{}, err
	}
	opts, err := m.global(w.Sources)
	if err != nil {
		return nil, err
	}
	out, err := m.ask(ctx, slices.Concat(opts, m.install(orders, "--dry-run", "--details")))
	if err != nil {
		return nil, err
	}
	a := readAnswer(out.Stdout)
	switch {
	case out.Code == exitPrivileges:
		return nil, patch.Fail("FAILED", "zypper plans for root only")
	case !a.summary || !done(out.Code):
		text, reason := a.refusal()
		if text == "" {
			text = fmt.Sprintf("zypper ended with %d", out.Code)
		}
		return &patch.Plan{Refused: text, Reason: reason}, nil
	}
	if len(a.vendors) > 0 && !m.conf.main.Bool("solver.allowVendorChange", false) && !w.Down {
		return &patch.Plan{Refused: "the vendor would change of " + strings.Join(a.vendors, " "), Reason: patch.ReasonVendor}, nil
	}
	p, err := m.reader.Plan(ctx, w, a.steps)
	if err != nil {
		return nil, err
	}
	marked, err := m.autoInstalled()
	if err != nil {
		return nil, err
	}
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Old != "" {
			c.Auto = slices.Contains(marked, c.Name)
		}
	}
	for _, x := range w.Install {
		if !slices.ContainsFunc(p.Changes, func(c patch.Change) bool { return c.Name == x.Name && c.New == x.Version }) && !m.has(ctx, x) {
			text, reason := a.refusal()
			if text == "" {
				text = "zypper leaves out " + x.Name + " " + x.Version + ": " + strings.Join(a.infos, "; ")
			}
			return &patch.Plan{Refused: text, Reason: reason}, nil
		}
	}
	return p, nil
}

// has reports whether a version is installed already.
func (m *Manager) has(ctx context.Context, w patch.Want) bool {
	have, err := m.reader.Installed(ctx, w.Name)
	return err == nil && slices.ContainsFunc(have[w.Arch], func(p *md.Package) bool { return rpm.Text(p) == w.Version })
}
