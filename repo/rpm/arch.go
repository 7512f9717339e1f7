package rpm

import "slices"

// arches lists what a machine of an architecture can install, besides noarch, best first.
// Source: the compatibility tables of rpm's rpmrc and of libsolv, which dnf and zypper use.
var arches = map[string][]string{
	"x86_64":    {"x86_64", "i686", "i586", "i486", "i386"},
	"x86_64_v2": {"x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"},
	"x86_64_v3": {"x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"},
	"x86_64_v4": {"x86_64_v4", "x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"},
	"i686":      {"i686", "i586", "i486", "i386"},
	"i586":      {"i586", "i486", "i386"},
	"i386":      {"i386"},
	"aarch64":   {"aarch64"},
	"armv8hl":   {"armv8hl", "armv7hl", "armv6hl"},
	"armv7hnl":  {"armv7hnl", "armv7hl", "armv6hl"},
	"armv7hl":   {"armv7hl", "armv6hl"},
	"armv6hl":   {"armv6hl"},
	"ppc64le":   {"ppc64le"},
	"ppc64":     {"ppc64", "ppc"},
	"s390x":     {"s390x", "s390"},
	"riscv64":   {"riscv64"},
}

// canonical gives the name that rpm has for a machine.
func canonical(machine string) string {
	switch machine {
	case "amd64", "ia32e":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "armv7l":
		return "armv7hl"
	}
	return machine
}

// Arches are the package architectures that a machine can install, best first, noarch last. machine is what uname -m
// or rpm calls it. An unknown one can install its own packages and noarch.
func Arches(machine string) []string {
	machine = canonical(machine)
	list, ok := arches[machine]
	if !ok {
		list = []string{machine}
	}
	return append(slices.Clone(list), "noarch")
}

// Compatible reports whether a machine can install packages of the architecture.
func Compatible(machine, arch string) bool {
	machine = canonical(machine)
	return arch == machine || arch == "noarch" || slices.Contains(arches[machine], arch)
}
