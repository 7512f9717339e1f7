//go:build linux

package acceptance

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// alter changes a file of the repository's metadata, as its publisher would: the index fits it.
func (r *rpmRepo) alter(kind string, change func([]byte) []byte) {
	r.t.Helper()
	data := filepath.Join(r.dir, "repo/repodata")
	files, err := filepath.Glob(filepath.Join(data, "*"+kind+".xml.gz"))
	if err != nil || len(files) != 1 {
		r.t.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		r.t.Fatal(err)
	}
	plain := filepath.Join(r.t.TempDir(), kind+".xml")
	writeFile(r.t, plain, string(change(text)))
	for _, args := range [][]string{{"--remove", kind, data}, {"--mdtype=" + kind, plain, data}} {
		if out, err := exec.Command("modifyrepo_c", args...).CombinedOutput(); err != nil {
			r.t.Fatalf("modifyrepo_c: %v: %s", err, out)
		}
	}
}

// TestMetadataGivesNoOrders has repository metadata in which the version of a dependency is a line of orders for dnf, as a
// mirror could send it where only packages are signed: nothing of it is carried out, not by a scan nor by an install.
func TestMetadataGivesNoOrders(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, `package oakgood 1-1 x86_64
package oakgood 2-1 x86_64 requires="oakdep"
package oakdep 7.7.7-1 x86_64
package oakbad 1-1 x86_64
package oakbad 2-1 x86_64 requires="oak-nobody"
package oakvictim 1-1 x86_64
package oakvictim 2-1 x86_64
`)
	n := r.node(t, "orders", "rhel9", "oakgood-1-1 oakbad-1-1 oakvictim-1-1")
	writeFile(t, filepath.Join(n.root, "root/everything.json"), everythingRPM)
	r.alter("primary", func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte(`ver="7.7.7"`), []byte(`ver="7.7.7&#10;config assumeno 0&#10;config assumeyes 1&#10;remove oakvictim&#10;run"`))
	})
	for _, args := range [][]string{{"scan"}, {"install", "--dry-run"}, {"install"}} {
		out, _ := n.run(append(append([]string{"/usr/local/bin/oakum"}, args...), "--baseline", "/root/everything.json")...) // what it finds is not the point
		if got := strings.TrimSpace(n.mustRun("sh", "-c", "rpm -q oakvictim; true")); !strings.HasPrefix(got, "oakvictim-") {
			t.Fatalf("after oakum %s: %s\n%s", strings.Join(args, " "), got, out)
		}
		if args[0] == "scan" && !regexp.MustCompile(`oakvictim.x86_64 +Missing +0:1-1 +0:2-1 +oaktest *\n`).MatchString(out) {
			t.Errorf("the scan does not tell what else there is: %s", out)
		}
		if args[0] == "scan" && !strings.Contains(out, "characters that no package has") {
			t.Errorf("the scan does not name the repository's fault: %s", out)
		}
	}
}

// TestForeignRootRunsNothing scans a root whose dnf configuration names plugins of its own: none of them is run.
func TestForeignRootRunsNothing(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakbad 1-1 x86_64\npackage oakbad 2-1 x86_64 requires=\"oak-nobody\"\n")
	n := r.node(t, "foreign", "rhel9", "oakbad-1-1")
	n.mustRun("sh", "-c", `mkdir -p /mnt/evil/plug && tar -C / --one-file-system -cf - etc/os-release etc/dnf etc/yum.repos.d var/lib/rpm var/cache/dnf usr/bin/dnf | tar -C /mnt/evil -xf - &&
printf 'pluginpath=/mnt/evil/plug\n' >>/mnt/evil/etc/dnf/dnf.conf && printf 'import dnf\nopen("/root/ran","w").write("x")\nclass P(dnf.Plugin):\n    name="evil"\n' >/mnt/evil/plug/evil.py`)
	writeFile(t, filepath.Join(n.root, "root/everything.json"), everythingRPM)
	_, by := n.scan("--root", "/mnt/evil", "--baseline", "/root/everything.json")
	if by["oakbad"] != "Missing" {
		t.Errorf("the scan says %v", by)
	}
	if _, err := os.Stat(filepath.Join(n.root, "root/ran")); err == nil {
		t.Error("a plugin of the root was run")
	}
	// A pipe in the place of a file does not hold the scan up.
	if err := os.Remove(filepath.Join(n.root, "mnt/evil/etc/dnf/dnf.conf")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(n.root, "mnt/evil/etc/dnf/dnf.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := n.run("timeout", "20", "/usr/local/bin/oakum", "scan", "--root", "/mnt/evil", "--baseline", "/root/everything.json")
	if err == nil || !strings.Contains(out, "not a regular file") || time.Since(began) > 15*time.Second {
		t.Errorf("a pipe: %v after %v: %s", err, time.Since(began), out)
	}
}

// TestSideBySideStays keeps packages that the node's configuration lets be installed in several versions: they are no leftovers.
func TestSideBySideStays(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakdrv 1-1 x86_64\npackage oakdrv 2-1 x86_64\n")
	for name, node := range map[string]func(t *testing.T) *debNode{
		"dnf": func(t *testing.T) *debNode {
			n := r.node(t, "beside", "rhel9", "--setopt=installonlypkgs=oakdrv oakdrv-1-1")
			n.mustRun("sh", "-c", "printf 'installonlypkgs=oakdrv\n' >>/etc/dnf/dnf.conf; dnf -q -y install oakdrv-2-1")
			return n
		},
		"zypper": func(t *testing.T) *debNode {
			n := r.suseNode(t, "besidez", "oakdrv=1-1")
			writeFile(t, filepath.Join(n.root, "etc/zypp/zypp.conf"), "[main]\nmultiversion = provides:multiversion(kernel),oakdrv\n")
			n.mustRun("zypper", "-q", "-n", "install", "oakdrv=2-1")
			return n
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := node(t)
			if _, _, code := n.install(); code != 0 {
				t.Errorf("an install of nothing ends with %d", code)
			}
			got := strings.Fields(n.mustRun("rpm", "-q", "oakdrv"))
			slices.Sort(got)
			if strings.Join(got, " ") != "oakdrv-1-1.x86_64 oakdrv-2-1.x86_64" {
				t.Errorf("rpm has %s", got)
			}
		})
	}
}

// TestNoRoomForATransaction fills a file system that only rpm looks at: the updates are left with the reason noSpace. Where the
// metadata finds no room, the scan says so in the manager's words.
func TestNoRoomForATransaction(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakroom 1-1 x86_64\npackage oakroom 2-1 x86_64\nadvisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oakroom-2-1.x86_64\n")
	full := func(dir, command string) string {
		return "mount -t tmpfs -o size=16k none " + dir + "; dd if=/dev/zero of=" + dir + "/fill bs=1k count=60 2>/dev/null; " + command
	}
	for _, n := range []*debNode{r.node(t, "room", "rhel9", "oakroom-1-1"), r.suseNode(t, "zroom", "oakroom=1-1")} {
		out, _ := n.run("sh", "-c", full("/usr/share/oaktest", "oakum install")) // its exit code says that a patch failed
		if !strings.Contains(out, "oakroom.x86_64 0:2-1  noSpace ") || !strings.Contains(out, "more space on the /usr/share/oaktest") || strings.Contains(out, "Transaction test error") {
			t.Errorf("%s: the install says\n%s", n.name, out)
		}
		if strings.HasSuffix(n.name, "zroom") {
			continue
		}
		out, _ = n.run("sh", "-c", full("/var/cache/dnf", "oakum scan"))
		if !strings.Contains(out, "hint: not refreshed: ") || !strings.Contains(out, "No space left on device") {
			t.Errorf("%s: the scan says\n%s", n.name, out)
		}
	}
}

// TestUnsignedOfAnotherArchitecture: the signature of a package that goes from noarch to the machine's architecture is checked
// before anything is installed, like any other.
func TestUnsignedOfAnotherArchitecture(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakmove 1-1 noarch\npackage oakfine 1-1 x86_64\npackage oakfine 2-1 x86_64\nadvisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oakfine-2-1.x86_64\n")
	unsigned := newRPMRepo(t, "package oakmove 2-1 x86_64\nadvisory OAK-2 type=security severity=Critical issued=2026-01-10 packages=oakmove-2-1.x86_64\n")
	n := r.node(t, "moved", "rhel9", "oakmove-1-1 oakfine-1-1")
	writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/unsigned.repo"), "[unsigned]\nname=unsigned\nbaseurl="+unsigned.url+"\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/oak\n")
	if _, by, _ := n.install(); by["oakmove"] != "Failed downloadFailed" || by["oakfine"] != "InstalledPendingReboot" {
		t.Errorf("the install says %v", by)
	}
	if got := strings.TrimSpace(n.mustRun("rpm", "-q", "oakmove")); got != "oakmove-1-1.noarch" {
		t.Errorf("rpm has %s", got)
	}
}
