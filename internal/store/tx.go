package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Tx is a transaction: the methods of the aggregates' files read and write through it.
type Tx struct {
	ctx context.Context
	s   *Store
	q   querier
	now time.Time
}

type querier interface {
	query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	exec(ctx context.Context, q string, args ...any) (sql.Result, error)
}

// Now is the transaction's time, the same for every statement in it.
func (tx *Tx) Now() time.Time { return tx.now }

// exec runs one writing statement and returns the number of rows it changed.
func (tx *Tx) exec(q string, args ...any) (int64, error) {
	if tx.s.onQuery != nil {
		tx.s.onQuery(q)
	}
	res, err := tx.q.exec(tx.ctx, q, storable(args)...)
	if err != nil {
		return 0, tx.s.d.classify(err)
	}
	return res.RowsAffected()
}

// storable replaces what PostgreSQL's TEXT cannot hold, on both engines alike: nodes and callers write what they
// like, and a NUL must not make a fault of it.
func storable(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
		}
	}
	return args
}

// row is what a query's columns are scanned into: fields gives the pointers in the order of the columns.
type row interface{ fields() []any }

// all reads every row of a query.
func all[T any, P interface {
	*T
	row
}](tx *Tx, q string, args ...any) (out []T, err error) {
	err = tx.each(q, args, func(rows *sql.Rows) error {
		var v T
		if err := rows.Scan(P(&v).fields()...); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

// one reads the single row of a query, or ErrNotFound.
func one[T any, P interface {
	*T
	row
}](tx *Tx, q string, args ...any) (T, error) {
	list, err := all[T, P](tx, q, args...)
	if err != nil || len(list) == 0 {
		var zero T
		if err == nil {
			err = ErrNotFound
		}
		return zero, err
	}
	return list[0], nil
}

// scalar reads one value, or ErrNotFound.
func scalar[T any](tx *Tx, q string, args ...any) (v T, err error) {
	list, err := column[T](tx, q, args...)
	if err != nil {
		return v, err
	}
	if len(list) == 0 {
		return v, ErrNotFound
	}
	return list[0], nil
}

// column reads the single column of a query.
func column[T any](tx *Tx, q string, args ...any) (out []T, err error) {
	err = tx.each(q, args, func(rows *sql.Rows) error {
		var v T
		if err := rows.Scan(&v); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

func (tx *Tx) each(q string, args []any, fn func(*sql.Rows) error) (err error) {
	if tx.s.onQuery != nil {
		tx.s.onQuery(q)
	}
	rows, err := tx.q.query(tx.ctx, q, storable(args)...)
	if err != nil {
		return tx.s.d.classify(fmt.Errorf("query: %w", err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return tx.s.d.classify(rows.Err())
}

// instant scans a BIGINT of Unix microseconds into a time; 0 is the zero time, "never".
type instant struct{ t *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("instant is a %T", src)
	}
	*i.t = time.Time{}
	if n != 0 {
		*i.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// at turns a time into the BIGINT that columns ending _at hold.
func at(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// NextNumber counts up the named counter of the scope and returns its new value, from 1.
func (tx *Tx) NextNumber(sc Scope, name string) (int64, error) {
	return scalar[int64](tx, `INSERT INTO counter (account, region, name, value) VALUES ($1, $2, $3, 1)
		ON CONFLICT (account, region, name) DO UPDATE SET value = counter.value + 1 RETURNING value`,
		sc.Account, sc.Region, name)
}
