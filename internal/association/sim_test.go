package association

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakum.dev/iam"
	"oakum.dev/internal/command"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/page"
	"oakum.dev/internal/report"
	"oakum.dev/internal/ssmdocument"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

var (
	scope     = store.Scope{Account: "000000000001", Region: "us-east-1"}
	beginning = time.Date(2027, 1, 20, 22, 0, 0, 0, time.UTC)
	errKilled = errors.New("killed")
)

// world is a server without a network: its store, Run Command and associations, at a time that the test moves.
type world struct {
	*Service
	t         testing.TB
	ctx       context.Context
	commands  *command.Service
	documents *ssmdocument.Service
	clock     time.Time
	kill      func() bool // before the commit of what is being done
}

// SendIn and CancelIn are those of Run Command, after which the server may be killed.
func (w *world) SendIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, origin string, notAfter time.Time) (store.Command, []string, error) {
	c, wake, err := w.commands.SendIn(ctx, tx, in, origin, notAfter)
	if err == nil && w.kill() {
		err = errKilled
	}
	return c, wake, err
}

func (w *world) CancelIn(tx *store.Tx, sc store.Scope, id string) ([]string, error) {
	wake, err := w.commands.CancelIn(tx, sc, id)
	if err == nil && w.kill() {
		err = errKilled
	}
	return wake, err
}

// killable makes a Commands of the world and Run Command's other methods.
type killable struct {
	*command.Service
	w *world
}

func (k killable) SendIn(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput, origin string, notAfter time.Time) (store.Command, []string, error) {
	return k.w.SendIn(ctx, tx, in, origin, notAfter)
}

func (k killable) CancelIn(tx *store.Tx, sc store.Scope, id string) ([]string, error) {
	return k.w.CancelIn(tx, sc, id)
}

func newWorld(t testing.TB, c store.Config) *world {
	t.Helper()
	w := &world{t: t, clock: beginning, kill: func() bool { return false }}
	c.Now = func() time.Time { return w.clock }
	st, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	pages, log := page.Book{Pager: &codec.Pager{Key: make([]byte, 32)}}, slog.New(slog.DiscardHandler)
	w.documents = ssmdocument.New(st, pages)
	w.commands = command.New(st, w.documents, pages, rand.Reader, c.Now, log)
	w.Service = New(st, pages, killable{w.commands, w}, report.New(st, pages, nobody{}, rand.Reader, c.Now), rand.Reader, c.Now, log)
	w.ctx = iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Administrator, Account: scope.Account, Region: scope.Region})
	return w
}

// nobody is heard of beside what is stored.
type nobody struct{}

func (nobody) Lay([]store.Node)               {}
func (nobody) Unwritten(store.Scope) []string { return nil }

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

// join registers a node, which is heard of at once.
func (w *world) join(n int, tags ...store.Tag) string {
	w.t.Helper()
	return w.joinWith(n, "oakum", tags...)
}

func (w *world) joinWith(n int, agent string, tags ...store.Tag) string {
	w.t.Helper()
	id := fmt.Sprintf("mi-%017x", n)
	w.update(func(tx *store.Tx) error {
		for _, t := range tags {
			if err := tx.PutTag(scope, "ManagedInstance", id, t); err != nil {
				return err
			}
		}
		row := store.Node{Account: scope.Account, Region: scope.Region, ID: id, Num: int64(n), PublicKey: []byte{1}, RegisteredAt: tx.Now(), LastPingAt: tx.Now(), PlatformType: "Linux", AgentName: agent}
		if err := tx.InsertNode(row); err != nil {
			return err
		}
		return tx.Schedule(store.WorkNodeChanged, scope, id, tx.Now())
	})
	return id
}

// handle does a work item.
func (w *world) handle(i store.WorkItem) error {
	switch i.Kind {
	case command.WorkExpire:
		return w.commands.Expire(w.ctx, i)
	case WorkRun:
		return w.Run(w.ctx, i)
	case WorkStart:
		return w.Start(w.ctx, i)
	case WorkStep:
		return w.Step(w.ctx, i)
	case WorkGone:
		return w.Gone(w.ctx, i)
	case store.WorkAssociationSkipped:
		return w.Skip(w.ctx, i)
	case store.WorkNodeChanged:
		return w.NodeChanged(w.ctx, i)
	case store.WorkDocumentChanged:
		return w.DocumentChanged(w.ctx, i)
	}
	return fmt.Errorf("work of the kind %s", i.Kind)
}

func (w *world) claim(limit int) (items []store.WorkItem) {
	w.t.Helper()
	w.update(func(tx *store.Tx) (err error) { items, err = tx.ClaimWork(time.Minute, limit); return err })
	return items
}

// work does what is due, until nothing is.
func (w *world) work() {
	w.t.Helper()
	for range 500 {
		items := w.claim(10)
		if len(items) == 0 {
			return
		}
		for _, i := range items {
			if err := w.handle(i); err != nil {
				w.t.Fatalf("%s %s: %v", i.Kind, i.Subject, err)
			}
		}
	}
	w.t.Fatal("the work does not end")
}

// later moves the clock and does what is due meanwhile.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	w.clock = w.clock.Add(d)
	w.work()
}

// offer has a node take its messages and acknowledge them.
func (w *world) offer(id string) []command.Message {
	w.t.Helper()
	p := iam.Principal{Kind: iam.Node, Account: scope.Account, Region: scope.Region, NodeID: id}
	list, _, err := w.commands.Offer(w.ctx, p, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range list {
		if err := w.commands.Acknowledge(w.ctx, p, m.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	return list
}

// take has a node take its messages and answer those that carry commands.
func (w *world) take(id, result string) int {
	w.t.Helper()
	p := iam.Principal{Kind: iam.Node, Account: scope.Account, Region: scope.Region, NodeID: id}
	n := 0
	for _, m := range w.offer(id) {
		if strings.Contains(m.Topic, "sendCommand") {
			n++
			if err := w.commands.TakeReply(w.ctx, p, m.ID, command.Reply{Details: result}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return n
}

func (w *world) create(change func(*ssm.CreateAssociationInput)) string {
	w.t.Helper()
	in := &ssm.CreateAssociationInput{
		Name: new("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"true"}}, Targets: []ssm.Target{{Key: new("tag:Group"), Values: []string{"web"}}},
	}
	if change != nil {
		change(in)
	}
	out, err := w.CreateAssociation(w.ctx, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.AssociationDescription.AssociationId
}

func (w *world) executions(id string) (out []store.AssociationExecution) {
	w.t.Helper()
	err := w.store.View(w.ctx, func(tx *store.Tx) (err error) {
		out, err = tx.AssociationExecutions(scope, id, time.UnixMicro(1<<62), "", 10000)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// Whatever happens in whatever order, with the server killed in the middle of it, messages and answers lost and work done
// twice: no run is begun twice, no command is without its execution, and in the end every node that matches has been run
// by the version that holds, with its compliance, and no other node has.
//
// proves R-39
func TestAssociationsSimulated(t *testing.T) {
	seed := mathrand.Uint64()
	if text := os.Getenv("OAKUM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	rounds := map[string]int{"sqlite": 4, "postgres": 1}
	if os.Getenv("OAKUM_SOAK_SECONDS") != "" {
		rounds = map[string]int{"sqlite": 60, "postgres": 15}
	}
	for engine, n := range rounds {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			for round := range n {
				c := store.Config{Path: filepath.Join(t.TempDir(), "oakum.db")}
				if engine == "postgres" {
					c = store.Config{URL: oakumtest.Postgres(t)}
				}
				simulate(newWorld(t, c), mathrand.New(mathrand.NewPCG(seed, uint64(round))))
				if t.Failed() {
					t.Fatalf("OAKUM_SEED=%d, round %d", seed, round)
				}
			}
		})
	}
}

func simulate(w *world, r *mathrand.Rand) {
	t := w.t
	web := store.Tag{Key: "Group", Value: "web"}
	in := map[string]bool{} // by node: whether it matches
	var nodes []string
	add := func() {
		var tags []store.Tag
		if r.IntN(3) > 0 {
			tags = append(tags, web)
		}
		id := w.join(len(nodes)+1, tags...)
		nodes, in[id] = append(nodes, id), len(tags) > 0
	}
	for range 1 + r.IntN(4) {
		add()
	}
	schedules := []*string{nil, new("rate(30 minutes)"), new("rate(2 hours)"), new("cron(0 */1 * * ? *)")}
	var ids []string
	for range 1 + r.IntN(2) {
		ids = append(ids, w.create(func(in *ssm.CreateAssociationInput) {
			in.ScheduleExpression, in.MaxConcurrency = schedules[r.IntN(len(schedules))], new([]string{"1", "50%", "100%"}[r.IntN(3)])
			if r.IntN(4) == 0 {
				in.Duration = new(int64(1))
			}
		}))
	}
	var stale []store.WorkItem
	w.kill = func() bool { return r.IntN(6) == 0 }
	for range 80 {
		switch node := nodes[r.IntN(len(nodes))]; r.IntN(14) {
		case 0, 1, 2:
			w.clock = w.clock.Add(time.Duration(1+r.IntN(25)) * time.Minute)
		case 3: // the node takes its messages, and they or the acknowledgement are lost
			p := iam.Principal{Kind: iam.Node, Account: scope.Account, Region: scope.Region, NodeID: node}
			if _, _, err := w.commands.Offer(w.ctx, p, 0); err != nil {
				t.Fatal(err)
			}
		case 4, 5, 6:
			w.take(node, []string{command.Success, command.Success, command.Failed}[r.IntN(3)])
		case 7:
			if len(nodes) < 6 {
				add()
			}
		case 8: // its tags change
			w.update(func(tx *store.Tx) error {
				if in[node] {
					if err := tx.DeleteTag(scope, "ManagedInstance", node, web.Key); err != nil {
						return err
					}
				} else if err := tx.PutTag(scope, "ManagedInstance", node, web); err != nil {
					return err
				}
				return tx.Schedule(store.WorkNodeChanged, scope, node, tx.Now())
			})
			in[node] = !in[node]
		case 9:
			d := &ssm.UpdateAssociationInput{AssociationId: &ids[r.IntN(len(ids))], Parameters: map[string][]string{"commands": {"echo " + strconv.Itoa(r.IntN(9))}}, ScheduleExpression: schedules[r.IntN(len(schedules))]}
			if _, err := w.UpdateAssociation(w.ctx, d); err != nil {
				t.Fatal(err)
			}
		case 10:
			if _, err := w.StartAssociationsOnce(w.ctx, &ssm.StartAssociationsOnceInput{AssociationIds: ids[:1]}); err != nil {
				t.Fatal(err)
			}
		case 11: // the server is killed with items in hand; it, or another one, does them later
			w.claim(3)
		case 12: // a server that slept does what another one has done long since
			for _, i := range stale {
				if err := w.handle(i); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
			}
			stale = nil
		}
		for _, i := range w.claim(r.IntN(6)) {
			if err := w.handle(i); err == nil {
				stale = append(stale, i)
			} else if !errors.Is(err, errKilled) {
				t.Fatalf("%s %s: %v", i.Kind, i.Subject, err)
			}
		}
		if !sound(w, ids) {
			return
		}
	}
	// All is well for a while.
	w.kill = func() bool { return false }
	for _, id := range nodes {
		w.update(func(tx *store.Tx) error {
			if err := tx.SavePing(store.Node{Account: scope.Account, Region: scope.Region, ID: id, LastPingAt: tx.Now()}); err != nil {
				return err
			}
			return tx.Schedule(store.WorkNodeChanged, scope, id, tx.Now())
		})
	}
	for range 120 {
		w.later(time.Minute)
		for _, id := range nodes {
			w.take(id, command.Success)
			w.update(func(tx *store.Tx) error {
				return tx.SavePing(store.Node{Account: scope.Account, Region: scope.Region, ID: id, LastPingAt: tx.Now()})
			})
		}
		w.later(16 * time.Second)
		if !sound(w, ids) {
			return
		}
	}
	settled(w, ids, in)
}

// sound checks what holds at any time.
func sound(w *world, ids []string) bool {
	sent := map[string]string{}
	for _, id := range ids {
		open, at := 0, map[time.Time]int{}
		for _, e := range w.executions(id) {
			if e.NodeID == "" {
				if e.EndedAt.IsZero() {
					open++
				}
				at[e.CreatedAt]++
			}
			if e.CommandID != "" {
				if other := sent[e.CommandID]; other != "" {
					w.t.Errorf("command %s is of two executions, %s and %s", e.CommandID, other, e.ID)
				}
				sent[e.CommandID] = e.ID
			}
		}
		if open > 1 {
			w.t.Errorf("%d executions of %s run beside each other", open, id)
		}
	}
	err := w.store.View(w.ctx, func(tx *store.Tx) error {
		list, err := tx.Commands(scope, time.UnixMicro(1<<62), "", 10000)
		for _, c := range list {
			if sent[c.ID] == "" {
				w.t.Errorf("command %s has no execution", c.ID)
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return !w.t.Failed()
}

// settled checks what has come of it all.
func settled(w *world, ids []string, in map[string]bool) {
	err := w.store.View(w.ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			a, d, err := read(tx, scope, id)
			if err != nil {
				return err
			}
			for _, e := range w.executions(id) {
				if e.EndedAt.IsZero() && w.clock.Sub(e.CreatedAt) > 10*time.Minute {
					w.t.Errorf("execution %s, begun at %s, does not end", e.ID, e.CreatedAt)
				}
			}
			for node, matches := range in {
				n, err := tx.AssociationNode(scope, id, node)
				switch {
				case errors.Is(err, store.ErrNotFound):
					if matches {
						w.t.Errorf("%s has not run on %s", id, node)
					}
					continue
				case err != nil:
					return err
				case !matches:
					w.t.Errorf("%s still stands on %s, which does not match: %+v", id, node, n)
				case n.Version != a.Version:
					w.t.Errorf("%s ran on %s as version %d, it is %d", id, node, n.Version, a.Version)
				case n.EndedAt.IsZero() && w.clock.Sub(n.RunAt) > 10*time.Minute:
					w.t.Errorf("%s does not end on %s", id, node)
				case n.DetailedStatus == deliveryTimedOut && codec.Value(d.Duration) == 0:
					w.t.Errorf("%s did not reach %s, and has not run since", id, node)
				}
				sets, err := tx.ComplianceSets(scope, node)
				if err != nil {
					return err
				}
				text := ""
				for _, c := range sets {
					b, err := tx.Content(scope.Account, c.ContentHash)
					if err != nil {
						return err
					}
					text += string(b)
				}
				status := map[bool]string{true: "COMPLIANT", false: "NON_COMPLIANT"}[n.Status == success]
				if !n.EndedAt.IsZero() && (!strings.Contains(text, id) || len(ids) == 1 && !strings.Contains(text, `"Status":"`+status+`"`)) {
					w.t.Errorf("%s is %s on %s, whose compliance is %s", id, n.Status, node, text)
				}
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
