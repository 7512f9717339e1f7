package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/ssm"
)

var ignoreUnexported = cmpopts.IgnoreUnexported(types.PatchFilterGroup{}, types.PatchFilter{}, types.PatchRuleGroup{}, types.PatchRule{},
	types.PatchSource{}, types.Tag{}, types.PatchBaselineIdentity{}, types.PatchGroupPatchBaselineMapping{})

// journey W8: baselines by CLI, here through the SDK.
func TestBaselineJourney(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		rules := &types.PatchRuleGroup{PatchRules: []types.PatchRule{
			{
				PatchFilterGroup: &types.PatchFilterGroup{PatchFilters: []types.PatchFilter{
					{Key: types.PatchFilterKeySeverity, Values: []string{"Important", "Critical"}},
					{Key: types.PatchFilterKeyClassification, Values: []string{"Security"}},
				}},
				ApproveAfterDays: aws.Int32(0), ComplianceLevel: types.PatchComplianceLevelHigh,
			},
			{
				PatchFilterGroup: &types.PatchFilterGroup{PatchFilters: []types.PatchFilter{{Key: types.PatchFilterKeyProduct, Values: []string{"*"}}}},
				ApproveUntilDate: str("2026-07-01"), EnableNonSecurity: aws.Bool(true),
			},
		}}
		sources := []types.PatchSource{
			{Name: str("zulu"), Products: []string{"RedhatEnterpriseLinux8.6", "RedhatEnterpriseLinux8.5"}, Configuration: str("[zulu]\nname=z\nbaseurl=https://example.com/z\nenabled=1")},
			{Name: str("alpha"), Products: []string{"RedhatEnterpriseLinux9.0"}, Configuration: str("[alpha]\nname=a\nbaseurl=https://example.com/a")},
		}
		created := must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{
			Name: str("Linux-Base"), OperatingSystem: types.OperatingSystemRedhatEnterpriseLinux, ApprovalRules: rules, Sources: sources,
			ApprovedPatches: []string{"zlib*", "bash"}, RejectedPatches: []string{"telnet*", "abc"}, RejectedPatchesAction: types.PatchActionBlock,
			Tags: []types.Tag{{Key: str("z"), Value: str("1")}, {Key: str("a"), Value: str("2")}},
		}))
		id := *created.BaselineId
		if !strings.HasPrefix(id, "pb-") || len(id) != 20 {
			t.Errorf("BaselineId = %q", id)
		}
		got := must[*ssm.GetPatchBaselineOutput](t)(c.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &id}))
		// What Terraform needs for an empty second plan: order kept, absent stays absent, 0 days survives, defaults filled in.
		rules.PatchRules[0].EnableNonSecurity = aws.Bool(false)
		rules.PatchRules[1].ComplianceLevel = types.PatchComplianceLevelUnspecified
		if d := cmp.Diff(rules, got.ApprovalRules, ignoreUnexported); d != "" {
			t.Errorf("ApprovalRules (-sent +got):\n%s", d)
		}
		if d := cmp.Diff(sources, got.Sources, ignoreUnexported); d != "" {
			t.Errorf("Sources (-sent +got):\n%s", d)
		}
		if !slices.Equal(got.ApprovedPatches, []string{"zlib*", "bash"}) || !slices.Equal(got.RejectedPatches, []string{"telnet*", "abc"}) {
			t.Errorf("lists = %v, %v", got.ApprovedPatches, got.RejectedPatches)
		}
		if got.Description != nil || got.GlobalFilters == nil || got.GlobalFilters.PatchFilters == nil || len(got.GlobalFilters.PatchFilters) > 0 || got.PatchGroups == nil ||
			got.ApprovedPatchesComplianceLevel != types.PatchComplianceLevelUnspecified || *got.ApprovedPatchesEnableNonSecurity ||
			got.RejectedPatchesAction != types.PatchActionBlock || got.AvailableSecurityUpdatesComplianceStatus != "" || got.CreatedDate == nil || !got.CreatedDate.Equal(*got.ModifiedDate) {
			t.Errorf("GetPatchBaseline = %+v", got)
		}
		tags := must[*ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingPatchBaseline, ResourceId: &id}))
		if d := cmp.Diff([]types.Tag{{Key: str("z"), Value: str("1")}, {Key: str("a"), Value: str("2")}}, tags.TagList, ignoreUnexported); d != "" {
			t.Errorf("TagList (-sent +got):\n%s", d)
		}
		for range 2 { // ids are taken as ARNs too, and answered as ids
			arn := "arn:aws:ssm:us-east-1:" + s.Account() + ":patchbaseline/" + id
			byARN := must[*ssm.GetPatchBaselineOutput](t)(c.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &arn}))
			if *byARN.BaselineId != id {
				t.Errorf("GetPatchBaseline(%s).BaselineId = %s", arn, *byARN.BaselineId)
			}
		}

		s.Advance(2e9)
		up := must[*ssm.UpdatePatchBaselineOutput](t)(c.UpdatePatchBaseline(ctx, &ssm.UpdatePatchBaselineInput{
			BaselineId: &id, Name: str("Linux-Base-2"), ApprovedPatches: []string{"curl"}, RejectedPatches: []string{}, Description: str("d"),
		}))
		if *up.Name != "Linux-Base-2" || !slices.Equal(up.ApprovedPatches, []string{"curl"}) || len(up.RejectedPatches) != 0 || len(up.Sources) != 2 || len(up.ApprovalRules.PatchRules) != 2 ||
			up.RejectedPatchesAction != types.PatchActionBlock || !up.ModifiedDate.After(*up.CreatedDate) {
			t.Errorf("UpdatePatchBaseline = %+v", up)
		}
		up = must[*ssm.UpdatePatchBaselineOutput](t)(c.UpdatePatchBaseline(ctx, &ssm.UpdatePatchBaselineInput{BaselineId: &id, Name: str("Linux-Base-3"), Replace: aws.Bool(true)}))
		if up.Description != nil || len(up.ApprovedPatches)+len(up.Sources)+len(up.ApprovalRules.PatchRules) != 0 || up.RejectedPatchesAction != types.PatchActionAllowAsDependency ||
			up.OperatingSystem != types.OperatingSystemRedhatEnterpriseLinux {
			t.Errorf("UpdatePatchBaseline with Replace = %+v", up)
		}

		list := func(filters ...types.PatchOrchestratorFilter) (out []types.PatchBaselineIdentity) {
			p := ssm.NewDescribePatchBaselinesPaginator(c, &ssm.DescribePatchBaselinesInput{Filters: filters, MaxResults: aws.Int32(5)})
			for p.HasMorePages() {
				page := must[*ssm.DescribePatchBaselinesOutput](t)(p.NextPage(ctx))
				out = append(out, page.BaselineIdentities...)
			}
			return out
		}
		owner := func(v string) types.PatchOrchestratorFilter {
			return types.PatchOrchestratorFilter{Key: str("OWNER"), Values: []string{v}}
		}
		predefined := list(owner("AWS"))
		if n := len(predefined); n != 17 {
			t.Errorf("%d predefined baselines, want 17", n)
		}
		defaults := map[types.OperatingSystem]int{}
		for i, b := range list() {
			if b.DefaultBaseline {
				defaults[b.OperatingSystem]++
			}
			if isARN := strings.HasPrefix(*b.BaselineId, "arn:aws:ssm:us-east-1:"+s.Account()+":patchbaseline/pb-"); isARN != (i < len(predefined)) {
				t.Errorf("baseline %d of the list is %s: predefined ones come first, by ARN", i, *b.BaselineId)
			}
		}
		for os, n := range defaults {
			if n != 1 || len(defaults) != 15 {
				t.Errorf("%d defaults of %s, %d systems", n, os, len(defaults))
			}
		}
		if self := list(owner("Self")); len(self) != 1 || *self[0].BaselineName != "Linux-Base-3" || self[0].DefaultBaseline {
			t.Errorf("OWNER=Self: %+v", self)
		}
		if both := list(owner("All"), types.PatchOrchestratorFilter{Key: str("OPERATING_SYSTEM"), Values: []string{"REDHAT_ENTERPRISE_LINUX"}}); len(both) != 2 {
			t.Errorf("baselines of RHEL = %d, want 2", len(both))
		}
		if some := list(types.PatchOrchestratorFilter{Key: str("NAME_PREFIX"), Values: []string{"Linux-"}}); len(some) != 1 {
			t.Errorf("NAME_PREFIX=Linux-: %+v", some)
		}

		def := func() string {
			out := must[*ssm.GetDefaultPatchBaselineOutput](t)(c.GetDefaultPatchBaseline(ctx, &ssm.GetDefaultPatchBaselineInput{OperatingSystem: types.OperatingSystemRedhatEnterpriseLinux}))
			if out.OperatingSystem != types.OperatingSystemRedhatEnterpriseLinux {
				t.Errorf("GetDefaultPatchBaseline.OperatingSystem = %s", out.OperatingSystem)
			}
			return *out.BaselineId
		}
		first := def()
		must[*ssm.RegisterDefaultPatchBaselineOutput](t)(c.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: &id}))
		if got := def(); got != id {
			t.Errorf("default after RegisterDefaultPatchBaseline = %s, want %s", got, id)
		}
		for _, b := range list(types.PatchOrchestratorFilter{Key: str("OPERATING_SYSTEM"), Values: []string{"REDHAT_ENTERPRISE_LINUX"}}) {
			if b.DefaultBaseline != (*b.BaselineId == id) {
				t.Errorf("DefaultBaseline of %s = %v", *b.BaselineId, b.DefaultBaseline)
			}
		}
		_, err := c.DeletePatchBaseline(ctx, &ssm.DeletePatchBaselineInput{BaselineId: &id})
		if _, ok := errors.AsType[*types.ResourceInUseException](err); !ok {
			t.Errorf("DeletePatchBaseline of a default = %v, want ResourceInUseException", err)
		}
		back := must[*ssm.RegisterDefaultPatchBaselineOutput](t)(c.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: &first}))
		if *back.BaselineId != first || def() != first {
			t.Errorf("restored default = %s, %s, want %s", *back.BaselineId, def(), first)
		}
		windows := must[*ssm.GetDefaultPatchBaselineOutput](t)(c.GetDefaultPatchBaseline(ctx, &ssm.GetDefaultPatchBaselineInput{}))
		if windows.OperatingSystem != types.OperatingSystemWindows || !strings.HasPrefix(*windows.BaselineId, "arn:aws:ssm:us-east-1:") {
			t.Errorf("GetDefaultPatchBaseline() = %+v", windows)
		}

		resource := types.ResourceTypeForTaggingPatchBaseline
		must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: resource, ResourceId: &id, Tags: []types.Tag{{Key: str("z"), Value: str("9")}, {Key: str("m"), Value: str("")}}}))
		must[*ssm.RemoveTagsFromResourceOutput](t)(c.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: resource, ResourceId: &id, TagKeys: []string{"z", "none"}}))
		must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: resource, ResourceId: &id, Tags: []types.Tag{{Key: str("b"), Value: str("5")}}}))
		tags = must[*ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: resource, ResourceId: &id}))
		if d := cmp.Diff([]types.Tag{{Key: str("a"), Value: str("2")}, {Key: str("m"), Value: str("")}, {Key: str("b"), Value: str("5")}}, tags.TagList, ignoreUnexported); d != "" {
			t.Errorf("TagList (-want +got):\n%s", d)
		}

		for _, g := range []string{"web", "Database Servers"} {
			for range 2 { // the same pair again succeeds
				out := must[*ssm.RegisterPatchBaselineForPatchGroupOutput](t)(c.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: &id, PatchGroup: &g}))
				if *out.BaselineId != id || *out.PatchGroup != g {
					t.Errorf("RegisterPatchBaselineForPatchGroup = %+v", out)
				}
			}
		}
		of := must[*ssm.GetPatchBaselineForPatchGroupOutput](t)(c.GetPatchBaselineForPatchGroup(ctx, &ssm.GetPatchBaselineForPatchGroupInput{PatchGroup: str("web"), OperatingSystem: types.OperatingSystemRedhatEnterpriseLinux}))
		if *of.BaselineId != id || *of.PatchGroup != "web" {
			t.Errorf("GetPatchBaselineForPatchGroup = %+v", of)
		}
		of = must[*ssm.GetPatchBaselineForPatchGroupOutput](t)(c.GetPatchBaselineForPatchGroup(ctx, &ssm.GetPatchBaselineForPatchGroupInput{PatchGroup: str("web")}))
		if *of.BaselineId != *windows.BaselineId || of.OperatingSystem != types.OperatingSystemWindows {
			t.Errorf("GetPatchBaselineForPatchGroup of Windows = %+v", of)
		}
		groups := must[*ssm.DescribePatchGroupsOutput](t)(c.DescribePatchGroups(ctx, &ssm.DescribePatchGroupsInput{}))
		if len(groups.Mappings) != 2 || *groups.Mappings[0].PatchGroup != "Database Servers" || *groups.Mappings[1].BaselineIdentity.BaselineId != id {
			t.Errorf("DescribePatchGroups = %+v", groups.Mappings)
		}
		if g := must[*ssm.GetPatchBaselineOutput](t)(c.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &id})).PatchGroups; !slices.Equal(g, []string{"Database Servers", "web"}) {
			t.Errorf("PatchGroups = %v", g)
		}
		_, err = c.DeletePatchBaseline(ctx, &ssm.DeletePatchBaselineInput{BaselineId: &id})
		if e, ok := errors.AsType[*types.ResourceInUseException](err); !ok || *e.Message != "PatchBaseline to be deleted is used for Patch Group: Database Servers" {
			t.Errorf("DeletePatchBaseline in use = %v", err)
		}
		for _, g := range []string{"web", "Database Servers", "never registered"} {
			must[*ssm.DeregisterPatchBaselineForPatchGroupOutput](t)(c.DeregisterPatchBaselineForPatchGroup(ctx, &ssm.DeregisterPatchBaselineForPatchGroupInput{BaselineId: &id, PatchGroup: &g}))
		}
		must[*ssm.DescribeEffectivePatchesForPatchBaselineOutput](t)(c.DescribeEffectivePatchesForPatchBaseline(ctx, &ssm.DescribeEffectivePatchesForPatchBaselineInput{BaselineId: &id}))
		for range 2 { // an unknown id is no error
			del := must[*ssm.DeletePatchBaselineOutput](t)(c.DeletePatchBaseline(ctx, &ssm.DeletePatchBaselineInput{BaselineId: &id}))
			if *del.BaselineId != id {
				t.Errorf("DeletePatchBaseline = %s", *del.BaselineId)
			}
		}
		_, err = c.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &id})
		if e, ok := errors.AsType[*types.DoesNotExistException](err); !ok || *e.Message != "Patch Baseline to be retrieved does not exist." {
			t.Errorf("GetPatchBaseline of a deleted one = %v", err)
		}
		_, err = c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: resource, ResourceId: &id})
		if _, ok := errors.AsType[*types.InvalidResourceId](err); !ok {
			t.Errorf("ListTagsForResource of a deleted baseline = %v", err)
		}
	})
}

func TestBaselineErrors(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		id := *must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: str("win")})).BaselineId
		other := *must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: str("win")})).BaselineId
		must[*ssm.RegisterPatchBaselineForPatchGroupOutput](t)(c.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: &id, PatchGroup: str("g")}))
		const malformed = "The resource ID isn't valid. Verify that you entered the correct ID and try again."
		const gone = "Patch Baseline to be retrieved does not exist."
		rule := func(os, filters, rest string) string {
			return fmt.Sprintf(`{"Name":"abc","OperatingSystem":"%s","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[%s]}%s}]}}`, os, filters, rest)
		}
		before := s.Dump()
		checkErrors(t, s, map[string]string{"$PB": id, "$OTHER": other, "$GONE": "pb-0123456789abcdef0"}, []errorCase{
			{"GetPatchBaseline", `{"BaselineId":"$GONE"}`, "DoesNotExistException", gone},
			{"GetPatchBaseline", `{"BaselineId":"xx-0123456789abcdef0"}`, "InvalidResourceId", malformed},
			{"GetPatchBaseline", `{"BaselineId":"short"}`, "ValidationException", "2 validation errors detected: Value 'short' at 'baselineId' failed to satisfy constraint: Member must have length greater than or equal to 20; Value 'short' at 'baselineId' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-:/]{20,128}$"},
			{"UpdatePatchBaseline", `{"BaselineId":"$GONE"}`, "DoesNotExistException", gone},
			{"UpdatePatchBaseline", `{"BaselineId":"$PB","Replace":true}`, "ValidationException", "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
			{"UpdatePatchBaseline", `{"BaselineId":"pb-09ca3fb51f0412ec3","Name":"abc"}`, "InvalidResourceId", "Predefined patch baselines cannot be changed."},
			{"DeletePatchBaseline", `{"BaselineId":"pb-09ca3fb51f0412ec3"}`, "InvalidResourceId", "Predefined patch baselines cannot be changed."},
			{"DeletePatchBaseline", `{"BaselineId":"$PB"}`, "ResourceInUseException", "PatchBaseline to be deleted is used for Patch Group: g"},
			{"RegisterDefaultPatchBaseline", `{"BaselineId":"$GONE"}`, "DoesNotExistException", gone},
			{"RegisterDefaultPatchBaseline", `{"BaselineId":"xx-0123456789abcdef0"}`, "InvalidResourceId", malformed},
			{"RegisterPatchBaselineForPatchGroup", `{"BaselineId":"$GONE","PatchGroup":"g"}`, "DoesNotExistException", "Maintenance window $GONE does not exist"},
			{"RegisterPatchBaselineForPatchGroup", `{"BaselineId":"$OTHER","PatchGroup":"g"}`, "AlreadyExistsException", "Patch Group baseline already has a baseline registered for OperatingSystem WINDOWS."},
			{"DeregisterPatchBaselineForPatchGroup", `{"BaselineId":"$GONE","PatchGroup":"g"}`, "DoesNotExistException", gone},
			{"DescribeEffectivePatchesForPatchBaseline", `{"BaselineId":"$GONE"}`, "DoesNotExistException", gone},
			{"CreatePatchBaseline", `{}`, "ValidationException", "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
			{"CreatePatchBaseline", `{"Name":"AWS-Mine"}`, "ValidationException", ""},
			{"CreatePatchBaseline", `{"Name":"abc","OperatingSystem":"PLAN9"}`, "ValidationException", "1 validation error detected: Value 'PLAN9' at 'operatingSystem' failed to satisfy constraint: Member must satisfy enum value set: [WINDOWS, AMAZON_LINUX, AMAZON_LINUX_2, AMAZON_LINUX_2022, UBUNTU, REDHAT_ENTERPRISE_LINUX, SUSE, CENTOS, ORACLE_LINUX, DEBIAN, MACOS, RASPBIAN, ROCKY_LINUX, ALMA_LINUX, AMAZON_LINUX_2023]"},
			{"CreatePatchBaseline", rule("DEBIAN", ``, ``), "ValidationException", "Exactly one of ApproveAfterDays and ApproveUntilDate must be given for each approval rule."},
			{"CreatePatchBaseline", rule("DEBIAN", ``, `,"ApproveAfterDays":1,"ApproveUntilDate":"2026-01-01"`), "ValidationException", "Exactly one of ApproveAfterDays and ApproveUntilDate must be given for each approval rule."},
			{"CreatePatchBaseline", rule("DEBIAN", ``, `,"ApproveAfterDays":361`), "ValidationException", "1 validation error detected: Value '361' at 'approvalRules.patchRules.1.member.approveAfterDays' failed to satisfy constraint: Member must have value less than or equal to 360"},
			{"CreatePatchBaseline", rule("DEBIAN", ``, `,"ApproveUntilDate":"2026-13-01"`), "ValidationException", ""},
			{"CreatePatchBaseline", rule("DEBIAN", `{"Key":"CLASSIFICATION","Values":["Security"]}`, `,"ApproveAfterDays":1`), "ValidationException", ""},
			{"CreatePatchBaseline", rule("DEBIAN", `{"Key":"PRIORITY","Values":["Urgent"]}`, `,"ApproveAfterDays":1`), "ValidationException", "Invalid Filter Value: Urgent for Key: PRIORITY, valid values are: Required, Important, Standard, Optional, Extra"},
			{"CreatePatchBaseline", rule("WINDOWS", `{"Key":"PRODUCT","Values":["All"]}`, `,"ApproveAfterDays":1`), "ValidationException", ""},
			{"CreatePatchBaseline", rule("WINDOWS", ``, `,"ApproveAfterDays":1,"EnableNonSecurity":true`), "ValidationException", ""},
			{"CreatePatchBaseline", `{"Name":"abc","Tags":[{"Key":"aws:x","Value":"1"}]}`, "ValidationException", "aws: prefixed tag key names are not allowed for external use."},
			{"DescribePatchBaselines", `{"Filters":[{"Key":"COLOUR","Values":["x"]}]}`, "ValidationException", ""},
			{"DescribePatchBaselines", `{"MaxResults":101}`, "ValidationException", ""},
			{"DescribePatchGroups", `{"Filters":[{"Key":"OWNER","Values":["x"]}]}`, "ValidationException", ""},
			{"DescribeAvailablePatches", `{"Filters":[{"Key":"NAME","Values":["bash"]}]}`, "ValidationException", "A PRODUCT filter is required for operating systems other than Windows."},
			{"DescribeAvailablePatches", `{"Filters":[{"Key":"PRODUCT","Values":["Plan9"]}]}`, "ValidationException", ""},
			{"DescribePatchProperties", `{"OperatingSystem":"DEBIAN","Property":"SECTION"}`, "ValidationException", ""},
			{"AddTagsToResource", `{"ResourceType":"PatchBaseline","ResourceId":"$GONE","Tags":[]}`, "InvalidResourceId", malformed},
			{"AddTagsToResource", `{"ResourceType":"PatchBaseline","ResourceId":"$PB","Tags":[{"Key":"AWS:x","Value":"1"}]}`, "ValidationException", "aws: prefixed tag key names are not allowed for external use."},
			{"AddTagsToResource", `{"ResourceType":"Nonsense","ResourceId":"$PB","Tags":[]}`, "InvalidResourceType", "1 validation error detected: Value 'Nonsense' at 'resourceType' failed to satisfy constraint: Member must satisfy enum value set: [Document, ManagedInstance, MaintenanceWindow, Parameter, PatchBaseline, OpsItem, OpsMetadata, Automation, Association]"},
			{"ListTagsForResource", `{"ResourceType":"Nonsense","ResourceId":"$PB"}`, "InvalidResourceType", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
		var tags []string
		for i := range 50 {
			tags = append(tags, fmt.Sprintf(`{"Key":"k%d","Value":""}`, i))
		}
		try(t, s.Call(ctx, s.Admin, "ssm", "AddTagsToResource", `{"ResourceType":"PatchBaseline","ResourceId":"`+id+`","Tags":[`+strings.Join(tags, ",")+`]}`, nil))
		err := s.Call(ctx, s.Admin, "ssm", "AddTagsToResource", `{"ResourceType":"PatchBaseline","ResourceId":"`+id+`","Tags":[{"Key":"more","Value":""}]}`, nil)
		refused(t, "the 51st tag", err, "TooManyTagsError", "")
		for i := range 24 {
			must[*ssm.RegisterPatchBaselineForPatchGroupOutput](t)(c.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: &id, PatchGroup: str(fmt.Sprint("g", i))}))
		}
		err = s.Call(ctx, s.Admin, "ssm", "RegisterPatchBaselineForPatchGroup", `{"BaselineId":"`+id+`","PatchGroup":"more"}`, nil)
		refused(t, "the 26th group", err, "ResourceLimitExceededException", "")
		for range 48 {
			must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: str("win")}))
		}
		refused(t, "the 51st baseline", s.Call(ctx, s.Admin, "ssm", "CreatePatchBaseline", `{"Name":"win"}`, nil), "ResourceLimitExceededException", "")
	})
}

// proves R-09
func TestCreateIsIdempotent(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		in := &ssm.CreatePatchBaselineInput{Name: str("once"), ClientToken: str("token"), Tags: []types.Tag{{Key: str("a"), Value: str("b")}}}
		type result struct {
			id  string
			err error
		}
		results := make(chan result, 20)
		for range cap(results) { // an impatient client sends it again before the first answer
			go func() {
				var out wire.CreatePatchBaselineOutput // not the SDK's: it tries again after a fault of the server
				err := s.Call(ctx, s.Admin, "ssm", "CreatePatchBaseline", `{"Name":"once","ClientToken":"token","Tags":[{"Key":"a","Value":"b"}]}`, &out)
				results <- result{codec.Value(out.BaselineId), err}
			}()
		}
		ids := map[string]bool{}
		for range cap(results) {
			r := <-results
			if r.err != nil {
				t.Errorf("CreatePatchBaseline: %v", r.err)
			}
			ids[r.id] = true
		}
		if len(ids) != 1 {
			t.Errorf("one token made the baselines %v", ids)
		}
		s.Advance(24*3600*1e9 - 1e9)
		try(t, s.Retain(ctx))
		again := must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, in))
		if !ids[*again.BaselineId] {
			t.Errorf("the token was forgotten within a day")
		}
		in.Name = str("other")
		_, err := c.CreatePatchBaseline(ctx, in)
		if _, ok := errors.AsType[*types.IdempotentParameterMismatch](err); !ok {
			t.Errorf("the token with another request = %v, want IdempotentParameterMismatch", err)
		}
		list := must[*ssm.DescribePatchBaselinesOutput](t)(c.DescribePatchBaselines(ctx, &ssm.DescribePatchBaselinesInput{Filters: []types.PatchOrchestratorFilter{{Key: str("OWNER"), Values: []string{"Self"}}}}))
		if len(list.BaselineIdentities) != 1 {
			t.Errorf("%d baselines, want 1", len(list.BaselineIdentities))
		}
	})
}
