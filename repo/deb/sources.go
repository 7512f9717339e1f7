package deb

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Source is one archive entry of a node: a URI, a suite and its components. Entries for source packages are left out.
type Source struct {
	URI        string
	Suite      string   // ends in "/" for a flat archive
	Components []string // empty for a flat archive
	Archs      []string // restriction, or empty
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
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
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
				s.Archs = strings.Split(value, ",")
			case "trusted":
				s.Trusted = value
			}
		}
		rest = strings.TrimSpace(after)
	}
	if strings.HasPrefix(rest, "cdrom:") { // the name in brackets may hold blanks
		if end := strings.LastIndexByte(rest, ']'); end >= 0 {
			rest = strings.ReplaceAll(rest[:end+1], " ", "%20") + rest[end+1:]
		}
	}
	w := strings.Fields(rest)
	if len(w) < 2 {
		return s, false, errors.New("needs a URI and a suite")
	}
	s.URI, s.Suite, s.Components = w[0], w[1], w[2:]
	if len(s.Components) == 0 && !strings.HasSuffix(s.Suite, "/") {
		return s, false, fmt.Errorf("suite %s needs a component", s.Suite)
	}
	return s, kind == "deb", nil
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
		if strings.EqualFold(f["enabled"], "no") || strings.EqualFold(f["enabled"], "false") || len(f) == 0 {
			continue
		}
		if !slices.Contains(strings.Fields(f["types"]), "deb") {
			continue
		}
		uris, suites := strings.Fields(f["uris"]), strings.Fields(f["suites"])
		if len(uris) == 0 || len(suites) == 0 {
			return nil, errors.New("a stanza without URIs or Suites")
		}
		archs := strings.FieldsFunc(f["architectures"], func(r rune) bool { return r == ' ' || r == ',' })
		for _, u := range uris {
			for _, suite := range suites {
				s := Source{URI: u, Suite: suite, Archs: archs, Trusted: f["trusted"]}
				if !strings.HasSuffix(suite, "/") {
					s.Components = strings.Fields(f["components"])
				}
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// paragraphs splits at blank lines and drops comment lines.
func paragraphs(b []byte) [][]byte {
	var out [][]byte
	var cur []byte
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.TrimSpace(line) == "" {
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
