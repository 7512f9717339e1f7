package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// overlay finds the pages of which a write-ahead log, or a rollback journal that an interrupted transaction left, has
// the committed version. Source: "SQLite Database File Format", sections 3 and 4.
func (s *sqlite) overlay(f *file, name string) error {
	at, count, err := map[uint32]int64(nil), uint32(0), error(nil)
	if strings.HasSuffix(name, "-wal") {
		at, count, err = walPages(f, s.size)
	} else {
		at, count, err = journalPages(f, s.size)
	}
	if err != nil || at == nil {
		return err
	}
	if s.over != nil {
		return errors.New("there are a write-ahead log and a journal: run rpm -qa as root, which settles that")
	}
	if count == 0 || int64(count) > s.main.f.size/int64(s.size)+int64(len(at)) {
		return fmt.Errorf("%d pages: %w", count, errTree)
	}
	s.over, s.overAt, s.count = f, at, count
	return nil
}

const (
	walHeader   = 32
	frameHeader = 24
)

// walPages reads a write-ahead log up to its last good commit: where the newest version of each page is, and how many
// pages the database has. A log without a commit, or one of an earlier round (its salts differ), has none.
func walPages(f *file, pageSize int) (map[uint32]int64, uint32, error) {
	r := io.NewSectionReader(f.at, 0, f.size)
	h := make([]byte, walHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			return nil, 0, nil // SQLite takes a log without a whole header as empty, too
		}
		return nil, 0, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch u32(h) {
	case 0x377f0682:
	case 0x377f0683:
		order = binary.BigEndian
	default:
		return nil, 0, nil
	}
	sum := walSum{order: order}
	sum.add(h[:24])
	if sum.a != u32(h[24:]) || sum.b != u32(h[28:]) || u32(h[4:]) != 3007000 {
		return nil, 0, nil
	}
	if n := u32(h[8:]); n != uint32(pageSize) {
		return nil, 0, fmt.Errorf("pages of %d bytes in the log, of %d in the database", n, pageSize)
	}
	pending, pages, count := map[uint32]int64{}, map[uint32]int64(nil), uint32(0)
	frame := make([]byte, frameHeader+pageSize)
	for at := int64(walHeader); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(r, frame); err == io.EOF || err == io.ErrUnexpectedEOF {
			return pages, count, nil
		} else if err != nil {
			return nil, 0, err
		}
		if string(frame[8:16]) != string(h[16:24]) {
			return pages, count, nil
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeader:])
		if sum.a != u32(frame[16:]) || sum.b != u32(frame[20:]) || u32(frame) == 0 {
			return pages, count, nil
		}
		pending[u32(frame)] = at + frameHeader
		if n := u32(frame[4:]); n > 0 { // a commit
			if pages == nil {
				pages = make(map[uint32]int64, len(pending))
			}
			for page, where := range pending {
				pages[page] = where
			}
			clear(pending)
			count = n
		}
	}
}

// walSum is the running checksum of a log.
type walSum struct {
	order binary.ByteOrder
	a, b  uint32
}

func (s *walSum) add(p []byte) {
	if s.order == binary.LittleEndian { // written out: this is all of the time that a log takes
		for ; len(p) >= 8; p = p[8:] {
			s.a += binary.LittleEndian.Uint32(p) + s.b
			s.b += binary.LittleEndian.Uint32(p[4:]) + s.a
		}
		return
	}
	for ; len(p) >= 8; p = p[8:] {
		s.a += binary.BigEndian.Uint32(p) + s.b
		s.b += binary.BigEndian.Uint32(p[4:]) + s.a
	}
}

// journalPages reads a rollback journal: where the version of each page before the transaction is, and how many pages
// the database had. A journal that is finished (its header is overwritten) has none.
func journalPages(f *file, pageSize int) (map[uint32]int64, uint32, error) {
	var pages map[uint32]int64
	count := uint32(0)
	h := make([]byte, 28)
	record := make([]byte, 4+pageSize+4)
	for at := int64(0); at+int64(len(h)) <= f.size; {
		if err := f.full(h, at); err != nil {
			return nil, 0, err
		}
		if string(h[:8]) != "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" {
			break
		}
		records, nonce, sector := u32(h[8:]), u32(h[12:]), u32(h[20:])
		if sector < 32 || sector > 65536 || sector&(sector-1) != 0 || u32(h[24:]) != uint32(pageSize) {
			return nil, 0, errTree
		}
		if pages == nil {
			pages, count = map[uint32]int64{}, u32(h[16:])
		}
		at += int64(sector)
		if records == 0xffffffff {
			records = uint32(min((f.size-at)/int64(len(record)), 1<<31))
		}
		for range records {
			if at+int64(len(record)) > f.size {
				return pages, count, nil
			}
			if err := f.full(record, at); err != nil {
				return nil, 0, err
			}
			n := u32(record)
			sum := nonce
			for i := pageSize - 200; i > 0; i -= 200 {
				sum += uint32(record[4+i])
			}
			if n == 0 || sum != u32(record[4+pageSize:]) {
				return pages, count, nil // not synced, so its page was not changed either
			}
			if _, ok := pages[n]; !ok {
				pages[n] = at + 4
			}
			at += int64(len(record))
		}
		at = (at + int64(sector) - 1) / int64(sector) * int64(sector)
	}
	return pages, count, nil
}
