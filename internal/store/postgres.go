package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

func (s *Store) openPostgres(ctx context.Context, url string) error {
	s.d = postgres
	db, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s.read, s.write = db, db
	var version int
	if err := db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if version < 150000 {
		return fmt.Errorf("PostgreSQL %d is too old: at least 15 is needed", version/10000)
	}
	return nil
}

// updatePostgres runs fn at READ COMMITTED with the row locks that the statements name, and again when
// PostgreSQL asks for it. Lock order: account, window, window
// execution, command, invocation, node, and then work items.
func (s *Store) updatePostgres(ctx context.Context, fn func(*Tx) error) error {
	const tries = 5
	var err error
	for try := range tries {
		if err = s.transactPostgres(ctx, fn); err == nil || !s.d.retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try+1) * 10 * time.Millisecond):
		}
	}
	return err
}

func (s *Store) transactPostgres(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.d.classify(fmt.Errorf("begin: %w", err))
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := fn(&Tx{ctx: ctx, s: s, q: sqlTx{tx}, now: s.now()}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return s.d.classify(fmt.Errorf("commit: %w", err))
	}
	return nil
}

type sqlTx struct{ tx *sql.Tx }

func (t sqlTx) query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, q, args...)
}

func (t sqlTx) exec(ctx context.Context, q string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, q, args...)
}
