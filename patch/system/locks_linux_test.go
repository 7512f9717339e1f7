package system

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oakum.dev/patch"
)

// Trap D1: a POSIX lock of another process is waited for, and its holder is named.
func TestTrap_D1_LockHolderIsNamed(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3 to hold a lock")
	}
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()", path)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	var notes []string
	err = WaitLocks(context.Background(), []string{path, path + ".absent"}, 10*time.Millisecond, func(s string) { notes = append(notes, s) })
	pe, ok := errors.AsType[*patch.Error](err)
	if !ok || pe.Reason != "LOCKED" || !strings.Contains(err.Error(), "python3") {
		t.Errorf("WaitLocks = %v", err)
	}
	if len(notes) != 1 {
		t.Errorf("notes %q, want one", notes)
	}
	hold.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := WaitLocks(context.Background(), []string{path}, time.Second, func(string) {}); err != nil {
		t.Errorf("after its end: %v", err)
	}
}
