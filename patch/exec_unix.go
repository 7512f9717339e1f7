//go:build unix

package patch

import (
	"os/exec"
	"syscall"
)

// isolate puts the program into its own session, so that it can reach no terminal and dies as a group.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
