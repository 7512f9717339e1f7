package system

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Cache is what a manager keeps of a node from one scan to the next, in one file. One walk over its parts, each by one of
// the methods, both writes and reads it. Strings are cut out of one text, so that reading allocates little.
type Cache struct {
	text    string // what is read; of a writing one empty
	at      int
	out     []byte
	writing bool
	err     error
}

var errCache = errors.New("damaged cache")

// ReadCache walks over a file that WriteCache wrote under the same key. False: there is none, it is of another state of
// the node or damaged, and what walk has filled is not to be used.
func ReadCache(file string, key [sha256.Size]byte, walk func(*Cache)) bool {
	b, err := os.ReadFile(file)
	const head = 2 * sha256.Size
	if err != nil || len(b) < head || [sha256.Size]byte(b[:sha256.Size]) != key || sha256.Sum256(b[head:]) != [sha256.Size]byte(b[sha256.Size:head]) {
		return false
	}
	return parseCache(string(b[head:]), walk)
}

func parseCache(text string, walk func(*Cache)) bool {
	c := &Cache{text: text}
	walk(c)
	return c.err == nil && c.at == len(text)
}

// WriteCache replaces the file. One that cannot be written costs time only, so nothing is said about it. key names the
// state of the node and the form that walk has.
func WriteCache(file string, key [sha256.Size]byte, walk func(*Cache)) {
	c := &Cache{writing: true, out: make([]byte, 2*sha256.Size, 512<<10)}
	walk(c)
	sum := sha256.Sum256(c.out[2*sha256.Size:])
	copy(c.out, key[:])
	copy(c.out[sha256.Size:], sum[:])
	if os.MkdirAll(filepath.Dir(file), 0o755) != nil {
		return
	}
	tmp := fmt.Sprintf("%s.%d", file, os.Getpid())
	if os.WriteFile(tmp, c.out, 0o600) != nil || os.Rename(tmp, file) != nil {
		os.Remove(tmp)
	}
}

// Number is a number of any size.
func (c *Cache) Number(n *int64) {
	if c.writing {
		c.out = binary.AppendVarint(c.out, *n)
		return
	}
	v, shift := uint64(0), 0
	for c.at < len(c.text) && shift < 64 {
		b := c.text[c.at]
		c.at++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			*n = int64(v>>1) ^ -int64(v&1)
			return
		}
		shift += 7
	}
	c.err, *n = errCache, 0
}

// Int is a number.
func (c *Cache) Int(n *int) {
	v := int64(*n)
	c.Number(&v)
	*n = int(v)
}

// Bool is a flag.
func (c *Cache) Bool(b *bool) {
	var n int64
	if *b {
		n = 1
	}
	c.Number(&n)
	*b = n != 0
}

// length is that of a text or a list. One that is read is never more than the bytes that are left.
func (c *Cache) length(n int) int {
	c.Int(&n)
	if !c.writing && (n < 0 || n > len(c.text)-c.at) {
		c.err, n = errCache, 0
	}
	return n
}

// Text is a string.
func (c *Cache) Text(s *string) {
	n := c.length(len(*s))
	if c.writing {
		c.out = append(c.out, *s...)
		return
	}
	*s = c.text[c.at : c.at+n]
	c.at += n
}

// Texts are several strings, each by itself.
func (c *Cache) Texts(list ...*string) {
	for _, s := range list {
		c.Text(s)
	}
}

// Time is an instant, which is read in UTC.
func (c *Cache) Time(t *time.Time) {
	known := !t.IsZero()
	if c.Bool(&known); !known {
		*t = time.Time{}
		return
	}
	seconds, nanos := t.Unix(), int64(t.Nanosecond())
	c.Number(&seconds)
	c.Number(&nanos)
	if !c.writing {
		*t = time.Unix(seconds, nanos).UTC()
	}
}

// List is a list, whose parts each is called with. One that is read is nil when it is empty.
func List[T any](c *Cache, list *[]T, each func(*T)) {
	n := c.length(len(*list))
	if !c.writing {
		*list = nil
		if n > 0 {
			*list = make([]T, n)
		}
	}
	for i := range *list {
		if c.err != nil {
			*list = nil
			return
		}
		each(&(*list)[i])
	}
}

// TextList is a list of strings.
func (c *Cache) TextList(list *[]string) { List(c, list, c.Text) }

// Table is a map by name, written in the order of names. One that is read is never nil.
func Table[V any](c *Cache, table *map[string]V, each func(*V)) {
	n := c.length(len(*table))
	if c.writing {
		names := make([]string, 0, n)
		for name := range *table {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			v := (*table)[name]
			c.Text(&name)
			each(&v)
		}
		return
	}
	*table = make(map[string]V, n)
	for range n {
		var name string
		var v V
		if c.Text(&name); c.err != nil {
			return
		}
		each(&v)
		(*table)[name] = v
	}
}
