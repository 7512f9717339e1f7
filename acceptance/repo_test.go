//go:build linux

package acceptance

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// mirror serves package files and metadata, as well as it is told to.
type mirror struct {
	t       *testing.T
	dir     string
	url     string
	cut     atomic.Pointer[string] // files with this in their name break off half way
	gone    atomic.Bool            // nothing can be fetched
	fetched atomic.Int64           // package files that were asked for
}

// serve serves what is below dir/repo.
func (m *mirror) serve() {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	files := http.FileServer(http.Dir(filepath.Join(m.dir, "repo")))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if ext := filepath.Ext(req.URL.Path); ext == ".deb" || ext == ".rpm" {
			m.fetched.Add(1)
		}
		if m.gone.Load() {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		if word := m.cut.Load(); word != nil && strings.Contains(req.URL.Path, *word) {
			half(w, filepath.Join(m.dir, "repo", filepath.Clean(req.URL.Path)))
			return
		}
		files.ServeHTTP(w, req)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	m.t.Cleanup(func() { _ = srv.Close() })
	m.url = "http://" + l.Addr().String()
}

// aptRepo is a signed archive with a main suite, which nodes are installed from, and a security suite beside it.
type aptRepo struct{ mirror }

// newAptRepo builds an archive from apt-repo's "deb" lines and serves it.
func newAptRepo(t *testing.T, lines string) *aptRepo {
	t.Helper()
	r := &aptRepo{mirror{t: t, dir: t.TempDir()}}
	r.build(lines)
	r.serve()
	return r
}

// half promises a whole file, sends half of it and hangs up: a mirror that is lost in mid-download.
func half(w http.ResponseWriter, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b[:len(b)/2]) // the other side may be gone
	panic(http.ErrAbortHandler)
}

// build makes the archive again from other lines.
func (r *aptRepo) build(lines string) {
	r.t.Helper()
	const head = `suite bookworm origin=Debian label=Debian suite=stable codename=bookworm version=12.0
suite bookworm-security origin=Debian label=Debian-Security suite=stable-security codename=bookworm-security version=12
`
	desc := filepath.Join(r.dir, "description")
	if err := os.WriteFile(desc, []byte(head+lines), 0o644); err != nil {
		r.t.Fatal(err)
	}
	out, err := exec.Command("testbed/apt-repo", "build", desc, filepath.Join(r.dir, "repo")).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "missing; run") {
			missing(r.t, "a test archive cannot be built: %s", out)
		}
		r.t.Fatalf("build the archive: %v\n%s", err, out)
	}
}

// sources writes a .sources file with the given suites for nodes.
func (r *aptRepo) sources(suites string) string {
	r.t.Helper()
	out, err := exec.Command("testbed/apt-repo", "sources", filepath.Join(r.dir, "repo"), r.url).Output()
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "Suites:") {
			line = "Suites: " + suites + "\n"
		}
		b.WriteString(line)
	}
	file := filepath.Join(r.dir, "archive.sources")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return file
}

// node makes a node with packages installed at the versions of the main suite; the security suite comes afterwards.
func (r *aptRepo) node(t *testing.T, name string, packages []string, args ...string) *debNode {
	t.Helper()
	freshNode(name)
	n := newDebNode(t, name, append([]string{"--sources", r.sources("bookworm")}, args...)...)
	n.mustRun(append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, packages...)...)
	b, err := os.ReadFile(r.sources("bookworm bookworm-security"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.root, "etc/apt/sources.list.d/archive.sources"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return n
}

// freshNode takes away what an earlier run left: its packages and sources are not those that are wanted.
func freshNode(name string) {
	_ = testbed("destroy", "w-"+name).Run() // there may be none
}

// versions are the packages of a node as dpkg knows them: name to version, with the state where it is not "installed".
func (n *debNode) versions() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(n.mustRun("dpkg-query", "-W", "-f", `${Package}:${Architecture} ${Version} ${db:Status-Status}\n`)) {
		w := strings.Fields(line)
		if len(w) < 3 {
			continue
		}
		out[w[0]] = w[1]
		if w[2] != "installed" {
			out[w[0]] += " " + w[2]
		}
	}
	return out
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
