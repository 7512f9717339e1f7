package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ec2messages"
	wire "oakum.dev/wire/ssm"
)

// nightly makes a window that opens an hour from now, by the server's clock, with the nodes of a patch group as target.
func nightly(t *testing.T, s *servertest.Server, change func(*ssm.CreateMaintenanceWindowInput)) (c *ssm.Client, window, target *string, due time.Time) {
	t.Helper()
	c = s.SSM(s.Admin)
	due = s.Now().UTC().Add(time.Hour).Truncate(time.Second)
	in := &ssm.CreateMaintenanceWindowInput{
		Name: str("nightly"), Schedule: str("at(" + due.Format("2006-01-02T15:04:05") + ")"), Duration: aws.Int32(3), Cutoff: 1, Tags: []types.Tag{{Key: str("team"), Value: str("ops")}},
	}
	if change != nil {
		change(in)
	}
	window = must[*ssm.CreateMaintenanceWindowOutput](t)(c.CreateMaintenanceWindow(t.Context(), in)).WindowId
	target = must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(t.Context(), &ssm.RegisterTargetWithMaintenanceWindowInput{
		WindowId: window, ResourceType: types.MaintenanceWindowResourceTypeInstance, OwnerInformation: str("ops"),
		Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"web"}}},
	})).WindowTargetId
	return c, window, target, due
}

func register(t *testing.T, c *ssm.Client, window, target *string, document string, priority int32, parameters map[string][]string, change func(*ssm.RegisterTaskWithMaintenanceWindowInput)) *string {
	t.Helper()
	in := &ssm.RegisterTaskWithMaintenanceWindowInput{
		WindowId: window, TaskArn: &document, TaskType: types.MaintenanceWindowTaskTypeRunCommand, Priority: &priority, MaxConcurrency: str("2"), MaxErrors: str("0"),
		Targets:                  []types.Target{{Key: str("WindowTargetIds"), Values: []string{*target}}},
		TaskInvocationParameters: &types.MaintenanceWindowTaskInvocationParameters{RunCommand: &types.MaintenanceWindowRunCommandParameters{Parameters: parameters}},
	}
	if change != nil {
		change(in)
	}
	return must[*ssm.RegisterTaskWithMaintenanceWindowOutput](t)(c.RegisterTaskWithMaintenanceWindow(t.Context(), in)).WindowTaskId
}

func executions(t *testing.T, c *ssm.Client, window *string) []types.MaintenanceWindowExecution {
	t.Helper()
	return must[*ssm.DescribeMaintenanceWindowExecutionsOutput](t)(c.DescribeMaintenanceWindowExecutions(t.Context(), &ssm.DescribeMaintenanceWindowExecutionsInput{WindowId: window})).WindowExecutions
}

// until waits for the newest execution of a window to be as it should.
func until(t *testing.T, c *ssm.Client, window *string, status types.MaintenanceWindowExecutionStatus) types.MaintenanceWindowExecution {
	t.Helper()
	var list []types.MaintenanceWindowExecution
	for range 200 {
		if list = executions(t, c, window); len(list) > 0 && list[0].Status == status {
			return list[0]
		}
		time.Sleep(50 * time.Millisecond) // the server's own work
	}
	t.Fatalf("executions = %+v, want the newest %s", list, status)
	return types.MaintenanceWindowExecution{}
}

// inbox is what a node was offered and a test has not looked at yet.
type inbox struct {
	*servertest.Node
	list []ec2messages.Message
}

// next waits for the next message and answers its id and payload.
func (b *inbox) next(t *testing.T) (id string, payload map[string]any) {
	t.Helper()
	try(t, b.Login(t.Context())) // the clock may have gone past the end of the credentials
	for tries := 0; len(b.list) == 0 && tries < 30; tries++ {
		b.list = b.PollNow(t.Context())
	}
	if len(b.list) == 0 {
		t.Fatal("no message came")
	}
	m := b.list[0]
	b.list = b.list[1:]
	try(t, json.Unmarshal([]byte(*m.Payload), &payload))
	return *m.MessageId, payload
}

// journey W5 with a node that follows a script: tasks by priority, one snapshot, pseudo parameters, what cannot run.
func TestMaintenanceWindow(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := &inbox{Node: s.Nodes(1, wire.Tag{Key: new("PatchGroup"), Value: new("web")})[0]}
		c, window, target, due := nightly(t, s, nil)
		patch := register(t, c, window, target, "AWS-RunPatchBaseline", 1, map[string][]string{"Operation": {"Install"}, "SnapshotId": {"{{ aws:ORCHESTRATION_ID }}"}}, nil)
		register(t, c, window, target, "AWS-RunPatchBaseline", 1, map[string][]string{"Operation": {"Scan"}}, nil)
		register(t, c, window, target, "AWS-RunShellScript", 5, map[string][]string{"commands": {"echo {{WINDOW_ID}} {{ TARGET_TYPE }} {{WINDOW_TARGET_ID}}"}}, nil)
		register(t, c, window, target, "arn:aws:lambda:us-east-1:000000000001:function:SSMdone", 9, nil, func(in *ssm.RegisterTaskWithMaintenanceWindowInput) {
			in.TaskType, in.TaskInvocationParameters, in.Targets, in.MaxConcurrency, in.MaxErrors = types.MaintenanceWindowTaskTypeLambda, nil, nil, nil, nil
		})
		got := must[*ssm.GetMaintenanceWindowOutput](t)(c.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: window}))
		if got.NextExecutionTime == nil || *got.NextExecutionTime != due.Format(time.RFC3339) || !got.Enabled || *got.Name != "nightly" || got.CreatedDate == nil {
			t.Errorf("GetMaintenanceWindow = %+v", got)
		}
		if len(executions(t, c, window)) != 0 {
			t.Error("the window has run before its time")
		}
		s.Advance(due.Add(5 * time.Second).Sub(s.Now()))
		until(t, c, window, types.MaintenanceWindowExecutionStatusInProgress)

		// Both tasks of priority 1 run beside each other, and judge by one snapshot.
		first, a := n.next(t)
		second, b := n.next(t)
		snapshot := func(p map[string]any) any { return p["Parameters"].(map[string]any)["SnapshotId"] }
		if snapshot(a) != snapshot(b) || len(fmt.Sprint(snapshot(a))) != 36 {
			t.Errorf("snapshots %v and %v", snapshot(a), snapshot(b))
		}
		try(t, n.Finish(ctx, first, "Success", 0, "ok"))
		if more := append(n.list, n.PollNow(ctx)...); len(more) != 0 {
			t.Errorf("the next priority began while one of the former runs: %v", more)
		}
		try(t, n.Finish(ctx, second, "Failed", 1, "no")) // whatever the result
		third, p := n.next(t)
		if text := fmt.Sprint(p["Parameters"]); !strings.Contains(text, "echo "+*window+" INSTANCE "+*target) {
			t.Errorf("pseudo parameters: %s", text)
		}
		try(t, n.Finish(ctx, third, "Success", 0, "ok"))
		e := until(t, c, window, types.MaintenanceWindowExecutionStatusFailed)

		tasks := must[*ssm.DescribeMaintenanceWindowExecutionTasksOutput](t)(c.DescribeMaintenanceWindowExecutionTasks(ctx, &ssm.DescribeMaintenanceWindowExecutionTasksInput{WindowExecutionId: e.WindowExecutionId})).WindowExecutionTaskIdentities
		var ends []string
		for _, x := range tasks {
			ends = append(ends, fmt.Sprintf("%s %s", *x.TaskArn, x.Status))
		}
		want := []string{"AWS-RunPatchBaseline SUCCESS", "AWS-RunPatchBaseline FAILED", "AWS-RunShellScript SUCCESS", "arn:aws:lambda:us-east-1:000000000001:function:SSMdone FAILED"}
		if len(ends) == 4 && ends[0] == want[1] { // of one priority, in any order
			ends[0], ends[1] = ends[1], ends[0]
		}
		if d := cmp.Diff(want, ends); d != "" {
			t.Errorf("tasks (-want +got):\n%s", d)
		}
		if last := tasks[3]; last.StatusDetails == nil || *last.StatusDetails != "Task type LAMBDA is not supported by this Oakum server" {
			t.Errorf("a task that cannot run says %v", last.StatusDetails)
		}
		task := must[*ssm.GetMaintenanceWindowExecutionTaskOutput](t)(c.GetMaintenanceWindowExecutionTask(ctx, &ssm.GetMaintenanceWindowExecutionTaskInput{WindowExecutionId: e.WindowExecutionId, TaskId: tasks[2].TaskExecutionId}))
		if task.Priority != 5 || *task.MaxConcurrency != "2" || task.TaskParameters[0]["commands"].Values[0] != "echo {{WINDOW_ID}} {{ TARGET_TYPE }} {{WINDOW_TARGET_ID}}" {
			t.Errorf("GetMaintenanceWindowExecutionTask = %+v", task)
		}
		invs := must[*ssm.DescribeMaintenanceWindowExecutionTaskInvocationsOutput](t)(c.DescribeMaintenanceWindowExecutionTaskInvocations(ctx, &ssm.DescribeMaintenanceWindowExecutionTaskInvocationsInput{WindowExecutionId: e.WindowExecutionId, TaskId: tasks[2].TaskExecutionId})).WindowExecutionTaskInvocationIdentities
		if len(invs) != 1 || *invs[0].OwnerInformation != "ops" || *invs[0].WindowTargetId != *target || !strings.Contains(third, *invs[0].ExecutionId) || !strings.Contains(*invs[0].Parameters, *window) ||
			!strings.Contains(*invs[0].Parameters, `"instanceIds":["`+n.ID+`"]`) {
			t.Errorf("invocations = %+v", invs)
		}
		one := must[*ssm.GetMaintenanceWindowExecutionTaskInvocationOutput](t)(c.GetMaintenanceWindowExecutionTaskInvocation(ctx, &ssm.GetMaintenanceWindowExecutionTaskInvocationInput{
			WindowExecutionId: e.WindowExecutionId, TaskId: tasks[2].TaskExecutionId, InvocationId: invs[0].InvocationId,
		}))
		if one.Status != "SUCCESS" || *one.StatusDetails != "Success" {
			t.Errorf("GetMaintenanceWindowExecutionTaskInvocation = %+v", one)
		}
		whole := must[*ssm.GetMaintenanceWindowExecutionOutput](t)(c.GetMaintenanceWindowExecution(ctx, &ssm.GetMaintenanceWindowExecutionInput{WindowExecutionId: e.WindowExecutionId}))
		if len(whole.TaskIds) != 4 || whole.EndTime == nil {
			t.Errorf("GetMaintenanceWindowExecution = %+v", whole)
		}
		if got := must[*ssm.GetMaintenanceWindowOutput](t)(c.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: window})); got.NextExecutionTime != nil {
			t.Errorf("a window that runs once runs again at %s", *got.NextExecutionTime)
		}
		reg := must[*ssm.GetMaintenanceWindowTaskOutput](t)(c.GetMaintenanceWindowTask(ctx, &ssm.GetMaintenanceWindowTaskInput{WindowId: window, WindowTaskId: patch}))
		if reg.TaskInvocationParameters.RunCommand.Parameters["SnapshotId"][0] != "{{ aws:ORCHESTRATION_ID }}" || reg.Priority != 1 {
			t.Errorf("GetMaintenanceWindowTask = %+v", reg)
		}
	})
}

// An execution stops at its cutoff, is cancelled, skipped when the former one runs, and reported when nobody was there. Trap A13.
//
// proves
func TestMaintenanceWindowEnds(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := &inbox{Node: s.Nodes(1, wire.Tag{Key: new("PatchGroup"), Value: new("web")})[0]}
		script := map[string][]string{"commands": {"true"}}
		reach := func(due time.Time) { s.Advance(due.Add(2 * time.Second).Sub(s.Now())) }

		t.Run("cutoff", func(t *testing.T) {
			c, window, target, due := nightly(t, s, func(in *ssm.CreateMaintenanceWindowInput) { in.Duration = aws.Int32(2) })
			register(t, c, window, target, "AWS-RunShellScript", 1, script, func(in *ssm.RegisterTaskWithMaintenanceWindowInput) { in.CutoffBehavior = "CANCEL_TASK" })
			register(t, c, window, target, "AWS-RunShellScript", 2, script, nil)
			reach(due)
			id, payload := n.next(t)
			if got := payload["NotAfter"]; got != float64(due.Add(time.Hour).Unix()) { // the node looks at its own clock before it begins
				t.Errorf("NotAfter = %v, want the cutoff", got)
			}
			try(t, n.Ack(ctx, id))
			reach(due.Add(time.Hour))
			e := until(t, c, window, types.MaintenanceWindowExecutionStatusTimedOut)
			if !strings.Contains(aws.ToString(e.StatusDetails), "cutoff") {
				t.Errorf("details %q", aws.ToString(e.StatusDetails))
			}
			cancel, p := n.next(t)
			if p["CancelMessageId"] != id {
				t.Errorf("message after the cutoff: %v", p)
			}
			try(t, n.Ack(ctx, cancel))
			try(t, n.Reply(ctx, id, "Cancelled", nil))
		})
		t.Run("cancelled", func(t *testing.T) {
			c, window, target, due := nightly(t, s, nil)
			register(t, c, window, target, "AWS-RunShellScript", 1, script, nil)
			register(t, c, window, target, "AWS-RunShellScript", 2, script, nil)
			reach(due)
			id, _ := n.next(t)
			try(t, n.Ack(ctx, id))
			e := executions(t, c, window)[0]
			for range 2 {
				must[*ssm.CancelMaintenanceWindowExecutionOutput](t)(c.CancelMaintenanceWindowExecution(ctx, &ssm.CancelMaintenanceWindowExecutionInput{WindowExecutionId: e.WindowExecutionId}))
			}
			cancel, _ := n.next(t)
			try(t, n.Ack(ctx, cancel))
			try(t, n.Reply(ctx, id, "Cancelled", nil))
			until(t, c, window, types.MaintenanceWindowExecutionStatusCancelled)
		})
		t.Run("overlap", func(t *testing.T) {
			c, window, target, _ := nightly(t, s, func(in *ssm.CreateMaintenanceWindowInput) { in.Schedule = str("rate(30 minutes)") })
			register(t, c, window, target, "AWS-RunShellScript", 1, script, nil)
			s.Advance(30*time.Minute + 2*time.Second)
			id, _ := n.next(t)
			s.Advance(30 * time.Minute)
			until(t, c, window, types.MaintenanceWindowExecutionStatusSkippedOverlapping)
			try(t, n.Finish(ctx, id, "Success", 0, ""))
			must[*ssm.UpdateMaintenanceWindowOutput](t)(c.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{WindowId: window, Enabled: aws.Bool(false)}))
			got := must[*ssm.GetMaintenanceWindowOutput](t)(c.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: window}))
			if got.Enabled || got.NextExecutionTime != nil {
				t.Errorf("disabled: %+v", got)
			}
		})
		t.Run("missed", func(t *testing.T) {
			c, window, target, due := nightly(t, s, nil)
			register(t, c, window, target, "AWS-RunShellScript", 1, script, nil)
			try(t, s.Stop())
			reach(due.Add(2 * time.Hour)) // the cutoff
			s.Restart()
			c = s.SSM(s.Admin)
			e := until(t, c, window, types.MaintenanceWindowExecutionStatusTimedOut)
			if aws.ToString(e.StatusDetails) != "Missed: server not available" {
				t.Errorf("details %q", aws.ToString(e.StatusDetails))
			}
		})
		t.Run("late", func(t *testing.T) {
			c, window, target, due := nightly(t, s, nil)
			register(t, c, window, target, "AWS-RunShellScript", 1, script, nil)
			try(t, s.Stop())
			reach(due.Add(time.Hour)) // an hour before the cutoff
			s.Restart()
			c = s.SSM(s.Admin)
			m := &inbox{Node: n.At(s)}
			id, _ := m.next(t)
			try(t, m.Finish(ctx, id, "Success", 0, ""))
			until(t, c, window, types.MaintenanceWindowExecutionStatusSuccess)
		})
		t.Run("errors", func(t *testing.T) {
			c, window, target, due := nightly(t, s, nil)
			empty := must[*ssm.RegisterTargetWithMaintenanceWindowOutput](t)(c.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{
				WindowId: window, ResourceType: types.MaintenanceWindowResourceTypeInstance, Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"none"}}},
			})).WindowTargetId
			register(t, c, window, target, "AWS-RunShellScript", 1, script, func(in *ssm.RegisterTaskWithMaintenanceWindowInput) {
				in.Targets = append(in.Targets, types.Target{Key: str("WindowTargetIds"), Values: []string{*target, *target}})
			})
			register(t, c, window, empty, "AWS-RunShellScript", 2, script, nil)
			reach(due)
			m := &inbox{Node: n.At(s)}
			id, _ := m.next(t)
			try(t, m.Finish(ctx, id, "Failed", 1, ""))
			e := until(t, c, window, types.MaintenanceWindowExecutionStatusFailed)
			tasks := must[*ssm.DescribeMaintenanceWindowExecutionTasksOutput](t)(c.DescribeMaintenanceWindowExecutionTasks(ctx, &ssm.DescribeMaintenanceWindowExecutionTasksInput{WindowExecutionId: e.WindowExecutionId})).WindowExecutionTaskIdentities
			var details []string
			for _, task := range tasks {
				for _, v := range must[*ssm.DescribeMaintenanceWindowExecutionTaskInvocationsOutput](t)(c.DescribeMaintenanceWindowExecutionTaskInvocations(ctx, &ssm.DescribeMaintenanceWindowExecutionTaskInvocationsInput{
					WindowExecutionId: e.WindowExecutionId, TaskId: task.TaskExecutionId,
				})).WindowExecutionTaskInvocationIdentities {
					details = append(details, aws.ToString(v.StatusDetails))
				}
			}
			want := []string{"Failed", "The task's error limit was reached.", "The task's error limit was reached.", "No node matches the window target " + *empty + "."}
			if d := cmp.Diff(want, details); d != "" {
				t.Errorf("details of invocations (-want +got):\n%s", d)
			}
		})
		t.Run("nothing_to_do", func(t *testing.T) {
			c, window, _, due := nightly(t, s, nil)
			reach(due)
			e := until(t, c, window, types.MaintenanceWindowExecutionStatusSuccess)
			if aws.ToString(e.StatusDetails) != "No tasks to execute." {
				t.Errorf("details %q", aws.ToString(e.StatusDetails))
			}
			must[*ssm.DeleteMaintenanceWindowOutput](t)(c.DeleteMaintenanceWindow(ctx, &ssm.DeleteMaintenanceWindowInput{WindowId: window}))
			must[*ssm.DeleteMaintenanceWindowOutput](t)(c.DeleteMaintenanceWindow(ctx, &ssm.DeleteMaintenanceWindowInput{WindowId: window}))
			_, err := c.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: window})
			if _, ok := errors.AsType[*types.DoesNotExistException](err); !ok {
				t.Errorf("a deleted window: %v", err)
			}
			if whole := must[*ssm.GetMaintenanceWindowExecutionOutput](t)(c.GetMaintenanceWindowExecution(ctx, &ssm.GetMaintenanceWindowExecutionInput{WindowExecutionId: e.WindowExecutionId})); whole.Status != "SUCCESS" {
				t.Errorf("the history of a deleted window: %+v", whole)
			}
		})
	})
}

// Two servers run a window once for each of its instants, and a restart in the middle changes nothing.
//
// proves R-39
func TestWindowsRunOnce(t *testing.T) {
	t.Parallel()
	a := servertest.Start(t, "postgres")
	b := a.Beside()
	c := a.SSM(a.Admin)
	var ids []*string
	for i := range 4 {
		id := must[*ssm.CreateMaintenanceWindowOutput](t)(c.CreateMaintenanceWindow(t.Context(), &ssm.CreateMaintenanceWindowInput{
			Name: str(fmt.Sprint("window-", i)), Schedule: str("rate(5 minutes)"), Duration: aws.Int32(24), Cutoff: 1,
		})).WindowId
		ids = append(ids, id)
		must[*ssm.RegisterTaskWithMaintenanceWindowOutput](t)(c.RegisterTaskWithMaintenanceWindow(t.Context(), &ssm.RegisterTaskWithMaintenanceWindowInput{WindowId: id, TaskArn: str("x"), TaskType: "LAMBDA"}))
	}
	const instants = 24
	for n := range instants {
		a.Advance(5 * time.Minute)
		b.Advance(a.Now().Sub(b.Now()))
		if n%6 == 3 {
			try(t, b.Stop())
			b.Restart()
		}
	}
	deadline := time.Now().Add(time.Minute)
	for _, id := range ids {
		var list []types.MaintenanceWindowExecution
		for len(list) < instants && time.Now().Before(deadline) {
			if list = executions(t, c, id); len(list) < instants {
				time.Sleep(100 * time.Millisecond) // the servers' own work
			}
		}
		if len(list) != instants {
			t.Errorf("window %s was executed %d times in %d instants", *id, len(list), instants)
		}
		for _, e := range list {
			if e.Status != "FAILED" && e.Status != "SKIPPED_OVERLAPPING" && e.Status != "IN_PROGRESS" {
				t.Errorf("an execution is %s: %s", e.Status, aws.ToString(e.StatusDetails))
			}
		}
	}
}
