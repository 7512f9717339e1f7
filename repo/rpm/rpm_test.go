package rpm_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oakum.dev/repo/rpm"
)

// description is what rpm-repo builds the tests' packages from: every kind of relation, odd versions, and scripts.
const description = `
package base   1-1.el9 noarch provides="/bin/sh, libc.so.6(GLIBC_2.4)(64bit)"
package alpha  1.0-1.el9   x86_64 requires="beta >= 1, /bin/sh, (gamma or delta), libc.so.6(GLIBC_2.4)(64bit)" pre="true"
package beta   2:1.5-3.el9 noarch provides="virtual = 3:4-5, other, more < 7" obsoletes="oldbeta < 2.0-1, ancient" conflicts="enemy > 1, foe <= 0:2.0"
package gamma  3.1~rc1-1.el9 noarch post="true" size=300000
package delta  1.0^git1-1.el9 noarch summary="a <b> & 'c'"
package kernel 5.14.0-1.el9 x86_64 provides="installonlypkg(kernel)"
package alpha  1.1-1.el9   x86_64 requires="beta >= 1"
package alpha  1.2-1.el9   x86_64 requires="beta >= 1" obsoletes="delta"
package beta   2:1.6-3.el9 noarch
package gamma  3.2-1.el9   noarch
package kernel 5.14.0-2.el9 x86_64 provides="installonlypkg(kernel)"
advisory OAK-2026:0001 type=security severity=Important issued=2026-01-10 updated="2026-01-11 10:20:30" cves=CVE-2026-0001,CVE-2026-0002 bugs=11,12 title="Important: alpha security update" packages=alpha-1.1-1.el9.x86_64
advisory OAK-2026:0002 type=bugfix issued=2026-01-12 title="beta <bug> & fix" relogin=yes packages=beta-2:1.6-3.el9.noarch
advisory OAK-2026:0003 type=security severity=Critical issued=2026-02-01 cves=CVE-2026-0003 reboot=yes packages=kernel-5.14.0-2.el9.x86_64,alpha-1.1-1.el9.x86_64
advisory OAK-2026:0004 type=enhancement issued=2026-02-02 restart=yes packages=gamma-3.2-1.el9.noarch
advisory OAK-2026:0005 type=security severity=Low issued=2026-03-01 cves=CVE-2026-0005 packages=alpha-1.2-1.el9.x86_64
advisory OAK-2026:0006 type=security severity=Low issued=2026-03-02 packages=absent-1.2-1.el9.x86_64
`

var built struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
}

// repository builds the repository of description once, with real rpmbuild and createrepo_c.
func repository(t testing.TB) string {
	t.Helper()
	need(t, "bash", "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "oakum-rpm-"); built.err != nil {
			return
		}
		text := filepath.Join(built.dir, "description")
		if built.err = os.WriteFile(text, []byte(description), 0o644); built.err != nil {
			return
		}
		out, err := exec.Command("../../acceptance/testbed/rpm-repo", "build", text, filepath.Join(built.dir, "repo")).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("rpm-repo: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "repo")
}

// dbPath is the option that makes rpm use the database of a root.
func dbPath(root string) string { return "--dbpath=" + filepath.Join(root, "var/lib/rpm") }

// justDB records packages as installed in the database of a root, without unpacking them.
func justDB(root string, files ...string) *exec.Cmd {
	args := []string{dbPath(root), "-i", "--justdb", "--nodeps", "--ignorearch", "--ignoreos", "--noscripts", "--notriggers", "--force"}
	return exec.Command("rpm", append(args, files...)...)
}

// database makes a root with a real rpm database of the description's first packages and two kernels.
func database(t testing.TB) string {
	t.Helper()
	repo := repository(t)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, n := range []string{"alpha-1.0-1.el9.x86_64", "beta-1.5-3.el9.noarch", "gamma-3.1~rc1-1.el9.noarch", "delta-1.0^git1-1.el9.noarch", "kernel-5.14.0-1.el9.x86_64", "kernel-5.14.0-2.el9.x86_64"} {
		files = append(files, filepath.Join(repo, n+".rpm"))
	}
	if out, err := justDB(root, files...).CombinedOutput(); err != nil {
		t.Fatalf("rpm -i: %v\n%s", err, out)
	}
	return root
}

// format makes rpm print what Installed reads.
const format = `P %{NAME} %{EPOCH} %{VERSION} %{RELEASE} %{ARCH} %{INSTALLTIME} %{BUILDTIME} %{LONGSIZE} %{SOURCERPM} %{VENDOR} %{MODULARITYLABEL}\n` +
	`[R %{REQUIRENAME} |%{REQUIREFLAGS:depflags}| %{REQUIREVERSION} |%{REQUIREFLAGS:deptype}|\n]` +
	`[V %{PROVIDENAME} |%{PROVIDEFLAGS:depflags}| %{PROVIDEVERSION}\n]` +
	`[C %{CONFLICTNAME} |%{CONFLICTFLAGS:depflags}| %{CONFLICTVERSION}\n]` +
	`[O %{OBSOLETENAME} |%{OBSOLETEFLAGS:depflags}| %{OBSOLETEVERSION}\n]\n`

// askRPM lists packages as rpm sees them, one text each, sorted.
func askRPM(t testing.TB, args ...string) []string {
	t.Helper()
	cmd := exec.Command("rpm", append(args, "--nodigest", "--nosignature", "--queryformat", format)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpm %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	var list []string
	for _, block := range strings.Split(string(out), "\n\n") {
		if block = strings.TrimSpace(block); block == "" {
			continue
		}
		lines := strings.Split(block, "\n")
		kept := []string{strings.ReplaceAll(lines[0], "(none)", "-")}
		for _, l := range lines[1:] {
			w := strings.Split(l, "|")
			name, version := w[0], strings.TrimPrefix(strings.TrimSpace(w[2]), "0:")
			if strings.HasPrefix(name, "R rpmlib(") {
				continue
			}
			pre := ""
			if len(w) > 3 {
				for _, kind := range strings.Split(w[3], ",") {
					if kind == "pre" || kind == "post" || kind == "prereq" {
						pre = " pre"
					}
				}
			}
			kept = append(kept, strings.TrimSpace(name+strings.TrimSpace(w[1])+" "+version+pre))
		}
		slices.Sort(kept[1:])
		list = append(list, strings.Join(kept, "\n"))
	}
	slices.Sort(list)
	return list
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func seconds(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprint(at.Unix())
}

func relations(kind string, list []rpm.Relation) []string {
	sense := map[rpm.Sense]string{
		0: "", rpm.Less: "<", rpm.Less | rpm.Equal: "<=", rpm.Equal: "=", rpm.Greater | rpm.Equal: ">=", rpm.Greater: ">",
	}
	var out []string
	for _, r := range list {
		v := r.Version
		if r.Epoch != "" {
			v = r.Epoch + ":" + v
		}
		if r.Release != "" {
			v += "-" + r.Release
		}
		pre := ""
		if r.Pre {
			pre = " pre"
		}
		out = append(out, strings.TrimSpace(kind+" "+r.Name+" "+sense[r.Sense]+" "+v+pre))
	}
	return out
}

// text writes a package as askRPM does.
func text(p *rpm.Package) string {
	lines := []string{strings.Join([]string{
		"P", p.Name, dash(p.Epoch), p.Version, p.Release, dash(p.Arch), seconds(p.Installed), seconds(p.Built), fmt.Sprint(p.DiskBytes), dash(p.Source), dash(p.Vendor), dash(p.Label),
	}, " ")}
	lines = append(lines, relations("R", p.Requires)...)
	lines = append(lines, relations("V", p.Provides)...)
	lines = append(lines, relations("C", p.Conflicts)...)
	lines = append(lines, relations("O", p.Obsoletes)...)
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

// installed reads a root, again when rpm was at work.
func installed(t testing.TB, root fs.FS) []string {
	t.Helper()
	var list []string
	if err := rpm.Installed(context.Background(), root, func(p *rpm.Package) error { list = append(list, text(p)); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// plain joins blanks, for lists that two programs print.
func plain(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		lines := strings.Split(s, "\n")
		for j := range lines {
			lines[j] = strings.Join(strings.Fields(lines[j]), " ")
		}
		slices.Sort(lines[1:])
		out[i] = strings.Join(lines, "\n")
	}
	slices.Sort(out)
	return out
}
