package store

import (
	"encoding/json"
	"time"

	"oakum.dev/internal/audit"
)

// Account is a tenant with its wrapped data key.
type Account struct {
	ID        string
	DataKey   []byte // wrapped by the master key
	CreatedAt time.Time
}

func (a *Account) fields() []any { return []any{&a.ID, &a.DataKey, instant{&a.CreatedAt}} }

// AccessKey is a long-term key of a person or a program. Sealed is its secret, encrypted.
type AccessKey struct {
	ID        string
	Account   string
	Name      string
	Kind      string
	Sealed    []byte
	Active    bool
	CreatedAt time.Time
}

func (k *AccessKey) fields() []any {
	return []any{&k.ID, &k.Account, &k.Name, &k.Kind, &k.Sealed, &k.Active, instant{&k.CreatedAt}}
}

// Accounts lists the accounts by id.
func (tx *Tx) Accounts() ([]Account, error) {
	return all[Account](tx, `SELECT account, data_key, created_at FROM account ORDER BY account`)
}

// InsertAccount stores a new account.
func (tx *Tx) InsertAccount(a Account) error {
	_, err := tx.exec(`INSERT INTO account (account, data_key, created_at) VALUES ($1, $2, $3)`, a.ID, a.DataKey, at(a.CreatedAt))
	return err
}

// AccessKey reads one key, or ErrNotFound.
func (tx *Tx) AccessKey(id string) (AccessKey, error) {
	return one[AccessKey](tx, `SELECT access_key_id, account, name, kind, sealed, active, created_at FROM access_key WHERE access_key_id = $1`, id)
}

// AccessKeyCount counts the active keys of an account and kind.
func (tx *Tx) AccessKeyCount(account, kind string) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM access_key WHERE account = $1 AND kind = $2 AND active`, account, kind)
}

// InsertAccessKey stores a new key.
func (tx *Tx) InsertAccessKey(k AccessKey) error {
	_, err := tx.exec(`INSERT INTO access_key (access_key_id, account, name, kind, sealed, active, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Account, k.Name, k.Kind, k.Sealed, k.Active, at(k.CreatedAt))
	return err
}

// AppendAudit writes an audit record into the transaction that it describes.
func (tx *Tx) AppendAudit(r *audit.Record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO audit_event (event_id, account, region, at, name, read_only, error_code, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (event_id) DO NOTHING`,
		r.EventID, r.Account, r.Region, at(r.EventTime), r.EventName, r.ReadOnly, r.ErrorCode, string(body))
	return err
}

// AuditEvent is a stored audit record.
type AuditEvent struct {
	EventID   string
	At        time.Time
	Name      string
	ReadOnly  bool
	ErrorCode string
	Body      string
}

func (e *AuditEvent) fields() []any {
	return []any{&e.EventID, instant{&e.At}, &e.Name, &e.ReadOnly, &e.ErrorCode, &e.Body}
}

// AuditEvents lists the newest records of the scope, at most limit.
func (tx *Tx) AuditEvents(sc Scope, limit int) ([]AuditEvent, error) {
	return all[AuditEvent](tx, `SELECT event_id, at, name, read_only, error_code, body FROM audit_event
		WHERE account = $1 AND region = $2 ORDER BY at DESC, event_id DESC LIMIT $3`, sc.Account, sc.Region, limit)
}

// DeleteOldAudit removes records older than before, at most limit of them, and says how many.
func (tx *Tx) DeleteOldAudit(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM audit_event WHERE event_id IN (SELECT event_id FROM audit_event WHERE at < $1 ORDER BY at LIMIT $2)`, at(before), limit)
}
