// Package schedule reads the schedules of Systems Manager (cron(), rate() and at() expressions) and says when they
// fire: offsets in days, time zones, changes of the clock, valid periods, and the opening, cutoff and end of a
// maintenance window. It starts nothing and knows no clock: instants come in as parameters and go out as values.
// Start with ParseWindow or ParseAssociation and Window.Next.
package schedule

import (
	"math"
	"time"
)

// Kind is the form of a schedule expression.
type Kind int

// The forms of schedule expressions.
const (
	Cron Kind = iota + 1
	Rate
	At
)

// String returns the word that the expression starts with.
func (k Kind) String() string {
	switch k {
	case Cron:
		return "cron"
	case Rate:
		return "rate"
	case At:
		return "at"
	}
	return "none"
}

// Years that schedules can name; nothing fires outside of them.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions".
const (
	FirstYear = 1970
	LastYear  = 2199
)

// Schedule is a parsed expression with the zone and the anchor that it is read by. The zero value has no expression
// and never fires; ParseWindow and ParseAssociation make the others. Schedules can be compared with ==.
type Schedule struct {
	text   string
	kind   Kind
	cron   cron
	period int64 // of a rate, in seconds
	days   int64 // of a rate in days: their number; 0 for minutes and hours
	at     int64 // of at(): its wall-clock second
	zone   *time.Location
	anchor time.Time
	// elapsedDays makes a rate in days count 24 hours a day whatever the clock of the zone does.
	elapsedDays bool
}

// Kind returns the form of the expression; 0 for the zero value.
func (s Schedule) Kind() Kind { return s.kind }

// IsZero reports whether s has no expression.
func (s Schedule) IsZero() bool { return s.kind == 0 }

// String returns the expression as it was written, with one blank between fields and names in capitals. Parsing it
// gives an equal schedule.
func (s Schedule) String() string { return s.text }

// Period returns the interval of a rate, and 0 for other schedules. A day counts 24 hours.
func (s Schedule) Period() time.Duration { return time.Duration(s.period) * time.Second }

// In returns s read in a time zone; nil is UTC, as is a schedule without a call of In. It is the zone of the
// wall-clock times of cron and at, and of the clock that a rate in days follows.
func (s Schedule) In(zone *time.Location) Schedule {
	s.zone = zone
	return s
}

// From returns s with the instant from which a rate counts: it fires there and every period after it. Without a
// call of From that is the start of 1970 in UTC. Other schedules have no use for it.
func (s Schedule) From(anchor time.Time) Schedule {
	s.anchor = anchor
	return s
}

// Location returns the zone that s is read in, never nil.
func (s Schedule) Location() *time.Location {
	if s.zone == nil {
		return time.UTC
	}
	return s.zone
}

// Next returns the first instant strictly after t at which the schedule fires, in the schedule's zone, or false when
// there is none up to the year 2199. A local time that a change of the clock skips fires at the first
// instant after the gap; one that is repeated fires once, at its first occurrence. A cron expression whose hours have
// * or a step follows the real hours instead: what is skipped does not fire, what is repeated fires again. Never does
// a schedule fire twice at one instant.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions", which says nothing of clock changes: those
// rules are Oakum's, docs/schedules.md.
func (s Schedule) Next(t time.Time) (time.Time, bool) { return s.next(t, 0, time.Time{}) }

// next is Next for a cron expression that fires a number of calendar days after each of its times. Times up to
// changed give no run, whenever that would be; the zero time excludes none.
func (s Schedule) next(t time.Time, offsetDays int, changed time.Time) (time.Time, bool) {
	// Outside of these no clock shows a year that schedules can name. The arithmetic below needs such a bound.
	if t.Year() > LastYear+1 {
		return time.Time{}, false
	}
	if t.Unix() < -secondsPerDay {
		t = time.Unix(-secondsPerDay, 0)
	}
	var next time.Time
	ok := false
	switch s.kind {
	case Cron:
		next, ok = s.nextCron(t, int64(offsetDays)*secondsPerDay, changed)
	case Rate:
		next = s.nextRate(t)
		ok = next.In(s.Location()).Year() <= LastYear
	case At:
		u, _ := resolve(s.at, s.Location())
		next = time.Unix(u, 0)
		ok = next.After(t)
	}
	if !ok {
		return time.Time{}, false
	}
	return next.In(s.Location()), true
}

func (s Schedule) nextCron(t time.Time, offset int64, changed time.Time) (time.Time, bool) {
	zone := s.Location()
	lowest := int64(math.MinInt64)
	if !changed.IsZero() {
		var ok bool
		if lowest, ok = s.cron.firstAfter(changed, zone); !ok {
			return time.Time{}, false
		}
	}
	// search returns the first wall-clock second from w on that has a run.
	search := func(w int64) (int64, bool) {
		found, ok := s.cron.next(max(w-offset, lowest))
		return found + offset, ok
	}
	if !s.cron.everyHour {
		w := wallClock(t, zone) + 1
		for {
			found, ok := search(w)
			if !ok {
				return time.Time{}, false
			}
			// Within a repeated hour the times ahead have fired already: at most a dozen an hour are passed over.
			if u, _ := resolve(found, zone); u > t.Unix() {
				return time.Unix(u, 0), true
			}
			w = found + 1
		}
	}
	// u is the first second that may fire.
	for u := t.Unix() + 1; ; {
		utcOffset, end := stretch(u, zone)
		found, ok := search(u + utcOffset)
		if ok && found-utcOffset < end {
			return time.Unix(found-utcOffset, 0), true
		}
		if end == math.MaxInt64 {
			return time.Time{}, false
		}
		switch {
		case end-u < repeatable:
			u = end // the clock may be put back there, before times that found has passed
		case !ok:
			return time.Time{}, false
		default:
			u = max(end, found-maxUTCOffset)
		}
	}
}

func (s Schedule) nextRate(t time.Time) time.Time {
	anchor := s.anchor
	if anchor.IsZero() {
		anchor = time.Unix(0, 0)
	}
	if t.Before(anchor) {
		return anchor
	}
	if s.days == 0 || s.elapsedDays {
		since := t.Unix() - anchor.Unix()
		if t.Nanosecond() < anchor.Nanosecond() {
			since--
		}
		return time.Unix(anchor.Unix()+(since/s.period+1)*s.period, int64(anchor.Nanosecond()))
	}
	zone := s.Location()
	first := wallClock(anchor, zone)
	// Two steps earlier than the wall clock says, as that may have been put forward by a day.
	for k := max(1, (wallClock(t, zone)-first)/s.period-2); ; k++ {
		u, exact := resolve(first+k*s.period, zone)
		next := time.Unix(u, 0)
		if exact {
			next = time.Unix(u, int64(anchor.Nanosecond()))
		}
		if next.After(t) {
			return next
		}
	}
}
