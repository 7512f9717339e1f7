//go:build linux

package acceptance

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSUSENodeByAWSCLI patches a booted node with zypper from the unmodified AWS CLI, first without its reboot and then with
// it: by the predefined baseline, which takes patches a week after their release; with a patch that suggests a reboot, a
// patch for zypper itself and one that needs a person.
func TestSUSENodeByAWSCLI(t *testing.T) {
	t.Parallel()
	needNspawn(t)
	r := newRPMRepo(t, `package sh 5-1 x86_64 provides=/bin/sh
package libzypp 17.1-1 x86_64
package libzypp 17.2-1 x86_64
package openssl 3.0-1 x86_64
package openssl 3.0-2 x86_64
package kernel-default 5.14-1 x86_64 provides="multiversion(kernel)"
package kernel-default 5.14-2 x86_64 provides="multiversion(kernel)"
package curl 7-2 x86_64
package curl 7-3 x86_64
package zlib 1-1 x86_64
package zlib 1-2 x86_64
advisory SUSE-1 type=security severity=important issued=2026-06-01 cves=CVE-2026-1 packages=openssl-3.0-2.x86_64
advisory SUSE-2 type=security severity=critical issued=2026-06-02 cves=CVE-2026-2 reboot=yes packages=kernel-default-5.14-2.x86_64
advisory SUSE-3 type=security severity=important issued=2026-06-03 restart=yes packages=libzypp-17.2-1.x86_64
advisory SUSE-4 type=security severity=low issued=2026-06-04 packages=curl-7-3.x86_64
advisory SUSE-5 type=recommended severity=moderate issued=2026-06-04 packages=zlib-1-2.x86_64
`)
	s := install(t, "sqlite")
	n := r.node(t, "suseaws", "sles15", "sh libzypp=17.1-1 openssl=3.0-1 kernel-default=5.14-1 curl=7-2 zlib=1-1", "--systemd")
	writeFile(t, filepath.Join(n.root, "etc/zypp/zypp.conf"), suseConfig)
	n.boot()
	a := n.serve(s, "suse")

	if g := s.patch(a, map[string]string{"Operation": "Scan"}); g.at("Status").String() != "Success" {
		t.Fatalf("scan: %s", g.at("StandardErrorContent"))
	}
	s.state(a).is("MissingCount", 3, "InstalledOtherCount", 3, "InstalledCount", 0, "FailedCount", 0)
	states := func(state string) map[string]string {
		t.Helper()
		out := map[string]string{}
		list := s.aws("ssm", "describe-instance-patches", "--instance-id", a.id, "--filters", "Key=State,Values="+state)
		for i := range list.at("Patches").len() {
			p := list.at("Patches", i)
			out[p.at("KBId").String()] = strings.Join([]string{p.at("Title").String(), p.at("Classification").String(), p.at("Severity").String(), p.at("CVEIds").String()}, " ")
		}
		return out
	}
	want := map[string]string{
		"openssl.x86_64":        "openssl.x86_64:0:3.0-2 Security Important CVE-2026-1",
		"kernel-default.x86_64": "kernel-default.x86_64:0:5.14-2 Security Critical CVE-2026-2",
		"libzypp.x86_64":        "libzypp.x86_64:0:17.2-1 Security Important ",
	}
	if diff := cmp.Diff(want, states("Missing")); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}

	boot := n.bootID()
	if g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot"}); g.at("Status").String() != "Success" {
		t.Fatalf("install: %s", g.at("StandardErrorContent"))
	}
	if n.bootID() != boot {
		t.Error("NoReboot, and the node was rebooted")
	}
	s.state(a).is("MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", 3, "RebootOption", "NoReboot", "Operation", "Install")
	for name, title := range want { // CVEs are listed of what is missing or failed only
		title, _, _ = strings.Cut(title, "CVE-")
		want[name] = title
	}
	if diff := cmp.Diff(want, states("InstalledPendingReboot")); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	// Both kernels are there until a person or purge-kernels takes the old one away.
	out := strings.Join(strings.Fields(n.mustRun("rpm", "-q", "openssl", "libzypp", "curl", "zlib", "kernel-default")), " ")
	if out != "openssl-3.0-2.x86_64 libzypp-17.2-1.x86_64 curl-7-2.x86_64 zlib-1-1.x86_64 kernel-default-5.14-1.x86_64 kernel-default-5.14-2.x86_64" {
		t.Errorf("rpm has %s", out)
	}

	// Nothing is missing any more, and a reboot is due: an Install may do that alone.
	if g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "RebootIfNeeded"}); g.at("Status").String() != "Success" {
		t.Fatalf("second install: %s", g.at("StandardErrorContent"))
	}
	if now := n.bootID(); now == boot || now == "" {
		t.Errorf("the node was not rebooted: boot id %q", now)
	}
	s.state(a).is("MissingCount", 0, "InstalledPendingRebootCount", 0, "InstalledCount", 3, "RebootOption", "RebootIfNeeded")
	s.aws("ssm", "list-compliance-summaries", "--filters", "Key=ComplianceType,Values=Patch").at("ComplianceSummaryItems", 0, "CompliantSummary").is("CompliantCount", 1)
	av := s.aws("ssm", "describe-available-patches", "--filters", "Key=PRODUCT,Values=Suse15.5", "Key=CVE_ID,Values=CVE-2026-2")
	if av.at("Patches").len() != 1 {
		t.Fatalf("available patches of CVE-2026-2: %s", av)
	}
	av.at("Patches", 0).is("Name", "kernel-default", "Epoch", 0, "Version", "5.14", "Release", "2", "Arch", "x86_64", "Classification", "Security", "Severity", "Critical")
	id := s.aws("ssm", "send-command", "--document-name", "AWS-GatherSoftwareInventory", "--instance-ids", a.id).at("Command", "CommandId").String()
	s.commandEnd(id, time.Minute)
	apps := s.aws("ssm", "list-inventory-entries", "--instance-id", a.id, "--type-name", "AWS:Application", "--filters", "Key=Name,Values=libzypp,Type=Equal")
	if apps.at("Entries").len() != 1 {
		t.Fatalf("inventory of libzypp: %s", apps)
	}
	apps.at("Entries", 0).is("Version", "17.2", "Release", "1", "Architecture", "x86_64")
	if out, err := n.run("oakum", "doctor"); err != nil {
		t.Errorf("oakum doctor: %v\n%s", err, out)
	}
}
