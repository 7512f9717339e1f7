//go:build unix

package system

import (
	"io/fs"
	"syscall"
)

func inode(i fs.FileInfo) uint64 {
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
