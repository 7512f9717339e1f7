package rpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// bdb reads a hash table of Berkeley DB, the format of rpm before 4.16, in either byte order.
// Source: the on-disk layout in Berkeley DB's db_page.h and the "hash access method" chapters of its documentation.
type bdb struct {
	main  pages
	order binary.ByteOrder
	size  int
	last  uint32 // number of the last page, from 0
	seen  map[uint32]struct{}
	value []byte
}

const (
	bdbHashMagic = 0x061561
	bdbHeader    = 26 // bytes before a page's index
	bdbMeta      = 512

	bdbHashUnsorted, bdbOverflow, bdbHash = 2, 7, 13 // kinds of pages
	bdbInline, bdbOffPage                 = 1, 3     // kinds of items
)

var errBDB = errors.New("the hash table is damaged, see rpm --rebuilddb")

func bdbBlobs(ctx context.Context, d *database, fn func([]byte) error) error {
	f, err := d.open(d.files[0])
	if err != nil {
		return err
	}
	defer f.close()
	b := &bdb{main: pages{f: f}, seen: map[uint32]struct{}{}}
	meta := make([]byte, bdbMeta)
	if err := f.full(meta, 0); err != nil {
		return err
	}
	if err := b.meta(meta); err != nil {
		return err
	}
	buckets := b.order.Uint32(meta[72:])
	if buckets > b.last {
		return fmt.Errorf("%d buckets in %d pages: %w", buckets, b.last, errBDB)
	}
	for bucket := uint32(0); ; bucket++ {
		// Buckets come in doublings, each of which starts at a page of its own.
		spare := b.order.Uint32(meta[96+4*bits.Len32(bucket):])
		for page := bucket + spare; page != 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if page, err = b.bucket(page, fn); err != nil {
				return err
			}
		}
		if bucket == buckets {
			return nil
		}
	}
}

func (b *bdb) meta(m []byte) error {
	switch {
	case binary.LittleEndian.Uint32(m[12:]) == bdbHashMagic:
		b.order = binary.LittleEndian
	case binary.BigEndian.Uint32(m[12:]) == bdbHashMagic:
		b.order = binary.BigEndian
	default:
		return errors.New("not a hash table of Berkeley DB")
	}
	if v := b.order.Uint32(m[16:]); v < 8 || v > 10 {
		return fmt.Errorf("hash table of version %d", v)
	}
	if m[24] != 0 || m[26] != 0 {
		return errors.New("the hash table is encrypted or has checksums: rpm writes neither")
	}
	b.size, b.last = int(b.order.Uint32(m[20:])), b.order.Uint32(m[32:])
	if b.size < 512 || b.size > 65536 || b.size&(b.size-1) != 0 {
		return fmt.Errorf("page size %d: %w", b.size, errBDB)
	}
	if (int64(b.last)+1)*int64(b.size) > b.main.f.size {
		return fmt.Errorf("%d pages in %d bytes: the file is cut off: %w", int64(b.last)+1, b.main.f.size, errBDB)
	}
	return nil
}

// page returns a page that was not returned before: no page is in a table twice.
func (b *bdb) page(n uint32) ([]byte, error) {
	if _, twice := b.seen[n]; twice || n == 0 || n > b.last {
		return nil, fmt.Errorf("page %d of %d: %w", n, b.last, errBDB)
	}
	b.seen[n] = struct{}{}
	p, err := b.main.at(int64(n)*int64(b.size), b.size)
	if err == nil && b.order.Uint32(p[8:]) != n && p[25] != 0 {
		return nil, fmt.Errorf("page %d calls itself %d: %w", n, b.order.Uint32(p[8:]), errBDB)
	}
	return p, err
}

// bucket reads one page of a bucket and returns the number of the next one, or 0.
func (b *bdb) bucket(n uint32, fn func([]byte) error) (uint32, error) {
	cached, err := b.page(n)
	if err != nil {
		return 0, err
	}
	page := append([]byte(nil), cached...) // overflow pages push it out of the cache
	if page[25] == 0 && b.order.Uint32(page[16:]) == 0 && b.order.Uint16(page[20:]) == 0 {
		return 0, nil // a bucket that was never written to
	}
	if page[25] != bdbHash && page[25] != bdbHashUnsorted {
		return 0, fmt.Errorf("page %d is of kind %d: %w", n, page[25], errBDB)
	}
	items := int(b.order.Uint16(page[20:]))
	if items%2 != 0 || bdbHeader+2*items > b.size {
		return 0, fmt.Errorf("page %d has %d items: %w", n, items, errBDB)
	}
	end := b.size
	item := func(i int) ([]byte, error) { // items are stored from the end of the page
		at := int(b.order.Uint16(page[bdbHeader+2*i:]))
		if at < bdbHeader+2*items || at >= end {
			return nil, fmt.Errorf("page %d: item at %d: %w", n, at, errBDB)
		}
		it := page[at:end]
		end = at
		return it, nil
	}
	for i := 0; i < items; i += 2 {
		key, err := item(i)
		if err != nil {
			return 0, err
		}
		value, err := item(i + 1)
		if err != nil {
			return 0, err
		}
		if key[0] != bdbInline || len(key) != 5 {
			return 0, fmt.Errorf("page %d: a key of kind %d with %d bytes: %w", n, key[0], len(key), errBDB)
		}
		if string(key[1:]) == "\x00\x00\x00\x00" {
			continue // the highest package number so far
		}
		blob := value[1:]
		switch value[0] {
		case bdbInline:
		case bdbOffPage:
			if blob, err = b.chain(value); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("page %d: a value of kind %d: %w", n, value[0], errBDB)
		}
		if err := fn(blob); err != nil {
			return 0, err
		}
	}
	return b.order.Uint32(page[16:]), nil
}

// chain reads a value that is kept on pages of its own.
func (b *bdb) chain(value []byte) ([]byte, error) {
	if len(value) != 12 {
		return nil, errBDB
	}
	next, total := b.order.Uint32(value[4:]), b.order.Uint32(value[8:])
	if total > maxHeader {
		return nil, fmt.Errorf("a value of %d bytes: %w", total, ErrTooLarge)
	}
	b.value = b.value[:0]
	for next != 0 {
		page, err := b.page(next)
		if err != nil {
			return nil, err
		}
		size := int(b.order.Uint16(page[22:]))
		if page[25] != bdbOverflow || bdbHeader+size > b.size || len(b.value)+size > int(total) {
			return nil, fmt.Errorf("page %d: %w", next, errBDB)
		}
		b.value = append(b.value, page[bdbHeader:bdbHeader+size]...)
		next = b.order.Uint32(page[16:])
	}
	if len(b.value) != int(total) {
		return nil, fmt.Errorf("a value of %d bytes has %d: %w", total, len(b.value), errBDB)
	}
	return b.value, nil
}
