// Package window serves maintenance windows: what they are, which nodes and tasks are registered with them, and their
// executions, which send commands. When a window opens is decided in package schedule; how an execution goes on, by step
// in step.go. Start with Service.
package window

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Kinds of work items.
const (
	WorkOpen = "window-open" // a window's next instant; the subject is the window's id
	WorkStep = "window-step" // something has happened to an execution: its id, and after a slash what it was
)

// Quotas of an account and region. AWS has 50 windows, 100 targets and 20 tasks a window.
const (
	maxWindows = 1000
	maxTargets = 1000
	maxTasks   = 100
)

const resourceType = "MaintenanceWindow"

// Commands sends and cancels commands in a transaction of the caller. wake are the nodes that have got a message, for Wake
// after the commit.
type Commands interface {
	SendIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, origin string, notAfter time.Time) (c store.Command, wake []string, err error)
	CancelIn(tx *store.Tx, sc store.Scope, id string) (wake []string, err error)
}

// Service serves maintenance windows. It is safe for concurrent use.
type Service struct {
	store    *store.Store
	pages    page.Book
	commands Commands
	random   io.Reader
	now      func() time.Time
	log      *slog.Logger

	// Wake is told which nodes have got a message, after the commit.
	Wake func(nodeIDs []string)
	// Groups are the names of the resource groups that a node is in.
	Groups func(tx *store.Tx, sc store.Scope, nodeID string) ([]string, error)
}

// New returns the service.
func New(st *store.Store, pages page.Book, commands Commands, random io.Reader, now func() time.Time, log *slog.Logger) *Service {
	return &Service{
		store: st, pages: pages, commands: commands, random: random, now: now, log: log, Wake: func([]string) {},
		Groups: func(*store.Tx, store.Scope, string) ([]string, error) { return nil, nil },
	}
}

// definition is what a window is, as its Body keeps it.
type definition = ssm.CreateMaintenanceWindowInput

func decode[T any, P interface {
	*T
	codec.Decodable
}](body string) (P, error) {
	var v T
	return &v, codec.Unmarshal([]byte(body), P(&v))
}

func gone(id string) error {
	return ssm.DoesNotExistException("Maintenance window %s does not exist", id)
}

// lock reads a window for a change.
func lock(tx *store.Tx, sc store.Scope, id string) (store.Window, *definition, error) {
	w, err := tx.LockWindow(sc, id)
	return known(w, err, id)
}

func read(tx *store.Tx, sc store.Scope, id string) (store.Window, *definition, error) {
	w, err := tx.Window(sc, id)
	return known(w, err, id)
}

func known(w store.Window, err error, id string) (store.Window, *definition, error) {
	if errors.Is(err, store.ErrNotFound) {
		return w, nil, gone(id)
	}
	if err != nil {
		return w, nil, err
	}
	d, err := decode[definition](w.Body)
	return w, d, err
}

// check refuses what no window can be.
func check(d *definition) error {
	duration, cutoff := codec.Value(d.Duration), codec.Value(d.Cutoff)
	if cutoff >= duration {
		return awserr.Validation("Cutoff was %d but must be smaller than %d (Duration - 1 )", cutoff, duration)
	}
	_, err := whenOf(d)
	return err
}

// CreateMaintenanceWindow makes a window. The same ClientToken with the same request answers the first result again.
func (s *Service) CreateMaintenanceWindow(ctx context.Context, in *ssm.CreateMaintenanceWindowInput) (*ssm.CreateMaintenanceWindowOutput, error) {
	if err := tag.Check(in.Tags); err != nil {
		return nil, err
	}
	if err := check(in); err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	id, err := arn.NewWindowID(s.random)
	if err != nil {
		return nil, err
	}
	d := *in
	d.ClientToken, d.Tags = nil, nil
	id, err = s.once(ctx, "CreateMaintenanceWindow", in.ClientToken, keyed(in), id, func(tx *store.Tx) error {
		if n, err := tx.WindowCount(sc); err != nil {
			return err
		} else if n >= maxWindows {
			return ssm.ResourceLimitExceededException("There are %d maintenance windows already; at most %d are allowed.", n, maxWindows)
		}
		w := store.Window{ID: id, Name: codec.Value(in.Name), Enabled: true, Body: string(codec.Marshal(&d)), CreatedAt: tx.Now(), ModifiedAt: tx.Now(), AnchorAt: tx.Now()}
		if err := plan(&w, &d, tx.Now()); err != nil {
			return err
		}
		if err := tx.InsertWindow(sc, w); err != nil {
			return err
		}
		for _, t := range in.Tags {
			if err := tx.PutTag(sc, resourceType, id, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
				return err
			}
		}
		return promise(tx, sc, &w)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.CreateMaintenanceWindowOutput{WindowId: &id}, nil
}

func keyed(in *ssm.CreateMaintenanceWindowInput) codec.Encodable {
	k := *in
	k.ClientToken = nil
	return &k
}

// once runs fn unless the token was used before: then it answers what was made that time.
func (s *Service) once(ctx context.Context, operation string, token *string, in codec.Encodable, id string, fn func(tx *store.Tx) error) (string, error) {
	made, err := s.store.UpdateOnce(ctx, store.ScopeOf(ctx), operation, codec.Value(token), store.Hash(codec.Marshal(in)), id, fn)
	if errors.Is(err, store.ErrTokenMismatch) {
		err = ssm.IdempotentParameterMismatch("The client token was used before with another request.")
	}
	return made, err
}

// promise makes the work item of a window's next instant the one that stands.
func promise(tx *store.Tx, sc store.Scope, w *store.Window) error {
	if err := tx.Unschedule(WorkOpen, sc, w.ID); err != nil || w.NextAt.IsZero() {
		return err
	}
	return tx.Schedule(WorkOpen, sc, w.ID, w.NextAt)
}

// GetMaintenanceWindow answers a window.
func (s *Service) GetMaintenanceWindow(ctx context.Context, in *ssm.GetMaintenanceWindowInput) (*ssm.GetMaintenanceWindowOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.WindowId)
	var out *ssm.GetMaintenanceWindowOutput
	err := s.store.View(ctx, func(tx *store.Tx) error {
		w, d, err := read(tx, sc, id)
		if err != nil {
			return err
		}
		out = &ssm.GetMaintenanceWindowOutput{
			WindowId: &w.ID, Name: d.Name, Description: d.Description, StartDate: d.StartDate, EndDate: d.EndDate, Schedule: d.Schedule,
			ScheduleTimezone: d.ScheduleTimezone, ScheduleOffset: d.ScheduleOffset, NextExecutionTime: nextText(&w, d), Duration: d.Duration, Cutoff: d.Cutoff,
			AllowUnassociatedTargets: d.AllowUnassociatedTargets, Enabled: &w.Enabled, CreatedDate: codec.NewTime(w.CreatedAt), ModifiedDate: codec.NewTime(w.ModifiedAt),
		}
		return nil
	})
	return out, err
}

// UpdateMaintenanceWindow changes a window: absent members stay, or go with Replace.
func (s *Service) UpdateMaintenanceWindow(ctx context.Context, in *ssm.UpdateMaintenanceWindowInput) (*ssm.UpdateMaintenanceWindowOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.WindowId)
	var out *ssm.UpdateMaintenanceWindowOutput
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		w, d, err := lock(tx, sc, id)
		if err != nil {
			return err
		}
		was := *d
		if codec.Value(in.Replace) {
			if missing := firstMissing(in); missing != "" {
				return awserr.Validation("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", missing)
			}
			d = &definition{}
		}
		set(&d.Name, in.Name)
		set(&d.Description, in.Description)
		set(&d.StartDate, in.StartDate)
		set(&d.EndDate, in.EndDate)
		set(&d.Schedule, in.Schedule)
		set(&d.ScheduleTimezone, in.ScheduleTimezone)
		set(&d.ScheduleOffset, in.ScheduleOffset)
		set(&d.Duration, in.Duration)
		set(&d.Cutoff, in.Cutoff)
		set(&d.AllowUnassociatedTargets, in.AllowUnassociatedTargets)
		if err := check(d); err != nil {
			return err
		}
		if in.Enabled != nil {
			w.Enabled = *in.Enabled
		}
		if changedSchedule(&was, d) {
			w.AnchorAt = tx.Now()
		}
		w.Name, w.Body, w.ModifiedAt = codec.Value(d.Name), string(codec.Marshal(d)), tx.Now()
		from, due := tx.Now(), w.NextAt
		waits := !due.IsZero() && !due.After(from) // it has come, and was not worked off yet: it stays unless the change takes it away
		if waits {
			from = due.Add(-1)
		}
		if err := plan(&w, d, from); err != nil {
			return err
		}
		if err := tx.SaveWindow(sc, w); err != nil {
			return err
		}
		out = &ssm.UpdateMaintenanceWindowOutput{
			WindowId: &w.ID, Name: d.Name, Description: d.Description, StartDate: d.StartDate, EndDate: d.EndDate, Schedule: d.Schedule,
			ScheduleTimezone: d.ScheduleTimezone, ScheduleOffset: d.ScheduleOffset, Duration: d.Duration, Cutoff: d.Cutoff,
			AllowUnassociatedTargets: d.AllowUnassociatedTargets, Enabled: &w.Enabled,
		}
		if waits && w.NextAt.Equal(due) { // its work item says whether it may run: after a restore it may not
			return nil
		}
		return promise(tx, sc, &w)
	})
	return out, err
}

func set[T any](into **T, v *T) {
	if v != nil {
		*into = v
	}
}

// firstMissing is the first required member that an update with Replace leaves out.
func firstMissing(in *ssm.UpdateMaintenanceWindowInput) string {
	switch {
	case in.Name == nil:
		return "name"
	case in.Schedule == nil:
		return "schedule"
	case in.Duration == nil:
		return "duration"
	case in.Cutoff == nil:
		return "cutoff"
	case in.AllowUnassociatedTargets == nil:
		return "allowUnassociatedTargets"
	}
	return ""
}

// DeleteMaintenanceWindow removes a window with its targets and tasks and cancels its running execution, whose history
// stays. An id that does not exist is answered with success, so that the call can be repeated.
func (s *Service) DeleteMaintenanceWindow(ctx context.Context, in *ssm.DeleteMaintenanceWindowInput) (*ssm.DeleteMaintenanceWindowOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.WindowId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockWindow(sc, id); errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if e, err := tx.RunningWindowExecution(sc, id); err == nil {
			if err := s.cancel(tx, sc, e.ID); err != nil {
				return err
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := tx.Unschedule(WorkOpen, sc, id); err != nil {
			return err
		}
		if err := tx.DeleteTags(sc, resourceType, id); err != nil {
			return err
		}
		return tx.DeleteWindow(sc, id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeleteMaintenanceWindowOutput{WindowId: &id}, nil
}

// filters turns Key and Values into a test for each key; an unknown key is refused.
func filters(list []ssm.MaintenanceWindowFilter, keys ...string) (func(key string, values ...string) bool, error) {
	for _, f := range list {
		ok := false
		for _, k := range keys {
			ok = ok || strings.EqualFold(k, codec.Value(f.Key))
		}
		if !ok {
			return nil, awserr.Validation("%s is not a valid filter key. Valid keys are: %s", codec.Value(f.Key), strings.Join(keys, ", "))
		}
	}
	return func(key string, values ...string) bool {
		for _, f := range list {
			if !strings.EqualFold(codec.Value(f.Key), key) {
				continue
			}
			hit := false
			for _, want := range f.Values {
				for _, have := range values {
					hit = hit || strings.EqualFold(have, want) || key == "Name" && strings.HasPrefix(have, want)
				}
			}
			if !hit {
				return false
			}
		}
		return true
	}, nil
}

// DescribeMaintenanceWindows lists windows by their creation.
func (s *Service) DescribeMaintenanceWindows(ctx context.Context, in *ssm.DescribeMaintenanceWindowsInput) (*ssm.DescribeMaintenanceWindowsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindows", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	takes, err := filters(in.Filters, "Name", "Enabled")
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeMaintenanceWindowsOutput{WindowIdentities: []ssm.MaintenanceWindowIdentity{}}
	var rows []store.Window
	err = s.each(ctx, pg.At(0), pg.At(1), func(w store.Window, _ *definition) bool {
		if takes("Name", w.Name) && takes("Enabled", map[bool]string{true: "true", false: "false"}[w.Enabled]) {
			rows = append(rows, w)
		}
		return len(rows) <= pg.Size
	})
	if err != nil {
		return nil, err
	}
	rows, out.NextToken = page.Cut(pg, rows, func(w store.Window) []string { return []string{microseconds(w.CreatedAt), w.ID} })
	for i := range rows {
		w := &rows[i]
		d, err := decode[definition](w.Body)
		if err != nil {
			return nil, err
		}
		out.WindowIdentities = append(out.WindowIdentities, ssm.MaintenanceWindowIdentity{
			WindowId: &w.ID, Name: d.Name, Description: d.Description, Enabled: &w.Enabled, Duration: d.Duration, Cutoff: d.Cutoff, Schedule: d.Schedule,
			ScheduleTimezone: d.ScheduleTimezone, ScheduleOffset: d.ScheduleOffset, StartDate: d.StartDate, EndDate: d.EndDate, NextExecutionTime: nextText(w, d),
		})
	}
	return out, nil
}
