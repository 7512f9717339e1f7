package report

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

const (
	typePatch       = "Patch"
	typeAssociation = "Association"
	managed         = "ManagedInstance"
	maxSetTypes     = 10 // custom compliance types of an account
	uploadPartly    = "PARTIAL"
)

// PutComplianceItems replaces the items of a node and type, or adds to them when the upload is partial.
func (s *Service) PutComplianceItems(ctx context.Context, in *ssm.PutComplianceItemsInput) (*ssm.PutComplianceItemsOutput, error) {
	sc, id, kind := store.ScopeOf(ctx), codec.Value(in.ResourceId), codec.Value(in.ComplianceType)
	if codec.Value(in.ResourceType) != managed {
		return nil, ssm.InvalidResourceType("The resource type %s is not valid: only %s is.", codec.Value(in.ResourceType), managed)
	}
	if kind != typeAssociation && kind != typePatch && !strings.HasPrefix(kind, "Custom:") {
		return nil, ssm.InvalidItemContentException("The compliance type %s is not valid: use Patch, Association or Custom:<name>.", kind)
	}
	for i, it := range in.Items {
		if codec.Value(it.Id) == "" && codec.Value(it.Title) == "" {
			return nil, ssm.InvalidItemContentException("Item %d has neither an Id nor a Title.", i+1)
		}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Node(sc, id); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return ssm.InvalidResourceId("The resource ID isn't valid: %s", id)
			}
			return err
		}
		if kind == typeAssociation && iam.PrincipalFrom(ctx).Kind == iam.Node {
			return putOfAgent(tx, sc, id, in)
		}
		return putSet(tx, sc, id, kind, in, fresh(in.Items))
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// putOfAgent adds what a node's agent says of associations to what is kept: it knows only those that it runs by itself,
// and not their severities.
func putOfAgent(tx *store.Tx, sc store.Scope, id string, in *ssm.PutComplianceItemsInput) error {
	if _, err := tx.LockNode(sc, id); err != nil {
		return notANode(err, id)
	}
	sets, err := tx.ComplianceSets(sc, id)
	if err != nil {
		return err
	}
	own, list := *in, fresh(in.Items)
	own.UploadType = new(uploadPartly)
	for _, c := range sets {
		if c.Type != typeAssociation {
			continue
		}
		old, err := setItems(tx, sc, c)
		if err != nil {
			return err
		}
		for i := range list {
			for _, o := range old {
				if codec.Value(o.Id) != codec.Value(list[i].Id) {
					continue
				}
				if codec.Value(list[i].Severity) == string(baseline.Unspecified) {
					list[i].Severity = o.Severity
				}
				if in.ExecutionSummary == nil || codec.Value(in.ExecutionSummary.ExecutionId) == "" { // AWS's agent does not know its runs
					list[i].Execution = o.Execution
				}
			}
		}
	}
	return putSet(tx, sc, id, typeAssociation, &own, list)
}

// PutItemIn puts one item of a type into what is kept of a node's compliance, in the place of one with its id, in a
// transaction of the caller. A node that is not there any more has none.
func (s *Service) PutItemIn(tx *store.Tx, sc store.Scope, nodeID, complianceType string, item ssm.ComplianceItemEntry, execution *ssm.ComplianceExecutionSummary) error {
	if _, err := tx.LockNode(sc, nodeID); errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	in := ssm.PutComplianceItemsInput{ExecutionSummary: execution, UploadType: new(uploadPartly)}
	return putSet(tx, sc, nodeID, complianceType, &in, fresh([]ssm.ComplianceItemEntry{item}))
}

// DropItemIn takes an item away from what is kept of a node's compliance, in a transaction of the caller.
func (s *Service) DropItemIn(tx *store.Tx, sc store.Scope, nodeID, complianceType, itemID string) error {
	if _, err := tx.LockNode(sc, nodeID); errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	sets, err := tx.ComplianceSets(sc, nodeID)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(sets, func(c store.ComplianceSet) bool { return c.Type == complianceType })
	if at < 0 {
		return nil
	}
	items, err := setItems(tx, sc, sets[at])
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(items), func(i keptItem) bool { return codec.Value(i.Id) == itemID })
	switch len(left) {
	case len(items):
		return nil
	case 0:
		return tx.DeleteComplianceSet(sc, nodeID, complianceType)
	}
	return putSet(tx, sc, nodeID, complianceType, &ssm.PutComplianceItemsInput{ExecutionSummary: setExecution(sets[at])}, left)
}

// keptItem is an item as it is kept, with the run that it is of.
type keptItem struct {
	ssm.ComplianceItemEntry
	Execution *ssm.ComplianceExecutionSummary `json:",omitempty"` // nil: that of the set
}

// fresh are the items of a call, which are of the run that the call names.
func fresh(items []ssm.ComplianceItemEntry) []keptItem {
	out := make([]keptItem, len(items))
	for i, it := range items {
		out[i].ComplianceItemEntry = it
	}
	return out
}

func setExecution(c store.ComplianceSet) *ssm.ComplianceExecutionSummary {
	return &ssm.ComplianceExecutionSummary{ExecutionId: &c.ExecutionID, ExecutionType: &c.ExecutionType, ExecutionTime: codec.NewTime(c.ExecutionAt)}
}

// putSet stores items of a type, or adds them to what is kept when the upload is partial; in says everything but the items.
func putSet(tx *store.Tx, sc store.Scope, id, kind string, in *ssm.PutComplianceItemsInput, list []keptItem) error {
	sets, err := tx.ComplianceSets(sc, id)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(sets, func(c store.ComplianceSet) bool { return c.Type == kind })
	if at >= 0 {
		if h := codec.Value(in.ItemContentHash); h != "" && h == sets[at].ClientHash {
			return nil // equal hash: nothing changed
		}
		if codec.Value(in.UploadType) == uploadPartly {
			old, err := setItems(tx, sc, sets[at])
			if err != nil {
				return err
			}
			old = slices.DeleteFunc(old, func(o keptItem) bool {
				return slices.ContainsFunc(list, func(n keptItem) bool { return codec.Value(n.Id) == codec.Value(o.Id) })
			})
			list = append(old, list...)
		}
	} else if strings.HasPrefix(kind, "Custom:") {
		types, err := tx.ComplianceTypes(sc)
		if err != nil {
			return err
		}
		types = slices.DeleteFunc(types, func(t string) bool { return !strings.HasPrefix(t, "Custom:") })
		if !slices.Contains(types, kind) && len(types) >= maxSetTypes {
			return ssm.ComplianceTypeCountLimitExceededException("There are %d custom compliance types already.", len(types))
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	set := store.ComplianceSet{NodeID: id, Type: kind, ClientHash: codec.Value(in.ItemContentHash), Status: compliance.Compliant, Severity: string(baseline.Unspecified)}
	if set.ContentHash, err = tx.PutContent(sc.Account, b); err != nil {
		return err
	}
	if e := in.ExecutionSummary; e != nil {
		set.ExecutionID, set.ExecutionType, set.ExecutionAt = codec.Value(e.ExecutionId), codec.Value(e.ExecutionType), codec.TimeOf(e.ExecutionTime)
	}
	good, bad := compliance.Severities{}, compliance.Severities{}
	for _, it := range list {
		level := baseline.Level(codec.Value(it.Severity))
		if codec.Value(it.Status) == compliance.NonCompliant {
			bad[level]++
			if set.Status != compliance.NonCompliant || level.Rank() > baseline.Level(set.Severity).Rank() {
				set.Severity = string(level)
			}
			set.Status = compliance.NonCompliant
		} else {
			good[level]++
		}
	}
	set.SeverityCounts = encodeSeverities(good, bad)
	return tx.PutComplianceSet(sc, set)
}

// setItems reads the items of a set, each with its run.
func setItems(tx *store.Tx, sc store.Scope, c store.ComplianceSet) (list []keptItem, err error) {
	b, err := tx.Content(sc.Account, c.ContentHash)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Execution == nil {
			list[i].Execution = setExecution(c)
		}
	}
	return list, nil
}

// facts are the attributes by which compliance filters choose.
type facts map[string]string

// filterKeys are the keys that compliance filters may use, besides the attributes of nodes.
var filterKeys = []string{
	"ComplianceType", "Id", "ExecutionTime", "ExecutionId", "ExecutionType", "PatchGroup", "OverallSeverity", "InstanceId", "Status", "Severity", "Title",
	"PatchState", "PatchSeverity", "Classification", "PatchBaselineId", "ResourceId", "CVEId", "InstalledTime",
}

func checkFilters(in []ssm.ComplianceStringFilter) error {
	for _, f := range in {
		key := codec.Value(f.Key)
		if !slices.Contains(filterKeys, key) && !strings.HasPrefix(key, instanceInfoType+".") {
			return ssm.InvalidFilter("The filter key %s is not valid.", key)
		}
		if len(f.Values) == 0 {
			return ssm.InvalidFilter("The filter %s has no value.", key)
		}
	}
	return nil
}

// takes applies the filters that know the facts; decided says that every filter must be known by now.
func (f facts) takes(in []ssm.ComplianceStringFilter, decided bool) bool {
	for _, c := range in {
		v, ok := f[codec.Value(c.Key)]
		if !ok && !decided {
			continue
		}
		if *c.Key == "CVEId" && ok {
			if !slices.ContainsFunc(strings.Split(v, ","), func(id string) bool { return compareAny(codec.Value(c.Type), id, true, c.Values) }) {
				return false
			}
			continue
		}
		if !compareAny(codec.Value(c.Type), v, ok, c.Values) {
			return false
		}
	}
	return true
}

func nodeFacts(n store.Node) facts {
	return facts{
		"InstanceId": n.ID, "ResourceId": n.ID, "PatchGroup": n.PatchGroup, instanceInfoType + ".PlatformType": n.PlatformType,
		instanceInfoType + ".PlatformName": n.PlatformName, instanceInfoType + ".PlatformVersion": n.PlatformVersion,
		instanceInfoType + ".ComputerName": n.ComputerName, instanceInfoType + ".AgentVersion": n.AgentVersion,
		instanceInfoType + ".AgentType": n.AgentName, instanceInfoType + ".InstanceId": n.ID, instanceInfoType + ".IpAddress": n.IPAddress,
		instanceInfoType + ".ResourceType": managed, instanceInfoType + ".InstanceStatus": "Active",
	}
}

func (f facts) with(more facts) facts {
	out := make(facts, len(f)+len(more))
	for k, v := range f {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// summary is one compliance type of one node.
type summary struct {
	node     store.Node
	kind     string
	status   string
	severity string
	counts   severities
	id, how  string
	at       time.Time
	state    store.NodeState     // of type Patch
	set      store.ComplianceSet // of the others
}

func (m summary) facts() facts {
	return nodeFacts(m.node).with(facts{
		"ComplianceType": m.kind, "Status": m.status, "OverallSeverity": m.severity, "ExecutionId": m.id, "ExecutionType": m.how,
		"ExecutionTime": m.at.UTC().Format("2006-01-02T15:04:05Z"), "PatchBaselineId": m.state.BaselineID,
	})
}

func (m summary) execution() *ssm.ComplianceExecutionSummary {
	return &ssm.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(m.at), ExecutionId: &m.id, ExecutionType: &m.how}
}

// summaries lists what a node reports compliance on, by type.
func summaries(tx *store.Tx, sc store.Scope, n store.Node) ([]summary, error) {
	var out []summary
	sets, err := tx.ComplianceSets(sc, n.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range sets {
		out = append(out, summary{
			node: n, kind: c.Type, status: c.Status, severity: c.Severity, counts: decodeSeverities(c.SeverityCounts), id: c.ExecutionID,
			how: c.ExecutionType, at: c.ExecutionAt, set: c,
		})
	}
	st, err := tx.NodeState(sc, n.ID)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	// There is one current record of type Patch: the scan, or what was put for it since.
	if i := slices.IndexFunc(out, func(m summary) bool { return m.kind == typePatch }); i >= 0 {
		if out[i].at.After(st.StartedAt) {
			return out, nil
		}
		out = slices.Delete(out, i, i+1)
	}
	id := st.SnapshotID // what the original's payload sends as ExecutionId
	if id == "" {
		id = st.ExecutionID
	}
	out = append(out, summary{
		node: n, kind: typePatch, status: st.Status, severity: st.Severity, counts: decodeSeverities(st.SeverityCounts), id: id,
		how: st.ExecutionType, at: st.StartedAt, state: st,
	})
	slices.SortFunc(out, func(a, b summary) int { return strings.Compare(a.kind, b.kind) })
	return out, nil
}

// eachSummary calls fn for the summaries of all nodes from the given one on, by node and type, until fn says stop.
func eachSummary(tx *store.Tx, sc store.Scope, from string, presence Presence, fn func(summary) (bool, error)) error {
	nodes, err := tx.NodesByID(sc, []string{from}) // a page may have ended between two of its types
	if err != nil {
		return err
	}
	for afterNode, first := from, true; ; first = false {
		if !first || len(nodes) == 0 {
			if nodes, err = tx.Nodes(sc, afterNode, 200); err != nil || len(nodes) == 0 {
				return err
			}
		}
		presence.Lay(nodes)
		for _, n := range nodes {
			list, err := summaries(tx, sc, n)
			if err != nil {
				return err
			}
			for _, m := range list {
				if more, err := fn(m); err != nil || !more {
					return err
				}
			}
			afterNode = n.ID
		}
	}
}

func severitySummary(s compliance.Severities) (int64, *ssm.SeveritySummary) {
	n := 0
	for _, v := range s {
		n += v
	}
	get := func(l baseline.Level) *int64 { return new(int64(s[l])) }
	return int64(n), &ssm.SeveritySummary{
		CriticalCount: get(baseline.Critical), HighCount: get(baseline.High), MediumCount: get(baseline.Medium), LowCount: get(baseline.Low),
		InformationalCount: get(baseline.Informational), UnspecifiedCount: get(baseline.Unspecified),
	}
}

func wireSummaries(good, bad compliance.Severities) (*ssm.CompliantSummary, *ssm.NonCompliantSummary) {
	gn, gs := severitySummary(good)
	bn, bs := severitySummary(bad)
	return &ssm.CompliantSummary{CompliantCount: &gn, SeveritySummary: gs}, &ssm.NonCompliantSummary{NonCompliantCount: &bn, SeveritySummary: bs}
}

// ListResourceComplianceSummaries lists one summary per node and compliance type, counting items.
func (s *Service) ListResourceComplianceSummaries(ctx context.Context, in *ssm.ListResourceComplianceSummariesInput) (*ssm.ListResourceComplianceSummariesOutput, error) {
	if err := checkFilters(in.Filters); err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListResourceComplianceSummaries", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.ListResourceComplianceSummariesOutput{ResourceComplianceSummaryItems: []ssm.ResourceComplianceSummaryItem{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		var last summary
		return eachSummary(tx, sc, pg.At(0), s.presence, func(m summary) (bool, error) {
			if m.node.ID == pg.At(0) && m.kind <= pg.At(1) || !m.facts().takes(in.Filters, true) {
				return true, nil
			}
			if len(out.ResourceComplianceSummaryItems) == pg.Size {
				out.NextToken = pg.Next(last.node.ID, last.kind)
				return false, nil
			}
			w := ssm.ResourceComplianceSummaryItem{
				ComplianceType: &m.kind, ResourceType: new(managed), ResourceId: &m.node.ID, Status: &m.status, OverallSeverity: &m.severity,
				ExecutionSummary: m.execution(),
			}
			w.CompliantSummary, w.NonCompliantSummary = wireSummaries(m.counts.Compliant, m.counts.NonCompliant)
			out.ResourceComplianceSummaryItems = append(out.ResourceComplianceSummaryItems, w)
			last = m
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListComplianceSummaries lists one summary per compliance type, counting nodes, the non-compliant ones by the
// severity of the node.
func (s *Service) ListComplianceSummaries(ctx context.Context, in *ssm.ListComplianceSummariesInput) (*ssm.ListComplianceSummariesOutput, error) {
	if err := checkFilters(in.Filters); err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListComplianceSummaries", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	type pair struct{ good, bad compliance.Severities }
	byType := map[string]pair{}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		return eachSummary(tx, sc, "", s.presence, func(m summary) (bool, error) {
			if !m.facts().takes(in.Filters, true) {
				return true, nil
			}
			p, ok := byType[m.kind]
			if !ok {
				p = pair{compliance.Severities{}, compliance.Severities{}}
				byType[m.kind] = p
			}
			if m.status == compliance.NonCompliant {
				p.bad[baseline.Level(m.severity)]++
			} else {
				p.good[baseline.Level(m.severity)]++
			}
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	out := &ssm.ListComplianceSummariesOutput{ComplianceSummaryItems: []ssm.ComplianceSummaryItem{}}
	kinds := make([]string, 0, len(byType))
	for k := range byType {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		if k <= pg.At(0) {
			continue
		}
		if len(out.ComplianceSummaryItems) == pg.Size {
			out.NextToken = pg.Next(*out.ComplianceSummaryItems[pg.Size-1].ComplianceType)
			break
		}
		w := ssm.ComplianceSummaryItem{ComplianceType: &k}
		w.CompliantSummary, w.NonCompliantSummary = wireSummaries(byType[k].good, byType[k].bad)
		out.ComplianceSummaryItems = append(out.ComplianceSummaryItems, w)
	}
	return out, nil
}

// ListComplianceItems lists compliance items, of one node or of all, by node, type and position.
func (s *Service) ListComplianceItems(ctx context.Context, in *ssm.ListComplianceItemsInput) (*ssm.ListComplianceItemsOutput, error) {
	if err := checkFilters(in.Filters); err != nil {
		return nil, err
	}
	for _, t := range in.ResourceTypes {
		if t != managed {
			return nil, ssm.InvalidResourceType("The resource type %s is not valid: only %s is.", t, managed)
		}
	}
	pg, err := s.pages.Open(ctx, "ListComplianceItems", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.ListComplianceItemsOutput{ComplianceItems: []ssm.ComplianceItem{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		one := func(m summary) (bool, error) {
			whole := m.facts()
			for _, key := range []string{"Status", "ExecutionId", "ExecutionType", "ExecutionTime"} { // here they are questions about items
				delete(whole, key)
			}
			if !whole.takes(in.Filters, false) {
				return true, nil
			}
			rows, err := complianceItems(tx, sc, m)
			if err != nil {
				return false, err
			}
			start := 0
			if m.node.ID == pg.At(0) {
				if m.kind < pg.At(1) {
					return true, nil
				}
				if m.kind == pg.At(1) {
					start, _ = strconv.Atoi(pg.At(2)) // written by Next below
				}
			}
			for i := start; i < len(rows); i++ {
				if !itemFacts(m, rows[i]).takes(in.Filters, true) {
					continue
				}
				if len(out.ComplianceItems) == pg.Size {
					out.NextToken = pg.Next(m.node.ID, m.kind, strconv.Itoa(i))
					return false, nil
				}
				out.ComplianceItems = append(out.ComplianceItems, rows[i])
			}
			return true, nil
		}
		if len(in.ResourceIds) == 0 {
			return eachSummary(tx, sc, pg.At(0), s.presence, one)
		}
		for _, id := range slices.Compact(slices.Sorted(slices.Values(in.ResourceIds))) {
			n, err := tx.Node(sc, id)
			if errors.Is(err, store.ErrNotFound) {
				return ssm.InvalidResourceId("The resource ID isn't valid: %s", id)
			}
			if err != nil {
				return err
			}
			if id < pg.At(0) {
				continue
			}
			list, err := summaries(tx, sc, n)
			if err != nil {
				return err
			}
			for _, m := range list {
				if more, err := one(m); err != nil || !more {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func itemFacts(m summary, w ssm.ComplianceItem) facts {
	d, run := w.Details, w.ExecutionSummary
	return m.facts().with(facts{
		"ExecutionId": codec.Value(run.ExecutionId), "ExecutionType": codec.Value(run.ExecutionType), "ExecutionTime": inventoryTime(codec.TimeOf(run.ExecutionTime)),
		"Id": codec.Value(w.Id), "Title": codec.Value(w.Title), "Status": codec.Value(w.Status), "Severity": codec.Value(w.Severity),
		"PatchState": d["PatchState"], "PatchSeverity": d["PatchSeverity"], "Classification": d["Classification"], "InstalledTime": d["InstalledTime"],
		"CVEId": d["CVEIds"],
	})
}

func complianceItems(tx *store.Tx, sc store.Scope, m summary) ([]ssm.ComplianceItem, error) {
	var out []ssm.ComplianceItem
	if m.set.Type != "" {
		list, err := setItems(tx, sc, m.set)
		for _, it := range list {
			out = append(out, ssm.ComplianceItem{
				ComplianceType: &m.kind, ResourceType: new(managed), ResourceId: &m.node.ID, Id: it.Id, Title: it.Title, Status: it.Status,
				Severity: it.Severity, ExecutionSummary: it.Execution, Details: it.Details,
			})
		}
		return out, err
	}
	h, err := header(m.state)
	if err != nil {
		return nil, err
	}
	list, err := items(tx, m.state)
	if err != nil {
		return nil, err
	}
	r := compliance.Result{Header: *h, Items: list}
	for _, inv := range r.Inventory() {
		if inv.TypeName != compliance.ItemType {
			continue
		}
		for _, row := range inv.Content {
			id, title, status, severity := row["Id"], row["Title"], row["Status"], row["Severity"]
			details := map[string]string{}
			for k, v := range row {
				switch k {
				case "Id", "Title", "Status", "Severity":
				default:
					details[k] = v
				}
			}
			out = append(out, ssm.ComplianceItem{
				ComplianceType: &m.kind, ResourceType: new(managed), ResourceId: &m.node.ID, Id: &id, Title: &title, Status: &status, Severity: &severity,
				ExecutionSummary: m.execution(), Details: details,
			})
		}
	}
	return out, nil
}

// operators are the filter types of compliance in the words of inventory.
var operators = map[string]inventory.Operator{
	"": inventory.Equal, "EQUAL": inventory.Equal, "NOT_EQUAL": inventory.NotEqual, "BEGIN_WITH": inventory.BeginWith, "LESS_THAN": inventory.LessThan,
	"GREATER_THAN": inventory.GreaterThan,
}

// compareAny applies a filter's type to a value, which may be absent: EQUAL or BEGIN_WITH any of the values, unequal to all
// of them.
func compareAny(op, v string, present bool, values []string) bool {
	const attribute = "value"
	f, e := inventory.Filter{Attribute: attribute, Operator: operators[op], Values: values}, inventory.Entry{}
	if present {
		e[attribute] = v
	}
	return f.Match(e)
}
