package patch

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock that ends with the process, whatever ends it. It covers bytes far behind the text.
func tryLock(f *os.File) (bool, error) {
	o := windows.Overlapped{OffsetHigh: 1 << 20}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &o)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
