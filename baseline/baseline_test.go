package baseline_test

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
)

func at(s string) time.Time {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	panic(s)
}

func days(n int) *int { return &n }

func filters(kv ...string) baseline.FilterGroup {
	var g baseline.FilterGroup
	for i := 0; i < len(kv); i += 2 {
		g.PatchFilters = append(g.PatchFilters, baseline.Filter{Key: kv[i], Values: strings.Split(kv[i+1], ",")})
	}
	return g
}

func rules(r ...baseline.Rule) baseline.RuleGroup { return baseline.RuleGroup{PatchRules: r} }

// TestEvaluate holds the worked rows of the rule set's specification; today is 2026-07-14 UTC.
func TestEvaluate(t *testing.T) {
	t.Parallel()
	rhel := baseline.Node{OS: baseline.RedHat, Product: "RedhatEnterpriseLinux9.4"}
	ubuntu := baseline.Node{OS: baseline.Ubuntu, Product: "Ubuntu22.04"}
	sec7 := baseline.Baseline{ApprovalRules: rules(baseline.Rule{
		PatchFilterGroup: filters("CLASSIFICATION", "Security"), ApproveAfterDays: days(7), ComplianceLevel: baseline.High,
	})}
	until := baseline.Baseline{ApprovalRules: rules(baseline.Rule{PatchFilterGroup: filters("CLASSIFICATION", "Security"), ApproveUntilDate: "2026-07-07"})}
	two := baseline.Baseline{ApprovalRules: rules(
		baseline.Rule{ApproveAfterDays: days(0), ComplianceLevel: baseline.Low},
		baseline.Rule{ApproveAfterDays: days(0), ComplianceLevel: baseline.Critical},
	)}
	severity := func(v string) baseline.Baseline {
		return baseline.Baseline{ApprovalRules: rules(baseline.Rule{PatchFilterGroup: filters("SEVERITY", v), ApproveAfterDays: days(0)})}
	}
	required := func(nonSecurity bool) baseline.Baseline {
		return baseline.Baseline{ApprovalRules: rules(baseline.Rule{
			PatchFilterGroup: filters("PRIORITY", "Required"), ApproveAfterDays: days(0), EnableNonSecurity: nonSecurity,
		})}
	}
	notice := func(name, class, sev, released string) baseline.Patch {
		p := baseline.Patch{Name: name, Arch: "x86_64", Version: "1.1", Release: "1", Classification: class, Severity: sev, Security: true, HasNotice: true}
		if released != "" {
			p.Released = at(released)
		}
		return p
	}
	nginx := baseline.Patch{Name: "nginx", Arch: "x86_64", Version: "1.1", Release: "1"}
	cve := notice("foo", "Security", "Low", "")
	cve.CVEs = []string{"CVE-2026-0001"}
	required13 := baseline.Patch{Name: "base", Arch: "amd64", Version: "2", Priority: "required"}
	const ok = baseline.Reason("")
	for _, tc := range []struct {
		name   string
		b      baseline.Baseline
		node   baseline.Node
		p      baseline.Patch
		reason baseline.Reason // empty: approved
		level  baseline.Level
		from   string
	}{
		{"1_last_second_of_the_day_seven_days_ago", sec7, rhel, notice("a", "Security", "", "2026-07-07T23:59:59Z"), ok, baseline.High, "2026-07-14"},
		{"2_first_second_of_the_day_after", sec7, rhel, notice("a", "Security", "", "2026-07-08T00:00:00Z"), baseline.ReasonDelay, "", "2026-07-15"},
		{"3_until_date_includes_its_day", until, rhel, notice("a", "Security", "", "2026-07-07T23:59:59Z"), ok, baseline.Unspecified, "2026-07-07"},
		{"3_until_date_ends_with_its_day", until, rhel, notice("a", "Security", "", "2026-07-08T00:00:00Z"), baseline.ReasonCutoff, "", ""},
		{"4_highest_level_wins", two, rhel, notice("a", "Security", "", ""), ok, baseline.Critical, ""},
		{"5_star_takes_no_severity", severity("*"), rhel, notice("a", "Bugfix", "", ""), ok, baseline.Unspecified, ""},
		{"6_named_severity_does_not", severity("Critical"), rhel, notice("a", "Bugfix", "", ""), baseline.ReasonNotApproved, "", ""},
		{"7_cve_on_approved_list", baseline.Baseline{ApprovedPatches: []string{"CVE-2026-0001"}}, rhel, cve, ok, baseline.Unspecified, ""},
		{"8_list_without_notice", baseline.Baseline{ApprovedPatches: []string{"nginx*"}}, rhel, nginx, baseline.ReasonNotSecurity, "", ""},
		{"9_list_with_non_security", baseline.Baseline{ApprovedPatches: []string{"nginx*"}, ApprovedPatchesEnableNonSecurity: true}, rhel, nginx, ok, baseline.Unspecified, ""},
		{
			"10_rejected_wins",
			baseline.Baseline{ApprovedPatches: []string{"nginx"}, RejectedPatches: []string{"nginx"}, ApprovedPatchesEnableNonSecurity: true},
			rhel, nginx, baseline.ReasonRejected, "", "",
		},
		{
			"11_list_beats_global_filter",
			baseline.Baseline{GlobalFilters: filters("PRODUCT", "AmazonLinux2023"), ApprovedPatches: []string{"curl"}},
			baseline.Node{OS: baseline.AmazonLinux2, Product: "AmazonLinux2"},
			notice("curl", "Security", "", ""), ok, baseline.Unspecified, "",
		},
		{"12_medium_is_moderate", severity("Medium"), rhel, notice("a", "Security", "Moderate", ""), ok, baseline.Unspecified, ""},
		{"13_security_only_leaves_updates", required(false), ubuntu, required13, baseline.ReasonNotSecurity, "", ""},
		{"14_non_security_takes_updates", required(true), ubuntu, required13, ok, baseline.Unspecified, ""},
		{"15_rejected_by_version_glob", baseline.Baseline{RejectedPatches: []string{"foo-2.0*"}, ApprovalRules: two.ApprovalRules}, rhel, fooVersion("2.0"), baseline.ReasonRejected, "", ""},
		{"15_other_version_stays", baseline.Baseline{RejectedPatches: []string{"foo-2.0*"}, ApprovalRules: two.ApprovalRules}, rhel, fooVersion("1.1"), ok, baseline.Critical, ""},
		{"global_filter_drops", baseline.Baseline{GlobalFilters: filters("PRODUCT", "Ubuntu20.04"), ApprovalRules: required(true).ApprovalRules}, ubuntu, required13, baseline.ReasonFilteredOut, "", ""},
		{"released_later_today", required(true), ubuntu, func() baseline.Patch {
			p := required13
			p.Released = at("2026-07-14T23:00:00Z")
			return p
		}(), baseline.ReasonDelay, "", "2026-07-14"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := tc.b.Evaluate(tc.node, &tc.p, at("2026-07-14T12:00:00Z"))
			if got.Reason != tc.reason || got.Approved != (tc.reason == ok) {
				t.Errorf("Evaluate = %+v, want reason %q", got, tc.reason)
			}
			if got.Approved && got.Level != tc.level {
				t.Errorf("level %q, want %q", got.Level, tc.level)
			}
			if tc.from != "" && !got.ApprovalDate.Equal(at(tc.from)) {
				t.Errorf("approval date %v, want %s", got.ApprovalDate, tc.from)
			}
		})
	}
}

func fooVersion(v string) baseline.Patch {
	return baseline.Patch{Name: "foo", Arch: "x86_64", Version: v, Release: "1", Security: true}
}

func TestListForms(t *testing.T) {
	t.Parallel()
	deb := baseline.Patch{Name: "bash", Arch: "amd64", Version: "1:5.2-1", Security: true}
	rpm := baseline.Patch{Name: "bind", Arch: "x86_64", Epoch: "32", Version: "9.8.2", Release: "0.62", Security: true}
	for _, tc := range []struct {
		os    baseline.OS
		entry string
		p     baseline.Patch
		want  bool
	}{
		{baseline.Debian, "Bash", deb, true},
		{baseline.Debian, "bash.amd64", deb, true},
		{baseline.Debian, "bash-1:5.2-1", deb, true},
		{baseline.Debian, "bash.amd64:1:5.2-1", deb, true},
		{baseline.Debian, "bas", deb, false},
		{baseline.Debian, "b?s[g-i]", deb, true},
		{baseline.Debian, "b*h*2-1", deb, true},
		{baseline.RedHat, "bind.x86_64:32:9.8.2-0.62", rpm, true},
		{baseline.RedHat, "bind-9.8.2-0.62.x86_64", rpm, true},
		{baseline.RedHat, "32:9.8.2-0.62", rpm, true},
		{baseline.RedHat, "bind-*.i686", rpm, false},
		{baseline.SUSE, "bind-9.8.2-0.62.x86_64.rpm", rpm, true},
		{baseline.MacOS, "b*", baseline.Patch{Name: "bash", Version: "1"}, false},
		{baseline.Windows, "kb2032276", baseline.Patch{KB: "KB2032276"}, true},
	} {
		b := baseline.Baseline{RejectedPatches: []string{tc.entry}}
		if got := b.Rejects(baseline.Node{OS: tc.os}, &tc.p); got != tc.want {
			t.Errorf("%s: entry %q rejects %s: %v, want %v", tc.os, tc.entry, tc.p.Name, got, tc.want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	rule := func(kv ...string) baseline.Baseline {
		return baseline.Baseline{
			OperatingSystem: baseline.Debian, Name: "prod",
			ApprovalRules: rules(baseline.Rule{PatchFilterGroup: filters(kv...), ApproveAfterDays: days(0)}),
		}
	}
	both := rule()
	both.ApprovalRules.PatchRules[0].ApproveUntilDate = "2026-01-01"
	for _, tc := range []struct {
		name string
		b    baseline.Baseline
		want string // part of the message; empty: valid
	}{
		{"star", rule("PRODUCT", "*"), ""},
		{"product_by_pattern", rule("PRODUCT", "Debian14"), ""},
		{"section_is_open", rule("SECTION", "whatever"), ""},
		{"unknown_product", rule("PRODUCT", "All"), "Invalid Filter Value: All for Key: PRODUCT, valid values are: Debian8, Debian9, Debian10, Debian11, Debian12, Debian13, *"},
		{"key_of_another_system", rule("SEVERITY", "Critical"), "Invalid Filter Key: SEVERITY"},
		{"priority_is_closed", rule("PRIORITY", "High"), "Invalid Filter Value: High for Key: PRIORITY, valid values are: Required, Important, Standard, Optional, Extra"},
		{"both_delays", both, "Exactly one of ApproveAfterDays and ApproveUntilDate"},
		{"bad_name", baseline.Baseline{OperatingSystem: baseline.Debian, Name: "a b"}, "at 'name'"},
		{"bad_os", baseline.Baseline{OperatingSystem: "PLAN9", Name: "abc"}, "at 'operatingSystem'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.b.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Validate = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestPredefinedBaselinesAreValid(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range baseline.PredefinedBaselines() {
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if len(p.BaselineID) != 20 || seen[p.BaselineID] {
			t.Errorf("%s: id %q is not 20 long or not its own", p.Name, p.BaselineID)
		}
		seen[p.BaselineID] = true
		if got, ok := baseline.FindPredefined(p.Name); !ok || got.BaselineID != p.BaselineID {
			t.Errorf("FindPredefined(%s) = %v", p.Name, got.BaselineID)
		}
	}
	for _, os := range baseline.OperatingSystems() {
		if _, ok := baseline.DefaultFor(os); !ok {
			t.Errorf("%s has no default baseline", os)
		}
	}
	if p, ok := baseline.FindPredefined("pb-0c7e89f711c3095f4"); !ok || p.OperatingSystem != baseline.Ubuntu {
		t.Errorf("alias of the Ubuntu baseline is not known")
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, version, os, product string }{
		{"Debian GNU/Linux", "12", "DEBIAN", "Debian12"},
		{"Debian GNU/Linux", "12.4", "DEBIAN", "Debian12"},
		{"Ubuntu", "22.04", "UBUNTU", "Ubuntu22.04"},
		{"Amazon Linux", "2", "AMAZON_LINUX_2", "AmazonLinux2"},
		{"Amazon Linux", "2023", "AMAZON_LINUX_2023", "AmazonLinux2023"},
		{"Amazon Linux AMI", "2018.03", "AMAZON_LINUX", "AmazonLinux2018.03"},
		{"Red Hat Enterprise Linux Server", "7.9", "REDHAT_ENTERPRISE_LINUX", "RedhatEnterpriseLinux7.9"},
		{"SLES", "15.5", "SUSE", "Suse15.5"},
		{"CentOS Stream", "9", "CENTOS", "CentOS9"},
		{"Oracle Linux Server", "8.6", "ORACLE_LINUX", "OracleLinux8.6"},
		{"Microsoft Windows Server 2012 R2 Standard", "6.3", "WINDOWS", "WindowsServer2012R2"},
		{"macOS", "14.4.1", "MACOS", "Sonoma14.4"},
	} {
		got, ok := baseline.Detect(tc.name, tc.version)
		if want := (baseline.Node{OS: baseline.OS(tc.os), Product: tc.product}); !ok || got != want {
			t.Errorf("Detect(%q, %q) = %v %v, want %v", tc.name, tc.version, got, ok, want)
		}
	}
	if _, ok := baseline.Detect("Plan 9", "4"); ok {
		t.Error("Detect knows Plan 9")
	}
}

func TestParseNamesTheLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"{\n \"Name\": \"x\",\n \"ApproveAfterDay\": 1\n}", `broken.json:3: unknown field "ApproveAfterDay"`},
		{"{\n \"ApprovalRules\": {\"PatchRules\": [\n{\"approveafterdays\": 1}]}}", `broken.json:3: unknown field "approveafterdays"`},
		{"{\n \"Name\": 3}", `broken.json:2: Name must be a string, not a number`},
		{"{\n \"Name\": }", `broken.json:2: invalid character '}'`},
		{"{\"Name\": \"x\"", `broken.json:1: the document ends too early`},
		{"{}{}", `broken.json:1: text after the end`},
	} {
		_, err := baseline.Parse("broken.json", []byte(tc.in))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Parse(%q) = %v, want %q", tc.in, err, tc.want)
		}
	}
	b, err := baseline.Parse("ok.json", []byte(`{"BaselineId":"pb-1","OperatingSystem":"DEBIAN","Name":"x","CreatedDate":1525194800.068,"ModifiedDate":"2026",
		"ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"PRODUCT","Values":["*"]}]},"ApproveAfterDays":7,"EnableNonSecurity":true}]}}`))
	if err != nil || *b.ApprovalRules.PatchRules[0].ApproveAfterDays != 7 {
		t.Errorf("Parse = %+v, %v", b, err)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	t.Parallel()
	p, _ := baseline.DefaultFor(baseline.Ubuntu)
	want := &baseline.Snapshot{AccountID: "111122223333", Baseline: p.Baseline, PatchGroup: "web", EvaluatedAt: at("2026-07-14T00:00:00Z"), CreatedAt: at("2026-01-01T00:00:00Z")}
	want.Baseline.Sources = []baseline.Source{{Name: "own", Products: []string{"*"}, Configuration: "deb http://x y z"}}
	want.Baseline.ApprovalRules.PatchRules[0].ApproveAfterDays, want.Baseline.ApprovalRules.PatchRules[0].ApproveUntilDate = nil, "2026-07-01"
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"approveAfterDays":null,"approveUntilDate":"2026-07-01"`) {
		t.Errorf("snapshot text %s", b)
	}
	got, err := baseline.ParseSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := got.Encode()
	if diff := cmp.Diff(string(b), string(again)); diff != "" {
		t.Errorf("snapshot after a round trip (-want +got):\n%s", diff)
	}
	if !got.EvaluatedAt.Equal(want.EvaluatedAt) || got.PatchGroup != "web" {
		t.Errorf("ParseSnapshot = %+v", got)
	}
	if strings.Contains(string(b), "compat") || got.LivePatchReboot {
		t.Errorf("a snapshot without compatibility settings has some: %s", b)
	}
	want.LivePatchReboot = true
	if b, err = want.Encode(); err != nil {
		t.Fatal(err)
	}
	if got, err = baseline.ParseSnapshot(b); err != nil || !got.LivePatchReboot {
		t.Errorf("compat.livepatchReboot is lost: %s, %v", b, err)
	}
	if _, err := baseline.ParseSnapshot([]byte(`{}`)); err == nil {
		t.Error("an empty snapshot parses")
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		os   baseline.OS
		code int
	}{
		{`{}`, baseline.Debian, 161},
		{`null`, baseline.Debian, 161},
		{`[]`, baseline.Debian, 163},
		{`[{"OperatingSystem":"DEBIAN"},{"OperatingSystem":"DEBIAN"}]`, baseline.Debian, 165},
		{`[]`, "PLAN9", 166},
		{`[{"OperatingSystem":"DEBIAN","Name":"x","Extra":1},{"OperatingSystem":"UBUNTU"}]`, baseline.Debian, 0},
	} {
		_, err := baseline.ParseOverrides([]byte(tc.in), tc.os)
		code := 0
		if ce, ok := errors.AsType[*baseline.CodedError](err); ok {
			code = ce.Code
		}
		if code != tc.code {
			t.Errorf("ParseOverrides(%s, %s) = %v, want code %d", tc.in, tc.os, err, tc.code)
		}
	}
}

func TestInstallList(t *testing.T) {
	t.Parallel()
	l, err := baseline.ParseInstallList([]byte("patches:\n  - id: 'kernel.x86_64'\n  - id: 'bind*.x86_64'\n    title: '32:9.8.2-0.62.rc1.57.amzn1'\n    extra: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		p            baseline.Patch
		named, taken bool
	}{
		{baseline.Patch{Name: "kernel", Arch: "x86_64", Version: "5", Release: "1"}, true, true},
		{baseline.Patch{Name: "bind-libs", Arch: "x86_64", Epoch: "32", Version: "9.8.2", Release: "0.62.rc1.57.amzn1"}, true, true},
		{baseline.Patch{Name: "bind-libs", Arch: "x86_64", Epoch: "32", Version: "9.8.3", Release: "1"}, true, false},
		{baseline.Patch{Name: "curl", Arch: "x86_64", Version: "7", Release: "1"}, false, false},
	} {
		if named, taken := l.Names(baseline.AmazonLinux, &tc.p); named != tc.named || taken != tc.taken {
			t.Errorf("Names(%s) = %v %v, want %v %v", tc.p.Name, named, taken, tc.named, tc.taken)
		}
	}
	if _, err := baseline.ParseInstallList([]byte(`{"patches":[{"title":"x"}]}`)); err == nil {
		t.Error("an entry without id parses")
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*[b-d]?", "axxcz")
	f.Add("[!a]*", "b")
	f.Add("[]", "[]")
	f.Fuzz(func(t *testing.T, p, s string) {
		got := baseline.Glob(p, s)
		if strings.ContainsAny(p, `\[`) || strings.Contains(s, "/") || strings.ToValidUTF8(p+s, "") != p+s || len(p+s) != len([]rune(p+s)) {
			return // path.Match differs there by design
		}
		if want, err := path.Match(p, s); err == nil && got != want {
			t.Errorf("Glob(%q, %q) = %v, path.Match says %v", p, s, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Name":"x","ApprovalRules":{"PatchRules":[{}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := baseline.Parse("f", b)
		if err == nil {
			if out, err := json.Marshal(v); err != nil {
				t.Errorf("%q parses to what does not print: %v", out, err)
			}
		}
		_, _ = baseline.ParseInstallList(b)
		_, _ = baseline.ParseOverrides(b, baseline.Debian)
		_, _ = baseline.ParseSnapshot(b)
	})
}
