package apt

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
)

// acceptedBy asks apt whether it installs versions of packages together and removes nothing.
func acceptedBy(run runner, m *Manager, want map[string]string) (*plan, bool) {
	args := []string{"apt-get", "-s", "-q", "-y", "install"}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		args = append(args, name+"="+want[name])
	}
	out, err := run(args...)
	p := parsePlan(out)
	if err != nil || len(p.removes) > 0 {
		return p, false
	}
	for name, v := range want {
		if p.installs[name] != v {
			return p, false
		}
	}
	return p, true
}

// checkLower has apt itself judge the versions below the newest: all of them go in beside what dist-upgrade installs,
// nothing between each and the newest one would, and where none was taken apt takes none either.
func checkLower(t *testing.T, m *Manager, run runner, o oracle, lower, reasons map[string]string) {
	t.Helper()
	all := maps.Clone(o.installs)
	maps.Copy(all, lower)
	for name := range lower {
		if o.installs[name] != "" {
			t.Errorf("%s: a lower version is the target, apt-get -s dist-upgrade installs %s", name, o.installs[name])
		}
	}
	if len(lower) > 0 {
		if p, ok := acceptedBy(run, m, all); !ok {
			t.Errorf("apt does not take the lower versions %v beside what dist-upgrade installs: %v", lower, p)
		}
	}
	for _, p := range m.node.order {
		name := p.name
		if p.arch != m.node.native {
			name += ":" + p.arch
		}
		switch reasons[name] {
		case "lower", patch.ReasonUnmetDependency, patch.ReasonConflict, patch.ReasonSolver:
		default:
			continue
		}
		for _, v := range p.versions {
			kept, unusable, _ := m.node.away(p, v)
			if pkgver.Dpkg(v.Version, p.installed.Version) <= 0 || v.Version == lower[name] {
				break
			}
			if kept != "" || unusable != "" || p.candidate == v {
				continue
			}
			with := maps.Clone(all)
			with[name] = v.Version
			if got, ok := acceptedBy(run, m, with); ok && untouched(m, got, with) {
				t.Errorf("apt takes %s %s beside what dist-upgrade installs, the scan says %s %s", name, v.Version, reasons[name], lower[name])
			}
		}
	}
}

// untouched reports whether a plan takes along only what nothing keeps away.
func untouched(m *Manager, got *plan, want map[string]string) bool {
	for _, p := range m.node.order {
		name := p.name
		if p.arch != m.node.native {
			name += ":" + p.arch
		}
		if got.installs[name] != "" && want[name] == "" {
			return false
		}
	}
	return true
}

// TestNextLowerVersion: where the newest approved version cannot be installed, the next lower one that fits is taken,
// and nothing else changes.
func TestNextLowerVersion(t *testing.T) {
	t.Parallel()
	const absent = "Depends: absent\n"
	for _, tc := range []struct {
		name  string
		build func(r *synthRoot, s *synthSuite)
		b     *baseline.Baseline
		want  map[string]string
	}{
		{"lower_fits", func(_ *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", absent)
		}, nil, map[string]string{"foo": "Missing 1.1"}},
		{"next_one_first", func(_ *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", "")
			s.add("foo", "1.3", absent)
			s.add("bar", "1.1", "")
		}, nil, map[string]string{"foo": "Missing 1.2", "bar": "Missing 1.1"}},
		{"none_fits", func(_ *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "Depends: nowhere\n")
			s.add("foo", "1.2", absent)
		}, nil, map[string]string{"foo": "Missing 1.2 unmetDependency"}},
		{"not_against_another", func(_ *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "Breaks: bar (>= 1.1)\n")
			s.add("foo", "1.2", absent)
			s.add("bar", "1.1", "")
		}, nil, map[string]string{"foo": "Missing 1.2 unmetDependency", "bar": "Missing 1.1"}},
		{"held", func(r *synthRoot, s *synthSuite) {
			r.installAs("baz", "1.0", "", "hold")
			s.add("baz", "1.1", "")
			s.add("baz", "1.2", absent)
		}, nil, map[string]string{"baz": "Missing 1.2 held"}},
		{"lower_one_is_pinned_away", func(r *synthRoot, s *synthSuite) {
			r.prefs = "Package: foo\nPin: version 1.1\nPin-Priority: -1\n"
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", absent)
		}, nil, map[string]string{"foo": "Missing 1.2 unmetDependency"}},
		{"rejected_dependency", func(r *synthRoot, s *synthSuite) {
			s.add("new", "1.0", "")
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", "Depends: new\n")
		}, rejecting("new"), map[string]string{"foo": "Missing 1.1"}},
		{"rejected_lower", func(r *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", absent)
		}, rejecting("foo-1.1"), map[string]string{"foo": "Missing 1.2 unmetDependency"}},
		{"two_that_need_each_other", func(r *synthRoot, s *synthSuite) {
			s.add("foo", "1.1", "")
			s.add("foo", "1.2", absent)
			s.add("bar", "1.1", "Depends: foo (= 1.1)\n")
			s.add("bar", "1.2", absent)
		}, nil, map[string]string{"foo": "Missing 1.1", "bar": "Missing 1.1"}},
		{"copies_move_together", func(r *synthRoot, s *synthSuite) {
			r.foreign = true
			for _, arch := range []string{"amd64", "i386"} {
				r.install("lib", "1.0", head(arch, "same"))
				s.add("lib", "1.1", head(arch, "same"))
				s.add("lib", "1.2", head(arch, "same")+absent)
			}
		}, nil, map[string]string{"lib": "Missing 1.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &synthRoot{}
			r.install("dpkg", "1", "Architecture: amd64\n")
			r.install("foo", "1.0", "")
			r.install("bar", "1.0", "")
			tc.build(r, r.suite("s", releaseSecurity))
			b := tc.b
			if b == nil {
				b = everything(baseline.Debian)
			}
			dir, cache := t.TempDir(), t.TempDir()
			r.write(t, dir)
			for _, round := range []string{"first", "remembered"} {
				e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir, CacheDir: cache}), Now: func() time.Time { return november }}
				res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: b})
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range res.Items {
					if tc.name == "lower_fits" && it.Name == "foo" && it.Detail != "1.2 cannot be installed: needs absent" {
						t.Errorf("%s: the item says %q", round, it.Detail)
					}
				}
				got := byName(res)
				maps.DeleteFunc(got, func(_, state string) bool { return state == "Installed" })
				if !maps.Equal(got, tc.want) {
					t.Errorf("%s: states %v, want %v", round, got, tc.want)
				}
			}
		})
	}
}

func rejecting(what string) *baseline.Baseline {
	b := everything(baseline.Debian)
	b.RejectedPatches, b.RejectedPatchesAction = []string{what}, baseline.Block
	return b
}
