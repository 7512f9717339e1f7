package report

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// inventoryTime is the time format of inventory.
func inventoryTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// entry is the summary as an entry of AWS:ComplianceSummary.
func (m summary) entry() map[string]string {
	e := map[string]string{
		"ComplianceType": m.kind, "PatchGroup": m.node.PatchGroup, "PatchBaselineId": m.state.BaselineID, "Status": m.status, "OverallSeverity": m.severity,
		"ExecutionId": m.id, "ExecutionType": m.how, "ExecutionTime": inventoryTime(m.at),
	}
	for _, l := range baseline.Levels() {
		name := strings.ToUpper(string(l[:1])) + strings.ToLower(string(l[1:])) + "Count"
		e["Compliant"+name], e["NonCompliant"+name] = strconv.Itoa(m.counts.Compliant[l]), strconv.Itoa(m.counts.NonCompliant[l])
	}
	return e
}

// complianceEntries are the entries of AWS:ComplianceItem: the items of all compliance types, which are its sub-types.
func complianceEntries(tx *store.Tx, sc store.Scope, n store.Node) (rows []map[string]string, version, capture string, err error) {
	list, err := summaries(tx, sc, n)
	if err != nil || len(list) == 0 {
		return nil, "", "", err
	}
	rows = []map[string]string{}
	var newest time.Time
	for _, m := range list {
		at := m.at
		if m.set.Type == "" {
			h, err := header(m.state)
			if err != nil {
				return nil, "", "", err
			}
			at = h.EndedAt
		}
		if at.After(newest) {
			newest = at
		}
		items, err := complianceItems(tx, sc, m)
		if err != nil {
			return nil, "", "", err
		}
		for _, it := range items {
			row := map[string]string{}
			maps.Copy(row, it.Details)
			run := it.ExecutionSummary
			row["ComplianceType"], row["Id"], row["Title"], row["Status"], row["Severity"] = m.kind, codec.Value(it.Id), codec.Value(it.Title), codec.Value(it.Status), codec.Value(it.Severity)
			row["ExecutionId"], row["ExecutionType"], row["ExecutionTime"] = codec.Value(run.ExecutionId), codec.Value(run.ExecutionType), inventoryTime(codec.TimeOf(run.ExecutionTime))
			rows = append(rows, row)
		}
	}
	return rows, "1.0", inventoryTime(newest), nil
}

// GetInventorySchema lists AWS's inventory types and the custom types that nodes have reported, with their attributes.
func (s *Service) GetInventorySchema(ctx context.Context, in *ssm.GetInventorySchemaInput) (*ssm.GetInventorySchemaOutput, error) {
	pg, err := s.pages.Open(ctx, "GetInventorySchema", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	var custom []store.CustomType
	err = s.store.View(ctx, func(tx *store.Tx) (err error) { custom, err = tx.CustomTypes(store.ScopeOf(ctx)); return err })
	if err != nil {
		return nil, err
	}
	list := inventory.Types()
	for _, c := range custom {
		t := inventory.Type{Name: c.TypeName, Version: c.SchemaVersion}
		var names []string
		if err := json.Unmarshal([]byte(c.Attributes), &names); err != nil {
			return nil, err
		}
		for _, n := range names {
			t.Attributes = append(t.Attributes, inventory.Attribute{Name: n})
		}
		t.Aggregates = names
		list = append(list, t)
	}
	prefix := codec.Value(in.TypeName)
	list = slices.DeleteFunc(list, func(t inventory.Type) bool { return !strings.HasPrefix(t.Name, prefix) })
	if len(list) == 0 {
		return nil, ssm.InvalidTypeNameException("There is no inventory type whose name begins with %s.", prefix)
	}
	if codec.Value(in.SubType) {
		list = slices.DeleteFunc(list, func(t inventory.Type) bool { return !t.SubTypes })
	}
	out := &ssm.GetInventorySchemaOutput{Schemas: []ssm.InventoryItemSchema{}}
	list, out.NextToken = page.Slice(pg, list, func(t inventory.Type) string { return t.Name })
	for _, t := range list {
		w := ssm.InventoryItemSchema{TypeName: &t.Name, Version: &t.Version, Attributes: []ssm.InventoryItemAttribute{}}
		for _, a := range t.Attributes {
			if codec.Value(in.Aggregator) && !slices.Contains(t.Aggregates, a.Name) {
				continue
			}
			kind := ssm.InventoryAttributeDataTypeString
			if a.Number {
				kind = ssm.InventoryAttributeDataTypeNumber
			}
			w.Attributes = append(w.Attributes, ssm.InventoryItemAttribute{Name: &a.Name, DataType: &kind})
		}
		out.Schemas = append(out.Schemas, w)
	}
	return out, nil
}

// firstVersion is the first schema version of each of AWS's types.
const firstVersion = "1.0"

// checkType refuses names that no inventory type has, and schema versions that none of AWS's types of the name has had.
// Earlier versions than the current one come from earlier agents.
func checkType(name, version string) error {
	if inventory.IsCustom(name) {
		return nil
	}
	t, ok := inventory.Lookup(name)
	if !ok {
		return ssm.InvalidTypeNameException("%s is not an inventory type: one of AWS's, or Custom: and a word that begins with a capital letter.", name).With("TypeName", name)
	}
	if inventory.CompareVersions(version, firstVersion) < 0 || inventory.CompareVersions(version, t.Version) > 0 {
		return ssm.UnsupportedInventorySchemaVersionException("The schema version %s of %s is not supported: the current one is %s.", version, name, t.Version)
	}
	return nil
}

// disabled reports whether a custom type's reports are ignored: of the version that was disabled and of earlier ones.
func disabled(tx *store.Tx, sc store.Scope, it ssm.InventoryItem) (bool, error) {
	name := codec.Value(it.TypeName)
	if !inventory.IsCustom(name) {
		return false, nil
	}
	c, err := tx.CustomType(sc, name)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && c.DisabledVersion != "" && inventory.CompareVersions(codec.Value(it.SchemaVersion), c.DisabledVersion) <= 0, err
}

// maxKnownTypes is how many custom types of an account and region are kept with their attributes.
const maxKnownTypes = 1000

// learnCustomType adds what a report of a custom type shows of its attributes. content is what the report stands for: where only
// its hash was sent, it is looked at if the type is not known yet.
func learnCustomType(tx *store.Tx, sc store.Scope, it ssm.InventoryItem, content []byte) error {
	name, version := codec.Value(it.TypeName), codec.Value(it.SchemaVersion)
	if !inventory.IsCustom(name) {
		return nil
	}
	c, err := tx.CustomType(sc, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	known := err == nil
	if it.Content == nil {
		if known {
			return nil
		}
		if err := json.Unmarshal(content, &it.Content); err != nil {
			return err
		}
	}
	attributes := map[string]bool{}
	newer := inventory.CompareVersions(version, c.SchemaVersion)
	if known && newer <= 0 {
		var names []string
		if err := json.Unmarshal([]byte(c.Attributes), &names); err != nil {
			return err
		}
		for _, n := range names {
			attributes[n] = true
		}
	}
	for _, row := range it.Content {
		for k := range row {
			attributes[k] = true
		}
	}
	names := slices.Sorted(maps.Keys(attributes)) // of all nodes together: one that makes up names must not keep others out
	text, err := json.Marshal(names[:min(len(names), maxAttributes)])
	if err != nil || known && newer <= 0 && string(text) == c.Attributes {
		return err
	}
	if !known {
		if all, err := tx.CustomTypes(sc); err != nil || len(all) >= maxKnownTypes {
			return err
		}
	}
	if !known || newer > 0 {
		c.SchemaVersion = version
	}
	c.TypeName, c.Attributes = name, string(text)
	return tx.PutCustomType(sc, c)
}
