package apt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
)

// everything approves every patch, so that what is installable is what apt's own upgrade would install.
func everything(os baseline.OS) *baseline.Baseline {
	zero := 0
	return &baseline.Baseline{OperatingSystem: os, Name: "everything", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{
		{ApproveAfterDays: &zero, EnableNonSecurity: true},
	}}}
}

// scanRoot scans a root that is not running and returns the manager too, whose candidates tests look at.
func scanRoot(t *testing.T, dir string, b *baseline.Baseline) (*compliance.Result, *Manager) {
	t.Helper()
	m := New(Config{FS: os.DirFS(dir), Root: dir, Exec: patch.OSExec{}, Note: func(s string) { t.Log(s) }})
	e := patch.Engine{Manager: m, Now: time.Now}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: b})
	if err != nil {
		t.Fatal(err)
	}
	return res, m
}

// oracle is what apt says about a root.
type oracle struct {
	spared     map[string]string // where the plan removes something: what goes in without that
	candidates map[string]string // package to version, of installed ones
	installs   map[string]string // Inst lines that put a newer version in place of an installed one
	upgradable map[string]string
	plan       string
	refused    bool // apt-get -s dist-upgrade ended with an error
}

// run is how apt is started: on this machine or inside a node.
type runner func(args ...string) ([]byte, error)

func askApt(t *testing.T, run runner, installed map[string]string) oracle {
	t.Helper()
	o := oracle{candidates: map[string]string{}, installs: map[string]string{}, upgradable: map[string]string{}}
	names := make([]string, 0, len(installed))
	for n := range installed {
		names = append(names, n)
	}
	slices.Sort(names)
	name := ""
	must := func(args ...string) []byte {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for line := range bytes.Lines(must(append([]string{"apt-cache", "policy"}, names...)...)) {
		s := strings.TrimRight(string(line), "\n")
		switch {
		case !strings.HasPrefix(s, " "):
			name = strings.TrimSuffix(s, ":")
		case strings.HasPrefix(s, "  Candidate: "):
			o.candidates[name] = strings.TrimPrefix(s, "  Candidate: ")
		}
	}
	out, err := run("apt-get", "-s", "-q", "dist-upgrade")
	o.refused = err != nil
	if err == nil && len(parsePlan(out).removes) > 0 {
		o.spared = parsePlan(must("apt-get", "-s", "-q", "--with-new-pkgs", "upgrade")).installs
	}
	o.plan = string(out)
	for name, v := range parsePlan(out).installs {
		if old, ok := installed[name]; ok && pkgver.Dpkg(v, old) > 0 {
			o.installs[name] = v
		}
	}
	for line := range bytes.Lines(must("apt", "list", "--upgradable")) {
		w := strings.Fields(string(line))
		if len(w) < 3 || !strings.Contains(w[0], "/") {
			continue
		}
		name, _, _ := strings.Cut(w[0], "/")
		if _, ok := installed[name+":"+w[2]]; ok {
			name += ":" + w[2]
		}
		o.upgradable[name] = w[1]
	}
	return o
}

// tally counts what was compared.
type tally struct{ roots, rows, refused, lower int }

func (s *tally) add(o tally) {
	s.roots, s.rows, s.refused, s.lower = s.roots+o.roots, s.rows+o.rows, s.refused+o.refused, s.lower+o.lower
}

func (s tally) String() string {
	return fmt.Sprintf("%d upgradable rows, %d lower versions, apt gave up on %d of %d roots", s.rows, s.lower, s.refused, s.roots)
}

// seedsFrom is where random roots begin and how many there are: OAKUM_SEED and OAKUM_SEEDS, or 1 and n.
func seedsFrom(t *testing.T, n uint64) (first, seeds uint64) {
	t.Helper()
	first, seeds = 1, n
	for name, v := range map[string]*uint64{"OAKUM_SEED": &first, "OAKUM_SEEDS": &seeds} {
		if s := os.Getenv(name); s != "" {
			if _, err := fmt.Sscan(s, v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	return first, seeds
}

// compare checks a scan of everything against apt.
func compare(t *testing.T, res *compliance.Result, m *Manager, run runner) tally {
	t.Helper()
	installed := map[string]string{}
	for _, p := range m.node.order {
		if p.arch == m.node.native {
			installed[p.name] = p.installed.Version
		} else {
			installed[p.name+":"+p.arch] = p.installed.Version
		}
	}
	o := askApt(t, run, installed)
	for _, p := range m.node.order {
		name := p.name
		if p.arch != m.node.native {
			name += ":" + p.arch
		}
		if got := candidateText(p); got != strings.Trim(o.candidates[name], "()") {
			t.Errorf("candidate of %s = %s, apt-cache policy says %s", name, got, o.candidates[name])
		}
	}
	if o.refused { // its solver gave up, which says nothing about single packages
		t.Log("apt-get -s dist-upgrade gives up")
		return tally{roots: 1, rows: len(o.upgradable), refused: 1}
	}
	installable := map[string]string{}
	reasons := map[string]string{}
	lower := map[string]string{} // a version is taken below the newest, which cannot be installed
	for i := range res.Items {
		it := &res.Items[i]
		name := it.Name
		if it.Arch != "all" && it.Arch != m.node.native {
			name += ":" + it.Arch
		}
		reasons[name] = it.Reason
		if it.State == compliance.Missing && strings.Contains(it.Detail, " cannot be installed: ") {
			lower[name], reasons[name] = it.AvailableVersion, "lower"
			continue
		}
		if it.State == compliance.Missing && it.Reason == "" {
			installable[name] = it.AvailableVersion
		}
		if _, ok := patch.Reasons()[it.Reason]; it.Reason != "" && !ok {
			t.Errorf("%s: reason %q is not in the closed set", name, it.Reason)
		}
	}
	for name, v := range installable {
		if o.installs[name] != v {
			t.Errorf("%s %s is installable, apt-get -s dist-upgrade installs %q", name, v, o.installs[name])
		}
	}
	for name, v := range o.installs {
		if o.spared != nil && o.spared[name] == "" && (reasons[name] == patch.ReasonRemoval || reasons[name] == patch.ReasonConflict) {
			delete(o.installs, name) // an install takes nothing away
			continue
		}
		if installable[name] != v {
			t.Errorf("apt-get -s dist-upgrade installs %s %s, the scan says installable %q, reason %q", name, v, installable[name], reasons[name])
		}
	}
	for name := range o.upgradable {
		if o.installs[name] == "" && reasons[name] == "" {
			t.Errorf("%s is upgradable and kept back, and has no reason", name)
		}
	}
	checkLower(t, m, run, o, lower, reasons)
	if t.Failed() {
		t.Logf("apt's plan:\n%s", o.plan)
	}
	return tally{roots: 1, rows: len(o.upgradable), lower: len(lower)}
}

// testbed finds the scripts that make nodes, or skips.
func testbed(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("makes real Debian nodes; not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make Debian nodes")
	}
	for _, tool := range []string{"mmdebstrap", "apt-get", "unshare", "zstd", "pgrep"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	dir, err := filepath.Abs("../../acceptance/testbed")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func debNode(t *testing.T, bed string, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(bed, "deb-node"), args...).Output()
	if err != nil {
		stderr := ""
		if e, ok := err.(*exec.ExitError); ok {
			stderr = string(e.Stderr)
		}
		t.Fatalf("deb-node %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return strings.TrimSpace(string(out))
}

var debianSuites = []string{"bullseye", "bookworm", "trixie"}

// oracleNode makes a node of a suite. apt in it believes that it is no chroot, so that it phases updates.
func oracleNode(t *testing.T, bed, purpose, suite string, args ...string) (name, root string) {
	t.Helper()
	name = "oracle-" + purpose + "-" + suite
	t.Cleanup(func() { debNode(t, bed, "destroy", name) })
	root = debNode(t, bed, append([]string{"create", name, "--suite", suite}, args...)...)
	if err := os.Remove(filepath.Join(root, "usr/bin/ischroot")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/ischroot"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name, root
}

func inNode(t *testing.T, bed, node string, env ...string) runner {
	return func(args ...string) ([]byte, error) {
		cmd := []string{"exec", node}
		for _, e := range env {
			cmd = append(cmd, "--env", e)
		}
		return exec.Command(filepath.Join(bed, "deb-node"), append(append(cmd, "--"), args...)...).Output()
	}
}

// TestAgreesWithAptOnRealNodes scans real Debian nodes with real missing updates.
func TestAgreesWithAptOnRealNodes(t *testing.T) {
	bed := testbed(t)
	for _, suite := range debianSuites {
		t.Run(suite, func(t *testing.T) {
			node, root := oracleNode(t, bed, "real", suite, "--packages", "openssl,rsync,xz-utils,ca-certificates,curl,git,python3,nginx,vim-tiny")
			debNode(t, bed, "exec", node, "--", "apt-mark", "hold", "curl", "libc-bin")
			res, m := scanRoot(t, root, everything(baseline.Debian))
			sum := compare(t, res, m, inNode(t, bed, node))
			t.Logf("%s: %d packages, %s", suite, len(res.Items), sum)
		})
	}
}

// TestAgreesWithAptOnRandomRoots compares with the apt of three releases on archives drawn at random, with phased updates,
// pins and holds (Trap D10, Trap D11, Trap D12).
func TestAgreesWithAptOnRandomRoots(t *testing.T) {
	bed := testbed(t)
	first, seeds := seedsFrom(t, 12)
	for _, suite := range debianSuites {
		t.Run(suite, func(t *testing.T) {
			node, root := oracleNode(t, bed, "random", suite)
			version := debNode(t, bed, "exec", node, "--", "dpkg-query", "-W", "-f", "${Version}", "apt")
			var sum tally
			for seed := first; seed < first+seeds; seed++ {
				t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
					inside := fmt.Sprintf("/srv/seed%d", seed)
					dir := filepath.Join(root, inside)
					randomRoot(seed, version).write(t, dir)
					pointApt(t, root, inside)
					res, m := scanRootIn(t, bed, node, inside, dir)
					sum.add(compare(t, res, m, inNode(t, bed, node, "APT_CONFIG="+inside+"/apt.conf")))
				})
			}
			t.Logf("%s: apt %s, %d seeds from %d, %s", suite, version, seeds, first, sum)
		})
	}
}

// pointApt writes the file that makes a node's apt look at a root inside it.
func pointApt(t *testing.T, root, inside string) {
	t.Helper()
	text := fmt.Sprintf("Dir %q;\nDir::State::status %q;\nAPT::Architecture \"amd64\";\nDir::Bin::dpkg \"/usr/bin/dpkg\";\nAPT::Get::Show-User-Simulation-Note \"false\";\n",
		inside+"/", inside+"/var/lib/dpkg/status")
	if err := os.WriteFile(filepath.Join(root, inside, "apt.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nodeExec runs the programs of a scan inside a node, so that it is the node's own apt that is asked.
type nodeExec struct {
	t               *testing.T
	bed, node, conf string
	asked           *int
}

func (e nodeExec) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	*e.asked++
	args := []string{"exec", e.node, "--env", "APT_CONFIG=" + e.conf, "--", c.Path}
	cmd := exec.Command(filepath.Join(e.bed, "deb-node"), append(args, c.Args...)...)
	out, err := cmd.Output()
	code := 0
	if x, ok := err.(*exec.ExitError); ok {
		code, err = x.ExitCode(), nil
	}
	return patch.Output{Code: code, Stdout: out}, err
}

func scanRootIn(t *testing.T, bed, node, inside, dir string) (*compliance.Result, *Manager) {
	t.Helper()
	asked := 0
	m := New(Config{FS: os.DirFS(dir), Root: dir, Exec: nodeExec{t, bed, node, inside + "/apt.conf", &asked}, Note: func(s string) { t.Log(s) }})
	e := patch.Engine{Manager: m, Now: time.Now}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("apt was asked %d times", asked)
	return res, m
}
