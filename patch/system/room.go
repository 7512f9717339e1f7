package system

import (
	"fmt"
	"io/fs"
	"strings"

	"oakum.dev/patch"
)

// Spare is what has to stay free on each file system that an install writes to, in bytes.
const Spare = 200 << 20

// Volume is a file system that an install writes to.
type Volume struct {
	Path     string
	Free     int64 // bytes
	ReadOnly bool
	id       uint64
}

// Place is a folder below the root and what an install needs in it, in bytes.
type Place struct {
	Dir   string
	Bytes int64
	Tight bool // a file system of its own is small: nothing has to stay free there
}

// Room compares what an install needs with what is free, per file system: 1.2 times the bytes of each place, and Spare. The
// error is an *Error with reason DISK or READ_ONLY.
func Room(root string, places []Place) error {
	need := map[uint64]int64{}
	var order []Volume
	for _, x := range places {
		v, err := VolumeOf(root, x.Dir)
		if err != nil {
			return err
		}
		if v.ReadOnly {
			return patch.Fail("READ_ONLY", "%s is on a file system that is mounted read-only", v.Path)
		}
		if _, known := need[v.id]; !known {
			order = append(order, v)
			if !x.Tight {
				need[v.id] = Spare
			}
		}
		need[v.id] += x.Bytes * 12 / 10
	}
	for _, v := range order {
		if v.Free < need[v.id] {
			return patch.Fail("DISK", "%s has %s free, and the install needs %s there", v.Path, mib(v.Free), mib(need[v.id]))
		}
	}
	return nil
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// BootFiles is what the newest kernel and its initrd take in /boot: a new kernel needs about as much.
func BootFiles(root fs.FS) int64 {
	var kernel, initrd int64
	entries, err := fs.ReadDir(root, "boot")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(e.Name(), "vmlinuz-"):
			kernel = max(kernel, info.Size())
		case strings.HasPrefix(e.Name(), "initrd") || strings.HasPrefix(e.Name(), "initramfs-"):
			initrd = max(initrd, info.Size())
		}
	}
	return kernel + initrd
}
