package deb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/deb"
)

const openssl = `Package: openssl
Source: openssl (3.0.13-1~deb12u1)
Version: 3.0.13-1~deb12u1+b1
Architecture: amd64
Multi-Arch: foreign
Depends: libc6 (>= 2.34),
 libssl3 (>= 3.0.13)
Section: utils
Priority: optional
Filename: pool/o/openssl.deb
Size: 1427
Phased-Update-Percentage: 30
Description: toolkit
 Package: not-a-field
`

func TestReadStatus(t *testing.T) {
	t.Parallel()
	in := "Status: hold ok installed\n" + openssl + "\n\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
	var got []deb.Package
	if err := deb.ReadStatus(strings.NewReader(in), func(p *deb.Package) error { got = append(got, *p); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []deb.Package{
		{
			Name: "openssl", Source: "openssl", SourceVersion: "3.0.13-1~deb12u1", Version: "3.0.13-1~deb12u1+b1", Arch: "amd64", MultiArch: "foreign",
			Depends: "libc6 (>= 2.34), libssl3 (>= 3.0.13)", Section: "utils", Priority: "optional", Filename: "pool/o/openssl.deb",
			Size: 1427, Phased: 30, Status: "hold ok installed",
		},
		{Name: "gone", Version: "1", Phased: 100, Status: "deinstall ok config-files"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadStatus (-want +got):\n%s", diff)
	}
	if !got[0].Held() || !got[0].Present() || got[1].Present() {
		t.Errorf("Held, Present = %v %v, %v", got[0].Held(), got[0].Present(), got[1].Present())
	}
}

// list makes a Packages list of n stanzas of varied length, some of which provide a name.
func list(n int) string {
	r := rand.New(rand.NewPCG(7, 7))
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Package: p%d\nVersion: 1.%d\nArchitecture: amd64\n", i, i)
		if i%10 == 0 {
			fmt.Fprintf(&b, "Provides: virtual%d (= 2), also-%d:any\n", i, i)
		}
		fmt.Fprintf(&b, "Description: %s\n\n", strings.Repeat("x", r.IntN(900)))
	}
	return b.String()
}

func names(hits []deb.Hit) []string {
	var out []string
	for _, h := range hits {
		out = append(out, h.Package.Name+" "+h.Package.Version)
	}
	slices.Sort(out)
	return out
}

// TestScanFindsEveryWantedStanza cuts a large list into segments and must miss and double nothing.
func TestScanFindsEveryWantedStanza(t *testing.T) {
	t.Parallel()
	const n = 30000 // about 15 MB: three segments
	text := list(n)
	want := map[string]struct{}{}
	var wantNames []string
	for i := 0; i < n; i += 7 {
		want[fmt.Sprintf("p%d", i)] = struct{}{}
		wantNames = append(wantNames, fmt.Sprintf("p%d 1.%d", i, i))
	}
	slices.Sort(wantNames)
	plain := deb.List{ID: 3, Size: int64(len(text)), At: strings.NewReader(text)}
	stream := deb.List{ID: 4, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	for _, index := range []bool{false, true} {
		for _, l := range []deb.List{plain, stream} {
			lists := deb.Lists{Want: want, Index: true}
			hits, err := lists.Scan(context.Background(), []deb.List{l})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantNames, names(hits)); diff != "" {
				t.Errorf("index %v list %d: Scan (-want +got):\n%s", index, l.ID, diff)
			}
			if !index {
				continue
			}
			found, err := lists.Find([]deb.List{l}, map[string]struct{}{"virtual20": {}, "also-40": {}, "p5": {}, "absent": {}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"p20 1.20", "p40 1.40", "p5 1.5"}, names(found)); diff != "" {
				t.Errorf("list %d: Find (-want +got):\n%s", l.ID, diff)
			}
		}
	}
}

func TestScanRefusesAnEndlessStanza(t *testing.T) {
	t.Parallel()
	l := deb.List{Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("Package: a\nDescription: "), endless{})), nil
	}}
	lists := deb.Lists{Index: true}
	if _, err := lists.Scan(context.Background(), []deb.List{l}); !errors.Is(err, deb.ErrTooLarge) {
		t.Errorf("Scan of an endless stanza: %v, want ErrTooLarge", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestReadRelease(t *testing.T) {
	t.Parallel()
	const in = `-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Label: Debian-Security
Suite: oldstable-security
Codename: bookworm-security
Version: 12
Date: Sat, 01 Nov 2026 09:12:33 UTC
Valid-Until: Sat,  8 Nov 2026 09:12:33 UTC
Architectures: amd64 all
NotAutomatic: yes
ButAutomaticUpgrades: yes
SHA256:
 abc 1 main
-----BEGIN PGP SIGNATURE-----
Origin: forged
`
	got, err := deb.ReadRelease(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := &deb.Release{
		Origin: "Debian", Label: "Debian-Security", Suite: "oldstable-security", Codename: "bookworm-security", Version: "12",
		Date: time.Date(2026, 11, 1, 9, 12, 33, 0, time.UTC), ValidUntil: time.Date(2026, 11, 8, 9, 12, 33, 0, time.UTC),
		Architectures: []string{"amd64", "all"}, NotAutomatic: true, ButAutomaticUpgrades: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadRelease (-want +got):\n%s", diff)
	}
}

func TestReadSources(t *testing.T) {
	t.Parallel()
	got, err := deb.ReadSourcesList(strings.NewReader("# c\ndeb [arch=amd64,i386 trusted=yes] http://a/debian stable main contrib # x\n" +
		"deb-src http://a/debian stable main\ndeb file:/srv ./\n"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := deb.ReadSources(strings.NewReader("# c\nTypes: deb deb-src\nURIs: http://b/\nSuites: x x-security\nComponents: main\nSigned-By:\n" +
		" -----BEGIN\n .\n abc\n\nEnabled: no\nTypes: deb\nURIs: http://c\nSuites: y\nComponents: main\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []deb.Source{
		{URI: "http://a/debian", Suite: "stable", Components: []string{"main", "contrib"}, Archs: []string{"amd64", "i386"}, Trusted: "yes"},
		{URI: "file:/srv", Suite: "./", Components: []string{}},
		{URI: "http://b/", Suite: "x", Components: []string{"main"}},
		{URI: "http://b/", Suite: "x-security", Components: []string{"main"}},
	}
	if diff := cmp.Diff(want, append(got, more...)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	_, err = deb.ReadSourcesList(strings.NewReader("deb http://a x main\ndeb http://a\n"))
	if err == nil || err.Error() != "line 2: needs a URI and a suite" {
		t.Errorf("bad line: %v", err)
	}
}

// Forms of sources that apt accepts and that people and installers write; what apt 2.6 and 3.0 make of each was looked up
// with apt-get indextargets.
func TestReadSourcesInOddForms(t *testing.T) {
	t.Parallel()
	plain := deb.Source{URI: "http://a/d", Suite: "x", Components: []string{"main"}}
	with := func(change func(*deb.Source)) []deb.Source {
		s := plain
		change(&s)
		return []deb.Source{s}
	}
	yes := with(func(s *deb.Source) { s.Trusted = "yes" })
	for line, want := range map[string][]deb.Source{
		`deb "http://a/d" "x" "main"`:                          {plain},
		"deb http://a/d x main#why":                            {plain},
		"deb [comment=#1] http://a/d x main":                   {plain},
		"  \tdeb\thttp://a/d\tx  main \t":                      {plain},
		"deb [trusted=true] http://a/d x main":                 yes,
		"deb [trusted=1] http://a/d x main":                    yes,
		"deb [ trusted=ON ] http://a/d x main":                 yes,
		"deb [trusted=perhaps] http://a/d x main":              {plain},
		"deb [arch+=i386,arm64 arch-=amd64] http://a/d x main": with(func(s *deb.Source) { s.More, s.Less = []string{"i386", "arm64"}, []string{"amd64"} }),
		`deb "http://a/d e" x main`:                            with(func(s *deb.Source) { s.URI = "http://a/d e" }),
		"deb http://a/d%20e x main":                            with(func(s *deb.Source) { s.URI = "http://a/d e" }),
		"deb cdrom:[Disc #1 - 20260101]/ x main":               with(func(s *deb.Source) { s.URI = "cdrom:[Disc #1 - 20260101]/" }),
		"deb [trusted=no] cdrom:[a b]/ x main # c":             with(func(s *deb.Source) { s.URI, s.Trusted = "cdrom:[a b]/", "no" }),
	} {
		got, err := deb.ReadSourcesList(strings.NewReader(line + "\n"))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
	const stanza = "Types: deb\nURIs: http://a/d\nSuites: x\nComponents: main\n"
	for more, want := range map[string][]deb.Source{
		"Enabled: off\n": nil, "Enabled: 0\n": nil, "Enabled: without\n": nil, "Enabled: none\n": {plain}, "Trusted: true\n": yes, "Trusted: 1\n": yes,
		"Architectures: amd64\ti386\n":                           with(func(s *deb.Source) { s.Archs = []string{"amd64", "i386"} }),
		"Architectures-Add: i386\nArchitectures-Remove: amd64\n": with(func(s *deb.Source) { s.More, s.Less = []string{"i386"}, []string{"amd64"} }),
		"Signed-By:\n -----BEGIN\n \n abc\n":                     {plain}, // a line of blanks does not end a stanza
		"   \nTypes: deb\nURIs: http://b\nSuites: y\n":           with(func(s *deb.Source) { s.URI, s.Suite = "http://b", "y" }),
	} {
		got, err := deb.ReadSources(strings.NewReader(stanza + more))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", more, err, diff)
		}
	}
	if _, err := deb.ReadSourcesList(strings.NewReader("deb \"http://a x main\n")); err == nil {
		t.Error("a quotation mark without another one is accepted")
	}
}

// As above, for preferences; apt-cache policy told what they mean.
func TestReadPreferencesInOddForms(t *testing.T) {
	t.Parallel()
	want := []deb.Pin{{Packages: []string{"foo"}, Type: "version", Data: "1.0", Priority: 900, Where: "p, record 1"}}
	for _, text := range []string{
		"Package: foo\nPin: version 1.0\nPin-Priority: 900 # for now\n", "Package: foo\nPin: version 1.0\nPin-Priority: +900.5\n",
		"Package:\tfoo\nPin:\tversion\t1.0\nPin-Priority:\t900\n", "Package: bar\nPin: version 2\nPin-Priority: 1\n \t\nPackage: foo\nPin: Version 1.0\nPin-Priority: 900\n",
	} {
		got, err := deb.ReadPreferences(strings.NewReader(text), "p")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, priority := range []string{"0", "", "much", "99999", "#1"} {
		if got, err := deb.ReadPreferences(strings.NewReader("Package: foo\nPin: version 1.0\nPin-Priority: "+priority+"\n"), "p"); err == nil {
			t.Errorf("priority %q is read as %v; apt refuses it", priority, got)
		}
	}
}

func TestReadPreferences(t *testing.T) {
	t.Parallel()
	got, err := deb.ReadPreferences(strings.NewReader("Explanation: x\nPackage: foo bar\nPin: version 1.0*\nPin-Priority: 1001\n\n# only a comment\n\n"+
		"Package: *\nPin: release o=Debian,a=stable\nPin-Priority: -1\n"), "preferences")
	if err != nil {
		t.Fatal(err)
	}
	want := []deb.Pin{
		{Packages: []string{"foo", "bar"}, Type: "version", Data: "1.0*", Priority: 1001, Where: "preferences, record 1"},
		{Packages: []string{"*"}, Type: "release", Data: "o=Debian,a=stable", Priority: -1, Where: "preferences, record 2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadPreferences (-want +got):\n%s", diff)
	}
}

func FuzzReadStatus(f *testing.F) {
	f.Add([]byte(openssl))
	f.Add([]byte("Package: a\n\n\n\nPackage: b\n c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = deb.ReadStatus(bytes.NewReader(b), func(p *deb.Package) error { n++; return nil })
		if n > bytes.Count(b, []byte("Package"))+1 {
			t.Errorf("%d packages of %d bytes", n, len(b))
		}
	})
}

// FuzzScan checks that a list read as a plain file and as a stream gives the same stanzas.
func FuzzScan(f *testing.F) {
	f.Add([]byte(openssl + "\n" + openssl))
	f.Add([]byte("\n\nPackage: openssl\nProvides: a, b (= 1)\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		scan := func(l deb.List) []string {
			lists := deb.Lists{Want: map[string]struct{}{"openssl": {}}, Index: true}
			hits, err := lists.Scan(context.Background(), []deb.List{l})
			if err != nil {
				t.Fatal(err)
			}
			return names(hits)
		}
		plain := deb.List{Size: int64(len(b)), At: bytes.NewReader(b)}
		stream := deb.List{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
		want := scan(plain)
		if got := scan(stream); !slices.Equal(got, want) {
			t.Errorf("stream %v, plain %v", got, want)
		}
	})
}

func FuzzSmallFiles(f *testing.F) {
	f.Add([]byte("Origin: a\nDate: Sat, 01 Nov 2026 09:12:33 UTC\n"))
	f.Add([]byte("deb [a=b] cdrom:[x y]/ s main\n"))
	f.Add([]byte("Package: *\nPin: release a=x\nPin-Priority: never\n"))
	f.Fuzz(func(t *testing.T, b []byte) { // must not crash; errors are fine
		_, _ = deb.ReadRelease(bytes.NewReader(b))
		_, _ = deb.ReadSizes(bytes.NewReader(b))
		_, _ = deb.ReadSourcesList(bytes.NewReader(b))
		_, _ = deb.ReadSources(bytes.NewReader(b))
		_, _ = deb.ReadPreferences(bytes.NewReader(b), "f")
	})
}

// TestOthersCountsEachPackageOnce has a package in two lists, a wanted one, and one of another architecture.
func TestOthersCountsEachPackageOnce(t *testing.T) {
	t.Parallel()
	one := "Package: a\nArchitecture: amd64\nPriority: optional\nSection: net\n\nPackage: b\nArchitecture: amd64\nPriority: optional\nSection: net\nProvides: a\n\n" +
		"Package: c\nArchitecture: all\nPriority: extra\n"
	two := "Package: a\nArchitecture: amd64\nPriority: important\nSection: net\n\nPackage: w\nArchitecture: amd64\n"
	three := "Package: a\nArchitecture: i386\nPriority: optional\nSection: net\n\nPackage: c\nArchitecture: all\nPriority: extra\n"
	var lists []deb.List
	for i, text := range []string{one, two, three} {
		lists = append(lists, deb.List{ID: i, Size: int64(len(text)), At: strings.NewReader(text)})
	}
	l := deb.Lists{Want: map[string]struct{}{"w": {}}, Index: true}
	if _, err := l.Scan(context.Background(), lists); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, o := range l.Others(func(list int) int { return list / 2 }) {
		got[fmt.Sprint(o.In)] += o.Count
	}
	want := map[string]int{
		"[{0 {optional net false}} {1 {important net false}}]": 1, "[{0 {optional net false}}]": 1, "[{0 {extra  true}} {2 {extra  true}}]": 1,
		"[{2 {optional net false}}]": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Others (-want +got):\n%s", diff)
	}
}
