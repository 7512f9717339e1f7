package schedule

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Error is a fault of a schedule's content. The message is safe to show and names what is wrong; services answer it
// as ValidationException or InvalidSchedule.
type Error struct {
	Message string
	// Position is the first wrong character of the expression, counted from 1; 0 when the fault is not at one place.
	Position int
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func invalid(format string, args ...any) error { return &Error{Message: fmt.Sprintf(format, args...)} }

// MaxLength is the most characters that an expression can have.
// Source: AWS Systems Manager API Reference, CreateMaintenanceWindow and CreateAssociation.
const MaxLength = 256

// The limits of rates.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions". The longest rate of a maintenance window is
// Oakum's: the guide has none.
const (
	minWindowRate      = 5 * time.Minute
	maxWindowRateDays  = 36500
	minAssociationRate = 30 * time.Minute
	maxAssociationRate = 31 * 24 * time.Hour // exclusive
)

// ParseWindow reads the Schedule of a maintenance window: cron() with six fields (minutes, hours, day of month, month,
// day of week, year) or seven with the seconds before them, rate() of 5 minutes to 36500 days, or at(). A cron
// expression that can fire twice within 5 minutes is refused. The error is an *Error.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions for maintenance windows".
func ParseWindow(expression string) (Schedule, error) {
	p := parser{expression: expression}
	return p.parse()
}

// ParseAssociation reads the ScheduleExpression of a State Manager association. It differs from ParseWindow in that
// cron() may leave out the year, also after seconds, which must be 0, and that rate() is 30 minutes or more and less
// than 31 days. Six fields are those of a maintenance window unless a question mark stands where those have the month
// or the year: then the first is the seconds. The error is an *Error.
// Source: AWS Systems Manager User Guide, "Cron and rate expressions for associations", which has fewer cron
// expressions: docs/schedules.md.
func ParseAssociation(expression string) (Schedule, error) {
	p := parser{expression: expression, association: true}
	return p.parse()
}

// parser reads one expression.
type parser struct {
	expression  string
	association bool
}

// part is a piece of the expression and where it starts, in bytes.
type part struct {
	text string
	at   int
}

func (p *parser) fault(at int, format string, args ...any) error {
	position := utf8.RuneCountInString(p.expression[:at]) + 1
	return &Error{
		Message:  fmt.Sprintf("Schedule expression '%s' is not valid: %s, at character %d", p.expression, fmt.Sprintf(format, args...), position),
		Position: position,
	}
}

func (p *parser) parse() (Schedule, error) {
	e := p.expression
	if n := utf8.RuneCountInString(e); n == 0 || n > MaxLength {
		return Schedule{}, invalid("A schedule expression must have 1 to %d characters, got %d", MaxLength, n)
	}
	for at, r := range e {
		if r < ' ' || r > '~' {
			return Schedule{}, p.fault(at, "%q is no character of a schedule", r)
		}
	}
	open := strings.IndexByte(e, '(')
	kind := map[string]Kind{"cron": Cron, "rate": Rate, "at": At}[e[:max(open, 0)]]
	if kind == 0 {
		return Schedule{}, p.fault(0, "it must be cron(...), rate(...) or at(...)")
	}
	if end := strings.IndexByte(e, ')'); end < 0 {
		return Schedule{}, p.fault(len(e), "the closing parenthesis is missing")
	} else if end != len(e)-1 {
		return Schedule{}, p.fault(end+1, "nothing may follow the closing parenthesis")
	}
	parts := split(e[:len(e)-1], open+1)
	s := Schedule{kind: kind}
	var err error
	switch kind {
	case Cron:
		s.cron, err = p.cron(parts)
	case Rate:
		err = p.rate(&s, parts)
	case At:
		s.at, err = p.at(parts)
	}
	if err != nil {
		return Schedule{}, err
	}
	words := make([]string, len(parts))
	for i, f := range parts {
		words[i] = f.text
		if kind == Cron {
			words[i] = strings.ToUpper(f.text)
		}
	}
	s.text = kind.String() + "(" + strings.Join(words, " ") + ")"
	return s, nil
}

// split returns the words of s from a byte on.
func split(s string, from int) []part {
	var parts []part
	for i := from; i < len(s); {
		if s[i] == ' ' {
			i++
			continue
		}
		length := strings.IndexByte(s[i:], ' ')
		if length < 0 {
			length = len(s) - i
		}
		parts = append(parts, part{s[i : i+length], i})
		i += length
	}
	return parts
}

func (p *parser) rate(s *Schedule, parts []part) error {
	body := strings.IndexByte(p.expression, '(') + 1
	if len(parts) != 2 {
		return p.fault(body, "rate takes a number and a unit, as in rate(7 days)")
	}
	number, unit := parts[0], parts[1]
	n, ok := digits(number.text, 9)
	if !ok || n == 0 {
		return p.fault(number.at, "'%s' is not a positive number", number.text)
	}
	word, plural := strings.CutSuffix(unit.text, "s")
	seconds := map[string]int64{"minute": 60, "hour": 60 * 60, "day": secondsPerDay}[word]
	if seconds == 0 {
		return p.fault(unit.at, "unit '%s' is not minute, minutes, hour, hours, day or days", unit.text)
	}
	if plural != (n != 1) {
		right := map[bool]string{true: word, false: word + "s"}[n == 1]
		return p.fault(unit.at, "unit '%s' must be '%s' after %d", unit.text, right, n)
	}
	s.period = int64(n) * seconds
	if word == "day" {
		s.days = int64(n)
	}
	if p.association {
		if s.period < int64(minAssociationRate/time.Second) || s.period >= int64(maxAssociationRate/time.Second) {
			return p.fault(number.at, "the rate of an association must be 30 minutes or more and less than 31 days")
		}
		return nil
	}
	if s.period < int64(minWindowRate/time.Second) || s.period > maxWindowRateDays*secondsPerDay {
		return p.fault(number.at, "the rate must be 5 minutes or more and at most %d days", maxWindowRateDays)
	}
	return nil
}

func (p *parser) at(parts []part) (int64, error) {
	const layout = "2006-01-02T15:04:05"
	body := strings.IndexByte(p.expression, '(') + 1
	if len(parts) != 1 {
		return 0, p.fault(body, "at takes one time, as in at(2027-07-07T15:55:00)")
	}
	text := parts[0].text
	t, err := time.Parse(layout, text)
	if err != nil || len(text) != len(layout) {
		return 0, p.fault(parts[0].at, "'%s' is not a time of the form 2027-07-07T15:55:00, without a zone", text)
	}
	if t.Year() < FirstYear || t.Year() > LastYear {
		return 0, p.fault(parts[0].at, "the year must be %d to %d", FirstYear, LastYear)
	}
	return t.Unix(), nil
}

// digits reads a number of at most so many decimal digits.
func digits(s string, most int) (int, bool) {
	if s == "" || len(s) > most || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// field is what a field of a cron expression can hold.
type field struct {
	name     string
	min, max int
	names    []string // of min and the following
}

var (
	secondsField = field{"seconds", 0, 59, nil}
	minutesField = field{"minutes", 0, 59, nil}
	hoursField   = field{"hours", 0, 23, nil}
	daysField    = field{"day of month", 1, 31, nil}
	monthsField  = field{"month", 1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}}
	weekField    = field{"day of week", 1, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}}
	yearsField   = field{"year", FirstYear, LastYear, nil}
)

func (p *parser) cron(parts []part) (cron, error) {
	every := part{"*", 0}
	zero := part{"0", 0}
	body := strings.IndexByte(p.expression, '(') + 1
	switch n := len(parts); {
	case n == 7:
	case n == 6 && p.association && (parts[3].text == "?" || parts[5].text == "?"):
		parts = append(slices.Clone(parts), every)
	case n == 6:
		parts = append([]part{zero}, parts...)
	case n == 5 && p.association:
		parts = append(append([]part{zero}, parts...), every)
	case p.association:
		return cron{}, p.fault(body, "cron takes 5 to 7 fields, got %d: minutes, hours, day of month, month, day of week; year and, before them all, seconds may be added", n)
	default:
		return cron{}, p.fault(body, "cron takes 6 or 7 fields, got %d: minutes, hours, day of month, month, day of week, year; seconds may be added before them", n)
	}
	var c cron
	var seconds uint64
	for _, f := range []struct {
		part part
		field
		add func(int)
	}{
		{parts[0], secondsField, func(v int) { seconds |= 1 << v }},
		{parts[1], minutesField, func(v int) { c.minutes |= 1 << v }},
		{parts[2], hoursField, func(v int) { c.hours |= 1 << v }},
		{parts[4], monthsField, func(v int) { c.months |= 1 << v }},
		{parts[6], yearsField, func(v int) { c.years[(v-FirstYear)/64] |= 1 << ((v - FirstYear) % 64) }},
	} {
		if err := p.list(f.part, f.field, f.add, nil); err != nil {
			return cron{}, err
		}
	}
	c.everyHour = strings.ContainsAny(parts[2].text, "*/") || c.hours == 1<<24-1
	if err := p.days(&c, parts[3], parts[5]); err != nil {
		return cron{}, err
	}
	return c, p.interval(&c, seconds, parts)
}

// interval refuses what fires too often, and sets the second.
func (p *parser) interval(c *cron, seconds uint64, parts []part) error {
	if bits.OnesCount64(seconds) > 1 {
		return p.fault(parts[0].at, "it fires more than once a minute, and runs must be %d minutes apart", minInterval)
	}
	c.second = int64(bits.TrailingZeros64(seconds))
	if p.association && c.second != 0 {
		return p.fault(parts[0].at, "the seconds of an association must be 0")
	}
	if a, b, found := c.tooOften(); found {
		return p.fault(parts[1].at, "it fires at %02d:%02d and at %02d:%02d, and runs must be %d minutes apart", a/60, a%60, b/60, b%60, minInterval)
	}
	return nil
}

// days reads the two day fields, of which one must be a question mark.
func (p *parser) days(c *cron, month, week part) error {
	c.byWeekday = month.text == "?"
	if c.byWeekday == (week.text == "?") {
		return p.fault(week.at, "one of day of month and day of week must be '?', and not both")
	}
	if !c.byWeekday {
		return p.list(month, daysField, func(v int) { c.days |= 1 << v }, func(e part) (bool, error) { return p.dayOfMonth(c, e) })
	}
	return p.list(week, weekField, func(v int) { c.weekdays |= 1 << (v - 1) }, func(e part) (bool, error) {
		return p.dayOfWeek(c, e, len(e.text) == len(week.text))
	})
}

// dayOfMonth reads L, LW and nW; false when the element is none of these.
func (p *parser) dayOfMonth(c *cron, e part) (bool, error) {
	text := strings.ToUpper(e.text)
	switch text {
	case "L":
		c.last = true
		return true, nil
	case "LW":
		c.lastWeekday = true
		return true, nil
	}
	day, ok := strings.CutSuffix(text, "W")
	if !ok {
		return false, nil
	}
	n, err := p.value(part{day, e.at}, daysField)
	if err != nil {
		return true, err
	}
	c.nearest |= 1 << n
	return true, nil
}

// dayOfWeek reads L, nL and w#n; false when the element is none of these. alone: the field has no other element.
func (p *parser) dayOfWeek(c *cron, e part, alone bool) (bool, error) {
	text := strings.ToUpper(e.text)
	if text == "L" {
		c.weekdays |= 1 << time.Saturday
		return true, nil
	}
	if day, ok := strings.CutSuffix(text, "L"); ok {
		n, err := p.value(part{day, e.at}, weekField)
		if err != nil {
			return true, err
		}
		c.lastOf |= 1 << (n - 1)
		return true, nil
	}
	day, which, ok := strings.Cut(text, "#")
	if !ok {
		return false, nil
	}
	if !alone {
		return true, p.fault(e.at, "'%s' must be alone in its field", e.text)
	}
	n, err := p.value(part{day, e.at}, weekField)
	if err != nil {
		return true, err
	}
	nth, ok := digits(which, 1)
	if !ok || nth < 1 || nth > 5 {
		return true, p.fault(e.at+len(day)+1, "'%s' after # is not 1 to 5", which)
	}
	c.nthWeekday, c.nth = uint8(n-1), uint8(nth)
	return true, nil
}

// list reads the elements of a field: *, values, ranges and steps, and what special takes.
func (p *parser) list(f part, of field, add func(int), special func(part) (bool, error)) error {
	at := f.at
	for text := range strings.SplitSeq(f.text, ",") {
		e := part{text, at}
		at += len(text) + 1
		if special != nil {
			if taken, err := special(e); err != nil {
				return err
			} else if taken {
				continue
			}
		}
		if err := p.element(e, of, add); err != nil {
			return err
		}
	}
	return nil
}

// element reads *, a, a-b, */n, a/n or a-b/n. a/n goes on to the end of the field.
func (p *parser) element(e part, of field, add func(int)) error {
	base, by, stepped := strings.Cut(e.text, "/")
	step := 1
	if stepped {
		values := of.max - of.min + 1
		n, ok := digits(by, 4)
		if !ok || n < 1 || n > values {
			return p.fault(e.at+len(base)+1, "step '%s' of %s is not 1 to %d", by, of.name, values)
		}
		step = n
	}
	low, high := of.min, of.max
	if base != "*" {
		from, to, ranged := strings.Cut(base, "-")
		var err error
		if low, err = p.value(part{from, e.at}, of); err != nil {
			return err
		}
		switch {
		case ranged:
			if high, err = p.value(part{to, e.at + len(from) + 1}, of); err != nil {
				return err
			}
		case !stepped:
			high = low
		}
	}
	if low > high {
		if of.name != weekField.name {
			return p.fault(e.at, "the range '%s' of %s runs backwards", base, of.name)
		}
		high += 7 // FRI-MON
	}
	for v := low; v <= high; v += step {
		if v > of.max { // only days of the week, past Saturday
			add(v - 7)
		} else {
			add(v)
		}
	}
	return nil
}

// value reads a number or a name.
func (p *parser) value(v part, of field) (int, error) {
	if i := slices.Index(of.names, strings.ToUpper(v.text)); i >= 0 {
		return of.min + i, nil
	}
	n, ok := digits(v.text, 4)
	if !ok || n < of.min || n > of.max {
		expect := fmt.Sprintf("%d to %d", of.min, of.max)
		if len(of.names) > 0 {
			expect += fmt.Sprintf(" or %s to %s", of.names[0], of.names[len(of.names)-1])
		}
		if v.text == "" {
			return 0, p.fault(v.at, "a value of %s is missing, %s", of.name, expect)
		}
		return 0, p.fault(v.at, "%s '%s' is not %s", of.name, v.text, expect)
	}
	return n, nil
}
