//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ssm"
)

// trapArchive has a package for each way in which a package, or the node's configuration about it, can mislead an install.
const trapArchive = `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakask 1.0-1
deb bookworm-security oakask 1.1-1 templates="Template: oakask/name\nType: string\nDefault: nobody\nDescription: Who are you" config=". /usr/share/debconf/confmodule; db_input critical oakask/name || true; db_go || true" postinst=". /usr/share/debconf/confmodule; db_get oakask/name; echo $RET >/root/answer"
deb bookworm oaklook 1.0-1
deb bookworm-security oaklook 1.1-1 postinst="if read x; then echo $x; else echo end; fi >/root/stdin; if (exec </dev/tty) 2>/dev/null; then echo terminal; else echo none; fi >/root/tty; env >/root/env"
deb bookworm oakbar 1.0-1
deb bookworm-security oakbar 1.1-1 postinst="printf 'half\rdone\r'; exit 1"
deb bookworm oakstay 1.0-1
deb bookworm-security oakstay 1.1-1 postinst="tail -f /dev/null & echo a program stays behind"
deb bookworm oakabi 1.0-1
deb bookworm-security oakabi 1.1-1 depends="oakabi-2"
deb bookworm-security oakabi-2 1.1-1
deb bookworm oaktrigger 1.0-1 triggers="interest-noawait /usr/share/doc/oaktool" postinst="test ! -e /etc/oak-break-trigger"
deb bookworm oakpin 1.0-1
deb bookworm-security oakpin 1.1-1
deb bookworm oakback 1.0-1
deb bookworm oakback 1.1-1
deb bookworm oakphased 1.0-1
deb bookworm oakphased 1.1-1 phased=0
deb bookworm oakfirst 1.0-1
deb bookworm-security oakfirst 1.1-1 depends="oaktool (>= 1.1-1)" postinst="sleep 3; test ! -e /etc/oak-break-first"
deb bookworm oaksecond 1.0-1
deb bookworm-security oaksecond 1.1-1 predepends="oakfirst (>= 1.1-1)"
deb bookworm oakpair 1.0-1 arch=amd64 multi=same
deb bookworm oakpair 1.0-1 arch=i386 multi=same
deb bookworm-security oakpair 1.1-1 arch=amd64 multi=same
deb bookworm-security oakpair 1.1-1 arch=i386 multi=same
deb bookworm oaklone 1.0-1 arch=amd64 multi=same
deb bookworm oaklone 1.0-1 arch=i386 multi=same
deb bookworm-security oaklone 1.1-1 arch=amd64 multi=same
`

// trapped is a node that a trap is set on.
type trapped struct{ *faulty }

// said is what install and scan print with --output json.
type said struct {
	Status                                    string
	RebootRequired                            bool
	RebootReasons, Updaters, Degraded         []string
	Services                                  []compliance.Service
	Install                                   *compliance.Install
	Items                                     []struct{ Name, Arch, State, Reason, Detail, AvailableVersion string }
	InstalledPendingRebootCount, MissingCount int
	log                                       string // of the run
}

// item is what was said about a package.
func (s *said) item(name string) string {
	for _, it := range s.Items {
		if it.Name == name {
			return strings.TrimSpace(it.State + " " + it.Reason)
		}
	}
	return "nothing"
}

// oakum runs this program in the node; --output json is added. Its exit code speaks of compliance.
func (n *trapped) oakum(env []string, args ...string) *said {
	n.t.Helper()
	words := append(slices.Concat([]string{"env"}, env, []string{"/usr/local/bin/oakum"}, args), "--output", "json")
	out, err := n.command(words...).Output()
	var s said
	if jerr := json.Unmarshal(out, &s); jerr != nil {
		var more []byte
		if exit, ok := err.(*exec.ExitError); ok {
			more = exit.Stderr
		}
		n.t.Fatalf("%v: %v\n%s\n%s", args, err, out, more)
	}
	if s.Install != nil {
		s.log = n.in("cat", "/var/lib/oakum/runs/"+s.Install.Run+"/log")
	}
	n.t.Cleanup(func() {
		if n.t.Failed() {
			items := ""
			for _, it := range s.Items {
				if strings.HasPrefix(it.Name, "oak") {
					items += fmt.Sprintf("  %+v\n", it)
				}
			}
			n.t.Logf("%v: %s, degraded %q, install %+v\n%s%.6000s", args, s.Status, s.Degraded, s.Install, items, s.log)
		}
	})
	return &s
}

// has checks what the node has: name=version.
func (n *trapped) has(want ...string) {
	n.t.Helper()
	got, err := n.sys.state(n.faulty)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, w := range want {
		name, version, _ := strings.Cut(w, "=")
		if got.packages[name] != version {
			n.t.Errorf("%s is %q, want %q", name, got.packages[name], version)
		}
	}
}

func (n *trapped) write(name, text string) {
	n.t.Helper()
	writeFile(n.t, filepath.Join(n.root, name), text)
}

// degraded checks that a result is marked as incomplete, in words that have the text in them.
func (s *said) degraded(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(strings.Join(s.Degraded, "\n"), text) {
		t.Errorf("degraded %q does not say %q", s.Degraded, text)
	}
}

// everythingApproved is a baseline that takes what is not a security update, too.
const everythingApproved = `{"Name":"all","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[]},"ApproveAfterDays":0,"EnableNonSecurity":true}]}}`

// TestTraps sets traps on copies of one node, each with its own packages. The ids are those of docs/traps.md:
// Trap A2, Trap A7, Trap A9, Trap A10, Trap A14, Trap D5, Trap D6, Trap D7, Trap D8, Trap D9, Trap D11, Trap D12, Trap D13,
// Trap D14, Trap D18, Trap D19, Trap D20, Trap D21, Trap G4, Trap G5, Trap R1, Trap R8.
func TestTraps(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: makes real Debian nodes")
	}
	t.Parallel()
	r := newAptRepo(t, trapArchive)
	base := r.node(t, "traps", []string{"oaktool"})
	base.mustRun("apt-get", "-q", "update")
	var one sync.Mutex
	for i, x := range []struct {
		name     string
		packages []string
		run      func(t *testing.T, n *trapped)
	}{
		{"Trap_A7_A9_D5_D13_D19_D21_G4_what_the_caller_has_does_not_reach_packages", []string{"oakask", "oaklook", "oakbar", "oakstay", "oakabi"}, trapSurroundings},
		{"Trap_A2_ended_by_a_signal", []string{"oakfirst", "oaksecond"}, trapSignal},
		{"Trap_A10_ends_well_and_did_nothing", nil, trapNothingDone},
		{"Trap_A10_fails_and_did_everything", nil, trapHookFails},
		{"Trap_A10_a_trigger_fails", []string{"oaktrigger"}, trapTrigger},
		{"Trap_D11_D12_D14_what_the_node_keeps_away", []string{"oakpin", "oakback=1.1-1", "oakphased=1.0-1"}, trapKeptAway},
		{"Trap_D9_D20_sources_that_cannot_be_had", nil, trapSources},
		{"Trap_D6_D7_D8_release_files", nil, trapReleases},
		{"Trap_D18_architectures_go_together", nil, trapPairs},
		{"Trap_R1_R8_a_reboot_was_due_before", nil, trapRebootDue},
		{"Trap_A14_the_planned_version_is_gone", nil, trapGone},
		{"Trap_G5_nothing_without_a_command", nil, trapFirstBoot},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := &trapped{faulty: &faulty{living: base.cloneOf(t, &one, fmt.Sprint(i)).live(t), sys: &aptFaults, t: t, dir: r.dir, url: r.url}}
			var old []string
			for _, p := range x.packages {
				if !strings.Contains(p, "=") {
					p += "=1.0-1"
				}
				old = append(old, p)
			}
			if len(old) > 0 {
				n.in(append([]string{"apt-get", "-q", "-y", "install"}, old...)...)
			}
			x.run(t, n)
		})
	}
}

func trapSurroundings(t *testing.T, n *trapped) {
	n.in("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", "/tmp")
	env := "LC_ALL=C.UTF-8 LANGUAGE=es COLUMNS=20 PAGER=less TERM=xterm http_proxy=http://127.0.0.1:1 HTTP_PROXY=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 all_proxy=http://127.0.0.1:1"
	if out, _ := n.command("sh", "-c", "env "+env+" apt-get -s install nosuchpackage").CombinedOutput(); strings.Contains(string(out), "Unable to locate") {
		t.Errorf("apt is not put out by the language: %s", out)
	}
	if out, err := n.command("sh", "-c", "env "+env+" apt-get -q --error-on=any update").CombinedOutput(); err == nil {
		t.Errorf("apt is not put out by the proxy: %s", out)
	}
	began := time.Now()
	// On a terminal, where a question would wait for an answer.
	cmd := n.command("script", "-qec", "env "+env+" /usr/local/bin/oakum install --output json >/root/result", "/dev/null")
	in, err := cmd.StdinPipe() // stays open
	must(t, err)
	defer in.Close()
	text, _ := cmd.CombinedOutput() // the exit code speaks of compliance
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v: a program that stays behind, or a question, was waited for", took)
	}
	var s said
	if err := json.Unmarshal([]byte(n.in("cat", "/root/result")), &s); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	n.has("oakask=1.1-1", "oaklook=1.1-1", "oakstay=1.1-1", "oakabi=1.1-1", "oakabi-2=1.1-1", "oaktool=1.1-1", "oakbar=1.1-1 ok half-configured")
	for file, want := range map[string]string{"answer": "nobody", "stdin": "end", "tty": "none"} {
		if got := strings.TrimSpace(n.in("cat", "/root/"+file)); got != want {
			t.Errorf("/root/%s holds %q, want %q", file, got, want)
		}
	}
	seen := "\n" + n.in("cat", "/root/env")
	for _, want := range []string{"LC_ALL=C.UTF-8", "LANGUAGE=", "COLUMNS=32767", "PAGER=cat", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"} {
		if !strings.Contains(seen, "\n"+want+"\n") {
			t.Errorf("scripts of packages do not see %s:%s", want, seen)
		}
	}
	if strings.Contains(strings.ToLower(seen), "_proxy=") {
		t.Errorf("scripts of packages see a proxy:%s", seen)
	}
	log := n.in("cat", "/var/lib/oakum/runs/"+s.Install.Run+"/log")
	if strings.Contains(log, "\r") || !strings.Contains(log, "half\ndone\n") {
		t.Errorf("the log returns the carriage: %q", log)
	}
	if got := s.item("oakbar"); got != "Failed leftHalfWay" {
		t.Errorf("oakbar: %s", got)
	}
	for _, it := range s.Items {
		if it.Name == "oakbar" && !strings.Contains(it.Detail, "exit status 1") {
			t.Errorf("behind a progress bar dpkg's words are lost: %q", it.Detail)
		}
	}
	if !slices.ContainsFunc(n.processes(), func(p process) bool { return p.line() == "tail -f /dev/null" }) {
		t.Error("what a package left running does not run")
	}
}

func trapSignal(t *testing.T, n *trapped) {
	touch("/etc/oak-break-first")(n.faulty)
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
	if slices.ContainsFunc(n.processes(), func(p process) bool { return p.name == "dpkg" || p.name == "apt-get" }) {
		t.Error("it has ended before its transaction")
	}
	n.has("oaktool=1.1-1", "oakfirst=1.1-1 ok half-configured", "oaksecond=1.0-1")
	runs, err := n.runsIn()
	if err != nil || len(runs) != 1 {
		t.Fatalf("runs: %v, %+v\n%s", err, runs, out)
	}
	r := runs[0]
	if r.Outcome != "Interrupted" || r.Phase != "ended" || len(r.Changed) != 1 || r.Failed["oaksecond.all"].Reason != "interrupted" || r.Failed["oakfirst.all"].Reason != "leftHalfWay" ||
		!strings.Contains(r.Text, "installed: oaktool 1.1-1; not installed: oakfirst 1.1-1, oaksecond 1.1-1") {
		t.Errorf("the run: %+v\n%s", r, out)
	}
	// The next run finds a database that can be worked with.
	n.in("rm", "/etc/oak-break-first")
	n.oakum(nil, "install")
	n.has("oaktool=1.1-1", "oakfirst=1.1-1", "oaksecond=1.1-1")
}

func trapNothingDone(t *testing.T, n *trapped) {
	n.write("usr/local/bin/idle", "#!/bin/sh\nfor a; do case $a in --unpack|--configure|--install) exit 0;; esac; done\nexec /usr/bin/dpkg \"$@\"\n")
	n.in("chmod", "755", "/usr/local/bin/idle")
	n.write("etc/apt/apt.conf.d/99idle", "Dir::Bin::dpkg \"/usr/local/bin/idle\";\n")
	n.in("apt-get", "-q", "-y", "install", "oaktool=1.1-1") // ends well
	s := n.oakum(nil, "install")
	n.has("oaktool=1.0-1")
	if got := s.item("oaktool"); got != "Failed installFailed" || len(s.Install.Changes) != 0 || s.Install.Outcome != "Failed" {
		t.Errorf("oaktool is %s; the install: %+v", got, *s.Install)
	}
}

func trapHookFails(t *testing.T, n *trapped) {
	n.write("etc/apt/apt.conf.d/99hook", "DPkg::Post-Invoke {\"false\";};\n")
	s := n.oakum(nil, "install")
	n.has("oaktool=1.1-1")
	if got := s.item("oaktool"); got != "InstalledPendingReboot" || len(s.Install.Changes) != 1 || s.Install.Outcome != "Success" {
		t.Errorf("oaktool is %s; the install: %+v", got, *s.Install)
	}
	if !strings.Contains(s.log, "E: Sub-process") && !strings.Contains(s.log, "E: Problem executing scripts") {
		t.Error("apt did not complain")
	}
}

func trapTrigger(t *testing.T, n *trapped) {
	touch("/etc/oak-break-trigger")(n.faulty)
	s := n.oakum(nil, "install")
	n.has("oaktool=1.1-1", "oaktrigger=1.0-1 ok half-configured")
	if got := s.item("oaktool"); got != "InstalledPendingReboot" {
		t.Errorf("oaktool is %s", got)
	}
	s.degraded(t, "oaktrigger")
	n.in("rm", "/etc/oak-break-trigger")
	n.oakum(nil, "install").degraded(t, "dpkg had been interrupted; finished: oaktrigger.all")
	n.has("oaktrigger=1.0-1")
}

func trapKeptAway(t *testing.T, n *trapped) {
	// apt draws a number by the machine's id and takes one machine of a hundred also where nobody is to have the update.
	n.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	n.write("etc/apt/preferences.d/oak", "Package: oakpin\nPin: version 1.1-1\nPin-Priority: -1\n\nPackage: oakback\nPin: version 1.0-1\nPin-Priority: 1001\n")
	n.write("root/all.json", everythingApproved)
	if out := n.in("apt-get", "-s", "dist-upgrade"); !strings.Contains(out, "Inst oakback [1.1-1] (1.0-1") || strings.Contains(out, "Inst oakphased") {
		t.Errorf("apt would not go back, or would take the phased update:\n%s", out)
	}
	if out := n.in("apt-get", "-s", "install", "oakphased"); !strings.Contains(out, "Inst oakphased") {
		t.Errorf("by its name apt leaves the phased update too:\n%s", out)
	}
	s := n.oakum(nil, "install", "--baseline", "/root/all.json")
	n.has("oaktool=1.1-1", "oakpin=1.0-1", "oakback=1.1-1", "oakphased=1.0-1")
	for name, want := range map[string]string{"oakpin": "Missing pinned", "oakphased": "Missing phased", "oakback": "Installed"} {
		if got := s.item(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func trapSources(t *testing.T, n *trapped) {
	own := newAptRepo(t, "deb bookworm oakown 1.0-1\ndeb bookworm-security oakown 1.1-1\n")
	n.in("sh", "-c", "echo deb [trusted=yes] "+own.url+" bookworm main >/etc/apt/sources.list.d/own.list; apt-get -q update; apt-get -q -y install oakown")
	for _, f := range []string{"InRelease", "Release.gpg"} {
		must(t, os.Remove(filepath.Join(own.dir, "repo/dists/bookworm-security", f)))
	}
	n.write("etc/apt/sources.list.d/own.list", fmt.Sprintf("deb [trusted=yes] %s bookworm-security main\ndeb [trusted=yes] %[1]s buzz main\ndeb cdrom:[Debian GNU/Linux 12 - DVD]/ bookworm main\n", own.url))
	s := n.oakum(nil, "install")
	n.has("oaktool=1.1-1", "oakown=1.1-1")
	s.degraded(t, "buzz")
	s.degraded(t, "cdrom")
}

func trapReleases(t *testing.T, n *trapped) {
	dists := security(n.archive())
	stamp := time.Now()
	publish := func(at time.Time, edit string) { // with another time of change: HTTP counts whole seconds
		resign(n.faulty, dists, at, edit)
		stamp = stamp.Add(10 * time.Second)
		must(t, os.Chtimes(filepath.Join(dists, "InRelease"), stamp, stamp))
	}
	for _, x := range []struct {
		name, edit, says string
		at               time.Time
	}{
		{"label", "s/^Label:.*/Label: Other/", "changed its 'Label' value", time.Now()},
		{"codename", "s/^Codename:.*/Codename: trixie-security/;s/^Label:.*/Label: Debian-Security/", "changed its 'Codename' value", time.Now()},
		{"expired", `s/^Codename:.*/Codename: bookworm-security\nValid-Until: Thu, 01 Jan 2026 00:00:00 UTC/`, "expired", time.Now()},
		{"future", "/^Valid-Until:/d", "not valid yet", time.Now().Add(48 * time.Hour)},
	} {
		publish(x.at, x.edit)
		s := n.oakum(nil, "scan")
		s.degraded(t, x.says)
		if got := s.item("oaktool"); got != "Missing" {
			t.Errorf("%s: oaktool is %s: the last good lists are not used", x.name, got)
		}
	}
	publish(time.Now(), "s/^Suite:.*/Suite: oldstable-security/")
	if s := n.oakum(nil, "scan"); len(s.Degraded) > 0 || s.item("oaktool") != "Missing" {
		t.Errorf("another Suite: oaktool is %s, degraded %q", s.item("oaktool"), s.Degraded)
	}
	// A mirror that goes back in time: apt keeps what it has and says nothing. Were it to take the older list, that is said.
	older := time.Now().Add(-72 * time.Hour)
	publish(older, "")
	back := n.oakum(nil, "scan")
	date := n.in("sh", "-c", "grep -h ^Date: /var/lib/apt/lists/*bookworm-security_InRelease")
	if taken := strings.Contains(date, older.UTC().Format("02 Jan 2006")); taken != strings.Contains(strings.Join(back.Degraded, "\n"), "went back in time") || back.item("oaktool") != "Missing" {
		t.Errorf("an older mirror: %s oaktool is %s, degraded %q", date, back.item("oaktool"), back.Degraded)
	}
}

func trapPairs(t *testing.T, n *trapped) {
	n.in("dpkg", "--add-architecture", "i386")
	n.in("apt-get", "-q", "update")
	n.in("apt-get", "-q", "-y", "install", "oakpair=1.0-1", "oakpair:i386=1.0-1", "oaklone=1.0-1", "oaklone:i386=1.0-1")
	s := n.oakum(nil, "install")
	got := n.versions()
	for key, want := range map[string]string{"oakpair:amd64": "1.1-1", "oakpair:i386": "1.1-1", "oaklone:amd64": "1.0-1", "oaklone:i386": "1.0-1", "oaktool:all": "1.1-1"} {
		if got[key] != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
	for _, it := range s.Items {
		if it.Name == "oaklone" && it.Arch == "amd64" && (it.State != "Failed" || it.Reason != "conflict") {
			t.Errorf("oaklone is %+v", it)
		}
	}
}

func trapRebootDue(t *testing.T, n *trapped) {
	n.in("sh", "-c", "echo required >/run/reboot-required; echo dbus >/run/reboot-required.pkgs")
	s := n.oakum(nil, "install")
	n.has("oaktool=1.1-1")
	if !s.RebootRequired || !strings.Contains(strings.Join(s.RebootReasons, "\n"), "asked for by dbus") {
		t.Errorf("a reboot is due: %v %q", s.RebootRequired, s.RebootReasons)
	}
	n.in("rm", "/run/reboot-required")
	if s := n.oakum(nil, "scan"); s.RebootRequired || s.InstalledPendingRebootCount != 1 {
		t.Errorf("without the file a reboot is due: %v %q, and %d patches wait for it", s.RebootRequired, s.RebootReasons, s.InstalledPendingRebootCount)
	}
}

// An install is cut off; meanwhile the archive has gone on to another version than the one that was planned.
func trapGone(t *testing.T, n *trapped) {
	old := "deb bookworm oaktool 1.0-1\ndeb bookworm oakcut 1.0-1\n"
	own := newAptRepo(t, old+"deb bookworm-security oaktool 1.1-1 predepends=\"oakcut (>= 1.1-1)\"\ndeb bookworm-security oakcut 1.1-1 postinst=\"sleep 3\"\n")
	n.in("rm", "/etc/apt/sources.list.d/archive.sources")
	n.write("etc/apt/sources.list", fmt.Sprintf("deb [trusted=yes] %s bookworm main\ndeb [trusted=yes] %[1]s bookworm-security main\n", own.url))
	n.in("apt-get", "-q", "update")
	n.in("apt-get", "-q", "-y", "install", "oakcut=1.0-1")
	client, end := n.agentRuns()
	defer end()
	command := n.send(client, "Install")
	n.waitFor("a package's script", isMaintainer)
	own.build(old + "deb bookworm-security oaktool 1.2-1\ndeb bookworm-security oakcut 1.1-1 postinst=\"exit 0\"\n")
	for _, p := range n.processes() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // a power cut
	}
	eventually(t, "the end of the command", 2*time.Minute, func() bool { return terminal(invocation(t, client, command, n.id)) })
	runs, err := n.runsIn()
	if err != nil || len(runs) != 1 || runs[0].Failed["oaktool.all"].Reason != "superseded" {
		t.Fatalf("runs: %v %+v", err, runs)
	}
	n.has("oaktool=1.0-1", "oakcut=1.1-1")
	n.oakum(nil, "install")
	n.has("oaktool=1.2-1")
}

// agentRuns registers the node with a server and runs its agent until end is called.
func (n *trapped) agentRuns() (client *servertest.Server, end func()) {
	n.t.Helper()
	client = attach(n.t, install(n.t, "sqlite"))
	const state = "/var/lib/oakum"
	n.id = n.registerIn(n.t, client, state)
	kept := n.keepAgent(state, func() time.Duration { return 500 * time.Millisecond })
	return client, func() {
		close(kept.stop)
		n.end()
		<-kept.ended
	}
}

// send sends AWS-RunPatchBaseline to the node.
func (n *trapped) send(client *servertest.Server, operation string) (command string) {
	n.t.Helper()
	var sent ssm.SendCommandOutput
	in := &ssm.SendCommandInput{DocumentName: new("AWS-RunPatchBaseline"), InstanceIds: []string{n.id}, Parameters: map[string][]string{"Operation": {operation}, "RebootOption": {"NoReboot"}}}
	must(n.t, client.Call(n.t.Context(), client.Admin, "ssm", "SendCommand", in, &sent))
	return *sent.Command.CommandId
}

// At the first boot much wants apt's locks: an agent that starts there leaves apt alone until a command comes.
func trapFirstBoot(t *testing.T, n *trapped) {
	n.write("etc/apt/apt.conf.d/99count", "APT::Update::Pre-Invoke {\"touch /root/updated\";};\n")
	client, end := n.agentRuns()
	defer end()
	n.waitFor("the agent", isAgent)
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
		if slices.ContainsFunc(n.processes(), func(p process) bool { return strings.HasPrefix(p.name, "apt") || strings.HasPrefix(p.name, "dpkg") }) {
			t.Fatal("the agent's start runs apt or dpkg")
		}
	}
	updated := filepath.Join(n.root, "root/updated")
	if _, err := os.Stat(updated); err == nil {
		t.Error("the agent's start refreshes the lists")
	}
	command := n.send(client, "Scan")
	eventually(t, "the end of the scan", time.Minute, func() bool { return terminal(invocation(t, client, command, n.id)) })
	if _, err := os.Stat(updated); err != nil {
		t.Errorf("a scan does not refresh the lists: %v", err)
	}
}

// TestTrap_A4_R9_needrestart: the hook of needrestart restarts services in the middle of a transaction where the node is
// set up so. An install leaves them alone, and names what runs on replaced files; what else updates the node is named too.
func TestTrap_A4_R9_needrestart(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, bootedPackages)
	n := r.node(t, "needrestart", []string{"oaktool", "oakd"}, "--systemd")
	writeFile(t, filepath.Join(n.root, "etc/needrestart/conf.d/oak.conf"), "$nrconf{restart} = 'a';\n")
	writeFile(t, filepath.Join(n.root, "etc/apt/apt.conf.d/20auto-upgrades"), "APT::Periodic::Unattended-Upgrade \"1\";\n")
	writeFile(t, filepath.Join(n.root, "etc/systemd/system/oaks.service"), "[Service]\nExecStart=/usr/lib/oakd/oakd infinity\nRestart=no\n")
	n.boot()
	n.mustRun("systemctl", "start", "oaks")
	pid := func() string {
		return strings.TrimSpace(n.mustRun("systemctl", "show", "-p", "MainPID", "--value", "oaks"))
	}
	old := pid()
	r.build(bootedPackages + "deb bookworm-security oakd 1.1-1 " + replaced + "\n")
	out, _ := n.run("sh", "-c", "oakum install --output json 2>/dev/null") // the exit code speaks of compliance
	var s said
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if v := n.versions(); v["oakd:all"] != "1.1-1" {
		t.Errorf("oakd is %s", v["oakd:all"])
	}
	if now := pid(); now != old {
		t.Errorf("the service was restarted: process %s, before %s", now, old)
	}
	if !slices.ContainsFunc(s.Services, func(x compliance.Service) bool { return x.Unit == "oaks.service" }) {
		t.Errorf("services that need a restart: %+v", s.Services)
	}
	for _, u := range []string{"unattended-upgrades", "apt-daily-upgrade.timer"} {
		if !slices.Contains(s.Updaters, u) {
			t.Errorf("other updaters: %q, without %s", s.Updaters, u)
		}
	}
	// The trap is set: apt by itself has the service restarted.
	n.mustRun("apt-get", "-q", "-y", "--reinstall", "install", "oakd")
	if pid() == old {
		t.Error("needrestart does not restart the service either: nothing was shown")
	}
}
