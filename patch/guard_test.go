package patch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
)

// TestGuard holds each rule of the guard. proves
func TestGuard(t *testing.T) {
	t.Parallel()
	five := 5
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b := func(action baseline.RejectedAction) *baseline.Baseline {
		return &baseline.Baseline{
			OperatingSystem: baseline.Debian, Name: "b", RejectedPatches: []string{"bad"}, RejectedPatchesAction: action,
			ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{{ApproveAfterDays: &five}}},
		}
	}
	security := func(days int) []baseline.Patch {
		return []baseline.Patch{{Name: "foo", Arch: "amd64", Version: "2", Security: true, Released: now.AddDate(0, 0, -days)}}
	}
	foo := Change{Name: "foo", Arch: "amd64", Old: "1", New: "2", Wanted: true}
	list := &baseline.InstallList{Patches: []baseline.InstallEntry{{ID: "foo.amd64", Title: "foo.amd64:2"}, {ID: "dep.amd64", Title: "dep.amd64:3"}}}
	for _, tc := range []struct {
		name   string
		guard  Guard
		change Change
		facts  []baseline.Patch
		want   string
	}{
		{"approved", Guard{Baseline: b(baseline.Block)}, foo, security(6), ""},
		{"not_old_enough", Guard{Baseline: b(baseline.Block)}, foo, security(2), "notApproved"},
		{"no_security_patch", Guard{Baseline: b(baseline.Block)}, foo, []baseline.Patch{{Name: "foo", Arch: "amd64", Version: "2"}}, "notApproved"},
		{"unknown_version", Guard{Baseline: b(baseline.Block)}, foo, nil, "notApproved"},
		{"removal", Guard{Baseline: b(baseline.Block)}, Change{Name: "foo", Arch: "amd64", Old: "1"}, nil, ReasonRemoval},
		{"older_version", Guard{Baseline: b(baseline.Block)}, Change{Name: "foo", Arch: "amd64", Old: "3", New: "2", Down: true, Wanted: true}, security(6), ReasonDowngrade},
		{"held", Guard{Baseline: b(baseline.Block)}, Change{Name: "foo", Arch: "amd64", Old: "1", New: "2", Held: true, Wanted: true}, security(6), ReasonHeld},
		{"rejected", Guard{Baseline: b(baseline.AllowAsDependency)}, Change{Name: "bad", Arch: "all", Old: "1", New: "2", Wanted: true}, []baseline.Patch{{Name: "bad", Arch: "all", Version: "2", Security: true}}, "rejected"},
		{"rejected_dependency_allowed", Guard{Baseline: b(baseline.AllowAsDependency)}, Change{Name: "bad", Arch: "all", Old: "1", New: "2"}, nil, ""},
		{"rejected_dependency_blocked", Guard{Baseline: b(baseline.Block)}, Change{Name: "bad", Arch: "all", Old: "1", New: "2"}, nil, ReasonBlockedByRejected},
		{"new_dependency", Guard{Baseline: b(baseline.Block)}, Change{Name: "new", Arch: "all", New: "1"}, nil, ""},
		{"list_takes_it", Guard{Baseline: b(baseline.Block), List: list}, foo, security(0), ""},
		{"list_names_another_version", Guard{Baseline: b(baseline.Block), List: list}, Change{Name: "dep", Arch: "amd64", Old: "1", New: "2"}, nil, ReasonListVersion},
		{"list_does_not_name_a_dependency", Guard{Baseline: b(baseline.Block), List: list}, Change{Name: "bad", Arch: "amd64", Old: "1", New: "2"}, nil, ""},
		{"list_does_not_name_a_target", Guard{Baseline: b(baseline.Block), List: list}, Change{Name: "other", Arch: "amd64", Old: "1", New: "2", Wanted: true}, nil, "notApproved"},
		{"beyond_the_first_plan", Guard{Baseline: b(baseline.Block), Only: map[string]string{"foo.amd64": "1.5"}}, foo, security(6), ReasonBeyondPlan},
		{"within_the_first_plan", Guard{Baseline: b(baseline.Block), Only: map[string]string{"foo.amd64": "2"}}, foo, security(6), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := tc.guard
			g.Node, g.Now = baseline.Node{OS: baseline.Debian, Product: "Debian12"}, now
			got := ""
			if r := g.Check(&Plan{Changes: []Change{tc.change}}, func(string, string) []baseline.Patch { return tc.facts }); len(r) > 0 {
				got = r[0].Reason
				if r[0].Detail == "" {
					t.Error("the refusal has no detail")
				}
			}
			if got != tc.want {
				t.Errorf("Check(%+v) = %q, want %q", tc.change, got, tc.want)
			}
		})
	}
}

// TestRunRecords writes a run's journal, reads it back at every length a crash can leave, and sees no more than was
// written. proves R-11
func TestRunRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	r, err := newRun(dir, Run{Operation: OperationInstall, ExecutionID: "c", Step: "2-PatchLinux"}, "boot-1", now)
	if err != nil {
		t.Fatal(err)
	}
	plan := []Change{{Name: "foo", Arch: "amd64", Old: "1", New: "2", Wanted: true}, {Name: "dep", Arch: "all", New: "1", Auto: true}}
	phases := []string{PhaseStarted}
	for _, e := range []entry{
		{Kind: kindPlanned, Plan: plan, Kept: map[string]string{"foo.amd64": "foo_1_amd64.deb"}},
		{Kind: PhaseTransaction, N: 1, Boot: "boot-1"},
		{Kind: kindResumed, Boot: "boot-2"},
		{Kind: kindOver, N: 1, Code: 100, Failed: map[string]Block{"foo.amd64": {ReasonInstall, "no"}}},
		{Kind: PhaseInstalled},
		{Kind: PhaseReboot, Code: CodeRebootFailed, Boot: "boot-2"},
		{Kind: PhaseEnded, Outcome: OutcomeFailed, Code: 1, Text: "t", Changed: plan[1:]},
	} {
		if err := r.append(e); err != nil {
			t.Fatal(err)
		}
		phases = append(phases, r.Phase)
		got, err := LoadRun(dir, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Phase != r.Phase || len(got.Planned) != len(r.Planned) || got.Resumes != r.Resumes || got.Boot != r.Boot {
			t.Errorf("after %s: read %+v, wrote %+v", e.Kind, got, r.Run)
		}
	}
	r.close()
	want := []string{PhaseStarted, PhaseStarted, PhaseTransaction, PhaseTransaction, PhaseTransaction, PhaseInstalled, PhaseReboot, PhaseEnded}
	if !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	got, err := LoadRun(dir, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Outcome != OutcomeFailed || got.Reboots != 1 || got.Failed["foo.amd64"].Detail != "no" || got.Kept["foo.amd64"] == "" || len(got.Changed) != 1 || got.Step != "2-PatchLinux" {
		t.Errorf("the run reads %+v", got)
	}
	for _, id := range []string{"", ".", "..", "../" + r.ID, "a/b", ".hidden"} {
		if _, err := LoadRun(dir, id); err == nil {
			t.Errorf("LoadRun(%q) found something", id)
		}
	}
	if list, err := Runs(dir); err != nil || len(list) != 1 {
		t.Errorf("Runs = %d, %v", len(list), err)
	}
}

func TestUnitsAreRestartedInOrder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		units string
		after map[string][]string
		want  string
	}{
		{"by_name", "b a c", nil, "b a c"},
		{"behind_what_they_are_after", "a b c", map[string][]string{"a": {"c", "x"}, "b": {"a"}}, "c a b"},
		{"circle", "a b", map[string][]string{"a": {"b"}, "b": {"a"}}, "b a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strings.Join(sortAfter(strings.Fields(tc.units), tc.after), " "); got != tc.want {
				t.Errorf("sortAfter(%s) = %s, want %s", tc.units, got, tc.want)
			}
		})
	}
}
