package patch

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"oakum.dev/patch/journal"
)

// How a run ended.
const (
	OutcomeSuccess     = "Success"
	OutcomeFailed      = "Failed"
	OutcomeInterrupted = "Interrupted"
)

// Operations of runs.
const (
	OperationInstall = "Install"
	OperationUndo    = "Undo"
)

// Phases of a run, in their order.
const (
	PhaseStarted     = "started"     // nothing has been changed
	PhaseTransaction = "transaction" // the package manager is at work, or was stopped at it
	PhaseInstalled   = "installed"   // all transactions are over
	PhaseReboot      = "reboot"      // it waits for a reboot
	PhaseEnded       = "ended"
)

const (
	maxResumes   = 3
	keptRuns     = 50
	journalSpace = 1 << 20 // kept free for the journal, so that a full disk does not silence it
)

// Run is the record of one install or undo on this node. It is what the run's journal adds up to.
type Run struct {
	ID           string            `json:"id"`
	Operation    string            `json:"operation"`
	ExecutionID  string            `json:"executionId,omitempty"` // of the command that asked for it
	Step         string            `json:"step,omitempty"`        // of the command's document
	BaselineID   string            `json:"baselineId,omitempty"`
	Baseline     string            `json:"baseline,omitempty"`
	SnapshotID   string            `json:"snapshotId,omitempty"`
	RebootOption string            `json:"rebootOption,omitempty"`
	List         string            `json:"installOverrideList,omitempty"`
	Undoes       string            `json:"undoes,omitempty"` // id of the run that an undo takes back
	StartedAt    time.Time         `json:"startedAt"`
	EndedAt      time.Time         `json:"endedAt,omitzero"`
	Phase        string            `json:"phase"`
	Boot         string            `json:"bootId,omitempty"` // during which it was last at work
	Resumes      int               `json:"resumes,omitempty"`
	Transactions int               `json:"transactions,omitempty"`
	Planned      []Change          `json:"planned,omitempty"`
	Changed      []Change          `json:"changed,omitempty"` // what was made of it; set when the run has ended
	Failed       map[string]Block  `json:"failed,omitempty"`  // by Package.Key
	Kept         map[string]string `json:"kept,omitempty"`    // package files of old versions in the run's folder, by Package.Key
	Reboots      int               `json:"reboots,omitempty"`
	Outcome      string            `json:"outcome,omitempty"`
	Text         string            `json:"text,omitempty"` // why it ended so, a sentence
	Code         int               `json:"code,omitempty"` // of the engine
	Restarts     []Restart         `json:"restarts,omitempty"`
	Dir          string            `json:"-"`

	open bool // a transaction was begun whose end is not recorded
}

// Restart is a unit that was restarted because it used replaced files.
type Restart struct {
	Unit    string `json:"unit"`
	Outcome string `json:"outcome"` // "restarted", "skipped: ...", "failed: ..."
}

// entry is one record of a run's journal. Kind is a phase, or one of the kinds below.
type entry struct {
	Kind     string            `json:"kind"`
	At       time.Time         `json:"at"`
	Boot     string            `json:"boot,omitempty"`
	Run      *Run              `json:"run,omitempty"`  // started
	Plan     []Change          `json:"plan,omitempty"` // planned
	N        int               `json:"n,omitempty"`
	Code     int               `json:"code,omitempty"`
	Text     string            `json:"text,omitempty"`
	Outcome  string            `json:"outcome,omitempty"`
	Changed  []Change          `json:"changed,omitempty"`
	Failed   map[string]Block  `json:"failed,omitempty"`
	Kept     map[string]string `json:"kept,omitempty"`
	Restarts []Restart         `json:"restarts,omitempty"`
}

const (
	kindPlanned  = "planned"
	kindOver     = "transaction-over"
	kindResumed  = "resumed"
	kindRestarts = "restarts"
)

func (r *Run) apply(e entry) {
	switch e.Kind {
	case PhaseStarted:
		dir := r.Dir
		if e.Run != nil {
			*r = *e.Run
		}
		r.Dir, r.Phase, r.StartedAt = dir, PhaseStarted, e.At
	case kindPlanned:
		for _, c := range e.Plan {
			if i := slices.IndexFunc(r.Planned, func(x Change) bool { return x.Key() == c.Key() }); i < 0 {
				r.Planned = append(r.Planned, c)
			}
		}
		if e.Kept != nil {
			r.Kept = e.Kept
		}
	case PhaseTransaction:
		r.Phase = PhaseTransaction
		r.Transactions = max(r.Transactions, e.N)
		r.open = true
	case kindOver:
		r.open = false
	case kindResumed:
		r.Resumes++
	case kindRestarts:
		r.Restarts = e.Restarts
	case PhaseInstalled:
		r.Phase = PhaseInstalled
	case PhaseReboot:
		r.Phase = PhaseReboot
		r.Reboots++
		r.Code = e.Code
	case PhaseEnded:
		r.Phase, r.EndedAt, r.Outcome, r.Text, r.Code, r.Changed = PhaseEnded, e.At, e.Outcome, e.Text, e.Code, e.Changed
	}
	for _, c := range e.Changed { // what was refused at first may have gone in later
		delete(r.Failed, c.Key())
	}
	for k, b := range e.Failed {
		if r.Failed == nil {
			r.Failed = map[string]Block{}
		}
		r.Failed[k] = b
	}
	if e.Boot != "" {
		r.Boot = e.Boot
	}
}

// liveRun is a run that this process is at work on.
type liveRun struct {
	Run
	j   *journal.Journal
	log *os.File
	now func() time.Time
}

// append makes an entry durable and applies it. Its error means that the disk failed; nothing more may be started.
func (r *liveRun) append(e entry) error {
	e.At = r.now().UTC()
	if err := r.j.AppendJSON(e); err != nil {
		return diskError("write the run's journal", err)
	}
	r.apply(e)
	return nil
}

func (r *liveRun) close() {
	if r.Phase == PhaseEnded {
		_ = r.j.Release() // space only
	}
	_ = r.j.Close()   // every record is synced
	_ = r.log.Close() // a log
	if r.Phase == PhaseEnded {
		tidyLog(r.LogPath())
	}
}

// tidyLog makes lines of what progress bars wrote, so that the log can be read and searched. A log that cannot be
// rewritten stays as it is.
func tidyLog(name string) {
	b, err := os.ReadFile(name)
	if err != nil || !bytes.ContainsRune(b, '\r') {
		return
	}
	_ = journal.WriteFile(name, []byte(Lines(string(b))), 0o600) // it is for people
}

// Lines ends a line wherever a text only returns the carriage.
func Lines(text string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
}

func (r *liveRun) note(format string, args ...any) {
	fmt.Fprintf(r.log, "oakum: "+format+"\n", args...) // a log: a full disk must not end the run
}

func runsDir(stateDir string) string { return filepath.Join(stateDir, "runs") }

// LogPath is where the package manager's words of the run are.
func (r *Run) LogPath() string { return filepath.Join(r.Dir, "log") }

// newRun makes the folder of a run with its first record.
func newRun(stateDir string, first Run, boot string, now func() time.Time) (*liveRun, error) {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	at := now().UTC()
	first.ID = "run-" + at.Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
	dir := filepath.Join(runsDir(stateDir), first.ID)
	if err := os.MkdirAll(runsDir(stateDir), 0o700); err != nil {
		return nil, diskError("make the folder of runs", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, diskError("make the run's folder", err)
	}
	r, err := openRun(dir, now)
	if err == nil {
		err = journal.SyncDir(runsDir(stateDir))
	}
	if err == nil {
		err = r.j.Reserve(journalSpace)
	}
	if err == nil {
		first.StartedAt = at
		err = r.append(entry{Kind: PhaseStarted, Boot: boot, Run: &first})
	}
	if err != nil {
		if r != nil {
			r.close()
		}
		return nil, errors.Join(diskError("begin the run's journal", err), os.RemoveAll(dir))
	}
	return r, nil
}

// openRun opens a run's journal for writing.
func openRun(dir string, now func() time.Time) (*liveRun, error) {
	r := &liveRun{Run: Run{ID: filepath.Base(dir), Dir: dir}, now: now}
	j, records, err := journal.Open(filepath.Join(dir, "journal"))
	if err != nil {
		return nil, err
	}
	r.j = j
	if r.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		_ = j.Close() // the first error matters
		return nil, err
	}
	r.replay(records)
	return r, nil
}

func (r *Run) replay(records [][]byte) {
	for _, b := range records {
		var e entry
		if json.Unmarshal(b, &e) == nil {
			r.apply(e)
		}
	}
}

// LoadRun reads the record of one run in a state folder. The error is fs.ErrNotExist when there is none.
func LoadRun(stateDir, id string) (*Run, error) {
	if id != filepath.Base(id) || id == "" || id[0] == '.' {
		return nil, fs.ErrNotExist
	}
	dir := filepath.Join(runsDir(stateDir), id)
	records, err := journal.Read(filepath.Join(dir, "journal"))
	if err != nil {
		return nil, err
	}
	r := &Run{ID: id, Dir: dir}
	r.replay(records)
	if r.Phase == "" {
		return nil, fs.ErrNotExist // a crash before the first record: nothing had begun
	}
	return r, nil
}

// Runs lists the runs of a state folder, newest first.
func Runs(stateDir string) ([]Run, error) {
	entries, err := os.ReadDir(runsDir(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Run
	for _, e := range entries {
		r, err := LoadRun(stateDir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Run) int { return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.ID, a.ID)) })
	return out, nil
}

// pruneRuns removes the records of old runs that have ended, and of such that never began.
func pruneRuns(stateDir string) error {
	runs, err := Runs(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	known := map[string]bool{}
	for i, r := range runs {
		known[r.ID] = true
		if i >= keptRuns && r.Phase == PhaseEnded {
			errs = append(errs, os.RemoveAll(r.Dir))
		}
	}
	entries, err := os.ReadDir(runsDir(stateDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(runsDir(stateDir), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// diskError gives an error of the file system its reason.
func diskError(what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Fail("DISK", "%s: %w", what, err)
	case errors.Is(err, syscall.EROFS):
		return Fail("READ_ONLY", "%s: %w", what, err)
	}
	return Fail("FAILED", "%s: %w", what, err)
}
