package baseline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// MaxDocument bounds every baseline, override and snapshot document that this package reads, in bytes.
const MaxDocument = 4 << 20

// Parse reads one baseline in the JSON shape of GetPatchBaseline. Errors name the document and the line:
// `broken.json:3: unknown field "ApproveAfterDay"`.
func Parse(name string, b []byte) (*Baseline, error) {
	var out Baseline
	if err := strict(name, b, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// strict decodes b into v, and refuses members that v does not have.
func strict(name string, b []byte, v any) error {
	if len(b) > MaxDocument {
		return fmt.Errorf("%s: more than %d bytes", name, MaxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	w := walker{dec: dec, src: b, name: name}
	if err := w.value(reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	if dec.More() {
		return w.errorf(dec.InputOffset(), "text after the end of the document")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return w.wrap(err)
	}
	return nil
}

// walker follows the tokens of a document along a Go type.
type walker struct {
	dec  *json.Decoder
	src  []byte
	name string
}

func (w *walker) errorf(offset int64, format string, args ...any) error {
	line := 1 + bytes.Count(w.src[:min(int(offset), len(w.src))], []byte("\n"))
	return fmt.Errorf("%s:%d: %s", w.name, line, fmt.Sprintf(format, args...))
}

func (w *walker) wrap(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return w.errorf(syntax.Offset, "%s", strings.TrimPrefix(syntax.Error(), "json: "))
	case errors.As(err, &kind):
		return w.errorf(kind.Offset, "%s must be a %s, not a %s", kind.Field, kind.Type, kind.Value)
	}
	return w.errorf(w.dec.InputOffset(), "the document ends too early")
}

func (w *walker) value(t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tok, err := w.dec.Token()
	if err != nil {
		return w.wrap(err)
	}
	switch tok {
	case json.Delim('{'):
		return w.object(t)
	case json.Delim('['):
		for w.dec.More() {
			elem := t
			if t.Kind() == reflect.Slice && t != rawMessage {
				elem = t.Elem()
			}
			if err := w.value(elem); err != nil {
				return err
			}
		}
		if _, err := w.dec.Token(); err != nil {
			return w.wrap(err)
		}
	}
	return nil
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

func (w *walker) object(t reflect.Type) error {
	for w.dec.More() {
		tok, err := w.dec.Token()
		if err != nil {
			return w.wrap(err)
		}
		key, _ := tok.(string)
		member := rawMessage
		if t.Kind() == reflect.Struct {
			f, ok := field(t, key)
			if !ok {
				return w.errorf(w.dec.InputOffset(), "unknown field %q", key)
			}
			member = f
		}
		if err := w.value(member); err != nil {
			return err
		}
	}
	if _, err := w.dec.Token(); err != nil {
		return w.wrap(err)
	}
	return nil
}

func field(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if name == key {
			return f.Type, true
		}
	}
	return nil, false
}
