package apt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/repo/deb"
)

// scan judges a synthetic root without apt.
func scan(t *testing.T, r *synthRoot, cfg Config, b *baseline.Baseline, now time.Time) *compliance.Result {
	t.Helper()
	dir := t.TempDir()
	r.write(t, dir)
	cfg.FS, cfg.Root = os.DirFS(dir), dir
	e := patch.Engine{Manager: New(cfg), Now: func() time.Time { return now }}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: b})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func byName(res *compliance.Result) map[string]string {
	out := map[string]string{}
	for _, it := range res.Items {
		s := string(it.State)
		if it.State == compliance.Missing {
			s += " " + it.AvailableVersion
		}
		out[it.Name] = strings.TrimSpace(s + " " + it.Reason)
	}
	return out
}

func predefined(t *testing.T, os baseline.OS) *baseline.Baseline {
	t.Helper()
	p, ok := baseline.DefaultFor(os)
	if !ok {
		t.Fatalf("no predefined baseline for %s", os)
	}
	return &p.Baseline
}

var november = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestSelectionOnDebian (Trap D12, Trap D16) holds the worked rows for Debian: predefined baseline, security only, unless said.
func TestSelectionOnDebian(t *testing.T) {
	t.Parallel()
	debian := predefined(t, baseline.Debian)
	five := 5
	delayed := &baseline.Baseline{OperatingSystem: baseline.Debian, Name: "delayed", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{{ApproveAfterDays: &five}}}}
	for _, tc := range []struct {
		name  string
		b     *baseline.Baseline
		build func(r *synthRoot)
		want  string
	}{
		{"A1_security_version", debian, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
		}, "Missing 1.1"},
		{"A2_only_in_updates", debian, func(r *synthRoot) {
			r.suite("u", releaseUpdates).add("foo", "1.1", "")
		}, "InstalledOther notSecurity"},
		{"A3_updates_with_non_security", everything(baseline.Debian), func(r *synthRoot) {
			r.suite("u", releaseUpdates).add("foo", "1.1", "")
		}, "Missing 1.1"},
		{"A4_security_below_updates", debian, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
			r.suite("u", releaseUpdates).add("foo", "1.2", "")
		}, "Missing 1.1"},
		{"A4_with_non_security", everything(baseline.Debian), func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
			r.suite("u", releaseUpdates).add("foo", "1.2", "")
		}, "Missing 1.2"},
		{"A5_pin_keeps_it_away", debian, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
			r.prefs = "Package: foo\nPin: version 1.0\nPin-Priority: 1001\n"
		}, "Missing 1.1 pinned"},
		{"A6_untrusted_archive", debian, func(r *synthRoot) {
			s := r.suite("s", releaseSecurity)
			s.add("foo", "1.1", "")
			s.unsigned = true
		}, "InstalledOther notTrusted"},
		{"A7_delay_from_the_pool", delayed, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
		}, "InstalledOther delay"},
		{"A8_old_suite_name", debian, func(r *synthRoot) {
			r.suite("s", "Origin: X\nLabel: Y\nSuite: oldstable-security\n").add("foo", "1.1", "")
		}, "Missing 1.1"},
		{"label_of_the_security_archive", debian, func(r *synthRoot) {
			r.suite("s", "Origin: Debian\nLabel: Debian-Security\nSuite: oldoldstable\n").add("foo", "1.1", "")
		}, "Missing 1.1"},
		{"backports_are_not_automatic", everything(baseline.Debian), func(r *synthRoot) {
			r.suite("b", releaseFuture).add("foo", "3.0", "")
		}, "Installed notAutomatic"},
		{"target_release_hides_security", debian, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "")
			r.conf = "APT::Default-Release \"stable\";\n"
		}, "Missing 1.1 pinned"},
		{"needs_what_nobody_offers", debian, func(r *synthRoot) {
			r.suite("s", releaseSecurity).add("foo", "1.1", "Depends: absent (>= 2)\n")
		}, "Missing 1.1 unmetDependency"},
		{"rejected_dependency", &baseline.Baseline{
			OperatingSystem: baseline.Debian, Name: "r", ApprovalRules: debian.ApprovalRules, RejectedPatches: []string{"bad"},
			RejectedPatchesAction: baseline.Block,
		}, func(r *synthRoot) {
			s := r.suite("s", releaseSecurity)
			s.add("foo", "1.1", "Depends: bad\n")
			s.add("bad", "1", "")
		}, "Missing 1.1 blockedByRejected"},
		{"new_package_as_a_dependency", debian, func(r *synthRoot) {
			s := r.suite("s", releaseSecurity)
			s.add("foo", "1.1", "Depends: virtual\n")
			s.add("real", "1", "Provides: virtual\n")
		}, "Missing 1.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &synthRoot{machineID: "0123456789abcdef0123456789abcdef"}
			r.install("dpkg", "1", "Architecture: amd64\n")
			r.suite("m", releaseMain).add("foo", "1.0", "")
			r.install("foo", "1.0", "")
			tc.build(r)
			cfg := Config{Released: func(_ context.Context, uri string) (time.Time, bool) {
				if uri != "http://archive.example.com/debian/pool/foo_1.1.deb" {
					t.Errorf("asked for %s", uri)
				}
				return time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC), true
			}}
			now := november
			if strings.HasPrefix(tc.name, "A7") { // three days after the index's date, which bounds the release time
				now = time.Date(2026, 11, 17, 12, 0, 0, 0, time.UTC)
			}
			if got := byName(scan(t, r, cfg, tc.b, now))["foo"]; got != tc.want {
				t.Errorf("foo is %q, want %q", got, tc.want)
			}
		})
	}
}

// TestWorkedExampleOnUbuntu is the worked example of an apt node, with both actions for rejected patches.
func TestWorkedExampleOnUbuntu(t *testing.T) {
	t.Parallel()
	build := func() *synthRoot {
		r := &synthRoot{}
		main := r.suite("jammy", "Origin: Ubuntu\nLabel: Ubuntu\nSuite: jammy\n")
		updates := r.suite("jammy-updates", "Origin: Ubuntu\nLabel: Ubuntu\nSuite: jammy-updates\n")
		security := r.suite("jammy-security", "Origin: Ubuntu\nLabel: Ubuntu\nSuite: jammy-security\n")
		r.install("openssl", "3.0.2-0ubuntu1.1", "")
		security.add("openssl", "3.0.2-0ubuntu1.2", "")
		r.install("curl", "7.81.0-1ubuntu1.15", "")
		security.add("curl", "7.81.0-1ubuntu1.15", "")
		r.install("vim", "2:8.2-1", "")
		main.add("vim", "2:8.2-1", "")
		updates.add("vim", "2:8.2-2", "")
		r.install("myapp", "1.0", "")
		r.install("libfoo", "1.0", "")
		main.add("libfoo", "1.0", "")
		security.add("libfoo", "1.1", "")
		return r
	}
	for _, tc := range []struct {
		action baseline.RejectedAction
		libfoo string
		want   compliance.Counts
	}{
		{baseline.AllowAsDependency, "InstalledOther rejected", compliance.Counts{Installed: 1, InstalledOther: 3, Missing: 1, UnreportedNotApplicable: -1, SecurityNonCompliant: 1}},
		{
			baseline.Block, "InstalledRejected rejected",
			compliance.Counts{Installed: 1, InstalledOther: 2, InstalledRejected: 1, Missing: 1, UnreportedNotApplicable: -1, SecurityNonCompliant: 1, OtherNonCompliant: 1},
		},
	} {
		t.Run(string(tc.action), func(t *testing.T) {
			t.Parallel()
			b := *predefined(t, baseline.Ubuntu)
			b.RejectedPatches, b.RejectedPatchesAction = []string{"libfoo"}, tc.action
			r := build()
			dir := t.TempDir()
			r.write(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("NAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
			res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: &b})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"openssl": "Missing 3.0.2-0ubuntu1.2", "curl": "Installed", "vim": "InstalledOther notSecurity", "myapp": "InstalledOther", "libfoo": tc.libfoo,
			}
			if diff := cmp.Diff(want, byName(res)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, res.Header.Counts); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if res.Header.Product != "Ubuntu22.04" {
				t.Errorf("product %s", res.Header.Product)
			}
		})
	}
}

// TestCacheGivesTheSameResult scans random roots twice with a cache, and after a change of one list.
func TestCacheGivesTheSameResult(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		dir, cache := t.TempDir(), t.TempDir()
		r := randomRoot(seed, "2.6.1")
		r.write(t, dir)
		items := func(cacheDir string) []byte {
			e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir, CacheDir: cacheDir}), Now: func() time.Time { return november }}
			res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
			if err != nil {
				t.Fatal(err)
			}
			return compliance.EncodeItems(res.Items)
		}
		check := func(when string) {
			t.Helper()
			want := string(items(""))
			for _, run := range []string{"first", "second"} {
				if diff := cmp.Diff(want, string(items(cache))); diff != "" {
					t.Errorf("seed %d, %s, %s scan with a cache (-without +with):\n%s", seed, when, run, diff)
				}
			}
		}
		check("at first")
		r.suites["bookworm-updates"].add("p07", "9.0", "Depends: new0\n")
		r.write(t, dir)
		check("after a change of a list")
		r.prefs = "Package: p07\nPin: version 9.0\nPin-Priority: -1\n"
		r.write(t, dir)
		check("after a change of the preferences")
		files, err := filepath.Glob(cache + "/apt-*.cache")
		if err != nil || len(files) != 1 {
			t.Fatalf("cache files %v, %v", files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 0x40
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		check("after damage")
	}
}

// A pin on a package that is not installed says whether another one can have it as a dependency. What an earlier scan
// found out does not hold any more when it changes.
func TestCacheForgetsWhatAPinChanges(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	s := r.suite("s", releaseMain)
	s.add("foo", "1.1", "Depends: bar\n")
	s.add("bar", "1", "")
	dir, cache := t.TempDir(), t.TempDir()
	r.write(t, dir)
	for _, step := range []struct{ prefs, want string }{{"", ""}, {"Package: bar\nPin: version *\nPin-Priority: -1\n", "unmetDependency"}, {"", ""}} {
		if err := os.WriteFile(filepath.Join(dir, "etc/apt/preferences"), []byte(step.prefs), 0o644); err != nil {
			t.Fatal(err)
		}
		e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir, CacheDir: cache}), Now: func() time.Time { return november }}
		res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range res.Items {
			if i.Title != "" && strings.HasPrefix(i.Title, "foo") && i.Reason != step.want {
				t.Errorf("with preferences %q: reason %q, want %q", step.prefs, i.Reason, step.want)
			}
		}
	}
}

func TestReleaseTimeNeverMovesLater(t *testing.T) {
	t.Parallel()
	dir, cache := t.TempDir(), t.TempDir()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	r.suite("s", releaseSecurity).add("foo", "1.1", "")
	r.write(t, dir)
	asked := 0
	released := func(pool time.Time) time.Time {
		five := 5
		b := &baseline.Baseline{OperatingSystem: baseline.Debian, Name: "d", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{{ApproveAfterDays: &five}}}}
		m := New(Config{FS: os.DirFS(dir), Root: dir, CacheDir: cache, Released: func(context.Context, string) (time.Time, bool) {
			asked++
			return pool, true
		}})
		e := patch.Engine{Manager: m, Now: func() time.Time { return november }}
		res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: b})
		if err != nil {
			t.Fatal(err)
		}
		return res.Items[0].ReleasedTime
	}
	early := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if got := released(early); !got.Equal(early) {
		t.Errorf("released %v, want %v", got, early)
	}
	if got := released(november); !got.Equal(early) || asked != 1 {
		t.Errorf("later: released %v after %d questions, want %v after one", got, asked, early)
	}
}

// Addresses that only the node's architecture or a folder's slashes complete, and lists for other architectures.
func TestIndexesOfOddSources(t *testing.T) {
	t.Parallel()
	r := &synthRoot{conf: "APT::Architectures \"amd64,i386\";\n"}
	r.install("foo", "1.0", "")
	dir := t.TempDir()
	r.write(t, dir)
	lists := filepath.Join(dir, "var/lib/apt/lists")
	want := []string{"_srv_amd64_dists_x_main_binary-amd64_Packages", "_srv_amd64_dists_x_main_binary-i386_Packages", "h_flat__sub_Packages", "h_flat_Packages", "h_less_dists_x_main_binary-i386_Packages", "h_more_dists_x_main_binary-arm64_Packages"}
	for _, name := range append(slices.Clone(want), "h_less_dists_x_main_binary-amd64_Packages") {
		release := regexp.MustCompile(`(main_binary-.*_|)Packages$`).ReplaceAllString(name, "Release")
		if err := errors.Join(os.WriteFile(filepath.Join(lists, name), nil, 0o644), os.WriteFile(filepath.Join(lists, release), []byte("Suite: x\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	text := "deb file:/srv/$(ARCH) x main\ndeb http://h/flat /\ndeb http://h/flat /sub/\ndeb [arch+=arm64] http://h/more x main\ndeb [arch-=amd64] http://h/less x main\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/apt/sources.list"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := (Config{FS: os.DirFS(dir), Root: dir}).Complete()
	n, err := load(t.Context(), &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range n.indexes {
		got = append(got, filepath.Base(i.path))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
}

func TestReleaseMatch(t *testing.T) {
	t.Parallel()
	i := &index{rel: &release{Release: deb.Release{Suite: "stable", Origin: "Debian", Version: "12.1"}}}
	for data, want := range map[string]bool{
		"O=Debian": true, "O=Other": false, "a=stable,a=back": false, "a=back, a=stable": true, "o=Debian,v=12*": true, "z=1,a=stable": true, "a=": false,
	} {
		if got := releaseMatch(data, i); got != want {
			t.Errorf("release %s: %v", data, got)
		}
	}
}

// An apt that does not know pins of the type source-version leaves them out.
func TestPinsOfSourceVersions(t *testing.T) {
	t.Parallel()
	for apt, want := range map[string]int{"2.6.1": 500, "3.0.3": 1001} {
		r := &synthRoot{prefs: "Package: foo\nPin: source-version 1.1\nPin-Priority: 1001\n"}
		r.install("foo", "1.0", "")
		r.install("apt", apt, "")
		r.suite("s", releaseMain).add("foo", "1.1", "")
		dir := t.TempDir()
		r.write(t, dir)
		cfg := (Config{FS: os.DirFS(dir), Root: dir}).Complete()
		n, err := load(t.Context(), &cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.priority(n.pkgs["foo:amd64"].candidate); got != want {
			t.Errorf("apt %s: priority %d, want %d", apt, got, want)
		}
	}
}

func TestConfSyntax(t *testing.T) {
	t.Parallel()
	c := conf{}
	text := `// comment
/* more */ # and more
APT::Default-Release "stable";
APT { Get { Always-Include-Phased-Updates "true"; }; Architectures { "amd64"; "i386"; }; };
DPkg::Options:: "--force-confdef";
DPkg::Options:: "--force-confold";
Dir::Etc "myetc";
Acquire::Languages "none";
#clear Acquire::Languages;
`
	if err := c.parse(text); err != nil {
		t.Fatal(err)
	}
	want := conf{
		"apt::default-release": {"stable"}, "apt::get::always-include-phased-updates": {"true"}, "apt::architectures": {"amd64", "i386"},
		"dpkg::options": {"--force-confdef", "--force-confold"}, "dir::etc": {"myetc"},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("conf (-want +got):\n%s", diff)
	}
	if got := c.path("Dir::Etc::sourceparts", "sources.list.d"); got != "myetc/sources.list.d" {
		t.Errorf("path = %s", got)
	}
	if got := (conf{}).path("Dir::State::lists", "lists"); got != "var/lib/apt/lists" {
		t.Errorf("path = %s", got)
	}
	if !c.bool("APT::Get::Always-Include-Phased-Updates", false) {
		t.Error("bool reads false")
	}
}

// Which files of its folders apt reads, as apt 2.6 and 3.0 were seen to choose.
func TestPartsOfConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"home:x:y.list", "a..list", "a.b.list", "b.sources", ".c.list", "d.list~", "e.list.save", "f g.list", "h.LIST", "i+j.list", "k"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"l1.list": "a.b.list", "l2.list": "nowhere", "l3.list": "d.list", "l4.list": "/dev/null"}
	err := os.Mkdir(filepath.Join(dir, "d.list"), 0o755)
	for from, to := range links {
		err = errors.Join(err, os.Symlink(to, filepath.Join(dir, from)))
	}
	if err != nil {
		t.Skip(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, fsys := range map[string]fs.FS{"folder": os.DirFS(dir), "root": root.FS()} {
		got, err := parts(fsys, ".", ".list", ".sources")
		want := []string{"a..list", "a.b.list", "b.sources", "home:x:y.list", "l1.list"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if got, err := parts(fsys, "k", ".list"); len(got) > 0 || err != nil {
			t.Errorf("%s: a file in the folder's place: %v, %v", name, got, err)
		}
	}
}

func FuzzConf(f *testing.F) {
	f.Add(`A::B { "x"; C "y"; };`)
	f.Add(`#clear A; /* */ D:: "z";`)
	f.Fuzz(func(t *testing.T, s string) { _ = conf{}.parse(s) })
}

func FuzzRelations(f *testing.F) {
	f.Add("a (>= 1) | b:any, c (<< 2~)")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range relations(s) {
			again := relations(r.String())
			if len(again) == 1 && again[0].String() != r.String() && !strings.ContainsAny(s, "():") {
				t.Errorf("%q prints as %q and %q", s, r, again[0])
			}
		}
	})
}

func TestListNames(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"http://mirror.example.com/debian/dists/bookworm/main/binary-amd64/Packages": "mirror.example.com_debian_dists_bookworm_main_binary-amd64_Packages",
		"https://user:pw@host:8443/a_b~c/dists/x/":                                   "host:8443_a%5fb%7ec_dists_x_",
		"file:/srv/repo/./Packages":                                                  "_srv_repo_._Packages",
		"mirror+file:/etc/apt/mirrors/debian.list/dists/trixie/":                     "_etc_apt_mirrors_debian.list_dists_trixie_",
	} {
		if got := listName(uri); got != want {
			t.Errorf("listName(%s) = %s, want %s", uri, got, want)
		}
	}
}

// Trap D6: apt-get update complains in words, not by its exit code.
func TestTrap_D6_FaultsOfUpdate(t *testing.T) {
	t.Parallel()
	text := "Hit:1 http://a x InRelease\nErr:2 http://b y InRelease\n  Could not connect\nReading package lists...\n" +
		"W: Failed to fetch http://b/dists/y/InRelease  Could not connect to b\nW: Some index files failed to download. They have been ignored, or old ones used instead.\n" +
		"W: Target Packages is configured multiple times\n"
	if diff := cmp.Diff([]string{"Failed to fetch http://b/dists/y/InRelease  Could not connect to b"}, updateFaults(text, 0)); diff != "" {
		t.Errorf("updateFaults (-want +got):\n%s", diff)
	}
	if got := updateFaults("", 100); len(got) != 1 || !strings.Contains(got[0], "100") {
		t.Errorf("updateFaults of a silent failure = %q", got)
	}
	if got := updateFaults("Hit:1\n", 0); got != nil {
		t.Errorf("updateFaults of a success = %q", got)
	}
}

// Trap R2: kernels are compared within their flavour, by version order.
func TestTrap_R2_Kernels(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, running, build string
		packages             map[string]string
		newest               string
		reboot               bool
	}{
		{"container_without_kernels", "6.1.0-43-amd64", "", nil, "", false},
		{"newest_runs", "6.1.0-43-amd64", "", map[string]string{"linux-image-6.1.0-43-amd64": "1", "linux-image-6.1.0-9-amd64": "1"}, "6.1.0-43-amd64", false},
		{"newer_is_installed", "6.1.0-9-amd64", "", map[string]string{"linux-image-6.1.0-43-amd64": "1", "linux-image-6.1.0-9-amd64": "1"}, "6.1.0-43-amd64", true},
		{"other_flavour_is_newer", "6.12.25+rpt-rpi-v8", "", map[string]string{"linux-image-6.12.25+rpt-rpi-v8": "1", "linux-image-6.12.34+rpt-rpi-2712": "1"}, "6.12.25+rpt-rpi-v8", false},
		{"running_is_newer_than_found", "6.12.90+deb13.1-amd64", "", map[string]string{"linux-image-6.12.90+deb13-amd64": "1"}, "6.12.90+deb13-amd64", false},
		{"meta_package_is_no_kernel", "5.15.0-91-generic", "", map[string]string{"linux-image-generic": "1", "linux-image-5.15.0-91-generic": "1"}, "5.15.0-91-generic", false},
		{"proxmox", "6.8.12-2-pve", "", map[string]string{"proxmox-kernel-6.8.12-4-pve-signed": "1"}, "6.8.12-4-pve", true},
		{
			"same_release_built_again", "6.1.0-43-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.162-1 (2026-02-08)",
			map[string]string{"linux-image-6.1.0-43-amd64": "6.1.164-1"},
			"6.1.0-43-amd64", true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &synthRoot{}
			for name, v := range tc.packages {
				r.install(name, v, "Architecture: amd64\n")
			}
			r.install("dpkg", "1", "Architecture: amd64\n")
			dir := t.TempDir()
			r.write(t, dir)
			n, err := load(context.Background(), &Config{FS: os.DirFS(dir), Root: dir}, nil)
			if err != nil {
				t.Fatal(err)
			}
			newest, sentence := n.kernel(tc.running, tc.build)
			if newest != tc.newest || (sentence != "") != tc.reboot {
				t.Errorf("kernel(%s) = %q, %q; want %q, reboot %v", tc.running, newest, sentence, tc.newest, tc.reboot)
			}
		})
	}
}

func TestNoSources(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	dir := t.TempDir()
	r.write(t, dir)
	e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
	_, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if pe, ok := errors.AsType[*patch.Error](err); !ok || pe.Reason != "REPO_METADATA" || !strings.Contains(pe.Error(), "no sources") || !strings.Contains(pe.Hint, "sources.list") {
		t.Errorf("Scan without sources: %v", err)
	}
}

// TestNoListsIsNotCompliant: not knowing newer versions must never read as having none.
func TestNoListsIsNotCompliant(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	dir := t.TempDir()
	r.write(t, dir)
	e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
	_, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if pe, ok := errors.AsType[*patch.Error](err); !ok || pe.Reason != "REPO_METADATA" || pe.Hint == "" {
		t.Errorf("Scan without lists: %v", err)
	}
}

// Components that a source names and nothing is known of, as after a change of sources.list: one that its archive has, one
// that it does not have, and one that is empty, of which apt keeps no list.
func TestAComponentThatWasNeverFetched(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	r.suite("s", "Suite: stable\nComponents: main contrib updates/non-free\nSHA256:\n aa 7 contrib/binary-amd64/Packages\n aa 0 non-free/binary-amd64/Packages\n").add("foo", "1.0", "")
	dir := t.TempDir()
	r.write(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "etc/apt/sources.list"), []byte("deb http://archive.example.com/debian s main contrib non-fre non-free\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"no lists of http://archive.example.com/debian s contrib: run apt-get update",
		"http://archive.example.com/debian s has no component non-fre: is the source misspelt?",
	}
	if diff := cmp.Diff(want, res.Header.Degraded); diff != "" {
		t.Errorf("degraded (-want +got):\n%s", diff)
	}
}

// forbidding is a root in which some files are for another user.
type forbidding struct {
	fs.FS
	files []string
}

func (f forbidding) Open(name string) (fs.File, error) {
	if slices.Contains(f.files, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.FS.Open(name)
}

// Files with passwords are often for root only. An ordinary user's scan goes on without, as apt does, and says so; where
// it cannot go on its error names the file as people do.
func TestConfigurationForRootOnly(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	r.suite("s", releaseSecurity).add("foo", "1.1", "")
	dir := t.TempDir()
	r.write(t, dir)
	files := []string{"etc/apt/apt.conf.d/90test", "etc/apt/sources.list.d/x.list", "etc/apt/preferences"}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "etc/apt/sources.list.d"), 0o755), os.WriteFile(filepath.Join(dir, files[1]), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	look := func(files ...string) (*compliance.Result, error) {
		e := patch.Engine{Manager: New(Config{FS: forbidding{os.DirFS(dir), files}, Root: dir}), Now: func() time.Time { return november }}
		return e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	}
	res, err := look(files...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text := strings.Join(res.Header.Degraded, "\n"); !strings.Contains(text, "/"+f+" is not for this user to read") {
			t.Errorf("nothing about %s: %s", f, text)
		}
	}
	if got := byName(res)["foo"]; got != "Missing 1.1" {
		t.Errorf("foo is %s", got)
	}
	if _, err := look("var/lib/dpkg/status"); err == nil || !strings.Contains(err.Error(), " /var/lib/dpkg/status") {
		t.Errorf("without dpkg's status: %v", err)
	}
}

// A source without lists beside one that has some: what is known is judged, and the result says that it is not all.
func TestASourceThatWasNeverFetched(t *testing.T) {
	t.Parallel()
	r := &synthRoot{}
	r.install("foo", "1.0", "")
	r.suite("s", releaseSecurity).add("foo", "1.0", "")
	dir := t.TempDir()
	r.write(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, "etc/apt/sources.list"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("\ndeb http://never.example/debian trixie main\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	e := patch.Engine{Manager: New(Config{FS: os.DirFS(dir), Root: dir}), Now: func() time.Time { return november }}
	res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: everything(baseline.Debian)})
	if err != nil {
		t.Fatal(err)
	}
	h := res.Header
	if h.Status != compliance.Compliant || !h.Blind() || !h.Seen().IsZero() || !strings.Contains(strings.Join(h.Degraded, "\n"), "never.example") {
		t.Errorf("status %s, blind %v, seen %s, degraded %q", h.Status, h.Blind(), h.Seen(), h.Degraded)
	}
}
