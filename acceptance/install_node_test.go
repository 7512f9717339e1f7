//go:build linux

package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
)

// living is a node whose processes outlive the one that started them, as on a machine: all of them are in one process
// id namespace, whose first process does nothing but collect the dead.
type living struct {
	*debNode
	init   int       // its first process, as this machine counts
	space  string    // its process id namespace
	holder *exec.Cmd // of a node in which systemd does not run
}

// find looks the first process of a booted node up.
func (l *living) find(t *testing.T) {
	t.Helper()
	out, err := testbed("pid", l.name).Output()
	if err == nil {
		l.init, err = strconv.Atoi(strings.TrimSpace(string(out)))
	}
	if err == nil {
		l.space, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", l.init))
	}
	if err != nil {
		t.Fatalf("the first process of %s: %v", l.name, err)
	}
}

// cutPower ends all that runs in the node at once. A booted one is booted again, and its boot id is another one then.
func (l *living) cutPower(t *testing.T) {
	t.Helper()
	if l.holder != nil {
		for _, p := range l.processes() {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have just ended
		}
		return
	}
	_ = syscall.Kill(l.init, syscall.SIGKILL)
	eventually(t, l.name+" is off", time.Minute, func() bool {
		out, err := testbed("pid", l.name).Output()
		return err == nil && len(bytes.TrimSpace(out)) == 0
	})
	l.boot()
	l.find(t)
}

// live starts the node's first process.
func (n *debNode) live(t *testing.T) *living {
	t.Helper()
	l := &living{debNode: n}
	l.holder = testbed("exec", n.name, "--", "/bin/sh", "-c", "echo up; while :; do sleep 1; done")
	l.holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := l.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the node %s does not live: %q %v", n.name, line, err)
	}
	pid := l.holder.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	l.init, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("the first process of %s: %v", n.name, err)
	}
	l.space, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", l.init))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// end is a power cut: nothing in the node lives on.
func (l *living) end() {
	if l.holder == nil {
		return
	}
	_ = syscall.Kill(-l.holder.Process.Pid, syscall.SIGKILL) // unshare takes its child along
	_ = l.holder.Wait()                                      // it was killed
	l.holder = nil
}

// command runs a program among the node's processes.
func (l *living) command(args ...string) *exec.Cmd {
	env := []string{"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	return exec.Command("nsenter", slices.Concat([]string{"-t", strconv.Itoa(l.init), "-a", "-r", "-w", "--"}, env, args)...)
}

// process is one of a node's.
type process struct {
	pid, parent int
	name        string   // of the program file, as the kernel cuts it
	args        []string // of the command line
}

func (p process) line() string { return strings.Join(p.args, " ") }

// processes are those of the node but the first, seen from this machine.
func (l *living) processes() []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	var out []process
	for _, dir := range dirs {
		if space, err := os.Readlink(dir + "/ns/pid"); err != nil || space != l.space {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir)) // digits
		stat, err := os.ReadFile(dir + "/stat")
		line, err2 := os.ReadFile(dir + "/cmdline")
		if err != nil || err2 != nil || len(line) == 0 || pid == l.init {
			continue // it has just ended
		}
		p := process{pid: pid, args: strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")}
		from, to := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		p.name = string(stat[from+1 : to])
		if w := strings.Fields(string(stat[to+1:])); len(w) > 1 {
			p.parent, _ = strconv.Atoi(w[1])
			if p.parent == l.init && p.name == "sleep" {
				continue // the first process waits
			}
		}
		out = append(out, p)
	}
	return out
}

// keptAgent runs a node's agent and starts it again within a second whenever it ends.
type keptAgent struct {
	mu    sync.Mutex
	last  time.Time // when it was started last
	stop  chan struct{}
	ended chan struct{}
	log   *lockedBuffer
}

func (l *living) keepAgent(state string, pause func() time.Duration) *keptAgent {
	k := &keptAgent{stop: make(chan struct{}), ended: make(chan struct{}), log: &lockedBuffer{}}
	go func() {
		defer close(k.ended)
		for {
			cmd := l.command("/usr/local/bin/oakum", "agent", "run", "--state-dir", state)
			cmd.Stdout, cmd.Stderr = k.log, k.log
			k.mu.Lock()
			k.last = time.Now()
			k.mu.Unlock()
			err := cmd.Run()
			select {
			case <-k.stop:
				return
			case <-time.After(pause()):
				fmt.Fprintf(k.log, "-- the agent ended: %v\n", err)
			}
		}
	}()
	return k
}

func (k *keptAgent) started() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// registerIn registers the node with a server; the agent's state stays inside what the node's processes see.
func (l *living) registerIn(t *testing.T, client *servertest.Server, state string) string {
	t.Helper()
	id, code := client.Activate(1)
	out, err := l.command("/usr/local/bin/oakum", "agent", "register", "--endpoint", client.URL, "--region", "us-east-1", "--state-dir", state,
		"--activation-id", id, "--activation-code", code).CombinedOutput()
	if err != nil {
		t.Fatalf("register %s: %v\n%s", l.name, err, out)
	}
	for _, w := range strings.Fields(string(out)) {
		if w = strings.Trim(w, ".,:;"); strings.HasPrefix(w, "mi-") && len(w) == 20 {
			return w
		}
	}
	t.Fatalf("register %s: %s", l.name, out)
	return ""
}

// cloneOf makes a fresh copy of a node that does not run; one at a time.
func (n *debNode) cloneOf(t *testing.T, one *sync.Mutex, name string) *debNode {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	c := &debNode{t: t, name: n.name + "-" + name}
	if out, err := testbed("destroy", c.name).CombinedOutput(); err != nil {
		t.Fatalf("destroy %s: %v: %s", c.name, err, out)
	}
	out, err := testbed("clone", n.name, c.name).Output()
	if err != nil {
		t.Fatalf("clone %s: %v", n.name, err)
	}
	c.root = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if os.Getenv("OAKUM_KEEP_NODES") != "" && t.Failed() {
			return
		}
		one.Lock()
		defer one.Unlock()
		if out, err := testbed("destroy", c.name).CombinedOutput(); err != nil {
			t.Errorf("destroy %s: %v: %s", c.name, err, out)
		}
	})
	return c
}

// differences are the packages whose version or state is not the same.
func differences(a, b map[string]string) map[string][2]string {
	out := map[string][2]string{}
	for _, m := range []map[string]string{a, b} {
		for k := range m {
			if a[k] != b[k] {
				out[k] = [2]string{a[k], b[k]}
			}
		}
	}
	return out
}

func (n *debNode) runsRecorded() ([]localRun, error) {
	var doc struct{ Runs []localRun }
	cmd := testbed("exec", n.name, "--", "/usr/local/bin/oakum", "runs", "--local", "--output", "json")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &doc)
	}
	return doc.Runs, err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
