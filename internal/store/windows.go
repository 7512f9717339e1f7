package store

import "time"

// Window is a maintenance window; Body is its definition.
type Window struct {
	ID         string
	Name       string
	Enabled    bool
	Body       string // JSON
	CreatedAt  time.Time
	ModifiedAt time.Time
	AnchorAt   time.Time // of the schedule's last change: rates count from it, and offsets do not reach behind it
	NextAt     time.Time // zero: none
}

func (w *Window) fields() []any {
	return []any{&w.ID, &w.Name, &w.Enabled, &w.Body, instant{&w.CreatedAt}, instant{&w.ModifiedAt}, instant{&w.AnchorAt}, instant{&w.NextAt}}
}

const windowColumns = `id, name, enabled, body, created_at, modified_at, anchor_at, next_at`

// InsertWindow stores a new maintenance window.
func (tx *Tx) InsertWindow(sc Scope, w Window) error {
	_, err := tx.exec(`INSERT INTO maintenance_window (account, region, `+windowColumns+`) VALUES (`+placeholders(1, 10)+`)`,
		sc.Account, sc.Region, w.ID, w.Name, w.Enabled, w.Body, at(w.CreatedAt), at(w.ModifiedAt), at(w.AnchorAt), at(w.NextAt))
	return err
}

// Window reads a maintenance window, or ErrNotFound.
func (tx *Tx) Window(sc Scope, id string) (Window, error) {
	return one[Window](tx, `SELECT `+windowColumns+` FROM maintenance_window WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// LockWindow is Window for a change that follows: everything about a window and its executions is serialised on its row.
func (tx *Tx) LockWindow(sc Scope, id string) (Window, error) {
	return one[Window](tx, `SELECT `+windowColumns+` FROM maintenance_window WHERE account = $1 AND region = $2 AND id = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, id)
}

// SaveWindow stores a window's new state.
func (tx *Tx) SaveWindow(sc Scope, w Window) error {
	_, err := tx.exec(`UPDATE maintenance_window SET name = $1, enabled = $2, body = $3, modified_at = $4, anchor_at = $5, next_at = $6
		WHERE account = $7 AND region = $8 AND id = $9`, w.Name, w.Enabled, w.Body, at(w.ModifiedAt), at(w.AnchorAt), at(w.NextAt), sc.Account, sc.Region, w.ID)
	return err
}

// DeleteWindow removes a window with its targets and tasks; its executions stay.
func (tx *Tx) DeleteWindow(sc Scope, id string) error {
	for _, q := range []string{
		`DELETE FROM window_part WHERE account = $1 AND region = $2 AND window_id = $3`,
		`DELETE FROM maintenance_window WHERE account = $1 AND region = $2 AND id = $3`,
	} {
		if _, err := tx.exec(q, sc.Account, sc.Region, id); err != nil {
			return err
		}
	}
	return nil
}

// WindowCount counts the windows of the scope.
func (tx *Tx) WindowCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM maintenance_window WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}

// Windows lists windows in the order of creation, after the given creation time and id.
func (tx *Tx) Windows(sc Scope, createdAfter time.Time, idAfter string, limit int) ([]Window, error) {
	return all[Window](tx, `SELECT `+windowColumns+` FROM maintenance_window WHERE account = $1 AND region = $2 AND (created_at, id) > ($3, $4)
		ORDER BY created_at, id LIMIT $5`, sc.Account, sc.Region, at(createdAfter), idAfter, limit)
}

// Kinds of what is registered with a window.
const (
	WindowTarget = "target"
	WindowTask   = "task"
)

// WindowPart is a target or a task that is registered with a window; Body is its registration.
type WindowPart struct {
	WindowID  string
	Kind      string // WindowTarget or WindowTask
	ID        string
	Body      string // JSON
	CreatedAt time.Time
}

func (p *WindowPart) fields() []any {
	return []any{&p.WindowID, &p.Kind, &p.ID, &p.Body, instant{&p.CreatedAt}}
}

const windowPartColumns = `window_id, kind, id, body, created_at`

// InsertWindowPart registers a target or a task with a window.
func (tx *Tx) InsertWindowPart(sc Scope, p WindowPart) error {
	_, err := tx.exec(`INSERT INTO window_part (account, region, `+windowPartColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		sc.Account, sc.Region, p.WindowID, p.Kind, p.ID, p.Body, at(p.CreatedAt))
	return err
}

// SaveWindowPart stores a new registration.
func (tx *Tx) SaveWindowPart(sc Scope, p WindowPart) error {
	_, err := tx.exec(`UPDATE window_part SET body = $1 WHERE account = $2 AND region = $3 AND window_id = $4 AND kind = $5 AND id = $6`,
		p.Body, sc.Account, sc.Region, p.WindowID, p.Kind, p.ID)
	return err
}

// DeleteWindowPart takes a registration away and reports whether it was there.
func (tx *Tx) DeleteWindowPart(sc Scope, windowID, kind, id string) (bool, error) {
	n, err := tx.exec(`DELETE FROM window_part WHERE account = $1 AND region = $2 AND window_id = $3 AND kind = $4 AND id = $5`, sc.Account, sc.Region, windowID, kind, id)
	return n > 0, err
}

// WindowPart reads a registration, or ErrNotFound.
func (tx *Tx) WindowPart(sc Scope, windowID, kind, id string) (WindowPart, error) {
	return one[WindowPart](tx, `SELECT `+windowPartColumns+` FROM window_part WHERE account = $1 AND region = $2 AND window_id = $3 AND kind = $4 AND id = $5`,
		sc.Account, sc.Region, windowID, kind, id)
}

// WindowParts lists what is registered of a kind with a window, by id.
func (tx *Tx) WindowParts(sc Scope, windowID, kind string) ([]WindowPart, error) {
	return all[WindowPart](tx, `SELECT `+windowPartColumns+` FROM window_part WHERE account = $1 AND region = $2 AND window_id = $3 AND kind = $4 ORDER BY id`,
		sc.Account, sc.Region, windowID, kind)
}

// WindowExecution is one run of a window.
type WindowExecution struct {
	ID              string
	WindowID        string
	DueAt           time.Time // the instant of the schedule: a window runs once for each
	CutoffAt        time.Time
	EndsByAt        time.Time
	Status          string
	StatusDetails   string
	StartedAt       time.Time
	EndedAt         time.Time // zero: it runs
	CancelRequested bool
}

func (e *WindowExecution) fields() []any {
	return []any{
		&e.ID, &e.WindowID,
		instant{&e.DueAt},
		instant{&e.CutoffAt},
		instant{&e.EndsByAt},
		&e.Status, &e.StatusDetails,
		instant{&e.StartedAt},
		instant{&e.EndedAt},
		&e.CancelRequested,
	}
}

const windowExecutionColumns = `id, window_id, due_at, cutoff_at, ends_by_at, status, status_details, started_at, ended_at, cancel_requested`

// InsertWindowExecution stores a new execution and reports false when the window has one for that instant already.
func (tx *Tx) InsertWindowExecution(sc Scope, e WindowExecution) (bool, error) {
	n, err := tx.exec(`INSERT INTO window_execution (account, region, `+windowExecutionColumns+`) VALUES (`+placeholders(1, 12)+`)
		ON CONFLICT (account, region, window_id, due_at) DO NOTHING`,
		sc.Account, sc.Region, e.ID, e.WindowID, at(e.DueAt), at(e.CutoffAt), at(e.EndsByAt), e.Status, e.StatusDetails, at(e.StartedAt), at(e.EndedAt), e.CancelRequested)
	return n == 1, err
}

// WindowExecution reads an execution, or ErrNotFound.
func (tx *Tx) WindowExecution(sc Scope, id string) (WindowExecution, error) {
	return one[WindowExecution](tx, `SELECT `+windowExecutionColumns+` FROM window_execution WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// LockWindowExecution is WindowExecution for a change that follows.
func (tx *Tx) LockWindowExecution(sc Scope, id string) (WindowExecution, error) {
	return one[WindowExecution](tx, `SELECT `+windowExecutionColumns+` FROM window_execution WHERE account = $1 AND region = $2 AND id = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, id)
}

// SaveWindowExecution stores an execution's new state.
func (tx *Tx) SaveWindowExecution(sc Scope, e WindowExecution) error {
	_, err := tx.exec(`UPDATE window_execution SET status = $1, status_details = $2, ended_at = $3, cancel_requested = $4 WHERE account = $5 AND region = $6 AND id = $7`,
		e.Status, e.StatusDetails, at(e.EndedAt), e.CancelRequested, sc.Account, sc.Region, e.ID)
	return err
}

// RunningWindowExecution is the execution of a window that has not ended, or ErrNotFound.
func (tx *Tx) RunningWindowExecution(sc Scope, windowID string) (WindowExecution, error) {
	return one[WindowExecution](tx, `SELECT `+windowExecutionColumns+` FROM window_execution
		WHERE account = $1 AND region = $2 AND window_id = $3 AND ended_at = 0 LIMIT 1`, sc.Account, sc.Region, windowID)
}

// WindowExecutions lists the executions of a window, newest first, before the given start and id.
func (tx *Tx) WindowExecutions(sc Scope, windowID string, startedBefore time.Time, idBefore string, limit int) ([]WindowExecution, error) {
	return all[WindowExecution](tx, `SELECT `+windowExecutionColumns+` FROM window_execution
		WHERE account = $1 AND region = $2 AND window_id = $3 AND (started_at, id) < ($4, $5) ORDER BY started_at DESC, id DESC LIMIT $6`,
		sc.Account, sc.Region, windowID, at(startedBefore), idBefore, limit)
}

// WindowTaskExecution is one task in one execution; Body is its registration as it was when the window opened.
type WindowTaskExecution struct {
	ExecutionID   string
	ID            string
	Position      int64
	TaskID        string
	Body          string // JSON
	Status        string
	StatusDetails string
	StartedAt     time.Time // zero: not yet
	EndedAt       time.Time
}

func (t *WindowTaskExecution) fields() []any {
	return []any{&t.ExecutionID, &t.ID, &t.Position, &t.TaskID, &t.Body, &t.Status, &t.StatusDetails, instant{&t.StartedAt}, instant{&t.EndedAt}}
}

const windowTaskExecutionColumns = `execution_id, id, position, task_id, body, status, status_details, started_at, ended_at`

// InsertWindowTaskExecution stores a task of an execution.
func (tx *Tx) InsertWindowTaskExecution(sc Scope, t WindowTaskExecution) error {
	_, err := tx.exec(`INSERT INTO window_task_execution (account, region, `+windowTaskExecutionColumns+`) VALUES (`+placeholders(1, 11)+`)`,
		sc.Account, sc.Region, t.ExecutionID, t.ID, t.Position, t.TaskID, t.Body, t.Status, t.StatusDetails, at(t.StartedAt), at(t.EndedAt))
	return err
}

// SaveWindowTaskExecution stores its new state.
func (tx *Tx) SaveWindowTaskExecution(sc Scope, t WindowTaskExecution) error {
	_, err := tx.exec(`UPDATE window_task_execution SET status = $1, status_details = $2, started_at = $3, ended_at = $4
		WHERE account = $5 AND region = $6 AND execution_id = $7 AND id = $8`, t.Status, t.StatusDetails, at(t.StartedAt), at(t.EndedAt), sc.Account, sc.Region, t.ExecutionID, t.ID)
	return err
}

// WindowTaskExecutions lists the tasks of an execution in their order.
func (tx *Tx) WindowTaskExecutions(sc Scope, executionID string) ([]WindowTaskExecution, error) {
	return all[WindowTaskExecution](tx, `SELECT `+windowTaskExecutionColumns+` FROM window_task_execution
		WHERE account = $1 AND region = $2 AND execution_id = $3 ORDER BY position`, sc.Account, sc.Region, executionID)
}

// WindowInvocation is one Run Command, or one refusal of it, of a task execution; Body is what was asked for.
type WindowInvocation struct {
	ExecutionID     string
	TaskExecutionID string
	ID              string
	Position        int64
	Body            string // JSON
	CommandID       string // empty: not sent
	Status          string
	StatusDetails   string
	StartedAt       time.Time
	EndedAt         time.Time
}

func (v *WindowInvocation) fields() []any {
	return []any{
		&v.ExecutionID, &v.TaskExecutionID, &v.ID, &v.Position, &v.Body, &v.CommandID, &v.Status, &v.StatusDetails, instant{&v.StartedAt}, instant{&v.EndedAt},
	}
}

const windowInvocationColumns = `execution_id, task_execution_id, id, position, body, command_id, status, status_details, started_at, ended_at`

// InsertWindowInvocation stores an invocation.
func (tx *Tx) InsertWindowInvocation(sc Scope, v WindowInvocation) error {
	_, err := tx.exec(`INSERT INTO window_invocation (account, region, `+windowInvocationColumns+`) VALUES (`+placeholders(1, 12)+`)`,
		sc.Account, sc.Region, v.ExecutionID, v.TaskExecutionID, v.ID, v.Position, v.Body, v.CommandID, v.Status, v.StatusDetails, at(v.StartedAt), at(v.EndedAt))
	return err
}

// SaveWindowInvocation stores its new state.
func (tx *Tx) SaveWindowInvocation(sc Scope, v WindowInvocation) error {
	_, err := tx.exec(`UPDATE window_invocation SET body = $1, command_id = $2, status = $3, status_details = $4, started_at = $5, ended_at = $6
		WHERE account = $7 AND region = $8 AND execution_id = $9 AND task_execution_id = $10 AND id = $11`,
		v.Body, v.CommandID, v.Status, v.StatusDetails, at(v.StartedAt), at(v.EndedAt), sc.Account, sc.Region, v.ExecutionID, v.TaskExecutionID, v.ID)
	return err
}

// WindowInvocations lists the invocations of an execution by task and order.
func (tx *Tx) WindowInvocations(sc Scope, executionID string) ([]WindowInvocation, error) {
	return all[WindowInvocation](tx, `SELECT `+windowInvocationColumns+` FROM window_invocation
		WHERE account = $1 AND region = $2 AND execution_id = $3 ORDER BY task_execution_id, position`, sc.Account, sc.Region, executionID)
}

// WorkSkipped is the kind that the work item of a maintenance window gets in a restored database when its instant has passed:
// the original may have run it.
const WorkSkipped = "window-skip"

// forgetWindows makes sure that a restored database runs nothing of maintenance windows that the original may have run
// already: executions under way end, and instants that have passed are skipped.
func (tx *Tx) forgetWindows() error {
	now := at(tx.now)
	for _, table := range []string{"window_execution", "window_task_execution", "window_invocation"} {
		if _, err := tx.exec(`UPDATE `+table+` SET status = 'CANCELLED', status_details = 'The server was restored from a copy.', ended_at = $1 WHERE ended_at = 0`, now); err != nil {
			return err
		}
	}
	_, err := tx.exec(`UPDATE work_item SET kind = $1 WHERE kind = 'window-open' AND due_at <= $2`, WorkSkipped, now)
	return err
}

// DeleteOldWindowExecutions removes executions that ended and started before the given time, with all that they did, at
// most limit. It returns how many.
func (tx *Tx) DeleteOldWindowExecutions(before time.Time, limit int) (int64, error) {
	old, err := all[oldExecution](tx, `SELECT account, region, id FROM window_execution WHERE started_at < $1 AND ended_at > 0 ORDER BY started_at LIMIT $2`, at(before), limit)
	if err != nil {
		return 0, err
	}
	for _, k := range old {
		for _, q := range []string{
			`DELETE FROM window_invocation WHERE account = $1 AND region = $2 AND execution_id = $3`,
			`DELETE FROM window_task_execution WHERE account = $1 AND region = $2 AND execution_id = $3`,
			`DELETE FROM window_execution WHERE account = $1 AND region = $2 AND id = $3`,
		} {
			if _, err := tx.exec(q, k.Account, k.Region, k.ID); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(old)), nil
}

type oldExecution struct{ Account, Region, ID string }

func (o *oldExecution) fields() []any { return []any{&o.Account, &o.Region, &o.ID} }
