package rpm_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

const updateinfoXML = `<?xml version="1.0" encoding="UTF-8"?>
<updates>
<update from="oak@example.com" status="final" type="security" version="2">
  <id>OAK-1</id><title>Important: a &amp; b</title><issued date="2026-01-10 10:20:30"/><updated date="2026-01-11"/>
  <severity>Important</severity>
  <description>a &lt;package name="no"/&gt; <![CDATA[<package name="cdata"/></update>]]></description>
  <references>
    <reference href="x" id="CVE-1" type="cve" title="CVE-1"/><reference id="CVE-1" type="cve"/><reference id='CVE-2' type='CVE'/>
    <reference id="11" type="bugzilla"/><reference id="OAK-1" type="self"/><reference id="z" type="other"/>
  </references>
  <pkglist>
    <collection short="m"><name>m</name><module name="nodejs" stream="18" version="1" context="c" arch="x86_64"/>
      <package name="alpha" version="1.1" release="1" epoch="0" arch="x86_64" src="alpha.src.rpm"><filename>f</filename><reboot_suggested>True</reboot_suggested></package>
      <package name="al&#112;ha" version="1.1" release="1" epoch="3" arch="noarch"/>
    </collection>
    <collection short="n"><package name="beta" version="2" release="1" epoch="1" arch="noarch"><restart_suggested>0</restart_suggested></package></collection>
  </pkglist>
</update>
<update type="bugfix" severity="low" relogin_suggested="1"><id>OAK-2</id><title/><issued date="1700000000"/><pkglist><collection><package name="gam&#x6d;a" version="1" release="1" arch="x86_64"><restart_suggested/></package></collection></pkglist></update>
<update type="enhancement"><id>OAK-3</id><reboot_suggested>False</reboot_suggested></update>
</updates>
`

func readNotices(t *testing.T, text string, want func([]byte) bool) []rpm.Notice {
	t.Helper()
	var got []rpm.Notice
	err := rpm.ScanNotices(iotest.HalfReader(strings.NewReader(text)), want, func(n *rpm.Notice) error { got = append(got, *n); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestScanNotices(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		at, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	want := []rpm.Notice{
		{
			ID: "OAK-1", Type: "security", Severity: "Important", Status: "final", Title: "Important: a & b", From: "oak@example.com",
			Issued: day("2026-01-10 10:20:30"), Updated: day("2026-01-11 00:00:00"),
			CVEs: []string{"CVE-1", "CVE-2"}, Bugzillas: []string{"11"}, Self: []string{"OAK-1"}, Reboot: true,
			Packages: []rpm.NoticePackage{
				{Name: "alpha", Arch: "x86_64", Version: "1.1", Release: "1", Module: "nodejs:18"},
				{Name: "alpha", Arch: "noarch", Epoch: "3", Version: "1.1", Release: "1", Module: "nodejs:18"},
				{Name: "beta", Arch: "noarch", Epoch: "1", Version: "2", Release: "1"},
			},
		},
		{
			ID: "OAK-2", Type: "bugfix", Severity: "low", Issued: time.Unix(1700000000, 0).UTC(), Restart: true, Relogin: true,
			Packages: []rpm.NoticePackage{{Name: "gamma", Arch: "x86_64", Version: "1", Release: "1"}},
		},
		{ID: "OAK-3", Type: "enhancement"},
	}
	if diff := cmp.Diff(want, readNotices(t, updateinfoXML, nil)); diff != "" {
		t.Errorf("ScanNotices (-want +got):\n%s", diff)
	}
	for name, ids := range map[string]string{"alpha": "OAK-1", "beta": "OAK-1", "gamma": "OAK-2", "no": "", "cdata": ""} {
		var got []string
		for _, n := range readNotices(t, updateinfoXML, func(b []byte) bool { return string(b) == name }) {
			got = append(got, n.ID)
		}
		if strings.Join(got, " ") != ids {
			t.Errorf("notices of %s: %q, want %q", name, got, ids)
		}
	}
	prefixed := strings.NewReplacer("<package", "<u:package", "</package", "</u:package").Replace(updateinfoXML)
	if got := readNotices(t, prefixed, func(b []byte) bool { return string(b) == "gamma" }); len(got) != 1 || got[0].ID != "OAK-2" {
		t.Errorf("with a prefix: %+v", got)
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2026-01-10":                "2026-01-10T00:00:00Z",
		" 2026-01-10 10 ":           "2026-01-10T10:00:00Z",
		"2026-01-10 10:20":          "2026-01-10T10:20:00Z",
		"2026-01-10 10:20:30":       "2026-01-10T10:20:30Z",
		"2026-01-10 10:20:30 CEST":  "2026-01-10T10:20:30Z",
		"2026-01-10 10:20:30.5":     "2026-01-10T10:20:30Z",
		"2026-01-10 UTC":            "2026-01-10T00:00:00Z",
		"2026-01-10T10:20:30Z":      "2026-01-10T10:20:30Z",
		"2026-01-10T10:20:30+02:00": "2026-01-10T08:20:30Z",
		"2026-01-10T10:20":          "2026-01-10T10:20:00Z",
		"1700000000":                "2023-11-14T22:13:20Z",
		"2026-01-10 25:00":          "2026-01-10T00:00:00Z",
		"":                          "", "never": "", "2026-13-10": "", "10/01/2026 10:00": "", "0": "", "99999999999999999999": "", "-5": "",
	} {
		got := ""
		if at := rpm.ParseDate(in); !at.IsZero() {
			got = at.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("ParseDate(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzScanNotices must find the same notices of a package whether it asks for the package or for everything.
func FuzzScanNotices(f *testing.F) {
	f.Add([]byte(updateinfoXML))
	f.Add([]byte(`<updates><update><id>a</id><pkglist><collection><package name='alpha'/></collection></pkglist></update></updates>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		with := 0
		if err := rpm.ScanNotices(bytes.NewReader(b), nil, func(n *rpm.Notice) error {
			for _, p := range n.Packages {
				if p.Name == "alpha" {
					with++
					break
				}
			}
			return nil
		}); err != nil {
			return
		}
		asked := 0
		err := rpm.ScanNotices(bytes.NewReader(b), func(name []byte) bool { return string(name) == "alpha" }, func(*rpm.Notice) error { asked++; return nil })
		if err != nil || asked != with {
			t.Errorf("%d notices name alpha, asked for it there are %d, %v", with, asked, err)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("2026-01-10 10:20:30 UTC")
	f.Fuzz(func(t *testing.T, s string) {
		if at := rpm.ParseDate(s); at.Location() != time.UTC {
			t.Errorf("ParseDate(%q) is in %v", s, at.Location())
		}
	})
}
