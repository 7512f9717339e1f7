// Package system looks at a running Linux or Unix system, or at a root, for the package managers that the engine knows:
// what it is, who holds locks, which processes use replaced files, how much room its file systems have; and it runs the
// programs whose words go into a run's log. It knows no package manager by itself.
package system

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// Platform reads os-release and finds the operating system that baselines name. One that takes does not accept is an
// *Error with reason UNSUPPORTED_OS; manager is who refuses it.
func Platform(root fs.FS, manager string, takes func(baseline.OS) bool) (patch.Platform, error) {
	f, err := OSRelease(root)
	if err != nil {
		return patch.Platform{}, err
	}
	p := patch.Platform{Name: f["NAME"], Version: f["VERSION_ID"]}
	n, ok := baseline.Detect(p.Name, p.Version)
	if !ok {
		n, ok = baseline.DetectFamily(f["ID"], f["ID_LIKE"])
	}
	if !ok || !takes(n.OS) {
		return p, &patch.Error{
			Reason: "UNSUPPORTED_OS", Code: patch.CodeUnsupported,
			Err: fmt.Errorf("%q is not a system that %s patches", strings.TrimSpace(p.Name+" "+p.Version), manager),
		}
	}
	p.Node = n
	return p, nil
}

// OSRelease reads /etc/os-release, or /usr/lib/os-release, of a root.
func OSRelease(root fs.FS) (map[string]string, error) {
	b, err := ReadFile(root, "etc/os-release")
	if err != nil {
		b, err = ReadFile(root, "usr/lib/os-release")
	}
	if err != nil {
		return nil, fmt.Errorf("identify the system: %w", err)
	}
	out := map[string]string{}
	for line := range bytes.Lines(b) {
		k, v, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if ok && !strings.HasPrefix(k, "#") {
			out[k] = strings.Trim(v, `"'`)
		}
	}
	return out, nil
}

// FileID changes when a file is replaced or written to.
func FileID(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d %d", info.Size(), info.ModTime().UnixNano(), inode(info))
}

// maxSmall bounds a configuration file, in bytes.
const maxSmall = 16 << 20

// ReadFile reads a small file of a root that may be anybody's: pipes and devices, on which it could wait for ever, and what
// is too large for a configuration file are errors.
func ReadFile(root fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(root, name)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxSmall:
		return nil, fmt.Errorf("%s is too large: %d bytes", name, info.Size())
	}
	return fs.ReadFile(root, name)
}
