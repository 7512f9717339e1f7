package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/store"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// A node that freezes a snapshot with rules of its own must not decide what the others of its group judge by.
//
// proves R-14
func TestOverrideDoesNotTakeTheGroupsSnapshot(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		nodes := s.Nodes(2)
		const id = "11111111-2222-3333-4444-555555555555"
		in := `{"InstanceId":"%s","SnapshotId":"` + id + `","BaselineOverride":{"OperatingSystem":"DEBIAN","ApprovedPatches":["%s"]}}`
		var mine, other ssm.GetDeployablePatchSnapshotForInstanceOutput
		try(t, nodes[0].Call(t.Context(), "ssm", "GetDeployablePatchSnapshotForInstance", fmt.Sprintf(in, nodes[0].ID, "sneaked-in"), &mine))
		if _, body := fetch(t, *mine.SnapshotDownloadUrl); !strings.Contains(body, "sneaked-in") {
			t.Errorf("the override's snapshot: %s", body)
		}
		if _, body := fetch(t, snapshotLink(t, s, nodes[1], id)); strings.Contains(body, "sneaked-in") || !strings.Contains(body, "AWS-DebianDefaultPatchBaseline") {
			t.Errorf("the other node judges by %s", body)
		}
		try(t, nodes[1].Call(t.Context(), "ssm", "GetDeployablePatchSnapshotForInstance", fmt.Sprintf(in, nodes[1].ID, "another"), &other))
		if _, body := fetch(t, *other.SnapshotDownloadUrl); strings.Contains(body, "sneaked-in") || !strings.Contains(body, "another") {
			t.Errorf("another override's snapshot: %s", body)
		}
	})
}

// A hash that the account holds as something else than patches is the caller's mistake, not a fault.
func TestResultByTheHashOfSomethingElse(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		n := s.Nodes(1)[0]
		try(t, n.Call(t.Context(), "ssm", "PutInventory", `{"InstanceId":"`+n.ID+`","Items":[{"TypeName":"Custom:X","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[{"a":"b"}]}]}`, nil))
		header := `{"endedAt":"` + s.Now().UTC().Format(time.RFC3339) + `"}`
		in := &oakum.PutPatchResultInput{InstanceId: &n.ID, Header: &header, ItemsHash: new(store.Hash([]byte(`[{"a":"b"}]`)))}
		refused(t, "PutPatchResult", n.Call(t.Context(), "oakum", "PutPatchResult", in, nil), "ValidationException", "")
	})
}

// Calls of a node that are under way while it is deregistered must not keep it alive in a cache.
//
// proves R-26
func TestDeregistrationDuringCalls(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		for range 12 {
			n := s.Nodes(1)[0]
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							_ = n.Call(ctx, "ssm", "ListInstanceAssociations", `{"InstanceId":"`+n.ID+`"}`, nil) // refused at some moment
						}
					}
				})
			}
			s.Advance(31 * time.Second) // what is cached has expired: the calls look the node up again
			try(t, s.Call(ctx, s.Admin, "ssm", "DeregisterManagedInstance", &ssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}, nil))
			close(stop)
			wg.Wait()
			refused(t, "a heartbeat after deregistration", n.Heartbeat(ctx), "UnrecognizedClientException", "")
		}
	})
}

// A baseline that is registered while it is deleted is either refused or kept: no group points to nothing.
func TestRegisterWhileDeleting(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		for k := range 15 {
			var made ssm.CreatePatchBaselineOutput
			try(t, s.Call(ctx, s.Admin, "ssm", "CreatePatchBaseline", `{"Name":"race","OperatingSystem":"DEBIAN"}`, &made))
			var wg sync.WaitGroup
			for _, call := range [][2]string{
				{"DeletePatchBaseline", `{"BaselineId":"` + *made.BaselineId + `"}`},
				{"RegisterPatchBaselineForPatchGroup", fmt.Sprintf(`{"BaselineId":"%s","PatchGroup":"g%d"}`, *made.BaselineId, k)},
				{"RegisterDefaultPatchBaseline", `{"BaselineId":"` + *made.BaselineId + `"}`},
			} {
				wg.Go(func() {
					err := s.Call(ctx, s.Admin, "ssm", call[0], call[1], nil)
					switch awserr.Code(err) {
					case "", "ResourceInUseException", "DoesNotExistException":
					default:
						t.Errorf("%s: %v", call[0], err)
					}
				})
			}
			wg.Wait()
			try(t, s.Call(ctx, s.Admin, "ssm", "DescribePatchGroups", `{}`, nil))
			try(t, s.Call(ctx, s.Admin, "ssm", "DescribePatchBaselines", `{}`, nil))
		}
	})
}

// Two nodes of which each reports what the other has reported: no deadlock, no fault, every report kept.
func TestReportsAtTheSameTime(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		c := s.SSM(s.Admin)
		nodes := s.Nodes(8)
		var wg sync.WaitGroup
		for i, n := range nodes {
			wg.Go(func() {
				for k := range 6 {
					list := exampleE1()
					if (i+k)%2 == 0 {
						list = exampleE4()
					}
					if err := n.PutResult(t.Context(), result(s.Now().Add(time.Duration(k)*time.Second), list...)); err != nil {
						t.Errorf("report %d of node %d: %v", k, i, err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				if err := s.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		for _, n := range nodes {
			agree(t, c, n.ID)
		}
	})
}
