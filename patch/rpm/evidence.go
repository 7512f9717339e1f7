package rpm

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// kernels are the packages that hold a kernel, with the flavour that uname shows behind the version.
// Source: the distributions' package lists. Meta packages come along with them.
var kernels = map[string]string{
	"kernel": "", "kernel-core": "", "kernel-rt": "rt", "kernel-rt-core": "rt", "kernel-debug": "debug", "kernel-debug-core": "debug", "kernel-64k": "64k", "kernel-64k-core": "64k",
	"kernel-uek": "uek", "kernel-uek-core": "uek", "kernel-plus": "plus", "kernel-lt": "elrepo", "kernel-ml": "elrepo", "kernel6.12": "", "kernel6.18": "",
	"kernel-default": "default", "kernel-default-base": "default", "kernel-azure": "azure", "kernel-rt_debug": "rt_debug", "kernel-preempt": "preempt",
}

func kernelName(name string) bool { _, ok := kernels[name]; return ok }

// core are packages that a system uses from its first process on: newer than the boot, they ask for a reboot.
// Source: needs-restarting(1) of dnf-plugins-core.
var core = []string{"glibc", "linux-firmware", "systemd", "dbus", "dbus-broker", "dbus-daemon", "microcode_ctl", "udev", "systemd-udev"}

// bootPackages are the installed kernels and core packages, of which Reboot needs no more than these.
func (n *node) bootPackages() []md.Package {
	var out []md.Package
	for _, i := range n.order {
		if !kernelName(i.name) && !slices.Contains(core, i.name) {
			continue
		}
		for _, p := range i.versions {
			out = append(out, md.Package{Name: p.Name, Arch: p.Arch, Epoch: p.Epoch, Version: p.Version, Release: p.Release, Installed: p.Installed})
		}
	}
	return out
}

// suggestion is an installed version whose notice suggests a reboot.
type suggestion struct {
	Package, Notice string
	Installed       time.Time
}

func (n *node) suggestions() []suggestion {
	var out []suggestion
	for _, i := range n.order {
		top := i.newest()
		for _, x := range n.notices[i.name] {
			if x.notice.Reboot && x.pkg.EVR() == top.EVR() && (x.pkg.Arch == "" || n.fits(i, x.pkg.Arch)) {
				out = append(out, suggestion{top.Name + " " + top.EVR(), x.notice.ID, top.Installed})
			}
		}
	}
	return out
}

// Evidence collects what speaks for a reboot or for restarts on the running system, and what else updates the node by itself:
// those of the files, as paths for fs.FS, that are there, by their names, and PackageKit.
func (r *Reader) Evidence(ctx context.Context, inv *patch.Inventory, files []string) (compliance.Reboot, []string, error) {
	var updaters []string
	for _, f := range files {
		if _, err := fs.Lstat(r.cfg.FS, f); err == nil {
			updaters = append(updaters, path.Base(f))
		}
	}
	if slices.ContainsFunc(inv.Packages, func(p patch.Package) bool { return p.Name == "PackageKit" }) {
		updaters = append(updaters, "packagekit")
	}
	slices.Sort(updaters)
	updaters = slices.Compact(updaters)
	if !r.cfg.Live {
		return compliance.Reboot{}, updaters, nil
	}
	reboot, err := r.Reboot(ctx)
	return reboot, updaters, err
}

// Reboot collects what speaks for a reboot or for restarts on the running system, by the packages of the last Inventory.
func (r *Reader) Reboot(ctx context.Context) (compliance.Reboot, error) {
	var out compliance.Reboot
	all := r.store.Boot
	out.RunningKernel = system.ReadLine(r.cfg.FS, "proc/sys/kernel/osrelease")
	newest, sentence := kernel(all, out.RunningKernel)
	out.InstalledKernel = release(newest)
	if _, covered := r.live.covered(newest); sentence != "" && !covered {
		out.Reasons = append(out.Reasons, sentence)
	}
	if boot := bootTime(r.cfg.FS); !boot.IsZero() {
		for i := range all {
			if p := &all[i]; slices.Contains(core, p.Name) && p.Installed.After(boot) {
				out.Reasons = append(out.Reasons, fmt.Sprintf("%s %s was installed after the system had started", p.Name, p.EVR()))
			}
		}
		for _, s := range r.store.Suggestions {
			if s.Installed.After(boot) {
				out.Reasons = append(out.Reasons, s.Notice+" suggests a reboot for "+s.Package+", which was installed after the system had started")
			}
		}
	}
	for _, f := range []string{"run/reboot-required", "run/reboot-needed", "boot/do_purge_kernels"} {
		if _, err := fs.Stat(r.cfg.FS, f); err == nil && path.Dir(f) == "run" {
			out.Reasons = append(out.Reasons, "/"+f+" is there")
		}
	}
	slices.Sort(out.Reasons)
	out.Reasons = slices.Compact(out.Reasons)
	out.Required = len(out.Reasons) > 0
	var err error
	out.Services, err = system.ReplacedFiles(ctx, r.cfg.FS)
	return out, err
}

// kernel compares the running kernel with the installed ones of its flavour. In a container, which has no kernel packages,
// there is no answer.
func kernel(all []md.Package, running string) (newest *md.Package, sentence string) {
	if running == "" {
		return nil, ""
	}
	flavour := flavourOf(running)
	var best *md.Package
	for i := range all {
		p := &all[i]
		if f, is := kernels[p.Name]; is && f == flavour && (best == nil || pkgver.RPM(p.EVR(), best.EVR()) > 0) {
			best = p
		}
	}
	if best == nil || isRunning(best, running) {
		return best, ""
	}
	have, _, _ := strings.Cut(running, "+")
	have = strings.TrimSuffix(have, "."+best.Arch)
	if c := pkgver.RPM(best.Version+"-"+best.Release, have); c <= 0 {
		return best, "" // an older one is installed only: the running kernel has been removed, or is none of the packages'
	}
	return best, fmt.Sprintf("kernel %s runs, %s is installed", running, release(best))
}

// release is what uname -r shows of a kernel package, or nothing of none.
func release(p *md.Package) string {
	if p == nil {
		return ""
	}
	r := p.Version + "-" + p.Release
	switch f := kernels[p.Name]; {
	case strings.HasPrefix(p.Name, "kernel-default") || f == "azure" || f == "preempt": // SUSE: without the rebuild count, with the flavour
		if i := strings.LastIndexByte(r, '.'); i > strings.IndexByte(r, '-') {
			r = r[:i]
		}
		return r + "-" + f
	case f == "debug" || f == "64k" || f == "rt" && strings.HasSuffix(p.Name, "-core"):
		return r + "." + p.Arch + "+" + f
	}
	return r + "." + p.Arch
}

func isRunning(p *md.Package, running string) bool {
	return running == release(p) || strings.HasPrefix(running, p.Version+"-"+p.Release+".")
}

// flavourOf finds the flavour in what uname -r shows.
func flavourOf(running string) string {
	if _, f, ok := strings.Cut(running, "+"); ok {
		return f
	}
	for _, f := range []string{"default", "azure", "preempt", "rt_debug"} {
		if strings.HasSuffix(running, "-"+f) {
			return f
		}
	}
	for mark, f := range map[string]string{"uek": "uek", ".elrepo.": "elrepo", ".rt": "rt", ".plus.": "plus"} {
		if strings.Contains(running, mark) {
			return f
		}
	}
	return ""
}

// bootTime is when the first process was started.
func bootTime(root fs.FS) time.Time {
	stat, err := fs.ReadFile(root, "proc/1/stat")
	if err != nil {
		return time.Time{}
	}
	_, rest, ok := bytes.Cut(stat, []byte(") ")) // its name may hold blanks
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 20 {
		return time.Time{}
	}
	ticks, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil {
		return time.Time{}
	}
	b, err := fs.ReadFile(root, "proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			sec, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64)
			if err != nil {
				return time.Time{}
			}
			return time.Unix(sec, 0).Add(time.Duration(ticks) * 10 * time.Millisecond).UTC()
		}
	}
	return time.Time{}
}
