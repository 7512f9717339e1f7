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

// machine is a package manager whose transactions change its inventory, one package each, and that fails when told to.
type machine struct {
	manager
	applied  int
	fail     map[int]error // by the number of the transaction: it is not begun
	repair   map[int]error // by the number of transactions before it
	trouble  []string
	unmarked int   // so many attempts at the marks fail
	keeps    int64 // size of the package files of old versions
	own      bool  // what is installed is another build than the repositories have
}

func (m *machine) Repair(context.Context, *os.File, func(patch.Change) bool) (patch.Health, error) {
	return patch.Health{Trouble: m.trouble}, m.repair[m.applied]
}

func (m *machine) Present(context.Context) (map[string]patch.Presence, error) {
	out := map[string]patch.Presence{}
	for i := range m.inv.Packages {
		p := &m.inv.Packages[i]
		out[p.Key()] = patch.Presence{Version: p.Installed}
	}
	return out, nil
}

func (m *machine) Plan(_ context.Context, w patch.Wish) (*patch.Plan, error) {
	p := &patch.Plan{}
	for _, x := range w.Install {
		for i := range m.inv.Packages {
			if q := &m.inv.Packages[i]; q.Name == x.Name {
				p.Changes = append(p.Changes, patch.Change{Name: x.Name, Arch: x.Arch, Old: q.Installed, New: x.Version, Own: m.own})
			}
		}
	}
	return p, nil
}

func (*machine) Room(context.Context, patch.Wish, *patch.Plan) error { return nil }

func (*machine) Fetch(context.Context, patch.Wish, *patch.Plan, *os.File) (map[string]string, error) {
	return nil, nil
}

func (m *machine) Keep(_ context.Context, p *patch.Plan, dir string, _ *os.File) (map[string]string, error) {
	if m.keeps == 0 {
		return nil, nil
	}
	f, err := os.Create(filepath.Join(dir, "old"))
	if err != nil {
		return nil, err
	}
	return map[string]string{p.Changes[0].Key(): "old"}, errors.Join(f.Truncate(m.keeps), f.Close()) // a hole
}

func (m *machine) Apply(_ context.Context, _ patch.Wish, p *patch.Plan, _ string, _ *os.File) (patch.Applied, error) {
	m.applied++
	if err := m.fail[m.applied]; err != nil {
		return patch.Applied{}, err
	}
	c := p.Changes[0]
	for i := range m.inv.Packages {
		q := &m.inv.Packages[i]
		if q.Name != c.Name {
			continue
		}
		for k := range q.Versions {
			q.Versions[k].Order--
		}
		q.Installed = c.New
	}
	return patch.Applied{Code: 1, Text: "one at a time"}, nil
}

func (m *machine) Settle(context.Context, []patch.Change, *os.File) error {
	if m.unmarked > 0 {
		m.unmarked--
		return errors.New("dnf was killed")
	}
	return nil
}

func (*machine) Leftovers(context.Context) ([]string, error) { return nil, nil }

func (*machine) Finished(string) (string, bool) { return "", false }

// installer is an engine on a machine that misses three patches: openssl, zlib and httpd.
func installer(t *testing.T) (*patch.Engine, *machine, patch.InstallRequest) {
	m := &machine{manager: manager{inv: workedRPM()}, fail: map[int]error{}, repair: map[int]error{}}
	e := &patch.Engine{Manager: m, Now: fixedNow, StateDir: t.TempDir(), BootID: "first"}
	b := workedBaseline(baseline.AllowAsDependency)
	b.RejectedPatches = nil
	return e, m, patch.InstallRequest{
		ScanRequest: patch.ScanRequest{Baseline: b, RebootOption: patch.RebootIfNeeded, ExecutionID: "command", SnapshotID: "snapshot"}, Step: "0-step",
	}
}

func later(now func() time.Time) func() time.Time {
	return func() time.Time { return now().Add(time.Hour) }
}

func stateOf(res *compliance.Result, name string) compliance.State {
	for i := range res.Items {
		if res.Items[i].Name == name {
			return res.Items[i].State
		}
	}
	return ""
}

// TestLivePatchesRebootNothing: an install of live patches alone does not reboot the node, unless AWS's rule is asked for,
// and then only with RebootIfNeeded.
func TestLivePatchesRebootNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		option string
		asAWS  bool
		others bool // patches that are no live patches were installed as well
		reboot bool
	}{
		{"live_patches_alone", patch.RebootIfNeeded, false, false, false},
		{"as_aws", patch.RebootIfNeeded, true, false, true},
		{"with_others", patch.RebootIfNeeded, false, true, true},
		{"never_as_aws", patch.NoReboot, true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, m, req := installer(t)
			m.inv.LivePatching = &patch.LivePatching{IsPatch: func(name string) bool { return !tc.others || name == "openssl" }}
			req.RebootOption, req.LivePatchReboot = tc.option, tc.asAWS
			in, err := e.Install(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if in.Reboot != tc.reboot || len(in.Run.Changed) != 3 {
				t.Errorf("reboot %v after %d changes, want %v after 3", in.Reboot, len(in.Run.Changed), tc.reboot)
			}
			if n := in.Result.Header.Counts.InstalledPendingReboot; n != 0 {
				t.Errorf("%d live patches wait for a reboot", n)
			}
		})
	}
}

// TestRebootIsAskedForAgain stops a run after it has decided to reboot and before it could say so: what is started to
// finish it asks once more, and after that says that there was none.
func TestRebootIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, rebooted := range []bool{false, true} {
		e, m, req := installer(t)
		for range 2 {
			in, err := e.Install(t.Context(), req)
			if err != nil || !in.Reboot || in.Run.Code != patch.CodeReboot {
				t.Fatalf("Install = %+v, %v; want a reboot", in, err)
			}
			if s := stateOf(in.Result, "openssl"); s != compliance.Installed {
				t.Errorf("openssl is %s before the reboot, want Installed", s)
			}
		}
		if rebooted {
			e.BootID = "second"
		}
		in, err := e.Install(t.Context(), req)
		if err != nil || in.Reboot {
			t.Fatalf("Install = %+v, %v; want an end", in, err)
		}
		if want := map[bool]string{false: patch.OutcomeFailed, true: patch.OutcomeSuccess}[rebooted]; in.Run.Outcome != want || m.applied != 3 {
			t.Errorf("%s %q after %d transactions, want %s after 3", in.Run.Outcome, in.Run.Text, m.applied, want)
		}
	}
}

// TestEarlyEndReportsWhatWasInstalled lets a later transaction fail as a whole: the first one's patches are reported and
// wait for their reboot.
func TestEarlyEndReportsWhatWasInstalled(t *testing.T) {
	t.Parallel()
	locked := patch.Fail("LOCKED", "somebody else is at work")
	for name, tell := range map[string]func(*machine){
		"locked":  func(m *machine) { m.fail[2] = locked },
		"repair":  func(m *machine) { m.repair[2] = locked },
		"stopped": func(m *machine) { m.fail[2] = context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, m, req := installer(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tell(m)
			if name == "stopped" {
				e.Progress = func(p patch.Progress) {
					if p.Phase == "plan" && m.applied == 1 {
						cancel()
					}
				}
			}
			in, err := e.Install(ctx, req)
			if err != nil {
				t.Fatalf("Install: %v; want a report", err)
			}
			if in.Reboot || in.Run.Code != patch.CodeFailed {
				t.Errorf("reboot %v, code %d %q; want none, 1", in.Reboot, in.Run.Code, in.Run.Text)
			}
			if want := map[bool]string{true: patch.OutcomeInterrupted, false: patch.OutcomeFailed}[name == "stopped"]; in.Run.Outcome != want {
				t.Errorf("outcome %s, want %s", in.Run.Outcome, want)
			}
			pending := 0
			for i := range in.Result.Items {
				if in.Result.Items[i].State == compliance.InstalledPendingReboot {
					pending++
				}
			}
			if pending != len(in.Run.Changed) || pending == 0 {
				t.Errorf("%d patches wait for a reboot, and %d were installed", pending, len(in.Run.Changed))
			}
		})
	}
}

// TestFailureRemembersWhatWaitsForAReboot lets the look at the node fail that comes after the last transaction.
func TestFailureRemembersWhatWaitsForAReboot(t *testing.T) {
	t.Parallel()
	e, m, req := installer(t)
	req.RebootOption = patch.NoReboot
	broken := &lateFailure{machine: m}
	e.Manager = broken
	if _, err := e.Install(t.Context(), req); err == nil || !strings.Contains(err.Error(), "no such list") {
		t.Fatalf("Install: %v, want the failure", err)
	}
	e.Manager = m
	res, err := e.Scan(t.Context(), req.ScanRequest)
	if err != nil {
		t.Fatal(err)
	}
	if s := stateOf(res, "openssl"); s != compliance.InstalledPendingReboot {
		t.Errorf("openssl is %s, want InstalledPendingReboot", s)
	}
}

// lateFailure cannot read its node any more when all is installed.
type lateFailure struct{ *machine }

func (l *lateFailure) Inventory(ctx context.Context, req patch.InventoryRequest) (*patch.Inventory, error) {
	if l.applied == 3 {
		return nil, errors.New("no such list")
	}
	return l.machine.Inventory(ctx, req)
}

func TestTroubleIsReported(t *testing.T) {
	t.Parallel()
	e, m, req := installer(t)
	m.trouble = []string{"dpkg --configure -a: it ended with 1"}
	in, err := e.Install(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(in.Result.Header.Degraded, "; "); !strings.Contains(got, m.trouble[0]) {
		t.Errorf("degraded %q, want the trouble", got)
	}
}

// TestMarksAreRepeated lets what marks packages be killed: twice does no harm, and what goes on failing is reported.
func TestMarksAreRepeated(t *testing.T) {
	t.Parallel()
	for killed, want := range map[int]bool{0: false, 2: false, 100: true} {
		e, m, req := installer(t)
		m.unmarked = killed
		in, err := e.Install(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(in.Result.Header.Degraded, "; "); strings.Contains(got, "dnf was killed") != want {
			t.Errorf("killed %d times: degraded %q; want it to say so: %v", killed, got, want)
		}
		if killed == 2 && m.unmarked != 0 {
			t.Error("the marks were not tried three times")
		}
	}
}

// TestOldPackageFilesAreBounded has more package files of old versions than may stay: the oldest run's go.
func TestOldPackageFilesAreBounded(t *testing.T) {
	t.Parallel()
	e, m, req := installer(t)
	m.keeps = 400 << 20
	var files []string
	for _, execution := range []string{"one", "two", "three"} {
		m.inv, m.applied, req.ExecutionID = workedRPM(), 0, execution
		in, err := e.Install(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(in.Run.Dir, "old"))
		e.BootID += "+"
		if in, err = e.Install(t.Context(), req); err != nil || in.Run.Phase != patch.PhaseEnded {
			t.Fatalf("after the reboot: %+v, %v", in, err)
		}
		e.Now = later(e.Now)
	}
	for i, want := range []bool{false, true, true} { // the last run's came after the bound was looked at
		if _, err := os.Stat(files[i]); (err == nil) != want {
			t.Errorf("files of run %d: %v, want there: %v", i+1, err, want)
		}
	}
}

// TestUndoOfAnotherBuild: what a repository has under the old version is not what was there before, unless it was so.
func TestUndoOfAnotherBuild(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		e, m, req := installer(t)
		m.own = own
		out, err := e.Install(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		rev, _, err := e.Undo(t.Context(), out.Run.ID, true, req.Baseline)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(rev.Why, "\n"), "another build"); said != own {
			t.Errorf("own build %v: %v", own, rev.Why)
		}
	}
}
