package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/ssm"
)

// putItem puts one compliance item of a run beside what there is.
func putItem(t *testing.T, c *ssm.Client, node, kind, id, execution string, at time.Time) {
	t.Helper()
	must[*ssm.PutComplianceItemsOutput](t)(c.PutComplianceItems(t.Context(), &ssm.PutComplianceItemsInput{
		ResourceId: &node, ResourceType: new("ManagedInstance"), ComplianceType: &kind, UploadType: types.ComplianceUploadTypePartial,
		ExecutionSummary: &types.ComplianceExecutionSummary{ExecutionTime: &at, ExecutionId: &execution, ExecutionType: new("Command")},
		Items:            []types.ComplianceItemEntry{{Id: &id, Title: new("t"), Severity: "LOW", Status: "COMPLIANT", Details: map[string]string{"DocumentName": "AWS-RunPatchBaseline"}}},
	}))
}

// AWS:ComplianceItem has the items of every compliance type, and says of each of which type and run it is.
func TestComplianceItemInventory(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		c, nodes := s.SSM(s.Admin), s.Nodes(3) // the third has none
		r := result(s.Now(), exampleE1()...)
		try(t, nodes[0].PutResult(t.Context(), r))
		at := s.Now().UTC().Truncate(time.Second)
		putItem(t, c, nodes[0].ID, "Association", "a1", "run-1", at)
		putItem(t, c, nodes[1].ID, "Association", "a1", "run-1", at)
		entries := func(kind string) (out rows) {
			t.Helper()
			for _, e := range inventoryOf(t, c, &ssm.GetInventoryInput{
				Filters: []types.InventoryFilter{where("AWS:ComplianceItem.ComplianceType", "", kind)}, ResultAttributes: []types.ResultAttribute{{TypeName: new("AWS:ComplianceItem")}},
			}) {
				out = append(out, e.Data["AWS:ComplianceItem"].Content...)
			}
			return out
		}
		want := map[string]string{
			"ComplianceType": "Association", "Id": "a1", "Title": "t", "Status": "COMPLIANT", "Severity": "LOW", "DocumentName": "AWS-RunPatchBaseline",
			"ExecutionId": "run-1", "ExecutionType": "Command", "ExecutionTime": at.Format("2006-01-02T15:04:05Z"),
		}
		if d := cmp.Diff(rows{want, want}, entries("Association")); d != "" {
			t.Errorf("of associations (-want +got):\n%s", d)
		}
		patches := entries("Patch")
		if len(patches) != len(r.Items) {
			t.Errorf("%d patches, want %d", len(patches), len(r.Items))
		}
		for _, p := range patches {
			if p["ComplianceType"] != "Patch" || p["ExecutionType"] != "Command" || p["ExecutionTime"] != r.Header.StartedAt.UTC().Format("2006-01-02T15:04:05Z") || p["PatchState"] == "" {
				t.Errorf("patch %v", p)
			}
			if _, ok := p["ExecutionId"]; !ok {
				t.Errorf("patch without a run: %v", p)
			}
		}
		counts := inventoryOf(t, c, &ssm.GetInventoryInput{Aggregators: []types.InventoryAggregator{{Expression: new("AWS:ComplianceItem.ComplianceType")}}})
		if d := cmp.Diff(rows{{"ComplianceType": "Association", "Count": "2"}, {"ComplianceType": "Patch", "Count": "1"}}, counts[0].Data["AWS:ComplianceItem"].Content); d != "" {
			t.Errorf("nodes by type (-want +got):\n%s", d)
		}
		list := must[*ssm.ListInventoryEntriesOutput](t)(c.ListInventoryEntries(t.Context(), &ssm.ListInventoryEntriesInput{
			InstanceId: &nodes[0].ID, TypeName: new("AWS:ComplianceItem"), Filters: []types.InventoryFilter{where("ComplianceType", "", "Association")},
		}))
		if d := cmp.Diff(rows{want}, list.Entries); d != "" || *list.SchemaVersion != "1.0" {
			t.Errorf("entries of a node (-want +got):\n%s", d)
		}

		// A copy in a bucket has them too, also what came after the scan.
		must[*ssm.CreateResourceDataSyncOutput](t)(c.CreateResourceDataSync(t.Context(), &ssm.CreateResourceDataSyncInput{SyncName: new("all"), S3Destination: &types.ResourceDataSyncS3Destination{
			BucketName: new("items"), SyncFormat: "JsonSerDe", Region: new("us-east-1"),
		}}))
		copied := func(n *servertest.Node, ids ...string) {
			t.Helper()
			var got []string
			for range 200 {
				got = nil
				for _, k := range objects(t, s, "items") {
					if !strings.Contains(k, "AWS:ComplianceItem/") || !strings.Contains(k, n.ID) {
						continue
					}
					for _, row := range object(t, s, "items", k) {
						if row["ComplianceType"] == "Association" {
							got = append(got, row["Id"])
						}
					}
				}
				if slices.Equal(got, ids) {
					return
				}
				time.Sleep(50 * time.Millisecond) // the server's own work
			}
			t.Errorf("the copy of %s has %v, want %v", n.ID, got, ids)
		}
		copied(nodes[0], "a1")
		copied(nodes[1], "a1")
		for range 200 { // what is put below is of another round
			if must[*ssm.ListResourceDataSyncOutput](t)(c.ListResourceDataSync(t.Context(), &ssm.ListResourceDataSyncInput{})).ResourceDataSyncItems[0].LastStatus == types.LastResourceDataSyncStatusSuccessful {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		putItem(t, c, nodes[0].ID, "Association", "a2", "run-2", at)
		s.Advance(6 * time.Minute)
		copied(nodes[0], "a1", "a2")
	})
}

// Each item says of which run it is, whatever ran on the node after it.
func TestComplianceItemsKeepTheirRuns(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		c, n := s.SSM(s.Admin), s.Nodes(1)[0]
		at := s.Now().UTC().Truncate(time.Second)
		putItem(t, c, n.ID, "Association", "a1", "run-1", at)
		putItem(t, c, n.ID, "Association", "a2", "run-2", at.Add(time.Minute))
		list := func(filters ...types.ComplianceStringFilter) (out []string) {
			t.Helper()
			for _, i := range must[*ssm.ListComplianceItemsOutput](t)(c.ListComplianceItems(t.Context(), &ssm.ListComplianceItemsInput{
				ResourceIds: []string{n.ID}, ResourceTypes: []string{"ManagedInstance"}, Filters: filters,
			})).ComplianceItems {
				out = append(out, *i.Id+" "+*i.ExecutionSummary.ExecutionId+" "+*i.ExecutionSummary.ExecutionType+" "+i.ExecutionSummary.ExecutionTime.Sub(at).String())
			}
			return out
		}
		first, second := "a1 run-1 Command 0s", "a2 run-2 Command 1m0s"
		if d := cmp.Diff([]string{first, second}, list()); d != "" {
			t.Errorf("items (-want +got):\n%s", d)
		}
		for key, value := range map[string]string{"ExecutionId": "run-1", "ExecutionTime": at.Format("2006-01-02T15:04:05Z")} {
			if d := cmp.Diff([]string{first}, list(types.ComplianceStringFilter{Key: &key, Values: []string{value}, Type: types.ComplianceQueryOperatorTypeEqual})); d != "" {
				t.Errorf("by %s (-want +got):\n%s", key, d)
			}
		}
		// An agent that does not know its runs takes nothing from what is known of them.
		item := func(id string) wire.ComplianceItemEntry {
			return wire.ComplianceItemEntry{Id: &id, Title: new(""), Severity: new("UNSPECIFIED"), Status: new("COMPLIANT")}
		}
		try(t, n.Call(t.Context(), "ssm", "PutComplianceItems", &wire.PutComplianceItemsInput{
			ResourceId: &n.ID, ResourceType: new("ManagedInstance"), ComplianceType: new("Association"), ItemContentHash: new("h"),
			ExecutionSummary: &wire.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(at.Add(time.Hour)), ExecutionId: new(""), ExecutionType: new("")},
			Items:            []wire.ComplianceItemEntry{item("a1"), item("a2"), item("a3")},
		}, nil))
		if d := cmp.Diff([]string{first, second, "a3   1h0m0s"}, list()); d != "" {
			t.Errorf("after the agent's report (-want +got):\n%s", d)
		}
		// A whole upload is of one run.
		must[*ssm.PutComplianceItemsOutput](t)(c.PutComplianceItems(t.Context(), &ssm.PutComplianceItemsInput{
			ResourceId: &n.ID, ResourceType: new("ManagedInstance"), ComplianceType: new("Association"),
			ExecutionSummary: &types.ComplianceExecutionSummary{ExecutionTime: &at, ExecutionId: new("run-3"), ExecutionType: new("Command")},
			Items:            []types.ComplianceItemEntry{{Id: new("a1"), Severity: "LOW", Status: "COMPLIANT"}},
		}))
		if d := cmp.Diff([]string{"a1 run-3 Command 0s"}, list()); d != "" {
			t.Errorf("after a whole upload (-want +got):\n%s", d)
		}
	})
}
