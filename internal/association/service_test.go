package association

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/command"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/store"
	"oakum.dev/wire/ssm"
)

var web = store.Tag{Key: "Group", Value: "web"}

func lite(t *testing.T) *world {
	t.Helper()
	return newWorld(t, store.Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
}

func (w *world) statuses(id string) (out []string) {
	w.t.Helper()
	for _, e := range w.executions(id) { // newest first
		out = append(out, e.DetailedStatus)
	}
	return out
}

func (w *world) want(id string, statuses ...string) {
	w.t.Helper()
	if got := w.statuses(id); !slices.Equal(got, statuses) {
		w.t.Errorf("executions %v, want %v", got, statuses)
	}
}

// Nothing of a run starts behind its Duration, and what runs then is cancelled.
//
// proves
func TestDuration(t *testing.T) {
	t.Parallel()
	w := lite(t)
	first, second := w.join(1, web), w.join(2, web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.Duration, in.MaxConcurrency = new(int64(1)), new("1") })
	w.update(func(tx *store.Tx) error {
		return tx.PutTag(scope, resourceType, id, store.Tag{Key: TimeoutTag, Value: "86400"}) // they may begin for a day
	})
	w.work()
	list := w.offer(first) // taken, and not ended
	if len(list) != 1 {
		t.Fatalf("messages %v", list)
	}
	w.later(59 * time.Minute)
	w.want(id, inProgress)
	w.later(time.Minute + tickEvery)
	w.want(id, timedOut)
	if n := w.take(second, command.Success); n != 0 {
		t.Errorf("%d runs start behind the cutoff", n)
	}
	if list = w.offer(first); len(list) != 1 || !strings.Contains(list[0].Topic, "cancelCommand") {
		t.Errorf("messages behind the cutoff: %v", list)
	}
	w.update(func(tx *store.Tx) error { return tx.Schedule(store.WorkNodeChanged, scope, second, tx.Now()) })
	w.later(time.Hour)
	w.want(id, timedOut) // a node that comes back waits for the next interval
}

// A run that the server was not there for begins when it is back, unless that is too late: then it is recorded, and caught
// up at the next instant. However long that was, it is recorded by and by.
//
// proves R-39
func TestServerWasAway(t *testing.T) {
	t.Parallel()
	w := lite(t)
	id := w.create(func(in *ssm.CreateAssociationInput) {
		in.ScheduleExpression, in.ApplyOnlyAtCronInterval = new("cron(0 2 ? * * *)"), new(true)
	})
	node := w.join(1, web)
	w.work()
	w.want(id)
	w.clock = time.Date(2027, 1, 21, 2, 14, 0, 0, time.UTC)
	w.work()
	w.take(node, command.Success)
	w.work()
	w.want(id, success)
	w.clock = time.Date(2027, 1, 22, 2, 15, 0, 0, time.UTC)
	w.work()
	w.want(id, late, success)
	w.clock = time.Date(2027, 6, 22, 2, 0, 1, 0, time.UTC)
	w.work()
	got := w.statuses(id)
	if len(got) != 2+151 || got[0] != inProgress || slices.Index(got[1:], inProgress) >= 0 {
		t.Errorf("%d executions, the newest %s", len(got), got[0])
	}
}

// A restored database begins nothing that its original may have begun.
//
// proves R-36
func TestRestoredRunsNothing(t *testing.T) {
	t.Parallel()
	w := lite(t)
	node := w.join(1, web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.ScheduleExpression = new("rate(30 minutes)") })
	w.work()
	w.take(node, command.Success)
	w.work()
	if err := w.StartOnce(id); err != nil { // has not begun when the copy is made
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := w.store.Dump(w.ctx, &b); err != nil {
		t.Fatal(err)
	}
	w = lite(t)
	w.clock = beginning.Add(31 * time.Minute)
	if err := w.store.Load(w.ctx, &b); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.want(id, late, late, success)
	if n := w.take(node, command.Success); n != 0 {
		t.Errorf("the node is sent %d commands", n)
	}
	w.later(30 * time.Minute)
	w.want(id, inProgress, late, late, success)
}

// StartOnce is StartAssociationsOnce for one.
func (w *world) StartOnce(id string) error {
	_, err := w.StartAssociationsOnce(w.ctx, &ssm.StartAssociationsOnceInput{AssociationIds: []string{id}})
	return err
}

// What Patch now makes, what waits for its interval, and what runs at one instant, run for no node that comes later.
func TestOneShotsDoNotFollow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*ssm.CreateAssociationInput)
		want   int
	}{
		{"association", nil, 1},
		{"patch_now", func(in *ssm.CreateAssociationInput) { in.AssociationName = new(PatchNow) }, 0},
		{"patch_reboot", func(in *ssm.CreateAssociationInput) { in.AssociationName = new(PatchReboot) }, 0},
		{"at", func(in *ssm.CreateAssociationInput) { in.ScheduleExpression = new("at(2027-01-20T22:00:00)") }, 0},
		{"only_at_interval", func(in *ssm.CreateAssociationInput) {
			in.ScheduleExpression, in.ApplyOnlyAtCronInterval = new("cron(0 2 ? * * *)"), new(true)
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := lite(t)
			w.create(tc.change)
			w.work()
			node := w.join(1, web)
			w.work()
			if n := w.take(node, command.Success); n != tc.want {
				t.Errorf("a node that came later is sent %d commands, want %d", n, tc.want)
			}
		})
	}
}

// The tag ScheduleTimezone moves the schedule; one that is no zone does not stop it.
//
// proves R-40
func TestZone(t *testing.T) {
	t.Parallel()
	w := lite(t)
	id := w.create(func(in *ssm.CreateAssociationInput) {
		in.ScheduleExpression, in.ApplyOnlyAtCronInterval = new("cron(0 2 ? * * *)"), new(true)
		in.Tags = []ssm.Tag{{Key: new(ZoneTag), Value: new("Europe/Berlin")}}
	})
	next := func() string {
		var a store.Association
		w.update(func(tx *store.Tx) (err error) { a, err = tx.Association(scope, id); return err })
		return a.NextAt.Format(time.RFC3339)
	}
	if got := next(); got != "2027-01-21T01:00:00Z" {
		t.Errorf("in Berlin it runs at %s", got)
	}
	for _, tc := range []struct{ zone, want string }{{"America/New_York", "2027-01-21T07:00:00Z"}, {"Nowhere", "2027-01-21T02:00:00Z"}} {
		w.update(func(tx *store.Tx) error {
			if err := tx.PutTag(scope, resourceType, id, store.Tag{Key: ZoneTag, Value: tc.zone}); err != nil {
				return err
			}
			return tx.Schedule(WorkStart, scope, id+"/plan", tx.Now()) // as whoever changes tags does
		})
		w.work()
		if got := next(); got != tc.want {
			t.Errorf("in %s it runs at %s, want %s", tc.zone, got, tc.want)
		}
	}
	_, err := w.CreateAssociation(w.ctx, &ssm.CreateAssociationInput{
		Name: new("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"true"}}, Targets: []ssm.Target{{Key: new("InstanceIds"), Values: []string{"*"}}},
		ScheduleExpression: new("rate(1 day)"), Tags: []ssm.Tag{{Key: new(ZoneTag), Value: new("Nowhere")}},
	})
	if err == nil || !strings.Contains(err.Error(), "Nowhere") {
		t.Errorf("a zone that is none: %v", err)
	}
}

// A run that cannot be sent fails, and the association says why; it is the operator's to mend.
func TestRefusedRun(t *testing.T) {
	t.Parallel()
	w := lite(t)
	node := w.join(1, web)
	w.work()
	w.update(func(tx *store.Tx) error {
		return tx.PutFreeze(store.Freeze{Account: scope.Account, Region: scope.Region, Reason: "audit", StartedAt: w.clock, EndsAt: w.clock.Add(time.Hour)})
	})
	id := w.create(func(in *ssm.CreateAssociationInput) {
		in.Name, in.Parameters = new("AWS-RunPatchBaseline"), map[string][]string{"Operation": {"Install"}}
	})
	w.work()
	if got := w.statuses(id); len(got) != 1 || got[0] == inProgress {
		t.Errorf("executions %v", got)
	}
	out, err := w.DescribeAssociation(w.ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.AssociationDescription; *d.Overview.Status != failed || *d.Status.Name != failed || !strings.Contains(*d.Status.Message, "audit") {
		t.Errorf("overview %v, status %v", *d.Overview.Status, *d.Status.Message)
	}
	if n := w.take(node, command.Success); n != 0 {
		t.Errorf("%d commands were sent", n)
	}
}

// No node matches: nothing has failed, and nothing has been done.
func TestNobodyMatches(t *testing.T) {
	t.Parallel()
	w := lite(t)
	id := w.create(nil)
	w.work()
	w.want(id, noTargets)
	out, err := w.DescribeAssociation(w.ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
	if err != nil || *out.AssociationDescription.Overview.Status != pending {
		t.Errorf("overview %+v, %v", out.AssociationDescription.Overview, err)
	}
}

// What Patch now made goes when it is old; other associations stay.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := lite(t)
	node := w.join(1, web)
	old := w.create(func(in *ssm.CreateAssociationInput) { in.AssociationName = new(PatchNow) })
	other := w.create(nil)
	w.work()
	w.take(node, command.Success)
	w.later(24 * time.Hour)
	var n int64
	w.update(func(tx *store.Tx) (err error) { n, err = w.Sweep(tx, w.clock.Add(-time.Hour), 100); return err })
	w.work()
	_, err := w.DescribeAssociation(w.ctx, &ssm.DescribeAssociationInput{AssociationId: &old})
	if n != 1 || err == nil || len(w.executions(old)) != 0 || len(w.executions(other)) == 0 {
		t.Errorf("%d swept, %v, %d executions left", n, err, len(w.executions(old)))
	}
	w.update(func(tx *store.Tx) error {
		left, err := tx.AssociationsOn(scope, node, "", 10)
		if len(left) != 1 || left[0].AssociationID != other {
			t.Errorf("the node still has %+v", left)
		}
		return err
	})
}

// A node that changed targets have left is forgotten when the new version has run.
func TestChangedTargets(t *testing.T) {
	t.Parallel()
	w := lite(t)
	first, second := w.join(1, web), w.join(2, store.Tag{Key: "Group", Value: "db"})
	id := w.create(nil)
	w.work()
	w.take(first, command.Success)
	w.work()
	_, err := w.UpdateAssociation(w.ctx, &ssm.UpdateAssociationInput{
		AssociationId: &id, Parameters: map[string][]string{"commands": {"true"}}, Targets: []ssm.Target{{Key: new("tag:Group"), Values: []string{"db"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.work()
	if n := w.take(first, command.Success); n != 0 {
		t.Errorf("the node that was left is sent %d commands", n)
	}
	w.take(second, command.Success)
	w.work()
	w.want(id, success, success)
	w.update(func(tx *store.Tx) error {
		list, err := tx.AssociationNodes(scope, id, "", 10)
		if len(list) != 1 || list[0].NodeID != second {
			t.Errorf("it stands on %+v", list)
		}
		sets, serr := tx.ComplianceSets(scope, first)
		if len(sets) != 0 {
			t.Errorf("the node that was left has %+v", sets)
		}
		return errors.Join(err, serr)
	})
}

// Deleting an association cancels what runs of it, and takes away what it has left.
func TestDeleteCancels(t *testing.T) {
	t.Parallel()
	w := lite(t)
	first, second := w.join(1, web), w.join(2, web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.MaxConcurrency = new("1") })
	w.work()
	if list := w.offer(first); len(list) != 1 {
		t.Fatalf("messages %v", list)
	}
	if _, err := w.DeleteAssociation(w.ctx, &ssm.DeleteAssociationInput{AssociationId: &id}); err != nil {
		t.Fatal(err)
	}
	w.work()
	if list := w.offer(first); len(list) != 1 || !strings.Contains(list[0].Topic, "cancelCommand") {
		t.Errorf("messages after the end: %v", list)
	}
	if n := w.take(second, command.Success); n != 0 || len(w.executions(id)) != 0 {
		t.Errorf("%d nodes are run after the end, %d executions are left", n, len(w.executions(id)))
	}
}

// What a node's own agent does not report of in time has timed out; the rest of the run is not held up by it for longer,
// and a report that comes later is not taken.
func TestAgentThatNeverReports(t *testing.T) {
	t.Parallel()
	w := lite(t)
	own, ours := w.joinWith(1, "amazon-ssm-agent", web), w.join(2, web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.Name, in.Parameters = new("AWS-GatherSoftwareInventory"), nil })
	w.work()
	if n := w.take(own, command.Success); n != 0 {
		t.Errorf("the AWS agent is sent %d commands that it refuses", n)
	}
	if n := w.take(ours, command.Success); n != 1 {
		t.Errorf("the other agent is sent %d commands, want 1", n)
	}
	w.later(ownWithin - time.Minute)
	w.want(id, inProgress)
	w.later(2 * time.Minute)
	w.want(id, timedOut)
	if got := w.executions(id)[0].Counts; got != "{Success=1, TimedOut=1}" {
		t.Errorf("counts %s", got)
	}
	_, err := w.UpdateInstanceAssociationStatus(w.ctx, &ssm.UpdateInstanceAssociationStatusInput{AssociationId: &id, InstanceId: &own, ExecutionResult: &ssm.InstanceAssociationExecutionResult{Status: new(success)}})
	if err != nil {
		t.Error(err)
	}
	w.work()
	w.update(func(tx *store.Tx) error {
		n, err := tx.AssociationNode(scope, id, own)
		if n.Status != timedOut {
			t.Errorf("after a late report it is %s", n.Status)
		}
		return err
	})
	w.update(func(tx *store.Tx) error { return tx.Schedule(store.WorkNodeChanged, scope, own, tx.Now()) }) // it is back
	w.work()
	w.want(id, inProgress, timedOut)
}

// A document that an association follows is run again when it has another version; one that it names by number is not.
func TestNewDocumentVersionRuns(t *testing.T) {
	t.Parallel()
	w := lite(t)
	node := w.join(1, web)
	content := func(says string) *string {
		return new(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"x","inputs":{"runCommand":["echo ` + says + `"]}}]}`)
	}
	if _, err := w.documents.CreateDocument(w.ctx, &ssm.CreateDocumentInput{Name: new("Greet"), DocumentType: new("Command"), Content: content("one")}); err != nil {
		t.Fatal(err)
	}
	follows := w.create(func(in *ssm.CreateAssociationInput) {
		in.Name, in.Parameters, in.DocumentVersion = new("Greet"), nil, new("$LATEST")
	})
	fixed := w.create(func(in *ssm.CreateAssociationInput) {
		in.Name, in.Parameters, in.DocumentVersion = new("Greet"), nil, new("1")
	})
	w.work()
	w.take(node, command.Success)
	w.work()
	if _, err := w.documents.UpdateDocument(w.ctx, &ssm.UpdateDocumentInput{Name: new("Greet"), Content: content("two"), DocumentVersion: new("$LATEST")}); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.take(node, command.Success)
	w.work()
	w.want(follows, success, success)
	w.want(fixed, success)
}

// Who begins a run and who changes the association lock in one order: neither waits for the other for ever.
func TestBeginningAndChangingDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, store.Config{URL: oakumtest.Postgres(t) + "&options=-c%20deadlock_timeout%3D20s"})
	id := w.create(func(in *ssm.CreateAssociationInput) {
		in.ScheduleExpression, in.ApplyOnlyAtCronInterval = new("cron(0 2 ? * * *)"), new(true)
	})
	w.clock = time.Date(2027, 1, 21, 2, 0, 1, 0, time.UTC)
	items := w.claim(1)
	done := make(chan error)
	begun := time.Now()
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		if _, err := tx.LockAssociation(scope, id); err != nil {
			return err
		}
		go func() { done <- w.Run(w.ctx, items[0]) }()
		time.Sleep(300 * time.Millisecond) // the run waits for the association
		return tx.Unschedule(WorkRun, scope, id)
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a deadlock: %s", took)
	}
}

func TestSum(t *testing.T) {
	for _, tc := range []struct {
		counts           map[string]int64
		status, detailed string
		text             string
	}{
		{map[string]int64{success: 3}, success, success, "{Success=3}"},
		{map[string]int64{success: 3, skipped: 1}, success, success, "{Skipped=1, Success=3}"},
		{map[string]int64{success: 3, failed: 1, timedOut: 2}, failed, failed, "{Failed=1, Success=3, TimedOut=2}"},
		{map[string]int64{success: 3, timedOut: 2}, failed, timedOut, "{Success=3, TimedOut=2}"},
		{map[string]int64{skipped: 2}, skipped, skipped, "{Skipped=2}"},
		{nil, skipped, noTargets, "{}"},
	} {
		if status, detailed := sum(tc.counts); status != tc.status || detailed != tc.detailed || countsText(tc.counts) != tc.text {
			t.Errorf("sum(%v) = %s, %s; %s", tc.counts, status, detailed, countsText(tc.counts))
		}
	}
}

func TestTimeoutFollowsTheTurns(t *testing.T) {
	for _, tc := range []struct {
		tag                string
		concurrency, nodes int
		want               time.Duration
	}{
		{"", 50, 0, 10 * time.Minute},
		{"", 50, 50, 10 * time.Minute},
		{"", 50, 51, 40 * time.Minute},
		{"", 1, 24, 10*time.Minute + 23*30*time.Minute},
		{"", 1, 100_000, 720 * time.Hour},
		{"60", 1, 24, time.Minute},
		{"29", 50, 1, 10 * time.Minute},
		{"x", 50, 1, 10 * time.Minute},
	} {
		got := timeout([]store.Tag{{Key: TimeoutTag, Value: tc.tag}}, tc.concurrency, tc.nodes)
		if time.Duration(got)*time.Second != tc.want {
			t.Errorf("timeout(%q, %d, %d) = %ds, want %s", tc.tag, tc.concurrency, tc.nodes, got, tc.want)
		}
	}
}

// Two servers on one database work at the same time: every instant is run once, and neither waits for the other for ever.
//
// proves R-39
func TestTwoServers(t *testing.T) {
	t.Parallel()
	url := oakumtest.Postgres(t)
	a, b := newWorld(t, store.Config{URL: url}), newWorld(t, store.Config{URL: url})
	var nodes, ids []string
	for n := range 4 {
		nodes = append(nodes, a.join(n+1, web))
	}
	for range 3 {
		ids = append(ids, a.create(func(in *ssm.CreateAssociationInput) { in.ScheduleExpression = new("rate(30 minutes)") }))
	}
	const rounds = 6
	for range rounds {
		var g errgroup.Group
		for _, w := range []*world{a, b} {
			g.Go(func() error {
				for range 60 { // they meet at the same items
					var items []store.WorkItem
					err := w.store.Update(w.ctx, func(tx *store.Tx) (err error) { items, err = tx.ClaimWork(time.Minute, 1); return err })
					if err != nil {
						return err
					}
					for _, i := range items {
						if err := w.handle(i); err != nil {
							return err
						}
					}
				}
				return nil
			})
			g.Go(func() error {
				for _, id := range nodes {
					p := iam.Principal{Kind: iam.Node, Account: scope.Account, Region: scope.Region, NodeID: id}
					list, _, err := w.commands.Offer(w.ctx, p, time.Minute)
					if err != nil {
						return err
					}
					for _, m := range list {
						if err := w.commands.TakeReply(w.ctx, p, m.ID, command.Reply{Details: command.Success}); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		for range 10 { // what they have left to each other
			a.work()
			for _, id := range nodes {
				a.take(id, command.Success)
			}
			a.clock = a.clock.Add(time.Minute) // past the visibility of what was offered
			b.clock = a.clock
		}
		a.clock = a.clock.Add(20 * time.Minute)
		b.clock = a.clock
	}
	for _, id := range ids {
		got := a.statuses(id)
		if len(got) != rounds || slices.ContainsFunc(got, func(s string) bool { return s != success }) {
			t.Errorf("executions %v, want %d, all successful", got, rounds)
		}
	}
	sound(a, ids)
}

// An association that every node ignored has not succeeded: its command is Failed too.
func TestEveryNodeIgnored(t *testing.T) {
	t.Parallel()
	w := lite(t)
	w.join(1, web)
	w.join(2, web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.Name, in.Parameters = new("AWS-FindWindowsUpdates"), nil })
	w.work()
	w.want(id, skipped)
	out, err := w.DescribeAssociation(w.ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
	if err != nil {
		t.Fatal(err)
	}
	o := out.AssociationDescription.Overview
	if *o.Status != failed || *o.DetailedStatus != failed || !maps.Equal(o.AssociationStatusAggregatedCount, map[string]int64{skipped: 2}) {
		t.Errorf("overview %s, %s, %v", *o.Status, *o.DetailedStatus, o.AssociationStatusAggregatedCount)
	}
	if out.AssociationDescription.LastSuccessfulExecutionDate != nil {
		t.Error("it has a successful execution")
	}
}

func TestStanding(t *testing.T) {
	for _, tc := range []struct {
		counts           map[string]int64
		running          bool
		refused          string
		status, detailed string
	}{
		{map[string]int64{success: 2}, false, "", success, success},
		{map[string]int64{success: 1, skipped: 2}, false, "", success, success},
		{map[string]int64{skipped: 2}, false, "", failed, failed},
		{map[string]int64{skipped: 2}, true, "", pending, inProgress},
		{map[string]int64{skipped: 1, pending: 1}, false, "", pending, inProgress},
		{map[string]int64{success: 1, skipped: 1, timedOut: 1}, false, "", failed, timedOut},
		{map[string]int64{success: 1, failed: 1, timedOut: 1}, false, "", failed, failed},
		{map[string]int64{success: 1}, false, "InvalidDocument", failed, "InvalidDocument"},
		{nil, false, "", pending, associated},
	} {
		if o := standing(tc.counts, tc.running, tc.refused); o.Status != tc.status || o.Detailed != tc.detailed {
			t.Errorf("standing(%v, %t, %q) = %s, %s, want %s, %s", tc.counts, tc.running, tc.refused, o.Status, o.Detailed, tc.status, tc.detailed)
		}
	}
}

// What a node's agent says at length is cut between characters: PostgreSQL takes no half of one.
func TestLongSummary(t *testing.T) {
	t.Parallel()
	w := lite(t)
	own := w.joinWith(1, "amazon-ssm-agent", web)
	id := w.create(func(in *ssm.CreateAssociationInput) { in.Name, in.Parameters = new("AWS-GatherSoftwareInventory"), nil })
	w.work()
	_, err := w.UpdateInstanceAssociationStatus(w.ctx, &ssm.UpdateInstanceAssociationStatusInput{AssociationId: &id, InstanceId: &own, ExecutionResult: &ssm.InstanceAssociationExecutionResult{
		Status: new(success), ExecutionSummary: new(strings.Repeat("x", 509) + "ééé"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error {
		n, err := tx.AssociationNode(scope, id, own)
		if want := strings.Repeat("x", 509) + "é"; n.Summary != want || n.Status != success {
			t.Errorf("%s, summary %q", n.Status, n.Summary)
		}
		return err
	})
}

// A filter by CreatedTime compares what the time is told as, to the millisecond; a time without a fraction equals all of
// its second.
func TestCreatedTimeFilter(t *testing.T) {
	e := store.AssociationExecution{CreatedAt: time.Date(2027, 1, 20, 22, 0, 5, 123_456_000, time.UTC)}
	for _, tc := range []struct {
		value                string
		equal, less, greater bool
	}{
		{"2027-01-20T22:00:05.123Z", true, false, false},
		{"2027-01-20T23:00:05.123000+01:00", true, false, false},
		{"2027-01-20T22:00:05.124Z", false, true, false},
		{"2027-01-20T22:00:05.122Z", false, false, true},
		{"2027-01-20T22:00:05.000Z", false, false, true},
		{"2027-01-20T22:00:05Z", true, false, true},
		{"2027-01-20T22:00:06Z", false, true, false},
		{"2027-01-20T22:00:04Z", false, false, true},
	} {
		for how, want := range map[string]bool{
			ssm.AssociationFilterOperatorTypeEqual: tc.equal, ssm.AssociationFilterOperatorTypeLessThan: tc.less, ssm.AssociationFilterOperatorTypeGreaterThan: tc.greater,
		} {
			f, err := executionFilters([]ssm.AssociationExecutionFilter{{Key: new(ssm.AssociationExecutionFilterKeyCreatedTime), Value: new(tc.value), Type: new(how)}})
			if err != nil {
				t.Fatal(err)
			}
			if got := f[0].takes(e); got != want {
				t.Errorf("%s %s: %t", how, tc.value, got)
			}
		}
	}
}

// Schedules that no association can have are refused, whichever way it is made, and change nothing.
func TestRefusedSchedules(t *testing.T) {
	t.Parallel()
	w := lite(t)
	id := w.create(nil)
	w.work()
	parameters, all := map[string][]string{"commands": {"true"}}, []ssm.Target{{Key: new("InstanceIds"), Values: []string{"*"}}}
	for _, tc := range []struct {
		name, schedule string
		onlyAtInterval bool
	}{
		{"no_interval", "", true},
		{"no_cron_interval", "rate(1 day)", true},
		{"never", "cron(0 2 30 2 ? *)", false},
		{"never_at_an_interval", "cron(0 2 31 4,6 ? *)", true},
	} {
		var expression *string
		if tc.schedule != "" {
			expression = &tc.schedule
		}
		_, err := w.CreateAssociation(w.ctx, &ssm.CreateAssociationInput{
			Name: new("AWS-RunShellScript"), Parameters: parameters, Targets: all, ScheduleExpression: expression, ApplyOnlyAtCronInterval: &tc.onlyAtInterval,
		})
		if awserr.Code(err) != "InvalidSchedule" {
			t.Errorf("%s: CreateAssociation: %v", tc.name, err)
		}
		batch, err := w.CreateAssociationBatch(w.ctx, &ssm.CreateAssociationBatchInput{Entries: []ssm.CreateAssociationBatchRequestEntry{
			{Name: new("AWS-RunShellScript"), Parameters: parameters, Targets: all, ScheduleExpression: expression, ApplyOnlyAtCronInterval: &tc.onlyAtInterval},
		}})
		if err != nil || len(batch.Failed) != 1 || !strings.Contains(*batch.Failed[0].Message, "InvalidSchedule") {
			t.Errorf("%s: CreateAssociationBatch: %+v, %v", tc.name, batch, err)
		}
		_, err = w.UpdateAssociation(w.ctx, &ssm.UpdateAssociationInput{AssociationId: &id, Parameters: parameters, ScheduleExpression: expression, ApplyOnlyAtCronInterval: &tc.onlyAtInterval})
		if awserr.Code(err) != "InvalidSchedule" {
			t.Errorf("%s: UpdateAssociation: %v", tc.name, err)
		}
	}
	list, err := w.ListAssociations(w.ctx, &ssm.ListAssociationsInput{})
	if err != nil || len(list.Associations) != 1 || *list.Associations[0].AssociationVersion != "1" {
		t.Errorf("associations %+v, %v", list, err)
	}
}

// No association is one of a node that does not exist.
func TestListOfNoNode(t *testing.T) {
	t.Parallel()
	w := lite(t)
	node := w.join(1)
	w.create(func(in *ssm.CreateAssociationInput) {
		in.Targets = []ssm.Target{{Key: new("InstanceIds"), Values: []string{"*"}}}
	})
	for id, want := range map[string]int{node: 1, "mi-0000000000000ffff": 0} {
		out, err := w.ListAssociations(w.ctx, &ssm.ListAssociationsInput{AssociationFilterList: []ssm.AssociationFilter{{Key: new(ssm.AssociationFilterKeyInstanceId), Value: &id}}})
		if err != nil || len(out.Associations) != want {
			t.Errorf("%s: %+v, %v, want %d", id, out, err, want)
		}
	}
}

// The status of an association names the document that it is with, since when.
func TestStatusNamesTheDocument(t *testing.T) {
	t.Parallel()
	w := lite(t)
	id := w.create(nil)
	w.clock = w.clock.Add(time.Hour)
	change := func(in *ssm.UpdateAssociationInput, message string, date time.Time) {
		t.Helper()
		in.AssociationId = &id
		out, err := w.UpdateAssociation(w.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		said, err := w.DescribeAssociation(w.ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*ssm.AssociationStatus{out.AssociationDescription.Status, said.AssociationDescription.Status} {
			if *s.Name != "Associated" || *s.Message != message || !s.Date.Equal(date) {
				t.Errorf("status %s, %s, %s", *s.Name, *s.Message, s.Date)
			}
		}
	}
	change(&ssm.UpdateAssociationInput{Parameters: map[string][]string{"commands": {"false"}}}, "Associated with AWS-RunShellScript", beginning)
	change(&ssm.UpdateAssociationInput{Name: new("AWS-RunPatchBaseline"), Parameters: map[string][]string{"Operation": {"Scan"}}}, "Associated with AWS-RunPatchBaseline", w.clock)
}

// Nodes whose own agents never report are ended by and by: no transaction has more of them than nodesPerTurn.
func TestManyAgentsThatNeverReport(t *testing.T) {
	t.Parallel()
	w := lite(t)
	const nodes = nodesPerTurn + 20
	w.update(func(tx *store.Tx) error {
		for n := range nodes {
			id := fmt.Sprintf("mi-%017x", n+1)
			row := store.Node{Account: scope.Account, Region: scope.Region, ID: id, Num: int64(n + 1), PublicKey: []byte{1}, RegisteredAt: tx.Now(), LastPingAt: tx.Now(), PlatformType: "Linux", AgentName: "amazon-ssm-agent"}
			if err := errors.Join(tx.PutTag(scope, "ManagedInstance", id, web), tx.InsertNode(row)); err != nil {
				return err
			}
		}
		return nil
	})
	id := w.create(func(in *ssm.CreateAssociationInput) { in.Name, in.Parameters = new("AWS-GatherSoftwareInventory"), nil })
	w.work()
	w.want(id, inProgress)
	w.clock = w.clock.Add(ownWithin)
	var ended []int
	for items := w.claim(1); len(items) > 0; items = w.claim(1) {
		if err := w.handle(items[0]); err != nil {
			t.Fatal(err)
		}
		n := 0
		w.update(func(tx *store.Tx) error {
			list, err := tx.AssociationNodes(scope, id, "", 2*nodes)
			for _, a := range list {
				if !a.EndedAt.IsZero() {
					n++
				}
			}
			return err
		})
		ended = append(ended, n)
		if done := w.statuses(id)[0] != inProgress; done != (n == nodes) {
			t.Errorf("with %d nodes ended the execution is %s", n, w.statuses(id)[0])
		}
	}
	if len(ended) < 2 || ended[0] != nodesPerTurn || ended[len(ended)-1] != nodes {
		t.Errorf("nodes ended after each turn: %v", ended)
	}
	w.want(id, timedOut)
	if got := w.executions(id)[0].Counts; got != fmt.Sprintf("{TimedOut=%d}", nodes) {
		t.Errorf("counts %s", got)
	}
}
