package patch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// manager is a package manager that knows one inventory.
type manager struct {
	patch.Transactor // scans only
	inv              *patch.Inventory
	refresh          error
	failed           []string
}

func (manager) Name() string { return "test" }

func (manager) Platform(context.Context) (patch.Platform, error) {
	return patch.Platform{Name: "Red Hat Enterprise Linux", Version: "9.4", Node: baseline.Node{OS: baseline.RedHat, Product: "RedhatEnterpriseLinux9.4"}}, nil
}

func (m manager) Refresh(context.Context, patch.InventoryRequest) (patch.RefreshReport, error) {
	return patch.RefreshReport{Failed: m.failed}, m.refresh
}

func (m manager) Inventory(context.Context, patch.InventoryRequest) (*patch.Inventory, error) {
	return m.inv, nil
}

func (manager) Check(context.Context, *patch.Inventory, []patch.Target, func(baseline.Patch) bool) (map[string]patch.Block, error) {
	return nil, nil
}

func (manager) Lower(
	context.Context, []patch.Target, map[string]patch.Block, map[string][]*patch.Version, func(baseline.Patch) bool,
) (map[string]*patch.Version, error) {
	return nil, nil
}

func (manager) Evidence(context.Context, *patch.Inventory) (compliance.Reboot, []string, error) {
	return compliance.Reboot{}, nil, nil
}

func fixedNow() time.Time { return at("2026-07-14") }

func TestScanCountsAndReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := patch.Engine{Manager: manager{inv: workedRPM(), failed: []string{"mirror down"}}, Now: fixedNow, StateDir: dir}
	for seq := int64(1); seq <= 2; seq++ {
		res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: workedBaseline(baseline.Block), Refresh: true, Record: true, SnapshotID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		h := res.Header
		if h.ScanSeq != seq || h.Status != compliance.NonCompliant || h.Counts.Missing != 3 || h.Operation != "Scan" || h.SnapshotID != "s" {
			t.Errorf("header %+v", h)
		}
		if len(h.Degraded) != 1 || !strings.Contains(h.Degraded[0], "mirror down") {
			t.Errorf("degraded %q, want the mirror", h.Degraded)
		}
		if len(res.Available) == 0 {
			t.Error("no available versions reported")
		}
	}
}

// A repository that cannot be fetched keeps the time at which that went well last, whatever its file says.
func TestRefreshTimesAreRemembered(t *testing.T) {
	t.Parallel()
	inv := workedRPM()
	published := fixedNow().AddDate(-1, 0, 0)
	inv.Repositories = []compliance.Repository{{URI: "https://a.example", RefreshedAt: published}, {URI: "https://b.example", RefreshedAt: published}}
	now := fixedNow()
	e := patch.Engine{Manager: manager{inv: inv}, Now: func() time.Time { return now }, StateDir: t.TempDir()}
	scan := func() []compliance.Repository {
		res, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: workedBaseline(baseline.Block), Refresh: true, Record: true})
		if err != nil {
			t.Fatal(err)
		}
		return res.Header.Repositories
	}
	scan()
	now = now.Add(time.Hour)
	inv.Repositories[1].Stale, inv.Repositories[1].RefreshedAt = true, published
	if got := scan(); !got[0].RefreshedAt.Equal(now) || !got[1].RefreshedAt.Equal(fixedNow()) {
		t.Errorf("refreshed at %s and %s, want now and an hour ago", got[0].RefreshedAt, got[1].RefreshedAt)
	}
}

func TestDamagedStateIsSaidAndRebuilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := patch.Engine{Manager: manager{inv: workedRPM()}, Now: fixedNow, StateDir: dir}
	req := patch.ScanRequest{Baseline: workedBaseline(baseline.Block), Record: true}
	for range 2 {
		if _, err := e.Scan(context.Background(), req); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "engine-state.json"), []byte(`{"sha256":"0","state":{"scanSeq":9}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := e.Scan(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Header.Degraded) != 1 || !strings.Contains(res.Header.Degraded[0], "previous generation") || res.Header.ScanSeq != 2 {
		t.Errorf("after damage: seq %d, degraded %q", res.Header.ScanSeq, res.Header.Degraded)
	}
}

func TestRefreshFailureHasItsReason(t *testing.T) {
	t.Parallel()
	e := patch.Engine{Manager: manager{inv: workedRPM(), refresh: errors.New("no network")}, Now: fixedNow}
	_, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: workedBaseline(baseline.Block), Refresh: true})
	pe, ok := errors.AsType[*patch.Error](err)
	if !ok || pe.Reason != "REPO_METADATA" || pe.Line() != "OAKUM REPO_METADATA: no network (engine code 1)" {
		t.Errorf("Scan = %v", err)
	}
}

func TestSourcesThatDoNotApplyFail(t *testing.T) {
	t.Parallel()
	b := workedBaseline(baseline.Block)
	b.Sources = []baseline.Source{{Name: "own", Products: []string{"RedhatEnterpriseLinux8.1"}, Configuration: "x"}}
	e := patch.Engine{Manager: manager{inv: workedRPM()}, Now: fixedNow}
	if _, err := e.Scan(context.Background(), patch.ScanRequest{Baseline: b}); err == nil {
		t.Error("a baseline whose sources do not apply is used")
	}
}

// Trap A3: the loser waits, names the holder, and ends with LOCKED.
func TestTrap_A3_LockNamesItsHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := patch.Lock(context.Background(), dir, patch.Owner{PID: 4711, Run: "cmd-1", Command: "install"}, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	var told patch.Owner
	_, err = patch.Lock(context.Background(), dir, patch.Owner{PID: 2}, 10*time.Millisecond, func(o patch.Owner) { told = o })
	pe, ok := errors.AsType[*patch.Error](err)
	if !ok || pe.Reason != "LOCKED" || !strings.Contains(err.Error(), "process 4711 (install), run cmd-1") {
		t.Errorf("second lock: %v", err)
	}
	if told.PID != 4711 {
		t.Errorf("waiting was told %+v", told)
	}
	release()
	release, err = patch.Lock(context.Background(), dir, patch.Owner{PID: 2}, time.Second, nil)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	release()
}

func TestOSExec(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no /bin/sh")
	}
	out, err := patch.OSExec{}.Run(context.Background(), patch.Command{Path: "/bin/sh", Args: []string{"-c", "echo $LC_ALL; echo err >&2; exit 7"}, Env: patch.BaseEnv()})
	if err != nil || out.Code != 7 || string(out.Stdout) != "C.UTF-8\n" || string(out.Stderr) != "err\n" {
		t.Errorf("Run = %+v, %v", out, err)
	}
	out, err = patch.OSExec{}.Run(context.Background(), patch.Command{Path: "/bin/sh", Args: []string{"-c", "yes"}, Timeout: 200 * time.Millisecond, MaxOutput: 1000})
	if !errors.Is(err, context.DeadlineExceeded) || len(out.Stdout) != 1000 || !out.Truncated {
		t.Errorf("Run past its timeout: %d bytes, %v", len(out.Stdout), err)
	}
	if _, err := (patch.OSExec{}).Run(context.Background(), patch.Command{Path: "/nonexistent"}); err == nil {
		t.Error("a missing program starts")
	}
}
