package agent

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// verifyOwned refuses a path that is a link or belongs to a user who is no administrator. Who may read a file is decided
// by its folder, which protect has closed to others.
func verifyOwned(path string, dir bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if dir != info.IsDir() || !dir && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file or directory: refusing to use it", path)
	}
	if err := trusted(path); err != nil {
		return err
	}
	if dir {
		return protect(path)
	}
	return nil
}

// lockState takes the lock of a state directory, as on Unix. It covers bytes far behind any text.
func lockState(path string, probe bool) (*stateLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		o := windows.Overlapped{OffsetHigh: 1 << 20}
		err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &o)
		if err == nil {
			return &stateLock{f}, nil
		}
		if !errors.Is(err, windows.ERROR_LOCK_VIOLATION) || probe || tries >= 10 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = f.Close() // the lock's error is the one to report
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return nil, fmt.Errorf("another agent is using %s", path)
	}
	return nil, err
}
