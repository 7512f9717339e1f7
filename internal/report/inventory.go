package report

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"oakum.dev/compliance"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Limits of PutInventory beyond the model's. Source: AWS Systems Manager User Guide, "Quotas"; the size of one
// type is what agents check on their side.
const (
	maxTypeBytes     = 3 << 20
	maxAttributes    = 50
	maxValueChars    = 4096
	maxCustomTypes   = 20
	patchCompliance  = "AWS:PatchCompliance"
	instanceInfoType = "AWS:InstanceInformation"
)

// PutInventory takes inventory, and the patch results of agents that report them as inventory. All items of a
// call are stored together or none.
func (s *Service) PutInventory(ctx context.Context, in *ssm.PutInventoryInput) (*ssm.PutInventoryOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	content := make([][]byte, len(in.Items))
	seen := map[string]bool{}
	for i, it := range in.Items {
		name := codec.Value(it.TypeName)
		if err := checkType(name, codec.Value(it.SchemaVersion)); err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, ssm.InvalidItemContentException("The type %s is given twice.", name).With("TypeName", name)
		}
		seen[name] = true
		b, err := checkContent(it)
		if err != nil {
			return nil, err
		}
		content[i] = b
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.LockNode(sc, id)
		if err != nil {
			return notANode(err, id)
		}
		stored := map[string][]byte{}
		changed := false
		for i, it := range in.Items {
			if off, err := disabled(tx, sc, it); err != nil {
				return err
			} else if off {
				continue
			}
			b, err := putItem(tx, sc, id, it, content[i])
			if err != nil {
				return err
			}
			if err := learnCustomType(tx, sc, it, b); err != nil {
				return err
			}
			changed = changed || content[i] != nil
			stored[*it.TypeName] = b
		}
		if err := checkCustomTypes(tx, sc, id); err != nil {
			return err
		}
		if changed && s.Changed != nil {
			if err := s.Changed(tx, sc); err != nil {
				return err
			}
		}
		return s.publishInventory(tx, sc, n, in.Items, stored)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.PutInventoryOutput{Message: new("The inventory was stored.")}, nil
}

func checkContent(it ssm.InventoryItem) ([]byte, error) {
	name := codec.Value(it.TypeName)
	if it.Content == nil {
		return nil, nil
	}
	for _, row := range it.Content {
		if len(row) > maxAttributes {
			return nil, ssm.InvalidItemContentException("An entry of %s has %d attributes; at most %d are allowed.", name, len(row), maxAttributes).With("TypeName", name)
		}
		for k, v := range row {
			if len(v) > maxValueChars*4 {
				return nil, ssm.ItemSizeLimitExceededException("The attribute %s of %s is longer than %d characters.", k, name, maxValueChars).With("TypeName", name)
			}
		}
	}
	b, err := json.Marshal(it.Content)
	if err != nil {
		return nil, err
	}
	if len(b) > maxTypeBytes {
		return nil, ssm.ItemSizeLimitExceededException("The content of %s has %d bytes; at most %d are allowed.", name, len(b), maxTypeBytes).With("TypeName", name)
	}
	return b, nil
}

// putItem stores one item and returns its content. An item without content stands for the content that was
// last sent with the same hash.
func putItem(tx *store.Tx, sc store.Scope, id string, it ssm.InventoryItem, content []byte) ([]byte, error) {
	name := codec.Value(it.TypeName)
	row := store.InventoryItem{
		NodeID: id, TypeName: name, SchemaVersion: codec.Value(it.SchemaVersion), CaptureTime: codec.Value(it.CaptureTime),
		ClientHash: codec.Value(it.ContentHash), Context: "{}",
	}
	if len(it.Context) > 0 {
		b, err := json.Marshal(it.Context)
		if err != nil {
			return nil, err
		}
		row.Context = string(b)
	}
	if content == nil {
		old, err := tx.InventoryItem(sc, id, name)
		if errors.Is(err, store.ErrNotFound) || err == nil && (old.ClientHash == "" || old.ClientHash != row.ClientHash) {
			return nil, ssm.ItemContentMismatchException("The content of %s is not known under this hash: send it.", name).With("TypeName", name)
		}
		if err != nil {
			return nil, err
		}
		row.ContentHash, row.PutAt = old.ContentHash, old.PutAt
		if content, err = tx.Content(sc.Account, old.ContentHash); err != nil {
			return nil, err
		}
	} else {
		row.PutAt = tx.Now()
		var err error
		if row.ContentHash, err = tx.PutContent(sc.Account, content); err != nil {
			return nil, err
		}
	}
	return content, tx.PutInventoryItem(sc, row)
}

func checkCustomTypes(tx *store.Tx, sc store.Scope, id string) error {
	types, err := tx.InventoryTypes(sc, id)
	if err != nil {
		return err
	}
	custom := 0
	for _, t := range types {
		if strings.HasPrefix(t, "Custom:") {
			custom++
		}
	}
	if custom > maxCustomTypes {
		return ssm.CustomSchemaCountLimitExceededException("The node would have %d custom inventory types; at most %d are allowed.", custom, maxCustomTypes)
	}
	return nil
}

// publishInventory turns the two patch types of a call into the node's published scan.
func (s *Service) publishInventory(tx *store.Tx, sc store.Scope, n store.Node, list []ssm.InventoryItem, stored map[string][]byte) error {
	summaryBytes, ok := stored[compliance.SummaryType]
	if !ok {
		return nil
	}
	var summary []map[string]string
	if err := json.Unmarshal(summaryBytes, &summary); err != nil || len(summary) != 1 {
		return ssm.InvalidItemContentException("%s needs exactly one entry.", compliance.SummaryType).With("TypeName", compliance.SummaryType)
	}
	var rows []map[string]string
	itemBytes, ok := stored[compliance.ItemType]
	if !ok {
		return nil // a summary alone publishes nothing: the patches it counts are not there
	}
	if err := json.Unmarshal(itemBytes, &rows); err != nil {
		return err
	}
	itemContext := map[string]string{}
	for _, it := range list {
		if codec.Value(it.TypeName) == compliance.ItemType {
			itemContext = it.Context
		}
	}
	if t := itemContext["ComplianceType"]; t != "" && t != "Patch" {
		return nil
	}
	r, err := compliance.FromInventory(summary[0], rows, itemContext)
	if err != nil {
		return ssm.InvalidItemContentException("%v", err).With("TypeName", compliance.ItemType)
	}
	if err := s.checkHeader(&r.Header); err != nil {
		return err
	}
	b := compliance.EncodeItems(r.Items)
	return publish(tx, sc, n, &r.Header, itemSet{hash: compliance.Hash(b), bytes: b, items: r.Items}, "")
}

// ListInventoryEntries lists what a node last reported of one type.
func (s *Service) ListInventoryEntries(ctx context.Context, in *ssm.ListInventoryEntriesInput) (*ssm.ListInventoryEntriesOutput, error) {
	filters, err := entryFilters(in.Filters, codec.Value(in.TypeName))
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListInventoryEntries", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc, id, name := store.ScopeOf(ctx), codec.Value(in.InstanceId), codec.Value(in.TypeName)
	out := &ssm.ListInventoryEntriesOutput{InstanceId: &id, TypeName: &name, Entries: []map[string]string{}}
	var rows []map[string]string
	err = s.store.View(ctx, func(tx *store.Tx) error {
		n, err := tx.Node(sc, id)
		if err != nil {
			return notANode(err, id)
		}
		var version, capture string
		rows, version, capture, err = s.Entries(tx, sc, n, name)
		if version != "" {
			out.SchemaVersion, out.CaptureTime = &version, &capture
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	start, _ := strconv.Atoi(pg.At(0)) // "" is 0
	for i, r := range rows {
		if i < start || !entryMatches(filters, r) {
			continue
		}
		if len(out.Entries) == pg.Size {
			out.NextToken = pg.Next(strconv.Itoa(i))
			break
		}
		out.Entries = append(out.Entries, r)
	}
	return out, nil
}

// Entries are what a node has reported of a type, or what is made of what else is known of it. An empty version says that
// there is nothing.
func (s *Service) Entries(tx *store.Tx, sc store.Scope, n store.Node, name string) (rows []map[string]string, version, capture string, err error) {
	switch name {
	case instanceInfoType:
		list := []store.Node{n}
		s.presence.Lay(list)
		n = list[0]
		return []map[string]string{{
			"InstanceId": n.ID, "AgentType": n.AgentName, "AgentVersion": n.AgentVersion, "ComputerName": n.ComputerName, "IpAddress": n.IPAddress,
			"PlatformName": n.PlatformName, "PlatformType": n.PlatformType, "PlatformVersion": n.PlatformVersion,
			"ResourceType": "ManagedInstance", "InstanceStatus": s.instanceStatus(n),
		}}, "1.0", n.LastPingAt.UTC().Format("2006-01-02T15:04:05Z"), nil
	case inventory.Tag, inventory.ResourceGroup, inventory.ComplianceSummary:
		return s.derived(tx, sc, n, name)
	case compliance.ItemType:
		return complianceEntries(tx, sc, n)
	case compliance.SummaryType, patchCompliance:
		st, err := tx.NodeState(sc, n.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, "", "", nil
		}
		if err != nil {
			return nil, "", "", err
		}
		return patchEntries(tx, st, name)
	}
	row, err := tx.InventoryItem(sc, n.ID, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", "", nil
	}
	if err != nil {
		return nil, "", "", err
	}
	b, err := tx.Content(sc.Account, row.ContentHash)
	if err != nil {
		return nil, "", "", err
	}
	return rows, row.SchemaVersion, row.CaptureTime, json.Unmarshal(b, &rows)
}

// patchEntries derives the patch types from the published scan, whichever way it came in.
func patchEntries(tx *store.Tx, st store.NodeState, name string) (rows []map[string]string, version, capture string, err error) {
	h, err := header(st)
	if err != nil {
		return nil, "", "", err
	}
	list, err := items(tx, st)
	if err != nil {
		return nil, "", "", err
	}
	r := compliance.Result{Header: *h, Items: list}
	for _, it := range r.Inventory() {
		if it.TypeName == name {
			return it.Content, it.SchemaVersion, it.CaptureTime, nil
		}
		capture = it.CaptureTime
	}
	for _, i := range list {
		installed := ""
		if !i.InstalledTime.IsZero() {
			installed = i.InstalledTime.UTC().Format("2006-01-02T15:04:05Z")
		}
		rows = append(rows, map[string]string{
			"Title": i.Title, "KBId": i.ID, "Classification": i.Classification, "Severity": i.Severity, "State": string(i.State), "InstalledTime": installed,
		})
	}
	return rows, "1.0", capture, nil
}

// entryFilters reads the filters of one type's entries: the key is an attribute, with or without the type before it.
func entryFilters(list []ssm.InventoryFilter, typeName string) ([]inventory.Filter, error) {
	var out []inventory.Filter
	for _, f := range list {
		key := strings.TrimPrefix(codec.Value(f.Key), typeName+".")
		op := inventory.Operator(codec.Value(f.Type))
		if op == "" {
			op = inventory.Equal
		}
		if len(f.Values) == 0 {
			return nil, ssm.InvalidFilter("The filter %s has no value.", codec.Value(f.Key))
		}
		out = append(out, inventory.Filter{Type: typeName, Attribute: key, Operator: op, Values: f.Values})
	}
	return out, nil
}

func entryMatches(filters []inventory.Filter, row map[string]string) bool {
	for i := range filters {
		if !filters[i].Match(row) {
			return false
		}
	}
	return true
}
