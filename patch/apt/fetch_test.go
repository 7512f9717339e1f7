package apt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// TestForeignSettingsStartNothing has real apt read what it is pointed at for a foreign root: what bears on the solution
// is there, and what names programs is not.
func TestForeignSettingsStartNothing(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("/usr/bin/apt-config"); err != nil {
		t.Skipf("apt is not installed: %v", err)
	}
	root := t.TempDir()
	evil := `APT::Default-Release "bookworm";
APT::Get::Always-Include-Phased-Updates "true";
APT::Solver "sh";
Dir::Bin::Solvers "/bin";
Dir::Bin::dpkg "/tmp/program";
DPkg::Pre-Invoke { "touch /tmp/ran"; };
APT::Update::Pre-Invoke { "touch /tmp/ran"; };
APT::Get::Odd "a` + "`touch /tmp/ran`" + `";
#clear DPkg::Chroot-Directory;
`
	if err := os.MkdirAll(filepath.Join(root, "etc/apt/apt.conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/apt/apt.conf.d/00evil"), []byte(evil), 0o644); err != nil {
		t.Fatal(err)
	}
	c, _, err := readConf(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	m := New(system.Config{Root: root})
	m.node = &node{conf: c}
	env, done, err := m.pointAt("amd64", []string{"amd64", "i386"})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/apt-config", "dump")
	cmd.Env = append(patch.BaseEnv(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dump := string(out)
	for _, want := range []string{
		`APT::Default-Release "bookworm";`, `APT::Get::Always-Include-Phased-Updates "true";`, `APT::Architectures:: "i386";`,
		`DPkg::Chroot-Directory "` + root + `/";`, `Dir::State::status "` + root + `/var/lib/dpkg/status";`,
	} {
		if !strings.Contains(strings.ToLower(dump), strings.ToLower(want)) {
			t.Errorf("apt does not see %s", want)
		}
	}
	for _, bad := range []string{"touch", `APT::Solver "sh"`, "/tmp/program", `Dir::Bin::Solvers "/bin"`} {
		if strings.Contains(dump, bad) {
			t.Errorf("apt sees %q of the foreign root", bad)
		}
	}
}

// TestForeignSources takes over addresses of the web, with their keys, and nothing that apt would read or start here.
func TestForeignSources(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
	f := &fetching{dir: t.TempDir(), n: &node{conf: conf{}, cfg: &system.Config{FS: fstest.MapFS{
		"etc/apt/sources.list":                  {Data: []byte("deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg,/usr/share/keyrings/b.asc] https://a.example.com/debian x main\n")},
		"etc/apt/sources.list.d/here.list":      {Data: []byte("deb http://b.example.com/debian x main\ndeb file:/etc x main\n")},
		"etc/apt/sources.list.d/ssh.list":       {Data: []byte("deb ssh://root@c.example.com/debian x main\n")},
		"etc/apt/sources.list.d/new.sources":    {Data: []byte("Types: deb\nURIs: http://d.example.com/debian\nSuites: x\nComponents: main\nSigned-By: /usr/share/keyrings/a.gpg\n")},
		"etc/apt/sources.list.d/inline.sources": {Data: []byte("Types: deb\nURIs: http://e.example.com/debian\nSuites: x\nComponents: main\nSigned-By:\n " + key)},
		"usr/share/keyrings/a.gpg":              {Data: []byte("A")},
		"usr/share/keyrings/b.asc":              {Data: []byte("B")},
	}}}}
	for _, d := range []string{"keys", "sources"} {
		if err := os.Mkdir(filepath.Join(f.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.sources(); err != nil {
		t.Fatal(err)
	}
	all := ""
	files, err := filepath.Glob(filepath.Join(f.dir, "sources", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all += string(b)
	}
	for _, want := range []string{"[arch=amd64 signed-by=" + f.dir + "/keys/0000.gpg," + f.dir + "/keys/0001.asc] https://a", "Signed-By: " + f.dir + "/keys/000", "Signed-By:\n " + key} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	for _, bad := range []string{"file:", "ssh:", "/usr/share", "b.example.com"} {
		if strings.Contains(all, bad) {
			t.Errorf("%q is in\n%s", bad, all)
		}
	}
	if len(f.failed) != 2 || !strings.Contains(f.failed[0], "file:/etc is not an address of the web") {
		t.Errorf("failed = %v", f.failed)
	}
}
