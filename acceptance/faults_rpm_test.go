//go:build linux

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oakum.dev/wire/ssm"
)

const rpmFaultRepo = `package oakshell 1.0-1 x86_64 provides=/bin/sh
package oaktool 1.0-1 x86_64
package oaktool 1.1-1 x86_64
package oaklib 1.0-1 x86_64
package oaklib 1.1-1 x86_64
package oakapp 1.0-1 x86_64 requires="oaklib"
package oakapp 1.1-1 x86_64 requires="oaklib >= 1.1-1"
package oakscript 1.0-1 x86_64 preun="test ! -e /etc/oak-break-preun" postun="test ! -e /etc/oak-break-postun"
package oakscript 1.1-1 x86_64 pre="test ! -e /etc/oak-break-pre" post="test ! -e /etc/oak-break-post" posttrans="test ! -e /etc/oak-break-posttrans"
package oakconf 1.0-1 x86_64 config=/etc/oakconf.conf
package oakconf 1.1-1 x86_64 config=/etc/oakconf.conf
package oakbig 1.0-1 x86_64
package oakbig 1.1-1 x86_64 size=3000000
package oakvictim 1.0-1 x86_64
package oakgreedy 1.0-1 x86_64
package oakgreedy 1.1-1 x86_64 conflicts=oakvictim
package kernel 1.0-1 x86_64 provides="installonlypkg(kernel), multiversion(kernel)"
package kernel 1.1-1 x86_64 provides="installonlypkg(kernel), multiversion(kernel)"
package oakslow 1.0-1 x86_64
package oakslow 1.1-1 x86_64 post="sleep 4"
advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaktool-1.1-1.x86_64,oaklib-1.1-1.x86_64,oakapp-1.1-1.x86_64,oakscript-1.1-1.x86_64,oakconf-1.1-1.x86_64
advisory OAK-2 type=security severity=Important issued=2026-01-10 packages=oakbig-1.1-1.x86_64,oakgreedy-1.1-1.x86_64,kernel-1.1-1.x86_64,oakslow-1.1-1.x86_64
`

const killedScript = "rpm goes on: the package is installed, or stays as it was where the script comes first"

var dnfFaults = faultSystem{
	name: "dnf_", title: "dnf and rpm (RHEL 9)", old: "0:1.0-1", new: "0:1.1-1",
	rows:      rpmFaults("/var/cache/dnf", dnfRows),
	elsewhere: killed("dnf, also in its cleanup", killedScript, "that package: `installFailed`", "TestInstallKilledRPM"),
	base: func(t *testing.T) (*debNode, string, string) {
		r := newRPMRepo(t, rpmFaultRepo)
		n := r.node(t, "faultsdnf", "rhel9", strings.Join(faultPackages, "-1.0-1 ")+"-1.0-1")
		n.mustRun("dnf", "-q", "makecache")
		return n, r.dir, r.url
	},
	add:   func(f *faulty, name string) { f.in("dnf", "-q", "-y", "install", name+"-1.0-1") },
	state: rpmFaultState,
	point: func(f *faulty, url string) {
		f.rewrite("etc/yum.repos.d/oaktest.repo", f.url, url)
		f.in("dnf", "-q", "makecache")
	},
}

var zypperFaults = faultSystem{
	name: "zypper_", title: "zypper and rpm (SLES 15)", old: "0:1.0-1", new: "0:1.1-1",
	rows:      rpmFaults("/var/cache/zypp", zypperRows),
	elsewhere: killed("zypper or rpm", killedScript, "that package: `installFailed`", "TestInstallKilledRPM"),
	base: func(t *testing.T) (*debNode, string, string) {
		r := newRPMRepo(t, rpmFaultRepo)
		n := r.suseNode(t, "faultszypp", strings.Join(faultPackages, "=1.0-1 ")+"=1.0-1")
		n.mustRun("zypper", "-n", "refresh")
		return n, r.dir, r.url
	},
	add:   func(f *faulty, name string) { f.in("zypper", "-n", "install", name+"=1.0-1") },
	state: rpmFaultState,
	point: func(f *faulty, url string) {
		f.rewrite("etc/zypp/repos.d/oaktest.repo", f.url, url)
		f.in("zypper", "-n", "refresh")
	},
}

// rpmFaultState asks the node's own tools, among its processes: what is mounted there counts.
func rpmFaultState(f *faulty) (packageState, error) {
	s, err := rpmState(func(args ...string) (string, error) {
		out, err := f.command(args...).CombinedOutput()
		return string(out), err
	})
	delete(s.packages, "oakshell")
	if older := s.older["kernel"]; older != nil {
		s.packages["kernel"] = strings.TrimSuffix(s.packages["kernel"], " and "+strings.Join(older, " and "))
	}
	return s, err
}

// running lets a process of that name keep its number in a file for a while.
func (f *faulty) running(command, file string) {
	f.t.Helper()
	cmd := f.command("bash", "-c", `echo $$ >"$1"; exec -a "$0" sleep 6`, command, file)
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = cmd.Wait() }) // it ends by itself, or with the node
	f.waitFor(command, func(p process) bool { return strings.HasPrefix(p.line(), command) })
}

func pidLock(command, file string) func(*faulty) {
	return func(f *faulty) { f.running(command, file) }
}

// rpmFaults are the rows that dnf and zypper have in common, and those of one of them.
func rpmFaults(cache string, more []fault) []fault {
	rpmdb := "/var/lib/rpm"
	return slices.Concat([]fault{
		{name: "none", what: "none", step: "-", does: "installs all that is approved"},
		{
			name: "disk_cache", what: "full disk: `" + cache + "`", step: "before the download",
			does:   "refuses before anything is changed, and says how much is free and how much is needed",
			before: func(f *faulty) { f.tmpfs(cache, "20m") },
			reason: "DISK", failed: all("noSpace"), says: cache + " has ",
		},
		{
			name: "disk_database", what: "full disk: `" + rpmdb + "`", step: "before the download", does: "refuses before anything is changed",
			before: func(f *faulty) { f.tmpfs(rpmdb, "40m") },
			reason: "DISK", failed: all("noSpace"), says: rpmdb + " has ",
		},
		{
			name: "disk_boot", what: "full disk: `/boot`, and a kernel is to be installed", step: "before the download", does: "refuses before anything is changed",
			packages: []string{"kernel"},
			ready: func(f *faulty) {
				f.tmpfs("/boot", "60m")
				f.in("sh", "-c", "cd /boot && dd if=/dev/zero of=vmlinuz-1.0-1.x86_64 bs=1M count=8 2>/dev/null && dd if=/dev/zero of=initramfs-1.0-1.x86_64.img bs=1M count=40 2>/dev/null")
			},
			reason: "DISK", failed: all("noSpace", "kernel"), says: "/boot has ",
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
			ready:    func(f *faulty) { f.tmpfs("/usr/share/oaktest/oakbig-1.1-1", "500k") },
			reason:   "PATCH_FAILED", failed: map[string]string{"oakbig": "noSpace"}, says: "more space on the",
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
			mend:   func(f *faulty) { f.outside("mount", "-o", "remount,bind,rw", f.root) },
			reason: "READ_ONLY", failed: all("notTried"), says: "read-only",
		},
		{
			name: "package_gone", what: "the mirror does not have a package file any more", step: "downloading", does: "what cannot be had stays behind, with what needs it; the rest is installed",
			ready:  func(f *faulty) { must(f.t, os.Remove(filepath.Join(f.archive(), "oaklib-1.1-1.x86_64.rpm"))) },
			reason: "PATCH_FAILED", failed: map[string]string{"oaklib": "downloadFailed", "oakapp": "downloadFailed"},
		},
		{
			name: "mirror_down", what: "the mirror does not answer", step: "refreshing, downloading", does: "goes by the last good metadata and says so; nothing is changed",
			ready: func(f *faulty) {
				f.archive()
				must(f.t, f.mirror.Close())
			},
			reason: "PATCH_FAILED", failed: all("downloadFailed"), says: "not refreshed",
		},
		{
			name: "package_changed", what: "a package file is not the one that the metadata describes", step: "downloading", does: "it stays behind; the rest is installed",
			ready: func(f *faulty) {
				damage(f.t, filepath.Join(f.archive(), "oaktool-1.1-1.x86_64.rpm"))
			},
			reason: "PATCH_FAILED", failed: map[string]string{"oaktool": "downloadFailed"},
		},
		{
			name: "metadata_changed", what: "metadata is not what `repomd.xml` describes", step: "refreshing", does: "goes by the last good metadata and says so",
			ready: func(f *faulty) { // a newer repomd.xml, with sums of other files than are there
				dir := f.archive()
				script := `cd "$1" && sed -i -e 's,<checksum type="sha256">....,<checksum type="sha256">0000,' -e 's,<revision>,<revision>9,' repomd.xml`
				if out, err := exec.Command("sh", "-c", script, "sh", filepath.Join(dir, "repodata")).CombinedOutput(); err != nil {
					f.t.Fatalf("%v: %s", err, out)
				}
			},
			says: "not refreshed",
		},
		{name: "lock_rpm", what: "`/var/lib/rpm/.rpm.lock` is held", step: "repairing, installing", does: waits, ready: lock("/var/lib/rpm/.rpm.lock"), says: "/var/lib/rpm/.rpm.lock is locked by process "},
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
		{name: "pre", what: "a `%pre` fails", step: "installing", does: "the package stays as it was; the rest is installed", ready: touch("/etc/oak-break-pre"), reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "installFailed"}},
		{
			name: "post", what: "a `%post` fails", step: "installing", does: "the package is installed, as rpm sees it; the result is marked as degraded and names the script",
			ready: touch("/etc/oak-break-post"), says: "oakscript 0:1.1-1 is installed, and ",
		},
		{
			name: "preun", what: "a `%preun` of the old version fails", step: "cleaning up", does: "both versions stay, with the script's words; the rest is installed",
			ready: touch("/etc/oak-break-preun"), reason: "PATCH_FAILED", failed: map[string]string{"oakscript": "leftHalfWay"}, mess: []string{"oakscript"}, says: "%preun(oakscript-1.0-1.x86_64) scriptlet failed, exit status 1",
		},
		{
			name: "postun", what: "a `%postun` of the old version fails", step: "cleaning up", does: "the package is installed, as rpm sees it; the result is marked as degraded and names the script",
			ready: touch("/etc/oak-break-postun"), says: "oakscript 0:1.1-1 is installed, and ",
		},
		{
			name: "conffile", what: "a configuration file was changed on the node", step: "installing", does: "keeps it, and reports the new version beside it",
			ready: func(f *faulty) { writeFile(f.t, filepath.Join(f.root, "etc/oakconf.conf"), "mine\n") }, says: "Changed configuration kept; the new version is /etc/oakconf.conf.rpmnew",
			also: func(f *faulty) {
				if got := f.in("cat", "/etc/oakconf.conf"); got != "mine\n" {
					f.t.Errorf("the file holds %q", got)
				}
			},
		},
		{
			name: "removal", what: "an update would remove a package", step: "planning", does: "leaves it out; the rest is installed", packages: []string{"oakvictim", "oakgreedy"},
			reason: "DEPENDENCY", failed: map[string]string{"oakgreedy": "conflict"},
		},
		{
			name: "twice", what: "an earlier transaction was interrupted: a package is installed twice", step: "repairing", does: "installs the new version once more, with its scripts, and erases the old one; says so",
			ready: func(f *faulty) {
				file := "oaktool-1.1-1.x86_64.rpm"
				b, err := os.ReadFile(filepath.Join(f.dir, "repo", file))
				must(f.t, err)
				must(f.t, os.WriteFile(filepath.Join(f.root, "root", file), b, 0o644))
				f.in("rpm", "-i", "--nodeps", "--force", "/root/"+file)
			},
			says: "an interrupted transaction had left packages installed twice; finished: oaktool",
		},
		{
			name: "database_damaged", what: "the rpm database is damaged", step: "repairing", does: "refuses: what is installed is not known",
			ready: func(f *faulty) {
				f.in("sh", "-c", "cp -a /var/lib/rpm /root/rpm && dd if=/dev/zero of=/var/lib/rpm/rpmdb.sqlite bs=4096 count=2 conv=notrunc 2>/dev/null")
			},
			mend:   func(f *faulty) { f.in("sh", "-c", "rm -rf /var/lib/rpm/* && cp -a /root/rpm/. /var/lib/rpm") },
			reason: "FAILED", says: "rpm database",
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
	}, more)
}

// dnfRows are what zypper has not. Where a connection breaks off in a file, zypper tries again for two minutes: that takes
// too long to be tried here.
var dnfRows = []fault{
	{
		name: "mirror_cut", what: "the mirror hangs up in the middle of a file", step: "downloading", does: "what cannot be had stays behind, with what needs it; the rest is installed",
		ready:  func(f *faulty) { f.archive("oaklib-1.1") },
		reason: "PATCH_FAILED", failed: map[string]string{"oaklib": "downloadFailed", "oakapp": "downloadFailed"},
	},
	{
		name: "lock_metadata", what: "dnf's `metadata_lock.pid` is held", step: "refreshing", does: waits, ready: pidLock("dnf makecache", "/var/cache/dnf/metadata_lock.pid"),
		says: "/var/cache/dnf/metadata_lock.pid is locked by process ",
	},
	{
		name: "lock_download", what: "dnf's `download_lock.pid` is held", step: "downloading", does: waits, ready: pidLock("dnf download", "/var/cache/dnf/download_lock.pid"),
		says: "/var/cache/dnf/download_lock.pid is locked by process ",
	},
	{
		name: "lock_database", what: "dnf's `rpmdb_lock.pid` is held", step: "repairing, installing", does: waits, ready: pidLock("dnf -y upgrade", "/var/lib/dnf/rpmdb_lock.pid"),
		says: "/var/lib/dnf/rpmdb_lock.pid is locked by process ",
	},
	{
		name: "lock_stale", what: "a dnf that was killed left its lock files, and another program has its number", step: "starting", does: "goes on: no dnf has that number",
		ready: func(f *faulty) {
			f.running("oaktool", "/root/pid")
			f.in("sh", "-c", "for f in /var/cache/dnf/metadata_lock.pid /var/cache/dnf/download_lock.pid /var/lib/dnf/rpmdb_lock.pid; do cp /root/pid $f; done")
		},
	},
	{
		name: "unsigned", what: "packages are not signed, and the repository asks for that (`gpgcheck`)", step: "downloading", does: "nothing is installed; no key is imported",
		ready:  func(f *faulty) { f.rewrite("etc/yum.repos.d/oaktest.repo", "gpgcheck=0", "gpgcheck=1") },
		reason: "PATCH_FAILED", failed: all("downloadFailed"), says: "its signature is not accepted",
	},
	{
		name: "held", what: "a package is held on the node (versionlock)", step: "planning", does: "leaves it alone, and shows it as missing with that reason",
		ready: func(f *faulty) {
			writeFile(f.t, filepath.Join(f.root, "etc/dnf/plugins/versionlock.list"), "oaktool-0:1.0-1.*\n")
		},
		stays: map[string]string{"oaktool": "held"},
	},
	{
		name: "history_locked", what: "dnf's history is locked by another program", step: "installing", does: "waits for it as dnf does",
		ready: func(f *faulty) {
			script := `import sqlite3,time; c=sqlite3.connect("/var/lib/dnf/history.sqlite"); c.execute("BEGIN EXCLUSIVE"); print("held", flush=True); time.sleep(4)`
			cmd := f.command("python3", "-c", script)
			out, err := cmd.StdoutPipe()
			must(f.t, err)
			must(f.t, cmd.Start())
			f.t.Cleanup(func() { _ = cmd.Wait() }) // it ends by itself, or with the node
			if b := make([]byte, 5); func() bool { _, err := out.Read(b); return err != nil }() {
				f.t.Fatal("the history cannot be locked")
			}
		},
	},
}

var zypperRows = []fault{
	{
		name: "lock_zypp", what: "`/run/zypp.pid` is held", step: "refreshing, repairing, installing", does: waits, ready: pidLock("zypper refresh", "/run/zypp.pid"),
		says: "/run/zypp.pid is locked by process ",
	},
	{
		name: "lock_stale", what: "a zypper that was killed left its lock file, and another program has its number", step: "starting", does: "goes on: no zypper has that number",
		ready: func(f *faulty) { f.running("oaktool", "/run/zypp.pid") },
	},
	{
		name: "unsigned", what: "packages are not signed, and the repository asks for that (`gpgcheck`)", step: "downloading", does: "nothing is installed; no key is imported",
		ready:  func(f *faulty) { f.rewrite("etc/zypp/repos.d/oaktest.repo", "gpgcheck=0", "gpgcheck=1") },
		reason: "PATCH_FAILED", failed: all("downloadFailed"),
	},
	{
		name: "held", what: "a package is held on the node (`zypper addlock`)", step: "planning", does: "leaves it alone, and shows it as missing with that reason",
		ready: func(f *faulty) { f.in("zypper", "-n", "addlock", "oaktool") },
		stays: map[string]string{"oaktool": "held"},
	},
}

// damage changes a byte in the middle of a file.
func damage(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[len(b)/2]++
	must(t, os.WriteFile(name, b, 0o644))
	if len(b) == 0 {
		t.Fatal(fmt.Sprint("nothing in ", name))
	}
}
