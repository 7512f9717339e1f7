package apt

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/compliance"
	"oakum.dev/patch"
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
	running := readLine(m.cfg.FS, "proc/sys/kernel/osrelease")
	r.RunningKernel = running
	newest, sentence := n.kernel(running, readLine(m.cfg.FS, "proc/sys/kernel/version"))
	r.InstalledKernel = newest
	if sentence != "" {
		r.Reasons = append(r.Reasons, sentence)
	}
	r.Required = len(r.Reasons) > 0
	var err error
	r.Services, err = replacedFiles(ctx, m.cfg.FS)
	return r, updaters, err
}

func readLine(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
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

// replacedFiles lists units whose processes map libraries or programs that have been deleted since.
func replacedFiles(ctx context.Context, root fs.FS) ([]compliance.Service, error) {
	entries, err := fs.ReadDir(root, "proc")
	if err != nil {
		return nil, err
	}
	byUnit := map[string]*compliance.Service{}
	self, _ := fs.Stat(root, ".") // an unreadable root has no processes either
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		dir := "proc/" + e.Name()
		b, err := fs.ReadFile(root, dir+"/maps") // of other users: not ours to read
		if err != nil || !bytes.Contains(b, []byte(" (deleted)\n")) {
			continue
		}
		files := deletedFiles(b)
		if len(files) == 0 || !sameRoot(root, dir, self) {
			continue
		}
		unit := unitOf(readLine(root, dir+"/cgroup"))
		if unit == "" {
			unit = strings.ReplaceAll(readLine(root, dir+"/comm"), ".service", "") // a process calls itself as it likes
		}
		s := byUnit[unit]
		if s == nil {
			s = &compliance.Service{Unit: unit}
			byUnit[unit] = s
		}
		s.PIDs = append(s.PIDs, pid)
		s.Files = append(s.Files, files...)
	}
	var out []compliance.Service
	for _, s := range byUnit {
		slices.Sort(s.PIDs)
		slices.Sort(s.Files)
		s.Files = slices.Compact(s.Files)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b compliance.Service) int { return strings.Compare(a.Unit, b.Unit) })
	return out, nil
}

// deletedFiles picks the files of packages out of /proc/PID/maps: not memory, shared memory or temporary files.
func deletedFiles(maps []byte) []string {
	var out []string
	for line := range bytes.Lines(maps) {
		text, ok := strings.CutSuffix(strings.TrimSpace(string(line)), " (deleted)")
		if !ok {
			continue
		}
		i := strings.IndexByte(text, '/')
		if i < 0 {
			continue
		}
		file := path.Clean(text[i:])
		w := strings.Fields(text[:i])
		owned := strings.HasPrefix(file, "/usr/") && !strings.HasPrefix(file, "/usr/local/") || strings.HasPrefix(file, "/lib") ||
			strings.HasPrefix(file, "/bin/") || strings.HasPrefix(file, "/sbin/") || strings.HasPrefix(file, "/opt/")
		// Only what is executed matters; fonts, caches and locales are replaced without harm.
		if owned && len(w) > 1 && strings.Contains(w[1], "x") {
			out = append(out, file)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unitOf finds the unit of the system's service manager in a line of /proc/PID/cgroup. Below a unit its own processes
// choose names, and below user@ that user does: neither may name what root restarts.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			switch {
			case strings.HasPrefix(part, "user@"):
				return ""
			case strings.HasSuffix(part, ".service"):
				return part
			}
		}
	}
	return ""
}
