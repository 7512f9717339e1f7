package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/document"
)

// wrapper runs a step's script as `sh -c PATH` and leaves behind its own process id and the script's exit code,
// so that an agent process started later can find out what became of it. No shell stays between it and the script: one
// that outlived the wrapper would write "Killed" into the output of the next start.
// Arguments: script, exit code file, process id file.
const wrapper = `echo $$ >"$3"; sh -c 'exec "$0"' "$1"; code=$?; echo "$code" >"$2.tmp" && mv "$2.tmp" "$2"; exit "$code"`

// stepRun is one start of a step.
type stepRun struct {
	command *command
	frame   *frame
	index   int
	step    document.Step
	dir     string
	attempt int
	resumed bool
	modules string // folder of PowerShell modules that come with the step
}

func (r *stepRun) file(name string, property int) string {
	if property > 0 {
		name += "-" + strconv.Itoa(property)
	}
	return filepath.Join(r.dir, name)
}

func (r *stepRun) exitFile(property int) string {
	return r.file("exit-"+strconv.Itoa(r.attempt), property)
}

func (r *stepRun) pidFile(property int) string {
	return r.file("pid-"+strconv.Itoa(r.attempt), property)
}

// shell runs one property of a step that is a script to its end. When ctx ends first, the script goes on and
// ctx's error is returned.
func (r *stepRun) shell(ctx context.Context, property int, inputs map[string]any) (outcome, error) {
	script, err := r.script(property, inputs)
	if err != nil {
		return failed("failed to run commands: " + err.Error()), nil
	}
	if r.step.Action == pluginModule {
		if r.modules, err = r.module(ctx, inputs); err != nil {
			if ctx.Err() != nil {
				return outcome{}, ctx.Err()
			}
			return failed("failed to run commands: " + err.Error()), nil
		}
	}
	timeout := time.Duration(document.TimeoutSeconds(inputs["timeoutSeconds"])) * time.Second
	scope := r.scopeName(property)
	for {
		cmd, err := r.process(scope, script, property, inputs)
		if err != nil {
			return failed("failed to run commands: " + err.Error()), nil
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }() // ends with the script, which may outlive this process
		code, why, err := r.watch(ctx, watched{pid: cmd.Process.Pid, scope: scope, timeout: timeout, done: done})
		if err != nil {
			return outcome{}, err
		}
		if scope != "" && why == "" && code != 0 && !exists(r.pidFile(property)) {
			scope = "" // systemd-run could not make the scope, so the script was not started: do without
			continue
		}
		return r.result(code, why), nil
	}
}

// process starts the script in its own session, and in its own systemd scope where that is possible, so that
// neither a restart of the agent nor of its unit touches it.
func (r *stepRun) process(scope, script string, property int, inputs map[string]any) (*exec.Cmd, error) {
	args, err := r.wrapped(script, property)
	if err != nil {
		return nil, err
	}
	if scope != "" {
		args = slices.Concat([]string{"systemd-run", "--scope", "--quiet", "--collect", "--unit=" + scope, "--"}, args)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = r.environment(inputs)
	cmd.Dir = r.workingDirectory(document.Text(inputs["workingDirectory"]))
	ownSession(cmd)
	var files [2]*os.File
	for i, name := range outputFiles {
		if files[i], err = os.OpenFile(filepath.Join(r.dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			break
		}
		defer files[i].Close()
	}
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1] // files, not pipes: a grandchild cannot keep Wait from returning
	return cmd, cmd.Start()
}

// unit is the step's place in the command: its number, behind those of the steps that run its document.
func (r *stepRun) unit() string {
	unit := ""
	for part := range strings.SplitSeq(strings.TrimSuffix(r.frame.place, "/"), "/") {
		if number, _, ok := strings.Cut(part, "-"); ok {
			unit += number + "."
		}
	}
	return unit + strconv.Itoa(r.index)
}

func (r *stepRun) scopeName(property int) string {
	if !r.command.agent.scopes() {
		return ""
	}
	return fmt.Sprintf("oakum-%s-%s-%d-%d", r.command.id, r.unit(), r.attempt, property)
}

// scopes reports whether steps get a systemd scope.
func (a *Agent) scopes() bool {
	if a.cfg.Scope != nil {
		return *a.cfg.Scope
	}
	if a.sys.GOOS != "linux" || a.sys.UID != 0 || !exists("/run/systemd/system") {
		return false
	}
	_, err := exec.LookPath("systemd-run")
	return err == nil
}

var outputFiles = [2]string{"stdout", "stderr"}

func (r *stepRun) outputSizes() (sizes [2]int64) {
	for i, name := range outputFiles {
		if info, err := os.Stat(filepath.Join(r.dir, name)); err == nil {
			sizes[i] = info.Size()
		}
	}
	return sizes
}

// cutOutput takes away what a start that a crash ended has written: the engine says all of it again when it finishes, and
// the first line of a failed step's stderr is to be the reason, not a shell's "Killed".
func (r *stepRun) cutOutput(sizes [2]int64) error {
	for i, name := range outputFiles {
		if err := os.Truncate(filepath.Join(r.dir, name), sizes[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// workingDirectory follows amazon-ssm-agent: an absolute path as it is; a relative or empty one under the
// command's downloads where that exists, else the agent's own directory.
func (r *stepRun) workingDirectory(dir string) string {
	if filepath.IsAbs(dir) {
		return dir
	}
	under := filepath.Join(r.command.paths.downloads, filepath.Clean("/"+dir))
	if info, err := os.Stat(under); err == nil && info.IsDir() {
		return under
	}
	return ""
}

// environment is the agent's own, what amazon-ssm-agent sets, and where Oakum is.
func (r *stepRun) environment(inputs map[string]any) []string {
	a := r.command.agent
	env := slices.Clone(a.sys.Environ)
	set := func(name, value string) { env = append(env, name+"="+value) }
	if lookupEnv(env, "PATH") == "" && a.sys.GOOS != "windows" {
		set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	set("AWS_SSM_INSTANCE_ID", a.InstanceID())
	set("AWS_SSM_REGION_NAME", a.Region())
	set("AWS_SSM_PLATFORM_NAME", a.self.Name)
	set("AWS_SSM_PLATFORM_VERSION", a.self.Version)
	set("SSM_COMMAND_ID", r.command.id)
	set("AWS_SHARED_CREDENTIALS_FILE", a.paths.awsCredentials)
	set("OAKUM_BIN", a.sys.Executable)
	set("OAKUM_STATE_DIR", a.paths.dir)
	set("OAKUM_ENDPOINT", a.Endpoint())
	set("OAKUM_STEP", fmt.Sprintf("%s%d-%s", r.frame.place, r.index, r.step.Name))
	set("OAKUM_RESULT", r.command.paths.result)
	for name, value := range r.frame.hookEnvironment() {
		set(name, value)
	}
	if r.modules != "" {
		set("PSModulePath", strings.Trim(r.modules+string(os.PathListSeparator)+lookupEnv(env, "PSModulePath"), string(os.PathListSeparator)))
	}
	if len(r.step.Properties) == 1 {
		set("OAKUM_DEADLINE", strconv.FormatInt(a.sys.Now().Add(r.step.Timeout()).Unix(), 10))
	}
	for name, value := range r.frame.values {
		if text := document.Text(value); len(text) < 32<<10 && !strings.ContainsAny(name, "=\x00") && !strings.Contains(text, "\x00") && isScalar(value) {
			set("SSM_"+name, text)
		}
	}
	if extra, ok := inputs["environment"].(map[string]any); ok {
		for name, value := range extra {
			if text := document.Text(value); name != "" && !strings.ContainsAny(name, "=\x00") && !strings.Contains(text, "\x00") {
				set(name, text)
			}
		}
	}
	return env
}

func isScalar(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return true
}

// watched is a script that is running: a child of this process, or of an earlier one.
type watched struct {
	pid     int
	scope   string
	timeout time.Duration
	done    <-chan error // of a child
	alive   func() bool  // of an earlier process's child
	exit    string       // its exit code file
}

// watch waits for a script to end and stops it when it is cancelled or runs out of time; why says which.
func (r *stepRun) watch(ctx context.Context, w watched) (code int, why document.Status, err error) {
	timer := time.NewTimer(w.timeout)
	defer timer.Stop()
	ended := w.done
	if w.done == nil {
		ended = pollEnd(ctx, w.alive, r.command.agent.timing.ReattachPolling)
	}
	select {
	case err := <-ended:
		if ctx.Err() != nil && w.done == nil {
			return 0, "", ctx.Err()
		}
		return r.exitCode(w, err), "", nil
	case <-ctx.Done():
		return 0, "", ctx.Err()
	case <-r.frame.whenCancelled():
		why = document.Cancelled
	case <-timer.C:
		why = document.TimedOut
	}
	timing := r.command.agent.timing
	if r.frame.engine(r.step) != document.NoEngine {
		// A package manager must not be stopped in the middle: the engine ends its current batch on SIGTERM.
		signalGroup(w.pid, w.scope, false)
		select {
		case <-ended:
			return document.ExitKilled, why, nil
		case <-ctx.Done():
			return 0, "", ctx.Err()
		case <-time.After(timing.CancelGrace):
		}
	}
	signalGroup(w.pid, w.scope, true)
	select {
	case <-ended:
	case <-time.After(timing.KillWait):
	}
	return document.ExitKilled, why, nil
}

// exitCode is the script's exit code; 128 and the signal's number when it was killed by one.
func (r *stepRun) exitCode(w watched, err error) int {
	if w.done == nil {
		code, ok := readExit(w.exit)
		if !ok {
			return document.ExitKilled
		}
		return code
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code >= 0 {
			return code
		}
		return document.ExitKilled
	}
	if err != nil {
		return 1
	}
	return 0
}

// killedCodes are what a shell makes of a program that SIGABRT, SIGKILL, SIGSEGV or SIGTERM ended.
var killedCodes = []int{134, document.ExitKilled, 139, 143}

func (r *stepRun) result(code int, why document.Status) outcome {
	if why != "" {
		return outcome{status: why, code: document.ExitKilled}
	}
	o := outcome{status: document.ExitStatus(code, r.command.agent.self.Type), code: code, killed: slices.Contains(killedCodes, code)}
	if o.status == document.Failed {
		o.message = fmt.Sprintf("failed to run commands: exit status %d", code)
	}
	return o
}

// reattach takes up a step that an earlier agent process started: it waits for the script when it still runs, or
// takes the result that it left. ok is false when there is neither.
func (r *stepRun) reattach(ctx context.Context) (o outcome, ok bool, err error) {
	a := r.command.agent
	st := r.frame.stateOf(r.step)
	r.attempt = st.starts
	if r.step.Action != "aws:runShellScript" && !runsPowerShell(r.step.Action) || len(r.step.Properties) != 1 {
		return outcome{}, false, nil
	}
	exit := r.exitFile(0)
	if a.sys.BootID() == st.boot {
		// A script whose agent died just after starting it writes its process id within moments.
		for range 20 {
			if exists(exit) || exists(r.pidFile(0)) || !wait(ctx, 100*time.Millisecond) {
				break
			}
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(readHead(r.pidFile(0))))
		alive := func() bool { return !exists(exit) && pid > 1 && runsStep(pid, exit) }
		if alive() {
			left := max(0, r.step.Timeout()-a.sys.Now().Sub(st.last))
			code, why, err := r.watch(ctx, watched{pid: pid, scope: r.scopeName(0), timeout: left, alive: alive, exit: exit})
			if err != nil {
				return outcome{}, false, err
			}
			if why == "" && !exists(exit) {
				return outcome{}, false, nil // killed from outside
			}
			return r.result(code, why), true, nil
		}
	}
	if code, ok := readExit(exit); ok {
		return r.result(code, ""), true, nil
	}
	return outcome{}, false, nil
}

// pollEnd reports when something that is not a child has ended, or ctx has.
func pollEnd(ctx context.Context, alive func() bool, every time.Duration) <-chan error {
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		for alive() && wait(ctx, every) {
		}
	}()
	return ended
}

func readExit(path string) (int, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	code, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	return code, err == nil
}

func writeScript(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o700)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = w.WriteString(text)
	if err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
