//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// faults is the matrix.
var faults = []fault{
	{
		name: "none", what: "none", step: "-", does: "installs all that is approved",
	},
	{
		name: "disk_cache", what: "full disk: `/var/cache/apt/archives`", step: "before the download",
		does:   "refuses before anything is changed, and says how much is free and how much is needed",
		before: func(f *faulty) { f.tmpfs("/var/cache/apt/archives", "20m") },
		reason: "DISK", failed: all("noSpace"), says: "/var/cache/apt/archives has ",
	},
	{
		name: "disk_database", what: "full disk: `/var/lib/dpkg`", step: "before the download", does: "refuses before anything is changed",
		before: func(f *faulty) { f.tmpfs("/var/lib/dpkg", "100m") },
		reason: "DISK", failed: all("noSpace"), says: "/var/lib/dpkg has ",
	},
	{
		name: "disk_boot", what: "full disk: `/boot`, and a kernel is to be installed", step: "before the download", does: "refuses before anything is changed",
		packages: []string{"linux-image-6.1.0-9-amd64"},
		ready: func(f *faulty) {
			f.tmpfs("/boot", "60m")
			f.in("sh", "-c", "cd /boot && dd if=/dev/zero of=vmlinuz-6.1.0-9-amd64 bs=1M count=8 2>/dev/null && dd if=/dev/zero of=initrd.img-6.1.0-9-amd64 bs=1M count=40 2>/dev/null")
		},
		reason: "DISK", failed: all("noSpace", "linux-image-6.1.0-9-amd64"), says: "/boot has ",
	},
	{
		name: "disk_state", what: "full disk: the agent's own folder", step: "before the journal is begun", does: "refuses: without a journal nothing is changed",
		before: func(f *faulty) { f.tmpfs("/var/lib/oakum", "4m") },
		ready: func(f *faulty) {
			f.in("sh", "-c", `k=$(df -k --output=avail /var/lib/oakum | tail -1); dd if=/dev/zero of=/var/lib/oakum/filler bs=1024 count=$((k-700)) 2>/dev/null`)
		},
		reason: "DISK",
	},
	{
		name: "disk_unpack", what: "the disk fills up meanwhile", step: "unpacking", does: "the package that does not fit stays as it was; the rest is installed",
		packages: []string{"oakbig"},
		ready:    func(f *faulty) { f.tmpfs("/usr/share/doc/oakbig", "500k") },
		reason:   "PATCH_FAILED", failed: map[string]string{"oakbig": "installFailed"}, says: "No space left on device",
	},
	{
		name: "readonly_usr", what: "read-only `/usr`", step: "before the download", does: "refuses before anything is changed",
		before: func(f *faulty) { f.in("sh", "-c", "mount --bind /usr /usr && mount -o remount,bind,ro /usr") },
		reason: "READ_ONLY", failed: all("notTried"), says: "/usr is on a file system that is mounted read-only",
	},
	{
		name: "readonly_root", what: "read-only `/`", step: "before the download", does: "refuses before anything is changed",
		ready: func(f *faulty) {
			f.tmpfs("/var/lib/oakum", "100m")
			f.in("mount", "-t", "tmpfs", "tmpfs", "/tmp")
			f.outside("mount", "-o", "remount,bind,ro", f.root)
		},
		reason: "READ_ONLY", failed: all("notTried"), says: "read-only",
	},
	{
		name: "mirror_cut", what: "the mirror hangs up in the middle of a file", step: "downloading", does: "what cannot be had stays behind, with what needs it; the rest is installed",
		ready:  func(f *faulty) { f.archive("oaklib_1.1") },
		reason: "PATCH_FAILED", failed: map[string]string{"oaklib": "downloadFailed", "oakapp": "downloadFailed"},
	},
	{
		name: "mirror_down", what: "the mirror does not answer", step: "refreshing, downloading", does: "goes by the last good index and says so; nothing is changed",
		ready: func(f *faulty) {
			f.archive()
			must(f.t, f.mirror.Close())
		},
		reason: "PATCH_FAILED", failed: all("downloadFailed"), says: "not refreshed: ",
	},
	{
		name: "deb_changed", what: "a package file is not the one that the index describes", step: "downloading", does: "it stays behind; the rest is installed",
		ready: func(f *faulty) {
			name := filepath.Join(f.archive(), "pool/bookworm-security/oaktool_1.1-1_all.deb")
			b, err := os.ReadFile(name)
			must(f.t, err)
			b[len(b)/2]++
			must(f.t, os.WriteFile(name, b, 0o644))
		},
		reason: "PATCH_FAILED", failed: map[string]string{"oaktool": "downloadFailed"},
	},
	{
		name: "index_changed", what: "an index does not match its signed Release file", step: "refreshing", does: "goes by the last good index and says so",
		ready: func(f *faulty) { // sums of other files than are there
			resign(f, security(f.archive()), time.Now(), `/main.binary-/s/^ [0-9a-f]\{32\}/ 00000000000000000000000000000000/`)
		},
		says: "not refreshed: ",
	},
	{
		name: "clock", what: "the clock is wrong, or a Release file is from the future", step: "refreshing", does: "goes by the last good index and says so",
		ready: func(f *faulty) { resign(f, security(f.archive()), time.Now().Add(48*time.Hour), "") },
		says:  "not valid yet",
	},
	{name: "lock_lists", what: "`/var/lib/apt/lists/lock` is held", step: "refreshing", does: waits, ready: lock("/var/lib/apt/lists/lock"), says: "/var/lib/apt/lists/lock is locked by process "},
	{name: "lock_archives", what: "`/var/cache/apt/archives/lock` is held", step: "downloading", does: waits, ready: lock("/var/cache/apt/archives/lock"), says: "/var/cache/apt/archives/lock is locked by process "},
	{name: "lock_frontend", what: "`/var/lib/dpkg/lock-frontend` is held", step: "repairing, installing", does: waits, ready: lock("/var/lib/dpkg/lock-frontend"), says: "/var/lib/dpkg/lock-frontend is locked by process "},
	{name: "lock_dpkg", what: "`/var/lib/dpkg/lock` is held", step: "repairing, installing", does: waits, ready: lock("/var/lib/dpkg/lock"), says: "/var/lib/dpkg/lock is locked by process "},
	{
		name: "two_installs", what: "another run is at work", step: "starting", does: "waits for its end, names it, and then looks at what is left",
		packages: []string{"oakslow"},
		ready: func(f *faulty) {
			cmd := f.command("/usr/local/bin/oakum", "install")
			must(f.t, cmd.Start())
			f.t.Cleanup(func() { _ = cmd.Wait() }) // it ends with the node at the latest
			f.waitFor("the other run's script", isMaintainer)
		},
		says: "waiting for another patch run: process ",
	},
	{name: "preinst", what: "a `preinst` fails", step: "unpacking", does: "the package stays as it was; the rest is installed", ready: touch("/etc/oak-break-preinst"), reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "installFailed"}},
	{
		name: "postinst", what: "a `postinst` fails", step: "configuring", does: "the package stays half way, with its script's words; the rest is installed", ready: touch("/etc/oak-break-postinst"),
		reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "leftHalfWay"}, mess: []string{"oakscript"},
	},
	{name: "prerm", what: "a `prerm` fails", step: "unpacking", does: "the package stays as it was; the rest is installed", ready: touch("/etc/oak-break-prerm"), reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "installFailed"}},
	{name: "postrm", what: "a `postrm` fails", step: "unpacking", does: "the package stays as it was; the rest is installed", ready: touch("/etc/oak-break-postrm"), reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "installFailed"}},
	{
		name: "conffile", what: "a configuration file was changed on the node", step: "configuring", does: "keeps it, and reports the new version beside it",
		ready: func(f *faulty) { writeFile(f.t, filepath.Join(f.root, "etc/oakconf.conf"), "mine\n") }, says: "Changed configuration kept; the new version is /etc/oakconf.conf.dpkg-",
		also: func(f *faulty) {
			if got := f.in("cat", "/etc/oakconf.conf"); got != "mine\n" {
				f.t.Errorf("the file holds %q", got)
			}
		},
	},
	{
		name: "removal", what: "an update would remove a package", step: "planning", does: "leaves it out; the rest is installed", packages: []string{"oakvictim", "oakgreedy"},
		reason: "DEPENDENCY", failed: map[string]string{"oakgreedy": "removal"},
	},
	{
		name: "held", what: "a package is held on the node", step: "planning", does: "leaves it alone, and shows it as missing with that reason", ready: func(f *faulty) { f.in("apt-mark", "hold", "oaktool") },
		stays: map[string]string{"oaktool": "held"},
	},
	{
		name: "dpkg_unmerged", what: "dpkg was interrupted earlier: records are not merged", step: "repairing", does: "`dpkg --configure -a` first; says so",
		ready: func(f *faulty) {
			f.in("sh", "-c", `dpkg -s oaktool | sed "s/^Status:.*/Status: install ok half-configured/" >/var/lib/dpkg/updates/0000`)
		},
		says: "dpkg had been interrupted; ",
	},
	{
		name: "dpkg_half", what: "dpkg was interrupted earlier: a package is half configured", step: "repairing", does: "`dpkg --configure -a` first; says so",
		ready: func(f *faulty) {
			f.in("sed", "-i", "/^Package: oaktool$/,/^$/s/^Status:.*/Status: install ok half-configured/", "/var/lib/dpkg/status")
		},
		says: "dpkg had been interrupted; finished: oaktool",
	},
	{
		name: "dpkg_reinstall", what: "dpkg was interrupted earlier: a package has to be installed again", step: "repairing", does: "installs it again at its version, then goes on",
		ready: func(f *faulty) {
			f.in("sed", "-i", "/^Package: oaktool$/,/^$/s/^Status:.*/Status: install reinstreq half-configured/", "/var/lib/dpkg/status")
		},
		says: "dpkg had been interrupted; finished: oaktool",
	},
	{
		name: "cancelled", what: "the command is cancelled", step: "installing", does: "ends the transaction that is under way, begins no other, and reports",
		packages: []string{"oakslow"},
		during: func(f *faulty) {
			f.waitFor("the transaction", isMaintainer)
			must(f.t, f.client.Call(f.t.Context(), f.client.Admin, "ssm", "CancelCommand", &ssm.CancelCommandInput{CommandId: &f.commandID}, nil))
		},
		status: "Cancelled",
		also:   func(f *faulty) { f.reports(6) },
	},
	{
		name: "server_away", what: "the server is away", step: "reporting", does: "keeps report and replies, and delivers both when it is back",
		packages: []string{"oakslow"},
		before: func(f *faulty) { // a server of its own
			f.s = install(f.t, "sqlite")
			f.client = attach(f.t, f.s)
		},
		during: func(f *faulty) {
			f.waitFor("the transaction", isMaintainer)
			f.s.kill()
			eventually(f.t, "the end of the engine", time.Minute, func() bool { return !slices.ContainsFunc(f.processes(), isEngine) })
			f.s.start(f.client.URL)
		},
		also: func(f *faulty) { f.reports(6) },
	},
}

const waits = "waits, up to 10 minutes in all, and names the holder"

func all(reason string, more ...string) map[string]string {
	out := map[string]string{}
	for _, p := range slices.Concat(faultPackages, more) {
		out[p] = reason
	}
	return out
}

// elsewhereRow is a row whose fault another test brings about.
type elsewhereRow struct{ what, step, does, ends, left, test string }

// elsewhere are those that are the same with every package manager.
var elsewhere = []elsewhereRow{
	{"kill -9 of the engine at each of four starts", "any", "the run is ended and the database put in order; the step says what was installed and what was not", "`Failed`, `INTERRUPTED`", "what was not installed yet", "internal/agent TestEngineIsGivenUp"},
	{"a lock is held for longer than is waited", "any", "ends, and names the holder", "`Failed`, `LOCKED`", "all", "patch/system TestTrap_D1_LockHolderIsNamed"},
	{"a requested reboot does not happen", "rebooting", "asks once more after 10 minutes, then reports", "`Failed`, `REBOOT`", "-", "internal/agent TestRebootThatDoesNotHappen"},
	{"a reboot cannot be started", "rebooting", "reports", "`Failed`, `REBOOT`", "-", "internal/agent TestRebootThatCannotBeStarted"},
	{"every start asks for a reboot", "rebooting", "three reboots at most", "`Failed`, `REBOOT`", "-", "internal/agent TestRebootsAreBounded"},
}

// killed are the rows of kill -9. tools are the package manager's programs.
func killed(tools, script, scriptEnds, test string) []elsewhereRow {
	test = "acceptance " + test
	return []elsewhereRow{
		{"kill -9 of the agent", "any", "the install goes on without it; the next agent takes it up and reports", "as without the kill", "-", test},
		{"kill -9 of the engine, or of the shells around it", "any", "the engine is started again, waits for what it had started, and finishes by its journal", "as without the kill", "-", test},
		{"kill -9 of " + tools + ", or of a repair", "any", "the database is repaired, and what is left of the plan, or of the marks, is tried again", "as without the kill", "-", test},
		{"kill -9 of a package's script", "installing", script, "`Success`, or `Failed`, `PATCH_FAILED`", scriptEnds, test},
		{"everything is killed at once: a power cut", "any", "the next agent starts the engine, which repairs and finishes", "as without the kill", "-", test},
	}
}

func (x *fault) row(ends string, failed map[string]string, test string) string {
	left := "-"
	if len(failed) > 0 {
		by := map[string][]string{}
		for name, reason := range failed {
			by[reason] = append(by[reason], name)
		}
		var parts []string
		for _, reason := range sortedKeys(by) {
			slices.Sort(by[reason])
			who := strings.Join(by[reason], ", ")
			if len(by[reason]) == len(faultPackages)+len(x.packages) {
				who = "all"
			}
			parts = append(parts, fmt.Sprintf("%s: `%s`", who, reason))
		}
		left = strings.Join(parts, "; ")
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", x.what, x.step, x.does, ends, left, test)
}

// faultsDocument is docs/faults.md.
func faultsDocument(t *testing.T, systems []*faultSystem, rows [][]string) []byte {
	var b strings.Builder
	b.WriteString(`# What goes wrong during an install

<!-- Made by go test ./acceptance -run TestInstallFaults -update; do not edit. -->

Each row was brought about on a real node that had five packages to install (and one or two more where the fault is
about them), by ` + "`AWS-RunPatchBaseline` with `Operation=Install`" + `. "Ends" is the status of the step and the reason in the first line of its
error output; "left out" are the packages that were not installed, with their reasons. The reasons are explained in
[reasons.md](reasons.md).
`)
	const head = "\n## %s\n\n| Fault | Step | What Oakum does | Ends | Left out | Test |\n|---|---|---|---|---|---|\n"
	row := func(e elsewhereRow) {
		dir, name, _ := strings.Cut(e.test, " ")
		files, _ := filepath.Glob(filepath.Join("..", dir, "*_test.go")) // the pattern is right
		if !slices.ContainsFunc(files, func(f string) bool {
			text, err := os.ReadFile(f)
			return err == nil && strings.Contains(string(text), "\nfunc "+name+"(")
		}) {
			t.Errorf("there is no test %s in %s", name, dir)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", e.what, e.step, e.does, e.ends, e.left, e.test)
	}
	for k, sys := range systems {
		fmt.Fprintf(&b, head, sys.title)
		for _, r := range rows[k] {
			b.WriteString(r)
		}
		for _, e := range sys.elsewhere {
			row(e)
		}
	}
	fmt.Fprintf(&b, head, "Any of them")
	for _, e := range elsewhere {
		row(e)
	}
	b.WriteString(`
What holds in every row: the package manager's database is in order afterwards, but for a package whose own script fails;
nothing is removed, and nothing changes that the plan does not name; packages that were installed for others stay marked so;
the run has ended, and its record says what was changed.
`)
	return []byte(b.String())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serveFiles serves a folder until the test ends. Of files with cut in their names it sends half.
func serveFiles(t *testing.T, dir, cut string) (*http.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	files := http.FileServer(http.Dir(dir))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if cut != "" && strings.Contains(req.URL.Path, cut) {
			half(w, filepath.Join(dir, filepath.Clean(req.URL.Path)))
			return
		}
		files.ServeHTTP(w, req)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = srv.Close() })
	return srv, "http://" + l.Addr().String()
}

// resign gives a suite's Release file another date and signs it with the archive's key.
func resign(f *faulty, dists string, at time.Time, edit string) {
	f.t.Helper()
	home := filepath.Join(filepath.Dir(filepath.Dir(dists)), ".gnupg")
	script := `cd "$1" && sed -i -e "s/^Date:.*/Date: $2/" -e "$3" Release && rm -f InRelease Release.gpg && gpg -q --batch --clearsign --digest-algo SHA256 -o InRelease Release && gpg -q --batch -abs --digest-algo SHA256 -o Release.gpg Release; gpgconf --kill all`
	cmd := exec.Command("sh", "-c", script, "sh", dists, at.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), edit)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("sign: %v: %s", err, out)
	}
}

// outside runs a command of this machine on what the node sees.
func (f *faulty) outside(args ...string) {
	f.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(f.init), "-m", "--"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// runsIn are the runs that the node's processes see.
func (f *faulty) runsIn() ([]localRun, error) {
	var doc struct{ Runs []localRun }
	out, err := f.command("/usr/local/bin/oakum", "runs", "--local", "--output", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &doc)
	}
	return slices.DeleteFunc(doc.Runs, func(r localRun) bool { return r.Operation != "Install" }), err
}

func attach(t *testing.T, s *installation) *servertest.Server {
	return servertest.Attach(t, s.url, s.dir)
}

// reports waits until the server shows that many patches as installed and waiting for a reboot.
func (f *faulty) reports(n int) {
	f.t.Helper()
	eventually(f.t, fmt.Sprint("a report of ", n, " patches"), time.Minute, func() bool { return f.reported() == n })
}

func (f *faulty) reported() int {
	var out ssm.DescribeInstancePatchStatesOutput
	in := &ssm.DescribeInstancePatchStatesInput{InstanceIds: []string{f.id}}
	if err := f.client.Call(f.t.Context(), f.client.Admin, "ssm", "DescribeInstancePatchStates", in, &out); err != nil || len(out.InstancePatchStates) == 0 {
		return 0
	}
	return int(codec.Value(out.InstancePatchStates[0].InstalledPendingRebootCount))
}

// reason is why a scan of the node shows a package as not installed.
func (f *faulty) reason(name string) string {
	var doc struct {
		Items []struct{ Name, State, Reason string }
	}
	out, err := f.command("/usr/local/bin/oakum", "scan", "--no-refresh", "--output", "json").Output()
	if len(out) == 0 {
		f.t.Errorf("oakum scan: %v", err)
		return ""
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		f.t.Error(err)
	}
	for _, it := range doc.Items {
		if it.Name == name {
			return it.Reason
		}
	}
	return ""
}
