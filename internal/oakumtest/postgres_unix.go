//go:build unix

package oakumtest

import (
	"os"
	"os/exec"
	"syscall"
)

const nobody = 65534

func dropRoot(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
}
