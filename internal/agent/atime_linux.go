package agent

import (
	"os"
	"syscall"
	"time"
)

// accessTime is when a file was last read, as far as its file system keeps it.
func accessTime(info os.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(int64(st.Atim.Sec), int64(st.Atim.Nsec)) //nolint:unconvert // 32 bits on some machines
	}
	return time.Time{}
}
