package schedule_test

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakum.dev/schedule"
)

// The oracle walks minute by minute and shares no code with the package: it reads an expression into tables of what
// matches, keeps what the clocks have shown so far, and notices by itself that they were put forward or back.

// table is an expression as the oracle reads it.
type table struct {
	expression string
	parsed     schedule.Schedule
	second     int
	minute     [60]bool
	hour       [24]bool
	realHours  bool // the hours have * or /, or are all named
	month      [13]bool
	year       map[int]bool // nil is every year
	dom, dow   string

	today int // the day that fires is of, counted from 1970-01-01
	fires bool
}

func newTable(t testing.TB, expression string) *table {
	t.Helper()
	s := windowSchedule(t, expression)
	f := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(expression, "cron("), ")"))
	o := &table{expression: expression, parsed: s, today: -1}
	if len(f) == 7 {
		o.second, _ = strconv.Atoi(f[0])
		f = f[1:]
	}
	o.dom, o.dow = f[2], f[4]
	for i := range o.minute {
		o.minute[i] = holds(f[0], i, 0, 59)
	}
	o.realHours = strings.ContainsAny(f[1], "*/")
	hours := 0
	for i := range o.hour {
		if o.hour[i] = holds(f[1], i, 0, 23); o.hour[i] {
			hours++
		}
	}
	o.realHours = o.realHours || hours == 24
	for i := 1; i <= 12; i++ {
		o.month[i] = holds(numbers(f[3]), i, 1, 12)
	}
	if f[5] != "*" {
		o.year = map[int]bool{}
		for y := 1970; y <= 2199; y++ {
			o.year[y] = holds(f[5], y, 1970, 2199)
		}
	}
	return o
}

// numbers writes the names of months as numbers.
func numbers(s string) string {
	for i, name := range strings.Split("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", " ") {
		s = strings.ReplaceAll(s, name, strconv.Itoa(i+1))
	}
	return s
}

// holds reports whether v is in a list of numbers, ranges and steps of values from first to last.
func holds(list string, v, first, last int) bool {
	for _, e := range strings.Split(list, ",") {
		base, by, stepped := strings.Cut(e, "/")
		step := 1
		if stepped {
			step, _ = strconv.Atoi(by)
		}
		a, b, ranged := strings.Cut(base, "-")
		low, _ := strconv.Atoi(a)
		high := low
		switch {
		case base == "*":
			low, high = first, last
		case ranged:
			high, _ = strconv.Atoi(b)
		case stepped:
			high = last
		}
		if v >= low && v <= high && (v-low)%step == 0 {
			return true
		}
	}
	return false
}

// matches reports whether the expression names a minute of the clocks, counted from 1970 as on a clock that is never
// changed.
func (o *table) matches(minute int) bool {
	if !o.minute[minute%60] || !o.hour[minute/60%24] {
		return false
	}
	if day := minute / 1440; day != o.today {
		o.today = day
		o.fires = o.matchesDay(time.Date(1970, 1, 1+day, 12, 0, 0, 0, time.UTC))
	}
	return o.fires
}

func (o *table) matchesDay(d time.Time) bool {
	if !o.month[d.Month()] || o.year != nil && !o.year[d.Year()] {
		return false
	}
	lastOfMonth := d.AddDate(0, 0, 1).Day() == 1
	for _, e := range strings.Split(o.dom, ",") {
		switch {
		case e == "?":
		case e == "L":
			if lastOfMonth {
				return true
			}
		case e == "LW":
			if working(d) && noWorkingDayUntilNextMonth(d) {
				return true
			}
		case strings.HasSuffix(e, "W"):
			n, _ := strconv.Atoi(e[:len(e)-1])
			if wanted := time.Date(d.Year(), d.Month(), n, 12, 0, 0, 0, time.UTC); wanted.Month() == d.Month() && nearestWorking(wanted).Equal(d) {
				return true
			}
		case holds(e, d.Day(), 1, 31):
			return true
		}
	}
	weekday := int(d.Weekday()) + 1
	for _, e := range strings.Split(weekdayNumbers(o.dow), ",") {
		switch {
		case e == "?":
		case e == "*":
			return true
		case e == "L":
			if weekday == 7 {
				return true
			}
		case strings.HasSuffix(e, "L"):
			if e[:1] == strconv.Itoa(weekday) && d.AddDate(0, 0, 7).Month() != d.Month() {
				return true
			}
		case strings.Contains(e, "#"):
			if e[:1] == strconv.Itoa(weekday) && e[2:] == strconv.Itoa((d.Day()+6)/7) {
				return true
			}
		case len(e) == 3 && e[1] == '-' && e[0] > e[2]:
			if weekday >= int(e[0]-'0') || weekday <= int(e[2]-'0') {
				return true
			}
		case holds(e, weekday, 1, 7):
			return true
		}
	}
	return false
}

func weekdayNumbers(s string) string {
	for i, name := range strings.Split("SUN MON TUE WED THU FRI SAT", " ") {
		s = strings.ReplaceAll(s, name, strconv.Itoa(i+1))
	}
	return s
}

func working(d time.Time) bool { return d.Weekday() != time.Saturday && d.Weekday() != time.Sunday }

func noWorkingDayUntilNextMonth(d time.Time) bool {
	for e := d.AddDate(0, 0, 1); e.Month() == d.Month(); e = e.AddDate(0, 0, 1) {
		if working(e) {
			return false
		}
	}
	return true
}

// nearestWorking looks one day back, one on, two on and two back, for a working day of the same month.
func nearestWorking(d time.Time) time.Time {
	for _, by := range []int{0, -1, 1, 2, -2} {
		if e := d.AddDate(0, 0, by); working(e) && e.Month() == d.Month() {
			return e
		}
	}
	return time.Time{}
}

// walk returns what each table fires from one whole minute to another, exclusive, in seconds since 1970. It starts to
// look two days earlier, to know what the clocks have shown. All offsets from UTC since 1973 are whole minutes.
func walk(tables []*table, zone *time.Location, from, to time.Time) [][]int64 {
	fired := make([][]int64, len(tables))
	start := int(from.Unix() / 60)
	highest := -1 // of what the clocks have shown
	for u := start - 2*1440; u < int(to.Unix()/60); u++ {
		_, offset := time.Unix(int64(u)*60, 0).In(zone).Zone()
		shown := u + offset/60
		if highest < 0 {
			highest = shown - 1
		}
		if u >= start {
			for i, o := range tables {
				if o.matches(shown) && (o.realHours || shown > highest) {
					fired[i] = append(fired[i], int64(u)*60+int64(o.second))
				}
				if o.realHours || shown <= highest+1 {
					continue
				}
				// The clocks have skipped minutes: what they named fires once, now.
				for skipped := highest + 1; skipped < shown; skipped++ {
					if o.matches(skipped) {
						if now := int64(u) * 60; len(fired[i]) == 0 || fired[i][len(fired[i])-1] != now {
							fired[i] = insert(fired[i], now)
						}
						break
					}
				}
			}
		}
		highest = max(highest, shown)
	}
	return fired
}

// insert puts an instant into its place, before a run later in the same minute.
func insert(fired []int64, now int64) []int64 {
	i := len(fired)
	for i > 0 && fired[i-1] > now {
		i--
	}
	return slices.Insert(fired, i, now)
}

// compare checks every run that Next gives in a stretch of time, and Next from some other moments in it.
func compare(t *testing.T, o *table, zone *time.Location, from, to time.Time, want []int64, r *rand.Rand) {
	t.Helper()
	s := o.parsed.In(zone)
	at := from.Add(-1)
	for i := 0; ; i++ {
		next, ok := s.Next(at)
		if i == len(want) {
			if ok && next.Before(to) {
				t.Errorf("%s in %s: Next(%s) = %s, the oracle has none before %s", o.expression, zone, at.In(zone), next, to)
			}
			break
		}
		if !ok || next.Unix() != want[i] || next.Nanosecond() != 0 {
			t.Errorf("%s in %s: Next(%s) = %s, %v, the oracle has %s", o.expression, zone, at.In(zone), next, ok, time.Unix(want[i], 0).In(zone))
			return
		}
		at = next
	}
	for range 20 {
		at := from.Add(time.Duration(r.Int64N(int64(to.Sub(from)))))
		i, _ := slices.BinarySearchFunc(want, at, func(u int64, at time.Time) int {
			if time.Unix(u, 0).After(at) {
				return 1
			}
			return -1
		})
		next, ok := s.Next(at)
		if !next.After(at) && ok || i < len(want) && next.Unix() != want[i] || i == len(want) && ok && next.Before(to) {
			t.Errorf("%s in %s: Next(%s) = %s, %v, the oracle has %v after it", o.expression, zone, at.In(zone), next, ok, want[min(i, len(want)):min(i+1, len(want))])
			return
		}
	}
}

// soak returns the seed, which it prints, and how long to go on; 0 means once, and sampled.
func soak(t *testing.T) (*rand.Rand, time.Duration) {
	t.Helper()
	seed := rand.Uint64()
	if v := os.Getenv("OAKUM_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("OAKUM_SEED=%d", seed)
	seconds := 0
	if v := os.Getenv("OAKUM_SOAK_SECONDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		seconds = n
	}
	return rand.New(rand.NewPCG(seed, 1)), time.Duration(seconds) * time.Second
}

// oracleExpressions are walked in every zone.
var oracleExpressions = []string{
	"cron(0 16 ? * TUE *)",
	"cron(30 2 ? * * *)",
	"cron(24 30 2 ? * * *)",
	"cron(0/15 0-3 * * ? *)",
	"cron(30 * * * ? *)",
	"cron(0/5 */3 ? * * *)",
	"cron(0 0-23 ? * SUN *)",
	"cron(15,45 0,23 ? * FRI-MON *)",
	"cron(59 23 L * ? *)",
	"cron(0 1 LW 3,4,9-11 ? *)",
	"cron(30 1 1W,15W,31W * ? *)",
	"cron(0 2 ? MAR,OCT,NOV 1L *)",
	"cron(30 23 ? * TUE#3 *)",
	"cron(0 0 ? * MON#5 *)",
	"cron(0 0 29 2 ? *)",
	"cron(1 0 */7 1/2 ? 2018-2030/3)",
	"cron(0 3 ? * 2/2 *)",
	"cron(0 3 ? * */3 *)",
	"cron(0 5 */10 * ? *)",
}

// randomExpression draws one that runs are at least five minutes apart of.
func randomExpression(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	minute := pick("0", "30", "59", "0/5", "*/15", "10,20,40", fmt.Sprint(r.IntN(60)), fmt.Sprintf("%d,%d", r.IntN(20), 30+r.IntN(20)))
	hour := pick("*", "2", "0,2,3", "1-4", "*/2", "0/12", "1-23/2", "22-23", fmt.Sprint(r.IntN(24)), fmt.Sprint(r.IntN(4)))
	days := pick("* * ?", "? * *", "L * ?", "LW * ?", fmt.Sprintf("%dW * ?", 1+r.IntN(31)), fmt.Sprintf("%d * ?", 1+r.IntN(31)),
		fmt.Sprintf("? * %d#%d", 1+r.IntN(7), 1+r.IntN(5)), fmt.Sprintf("? * %dL", 1+r.IntN(7)), fmt.Sprintf("? * %d-%d", 1+r.IntN(7), 1+r.IntN(7)),
		"? 3,10 SUN", "*/3 * ?", "1/2 MAR-OCT ?", "? * L", "1,L * ?")
	return fmt.Sprintf("cron(%s %s %s %s)", minute, hour, days, pick("*", "*", "*", "2016/4", "2020-2030"))
}

// TestNextAgainstAMinuteByMinuteWalk compares every run of ten years in twelve zones: with clocks that change by an
// hour in spring and autumn on both halves of the earth, by half an hour, by two hours, at midnight, around Ramadan,
// not at all, and that changed for good. The seed draws the years and some of the expressions, in every round anew when
// OAKUM_SOAK_SECONDS asks for more than one.
//
// proves R-40
func TestNextAgainstAMinuteByMinuteWalk(t *testing.T) {
	t.Parallel()
	r, limit := soak(t)
	began := time.Now()
	zones := []string{
		"UTC", "America/Los_Angeles", "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca",
		"America/Santiago", "Asia/Tehran", "Asia/Gaza", "Pacific/Apia", "Asia/Pyongyang",
	}
	years := 10
	if testing.Short() || raceDetector {
		years = 1
	}
	for round := 0; round == 0 || time.Since(began) < limit; round++ {
		for _, name := range zones {
			z := zone(t, name)
			expressions := slices.Clone(oracleExpressions)
			for range 5 {
				expressions = append(expressions, randomExpression(r))
			}
			var tables []*table
			for _, e := range expressions {
				tables = append(tables, newTable(t, e))
			}
			from := time.Date(2015+r.IntN(22-years), 1, 1, 0, 0, 0, 0, time.UTC)
			to := from.AddDate(years, 0, 0)
			for i, want := range walk(tables, z, from, to) {
				compare(t, tables[i], z, from, to, want, r)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// zoneNames lists the time zone database: what came with Go, else that of the machine.
func zoneNames(t *testing.T) []string {
	t.Helper()
	var names []string
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		if z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(out)), "lib", "time", "zoneinfo.zip")); err == nil {
			defer z.Close()
			for _, f := range z.File {
				names = append(names, f.Name)
			}
		}
	}
	if len(names) == 0 {
		root := "/usr/share/zoneinfo"
		// What cannot be read is left out; that nothing could is seen below.
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if rel, e := filepath.Rel(root, path); err == nil && e == nil && !d.IsDir() {
				names = append(names, filepath.ToSlash(rel))
			}
			return nil
		})
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		_, err := schedule.LoadZone(n)
		return err != nil || strings.HasPrefix(n, "posix/")
	})
	if len(names) < 300 {
		t.Skipf("only %d zones found: there is no time zone database to list", len(names))
	}
	slices.Sort(names)
	return names
}

// transitions returns the minutes at which the clocks of a zone change between two years, found by looking at every
// six hours.
func transitions(zone *time.Location, first, last int) []time.Time {
	offset := func(u int64) int {
		_, o := time.Unix(u, 0).In(zone).Zone()
		return o
	}
	var found []time.Time
	end := time.Date(last+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for u := time.Date(first, 1, 1, 0, 0, 0, 0, time.UTC).Unix(); u < end; u += 6 * 3600 {
		if low, high := u, u+6*3600; offset(low) != offset(high) {
			for high-low > 60 {
				if middle := (low + high) / 120 * 60; offset(middle) == offset(low) {
					low = middle
				} else {
					high = middle
				}
			}
			found = append(found, time.Unix(high, 0).UTC())
		}
	}
	return found
}

// TestNextAroundEveryClockChange compares every run of the two days before and after the clocks of a zone change, in
// every zone of the database. Without OAKUM_SOAK_SECONDS each zone has some of its changes from 2015 to 2035: the seed
// says which.
func TestNextAroundEveryClockChange(t *testing.T) {
	t.Parallel()
	r, limit := soak(t)
	began := time.Now()
	names := zoneNames(t)
	if testing.Short() || raceDetector {
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:100]
	}
	all := map[string][]time.Time{}
	changes := 0
	for _, name := range names {
		all[name] = transitions(zone(t, name), 2015, 2035)
		changes += len(all[name])
	}
	if changes < 10*len(names) {
		t.Errorf("%d zones have %d changes of the clock in 21 years: that is too few", len(names), changes)
	}
	compared := 0
	for round := 0; round == 0 || time.Since(began) < limit; round++ {
		for _, name := range names {
			z := zone(t, name)
			at := all[name]
			if limit == 0 && len(at) > 4 {
				r.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
				at = at[:4]
			}
			// Nothing changes then, but the standard library's bounds of what stays the same are wrong for a day.
			leapYearEnds := time.Date(2040+4*r.IntN(15), 12, 31, 12, 0, 0, 0, time.UTC)
			for _, change := range append(slices.Clone(at), leapYearEnds) {
				tables := []*table{
					newTable(t, "cron(0/5 * * * ? *)"), newTable(t, "cron(0/5 0-22 * * ? *)"), newTable(t, "cron(7 30 0-22 ? * * *)"), newTable(t, "cron(30 */2 ? * * *)"),
					newTable(t, fmt.Sprintf("cron(%d %d * * ? *)", r.IntN(60), r.IntN(4))), newTable(t, randomExpression(r)),
				}
				from, to := change.AddDate(0, 0, -2), change.AddDate(0, 0, 2)
				for i, want := range walk(tables, z, from, to) {
					compare(t, tables[i], z, from, to, want, r)
				}
				compared++
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d zones, %d changes, %d compared", len(names), changes, compared)
}
