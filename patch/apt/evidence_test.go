package apt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"oakum.dev/patch"
)

// canonical answers as Canonical Livepatch does. Source: Landscape documentation, "REST API: Livepatch".
type canonical struct{ text string }

func (c canonical) Run(_ context.Context, cmd patch.Command) (patch.Output, error) {
	if filepath.Base(cmd.Path) != "canonical-livepatch" {
		return patch.Output{}, os.ErrNotExist
	}
	return patch.Output{Stdout: []byte(c.text)}, nil
}

// TestLivePatchEvidence: live patches protect an Ubuntu node and do not take the newer kernel's reboot away; what that
// kernel fixes is not known, and is not said to be nothing. Output that is none breaks no scan.
func TestLivePatchEvidence(t *testing.T) {
	t.Parallel()
	const applied = `{"Status":[{"Kernel":"5.15.0-91.101-generic","Running":true,"Livepatch":{"State":"applied","Version":"104.1","Fixes":[{"Name":"cve-2023-6270","Patched":true}]},"Supported":"supported","UpgradeRequiredDate":"2099-03-07"}]}`
	for _, tc := range []struct {
		name, tool, newer string
		state, debt       string
	}{
		{"waits", applied, "linux-image-5.15.0-119-generic", "Active", "protected until 2099-03-07 by live patches; kernel 5.15.0-119-generic waits for a reboot, and what it fixes is not known"},
		{"newest_runs", applied, "", "Active", ""},
		{"says_nonsense", strings.Repeat("\x00{", 1<<16), "linux-image-5.15.0-119-generic", "Available", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &synthRoot{}
			r.install("dpkg", "1", "Architecture: amd64\n")
			r.install("linux-image-5.15.0-91-generic", "1", "Architecture: amd64\n")
			if tc.newer != "" {
				r.install(tc.newer, "1", "Architecture: amd64\n")
			}
			dir := t.TempDir()
			r.write(t, dir)
			err := errors.Join(os.MkdirAll(filepath.Join(dir, "var/snap/canonical-livepatch"), 0o755), os.MkdirAll(filepath.Join(dir, "proc/sys/kernel"), 0o755),
				os.WriteFile(filepath.Join(dir, "proc/sys/kernel/osrelease"), []byte("5.15.0-91-generic\n"), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			m := New(Config{FS: os.DirFS(dir), Root: dir, Live: true, Exec: canonical{tc.tool}})
			if m.node, err = load(t.Context(), &Config{FS: os.DirFS(dir), Root: dir}, nil); err != nil {
				t.Fatal(err)
			}
			got, _, err := m.Evidence(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			lp := got.LivePatch
			if lp == nil || lp.State != tc.state || lp.Debt != tc.debt {
				t.Fatalf("live patching %+v, want %s with the debt %q", lp, tc.state, tc.debt)
			}
			if got.Required != (tc.newer != "") || slices.ContainsFunc(got.Reasons, func(s string) bool { return strings.Contains(s, "live patch") }) {
				t.Errorf("reboot %v because of %q", got.Required, got.Reasons)
			}
		})
	}
}
