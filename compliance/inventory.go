package compliance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
)

// The AWS inventory types that carry a result.
const (
	SummaryType = "AWS:PatchSummary"
	ItemType    = "AWS:ComplianceItem"
)

// InventoryItem is one item of PutInventory, with the member names of the API.
type InventoryItem struct {
	TypeName      string
	SchemaVersion string
	CaptureTime   string
	ContentHash   string
	Content       []map[string]string
	Context       map[string]string
}

// Inventory returns the result as the two inventory items that AWS-RunPatchBaseline uploads.
func (r *Result) Inventory() []InventoryItem {
	return []InventoryItem{r.summary(), r.complianceItems()}
}

func (r *Result) summary() InventoryItem {
	h := &r.Header
	c := h.Counts
	m := map[string]string{
		"BaselineId": bareID(h.BaselineID), "PatchGroup": h.PatchGroup, "SnapshotId": h.SnapshotID, "ExecutionId": h.ExecutionID,
		"OperationType": h.Operation, "OperationStartTime": stamp(h.StartedAt), "OperationEndTime": stamp(h.EndedAt), "RebootOption": h.RebootOption,
	}
	for key, p := range countFields(&c) {
		m[key] = strconv.Itoa(*p)
	}
	if c.UnreportedNotApplicable < 0 {
		delete(m, "UnreportedNotApplicableCount")
	}
	if c.AvailableSecurityUpdate == 0 {
		delete(m, "AvailableSecurityUpdateCount")
	}
	if h.InstallOverrideList != "" {
		m["InstallOverrideList"] = h.InstallOverrideList
	}
	if !h.LastNoReboot.IsZero() {
		m["LastNoRebootInstallOperationTime"] = stamp(h.LastNoReboot)
	}
	if h.Status == NonCompliant {
		m["NonCompliantSeverity"] = string(h.Severity)
	}
	return seal(InventoryItem{TypeName: SummaryType, Content: []map[string]string{m}}, h.EndedAt)
}

// countFields names the counts as inventory does.
func countFields(c *Counts) map[string]*int {
	return map[string]*int{
		"InstalledCount": &c.Installed, "InstalledOtherCount": &c.InstalledOther, "InstalledRejectedCount": &c.InstalledRejected,
		"InstalledPendingRebootCount": &c.InstalledPendingReboot, "NotApplicableCount": &c.NotApplicable, "MissingCount": &c.Missing,
		"FailedCount": &c.Failed, "UnreportedNotApplicableCount": &c.UnreportedNotApplicable,
		"AvailableSecurityUpdateCount": &c.AvailableSecurityUpdate, "CriticalNonCompliantCount": &c.CriticalNonCompliant,
		"SecurityNonCompliantCount": &c.SecurityNonCompliant, "OtherNonCompliantCount": &c.OtherNonCompliant,
	}
}

func (r *Result) complianceItems() InventoryItem {
	h := &r.Header
	items := slices.Clone(r.Items)
	Sort(items)
	kind := h.ExecutionType
	if kind == "" {
		kind = "Command"
	}
	out := InventoryItem{
		TypeName: ItemType, Content: []map[string]string{},
		Context: map[string]string{"ComplianceType": "Patch", "ExecutionId": h.SnapshotID, "ExecutionType": kind, "ExecutionTime": stamp(h.StartedAt)},
	}
	for i := range items {
		it := &items[i]
		m := map[string]string{
			"Id": it.ID, "Title": it.Title, "Severity": string(it.level()), "Status": it.Status(), "PatchBaselineId": bareID(h.BaselineID),
			"PatchState": string(it.State), "PatchGroup": h.PatchGroup, "DocumentName": "", "DocumentVersion": "", "InstalledTime": "",
			"Classification": it.Classification, "PatchSeverity": it.Severity,
		}
		if !it.InstalledTime.IsZero() && (it.State == Installed || it.State == InstalledOther || it.State == InstalledPendingReboot || it.State == InstalledRejected) {
			m["InstalledTime"] = stamp(it.InstalledTime)
		}
		if len(it.CVEs) > 0 && (it.State == Missing || it.State == Failed) {
			m["CVEIds"] = strings.Join(it.CVEs, ",")
		}
		if h.InstallOverrideList != "" {
			m["InstallOverrideList"] = h.InstallOverrideList
		}
		if it.Reason != "" {
			m["DetailedText"] = strings.TrimSuffix(it.Reason+": "+it.Detail, ": ")
		}
		out.Content = append(out.Content, m)
	}
	return seal(out, h.EndedAt)
}

func seal(i InventoryItem, captured time.Time) InventoryItem {
	b, err := json.Marshal(i.Content) // map keys come sorted
	if err != nil {
		panic(err) // maps of strings always encode
	}
	i.SchemaVersion, i.CaptureTime, i.ContentHash = "1.0", stamp(captured), Hash(b)
	return i
}

// FromInventory reads a result back from the contents and context of the two inventory types, as the stock agent's
// payload sends them. items may be nil. What the forms do not carry stays zero.
func FromInventory(summary map[string]string, items []map[string]string, context map[string]string) (*Result, error) {
	h := Header{
		BaselineID: summary["BaselineId"], PatchGroup: summary["PatchGroup"], SnapshotID: summary["SnapshotId"], ExecutionID: summary["ExecutionId"],
		Operation: summary["OperationType"], RebootOption: summary["RebootOption"], InstallOverrideList: summary["InstallOverrideList"],
		ExecutionType: context["ExecutionType"], Status: Compliant, Severity: baseline.Unspecified,
	}
	h.Counts.UnreportedNotApplicable = -1
	for key, p := range countFields(&h.Counts) {
		v, ok := summary[key]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("%s %q is not a number", key, v)
		}
		*p = n
	}
	for key, p := range map[string]*time.Time{
		"OperationStartTime": &h.StartedAt, "OperationEndTime": &h.EndedAt, "LastNoRebootInstallOperationTime": &h.LastNoReboot,
	} {
		if v := summary[key]; v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return nil, fmt.Errorf("%s %q is not a time", key, v)
			}
			*p = t.UTC()
		}
	}
	r := &Result{Header: h}
	for _, m := range items {
		it, err := itemFrom(m)
		if err != nil {
			return nil, err
		}
		r.Items = append(r.Items, it)
	}
	c := h.Counts
	if c.CriticalNonCompliant+c.SecurityNonCompliant+c.OtherNonCompliant > 0 {
		r.Header.Status = NonCompliant
	}
	if len(items) > 0 {
		r.Header.Status, r.Header.Severity = Overall(r.Items)
	} else if l := baseline.Level(summary["NonCompliantSeverity"]); slices.Contains(baseline.Levels(), l) {
		r.Header.Severity = l
	}
	return r, nil
}

func itemFrom(m map[string]string) (Item, error) {
	st, ok := ParseState(m["PatchState"])
	if !ok {
		return Item{}, fmt.Errorf("patch %q: state %q is not known", m["Id"], m["PatchState"])
	}
	it := Item{
		ID: m["Id"], Title: m["Title"], State: st, Level: baseline.Level(m["Severity"]), Classification: m["Classification"], Severity: m["PatchSeverity"],
		AvailableNonCompliant: st == AvailableSecurityUpdate && m["Status"] == NonCompliant,
	}
	it.Name = it.ID
	if i := strings.LastIndexByte(it.ID, '.'); i > 0 && strings.HasPrefix(it.Title, it.ID+":") {
		it.Name, it.Arch = it.ID[:i], it.ID[i+1:]
		version := it.Title[len(it.ID)+1:]
		if st == Missing || st == Failed {
			it.AvailableVersion = version
		} else {
			it.InstalledVersion = version
		}
	}
	if v := m["InstalledTime"]; v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return Item{}, fmt.Errorf("patch %q: InstalledTime %q is not a time", it.ID, v)
		}
		it.InstalledTime = t.UTC()
	}
	if v := m["CVEIds"]; v != "" {
		it.CVEs = strings.Split(v, ",")
	}
	it.Reason, it.Detail, _ = strings.Cut(m["DetailedText"], ": ")
	return it, nil
}

func bareID(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// stamp is the time format of inventory.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
