package store

import "time"

// PatchBaseline is a custom baseline; Body is its JSON.
type PatchBaseline struct {
	ID              string
	Name            string
	OperatingSystem string
	Body            string
	CreatedAt       time.Time
	ModifiedAt      time.Time
}

func (b *PatchBaseline) fields() []any {
	return []any{&b.ID, &b.Name, &b.OperatingSystem, &b.Body, instant{&b.CreatedAt}, instant{&b.ModifiedAt}}
}

const baselineColumns = `id, name, operating_system, body, created_at, modified_at`

// InsertBaseline stores a new custom baseline.
func (tx *Tx) InsertBaseline(sc Scope, b PatchBaseline) error {
	_, err := tx.exec(`INSERT INTO patch_baseline (account, region, `+baselineColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		sc.Account, sc.Region, b.ID, b.Name, b.OperatingSystem, b.Body, at(b.CreatedAt), at(b.ModifiedAt))
	return err
}

// Baseline reads a custom baseline, or ErrNotFound.
func (tx *Tx) Baseline(sc Scope, id string) (PatchBaseline, error) {
	return one[PatchBaseline](tx, `SELECT `+baselineColumns+` FROM patch_baseline WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// LockBaseline is Baseline for a change that follows in the same transaction.
func (tx *Tx) LockBaseline(sc Scope, id string) (PatchBaseline, error) {
	return one[PatchBaseline](tx, `SELECT `+baselineColumns+` FROM patch_baseline WHERE account = $1 AND region = $2 AND id = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, id)
}

// UpdateBaseline stores a baseline's new state.
func (tx *Tx) UpdateBaseline(sc Scope, b PatchBaseline) error {
	_, err := tx.exec(`UPDATE patch_baseline SET name = $1, body = $2, modified_at = $3 WHERE account = $4 AND region = $5 AND id = $6`,
		b.Name, b.Body, at(b.ModifiedAt), sc.Account, sc.Region, b.ID)
	return err
}

// DeleteBaseline removes a custom baseline; one that is not there is no error.
func (tx *Tx) DeleteBaseline(sc Scope, id string) error {
	_, err := tx.exec(`DELETE FROM patch_baseline WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
	return err
}

// BaselineCount counts the custom baselines of the scope.
func (tx *Tx) BaselineCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM patch_baseline WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}

// Baselines lists custom baselines in the order of creation, after the given creation time and id.
func (tx *Tx) Baselines(sc Scope, createdAfter time.Time, idAfter string, limit int) ([]PatchBaseline, error) {
	return all[PatchBaseline](tx, `SELECT `+baselineColumns+` FROM patch_baseline WHERE account = $1 AND region = $2 AND (created_at, id) > ($3, $4)
		ORDER BY created_at, id LIMIT $5`, sc.Account, sc.Region, at(createdAfter), idAfter, limit)
}

// DefaultBaseline is the id of the registered default of an operating system, or ErrNotFound.
func (tx *Tx) DefaultBaseline(sc Scope, os string) (string, error) {
	return scalar[string](tx, `SELECT baseline_id FROM default_baseline WHERE account = $1 AND region = $2 AND operating_system = $3`, sc.Account, sc.Region, os)
}

// DefaultBaselines lists the ids of all registered defaults.
func (tx *Tx) DefaultBaselines(sc Scope) ([]string, error) {
	return column[string](tx, `SELECT baseline_id FROM default_baseline WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}

// SetDefaultBaseline registers the default of an operating system; an empty id goes back to the predefined one.
func (tx *Tx) SetDefaultBaseline(sc Scope, os, id string) error {
	if id == "" {
		_, err := tx.exec(`DELETE FROM default_baseline WHERE account = $1 AND region = $2 AND operating_system = $3`, sc.Account, sc.Region, os)
		return err
	}
	_, err := tx.exec(`INSERT INTO default_baseline (account, region, operating_system, baseline_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account, region, operating_system) DO UPDATE SET baseline_id = excluded.baseline_id`, sc.Account, sc.Region, os, id)
	return err
}

// PatchGroupMapping is one registration of a baseline for a patch group.
type PatchGroupMapping struct {
	PatchGroup      string
	OperatingSystem string
	BaselineID      string
}

func (m *PatchGroupMapping) fields() []any {
	return []any{&m.PatchGroup, &m.OperatingSystem, &m.BaselineID}
}

// PatchGroupBaseline is the baseline registered for a group and operating system, or ErrNotFound.
func (tx *Tx) PatchGroupBaseline(sc Scope, group, os string) (string, error) {
	return scalar[string](tx, `SELECT baseline_id FROM patch_group WHERE account = $1 AND region = $2 AND patch_group = $3 AND operating_system = $4`,
		sc.Account, sc.Region, group, os)
}

// PatchGroupsOf lists the groups that a baseline is registered for.
func (tx *Tx) PatchGroupsOf(sc Scope, baselineID string) ([]string, error) {
	return column[string](tx, `SELECT patch_group FROM patch_group WHERE account = $1 AND region = $2 AND baseline_id = $3 ORDER BY patch_group`,
		sc.Account, sc.Region, baselineID)
}

// InsertPatchGroup registers a baseline for a group.
func (tx *Tx) InsertPatchGroup(sc Scope, m PatchGroupMapping) error {
	_, err := tx.exec(`INSERT INTO patch_group (account, region, patch_group, operating_system, baseline_id) VALUES ($1, $2, $3, $4, $5)`,
		sc.Account, sc.Region, m.PatchGroup, m.OperatingSystem, m.BaselineID)
	return err
}

// DeletePatchGroup removes a registration; one that is not there is no error.
func (tx *Tx) DeletePatchGroup(sc Scope, group, baselineID string) error {
	_, err := tx.exec(`DELETE FROM patch_group WHERE account = $1 AND region = $2 AND patch_group = $3 AND baseline_id = $4`,
		sc.Account, sc.Region, group, baselineID)
	return err
}

// PatchGroups lists registrations after the given group and operating system.
func (tx *Tx) PatchGroups(sc Scope, groupAfter, osAfter string, limit int) ([]PatchGroupMapping, error) {
	return all[PatchGroupMapping](tx, `SELECT patch_group, operating_system, baseline_id FROM patch_group
		WHERE account = $1 AND region = $2 AND (patch_group, operating_system) > ($3, $4) ORDER BY patch_group, operating_system LIMIT $5`,
		sc.Account, sc.Region, groupAfter, osAfter, limit)
}

// Snapshot is a frozen baseline of one operation; Body is its JSON.
type Snapshot struct {
	PatchGroup      string
	OperatingSystem string
	ID              string
	BaselineID      string
	Body            string
	CreatedAt       time.Time
}

func (s *Snapshot) fields() []any {
	return []any{&s.PatchGroup, &s.OperatingSystem, &s.ID, &s.BaselineID, &s.Body, instant{&s.CreatedAt}}
}

// Snapshot reads a snapshot made after since, or ErrNotFound.
func (tx *Tx) Snapshot(sc Scope, group, os, id string, since time.Time) (Snapshot, error) {
	return one[Snapshot](tx, `SELECT patch_group, operating_system, snapshot_id, baseline_id, body, created_at FROM snapshot
		WHERE account = $1 AND region = $2 AND patch_group = $3 AND operating_system = $4 AND snapshot_id = $5 AND created_at > $6`,
		sc.Account, sc.Region, group, os, id, at(since))
}

// PutSnapshot stores a snapshot unless one of the same key, made after since, is there already.
func (tx *Tx) PutSnapshot(sc Scope, s Snapshot, since time.Time) error {
	_, err := tx.exec(`INSERT INTO snapshot (account, region, patch_group, operating_system, snapshot_id, baseline_id, body, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (account, region, patch_group, operating_system, snapshot_id) DO UPDATE
		SET baseline_id = excluded.baseline_id, body = excluded.body, created_at = excluded.created_at WHERE snapshot.created_at <= $9`,
		sc.Account, sc.Region, s.PatchGroup, s.OperatingSystem, s.ID, s.BaselineID, s.Body, at(s.CreatedAt), at(since))
	return err
}

// DeleteOldSnapshots removes snapshots older than before, at most limit of them.
func (tx *Tx) DeleteOldSnapshots(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM snapshot WHERE (account, region, patch_group, operating_system, snapshot_id) IN
		(SELECT account, region, patch_group, operating_system, snapshot_id FROM snapshot WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, at(before), limit)
}
