package wua_test

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/wua"
)

// recorded is an update agent whose answers were written down. Installing makes an update installed, and what it unlocks
// offered; codes fail it.
type recorded struct {
	updates  []wua.Update
	unlocks  map[string][]wua.Update // by the update id that has to be installed first
	codes    map[string]uint32       // by update id: installing ends with it
	gone     map[string]bool         // update ids that are not there any more when they are asked for
	reboots  bool                    // an installed update waits for a reboot
	status   wua.Status
	statuses []wua.Status // told before status, one for each time it is asked for
	history  []wua.Event
	fail     error // of a search
	hang     bool  // a search never ends
	result   int   // of a search; 0: succeeded
	warnings []wua.Warning
	searches []bool
	calls    []string
}

func load(t *testing.T, name string) *recorded {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{}
	if err := json.Unmarshal(b, &r.updates); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recorded) Search(ctx context.Context, _ string, online bool) (wua.Found, error) {
	r.searches = append(r.searches, online)
	if r.hang {
		<-ctx.Done()
		return wua.Found{}, ctx.Err()
	}
	return wua.Found{Updates: slices.Clone(r.updates), Result: cmp.Or(r.result, wua.ResultSucceeded), Warnings: r.warnings}, r.fail
}

func (r *recorded) each(what string, ids []wua.Identity, fn func(*wua.Update) uint32) (out []wua.Outcome) {
	var names []string
	for _, id := range ids {
		i := slices.IndexFunc(r.updates, func(u wua.Update) bool { return u.Identity == id })
		if i < 0 || r.gone[id.UpdateID] {
			out = append(out, wua.Outcome{Identity: id, Gone: true})
			continue
		}
		names = append(names, r.updates[i].KB())
		o := wua.Outcome{Identity: id, Result: wua.ResultSucceeded, Code: fn(&r.updates[i])}
		if o.Code>>31 == 1 {
			o.Result = wua.ResultFailed
		}
		out = append(out, o)
	}
	r.calls = append(r.calls, what+" "+strings.Join(names, " "))
	return out
}

func (r *recorded) AcceptEula(_ context.Context, ids []wua.Identity) ([]wua.Outcome, error) {
	return r.each("accept", ids, func(u *wua.Update) uint32 { u.EulaAccepted = true; return 0 }), nil
}

func (r *recorded) Download(_ context.Context, ids []wua.Identity) ([]wua.Outcome, error) {
	return r.each("download", ids, func(u *wua.Update) uint32 {
		if !u.EulaAccepted {
			return 0x80240023
		}
		return 0
	}), nil
}

func (r *recorded) Install(_ context.Context, ids []wua.Identity) (wua.InstallResult, error) {
	var more []wua.Update
	out := r.each("install", ids, func(u *wua.Update) uint32 {
		if c := r.codes[u.UpdateID]; c != 0 {
			return c
		}
		u.Installed, u.RebootRequired = !r.reboots, r.reboots
		more = append(more, r.unlocks[u.UpdateID]...)
		r.history = append(r.history, wua.Event{Identity: u.Identity, Operation: wua.OperationInstall, Result: wua.ResultSucceeded, At: now()})
		return 0
	})
	r.updates = append(r.updates, more...)
	return wua.InstallResult{Result: wua.ResultSucceeded, Outcomes: out}, nil
}

func (r *recorded) Status(context.Context) (wua.Status, error) {
	if len(r.statuses) > 0 {
		s := r.statuses[0]
		r.statuses = r.statuses[1:]
		return s, nil
	}
	return r.status, nil
}

func (r *recorded) History(context.Context, int) ([]wua.Event, error) { return r.history, nil }

// registry holds values by key and name; keys alone have an empty name.
type registry map[string]any

const windowsNT = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`

func server(name, build string) registry {
	return registry{
		windowsNT + "|ProductName": name, windowsNT + "|CurrentBuildNumber": build, windowsNT + "|CurrentMajorVersionNumber": uint64(10),
		windowsNT + "|CurrentMinorVersionNumber": uint64(0),
	}
}

func (r registry) Text(key, name string) (string, bool, error) {
	s, ok := r[key+"|"+name].(string)
	return s, ok, nil
}

func (r registry) Number(key, name string) (uint64, bool, error) {
	n, ok := r[key+"|"+name].(uint64)
	return n, ok, nil
}

func (r registry) Texts(key, name string) ([]string, bool, error) {
	s, ok := r[key+"|"+name].([]string)
	return s, ok, nil
}

func (r registry) Key(key string) (bool, error) { return r[key] != nil, nil }

func now() time.Time { return time.Date(2026, 7, 14, 9, 0, 0, 0, time.UTC) }

func days(n int) *int { return &n }

// node is an engine on a Windows Server whose update agent is recorded.
func node(t *testing.T, r *recorded, reg registry) (*patch.Engine, *wua.Config) {
	t.Helper()
	cfg := &wua.Config{
		Client: r, Registry: reg, Now: now, Root: `C:\Windows`,
		Tick: func(time.Duration) <-chan time.Time { return nil },
	}
	return &patch.Engine{Manager: wua.New(*cfg), Now: now, StateDir: t.TempDir(), BootID: "first"}, cfg
}

// worked is the baseline of the worked example.
func worked() *baseline.Baseline {
	return &baseline.Baseline{
		OperatingSystem: baseline.Windows, Name: "worked", BaselineID: "pb-0123456789abcdef0",
		ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{{
			PatchFilterGroup: baseline.FilterGroup{PatchFilters: []baseline.Filter{
				{Key: "CLASSIFICATION", Values: []string{"SecurityUpdates"}}, {Key: "MSRC_SEVERITY", Values: []string{"Critical"}},
			}},
			ApproveAfterDays: days(7), ComplianceLevel: baseline.Critical,
		}}},
		RejectedPatches: []string{"KB7"}, RejectedPatchesAction: baseline.AllowAsDependency, AvailableSecurityUpdates: compliance.NonCompliant,
	}
}

func states(res *compliance.Result) map[string]string {
	out := map[string]string{}
	for i := range res.Items {
		it := &res.Items[i]
		out[it.ID] = strings.TrimSpace(string(it.State) + " " + string(it.Level) + " " + it.Reason)
	}
	return out
}

// TestWorkedExample is the worked example of a Windows node, from the agent's answers to what the node uploads.
func TestWorkedExample(t *testing.T) {
	t.Parallel()
	for status, security := range map[string]int{compliance.NonCompliant: 3, compliance.Compliant: 2} {
		r := load(t, "worked.json")
		e, _ := node(t, r, server("Windows Server 2022 Datacenter", "20348"))
		b := worked()
		b.AvailableSecurityUpdates = status
		catalogue := []baseline.SnapshotPatch{
			{ID: "00000000-0000-4000-8000-000000000003", KB: "KB3", Title: "Security Update for a role (KB3)", Classification: "SecurityUpdates", MSRCSeverity: "Critical", ReleaseDate: "2026-06-09"},
			{ID: "00000000-0000-4000-8000-000000000002", KB: "KB2", Title: "is offered", Classification: "SecurityUpdates", MSRCSeverity: "Critical", ReleaseDate: "2026-06-09"},
			{ID: "00000000-0000-4000-8000-000000000008", KB: "KB8", Title: "not approved", Classification: "Updates", ReleaseDate: "2026-06-09"},
		}
		res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: b, Refresh: true, SnapshotID: "snapshot", Catalogue: catalogue})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"KB1": "Installed CRITICAL", "KB2": "Missing CRITICAL", "KB3": "NotApplicable CRITICAL", "KB4": "AvailableSecurityUpdate UNSPECIFIED delay",
			"KB5": "InstalledOther UNSPECIFIED", "KB6": "InstalledPendingReboot CRITICAL",
		}
		if diff := gocmp.Diff(want, states(res)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		counts := compliance.Counts{
			Installed: 1, InstalledOther: 1, InstalledPendingReboot: 1, Missing: 1, NotApplicable: 1, AvailableSecurityUpdate: 1, UnreportedNotApplicable: -1,
			CriticalNonCompliant: 2, SecurityNonCompliant: security,
		}
		if diff := gocmp.Diff(counts, res.Header.Counts); diff != "" {
			t.Errorf("%s: counts (-want +got):\n%s", status, diff)
		}
		if res.Header.Product != "WindowsServer2022" || res.Header.Status != compliance.NonCompliant || res.Header.Severity != baseline.Critical {
			t.Errorf("product %s, status %s %s", res.Header.Product, res.Header.Status, res.Header.Severity)
		}
		inv := res.Inventory()
		if inv[0].Content[0]["AvailableSecurityUpdateCount"] != "1" || inv[0].Content[0]["NotApplicableCount"] != "1" {
			t.Errorf("summary %v", inv[0].Content[0])
		}
		got := map[string]string{}
		for _, m := range inv[1].Content {
			got[m["Id"]] = m["PatchState"] + "/" + m["Status"] + "/" + m["Severity"] + "/" + m["Classification"] + "/" + m["PatchSeverity"] + "/" + m["Title"]
		}
		if diff := gocmp.Diff(map[string]string{
			"KB1": "Installed/COMPLIANT/CRITICAL/SecurityUpdates/Critical/Security Update for Windows (KB1)",
			"KB2": "Missing/NON_COMPLIANT/CRITICAL/SecurityUpdates/Critical/Security Update for Windows (KB2)",
			"KB3": "NotApplicable//CRITICAL/SecurityUpdates/Critical/Security Update for a role (KB3)",
			"KB4": "AvailableSecurityUpdate/" + status + "/UNSPECIFIED/SecurityUpdates/Critical/Security Update for Windows (KB4)",
			"KB5": "InstalledOther/COMPLIANT/UNSPECIFIED///Update for Windows (KB5)",
			"KB6": "InstalledPendingReboot/NON_COMPLIANT/CRITICAL/SecurityUpdates/Critical/Security Update for Windows (KB6)",
		}, got); diff != "" {
			t.Errorf("compliance items (-want +got):\n%s", diff)
		}
		back, err := compliance.FromInventory(inv[0].Content[0], inv[1].Content, inv[1].Context)
		if err != nil || back.Header.Counts != res.Header.Counts || back.Header.Status != compliance.NonCompliant {
			t.Errorf("read back: %+v, %v", back, err)
		}
	}
}

// TestNotApplicableIsBounded lists a thousand and counts the rest.
func TestNotApplicableIsBounded(t *testing.T) {
	t.Parallel()
	e, _ := node(t, load(t, "worked.json"), server("Windows Server 2022 Datacenter", "20348"))
	var catalogue []baseline.SnapshotPatch
	for i := range 1203 {
		catalogue = append(catalogue, baseline.SnapshotPatch{ID: "x", KB: "9" + string(rune('a'+i/1000)) + time.Duration(i).String(), Classification: "SecurityUpdates", MSRCSeverity: "Critical"})
	}
	res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: worked(), Catalogue: catalogue})
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Header.Counts; c.NotApplicable != 1000 || c.UnreportedNotApplicable != 203 {
		t.Errorf("listed %d, not listed %d, want 1000 and 203", c.NotApplicable, c.UnreportedNotApplicable)
	}
	if got := res.Inventory()[0].Content[0]["UnreportedNotApplicableCount"]; got != "203" {
		t.Errorf("UnreportedNotApplicableCount %q", got)
	}
}

func TestPlatform(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, build, platform, product string }{
		{"Windows Server 2019 Datacenter", "17763", "Microsoft Windows Server 2019 Datacenter", "WindowsServer2019"},
		{"Windows Server 2012 R2 Standard", "9600", "Microsoft Windows Server 2012 R2 Standard", "WindowsServer2012R2"},
		{"Windows Server 2025 Standard", "26100", "Microsoft Windows Server 2025 Standard", "WindowsServer2025"},
		{"Windows 10 Pro", "19045", "Microsoft Windows 10 Pro", "Windows10"},
		{"Windows 10 Pro", "22631", "Microsoft Windows 11 Pro", "Windows11"},
	} {
		m := wua.New(wua.Config{Registry: server(tc.name, tc.build), Now: now})
		p, err := m.Platform(t.Context())
		if err != nil || p.Name != tc.platform || p.Node.Product != tc.product || p.Version != "10.0."+tc.build {
			t.Errorf("Platform(%s, %s) = %+v, %v; want %s, %s", tc.name, tc.build, p, err, tc.platform, tc.product)
		}
	}
	if _, err := wua.New(wua.Config{Registry: server("Windows XP", "2600"), Now: now}).Platform(t.Context()); err == nil || !strings.Contains(err.Error(), "Windows XP") {
		t.Errorf("Windows XP: %v", err)
	}
}

// TestEarlierRevision approves an update whose newest revision is too new, because an earlier one was old enough; without
// the earlier one it waits.
func TestEarlierRevision(t *testing.T) {
	t.Parallel()
	r := load(t, "worked.json")
	dir := t.TempDir()
	scan := func(at time.Time) string {
		m := wua.New(wua.Config{Client: r, Registry: server("Windows Server 2022 Datacenter", "20348"), StateDir: dir, Now: func() time.Time { return at }})
		e := &patch.Engine{Manager: m, Now: func() time.Time { return at }}
		res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: worked()})
		if err != nil {
			t.Fatal(err)
		}
		return states(res)["KB4"]
	}
	if got := scan(now()); got != "AvailableSecurityUpdate UNSPECIFIED delay" {
		t.Errorf("two days after its release: %s", got)
	}
	i := slices.IndexFunc(r.updates, func(u wua.Update) bool { return u.KB() == "KB4" })
	r.updates[i].Revision, r.updates[i].Released = 201, time.Date(2026, 7, 18, 0, 0, 0, 0, time.UTC)
	if got := scan(time.Date(2026, 7, 20, 0, 0, 0, 0, time.UTC)); got != "Missing CRITICAL" {
		t.Errorf("a new revision two days old, the earlier one eight: %s, want Missing", got)
	}
	r.updates[i].UpdateID = "00000000-0000-4000-8000-000000000044"
	if got := scan(time.Date(2026, 7, 20, 0, 0, 0, 0, time.UTC)); got != "AvailableSecurityUpdate UNSPECIFIED delay" {
		t.Errorf("another update under the same KB: %s, want it to wait", got)
	}
}

// TestIncompleteSearch: a search that succeeded with errors finds less, perhaps nothing, and does not fail. It is told, and
// does not make a node compliant for long.
func TestIncompleteSearch(t *testing.T) {
	t.Parallel()
	r := &recorded{result: wua.ResultSucceededWithErrors, warnings: []wua.Warning{{Code: 0x80240438}}}
	r.status.LastSearch = now().Add(-72 * time.Hour)
	e, _ := node(t, r, server("Windows Server 2022 Datacenter", "20348"))
	res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: worked(), Refresh: true})
	if err != nil {
		t.Fatal(err)
	}
	h := &res.Header
	if !h.Repositories[0].Stale || !h.Seen().Equal(now().Add(-72*time.Hour)) || !strings.Contains(strings.Join(h.Degraded, ";"), "WU_E_PT_ENDPOINT_UNREACHABLE") {
		t.Errorf("stale %v, seen %v, degraded %q", h.Repositories[0].Stale, h.Seen(), h.Degraded)
	}
	r.result = wua.ResultFailed
	e, _ = node(t, r, server("Windows Server 2022 Datacenter", "20348"))
	if _, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: worked(), Refresh: true}); err == nil || !strings.Contains(err.Error(), "WU_E_PT_ENDPOINT_UNREACHABLE") {
		t.Errorf("a search that failed: %v", err)
	}
}
