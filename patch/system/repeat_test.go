package system_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// A program that a signal ends is run again, a few times; one that changes the node is not.
func TestRepeat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	exec := system.Repeat(patch.OSExec{})
	run := func(script string, lasting bool) int {
		t.Helper()
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		out, err := exec.Run(context.Background(), patch.Command{Path: "/bin/sh", Args: []string{"-c", script}, Dir: dir, Env: patch.BaseEnv(), Log: log, Lasting: lasting})
		if err != nil {
			t.Fatal(err)
		}
		return out.Code
	}
	if code := run(`test -e once && exit 7; touch once; kill -9 $$`, false); code != 7 {
		t.Errorf("killed once, it ended with %d, want 7", code)
	}
	if code := run(`echo x >>always; kill -9 $$`, false); code >= 0 {
		t.Errorf("killed each time, it ended with %d", code)
	}
	if code := run(`echo x >>lasting; kill -9 $$`, true); code >= 0 {
		t.Errorf("killed, it ended with %d", code)
	}
	for name, want := range map[string]string{"always": "x\nx\nx\n", "lasting": "x\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s was run %q, %v; want %q", name, b, err, want)
		}
	}
}
