package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"oakum.dev/patch"
)

// WaitLocks waits until nobody holds a POSIX lock on any of the files, nor is the live process that a file of process ids
// names (*.pid). Whoever is in the way first is noted; the error of a wait that outlasts the budget is an *Error with
// reason LOCKED that names who still is.
func WaitLocks(ctx context.Context, paths []string, budget time.Duration, note func(string)) error {
	return waitWhile(ctx, budget, note, func() (string, error) {
		for _, path := range paths {
			holder := lockHolder
			if strings.HasSuffix(path, ".pid") {
				holder = pidIn
			}
			if pid, err := holder(path); err != nil {
				return "", err
			} else if pid != 0 {
				return fmt.Sprintf("%s is locked by process %d (%s)", path, pid, commandOf(pid)), nil
			}
		}
		return "", nil
	})
}

// WaitTransactions waits for package managers, by the names of their processes, that an engine started which was killed
// since. In their first moment they hold no lock yet.
func WaitTransactions(ctx context.Context, names []string, budget time.Duration, note func(string)) error {
	return waitWhile(ctx, budget, note, func() (string, error) {
		if pid := transaction(names); pid != 0 {
			return fmt.Sprintf("the transaction of an earlier run is at work: process %d (%s)", pid, commandOf(pid)), nil
		}
		return "", nil
	})
}

// waitWhile waits until busy names nobody. Whoever is in the way first is noted; whoever still is when the budget is used up
// is in the error.
func waitWhile(ctx context.Context, budget time.Duration, note func(string), busy func() (string, error)) error {
	deadline := time.Now().Add(budget)
	for told := false; ; told = true {
		who, err := busy()
		if err != nil || who == "" {
			return err
		}
		if !told {
			note("waiting: " + who)
		}
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

// pidIn is the live process that a file of process ids names, or 0. A process of another name took the number over.
func pidIn(path string) (int, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return 0, nil // what is no process locks nothing
	}
	command := commandOf(pid)
	if slices.ContainsFunc([]string{"dnf", "yum", "zypp", "packagekit", "PackageKit", "YaST", "y2base"}, func(w string) bool { return strings.Contains(command, w) }) {
		return pid, nil
	}
	return 0, nil
}

// transaction finds a program that changes the node for a run, or the scope's starter before it is one. What packages'
// scripts leave running does not count.
func transaction(names []string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		comm, err := os.ReadFile("/proc/" + e.Name() + "/comm")
		if err != nil {
			continue
		}
		if name := strings.TrimSpace(string(comm)); name != "systemd-run" && !slices.Contains(names, name) {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), TransactionMark) {
			return pid
		}
	}
	return 0
}
