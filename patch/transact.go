package patch

import (
	"context"
	"os"

	"oakum.dev/baseline"
)

// Change is one package that a plan moves from one version to another.
type Change struct {
	Name string `json:"name"`
	Arch string `json:"arch,omitempty"` // of the installed version, else of the new one
	Old  string `json:"old,omitempty"`  // empty: not installed before
	New  string `json:"new,omitempty"`  // empty: removed
	By   string `json:"by,omitempty"`   // with an empty New: the package of another name that takes its place
	// Wanted changes are targets. The others are there because the package manager needs them for a target.
	Wanted bool  `json:"wanted,omitempty"`
	Down   bool  `json:"down,omitempty"`  // New is older than Old
	Held   bool  `json:"held,omitempty"`  // the administrator holds the package
	Auto   bool  `json:"auto,omitempty"`  // it is, or is to be, marked as installed for others
	Own    bool  `json:"own,omitempty"`   // Old is another build of its version than one that repositories have
	Bytes  int64 `json:"bytes,omitempty"` // of the package file
	Grows  int64 `json:"grows,omitempty"` // bytes more on the disk when it is installed; negative: less
}

// Key is the identity of the package on a node: name.arch, as Package.Key.
func (c *Change) Key() string { return c.Name + "." + c.Arch }

// Plan is what a package manager would do, version by version.
type Plan struct {
	Changes []Change
	Refused string // the manager would not do it at all; why, in its words
	Reason  string // with Refused: one of the Reason constants, where the manager's words tell
}

// Wish is what a package manager is asked to do.
type Wish struct {
	Sources []baseline.Source // as in InventoryRequest
	Install []Want
	Remove  []string // names with architecture, as the manager takes them; undo only
	Down    bool     // older versions may be installed; undo only
}

// Want is a package in an exact version.
type Want struct {
	Name, Arch, Version string
	File                string // package file on the node to install from; empty: from a repository
}

// Presence is what the package manager's database says about one package.
type Presence struct {
	Version string
	Broken  string // not empty: left half way, and how
}

// Health is the state of a package manager's database.
type Health struct {
	Broken   map[string]string // Package.Key to how it was left
	Repaired []string          // what was done about it, a line each
	Trouble  []string          // what could not be repaired, in the manager's words
}

// Transactor is the half of a package manager that changes a node. Everything that it starts writes to log, and goes on
// to its end when the context or this process ends.
type Transactor interface {
	// Repair waits until nobody holds the manager's locks and finishes what an interrupted transaction left. What that
	// takes beyond the versions that are there already has to be allowed; nil: nothing is.
	Repair(ctx context.Context, log *os.File, allowed func(Change) bool) (Health, error)
	// Present reads what is installed now, by Package.Key.
	Present(ctx context.Context) (map[string]Presence, error)
	// Plan asks the manager's own solver. It changes nothing. Inventory must have been called before.
	Plan(ctx context.Context, w Wish) (*Plan, error)
	// Room reports what is short of disk space for the plan, or a read-only file system, as an *Error.
	Room(ctx context.Context, w Wish, p *Plan) error
	// Fetch downloads the package files of a plan. What cannot be had is in the map: Change.Key to the reason.
	Fetch(ctx context.Context, w Wish, p *Plan, log *os.File) (map[string]string, error)
	// Keep copies the package files of the old versions of a plan into dir, as far as they are to be had, and returns
	// their names by Change.Key.
	Keep(ctx context.Context, p *Plan, dir string, log *os.File) (map[string]string, error)
	// Apply makes the changes of a plan in one transaction, and no others. unit names it for the service manager. The
	// exit code is not the truth about it: look at Present.
	Apply(ctx context.Context, w Wish, p *Plan, unit string, log *os.File) (Applied, error)
	// Finished tells from a line of Apply's log that a package is done.
	Finished(line string) (name string, ok bool)
	// Settle makes the marks of packages (installed for others, by hand) those of the plan. It may be repeated.
	Settle(ctx context.Context, changes []Change, log *os.File) error
	// Leftovers lists files that wait for a person's decision, such as new versions of changed configuration files.
	Leftovers(ctx context.Context) ([]string, error)
}

// Redoer is a package manager whose database does not tell that a package's scripts were cut off, or never begun. What a
// transaction had put in that was interrupted, or failed, is put in once more, with its scripts.
type Redoer interface {
	// Redo does so with those of the changes that are there, where that is needed. log is what the transaction wrote to. It
	// returns what was in the way, a line each. It may be repeated.
	Redo(ctx context.Context, changes []Change, log *os.File) ([]string, error)
}

// Applied is how a transaction ended.
type Applied struct {
	Code   int
	Text   string            // the manager's complaint, one line; empty when there is none
	Reason string            // with a Text: one of the Reason constants, where the manager's words tell
	Faults map[string]string // package name to what went wrong with it
}
