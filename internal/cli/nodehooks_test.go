package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
)

// code is the exit code that an error ends the step with, 0 for none.
func code(err error) int {
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit.Code
	}
	if err != nil {
		return 1
	}
	return 0
}

func resultOf(operation, run string, counts compliance.Counts, changes ...compliance.Change) *compliance.Result {
	r := &compliance.Result{Header: compliance.Header{Operation: operation, Counts: counts, Status: compliance.Compliant}}
	if run != "" {
		r.Header.Install = &compliance.Install{Run: run, Changes: changes}
	}
	return r
}

// What the deciding steps of AWS-RunPatchBaselineWithHooks make of the result before them.
func TestHookDecisions(t *testing.T) {
	change := compliance.Change{Name: "bash", Old: "1", New: "2"}
	for _, tc := range []struct {
		name   string
		o      nodePatch
		last   *compliance.Result
		want   int
		output string
	}{
		{"scan", nodePatch{operation: "CheckState", forOperation: "Scan"}, nil, 168, "Operation is Scan: nothing is installed\n"},
		{"nothing", nodePatch{operation: "CheckState", forOperation: "Install"}, resultOf("Scan", "", compliance.Counts{Installed: 5}), 168, "nothing is missing, and nothing waits for a reboot\n"},
		{"missing", nodePatch{operation: "CheckState", forOperation: "Install", rebootOption: "NoReboot"}, resultOf("Scan", "", compliance.Counts{Missing: 2}), 0, "2 patches are missing, 0 wait for a reboot\n"},
		{"failed_before", nodePatch{operation: "CheckState", forOperation: "Install"}, resultOf("Scan", "", compliance.Counts{Failed: 1}), 0, "1 patch is missing, 0 wait for a reboot\n"},
		{"waiting", nodePatch{operation: "CheckState", forOperation: "Install", rebootOption: "RebootIfNeeded"}, resultOf("Scan", "", compliance.Counts{InstalledPendingReboot: 1}), 0, "0 patches are missing, 1 waits for a reboot\n"},
		{"waiting_without_reboot", nodePatch{operation: "CheckState", forOperation: "Install", rebootOption: "NoReboot"}, resultOf("Scan", "", compliance.Counts{InstalledPendingReboot: 1}), 168, "nothing is missing, and RebootOption is NoReboot\n"},
		{"list", nodePatch{operation: "CheckState", forOperation: "Install", installList: "s3://b/l"}, resultOf("Scan", "", compliance.Counts{}), 0, "the InstallOverrideList decides what is installed\n"},
		{"no_result", nodePatch{operation: "CheckState", forOperation: "Install"}, nil, 1, ""},
		{"no_reboot", nodePatch{operation: "CheckReboot", rebootOption: "NoReboot"}, nil, 168, "RebootOption is NoReboot\n"},
		{"reboot_after_install", nodePatch{operation: "CheckReboot", rebootOption: "RebootIfNeeded"}, resultOf("Install", "run-1", compliance.Counts{}, change), 0, "a reboot is due\n"},
		{"reboot_that_was_due_before", nodePatch{operation: "CheckReboot", rebootOption: "RebootIfNeeded"}, resultOf("Install", "run-1", compliance.Counts{InstalledPendingReboot: 1}), 0, "a reboot is due\n"},
		{"nothing_installed", nodePatch{operation: "CheckReboot", rebootOption: "RebootIfNeeded"}, resultOf("Install", "run-1", compliance.Counts{}), 168, "nothing was installed, and nothing waits for a reboot\n"},
		{"not_required", nodePatch{operation: "CheckReboot", rebootOption: "RebootIfRequired"}, resultOf("Install", "run-1", compliance.Counts{}, change), 168, "nothing requires a reboot\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "result.json")
			t.Setenv("OAKUM_RESULT", file)
			if tc.last != nil {
				if err := writeStepResult(file, tc.last); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			err := tc.o.perform(t.Context(), &Streams{Out: &out, Err: &out})
			if code(err) != tc.want || out.String() != tc.output {
				t.Errorf("exit code %d (%v), output %q, want %d %q", code(err), err, out.String(), tc.want, tc.output)
			}
		})
	}
}

// The result file has all that the command has installed, once, however often a step ran.
func TestStepResult(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	a, b := compliance.Change{Name: "a", Arch: "all", Old: "1", New: "2"}, compliance.Change{Name: "b", New: "1", Dependency: true}
	last := resultOf("Install", "run-2", compliance.Counts{Missing: 1, Failed: 1})
	last.Items = []compliance.Item{{Title: "c", State: compliance.Failed, Reason: "held", Detail: "by hand"}, {Title: "d", State: compliance.Installed}}
	for _, res := range []*compliance.Result{
		resultOf("Scan", "", compliance.Counts{Missing: 3}), resultOf("Install", "run-1", compliance.Counts{Missing: 2}, a),
		resultOf("Install", "run-1", compliance.Counts{Missing: 1}, a, b), last,
	} {
		if err := writeStepResult(file, res); err != nil {
			t.Fatal(err)
		}
	}
	var got stepResult
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []installedPackage{{"run-1", "a", "all", "1", "2", false}, {"run-1", "b", "", "", "1", true}}
	if d := cmp.Diff(want, got.Installed); d != "" || got.MissingCount != 1 || got.FailedCount != 1 || len(got.Failed) != 1 || got.Failed[0].Reason != "held" || got.Operation != "Install" {
		t.Errorf("%s\n%s", d, text)
	}
	if err := writeStepResult("", last); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

// A node is rebooted once for a command: it is asked for again until it comes, and not after that.
func TestRebootOnce(t *testing.T) {
	if !agent.Privileged() || agent.BootID() == "" {
		t.Skip("needs root, and a machine that counts its boots")
	}
	o := nodePatch{operation: "Reboot", onlyIfPending: "false", stateDir: t.TempDir()}
	reboot := func() (int, string) {
		var out bytes.Buffer
		err := o.perform(t.Context(), &Streams{Out: &out, Err: &out})
		return code(err), out.String()
	}
	if c, _ := reboot(); c != 1 {
		t.Errorf("outside of a command: %d", c)
	}
	t.Setenv("SSM_COMMAND_ID", "11111111-2222-4333-8444-555555555555")
	for range 2 {
		if c, out := reboot(); c != patch.CodeReboot {
			t.Errorf("before the reboot: %d %s", c, out)
		}
	}
	mark := filepath.Join(o.stateDir, "reboots", "11111111-2222-4333-8444-555555555555")
	if err := os.WriteFile(mark, []byte("an earlier boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, out := reboot(); c != 0 || out != "the node was rebooted\n" {
		t.Errorf("after the reboot: %d %s", c, out)
	}
	old := time.Now().Add(-keepMarks - time.Hour)
	if err := os.Chtimes(mark, old, old); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSM_COMMAND_ID", "11111111-2222-4333-8444-666666666666")
	reboot()
	if _, err := os.Stat(mark); err == nil {
		t.Error("the mark of long ago is still there")
	}
}

// The documents for Windows updates as patch baselines.
func TestAdHocBaseline(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	update := func(kb, class, severity, set string, daysAgo int) *baseline.Patch {
		return &baseline.Patch{Name: kb, KB: kb, Classification: class, Severity: severity, PatchSet: set, Product: "WindowsServer2022", HasNotice: true, Released: now.AddDate(0, 0, -daysAgo)}
	}
	critical, tool, office := update("KB1", "CriticalUpdates", "Critical", "OS", 3), update("KB2", "Tools", "Low", "OS", 30), update("KB3", "SecurityUpdates", "Important", "APPLICATION", 10)
	for _, tc := range []struct {
		name string
		a    adHoc
		want string
		err  string
	}{
		{"all", adHoc{}, "KB1 KB2 KB3", ""},
		{"numbers_only", adHoc{includeKBs: "2,KB3"}, "KB2 KB3", ""},
		{"without", adHoc{excludeKBs: "KB1"}, "KB2 KB3", ""},
		{"categories", adHoc{categories: "CriticalUpdates,SecurityUpdates"}, "KB1 KB3", ""},
		{"severity", adHoc{severities: "Critical"}, "KB1", ""},
		{"categories_and_numbers", adHoc{categories: "CriticalUpdates", includeKBs: "KB2"}, "KB1 KB2", ""},
		{"old", adHoc{publishedDays: "7"}, "KB2 KB3", ""},
		{"before", adHoc{publishedBefore: "2026-11-01"}, "KB2", ""},
		{"before_and_old", adHoc{publishedBefore: "2026-11-21", publishedDays: "20"}, "KB2", ""},
		{"after", adHoc{publishedAfter: "2026-11-01"}, "", "PublishedDateAfter is not supported"},
		{"no_day", adHoc{publishedBefore: "2026-13-01"}, "", "PublishedDateBefore is a day"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			snap, err := tc.a.snapshot(now)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range []*baseline.Patch{critical, tool, office} {
				if snap.Baseline.Evaluate(baseline.Node{OS: baseline.Windows, Product: "WindowsServer2022"}, p, now).Approved {
					got = append(got, p.KB)
				}
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("approves %s, want %s", s, tc.want)
			}
		})
	}
}
