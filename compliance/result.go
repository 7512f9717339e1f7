package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
)

// Result is what one scan or install found on one node.
type Result struct {
	Header    Header
	Items     []Item
	Available []Available
}

// Header is everything of a result but its items. Instants are UTC.
type Header struct {
	OperatingSystem     baseline.OS    `json:"operatingSystem"`
	Product             string         `json:"product"`
	PlatformName        string         `json:"platformName"`
	PlatformVersion     string         `json:"platformVersion"`
	BaselineID          string         `json:"baselineId"`
	BaselineName        string         `json:"baselineName"`
	SnapshotID          string         `json:"snapshotId,omitempty"`
	PatchGroup          string         `json:"patchGroup,omitempty"`
	Operation           string         `json:"operation"` // Scan or Install
	RebootOption        string         `json:"rebootOption,omitempty"`
	InstallOverrideList string         `json:"installOverrideList,omitempty"`
	StartedAt           time.Time      `json:"startedAt"`
	EndedAt             time.Time      `json:"endedAt"`
	Counts              Counts         `json:"counts"`
	Status              string         `json:"status"`
	Severity            baseline.Level `json:"severity"`
	LastNoReboot        time.Time      `json:"lastNoRebootInstallOperationTime,omitzero"`
	ExecutionType       string         `json:"executionType,omitempty"` // Command or PatchPolicy
	ExecutionID         string         `json:"executionId,omitempty"`
	Reboot              Reboot         `json:"reboot"`
	Repositories        []Repository   `json:"repositories,omitempty"`
	Degraded            []string       `json:"degraded,omitempty"` // what makes this result rest on less than it should
	Updaters            []string       `json:"updaters,omitempty"` // other programs on the node that install updates by themselves
	BootID              string         `json:"bootId,omitempty"`
	ScanSeq             int64          `json:"scanSeq,omitempty"`
	Install             *Install       `json:"install,omitempty"` // of the Install that the result was found after
	Image               *Image         `json:"image,omitempty"`   // what was scanned, where it was no machine
}

// Image is the container image that a result is of.
type Image struct {
	File     string `json:"file"`           // as it was given
	Name     string `json:"name,omitempty"` // its first reference or tag
	Digest   string `json:"digest"`         // of its manifest, or of its configuration where it has no manifest
	Platform string `json:"platform"`       // "linux/amd64"
}

// String is the image's name, or its file, and its digest and platform.
func (i *Image) String() string {
	return cmp.Or(i.Name, i.File) + " (" + i.Digest + ", " + i.Platform + ")"
}

// Reboot is the evidence for a reboot or for restarts that are due.
type Reboot struct {
	Required        bool      `json:"required"`
	Reasons         []string  `json:"reasons,omitempty"`
	RunningKernel   string    `json:"runningKernel,omitempty"`
	InstalledKernel string    `json:"installedKernel,omitempty"` // newest of the running one's flavour
	Services        []Service `json:"services,omitempty"`
	// LivePatch is the state of kernel live patching, where the system has it.
	LivePatch *LivePatch `json:"livePatch,omitempty"`
}

// LivePatch is the state of kernel live patching on a node. The states are those of package patch/livepatch.
type LivePatch struct {
	State      string    `json:"state"`
	System     string    `json:"system,omitempty"` // whose live patching it is
	Kernel     string    `json:"kernel"`           // the running one, uname -r
	Effective  string    `json:"effective,omitempty"`
	Modules    []string  `json:"modules,omitempty"`    // that are in force
	Packages   []string  `json:"packages,omitempty"`   // live patches for the running kernel that are installed, and not only the empty first one
	Service    string    `json:"service,omitempty"`    // what loads them at boot: enabled, disabled, ...; empty: not known
	Transition bool      `json:"transition,omitempty"` // a module is going in or out
	SupportEnd time.Time `json:"supportEnd,omitzero"`
	Detail     string    `json:"detail,omitempty"`
	CVEs       []string  `json:"cves,omitempty"`      // that are fixed in the running kernel
	Remaining  []string  `json:"remaining,omitempty"` // that only a newer kernel fixes, after a reboot
	// Debt is the sentence about the reboot that is due all the same; empty: none is.
	Debt string `json:"debt,omitempty"`
	// Lost are the modules that were in force on this kernel before the node was started again, and are not any more
	// although their live patches are installed.
	Lost []string `json:"lost,omitempty"`
}

// Alarm is the sentence about modules that a reboot took away, and why; empty: nothing was lost.
func (l *LivePatch) Alarm() string {
	if l == nil || len(l.Lost) == 0 {
		return ""
	}
	text := "the reboot has taken live patches out of the running kernel: " + strings.Join(l.Lost[:min(len(l.Lost), 5)], ", ")
	if more := len(l.Lost) - 5; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	switch l.Service {
	case "disabled", "masked":
		return text + "; kpatch.service, which loads them at boot, is not enabled"
	}
	return text
}

// Service is a unit whose processes still use files that were replaced.
type Service struct {
	Unit  string   `json:"unit"` // or the command's name where there is no unit
	PIDs  []int    `json:"pids,omitempty"`
	Files []string `json:"files,omitempty"`
}

// Repository is one index that the result rests on.
type Repository struct {
	URI         string    `json:"uri"`
	Suite       string    `json:"suite,omitempty"`
	Codename    string    `json:"codename,omitempty"`
	Origin      string    `json:"origin,omitempty"`
	Label       string    `json:"label,omitempty"`
	Date        time.Time `json:"date,omitzero"`        // the publisher's
	RefreshedAt time.Time `json:"refreshedAt,omitzero"` // when the node last fetched or confirmed it
	Trusted     bool      `json:"trusted"`
	Stale       bool      `json:"stale,omitempty"`
	Missing     bool      `json:"missing,omitempty"` // its metadata was never fetched: nothing is known of what it offers
	// NoAdvisories: it has packages and no update notices, so that security updates are not told from others.
	NoAdvisories bool   `json:"noAdvisories,omitempty"`
	Detail       string `json:"detail,omitempty"`
}

// Blind reports whether a source of the node was never read, so that what it offers is not known. A node without missing
// patches is not compliant for that.
func (h *Header) Blind() bool {
	return slices.ContainsFunc(h.Repositories, func(r Repository) bool { return r.Missing })
}

// Seen is the instant up to which the result can speak for the node: that of its oldest metadata, where nothing is missing
// because nothing newer was known; else its own end.
func (h *Header) Seen() time.Time {
	at := h.EndedAt
	if h.Status != Compliant {
		return at
	}
	for _, r := range h.Repositories {
		if r.Missing {
			return time.Time{}
		}
		if r.Stale && r.RefreshedAt.Before(at) {
			at = r.RefreshedAt
		}
	}
	return at
}

// Available is a version that a repository offers of a package that the node has.
type Available struct {
	Name           string    `json:"name"`
	Arch           string    `json:"arch"`
	Version        string    `json:"version"`
	Priority       string    `json:"priority,omitempty"`
	Section        string    `json:"section,omitempty"`
	Classification string    `json:"classification,omitempty"`
	Repository     string    `json:"repository,omitempty"`
	ReleasedTime   time.Time `json:"releasedTime,omitzero"`
	Product        string    `json:"product,omitempty"`
	Notices        []Notice  `json:"notices,omitempty"` // that name the version, the newest first; rpm and SUSE
}

// Notice is what an update notice says of a version that it names.
type Notice struct {
	IDs            []string  `json:"ids,omitempty"` // the advisory's, and those that it refers to as its own
	Classification string    `json:"classification,omitempty"`
	Severity       string    `json:"severity,omitempty"`
	CVEs           []string  `json:"cves,omitempty"`
	Bugzillas      []string  `json:"bugzillas,omitempty"`
	Released       time.Time `json:"released,omitzero"`
}

// Finish counts the items and sets Counts, Status and Severity from them, and sorts them.
func (r *Result) Finish(notApplicable int) {
	Sort(r.Items)
	r.Header.Counts = Count(r.Items, notApplicable)
	r.Header.Status, r.Header.Severity = Overall(r.Items)
}

// Install is what an Install or an undo did to a node.
type Install struct {
	Run          string `json:"run"` // its record on the node
	Outcome      string `json:"outcome,omitempty"`
	Text         string `json:"text,omitempty"` // why it ended so, a sentence
	Transactions int    `json:"transactions,omitempty"`
	// ManagerMillis is the part of the time that the package manager's own programs took, in milliseconds.
	ManagerMillis int64    `json:"managerMillis,omitempty"`
	Resumes       int      `json:"resumes,omitempty"` // how often it was taken up after a crash
	Changes       []Change `json:"changes,omitempty"`
	Leftovers     []string `json:"leftovers,omitempty"` // new versions of changed configuration files, for a person to merge
	Restarts      []string `json:"restarts,omitempty"`  // units that were restarted, and how that went
}

// Change is a package that an Install moved from one version to another.
type Change struct {
	Name       string `json:"name"`
	Arch       string `json:"arch,omitempty"`
	Old        string `json:"old,omitempty"`        // empty: it was not installed
	New        string `json:"new,omitempty"`        // empty: it was removed
	Dependency bool   `json:"dependency,omitempty"` // it came along for another
}
