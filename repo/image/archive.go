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
	"path/filepath"
	"strings"

	"oakum.dev/repo/compress"
)

// Archive is a file or folder that holds images.
type Archive struct {
	blobs  blobs
	closer io.Closer
}

// blobs are the files of an archive, by their names in it.
type blobs interface {
	// open returns a file and its size, or an error that wraps errMissing.
	open(name string) (io.ReadCloser, int64, error)
}

// Bounds on the outer archive.
const (
	maxFiles = 100_000
	maxSpool = 256 << 30
)

// Open opens an OCI layout folder or an archive file; "-" reads in. A compressed archive, and one that comes through
// a pipe, is written to a file in dir first.
func Open(ctx context.Context, name string, in io.Reader, dir string) (*Archive, error) {
	if name == "-" {
		return spool(ctx, in, dir)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		r, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return &Archive{folder{r.FS()}, r}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		defer f.Close()
		return spool(ctx, f, dir)
	}
	head := make([]byte, 265)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	if n == len(head) && string(head[257:262]) == "ustar" {
		return openTar(ctx, f)
	}
	defer f.Close()
	return spool(ctx, f, dir)
}

// Close gives the archive's files back. Images chosen from it cannot be unpacked afterwards.
func (a *Archive) Close() error { return a.closer.Close() }

// spool writes an archive to a file that is gone when it is closed.
func spool(ctx context.Context, in io.Reader, dir string) (*Archive, error) {
	r, err := compress.Sniff(&patient{ctx, in}, maxSpool)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := os.CreateTemp(dir, "archive-")
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(f, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return openTar(ctx, f)
}

// patient is a reader that ends with its context.
type patient struct {
	ctx context.Context
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// folder is an OCI layout on the disk.
type folder struct{ fs fs.FS }

func (d folder) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s %w", name, errMissing)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// tarball is an archive file whose members are read where they lie.
type tarball struct {
	at    io.ReaderAt
	files map[string]member
}

type member struct {
	offset, size int64
	link         string // another member instead
}

// openTar finds the members of a tar.
func openTar(ctx context.Context, f *os.File) (*Archive, error) {
	t := &tarball{at: f, files: map[string]member{}}
	if err := t.index(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return &Archive{t, f}, nil
}

func (t *tarball) index(ctx context.Context, f io.ReadSeeker) error {
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return errors.New("the archive is empty")
			}
			return nil
		}
		if err != nil {
			if n == 0 && (errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)) {
				return errors.New("this is neither an OCI layout nor an archive of docker save")
			}
			return fmt.Errorf("the archive is damaged or cut off: %w", err)
		}
		if n == maxFiles {
			return fmt.Errorf("the archive has more than %d members", maxFiles)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			t.files[name] = member{offset: at, size: h.Size}
		case tar.TypeSymlink: // old docker save, for a layer that it has written already
			t.files[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			t.files[name] = member{link: path.Clean(h.Linkname)}
		}
	}
}

func (t *tarball) open(name string) (io.ReadCloser, int64, error) {
	m, ok := t.files[name]
	for range 8 {
		if !ok || m.link == "" {
			break
		}
		m, ok = t.files[m.link]
	}
	if !ok || m.link != "" {
		return nil, 0, fmt.Errorf("%s %w", name, errMissing)
	}
	return io.NopCloser(io.NewSectionReader(t.at, m.offset, m.size)), m.size, nil
}

// inside makes the name of an archive's member out of one that a file of the archive gives.
func inside(name string) (string, error) {
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("the name %.100q leads out of the archive", name)
	}
	return path.Clean(name), nil
}
