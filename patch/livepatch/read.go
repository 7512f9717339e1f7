package livepatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// Module is a live patch module that is loaded.
type Module struct {
	Name       string
	Enabled    bool
	Transition bool // it is going in or out
}

// Node is a running system to look at.
type Node struct {
	OS       baseline.OS
	Arch     string     // x86_64, aarch64
	Kernel   string     // uname -r
	FS       fs.FS      // its root, with sys and proc
	Exec     patch.Exec // runs the vendors' tools; nil: only the file system is read
	Packages []Installed
	Now      time.Time
}

// Facts are all that was read of a node. Decide needs nothing else.
type Facts struct {
	OS           baseline.OS
	Arch, Kernel string
	Now          time.Time
	Packages     []Installed
	Modules      []Module
	OnDisk       []KpatchModule // of kpatch
	Service      string         // of kpatch.service: enabled, disabled, failed, ...; empty: not known
	SupportEnd   time.Time      // the last day with live patches
	Ended        bool           // there are no more
	Canonical    *CanonicalStatus
	Pro          *ProStatus
	Klp          []KlpPatch
	Uptrack      string
	Fixed        []string // CVEs that the vendor's tool names as fixed
	Problems     []string // what could not be read
}

func (f *Facts) has(pkg string) bool {
	return slices.ContainsFunc(f.Packages, func(p Installed) bool { return p.Name == pkg })
}

// loaded reports whether what is installed for the running kernel is loaded, and why not.
func (f *Facts) loaded() (bool, string) {
	is := func(name string) bool {
		return slices.ContainsFunc(f.Modules, func(m Module) bool { return m.Enabled && sameModule(m.Name, name) })
	}
	for _, m := range f.OnDisk {
		if m.Kernel == f.Kernel && !is(m.Name) {
			return false, "the module " + m.Name + " is installed and not loaded"
		}
	}
	for _, p := range f.Packages {
		if Applicable(p.Name, f.Kernel) && !Empty(p.Name, p.Version) && len(f.Modules) == 0 {
			return false, p.Name + "-" + p.Version + " is installed and no module is loaded"
		}
	}
	return true, ""
}

// sameModule compares names as the kernel does, for which - and _ are one.
func sameModule(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}

// disabledModule names a module that is loaded and not in use.
func (f *Facts) disabledModule() string {
	for _, m := range f.Modules {
		if !m.Enabled && !m.Transition {
			return m.Name
		}
	}
	return ""
}

// patched reports whether a module in force fixes something. Where klp says nothing of one, it counts.
func (f *Facts) patched() bool {
	for _, m := range f.Modules {
		i := slices.IndexFunc(f.Klp, func(p KlpPatch) bool { return sameModule(p.Module, m.Name) })
		if m.Enabled && (i < 0 || f.Klp[i].Fixes) {
			return true
		}
	}
	return false
}

// Read looks at a node. What cannot be read is left out: a state is said of what is known, and Gather has the rest.
func Read(ctx context.Context, n Node) Status { return Decide(Gather(ctx, n)) }

// Gather reads what bears on live patching: /sys/kernel/livepatch first, then the vendors' tools, where their packages
// are installed.
func Gather(ctx context.Context, n Node) *Facts {
	f := &Facts{OS: n.OS, Arch: n.Arch, Kernel: n.Kernel, Now: n.Now}
	for _, p := range n.Packages {
		if IsPatch(p.Name) || slices.Contains(tools, p.Name) {
			f.Packages = append(f.Packages, p)
		}
	}
	if n.FS != nil {
		var err error
		if f.Modules, err = ReadSys(n.FS); err != nil {
			f.problem(err)
		}
	}
	if n.Exec == nil {
		return f
	}
	if f.has("kpatch-runtime") || f.has("kpatch") {
		f.kpatch(ctx, n)
	}
	switch {
	case n.OS == baseline.AmazonLinux2 && f.has("yum-plugin-kernel-livepatch"):
		f.support(run(ctx, n.Exec, "/usr/bin/yum", "kernel-livepatch", "supported"))
	case n.OS == baseline.AmazonLinux2023 && f.has("kpatch-dnf"):
		f.support(run(ctx, n.Exec, "/usr/bin/dnf", "kernel-livepatch", "support"))
	case n.OS == baseline.Ubuntu:
		f.ubuntu(ctx, n)
	case n.OS == baseline.SUSE && f.has("kernel-livepatch-tools"):
		f.suse(ctx, n)
	case f.has("uptrack") || f.has("ksplice"):
		out := run(ctx, n.Exec, "/usr/sbin/uptrack-uname", "-r")
		if f.problem(out.err); out.err == nil {
			var err error
			f.Uptrack, err = ParseUptrack(out.text)
			f.problem(err)
		}
	}
	return f
}

// tools are the packages other than live patches that Facts have.
var tools = []string{
	"yum-plugin-kernel-livepatch", "kpatch-dnf", "kpatch-runtime", "kpatch", "kernel-livepatch-tools", "uptrack", "ksplice", "ubuntu-advantage-tools",
	"ubuntu-pro-client",
}

func (f *Facts) problem(err error) {
	if err != nil {
		f.Problems = append(f.Problems, err.Error())
	}
}

// ReadSys reads the modules in /sys/kernel/livepatch. A kernel without live patching has none.
// Source: Linux, Documentation/ABI/testing/sysfs-kernel-livepatch.
func ReadSys(root fs.FS) ([]Module, error) {
	const dir = "sys/kernel/livepatch"
	entries, err := fs.ReadDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Module
	for _, e := range entries {
		enabled, err := fs.ReadFile(root, path.Join(dir, e.Name(), "enabled"))
		if errors.Is(err, fs.ErrNotExist) { // it went away meanwhile
			continue
		}
		if err != nil {
			return out, err
		}
		transition, _ := fs.ReadFile(root, path.Join(dir, e.Name(), "transition")) // older kernels have none
		out = append(out, Module{e.Name(), strings.TrimSpace(string(enabled)) == "1", strings.TrimSpace(string(transition)) == "1"})
	}
	return out, nil
}

// Blocking names the tasks that keep a transition from ending, as "name (pid)": those that still use the old code when a
// module goes in, or the new when it goes out. Source: Linux, Documentation/livepatch/livepatch.rst, "Consistency model".
func Blocking(root fs.FS, goingIn bool) []string {
	want := "0"
	if !goingIn {
		want = "1"
	}
	procs, _ := fs.ReadDir(root, "proc") // where it cannot be read, nobody can be named
	var out []string
	for _, e := range procs {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		tasks, err := fs.ReadDir(root, path.Join("proc", e.Name(), "task"))
		if err != nil {
			continue
		}
		for _, t := range tasks {
			dir := path.Join("proc", e.Name(), "task", t.Name())
			state, err := fs.ReadFile(root, path.Join(dir, "patch_state"))
			if err != nil || strings.TrimSpace(string(state)) != want {
				continue
			}
			comm, _ := fs.ReadFile(root, path.Join(dir, "comm")) // it may have ended
			out = append(out, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), t.Name()))
		}
	}
	return out
}

type ran struct {
	text string
	code int
	err  error
}

// run starts a vendor's tool. That it is not there is an error; its exit code is not.
func run(ctx context.Context, ex patch.Exec, name string, args ...string) ran {
	out, err := ex.Run(ctx, patch.Command{Path: name, Args: args, Env: patch.BaseEnv(), Timeout: 2 * time.Minute, MaxOutput: maxOutput})
	if err != nil {
		return ran{err: fmt.Errorf("run %s: %w", path.Base(name), err)}
	}
	return ran{string(out.Stdout) + string(out.Stderr), out.Code, nil}
}

func (f *Facts) kpatch(ctx context.Context, n Node) {
	list := run(ctx, n.Exec, "/usr/sbin/kpatch", "list")
	if f.problem(list.err); list.err == nil {
		loaded, installed, err := ParseKpatchList(list.text)
		f.problem(err)
		f.OnDisk = installed
		if len(f.Modules) == 0 { // the file system is the better witness
			f.Modules = loaded
		}
	}
	is := run(ctx, n.Exec, "/usr/bin/systemctl", "is-failed", "kpatch.service")
	if is.err == nil && strings.TrimSpace(is.text) == "failed" {
		f.Service = "failed"
		return
	}
	if on := run(ctx, n.Exec, "/usr/bin/systemctl", "is-enabled", "kpatch.service"); on.err == nil {
		f.Service = strings.TrimSpace(on.text)
	}
}

func (f *Facts) support(out ran) {
	if f.problem(out.err); out.err == nil {
		f.SupportEnd, f.Ended = ParseSupport(out.text)
		if f.SupportEnd.IsZero() && !f.Ended {
			f.problem(fmt.Errorf("the end of live patches is not known: %.200q", out.text))
		}
	}
}

func (f *Facts) ubuntu(ctx context.Context, n Node) {
	if f.has("ubuntu-advantage-tools") || f.has("ubuntu-pro-client") {
		out := run(ctx, n.Exec, "/usr/bin/pro", "status", "--format", "json")
		if out.err == nil && out.code == 0 {
			var err error
			f.Pro, err = ParsePro([]byte(out.text))
			f.problem(err)
		}
	}
	out := run(ctx, n.Exec, "/snap/bin/canonical-livepatch", "status", "--format", "json")
	if out.err != nil || out.code != 0 { // not installed, or this machine is not enabled
		return
	}
	var err error
	if f.Canonical, err = ParseCanonical([]byte(out.text)); err != nil {
		f.problem(err)
		return
	}
	f.SupportEnd, f.Fixed = f.Canonical.SupportEnd, f.Canonical.CVEs
}

func (f *Facts) suse(ctx context.Context, n Node) {
	out := run(ctx, n.Exec, "/usr/bin/klp", "-v", "patches")
	if f.problem(out.err); out.err != nil || out.code != 0 {
		return
	}
	f.Klp = ParseKlp(out.text)
	for _, p := range f.Klp {
		if p.Active {
			f.Fixed = append(f.Fixed, p.CVEs...)
		}
		if !slices.ContainsFunc(f.Modules, func(m Module) bool { return sameModule(m.Name, p.Module) }) {
			f.Modules = append(f.Modules, Module{Name: p.Module, Enabled: p.Active})
		}
	}
}

// Evidence is Read in the form that the evidence of a package manager has, with the sentence about the reboot. waits is the
// newest kernel that is installed and not booted, by its version; empty: none. What it fixes is not known where no notices are
// read, and the sentence says so.
func Evidence(ctx context.Context, n Node, waits string) *compliance.LivePatch {
	s := Read(ctx, n)
	r := s.Report(nil)
	r.Debt = s.Debt(Newer{Version: waits, Unnamed: true}, Newer{})
	return r
}
