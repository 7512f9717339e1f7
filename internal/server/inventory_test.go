package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/store"
	wire "oakum.dev/wire/ssm"
)

type rows = []map[string]string

// putInventory reports one type of a node.
func putInventory(ctx context.Context, n *servertest.Node, typ, version string, content rows) error {
	return n.Call(ctx, "ssm", "PutInventory", &wire.PutInventoryInput{InstanceId: &n.ID, Items: []wire.InventoryItem{{
		TypeName: &typ, SchemaVersion: &version, CaptureTime: new("2026-07-01T00:00:00Z"), ContentHash: new(hashOf(content)), Content: content,
	}}}, nil)
}

func hashOf(content rows) string { return store.Hash(fmt.Append(nil, content)) }

// inventoryOf is what GetInventory answers, page by page.
func inventoryOf(t *testing.T, c *ssm.Client, in *ssm.GetInventoryInput) (out []types.InventoryResultEntity) {
	t.Helper()
	pages := ssm.NewGetInventoryPaginator(c, in)
	for pages.HasMorePages() {
		out = append(out, must[*ssm.GetInventoryOutput](t)(pages.NextPage(t.Context())).Entities...)
	}
	return out
}

func where(key string, op types.InventoryQueryOperatorType, values ...string) types.InventoryFilter {
	return types.InventoryFilter{Key: &key, Type: op, Values: values}
}

func apps(version string) rows {
	return rows{{"Name": "bash", "Version": "5.2.15-2"}, {"Name": "openssl", "Version": version}}
}

func TestGetInventory(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(7, wire.Tag{Key: new("Stage"), Value: new("test")})
		slices.SortFunc(nodes, func(a, b *servertest.Node) int { return strings.Compare(a.ID, b.ID) })
		versions := []string{"3.0.9-1", "3.0.11-1", "3.0.9-1", "3.0.13-1", "3.0.11-1", "3.0.11-1"} // the last node reports nothing
		for i, v := range versions {
			try(t, putInventory(ctx, nodes[i], "AWS:Application", "1.1", apps(v)))
		}
		try(t, putInventory(ctx, nodes[0], "Custom:Rack", "1.0", rows{{"Location": "A1"}}))
		ids := func(list []types.InventoryResultEntity) (out []int) {
			for _, e := range list {
				out = append(out, slices.IndexFunc(nodes, func(n *servertest.Node) bool { return n.ID == *e.Id }))
			}
			return out
		}
		for name, tc := range map[string]struct {
			filters []types.InventoryFilter
			want    []int
		}{
			"everybody":      {nil, []int{0, 1, 2, 3, 4, 5, 6}},
			"older":          {[]types.InventoryFilter{where("AWS:Application.Name", "Equal", "openssl"), where("AWS:Application.Version", "LessThan", "3.0.11-1")}, []int{0, 2}},
			"newer":          {[]types.InventoryFilter{where("AWS:Application.Name", "Equal", "openssl"), where("AWS:Application.Version", "GreaterThan", "3.0.11-1")}, []int{3}},
			"begin_with":     {[]types.InventoryFilter{where("AWS:Application.Version", "BeginWith", "3.0.13")}, []int{3}},
			"without":        {[]types.InventoryFilter{where("AWS:Application.Version", "NotEqual", "3.0.11-1")}, []int{0, 2, 3}},
			"two_types":      {[]types.InventoryFilter{where("AWS:Application.Version", "", "3.0.9-1"), where("Custom:Rack.Location", "", "A1", "A2")}, []int{0}},
			"exists":         {[]types.InventoryFilter{where("Custom:Rack", "Exists", "true")}, []int{0}},
			"custom_unknown": {[]types.InventoryFilter{where("Custom:Never.Seen", "", "x")}, nil},
			"instance":       {[]types.InventoryFilter{where("AWS:InstanceInformation.InstanceId", "", nodes[4].ID, nodes[6].ID), where("AWS:InstanceInformation.PlatformType", "", "Linux")}, []int{4, 6}},
			"tag":            {[]types.InventoryFilter{where("AWS:Tag.Key", "", "Stage"), where("AWS:Tag.Value", "", "prod")}, nil},
			"not_terminated": {[]types.InventoryFilter{where("AWS:InstanceInformation.InstanceStatus", "NotEqual", "Terminated", "Stopped")}, []int{0, 1, 2, 3, 4, 5, 6}},
		} {
			if d := cmp.Diff(tc.want, ids(inventoryOf(t, c, &ssm.GetInventoryInput{Filters: tc.filters, MaxResults: aws.Int32(2)}))); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
		// The type that is asked for, and of it what passed.
		list := inventoryOf(t, c, &ssm.GetInventoryInput{
			Filters: []types.InventoryFilter{where("AWS:Application.Name", "", "openssl")}, ResultAttributes: []types.ResultAttribute{{TypeName: new("AWS:Application")}},
		})
		if len(list) != 6 {
			t.Fatalf("%d nodes have openssl", len(list))
		}
		want := types.InventoryResultItem{
			TypeName: new("AWS:Application"), SchemaVersion: new("1.1"), CaptureTime: new("2026-07-01T00:00:00Z"), ContentHash: new(hashOf(apps("3.0.13-1"))),
			Content: rows{{"Name": "openssl", "Version": "3.0.13-1"}},
		}
		if got := list[3].Data["AWS:Application"]; !cmp.Equal(*got.TypeName+*got.SchemaVersion+*got.CaptureTime+*got.ContentHash, *want.TypeName+*want.SchemaVersion+*want.CaptureTime+*want.ContentHash) || !cmp.Equal(got.Content, want.Content) {
			t.Errorf("item %+v", got)
		}
		// A node that reported nothing of the type is there, without data.
		all := inventoryOf(t, c, &ssm.GetInventoryInput{ResultAttributes: []types.ResultAttribute{{TypeName: new("AWS:Application")}}})
		if len(all) != 7 || len(all[6].Data) != 0 || len(all[0].Data["AWS:Application"].Content) != 2 {
			t.Errorf("all nodes: %+v", all)
		}
		info := inventoryOf(t, c, &ssm.GetInventoryInput{})[0].Data["AWS:InstanceInformation"]
		if i := info.Content[0]; i["InstanceId"] != nodes[0].ID || i["PlatformName"] != "Debian GNU/Linux" || i["InstanceStatus"] != "Active" || i["AgentType"] != "amazon-ssm-agent" {
			t.Errorf("InstanceInformation %v", i)
		}
		s.Advance(time.Hour)
		if i := inventoryOf(t, c, &ssm.GetInventoryInput{})[0].Data["AWS:InstanceInformation"].Content[0]; i["InstanceStatus"] != "ConnectionLost" {
			t.Errorf("an hour later: %v", i)
		}

		// Counts.
		counted := func(filters []types.InventoryFilter, a ...types.InventoryAggregator) map[string]types.InventoryResultItem {
			t.Helper()
			list := inventoryOf(t, c, &ssm.GetInventoryInput{Aggregators: a, Filters: filters})
			if len(list) != 1 || list[0].Id != nil {
				t.Fatalf("counts: %+v", list)
			}
			return list[0].Data
		}
		got := counted(nil, types.InventoryAggregator{Expression: new("AWS:InstanceInformation.PlatformType"), Aggregators: []types.InventoryAggregator{{Expression: new("AWS:InstanceInformation.PlatformVersion")}}})
		if d := cmp.Diff(rows{{"PlatformType": "Linux", "PlatformVersion": "12", "Count": "7"}}, got["AWS:InstanceInformation"].Content); d != "" {
			t.Error(d)
		}
		openssl := []types.InventoryFilter{where("AWS:Application.Name", "", "openssl")}
		got = counted(openssl, types.InventoryAggregator{Expression: new("AWS:Application.Name"), Aggregators: []types.InventoryAggregator{{Expression: new("AWS:Application.Version")}}})
		if d := cmp.Diff(rows{
			{"Name": "bash", "Version": "5.2.15-2", "Count": "6"},
			{"Name": "openssl", "Version": "3.0.11-1", "Count": "3"},
			{"Name": "openssl", "Version": "3.0.13-1", "Count": "1"},
			{"Name": "openssl", "Version": "3.0.9-1", "Count": "2"},
		}, got["AWS:Application"].Content); d != "" {
			t.Error(d)
		}
		got = counted(nil, types.InventoryAggregator{Groups: []types.InventoryGroup{
			{Name: new("reports"), Filters: []types.InventoryFilter{where("TypeName", "Exists", "AWS:Application")}},
			{Name: new("old"), Filters: []types.InventoryFilter{openssl[0], where("AWS:Application.Version", "LessThan", "3.0.11-1")}},
		}})
		if d := cmp.Diff(rows{{"Name": "reports", "matchingCount": "6", "notMatchingCount": "1"}, {"Name": "old", "matchingCount": "2", "notMatchingCount": "5"}}, got["AWS:Application"].Content); d != "" {
			t.Error(d)
		}
	})
}

// TestPutInventoryTypes takes every type that agents of AWS and Oakum's own send, in their versions, and answers with a message.
func TestPutInventoryTypes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, "sqlite")
	n := s.Nodes(1)[0]
	for _, typ := range []string{
		"AWS:Application 1.0", "AWS:Application 1.1", "AWS:AWSComponent 1.0", "AWS:Network 1.0", "AWS:InstanceDetailedInformation 1.0", "AWS:File 1.0", "AWS:Service 1.0",
		"AWS:WindowsRole 1.0", "AWS:WindowsRegistry 1.0", "AWS:WindowsUpdate 1.0", "AWS:BillingInfo 1.0", "AWS:Process 1.0", "AWS:InstanceInformation 1.0",
		"AWS:ComplianceItem 1.0", "AWS:PatchCompliance 1.0", "Custom:Rack 17.4",
	} {
		name, version, _ := strings.Cut(typ, " ")
		var out wire.PutInventoryOutput
		err := n.Call(t.Context(), "ssm", "PutInventory", &wire.PutInventoryInput{InstanceId: &n.ID, Items: []wire.InventoryItem{{
			TypeName: &name, SchemaVersion: &version, CaptureTime: new("2026-07-01T00:00:00Z"), ContentHash: new("x"), Content: rows{},
		}}}, &out)
		if err != nil || out.Message == nil || *out.Message == "" {
			t.Errorf("%s: %v, %v", typ, out.Message, err)
		}
	}
	try(t, n.Call(t.Context(), "ssm", "PutInventory", n.Inventory(result(s.Now(), exampleE1()...)), nil))
}

func schemas(t *testing.T, c *ssm.Client, in *ssm.GetInventorySchemaInput) map[string]types.InventoryItemSchema {
	t.Helper()
	out := map[string]types.InventoryItemSchema{}
	pages := ssm.NewGetInventorySchemaPaginator(c, in)
	for pages.HasMorePages() {
		for _, x := range must[*ssm.GetInventorySchemaOutput](t)(pages.NextPage(t.Context())).Schemas {
			out[*x.TypeName] = x
		}
	}
	return out
}

func TestInventorySchemaAndDeletion(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(3)
		rack := func(n *servertest.Node, version string, attributes ...string) {
			t.Helper()
			row := map[string]string{}
			for _, a := range attributes {
				row[a] = "x"
			}
			try(t, putInventory(ctx, n, "Custom:Rack", version, rows{row}))
		}
		rack(nodes[0], "1.0", "Location")
		rack(nodes[1], "1.0", "Owner")
		rack(nodes[2], "1.1", "Location", "Height")
		all := schemas(t, c, &ssm.GetInventorySchemaInput{})
		if len(all) < 18 || *all["AWS:Application"].Version != "1.1" || len(all["AWS:Application"].Attributes) != 11 {
			t.Errorf("%d schemas, AWS:Application %+v", len(all), all["AWS:Application"])
		}
		names := func(x types.InventoryItemSchema) (out []string) {
			for _, a := range x.Attributes {
				out = append(out, *a.Name+" "+string(a.DataType))
			}
			return out
		}
		if d := cmp.Diff([]string{"Height string", "Location string"}, names(all["Custom:Rack"])); d != "" || *all["Custom:Rack"].Version != "1.1" {
			t.Errorf("Custom:Rack %s: %s", *all["Custom:Rack"].Version, d)
		}
		// Nodes that make up attributes do not keep others from reporting theirs.
		for i := range 3 {
			row := map[string]string{}
			for k := range 40 {
				row[fmt.Sprintf("n%d-%02d", i, k)] = "x"
			}
			try(t, putInventory(ctx, nodes[i], "Custom:Wild", "1.0", rows{row}))
		}
		if x := schemas(t, c, &ssm.GetInventorySchemaInput{TypeName: new("Custom:Wild")}); len(names(x["Custom:Wild"])) != 50 {
			t.Errorf("%d attributes of a type with 120", len(names(x["Custom:Wild"])))
		}
		if x := schemas(t, c, &ssm.GetInventorySchemaInput{TypeName: new("AWS:InstanceD")}); len(x) != 1 || !slices.Contains(names(x["AWS:InstanceDetailedInformation"]), "CPUs number") {
			t.Errorf("by prefix: %v", x)
		}
		if x := schemas(t, c, &ssm.GetInventorySchemaInput{TypeName: new("AWS:InstanceInformation"), Aggregator: true}); len(names(x["AWS:InstanceInformation"])) != 3 {
			t.Errorf("to count by: %v", x)
		}
		if x := schemas(t, c, &ssm.GetInventorySchemaInput{SubType: aws.Bool(true)}); len(x) != 2 {
			t.Errorf("with sub-types: %v", x)
		}

		try(t, s.Flush(ctx))
		before := s.Dump()
		dry := must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), DryRun: true}))
		if dry.DeletionId != nil || dry.DeletionSummary.TotalCount != 3 || dry.DeletionSummary.RemainingCount != 3 || len(dry.DeletionSummary.SummaryItems) != 2 {
			t.Errorf("dry run: %+v", dry.DeletionSummary)
		}
		unchanged(t, "a dry run changed the database", before, s.Dump())
		wait := func(id *string) types.InventoryDeletionStatusItem {
			t.Helper()
			for range 200 {
				d := must[*ssm.DescribeInventoryDeletionsOutput](t)(c.DescribeInventoryDeletions(ctx, &ssm.DescribeInventoryDeletionsInput{DeletionId: id})).InventoryDeletions[0]
				if d.LastStatus == types.InventoryDeletionStatusComplete {
					return d
				}
				time.Sleep(50 * time.Millisecond) // the server's own work
			}
			t.Fatal("the deletion does not end")
			panic("unreachable")
		}
		// A repeated call is the same deletion; the type stays, its data go.
		token := new("00000000-0000-4000-8000-0000000000aa")
		in := &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), ClientToken: token}
		first := must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, in))
		again := must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, in))
		if *first.DeletionId != *again.DeletionId || first.DeletionSummary.TotalCount != 3 {
			t.Errorf("first %+v, again %+v", first, again)
		}
		_, err := c.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), ClientToken: token, SchemaDeleteOption: "DeleteSchema"})
		if err == nil || !strings.Contains(err.Error(), "InvalidInventoryRequestException") {
			t.Errorf("the token with another request: %v", err)
		}
		d := wait(first.DeletionId)
		if d.DeletionSummary.RemainingCount != 0 || d.DeletionSummary.TotalCount != 3 || *d.TypeName != "Custom:Rack" {
			t.Errorf("deletion %+v", d)
		}
		held := func() int {
			t.Helper()
			return len(inventoryOf(t, c, &ssm.GetInventoryInput{Filters: []types.InventoryFilter{where("Custom:Rack", "Exists", "true")}}))
		}
		if held() != 0 || schemas(t, c, &ssm.GetInventorySchemaInput{TypeName: new("Custom:")})["Custom:Rack"].TypeName == nil {
			t.Error("the data are still there, or the type is gone")
		}
		// The hash alone is refused now, so that the node sends everything.
		refused(t, "the hash alone", nodes[0].Call(ctx, "ssm", "PutInventory", &wire.PutInventoryInput{InstanceId: &nodes[0].ID, Items: []wire.InventoryItem{{
			TypeName: new("Custom:Rack"), SchemaVersion: new("1.0"), CaptureTime: new("2026-07-01T00:00:00Z"), ContentHash: new(hashOf(rows{{"Location": "x"}})),
		}}}, nil), "ItemContentMismatchException", "")
		rack(nodes[0], "1.0", "Location")
		if held() != 1 {
			t.Error("what was reported after the deletion is not there")
		}
		// A disabled version is ignored, and earlier ones; a greater one counts.
		wait(must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), SchemaDeleteOption: "DisableSchema"})).DeletionId)
		rack(nodes[0], "1.0", "Location")
		rack(nodes[1], "1.1", "Location")
		if held() != 0 {
			t.Error("a disabled version was taken")
		}
		rack(nodes[2], "1.2", "Location")
		if held() != 1 {
			t.Error("a version greater than the disabled one was not taken")
		}
		wait(must[*ssm.DeleteInventoryOutput](t)(c.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), SchemaDeleteOption: "DeleteSchema"})).DeletionId)
		if x := schemas(t, c, &ssm.GetInventorySchemaInput{}); x["Custom:Rack"].TypeName != nil {
			t.Error("the type is still there")
		}
		rack(nodes[0], "1.0", "Location")
		if held() != 1 {
			t.Error("a deleted type cannot be made again")
		}
		list := must[*ssm.DescribeInventoryDeletionsOutput](t)(c.DescribeInventoryDeletions(ctx, &ssm.DescribeInventoryDeletionsInput{MaxResults: aws.Int32(2)}))
		rest := must[*ssm.DescribeInventoryDeletionsOutput](t)(c.DescribeInventoryDeletions(ctx, &ssm.DescribeInventoryDeletionsInput{MaxResults: aws.Int32(2), NextToken: list.NextToken}))
		if len(list.InventoryDeletions) != 2 || len(rest.InventoryDeletions) != 1 || rest.NextToken != nil || *rest.InventoryDeletions[0].DeletionId != *first.DeletionId {
			t.Errorf("deletions, the newest first: %v, %v", list.InventoryDeletions, rest.InventoryDeletions)
		}
	})
}
