//go:build unix

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// VolumeOf finds the file system of a folder below root, or of the nearest one above it that is there.
func VolumeOf(root, dir string) (Volume, error) {
	full := filepath.Join(root, dir)
	info, err := os.Stat(full)
	for err != nil && full != "/" {
		full = filepath.Dir(full)
		info, err = os.Stat(full)
	}
	if err != nil {
		return Volume{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(full, &st); err != nil {
		return Volume{}, fmt.Errorf("look at the free space of %s: %w", full, err)
	}
	v := Volume{Path: full, Free: int64(st.Bavail) * int64(st.Bsize), ReadOnly: readOnly(&st)}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		v.id = uint64(s.Dev)
	}
	return v, nil
}
