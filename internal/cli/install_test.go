package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/journal"
)

func TestInstallExit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code   int
		status string
		want   int
	}{
		{0, compliance.Compliant, 0},
		{0, compliance.NonCompliant, exitNotCompliant},
		{patch.CodeReboot, compliance.Compliant, 0},
		{patch.CodeReboot, compliance.NonCompliant, exitNotCompliant},
		{patch.CodeRebootFailed, compliance.NonCompliant, exitFailed},
		{patch.CodeDependency, compliance.NonCompliant, exitFailed},
	} {
		res := &compliance.Result{Header: compliance.Header{Status: tc.status, Counts: compliance.Counts{Missing: 1}}}
		err := installExit(&patch.Installation{Result: res, Run: patch.Run{Code: tc.code}})
		got := 0
		if e, ok := errors.AsType[*ExitError](err); ok {
			got = e.Code
		}
		if got != tc.want {
			t.Errorf("run with code %d, %s: exit code %d, want %d", tc.code, tc.status, got, tc.want)
		}
	}
}

// TestBegunSnapshot goes on by the snapshot of the run that the same step of the same command has begun.
func TestBegunSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := filepath.Join(dir, "runs", "run-1")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	j, _, err := journal.Open(filepath.Join(run, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	first := patch.Run{ID: "run-1", Operation: patch.OperationInstall, ExecutionID: "command", Step: "1-PatchLinux", SnapshotID: "snapshot"}
	if err := errors.Join(j.AppendJSON(map[string]any{"kind": patch.PhaseStarted, "run": first}), j.Close()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][3]string{{"command", "1-PatchLinux", "snapshot"}, {"command", "2-Other", ""}, {"another", "1-PatchLinux", ""}, {"", "", ""}} {
		if got := begunSnapshot(dir, tc[0], tc[1]); got != tc[2] {
			t.Errorf("begunSnapshot(%q, %q) = %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}
