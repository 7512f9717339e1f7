package schedule_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"oakum.dev/schedule"
)

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		expression  string
		window      bool
		association bool
		want        string // the canonical form; the expression itself when empty
		kind        schedule.Kind
	}{
		{"cron(0 16 ? * TUE *)", true, true, "", schedule.Cron},
		{"cron(30 09 ? * * *)", true, true, "", schedule.Cron},
		{"cron(24 30 09 ? * * *)", true, false, "", schedule.Cron},
		{"cron(0 */30 * * * ? *)", true, true, "", schedule.Cron},
		{"cron(  0 2   ? jan,Dec thu#3 2027-2030/2 )", true, true, "cron(0 2 ? JAN,DEC THU#3 2027-2030/2)", schedule.Cron},
		{"cron(0/5 8-17 ? * MON-FRI *)", true, true, "", schedule.Cron},
		{"cron(0 0 1,15,L * ? *)", true, true, "", schedule.Cron},
		{"cron(0 0 lw,3W * ? *)", true, true, "cron(0 0 LW,3W * ? *)", schedule.Cron},
		{"cron(0 0 ? * L *)", true, true, "", schedule.Cron},
		{"cron(0 0 ? * 3L,FRIL *)", true, true, "", schedule.Cron},
		{"cron(0 0 ? 11-12,1 6-2 *)", true, true, "", schedule.Cron},
		{"cron(0 0 ? * */2 1970/229)", true, true, "", schedule.Cron},
		{"cron(0 0 31 2 ? *)", true, true, "", schedule.Cron},
		{"cron(59 23 ? * MON *)", true, true, "", schedule.Cron},
		{"cron(1,58 0,23 ? * MON *)", true, true, "", schedule.Cron},
		{"cron(0,5,10,15,20,25,30,35,40,45,50,55 * * * ? *)", true, true, "", schedule.Cron},
		// Only associations may leave out the year.
		{"cron(0 2 ? * SUN)", false, true, "", schedule.Cron},
		{"cron(0 0 2 ? * SUN)", false, true, "", schedule.Cron},
		{"cron(0 0 2 L * ?)", false, true, "", schedule.Cron},
		{"rate(5 minutes)", true, false, "", schedule.Rate},
		{"rate(29 minutes)", true, false, "", schedule.Rate},
		{"rate(30 minutes)", true, true, "", schedule.Rate},
		{"rate( 1   hour )", true, true, "rate(1 hour)", schedule.Rate},
		{"rate(5 hours)", true, true, "", schedule.Rate},
		{"rate(1 day)", true, true, "", schedule.Rate},
		{"rate(30 days)", true, true, "", schedule.Rate},
		{"rate(743 hours)", true, true, "", schedule.Rate},
		{"rate(31 days)", true, false, "", schedule.Rate},
		{"rate(36500 days)", true, false, "", schedule.Rate},
		{"at(2020-07-07T15:55:00)", true, true, "", schedule.At},
		{"at(2028-02-29T23:59:59)", true, true, "", schedule.At},
	} {
		want := tc.want
		if want == "" {
			want = tc.expression
		}
		for name, parse := range map[string]struct {
			call func(string) (schedule.Schedule, error)
			ok   bool
		}{"ParseWindow": {schedule.ParseWindow, tc.window}, "ParseAssociation": {schedule.ParseAssociation, tc.association}} {
			s, err := parse.call(tc.expression)
			if (err == nil) != parse.ok {
				t.Errorf("%s(%s): %v, want accepted %v", name, tc.expression, err, parse.ok)
				continue
			}
			if err == nil && (s.String() != want || s.Kind() != tc.kind) {
				t.Errorf("%s(%s) = %s %s, want %s %s", name, tc.expression, s.Kind(), s, tc.kind, want)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		association bool
		expression  string
		want        string // what follows "Schedule expression '...' is not valid: "
		position    int
	}{
		{"no_form", false, "every day", "it must be cron(...), rate(...) or at(...)", 1},
		{"unknown_form", false, "Cron(0 2 ? * SUN *)", "it must be cron(...), rate(...) or at(...)", 1},
		{"blank_before", false, " rate(1 day)", "it must be cron(...), rate(...) or at(...)", 1},
		{"not_closed", false, "rate(1 day", "the closing parenthesis is missing", 11},
		{"text_after", false, "rate(1 day) UTC", "nothing may follow the closing parenthesis", 12},
		{"not_ascii", false, "rate(1 dáy)", "'á' is no character of a schedule", 9},
		{"tab", false, "rate(1\tday)", `'\t' is no character of a schedule`, 7},

		{"five_fields", false, "cron(0 2 ? * SUN)", "cron takes 6 or 7 fields, got 5: minutes, hours, day of month, month, day of week, year; seconds may be added before them", 6},
		{"eight_fields", false, "cron(0 0 2 ? * SUN * *)", "cron takes 6 or 7 fields, got 8: minutes, hours, day of month, month, day of week, year; seconds may be added before them", 6},
		{"no_fields", false, "cron()", "cron takes 6 or 7 fields, got 0: minutes, hours, day of month, month, day of week, year; seconds may be added before them", 6},
		{"four_fields_of_an_association", true, "cron(0 2 ? *)", "cron takes 5 to 7 fields, got 4: minutes, hours, day of month, month, day of week; year and, before them all, seconds may be added", 6},
		{"seconds_without_a_year", false, "cron(0 15 10 ? * MON-FRI)", "month '?' is not 1 to 12 or JAN to DEC", 14},
		{"minute_60", false, "cron(60 2 ? * SUN *)", "minutes '60' is not 0 to 59", 6},
		{"hour_24", false, "cron(0 24 ? * SUN *)", "hours '24' is not 0 to 23", 8},
		{"day_0", false, "cron(0 2 0 * ? *)", "day of month '0' is not 1 to 31", 10},
		{"day_32", false, "cron(0 2 1-32 * ? *)", "day of month '32' is not 1 to 31", 12},
		{"month_13", false, "cron(0 2 1 1,13 ? *)", "month '13' is not 1 to 12 or JAN to DEC", 14},
		{"month_name", false, "cron(0 2 1 Janu ? *)", "month 'Janu' is not 1 to 12 or JAN to DEC", 12},
		{"weekday_0", false, "cron(0 2 ? * 0 *)", "day of week '0' is not 1 to 7 or SUN to SAT", 14},
		{"weekday_8", false, "cron(0 2 ? * 8 *)", "day of week '8' is not 1 to 7 or SUN to SAT", 14},
		{"year_1969", false, "cron(0 2 ? * SUN 1969)", "year '1969' is not 1970 to 2199", 18},
		{"year_2200", false, "cron(0 2 ? * SUN 2027-2200)", "year '2200' is not 1970 to 2199", 23},
		{"year_question", false, "cron(0 2 1 * ? ?)", "year '?' is not 1970 to 2199", 16},
		{"second_60", false, "cron(60 0 2 ? * SUN *)", "seconds '60' is not 0 to 59", 6},
		{"sign", false, "cron(+5 2 ? * SUN *)", "minutes '+5' is not 0 to 59", 6},
		{"many_digits", false, "cron(00005 2 ? * SUN *)", "minutes '00005' is not 0 to 59", 6},
		{"empty_element", false, "cron(0,,30 2 ? * SUN *)", "a value of minutes is missing, 0 to 59", 8},
		{"open_range", false, "cron(0 2- ? * SUN *)", "a value of hours is missing, 0 to 23", 10},
		{"no_start_of_a_step", false, "cron(/5 2 ? * SUN *)", "a value of minutes is missing, 0 to 59", 6},
		{"backwards", false, "cron(0 17-8 ? * SUN *)", "the range '17-8' of hours runs backwards", 8},
		{"step_0", false, "cron(0/0 2 ? * SUN *)", "step '0' of minutes is not 1 to 60", 8},
		{"step_of_90_minutes", false, "cron(0/90 * * * ? *)", "step '90' of minutes is not 1 to 60", 8},
		{"step_of_36_hours", false, "cron(0 */36 * * ? *)", "step '36' of hours is not 1 to 24", 10},
		{"no_step", false, "cron(0/ 2 ? * SUN *)", "step '' of minutes is not 1 to 60", 8},
		{"two_steps", false, "cron(0/5/5 2 ? * SUN *)", "step '5/5' of minutes is not 1 to 60", 8},

		{"example_29_both_days", false, "cron(0 0 1 * MON *)", "one of day of month and day of week must be '?', and not both", 14},
		{"both_days_any", false, "cron(0 0 * * * *)", "one of day of month and day of week must be '?', and not both", 14},
		{"no_day", false, "cron(0 0 ? * ? *)", "one of day of month and day of week must be '?', and not both", 14},
		{"question_in_a_list", false, "cron(0 0 ?,1 * ? *)", "day of month '?' is not 1 to 31", 10},
		{"L_of_weekday_8", false, "cron(0 0 ? * 8L *)", "day of week '8' is not 1 to 7 or SUN to SAT", 14},
		{"days_before_the_last", false, "cron(0 0 L-3 * ? *)", "day of month 'L' is not 1 to 31", 10},
		{"L_in_hours", false, "cron(0 L ? * SUN *)", "hours 'L' is not 0 to 23", 8},
		{"W_without_a_day", false, "cron(0 0 W * ? *)", "a value of day of month is missing, 1 to 31", 10},
		{"W_of_32", false, "cron(0 0 1W,32W * ? *)", "day of month '32' is not 1 to 31", 13},
		{"W_in_the_weekdays", false, "cron(0 0 ? * 2W *)", "day of week '2W' is not 1 to 7 or SUN to SAT", 14},
		{"hash_0", false, "cron(0 0 ? * TUE#0 *)", "'0' after # is not 1 to 5", 18},
		{"hash_6", false, "cron(0 0 ? * 3#6 *)", "'6' after # is not 1 to 5", 16},
		{"hash_nothing", false, "cron(0 0 ? * 3# *)", "'' after # is not 1 to 5", 16},
		{"hash_of_nothing", false, "cron(0 0 ? * #2 *)", "a value of day of week is missing, 1 to 7 or SUN to SAT", 14},
		{"hash_in_a_list", false, "cron(0 0 ? * MON,TUE#3 *)", "'TUE#3' must be alone in its field", 18},
		{"two_hashes", false, "cron(0 0 ? * TUE#1,TUE#3 *)", "'TUE#1' must be alone in its field", 14},
		{"hash_in_the_days", false, "cron(0 0 3#2 * ? *)", "day of month '3#2' is not 1 to 31", 10},

		{"example_28_every_four_minutes", false, "cron(*/4 * * * ? *)", "it fires at 00:00 and at 00:04, and runs must be 5 minutes apart", 6},
		{"every_minute", false, "cron(* * * * ? *)", "it fires at 00:00 and at 00:01, and runs must be 5 minutes apart", 6},
		{"every_seven_minutes", false, "cron(0/7 * * * ? *)", "it fires at 00:56 and at 01:00, and runs must be 5 minutes apart", 6},
		{"over_midnight", false, "cron(1,58 0,23 ? * * *)", "it fires at 23:58 and at 00:01, and runs must be 5 minutes apart", 6},
		{"over_midnight_of_the_new_year", false, "cron(1,58 0,23 1,31 1,12 ? *)", "it fires at 23:58 and at 00:01, and runs must be 5 minutes apart", 6},
		{"seconds_apart", false, "cron(0,30 0 2 ? * SUN *)", "it fires more than once a minute, and runs must be 5 minutes apart", 6},
		{"every_second", false, "cron(* 0 2 ? * SUN *)", "it fires more than once a minute, and runs must be 5 minutes apart", 6},
		{"minutes_of_seven_fields", false, "cron(0 */4 * * * ? *)", "it fires at 00:00 and at 00:04, and runs must be 5 minutes apart", 8},
		{"seconds_of_an_association", true, "cron(24 30 9 ? * * *)", "the seconds of an association must be 0", 6},

		{"rate_without_a_unit", false, "rate(7)", "rate takes a number and a unit, as in rate(7 days)", 6},
		{"rate_of_nothing", false, "rate()", "rate takes a number and a unit, as in rate(7 days)", 6},
		{"rate_of_zero", false, "rate(0 days)", "'0' is not a positive number", 6},
		{"rate_with_a_sign", false, "rate(-7 days)", "'-7' is not a positive number", 6},
		{"rate_with_a_fraction", false, "rate(1.5 hours)", "'1.5' is not a positive number", 6},
		{"rate_of_very_many", false, "rate(9999999999 days)", "'9999999999' is not a positive number", 6},
		{"rate_unit", false, "rate(2 weeks)", "unit 'weeks' is not minute, minutes, hour, hours, day or days", 8},
		{"rate_unit_ss", false, "rate(2 dayss)", "unit 'dayss' is not minute, minutes, hour, hours, day or days", 8},
		{"singular", false, "rate(1 hours)", "unit 'hours' must be 'hour' after 1", 8},
		{"plural", false, "rate(5 hour)", "unit 'hour' must be 'hours' after 5", 8},
		{"rate_too_short", false, "rate(4 minutes)", "the rate must be 5 minutes or more and at most 36500 days", 6},
		{"rate_too_long", false, "rate(36501 days)", "the rate must be 5 minutes or more and at most 36500 days", 6},
		{"association_rate_too_short", true, "rate(29 minutes)", "the rate of an association must be 30 minutes or more and less than 31 days", 6},
		{"association_rate_too_long", true, "rate(31 days)", "the rate of an association must be 30 minutes or more and less than 31 days", 6},
		{"association_rate_too_long_in_hours", true, "rate(744 hours)", "the rate of an association must be 30 minutes or more and less than 31 days", 6},

		{"at_nothing", false, "at()", "at takes one time, as in at(2027-07-07T15:55:00)", 4},
		{"at_two_words", false, "at(2027-07-07 15:55:00)", "at takes one time, as in at(2027-07-07T15:55:00)", 4},
		{"at_with_a_zone", false, "at(2027-07-07T15:55:00Z)", "'2027-07-07T15:55:00Z' is not a time of the form 2027-07-07T15:55:00, without a zone", 4},
		{"at_with_a_fraction", false, "at(2027-07-07T15:55:00.5)", "'2027-07-07T15:55:00.5' is not a time of the form 2027-07-07T15:55:00, without a zone", 4},
		{"at_without_seconds", false, "at(2027-07-07T15:55)", "'2027-07-07T15:55' is not a time of the form 2027-07-07T15:55:00, without a zone", 4},
		{"at_no_such_day", false, "at(2027-02-29T15:55:00)", "'2027-02-29T15:55:00' is not a time of the form 2027-07-07T15:55:00, without a zone", 4},
		{"at_long_ago", false, "at(1969-07-20T20:17:40)", "the year must be 1970 to 2199", 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parse := schedule.ParseWindow
			if tc.association {
				parse = schedule.ParseAssociation
			}
			s, err := parse(tc.expression)
			e, ok := errors.AsType[*schedule.Error](err)
			if !ok {
				t.Fatalf("parse(%s) = %s, %v, want an *Error", tc.expression, s, err)
			}
			problem, _ := strings.CutPrefix(e.Message, "Schedule expression '"+tc.expression+"' is not valid: ")
			problem, _, _ = strings.Cut(problem, ", at character ")
			if problem != tc.want || e.Position != tc.position {
				t.Errorf("parse(%s) = %q at %d, want %q at %d", tc.expression, problem, e.Position, tc.want, tc.position)
			}
		})
	}
	for _, n := range []int{0, 257} {
		if _, err := schedule.ParseWindow(strings.Repeat("x", n)); err == nil || !strings.Contains(err.Error(), "must have 1 to 256 characters, got") {
			t.Errorf("ParseWindow of %d characters: %v", n, err)
		}
	}
}

// TestDocumentedExpressions fails when docs/schedules.md has an expression that is not taken.
func TestDocumentedExpressions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/schedules.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`((?:cron|rate|at)\\([^`a-z]*[0-9 ][^`]*\\))`").FindAllStringSubmatch(string(text), -1)
	for _, m := range found {
		if strings.Contains(m[1], "minutes hours") {
			continue
		}
		if _, err := schedule.ParseWindow(m[1]); err != nil {
			if _, err := schedule.ParseAssociation(m[1]); err != nil {
				t.Error(err)
			}
		}
	}
	if len(found) < 20 {
		t.Errorf("found %d expressions in docs/schedules.md", len(found))
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2021-01-01T00:00:00-08:00":     "2021-01-01T08:00:00Z",
		"2021-01-01T00:00:00.250+09:00": "2020-12-31T15:00:00.25Z",
		"2020-02-19T16:00Z":             "2020-02-19T16:00:00Z",
		"2020-02-19T16:00:05":           "2020-02-19T16:00:05Z",
		"2020-02-19T16:00":              "2020-02-19T16:00:00Z",
		"2020-02-19":                    "2020-02-19T00:00:00Z",
		"2020-02-30":                    "",
		"19 Feb 2020":                   "",
		"":                              "",
	} {
		got, err := schedule.ParseDate(text)
		if want == "" {
			checkError(t, err, "'"+text+"' is not a date of the form 2027-01-01T00:00:00+01:00")
		} else if err != nil || schedule.FormatTime(got, nil) != want {
			t.Errorf("ParseDate(%s) = %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestLoadZone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "UTC", "Etc/UTC", "America/Los_Angeles", "America/Argentina/ComodRivadavia", "Etc/GMT+12", "EST5EDT"} {
		if _, err := schedule.LoadZone(name); err != nil {
			t.Errorf("LoadZone(%q): %v", name, err)
		}
	}
	for _, name := range []string{"Local", "right/Europe/Berlin", "../zoneinfo/UTC", "/etc/localtime", "Europe/", "Europe//Berlin", "Mars/Olympus", "UTC ", "tzdata.zi", "zone.tab"} {
		_, err := schedule.LoadZone(name)
		checkError(t, err, "ScheduleTimezone '"+name+"' is not a name of the IANA time zone database")
	}
}
