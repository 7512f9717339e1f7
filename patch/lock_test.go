package patch_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"oakum.dev/patch"
)

// TestLockIsOutOfReach leaves the lock to whoever runs the engine, also where an earlier version made its file.
func TestLockIsOutOfReach(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no mode there")
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "engine.lock")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	release, err := patch.Lock(t.Context(), filepath.Dir(path), patch.Owner{Command: "test"}, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock's file is %v, %v; want mode 0600", info.Mode(), err)
	}
}
