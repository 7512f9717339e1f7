package compress_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"oakum.dev/repo/compress"
)

func openZchunk(b []byte, limit int64) ([]byte, error) {
	z, err := compress.Sniff(bytes.NewReader(b), limit)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(z)
	return out, errors.Join(err, z.Close())
}

// zchunkText is what the files in testdata have in them; none.zck has its first lines only. zck 1.2.3 wrote them.
func zchunkText(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "<package type=\"rpm\"><name>oak%d</name><arch>noarch</arch><version epoch=\"0\" ver=\"%d\" rel=\"1\"/></package>\n", i+1, i+1)
	}
	return b.String()
}

func zchunkFiles(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"plain", "dict", "trained", "none"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".zck"))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

func TestZchunk(t *testing.T) {
	t.Parallel()
	for name, b := range zchunkFiles(t) {
		lines := 300
		if name == "none" {
			lines = 20
		}
		if got, err := openZchunk(b, 1<<20); err != nil || string(got) != zchunkText(lines) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if _, err := openZchunk(b, 100); !errors.Is(err, compress.ErrTooLarge) {
			t.Errorf("%s goes beyond its limit: %v", name, err)
		}
	}
}

// A file with a byte that is another, or without its end, never gives other bytes than it had.
func TestZchunkDamaged(t *testing.T) {
	t.Parallel()
	for name, b := range zchunkFiles(t) {
		want, err := openZchunk(b, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			if got, err := openZchunk(bad, 1<<20); err == nil && !bytes.Equal(got, want) && i > 4 { // without its first bytes it is another kind of file
				t.Fatalf("%s with byte %d changed gives %d bytes", name, i, len(got))
			}
		}
		for _, n := range []int{6, 20, len(b) / 2, len(b) - 1} {
			if _, err := openZchunk(b[:n], 1<<20); err == nil {
				t.Errorf("%s cut off at %d is read", name, n)
			}
		}
	}
}

// TestZchunkAgreesWithZck reads what zck writes of random text.
func TestZchunkAgreesWithZck(t *testing.T) {
	t.Parallel()
	zck, err := exec.LookPath("zck")
	if err != nil {
		t.Skip("zck (package zchunk) is not installed")
	}
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	file, out, dict := filepath.Join(dir, "in"), filepath.Join(dir, "out.zck"), filepath.Join(dir, "dict")
	for i := range 40 {
		var text bytes.Buffer
		for range r.IntN(3000) {
			fmt.Fprintf(&text, "<package>%d oak %x</package>\n", r.IntN(50), r.Uint64()>>r.IntN(64))
		}
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-o", out, "-h", []string{"sha256", "sha512", "sha512_128"}[r.IntN(3)]}
		if r.IntN(2) == 0 {
			args = append(args, "-u")
		}
		switch r.IntN(4) {
		case 0:
			args = append(args, "--compression-format=none")
		case 1:
			if err := os.WriteFile(dict, text.Bytes()[:text.Len()/3], 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "-D", dict)
		case 2:
			args = append(args, "-s", "<package>")
		}
		if said, err := exec.Command(zck, append(args, file)...).CombinedOutput(); err != nil {
			t.Fatalf("zck %q: %v: %s", args, err, said)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := openZchunk(b, 1<<30); err != nil || !bytes.Equal(got, text.Bytes()) {
			t.Fatalf("%d, %q: %d bytes of %d, %v", i, args, len(got), text.Len(), err)
		}
	}
}

func FuzzZchunk(f *testing.F) {
	for _, b := range zchunkFiles(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := openZchunk(b, 1<<20); err == nil && len(out) > 1<<20 {
			t.Errorf("%d bytes", len(out))
		}
	})
}
