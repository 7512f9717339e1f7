//go:build unix

package patch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock that ends with the process, whatever ends it.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
