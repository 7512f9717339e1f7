package window

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/schedule"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// invalid makes an answer of what package schedule says of an expression or a date.
func invalid(err error) error {
	if e, ok := errors.AsType[*schedule.Error](err); ok {
		return awserr.Validation("%s", e.Message)
	}
	return err
}

// instant reads a date of a request.
func instant(s string) (time.Time, error) { return schedule.ParseDate(s) }

// whenOf is when a window of that definition runs.
func whenOf(d *definition) (*schedule.Window, error) {
	w := &schedule.Window{
		OffsetDays: int(codec.Value(d.ScheduleOffset)), Duration: time.Duration(codec.Value(d.Duration)) * time.Hour, Cutoff: time.Duration(codec.Value(d.Cutoff)) * time.Hour,
	}
	var err error
	if w.Schedule, err = schedule.ParseWindow(codec.Value(d.Schedule)); err != nil {
		return nil, invalid(err)
	}
	if w.Zone, err = schedule.LoadZone(codec.Value(d.ScheduleTimezone)); err != nil {
		return nil, invalid(err)
	}
	for _, date := range []struct {
		text *string
		into *time.Time
	}{{d.StartDate, &w.StartDate}, {d.EndDate, &w.EndDate}} {
		if codec.Value(date.text) == "" {
			continue
		}
		if *date.into, err = schedule.ParseDate(*date.text); err != nil {
			return nil, invalid(err)
		}
		*date.into = date.into.Truncate(time.Microsecond) // as the database keeps instants: a finer one would come again and again
	}
	return w, invalid(w.Validate())
}

// at is when a stored window runs.
func at(w *store.Window, d *definition) (*schedule.Window, error) {
	when, err := whenOf(d)
	if err != nil {
		return nil, err
	}
	when.ChangedAt, when.Disabled = w.AnchorAt, !w.Enabled
	return when, nil
}

// plan sets a window's next instant after now.
func plan(w *store.Window, d *definition, now time.Time) error {
	when, err := at(w, d)
	if err != nil {
		return err
	}
	w.NextAt = time.Time{}
	if next, ok := when.Next(now); ok {
		w.NextAt = next.UTC()
	}
	return nil
}

// changedSchedule reports whether a change is one of when the window runs: rates count anew from it.
func changedSchedule(a, b *definition) bool {
	return codec.Value(a.Schedule) != codec.Value(b.Schedule) || codec.Value(a.ScheduleTimezone) != codec.Value(b.ScheduleTimezone) ||
		codec.Value(a.ScheduleOffset) != codec.Value(b.ScheduleOffset) || codec.Value(a.StartDate) != codec.Value(b.StartDate)
}

// nextText is NextExecutionTime: in the window's zone; nil when there is none.
func nextText(w *store.Window, d *definition) *string {
	if w.NextAt.IsZero() {
		return nil
	}
	zone, err := schedule.LoadZone(codec.Value(d.ScheduleTimezone))
	if err != nil { // the database of zones has lost it since
		zone = time.UTC
	}
	return new(schedule.FormatTime(w.NextAt, zone))
}

// named is a window in a list by name.
type named struct {
	store.Window
	*definition
}

// forTarget lists the windows that have a registered target which shares a key and a value with one of those asked for: with
// node ids also those that reach the node by its tags.
func (s *Service) forTarget(ctx context.Context, kind string, asked []ssm.Target) (out []named, err error) {
	sc := store.ScopeOf(ctx)
	var all []named
	if err := s.each(ctx, "", "", func(w store.Window, d *definition) bool { all = append(all, named{w, d}); return true }); err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		nodes, err := s.nodesOf(tx, sc, asked)
		if err != nil {
			return err
		}
		for _, w := range all {
			rows, err := tx.WindowParts(sc, w.ID, store.WindowTarget)
			if err != nil {
				return err
			}
			for _, p := range rows {
				d, err := decode[registeredTarget](p.Body)
				if err != nil {
					return err
				}
				if (kind == "" || codec.Value(d.ResourceType) == kind) && reaches(d.Targets, asked, nodes) {
					out = append(out, w)
					break
				}
			}
		}
		return nil
	})
	return out, err
}

// nodesOf are the nodes that targets name by id, with what other targets reach them by.
func (s *Service) nodesOf(tx *store.Tx, sc store.Scope, asked []ssm.Target) ([]target.Node, error) {
	var out []target.Node
	for _, t := range asked {
		if !strings.EqualFold(codec.Value(t.Key), "InstanceIds") {
			continue
		}
		for _, id := range t.Values {
			list, err := tx.Tags(sc, "ManagedInstance", id)
			if err != nil {
				return nil, err
			}
			n := target.Node{ID: id, Tags: map[string]string{}, Types: []string{"AWS::SSM::ManagedInstance"}}
			for _, x := range list {
				n.Tags[x.Key] = x.Value
			}
			if n.Groups, err = s.Groups(tx, sc, id); err != nil {
				return nil, err
			}
			out = append(out, n)
		}
	}
	return out, nil
}

// reaches reports whether a registration reaches one of the targets that are asked for.
func reaches(registered, asked []ssm.Target, nodes []target.Node) bool {
	var list []target.Target
	for _, r := range registered {
		list = append(list, target.Target{Key: codec.Value(r.Key), Values: r.Values})
	}
	for _, n := range nodes {
		if target.Match(list, n) {
			return true
		}
	}
	for _, q := range asked {
		for _, r := range registered {
			if strings.EqualFold(codec.Value(q.Key), codec.Value(r.Key)) && slices.ContainsFunc(q.Values, func(v string) bool { return slices.Contains(r.Values, v) }) {
				return true
			}
		}
	}
	return false
}

// DescribeMaintenanceWindowsForTarget lists the windows that reach a node or what else is asked for.
func (s *Service) DescribeMaintenanceWindowsForTarget(ctx context.Context, in *ssm.DescribeMaintenanceWindowsForTargetInput) (*ssm.DescribeMaintenanceWindowsForTargetOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowsForTarget", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	list, err := s.forTarget(ctx, codec.Value(in.ResourceType), in.Targets)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b named) int { return cmp.Compare(a.ID, b.ID) })
	out := &ssm.DescribeMaintenanceWindowsForTargetOutput{WindowIdentities: []ssm.MaintenanceWindowIdentityForTarget{}}
	list, out.NextToken = page.Slice(pg, list, func(w named) string { return w.ID })
	for _, w := range list {
		out.WindowIdentities = append(out.WindowIdentities, ssm.MaintenanceWindowIdentityForTarget{WindowId: new(w.ID), Name: new(w.Window.Name)})
	}
	return out, nil
}

// horizon bounds how far ahead runs are listed when nobody says until when.
const horizon = 366 * 24 * time.Hour

// maxRuns bounds how many runs one answer lists.
const maxRuns = 1000

// DescribeMaintenanceWindowSchedule lists the next runs of a window, of those that reach a target, or of all of them, in
// the order of time: those of a year ahead, unless ScheduledBefore says otherwise.
func (s *Service) DescribeMaintenanceWindowSchedule(ctx context.Context, in *ssm.DescribeMaintenanceWindowScheduleInput) (*ssm.DescribeMaintenanceWindowScheduleOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeMaintenanceWindowSchedule", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	pg.Size = min(pg.Size, maxRuns) // MaxResults has no bound of its own
	from := s.now()
	until := from.Add(horizon)
	for _, f := range in.Filters {
		for _, v := range f.Values {
			t, err := instant(v)
			if err != nil {
				return nil, awserr.Validation("%s: %s is not an ISO 8601 date and time", codec.Value(f.Key), v)
			}
			switch codec.Value(f.Key) {
			case "ScheduledBefore":
				until = t
			case "ScheduledAfter":
				from = t
			default:
				return nil, awserr.Validation("%s is not a valid filter key. Valid keys are: ScheduledBefore, ScheduledAfter", codec.Value(f.Key))
			}
		}
	}
	list, err := s.wantedWindows(ctx, in)
	if err != nil {
		return nil, err
	}
	// The key of a page is the run that it begins after, by time and window.
	after, afterID := from, ""
	if pg.Key != nil {
		after, afterID = fromMicroseconds(pg.At(0)), pg.At(1)
	}
	type run struct {
		at time.Time
		w  named
	}
	var runs []run
	inOrder := func(a, b run) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.w.ID, b.w.ID)) }
	for _, w := range list {
		if most := pg.Size + 1; len(runs) > 2*most { // no run behind these can be on this page: later windows need not look so far
			slices.SortFunc(runs, inOrder)
			runs = runs[:most]
			until = runs[most-1].at.Add(1)
		}
		when, err := at(&w.Window, w.definition)
		if err != nil {
			return nil, err
		}
		n := 0
		for t := range when.Runs(after.Add(-1)) { // others may run at the same instant
			if !t.Before(until) || n > pg.Size+1 {
				break
			}
			if t.After(from) && (t.After(after) || pg.Key != nil && w.ID > afterID) {
				runs = append(runs, run{t, w})
				n++
			}
		}
	}
	slices.SortFunc(runs, inOrder)
	out := &ssm.DescribeMaintenanceWindowScheduleOutput{ScheduledWindowExecutions: []ssm.ScheduledWindowExecution{}}
	runs, out.NextToken = page.Cut(pg, runs, func(r run) []string { return []string{microseconds(r.at), r.w.ID} })
	for _, r := range runs {
		out.ScheduledWindowExecutions = append(out.ScheduledWindowExecutions, ssm.ScheduledWindowExecution{
			WindowId: new(r.w.ID), Name: new(r.w.Window.Name), ExecutionTime: new(schedule.FormatTime(r.at, r.at.Location())),
		})
	}
	return out, nil
}

func (s *Service) wantedWindows(ctx context.Context, in *ssm.DescribeMaintenanceWindowScheduleInput) (list []named, err error) {
	switch id := codec.Value(in.WindowId); {
	case id != "":
		err = s.store.View(ctx, func(tx *store.Tx) error {
			w, d, err := read(tx, store.ScopeOf(ctx), id)
			list = append(list, named{w, d})
			return err
		})
		return list, err
	case len(in.Targets) > 0:
		return s.forTarget(ctx, codec.Value(in.ResourceType), in.Targets)
	}
	err = s.each(ctx, "", "", func(w store.Window, d *definition) bool { list = append(list, named{w, d}); return true })
	return list, err
}
