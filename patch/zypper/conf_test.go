package zypper

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// root is a node's file system with these files.
func root(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{"etc/os-release": {Data: []byte("NAME=SLES\nVERSION_ID=15.5\nID=sles\n")}}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func configOf(t *testing.T, files map[string]string) *config {
	t.Helper()
	m := New(system.Config{FS: root(files), Root: "/nowhere"})
	if _, err := m.Platform(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := m.readConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReadConfig(t *testing.T) {
	t.Parallel()
	c := configOf(t, map[string]string{
		"etc/zypp/zypp.conf":                       "## comment\n[main]\ncachedir = /srv/zypp\nmultiversion = provides:multiversion(kernel),oak\nsolver.allowVendorChange = false\n",
		"etc/zypp/multiversion.d/more":             "# side by side\n\nside\n",
		"etc/zypp/vars.d/mirror":                   "mirror.example\n",
		"etc/zypp/repos.d/a.repo":                  "[a]\nname=Oak $releasever for $basearch\nbaseurl=https://${mirror}/$releasever_major/\nenabled=1\npriority=90\n",
		"etc/zypp/repos.d/b.repo":                  "[off]\nenabled=0\nbaseurl=dir:///x\n[b/c]\nbaseurl=dir:///y\npath=/sub\ngpgcheck=0\n",
		"etc/zypp/repos.d/note.txt":                "[no]\n",
		"etc/zypp/repos.d/y.repo":                  "[y]\nbaseurl=cd:///\ntype=yast2\n",
		"srv/zypp/raw/b_c/sub/repodata/repomd.xml": "<repomd/>",
		"lib64/ld-linux-x86-64.so.2":               "",
	})
	type row struct {
		id, name, uri, dir, failed string
		priority                   int
		trusted                    bool
	}
	var got []row
	for _, r := range c.repos {
		got = append(got, row{r.ID, r.Name, r.URI, r.Dir, r.Failed, r.Priority, r.Trusted})
	}
	want := []row{
		{"a", "Oak 15.5 for x86_64", "https://mirror.example/15/", "", "", 90, true},
		{"b/c", "b/c", "dir:///y", "srv/zypp/raw/b_c/sub/repodata", "", 99, false},
		{"y", "y", "cd:///", "", "it is of type yast2, which has no metadata that can be read: use a repository with repodata", 99, true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("repositories (-want +got):\n%s", diff)
	}
	for name, multi := range map[string]bool{"oak": true, "side": true, "kernel-default": true, "kernel": false} {
		p := &md.Package{Name: name}
		if name == "kernel-default" {
			p.Provides = []md.Relation{{Name: "multiversion(kernel)"}}
		}
		if c.installOnly(p) != multi {
			t.Errorf("%s may be installed in several versions: %v", name, !multi)
		}
	}
}

// Trap Z7: a node without its registration has no repositories, and that is told.
func TestTrap_Z7_Unregistered(t *testing.T) {
	t.Parallel()
	files := root(map[string]string{"usr/bin/SUSEConnect": ""})
	m := New(system.Config{FS: files, Root: "/nowhere"})
	if _, err := m.Inventory(t.Context(), patch.InventoryRequest{}); err == nil || !strings.Contains(err.Error(), "no repository is enabled") {
		t.Errorf("inventory: %v", err)
	}
	if c := configOf(t, map[string]string{"usr/bin/SUSEConnect": ""}); len(c.degraded) != 1 || !strings.Contains(c.degraded[0], "not registered") {
		t.Errorf("degraded: %q", c.degraded)
	}
	m.failed = map[string]string{"a": "Permission to access 'https://x' denied. HTTP response: 403"}
	files["etc/zypp/repos.d/a.repo"] = &fstest.MapFile{Data: []byte("[a]\nbaseurl=https://x\n")}
	c, err := m.readConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	if away := c.away(&c.repos[0], &md.Package{}, &md.Package{}); away.Reason != patch.ReasonEntitlement || away.Unusable {
		t.Errorf("away: %+v", away)
	}
}

func TestVendors(t *testing.T) {
	t.Parallel()
	c := configOf(t, map[string]string{"etc/zypp/vendors.d/own": "[main]\nvendors = nvidia,Oak,openSUSE\n", "etc/zypp/vendors.d/two": "[main]\nvendors = oak,Elm\n"})
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"", "", true},
		{"Foo", "foo", true},
		{"Foo", "Foo Bar", false},
		{"", "Foo", false},
		{"SUSE LLC <https://www.suse.com/>", "SUSE Linux", true},
		{"SUSE LLC", "openSUSE", false},
		{"NVIDIA Corporation", "Oakum", true},
		{"openSUSE", "oaks", true},
		{"openSUSE Build Service", "openSUSE", false},
		{"nvidia", "Elm Street", true},
		{"Elm", "SUSE", false},
	} {
		if got := c.vendors.equivalent(tc.a, tc.b); got != tc.same || c.vendors.equivalent(tc.b, tc.a) != got {
			t.Errorf("%q and %q: %v", tc.a, tc.b, got)
		}
	}
}

// Trap Z5: every kind of lock that zypper writes is kept to, and one that is not understood is told.
func TestLocks(t *testing.T) {
	t.Parallel()
	const text = `
type: package
match_type: glob
case_sensitive: on
solvable_name: alph*

type: package
version: > 1.5
match_type: exact
case_sensitive: off
solvable_name: Gamma

repo: oaktest
type: package
match_type: substring
solvable_name: et

type: patch
match_type: glob
case_sensitive: on
solvable_name: SUSE-1

type: package
match_type: regex
solvable_name: ^(x|y)z$

type: package
install_status: installed
match_type: exact
solvable_name: here

type: package
install_status: not-installed
match_type: exact
solvable_name: there
comment: until the next release

type: package
query_string: part

type: package
solvable_provides: something
`
	c := &config{locks: parseLocks(text)}
	pkg := func(name, version string) *md.Package { return &md.Package{Name: name, Version: version, Release: "1"} }
	for name, held := range map[string]bool{"alpha": true, "Alpha": false, "gamma": false, "beta": false, "SUSE-1": false, "xz": true, "xzz": false, "something": false, "here": true, "there": false, "apart-libs": true} {
		if got := c.held(pkg(name, "1.0")); (got != "") != held {
			t.Errorf("%s 1.0 is held: %q", name, got)
		}
	}
	if c.held(pkg("gamma", "1.6")) == "" {
		t.Error("gamma 1.6 is not held")
	}
	taken := func(name, repo, version string) bool {
		for i := range c.locks {
			if c.locks[i].takes(pkg(name, version), repo) {
				return true
			}
		}
		return false
	}
	if taken("here", "oaktest", "2") || !taken("there", "oaktest", "2") {
		t.Error("locks on what is installed, or is not, are not kept to")
	}
	for i, want := range map[int]string{0: "(zypper removelock 'alph*')", 2: "(zypper removelock -r oaktest 'et')", 3: "(zypper removelock -t patch 'SUSE-1')"} {
		if got := c.locks[i].String(); !strings.HasSuffix(got, want) {
			t.Errorf("how to take it off: %s, want %s", got, want)
		}
	}
	if !taken("beta", "oaktest", "2") || taken("beta", "other", "2") || !taken("gamma", "other", "2") || taken("gamma", "other", "1.5") {
		t.Error("locks on versions or repositories are not kept to")
	}
	if c.refuses(&md.Notice{ID: "SUSE-1"}) == "" || c.refuses(&md.Notice{ID: "SUSE-2"}) != "" {
		t.Error("locks on patches are not kept to")
	}
	if last := c.locks[len(c.locks)-1]; last.strange != "solvable_provides: something" {
		t.Errorf("the last lock: %+v", last)
	}
}

// The categories and severities of patches are those that baselines name.
func TestCategories(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"Security": true, "Recommended": true, "Optional": true, "Feature": true, "Document": true, "Yast": true}
	for kind, want := range map[string]string{
		"security": "Security", "recommended": "Recommended", "bugfix": "Recommended", "optional": "Optional", "enhancement": "Optional", "newpackage": "Optional",
		"feature": "Feature", "document": "Document", "yast": "Yast",
	} {
		if got := category(kind); got != want || !known[got] {
			t.Errorf("category(%q) = %q, want %q", kind, got, want)
		}
	}
}

// openSUSE is judged as SUSE; other systems are refused.
func TestPlatform(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]baseline.OS{
		"NAME=\"openSUSE Leap\"\nID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nVERSION_ID=15.5\n": baseline.SUSE,
		"NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=12\n":                                  "",
	} {
		m := New(system.Config{FS: root(map[string]string{"etc/os-release": text}), Root: "/nowhere"})
		p, err := m.Platform(t.Context())
		if p.Node.OS != want || (err == nil) != (want != "") {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}
