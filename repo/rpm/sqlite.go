package rpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// sqlite reads tables of an SQLite database: what is committed, also when that is in the write-ahead log still, and
// not what an interrupted transaction wrote. Source: "SQLite Database File Format", sqlite.org/fileformat2.html.
type sqlite struct {
	ctx     context.Context
	main    pages
	over    *file            // write-ahead log or rollback journal
	overAt  map[uint32]int64 // page to its offset in over
	size    int              // of a page
	usable  int              // bytes of a page that hold content
	count   uint32           // pages of the database
	visited uint32
	frame   []byte // page read from over
	payload []byte
	copies  [maxDepth + 1][]byte // of the page of each level on the way down: children push it out of the cache
}

// maxDepth of a tree: with 2 children a page 31 levels would be beyond any file.
const maxDepth = 32

var errTree = errors.New("the table's pages do not form a tree: the database is damaged, see rpm --rebuilddb")

// sqliteBlobs calls fn with the blob of each row of the table Packages.
func sqliteBlobs(ctx context.Context, d *database, fn func([]byte) error) error {
	f, err := d.open(d.files[0])
	if err != nil {
		return err
	}
	defer f.close()
	s := &sqlite{ctx: ctx, main: pages{f: f}}
	head := make([]byte, 100)
	if err := f.full(head, 0); err != nil {
		return err
	}
	if err := s.header(head); err != nil {
		return err
	}
	for _, name := range d.files[1:] {
		over, err := d.open(name)
		if errors.Is(err, fs.ErrNotExist) { // written back meanwhile
			return ErrChanged
		}
		if err != nil {
			return err
		}
		defer over.close()
		if err := s.overlay(over, name); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
	}
	if s.over != nil { // the first page may be a newer one
		page, err := s.page(1)
		if err != nil {
			return err
		}
		if s.usable, err = usable(page, s.size); err != nil {
			return err
		}
	}
	root, err := s.table("Packages")
	if err != nil {
		return err
	}
	return s.walk(root, func(payload []byte) error {
		blob, err := column(payload, 1)
		if err != nil {
			return err
		}
		return fn(blob)
	})
}

func (s *sqlite) header(h []byte) error {
	if !bytes.HasPrefix(h, []byte("SQLite format 3\x00")) {
		return errors.New("not an SQLite database")
	}
	s.size = u16(h[16:])
	if s.size == 1 {
		s.size = 65536
	}
	if s.size < 512 || s.size&(s.size-1) != 0 {
		return fmt.Errorf("page size %d", s.size)
	}
	if enc := u32(h[56:]); enc > 1 {
		return fmt.Errorf("text encoding %d is not UTF-8", enc)
	}
	pages := s.main.f.size / int64(s.size)
	if pages > 1<<31 {
		return ErrTooLarge
	}
	s.count = uint32(pages)
	var err error
	s.usable, err = usable(h, s.size)
	return err
}

func usable(h []byte, size int) (int, error) {
	n := size - int(h[20])
	if n < 480 {
		return 0, fmt.Errorf("%d usable bytes in a page", n)
	}
	return n, nil
}

// page returns a page, numbered from 1. It is valid until a few pages later; cells are read before.
func (s *sqlite) page(n uint32) ([]byte, error) {
	if n == 0 || n > s.count {
		return nil, fmt.Errorf("page %d of %d: %w", n, s.count, errTree)
	}
	if at, ok := s.overAt[n]; ok {
		s.frame = make([]byte, s.size)
		return s.frame, s.over.full(s.frame, at)
	}
	return s.main.at(int64(n-1)*int64(s.size), s.size)
}

// table finds the first page of a table.
func (s *sqlite) table(name string) (uint32, error) {
	root := uint32(0)
	err := s.walk(1, func(payload []byte) error {
		kind, err := column(payload, 0)
		if err != nil {
			return err
		}
		named, err := column(payload, 1)
		if err != nil {
			return err
		}
		if string(kind) != "table" || string(named) != name {
			return nil
		}
		page, err := column(payload, 3)
		if err != nil {
			return err
		}
		if len(page) > 4 {
			return errTree
		}
		for _, c := range page {
			root = root<<8 | uint32(c)
		}
		return nil
	})
	if err == nil && root == 0 {
		err = fmt.Errorf("no table %s in it", name)
	}
	return root, err
}

// walk calls fn with the payload of each row of the table, in the order of row ids.
func (s *sqlite) walk(root uint32, fn func(payload []byte) error) error {
	s.visited = 0
	last, first := int64(0), true
	return s.tree(root, 0, func(id int64, payload []byte) error {
		if !first && id <= last { // rows in disorder: a page is in the tree twice
			return errTree
		}
		last, first = id, false
		return fn(payload)
	})
}

func (s *sqlite) tree(n uint32, depth int, fn func(int64, []byte) error) error {
	if s.visited++; depth > maxDepth || s.visited > s.count {
		return errTree
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	cached, err := s.page(n)
	if err != nil {
		return err
	}
	page := append(s.copies[depth][:0], cached...)
	s.copies[depth] = page
	h := 0
	if n == 1 {
		h = 100
	}
	kind, cells := page[h], u16(page[h+3:])
	start := h + 8
	if kind == 0x05 {
		start = h + 12
	} else if kind != 0x0d {
		return fmt.Errorf("page %d is of kind %d: %w", n, kind, errTree)
	}
	if start+2*cells > s.usable {
		return fmt.Errorf("page %d has %d cells: %w", n, cells, errTree)
	}
	for i := range cells {
		at := u16(page[start+2*i:])
		if at < start+2*cells || at+4 > s.usable {
			return fmt.Errorf("page %d: cell at %d: %w", n, at, errTree)
		}
		cell := page[at:s.usable]
		if kind == 0x05 {
			if err := s.tree(u32(cell), depth+1, fn); err != nil {
				return err
			}
			continue
		}
		size, a := varint(cell)
		id, b := varint(cell[a:])
		if a == 0 || b == 0 {
			return errTree
		}
		payload, err := s.assemble(cell[a+b:], size)
		if err != nil {
			return err
		}
		if err := fn(int64(id), payload); err != nil {
			return err
		}
	}
	if kind == 0x05 {
		return s.tree(u32(page[h+8:]), depth+1, fn)
	}
	return nil
}

// assemble returns the payload of a cell, following its overflow pages. It is valid until the next call.
func (s *sqlite) assemble(cell []byte, size uint64) ([]byte, error) {
	if size > maxHeader {
		return nil, fmt.Errorf("a row of %d bytes: %w", size, ErrTooLarge)
	}
	if size > uint64(s.count)*uint64(s.size) {
		return nil, errTree
	}
	total, local := int(size), int(size)
	if most := s.usable - 35; total > most {
		least := (s.usable-12)*32/255 - 23
		if local = least + (total-least)%(s.usable-4); local > most {
			local = least
		}
	}
	if local > len(cell) || local < total && local+4 > len(cell) {
		return nil, errTree
	}
	if local == total {
		return cell[:local], nil
	}
	if cap(s.payload) < total {
		s.payload = make([]byte, 0, total+total/4)
	}
	b := append(s.payload[:0], cell[:local]...)
	// The size bounds the chain: one that runs in a circle ends with it, and the header in it does not parse.
	for next := u32(cell[local:]); len(b) < total; {
		page, err := s.page(next)
		if err != nil {
			return nil, err
		}
		next = u32(page)
		b = append(b, page[4:4+min(s.usable-4, total-len(b))]...)
	}
	s.payload = b
	return b, nil
}

// column returns the bytes of a column of a record: of text, a blob, or a big-endian integer.
func column(record []byte, n int) ([]byte, error) {
	size, used := varint(record)
	if used == 0 || size > uint64(len(record)) || size < uint64(used) {
		return nil, errTree
	}
	kinds, body := record[used:size], record[size:]
	for i := 0; len(kinds) > 0; i++ {
		kind, used := varint(kinds)
		if used == 0 {
			return nil, errTree
		}
		kinds = kinds[used:]
		length := uint64(0)
		switch {
		case kind >= 12:
			length = (kind - 12) / 2
		case kind == 6 || kind == 7:
			length = 8
		case kind == 5:
			length = 6
		case kind <= 4:
			length = kind
		case kind > 9:
			return nil, errTree
		}
		if length > uint64(len(body)) {
			return nil, errTree
		}
		if i == n {
			if kind == 9 {
				return []byte{1}, nil
			}
			return body[:length], nil
		}
		body = body[length:]
	}
	return nil, fmt.Errorf("a row has no column %d", n)
}

// varint reads SQLite's integer of 1 to 9 bytes and says how many; 0 when it is cut off.
func varint(b []byte) (v uint64, used int) {
	for i := range min(len(b), 9) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
