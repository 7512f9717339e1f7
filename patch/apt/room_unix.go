//go:build unix

package apt

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// volume finds the file system of a folder of the node, or of the nearest one above it that is there.
func (m *Manager) volume(dir string) (volume, error) {
	full := filepath.Join(m.cfg.Root, dir)
	info, err := os.Stat(full)
	for err != nil && full != "/" {
		full = filepath.Dir(full)
		info, err = os.Stat(full)
	}
	if err != nil {
		return volume{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(full, &st); err != nil {
		return volume{}, fmt.Errorf("look at the free space of %s: %w", full, err)
	}
	v := volume{path: full, free: int64(st.Bavail) * int64(st.Bsize), readOnly: readOnly(&st)}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		v.id = uint64(s.Dev)
	}
	return v, nil
}
