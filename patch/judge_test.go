package patch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

func at(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func days(n int) *int { return &n }

func filters(kv ...string) baseline.FilterGroup {
	var g baseline.FilterGroup
	for i := 0; i < len(kv); i += 2 {
		g.PatchFilters = append(g.PatchFilters, baseline.Filter{Key: kv[i], Values: strings.Split(kv[i+1], ",")})
	}
	return g
}

// rpmVersion makes a version that one notice names; class empty: no notice.
func rpmVersion(name, evr string, order int, class, severity, released string) patch.Version {
	version, release, _ := strings.Cut(evr, "-")
	p := baseline.Patch{Name: name, Arch: "x86_64", Version: version, Release: release, Classification: class, Severity: severity}
	if class != "" {
		p.HasNotice, p.Security, p.Released = true, true, at(released)
		p.CVEs = []string{"CVE-" + name + "-" + evr}
	}
	return patch.Version{Text: "0:" + evr, Order: order, Offered: true, Patches: []baseline.Patch{p}, Repository: "base"}
}

func rpmPackage(name, installed string, versions ...patch.Version) patch.Package {
	return patch.Package{Name: name, Arch: "x86_64", Installed: "0:" + installed, Versions: versions}
}

// workedRPM is the worked example of a node with advisories; today is 2026-07-14.
func workedRPM() *patch.Inventory {
	none := func(name, evr string) patch.Version { return rpmVersion(name, evr, 0, "", "", "") }
	return &patch.Inventory{
		Packages: []patch.Package{
			rpmPackage("openssl", "3.0-1", none("openssl", "3.0-1"), rpmVersion("openssl", "3.0-2", 1, "Security", "Important", "2026-06-01")),
			rpmPackage("openssl-libs", "3.0-2", rpmVersion("openssl-libs", "3.0-2", 0, "Security", "Important", "2026-06-01")),
			rpmPackage("curl", "7-2", none("curl", "7-2"), rpmVersion("curl", "7-3", 1, "Security", "Important", "2026-07-10")),
			rpmPackage("bash", "5-1", none("bash", "5-1"), rpmVersion("bash", "5-2", 1, "Security", "Low", "2026-05-01")),
			rpmPackage("zlib", "1-1", none("zlib", "1-1"), rpmVersion("zlib", "1-2", 1, "Bugfix", "None", "2026-06-20")),
			rpmPackage("httpd", "2.4-1", none("httpd", "2.4-1"), rpmVersion("httpd", "2.4-2", 1, "Security", "Critical", "2026-06-15")),
			rpmPackage("sudo", "1-1", rpmVersion("sudo", "1-1", 0, "Security", "Critical", "2026-01-01")),
			rpmPackage("vim", "8-1", none("vim", "8-1"), rpmVersion("vim", "8-2", 1, "Enhancement", "None", "2026-06-01")),
			rpmPackage("telnet", "0.17-1", none("telnet", "0.17-1")),
			rpmPackage("tmux", "3-1", none("tmux", "3-1"), rpmVersion("tmux", "3-2", 1, "", "", "")),
			rpmPackage("libbad", "1-1", none("libbad", "1-1"), rpmVersion("libbad", "2-1", 1, "", "", "")),
		},
		NotApplicable: []patch.Uninstalled{{
			Patches: []baseline.Patch{{Name: "nginx", Arch: "x86_64", Classification: "Security", Severity: "Critical", Security: true, HasNotice: true, Released: at("2026-06-01")}},
			Count:   1,
		}},
	}
}

func workedBaseline(action baseline.RejectedAction) *baseline.Baseline {
	return &baseline.Baseline{
		OperatingSystem: baseline.RedHat, Name: "worked",
		ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{
			{PatchFilterGroup: filters("CLASSIFICATION", "Security", "SEVERITY", "Critical,Important"), ApproveAfterDays: days(7), ComplianceLevel: baseline.Critical},
			{PatchFilterGroup: filters("CLASSIFICATION", "Bugfix"), ApproveAfterDays: days(7)},
		}},
		ApprovedPatches: []string{"tmux*"}, ApprovedPatchesComplianceLevel: baseline.High,
		RejectedPatches: []string{"telnet*", "libbad*"}, RejectedPatchesAction: action,
	}
}

// TestWorkedExampleWithAdvisories is the scan column of the worked example, with both actions for rejected patches.
func TestWorkedExampleWithAdvisories(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		action baseline.RejectedAction
		blocks map[string]patch.Block
		states map[string]string
		counts compliance.Counts
	}{
		{
			baseline.Block,
			map[string]patch.Block{"httpd.x86_64": {Reason: patch.ReasonBlockedByRejected, Detail: "needs libbad >= 2"}},
			map[string]string{"httpd": "Missing CRITICAL blockedByRejected", "telnet": "InstalledRejected UNSPECIFIED", "libbad": "InstalledRejected UNSPECIFIED rejected"},
			compliance.Counts{
				Installed: 2, InstalledOther: 4, InstalledRejected: 2, Missing: 3, NotApplicable: 1, UnreportedNotApplicable: -1,
				CriticalNonCompliant: 2, SecurityNonCompliant: 2, OtherNonCompliant: 3,
			},
		},
		{
			baseline.AllowAsDependency, nil,
			map[string]string{"httpd": "Missing CRITICAL", "telnet": "InstalledOther UNSPECIFIED", "libbad": "InstalledOther UNSPECIFIED rejected"},
			compliance.Counts{
				Installed: 2, InstalledOther: 6, Missing: 3, NotApplicable: 1, UnreportedNotApplicable: -1,
				CriticalNonCompliant: 2, SecurityNonCompliant: 2, OtherNonCompliant: 1,
			},
		},
	} {
		t.Run(string(tc.action), func(t *testing.T) {
			t.Parallel()
			want := map[string]string{
				"openssl": "Missing CRITICAL", "openssl-libs": "Installed CRITICAL", "curl": "InstalledOther UNSPECIFIED delay",
				"bash": "InstalledOther UNSPECIFIED notApproved", "zlib": "Missing UNSPECIFIED", "sudo": "Installed CRITICAL",
				"vim": "InstalledOther UNSPECIFIED notApproved", "tmux": "InstalledOther UNSPECIFIED notSecurity",
			}
			for k, v := range tc.states {
				want[k] = v
			}
			j := patch.Judgement{Baseline: workedBaseline(tc.action), Node: baseline.Node{OS: baseline.RedHat}, Now: at("2026-07-14")}
			inv := workedRPM()
			items, notApplicable := j.Judge(inv, tc.blocks)
			got := map[string]string{}
			for _, it := range items {
				got[it.Name] = strings.TrimSpace(string(it.State) + " " + string(it.Level) + " " + it.Reason)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.counts, compliance.Count(items, notApplicable)); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if status, severity := compliance.Overall(items); status != compliance.NonCompliant || severity != baseline.Critical {
				t.Errorf("Overall = %s %s", status, severity)
			}
			for _, it := range items {
				if it.Name == "curl" && !it.ApprovalDate.Equal(at("2026-07-17")) {
					t.Errorf("curl is approved from %v, want 2026-07-17", it.ApprovalDate)
				}
				if it.Name == "openssl" && (it.Title != "openssl.x86_64:0:3.0-2" || !cmp.Equal(it.CVEs, []string{"CVE-openssl-3.0-2"})) {
					t.Errorf("openssl: title %s, CVEs %v", it.Title, it.CVEs)
				}
			}
		})
	}
}

func TestInstallTurnsMissingIntoFailed(t *testing.T) {
	t.Parallel()
	inv := workedRPM()
	for i := range inv.Packages {
		if inv.Packages[i].Name == "zlib" {
			inv.Packages[i].Held = "locked"
		}
	}
	j := patch.Judgement{
		Baseline: workedBaseline(baseline.AllowAsDependency), Node: baseline.Node{OS: baseline.RedHat}, Now: at("2026-07-14"), Installs: true,
		Pending: map[string]bool{"openssl-libs.x86_64:0:3.0-2": true},
	}
	items, _ := j.Judge(inv, nil)
	want := map[string]compliance.State{
		"openssl": compliance.Failed, "httpd": compliance.Failed, "zlib": compliance.Missing, "openssl-libs": compliance.InstalledPendingReboot,
	}
	for _, it := range items {
		if w, ok := want[it.Name]; ok && it.State != w {
			t.Errorf("%s is %s, want %s", it.Name, it.State, w)
		}
	}
	for _, target := range j.Decide(inv) {
		if target.Package.Name == "zlib" {
			t.Error("a held package is a target")
		}
	}
}
