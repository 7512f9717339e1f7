package store

import (
	"testing"
	"time"
)

// A command that has not ended is not swept, however long ago it was asked for: whoever sent it waits for its end.
func TestOnlyEndedCommandsAreOld(t *testing.T) {
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		asked := ck.now()
		err := s.Update(t.Context(), func(tx *Tx) error {
			hash, err := tx.PutContent(testScope.Account, []byte("{}"))
			if err != nil {
				return err
			}
			for id, c := range map[string]Command{
				"ended":   {CompletedCount: 1, ExpiresAt: asked.Add(time.Hour)},
				"open":    {ExpiresAt: asked.Add(31 * 24 * time.Hour)},
				"strange": {ExpiresAt: asked.Add(time.Hour)}, // nothing can come of it any more
			} {
				c.Account, c.Region, c.ID, c.PayloadHash, c.TargetCount = testScope.Account, testScope.Region, id, hash, 1
				c.RequestedAt, c.DeliverByAt, c.Status = asked, asked.Add(time.Hour), "Pending"
				if err := tx.InsertCommand(c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		err = s.View(t.Context(), func(tx *Tx) error {
			list, err := tx.OldCommands(asked.Add(30*24*time.Hour), 10)
			for _, c := range list {
				got[c.ID] = true
			}
			return err
		})
		if err != nil || len(got) != 2 || got["open"] {
			t.Errorf("old commands: %v, %v", got, err)
		}
	})
}
