package timing

import (
	"os"
	"syscall"
)

// peak is the highest resident size of a process in MiB. The kernel starts it at the size of the process that forked,
// so whoever calls Run has to be small.
func peak(p *os.ProcessState) float64 {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
