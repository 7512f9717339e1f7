package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// aDocument stores a document with that many versions, the content of each its number.
func aDocument(t *testing.T, s *Store, sc Scope, name string, versions int64) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		for n := int64(1); n <= versions; n++ {
			hash, err := tx.PutContent(sc.Account, fmt.Append(nil, name, " ", n))
			if err != nil {
				return err
			}
			if err := tx.InsertDocumentVersion(DocumentVersion{
				Account: sc.Account, Region: sc.Region, Name: name, Version: n, Format: "JSON", ContentHash: hash, CreatedAt: tx.Now(),
			}); err != nil {
				return err
			}
		}
		return tx.InsertDocument(Document{Account: sc.Account, Region: sc.Region, Name: name, Type: "Command", DefaultVersion: 1, LatestVersion: versions, LastVersion: versions})
	})
}

func TestDocumentsAndVersionsAreListed(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		for _, name := range []string{"b", "a", "c"} {
			aDocument(t, s, testScope, name, 3)
		}
		aDocument(t, s, Scope{Account: testScope.Account, Region: "eu-west-1"}, "elsewhere", 1)
		view(t, s, func(tx *Tx) error {
			list, err := tx.Documents(testScope, "b", 10)
			if len(list) != 2 || list[0].Name != "b" || list[1].Name != "c" || list[0].DocumentVersion.Version != 1 {
				t.Errorf("Documents from b = %+v", list)
			}
			versions, verr := tx.DocumentVersions(testScope, "b", 3, 10)
			if len(versions) != 2 || versions[0].Version != 2 || versions[1].Version != 1 {
				t.Errorf("DocumentVersions below 3 = %+v", versions)
			}
			n, nerr := tx.DocumentCount(testScope)
			if n != 3 {
				t.Errorf("DocumentCount = %d, want 3", n)
			}
			return errors.Join(err, verr, nerr)
		})
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.PutTag(testScope, "Document", "b", Tag{"k", "v"}), tx.DeleteDocument(testScope, "b"))
		})
		view(t, s, func(tx *Tx) error {
			_, err := tx.Document(testScope, "b")
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("Document after its deletion: %v", err)
			}
			n, nerr := tx.DocumentVersionCount(testScope, "b")
			tags, terr := tx.Tags(testScope, "Document", "b")
			if n != 0 || len(tags) != 0 {
				t.Errorf("a deleted document has %d versions and %d tags", n, len(tags))
			}
			return errors.Join(nerr, terr)
		})
	})
}

// Two versions of a document cannot have one name, and versions without a name do not count.
func TestDocumentVersionNamesAreUnique(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		v := DocumentVersion{Account: testScope.Account, Region: testScope.Region, Name: "d", Format: "JSON"}
		insert := func(n int64, name string) error {
			v := v
			v.Version, v.VersionName = n, name
			return s.Update(t.Context(), func(tx *Tx) error { return tx.InsertDocumentVersion(v) })
		}
		for n, name := range []string{"", "", "one", "two"} {
			if err := insert(int64(n), name); err != nil {
				t.Fatal(err)
			}
		}
		if err := insert(9, "one"); err == nil {
			t.Error("a version name was taken twice")
		}
		view(t, s, func(tx *Tx) error {
			got, err := tx.DocumentVersionNamed(testScope, "d", "two")
			if got.Version != 3 {
				t.Errorf("DocumentVersionNamed(two) = %+v", got)
			}
			if _, none := tx.DocumentVersionNamed(testScope, "d", ""); !errors.Is(none, ErrNotFound) {
				t.Errorf("DocumentVersionNamed without a name = %v", none)
			}
			return err
		})
	})
}

func TestSharedDocumentsAreFoundByWhomTheyAreSharedWith(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, _ *clock) {
		other := Scope{Account: "000000000002", Region: testScope.Region}
		for _, name := range []string{"a", "b", "c"} {
			aDocument(t, s, other, name, 3)
		}
		share := func(name, with, version string) {
			update(t, s, func(tx *Tx) error {
				return tx.PutDocumentShare(DocumentShare{Account: other.Account, Region: other.Region, Name: name, With: with, Version: version})
			})
		}
		share("a", testScope.Account, "$ALL")
		share("a", testScope.Account, "$LATEST")
		share("b", "all", "$DEFAULT")
		names := func(with string) (out []string) {
			view(t, s, func(tx *Tx) error {
				list, err := tx.SharedDocuments(testScope.Region, with, "", "", 10)
				for _, l := range list {
					out = append(out, fmt.Sprint(l.Account, " ", l.Name, " ", l.DocumentVersion.Version))
				}
				return err
			})
			return out
		}
		if d := cmp.Diff([]string{"000000000002 a 3"}, names(testScope.Account)); d != "" {
			t.Errorf("shared with the account (-want +got): %s", d)
		}
		if d := cmp.Diff([]string{"000000000002 b 1"}, names("all")); d != "" {
			t.Errorf("shared with all (-want +got): %s", d)
		}
		view(t, s, func(tx *Tx) error {
			n, err := tx.PublicDocumentCount(other)
			if n != 1 {
				t.Errorf("PublicDocumentCount = %d, want 1", n)
			}
			return err
		})
	})
}

// The text of a document outlives the sweep for as long as a version has it.
func TestSweepKeepsDocuments(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, s *Store, ck *clock) {
		aDocument(t, s, testScope, "d", 2)
		update(t, s, func(tx *Tx) error { return tx.DeleteDocumentVersion(testScope, "d", 1) })
		ck.add(72 * time.Hour)
		update(t, s, func(tx *Tx) error {
			n, err := tx.SweepContent(tx.Now().Add(-24*time.Hour), 100)
			if n != 1 {
				t.Errorf("SweepContent removed %d, want 1", n)
			}
			return err
		})
		view(t, s, func(tx *Tx) error {
			_, err := tx.Content(testScope.Account, Hash([]byte("d 2")))
			return err
		})
	})
}
