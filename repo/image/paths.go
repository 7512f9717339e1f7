package image

import (
	"path"
	"slices"
	"strings"
)

// The files that managers read of a root that does not run. Whoever makes a manager read another file adds it here; the
// acceptance tests scan real systems and fail when a file was opened that is not in one of these lists.
var (
	// trees are unpacked with everything below them. The last part of a name may hold wildcards.
	trees = []string{
		"etc/*-release", "etc/debian_version", "etc/machine-id", "usr/lib/os-release", "usr/lib/system-release", "usr/lib/*-release",
		"run/reboot-required*", "run/reboot-needed", "var/run/reboot-required*", "etc/systemd/system/timers.target.wants", "etc/sysconfig/kernel",
		// dpkg and apt
		"etc/apt", "etc/dpkg", "var/lib/dpkg", "var/lib/apt", "usr/share/keyrings",
		"var/lib/ubuntu-advantage/status.json", "etc/ubuntu-advantage/uaclient.conf",
		// rpm
		"var/lib/rpm", "usr/lib/sysimage/rpm", "etc/rpm", "usr/lib/rpm/macros", "usr/lib/rpm/macros.d", "usr/lib/rpm/rpmrc",
		"etc/pki/rpm-gpg", "etc/pki/product", "etc/pki/product-default", "etc/rhsm/rhsm.conf",
		// yum and dnf
		"etc/yum.conf", "etc/yum", "etc/yum.repos.d", "etc/distro.repos.d", "etc/dnf", "var/lib/yum", "var/lib/dnf", "var/cache/yum", "var/cache/dnf",
		"var/cache/libdnf5", "usr/share/dnf5/repos.override.d", "usr/share/dnf5/dnf.conf", "usr/share/dnf5/libdnf.conf.d", "usr/lib/sysimage/libdnf5",
		// zypper
		"etc/zypp", "usr/etc/zypp", "etc/products.d", "etc/SUSEConnect", "var/lib/zypp", "var/cache/zypp",
	}
	// named are folders of which only the names count: kernels, modules and entitlements.
	named = []string{"boot", "lib/modules", "usr/lib/modules", "etc/pki/entitlement", "etc/pki/consumer"}
	// signs are files whose presence says something: which package manager there is, which plugins, which architecture.
	signs = []string{
		"usr/bin/dnf", "usr/bin/dnf5", "usr/bin/dnf-3", "usr/bin/yum", "usr/bin/zypper", "usr/lib*/python3*/*-packages/dnf-plugins/*",
		"usr/lib/yum-plugins/*", "lib*/ld*.so*", "lib/*/ld*.so*", "usr/lib*/ld*.so*", "usr/lib/*/ld*.so*",
	}
)

// How an entry of a layer is treated.
const (
	skip     = iota
	above    // a folder on the way to a wanted file, or a link that stands for one
	nameOnly // the name counts, not the content
	whole
)

var (
	exact    = map[string]int{}
	patterns = map[string][]string{} // folder: wildcards for what is in it
	inNamed  = map[string]bool{}
)

// sign reports whether a file is one of signs. It is asked of every entry of an image, so the common ones fail fast.
func sign(name string) bool {
	switch dir, base := path.Split(name); {
	case dir == "usr/bin/", strings.HasPrefix(base, "ld"), strings.HasSuffix(dir, "-plugins/"):
		return slices.ContainsFunc(signs, func(s string) bool {
			ok, _ := path.Match(s, name) // the patterns are ours
			return ok
		})
	}
	return false
}

func init() {
	up := func(p string) {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			exact[d] = max(exact[d], above)
		}
	}
	for _, t := range trees {
		up(t)
		if dir, base := path.Split(t); strings.ContainsAny(base, "*?[") {
			patterns[path.Clean(dir)] = append(patterns[path.Clean(dir)], base)
			continue
		}
		exact[t] = whole
	}
	for _, n := range named {
		up(n)
		exact[n], inNamed[n] = above, true
	}
	for _, l := range []string{"bin", "lib", "lib64", "usr/bin", "usr/lib", "usr/lib64"} { // links, in many systems
		exact[l] = above
	}
}

// Wanted reports whether a file of a root, as a path without a leading slash, is unpacked.
func Wanted(name string) bool { return want(name, nil) >= above }

// want says how the entry with a name is treated. more are files that are wanted besides.
func want(name string, more map[string]bool) int {
	if more[name] {
		return whole
	}
	kind, ok := exact[name]
	if ok {
		return kind
	}
	if sign(name) {
		return nameOnly
	}
	for p := name; ; {
		dir, base := path.Dir(p), path.Base(p)
		if inNamed[dir] && p == name {
			return nameOnly
		}
		for _, w := range patterns[dir] {
			if ok, _ := path.Match(w, base); ok { // the patterns are ours
				return whole
			}
		}
		if dir == "." {
			return skip
		}
		if exact[dir] == whole || more[dir] {
			return whole
		}
		p = dir
	}
}
