//go:build linux

// Package acceptance runs the journeys of users with real clients: the AWS CLI, this program's own binary, and
// Debian nodes in roots of their own that run the agent.
package acceptance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest"
)

func TestMain(m *testing.M) {
	oakumtest.Main(m, func() {
		if built.path != "" {
			_ = os.RemoveAll(filepath.Dir(built.path)) // in the system's folder for such files
		}
	})
}

// missing skips a test whose tools are not there, saying why; in CI that is a failure.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

var built struct {
	sync.Once
	path string
	err  error
}

// binary builds the program once, as it ships.
func binary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "oakum-acceptance-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "oakum")
		cmd := exec.Command("go", "build", "-o", built.path, "./cmd/oakum")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// installation is a server process with its data.
type installation struct {
	t     *testing.T
	dir   string
	dbURL string
	url   string
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan error
}

// engines runs a journey on a new installation of each database engine.
func engines(t *testing.T, fn func(t *testing.T, s *installation)) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) { fn(t, install(t, engine)) })
	}
}

func install(t *testing.T, engine string) *installation {
	t.Helper()
	s := &installation{t: t, dir: t.TempDir()}
	if engine == "postgres" {
		s.dbURL = oakumtest.Postgres(t)
	}
	s.start("http://127.0.0.1:0")
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the server's log:\n%.20000s", s.log)
		}
	})
	return s
}

// start runs the server and waits until it says where it listens.
func (s *installation) start(listen string) {
	s.t.Helper()
	args := []string{"server", "--data-dir", s.dir, "--listen", listen}
	if s.dbURL != "" {
		args = append(args, "--database-url", s.dbURL)
	}
	cmd := exec.Command(binary(s.t), args...)
	if s.log == nil {
		s.log = &lockedBuffer{}
	}
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.ended = cmd, make(chan error, 1)
	lines := bufio.NewScanner(out)
	s.url = ""
	for s.url == "" && lines.Scan() {
		fmt.Fprintln(s.log, lines.Text())
		if _, u, ok := strings.Cut(lines.Text(), "listening on "); ok {
			s.url = strings.TrimSpace(u)
		}
	}
	if s.url == "" {
		err := cmd.Wait()
		s.t.Fatalf("the server ended with %v:\n%s", err, s.log)
	}
	go func() {
		_, _ = io.Copy(s.log, out) // until the process ends
		s.ended <- cmd.Wait()
	}()
}

func (s *installation) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		s.t.Error("the server did not end within 30 s of SIGTERM")
		s.kill()
	}
	s.cmd = nil
}

// kill is kill -9.
func (s *installation) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
}

var awsVersion sync.Once

func awsCommand(t *testing.T) string {
	t.Helper()
	name := os.Getenv("OAKUM_AWS")
	if name == "" {
		name = "aws"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "the AWS CLI is not installed: %v", err)
	}
	awsVersion.Do(func() {
		out, _ := exec.Command(path, "--version").CombinedOutput() // only for the log
		t.Logf("AWS CLI: %s", bytes.TrimSpace(out))
	})
	return path
}

func (s *installation) awsRun(args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(s.t.Context(), awsCommand(s.t), append([]string{"--region", "us-east-1", "--endpoint-url", s.url, "--output", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(s.dir, "admin.credentials"), "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_PROFILE=", "AWS_ACCESS_KEY_ID=", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool {
		return strings.HasPrefix(e, "AWS_PROFILE=") || strings.HasPrefix(e, "AWS_ACCESS_KEY_ID=") || strings.HasPrefix(e, "AWS_ENDPOINT_URL")
	})
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// aws runs an AWS CLI command that must succeed and returns its answer.
func (s *installation) aws(args ...string) value {
	s.t.Helper()
	out, errs, err := s.awsRun(args...)
	if err != nil {
		s.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	var v any = map[string]any{}
	if strings.TrimSpace(out) != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			s.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return value{s.t, strings.Join(args, " "), v}
}

// refused runs an AWS CLI command that must fail with the error code.
func (s *installation) refused(code string, args ...string) {
	s.t.Helper()
	_, errs, err := s.awsRun(args...)
	if err == nil || !strings.Contains(errs, "("+code+")") {
		s.t.Errorf("aws %s = %v %s, want %s", strings.Join(args, " "), err, errs, code)
	}
}

// value is a part of an answer.
type value struct {
	t    *testing.T
	path string
	v    any
}

// at follows member names and list positions.
func (v value) at(path ...any) value {
	v.t.Helper()
	for _, p := range path {
		v.path += fmt.Sprint(" ", p)
		switch p := p.(type) {
		case string:
			m, ok := v.v.(map[string]any)
			if !ok {
				v.t.Fatalf("%s: no structure but %v", v.path, v.v)
			}
			v.v = m[p]
		case int:
			l, ok := v.v.([]any)
			if !ok || p >= len(l) {
				v.t.Fatalf("%s: not so long a list: %v", v.path, v.v)
			}
			v.v = l[p]
		}
	}
	return v
}

func (v value) String() string {
	if s, ok := v.v.(string); ok {
		return s
	}
	if v.v == nil {
		return ""
	}
	b, _ := json.Marshal(v.v) // it came from JSON
	return string(b)
}

func (v value) len() int {
	l, _ := v.v.([]any)
	return len(l)
}

// time reads an instant, which CLI 1 prints as a number and CLI 2 as ISO text.
func (v value) time() time.Time {
	v.t.Helper()
	switch x := v.v.(type) {
	case float64:
		return time.UnixMilli(int64(x * 1000))
	case string:
		if t, err := time.Parse(time.RFC3339Nano, x); err == nil {
			return t
		}
	}
	v.t.Fatalf("%s is no time: %v", v.path, v.v)
	return time.Time{}
}

// is checks members: name, want, name, want...
func (v value) is(pairs ...any) {
	v.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		if got, want := v.at(name).String(), fmt.Sprint(pairs[i+1]); got != want {
			v.t.Errorf("%s.%s = %q, want %q", v.path, name, got, want)
		}
	}
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, limit time.Duration, done func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(200 * time.Millisecond) // other processes can only be polled
	}
}

// debNode is a Debian system in a root of its own.
type debNode struct {
	t    *testing.T
	name string
	root string
}

func testbed(args ...string) *exec.Cmd { return exec.Command("testbed/deb-node", args...) }

// newDebNode makes a Debian node, or finds the one of an earlier run, and puts this build into it.
func newDebNode(t *testing.T, name string, args ...string) *debNode {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "Debian nodes need root")
	}
	for _, tool := range []string{"mmdebstrap", "unshare", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "Debian nodes: %v", err)
		}
	}
	return madeNode(t, "w-"+name, testbed(append([]string{"create", "w-" + name}, args...)...))
}

// madeNode runs what makes a node and puts this build into it.
func madeNode(t *testing.T, name string, create *exec.Cmd) *debNode {
	t.Helper()
	var errs bytes.Buffer
	create.Stderr = &errs
	out, err := create.Output()
	if err != nil {
		if strings.Contains(errs.String(), "missing; run") {
			missing(t, "test nodes: %s", &errs)
		}
		t.Fatalf("make the node %s: %v\n%s", name, err, &errs)
	}
	n := &debNode{t: t, name: name, root: strings.TrimSpace(string(out))}
	n.putBinary()
	t.Cleanup(func() {
		if os.Getenv("OAKUM_KEEP_NODES") == "" {
			if out, err := testbed("destroy", name).CombinedOutput(); err != nil {
				t.Errorf("destroy the node %s: %v: %s", name, err, out)
			}
		}
	})
	return n
}

func (n *debNode) putBinary() {
	n.t.Helper()
	b, err := os.ReadFile(binary(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	to := filepath.Join(n.root, "usr/local/bin/oakum")
	_ = os.Remove(to) // it may run
	if err := os.WriteFile(to, b, 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// run executes a command in the node.
func (n *debNode) run(args ...string) (string, error) {
	out, err := testbed(append([]string{"exec", n.name, "--"}, args...)...).CombinedOutput()
	return string(out), err
}

func (n *debNode) mustRun(args ...string) string {
	n.t.Helper()
	out, err := n.run(args...)
	if err != nil {
		n.t.Fatalf("%s in %s: %v\n%s", strings.Join(args, " "), n.name, err, out)
	}
	return out
}

// agent is one registration on a node, with the process that serves it.
type agent struct {
	n     *debNode
	id    string
	state string
	cmd   *exec.Cmd
	log   *lockedBuffer
	stop  func() // kills the running process
}

func (n *debNode) register(s *installation, activation value, state string) (*agent, string, error) {
	out, err := n.run("/usr/local/bin/oakum", "agent", "register", "--endpoint", s.url, "--region", "us-east-1", "--state-dir", state,
		"--activation-id", activation.at("ActivationId").String(), "--activation-code", activation.at("ActivationCode").String())
	if err != nil {
		return nil, out, err
	}
	for _, word := range strings.Fields(out) {
		if w := strings.Trim(word, ".,:;"); strings.HasPrefix(w, "mi-") && len(w) == 20 {
			return &agent{n: n, id: w, state: state}, out, nil
		}
	}
	return nil, out, errors.New("the output names no node")
}

func (n *debNode) mustRegister(s *installation, activation value, state string) *agent {
	n.t.Helper()
	a, out, err := n.register(s, activation, state)
	if err != nil {
		n.t.Fatalf("register %s: %v\n%s", n.name, err, out)
	}
	return a
}

// start runs the agent until the test ends, or stop is called.
func (a *agent) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, "testbed/deb-node", "exec", a.n.name, "--", "/usr/local/bin/oakum", "agent", "run", "--state-dir", a.state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	a.log = &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = a.log, a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.cmd = cmd
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // it is killed
	a.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Logf("the log of agent %s:\n%.8000s", a.id, a.log)
		}
	})
}

// online waits until the server counts that many nodes as Online.
func (s *installation) online(n int) value {
	s.t.Helper()
	var v value
	eventually(s.t, fmt.Sprint(n, " nodes online"), time.Minute, func() bool {
		v = s.aws("ssm", "describe-instance-information", "--filters", "Key=PingStatus,Values=Online")
		return v.at("InstanceInformationList").len() == n
	})
	return v
}

// commandEnd waits until a command has ended and returns it.
func (s *installation) commandEnd(id string, limit time.Duration) value {
	s.t.Helper()
	var v value
	eventually(s.t, "the end of command "+id, limit, func() bool {
		v = s.aws("ssm", "list-commands", "--command-id", id).at("Commands", 0)
		return !slices.Contains([]string{"Pending", "InProgress", "Cancelling"}, v.at("Status").String())
	})
	return v
}
