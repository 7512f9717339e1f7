package report

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// What one page of GetInventory may cost: then it ends early, with a token for the rest.
const (
	nodesPerRead   = 100
	maxPageLoads   = 500     // different contents that are read
	maxPageEntries = 100_000 // entries that are answered
	maxKeptContent = 64      // contents that are kept for the next node that has the same
)

// GetInventory answers what nodes have reported: one entity per node with the entries of a type, or counts.
func (s *Service) GetInventory(ctx context.Context, in *ssm.GetInventoryInput) (*ssm.GetInventoryOutput, error) {
	filters, err := readFilters(in.Filters)
	if err != nil {
		return nil, ssm.InvalidFilter("%v", err)
	}
	result := inventory.InstanceInformation
	if len(in.ResultAttributes) > 0 {
		result = codec.Value(in.ResultAttributes[0].TypeName)
		if err := inventory.CheckAttribute(result, ""); err != nil {
			return nil, ssm.InvalidResultAttributeException("%v", err)
		}
	}
	counters, err := readAggregators(in.Aggregators)
	if err != nil {
		return nil, err
	}
	if len(counters) > 0 && len(in.ResultAttributes) > 0 {
		return nil, ssm.InvalidResultAttributeException("Aggregators count: result attributes do not go with them.")
	}
	pg, err := s.pages.Open(ctx, "GetInventory", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetInventoryOutput{Entities: []ssm.InventoryResultEntity{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		r := &reader{s: s, tx: tx, sc: store.ScopeOf(ctx), kept: map[string][]inventory.Entry{}}
		if len(counters) > 0 {
			return r.count(out, inventory.ByType(filters), counters)
		}
		return r.entities(out, pg, inventory.ByType(filters), result)
	})
	if errors.Is(err, inventory.ErrTooMany) {
		return nil, ssm.InvalidAggregatorException("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func readFilters(list []ssm.InventoryFilter) ([]inventory.Filter, error) {
	var out []inventory.Filter
	for _, w := range list {
		f, err := inventory.ParseFilter(codec.Value(w.Key), codec.Value(w.Type), w.Values)
		if err != nil {
			return nil, err
		}
		out = append(out, f...)
	}
	return out, nil
}

func readAggregators(list []ssm.InventoryAggregator) ([]*inventory.Counter, error) {
	var out []*inventory.Counter
	for i := range list {
		a, err := readAggregator(&list[i])
		if err != nil {
			return nil, err
		}
		if err := a.Check(); err != nil {
			return nil, ssm.InvalidAggregatorException("%v", err)
		}
		out = append(out, inventory.NewCounter(a))
	}
	return out, nil
}

func readAggregator(w *ssm.InventoryAggregator) (a inventory.Aggregator, err error) {
	a.Type, a.Attribute = inventory.SplitKey(codec.Value(w.Expression))
	names := map[string]bool{}
	for _, g := range w.Groups {
		group := inventory.Group{Name: codec.Value(g.Name)}
		if names[group.Name] {
			return a, ssm.InvalidInventoryGroupException("The group %s is given twice.", group.Name)
		}
		names[group.Name] = true
		if group.Filters, err = readFilters(g.Filters); err != nil {
			return a, ssm.InvalidInventoryGroupException("Group %s: %v", group.Name, err)
		}
		a.Groups = append(a.Groups, group)
	}
	for i := range w.Aggregators {
		nested, err := readAggregator(&w.Aggregators[i])
		if err != nil {
			return a, err
		}
		a.Nested = append(a.Nested, nested)
	}
	return a, nil
}

// reader reads the entries of many nodes in one transaction.
type reader struct {
	s     *Service
	tx    *store.Tx
	sc    store.Scope
	kept  map[string][]inventory.Entry // entries that passed, by type and content
	loads int
}

// reported is what a node holds of a type, as far as it passed the filters.
type reported struct {
	version, capture, hash string
	entries                []inventory.Entry
}

// read returns what some nodes hold of a type, by node; nodes that hold none of it are left out.
func (r *reader) read(nodes []store.Node, typ string, filters []inventory.Filter) (map[string]reported, error) {
	out := map[string]reported{}
	switch typ {
	case inventory.InstanceInformation, inventory.PatchSummary, inventory.PatchCompliance, inventory.ComplianceItem, inventory.ComplianceSummary,
		inventory.Tag, inventory.ResourceGroup:
		for _, n := range nodes {
			rows, version, capture, err := r.s.Entries(r.tx, r.sc, n, typ)
			if err != nil {
				return nil, err
			}
			if version != "" {
				out[n.ID] = reported{version: version, capture: capture, entries: inventory.MatchEntries(filters, rows)}
			}
		}
		return out, nil
	}
	items, err := r.tx.InventoryOfType(r.sc, typ, nodes[0].ID, nodes[len(nodes)-1].ID)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		entries, err := r.content(typ, it.ContentHash, filters)
		if err != nil {
			return nil, err
		}
		out[it.NodeID] = reported{it.SchemaVersion, it.CaptureTime, it.ClientHash, entries}
	}
	return out, nil
}

// content reads entries that pass the filters. Machines that are alike have the same content, and share its reading.
func (r *reader) content(typ, hash string, filters []inventory.Filter) ([]inventory.Entry, error) {
	key := typ + "/" + hash
	if e, ok := r.kept[key]; ok {
		return e, nil
	}
	text, err := r.tx.Content(r.sc.Account, hash)
	if err != nil {
		return nil, err
	}
	r.loads++
	var entries []inventory.Entry
	if inventory.MayMatch(filters, text) {
		if err := json.Unmarshal(text, &entries); err != nil {
			return nil, err
		}
		entries = inventory.MatchEntries(filters, entries)
	}
	if len(r.kept) >= maxKeptContent && len(entries) > 1 {
		clear(r.kept)
	}
	r.kept[key] = entries
	return entries, nil
}

// pass returns the nodes that pass all filters, with what passed of each type.
func (r *reader) pass(nodes []store.Node, filters map[string][]inventory.Filter) ([]store.Node, map[string]map[string]reported, error) {
	found := map[string]map[string]reported{}
	for _, typ := range slices.Sorted(maps.Keys(filters)) {
		if len(nodes) == 0 {
			break
		}
		byNode, err := r.read(nodes, typ, filters[typ])
		if err != nil {
			return nil, nil, err
		}
		found[typ] = byNode
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n store.Node) bool { return len(byNode[n.ID].entries) == 0 })
	}
	return nodes, found, nil
}

// each reads all nodes after one id, some at a time, until fn says stop.
func (r *reader) each(after string, fn func(nodes []store.Node) (bool, error)) error {
	for {
		nodes, err := r.tx.Nodes(r.sc, after, nodesPerRead)
		if err != nil || len(nodes) == 0 {
			return err
		}
		if more, err := fn(nodes); err != nil || !more {
			return err
		}
		after = nodes[len(nodes)-1].ID
	}
}

// entities fills a page with the nodes that pass. Of a type that filters ask about, the entries that passed are answered.
func (r *reader) entities(out *ssm.GetInventoryOutput, pg *page.Page, filters map[string][]inventory.Filter, result string) error {
	answered, last := 0, ""
	return r.each(pg.At(0), func(nodes []store.Node) (bool, error) {
		if last != "" && (len(out.Entities) == pg.Size || r.loads > maxPageLoads || answered > maxPageEntries) {
			out.NextToken = pg.Next(last)
			return false, nil
		}
		passed, found, err := r.pass(nodes, filters)
		if err != nil {
			return false, err
		}
		data := found[result]
		if data == nil && len(passed) > 0 {
			if data, err = r.read(passed, result, nil); err != nil {
				return false, err
			}
		}
		for _, n := range passed {
			if len(out.Entities) == pg.Size || answered > maxPageEntries {
				out.NextToken = pg.Next(last)
				return false, nil
			}
			e := ssm.InventoryResultEntity{Id: new(n.ID), Data: map[string]ssm.InventoryResultItem{}}
			if d, ok := data[n.ID]; ok {
				e.Data[result] = inventoryItem(result, d)
				answered += len(d.entries)
			}
			out.Entities = append(out.Entities, e)
			last = n.ID
		}
		last = nodes[len(nodes)-1].ID
		return true, nil
	})
}

func inventoryItem(typ string, d reported) ssm.InventoryResultItem {
	w := ssm.InventoryResultItem{TypeName: &typ, SchemaVersion: &d.version, CaptureTime: &d.capture, Content: d.entries}
	if d.hash != "" {
		w.ContentHash = &d.hash
	}
	if w.Content == nil {
		w.Content = []map[string]string{}
	}
	return w
}

// count counts all nodes that pass, and answers one entity without an id.
func (r *reader) count(out *ssm.GetInventoryOutput, filters map[string][]inventory.Filter, counters []*inventory.Counter) error {
	types := map[string]bool{}
	for _, c := range counters {
		for _, t := range c.Types() {
			types[t] = true
		}
	}
	err := r.each("", func(nodes []store.Node) (bool, error) {
		passed, _, err := r.pass(nodes, filters)
		if err != nil || len(passed) == 0 {
			return true, err
		}
		if len(filters) > 0 {
			clear(r.kept) // of what passed filters only
		}
		byType := map[string]map[string]reported{}
		for t := range types {
			if byType[t], err = r.read(passed, t, nil); err != nil {
				return false, err
			}
		}
		for _, n := range passed {
			entries := map[string][]inventory.Entry{}
			for t := range types {
				entries[t] = byType[t][n.ID].entries
			}
			for _, c := range counters {
				if err := c.Add(entries); err != nil {
					return false, err
				}
			}
		}
		if len(filters) > 0 {
			clear(r.kept)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	data := map[string]ssm.InventoryResultItem{}
	for _, c := range counters {
		typ := c.ResultType()
		item, ok := data[typ]
		if !ok {
			version := "1.0"
			if t, known := inventory.Lookup(typ); known {
				version = t.Version
			}
			item = ssm.InventoryResultItem{TypeName: &typ, SchemaVersion: &version, Content: []map[string]string{}}
		}
		item.Content = append(item.Content, c.Rows()...)
		data[typ] = item
	}
	out.Entities = append(out.Entities, ssm.InventoryResultEntity{Data: data})
	return nil
}

// instanceStatus is InstanceStatus of AWS:InstanceInformation.
func (s *Service) instanceStatus(n store.Node) string {
	if s.Status == nil {
		return "Active"
	}
	return s.Status(n)
}

// derived makes the entries of types that no node reports itself.
func (s *Service) derived(tx *store.Tx, sc store.Scope, n store.Node, typ string) (rows []map[string]string, version, capture string, err error) {
	rows, capture = []map[string]string{}, inventoryTime(tx.Now())
	switch typ {
	case inventory.Tag:
		tags, err := tx.Tags(sc, managed, n.ID)
		if err != nil {
			return nil, "", "", err
		}
		for _, t := range tags {
			rows = append(rows, map[string]string{"Key": t.Key, "Value": t.Value})
		}
	case inventory.ResourceGroup:
		if s.Groups == nil {
			break
		}
		names, err := s.Groups(tx, sc, n.ID)
		if err != nil {
			return nil, "", "", err
		}
		for _, name := range names {
			rows = append(rows, map[string]string{"Name": name, "Arn": "arn:aws:resource-groups:" + sc.Region + ":" + sc.Account + ":group/" + name})
		}
	case inventory.ComplianceSummary:
		list, err := summaries(tx, sc, n)
		if err != nil || len(list) == 0 {
			return nil, "", "", err
		}
		for _, m := range list {
			rows = append(rows, m.entry())
		}
	}
	return rows, "1.0", capture, nil
}
