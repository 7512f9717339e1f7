package journal

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Reserve takes n bytes of disk space for later records, so that they can be written when the disk is full.
// File systems that cannot do this are left as they are.
func (j *Journal) Reserve(n int64) error {
	err := unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
