package deb

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Find returns the stanzas whose package is, or that provide, one of names. Scan with Index set must have been
// called with the same lists before. Plain lists are read only where something is; compressed ones up to there.
func (l *Lists) Find(lists []List, names map[string]struct{}) ([]Hit, error) {
	hashes := make(map[uint64]struct{}, len(names))
	for n := range names {
		hashes[hash([]byte(n))] = struct{}{}
	}
	byList := make(map[uint16][]uint32)
	for _, m := range l.marks {
		if _, ok := hashes[m.hash]; ok {
			byList[m.list] = append(byList[m.list], m.offset)
		}
	}
	var hits []Hit
	for _, list := range lists {
		offsets := byList[uint16(list.ID)]
		if len(offsets) == 0 {
			continue
		}
		slices.Sort(offsets)
		offsets = slices.Compact(offsets)
		keep := func(stanza []byte) {
			var p Package
			p.parse(stanza)
			if relevant(&p, names) {
				hits = append(hits, Hit{List: list.ID, Package: p})
			}
		}
		if err := findIn(list, offsets, keep); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

func relevant(p *Package, names map[string]struct{}) bool {
	if _, ok := names[p.Name]; ok {
		return true
	}
	rest := []byte(p.Provides)
	for len(rest) > 0 {
		var one []byte
		one, rest = cutProvide(rest)
		if _, ok := names[string(one)]; ok {
			return true
		}
	}
	return false
}

func findIn(list List, offsets []uint32, keep func([]byte)) error {
	if list.At == nil {
		r, err := list.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		s := newStanzas(r)
		for i := 0; i < len(offsets) && s.next(); {
			for i < len(offsets) && s.start > int64(offsets[i]) {
				i++
			}
			if i < len(offsets) && s.start == int64(offsets[i]) {
				keep(s.stanza)
				i++
			}
		}
		return s.err
	}
	buf := make([]byte, 16<<10)
	for _, o := range offsets {
		for {
			n, err := list.At.ReadAt(buf, int64(o))
			if err != nil && err != io.EOF {
				return err
			}
			end := bytes.Index(buf[:n], []byte("\n\n"))
			if end >= 0 {
				keep(buf[:end+1])
				break
			}
			if err == io.EOF {
				keep(buf[:n])
				break
			}
			if len(buf) >= MaxStanza {
				return fmt.Errorf("stanza at byte %d: %w", o, ErrTooLarge)
			}
			buf = make([]byte, 2*len(buf))
		}
	}
	return nil
}
