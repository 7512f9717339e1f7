package apt

import (
	"bufio"
	"fmt"
	"os"
	"testing"
)

// TestDraw (Trap D11) compares with numbers that the GNU C++ library drew: seed_seq over the text, minstd_rand, uniform
// distribution from 0 to 100 and from 0 to 99.
func TestDraw(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/draws.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	n := 0
	for s.Scan() {
		var wide, narrow uint64
		var seed string
		if _, err := fmt.Sscan(s.Text(), &wide, &narrow, &seed); err != nil {
			t.Fatal(err)
		}
		if got := draw(seed, 101); got != wide {
			t.Errorf("draw(%q, 101) = %d, want %d", seed, got, wide)
		}
		if got := draw(seed, 100); got != narrow {
			t.Errorf("draw(%q, 100) = %d, want %d", seed, got, narrow)
		}
		n++
	}
	if n < 40 {
		t.Errorf("%d draws read", n)
	}
}
