package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/golden"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	golden.Check(t, filepath.Join("testdata", name), got, "-update rewrites it")
}

func testNodes() []oakum.Node {
	return []oakum.Node{
		{
			InstanceId: new("mi-0000000000000000a"), Name: new("web1"), ComputerName: new("web1.example.com"), PlatformName: new("Debian GNU/Linux"),
			PlatformVersion: new("12"), PingStatus: new("Online"), LastPingDateTime: codec.NewTime(noon.Add(-20 * time.Second)), ComplianceStatus: new("NON_COMPLIANT"), AgentVersion: new("1.0"),
			MissingCount: new(int64(3)), SecurityNonCompliantCount: new(int64(2)), CriticalNonCompliantCount: new(int64(1)), RebootRequired: new(true),
			LastScanTime: codec.NewTime(noon.Add(-90 * time.Minute)), PatchGroup: new("web"),
		},
		{InstanceId: new("mi-0000000000000000b"), Name: new("new1"), ComplianceStatus: new("UNKNOWN"), PingStatus: new("ConnectionLost")},
		{InstanceId: new("mi-0000000000000000c"), ComputerName: new("odd\x1b[2Jname"), ComplianceStatus: new("STALE"), LastScanTime: codec.NewTime(noon.Add(-200 * time.Hour)), MissingCount: new(int64(0))},
	}
}

func testHeader() *compliance.Header {
	return &compliance.Header{
		OperatingSystem: baseline.Debian, Product: "Debian12", BaselineID: "pb-0123456789abcdef0", BaselineName: "web servers", SnapshotID: "7f3c0f7e-7b0a-4df5-a6d0-1c2f4a5b6c7d",
		PatchGroup: "web", Operation: "Scan", StartedAt: noon.Add(-90 * time.Minute), EndedAt: noon.Add(-90*time.Minute + 1300*time.Millisecond), Status: compliance.NonCompliant,
		Severity: baseline.Critical, Counts: compliance.Counts{Missing: 3, Installed: 40, InstalledOther: 500, CriticalNonCompliant: 1, SecurityNonCompliant: 2},
		ExecutionType: "Command", ExecutionID: "11111111-2222-3333-4444-555555555555",
		Reboot:       compliance.Reboot{Required: true, Reasons: []string{"kernel"}, RunningKernel: "6.1.0-1", InstalledKernel: "6.1.0-2", Services: []compliance.Service{{Unit: "nginx.service"}}},
		Repositories: []compliance.Repository{{URI: "http://deb.example.com", Suite: "bookworm", Date: noon.Add(-240 * time.Hour), RefreshedAt: noon.Add(-91 * time.Minute), Trusted: true}, {URI: "http://old.example.com", Codename: "x", Stale: true, Detail: "timed out"}},
		Degraded:     []string{"old.example.com was not refreshed: timed out"}, Updaters: []string{"unattended-upgrades"},
	}
}

func item1(change func(*oakum.PatchItem)) oakum.PatchItem {
	i := oakum.PatchItem{
		Id: new("openssl.amd64"), Name: new("openssl"), Arch: new("amd64"), Title: new("openssl.amd64:3.0.15-1"), State: new("Missing"), Level: new("CRITICAL"),
		Classification: new("Security"), Severity: new("optional"), InstalledVersion: new("3.0.11-1"), AvailableVersion: new("3.0.15-1"),
		ReleasedTime: codec.NewTime(noon.Add(-240 * time.Hour)), ApprovalDate: codec.NewTime(noon.Add(-72 * time.Hour).Truncate(24 * time.Hour)), Repository: new("bookworm-security/main"),
	}
	if change != nil {
		change(&i)
	}
	return i
}

func TestNodeTables(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for _, width := range []int{1 << 20, 80} {
		writeColumns(&b, narrow(nodeRows(testNodes(), noon), width, "PLATFORM", "CRITICAL", "LAST SCAN"), width, nil)
		b.WriteString("\n")
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a node's name reached the terminal as a control sequence")
	}
	for line := range strings.Lines(b.String()[strings.Index(b.String(), "\n\n"):]) {
		if n := len([]rune(strings.TrimSpace(line))); n > 80 {
			t.Errorf("a line for 80 columns has %d: %s", n, line)
		}
	}
	checkGolden(t, "nodes.txt", b.Bytes())
}

func TestNodeView(t *testing.T) {
	t.Parallel()
	nodes := testNodes()
	held := item1(func(i *oakum.PatchItem) {
		i.Id, i.Reason, i.Level, i.State = new("curl.amd64"), new("held"), new("LOW"), new("Failed")
	})
	fine := item1(func(i *oakum.PatchItem) { i.Id, i.State = new("bash.amd64"), new("Installed") })
	var b bytes.Buffer
	writeNode(&b, &nodes[0], testHeader(), []oakum.PatchItem{item1(nil), fine, held}, noon, 120, nil)
	b.WriteString("\n----\n")
	writeNode(&b, &nodes[1], nil, nil, noon, 120, nil)
	b.WriteString("\n----\n")
	writeNode(&b, &nodes[2], testHeader(), nil, noon, 120, paintWord)
	checkGolden(t, "node.txt", b.Bytes())
}

// TestNodeViewOfAnInstall shows what an install changed and left to do.
func TestNodeViewOfAnInstall(t *testing.T) {
	t.Parallel()
	h := testHeader()
	h.Operation, h.RebootOption = "Install", "RestartServices"
	h.Install = &compliance.Install{
		Run: "run-20261122T103000Z-0a1b2c3d", Outcome: "Failed", Text: "1 patch was not installed: curl", Transactions: 2, Resumes: 1,
		Changes: []compliance.Change{
			{Name: "openssl", Arch: "amd64", Old: "3.0.11-1", New: "3.0.15-1"},
			{Name: "libssl3", Arch: "amd64", Old: "3.0.11-1", New: "3.0.15-1", Dependency: true},
			{Name: "oak\x1b[2J", Arch: "all", New: "2", Dependency: true},
		},
		Leftovers: []string{"/etc/ssl/openssl.cnf.dpkg-dist"}, Restarts: []string{"nginx.service: restarted", "db.service: failed: it is not active 3s after its restart"},
	}
	bad := item1(func(i *oakum.PatchItem) {
		i.Id, i.Reason, i.State = new("curl.amd64"), new("installFailed"), new("Failed")
	})
	nodes := testNodes()
	var b bytes.Buffer
	writeNode(&b, &nodes[0], h, []oakum.PatchItem{bad}, noon, 120, nil)
	b.WriteString("\n----\n")
	for k := range 40 {
		h.Install.Changes = append(h.Install.Changes, compliance.Change{Name: "lib" + string(rune('a'+k%26)), Arch: "amd64", Old: "1", New: "2"})
	}
	h.Install.Outcome, h.Install.Text, h.Install.Resumes, h.Install.Leftovers, h.Install.Restarts = "Success", "", 0, nil, nil
	writeNode(&b, &nodes[0], h, nil, noon, 120, nil)
	checkGolden(t, "nodeinstall.txt", b.Bytes())
}

// TestInstallTouches shows what "oakum patch-now --operation Install" says before it asks.
func TestInstallTouches(t *testing.T) {
	t.Parallel()
	nodes := testNodes()
	nodes[0].BaselineId, nodes[2].BaselineId = new("pb-1"), new("pb-2")
	names := map[string]string{"pb-1": "web servers", "pb-2": "pb-2"}
	var b bytes.Buffer
	for _, p := range []patchNow{
		{operation: "Install", reboot: patch.RebootIfNeeded},
		{operation: "Install", reboot: patch.RestartServices, list: "s3://lists/monthly.yaml", concurrency: "50%", errors: "0"},
		{operation: "Install", reboot: patch.NoReboot, override: "s3://lists/b.json", concurrency: "3", errors: "10%"},
	} {
		p.rate(&ssm.CreateAssociationInput{}, len(nodes))
		p.writeTouched(&b, nodes, "eu-west-1", names)
		b.WriteString("\n")
	}
	many := []oakum.Node{}
	for range 40 {
		many = append(many, nodes[0])
	}
	p := patchNow{operation: "Install", reboot: patch.RebootIfRequired}
	p.rate(&ssm.CreateAssociationInput{}, len(many))
	p.writeTouched(&b, many, "eu-west-1", nil)
	checkGolden(t, "touched.txt", b.Bytes())
}

// TestPatchNowRates holds the boundaries of Patch now.
func TestPatchNowRates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		install             bool
		nodes               int
		concurrency, errors string
	}{
		{false, 5000, "1000", "1000"},
		{true, 1, "1", "1"},
		{true, 24, "1", "1"},
		{true, 25, "5%", "5"},
		{true, 100, "5%", "5"},
		{true, 101, "8%", "10"},
		{true, 1000, "8%", "10"},
		{true, 1001, "10%", "10"},
	} {
		p := &patchNow{operation: "Scan"}
		if tc.install {
			p.operation = "Install"
		}
		in := &ssm.CreateAssociationInput{}
		p.rate(in, tc.nodes)
		if *in.MaxConcurrency != tc.concurrency || *in.MaxErrors != tc.errors {
			t.Errorf("rate of %d nodes, install %v = %s, %s, want %s, %s", tc.nodes, tc.install, *in.MaxConcurrency, *in.MaxErrors, tc.concurrency, tc.errors)
		}
	}
}

// TestInstallResults shows the end of an install on several nodes in every form.
func TestInstallResults(t *testing.T) {
	t.Parallel()
	done := func(name, outcome string, wanted, along, failed, pending, missing int64) nodeResult {
		return nodeResult{
			InstanceId: new("mi-" + name), Name: &name, Status: new("Success"), StatusDetails: new("Success"), ComplianceStatus: new("COMPLIANT"), MissingCount: &missing,
			FailedCount: &failed, RebootRequired: new(pending > 0), LastScanTime: codec.NewTime(noon), Outcome: &outcome, Run: new("run-" + name),
			ChangedPatchCount: &wanted, ChangedDependencyCount: &along, PendingRebootCount: &pending,
		}
	}
	bad := done("db1", "Failed", 2, 0, 1, 2, 0)
	bad.Status, bad.StatusDetails, bad.ComplianceStatus, bad.ResponseCode = new("Failed"), new("Failed"), new("NON_COMPLIANT"), new(int32(1))
	bad.Reason = new("PATCH_FAILED: 1 patch was not installed: curl (engine code 1)")
	doc := &resultDocument{Invocations: []nodeResult{
		done("web1", "Success", 3, 1, 0, 0, 0), bad, done("idle1", "Success", 0, 0, 0, 0, 0),
		{InstanceId: new("mi-gone"), Status: new("TimedOut"), StatusDetails: new("DeliveryTimedOut"), Reason: new("the node was not reached, or did not answer, in time")},
	}}
	var b bytes.Buffer
	for _, output := range []string{"table", "csv", "json"} {
		if err := writeResults(&Streams{Out: &b}, &clientOptions{output: output}, doc, true); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	b.WriteString(installSum(doc.Invocations) + "\n")
	checkGolden(t, "installed.txt", bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")))
}

func TestFreezeText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	f := &oakum.InstallFreeze{
		Active: new(true), Reason: new("year's end\x1b[2J"), StartDate: codec.NewTime(noon.Add(-time.Hour)), EndDate: codec.NewTime(noon.Add(35*24*time.Hour + time.Hour)),
		By: new("arn:aws:iam::000000000001:user/admin"),
	}
	freezeText(&b, f, "eu-west-1", noon)
	freezeText(&b, &oakum.InstallFreeze{Active: new(false)}, "eu-west-1", noon)
	b.WriteString(freezeLine(f, "eu-west-1") + "\n")
	checkGolden(t, "freeze.txt", b.Bytes())
	if got := freezeLine(nil, "x") + freezeLine(&oakum.InstallFreeze{Active: new(false)}, "x"); got != "" {
		t.Errorf("freezeLine without a freeze = %q", got)
	}
}

func TestParseUntil(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("somewhere", 2*3600)
	for text, want := range map[string]string{
		"2026-12-27": "2026-12-26T22:00:00Z", "2026-12-27 06:00": "2026-12-27T04:00:00Z", "2026-12-27T06:00:30": "2026-12-27T04:00:30Z",
		"2026-12-27T06:00:00Z": "2026-12-27T06:00:00Z", "2026-12-27T06:00-05:00": "2026-12-27T11:00:00Z", " 2026-12-27T06:00 ": "2026-12-27T04:00:00Z",
	} {
		if got, err := parseUntil(text, zone); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("parseUntil(%q) = %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow", "27.12.2026", "2026-13-01", "2026-12-27 6pm"} {
		if got, err := parseUntil(text, zone); err == nil {
			t.Errorf("parseUntil(%q) = %s, want an error", text, got)
		}
	}
}

func testBaseline(t *testing.T) *baseline.Baseline {
	t.Helper()
	b, err := baseline.Parse("web servers", []byte(`{"Name": "web servers", "OperatingSystem": "DEBIAN", "RejectedPatches": ["telnet*"], "RejectedPatchesAction": "BLOCK",
		"ApprovedPatches": ["jq"], "ApprovalRules": {"PatchRules": [
		{"PatchFilterGroup": {"PatchFilters": [{"Key": "PRIORITY", "Values": ["Required"]}]}, "ApproveAfterDays": 0, "ComplianceLevel": "HIGH"},
		{"PatchFilterGroup": {"PatchFilters": [{"Key": "PRIORITY", "Values": ["Optional"]}]}, "ApproveAfterDays": 7, "ComplianceLevel": "CRITICAL"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhy tells every state, and every reason that there is.
func TestWhy(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tell := func(title string, i oakum.PatchItem, b *baseline.Baseline) {
		out.WriteString("== " + title + "\n" + strings.Join(explainItem(&i, testHeader(), b, noon), "\n") + "\n\n")
	}
	b := testBaseline(t)
	for _, st := range compliance.States() {
		tell(string(st), item1(func(i *oakum.PatchItem) { i.State = new(string(st)) }), b)
	}
	tell("the baseline is gone", item1(nil), nil)
	tell("other, nothing newer, nothing known", oakum.PatchItem{Name: new("bash"), State: new("InstalledOther"), InstalledVersion: new("5.2")}, b)
	tell("on the approved list", item1(func(i *oakum.PatchItem) { i.Name = new("jq") }), b)
	tell("on the rejected list", item1(func(i *oakum.PatchItem) {
		i.Name, i.State, i.Reason = new("telnetd"), new("InstalledRejected"), new("rejected")
	}), b)
	tell("not a security patch", item1(func(i *oakum.PatchItem) {
		i.State, i.Classification, i.Reason = new("InstalledOther"), new("Enhancement"), new("notSecurity")
	}), b)
	tell("waiting for its delay", item1(func(i *oakum.PatchItem) {
		i.State, i.Reason, i.ApprovalDate = new("InstalledOther"), new("delay"), codec.NewTime(noon.Add(48*time.Hour).Truncate(24*time.Hour))
	}), b)
	for reason := range patch.Reasons() {
		i := item1(func(i *oakum.PatchItem) { i.Reason = &reason })
		if text := strings.Join(explainItem(&i, testHeader(), b, noon), "\n"); !strings.Contains(text, patch.Reasons()[reason]) {
			t.Errorf("reason %s is not explained:\n%s", reason, text)
		}
	}
	checkGolden(t, "why.txt", out.Bytes())
}

func TestBaselineView(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	writeBaseline(&b, &ssm.GetPatchBaselineOutput{
		BaselineId: new("pb-0123456789abcdef0"), Name: new("web servers"), OperatingSystem: types.OperatingSystemDebian, PatchGroups: []string{"web", "db"},
		RejectedPatches: []string{"telnet*"}, RejectedPatchesAction: types.PatchActionBlock, ApprovedPatches: []string{"jq"}, ApprovedPatchesComplianceLevel: types.PatchComplianceLevelHigh,
		GlobalFilters: &types.PatchFilterGroup{PatchFilters: []types.PatchFilter{{Key: types.PatchFilterKeyProduct, Values: []string{"Debian12"}}}},
		ApprovalRules: &types.PatchRuleGroup{PatchRules: []types.PatchRule{
			{ApproveAfterDays: aws.Int32(7), ComplianceLevel: types.PatchComplianceLevelCritical, PatchFilterGroup: &types.PatchFilterGroup{}},
			{ApproveUntilDate: new("2026-10-01"), EnableNonSecurity: new(true)},
		}},
		Sources: []types.PatchSource{{Name: new("internal"), Products: []string{"Debian12"}, Configuration: new("deb x")}},
	}, 120)
	checkGolden(t, "baseline.txt", b.Bytes())
}

func TestAPIJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   any
		want string
	}{
		{"sdk_shape", ssm.DescribePatchBaselinesOutput{BaselineIdentities: []types.PatchBaselineIdentity{{BaselineId: new("pb-1")}}}, `{"BaselineIdentities":[{"BaselineId":"pb-1","DefaultBaseline":false}]}`},
		{"empty_list_stays", oakum.DescribeNodesOutput{Nodes: []oakum.Node{}}, `{"Nodes":[]}`},
		{"instant", oakum.Node{LastScanTime: codec.NewTime(noon)}, `{"LastScanTime":"2026-11-22T12:00:00Z"}`},
		{"no_html_escapes", oakum.Node{Name: new("a<b>&c")}, `{"Name":"a<b>&c"}`},
		{"zero_is_an_answer", oakum.Node{MissingCount: new(int64(0)), RebootRequired: new(false)}, `{"MissingCount":0,"RebootRequired":false}`},
		{"raw", struct{ Header json.RawMessage }{json.RawMessage(`{"a":1}`)}, `{"Header":{"a":1}}`},
		{"absent_raw", struct{ Header json.RawMessage }{}, `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := apiJSON(tc.in)
			if err != nil || string(got) != tc.want {
				t.Errorf("apiJSON = %s, %v, want %s", got, err, tc.want)
			}
		})
	}
}

func TestCSVHoldsNoFormula(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := writeCSV(&b, [][]string{{"=1", "+1", "-1", "@a", "\tx", "a=1", ""}}); err != nil {
		t.Fatal(err)
	}
	if want := "'=1,'+1,'-1,'@a,'\tx,a=1,\r\n"; b.String() != want {
		t.Errorf("writeCSV = %q, want %q", b.String(), want)
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{"5s ago": 5 * time.Second, "119m ago": 119 * time.Minute, "2h ago": 2 * time.Hour, "47h ago": 47 * time.Hour, "2d ago": 48 * time.Hour, "in the future": -time.Second} {
		if got := ago(noon.Add(-d), noon); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}, noon); got != "never" {
		t.Errorf("ago(zero) = %q", got)
	}
}

func TestWindowPage(t *testing.T) {
	t.Parallel()
	a := windowAnswer{
		Window: &ssm.GetMaintenanceWindowOutput{
			WindowId: aws.String("mw-0123456789abcdef0"), Name: aws.String("tuesdays"), Schedule: aws.String("cron(0 22 ? * TUE#2 *)"), ScheduleTimezone: aws.String("Europe/Berlin"),
			ScheduleOffset: aws.Int32(2), Duration: aws.Int32(3), Cutoff: 1, Enabled: true, NextExecutionTime: aws.String("2027-01-14T22:00:00+01:00"),
		},
		NextRuns: []types.ScheduledWindowExecution{{ExecutionTime: aws.String("2027-01-14T22:00:00+01:00")}, {ExecutionTime: aws.String("2027-02-11T22:00:00+01:00")}},
		Targets: []types.MaintenanceWindowTarget{{
			WindowTargetId: aws.String("11111111-2222-3333-4444-555555555555"), OwnerInformation: aws.String("ops"),
			Targets: []types.Target{{Key: aws.String("tag:PatchGroup"), Values: []string{"web", "db"}}, {Key: aws.String("tag-key"), Values: []string{"prod"}}},
		}},
		Tasks: []types.MaintenanceWindowTask{
			{TaskArn: aws.String("AWS-RunPatchBaseline"), Type: "RUN_COMMAND", Priority: 1, MaxConcurrency: aws.String("10%"), MaxErrors: aws.String("5"), CutoffBehavior: "CANCEL_TASK", Targets: []types.Target{{Key: aws.String("WindowTargetIds"), Values: []string{"11111111-2222-3333-4444-555555555555"}}}},
			{TaskArn: aws.String("SSMreport"), Type: "LAMBDA", Priority: 9, MaxConcurrency: aws.String("1"), MaxErrors: aws.String("1")},
		},
		Executions: []types.MaintenanceWindowExecution{
			{WindowExecutionId: aws.String("e2"), Status: "IN_PROGRESS", StartTime: aws.Time(noon)},
			{WindowExecutionId: aws.String("e1"), Status: "TIMED_OUT", StatusDetails: aws.String("Missed: server not available"), StartTime: aws.Time(noon.Add(-time.Hour)), EndTime: aws.Time(noon.Add(-time.Hour))},
		},
	}
	var b bytes.Buffer
	writeWindow(&b, a, 160)
	checkGolden(t, "window.txt", b.Bytes())
	b.Reset()
	a.Window.Enabled, a.Window.NextExecutionTime, a.NextRuns, a.Tasks, a.Targets, a.Executions = false, nil, nil, nil, nil, nil
	writeWindow(&b, a, 80)
	checkGolden(t, "window_empty.txt", b.Bytes())
}

func TestDocumentView(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	writeDocument(&b, documentAnswer{
		Document: &types.DocumentDescription{
			Name: new("Restart-App"), Owner: new("000000000001"), Description: new("restarts\x1b[2Ja service"), DocumentType: types.DocumentTypeCommand, SchemaVersion: new("2.2"),
			PlatformTypes: []types.PlatformType{types.PlatformTypeLinux, types.PlatformTypeMacos}, DefaultVersion: new("1"), LatestVersion: new("2"),
			Hash: new(strings.Repeat("ab", 32)), Tags: []types.Tag{{Key: new("team"), Value: new("web")}},
			Parameters: []types.DocumentParameter{
				{Name: new("Service"), Type: types.DocumentParameterTypeString, Description: new("which one")},
				{Name: new("Wait"), Type: types.DocumentParameterTypeString, DefaultValue: new("")},
			},
		},
		DocumentVersions: []types.DocumentVersionInfo{
			{DocumentVersion: new("2"), DocumentFormat: types.DocumentFormatYaml, CreatedDate: &noon},
			{DocumentVersion: new("1"), VersionName: new("first"), DocumentFormat: types.DocumentFormatJson, CreatedDate: &noon, IsDefaultVersion: true},
		},
	}, 120)
	checkGolden(t, "document.txt", b.Bytes())
}
