package schedule

import "time"

// Association is when a State Manager association runs.
type Association struct {
	Schedule Schedule // from ParseAssociation; the zero value is an association that runs once
	// Zone is the zone of cron and at, nil for UTC, which is all that AWS has.
	Zone *time.Location
	// OffsetDays is the ScheduleOffset: calendar days from a time of the cron expression to the run, 1 to 6; 0 for none.
	OffsetDays int
	// OnlyAtCronInterval is ApplyOnlyAtCronInterval: no run at once after a creation or a change.
	OnlyAtCronInterval bool
	// ChangedAt is when the association was created or last changed. A rate counts from it, and a cron expression with
	// an offset makes up for no day before it.
	ChangedAt time.Time
}

// Validate checks what the parts of an association's schedule ask of each other. The error is an *Error.
// Source: AWS Systems Manager API Reference, CreateAssociation.
func (a *Association) Validate() error {
	if a.OnlyAtCronInterval && a.Schedule.Kind() == Rate {
		return invalid("ApplyOnlyAtCronInterval is not supported for rate expressions")
	}
	if err := validateOffset(a.Schedule, a.OffsetDays); err != nil {
		return err
	}
	if a.OffsetDays != 0 && !a.OnlyAtCronInterval {
		return invalid("ScheduleOffset needs ApplyOnlyAtCronInterval")
	}
	return nil
}

// RunsAtOnce reports whether the association runs as soon as it is created or changed, before its schedule says so.
func (a *Association) RunsAtOnce() bool { return !a.OnlyAtCronInterval || a.Schedule.IsZero() }

// Next returns the first run by the schedule strictly after now, in the association's zone, or false when there is
// none. The run at once is not among them: a rate runs next one period after ChangedAt.
func (a *Association) Next(now time.Time) (time.Time, bool) {
	w := Window{Schedule: a.Schedule, Zone: a.Zone, OffsetDays: a.OffsetDays, ChangedAt: a.ChangedAt}
	return w.Next(now)
}
