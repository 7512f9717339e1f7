// Package patch is the patch engine: it finds out what one node has installed and could install, judges that against
// a patch baseline, and reports. It needs no server. What differs between package managers is behind PackageManager
// (patch/apt, ...); how states come about is in the pure function Judge.
//
// A scan is
//
//	e := patch.Engine{Manager: apt.New(apt.Config{...}), Exec: patch.OSExec{}, Now: time.Now, Log: log, StateDir: "/var/lib/oakum"}
//	res, err := e.Scan(ctx, patch.ScanRequest{Baseline: b, Refresh: true})
//
// The error of Scan is an *Error, with the reason code and the exit code of the engine's step.
package patch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
)

// Why a newer version of an installed package is not installed. The set is closed; an item carries at most one.
// The reasons of a baseline (baseline.Reason) belong to it too.
const (
	ReasonHeld              = "held"              // the administrator holds the package (apt-mark hold, versionlock, zypper lock)
	ReasonPinned            = "pinned"            // a pin, priority or release setting of the node prefers another version
	ReasonPhased            = "phased"            // the publisher rolls the update out in phases and this node's turn has not come
	ReasonBlockedByRejected = "blockedByRejected" // it needs a package that the baseline rejects with BLOCK
	ReasonUnmetDependency   = "unmetDependency"   // it needs something that no enabled repository offers in the right version
	ReasonConflict          = "conflict"          // it cannot be installed beside what is installed
	ReasonNotTrusted        = "notTrusted"        // only repositories without an accepted signature offer it
	ReasonNotAutomatic      = "notAutomatic"      // its archive asks not to be used without a request (backports, experimental)
	ReasonExcluded          = "excluded"          // the node's configuration excludes it (exclude=, includepkgs=)
	ReasonPriority          = "priority"          // another repository of the node has the package and a higher priority
	ReasonModule            = "module"            // it belongs to a module stream that is not the enabled one
	ReasonObsoleted         = "obsoleted"         // a package of another name takes its place
	ReasonLivePatched       = "livePatched"       // the fixes of a newer kernel are applied to the running one; a reboot is due all the same
	ReasonNoAdvisory        = "noAdvisory"        // its repository has no update notices, and the baseline wants security patches only
	ReasonEntitlement       = "entitlement"       // the subscription of the node does not give access to it
	ReasonVendor            = "vendor"            // it comes from another vendor than the installed version
	ReasonSolver            = "solver"            // the package manager would not install it and gives no reason that Oakum can name
	ReasonRetracted         = "retracted"         // its publisher has withdrawn it
	ReasonHidden            = "hidden"            // an administrator hid the update from the Windows Update Agent
	ReasonInteractive       = "interactive"       // it can ask a person at the screen
	ReasonRestartFirst      = "restartFirst"      // an earlier change waits for a reboot, and until then nothing more can be installed
	ReasonAuthorization     = "authorization"     // macOS wants an owner of the volume to authorize it
	ReasonDeferred          = "deferred"          // a device management profile defers it
	ReasonOSUpgrade         = "osUpgrade"         // it is a newer version of the operating system itself
)

// Reasons returns the closed set of reason codes, with what each means.
func Reasons() map[string]string {
	return map[string]string{
		string(baseline.ReasonRejected): "on the baseline's rejected list", string(baseline.ReasonDelay): "the approval delay is not over",
		string(baseline.ReasonCutoff):      "released after the rule's ApproveUntilDate",
		string(baseline.ReasonNotSecurity): "not a security patch, and the baseline wants only those",
		string(baseline.ReasonFilteredOut): "the baseline's global filters do not take it",
		string(baseline.ReasonNotApproved): "no rule or list of the baseline takes it",
		ReasonHeld:                         "held on the node", ReasonPinned: "kept away by a pin or release setting of the node",
		ReasonPhased: "the publisher's phased rollout has not reached this node", ReasonBlockedByRejected: "needs a rejected package",
		ReasonUnmetDependency: "a dependency cannot be met", ReasonConflict: "conflicts with something installed",
		ReasonNotTrusted: "only unsigned or untrusted repositories offer it", ReasonNotAutomatic: "its archive is used on request only",
		ReasonExcluded: "excluded by the node's configuration", ReasonPriority: "hidden by a repository of higher priority",
		ReasonModule: "belongs to a module stream that is not enabled", ReasonObsoleted: "a package of another name takes its place; only what has the same name is installed",
		ReasonLivePatched: "its fixes are applied to the running kernel; it waits for a reboot",
		ReasonNoAdvisory:  "its repository has no update notices, so it does not count as a security patch",
		ReasonVendor:      "comes from another vendor than what is installed", ReasonEntitlement: "the node's subscription does not give access to it",
		ReasonRetracted: "its publisher has withdrawn it", ReasonSolver: "the package manager keeps it back", ReasonHidden: "an administrator hid it from the Windows Update Agent",
		ReasonInteractive: "it can ask a person at the screen", ReasonRestartFirst: "the node has to be rebooted before anything more can be installed",
		ReasonAuthorization: "macOS wants an owner of the volume to authorize it", ReasonDeferred: "a device management profile of the node defers it",
		ReasonOSUpgrade: "it is a newer version of the operating system itself, which patching does not install",
		ReasonRemoval:   "it would remove an installed package", ReasonDowngrade: "it would put an older version in place of an installed one",
		ReasonListVersion: "it needs another version of a package than the list of patches to install names",
		ReasonBeyondPlan:  "the run was interrupted, and going on would need more than was planned at first",
		ReasonSuperseded:  "the planned version is not offered any more", ReasonDownload: "its package file could not be fetched",
		ReasonInstall: "the package manager could not install it", ReasonBroken: "it was unpacked, but its scripts failed",
		ReasonNoSpace: "too little disk space", ReasonInterrupted: "the run ended before its turn",
		ReasonNotTried: "the run failed before anything was installed",
	}
}

// Package is an installed package with every version that matters: the installed one, newer ones, and for managers
// with advisories the older ones that a notice names. Versions are in ascending order. On Windows it is a KB, on macOS it
// may be an item of Software Update; those are packages also when they are offered and not installed.
type Package struct {
	Name, Arch    string
	Title         string // Windows: of the update
	Installed     string // version text, as in titles; empty: not installed
	InstalledTime time.Time
	Held          string // not empty: held, and by what
	Broken        string // not empty: the package manager left it half way, and how
	Replaced      string // not empty: the package of another name and its version that would take its place
	Waits         bool   // the system says that it is complete only after a reboot
	NotApplicable string // not empty: it is known and not for this node, and why; listed where it is approved
	Versions      []Version
}

// Key is the identity of a package on a node: name.arch.
func (p *Package) Key() string { return p.Name + "." + p.Arch }

// Version is one version of an installed package.
type Version struct {
	Text       string // as in titles: [epoch:]version[-release]
	Order      int    // -1 older than the installed one, 0 the installed one, 1 newer
	Offered    bool   // some enabled repository has it
	Patches    []baseline.Patch
	Repository string // that offers it, as a person would name it
	Kept       string // ReasonPinned, ReasonPhased: the node's manager keeps it away; missing all the same
	Unusable   string // ReasonNotTrusted, ReasonNotAutomatic: never a target
	Detail     string // why, in words; a remark where it is neither kept away nor unusable
	Unadvised  bool   // the repositories that offer it have no update notices at all
	Settled    bool   // kept away, and the manager would take no older version instead
	Fleeting   bool   // replaced several times a day, so that its absence is no fault: virus definitions
}

// Target is a version that should be installed.
type Target struct {
	Package *Package
	Version *Version
}

// Block says why a target cannot be installed.
type Block struct {
	Reason string // one of the Reason constants
	Detail string
}

// Platform is what a node is.
type Platform struct {
	Name, Version string // "Debian GNU/Linux", "12"
	Node          baseline.Node
	Arch          string // of the package manager
}

// Inventory is what a package manager knows.
type Inventory struct {
	Packages     []Package
	Repositories []compliance.Repository
	// NotApplicable holds the facts of versions of packages that are not installed, for counting.
	NotApplicable []Uninstalled
	Degraded      []string
	LivePatching  *LivePatching // what live patches of the running kernel change; nil: nothing
}

// LivePatching is what live patches of the running kernel make of packages.
// Source: AWS Systems Manager User Guide, "Using Kernel Live Patching on Amazon Linux 2 managed nodes".
type LivePatching struct {
	// Covered are newer kernels, by Package.Key and the version's text with a blank between them, all of whose fixes are
	// applied to the running one: to why they count as installed.
	Covered map[string]string
	// Loose are installed live patches, by Package.Key, whose module is not loaded: to why.
	Loose map[string]string
	// IsPatch tells live patches from other packages by their name. They need no reboot.
	IsPatch func(name string) bool
	Report  *compliance.LivePatch
}

// covers reports whether live patches make a version of a kernel count as installed, and why.
func (l *LivePatching) covers(p *Package, version string) (why string, ok bool) {
	if l != nil {
		why, ok = l.Covered[p.Key()+" "+version]
	}
	return why, ok
}

// counting are the changes that count when it is decided about a reboot.
func (l *LivePatching) counting(changed []Change) []Change {
	if l == nil || l.IsPatch == nil {
		return changed
	}
	return slices.DeleteFunc(slices.Clone(changed), func(c Change) bool { return l.IsPatch(c.Name) })
}

// Uninstalled counts packages that are not installed and are offered with the same facts. One approved version of
// such a package is enough for it to count as not applicable.
type Uninstalled struct {
	Patches []baseline.Patch
	Count   int
}

// InventoryRequest says what an inventory is for.
type InventoryRequest struct {
	Platform Platform
	Sources  []baseline.Source // those that apply to the node's product; they replace the node's repositories
	Now      time.Time
	Dates    bool // release times matter: the baseline has delays
	// Catalogue lists updates that are known beyond those that the node is offered: those of a Windows snapshot.
	Catalogue []baseline.SnapshotPatch
}

// RefreshReport says what a refresh of metadata could not do.
type RefreshReport struct {
	Failed []string // one line per repository that was not refreshed, in the manager's words
}

// PackageManager is the seam between the engine and one package manager.
type PackageManager interface {
	Transactor
	// Name is the program's name: "apt".
	Name() string
	// Platform identifies the node.
	Platform(ctx context.Context) (Platform, error)
	// Refresh fetches the metadata of the repositories that req uses. Partial failure is in the report.
	Refresh(ctx context.Context, req InventoryRequest) (RefreshReport, error)
	// Inventory reads what is installed and offered.
	Inventory(ctx context.Context, req InventoryRequest) (*Inventory, error)
	// Check says which targets cannot be installed together, and why. Keys are Package.Key. A Block without reason
	// says that a version that the node keeps away goes in all the same. rejected may be nil.
	Check(ctx context.Context, inv *Inventory, targets []Target, rejected func(baseline.Patch) bool) (map[string]Block, error)
	// Lower finds versions for targets that Check blocks: of those in lower, by Package.Key and newest first, one that
	// goes in beside every target that is not blocked and beside each other, and with which nothing else does not. It
	// leaves out what has none.
	Lower(ctx context.Context, targets []Target, blocks map[string]Block, lower map[string][]*Version, rejected func(baseline.Patch) bool) (map[string]*Version, error)
	// Evidence collects signs that a reboot or restarts are due, and other updaters that run on the node.
	Evidence(ctx context.Context, inv *Inventory) (compliance.Reboot, []string, error)
}

// Error codes of the engine's step that Scan and Install end with.
const (
	CodeFailed      = 1
	CodeDependency  = 2
	CodeUnsupported = 146
)

// Error is a failure of the engine: a reason that operators and machines can go by, and the step's exit code.
type Error struct {
	Reason string // one of Failures
	Code   int
	Err    error
	Hint   string // what to do about it; may be empty
}

// Failures returns the closed set of reasons of a failed run, with what each means.
func Failures() map[string]string {
	return map[string]string{
		"LOCKED":         "another patch run, or the package manager, held its lock for longer than is waited",
		"DISK":           "too little free space for the transaction",
		"UNSUPPORTED_OS": "the system is none that this build can patch",
		"REPO_METADATA":  "the repositories' metadata is missing, damaged or changes all the time: newer versions are not known",
		"OVERRIDE":       "the baseline override or the list of patches to install cannot be used",
		"PARAM_CONFLICT": "parameters of the run exclude each other",
		"STATE_FILE":     "what the engine remembers between runs cannot be used",
		"DEPENDENCY":     "dependencies could not be worked out",
		"INTERRUPTED":    "a crash, a reboot or a cancellation ended the run; the text says what was installed and what was not",
		"PATCH_FAILED":   "some patches could not be installed; each has its reason",
		"READ_ONLY":      "a file system that the package manager writes to is mounted read-only",
		"TIME_BUDGET":    "too little of the step's time was left to begin a transaction",
		"REBOOT":         "the reboot could not be started, or did not happen",
		"FROZEN":         "installs are frozen in this account and region",
		"SNAPSHOT":       "the snapshot of the baseline is not to be had, not allowed or damaged",
		"REPORT":         "the report could not be delivered",
		"FAILED":         "any other failure; the text says which, such as a damaged dpkg status file",
	}
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Line is the first line of a failed step's stderr.
func (e *Error) Line() string {
	return fmt.Sprintf("OAKUM %s: %s (engine code %d)", e.Reason, e.Err, e.Code)
}

// Fail makes an Error with code 1.
func Fail(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Code: CodeFailed, Err: fmt.Errorf(format, args...)}
}
