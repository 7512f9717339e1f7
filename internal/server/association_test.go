package server_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/ssm"
)

func webNodes() []types.Target {
	return []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"web"}}}
}

func associate(t *testing.T, c *ssm.Client, in *ssm.CreateAssociationInput) *types.AssociationDescription {
	t.Helper()
	return must[*ssm.CreateAssociationOutput](t)(c.CreateAssociation(t.Context(), in)).AssociationDescription
}

func described(t *testing.T, c *ssm.Client, id *string) *types.AssociationDescription {
	t.Helper()
	return must[*ssm.DescribeAssociationOutput](t)(c.DescribeAssociation(t.Context(), &ssm.DescribeAssociationInput{AssociationId: id})).AssociationDescription
}

func runs(t *testing.T, c *ssm.Client, id *string, filters ...types.AssociationExecutionFilter) []types.AssociationExecution {
	t.Helper()
	return must[*ssm.DescribeAssociationExecutionsOutput](t)(c.DescribeAssociationExecutions(t.Context(), &ssm.DescribeAssociationExecutionsInput{AssociationId: id, Filters: filters})).AssociationExecutions
}

// untilRun waits for an association to have so many executions of which the newest is as it should.
func untilRun(t *testing.T, c *ssm.Client, id *string, n int, status string) types.AssociationExecution {
	t.Helper()
	var list []types.AssociationExecution
	for range 300 {
		if list = runs(t, c, id); len(list) == n && aws.ToString(list[0].DetailedStatus) == status {
			return list[0]
		}
		time.Sleep(50 * time.Millisecond) // the server's own work
	}
	for _, e := range list {
		t.Logf("%s %s %s", *e.Status, *e.DetailedStatus, *e.ResourceCountByStatus)
	}
	t.Fatalf("%d executions, want %d and the newest %s", len(list), n, status)
	return types.AssociationExecution{}
}

func targetsOfRun(t *testing.T, c *ssm.Client, e types.AssociationExecution, filters ...types.AssociationExecutionTargetsFilter) []types.AssociationExecutionTarget {
	t.Helper()
	return must[*ssm.DescribeAssociationExecutionTargetsOutput](t)(c.DescribeAssociationExecutionTargets(t.Context(), &ssm.DescribeAssociationExecutionTargetsInput{
		AssociationId: e.AssociationId, ExecutionId: e.ExecutionId, Filters: filters,
	})).AssociationExecutionTargets
}

// associationItems are the compliance items of a node that associations made, as ID STATUS SEVERITY.
func associationItems(t *testing.T, c *ssm.Client, node string) (out []string) {
	t.Helper()
	list := must[*ssm.ListComplianceItemsOutput](t)(c.ListComplianceItems(t.Context(), &ssm.ListComplianceItemsInput{
		ResourceIds: []string{node}, ResourceTypes: []string{"ManagedInstance"},
		Filters: []types.ComplianceStringFilter{{Key: str("ComplianceType"), Values: []string{"Association"}, Type: types.ComplianceQueryOperatorTypeEqual}},
	}))
	for _, i := range list.ComplianceItems {
		out = append(out, fmt.Sprintf("%s %s %s %s", *i.Id, i.Status, i.Severity, i.Details["DocumentName"]))
	}
	slices.Sort(out)
	return out
}

// An association from its first run to its end, as a client sees it.
func TestAssociation(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		var nodes []*inbox
		for _, n := range s.Nodes(2, wire.Tag{Key: new("PatchGroup"), Value: new("web")}) {
			nodes = append(nodes, &inbox{Node: n})
		}
		slices.SortFunc(nodes, func(a, b *inbox) int { return strings.Compare(a.ID, b.ID) }) // the order in which they are sent to
		a := associate(t, c, &ssm.CreateAssociationInput{
			Name: str("AWS-RunPatchBaseline"), AssociationName: str("nightly"), Targets: webNodes(), ScheduleExpression: str("rate(1 day)"),
			Parameters: map[string][]string{"Operation": {"Scan"}}, MaxConcurrency: str("100%"), MaxErrors: str("1"), ComplianceSeverity: types.AssociationComplianceSeverityHigh,
			Tags: []types.Tag{{Key: str("team"), Value: str("ops")}},
		})
		if *a.AssociationVersion != "1" || a.Overview.Status == nil || *a.Overview.DetailedStatus != "Creating" || *a.DocumentVersion != "$DEFAULT" || a.Status.Name != "Associated" {
			t.Errorf("CreateAssociation = %+v, overview %+v, status %+v", a, a.Overview, a.Status)
		}
		// The first run comes at once, and all nodes are judged by one snapshot.
		snapshots := map[string]bool{}
		var ids []string
		for _, n := range nodes {
			id, p := n.next(t)
			ids = append(ids, id)
			in := p["Parameters"].(map[string]any)
			snapshots[fmt.Sprint(in["SnapshotId"])] = true
			if in["AssociationId"] != *a.AssociationId {
				t.Errorf("AssociationId = %v", in["AssociationId"])
			}
			try(t, n.Ack(ctx, id))
		}
		e := untilRun(t, c, a.AssociationId, 1, "InProgress")
		if len(snapshots) != 1 || !snapshots[*e.ExecutionId] {
			t.Errorf("snapshots %v, the execution is %s", snapshots, *e.ExecutionId)
		}
		if o := described(t, c, a.AssociationId).Overview; *o.Status != "Pending" {
			t.Errorf("overview while it runs: %+v", o)
		}
		try(t, nodes[0].Finish(ctx, ids[0], "Success", 0, ""))
		// What is shown of the other one is what is known of it now.
		if got := *runs(t, c, a.AssociationId)[0].ResourceCountByStatus; got != "{InProgress=1, Success=1}" {
			t.Errorf("counts %s", got)
		}
		list := targetsOfRun(t, c, e)
		if len(list) != 2 || *list[0].ResourceType != "ManagedInstance" || *list[0].OutputSource.OutputSourceType != "RunCommand" || !strings.Contains(ids[0], *list[0].OutputSource.OutputSourceId) {
			t.Errorf("targets = %+v", list)
		}
		try(t, nodes[1].Finish(ctx, ids[1], "Failed", 1, ""))
		e = untilRun(t, c, a.AssociationId, 1, "Failed")
		if *e.Status != "Failed" || *e.ResourceCountByStatus != "{Failed=1, Success=1}" {
			t.Errorf("execution %s %s", *e.Status, *e.ResourceCountByStatus)
		}
		for i, want := range []string{" COMPLIANT HIGH AWS-RunPatchBaseline", " NON_COMPLIANT HIGH AWS-RunPatchBaseline"} {
			if got := associationItems(t, c, nodes[i].ID); !slices.Equal(got, []string{*a.AssociationId + want}) {
				t.Errorf("compliance of node %d: %v", i, got)
			}
		}
		for filter, want := range map[string]int{"Success": 1, "Failed": 1, "Pending": 0} {
			info := must[*ssm.DescribeInstanceInformationOutput](t)(c.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{
				Filters: []types.InstanceInformationStringFilter{{Key: str("AssociationStatus"), Values: []string{filter}}},
			})).InstanceInformationList
			if len(info) != want || want == 1 && (*info[0].AssociationStatus != filter || info[0].AssociationOverview.InstanceAssociationStatusAggregatedCount[filter] != 1 || info[0].LastAssociationExecutionDate == nil) {
				t.Errorf("nodes whose associations are %s: %+v", filter, info)
			}
		}
		d := described(t, c, a.AssociationId)
		if *d.Overview.Status != "Failed" || !maps.Equal(d.Overview.AssociationStatusAggregatedCount, map[string]int32{"Success": 1, "Failed": 1}) || d.LastExecutionDate == nil || d.LastSuccessfulExecutionDate != nil {
			t.Errorf("overview %+v", d.Overview)
		}
		for filter, want := range map[string]int{"Status=Success": 1, "ResourceId=" + nodes[1].ID: 1, "ResourceType=ManagedInstance": 2, "Status=TimedOut": 0} {
			key, value, _ := strings.Cut(filter, "=")
			if got := targetsOfRun(t, c, e, types.AssociationExecutionTargetsFilter{Key: types.AssociationExecutionTargetsFilterKey(key), Value: &value}); len(got) != want {
				t.Errorf("%s: %d targets, want %d", filter, len(got), want)
			}
		}
		at := e.CreatedTime.Format(time.RFC3339)
		for _, f := range []struct {
			key, value, how string
			want            int
		}{
			{"ExecutionId", *e.ExecutionId, "EQUAL", 1},
			{"ExecutionId", *a.AssociationId, "EQUAL", 0},
			{"Status", "Failed", "EQUAL", 1},
			{"CreatedTime", at, "EQUAL", 1},
			{"CreatedTime", at, "LESS_THAN", 0},
			{"CreatedTime", e.CreatedTime.Add(-time.Hour).Format(time.RFC3339), "GREATER_THAN", 1},
		} {
			got := runs(t, c, a.AssociationId, types.AssociationExecutionFilter{Key: types.AssociationExecutionFilterKey(f.key), Value: &f.value, Type: types.AssociationFilterOperatorType(f.how)})
			if len(got) != f.want {
				t.Errorf("%+v: %d executions", f, len(got))
			}
		}
		for filter, want := range map[string]int{
			"AssociationName=nightly": 1, "Name=AWS-RunPatchBaseline": 1, "Name=AWS-RunShellScript": 0, "AssociationStatusName=Failed": 1, "InstanceId=" + nodes[0].ID: 1,
			"AssociationId=" + *a.AssociationId: 1, "LastExecutedAfter=" + e.CreatedTime.Add(-time.Hour).Format(time.RFC3339): 1,
			"LastExecutedBefore=" + e.CreatedTime.Add(-time.Hour).Format(time.RFC3339): 0, "ResourceGroupName=g": 0,
		} {
			key, value, _ := strings.Cut(filter, "=")
			got := must[*ssm.ListAssociationsOutput](t)(c.ListAssociations(ctx, &ssm.ListAssociationsInput{AssociationFilterList: []types.AssociationFilter{{Key: types.AssociationFilterKey(key), Value: &value}}}))
			if len(got.Associations) != want {
				t.Errorf("%s: %d associations, want %d", filter, len(got.Associations), want)
			}
		}
		st := must[*ssm.DescribeInstanceAssociationsStatusOutput](t)(c.DescribeInstanceAssociationsStatus(ctx, &ssm.DescribeInstanceAssociationsStatusInput{InstanceId: &nodes[1].ID})).InstanceAssociationStatusInfos
		if len(st) != 1 || *st[0].Status != "Failed" || *st[0].AssociationName != "nightly" || st[0].ExecutionDate == nil {
			t.Errorf("DescribeInstanceAssociationsStatus = %+v", st)
		}
		eff := must[*ssm.DescribeEffectiveInstanceAssociationsOutput](t)(c.DescribeEffectiveInstanceAssociations(ctx, &ssm.DescribeEffectiveInstanceAssociationsInput{InstanceId: &nodes[1].ID})).Associations
		if len(eff) != 1 || !strings.Contains(*eff[0].Content, "PatchLinux") {
			t.Errorf("DescribeEffectiveInstanceAssociations = %+v", eff)
		}
		// By its schedule, a day later; what is not named in an update is gone, and it runs again.
		s.Advance(24*time.Hour + time.Second)
		for _, n := range nodes {
			id, _ := n.next(t)
			try(t, n.Finish(ctx, id, "Success", 0, ""))
		}
		untilRun(t, c, a.AssociationId, 2, "Success")
		u := must[*ssm.UpdateAssociationOutput](t)(c.UpdateAssociation(ctx, &ssm.UpdateAssociationInput{AssociationId: a.AssociationId, Parameters: map[string][]string{"Operation": {"Scan"}}, SyncCompliance: "MANUAL"})).AssociationDescription
		if *u.AssociationVersion != "2" || u.AssociationName != nil || u.MaxErrors != nil || u.ScheduleExpression != nil || u.ComplianceSeverity != "" || len(u.Targets) != 1 {
			t.Errorf("UpdateAssociation = %+v", u)
		}
		for _, n := range nodes {
			id, _ := n.next(t)
			try(t, n.Finish(ctx, id, "Failed", 1, ""))
		}
		untilRun(t, c, a.AssociationId, 3, "Failed")
		if got := associationItems(t, c, nodes[0].ID); !slices.Equal(got, []string{*a.AssociationId + " COMPLIANT HIGH AWS-RunPatchBaseline"}) {
			t.Errorf("SyncCompliance MANUAL, and compliance is %v", got)
		}
		versions := must[*ssm.ListAssociationVersionsOutput](t)(c.ListAssociationVersions(ctx, &ssm.ListAssociationVersionsInput{AssociationId: a.AssociationId})).AssociationVersions
		if len(versions) != 2 || *versions[0].AssociationName != "nightly" || versions[1].AssociationName != nil {
			t.Errorf("versions = %+v", versions)
		}
		old := must[*ssm.DescribeAssociationOutput](t)(c.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: a.AssociationId, AssociationVersion: str("1")})).AssociationDescription
		if *old.AssociationName != "nightly" || *old.AssociationVersion != "1" {
			t.Errorf("version 1 = %+v", old)
		}
		tags := must[*ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Association", ResourceId: a.AssociationId}))
		if len(tags.TagList) != 1 || *tags.TagList[0].Value != "ops" {
			t.Errorf("tags = %+v", tags.TagList)
		}
		dispatched := 0
		for _, r := range s.Audit() {
			if r.EventName == "StartAssociationExecution" && r.EventType == "AwsServiceEvent" && strings.Contains(string(r.RequestParameters), *a.AssociationId) {
				dispatched++
			}
		}
		if dispatched != 3 {
			t.Errorf("%d runs in the audit, want 3", dispatched)
		}
		must[*ssm.DeleteAssociationOutput](t)(c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: a.AssociationId}))
		_, err := c.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: a.AssociationId})
		apiRefused(t, "a deleted association", err, "AssociationDoesNotExist", "")
		for range 100 {
			if len(associationItems(t, c, nodes[0].ID)) == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		if got := associationItems(t, c, nodes[0].ID); len(got) != 0 {
			t.Errorf("the compliance of a deleted association is %v", got)
		}
	})
}

// A run that begins while the last one has not ended makes that time out; a change lets it finish; what is asked for once
// runs once. What comes to match later is run by itself, and so is what a run did not reach.
//
// proves R-39
func TestAssociationFollowsItsNodes(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := &inbox{Node: s.Nodes(1, wire.Tag{Key: new("PatchGroup"), Value: new("web")})[0]}
		script := func(what string) map[string][]string { return map[string][]string{"commands": {what}} }
		a := associate(t, c, &ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Targets: webNodes(), ScheduleExpression: str("rate(30 minutes)"), Parameters: script("echo one")})
		id, _ := n.next(t)
		try(t, n.Ack(ctx, id))
		untilRun(t, c, a.AssociationId, 1, "InProgress")
		s.Advance(30*time.Minute + time.Second)
		e := untilRun(t, c, a.AssociationId, 2, "InProgress")
		first := runs(t, c, a.AssociationId)[1]
		if *first.DetailedStatus != "TimedOut" || *first.ResourceCountByStatus != "{TimedOut=1}" {
			t.Errorf("the run before: %s %s", *first.DetailedStatus, *first.ResourceCountByStatus)
		}
		var second string
		for range 2 { // beside it comes the cancel of the first
			m, p := n.next(t)
			if p["CancelMessageId"] == nil {
				second = m
			} else if p["CancelMessageId"] != id {
				t.Errorf("cancelled %v, want %s", p["CancelMessageId"], id)
			}
			try(t, n.Ack(ctx, m))
		}
		try(t, n.Reply(ctx, id, "Cancelled", nil))
		must[*ssm.UpdateAssociationOutput](t)(c.UpdateAssociation(ctx, &ssm.UpdateAssociationInput{AssociationId: a.AssociationId, Parameters: script("echo two")}))
		if more := n.PollNow(ctx); len(more) != 0 {
			t.Errorf("the change did not wait: %v", more)
		}
		try(t, n.Finish(ctx, second, "Success", 0, ""))
		id, p := n.next(t)
		if !strings.Contains(fmt.Sprint(p["Parameters"]), "echo two") {
			t.Errorf("parameters after the change: %v", p["Parameters"])
		}
		try(t, n.Finish(ctx, id, "Success", 0, ""))
		if e = untilRun(t, c, a.AssociationId, 3, "Success"); *e.AssociationVersion != "2" {
			t.Errorf("the run after the change is of version %s", *e.AssociationVersion)
		}
		must[*ssm.StartAssociationsOnceOutput](t)(c.StartAssociationsOnce(ctx, &ssm.StartAssociationsOnceInput{AssociationIds: []string{*a.AssociationId}}))
		id, _ = n.next(t)
		try(t, n.Finish(ctx, id, "Success", 0, ""))
		untilRun(t, c, a.AssociationId, 4, "Success")

		// A node that is tagged later, and one that registers later.
		other := &inbox{Node: s.Nodes(1)[0]}
		if more := other.PollNow(ctx); len(more) != 0 {
			t.Errorf("a node that does not match is run: %v", more)
		}
		must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "ManagedInstance", ResourceId: &other.ID, Tags: []types.Tag{{Key: str("PatchGroup"), Value: str("web")}}}))
		id, _ = other.next(t)
		try(t, other.Finish(ctx, id, "Success", 0, ""))
		if e = untilRun(t, c, a.AssociationId, 5, "Success"); *e.ResourceCountByStatus != "{Success=1}" {
			t.Errorf("the run of the node that came later: %s", *e.ResourceCountByStatus)
		}
		third := &inbox{Node: s.Nodes(1, wire.Tag{Key: new("PatchGroup"), Value: new("web")})[0]}
		id, _ = third.next(t)
		try(t, third.Finish(ctx, id, "Success", 0, ""))
		untilRun(t, c, a.AssociationId, 6, "Success")
		if got := described(t, c, a.AssociationId).Overview.AssociationStatusAggregatedCount; got["Success"] != 3 {
			t.Errorf("nodes: %v", got)
		}
		// One that does not match any more is forgotten.
		must[*ssm.RemoveTagsFromResourceOutput](t)(c.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: "ManagedInstance", ResourceId: &other.ID, TagKeys: []string{"PatchGroup"}}))
		for range 100 {
			if described(t, c, a.AssociationId).Overview.AssociationStatusAggregatedCount["Success"] == 2 {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		if got := associationItems(t, c, other.ID); len(got) != 0 || described(t, c, a.AssociationId).Overview.AssociationStatusAggregatedCount["Success"] != 2 {
			t.Errorf("a node that does not match any more: %v", got)
		}
		// One that a run did not reach runs when it is back. Nodes that are heard of come first.
		s.Advance(12 * time.Minute)
		try(t, n.Login(ctx))
		try(t, n.Heartbeat(ctx))
		must[*ssm.StartAssociationsOnceOutput](t)(c.StartAssociationsOnce(ctx, &ssm.StartAssociationsOnceInput{AssociationIds: []string{*a.AssociationId}}))
		id, _ = n.next(t)
		try(t, n.Finish(ctx, id, "Success", 0, ""))
		s.Advance(2 * time.Hour)
		e = untilRun(t, c, a.AssociationId, 7, "TimedOut")
		try(t, third.Login(ctx))
		try(t, third.Heartbeat(ctx))
		id, _ = third.next(t)
		try(t, third.Finish(ctx, id, "Success", 0, ""))
		untilRun(t, c, a.AssociationId, 8, "Success")
	})
}

func TestAssociationsRefused(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		script := map[string][]string{"commands": {"true"}}
		for _, tc := range []struct {
			name string
			in   ssm.CreateAssociationInput
			code string
		}{
			{"no_document", ssm.CreateAssociationInput{Name: str("Nobodys"), Targets: webNodes()}, "InvalidDocument"},
			{"no_version", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), DocumentVersion: str("7"), Targets: webNodes(), Parameters: script}, "InvalidDocumentVersion"},
			{"no_targets", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script}, "InvalidTarget"},
			{"both_targets", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, InstanceId: &n.ID, Targets: webNodes()}, "InvalidTarget"},
			{"key", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: []types.Target{{Key: str("Colour"), Values: []string{"red"}}}}, "InvalidTarget"},
			{"node_id", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: []types.Target{{Key: str("InstanceIds"), Values: []string{"web1"}}}}, "InvalidTarget"},
			{"group", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: []types.Target{{Key: str("resource-groups:Name"), Values: []string{"Nobodys"}}}}, "InvalidTarget"},
			{"group_arn", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: []types.Target{{Key: str("resource-groups:Name"), Values: []string{"arn:aws:resource-groups:us-east-1:000000000001:group/Nobodys"}}}}, "InvalidTarget"},
			{"no_group", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: []types.Target{{Key: str("resource-groups:Name"), Values: []string{""}}}}, "InvalidTarget"},
			{"unknown_node", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, InstanceId: str("mi-00000000000000000")}, "InvalidInstanceId"},
			{"parameter", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: map[string][]string{"LevelUp": {"x"}}, Targets: webNodes()}, "InvalidParameters"},
			{"overrides", ssm.CreateAssociationInput{Name: str("AWS-RunPatchBaseline"), Targets: webNodes(), Parameters: map[string][]string{
				"Operation": {"Install"}, "BaselineOverride": {"s3://bucket/a"}, "InstallOverrideList": {"s3://bucket/b"},
			}}, "InvalidParameters"},
			{"schedule", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes(), ScheduleExpression: str("rate(5 minutes)")}, "InvalidSchedule"},
			{"offset", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes(), ScheduleExpression: str("cron(0 2 ? * SUN *)"), ScheduleOffset: aws.Int32(2)}, "InvalidSchedule"},
			{"only_at_interval", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes(), ScheduleExpression: str("rate(1 day)"), ApplyOnlyAtCronInterval: true}, "InvalidSchedule"},
			{"output", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes(), OutputLocation: &types.InstanceAssociationOutputLocation{S3Location: &types.S3OutputLocation{OutputS3KeyPrefix: str("x")}}}, "InvalidOutputLocation"},
			{"calendar", ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes(), CalendarNames: []string{"Holidays"}}, "ValidationException"},
		} {
			_, err := c.CreateAssociation(ctx, &tc.in)
			apiRefused(t, tc.name, err, tc.code, "")
		}
		if list := must[*ssm.ListAssociationsOutput](t)(c.ListAssociations(ctx, &ssm.ListAssociationsInput{})); len(list.Associations) != 0 {
			t.Errorf("what was refused is there: %+v", list.Associations)
		}
		// The old form with one node; the same document and node a second time.
		old := associate(t, c, &ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Parameters: script, InstanceId: &n.ID, AssociationDispatchAssumeRole: str("arn:aws:iam::000000000001:role/Runs")})
		if aws.ToString(described(t, c, old.AssociationId).AssociationDispatchAssumeRole) != "arn:aws:iam::000000000001:role/Runs" {
			t.Errorf("the role is not kept: %+v", old)
		}
		if *old.InstanceId != n.ID || old.Targets[0].Values[0] != n.ID {
			t.Errorf("the old form: %+v", old)
		}
		// A node sees those that reach it, and in the list those that name it.
		stranger := s.Nodes(1)[0]
		for node, want := range map[*servertest.Node]int{n: 1, stranger: 0} {
			var list wire.ListAssociationsOutput
			try(t, node.Call(ctx, "ssm", "ListAssociations", &wire.ListAssociationsInput{}, &list))
			if len(list.Associations) != want {
				t.Errorf("a node lists %d associations, want %d", len(list.Associations), want)
			}
		}
		try(t, n.Call(ctx, "ssm", "DescribeAssociation", &wire.DescribeAssociationInput{AssociationId: old.AssociationId}, nil))
		refused(t, "another node's association", stranger.Call(ctx, "ssm", "DescribeAssociation", &wire.DescribeAssociationInput{AssociationId: old.AssociationId}, nil), "AssociationDoesNotExist", "")
		batch := must[*ssm.CreateAssociationBatchOutput](t)(c.CreateAssociationBatch(ctx, &ssm.CreateAssociationBatchInput{Entries: []types.CreateAssociationBatchRequestEntry{
			{Name: str("AWS-RunShellScript"), Parameters: script, InstanceId: &n.ID}, {Name: str("AWS-RunShellScript"), Parameters: script, Targets: webNodes()},
		}}))
		if len(batch.Failed) != 1 || len(batch.Successful) != 1 || batch.Failed[0].Fault != types.FaultClient || !strings.Contains(*batch.Failed[0].Message, "AssociationAlreadyExists") {
			t.Errorf("CreateAssociationBatch = %+v", batch)
		}
		_, err := c.UpdateAssociationStatus(ctx, &ssm.UpdateAssociationStatusInput{Name: str("AWS-RunShellScript"), InstanceId: &n.ID, AssociationStatus: &types.AssociationStatus{
			Name: types.AssociationStatusNameFailed, Message: str("by hand"), Date: aws.Time(s.Now().Truncate(time.Second)),
		}})
		try(t, err)
		if got := described(t, c, old.AssociationId).Status; got.Name != "Failed" || *got.Message != "by hand" {
			t.Errorf("status = %+v", got)
		}
		_, err = c.UpdateAssociation(ctx, &ssm.UpdateAssociationInput{AssociationId: old.AssociationId, AssociationVersion: str("9"), Parameters: script})
		apiRefused(t, "an old version", err, "InvalidAssociationVersion", "")
		_, err = c.StartAssociationsOnce(ctx, &ssm.StartAssociationsOnceInput{AssociationIds: []string{*old.AssociationId, "00000000-0000-0000-0000-000000000000"}})
		apiRefused(t, "an unknown association", err, "InvalidAssociation", "")
		_, err = c.DescribeAssociationExecutionTargets(ctx, &ssm.DescribeAssociationExecutionTargetsInput{AssociationId: old.AssociationId, ExecutionId: str("00000000-0000-0000-0000-000000000000")})
		apiRefused(t, "an unknown execution", err, "AssociationExecutionDoesNotExist", "")
		must[*ssm.DeleteAssociationOutput](t)(c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{Name: str("AWS-RunShellScript"), InstanceId: &n.ID}))
		_, err = c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: old.AssociationId})
		apiRefused(t, "a second delete", err, "AssociationDoesNotExist", "")
		// A document is not deleted while an association runs it.
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Greet"), DocumentType: "Command", Content: str(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"x","inputs":{"runCommand":["true"]}}]}`),
		}))
		greet := associate(t, c, &ssm.CreateAssociationInput{Name: str("Greet"), Targets: webNodes()})
		_, err = c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Greet")})
		apiRefused(t, "a document in use", err, "AssociatedInstances", "")
		must[*ssm.DeleteAssociationOutput](t)(c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: greet.AssociationId}))
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Greet")}))
	})
}

// What only an agent can run by itself it is offered, once, and the server takes what it says of it. Another document is
// never offered: it comes as a command.
func TestAssociationsOfAgents(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := &inbox{Node: s.Nodes(1)[0]}
		time.Sleep(6 * time.Second) // its heartbeat is written: the server knows the agent
		every := []types.Target{{Key: str("InstanceIds"), Values: []string{"*"}}}
		a := associate(t, c, &ssm.CreateAssociationInput{Name: str("AWS-GatherSoftwareInventory"), Targets: every, ScheduleExpression: str("rate(30 minutes)")})
		associate(t, c, &ssm.CreateAssociationInput{Name: str("AWS-RunShellScript"), Targets: every, Parameters: map[string][]string{"commands": {"true"}}})
		id, _ := n.next(t)
		try(t, n.Finish(ctx, id, "Success", 0, ""))
		e := untilRun(t, c, a.AssociationId, 1, "InProgress")
		offered := func() []wire.InstanceAssociationSummary {
			var out wire.ListInstanceAssociationsOutput
			try(t, n.Call(ctx, "ssm", "ListInstanceAssociations", &wire.ListInstanceAssociationsInput{InstanceId: &n.ID}, &out))
			return out.Associations
		}
		list := offered()
		if len(list) != 1 || *list[0].AssociationId != *a.AssociationId || *list[0].DetailedStatus != "Pending" || *list[0].DocumentVersion != "1" || *list[0].InstanceId != n.ID ||
			*list[0].Checksum == "" || list[0].ScheduleExpression != nil {
			t.Fatalf("ListInstanceAssociations = %+v", list)
		}
		report := func(status string) error {
			return n.Call(ctx, "ssm", "UpdateInstanceAssociationStatus", &wire.UpdateInstanceAssociationStatusInput{
				AssociationId: a.AssociationId, InstanceId: &n.ID, ExecutionResult: &wire.InstanceAssociationExecutionResult{Status: &status, ErrorCode: new(""), ExecutionSummary: new("1 out of 1 plugin processed")},
			}, nil)
		}
		try(t, report("Pending"))
		try(t, report("InProgress"))
		if list = offered(); len(list) != 1 || *list[0].DetailedStatus != "InProgress" || list[0].LastExecutionDate == nil {
			t.Errorf("while it runs: %+v", list)
		}
		try(t, report("Success"))
		if list = offered(); len(list) != 0 {
			t.Errorf("after its end: %+v", list)
		}
		if e = untilRun(t, c, a.AssociationId, 1, "Success"); *e.ResourceCountByStatus != "{Success=1}" {
			t.Errorf("counts %s", *e.ResourceCountByStatus)
		}
		try(t, report("Failed")) // late: it has ended
		if got := targetsOfRun(t, c, e); len(got) != 1 || *got[0].Status != "Success" || got[0].OutputSource != nil {
			t.Errorf("targets = %+v", got)
		}
		// The agent's own report of compliance takes nothing from what the server has said.
		try(t, n.Call(ctx, "ssm", "PutComplianceItems", &wire.PutComplianceItemsInput{
			ResourceId: &n.ID, ResourceType: new("ManagedInstance"), ComplianceType: new("Association"), ItemContentHash: new("h"),
			ExecutionSummary: &wire.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(s.Now()), ExecutionId: new(""), ExecutionType: new("")},
			Items:            []wire.ComplianceItemEntry{{Id: a.AssociationId, Title: new(""), Severity: new("UNSPECIFIED"), Status: new("COMPLIANT")}},
		}, nil))
		if got := associationItems(t, c, n.ID); len(got) != 2 {
			t.Errorf("compliance: %v", got)
		}
		// It may read the document of an association that it is to run, and no other one.
		for _, name := range []string{"Gather", "Secret"} {
			must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
				Name: &name, DocumentType: "Command", Content: str(`{"schemaVersion":"2.0","mainSteps":[{"action":"aws:softwareInventory","name":"x","inputs":{"applications":"Enabled"}}]}`),
			}))
		}
		gather := associate(t, c, &ssm.CreateAssociationInput{Name: str("Gather"), Targets: every})
		untilRun(t, c, gather.AssociationId, 1, "InProgress")
		read := func(name string) error {
			return n.Call(ctx, "ssm", "GetDocument", &wire.GetDocumentInput{Name: &name}, nil)
		}
		try(t, read("Gather"))
		refused(t, "a document of nobody", read("Secret"), "InvalidDocument", "")
		must[*ssm.DeleteAssociationOutput](t)(c.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: gather.AssociationId}))
		// What it never reports of times out, and is offered again by the schedule.
		s.Advance(30*time.Minute + time.Second)
		untilRun(t, c, a.AssociationId, 2, "InProgress")
		try(t, n.Login(ctx))
		if list = offered(); len(list) != 1 {
			t.Errorf("by the schedule: %+v", list)
		}
	})
}
