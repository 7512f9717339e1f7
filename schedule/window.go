package schedule

import (
	"iter"
	"time"
)

// The limits of a maintenance window.
// Source: AWS Systems Manager API Reference, CreateMaintenanceWindow.
const (
	MinDuration   = 1 * time.Hour
	MaxDuration   = 24 * time.Hour
	MaxCutoff     = 23 * time.Hour
	MinOffsetDays = 1
	MaxOffsetDays = 6
)

// Window is when a maintenance window runs.
type Window struct {
	Schedule Schedule // from ParseWindow; its zone and anchor are not looked at
	// Zone is the ScheduleTimezone, nil for none: UTC.
	Zone *time.Location
	// OffsetDays is the ScheduleOffset: calendar days from a time of the cron expression to the run, 1 to 6; 0 for none.
	OffsetDays int
	// StartDate and EndDate bound the runs, both included; the zero time does not bound them. A run that has begun goes
	// on past EndDate.
	StartDate, EndDate time.Time
	// ChangedAt is when the window was created, or Schedule, Zone, OffsetDays or StartDate last changed. A rate counts
	// from it unless StartDate is later, and a cron expression with an offset makes up for no day before it.
	ChangedAt time.Time
	Duration  time.Duration // 1 to 24 hours of elapsed time
	Cutoff    time.Duration // 0 to 23 hours and less than Duration: no new task starts in the last of them
	Disabled  bool
	// ElapsedDays makes a rate in days count 24 hours a day. Otherwise runs keep their time on the clocks of Zone.
	ElapsedDays bool
}

// Validate checks what the parts of a window ask of each other. The error is an *Error.
func (w *Window) Validate() error {
	if w.Schedule.IsZero() {
		return invalid("Schedule is missing")
	}
	if err := validateOffset(w.Schedule, w.OffsetDays); err != nil {
		return err
	}
	if w.Duration < MinDuration || w.Duration > MaxDuration {
		return invalid("Duration must be 1 to 24 hours, got %s", w.Duration)
	}
	if w.Cutoff < 0 || w.Cutoff > MaxCutoff {
		return invalid("Cutoff must be 0 to 23 hours, got %s", w.Cutoff)
	}
	if w.Cutoff >= w.Duration {
		return invalid("Cutoff must be less than Duration, got %s and %s", w.Cutoff, w.Duration)
	}
	if !w.StartDate.IsZero() && !w.EndDate.IsZero() && !w.StartDate.Before(w.EndDate) {
		return invalid("StartDate %s must be before EndDate %s", w.StartDate.Format(time.RFC3339), w.EndDate.Format(time.RFC3339))
	}
	return nil
}

func validateOffset(s Schedule, days int) error {
	if days == 0 {
		return nil
	}
	if s.Kind() != Cron {
		return invalid("ScheduleOffset needs a cron expression, got '%s'", s)
	}
	if days < MinOffsetDays || days > MaxOffsetDays {
		return invalid("ScheduleOffset must be %d to %d days, got %d", MinOffsetDays, MaxOffsetDays, days)
	}
	return nil
}

// Next returns the first run strictly after now, in the window's zone, or false when there is none: the window is
// disabled, its EndDate is over, or its schedule is. A rate runs first at StartDate when that was still to come at
// ChangedAt, otherwise one period after ChangedAt. With an offset, a run belongs to the time of the cron expression
// that it follows: it takes place only when that was after ChangedAt, and StartDate and EndDate bound the run itself.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions", schedule offsets.
func (w *Window) Next(now time.Time) (time.Time, bool) {
	if w.Disabled {
		return time.Time{}, false
	}
	after, changed := now, w.ChangedAt
	anchor := w.ChangedAt
	if w.StartDate.After(w.ChangedAt) {
		anchor = w.StartDate
	}
	if w.OffsetDays == 0 {
		// Every run up to ChangedAt is excluded by after, also one in the first pass of an hour that is repeated.
		if changed.After(after) {
			after = changed
		}
		changed = time.Time{}
	}
	// StartDate itself may run.
	if before := w.StartDate.Add(-1); !w.StartDate.IsZero() && before.After(after) {
		after = before
	}
	s := w.Schedule.In(w.Zone).From(anchor)
	s.elapsedDays = w.ElapsedDays
	t, ok := s.next(after, w.OffsetDays, changed)
	if !ok || !w.EndDate.IsZero() && t.After(w.EndDate) {
		return time.Time{}, false
	}
	return t, true
}

// Runs returns the runs strictly after an instant, in order. There may be very many: the caller ends the loop.
func (w *Window) Runs(after time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for t, ok := w.Next(after); ok && yield(t); t, ok = w.Next(t) {
		}
	}
}

// Execution returns the times of the run that starts at an instant.
func (w *Window) Execution(start time.Time) Execution {
	return Execution{Start: start, End: start.Add(w.Duration), Cutoff: w.Cutoff}
}

// Execution is one run of a maintenance window. Its length and cutoff are elapsed time, whatever the clocks of the
// window's zone do meanwhile.
type Execution struct {
	Start  time.Time
	End    time.Time     // the first instant that is no longer in the window
	Cutoff time.Duration // before End; not negative
}

// CutoffAt returns the instant from which no new task starts.
func (e Execution) CutoffAt() time.Time { return e.End.Add(-e.Cutoff) }

// Open reports whether the window admits new tasks at now: at or after its start and before end minus cutoff. A run
// that could not start in time may start late while this is true.
func (e Execution) Open(now time.Time) bool {
	return !now.Before(e.Start) && now.Before(e.CutoffAt())
}

// Over reports whether the window has ended at now.
func (e Execution) Over(now time.Time) bool { return !now.Before(e.End) }

// FormatTime returns an instant as NextExecutionTime and ExecutionTime have it: in a zone (nil is UTC), always with
// seconds, with a fraction only when there is one: 2027-03-14T03:00:00-07:00.
func FormatTime(t time.Time, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format(time.RFC3339Nano)
}

// dateForms are the forms of StartDate and EndDate; a fraction of a second may follow the seconds of any.
var dateForms = []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"}

// ParseDate reads a StartDate or EndDate: an ISO 8601 extended date, with a time and an offset from UTC where wanted.
// Without an offset it is in UTC, as the window's zone has no influence on it. The error is an *Error.
func ParseDate(s string) (time.Time, error) {
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("'%s' is not a date of the form 2027-01-01T00:00:00+01:00", s)
}
