package apt

import (
	"strings"

	"oakum.dev/pkgver"
	"oakum.dev/repo/deb"
)

// phasing decides which phased updates of Ubuntu this node leaves for later. apt draws a number from the source
// package, its version and the machine's id, so that the same node always gives the same answer.
type phasing struct {
	machineID string
	always    bool // everything is taken: configured so, or no machine id, or a chroot
	never     bool
	wide      bool // older ones draw from 0..100 and compare with >, later ones from 0..99 with >=
	own       bool // see phaseOwn
	pins      bool // the phase lowers the version's priority to 1, instead of keeping the upgrade back
}

func newPhasing(c conf, machineID, aptVersion string, chroot bool) phasing {
	p := phasing{machineID: strings.TrimSpace(machineID), wide: aptVersion != "" && pkgver.Dpkg(aptVersion, phaseNarrow) < 0}
	p.always = c.bool("APT::Get::Always-Include-Phased-Updates", c.bool("Update-Manager::Always-Include-Phased-Updates", false))
	p.never = c.bool("APT::Get::Never-Include-Phased-Updates", c.bool("Update-Manager::Never-Include-Phased-Updates", false))
	p.own = aptVersion == "" || pkgver.Dpkg(aptVersion, phaseOwn) >= 0
	p.pins = aptVersion != "" && pkgver.Dpkg(aptVersion, phaseKeeps) < 0
	if aptVersion != "" && pkgver.Dpkg(aptVersion, phaseKnown) < 0 {
		p.always = true
	}
	if !p.always && !p.never && (p.machineID == "" || chroot) {
		p.always = true
	}
	return p
}

// Versions of apt at which its treatment of phases changed.
const (
	phaseKnown  = "2.1.16~" // the first that knows them
	phaseKeeps  = "2.3~"    // keeps upgrades back; before it lowered priorities
	phaseNarrow = "2.7.1~"  // draws from 0..99
	phaseOwn    = "2.7.1~"  // a copy of the same version in a security archive counts, not only of an older one
)

// ignores reports whether the node leaves this version for later.
func (p *phasing) ignores(v *deb.Package) bool {
	switch {
	case v.Phased >= 100 || p.always:
		return false
	case p.never:
		return true
	}
	seed := v.SourceName() + "-" + v.SourceVer() + "-" + p.machineID
	if p.wide {
		return draw(seed, 101) > uint64(v.Phased)
	}
	return draw(seed, 100) >= uint64(v.Phased)
}

// draw is what std::uniform_int_distribution(0, n-1) of the GNU C++ library makes of the first numbers of
// std::minstd_rand seeded by std::seed_seq over the bytes of seed.
func draw(seed string, n uint64) uint64 {
	const m, a = 2147483647, 48271
	x := uint64(seedSequence(seed)) % m
	if x == 0 {
		x = 1
	}
	// The generator yields 1..m-1; its range is cut to a multiple of n, and what lies above is drawn again.
	const span = m - 2
	scaling := uint64(span) / n
	past := n * scaling
	for {
		x = x * a % m
		if r := x - 1; r < past {
			return r / scaling
		}
	}
}

// seedSequence is the word that minstd_rand takes from std::seed_seq: the last of the four that it generates.
// Source: ISO C++, [rand.util.seedseq].
func seedSequence(seed string) uint32 {
	const n = 4
	s := len(seed)
	const t = (n - 1) / 2
	const p = (n - t) / 2
	const q = p + t
	var b [n]uint32
	for i := range b {
		b[i] = 0x8b8b8b8b
	}
	mix := func(x uint32) uint32 { return x ^ x>>27 }
	m := max(s+1, n)
	for k := range m {
		r := 1664525 * mix(b[k%n]^b[(k+p)%n]^b[(k+n-1)%n])
		switch {
		case k == 0:
			b[(k+p)%n] += r
			r += uint32(s)
		case k <= s:
			b[(k+p)%n] += r
			r += uint32(k%n) + uint32(int32(int8(seed[k-1])))
		default:
			b[(k+p)%n] += r
			r += uint32(k % n)
		}
		b[(k+q)%n] += r
		b[k%n] = r
	}
	for k := m; k < m+n; k++ {
		r := 1566083941 * mix(b[k%n]+b[(k+p)%n]+b[(k+n-1)%n])
		b[(k+p)%n] ^= r
		r -= uint32(k % n)
		b[(k+q)%n] ^= r
		b[k%n] = r
	}
	return b[3]
}
