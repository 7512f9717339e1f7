package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
)

// sqliteMinVersion is the first release without the race that corrupts the WAL when one connection
// checkpoints while another writes.
const sqliteMinVersion = "3.51.3"

// concurrentViews is how many views of a SQLite store run at the same time.
const concurrentViews = 4

func sqliteDSN(path string, pragmas ...string) string {
	q := url.Values{}
	for _, p := range append([]string{
		"busy_timeout(5000)", "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(ON)", "trusted_schema(OFF)", "cell_size_check(ON)", "journal_size_limit(67108864)", "temp_store(MEMORY)",
	}, pragmas...) {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func (s *Store) openSQLite(ctx context.Context, path string, beside bool) error {
	s.d = sqlite
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("database path: %w", err)
	}
	if beside {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("open database: %w", err)
		}
	} else {
		if s.unlock, err = lockFile(path + ".lock"); err != nil {
			return err
		}
		// The engine gives its other files the mode of this one: for the owner only.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("open database: %w", err)
		}
	}
	if s.write, err = sql.Open("sqlite", sqliteDSN(path, "cache_size(-16384)")); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", sqliteDSN(path, "query_only(ON)", "cache_size(-8192)")); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	// A view holds one connection, and preparing a statement that is new takes another for a moment: with as many
	// views as connections they would wait for each other.
	s.views = make(chan struct{}, concurrentViews)
	s.read.SetMaxOpenConns(2 * concurrentViews)
	s.read.SetMaxIdleConns(2 * concurrentViews)
	var version string
	if err := s.write.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if olderVersion(version, sqliteMinVersion) {
		return fmt.Errorf("sqlite %s can corrupt a database in use: at least %s is needed", version, sqliteMinVersion)
	}
	return nil
}

func olderVersion(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2]) // a missing part counts as 0
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// writer is the single writing connection of a SQLite store and the goroutine that owns it. Transactions
// that wait while the disk syncs are committed together: full durability at the price of one sync a group.
type writer struct {
	s     *Store
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	queue chan *writeRequest
	quit  chan struct{}
	done  chan struct{}
}

type writeRequest struct {
	ctx  context.Context
	fn   func(*Tx) error
	err  error
	done chan struct{}
}

// groupSize bounds how many transactions share one commit.
const groupSize = 256

func newWriter(ctx context.Context, s *Store) (*writer, error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open writer: %w", err)
	}
	w := &writer{s: s, conn: conn, stmts: map[string]*sql.Stmt{}, queue: make(chan *writeRequest, groupSize), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *writer) stop() {
	close(w.quit)
	<-w.done
}

func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	r := &writeRequest{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case w.queue <- r:
	case <-w.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	// Once queued the outcome is awaited even if the caller has gone: it must know what was committed.
	select {
	case <-r.done:
		return r.err
	case <-w.done:
		select {
		case <-r.done:
			return r.err
		default:
			return ErrClosed
		}
	}
}

func (w *writer) run() {
	defer close(w.done)
	defer func() {
		for _, st := range w.stmts {
			_ = st.Close() // the connection is closed right after
		}
		_ = w.conn.Close() // the pool is closed by Store.Close, which reports
	}()
	for {
		select {
		case r := <-w.queue:
			group := []*writeRequest{r}
		more:
			for len(group) < groupSize {
				select {
				case r := <-w.queue:
					group = append(group, r)
				default:
					break more
				}
			}
			w.commit(group)
		case <-w.quit:
			for {
				select {
				case r := <-w.queue:
					w.commit([]*writeRequest{r})
				default:
					return
				}
			}
		}
	}
}

// commit runs the group in one transaction, each request in a savepoint. When the transaction as a whole
// fails, each request is run once more on its own, so that one of them cannot take the others down.
func (w *writer) commit(group []*writeRequest) {
	if err := w.transact(group); err != nil {
		for _, r := range group {
			if len(group) == 1 {
				r.err = err
			} else if err := w.transact([]*writeRequest{r}); err != nil {
				r.err = err
			}
		}
	}
	for _, r := range group {
		close(r.done)
	}
}

func (w *writer) transact(group []*writeRequest) (err error) {
	ctx := context.Background() // a caller that goes away must not tear the group's transaction
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return w.s.d.classify(fmt.Errorf("begin: %w", err))
	}
	committed := false
	defer func() {
		if !committed {
			if _, rerr := w.conn.ExecContext(ctx, "ROLLBACK"); rerr != nil {
				w.s.log.Debug("rollback", "err", rerr) // SQLite has rolled back by itself
			}
		}
	}()
	now := w.s.now()
	for _, r := range group {
		r.err = nil
		if err := r.ctx.Err(); err != nil {
			r.err = err
			continue
		}
		if _, err := w.exec(ctx, "SAVEPOINT request"); err != nil {
			return w.s.d.classify(err)
		}
		r.err = w.call(ctx, r, now)
		if r.err != nil {
			if errors.Is(r.err, ErrFull) {
				return r.err
			}
			if _, err := w.exec(ctx, "ROLLBACK TO request"); err != nil {
				return w.s.d.classify(err)
			}
		}
		if _, err := w.exec(ctx, "RELEASE request"); err != nil {
			return w.s.d.classify(err)
		}
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return w.s.d.classify(fmt.Errorf("commit: %w", err))
	}
	committed = true
	return nil
}

func (w *writer) call(ctx context.Context, r *writeRequest, now time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.s.log.Error("panic in a transaction", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in a transaction: %v", p)
		}
	}()
	return r.fn(&Tx{ctx: ctx, s: w.s, q: w, now: now})
}

func (w *writer) prepare(ctx context.Context, q string) (*sql.Stmt, error) {
	st := w.stmts[q]
	if st == nil {
		var err error
		if st, err = w.conn.PrepareContext(ctx, q); err != nil {
			return nil, err
		}
		w.stmts[q] = st
	}
	return st, nil
}

func (w *writer) query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	st, err := w.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

func (w *writer) exec(ctx context.Context, q string, args ...any) (sql.Result, error) {
	st, err := w.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}
