package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/repo/deb"
)

// errChanged: somebody ran apt-get update or dpkg while the files were read.
var errChanged = errors.New("apt's lists or dpkg's status changed while they were read")

const (
	readTries = 5
	readPause = 300 * time.Millisecond
)

// loadSteady reads a node until nothing changed meanwhile. apt puts new lists in place one after the other, and what
// is read half before and half after that is neither state.
func loadSteady(ctx context.Context, cfg *Config, own []baseline.Source) (*node, error) {
	for try := 1; ; try++ {
		n, err := load(ctx, cfg, own)
		if err == nil && !n.changed() {
			return n, nil
		}
		if n != nil && n.lists != nil {
			n.lists.dirty = false // of a mixed state
			n.lists.done()
		}
		passing := err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errChanged) || errors.Is(err, errCut)
		if err == nil {
			err = errChanged
		}
		if !passing || try == readTries {
			if errors.Is(err, errChanged) {
				e := patch.Fail("REPO_METADATA", "%w, %d times", err, try)
				e.Hint = "try again when apt and dpkg have nothing to do"
				return nil, e
			}
			return nil, rooted(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readPause):
		}
	}
}

// rooted gives the path in an error the slash that an fs.FS does without.
func rooted(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && !strings.HasPrefix(p.Path, "/") {
		p.Path = "/" + p.Path
	}
	return err
}

// changed reports whether a file that the node was read from is another one now.
func (n *node) changed() bool {
	info, err := fs.Stat(n.cfg.FS, n.conf.path("Dir::State::status", "/var/lib/dpkg/status"))
	if err != nil || system.FileID(info) != n.statusID {
		return true
	}
	for _, i := range n.indexes {
		if info, err := fs.Stat(n.cfg.FS, i.path); err != nil || !sameFile(info, i.info) {
			return true
		}
	}
	for _, r := range n.releases {
		if r.path == "" {
			continue
		}
		if info, err := fs.Stat(n.cfg.FS, r.path); err != nil || !info.ModTime().UTC().Equal(r.refreshed) {
			return true
		}
	}
	return false
}

func sameFile(a, b fs.FileInfo) bool { return system.FileID(a) == system.FileID(b) }

// errCut: a list is not what its archive signed.
var errCut = errors.New("damaged")

// complete checks what was just scanned: a plain list is as long as its Release file says, and names packages. apt
// checked the sums when it fetched it; what is looked for here is a list that was cut or overwritten since.
func (n *node) complete(found *deb.Lists) error {
	sizes := map[*release]map[string]int64{}
	for id, i := range n.indexes {
		plain := strings.HasSuffix(i.path, "Packages")
		if !plain {
			continue
		}
		if found.Named(id) == 0 && i.info.Size() > 1 {
			return n.cut(i, "no package is named in it")
		}
		have, ok := sizes[i.rel]
		if !ok {
			f, err := n.cfg.FS.Open(i.rel.path)
			if err != nil {
				return err
			}
			have, err = deb.ReadSizes(f)
			f.Close()
			if err != nil {
				return fmt.Errorf("/%s: %w", i.rel.path, err)
			}
			sizes[i.rel] = have
		}
		if want, ok := have[i.listed]; ok && want != i.info.Size() {
			return n.cut(i, fmt.Sprintf("it has %d bytes, and its archive's Release file says %d", i.info.Size(), want))
		}
	}
	return nil
}

func (n *node) cut(i *index, why string) error {
	e := patch.Fail("REPO_METADATA", "read apt's lists: /%s is %w: %s", i.path, errCut, why)
	e.Hint = "remove the file and run apt-get update"
	return e
}
