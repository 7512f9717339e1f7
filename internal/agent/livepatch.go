package agent

import (
	"context"
	"os"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/document"
	"oakum.dev/patch/livepatch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
)

// livePatchLimit bounds what the vendors' tools take together; an inventory is not worth waiting longer for.
const livePatchLimit = 3 * time.Minute

// livePatch is the state of kernel live patching as inventory: one entry on Linux, also where there is none, so that a
// fleet can be counted by it. Other systems have no such kernel, and nil says so. apps are the installed packages.
func (a *Agent) livePatch(ctx context.Context, apps []map[string]string) []map[string]string {
	if readPlatform(a.sys).Type != document.Linux {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, livePatchLimit)
	defer cancel()
	root := os.DirFS(a.sys.path("/"))
	n := livepatch.Node{
		Kernel: a.sys.readLine("proc/sys/kernel/osrelease"), FS: root, Exec: a.sys.Exec, Now: a.sys.Now(),
		Arch: rpm.Machine(root),
	}
	if p, err := system.Platform(root, "live patching", func(baseline.OS) bool { return true }); err == nil {
		n.OS = p.Node.OS // a system that nobody knows has no live patches either
	}
	for _, p := range apps {
		v := p["Version"]
		if p["Release"] != "" {
			v += "-" + p["Release"]
		}
		n.Packages = append(n.Packages, livepatch.Installed{Name: p["Name"], Version: v})
	}
	facts := livepatch.Gather(ctx, n)
	s := livepatch.Decide(facts)
	return []map[string]string{s.Entry(facts.Problems)}
}
