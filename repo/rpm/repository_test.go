package rpm_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/compress"
	"oakum.dev/repo/rpm"
)

// openData opens a file of a repository on disk.
func openData(t testing.TB, dir, kind string) io.ReadCloser {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	md, err := rpm.ReadRepomd(f)
	if err != nil {
		t.Fatal(err)
	}
	d := md.Find(kind)
	if d == nil {
		t.Fatalf("%s has no %s", dir, kind)
	}
	data, err := os.Open(filepath.Join(dir, d.Location))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	r, err := compress.Sniff(data, rpm.MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// packagesOf reads all of a repository's packages.
func packagesOf(t testing.TB, dir string) []*rpm.Package {
	t.Helper()
	var list []*rpm.Package
	err := rpm.ScanPrimary(openData(t, dir, "primary"), rpm.Query{Name: all}, func(p *rpm.Package) error { list = append(list, p); return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// noticesOf reads all of a repository's notices.
func noticesOf(t testing.TB, dir string) []*rpm.Notice {
	t.Helper()
	var list []*rpm.Notice
	if err := rpm.ScanNotices(openData(t, dir, "updateinfo"), nil, func(n *rpm.Notice) error { list = append(list, n); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPrimaryAgreesWithRPM compares what createrepo_c wrote with what rpm says about the package files themselves.
func TestPrimaryAgreesWithRPM(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil || len(files) != 11 {
		t.Fatalf("%d package files, %v", len(files), err)
	}
	want := plain(askRPM(t, append([]string{"-qp"}, files...)...))
	var got []string
	for _, p := range packagesOf(t, dir) {
		got = append(got, text(p))
		info, err := os.Stat(filepath.Join(dir, p.Location))
		if err != nil || info.Size() != p.Bytes {
			t.Errorf("%s: location %q of %d bytes: %v", p.Name, p.Location, p.Bytes, err)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ScanPrimary (-rpm +got):\n%s", diff)
	}
}

// recompress copies a repository's metadata with its files compressed by a real tool, in place of what createrepo_c used.
func recompress(t *testing.T, repo, ext string, tool ...string) string {
	t.Helper()
	need(t, tool[0], "gzip")
	dir := t.TempDir()
	for _, what := range []string{"cp -a %[1]s/. %[2]s/"} {
		if out, err := exec.Command("sh", "-c", fmt.Sprintf(what, repo, dir)).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "repodata/*.gz"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%q, %v", files, err)
	}
	index := filepath.Join(dir, "repodata/repomd.xml")
	b, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to := strings.TrimSuffix(f, ".gz") + ext
		if out, err := exec.Command("sh", "-c", "gzip -dc "+f+" | "+strings.Join(tool, " ")+" > "+to+" && rm "+f+" && sha256sum < "+to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		} else if sum := strings.Fields(string(out))[0]; ext != "" {
			info, err := os.Stat(to)
			if err != nil {
				t.Fatal(err)
			}
			b = editData(t, b, filepath.Base(f), filepath.Base(to), sum, info.Size())
		}
	}
	if err := os.WriteFile(index, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// editData puts another file in a data element of repomd.xml.
func editData(t *testing.T, index []byte, from, to, sum string, size int64) []byte {
	t.Helper()
	at := strings.Index(string(index), from)
	if at < 0 {
		t.Fatalf("repomd.xml has no %s", from)
	}
	start := strings.LastIndex(string(index[:at]), "<data ")
	end := at + strings.Index(string(index[at:]), "</data>")
	data := strings.Replace(string(index[start:end]), from, to, 1)
	data = regexp.MustCompile(`<checksum type="sha256">[^<]*`).ReplaceAllString(data, `<checksum type="sha256">`+sum)
	data = regexp.MustCompile(`<size>[^<]*`).ReplaceAllString(data, fmt.Sprintf("<size>%d", size))
	return []byte(string(index[:start]) + data + string(index[end:]))
}

// rpmNode runs the script that makes nodes with a real dnf or zypper.
func rpmNode(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("../../acceptance/testbed/rpm-node", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpm-node %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// TestMetadataAgreesWithDnf asks a real dnf on a node of its own about repositories in every compression.
func TestMetadataAgreesWithDnf(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a real node with dnf; not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a node")
	}
	need(t, "mmdebstrap", "apt-get", "unshare", "zstd", "pgrep")
	gz := repository(t)
	const node = "repo-rpm-dnf"
	t.Cleanup(func() { rpmNode(t, "destroy", node) })
	rpmNode(t, "create", node, "--repo", gz, "--repo-id", "oakgz", "--install", "alpha-1.0 beta-1.5 gamma-3.1~rc1 kernel-5.14.0-1.el9")
	root := strings.TrimSpace(rpmNode(t, "path", node))

	var fromDB []string
	if err := rpm.Installed(context.Background(), os.DirFS(root), func(p *rpm.Package) error { fromDB = append(fromDB, p.Name+"."+p.Arch+" "+p.EVR()); return nil }); err != nil {
		t.Fatal(err)
	}
	fromDnf := strings.Split(strings.TrimSpace(rpmNode(t, "exec", node, "--", "dnf", "-q", "repoquery", "--installed", "--qf", "%{name}.%{arch} %{evr}")), "\n")
	slices.Sort(fromDB)
	slices.Sort(fromDnf)
	if diff := cmp.Diff(fromDnf, fromDB); diff != "" || len(fromDB) < 4 {
		t.Errorf("installed (-dnf +got):\n%s", diff)
	}

	for _, c := range []struct {
		ext  string
		tool []string
	}{{".gz", nil}, {".bz2", []string{"bzip2", "-c"}}, {".xz", []string{"xz", "-c"}}, {".zst", []string{"zstd", "-qc"}}} {
		id, dir := "oak"+c.ext[1:], gz
		if c.tool != nil {
			if dir = recompress(t, gz, c.ext, c.tool...); dir == "" {
				continue
			}
			rpmNode(t, "add-repo", node, id, dir)
		}
		if m, err := filepath.Glob(filepath.Join(dir, "repodata/*primary.xml"+c.ext)); err != nil || len(m) != 1 {
			t.Fatalf("%s: primary files %q, %v", c.ext, m, err)
		}
		dnf := func(args ...string) string {
			return rpmNode(t, append([]string{"exec", node, "--", "dnf", "-q", "--disablerepo=*", "--enablerepo=" + id}, args...)...)
		}
		comparePackages(t, c.ext, dnf, packagesOf(t, dir))
		compareNotices(t, c.ext, dnf("updateinfo", "info", "--all"), noticesOf(t, dir))
	}
}

func comparePackages(t *testing.T, ext string, dnf func(...string) string, packages []*rpm.Package) {
	t.Helper()
	lines := func(s string) []string {
		list := strings.Split(strings.TrimSpace(s), "\n")
		slices.Sort(list)
		return slices.Compact(list)
	}
	var got []string
	for _, p := range packages {
		epoch := p.Epoch
		if epoch == "" {
			epoch = "0"
		}
		got = append(got, strings.Join([]string{p.Name, epoch, p.Version, p.Release, p.Arch, fmt.Sprint(p.Bytes), fmt.Sprint(p.DiskBytes), p.Source, p.Location, p.Built.Format("2006-01-02 15:04")}, " "))
	}
	slices.Sort(got)
	want := lines(dnf("repoquery", "--qf", "%{name} %{epoch} %{version} %{release} %{arch} %{downloadsize} %{installsize} %{sourcerpm} %{relativepath} %{buildtime}"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: packages (-dnf +got):\n%s", ext, diff)
	}
	for kind, of := range map[string]func(*rpm.Package) []rpm.Relation{
		"requires":  func(p *rpm.Package) []rpm.Relation { return p.Requires },
		"provides":  func(p *rpm.Package) []rpm.Relation { return p.Provides },
		"conflicts": func(p *rpm.Package) []rpm.Relation { return p.Conflicts },
		"obsoletes": func(p *rpm.Package) []rpm.Relation { return p.Obsoletes },
	} {
		var got []string
		for _, p := range packages {
			for _, r := range of(p) {
				r.Pre = false
				got = append(got, strings.TrimSpace(strings.TrimPrefix(relations("", []rpm.Relation{r})[0], " ")))
			}
		}
		slices.Sort(got)
		got = slices.Compact(got)
		for i := range got {
			got[i] = strings.Join(strings.Fields(got[i]), " ")
		}
		if diff := cmp.Diff(lines(dnf("repoquery", "--"+kind, "*")), got); diff != "" {
			t.Errorf("%s: %s (-dnf +got):\n%s", ext, kind, diff)
		}
	}
}

// compareNotices reads what dnf prints about notices: a title between two rules, then "Key: value" lines.
func compareNotices(t *testing.T, ext, out string, notices []*rpm.Notice) {
	t.Helper()
	type notice struct{ Title, ID, Type, Updated, Severity, CVEs, Bugs string }
	var want, got []notice
	var n *notice
	var last *string
	var title string
	ruled := false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "=====") {
			if ruled = !ruled; !ruled {
				want = append(want, notice{Title: title})
				n, last = &want[len(want)-1], nil
			}
			continue
		}
		if ruled {
			title = strings.TrimSpace(line)
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || n == nil {
			continue
		}
		switch strings.TrimSpace(key) {
		case "Update ID":
			last = &n.ID
		case "Type":
			last = &n.Type
		case "Updated":
			last = &n.Updated
		case "Severity":
			last = &n.Severity
		case "CVEs":
			last = &n.CVEs
		case "Bugs":
			last = &n.Bugs
		case "":
		default:
			last = nil
		}
		if last == nil {
			continue
		}
		if last == &n.Bugs {
			value, _, _ = strings.Cut(value, " ")
		}
		*last = strings.TrimSpace(*last + " " + value)
	}
	for _, x := range notices {
		if x.Packages[0].Name == "absent" {
			continue // dnf lists notices of installed packages
		}
		at := x.Updated
		if at.IsZero() {
			at = x.Issued
		}
		got = append(got, notice{x.Title, x.ID, x.Type, at.Format("2006-01-02 15:04:05"), x.Severity, strings.Join(x.CVEs, " "), strings.Join(x.Bugzillas, " ")})
	}
	by := func(a, b notice) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(want, by)
	slices.SortFunc(got, by)
	want = slices.Compact(want)
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 5 {
		t.Errorf("%s: notices (-dnf +got):\n%s\ndnf printed:\n%s", ext, diff, out)
	}
}

// BenchmarkScan reads a repository and a database of the size that scans are measured with.
func BenchmarkScan(b *testing.B) {
	dir := os.Getenv("OAKUM_SYNTH")
	if dir == "" {
		b.Skip("set OAKUM_SYNTH to a folder made by: acceptance/testbed/rpm-repo synth DIR (takes minutes)")
	}
	wanted := func(name []byte) bool { return string(name) <= "oakpkg00600" }
	b.Run("primary", func(b *testing.B) {
		for b.Loop() {
			full, rest := 0, 0
			err := rpm.ScanPrimary(openData(b, filepath.Join(dir, "repo"), "primary"), rpm.Query{Name: wanted, Obsoletes: wanted}, func(*rpm.Package) error { full++; return nil }, func(*rpm.Brief) error { rest++; return nil })
			if err != nil || full != 600 || rest != 4400 {
				b.Fatal(full, rest, err)
			}
		}
	})
	b.Run("updateinfo", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := rpm.ScanNotices(openData(b, filepath.Join(dir, "repo"), "updateinfo"), wanted, func(*rpm.Notice) error { n++; return nil }); err != nil || n < 300 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("installed", func(b *testing.B) {
		need(b, "rpm")
		root := b.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755); err != nil {
			b.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "old/*.rpm"))
		if err != nil {
			b.Fatal(err)
		}
		if out, err := justDB(root, files...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		for b.Loop() {
			n := 0
			if err := rpm.Installed(context.Background(), os.DirFS(root), func(*rpm.Package) error { n++; return nil }); err != nil || n != len(files) {
				b.Fatal(n, err)
			}
		}
	})
}
