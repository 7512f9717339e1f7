//go:build unix

package apt

import "os"

// inChroot reports whether this process sees another root than the first process, as ischroot -t does: when that
// cannot be told, it counts as a chroot.
func inChroot() bool {
	mine, err := os.Stat("/")
	if err != nil {
		return true
	}
	first, err := os.Stat("/proc/1/root/")
	if err != nil {
		return true
	}
	return !os.SameFile(mine, first)
}
