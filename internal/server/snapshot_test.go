package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/server"
	"oakum.dev/internal/store"
	"oakum.dev/wire/ssm"
)

func snapshotLink(t *testing.T, s *servertest.Server, n *servertest.Node, id string) string {
	t.Helper()
	var out ssm.GetDeployablePatchSnapshotForInstanceOutput
	in := &ssm.GetDeployablePatchSnapshotForInstanceInput{InstanceId: &n.ID, SnapshotId: &id}
	if err := n.Call(t.Context(), "ssm", "GetDeployablePatchSnapshotForInstance", in, &out); err != nil {
		t.Fatal(err)
	}
	if *out.Product != "Debian12" || !strings.HasPrefix(*out.SnapshotDownloadUrl, s.URL) {
		t.Errorf("product %s, link %s", *out.Product, *out.SnapshotDownloadUrl)
	}
	return *out.SnapshotDownloadUrl
}

func fetch(t *testing.T, link string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// One operation, one snapshot: all nodes of a patch group get the same bytes for an id, whatever is edited.
//
// proves R-14
func TestSnapshotIsFrozen(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		nodes := s.Nodes(2, ssm.Tag{Key: new("PatchGroup"), Value: new("web")})
		for _, n := range nodes {
			if err := n.Heartbeat(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var created ssm.CreatePatchBaselineOutput
		call := func(op string, in, out any) {
			t.Helper()
			var err error
			switch out := out.(type) {
			case *ssm.CreatePatchBaselineOutput:
				err = s.Call(ctx, s.Admin, "ssm", op, in, out)
			default:
				err = s.Call(ctx, s.Admin, "ssm", op, in, nil)
			}
			if err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
		call("CreatePatchBaseline", &ssm.CreatePatchBaselineInput{Name: new("Web"), OperatingSystem: new("DEBIAN"), ApprovedPatches: []string{"nginx"}}, &created)
		call("RegisterPatchBaselineForPatchGroup", &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: created.BaselineId, PatchGroup: new("web")}, nil)

		const id = "11111111-2222-3333-4444-555555555555"
		link := snapshotLink(t, s, nodes[0], id)
		code, first := fetch(t, link)
		if code != http.StatusOK || !strings.Contains(first, `"nginx"`) || !strings.Contains(first, *created.BaselineId) {
			t.Fatalf("GET %s = %d %s", link, code, first)
		}
		call("UpdatePatchBaseline", &ssm.UpdatePatchBaselineInput{BaselineId: created.BaselineId, ApprovedPatches: []string{"openssl"}}, nil)
		for _, n := range nodes {
			if _, again := fetch(t, snapshotLink(t, s, n, id)); again != first {
				t.Errorf("the snapshot of %s changed after the baseline was edited:\n%s\n%s", n.ID, first, again)
			}
		}
		if _, other := fetch(t, snapshotLink(t, s, nodes[0], "11111111-2222-3333-4444-666666666666")); !strings.Contains(other, `"openssl"`) {
			t.Errorf("a new snapshot has the old baseline: %s", other)
		}
		// Links are signed: another node's group, another account or a later expiry is refused.
		for _, bad := range []string{strings.Replace(link, "/DEBIAN/", "/UBUNTU/", 1), strings.Replace(link, "expires=1", "expires=2", 1), strings.Replace(link, "signature=", "signature=0", 1)} {
			if code, body := fetch(t, bad); code != http.StatusForbidden {
				t.Errorf("GET %s = %d %s, want 403", bad, code, body)
			}
		}
		s.Advance(25 * time.Hour)
		if code, _ := fetch(t, link); code != http.StatusForbidden {
			t.Errorf("a link of yesterday answers %d, want 403", code)
		}
	})
}

// proves R-28
func TestNodeIdsAreNeverUsedAgain(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		n := s.Nodes(1)[0]
		if err := s.Call(t.Context(), s.Admin, "ssm", "DeregisterManagedInstance", &ssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}, nil); err != nil {
			t.Fatal(err)
		}
		s.View(func(tx *store.Tx) error {
			row, err := tx.NodeByID(n.ID)
			if err != nil || row.DeregisteredAt.IsZero() {
				t.Errorf("the tombstone of %s: %+v, %v", n.ID, row, err)
			}
			return nil
		})
		if err := n.Heartbeat(t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a deregistered node's heartbeat: %v", err)
		}
	})
}

// TestLivePatchRebootReachesNodes: what the server is told about reboots after live patches is in the snapshots that nodes
// install by, and in none by default.
func TestLivePatchRebootReachesNodes(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]bool{"default": false, "as_aws": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			srv, err := server.New(t.Context(), server.Config{DataDir: dir, Listen: []string{"http://127.0.0.1:0"}, Version: "test", CompatLivePatchReboot: on})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			done := make(chan error, 1)
			go func() { done <- srv.Run(ctx) }()
			t.Cleanup(func() {
				stop()
				try(t, <-done)
			})
			s := servertest.Attach(t, srv.Addresses()[0], dir)
			n := s.Nodes(1)[0]
			try(t, n.Heartbeat(t.Context()))
			_, body := fetch(t, snapshotLink(t, s, n, "11111111-2222-4333-8444-555555555555"))
			snap, err := baseline.ParseSnapshot([]byte(body))
			if err != nil || snap.LivePatchReboot != on {
				t.Errorf("the snapshot says %v (%v), want %v", snap != nil && snap.LivePatchReboot, err, on)
			}
		})
	}
}
