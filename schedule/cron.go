package schedule

import (
	"math/bits"
	"time"
)

// cron is what a cron expression selects. Wall-clock seconds are those of wallClock.
type cron struct {
	second  int64  // 0-59: an expression with more of them would fire too often
	minutes uint64 // bit n is minute n
	hours   uint32 // bit n is hour n
	months  uint32 // bit n is month n, 1-12
	years   [4]uint64
	// everyHour: the hours have * or a step, so that runs follow the real hours at a change of the clock.
	everyHour bool

	// Days of the month, when byWeekday is false.
	days        uint32 // bit n is day n, 1-31
	nearest     uint32 // nW: the weekday nearest to day n
	last        bool   // L
	lastWeekday bool   // LW

	// Days of the week, otherwise: bit n is weekday n, 0 = Sunday.
	byWeekday  bool
	weekdays   uint8
	lastOf     uint8 // nL: the last such weekday of the month
	nthWeekday uint8 // the weekday of w#n
	nth        uint8 // 1-5; 0 without #
}

func (c *cron) hasYear(year int) bool {
	i := uint(year - FirstYear)
	return i < LastYear-FirstYear+1 && c.years[i/64]>>(i%64)&1 != 0
}

// next returns the first wall-clock second from w on that the expression selects.
func (c *cron) next(w int64) (int64, bool) {
	w = max(w, 0) // the first second of FirstYear
	day, second := w/secondsPerDay, w%secondsPerDay
	found, ok := c.nextDay(day)
	if !ok {
		return 0, false
	}
	if found == day {
		if second, ok = c.nextTime(second); ok {
			return day*secondsPerDay + second, true
		}
		if found, ok = c.nextDay(day + 1); !ok {
			return 0, false
		}
	}
	second, _ = c.nextTime(0)
	return found*secondsPerDay + second, true
}

// nextTime returns the first selected second of a day from the given one on.
func (c *cron) nextTime(second int64) (int64, bool) {
	minute := second / 60
	if second%60 > c.second {
		minute++
	}
	hour := minute / 60
	if hour < 24 && c.hours>>hour&1 != 0 {
		if rest := c.minutes >> (minute % 60); rest != 0 {
			return (minute+int64(bits.TrailingZeros64(rest)))*60 + c.second, true
		}
	}
	hour++
	rest := c.hours >> hour
	if rest == 0 {
		return 0, false
	}
	hour += int64(bits.TrailingZeros32(rest))
	return (hour*60+int64(bits.TrailingZeros64(c.minutes)))*60 + c.second, true
}

// nextDay returns the first selected day from the given one on, counted from 1970-01-01.
func (c *cron) nextDay(day int64) (int64, bool) {
	date := time.Unix(day*secondsPerDay, 0).UTC()
	year, month, first := date.Date()
	for ; year <= LastYear; year++ {
		if c.hasYear(year) {
			for rest := c.months >> month; rest != 0; rest = c.months >> month {
				if skip := bits.TrailingZeros32(rest); skip > 0 {
					month += time.Month(skip)
					first = 1
				}
				start := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
				if days := c.daysOf(year, month, start.Weekday()) >> first; days != 0 {
					return start.Unix()/secondsPerDay + int64(first+bits.TrailingZeros32(days)) - 1, true
				}
				month++
				first = 1
			}
		}
		month, first = time.January, 1
	}
	return 0, false
}

// daysOf returns the selected days of a month that starts with the given weekday; bit n is day n.
func (c *cron) daysOf(year int, month time.Month, starts time.Weekday) uint32 {
	length := monthLength(year, month)
	weekday := func(day int) time.Weekday { return (starts + time.Weekday(day-1)) % 7 }
	// firstOn is the first day of the month with that weekday.
	firstOn := func(w time.Weekday) int { return 1 + int(w-starts+7)%7 }
	var days uint32
	if c.byWeekday {
		for w := time.Sunday; w <= time.Saturday; w++ {
			if c.weekdays>>w&1 != 0 {
				days |= everySeventh << firstOn(w)
			}
			if c.lastOf>>w&1 != 0 {
				day := firstOn(w) + 28
				if day > length {
					day -= 7
				}
				days |= 1 << day
			}
		}
		if c.nth > 0 {
			days |= 1 << (firstOn(time.Weekday(c.nthWeekday)) + 7*int(c.nth-1))
		}
	} else {
		days = c.days
		if c.last {
			days |= 1 << length
		}
		if c.lastWeekday {
			days |= 1 << nearestWeekday(length, length, weekday(length))
		}
		for rest := c.nearest; rest != 0; rest &= rest - 1 {
			// A day that the month does not have has no nearest weekday.
			if day := bits.TrailingZeros32(rest); day <= length {
				days |= 1 << nearestWeekday(day, length, weekday(day))
			}
		}
	}
	return days & (1<<(length+1) - 1)
}

// everySeventh, shifted to the first of them, has the bits of all days with one weekday.
const everySeventh = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28

// nearestWeekday returns the day from Monday to Friday that is nearest to a day, in the same month.
func nearestWeekday(day, length int, w time.Weekday) int {
	switch {
	case w == time.Saturday && day > 1:
		return day - 1
	case w == time.Saturday:
		return day + 2
	case w == time.Sunday && day < length:
		return day + 1
	case w == time.Sunday:
		return day - 2
	}
	return day
}

func monthLength(year int, month time.Month) int {
	switch month {
	case time.April, time.June, time.September, time.November:
		return 30
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// firstAfter returns the first selected wall-clock second whose instant is after t.
func (c *cron) firstAfter(t time.Time, zone *time.Location) (int64, bool) {
	w := wallClock(t, zone) + 1
	for {
		found, ok := c.next(w)
		if !ok {
			return 0, false
		}
		if u, _ := resolve(found, zone); u > t.Unix() {
			return found, true
		}
		w = found + 1
	}
}

// minInterval is the shortest time between two runs, in minutes.
const minInterval = 5

// tooOften returns two minutes of the day, the second possibly of the next day, at which the expression can fire less
// than minInterval apart.
func (c *cron) tooOften() (earlier, later int, found bool) {
	first, previous := -1, -1
	for minute := range 24 * 60 {
		if c.hours>>(minute/60)&1 == 0 || c.minutes>>(minute%60)&1 == 0 {
			continue
		}
		if previous >= 0 && minute-previous < minInterval {
			return previous, minute, true
		}
		if first < 0 {
			first = minute
		}
		previous = minute
	}
	if first+24*60-previous >= minInterval {
		return 0, 0, false
	}
	for day := int64(0); ; {
		found, ok := c.nextDay(day)
		if !ok {
			return 0, 0, false
		}
		if found == day && day > 0 {
			return previous, first, true
		}
		day = found + 1
	}
}
