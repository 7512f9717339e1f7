package rpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// ErrNoDatabase says that a root has no rpm database.
var ErrNoDatabase = errors.New("no rpm database in usr/lib/sysimage/rpm or var/lib/rpm")

// ErrChanged says that the database changed each time that it was read. It does not while rpm installs into an SQLite
// database, whose log only grows meanwhile.
var ErrChanged = errors.New("the rpm database changes while it is read: wait until rpm has finished")

// pauses are the waits before the database is read again after it changed.
var pauses = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}

// folders are where rpm keeps its database, and backends how, in the order in which rpm itself looks.
var (
	folders  = []string{"usr/lib/sysimage/rpm", "var/lib/rpm"}
	backends = []struct {
		file   string
		beside []string // files that hold a part of the database when they are there and not empty
		blobs  func(ctx context.Context, d *database, fn func(header []byte) error) error
	}{
		{"rpmdb.sqlite", []string{"rpmdb.sqlite-wal", "rpmdb.sqlite-journal"}, sqliteBlobs},
		{"Packages.db", nil, ndbBlobs},
		{"Packages", nil, bdbBlobs},
	}
)

// database is an rpm database that was found.
type database struct {
	root    fs.FS
	files   []string // the main file first
	backend int
}

func findDatabase(root fs.FS) (*database, error) {
	for _, dir := range folders {
		for i, b := range backends {
			d := &database{root: root, backend: i}
			for n, name := range append([]string{b.file}, b.beside...) {
				info, err := fs.Stat(root, path.Join(dir, name))
				if errors.Is(err, fs.ErrNotExist) || err == nil && (n > 0 && info.Size() == 0 || !info.Mode().IsRegular()) {
					if n == 0 {
						break
					}
					continue
				}
				if err != nil {
					return nil, fmt.Errorf("look for the rpm database: %w", err)
				}
				d.files = append(d.files, path.Join(dir, name))
			}
			if len(d.files) > 0 {
				return d, nil
			}
		}
	}
	return nil, ErrNoDatabase
}

// DatabaseFiles lists the files of the rpm database below root: as long as size, time and identity of each are the same
// and no other one appears, nothing was installed or removed. Without a database there are none.
func DatabaseFiles(root fs.FS) []string {
	d, err := findDatabase(root)
	if err != nil {
		return nil
	}
	return d.files
}

// Installed reads the database of installed packages below root, whichever of rpm's formats it has, without rpm and
// without locks, and then calls fn with each package, which is fn's to keep; also with imported keys (gpg-pubkey, without an
// architecture) and with each of several versions of a name. Files of packages are not read. Errors: ErrNoDatabase,
// ErrChanged, ErrTooLarge, fn's.
func Installed(ctx context.Context, root fs.FS, fn func(*Package) error) error {
	var list []*Package
	err := settled(ctx, func() error {
		list = nil
		var r reader
		return eachHeader(ctx, root, func(b []byte) error {
			p, err := r.read(b)
			list = append(list, p)
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// settled reads until nothing changed meanwhile, a few times.
func settled(ctx context.Context, read func() error) error {
	for _, pause := range pauses {
		if err := read(); !errors.Is(err, ErrChanged) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return read()
}

// Owners looks up which installed packages own the files, given as absolute paths: path to the package's name. A file
// that no package owns is not in the answer; of several owners it has one. Errors as Installed.
func Owners(ctx context.Context, root fs.FS, files map[string]struct{}) (map[string]string, error) {
	byDir := map[string]map[string]struct{}{}
	for f := range files {
		i := strings.LastIndexByte(f, '/') + 1
		if byDir[f[:i]] == nil {
			byDir[f[:i]] = map[string]struct{}{}
		}
		byDir[f[:i]][f[i:]] = struct{}{}
	}
	var owners map[string]string
	err := settled(ctx, func() error {
		owners = map[string]string{}
		var r reader
		return eachHeader(ctx, root, func(b []byte) error {
			return r.owns(b, byDir, func(path, name string) { owners[path] = name })
		})
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}

// eachHeader calls fn with the bytes of each package's header; they are valid during the call.
func eachHeader(ctx context.Context, root fs.FS, fn func([]byte) error) error {
	d, err := findDatabase(root)
	if err != nil {
		return err
	}
	before := d.stamps()
	err = backends[d.backend].blobs(ctx, d, func(b []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(b)
	})
	if changed(before, d.stamps()) {
		return fmt.Errorf("/%s: %w", d.files[0], ErrChanged)
	}
	if err != nil {
		return fmt.Errorf("/%s: %w", d.files[0], err)
	}
	return nil
}

// stamps say for each file of the database what a change would change: size, time, and the first bytes, where
// databases keep counters. Of a log that is only its head: what is appended to it was not there when it was read.
func (d *database) stamps() []string {
	var out []string
	for _, name := range d.files {
		f, err := d.open(name)
		if err != nil {
			out = append(out, "") // gone: then the main file has changed, or has all that it held
			continue
		}
		head := make([]byte, 100)
		if strings.HasSuffix(name, "-wal") {
			n, _ := f.at.ReadAt(head[:walHeader], 0) // a short file has a short head
			out = append(out, fmt.Sprintf("%x", head[:n]))
		} else {
			n, _ := f.at.ReadAt(head, 0)
			out = append(out, fmt.Sprintf("%d %d %x", f.size, f.modified, head[:n]))
		}
		f.close()
	}
	return out
}

func changed(before, after []string) bool {
	for i := range before {
		if before[i] != after[i] && (i == 0 || after[i] != "") {
			return true
		}
	}
	return false
}

// file is an open file that can be read anywhere.
type file struct {
	at       io.ReaderAt
	size     int64
	modified int64
	close    func() error
}

func (d *database) open(name string) (*file, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		f.Close()
		return nil, fmt.Errorf("/%s cannot be read at an offset", name)
	}
	return &file{at: at, size: info.Size(), modified: info.ModTime().UnixNano(), close: f.Close}, nil
}

// full reads len(b) bytes at the offset.
func (f *file) full(b []byte, offset int64) error {
	if offset < 0 || offset+int64(len(b)) > f.size {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(b), offset, f.size, io.ErrUnexpectedEOF)
	}
	n, err := f.at.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// pages reads a file in chunks and keeps the last ones: neighbours are mostly read together.
type pages struct {
	f     *file
	cache [32]struct {
		number int64
		b      []byte
	}
}

const pageChunk = 64 << 10 // a multiple of every page size

// at returns n bytes at an offset that lie in one chunk. They are valid until the next 31 chunks are read.
func (p *pages) at(offset int64, n int) ([]byte, error) {
	number := offset / pageChunk
	slot := &p.cache[number%int64(len(p.cache))]
	if slot.b == nil || slot.number != number {
		from := number * pageChunk
		size := min(pageChunk, p.f.size-from)
		if size <= 0 {
			return nil, fmt.Errorf("byte %d of %d: %w", offset, p.f.size, io.ErrUnexpectedEOF)
		}
		if cap(slot.b) < pageChunk {
			slot.b = make([]byte, pageChunk)
		}
		slot.b = slot.b[:size]
		slot.number = number
		if err := p.f.full(slot.b, from); err != nil {
			slot.b = nil
			return nil, err
		}
	}
	i := int(offset % pageChunk)
	if i+n > len(slot.b) {
		return nil, fmt.Errorf("%d bytes at %d of %d: %w", n, offset, p.f.size, io.ErrUnexpectedEOF)
	}
	return slot.b[i : i+n], nil
}

func u16(b []byte) int    { return int(binary.BigEndian.Uint16(b)) }
func u32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
