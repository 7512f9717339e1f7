//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reasonRepo has a package for each thing that keeps an update of an RPM node away.
const reasonRepo = `package oakok 1-1 x86_64
package oakok 2-1 x86_64
package oakexcluded 1-1 x86_64
package oakexcluded 2-1 x86_64
package oaklocked 1-1 x86_64
package oaklocked 2-1 x86_64
package oakneeds 1-1 x86_64
package oakneeds 2-1 x86_64 requires="oak-nobody"
package oakfights 1-1 x86_64
package oakfights 2-1 x86_64 conflicts=oakstays
package oakstays 1-1 x86_64
package oakold 1-1 x86_64
package oaknew 2-1 x86_64 obsoletes="oakold < 2"
package oakmodule 1-1 x86_64
package oakmodule 2-1 x86_64
package oakstream 1-1 x86_64
package oakstream 2-1 x86_64
package oakpriority 1-1 x86_64
package oakpriority 3-1 x86_64
package oakadvised 1-1 x86_64
package oakadvised 2-1 x86_64
package oaklow 1-1 x86_64
package oaklow 2-1 x86_64
package oakbug 1-1 x86_64
package oakbug 2-1 x86_64
package oaknone 1-1 x86_64
package oaknone 2-1 x86_64
package oaktoday 1-1 x86_64
package oaktoday 2-1 x86_64
package oakrejected 1-1 x86_64
package oakrejected 2-1 x86_64
package oakneedsrejected 1-1 x86_64
package oakneedsrejected 2-1 x86_64 requires="oakrejected >= 2"
package oakunsigned 1-1 x86_64
package oakkernel 1-1 x86_64 provides="installonlypkg(kernel)"
package oakkernel 2-1 x86_64 provides="installonlypkg(kernel)"
package oakcert 1-1 x86_64
package oakother 1-1 x86_64
package oakother 3-1 x86_64
advisory OAK-6 type=security severity=Important issued=2026-01-10 packages=oakother-3-1.x86_64
advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oakok-2-1.x86_64,oakexcluded-2-1.x86_64,oaklocked-2-1.x86_64,oakneeds-2-1.x86_64,oakfights-2-1.x86_64,oakmodule-2-1.x86_64,oakstream-2-1.x86_64
advisory OAK-2 type=security severity=Important issued=2026-01-10 packages=oakpriority-3-1.x86_64,oakneedsrejected-2-1.x86_64,oakrejected-2-1.x86_64,oakkernel-2-1.x86_64
advisory OAK-3 type=security severity=Low issued=2026-01-10 packages=oaklow-2-1.x86_64
advisory OAK-4 type=enhancement issued=2026-01-10 packages=oakbug-2-1.x86_64
advisory OAK-5 type=security severity=Important issued=now packages=oaktoday-2-1.x86_64
`

// reasonModules puts oakstream 2-1 into a stream that is not enabled, and oakmodule 2-1 into one that is.
const reasonModules = `---
document: modulemd
version: 2
data:
  name: oaklang
  stream: "2"
  version: 1
  context: c0ffee
  arch: x86_64
  summary: later
  description: later
  license: {module: [MIT]}
  artifacts: {rpms: ["oakstream-0:2-1.x86_64"]}
---
document: modulemd
version: 2
data:
  name: oaktools
  stream: "1"
  version: 1
  context: c0ffee
  arch: x86_64
  summary: now
  description: now
  license: {module: [MIT]}
  artifacts: {rpms: ["oakmodule-0:2-1.x86_64"]}
`

const reasonBaseline = `{"OperatingSystem":"REDHAT_ENTERPRISE_LINUX","Name":"reasons","ApprovalRules":{"PatchRules":[
{"PatchFilterGroup":{"PatchFilters":[{"Key":"CLASSIFICATION","Values":["Security"]},{"Key":"SEVERITY","Values":["Critical","Important"]}]},"ApproveAfterDays":7}]},
"ApprovedPatches":["oaknone"],"RejectedPatches":["oakrejected-2*"],"RejectedPatchesAction":"BLOCK"}`

// TestReasonsOnDNF has real dnf keep updates away for every reason that an RPM node knows, and Oakum name each.
// Trap Y1, Trap Y3, Trap Y4, Trap Y7, Trap Y9, Trap Y11, Trap Y13, Trap Y14.
func TestReasonsOnDNF(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, reasonRepo)
	modules := filepath.Join(t.TempDir(), "modules.yaml")
	writeFile(t, modules, reasonModules)
	if out, err := exec.Command("modifyrepo_c", "--mdtype=modules", modules, filepath.Join(r.dir, "repo/repodata")).CombinedOutput(); err != nil {
		t.Fatalf("add modules: %v: %s", err, out)
	}
	const names = "ok excluded locked needs fights stays old module stream priority advised low bug none today rejected needsrejected unsigned kernel cert other"
	var install []string
	for _, n := range strings.Fields(names) {
		install = append(install, "oak"+n+"-1-1")
	}
	n := r.node(t, "reasons", "rhel9", "--setopt=module_platform_id=platform:el9 "+strings.Join(install, " "))
	// It excludes a package of its own, which then hides nothing, and says less of OAK-6 than the other one.
	preferred := newRPMRepo(t, `package oakpriority 2-1 x86_64
package oakother 2-1 x86_64
advisory OAK-6 type=security severity=Low issued=2026-01-10 updated=2026-03-10 packages=oakother-3-1.x86_64
`)
	bare := newRPMRepo(t, "package oakadvised 2-1 x86_64\npackage oakadvised 3-1 x86_64\n")
	bare.strip("updateinfo")
	sold := newRPMRepo(t, "package oakcert 2-1 x86_64\nadvisory OAK-9 type=security severity=Critical issued=2026-01-10 packages=oakcert-2-1.x86_64\n")
	unsigned := newRPMRepo(t, "package oakunsigned 2-1 x86_64\nadvisory OAK-8 type=security severity=Critical issued=2026-01-10 packages=oakunsigned-2-1.x86_64\n")
	down := newRPMRepo(t, "package oakdown 1-1 x86_64\n")
	down.gone.Store(true)
	var repos strings.Builder
	for _, x := range []struct {
		id, more string
		r        *rpmRepo
	}{
		{"oaktest", "gpgcheck=0", r},
		{"preferred", "gpgcheck=0\npriority=10\nexcludepkgs=oakother", preferred},
		{"bare", "gpgcheck=0", bare},
		{"sold", "gpgcheck=0\nsslclientcert=/etc/pki/entitlement/1.pem\nsslclientkey=/etc/pki/entitlement/1-key.pem", sold},
		{"unsigned", "gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/oak", unsigned},
		{"down", "gpgcheck=0\nskip_if_unavailable=1", down},
	} {
		fmt.Fprintf(&repos, "[%s]\nname=%s\nbaseurl=%s\nenabled=1\n%s\n\n", x.id, x.id, x.r.url, x.more)
	}
	writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/oaktest.repo"), repos.String())
	conf := filepath.Join(n.root, "etc/dnf/dnf.conf")
	b, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, conf, string(b)+"excludepkgs=oakexcl*\nmodule_platform_id=platform:el9\n")
	writeFile(t, filepath.Join(n.root, "etc/dnf/plugins/versionlock.list"), "oaklocked-0:1-1.*\n")
	writeFile(t, filepath.Join(n.root, "etc/dnf/modules.d/oaktools.module"), "[oaktools]\nname=oaktools\nstream=1\nprofiles=\nstate=enabled\n")
	writeFile(t, filepath.Join(n.root, "root/reasons.json"), reasonBaseline)
	s, by := n.scan("--baseline", "/root/reasons.json")
	want := map[string]string{
		"oakok": "Missing", "oakexcluded": "Missing excluded", "oaklocked": "Missing held", "oakneeds": "Missing unmetDependency", "oakfights": "Missing conflict",
		"oakstays": "InstalledOther", "oakold": "InstalledOther obsoleted", "oakmodule": "Missing", "oakstream": "InstalledOther module",
		"oakpriority": "Missing priority", "oakadvised": "InstalledOther noAdvisory", "oaklow": "InstalledOther notApproved", "oakbug": "InstalledOther notApproved",
		"oaknone": "InstalledOther notSecurity", "oaktoday": "InstalledOther delay", "oakrejected": "InstalledOther rejected",
		"oakneedsrejected": "Missing blockedByRejected", "oakunsigned": "Missing", "oakkernel": "Missing", "oakcert": "Missing entitlement", "oakother": "Missing",
	}
	if diff := cmp.Diff(want, by); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	// A repository that dnf would skip without a word is named, and one without notices too.
	for _, r := range s.Repositories {
		switch r.Suite {
		case "down":
			if !r.Missing || !strings.Contains(r.Detail, "503") {
				t.Errorf("the repository that is down: %+v", r)
			}
		case "bare", "preferred":
			if r.NoAdvisories != (r.Suite == "bare") {
				t.Errorf("notices of %+v", r)
			}
		}
	}
	// dnf keeps away the same: what it lists is what has none of these reasons.
	out, _ := n.run("dnf", "-q", "-C", "check-update")
	for _, it := range s.Items {
		away := strings.Contains(" excluded held module entitlement priority obsoleted ", " "+it.Reason+" ")
		if listed := strings.Contains(out, "\n"+it.ID+" ") && !strings.Contains(it.Reason, "obsoleted"); listed == away && it.Reason != "entitlement" && it.Reason != "priority" && it.AvailableVersion != "" {
			t.Errorf("%s: %s, dnf lists it: %v\n%s", it.ID, it.Reason, listed, out)
		}
	}
	installed, after, code := n.install("--baseline", "/root/reasons.json")
	for name, state := range map[string]string{
		"oakok": "InstalledPendingReboot", "oakmodule": "InstalledPendingReboot", "oakkernel": "InstalledPendingReboot", "oakunsigned": "Failed downloadFailed",
		"oakneedsrejected": "Failed blockedByRejected", "oakneeds": "Failed unmetDependency", "oakfights": "Failed conflict", "oaklocked": "Missing held", "oakexcluded": "Missing excluded",
	} {
		if after[name] != state {
			t.Errorf("after the install %s is %s, want %s", name, after[name], state)
		}
	}
	if code != 1 {
		t.Errorf("install ends with %d: %+v", code, installed.counts())
	}
	if got := strings.Join(strings.Fields(n.mustRun("rpm", "-q", "oakkernel", "oakok", "oakunsigned", "oakold")), " "); got != "oakkernel-1-1.x86_64 oakkernel-2-1.x86_64 oakok-2-1.x86_64 oakunsigned-1-1.x86_64 oakold-1-1.x86_64" {
		t.Errorf("rpm has %s", got)
	}
	if out := n.mustRun("rpm", "-qa", "gpg-pubkey*"); out != "" {
		t.Errorf("a key was imported: %s", out)
	}
}

// strip takes a kind of metadata out of a repository.
func (r *rpmRepo) strip(kind string) {
	r.t.Helper()
	out, err := exec.Command("modifyrepo_c", "--remove", kind, filepath.Join(r.dir, "repo/repodata")).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not found") {
		r.t.Fatalf("take %s out of the repository: %v: %s", kind, err, out)
	}
}

// TestSourcesOnDNF patches from a baseline's own sources, with the node's repositories gone and no file of it touched.
func TestSourcesOnDNF(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, "package oaksource 1-1 x86_64\n")
	own := newRPMRepo(t, "package oaksource 2-1 x86_64\nadvisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oaksource-2-1.x86_64\n")
	n := r.node(t, "sources", "rhel9", "oaksource")
	r.gone.Store(true)
	files := func() string {
		return n.mustRun("sh", "-c", "cat /etc/yum.repos.d/* /etc/dnf/dnf.conf; ls -la /etc/yum.repos.d /etc/dnf; ls /var/cache/dnf")
	}
	before := files()
	b, err := json.Marshal(map[string]any{
		"OperatingSystem": "REDHAT_ENTERPRISE_LINUX", "Name": "sources",
		"ApprovalRules": map[string]any{"PatchRules": []any{map[string]any{"PatchFilterGroup": map[string]any{"PatchFilters": []any{}}, "ApproveAfterDays": 0}}},
		"Sources":       []any{map[string]any{"Name": "own", "Products": []string{"*"}, "Configuration": "[own]\nname=own\nbaseurl=" + own.url + "\nenabled=1\ngpgcheck=0\n"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(n.root, "root/sources.json"), string(b))
	if _, by := n.scan("--baseline", "/root/sources.json"); by["oaksource"] != "Missing" {
		t.Errorf("scan: %v", by)
	}
	if _, by, code := n.install("--baseline", "/root/sources.json"); by["oaksource"] != "InstalledPendingReboot" || code != 4 {
		t.Errorf("install: %d, %v", code, by)
	}
	if got := strings.TrimSpace(n.mustRun("rpm", "-q", "oaksource")); got != "oaksource-2-1.x86_64" {
		t.Errorf("rpm has %s", got)
	}
	if after := files(); after != before {
		t.Errorf("the node's files have changed (-before +after):\n%s", cmp.Diff(before, after))
	}
}
