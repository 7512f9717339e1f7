package apt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/pkgver"
)

// forbidden says, by rules of its own, what no plan may hold.
func forbidden(n *node, b *baseline.Baseline, c patch.Change) string {
	p := n.pkgs[key(c.Name, n.native)]
	rejected := slices.Contains(b.RejectedPatches, c.Name)
	switch {
	case c.New == "":
		return "a removal"
	case p == nil && c.Old != "":
		return "a package that is not installed"
	case p != nil && p.installed != nil && pkgver.Dpkg(c.New, p.installed.Version) <= 0:
		return "no newer version"
	case p != nil && p.installed != nil && p.installed.Held():
		return "a held package"
	case rejected && (c.Wanted || b.RejectedPatchesAction == baseline.Block):
		return "a rejected package"
	case c.Wanted && c.Old == "":
		return "a new package as a target"
	}
	return ""
}

// TestPlansHoldNothingForbidden plans installs on random archives with apt's own solver: no plan holds what it must not,
// apt does exactly the plan, and what was left out does not fit beside it (property P5). proves
func TestPlansHoldNothingForbidden(t *testing.T) {
	bed := testbed(t) // for the reason it prints where apt cannot be asked
	_ = bed
	first, seeds := seedsFrom(t, 16)
	planned, left := 0, 0
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			dir := t.TempDir()
			randomRoot(seed, "2.6.1").write(t, dir)
			r := rand.New(rand.NewPCG(seed, 7))
			b := everything(baseline.Debian)
			b.RejectedPatchesAction = baseline.AllowAsDependency
			if r.IntN(2) == 0 {
				b.RejectedPatchesAction = baseline.Block
			}
			for range r.IntN(6) {
				b.RejectedPatches = append(b.RejectedPatches, []string{fmt.Sprintf("p%02d", r.IntN(40)), fmt.Sprintf("new%d", r.IntN(6))}[r.IntN(2)])
			}
			m := New(Config{FS: os.DirFS(dir), Root: dir, Exec: patch.OSExec{}, Note: func(s string) { t.Log(s) }})
			e := patch.Engine{Manager: m, Now: time.Now}
			p, err := e.Preview(context.Background(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: b}})
			if err != nil {
				t.Fatal(err)
			}
			planned, left = planned+len(p.Plan.Changes), left+len(p.Left)
			var wish patch.Wish
			for _, c := range p.Plan.Changes {
				if why := forbidden(m.node, b, c); why != "" {
					t.Errorf("the plan holds %s: %+v", why, c)
				}
				wish.Install = append(wish.Install, patch.Want{Name: c.Name, Arch: c.Arch, Version: c.New})
			}
			if len(wish.Install) > 0 {
				again, err := m.Plan(context.Background(), wish)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(versionsOf(p.Plan), versionsOf(again)); d != "" || again.Refused != "" {
					t.Errorf("apt would do another plan: %s %s", again.Refused, d)
				}
			}
			for k, block := range p.Left {
				if block.Reason == "" {
					t.Errorf("%s was left out without a reason", k)
				}
				i := slices.IndexFunc(p.Before.Items, func(it compliance.Item) bool { return it.ID == k })
				if i < 0 || p.Before.Items[i].Reason != "" { // the scan already says that it does not go
					continue
				}
				more := wish
				more.Install = append(slices.Clone(wish.Install), patch.Want{Name: p.Before.Items[i].Name, Arch: p.Before.Items[i].Arch, Version: p.Before.Items[i].AvailableVersion})
				with, err := m.Plan(context.Background(), more)
				if err != nil {
					t.Fatal(err)
				}
				if with.Refused == "" && !slices.ContainsFunc(with.Changes, func(c patch.Change) bool { return forbidden(m.node, b, c) != "" }) {
					t.Errorf("%s was left out (%s: %s), and fits beside the plan", k, block.Reason, block.Detail)
				}
			}
		})
	}
	if planned == 0 || left == 0 {
		t.Errorf("the archives gave %d changes and %d targets left out: nothing was tested", planned, left)
	}
	t.Logf("%d changes planned, %d targets left out, %d seeds from %d", planned, left, seeds, first)
}

func versionsOf(p *patch.Plan) map[string]string {
	out := map[string]string{}
	for _, c := range p.Changes {
		out[c.Key()] = c.Old + " -> " + c.New
	}
	return out
}

// TestWordsOfApt reads what apt and dpkg were seen to write. Source: apt 2.6.1 and dpkg 1.21.22 on Debian 12.
func TestWordsOfApt(t *testing.T) {
	t.Parallel()
	text := `Preparing to unpack .../5-oakpre_1.1-1_all.deb ...
no preinst today
dpkg: error processing archive /tmp/apt-dpkg-install-KUqbMh/5-oakpre_1.1-1_all.deb (--unpack):
 new oakpre package pre-installation script subprocess returned error exit status 1
Setting up oakbroken (1.1-1) ...
broken on purpose
dpkg: error processing package oakbroken (--configure):
 installed oakbroken package post-installation script subprocess returned error exit status 1
dpkg: error processing package libc6:i386 (--configure):
 package libc6:i386 2.36-9 cannot be configured because libc6:amd64 is at a different version (2.36-8)
Errors were encountered while processing:
 /tmp/apt-dpkg-install-KUqbMh/5-oakpre_1.1-1_all.deb
E: Sub-process /usr/bin/dpkg returned an error code (1)
`
	want := map[string]string{
		"oakpre":    "new oakpre package pre-installation script subprocess returned error exit status 1; no preinst today",
		"oakbroken": "installed oakbroken package post-installation script subprocess returned error exit status 1; broken on purpose",
		"libc6":     "package libc6:i386 2.36-9 cannot be configured because libc6:amd64 is at a different version (2.36-8); installed oakbroken package post-installation script subprocess returned error exit status 1",
	}
	got := faults(text)
	delete(want, "libc6")
	if got["libc6"] == "" {
		t.Error("the fault of libc6:i386 is not seen")
	}
	delete(got, "libc6")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	if c := complaint(text, 100); c != "Sub-process /usr/bin/dpkg returned an error code (1)" {
		t.Errorf("complaint = %q", c)
	}
	if c := complaint("", -1); c != "apt-get was killed" {
		t.Errorf("complaint of a killed apt-get = %q", c)
	}
	unmet := "The following packages have unmet dependencies:\n foo : Depends: bar (>= 2) but 1.0 is to be installed\n"
	if r := refusal([]byte(unmet), []byte("E: Unable to correct problems, you have held broken packages.\n"), 100); r != "foo : Depends: bar (>= 2) but 1.0 is to be installed" {
		t.Errorf("refusal = %q", r)
	}
}

// Where the node says itself what becomes of changed configuration files, nothing else is asked for; and where it says
// only half of it, dpkg must not come to ask.
func TestConffilePolicyOfTheNode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		conf, file, text string
		own              bool
	}{
		{"", "", "", false},
		{`DPkg::Options { "--force-confnew"; };`, "", "", true},
		{`DPkg::Options:: "--force-confdef,confold";`, "", "", true},
		{`DPkg::Options:: "--force-confmiss"; DPkg::Options:: "--force-confdef";`, "", "", false},
		{"", "etc/dpkg/dpkg.cfg", "no-debsig\n  force-confnew # as we like it\n", true},
		{"", "etc/dpkg/dpkg.cfg.d/local", "force-confold\n", true},
		{"", "etc/dpkg/dpkg.cfg.d/local.dpkg-old", "force-confnew\n", false},
		{"", "etc/dpkg/dpkg.cfg", "# force-confnew\nforce-confdef\nforce-unsafe-io\n", false},
	} {
		r := &synthRoot{conf: tc.conf}
		r.install("foo", "1.0", "")
		dir := t.TempDir()
		r.write(t, dir)
		if tc.file != "" {
			file := filepath.Join(dir, tc.file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(tc.text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		m := New(Config{FS: os.DirFS(dir), Root: dir})
		var err error
		if m.node, err = load(t.Context(), &m.cfg, nil); err != nil {
			t.Fatal(err)
		}
		opts, err := m.transactionOptions(nil)
		if got := !slices.Contains(opts, "Dpkg::Options::=--force-confold"); got != tc.own || err != nil {
			t.Errorf("%+v: left to the node %v, %v", tc, got, err)
		}
	}
}
