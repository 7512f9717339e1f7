package server_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	wire "oakum.dev/wire/ssm"
)

func item(name string, state compliance.State, level baseline.Level, class string) compliance.Item {
	return compliance.Item{
		ID: name + ".amd64", Name: name, Arch: "amd64", Title: name + ".amd64:1.0", State: state, Level: level, Classification: class, Severity: "Optional",
		InstalledVersion: "1.0",
	}
}

func result(at time.Time, items ...compliance.Item) *compliance.Result {
	r := &compliance.Result{
		Header: compliance.Header{
			OperatingSystem: baseline.Debian, Product: "Debian12", BaselineID: "pb-0123456789abcdef0", SnapshotID: "00000000-0000-4000-8000-000000000001",
			Operation: "Scan", StartedAt: at.Add(-time.Second).UTC().Truncate(time.Second), EndedAt: at.UTC().Truncate(time.Second), ExecutionID: "00000000-0000-4000-8000-000000000002",
		},
		Items: slices.Clone(items),
	}
	r.Header.Counts.UnreportedNotApplicable = -1
	r.Finish(0)
	r.Header.Counts.UnreportedNotApplicable = -1
	return r
}

// The worked examples of the specification: E1 as roll-up node N1, E4 the Ubuntu node.
func exampleE1() []compliance.Item {
	return []compliance.Item{
		item("openssl", compliance.Missing, baseline.Critical, "Security"), item("openssl-libs", compliance.Installed, baseline.Critical, "Security"),
		item("curl", compliance.InstalledOther, baseline.Unspecified, ""), item("bash", compliance.InstalledOther, baseline.Unspecified, ""),
		item("zlib", compliance.Missing, baseline.Unspecified, "Bugfix"), item("httpd", compliance.Missing, baseline.Critical, "Security"),
		item("sudo", compliance.Installed, baseline.Critical, "Security"), item("vim", compliance.InstalledOther, baseline.Unspecified, ""),
		item("telnet", compliance.InstalledRejected, baseline.Unspecified, ""), item("tmux", compliance.InstalledOther, baseline.Unspecified, ""),
		item("libbad", compliance.InstalledRejected, baseline.Unspecified, ""),
	}
}

func exampleE4() []compliance.Item {
	return []compliance.Item{
		item("openssl", compliance.Missing, baseline.Unspecified, "Security"), item("curl", compliance.Installed, baseline.Unspecified, "Security"),
		item("vim", compliance.InstalledOther, baseline.Unspecified, ""), item("myapp", compliance.InstalledOther, baseline.Unspecified, ""),
		item("libfoo", compliance.InstalledOther, baseline.Unspecified, ""),
	}
}

// forms are the two ways in which a scan reaches the server.
var forms = map[string]func(ctx context.Context, n *servertest.Node, r *compliance.Result) error{
	"PutInventory": func(ctx context.Context, n *servertest.Node, r *compliance.Result) error {
		return n.Call(ctx, "ssm", "PutInventory", n.Inventory(r), nil)
	},
	"PutPatchResult": func(ctx context.Context, n *servertest.Node, r *compliance.Result) error { return n.PutResult(ctx, r) },
}

func state(t *testing.T, c *ssm.Client, id string) types.InstancePatchState {
	t.Helper()
	list := must[*ssm.DescribeInstancePatchStatesOutput](t)(c.DescribeInstancePatchStates(t.Context(), &ssm.DescribeInstancePatchStatesInput{InstanceIds: []string{id}})).InstancePatchStates
	if len(list) != 1 {
		t.Fatalf("%d states of %s, want 1", len(list), id)
	}
	return list[0]
}

func patches(t *testing.T, c *ssm.Client, id string, filters ...types.PatchOrchestratorFilter) (out []types.PatchComplianceData) {
	t.Helper()
	p := ssm.NewDescribeInstancePatchesPaginator(c, &ssm.DescribeInstancePatchesInput{InstanceId: &id, Filters: filters, MaxResults: aws.Int32(10)})
	for p.HasMorePages() {
		out = append(out, must[*ssm.DescribeInstancePatchesOutput](t)(p.NextPage(t.Context())).Patches...)
	}
	return out
}

type counts struct {
	Installed, Other, Pending, Rejected, Missing, Failed, NotApplicable, Critical, Security, OtherNonCompliant int32
}

func countsOf(s types.InstancePatchState) counts {
	return counts{
		s.InstalledCount, s.InstalledOtherCount, *s.InstalledPendingRebootCount, *s.InstalledRejectedCount, s.MissingCount, s.FailedCount, s.NotApplicableCount,
		*s.CriticalNonCompliantCount, *s.SecurityNonCompliantCount, *s.OtherNonCompliantCount,
	}
}

// agree checks R-24: the summary's counts are the numbers of the detail's items.
func agree(t *testing.T, c *ssm.Client, id string) {
	t.Helper()
	s, by := state(t, c, id), map[string]int32{}
	for _, p := range patches(t, c, id) {
		by[string(p.State)]++
	}
	for name, n := range map[string]int32{
		"Installed": s.InstalledCount, "InstalledOther": s.InstalledOtherCount, "InstalledPendingReboot": *s.InstalledPendingRebootCount,
		"InstalledRejected": *s.InstalledRejectedCount, "Missing": s.MissingCount, "Failed": s.FailedCount,
	} {
		if by[name] != n {
			t.Errorf("%s: the summary counts %d %s, the list has %d", id, n, name, by[name])
		}
	}
}

// proves R-24; examples E1, E4 and E6 through both forms.
func TestComplianceRollUp(t *testing.T) {
	t.Parallel()
	for form, put := range forms {
		t.Run(form, func(t *testing.T) {
			servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
				ctx, c := t.Context(), s.SSM(s.Admin)
				nodes := s.Nodes(4, wire.Tag{Key: new("PatchGroup"), Value: new("web")})
				slices.SortFunc(nodes, func(a, b *servertest.Node) int { return strings.Compare(a.ID, b.ID) })
				n1, n2, n3 := nodes[0], nodes[1], nodes[2]
				now := s.Now().Add(-time.Minute)
				var clean []compliance.Item
				for i := range 400 {
					clean = append(clean, item(fmt.Sprintf("p%03d", i), compliance.Installed, baseline.High, "Security"))
				}
				medium := append([]compliance.Item{item("x", compliance.Missing, baseline.Medium, "Security")}, clean[:10]...)
				e1 := result(now, exampleE1()...)
				e1.Header.Counts.NotApplicable = 1
				try(t, put(ctx, n1, e1))
				try(t, put(ctx, n2, result(now, clean...)))
				try(t, put(ctx, n3, result(now, medium...)))

				if d := cmp.Diff(counts{2, 4, 0, 2, 3, 0, 1, 2, 2, 3}, countsOf(state(t, c, n1.ID))); d != "" {
					t.Errorf("E1 (-want +got):\n%s", d)
				}
				st := state(t, c, n1.ID)
				if *st.BaselineId != "pb-0123456789abcdef0" || *st.SnapshotId != "00000000-0000-4000-8000-000000000001" || st.Operation != "Scan" || *st.PatchGroup != "" ||
					*st.UnreportedNotApplicableCount != -1 || st.OperationEndTime.Unix() != now.Unix() || *st.OwnerInformation != "" {
					t.Errorf("DescribeInstancePatchStates = %+v", st)
				}
				for _, n := range nodes[:3] {
					agree(t, c, n.ID)
				}
				missing := patches(t, c, n1.ID, types.PatchOrchestratorFilter{Key: str("State"), Values: []string{"MISSING"}})
				if len(missing) != 3 || missing[0].State != "Missing" || *missing[0].KBId != "httpd.amd64" || *missing[0].Classification != "Security" {
					t.Errorf("missing patches = %+v", missing)
				}

				sums := must[*ssm.ListComplianceSummariesOutput](t)(c.ListComplianceSummaries(ctx, &ssm.ListComplianceSummariesInput{})).ComplianceSummaryItems
				if len(sums) != 1 || *sums[0].ComplianceType != "Patch" || sums[0].CompliantSummary.CompliantCount != 1 || sums[0].CompliantSummary.SeveritySummary.UnspecifiedCount != 1 ||
					sums[0].NonCompliantSummary.NonCompliantCount != 2 || sums[0].NonCompliantSummary.SeveritySummary.CriticalCount != 1 || sums[0].NonCompliantSummary.SeveritySummary.MediumCount != 1 {
					t.Errorf("E6 ListComplianceSummaries = %+v", sums)
				}
				per := must[*ssm.ListResourceComplianceSummariesOutput](t)(c.ListResourceComplianceSummaries(ctx, &ssm.ListResourceComplianceSummariesInput{
					Filters: []types.ComplianceStringFilter{{Key: str("ComplianceType"), Values: []string{"Patch"}}},
				})).ResourceComplianceSummaryItems
				if len(per) != 3 {
					t.Fatalf("ListResourceComplianceSummaries has %d rows", len(per))
				}
				r := per[0]
				if *r.ResourceId != n1.ID || r.Status != "NON_COMPLIANT" || r.OverallSeverity != "CRITICAL" || r.NonCompliantSummary.NonCompliantCount != 5 ||
					r.NonCompliantSummary.SeveritySummary.CriticalCount != 2 || r.NonCompliantSummary.SeveritySummary.UnspecifiedCount != 3 || r.CompliantSummary.CompliantCount != 6 ||
					r.CompliantSummary.SeveritySummary.CriticalCount != 2 || r.CompliantSummary.SeveritySummary.UnspecifiedCount != 4 || *r.ExecutionSummary.ExecutionType != "Command" {
					t.Errorf("E6 ListResourceComplianceSummaries = %+v", r)
				}
				if per[1].Status != "COMPLIANT" || per[1].OverallSeverity != "UNSPECIFIED" || per[2].OverallSeverity != "MEDIUM" {
					t.Errorf("E6 others = %+v, %+v", per[1], per[2])
				}
				items := must[*ssm.ListComplianceItemsOutput](t)(c.ListComplianceItems(ctx, &ssm.ListComplianceItemsInput{
					ResourceIds: []string{n1.ID}, ResourceTypes: []string{"ManagedInstance"}, Filters: []types.ComplianceStringFilter{{Key: str("Status"), Values: []string{"NON_COMPLIANT"}}},
				})).ComplianceItems
				if len(items) != 5 {
					t.Fatalf("ListComplianceItems has %d non-compliant rows", len(items))
				}
				for _, i := range items {
					if *i.Id == "openssl.amd64" && (i.Severity != "CRITICAL" || *i.Title != "openssl.amd64:1.0" || i.Details["PatchState"] != "Missing" || i.Details["Classification"] != "Security" ||
						i.Details["PatchBaselineId"] != "pb-0123456789abcdef0" || *i.ExecutionSummary.ExecutionType != "Command") {
						t.Errorf("ListComplianceItems = %+v", i)
					}
				}
				group := must[*ssm.DescribePatchGroupStateOutput](t)(c.DescribePatchGroupState(ctx, &ssm.DescribePatchGroupStateInput{PatchGroup: str("web")}))
				if group.Instances != 4 || group.InstancesWithMissingPatches != 2 || group.InstancesWithInstalledPatches != 3 || *group.InstancesWithInstalledRejectedPatches != 1 ||
					*group.InstancesWithCriticalNonCompliantPatches != 1 || group.InstancesWithFailedPatches != 0 {
					t.Errorf("DescribePatchGroupState = %+v", group)
				}
				states := must[*ssm.DescribeInstancePatchStatesForPatchGroupOutput](t)(c.DescribeInstancePatchStatesForPatchGroup(ctx, &ssm.DescribeInstancePatchStatesForPatchGroupInput{
					PatchGroup: str("web"), Filters: []types.InstancePatchStateFilter{{Key: str("MissingCount"), Values: []string{"1"}, Type: "GreaterThan"}},
				})).InstancePatchStates
				if len(states) != 1 || *states[0].InstanceId != n1.ID {
					t.Errorf("nodes with more than one missing patch = %+v", states)
				}

				s.Advance(time.Minute)
				try(t, put(ctx, n1, result(s.Now(), exampleE4()...)))
				if d := cmp.Diff(counts{1, 3, 0, 0, 1, 0, 0, 0, 1, 0}, countsOf(state(t, c, n1.ID))); d != "" {
					t.Errorf("E4 (-want +got):\n%s", d)
				}
				agree(t, c, n1.ID)
				inv := must[*ssm.ListInventoryEntriesOutput](t)(c.ListInventoryEntries(ctx, &ssm.ListInventoryEntriesInput{InstanceId: &n1.ID, TypeName: str("AWS:PatchSummary")}))
				if len(inv.Entries) != 1 || inv.Entries[0]["MissingCount"] != "1" {
					t.Errorf("AWS:PatchSummary = %v", inv.Entries)
				}
				// A deregistered node is out of every count at once.
				must[*ssm.DeregisterManagedInstanceOutput](t)(c.DeregisterManagedInstance(ctx, &ssm.DeregisterManagedInstanceInput{InstanceId: &n3.ID}))
				per = must[*ssm.ListResourceComplianceSummariesOutput](t)(c.ListResourceComplianceSummaries(ctx, &ssm.ListResourceComplianceSummariesInput{})).ResourceComplianceSummaryItems
				if len(per) != 2 {
					t.Errorf("after deregistration %d rows", len(per))
				}
			})
		})
	}
}

// proves R-20: what does not arrive whole changes nothing.
func TestPartialReportsChangeNothing(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		first := result(s.Now().Add(-time.Minute), exampleE1()...)
		try(t, n.PutResult(ctx, first))
		before := countsOf(state(t, c, n.ID))
		next := result(s.Now(), exampleE4()...)
		bytesOf := compliance.EncodeItems(next.Items)
		header, hash := string(compliance.EncodeHeader(&next.Header)), compliance.Hash(bytesOf)
		packed := store.Compress(bytesOf)

		var out oakum.PutPatchResultOutput
		try(t, n.Call(ctx, "oakum", "PutPatchResult", &oakum.PutPatchResultInput{InstanceId: &n.ID, Header: &header, ItemsHash: &hash}, &out))
		if !*out.ItemsNeeded || *out.Stored {
			t.Errorf("unknown items: needed %v, stored %v", *out.ItemsNeeded, *out.Stored)
		}
		for what, in := range map[string]*oakum.PutPatchResultInput{
			"cut off":                {InstanceId: &n.ID, Header: &header, ItemsHash: &hash, Items: packed[:len(packed)/2]},
			"not zstd":               {InstanceId: &n.ID, Header: &header, ItemsHash: &hash, Items: bytesOf},
			"another hash":           {InstanceId: &n.ID, Header: &header, ItemsHash: new(store.Hash([]byte("x"))), Items: packed},
			"not items":              {InstanceId: &n.ID, Header: &header, ItemsHash: new(store.Hash([]byte("{\"x\":"))), Items: store.Compress([]byte("{\"x\":"))},
			"no header":              {InstanceId: &n.ID, Header: new("{}"), ItemsHash: &hash, Items: packed},
			"broken header":          {InstanceId: &n.ID, Header: new("{"), ItemsHash: &hash, Items: packed},
			"available without data": {InstanceId: &n.ID, Header: &header, ItemsHash: &hash, Items: packed, AvailableHash: &hash, Available: packed[:4]},
		} {
			refused(t, what, n.Call(ctx, "oakum", "PutPatchResult", in, nil), "ValidationException", "")
		}
		full := n.Inventory(next)
		summary, list := full.Items[0], full.Items[1]
		alone := *full
		alone.Items = []wire.InventoryItem{summary}
		try(t, n.Call(ctx, "ssm", "PutInventory", &alone, nil)) // counts without the patches that they count
		unknown := *full
		hashOnly := list
		hashOnly.Content = nil
		unknown.Items = []wire.InventoryItem{summary, hashOnly}
		refused(t, "items by an unknown hash", n.Call(ctx, "ssm", "PutInventory", &unknown, nil), "ItemContentMismatchException", "")
		broken := *full
		bad := list
		bad.Content = append([]map[string]string{{"Id": "x", "PatchState": "Nonsense"}}, list.Content...)
		broken.Items = []wire.InventoryItem{summary, bad}
		refused(t, "an unknown state", n.Call(ctx, "ssm", "PutInventory", &broken, nil), "InvalidItemContentException", "")
		twice := *full
		twice.Items = []wire.InventoryItem{summary, summary}
		refused(t, "a type twice", n.Call(ctx, "ssm", "PutInventory", &twice, nil), "InvalidItemContentException", "")

		if d := cmp.Diff(before, countsOf(state(t, c, n.ID))); d != "" {
			t.Errorf("the published state moved (-before +after):\n%s", d)
		}
		try(t, n.Call(ctx, "ssm", "PutInventory", full, nil))
		if got := countsOf(state(t, c, n.ID)); got.Missing != 1 || got.Other != 3 {
			t.Errorf("the whole report: %+v", got)
		}
		// The same content again by its hash alone: time and context move, the patches stay.
		s.Advance(time.Minute)
		later := result(s.Now(), exampleE4()...)
		again := n.Inventory(later)
		again.Items[1].Content = nil
		try(t, n.Call(ctx, "ssm", "PutInventory", again, nil))
		if st := state(t, c, n.ID); st.OperationEndTime.Unix() != later.Header.EndedAt.Unix() || st.MissingCount != 1 {
			t.Errorf("after a report by hash: %+v", st)
		}
		agree(t, c, n.ID)
	})
}

// proves: reports in any order and with repetition end with the newest, and summary and detail agree.
func TestReportsInAnyOrder(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		seed := uint64(time.Now().UnixNano())
		r := rand.New(rand.NewPCG(seed, 0))
		states := []compliance.State{compliance.Installed, compliance.InstalledOther, compliance.InstalledRejected, compliance.InstalledPendingReboot, compliance.Missing, compliance.Failed}
		base := s.Now().Add(-time.Hour)
		for _, n := range s.Nodes(3) {
			var reports []*compliance.Result
			for i := range 6 {
				var items []compliance.Item
				for k := range r.IntN(40) {
					items = append(items, item(fmt.Sprint("p", k), states[r.IntN(len(states))], baseline.Critical, "Security"))
				}
				rep := result(base.Add(time.Duration(i)*time.Minute), items...)
				rep.Header.BootID, rep.Header.ScanSeq = fmt.Sprint("boot", i/3), int64(i+1)
				reports = append(reports, rep)
			}
			last := reports[len(reports)-1]
			order := append(slices.Clone(reports), reports[r.IntN(6)], reports[r.IntN(6)])
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, rep := range order {
				try(t, n.PutResult(ctx, rep))
				agree(t, c, n.ID)
			}
			st := state(t, c, n.ID)
			if !st.OperationEndTime.Equal(last.Header.EndedAt) || int(st.MissingCount) != last.Header.Counts.Missing || int(st.FailedCount) != last.Header.Counts.Failed {
				t.Errorf("seed %d: the published scan is that of %v, want %v", seed, st.OperationEndTime, last.Header.EndedAt)
			}
			s.View(func(tx *store.Tx) error { // the index says what the published scan says
				node, err := tx.NodeByID(n.ID)
				if err != nil {
					return err
				}
				list, err := tx.NonCompliantOf(store.Scope{Account: node.Account, Region: node.Region}, node.Num)
				bad := 0
				for i := range last.Items {
					if last.Items[i].Status() == compliance.NonCompliant {
						bad++
					}
				}
				if len(list) != bad {
					t.Errorf("seed %d: %d rows in the index, want %d", seed, len(list), bad)
				}
				return err
			})
		}
	})
}

// proves: stale and unknown are counted by themselves, and the four add up.
func TestStaleAndUnknownAreNotCompliant(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		fleet := func(compliant, non, stale, unknown int64) {
			t.Helper()
			try(t, s.Flush(ctx))
			var f oakum.GetFleetSummaryOutput
			try(t, s.Call(ctx, s.Reader, "oakum", "GetFleetSummary", `{}`, &f))
			if *f.Compliant != compliant || *f.NonCompliant != non || *f.Stale != stale || *f.Unknown != unknown || *f.Managed != compliant+non+stale+unknown {
				t.Errorf("fleet = %d+%d+%d+%d of %d, want %d+%d+%d+%d", *f.Compliant, *f.NonCompliant, *f.Stale, *f.Unknown, *f.Managed, compliant, non, stale, unknown)
			}
			var d oakum.DescribeNodesOutput
			try(t, s.Call(ctx, s.Reader, "oakum", "DescribeNodes", `{}`, &d))
			by := map[string]int64{}
			for _, n := range d.Nodes {
				by[*n.ComplianceStatus]++
			}
			if by["COMPLIANT"] != compliant || by["NON_COMPLIANT"] != non || by["STALE"] != stale || by["UNKNOWN"] != unknown {
				t.Errorf("DescribeNodes counts %v", by)
			}
		}
		fleet(0, 0, 0, 0)
		nodes := s.Nodes(4)
		fleet(0, 0, 0, 4)
		id := *must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{Name: str("deb"), OperatingSystem: "DEBIAN"})).BaselineId
		must[*ssm.RegisterDefaultPatchBaselineOutput](t)(c.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: &id}))
		s.Advance(2 * time.Second)
		good := item("a", compliance.Installed, baseline.Low, "Security")
		try(t, nodes[0].PutResult(ctx, result(s.Now(), good)))
		try(t, nodes[1].PutResult(ctx, result(s.Now(), exampleE1()...)))
		judged := result(s.Now(), good)
		judged.Header.BaselineID, judged.Header.StartedAt = id, s.Now().UTC()
		try(t, nodes[2].PutResult(ctx, judged))
		fleet(2, 1, 0, 1)
		s.Advance(time.Second)
		must[*ssm.UpdatePatchBaselineOutput](t)(c.UpdatePatchBaseline(ctx, &ssm.UpdatePatchBaselineInput{BaselineId: &id, ApprovedPatches: []string{"b"}}))
		fleet(1, 1, 1, 1) // its baseline has changed since
		s.Advance(36 * time.Hour)
		fleet(0, 0, 3, 1)
		for _, n := range nodes {
			try(t, n.Login(ctx))
		}
		try(t, nodes[2].PutResult(ctx, result(s.Now(), good)))
		fleet(1, 0, 2, 1)
		// AWS-shaped answers keep AWS's meaning.
		if st := state(t, c, nodes[0].ID); st.InstalledCount != 1 {
			t.Errorf("state of a stale node = %+v", st)
		}
		// What nothing is known of is not compliant; what is old speaks for as long as its metadata would.
		try(t, nodes[3].PutResult(ctx, func() *compliance.Result {
			r := result(s.Now(), good)
			r.Header.Repositories = []compliance.Repository{{URI: "https://archive.example", Missing: true, Stale: true}}
			return r
		}()))
		fleet(1, 0, 3, 0)
		s.Advance(time.Second)
		old := result(s.Now(), good)
		old.Header.Repositories = []compliance.Repository{{URI: "https://archive.example", Stale: true, RefreshedAt: s.Now().Add(-35 * time.Hour)}}
		try(t, nodes[3].PutResult(ctx, old))
		fleet(2, 0, 2, 0)
		s.Advance(2 * time.Hour)
		fleet(1, 0, 3, 0)
		try(t, nodes[0].Login(ctx))
		ahead := result(s.Now().Add(20*time.Hour), good) // a clock that is ahead does not keep a node fresh for longer
		try(t, nodes[0].PutResult(ctx, ahead))
		fleet(2, 0, 2, 0)
		s.Advance(36 * time.Hour)
		fleet(0, 0, 4, 0)
		tooFar := result(s.Now().Add(25*time.Hour), good)
		try(t, nodes[0].Login(ctx))
		refused(t, "a scan of tomorrow", nodes[0].PutResult(ctx, tooFar), "ValidationException", "")
	})
}

// proves: a scan does not speak for its node once another baseline would judge it.
func TestScanOfAnotherBaselineIsStale(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		stale := func(what string, want ...string) {
			t.Helper()
			try(t, s.Flush(ctx))
			var f oakum.GetFleetSummaryOutput
			try(t, s.Call(ctx, s.Reader, "oakum", "GetFleetSummary", `{}`, &f))
			if *f.Stale != int64(len(want)) || *f.Compliant+*f.NonCompliant+*f.Stale+*f.Unknown != *f.Managed {
				t.Errorf("%s: fleet = %d+%d+%d+%d of %d, want %d stale", what, *f.Compliant, *f.NonCompliant, *f.Stale, *f.Unknown, *f.Managed, len(want))
			}
			var d oakum.DescribeNodesOutput
			try(t, s.Call(ctx, s.Reader, "oakum", "DescribeNodes", `{"Filters":[{"Key":"ComplianceStatus","Values":["STALE"]}]}`, &d))
			got := []string{}
			for _, n := range d.Nodes {
				got = append(got, *n.InstanceId)
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: stale are %v, want %v", what, got, want)
			}
		}
		create := func(name string) *string {
			in := &ssm.CreatePatchBaselineInput{Name: &name, OperatingSystem: "DEBIAN"}
			return must[*ssm.CreatePatchBaselineOutput](t)(c.CreatePatchBaseline(ctx, in)).BaselineId
		}
		setDefault := func(id *string) {
			must[*ssm.RegisterDefaultPatchBaselineOutput](t)(c.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: id}))
		}
		tag := func(n *servertest.Node, group string) {
			in := &ssm.AddTagsToResourceInput{ResourceType: "ManagedInstance", ResourceId: &n.ID, Tags: []types.Tag{{Key: str("Patch Group"), Value: &group}}}
			must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, in))
		}
		predefined, _ := baseline.DefaultFor(baseline.Debian)
		nodes := s.Nodes(6)
		plain, web, policy, foreign, other, never := nodes[0], nodes[1], nodes[2], nodes[3], nodes[4], nodes[5]
		_ = never // has no scan, and is unknown throughout
		scan := func(n *servertest.Node, id string, change ...func(*compliance.Header)) {
			r := result(s.Now(), item("a", compliance.Installed, baseline.Low, "Security"))
			r.Header.BaselineID = id
			for _, f := range change {
				f(&r.Header)
			}
			try(t, n.PutResult(ctx, r))
			s.Advance(time.Second)
		}
		fresh, group := create("fresh"), create("group")
		tag(web, "web")
		s.Advance(2 * time.Second)
		scan(plain, predefined.BaselineID)
		scan(web, predefined.BaselineID)
		scan(policy, predefined.BaselineID, func(h *compliance.Header) { h.ExecutionType = "PatchPolicy" })
		scan(foreign, "pb-0123456789abcdef0")                                                                  // an override's own id
		scan(other, predefined.BaselineID, func(h *compliance.Header) { h.OperatingSystem = baseline.Ubuntu }) // was Debian's: says nothing of Ubuntu's registrations
		stale("a baseline of another operating system", other.ID)
		ubuntu, _ := baseline.DefaultFor(baseline.Ubuntu)
		scan(other, ubuntu.BaselineID, func(h *compliance.Header) { h.OperatingSystem = baseline.Ubuntu })
		stale("at first")

		setDefault(fresh)
		stale("another default", plain.ID, web.ID)
		setDefault(&predefined.BaselineID)
		stale("the default of before")
		register := &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: group, PatchGroup: str("web")}
		must[*ssm.RegisterPatchBaselineForPatchGroupOutput](t)(c.RegisterPatchBaselineForPatchGroup(ctx, register))
		stale("a registered group", web.ID)
		scan(web, *group)
		stale("scanned with the group's")
		setDefault(fresh)
		stale("another default beside a group", plain.ID)
		tag(plain, "web")
		scan(plain, *group)
		stale("scanned as one of the group")
		tag(plain, "nowhere")
		stale("a tag that leads to the default", plain.ID)
		tag(plain, "web")
		stale("the tag of before")
		must[*ssm.DeregisterPatchBaselineForPatchGroupOutput](t)(c.DeregisterPatchBaselineForPatchGroup(ctx, &ssm.DeregisterPatchBaselineForPatchGroupInput{BaselineId: group, PatchGroup: str("web")}))
		must[*ssm.DeletePatchBaselineOutput](t)(c.DeletePatchBaseline(ctx, &ssm.DeletePatchBaselineInput{BaselineId: group}))
		stale("a deleted baseline", plain.ID, web.ID)
		scan(plain, *fresh)
		scan(web, "arn:aws:ssm:us-east-1:000000000001:patchbaseline/"+*fresh)
		stale("scanned with the new default")
	})
}

func TestReportErrors(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		try(t, n.PutResult(ctx, result(s.Now(), exampleE1()...)))
		try(t, s.Flush(ctx))
		before := s.Dump()
		inv := func(id, item string) string { return `{"InstanceId":"` + id + `","Items":[` + item + `]}` }
		const custom = `{"TypeName":"Custom:X","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z"`
		var rows bytes.Buffer
		for i := range 51 {
			fmt.Fprintf(&rows, `,"k%d":""`, i)
		}
		comp := func(kind, items string) string {
			return `{"ResourceId":"$NODE","ResourceType":"ManagedInstance","ComplianceType":"` + kind + `","ExecutionSummary":{"ExecutionTime":1},"Items":[` + items + `]}`
		}
		checkErrors(t, s, map[string]string{"$NODE": n.ID, "$GONE": "mi-0123456789abcdef0"}, []errorCase{
			{"PutInventory", inv("$GONE", custom+`,"Content":[]}`), "InvalidInstanceId", ""},
			{"PutInventory", inv("$NODE", custom+`}`), "ItemContentMismatchException", ""},
			{"PutInventory", inv("$NODE", custom+`,"Content":[{"a":"b"`+rows.String()+`}]}`), "ValidationException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"x","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z"}`), "ValidationException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"Custom:X","SchemaVersion":"1.0","CaptureTime":"yesterday","Content":[]}`), "ValidationException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"AWS:../Nothing","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "InvalidTypeNameException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"Custom:lower","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "InvalidTypeNameException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"AWS:Nothing","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "InvalidTypeNameException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"AWS:Application","SchemaVersion":"1.2","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "UnsupportedInventorySchemaVersionException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"AWS:File","SchemaVersion":"7.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "UnsupportedInventorySchemaVersionException", ""},
			{"PutInventory", inv("$NODE", `{"TypeName":"AWS:File","SchemaVersion":"0.9","CaptureTime":"2026-07-01T00:00:00Z","Content":[]}`), "UnsupportedInventorySchemaVersionException", ""},
			{"GetInventory", `{"Filters":[{"Key":"AWS:Application","Values":["x"]}]}`, "InvalidFilter", ""},
			{"GetInventory", `{"Filters":[{"Key":"AWS:Application.Colour","Values":["x"]}]}`, "InvalidFilter", ""},
			{"GetInventory", `{"Filters":[{"Key":"AWS:Nothing.Name","Values":["x"]}]}`, "InvalidFilter", ""},
			{"GetInventory", `{"Filters":[{"Key":"AWS:Application.Name","Values":["x"],"Type":"Like"}]}`, "ValidationException", ""},
			{"GetInventory", `{"ResultAttributes":[{"TypeName":"AWS:Nothing"}]}`, "InvalidResultAttributeException", ""},
			{"GetInventory", `{"ResultAttributes":[{"TypeName":"AWS:File"}],"Aggregators":[{"Expression":"AWS:File.Name"}]}`, "InvalidResultAttributeException", ""},
			{"GetInventory", `{"Aggregators":[{"Expression":"AWS:File"}]}`, "InvalidAggregatorException", ""},
			{"GetInventory", `{"Aggregators":[{}]}`, "InvalidAggregatorException", ""},
			{"GetInventory", `{"Aggregators":[{"Groups":[{"Name":"g","Filters":[{"Key":"AWS:File.Colour","Values":["x"]}]}]}]}`, "InvalidInventoryGroupException", ""},
			{"GetInventory", `{"Aggregators":[{"Groups":[{"Name":"g","Filters":[{"Key":"AWS:File.Name","Values":["x"]}]},{"Name":"g","Filters":[{"Key":"AWS:File.Name","Values":["x"]}]}]}]}`, "InvalidInventoryGroupException", ""},
			{"GetInventory", `{"NextToken":"x"}`, "InvalidNextToken", ""},
			{"GetInventorySchema", `{"TypeName":"AWS:Nothing"}`, "InvalidTypeNameException", ""},
			{"GetInventorySchema", `{"MaxResults":49}`, "ValidationException", ""},
			{"DeleteInventory", `{"TypeName":"AWS:Application"}`, "InvalidTypeNameException", ""},
			{"DeleteInventory", `{"TypeName":"Custom:Nothing"}`, "InvalidTypeNameException", ""},
			{"DeleteInventory", `{"TypeName":"Custom:Nothing","DryRun":true}`, "InvalidTypeNameException", ""},
			{"DeleteInventory", `{"TypeName":"Custom:Nothing","SchemaDeleteOption":"Burn"}`, "InvalidOptionException", ""},
			{"DescribeInventoryDeletions", `{"DeletionId":"00000000-0000-4000-8000-000000000001"}`, "InvalidDeletionIdException", ""},
			{"PutComplianceItems", comp("Patches", `{"Id":"1","Severity":"LOW","Status":"COMPLIANT"}`), "InvalidItemContentException", ""},
			{"PutComplianceItems", comp("Nonsense", `{"Id":"1","Severity":"LOW","Status":"COMPLIANT"}`), "InvalidItemContentException", ""},
			{"PutComplianceItems", comp("Custom:xy", `{"Severity":"LOW","Status":"COMPLIANT"}`), "InvalidItemContentException", ""},
			{"PutComplianceItems", comp("Custom:xy", `{"Id":"1","Severity":"LOUD","Status":"COMPLIANT"}`), "ValidationException", ""},
			{"PutComplianceItems", `{"ResourceId":"$GONE","ResourceType":"ManagedInstance","ComplianceType":"Custom:xy","ExecutionSummary":{"ExecutionTime":1},"Items":[]}`, "InvalidResourceId", ""},
			{"PutComplianceItems", `{"ResourceId":"$NODE","ResourceType":"Bucket","ComplianceType":"Custom:xy","ExecutionSummary":{"ExecutionTime":1},"Items":[]}`, "InvalidResourceType", ""},
			{"DescribeInstancePatches", `{"InstanceId":"$GONE"}`, "InvalidInstanceId", ""},
			{"DescribeInstancePatches", `{"InstanceId":"$NODE","Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilter", ""},
			{"DescribeInstancePatches", `{"InstanceId":"$NODE","Filters":[{"Key":"State","Values":["Asleep"]}]}`, "InvalidFilter", ""},
			{"DescribeInstancePatchStates", `{"InstanceIds":["$NODE"],"MaxResults":9}`, "ValidationException", ""},
			{"DescribeInstancePatchStatesForPatchGroup", `{"PatchGroup":"g","Filters":[{"Key":"Colour","Values":["1"],"Type":"Equal"}]}`, "InvalidFilter", ""},
			{"DescribeInstancePatchStatesForPatchGroup", `{"PatchGroup":"g","Filters":[{"Key":"MissingCount","Values":["x"],"Type":"Equal"}]}`, "InvalidFilter", ""},
			{"DescribeInstancePatchStatesForPatchGroup", `{"PatchGroup":"g","Filters":[{"Key":"MissingCount","Values":["1","2"],"Type":"Equal"}]}`, "ValidationException", ""},
			{"ListComplianceItems", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilter", ""},
			{"ListComplianceItems", `{"ResourceIds":["$GONE"],"ResourceTypes":["ManagedInstance"]}`, "InvalidResourceId", ""},
			{"ListComplianceItems", `{"ResourceIds":["$NODE"],"ResourceTypes":["Bucket"]}`, "InvalidResourceType", ""},
			{"ListComplianceSummaries", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilter", ""},
			{"ListResourceComplianceSummaries", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilter", ""},
			{"ListInventoryEntries", `{"InstanceId":"$GONE","TypeName":"Custom:x"}`, "InvalidInstanceId", ""},
			{"oakum:GetPatchResult", `{"InstanceId":"$GONE"}`, "InvalidInstanceId", ""},
			{"oakum:DescribeNodes", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilterKey", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())

		// Custom compliance: the call replaces all items of its type, or adds to them.
		put := func(in *ssm.PutComplianceItemsInput) {
			t.Helper()
			in.ResourceId, in.ResourceType, in.ComplianceType = &n.ID, str("ManagedInstance"), str("Custom:AVCheck")
			in.ExecutionSummary = &types.ComplianceExecutionSummary{ExecutionTime: aws.Time(s.Now())}
			must[*ssm.PutComplianceItemsOutput](t)(c.PutComplianceItems(ctx, in))
		}
		list := func() (out []string) {
			for _, i := range must[*ssm.ListComplianceItemsOutput](t)(c.ListComplianceItems(ctx, &ssm.ListComplianceItemsInput{
				ResourceIds: []string{n.ID}, ResourceTypes: []string{"ManagedInstance"}, Filters: []types.ComplianceStringFilter{{Key: str("ComplianceType"), Values: []string{"Custom:AVCheck"}}},
			})).ComplianceItems {
				out = append(out, *i.Id+" "+string(i.Status))
			}
			return out
		}
		entry := func(id, status string) types.ComplianceItemEntry {
			return types.ComplianceItemEntry{Id: &id, Title: str("av"), Severity: "CRITICAL", Status: types.ComplianceStatus(status)}
		}
		put(&ssm.PutComplianceItemsInput{Items: []types.ComplianceItemEntry{entry("V1", "COMPLIANT"), entry("V2", "COMPLIANT")}})
		put(&ssm.PutComplianceItemsInput{UploadType: "PARTIAL", Items: []types.ComplianceItemEntry{entry("V2", "NON_COMPLIANT")}})
		if d := cmp.Diff([]string{"V1 COMPLIANT", "V2 NON_COMPLIANT"}, list()); d != "" {
			t.Error(d)
		}
		put(&ssm.PutComplianceItemsInput{Items: []types.ComplianceItemEntry{entry("V3", "COMPLIANT")}})
		if d := cmp.Diff([]string{"V3 COMPLIANT"}, list()); d != "" {
			t.Error(d)
		}
	})
}

// What is put as type Patch stands until the next scan, and a scan replaces it.
func TestPatchItemsStandUntilTheNextScan(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		n := s.Nodes(1)[0]
		scan := func() {
			t.Helper()
			r := &compliance.Result{Header: compliance.Header{
				OperatingSystem: "DEBIAN", Operation: "Scan", BaselineID: "pb-1", StartedAt: s.Now().Add(-time.Second), EndedAt: s.Now(), BootID: "b",
			}}
			r.Items = []compliance.Item{{ID: "a.amd64", Name: "a", Title: "a.amd64:1", State: compliance.Installed, Level: "UNSPECIFIED"}}
			r.Finish(0)
			if err := n.PutResult(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		listed := func() (ids []string) {
			t.Helper()
			out, err := s.SSM(s.Admin).ListComplianceItems(t.Context(), &ssm.ListComplianceItemsInput{ResourceIds: []string{n.ID}, ResourceTypes: []string{"ManagedInstance"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range out.ComplianceItems {
				ids = append(ids, *i.Id)
			}
			return ids
		}
		scan()
		if got := listed(); len(got) != 1 || got[0] != "a.amd64" {
			t.Fatalf("after the scan: %v", got)
		}
		s.Advance(time.Minute)
		put := &wire.PutComplianceItemsInput{
			ResourceId: &n.ID, ResourceType: new("ManagedInstance"), ComplianceType: new("Patch"), ExecutionSummary: &wire.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(s.Now())},
			Items: []wire.ComplianceItemEntry{{Id: new("KB1"), Severity: new("HIGH"), Status: new("NON_COMPLIANT")}},
		}
		if err := s.Call(t.Context(), s.Admin, "ssm", "PutComplianceItems", put, nil); err != nil {
			t.Fatal(err)
		}
		if got := listed(); len(got) != 1 || got[0] != "KB1" {
			t.Errorf("after the put: %v", got)
		}
		s.Advance(time.Minute)
		scan()
		if got := listed(); len(got) != 1 || got[0] != "a.amd64" {
			t.Errorf("after the next scan: %v", got)
		}
	})
}
