package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"oakum.dev/internal/audit"
	"oakum.dev/internal/oakumtest"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }

var testScope = Scope{Account: "000000000001", Region: "us-east-1"}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t *testing.T, c Config) (*Store, *clock) {
	t.Helper()
	ck := &clock{t: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)}
	c.Now = ck.now
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, ck
}

// engines runs a test on a new, empty database of each engine.
func engines(t *testing.T, fn func(t *testing.T, s *Store, ck *clock)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s, ck := open(t, Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
		fn(t, s, ck)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s, ck := open(t, Config{URL: oakumtest.Postgres(t)})
		fn(t, s, ck)
	})
}

func update(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		boom := errors.New("boom")
		err := s.Update(t.Context(), func(tx *Tx) error {
			if err := tx.PutTag(testScope, "ManagedInstance", "mi-1", Tag{"a", "1"}); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatalf("Update = %v, want %v", err, boom)
		}
		view(t, s, func(tx *Tx) error {
			tags, err := tx.Tags(testScope, "ManagedInstance", "mi-1")
			if len(tags) != 0 {
				t.Errorf("Tags after a failed Update = %v, want none", tags)
			}
			return err
		})
	})
}

// One request of a group that fails or panics must not take the others with it.
func TestConcurrentUpdatesAreIndependent(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				err := s.Update(context.Background(), func(tx *Tx) error {
					if err := tx.PutTag(testScope, "X", fmt.Sprint(i), Tag{"k", "v"}); err != nil {
						return err
					}
					switch {
					case i%7 == 0:
						return errors.New("refused")
					case i%11 == 0 && s.d == sqlite:
						panic("planted")
					}
					return nil
				})
				bad := i%7 == 0 || i%11 == 0 && s.d == sqlite
				if (err != nil) != bad {
					t.Errorf("Update %d = %v, want error %v", i, err, bad)
				}
			})
		}
		wg.Wait()
		view(t, s, func(tx *Tx) error {
			for i := range 200 {
				tags, err := tx.Tags(testScope, "X", fmt.Sprint(i))
				if err != nil {
					return err
				}
				bad := i%7 == 0 || i%11 == 0 && s.d == sqlite
				if (len(tags) == 0) != bad {
					t.Errorf("tags of %d = %v, want none: %v", i, tags, bad)
				}
			}
			return nil
		})
	})
}

// proves R-27
func TestActivationLimitHoldsUnderConcurrency(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		update(t, s, func(tx *Tx) error {
			return tx.InsertActivation(Activation{
				Account: testScope.Account, Region: testScope.Region, ID: "a", RegistrationLimit: 5, Tags: "[]",
				CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(time.Hour),
			})
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for range 50 {
			wg.Go(func() {
				var ok bool
				err := s.Update(context.Background(), func(tx *Tx) (err error) { ok, err = tx.TakeRegistration("a"); return err })
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if ok {
					taken++
				}
			})
		}
		wg.Wait()
		if taken != 5 {
			t.Errorf("%d of 50 racers registered, want 5", taken)
		}
		ck.add(2 * time.Hour)
		update(t, s, func(tx *Tx) error {
			if ok, err := tx.TakeRegistration("a"); ok || err != nil {
				t.Errorf("TakeRegistration after expiry = %v, %v", ok, err)
			}
			return nil
		})
	})
}

// proves R-29
func TestAuditRecordIsWrittenWithItsMutation(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		record := func(id string) (context.Context, *audit.Record) {
			r := &audit.Record{EventID: id, EventTime: ck.now(), EventName: "PutX", Account: testScope.Account, Region: testScope.Region}
			return audit.WithPending(t.Context(), r), r
		}
		ctx, bad := record("11111111-1111-1111-1111-111111111111")
		if err := s.Update(ctx, func(*Tx) error { return errors.New("no") }); err == nil || bad.IsWritten() {
			t.Errorf("a failed mutation: err %v, written %v", err, bad.IsWritten())
		}
		ctx, good := record("22222222-2222-2222-2222-222222222222")
		for range 2 { // a second transaction of the same call adds no second record
			if err := s.Update(ctx, func(tx *Tx) error { return tx.PutTag(testScope, "X", "1", Tag{"a", "b"}) }); err != nil {
				t.Fatal(err)
			}
		}
		if !good.IsWritten() {
			t.Error("the record was not written")
		}
		view(t, s, func(tx *Tx) error {
			events, err := tx.AuditEvents(testScope, 10)
			if len(events) != 1 || events[0].EventID != good.EventID {
				t.Errorf("AuditEvents = %v, want the one of the mutation", events)
			}
			return err
		})
	})
}

func TestMessageIsHiddenThenOfferedAgainUntilTheAgentForgets(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		offer := func() (n int) {
			update(t, s, func(tx *Tx) error {
				m, err := tx.OfferMessages(testScope, "mi-1", 10*time.Second, 10)
				n = len(m)
				return err
			})
			return n
		}
		update(t, s, func(tx *Tx) error {
			return tx.InsertMessage(Message{
				Account: testScope.Account, Region: testScope.Region, NodeID: "mi-1", ID: "m", Kind: "send", CommandID: "c",
				CreatedAt: tx.Now(), VisibleAt: tx.Now(), NotAfterAt: tx.Now().Add(2 * time.Hour),
			})
		})
		for _, step := range []struct {
			after time.Duration
			want  int
		}{
			{0, 1},
			{5 * time.Second, 0},
			{5 * time.Second, 1},
			{24 * time.Minute, 1},
			{time.Minute, 0}, // more than 25 minutes after the first offer: never again
			{time.Hour, 0},
		} {
			ck.add(step.after)
			if got := offer(); got != step.want {
				t.Errorf("at %s: offered %d, want %d", ck.now(), got, step.want)
			}
		}
	})
}

func TestWorkIsClaimedOnceAndFenced(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		update(t, s, func(tx *Tx) error {
			for i := range 40 {
				if err := tx.Schedule("k", testScope, fmt.Sprint(i), tx.Now()); err != nil {
					return err
				}
			}
			return tx.Schedule("k", testScope, "0", tx.Now().Add(time.Hour)) // the promise stands already
		})
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					var items []WorkItem
					err := s.Update(context.Background(), func(tx *Tx) (err error) { items, err = tx.ClaimWork(time.Minute, 7); return err })
					if err != nil {
						t.Error(err)
						return
					}
					if len(items) == 0 {
						return
					}
					mu.Lock()
					for _, w := range items {
						seen[w.ID]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 40 {
			t.Errorf("claimed %d items, want 40", len(seen))
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("item %s was claimed %d times", id, n)
			}
		}
		// A lease that ran out belongs to the next claimer; the old holder can commit nothing.
		ck.add(2 * time.Minute)
		var first, second []WorkItem
		update(t, s, func(tx *Tx) (err error) { first, err = tx.ClaimWork(time.Minute, 1); return err })
		ck.add(2 * time.Minute)
		update(t, s, func(tx *Tx) (err error) { second, err = tx.ClaimWork(time.Minute, 40); return err })
		update(t, s, func(tx *Tx) error {
			if ok, err := tx.FinishWork(first[0]); ok || err != nil {
				t.Errorf("FinishWork after a lost lease = %v, %v", ok, err)
			}
			if ok, err := tx.FinishWork(second[0]); !ok || err != nil {
				t.Errorf("FinishWork = %v, %v", ok, err)
			}
			return nil
		})
	})
}

// proves R-21
func TestOlderReportNeverReplacesNewer(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		put := func(node, boot string, seq int64, ended time.Time) (ok bool) {
			update(t, s, func(tx *Tx) (err error) {
				ok, err = tx.PutNodeState(NodeState{
					Account: testScope.Account, Region: testScope.Region, NodeID: node, BootID: boot, ScanSeq: seq, EndedAt: ended, StartedAt: ended,
					PublishedAt: tx.Now(), StaleAt: tx.Now().Add(time.Hour), Status: "COMPLIANT", SeverityCounts: "{}", Header: []byte{1},
				})
				return err
			})
			return ok
		}
		t0 := ck.now().Add(-10 * time.Minute)
		for i, c := range []struct {
			name string
			boot string
			seq  int64
			at   time.Duration
			want bool
		}{
			{"first", "b1", 5, 0, true},
			{"same again", "b1", 5, 0, false},
			{"older", "b1", 4, -time.Hour, false},
			{"late one of an earlier boot", "b0", 3, -time.Hour, false},
			{"next, after the clock was set back", "b1", 6, -2 * time.Hour, true},
			{"late one of before the clock was set back", "b1", 5, 0, false},
			{"next boot", "b2", 7, time.Minute, true},
			{"agent that lost its count", "b2", 1, 11 * time.Minute, true},
			{"clock far ahead", "b2", 2, 5 * time.Hour, true},
			{"clock right again after a reboot", "b3", 3, 12 * time.Minute, true},
			{"without a number", "", 0, 13 * time.Minute, true},
			{"older without a number", "", 0, 12 * time.Minute, false},
		} {
			ck.add(time.Second)
			if got := put("mi-1", c.boot, c.seq, t0.Add(c.at)); got != c.want {
				t.Errorf("%d, %s: published = %v, want %v", i, c.name, got, c.want)
			}
		}
		// Any order and repetition ends with the newest.
		type report struct {
			boot  string
			seq   int64
			ended time.Time
		}
		var all []report
		for b := range 3 {
			for range 4 {
				n := len(all)
				all = append(all, report{fmt.Sprint("boot", b), int64(n), t0.Add(time.Duration(n) * time.Second)})
			}
		}
		seed := time.Now().UnixNano()
		rnd := rand.New(rand.NewPCG(uint64(seed), 0))
		for round := range 30 {
			node := fmt.Sprint("mi-r", round)
			list := append(append([]report{}, all...), all[rnd.IntN(len(all))], all[rnd.IntN(len(all))])
			rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			for _, r := range list {
				put(node, r.boot, r.seq, r.ended)
			}
			view(t, s, func(tx *Tx) error {
				st, err := tx.NodeState(testScope, node)
				if want := all[len(all)-1]; !st.EndedAt.Equal(want.ended) || st.BootID != want.boot {
					t.Errorf("seed %d: after %v the published scan is that of %s %v", seed, list, st.BootID, st.EndedAt)
				}
				return err
			})
		}
	})
}

func TestContentIsStoredOnceAndSwept(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		data := []byte(strings.Repeat("openssl\t3.0.17-1\tamd64\n", 1000))
		var hash string
		update(t, s, func(tx *Tx) (err error) { hash, err = tx.PutContent(testScope.Account, data); return err })
		update(t, s, func(tx *Tx) (err error) { _, err = tx.PutContent(testScope.Account, data); return err })
		update(t, s, func(tx *Tx) error {
			if ok, err := tx.HasContent("000000000002", hash); ok || err != nil {
				t.Errorf("another account sees the blob: %v, %v", ok, err)
			}
			return nil
		})
		view(t, s, func(tx *Tx) error {
			got, err := tx.Content(testScope.Account, hash)
			if string(got) != string(data) {
				t.Errorf("Content has %d bytes, want %d", len(got), len(data))
			}
			return err
		})
		ck.add(25 * time.Hour)
		update(t, s, func(tx *Tx) error {
			n, err := tx.SweepContent(tx.Now().Add(-24*time.Hour), 100)
			if n != 1 {
				t.Errorf("SweepContent removed %d, want 1", n)
			}
			return err
		})
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oakum.db")
	open(t, Config{Path: path})
	_, err := Open(t.Context(), Config{Path: path})
	if err == nil || !strings.Contains(err.Error(), "another oakum server") {
		t.Errorf("second Open = %v, want a refusal", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oakum.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)`)
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: path}); !errors.Is(err, ErrNewer) {
		t.Errorf("Open = %v, want %v", err, ErrNewer)
	}
}
