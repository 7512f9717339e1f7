package apt

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oakum.dev/patch"
	"oakum.dev/pkgver"
)

// dates knows when versions were released. A value once found for a version never moves later, so it is kept.
type dates struct {
	file  string
	known map[string]int64 // "name version arch" to Unix seconds
	fresh map[string]int64 // those that are of use now; the others are forgotten
	asked map[*version]time.Time
	dirty bool
}

func newDates(ctx context.Context, n *node, req patch.InventoryRequest) *dates {
	d := &dates{known: map[string]int64{}, fresh: map[string]int64{}, asked: map[*version]time.Time{}}
	if n.cfg.CacheDir != "" {
		d.file = filepath.Join(n.cfg.CacheDir, "apt-released.json")
		if b, err := os.ReadFile(d.file); err == nil {
			if json.Unmarshal(b, &d.known) != nil {
				d.known = map[string]int64{}
			}
		}
	}
	if req.Dates && n.cfg.Released != nil {
		d.ask(ctx, n)
	}
	return d
}

// ask looks up the addresses of new versions that nothing is known about yet.
func (d *dates) ask(ctx context.Context, n *node) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	var mu sync.Mutex
	for _, p := range n.order {
		for _, v := range p.versions {
			if v.installed {
				break
			}
			if _, ok := d.known[dateKey(v)]; ok || v.Filename == "" || len(v.indexes) == 0 {
				continue
			}
			g.Go(func() error {
				if t, ok := n.cfg.Released(ctx, v.indexes[0].base+v.Filename); ok {
					mu.Lock()
					d.asked[v] = t.UTC()
					mu.Unlock()
				}
				return nil
			})
		}
	}
	_ = g.Wait() // the look-ups return no errors: an unknown date falls back
}

func dateKey(v *version) string { return v.Name + " " + v.Version + " " + v.Arch }

// of returns the release time of a version: what was found, or the date of the index that lists it, and never later
// than that date, since it was published by then. newer versions are remembered.
func (d *dates) of(v *version, newer bool) time.Time {
	var listed time.Time // the oldest publication that lists it
	for _, i := range v.indexes {
		if t := i.rel.Date; !t.IsZero() && (listed.IsZero() || t.Before(listed)) {
			listed = t
		}
	}
	t := listed
	if a, ok := d.asked[v]; ok && (t.IsZero() || a.Before(t)) {
		t = a
	}
	k := dateKey(v)
	if s, ok := d.known[k]; ok {
		if old := time.Unix(s, 0).UTC(); t.IsZero() || old.Before(t) {
			t = old
		}
	}
	if newer && !t.IsZero() {
		if d.known[k] != t.Unix() {
			d.dirty = true
		}
		d.fresh[k] = t.Unix()
	}
	return t
}

// keep carries over times of versions that were not offered this time, by other sources or by a mirror that lags:
// they stay of use until the version, or a newer one, is installed or the package is gone.
func (d *dates) keep(n *node) {
	for k, s := range d.known {
		if _, ok := d.fresh[k]; ok {
			continue
		}
		w := strings.Split(k, " ")
		if len(w) != 3 {
			continue
		}
		arch := w[2]
		if arch == "all" {
			arch = n.native
		}
		if p := n.pkgs[key(w[0], arch)]; p != nil && p.installed != nil && pkgver.Dpkg(w[1], p.installed.Version) > 0 {
			d.fresh[k] = s
		}
	}
}

// save keeps the times of the versions seen. Like the lists' cache it fails without a word: the next scan finds
// values that are no worse than these.
func (d *dates) save() {
	if d.file == "" || !d.dirty && len(d.fresh) == len(d.known) {
		return
	}
	b, err := json.Marshal(d.fresh)
	if err != nil || os.MkdirAll(filepath.Dir(d.file), 0o755) != nil {
		return
	}
	tmp := d.file + ".new"
	if os.WriteFile(tmp, b, 0o600) != nil || os.Rename(tmp, d.file) != nil {
		os.Remove(tmp)
	}
}
