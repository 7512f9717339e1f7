package deb

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// parse fills p from the bytes of one stanza.
func (p *Package) parse(b []byte) {
	*p = Package{Phased: 100}
	for len(b) > 0 {
		key, value, rest := nextField(b)
		b = rest
		if len(key) == 0 {
			continue
		}
		switch string(key) {
		case "Package":
			p.Name = string(value)
		case "Architecture":
			p.Arch = string(value)
		case "Version":
			p.Version = string(value)
		case "Source":
			p.Source, p.SourceVersion = splitSource(value)
		case "Priority":
			p.Priority = string(value)
		case "Section":
			p.Section = string(value)
		case "Multi-Arch":
			p.MultiArch = string(value)
		case "Depends":
			p.Depends = unfold(value)
		case "Pre-Depends":
			p.PreDepends = unfold(value)
		case "Conflicts":
			p.Conflicts = unfold(value)
		case "Breaks":
			p.Breaks = unfold(value)
		case "Provides":
			p.Provides = unfold(value)
		case "Replaces":
			p.Replaces = unfold(value)
		case "Filename":
			p.Filename = string(value)
		case "Size":
			p.Size, _ = strconv.ParseInt(string(value), 10, 64) // a bad size is no size
		case "Installed-Size":
			p.InstalledSize, _ = strconv.ParseInt(string(value), 10, 64) // old packages do not say
		case "Phased-Update-Percentage":
			if n, err := strconv.Atoi(string(value)); err == nil && n >= 0 && n < 100 {
				p.Phased = n
			}
		case "Essential", "Important", "Protected":
			p.Essential = p.Essential || string(value) == "yes"
		case "Status":
			p.Status = string(value)
		}
	}
}

// nextField splits "Key: value\n continuation\n..." off b. A line without a colon yields an empty key.
func nextField(b []byte) (key, value, rest []byte) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		end = len(b)
	}
	stop := end
	for stop+1 < len(b) && (b[stop+1] == ' ' || b[stop+1] == '\t') {
		n := bytes.IndexByte(b[stop+1:], '\n')
		if n < 0 {
			stop = len(b)
			break
		}
		stop += 1 + n
	}
	rest = b[min(stop+1, len(b)):]
	colon := bytes.IndexByte(b[:end], ':')
	if colon <= 0 || b[0] == ' ' || b[0] == '\t' || b[0] == '#' {
		return nil, nil, rest
	}
	return b[:colon], bytes.TrimSpace(b[colon+1 : stop]), rest
}

// unfold joins the lines of a folded value.
func unfold(v []byte) string {
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	return string(bytes.Join(bytes.Fields(v), []byte(" ")))
}

func splitSource(v []byte) (name, version string) {
	open := bytes.IndexByte(v, '(')
	if open < 0 {
		return string(v), ""
	}
	name = string(bytes.TrimSpace(v[:open]))
	v = v[open+1:]
	if end := bytes.IndexByte(v, ')'); end >= 0 {
		v = v[:end]
	}
	return name, string(bytes.TrimSpace(v))
}

// ReadStatus calls fn for each stanza of a dpkg status file. The Package is fn's to keep. A stanza that names no package is
// an error: dpkg writes none, and what it was about would be left out.
func ReadStatus(r io.Reader, fn func(*Package) error) error {
	sc := newStanzas(r)
	for sc.next() {
		p := new(Package)
		p.parse(sc.stanza)
		if p.Name == "" {
			return fmt.Errorf("damaged: the record at byte %d names no package", sc.start)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return sc.err
}

// stanzas cuts a stream at its blank lines.
type stanzas struct {
	r        io.Reader
	buf      []byte
	pos, end int
	offset   int64 // of buf[0] in the stream
	eof      bool
	stanza   []byte // valid until the next call
	start    int64  // of stanza in the stream
	err      error
}

func newStanzas(r io.Reader) *stanzas { return &stanzas{r: r, buf: make([]byte, 256<<10)} }

func (s *stanzas) next() bool {
	for s.err == nil {
		for s.pos < s.end && s.buf[s.pos] == '\n' {
			s.pos++
		}
		if s.pos < s.end {
			if i := bytes.Index(s.buf[s.pos:s.end], []byte("\n\n")); i >= 0 {
				s.stanza, s.start = s.buf[s.pos:s.pos+i+1], s.offset+int64(s.pos)
				s.pos += i + 2
				return true
			}
			if s.eof {
				s.stanza, s.start = s.buf[s.pos:s.end], s.offset+int64(s.pos)
				s.pos = s.end
				return true
			}
		} else if s.eof {
			return false
		}
		s.fill()
	}
	return false
}

func (s *stanzas) fill() {
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.offset += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= MaxStanza {
			s.err = fmt.Errorf("stanza at byte %d: %w", s.offset, ErrTooLarge)
			return
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.r.Read(s.buf[s.end:])
	s.end += n
	if s.offset+int64(s.end) > MaxFile {
		s.err = ErrTooLarge
		return
	}
	if err == io.EOF {
		s.eof = true
	} else if err != nil {
		s.err = err
	}
}
