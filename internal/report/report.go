// Package report takes what nodes say of themselves (scan results, inventory, compliance items) and answers
// every question about it. A node's published state changes only as a whole. Start with Service.
package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/iam"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// staleAfter is how long a scan speaks for its node: later the node counts as stale, not as compliant.
const staleAfter = 36 * time.Hour

// maxFuture is how far a node's clock may be ahead before its report is refused.
const maxFuture = 24 * time.Hour

// Presence lays what is known of contacts in memory over stored nodes.
type Presence interface {
	Lay(nodes []store.Node)
	Unwritten(sc store.Scope) []string
}

// Service takes and answers reports. It is safe for concurrent use.
type Service struct {
	store    *store.Store
	pages    page.Book
	presence Presence
	random   io.Reader
	now      func() time.Time

	// Changed is told in the transaction that takes new inventory; nil: nobody waits for it.
	Changed func(tx *store.Tx, sc store.Scope) error
	// Status is a node's InstanceStatus: Active or ConnectionLost.
	Status func(n store.Node) string
	// Groups are the names of the resource groups that a node is in; nil: there are none.
	Groups func(tx *store.Tx, sc store.Scope, nodeID string) ([]string, error)
}

// New returns the service.
func New(st *store.Store, pages page.Book, presence Presence, random io.Reader, now func() time.Time) *Service {
	return &Service{store: st, pages: pages, presence: presence, random: random, now: now}
}

// itemSet is a result set: its hash, and its items where the sender gave them.
type itemSet struct {
	hash  string
	bytes []byte // nil: the server holds them
	items []compliance.Item
}

// PutPatchResult takes a scan from Oakum's own agent. The hash of the items comes first; the items only when
// the account does not hold them. Nothing is published before everything is there.
func (s *Service) PutPatchResult(ctx context.Context, in *oakum.PutPatchResultInput) (*oakum.PutPatchResultOutput, error) {
	p := iam.PrincipalFrom(ctx)
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	if p.Kind == iam.Node {
		id = p.NodeID
	}
	header, err := compliance.DecodeHeader([]byte(codec.Value(in.Header)))
	if err != nil {
		return nil, awserr.Validation("Header: %v", err)
	}
	if err := s.checkHeader(header); err != nil {
		return nil, err
	}
	set := itemSet{hash: codec.Value(in.ItemsHash)}
	if in.Items != nil {
		if set.bytes, err = unpack("Items", set.hash, in.Items); err != nil {
			return nil, err
		}
		if set.items, err = compliance.DecodeItems(set.bytes); err != nil {
			return nil, awserr.Validation("Items: %v", err)
		}
	}
	var available []byte
	var rows []compliance.Available
	if in.Available != nil {
		if available, err = unpack("Available", codec.Value(in.AvailableHash), in.Available); err != nil {
			return nil, err
		}
		if rows, err = compliance.DecodeAvailable(available); err != nil {
			return nil, awserr.Validation("Available: %v", err)
		}
	}
	out := &oakum.PutPatchResultOutput{ItemsNeeded: new(false), AvailableNeeded: new(false), Stored: new(false)}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		needItems, needAvailable := false, false
		if set.bytes == nil {
			held, err := tx.HasContent(sc.Account, set.hash)
			if err != nil {
				return err
			}
			needItems = !held
		}
		if h := codec.Value(in.AvailableHash); h != "" && available == nil {
			held, err := tx.HasContent(sc.Account, h)
			if err != nil {
				return err
			}
			needAvailable = !held
		}
		out.ItemsNeeded, out.AvailableNeeded = &needItems, &needAvailable
		if needItems || needAvailable {
			return nil
		}
		n, err := tx.LockNode(sc, id)
		if err != nil {
			return notANode(err, id)
		}
		if err := s.learn(tx, sc, header, codec.Value(in.AvailableHash), available, rows); err != nil {
			return err
		}
		out.Stored = new(true)
		return publish(tx, sc, n, header, set, codec.Value(in.AvailableHash))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func unpack(member, hash string, packed []byte) ([]byte, error) {
	b, err := store.Decompress(packed)
	if err != nil {
		return nil, awserr.Validation("%s: %v", member, err)
	}
	if store.Hash(b) != hash {
		return nil, awserr.Validation("%s: the content does not have the hash given", member)
	}
	return b, nil
}

func (s *Service) checkHeader(h *compliance.Header) error {
	switch {
	case h.EndedAt.IsZero():
		return awserr.Validation("Header: the time of the scan is missing")
	case h.EndedAt.After(s.now().Add(maxFuture)):
		return awserr.Validation("Header: the scan ended at %s, which lies in the future", h.EndedAt.Format(time.RFC3339))
	}
	return nil
}

// notANode turns a missing row into the API's error.
func notANode(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return ssm.InvalidInstanceId("Instance %s is not a managed instance of this account and region", id)
	}
	return err
}

// Relearn is how long the catalogue takes a set of versions for known. Reports of the same set bring its versions up
// to date after that; the sweep of versions that no node reports waits much longer.
const Relearn = 7 * 24 * time.Hour

// learn adds the versions that a node's repositories offer to the catalogue of its region, when no node has reported
// the same set lately. Blobs are the account's: the node of another region may have sent this one.
func (s *Service) learn(tx *store.Tx, sc store.Scope, h *compliance.Header, hash string, body []byte, rows []compliance.Available) error {
	if hash == "" {
		return nil
	}
	if body != nil {
		if _, err := tx.PutContent(sc.Account, body); err != nil {
			return err
		}
	}
	set := store.AvailableSet{OperatingSystem: string(h.OperatingSystem), Product: h.Product, Hash: hash}
	known, err := tx.KnowsAvailable(sc, set, tx.Now().Add(-Relearn))
	if err != nil || known {
		return err
	}
	if body == nil {
		if body, err = tx.Content(sc.Account, hash); err != nil {
			return err
		}
		if rows, err = compliance.DecodeAvailable(body); err != nil {
			return awserr.Validation("AvailableHash: %v", err) // the hash of something else that the account holds
		}
	}
	for _, r := range rows {
		product := r.Product
		if product == "" {
			product = h.Product
		}
		notices := ""
		if len(r.Notices) > 0 {
			b, err := json.Marshal(r.Notices)
			if err != nil {
				return err
			}
			notices = string(b)
		}
		err := tx.PutAvailablePatch(sc, store.AvailablePatch{
			OperatingSystem: string(h.OperatingSystem), Product: product, Name: r.Name, Version: r.Version, Arch: r.Arch, Repository: r.Repository,
			Classification: r.Classification, Priority: r.Priority, Section: r.Section, Notices: notices, ReleasedAt: r.ReleasedTime,
			FirstSeenAt: tx.Now(), LastSeenAt: tx.Now(),
		})
		if err != nil {
			return err
		}
	}
	return tx.PutAvailableSet(sc, set)
}

// publish makes a whole report the node's published state: blob, summary row and index of what is not fine in
// one transaction. Counts come from the items, never from the sender.
func publish(tx *store.Tx, sc store.Scope, n store.Node, h *compliance.Header, set itemSet, availableHash string) error {
	old, err := tx.NodeState(sc, n.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if set.bytes != nil {
		if _, err := tx.PutContent(sc.Account, set.bytes); err != nil {
			return err
		}
	}
	unchanged := old.ResultHash == set.hash && h.OperatingSystem != baseline.Windows // there, items may count as not applicable
	state := store.NodeState{
		Account: sc.Account, Region: sc.Region, NodeID: n.ID, BootID: h.BootID, ScanSeq: h.ScanSeq, Operation: h.Operation, StartedAt: h.StartedAt,
		EndedAt: h.EndedAt, PublishedAt: tx.Now(), BaselineID: h.BaselineID, SnapshotID: h.SnapshotID,
		PatchGroup: h.PatchGroup, ExecutionID: h.ExecutionID, ExecutionType: h.ExecutionType, RebootOption: h.RebootOption,
		InstallOverrideList: h.InstallOverrideList, LastNoRebootInstallAt: h.LastNoReboot, RebootRequired: h.Reboot.Required,
		ResultHash: set.hash, AvailableHash: availableHash, LivePatch: livePatchColumn(h.Reboot.LivePatch),
	}
	if unchanged {
		state.Counts, state.Status, state.Severity, state.SeverityCounts = old.Counts, old.Status, old.Severity, old.SeverityCounts
		state.Counts.NotApplicable = int64(h.Counts.NotApplicable)
	} else {
		if set.items == nil {
			b, err := tx.Content(sc.Account, set.hash)
			if err != nil {
				return err
			}
			if set.items, err = compliance.DecodeItems(b); err != nil {
				return awserr.Validation("ItemsHash: %v", err) // the hash of something else that the account holds
			}
		}
		judge(&state, h, set.items)
	}
	if state.ExecutionType == "" {
		state.ExecutionType = "Command"
	}
	judged := *h
	judged.Status = state.Status
	state.StaleAt = staleAt(judged.Seen(), tx.Now())
	if err := judgedBy(tx, sc, n, h, &state); err != nil {
		return err
	}
	head := *h
	head.Counts, head.Status, head.Severity = compliance.Counts{}, "", "" // the row has them
	state.Header = store.Compress(compliance.EncodeHeader(&head))
	if err := tx.AppendScanHistory(state); err != nil {
		return err
	}
	published, err := tx.PutNodeState(state)
	if err != nil || !published || unchanged {
		return err
	}
	return reindex(tx, sc, n.Num, set.items)
}

// judgedBy keeps what tells whether another baseline would judge the node now, when the one that did was chosen by
// the node's patch group or operating system. That of a policy or an override is nobody's registered one: an id that
// the server does not know is not compared.
func judgedBy(tx *store.Tx, sc store.Scope, n store.Node, h *compliance.Header, state *store.NodeState) error {
	if h.ExecutionType == "PatchPolicy" {
		return nil
	}
	os := h.OperatingSystem
	if os == "" { // the forms of the stock agent do not carry it
		where, ok := baseline.Detect(n.PlatformName, n.PlatformVersion)
		if !ok {
			return nil
		}
		os = where.OS
	}
	id, err := arn.BaselineID(h.BaselineID)
	if err != nil {
		return nil // of no baseline that could be registered
	}
	if p, ok := baseline.FindPredefined(id); ok {
		id = p.BaselineID
	} else if _, err := tx.Baseline(sc, id); errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	state.BaselineID, state.OperatingSystem = id, string(os)
	if p, ok := baseline.DefaultFor(os); ok {
		state.PredefinedID = p.BaselineID
	}
	return nil
}

// staleAt is when a scan stops speaking for its node, by the instant up to which it can; a clock that is ahead does not
// make it last longer.
func staleAt(seen, now time.Time) time.Time {
	if seen.IsZero() {
		return now
	}
	if seen.After(now) {
		seen = now
	}
	return seen.Add(staleAfter)
}

// judge fills the summary from the items.
func judge(s *store.NodeState, h *compliance.Header, items []compliance.Item) {
	listed := false
	for i := range items {
		listed = listed || items[i].State == compliance.NotApplicable
	}
	counted := h.Counts.NotApplicable
	if listed {
		counted = 0
	}
	c := compliance.Count(items, counted)
	s.Counts = store.Counts{
		Installed: int64(c.Installed), InstalledOther: int64(c.InstalledOther), InstalledPendingReboot: int64(c.InstalledPendingReboot),
		InstalledRejected: int64(c.InstalledRejected), Missing: int64(c.Missing), Failed: int64(c.Failed), NotApplicable: int64(c.NotApplicable),
		UnreportedNotApplicable: int64(h.Counts.UnreportedNotApplicable), AvailableSecurityUpdate: int64(c.AvailableSecurityUpdate),
		CriticalNonCompliant: int64(c.CriticalNonCompliant), SecurityNonCompliant: int64(c.SecurityNonCompliant), OtherNonCompliant: int64(c.OtherNonCompliant),
	}
	if s.Counts.UnreportedNotApplicable == 0 {
		s.Counts.UnreportedNotApplicable = -1 // nothing was cut
	}
	status, severity := compliance.Overall(items)
	s.Status, s.Severity = status, string(severity)
	good, bad := compliance.Summarize(items)
	s.SeverityCounts = encodeSeverities(good, bad)
}

// severities are the items of a node by compliance level.
type severities struct {
	Compliant    compliance.Severities `json:"c,omitempty"`
	NonCompliant compliance.Severities `json:"n,omitempty"`
}

func encodeSeverities(good, bad compliance.Severities) string {
	for _, m := range []compliance.Severities{good, bad} {
		for k, v := range m {
			if v == 0 {
				delete(m, k)
			}
		}
	}
	b, err := json.Marshal(severities{good, bad})
	if err != nil {
		return "{}" // maps of numbers: cannot fail
	}
	return string(b)
}

func decodeSeverities(text string) (s severities) {
	_ = json.Unmarshal([]byte(text), &s) // written by encodeSeverities
	return s
}

// reindex brings the index of what is not fine in step, changing only what differs.
func reindex(tx *store.Tx, sc store.Scope, nodeNum int64, items []compliance.Item) error {
	old, err := tx.NonCompliantOf(sc, nodeNum)
	if err != nil {
		return err
	}
	have := map[int64]store.NonCompliant{}
	for _, n := range old {
		have[n.PatchNum] = n
	}
	for i := range items {
		if items[i].Status() != compliance.NonCompliant {
			continue
		}
		num, err := tx.PatchNum(sc.Account, items[i].ID)
		if err != nil {
			return err
		}
		n := store.NonCompliant{PatchNum: num, State: string(items[i].State), Level: string(items[i].Level)}
		if have[num] != n {
			if err := tx.PutNonCompliant(sc, nodeNum, n); err != nil {
				return err
			}
		}
		delete(have, num)
	}
	for num := range have {
		if err := tx.DeleteNonCompliant(sc, nodeNum, num); err != nil {
			return err
		}
	}
	return nil
}

// items reads the result set of a published state.
func items(tx *store.Tx, s store.NodeState) ([]compliance.Item, error) {
	if s.ResultHash == "" {
		return nil, nil
	}
	b, err := tx.Content(s.Account, s.ResultHash)
	if err != nil {
		return nil, fmt.Errorf("result set of %s: %w", s.NodeID, err)
	}
	return compliance.DecodeItems(b)
}

// header reads the header of a published state, with the counts that the row holds.
func header(s store.NodeState) (*compliance.Header, error) {
	b, err := store.Decompress(s.Header)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", s.NodeID, err)
	}
	h, err := compliance.DecodeHeader(b)
	if err != nil {
		return nil, fmt.Errorf("header of %s: %w", s.NodeID, err)
	}
	c := s.Counts
	h.Counts = compliance.Counts{
		Installed: int(c.Installed), InstalledOther: int(c.InstalledOther), InstalledPendingReboot: int(c.InstalledPendingReboot),
		InstalledRejected: int(c.InstalledRejected), Missing: int(c.Missing), Failed: int(c.Failed), NotApplicable: int(c.NotApplicable),
		UnreportedNotApplicable: int(c.UnreportedNotApplicable), AvailableSecurityUpdate: int(c.AvailableSecurityUpdate),
		CriticalNonCompliant: int(c.CriticalNonCompliant), SecurityNonCompliant: int(c.SecurityNonCompliant), OtherNonCompliant: int(c.OtherNonCompliant),
	}
	h.Status, h.Severity = s.Status, baseline.Level(s.Severity)
	return h, nil
}
