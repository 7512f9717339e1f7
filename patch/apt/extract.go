package apt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"oakum.dev/patch/system"
	"oakum.dev/repo/deb"
)

// extraction is what is kept of tens of megabytes of lists: the stanzas of installed packages, and of those that were
// looked up as dependencies. It is the same for every baseline, so it is cached by the lists' identity.
type extraction struct {
	node   *node
	hits   []deb.Hit
	others []deb.Other         // packages that are not installed
	looked map[string]struct{} // names that extra answers for
	extra  []deb.Hit
	lists  []deb.List // open while a scan of them may be needed
	finder *deb.Lists
	close  []func()
	file   string // of the cache; empty: none
	key    [sha256.Size]byte
	dirty  bool
	memos  map[string]string // results that follow from the lists and other files named in their keys
	used   map[string]bool
}

// maxMemos bounds what is kept for baselines and states of the node that were not of use this time.
const maxMemos = 8

// memo returns what remember stored under a key.
func (e *extraction) memo(key string) (string, bool) {
	v, ok := e.memos[key]
	if ok {
		e.used[key] = true
	}
	return v, ok
}

func (e *extraction) remember(key, value string) {
	if e.file == "" {
		return
	}
	for k := range e.memos {
		if len(e.memos) >= maxMemos && !e.used[k] {
			delete(e.memos, k)
		}
	}
	e.memos[key], e.used[key], e.dirty = value, true, true
}

func extract(ctx context.Context, n *node) (*extraction, error) {
	e := &extraction{node: n, looked: map[string]struct{}{}, memos: map[string]string{}, used: map[string]bool{}}
	if n.cfg.CacheDir != "" {
		where := sha256.Sum256([]byte(n.cfg.Root))
		if n.sourced {
			where = sha256.Sum256([]byte(n.cfg.Root + " sources"))
		}
		e.file = filepath.Join(n.cfg.CacheDir, "apt-"+hex.EncodeToString(where[:8])+".cache")
		e.key = n.identity()
		if e.read() {
			return e, nil
		}
	}
	hits, err := e.scan(ctx)
	if err != nil {
		e.done()
		return nil, err
	}
	e.hits, e.dirty = hits, true
	e.others = e.finder.Others(func(list int) int {
		a := n.indexes[list].arch
		if a == n.native || a == "all" || a == "" {
			return 0
		}
		return 1 + slices.Index(n.archs, a) + len(n.indexes) // not 0 for one that dpkg does not know either
	})
	return e, nil
}

// identity changes when any list or the set of installed names does.
func (n *node) identity() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %v\n", len(n.indexes), n.native, n.archs)
	for _, i := range n.indexes {
		fmt.Fprintf(h, "%s %s\n", i.path, system.FileID(i.info))
	}
	for _, p := range n.order {
		h.Write([]byte(p.name + "\n"))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (e *extraction) scan(ctx context.Context) ([]deb.Hit, error) {
	e.finder = &deb.Lists{Want: make(map[string]struct{}, len(e.node.order)), Index: true}
	for _, p := range e.node.order {
		e.finder.Want[p.name] = struct{}{}
	}
	for id := range e.node.indexes {
		l, done, err := e.node.openList(id)
		if err != nil {
			return nil, fmt.Errorf("read apt's lists: %w", err)
		}
		e.lists, e.close = append(e.lists, l), append(e.close, done)
	}
	hits, err := e.finder.Scan(ctx, e.lists)
	if err != nil {
		return nil, fmt.Errorf("read apt's lists: %w", err)
	}
	return hits, e.node.complete(e.finder)
}

// find returns the stanzas of packages that are, or provide, one of names.
func (e *extraction) find(ctx context.Context, names map[string]struct{}) ([]deb.Hit, error) {
	missing := map[string]struct{}{}
	for n := range names {
		if _, ok := e.looked[n]; !ok {
			missing[n] = struct{}{}
		}
	}
	if len(missing) == 0 {
		return nil, nil // they are in extra, which has been added
	}
	if e.finder == nil {
		if _, err := e.scan(ctx); err != nil {
			return nil, err
		}
	}
	hits, err := e.finder.Find(e.lists, missing)
	if err != nil {
		return nil, fmt.Errorf("read apt's lists: %w", err)
	}
	for n := range missing {
		e.looked[n] = struct{}{}
	}
	e.extra = append(e.extra, hits...)
	e.dirty = true
	return hits, nil
}

// done closes the lists and writes the cache when there is something new. A cache that cannot be written costs time
// only, so nothing is said about it.
func (e *extraction) done() {
	for _, f := range e.close {
		f()
	}
	e.close, e.lists, e.finder = nil, nil, nil
	if e.file == "" || !e.dirty {
		return
	}
	e.dirty = false
	b := append([]byte(cacheMagic), e.key[:]...)
	b = appendHits(b, e.hits)
	b = binary.AppendUvarint(b, uint64(len(e.looked)))
	names := make([]string, 0, len(e.looked))
	for n := range e.looked {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		b = appendString(b, n)
	}
	b = appendHits(b, e.extra)
	b = appendOthers(b, e.others)
	b = binary.AppendUvarint(b, uint64(len(e.memos)))
	for k, v := range e.memos {
		b = appendString(appendString(b, k), v)
	}
	sum := sha256.Sum256(b)
	b = append(b, sum[:]...)
	if os.MkdirAll(filepath.Dir(e.file), 0o755) != nil {
		return
	}
	tmp := fmt.Sprintf("%s.%d", e.file, os.Getpid())
	if os.WriteFile(tmp, b, 0o600) != nil || os.Rename(tmp, e.file) != nil {
		os.Remove(tmp)
	}
}

const cacheMagic = "oakum apt lists 3\n"

var errCache = errors.New("damaged cache")

func (e *extraction) read() bool {
	b, err := os.ReadFile(e.file)
	head := len(cacheMagic) + sha256.Size
	if err != nil || len(b) < head+sha256.Size || string(b[:len(cacheMagic)]) != cacheMagic || [sha256.Size]byte(b[len(cacheMagic):head]) != e.key {
		return false
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return false
	}
	r := cacheReader{text: string(body), at: head}
	e.hits = r.hits(len(e.node.indexes))
	for range r.count() {
		e.looked[r.str()] = struct{}{}
	}
	e.extra = r.hits(len(e.node.indexes))
	e.others = r.others(len(e.node.indexes))
	for range r.count() {
		k := r.str()
		e.memos[k] = r.str()
	}
	if r.err != nil {
		e.hits, e.extra, e.looked, e.memos = nil, nil, map[string]struct{}{}, map[string]string{}
	}
	return r.err == nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func texts(p *deb.Package) []*string {
	return []*string{
		&p.Name, &p.Arch, &p.Version, &p.Source, &p.SourceVersion, &p.Priority, &p.Section, &p.MultiArch, &p.Depends, &p.PreDepends,
		&p.Conflicts, &p.Breaks, &p.Provides, &p.Replaces, &p.Filename,
	}
}

func appendHits(b []byte, hits []deb.Hit) []byte {
	b = binary.AppendUvarint(b, uint64(len(hits)))
	for i := range hits {
		h := &hits[i]
		b = binary.AppendUvarint(b, uint64(h.List))
		b = binary.AppendUvarint(b, uint64(max(0, h.Package.Size)))
		b = append(b, byte(h.Package.Phased), 0)
		if h.Package.Essential {
			b[len(b)-1] = 1
		}
		for _, s := range texts(&h.Package) {
			b = appendString(b, *s)
		}
	}
	return b
}

func appendOthers(b []byte, others []deb.Other) []byte {
	b = binary.AppendUvarint(b, uint64(len(others)))
	for _, o := range others {
		b = binary.AppendUvarint(b, uint64(o.Count))
		b = binary.AppendUvarint(b, uint64(len(o.In)))
		for _, f := range o.In {
			b = binary.AppendUvarint(b, uint64(f.List))
			b = appendString(appendString(b, f.Fact.Priority), f.Fact.Section)
		}
	}
	return b
}

func (r *cacheReader) others(lists int) []deb.Other {
	out := make([]deb.Other, r.count())
	for i := range out {
		out[i].Count = int(r.uvarint())
		out[i].In = make([]deb.ListFact, r.count())
		for k := range out[i].In {
			f := &out[i].In[k]
			f.List, f.Fact.Priority, f.Fact.Section = int(r.uvarint()), r.str(), r.str()
			if f.List >= lists {
				r.err = errCache
			}
		}
		if r.err != nil {
			return nil
		}
	}
	return out
}

// cacheReader cuts strings out of one text, so that reading allocates little.
type cacheReader struct {
	text string
	at   int
	err  error
}

func (r *cacheReader) uvarint() uint64 {
	v, shift := uint64(0), 0
	for r.at < len(r.text) && shift < 64 {
		c := r.text[r.at]
		r.at++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
		shift += 7
	}
	r.err = errCache
	return 0
}

func (r *cacheReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.text)) {
		r.err = errCache
		return 0
	}
	return int(n)
}

func (r *cacheReader) str() string {
	n := r.count()
	if r.at+n > len(r.text) {
		r.err = errCache
		return ""
	}
	s := r.text[r.at : r.at+n]
	r.at += n
	return s
}

func (r *cacheReader) hits(lists int) []deb.Hit {
	n := r.count()
	out := make([]deb.Hit, n)
	for i := range out {
		h := &out[i]
		h.List = int(r.uvarint())
		h.Package.Size = int64(r.uvarint())
		if r.at+2 > len(r.text) || h.List >= lists {
			r.err = errCache
		}
		if r.err != nil {
			return nil
		}
		h.Package.Phased, h.Package.Essential = int(r.text[r.at]), r.text[r.at+1] == 1
		r.at += 2
		for _, s := range texts(&h.Package) {
			*s = r.str()
		}
	}
	return out
}
