package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"oakum.dev/repo/compress"
)

// whiteout is what a layer's entry begins with that takes away an entry of the layers below; opaque takes away all of
// a folder. Source: OCI Image Specification, "Image Layer Filesystem Changeset".
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// maxRounds bounds how often layers are read again for the targets of hard links that nobody else wanted.
const maxRounds = 4

// Unpack writes the files that managers read into an empty folder. Owners and modes are not kept, times are. When it
// fails, what the folder holds means nothing.
func (i *Image) Unpack(ctx context.Context, to *os.Root, lim Limits) error {
	if len(i.layers) > lim.Layers {
		return fmt.Errorf("the image has %d layers; %d are allowed", len(i.layers), lim.Layers)
	}
	more := map[string]bool{}
	for range maxRounds {
		u := &unpacker{ctx: ctx, root: to, lim: lim, more: more, missing: map[string]bool{}}
		for n := range i.layers {
			if err := u.layer(i.blobs, &i.layers[n]); err != nil {
				return fmt.Errorf("layer %d of %d: %w", n+1, len(i.layers), err)
			}
		}
		if len(u.missing) == 0 {
			return nil
		}
		for name := range u.missing {
			if more[name] {
				return fmt.Errorf("the image is damaged: a hard link leads to %s, which is not there", name)
			}
			more[name] = true
		}
		if err := empty(to); err != nil {
			return err
		}
	}
	return errors.New("the image's hard links lead from one to the next too often")
}

func empty(r *os.Root) error {
	entries, err := fs.ReadDir(r.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// unpacker applies layers to a folder. Names in it are those of the folder, with links on the way followed.
type unpacker struct {
	ctx     context.Context
	root    *os.Root
	lim     Limits
	more    map[string]bool // wanted besides the lists
	missing map[string]bool // targets of hard links that were not unpacked
	mine    map[string]bool // what the layer at hand has put in; whiteouts are for the layers below
	dirs    map[string]string
	entries int
	files   int
	read    int64
	written int64
}

// layer applies one layer and verifies it.
func (u *unpacker) layer(b blobs, l *layer) error {
	f, size, err := b.open(l.name)
	if err != nil {
		return err
	}
	defer f.Close()
	if l.size >= 0 && size != l.size {
		return fmt.Errorf("%s is damaged or cut off: it has %d bytes and should have %d", l.name, size, l.size)
	}
	var raw io.Reader = &patient{u.ctx, f}
	var check []func() error
	if l.digest != "" {
		h, err := newHash(l.digest)
		if err != nil {
			return err
		}
		raw = io.TeeReader(raw, h)
		check = append(check, func() error { return verify(l.name, l.digest, h) })
	}
	z, err := compress.Sniff(raw, u.lim.Read-u.read)
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	defer z.Close()
	h, err := newHash(l.diffID)
	if err != nil {
		return err
	}
	check = append(check, func() error { return verify("the content of "+l.name, l.diffID, h) })
	content := io.TeeReader(&counted{z, &u.read}, h)
	err = u.apply(tar.NewReader(content))
	if err == nil { // the padding after the end counts for the digests
		_, err = io.Copy(io.Discard, content)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, raw)
	}
	if err != nil {
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%s is cut off", l.name)
		case errors.Is(err, compress.ErrTooLarge):
			return fmt.Errorf("the layers are larger than %d bytes", u.lim.Read)
		}
		return fmt.Errorf("%s: %w", l.name, err)
	}
	for _, c := range check {
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

// counted adds up what is read.
type counted struct {
	r io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	k, err := c.r.Read(p)
	*c.n += int64(k)
	return k, err
}

// apply reads the tar of a layer.
func (u *unpacker) apply(r *tar.Reader) error {
	u.mine, u.dirs = map[string]bool{}, map[string]string{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if u.entries++; u.entries > u.lim.Entries {
			return fmt.Errorf("the layers have more than %d entries", u.lim.Entries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := u.clean(h.Name)
		if err != nil {
			return err
		}
		if name == "." {
			continue
		}
		if err := u.entry(name, h, r); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
	}
}

// clean refuses names that lead out of the image.
func (u *unpacker) clean(name string) (string, error) {
	if len(name) > u.lim.Path {
		return "", fmt.Errorf("a name of %d bytes; %d are allowed", len(name), u.lim.Path)
	}
	if strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("the name %.100q is not one below the image's root", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("the name %.100q leads out of the image", name)
		}
	}
	return path.Clean(name), nil
}

// entry applies one entry of a layer.
func (u *unpacker) entry(name string, h *tar.Header, r io.Reader) error {
	dir, err := u.real(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		switch {
		case base == opaque:
			return u.clear(dir)
		case strings.HasPrefix(hidden, whiteout): // what aufs keeps for itself
			return nil
		case hidden == "" || hidden == "." || hidden == "..":
			return errors.New("a whiteout of nothing")
		}
		return u.remove(path.Join(dir, hidden))
	}
	p := path.Join(dir, base)
	kind := max(want(name, u.more), want(p, u.more))
	if kind == skip {
		return nil
	}
	there, err := u.root.Lstat(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !(there.IsDir() && h.Typeflag == tar.TypeDir) { // never written through: it may be linked elsewhere
		if err := u.root.RemoveAll(p); err != nil {
			return err
		}
		clear(u.dirs)
	}
	u.own(p)
	if err := u.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.root.MkdirAll(p, 0o700)
	case tar.TypeReg:
		return u.file(p, h, r, kind)
	case tar.TypeSymlink:
		return u.symlink(p, h.Linkname, kind)
	case tar.TypeLink:
		return u.link(p, h.Linkname)
	}
	return nil // devices, pipes: nothing to read
}

// own marks a name, and the folders that it is in, as put in by the layer at hand.
func (u *unpacker) own(p string) {
	for ; p != "." && !u.mine[p]; p = path.Dir(p) {
		u.mine[p] = true
	}
}

func (u *unpacker) file(p string, h *tar.Header, r io.Reader, kind int) error {
	f, err := u.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if u.files++; u.files > u.lim.Files {
		f.Close()
		return fmt.Errorf("more than %d files of package managers", u.lim.Files)
	}
	if kind != nameOnly {
		left := u.lim.Written - u.written
		n, err := io.Copy(f, io.LimitReader(r, left+1))
		u.written += n
		if err == nil && n > left {
			err = fmt.Errorf("what package managers keep is larger than %d bytes", u.lim.Written)
		}
		if err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if y := h.ModTime.Year(); y < 1970 || y > 2200 {
		return nil // no file system keeps it
	}
	return u.root.Chtimes(p, time.Time{}, h.ModTime)
}

// symlink makes a link that stays inside: in the image "/" is the image's root, and nothing is above it.
func (u *unpacker) symlink(p, target string, kind int) error {
	if len(target) > u.lim.Path {
		return fmt.Errorf("a link's target of %d bytes; %d are allowed", len(target), u.lim.Path)
	}
	from := path.Dir(p)
	full := path.Clean("/" + target)[1:]
	if !strings.HasPrefix(target, "/") {
		full = path.Clean("/" + from + "/" + target)[1:]
	}
	if strings.HasPrefix(target, "/") || strings.HasPrefix(path.Join(from, target), "..") {
		target = relative(from, full)
	}
	if (kind == above || exact[p] != skip) && full != "" { // it stands for a folder that is wanted
		for name := range exact {
			rest, ok := strings.CutPrefix(name, p)
			if ok && (rest == "" || rest[0] == '/') && exact[name] == whole && want(full+rest, u.more) < whole && !u.more[full+rest] {
				u.missing[full+rest] = true
			}
		}
	}
	clear(u.dirs)
	return u.root.Symlink(target, p)
}

// relative is the way from a folder to a file, both below the root.
func relative(from, to string) string {
	if from == "." {
		from = ""
	}
	up := ""
	for from != "" && to != from && !strings.HasPrefix(to, from+"/") {
		up += "../"
		if from = path.Dir(from); from == "." {
			from = ""
		}
	}
	to = strings.TrimPrefix(strings.TrimPrefix(to, from), "/")
	if up+to == "" {
		return "."
	}
	return up + to
}

func (u *unpacker) link(p, target string) error {
	name, err := u.clean(target)
	if err != nil {
		return err
	}
	dir, err := u.real(path.Dir(name))
	if err != nil {
		return err
	}
	from := path.Join(dir, path.Base(name))
	info, err := u.root.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		u.missing[from] = true // read again, with that
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		t, err := u.root.Readlink(from)
		if err != nil {
			return err
		}
		return u.symlink(p, t, skip)
	}
	if !info.Mode().IsRegular() {
		return errors.New("a hard link to what is no file")
	}
	return u.root.Link(from, p)
}

// remove takes away what the layers below have put at a name.
func (u *unpacker) remove(p string) error {
	if !u.mine[p] {
		clear(u.dirs)
		err := u.root.RemoveAll(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return u.clear(p)
}

// clear takes away what the layers below have put into a folder.
func (u *unpacker) clear(dir string) error {
	info, err := u.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := u.remove(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// real follows the links in the name of a folder. What is not there stays as it is called.
func (u *unpacker) real(dir string) (string, error) {
	if dir == "." {
		return ".", nil
	}
	if r, ok := u.dirs[dir]; ok {
		return r, nil
	}
	at, rest, links := ".", dir, 0
	for rest != "" {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := u.root.Lstat(next)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			at = next
			continue
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > 40 {
			return "", errors.New("too many links")
		}
		target, err := u.root.Readlink(next)
		if err != nil {
			return "", err
		}
		rest = target + "/" + rest
	}
	if len(u.dirs) > 10_000 {
		clear(u.dirs)
	}
	u.dirs[dir] = at
	return at, nil
}
