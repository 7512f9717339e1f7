package rpm_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"oakum.dev/repo/rpm"
)

// TestInstalledReadsWhatSQLiteCommitted lets SQLite itself write tables of every page size, in a log and with a rollback
// journal, and copies the files while a second transaction has written half of its pages: only what is committed counts.
func TestInstalledReadsWhatSQLiteCommitted(t *testing.T) {
	t.Parallel()
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "PERSIST"} {
			t.Run(fmt.Sprintf("%s_%d", mode, pageSize), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				file := filepath.Join(dir, "rpmdb.sqlite")
				db, err := sql.Open("sqlite", file)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				db.SetMaxOpenConns(1)
				do := func(q string, args ...any) {
					t.Helper()
					if _, err := db.Exec(q, args...); err != nil {
						t.Fatalf("%s: %v", q, err)
					}
				}
				count := func(when string) {
					t.Helper()
					root := mapRoot("var/lib/rpm/nothing", nil)
					for _, name := range []string{"rpmdb.sqlite", "rpmdb.sqlite-wal", "rpmdb.sqlite-journal"} {
						if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
							root["var/lib/rpm/"+name] = mapRoot(name, b)[name]
						}
					}
					var large, small int
					err := rpm.Installed(context.Background(), root, func(p *rpm.Package) error {
						if len(p.Provides) > 2 {
							large++
						} else {
							small++
						}
						return nil
					})
					if err != nil || large != 50 || small != 1000 {
						t.Errorf("%s: %d large and %d small headers, %v, want 50 and 1000 (%d pages from beside)", when, large, small, err, len(root))
					}
				}
				do(fmt.Sprintf("PRAGMA page_size=%d", pageSize))
				do("PRAGMA journal_mode=" + mode)
				if pageSize < 4096 { // the journal then says its length in another way, and the test takes seconds less
					do("PRAGMA synchronous=OFF")
				}
				do("PRAGMA cache_size=5") // pages of a transaction go to disk before it ends
				do("PRAGMA wal_autocheckpoint=0")
				do("CREATE TABLE other (a)")
				do("CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
				small, large := testHeader(), largeHeader(3000)
				for i := range 1050 {
					if i == 0 || i%100 == 0 {
						do("BEGIN")
					}
					if i%21 == 20 {
						do("INSERT INTO Packages (blob) VALUES (?)", large)
					} else {
						do("INSERT INTO Packages (blob) VALUES (?)", small)
					}
					if i%100 == 99 || i == 1049 {
						do("COMMIT")
					}
				}
				count("committed")
				do("BEGIN")
				do("UPDATE Packages SET blob = ? WHERE hnum % 3 = 0", largeHeader(5000))
				do("DELETE FROM Packages WHERE hnum > 500")
				count("half of a transaction")
				do("ROLLBACK")
				count("rolled back")
			})
		}
	}
}

// largeHeader is a header that fills several pages, and provides n names.
func largeHeader(n int) []byte {
	names := bytes.Repeat([]byte("provide\x00"), n)
	return header(map[uint32][]byte{1000: []byte("large\x00"), 1001: []byte("1\x00"), 1002: []byte("1\x00"), 1047: names}, map[uint32]uint32{1047: uint32(n)})
}

// header makes a header of texts.
func header(texts map[uint32][]byte, counts map[uint32]uint32) []byte {
	var index, data []byte
	put := func(n uint32) { index = append(index, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
	for tag, text := range texts {
		put(tag)
		put(8)
		put(uint32(len(data)))
		put(max(1, counts[tag]))
		data = append(data, text...)
	}
	entries := len(index) / 16
	body := index
	index = nil
	put(uint32(entries))
	put(uint32(len(data)))
	return append(append(index, body...), data...)
}
