package wua_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/wua"
)

// all approves every update of every product at once.
func all() *baseline.Baseline {
	rule := func(set string) baseline.Rule {
		return baseline.Rule{PatchFilterGroup: baseline.FilterGroup{PatchFilters: []baseline.Filter{{Key: "PATCH_SET", Values: []string{set}}}}, ApproveAfterDays: days(0)}
	}
	return &baseline.Baseline{
		OperatingSystem: baseline.Windows, Name: "all", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{rule("OS"), rule("APPLICATION")}},
	}
}

func server2019() registry { return server("Windows Server 2019 Datacenter", "17763") }

// Trap W2: the agent installs for SYSTEM, and for nobody who came in over the network.
func TestTrap_W2_WhoMayInstall(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		who  wua.Account
		want string // part of the error; empty: it goes on
	}{
		{wua.Account{Name: "SYSTEM", System: true}, ""},
		{wua.Account{Name: `HOST\admin`, Elevated: true}, ""},
		{wua.Account{Name: `HOST\admin`, Elevated: true, Network: true}, "came in over the network"},
		{wua.Account{Name: `HOST\user`}, `HOST\user may not install`},
	} {
		r := load(t, "worked.json")
		e, cfg := node(t, r, server2019())
		cfg.Account = func() (wua.Account, error) { return tc.who, nil }
		e.Manager = wua.New(*cfg)
		_, err := e.Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: patch.NoReboot}})
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.who, err, tc.want)
		}
		if err != nil && len(r.calls) > 0 {
			t.Errorf("%+v: the agent was asked to %v", tc.who, r.calls)
		}
	}
}

// Trap W3: a search has an end, and whoever waits hears of it meanwhile.
func TestTrap_W3_SearchEnds(t *testing.T) {
	t.Parallel()
	r := load(t, "worked.json")
	r.hang = true
	e, cfg := node(t, r, server2019())
	var mu sync.Mutex
	var said []string
	ticks := make(chan time.Time)
	cfg.Tick = func(time.Duration) <-chan time.Time { return ticks }
	cfg.Note = func(s string) { mu.Lock(); defer mu.Unlock(); said = append(said, s) }
	cfg.Deadline = 200 * time.Millisecond
	e.Manager = wua.New(*cfg)
	go func() { ticks <- now() }()
	_, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all(), Refresh: true})
	pe, ok := errors.AsType[*patch.Error](err)
	if !ok || pe.Reason != "REPO_METADATA" || !strings.Contains(pe.Error(), "was not over after 200ms") || pe.Hint == "" {
		t.Errorf("Scan = %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(said) != 1 || !strings.Contains(said[0], "is searching") {
		t.Errorf("said %q", said)
	}
}

// Trap W4: an update unlocks others; an install looks again until there is nothing more, or ten times.
func TestTrap_W4_RoundsUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	r := load(t, "server2019.json")
	third := r.updates[1]
	third.UpdateID, third.KBs, third.Title = "00000000-0000-4000-8000-000000000030", []string{"5000030"}, "unlocked last (KB5000030)"
	second := third
	second.UpdateID, second.KBs, second.Title = "00000000-0000-4000-8000-000000000031", []string{"5000031"}, "unlocked (KB5000031)"
	r.unlocks = map[string][]wua.Update{r.updates[0].UpdateID: {second}, second.UpdateID: {third}}
	r.codes = map[string]uint32{r.updates[2].UpdateID: 0x80070643}
	r.updates = append(r.updates[:3], r.updates[10]) // without the odd ones but the service pack, which has to be alone
	e, _ := node(t, r, server2019())
	in, err := e.Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: patch.NoReboot, Refresh: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"accept KB5000011", "download KB4000020 KB5000010 KB5000011 KB890830", "install KB5000010 KB5000011 KB890830", "install KB4000020",
		"download KB890830", "install KB890830", "accept KB5000031", "download KB5000031", "install KB5000031", "accept KB5000030", "download KB5000030", "install KB5000030",
	}
	if !slices.Contains(r.calls, want[2]) || !slices.Contains(r.calls, want[3]) || r.calls[len(r.calls)-1] != want[len(want)-1] {
		t.Errorf("the agent was asked to\n%s", strings.Join(r.calls, "\n"))
	}
	got := states(in.Result)
	if diff := cmp.Diff(map[string]string{
		"KB5000010": "InstalledPendingReboot UNSPECIFIED", "KB5000011": "InstalledPendingReboot UNSPECIFIED", "KB890830": "Failed UNSPECIFIED installFailed",
		"KB5000031": "InstalledPendingReboot UNSPECIFIED", "KB5000030": "InstalledPendingReboot UNSPECIFIED", "KB4000020": "InstalledPendingReboot UNSPECIFIED",
	}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for i := range in.Result.Items {
		if it := &in.Result.Items[i]; it.ID == "KB890830" && !strings.Contains(it.Detail, "its installer failed (ERROR_INSTALL_FAILURE, 0x80070643)") {
			t.Errorf("KB890830: %s", it.Detail)
		}
	}
	if !strings.Contains(in.Run.Text, "1 patch was not installed: KB890830") {
		t.Errorf("the run says %q", in.Run.Text)
	}
}

// Trap R8: Windows installs nothing before a reboot that is due. A run that may reboot does that first and installs then;
// another one says why it did not.
func TestTrap_R8_RebootFirst(t *testing.T) {
	t.Parallel()
	for _, option := range []string{patch.NoReboot, patch.RebootIfNeeded} {
		r := load(t, "worked.json")
		r.status.RebootFirst = true
		e, cfg := node(t, r, server2019())
		req := patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: option, ExecutionID: "command"}, Step: "0"}
		in, err := e.Install(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(in.Result)["KB2"]; got != "Failed UNSPECIFIED restartFirst" || in.Reboot != (option == patch.RebootIfNeeded) || len(r.calls) > 0 {
			t.Errorf("%s: KB2 %s, reboot %v, calls %v", option, got, in.Reboot, r.calls)
		}
		if !in.Reboot {
			continue
		}
		r.status.RebootFirst = false // it was rebooted
		for i := range r.updates {
			if r.updates[i].RebootRequired {
				r.updates[i].Installed, r.updates[i].RebootRequired = true, false
			}
		}
		e.BootID, e.Manager = "second", wua.New(*cfg)
		in, err = e.Install(t.Context(), req)
		if err != nil || !in.Reboot || states(in.Result)["KB2"] != "Installed UNSPECIFIED" {
			t.Fatalf("after the reboot: %v, %v; want KB2 installed and a reboot for it", states(in.Result), err)
		}
		e.BootID, e.Manager = "third", wua.New(*cfg)
		in, err = e.Install(t.Context(), req)
		if err != nil || in.Reboot || in.Run.Outcome != patch.OutcomeSuccess || in.Run.Code != 0 {
			t.Errorf("at the end: %+v, %v", in, err)
		}
	}
}

// Trap W4: somebody else's installation is waited for, and not for ever.
func TestTrap_W4_BusyInstaller(t *testing.T) {
	t.Parallel()
	r := load(t, "worked.json")
	busy := wua.Status{Busy: true}
	r.statuses = []wua.Status{busy, busy}
	e, cfg := node(t, r, server2019())
	at := now()
	cfg.Now = func() time.Time { at = at.Add(time.Minute); return at }
	ticks := make(chan time.Time)
	close(ticks)
	cfg.Tick = func(time.Duration) <-chan time.Time { return ticks }
	e.Manager = wua.New(*cfg)
	req := patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: patch.NoReboot}}
	if _, err := e.Install(t.Context(), req); err != nil {
		t.Errorf("after two looks it is free: %v", err)
	}
	r.status.Busy = true
	_, err := e.Install(t.Context(), req)
	if pe, ok := errors.AsType[*patch.Error](err); !ok || pe.Reason != "LOCKED" {
		t.Errorf("an installer that stays busy: %v, want LOCKED", err)
	}
}

// Trap W5 and Trap R7: which signs of the registry ask for a reboot.
func TestTrap_W5_R7_PendingReboot(t *testing.T) {
	t.Parallel()
	const (
		au  = `SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired`
		cbs = `SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending`
		ren = `SYSTEM\CurrentControlSet\Control\Session Manager|PendingFileRenameOperations`
	)
	for _, tc := range []struct {
		name     string
		keys     map[string]any
		system   bool
		up       time.Duration
		required bool
		says     string
	}{
		{name: "nothing", up: time.Hour},
		{name: "windows_update", keys: map[string]any{au: true}, up: time.Hour, required: true, says: "Windows Update waits"},
		{name: "system_information", system: true, up: time.Hour, required: true, says: "Windows Update waits"},
		{name: "servicing", keys: map[string]any{cbs: true}, up: time.Hour, required: true, says: "servicing of components waits"},
		{name: "servicing_after_boot", keys: map[string]any{cbs: true}, up: 5 * time.Minute, says: "still at work"},
		{name: "renames", keys: map[string]any{ren: []string{`\??\C:\a`, ""}}, up: time.Hour, says: "1 files are replaced"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := server2019()
			for k, v := range tc.keys {
				reg[k] = v
			}
			m := wua.New(wua.Config{Client: &recorded{status: wua.Status{Reboot: tc.system}}, Registry: reg, Now: now, Uptime: func() time.Duration { return tc.up }})
			got, _, err := m.Evidence(t.Context(), nil)
			if err != nil || got.Required != tc.required || !strings.Contains(strings.Join(got.Reasons, ";"), tc.says) {
				t.Errorf("Evidence = %+v, %v", got, err)
			}
		})
	}
}

// Trap W6: codes have a name and a meaning; successes are not failures; others are shown in both notations.
func TestTrap_W6_Codes(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint32]string{
		0x80240016: "another installation is under way, or the node has to be rebooted first (WU_E_INSTALL_NOT_ALLOWED, 0x80240016)",
		0x8024402C: "the name of the update service or of the proxy is not known (WU_E_PT_WINHTTP_NAME_NOT_RESOLVED, 0x8024402C)",
		0x80070005: "access denied (E_ACCESSDENIED, 0x80070005)",
		0x80070BC2: "done as soon as the node is rebooted (ERROR_SUCCESS_REBOOT_REQUIRED, 0x80070BC2)",
		0x8024FFFF: "result code 0x8024FFFF (-2145058817)",
	} {
		if got := wua.Explain(code).Text(); got != want {
			t.Errorf("Explain(0x%08X) = %q, want %q", code, got, want)
		}
	}
	r := load(t, "worked.json")
	r.fail = &wua.ResultError{Call: "Search", Code: 0x80240438}
	reg := server2019()
	reg[`SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate|WUServer`] = "https://wsus.example:8531"
	reg[`SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU|UseWUServer`] = uint64(1)
	e, _ := node(t, r, reg)
	_, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all(), Refresh: true})
	pe, ok := errors.AsType[*patch.Error](err)
	if !ok || pe.Line() != "OAKUM REPO_METADATA: search for updates at https://wsus.example:8531: there is no way to the update service (WU_E_PT_ENDPOINT_UNREACHABLE, 0x80240438) (engine code 1)" || !strings.Contains(pe.Hint, "netsh winhttp") {
		t.Errorf("Scan = %v", err)
	}
}

// Trap W7: settings of an administrator are told and obeyed.
func TestTrap_W7_Policies(t *testing.T) {
	t.Parallel()
	const p, au = `SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate|`, `SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU|`
	for _, tc := range []struct {
		name, source, warns, updater string
		values                       registry
	}{
		{"none", "https://update.microsoft.com", "", "Windows automatic updates", registry{}},
		{"wsus", "http://wsus:8530", "", "(AUOptions 4", registry{p + "WUServer": "http://wsus:8530", p + "WUStatusServer": "http://wsus:8530", au + "UseWUServer": uint64(1), au + "AUOptions": uint64(4)}},
		{"wsus_switched_off", "https://update.microsoft.com", "UseWUServer is off", "", registry{p + "WUServer": "http://wsus:8530", au + "NoAutoUpdate": uint64(1)}},
		{"wsus_without_address", "https://update.microsoft.com", "searches fail", "", registry{au + "UseWUServer": uint64(1), au + "NoAutoUpdate": uint64(1)}},
		{"servers_differ", "http://a", "differ (http://a, http://b)", "", registry{p + "WUServer": "http://a", p + "WUStatusServer": "http://b", au + "UseWUServer": uint64(1), au + "NoAutoUpdate": uint64(1)}},
		{"deferral", "https://update.microsoft.com", "hides quality updates for 21 days", "", registry{p + "DeferQualityUpdates": uint64(1), p + "DeferQualityUpdatesPeriodInDays": uint64(21), au + "NoAutoUpdate": uint64(1)}},
		{"reboots", "https://update.microsoft.com", "lets Windows reboot by itself", "", registry{au + "AlwaysAutoRebootAtScheduledTime": uint64(1), au + "NoAutoUpdate": uint64(1)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := server2019()
			for k, v := range tc.values {
				reg[k] = v
			}
			e, _ := node(t, load(t, "worked.json"), reg)
			res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all(), Refresh: true})
			if err != nil {
				t.Fatal(err)
			}
			h := &res.Header
			if h.Repositories[0].URI != tc.source || (tc.warns == "") != (len(h.Degraded) == 0) || !strings.Contains(strings.Join(h.Degraded, ";"), tc.warns) {
				t.Errorf("source %s, degraded %q; want %s, %q", h.Repositories[0].URI, h.Degraded, tc.source, tc.warns)
			}
			if got := strings.Join(h.Updaters, ";"); (tc.updater == "") != (got == "") || !strings.Contains(got, tc.updater) {
				t.Errorf("updaters %q, want %q", got, tc.updater)
			}
		})
	}
}

// Trap W8: updates are told apart by id and revision, a KB is a label of several; what was replaced is not a failure.
func TestTrap_W8_SupersededAndSharedLabels(t *testing.T) {
	t.Parallel()
	r := load(t, "server2019.json")
	e, _ := node(t, r, server2019())
	catalogue := []baseline.SnapshotPatch{{ID: "00000000-0000-4000-8000-000000000099", KB: "5000009", Title: "last month's", Classification: "SecurityUpdates", MSRCSeverity: "Critical"}}
	res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all(), Catalogue: catalogue})
	if err != nil {
		t.Fatal(err)
	}
	for i := range res.Items {
		if it := &res.Items[i]; it.ID == "KB5000009" && (it.State != compliance.NotApplicable || it.Detail != "superseded by KB5000011") {
			t.Errorf("KB5000009 is %s: %s", it.State, it.Detail)
		}
	}
	office := patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: &baseline.Baseline{OperatingSystem: baseline.Windows, Name: "list", ApprovedPatches: []string{"MS26-015"}}, RebootOption: patch.NoReboot}}
	in, err := e.Install(t.Context(), office)
	if err != nil || !slices.Contains(r.calls, "install KB4000015 KB4000015") {
		t.Fatalf("a bulletin approves both updates of its KB: %v, %v", r.calls, err)
	}
	if len(in.Run.Changed) != 1 || !strings.Contains(in.Run.Changed[0].New, "0015:200+") || states(in.Result)["KB4000015"] != "InstalledPendingReboot UNSPECIFIED" {
		t.Errorf("changed %+v, state %s", in.Run.Changed, states(in.Result)["KB4000015"])
	}
	r.gone = map[string]bool{"00000000-0000-4000-8000-000000000010": true} // it vanishes between the search and the download
	list := patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: &baseline.Baseline{OperatingSystem: baseline.Windows, Name: "list", ApprovedPatches: []string{"KB5000010"}}, RebootOption: patch.NoReboot}}
	in, err = e.Install(t.Context(), list)
	if err != nil || in.Run.Failed["KB5000010."].Detail == "" || !strings.Contains(in.Run.Failed["KB5000010."].Detail, "does not offer it any more") {
		t.Errorf("an update that is gone: %+v, %v", in.Run.Failed, err)
	}
}

// Trap W9: a scan asks the service, since the agent's cache does not offer what was removed by hand.
func TestTrap_W9_ScansGoOnline(t *testing.T) {
	t.Parallel()
	r := load(t, "worked.json")
	e, _ := node(t, r, server2019())
	for _, refresh := range []bool{true, false} {
		r.searches = nil
		e.Manager = wua.New(wua.Config{Client: r, Registry: server2019(), Now: now})
		res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all(), Refresh: refresh})
		if err != nil || !slices.Equal(r.searches, []bool{refresh}) || res.Header.Repositories[0].Stale == refresh {
			t.Errorf("refresh %v: searches %v, stale %v, %v", refresh, r.searches, res.Header.Repositories[0].Stale, err)
		}
	}
}

// Trap W11: virus definitions are installed when they are approved, and their absence is no fault; Trap W14: updates are
// classified by ids, whatever their names are.
func TestTrap_W11_W14_DefinitionsAndClassifications(t *testing.T) {
	t.Parallel()
	r := load(t, "server2019.json")
	e, _ := node(t, r, server2019())
	res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: all()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{
		"KB5000010": "Missing UNSPECIFIED", "KB5000011": "Missing UNSPECIFIED", "KB890830": "Missing UNSPECIFIED", "KB2267602": "Installed UNSPECIFIED",
		"KB4000015": "Missing UNSPECIFIED", "KB4000017": "Missing UNSPECIFIED hidden", "KB4000018": "Missing UNSPECIFIED interactive",
		"KB4000020": "Missing UNSPECIFIED",
	}, states(res)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	classes := map[string]string{}
	for i := range res.Items {
		classes[res.Items[i].ID] = res.Items[i].Classification + " " + res.Items[i].Severity
	}
	if diff := cmp.Diff(map[string]string{
		"KB5000010": "SecurityUpdates Critical", "KB5000011": "SecurityUpdates Critical", "KB890830": "UpdateRollups Unspecified", "KB2267602": "DefinitionUpdates Unspecified",
		"KB4000015": "SecurityUpdates Important", "KB4000017": "SecurityUpdates Critical", "KB4000018": "CriticalUpdates Unspecified",
		"KB4000020": "ServicePacks Unspecified",
	}, classes); diff != "" {
		t.Errorf("classifications (-want +got):\n%s", diff)
	}
	in, err := e.Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: patch.NoReboot}})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(in.Run.Changed, func(c patch.Change) bool { return c.Name == "KB2267602" })
	if i < 0 || in.Run.Changed[i].New != "00000000-0000-4000-8000-000000000013:200" {
		t.Errorf("definitions are not among %+v", in.Run.Changed)
	}
	for _, c := range in.Run.Changed {
		if c.Name == "KB4000017" || c.Name == "KB4000018" {
			t.Errorf("%s was installed though it is hidden or asks", c.Name)
		}
	}
	for kb, want := range map[string]string{"KB4000017": "Missing UNSPECIFIED hidden", "KB4000018": "Missing UNSPECIFIED interactive"} {
		if got := states(in.Result)[kb]; got != want {
			t.Errorf("%s is %s after the install, want %s", kb, got, want)
		}
	}
}

// TestSets approves by the two patch sets and by products.
func TestSets(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		filters []baseline.Filter
		want    []string
	}{
		{"os_is_the_default", []baseline.Filter{{Key: "CLASSIFICATION", Values: []string{"SecurityUpdates"}}}, []string{"KB4000017", "KB5000010", "KB5000011"}},
		{"application", []baseline.Filter{{Key: "PATCH_SET", Values: []string{"APPLICATION"}}, {Key: "PRODUCT_FAMILY", Values: []string{"Office"}}, {Key: "PRODUCT", Values: []string{"Office 2016"}}}, []string{"KB4000015"}},
		{"other_application", []baseline.Filter{{Key: "PATCH_SET", Values: []string{"APPLICATION"}}, {Key: "PRODUCT", Values: []string{"Office 2010"}}}, nil},
		{"product_of_the_node", []baseline.Filter{{Key: "PRODUCT", Values: []string{"WindowsServer2019"}}, {Key: "CLASSIFICATION", Values: []string{"ServicePacks"}}}, []string{"KB4000020"}},
		{"product_of_another_node", []baseline.Filter{{Key: "PRODUCT", Values: []string{"WindowsServer2016"}}}, nil},
		{"unrated", []baseline.Filter{{Key: "MSRC_SEVERITY", Values: []string{"Unspecified"}}, {Key: "CLASSIFICATION", Values: []string{"UpdateRollups"}}}, []string{"KB890830"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, _ := node(t, load(t, "server2019.json"), server2019())
			b := &baseline.Baseline{OperatingSystem: baseline.Windows, Name: "rule", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{
				{PatchFilterGroup: baseline.FilterGroup{PatchFilters: tc.filters}, ApproveAfterDays: days(0)},
			}}}
			res, err := e.Scan(t.Context(), patch.ScanRequest{Baseline: b})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range res.Items {
				if res.Items[i].State == compliance.Missing {
					got = append(got, res.Items[i].ID)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("missing %v, want %v", got, tc.want)
			}
		})
	}
}

// TestUndoIsRefused: the agent cannot take an update back, and says what can.
func TestUndoIsRefused(t *testing.T) {
	t.Parallel()
	p, err := wua.New(wua.Config{Client: &recorded{}, Registry: server2019(), Now: now}).Plan(context.Background(), patch.Wish{Remove: []string{"KB1"}})
	if err != nil || !strings.Contains(p.Refused, "wusa /uninstall") {
		t.Errorf("Plan = %+v, %v", p, err)
	}
}

// TestRoom refuses with what is there and what is needed.
func TestRoom(t *testing.T) {
	t.Parallel()
	e, cfg := node(t, load(t, "server2019.json"), server2019())
	cfg.Free = func(string) (int64, error) { return 900 << 20, nil }
	e.Manager = wua.New(*cfg)
	in, err := e.Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(), RebootOption: patch.NoReboot}})
	if err != nil || !strings.HasPrefix(in.Run.Text, `DISK: C:\Windows has 900 MiB free`) {
		t.Errorf("Install = %+v, %v", in, err)
	}
}
