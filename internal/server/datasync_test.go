package server_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// objects are the keys of a bucket, as its folder has them.
func objects(t *testing.T, s *servertest.Server, bucket string) (keys []string) {
	t.Helper()
	dir := filepath.Join(s.Dir(), "buckets", s.Account(), bucket)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, err := filepath.Rel(dir, path)
			keys = append(keys, filepath.ToSlash(rel))
			return err
		}
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		return err
	})
	try(t, err)
	return keys
}

func object(t *testing.T, s *servertest.Server, bucket, key string) (out rows) {
	t.Helper()
	f, err := os.Open(filepath.Join(s.Dir(), "buckets", s.Account(), bucket, filepath.FromSlash(key)))
	try(t, err)
	defer f.Close()
	dec := json.NewDecoder(f)
	for {
		var row map[string]string
		if err := dec.Decode(&row); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
}

func TestResourceDataSync(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(2, wire.Tag{Key: new("Stage"), Value: new("test")})
		try(t, putInventory(ctx, nodes[0], "AWS:Application", "1.1", apps("3.0.9-1")))
		try(t, putInventory(ctx, nodes[0], "Custom:Rack", "1.0", rows{{"Location": "A1"}}))
		try(t, nodes[1].PutResult(ctx, result(s.Now(), exampleE1()...)))
		in := &ssm.CreateResourceDataSyncInput{SyncName: new("all"), S3Destination: &types.ResourceDataSyncS3Destination{
			BucketName: new("inventory"), Prefix: new("oakum/"), SyncFormat: "JsonSerDe", Region: new("us-east-1"),
		}}
		must[*ssm.CreateResourceDataSyncOutput](t)(c.CreateResourceDataSync(ctx, in))
		item := func() types.ResourceDataSyncItem {
			t.Helper()
			return must[*ssm.ListResourceDataSyncOutput](t)(c.ListResourceDataSync(ctx, &ssm.ListResourceDataSyncInput{})).ResourceDataSyncItems[0]
		}
		// round waits for a round that began after it was called.
		round := func() types.ResourceDataSyncItem {
			t.Helper()
			began := s.Now()
			for range 200 {
				if i := item(); i.LastSyncTime != nil && i.LastSyncTime.After(began) {
					return i
				}
				time.Sleep(50 * time.Millisecond) // the server's own work
			}
			t.Fatal("no round of the sync ends")
			panic("unreachable")
		}
		if i := item(); *i.SyncType != "SyncToDestination" || *i.S3Destination.Prefix != "oakum/" || i.SyncCreatedTime == nil {
			t.Errorf("made: %+v", i)
		}
		for range 200 {
			if item().LastStatus == types.LastResourceDataSyncStatusSuccessful {
				break
			}
			time.Sleep(50 * time.Millisecond) // the server's own work
		}
		if i := item(); i.LastStatus != types.LastResourceDataSyncStatusSuccessful || i.LastSuccessfulSyncTime == nil || i.LastSyncStatusMessage != nil {
			t.Fatalf("after the first round: %+v", i)
		}
		place := func(typ string, n *servertest.Node) string {
			return "oakum/" + typ + "/accountid=000000000001/region=us-east-1/resourcetype=ManagedInstanceInventory/" + n.ID + ".json"
		}
		var want []string
		for typ, on := range map[string][]*servertest.Node{
			"AWS:Application": nodes[:1], "Custom:Rack": nodes[:1], "AWS:InstanceInformation": nodes, "AWS:Tag": nodes, "AWS:PatchSummary": nodes[1:],
			"AWS:ComplianceItem": nodes[1:], "AWS:PatchCompliance": nodes[1:], "AWS:ComplianceSummary": nodes[1:],
		} {
			for _, n := range on {
				want = append(want, place(typ, n))
			}
		}
		sorted := func(list []string) []string { slices.Sort(list); return list }
		if d := cmp.Diff(sorted(want), sorted(objects(t, s, "inventory"))); d != "" {
			t.Errorf("objects (-want +got):\n%s", d)
		}
		if d := cmp.Diff(rows{
			{"Name": "bash", "Version": "5.2.15-2", "resourceId": nodes[0].ID, "schemaVersion": "1.1", "captureTime": "2026-07-01T00:00:00Z"},
			{"Name": "openssl", "Version": "3.0.9-1", "resourceId": nodes[0].ID, "schemaVersion": "1.1", "captureTime": "2026-07-01T00:00:00Z"},
		}, object(t, s, "inventory", place("AWS:Application", nodes[0]))); d != "" {
			t.Errorf("applications (-want +got):\n%s", d)
		}
		if got := object(t, s, "inventory", place("AWS:ComplianceSummary", nodes[1])); len(got) != 1 || got[0]["Status"] != "NON_COMPLIANT" || got[0]["NonCompliantCriticalCount"] != "2" {
			t.Errorf("compliance: %v", got)
		}
		// What has not changed is not written again; what has is, and what is gone goes.
		same, err := os.Stat(filepath.Join(s.Dir(), "buckets", s.Account(), "inventory", place("Custom:Rack", nodes[0])))
		try(t, err)
		try(t, putInventory(ctx, nodes[0], "AWS:Application", "1.1", apps("3.0.13-1")))
		must[*ssm.DeregisterManagedInstanceOutput](t)(c.DeregisterManagedInstance(ctx, &ssm.DeregisterManagedInstanceInput{InstanceId: &nodes[1].ID}))
		s.Advance(30 * time.Second)
		round()
		if got := object(t, s, "inventory", place("AWS:Application", nodes[0])); got[1]["Version"] != "3.0.13-1" {
			t.Errorf("after an upgrade: %v", got)
		}
		if keys := objects(t, s, "inventory"); len(keys) != 4 {
			t.Errorf("after a node has gone: %v", keys)
		}
		again, err := os.Stat(filepath.Join(s.Dir(), "buckets", s.Account(), "inventory", place("Custom:Rack", nodes[0])))
		try(t, err)
		if !again.ModTime().Equal(same.ModTime()) {
			t.Error("what had not changed was written again")
		}
		// A bucket that cannot be written to is told of, and the sync goes on once it can.
		place0 := filepath.Join(s.Dir(), "buckets", s.Account(), "inventory", "oakum")
		try(t, os.RemoveAll(place0))
		try(t, os.WriteFile(place0, nil, 0o600))
		try(t, putInventory(ctx, nodes[0], "AWS:Application", "1.1", apps("3.0.14-1")))
		s.Advance(30 * time.Second)
		if i := round(); i.LastStatus != types.LastResourceDataSyncStatusFailed || !strings.Contains(*i.LastSyncStatusMessage, "in the way") {
			t.Errorf("a file in the way: %+v", i)
		}
		try(t, os.Remove(place0))
		s.Advance(2 * time.Minute)
		if i := round(); i.LastStatus != types.LastResourceDataSyncStatusSuccessful || i.LastSyncStatusMessage != nil {
			t.Errorf("out of the way again: %+v", i)
		}
		if got := object(t, s, "inventory", place("AWS:Application", nodes[0])); got[1]["Version"] != "3.0.14-1" {
			t.Errorf("after it was repaired: %v", got)
		}

		must[*ssm.CreateResourceDataSyncOutput](t)(c.CreateResourceDataSync(ctx, &ssm.CreateResourceDataSyncInput{
			SyncName: new("from"), SyncType: new("SyncFromSource"), SyncSource: &types.ResourceDataSyncSource{SourceType: new("SingleAccountMultiRegions"), SourceRegions: []string{"us-east-1"}},
		}))
		must[*ssm.UpdateResourceDataSyncOutput](t)(c.UpdateResourceDataSync(ctx, &ssm.UpdateResourceDataSyncInput{
			SyncName: new("from"), SyncType: new("SyncFromSource"), SyncSource: &types.ResourceDataSyncSource{SourceType: new("SingleAccountMultiRegions"), SourceRegions: []string{"eu-west-1"}},
		}))
		if list := must[*ssm.ListResourceDataSyncOutput](t)(c.ListResourceDataSync(ctx, &ssm.ListResourceDataSyncInput{SyncType: new("SyncFromSource"), MaxResults: aws.Int32(5)})).ResourceDataSyncItems; len(list) != 1 ||
			list[0].LastStatus != types.LastResourceDataSyncStatusFailed || list[0].SyncSource.SourceRegions[0] != "eu-west-1" || !strings.Contains(*list[0].LastSyncStatusMessage, "Nothing is collected") {
			t.Errorf("from a source: %+v", list)
		}
		try(t, s.Flush(ctx))
		before := s.Dump()
		to := func(more string) string {
			return `{"SyncName":"x","S3Destination":{"BucketName":"b-1","SyncFormat":"JsonSerDe","Region":"us-east-1"` + more + `}}`
		}
		checkErrors(t, s, nil, []errorCase{
			{"CreateResourceDataSync", `{"SyncName":"all","S3Destination":{"BucketName":"b-1","SyncFormat":"JsonSerDe","Region":"us-east-1"}}`, "ResourceDataSyncAlreadyExistsException", ""},
			{"CreateResourceDataSync", `{"SyncName":"x"}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", `{"SyncName":"x","SyncType":"Sideways"}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", `{"SyncName":"x","SyncType":"SyncFromSource"}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", to(`,"AWSKMSKeyARN":"arn:aws:kms:us-east-1:000000000001:key/x"`), "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", to(`,"DestinationDataSharing":{"DestinationDataSharingType":"Organization"}`), "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", to(`,"Prefix":"../up"`), "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", `{"SyncName":"x","S3Destination":{"BucketName":"Not A Bucket","SyncFormat":"JsonSerDe","Region":"us-east-1"}}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"CreateResourceDataSync", `{"SyncName":"x","S3Destination":{"BucketName":"b-1","SyncFormat":"CSV","Region":"us-east-1"}}`, "ValidationException", ""},
			{"UpdateResourceDataSync", `{"SyncName":"all","SyncType":"SyncToDestination","SyncSource":{"SourceType":"x","SourceRegions":[]}}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"UpdateResourceDataSync", `{"SyncName":"nobody","SyncType":"SyncFromSource","SyncSource":{"SourceType":"x","SourceRegions":[]}}`, "ResourceDataSyncNotFoundException", ""},
			{"DeleteResourceDataSync", `{"SyncName":"nobody"}`, "ResourceDataSyncNotFoundException", ""},
			{"DeleteResourceDataSync", `{"SyncName":"all","SyncType":"Sideways"}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"ListResourceDataSync", `{"SyncType":"Sideways"}`, "ResourceDataSyncInvalidConfigurationException", ""},
			{"ListResourceDataSync", `{"NextToken":"x"}`, "InvalidNextToken", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
		for _, name := range []string{"all", "from"} {
			must[*ssm.DeleteResourceDataSyncOutput](t)(c.DeleteResourceDataSync(ctx, &ssm.DeleteResourceDataSyncInput{SyncName: &name}))
		}
		s.View(func(tx *store.Tx) error {
			left, err := tx.DataSyncObjects(store.Scope{Account: s.Account(), Region: s.Region}, "all", "", "")
			if len(left) != 0 {
				t.Errorf("a deleted sync still knows %d objects", len(left))
			}
			return err
		})
		if len(objects(t, s, "inventory")) == 0 {
			t.Error("the objects of a deleted sync are gone")
		}
	})
}

// Two servers on one database share the rounds of a sync and the turns of a deletion, and nothing is lost or done by halves.
func TestInventoryWorkOfTwoServers(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, "postgres")
	other := s.Beside()
	ctx := t.Context()
	a, b := s.SSM(s.Admin), other.SSM(s.Admin)
	nodes := s.Nodes(6)
	for _, n := range nodes {
		try(t, putInventory(ctx, n, "Custom:Rack", "1.0", rows{{"Location": n.ID}}))
	}
	for i, c := range []*ssm.Client{a, b, a} {
		must[*ssm.CreateResourceDataSyncOutput](t)(c.CreateResourceDataSync(ctx, &ssm.CreateResourceDataSyncInput{SyncName: new([]string{"one", "two", "three"}[i]), S3Destination: &types.ResourceDataSyncS3Destination{
			BucketName: new("shared"), Prefix: new([]string{"one", "two", "three"}[i]), SyncFormat: "JsonSerDe", Region: new("us-east-1"),
		}}))
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for range 400 {
			if done() {
				return
			}
			time.Sleep(50 * time.Millisecond) // the servers' own work
		}
		t.Fatal("not in time: " + what)
	}
	wait("the syncs", func() bool {
		list := must[*ssm.ListResourceDataSyncOutput](t)(b.ListResourceDataSync(ctx, &ssm.ListResourceDataSyncInput{})).ResourceDataSyncItems
		return len(list) == 3 && !slices.ContainsFunc(list, func(i types.ResourceDataSyncItem) bool {
			return i.LastStatus != types.LastResourceDataSyncStatusSuccessful
		})
	})
	racks := func() (n int) {
		for _, k := range objects(t, s, "shared") {
			if strings.Contains(k, "/Custom:Rack/") {
				n++
			}
		}
		return n
	}
	if racks() != 18 {
		t.Errorf("%d objects, want 18", racks())
	}
	id := must[*ssm.DeleteInventoryOutput](t)(b.DeleteInventory(ctx, &ssm.DeleteInventoryInput{TypeName: new("Custom:Rack"), SchemaDeleteOption: "DeleteSchema"})).DeletionId
	wait("the deletion", func() bool {
		d := must[*ssm.DescribeInventoryDeletionsOutput](t)(a.DescribeInventoryDeletions(ctx, &ssm.DescribeInventoryDeletionsInput{DeletionId: id})).InventoryDeletions[0]
		return d.LastStatus == types.InventoryDeletionStatusComplete && d.DeletionSummary.RemainingCount == 0 && d.DeletionSummary.TotalCount == 6
	})
	s.Advance(30 * time.Second)
	wait("the end of what was copied", func() bool { return racks() == 0 })
}
