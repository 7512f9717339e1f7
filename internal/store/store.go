// Package store holds all SQL of Oakum: one hand-written text for SQLite and PostgreSQL, one file per
// aggregate, transactions, durable work items, content-addressed blobs, migrations and the copies made by
// backup. It knows rows, not rules: what a state may become is decided by the services.
// Start with Open, then Store.Update and Store.View.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/internal/audit"
)

// Config says which database to open.
type Config struct {
	Path string // SQLite file; used when URL is empty
	URL  string // postgres://...
	Log  *slog.Logger
	Now  func() time.Time

	// Beside opens an existing database for a short write beside a running server: no lock, no migration.
	Beside bool
	// ReadOnly opens an existing database beside a running server, for copies: no lock, no migration, no writes.
	ReadOnly bool
}

// Scope is the tenant that every row belongs to. Only the authentication layer may build one.
type Scope struct {
	Account string // 12 digits
	Region  string
}

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrNewer    = errors.New("the database was written by a newer oakum")

	// The caller of the API gets these two as they are: it may try again.
	ErrClosed error = awserr.Unavailable("The server is stopping.")
	ErrFull   error = awserr.Unavailable("The disk of the server's database is full; nothing was changed.")
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	begun atomic.Int64

	d      dialect
	log    *slog.Logger
	now    func() time.Time
	read   *sql.DB
	write  *sql.DB
	writer *writer // SQLite only: the one goroutine that commits
	unlock func() error

	stmts   sync.Map      // query -> *sql.Stmt on read
	views   chan struct{} // SQLite: a place for each view that may run
	onQuery func(string)
}

// Open opens the database, migrates it to this version's schema and returns the store.
// A second process on the same SQLite file gets an error that names the lock file.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: c.Log, now: c.Now}
	var err error
	if c.URL != "" {
		err = s.openPostgres(ctx, c.URL)
	} else {
		err = s.openSQLite(ctx, c.Path, c.ReadOnly || c.Beside)
	}
	if err != nil {
		return nil, err
	}
	if c.ReadOnly {
		return s, nil
	}
	if !c.Beside {
		if err := s.migrate(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.d == sqlite {
		if s.writer, err = newWriter(ctx, s); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close waits for the transactions under way and closes the database.
func (s *Store) Close() error {
	if s.writer != nil {
		s.writer.stop()
	}
	var errs []error
	s.stmts.Range(func(_, v any) bool {
		errs = append(errs, v.(*sql.Stmt).Close())
		return true
	})
	errs = append(errs, s.read.Close())
	if s.write != s.read {
		errs = append(errs, s.write.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// Engine names the database engine for logs and health: "sqlite" or "postgres".
func (s *Store) Engine() string { return string(s.d) }

// Update runs fn in one durable transaction: when it returns nil, what fn wrote survives kill -9 and power
// loss. fn may run more than once and so has no effects outside the transaction; it must not wait for
// anything. The audit record that ctx carries is written by the same commit (promise R-29).
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	s.begun.Add(1)
	rec := audit.Pending(ctx)
	run := fn
	if rec.Claim() {
		run = func(tx *Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return tx.AppendAudit(rec)
		}
	} else {
		rec = nil
	}
	var err error
	if s.writer != nil {
		err = s.writer.do(ctx, run)
	} else {
		err = s.updatePostgres(ctx, run)
	}
	if err == nil {
		rec.Written()
	} else {
		rec.Release()
	}
	return err
}

// View runs fn on one consistent state of the database. fn must not write.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	s.begun.Add(1)
	if s.views != nil {
		select {
		case s.views <- struct{}{}:
			defer func() { <-s.views }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: s.d.viewIsolation()})
	if err != nil {
		return s.d.classify(fmt.Errorf("begin view: %w", err))
	}
	defer func() { _ = tx.Rollback() }() // a read-only transaction has nothing to lose
	return fn(&Tx{ctx: ctx, s: s, q: readQuerier{s, tx}, now: s.now()})
}

// Begun is the number of transactions, views included, since the store was opened.
func (s *Store) Begun() int64 { return s.begun.Load() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.read.PingContext(ctx) }

// readQuerier runs statements of a view; on SQLite they are prepared once per connection.
type readQuerier struct {
	s  *Store
	tx *sql.Tx
}

func (r readQuerier) query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if r.s.d == postgres {
		return r.tx.QueryContext(ctx, q, args...) // pgx keeps prepared statements itself
	}
	v, ok := r.s.stmts.Load(q)
	if !ok {
		st, err := r.s.read.PrepareContext(ctx, q)
		if err != nil {
			return nil, err
		}
		var raced bool
		if v, raced = r.s.stmts.LoadOrStore(q, st); raced {
			_ = st.Close() // another goroutine prepared the same statement first
		}
	}
	return r.tx.StmtContext(ctx, v.(*sql.Stmt)).QueryContext(ctx, args...)
}

func (r readQuerier) exec(context.Context, string, ...any) (sql.Result, error) {
	return nil, errors.New("a view cannot write")
}

// Bytes is the size of the data: SQLite's pages in use, or the PostgreSQL database.
func (s *Store) Bytes(ctx context.Context) (int64, error) {
	q := `SELECT (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())
		- (SELECT freelist_count FROM pragma_freelist_count()) * (SELECT page_size FROM pragma_page_size())`
	if s.d == postgres {
		q = `SELECT pg_database_size(current_database())`
	}
	var n int64
	err := s.read.QueryRowContext(ctx, q).Scan(&n)
	return n, err
}
