//go:build linux

package acceptance

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/pkgver"
)

// randomSUSE is a generated repository for a node with zypper.
type randomSUSE struct {
	lines     strings.Builder
	versions  map[string][]string // by name, ascending
	arch      map[string]string
	vendor    map[string]string // by name and EVR
	installed map[string]string
	patches   map[string]susePatch
}

type susePatch struct {
	category string
	packages map[string]string // name to EVR
}

func newRandomSUSE(r *rand.Rand) *randomSUSE {
	x := &randomSUSE{
		versions: map[string][]string{}, arch: map[string]string{}, vendor: map[string]string{}, installed: map[string]string{}, patches: map[string]susePatch{},
	}
	count := 14 + r.IntN(10)
	name := func(i int) string { return fmt.Sprintf("oaks%02d", i) }
	vendors := []string{"SUSE LLC <https://www.suse.com/>", "SUSE LLC <https://www.suse.com/>", "SUSE Linux", "openSUSE", "Oak"}
	for i := range count {
		n := name(i)
		x.arch[n] = []string{"x86_64", "x86_64", "noarch"}[r.IntN(3)]
		at := r.IntN(4)
		for range 1 + r.IntN(4) {
			if at >= len(evrs) {
				break
			}
			x.versions[n] = append(x.versions[n], evrs[at])
			x.vendor[n+" "+evrs[at]] = vendors[r.IntN(len(vendors))]
			at += 1 + r.IntN(3)
		}
		if i%7 != 6 {
			x.installed[n] = x.versions[n][0]
		}
	}
	for i := range count {
		n := name(i)
		for k, evr := range x.versions[n] {
			line := fmt.Sprintf("package %s %s %s vendor=%q", n, evr, x.arch[n], x.vendor[n+" "+evr])
			if k > 0 { // what is there from the start needs nothing
				other := name(r.IntN(count))
				have := x.versions[other]
				switch r.IntN(14) {
				case 0:
					line += fmt.Sprintf(` requires="%s >= %s"`, other, have[r.IntN(len(have))])
				case 1:
					line += ` requires="oak-nobody"`
				case 2:
					if other != n {
						line += fmt.Sprintf(` conflicts="%s < %s"`, other, have[len(have)-1])
					}
				case 3:
					line += ` provides="retracted-patch-package()"`
				case 4:
					if other != n && x.installed[other] == "" {
						line += fmt.Sprintf(` obsoletes="%s"`, other)
					}
				}
			}
			x.lines.WriteString(line + "\n")
		}
	}
	types := []string{"security severity=critical", "security severity=important", "security severity=low", "recommended severity=moderate", "optional severity=low", "feature severity=low", "bugfix", "enhancement"}
	for i := range count + r.IntN(count) {
		p := susePatch{packages: map[string]string{}}
		kind := types[r.IntN(len(types))]
		p.category, _, _ = strings.Cut(kind, " ")
		var names []string
		for range 1 + r.IntN(3) { // several packages in a patch
			n := name(r.IntN(count))
			if p.packages[n] != "" {
				continue
			}
			p.packages[n] = x.versions[n][r.IntN(len(x.versions[n]))]
			names = append(names, n+"-"+p.packages[n]+"."+x.arch[n])
		}
		id := fmt.Sprintf("OAK-%04d", i)
		more := []string{"", "", " reboot=yes", " restart=yes"}[r.IntN(4)]
		fmt.Fprintf(&x.lines, "advisory %s type=%s issued=2026-0%d-10 cves=CVE-2026-%04d%s packages=%s\n", id, kind, 1+r.IntN(9), 1000+i, more, strings.Join(names, ","))
		x.patches[id] = p
	}
	x.lines.WriteString("advisory OAK-9999 type=security severity=critical issued=2026-01-10 packages=oaknobody-9-9.x86_64\n") // of nothing that there is
	return x
}

// TestAgreesWithZypper compares, on random repositories, what a scan says with what zypper says: which updates there are,
// which patches are needed and what they have to do with packages, and which updates go in together. Trap Z9.
func TestAgreesWithZypper(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes half a minute")
	}
	t.Parallel()
	for _, seed := range randomSeeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { agreeWithZypper(t, seed) })
	}
}

func agreeWithZypper(t *testing.T, seed uint64) {
	x := newRandomSUSE(rand.New(rand.NewPCG(seed, 5)))
	r := newRPMRepo(t, x.lines.String())
	var install []string
	for _, n := range slices.Sorted(maps.Keys(x.installed)) {
		install = append(install, n+"."+x.arch[n]+"="+x.installed[n])
	}
	n := r.suseNode(t, fmt.Sprintf("zagree%d", seed%1000), strings.Join(install, " "))
	for name, classes := range map[string]string{"everything": `"*"`, "security": `"Security"`} {
		writeFile(t, filepath.Join(n.root, "root", name+".json"), suseRules(classes))
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, x.lines.String())
		}
	}()
	all, _ := n.scan("--baseline", "/root/everything.json")
	// Which updates there are: zypper list-updates, which leaves out what its solver would not install by itself.
	listed := map[string]string{}
	for _, u := range n.zypperList("list-updates") {
		listed[u.Name] = u.Edition
	}
	var free []string
	for _, it := range all.Items {
		version := bare(it.AvailableVersion)
		switch {
		case it.State != "Missing":
			continue
		case it.Reason == "":
			free = append(free, it.Name+it.ID[strings.LastIndexByte(it.ID, '.'):]+"="+version)
			if listed[it.Name] != version {
				t.Errorf("%s %s is missing, and zypper lists %q", it.ID, version, listed[it.Name])
			}
		case it.Reason == "vendor":
			// A documented difference: zypper says nothing of what it keeps away, a result does, with the reason.
			if x.takes(it.Name, version) {
				t.Errorf("%s %s may take the installed one's place: %s", it.ID, version, it.Detail)
			}
			if listed[it.Name] != "" {
				t.Errorf("%s %s is kept away (%s), and zypper lists %s", it.ID, version, it.Detail, listed[it.Name])
			}
		// zypper lists what goes in alone, though not beside the others; and a lower version where the newest does not go in. Of
		// an RPM system only the newest approved version is a target, here as in the original.
		case listed[it.Name] != "" && pkgver.RPM(listed[it.Name], version) > 0:
			t.Errorf("%s %s is %s, and zypper lists %s", it.ID, version, it.Reason, listed[it.Name])
		}
		delete(listed, it.Name)
	}
	if len(listed) > 0 {
		t.Errorf("zypper lists and the scan does not: %v", listed)
	}
	// Which patches are needed: those that name a package above the installed one, for which there is a version that is new
	// enough and of a vendor that may take the installed one's place.
	needed := map[string]string{}
	for _, u := range n.zypperList("list-patches", "--with-optional") {
		if u.Status == "needed" || u.Status == "optional" {
			needed[u.Name] = u.Category
		}
	}
	named := map[string]string{}
	for id, p := range x.patches {
		for name, evr := range p.packages {
			if have := x.installed[name]; have != "" && pkgver.RPM(evr, have) > 0 && x.mends(name, evr) {
				named[id] = p.category
			}
		}
	}
	if diff := cmp.Diff(needed, named); diff != "" {
		t.Errorf("needed patches (-zypper +of the repository):\n%s", diff)
	}
	// And of those the security patches: each of their packages that can be had is missing, and nothing else is.
	sec, _ := n.scan("--baseline", "/root/security.json")
	targets := map[string]string{}
	for _, it := range sec.Items {
		if it.State == "Missing" && it.Reason != "vendor" {
			targets[it.Name] = bare(it.AvailableVersion)
		}
	}
	newest := map[string]string{}
	for id, category := range needed {
		if category != "security" {
			continue
		}
		for name, evr := range x.patches[id].packages {
			took := x.takes(name, evr)
			if have := x.installed[name]; have != "" && pkgver.RPM(evr, have) > 0 && took && (newest[name] == "" || pkgver.RPM(evr, newest[name]) > 0) {
				newest[name] = evr
			}
		}
	}
	if diff := cmp.Diff(newest, targets); diff != "" {
		t.Errorf("security updates (-zypper's patches +oakum):\n%s", diff)
	}
	n.zypperTakes(free, all)
}

// takes reports whether zypper's candidates may be a version: it is not retracted and its vendor may take the installed
// one's place.
func (x *randomSUSE) takes(name, evr string) bool {
	for line := range strings.Lines(x.lines.String()) {
		if strings.HasPrefix(line, "package "+name+" "+evr+" ") && strings.Contains(line, "retracted-patch-package()") {
			return false
		}
	}
	return x.sameVendor(name, evr)
}

// mends reports whether there is a version that does for a patch what one that it names does.
func (x *randomSUSE) mends(name, evr string) bool {
	return slices.ContainsFunc(x.versions[name], func(v string) bool { return pkgver.RPM(v, evr) >= 0 && x.sameVendor(name, v) })
}

// sameVendor reports whether a version's vendor may take the place of the installed one's.
func (x *randomSUSE) sameVendor(name, evr string) bool {
	group := func(evr string) string {
		if v := x.vendor[name+" "+evr]; !strings.HasPrefix(v, "SUSE") {
			return v
		}
		return "suse"
	}
	return group(evr) == group(x.installed[name])
}

// zypperTakes asks zypper to install exactly what a scan calls missing without a reason, and then each of the others beside
// it.
func (n *debNode) zypperTakes(free []string, s nodeScan) {
	t := n.t
	t.Helper()
	plan := func(specs []string) (text string, removes, ok bool) {
		out, _ := n.output(append([]string{"zypper", "--xmlout", "--non-interactive", "--no-refresh", "install", "--dry-run", "--name", "--no-recommends", "--"}, specs...)...) // ends with 4 when it may not
		text = string(out)
		return text, strings.Contains(text, "<to-remove>"), strings.Contains(text, "<install-summary")
	}
	if len(free) > 0 {
		if text, removes, ok := plan(free); !ok || removes {
			t.Errorf("zypper would not install %v together:\n%s", free, text)
		}
	}
	for _, it := range s.Items {
		if it.State != "Missing" || it.Reason == "" || it.Reason == "vendor" {
			continue
		}
		spec := it.Name + it.ID[strings.LastIndexByte(it.ID, '.'):] + "=" + bare(it.AvailableVersion)
		if text, removes, ok := plan(append(slices.Clone(free), spec)); ok && !removes {
			t.Errorf("%s is %s (%s), and zypper would install it beside the others:\n%s", spec, it.Reason, it.Detail, text)
		}
	}
}
