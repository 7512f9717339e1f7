package association

import (
	"errors"
	"strconv"
	"time"

	"oakum.dev/internal/store"
	"oakum.dev/schedule"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// whenOf is when an association of that definition runs, in a zone; empty: UTC.
func whenOf(d *definition, zone string) (*schedule.Association, error) {
	w := &schedule.Association{OffsetDays: int(codec.Value(d.ScheduleOffset)), OnlyAtCronInterval: codec.Value(d.ApplyOnlyAtCronInterval)}
	var err error
	if e := codec.Value(d.ScheduleExpression); e != "" {
		if w.Schedule, err = schedule.ParseAssociation(e); err != nil {
			return nil, invalid(err)
		}
	}
	if w.Zone, err = schedule.LoadZone(zone); err != nil {
		return nil, invalid(err)
	}
	return w, invalid(w.Validate())
}

// checkSchedule refuses what no new version of an association can have. What is stored may be older than that.
func checkSchedule(d *definition) error {
	if codec.Value(d.ApplyOnlyAtCronInterval) && codec.Value(d.ScheduleExpression) == "" {
		return ssm.InvalidSchedule("ApplyOnlyAtCronInterval needs a ScheduleExpression: without one there is no interval to wait for.")
	}
	w, err := whenOf(d, "")
	if err != nil || w.Schedule.Kind() != schedule.Cron {
		return err
	}
	if _, ever := w.Schedule.Next(time.Time{}); !ever {
		return ssm.InvalidSchedule("Schedule expression '%s' is not valid: no day is ever one of it.", codec.Value(d.ScheduleExpression))
	}
	return nil
}

// invalid makes an answer of what package schedule says of an expression.
func invalid(err error) error {
	if e, ok := errors.AsType[*schedule.Error](err); ok {
		return ssm.InvalidSchedule("%s", e.Message)
	}
	return err
}

// runsAtOnce reports whether a new version of an association runs before its schedule says so.
func runsAtOnce(d *definition) bool {
	return !codec.Value(d.ApplyOnlyAtCronInterval) || codec.Value(d.ScheduleExpression) == ""
}

// oneShot reports whether an association runs only when it was told to, and not for nodes that come later: those of Patch
// now, what waits for its interval, and what runs at one instant.
func oneShot(d *definition) bool {
	name := codec.Value(d.AssociationName)
	if name == PatchNow || name == PatchReboot || !runsAtOnce(d) {
		return true
	}
	w, err := whenOf(d, "")
	return err != nil || w.Schedule.Kind() == schedule.At
}

// plan sets an association's next instant after a time, and makes its work item the one that stands.
func (s *Service) plan(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, after time.Time) error {
	tags, err := tx.Tags(sc, resourceType, a.ID)
	if err != nil {
		return err
	}
	when, err := whenOf(d, tagged(tags, ZoneTag))
	if err != nil { // a tag that is no zone does not stop the schedule
		if when, err = whenOf(d, ""); err != nil {
			return err
		}
	}
	when.ChangedAt = a.AnchorAt
	a.NextAt = time.Time{}
	if next, ok := when.Next(after); ok {
		a.NextAt = next.UTC()
	}
	if err := tx.Unschedule(WorkRun, sc, a.ID); err != nil || a.NextAt.IsZero() {
		return err
	}
	return tx.Schedule(WorkRun, sc, a.ID, a.NextAt)
}

func tagged(tags []store.Tag, key string) string {
	for _, t := range tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// Times of runs.
const (
	beginWithin = 10 * time.Minute // until nodes that run beside each other must have begun
	turnTime    = 30 * time.Minute // more for every turn that rate control makes
	maxTimeout  = 30 * 24 * time.Hour
	lateBy      = 15 * time.Minute // a run that could not begin in time begins so late, unless Duration says otherwise
	ownWithin   = 2 * time.Hour    // until a node's own agent must have reported
	onlineFor   = 11 * time.Minute // how long a node that was heard of counts as there
	againAfter  = 30 * time.Minute // between tries of a node that is there and takes nothing
	tickEvery   = 15 * time.Second // how often a run that goes on is looked at
)

// timeout is how long until the last of so many nodes must have begun, in seconds.
func timeout(tags []store.Tag, concurrency, nodes int) int64 {
	if n, err := strconv.ParseInt(tagged(tags, TimeoutTag), 10, 64); err == nil && n >= 30 && time.Duration(n)*time.Second <= maxTimeout {
		return n
	}
	turns := max(1, (nodes+concurrency-1)/max(concurrency, 1))
	return int64(min(beginWithin+turnTime*time.Duration(turns-1), maxTimeout).Seconds())
}

// cutoff is when nothing of a run that was due may start any more, or the zero time.
func cutoff(d *definition, due time.Time) time.Time {
	hours := codec.Value(d.Duration)
	if hours == 0 {
		return time.Time{}
	}
	return due.Add(time.Duration(hours) * time.Hour)
}

// missed reports whether it is too late for a run that was due.
func missed(d *definition, due, now time.Time) bool {
	last := cutoff(d, due)
	if last.IsZero() {
		last = due.Add(lateBy)
	}
	return !now.Before(last)
}
