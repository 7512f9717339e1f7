package compress_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"oakum.dev/repo/compress"
)

var tools = map[string][]string{".gz": {"gzip", "-c"}, ".xz": {"xz", "-c"}, ".lz4": {"lz4", "-c"}, ".zst": {"zstd", "-c"}, ".bz2": {"bzip2", "-c"}}

// TestReadsWhatTheToolsWrite opens what the real compressors make, by extension and by first bytes, and must notice
// a file that is cut off anywhere.
func TestReadsWhatTheToolsWrite(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("Package: a line that repeats\n", 5000)
	for ext, tool := range tools {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tool[0]); err != nil {
				t.Skipf("%s is not installed", tool[0])
			}
			cmd := exec.Command(tool[0], tool[1:]...)
			cmd.Stdin = strings.NewReader(text)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			read := func(b []byte, limit int64) (string, string, error) {
				r, err := compress.Reader(bytes.NewReader(b), ext, limit)
				if err != nil {
					return "", "", err
				}
				defer r.Close()
				one, err := io.ReadAll(r)
				if err != nil {
					return "", "", err
				}
				s, err := compress.Sniff(bytes.NewReader(b), limit)
				if err != nil {
					return "", "", err
				}
				defer s.Close()
				two, err := io.ReadAll(s)
				return string(one), string(two), err
			}
			one, two, err := read(packed, 1<<20)
			if err != nil || one != text || two != text {
				t.Fatalf("read %d and %d bytes of %d, %v", len(one), len(two), len(text), err)
			}
			if _, _, err := read(packed, 1000); !errors.Is(err, compress.ErrTooLarge) {
				t.Errorf("beyond the limit: error = %v, want ErrTooLarge", err)
			}
			for _, cut := range []int{8, len(packed) / 2, len(packed) - 3} {
				if _, _, err := read(packed[:cut], 1<<20); err == nil {
					t.Errorf("cut to %d of %d bytes: no error", cut, len(packed))
				}
			}
		})
	}
}

func TestSniffTakesTheRestAsPlain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "<?xml version='1.0'?>"} {
		r, err := compress.Sniff(strings.NewReader(text), 100)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("Sniff(%q) = %q, %v", text, got, err)
		}
	}
	if _, err := compress.Reader(strings.NewReader(""), ".rar", 1); err == nil {
		t.Error("an unknown extension is no error")
	}
}

// FuzzReader must end, with bytes or an error, whatever is in a compressed file.
func FuzzReader(f *testing.F) {
	for _, ext := range compress.Extensions {
		f.Add(ext, []byte("Package: a\n"))
	}
	f.Add(".gz", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"))
	f.Add(".lz4", []byte("\x04\x22\x4d\x18\x64\x40\xa7"))
	f.Add(".zst", []byte("\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, ext string, b []byte) {
		for _, open := range []func() (io.ReadCloser, error){
			func() (io.ReadCloser, error) { return compress.Reader(bytes.NewReader(b), ext, 1<<20) },
			func() (io.ReadCloser, error) { return compress.Sniff(bytes.NewReader(b), 1<<20) },
		} {
			r, err := open()
			if err != nil {
				continue
			}
			n, err := io.Copy(io.Discard, r)
			if n > 1<<20 || n == 1<<20 && err == nil {
				t.Errorf("%d bytes came out, %v", n, err)
			}
			r.Close()
		}
	})
}
