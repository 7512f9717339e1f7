package window

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func text(n int64) string { return strconv.FormatInt(n, 10) }

func microseconds(t time.Time) string { return text(t.UnixMicro()) }

func fromMicroseconds(s string) time.Time {
	us, err := strconv.ParseInt(s, 10, 64)
	if err != nil || us <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func executionGone(id string) error {
	return ssm.DoesNotExistException("Maintenance window execution %s does not exist", id)
}

// each reads all windows after a key, until fn has enough.
func (s *Service) each(ctx context.Context, createdAfter, idAfter string, fn func(store.Window, *definition) bool) error {
	sc, created, id := store.ScopeOf(ctx), fromMicroseconds(createdAfter), idAfter
	return s.store.View(ctx, func(tx *store.Tx) error {
		for {
			rows, err := tx.Windows(sc, created, id, 200)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, w := range rows {
				d, err := decode[definition](w.Body)
				if err != nil {
					return err
				}
				if !fn(w, d) {
					return nil
				}
				created, id = w.CreatedAt, w.ID
			}
		}
	})
}

func someTime(t time.Time) *codec.Time {
	if t.IsZero() {
		return nil
	}
	return codec.NewTime(t)
}

func someText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// DescribeMaintenanceWindowExecutions lists the executions of a window, newest first.
func (s *Service) DescribeMaintenanceWindowExecutions(ctx context.Context, in *ssm.DescribeMaintenanceWindowExecutionsInput) (*ssm.DescribeMaintenanceWindowExecutionsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowExecutions", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	if _, err := filters(in.Filters, "ExecutedBefore", "ExecutedAfter"); err != nil {
		return nil, err
	}
	before, after := time.Time{}, time.Time{}
	for _, f := range in.Filters {
		for _, v := range f.Values {
			at, err := instant(v)
			if err != nil {
				return nil, awserr.Validation("%s: %s is not an ISO 8601 date and time", codec.Value(f.Key), v)
			}
			if strings.EqualFold(codec.Value(f.Key), "ExecutedBefore") {
				before = at
			} else {
				after = at
			}
		}
	}
	sc, id := store.ScopeOf(ctx), codec.Value(in.WindowId)
	from, fromID := time.UnixMicro(1<<62).UTC(), "~"
	if !before.IsZero() {
		from, fromID = before, ""
	}
	if pg.Key != nil {
		from, fromID = fromMicroseconds(pg.At(0)), pg.At(1)
	}
	out := &ssm.DescribeMaintenanceWindowExecutionsOutput{WindowExecutions: []ssm.MaintenanceWindowExecution{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.WindowExecutions(sc, id, from, fromID, pg.Size+1)
		if err != nil {
			return err
		}
		if len(rows) == 0 && pg.Key == nil {
			if _, _, err := read(tx, sc, id); err != nil {
				return err
			}
		}
		rows = slices.DeleteFunc(rows, func(e store.WindowExecution) bool { return e.StartedAt.Before(after) })
		rows, out.NextToken = page.Cut(pg, rows, func(e store.WindowExecution) []string { return []string{microseconds(e.StartedAt), e.ID} })
		for _, e := range rows {
			out.WindowExecutions = append(out.WindowExecutions, ssm.MaintenanceWindowExecution{
				WindowId: &e.WindowID, WindowExecutionId: &e.ID, Status: &e.Status, StatusDetails: someText(e.StatusDetails), StartTime: someTime(e.StartedAt), EndTime: someTime(e.EndedAt),
			})
		}
		return nil
	})
	return out, err
}

// whole reads an execution with all that it does.
func (s *Service) whole(ctx context.Context, id string) (x *state, err error) {
	sc := store.ScopeOf(ctx)
	err = s.store.View(ctx, func(tx *store.Tx) error {
		e, err := tx.WindowExecution(sc, id)
		if errors.Is(err, store.ErrNotFound) {
			return executionGone(id)
		}
		if err != nil {
			return err
		}
		x, err = load(tx, sc, e)
		return err
	})
	return x, err
}

// GetMaintenanceWindowExecution answers an execution.
func (s *Service) GetMaintenanceWindowExecution(ctx context.Context, in *ssm.GetMaintenanceWindowExecutionInput) (*ssm.GetMaintenanceWindowExecutionOutput, error) {
	x, err := s.whole(ctx, codec.Value(in.WindowExecutionId))
	if err != nil {
		return nil, err
	}
	out := &ssm.GetMaintenanceWindowExecutionOutput{
		WindowExecutionId: &x.ID, TaskIds: []string{}, Status: &x.Status, StatusDetails: someText(x.StatusDetails), StartTime: someTime(x.StartedAt), EndTime: someTime(x.EndedAt),
	}
	for _, t := range x.Tasks {
		out.TaskIds = append(out.TaskIds, t.ID)
	}
	return out, nil
}

// DescribeMaintenanceWindowExecutionTasks lists the tasks of an execution by their order.
func (s *Service) DescribeMaintenanceWindowExecutionTasks(ctx context.Context, in *ssm.DescribeMaintenanceWindowExecutionTasksInput) (*ssm.DescribeMaintenanceWindowExecutionTasksOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowExecutionTasks", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := filters(in.Filters, "STATUS")
	if err != nil {
		return nil, err
	}
	x, err := s.whole(ctx, codec.Value(in.WindowExecutionId))
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeMaintenanceWindowExecutionTasksOutput{WindowExecutionTaskIdentities: []ssm.MaintenanceWindowExecutionTaskIdentity{}}
	tasks := slices.DeleteFunc(x.Tasks, func(t running) bool { return !takes("STATUS", t.Status) })
	tasks, out.NextToken = page.Slice(pg, tasks, func(t running) string { return padded(t.Position) })
	for _, t := range tasks {
		d, err := decode[registeredTask](t.Body)
		if err != nil {
			return nil, err
		}
		out.WindowExecutionTaskIdentities = append(out.WindowExecutionTaskIdentities, ssm.MaintenanceWindowExecutionTaskIdentity{
			WindowExecutionId: &x.ID, TaskExecutionId: &t.ID, Status: &t.Status, StatusDetails: someText(t.StatusDetails), StartTime: someTime(t.StartedAt), EndTime: someTime(t.EndedAt),
			TaskArn: d.TaskArn, TaskType: d.TaskType, AlarmConfiguration: d.AlarmConfiguration,
		})
	}
	return out, nil
}

// padded is a position as a key whose order is that of the numbers.
func padded(n int64) string { return strconv.FormatInt(1e9+n, 10) }

func (s *Service) task(ctx context.Context, executionID, taskID string) (*state, *running, *registeredTask, error) {
	x, err := s.whole(ctx, executionID)
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range x.Tasks {
		if t := &x.Tasks[i]; t.ID == taskID {
			d, err := decode[registeredTask](t.Body)
			return x, t, d, err
		}
	}
	return nil, nil, nil, ssm.DoesNotExistException("Task execution %s does not exist", taskID)
}

// GetMaintenanceWindowExecutionTask answers a task of an execution.
func (s *Service) GetMaintenanceWindowExecutionTask(ctx context.Context, in *ssm.GetMaintenanceWindowExecutionTaskInput) (*ssm.GetMaintenanceWindowExecutionTaskOutput, error) {
	x, t, d, err := s.task(ctx, codec.Value(in.WindowExecutionId), codec.Value(in.TaskId))
	if err != nil {
		return nil, err
	}
	given := map[string]ssm.MaintenanceWindowTaskParameterValueExpression{}
	maps.Copy(given, d.TaskParameters)
	if p := d.TaskInvocationParameters; p != nil && p.RunCommand != nil {
		for name, values := range p.RunCommand.Parameters {
			given[name] = ssm.MaintenanceWindowTaskParameterValueExpression{Values: values}
		}
	}
	out := &ssm.GetMaintenanceWindowExecutionTaskOutput{
		WindowExecutionId: &x.ID, TaskExecutionId: &t.ID, TaskArn: d.TaskArn, ServiceRole: d.ServiceRoleArn, Type: d.TaskType, TaskParameters: []map[string]ssm.MaintenanceWindowTaskParameterValueExpression{},
		Priority: d.Priority, MaxConcurrency: d.MaxConcurrency, MaxErrors: d.MaxErrors, Status: &t.Status, StatusDetails: someText(t.StatusDetails),
		StartTime: someTime(t.StartedAt), EndTime: someTime(t.EndedAt), AlarmConfiguration: d.AlarmConfiguration,
	}
	if len(given) > 0 {
		out.TaskParameters = append(out.TaskParameters, given)
	}
	return out, nil
}

func identity(x *state, t *running, v *store.WindowInvocation) (out ssm.MaintenanceWindowExecutionTaskInvocationIdentity, err error) {
	var a asked
	if err := json.Unmarshal([]byte(v.Body), &a); err != nil {
		return out, err
	}
	return ssm.MaintenanceWindowExecutionTaskInvocationIdentity{
		WindowExecutionId: &x.ID, TaskExecutionId: &t.ID, InvocationId: &v.ID, ExecutionId: someText(v.CommandID), TaskType: &t.Type, Parameters: someText(a.Parameters),
		Status: &v.Status, StatusDetails: someText(v.StatusDetails), StartTime: someTime(v.StartedAt), EndTime: someTime(v.EndedAt),
		OwnerInformation: someText(a.Owner), WindowTargetId: someText(a.WindowTarget),
	}, nil
}

// DescribeMaintenanceWindowExecutionTaskInvocations lists what a task of an execution did, target by target.
func (s *Service) DescribeMaintenanceWindowExecutionTaskInvocations(
	ctx context.Context, in *ssm.DescribeMaintenanceWindowExecutionTaskInvocationsInput,
) (*ssm.DescribeMaintenanceWindowExecutionTaskInvocationsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowExecutionTaskInvocations", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := filters(in.Filters, "STATUS")
	if err != nil {
		return nil, err
	}
	x, t, _, err := s.task(ctx, codec.Value(in.WindowExecutionId), codec.Value(in.TaskId))
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeMaintenanceWindowExecutionTaskInvocationsOutput{WindowExecutionTaskInvocationIdentities: []ssm.MaintenanceWindowExecutionTaskInvocationIdentity{}}
	list := slices.DeleteFunc(t.Invocations, func(v store.WindowInvocation) bool { return !takes("STATUS", v.Status) })
	list, out.NextToken = page.Slice(pg, list, func(v store.WindowInvocation) string { return padded(v.Position) })
	for i := range list {
		id, err := identity(x, t, &list[i])
		if err != nil {
			return nil, err
		}
		out.WindowExecutionTaskInvocationIdentities = append(out.WindowExecutionTaskInvocationIdentities, id)
	}
	return out, nil
}

// GetMaintenanceWindowExecutionTaskInvocation answers one of them.
func (s *Service) GetMaintenanceWindowExecutionTaskInvocation(
	ctx context.Context, in *ssm.GetMaintenanceWindowExecutionTaskInvocationInput,
) (*ssm.GetMaintenanceWindowExecutionTaskInvocationOutput, error) {
	x, t, _, err := s.task(ctx, codec.Value(in.WindowExecutionId), codec.Value(in.TaskId))
	if err != nil {
		return nil, err
	}
	for i := range t.Invocations {
		if v := &t.Invocations[i]; v.ID == codec.Value(in.InvocationId) {
			id, err := identity(x, t, v)
			out := ssm.GetMaintenanceWindowExecutionTaskInvocationOutput(id)
			return &out, err
		}
	}
	return nil, ssm.DoesNotExistException("Task invocation %s does not exist", codec.Value(in.InvocationId))
}
