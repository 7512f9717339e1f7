package dnf

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/patch/rpm"
	md "oakum.dev/repo/rpm"
)

// Which streams are active: those that are enabled, else the default ones, with what they need and never without it. A stream
// is built for each stream of another module that it can be used with, and only the build for the active one is offered.
// The answers are those of dnf 4.14.
func TestActiveStreams(t *testing.T) {
	t.Parallel()
	all := []md.Module{
		{Name: "perl", Stream: "5.26"},
		{Name: "perl", Stream: "5.30"},
		{Name: "cpan", Stream: "2", Context: "aa", Requires: []string{"perl:5.26"}},
		{Name: "cpan", Stream: "2", Context: "bb", Requires: []string{"perl:5.30"}},
		{Name: "top", Stream: "1", Requires: []string{"dep:1"}},
		{Name: "dep", Stream: "1"},
		{Name: "dep", Stream: "2"},
		{Name: "lost", Stream: "1", Requires: []string{"nowhere:1"}},
		{Name: "any", Stream: "1", Requires: []string{"perl"}},
	}
	enabled := func(s string) md.ModuleState { return md.ModuleState{State: "enabled", Stream: s} }
	disabled := md.ModuleState{State: "disabled"}
	for _, tc := range []struct {
		name         string
		chosen       map[string]string
		states       map[string]md.ModuleState
		want, builds string
	}{
		{"defaults", map[string]string{"perl": "5.26", "cpan": "2"}, nil, "cpan:2 perl:5.26", "cpan:2:aa perl:5.26:"},
		{"another_stream_of_what_it_needs", map[string]string{"perl": "5.30", "cpan": "2"}, map[string]md.ModuleState{"perl": enabled("5.30")}, "cpan:2 perl:5.30", "cpan:2:bb perl:5.30:"},
		{"what_it_needs_is_disabled", map[string]string{"cpan": "2"}, map[string]md.ModuleState{"perl": disabled}, "", ""},
		{"it_brings_along_what_it_needs", map[string]string{"top": "1"}, map[string]md.ModuleState{"top": enabled("1")}, "dep:1 top:1", "dep:1: top:1:"},
		{"a_default_brings_it_too", map[string]string{"top": "1"}, nil, "dep:1 top:1", "dep:1: top:1:"},
		{"enabled_and_what_it_needs_is_disabled", map[string]string{"top": "1"}, map[string]md.ModuleState{"top": enabled("1"), "dep": disabled}, "", ""},
		{"a_default_yields_to_what_is_enabled", map[string]string{"top": "1", "dep": "2"}, map[string]md.ModuleState{"dep": enabled("2")}, "dep:2", "dep:2:"},
		{"nobody_has_what_it_needs", map[string]string{"lost": "1"}, nil, "", ""},
		{"any_stream_will_do", map[string]string{"any": "1", "perl": "5.30"}, nil, "any:1 perl:5.30", "any:1: perl:5.30:"},
		{"one_that_nobody_describes", map[string]string{"gone": "1"}, map[string]md.ModuleState{"gone": enabled("1")}, "gone:1", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			active := activate(all, tc.chosen, tc.states)
			var builds []string
			for i := range all {
				if m := &all[i]; active[m.Name] == m.Stream && met(m, active) {
					builds = append(builds, m.Name+":"+m.Stream+":"+m.Context)
				}
			}
			var pairs []string
			for _, name := range slices.Sorted(maps.Keys(active)) {
				pairs = append(pairs, name+":"+active[name])
			}
			slices.Sort(builds)
			if diff := cmp.Diff(tc.want, strings.Join(pairs, " ")); diff != "" {
				t.Errorf("active streams (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.builds, strings.Join(builds, " ")); diff != "" {
				t.Errorf("their builds (-want +got):\n%s", diff)
			}
		})
	}
}

// What modules hide: a package that provides a name of an active stream, and nothing of a repository for hotfixes.
func TestHiddenByModules(t *testing.T) {
	t.Parallel()
	x := &modules{
		read: true, on: map[string]bool{}, off: map[string]string{"lang-0:3-1.x86_64": "another stream"}, names: map[string]struct{}{"lang-libs": {}}, stream: map[string]string{},
	}
	p := func(name, version string, provides ...string) *md.Package {
		p := &md.Package{Name: name, Version: version, Release: "1", Arch: "x86_64"}
		for _, n := range provides {
			p.Provides = append(p.Provides, md.Relation{Name: n})
		}
		return p
	}
	plain, hotfixes := &repo{Repo: rpm.Repo{ID: "a"}}, &repo{Repo: rpm.Repo{ID: "b"}, hotfixes: true}
	for _, tc := range []struct {
		p      *md.Package
		hidden bool
	}{{p("lang", "3"), true}, {p("lang", "4"), false}, {p("lang-libs", "4"), true}, {p("compat", "1", "compat", "lang-libs"), true}, {p("other", "1", "other"), false}} {
		if got := x.hides(plain, tc.p); (got != "") != tc.hidden {
			t.Errorf("%s-%s: %q, want hidden: %v", tc.p.Name, tc.p.Version, got, tc.hidden)
		}
		if got := x.hides(hotfixes, tc.p); got != "" {
			t.Errorf("%s-%s of a repository for hotfixes: %q", tc.p.Name, tc.p.Version, got)
		}
	}
}
