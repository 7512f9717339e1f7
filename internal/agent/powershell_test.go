package agent

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oakum.dev/document"
)

// stepEnv makes the test binary the wrapper of a step, as "oakum agent run-step" is.
const stepEnv = "OAKUM_TEST_RUN_STEP"

// fakePowerShell puts a shell script in PowerShell's place: it shows its arguments and runs the script's lines as shell.
const fakePowerShell = `#!/bin/sh
echo "options: $1 $2 $3 $4 $5 $6 $7"
tr -d '\r\357\273\277' <"$8" >"$8.sh"
exec sh "$8.sh"
`

func putPowerShell(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(fakePowerShell), 0o755); err != nil {
		t.Fatal(err)
	}
}

// windowsNode is an agent that takes its machine for one with Windows. Its PowerShell is a shell script.
func windowsNode(t *testing.T, dir string) func(*Config) {
	root := t.TempDir()
	putPowerShell(t, filepath.Join(root, "System32", "WindowsPowerShell", "v1.0", "powershell.exe"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.System.GOOS, c.System.Executable = "windows", self
		c.System.Environ = append(c.System.Environ, "SystemRoot="+root, stepEnv+"=1")
	}
}

func powerShellDocument(inputs map[string]any) []byte {
	inputs["timeoutSeconds"] = 60
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "mainSteps": []any{map[string]any{"action": "aws:runPowerShellScript", "name": "ps", "inputs": inputs}}})
	if err != nil {
		panic(err)
	}
	return b
}

// TestPowerShellOnLinux runs a script with pwsh, and fails where there is none.
func TestPowerShellOnLinux(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("/usr/bin/pwsh"); err == nil {
		t.Skip("this machine has PowerShell: the agent would take that one")
	}
	for _, there := range []bool{true, false} {
		bin := t.TempDir()
		if there {
			putPowerShell(t, filepath.Join(bin, "pwsh"))
		}
		f := newFakeServer(t, false)
		run(t, registered(t, f), func(c *Config) { c.System.Environ = append(c.System.Environ, "PATH="+bin+":/usr/bin:/bin") })
		id := f.send(cmd1, "x", powerShellDocument(map[string]any{"runCommand": []string{"echo hello", "exit 7"}}), "{}", "")
		final := f.final(t, id)
		step := f.steps(id)["ps"]
		if there && (step.Status != document.Failed || step.Code != 7 || step.StandardOutput != "options: -NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat None -File\nhello\n") {
			t.Errorf("step %+v", step)
		}
		if !there && (final.DocumentStatus != document.Failed || !strings.Contains(step.StandardError, "PowerShell is not installed on this node")) {
			t.Errorf("without PowerShell: %s, %+v", final.DocumentStatus, step)
		}
	}
}

// TestPowerShellOnWindows runs scripts through the wrapper. 194 is a failure like any other there.
func TestPowerShellOnWindows(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]document.Status{0: document.Success, 194: document.Failed} {
		f := newFakeServer(t, false)
		dir := registered(t, f)
		run(t, dir, windowsNode(t, dir))
		id := f.send(cmd1, "x", powerShellDocument(map[string]any{"runCommand": []string{"echo code", fmt.Sprintf("exit %d", code)}}), "{}", "")
		final := f.final(t, id)
		if step := f.steps(id)["ps"]; final.DocumentStatus != want || step.Code != code || !strings.HasSuffix(step.StandardOutput, "\ncode\n") {
			t.Errorf("exit %d: %s, %+v; want %s", code, final.DocumentStatus, step, want)
		}
	}
}

// TestWindowsReboot asks for a reboot with 3010, which a process of this system cannot end with: the wrapper's file says it.
func TestWindowsReboot(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	change := windowsNode(t, dir)
	a := run(t, dir, change)
	gate := filepath.Join(t.TempDir(), "gate")
	id := f.send(cmd1, "x", powerShellDocument(map[string]any{"runCommand": []string{"while [ ! -e " + gate + " ]; do sleep 0.05; done"}}), "{}", "")
	var pids []string
	f.waitFor(t, "the step's start", func() bool {
		pids, _ = filepath.Glob(filepath.Join(dir, "commands", "*", "steps", "*", "pid-1"))
		return len(pids) == 1
	})
	a.stop()
	if err := os.WriteFile(filepath.Join(filepath.Dir(pids[0]), "exit-1"), []byte("3010\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reboots := make(chan struct{}, 9)
	run(t, dir, change, func(c *Config) {
		c.System.Reboot = func(context.Context) error { reboots <- struct{}{}; return nil }
		c.Timing.RebootWait = time.Hour
	})
	select {
	case <-reboots:
	case <-time.After(30 * time.Second):
		t.Error("3010 asked for no reboot")
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.waitFor(t, "the step's reply", func() bool {
		for _, r := range f.replies {
			if r.MessageID == id && r.RuntimeStatus["ps"].Status == document.SuccessAndReboot {
				return true
			}
		}
		return false
	})
}

// TestWindowsStepOutlivesTheAgent stops the agent in the middle of a step: the next one takes its result.
func TestWindowsStepOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	change := windowsNode(t, dir)
	a := run(t, dir, change)
	gate := filepath.Join(t.TempDir(), "gate")
	id := f.send(cmd1, "x", powerShellDocument(map[string]any{"runCommand": []string{"echo begun", "while [ ! -e " + gate + " ]; do sleep 0.05; done", "echo over"}}), "{}", "")
	f.waitFor(t, "the step's start", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "commands", "*", "steps", "*", "pid-1"))
		return len(files) == 1
	})
	a.stop()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, change)
	final := f.final(t, id)
	step := f.steps(id)["ps"]
	if final.DocumentStatus != document.Success || !strings.HasSuffix(step.StandardOutput, "begun\nover\n") || strings.Count(step.StandardOutput, "begun") != 1 {
		t.Errorf("%s: %+v", final.DocumentStatus, step)
	}
}

// TestModule fetches a module, verifies it and gives its folder to the script.
func TestModule(t *testing.T) {
	t.Parallel()
	archive := func(names ...string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, n := range names {
			w, err := z.Create(n)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write([]byte("text of " + n))
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good, evil := archive("Oak/Oak.psm1", "Oak/en/help.txt"), archive("../outside.txt")
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(map[string][]byte{"/good": good, "/evil": evil}[r.URL.Path])
	}))
	t.Cleanup(site.Close)
	hash := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	for _, tc := range []struct{ name, source, hash, want string }{
		{"right", site.URL + "/good", hash(good), "text of Oak/Oak.psm1"},
		{"wrong_hash", site.URL + "/good", hash(evil), "not that of the document"},
		{"no_hash", site.URL + "/good", "", "has no sourceHash"},
		{"plain_http", "http://example.invalid/x", hash(good), "is not an https address"},
		{"outside", site.URL + "/evil", hash(evil), "outside of itself"},
		{"none", "", "", "no module"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, false)
			dir := registered(t, f)
			run(t, dir, windowsNode(t, dir), func(c *Config) { c.Fetch = site.Client() })
			inputs := map[string]any{"source": tc.source, "sourceHash": tc.hash, "runCommand": []string{`cat "${PSModulePath%%:*}/Oak/Oak.psm1" 2>/dev/null || echo no module`}}
			b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "mainSteps": []any{map[string]any{"action": "aws:psModule", "name": "ps", "inputs": inputs}}})
			if err != nil {
				t.Fatal(err)
			}
			id := f.send(cmd1, "x", b, "{}", "")
			f.final(t, id)
			if step := f.steps(id)["ps"]; !strings.Contains(step.StandardOutput+step.StandardError, tc.want) {
				t.Errorf("stdout %q, stderr %q, want %q", step.StandardOutput, step.StandardError, tc.want)
			}
		})
	}
}

// TestLaunchdDaemon writes a property list that launchd takes, whatever is in the paths.
func TestLaunchdDaemon(t *testing.T) {
	t.Parallel()
	sys := RealSystem()
	sys.GOOS, sys.UID, sys.Root, sys.Executable = "darwin", 0, t.TempDir(), "/usr/local/bin/oak & um"
	path, err := InstallUnit(t.Context(), sys, "/var/lib/oakum")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, "Library/LaunchDaemons/dev.oakum.agent.plist") {
		t.Fatal(path, err)
	}
	for _, want := range []string{"<string>/usr/local/bin/oak &amp; um</string><string>agent</string><string>run</string><string>--state-dir</string><string>/var/lib/oakum</string>", "<key>AbandonProcessGroup</key><true/>", "<key>KeepAlive</key><true/>"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s", b, want)
		}
	}
	if _, err := UninstallUnit(t.Context(), sys); err != nil {
		t.Error(err)
	}
	if _, err := UninstallUnit(t.Context(), sys); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("a second time: %v", err)
	}
	sys.UID = 501
	if _, err := InstallUnit(t.Context(), sys, ""); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("as a user: %v", err)
	}
}

// TestLogFile begins anew when it is long, and keeps one old log.
func TestLogFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 1<<20)
	for range 12 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(path)
	old, oerr := os.Stat(path + ".old")
	if err != nil || oerr != nil || now.Size() != 2<<20 || old.Size() != 5<<20 {
		t.Errorf("log %v (%v), old %v (%v)", now.Size(), err, old.Size(), oerr)
	}
}

// TestUnknownFactsAreLeftOut: the server refuses a report with an empty address, and with it the node's platform.
func TestUnknownFactsAreLeftOut(t *testing.T) {
	t.Parallel()
	if given("") != nil || *given("10.0.0.1") != "10.0.0.1" {
		t.Error("an empty fact is sent, or one that is known is not")
	}
}
