package apt

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Trap A10, Trap G4: a program that leaves another one behind which keeps its output open is over when it has ended, and
// counts as what its exit code says; one that takes no notice of a signal is killed with all that it started.
func TestTrap_G4_ChildrenThatStay(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	run := func(script string, limit time.Duration) (patch.Output, time.Duration, error) {
		began := time.Now()
		out, err := patch.OSExec{}.Run(context.Background(), patch.Command{Path: "/bin/sh", Args: []string{"-c", script}, Env: patch.BaseEnv(), Timeout: limit})
		return out, time.Since(began), err
	}
	for _, tc := range []struct {
		name, script string
		limit        time.Duration
		code         int
		over         bool // the limit
	}{
		{"ends_well", "sleep 30 & echo said", time.Minute, 0, false},
		{"fails", "sleep 30 & echo said; exit 3", time.Minute, 3, false},
		{"deaf", "trap '' TERM INT HUP; echo said; sleep 30 & wait; sleep 30", 300 * time.Millisecond, -1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, took, err := run(tc.script, tc.limit)
			if errors.Is(err, context.DeadlineExceeded) != tc.over || !tc.over && err != nil || out.Code != tc.code || string(out.Stdout) != "said\n" || took > 20*time.Second {
				t.Errorf("Run = %+v, %v after %v", out, err, took)
			}
		})
	}
}

// Trap D16: what makes an update a security update is where it comes from, also when another archive has the same version.
func TestTrap_D16_SecurityOrigin(t *testing.T) {
	t.Parallel()
	for name, suites := range map[string][]string{
		"both": {releaseUpdates, releaseSecurity}, "both_the_other_way_round": {releaseSecurity, releaseUpdates}, "security": {releaseSecurity},
		"updates": {releaseUpdates}, "own_archive_of_raspberry_pi_os": {"Origin: Raspberry Pi Foundation\nLabel: Raspberry Pi Foundation\nSuite: stable\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &synthRoot{}
			r.suite("bookworm", releaseMain)
			r.install("foo", "1.0", "")
			for i, s := range suites {
				r.suite(string(rune('m'+i))+"suite", s).add("foo", "1.1", "")
			}
			want := "InstalledOther notSecurity"
			if strings.Contains(name, "both") || name == "security" {
				want = "Missing 1.1"
			}
			if got := byName(scan(t, r, Config{}, predefined(t, baseline.Debian), november))["foo"]; got != want {
				t.Errorf("foo is %s, want %s", got, want)
			}
		})
	}
}

// Trap D17: an update that the Expanded Security Maintenance archives offer is missing, whatever a client of theirs says,
// and one that only they offer is not missing where the node is not subscribed: then apt has no list of theirs.
func TestTrap_D17_ESM(t *testing.T) {
	t.Parallel()
	for _, subscribed := range []bool{true, false} {
		r := &synthRoot{}
		r.suite("focal", "Origin: Ubuntu\nLabel: Ubuntu\nSuite: focal\nVersion: 20.04\n")
		r.suite("focal-security", "Origin: Ubuntu\nLabel: Ubuntu\nSuite: focal-security\nVersion: 20.04\n").add("both", "1.1", "")
		r.install("infra", "1.0", "")
		r.install("apps", "1.0", "")
		r.install("both", "1.0", "")
		want := map[string]string{"infra": "InstalledOther", "apps": "InstalledOther", "both": "Missing 1.1"}
		if subscribed {
			esm := r.suite("focal-infra-security", "Origin: UbuntuESM\nLabel: UbuntuESM\nSuite: focal-infra-security\nVersion: 20.04\n")
			esm.add("infra", "1.0+esm1", "")
			esm.add("both", "1.1+esm1", "")
			r.suite("focal-apps-security", "Origin: UbuntuESMApps\nLabel: UbuntuESMApps\nSuite: focal-apps-security\nVersion: 20.04\n").add("apps", "1.0+esm1", "")
			want = map[string]string{"infra": "Missing 1.0+esm1", "apps": "Missing 1.0+esm1", "both": "Missing 1.1+esm1"}
		}
		got := byName(scanUbuntu(t, r))
		for name, w := range want {
			if got[name] != w {
				t.Errorf("subscribed %v: %s is %s, want %s", subscribed, name, got[name], w)
			}
		}
	}
}

func scanUbuntu(t *testing.T, r *synthRoot) *compliance.Result {
	t.Helper()
	dir := t.TempDir()
	r.write(t, dir)
	if err := os.WriteFile(dir+"/etc/os-release", []byte("NAME=Ubuntu\nVERSION_ID=\"20.04\"\nID=ubuntu\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: predefined(t, baseline.Ubuntu)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A progress bar ends no line; what dpkg says behind one is found all the same.
func TestTrap_D21_ProgressBars(t *testing.T) {
	t.Parallel()
	name := t.TempDir() + "/log"
	if err := os.WriteFile(name, []byte("Setting up a (1) ...\r\nhalf\rdone\rdpkg: error processing package a (--configure):\n script failed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := system.ReadFrom(name, 0)
	if err != nil || strings.Contains(text, "\r") {
		t.Errorf("readFrom = %q, %v", text, err)
	}
	if got := faults(text)["a"]; !strings.HasPrefix(got, "script failed") {
		t.Errorf("faults = %q", got)
	}
}
