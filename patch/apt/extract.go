package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	h.Write([]byte(cacheMagic))
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
			return nil, fmt.Errorf("read apt's lists: %w", rooted(err))
		}
		e.lists, e.close = append(e.lists, l), append(e.close, done)
	}
	hits, err := e.finder.Scan(ctx, e.lists)
	if err != nil {
		return nil, fmt.Errorf("read apt's lists: %w", rooted(err))
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
		return nil, fmt.Errorf("read apt's lists: %w", rooted(err))
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
	system.WriteCache(e.file, e.key, e.cached)
}

// cacheMagic changes with the form of the cache and with what is read out of lists.
const cacheMagic = "oakum apt lists 7\n"

func (e *extraction) read() bool {
	if system.ReadCache(e.file, e.key, e.cached) && e.fits() {
		return true
	}
	e.hits, e.extra, e.others, e.looked, e.memos = nil, nil, nil, map[string]struct{}{}, map[string]string{}
	return false
}

// fits reports whether every stanza is of one of the node's lists.
func (e *extraction) fits() bool {
	odd := func(list int) bool { return list < 0 || list >= len(e.node.indexes) }
	hit := func(h deb.Hit) bool { return odd(h.List) }
	return !slices.ContainsFunc(e.hits, hit) && !slices.ContainsFunc(e.extra, hit) && !slices.ContainsFunc(e.others, func(o deb.Other) bool {
		return slices.ContainsFunc(o.In, func(f deb.ListFact) bool { return odd(f.List) })
	})
}

// cached walks over what the cache holds.
func (e *extraction) cached(c *system.Cache) {
	cachedHits(c, &e.hits)
	cachedHits(c, &e.extra)
	system.Table(c, &e.looked, func(*struct{}) {})
	system.List(c, &e.others, func(o *deb.Other) {
		c.Int(&o.Count)
		system.List(c, &o.In, func(f *deb.ListFact) {
			c.Int(&f.List)
			c.Texts(&f.Fact.Priority, &f.Fact.Section)
		})
	})
	system.Table(c, &e.memos, c.Text)
}

func cachedHits(c *system.Cache, hits *[]deb.Hit) {
	system.List(c, hits, func(h *deb.Hit) {
		p := &h.Package
		c.Int(&h.List)
		c.Number(&p.Size)
		c.Number(&p.InstalledSize)
		c.Int(&p.Phased)
		c.Bool(&p.Essential)
		c.Texts(
			&p.Name, &p.Arch, &p.Version, &p.Source, &p.SourceVersion, &p.Priority, &p.Section, &p.MultiArch, &p.Depends, &p.PreDepends,
			&p.Conflicts, &p.Breaks, &p.Provides, &p.Replaces, &p.Filename,
		)
	})
}
