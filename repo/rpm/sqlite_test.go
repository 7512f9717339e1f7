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

// TestInstalledIgnoresWhatTheLogHoldsOfEarlierRounds starts a log over, so that frames of the round before follow the new
// ones, and then tears the last frame, as a power cut does.
func TestInstalledIgnoresWhatTheLogHoldsOfEarlierRounds(t *testing.T) {
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
	read := func() (*sqliteFiles, int) {
		t.Helper()
		f := &sqliteFiles{}
		for name, b := range map[string]*[]byte{file: &f.main, file + "-wal": &f.log} {
			if *b, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
		return f, f.count(t)
	}
	do("PRAGMA journal_mode=WAL")
	do("PRAGMA wal_autocheckpoint=0")
	do("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
	do("BEGIN")
	for range 200 {
		do("INSERT INTO Packages (blob) VALUES (?)", testHeader())
	}
	do("COMMIT")
	do("UPDATE Packages SET blob = ?", largeHeader(2000)) // many frames
	do("PRAGMA wal_checkpoint(RESTART)")
	do("DELETE FROM Packages WHERE hnum > 150")
	before, n := read()
	if n != 150 || len(before.log) < 1<<20 {
		t.Fatalf("%d packages and a log of %d bytes, want 150 and old frames", n, len(before.log))
	}
	do("DELETE FROM Packages WHERE hnum > 100")
	after, n := read()
	if n != 100 {
		t.Fatalf("%d packages, want 100", n)
	}
	changed := 0 // the last byte that the second transaction wrote
	for i := range after.log {
		if after.log[i] != before.log[i] {
			changed = i
		}
	}
	after.log[changed] ^= 1
	if n := after.count(t); n != 150 {
		t.Errorf("%d packages with a torn last frame, want the 150 before its transaction", n)
	}
}

type sqliteFiles struct{ main, log []byte }

func (f *sqliteFiles) count(t *testing.T) int {
	t.Helper()
	root := mapRoot("var/lib/rpm/rpmdb.sqlite", f.main)
	root["var/lib/rpm/rpmdb.sqlite-wal"] = mapRoot("x", f.log)["x"]
	n := 0
	if err := rpm.Installed(context.Background(), root, func(*rpm.Package) error { n++; return nil }); err != nil {
		t.Error(err)
	}
	return n
}

// TestInstalledReadsHeadersOfEverySize has rows of each length around the bounds at which SQLite moves a part of a row to
// overflow pages.
func TestInstalledReadsHeadersOfEverySize(t *testing.T) {
	t.Parallel()
	for _, pageSize := range []int{512, 1024} {
		dir := t.TempDir()
		file := filepath.Join(dir, "rpmdb.sqlite")
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		do := func(q string, args ...any) {
			t.Helper()
			if _, err := db.Exec(q, args...); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		do(fmt.Sprintf("PRAGMA page_size=%d", pageSize))
		do("PRAGMA synchronous=OFF")
		do("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
		do("BEGIN")
		const rows = 2500
		padded := func(i int) string { return fmt.Sprintf("n%d-%s", i, bytes.Repeat([]byte{byte('a' + i%26)}, i)) }
		for i := range rows {
			do("INSERT INTO Packages (blob) VALUES (?)", header(map[uint32][]byte{1000: append([]byte(padded(i)), 0), 1001: []byte("1\x00")}, nil))
		}
		do("COMMIT")
		db.Close()
		i := 0
		err = rpm.Installed(context.Background(), os.DirFS(dirOf(t, file)), func(p *rpm.Package) error {
			if p.Name != padded(i) {
				return fmt.Errorf("row %d is %.20q... of %d bytes, want %.20q... of %d", i, p.Name, len(p.Name), padded(i), len(padded(i)))
			}
			i++
			return nil
		})
		if err != nil || i != rows {
			t.Errorf("pages of %d: %d of %d rows, %v", pageSize, i, rows, err)
		}
	}
}

// dirOf moves a database to where rpm has it, below a root.
func dirOf(t *testing.T, file string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/sysimage/rpm"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, filepath.Join(root, "usr/lib/sysimage/rpm/rpmdb.sqlite")); err != nil {
		t.Fatal(err)
	}
	return root
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

// sqliteFile is a database of pages of 512 bytes: the schema with the table Packages at page 2, and what is given.
func sqliteFile(pages ...[]byte) []byte {
	out := make([]byte, 512*(1+len(pages)))
	copy(out, "SQLite format 3\x00\x02\x00\x01\x01\x00\x40\x20\x20")
	row := "\x06\x17\x1d\x1d\x01\x0dtablePackagesPackages\x02"
	cell := string([]byte{byte(len(row)), 1}) + row
	at := 512 - len(cell)
	copy(out[at:], cell)
	copy(out[100:], []byte{0x0d, 0, 0, 0, 1, byte(at >> 8), byte(at), 0, byte(at >> 8), byte(at)})
	for i, p := range pages {
		copy(out[512*(i+1):], p)
	}
	return out
}

// TestInstalledEndsInCircles has trees and chains of pages that come back to themselves.
func TestInstalledEndsInCircles(t *testing.T) {
	t.Parallel()
	circle := []byte{0x05, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 2, 1, 0, 1, 10} // an inner page whose children are all itself
	copy(circle[12:], []byte{0x01, 0x00, 0x01, 0x08})
	page := make([]byte, 512)
	copy(page, circle)
	copy(page[0x100:], []byte{0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 2, 2})
	two := make([]byte, 512) // two inner pages that are each other's children
	copy(two, []byte{0x05, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3})
	three := make([]byte, 512)
	copy(three, []byte{0x05, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2})
	chain := make([]byte, 512) // a row of 600 bytes whose overflow page is its own page
	copy(chain, []byte{0x0d, 0, 0, 0, 1, 1, 0, 0, 1, 0})
	copy(chain[0x100:], []byte{0x84, 0x58, 1})
	for i := 0x103; i < 512; i += 4 {
		copy(chain[i:], []byte{0, 0, 0, 2})
	}
	for name, file := range map[string][]byte{"itself": sqliteFile(page), "each_other": sqliteFile(two, three), "chain": sqliteFile(chain)} {
		if err := rpm.Installed(context.Background(), mapRoot("var/lib/rpm/rpmdb.sqlite", file), func(*rpm.Package) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	leaf := make([]byte, 512)
	copy(leaf, []byte{0x0d, 0, 0, 0, 0, 2, 0, 0})
	if err := rpm.Installed(context.Background(), mapRoot("var/lib/rpm/rpmdb.sqlite", sqliteFile(leaf)), func(*rpm.Package) error { return nil }); err != nil {
		t.Errorf("the test's own file without rows: %v", err)
	}
}
