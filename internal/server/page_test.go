package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/ssm"
)

// listing is one paginated operation, the member that holds its list, and the least rows the test made for it.
type listing struct {
	service, op, in, member string
	size                    int // MaxResults of a page
	least                   int
}

// TestPages walks every paginated operation of the table: the union of its pages is the list in one piece, in the
// same order and without repetition; a token of another question, of another tenant or a broken one is refused.
func TestPages(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(23, wire.Tag{Key: new("PatchGroup"), Value: new("web")})
		var many []compliance.Item
		for i := range 33 {
			many = append(many, item(fmt.Sprintf("p%02d", i), []compliance.State{compliance.Installed, compliance.Missing, compliance.InstalledOther}[i%3], baseline.High, "Security"))
		}
		var ids []string
		for i, n := range nodes {
			ids = append(ids, n.ID)
			r := result(s.Now(), many[:1+i]...)
			for k := range 25 {
				r.Available = append(r.Available, compliance.Available{Name: fmt.Sprintf("lib%02d", k), Arch: "amd64", Version: "2", Priority: "optional", Section: "libs", Repository: "debian", Classification: "Security", Product: "Debian12", ReleasedTime: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)})
			}
			if i == 0 {
				r = result(s.Now(), many...)
			}
			try(t, n.PutResult(ctx, r))
			if i%2 == 0 {
				try(t, s.Call(ctx, n.Session, "ssm", "PutComplianceItems", `{"ResourceId":"`+n.ID+`","ResourceType":"ManagedInstance","ComplianceType":"Custom:check`+fmt.Sprint(i%6)+`","ExecutionSummary":{"ExecutionTime":1},"Items":[{"Id":"a","Severity":"LOW","Status":"COMPLIANT"},{"Id":"b","Severity":"LOW","Status":"NON_COMPLIANT"}]}`, nil))
			}
		}
		var rows []string
		for i := range 30 {
			rows = append(rows, fmt.Sprintf(`{"n":"%d"}`, i))
		}
		try(t, s.Call(ctx, nodes[0].Session, "ssm", "PutInventory", `{"InstanceId":"`+ids[0]+`","Items":[{"TypeName":"Custom:Rows","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[`+strings.Join(rows, ",")+`]}]}`, nil))
		deb := ""
		for i := range 12 {
			out := must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: str(fmt.Sprint("mine", i)), OperatingSystem: "DEBIAN", ApprovedPatches: []string{"lib*"}, ApprovedPatchesEnableNonSecurity: new(true)}))
			deb = *out.BaselineId
			must[*ssm.RegisterPatchBaselineForPatchGroupOutput](t)(c.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: out.BaselineId, PatchGroup: str(fmt.Sprintf("Ä group %d", i))}))
			s.Activate(1)
		}
		for range 6 {
			must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"web"}}}, Parameters: map[string][]string{"commands": {"true"}}}))
		}
		busy, task, execution := windows(t, s, ids)
		for i := range 9 {
			must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str(fmt.Sprint("Paged", i)), Content: str(ownDocument(fmt.Sprint(i)))}))
			if i > 0 {
				must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Paged0"), Content: str(ownDocument(fmt.Sprint("update ", i)))}))
			}
			must[*ssm.ModifyDocumentPermissionOutput](t)(c.ModifyDocumentPermission(ctx, &ssm.ModifyDocumentPermissionInput{
				Name: str("Paged0"), PermissionType: "Share", AccountIdsToAdd: []string{fmt.Sprintf("%012d", 500-i)},
			}))
		}
		association, run := associations(t, c)
		try(t, nodes[1].Login(ctx)) // the clock has moved
		for i := range 3 {
			try(t, putInventory(ctx, nodes[1], "Custom:Gone", "1.0", []map[string]string{{"a": "b"}}))
			must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: str("Custom:Gone")}))
			must[*ssm.CreateResourceDataSyncOutput](t)(c.CreateResourceDataSync(ctx, &ssm.CreateResourceDataSyncInput{
				SyncName: str(fmt.Sprint("sync", i)), SyncType: str("SyncFromSource"), SyncSource: &types.ResourceDataSyncSource{SourceType: str("SingleAccountMultiRegions"), SourceRegions: []string{"us-east-1"}},
			}))
		}
		for range 200 {
			list := must[*ssm.DescribeInventoryDeletionsOutput](t)(c.DescribeInventoryDeletions(ctx, &ssm.DescribeInventoryDeletionsInput{})).InventoryDeletions
			if !slices.ContainsFunc(list, func(d types.InventoryDeletionStatusItem) bool { return d.LastStatus != "Complete" }) {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		try(t, s.Flush(ctx))
		five, _ := json.Marshal(ids[:20])
		listings := []listing{
			{"ssm", "DescribeActivations", `{}`, "ActivationList", 2, 13},
			{"ssm", "DescribeInstanceInformation", `{}`, "InstanceInformationList", 5, 23},
			{"ssm", "DescribeInstancePatchStates", `{"InstanceIds":` + string(five) + `}`, "InstancePatchStates", 10, 20},
			{"ssm", "DescribeInstancePatchStatesForPatchGroup", `{"PatchGroup":"web"}`, "InstancePatchStates", 10, 23},
			{"ssm", "DescribeInstancePatches", `{"InstanceId":"` + ids[0] + `"}`, "Patches", 10, 33},
			{"ssm", "DescribePatchBaselines", `{}`, "BaselineIdentities", 3, 29},
			{"ssm", "DescribePatchBaselines", `{"Filters":[{"Key":"OWNER","Values":["Self"]}]}`, "BaselineIdentities", 5, 12},
			{"ssm", "DescribePatchGroups", `{}`, "Mappings", 5, 12},
			{"ssm", "DescribePatchProperties", `{"OperatingSystem":"DEBIAN","Property":"PRODUCT"}`, "Properties", 2, 3},
			{"ssm", "DescribeAvailablePatches", `{"Filters":[{"Key":"PRODUCT","Values":["Debian12"]}]}`, "Patches", 7, 25},
			{"ssm", "DescribeEffectivePatchesForPatchBaseline", `{"BaselineId":"` + deb + `"}`, "EffectivePatches", 7, 25},
			{"ssm", "ListCommands", `{}`, "Commands", 4, 6},
			{"ssm", "ListCommands", `{"InstanceId":"` + ids[3] + `"}`, "Commands", 5, 6},
			{"ssm", "ListCommandInvocations", `{}`, "CommandInvocations", 50, 138},
			{"ssm", "ListCommandInvocations", `{"InstanceId":"` + ids[3] + `"}`, "CommandInvocations", 5, 6},
			{"ssm", "ListComplianceItems", `{}`, "ComplianceItems", 17, 200},
			{"ssm", "ListComplianceItems", `{"Filters":[{"Key":"Status","Values":["NON_COMPLIANT"]}]}`, "ComplianceItems", 7, 50},
			{"ssm", "ListComplianceItems", `{"ResourceIds":["` + ids[0] + `","` + ids[1] + `"],"ResourceTypes":["ManagedInstance"]}`, "ComplianceItems", 5, 20},
			{"ssm", "ListComplianceSummaries", `{}`, "ComplianceSummaryItems", 1, 4},
			{"ssm", "ListResourceComplianceSummaries", `{}`, "ResourceComplianceSummaryItems", 1, 35},
			{"ssm", "ListInventoryEntries", `{"InstanceId":"` + ids[0] + `","TypeName":"Custom:Rows"}`, "Entries", 4, 30},
			{"ssm", "GetInventory", `{}`, "Entities", 4, 23},
			{"ssm", "GetInventorySchema", `{}`, "Schemas", 50, 19},
			{"ssm", "DescribeInventoryDeletions", `{}`, "InventoryDeletions", 1, 3},
			{"ssm", "ListResourceDataSync", `{}`, "ResourceDataSyncItems", 1, 3},
			{"ssm", "DescribeMaintenanceWindows", `{}`, "WindowIdentities", 10, 13},
			{"ssm", "DescribeMaintenanceWindowTargets", `{"WindowId":"` + busy + `"}`, "Targets", 10, 12},
			{"ssm", "DescribeMaintenanceWindowTasks", `{"WindowId":"` + busy + `"}`, "Tasks", 10, 12},
			{"ssm", "DescribeMaintenanceWindowExecutions", `{"WindowId":"` + busy + `"}`, "WindowExecutions", 10, 12},
			{"ssm", "DescribeMaintenanceWindowExecutionTasks", `{"WindowExecutionId":"` + execution + `"}`, "WindowExecutionTaskIdentities", 10, 12},
			{"ssm", "DescribeMaintenanceWindowExecutionTaskInvocations", `{"WindowExecutionId":"` + execution + `","TaskId":"` + task + `"}`, "WindowExecutionTaskInvocationIdentities", 10, 12},
			{"ssm", "DescribeMaintenanceWindowsForTarget", `{"ResourceType":"INSTANCE","Targets":[{"Key":"InstanceIds","Values":["` + ids[0] + `"]}]}`, "WindowIdentities", 5, 13},
			{"ssm", "DescribeMaintenanceWindowSchedule", `{"WindowId":"` + busy + `"}`, "ScheduledWindowExecutions", 50, 100},
			{"ssm", "DescribeMaintenanceWindowSchedule", `{"Filters":[{"Key":"ScheduledBefore","Values":["` + s.Now().UTC().Add(72*time.Hour).Format(time.RFC3339) + `"]}]}`, "ScheduledWindowExecutions", 7, 36},
			{"ssm", "ListDocuments", `{}`, "DocumentIdentifiers", 2, 14},
			{"ssm", "ListDocuments", `{"Filters":[{"Key":"Owner","Values":["Self"]}]}`, "DocumentIdentifiers", 4, 9},
			{"ssm", "ListDocumentVersions", `{"Name":"Paged0"}`, "DocumentVersions", 4, 9},
			{"ssm", "DescribeDocumentPermission", `{"Name":"Paged0","PermissionType":"Share"}`, "AccountIds", 4, 9},
			{"ssm", "ListAssociations", `{}`, "Associations", 5, 12},
			{"ssm", "ListAssociationVersions", `{"AssociationId":"` + association + `"}`, "AssociationVersions", 5, 12},
			{"ssm", "DescribeAssociationExecutions", `{"AssociationId":"` + association + `"}`, "AssociationExecutions", 4, 6},
			{"ssm", "DescribeAssociationExecutionTargets", `{"AssociationId":"` + association + `","ExecutionId":"` + run + `"}`, "AssociationExecutionTargets", 7, 23},
			{"ssm", "DescribeInstanceAssociationsStatus", `{"InstanceId":"` + ids[0] + `"}`, "InstanceAssociationStatusInfos", 5, 12},
			{"ssm", "DescribeEffectiveInstanceAssociations", `{"InstanceId":"` + ids[0] + `"}`, "Associations", 2, 12},
			{"oakum", "DescribeNodes", `{}`, "Nodes", 4, 23},
		}
		tokens := map[string]string{}
		for _, l := range listings {
			walk := func(size int) (all []string) {
				token := ""
				for range 200 {
					in := map[string]any{}
					_ = json.Unmarshal([]byte(l.in), &in)
					if size > 0 {
						in["MaxResults"] = size
					}
					if token != "" {
						in["NextToken"] = token
					}
					b, _ := json.Marshal(in)
					page, err := raw(t, s, l.service, l.op, string(b))
					if err != nil {
						t.Fatalf("%s %s: %v", l.op, b, err)
					}
					var list []json.RawMessage
					try(t, json.Unmarshal(page[l.member], &list))
					if size > 0 && len(list) > size {
						t.Errorf("%s: a page of %d holds %d", l.op, size, len(list))
					}
					for _, row := range list {
						all = append(all, string(row))
					}
					var next string
					if nt, ok := page["NextToken"]; ok {
						try(t, json.Unmarshal(nt, &next))
						if next == "" {
							t.Errorf("%s: an empty NextToken", l.op)
						}
						tokens[l.op+" "+l.in] = next
					}
					if token = next; token == "" {
						return all
					}
				}
				t.Fatalf("%s does not come to an end", l.op)
				return nil
			}
			max := 0
			for _, op := range s.Operations() {
				if op.Service == l.service && op.Name == l.op {
					max = int(op.MaxResults)
				}
			}
			whole, pages := walk(max), walk(l.size)
			if len(whole) < l.least {
				t.Errorf("%s %s: %d rows, want at least %d", l.op, l.in, len(whole), l.least)
			}
			if !slices.Equal(whole, pages) {
				t.Errorf("%s %s: %d rows in pages of %d, %d in pages of %d, and not the same", l.op, l.in, len(pages), l.size, len(whole), max)
			}
			seen := map[string]bool{}
			for _, r := range pages {
				if seen[r] {
					t.Errorf("%s %s: twice in the pages: %.200s", l.op, l.in, r)
				}
				seen[r] = true
			}
		}
		// Every paginated operation that is served must be among the listings.
		for _, op := range s.Operations() {
			if !op.Paginated || op.Name == "ListInstanceAssociations" || op.Protocol == codec.RESTJSON { // TestResourceGroups pages those
				continue
			}
			if !slices.ContainsFunc(listings, func(l listing) bool { return l.op == op.Name }) {
				t.Errorf("%s is paginated: add it to the listings of this test", op.Name)
			}
			modelled := slices.Contains(op.Errors, "InvalidNextToken")
			for _, l := range listings {
				if l.op != op.Name {
					continue
				}
				token := tokens[l.op+" "+l.in]
				bad := []string{"x", "AAAA", strings.Repeat("A", 400)}
				if token != "" {
					bad = append(bad, token[:len(token)-2], token[:len(token)/2]+"A"+token[len(token)/2+1:]+"B")
				}
				for other, tok := range tokens {
					if !strings.HasPrefix(other, l.op+" ") {
						bad = append(bad, tok)
						break
					}
				}
				for _, tok := range bad {
					in := map[string]any{}
					_ = json.Unmarshal([]byte(l.in), &in)
					in["NextToken"] = tok
					b, _ := json.Marshal(in)
					err := s.Call(ctx, s.Admin, l.service, l.op, string(b), nil)
					if code := awserr.Code(err); code != "InvalidNextToken" && (modelled || code != "ValidationException") {
						t.Errorf("%s with the token %.40s = %v", l.op, tok, err)
					}
				}
				if token != "" {
					in := map[string]any{}
					_ = json.Unmarshal([]byte(l.in), &in)
					in["NextToken"] = token
					b, _ := json.Marshal(in)
					other := *s
					other.Region = "eu-west-1"
					if err := other.Call(ctx, s.Admin, l.service, l.op, string(b), nil); err == nil {
						t.Errorf("%s takes a token of another region", l.op)
					}
				}
			}
		}
	})
}

// windows makes thirteen maintenance windows; the last one has been through an hour of executions, of which the first has a task
// with an invocation for each of twelve targets.
func windows(t *testing.T, s *servertest.Server, ids []string) (busy, task, execution string) {
	t.Helper()
	ctx, c := t.Context(), s.SSM(s.Admin)
	for i := range 13 {
		in := &ssm.CreateMaintenanceWindowInput{Name: str(fmt.Sprintf("window-%02d", i)), Schedule: str("cron(0 22 ? * * *)"), Duration: new(int32(3)), Cutoff: 1}
		if i == 12 {
			in.Schedule = str("rate(5 minutes)")
		}
		busy = *must[*ssm.CreateMaintenanceWindowOutput](t)(c.CreateMaintenanceWindow(ctx, in)).WindowId
		must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{
			WindowId: &busy, ResourceType: "INSTANCE", Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"web"}}},
		}))
	}
	var targets []string
	for i := range 12 {
		targets = append(targets, *must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{
			WindowId: &busy, ResourceType: "INSTANCE", Targets: []types.Target{{Key: str("InstanceIds"), Values: []string{ids[i]}}},
		})).WindowTargetId)
	}
	must[*ssm.RegisterTaskWithMaintenanceWindowOutput](t)(c.RegisterTaskWithMaintenanceWindow(ctx, &ssm.RegisterTaskWithMaintenanceWindowInput{
		WindowId: &busy, TaskArn: str("AWS-RunShellScript"), TaskType: "RUN_COMMAND", MaxConcurrency: str("1"), MaxErrors: str("1"), Priority: new(int32(0)),
		Targets:                  []types.Target{{Key: str("WindowTargetIds"), Values: targets}},
		TaskInvocationParameters: &types.MaintenanceWindowTaskInvocationParameters{RunCommand: &types.MaintenanceWindowRunCommandParameters{Parameters: map[string][]string{"commands": {"true"}}}},
	}))
	for range 12 {
		must[*ssm.RegisterTaskWithMaintenanceWindowOutput](t)(c.RegisterTaskWithMaintenanceWindow(ctx, &ssm.RegisterTaskWithMaintenanceWindowInput{WindowId: &busy, TaskArn: str("x"), TaskType: "AUTOMATION"}))
	}
	s.Advance(time.Hour + 2*time.Second)
	for range 300 {
		list := must[*ssm.DescribeMaintenanceWindowExecutionsOutput](t)(c.DescribeMaintenanceWindowExecutions(ctx, &ssm.DescribeMaintenanceWindowExecutionsInput{WindowId: &busy})).WindowExecutions
		if len(list) >= 12 {
			must[*ssm.UpdateMaintenanceWindowOutput](t)(c.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{WindowId: &busy, Schedule: str("rate(1 day)")}))
			for _, e := range list {
				if e.Status == "IN_PROGRESS" {
					execution = *e.WindowExecutionId
				}
			}
			tasks := must[*ssm.DescribeMaintenanceWindowExecutionTasksOutput](t)(c.DescribeMaintenanceWindowExecutionTasks(ctx, &ssm.DescribeMaintenanceWindowExecutionTasksInput{WindowExecutionId: &execution})).WindowExecutionTaskIdentities
			return busy, *tasks[0].TaskExecutionId, execution
		}
		time.Sleep(50 * time.Millisecond) // the server's own work
	}
	t.Fatal("the executions do not come")
	return "", "", ""
}

// raw performs a call as the administrator and splits its answer by member.
func raw(t *testing.T, s *servertest.Server, service, op, in string) (map[string]json.RawMessage, error) {
	t.Helper()
	var out map[string]json.RawMessage
	b, err := s.Raw(t.Context(), s.Admin, service, op, in)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(b, &out)
}

// Rows that come and go between two pages neither hide nor repeat the others.
func TestPagesUnderChange(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(20)
		stay := map[string]int{}
		for _, n := range nodes[10:] {
			stay[n.ID] = 0
		}
		p := ssm.NewDescribeInstanceInformationPaginator(c, &ssm.DescribeInstanceInformationInput{MaxResults: new(int32(5))})
		gone := 0
		for p.HasMorePages() {
			for _, i := range must[*ssm.DescribeInstanceInformationOutput](t)(p.NextPage(ctx)).InstanceInformationList {
				if _, ok := stay[*i.InstanceId]; ok {
					stay[*i.InstanceId]++
				}
			}
			for range 3 {
				if gone < 10 {
					must[*ssm.DeregisterManagedInstanceOutput](t)(c.DeregisterManagedInstance(ctx, &ssm.DeregisterManagedInstanceInput{InstanceId: &nodes[gone].ID}))
					gone++
				}
			}
			s.Nodes(1)
		}
		for id, n := range stay {
			if n != 1 {
				t.Errorf("%s was listed %d times", id, n)
			}
		}
	})
}

// associations makes associations for all nodes of a patch group, of which one has many versions and has run often, and
// answers that one and its last run.
func associations(t *testing.T, c *ssm.Client) (id, run string) {
	t.Helper()
	parameters := map[string][]string{"commands": {"true"}}
	for range 12 {
		a := associate(t, c, &ssm.CreateAssociationInput{
			Name: str("AWS-RunShellScript"), Targets: webNodes(), Parameters: parameters, ScheduleExpression: str("cron(0 2 1 1 ? 2190)"), ApplyOnlyAtCronInterval: true,
		})
		id = *a.AssociationId
	}
	for range 11 {
		must[*ssm.UpdateAssociationOutput](t)(c.UpdateAssociation(t.Context(), &ssm.UpdateAssociationInput{
			AssociationId: &id, Parameters: parameters, ScheduleExpression: str("cron(0 2 1 1 ? 2190)"), ApplyOnlyAtCronInterval: true,
		}))
	}
	for i := range 6 {
		must[*ssm.StartAssociationsOnceOutput](t)(c.StartAssociationsOnce(t.Context(), &ssm.StartAssociationsOnceInput{AssociationIds: []string{id}}))
		run = *untilRun(t, c, &id, i+1, "InProgress").ExecutionId
	}
	return id, run
}
