package window

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"oakum.dev/internal/store"
)

var opened = time.Date(2027, 1, 20, 22, 0, 0, 0, time.UTC)

func execution(tasks ...running) *state {
	x := &state{WindowExecution: store.WindowExecution{ID: "e", WindowID: "w", DueAt: opened, CutoffAt: opened.Add(2 * time.Hour), EndsByAt: opened.Add(3 * time.Hour), Status: inProgress, StartedAt: opened}}
	for i, t := range tasks {
		t.ID, t.Position, t.Status = fmt.Sprint("t", i), int64(i), pending
		for k := range t.Invocations {
			t.Invocations[k] = store.WindowInvocation{ID: fmt.Sprintf("t%d/%d", i, k), TaskExecutionID: t.ID, Position: int64(k), Status: pending}
		}
		x.Tasks = append(x.Tasks, t)
	}
	return x
}

func with(priority int64, invocations int, atEnd bool) running {
	return running{Priority: priority, Type: runCommand, CancelAtEnd: atEnd, Invocations: make([]store.WindowInvocation, invocations)}
}

func started(fx effects) (out []string) {
	for _, v := range fx.Start {
		out = append(out, v.ID)
	}
	return out
}

func finishAs(x *state, id, status, details string, at time.Time) {
	for i := range x.Tasks {
		for k := range x.Tasks[i].Invocations {
			if v := &x.Tasks[i].Invocations[k]; v.ID == id {
				end(&v.Status, &v.StatusDetails, &v.EndedAt, status, details, at)
			}
		}
	}
}

func TestTasksRunByPriority(t *testing.T) {
	x := execution(with(1, 2, false), with(1, 1, false), with(5, 1, false))
	now := opened
	for _, want := range []struct {
		starts []string
		ends   string // then
		as     string
	}{
		{[]string{"t0/0", "t1/0"}, "t0/0", success}, // tasks of one priority beside each other
		{[]string{"t0/1"}, "t1/0", failed},          // the invocations of a task one after the other
		{nil, "t0/1", success},                      // the next priority waits for all of the former
		{[]string{"t2/0"}, "t2/0", success},         // whatever their result
		{nil, "", ""},
	} {
		now = now.Add(time.Minute)
		if got := started(step(x, now)); !slices.Equal(got, want.starts) {
			t.Fatalf("starts %v, want %v", got, want.starts)
		}
		if again := step(x, now); len(again.Start)+len(again.Cancel) != 0 {
			t.Fatalf("again it starts %v", started(again))
		}
		if want.ends != "" {
			finishAs(x, want.ends, want.as, "", now)
		}
	}
	if x.Status != failed || x.EndedAt != now {
		t.Errorf("the execution is %s, ended %s", x.Status, x.EndedAt)
	}
}

func TestCutoff(t *testing.T) {
	for _, tc := range []struct {
		name    string
		atEnd   bool
		starts  []string // after the cutoff, when the first invocation has ended
		cancels int
		task    string
	}{
		{"continue_task_starts_its_further_invocations", false, []string{"t0/1"}, 0, inProgress},
		{"cancel_task_cancels_what_runs", true, nil, 1, timedOut},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := execution(with(1, 2, tc.atEnd), with(2, 1, false))
			step(x, opened)
			late := opened.Add(2 * time.Hour)
			if fx := step(x, late); len(fx.Cancel) != tc.cancels || len(fx.Start) != 0 {
				t.Errorf("at the cutoff %d are cancelled, %v start", len(fx.Cancel), started(fx))
			}
			finishAs(x, "t0/0", success, "Success", late)
			if got := started(step(x, late)); !slices.Equal(got, tc.starts) || x.Tasks[0].Status != tc.task {
				t.Errorf("starts %v, the task is %s; want %v, %s", got, x.Tasks[0].Status, tc.starts, tc.task)
			}
			if n := x.Tasks[1]; n.Status != timedOut || n.StatusDetails != cutOff {
				t.Errorf("the task that had not started is %s: %s", n.Status, n.StatusDetails)
			}
		})
	}
}

func TestErrorLimitStopsFurtherInvocations(t *testing.T) {
	x := execution(with(1, 3, false))
	step(x, opened)
	finishAs(x, "t0/0", failed, errorLimit, opened)
	if got := started(step(x, opened)); len(got) != 0 || x.Status != failed || x.Tasks[0].Invocations[2].StatusDetails != errorLimit {
		t.Errorf("starts %v, the execution is %s, the last invocation %+v", got, x.Status, x.Tasks[0].Invocations[2])
	}
}

// Whatever happens in whatever order, an execution keeps its rules and ends.
//
// proves
func TestExecutionsSimulated(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("OAKUM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	rounds := 20_000
	if testing.Short() {
		rounds = 2_000
	}
	for n := range rounds {
		if !simulate(t, rand.New(rand.NewPCG(seed, uint64(n)))) {
			t.Fatalf("OAKUM_SEED=%d, round %d", seed, n)
		}
	}
}

func simulate(t *testing.T, r *rand.Rand) bool {
	var tasks []running
	for range r.IntN(6) {
		tasks = append(tasks, with(int64(r.IntN(3)), r.IntN(4), r.IntN(2) == 0))
	}
	slices.SortStableFunc(tasks, func(a, b running) int { return int(a.Priority - b.Priority) })
	x := execution(tasks...)
	now := opened
	begun := map[string]bool{}
	terminal := map[string]string{}
	bad := func(format string, args ...any) bool { t.Errorf(format, args...); return false }
	for range 200 {
		fx := step(x, now)
		for _, v := range fx.Start {
			task := x.Tasks[slices.IndexFunc(x.Tasks, func(t running) bool { return t.ID == v.TaskExecutionID })]
			late := !now.Before(x.CutoffAt)
			switch {
			case begun[v.ID]:
				return bad("%s is started twice", v.ID)
			case x.CancelRequested:
				return bad("%s is started although the execution is cancelled", v.ID)
			case late && task.StartedAt.Equal(now):
				return bad("the task of %s starts at the cutoff", v.ID)
			case late && task.CancelAtEnd:
				return bad("%s is started behind the cutoff", v.ID)
			}
			for _, other := range x.Tasks {
				if other.Priority < task.Priority && !ended(other.Status) {
					return bad("%s is started before %s has ended", v.ID, other.ID)
				}
			}
			begun[v.ID] = true
		}
		for _, task := range x.Tasks {
			if n := len(slices.DeleteFunc(slices.Clone(task.Invocations), func(v store.WindowInvocation) bool { return v.Status != inProgress })); n > 1 {
				return bad("%d invocations of %s run beside each other", n, task.ID)
			}
			for _, part := range append([]string{task.ID + " " + task.Status}, parts(task)...) {
				id, status := part[:len(part)-len(last(part))-1], last(part)
				if was := terminal[id]; was != "" && was != status {
					return bad("%s was %s and is %s", id, was, status)
				} else if ended(status) {
					terminal[id] = status
				}
			}
		}
		if ended(x.Status) {
			for _, task := range x.Tasks {
				if !ended(task.Status) || x.Status == success && task.Status != success {
					return bad("the execution is %s, %s is %s", x.Status, task.ID, task.Status)
				}
			}
			return true
		}
		switch r.IntN(12) {
		case 0:
			x.CancelRequested, x.Status = true, cancelling
		case 1, 2:
			now = now.Add(time.Duration(r.IntN(90)) * time.Minute)
		default:
			for i := range x.Tasks {
				for k := range x.Tasks[i].Invocations {
					v := &x.Tasks[i].Invocations[k]
					if (v.Status == inProgress || v.Status == cancelling) && r.IntN(3) == 0 {
						finishAs(x, v.ID, []string{success, success, failed, timedOut, cancelled}[r.IntN(5)], []string{"", "", errorLimit}[r.IntN(3)], now)
					}
				}
			}
		}
		now = now.Add(time.Second)
	}
	return bad("the execution does not end: %+v", x)
}

func parts(task running) (out []string) {
	for _, v := range task.Invocations {
		out = append(out, v.ID+" "+v.Status)
	}
	return out
}

func last(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ' ' {
			return s[i+1:]
		}
	}
	return s
}
