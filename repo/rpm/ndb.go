package rpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// ndbBlobs calls fn with each blob of a database in rpm's own format, ndb, which SUSE uses: slots of 16 bytes that point
// to blobs, all in units of 16 bytes, little-endian. Source: the layout that rpm's ndb backend documents.
func ndbBlobs(ctx context.Context, d *database, fn func([]byte) error) error {
	const (
		block, page      = 16, 4096
		head, tail       = 16, 12
		maxSlots         = 1 << 24 / block
		fileMagic        = "RpmP"
		slotMagic        = "Slot"
		startMagic, stop = "BlbS", "BlbE"
	)
	le := binary.LittleEndian
	f, err := d.open(d.files[0])
	if err != nil {
		return err
	}
	defer f.close()
	h := make([]byte, 2*block)
	if err := f.full(h, 0); err != nil {
		return err
	}
	if string(h[:4]) != fileMagic || le.Uint32(h[4:]) != 0 {
		return errors.New("not an ndb database of version 0")
	}
	n := int64(le.Uint32(h[12:])) * page
	if n > maxSlots*block || n < page {
		return fmt.Errorf("%d bytes of slots: %w", n, ErrTooLarge)
	}
	slots := make([]byte, n)
	if err := f.full(slots, 0); err != nil {
		return err
	}
	seen := map[uint32]struct{}{}
	var buf []byte
	for slot := slots[2*block:]; len(slot) > 0; slot = slot[block:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if string(slot[:4]) != slotMagic {
			return errors.New("a slot without its mark: the database is damaged, see rpm --rebuilddb")
		}
		index, offset, blocks := le.Uint32(slot[4:]), int64(le.Uint32(slot[8:])), int64(le.Uint32(slot[12:]))
		if offset == 0 {
			continue // free
		}
		if _, twice := seen[index]; twice || index == 0 || offset*block < n || blocks < 2 {
			return fmt.Errorf("slot of package %d: the database is damaged, see rpm --rebuilddb", index)
		}
		seen[index] = struct{}{}
		if blocks*block > maxHeader {
			return fmt.Errorf("package %d: %w", index, ErrTooLarge)
		}
		if (offset+blocks)*block > f.size {
			return fmt.Errorf("package %d: the database is cut off", index)
		}
		if int64(cap(buf)) < blocks*block {
			buf = make([]byte, blocks*block+blocks*block/4)
		}
		buf = buf[:blocks*block]
		if err := f.full(buf, offset*block); err != nil {
			return err
		}
		size := int64(le.Uint32(buf[12:]))
		end := buf[len(buf)-tail:]
		if string(buf[:4]) != startMagic || le.Uint32(buf[4:]) != index || (head+size+tail+block-1)/block != blocks ||
			le.Uint32(end[4:]) != uint32(size) || string(end[8:]) != stop {
			return fmt.Errorf("package %d: its header is damaged, see rpm --rebuilddb", index)
		}
		if err := fn(buf[head : head+size]); err != nil {
			return err
		}
	}
	return nil
}
