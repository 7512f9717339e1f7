package rpm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

// primaryXML has, besides what createrepo writes, everything that XML allows in its place.
const primaryXML = `<?xml version="1.0" encoding="UTF-8"?>
<!-- made <by hand> </metadata> -->
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="3">
<package type="rpm">
  <name>alpha</name><arch>x86_64</arch><version epoch="0" ver="1.0" rel="1.el9"/>
  <checksum type="sha256" pkgid="YES">00</checksum>
  <summary>a &lt;package&gt; &amp; "more" </summary>
  <description><![CDATA[</package><package type="rpm"><name>no</name>]]></description>
  <!-- </package> --> <?pi </package> ?>
  <time file="1700000001" build="1700000000"/>
  <size package="10" installed='20' archive="30"/>
  <location href="Packages/a/alpha-1.0-1.el9.x86_64.rpm"/>
  <format>
    <rpm:vendor>Oak &#38; Sons</rpm:vendor><rpm:sourcerpm>alpha-1.0-1.el9.src.rpm</rpm:sourcerpm>
    <rpm:provides><rpm:entry name="alpha" flags="EQ" epoch="0" ver="1.0" rel="1.el9"/><rpm:entry name='q"uote&gt;'/><rpm:entry name="raw>" ></rpm:entry></rpm:provides>
    <rpm:requires><rpm:entry name="/bin/sh" pre="1"/><rpm:entry name="beta" flags="GE" epoch="2" ver="1"></rpm:entry><rpm:entry name="(gamma or delta)"/></rpm:requires>
    <rpm:conflicts><rpm:entry name="c" flags="LT" epoch="0" ver="2"/></rpm:conflicts>
    <rpm:suggests><rpm:entry name="not-read"/></rpm:suggests>
    <file>/usr/bin/al<![CDATA[&]]>pha</file><file type="dir">/etc/alpha</file>
  </format>
</package>
<package type="rpm">
  <name>beta</name><arch>noarch</arch><version rel="3" ver="1.5" epoch="2" /><time build="1600000000"/><location href="../../etc/passwd"/>
  <format><rpm:obsoletes><rpm:entry name="oldbeta" flags="LE" epoch="1" ver="2" rel="1"/></rpm:obsoletes><rpm:provides><rpm:entry name="virtual"/></rpm:provides></format>
</package >
<package type="rpm"><version ver="1" rel="2"/><arch>i686</arch><name><!-- x -->ga<!-- y -->mma</name><location xml:base="http://elsewhere.example/" href="g.rpm"/></package>
</metadata>
<!-- end -->
`

func wantPackages() []rpm.Package {
	return []rpm.Package{
		{
			Name: "alpha", Arch: "x86_64", Version: "1.0", Release: "1.el9", Built: time.Unix(1700000000, 0).UTC(), Bytes: 10, DiskBytes: 20,
			Location: "Packages/a/alpha-1.0-1.el9.x86_64.rpm", Vendor: "Oak & Sons", Source: "alpha-1.0-1.el9.src.rpm",
			Provides:  []rpm.Relation{{Name: "alpha", Sense: rpm.Equal, Version: "1.0", Release: "1.el9"}, {Name: `q"uote>`}, {Name: "raw>"}},
			Requires:  []rpm.Relation{{Name: "/bin/sh", Pre: true}, {Name: "beta", Sense: rpm.Greater | rpm.Equal, Epoch: "2", Version: "1"}, {Name: "(gamma or delta)"}},
			Conflicts: []rpm.Relation{{Name: "c", Sense: rpm.Less, Version: "2"}},
			Files:     []string{"/usr/bin/al&pha", "/etc/alpha"},
		},
		{
			Name: "beta", Arch: "noarch", Epoch: "2", Version: "1.5", Release: "3", Built: time.Unix(1600000000, 0).UTC(),
			Provides:  []rpm.Relation{{Name: "virtual"}},
			Obsoletes: []rpm.Relation{{Name: "oldbeta", Sense: rpm.Less | rpm.Equal, Epoch: "1", Version: "2", Release: "1"}},
		},
		{Name: "gamma", Arch: "i686", Version: "1", Release: "2"},
	}
}

func all([]byte) bool { return true }

func scan(r io.Reader, q rpm.Query) (full []rpm.Package, rest []string, err error) {
	err = rpm.ScanPrimary(r, q, func(p *rpm.Package) error { full = append(full, *p); return nil }, func(b *rpm.Brief) error {
		rest = append(rest, fmt.Sprintf("%s.%s %s:%s-%s %d", b.Name, b.Arch, b.Epoch, b.Version, b.Release, b.Built))
		return nil
	})
	return full, rest, err
}

func TestScanPrimary(t *testing.T) {
	t.Parallel()
	full, rest, err := scan(iotest.OneByteReader(strings.NewReader(primaryXML)), rpm.Query{Name: all})
	if err != nil || len(rest) > 0 {
		t.Fatalf("ScanPrimary: %q, %v", rest, err)
	}
	if diff := cmp.Diff(wantPackages(), full); diff != "" {
		t.Errorf("ScanPrimary (-want +got):\n%s", diff)
	}
	if !full[0].Requires[2].Rich() || full[0].Requires[0].Rich() || full[1].EVR() != "2:1.5-3" || full[0].EVR() != "1.0-1.el9" {
		t.Error("Rich or EVR")
	}
}

func TestScanPrimaryTakesWhatTheQueryAsksFor(t *testing.T) {
	t.Parallel()
	is := func(want string) func([]byte) bool { return func(b []byte) bool { return string(b) == want } }
	for _, tc := range []struct {
		name string
		q    rpm.Query
		want string
	}{
		{"nothing", rpm.Query{}, ""},
		{"name", rpm.Query{Name: is("beta")}, "beta"},
		{"obsoleted_name", rpm.Query{Obsoletes: is("oldbeta")}, "beta"},
		{"a_provided_name_is_not_obsoleted", rpm.Query{Obsoletes: is("virtual")}, ""},
		{"provided_name", rpm.Query{Provides: is("virtual")}, "beta"},
		{"provided_name_with_entities", rpm.Query{Provides: is(`q"uote>`)}, "alpha"},
		{"a_required_name_is_not_provided", rpm.Query{Provides: is("beta")}, ""},
		{"owned_file", rpm.Query{Provides: is("/etc/alpha")}, "alpha"},
		{"several", rpm.Query{Name: is("gamma"), Obsoletes: is("oldbeta"), Provides: is("/usr/bin/al&pha")}, "alpha beta gamma"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			full, rest, err := scan(strings.NewReader(primaryXML), tc.q)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range full {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); got != tc.want || len(full)+len(rest) != 3 {
				t.Errorf("taken %q of %d, want %q of 3", got, len(full)+len(rest), tc.want)
			}
		})
	}
	_, rest, err := scan(strings.NewReader(primaryXML), rpm.Query{})
	if diff := cmp.Diff([]string{"alpha.x86_64 :1.0-1.el9 1700000000", "beta.noarch 2:1.5-3 1600000000", "gamma.i686 :1-2 0"}, rest); diff != "" || err != nil {
		t.Errorf("rest, %v (-want +got):\n%s", err, diff)
	}
}

// TestScanPrimaryWithOtherPrefixes binds the namespaces in other ways than createrepo does.
func TestScanPrimaryWithOtherPrefixes(t *testing.T) {
	t.Parallel()
	odd := strings.ReplaceAll(strings.ReplaceAll(primaryXML, "rpm:", "r:"), "xmlns:rpm=", "xmlns:r=")
	odd = strings.ReplaceAll(odd, "<metadata xmlns=", "<m:metadata xmlns:m=")
	odd = strings.ReplaceAll(odd, "</metadata>\n", "</m:metadata>\n")
	for _, q := range []rpm.Query{{Name: all}, {Obsoletes: func(b []byte) bool { return string(b) == "oldbeta" }}} {
		want, _, _ := scan(strings.NewReader(primaryXML), q)
		got, _, err := scan(strings.NewReader(odd), q)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || len(got) == 0 {
			t.Errorf("ScanPrimary, %v (-want +got):\n%s", err, diff)
		}
	}
}

// TestCutOffMetadataIsAnError cuts documents off at every byte: fewer packages must never look like all of them.
func TestCutOffMetadataIsAnError(t *testing.T) {
	t.Parallel()
	end := strings.Index(primaryXML, "</metadata>\n") + len("</metadata>")
	for cut := range end {
		if _, _, err := scan(strings.NewReader(primaryXML[:cut]), rpm.Query{}); err == nil {
			t.Errorf("primary cut at %d: no error", cut)
		}
	}
	end = strings.LastIndex(updateinfoXML, "</updates>") + len("</updates>")
	for cut := range end {
		if err := rpm.ScanNotices(strings.NewReader(updateinfoXML[:cut]), nil, func(*rpm.Notice) error { return nil }); err == nil {
			t.Errorf("updateinfo cut at %d: no error", cut)
		}
	}
	end = strings.LastIndex(repomdXML, "</repomd>") + len("</repomd>")
	for cut := range end {
		if _, err := rpm.ReadRepomd(strings.NewReader(repomdXML[:cut])); err == nil {
			t.Errorf("repomd cut at %d: no error", cut)
		}
	}
}

// endless repeats its text for ever.
type endless struct {
	head, text string
	at         int
	read       int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.at < len(e.head) {
		n := copy(p, e.head[e.at:])
		e.at += n
		return n, nil
	}
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.read += n
	return n, nil
}

func TestScanPrimaryRefuses(t *testing.T) {
	t.Parallel()
	root := `<metadata xmlns:rpm="http://linux.duke.edu/metadata/rpm">`
	pkg := func(s string) string {
		return root + "<package><name>a</name><version ver='1'/>" + s + "</package></metadata>"
	}
	for _, tc := range []struct {
		name, in, want string
	}{
		{"empty", "", "unexpected EOF"},
		{"not_xml", "\x00ZCK1", "not XML"},
		{"doctype", `<!DOCTYPE a [<!ENTITY b "c">]>` + root + `</metadata>`, "document type"},
		{"doctype_inside", root + `<!DOCTYPE a></metadata>`, "document type"},
		{"another_document", `<updates></updates>`, "<metadata> is expected"},
		{"two_documents", root + `</metadata><metadata/>`, "<metadata> is expected"},
		{"text_after", root + `</metadata>more`, "outside of the root"},
		{"latin1", `<?xml version="1.0" encoding="ISO-8859-1"?>` + root + `</metadata>`, "ISO-8859-1"},
		{"stray_end", root + `</package></metadata>`, "closes nothing"},
		{"no_name", root + `<package><version ver="1"/></package></metadata>`, "without a name"},
		{"no_version", root + `<package><name>a</name></package></metadata>`, "without a name or a version"},
		{"nested_wrongly", pkg("<a><b></a></b>"), "closes nothing"},
		{"unknown_entity", pkg("<format><rpm:provides><rpm:entry name='&x;'/></rpm:provides></format>"), "unknown entity"},
		{"character_zero", pkg("<format><file>&#0;</file></format>"), "no character"},
		{"unknown_flags", pkg("<format><rpm:provides><rpm:entry name='x' flags='NE' ver='1'/></rpm:provides></format>"), "unknown flags"},
		{"attribute_without_quotes", pkg("<format><rpm:provides><rpm:entry name=x/></rpm:provides></format>"), "without quotes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := scan(strings.NewReader(tc.in), rpm.Query{Name: all})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ScanPrimary = %v, want %q", err, tc.want)
			}
		})
	}
	for name, in := range map[string]*endless{
		"endless package": {head: root + "<package><name>a</name>", text: "<a/>"},
		"endless tag":     {head: root + "<package a='", text: "b"},
		"endless comment": {head: root + "<!--", text: "b"},
		"endless end":     {head: root + "</", text: "b"},
		"endless root":    {head: "<", text: "b"},
	} {
		if _, _, err := scan(in, rpm.Query{Name: all}); !errors.Is(err, rpm.ErrTooLarge) {
			t.Errorf("%s: ScanPrimary = %v, want ErrTooLarge", name, err)
		}
		if in.read > 2*rpm.MaxRecord {
			t.Errorf("%s: %d bytes were read", name, in.read)
		}
	}
	stop := errors.New("stop")
	if err := rpm.ScanPrimary(strings.NewReader(primaryXML), rpm.Query{Name: all}, func(*rpm.Package) error { return stop }, nil); !errors.Is(err, stop) {
		t.Errorf("ScanPrimary = %v, want the callback's error", err)
	}
}

// FuzzScanPrimary must report each package once, as full or as rest, however the query and the reader cut it.
func FuzzScanPrimary(f *testing.F) {
	f.Add([]byte(primaryXML))
	f.Add([]byte(`<metadata><package><name>a</name><version ver="1"/></package></metadata>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		full, _, err := scan(bytes.NewReader(b), rpm.Query{Name: all})
		if err != nil {
			return
		}
		taken, rest, err := scan(iotest.HalfReader(bytes.NewReader(b)), rpm.Query{Provides: all, Obsoletes: all})
		if err != nil || len(taken)+len(rest) != len(full) {
			t.Errorf("%d full, and with another query %d and %d, %v", len(full), len(taken), len(rest), err)
		}
		for _, p := range taken {
			if !slices.ContainsFunc(full, func(q rpm.Package) bool { return cmp.Equal(p, q) }) {
				t.Errorf("%s is read in two ways", p.Name)
			}
		}
	})
}
