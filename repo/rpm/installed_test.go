package rpm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

func TestInstalledAgreesWithRPM(t *testing.T) {
	t.Parallel()
	root := database(t)
	got := installed(t, os.DirFS(root))
	want := askRPM(t, dbPath(root), "-qa")
	if len(want) != 6 {
		t.Fatalf("rpm has %d packages, the test put in 6", len(want))
	}
	if diff := cmp.Diff(plain(want), got); diff != "" {
		t.Errorf("Installed (-rpm +got):\n%s", diff)
	}
	owners, err := rpm.Owners(context.Background(), os.DirFS(root), map[string]struct{}{
		"/usr/share/oaktest/alpha-1.0-1.el9/version": {}, "/usr/share/oaktest/gamma-3.1~rc1-1.el9": {}, "/usr/share/oaktest/nobody": {}, "relative": {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"/usr/share/oaktest/alpha-1.0-1.el9/version": "alpha", "/usr/share/oaktest/gamma-3.1~rc1-1.el9": "gamma"}, owners); diff != "" {
		t.Errorf("Owners (-want +got):\n%s", diff)
	}
	for path, owner := range owners {
		out, err := exec.Command("rpm", dbPath(root), "-qf", "--queryformat", "%{NAME}", path).Output()
		if string(out) != owner {
			t.Errorf("rpm -qf %s = %q, %v, want %s", path, out, err, owner)
		}
	}
	if files := rpm.DatabaseFiles(os.DirFS(root)); !slices.Equal(files, []string{"var/lib/rpm/rpmdb.sqlite"}) {
		t.Errorf("DatabaseFiles = %q", files)
	}
}

// TestInstalledAfterAKill ends rpm with SIGKILL in the middle of transactions. What is left is a main file and a
// write-ahead log, and both must be read as rpm reads them when it comes back.
func TestInstalledAfterAKill(t *testing.T) {
	t.Parallel()
	repo := repository(t)
	files, err := filepath.Glob(filepath.Join(repo, "*.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	rounds, withLog, sizes := 12, 0, map[int]bool{}
	if testing.Short() {
		rounds = 3
	}
	for i := range rounds {
		root := database(t)
		cmd := justDB(root, append(slices.Clone(files), "--replacepkgs")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Not at a time but at a size of the log: the kill then falls between two of the transaction's writes.
		log := filepath.Join(root, "var/lib/rpm/rpmdb.sqlite-wal")
		ended := make(chan struct{})
		go func() {
			cmd.Wait() // killed
			close(ended)
		}()
		for running := true; running; {
			select {
			case <-ended: // before the log was as large: then there is none
				running = false
			default:
				if info, err := os.Stat(log); err == nil && info.Size() > int64(i)*60_000 {
					running = false
				}
			}
		}
		cmd.Process.Kill() // an error says that it has ended
		<-ended
		if len(rpm.DatabaseFiles(os.DirFS(root))) > 1 {
			withLog++
		}
		got := installed(t, os.DirFS(root))
		want := askRPM(t, dbPath(root), "-qa")
		sizes[len(want)] = true
		if diff := cmp.Diff(plain(want), got); diff != "" {
			t.Errorf("round %d: Installed after kill -9 (-rpm +got):\n%s", i, diff)
		}
	}
	t.Logf("%d of %d kills left a log; packages afterwards: %v", withLog, rounds, sizes)
	if withLog == 0 {
		t.Error("no kill left a write-ahead log: the test has shown nothing")
	}
}

// headers are the raw headers of the test's packages, by number.
func headers(t testing.TB, root string) [][]byte {
	t.Helper()
	var list [][]byte
	if err := rpm.EachHeader(context.Background(), os.DirFS(root), func(b []byte) error {
		list = append(list, bytes.Clone(b))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// bdbRoot makes a Berkeley DB of headers with Debian's db5.3_load.
func bdbRoot(t testing.TB, list [][]byte, lorder, pageSize string) string {
	t.Helper()
	need(t, "db5.3_load")
	root := t.TempDir()
	dir := filepath.Join(root, "var/lib/rpm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if lorder == "4321" {
		order = binary.BigEndian
	}
	var in bytes.Buffer
	fmt.Fprintf(&in, "VERSION=3\nformat=bytevalue\ntype=hash\ndb_lorder=%s\ndb_pagesize=%s\nHEADER=END\n", lorder, pageSize)
	number := func(n int) []byte {
		b := make([]byte, 4)
		order.PutUint32(b, uint32(n))
		return b
	}
	fmt.Fprintf(&in, " %x\n %x\n", number(0), number(len(list)))
	for i, h := range list {
		fmt.Fprintf(&in, " %x\n %s\n", number(i+1), hex.EncodeToString(h))
	}
	in.WriteString("DATA=END\n")
	cmd := exec.Command("db5.3_load", filepath.Join(dir, "Packages"))
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("db5.3_load: %v\n%s", err, out)
	}
	return root
}

// TestInstalledReadsBerkeleyDB reads hash tables that Berkeley DB itself wrote, which Debian's rpm can still read too.
func TestInstalledReadsBerkeleyDB(t *testing.T) {
	t.Parallel()
	sqlite := database(t)
	list := headers(t, sqlite)
	want := installed(t, os.DirFS(sqlite))
	for _, tc := range []struct {
		name, lorder, pageSize string
		times                  int
	}{
		{"little_endian", "1234", "4096", 1},
		{"big_endian", "4321", "4096", 1},
		{"small_pages", "1234", "512", 1},
		{"large_pages", "1234", "65536", 1}, // headers lie in the hash pages themselves
		{"many_buckets", "1234", "1024", 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var all [][]byte
			var wantAll []string
			for range tc.times {
				all, wantAll = append(all, list...), append(wantAll, want...)
			}
			slices.Sort(wantAll)
			root := bdbRoot(t, all, tc.lorder, tc.pageSize)
			if diff := cmp.Diff(wantAll, installed(t, os.DirFS(root))); diff != "" {
				t.Errorf("Installed (-want +got):\n%s", diff)
			}
			if tc.times > 1 {
				return
			}
			if diff := cmp.Diff(plain(askRPM(t, dbPath(root), "--define", "_db_backend bdb_ro", "-qa")), want); diff != "" {
				t.Errorf("rpm reads the test's own file in another way (-rpm +test):\n%s", diff)
			}
		})
	}
}

// ndbFile writes headers in the layout of rpm's ndb backend. No rpm that writes it can be had here, so that the test
// rests on the layout's description: a head and slots of 16 bytes in pages of 4096, then blobs in blocks of 16 bytes.
func ndbFile(list [][]byte) []byte {
	le := binary.LittleEndian
	const page, block = 4096, 16
	pages := (2+len(list)+page/block-1)/(page/block) + 1 // one more page of free slots
	out := make([]byte, pages*page)
	copy(out, "RpmP")
	le.PutUint32(out[8:], 7) // generation
	le.PutUint32(out[12:], uint32(pages))
	le.PutUint32(out[16:], uint32(len(list)+1))
	for at := 2 * block; at < len(out); at += block {
		copy(out[at:], "Slot")
	}
	for i, h := range list {
		blocks := (16 + len(h) + 12 + block - 1) / block
		slot := out[(2+i*2%max(1, len(list)))*block:] // any order
		if i*2 >= len(list) {
			slot = out[(2+len(list)+i)*block:]
		}
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(len(out)/block))
		le.PutUint32(slot[12:], uint32(blocks))
		blob := make([]byte, blocks*block)
		copy(blob, "BlbS")
		le.PutUint32(blob[4:], uint32(i+1))
		le.PutUint32(blob[8:], 7)
		le.PutUint32(blob[12:], uint32(len(h)))
		copy(blob[16:], h)
		tail := blob[len(blob)-12:]
		le.PutUint32(tail[4:], uint32(len(h)))
		copy(tail[8:], "BlbE")
		out = append(out, blob...)
	}
	return out
}

func mapRoot(name string, b []byte) fstest.MapFS { return fstest.MapFS{name: {Data: b}} }

func TestInstalledReadsNDB(t *testing.T) {
	t.Parallel()
	sqlite := database(t)
	root := mapRoot("usr/lib/sysimage/rpm/Packages.db", ndbFile(headers(t, sqlite)))
	if diff := cmp.Diff(installed(t, os.DirFS(sqlite)), installed(t, root)); diff != "" {
		t.Errorf("Installed (-want +got):\n%s", diff)
	}
}

// TestDamagedDatabasesAreErrors cuts databases off, which must never look like fewer packages, and flips their bytes,
// which must end without a panic (sqlite and bdb have no checksums, so that not every flip can be seen).
func TestDamagedDatabasesAreErrors(t *testing.T) {
	t.Parallel()
	sqlite := database(t)
	list := headers(t, sqlite)
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, file := range map[string][]byte{
		"var/lib/rpm/rpmdb.sqlite": read(filepath.Join(sqlite, "var/lib/rpm/rpmdb.sqlite")),
		"var/lib/rpm/Packages.db":  ndbFile(list),
		"var/lib/rpm/Packages":     read(filepath.Join(bdbRoot(t, list, "1234", "4096"), "var/lib/rpm/Packages")),
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			count := func(b []byte) (int, error) {
				n := 0
				err := rpm.Installed(context.Background(), mapRoot(name, b), func(*rpm.Package) error { n++; return nil })
				return n, err
			}
			if n, err := count(file); n != len(list) || err != nil {
				t.Fatalf("%d packages, %v, want %d", n, err, len(list))
			}
			for cut := 0; cut < len(file); cut += max(1, len(file)/97) {
				if n, err := count(file[:cut]); err == nil && n != len(list) {
					t.Errorf("cut to %d of %d bytes: %d packages and no error", cut, len(file), n)
				}
			}
			broken := bytes.Clone(file)
			errs := 0
			for i := 0; i < len(file); i += max(1, len(file)/4001) {
				broken[i] ^= 0xff
				if _, err := count(broken); err != nil {
					errs++
				}
				broken[i] = file[i]
			}
			if errs == 0 {
				t.Error("no flipped byte was an error")
			}
		})
	}
}

func TestInstalledWithoutADatabase(t *testing.T) {
	t.Parallel()
	never := func(*rpm.Package) error { t.Error("a package"); return nil }
	if err := rpm.Installed(context.Background(), fstest.MapFS{}, never); !errors.Is(err, rpm.ErrNoDatabase) {
		t.Errorf("Installed = %v, want ErrNoDatabase", err)
	}
	if err := rpm.Installed(context.Background(), mapRoot("var/lib/rpm/rpmdb.sqlite", nil), never); err == nil {
		t.Error("an empty file is no error")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	root := database(t)
	if err := rpm.Installed(ctx, os.DirFS(root), never); !errors.Is(err, context.Canceled) {
		t.Errorf("Installed with an ended context = %v", err)
	}
}

// TestInstalledRefusesABomb has headers that name nothing, a million times each.
func TestInstalledRefusesABomb(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	bomb := header(map[uint32][]byte{1000: []byte("bomb\x00"), 1047: make([]byte, n)}, map[uint32]uint32{1047: n})
	root := mapRoot("var/lib/rpm/Packages.db", ndbFile([][]byte{bomb, bomb, bomb, bomb, bomb, bomb}))
	if err := rpm.Installed(context.Background(), root, func(*rpm.Package) error { return nil }); !errors.Is(err, rpm.ErrTooLarge) {
		t.Errorf("Installed = %v, want ErrTooLarge", err)
	}
}

func TestReadingNoticesAChange(t *testing.T) {
	t.Parallel()
	root := database(t)
	file := filepath.Join(root, "var/lib/rpm/rpmdb.sqlite")
	reads := 0
	err := rpm.EachHeader(context.Background(), os.DirFS(root), func([]byte) error {
		reads++
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Write(make([]byte, 4096))
		return err
	})
	if !errors.Is(err, rpm.ErrChanged) || reads == 0 {
		t.Errorf("after %d headers = %v, want ErrChanged", reads, err)
	}
}

// TestInstalledWhileRPMIsAtWork reads again and again while rpm installs and erases packages.
func TestInstalledWhileRPMIsAtWork(t *testing.T) {
	t.Parallel()
	root := database(t)
	files, err := filepath.Glob(filepath.Join(repository(t), "[!b]*.rpm")) // all but beta and base
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if out, err := justDB(root, append(slices.Clone(files), "--replacepkgs")...).CombinedOutput(); err != nil {
				done <- fmt.Errorf("rpm: %w: %s", err, out)
				return
			}
		}
	}()
	reads, counts := 0, map[int]bool{}
	for range 150 {
		n, beta := 0, false
		err := rpm.Installed(context.Background(), os.DirFS(root), func(p *rpm.Package) error {
			n++
			beta = beta || p.Name == "beta"
			return nil
		})
		if err != nil {
			t.Errorf("read %d: %v", reads, err)
			break
		}
		if !beta || n < 5 { // rpm does not touch beta, and replaces one package at a time
			t.Errorf("read %d: beta there = %v among %d packages", reads, beta, n)
		}
		reads++
		counts[n] = true
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d reads, numbers of packages: %v", reads, counts)
	if len(counts) < 2 {
		t.Error("rpm changed nothing: the test has shown nothing")
	}
}

// FuzzInstalled must end, with packages or an error, whatever is in a database of any format.
func FuzzInstalled(f *testing.F) {
	header := testHeader()
	for i, b := range [][]byte{ndbFile([][]byte{header, header}), sqliteFile(make([]byte, 512)), make([]byte, 600)} {
		f.Add(i, b, []byte{})
	}
	if root := os.Getenv("OAKUM_FUZZ_ROOT"); root != "" {
		b, err := os.ReadFile(filepath.Join(root, "var/lib/rpm/rpmdb.sqlite"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(1, b, []byte{})
	}
	names := []string{"Packages.db", "rpmdb.sqlite", "Packages"}
	f.Fuzz(func(t *testing.T, kind int, b, log []byte) {
		root := mapRoot("var/lib/rpm/"+names[uint(kind)%3], b)
		root["var/lib/rpm/rpmdb.sqlite-wal"] = &fstest.MapFile{Data: log}
		n := 0
		_ = rpm.Installed(context.Background(), root, func(*rpm.Package) error { n++; return nil })
		if n > len(b) {
			t.Errorf("%d packages in %d bytes", n, len(b))
		}
		_, _ = rpm.Owners(context.Background(), root, map[string]struct{}{"/a": {}})
	})
}

// testHeader is the smallest header of a package.
func testHeader() []byte {
	be := binary.BigEndian
	var index, data []byte
	add := func(tag, kind, count uint32, b string) {
		for _, n := range []uint32{tag, kind, uint32(len(data)), count} {
			index = be.AppendUint32(index, n)
		}
		data = append(data, b...)
	}
	add(1000, 6, 1, "alpha\x00")
	add(1001, 6, 1, "1\x00")
	add(1002, 6, 1, "2\x00")
	add(1047, 8, 2, "a\x00b\x00")
	add(1112, 4, 2, "\x00\x00\x00\x08\x00\x00\x00\x00")
	add(1113, 8, 2, "1:2-3\x00\x00")
	add(1118, 8, 1, "/\x00")
	add(1117, 8, 1, "a\x00")
	add(1116, 4, 1, "\x00\x00\x00\x00")
	out := be.AppendUint32(nil, uint32(len(index)/16))
	out = be.AppendUint32(out, uint32(len(data)))
	return append(append(out, index...), data...)
}

// FuzzHeader must never panic, whatever a header says about itself.
func FuzzHeader(f *testing.F) {
	f.Add(testHeader())
	f.Fuzz(func(_ *testing.T, b []byte) {
		root := mapRoot("var/lib/rpm/Packages.db", ndbFile([][]byte{b}))
		_ = rpm.Installed(context.Background(), root, func(*rpm.Package) error { return nil })
		_, _ = rpm.Owners(context.Background(), root, map[string]struct{}{"/a": {}})
	})
}

func TestHeaderOfATest(t *testing.T) {
	t.Parallel()
	got := installed(t, mapRoot("var/lib/rpm/Packages.db", ndbFile([][]byte{testHeader()})))
	if diff := cmp.Diff([]string{"P alpha - 1 2 - - - 0 - - -\nV a = 1:2-3\nV b"}, got); diff != "" {
		t.Errorf("Installed (-want +got):\n%s", diff)
	}
}
