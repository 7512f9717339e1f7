package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// ownSession keeps the process away from this one's console: stopping the agent does not reach it.
func ownSession(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW, HideWindow: true}
}

// signalGroup ends a step with what it has started. Windows has no signal that asks a program without a window to stop, so
// there is nothing gentler: a step that is to finish what it is at is waited for.
func signalGroup(pid int, _ string, kill bool) {
	if kill {
		killTree(pid)
	}
}

// runsStep reports whether a process is the wrapper of a step: this program, begun before it wrote its process id down.
// Process ids are used again, so that the id alone proves nothing.
func runsStep(pid int, exitFile string) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }() // nothing can be done about it
	if s, err := windows.WaitForSingleObject(h, 0); err != nil || s != uint32(windows.WAIT_TIMEOUT) {
		return false // it has ended
	}
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return false
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(exitFile), strings.Replace(filepath.Base(exitFile), "exit-", "pid-", 1)))
	if err != nil || time.Unix(0, created.Nanoseconds()).After(info.ModTime().Add(time.Second)) {
		return false
	}
	buf := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(buf))
	if err := windows.QueryFullProcessImageName(h, 0, &buf[0], &n); err != nil {
		return false
	}
	self, err := os.Executable()
	return err == nil && strings.EqualFold(filepath.Base(windows.UTF16ToString(buf[:n])), filepath.Base(self))
}
