//go:build linux

package acceptance

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestInstallDoesWhatAptPlans patches real nodes of three releases: what --dry-run shows is what apt-get -s says about
// the same set, and what dpkg has afterwards; nothing else changes, and undo puts everything back.
// proves
func TestInstallDoesWhatAptPlans(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) {
			freshNode("plan-" + suite)
			n := newDebNode(t, "plan-"+suite, "--suite", suite, "--outdated", "default")
			n.mustRun("apt-get", "-q", "update")
			before, marks := n.versions(), n.mustRun("apt-mark", "showauto")
			var plan struct {
				Changes []struct {
					Name, Arch, From, To string
					Dependency           bool
				}
				LeftOut []struct{ ID, Reason, Detail string }
			}
			text := n.mustRun("/usr/local/bin/oakum", "install", "--dry-run", "--no-refresh", "--output", "json")
			if err := json.Unmarshal([]byte(text), &plan); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if got := n.versions(); !maps.Equal(got, before) {
				t.Fatal("a dry run changed the node")
			}
			if len(plan.Changes) < 3 {
				t.Fatalf("only %d changes are planned: the node is not outdated", len(plan.Changes))
			}
			args := []string{"apt-get", "-s", "-q", "-y", "-o", "APT::Install-Recommends=false", "install"}
			want := map[string]string{}
			for _, c := range plan.Changes {
				want[c.Name] = c.From + " -> " + c.To
				if !c.Dependency {
					args = append(args, c.Name+"="+c.To)
				}
			}
			planned := map[string]string{}
			for line := range strings.Lines(n.mustRun(args...)) {
				w := strings.Fields(line)
				switch {
				case len(w) > 1 && w[0] == "Remv":
					t.Errorf("apt would remove %s", w[1])
				case len(w) > 3 && w[0] == "Inst":
					from, to := "", strings.Trim(w[2], "(")
					if strings.HasPrefix(w[2], "[") {
						from, to = strings.Trim(w[2], "[]"), strings.Trim(w[3], "(")
					}
					name, _, _ := strings.Cut(w[1], ":")
					planned[name] = from + " -> " + to
				}
			}
			if !maps.Equal(planned, want) {
				t.Errorf("planned: %v\napt-get -s: %v", want, planned)
			}
			out, _ := n.run("/usr/local/bin/oakum", "install", "--no-refresh") // 4: a reboot is pending
			after := n.versions()
			changed := map[string]string{}
			for _, key := range slices.Sorted(maps.Keys(union(before, after))) {
				if before[key] != after[key] {
					name, _, _ := strings.Cut(key, ":")
					changed[name] = before[key] + " -> " + after[key]
				}
			}
			if !maps.Equal(changed, want) {
				t.Errorf("planned: %v\nchanged: %v\n%s", want, changed, out)
			}
			if audit := n.mustRun("dpkg", "--audit"); audit != "" {
				t.Errorf("dpkg --audit: %s", audit)
			}
			for _, name := range strings.Fields(marks) {
				if !slices.Contains(strings.Fields(n.mustRun("apt-mark", "showauto")), name) {
					t.Errorf("%s is not marked as installed for others any more", name)
				}
			}
			run := localRuns(t, n)[0]
			if run.Outcome != "Success" || len(run.Changed) != len(want) {
				t.Errorf("the run: %+v", run)
			}
			n.mustRun("/usr/local/bin/oakum", "undo", run.ID, "--yes")
			if got := n.versions(); !maps.Equal(got, before) {
				t.Errorf("after undo: %v", difference(before, got))
			}
		})
	}
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func difference(a, b map[string]string) []string {
	var out []string
	for k := range union(a, b) {
		if a[k] != b[k] {
			out = append(out, k+": "+a[k]+" -> "+b[k])
		}
	}
	return out
}
