//go:build unix

package agent

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"oakum.dev/document"
)

// helperEnv makes this test binary an agent: state directory, boot id, the record at which it kills itself
// ("before:3", "after:3" or "never"), and a file for requested reboots.
const helperEnv = "OAKUM_TEST_AGENT"

func TestMain(m *testing.M) {
	if spec := os.Getenv(helperEnv); spec != "" {
		helperAgent(strings.Split(spec, "|"))
		return
	}
	if len(os.Args) > 5 && os.Args[2] == "run-step" && os.Getenv(stepEnv) != "" {
		code, err := RunStep(os.Args[3], os.Args[4], os.Args[6:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func helperAgent(args []string) {
	dir, boot, at, reboots := args[0], args[1], args[2], args[3]
	no := false
	count := 0
	die := func(when string) func(record) {
		return func(r record) {
			if when == "before" {
				count++
			}
			fmt.Println("record", when, count, r.Kind)
			if at == fmt.Sprintf("%s:%d", when, count) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	cfg := Config{StateDir: dir, Version: "1.2.3", Timing: quickTiming(), Scope: &no, System: RealSystem(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	cfg.System.BootID = func() string { return boot }
	cfg.System.Reboot = func(context.Context) error {
		return os.WriteFile(reboots, append([]byte(readHead(reboots)), "reboot\n"...), 0o600)
	}
	cfg.beforeRecord, cfg.afterRecord = die("before"), die("after")
	a, err := New(cfg)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_ = a.Run(context.Background())
}

type helper struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan error
	out  *logBuffer
}

func startHelper(t *testing.T, dir, boot, at, reboots string) *helper {
	t.Helper()
	h := &helper{t: t, cmd: exec.Command(os.Args[0]), done: make(chan error, 1), out: &logBuffer{}}
	h.cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join([]string{dir, boot, at, reboots}, "|"))
	h.cmd.Stderr = h.out
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		s := bufio.NewScanner(stdout)
		for s.Scan() {
			if s.Text() == "ready" {
				close(ready)
			}
			fmt.Fprintln(h.out, s.Text())
		}
		h.done <- h.cmd.Wait()
	}()
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatalf("the agent does not start: %s", h.out)
	}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Log(h.out.String())
		}
	})
	return h
}

// kill ends the agent process without warning and waits for it.
func (h *helper) kill() {
	_ = h.cmd.Process.Kill() // it may have ended by itself
	h.wait()
}

func (h *helper) wait() {
	select {
	case err := <-h.done:
		h.done <- err
	case <-time.After(30 * time.Second):
		h.t.Fatalf("the agent does not end: %s", h.out)
	}
}

// TestKilledAtEveryRecord kills the agent before and after each record of a command's journal. Whatever the
// point, no step runs twice, the command ends, and every reply has one id and one content.
//
// proves R-02
func TestKilledAtEveryRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two processes per record")
	}
	t.Parallel()
	// received, delivered, then per step starting, finished, replied; done
	for n := 1; n <= 9; n++ {
		for _, when := range []string{"before", "after"} {
			t.Run(fmt.Sprintf("%s_record_%d", when, n), func(t *testing.T) {
				t.Parallel()
				f := newFakeServer(t, false)
				dir := registered(t, f)
				runs := filepath.Join(t.TempDir(), "runs")
				h := startHelper(t, dir, "boot-1", when+":"+strconv.Itoa(n), "/dev/null")
				id := f.send(cmd1, "x", doc22("one", "echo one >> "+runs+"; echo out-one", "two", "echo two >> "+runs+"; echo out-two"), "{}", "")
				h.wait()
				startHelper(t, dir, "boot-1", "never", "/dev/null")
				final := f.final(t, id)
				if final.DocumentStatus != document.Success && final.DocumentStatus != document.Failed {
					t.Errorf("document %s", final.DocumentStatus)
				}
				for name, s := range f.steps(id) {
					switch {
					case s.Status == document.Success && s.StandardOutput == "out-"+name+"\n":
					case s.Status == document.Failed && strings.HasPrefix(s.StandardError, "OAKUM INTERRUPTED: "):
					default:
						t.Errorf("step %s: %+v", name, s)
					}
				}
				if len(f.steps(id)) != 2 {
					t.Errorf("results of %d steps", len(f.steps(id)))
				}
				got := readHead(runs)
				if strings.Count(got, "one") > 1 || strings.Count(got, "two") > 1 {
					t.Errorf("a step ran twice: %q", got)
				}
				byID := map[string]fakeReply{}
				f.with(func() {
					for _, r := range f.replies {
						if old, ok := byID[r.ReplyID]; ok && (old.DocumentStatus != r.DocumentStatus || len(old.RuntimeStatus) != len(r.RuntimeStatus)) {
							t.Errorf("reply %s has two contents: %s and %s", r.ReplyID, old.Payload, r.Payload)
						}
						byID[r.ReplyID] = r
					}
				})
			})
		}
	}
}

// TestScriptOutlivesTheAgent kills the agent while a script runs: the next process waits for the same script and
// reports its real result.
func TestScriptOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} { // the script ends before or after the next process starts
		f := newFakeServer(t, false)
		dir := registered(t, f)
		work := t.TempDir()
		runs, gate := filepath.Join(work, "runs"), filepath.Join(work, "gate")
		h := startHelper(t, dir, "boot-1", "never", "/dev/null")
		id := f.sendScript(t, cmd1, "echo run >> "+runs, "while [ ! -e "+gate+" ]; do sleep 0.05; done", "echo survived; exit 7")
		waitLines(t, runs, 1)
		h.kill()
		open := func() {
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if !late {
			open()
			time.Sleep(300 * time.Millisecond)
		}
		startHelper(t, dir, "boot-1", "never", "/dev/null")
		if late {
			time.Sleep(300 * time.Millisecond)
			open()
		}
		step := f.final(t, id).RuntimeStatus["aws:runShellScript"]
		if step.Code != 7 || step.StandardOutput != "survived\n" || step.StandardError != "failed to run commands: exit status 7" || readHead(runs) != "run\n" {
			t.Errorf("late %v: step %+v, runs %q", late, step, readHead(runs))
		}
	}
}

// TestInterruptedScript kills agent and script, or reboots the node: the script is reported and not run again.
func TestInterruptedScript(t *testing.T) {
	t.Parallel()
	for _, boot := range []string{"boot-1", "boot-2"} {
		f := newFakeServer(t, false)
		dir := registered(t, f)
		runs := filepath.Join(t.TempDir(), "runs")
		h := startHelper(t, dir, "boot-1", "never", "/dev/null")
		id := f.sendScript(t, cmd1, "echo run >> "+runs, "echo partial", "sleep 1000")
		waitLines(t, runs, 1)
		h.kill()
		pid, err := strconv.Atoi(strings.TrimSpace(readHead(filepath.Join(dir, "commands", cmd1, "steps", "00-awsrunShellScript", "pid-1"))))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		startHelper(t, dir, boot, "never", "/dev/null")
		final := f.final(t, id)
		step := final.RuntimeStatus["aws:runShellScript"]
		if final.DocumentStatus != document.Failed || !strings.HasPrefix(step.StandardError, "OAKUM INTERRUPTED: step aws:runShellScript ") || step.StandardOutput != "partial\n" || readHead(runs) != "run\n" {
			t.Errorf("%s: %s, runs %q", boot, final.Payload, readHead(runs))
		}
	}
}

// TestInterruptedScanRunsAgain starts a scan again after crashes, three times in all.
func TestInterruptedScanRunsAgain(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	runs := filepath.Join(t.TempDir(), "runs")
	content := strings.Replace(string(doc22("PatchLinux", "echo run >> "+runs+"; sleep 1000")), `"mainSteps"`, `"parameters":{"Operation":{"type":"String"}},"mainSteps"`, 1)
	id := f.send(cmd2, document.RunPatchBaseline, []byte(content), `{"Operation":"Scan"}`, "")
	for n := 1; n <= 3; n++ {
		h := startHelper(t, dir, "boot-"+strconv.Itoa(n), "never", "/dev/null")
		waitLines(t, runs, n)
		h.kill()
		pid, err := strconv.Atoi(strings.TrimSpace(readHead(filepath.Join(dir, "commands", cmd2, "steps", "00-PatchLinux", "pid-"+strconv.Itoa(n)))))
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	startHelper(t, dir, "boot-4", "never", "/dev/null")
	step := f.final(t, id).RuntimeStatus["PatchLinux"]
	if !strings.Contains(step.StandardError, "OAKUM INTERRUPTED: step PatchLinux was started 3 times") || strings.Count(readHead(runs), "run") != 3 {
		t.Errorf("step %+v, runs %q", step, readHead(runs))
	}
}

// TestRebootAndResume follows a step through reboots: it runs again from its start after each, the step before it
// does not, and the output is appended.
func TestRebootAndResume(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	work := t.TempDir()
	runs, reboots := filepath.Join(work, "runs"), filepath.Join(work, "reboots")
	id := f.send(cmd1, "x", doc22(
		"one", "echo one >> "+runs,
		"two", "echo two >> "+runs+"; if [ $(grep -c two "+runs+") -lt 3 ]; then echo before; exit 194; fi; echo after",
		"three", "echo three >> "+runs), "{}", "")
	for n := 1; n <= 2; n++ {
		h := startHelper(t, dir, "boot-"+strconv.Itoa(n), "never", reboots)
		waitLines(t, reboots, n)
		h.kill()
	}
	f.with(func() {
		last := f.replies[len(f.replies)-1]
		if last.DocumentStatus != document.SuccessAndReboot || len(last.RuntimeStatus) != 0 {
			t.Errorf("the last reply before the reboot is %s", last.Payload)
		}
	})
	startHelper(t, dir, "boot-3", "never", reboots)
	final := f.final(t, id)
	steps := f.steps(id)
	if final.DocumentStatus != document.Success || steps["two"].StandardOutput != "before\nbefore\nafter\n" || steps["two"].Status != document.Success {
		t.Errorf("document %s, steps %+v", final.DocumentStatus, steps)
	}
	if got := readHead(runs); got != "one\ntwo\ntwo\ntwo\nthree\n" {
		t.Errorf("runs %q", got)
	}
}

// TestRebootsAreBounded reboots three times for one command and not again (Trap A11).
//
// proves R-12
func TestRebootsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	work := t.TempDir()
	runs, reboots := filepath.Join(work, "runs"), filepath.Join(work, "reboots")
	id := f.send(cmd1, "x", doc22("two", "echo two >> "+runs+"; exit 194"), "{}", "")
	for n := 1; n <= 3; n++ {
		h := startHelper(t, dir, "boot-"+strconv.Itoa(n), "never", reboots)
		waitLines(t, reboots, n)
		h.kill()
	}
	startHelper(t, dir, "boot-4", "never", reboots)
	final := f.final(t, id)
	if step := final.RuntimeStatus["two"]; final.DocumentStatus != document.Failed || !strings.HasPrefix(step.StandardError, "OAKUM REBOOT: the step asked for a reboot again after 3 reboots") {
		t.Errorf("reply %s", final.Payload)
	}
	if got := strings.Count(readHead(reboots), "reboot"); got != 3 {
		t.Errorf("%d reboots", got)
	}
}

// TestRebootThatDoesNotHappen requests it once more and then reports (Trap A15, Trap R10).
//
// proves R-12
func TestRebootThatDoesNotHappen(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	reboots := filepath.Join(t.TempDir(), "reboots")
	startHelper(t, dir, "boot-1", "never", reboots)
	id := f.send(cmd1, "x", doc22("two", "exit 194"), "{}", "")
	final := f.final(t, id)
	if step := final.RuntimeStatus["two"]; final.DocumentStatus != document.Failed || !strings.HasPrefix(step.StandardError, "OAKUM REBOOT: the reboot was requested twice") {
		t.Errorf("reply %s", final.Payload)
	}
	if got := strings.Count(readHead(reboots), "reboot"); got != 2 {
		t.Errorf("%d reboots requested, want 2", got)
	}
	f.final(t, f.sendScript(t, cmd2, "true")) // and the agent goes on
}

func TestRebootThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f), func(c *Config) {
		c.System.Reboot = func(context.Context) error { return os.ErrPermission }
	})
	id := f.send(cmd1, "x", doc22("two", "exit 194"), "{}", "")
	if step := f.final(t, id).RuntimeStatus["two"]; !strings.HasPrefix(step.StandardError, "OAKUM REBOOT: the reboot could not be started: permission denied") {
		t.Errorf("step %+v", step)
	}
}

// TestEngineKilledUnderTheAgent kills the patch engine: it is started again to finish, the step counts as started once, and
// the output is that of the start that finished, with the reason in the first line.
//
// proves
func TestEngineKilledUnderTheAgent(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	mark := filepath.Join(t.TempDir(), "mark")
	startHelper(t, dir, "boot-1", "never", "/dev/null")
	script := "echo summary; if ! [ -e " + mark + " ]; then touch " + mark + "; sh -c 'kill -9 $$'; exit; fi; echo 'OAKUM PATCH_FAILED: one' >&2; exit 1"
	content := strings.Replace(string(doc22("PatchLinux", script)), `"mainSteps"`, `"parameters":{"Operation":{"type":"String"}},"mainSteps"`, 1)
	id := f.send(cmd1, document.RunPatchBaseline, []byte(content), `{"Operation":"Install"}`, "")
	final := f.final(t, id)
	s := f.steps(id)["PatchLinux"]
	if final.DocumentStatus != document.Failed || s.StandardOutput != "summary\n" || !strings.HasPrefix(s.StandardError, "OAKUM PATCH_FAILED: one\n") {
		t.Errorf("%s, step %+v", final.DocumentStatus, s)
	}
	state, err := readCommandState(commandPaths(filepath.Join(dir, "commands"), cmd1).journal)
	if err != nil || state.step("PatchLinux").starts != 2 {
		t.Errorf("the journal: %+v, %v", state.step("PatchLinux"), err)
	}
}
