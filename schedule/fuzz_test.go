package schedule_test

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"oakum.dev/schedule"
)

// FuzzParse wants of every expression that is taken: that it is read again from what it prints, that Next is strictly
// after its moment, skips nothing and never goes back, and that runs are five minutes apart where the clocks stand
// still. Of every other one it wants an error that points into it.
func FuzzParse(f *testing.F) {
	zones := []string{"UTC", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia", "Africa/Casablanca", "America/Santiago"}
	for i, e := range append([]string{
		"cron(30 23 ? * TUE#3 *)", "cron(0 0 29 2 ? *)", "cron(0 8 15W,LW 1/2 ? 2027-2199/7)", "cron(24 30 09 ? JAN-MAR FRI-MON *)",
		"cron(0 0 2 ? * SUN)", "cron(0/5 */2 L * ? *)", "cron(1,58 0,23 ? * MON *)", "rate(1 day)", "rate(36500 days)", "rate(45 minutes)",
		"at(2027-03-14T02:30:00)", "cron(0 0 ? * 6L *", "rate(1 days)", "at(2027-02-30T00:00:00)", "",
	}, oracleExpressions...) {
		f.Add(e, uint8(i), int64(1803000000+86400*i))
	}
	f.Fuzz(func(t *testing.T, expression string, zoneIndex uint8, second int64) {
		at := time.Unix(second, second%1e9)
		z := zone(t, zones[int(zoneIndex)%len(zones)])
		for _, parse := range []func(string) (schedule.Schedule, error){schedule.ParseWindow, schedule.ParseAssociation} {
			s, err := parse(expression)
			if err != nil {
				e, ok := errors.AsType[*schedule.Error](err)
				if !ok || e.Message == "" || e.Position < 0 || e.Position > utf8.RuneCountInString(expression)+1 || !s.IsZero() {
					t.Fatalf("parse(%q) = %#v, %#v", expression, s, err)
				}
				continue
			}
			if again, err := parse(s.String()); err != nil || again != s {
				t.Fatalf("parse(%q) = %#v, %v, want %#v", s, again, err, s)
			}
			checkNext(t, s, at)
			checkNext(t, s.In(z), at)
		}
	})
}

func checkNext(t *testing.T, s schedule.Schedule, at time.Time) {
	t.Helper()
	z := s.Location()
	first, ok := s.Next(at)
	if !ok {
		if later, ok := s.Next(at.Add(time.Hour)); ok && at.Before(later) {
			t.Fatalf("%s in %s: Next(%s) has none, and an hour later %s", s, z, at, later)
		}
		return
	}
	previous := first
	for range 3 {
		if !previous.After(at) || previous.Location() != z {
			t.Fatalf("%s in %s: Next(%s) = %s", s, z, at, previous)
		}
		between := at.Add(previous.Sub(at) / 2)
		for _, m := range []time.Time{between, previous.Add(-1)} {
			if got, ok := s.Next(m); m.Before(previous) && (!ok || !got.Equal(previous)) {
				t.Fatalf("%s in %s: Next(%s) = %s, %v, but Next(%s) = %s", s, z, m, got, ok, at, previous)
			}
		}
		next, ok := s.Next(previous)
		if !ok {
			return
		}
		if z == time.UTC && next.Sub(previous) < 5*time.Minute {
			t.Fatalf("%s: runs at %s and at %s", s, previous, next)
		}
		at, previous = previous, next
	}
}

var sink time.Time

// BenchmarkNext asks for the next run of schedules that are near, that are years away and that never come.
func BenchmarkNext(b *testing.B) {
	at := instant(b, "2027-03-01T12:34:56Z")
	for _, bc := range []struct{ name, expression, zone string }{
		{"daily/UTC", "cron(30 2 ? * * *)", "UTC"},
		{"daily/Los_Angeles", "cron(30 2 ? * * *)", "America/Los_Angeles"},
		{"every_hour/Los_Angeles", "cron(30 * * * ? *)", "America/Los_Angeles"},
		{"third_tuesday/Los_Angeles", "cron(30 23 ? * TUE#3 *)", "America/Los_Angeles"},
		{"leap_day/Los_Angeles", "cron(30 23 29 2 ? *)", "America/Los_Angeles"},
		{"fifth_monday_of_february/UTC", "cron(30 23 ? 2 MON#5 *)", "UTC"},
		{"nearest_weekdays/UTC", "cron(30 23 1W,15W,LW * ? *)", "UTC"},
		{"last_year/Los_Angeles", "cron(30 * 31 12 ? 2199)", "America/Los_Angeles"},
		{"never/Los_Angeles", "cron(30 * 31 2,4,6,9,11 ? *)", "America/Los_Angeles"},
		{"rate_in_days/Los_Angeles", "rate(7 days)", "America/Los_Angeles"},
		{"at/Los_Angeles", "at(2199-07-07T15:55:00)", "America/Los_Angeles"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			s := windowSchedule(b, bc.expression).In(zone(b, bc.zone))
			b.ReportAllocs()
			for b.Loop() {
				sink, _ = s.Next(at)
			}
		})
	}
}

// TestNextAllocatesNothing keeps previews of whole fleets cheap.
func TestNextAllocatesNothing(t *testing.T) {
	at := instant(t, "2027-03-01T12:34:56Z")
	for _, expression := range []string{"cron(30 2 ? * * *)", "cron(30 * * * ? *)", "cron(30 23 29 2 ? *)", "cron(0 8 15W,LW * ? *)", "rate(7 days)"} {
		s := windowSchedule(t, expression).In(zone(t, "America/Los_Angeles"))
		if n := testing.AllocsPerRun(100, func() { sink, _ = s.Next(at) }); n != 0 {
			t.Errorf("Next of %s allocates %v times", expression, n)
		}
	}
}

func TestOffsetAddsCalendarDays(t *testing.T) {
	t.Parallel()
	for _, expression := range oracleExpressions {
		for days := 1; days <= 6; days++ {
			w := schedule.Window{Schedule: windowSchedule(t, expression), OffsetDays: days, ChangedAt: instant(t, "2026-12-20T00:00:00Z")}
			cron := w.ChangedAt
			n := 0
			for run := range w.Runs(w.ChangedAt) {
				var ok bool
				if cron, ok = w.Schedule.Next(cron); !ok || !run.Equal(cron.AddDate(0, 0, days)) {
					t.Errorf("%s with offset %d runs at %s, which is not %d days after %s", expression, days, run, days, cron)
				}
				if n++; n == 50 {
					break
				}
			}
		}
	}
}
