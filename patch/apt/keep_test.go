package apt

import (
	"maps"
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

// An archive may have another build of the installed version than was built here. What is kept for an undo is no other
// build, and the plan says so. dpkg writes relations in another form than archives do.
func TestAnotherBuildOfTheVersionIsNotKept(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("rebuilt", "1.0", "Installed-Size: 77\nDepends: libc\n")
	r.install("linked", "1.0", "Depends: libc (>= 1)\n")
	r.install("same", "1.0", "Depends: libc (>= 1), b | c\nConflicts: x (<= 2)\n")
	s := r.suite("s", releaseMain)
	s.add("rebuilt", "1.0", "Depends: libc\n")
	s.add("linked", "1.0", "Depends: libc (>= 2)\n")
	s.add("same", "1.0", "Depends: libc (>=1),b|c\nConflicts: x (<2)\n")
	root, dir := t.TempDir(), t.TempDir()
	r.write(t, root)
	m := New(Config{FS: os.DirFS(root), Root: root})
	var err error
	if m.node, err = load(t.Context(), &m.cfg, nil); err != nil {
		t.Fatal(err)
	}
	var text string
	for _, name := range []string{"linked", "rebuilt", "same"} {
		text += "Inst " + name + " [1.0] (1.1 Test:12.0/stable [all])\n"
		if err := os.WriteFile(filepath.Join(root, "var/cache/apt/archives", name+"_1.0_all.deb"), []byte("a package"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	plan := m.changes([]byte(text))
	kept, err := m.Keep(t.Context(), plan, dir, log)
	if want := (map[string]string{"same.all": "same_1.0_all.deb"}); err != nil || !maps.Equal(kept, want) {
		t.Errorf("kept %v, %v; want %v", kept, err, want)
	}
	for _, c := range plan.Changes {
		if c.Own != (c.Name != "same") {
			t.Errorf("%s: own build %v", c.Name, c.Own)
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
