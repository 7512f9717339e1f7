package apt

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/livepatch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
)

// Evidence collects what speaks for a reboot or for restarts. Nothing of it decides anything here.
func (m *Manager) Evidence(ctx context.Context, _ *patch.Inventory) (compliance.Reboot, []string, error) {
	var r compliance.Reboot
	n := m.node
	updaters := n.updaters()
	if !m.cfg.Live {
		return r, updaters, nil
	}
	for _, f := range []string{"run/reboot-required", "var/run/reboot-required"} {
		if _, err := fs.Stat(m.cfg.FS, f); err == nil {
			reason := "/" + f + " is there"
			if b, err := fs.ReadFile(m.cfg.FS, f+".pkgs"); err == nil {
				names := strings.Fields(string(b))
				slices.Sort(names)
				reason += ", asked for by " + strings.Join(slices.Compact(names), " ")
			}
			r.Reasons = append(r.Reasons, reason)
			break
		}
	}
	running := system.ReadLine(m.cfg.FS, "proc/sys/kernel/osrelease")
	r.RunningKernel = running
	newest, sentence := n.kernel(running, system.ReadLine(m.cfg.FS, "proc/sys/kernel/version"))
	r.InstalledKernel = newest
	if sentence != "" {
		r.Reasons = append(r.Reasons, sentence)
	}
	r.Required = len(r.Reasons) > 0
	if _, err := fs.Stat(m.cfg.FS, "var/snap/canonical-livepatch"); err == nil && m.cfg.Exec != nil {
		waits := ""
		if sentence != "" {
			waits = newest
		}
		r.LivePatch = livepatch.Evidence(ctx, livepatch.Node{OS: baseline.Ubuntu, Arch: n.native, Kernel: running, FS: m.cfg.FS, Exec: m.cfg.Exec, Now: time.Now()}, waits)
	}
	var err error
	r.Services, err = system.ReplacedFiles(ctx, m.cfg.FS)
	return r, updaters, err
}

var kernelPrefixes = []string{"linux-image-", "proxmox-kernel-", "pve-kernel-"}

// kernelOf splits the name of a kernel package into the release that uname shows and its flavour.
func kernelOf(name string) (release, version, flavour string, ok bool) {
	for _, p := range kernelPrefixes {
		if rest, found := strings.CutPrefix(name, p); found {
			release = rest
		}
	}
	for _, s := range []string{"-unsigned", "-signed"} {
		release = strings.TrimSuffix(release, s)
	}
	if release == "" || release[0] < '0' || release[0] > '9' || strings.HasSuffix(release, "-dbg") {
		return "", "", "", false
	}
	version, flavour = splitRelease(release)
	return release, version, flavour, true
}

// splitRelease parts "6.1.0-43-cloud-amd64" into "6.1.0-43" and "cloud-amd64".
func splitRelease(release string) (version, flavour string) {
	parts := strings.Split(release, "-")
	i := 1
	for i < len(parts) && parts[i] != "" && parts[i][0] >= '0' && parts[i][0] <= '9' {
		i++
	}
	return strings.Join(parts[:i], "-"), strings.Join(parts[i:], "-")
}

// kernel compares the running kernel with the installed ones of its flavour. In a container, which has no kernel
// packages, there is no answer.
func (n *node) kernel(running, build string) (newest, sentence string) {
	if running == "" {
		return "", ""
	}
	runVersion, runFlavour := splitRelease(running)
	newestVersion := ""
	for _, p := range n.order {
		release, version, flavour, ok := kernelOf(p.name)
		if !ok || flavour != runFlavour || p.installed.State() == "half-installed" {
			continue
		}
		if newest == "" || pkgver.Dpkg(version, newestVersion) > 0 {
			newest, newestVersion = release, version
		}
		// The same release may have been built again: Debian writes the package's version into the build text.
		if release == running {
			if _, v, ok := strings.Cut(build, " Debian "); ok {
				v, _, _ = strings.Cut(v, " ")
				if pkgver.Dpkg(p.installed.Version, v) > 0 {
					sentence = fmt.Sprintf("kernel %s runs as built in %s, %s is installed", running, v, p.installed.Version)
				}
			}
		}
	}
	if newest != "" && pkgver.Dpkg(newestVersion, runVersion) > 0 {
		sentence = fmt.Sprintf("kernel %s runs, %s is installed", running, newest)
	}
	return newest, sentence
}

// updaters names what else on the node installs updates by itself.
func (n *node) updaters() []string {
	var out []string
	has := func(name string) bool {
		return n.pkgs[key(name, n.native)] != nil && n.pkgs[key(name, n.native)].installed != nil
	}
	on := func(k string) bool { v := n.conf.get(k, "0"); return v != "0" && v != "" }
	if has("unattended-upgrades") && on("APT::Periodic::Unattended-Upgrade") && n.conf.bool("APT::Periodic::Enable", true) {
		out = append(out, "unattended-upgrades")
	}
	for _, t := range []string{"apt-daily.timer", "apt-daily-upgrade.timer"} {
		if _, err := fs.Stat(n.cfg.FS, "etc/systemd/system/timers.target.wants/"+t); err == nil {
			out = append(out, t)
		}
	}
	for _, p := range []string{"packagekit", "cron-apt", "apticron"} {
		if has(p) {
			out = append(out, p)
		}
	}
	return out
}
