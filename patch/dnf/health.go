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

// installOnly tells what is installed in several versions side by side, by the node's configuration.
func (m *Manager) installOnly(ctx context.Context) (func(*md.Package) bool, error) {
	if m.view != nil {
		return m.view.InstallOnly, nil
	}
	if _, err := m.Platform(ctx); err != nil {
		return nil, err
	}
	c, err := m.readConfig(ctx, nil)
	if err != nil {
		return nil, err
	}
	return c.installOnly, nil
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
	only, err := m.installOnly(ctx)
	if err != nil { // without it nobody knows what is installed twice by mistake
		return h, err
	}
	return m.mender.Mend(ctx, only, log)
}

// again lets dnf reinstall packages.
func (m *Manager) again(ctx context.Context, packages []*md.Package, unit string, log *os.File) (string, error) {
	opts, err := m.options(m.sourced)
	if err != nil {
		return "", err
	}
	args := []string{"reinstall"}
	for _, p := range packages {
		args = append(args, rpm.Spec(p))
	}
	text, code, err := m.run(ctx, log, unit, slices.Concat([]string{"-y"}, opts, args))
	if err != nil || code == 0 {
		return "", err
	}
	return complaint(text, code), nil
}

// Redo reinstalls what a transaction had put in whose end is not in the log.
func (m *Manager) Redo(ctx context.Context, changes []patch.Change, log *os.File) ([]string, error) {
	text, err := system.ReadFrom(log.Name(), 0)
	if err != nil || completed(text) {
		return nil, err
	}
	return m.mender.Redo(ctx, changes, log)
}

// completed reports whether dnf ended the last transaction of a run's log by itself, repairs apart.
func completed(text string) bool {
	done := false // a power cut may have taken the log's end
	for part := range strings.SplitSeq("\n"+text, "\n$ ") {
		command, _, _ := strings.Cut(part, "\n")
		if w := strings.Fields(command); len(w) > 1 && w[1] == "-y" && !slices.Contains(w, "--downloadonly") && !slices.Contains(w, "reinstall") {
			done = strings.Contains(part, "\nComplete!") || strings.Contains(part, "\nError: ") // rpm runs the last scripts then, too
		}
	}
	return done
}

// Settle marks what was installed for others as such: dnf does so at the end of a transaction, and one that was killed has
// none.
func (m *Manager) Settle(ctx context.Context, changes []patch.Change, log *os.File) error {
	names := map[string]bool{}
	for _, c := range changes {
		if c.Auto && c.Old == "" && c.New != "" {
			names[c.Name] = true
		}
	}
	if len(names) == 0 || m.tool.name == "yum3" { // yum 3 takes nothing away that it was not told to
		return nil
	}
	out, err := m.cfg.Exec.Run(ctx, patch.Command{
		Path: m.tool.path, Args: []string{"-q", "-C", "--disablerepo=*", "repoquery", "--userinstalled", "--qf", "%{name}\n"}, Env: patch.BaseEnv(), Timeout: planTimeout, MaxOutput: 8 << 20,
	})
	if err != nil {
		return fmt.Errorf("read the marks of packages: %w", err)
	}
	if out.Code != 0 {
		return fmt.Errorf("read the marks of packages: %s", complaint(patch.Lines(string(out.Stderr)), out.Code))
	}
	var wrong []string
	for _, name := range strings.Fields(string(out.Stdout)) {
		if names[name] && !slices.Contains(wrong, name) {
			wrong = append(wrong, name)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	verb := "remove"
	if m.tool.name == "dnf5" {
		verb = "dependency"
	}
	slices.Sort(wrong)
	text, code, err := m.run(ctx, log, fmt.Sprintf("oakum-mark-%d", os.Getpid()), slices.Concat([]string{"mark", verb, "-y"}, wrong))
	if err == nil && code != 0 {
		err = fmt.Errorf("mark packages as installed for others: %s", complaint(text, code))
	}
	return err
}
