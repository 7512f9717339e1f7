package server_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/resourcegroups"
	wire "oakum.dev/wire/ssm"
	"oakum.dev/wire/tagging"
)

func nodeARN(n *servertest.Node) string {
	return "arn:aws:ssm:us-east-1:000000000001:managed-instance/" + n.ID
}

func TestTaggingAPI(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(3, wire.Tag{Key: new("Stage"), Value: new("Test")})
		slices.SortFunc(nodes, func(a, b *servertest.Node) int { return strings.Compare(a.ID, b.ID) })
		pb := *must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: new("base"), OperatingSystem: "DEBIAN"})).BaselineId
		baseline := "arn:aws:ssm:us-east-1:000000000001:patchbaseline/" + pb
		call := func(op string, in codec.Encodable, out codec.Decodable) error {
			return s.Call(ctx, s.Admin, "tagging", op, in, out)
		}
		var failed tagging.TagResourcesOutput
		gone := "arn:aws:ssm:us-east-1:000000000001:managed-instance/mi-0123456789abcdef0"
		foreign := "arn:aws:ssm:eu-west-1:000000000001:managed-instance/" + nodes[0].ID
		try(t, call("TagResources", &tagging.TagResourcesInput{ResourceARNList: []string{nodeARN(nodes[0]), baseline, gone, foreign, "arn:aws:s3:::bucket"}, Tags: map[string]string{"Owner": "ops", "PatchGroup": "web"}}, &failed))
		if len(failed.FailedResourcesMap) != 3 || *failed.FailedResourcesMap[gone].ErrorCode != "InvalidParameterException" || *failed.FailedResourcesMap[gone].StatusCode != 400 {
			t.Errorf("failures %+v", failed.FailedResourcesMap)
		}
		// The patch group follows, whichever way a node is tagged.
		group := func() int32 {
			return must[*ssm.DescribePatchGroupStateOutput](t)(c.DescribePatchGroupState(ctx, &ssm.DescribePatchGroupStateInput{PatchGroup: new("web")})).Instances
		}
		if group() != 1 {
			t.Errorf("the group has %d nodes", group())
		}
		list := func(in tagging.GetResourcesInput) (arns []string) {
			t.Helper()
			for {
				var out tagging.GetResourcesOutput
				try(t, call("GetResources", &in, &out))
				for _, m := range out.ResourceTagMappingList {
					arns = append(arns, *m.ResourceARN)
				}
				if out.PaginationToken == nil {
					return arns
				}
				in.PaginationToken = out.PaginationToken
			}
		}
		all := []string{nodeARN(nodes[0]), nodeARN(nodes[1]), nodeARN(nodes[2]), baseline}
		filter := func(key string, values ...string) []tagging.TagFilter {
			return []tagging.TagFilter{{Key: &key, Values: values}}
		}
		for name, tc := range map[string]struct {
			in   tagging.GetResourcesInput
			want []string
		}{
			"all":            {tagging.GetResourcesInput{}, all},
			"one_a_page":     {tagging.GetResourcesInput{ResourcesPerPage: new(int64(1))}, all},
			"by_tags":        {tagging.GetResourcesInput{TagsPerPage: new(int64(100))}, all},
			"key":            {tagging.GetResourcesInput{TagFilters: filter("Owner")}, []string{all[0], baseline}},
			"value":          {tagging.GetResourcesInput{TagFilters: filter("Stage", "Prod", "Test")}, all[:3]},
			"other_value":    {tagging.GetResourcesInput{TagFilters: filter("Stage", "test")}, nil},
			"both":           {tagging.GetResourcesInput{TagFilters: append(filter("Stage", "Test"), filter("Owner", "ops")...)}, all[:1]},
			"service":        {tagging.GetResourcesInput{ResourceTypeFilters: []string{"ssm"}}, all},
			"type":           {tagging.GetResourcesInput{ResourceTypeFilters: []string{"ssm:patchbaseline", "ec2:instance"}}, []string{baseline}},
			"listed":         {tagging.GetResourcesInput{ResourceARNList: []string{baseline, gone}}, []string{baseline}},
			"none_complies":  {tagging.GetResourcesInput{IncludeComplianceDetails: new(true), ExcludeCompliantResources: new(true)}, nil},
			"other_services": {tagging.GetResourcesInput{ResourceTypeFilters: []string{"ec2"}}, nil},
		} {
			if d := cmp.Diff(tc.want, list(tc.in)); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
		var keys tagging.GetTagKeysOutput
		try(t, call("GetTagKeys", &tagging.GetTagKeysInput{}, &keys))
		var values tagging.GetTagValuesOutput
		try(t, call("GetTagValues", &tagging.GetTagValuesInput{Key: new("Stage")}, &values))
		if d := cmp.Diff([]string{"Owner", "PatchGroup", "Stage"}, keys.TagKeys); d != "" || !slices.Equal(values.TagValues, []string{"Test"}) {
			t.Errorf("keys %v, values %v", keys.TagKeys, values.TagValues)
		}
		try(t, call("UntagResources", &tagging.UntagResourcesInput{ResourceARNList: all, TagKeys: []string{"Owner", "PatchGroup", "nothing"}}, &tagging.UntagResourcesOutput{}))
		if group() != 0 || len(list(tagging.GetResourcesInput{TagFilters: filter("Owner")})) != 0 {
			t.Error("the tags are still there")
		}

		many := map[string]string{}
		for i := range 50 {
			many[fmt.Sprintf("k%02d", i)] = "v"
		}
		try(t, s.Flush(ctx))
		before := s.Dump()
		try(t, call("TagResources", &tagging.TagResourcesInput{ResourceARNList: all[:1], Tags: many}, &failed))
		if len(failed.FailedResourcesMap) != 1 {
			t.Errorf("51 tags: %+v", failed.FailedResourcesMap)
		}
		for name, tc := range map[string]struct{ op, in, code string }{
			"aws_tag":        {"TagResources", `{"ResourceARNList":["` + all[0] + `"],"Tags":{"AWS:x":"y"}}`, "InvalidParameterException"},
			"no_arns":        {"TagResources", `{"ResourceARNList":[],"Tags":{"x":"y"}}`, "InvalidParameterException"},
			"two_pagings":    {"GetResources", `{"ResourcesPerPage":1,"TagsPerPage":100}`, "InvalidParameterException"},
			"small_page":     {"GetResources", `{"TagsPerPage":99}`, "InvalidParameterException"},
			"large_page":     {"GetResources", `{"ResourcesPerPage":101}`, "InvalidParameterException"},
			"foreign_token":  {"GetResources", `{"PaginationToken":"abc"}`, "InvalidParameterException"},
			"arns_and_pages": {"GetResources", `{"ResourceARNList":["a"],"ResourcesPerPage":1}`, "InvalidParameterException"},
			"bad_type":       {"GetResources", `{"ResourceTypeFilters":["ssm/x"]}`, "InvalidParameterException"},
			"no_key":         {"GetTagValues", `{}`, "InvalidParameterException"},
		} {
			refused(t, name, s.Call(ctx, s.Admin, "tagging", tc.op, tc.in, nil), tc.code, "")
		}
		refused(t, "a reader", s.Call(ctx, s.Reader, "tagging", "TagResources", `{"ResourceARNList":["`+all[0]+`"],"Tags":{"x":"y"}}`, nil), "AccessDeniedException", "")
		refused(t, "a node", nodes[0].Call(ctx, "tagging", "GetResources", &tagging.GetResourcesInput{}, nil), "AccessDeniedException", "")
		try(t, s.Call(ctx, s.Reader, "tagging", "GetResources", "{}", nil))
		unchanged(t, "refused calls changed the database", before, s.Dump())
	})
}

func TestResourceGroups(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		test := s.Nodes(3, wire.Tag{Key: new("Stage"), Value: new("Test")})
		prod := s.Nodes(1, wire.Tag{Key: new("Stage"), Value: new("Prod")})
		post := func(path, body string, out codec.Decodable) error {
			return s.REST(ctx, s.Admin, "resource-groups", "POST", path, body, out)
		}
		query := func(types, tags string) string {
			return fmt.Sprintf(`{"Type":"TAG_FILTERS_1_0","Query":"{\"ResourceTypeFilters\":[\"%s\"],\"TagFilters\":[%s]}"}`, types, strings.ReplaceAll(tags, `"`, `\"`))
		}
		var made resourcegroups.CreateGroupOutput
		try(t, post("/groups", `{"Name":"Tests","Description":"d","Tags":{"Owner":"ops"},"ResourceQuery":`+query("AWS::SSM::ManagedInstance", `{"Key":"Stage","Values":["Test"]}`)+`}`, &made))
		arn := "arn:aws:resource-groups:us-east-1:000000000001:group/Tests"
		if *made.Group.GroupArn != arn || *made.Group.Description != "d" || made.Tags["Owner"] != "ops" {
			t.Errorf("CreateGroup = %+v", made.Group)
		}
		members := func(name string) (out []string) {
			t.Helper()
			var token *string
			for {
				in := resourcegroups.ListGroupResourcesInput{Group: &name, MaxResults: new(int64(2)), NextToken: token}
				var got resourcegroups.ListGroupResourcesOutput
				try(t, post("/list-group-resources", string(codec.Marshal(&in)), &got))
				for _, r := range got.Resources {
					out = append(out, *r.Identifier.ResourceArn)
				}
				if token = got.NextToken; token == nil {
					return out
				}
			}
		}
		var want []string
		for _, n := range test {
			want = append(want, nodeARN(n))
		}
		slices.Sort(want)
		if d := cmp.Diff(want, members(arn)); d != "" {
			t.Errorf("members (-want +got):\n%s", d)
		}
		// As targets: at the time of the command, and narrowed by types.
		send := func(targets ...types.Target) (int32, error) {
			out, err := c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: new("AWS-RunShellScript"), Targets: targets, Parameters: map[string][]string{"commands": {"true"}}})
			if err != nil {
				return 0, err
			}
			return out.Command.TargetCount, nil
		}
		byName := types.Target{Key: new("resource-groups:Name"), Values: []string{"Tests"}}
		byType := func(typ string) types.Target {
			return types.Target{Key: new("resource-groups:ResourceTypeFilters"), Values: []string{typ}}
		}
		for name, tc := range map[string]struct {
			targets []types.Target
			want    int32
		}{
			"group":      {[]types.Target{byName}, 3},
			"nodes":      {[]types.Target{byType("AWS::SSM::ManagedInstance"), byName}, 3},
			"instances":  {[]types.Target{byName, byType("AWS::EC2::Instance")}, 0},
			"and_a_node": {[]types.Target{byName, {Key: new("InstanceIds"), Values: []string{test[0].ID, prod[0].ID}}}, 1},
		} {
			if got, err := send(tc.targets...); err != nil || got != tc.want {
				t.Errorf("%s: %d targets, %v, want %d", name, got, err, tc.want)
			}
		}
		_, err := send(types.Target{Key: new("resource-groups:Name"), Values: []string{"Nobody"}})
		if err == nil || !strings.Contains(err.Error(), "InvalidParameters") {
			t.Errorf("a group that does not exist: %v", err)
		}
		if _, err = send(byType("AWS::SSM::ManagedInstance")); err == nil || !strings.Contains(err.Error(), "InvalidParameters") {
			t.Errorf("a type without a group: %v", err)
		}
		// An association takes the group by its name and its ARN.
		for _, name := range []string{"Tests", arn} {
			a := associate(t, c, &ssm.CreateAssociationInput{
				Name: new("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"true"}}, Targets: []types.Target{{Key: new("resource-groups:Name"), Values: []string{name}}},
			})
			must[*ssm.DeleteAssociationOutput](t)(c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: a.AssociationId}))
		}
		// A window that has the group as a target reaches its nodes.
		mw := must[*ssm.CreateMaintenanceWindowOutput](t)(c.CreateMaintenanceWindow(ctx, &ssm.CreateMaintenanceWindowInput{Name: new("win"), Schedule: new("rate(1 day)"), Duration: new(int32(2)), Cutoff: 1, AllowUnassociatedTargets: true})).WindowId
		must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{WindowId: mw, ResourceType: "RESOURCE_GROUP", Targets: []types.Target{byName}}))
		reached := func(n *servertest.Node) int {
			return len(must[*ssm.DescribeMaintenanceWindowsForTargetOutput](t)(c.DescribeMaintenanceWindowsForTarget(ctx, &ssm.DescribeMaintenanceWindowsForTargetInput{ResourceType: "RESOURCE_GROUP", Targets: []types.Target{{Key: new("InstanceIds"), Values: []string{n.ID}}}})).WindowIdentities)
		}
		if reached(test[0]) != 1 || reached(prod[0]) != 0 {
			t.Errorf("windows of a node in the group and of one that is not: %d, %d", reached(test[0]), reached(prod[0]))
		}
		groups := inventoryOf(t, c, &ssm.GetInventoryInput{Filters: []types.InventoryFilter{where("AWS:ResourceGroup.Name", "", "Tests")}})
		if len(groups) != 3 {
			t.Errorf("%d nodes have the group in their inventory", len(groups))
		}

		// Changes.
		try(t, post("/update-group", `{"GroupName":"Tests","Description":"e"}`, nil))
		try(t, post("/update-group-query", `{"Group":"Tests","ResourceQuery":`+query("AWS::AllSupported", `{"Key":"Stage"}`)+`}`, nil))
		if n := len(members("Tests")); n != 4 {
			t.Errorf("%d members after the change", n)
		}
		var got resourcegroups.GetGroupOutput
		try(t, post("/get-group", `{"Group":"`+arn+`"}`, &got))
		var q resourcegroups.GetGroupQueryOutput
		try(t, post("/get-group-query", `{"Group":"Tests"}`, &q))
		if *got.Group.Description != "e" || !strings.Contains(*q.GroupQuery.ResourceQuery.Query, "AllSupported") {
			t.Errorf("group %+v, query %s", got.Group, *q.GroupQuery.ResourceQuery.Query)
		}
		var found resourcegroups.SearchResourcesOutput
		try(t, post("/resources/search", `{"ResourceQuery":`+query("AWS::AllSupported", "")+`}`, &found))
		if len(found.ResourceIdentifiers) != 6 { // four nodes, the window and the group itself
			t.Errorf("everything: %d resources", len(found.ResourceIdentifiers))
		}
		var some resourcegroups.SearchResourcesOutput
		in := `{"MaxResults":4,"ResourceQuery":` + query("AWS::AllSupported", "")
		try(t, post("/resources/search", in+`}`, &some))
		first := len(some.ResourceIdentifiers)
		token := *some.NextToken
		some = resourcegroups.SearchResourcesOutput{}
		try(t, post("/resources/search", in+`,"NextToken":"`+token+`"}`, &some))
		if first != 4 || len(some.ResourceIdentifiers) != 2 || some.NextToken != nil || *some.ResourceIdentifiers[0].ResourceArn != *found.ResourceIdentifiers[4].ResourceArn {
			t.Errorf("pages of %d and %d resources", first, len(some.ResourceIdentifiers))
		}
		path := "/resources/" + url.PathEscape(arn) + "/tags"
		rest := func(method, body string, out codec.Decodable) error {
			return s.REST(ctx, s.Admin, "resource-groups", method, path, body, out)
		}
		try(t, rest("PUT", `{"Tags":{"Cost":"1"}}`, nil))
		try(t, rest("PATCH", `{"Keys":["Owner"]}`, nil))
		var tags resourcegroups.GetTagsOutput
		try(t, rest("GET", "", &tags))
		if d := cmp.Diff(map[string]string{"Cost": "1"}, tags.Tags); d != "" || *tags.Arn != arn {
			t.Errorf("tags of %s: %s", *tags.Arn, d)
		}
		for i := range 3 {
			try(t, post("/groups", fmt.Sprintf(`{"Name":"g%d","ResourceQuery":%s}`, i, query("AWS::SSM::Document", "")), nil))
		}
		var names []string
		list := func(query, body string) (out resourcegroups.ListGroupsOutput) {
			t.Helper()
			try(t, post("/groups-list"+query, body, &out))
			return out
		}
		for next := "?maxResults=3"; next != ""; {
			out := list(next, "{}")
			for _, g := range out.GroupIdentifiers {
				names = append(names, *g.GroupName)
			}
			if next = ""; out.NextToken != nil {
				next = "?maxResults=3&nextToken=" + url.QueryEscape(*out.NextToken)
			}
		}
		if slices.Sort(names); !slices.Equal(names, []string{"Tests", "g0", "g1", "g2"}) {
			t.Errorf("groups %v", names)
		}
		if out := list("", `{"Filters":[{"Name":"resource-type","Values":["AWS::SSM::Document"]}]}`); len(out.GroupIdentifiers) != 3 {
			t.Errorf("groups of documents: %v", out.GroupIdentifiers)
		}

		try(t, s.Flush(ctx))
		before := s.Dump()
		for name, tc := range map[string]struct{ method, path, body, code string }{
			"twice":         {"POST", "/groups", `{"Name":"g0","ResourceQuery":` + query("AWS::AllSupported", "") + `}`, "BadRequestException"},
			"bad_name":      {"POST", "/groups", `{"Name":"a b","ResourceQuery":` + query("AWS::AllSupported", "") + `}`, "BadRequestException"},
			"aws_name":      {"POST", "/groups", `{"Name":"awsGroup","ResourceQuery":` + query("AWS::AllSupported", "") + `}`, "BadRequestException"},
			"no_query":      {"POST", "/groups", `{"Name":"h"}`, "BadRequestException"},
			"configuration": {"POST", "/groups", `{"Name":"h","Configuration":[{"Type":"AWS::EC2::HostManagement"}]}`, "BadRequestException"},
			"stack":         {"POST", "/groups", `{"Name":"h","ResourceQuery":{"Type":"CLOUDFORMATION_STACK_1_0","Query":"{}"}}`, "BadRequestException"},
			"broken_query":  {"POST", "/groups", `{"Name":"h","ResourceQuery":{"Type":"TAG_FILTERS_1_0","Query":"{"}}`, "BadRequestException"},
			"unknown":       {"POST", "/get-group", `{"Group":"Nobody"}`, "NotFoundException"},
			"elsewhere":     {"POST", "/get-group", `{"Group":"arn:aws:resource-groups:eu-west-1:000000000001:group/Tests"}`, "NotFoundException"},
			"nameless":      {"POST", "/delete-group", `{}`, "BadRequestException"},
			"aws_tag":       {"PUT", path, `{"Tags":{"aws:x":"1"}}`, "BadRequestException"},
			"page":          {"POST", "/groups-list?maxResults=51", `{}`, "BadRequestException"},
			"no_number":     {"POST", "/groups-list?maxResults=x", `{}`, "SerializationException"},
			"foreign_token": {"POST", "/groups-list?nextToken=abcd", `{}`, "BadRequestException"},
			"no_operation":  {"POST", "/nothing", `{}`, "UnknownOperationException"},
			"other_method":  {"DELETE", "/groups", `{}`, "UnknownOperationException"},
			"a_broken_body": {"POST", "/get-group", `{`, "SerializationException"},
		} {
			refused(t, name, s.REST(ctx, s.Admin, "resource-groups", tc.method, tc.path, tc.body, nil), tc.code, "")
		}
		refused(t, "a reader", s.REST(ctx, s.Reader, "resource-groups", "POST", "/delete-group", `{"Group":"g0"}`, nil), "AccessDeniedException", "")
		refused(t, "an unsigned call", s.REST(ctx, servertest.Key{AccessKeyID: s.Admin.AccessKeyID, SecretAccessKey: "x"}, "resource-groups", "POST", "/groups-list", `{}`, nil), "InvalidSignatureException", "")
		try(t, s.REST(ctx, s.Reader, "resource-groups", "POST", "/resources/search", `{"ResourceQuery":`+query("AWS::AllSupported", "")+`}`, nil))
		unchanged(t, "refused calls changed the database", before, s.Dump())

		// A window's task goes to the nodes that the group holds when its turn comes.
		_, window, _, due := nightly(t, s, nil)
		target := must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{
			WindowId: window, ResourceType: "RESOURCE_GROUP", Targets: []types.Target{byType("AWS::SSM::ManagedInstance"), byName},
		})).WindowTargetId
		register(t, c, window, target, "AWS-RunShellScript", 1, map[string][]string{"commands": {"true"}}, nil)
		s.Advance(due.Add(5 * time.Second).Sub(s.Now()))
		until(t, c, window, types.MaintenanceWindowExecutionStatusInProgress)
		var sent []types.Command
		for range 100 {
			sent = must[*ssm.ListCommandsOutput](t)(c.ListCommands(ctx, &ssm.ListCommandsInput{MaxResults: new(int32(1))})).Commands
			if len(sent) == 1 && sent[0].RequestedDateTime.After(due) {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		if len(sent) != 1 || !sent[0].RequestedDateTime.After(due) || sent[0].TargetCount != 4 {
			t.Errorf("the window's command: %+v", sent)
		}
		try(t, post("/delete-group", `{"Group":"Tests"}`, nil))
		refused(t, "a deleted group", post("/get-group", `{"Group":"Tests"}`, nil), "NotFoundException", "")
	})
}

func TestServiceSettings(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		const sharing = "/ssm/documents/console/public-sharing-permission"
		get := func(id string) types.ServiceSetting {
			t.Helper()
			return *must[*ssm.GetServiceSettingOutput](t)(c.GetServiceSetting(ctx, &ssm.GetServiceSettingInput{SettingId: &id})).ServiceSetting
		}
		if x := get(sharing); *x.SettingValue != "Enable" || *x.Status != "Default" || *x.ARN != "arn:aws:ssm:us-east-1:000000000001:servicesetting"+sharing {
			t.Errorf("before: %+v", x)
		}
		share := func() error {
			_, err := c.ModifyDocumentPermission(context.WithoutCancel(ctx), &ssm.ModifyDocumentPermissionInput{Name: new("Mine"), PermissionType: "Share", AccountIdsToAdd: []string{"all"}})
			return err
		}
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: new("Mine"), DocumentType: "Command", Content: new(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"x","inputs":{"runCommand":["true"]}}]}`)}))
		must[*ssm.UpdateServiceSettingOutput](t)(c.UpdateServiceSetting(ctx, &ssm.UpdateServiceSettingInput{SettingId: get(sharing).ARN, SettingValue: new("Disable")}))
		if x := get(sharing); *x.SettingValue != "Disable" || *x.Status != "Customized" || !strings.HasSuffix(*x.LastModifiedUser, ":user/admin") || x.LastModifiedDate == nil {
			t.Errorf("changed: %+v", x)
		}
		if err := share(); err == nil || !strings.Contains(err.Error(), "DocumentPermissionLimit") {
			t.Errorf("sharing with everybody while it is blocked: %v", err)
		}
		if x := must[*ssm.ResetServiceSettingOutput](t)(c.ResetServiceSetting(ctx, &ssm.ResetServiceSettingInput{SettingId: new(sharing)})).ServiceSetting; *x.Status != "Default" || *x.SettingValue != "Enable" {
			t.Errorf("reset: %+v", x)
		}
		try(t, share())
		must[*ssm.UpdateServiceSettingOutput](t)(c.UpdateServiceSetting(ctx, &ssm.UpdateServiceSettingInput{SettingId: new("/ssm/managed-instance/default-ec2-instance-management-role"), SettingValue: new("service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole")}))
		try(t, s.Flush(ctx))
		before := s.Dump()
		checkErrors(t, s, nil, []errorCase{
			{"GetServiceSetting", `{"SettingId":"/ssm/nothing"}`, "ServiceSettingNotFound", ""},
			{"GetServiceSetting", `{"SettingId":"arn:aws:ssm:eu-west-1:000000000001:servicesetting/ssm/managed-instance/activation-tier"}`, "ServiceSettingNotFound", ""},
			{"UpdateServiceSetting", `{"SettingId":"/ssm/nothing","SettingValue":"x"}`, "ServiceSettingNotFound", ""},
			{"UpdateServiceSetting", `{"SettingId":"/ssm/managed-instance/activation-tier","SettingValue":"premium"}`, "ValidationException", ""},
			{"UpdateServiceSetting", `{"SettingId":"/ssm/managed-instance/activation-tier","SettingValue":""}`, "ValidationException", ""},
			{"ResetServiceSetting", `{"SettingId":"/ssm/nothing"}`, "ServiceSettingNotFound", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
	})
}
