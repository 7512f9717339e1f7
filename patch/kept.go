package patch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// keptBytes bounds what the package files of old versions take of the disk, all runs together. Those of the newest runs stay.
const keptBytes = 600 << 20

// keptFile is the package file of a package's old version, or empty when there is none any more.
func (r *Run) keptFile(key string) string {
	name := r.Kept[key]
	if name == "" {
		return ""
	}
	path := filepath.Join(r.Dir, filepath.Base(name))
	if _, err := os.Stat(path); err != nil {
		return "" // the archive may have it
	}
	return path
}

// pruneKept removes package files of old versions from the oldest runs on.
func pruneKept(stateDir string) error {
	runs, err := Runs(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	left := int64(keptBytes)
	for i := range runs {
		r := &runs[i]
		for key := range r.Kept {
			path := r.keptFile(key)
			if path == "" {
				continue
			}
			info, err := os.Stat(path)
			if err != nil {
				continue
			}
			if left -= info.Size(); left >= 0 || r.Phase != PhaseEnded {
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
