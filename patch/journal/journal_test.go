package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakum.dev/patch/journal"
)

func TestAppendSurvivesReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	var want [][]byte
	for i := range 5 {
		j, got, err := journal.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("open %d: %s", i, diff)
		}
		rec := bytes.Repeat([]byte{byte(i)}, i*100+1)
		if err := j.Append(rec); err != nil {
			t.Fatal(err)
		}
		want = append(want, rec)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestEveryCrashPoint cuts the file at every length and flips every byte: what is read is always a prefix of
// what was written, and the journal takes new records after it.
func TestEveryCrashPoint(t *testing.T) {
	var whole []byte
	written := [][]byte{[]byte("one"), []byte("second record"), {0}}
	for _, r := range written {
		whole = journal.Encode(whole, r)
	}
	path := filepath.Join(t.TempDir(), "j")
	check := func(content []byte, what string, at int) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, got, err := journal.Open(path)
		if err != nil {
			t.Fatalf("%s %d: %v", what, at, err)
		}
		defer j.Close()
		if diff := cmp.Diff(written[:len(got)], got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s %d: %s", what, at, diff)
		}
		if err := j.Append([]byte("after")); err != nil {
			t.Fatal(err)
		}
		again, err := journal.Read(path)
		if err != nil || len(again) != len(got)+1 || string(again[len(got)]) != "after" {
			t.Fatalf("%s %d: a record appended after recovery is lost: %q, %v", what, at, again, err)
		}
	}
	for i := range whole {
		check(whole[:i], "cut at", i)
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x40
		check(flipped, "flipped byte", i)
	}
	check(append(bytes.Clone(whole), 0, 0, 0, 0, 0, 0, 0, 0, 0), "zeros after", len(whole))
}

func TestRecordSize(t *testing.T) {
	j, _, err := journal.Open(filepath.Join(t.TempDir(), "j"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, n := range []int{0, journal.MaxRecord + 1} {
		if err := j.Append(make([]byte, n)); !errors.Is(err, journal.ErrRecordSize) {
			t.Errorf("Append of %d bytes = %v", n, err)
		}
	}
}

func TestOpenRefusesSymlink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no O_NOFOLLOW")
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "j")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := journal.Open(filepath.Join(dir, "j")); err == nil {
		t.Error("Open follows a symbolic link")
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, content := range []string{"old", "new and longer"} {
		if err := journal.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("content %q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("leftovers: %v, %v", entries, err)
	}
	if err := journal.WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("a missing directory is not an error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(journal.Encode(journal.Encode(nil, []byte("a")), []byte("bc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, size := journal.Decode(b)
		if size > len(b) {
			t.Fatalf("size %d of %d", size, len(b))
		}
		var again []byte
		for _, r := range records {
			again = journal.Encode(again, r)
		}
		if !bytes.Equal(again, b[:size]) {
			t.Fatal("the records do not encode to the bytes they were read from")
		}
	})
}
