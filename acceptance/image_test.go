//go:build linux

package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/host"
	"oakum.dev/repo/image"
)

// judged is what a scan says of a root, without what differs between looks at the same system.
type judged struct {
	Status       string
	MissingCount int
	Items        []map[string]any
	Image        *struct{ Name, Digest, Platform string }
	Degraded     []string
}

func scanned(t *testing.T, out []byte, err error) judged {
	t.Helper()
	var j judged
	if e := json.Unmarshal(out, &j); e != nil {
		t.Fatalf("scan: %v, %v\n%s", err, e, out)
	}
	return j
}

// scanHere runs oakum scan on this machine and returns its exit code and stderr too.
func scanHere(t *testing.T, env []string, args ...string) (judged, int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"scan", "--output", "json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append(os.Environ(), env...)
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out.Len() == 0 {
		return judged{}, cmd.ProcessState.ExitCode(), errs.String()
	}
	return scanned(t, out.Bytes(), err), cmd.ProcessState.ExitCode(), errs.String()
}

func sh(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// rounded forgives the second that umoci, like other programs that write layers, rounds times of files to.
var rounded = cmp.FilterPath(func(p cmp.Path) bool {
	i, ok := p.Index(-2).(cmp.MapIndex)
	return ok && i.Key().String() == "InstalledTime"
}, cmp.Comparer(func(a, b string) bool {
	x, err := time.Parse(time.RFC3339, a)
	y, err2 := time.Parse(time.RFC3339, b)
	return errors.Join(err, err2) == nil && x.Sub(y).Abs() <= time.Second
}))

// withoutDates drops what rests on when a version was first seen.
func withoutDates(lists ...[]map[string]any) [][]map[string]any {
	for _, items := range lists {
		for _, i := range items {
			delete(i, "ReleasedTime")
			delete(i, "ApprovalDate")
		}
	}
	return lists
}

// imageParts are the folders of a node that go into test images: more than a scan reads, less than everything.
var imageParts = []string{"etc", "usr/lib/os-release", "usr/share/keyrings", "usr/sbin", "var/lib/dpkg", "var/lib/apt"}

// layerOf makes a layer with the real tar.
func layerOf(t *testing.T, dir string, parts ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "--sort=name", "-cf", "-"}, parts...)...).Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	return out
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeTar(t *testing.T, name string, files map[string][]byte) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for n, b := range files {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(b))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// saveOld writes what docker save wrote before version 25: a folder with layer.tar for each layer.
func saveOld(t *testing.T, name string, layers ...[]byte) {
	files := map[string][]byte{}
	var ids, names []string
	for _, l := range layers {
		ids, names = append(ids, "sha256:"+sha(l)), append(names, sha([]byte(sha(l)))+"/layer.tar")
		files[names[len(names)-1]] = l
	}
	conf := jsonOf(t, map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	files[sha(conf)+".json"] = conf
	files["manifest.json"] = jsonOf(t, []any{map[string]any{"Config": sha(conf) + ".json", "RepoTags": []string{"node:latest"}, "Layers": names}})
	writeTar(t, name, files)
}

// saveNew writes what docker save writes since version 25: an OCI layout that has a manifest.json as well.
func saveNew(t *testing.T, name string, layers ...[]byte) {
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	blob := func(mediaType string, b []byte) map[string]any {
		files["blobs/sha256/"+sha(b)] = b
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sha(b), "size": len(b)}
	}
	var ids, names []string
	var descs []any
	for _, l := range layers {
		z := zipped(t, l)
		ids, names = append(ids, "sha256:"+sha(l)), append(names, "blobs/sha256/"+sha(z))
		descs = append(descs, blob("application/vnd.oci.image.layer.v1.tar+gzip", z))
	}
	conf := jsonOf(t, map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	confDesc := blob("application/vnd.oci.image.config.v1+json", conf)
	man := blob("application/vnd.oci.image.manifest.v1+json", jsonOf(t, map[string]any{"schemaVersion": 2, "config": confDesc, "layers": descs}))
	man["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/library/node:latest", "org.opencontainers.image.ref.name": "latest"}
	files["index.json"] = jsonOf(t, map[string]any{"schemaVersion": 2, "manifests": []any{man}})
	files["manifest.json"] = jsonOf(t, []any{map[string]any{"Config": "blobs/sha256/" + sha(conf), "RepoTags": []string{"node:latest"}, "Layers": names}})
	writeTar(t, name, files)
}

// TestImage wants one verdict on a node, on its root, and on images made of it: by hand in both forms of docker save,
// and by umoci, and skopeo where it is installed, in theirs. The layers below hold what the ones above take away.
func TestImage(t *testing.T) {
	t.Parallel()
	n := newDebNode(t, "image", "--outdated", "default")
	live, err := n.output("/usr/local/bin/oakum", "scan", "--no-refresh", "--output", "json")
	want := scanned(t, live, err)
	if want.MissingCount == 0 || want.Status != "NON_COMPLIANT" {
		t.Fatalf("the node misses nothing: %s", live)
	}
	same := func(t *testing.T, args ...string) {
		t.Helper()
		got, code, errs := scanHere(t, nil, args...)
		if code != 3 || got.Status != want.Status {
			t.Errorf("%v: exit %d, status %s\n%s", args, code, got.Status, errs)
		}
		if diff := cmp.Diff(want.Items, got.Items, rounded); diff != "" {
			t.Errorf("%v: items (-live +image):\n%.3000s", args, diff)
		}
		if args[0] == "--image" && (got.Image == nil || got.Image.Platform != "linux/amd64" || !strings.HasPrefix(got.Image.Digest, "sha256:")) {
			t.Errorf("%v: image %+v", args, got.Image)
		}
	}
	same(t, "--root", n.root)

	// three layers: one with a source too many, an old status and lists of something else; one that mends half of it; one
	// that takes the rest away
	dir := t.TempDir()
	lower, top := filepath.Join(dir, "lower"), filepath.Join(dir, "top")
	for _, p := range imageParts {
		to := filepath.Join(lower, p)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		sh(t, "cp", "-a", filepath.Join(n.root, p), to)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	extra := filepath.Join(lower, "etc/apt/sources.list.d/extra.list")
	write(extra, "deb http://archive.example.com/debian bookworm main\n")
	write(filepath.Join(lower, "var/lib/apt/lists/old_Packages"), "Package: x\n\n")
	status := filepath.Join(lower, "var/lib/dpkg/status")
	right, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	write(status, "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.1\n\n")
	layers := [][]byte{layerOf(t, lower, "etc", "usr", "var")}
	write(status, string(right))
	layers = append(layers, layerOf(t, lower, "var/lib/dpkg/status"))
	write(filepath.Join(top, "var/lib/apt/lists/.wh..wh..opq"), "")
	write(filepath.Join(top, "etc/apt/sources.list.d/.wh.extra.list"), "")
	sh(t, "cp", "-a", filepath.Join(n.root, "var/lib/apt/lists"), filepath.Join(top, "var/lib/apt"))
	layers = append(layers, layerOf(t, top, "etc", "var"))
	saveOld(t, filepath.Join(dir, "old.tar"), layers...)
	saveNew(t, filepath.Join(dir, "new.tar"), layers...)
	same(t, "--image", filepath.Join(dir, "old.tar"))
	same(t, "--image", filepath.Join(dir, "new.tar"))
	for _, cut := range []string{"old.tar", "new.tar"} {
		b, err := os.ReadFile(filepath.Join(dir, cut))
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(dir, "cut.tar"), string(b[:len(b)*2/3]))
		if _, code, errs := scanHere(t, nil, "--image", filepath.Join(dir, "cut.tar")); code != 1 {
			t.Errorf("two thirds of %s: exit %d\n%s", cut, code, errs)
		}
	}

	t.Run("umoci", func(t *testing.T) {
		if _, err := exec.LookPath("umoci"); err != nil {
			missing(t, "umoci: %v", err)
		}
		layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
		rootfs := filepath.Join(bundle, "rootfs")
		sh(t, "umoci", "init", "--layout", layout)
		sh(t, "umoci", "new", "--image", layout+":node")
		sh(t, "umoci", "unpack", "--image", layout+":node", bundle)
		for _, p := range []string{"etc", "usr", "var"} {
			sh(t, "cp", "-a", filepath.Join(lower, p), rootfs)
		}
		sh(t, "umoci", "repack", "--refresh-bundle", "--image", layout+":node", bundle)
		sh(t, "rm", filepath.Join(rootfs, "etc/apt/sources.list.d/extra.list"), filepath.Join(rootfs, "var/lib/apt/lists/old_Packages"))
		sh(t, "umoci", "repack", "--refresh-bundle", "--image", layout+":node", bundle)
		same(t, "--image", layout)
		same(t, "--image", layout, "--image-name", "node", "--platform", "linux/amd64")
		t.Run("skopeo", func(t *testing.T) {
			if _, err := exec.LookPath("skopeo"); err != nil {
				t.Skipf("skopeo is not installed, and too large to ask for: %v", err)
			}
			for _, to := range [][]string{
				{"docker-archive:" + filepath.Join(dir, "skopeo-docker.tar") + ":node:latest"},
				{"oci-archive:" + filepath.Join(dir, "skopeo-oci.tar") + ":latest"},
				{"oci:" + filepath.Join(dir, "skopeo-zstd") + ":latest", "--dest-compress-format", "zstd"},
			} {
				sh(t, "skopeo", append([]string{"copy", "--insecure-policy", "oci:" + layout + ":node"}, to...)...)
				_, path, _ := strings.Cut(to[0], ":")
				path, _, _ = strings.Cut(path, ":")
				same(t, "--image", path)
			}
		})
	})

	t.Run("lists_of_its_own_sources", func(t *testing.T) {
		write(filepath.Join(top, "bare/etc/apt/apt.conf.d/99evil"), `APT::Update::Pre-Invoke { "touch `+dir+`/ran"; }; APT::Solver "sh"; Dir::Bin::Solvers "/bin";`)
		bare := append(slices.Clone(layers), layerOf(t, filepath.Join(top, "bare"), "etc"))
		write(filepath.Join(top, "gone/var/lib/apt/.wh.lists"), "")
		bare = append(bare, layerOf(t, filepath.Join(top, "gone"), "var"))
		saveNew(t, filepath.Join(dir, "bare.tar"), bare...)
		tmp := t.TempDir()
		env := []string{"TMPDIR=" + tmp}
		_, code, errs := scanHere(t, env, "--image", filepath.Join(dir, "bare.tar"))
		if code != 1 || !strings.Contains(errs, "newer versions are not known") || !strings.Contains(errs, "add --refresh") {
			t.Errorf("an image without lists: exit %d\n%s", code, errs)
		}
		before := machineState(t)
		got, code, errs := scanHere(t, env, "--image", filepath.Join(dir, "bare.tar"), "--refresh")
		if len(got.Degraded) > 0 {
			missing(t, "the archive's lists could not be fetched: %v", got.Degraded)
		}
		fresh, err := n.output("/usr/local/bin/oakum", "scan", "--output", "json")
		now := scanned(t, fresh, err)
		// the node remembers when it first saw a version, where the archive does not say when it was published
		pair := withoutDates(now.Items, got.Items)
		if diff := cmp.Diff(pair[0], pair[1]); code != 3 || diff != "" {
			t.Errorf("with lists of its own sources: exit %d\n%s\nitems (-live +image):\n%.3000s", code, errs, diff)
		}
		if after := machineState(t); after != before {
			t.Errorf("this machine's lists changed:\n%s\n%s", before, after)
		}
		if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
			t.Error("a command of the image's configuration was run")
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// machineState is what apt-get update would change of this machine.
func machineState(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", "/var/lib/apt/lists", "/var/cache/apt", "-printf", "%p %T@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return sha(out)
}

func (n *debNode) output(args ...string) ([]byte, error) {
	return testbed(append([]string{"exec", n.name, "--"}, args...)...).Output()
}

// TestImageInterrupted: SIGINT while an archive is still coming leaves nothing behind.
func TestImageInterrupted(t *testing.T) {
	tmp := t.TempDir()
	cmd := exec.Command(binary(t), "scan", "--image", "-")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(bytes.Repeat([]byte("a"), 1<<16)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a folder for the image", 20*time.Second, func() bool {
		list, err := filepath.Glob(filepath.Join(tmp, "oakum-image-*", "archive-*"))
		return err == nil && len(list) == 1
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("it did not end within 20 s of SIGINT")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// watched is a root that remembers what was opened and is there.
type watched struct {
	fs.FS
	mu   sync.Mutex
	seen map[string]bool
}

func (w *watched) Open(name string) (fs.File, error) {
	f, err := w.FS.Open(name)
	if err == nil {
		if info, e := f.Stat(); e == nil && !info.IsDir() {
			w.mu.Lock()
			w.seen[name] = true
			w.mu.Unlock()
		}
	}
	return f, err
}

func (w *watched) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(w.FS, name)
	if err == nil && !info.IsDir() {
		w.mu.Lock()
		w.seen[name] = true
		w.mu.Unlock()
	}
	return info, err
}

// TestImageHoldsWhatManagersRead scans a real root and fails when a file is looked at that images are unpacked without.
func TestImageHoldsWhatManagersRead(t *testing.T) {
	n := newDebNode(t, "read")
	everyFileIsUnpacked(t, n.root)
}

// TestImageOfRPMNode wants one verdict on a node with dnf, on its root and on an image of it.
func TestImageOfRPMNode(t *testing.T) {
	r := newRPMRepo(t, rpmDescription)
	n := r.node(t, "rpm-image", "rhel9", "alpha-1.0 beta-1.5 gamma-3.1~rc1 delta-1.0-1.el9 kernel-5.14.0-1.el9")
	n.mustRun("dnf", "-q", "makecache")
	live, err := n.output("/usr/local/bin/oakum", "scan", "--no-refresh", "--output", "json")
	want := scanned(t, live, err)
	if want.MissingCount == 0 {
		t.Fatalf("the node misses nothing: %s", live)
	}
	dir := t.TempDir()
	saveOld(t, filepath.Join(dir, "old.tar"), layerOf(t, n.root, "etc", "var", "usr/lib/os-release"))
	saveNew(t, filepath.Join(dir, "new.tar"), layerOf(t, n.root, "etc", "var", "usr/lib/os-release"))
	for _, args := range [][]string{{"--root", n.root}, {"--image", filepath.Join(dir, "old.tar")}, {"--image", filepath.Join(dir, "new.tar")}} {
		got, code, errs := scanHere(t, nil, args...)
		if diff := cmp.Diff(want.Items, got.Items); diff != "" || code != 3 || got.Status != want.Status {
			t.Errorf("%v: exit %d\n%s\nitems (-live +this):\n%.3000s", args, code, errs, diff)
		}
	}
	everyFileIsUnpacked(t, n.root)
}

func everyFileIsUnpacked(t *testing.T, root string) {
	t.Helper()
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := &watched{FS: r.FS(), seen: map[string]bool{}}
	m, err := host.Open(host.Config{FS: w, Root: root, Exec: patch.OSExec{}, Note: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Platform(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	def, ok := baseline.DefaultFor(p.Node.OS)
	if !ok {
		t.Fatalf("no baseline for %s", p.Node.OS)
	}
	e := patch.Engine{Manager: m, Now: time.Now}
	if _, err := e.Scan(context.WithoutCancel(t.Context()), patch.ScanRequest{Baseline: &def.Baseline}); err != nil {
		t.Fatal(err)
	}
	if len(w.seen) < 10 {
		t.Errorf("only %d files were looked at: %v", len(w.seen), w.seen)
	}
	for name := range w.seen {
		if !image.Wanted(name) && !strings.HasPrefix(name, "proc/") {
			t.Errorf("/%s is looked at, and images are unpacked without it", name)
		}
	}
}
