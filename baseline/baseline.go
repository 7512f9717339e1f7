// Package baseline holds patch baselines and decides which patches one approves. It is pure: no clock, no files,
// no network; the instant is a parameter. It does not know where facts about patches come from (patch/...) nor what
// is installed (compliance). Start with Baseline and its method Evaluate.
package baseline

import (
	"encoding/json"
	"strings"
	"time"
)

// Level is a compliance level: how bad it is when an approved patch is missing.
type Level string

// The compliance levels, highest first.
const (
	Critical      Level = "CRITICAL"
	High          Level = "HIGH"
	Medium        Level = "MEDIUM"
	Low           Level = "LOW"
	Informational Level = "INFORMATIONAL"
	Unspecified   Level = "UNSPECIFIED"
)

// Levels lists every level, highest first.
func Levels() []Level {
	return []Level{Critical, High, Medium, Low, Informational, Unspecified}
}

// Rank orders levels: the higher the number the higher the level; 0 for Unspecified and for anything unknown.
func (l Level) Rank() int {
	for i, x := range Levels() {
		if x == l {
			return len(Levels()) - 1 - i
		}
	}
	return 0
}

// Higher returns the higher of two levels.
func Higher(a, b Level) Level {
	if b.Rank() > a.Rank() || a == "" {
		return b
	}
	return a
}

// RejectedAction says what a rejected patch may still do.
type RejectedAction string

// The two actions for rejected patches.
const (
	AllowAsDependency RejectedAction = "ALLOW_AS_DEPENDENCY"
	Block             RejectedAction = "BLOCK"
)

// Filter takes a patch whose value for Key is one of Values; "*" takes every patch.
type Filter struct {
	Key    string
	Values []string
}

// FilterGroup takes what all of its filters take; an empty one takes everything.
type FilterGroup struct {
	PatchFilters []Filter
}

// Rule approves what its filters take, a time after release.
type Rule struct {
	PatchFilterGroup  FilterGroup
	ComplianceLevel   Level  `json:",omitempty"`
	ApproveAfterDays  *int   `json:",omitempty"` // whole UTC days, 0..360; exactly one of this and ApproveUntilDate is set
	ApproveUntilDate  string `json:",omitempty"` // YYYY-MM-DD, the last release day that is approved
	EnableNonSecurity bool
}

// RuleGroup holds the approval rules of a baseline.
type RuleGroup struct {
	PatchRules []Rule
}

// Source is an alternative repository that stands in for the node's own during a run.
type Source struct {
	Name          string
	Products      []string
	Configuration string
}

// Baseline is a patch baseline in the shape that GetPatchBaseline answers. The zero value of every optional field
// means its default.
type Baseline struct {
	BaselineID                       string `json:"BaselineId,omitempty"`
	OperatingSystem                  OS
	Name                             string
	Description                      string          `json:",omitempty"`
	GlobalFilters                    FilterGroup     `json:",omitzero"`
	ApprovalRules                    RuleGroup       `json:",omitzero"`
	ApprovedPatches                  []string        `json:",omitempty"`
	ApprovedPatchesComplianceLevel   Level           `json:",omitempty"`
	ApprovedPatchesEnableNonSecurity bool            `json:",omitempty"`
	RejectedPatches                  []string        `json:",omitempty"`
	RejectedPatchesAction            RejectedAction  `json:",omitempty"`
	Sources                          []Source        `json:",omitempty"`
	AvailableSecurityUpdates         string          `json:"AvailableSecurityUpdatesComplianceStatus,omitempty"`
	PatchGroups                      []string        `json:",omitempty"`
	CreatedDate                      json.RawMessage `json:",omitempty"` // seconds or text, as the client wrote it; not used
	ModifiedDate                     json.RawMessage `json:",omitempty"`
}

// Blocks reports whether the baseline's rejected list keeps dependencies out too.
func (b *Baseline) Blocks() bool { return b.RejectedPatchesAction == Block }

// ID is the bare id: for the ARN of a predefined baseline the part after its last slash.
func (b *Baseline) ID() string { return b.BaselineID[strings.LastIndexByte(b.BaselineID, '/')+1:] }

// Node is what the rules need to know about a managed node.
type Node struct {
	OS      OS
	Product string // as DescribePatchProperties spells it: Debian12
}

// Patch is one candidate version with the facts of one notice about it. A version that several notices name is
// judged once for each.
type Patch struct {
	Name, Arch              string
	Epoch, Version, Release string // rpm; for apt and macOS the whole version is Version
	KB                      string // Windows: "KB2032276"
	Bulletin                string // Windows: "MS10-048"

	Classification, Severity string // rpm notice, SUSE patch, Windows (Severity = MSRC)
	Priority, Section        string // apt
	PatchSet                 string // Windows: OS or APPLICATION
	Product, ProductFamily   string // Windows: of the update

	Security    bool // counts as a security patch where EnableNonSecurity is off
	HasNotice   bool // rpm and SUSE: an advisory names this version
	AdvisoryIDs []string
	CVEs        []string
	Bugzillas   []string

	Released time.Time // zero when nobody knows: no delay holds it back
}
