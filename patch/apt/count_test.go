package apt

import (
	"os"
	"strings"
	"testing"

	"oakum.dev/baseline"
	"oakum.dev/repo/deb"
)

// TestNotApplicableCount counts one by one: every package whose name is not installed and of which the predefined
// baseline approves a version. For another architecture it is another package. OAKUM_TEST_ROOT adds a real root to the random ones.
func TestNotApplicableCount(t *testing.T) {
	t.Parallel()
	b := predefined(t, baseline.Debian)
	var roots []string
	for seed := range uint64(6) {
		dir := t.TempDir()
		randomRoot(seed, "2.6.1").write(t, dir)
		roots = append(roots, dir)
		dir = t.TempDir()
		randomMultiRoot(seed, "2.6.1").write(t, dir)
		roots = append(roots, dir)
	}
	if dir := os.Getenv("OAKUM_TEST_ROOT"); dir != "" {
		roots = append(roots, dir)
	}
	for _, dir := range roots {
		res, m := scanRoot(t, dir, b)
		n := m.node
		installed := map[string]bool{}
		for _, p := range n.order {
			installed[p.name] = true
		}
		approved := map[string]bool{}
		for _, i := range n.indexes {
			f, err := os.DirFS(dir).Open(i.path)
			if err != nil {
				t.Fatal(err)
			}
			err = deb.ReadStatus(f, func(p *deb.Package) error {
				fact := baseline.Patch{Name: p.Name, Arch: p.Arch, Version: p.Version, Priority: p.Priority, Section: p.Section, Released: i.rel.Date, Security: i.security()}
				if i.security() {
					fact.Classification = "Security"
				}
				node := baseline.Node{OS: baseline.Debian, Product: res.Header.Product}
				if i.trusted && !installed[p.Name] && b.Evaluate(node, &fact, november).Approved {
					approved[key(p.Name, strings.Replace(p.Arch, "all", n.native, 1))] = true
				}
				return nil
			})
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := res.Header.Counts.NotApplicable; got != len(approved) {
			t.Errorf("%s: %d patches do not apply, counted one by one %d", dir, got, len(approved))
		}
		t.Logf("%s: %d", dir, len(approved))
	}
}
