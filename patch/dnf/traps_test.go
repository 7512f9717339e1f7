package dnf

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

func manager(files map[string]string) *Manager {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return New(system.Config{FS: root, Root: "/nonexistent"})
}

// dnf 5 is found where it is what dnf means, has words and a table of its own, and another list of locks. The table is in the
// form shown in https://github.com/rpm-software-management/dnf5/issues/1898 and .../issues/2365, the list of locks in that of
// dnf5-versionlock(8).
func TestTrap_Y8_DNF5(t *testing.T) {
	t.Parallel()
	m := manager(map[string]string{"usr/bin/dnf5": "", "etc/dnf/versionlock.toml": `version = "1.0"

[[packages]]
name = "bash"
comment = "Added by 'versionlock add' command"
[[packages.conditions]]
key = "evr"
comparator = "="
value = "0:5.2.15-5.fc39"

[[packages]]
name = "vim"
[[packages.conditions]]
key = "evr"
comparator = "!="
value = "9.1-1.fc41"
`})
	if m.tool.name != "dnf5" || m.Name() != "dnf" {
		t.Fatalf("the tool is %+v", m.tool)
	}
	args, done, err := m.command([]rpm.Order{
		{Verb: "upgrade", Name: "a", Arch: "x86_64", Version: "0:2-1"}, {Verb: "remove", Name: "b", Arch: "noarch", Version: "0:1-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if diff := cmp.Diff([]string{"do", "--action=upgrade", "a-0:2-1.x86_64", "--action=remove", "b-0:1-1.noarch"}, args); diff != "" {
		t.Errorf("several kinds at once (-want +got):\n%s", diff)
	}
	locks, err := readLocks5(func(name string) ([]byte, error) { return fs.ReadFile(m.cfg.FS, name) })
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, version, release string
		kept                   bool
	}{
		{"bash", "5.2.15", "5.fc39", false},
		{"bash", "5.2.16", "1.fc39", true},
		{"bash", "5.2.15", "50.fc39", true},
		{"vim", "9.1", "1.fc41", true},
		{"vim", "9.1", "2.fc41", false},
		{"zsh", "1", "1", false},
	} {
		p := &md.Package{Name: tc.name, Version: tc.version, Release: tc.release, Arch: "x86_64"}
		if got := locked(locks, p); (got != "") != tc.kept {
			t.Errorf("%s %s-%s: %q, want kept away: %v", tc.name, tc.version, tc.release, got, tc.kept)
		}
	}
	rows, found := readTable([]byte(`Updating and loading repositories:
Repositories loaded.
Package                      Arch   Version                 Repository      Size
Installing:
 openh264                    x86_64 2.6.0-2.fc43            fedora-cisco-openh264 1.1 MiB
   replacing noopenh264      x86_64 2.6.0-1.fc43            @commandline   39.2 KiB
Upgrading:
 efi-filesystem              noarch 5-13.fc41               updates      0.0   B
   replacing efi-filesystem  noarch 5-12.fc41               fedora       0.0   B
 qemu-img                    x86_64 2:9.1.2-1.fc41          updates     22.9 MiB
   replacing qemu-img        x86_64 2:9.1.1-2.fc41          updates     22.9 MiB

Transaction Summary:
 Installing:         1 package
 Upgrading:          2 packages
 Replacing:          3 packages
`))
	steps := []rpm.Step{
		{Action: "install", Name: "openh264", Arch: "x86_64", EVR: "2.6.0-2.fc43", Replaces: []string{"noopenh264 x86_64 2.6.0-1.fc43 @commandline 39.2 KiB"}},
		{Action: "upgrade", Name: "efi-filesystem", Arch: "noarch", EVR: "5-13.fc41", Replaces: []string{"efi-filesystem noarch 5-12.fc41 fedora 0.0 B"}},
		{Action: "upgrade", Name: "qemu-img", Arch: "x86_64", EVR: "2:9.1.2-1.fc41", Replaces: []string{"qemu-img x86_64 2:9.1.1-2.fc41 updates 22.9 MiB"}},
	}
	if diff := cmp.Diff(steps, rows); diff != "" || !found {
		t.Errorf("the table, found %v (-want +got):\n%s", found, diff)
	}
}

// Amazon Linux 2023 is read at its latest release, whatever release the node was installed with; elsewhere a lock on a
// release is kept, and told.
func TestTrap_Y10_ReleaseVersion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, version, lock, want string
		os                        baseline.OS
		options                   []string
		told                      bool
	}{
		{"amazon", "2023", "2023.1.20230628", "latest", baseline.AmazonLinux2023, []string{"--releasever=latest"}, false},
		{"locked", "8.10", "8.4", "8.4", baseline.RedHat, nil, true},
		{"its_own", "8.10", "8", "8", baseline.RedHat, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := manager(map[string]string{"usr/bin/dnf": "", "etc/dnf/vars/releasever": tc.lock + "\n"})
			m.platform = patch.Platform{Version: tc.version, Node: baseline.Node{OS: tc.os}}
			c := &config{}
			if err := m.readVars(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			if c.vars["releasever"] != tc.want || !slices.Equal(m.release(), tc.options) || (len(c.degraded) > 0) != tc.told {
				t.Errorf("releasever %q, options %v, degraded %v", c.vars["releasever"], m.release(), c.degraded)
			}
		})
	}
}

// yum 3 has its own words, a name that is too long for its column has the rest on the next line, and it is asked for wide
// lines. The form is that of yum's listTransaction, output.py of https://github.com/rpm-software-management/yum.
func TestTrap_Y16_Yum3(t *testing.T) {
	t.Parallel()
	m := manager(map[string]string{"usr/bin/yum": "", "etc/yum/pluginconf.d/versionlock.conf": "[main]\nenabled=1\n"})
	if m.tool.name != "yum3" || m.Name() != "yum" {
		t.Fatalf("the tool is %+v", m.tool)
	}
	opts, err := m.options(nil)
	if err != nil || slices.ContainsFunc(opts, func(o string) bool { return strings.Contains(o, "strict") || strings.Contains(o, "best") }) {
		t.Errorf("yum does not know these options: %v %v", opts, err)
	}
	if !slices.ContainsFunc(patch.BaseEnv(), func(e string) bool { return strings.HasPrefix(e, "COLUMNS=") }) {
		t.Error("no width is asked for")
	}
	rows, found := readTable([]byte(`Loaded plugins: fastestmirror
Resolving Dependencies
--> Running transaction check
---> Package bash.x86_64 0:4.2.46-34.el7 will be updated
--> Finished Dependency Resolution

Dependencies Resolved

================================================================================
 Package                 Arch       Version                  Repository    Size
================================================================================
Installing:
 kernel                  x86_64     3.10.0-1160.el7          base          50 M
Updating:
 bash                    x86_64     4.2.46-35.el7_9          updates      1.0 M
 java-1.8.0-openjdk-headless-with-a-name-that-is-long
                         x86_64     1:1.8.0.412.b08-1.el7_9  updates       33 M
Installing for dependencies:
 perl-libs               x86_64     4:5.16.3-299.el7_9       updates      690 k
     replacing  perl-old.x86_64 1.0-1.el7
Removing for dependencies:
 oldthing                noarch     1-1.el7                  @base        1.0 k

Transaction Summary
================================================================================
Install  1 Package (+1 Dependent package)
Upgrade  2 Packages

Exiting on user command
`))
	want := []rpm.Step{
		{Action: "install", Name: "kernel", Arch: "x86_64", EVR: "3.10.0-1160.el7"},
		{Action: "upgrade", Name: "bash", Arch: "x86_64", EVR: "4.2.46-35.el7_9"},
		{Action: "upgrade", Name: "java-1.8.0-openjdk-headless-with-a-name-that-is-long", Arch: "x86_64", EVR: "1:1.8.0.412.b08-1.el7_9"},
		{Action: "install", Name: "perl-libs", Arch: "x86_64", EVR: "4:5.16.3-299.el7_9", Replaces: []string{"perl-old.x86_64 1.0-1.el7"}},
		{Action: "remove", Name: "oldthing", Arch: "noarch", EVR: "1-1.el7"},
	}
	if diff := cmp.Diff(want, rows); diff != "" || !found {
		t.Errorf("the table, found %v (-want +got):\n%s", found, diff)
	}
	if locks := parseLocks("# Added\n0:bash-4.2.46-34.el7.*\n!1:vim-8-1.*\n"); len(locks) != 2 || locks[0].text != "bash-0:4.2.46-34.el7.*" || !locks[1].exclude {
		t.Errorf("locks: %+v", locks)
	}
}

// The mirrors of a release that has ended are named, with the reason why they were not fetched. The words are those of
// AlmaLinux's article "How to get updates after CentOS 7 end of life" of 2024-07-09.
func TestTrap_Y17_MirrorsAreGone(t *testing.T) {
	t.Parallel()
	failed, other := refreshFaults(`Loaded plugins: fastestmirror
Determining fastest mirrors
Could not retrieve mirrorlist http://mirrorlist.centos.org/?release=7&arch=x86_64&repo=os&infra=stock error was
14: curl#6 - "Could not resolve host: mirrorlist.centos.org; Unknown error"


 One of the configured repositories failed (Unknown),
 and yum doesn't have enough cached data to continue. At this point the only
 safe thing yum can do is fail.

Cannot find a valid baseurl for repo: base/7/x86_64
`, 1)
	want := map[string]string{"base": `14: curl#6 - "Could not resolve host: mirrorlist.centos.org; Unknown error"`}
	if diff := cmp.Diff(want, failed); diff != "" || len(other) != 0 {
		t.Errorf("other %q, failed (-want +got):\n%s", other, diff)
	}
}

// What dnf leaves of a transaction that is interrupted, that fails, and that comes to its end.
func TestTrap_Y5_WhetherATransactionEnded(t *testing.T) {
	t.Parallel()
	const begun = "\n$ dnf -y --downloadonly upgrade a\nComplete!\n\n$ dnf -y --setopt=best=0 upgrade a\nRunning transaction\n  Upgrading  : a-2-1.x86_64  1/2\n"
	for text, want := range map[string]bool{
		"":                                    false, // lost
		begun:                                 false,
		begun + "Complete!\n":                 true,
		begun + "Error: Transaction failed\n": true,
		begun + "\n$ dnf -y reinstall a\nComplete!\n":                     false, // a repair
		begun + "Complete!\n\n$ dnf -y upgrade b\nRunning transaction\n":  false,
		begun + "oakum: the run was interrupted\n\n$ dnf mark remove b\n": false,
	} {
		if got := completed(text); got != want {
			t.Errorf("completed is %v, want %v, of:\n%s", got, want, text)
		}
	}
}

// Words about packages that change their architecture are none about the one that is refused.
func TestWordsOfARefusal(t *testing.T) {
	t.Parallel()
	got, reason := refusal([]byte("Error: \n Problem: nothing provides x needed by a-2-1.x86_64\n"), []byte("Package nob.x86_64 available, but installed for different architecture.\n"), 1)
	if want := "Problem: nothing provides x needed by a-2-1.x86_64"; got != want || reason != patch.ReasonUnmetDependency {
		t.Errorf("refusal: %q, %q, want %q", got, reason, want)
	}
}

// What dnf says when there is no room: for metadata, and for what a transaction would unpack.
func TestWordsForNoRoom(t *testing.T) {
	t.Parallel()
	if failed, other := refreshFaults("[Errno 28] No space left on device\n", 1); len(failed) > 0 || !slices.Equal(other, []string{"not refreshed: [Errno 28] No space left on device; makecache ended with 1"}) {
		t.Errorf("refreshFaults: %v, %q", failed, other)
	}
	got := complaint("Running transaction test\nError: Transaction test error:\n  installing package a-2-1.x86_64 needs 4KB more space on the /usr filesystem\n\n", 1)
	if want := "installing package a-2-1.x86_64 needs 4KB more space on the /usr filesystem"; got != want || !rpm.NoRoom(got) || rpm.NoRoom("nothing provides more") {
		t.Errorf("complaint: %q, want %q", got, want)
	}
}
