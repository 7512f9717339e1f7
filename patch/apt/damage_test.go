package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// damaged is a root whose Release file states the lengths of its lists.
func damagedRoot(t *testing.T) string {
	t.Helper()
	r := &synthRoot{}
	r.install("dpkg", "1", "Architecture: amd64\n")
	r.install("foo", "1.0", "")
	s := r.suite("s", releaseSecurity)
	s.add("foo", "1.1", "")
	s.add("other", "1.1", "")
	s.release += fmt.Sprintf("SHA256:\n %064d %d main/binary-amd64/Packages\n %064d 12 main/binary-amd64/Packages.xz\n", 1, s.packages.Len(), 2)
	dir := t.TempDir()
	r.write(t, dir)
	return dir
}

const (
	packagesFile = "var/lib/apt/lists/archive.example.com_debian_dists_s_main_binary-amd64_Packages"
	releaseFile  = "var/lib/apt/lists/archive.example.com_debian_dists_s_InRelease"
	statusFile   = "var/lib/dpkg/status"
)

// TestDamageIsNeverCompliant cuts and overwrites what a scan reads.
func TestDamageIsNeverCompliant(t *testing.T) {
	t.Parallel()
	half := func(b []byte) []byte { return b[:len(b)/2] }
	line := func(b []byte) []byte { return b[:strings.LastIndex(string(b), "\nPriority")+1] }
	empty := func([]byte) []byte { return nil }
	noise := func(b []byte) []byte { return []byte(strings.Repeat("\x00\xff\n\n:", len(b))) }
	same := func(b []byte) []byte { return []byte(strings.Repeat("#", len(b)-1) + "\n") }
	for _, tc := range []struct {
		name, file, reason string
		damage             func([]byte) []byte
	}{
		{"list_cut", packagesFile, "REPO_METADATA", half},
		{"list_empty", packagesFile, "REPO_METADATA", empty},
		{"list_noise", packagesFile, "REPO_METADATA", noise},
		{"list_without_packages", packagesFile, "REPO_METADATA", same},
		{"release_empty", releaseFile, "REPO_METADATA", empty},
		{"release_noise", releaseFile, "REPO_METADATA", same},
		{"status_cut", statusFile, "FAILED", func(b []byte) []byte { return b[:len(b)-len(b)/4] }},
		{"status_cut_between_lines", statusFile, "FAILED", line},
		{"status_empty", statusFile, "FAILED", empty},
		{"status_noise", statusFile, "FAILED", noise},
		{"status_noise_before_a_record", statusFile, "FAILED", func(b []byte) []byte { return append([]byte("noise"), b...) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := damagedRoot(t)
			b, err := os.ReadFile(filepath.Join(dir, tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, tc.file), tc.damage(b), 0o644); err != nil {
				t.Fatal(err)
			}
			e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
			res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
			pe, ok := errors.AsType[*patch.Error](err)
			if !ok || pe.Reason != tc.reason {
				t.Errorf("Scan = %+v, %v; want an error with %s", res, err, tc.reason)
			}
		})
	}
}

// TestStatesOfDpkg counts packages that dpkg left in other states than installed.
func TestStatesOfDpkg(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("dpkg", "1", "Architecture: amd64\n")
	for state, flags := range map[string]string{
		"half-configured": "ok", "triggers-awaited": "ok", "triggers-pending": "ok", "unpacked": "ok", "half-installed": "reinstreq", "config-files": "ok",
		"not-installed": "ok", "installed": "ok",
	} {
		want := "install"
		if state == "config-files" || state == "not-installed" {
			want = "deinstall"
		}
		fmt.Fprintf(&r.status, "Package: p-%s\nStatus: %s %s %s\nVersion: 1.0\n%s\n", state, want, flags, state, withDefaults(""))
	}
	s := r.suite("s", releaseSecurity)
	s.add("p-half-configured", "1.1", "")
	s.add("p-config-files", "1.1", "")
	res := scan(t, r, Config{}, everything(baseline.Debian), november)
	got := byName(res)
	if len(got) != 7 || got["p-half-configured"] != "Missing 1.1" || got["p-triggers-pending"] != string(compliance.Installed) {
		t.Errorf("states %v", got)
	}
	text := strings.Join(res.Header.Degraded, "\n")
	for _, name := range []string{"p-half-configured", "p-unpacked", "p-half-installed"} {
		if !strings.Contains(text, name) {
			t.Errorf("%s is not said to be half way: %s", name, text)
		}
	}
	if strings.Contains(text, "triggers") {
		t.Errorf("waiting for a trigger is called half way: %s", text)
	}
}

// updating is a root in which apt-get update ends while it is read.
type updating struct {
	fs.FS
	reads  int
	update func()
}

func (u *updating) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, "_Packages") {
		if u.reads++; u.reads == 1 {
			defer u.update()
		}
	}
	return u.FS.Open(name)
}

func TestListsThatChangeMeanwhileAreReadAgain(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("dpkg", "1", "Architecture: amd64\n")
	r.install("foo", "1.0", "")
	r.suite("s", releaseSecurity).add("foo", "1.1", "")
	dir := t.TempDir()
	r.write(t, dir)
	u := &updating{FS: os.DirFS(dir), update: func() {
		r.suite("s", releaseSecurity).add("foo", "1.2", "")
		r.write(t, dir)
	}}
	e := patch.Engine{Manager: New(Config{FS: u, Root: dir, CacheDir: t.TempDir()}), Now: func() time.Time { return november }}
	for range 2 {
		res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
		if err != nil {
			t.Fatal(err)
		}
		if got := byName(res)["foo"]; got != "Missing 1.2" {
			t.Errorf("foo is %q", got)
		}
	}
}
