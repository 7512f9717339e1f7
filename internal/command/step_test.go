package command

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/store"
	"oakum.dev/target"
)

var t0 = time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)

// seeded returns a random source and prints how to get it again if the test fails.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("OAKUM_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("OAKUM_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func claimed() (store.Command, store.Invocation) {
	c := store.Command{TargetCount: 1, ConcurrencyLimit: 1, Status: Pending, StatusDetails: Pending}
	v := store.Invocation{NodeID: "mi-1", Status: Pending, StatusDetails: Pending}
	c, v, _ = Step(c, v, Event{Kind: Claimed}, t0)
	return c, v
}

// A node's replies and acknowledgements lead to the same row in any order and with any repetition.
//
// proves R-04
func TestRepliesInAnyOrderGiveTheSameRow(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	steps := []string{"one", "two"}
	for range 3000 {
		// A history as a node may have sent it: steps that start, perhaps reboot, and end; then one end of the whole.
		var events []Event
		events = append(events, Event{Kind: Delivered}, Event{Kind: Replied, Details: InProgress})
		plugins := Plugins{}
		for i, name := range steps {
			at := t0.Add(time.Duration(i) * time.Minute)
			started := at.Format(time.RFC3339)
			for range r.IntN(2) {
				plugins[name] = Plugin{Name: name, Status: "SuccessAndReboot", Code: 194, Started: started, Ended: at.Add(time.Second).Format(time.RFC3339)}
				events = append(events, Event{Kind: Replied, Details: InProgress, Plugins: copyPlugins(plugins), Trace: fmt.Sprint("rebooting ", name)})
			}
			plugins[name] = Plugin{Name: name, Status: "InProgress", Started: started}
			events = append(events, Event{Kind: Replied, Details: InProgress, Plugins: copyPlugins(plugins)})
			status := []string{"Success", "Failed", "TimedOut", "Cancelled"}[r.IntN(4)]
			plugins[name] = Plugin{Name: name, Status: status, Code: r.IntN(3), Stdout: fmt.Sprint("out", r.IntN(5)), Started: started, Ended: at.Add(2 * time.Second).Format(time.RFC3339)}
			events = append(events, Event{Kind: Replied, Details: InProgress, Plugins: copyPlugins(plugins), Trace: "running"})
		}
		last := []string{Success, Failed, ExecutionTimedOut, Cancelled}[r.IntN(4)]
		events = append(events, Event{Kind: Replied, Details: last, Plugins: copyPlugins(plugins), Trace: []string{"", "the end"}[r.IntN(2)]})

		run := func(list []Event) (store.Command, store.Invocation) {
			c, v := claimed()
			for _, e := range list {
				c, v, _ = Step(c, v, e, t0)
			}
			return c, v
		}
		wantC, wantV := run(events)
		shuffled := append([]Event{}, events...)
		for range r.IntN(6) {
			shuffled = append(shuffled, events[r.IntN(len(events))])
		}
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		gotC, gotV := run(shuffled)
		if d := cmp.Diff(wantV, gotV); d != "" {
			t.Fatalf("invocation (-in order +shuffled):\n%s\nevents: %+v", d, shuffled)
		}
		if d := cmp.Diff(wantC, gotC); d != "" {
			t.Fatalf("command (-in order +shuffled):\n%s\nevents: %+v", d, shuffled)
		}
	}
}

func copyPlugins(p Plugins) Plugins {
	out := Plugins{}
	for k, v := range p {
		out[k] = v
	}
	return out
}

var eventKinds = []EventKind{Claimed, Delivered, Replied, CancelAsked, Expired, Dropped, Refused}

func randomEvent(r *rand.Rand) Event {
	e := Event{Kind: eventKinds[r.IntN(len(eventKinds))], Offered: r.IntN(2) == 0}
	switch e.Kind {
	case Replied:
		e.Details = []string{InProgress, Success, Failed, ExecutionTimedOut, Cancelled}[r.IntN(5)]
	case Dropped:
		e.Details = []string{Terminated, Undeliverable, InvalidPlatform}[r.IntN(3)]
	}
	return e
}

// Whatever happens afterwards, an ended invocation keeps its status and end; a result that comes late is kept
// beside it. Counters always agree with the invocations.
//
// proves R-05
func TestTerminalIsSticky(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 20000 {
		c := store.Command{TargetCount: 1, ConcurrencyLimit: 1, Status: Pending, StatusDetails: Pending}
		v := store.Invocation{Status: Pending, StatusDetails: Pending}
		now := t0
		for range 12 {
			now = now.Add(time.Second)
			e := randomEvent(r)
			before, wasDelivered := v, v.Delivered
			var fx Effects
			c, v, fx = Step(c, v, e, now)
			if Ended(before.Status) && (v.Status != before.Status || v.StatusDetails != before.StatusDetails || !v.EndedAt.Equal(before.EndedAt)) {
				t.Fatalf("%+v replaced %s by %s", e, before.StatusDetails, v.StatusDetails)
			}
			if Ended(before.Status) && e.Kind == Replied && Ended(coarse[e.Details]) && e.Details != before.StatusDetails && v.LateResult == "" {
				t.Fatalf("%+v after %s was not kept", e, before.StatusDetails)
			}
			if wasDelivered && !v.Delivered {
				t.Fatalf("%+v undid the delivery", e)
			}
			if (e.Kind == Delivered || e.Kind == Replied || e.Kind == Refused) && !fx.DropMessage {
				t.Fatalf("after %+v the message may be offered again", e)
			}
			if e.Kind == CancelAsked && !before.Delivered && !Ended(before.Status) && !Ended(v.Status) {
				t.Fatalf("cancelled before delivery, yet %s", v.StatusDetails)
			}
			open := int64(0)
			if v.Claimed && !Ended(v.Status) {
				open = 1
			}
			if c.InFlight != open || c.CompletedCount != 1-boolInt(!Ended(v.Status)) || Ended(c.Status) != Ended(v.Status) {
				t.Fatalf("after %+v: in flight %d, completed %d, command %s, invocation %s", e, c.InFlight, c.CompletedCount, c.Status, v.Status)
			}
		}
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// fleet is a whole command in memory, driven as change drives it: the model that the bounds are checked on.
type fleet struct {
	c    store.Command
	list []store.Invocation
}

func (f *fleet) step(i int, e Event) Effects {
	var fx Effects
	f.c, f.list[i], fx = Step(f.c, f.list[i], e, t0)
	return fx
}

func (f *fleet) refill() {
	for !f.c.CancelRequested && f.c.CompletedCount < f.c.TargetCount {
		ctl, progress := control(f.c)
		if ctl.Stopped(progress) {
			for i := range f.list {
				if !f.list[i].Claimed {
					f.step(i, Event{Kind: Dropped, Details: Terminated})
				}
			}
			return
		}
		n := ctl.Claimable(progress)
		took := false
		for i := range f.list {
			if n > 0 && !f.list[i].Claimed {
				f.step(i, Event{Kind: Claimed})
				n--
				took = true
			}
		}
		if !took {
			return
		}
	}
}

// proves: the bounds, against counts made from the invocations alone.
func TestRateControlBounds(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 4000 {
		n := 1 + r.IntN(40)
		rate := func(low int) target.Rate {
			if r.IntN(2) == 0 {
				return target.Rate{Value: low + r.IntN(100), Percent: true}
			}
			return target.Rate{Value: low + r.IntN(n+2)}
		}
		conc, errs := rate(1), rate(0)
		limit, allowed := conc.Value, errs.Value // by the definition, not by the code under test
		if conc.Percent {
			limit = max(1, n*conc.Value/100)
		}
		if errs.Percent {
			allowed = n * errs.Value / 100
		}
		ctl := target.NewControl(conc, errs, n)
		f := &fleet{c: store.Command{TargetCount: int64(n), ConcurrencyLimit: int64(ctl.Concurrency), ErrorLimit: int64(ctl.Errors), Status: Pending, StatusDetails: Pending}, list: make([]store.Invocation, n)}
		for i := range f.list {
			f.list[i].Status, f.list[i].StatusDetails = Pending, Pending
		}
		f.refill()
		delivered, claimedBefore := 0, 0
		stopped := false
		for turn := 0; f.c.CompletedCount < f.c.TargetCount; turn++ {
			i := r.IntN(n)
			if !f.list[i].Claimed || Ended(f.list[i].Status) && r.IntN(10) > 0 {
				continue
			}
			var e Event
			switch r.IntN(10) {
			case 0, 1, 2:
				e = Event{Kind: Delivered}
			case 3:
				e = Event{Kind: Replied, Details: InProgress}
			case 4, 5:
				e = Event{Kind: Replied, Details: Success}
			case 6, 7:
				e = Event{Kind: Replied, Details: Failed}
			case 8:
				e = Event{Kind: Expired}
			case 9:
				e = Event{Kind: CancelAsked} // of this node alone
			}
			if f.step(i, e).Refill {
				f.refill()
			}
			flying, failed, claims := 0, 0, 0
			delivered = 0
			for _, v := range f.list {
				if v.Claimed && !Ended(v.Status) {
					flying++
				}
				if v.StatusDetails == Failed || v.StatusDetails == ExecutionTimedOut {
					failed++
				}
				if v.Claimed && v.StatusDetails != Terminated {
					claims++
				}
				if v.Delivered {
					delivered++
				}
			}
			if flying > limit {
				t.Fatalf("%d targets, MaxConcurrency %v: %d in flight", n, conc, flying)
			}
			if failed > allowed+limit {
				t.Fatalf("%d targets, MaxErrors %v, MaxConcurrency %v: %d failed", n, errs, conc, failed)
			}
			if stopped && claims > claimedBefore {
				t.Fatalf("%d targets, MaxErrors %v: claimed more after %d errors", n, errs, failed)
			}
			if delivered == 0 && limit > 1 && flying > 1 {
				t.Fatalf("the ramp grew to %d before anything was delivered", flying)
			}
			stopped, claimedBefore = failed > allowed, claims
			if turn > 100*n+10000 {
				t.Fatalf("%d targets, %v, %v: the command does not end: %+v", n, conc, errs, f.c)
			}
		}
		if !Ended(f.c.Status) || f.c.InFlight != 0 {
			t.Fatalf("all ended, the command is %s with %d in flight", f.c.Status, f.c.InFlight)
		}
	}
}

// The examples of the guide and the API reference.
func TestCommandStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		ends []string
		errs int64
		want string
	}{
		{"all_success", []string{Success, Success}, 0, Success},
		{"one_failed", []string{Success, Failed}, 0, Failed},
		{"failed_within_the_limit", []string{Success, Failed}, 1, Incomplete},
		{"only_timed_out", []string{ExecutionTimedOut, Success}, 0, ExecutionTimedOut},
		{"timed_out_and_failed", []string{ExecutionTimedOut, Failed}, 0, Failed},
		{"delivery_timed_out", []string{DeliveryTimedOut, Success}, 0, DeliveryTimedOut},
		{"four_undeliverable_and_one_success", []string{Undeliverable, Undeliverable, Undeliverable, Undeliverable, Success}, 0, Success},
		{"all_undeliverable", []string{Undeliverable, Undeliverable}, 0, Failed},
		{"terminated", []string{Failed, Failed, Terminated, Terminated}, 1, Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := store.Command{TargetCount: int64(len(tc.ends)), ConcurrencyLimit: 50, ErrorLimit: tc.errs, Status: Pending, StatusDetails: Pending}
			for _, end := range tc.ends {
				v := store.Invocation{Status: Pending, StatusDetails: Pending}
				var events []Event
				switch end {
				case Undeliverable, Terminated:
					events = []Event{{Kind: Dropped, Details: end}}
				case DeliveryTimedOut:
					events = []Event{{Kind: Claimed}, {Kind: Expired}}
				default:
					events = []Event{{Kind: Claimed}, {Kind: Replied, Details: end}}
				}
				for _, e := range events {
					c, v, _ = Step(c, v, e, t0)
				}
			}
			if c.StatusDetails != tc.want || c.Status != coarse[tc.want] {
				t.Errorf("StatusDetails of %v with %d errors allowed = %s, want %s", tc.ends, tc.errs, c.StatusDetails, tc.want)
			}
		})
	}
}
