package store

import "time"

// Freeze refuses installs in one account and region until it ends.
type Freeze struct {
	Account   string
	Region    string
	Reason    string
	StartedAt time.Time
	EndsAt    time.Time
	SetBy     string // ARN
}

func (f *Freeze) fields() []any {
	return []any{&f.Account, &f.Region, &f.Reason, instant{&f.StartedAt}, instant{&f.EndsAt}, &f.SetBy}
}

// Freeze reads the freeze that is in effect now, or ErrNotFound.
func (tx *Tx) Freeze(sc Scope) (Freeze, error) {
	return one[Freeze](tx, `SELECT account, region, reason, started_at, ends_at, set_by FROM install_freeze
		WHERE account = $1 AND region = $2 AND ends_at > $3`, sc.Account, sc.Region, at(tx.now))
}

// Freezes lists the freezes of the account's regions that are in effect now.
func (tx *Tx) Freezes(account string) ([]Freeze, error) {
	return all[Freeze](tx, `SELECT account, region, reason, started_at, ends_at, set_by FROM install_freeze
		WHERE account = $1 AND ends_at > $2 ORDER BY region`, account, at(tx.now))
}

// PutFreeze stores the one freeze of its account and region, in place of what was there.
func (tx *Tx) PutFreeze(f Freeze) error {
	_, err := tx.exec(`INSERT INTO install_freeze (account, region, reason, started_at, ends_at, set_by) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region) DO UPDATE SET reason = excluded.reason, started_at = excluded.started_at, ends_at = excluded.ends_at, set_by = excluded.set_by`,
		f.Account, f.Region, f.Reason, at(f.StartedAt), at(f.EndsAt), f.SetBy)
	return err
}

// DeleteFreeze removes the freeze of the scope and reports whether one was in effect.
func (tx *Tx) DeleteFreeze(sc Scope) (bool, error) {
	n, err := tx.exec(`DELETE FROM install_freeze WHERE account = $1 AND region = $2 AND ends_at > $3`, sc.Account, sc.Region, at(tx.now))
	return n > 0, err
}
