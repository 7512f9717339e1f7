package store

import "testing"

// What is asked for without an end is told to the last, also where the database sorts text by a language: there no text is
// above all others.
func TestDataSyncObjectsToTheLast(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		if s.d == postgres {
			if _, err := s.write.ExecContext(t.Context(), `ALTER TABLE data_sync_object ALTER COLUMN node_id TYPE text COLLATE "en-x-icu"`); err != nil {
				t.Fatal(err)
			}
		}
		update(t, s, func(tx *Tx) error {
			for _, id := range []string{"mi-0000000000000001a", "mi-0000000000000002b", "mi-fffffffffffffffff"} {
				if err := tx.PutDataSyncObject(testScope, "all", DataSyncObject{NodeID: id, TypeName: "AWS:Tag", ContentHash: "x"}); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, s, func(tx *Tx) error {
			for _, tc := range []struct {
				after, until string
				want         int
			}{{"", "", 3}, {"mi-0000000000000001a", "", 2}, {"", "mi-0000000000000002b", 2}, {"mi-fffffffffffffffff", "", 0}} {
				list, err := tx.DataSyncObjects(testScope, "all", tc.after, tc.until)
				if err != nil {
					return err
				}
				if len(list) != tc.want {
					t.Errorf("after %q until %q: %d objects, want %d", tc.after, tc.until, len(list), tc.want)
				}
			}
			return nil
		})
	})
}
