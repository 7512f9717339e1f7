//go:build linux

package store

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The lock ends with its owner's Close, also while a child of the process has the file still open: between fork and exec
// it has every file.
func TestLockIsGivenBackBesideAChild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range open {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path {
			fd, err := strconv.Atoi(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			child, err := syscall.Dup(fd) // as fork does
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(child)
			held++
			break // the copy may have a number that was listed
		}
	}
	if held != 1 {
		t.Fatalf("the lock's file is open %d times", held)
	}
	if _, err := lockFile(path); err == nil {
		t.Fatal("the lock was taken twice")
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(path)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}
