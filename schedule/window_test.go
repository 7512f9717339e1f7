package schedule_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine that has none of its own

	"github.com/google/go-cmp/cmp"

	"oakum.dev/schedule"
)

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := schedule.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := schedule.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func windowSchedule(t testing.TB, expression string) schedule.Schedule {
	t.Helper()
	s, err := schedule.ParseWindow(expression)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNextRuns has the examples of the AWS guide, its arithmetic corrected, and those of docs/schedules.md, by number:
// what a window's runs are from a moment on. A list that ends with "none" is complete.
func TestNextRuns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		expression string
		zone       string
		offset     int
		start, end string
		changed    string
		from       string // changed when empty
		want       []string
	}{
		{
			name: "01_wednesdays_from_a_start_date", expression: "cron(0 09 ? * WED *)", zone: "America/Los_Angeles",
			start: "2021-01-01T00:00:00-08:00", changed: "2020-12-01",
			want: []string{"2021-01-06T09:00:00-08:00", "2021-01-13T09:00:00-08:00", "2021-01-20T09:00:00-08:00"},
		},
		{
			name: "02_seven_days_from_a_start_date_to_an_end_date", expression: "rate(7 days)", zone: "Asia/Tokyo",
			start: "2019-01-01T00:03:15+09:00", end: "2019-06-30T00:06:15+09:00", changed: "2018-12-01",
			want: []string{
				"2019-01-01T00:03:15+09:00", "2019-01-08T00:03:15+09:00", "2019-01-15T00:03:15+09:00", "2019-01-22T00:03:15+09:00",
				"2019-01-29T00:03:15+09:00", "2019-02-05T00:03:15+09:00", "2019-02-12T00:03:15+09:00", "2019-02-19T00:03:15+09:00",
				"2019-02-26T00:03:15+09:00", "2019-03-05T00:03:15+09:00", "2019-03-12T00:03:15+09:00", "2019-03-19T00:03:15+09:00",
				"2019-03-26T00:03:15+09:00", "2019-04-02T00:03:15+09:00", "2019-04-09T00:03:15+09:00", "2019-04-16T00:03:15+09:00",
				"2019-04-23T00:03:15+09:00", "2019-04-30T00:03:15+09:00", "2019-05-07T00:03:15+09:00", "2019-05-14T00:03:15+09:00",
				"2019-05-21T00:03:15+09:00", "2019-05-28T00:03:15+09:00", "2019-06-04T00:03:15+09:00", "2019-06-11T00:03:15+09:00",
				"2019-06-18T00:03:15+09:00", "2019-06-25T00:03:15+09:00", "none",
			},
		},
		{
			name: "03_once", expression: "at(2020-07-07T15:55:00)", changed: "2020-01-01",
			want: []string{"2020-07-07T15:55:00Z", "none"},
		},
		{
			name: "03_once_in_a_zone", expression: "at(2020-07-07T15:55:00)", zone: "America/Los_Angeles", changed: "2020-01-01",
			want: []string{"2020-07-07T15:55:00-07:00", "none"},
		},
		{
			name: "03_once_in_a_gap", expression: "at(2027-03-14T02:30:00)", zone: "America/Los_Angeles", changed: "2020-01-01",
			want: []string{"2027-03-14T03:00:00-07:00", "none"},
		},
		{name: "03_in_the_past", expression: "at(2020-07-07T15:55:00)", changed: "2020-07-07T15:55:00Z", want: []string{"none"}},
		{
			name: "04_two_days_after_patch_tuesday", expression: "cron(30 23 ? * TUE#3 *)", offset: 2, changed: "2027-01-01",
			want: []string{
				"2027-01-21T23:30:00Z", "2027-02-18T23:30:00Z", "2027-03-18T23:30:00Z", "2027-04-22T23:30:00Z",
				"2027-05-20T23:30:00Z", "2027-06-17T23:30:00Z",
			},
		},
		{
			name: "05_cron_day_has_passed", expression: "cron(30 23 ? * TUE#3 *)", offset: 2, changed: "2027-01-20T12:00:00Z",
			want: []string{"2027-02-18T23:30:00Z"},
		},
		{
			name: "05_cron_day_has_passed_since_the_change", expression: "cron(30 23 ? * TUE#3 *)", offset: 2,
			changed: "2027-01-19T23:29:59Z", from: "2027-01-20T12:00:00Z", want: []string{"2027-01-21T23:30:00Z"},
		},
		{
			name: "06_cron_day_is_to_come", expression: "cron(30 23 ? * TUE#3 *)", offset: 2, changed: "2027-01-18",
			want: []string{"2027-01-21T23:30:00Z"},
		},
		{name: "07_daily", expression: "cron(30 09 ? * * *)", changed: "2027-01-01", want: []string{"2027-01-01T09:30:00Z", "2027-01-02T09:30:00Z"}},
		{name: "08_with_seconds", expression: "cron(24 30 09 ? * * *)", changed: "2027-01-01", want: []string{"2027-01-01T09:30:24Z", "2027-01-02T09:30:24Z"}},
		{
			name: "09_third_thursday", expression: "cron(0 2 ? * THU#3 *)", changed: "2027-01-01",
			want: []string{"2027-01-21T02:00:00Z", "2027-02-18T02:00:00Z", "2027-03-18T02:00:00Z"},
		},
		{name: "10_from_friday_to_monday", expression: "cron(15 10 ? * MON-FRI *)", changed: "2027-01-08T12:00:00Z", want: []string{"2027-01-11T10:15:00Z"}},
		{
			name: "11_last_day_of_the_month", expression: "cron(0 2 L * ? *)", changed: "2027-01-01",
			want: []string{"2027-01-31T02:00:00Z", "2027-02-28T02:00:00Z", "2027-03-31T02:00:00Z", "2027-04-30T02:00:00Z"},
		},
		{name: "11_in_a_leap_year", expression: "cron(0 2 L * ? *)", changed: "2028-02-01", want: []string{"2028-02-29T02:00:00Z"}},
		{
			name: "12_last_friday", expression: "cron(15 10 ? * 6L *)", changed: "2027-01-01",
			want: []string{
				"2027-01-29T10:15:00Z", "2027-02-26T10:15:00Z", "2027-03-26T10:15:00Z", "2027-04-30T10:15:00Z",
				"2027-05-28T10:15:00Z", "2027-06-25T10:15:00Z",
			},
		},
		{
			name: "13_last_tuesday", expression: "cron(0 0 ? * 3L *)", changed: "2027-01-01",
			want: []string{"2027-01-26T00:00:00Z", "2027-02-23T00:00:00Z", "2027-03-30T00:00:00Z", "2027-04-27T00:00:00Z"},
		},
		{
			name: "14_sunday_after_the_second_thursday", expression: "cron(0 0 ? * THU#2 *)", offset: 3, changed: "2027-01-01",
			want: []string{"2027-01-17T00:00:00Z", "2027-02-14T00:00:00Z", "2027-03-14T00:00:00Z", "2027-04-11T00:00:00Z"},
		},
		{
			name: "15_weekday_nearest_to_the_15th", expression: "cron(0 8 15W * ? *)", changed: "2027-01-01",
			want: []string{
				"2027-01-15T08:00:00Z", "2027-02-15T08:00:00Z", "2027-03-15T08:00:00Z", "2027-04-15T08:00:00Z",
				"2027-05-14T08:00:00Z", "2027-06-15T08:00:00Z",
			},
		},
		{
			name: "16_utc_moves_in_spring", expression: "cron(0 16 ? * TUE *)", zone: "America/Los_Angeles", changed: "2027-03-08",
			want: []string{"2027-03-10T00:00:00Z", "2027-03-16T23:00:00Z"},
		},
		{
			name: "17_utc_moves_in_autumn", expression: "cron(0 16 ? * TUE *)", zone: "America/Los_Angeles", changed: "2027-11-01",
			want: []string{"2027-11-02T23:00:00Z", "2027-11-10T00:00:00Z"},
		},
		{
			name: "18_gap", expression: "cron(30 2 ? * * *)", zone: "America/Los_Angeles", changed: "2027-03-13",
			want: []string{"2027-03-13T10:30:00Z", "2027-03-14T10:00:00Z", "2027-03-15T09:30:00Z"},
		},
		{
			name: "18_two_times_in_a_gap", expression: "cron(10,40 2 ? * * *)", zone: "America/Los_Angeles", changed: "2027-03-13T11:00:00Z",
			want: []string{"2027-03-14T03:00:00-07:00", "2027-03-15T02:10:00-07:00"},
		},
		{
			name: "19_repeated_hour", expression: "cron(30 1 ? * * *)", zone: "America/Los_Angeles", changed: "2027-11-06",
			want: []string{"2027-11-06T08:30:00Z", "2027-11-07T08:30:00Z", "2027-11-08T09:30:00Z"},
		},
		{
			name: "20_gap_in_berlin", expression: "cron(30 2 ? * * *)", zone: "Europe/Berlin", changed: "2027-03-27",
			want: []string{"2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"},
		},
		{
			name: "20_repeated_hour_in_berlin", expression: "cron(30 2 ? * * *)", zone: "Europe/Berlin", changed: "2027-10-30",
			want: []string{"2027-10-30T00:30:00Z", "2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"},
		},
		{
			name: "21_steps_of_hours_over_a_gap", expression: "cron(0 0/4 * * ? *)", zone: "Europe/Berlin", changed: "2027-03-27T22:00:00Z",
			want: []string{"2027-03-28T00:00:00+01:00", "2027-03-28T04:00:00+02:00", "2027-03-28T08:00:00+02:00"},
		},
		{
			name: "21_every_hour_over_a_gap", expression: "cron(30 * * * ? *)", zone: "Europe/Berlin", changed: "2027-03-28T00:00:00Z",
			want: []string{"2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z"},
		},
		{
			name: "21_every_hour_in_a_repeated_hour", expression: "cron(30 * * * ? *)", zone: "Europe/Berlin", changed: "2027-10-31T00:00:00Z",
			want: []string{"2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", "2027-10-31T03:30:00+01:00"},
		},
		{
			name: "23_rate_from_the_creation", expression: "rate(30 minutes)", changed: "2027-01-01T10:07:12Z",
			want: []string{"2027-01-01T10:37:12Z", "2027-01-01T11:07:12Z", "2027-01-01T11:37:12Z"},
		},
		{
			name: "23_start_date_in_the_past_is_no_anchor", expression: "rate(30 minutes)", start: "2026-01-01", changed: "2027-01-01T10:07:12.345Z",
			want: []string{"2027-01-01T10:37:12.345Z", "2027-01-01T11:07:12.345Z"},
		},
		{
			name: "23_asked_before_the_creation", expression: "rate(30 minutes)", changed: "2027-01-01T10:07:12Z", from: "2026-01-01",
			want: []string{"2027-01-01T10:37:12Z"},
		},
		{
			name: "24_days_keep_the_wall_clock", expression: "rate(1 day)", zone: "America/Los_Angeles", start: "2027-03-13T02:30:00-08:00", changed: "2027-01-01",
			want: []string{"2027-03-13T02:30:00-08:00", "2027-03-14T03:00:00-07:00", "2027-03-15T02:30:00-07:00"},
		},
		{name: "25_year_is_over", expression: "cron(0 0 1 1 ? 2026)", changed: "2027-01-01", want: []string{"none"}},
		{
			name: "26_fifth_monday", expression: "cron(0 0 ? * MON#5 *)", changed: "2027-01-01",
			want: []string{"2027-03-29T00:00:00Z", "2027-05-31T00:00:00Z", "2027-08-30T00:00:00Z", "2027-11-29T00:00:00Z", "2028-01-31T00:00:00Z"},
		},
		{
			name: "27_seven_fields", expression: "cron(0 0 22 ? * TUE *)", changed: "2027-01-01",
			want: []string{"2027-01-05T22:00:00Z", "2027-01-12T22:00:00Z"},
		},
		{
			name: "30_end_date_is_included", expression: "cron(0 3 ? * * *)", end: "2027-01-02T03:00:00Z", changed: "2027-01-01",
			want: []string{"2027-01-01T03:00:00Z", "2027-01-02T03:00:00Z", "none"},
		},
		{
			name: "31_start_date_is_included", expression: "cron(0 3 ? * * *)", start: "2027-01-02T03:00:00Z", changed: "2027-01-01",
			want: []string{"2027-01-02T03:00:00Z"},
		},
		{
			name: "32_leap_day_years_away", expression: "cron(0 0 29 2 ? *)", changed: "2096-03-01",
			want: []string{"2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"},
		},
		{name: "33_never", expression: "cron(0 0 31 2 ? *)", changed: "2027-01-01", want: []string{"none"}},
		{name: "34_last_year", expression: "cron(0 0 31 12 ? 2199)", zone: "America/Los_Angeles", changed: "2027-01-01", want: []string{"2199-12-31T08:00:00Z", "none"}},
		{
			name: "35_offset_keeps_the_wall_clock_of_the_cron_day", expression: "cron(30 2 ? 3 SUN#2 *)", zone: "America/Los_Angeles", offset: 1, changed: "2027-01-01",
			want: []string{"2027-03-15T02:30:00-07:00"},
		},
		{
			name: "35_offset_into_a_gap", expression: "cron(30 2 ? 3 SAT#2 *)", zone: "America/Los_Angeles", offset: 1, changed: "2027-01-01",
			want: []string{"2027-03-14T03:00:00-07:00"},
		},
		{
			name: "36_weekdays_over_the_weekend", expression: "cron(0 1 ? * FRI-MON *)", changed: "2027-01-04T12:00:00Z",
			want: []string{"2027-01-08T01:00:00Z", "2027-01-09T01:00:00Z", "2027-01-10T01:00:00Z", "2027-01-11T01:00:00Z", "2027-01-15T01:00:00Z"},
		},
		{
			name: "37_last_weekday_of_the_month", expression: "cron(0 1 LW * ? *)", changed: "2027-01-01",
			want: []string{"2027-01-29T01:00:00Z", "2027-02-26T01:00:00Z", "2027-03-31T01:00:00Z"},
		},
		{
			name: "38_nearest_weekday_stays_in_the_month", expression: "cron(0 1 1W,31W 5,8 ? 2027)", changed: "2027-01-01",
			// 1 May is a Saturday, 31 May a Monday, 1 August a Sunday, 31 August a Tuesday.
			want: []string{"2027-05-03T01:00:00Z", "2027-05-31T01:00:00Z", "2027-08-02T01:00:00Z", "2027-08-31T01:00:00Z", "none"},
		},
		{
			name: "39_day_that_the_zone_skipped", expression: "cron(0 9 30 12 ? 2011)", zone: "Pacific/Apia", changed: "2011-01-01",
			want: []string{"2011-12-31T00:00:00+14:00", "none"},
		},
		{
			name: "39_daily_over_a_skipped_day", expression: "rate(1 day)", zone: "Pacific/Apia", start: "2011-12-29T00:00:00-10:00", changed: "2011-01-01",
			want: []string{"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := schedule.Window{
				Schedule: windowSchedule(t, tc.expression), OffsetDays: tc.offset, Zone: zone(t, tc.zone),
				ChangedAt: instant(t, tc.changed), Duration: time.Hour,
			}
			if tc.start != "" {
				w.StartDate = instant(t, tc.start)
			}
			if tc.end != "" {
				w.EndDate = instant(t, tc.end)
			}
			if err := w.Validate(); err != nil {
				t.Fatal(err)
			}
			from := w.ChangedAt
			if tc.from != "" {
				from = instant(t, tc.from)
			}
			var got, want []string
			for run := range w.Runs(from) {
				if len(got) == len(tc.want) {
					break
				}
				if run.Location() != w.Zone {
					t.Errorf("the run %s is not in %s", run, w.Zone)
				}
				got = append(got, schedule.FormatTime(run, nil))
			}
			if len(got) < len(tc.want) {
				got = append(got, "none")
			}
			for _, s := range tc.want {
				if s != "none" {
					s = schedule.FormatTime(instant(t, s), nil)
				}
				want = append(want, s)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("the runs of %s after %s (-want +got):\n%s", tc.expression, from, d)
			}
		})
	}
}

func TestDaysOfARateCanBeElapsedTime(t *testing.T) {
	t.Parallel()
	w := schedule.Window{
		Schedule: windowSchedule(t, "rate(1 day)"), Zone: zone(t, "America/Los_Angeles"), ElapsedDays: true,
		StartDate: instant(t, "2027-03-13T02:30:00-08:00"), ChangedAt: instant(t, "2027-01-01"),
	}
	now := w.StartDate
	for _, want := range []string{"2027-03-14T03:30:00-07:00", "2027-03-15T03:30:00-07:00"} {
		got, ok := w.Next(now)
		if s := schedule.FormatTime(got, w.Zone); !ok || s != want {
			t.Fatalf("Next(%s) = %s, %v, want %s", now, s, ok, want)
		}
		now = got
	}
}

func TestRateInHoursIgnoresTheClocks(t *testing.T) {
	t.Parallel()
	w := schedule.Window{Schedule: windowSchedule(t, "rate(24 hours)"), Zone: zone(t, "America/Los_Angeles"), ChangedAt: instant(t, "2027-03-13T02:30:00-08:00")}
	got, ok := w.Next(w.ChangedAt)
	if want := "2027-03-14T03:30:00-07:00"; !ok || schedule.FormatTime(got, w.Zone) != want {
		t.Errorf("Next = %s, %v, want %s", got, ok, want)
	}
}

func TestDisabledWindowHasNoNextRun(t *testing.T) {
	t.Parallel()
	w := schedule.Window{Schedule: windowSchedule(t, "cron(0 3 ? * * *)"), Disabled: true}
	if got, ok := w.Next(instant(t, "2027-01-01")); ok {
		t.Errorf("Next = %s of a disabled window", got)
	}
	if got, ok := new(schedule.Window).Next(instant(t, "2027-01-01")); ok {
		t.Errorf("Next = %s of a window without a schedule", got)
	}
}

// A change in the first pass of a repeated hour leaves the second pass.
func TestRepeatedHourAfterAChange(t *testing.T) {
	t.Parallel()
	w := schedule.Window{Schedule: windowSchedule(t, "cron(0 * * * ? *)"), Zone: zone(t, "Europe/Berlin"), ChangedAt: instant(t, "2027-10-31T02:10:00+02:00")}
	got, ok := w.Next(w.ChangedAt)
	if want := "2027-10-31T02:00:00+01:00"; !ok || schedule.FormatTime(got, w.Zone) != want {
		t.Errorf("Next = %s, %v, want %s", got, ok, want)
	}
}

func TestExecutionOpensAndEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name             string
		start            string
		duration, cutoff time.Duration
		wantCutoff       string
		wantEnd          string
	}{
		{"example_01", "2021-01-06T09:00:00-08:00", 3 * time.Hour, time.Hour, "2021-01-06T11:00:00-08:00", "2021-01-06T12:00:00-08:00"},
		{"example_03", "2020-07-07T15:55:00Z", 5 * time.Hour, 2 * time.Hour, "2020-07-07T18:55:00Z", "2020-07-07T20:55:00Z"},
		{"example_22_hours_are_elapsed_ones", "2027-03-14T00:00:00-08:00", 4 * time.Hour, 0, "2027-03-14T05:00:00-07:00", "2027-03-14T05:00:00-07:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := schedule.Window{Duration: tc.duration, Cutoff: tc.cutoff}
			e := w.Execution(instant(t, tc.start))
			cutoff, end := instant(t, tc.wantCutoff), instant(t, tc.wantEnd)
			if !e.CutoffAt().Equal(cutoff) || !e.End.Equal(end) {
				t.Fatalf("cutoff %s and end %s, want %s and %s", e.CutoffAt(), e.End, cutoff, end)
			}
			for _, at := range []struct {
				now        time.Time
				open, over bool
			}{
				{e.Start.Add(-1), false, false},
				{e.Start, true, false},
				{cutoff.Add(-1), true, false},
				{cutoff, false, tc.cutoff == 0},
				{end.Add(-1), tc.cutoff == 0, false},
				{end, false, true},
			} {
				if got := e.Open(at.now); got != at.open {
					t.Errorf("Open(%s) = %v, want %v", at.now, got, at.open)
				}
				if got := e.Over(at.now); got != at.over {
					t.Errorf("Over(%s) = %v, want %v", at.now, got, at.over)
				}
			}
		})
	}
}

func TestWindowValidate(t *testing.T) {
	t.Parallel()
	good := schedule.Window{Schedule: windowSchedule(t, "cron(0 3 ? * * *)"), Duration: 4 * time.Hour, Cutoff: time.Hour}
	for _, tc := range []struct {
		name   string
		change func(*schedule.Window)
		want   string
	}{
		{"good", func(*schedule.Window) {}, ""},
		{"longest", func(w *schedule.Window) { w.Duration, w.Cutoff, w.OffsetDays = 24*time.Hour, 23*time.Hour, 6 }, ""},
		{"no_schedule", func(w *schedule.Window) { w.Schedule = schedule.Schedule{} }, "Schedule is missing"},
		{"no_duration", func(w *schedule.Window) { w.Duration = 0 }, "Duration must be 1 to 24 hours, got 0s"},
		{"too_long", func(w *schedule.Window) { w.Duration = 25 * time.Hour }, "Duration must be 1 to 24 hours, got 25h0m0s"},
		{"negative_cutoff", func(w *schedule.Window) { w.Cutoff = -time.Hour }, "Cutoff must be 0 to 23 hours, got -1h0m0s"},
		{"cutoff_as_long_as_the_window", func(w *schedule.Window) { w.Cutoff = w.Duration }, "Cutoff must be less than Duration, got 4h0m0s and 4h0m0s"},
		{"offset_too_long", func(w *schedule.Window) { w.OffsetDays = 7 }, "ScheduleOffset must be 1 to 6 days, got 7"},
		{"offset_negative", func(w *schedule.Window) { w.OffsetDays = -1 }, "ScheduleOffset must be 1 to 6 days, got -1"},
		{"offset_of_a_rate", func(w *schedule.Window) { w.Schedule, w.OffsetDays = windowSchedule(t, "rate(1 day)"), 1 }, "ScheduleOffset needs a cron expression, got 'rate(1 day)'"},
		{"offset_of_at", func(w *schedule.Window) { w.Schedule, w.OffsetDays = windowSchedule(t, "at(2027-01-01T00:00:00)"), 1 }, "ScheduleOffset needs a cron expression, got 'at(2027-01-01T00:00:00)'"},
		{"ends_before_it_starts", func(w *schedule.Window) {
			w.StartDate, w.EndDate = instant(t, "2027-01-02"), instant(t, "2027-01-02")
		}, "StartDate 2027-01-02T00:00:00Z must be before EndDate 2027-01-02T00:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := good
			tc.change(&w)
			checkError(t, w.Validate(), tc.want)
		})
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
		return
	}
	if e, ok := errors.AsType[*schedule.Error](err); !ok || e.Message != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAssociation(t *testing.T) {
	t.Parallel()
	parse := func(expression string) schedule.Schedule {
		s, err := schedule.ParseAssociation(expression)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	changed := instant(t, "2027-01-15T00:00:00Z")
	for _, tc := range []struct {
		name        string
		association schedule.Association
		wantError   string
		wantAtOnce  bool
		wantNext    string
	}{
		{"no_schedule", schedule.Association{}, "", true, ""},
		{"cron", schedule.Association{Schedule: parse("cron(0 2 ? * SUN *)")}, "", true, "2027-01-17T02:00:00Z"},
		{"only_at_interval", schedule.Association{Schedule: parse("cron(0 2 ? * SUN *)"), OnlyAtCronInterval: true}, "", false, "2027-01-17T02:00:00Z"},
		{"rate", schedule.Association{Schedule: parse("rate(30 minutes)")}, "", true, "2027-01-15T00:30:00Z"},
		{"rate_only_at_interval", schedule.Association{Schedule: parse("rate(1 day)"), OnlyAtCronInterval: true}, "ApplyOnlyAtCronInterval is not supported for rate expressions", false, "2027-01-16T00:00:00Z"},
		{"at_only_then", schedule.Association{Schedule: parse("at(2027-07-07T15:55:00)"), OnlyAtCronInterval: true}, "", false, "2027-07-07T15:55:00Z"},
		{"offset", schedule.Association{Schedule: parse("cron(0 0 ? * THU#2 *)"), OffsetDays: 3, OnlyAtCronInterval: true}, "", false, "2027-02-14T00:00:00Z"},
		{"offset_with_a_run_at_once", schedule.Association{Schedule: parse("cron(0 0 ? * THU#2 *)"), OffsetDays: 3}, "ScheduleOffset needs ApplyOnlyAtCronInterval", true, "2027-02-14T00:00:00Z"},
		{"zone", schedule.Association{Schedule: parse("cron(0 2 ? * SUN)"), Zone: zone(t, "Asia/Tokyo")}, "", true, "2027-01-16T17:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.association
			a.ChangedAt = changed
			checkError(t, a.Validate(), tc.wantError)
			if got := a.RunsAtOnce(); got != tc.wantAtOnce {
				t.Errorf("RunsAtOnce = %v, want %v", got, tc.wantAtOnce)
			}
			next, ok := a.Next(changed)
			if got := schedule.FormatTime(next, nil); ok != (tc.wantNext != "") || ok && got != tc.wantNext {
				t.Errorf("Next = %s, %v, want %s", got, ok, tc.wantNext)
			}
		})
	}
}
