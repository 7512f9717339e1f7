//go:build linux

package acceptance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// suseConfig is what SUSE ships and Debian's build of zypper leaves out.
const suseConfig = "[main]\nmultiversion = provides:multiversion(kernel)\n"

// suseNode makes a node with zypper.
func (r *rpmRepo) suseNode(t *testing.T, name, packages string) *debNode {
	t.Helper()
	n := r.node(t, name, "sles15", packages)
	writeFile(t, filepath.Join(n.root, "etc/zypp/zypp.conf"), suseConfig)
	return n
}

// addRepo gives a node with zypper one more repository.
func (n *debNode) addRepo(alias, url, more string) {
	n.t.Helper()
	writeFile(n.t, filepath.Join(n.root, "etc/zypp/repos.d", alias+".repo"), fmt.Sprintf("[%s]\nname=The repository %s\nbaseurl=%s\nenabled=1\n%s\n", alias, alias, url, more))
}

// details is what a result says beside its items.
type details struct {
	Degraded, RebootReasons, Updaters []string
	Repositories                      []struct {
		Suite, Detail                string
		Stale, Missing, NoAdvisories bool
	}
}

func (n *debNode) details(args ...string) (d details) {
	n.t.Helper()
	out, _ := n.output(append([]string{"oakum", "scan", "--output", "json"}, args...)...) // the exit code says whether the node is compliant
	if err := json.Unmarshal(out, &d); err != nil {
		n.t.Fatalf("oakum scan: %v\n%.2000s", err, out)
	}
	return d
}

// packages are name-evr.arch of what rpm says is installed.
func (n *debNode) packages() []string {
	n.t.Helper()
	out := strings.Fields(n.mustRun("rpm", "-qa", "--qf", "%{NAME}-%{EVR}.%{ARCH}\n"))
	slices.Sort(out)
	return out
}

const suseReasons = `package oakok 1-1 x86_64
package oakok 2-1 x86_64
package oaklocked 1-1 x86_64
package oaklocked 2-1 x86_64
package oakpartly 1-1 x86_64
package oakpartly 2-1 x86_64
package oakpartly 3-1 x86_64
package oakunwanted 1-1 x86_64
package oakunwanted 2-1 x86_64
package oakneeds 1-1 x86_64
package oakneeds 2-1 x86_64 requires="oak-nobody"
package oakfights 1-1 x86_64
package oakfights 2-1 x86_64 conflicts=oakstays
package oakstays 1-1 x86_64
package oakold 1-1 x86_64
package oaknew 2-1 x86_64 obsoletes="oakold < 2"
package oakvendor 1-1 x86_64 vendor="SUSE LLC"
package oakvendor 2-1 x86_64 vendor=openSUSE
package oakvendors 1-1 x86_64 vendor="SUSE LLC"
package oakvendors 2-1 x86_64 vendor="SUSE Linux"
package oakpriority 1-1 x86_64
package oakpriority 3-1 x86_64
package oakretracted 1-1 x86_64
package oakretracted 2-1 x86_64 provides="retracted-patch-package()"
package oakwithdrawn 1-1 x86_64
package oakwithdrawn 2-1 x86_64
package oaksold 1-1 x86_64
package oaklow 1-1 x86_64
package oaklow 2-1 x86_64
package oakbug 1-1 x86_64
package oakbug 2-1 x86_64
package oaktoday 1-1 x86_64
package oaktoday 2-1 x86_64
package oakrejected 1-1 x86_64
package oakrejected 2-1 x86_64
package oakneedsrejected 1-1 x86_64
package oakneedsrejected 2-1 x86_64 requires="oakrejected >= 2"
package oakkernel 1-1 x86_64 provides="multiversion(kernel)"
package oakkernel 2-1 x86_64 provides="multiversion(kernel)"
package oaknotes 1-1 x86_64
advisory SUSE-1 type=security severity=important issued=2026-01-10 packages=oakok-2-1.x86_64,oaklocked-2-1.x86_64,oakpartly-2-1.x86_64,oakpartly-3-1.x86_64,oakneeds-2-1.x86_64,oakfights-2-1.x86_64
advisory SUSE-2 type=security severity=important issued=2026-01-10 packages=oakvendor-2-1.x86_64,oakvendors-2-1.x86_64,oakpriority-3-1.x86_64,oakneedsrejected-2-1.x86_64,oakrejected-2-1.x86_64
advisory SUSE-3 type=security severity=important issued=2026-01-10 reboot=yes packages=oakkernel-2-1.x86_64
advisory SUSE-4 type=security severity=important issued=2026-01-10 packages=oakunwanted-2-1.x86_64
advisory SUSE-5 type=security severity=low issued=2026-01-10 packages=oaklow-2-1.x86_64
advisory SUSE-6 type=recommended severity=important issued=2026-01-10 packages=oakbug-2-1.x86_64
advisory SUSE-7 type=security severity=important issued=now packages=oaktoday-2-1.x86_64
advisory SUSE-8 type=security severity=important issued=2026-01-10 packages=oakretracted-2-1.x86_64
advisory SUSE-9 type=security severity=important issued=2026-01-10 status=retracted packages=oakwithdrawn-2-1.x86_64
`

const suseBaseline = `{"OperatingSystem":"SUSE","Name":"reasons","ApprovalRules":{"PatchRules":[
{"PatchFilterGroup":{"PatchFilters":[{"Key":"CLASSIFICATION","Values":["Security"]},{"Key":"SEVERITY","Values":["Critical","Important"]}]},"ApproveAfterDays":7}]},
"RejectedPatches":["oakrejected-2*"],"RejectedPatchesAction":"BLOCK"}`

// TestReasonsOnZypper has real zypper keep updates away for every reason that a SUSE node knows, and Oakum name each.
// Trap Z5, Trap Z7.
func TestReasonsOnZypper(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseReasons)
	const names = "ok locked partly unwanted needs fights stays old vendor vendors priority retracted withdrawn sold low bug today rejected needsrejected kernel notes"
	var install []string
	for _, n := range strings.Fields(names) {
		install = append(install, "oak"+n+"=1-1")
	}
	n := r.suseNode(t, "zreasons", strings.Join(install, " "))
	preferred := newRPMRepo(t, "package oakpriority 2-1 x86_64\n")
	n.addRepo("preferred", preferred.url, "gpgcheck=0\npriority=10")
	bare := newRPMRepo(t, "package oaknotes 2-1 x86_64\n")
	bare.strip("updateinfo")
	n.addRepo("bare", bare.url, "gpgcheck=0")
	files := newRPMRepo(t, "package oaksold 2-1 x86_64\nadvisory SUSE-10 type=security severity=critical issued=2026-01-10 packages=oaksold-2-1.x86_64\n")
	paid := true
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !paid {
			http.Error(w, "your subscription has ended", http.StatusForbidden)
			return
		}
		http.FileServer(http.Dir(filepath.Join(files.dir, "repo"))).ServeHTTP(w, req)
	}))
	t.Cleanup(shop.Close)
	n.addRepo("shop", shop.URL, "gpgcheck=0")
	writeFile(t, filepath.Join(n.root, "root/reasons.json"), suseBaseline)
	n.mustRun("zypper", "addlock", "oaklocked")
	n.mustRun("zypper", "addlock", "oakpartly > 2-1")
	n.mustRun("zypper", "addlock", "-t", "patch", "SUSE-4")
	n.scan("--baseline", "/root/reasons.json")
	paid = false
	s, by := n.scan("--baseline", "/root/reasons.json")
	want := map[string]string{
		"oakok": "Missing", "oaklocked": "Missing held", "oakpartly": "Missing", "oakunwanted": "Missing held", "oakneeds": "Missing unmetDependency",
		"oakfights": "Missing conflict", "oakstays": "InstalledOther", "oakold": "InstalledOther obsoleted", "oakvendor": "Missing vendor", "oakvendors": "Missing",
		"oakpriority": "Missing priority", "oakretracted": "InstalledOther retracted", "oakwithdrawn": "InstalledOther notApproved", "oaksold": "Missing entitlement",
		"oaklow": "InstalledOther notApproved", "oakbug": "InstalledOther notApproved", "oaktoday": "InstalledOther delay", "oakrejected": "InstalledOther rejected",
		"oakneedsrejected": "Missing blockedByRejected", "oakkernel": "Missing", "oaknotes": "InstalledOther noAdvisory",
	}
	if diff := cmp.Diff(want, by); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	for _, it := range s.Items {
		switch it.Name {
		case "oakpartly":
			if it.Title != "oakpartly.x86_64:0:2-1" {
				t.Errorf("oakpartly: %s, the lock takes what is newer than 2-1", it.Title)
			}
		case "oakkernel":
			if it.Detail != "patch SUSE-3 suggests a reboot" {
				t.Errorf("oakkernel: %q", it.Detail)
			}
		}
	}
	d := n.details("--baseline", "/root/reasons.json")
	for _, repo := range d.Repositories {
		if stale := repo.Suite == "shop"; repo.Stale != stale {
			t.Errorf("repository %s: stale %v: %s", repo.Suite, repo.Stale, repo.Detail)
		}
	}
	// zypper keeps away the same.
	out := n.mustRun("zypper", "--no-refresh", "list-updates")
	for name, state := range want {
		_, reason, _ := strings.Cut(state, " ")
		away := slices.Contains([]string{"held", "vendor", "obsoleted", "retracted", "unmetDependency", "conflict", "priority"}, reason) && name != "oakunwanted" && name != "oakpriority"
		if strings.Contains(out, " "+name+" ") && away {
			t.Errorf("%s is %q, and zypper lists it:\n%s", name, state, out)
		}
		if !strings.Contains(out, " "+name+" ") && state == "Missing" {
			t.Errorf("%s is %q, and zypper does not list it:\n%s", name, state, out)
		}
	}
	_, after, code := n.install("--baseline", "/root/reasons.json")
	for name, state := range map[string]string{
		"oakok": "InstalledPendingReboot", "oakpartly": "Missing held", "oakkernel": "InstalledPendingReboot", "oakneeds": "Failed unmetDependency",
		"oakfights": "Failed conflict", "oakneedsrejected": "Failed blockedByRejected", "oaklocked": "Missing held", "oakunwanted": "Missing held", "oakvendor": "Missing vendor",
	} {
		if after[name] != state {
			t.Errorf("after the install %s is %s, want %s", name, after[name], state)
		}
	}
	if code != 1 {
		t.Errorf("install ends with %d", code)
	}
	got := strings.Join(strings.Fields(n.mustRun("rpm", "-q", "oakkernel", "oakok", "oakpartly", "oakvendor", "oakvendors", "oakold", "oakrejected")), " ")
	if got != "oakkernel-1-1.x86_64 oakkernel-2-1.x86_64 oakok-2-1.x86_64 oakpartly-2-1.x86_64 oakvendor-1-1.x86_64 oakvendors-2-1.x86_64 oakold-1-1.x86_64 oakrejected-1-1.x86_64" {
		t.Errorf("rpm has %s", got)
	}
	if locks := n.mustRun("zypper", "--xmlout", "locks"); !strings.Contains(locks, `size="3"`) {
		t.Errorf("the run changed the locks: %s", locks)
	}
}

const suseRun = `package sh 1-1 x86_64 provides="/bin/sh"
package alpha 1.0-1 x86_64
package alpha 1.1-1 x86_64
package alpha 1.2-1 x86_64
package beta 1.0-1 noarch
package beta 1.1-1 x86_64
package gamma 1.0-1 x86_64 requires=dep
package gamma 1.1-1 x86_64 requires="dep >= 2, fresh"
package dep 1-1 noarch
package dep 2-1 noarch
package fresh 1-1 noarch
package kernel-default 5.14-1.1 x86_64 provides="multiversion(kernel)"
package kernel-default 5.14-2.1 x86_64 provides="multiversion(kernel)"
package zypper 1-1 x86_64
package zypper 2-1 x86_64
package broken 1-1 x86_64
package broken 2-1 x86_64 post="exit 1"
package delta 1-1 x86_64
package delta 1:0.5-1 x86_64
advisory SUSE-1 type=security severity=critical issued=2026-01-10 cves=CVE-2026-1 packages=alpha-1.1-1.x86_64
advisory SUSE-2 type=recommended severity=moderate issued=2026-01-10 packages=beta-1.1-1.x86_64,gamma-1.1-1.x86_64,dep-2-1.noarch
advisory SUSE-3 type=security severity=important issued=2026-01-10 reboot=yes packages=kernel-default-5.14-2.1.x86_64
advisory SUSE-4 type=security severity=important issued=2026-01-10 restart=yes packages=zypper-2-1.x86_64
advisory SUSE-5 type=optional severity=low issued=2026-01-10 packages=delta-1:0.5-1.x86_64
advisory SUSE-6 type=feature severity=low issued=2026-01-10 packages=broken-2-1.x86_64
`

func suseRules(classes string) string {
	return `{"OperatingSystem":"SUSE","Name":"rules","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"CLASSIFICATION","Values":[` + classes + `]}]},"ApproveAfterDays":0}]}}`
}

const suseStart = "alpha=1.0 beta=1.0 gamma=1.0 kernel-default=5.14-1.1 zypper=1 delta=1"

// TestZypperRun patches a node and takes it back. Trap Z1, Trap Z2, Trap Z3: a patch that suggests a reboot and one of
// the package manager go in like any other, and what a failing script left behind is told. Trap R4: zypper forgets that
// a reboot is due, the result does not.
func TestZypperRun(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zrun", "sh broken=1 dep=1 "+suseStart)
	n.mustRun("sh", "-c", `sed -i '1a dep' /var/lib/zypp/AutoInstalled || echo dep >/var/lib/zypp/AutoInstalled`) // it came along for gamma
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security","Recommended","Optional"`))
	writeFile(t, filepath.Join(n.root, "root/feature.json"), suseRules(`"Feature"`))
	before := n.packages()
	// What zypper would leave out by itself.
	if out, _ := n.run("zypper", "--non-interactive", "patch", "--dry-run"); !strings.Contains(out, "Run this command once more") || strings.Contains(out, "kernel-default") { // ends with 103
		t.Errorf("zypper patch takes more than the package manager:\n%s", out)
	}
	s, by, code := n.install("--baseline", "/root/all.json")
	want := map[string]string{
		"alpha": "InstalledPendingReboot notApproved", "beta": "InstalledPendingReboot", "gamma": "InstalledPendingReboot", "dep": "InstalledPendingReboot", "kernel-default": "InstalledPendingReboot",
		"zypper": "InstalledPendingReboot", "delta": "InstalledPendingReboot", "broken": "InstalledOther notApproved", "sh": "InstalledOther", "fresh": "InstalledPendingReboot",
	}
	if diff := cmp.Diff(want, by); diff != "" || code != 4 {
		t.Errorf("install ends with %d, %s; states (-want +got):\n%s", code, s.counts(), diff)
	}
	mid := n.packages()
	if diff := cmp.Diff([]string{
		"alpha-1.1-1.x86_64", "beta-1.1-1.x86_64", "broken-1-1.x86_64", "delta-1:0.5-1.x86_64", "dep-2-1.noarch", "fresh-1-1.noarch", "gamma-1.1-1.x86_64",
		"kernel-default-5.14-1.1.x86_64", "kernel-default-5.14-2.1.x86_64", "sh-1-1.x86_64", "zypper-2-1.x86_64",
	}, mid); diff != "" {
		t.Errorf("rpm (-want +got):\n%s", diff)
	}
	auto := n.mustRun("cat", "/var/lib/zypp/AutoInstalled")
	for _, name := range []string{"dep", "fresh"} {
		if !strings.Contains("\n"+auto, "\n"+name+"\n") {
			t.Errorf("%s is not marked as installed for others any more:\n%s", name, auto)
		}
	}
	if strings.Contains("\n"+auto, "\ngamma\n") {
		t.Errorf("gamma is marked as installed for others:\n%s", auto)
	}
	n.mustRun("zypper", "--no-refresh", "patch-check") // ends with 0: nothing is needed any more
	if out, err := n.run("zypper", "--non-interactive", "--no-refresh", "verify", "--dry-run"); err != nil || !strings.Contains(out, "satisfied") {
		t.Errorf("zypper verify: %v\n%s", err, out)
	}
	if s, _ = n.scan("--baseline", "/root/all.json"); !slices.Contains(s.RebootReasons, "patches were installed without the reboot that they wait for") {
		t.Errorf("a reboot is due and not told: %q", s.RebootReasons)
	}
	if out, _ := n.run("sh", "-c", "touch /run/reboot-needed; oakum scan --baseline /root/all.json"); !strings.Contains(out, "/run/reboot-needed is there") {
		t.Errorf("libzypp asks for a reboot, and the result does not tell:\n%s", out)
	}
	n.undoLast()
	if diff := cmp.Diff(before, n.packages()); diff != "" {
		t.Errorf("after the undo (-before +after):\n%s", diff)
	}
	// rpm goes on where a script fails, and zypper ends with 107.
	out, err := n.output("oakum", "install", "--baseline", "/root/feature.json", "--output", "json")
	var d details
	if jerr := json.Unmarshal(out, &d); jerr != nil || !strings.Contains(strings.Join(d.Degraded, "\n"), "broken 0:2-1 is installed, and %post(broken-2-1.x86_64) scriptlet failed, exit status 1") {
		t.Errorf("%v, %v: the result does not tell of the script: %q", err, jerr, d.Degraded)
	}
}

// TestReplacedByAnUpdateOnZypper: an update that obsoletes another installed package takes its place, as zypper does it, and
// is nothing that removes packages. A .repo file with blanks before its keys is read as zypper reads it.
func TestReplacedByAnUpdateOnZypper(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, `package oakmain 1-1 x86_64
package oakmain 2-1 x86_64 obsoletes="oakmain-libs < 2" provides="oakmain-libs = 2"
package oakmain-libs 1-1 x86_64
package oakother 1-1 x86_64
package oakother 2-1 x86_64 conflicts="oakstays"
package oakstays 1-1 x86_64
advisory OAK-1 type=security severity=important issued=2026-01-10 packages=oakmain-2-1.x86_64
`)
	n := r.suseNode(t, "replaced", "oakmain=1 oakmain-libs=1 oakother=1 oakstays=1")
	writeFile(t, filepath.Join(n.root, "etc/zypp/repos.d/oaktest.repo"), "[oaktest]\n  name=oaktest\n  # enabled=0\n  baseurl="+r.url+"\n  enabled=1\n  gpgcheck=0\n")
	before := n.packages()
	if _, by := n.scan(); by["oakmain"] != "Missing" || by["oakother"] == "Missing" {
		t.Errorf("the scan says %v", by)
	}
	out, _ := n.run("oakum", "install") // its exit code says that a reboot is due
	if !strings.Contains(out, "installed, in place of 1 package ") || !strings.Contains(out, "oakmain-libs.x86_64  0:1-1  (removed)  replaced") {
		t.Errorf("the install says\n%s", out)
	}
	if diff := cmp.Diff([]string{"oakmain-2-1.x86_64", "oakother-1-1.x86_64", "oakstays-1-1.x86_64"}, n.packages()); diff != "" {
		t.Errorf("rpm (-want +got):\n%s", diff)
	}
	n.undoLast()
	if diff := cmp.Diff(before, n.packages()); diff != "" {
		t.Errorf("after the undo (-before +after):\n%s", diff)
	}
}

// TestSameVersionOfAnotherVendor: of a version that two repositories have, the one goes in that may take the installed one's
// place. zypper install takes either.
func TestSameVersionOfAnotherVendor(t *testing.T) {
	t.Parallel()
	const suse = ` vendor="SUSE LLC <https://www.suse.com/>"`
	r := newRPMRepo(t, "package oakboth 1-1 x86_64"+suse+"\npackage oakboth 2-1 x86_64"+suse+"\nadvisory OAK-1 type=security severity=important issued=2026-01-10 packages=oakboth-2-1.x86_64\n")
	other := newRPMRepo(t, "package oakboth 2-1 x86_64 vendor=Oak\npackage oakboth 3-1 x86_64 vendor=Oak\n")
	n := r.suseNode(t, "both", "oakboth=1")
	n.addRepo("aaa", other.url, "gpgcheck=0")
	if listed := n.zypperList("list-updates"); len(listed) != 1 || listed[0].Edition != "2-1" {
		t.Errorf("zypper lists %v", listed)
	}
	if _, by, _ := n.install(); !strings.HasPrefix(by["oakboth"], "InstalledPendingReboot") {
		t.Errorf("the install says %v", by)
	}
	if got := n.mustRun("rpm", "-q", "oakboth", "--qf", "%{EVR} %{VENDOR}"); got != "2-1 SUSE LLC <https://www.suse.com/>" {
		t.Errorf("rpm has %s", got)
	}
}

// TestUndoTakesNoOtherVendorsPackage: the old version's number is not enough for an undo. What another vendor has under it
// is another package, and zypper would take that one too.
func TestUndoTakesNoOtherVendorsPackage(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakboth 1-1 x86_64 vendor=Acorn\npackage oakboth 2-1 x86_64 vendor=Acorn\nadvisory OAK-1 type=security severity=important issued=2026-01-10 packages=oakboth-2-1.x86_64\n")
	other := newRPMRepo(t, "package oakboth 1-1 x86_64 vendor=Oak\n")
	n := r.suseNode(t, "undovendor", "oakboth=1")
	n.addRepo("aaa", other.url, "gpgcheck=0\npriority=10")
	n.addRepo("oaktest", r.url, "gpgcheck=0\npriority=10")
	n.install()
	if got := n.mustRun("rpm", "-q", "oakboth", "--qf", "%{EVR} %{VENDOR}"); got != "2-1 Acorn" {
		t.Fatalf("rpm has %s", got)
	}
	runs := strings.Fields(n.mustRun("ls", "-t", "/var/lib/oakum/runs"))
	out, err := n.run("oakum", "undo", "--yes", runs[0])
	if got := n.mustRun("rpm", "-q", "oakboth", "--qf", "%{EVR} %{VENDOR}"); err == nil || got != "2-1 Acorn" || !strings.Contains(out, "another build") {
		t.Errorf("the undo ends with %v, rpm has %s\n%s", err, got, out)
	}
}

// undoLast takes the last run of a node back.
func (n *debNode) undoLast() {
	n.t.Helper()
	runs := strings.Fields(n.mustRun("ls", "-t", "/var/lib/oakum/runs"))
	if out, err := n.run("oakum", "undo", "--yes", runs[0]); err != nil {
		n.t.Errorf("undo %s: %v\n%s", runs[0], err, out)
	}
}

// TestTrap_Z1_SkippedRepositories: a repository that cannot be refreshed is named and does not stop a scan or an install.
func TestTrap_Z1_SkippedRepositories(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zskip", suseStart)
	n.addRepo("never", "http://127.0.0.1:9/x", "gpgcheck=0")
	n.addRepo("signed", r.url, "gpgcheck=1")
	if _, err := n.run("zypper", "--non-interactive", "list-updates"); err == nil {
		t.Error("zypper does not mind a repository that it cannot fetch")
	}
	d := n.details()
	stale := map[string]string{}
	for _, repo := range d.Repositories {
		if repo.Stale {
			stale[repo.Suite] = repo.Detail
		}
	}
	if len(stale) != 2 || !strings.Contains(stale["never"], "Failed to connect") || stale["signed"] == "" {
		t.Errorf("stale repositories: %v", stale)
	}
	if said := strings.Join(d.Degraded, "\n"); !strings.Contains(said, "not refreshed: never: ") || !strings.Contains(said, "not refreshed: signed: ") {
		t.Errorf("degraded: %s", said)
	}
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security"`))
	if _, by, _ := n.install("--baseline", "/root/all.json"); by["alpha"] != "InstalledPendingReboot notApproved" {
		t.Errorf("alpha is %q", by["alpha"])
	}
	if n.mustRun("rpm", "-qa", "gpg-pubkey*") != "" {
		t.Error("a key was imported")
	}
}

// TestTrap_Z4_LockHolder: another zypper is waited for, and named.
func TestTrap_Z4_LockHolder(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun+"package slow 1-1 x86_64 post=\"/usr/bin/sleep 4\"\n")
	n := r.suseNode(t, "zlock", "sh "+suseStart)
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security"`))
	out := n.mustRun("sh", "-c", `zypper --non-interactive install slow >/dev/null & sleep 1.5; oakum install --baseline /root/all.json 2>&1; wait`)
	if !strings.Contains(out, "waiting: ") || !strings.Contains(out, "zypp.pid is locked by process ") || !strings.Contains(out, "zypper --non-interactive install slow") {
		t.Errorf("nobody says who is waited for:\n%s", out)
	}
	if got := n.packages(); !slices.Contains(got, "slow-1-1.x86_64") || !slices.Contains(got, "alpha-1.1-1.x86_64") {
		t.Errorf("rpm has %v", got)
	}
}

// TestTrap_Z6_InterruptedCommit: a package that is installed twice is mended before anything else, and dependencies that
// do not hold are told.
func TestTrap_Z6_InterruptedCommit(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zverify", "dep=1 "+suseStart)
	n.mustRun("sh", "-c", "cd /root && zypper --non-interactive --pkg-cache-dir /root/c download alpha=1.1 >/dev/null && rpm -i --force --nodeps /root/c/*/alpha-1.1-1.x86_64.rpm && rpm -e --nodeps dep")
	if got := strings.Fields(n.mustRun("rpm", "-q", "alpha")); len(got) != 2 {
		t.Fatalf("alpha is there as %v", got)
	}
	if said := strings.Join(n.details().Degraded, "\n"); !strings.Contains(said, "installed twice: alpha") {
		t.Errorf("a scan says %q", said)
	}
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security"`))
	out, err := n.output("oakum", "install", "--baseline", "/root/all.json", "--output", "json")
	var d details
	if jerr := json.Unmarshal(out, &d); jerr != nil {
		t.Fatalf("oakum install: %v %v\n%s", err, jerr, out)
	}
	said := strings.Join(d.Degraded, "\n")
	if !strings.Contains(said, "installed twice; finished: alpha.x86_64") || !strings.Contains(said, "dependencies of what is installed do not hold") {
		t.Errorf("an install says %q", said)
	}
	if got := strings.Fields(n.mustRun("rpm", "-q", "alpha")); len(got) != 1 || got[0] != "alpha-1.1-1.x86_64" {
		t.Errorf("alpha is there as %v", got)
	}
}

// TestTrap_Z8_Transactional: a system whose root is a snapshot is scanned, and not patched in place.
func TestTrap_Z8_Transactional(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zsnap", suseStart)
	writeFile(t, filepath.Join(n.root, "usr/sbin/transactional-update"), "#!/bin/sh\n")
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security"`))
	before := n.packages()
	out, err := n.run("sh", "-c", `mount --bind /usr /usr && mount -o remount,bind,ro /usr; oakum scan --baseline /root/all.json; oakum install --baseline /root/all.json`)
	if err == nil || !strings.Contains(out, "alpha.x86_64           Missing") && !strings.Contains(strings.Join(strings.Fields(out), " "), "alpha.x86_64 Missing") || !strings.Contains(out, "transactional-update makes") {
		t.Errorf("%v:\n%s", err, out)
	}
	if diff := cmp.Diff(before, n.packages()); diff != "" {
		t.Errorf("packages changed:\n%s", diff)
	}
}

// TestZypperSources patches from a baseline's sources and touches no file of the node's zypper.
func TestZypperSources(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zsource", suseStart)
	other := newRPMRepo(t, "package alpha 1.5-1 x86_64\nadvisory OWN-1 type=security severity=critical issued=2026-01-10 packages=alpha-1.5-1.x86_64\n")
	source, err := json.Marshal("[own]\nname=own\nbaseurl=" + other.url + "\nenabled=1\ngpgcheck=0\n")
	if err != nil {
		t.Fatal(err)
	}
	rules := suseRules(`"Security"`)
	writeFile(t, filepath.Join(n.root, "root/own.json"), rules[:len(rules)-1]+`,"Sources":[{"Name":"own","Products":["*"],"Configuration":`+string(source)+`}]}`)
	sum := func() string {
		return n.mustRun("sh", "-c", "find /etc/zypp /var/cache/zypp -type f | sort | xargs sha256sum")
	}
	before := sum()
	_, by := n.scan("--baseline", "/root/own.json")
	if by["alpha"] != "Missing" || by["delta"] != "InstalledOther" {
		t.Errorf("states: %v", by)
	}
	if diff := cmp.Diff(before, sum()); diff != "" {
		t.Errorf("a scan changed files of the node:\n%s", diff)
	}
	if _, by, _ = n.install("--baseline", "/root/own.json"); by["alpha"] != "InstalledPendingReboot" || !slices.Contains(n.packages(), "alpha-1.5-1.x86_64") {
		t.Errorf("alpha is %q, rpm has %v", by["alpha"], n.packages())
	}
	if after := n.mustRun("sh", "-c", "find /etc/zypp /var/cache/zypp/raw /var/cache/zypp/packages -type f | sort | xargs sha256sum"); !strings.Contains(before, strings.SplitN(after, "\n", 2)[0]) || strings.Contains(after, "own") {
		t.Errorf("an install changed files of the node:\n%s\n%s", before, after)
	}
}

// zypperUpdate is a line of what zypper lists.
type zypperUpdate struct {
	Name     string `xml:"name,attr"`
	Edition  string `xml:"edition,attr"`
	Status   string `xml:"status,attr"`
	Category string `xml:"category,attr"`
}

// zypperList is what zypper lists. Patches that wait for one of the package manager itself are in a list of their own.
func (n *debNode) zypperList(what ...string) []zypperUpdate {
	n.t.Helper()
	out, err := n.output(append([]string{"zypper", "--xmlout", "--no-refresh"}, what...)...)
	var u struct {
		Now   []zypperUpdate `xml:"update-status>update-list>update"`
		Later []zypperUpdate `xml:"update-status>blocked-update-list>update"`
	}
	if xerr := xml.NewDecoder(bytes.NewReader(out)).Decode(&u); xerr != nil {
		n.t.Fatalf("zypper %s: %v, %v\n%s", strings.Join(what, " "), err, xerr, out)
	}
	return append(u.Now, u.Later...)
}

// TestZchunkMetadata reads a node whose package manager kept the zchunk files of a repository in place of the plain ones.
func TestZchunkMetadata(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("zck"); err != nil {
		missing(t, "zchunk metadata: %v", err)
	}
	r := newRPMRepo(t, suseRun)
	n := r.suseNode(t, "zchunk", suseStart)
	dir := filepath.Join(r.dir, "repo")
	notices, err := exec.Command("sh", "-c", "zcat "+dir+"/repodata/*updateinfo.xml.gz").Output()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(r.dir, "updateinfo.xml"), string(notices))
	for _, args := range [][]string{{"createrepo_c", "-q", "--zck", dir}, {"modifyrepo_c", "--zck", "--mdtype=updateinfo", filepath.Join(r.dir, "updateinfo.xml"), dir + "/repodata"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	writeFile(t, filepath.Join(n.root, "root/all.json"), suseRules(`"Security","Recommended"`))
	_, want := n.scan("--baseline", "/root/all.json")
	raw := filepath.Join(n.root, "var/cache/zypp/raw/oaktest/repodata")
	for _, pattern := range []string{"*primary.xml", "*updateinfo.xml"} {
		for ext, do := range map[string]func(string) error{
			".gz": func(f string) error { return os.Remove(filepath.Join(raw, filepath.Base(f))) },
			".zck": func(f string) error {
				b, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(raw, filepath.Base(f)), b, 0o644)
			},
		} {
			found, err := filepath.Glob(filepath.Join(dir, "repodata", pattern+ext))
			if err != nil || len(found) != 1 {
				t.Fatalf("%s%s: %v, %v", pattern, ext, found, err)
			}
			if err := do(found[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.mustRun("rm", "-rf", "/var/lib/oakum/cache")
	_, got := n.scan("--no-refresh", "--baseline", "/root/all.json")
	if diff := cmp.Diff(want, got); diff != "" || got["alpha"] != "Missing" {
		t.Errorf("(-plain +zchunk):\n%s", diff)
	}
}

// TestScanOfAnotherRoot looks at the root of a node from a machine that has no dnf and no zypper to ask.
func TestScanOfAnotherRoot(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oakfree 1-1 x86_64\npackage oakfree 2-1 x86_64\npackage oakneeds 1-1 x86_64\npackage oakneeds 2-1 x86_64 requires=oak-nobody\n"+
		"advisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oakfree-2-1.x86_64,oakneeds-2-1.x86_64\n")
	for system, tool := range map[string]string{"sles15": "zypper", "rhel9": "dnf"} {
		t.Run(system, func(t *testing.T) {
			if _, err := os.Stat("/usr/bin/" + tool); err == nil {
				t.Skip("this machine has " + tool)
			}
			eq := map[string]string{"zypper": "=", "dnf": "-"}[tool]
			n := r.node(t, "root"+system, system, "oakfree"+eq+"1-1 oakneeds"+eq+"1-1")
			n.scan()
			var stderr bytes.Buffer
			cmd := exec.Command(binary(t), "scan", "--root", n.root, "--output", "json")
			cmd.Stderr = &stderr
			out, _ := cmd.Output() // its exit code says whether the node is compliant
			var s struct {
				nodeScan
				Degraded []string
			}
			if err := json.Unmarshal(out, &s); err != nil {
				t.Fatalf("%v\n%s%s", err, out, &stderr)
			}
			if s.MissingCount != 2 || !strings.Contains(strings.Join(s.Degraded, "\n"), tool+" was not asked which updates go in together") {
				t.Errorf("%d missing, degraded %q", s.MissingCount, s.Degraded)
			}
		})
	}
}
