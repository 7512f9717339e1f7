package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/compliance"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func wireState(s store.NodeState) ssm.InstancePatchState {
	c := s.Counts
	w := ssm.InstancePatchState{
		InstanceId: &s.NodeID, PatchGroup: &s.PatchGroup, BaselineId: &s.BaselineID, SnapshotId: &s.SnapshotID, OwnerInformation: new(""),
		InstalledCount: &c.Installed, InstalledOtherCount: &c.InstalledOther, InstalledPendingRebootCount: &c.InstalledPendingReboot,
		InstalledRejectedCount: &c.InstalledRejected, MissingCount: &c.Missing, FailedCount: &c.Failed,
		UnreportedNotApplicableCount: &c.UnreportedNotApplicable, NotApplicableCount: &c.NotApplicable,
		OperationStartTime: codec.NewTime(s.StartedAt), OperationEndTime: codec.NewTime(s.EndedAt), Operation: &s.Operation,
		CriticalNonCompliantCount: &c.CriticalNonCompliant, SecurityNonCompliantCount: &c.SecurityNonCompliant, OtherNonCompliantCount: &c.OtherNonCompliant,
		AvailableSecurityUpdateCount: &c.AvailableSecurityUpdate,
	}
	if s.RebootOption != "" {
		w.RebootOption = &s.RebootOption
	}
	if s.InstallOverrideList != "" {
		w.InstallOverrideList = &s.InstallOverrideList
	}
	if !s.LastNoRebootInstallAt.IsZero() {
		w.LastNoRebootInstallOperationTime = codec.NewTime(s.LastNoRebootInstallAt)
	}
	if s.SnapshotID == "" {
		w.SnapshotId = nil
	}
	return w
}

// DescribeInstancePatchStates answers the summaries of the nodes named; those without a scan are left out.
func (s *Service) DescribeInstancePatchStates(ctx context.Context, in *ssm.DescribeInstancePatchStatesInput) (*ssm.DescribeInstancePatchStatesOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeInstancePatchStates", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	ids := slices.Compact(slices.Sorted(slices.Values(in.InstanceIds)))
	var rows []store.NodeState
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { rows, err = tx.NodeStates(sc, ids); return err }); err != nil {
		return nil, err
	}
	out := &ssm.DescribeInstancePatchStatesOutput{InstancePatchStates: []ssm.InstancePatchState{}}
	rows, out.NextToken = page.Slice(pg, rows, func(r store.NodeState) string { return r.NodeID })
	for _, r := range rows {
		out.InstancePatchStates = append(out.InstancePatchStates, wireState(r))
	}
	return out, nil
}

// stateFilter is one condition on a count.
type stateFilter struct {
	key, op string
	value   int64
}

func stateFilters(in []ssm.InstancePatchStateFilter) ([]stateFilter, error) {
	var out []stateFilter
	for _, f := range in {
		key := codec.Value(f.Key)
		if _, ok := countByName(store.Counts{}, key); !ok {
			return nil, ssm.InvalidFilter("The filter key %s is not valid.", key)
		}
		if len(f.Values) != 1 {
			return nil, ssm.InvalidFilter("The filter %s needs exactly one value.", key)
		}
		v, err := strconv.ParseInt(f.Values[0], 10, 64)
		if err != nil || v < 0 {
			return nil, ssm.InvalidFilter("The filter %s needs a number: %s", key, f.Values[0])
		}
		out = append(out, stateFilter{key, codec.Value(f.Type), v})
	}
	return out, nil
}

func countByName(c store.Counts, name string) (int64, bool) {
	v, ok := map[string]int64{
		"InstalledCount": c.Installed, "InstalledOtherCount": c.InstalledOther, "InstalledPendingRebootCount": c.InstalledPendingReboot,
		"InstalledRejectedCount": c.InstalledRejected, "MissingCount": c.Missing, "FailedCount": c.Failed,
		"UnreportedNotApplicableCount": c.UnreportedNotApplicable, "NotApplicableCount": c.NotApplicable,
		"CriticalNonCompliantCount": c.CriticalNonCompliant, "SecurityNonCompliantCount": c.SecurityNonCompliant,
		"OtherNonCompliantCount": c.OtherNonCompliant, "AvailableSecurityUpdateCount": c.AvailableSecurityUpdate,
	}[name]
	return v, ok
}

func (f stateFilter) takes(c store.Counts) bool {
	v, _ := countByName(c, f.key) // checked by stateFilters
	switch f.op {
	case "Equal":
		return v == f.value
	case "NotEqual":
		return v != f.value
	case "LessThan":
		return v < f.value
	}
	return v > f.value
}

// DescribeInstancePatchStatesForPatchGroup answers the summaries of the nodes that now carry the group's tag.
func (s *Service) DescribeInstancePatchStatesForPatchGroup(ctx context.Context, in *ssm.DescribeInstancePatchStatesForPatchGroupInput) (*ssm.DescribeInstancePatchStatesForPatchGroupOutput, error) {
	filters, err := stateFilters(in.Filters)
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "DescribeInstancePatchStatesForPatchGroup", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeInstancePatchStatesForPatchGroupOutput{InstancePatchStates: []ssm.InstancePatchState{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		after := pg.At(0)
		for {
			rows, err := tx.StatesOfGroup(sc, codec.Value(in.PatchGroup), after, 500)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, r := range rows {
				if !slices.ContainsFunc(filters, func(f stateFilter) bool { return !f.takes(r.Counts) }) {
					if len(out.InstancePatchStates) == pg.Size {
						out.NextToken = pg.Next(after)
						return nil
					}
					out.InstancePatchStates = append(out.InstancePatchStates, wireState(r))
				}
				after = r.NodeID
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribePatchGroupState counts the nodes of a group by what they have; an unknown group is all zero.
func (s *Service) DescribePatchGroupState(ctx context.Context, in *ssm.DescribePatchGroupStateInput) (*ssm.DescribePatchGroupStateOutput, error) {
	sc := store.ScopeOf(ctx)
	var g store.GroupState
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { g, err = tx.GroupState(sc, codec.Value(in.PatchGroup)); return err }); err != nil {
		return nil, err
	}
	w := g.With
	return &ssm.DescribePatchGroupStateOutput{
		Instances: &g.Instances, InstancesWithInstalledPatches: &w.Installed, InstancesWithInstalledOtherPatches: &w.InstalledOther,
		InstancesWithInstalledPendingRebootPatches: &w.InstalledPendingReboot, InstancesWithInstalledRejectedPatches: &w.InstalledRejected,
		InstancesWithMissingPatches: &w.Missing, InstancesWithFailedPatches: &w.Failed, InstancesWithNotApplicablePatches: &w.NotApplicable,
		InstancesWithUnreportedNotApplicablePatches: &w.UnreportedNotApplicable, InstancesWithCriticalNonCompliantPatches: &w.CriticalNonCompliant,
		InstancesWithSecurityNonCompliantPatches: &w.SecurityNonCompliant, InstancesWithOtherNonCompliantPatches: &w.OtherNonCompliant,
		InstancesWithAvailableSecurityUpdates: &w.AvailableSecurityUpdate,
	}, nil
}

// sameSeverity reports whether a filter value takes a severity: Medium and Moderate are the same level.
func sameSeverity(value, severity string) bool {
	fold := func(s string) string {
		if strings.EqualFold(s, "Moderate") {
			return "medium"
		}
		return strings.ToLower(s)
	}
	return fold(value) == fold(severity)
}

func patchMatches(filters []ssm.PatchOrchestratorFilter, i compliance.Item) bool {
	for _, f := range filters {
		ok := false
		for _, v := range f.Values {
			switch *f.Key {
			case "Classification":
				ok = ok || strings.EqualFold(v, i.Classification)
			case "KBId":
				ok = ok || v == i.ID
			case "Severity":
				ok = ok || sameSeverity(v, i.Severity)
			case "State":
				st, _ := compliance.ParseState(v) // checked by DescribeInstancePatches
				ok = ok || st == i.State
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// itemKey orders items as reports do: by state, then by name.
func itemKey(i compliance.Item) string {
	return fmt.Sprintf("%02d %s %s", slices.Index(compliance.States(), i.State), i.Name, i.ID)
}

// DescribeInstancePatches lists the patches of a node's published scan.
func (s *Service) DescribeInstancePatches(ctx context.Context, in *ssm.DescribeInstancePatchesInput) (*ssm.DescribeInstancePatchesOutput, error) {
	for _, f := range in.Filters {
		switch codec.Value(f.Key) {
		case "Classification", "KBId", "Severity":
		case "State":
			for _, v := range f.Values {
				if _, ok := compliance.ParseState(v); !ok {
					return nil, ssm.InvalidFilter("The state %s is not valid.", v)
				}
			}
		default:
			return nil, ssm.InvalidFilter("The filter key %s is not valid.", codec.Value(f.Key))
		}
	}
	pg, err := s.pages.Open(ctx, "DescribeInstancePatches", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	var list []compliance.Item
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Node(sc, id); err != nil {
			return notANode(err, id)
		}
		st, err := tx.NodeState(sc, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		list, err = items(tx, st)
		return err
	})
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(i compliance.Item) bool { return !patchMatches(in.Filters, i) })
	slices.SortFunc(list, func(a, b compliance.Item) int { return strings.Compare(itemKey(a), itemKey(b)) })
	out := &ssm.DescribeInstancePatchesOutput{Patches: []ssm.PatchComplianceData{}}
	list, out.NextToken = page.Slice(pg, list, itemKey)
	for _, i := range list {
		w := ssm.PatchComplianceData{
			Title: &i.Title, KBId: &i.ID, Classification: &i.Classification, Severity: &i.Severity, State: new(string(i.State)),
			InstalledTime: codec.NewTime(i.InstalledTime),
		}
		if i.InstalledTime.IsZero() {
			w.InstalledTime = codec.NewTime(epoch)
		}
		if len(i.CVEs) > 0 {
			w.CVEIds = new(strings.Join(i.CVEs, ","))
		}
		out.Patches = append(out.Patches, w)
	}
	return out, nil
}
