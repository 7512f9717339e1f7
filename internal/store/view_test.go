package store

import (
	"path/filepath"
	"sync"
	"testing"
)

// Views that all meet statements nobody has prepared yet must not wait for each other's connections.
func TestFirstViewsDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Config{Path: filepath.Join(t.TempDir(), "oakum.db")})
	var inside, wg sync.WaitGroup
	inside.Add(concurrentViews)
	for range concurrentViews {
		wg.Go(func() {
			err := s.View(t.Context(), func(tx *Tx) error {
				inside.Done()
				inside.Wait() // every place is taken before the first statement
				_, err := tx.Accounts()
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
