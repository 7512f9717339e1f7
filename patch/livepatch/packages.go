package livepatch

import (
	"regexp"
	"strings"
)

var (
	// kernel-livepatch-5.10.102-99.473 (Amazon), kernel-livepatch-5_3_18-24_34-default (SLES 15), kgraft-patch-... (SLES 12),
	// kpatch-patch-4_18_0-147_0_3 (RHEL and relatives)
	patchName = regexp.MustCompile(`^(kernel-livepatch|kgraft-patch|kpatch-patch)-(\d[0-9A-Za-z._]*-\d[0-9A-Za-z._]*(?:-[a-z][0-9a-z]*)?)$`)
	// what a distribution and an architecture add to the version in uname -r: ".amzn2.x86_64", ".el8_1.x86_64"
	afterVersion = regexp.MustCompile(`^\.[a-z][0-9A-Za-z_~]*(\.[a-z][0-9A-Za-z_]*)?$`)
	distribution = regexp.MustCompile(`\.(el|fc|amzn|uek)[0-9_]*[0-9A-Za-z_.]*$`)
)

// IsPatch reports whether a package, by its name, is a live patch for some kernel.
func IsPatch(pkg string) bool { return patchName.MatchString(pkg) }

// Applicable reports whether a package, by its name, is a live patch for the running kernel (uname -r). Live patches for
// other kernels belong into no list: they can do nothing until those kernels run.
func Applicable(pkg, running string) bool {
	m := patchName.FindStringSubmatch(pkg)
	if m == nil || running == "" {
		return false
	}
	kernel := m[2]
	switch {
	case m[1] == "kpatch-patch": // every dot has become an underscore, and the distribution's tag is left out
		return kernel == strings.ReplaceAll(kernelPart(running), ".", "_")
	case strings.Contains(kernel, "_"): // SLES: the flavour belongs to the name
		return strings.ReplaceAll(kernel, "_", ".") == running
	}
	rest, ok := strings.CutPrefix(running, kernel)
	return ok && (rest == "" || afterVersion.MatchString(rest))
}

// kernelPart is the version and release of uname -r without distribution and architecture: "4.18.0-147.0.3".
func kernelPart(running string) string { return distribution.ReplaceAllString(running, "") }

// Empty reports whether an installed live patch, by its name and version-release, is the one without fixes that only
// says that live patching is on for its kernel.
func Empty(pkg, version string) bool {
	v, release, _ := strings.Cut(version, "-")
	first, _, _ := strings.Cut(release, ".")
	switch m := patchName.FindStringSubmatch(pkg); {
	case m == nil:
		return false
	case m[1] == "kernel-livepatch" && !strings.Contains(m[2], "_"):
		return first == "0"
	case m[1] == "kpatch-patch":
		return v == "0" && first == "0"
	}
	return v == "1"
}

// emptyPatch is Empty of a package as name-version-release.
func emptyPatch(nevr string) bool {
	for i := len(nevr) - 1; i > 0; i-- { // the name ends before the last dash but one
		if nevr[i] == '-' {
			if j := strings.LastIndexByte(nevr[:i], '-'); j > 0 {
				return Empty(nevr[:j], nevr[j+1:])
			}
			return false
		}
	}
	return false
}

// IsKernel reports whether a package, by its name, is a kernel that a node boots, or a part of one that comes with it.
func IsKernel(pkg string) bool {
	for _, k := range []string{"kernel", "kernel-core", "kernel-modules", "kernel-modules-core", "kernel-default", "kernel-azure", "kernel-uek", "kernel-uek-core", "kernel6.12"} {
		if pkg == k {
			return true
		}
	}
	return false
}
