//go:build linux

package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRPMNodeByAWSCLI patches a booted RPM node by the AWS CLI: a custom baseline, a scan, an install with its reboot, and
// what the service says afterwards.
func TestRPMNodeByAWSCLI(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, workedRepo)
	s := install(t, "sqlite")
	n := r.node(t, "rpmaws", "rhel9", "openssl-3.0-1 openssl-libs-3.0-2 curl-7-2 bash-5-1 zlib-1-1 sudo-1-1 vim-8-1 tmux-3-1", "--systemd")
	n.boot()
	a := n.serve(s, "rpm")
	s.aws("ssm", "create-patch-baseline", "--name", "worked", "--operating-system", "REDHAT_ENTERPRISE_LINUX", "--approval-rules",
		`PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=CLASSIFICATION,Values=[Security]},{Key=SEVERITY,Values=[Critical,Important]}]},ApproveAfterDays=7,ComplianceLevel=CRITICAL}]`)
	id := s.aws("ssm", "describe-patch-baselines", "--filters", "Key=NAME_PREFIX,Values=worked").at("BaselineIdentities", 0, "BaselineId").String()
	s.aws("ssm", "register-patch-baseline-for-patch-group", "--baseline-id", id, "--patch-group", "rpm")

	if g := s.patch(a, map[string]string{"Operation": "Scan"}); g.at("Status").String() != "Success" {
		t.Fatalf("scan: %s", g.at("StandardErrorContent"))
	}
	s.state(a).is("BaselineId", id, "MissingCount", 2, "InstalledCount", 2, "InstalledOtherCount", 4, "NotApplicableCount", 2, "CriticalNonCompliantCount", 2, "SecurityNonCompliantCount", 2)
	missing := s.aws("ssm", "describe-instance-patches", "--instance-id", a.id, "--filters", "Key=State,Values=Missing")
	got := map[string]string{}
	for i := range missing.at("Patches").len() {
		p := missing.at("Patches", i)
		got[p.at("KBId").String()] = strings.Join([]string{p.at("Title").String(), p.at("Classification").String(), p.at("Severity").String(), p.at("CVEIds").String()}, " ")
	}
	want := map[string]string{"openssl.x86_64": "openssl.x86_64:0:3.0-2 Security Important CVE-2026-1", "curl.x86_64": "curl.x86_64:0:7-3 Security Important "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	boot := n.bootID()
	began := time.Now().Add(-time.Minute)
	if g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "RebootIfNeeded"}); g.at("Status").String() != "Success" {
		t.Fatalf("install: %s", g.at("StandardErrorContent"))
	}
	if now := n.bootID(); now == boot || now == "" {
		t.Errorf("the node was not rebooted: boot id %q", now)
	}
	st := s.state(a)
	st.is("MissingCount", 0, "FailedCount", 0, "InstalledCount", 4, "InstalledPendingRebootCount", 0, "CriticalNonCompliantCount", 0, "Operation", "Install", "RebootOption", "RebootIfNeeded")
	if st.at("OperationEndTime").time().Before(began) {
		t.Errorf("the operation ended at %s", st.at("OperationEndTime"))
	}
	if out := strings.Join(strings.Fields(n.mustRun("rpm", "-q", "openssl", "curl", "bash", "zlib")), " "); out != "openssl-3.0-2.x86_64 curl-7-3.x86_64 bash-5-1.x86_64 zlib-1-1.x86_64" {
		t.Errorf("rpm has %s", out)
	}
	s.aws("ssm", "list-compliance-summaries", "--filters", "Key=ComplianceType,Values=Patch").at("ComplianceSummaryItems", 0, "CompliantSummary").is("CompliantCount", 1)
	av := s.aws("ssm", "describe-available-patches", "--filters", "Key=PRODUCT,Values=RedhatEnterpriseLinux9.4", "Key=CVE_ID,Values=CVE-2026-1")
	if av.at("Patches").len() != 2 {
		t.Fatalf("available patches of CVE-2026-1: %s", av)
	}
	av.at("Patches", 0).is("Name", "openssl", "Epoch", 0, "Version", "3.0", "Release", "2", "Arch", "x86_64", "Classification", "Security", "Severity", "Important",
		"AdvisoryIds", `["RHSA-1"]`, "CVEIds", `["CVE-2026-1"]`, "Repository", "oaktest")
	effective := s.aws("ssm", "describe-effective-patches-for-patch-baseline", "--baseline-id", id)
	status := map[string]string{}
	for i := range effective.at("EffectivePatches").len() {
		p := effective.at("EffectivePatches", i)
		status[p.at("Patch", "Name").String()] = p.at("PatchStatus", "DeploymentStatus").String() + " " + p.at("PatchStatus", "ComplianceLevel").String()
	}
	if diff := cmp.Diff(map[string]string{"openssl": "APPROVED CRITICAL", "openssl-libs": "APPROVED CRITICAL", "curl": "APPROVED CRITICAL", "sudo": "APPROVED CRITICAL"}, status); diff != "" {
		t.Errorf("effective patches (-want +got):\n%s", diff)
	}
	id = s.aws("ssm", "send-command", "--document-name", "AWS-GatherSoftwareInventory", "--instance-ids", a.id).at("Command", "CommandId").String()
	s.commandEnd(id, time.Minute)
	apps := s.aws("ssm", "list-inventory-entries", "--instance-id", a.id, "--type-name", "AWS:Application", "--filters", "Key=Name,Values=openssl,Type=Equal")
	if apps.at("Entries").len() != 1 {
		t.Fatalf("inventory of openssl: %s", apps)
	}
	apps.at("Entries", 0).is("Version", "3.0", "Release", "2", "Epoch", "0", "Architecture", "x86_64")
	rpmqa := sortedLines(n.mustRun("rpm", "-qa", "--qf", "%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\\n"))
	if diff := cmp.Diff(rpmqa, column(s.content(a.id, "AWS:Application"), "Name", "Epoch", "Version", "Release", "Architecture")); diff != "" || len(rpmqa) < 4 {
		t.Errorf("%d applications (-rpm +inventory):\n%.2000s", len(rpmqa), diff)
	}
	if out, err := n.run("oakum", "doctor"); err != nil || !strings.Contains(out, "1 of 1 fresh") && !strings.Contains(out, "not signed") {
		t.Errorf("oakum doctor: %v\n%s", err, out)
	}
}
