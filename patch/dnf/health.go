package dnf

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

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
	twice, err := rpm.Twice(ctx, m.cfg.FS, m.installOnly())
	if err != nil || len(twice) == 0 {
		return h, err
	}
	var said []string
	for _, d := range twice {
		again := d.New.Name + "-" + rpm.Text(d.New) + "." + d.New.Arch
		unit := fmt.Sprintf("oakum-repair-%d", os.Getpid())
		opts, err := m.options(m.sourced)
		if err != nil {
			return h, err
		}
		text, code, err := m.run(ctx, log, unit, slices.Concat([]string{"-y"}, opts, []string{"reinstall", again}))
		if err != nil {
			return h, err
		}
		if code != 0 { // its repository may not have it any more: then its scripts may not have run
			said = append(said, d.New.Name+" could not be installed once more: "+complaint(text, code))
		}
		for _, old := range d.Old {
			text, code, err := system.Logged(ctx, m.cfg.Exec, log, "/usr/bin/rpm", []string{"--erase", old.Name + "-" + old.EVR() + "." + old.Arch})
			if err != nil {
				return h, err
			}
			if code != 0 {
				said = append(said, "the old version of "+old.Name+" stays: "+complaint(text, code))
			}
		}
	}
	after, err := rpm.Twice(ctx, m.cfg.FS, m.installOnly())
	if err != nil {
		return h, err
	}
	left := map[string]bool{}
	for _, d := range after {
		left[d.Key()] = true
		h.Broken[d.Key()] = d.String()
	}
	var mended []string
	for _, d := range twice {
		if !left[d.Key()] {
			mended = append(mended, d.Key())
		}
	}
	if len(mended) > 0 {
		h.Repaired = append(h.Repaired, "an interrupted transaction had left packages installed twice; finished: "+strings.Join(mended, " "))
	}
	h.Trouble = said
	return h, nil
}
