package rpm

import (
	"testing"
	"time"

	md "oakum.dev/repo/rpm"
)

// Of a notice that is there several times, in one repository or in two, the facts are those of the newest, and of several of
// one time those of the gravest.
func TestWhichNoticeCounts(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for _, tc := range []struct {
		name    string
		notices []md.Notice
		want    string
	}{
		{"of_one_day", []md.Notice{{Severity: "low", Issued: day(1)}, {Severity: "Critical", Issued: day(1)}, {Issued: day(1)}}, "Critical"},
		{"a_newer_one", []md.Notice{{Severity: "Critical", Issued: day(1)}, {Severity: "Low", Issued: day(2)}}, "Low"},
		{"one_without_a_severity", []md.Notice{{Issued: day(1)}, {Severity: "Low", Issued: day(1)}}, "Low"},
	} {
		i := &installed{name: "a", arch: "x86_64", versions: []*md.Package{{Name: "a", Arch: "x86_64", Version: "1", Release: "1"}}}
		s := &state{text: "0:2-1", order: 1, version: "2", release: "1"}
		for k := range tc.notices {
			tc.notices[k].ID = "A-1"
			s.naming = append(s.naming, naming{&tc.notices[k], &md.NoticePackage{Name: "a", Version: "2", Release: "1"}, nil})
		}
		n := &node{view: &View{Classify: Title}}
		v := n.version(i, s, 99)
		if got := v.Patches[0].Severity; got != tc.want || len(v.Patches) != len(tc.notices) {
			t.Errorf("%s: %q of %d, want %q", tc.name, got, len(v.Patches), tc.want)
		}
	}
}

// A package is told to be replaced by one of another name where the manager would do so.
func TestReplacedByAnotherName(t *testing.T) {
	t.Parallel()
	i := &installed{name: "a", arch: "x86_64", versions: []*md.Package{{Name: "a", Arch: "x86_64", Version: "1", Release: "1"}}}
	for keeps, want := range map[bool]string{false: "b 2-1", true: ""} {
		n := &node{view: &View{Classify: Title, KeepsNames: keeps}, obsoletes: map[string][]offer{"a": {{&md.Package{Name: "b", Version: "2", Release: "1"}, &Repo{ID: "r", Priority: 99}}}}}
		if got := n.describe(i).Replaced; got != want {
			t.Errorf("where names are kept: %v: %q, want %q", keeps, got, want)
		}
	}
}
