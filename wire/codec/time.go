package codec

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Time is an instant on the wire: in JSON a number of epoch seconds with up to three decimals. Reading
// takes numbers and ISO 8601 strings of the years 1 to 9999.
type Time struct{ time.Time }

// NewTime returns a pointer to t in UTC, cut to the millisecond that the wire carries.
func NewTime(t time.Time) *Time { return &Time{t.UTC().Truncate(time.Millisecond)} }

// TimeOf returns the instant of t, the zero time for nil.
func TimeOf(t *Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// AppendJSON appends the number of t.
func (t Time) AppendJSON(b []byte) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		d := [4]byte{'.', byte('0' + frac/100), byte('0' + frac/10%10), byte('0' + frac%10)}
		b = append(b, strings.TrimRight(string(d[:]), "0")...)
	}
	return b
}

// MarshalJSON returns the number of t.
func (t Time) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// UnmarshalJSON reads a number of epoch seconds or an ISO 8601 string.
func (t *Time) UnmarshalJSON(data []byte) error {
	d := NewDecoder(data)
	v, err := d.Time()
	if err != nil || v == nil {
		return err
	}
	*t = *v
	return nil
}

var errTime = errors.New("not an instant of the years 1 to 9999")

const (
	minUnix = -62135596800 // 0001-01-01T00:00:00Z
	maxUnix = 253402300799 // 9999-12-31T23:59:59Z
)

// ParseTimeNumber reads epoch seconds in the grammar of a JSON number.
func ParseTimeNumber(s string) (Time, error) {
	if strings.ContainsAny(s, "eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f < minUnix || f > maxUnix {
			return Time{}, errTime
		}
		sec, frac := math.Modf(f)
		return Time{time.Unix(int64(sec), int64(math.Round(frac*1e3))*1e6).UTC()}, nil
	}
	neg := strings.HasPrefix(s, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return Time{}, errTime
	}
	if len(frac) > 9 {
		frac = frac[:9]
	}
	var nsec int64
	if frac != "" {
		if nsec, err = strconv.ParseInt(frac+"000000000"[len(frac):], 10, 64); err != nil {
			return Time{}, errTime
		}
	}
	if neg {
		sec, nsec = -sec, -nsec
	}
	if sec < minUnix || sec > maxUnix {
		return Time{}, errTime
	}
	t := time.Unix(sec, nsec).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return Time{}, errTime
	}
	return Time{t}, nil
}

// ParseTimeString reads an ISO 8601 instant; without a zone it is UTC.
func ParseTimeString(s string) (Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
				return Time{}, errTime
			}
			return Time{t}, nil
		}
	}
	return Time{}, errTime
}
