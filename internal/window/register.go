package window

import (
	"context"
	"errors"
	"slices"
	"strings"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// registeredTarget and registeredTask are registrations as their Body keeps them.
type (
	registeredTarget = ssm.RegisterTargetWithMaintenanceWindowInput
	registeredTask   = ssm.RegisterTaskWithMaintenanceWindowInput
)

// windowTargetIDs is the key by which a task names registered targets.
const windowTargetIDs = "WindowTargetIds"

// checkTargets refuses targets that cannot be resolved.
func checkTargets(kind string, list []ssm.Target) error {
	if len(list) == 0 {
		return awserr.Validation("At least one target is needed")
	}
	var all []target.Target
	for _, w := range list {
		t := target.Target{Key: codec.Value(w.Key), Values: w.Values}
		group := strings.HasPrefix(t.Key, "resource-groups:")
		if group != (kind == "RESOURCE_GROUP") {
			return awserr.Validation("Targets with the key %s cannot be registered as %s", t.Key, kind)
		}
		all = append(all, t)
	}
	if err := target.Validate(all); err != nil {
		return awserr.Validation("%v", err)
	}
	return nil
}

// RegisterTargetWithMaintenanceWindow registers nodes with a window, by ids or tags; which they are is found out when it opens.
func (s *Service) RegisterTargetWithMaintenanceWindow(ctx context.Context, in *ssm.RegisterTargetWithMaintenanceWindowInput) (*ssm.RegisterTargetWithMaintenanceWindowOutput, error) {
	if err := checkTargets(codec.Value(in.ResourceType), in.Targets); err != nil {
		return nil, err
	}
	sc, windowID := store.ScopeOf(ctx), codec.Value(in.WindowId)
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	d := *in
	d.ClientToken = nil
	id, err = s.once(ctx, "RegisterTargetWithMaintenanceWindow", in.ClientToken, &d, id, func(tx *store.Tx) error {
		if _, _, err := lock(tx, sc, windowID); err != nil {
			return err
		}
		have, err := tx.WindowParts(sc, windowID, store.WindowTarget)
		if err != nil {
			return err
		}
		if len(have) >= maxTargets {
			return ssm.ResourceLimitExceededException("The maintenance window has %d targets already; at most %d are allowed.", len(have), maxTargets)
		}
		return tx.InsertWindowPart(sc, store.WindowPart{Kind: store.WindowTarget, WindowID: windowID, ID: id, Body: string(codec.Marshal(&d)), CreatedAt: tx.Now()})
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RegisterTargetWithMaintenanceWindowOutput{WindowTargetId: &id}, nil
}

func partGone(err error, what, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return ssm.DoesNotExistException("%s %s does not exist", what, id)
	}
	return err
}

// UpdateMaintenanceWindowTarget changes a registered target: absent members stay, or go with Replace.
func (s *Service) UpdateMaintenanceWindowTarget(ctx context.Context, in *ssm.UpdateMaintenanceWindowTargetInput) (*ssm.UpdateMaintenanceWindowTargetOutput, error) {
	sc, windowID, id := store.ScopeOf(ctx), codec.Value(in.WindowId), codec.Value(in.WindowTargetId)
	var d *registeredTarget
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, _, err := lock(tx, sc, windowID); err != nil {
			return err
		}
		p, err := tx.WindowPart(sc, windowID, store.WindowTarget, id)
		if err != nil {
			return partGone(err, "Window target", id)
		}
		if d, err = decode[registeredTarget](p.Body); err != nil {
			return err
		}
		if codec.Value(in.Replace) {
			if len(in.Targets) == 0 {
				return awserr.Validation("1 validation error detected: Value null at 'targets' failed to satisfy constraint: Member must not be null")
			}
			d.OwnerInformation, d.Name, d.Description = nil, nil, nil
		}
		if in.Targets != nil {
			d.Targets = in.Targets
		}
		set(&d.OwnerInformation, in.OwnerInformation)
		set(&d.Name, in.Name)
		set(&d.Description, in.Description)
		if err := checkTargets(codec.Value(d.ResourceType), d.Targets); err != nil {
			return err
		}
		p.Body = string(codec.Marshal(d))
		return tx.SaveWindowPart(sc, p)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.UpdateMaintenanceWindowTargetOutput{
		WindowId: &windowID, WindowTargetId: &id, Targets: d.Targets, OwnerInformation: d.OwnerInformation, Name: d.Name, Description: d.Description,
	}, nil
}

// DeregisterTargetFromMaintenanceWindow takes a target away; with Safe only when no task names it.
func (s *Service) DeregisterTargetFromMaintenanceWindow(ctx context.Context, in *ssm.DeregisterTargetFromMaintenanceWindowInput) (*ssm.DeregisterTargetFromMaintenanceWindowOutput, error) {
	sc, windowID, id := store.ScopeOf(ctx), codec.Value(in.WindowId), codec.Value(in.WindowTargetId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, _, err := lock(tx, sc, windowID); err != nil {
			return err
		}
		if codec.Value(in.Safe) {
			tasks, err := tx.WindowParts(sc, windowID, store.WindowTask)
			if err != nil {
				return err
			}
			for _, p := range tasks {
				d, err := decode[registeredTask](p.Body)
				if err != nil {
					return err
				}
				if slices.Contains(namedTargets(d.Targets), id) {
					return ssm.TargetInUseException("The window target %s is used by the task %s", id, p.ID)
				}
			}
		}
		if there, err := tx.DeleteWindowPart(sc, windowID, store.WindowTarget, id); err != nil || there {
			return err
		}
		return partGone(store.ErrNotFound, "Window target", id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeregisterTargetFromMaintenanceWindowOutput{WindowId: &windowID, WindowTargetId: &id}, nil
}

// namedTargets are the ids of registered targets that a task names.
func namedTargets(list []ssm.Target) (out []string) {
	for _, t := range list {
		if codec.Value(t.Key) == windowTargetIDs {
			out = append(out, t.Values...)
		}
	}
	return out
}

// DescribeMaintenanceWindowTargets lists the targets of a window.
func (s *Service) DescribeMaintenanceWindowTargets(ctx context.Context, in *ssm.DescribeMaintenanceWindowTargetsInput) (*ssm.DescribeMaintenanceWindowTargetsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowTargets", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := filters(in.Filters, "Type", "WindowTargetId", "OwnerInformation")
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeMaintenanceWindowTargetsOutput{Targets: []ssm.MaintenanceWindowTarget{}}
	sc, windowID := store.ScopeOf(ctx), codec.Value(in.WindowId)
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := read(tx, sc, windowID); err != nil {
			return err
		}
		rows, err := tx.WindowParts(sc, windowID, store.WindowTarget)
		if err != nil {
			return err
		}
		var list []ssm.MaintenanceWindowTarget
		for _, p := range rows {
			d, err := decode[registeredTarget](p.Body)
			if err != nil {
				return err
			}
			if takes("Type", codec.Value(d.ResourceType)) && takes("WindowTargetId", p.ID) && takes("OwnerInformation", codec.Value(d.OwnerInformation)) {
				list = append(list, ssm.MaintenanceWindowTarget{
					WindowId: &windowID, WindowTargetId: &p.ID, ResourceType: d.ResourceType, Targets: d.Targets, OwnerInformation: d.OwnerInformation, Name: d.Name, Description: d.Description,
				})
			}
		}
		list, out.NextToken = page.Slice(pg, list, func(t ssm.MaintenanceWindowTarget) string { return *t.WindowTargetId })
		out.Targets = append(out.Targets, list...)
		return nil
	})
	return out, err
}

// checkTask refuses what no task of the window can be. w is its window, targets are those that are registered with it.
func checkTask(w *definition, d *registeredTask, targets []store.WindowPart) error {
	kind := codec.Value(d.TaskType)
	if len(d.Targets) == 0 {
		switch {
		case kind == runCommand:
			return awserr.Validation("Tasks of type RUN_COMMAND need at least one target")
		case d.MaxConcurrency != nil && *d.MaxConcurrency != "1":
			return awserr.Validation("Maintenance window tasks without targets don't support MaxConcurrency values")
		case d.MaxErrors != nil && *d.MaxErrors != "1":
			return awserr.Validation("Maintenance window tasks without targets don't support MaxErrors values")
		}
	} else {
		if d.MaxConcurrency == nil || d.MaxErrors == nil {
			return awserr.Validation("MaxConcurrency and MaxErrors are required for tasks with targets")
		}
		if _, err := target.ParseMaxConcurrency(*d.MaxConcurrency); err != nil {
			return awserr.Validation("MaxConcurrency: %v", err)
		}
		if _, err := target.ParseMaxErrors(*d.MaxErrors); err != nil {
			return awserr.Validation("MaxErrors: %v", err)
		}
	}
	for _, t := range d.Targets {
		switch key := codec.Value(t.Key); {
		case len(t.Values) == 0:
			return awserr.Validation("The target %s of the task has no values", key)
		case key == windowTargetIDs:
			for _, id := range t.Values {
				if !slices.ContainsFunc(targets, func(p store.WindowPart) bool { return p.ID == id }) {
					return ssm.DoesNotExistException("Window target %s does not exist", id)
				}
			}
		case !strings.EqualFold(key, "InstanceIds"):
			return awserr.Validation("Targets of a task have the key WindowTargetIds or InstanceIds, not %s", key)
		case !codec.Value(w.AllowUnassociatedTargets):
			return awserr.Validation("The maintenance window does not allow targets that are not registered with it")
		}
	}
	p := d.TaskInvocationParameters
	for name, given := range map[string]bool{
		runCommand: p != nil && p.RunCommand != nil, "AUTOMATION": p != nil && p.Automation != nil, "LAMBDA": p != nil && p.Lambda != nil,
		"STEP_FUNCTIONS": p != nil && p.StepFunctions != nil,
	} {
		if given && name != kind {
			return awserr.Validation("TaskInvocationParameters of a task of type %s are given for %s", kind, name)
		}
	}
	return nil
}

// complete fills in what a task reports though nobody said it.
func complete(d *registeredTask) {
	one := int64(1)
	if d.Priority == nil {
		d.Priority = &one
	}
	if len(d.Targets) == 0 {
		d.MaxConcurrency, d.MaxErrors = new("1"), new("1")
	}
}

// RegisterTaskWithMaintenanceWindow registers a task with a window. Types that this server does not run are kept all the
// same; their executions fail and say so.
func (s *Service) RegisterTaskWithMaintenanceWindow(ctx context.Context, in *ssm.RegisterTaskWithMaintenanceWindowInput) (*ssm.RegisterTaskWithMaintenanceWindowOutput, error) {
	sc, windowID := store.ScopeOf(ctx), codec.Value(in.WindowId)
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	d := *in
	d.ClientToken = nil
	id, err = s.once(ctx, "RegisterTaskWithMaintenanceWindow", in.ClientToken, &d, id, func(tx *store.Tx) error {
		_, w, err := lock(tx, sc, windowID)
		if err != nil {
			return err
		}
		targets, err := tx.WindowParts(sc, windowID, store.WindowTarget)
		if err != nil {
			return err
		}
		tasks, err := tx.WindowParts(sc, windowID, store.WindowTask)
		if err != nil {
			return err
		}
		if len(tasks) >= maxTasks {
			return ssm.ResourceLimitExceededException("The maintenance window has %d tasks already; at most %d are allowed.", len(tasks), maxTasks)
		}
		if err := checkTask(w, &d, targets); err != nil {
			return err
		}
		stored := d
		complete(&stored)
		return tx.InsertWindowPart(sc, store.WindowPart{Kind: store.WindowTask, WindowID: windowID, ID: id, Body: string(codec.Marshal(&stored)), CreatedAt: tx.Now()})
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RegisterTaskWithMaintenanceWindowOutput{WindowTaskId: &id}, nil
}

// GetMaintenanceWindowTask answers a registered task.
func (s *Service) GetMaintenanceWindowTask(ctx context.Context, in *ssm.GetMaintenanceWindowTaskInput) (*ssm.GetMaintenanceWindowTaskOutput, error) {
	sc, windowID, id := store.ScopeOf(ctx), codec.Value(in.WindowId), codec.Value(in.WindowTaskId)
	var d *registeredTask
	err := s.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := read(tx, sc, windowID); err != nil {
			return err
		}
		p, err := tx.WindowPart(sc, windowID, store.WindowTask, id)
		if err != nil {
			return partGone(err, "Window task", id)
		}
		d, err = decode[registeredTask](p.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ssm.GetMaintenanceWindowTaskOutput{
		WindowId: &windowID, WindowTaskId: &id, Targets: orNone(d.Targets), TaskArn: d.TaskArn, ServiceRoleArn: d.ServiceRoleArn, TaskType: d.TaskType,
		TaskParameters: d.TaskParameters, TaskInvocationParameters: d.TaskInvocationParameters, Priority: d.Priority, MaxConcurrency: d.MaxConcurrency,
		MaxErrors: d.MaxErrors, LoggingInfo: d.LoggingInfo, Name: d.Name, Description: d.Description, CutoffBehavior: d.CutoffBehavior, AlarmConfiguration: d.AlarmConfiguration,
	}, nil
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// UpdateMaintenanceWindowTask changes a registered task: absent members stay, or go with Replace; TaskInvocationParameters
// are replaced whole. Running executions go on as they were.
func (s *Service) UpdateMaintenanceWindowTask(ctx context.Context, in *ssm.UpdateMaintenanceWindowTaskInput) (*ssm.UpdateMaintenanceWindowTaskOutput, error) {
	sc, windowID, id := store.ScopeOf(ctx), codec.Value(in.WindowId), codec.Value(in.WindowTaskId)
	var d *registeredTask
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		_, w, err := lock(tx, sc, windowID)
		if err != nil {
			return err
		}
		p, err := tx.WindowPart(sc, windowID, store.WindowTask, id)
		if err != nil {
			return partGone(err, "Window task", id)
		}
		old, err := decode[registeredTask](p.Body)
		if err != nil {
			return err
		}
		d = old
		if codec.Value(in.Replace) {
			if in.TaskArn == nil {
				return awserr.Validation("1 validation error detected: Value null at 'taskArn' failed to satisfy constraint: Member must not be null")
			}
			d = &registeredTask{WindowId: old.WindowId, TaskType: old.TaskType}
		}
		if in.Targets != nil {
			d.Targets = in.Targets
		}
		if in.TaskParameters != nil {
			d.TaskParameters = in.TaskParameters
		}
		set(&d.TaskArn, in.TaskArn)
		set(&d.ServiceRoleArn, in.ServiceRoleArn)
		set(&d.TaskInvocationParameters, in.TaskInvocationParameters)
		set(&d.Priority, in.Priority)
		set(&d.MaxConcurrency, in.MaxConcurrency)
		set(&d.MaxErrors, in.MaxErrors)
		set(&d.LoggingInfo, in.LoggingInfo)
		set(&d.Name, in.Name)
		set(&d.Description, in.Description)
		set(&d.CutoffBehavior, in.CutoffBehavior)
		set(&d.AlarmConfiguration, in.AlarmConfiguration)
		targets, err := tx.WindowParts(sc, windowID, store.WindowTarget)
		if err != nil {
			return err
		}
		if err := checkTask(w, d, targets); err != nil {
			return err
		}
		complete(d)
		p.Body = string(codec.Marshal(d))
		return tx.SaveWindowPart(sc, p)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.UpdateMaintenanceWindowTaskOutput{
		WindowId: &windowID, WindowTaskId: &id, Targets: orNone(d.Targets), TaskArn: d.TaskArn, ServiceRoleArn: d.ServiceRoleArn, TaskParameters: d.TaskParameters,
		TaskInvocationParameters: d.TaskInvocationParameters, Priority: d.Priority, MaxConcurrency: d.MaxConcurrency, MaxErrors: d.MaxErrors, LoggingInfo: d.LoggingInfo,
		Name: d.Name, Description: d.Description, CutoffBehavior: d.CutoffBehavior, AlarmConfiguration: d.AlarmConfiguration,
	}, nil
}

// DeregisterTaskFromMaintenanceWindow takes a task away.
func (s *Service) DeregisterTaskFromMaintenanceWindow(ctx context.Context, in *ssm.DeregisterTaskFromMaintenanceWindowInput) (*ssm.DeregisterTaskFromMaintenanceWindowOutput, error) {
	sc, windowID, id := store.ScopeOf(ctx), codec.Value(in.WindowId), codec.Value(in.WindowTaskId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, _, err := lock(tx, sc, windowID); err != nil {
			return err
		}
		if there, err := tx.DeleteWindowPart(sc, windowID, store.WindowTask, id); err != nil || there {
			return err
		}
		return partGone(store.ErrNotFound, "Window task", id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeregisterTaskFromMaintenanceWindowOutput{WindowId: &windowID, WindowTaskId: &id}, nil
}

// DescribeMaintenanceWindowTasks lists the tasks of a window.
func (s *Service) DescribeMaintenanceWindowTasks(ctx context.Context, in *ssm.DescribeMaintenanceWindowTasksInput) (*ssm.DescribeMaintenanceWindowTasksOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowTasks", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := filters(in.Filters, "WindowTaskId", "TaskArn", "Priority", "TaskType")
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeMaintenanceWindowTasksOutput{Tasks: []ssm.MaintenanceWindowTask{}}
	sc, windowID := store.ScopeOf(ctx), codec.Value(in.WindowId)
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := read(tx, sc, windowID); err != nil {
			return err
		}
		rows, err := tx.WindowParts(sc, windowID, store.WindowTask)
		if err != nil {
			return err
		}
		var list []ssm.MaintenanceWindowTask
		for _, p := range rows {
			d, err := decode[registeredTask](p.Body)
			if err != nil {
				return err
			}
			if takes("WindowTaskId", p.ID) && takes("TaskArn", codec.Value(d.TaskArn)) && takes("Priority", text(codec.Value(d.Priority))) && takes("TaskType", codec.Value(d.TaskType)) {
				list = append(list, ssm.MaintenanceWindowTask{
					WindowId: &windowID, WindowTaskId: &p.ID, TaskArn: d.TaskArn, Type: d.TaskType, Targets: orNone(d.Targets), TaskParameters: d.TaskParameters, Priority: d.Priority,
					LoggingInfo: d.LoggingInfo, ServiceRoleArn: d.ServiceRoleArn, MaxConcurrency: d.MaxConcurrency, MaxErrors: d.MaxErrors, Name: d.Name, Description: d.Description,
					CutoffBehavior: d.CutoffBehavior, AlarmConfiguration: d.AlarmConfiguration,
				})
			}
		}
		list, out.NextToken = page.Slice(pg, list, func(t ssm.MaintenanceWindowTask) string { return *t.WindowTaskId })
		out.Tasks = append(out.Tasks, list...)
		return nil
	})
	return out, err
}
