package codec

import (
	"encoding/base64"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Hidden stands in audit records for what must not be kept.
const Hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

// Encodable is a generated shape that writes itself as JSON.
type Encodable interface {
	EncodeJSON(e *Encoder)
}

// Encoder writes JSON for the generated shapes. Its zero value writes the wire form.
type Encoder struct {
	buf   []byte
	depth int
	comma bool
	audit bool     // lower-case first letters, sensitive values and blobs hidden
	skip  []string // members of the outermost object to leave out
}

// Marshal returns the wire form of v.
func Marshal(v Encodable) []byte {
	var e Encoder
	v.EncodeJSON(&e)
	return e.buf
}

// MarshalAudit returns the form of CloudTrail's requestParameters: names with a lower-case first letter,
// sensitive values hidden.
func MarshalAudit(v Encodable) []byte {
	e := Encoder{audit: true}
	v.EncodeJSON(&e)
	return e.buf
}

// marshalWithout is Marshal without the named members of the outermost object.
func marshalWithout(v Encodable, skip ...string) []byte {
	e := Encoder{skip: skip}
	v.EncodeJSON(&e)
	return e.buf
}

func (e *Encoder) open(c byte) {
	e.sep()
	e.buf = append(e.buf, c)
	e.depth++
	e.comma = false
}

func (e *Encoder) close(c byte) {
	e.buf = append(e.buf, c)
	e.depth--
	e.comma = true
}

func (e *Encoder) sep() {
	if e.comma {
		e.buf = append(e.buf, ',')
	}
	e.comma = true
}

// Begin opens an object.
func (e *Encoder) Begin() { e.open('{') }

// End closes an object.
func (e *Encoder) End() { e.close('}') }

// Key writes a member's name; the value must follow, unless it reports false.
func (e *Encoder) Key(name string) bool {
	if e.depth == 1 && len(e.skip) > 0 && slices.Contains(e.skip, name) {
		return false
	}
	e.sep()
	if e.audit && name[0] >= 'A' && name[0] <= 'Z' {
		e.buf = append(e.buf, '"', name[0]+'a'-'A')
		e.buf = append(append(e.buf, name[1:]...), '"', ':')
	} else {
		e.buf = append(append(append(e.buf, '"'), name...), '"', ':')
	}
	e.comma = false
	return true
}

// SensitiveKey is Key for a member that audit records must not hold: there it writes Hidden and reports false.
func (e *Encoder) SensitiveKey(name string) bool {
	if !e.Key(name) {
		return false
	}
	if e.audit {
		e.String(Hidden)
		return false
	}
	return true
}

// String writes a string; invalid UTF-8 becomes U+FFFD.
func (e *Encoder) String(s string) {
	e.sep()
	e.buf = appendString(e.buf, s)
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				i++
				start = i
				continue
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// Int writes an integer.
func (e *Encoder) Int(n int64) {
	e.sep()
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

// Bool writes true or false.
func (e *Encoder) Bool(v bool) {
	e.sep()
	e.buf = strconv.AppendBool(e.buf, v)
}

// Double writes a number; what JSON cannot say is written as 0.
func (e *Encoder) Double(f float64) {
	e.sep()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	e.buf = strconv.AppendFloat(e.buf, f, 'f', -1, 64)
}

// Time writes epoch seconds.
func (e *Encoder) Time(t *Time) {
	e.sep()
	e.buf = t.AppendJSON(e.buf)
}

// Blob writes base64; in audit records only its size.
func (e *Encoder) Blob(b []byte) {
	e.sep()
	if e.audit {
		e.buf = strconv.AppendInt(append(e.buf, '"'), int64(len(b)), 10)
		e.buf = append(e.buf, ` bytes"`...)
		return
	}
	e.buf = append(e.buf, '"')
	e.buf = base64.StdEncoding.AppendEncode(e.buf, b)
	e.buf = append(e.buf, '"')
}

// WriteList writes a list.
func WriteList[T any](e *Encoder, list []T, element func(v *T, e *Encoder)) {
	e.open('[')
	for i := range list {
		element(&list[i], e)
	}
	e.close(']')
}

// WriteMap writes a map, its keys sorted and verbatim.
func WriteMap[T any](e *Encoder, m map[string]T, element func(v *T, e *Encoder)) {
	e.open('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.sep()
		e.buf = append(appendString(e.buf, k), ':')
		e.comma = false
		v := m[k]
		element(&v, e)
	}
	e.close('}')
}

// PutString writes a list or map element.
func PutString(v *string, e *Encoder) { e.String(*v) }

// PutInt writes a list or map element.
func PutInt(v *int64, e *Encoder) { e.Int(*v) }

// PutBool writes a list or map element.
func PutBool(v *bool, e *Encoder) { e.Bool(*v) }
