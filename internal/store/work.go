package store

import "time"

// WorkItem is a promise to do something later, kept in the transaction that made it (docs/adr).
type WorkItem struct {
	ID         string // kind:account:region:subject, unique per promise
	Kind       string
	Account    string
	Region     string
	Subject    string
	DueAt      time.Time
	LeaseUntil time.Time
	Fence      int64
	Attempts   int64
}

func (w *WorkItem) fields() []any {
	return []any{
		&w.ID, &w.Kind, &w.Account, &w.Region, &w.Subject, instant{&w.DueAt}, instant{&w.LeaseUntil}, &w.Fence, &w.Attempts,
	}
}

const workColumns = `id, kind, account, region, subject, due_at, lease_until, fence, attempts`

// Schedule promises the work; a promise that stands already is kept as it is.
func (tx *Tx) Schedule(kind string, sc Scope, subject string, due time.Time) error {
	_, err := tx.exec(`INSERT INTO work_item (`+workColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0) ON CONFLICT (id) DO NOTHING`,
		kind+":"+sc.Account+":"+sc.Region+":"+subject, kind, sc.Account, sc.Region, subject, at(due))
	return err
}

// Unschedule withdraws a promise.
func (tx *Tx) Unschedule(kind string, sc Scope, subject string) error {
	_, err := tx.exec(`DELETE FROM work_item WHERE id = $1`, kind+":"+sc.Account+":"+sc.Region+":"+subject)
	return err
}

// Hasten makes a promise due no later than due. One that a worker holds, or that is not there, is left alone.
func (tx *Tx) Hasten(kind string, sc Scope, subject string, due time.Time) error {
	_, err := tx.exec(`UPDATE work_item SET due_at = $1 WHERE id = $2 AND due_at > $1 AND lease_until <= $3`,
		at(due), kind+":"+sc.Account+":"+sc.Region+":"+subject, at(tx.now))
	return err
}

// ClaimWork leases due items to the caller, at most limit.
func (tx *Tx) ClaimWork(lease time.Duration, limit int) ([]WorkItem, error) {
	now := at(tx.now)
	return all[WorkItem](tx, `UPDATE work_item SET lease_until = $1, fence = fence + 1, attempts = attempts + 1 WHERE id IN (
		SELECT id FROM work_item WHERE due_at <= $2 AND lease_until <= $2 ORDER BY due_at LIMIT $3`+tx.s.d.skipLocked()+`) RETURNING `+workColumns,
		at(tx.now.Add(lease)), now, limit)
}

// FinishWork removes a done item. It reports false when the lease was lost to another worker: the caller's
// transaction must then change nothing.
func (tx *Tx) FinishWork(w WorkItem) (bool, error) {
	n, err := tx.exec(`DELETE FROM work_item WHERE id = $1 AND fence = $2`, w.ID, w.Fence)
	return n == 1, err
}

// PostponeWork gives an item back to be done at due.
func (tx *Tx) PostponeWork(w WorkItem, due time.Time) (bool, error) {
	n, err := tx.exec(`UPDATE work_item SET due_at = $1, lease_until = 0 WHERE id = $2 AND fence = $3`, at(due), w.ID, w.Fence)
	return n == 1, err
}

// NextWork is when the next item is due, or the zero time when there is none.
func (tx *Tx) NextWork() (time.Time, error) {
	list, err := column[int64](tx, `SELECT due_at FROM work_item ORDER BY due_at LIMIT 1`)
	if err != nil || len(list) == 0 {
		return time.Time{}, err
	}
	return time.UnixMicro(list[0]).UTC(), nil
}
