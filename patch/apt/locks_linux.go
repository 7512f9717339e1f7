package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oakum.dev/patch"
)

// waitLocks waits until nobody holds a POSIX lock on any of the files. apt's own timeout covers dpkg's locks only.
func waitLocks(ctx context.Context, paths []string, budget time.Duration, note func(string)) error {
	deadline := time.Now().Add(budget)
	told := false
	for _, path := range paths {
		for {
			pid, err := lockHolder(path)
			if err != nil {
				return err
			}
			if pid == 0 {
				break
			}
			who := fmt.Sprintf("%s is locked by process %d (%s)", path, pid, commandOf(pid))
			if !told {
				note("waiting: " + who)
			}
			told = true
			if time.Now().After(deadline) {
				return patch.Fail("LOCKED", "%s", who)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(250 * time.Millisecond):
			}
		}
	}
	return nil
}

// lockHolder is the process that keeps a write lock on path from us, or 0. It is -1 when the holder cannot be seen from here,
// such as one outside the container that this runs in.
func lockHolder(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return 0, fmt.Errorf("look at the lock %s: %w", path, err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, nil
	}
	if l.Pid <= 0 {
		return -1, nil
	}
	return int(l.Pid), nil
}

func commandOf(pid int) string {
	if pid <= 0 {
		return "not to be seen from here"
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return "unknown"
	}
	return strings.TrimSpace(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}
