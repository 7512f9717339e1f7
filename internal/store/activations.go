package store

import "time"

// Activation lets hybrid nodes register.
type Activation struct {
	Account, Region     string
	ID                  string
	CodeHash            string // SHA-256, hex
	IamRole             string
	Description         string
	DefaultInstanceName string
	RegistrationLimit   int64
	RegistrationsCount  int64
	Tags                string // JSON
	CreatedAt           time.Time
	ExpiresAt           time.Time
	Deleted             bool
}

func (a *Activation) fields() []any {
	return []any{
		&a.Account, &a.Region, &a.ID, &a.CodeHash, &a.IamRole, &a.Description, &a.DefaultInstanceName, &a.RegistrationLimit,
		&a.RegistrationsCount, &a.Tags,
		instant{&a.CreatedAt},
		instant{&a.ExpiresAt},
		&a.Deleted,
	}
}

const activationColumns = `account, region, id, code_hash, iam_role, description, default_instance_name, registration_limit,
	registrations_count, tags, created_at, expires_at, deleted`

// InsertActivation stores a new activation.
func (tx *Tx) InsertActivation(a Activation) error {
	_, err := tx.exec(`INSERT INTO activation (`+activationColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		a.Account, a.Region, a.ID, a.CodeHash, a.IamRole, a.Description, a.DefaultInstanceName, a.RegistrationLimit,
		a.RegistrationsCount, a.Tags, at(a.CreatedAt), at(a.ExpiresAt), a.Deleted)
	return err
}

// ActivationByID finds an activation of any tenant: a node that registers knows only the id.
func (tx *Tx) ActivationByID(id string) (Activation, error) {
	return one[Activation](tx, `SELECT `+activationColumns+` FROM activation WHERE id = $1`, id)
}

// TakeRegistration counts one registration if the limit and the expiry allow it.
func (tx *Tx) TakeRegistration(id string) (bool, error) {
	n, err := tx.exec(`UPDATE activation SET registrations_count = registrations_count + 1
		WHERE id = $1 AND registrations_count < registration_limit AND expires_at > $2 AND NOT deleted`, id, at(tx.now))
	return n == 1, err
}

// DeleteActivation marks an activation deleted and reports whether it was there.
func (tx *Tx) DeleteActivation(sc Scope, id string) (bool, error) {
	n, err := tx.exec(`UPDATE activation SET deleted = TRUE WHERE account = $1 AND region = $2 AND id = $3 AND NOT deleted`, sc.Account, sc.Region, id)
	return n == 1, err
}

// Activations lists activations with an id above after, in the order of their ids.
func (tx *Tx) Activations(sc Scope, after string, limit int) ([]Activation, error) {
	return all[Activation](tx, `SELECT `+activationColumns+` FROM activation WHERE account = $1 AND region = $2 AND id > $3 AND NOT deleted
		ORDER BY id LIMIT $4`, sc.Account, sc.Region, after, limit)
}
