//go:build linux

package acceptance

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/golden"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

const faultArchive = `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oaklib 1.0-1
deb bookworm-security oaklib 1.1-1
deb bookworm oakapp 1.0-1 depends="oaklib"
deb bookworm-security oakapp 1.1-1 depends="oaklib (>= 1.1-1)"
deb bookworm oakscript 1.0-1 prerm="test ! -e /etc/oak-break-prerm" postrm="test $1 = abort-upgrade || test ! -e /etc/oak-break-postrm"
deb bookworm-security oakscript 1.1-1 preinst="test ! -e /etc/oak-break-preinst" postinst="test ! -e /etc/oak-break-postinst" prerm="test ! -e /etc/oak-break-prerm" postrm="test $1 = abort-upgrade || test ! -e /etc/oak-break-postrm"
deb bookworm oakconf 1.0-1 conffile=/etc/oakconf.conf
deb bookworm-security oakconf 1.1-1 conffile=/etc/oakconf.conf
deb bookworm oakbig 1.0-1
deb bookworm-security oakbig 1.1-1 size=3000000
deb bookworm oakvictim 1.0-1
deb bookworm oakgreedy 1.0-1
deb bookworm-security oakgreedy 1.1-1 conflicts="oakvictim"
deb bookworm linux-image-6.1.0-9-amd64 1.0-1 section=kernel
deb bookworm-security linux-image-6.1.0-9-amd64 1.1-1 section=kernel
deb bookworm oakslow 1.0-1
deb bookworm-security oakslow 1.1-1 postinst="sleep 4"
`

var faultPackages = []string{"oakapp", "oakconf", "oaklib", "oakscript", "oaktool"}

// faultSystem is a package manager in the matrix.
type faultSystem struct {
	name, title, node string
	rows              []fault
	elsewhere         []elsewhereRow
	old, new          string                                           // versions of all packages, as the node's tools show them
	base              func(t *testing.T) (n *debNode, dir, url string) // a node with faultPackages at their old versions, and what it is patched from
	add               func(f *faulty, name string)                     // installs one more at its old version
	state             func(f *faulty) (packageState, error)
	point             func(f *faulty, url string) // makes the node use another address of its repository
}

var aptFaults = faultSystem{
	name: "", title: "apt and dpkg (Debian 12)", node: "Debian", rows: faults,
	elsewhere: killed("apt-get or dpkg", "its package is configured again, or stays as it was", "that package: `installFailed`", "TestInstallKilled"),
	old:       "1.0-1", new: "1.1-1",
	base: func(t *testing.T) (*debNode, string, string) {
		r := newAptRepo(t, faultArchive)
		n := r.node(t, "faults", faultPackages)
		n.mustRun("apt-get", "-q", "update")
		return n, r.dir, r.url
	},
	add:   func(f *faulty, name string) { f.in("apt-get", "-q", "-y", "install", name+"=1.0-1") },
	state: func(f *faulty) (packageState, error) { return f.dpkg() },
	point: func(f *faulty, url string) {
		f.rewrite("etc/apt/sources.list.d/archive.sources", f.url, url)
		f.in("apt-get", "-q", "update")
	},
}

// faulty is a node with a fault.
type faulty struct {
	*living
	sys    *faultSystem
	t      *testing.T
	dir    string // of its archive
	url    string
	s      *installation
	client *servertest.Server
	id     string
	mirror *http.Server // of the node's own copy of the archive

	commandID string
}

// in runs a command among the node's processes; it must succeed.
func (f *faulty) in(args ...string) string {
	f.t.Helper()
	out, err := f.command(args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// tmpfs puts a small file system in place of a folder, with the folder's files in it.
func (f *faulty) tmpfs(dir, size string) {
	f.t.Helper()
	f.in("sh", "-c", `mkdir -p "$1" /mnt/copy && mount -t tmpfs -o size="$2" tmpfs /mnt/copy && cp -a "$1/." /mnt/copy && mount --move /mnt/copy "$1"`, "sh", dir, size)
}

// hold lets a process of the node keep a lock for a while.
func (f *faulty) hold(file string, seconds int) {
	f.t.Helper()
	cmd := f.command("perl", "-e", `$|=1; open(F,"+>>",$ARGV[0]) or die $!; my $l=pack("s s x4 q q i x4",1,0,0,0,0); fcntl(F,6,$l) or die $!; print "held\n"; sleep $ARGV[1]`, file, fmt.Sprint(seconds))
	said := &lockedBuffer{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = cmd.Wait() }) // it ends by itself, or with the node
	if b := make([]byte, 5); func() bool { _, err := out.Read(b); return err != nil || string(b) != "held\n" }() {
		f.t.Fatalf("%s cannot be locked: %s", file, said)
	}
}

// archive gives the node another copy of its archive, which may be changed. It returns the copy's folder.
func (f *faulty) archive(cut ...string) string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "repo")
	if out, err := exec.Command("cp", "-a", filepath.Join(f.dir, "repo"), dir).CombinedOutput(); err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	srv, url := serveFiles(f.t, dir, strings.Join(cut, ""))
	f.mirror = srv
	f.sys.point(f, url)
	return dir
}

// security is the security suite's folder of a copy of an archive.
func security(dir string) string { return filepath.Join(dir, "dists/bookworm-security") }

// rewrite puts one text in place of another in a file of the node.
func (f *faulty) rewrite(name, old, text string) {
	f.t.Helper()
	name = filepath.Join(f.root, name)
	b, err := os.ReadFile(name)
	if err != nil {
		f.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		f.t.Fatalf("%s does not have %q:\n%s", name, old, b)
	}
	writeFile(f.t, name, strings.ReplaceAll(string(b), old, text))
}

// waitFor waits until one of the node's processes is such.
func (f *faulty) waitFor(what string, is func(process) bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !slices.ContainsFunc(f.processes(), is); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// fault is a row of the matrix: what goes wrong, and what has to come of it.
type fault struct {
	name, what, step, does string
	packages               []string        // installed at their old versions beside the usual ones
	before                 func(f *faulty) // the node is registered with the server
	ready                  func(f *faulty) // the command is sent
	during                 func(f *faulty) // while it runs

	status string            // of the step; empty: Success without a reason, Failed with one
	reason string            // of the failed step
	failed map[string]string // packages that stay behind, with their reasons
	stays  map[string]string // packages that are not tried, with the reasons that a scan gives
	says   string            // in the step's output
	mend   func(f *faulty)   // makes the node readable again, before anything is looked at
	also   func(f *faulty)   // looked at afterwards
	mess   []string          // packages that may be left half way
}

func touch(file string) func(*faulty) {
	return func(f *faulty) { f.in("touch", file) }
}

func lock(file string) func(*faulty) {
	return func(f *faulty) { f.hold(file, 4) }
}

// TestInstallFaults brings about one fault after another on real nodes, and makes docs/faults.md of what came of it. Trap A3,
// Trap A6, Trap A8, Trap A10, Trap Y5, Trap Y6, Trap Y13, Trap Y14, Trap D1, Trap D2, Trap D3, Trap D4, Trap D8, Trap D10, Trap D13, Trap D15, Trap D19.
//
// proves
func TestInstallFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute and a half")
	}
	s := install(t, "sqlite")
	client := servertest.Attach(t, s.url, s.dir)
	systems := []*faultSystem{&aptFaults, &dnfFaults, &zypperFaults}
	rows := make([][]string, len(systems))
	t.Run("nodes", func(t *testing.T) {
		var rest sync.WaitGroup
		defer rest.Wait()
		turn := make(chan struct{}, 4) // they mostly wait, so more of them than there are cores
		for k, sys := range systems {
			base, dir, url := sys.base(t)
			var one sync.Mutex
			rows[k] = make([]string, len(sys.rows))
			for i := range sys.rows {
				rest.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					x := &sys.rows[i]
					t.Run(sys.name+x.name, func(t *testing.T) {
						f := &faulty{living: base.cloneOf(t, &one, fmt.Sprint(i)).live(t), sys: sys, t: t, dir: dir, url: url, s: s, client: client}
						rows[k][i] = x.run(f)
					})
				})
			}
		}
	})
	if t.Failed() || slices.ContainsFunc(rows, func(of []string) bool { return slices.Contains(of, "") }) {
		t.Log("docs/faults.md is compared when all rows were run and are right")
		return
	}
	golden.Check(t, "../docs/faults.md", faultsDocument(t, systems, rows), "run go test ./acceptance -run TestInstallFaults -update")
}

// run brings the fault about, sends the command, checks what came of it, and returns the row for the document.
func (x *fault) run(f *faulty) string {
	t := f.t
	for _, p := range x.packages {
		f.sys.add(f, p)
	}
	if x.before != nil {
		x.before(f)
	}
	const state = "/var/lib/oakum"
	f.id = f.registerIn(t, f.client, state)
	before, err := f.sys.state(f)
	if err != nil {
		t.Fatal(err)
	}
	if x.ready != nil {
		x.ready(f)
	}
	kept := f.keepAgent(state, func() time.Duration { return time.Second })
	defer func() {
		close(kept.stop)
		f.end()
		<-kept.ended
		if t.Failed() {
			t.Logf("the agent's log:\n%.4000s", kept.log)
		}
	}()
	var sent ssm.SendCommandOutput
	in := &ssm.SendCommandInput{DocumentName: new("AWS-RunPatchBaseline"), InstanceIds: []string{f.id}, Parameters: map[string][]string{"Operation": {"Install"}, "RebootOption": {"NoReboot"}}}
	if err := f.client.Call(t.Context(), f.client.Admin, "ssm", "SendCommand", in, &sent); err != nil {
		t.Fatal(err)
	}
	f.commandID = *sent.Command.CommandId
	if x.during != nil {
		f.waitFor("the engine", isEngine)
		x.during(f)
	}
	var inv ssm.GetCommandInvocationOutput
	eventually(t, "the end of the command", 2*time.Minute, func() bool {
		inv = invocation(t, f.client, f.commandID, f.id)
		return terminal(inv)
	})
	eventually(t, "the end of all that was started", time.Minute, func() bool {
		return !slices.ContainsFunc(f.processes(), isWork)
	})
	if x.mend != nil {
		x.mend(f)
	}
	after, err := f.sys.state(f)
	if err != nil {
		t.Fatal(err)
	}
	return x.check(f, before, after, inv)
}

func (x *fault) check(f *faulty, before, after packageState, inv ssm.GetCommandInvocationOutput) string {
	t := f.t
	stdout, stderr := codec.Value(inv.StandardOutputContent), codec.Value(inv.StandardErrorContent)
	first, _, _ := strings.Cut(stderr, "\n")
	reason := ""
	if rest, ok := strings.CutPrefix(first, "OAKUM "); ok {
		reason, _, _ = strings.Cut(rest, ":")
	}
	want := x.status
	switch {
	case want != "":
	case x.reason != "":
		want = "Failed"
	default:
		want = "Success"
	}
	status := codec.Value(inv.Status)
	if reason != x.reason || status != want {
		t.Errorf("the step ended as %s %q, want %s %q", status, first, want, x.reason)
	}
	if x.says != "" && !strings.Contains(stdout+stderr, x.says) {
		t.Errorf("the output does not say %q", x.says)
	}
	// What the node has: all is installed but what is to stay behind, and that is where it was.
	wanted := slices.Sorted(slices.Values(slices.Concat(faultPackages, x.packages)))
	failed := map[string]string{}
	var run *localRun
	if runs, err := f.runsIn(); err != nil {
		t.Errorf("oakum runs --local: %v", err)
	} else if len(runs) > 0 {
		run = &runs[0]
		for key, b := range run.Failed {
			failed[key[:strings.LastIndexByte(key, '.')]] = b.Reason // names have dots too
		}
	}
	for k, d := range differences(failed, x.failed) {
		t.Errorf("%s failed with the reason %q, want %q", k, d[0], d[1])
	}
	changed := differences(before.packages, after.packages)
	for _, name := range wanted {
		_, stays := x.failed[name]
		stays = stays || x.stays[name] != ""
		now := after.packages[name]
		switch {
		case slices.Contains(x.mess, name):
		case name == "oakvictim", stays, x.reason != "" && len(x.failed) == 0:
			if now != f.sys.old {
				t.Errorf("%s is %q, want it left alone", name, now)
			}
		case now != f.sys.new:
			t.Errorf("%s is %q, want it installed", name, now)
		}
		delete(changed, name)
	}
	if len(changed) > 0 {
		t.Errorf("changed beside the plan: %v", changed)
	}
	for _, c := range after.complaints {
		if len(x.mess) == 0 {
			t.Error(c.text)
		}
	}
	if x.also != nil {
		x.also(f)
	}
	for name, reason := range x.stays {
		if got := f.reason(name); got != reason {
			t.Errorf("a scan says of %s %q, want %q", name, got, reason)
		}
		failed[name] = reason
	}
	if t.Failed() {
		t.Logf("stdout:\n%.3000s\nstderr:\n%.2000s", stdout, stderr)
		if run != nil {
			t.Logf("the run: %+v\nits log:\n%.6000s", *run, f.in("cat", "/var/lib/oakum/runs/"+run.ID+"/log"))
		}
	}
	ends := "`" + status + "`"
	if reason != "" {
		ends += ", `" + reason + "`"
	}
	return x.row(ends, failed, "TestInstallFaults/"+f.sys.name+x.name)
}
