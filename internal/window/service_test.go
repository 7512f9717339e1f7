package window

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

var scope = store.Scope{Account: "000000000001", Region: "us-east-1"}

// service is a service on an empty database, at a time that the test moves.
func service(t *testing.T) (s *Service, ctx context.Context, advance func(time.Duration)) {
	t.Helper()
	return serviceOn(t, store.Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
}

func serviceOn(t *testing.T, c store.Config) (s *Service, ctx context.Context, advance func(time.Duration)) {
	t.Helper()
	var offset atomic.Int64
	now := func() time.Time { return opened.Add(time.Duration(offset.Load())) }
	c.Now = now
	st, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s = New(st, page.Book{Pager: &codec.Pager{Key: make([]byte, 32)}}, nil, rand.Reader, now, slog.New(slog.DiscardHandler))
	ctx = iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Administrator, Account: scope.Account, Region: scope.Region})
	return s, ctx, func(d time.Duration) { offset.Add(int64(d)) }
}

func create(t *testing.T, s *Service, ctx context.Context, schedule string, change func(*ssm.CreateMaintenanceWindowInput)) string {
	t.Helper()
	in := &ssm.CreateMaintenanceWindowInput{
		Name: new("nightly"), Schedule: &schedule, Duration: new(int64(2)), Cutoff: new(int64(1)), AllowUnassociatedTargets: new(true),
	}
	if change != nil {
		change(in)
	}
	out, err := s.CreateMaintenanceWindow(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.WindowId
}

// work handles what is due, and says how many items that were; it gives up where they do not end.
func work(t *testing.T, s *Service) (n int, failed error) {
	t.Helper()
	for ; n < 100; n++ {
		var items []store.WorkItem
		err := s.store.Update(t.Context(), func(tx *store.Tx) (err error) { items, err = tx.ClaimWork(time.Minute, 1); return err })
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			return n, failed
		}
		handle := s.Open
		if items[0].Kind == WorkStep {
			handle = s.Step
		}
		failed = errors.Join(failed, handle(t.Context(), items[0]))
	}
	t.Fatal("the work does not end")
	return n, failed
}

func executed(t *testing.T, s *Service, ctx context.Context, id string) (out []string) {
	t.Helper()
	list, err := s.DescribeMaintenanceWindowExecutions(ctx, &ssm.DescribeMaintenanceWindowExecutionsInput{WindowId: &id})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.WindowExecutions {
		out = append(out, *e.Status)
	}
	return out
}

// The database keeps instants to the microsecond: a window whose start has more digits opens once all the same.
//
// proves R-39
func TestStartDateBelowTheMicrosecond(t *testing.T) {
	s, ctx, advance := service(t)
	id := create(t, s, ctx, "rate(1 day)", func(in *ssm.CreateMaintenanceWindowInput) { in.StartDate = new("2027-01-20T23:00:00.123456789Z") })
	advance(2 * time.Hour)
	if _, err := work(t, s); err != nil {
		t.Fatal(err)
	}
	if got := executed(t, s, ctx, id); len(got) != 1 {
		t.Errorf("executions: %v", got)
	}
}

// A change that does not touch the schedule does not take away an instant that has come and was not worked off yet.
//
// proves R-39
func TestUpdateKeepsWhatIsDue(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   ssm.UpdateMaintenanceWindowInput
		want int
	}{
		{"description", ssm.UpdateMaintenanceWindowInput{Description: new("new")}, 1},
		{"disabled", ssm.UpdateMaintenanceWindowInput{Enabled: new(false)}, 0},
		{"over", ssm.UpdateMaintenanceWindowInput{EndDate: new("2027-01-20T22:10:00Z")}, 0},
		{"schedule", ssm.UpdateMaintenanceWindowInput{Schedule: new("rate(1 day)")}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ctx, advance := service(t)
			id := create(t, s, ctx, "rate(30 minutes)", nil)
			advance(31 * time.Minute)
			tc.in.WindowId = &id
			if _, err := s.UpdateMaintenanceWindow(ctx, &tc.in); err != nil {
				t.Fatal(err)
			}
			if _, err := work(t, s); err != nil {
				t.Fatal(err)
			}
			if got := executed(t, s, ctx, id); len(got) != tc.want {
				t.Errorf("executions: %v, want %d", got, tc.want)
			}
		})
	}
}

// A definition that cannot be read is a fault that is tried again and logged, not a window that is gone.
func TestUnreadableWindowKeepsItsPromise(t *testing.T) {
	s, ctx, advance := service(t)
	id := create(t, s, ctx, "rate(30 minutes)", nil)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		w, err := tx.Window(scope, id)
		w.Body = "{"
		return errors.Join(err, tx.SaveWindow(scope, w))
	})
	if err != nil {
		t.Fatal(err)
	}
	advance(31 * time.Minute)
	if _, err := work(t, s); err == nil {
		t.Error("the window was given up without a word")
	}
}

// However much is asked for, an answer is bounded: what is left comes with the next page.
func TestScheduleIsBounded(t *testing.T) {
	s, ctx, _ := service(t)
	for range 3 {
		create(t, s, ctx, "rate(5 minutes)", nil)
	}
	in := &ssm.DescribeMaintenanceWindowScheduleInput{
		MaxResults: new(int64(1 << 31)), Filters: []ssm.PatchOrchestratorFilter{{Key: new("ScheduledBefore"), Values: []string{"2027-01-25T00:00:00Z"}}},
	}
	seen := map[string]int{}
	for pages := 0; ; pages++ {
		out, err := s.DescribeMaintenanceWindowSchedule(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.ScheduledWindowExecutions) > 1000 {
			t.Fatalf("%d runs in one answer", len(out.ScheduledWindowExecutions))
		}
		for _, r := range out.ScheduledWindowExecutions {
			seen[*r.WindowId+*r.ExecutionTime]++
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
		if pages > 20 {
			t.Fatal("the pages do not end")
		}
	}
	if want := 3 * (4*24 + 2) * 12; len(seen) != want-3 { // the last instant is not before the end
		t.Errorf("%d runs, want %d", len(seen), want-3)
	}
}

func TestTargetsWithoutValuesAreRefused(t *testing.T) {
	s, ctx, _ := service(t)
	id := create(t, s, ctx, "rate(30 minutes)", nil)
	for _, list := range [][]ssm.Target{{}, {{Key: new("tag:a")}}} {
		_, err := s.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{WindowId: &id, ResourceType: new("INSTANCE"), Targets: list})
		if e, ok := errors.AsType[*awserr.Error](err); !ok || e.Code != "ValidationException" {
			t.Errorf("target %v: %v", list, err)
		}
	}
	for _, key := range []string{"WindowTargetIds", "InstanceIds"} {
		_, err := s.RegisterTaskWithMaintenanceWindow(ctx, &ssm.RegisterTaskWithMaintenanceWindowInput{
			WindowId: &id, TaskType: new(runCommand), TaskArn: new("AWS-RunShellScript"), MaxConcurrency: new("1"), MaxErrors: new("1"), Targets: []ssm.Target{{Key: &key}},
		})
		if e, ok := errors.AsType[*awserr.Error](err); !ok || e.Code != "ValidationException" {
			t.Errorf("task on no %s: %v", key, err)
		}
	}
}

// Who opens a window and who changes it lock in one order: neither waits for the other for ever.
func TestOpeningAndChangingDoNotWaitForEachOther(t *testing.T) {
	s, ctx, advance := serviceOn(t, store.Config{URL: oakumtest.Postgres(t) + "&options=-c%20deadlock_timeout%3D20s"})
	id := create(t, s, ctx, "rate(30 minutes)", nil)
	advance(31 * time.Minute)
	var items []store.WorkItem
	if err := s.store.Update(ctx, func(tx *store.Tx) (err error) { items, err = tx.ClaimWork(time.Minute, 1); return err }); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	begun := time.Now()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockWindow(scope, id); err != nil {
			return err
		}
		go func() { done <- s.Open(ctx, items[0]) }()
		time.Sleep(300 * time.Millisecond) // the opening waits for the window
		return tx.Unschedule(WorkOpen, scope, id)
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a deadlock: %s", took)
	}
}

// An instant that passed before a restore is not run because somebody changes the window right after it.
//
// proves R-36
func TestUpdateAfterRestoreRunsNothing(t *testing.T) {
	s, ctx, _ := service(t)
	id := create(t, s, ctx, "rate(30 minutes)", nil)
	var b bytes.Buffer
	if err := s.store.Dump(ctx, &b); err != nil {
		t.Fatal(err)
	}
	s, ctx, advance := service(t)
	advance(31 * time.Minute)
	if err := s.store.Load(ctx, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{WindowId: &id, Description: new("new")}); err != nil {
		t.Fatal(err)
	}
	if _, err := work(t, s); err != nil {
		t.Fatal(err)
	}
	if got := executed(t, s, ctx, id); len(got) != 1 || got[0] != timedOut {
		t.Errorf("executions: %v", got)
	}
}

// After a long outage every instant that was missed is recorded, many at a time: what is due now waits behind them.
//
// proves R-39
func TestManyMissedInstants(t *testing.T) {
	s, ctx, advance := service(t)
	create(t, s, ctx, "rate(5 minutes)", nil)
	advance(48*time.Hour + time.Second)
	if _, err := work(t, s); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		w, err := tx.Windows(scope, time.Time{}, "", 1)
		if err != nil {
			return err
		}
		list, err := tx.WindowExecutions(scope, w[0].ID, time.UnixMicro(1<<62), "~", 1000)
		for _, e := range list {
			got[e.Status]++
		}
		return err
	})
	// Those of the last hour begin late, one after the other: there is nothing to do.
	if err != nil || got[timedOut] != 47*12 || got[success]+got[overlapping] != 12 {
		t.Errorf("executions: %v, %v", got, err)
	}
}
