package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// installRounds is how often an install is measured; each takes a minute, and what counts is a small part of it.
const installRounds = 2

// measureInstalls compares what an install takes beside apt's and dpkg's own programs with the same apt-get install of
// prefetched packages. Both run on copies of one node, and must leave the same versions.
func measureInstalls(t *table, tool, name string) error {
	node := func(args ...string) *exec.Cmd { return exec.Command(tool, args...) }
	base := &nodeExec{shell: []string{tool, "exec", name, "--"}}
	root, err := node("path", name).Output()
	if err != nil {
		return fmt.Errorf("deb-node path: %w", err)
	}
	if err := os.WriteFile(filepath.Join(strings.TrimSpace(string(root)), baselineFile), []byte(everything), 0o644); err != nil {
		return err
	}
	out, err := base.run(nil, "oakum", "install", "--dry-run", "--no-refresh", "--baseline", baselineFile, "--output", "json")
	if err != nil {
		return err
	}
	var plan struct {
		Changes []struct{ Name, Arch, To string }
	}
	if err := json.Unmarshal(out, &plan); err != nil {
		return err
	}
	install := []string{"apt-get", "-q", "-y", "-o", "APT::Install-Recommends=false", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0", "install"}
	for _, c := range plan.Changes {
		install = append(install, c.Name+"="+c.To)
	}
	if _, err := base.run(nil, append([]string{"apt-get", "-q", "--download-only"}, install[1:]...)...); err != nil {
		return err
	}
	var engine, total, apt []float64
	for k := range installRounds {
		var lists []string
		for _, who := range []string{"oakum", "apt"} {
			copied := fmt.Sprintf("%s-%s", name, who)
			_ = node("destroy", copied).Run() // of an earlier run
			if out, err := node("clone", name, copied).CombinedOutput(); err != nil {
				return fmt.Errorf("copy the node: %w: %s", err, out)
			}
			n := &nodeExec{shell: []string{tool, "exec", copied, "--"}}
			start := time.Now()
			if who == "apt" {
				if _, err := n.run(nil, install...); err != nil {
					return err
				}
				apt = append(apt, time.Since(start).Seconds())
			} else {
				out, err := n.run(nil, "/bin/sh", "-c", "oakum install --no-refresh --baseline "+baselineFile+" --output json 2>/dev/null || case $? in 3|4) ;; *) exit 1 ;; esac")
				if err != nil {
					return err
				}
				var res struct {
					OperationStartTime, OperationEndTime string
					Install                              struct{ ManagerMillis int64 }
				}
				if err := json.Unmarshal(out, &res); err != nil {
					return err
				}
				wall := time.Since(start).Seconds()
				total = append(total, wall)
				engine = append(engine, wall-float64(res.Install.ManagerMillis)/1000)
			}
			list, err := n.run(nil, "dpkg-query", "-W", "-f", `${Package}:${Architecture} ${Version} ${db:Status-Status}\n`)
			if err != nil {
				return err
			}
			lists = append(lists, string(list))
			if out, err := node("destroy", copied).CombinedOutput(); err != nil {
				return fmt.Errorf("take the copy away: %w: %s", err, out)
			}
		}
		if lists[0] != lists[1] {
			return fmt.Errorf("round %d: oakum install and apt-get install left different packages", k)
		}
	}
	fmt.Printf("install of %d packages: both leave the same versions\n", len(plan.Changes))
	t.line("install, time outside apt and dpkg / apt-get install", slices.Min(engine)/slices.Min(apt), 0.1, "",
		fmt.Sprintf("%.2f s of %.1f s against %.1f s", slices.Min(engine), slices.Min(total), slices.Min(apt)))
	return nil
}
