package report

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/node"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// epoch stands for an unknown instant where the API requires one.
var epoch = time.Unix(0, 0)

// Compliance statuses of a node. Stale and unknown are never folded into compliant.
const (
	Stale   = "STALE"
	Unknown = "UNKNOWN"
)

// GetPatchResult answers the published scan of a node with the reason of every patch that is not installed.
func (s *Service) GetPatchResult(ctx context.Context, in *oakum.GetPatchResultInput) (*oakum.GetPatchResultOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	var st store.NodeState
	var list []compliance.Item
	err := s.store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Node(sc, id); err != nil {
			return notANode(err, id)
		}
		var err error
		if st, err = tx.NodeState(sc, id); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		}
		list, err = items(tx, st)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &oakum.GetPatchResultOutput{Items: []oakum.PatchItem{}}
	if st.NodeID == "" { // never scanned
		return out, nil
	}
	h, err := header(st)
	if err != nil {
		return nil, err
	}
	out.Header, out.CaptureTime, out.ResultHash = new(string(compliance.EncodeHeader(h))), codec.NewTime(st.EndedAt), &st.ResultHash
	pattern := strings.ToLower(codec.Value(in.PatchId))
	for _, i := range list {
		if pattern != "" && !baseline.Glob(pattern, strings.ToLower(i.ID)) && !baseline.Glob(pattern, strings.ToLower(i.Name)) {
			continue
		}
		out.Items = append(out.Items, wireItem(i))
	}
	return out, nil
}

func wireItem(i compliance.Item) oakum.PatchItem {
	w := oakum.PatchItem{
		Id: &i.ID, Name: &i.Name, Arch: &i.Arch, Title: &i.Title, State: new(string(i.State)), Level: new(string(i.Level)),
		Classification: &i.Classification, Severity: &i.Severity, InstalledVersion: &i.InstalledVersion, AvailableVersion: &i.AvailableVersion,
		Reason: &i.Reason, Detail: &i.Detail, Repository: &i.Repository, CVEIds: i.CVEs,
	}
	for _, t := range []struct {
		to   **codec.Time
		from time.Time
	}{{&w.InstalledTime, i.InstalledTime}, {&w.ReleasedTime, i.ReleasedTime}, {&w.ApprovalDate, i.ApprovalDate}} {
		if !t.from.IsZero() {
			*t.to = codec.NewTime(t.from)
		}
	}
	return w
}

// DescribeNodes lists managed nodes with what is known of their patches.
func (s *Service) DescribeNodes(ctx context.Context, in *oakum.DescribeNodesInput) (*oakum.DescribeNodesOutput, error) {
	for _, f := range in.Filters {
		if !slices.Contains([]string{"InstanceIds", "PatchGroup", "ComplianceStatus", "PingStatus", "Name", "KernelLivePatch"}, codec.Value(f.Key)) {
			return nil, ssm.InvalidFilterKey("The specified key isn't valid: %s", codec.Value(f.Key))
		}
	}
	pg, err := s.pages.Open(ctx, "DescribeNodes", in, in.NextToken, in.MaxResults, 100)
	if err != nil {
		return nil, err
	}
	sc, now := store.ScopeOf(ctx), s.now()
	out := &oakum.DescribeNodesOutput{Nodes: []oakum.Node{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		after := pg.At(0)
		for {
			rows, err := tx.Nodes(sc, after, 200)
			if err != nil || len(rows) == 0 {
				return err
			}
			s.presence.Lay(rows)
			ids := make([]string, len(rows))
			for i, n := range rows {
				ids[i] = n.ID
			}
			states, err := tx.NodeStates(sc, ids)
			if err != nil {
				return err
			}
			outdated, err := tx.Outdated(sc, ids)
			if err != nil {
				return err
			}
			byID := map[string]store.NodeState{}
			for _, st := range states {
				byID[st.NodeID] = st
			}
			for _, n := range rows {
				w := wireNode(n, byID[n.ID], slices.Contains(outdated, n.ID), now)
				if nodeMatches(in.Filters, w) {
					if len(out.Nodes) == pg.Size {
						out.NextToken = pg.Next(after)
						return nil
					}
					out.Nodes = append(out.Nodes, w)
				}
				after = n.ID
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func nodeMatches(filters []oakum.NodeFilter, n oakum.Node) bool {
	for _, f := range filters {
		state := ""
		if n.KernelLivePatch != nil {
			state = codec.Value(n.KernelLivePatch.State)
		}
		v := map[string]*string{
			"InstanceIds": n.InstanceId, "PatchGroup": n.PatchGroup, "ComplianceStatus": n.ComplianceStatus, "PingStatus": n.PingStatus, "Name": n.Name, "KernelLivePatch": &state,
		}[*f.Key]
		if !slices.Contains(f.Values, codec.Value(v)) {
			return false
		}
	}
	return true
}

// status is what a node counts as at the given time. outdated tells that its baseline was changed or replaced since.
func status(s store.NodeState, outdated bool, now time.Time) string {
	switch {
	case s.NodeID == "":
		return Unknown
	case !now.Before(s.StaleAt) || outdated:
		return Stale
	}
	return s.Status
}

func wireNode(n store.Node, s store.NodeState, outdated bool, now time.Time) oakum.Node {
	w := oakum.Node{
		InstanceId: &n.ID, Name: &n.Name, ComputerName: &n.ComputerName, IPAddress: &n.IPAddress, PlatformType: &n.PlatformType,
		PlatformName: &n.PlatformName, PlatformVersion: &n.PlatformVersion, AgentVersion: &n.AgentVersion, PingStatus: new(node.PingStatus(n, now)),
		PatchGroup: &n.PatchGroup, ComplianceStatus: new(status(s, outdated, now)),
	}
	if !n.LastPingAt.IsZero() {
		w.LastPingDateTime = codec.NewTime(n.LastPingAt)
	}
	if s.NodeID == "" {
		return w
	}
	c := s.Counts
	w.ComplianceSeverity, w.BaselineId, w.RebootRequired, w.LastScanTime = &s.Severity, &s.BaselineID, &s.RebootRequired, codec.NewTime(s.EndedAt)
	w.InstalledCount, w.MissingCount, w.FailedCount = &c.Installed, &c.Missing, &c.Failed
	w.PendingRebootCount, w.RejectedCount = &c.InstalledPendingReboot, &c.InstalledRejected
	w.CriticalNonCompliantCount, w.SecurityNonCompliantCount = &c.CriticalNonCompliant, &c.SecurityNonCompliant
	w.KernelLivePatch = wireLivePatch(s.LivePatch, now)
	return w
}

// GetFleetSummary counts the managed nodes; Compliant, NonCompliant, Stale and Unknown add up to Managed.
func (s *Service) GetFleetSummary(ctx context.Context, _ *oakum.GetFleetSummaryInput) (*oakum.GetFleetSummaryOutput, error) {
	sc := store.ScopeOf(ctx)
	var f store.FleetSummary
	freeze := &oakum.InstallFreeze{Active: new(false)}
	since := node.OnlineSince(s.now())
	fresh := s.presence.Unwritten(sc)
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		if f, err = tx.FleetSummary(sc, since); err != nil {
			return err
		}
		switch z, err := tx.Freeze(sc); {
		case err == nil:
			freeze = &oakum.InstallFreeze{
				Active: new(true), Reason: &z.Reason, StartDate: codec.NewTime(z.StartedAt), EndDate: codec.NewTime(z.EndsAt), By: &z.SetBy,
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		for chunk := range slices.Chunk(fresh, 500) {
			rows, err := tx.NodesByID(sc, chunk)
			if err != nil {
				return err
			}
			for _, n := range rows {
				if !n.LastPingAt.After(since) { // not counted as online yet
					f.Online++
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &oakum.GetFleetSummaryOutput{
		Managed: &f.Managed, Compliant: &f.Compliant, NonCompliant: &f.NonCompliant, Stale: &f.Stale, Unknown: &f.Unknown,
		Online: &f.Online, ConnectionLost: new(f.Managed - f.Online), InstallFreeze: freeze,
	}, nil
}
