// Package oakumtest starts what tests need around Oakum: a PostgreSQL cluster of their own, a server in this
// process, nodes. It is imported by tests only. Start with Postgres and Main.
package oakumtest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

var cluster struct {
	sync.Mutex
	dir  string
	addr string
	cmd  *exec.Cmd
	err  error
}

var databases atomic.Int64

// Main runs the tests of a package, stops the PostgreSQL cluster that they started and tidies up.
func Main(m *testing.M, tidy ...func()) {
	code := m.Run()
	stopCluster()
	for _, f := range tidy {
		f()
	}
	os.Exit(code)
}

func stopCluster() {
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.cmd != nil {
		_ = cluster.cmd.Process.Signal(os.Interrupt) // fast shutdown
		_ = cluster.cmd.Wait()                       // its exit code says nothing of the tests
		_ = os.RemoveAll(cluster.dir)
	}
}

// Postgres returns the URL of a new, empty database in a PostgreSQL cluster that belongs to this test process.
// It skips the test, saying why, where PostgreSQL is not installed.
func Postgres(t testing.TB) string {
	t.Helper()
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.cmd == nil && cluster.err == nil {
		cluster.err = startCluster()
	}
	if cluster.err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL for tests: %v", cluster.err)
		}
		t.Skipf("PostgreSQL for tests: %v (apt-get install postgresql)", cluster.err)
	}
	name := fmt.Sprintf("t%d", databases.Add(1))
	admin, err := sql.Open("pgx", "postgres://postgres@"+cluster.addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return "postgres://postgres@" + cluster.addr + "/" + name + "?sslmode=disable"
}

func postgresBinary(name string) (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1], nil
	}
	return exec.LookPath(name)
}

func startCluster() error {
	initdb, err := postgresBinary("initdb")
	if err != nil {
		return err
	}
	server, err := postgresBinary("postgres")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "oakum-pg-")
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	// PostgreSQL refuses to run as root: give it to nobody.
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return err
		}
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		dropRoot(cmd)
		return cmd
	}
	if out, err := run(initdb, "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C.UTF-8").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	_ = l.Close() // the port is taken again at once
	_, port, _ := net.SplitHostPort(addr)
	cmd := run(server, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", dir, "-c", "max_connections=200", "-c", "fsync=on")
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return err
	}
	cluster.cmd, cluster.dir, cluster.addr = cmd, dir, addr
	db, err := sql.Open("pgx", "postgres://postgres@"+addr+"/postgres?sslmode=disable")
	if err != nil {
		return err
	}
	defer db.Close()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err = db.PingContext(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL did not start: %w", err)
		}
		time.Sleep(50 * time.Millisecond) // a foreign process can only be polled
	}
}
