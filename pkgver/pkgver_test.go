package pkgver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"oakum.dev/pkgver"
)

func TestOrderLists(t *testing.T) {
	t.Parallel()
	for name, cmp := range map[string]func(a, b string) int{"dpkg": pkgver.Dpkg[string], "rpm": pkgver.RPM[string]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.Open("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := bufio.NewScanner(f)
			for s.Scan() {
				w := strings.Fields(s.Text())
				if len(w) != 3 || w[0] == "#" {
					continue
				}
				want := map[string]int{"<": -1, "=": 0}[w[1]]
				if got := cmp(w[0], w[2]); got != want {
					t.Errorf("%s(%q, %q) = %d, want %d", name, w[0], w[2], got, want)
				}
				if got := cmp(w[2], w[0]); got != -want {
					t.Errorf("%s(%q, %q) = %d, want %d", name, w[2], w[0], got, -want)
				}
			}
		})
	}
}

// version draws a version text from a small alphabet, so that near-equal pairs are common.
func version(r *rand.Rand, alphabet string, revision bool) string {
	var b strings.Builder
	part := func() {
		b.WriteByte("0123456789"[r.IntN(10)])
		for range r.IntN(6) {
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
	}
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "%d:", r.IntN(3))
	}
	part()
	if revision && r.IntN(2) == 0 {
		b.WriteByte('-')
		part()
	}
	return b.String()
}

// TestDpkgAgreesWithDpkg compares generated pairs with dpkg --compare-versions, in batches of one shell each.
func TestDpkgAgreesWithDpkg(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed")
	}
	pairs := 1500
	if testing.Short() {
		pairs = 150
	}
	const seed = 20261122
	r := rand.New(rand.NewPCG(seed, 1))
	var in bytes.Buffer
	type pair struct{ a, b string }
	var all []pair
	for range pairs {
		p := pair{version(r, "0019ab.+~", true), version(r, "0019ab.+~", true)}
		if r.IntN(2) == 0 { // a near miss: one byte changed or added
			p.b = p.a + string("0a~.+"[r.IntN(5)])
		}
		all = append(all, p)
		fmt.Fprintf(&in, "%s %s\n", p.a, p.b)
	}
	cmd := exec.Command("sh", "-c", `while read -r a b; do
		if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" eq "$b"; then echo 0; else echo 1; fi; done`)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(all) {
		t.Fatalf("dpkg answered %d of %d pairs", len(lines), len(all))
	}
	for i, p := range all {
		if got := fmt.Sprint(pkgver.Dpkg(p.a, p.b)); got != lines[i] {
			t.Errorf("Dpkg(%q, %q) = %s, dpkg says %s (seed %d)", p.a, p.b, got, lines[i], seed)
		}
	}
}

// TestRPMAgreesWithRPM compares generated pairs with rpm itself, 100 pairs a call: parts without epoch and release, and
// whole versions.
func TestRPMAgreesWithRPM(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed")
	}
	calls := 50
	if testing.Short() {
		calls = 5
	}
	for name, cmp := range map[string]func(a, b string) int{"part": pkgver.RPMPart[string], "whole": pkgver.RPM[string]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const seed = 20261122
			r := rand.New(rand.NewPCG(seed, uint64(len(name))))
			draw := func() string {
				v := version(r, "0019ab._+~^", name == "whole")
				if name == "part" {
					v = v[strings.IndexByte(v, ':')+1:]
				}
				return v
			}
			for range calls {
				var code strings.Builder
				type pair struct{ a, b string }
				var all []pair
				for range 100 {
					p := pair{draw(), draw()}
					switch r.IntN(4) {
					case 0: // near misses
						p.b = p.a + string("0a~^."[r.IntN(5)])
					case 1:
						if name == "whole" {
							p.b = p.a[strings.IndexByte(p.a, ':')+1:]
						}
					}
					all = append(all, p)
					fmt.Fprintf(&code, "print(rpm.vercmp(%q,%q)..' ') ", p.a, p.b)
				}
				out, err := exec.Command("rpm", "--eval", "%{lua:"+code.String()+"}").CombinedOutput()
				if err != nil {
					t.Fatalf("rpm: %v\n%s", err, out)
				}
				got := strings.Fields(string(out))
				if len(got) != len(all) {
					t.Fatalf("rpm answered %d of %d pairs: %s", len(got), len(all), out)
				}
				for i, p := range all {
					if have := fmt.Sprint(cmp(p.a, p.b)); have != got[i] {
						t.Errorf("%s: RPM(%q, %q) = %s, rpm says %s (seed %d)", name, p.a, p.b, have, got[i], seed)
					}
				}
			}
		})
	}
}

func TestCompareDoesNotAllocate(t *testing.T) {
	a, b := []byte("1:3.0.11-1~deb12u2"), []byte("1:3.0.13-1~deb12u1")
	if n := testing.AllocsPerRun(100, func() { pkgver.Dpkg(a, b); pkgver.RPM(a, b) }); n != 0 {
		t.Errorf("comparing allocates %v times, want 0", n)
	}
}

func fuzzOrder(f *testing.F, cmp func(a, b string) int) {
	f.Add("1.0~rc1", "1.0", "1:0-1")
	f.Add("1.0^git1", "1.0.1", "")
	f.Add("0", "-", ":")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := cmp(a, b), cmp(b, c), cmp(a, c)
		if cmp(b, a) != -ab {
			t.Errorf("not antisymmetric: %q %q", a, b)
		}
		if cmp(a, a) != 0 {
			t.Errorf("not reflexive: %q", a)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Errorf("not transitive: %q <= %q <= %q", a, b, c)
		}
	})
}

func FuzzDpkg(f *testing.F) { fuzzOrder(f, pkgver.Dpkg[string]) }

func BenchmarkDpkg(b *testing.B) {
	x, y := []byte("3.0.11-1~deb12u2"), []byte("3.0.13-1~deb12u1")
	for b.Loop() {
		pkgver.Dpkg(x, y)
	}
}
