//go:build linux

package acceptance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cast is what is on a node for TestInstallKilled and TestInstallKilledRPM: packages whose scripts take a moment, so that
// there is a moment to be killed in. What fails fails only while the node has a file that says so.
type cast struct {
	nodes   func(t *testing.T) (plain, booted *debNode)
	targets map[string]string // what an Install brings forward, and the one that comes along
	victims []victim
	state   func(n *debNode) (packageState, error)
	half    bool // a package whose script fails after it was unpacked is left half way
	also    func(c *killCheck, after packageState)
}

// victim is what is killed: it says whether a process of the node is one.
type victim struct {
	name  string
	quick bool // it lives for moments only
	is    func(p process, all []process) bool
}

// packageState is what a package manager's own files and tools say, read without any of this program's code.
type packageState struct {
	packages   map[string]string // name: version, with the state where it is not plainly installed
	auto       map[string]bool   // installed for others
	older      map[string][]string
	complaints []complaint // of the package manager about its database
}

type complaint struct{ name, text string }

func named(name string) func(process, []process) bool {
	return func(p process, _ []process) bool { return p.name == name }
}

// commonVictims are those on every node.
var commonVictims = []victim{
	{"agent", false, func(p process, _ []process) bool { return isAgent(p) }},
	{"engine", false, func(p process, _ []process) bool { return isEngine(p) }},
	{"wrapper", false, func(p process, _ []process) bool { return len(p.args) > 3 && p.args[3] == "oakum-step" }},
	{"package's script", true, func(p process, _ []process) bool { return isMaintainer(p) }},
	{"everything", false, func(process, []process) bool { return true }}, // a power cut
}

func isAgent(p process) bool {
	return strings.Contains(p.line(), "oakum agent run") && p.name == "oakum"
}
func isEngine(p process) bool { return slices.Contains(p.args, "node-patch") && p.name == "oakum" }

// isWork reports whether a process belongs to an install.
func isWork(p process) bool {
	return isEngine(p) || isMaintainer(p) || slices.Contains([]string{"apt-get", "dnf", "rpm"}, p.name) || isZypper(p, nil) || strings.HasPrefix(p.name, "dpkg") ||
		slices.Contains(p.args, "oakum-step")
}

// isMaintainer reports whether a process is a package's script: dpkg names its file after its kind, rpm after itself.
func isMaintainer(p process) bool {
	for _, kind := range []string{"preinst", "postinst", "prerm", "postrm"} {
		if strings.HasSuffix(p.name, kind) || len(p.args) > 1 && strings.HasSuffix(p.args[1], kind) {
			return true
		}
	}
	return len(p.args) > 1 && strings.Contains(p.args[1], "/rpm-tmp.")
}

var aptCast = cast{
	nodes: aptNodes, half: true,
	targets: map[string]string{
		"oaklib1": "1.1-1", "oaklib2": "1.1-1", "oakpre": "1.1-1", "oakapp1": "1:1.1-1", "oaknew": "3.0-1", "oakapp2": "1.1-1", "oakconf": "1.1-1",
		"oakkernel": "6.1.2-1", "oakbroken": "1.1-1", "oakdaemon": "2.1-1", "oaktool": "1.1-1",
	},
	victims: append(slices.Clip(commonVictims), []victim{
		{"apt-get", true, named("apt-get")},
		{"apt-get install", true, func(p process, _ []process) bool {
			return p.name == "apt-get" && slices.Contains(p.args, "install") && !slices.Contains(p.args, "-s") && !slices.Contains(p.args, "--download-only")
		}},
		{"dpkg", true, named("dpkg")},
		{"dpkg's parent", true, func(p process, all []process) bool {
			return slices.ContainsFunc(all, func(c process) bool { return c.parent == p.pid && c.name == "dpkg" })
		}},
		{"dpkg-deb", true, func(p process, _ []process) bool { return strings.HasPrefix(p.name, "dpkg-deb") }},
		{"everything during dpkg", true, named("dpkg")},
	}...),
	state: (*debNode).dpkg,
}

const aptCastArchive = `deb bookworm oaklib1 1.0-1 section=libs postinst="sleep 0.05"
deb bookworm-security oaklib1 1.1-1 section=libs preinst="sleep 0.1" postinst="sleep 0.1"
deb bookworm oaklib2 1.0-1 section=libs depends="oaklib1"
deb bookworm-security oaklib2 1.1-1 section=libs depends="oaklib1 (>= 1.1-1)" postinst="sleep 0.15"
deb bookworm oakpre 1.0-1 predepends="oaklib1"
deb bookworm-security oakpre 1.1-1 predepends="oaklib1 (>= 1.1-1)" preinst="sleep 0.05; test ! -e /etc/oak-break-preinst" postinst="sleep 0.1"
deb bookworm oakapp1 1:1.0-1 depends="oaklib2" prerm="sleep 0.1"
deb bookworm-security oakapp1 1:1.1-1 depends="oaklib2 (>= 1.1-1), oaknew" postinst="sleep 0.2"
deb bookworm-security oaknew 3.0-1 postinst="sleep 0.1"
deb bookworm oakapp2 1.0-1 depends="oaklib1" postrm="sleep 0.1"
deb bookworm-security oakapp2 1.1-1 depends="oaklib1" postinst="sleep 0.3" size=300000
deb bookworm oakconf 1.0-1 conffile=/etc/oakconf.conf
deb bookworm-security oakconf 1.1-1 conffile=/etc/oakconf.conf postinst="sleep 0.1"
deb bookworm oakkernel 6.1.1-1 section=kernel restart=yes
deb bookworm-security oakkernel 6.1.2-1 section=kernel restart=yes preinst="sleep 0.1" postinst="sleep 0.3"
deb bookworm oakbroken 1.0-1
deb bookworm-security oakbroken 1.1-1 postinst="sleep 0.05; test ! -e /etc/oak-break-postinst"
deb bookworm oakdaemon 2.0-1 prerm="sleep 0.15" postrm="sleep 0.05"
deb bookworm-security oakdaemon 2.1-1 prerm="sleep 0.15" postinst="sleep 0.2"
deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakheld 1.0-1
deb bookworm-security oakheld 1.1-1
deb bookworm oakquiet 1.0-1
deb bookworm oakquiet 1.1-1
`

// aptNodes makes the nodes that the rounds copy: one whose processes are started one by one, and one in which systemd
// runs, where transactions have scopes of their own and a power cut brings another boot id.
func aptNodes(t *testing.T) (plain, booted *debNode) {
	r := newAptRepo(t, aptCastArchive)
	packages := []string{"oaklib2", "oakpre", "oakapp1=1:1.0-1", "oakapp2", "oakconf", "oakkernel", "oakbroken", "oakdaemon", "oaktool", "oakheld", "oakquiet=1.0-1"}
	needNspawn(t)
	plain, booted = r.node(t, "kill", packages), r.node(t, "killboot", packages, "--systemd")
	for _, n := range []*debNode{plain, booted} {
		n.mustRun("apt-mark", "auto", "oaklib1", "oaklib2", "oakapp2")
		n.mustRun("apt-mark", "hold", "oakheld")
		writeFile(t, filepath.Join(n.root, "etc/oakconf.conf"), "changed on the node\n")
	}
	for _, unit := range []string{"apt-daily.timer", "apt-daily-upgrade.timer"} { // nobody else patches this node
		if err := os.Symlink("/dev/null", filepath.Join(booted.root, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	return plain, booted
}

func needNspawn(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		missing(t, "booted nodes: %v", err)
	}
}

// dpkg reads the node's package database.
func (n *debNode) dpkg() (packageState, error) {
	s := packageState{packages: map[string]string{}, auto: map[string]bool{}}
	b, err := os.ReadFile(filepath.Join(n.root, "var/lib/dpkg/status"))
	if err != nil {
		return s, err
	}
	for stanza := range strings.SplitSeq(string(b), "\n\n") {
		f := map[string]string{}
		for line := range strings.Lines(stanza) {
			if k, v, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, " ") {
				f[k] = strings.TrimSpace(v)
			}
		}
		w := strings.Fields(f["Status"])
		if len(w) != 3 || w[2] == "not-installed" || w[2] == "config-files" {
			continue
		}
		s.packages[f["Package"]] = f["Version"]
		if w[1] != "ok" || w[2] != "installed" {
			s.packages[f["Package"]] += " " + w[1] + " " + w[2]
		}
	}
	entries, err := os.ReadDir(filepath.Join(n.root, "var/lib/dpkg/updates"))
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			s.complaints = append(s.complaints, complaint{"", "dpkg has not merged " + e.Name()})
		}
	}
	out, err := n.run("apt-mark", "showauto")
	if err != nil {
		return s, fmt.Errorf("apt-mark showauto: %w: %s", err, out)
	}
	for _, name := range strings.Fields(out) {
		s.auto[name] = true
	}
	audit, err := n.run("dpkg", "--audit")
	if err != nil {
		return s, fmt.Errorf("dpkg --audit: %w: %s", err, audit)
	}
	for line := range strings.Lines(audit) {
		if strings.HasPrefix(line, " ") && strings.TrimSpace(line) != "" {
			s.complaints = append(s.complaints, complaint{strings.Fields(line)[0], "dpkg --audit: " + audit})
		}
	}
	return s, nil
}

var dnfCast = cast{
	nodes: dnfNodes,
	targets: map[string]string{
		"oaklib1": "0:1.1-1", "oaklib2": "0:1.1-1", "oakpre": "0:1.1-1", "oakapp1": "1:1.1-1", "oaknew": "0:3.0-1", "oakapp2": "0:1.1-1", "oakconf": "0:1.1-1",
		"oakkernel": "0:6.1.2-1", "oakbroken": "0:1.1-1", "oakdaemon": "0:2.1-1", "oaktool": "0:1.1-1",
	},
	victims: append(slices.Clip(commonVictims), []victim{
		{"dnf", true, named("dnf")},
		{"dnf at its transaction", true, func(p process, _ []process) bool {
			return p.name == "dnf" && !slices.Contains(p.args, "--assumeno") && !slices.Contains(p.args, "--downloadonly")
		}},
		{"dnf in a script", true, func(p process, all []process) bool { return p.name == "dnf" && runsScript(p, all, "") }},
		{"dnf in its cleanup", true, func(p process, all []process) bool { return p.name == "dnf" && runsScript(p, all, "1") }},
		{"rpm", true, named("rpm")},
		{"everything in a script", true, func(p process, _ []process) bool { return isMaintainer(p) }},
	}...),
	state: (*debNode).rpms,
	also:  alsoRPM,
}

// runsScript reports whether a process runs a package's script; with this last argument, if it is not empty: that is how
// many versions of the package are there afterwards.
func runsScript(p process, all []process, left string) bool {
	return slices.ContainsFunc(all, func(c process) bool {
		return c.parent == p.pid && isMaintainer(c) && (left == "" || c.args[len(c.args)-1] == left)
	})
}

// rpmCastRepo is the same cast. What fails in postinst there fails in %post here, after which the package is installed. Two
// packages write down that their last scripts have ended.
const rpmCastRepo = `package oakshell 1.0-1 x86_64 provides=/bin/sh
package oaklib1 1.0-1 x86_64 post="sleep 0.05"
package oaklib1 1.1-1 x86_64 pre="sleep 0.1" post="sleep 0.1"
package oaklib2 1.0-1 x86_64 requires="oaklib1"
package oaklib2 1.1-1 x86_64 requires="oaklib1 >= 1.1-1" post="sleep 0.15"
package oakpre 1.0-1 x86_64 requires="oaklib1"
package oakpre 1.1-1 x86_64 requires="oaklib1 >= 1.1-1" pre="sleep 0.05; test ! -e /etc/oak-break-preinst" post="sleep 0.1"
package oakapp1 1:1.0-1 x86_64 requires="oaklib2 < 1.1" preun="sleep 0.1"
package oakapp1 1:1.1-1 x86_64 requires="oaklib2 >= 1.1-1, oaknew" post="sleep 0.2"
package oaknew 3.0-1 x86_64 post="sleep 0.1; echo post oaknew >>/root/scripts"
package oakapp2 1.0-1 x86_64 requires="oaklib1" postun="sleep 0.1"
package oakapp2 1.1-1 x86_64 requires="oaklib1" post="sleep 0.3" size=300000
package oakconf 1.0-1 x86_64 config=/etc/oakconf.conf
package oakconf 1.1-1 x86_64 config=/etc/oakconf.conf post="sleep 0.1"
package oakkernel 6.1.1-1 x86_64 provides="installonlypkg(kernel), multiversion(kernel)"
package oakkernel 6.1.2-1 x86_64 provides="installonlypkg(kernel), multiversion(kernel)" pre="sleep 0.1" post="sleep 0.3" posttrans="sleep 0.05; echo posttrans oakkernel >>/root/scripts"
package oakbroken 1.0-1 x86_64
package oakbroken 1.1-1 x86_64 post="sleep 0.05; test ! -e /etc/oak-break-postinst"
package oakdaemon 2.0-1 x86_64 preun="sleep 0.15" postun="sleep 0.05"
package oakdaemon 2.1-1 x86_64 preun="sleep 0.15" post="sleep 0.2"
package oaktool 1.0-1 noarch
package oaktool 1.1-1 noarch
package oakheld 1.0-1 x86_64
package oakheld 1.1-1 x86_64
package oakquiet 1.0-1 x86_64
package oakquiet 1.1-1 x86_64
advisory OAK-1 type=security severity=Important issued=2026-01-10 packages=oaklib1-1.1-1.x86_64,oaklib2-1.1-1.x86_64,oakpre-1.1-1.x86_64,oakapp1-1:1.1-1.x86_64,oaknew-3.0-1.x86_64,oakapp2-1.1-1.x86_64
advisory OAK-2 type=security severity=Critical issued=2026-01-10 packages=oakconf-1.1-1.x86_64,oakkernel-6.1.2-1.x86_64,oakbroken-1.1-1.x86_64,oakdaemon-2.1-1.x86_64,oaktool-1.1-1.noarch,oakheld-1.1-1.x86_64
`

var rpmCastNames = []string{
	"oaklib1-1.0-1", "oaklib2-1.0-1", "oakpre-1.0-1", "oakapp1-1:1.0-1", "oakapp2-1.0-1", "oakconf-1.0-1", "oakkernel-6.1.1-1", "oakbroken-1.0-1", "oakdaemon-2.0-1",
	"oaktool-1.0-1", "oakheld-1.0-1", "oakquiet-1.0-1",
}

// zypperCast has no booted node: what is different there, scopes and boot ids, is the engine's and not zypper's.
var zypperCast = cast{
	nodes: func(t *testing.T) (plain, booted *debNode) {
		var packages []string
		for _, p := range rpmCastNames {
			packages = append(packages, strings.Replace(p, "-", "=", 1))
		}
		n := newRPMRepo(t, rpmCastRepo).node(t, "killzypp", "sles15", strings.Join(packages, " "))
		writeFile(t, filepath.Join(n.root, "var/lib/zypp/AutoInstalled"), "oaklib1\noaklib2\noakapp2\noakshell\n")
		writeFile(t, filepath.Join(n.root, "etc/oakconf.conf"), "changed on the node\n")
		writeFile(t, filepath.Join(n.root, "etc/zypp/zypp.conf"), "[main]\nmultiversion = provides:multiversion(kernel)\n") // as SUSE ships it
		n.mustRun("zypper", "-n", "addlock", "oakheld")
		return n, nil
	},
	targets: dnfCast.targets,
	victims: append(slices.Clip(commonVictims), []victim{
		{"zypper", true, isZypper},
		{"zypper at its transaction", true, func(p process, all []process) bool {
			return isZypper(p, all) && !slices.Contains(p.args, "--dry-run") && !slices.Contains(p.args, "--download-only") && !slices.Contains(p.args, "refresh")
		}},
		{"rpm", true, named("rpm")},
		{"rpm in a script", true, func(p process, all []process) bool { return p.name == "rpm" && runsScript(p, all, "") }},
		{"rpm in its cleanup", true, func(p process, all []process) bool { return p.name == "rpm" && runsScript(p, all, "1") }},
		{"zypper, rpm goes on", true, func(p process, all []process) bool {
			return isZypper(p, all) && slices.ContainsFunc(all, func(c process) bool { return c.parent == p.pid && c.name == "rpm" })
		}},
		{"everything in a script", true, func(p process, _ []process) bool { return isMaintainer(p) }},
	}...),
	state: (*debNode).rpms,
	also:  alsoRPM,
}

// isZypper goes by the command line: zypper's first thread has a name of its own.
func isZypper(p process, _ []process) bool { return filepath.Base(p.args[0]) == "zypper" }

func dnfNodes(t *testing.T) (plain, booted *debNode) {
	r := newRPMRepo(t, rpmCastRepo)
	needNspawn(t)
	plain, booted = r.node(t, "killdnf", "rhel9", strings.Join(rpmCastNames, " ")), r.node(t, "killdnfboot", "rhel9", strings.Join(rpmCastNames, " "), "--systemd")
	for _, n := range []*debNode{plain, booted} {
		n.mustRun("dnf", "-q", "mark", "remove", "oaklib1", "oaklib2", "oakapp2", "oakshell")
		writeFile(t, filepath.Join(n.root, "etc/dnf/plugins/versionlock.list"), "oakheld-0:1.0-1.*\n")
		writeFile(t, filepath.Join(n.root, "etc/oakconf.conf"), "changed on the node\n")
	}
	return plain, booted
}

// alsoRPM: the older kernel stays beside the newer one, what scripts do at the very end has been done, and no kill of a
// program but of a script makes a run fail.
func alsoRPM(c *killCheck, after packageState) {
	if !slices.Contains(append(after.older["oakkernel"], after.packages["oakkernel"]), "0:6.1.1-1") {
		c.t.Errorf("the old kernel is gone: %v and %s", after.older["oakkernel"], after.packages["oakkernel"])
	}
	if slices.Contains(c.done, "package's script") {
		return // rpm goes on without it
	}
	if c.complete() && c.reason() != "" && c.reason() != " INTERRUPTED" {
		c.t.Errorf("what was killed made the run fail: %s", c.reason())
	}
	b, err := os.ReadFile(filepath.Join(c.n.root, "root/scripts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Error(err)
	}
	for name, line := range map[string]string{"oaknew": "post oaknew", "oakkernel": "posttrans oakkernel"} {
		if after.packages[name] == c.cast.targets[name] && !strings.Contains(string(b), line) {
			c.t.Errorf("%s is installed, and its script has not ended: %s", name, line)
		}
	}
}

// rpms reads the node's package database with rpm, and the marks with dnf where that is what the node has.
func (n *debNode) rpms() (packageState, error) {
	return rpmState(n.run)
}

func rpmState(run func(args ...string) (string, error)) (packageState, error) {
	s := packageState{packages: map[string]string{}, auto: map[string]bool{}, older: map[string][]string{}}
	out, err := run("rpm", "-qa", "--qf", `%{NAME} %|EPOCH?{%{EPOCH}}:{0}|:%{VERSION}-%{RELEASE} %{INSTALLTIME}.%{DBINSTANCE}\n`)
	if err != nil {
		return s, fmt.Errorf("rpm -qa: %w: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines) // the cast's versions are in this order too
	for _, line := range lines {
		w := strings.Fields(line)
		if len(w) != 3 {
			return s, fmt.Errorf("rpm -qa says %q", line)
		}
		if have := s.packages[w[0]]; have != "" {
			s.older[w[0]] = append(s.older[w[0]], have)
		}
		s.packages[w[0]] = w[1]
	}
	for name, older := range s.older {
		if name != "oakkernel" {
			s.packages[name] += " and " + strings.Join(older, " and ")
		}
	}
	if out, err := run("rpmdb", "--verifydb"); err != nil {
		s.complaints = append(s.complaints, complaint{"", fmt.Sprintf("rpmdb --verifydb: %v: %s", err, out)})
	}
	if out, err := run("rpm", "-Va", "--nofiles", "--noscripts"); err != nil {
		s.complaints = append(s.complaints, complaint{"", fmt.Sprintf("rpm -Va: %v: %s", err, out)})
	}
	if _, err := run("test", "-e", "/usr/bin/dnf"); err != nil {
		return s, zypperMarks(&s, run)
	}
	if out, err = run("dnf", "-q", "-C", "check"); err != nil {
		s.complaints = append(s.complaints, complaint{"", fmt.Sprintf("dnf check: %v: %s", err, out)})
	}
	if out, err = run("dnf", "-q", "-C", "repoquery", "--userinstalled", "--qf", "%{name}"); err != nil {
		return s, fmt.Errorf("dnf repoquery: %w: %s", err, out)
	}
	byHand := strings.Fields(out)
	for name := range s.packages {
		s.auto[name] = !slices.Contains(byHand, name)
	}
	return s, nil
}

func zypperMarks(s *packageState, run func(args ...string) (string, error)) error {
	if out, err := run("zypper", "-n", "--no-refresh", "verify", "--dry-run"); err != nil || !strings.Contains(out, "Dependencies of all installed packages are satisfied") {
		s.complaints = append(s.complaints, complaint{"", fmt.Sprintf("zypper verify: %v: %s", err, out)})
	}
	out, err := run("cat", "/var/lib/zypp/AutoInstalled")
	for _, name := range strings.Fields(out) {
		s.auto[name] = true
	}
	return err
}
