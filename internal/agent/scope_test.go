//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oakum.dev/document"
)

// TestSystemdScope (Trap G2) runs steps through a stand-in for systemd-run: one that makes the scope and one that cannot.
// It changes PATH, so it is not parallel.
func TestSystemdScope(t *testing.T) {
	for _, tc := range []struct{ name, script string }{
		{"made", "#!/bin/sh\necho \"$@\" >> \"$LOG\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n"},
		{"refused", "#!/bin/sh\necho \"$@\" >> \"$LOG\"\nexit 1\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bin := t.TempDir()
			log := filepath.Join(bin, "log")
			if err := os.WriteFile(filepath.Join(bin, "systemd-run"), []byte(tc.script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			t.Setenv("LOG", log)
			yes := true
			f := newFakeServer(t, false)
			run(t, registered(t, f), func(c *Config) { c.Scope = &yes })
			step := f.final(t, f.sendScript(t, cmd1, "echo ran", "exit 5")).RuntimeStatus["aws:runShellScript"]
			if step.Code != 5 || step.StandardOutput != "ran\n" {
				t.Errorf("step %+v", step)
			}
			if got := readHead(log); strings.Count(got, "\n") != 1 || !strings.Contains(got, "--scope --quiet --collect --unit=oakum-"+cmd1+"-0-1-0 --") {
				t.Errorf("systemd-run was called with %q", got)
			}
		})
	}
}

func TestPropertiesRunInOrderAndTheWorstCounts(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	id := f.send(cmd1, "x", []byte(`{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[
		{"id":"0","runCommand":["echo a"]},{"id":"1","runCommand":["echo b; exit 4"]},{"id":"2","runCommand":["echo c"]}]}}}`), "{}", "")
	final := f.final(t, id)
	step := final.RuntimeStatus["aws:runShellScript"]
	if final.DocumentStatus != document.Failed || step.Code != 4 || step.StandardOutput != "a\nb\nc\n" {
		t.Errorf("reply %s", final.Payload)
	}
}

func TestWorkingDirectory(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	dir := t.TempDir()
	b, _ := document.LookupBuiltin(document.RunShellScript)
	step := f.final(t, f.send(cmd1, document.RunShellScript, b.Content(), `{"commands":["pwd -P"],"workingDirectory":"`+dir+`"}`, "")).RuntimeStatus["aws:runShellScript"]
	if want, _ := filepath.EvalSymlinks(dir); step.StandardOutput != want+"\n" {
		t.Errorf("pwd printed %q, want %q", step.StandardOutput, want)
	}
	step = f.final(t, f.send(cmd2, document.RunShellScript, b.Content(), `{"commands":["pwd"],"workingDirectory":"`+dir+`/none"}`, "")).RuntimeStatus["aws:runShellScript"]
	if step.Status != document.Failed || !strings.Contains(step.StandardError, "no such file or directory") {
		t.Errorf("a missing directory gives %+v", step)
	}
}
