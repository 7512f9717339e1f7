package system

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"oakum.dev/patch"
)

// MaxKept bounds what is kept of one run's old packages, in bytes.
const MaxKept = 300 << 20

// Needs is what has to stay free for a plan whose package files are all there.
func Needs(p *patch.Plan) int64 {
	var grows int64
	for _, c := range p.Changes {
		grows += max(c.Grows, 0)
	}
	return Spare + grows*12/10
}

// KeepFile links a file to another folder, or copies it where that is another file system.
func KeepFile(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was interrupted and is taken up
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
