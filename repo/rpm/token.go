package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// token is what a step of tokens found.
type token uint8

const (
	done token = iota
	start
	finish
)

// tokens walks the elements of one well-cut record. Slices that it gives are valid as long as the record.
type tokens struct {
	b     []byte
	pos   int
	name  []byte // local name of the element that starts or finishes
	tag   []byte // the whole start tag
	depth int    // elements that are open, the one that just started included
	empty bool   // the element that just started is <a/>
	open  [][]byte
	err   error
}

func (t *tokens) reset(b []byte) { *t = tokens{b: b, open: t.open[:0]} }

// next moves to the next start or end of an element. After the last one, and on an error, it answers done.
func (t *tokens) next() token {
	if t.empty {
		t.empty = false
		return t.finished()
	}
	for t.err == nil {
		i := bytes.IndexByte(t.b[t.pos:], '<')
		if i < 0 {
			if t.depth > 0 {
				t.err = fmt.Errorf("<%s> is not closed", clip(t.open[t.depth-1]))
			}
			return done
		}
		t.pos += i
		rest := t.b[t.pos:]
		if len(rest) < 2 {
			t.err = errors.New("a < at the end")
			return done
		}
		switch rest[1] {
		case '!', '?':
			n, _ := markup(rest)
			if n == 0 {
				t.err = errDoctype
				return done
			}
			t.pos += n
		case '/':
			i := bytes.IndexByte(rest, '>')
			if i < 0 {
				t.err = errors.New("an end tag is cut off")
				return done
			}
			name := rest[2:i]
			for len(name) > 0 && blank(name[len(name)-1]) {
				name = name[:len(name)-1]
			}
			if t.depth == 0 || !bytes.Equal(t.open[t.depth-1], name) {
				t.err = fmt.Errorf("</%s> closes nothing", clip(name))
				return done
			}
			t.pos += i + 1
			return t.finished()
		default:
			return t.started(rest)
		}
	}
	return done
}

func (t *tokens) started(rest []byte) token {
	end := tagLen(rest)
	if end == 0 {
		t.err = errors.New("a tag is cut off")
		return done
	}
	t.tag = rest[:end]
	name := elementName(t.tag)
	if len(name) == 0 {
		t.err = errors.New("a < that starts no element")
		return done
	}
	t.empty = t.tag[end-2] == '/'
	t.name = local(name)
	t.pos += end
	t.open = append(t.open[:t.depth], name)
	t.depth++
	return start
}

func (t *tokens) finished() token {
	t.depth--
	t.name = local(t.open[t.depth])
	return finish
}

// attr calls fn with the name, without prefix, and the decoded value of each attribute of the element that just started.
func (t *tokens) attr(fn func(name, value []byte)) {
	if err := eachAttr(t.tag, func(name, value []byte) {
		v, err := decode(value)
		if err != nil {
			t.err = err
			return
		}
		fn(local(name), v)
	}); err != nil && t.err == nil {
		t.err = err
	}
}

// text is the text of the element that just started up to its first child, without outer white space.
func (t *tokens) text() []byte {
	if t.empty {
		return nil
	}
	var joined []byte
	for first := true; ; first = false {
		rest := t.b[t.pos:]
		i := bytes.IndexByte(rest, '<')
		if i < 0 {
			i = len(rest)
		}
		part, err := decode(rest[:i])
		if err != nil {
			t.err = err
			return nil
		}
		t.pos += i
		rest = rest[i:]
		if len(rest) < 2 || rest[1] != '!' && rest[1] != '?' {
			if first {
				return bytes.TrimSpace(part)
			}
			return bytes.TrimSpace(append(joined, part...))
		}
		n, cdata := markup(rest)
		if n == 0 {
			t.err = errDoctype
			return nil
		}
		joined = append(append(joined, part...), cdata...)
		t.pos += n
	}
}

// markup measures the comment, CDATA section or processing instruction that b starts with; 0 when it is none.
func markup(b []byte) (n int, cdata []byte) {
	closed := func(open, end string) int {
		if !bytes.HasPrefix(b, []byte(open)) {
			return 0
		}
		i := bytes.Index(b[len(open):], []byte(end))
		if i < 0 {
			return 0
		}
		return len(open) + i + len(end)
	}
	if n = closed("<!--", "-->"); n > 0 {
		return n, nil
	}
	if n = closed("<![CDATA[", "]]>"); n > 0 {
		return n, b[9 : n-3]
	}
	return closed("<?", "?>"), nil
}

var quotes = []byte{'"'}

// tagLen is the length of the tag that b starts with, or 0 when it is cut off.
func tagLen(b []byte) int {
	end := bytes.IndexByte(b, '>')
	if end < 0 {
		return 0
	}
	if bytes.Count(b[:end], quotes)%2 == 0 && bytes.IndexByte(b[:end], '\'') < 0 { // the > is in no value
		return end + 1
	}
	quote := byte(0)
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return 0
}

// elementName is the qualified name in a start tag; empty when there is none.
func elementName(tag []byte) []byte {
	i := 1
	for i < len(tag) && nameByte(tag[i]) {
		i++
	}
	return tag[min(1, len(tag)):i]
}

func local(name []byte) []byte {
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

func nameByte(c byte) bool { return nameBytes[c] }

var nameBytes = func() (set [256]bool) {
	for i := range set {
		c := byte(i)
		set[i] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == ':' || c == '-' || c == '.' || c >= 0x80
	}
	return set
}()

func blank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// eachAttr calls fn with each attribute of a tag as it is written.
func eachAttr(tag []byte, fn func(name, value []byte)) error {
	b := tag[1+len(elementName(tag)):]
	for {
		for len(b) > 0 && (blank(b[0]) || b[0] == '/' || b[0] == '>' || b[0] == '?') {
			b = b[1:]
		}
		if len(b) == 0 {
			return nil
		}
		n := 0
		for n < len(b) && nameByte(b[n]) {
			n++
		}
		name := b[:n]
		for b = b[n:]; len(b) > 0 && blank(b[0]); {
			b = b[1:]
		}
		if n == 0 || len(b) == 0 || b[0] != '=' {
			return errors.New("an attribute without a value")
		}
		for b = b[1:]; len(b) > 0 && blank(b[0]); {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != '"' && b[0] != '\'' {
			return errors.New("an attribute's value without quotes")
		}
		end := bytes.IndexByte(b[1:], b[0])
		if end < 0 {
			return errors.New("an attribute is cut off")
		}
		fn(name, b[1:1+end])
		b = b[end+2:]
	}
}

var entities = map[string]string{"amp": "&", "lt": "<", "gt": ">", "quot": `"`, "apos": "'"}

// decode replaces the entities in b. Without any it returns b itself.
func decode(b []byte) ([]byte, error) {
	i := bytes.IndexByte(b, '&')
	if i < 0 {
		return b, nil
	}
	out := make([]byte, 0, len(b))
	for ; i >= 0; i = bytes.IndexByte(b, '&') {
		out = append(out, b[:i]...)
		end := bytes.IndexByte(b[i:min(len(b), i+12)], ';')
		if end < 0 {
			return nil, errors.New("an & that starts no entity")
		}
		name := string(b[i+1 : i+end])
		b = b[i+end+1:]
		if s, ok := entities[name]; ok {
			out = append(out, s...)
			continue
		}
		if len(name) < 2 || name[0] != '#' {
			return nil, fmt.Errorf("unknown entity &%s;", name)
		}
		digits, base := name[1:], 10
		if digits[0] == 'x' {
			digits, base = digits[1:], 16
		}
		r, err := strconv.ParseUint(digits, base, 32)
		if err != nil || r == 0 || r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return nil, fmt.Errorf("&%s; is no character", name)
		}
		out = utf8.AppendRune(out, rune(r))
	}
	return append(out, b...), nil
}
