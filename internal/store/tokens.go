package store

import (
	"context"
	"errors"
	"time"
)

// ClientToken remembers the result of a create call, so that a repeated call gets the same one.
type ClientToken struct {
	RequestHash string
	Result      string
}

func (t *ClientToken) fields() []any { return []any{&t.RequestHash, &t.Result} }

// ErrTokenMismatch says that a client token came back with another request.
var ErrTokenMismatch = errors.New("client token used with another request")

// Once returns the stored result of the token, or ErrNotFound for a new one, or ErrTokenMismatch.
func (tx *Tx) Once(sc Scope, operation, token, requestHash string) (string, error) {
	if token == "" {
		return "", ErrNotFound
	}
	t, err := one[ClientToken](tx, `SELECT request_hash, result FROM client_token WHERE account = $1 AND region = $2 AND operation = $3 AND token = $4`,
		sc.Account, sc.Region, operation, token)
	if err != nil {
		return "", err
	}
	if t.RequestHash != requestHash {
		return "", ErrTokenMismatch
	}
	return t.Result, nil
}

// Remember stores the result of a create call under its token.
func (tx *Tx) Remember(sc Scope, operation, token, requestHash, result string) error {
	if token == "" {
		return nil
	}
	_, err := tx.exec(`INSERT INTO client_token (account, region, operation, token, request_hash, result, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		sc.Account, sc.Region, operation, token, requestHash, result, at(tx.now))
	return err
}

// UpdateOnce runs fn in a transaction and remembers id, what it makes, under the client token; when the token was used
// before, it answers the id of that time instead. Errors: ErrTokenMismatch, fn's.
func (s *Store) UpdateOnce(ctx context.Context, sc Scope, operation, token, requestHash, id string, fn func(*Tx) error) (string, error) {
	var made string
	err := s.Update(ctx, func(tx *Tx) (err error) {
		if made, err = tx.Once(sc, operation, token, requestHash); !errors.Is(err, ErrNotFound) {
			return err
		}
		made = id
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Remember(sc, operation, token, requestHash, id)
	})
	return made, err
}

// DeleteOldTokens removes tokens older than before, at most limit of them.
func (tx *Tx) DeleteOldTokens(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM client_token WHERE (account, region, operation, token) IN
		(SELECT account, region, operation, token FROM client_token WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, at(before), limit)
}
