package zypper

import (
	"context"
	"os"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// programs are the names of the processes that change a node for a run.
var programs = []string{"zypper", "Zypp-main", "rpm"}

// Repair waits for whoever is at work and finishes what an interrupted transaction left: a package that is installed twice
// gets its new version once more, with its scripts, and loses the old one. What else zypper would repair is told.
func (m *Manager) Repair(ctx context.Context, log *os.File, _ func(patch.Change) bool) (patch.Health, error) {
	if err := system.WaitTransactions(ctx, programs, m.cfg.LockWait, m.cfg.Note); err != nil {
		return patch.Health{}, err
	}
	if err := system.WaitLocks(ctx, m.locks(), m.cfg.LockWait, m.cfg.Note); err != nil {
		return patch.Health{}, err
	}
	only, err := m.installOnly()
	if err != nil { // without it nobody knows what is installed twice by mistake
		return patch.Health{}, err
	}
	h, err := m.mender.Mend(ctx, only, log)
	if err != nil {
		return h, err
	}
	own, err := m.ownOptions(m.sourced)
	if err != nil {
		return h, err
	}
	out, err := m.ask(ctx, append([]string{"--no-refresh"}, append(own, "verify", "--dry-run", "--details", "--no-recommends")...))
	if err != nil {
		return h, err
	}
	if why := unsound(readAnswer(out.Stdout)); why != "" {
		h.Trouble = append(h.Trouble, why)
	}
	return h, nil
}

// again lets zypper install packages once more.
func (m *Manager) again(ctx context.Context, packages []*md.Package, unit string, log *os.File) (string, error) {
	own, err := m.ownOptions(m.sourced)
	if err != nil {
		return "", err
	}
	args := append(own, "install", "--name", "--force", "--no-recommends", "--auto-agree-with-licenses", "--")
	for _, p := range packages {
		args = append(args, p.Name+"."+p.Arch+"="+p.EVR())
	}
	before, err := m.autoInstalled()
	if err != nil {
		return "", err
	}
	text, code, err := m.run(ctx, log, unit, args)
	if err != nil {
		return "", err
	}
	var auto []patch.Change // zypper takes the mark off what it is told to install
	for _, p := range packages {
		auto = append(auto, patch.Change{Name: p.Name, New: rpm.Text(p), Auto: slices.Contains(before, p.Name)})
	}
	if err := m.Settle(ctx, auto, log); err != nil {
		return "", err
	}
	if done(code) {
		return "", nil
	}
	return complaint(text, code), nil
}

// Redo installs once more what a transaction had put in: zypper leaves the last scripts out where it gives up, and does not
// say whether it came to its end.
func (m *Manager) Redo(ctx context.Context, changes []patch.Change, log *os.File) ([]string, error) {
	return m.mender.Redo(ctx, changes, log)
}

// unsound says what zypper verify would do about dependencies that do not hold, or nothing.
func unsound(a answer) string {
	var words []string
	for _, s := range a.steps {
		words = append(words, s.Action+" "+s.Name+" "+s.EVR)
	}
	switch {
	case len(a.problems) > 0:
		text, _ := a.refusal()
		return "dependencies of what is installed do not hold: " + text
	case len(words) > 0:
		return "dependencies of what is installed do not hold; zypper verify would " + strings.Join(words, ", ")
	}
	return ""
}
