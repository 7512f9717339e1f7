package system

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type kept struct {
	Text  string
	More  []string
	N     int
	Big   int64
	Yes   bool
	At    time.Time
	Never time.Time
	Parts []kept
	Names map[string]kept
}

func (k *kept) cached(c *Cache) {
	c.Text(&k.Text)
	c.TextList(&k.More)
	c.Int(&k.N)
	c.Number(&k.Big)
	c.Bool(&k.Yes)
	c.Time(&k.At)
	c.Time(&k.Never)
	List(c, &k.Parts, func(p *kept) { p.cached(c) })
	Table(c, &k.Names, func(p *kept) { p.cached(c) })
}

func TestCacheGivesBackWhatItWasGiven(t *testing.T) {
	none := map[string]kept{}
	want := kept{
		Text: "a\x00ü", More: []string{"", "b"}, N: -1, Big: 1<<63 - 1, Yes: true, At: time.Date(2300, 1, 2, 3, 4, 5, 6, time.UTC),
		Parts: []kept{{N: 1, Names: none}, {At: time.Unix(-5, 0).UTC(), Names: none}}, Names: map[string]kept{"": {Big: -1 << 63, Names: none}, "z": {Text: "z", Names: none}},
	}
	file, key := filepath.Join(t.TempDir(), "new", "x.cache"), sha256.Sum256([]byte("key"))
	WriteCache(file, key, want.cached)
	var got kept
	if !ReadCache(file, key, got.cached) {
		t.Fatal("the cache is not read")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestCacheOfAnotherStateOrDamagedIsNone(t *testing.T) {
	dir, key := t.TempDir(), sha256.Sum256([]byte("key"))
	file := filepath.Join(dir, "x.cache")
	k := kept{Text: "text", More: []string{"a"}}
	if ReadCache(file, key, k.cached) {
		t.Error("a file that is not there was read")
	}
	WriteCache(file, key, k.cached)
	if ReadCache(file, sha256.Sum256([]byte("other")), k.cached) {
		t.Error("the cache of another state was read")
	}
	if ReadCache(file, key, func(c *Cache) { c.Text(&k.Text) }) {
		t.Error("a cache with something left over was read")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if err := os.WriteFile(file, b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if ReadCache(file, key, k.cached) {
			t.Errorf("the first %d of %d bytes were read", n, len(b))
		}
		b[n] ^= 1
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if ReadCache(file, key, k.cached) {
			t.Errorf("with byte %d changed it was read", n)
		}
		b[n] ^= 1
	}
	WriteCache("/proc/never/x.cache", key, k.cached) // says nothing
}

// FuzzCache must not crash, nor take memory without bound, on whatever is in the cache; what does not fit is read anew.
func FuzzCache(f *testing.F) {
	f.Add("")
	f.Add("\x02a\x02\x02b\x01\x02\x01\x01\x02\x02\x00")
	f.Fuzz(func(t *testing.T, text string) {
		var k kept
		parseCache(text, k.cached)
	})
}
