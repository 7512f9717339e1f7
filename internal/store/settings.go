package store

import "time"

// ServiceSetting is a setting that somebody has changed.
type ServiceSetting struct {
	ID         string
	Value      string
	ModifiedAt time.Time
	ModifiedBy string // ARN
}

func (s *ServiceSetting) fields() []any {
	return []any{&s.ID, &s.Value, instant{&s.ModifiedAt}, &s.ModifiedBy}
}

// PutServiceSetting stores a setting's value.
func (tx *Tx) PutServiceSetting(sc Scope, s ServiceSetting) error {
	_, err := tx.exec(`INSERT INTO service_setting (account, region, setting_id, value, modified_at, modified_by) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region, setting_id) DO UPDATE SET value = excluded.value, modified_at = excluded.modified_at, modified_by = excluded.modified_by`,
		sc.Account, sc.Region, s.ID, s.Value, at(s.ModifiedAt), s.ModifiedBy)
	return err
}

// ServiceSetting reads a changed setting; ErrNotFound: it has its default.
func (tx *Tx) ServiceSetting(sc Scope, id string) (ServiceSetting, error) {
	return one[ServiceSetting](tx, `SELECT setting_id, value, modified_at, modified_by FROM service_setting WHERE account = $1 AND region = $2 AND setting_id = $3`,
		sc.Account, sc.Region, id)
}

// DeleteServiceSetting puts a setting back to its default.
func (tx *Tx) DeleteServiceSetting(sc Scope, id string) error {
	_, err := tx.exec(`DELETE FROM service_setting WHERE account = $1 AND region = $2 AND setting_id = $3`, sc.Account, sc.Region, id)
	return err
}
