package apt

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"oakum.dev/patch"
)

// TestKeepLeavesRoomForTheInstall keeps the package file of an old version where there is room for it beside the install,
// and again when the run is taken up.
func TestKeepLeavesRoomForTheInstall(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	cache := filepath.Join(root, "var/cache/apt/archives")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	const file = "foo_1%3a1.0_amd64.deb"
	if err := os.WriteFile(filepath.Join(cache, file), []byte("a package"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := New(Config{Root: root, FS: os.DirFS(root)})
	m.node = &node{native: "amd64", pkgs: map[string]*pkg{}}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, step := range []struct {
		grows int64
		want  string
	}{{1 << 50, ""}, {1, file}, {1, file}} {
		p := &patch.Plan{Changes: []patch.Change{{Name: "foo", Arch: "amd64", Old: "1:1.0", New: "1:1.1", Grows: step.grows}}}
		kept, err := m.Keep(t.Context(), p, dir, log)
		if err != nil || kept["foo.amd64"] != step.want {
			t.Errorf("an install that takes %d bytes keeps %v, %v; want %q", step.grows, kept, err, step.want)
		}
	}
}

// TestInstalledSizesOfEveryArchitecture asks this machine's dpkg about a package without an architecture of its own.
func TestInstalledSizesOfEveryArchitecture(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("there is no dpkg here")
	}
	m := New(Config{Root: "/", FS: os.DirFS("/"), Exec: patch.OSExec{}})
	sizes, err := m.installedSizes(t.Context(), &patch.Plan{Changes: []patch.Change{{Name: "debconf", Arch: "all", Old: "1", New: "2"}}})
	if err != nil || sizes["debconf.all"] == 0 {
		t.Errorf("installedSizes = %v, %v; want one for debconf.all", sizes, err)
	}
}
