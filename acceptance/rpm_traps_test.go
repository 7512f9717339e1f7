//go:build linux

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const rpmTrapRepo = `package oakshell 1.0-1 x86_64 provides=/bin/sh
package oaktool 1.0-1 x86_64
package oaktool 1.1-1 x86_64
package oakfirst 1.0-1 x86_64
package oakfirst 1.1-1 x86_64 pre="sleep 2"
package oaksecond 1.0-1 x86_64
package oaksecond 1.1-1 x86_64 requires="oakfirst >= 1.1-1"
package oakneeds 1.0-1 x86_64
package oakneeds 1.1-1 x86_64 requires="oak-nobody"
advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaktool-1.1-1.x86_64,oakfirst-1.1-1.x86_64,oaksecond-1.1-1.x86_64,oakneeds-1.1-1.x86_64
`

// TestRPMTraps sets traps on nodes with dnf.
func TestRPMTraps(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, rpmTrapRepo)
	base := r.node(t, "rpmtraps", "rhel9", "oaktool-1.0-1")
	base.mustRun("dnf", "-q", "makecache")
	var one sync.Mutex
	for i, x := range []struct {
		name     string
		packages []string
		test     func(t *testing.T, n *trapped)
	}{
		{"Trap_A2_ended_by_a_signal", []string{"oakfirst", "oaksecond"}, rpmTrapSignal},
		{"Trap_A10_Y2_ends_well_and_did_nothing", nil, rpmTrapNothingDone},
		{"Trap_A10_Y2_fails_and_did_everything", nil, rpmTrapFails},
		{"Trap_A14_the_planned_version_is_gone", nil, rpmTrapGone},
		{"Trap_Y12_best_and_one_broken_dependency", []string{"oakneeds"}, rpmTrapBest},
		{"Trap_Y15_the_cache_is_not_the_truth", nil, rpmTrapCache},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := &trapped{faulty: &faulty{living: base.cloneOf(t, &one, fmt.Sprint(i)).live(t), sys: &dnfFaults, t: t, dir: r.dir, url: r.url}}
			for _, p := range x.packages {
				n.sys.add(n.faulty, p)
			}
			x.test(t, n)
		})
	}
}

func rpmTrapSignal(t *testing.T, n *trapped) {
	cmd := n.command("/usr/local/bin/oakum", "install", "--output", "json")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	n.waitFor("a package's script", isMaintainer)
	for _, p := range n.processes() {
		if p.name == "oakum" {
			must(t, syscall.Kill(p.pid, syscall.SIGTERM))
		}
	}
	_ = cmd.Wait() // the code speaks of compliance
	if slices.ContainsFunc(n.processes(), func(p process) bool { return p.name == "dnf" }) {
		t.Error("it has ended before its transaction")
	}
	n.has("oaktool=0:1.1-1", "oakfirst=0:1.1-1", "oaksecond=0:1.1-1")
	runs, err := n.runsIn()
	if err != nil || len(runs) != 1 || runs[0].Phase != "ended" || runs[0].Transactions != 1 || len(runs[0].Changed) < 3 {
		t.Fatalf("runs: %v, %+v\n%s", err, runs, out)
	}
}

func rpmTrapNothingDone(t *testing.T, n *trapped) {
	n.in("sh", "-c", `mv "$(readlink -f /usr/bin/dnf)" /usr/bin/dnf-real && rm -f /usr/bin/dnf`)
	n.write("usr/bin/dnf", "#!/bin/sh\ncase \"$*\" in *--assumeno*|*--downloadonly*|*repoquery*|*check*) exec /usr/bin/dnf-real \"$@\";; esac\necho Complete!\n")
	n.in("chmod", "755", "/usr/bin/dnf")
	s := n.oakum(nil, "install")
	n.has("oaktool=0:1.0-1")
	if got := s.item("oaktool"); got != "Failed installFailed" || len(s.Install.Changes) != 0 || s.Install.Outcome != "Failed" {
		t.Errorf("oaktool is %s; the install: %+v", got, *s.Install)
	}
}

func rpmTrapFails(t *testing.T, n *trapped) {
	n.write("usr/lib/python3/dist-packages/dnf-plugins/oakfails.py", `import dnf
class OakFails(dnf.Plugin):
    name = "oakfails"
    def transaction(self):
        raise dnf.exceptions.Error("no word of thanks")
`)
	s := n.oakum(nil, "install")
	n.has("oaktool=0:1.1-1")
	if got := s.item("oaktool"); got != "InstalledPendingReboot" || len(s.Install.Changes) != 1 || s.Install.Outcome != "Success" {
		t.Errorf("oaktool is %s; the install: %+v", got, *s.Install)
	}
	if !strings.Contains(s.log, "no word of thanks") {
		t.Error("dnf did not complain")
	}
}

func rpmTrapGone(t *testing.T, n *trapped) {
	const old = "package oakshell 1.0-1 x86_64 provides=/bin/sh\npackage oaktool 1.0-1 x86_64\npackage oakcut 1.0-1 x86_64\n"
	const advised = "advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaktool-1.1-1.x86_64,oaktool-1.2-1.x86_64,oakcut-1.1-1.x86_64\n"
	own := newRPMRepo(t, old+"package oaktool 1.1-1 x86_64 requires=\"oakcut >= 1.1-1\"\npackage oakcut 1.1-1 x86_64 post=\"sleep 3\"\n"+advised)
	n.rewrite("etc/yum.repos.d/oaktest.repo", n.url, own.url)
	n.in("dnf", "-q", "-y", "install", "oakcut-1.0-1")
	client, end := n.agentRuns()
	defer end()
	command := n.send(client, "Install")
	n.waitFor("a package's script", isMaintainer)
	own.build(old + "package oaktool 1.2-1 x86_64\npackage oakcut 1.1-1 x86_64\n" + advised)
	for _, p := range n.processes() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // a power cut
	}
	n.in("sh", "-c", "rm -rf /var/cache/dnf/*/packages")
	eventually(t, "the end of the command", 2*time.Minute, func() bool { return terminal(invocation(t, client, command, n.id)) })
	runs, err := n.runsIn()
	if err != nil || len(runs) != 1 || runs[0].Failed["oaktool.x86_64"].Reason != "superseded" {
		t.Fatalf("runs: %v %+v", err, runs)
	}
	n.has("oaktool=0:1.0-1", "oakcut=0:1.1-1")
	n.oakum(nil, "install")
	n.has("oaktool=0:1.2-1")
}

func rpmTrapBest(t *testing.T, n *trapped) {
	if b, err := os.ReadFile(filepath.Join(n.root, "etc/dnf/dnf.conf")); err != nil || !strings.Contains(string(b), "best=True") {
		t.Fatalf("the node does not ask for the best: %v\n%s", err, b)
	}
	if out, err := n.command("dnf", "-y", "-C", "upgrade").CombinedOutput(); err == nil {
		t.Errorf("dnf by itself is not stopped by the broken one:\n%s", out)
	}
	s := n.oakum(nil, "install")
	n.has("oaktool=0:1.1-1", "oakneeds=0:1.0-1")
	if got := s.item("oakneeds"); got != "Failed unmetDependency" {
		t.Errorf("oakneeds is %s", got)
	}
}

func rpmTrapCache(t *testing.T, n *trapped) {
	own := newRPMRepo(t, "package oaktool 1.0-1 x86_64\n")
	n.rewrite("etc/yum.repos.d/oaktest.repo", n.url, own.url)
	n.rewrite("etc/dnf/dnf.conf", "[main]\n", "[main]\nmetadata_expire=never\n")
	n.in("dnf", "-q", "makecache")
	own.build("package oaktool 1.0-1 x86_64\npackage oaktool 1.1-1 x86_64\nadvisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaktool-1.1-1.x86_64\n")
	if out := n.in("dnf", "-q", "check-update"); strings.Contains(out, "oaktool") {
		t.Errorf("dnf has looked behind its cache:\n%s", out)
	}
	if got := n.oakum(nil, "scan").item("oaktool"); got != "Missing" {
		t.Errorf("oaktool is %s", got)
	}
}

const bootedRPMPackages = `package oakshell 1.0-1 x86_64 provides=/bin/sh
package oaktool 1.0-1 x86_64
package oakagent 1.0-1 x86_64
package glibc 2.34-1 x86_64
package kernel 1.0-1 x86_64 provides="installonlypkg(kernel)"
`

// TestBootedRPMNode does in one booted node with dnf what needs a service manager.
func TestBootedRPMNode(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, bootedRPMPackages)
	n := r.node(t, "rpmbooted", "rhel9", "oaktool oakagent glibc kernel", "--systemd")
	time.Sleep(time.Second) // installed before the boot, as rpm counts
	n.boot()
	s := install(t, "sqlite")
	a := n.serve(s, "web")

	t.Run("Trap_G1_the_agent_is_restarted_by_a_package", func(t *testing.T) {
		r.build(bootedRPMPackages + `package oakagent 1.1-1 x86_64 post="systemctl restart oakum-agent; sleep 2; echo survived >/root/survived"
package oaktool 1.1-1 x86_64 post="sleep 1"
advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaktool-1.1-1.x86_64,oakagent-1.1-1.x86_64
`)
		g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot"})
		g.is("Status", "Success", "ResponseCode", 0)
		if b, err := os.ReadFile(filepath.Join(n.root, "root/survived")); err != nil || string(b) != "survived\n" {
			t.Errorf("the script that restarted the agent left %q, %v", b, err)
		}
		if got := strings.Join(strings.Fields(n.mustRun("rpm", "-q", "oakagent", "oaktool")), " "); got != "oakagent-1.1-1.x86_64 oaktool-1.1-1.x86_64" {
			t.Errorf("installed: %s", got)
		}
	})

	// needs-restarting -r ends with 1 when a reboot is needed, and says so; any other end says nothing.
	hint := func(t *testing.T) bool {
		t.Helper()
		out, err := n.run("dnf", "-q", "-C", "needs-restarting", "-r")
		needed := strings.Contains(out, "Reboot is required")
		if needed == strings.Contains(out, "Reboot should not be necessary") || needed != (err != nil) {
			t.Fatalf("needs-restarting: %v\n%s", err, out)
		}
		return needed
	}
	reboot := func() {
		if out, err := testbed("stop", n.name).CombinedOutput(); err != nil {
			t.Fatalf("stop: %v: %s", err, out)
		}
		time.Sleep(time.Second) // rpm counts in seconds
		n.boot()
	}
	t.Run("Trap_R3_needs_restarting", func(t *testing.T) {
		agree := func(when string, want bool, reason string) {
			t.Helper()
			scan, _ := n.scan()
			if theirs := hint(t); theirs != want || scan.RebootRequired != want || want != strings.Contains(strings.Join(scan.RebootReasons, "; "), reason) {
				t.Errorf("%s a reboot is needed: needs-restarting %v, Oakum %v (%v), want %v", when, theirs, scan.RebootRequired, scan.RebootReasons, want)
			}
		}
		reboot() // what was installed before is no reason
		agree("at first", false, "glibc")
		r.build(bootedRPMPackages + "package glibc 2.34-2 x86_64\npackage kernel 99.0-1 x86_64 provides=\"installonlypkg(kernel)\"\n")
		n.mustRun("dnf", "-q", "-y", "--refresh", "upgrade", "glibc")
		agree("with a newer core package", true, "glibc")
		reboot()
		agree("after a reboot", false, "glibc")
		n.mustRun("dnf", "-q", "-y", "upgrade", "kernel")
		agree("with a newer kernel", true, "99.0-1.x86_64 is installed")
		reboot()
		// In a container the machine's kernel runs on: needs-restarting goes by the time and is content, Oakum compares.
		if scan, _ := n.scan(); hint(t) || !scan.RebootRequired {
			t.Errorf("the new kernel does not run: needs-restarting %v, Oakum %v", hint(t), scan.RebootReasons)
		}
	})
}
