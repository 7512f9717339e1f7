//go:build linux

package acceptance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wine is the Windows build of this program on Wine, in a prefix of its own.
type wine struct {
	t   *testing.T
	exe string
	env []string
}

func newWine(t *testing.T) *wine {
	t.Helper()
	for _, tool := range []string{"wine", "x86_64-w64-mingw32-gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "the Windows program: %v", err)
		}
	}
	dir := t.TempDir()
	w := &wine{t: t, exe: filepath.Join(dir, "oakum.exe"), env: append(os.Environ(), "OAKUM_WINE="+filepath.Join(dir, "prefix"))}
	build := exec.Command("go", "build", "-o", w.exe, "./cmd/oakum")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the Windows program: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(w.drive(), "ProgramData", "Oakum", "agent.log"))
			t.Logf("the service's log:\n%.20000s", b)
		}
		if out, err := w.command(context.Background(), "--purge").CombinedOutput(); err != nil {
			t.Errorf("wine-go --purge: %v\n%s", err, out)
		}
	})
	if out, err := w.command(t.Context(), "--server", "2022", "20348").CombinedOutput(); err != nil {
		t.Fatalf("wine-go --server: %v\n%s", err, out)
	}
	return w
}

// drive is where drive C: is on this machine.
func (w *wine) drive() string { return filepath.Join(filepath.Dir(w.exe), "prefix", "drive_c") }

func (w *wine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "testbed/wine-go", args...)
	cmd.Env, cmd.WaitDelay = w.env, 10*time.Second
	return cmd
}

// run runs oakum.exe and returns what it wrote and its exit code.
func (w *wine) run(args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := w.command(ctx, append([]string{w.exe}, args...)...)
	var said [2]string
	var files [2]*os.File // not pipes: Wine's own services, which the first program starts, would keep them open
	for i := range files {
		f, err := os.CreateTemp(filepath.Dir(w.exe), "said-")
		if err != nil {
			w.t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	err := cmd.Run()
	for i, f := range files {
		b, rerr := os.ReadFile(f.Name())
		if rerr != nil {
			w.t.Fatal(rerr)
		}
		said[i] = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		w.t.Fatalf("oakum.exe %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return said[0], said[1], cmd.ProcessState.ExitCode()
}

// stay keeps a program running until the test ends: Wine stops its services with the last program that is none.
func (w *wine) stay() {
	w.t.Helper()
	cmd := w.command(w.t.Context(), "cmd", "/c", "pause")
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		_ = cmd.Wait() // or is killed
	})
}

// standIn takes PowerShell's place, of which Wine has none: it shows what it was called with, and ends with the code of the
// script's last line, "exit N". A first line "wait FILE" has it wait for that.
const standIn = `package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	b, err := os.ReadFile(os.Args[len(os.Args)-1])
	fmt.Println(strings.Join(os.Args[1:len(os.Args)-1], " "), err)
	fmt.Printf("%q\n", b)
	if rest, ok := strings.CutPrefix(string(b), "\ufeffwait "); ok {
		file, _, _ := strings.Cut(rest, "\r")
		for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
			time.Sleep(100 * time.Millisecond)
		}
	}
	code := 0
	fmt.Sscanf(string(b[strings.LastIndex(string(b), "exit "):]), "exit %d", &code)
	os.Exit(code)
}
`

// putStandIn builds the stand-in and puts it where Windows has PowerShell.
func (w *wine) putStandIn() {
	w.t.Helper()
	dir := filepath.Dir(w.exe)
	file := filepath.Join(dir, "powershell.go")
	if err := os.WriteFile(file, []byte(standIn), 0o600); err != nil {
		w.t.Fatal(err)
	}
	to := filepath.Join(w.drive(), "windows", "system32", "WindowsPowerShell", "v1.0")
	if err := os.MkdirAll(to, 0o755); err != nil {
		w.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(to, "powershell.exe"), file)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("build the stand-in for PowerShell: %v\n%s", err, out)
	}
}

// TestWindowsProgram runs the Windows build: command lines, the registry, COM as far as Wine has it, registration with a
// real server, and the service. Wine's Windows Update answers that nothing is implemented, which has to be said clearly.
//
// Trap W1: calls to the update agent that fail end in an error, not in a panic. Trap G3: the service is registered at once,
// and what takes time comes after.
func TestWindowsProgram(t *testing.T) {
	t.Parallel()
	w := newWine(t)
	if out, _, code := w.run("--version"); code != 0 || !strings.HasPrefix(out, "oakum ") {
		t.Fatalf("oakum.exe --version = %q, exit code %d", out, code)
	}
	const lacks = "the Windows Update Agent of this system lacks the call (E_NOTIMPL, 0x80004001)"
	for _, args := range [][]string{{"scan"}, {"scan", "--no-refresh"}, {"install", "--dry-run"}} {
		out, errs, code := w.run(args...)
		if code != 1 || out != "" || !strings.Contains(errs, "oakum: error: search for updates: "+lacks+"\n") ||
			!strings.Contains(errs, "oakum: hint: run it on a Windows that has its Windows Update Agent") || strings.Contains(errs, "goroutine") {
			t.Errorf("oakum.exe %v: exit code %d, %q, %q", args, code, out, errs)
		}
	}
	if out, _, code := w.run("doctor", "--state-dir", `C:\ProgramData\Oakum`); code != 1 || !strings.Contains(out, "OK    system: Microsoft Windows Server 2022 Datacenter 10.0.20348") ||
		!strings.Contains(out, "FAIL  Windows Update: ask the Windows Update Agent for its state: "+lacks) {
		t.Errorf("oakum.exe doctor: exit code %d, %q", code, out)
	}

	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole")
	out, errs, code := w.run("agent", "register", "--endpoint", s.url, "--region", "us-east-1", "--activation-id", act.at("ActivationId").String(),
		"--activation-code", act.at("ActivationCode").String())
	id := strings.TrimSpace(out)
	if code != 0 || !strings.HasPrefix(id, "mi-") {
		t.Fatalf("oakum.exe agent register: exit code %d, %q, %q", code, out, errs)
	}
	w.stay()
	if out, errs, code := w.run("agent", "install"); code != 0 || out != "oakum-agent\n" {
		t.Fatalf("oakum.exe agent install: exit code %d, %q, %q", code, out, errs)
	}
	node := func() value {
		return s.aws("ssm", "describe-instance-information", "--filters", "Key=InstanceIds,Values="+id).at("InstanceInformationList")
	}
	eventually(t, "the service's first report", time.Minute, func() bool {
		list := node()
		return list.len() == 1 && list.at(0, "PlatformVersion").String() != ""
	})
	node().at(0).is("PingStatus", "Online", "PlatformType", "Windows", "PlatformName", "Microsoft Windows Server 2022 Datacenter", "PlatformVersion", "10.0.20348")
	if _, errs, code := w.run("node-patch", "--operation", "Scan"); code != 1 || !strings.HasPrefix(errs, "OAKUM UNSUPPORTED_OS: search for updates: "+lacks+" (engine code 146)\n") {
		t.Errorf("the step's payload: exit code %d, %q", code, errs)
	}
	if out, errs, code := w.run("agent", "status"); code != 0 || !strings.Contains(out, "running, process ") {
		t.Errorf("oakum.exe agent status: exit code %d, %q, %q", code, out, errs)
	}
	// A step runs beside the service, under this program as its wrapper.
	w.putStandIn()
	for code, status := range map[string]string{"0": "Success", "7": "Failed"} {
		cmd := s.aws("ssm", "send-command", "--document-name", "AWS-RunPowerShellScript", "--instance-ids", id, "--parameters", `commands=["Write-Output hi","exit `+code+`"]`).
			at("Command", "CommandId").String()
		s.commandEnd(cmd, time.Minute)
		g := s.aws("ssm", "get-command-invocation", "--command-id", cmd, "--instance-id", id)
		g.is("Status", status, "ResponseCode", code)
		want := "-NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat None -File <nil>\n\"\\ufeffWrite-Output hi\\r\\nexit " + code + "\\r\\n\"\n"
		if got := g.at("StandardOutputContent").String(); got != want {
			t.Errorf("the step wrote %q, want %q", got, want)
		}
	}
	// A step goes on while the service is installed anew, and the next agent takes its result.
	cmd := s.aws("ssm", "send-command", "--document-name", "AWS-RunPowerShellScript", "--instance-ids", id, "--parameters", `commands=["wait C:/gate","exit 5"]`).
		at("Command", "CommandId").String()
	eventually(t, "the step's start", time.Minute, func() bool {
		files, _ := filepath.Glob(filepath.Join(w.drive(), "ProgramData", "Oakum", "commands", cmd, "steps", "*", "pid-1"))
		return len(files) == 1
	})
	if out, errs, code := w.run("agent", "install"); code != 0 || out != "oakum-agent\n" {
		t.Errorf("oakum.exe agent install again: exit code %d, %q, %q", code, out, errs)
	}
	if err := os.WriteFile(filepath.Join(w.drive(), "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.commandEnd(cmd, time.Minute)
	g := s.aws("ssm", "get-command-invocation", "--command-id", cmd, "--instance-id", id)
	g.is("Status", "Failed", "ResponseCode", "5")
	if got := g.at("StandardOutputContent").String(); strings.Count(got, "wait C:/gate") != 1 {
		t.Errorf("the step that was left alone wrote %q", got)
	}
	if out, errs, code := w.run("agent", "uninstall"); code != 0 || out != "oakum-agent\n" {
		t.Errorf("oakum.exe agent uninstall: exit code %d, %q, %q", code, out, errs)
	}
	if out, _, code := w.run("agent", "status"); code != 1 || !strings.Contains(out, "not running") || !strings.Contains(out, id) {
		t.Errorf("after it: exit code %d, %q", code, out)
	}
	if _, errs, code := w.run("agent", "uninstall"); code != 1 || !strings.Contains(errs, "there is no service oakum-agent") {
		t.Errorf("a second time: exit code %d, %q", code, errs)
	}
}
