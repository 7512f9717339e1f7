// Package compliance holds the outcome of a scan or install on one node: the state of every patch, the counts, the
// evidence they rest on, and the forms in which they travel. It is pure. How states are decided is in package patch.
// Start with Result.
package compliance

import (
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
)

// State is the state of a patch on a node, in the text of the wire.
type State string

// The states. Source: AWS Systems Manager User Guide, "Understanding patch compliance state values".
const (
	Installed               State = "Installed"
	InstalledOther          State = "InstalledOther"
	InstalledRejected       State = "InstalledRejected"
	InstalledPendingReboot  State = "InstalledPendingReboot"
	NotApplicable           State = "NotApplicable"
	Missing                 State = "Missing"
	Failed                  State = "Failed"
	AvailableSecurityUpdate State = "AvailableSecurityUpdate"
)

// States lists the states in the order in which items are reported.
func States() []State {
	return []State{Installed, InstalledOther, InstalledRejected, InstalledPendingReboot, NotApplicable, Missing, Failed, AvailableSecurityUpdate}
}

// ParseState reads a state in the wire's CamelCase or in the enum's UPPER_SNAKE, without regard to case.
func ParseState(s string) (State, bool) {
	for _, st := range States() {
		if strings.EqualFold(string(st), strings.ReplaceAll(s, "_", "")) {
			return st, true
		}
	}
	return "", false
}

// The two statuses of an item and of a node.
const (
	Compliant    = "COMPLIANT"
	NonCompliant = "NON_COMPLIANT"
)

// Item is one patch of one node. On Linux a patch is a package name with an architecture.
type Item struct {
	ID               string         `json:"id"` // name.arch; macOS name; Windows KB
	Name             string         `json:"name"`
	Arch             string         `json:"arch,omitempty"`
	Title            string         `json:"title"` // with the version the item speaks of
	State            State          `json:"state"`
	Level            baseline.Level `json:"level"`
	Classification   string         `json:"classification,omitempty"`
	Severity         string         `json:"severity,omitempty"` // the publisher's; apt: the priority
	InstalledVersion string         `json:"installedVersion,omitempty"`
	AvailableVersion string         `json:"availableVersion,omitempty"` // the newest that any repository offers or, when missing, the target
	InstalledTime    time.Time      `json:"installedTime,omitzero"`
	ReleasedTime     time.Time      `json:"releasedTime,omitzero"`
	ApprovalDate     time.Time      `json:"approvalDate,omitzero"`
	Reason           string         `json:"reason,omitempty"` // why a newer version is not installed; the codes are in package patch
	Detail           string         `json:"detail,omitempty"` // the reason in words
	Repository       string         `json:"repository,omitempty"`
	CVEs             []string       `json:"cves,omitempty"`
	// AvailableNonCompliant carries the baseline's AvailableSecurityUpdatesComplianceStatus on an AvailableSecurityUpdate.
	AvailableNonCompliant bool `json:"availableNonCompliant,omitempty"`
}

// Status is COMPLIANT, NON_COMPLIANT, or empty for what does not apply.
func (i *Item) Status() string {
	switch i.State {
	case Installed, InstalledOther:
		return Compliant
	case InstalledRejected, InstalledPendingReboot, Missing, Failed:
		return NonCompliant
	case AvailableSecurityUpdate:
		if i.AvailableNonCompliant {
			return NonCompliant
		}
		return Compliant
	}
	return ""
}

// Counts are the numbers of a node's summary.
type Counts struct {
	Installed               int `json:"installed"`
	InstalledOther          int `json:"installedOther"`
	InstalledPendingReboot  int `json:"installedPendingReboot"`
	InstalledRejected       int `json:"installedRejected"`
	Missing                 int `json:"missing"`
	Failed                  int `json:"failed"`
	NotApplicable           int `json:"notApplicable"`
	UnreportedNotApplicable int `json:"unreportedNotApplicable"` // -1: not in use
	AvailableSecurityUpdate int `json:"availableSecurityUpdate"`
	CriticalNonCompliant    int `json:"criticalNonCompliant"`
	SecurityNonCompliant    int `json:"securityNonCompliant"`
	OtherNonCompliant       int `json:"otherNonCompliant"`
}

// Count counts items. notApplicable is added for systems that only count such patches; pass 0 where they are listed.
func Count(items []Item, notApplicable int) Counts {
	c := Counts{UnreportedNotApplicable: -1, NotApplicable: notApplicable}
	for i := range items {
		it := &items[i]
		switch it.State {
		case Installed:
			c.Installed++
		case InstalledOther:
			c.InstalledOther++
		case InstalledRejected:
			c.InstalledRejected++
		case InstalledPendingReboot:
			c.InstalledPendingReboot++
		case NotApplicable:
			c.NotApplicable++
		case Missing:
			c.Missing++
		case Failed:
			c.Failed++
		case AvailableSecurityUpdate:
			c.AvailableSecurityUpdate++
		}
		if it.Status() != NonCompliant {
			continue
		}
		critical := it.State != AvailableSecurityUpdate && it.Level == baseline.Critical
		security := it.Classification == "Security" || it.Classification == "SecurityUpdates"
		if critical {
			c.CriticalNonCompliant++
		}
		if security {
			c.SecurityNonCompliant++
		}
		if !critical && !security {
			c.OtherNonCompliant++
		}
	}
	return c
}

// Overall returns the status of a node and its severity: the highest level among its non-compliant items.
func Overall(items []Item) (status string, severity baseline.Level) {
	status, severity = Compliant, baseline.Unspecified
	for i := range items {
		if items[i].Status() == NonCompliant {
			status = NonCompliant
			severity = baseline.Higher(severity, items[i].level())
		}
	}
	return status, severity
}

func (i *Item) level() baseline.Level {
	if i.State == AvailableSecurityUpdate || i.Level == "" {
		return baseline.Unspecified
	}
	return i.Level
}

// Severities counts items by compliance level.
type Severities map[baseline.Level]int

// Summarize counts the compliant and the non-compliant items of a node by level, as compliance summaries do.
func Summarize(items []Item) (compliant, nonCompliant Severities) {
	compliant, nonCompliant = Severities{}, Severities{}
	for i := range items {
		switch items[i].Status() {
		case Compliant:
			compliant[items[i].level()]++
		case NonCompliant:
			nonCompliant[items[i].level()]++
		}
	}
	return compliant, nonCompliant
}

// Sort puts items into the order of reports: by state, then by name, then by id.
func Sort(items []Item) {
	rank := map[State]int{}
	for i, s := range States() {
		rank[s] = i
	}
	slices.SortFunc(items, func(a, b Item) int {
		if d := rank[a.State] - rank[b.State]; d != 0 {
			return d
		}
		if d := strings.Compare(a.Name, b.Name); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
}
