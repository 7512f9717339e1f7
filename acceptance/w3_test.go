//go:build linux

package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// securityPending are the packages for which apt knows a newer version in the security archive.
func (n *debNode) securityPending() (out []string) {
	n.t.Helper()
	for line := range strings.Lines(n.mustRun("apt", "list", "--upgradable")) {
		name, rest, ok := strings.Cut(line, "/")
		suites, _, _ := strings.Cut(rest, " ")
		if ok && strings.Contains(suites, "security") {
			out = append(out, name)
		}
	}
	return out
}

// Journey W3, steps 3 to 6: see what needs patching.
func TestW3DetectiveControl(t *testing.T) {
	t.Parallel()
	old := newDebNode(t, "missing", "--outdated", "default")
	fine := newDebNode(t, "patched")
	for _, n := range []*debNode{old, fine} { // the lists of their base may be of another day
		n.mustRun("apt-get", "-qq", "update")
	}
	fine.mustRun("apt-get", "-qq", "-y", "dist-upgrade")
	want := old.securityPending()
	if len(want) == 0 || len(fine.securityPending()) != 0 {
		t.Fatalf("the nodes miss %v and %v", want, fine.securityPending())
	}
	engines(t, func(t *testing.T, s *installation) {
		old.t, fine.t = t, t
		state := "/var/lib/oakum-" + strings.ReplaceAll(t.Name(), "/", "-")
		act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--registration-limit", "5", "--tags", "Key=PatchGroup,Value=web")
		n1, n3 := old.mustRegister(s, act, state), fine.mustRegister(s, act, state)
		n1.start(t)
		n3.start(t)
		s.online(2)
		// 3
		def := s.aws("ssm", "get-default-patch-baseline", "--operating-system", "DEBIAN")
		def.is("OperatingSystem", "DEBIAN")
		list := s.aws("ssm", "describe-patch-baselines", "--filters", "Key=OPERATING_SYSTEM,Values=DEBIAN").at("BaselineIdentities")
		if list.len() != 1 {
			t.Fatalf("describe-patch-baselines = %v", list)
		}
		list.at(0).is("BaselineId", def.at("BaselineId"), "DefaultBaseline", true, "BaselineName", "AWS-DebianDefaultPatchBaseline")
		s.aws("ssm", "get-default-patch-baseline", "--operating-system", "UBUNTU").is("OperatingSystem", "UBUNTU")
		// 4
		status := func(n *debNode) string {
			b, err := os.ReadFile(filepath.Join(n.root, "var/lib/dpkg/status"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		before := status(old) + status(fine)
		cmd := s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--targets", "Key=tag:PatchGroup,Values=web", "--parameters", "Operation=Scan", "--timeout-seconds", "600").at("Command")
		if d := cmd.at("ExpiresAfter").time().Sub(cmd.at("RequestedDateTime").time()); d != 22200*time.Second {
			t.Errorf("ExpiresAfter - RequestedDateTime = %v", d)
		}
		id := cmd.at("CommandId").String()
		s.commandEnd(id, 3*time.Minute).is("Status", "Success", "TargetCount", 2)
		if status(old)+status(fine) != before {
			t.Error("a scan changed a node")
		}
		s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", n1.id, "--plugin-name", "PatchLinux").is("Status", "Success", "ResponseCode", 0)
		// 5
		states := s.aws("ssm", "describe-instance-patch-states", "--instance-ids", n1.id, n3.id).at("InstancePatchStates")
		if states.len() != 2 {
			t.Fatalf("describe-instance-patch-states = %v", states)
		}
		for k := range 2 {
			st, missing := states.at(k), 0
			if st.at("InstanceId").String() == n1.id {
				missing = len(want)
			}
			st.is("MissingCount", missing, "FailedCount", 0, "Operation", "Scan", "PatchGroup", "web")
			for _, m := range []string{"BaselineId", "SnapshotId", "OperationStartTime", "OperationEndTime"} {
				if st.at(m).String() == "" {
					t.Errorf("%s is empty", m)
				}
			}
			if end := st.at("OperationEndTime").time(); time.Since(end) > 5*time.Minute || st.at("OperationStartTime").time().After(end) {
				t.Errorf("OperationEndTime = %v", end)
			}
		}
		if a, b := states.at(0, "SnapshotId").String(), states.at(1, "SnapshotId").String(); a != b {
			t.Errorf("one command used the snapshots %s and %s", a, b)
		}
		rows := s.aws("ssm", "describe-instance-patches", "--instance-id", n1.id, "--filters", "Key=State,Values=Missing").at("Patches")
		got := map[string]bool{}
		for k := range rows.len() {
			name, _, _ := strings.Cut(rows.at(k, "KBId").String(), ".")
			kb := rows.at(k, "KBId").String()
			got[kb[:strings.LastIndexByte(kb, '.')]] = true
			rows.at(k).is("State", "Missing", "Classification", "Security")
			if rows.at(k, "Severity").String() == "" || !strings.HasPrefix(rows.at(k, "Title").String(), name) {
				t.Errorf("describe-instance-patches: %v", rows.at(k))
			}
		}
		if rows.len() != len(want) {
			t.Errorf("%d missing patches, apt says %d", rows.len(), len(want))
		}
		for _, name := range want {
			if !got[name] {
				t.Errorf("apt offers a newer %s from the security archive, describe-instance-patches does not list it", name)
			}
		}
		// 6
		sums := s.aws("ssm", "list-resource-compliance-summaries", "--filters", "Key=ComplianceType,Values=Patch").at("ResourceComplianceSummaryItems")
		if sums.len() != 2 {
			t.Fatalf("list-resource-compliance-summaries = %v", sums)
		}
		for k := range 2 {
			want := "COMPLIANT"
			if sums.at(k, "ResourceId").String() == n1.id {
				want = "NON_COMPLIANT"
			}
			sums.at(k).is("Status", want, "ComplianceType", "Patch", "ResourceType", "ManagedInstance")
			sums.at(k, "ExecutionSummary").is("ExecutionType", "Command")
		}
		items := s.aws("ssm", "list-compliance-items", "--resource-ids", n1.id, "--resource-types", "ManagedInstance").at("ComplianceItems")
		bad := 0
		for k := range items.len() {
			items.at(k, "ExecutionSummary").is("ExecutionType", "Command")
			if items.at(k, "Status").String() == "NON_COMPLIANT" {
				bad++
			}
		}
		if bad != len(want) || items.len() < 50 {
			t.Errorf("list-compliance-items: %d of %d non-compliant, want %d", bad, items.len(), len(want))
		}
	})
}
