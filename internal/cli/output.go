package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"oakum.dev/wire/codec"
)

// Output goes by these rules. Stdout carries the answer and nothing else, stderr the talk. JSON has the names of the
// API and CSV the same ones as columns. Tables fit the terminal and are whole when the output is none. Colours and
// progress appear on terminals only.

// terminalWidth is the width to fit into; no limit when the output is no terminal.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 1 << 20
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeColumns aligns rows in columns. Where the line would be too wide, the widest columns are cut, the first one,
// which people copy, last.
// paint, which may be nil, wraps a finished cell in colour; the first row is the head and not painted.
func writeColumns(w io.Writer, rows [][]string, width int, paint func(cell, padded string) string) {
	size := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			size[i] = max(size[i], utf8.RuneCountInString(cell))
		}
	}
	for {
		total, widest := 2*(len(size)-1), 0
		for i, n := range size {
			total += n
			if n > size[widest] && n > 8 || widest == 0 && n > 8 {
				widest = i
			}
		}
		if total <= width || size[widest] <= 8 {
			break
		}
		size[widest]--
	}
	for k, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			text := printable(cell)
			if n := utf8.RuneCountInString(text); n > size[i] {
				text = string([]rune(text)[:size[i]-1]) + "…"
			} else if i < len(r)-1 {
				text += strings.Repeat(" ", size[i]-n)
			}
			if k > 0 && paint != nil {
				text = paint(cell, text)
			}
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(text)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// narrow leaves columns out, in the given order, until the rest fits without cutting anything but long names.
func narrow(rows [][]string, width int, drop ...string) [][]string {
	for _, name := range drop {
		total := 2 * (len(rows[0]) - 1)
		for i := range rows[0] {
			n := 0
			for _, r := range rows {
				n = max(n, utf8.RuneCountInString(r[i]))
			}
			if i > 0 {
				n = min(n, 14)
			}
			total += n
		}
		k := slices.Index(rows[0], name)
		if total <= width || k < 0 {
			break
		}
		for i, r := range rows {
			rows[i] = slices.Delete(slices.Clone(r), k, k+1)
		}
	}
	return rows
}

// printable replaces control characters: names and output come from nodes, and a terminal obeys them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// writeCSV writes rows so that spreadsheets open them and take no cell for a formula.
func writeCSV(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				cell = "'" + cell
			}
			safe[i] = cell
		}
		if err := out.Write(safe); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// writeJSON writes an API shape, ours or the SDK's, with the API's member names: absent members are left out,
// instants are RFC 3339 in UTC.
func writeJSON(w io.Writer, v any) error {
	b, err := apiJSON(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

func apiJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := appendAPI(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func appendAPI(b *bytes.Buffer, v reflect.Value) error {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return appendPlain(b, x.UTC().Format(time.RFC3339))
	case codec.Time:
		return appendPlain(b, x.UTC().Format(time.RFC3339))
	case json.RawMessage:
		return appendPlain(b, x)
	}
	switch v.Kind() {
	case reflect.Struct:
		return appendStruct(b, v)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendPlain(b, v.Interface())
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendAPI(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return appendPlain(b, v.Interface())
}

func appendStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" || empty(v.Field(i)) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if err := appendPlain(b, name); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := appendAPI(b, v.Field(i)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// empty reports whether a member is absent: nil, or an enum without a value. Zero numbers and false are answers.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	}
	return false
}

func appendPlain(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line feed
	return nil
}

// Colours of words that say how something stands.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

var wordColours = map[string]string{
	"COMPLIANT": green, "Success": green, "Online": green, "OK": green,
	"NON_COMPLIANT": red, "Failed": red, "ConnectionLost": red, "FAIL": red, "Missing": red, "TimedOut": red, "ExecutionTimedOut": red,
	"DeliveryTimedOut": red, "InstalledRejected": red, "Undeliverable": red,
	"STALE": yellow, "UNKNOWN": yellow, "WARN": yellow, "Inactive": yellow, "InstalledPendingReboot": yellow, "Cancelled": yellow,
	"Cancelling": yellow, "Terminated": yellow,
}

func paintWord(cell, padded string) string {
	if c, ok := wordColours[cell]; ok {
		return c + padded + plain
	}
	return padded
}

// plural is a number with its noun: 1 node, 2 nodes.
func plural[N int | int32 | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// ago is a past instant as people say it.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// stamp is an instant in full.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 MST")
}
