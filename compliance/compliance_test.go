package compliance_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
)

func level(state compliance.State, l baseline.Level, class string) compliance.Item {
	return compliance.Item{ID: "a.x", Name: "a", State: state, Level: l, Classification: class}
}

// TestWindowsExample is the worked example of a Windows node: one approved and installed, one missing, one whose role
// is absent, one security update that is not approved yet, one not in the baseline, one that waits for a reboot.
func TestWindowsExample(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		nonCompliant bool
		security     int
	}{{true, 3}, {false, 2}} {
		items := []compliance.Item{
			level(compliance.Installed, baseline.Critical, "SecurityUpdates"), level(compliance.Missing, baseline.Critical, "SecurityUpdates"),
			level(compliance.NotApplicable, baseline.Critical, "SecurityUpdates"),
			{State: compliance.AvailableSecurityUpdate, Level: baseline.Critical, Classification: "SecurityUpdates", AvailableNonCompliant: tc.nonCompliant},
			level(compliance.InstalledOther, baseline.Unspecified, ""), level(compliance.InstalledPendingReboot, baseline.Critical, "SecurityUpdates"),
		}
		want := compliance.Counts{
			Installed: 1, InstalledOther: 1, InstalledPendingReboot: 1, Missing: 1, NotApplicable: 1, AvailableSecurityUpdate: 1, UnreportedNotApplicable: -1,
			CriticalNonCompliant: 2, SecurityNonCompliant: tc.security,
		}
		if diff := cmp.Diff(want, compliance.Count(items, 0)); diff != "" {
			t.Errorf("non-compliant %v: Count (-want +got):\n%s", tc.nonCompliant, diff)
		}
	}
}

// TestSummarize has the items of the worked node with advisories.
func TestSummarize(t *testing.T) {
	t.Parallel()
	items := []compliance.Item{
		level(compliance.Missing, baseline.Critical, "Security"), level(compliance.Missing, baseline.Critical, "Security"),
		level(compliance.Missing, baseline.Unspecified, "Bugfix"), level(compliance.InstalledRejected, baseline.Unspecified, ""),
		level(compliance.InstalledRejected, "", ""), level(compliance.Installed, baseline.Critical, "Security"),
		level(compliance.Installed, baseline.Critical, "Security"), level(compliance.NotApplicable, baseline.High, "Security"),
	}
	for range 4 {
		items = append(items, level(compliance.InstalledOther, baseline.Unspecified, ""))
	}
	good, bad := compliance.Summarize(items)
	if diff := cmp.Diff(compliance.Severities{baseline.Critical: 2, baseline.Unspecified: 4}, good); diff != "" {
		t.Errorf("compliant (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(compliance.Severities{baseline.Critical: 2, baseline.Unspecified: 3}, bad); diff != "" {
		t.Errorf("non-compliant (-want +got):\n%s", diff)
	}
	if status, severity := compliance.Overall(items[5:]); status != compliance.Compliant || severity != baseline.Unspecified {
		t.Errorf("Overall of compliant items = %s %s", status, severity)
	}
}

func TestParseState(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]compliance.State{
		"Installed": compliance.Installed, "INSTALLED_PENDING_REBOOT": compliance.InstalledPendingReboot, "missing": compliance.Missing, "": "", "Gone": "",
	} {
		if got, ok := compliance.ParseState(in); got != want || ok != (want != "") {
			t.Errorf("ParseState(%q) = %q %v, want %q", in, got, ok, want)
		}
	}
}

func sample() *compliance.Result {
	day := time.Date(2026, 7, 14, 2, 15, 51, 0, time.UTC)
	r := &compliance.Result{
		Header: compliance.Header{
			OperatingSystem: baseline.Debian, BaselineID: "arn:aws:ssm:r:1:patchbaseline/pb-1", SnapshotID: "snap", ExecutionID: "cmd", Operation: "Scan",
			RebootOption: "NoReboot", StartedAt: day, EndedAt: day.Add(time.Minute), PatchGroup: "web", ExecutionType: "Command",
		},
		Items: []compliance.Item{
			{
				ID: "openssl.amd64", Name: "openssl", Arch: "amd64", Title: "openssl.amd64:3.0.2", State: compliance.Missing, Level: baseline.Critical,
				Classification: "Security", Severity: "optional", AvailableVersion: "3.0.2", CVEs: []string{"CVE-1", "CVE-2"}, Reason: "held", Detail: "by hand: x",
			},
			{
				ID: "bash.amd64", Name: "bash", Arch: "amd64", Title: "bash.amd64:5.2-1", State: compliance.Installed, Level: baseline.Unspecified,
				InstalledVersion: "5.2-1", InstalledTime: day.Add(-time.Hour),
			},
		},
	}
	r.Finish(7)
	return r
}

func TestInventoryForms(t *testing.T) {
	t.Parallel()
	r := sample()
	inv := r.Inventory()
	if inv[0].TypeName != "AWS:PatchSummary" || inv[1].TypeName != "AWS:ComplianceItem" || inv[0].CaptureTime != "2026-07-14T02:16:51Z" {
		t.Errorf("types and time %+v", inv)
	}
	want := map[string]string{
		"BaselineId": "pb-1", "PatchGroup": "web", "SnapshotId": "snap", "ExecutionId": "cmd", "OperationType": "Scan", "RebootOption": "NoReboot",
		"OperationStartTime": "2026-07-14T02:15:51Z", "OperationEndTime": "2026-07-14T02:16:51Z", "InstalledCount": "1", "InstalledOtherCount": "0",
		"InstalledRejectedCount": "0", "InstalledPendingRebootCount": "0", "NotApplicableCount": "7", "MissingCount": "1", "FailedCount": "0",
		"CriticalNonCompliantCount": "1", "SecurityNonCompliantCount": "1", "OtherNonCompliantCount": "0", "NonCompliantSeverity": "CRITICAL",
	}
	if diff := cmp.Diff(want, inv[0].Content[0]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	item := map[string]string{
		"Id": "openssl.amd64", "Title": "openssl.amd64:3.0.2", "Severity": "CRITICAL", "Status": "NON_COMPLIANT", "PatchBaselineId": "pb-1",
		"PatchState": "Missing", "PatchGroup": "web", "DocumentName": "", "DocumentVersion": "", "InstalledTime": "", "Classification": "Security",
		"PatchSeverity": "optional", "CVEIds": "CVE-1,CVE-2", "DetailedText": "held: by hand: x",
	}
	if diff := cmp.Diff(item, inv[1].Content[1]); diff != "" {
		t.Errorf("item (-want +got):\n%s", diff)
	}
	back, err := compliance.FromInventory(inv[0].Content[0], inv[1].Content, inv[1].Context)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.OperatingSystem, r.Header.BaselineID = "", "pb-1"
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	if _, err := compliance.FromInventory(map[string]string{"MissingCount": "many"}, nil, nil); err == nil {
		t.Error("a count that is no number is read")
	}
}

func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	r := sample()
	a := compliance.EncodeItems(r.Items)
	r.Items[0], r.Items[1] = r.Items[1], r.Items[0]
	if b := compliance.EncodeItems(r.Items); string(a) != string(b) || compliance.HashItems(r.Items) != compliance.Hash(a) {
		t.Error("the order of items changes their canonical form")
	}
	items, err := compliance.DecodeItems(a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(a), string(compliance.EncodeItems(items))); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	h, err := compliance.DecodeHeader(compliance.EncodeHeader(&r.Header))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&r.Header, h); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	rows := []compliance.Available{{Name: "b", Arch: "x", Version: "1"}, {Name: "a", Arch: "x", Version: "2"}}
	got, err := compliance.DecodeAvailable(compliance.EncodeAvailable(rows))
	if err != nil || got[0].Name != "a" {
		t.Errorf("DecodeAvailable = %v, %v", got, err)
	}
	if _, err := compliance.DecodeItems([]byte("{\n")); err == nil || !strings.Contains(err.Error(), "row 1") {
		t.Errorf("DecodeItems of half a row: %v", err)
	}
}

func FuzzDecodeItems(f *testing.F) {
	f.Add(compliance.EncodeItems(sample().Items))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := compliance.DecodeItems(b)
		if err != nil {
			return
		}
		for i := range items {
			if y := items[i].InstalledTime.Year(); y < 0 || y > 9999 {
				return // such a time cannot be written
			}
		}
		again, err := compliance.DecodeItems(compliance.EncodeItems(items))
		if err != nil || len(again) != len(items) {
			t.Errorf("%d items become %d: %v", len(items), len(again), err)
		}
		for i := range items {
			_ = items[i].Status()
		}
		_, _ = json.Marshal(compliance.Count(items, 0))
	})
}

func FuzzDecodeAvailable(f *testing.F) {
	f.Add(compliance.EncodeAvailable([]compliance.Available{{Name: "a", Arch: "amd64", Version: "1:2-3", Product: "Debian12"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := compliance.DecodeAvailable(b)
		if err != nil {
			return
		}
		for i := range rows {
			if y := rows[i].ReleasedTime.Year(); y < 0 || y > 9999 {
				return // such a time cannot be written
			}
		}
		if again, err := compliance.DecodeAvailable(compliance.EncodeAvailable(rows)); err != nil || len(again) != len(rows) {
			t.Errorf("%d rows become %d: %v", len(rows), len(again), err)
		}
	})
}
