package apt

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A synthetic root is the part of a Debian root that apt and we read: sources, preferences, lists as apt leaves them
// after an update, dpkg's status. No .deb is needed to decide what would be installed.
type synthRoot struct {
	suites    map[string]*synthSuite
	status    strings.Builder
	prefs     string
	conf      string
	machineID string
	installed []string
	foreign   bool // i386 was added to dpkg's architectures, and the archives have it
}

type synthSuite struct {
	release  string // fields of the Release file beyond Codename
	packages strings.Builder
	i386     strings.Builder // the list of the foreign architecture
	unsigned bool
}

func (r *synthRoot) suite(name, release string) *synthSuite {
	if r.suites == nil {
		r.suites = map[string]*synthSuite{}
	}
	if r.suites[name] == nil {
		r.suites[name] = &synthSuite{release: release}
	}
	return r.suites[name]
}

// stanza writes a package; fields is "Key: value\n" text.
func (s *synthSuite) add(name, version, fields string) {
	fields = withDefaults(fields)
	text := fmt.Sprintf("Package: %s\nVersion: %s\n%sFilename: pool/%s_%s.deb\nSize: 1000\nMD5sum: d41d8cd98f00b204e9800998ecf8427e\nDescription: x\n\n",
		name, version, fields, name, version)
	if !strings.Contains("\n"+fields, "\nArchitecture: i386\n") {
		s.packages.WriteString(text)
	}
	if !strings.Contains("\n"+fields, "\nArchitecture: amd64\n") { // what is for all stands in every list
		s.i386.WriteString(text)
	}
}

func withDefaults(fields string) string {
	for _, d := range []string{"Architecture: all", "Priority: optional", "Section: misc", "Installed-Size: 10", "Maintainer: T <t@example.com>"} {
		key, _, _ := strings.Cut(d, ":")
		if !strings.Contains("\n"+fields, "\n"+key+":") {
			fields += d + "\n"
		}
	}
	return fields
}

func (r *synthRoot) install(name, version, fields string) {
	r.installAs(name, version, fields, "install")
}

func (r *synthRoot) installAs(name, version, fields, selection string) {
	fmt.Fprintf(&r.status, "Package: %s\nStatus: %s ok installed\nVersion: %s\n%sDescription: x\n\n", name, selection, version, withDefaults(fields))
	r.installed = append(r.installed, name)
}

// write puts the root into dir.
func (r *synthRoot) write(t *testing.T, dir string) {
	t.Helper()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var sources strings.Builder
	names := make([]string, 0, len(r.suites))
	for name := range r.suites {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := r.suites[name]
		fmt.Fprintf(&sources, "deb http://archive.example.com/debian %s main\n", name)
		prefix := "var/lib/apt/lists/archive.example.com_debian_dists_" + name + "_"
		rel := "Codename: " + name + "\nDate: Sat, 14 Nov 2026 10:00:00 UTC\nArchitectures: amd64 i386 all\nComponents: main\n" + s.release
		if s.unsigned {
			put(prefix+"Release", rel)
		} else {
			put(prefix+"InRelease", rel)
		}
		put(prefix+"main_binary-amd64_Packages", s.packages.String())
		if r.foreign {
			put(prefix+"main_binary-i386_Packages", s.i386.String())
		}
	}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/dpkg/info", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "usr/lib/dpkg"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/os-release", "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n")
	put("etc/machine-id", r.machineID+"\n")
	put("etc/apt/sources.list", sources.String())
	put("etc/apt/preferences", r.prefs)
	put("etc/apt/apt.conf.d/90test", r.conf)
	put("var/lib/dpkg/status", r.status.String())
	archs := "amd64\n"
	if r.foreign {
		archs += "i386\n"
	}
	put("var/lib/dpkg/arch", archs)
}

const (
	releaseMain     = "Origin: Test\nLabel: Test\nSuite: stable\nVersion: 12.0\n"
	releaseUpdates  = "Origin: Test\nLabel: Test\nSuite: stable-updates\nVersion: 12\n"
	releaseSecurity = "Origin: Test\nLabel: Test-Security\nSuite: stable-security\nVersion: 12\n"
	releaseBackport = "Origin: Test\nLabel: Backports\nSuite: stable-backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n"
	releaseFuture   = "Origin: Test\nLabel: Test\nSuite: experimental\nNotAutomatic: yes\n"
)

// randomRoot draws a consistent installation and archives that offer newer versions with dependencies, conflicts,
// provides, pins, holds and phases.
func randomRoot(seed uint64, aptVersion string) *synthRoot {
	r := rand.New(rand.NewPCG(seed, 99))
	root := &synthRoot{machineID: fmt.Sprintf("%032x", r.Uint64())}
	suites := []*synthSuite{
		root.suite("bookworm", releaseMain), root.suite("bookworm-updates", releaseUpdates), root.suite("bookworm-security", releaseSecurity),
		root.suite("bookworm-backports", releaseBackport), root.suite("experimental", releaseFuture),
	}
	const n = 40
	root.install("apt", aptVersion, "")
	root.install("dpkg", "1.21.22", "Architecture: amd64\nEssential: yes\n")
	for i := range n {
		name := fmt.Sprintf("p%02d", i)
		base := fmt.Sprintf("1.%d", r.IntN(3))
		fields := ""
		if i > 0 && r.IntN(2) == 0 {
			fields += fmt.Sprintf("Depends: p%02d (>= 1.0)\n", r.IntN(i))
		}
		suites[0].add(name, base, fields)
		selection := "install"
		if r.IntN(12) == 0 {
			selection = "hold"
		}
		root.installAs(name, base, fields, selection)
		for v := range 1 + r.IntN(2) {
			if r.IntN(5) < 2 {
				continue
			}
			version := fmt.Sprintf("2.%d", v)
			suite := suites[1+r.IntN(2)]
			if r.IntN(8) == 0 {
				suite = suites[3+r.IntN(2)]
			}
			fields := newFields(r, i, n)
			if suite == suites[1] && r.IntN(3) == 0 {
				fields += fmt.Sprintf("Phased-Update-Percentage: %d\n", r.IntN(100))
			}
			suite.add(name, version, fields)
			if suite == suites[1] && r.IntN(6) == 0 {
				suites[2].add(name, version, fields)
			}
		}
	}
	for i := range 6 { // packages that only a dependency brings in
		fields := ""
		if r.IntN(3) == 0 {
			fields = "Provides: virtual\n"
		}
		if r.IntN(4) == 0 {
			fields += fmt.Sprintf("Depends: p%02d (>= 2.0)\n", r.IntN(n))
		}
		if r.IntN(6) == 0 {
			fields += fmt.Sprintf("Conflicts: p%02d (<< 2.0)\n", r.IntN(n))
		}
		suites[1+r.IntN(2)].add(fmt.Sprintf("new%d", i), "1.0", fields)
	}
	root.prefs = randomPrefs(r, n)
	if r.IntN(5) == 0 {
		root.conf = "APT::Default-Release \"stable\";\n"
	}
	return root
}

func newFields(r *rand.Rand, i, n int) string {
	var deps []string
	switch r.IntN(8) {
	case 0:
		deps = append(deps, fmt.Sprintf("new%d", r.IntN(6)))
	case 1:
		deps = append(deps, "virtual")
	case 2:
		deps = append(deps, fmt.Sprintf("p%02d (>= 2.0)", r.IntN(n)))
	case 3:
		deps = append(deps, fmt.Sprintf("p%02d (>= 2.%d) | new%d", r.IntN(n), r.IntN(2), r.IntN(6)))
	case 4:
		if r.IntN(3) == 0 {
			deps = append(deps, "absent")
		}
	}
	out := ""
	if len(deps) > 0 {
		out += "Depends: " + strings.Join(deps, ", ") + "\n"
	}
	switch r.IntN(14) {
	case 0:
		out += fmt.Sprintf("Breaks: p%02d (<< 2.0)\n", (i+1+r.IntN(n-1))%n)
	case 1:
		out += "Provides: virtual (= 1)\n"
	}
	return out
}

func randomPrefs(r *rand.Rand, n int) string {
	var b strings.Builder
	pin := func(pkg, what string, prio int) {
		fmt.Fprintf(&b, "Package: %s\nPin: %s\nPin-Priority: %d\n\n", pkg, what, prio)
	}
	for range r.IntN(5) {
		name := fmt.Sprintf("p%02d", r.IntN(n))
		switch r.IntN(7) {
		case 0:
			pin(name, "version 1.*", 600)
		case 1:
			pin(name, "release n=bookworm-security", -1)
		case 2:
			pin("p1?", "release a=stable-updates", 90)
		case 3:
			pin("/^p2[0-4]$/", "release l=Test", 400+r.IntN(300))
		case 4:
			pin("src:"+name, "version 2.0", 990)
		case 5:
			pin("*", "release n=bookworm-updates", []int{-5, 50, 100, 700}[r.IntN(4)])
		case 6:
			pin("p30 p31 p3[2-5]", "origin archive.example.com", []int{-1, 300, 900}[r.IntN(3)])
		}
	}
	return b.String()
}
