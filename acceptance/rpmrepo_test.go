//go:build linux

package acceptance

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// rpmRepo is a repository of rpm packages with update notices, served over HTTP.
type rpmRepo struct {
	t       *testing.T
	dir     string
	url     string
	cut     atomic.Pointer[string] // files with this in their name break off half way
	gone    atomic.Bool            // nothing can be fetched
	fetched atomic.Int64           // package files that were asked for
}

// newRPMRepo builds a repository from rpm-repo's lines and serves it.
func newRPMRepo(t *testing.T, lines string, args ...string) *rpmRepo {
	t.Helper()
	r := &rpmRepo{t: t, dir: t.TempDir()}
	r.build(lines, args...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(filepath.Join(r.dir, "repo")))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, ".rpm") {
			r.fetched.Add(1)
		}
		if r.gone.Load() {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		if word := r.cut.Load(); word != nil && strings.Contains(req.URL.Path, *word) {
			half(w, filepath.Join(r.dir, "repo", filepath.Clean(req.URL.Path)))
			return
		}
		files.ServeHTTP(w, req)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = srv.Close() })
	r.url = "http://" + l.Addr().String()
	return r
}

// build makes the repository again from other lines.
func (r *rpmRepo) build(lines string, args ...string) {
	r.t.Helper()
	desc := filepath.Join(r.dir, "description")
	writeFile(r.t, desc, lines)
	out, err := exec.Command("testbed/rpm-repo", append([]string{"build", desc, filepath.Join(r.dir, "repo")}, args...)...).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "missing; run") {
			missing(r.t, "a test repository cannot be built: %s", out)
		}
		r.t.Fatalf("build the repository: %v\n%s", err, out)
	}
}

// node makes a node of an operating system with packages installed from the repository.
func (r *rpmRepo) node(t *testing.T, name, system, packages string, args ...string) *debNode {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "RPM nodes need root")
	}
	freshNode(name)
	name = "w-" + name
	cmd := exec.Command("testbed/rpm-node", append([]string{"create", name, "--os", system, "--repo", r.url, "--install", packages}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(errs.String(), "missing; run") {
			missing(t, "RPM nodes: %s", &errs)
		}
		t.Fatalf("make the node %s: %v\n%s", name, err, &errs)
	}
	n := &debNode{t: t, name: name, root: strings.TrimSpace(string(out))}
	n.putBinary()
	t.Cleanup(func() {
		if os.Getenv("OAKUM_KEEP_NODES") == "" {
			if out, err := testbed("destroy", name).CombinedOutput(); err != nil {
				t.Errorf("destroy the node %s: %v: %s", name, err, out)
			}
		}
	})
	return n
}

// nodeScan is what "oakum scan --output json" says.
type nodeScan struct {
	Status, Severity                                                             string
	InstalledCount, InstalledOtherCount, InstalledPendingRebootCount             int
	InstalledRejectedCount, MissingCount, FailedCount, NotApplicableCount        int
	CriticalNonCompliantCount, SecurityNonCompliantCount, OtherNonCompliantCount int
	RebootRequired                                                               bool
	Repositories                                                                 []struct {
		Suite, Detail         string
		Missing, NoAdvisories bool
	}
	RebootReasons []string
	Items         []struct{ ID, Title, Name, State, Level, Reason, Detail, AvailableVersion, Classification, Severity string }
}

// scan runs "oakum scan" in the node and returns what it found, and each package's state and reason.
func (n *debNode) scan(args ...string) (nodeScan, map[string]string) {
	n.t.Helper()
	var stderr bytes.Buffer
	cmd := testbed(append([]string{"exec", n.name, "--", "/usr/local/bin/oakum", "scan", "--output", "json"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output() // the exit code says whether the node is compliant
	var s nodeScan
	if jerr := json.Unmarshal(out, &s); jerr != nil {
		n.t.Fatalf("oakum scan in %s: %v, %v\n%.2000s\n%s", n.name, err, jerr, out, &stderr)
	}
	by := map[string]string{}
	for _, it := range s.Items {
		by[it.Name] = strings.TrimSpace(it.State + " " + it.Reason)
	}
	return s, by
}
