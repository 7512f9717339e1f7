package rpm

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// liveTools answers for the tools of a node with live patching, in the forms of the Amazon Linux 2023 User Guide.
type liveTools struct{}

func (liveTools) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	switch line := c.Path + " " + strings.Join(c.Args, " "); {
	case strings.Contains(line, "kpatch list"):
		return patch.Output{Stdout: []byte("Loaded patch modules:\nlivepatch_CVE_2026_1 [enabled]\n\nInstalled patch modules:\nlivepatch_CVE_2026_1 (6.1.57-29.131.amzn2023.x86_64)\n")}, nil
	case strings.Contains(line, "is-enabled"), strings.Contains(line, "is-failed"), strings.Contains(line, "is-active"):
		return patch.Output{Stdout: []byte("enabled\n")}, nil
	case strings.Contains(line, "kernel-livepatch support"):
		return patch.Output{Stdout: []byte("The current version of the Linux kernel you are running will no longer receive live patches after 2027-01-22.\n")}, nil
	}
	return patch.Output{Code: 1}, nil
}

// brokenTools is a node whose kpatch.service failed.
type brokenTools struct{}

func (brokenTools) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	if strings.Contains(strings.Join(c.Args, " "), "is-failed") {
		return patch.Output{Stdout: []byte("failed\n")}, nil
	}
	return patch.Output{Code: 1}, nil
}

// TestLivePatchThatIsNotInForce: an installed live patch counts as installed only while the kernel uses its module; the empty
// first one has none.
func TestLivePatchThatIsNotInForce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, version, runtime string
		tools                  patch.Exec
		loose                  bool
	}{
		{"service_failed", "0:1.0-2.amzn2023", "kpatch-runtime", brokenTools{}, true},
		{"nothing_loads_it", "0:1.0-2.amzn2023", "bash", liveTools{}, true},
		{"the_empty_one", "0:1.0-0.amzn2023", "kpatch-runtime", brokenTools{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inv := &patch.Inventory{}
			for name, version := range map[string]string{"kpatch-dnf": "0:1-1", tc.runtime: "0:1-1", "kernel-livepatch-6.1.57-29.131": tc.version} {
				inv.Packages = append(inv.Packages, patch.Package{Name: name, Arch: "x86_64", Installed: version})
			}
			r := NewReader(system.Config{FS: fstest.MapFS{"proc/sys/kernel/osrelease": {Data: []byte("6.1.57-29.131.amzn2023.x86_64\n")}}, Root: "/", Live: true, Exec: tc.tools}, "dnf")
			r.view = &View{OS: baseline.AmazonLinux2023, Machine: "x86_64"}
			r.livePatches(t.Context(), inv, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
			if why := inv.LivePatching.Loose["kernel-livepatch-6.1.57-29.131.x86_64"]; (why != "") != tc.loose {
				t.Errorf("not in force because of %q; state %s (%s)", why, inv.LivePatching.Report.State, inv.LivePatching.Report.Detail)
			}
		})
	}
}

// Trap R6: TestLivePatchedKernel is a node whose running kernel has had all fixes of a newer one applied: the newer one counts as
// installed, and no longer when it fixes more.
func TestLivePatchedKernel(t *testing.T) {
	t.Parallel()
	const running = "6.1.57-29.131.amzn2023.x86_64"
	root := fstest.MapFS{
		"proc/sys/kernel/osrelease":                         {Data: []byte(running + "\n")},
		"sys/kernel/livepatch/livepatch_CVE_2026_1/enabled": {Data: []byte("1\n")}, "sys/kernel/livepatch/livepatch_CVE_2026_1/transition": {Data: []byte("0\n")},
	}
	security := func(cves ...string) []baseline.Patch {
		return []baseline.Patch{{Name: "kernel", Arch: "x86_64", HasNotice: true, Security: true, Classification: "Security", Severity: "Important", CVEs: cves, Released: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	}
	one := func(name, text string) patch.Package {
		return patch.Package{Name: name, Arch: "x86_64", Installed: text, Versions: []patch.Version{{Text: text, Patches: security("CVE-2026-1")}}}
	}
	for _, tc := range []struct {
		name      string
		cves      []string
		installed bool // the newer kernel is on the disk, and waits for a reboot
		state     compliance.State
		reason    string
		debt      string
	}{
		{"covered", []string{"CVE-2026-1"}, false, compliance.Installed, patch.ReasonLivePatched, ""},
		{
			"fixes_more",
			[]string{"CVE-2026-1", "CVE-2026-2"},
			false, compliance.Missing, "",
			"protected until 2027-01-22 by live patches; still needs kernel 6.1.61-85.141.amzn2023 and a reboot for: CVE-2026-2",
		},
		{"covered_and_waiting", []string{"CVE-2026-1"}, true, compliance.Installed, "", "protected until 2027-01-22 by live patches; kernel 6.1.61-85.141.amzn2023 waits for a reboot"},
		{
			"waiting",
			[]string{"CVE-2026-2"},
			true, compliance.InstalledPendingReboot, "",
			"protected until 2027-01-22 by live patches; still needs a reboot into kernel 6.1.61-85.141.amzn2023 for: CVE-2026-2",
		},
		{
			"waiting_without_cves", nil, true, compliance.InstalledPendingReboot, "",
			"protected until 2027-01-22 by live patches; kernel 6.1.61-85.141.amzn2023 waits for a reboot, and what it fixes is not known",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const old, next = "0:6.1.57-29.131.amzn2023", "0:6.1.61-85.141.amzn2023"
			kernel := patch.Package{Name: "kernel", Arch: "x86_64", Installed: old, Versions: []patch.Version{{Text: old, Patches: security()}, {Text: next, Order: 1, Offered: true, Patches: security(tc.cves...)}}}
			if tc.installed {
				kernel.Installed, kernel.Versions[0].Order, kernel.Versions[1].Order = next, -1, 0
			}
			inv := &patch.Inventory{Packages: []patch.Package{
				kernel, one("kpatch-dnf", "0:1-1"), one("kpatch-runtime", "0:1-1"), one("kernel-livepatch-6.1.57-29.131", "0:1.0-2.amzn2023"), one("kernel-livepatch-6.1.50-20.100", "0:1.0-3.amzn2023"),
			}}
			r := NewReader(system.Config{FS: root, Root: "/", Live: true, Exec: liveTools{}}, "dnf")
			r.view = &View{OS: baseline.AmazonLinux2023, Machine: "x86_64"}
			now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
			r.livePatches(t.Context(), inv, now)
			b, _ := baseline.DefaultFor(baseline.AmazonLinux2023)
			j := patch.Judgement{
				Baseline: &b.Baseline, Node: baseline.Node{OS: baseline.AmazonLinux2023, Product: "AmazonLinux2023"}, Now: now, Live: inv.LivePatching,
				Pending: map[string]bool{"kernel.x86_64:" + next: tc.installed},
			}
			targets := j.Decide(inv)
			items, _ := j.Judge(inv, nil)
			found := false
			for _, it := range items {
				switch it.Name {
				case "kernel-livepatch-6.1.50-20.100":
					t.Error("a live patch for another kernel is listed")
				case "kernel":
					found = true
					if it.State != tc.state || it.Reason != tc.reason || it.Title != "kernel.x86_64:"+next {
						t.Errorf("kernel is %s %s (%s), %s", it.State, it.Reason, it.Detail, it.Title)
					}
				}
			}
			if !found || (len(targets) > 0) != (tc.state == compliance.Missing) {
				t.Errorf("found %v, targets %v", found, targets)
			}
			if lp := inv.LivePatching.Report; lp == nil || lp.State != "Active" || lp.Kernel != running || lp.Debt != tc.debt {
				t.Errorf("report %+v", lp)
			}
		})
	}
}
