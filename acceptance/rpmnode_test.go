//go:build linux

package acceptance

import (
	"encoding/xml"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/pkgver"
)

// rpmDescription is a repository with every kind of notice: two for one package, one that wants a reboot, an epoch, one
// for a package that no repository has, and a newer version without a notice.
const rpmDescription = `package alpha  1.0-1.el9   x86_64 requires="beta >= 1"
package beta   2:1.5-3.el9 noarch
package gamma  3.1~rc1-1.el9 noarch
package delta  1.0-1.el9   noarch
package kernel 5.14.0-1.el9 x86_64 provides="installonlypkg(kernel)"
package alpha  1.1-1.el9   x86_64 requires="beta >= 1"
package alpha  1.2-1.el9   x86_64 requires="beta >= 1"
package beta   2:1.6-3.el9 noarch
package gamma  3.1-1.el9   noarch
package delta  1.0-2.el9   noarch
package kernel 5.14.0-2.el9 x86_64 provides="installonlypkg(kernel)"
advisory OAK-2026:0001 type=security severity=Important issued=2026-01-10 cves=CVE-2026-0001,CVE-2026-0002 packages=alpha-1.1-1.el9.x86_64
advisory OAK-2026:0002 type=bugfix issued=2026-01-12 packages=beta-2:1.6-3.el9.noarch
advisory OAK-2026:0003 type=security severity=Critical issued=2026-02-01 cves=CVE-2026-0003 reboot=yes packages=kernel-5.14.0-2.el9.x86_64
advisory OAK-2026:0004 type=enhancement issued=2026-02-02 packages=gamma-3.1-1.el9.noarch
advisory OAK-2026:0005 type=security severity=Low issued=2026-03-01 cves=CVE-2026-0005 packages=alpha-1.2-1.el9.x86_64
advisory OAK-2026:0006 type=security severity=Moderate issued=2026-03-02 packages=absent-9-1.el9.x86_64
`

// described is a repository as its text says it is.
type described struct {
	newest  map[string]string // name.arch: version-release with its epoch
	notices map[string]notice
}

type notice struct {
	kind, severity string
	packages       []string
	reboot         bool
}

// describe reads rpm-repo's lines.
func describe(t *testing.T, lines string) described {
	t.Helper()
	d := described{map[string]string{}, map[string]notice{}}
	for line := range strings.Lines(lines) {
		w := strings.Fields(line)
		switch w[0] {
		case "package":
			key := w[1] + "." + w[3]
			if have := d.newest[key]; have == "" || pkgver.RPM(have, w[2]) < 0 {
				d.newest[key] = w[2]
			}
		case "advisory":
			var n notice
			for _, f := range w[2:] {
				switch k, v, _ := strings.Cut(f, "="); k {
				case "type":
					n.kind = v
				case "severity":
					n.severity = v
				case "packages":
					n.packages = strings.Split(v, ",")
				case "reboot":
					n.reboot = v == "yes"
				}
			}
			d.notices[w[1]] = n
		default:
			t.Fatalf("not a line of a description: %s", line)
		}
	}
	return d
}

// TestRPMNode guards the testbed: a real dnf and a real zypper in nodes of their own say of a repository what its text
// says, so that what other tests describe is what they test.
func TestRPMNode(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, rpmDescription)
	want := describe(t, rpmDescription)
	installed := map[string]string{"alpha": "1.0-1.el9", "beta": "2:1.5-3.el9", "gamma": "3.1~rc1-1.el9", "delta": "1.0-1.el9", "kernel": "5.14.0-1.el9"}

	t.Run("dnf", func(t *testing.T) {
		t.Parallel()
		n := r.node(t, "rpm-dnf", "rhel9", "alpha-1.0 beta-1.5 gamma-3.1~rc1 delta-1.0-1.el9 kernel-5.14.0-1.el9", "--systemd")
		sameInstalled(t, n, installed)
		out, err := n.run("dnf", "-q", "check-update")
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 100 {
			t.Errorf("check-update ended with %v, want 100\n%s", err, out)
		}
		got := map[string]string{}
		for line := range strings.Lines(out) {
			if w := strings.Fields(line); len(w) == 3 && w[2] == "oaktest" {
				got[w[0]] = w[1]
			}
		}
		if diff := cmp.Diff(want.newest, got); diff != "" {
			t.Errorf("check-update (-described +dnf):\n%s", diff)
		}
		// all notices of installed packages whose versions are newer: each once per package
		kinds := map[string]string{"security": "/Sec.", "bugfix": "bugfix", "enhancement": "enhancement"}
		var lines []string
		for id, a := range want.notices {
			for _, p := range a.packages {
				if name, _, _ := strings.Cut(p, "-"); installed[name] != "" {
					kind := kinds[a.kind]
					if a.kind == "security" {
						kind = a.severity + kind
					}
					lines = append(lines, id+" "+kind+" "+p)
				}
			}
		}
		slices.Sort(lines)
		var said []string
		for line := range strings.Lines(n.mustRun("dnf", "-q", "updateinfo", "list")) {
			if w := strings.Fields(line); len(w) == 3 {
				said = append(said, strings.Join(w, " "))
			}
		}
		slices.Sort(said)
		if diff := cmp.Diff(lines, said); diff != "" {
			t.Errorf("updateinfo list (-described +dnf):\n%s", diff)
		}
		// a node can be booted, and is the same afterwards
		n.boot()
		sameInstalled(t, n, installed)
		if out := n.mustRun("rpm", "--eval", "%_dbpath"); strings.TrimSpace(out) != "/var/lib/rpm" {
			t.Errorf("the rpm database is in %s", out)
		}
	})

	t.Run("zypper", func(t *testing.T) {
		t.Parallel()
		n := r.node(t, "rpm-zypper", "sles15", "alpha=1.0 beta=2:1.5 gamma=3.1~rc1 delta=1.0-1.el9 kernel=5.14.0-1.el9")
		sameInstalled(t, n, installed)
		n.mustRun("zypper", "-n", "refresh")
		var updates struct {
			List []struct {
				Name    string `xml:"name,attr"`
				Edition string `xml:"edition,attr"`
				Arch    string `xml:"arch,attr"`
			} `xml:"update-status>update-list>update"`
		}
		if err := xml.Unmarshal([]byte(xmlOf(n.mustRun("zypper", "-n", "--xmlout", "list-updates"))), &updates); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, u := range updates.List {
			got[u.Name+"."+u.Arch] = u.Edition
		}
		if diff := cmp.Diff(want.newest, got); diff != "" {
			t.Errorf("list-updates (-described +zypper):\n%s", diff)
		}
		var patches struct {
			List []struct {
				Name        string `xml:"name,attr"`
				Status      string `xml:"status,attr"`
				Category    string `xml:"category,attr"`
				Severity    string `xml:"severity,attr"`
				Interactive string `xml:"interactive,attr"`
			} `xml:"update-status>update-list>update"`
		}
		if err := xml.Unmarshal([]byte(xmlOf(n.mustRun("zypper", "-n", "--xmlout", "list-patches", "--all"))), &patches); err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, p := range patches.List {
			a, ok := want.notices[p.Name]
			found[p.Name] = true
			status := "needed"
			switch {
			case strings.HasPrefix(a.packages[0], "absent"):
				status = "not-needed"
			case a.kind == "enhancement":
				status = "optional"
			}
			if !ok || p.Category != a.kind || !strings.EqualFold(p.Severity, a.severity) || p.Status != status || (p.Interactive != "false") != a.reboot {
				t.Errorf("zypper says %+v, described is %+v", p, a)
			}
		}
		if len(found) != len(want.notices) {
			t.Errorf("zypper lists %d patches, described are %d", len(found), len(want.notices))
		}
	})
}

// sameInstalled asks the node's rpm.
func sameInstalled(t *testing.T, n *debNode, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(n.mustRun("rpm", "-qa", "--qf", `%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n`)) {
		if w := strings.Fields(line); len(w) == 2 && w[0] != "gpg-pubkey" {
			got[w[0]] = w[1]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("installed in %s (-wanted +rpm):\n%s", n.name, diff)
	}
}

// xmlOf cuts off what others print before zypper's XML.
func xmlOf(out string) string {
	if i := strings.Index(out, "<?xml"); i >= 0 {
		return out[i:]
	}
	return out
}
