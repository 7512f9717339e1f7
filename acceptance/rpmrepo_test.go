//go:build linux

package acceptance

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rpmRepo is a repository of rpm packages with update notices, served over HTTP.
type rpmRepo struct{ mirror }

// newRPMRepo builds a repository from rpm-repo's lines and serves it.
func newRPMRepo(t *testing.T, lines string, args ...string) *rpmRepo {
	t.Helper()
	r := &rpmRepo{mirror{t: t, dir: t.TempDir()}}
	r.build(lines, args...)
	r.serve()
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
	return madeNode(t, "w-"+name, exec.Command("testbed/rpm-node", append([]string{"create", "w-" + name, "--os", system, "--repo", r.url, "--install", packages}, args...)...))
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

// randomSeeds are 1 to 3, or as many as OAKUM_SEEDS says from a random one on.
func randomSeeds(t *testing.T) []uint64 {
	t.Helper()
	s := os.Getenv("OAKUM_SEEDS")
	if s == "" {
		return []uint64{1, 2, 3}
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for first := rand.Uint64(); len(seeds) < n; {
		seeds = append(seeds, first+uint64(len(seeds)))
	}
	return seeds
}
