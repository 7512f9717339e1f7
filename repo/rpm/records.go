package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"oakum.dev/repo/compress"
)

// Limits on foreign input.
const (
	MaxRecord = 16 << 20 // bytes of one package or notice; the largest of real repositories stay below 2 MB
	MaxFile   = 2 << 30  // bytes of one metadata file after decompression
	MaxSmall  = 8 << 20  // bytes of repomd.xml and of a configuration file
)

// ErrTooLarge says that an input goes beyond a limit of this package.
var ErrTooLarge = compress.ErrTooLarge

var errDoctype = errors.New("document type declarations are not allowed")

// records walks the children of the root element of an XML document and keeps no more of it than one child. It finds
// the end of a child by looking at the first byte after each "<", which is several times as fast as a tokenizer.
type records struct {
	r        io.Reader
	buf      []byte
	pos, end int
	offset   int64 // of buf[0] in the stream
	eof      bool

	root  string // local name that the root element must have
	child string // local name of the children to report; empty: all of them
	// mark, without prefix, is an element of the rpm namespace: flagged says whether the record has one.
	mark    string
	marked  []byte
	opening []byte // marked, as a tag begins
	flagged bool
	closing []byte // used again from record to record
}

// scanRecords calls fn with the bytes of each child element called child; they are valid during the call.
func scanRecords(r io.Reader, root, child, mark string, fn func(b []byte, flagged bool) error) error {
	s := &records{r: r, buf: make([]byte, 256<<10), root: root, child: child, mark: mark}
	if err := s.run(fn); err != nil {
		return fmt.Errorf("byte %d: %w", s.offset+int64(s.pos), err)
	}
	return nil
}

func (s *records) run(fn func([]byte, bool) error) error {
	var root []byte // qualified name of the open root element
	closed := false
	for {
		if root == nil {
			if err := s.blanks(!closed); err == io.EOF && closed {
				return nil
			} else if err == io.EOF {
				return fmt.Errorf("no <%s> in it: %w", s.root, io.ErrUnexpectedEOF)
			} else if err != nil {
				return err
			}
		} else if err := s.text(); err != nil {
			return err
		}
		if err := s.need(2); err != nil {
			return err
		}
		switch c := s.buf[s.pos+1]; {
		case c == '?':
			end, err := s.find(s.pos+2, "?>")
			if err != nil {
				return err
			}
			if err := encoding(s.buf[s.pos:end]); err != nil {
				return err
			}
			s.pos = end + 2
		case c == '!':
			end, err := s.special(s.pos)
			if err != nil {
				return err
			}
			s.pos = end
		case c == '/':
			end, err := s.find(s.pos, ">")
			if err != nil {
				return err
			}
			if name := bytes.TrimSpace(s.buf[s.pos+2 : end]); root == nil || !bytes.Equal(name, root) {
				return fmt.Errorf("</%s> closes nothing", clip(name))
			}
			s.pos = end + 1
			root, closed = nil, true
		case root == nil:
			end, err := s.tagEnd(s.pos)
			if err != nil {
				return err
			}
			tag := s.buf[s.pos:end]
			name := elementName(tag)
			if closed || string(local(name)) != s.root {
				return fmt.Errorf("<%s> where <%s> is expected", clip(name), s.root)
			}
			s.pos = end
			if tag[len(tag)-2] == '/' {
				closed = true
				break
			}
			root = bytes.Clone(name)
			s.marked = []byte(s.prefix(tag) + s.mark)
			s.opening = append([]byte{'<'}, s.marked...)
		default:
			if err := s.element(fn); err != nil {
				return err
			}
		}
	}
}

// prefix finds the prefix, with its colon, that the root element's tag gives the rpm namespace.
func (s *records) prefix(tag []byte) string {
	prefix := "rpm:"
	eachAttr(tag, func(name, value []byte) {
		if after, ok := strings.CutPrefix(string(name), "xmlns"); ok && bytes.HasSuffix(value, []byte("/metadata/rpm")) {
			prefix = strings.TrimPrefix(after, ":")
			if prefix != "" {
				prefix += ":"
			}
		}
	})
	return prefix
}

// element reads the element that starts at pos and reports it when it is a record.
func (s *records) element(fn func([]byte, bool) error) error {
	start, err := s.tagEnd(s.pos)
	if err != nil {
		return err
	}
	length := start - s.pos // from here on offsets count from s.pos, which moves to 0 when the buffer is refilled
	name := elementName(s.buf[s.pos:start])
	if len(name) == 0 {
		return errors.New("a < that starts no element")
	}
	s.flagged = false
	if s.buf[start-2] != '/' {
		if length, err = s.cut(length, bytes.Clone(name)); err != nil {
			return err
		}
	}
	b := s.buf[s.pos : s.pos+length]
	if s.child == "" || string(local(elementName(b))) == s.child {
		if err := fn(b, s.flagged); err != nil {
			return err
		}
	}
	s.pos += length
	return nil
}

// cutPlain is cut for an element that is in the buffer and has neither comments nor their like in it; 0 when it is not so.
func (s *records) cutPlain(from int, name []byte) int {
	b := s.buf[s.pos:s.end]
	s.closing = append(append(s.closing[:0], "</"...), name...)
	n := bytes.Index(b[from:], s.closing)
	if n < 0 || from+n+len(s.closing) >= len(b) || nameByte(b[from+n+len(s.closing)]) {
		return 0
	}
	inner := b[from : from+n]
	if marks(inner, '!') || marks(inner, '?') {
		return 0
	}
	end := bytes.IndexByte(b[from+n:], '>')
	if end < 0 {
		return 0
	}
	s.flagged = s.mark != "" && bytes.Contains(inner, s.opening)
	return from + n + end + 1
}

// marks reports whether a "<" stands before one of the bytes c in b. There are far fewer of those than of "<".
func marks(b []byte, c byte) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], c)
		if n < 0 {
			return false
		}
		if i += n; i > 0 && b[i-1] == '<' {
			return true
		}
	}
}

// cut returns the length of the element called name whose first tag has from bytes.
func (s *records) cut(from int, name []byte) (int, error) {
	if n := s.cutPlain(from, name); n > 0 {
		return n, nil
	}
	i := from
	for {
		b := s.buf[s.pos:s.end]
		n := bytes.IndexByte(b[i:], '<')
		if n < 0 || i+n+len(name)+3 > len(b) { // room for "</name>"
			if n < 0 {
				n = len(b) - i
			}
			i += n
			if err := s.fill(); err == io.EOF {
				return 0, fmt.Errorf("<%s> is cut off: %w", clip(name), io.ErrUnexpectedEOF)
			} else if err != nil {
				return 0, err
			}
			continue
		}
		i += n
		switch c := b[i+1]; {
		case c == '/':
			after := i + 2 + len(name)
			if !bytes.Equal(b[i+2:after], name) || nameByte(b[after]) {
				i += 2
				continue
			}
			end, err := s.find(s.pos+after, ">")
			if err != nil {
				return 0, err
			}
			return end + 1 - s.pos, nil
		case c == '!' || c == '?':
			end, err := s.special(s.pos + i)
			if err != nil {
				return 0, err
			}
			i = end - s.pos
		default:
			if s.mark != "" && bytes.HasPrefix(b[i+1:], s.marked) {
				s.flagged = true
			}
			i++
		}
	}
}

// special returns the index after the comment, CDATA section or processing instruction at index i.
func (s *records) special(i int) (int, error) {
	for _, k := range []struct{ open, end string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}} {
		i -= s.pos
		err := s.need(i + len(k.open))
		if i += s.pos; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		if !bytes.HasPrefix(s.buf[i:s.end], []byte(k.open)) {
			continue
		}
		end, err := s.find(i+len(k.open), k.end)
		return end + len(k.end), err
	}
	return 0, errDoctype
}

// find returns the index of what at or after index i, reading more when needed.
func (s *records) find(i int, what string) (int, error) {
	i -= s.pos
	for {
		b := s.buf[s.pos:s.end]
		if n := bytes.Index(b[min(i, len(b)):], []byte(what)); n >= 0 {
			return s.pos + i + n, nil
		}
		i = max(i, len(b)-len(what)+1)
		if err := s.fill(); err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
	}
}

// tagEnd returns the index after the tag that starts at index i; a ">" in quotes does not end it.
func (s *records) tagEnd(i int) (int, error) {
	i -= s.pos
	quote := byte(0)
	for j := i; ; {
		b := s.buf[s.pos:s.end]
		for ; j < len(b); j++ {
			switch c := b[j]; {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case c == '"' || c == '\'':
				quote = c
			case c == '>':
				return s.pos + j + 1, nil
			}
		}
		if err := s.fill(); err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
	}
}

// blanks moves to the next "<" over white space, and over a byte order mark at the start.
func (s *records) blanks(bom bool) error {
	if bom && s.offset+int64(s.pos) == 0 {
		if s.need(3) == nil && string(s.buf[:3]) == "\xef\xbb\xbf" {
			s.pos = 3
		}
	}
	for {
		for ; s.pos < s.end; s.pos++ {
			switch c := s.buf[s.pos]; {
			case c == '<':
				return nil
			case !blank(c):
				return errors.New("text outside of the root element: not XML, or compressed in an unknown way")
			}
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// text moves to the next "<".
func (s *records) text() error {
	for {
		if n := bytes.IndexByte(s.buf[s.pos:s.end], '<'); n >= 0 {
			s.pos += n
			return nil
		}
		s.pos = s.end
		if err := s.fill(); err == io.EOF {
			return fmt.Errorf("<%s> is cut off: %w", s.root, io.ErrUnexpectedEOF)
		} else if err != nil {
			return err
		}
	}
}

// need makes n bytes available at pos.
func (s *records) need(n int) error {
	for s.end-s.pos < n {
		if err := s.fill(); err == io.EOF {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
	return nil
}

// fill reads more and may move what is kept to the front of the buffer: indexes other than pos and end turn stale.
func (s *records) fill() error {
	if s.eof {
		return io.EOF
	}
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.offset += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= MaxRecord {
			return fmt.Errorf("an element: %w", ErrTooLarge)
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.offset+int64(s.end) > MaxFile {
			return ErrTooLarge
		}
		if err == io.EOF {
			s.eof = true
			if n == 0 {
				return io.EOF
			}
			return nil
		}
		if err != nil || n > 0 {
			return err
		}
	}
	return io.ErrNoProgress
}

// encoding refuses an XML declaration of anything but UTF-8.
func encoding(pi []byte) error {
	if !bytes.HasPrefix(pi, []byte("<?xml ")) {
		return nil
	}
	var err error
	bad := eachAttr(pi[1:], func(name, value []byte) {
		if string(name) != "encoding" {
			return
		}
		switch strings.ToLower(string(value)) {
		case "utf-8", "utf8", "us-ascii", "ascii":
		default:
			err = fmt.Errorf("encoding %q is not UTF-8", clip(value))
		}
	})
	if err == nil {
		err = bad
	}
	return err
}

// clip keeps foreign text in an error message short.
func clip(b []byte) string {
	if len(b) > 60 {
		return string(b[:60]) + "..."
	}
	return string(b)
}
