//go:build unix

package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// ownSession makes the process the leader of a session and so of a process group.
func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// signalGroup sends SIGTERM or SIGKILL to a step's process group, and to what left it but is in its scope.
func signalGroup(pid int, scope string, kill bool) {
	signal, name := syscall.SIGTERM, "--signal=SIGTERM"
	if kill {
		signal, name = syscall.SIGKILL, "--signal=SIGKILL"
	}
	_ = syscall.Kill(-pid, signal) // the group may have ended by itself
	if scope != "" && kill {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = exec.CommandContext(ctx, "systemctl", "kill", name, scope+".scope").Run() // likewise
	}
}

// runsStep reports whether a process is the wrapper of a step, recognised by its exit code file. Process ids are
// used again, so that the id alone proves nothing.
func runsStep(pid int, exitFile string) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		if _, perr := os.Stat("/proc/self/cmdline"); perr == nil {
			return false
		}
		out, perr := exec.Command("ps", "-ww", "-o", "command=", "-p", fmt.Sprint(pid)).Output()
		return perr == nil && bytes.Contains(out, []byte(exitFile))
	}
	return bytes.Contains(cmdline, []byte(exitFile))
}
