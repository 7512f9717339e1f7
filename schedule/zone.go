package schedule

import (
	"math"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	secondsPerDay = 24 * 60 * 60
	// maxUTCOffset is more than any zone is away from UTC, in seconds.
	maxUTCOffset = 16 * 60 * 60
	// repeatable is more than any clock was ever put back at once, in seconds: a day and a night at the date line.
	repeatable = 2 * secondsPerDay
)

var zonePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+){0,2}\z`) })

// LoadZone returns the zone of the IANA time zone database with that name, as ScheduleTimezone has it; the empty name
// is UTC. The error is an *Error. Where the machine has no database the program must embed one (time/tzdata).
func LoadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	// Local is the server's own zone, and right/ counts leap seconds: neither is a zone of the database's names.
	if name == "Local" || strings.HasPrefix(name, "right/") || !zonePattern().MatchString(name) {
		return nil, invalid("ScheduleTimezone '%s' is not a name of the IANA time zone database", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, invalid("ScheduleTimezone '%s' is not a name of the IANA time zone database", name)
	}
	return zone, nil
}

// wallClock returns what the clocks of a zone show at t, as the seconds since 1970 of a clock that is never changed.
func wallClock(t time.Time, zone *time.Location) int64 {
	_, offset := t.In(zone).Zone()
	return t.Unix() + int64(offset)
}

// stretch returns the offset from UTC at the second u, and the end of a stretch of time, exclusive, in which it stays.
// The next stretch may have the same offset.
func stretch(u int64, zone *time.Location) (offset, end int64) {
	t := time.Unix(u, 0).In(zone)
	_, seconds := t.Zone()
	_, bound := t.ZoneBounds()
	end = math.MaxInt64
	if !bound.IsZero() {
		end = bound.Unix()
	}
	if end <= u {
		// Beyond the years that the database lists, the standard library ends every stretch after 365 days of a year,
		// so that the last day of a leap year comes after the end of its own.
		end = time.Date(t.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	}
	return int64(seconds), end
}

// resolve returns the first second at which the clocks of a zone show w. When a change of the clock skips w that is
// the first second after the gap, and exact is false.
func resolve(w int64, zone *time.Location) (u int64, exact bool) {
	for start := w - maxUTCOffset; ; {
		offset, end := stretch(start, zone)
		switch u := w - offset; {
		case u < start:
			return start, false
		case u < end:
			return u, true
		}
		start = end
	}
}
