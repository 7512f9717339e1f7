package journal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReserve takes space for records to come and gives back what they did not need.
func TestReserve(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	const n = 1 << 20
	if err := j.Reserve(n); err != nil {
		t.Fatal(err)
	}
	if blocks() < n {
		t.Skipf("the file system of %s reserves nothing", path)
	}
	if err := j.Append([]byte("record")); err != nil {
		t.Fatal(err)
	}
	if err := j.Release(); err != nil {
		t.Fatal(err)
	}
	if b := blocks(); b >= n {
		t.Errorf("%d bytes are still taken", b)
	}
	if err := j.Append([]byte("another")); err != nil {
		t.Fatal(err)
	}
	if records, err := Read(path); err != nil || len(records) != 2 {
		t.Errorf("Read = %q, %v", records, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
