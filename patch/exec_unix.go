//go:build unix

package patch

import (
	"os"
	"os/exec"
	"syscall"
)

// isolate puts the program into its own session, so that it can reach no terminal and dies as a group.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// scoped puts a program into a systemd scope of its own where systemd runs and this is root. Otherwise the session
// that isolate makes has to do.
func scoped(unit, path string, args []string) (string, []string) {
	if unit == "" || os.Geteuid() != 0 {
		return path, args
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return path, args
	}
	run, err := exec.LookPath("systemd-run")
	if err != nil {
		return path, args
	}
	// A scope is not made where no service manager answers, though its folder is there: then the program runs without.
	if err := exec.Command(run, "--scope", "--quiet", "--collect", "--unit="+unit+"-try", "--", "/bin/true").Run(); err != nil {
		return path, args
	}
	return run, append([]string{"--scope", "--quiet", "--collect", "--unit=" + unit, "--", path}, args...)
}
