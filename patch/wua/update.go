package wua

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Client is the Windows Update Agent of this machine. Its errors are *ResultError where the agent gave a code.
type Client interface {
	// Search returns what meets the criteria. online asks the update service; otherwise the agent's cache answers.
	Search(ctx context.Context, criteria string, online bool) (Found, error)
	// AcceptEula accepts the licence terms of updates that have some.
	AcceptEula(ctx context.Context, ids []Identity) ([]Outcome, error)
	// Download fetches updates. The outcomes are in the order of ids.
	Download(ctx context.Context, ids []Identity) ([]Outcome, error)
	// Install installs downloaded updates. It goes on to its end whatever becomes of ctx.
	Install(ctx context.Context, ids []Identity) (InstallResult, error)
	// Status is the state of the agent and of its installer.
	Status(ctx context.Context) (Status, error)
	// History returns the newest events, newest first, at most n.
	History(ctx context.Context, n int) ([]Event, error)
}

// Found is what a search found. One that succeeded with errors can lack updates, or all of them, and does not fail for that.
type Found struct {
	Updates  []Update  `json:"updates"`
	Result   int       `json:"resultCode"`
	Warnings []Warning `json:"warnings,omitempty"`
}

// Warning is something that went wrong in a search.
type Warning struct {
	Code uint32 `json:"hResult"`
	Text string `json:"message"`
}

// Identity names one revision of an update. A KB is a label that several updates can have.
type Identity struct {
	UpdateID string `json:"updateId"` // GUID
	Revision int    `json:"revision"`
}

func (i Identity) String() string { return i.UpdateID + ":" + strconv.Itoa(i.Revision) }

// identities reads a version text: identities that a plus sign joins.
func identities(version string) ([]Identity, error) {
	var out []Identity
	for _, part := range strings.Split(version, "+") {
		id, rev, ok := strings.Cut(part, ":")
		n, err := strconv.Atoi(rev)
		if !ok || err != nil || id == "" || strings.ContainsAny(id, "' ()=") { // it goes into a search
			return nil, fmt.Errorf("%q is no update with its revision", part)
		}
		out = append(out, Identity{id, n})
	}
	return out, nil
}

// identityCriteria is the search for exactly these updates.
func identityCriteria(ids []Identity) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, fmt.Sprintf("(UpdateID='%s' and RevisionNumber=%d)", id.UpdateID, id.Revision))
	}
	return strings.Join(parts, " or ")
}

// Category is a classification or a product of an update. Names may be in the system's language, ids are not.
type Category struct {
	ID     string `json:"id"` // GUID
	Name   string `json:"name"`
	Type   string `json:"type"`             // UpdateClassification, Product, ProductFamily, Company
	Family string `json:"family,omitempty"` // name of a product's parent
}

// Update is one update as the agent describes it, with the member names of IUpdate to IUpdate5.
type Update struct {
	Identity
	Title            string     `json:"title"`
	KBs              []string   `json:"kbArticleIds"` // digits only
	Bulletins        []string   `json:"securityBulletinIds,omitempty"`
	CVEs             []string   `json:"cveIds,omitempty"`
	Categories       []Category `json:"categories"`
	Severity         string     `json:"msrcSeverity,omitempty"`
	Released         time.Time  `json:"lastDeploymentChangeTime,omitzero"`
	Type             string     `json:"type,omitempty"`             // Software, Driver
	DeploymentAction string     `json:"deploymentAction,omitempty"` // Installation, OptionalInstallation, ...
	Supersedes       []string   `json:"supersededUpdateIds,omitempty"`
	Size             int64      `json:"maxDownloadSize,omitempty"` // bytes
	DiskMB           int64      `json:"recommendedHardDiskSpace,omitempty"`
	Installed        bool       `json:"isInstalled,omitempty"`
	Hidden           bool       `json:"isHidden,omitempty"`
	Downloaded       bool       `json:"isDownloaded,omitempty"`
	Mandatory        bool       `json:"isMandatory,omitempty"`
	Beta             bool       `json:"isBeta,omitempty"`
	EulaAccepted     bool       `json:"eulaAccepted,omitempty"`
	AutoSelect       bool       `json:"autoSelectOnWebSites,omitempty"`
	BrowseOnly       bool       `json:"browseOnly,omitempty"` // optional
	RebootRequired   bool       `json:"rebootRequired,omitempty"`
	CanAsk           bool       `json:"canRequestUserInput,omitempty"`
	Exclusive        bool       `json:"exclusive,omitempty"` // must be installed alone
}

// KB is the label of the update: "KB5034441". It is empty for an update without one.
func (u *Update) KB() string {
	if len(u.KBs) == 0 || u.KBs[0] == "" {
		return ""
	}
	return "KB" + strings.TrimPrefix(strings.ToUpper(u.KBs[0]), "KB")
}

// in reports whether nothing more is to be installed of the update; what it then may wait for is a reboot.
func (u *Update) in() bool { return u.Installed || u.RebootRequired }

// Results of an operation, and of it for one update.
// Source: Microsoft Learn, "OperationResultCode enumeration (wuapi.h)".
const (
	ResultNotStarted          = 0
	ResultInProgress          = 1
	ResultSucceeded           = 2
	ResultSucceededWithErrors = 3
	ResultFailed              = 4
	ResultAborted             = 5
)

// Outcome is what became of one update.
type Outcome struct {
	Identity
	Result int    `json:"resultCode"`
	Code   uint32 `json:"hResult"`
	Reboot bool   `json:"rebootRequired,omitempty"`
	Gone   bool   `json:"gone,omitempty"` // the agent does not know this revision any more
}

// ok reports whether the update went in. ResultSucceededWithErrors is about updates that consist of others.
func (o *Outcome) ok() bool {
	return !o.Gone && (o.Result == ResultSucceeded || o.Result == ResultSucceededWithErrors)
}

// InstallResult is how an installation ended.
type InstallResult struct {
	Result   int       `json:"resultCode"`
	Code     uint32    `json:"hResult"`
	Reboot   bool      `json:"rebootRequired,omitempty"`
	Outcomes []Outcome `json:"updates"`
}

// Status is the state of the agent.
type Status struct {
	Busy            bool      `json:"isBusy,omitempty"`
	RebootFirst     bool      `json:"rebootRequiredBeforeInstallation,omitempty"`
	Reboot          bool      `json:"rebootRequired,omitempty"` // of ISystemInformation
	MicrosoftUpdate bool      `json:"microsoftUpdate,omitempty"`
	LastSearch      time.Time `json:"lastSearchSuccessDate,omitzero"`
	LastInstall     time.Time `json:"lastInstallationSuccessDate,omitzero"`
	Version         string    `json:"apiVersion,omitempty"`
}

// Operations of events.
const (
	OperationInstall   = 1
	OperationUninstall = 2
)

// Event is an entry of the agent's history.
type Event struct {
	Identity
	Title     string    `json:"title"`
	Operation int       `json:"operation"`
	Result    int       `json:"resultCode"`
	Code      uint32    `json:"hResult"`
	At        time.Time `json:"date"`
}

// succeeded finds the last event of each update revision, where that was an installation that went well.
func succeeded(events []Event) map[Identity]time.Time {
	newest := slices.Clone(events)
	slices.SortStableFunc(newest, func(a, b Event) int { return b.At.Compare(a.At) })
	out, told := map[Identity]time.Time{}, map[Identity]bool{}
	for _, e := range newest {
		if told[e.Identity] {
			continue
		}
		if e.Result == ResultSucceeded || e.Result == ResultSucceededWithErrors {
			told[e.Identity] = true
			if e.Operation == OperationInstall {
				out[e.Identity] = e.At
			}
		}
	}
	return out
}

// dateOf reads an automation date: days since 1899-12-30, the fraction of which is the time of day also before then. Years that no
// update can have are no dates. Source: Microsoft Learn, "VariantTimeToSystemTime function (oleauto.h)".
func dateOf(days float64) time.Time {
	if math.IsNaN(days) || days < 1 || days > 100000 { // 1900 to 2173
		return time.Time{}
	}
	sec := math.Round(days * 24 * 60 * 60)
	return time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).Add(time.Duration(sec) * time.Second)
}

// decimalOf reads an automation decimal without a fraction: the agent's sizes. low holds its lower 64 bits.
func decimalOf(scale byte, negative bool, low uint64) int64 {
	if scale != 0 || negative || low > math.MaxInt64 {
		return 0
	}
	return int64(low)
}
