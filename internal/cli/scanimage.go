package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/host"
	"oakum.dev/repo/image"
)

// imageOptions are the flags of oakum scan that are about images.
type imageOptions struct {
	file, platform, name string
	refresh              bool
}

// check refuses flags that exclude each other.
func (o *imageOptions) check(changed func(string) bool) error {
	switch {
	case o.file != "" && changed("root"):
		return errors.New("--image and --root exclude each other")
	case o.file == "" && (o.platform != "" || o.name != "" || o.refresh):
		return errors.New("--platform, --image-name and --refresh go with --image")
	case o.refresh && changed("no-refresh"):
		return errors.New("--refresh and --no-refresh exclude each other")
	}
	return nil
}

// unpacked is an image's part that package managers read, in a folder of its own.
type unpacked struct {
	dir     string
	about   compliance.Image
	fetched bool
	failed  []string // lists that could not be fetched
}

func (u *unpacked) root() string { return filepath.Join(u.dir, "root") }

// Close removes the folder.
func (u *unpacked) Close() error { return os.RemoveAll(u.dir) }

// openImage unpacks the image that is asked for. The caller closes it.
func openImage(ctx context.Context, s *Streams, o *imageOptions) (u *unpacked, err error) {
	if runtime.GOOS == "windows" {
		return nil, errors.New("images can be scanned on Linux and macOS: this file system cannot hold the names of their files")
	}
	dir, err := os.MkdirTemp("", "oakum-image-")
	if err != nil {
		return nil, err
	}
	u = &unpacked{dir: dir, about: compliance.Image{File: o.file}}
	defer func() {
		if err != nil {
			_ = u.Close() // the error that there is says more
			u = nil
		}
	}()
	archive, err := image.Open(ctx, o.file, interruptible(ctx, s.In), dir)
	if err != nil {
		return u, fmt.Errorf("read the image: %w", err)
	}
	defer archive.Close()
	img, err := archive.Choose(ctx, image.Want{Platform: o.platform, Arch: runtime.GOARCH, Name: o.name})
	if choice, ok := errors.AsType[*image.ChoiceError](err); ok {
		return u, hinted(choice.Error(), "choose one with --platform or --image-name")
	}
	if err != nil {
		return u, fmt.Errorf("read the image: %w", err)
	}
	u.about.Name, u.about.Digest, u.about.Platform = img.Name, img.Digest, img.Platform
	if err := os.Mkdir(u.root(), 0o700); err != nil {
		return u, err
	}
	root, err := os.OpenRoot(u.root())
	if err != nil {
		return u, err
	}
	defer root.Close()
	if err := img.Unpack(ctx, root, image.DefaultLimits()); err != nil {
		return u, fmt.Errorf("unpack the image: %w", err)
	}
	matches, _ := filepath.Glob(filepath.Join(dir, "archive-*")) // what came compressed or through a pipe is not needed any more
	for _, m := range matches {
		if err := os.Remove(m); err != nil {
			return u, err
		}
	}
	return u, nil
}

// interruptible ends with its context, though a read of stdin itself does not.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
	return &lazy{r, func() {
		go func() {
			_, err := io.Copy(w, in)
			w.CloseWithError(err)
		}()
	}}
}

// lazy calls start before the first read.
type lazy struct {
	io.Reader
	start func()
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.start != nil {
		l.start()
		l.start = nil
	}
	return l.Reader.Read(p)
}

// fetch gets the image's package lists from its own sources.
func (u *unpacked) fetch(ctx context.Context, s *Streams, p patch.Platform) error {
	fmt.Fprintf(s.Err, "oakum: fetching the package lists of the image's own sources\n")
	if err := os.Chmod(u.dir, 0o711); err != nil { // apt downloads as a user of its own; the image's files stay closed
		return err
	}
	var env []string
	for _, e := range os.Environ() {
		if k, _, _ := strings.Cut(e, "="); strings.HasSuffix(strings.ToLower(k), "_proxy") {
			env = append(env, e)
		}
	}
	var err error
	u.fetched = true
	u.failed, err = host.FetchLists(ctx, p.Node.OS, patch.OSExec{}, u.dir, env)
	return err
}

// note puts into a result what it is the result of.
func (u *unpacked) note(h *compliance.Header) {
	if u == nil {
		return
	}
	h.Image = &u.about
	for _, f := range u.failed {
		h.Degraded = append(h.Degraded, "not refreshed: "+f)
	}
}

// advise gives an error about package lists that are not there the advice that fits an image.
func (u *unpacked) advise(err error) error {
	if u == nil || u.fetched {
		return err
	}
	const hint = "images rarely keep their package lists: add --refresh to fetch them from the image's own sources"
	if e, ok := errors.AsType[*patch.Error](err); ok && e.Reason == "REPO_METADATA" {
		return hinted(e.Error(), hint)
	}
	if e, ok := errors.AsType[*ExitError](err); ok && e.Code == exitFailed && e.Err != nil {
		return &ExitError{exitFailed, hinted(e.Err.Error(), hint)}
	}
	return err
}
