package rpm

import "strings"

// Sound reports whether a name, version, release, epoch or architecture is one that a package can have. What is in
// metadata ends in the words that package managers are given: nothing that a manager or a script of its own would take
// for anything else may get there. Source: rpm-version(7) and the naming rules of the distributions.
func Sound[T ~string | ~[]byte](words ...T) bool {
	for _, w := range words {
		if len(w) > 255 || len(w) > 0 && w[0] == '-' {
			return false
		}
		for i := range len(w) {
			if c := w[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._+~^-%@", rune(c)) {
				return false
			}
		}
	}
	return true
}

// Sound reports whether the package is one that there can be.
func (p *Package) Sound() bool {
	return p.Name != "" && p.Version != "" && strings.Trim(p.Epoch, "0123456789") == "" && !strings.ContainsAny(p.Version+p.Release+p.Arch, "-") && Sound(p.Name, p.Version, p.Release, p.Arch)
}

// Sound reports whether the package version is one that there can be.
func (p *NoticePackage) Sound() bool {
	return (&Package{Name: p.Name, Arch: p.Arch, Epoch: p.Epoch, Version: p.Version, Release: p.Release}).Sound()
}
