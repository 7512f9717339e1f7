package store

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"oakum.dev/awserr"
)

// A full disk refuses what writes with an error that clients retry, changes nothing, keeps answering what reads,
// and needs no restart.
func TestDiskFullIsSurvived(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
	limit := func(pages int) {
		update(t, s, func(tx *Tx) error {
			_, err := tx.exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
			return err
		})
	}
	limit(200)
	blob := make([]byte, 64<<10)
	var stored []string
	var full error
	for full == nil && len(stored) < 100 {
		_, _ = rand.Read(blob) // never fails
		var hash string
		full = s.Update(t.Context(), func(tx *Tx) (err error) { hash, err = tx.PutContent("000000000001", blob); return err })
		if full == nil {
			stored = append(stored, hash)
		}
	}
	if !errors.Is(full, ErrFull) {
		t.Fatalf("after %d blobs: %v, want %v", len(stored), full, ErrFull)
	}
	if e := awserr.From(full); e.HTTPStatus() != http.StatusServiceUnavailable || bytes.Contains([]byte(e.Message), []byte("sqlite")) {
		t.Errorf("the caller sees %d %s", e.HTTPStatus(), e.Message)
	}
	view(t, s, func(tx *Tx) error {
		for _, h := range stored {
			if _, err := tx.Content("000000000001", h); err != nil {
				return err
			}
		}
		return nil
	})
	limit(2000)
	update(t, s, func(tx *Tx) error { _, err := tx.PutContent("000000000001", blob); return err })
}
