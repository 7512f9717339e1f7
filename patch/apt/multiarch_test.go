package apt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// group is a name of a multi-arch archive with what is installed of it.
type group struct {
	name, version string
	archs         []string // installed: amd64, i386, all
	multi         string   // Multi-Arch, or nothing
}

func (g *group) has(arch string) bool {
	return slices.Contains(g.archs, arch) || arch == "amd64" && slices.Contains(g.archs, "all")
}

// reference draws a way to name g in a dependency of a package of an architecture that g meets as it is installed.
func (g *group) reference(r *rand.Rand, arch string) (string, bool) {
	var out []string
	if g.multi == "foreign" || g.has(arch) {
		out = append(out, g.name, g.name)
	}
	if g.multi == "allowed" {
		out = append(out, g.name+":any", g.name+":any")
	}
	for _, a := range []string{"amd64", "i386"} {
		if g.has(a) && r.IntN(4) == 0 {
			out = append(out, g.name+":"+a)
		}
	}
	if len(out) == 0 {
		return "", false
	}
	return out[r.IntN(len(out))], true
}

// randomMultiRoot draws an installation with packages of a foreign architecture and archives whose newer versions
// come for one architecture or both, move in lockstep or not, and change what they say about Multi-Arch.
func randomMultiRoot(seed uint64, aptVersion string) *synthRoot {
	r := rand.New(rand.NewPCG(seed, 386))
	root := &synthRoot{machineID: fmt.Sprintf("%032x", r.Uint64()), foreign: true}
	suites := []*synthSuite{root.suite("bookworm", releaseMain), root.suite("bookworm-updates", releaseUpdates), root.suite("bookworm-security", releaseSecurity)}
	root.install("apt", aptVersion, "Architecture: amd64\n")
	root.install("dpkg", "1.21.22", "Architecture: amd64\nEssential: yes\n")
	n := 30
	if seed%4 != 0 { // of small ones the engine is certain itself and does not ask apt
		n = 2 + r.IntN(8)
	}
	groups := make([]*group, 0, n)
	for i := range n {
		g := &group{name: fmt.Sprintf("m%02d", i), version: "1." + fmt.Sprint(r.IntN(3))}
		switch k := r.IntN(20); {
		case k < 8: // a library, mostly for both
			g.multi, g.archs = "same", [][]string{{"amd64", "i386"}, {"amd64", "i386"}, {"amd64"}, {"i386"}}[r.IntN(4)]
		case k < 11:
			g.multi, g.archs = "foreign", [][]string{{"amd64"}, {"all"}, {"i386"}}[r.IntN(3)]
		case k < 13:
			g.multi, g.archs = "allowed", [][]string{{"amd64"}, {"amd64"}, {"i386"}}[r.IntN(3)]
		default:
			g.archs = [][]string{{"amd64"}, {"all"}, {"i386"}}[r.IntN(3)]
		}
		for _, arch := range g.archs {
			fields := head(arch, g.multi)
			if i > 0 && r.IntN(2) == 0 {
				if ref, ok := groups[r.IntN(i)].reference(r, strings.Replace(arch, "all", "amd64", 1)); ok {
					fields += "Depends: " + ref + "\n"
				}
			}
			suites[0].add(g.name, g.version, fields)
			selection := "install"
			if r.IntN(14) == 0 {
				selection = "hold"
			}
			root.installAs(g.name, g.version, fields, selection)
		}
		groups = append(groups, g)
	}
	for i, g := range groups {
		for v := range 1 + r.IntN(2) {
			if r.IntN(4) == 0 {
				continue
			}
			multi, archs := g.multi, slices.Clone(g.archs)
			switch r.IntN(16) {
			case 0:
				multi = []string{"", "same", "foreign", "allowed"}[r.IntN(4)]
			case 1: // becomes, or no longer is, a package for all
				archs = [][]string{{"amd64"}, {"all"}, {"amd64", "i386"}}[r.IntN(3)]
			case 2, 3:
				archs = []string{"amd64", "i386"}
			}
			if multi == "same" && slices.Contains(archs, "all") && r.IntN(2) == 0 {
				multi = ""
			}
			suite := suites[1+r.IntN(2)]
			shared := multiFields(r, i, groups)
			phase := ""
			if suite == suites[1] && r.IntN(6) == 0 {
				phase = fmt.Sprintf("Phased-Update-Percentage: %d\n", r.IntN(100))
			}
			for _, arch := range archs {
				version := fmt.Sprintf("2.%d", v)
				switch {
				case len(archs) > 1 && r.IntN(8) == 0: // not built for this one yet
					continue
				case r.IntN(12) == 0:
					version += "+b1"
				}
				fields := shared
				if r.IntN(6) == 0 {
					fields = multiFields(r, i, groups)
				}
				suite.add(g.name, version, head(arch, multi)+fields+phase)
			}
		}
	}
	for i := range 5 { // only dependencies bring these in
		multi := []string{"", "same", "foreign", "allowed"}[r.IntN(4)]
		fields := ""
		if r.IntN(3) == 0 {
			fields = "Provides: virtual\n"
		}
		for _, arch := range [][]string{{"amd64"}, {"i386"}, {"amd64", "i386"}, {"all"}}[r.IntN(4)] {
			suites[1+r.IntN(2)].add(fmt.Sprintf("new%d", i), "1.0", head(arch, multi)+fields)
		}
	}
	root.prefs = multiPrefs(r, n)
	return root
}

func head(arch, multi string) string {
	s := "Architecture: " + arch + "\n"
	if multi != "" {
		s += "Multi-Arch: " + multi + "\n"
	}
	return s
}

func multiFields(r *rand.Rand, i int, groups []*group) string {
	other := groups[(i+1+r.IntN(len(groups)-1))%len(groups)]
	arch := []string{"", "", "", ":any", ":any", ":amd64", ":i386", ":native"}[r.IntN(8)]
	depends := ""
	switch r.IntN(10) {
	case 0:
		depends = fmt.Sprintf("new%d%s", r.IntN(5), arch)
	case 1:
		depends = "virtual" + strings.Replace(arch, ":native", "", 1)
	case 2, 3:
		depends = fmt.Sprintf("%s%s (>= 2.0)", other.name, arch)
	case 4:
		depends = fmt.Sprintf("%s%s (>= 2.%d) | new%d", other.name, arch, r.IntN(2), r.IntN(5))
	case 5:
		depends = other.name + arch
	case 6:
		if r.IntN(3) == 0 {
			depends = "absent"
		}
	}
	out := ""
	if depends != "" {
		out = "Depends: " + depends + "\n"
	}
	switch r.IntN(16) {
	case 0:
		out += fmt.Sprintf("Breaks: %s (<< 2.0)\n", other.name)
	case 1:
		out += fmt.Sprintf("Breaks: %s%s (<< 2.0)\n", other.name, []string{":amd64", ":i386", ":any"}[r.IntN(3)])
	case 2:
		out += "Provides: virtual (= 1)\n"
	case 3:
		out += fmt.Sprintf("Provides: virtual\nConflicts: virtual, %s (<< 1.1)\n", other.name)
	}
	return out
}

func multiPrefs(r *rand.Rand, n int) string {
	var b strings.Builder
	pin := func(pkg, what string, prio int) {
		fmt.Fprintf(&b, "Package: %s\nPin: %s\nPin-Priority: %d\n\n", pkg, what, prio)
	}
	for range r.IntN(4) {
		name := fmt.Sprintf("m%02d", r.IntN(n))
		switch r.IntN(6) {
		case 0:
			pin(name, "version 1.*", 600)
		case 1:
			pin(name+":i386", "version 1.*", 600)
		case 2:
			pin(name+":any", "release n=bookworm-updates", -1)
		case 3:
			pin("m1?", "release a=stable-updates", 90)
		case 4:
			pin("src:"+name, "version 2.0", 90)
		case 5:
			pin("*", "release b=i386", []int{50, 400, 600}[r.IntN(3)])
		}
	}
	return b.String()
}

// TestAgreesWithAptOnMultiArchRoots compares with the apt of three releases on roots with a foreign architecture.
func TestAgreesWithAptOnMultiArchRoots(t *testing.T) {
	bed := testbed(t)
	first, seeds := seedsFrom(t, 12)
	for _, suite := range debianSuites {
		t.Run(suite, func(t *testing.T) {
			node, root := oracleNode(t, bed, "multiarch", suite)
			debNode(t, bed, "exec", node, "--", "dpkg", "--add-architecture", "i386")
			version := debNode(t, bed, "exec", node, "--", "dpkg-query", "-W", "-f", "${Version}", "apt")
			var sum tally
			for seed := first; seed < first+seeds; seed++ {
				t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
					inside := fmt.Sprintf("/srv/seed%d", seed)
					dir := filepath.Join(root, inside)
					randomMultiRoot(seed, version).write(t, dir)
					pointApt(t, root, inside)
					res, m := scanRootIn(t, bed, node, inside, dir)
					sum.add(compare(t, res, m, inNode(t, bed, node, "APT_CONFIG="+inside+"/apt.conf")))
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				})
			}
			t.Logf("%s: apt %s, %d seeds from %d, %s", suite, version, seeds, first, sum)
			if sum.refused*4 > int(seeds) {
				t.Errorf("apt gives up on %d of %d roots: they judge nothing", sum.refused, seeds)
			}
		})
	}
}

// TestAgreesWithAptOnRealMultiArchNodes (Trap D18) scans Debian nodes with real libraries of two architectures.
func TestAgreesWithAptOnRealMultiArchNodes(t *testing.T) {
	bed := testbed(t)
	for _, suite := range []string{"bookworm"} {
		t.Run(suite, func(t *testing.T) {
			node, root := oracleNode(t, bed, "realmulti", suite)
			main := []string{"-o", "Dir::Etc::sourcelist=/etc/apt/main-only.list", "-o", "Dir::Etc::sourceparts=-"}
			in := func(args ...string) { t.Helper(); debNode(t, bed, append([]string{"exec", node, "--"}, args...)...) }
			in("dpkg", "--add-architecture", "i386")
			if out, err := inNode(t, bed, node)("apt-get", "-qq", "update"); err != nil {
				t.Logf("the mirror does not have every list of i386, so copies for amd64 wait for those of i386: %v %s", err, out)
			}
			in(append(append([]string{"apt-get", "-qq", "-y", "--allow-downgrades"}, main...), "install", "openssl", "libssl-dev", "libssl-dev:i386", "libexpat1", "libexpat1:i386")...)
			in("apt-mark", "hold", "libexpat1:i386")
			res, m := scanRoot(t, root, everything(baseline.Debian))
			sum := compare(t, res, m, inNode(t, bed, node))
			t.Logf("%s: %d packages, %s", suite, len(res.Items), sum)
			copies, pairs := map[string]bool{}, map[string]int{}
			for _, p := range m.node.order {
				copies[p.name] = copies[p.name] || p.arch == "i386"
			}
			for i := range res.Items {
				if it := &res.Items[i]; it.State == compliance.Missing && it.Arch != "all" && copies[it.Name] {
					pairs[it.Name]++
				}
			}
			if len(pairs) == 0 {
				t.Error("nothing of which a copy for i386 is installed is missing: nothing was compared")
			}
			t.Logf("missing, with a copy for i386: %v", pairs)
		})
	}
}

// ruleRoot has one pair of packages for each rule about architectures: a newer version of one speaks of the other, in
// each way and for each value of Multi-Arch. No pair touches another, so that there is one answer for each.
func ruleRoot(aptVersion string) *synthRoot {
	root := &synthRoot{machineID: strings.Repeat("1", 32), foreign: true}
	s := root.suite("bookworm-security", releaseSecurity)
	root.install("apt", aptVersion, "Architecture: amd64\n")
	root.install("dpkg", "1.21.22", "Architecture: amd64\nEssential: yes\n")
	i := 0
	for _, relation := range []string{"Depends", "Depends-virtual", "Depends-versioned-virtual", "Breaks", "Conflicts-virtual"} {
		for _, asked := range []string{"", ":any", ":amd64", ":i386", ":native"} {
			for _, multi := range []string{"", "same", "foreign", "allowed"} {
				for _, of := range []string{"amd64", "i386", "all"} {
					for _, from := range []string{"amd64", "i386", "all"} {
						field, what, _ := strings.Cut(relation, "-")
						if multi == "same" && of == "all" || field != "Depends" && asked == ":native" {
							continue // no archive has the first, and apt drops the second
						}
						i++
						one, other, name := fmt.Sprintf("a%03d", i), fmt.Sprintf("b%03d", i), ""
						fields, version := head(of, multi), ""
						switch what {
						case "":
							name = other
						case "virtual":
							name = fmt.Sprintf("v%03d", i)
							fields += "Provides: " + name + "\n"
						default:
							name, version = fmt.Sprintf("v%03d", i), " (>= 2)"
							fields += "Provides: " + name + " (= 3)\n"
						}
						root.installAs(other, "1.0", fields, "hold") // else apt may remove it to get the other one in
						root.install(one, "1.0", head(from, ""))
						s.add(one, "2.0", fmt.Sprintf("%s%s: %s%s%s\n", head(from, ""), field, name, asked, version))
					}
				}
			}
		}
	}
	for _, before := range []string{"", "same", "foreign"} { // copies for two architectures
		for _, after := range [][2]string{{"same", "same"}, {"same", ""}, {"foreign", "same"}, {"same", "none"}} {
			for _, versions := range [][2]string{{"2.0", "2.0"}, {"2.0", "2.1"}, {"2.0", "2.0+b1"}} {
				i++
				name := fmt.Sprintf("c%03d", i)
				for k, arch := range []string{"amd64", "i386"} {
					if k == 1 && before != "same" {
						continue
					}
					selection := "install"
					if k == 1 && after != [2]string{"same", "same"} { // else apt removes this copy to get the other one in
						selection = "hold"
					}
					root.installAs(name, "1.0", head(arch, before), selection)
				}
				for k, arch := range []string{"amd64", "i386"} {
					if after[k] != "none" {
						s.add(name, versions[k], head(arch, after[k]))
					}
				}
			}
		}
	}
	return root
}

// TestMultiArchRulesAgreeWithApt (Trap D18) has the engine decide alone, without asking apt, what each rule means.
func TestMultiArchRulesAgreeWithApt(t *testing.T) {
	bed := testbed(t)
	for _, suite := range debianSuites {
		t.Run(suite, func(t *testing.T) {
			node, root := oracleNode(t, bed, "rules", suite)
			debNode(t, bed, "exec", node, "--", "dpkg", "--add-architecture", "i386")
			version := debNode(t, bed, "exec", node, "--", "dpkg-query", "-W", "-f", "${Version}", "apt")
			dir := filepath.Join(root, "srv/rules")
			ruleRoot(version).write(t, dir)
			pointApt(t, root, "/srv/rules")
			m := New(Config{FS: os.DirFS(dir), Root: dir, Note: func(s string) { t.Log(s) }})
			e := patch.Engine{Manager: m, Now: time.Now}
			res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
			if err != nil {
				t.Fatal(err)
			}
			sum := compare(t, res, m, inNode(t, bed, node, "APT_CONFIG=/srv/rules/apt.conf"))
			t.Logf("%s: apt %s, %s", suite, version, sum)
			if sum.refused > 0 {
				t.Error("apt gives up: nothing was compared")
			}
		})
	}
}
