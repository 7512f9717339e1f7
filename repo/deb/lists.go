package deb

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// List is one Packages list. A plain file gives ReaderAt, so that several goroutines can read it at once and
// single stanzas can be found again; a compressed one gives Open.
type List struct {
	ID   int         // the caller's number for it, handed back with every hit
	Size int64       // bytes behind At
	At   io.ReaderAt // plain file, or nil
	Open func() (io.ReadCloser, error)
}

// Hit is a stanza that was asked for.
type Hit struct {
	List    int
	Package Package
}

// Lists finds the stanzas of some packages in Packages lists.
type Lists struct {
	// Want holds the names of the packages to keep.
	Want map[string]struct{}
	// Index makes Scan remember where every package and every provided name stands, so that Find is cheap.
	Index bool

	mu    sync.Mutex
	marks []mark
	facts []Fact
	ids   map[Fact]uint16
	named map[int]int // list to how many stanzas of it name a package
}

// Named is how many packages a list was seen to name by a Scan with Index set.
func (l *Lists) Named(list int) int { return l.named[list] }

// mark says that the stanza at offset of list names or provides something whose name hashes to hash.
type mark struct {
	hash   uint64
	offset uint32
	list   uint16
	fact   uint16 // of the stanza that names it; provided for a provided name
}

const (
	provided = 1<<16 - 1
	maxFacts = provided - 1 // later ones are counted as the last
)

// Fact is what rules ask about a package that is not installed.
type Fact struct {
	Priority, Section string
	All               bool // Architecture: all
}

// segment is how much of a plain file one goroutine takes at a time.
const segment = 6 << 20

// Scan walks the lists with up to GOMAXPROCS goroutines and returns the stanzas of wanted packages, sorted
// by list, name, version and architecture.
func (l *Lists) Scan(ctx context.Context, lists []List) ([]Hit, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, min(4, runtime.GOMAXPROCS(0))))
	var hits []Hit
	bufs := sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}
	run := func(list List, r io.Reader, from, to int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf := bufs.Get().(*[]byte)
		w := walker{lists: l, list: uint16(list.ID), buf: *buf, r: r, offset: from, to: to, ids: map[string]uint16{}}
		if from > 0 {
			w.align = true
		}
		err := w.walk()
		*buf = w.buf
		bufs.Put(buf)
		if err != nil {
			return err
		}
		l.mu.Lock()
		hits = append(hits, w.hits...)
		l.merge(&w)
		l.mu.Unlock()
		return nil
	}
	for _, list := range lists { // compressed ones first: each is one stream
		if list.At == nil {
			g.Go(func() error {
				r, err := list.Open()
				if err != nil {
					return err
				}
				defer r.Close()
				return run(list, r, 0, MaxFile)
			})
		}
	}
	for _, list := range lists {
		if list.At == nil {
			continue
		}
		for from := int64(0); from < list.Size; from += segment {
			g.Go(func() error {
				start := max(0, from-2) // to see the blank line that ends the stanza before
				return run(list, io.NewSectionReader(list.At, start, list.Size-start), start, min(from+segment, list.Size))
			})
		}
	}
	err := g.Wait()
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.List, b.List), strings.Compare(a.Package.Name, b.Package.Name), strings.Compare(a.Package.Version, b.Package.Version),
			strings.Compare(a.Package.Arch, b.Package.Arch))
	})
	return hits, err
}

// merge takes over what a walker marked; its facts get the numbers that they have here.
func (l *Lists) merge(w *walker) {
	if l.ids == nil {
		l.ids = map[Fact]uint16{}
	}
	numbers := make([]uint16, len(w.facts))
	for i, f := range w.facts {
		id, ok := l.ids[f]
		if !ok {
			id = uint16(min(len(l.facts), maxFacts))
			if len(l.facts) <= maxFacts {
				l.facts = append(l.facts, f)
			}
			l.ids[f] = id
		}
		numbers[i] = id
	}
	l.marks = slices.Grow(l.marks, len(w.marks))
	if l.named == nil {
		l.named = map[int]int{}
	}
	for _, m := range w.marks {
		if m.fact != provided {
			l.named[int(m.list)]++
			m.fact = numbers[m.fact]
		}
		l.marks = append(l.marks, m)
	}
}

// walker reads one stretch of a list.
type walker struct {
	lists  *Lists
	list   uint16
	ids    map[string]uint16 // facts, by their bytes in key
	facts  []Fact
	key    []byte
	r      io.Reader
	buf    []byte
	offset int64 // of buf[0] in the list
	to     int64 // stanzas that start at or after it are somebody else's
	align  bool  // start behind the first blank line
	hits   []Hit
	marks  []mark
}

func (w *walker) walk() error {
	pos, end, eof := 0, 0, false
	for {
		// One pass over what is in the buffer; done is false when more bytes are needed.
		for pos < end || eof {
			if w.align {
				i := bytes.Index(w.buf[pos:end], []byte("\n\n"))
				if i < 0 {
					pos = max(pos, end-1) // the second newline may come with the next bytes
					break
				}
				pos += i + 2
				w.align = false
			}
			for pos < end && w.buf[pos] == '\n' {
				pos++
			}
			if pos == end || w.offset+int64(pos) >= w.to {
				if pos == end && !eof {
					break
				}
				return nil
			}
			n, ok := w.stanza(w.buf[pos:end], w.offset+int64(pos), eof)
			if !ok {
				break
			}
			pos += n
		}
		if eof {
			return nil
		}
		copy(w.buf, w.buf[pos:end])
		w.offset += int64(pos)
		end -= pos
		pos = 0
		if end == len(w.buf) {
			if len(w.buf) >= MaxStanza {
				return fmt.Errorf("stanza at byte %d: %w", w.offset, ErrTooLarge)
			}
			w.buf = append(w.buf, make([]byte, len(w.buf))...)
		}
		for end < len(w.buf) { // compressed readers give small pieces: fill up, then work
			n, err := w.r.Read(w.buf[end:])
			end += n
			if err == io.EOF {
				eof = true
				break
			}
			if err != nil {
				return err
			}
		}
		if w.offset+int64(end) > MaxFile {
			return ErrTooLarge
		}
	}
}

var (
	packageKey  = []byte("Package: ")
	providesKey = []byte("Provides: ")
	priorityKey = []byte("Priority: ")
	sectionKey  = []byte("Section: ")
	allLine     = []byte("Architecture: all")
)

// fact numbers the facts of a stanza. Archives have a few hundred different ones.
func (w *walker) fact(priority, section []byte, all bool) uint16 {
	w.key = append(append(append(w.key[:0], priority...), '\n'), section...)
	if all {
		w.key = append(w.key, '\n')
	}
	id, ok := w.ids[string(w.key)]
	if !ok {
		id = uint16(min(len(w.facts), maxFacts))
		if len(w.facts) <= maxFacts {
			w.facts = append(w.facts, Fact{string(priority), string(section), all})
		}
		w.ids[string(w.key)] = id
	}
	return id
}

// stanza handles the stanza at the start of b and returns its length with the blank line, or false when b ends
// before it does.
func (w *walker) stanza(b []byte, offset int64, eof bool) (int, bool) {
	if !w.lists.Index {
		// Without an index only the end and the name are of interest.
		n := bytes.Index(b, []byte("\n\n"))
		switch {
		case n >= 0:
			n += 2
		case eof:
			n = len(b)
		default:
			return 0, false
		}
		if name := stanzaName(b[:n]); name != nil {
			w.keep(name, b[:n])
		}
		return n, true
	}
	var name, provides, priority, section []byte
	all := false
	at := 0
	for at < len(b) && b[at] != '\n' {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			if !eof {
				return 0, false
			}
			n = len(b) - at
		}
		switch line := b[at : at+n]; b[at] {
		case 'P':
			switch {
			case len(line) > 9 && line[7] == ':' && bytes.HasPrefix(line, packageKey):
				name = line[9:]
			case len(line) > 10 && line[8] == ':' && bytes.HasPrefix(line, providesKey):
				provides = line[10:]
			case len(line) > 10 && line[8] == ':' && bytes.HasPrefix(line, priorityKey):
				priority = line[10:]
			}
		case 'S':
			if bytes.HasPrefix(line, sectionKey) {
				section = line[len(sectionKey):]
			}
		case 'A':
			all = all || len(line) == len(allLine) && bytes.Equal(line, allLine)
		}
		at = min(at+n+1, len(b))
	}
	if at >= len(b) && !eof {
		return 0, false // the blank line is not here yet
	}
	if name != nil {
		w.keep(name, b[:at])
		if offset <= 1<<32-1 {
			w.marks = append(w.marks, mark{hash(name), uint32(offset), w.list, w.fact(priority, section, all)})
			for len(provides) > 0 {
				var one []byte
				one, provides = cutProvide(provides)
				w.marks = append(w.marks, mark{hash(one), uint32(offset), w.list, provided})
			}
		}
	}
	return min(at+1, len(b)), true
}

func (w *walker) keep(name, stanza []byte) {
	if _, ok := w.lists.Want[string(name)]; !ok {
		return
	}
	w.hits = append(w.hits, Hit{List: int(w.list)})
	w.hits[len(w.hits)-1].Package.parse(stanza)
}

// stanzaName returns the value of the Package field, which archives write first.
func stanzaName(b []byte) []byte {
	if !bytes.HasPrefix(b, packageKey) {
		i := bytes.Index(b, []byte("\nPackage: "))
		if i < 0 {
			return nil
		}
		b = b[i+1:]
	}
	b = b[len(packageKey):]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return b
}

// cutProvide takes the first name off "a, b (= 1), c:any".
func cutProvide(b []byte) (name, rest []byte) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == ',') {
		b = b[1:]
	}
	i := 0
	for i < len(b) && b[i] != ',' && b[i] != ' ' && b[i] != '(' && b[i] != ':' {
		i++
	}
	name = b[:i]
	if n := bytes.IndexByte(b[i:], ','); n >= 0 {
		return name, b[i+n+1:]
	}
	return name, nil
}

// hash is FNV-1a of 64 bits.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
