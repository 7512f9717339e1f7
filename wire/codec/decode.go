package codec

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"oakum.dev/awserr"
)

// maxDepth is how deep a request's objects and lists may nest.
const maxDepth = 64

// Decoder reads one JSON value for the generated shapes. It is strict where encoding/json is lenient:
// member names match by exact case, text must be UTF-8, depth is limited, and a wrong type is a
// SerializationException in the words of AWS. null is absent and unknown members are skipped.
type Decoder struct {
	data  []byte
	pos   int
	depth int
}

// NewDecoder returns a decoder of data. The values it returns do not share memory with data.
func NewDecoder(data []byte) *Decoder { return &Decoder{data: data} }

// Decodable is a generated shape that reads itself from JSON.
type Decodable interface {
	DecodeJSON(d *Decoder) error
}

// Unmarshal reads data into v; an empty body and null are the empty object.
func Unmarshal(data []byte, v Decodable) error {
	d := NewDecoder(data)
	d.space()
	if d.pos < len(d.data) {
		if !d.Null() {
			if err := v.DecodeJSON(d); err != nil {
				return err
			}
		}
	}
	return d.end()
}

func (d *Decoder) end() error {
	if d.space(); d.pos < len(d.data) {
		return d.syntax()
	}
	return nil
}

func (d *Decoder) syntax() error {
	if d.pos >= len(d.data) {
		return awserr.Serialization("Unexpected end of input")
	}
	return awserr.Serialization("Unexpected token at offset %d", d.pos)
}

func (d *Decoder) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

func (d *Decoder) peek() byte {
	if d.space(); d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

// Null consumes a null and reports whether there was one.
func (d *Decoder) Null() bool {
	if d.peek() == 'n' && d.literal("null") {
		return true
	}
	return false
}

func (d *Decoder) literal(word string) bool {
	if len(d.data)-d.pos >= len(word) && string(d.data[d.pos:d.pos+len(word)]) == word {
		d.pos += len(word)
		return true
	}
	return false
}

// mismatch is the error of a value that is not a want.
func (d *Decoder) mismatch(want string) error {
	switch c := d.peek(); {
	case c == '"':
		return awserr.Serialization("STRING_VALUE can not be converted to %s", want)
	case c == '{':
		return awserr.Serialization("Start of structure or map found where not expected.")
	case c == '[':
		return awserr.Serialization("Start of list found where not expected")
	case c == 't' && d.literal("true"):
		return awserr.Serialization("TRUE_VALUE can not be converted to %s", want)
	case c == 'f' && d.literal("false"):
		return awserr.Serialization("FALSE_VALUE can not be converted to %s", want)
	case c == 'n' && d.literal("null"):
		return awserr.Serialization("NULL_VALUE can not be converted to %s", want)
	case c == '-' || c >= '0' && c <= '9':
		return awserr.Serialization("NUMBER_VALUE can not be converted to %s", want)
	}
	return d.syntax()
}

func (d *Decoder) enter() error {
	if d.depth++; d.depth > maxDepth {
		return awserr.Serialization("Document is nested more than %d levels deep", maxDepth)
	}
	d.pos++
	return nil
}

// Object reads an object and calls member for every name, with the decoder at the value; member must
// consume it. A null value is consumed here and not reported.
func (d *Decoder) Object(member func(name string) error) error {
	if d.peek() != '{' {
		return d.mismatch("Structure")
	}
	if err := d.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c := d.peek()
		if c == '}' && first {
			break
		}
		if !first {
			if c == '}' {
				break
			}
			if c != ',' {
				return d.syntax()
			}
			d.pos++
			c = d.peek()
		}
		if c != '"' {
			return d.syntax()
		}
		name, err := d.str()
		if err != nil {
			return err
		}
		if d.peek() != ':' {
			return d.syntax()
		}
		d.pos++
		if d.Null() {
			continue
		}
		if err := member(name); err != nil {
			return err
		}
	}
	d.pos++
	d.depth--
	return nil
}

// List reads a list and calls element for every value, which it must consume.
func (d *Decoder) List(element func() error) error {
	if d.peek() != '[' {
		if c := d.peek(); c == '{' {
			return d.mismatch("List")
		} else if c != 0 {
			return awserr.Serialization("Expected list or null")
		}
		return d.syntax()
	}
	if err := d.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c := d.peek()
		if c == ']' {
			break
		}
		if !first {
			if c != ',' {
				return d.syntax()
			}
			d.pos++
			if d.peek() == ']' {
				return d.syntax()
			}
		}
		if err := element(); err != nil {
			return err
		}
	}
	d.pos++
	d.depth--
	return nil
}

// Skip consumes any value, checking its syntax and depth.
func (d *Decoder) Skip() error {
	switch c := d.peek(); {
	case c == '{':
		return d.Object(func(string) error { return d.Skip() })
	case c == '[':
		return d.List(d.Skip)
	case c == '"':
		_, err := d.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		_, err := d.number()
		return err
	case c == 't' && d.literal("true"), c == 'f' && d.literal("false"), c == 'n' && d.literal("null"):
		return nil
	}
	return d.syntax()
}

// String reads a string.
func (d *Decoder) String() (string, error) {
	if d.peek() != '"' {
		return "", d.mismatch("String")
	}
	return d.str()
}

// Bool reads true or false.
func (d *Decoder) Bool() (bool, error) {
	switch c := d.peek(); {
	case c == 't' && d.literal("true"):
		return true, nil
	case c == 'f' && d.literal("false"):
		return false, nil
	}
	return false, d.mismatch("Boolean")
}

// Int reads an integral number of 32 bits.
func (d *Decoder) Int() (int64, error) { return d.integer("Integer", math.MinInt32, math.MaxInt32) }

// Long reads an integral number of 64 bits.
func (d *Decoder) Long() (int64, error) { return d.integer("Long", math.MinInt64, math.MaxInt64) }

func (d *Decoder) integer(want string, low, high int64) (int64, error) {
	if c := d.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, d.mismatch(want)
	}
	s, err := d.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, awserr.Serialization("NUMBER_VALUE can not be converted to %s", want)
		}
		n = int64(f)
	}
	if n < low || n > high {
		return 0, awserr.Serialization("NUMBER_VALUE can not be converted to %s", want)
	}
	return n, nil
}

// Double reads a finite number.
func (d *Decoder) Double() (float64, error) {
	if c := d.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, d.mismatch("Double")
	}
	s, err := d.number()
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, awserr.Serialization("NUMBER_VALUE can not be converted to Double")
	}
	return f, nil
}

// Time reads an instant: epoch seconds or an ISO 8601 string.
func (d *Decoder) Time() (*Time, error) {
	var t Time
	var err error
	switch c := d.peek(); {
	case c == '"':
		s, serr := d.str()
		if serr != nil {
			return nil, serr
		}
		t, err = ParseTimeString(s)
		if err != nil {
			return nil, awserr.Serialization("STRING_VALUE can not be converted to Timestamp")
		}
	case c == '-' || c >= '0' && c <= '9':
		s, serr := d.number()
		if serr != nil {
			return nil, serr
		}
		if t, err = ParseTimeNumber(s); err != nil {
			return nil, awserr.Serialization("NUMBER_VALUE can not be converted to Timestamp")
		}
	case c == 'n' && d.literal("null"):
		return nil, nil
	default:
		return nil, d.mismatch("Timestamp")
	}
	return &t, nil
}

// Blob reads base64.
func (d *Decoder) Blob() ([]byte, error) {
	if d.peek() != '"' {
		return nil, d.mismatch("Blob")
	}
	s, err := d.str()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, awserr.Serialization("STRING_VALUE can not be converted to Blob: not base64")
	}
	return b, nil
}

// number consumes one number of the JSON grammar and returns its text.
func (d *Decoder) number() (string, error) {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.data) && d.data[d.pos] >= '0' && d.data[d.pos] <= '9' {
			d.pos++
		}
		return d.pos > from
	}
	if d.pos < len(d.data) && d.data[d.pos] == '-' {
		d.pos++
	}
	zero := d.pos < len(d.data) && d.data[d.pos] == '0'
	from := d.pos
	if !digits() || zero && d.pos > from+1 {
		return "", d.syntax()
	}
	if d.pos < len(d.data) && d.data[d.pos] == '.' {
		if d.pos++; !digits() {
			return "", d.syntax()
		}
	}
	if d.pos < len(d.data) && (d.data[d.pos] == 'e' || d.data[d.pos] == 'E') {
		if d.pos++; d.pos < len(d.data) && (d.data[d.pos] == '+' || d.data[d.pos] == '-') {
			d.pos++
		}
		if !digits() {
			return "", d.syntax()
		}
	}
	return string(d.data[start:d.pos]), nil
}

// str consumes a string; the decoder stands at its opening quote.
func (d *Decoder) str() (string, error) {
	d.pos++
	start := d.pos
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; {
		case c == '"':
			s := d.data[start:d.pos]
			d.pos++
			if !utf8.Valid(s) {
				return "", awserr.Serialization("Invalid UTF-8 in a string")
			}
			return string(s), nil
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			return "", d.syntax()
		}
		d.pos++
	}
	return "", d.syntax()
}

func (d *Decoder) escaped(start int) (string, error) {
	out := append([]byte(nil), d.data[start:d.pos]...)
	for d.pos < len(d.data) {
		c := d.data[d.pos]
		switch {
		case c == '"':
			d.pos++
			if !utf8.Valid(out) {
				return "", awserr.Serialization("Invalid UTF-8 in a string")
			}
			return string(out), nil
		case c < 0x20:
			return "", d.syntax()
		case c != '\\':
			out = append(out, c)
			d.pos++
			continue
		}
		if d.pos++; d.pos >= len(d.data) {
			break
		}
		switch e := d.data[d.pos]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := d.hex4(d.pos + 1)
			if !ok {
				return "", d.syntax()
			}
			d.pos += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if d.pos+2 < len(d.data) && d.data[d.pos+1] == '\\' && d.data[d.pos+2] == 'u' {
					low, ok = d.hex4(d.pos + 3)
				}
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return "", awserr.Serialization("Invalid surrogate pair in a string")
				}
				d.pos += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", d.syntax()
		}
		d.pos++
	}
	return "", d.syntax()
}

func (d *Decoder) hex4(at int) (rune, bool) {
	if at+4 > len(d.data) {
		return 0, false
	}
	var r rune
	for _, c := range d.data[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// ReadString sets *p to a new string that d reads.
func ReadString(d *Decoder, p **string) error { return read(d.String, p) }

// ReadBool sets *p to a new boolean that d reads.
func ReadBool(d *Decoder, p **bool) error { return read(d.Bool, p) }

// ReadInt sets *p to a new 32-bit integer that d reads.
func ReadInt(d *Decoder, p **int64) error { return read(d.Int, p) }

// ReadLong sets *p to a new 64-bit integer that d reads.
func ReadLong(d *Decoder, p **int64) error { return read(d.Long, p) }

// ReadDouble sets *p to a new number that d reads.
func ReadDouble(d *Decoder, p **float64) error { return read(d.Double, p) }

func read[T any](f func() (T, error), p **T) error {
	v, err := f()
	if err != nil {
		return err
	}
	*p = &v
	return nil
}

// ReadList sets *p to the list that d reads, never nil; element reads one value into its place.
func ReadList[T any](d *Decoder, p *[]T, element func(v *T, d *Decoder) error) error {
	out := []T{}
	err := d.List(func() error {
		var v T
		if err := element(&v, d); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	*p = out
	return err
}

// ReadMap sets *p to the map that d reads, never nil.
func ReadMap[T any](d *Decoder, p *map[string]T, element func(v *T, d *Decoder) error) error {
	out := map[string]T{}
	err := d.Object(func(name string) error {
		var v T
		if err := element(&v, d); err != nil {
			return err
		}
		out[name] = v
		return nil
	})
	*p = out
	return err
}

// ElemString reads a list or map element.
func ElemString(v *string, d *Decoder) (err error) { *v, err = d.String(); return err }

// ElemInt reads a list or map element.
func ElemInt(v *int64, d *Decoder) (err error) { *v, err = d.Int(); return err }

// ElemLong reads a list or map element.
func ElemLong(v *int64, d *Decoder) (err error) { *v, err = d.Long(); return err }

// ElemBool reads a list or map element.
func ElemBool(v *bool, d *Decoder) (err error) { *v, err = d.Bool(); return err }
