//go:build linux

package acceptance

import (
	"strings"
	"testing"
)

// Journey W8: baselines by CLI, for two versions of an operating system.
func TestW8Baselines(t *testing.T) {
	awsCommand(t)
	engines(t, func(t *testing.T, s *installation) {
		created := s.aws("ssm", "create-patch-baseline", "--name", "RHEL-Custom", "--operating-system", "REDHAT_ENTERPRISE_LINUX", "--description", "two versions",
			"--approval-rules", "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=SEVERITY,Values=[Critical,Important]},{Key=CLASSIFICATION,Values=[Security]}]},ApproveAfterDays=0,ComplianceLevel=HIGH}]",
			"--sources", `[{"Name":"repo-8","Products":["RedhatEnterpriseLinux8.6"],"Configuration":"[repo-8]\nname=a\nbaseurl=https://example.com/8"},{"Name":"repo-9","Products":["RedhatEnterpriseLinux9.0"],"Configuration":"[repo-9]\nname=b\nbaseurl=https://example.com/9"}]`,
			"--tags", "Key=Environment,Value=Production")
		id := created.at("BaselineId").String()
		got := s.aws("ssm", "get-patch-baseline", "--baseline-id", id)
		got.is("BaselineId", id, "Name", "RHEL-Custom", "OperatingSystem", "REDHAT_ENTERPRISE_LINUX", "Description", "two versions", "RejectedPatchesAction", "ALLOW_AS_DEPENDENCY",
			"ApprovedPatchesComplianceLevel", "UNSPECIFIED", "ApprovedPatchesEnableNonSecurity", false, "ApprovedPatches", "[]", "RejectedPatches", "[]", "PatchGroups", "[]")
		got.at("ApprovalRules", "PatchRules", 0).is("ApproveAfterDays", 0, "ComplianceLevel", "HIGH", "EnableNonSecurity", false)
		got.at("ApprovalRules", "PatchRules", 0, "PatchFilterGroup", "PatchFilters", 0).is("Key", "SEVERITY", "Values", `["Critical","Important"]`)
		got.at("Sources", 0).is("Name", "repo-8")
		got.at("Sources", 1).is("Name", "repo-9", "Configuration", "[repo-9]\nname=b\nbaseurl=https://example.com/9")

		up := s.aws("ssm", "update-patch-baseline", "--baseline-id", id, "--name", "RHEL-Renamed", "--approved-patches", "kernel*", "bash", "--rejected-patches", "telnet*", "--rejected-patches-action", "BLOCK")
		up.is("Name", "RHEL-Renamed", "ApprovedPatches", `["kernel*","bash"]`, "RejectedPatches", `["telnet*"]`, "RejectedPatchesAction", "BLOCK", "Description", "two versions")

		if aws := s.aws("ssm", "describe-patch-baselines", "--filters", "Key=OWNER,Values=[AWS]").at("BaselineIdentities"); aws.len() < 15 {
			t.Errorf("%d predefined baselines", aws.len())
		}
		self := s.aws("ssm", "describe-patch-baselines", "--filters", "Key=OWNER,Values=[Self]").at("BaselineIdentities")
		if self.len() != 1 {
			t.Fatalf("baselines of OWNER Self: %v", self)
		}
		self.at(0).is("BaselineId", id, "BaselineName", "RHEL-Renamed", "DefaultBaseline", false, "BaselineDescription", "two versions")

		first := s.aws("ssm", "get-default-patch-baseline", "--operating-system", "REDHAT_ENTERPRISE_LINUX").at("BaselineId").String()
		if !strings.HasPrefix(first, "arn:aws:ssm:us-east-1:") {
			t.Errorf("the predefined default is %s", first)
		}
		s.aws("ssm", "register-default-patch-baseline", "--baseline-id", id).is("BaselineId", id)
		s.aws("ssm", "get-default-patch-baseline", "--operating-system", "REDHAT_ENTERPRISE_LINUX").is("BaselineId", id)
		s.refused("ResourceInUseException", "ssm", "delete-patch-baseline", "--baseline-id", id)
		s.aws("ssm", "register-default-patch-baseline", "--baseline-id", first).is("BaselineId", first)
		s.aws("ssm", "get-default-patch-baseline", "--operating-system", "REDHAT_ENTERPRISE_LINUX").is("BaselineId", first)

		s.aws("ssm", "add-tags-to-resource", "--resource-type", "PatchBaseline", "--resource-id", id, "--tags", "Key=Team,Value=ops")
		s.aws("ssm", "list-tags-for-resource", "--resource-type", "PatchBaseline", "--resource-id", id).at("TagList", 1).is("Key", "Team", "Value", "ops")
		s.aws("ssm", "remove-tags-from-resource", "--resource-type", "PatchBaseline", "--resource-id", id, "--tag-keys", "Team")
		if n := s.aws("ssm", "list-tags-for-resource", "--resource-type", "PatchBaseline", "--resource-id", id).at("TagList").len(); n != 1 {
			t.Errorf("%d tags after one was removed", n)
		}
		s.aws("ssm", "register-patch-baseline-for-patch-group", "--baseline-id", id, "--patch-group", "Database Servers").is("BaselineId", id, "PatchGroup", "Database Servers")
		other := s.aws("ssm", "create-patch-baseline", "--name", "RHEL-Other", "--operating-system", "REDHAT_ENTERPRISE_LINUX").at("BaselineId").String()
		s.refused("AlreadyExistsException", "ssm", "register-patch-baseline-for-patch-group", "--baseline-id", other, "--patch-group", "Database Servers")
		m := s.aws("ssm", "describe-patch-groups").at("Mappings")
		m.at(0).is("PatchGroup", "Database Servers")
		m.at(0, "BaselineIdentity").is("BaselineId", id, "BaselineName", "RHEL-Renamed")
		s.aws("ssm", "get-patch-baseline-for-patch-group", "--patch-group", "Database Servers", "--operating-system", "REDHAT_ENTERPRISE_LINUX").is("BaselineId", id)
		s.refused("ResourceInUseException", "ssm", "delete-patch-baseline", "--baseline-id", id)
		s.aws("ssm", "deregister-patch-baseline-for-patch-group", "--baseline-id", id, "--patch-group", "Database Servers").is("BaselineId", id, "PatchGroup", "Database Servers")
		if n := s.aws("ssm", "describe-patch-groups").at("Mappings").len(); n != 0 {
			t.Errorf("%d patch groups are left", n)
		}
		s.aws("ssm", "describe-effective-patches-for-patch-baseline", "--baseline-id", id).at("EffectivePatches").len()
		s.aws("ssm", "describe-available-patches", "--filters", "Key=PRODUCT,Values=RedhatEnterpriseLinux8.6", "Key=CLASSIFICATION,Values=Security", "Key=SEVERITY,Values=Critical").at("Patches").len()
		s.aws("ssm", "delete-patch-baseline", "--baseline-id", id).is("BaselineId", id)
		s.refused("DoesNotExistException", "ssm", "get-patch-baseline", "--baseline-id", id)
		s.aws("ssm", "delete-patch-baseline", "--baseline-id", id).is("BaselineId", id)
	})
}
