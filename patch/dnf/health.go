package dnf

import (
	"context"
	"fmt"
	"os"
	"slices"

	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// programs are the names of the processes that change a node for a run.
var programs = []string{"dnf", "dnf-3", "dnf5", "yum", "rpm", "python3", "python", "platform-python"}

func (m *Manager) installOnly() func(*md.Package) bool {
	if m.view != nil {
		return m.view.InstallOnly
	}
	return (&config{}).installOnly
}

// Repair waits for whoever is at work and finishes what an interrupted transaction left: a package that is installed twice
// gets its new version once more, with its scripts, and loses the old one.
func (m *Manager) Repair(ctx context.Context, log *os.File, _ func(patch.Change) bool) (patch.Health, error) {
	h := patch.Health{Broken: map[string]string{}}
	if err := system.WaitTransactions(ctx, programs, m.cfg.LockWait, m.cfg.Note); err != nil {
		return h, err
	}
	if err := system.WaitLocks(ctx, m.locks(), m.cfg.LockWait, m.cfg.Note); err != nil {
		return h, err
	}
	return rpm.Mend(ctx, &m.cfg, log, m.installOnly(), func(d rpm.Duplicate) (string, error) {
		opts, err := m.options(m.sourced)
		if err != nil {
			return "", err
		}
		again := d.New.Name + "-" + rpm.Text(d.New) + "." + d.New.Arch
		text, code, err := m.run(ctx, log, fmt.Sprintf("oakum-repair-%d", os.Getpid()), slices.Concat([]string{"-y"}, opts, []string{"reinstall", again}))
		if err != nil || code == 0 {
			return "", err
		}
		return complaint(text, code), nil
	})
}
