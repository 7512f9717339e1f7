package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"oakum.dev/iam"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }

// Heartbeats are written by id, the order in which others lock nodes: neither waits for the other for ever.
func TestHeartbeatsAndOthersDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	scope := store.Scope{Account: "000000000001", Region: "us-east-1"}
	st, err := store.Open(t.Context(), store.Config{URL: oakumtest.Postgres(t) + "&options=-c%20deadlock_timeout%3D20s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s := New(st, nil, page.Book{}, rand.Reader, time.Now)
	var rows []store.Node
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		for n := range 30 {
			row := store.Node{Account: scope.Account, Region: scope.Region, ID: fmt.Sprintf("mi-%017x", n+1), Num: int64(n + 1), PublicKey: []byte{1}, RegisteredAt: tx.Now()}
			if err := tx.InsertNode(row); err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		s.Seen(iam.Principal{Kind: iam.Node, Account: row.Account, Region: row.Region, NodeID: row.ID})
	}
	done := make(chan error, 1)
	begun := time.Now()
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		for i, row := range rows {
			row.LastPingAt = tx.Now()
			if err := tx.SavePing(row); err != nil {
				return err
			}
			if i == 0 {
				go func() { done <- s.Flush(t.Context()) }()
				time.Sleep(300 * time.Millisecond) // the heartbeats wait for the first node
			}
		}
		return nil
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a deadlock: %s", took)
	}
}
