//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// verifyOwned refuses a path that is a symbolic link, belongs to someone else, or that group or others can write;
// files must not be readable by them either.
func verifyOwned(path string, dir bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if dir != info.IsDir() || !dir && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file or directory: refusing to use it", path)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is owned by another user: refusing to use it", path)
	}
	refuse, what := os.FileMode(0o022), "writable"
	if !dir {
		refuse, what = 0o077, "accessible"
	}
	if info.Mode().Perm()&refuse != 0 {
		return fmt.Errorf("%s has mode %04o, %s by group or others: refusing to use it", path, info.Mode().Perm(), what)
	}
	return nil
}

// lockState takes the lock of a state directory. It tries for a second, because `oakum agent status` holds the lock
// for a moment when it looks; probe tries once.
func lockState(path string, probe bool) (*stateLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for tries := 0; !probe && errors.Is(err, syscall.EWOULDBLOCK) && tries < 10; tries++ {
		time.Sleep(100 * time.Millisecond)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = f.Close() // the lock's error is the one to report
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another agent is using %s", path)
		}
		return nil, err
	}
	return &stateLock{f}, nil
}
