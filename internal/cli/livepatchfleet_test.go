package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// liveResult is a scan that found some state of live patching.
func liveResult(now time.Time, lp *compliance.LivePatch) *compliance.Result {
	h := testHeader()
	h.StartedAt, h.EndedAt = now.Add(-time.Minute).UTC().Truncate(time.Second), now.UTC().Truncate(time.Second)
	h.Reboot = compliance.Reboot{LivePatch: lp}
	r := &compliance.Result{Header: *h}
	r.Finish(0)
	return r
}

// TestLivePatchFleet lists the nodes that need somebody, worst first, from what a server was told; what ages by itself is
// counted from today.
func TestLivePatchFleet(t *testing.T) {
	s := servertest.Start(t, "sqlite")
	clientEnvironment(t, s.URL, s.Reader.AccessKeyID, s.Reader.SecretAccessKey) // reading is enough
	today := s.Now().UTC().Truncate(24 * time.Hour)
	day := func(n int) time.Time { return today.AddDate(0, 0, n) }
	cases := []struct {
		lp    *compliance.LivePatch
		state string // as it is listed
		needs string // empty: not within 30 days
	}{
		{nil, "", ""},
		{&compliance.LivePatch{State: "Active", Kernel: "k1", SupportEnd: day(90), Modules: []string{"m"}}, "Active", ""},
		{&compliance.LivePatch{State: "Active", Kernel: "k2", SupportEnd: day(20), Remaining: []string{"CVE-2026-1", "CVE-2026-2"}, Debt: "still"}, "Active", day(20).Format(time.DateOnly)},
		{&compliance.LivePatch{State: "Active", Kernel: "k3", SupportEnd: day(5)}, "Expiring", day(5).Format(time.DateOnly)},
		{&compliance.LivePatch{State: "Enabled", Kernel: "k4", SupportEnd: day(-1)}, "Expired", "newer kernel now"},
		{&compliance.LivePatch{State: "Stale", Kernel: "k5", Detail: "the module m is installed and not loaded", Lost: []string{"m"}, Service: "disabled"}, "Stale", "lost at a reboot: m"},
		{&compliance.LivePatch{State: "Failed", Kernel: "k6", Detail: "kpatch.service has failed\x1b[2J"}, "Failed", "kpatch.service has failed"},
		{&compliance.LivePatch{State: "Available", SupportEnd: day(5)}, "Available", ""},
	}
	nodes := s.Nodes(len(cases) + 1) // one is never scanned
	byID := map[string]int{}
	for i, c := range cases {
		byID[nodes[i].ID] = i
		if err := nodes[i].Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := nodes[i].PutResult(t.Context(), liveResult(s.Now(), c.lp)); err != nil {
			t.Fatal(err)
		}
	}
	var doc oakum.DescribeNodesOutput
	ask := func(args ...string) (string, []string) {
		t.Helper()
		out, errs, code := oakumRun(t, append(args, "--output", "json")...)
		doc = oakum.DescribeNodesOutput{}
		if code != 0 || json.Unmarshal([]byte(out), &doc) != nil {
			t.Fatalf("oakum %v: code %d\n%s%s", args, code, out, errs)
		}
		var states []string
		for _, n := range doc.Nodes {
			states = append(states, *n.KernelLivePatch.State)
			if want := cases[byID[*n.InstanceId]].state; *n.KernelLivePatch.State != want {
				t.Errorf("%s is %s, want %s", *n.KernelLivePatch.Kernel, *n.KernelLivePatch.State, want)
			}
		}
		return out, states
	}
	if _, got := ask("livepatch"); !slices.Equal(got, []string{"Failed", "Stale", "Expired", "Expiring", "Active"}) {
		t.Errorf("listed %v", got)
	}
	if lp := doc.Nodes[4].KernelLivePatch; *lp.RemainingCVECount != 2 || len(lp.RemainingCVEIds) != 2 || *lp.RebootDebt != "still" {
		t.Errorf("the node that owes a reboot: %+v", lp)
	}
	if _, got := ask("livepatch", "--within", "3"); !slices.Equal(got, []string{"Failed", "Stale", "Expired"}) {
		t.Errorf("within 3 days: %v", got)
	}
	if _, got := ask("livepatch", "--all"); len(got) != 7 {
		t.Errorf("all: %v", got)
	}
	if _, got := ask("nodes", "--filter", "KernelLivePatch=expired,Failed"); len(got) != 2 {
		t.Errorf("filtered: %v", got)
	}
	out, errs, code := oakumRun(t, "livepatch")
	if want := "7 nodes with kernel live patching in us-east-1, 5 of them in need of somebody; 1 node was never scanned"; code != 0 || !strings.Contains(errs, want) && !strings.Contains(out, want) {
		t.Errorf("code %d, want %q:\n%s%s", code, want, out, errs)
	}
	if strings.Contains(out+errs, "\x1b") {
		t.Error("what a node says reached the terminal as a control sequence")
	}
	for _, c := range cases {
		if c.needs != "" && !strings.Contains(out, c.needs) {
			t.Errorf("the table does not say %q:\n%s", c.needs, out)
		}
	}
	out, _, _ = oakumRun(t, "livepatch", "--output", "csv", "--within", "25")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 6 || rows[5][8] != "20" || rows[5][11] != "CVE-2026-1,CVE-2026-2" || rows[3][8] != "0" {
		t.Errorf("csv (%v):\n%s", err, out)
	}
	for _, bad := range []string{"-1", "4000", "x"} {
		if _, errs, code := oakumRun(t, "livepatch", "--within", bad); code != exitUsage || !strings.Contains(errs, "within") {
			t.Errorf("--within %s: code %d, %s", bad, code, errs)
		}
	}
}

// TestLivePatchFleetIsBounded: a node that reports megabytes keeps the list of a fleet short.
func TestLivePatchFleetIsBounded(t *testing.T) {
	s := servertest.Start(t, "sqlite")
	clientEnvironment(t, s.URL, s.Reader.AccessKeyID, s.Reader.SecretAccessKey)
	n := s.Nodes(1)[0]
	if err := n.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	var cves []string
	for i := range 5000 {
		cves = append(cves, fmt.Sprintf("CVE-2026-%05d", i))
	}
	for _, lp := range []*compliance.LivePatch{
		{State: "Stale", Kernel: "k", Remaining: cves, CVEs: cves, Modules: cves},
		{State: "Failed", Kernel: "k", Detail: strings.Repeat("x", 100<<10)},
	} {
		if err := n.PutResult(t.Context(), liveResult(s.Now(), lp)); err != nil {
			t.Fatal(err)
		}
		out, errs, code := oakumRun(t, "livepatch", "--output", "json")
		if code != 0 || len(out) > 16<<10 || !strings.Contains(out, lp.State) || len(lp.Remaining) > 0 && !strings.Contains(out, `"RemainingCVECount": 5000`) {
			t.Errorf("%s: code %d, %d bytes: %.300s %s", lp.State, code, len(out), out, errs)
		}
		s.Advance(time.Minute)
	}
}

// TestLivePatchInventoryIsListed: what nodes send as inventory is answered by the operation that everybody uses for it.
func TestLivePatchInventoryIsListed(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, "sqlite")
	n := s.Nodes(1)[0]
	put := &ssm.PutInventoryInput{InstanceId: &n.ID, Items: []ssm.InventoryItem{{
		TypeName: new("Custom:KernelLivePatch"), SchemaVersion: new("1.0"), CaptureTime: new("2026-11-22T10:00:00Z"), ContentHash: new("h"),
		Content: []map[string]string{{"State": "Active", "SupportEnd": "2027-02-01"}},
	}}}
	if err := n.Call(t.Context(), "ssm", "PutInventory", put, nil); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]int{`"Equal","Values":["Active"]`: 1, `"Equal","Values":["Failed"]`: 0} {
		var out ssm.ListInventoryEntriesOutput
		in := json.RawMessage(`{"InstanceId":"` + n.ID + `","TypeName":"Custom:KernelLivePatch","Filters":[{"Key":"Custom:KernelLivePatch.State","Type":` + filter + `}]}`)
		if err := s.Call(t.Context(), s.Reader, "ssm", "ListInventoryEntries", string(in), &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Entries) != want || want == 1 && out.Entries[0]["SupportEnd"] != "2027-02-01" {
			t.Errorf("%s: %v", filter, out.Entries)
		}
	}
}
