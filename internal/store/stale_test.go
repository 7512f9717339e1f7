package store

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// proves: what a registration says now is compared with what judged.
func TestOutdatedFollowsTheRegistrations(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		const predefined, custom, other = "pb-00000000000000001", "pb-00000000000000002", "pb-00000000000000003"
		elsewhere := Scope{Account: testScope.Account, Region: "elsewhere"}
		nodes := []struct{ id, group, os, baseline string }{
			{"mi-1", "", "DEBIAN", predefined},
			{"mi-2", "web", "DEBIAN", predefined},
			{"mi-3", "web", "DEBIAN", custom},
			{"mi-4", "web", "UBUNTU", predefined},
			{"mi-5", "", "", other}, // judged by a policy's
			{"mi-6", "", "", ""},    // never scanned
		}
		update(t, s, func(tx *Tx) error {
			for i, n := range nodes {
				row := Node{Account: testScope.Account, Region: testScope.Region, ID: n.id, Num: int64(i + 1), PatchGroup: n.group, PublicKey: []byte{1}}
				if err := tx.InsertNode(row); err != nil {
					return err
				}
				if n.id == "mi-6" {
					continue
				}
				_, err := tx.PutNodeState(NodeState{
					Account: testScope.Account, Region: testScope.Region, NodeID: n.id, StartedAt: tx.Now(), EndedAt: tx.Now(), PublishedAt: tx.Now(),
					StaleAt: tx.Now().Add(time.Hour), Status: "COMPLIANT", SeverityCounts: "{}", Header: []byte{1}, BaselineID: n.baseline,
					OperatingSystem: n.os, PredefinedID: predefined,
				})
				if err != nil {
					return err
				}
			}
			for _, sc := range []Scope{testScope, elsewhere} {
				for _, id := range []string{custom, other} {
					b := PatchBaseline{ID: id, Name: id, OperatingSystem: "DEBIAN", Body: "{}", CreatedAt: tx.Now(), ModifiedAt: tx.Now()}
					if err := tx.InsertBaseline(sc, b); err != nil {
						return err
					}
				}
			}
			return nil
		})
		ck.add(time.Minute)
		for _, c := range []struct {
			name   string
			change func(tx *Tx) error
			want   []string
		}{
			{"nothing registered", func(*Tx) error { return nil }, []string{"mi-3"}},
			{"a default", func(tx *Tx) error { return tx.SetDefaultBaseline(testScope, "DEBIAN", custom) }, []string{"mi-1", "mi-2"}},
			{"the predefined default", func(tx *Tx) error { return tx.SetDefaultBaseline(testScope, "DEBIAN", "") }, []string{"mi-3"}},
			{"a group", func(tx *Tx) error { return tx.InsertPatchGroup(testScope, PatchGroupMapping{"web", "DEBIAN", custom}) }, []string{"mi-2"}},
			{"a default beside it", func(tx *Tx) error { return tx.SetDefaultBaseline(testScope, "DEBIAN", other) }, []string{"mi-1", "mi-2"}},
			{"another tag", func(tx *Tx) error { return tx.SetPatchGroup(testScope, "mi-3", "db") }, []string{"mi-1", "mi-2", "mi-3"}},
			{"the group goes", func(tx *Tx) error { return tx.DeletePatchGroup(testScope, "web", custom) }, []string{"mi-1", "mi-2", "mi-3"}},
			{"the default goes", func(tx *Tx) error { return tx.SetDefaultBaseline(testScope, "DEBIAN", "") }, []string{"mi-3"}},
			{"an edit", func(tx *Tx) error {
				return tx.UpdateBaseline(testScope, PatchBaseline{ID: other, Name: other, Body: "{}", ModifiedAt: tx.Now()})
			}, []string{"mi-3", "mi-5"}},
			{"another region's default", func(tx *Tx) error { return tx.SetDefaultBaseline(elsewhere, "DEBIAN", custom) }, []string{"mi-3", "mi-5"}},
		} {
			update(t, s, c.change)
			view(t, s, func(tx *Tx) error {
				var ids []string
				for _, n := range nodes {
					ids = append(ids, n.id)
				}
				got, err := tx.Outdated(testScope, ids)
				if err != nil {
					return err
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s: outdated are %v, want %v", c.name, got, c.want)
				}
				f, err := tx.FleetSummary(testScope, tx.Now())
				if err != nil {
					return err
				}
				n := int64(len(c.want))
				if want := fmt.Sprint(FleetSummary{Managed: 6, Compliant: 5 - n, Stale: n, Unknown: 1}); fmt.Sprint(f) != want {
					t.Errorf("%s: fleet = %+v, want %s", c.name, f, want)
				}
				return nil
			})
		}
	})
}
