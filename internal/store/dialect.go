package store

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	moderncsqlite "modernc.org/sqlite"
)

// dialect is the engine of a store. What differs between the engines is a method of it, and nowhere else.
type dialect string

const (
	sqlite   dialect = "sqlite"
	postgres dialect = "postgres"
)

// SQLite's primary result codes that the store branches on.
const (
	sqliteBusy = 5
	sqliteFull = 13
	sqliteIO   = 10
)

// forUpdate is the row lock of a SELECT: SQLite has one writer and needs none.
func (d dialect) forUpdate() string {
	if d == postgres {
		return " FOR UPDATE"
	}
	return ""
}

// skipLocked lets several servers claim due work without waiting for each other.
func (d dialect) skipLocked() string {
	if d == postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// viewIsolation gives views one consistent state: SQLite's read transactions have it by nature.
func (d dialect) viewIsolation() sql.IsolationLevel {
	if d == postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// retryable reports whether the transaction may be run again as it is. A unique violation is: another transaction
// has inserted the row after this one looked for it, and the next run sees it.
func (d dialect) retryable(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "23505"
	}
	if lite, ok := errors.AsType[*moderncsqlite.Error](err); ok {
		return lite.Code()&0xff == sqliteBusy
	}
	return false
}

// unique reports a violated unique constraint.
func (d dialect) unique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23505"
	}
	if lite, ok := errors.AsType[*moderncsqlite.Error](err); ok {
		return lite.Code() == 2067 || lite.Code() == 1555
	}
	return false
}

// classify names the faults that callers answer in their own way.
func (d dialect) classify(err error) error {
	if err == nil {
		return nil
	}
	if lite, ok := errors.AsType[*moderncsqlite.Error](err); ok && lite.Code()&0xff == sqliteFull {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "53100" {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// IsUnique reports whether err says that a row with this key was there already.
func IsUnique(err error) bool { return sqlite.unique(err) || postgres.unique(err) }

// placeholders returns "$from, $from+1, ..." for n values, for IN lists.
func placeholders(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", from+i)
	}
	return b.String()
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}
