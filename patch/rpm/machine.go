package rpm

import (
	"cmp"
	"io/fs"
	"runtime"
)

// Machine is the architecture of a root, by the interpreter of its programs' names, or that of the running system.
func Machine(root fs.FS) string {
	for arch, loader := range map[string]string{
		"x86_64": "lib64/ld-linux-x86-64.so.2", "aarch64": "lib/ld-linux-aarch64.so.1", "ppc64le": "lib64/ld64.so.2", "s390x": "lib/ld64.so.1",
	} {
		for _, dir := range []string{"", "usr/"} {
			if _, err := fs.Stat(root, dir+loader); err == nil {
				return arch
			}
		}
	}
	return cmp.Or(map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "ppc64le": "ppc64le", "s390x": "s390x"}[runtime.GOARCH], runtime.GOARCH)
}

// BaseArch is what $basearch stands for.
func BaseArch(machine string) string {
	switch machine {
	case "i386", "i486", "i586", "i686":
		return "i386"
	case "armv7l", "armv7hl":
		return "armhfp"
	}
	return machine
}
