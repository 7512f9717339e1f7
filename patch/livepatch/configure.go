package livepatch

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// transitionLimit is how long a transition is waited for.
const transitionLimit = 120 * time.Second

// Change turns live patching on or off.
type Change struct {
	Enable        bool
	RebootAllowed bool
	Say           func(string)                              // what is done, for the person who waits
	Sleep         func(context.Context, time.Duration) bool // false when the context ended
	// Packages lists what is installed, afresh; nil: rpm is asked.
	Packages func(context.Context) ([]Installed, error)
}

// Configure does what the document AWS-ConfigureKernelLivePatching asks for, on Amazon Linux 2 and 2023. It returns true
// when the node has to reboot; called again afterwards it goes on, and does nothing where all is done. The error is an
// *patch.Error.
func Configure(ctx context.Context, n Node, c Change) (reboot bool, err error) {
	if c.Packages == nil {
		c.Packages = func(ctx context.Context) ([]Installed, error) { return Query(ctx, n.Exec) }
	}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	if n.OS != baseline.AmazonLinux2 && n.OS != baseline.AmazonLinux2023 {
		e := patch.Fail("UNSUPPORTED_OS", "kernel live patching is configured on Amazon Linux 2 and Amazon Linux 2023 only")
		e.Code = patch.CodeUnsupported
		e.Hint = map[baseline.OS]string{
			baseline.Ubuntu: "on Ubuntu: pro enable livepatch", baseline.RedHat: "on RHEL: dnf install kpatch kpatch-dnf", baseline.OracleLinux: "on Oracle Linux: install Ksplice",
			baseline.SUSE: "on SLES: activate the Live Patching module, and zypper install -t pattern lp_sles",
		}[n.OS]
		return false, e
	}
	r := &change{n: n, c: c}
	if n.Packages, err = c.Packages(ctx); err != nil {
		return false, patch.Fail("FAILED", "read what is installed: %w", err)
	}
	r.n = n
	if c.Enable {
		return r.enable(ctx)
	}
	return r.disable(ctx)
}

type change struct {
	n Node
	c Change
}

func (r *change) manager() string {
	if r.n.OS == baseline.AmazonLinux2 {
		return "/usr/bin/yum"
	}
	return "/usr/bin/dnf"
}

// do runs a program that must succeed.
func (r *change) do(ctx context.Context, name string, args ...string) error {
	r.c.Say(path.Base(name) + " " + strings.Join(args, " "))
	out, err := r.n.Exec.Run(ctx, patch.Command{Path: name, Args: args, Env: patch.BaseEnv(), Timeout: 30 * time.Minute})
	if err != nil {
		return patch.Fail("FAILED", "run %s %s: %w", path.Base(name), strings.Join(args, " "), err)
	}
	if out.Code != 0 {
		return patch.Fail("FAILED", "%s %s ended with %d: %s", path.Base(name), strings.Join(args, " "), out.Code, lastLine(out))
	}
	return nil
}

// lastLine is what a failed program said last.
func lastLine(out patch.Output) string {
	for _, b := range [][]byte{out.Stderr, out.Stdout} {
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if s := strings.TrimSpace(lines[len(lines)-1]); s != "" {
			return s
		}
	}
	return "it said nothing"
}

func (r *change) enable(ctx context.Context) (bool, error) {
	f := Gather(ctx, Node{OS: r.n.OS, Arch: r.n.Arch, Kernel: r.n.Kernel, FS: r.n.FS, Now: r.n.Now, Packages: r.n.Packages})
	s := Decide(f)
	switch {
	case s.State == Unsupported:
		e := patch.Fail("UNSUPPORTED_OS", "%s", s.Detail)
		e.Hint = "kernels with live patches: 4.14 and 5.10 on Amazon Linux 2 (aarch64: 5.10), 6.1 and 6.12 on Amazon Linux 2023"
		return false, e
	case strings.Contains(s.Detail, first414):
		if !r.c.RebootAllowed {
			e := patch.Fail("REBOOT", "%s, the node runs %s, and RebootAllowed is False", s.Detail, r.n.Kernel)
			e.Hint = "run the document again with RebootAllowed=True, or update the kernel and reboot first"
			return false, e
		}
		if err := r.do(ctx, r.manager(), "-y", "update", "kernel"); err != nil {
			return false, err
		}
		return true, nil
	}
	var steps [][]string
	if r.n.OS == baseline.AmazonLinux2 {
		steps = [][]string{
			{"/usr/bin/yum", "-y", "install", "binutils", "yum-plugin-kernel-livepatch"},
			{"/usr/bin/yum", "-y", "kernel-livepatch", "enable"},
			{"/usr/bin/yum", "-y", "install", "kpatch-runtime"},
			{"/usr/bin/systemctl", "enable", "kpatch.service"},
			{"/usr/bin/amazon-linux-extras", "enable", "livepatch"},
		}
	} else {
		steps = [][]string{
			{"/usr/bin/dnf", "-y", "install", "kpatch-dnf"},
			{"/usr/bin/dnf", "-y", "kernel-livepatch", "auto"},
			{"/usr/bin/dnf", "-y", "install", "kpatch-runtime"},
			{"/usr/bin/systemctl", "enable", "--now", "kpatch.service"},
		}
	}
	for _, step := range steps {
		if err := r.do(ctx, step[0], step[1:]...); err != nil {
			return false, err
		}
	}
	if err := r.settle(ctx); err != nil {
		return false, err
	}
	return false, r.verify(ctx)
}

// verify looks whether live patching is on.
func (r *change) verify(ctx context.Context) error {
	n := r.n
	var err error
	if n.Packages, err = r.c.Packages(ctx); err != nil {
		return patch.Fail("FAILED", "read what is installed: %w", err)
	}
	s := Read(ctx, n)
	r.c.Say("kernel live patching: " + join(string(s.State), s.Detail))
	if !s.State.On() {
		return patch.Fail("FAILED", "kernel live patching is not on afterwards: %s", join(string(s.State), s.Detail))
	}
	return nil
}

func (r *change) disable(ctx context.Context) (bool, error) {
	var gone []string
	for _, p := range r.n.Packages {
		if IsPatch(p.Name) || slices.Contains([]string{"yum-plugin-kernel-livepatch", "kpatch-dnf", "kpatch-runtime"}, p.Name) {
			gone = append(gone, p.Name)
		}
	}
	slices.Sort(gone)
	modules, err := ReadSys(r.n.FS)
	if err != nil {
		return false, patch.Fail("FAILED", "read /sys/kernel/livepatch: %w", err)
	}
	if len(gone) == 0 && len(modules) == 0 {
		r.c.Say("kernel live patching is off already")
		return false, nil
	}
	if err := r.settle(ctx); err != nil {
		return false, err
	}
	if len(gone) > 0 {
		steps := [][]string{}
		has := func(p string) bool { return slices.Contains(gone, p) }
		if r.n.OS == baseline.AmazonLinux2 && has("yum-plugin-kernel-livepatch") {
			steps = append(steps, []string{"/usr/bin/yum", "-y", "kernel-livepatch", "disable"})
		} else if has("kpatch-dnf") {
			steps = append(steps, []string{"/usr/bin/dnf", "-y", "kernel-livepatch", "manual"})
		}
		if has("kpatch-runtime") {
			steps = append(steps, []string{"/usr/bin/systemctl", "disable", "--now", "kpatch.service"})
		}
		steps = append(steps, append([]string{r.manager(), "-y", "remove"}, gone...))
		for _, step := range steps {
			if err := r.do(ctx, step[0], step[1:]...); err != nil {
				return false, err
			}
		}
	}
	if modules, err = ReadSys(r.n.FS); err == nil && len(modules) == 0 {
		return false, nil // stopping the service has unloaded them: the kernel is as it was booted
	}
	if !r.c.RebootAllowed {
		r.c.Say("the kernel keeps the live patches that are loaded until the next reboot, and RebootAllowed is False")
		return false, nil
	}
	return true, nil
}

// settle waits until no module is going in or out. Changing anything meanwhile could leave tasks in both worlds.
func (r *change) settle(ctx context.Context) error {
	var waited time.Duration
	for {
		modules, err := ReadSys(r.n.FS)
		if err != nil {
			return patch.Fail("FAILED", "read /sys/kernel/livepatch: %w", err)
		}
		i := slices.IndexFunc(modules, func(m Module) bool { return m.Transition })
		if i < 0 {
			return nil
		}
		if waited >= transitionLimit {
			tasks := Blocking(r.n.FS, modules[i].Enabled)
			who := "no task can be named"
			if len(tasks) > 20 {
				tasks = append(tasks[:20:20], fmt.Sprintf("and %d more", len(tasks)-20))
			}
			if len(tasks) > 0 {
				who = strings.Join(tasks, ", ")
			}
			e := patch.Fail("FAILED", "the module %s is still going in or out after %s, held up by: %s", modules[i].Name, transitionLimit, who)
			e.Hint = "end or stop these tasks, and run the document again; nothing was changed meanwhile"
			return e
		}
		if waited == 0 {
			r.c.Say("waiting for the module " + modules[i].Name + " to finish its transition")
		}
		if !r.c.Sleep(ctx, 2*time.Second) {
			return patch.Fail("INTERRUPTED", "interrupted while the module %s was going in or out", modules[i].Name)
		}
		waited += 2 * time.Second
	}
}

// Query asks rpm for what is installed.
func Query(ctx context.Context, ex patch.Exec) ([]Installed, error) {
	out, err := ex.Run(ctx, patch.Command{
		Path: "/usr/bin/rpm", Args: []string{"-qa", "--qf", `%{NAME} %{VERSION}-%{RELEASE}\n`}, Env: patch.BaseEnv(), Timeout: 2 * time.Minute, MaxOutput: 8 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("run rpm -qa: %w", err)
	}
	if out.Code != 0 {
		return nil, fmt.Errorf("rpm -qa ended with %d: %s", out.Code, lastLine(out))
	}
	var list []Installed
	for line := range strings.Lines(string(out.Stdout)) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			list = append(list, Installed{Name: name, Version: version})
		}
	}
	return list, nil
}
