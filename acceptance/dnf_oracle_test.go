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

// randomRPM is a generated repository: packages with versions in ascending order, of which the first is installed.
type randomRPM struct {
	lines     strings.Builder
	versions  map[string][]string // by name: EVRs
	arch      map[string]string
	installed map[string]string // name to EVR
	security  map[string]bool   // NEVRAs that a notice of type security names
}

// evrs are versions that differ in every way that rpm knows, ascending.
var evrs = []string{"1.0~rc1-1.el9", "1.0-1.el9", "1.0-1.el9_1", "1.0-2.el9", "1.0^20260101git-1.el9", "1.0.1-1.el9", "1.9-1.el9", "1.10-1.el9", "1.10-10.el9", "2.0-1.el9", "1:0.5-1.el9", "1:0.6-3.el9", "2:0.1-1.el9"}

func newRandomRPM(r *rand.Rand) *randomRPM {
	x := &randomRPM{versions: map[string][]string{}, arch: map[string]string{}, installed: map[string]string{}, security: map[string]bool{}}
	count := 14 + r.IntN(10)
	name := func(i int) string { return fmt.Sprintf("oakr%02d", i) }
	for i := range count {
		n := name(i)
		x.arch[n] = []string{"x86_64", "x86_64", "noarch"}[r.IntN(3)]
		at := r.IntN(4)
		for range 1 + r.IntN(4) {
			if at >= len(evrs) {
				break
			}
			x.versions[n] = append(x.versions[n], evrs[at])
			at += 1 + r.IntN(3)
		}
		if i%7 != 6 { // a few are not installed
			x.installed[n] = x.versions[n][0]
		}
	}
	types := []string{"security severity=Critical", "security severity=Important", "security severity=Low", "bugfix", "enhancement", "security severity=Moderate", "newpackage"}
	id := 0
	for i := range count {
		n := name(i)
		for k, evr := range x.versions[n] {
			line := fmt.Sprintf("package %s %s %s", n, evr, x.arch[n])
			if k > 0 { // what is there from the start needs nothing
				other := name(r.IntN(count))
				have := x.versions[other]
				switch r.IntN(14) {
				case 5: // an expression
					line += fmt.Sprintf(` requires="(%s >= %s with %s < %s)"`, other, have[0], other, have[len(have)-1])
				case 6: // a file, which only one version has
					line += fmt.Sprintf(` requires="/usr/share/oaktest/%s-%s"`, other, have[0][strings.IndexByte(have[0], ':')+1:])
				case 0: // the same version of another package, or a newer one
					line += fmt.Sprintf(` requires="%s >= %s"`, other, have[r.IntN(len(have))])
				case 1:
					line += ` requires="oak-nobody"`
				case 2:
					if other != n {
						line += fmt.Sprintf(` conflicts="%s < %s"`, other, have[len(have)-1])
					}
				case 3:
					line += fmt.Sprintf(` requires="%s"`, other)
				case 4:
					if other != n && x.installed[other] == "" {
						line += fmt.Sprintf(` obsoletes="%s"`, other)
					}
				}
			}
			x.lines.WriteString(line + "\n")
			for range r.IntN(3) { // none, one or two notices
				id++
				kind := types[r.IntN(len(types))]
				nevra := n + "-" + evr + "." + x.arch[n]
				fmt.Fprintf(&x.lines, "advisory OAK-%04d type=%s issued=2026-0%d-10 cves=CVE-2026-%04d packages=%s\n", id, kind, 1+r.IntN(9), 1000+id, nevra)
				if strings.HasPrefix(kind, "security") {
					x.security[x.key(n)+" "+full(evr)] = true
				}
			}
		}
	}
	id++
	fmt.Fprintf(&x.lines, "advisory OAK-%04d type=security severity=Critical issued=2026-01-10 packages=oaknobody-9-9.x86_64\n", id) // of nothing that there is
	return x
}

func (x *randomRPM) key(name string) string { return name + "." + x.arch[name] }

func full(evr string) string {
	if strings.Contains(evr, ":") {
		return evr
	}
	return "0:" + evr
}

// bare is a version as dnf shows it.
func bare(text string) string { return strings.TrimPrefix(text, "0:") }

const everythingRPM = `{"OperatingSystem":"REDHAT_ENTERPRISE_LINUX","Name":"everything","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[]},"ApproveAfterDays":0,"EnableNonSecurity":true}]}}`

const securityRPM = `{"OperatingSystem":"REDHAT_ENTERPRISE_LINUX","Name":"security","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"CLASSIFICATION","Values":["Security"]}]},"ApproveAfterDays":0}]}}`

// TestAgreesWithDNF compares, on random repositories, what a scan says with what dnf says: which updates there are, which
// of them security notices name, and which go in together.
func TestAgreesWithDNF(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute")
	}
	t.Parallel()
	for _, seed := range randomSeeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { agreeWithDNF(t, seed) })
	}
}

func agreeWithDNF(t *testing.T, seed uint64) {
	x := newRandomRPM(rand.New(rand.NewPCG(seed, 4)))
	r := newRPMRepo(t, x.lines.String())
	var install []string
	for _, n := range slices.Sorted(maps.Keys(x.installed)) {
		install = append(install, n+"-"+full(x.installed[n])+"."+x.arch[n])
	}
	n := r.node(t, fmt.Sprintf("agree%d", seed%1000), "rhel9", strings.Join(install, " "))
	for name, text := range map[string]string{"everything": everythingRPM, "security": securityRPM} {
		writeFile(t, filepath.Join(n.root, "root", name+".json"), text)
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, x.lines.String())
		}
	}()
	all, _ := n.scan("--baseline", "/root/everything.json")
	// Which updates there are: dnf check-update.
	out, _ := n.run("dnf", "-q", "-C", "check-update") // its exit code says whether there are any
	want := map[string]string{}
	obsoleted := map[string]bool{}
	section := false
	for line := range strings.Lines(out) {
		w := strings.Fields(line)
		section = section || strings.HasPrefix(line, "Obsoleting Packages")
		switch {
		case section && strings.HasPrefix(line, "    ") && len(w) == 3:
			obsoleted[w[0]] = true
		case !section && len(w) == 3:
			want[w[0]] = w[1]
		}
	}
	have := map[string]string{}
	for _, it := range all.Items {
		if it.Reason == "obsoleted" != obsoleted[it.ID] && it.AvailableVersion == "" {
			t.Errorf("%s: %s %s, dnf lists it as obsoleted: %v", it.ID, it.State, it.Reason, obsoleted[it.ID])
		}
		if it.AvailableVersion != "" {
			have[it.ID] = bare(it.AvailableVersion)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("available updates (-dnf +oakum):\n%s", diff)
	}
	// Which go in together: dnf's solver takes all that have no reason, and none of the others beside them.
	n.goesIn(all)
	// Security: the newest offered version that a security notice names. dnf's own words for that: updateinfo.
	sec, _ := n.scan("--baseline", "/root/security.json")
	newest := map[string]string{}
	out = n.mustRun("dnf", "-q", "-C", "updateinfo", "list", "--updates", "--security")
	for line := range strings.Lines(out) {
		w := strings.Fields(line)
		if len(w) != 3 {
			continue
		}
		name := w[2][:6] + "." + w[2][strings.LastIndexByte(w[2], '.')+1:]
		evr := w[2][7:strings.LastIndexByte(w[2], '.')]
		if newest[name] == "" || pkgver.RPM(evr, newest[name]) > 0 {
			newest[name] = evr
		}
	}
	targets := map[string]string{}
	for _, it := range sec.Items {
		if it.State == "Missing" {
			targets[it.ID] = bare(it.AvailableVersion)
			if !x.security[it.ID+" "+it.AvailableVersion] {
				t.Errorf("%s %s is missing, and no security notice names it", it.ID, it.AvailableVersion)
			}
		}
	}
	if diff := cmp.Diff(newest, targets); diff != "" {
		t.Errorf("security updates (-dnf updateinfo +oakum):\n%s", diff)
	}
	n.goesIn(sec)
	// upgrade-minimal stops at the lowest version that mends: Oakum takes the newest approved one, of the same packages.
	out, _ = n.run("dnf", "-C", "--assumeno", "upgrade-minimal", "--security") // dnf ends with 1 when it may not
	for _, row := range dnfTable(out) {
		id := row[0] + "." + row[1]
		if _, installed := x.installed[row[0]]; !installed {
			continue
		}
		if targets[id] != "" && pkgver.RPM(row[2], targets[id]) > 0 {
			t.Errorf("upgrade-minimal takes %s %s, the target is %s", id, row[2], targets[id])
		}
	}
}

// goesIn asks dnf to install exactly what a scan calls missing without a reason, and then each of the others beside it.
func (n *debNode) goesIn(s nodeScan) {
	t := n.t
	t.Helper()
	var specs []string
	var blocked []struct{ id, spec, reason string }
	for _, it := range s.Items {
		if it.State != "Missing" {
			continue
		}
		spec := it.Name + "-" + it.AvailableVersion + it.ID[strings.LastIndexByte(it.ID, '.'):]
		if it.Reason == "" {
			specs = append(specs, spec)
		} else {
			blocked = append(blocked, struct{ id, spec, reason string }{it.ID, spec, it.Reason + ": " + it.Detail})
		}
	}
	plan := func(specs []string) map[string]string {
		out, _ := n.run(append([]string{"dnf", "-C", "--assumeno", "--setopt=best=0", "--setopt=strict=1", "--setopt=install_weak_deps=0", "upgrade"}, specs...)...) // ends with 1 when it may not
		got := map[string]string{}
		for _, row := range dnfTable(out) {
			got[row[0]+"-"+full(row[2])+"."+row[1]] = row[3]
		}
		return got
	}
	if len(specs) > 0 {
		got := plan(specs)
		for _, s := range specs {
			if _, ok := got[s]; !ok {
				t.Errorf("dnf would not install %s beside the others: %v", s, got)
			}
		}
		for s, action := range got {
			if strings.HasPrefix(action, "Removing") {
				t.Errorf("dnf would remove %s", s)
			}
		}
	}
	for _, b := range blocked {
		if got := plan(append(slices.Clone(specs), b.spec)); len(got) > 0 {
			if _, ok := got[b.spec]; ok && !slices.ContainsFunc(slices.Collect(maps.Values(got)), func(a string) bool { return strings.HasPrefix(a, "Removing") }) {
				t.Errorf("%s is %s, and dnf would install it beside the others: %v", b.spec, b.reason, got)
			}
		}
	}
}

// dnfTable reads the rows of dnf's table: name, architecture, version, heading.
func dnfTable(out string) [][4]string {
	var rows [][4]string
	heading := ""
	for line := range strings.Lines(out) {
		switch w := strings.Fields(line); {
		case strings.HasPrefix(line, "Transaction Summary"):
			return rows
		case len(line) > 1 && line[0] != ' ' && strings.HasSuffix(strings.TrimSpace(line), ":"):
			heading = strings.TrimSuffix(strings.TrimSpace(line), ":")
		case heading != "" && !strings.HasPrefix(heading, "Skipping") && !strings.HasPrefix(heading, "(") && strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "  ") && len(w) >= 4:
			rows = append(rows, [4]string{w[0], w[1], w[2], heading})
		}
	}
	return nil // without a summary it was refused
}
