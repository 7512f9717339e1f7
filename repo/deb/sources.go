package deb

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Source is one archive entry of a node: a URI, a suite and its components. Entries for source packages are left out.
type Source struct {
	URI        string
	Suite      string   // ends in "/" for a flat archive
	Components []string // empty for a flat archive
	Archs      []string // restriction, or empty
	More, Less []string // architectures added to those, or to the node's own, and taken from them: arch+= and arch-=
	Trusted    string   // the trusted= option: "yes", "no" or empty
}

// ReadSourcesList reads the one-line format of sources.list. Lines it cannot read are an error that names the line.
func ReadSourcesList(r io.Reader) ([]Source, error) {
	b, err := readSmall(r)
	if err != nil {
		return nil, err
	}
	var out []Source
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(uncomment(line)); line == "" {
			continue
		}
		s, ok, err := sourceLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// uncomment cuts a line at the # that starts a comment. One in brackets is part of an option or of a disc's name.
func uncomment(line string) string {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '#':
			return line[:i]
		case '[':
			i += max(strings.IndexByte(line[i:], ']'), 0)
		}
	}
	return line
}

func sourceLine(line string) (Source, bool, error) {
	var s Source
	kind, rest, _ := strings.Cut(line, " ")
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		kind, rest = line[:i], strings.TrimSpace(line[i:])
	}
	if kind != "deb" && kind != "deb-src" {
		return s, false, fmt.Errorf("type %q is not known", kind)
	}
	if strings.HasPrefix(rest, "[") {
		opts, after, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return s, false, errors.New("option list without its ]")
		}
		for _, o := range strings.Fields(opts) {
			key, value, _ := strings.Cut(o, "=")
			switch key {
			case "arch":
				s.Archs = listed(value)
			case "arch+":
				s.More = listed(value)
			case "arch-":
				s.Less = listed(value)
			case "trusted":
				s.Trusted = yesNo(value)
			}
		}
		rest = strings.TrimSpace(after)
	}
	w, err := words(rest)
	if err != nil {
		return s, false, err
	}
	if len(w) < 2 {
		return s, false, errors.New("needs a URI and a suite")
	}
	s.URI, s.Suite, s.Components = w[0], w[1], w[2:]
	if len(s.Components) == 0 && !strings.HasSuffix(s.Suite, "/") {
		return s, false, fmt.Errorf("suite %s needs a component", s.Suite)
	}
	return s, kind == "deb", nil
}

// words splits at blanks. Quotation marks and square brackets hold blanks together, and %20 stands for one: a mirror's
// folder and a disc's name can have some.
func words(s string) ([]string, error) {
	var out []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var word []byte
		i := 0
		for i < len(s) && s[i] != ' ' && s[i] != '\t' {
			switch c := s[i]; c {
			case '"', '[':
				closing := byte('"')
				if c == '[' {
					closing = ']'
				}
				n := strings.IndexByte(s[i+1:], closing)
				if n < 0 {
					return nil, fmt.Errorf("%c without its %c", c, closing)
				}
				inside := s[i : i+n+2]
				if c == '"' {
					inside = inside[1 : n+1]
				}
				word = append(word, inside...)
				i += n + 2
			default:
				word = append(word, c)
				i++
			}
		}
		out = append(out, unescape(string(word)))
		s = s[i:]
	}
	return out, nil
}

// unescape puts bytes in place of their %XX.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// listed splits a value at its commas and blanks.
func listed(value string) []string {
	if value == "" {
		return nil
	}
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// Bool reads a truth value as apt does; ok is false for what is none.
func Bool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "true", "with", "on", "enable":
		return true, true
	case "0", "no", "false", "without", "off", "disable":
		return false, true
	}
	return false, false
}

func yesNo(s string) string {
	switch v, ok := Bool(s); {
	case !ok:
		return ""
	case v:
		return "yes"
	}
	return "no"
}

// ReadSources reads the deb822 format of .sources files.
func ReadSources(r io.Reader) ([]Source, error) {
	b, err := readSmall(r)
	if err != nil {
		return nil, err
	}
	var out []Source
	for _, st := range paragraphs(b) {
		f := fields(st)
		if on, ok := Bool(f["enabled"]); ok && !on || len(f) == 0 {
			continue
		}
		if !slices.Contains(strings.Fields(f["types"]), "deb") {
			continue
		}
		uris, suites := strings.Fields(f["uris"]), strings.Fields(f["suites"])
		if len(uris) == 0 || len(suites) == 0 {
			return nil, errors.New("a stanza without URIs or Suites")
		}
		archs, more, less := listed(f["architectures"]), listed(f["architectures-add"]), listed(f["architectures-remove"])
		for _, u := range uris {
			for _, suite := range suites {
				s := Source{URI: u, Suite: suite, Archs: archs, More: more, Less: less, Trusted: yesNo(f["trusted"])}
				if !strings.HasSuffix(suite, "/") {
					s.Components = strings.Fields(f["components"])
				}
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// paragraphs splits at empty lines and drops comment lines. To apt a line of blanks is not empty: it belongs to the field
// before it.
func paragraphs(b []byte) [][]byte {
	var out [][]byte
	var cur []byte
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line == "\n" {
			if len(cur) > 0 {
				out = append(out, cur)
			}
			cur = nil
			continue
		}
		cur = append(cur, line...)
	}
	if len(cur) > 0 {
		out = append(out, cur)
	}
	return out
}

// fields returns the fields of a stanza, keys in lower case, folded values joined by blanks.
func fields(b []byte) map[string]string {
	m := map[string]string{}
	for len(b) > 0 {
		key, value, rest := nextField(b)
		b = rest
		if len(key) > 0 {
			m[strings.ToLower(string(key))] = unfold(value)
		}
	}
	return m
}
