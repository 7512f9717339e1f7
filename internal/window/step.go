package window

import (
	"cmp"
	"slices"
	"time"

	"oakum.dev/internal/store"
)

// Statuses of executions, their tasks and invocations. Source: AWS Systems Manager API reference,
// MaintenanceWindowExecution.
const (
	pending     = "PENDING"
	inProgress  = "IN_PROGRESS"
	success     = "SUCCESS"
	failed      = "FAILED"
	timedOut    = "TIMED_OUT"
	cancelling  = "CANCELLING"
	cancelled   = "CANCELLED"
	overlapping = "SKIPPED_OVERLAPPING"
)

// rank orders the ends of parts by how bad they are: the whole ends like the worst.
var rank = map[string]int{success: 0, cancelled: 1, timedOut: 2, failed: 3}

func ended(status string) bool {
	_, ok := rank[status]
	return ok || status == overlapping
}

// Reasons that a status has, as people read them.
const (
	noTasks     = "No tasks to execute."
	missed      = "Missed: server not available"
	restored    = "Missed: the server was restored from a copy, and its original may have run this"
	overlaps    = "The previous execution of the maintenance window has not ended."
	cutOff      = "Window cutoff reached before the task started"
	cutShort    = "Window cutoff reached before the task had ended"
	errorLimit  = "The task's error limit was reached."
	unsupported = "Task type %s is not supported by this Oakum server"
)

// runCommand is the type of the tasks that a server runs.
const runCommand = "RUN_COMMAND"

// running is a task of an execution, as far as step goes by it.
type running struct {
	store.WindowTaskExecution
	Priority    int64
	Type        string
	CancelAtEnd bool // CutoffBehavior is CANCEL_TASK
	Invocations []store.WindowInvocation
}

// state is an execution with all that it does.
type state struct {
	store.WindowExecution
	Tasks []running // in the order of their priorities
}

// clone is a copy that does not change with x.
func (x *state) clone() *state {
	out := &state{x.WindowExecution, slices.Clone(x.Tasks)}
	for i := range out.Tasks {
		out.Tasks[i].Invocations = slices.Clone(out.Tasks[i].Invocations)
	}
	return out
}

// effects are what has to happen in the transaction of the new state.
type effects struct {
	Start  []*store.WindowInvocation // commands to send
	Cancel []*store.WindowInvocation // commands to cancel
}

// step is the state machine of an execution: tasks of one priority run beside each other, those of the next when all of
// the former have ended, whatever their result; the invocations of a task run one after the other. From the cutoff on
// nothing starts that has not started, unless a task says that it goes on. It is pure, and calling it again changes
// nothing until something else has. Source: AWS Systems Manager User Guide, "Maintenance windows".
func step(x *state, now time.Time) effects {
	var fx effects
	if ended(x.Status) {
		return fx
	}
	late := !now.Before(x.CutoffAt)
	for i := range x.Tasks {
		t := &x.Tasks[i]
		switch {
		case ended(t.Status):
		case x.CancelRequested:
			fx.stop(t, cancelled, "", now)
		case late && t.Status == pending:
			end(&t.Status, &t.StatusDetails, &t.EndedAt, timedOut, cutOff, now)
			for k := range t.Invocations {
				fx.drop(&t.Invocations[k], timedOut, cutOff, now)
			}
		case late && t.CancelAtEnd:
			fx.stop(t, timedOut, cutShort, now)
		}
	}
	for {
		first := slices.IndexFunc(x.Tasks, func(t running) bool { return !ended(t.Status) })
		if first < 0 {
			break
		}
		waits := false
		for i := range x.Tasks {
			t := &x.Tasks[i]
			if t.Priority == x.Tasks[first].Priority && !ended(t.Status) {
				fx.task(t, now)
				waits = waits || !ended(t.Status)
			}
		}
		if waits {
			return fx
		}
	}
	worst, details := success, ""
	for i := range x.Tasks {
		if t := &x.Tasks[i]; rank[t.Status] > rank[worst] {
			worst, details = t.Status, t.StatusDetails
		}
	}
	switch {
	case x.CancelRequested:
		worst, details = cancelled, ""
	case len(x.Tasks) == 0:
		details = noTasks
	}
	end(&x.Status, &x.StatusDetails, &x.EndedAt, worst, details, now)
	return fx
}

// task moves one task of the current priority on.
func (fx *effects) task(t *running, now time.Time) {
	if t.Status == pending {
		t.Status, t.StartedAt = inProgress, now
	}
	busy, over := false, ""
	for i := range t.Invocations {
		v := &t.Invocations[i]
		switch {
		case over != "":
			fx.drop(v, failed, over, now)
		case ended(v.Status):
			if v.StatusDetails == errorLimit {
				over = errorLimit
			}
		case v.Status == pending && !busy && t.Status == inProgress:
			v.Status, v.StartedAt, busy = inProgress, now, true
			fx.Start = append(fx.Start, v)
		default:
			busy = true
		}
	}
	if busy {
		return
	}
	status, details := success, ""
	if t.Status == cancelling {
		status = cancelled
	}
	for i := range t.Invocations {
		if v := &t.Invocations[i]; rank[v.Status] > rank[status] {
			status, details = v.Status, v.StatusDetails
		}
	}
	end(&t.Status, &t.StatusDetails, &t.EndedAt, status, cmp.Or(t.StatusDetails, details), now)
}

// stop ends a task as far as it can be ended: what was not sent is dropped, what runs is cancelled and waited for.
func (fx *effects) stop(t *running, status, details string, now time.Time) {
	waits := false
	for i := range t.Invocations {
		v := &t.Invocations[i]
		switch {
		case ended(v.Status):
		case v.Status == pending:
			fx.drop(v, status, details, now)
		default:
			if v.Status == inProgress {
				v.Status = cancelling
				fx.Cancel = append(fx.Cancel, v)
			}
			if status == timedOut { // is not waited for
				fx.drop(v, status, details, now)
			} else {
				waits = true
			}
		}
	}
	if !waits {
		end(&t.Status, &t.StatusDetails, &t.EndedAt, status, details, now)
		return
	}
	t.Status = cancelling
}

func (fx *effects) drop(v *store.WindowInvocation, status, details string, now time.Time) {
	if !ended(v.Status) {
		end(&v.Status, &v.StatusDetails, &v.EndedAt, status, details, now)
	}
}

func end(status, details *string, at *time.Time, as, why string, now time.Time) {
	*status, *details, *at = as, why, now
}
