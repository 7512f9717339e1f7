package server

import (
	"bytes"
	"context"
	"os"
	"testing"

	"oakum.dev/internal/store"
)

// A crash at any point of the first start leaves, at the next one, an administrator's key whose file is there.
func TestFirstStartSurvivesACrash(t *testing.T) {
	t.Parallel()
	start := func(dir string) []byte {
		t.Helper()
		s, err := New(context.Background(), Config{DataDir: dir, Listen: []string{"http://127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(CredentialsFile(dir))
		if err != nil {
			t.Fatal(err)
		}
		err = s.store.View(context.Background(), func(tx *store.Tx) error {
			_, err := tx.AccessKey(keyID(b))
			return err
		})
		if err != nil {
			t.Errorf("the key %q of the file is not stored: %v", keyID(b), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return b
	}
	t.Run("between_key_and_file_name", func(t *testing.T) {
		dir := t.TempDir()
		first := start(dir)
		if err := os.Rename(CredentialsFile(dir), CredentialsFile(dir)+".next"); err != nil {
			t.Fatal(err)
		}
		if again := start(dir); !bytes.Equal(first, again) {
			t.Errorf("another key was made: %s, first %s", again, first)
		}
	})
	t.Run("between_file_and_key", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(CredentialsFile(dir)+".next", CredentialsText("default", "AKIAUNKNOWNUNKNOWN00", "x"), 0o600); err != nil {
			t.Fatal(err)
		}
		start(dir)
	})
	t.Run("file_taken_away_on_purpose", func(t *testing.T) {
		dir := t.TempDir()
		start(dir)
		if err := os.Remove(CredentialsFile(dir)); err != nil {
			t.Fatal(err)
		}
		s, err := New(context.Background(), Config{DataDir: dir, Listen: []string{"http://127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(CredentialsFile(dir)); !os.IsNotExist(err) {
			t.Errorf("a key was made again: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
