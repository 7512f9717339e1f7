package baseline

import (
	"encoding/json"
	"fmt"
	"time"
)

// SnapshotSchema is the version of the snapshot document that this code writes.
const SnapshotSchema = 1

// Snapshot is a frozen baseline with the instant at which delays are judged.
type Snapshot struct {
	AccountID                string
	Baseline                 Baseline
	PatchGroup               string
	Patches                  []SnapshotPatch // Windows: the approved updates
	EnableApplicationPatches bool
	RequiredFeatures         []string
	CreatedAt, ModifiedAt    time.Time // of the baseline
	EvaluatedAt              time.Time // zero in foreign snapshots: now is used
	// LivePatchReboot keeps AWS's rule for RebootOption=RebootIfNeeded: live patches alone reboot a node as well.
	LivePatchReboot bool
}

// SnapshotPatch is an approved update of a Windows snapshot.
type SnapshotPatch struct {
	ID               string `json:"id"`
	KB               string `json:"kbNumber"`
	Title            string `json:"title"`
	Classification   string `json:"classification"`
	MSRCSeverity     string `json:"msrcSeverity"`
	ComplianceLevel  Level  `json:"complianceLevel"`
	ReleaseDate      string `json:"releaseDate"`
	DeploymentStatus string `json:"deploymentStatus"`
}

// The document, in the camelCase names of the original.
type snapshotJSON struct {
	PatchBaseline            baselineJSON    `json:"patchBaseline"`
	PatchGroup               *string         `json:"patchGroup"`
	Patches                  []SnapshotPatch `json:"patches"`
	EnableApplicationPatches bool            `json:"enableApplicationPatches"`
	RequiredFeatures         []string        `json:"requiredFeatures"`
	EvaluatedAt              *time.Time      `json:"evaluatedAt,omitempty"`
	SchemaVersion            int             `json:"schemaVersion,omitempty"`
	Compat                   compatJSON      `json:"compat,omitzero"`
}

// compatJSON is where the nodes are to do as AWS does and Oakum otherwise does not.
type compatJSON struct {
	LivePatchReboot bool `json:"livepatchReboot,omitempty"`
}

type baselineJSON struct {
	AccountID                        string         `json:"accountId"`
	BaselineID                       string         `json:"baselineId"`
	Name                             string         `json:"name"`
	GlobalFilters                    filtersJSON    `json:"globalFilters"`
	ApprovalRules                    rulesJSON      `json:"approvalRules"`
	ApprovedPatches                  []string       `json:"approvedPatches"`
	ApprovedPatchesComplianceLevel   Level          `json:"approvedPatchesComplianceLevel"`
	ApprovedPatchesEnableNonSecurity bool           `json:"approvedPatchesEnableNonSecurity"`
	RejectedPatches                  []string       `json:"rejectedPatches"`
	RejectedPatchesAction            RejectedAction `json:"rejectedPatchesAction"`
	CreatedTime                      float64        `json:"createdTime"`
	ModifiedTime                     float64        `json:"modifiedTime"`
	Description                      string         `json:"description"`
	OperatingSystem                  OS             `json:"operatingSystem"`
	Sources                          []sourceJSON   `json:"sources"`
	AvailableSecurityUpdates         string         `json:"availableSecurityUpdatesComplianceStatus,omitempty"`
}

type filtersJSON struct {
	Filters []filterJSON `json:"filters"`
}

type filterJSON struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

type rulesJSON struct {
	Rules []ruleJSON `json:"rules"`
}

type ruleJSON struct {
	FilterGroup       filtersJSON `json:"filterGroup"`
	ComplianceLevel   Level       `json:"complianceLevel"`
	EnableNonSecurity bool        `json:"enableNonSecurity"`
	ApproveAfterDays  *int        `json:"approveAfterDays"`
	ApproveUntilDate  *string     `json:"approveUntilDate"`
}

type sourceJSON struct {
	Name          string   `json:"name"`
	Products      []string `json:"products"`
	Configuration string   `json:"configuration"`
}

// Encode writes the snapshot document. Lists are never null.
func (s *Snapshot) Encode() ([]byte, error) {
	b := &s.Baseline
	doc := snapshotJSON{
		PatchBaseline: baselineJSON{
			AccountID: s.AccountID, BaselineID: b.BaselineID, Name: b.Name, GlobalFilters: filtersOut(b.GlobalFilters),
			ApprovalRules: rulesJSON{Rules: []ruleJSON{}}, ApprovedPatches: orEmpty(b.ApprovedPatches),
			ApprovedPatchesComplianceLevel: orLevel(b.ApprovedPatchesComplianceLevel), ApprovedPatchesEnableNonSecurity: b.ApprovedPatchesEnableNonSecurity,
			RejectedPatches: orEmpty(b.RejectedPatches), RejectedPatchesAction: AllowAsDependency, Description: b.Description,
			CreatedTime: seconds(s.CreatedAt), ModifiedTime: seconds(s.ModifiedAt), OperatingSystem: b.OperatingSystem, Sources: []sourceJSON{},
			AvailableSecurityUpdates: b.AvailableSecurityUpdates,
		},
		Patches: orEmpty(s.Patches), EnableApplicationPatches: s.EnableApplicationPatches, RequiredFeatures: orEmpty(s.RequiredFeatures),
		SchemaVersion: SnapshotSchema, Compat: compatJSON{LivePatchReboot: s.LivePatchReboot},
	}
	if b.RejectedPatchesAction != "" {
		doc.PatchBaseline.RejectedPatchesAction = b.RejectedPatchesAction
	}
	for _, r := range b.ApprovalRules.PatchRules {
		out := ruleJSON{
			FilterGroup: filtersOut(r.PatchFilterGroup), ComplianceLevel: orLevel(r.ComplianceLevel), EnableNonSecurity: r.EnableNonSecurity,
			ApproveAfterDays: r.ApproveAfterDays,
		}
		if r.ApproveUntilDate != "" {
			out.ApproveUntilDate = &r.ApproveUntilDate
		}
		doc.PatchBaseline.ApprovalRules.Rules = append(doc.PatchBaseline.ApprovalRules.Rules, out)
	}
	for _, src := range b.Sources {
		doc.PatchBaseline.Sources = append(doc.PatchBaseline.Sources, sourceJSON(src))
	}
	if s.PatchGroup != "" {
		doc.PatchGroup = &s.PatchGroup
	}
	if !s.EvaluatedAt.IsZero() {
		at := s.EvaluatedAt.UTC()
		doc.EvaluatedAt = &at
	}
	return json.Marshal(doc)
}

// ParseSnapshot reads a snapshot document; members that are not known are ignored.
func ParseSnapshot(b []byte) (*Snapshot, error) {
	if len(b) > 16*MaxDocument {
		return nil, fmt.Errorf("the snapshot has more than %d bytes", 16*MaxDocument)
	}
	var doc snapshotJSON
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	p := doc.PatchBaseline
	if !p.OperatingSystem.Valid() {
		return nil, fmt.Errorf("read snapshot: operating system %q is not known", p.OperatingSystem)
	}
	s := &Snapshot{
		AccountID: p.AccountID, Patches: doc.Patches, EnableApplicationPatches: doc.EnableApplicationPatches, RequiredFeatures: doc.RequiredFeatures,
		CreatedAt: instant(p.CreatedTime), ModifiedAt: instant(p.ModifiedTime),
		LivePatchReboot: doc.Compat.LivePatchReboot,
		Baseline: Baseline{
			BaselineID: p.BaselineID, OperatingSystem: p.OperatingSystem, Name: p.Name, Description: p.Description,
			GlobalFilters: filtersIn(p.GlobalFilters), ApprovedPatches: p.ApprovedPatches,
			ApprovedPatchesComplianceLevel: p.ApprovedPatchesComplianceLevel, ApprovedPatchesEnableNonSecurity: p.ApprovedPatchesEnableNonSecurity,
			RejectedPatches: p.RejectedPatches, RejectedPatchesAction: p.RejectedPatchesAction, AvailableSecurityUpdates: p.AvailableSecurityUpdates,
		},
	}
	for _, r := range p.ApprovalRules.Rules {
		out := Rule{
			PatchFilterGroup: filtersIn(r.FilterGroup), ComplianceLevel: r.ComplianceLevel, EnableNonSecurity: r.EnableNonSecurity,
			ApproveAfterDays: r.ApproveAfterDays,
		}
		if r.ApproveUntilDate != nil {
			out.ApproveUntilDate = *r.ApproveUntilDate
		}
		s.Baseline.ApprovalRules.PatchRules = append(s.Baseline.ApprovalRules.PatchRules, out)
	}
	for _, src := range p.Sources {
		s.Baseline.Sources = append(s.Baseline.Sources, Source(src))
	}
	if doc.PatchGroup != nil {
		s.PatchGroup = *doc.PatchGroup
	}
	if doc.EvaluatedAt != nil {
		s.EvaluatedAt = doc.EvaluatedAt.UTC()
	}
	return s, nil
}

func filtersOut(g FilterGroup) filtersJSON {
	out := filtersJSON{Filters: []filterJSON{}}
	for _, f := range g.PatchFilters {
		out.Filters = append(out.Filters, filterJSON(f))
	}
	return out
}

func filtersIn(g filtersJSON) FilterGroup {
	var out FilterGroup
	for _, f := range g.Filters {
		out.PatchFilters = append(out.PatchFilters, Filter(f))
	}
	return out
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func orLevel(l Level) Level {
	if l == "" {
		return Unspecified
	}
	return l
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func instant(s float64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(s * 1000)).UTC()
}
