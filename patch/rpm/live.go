package rpm

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/livepatch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// livePatches puts into an inventory what live patches of the running kernel make of it. Live patches for other kernels are
// dropped: they can do nothing until those kernels run.
func (r *Reader) livePatches(ctx context.Context, inv *patch.Inventory, now time.Time) {
	running := system.ReadLine(r.cfg.FS, "proc/sys/kernel/osrelease")
	bears := false
	var have []livepatch.Installed
	for i := range inv.Packages {
		p := &inv.Packages[i]
		bears = bears || livepatch.IsPatch(p.Name) || strings.HasPrefix(p.Name, "kpatch") || p.Name == "yum-plugin-kernel-livepatch" || p.Name == "uptrack"
		x := livepatch.Installed{Name: p.Name, Version: p.Installed[strings.IndexByte(p.Installed, ':')+1:]}
		if livepatch.IsPatch(p.Name) {
			for k := range p.Versions { // a live patch holds the fixes of all earlier ones of its kernel
				if v := &p.Versions[k]; v.Order <= 0 {
					for n := range v.Patches {
						x.CVEs = append(x.CVEs, v.Patches[n].CVEs...)
					}
				}
			}
		}
		have = append(have, x)
	}
	if !bears {
		return
	}
	s := livepatch.Read(ctx, livepatch.Node{OS: r.view.OS, Arch: r.view.Machine, Kernel: running, FS: r.cfg.FS, Exec: r.cfg.Exec, Packages: have, Now: now})
	live := &patch.LivePatching{Covered: map[string]string{}, Loose: map[string]string{}, IsPatch: livepatch.IsPatch}
	inv.Packages = slices.DeleteFunc(inv.Packages, func(p patch.Package) bool { return livepatch.IsPatch(p.Name) && !livepatch.Applicable(p.Name, running) })
	var waits, offered livepatch.Newer
	var remaining []string
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if livepatch.IsPatch(p.Name) && (s.State == livepatch.Stale || s.Idle(p.Name, p.Installed[strings.IndexByte(p.Installed, ':')+1:])) {
			live.Loose[p.Key()] = cmp.Or(s.Detail, "module not loaded")
		}
		if !livepatch.IsKernel(p.Name) {
			continue
		}
		var cves []string
		for k := range p.Versions { // ascending
			v := &p.Versions[k]
			if !newerKernel(v.Text, running) {
				continue
			}
			for n := range v.Patches {
				cves = append(cves, v.Patches[n].CVEs...)
			}
			verdict := s.Judge(livepatch.KernelUpdate{Package: p.Name, Version: v.Text, CVEs: slices.Clone(cves), Installed: v.Order <= 0})
			if verdict.Covered {
				live.Covered[p.Key()+" "+v.Text] = verdict.Detail
			} else {
				remaining = append(remaining, verdict.Remaining...)
			}
			switch { // several packages make one kernel
			case v.Order == 0:
				waits = livepatch.Newer{Version: v.Text[strings.IndexByte(v.Text, ':')+1:], CVEs: append(waits.CVEs, verdict.Remaining...), Unnamed: len(cves) == 0}
			case v.Order > 0 && v.Offered:
				offered = livepatch.Newer{Version: v.Text[strings.IndexByte(v.Text, ':')+1:], CVEs: append(offered.CVEs, verdict.Remaining...)}
			}
		}
	}
	for _, list := range []*[]string{&remaining, &waits.CVEs, &offered.CVEs} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	live.Report = s.Report(remaining)
	live.Report.Debt = s.Debt(waits, offered)
	inv.LivePatching, r.live = live, &lived{live}
}

// lived is what the last inventory said of live patches; nil: nothing.
type lived struct{ *patch.LivePatching }

// covered reports whether an installed kernel waits for a reboot that live patches have made less urgent.
func (l *lived) covered(p *md.Package) (string, bool) {
	if l == nil || p == nil {
		return "", false
	}
	why, ok := l.Covered[p.Name+"."+p.Arch+" "+Text(p)]
	return why, ok
}

// newerKernel reports whether a kernel package's version is newer than the running kernel.
func newerKernel(text, running string) bool {
	text = text[strings.IndexByte(text, ':')+1:]
	if strings.HasPrefix(running, text+".") || running == text {
		return false
	}
	return pkgver.RPM(text, running) > 0
}
