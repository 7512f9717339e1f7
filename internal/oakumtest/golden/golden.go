// Package golden compares what a test made with a file in the repository. It is imported by tests only, which then
// take -update. Start with Check.
package golden

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files and the reference")

// Check fails when the file does not hold got; with -update it writes the file instead. hint says how a person
// brings the file up to date.
func Check(t *testing.T, path string, got []byte, hint string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: %s", err, hint)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), %s:\n%s", path, hint, diff)
	}
}
