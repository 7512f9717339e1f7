package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A freeze is one per account and region, ends by itself at its end, and is nobody else's.
func TestFreezeEndsByItself(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		elsewhere := Scope{Account: testScope.Account, Region: "eu-west-1"}
		first := Freeze{
			Account: testScope.Account, Region: testScope.Region, Reason: "year's end", StartedAt: ck.now(), EndsAt: ck.now().Add(time.Hour), SetBy: "arn:aws:iam::1:user/a",
		}
		second := first
		second.Reason, second.EndsAt = "longer", ck.now().Add(2*time.Hour)
		check := func(step string, sc Scope, want *Freeze) {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				got, err := tx.Freeze(sc)
				if want == nil {
					if !errors.Is(err, ErrNotFound) {
						t.Errorf("%s: Freeze = %+v, %v, want none", step, got, err)
					}
					return nil
				}
				if d := cmp.Diff(*want, got); d != "" || err != nil {
					t.Errorf("%s: Freeze (-want +got): %s %v", step, d, err)
				}
				return err
			})
		}
		listed := func(step string, want int) {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				list, err := tx.Freezes(testScope.Account)
				if len(list) != want {
					t.Errorf("%s: Freezes = %+v, want %d", step, list, want)
				}
				return err
			})
		}
		check("empty", testScope, nil)
		update(t, s, func(tx *Tx) error { return tx.PutFreeze(first) })
		check("set", testScope, &first)
		check("set, in another region", elsewhere, nil)
		update(t, s, func(tx *Tx) error { return tx.PutFreeze(second) })
		check("replaced", testScope, &second)
		listed("replaced", 1)
		update(t, s, func(tx *Tx) error {
			if was, err := tx.DeleteFreeze(elsewhere); was || err != nil {
				t.Errorf("DeleteFreeze of another region = %v, %v", was, err)
			}
			return nil
		})
		ck.add(2*time.Hour - time.Microsecond)
		check("just before the end", testScope, &second)
		ck.add(time.Microsecond)
		check("at the end", testScope, nil)
		listed("at the end", 0)
		update(t, s, func(tx *Tx) error {
			if was, err := tx.DeleteFreeze(testScope); was || err != nil {
				t.Errorf("DeleteFreeze of one that has ended = %v, %v", was, err)
			}
			second.EndsAt = second.EndsAt.Add(time.Hour)
			if err := tx.PutFreeze(second); err != nil {
				return err
			}
			if was, err := tx.DeleteFreeze(testScope); !was || err != nil {
				t.Errorf("DeleteFreeze = %v, %v, want one lifted", was, err)
			}
			return nil
		})
		check("lifted", testScope, nil)
	})
}
