package store

import "time"

// AvailablePatch is a version that some node's repositories offer.
type AvailablePatch struct {
	OperatingSystem string
	Product         string
	Name            string
	Version         string
	Arch            string
	Repository      string
	Classification  string
	Severity        string
	Priority        string
	Section         string
	Notices         string // JSON, a list of compliance.Notice; empty: none
	ReleasedAt      time.Time
	FirstSeenAt     time.Time
	LastSeenAt      time.Time // to a day
}

func (p *AvailablePatch) fields() []any {
	return []any{
		&p.OperatingSystem, &p.Product, &p.Name, &p.Version, &p.Arch, &p.Repository, &p.Classification, &p.Severity, &p.Priority, &p.Section, &p.Notices,
		instant{&p.ReleasedAt},
		instant{&p.FirstSeenAt},
		instant{&p.LastSeenAt},
	}
}

const availableColumns = `operating_system, product, name, version, arch, repository, classification, severity, priority, section, notices, released_at, first_seen_at, last_seen_at`

// PutAvailablePatch adds a version to the catalogue. What is known stays, a release time never moves later, and the
// time of the last report is written once a day.
func (tx *Tx) PutAvailablePatch(sc Scope, p AvailablePatch) error {
	const better = `(available_patch.released_at = 0 OR (excluded.released_at > 0 AND excluded.released_at < available_patch.released_at))`
	keep := func(column string) string {
		return column + ` = CASE WHEN ` + better + ` THEN excluded.` + column + ` ELSE available_patch.` + column + ` END, `
	}
	_, err := tx.exec(`INSERT INTO available_patch (account, region, `+availableColumns+`) VALUES (`+placeholders(1, 16)+`)
		ON CONFLICT (account, region, operating_system, product, name, version, arch, repository) DO UPDATE SET
		`+keep("released_at")+keep("classification")+keep("severity")+keep("priority")+keep("section")+`notices = CASE WHEN excluded.notices = '' THEN available_patch.notices ELSE excluded.notices END, last_seen_at = excluded.last_seen_at
		WHERE `+better+` OR (excluded.notices <> '' AND excluded.notices <> available_patch.notices) OR available_patch.last_seen_at < $17`,
		sc.Account, sc.Region, p.OperatingSystem, p.Product, p.Name, p.Version, p.Arch, p.Repository, p.Classification, p.Severity, p.Priority, p.Section, p.Notices,
		at(p.ReleasedAt), at(p.FirstSeenAt), at(p.LastSeenAt), at(p.LastSeenAt.Add(-24*time.Hour)))
	return err
}

// DeleteOldAvailable removes versions of the catalogue that no node has reported since before, at most limit.
func (tx *Tx) DeleteOldAvailable(before time.Time, limit int) (int64, error) {
	const key = `account, region, operating_system, product, name, version, arch, repository`
	return tx.exec(`DELETE FROM available_patch WHERE (`+key+`) IN
		(SELECT `+key+` FROM available_patch WHERE last_seen_at < $1 ORDER BY last_seen_at LIMIT $2)`, at(before), limit)
}

// AvailableSet is a set of versions, by its hash, as nodes of one product report it.
type AvailableSet struct {
	OperatingSystem, Product, Hash string
}

// KnowsAvailable reports whether the catalogue has taken in a set since the given time.
func (tx *Tx) KnowsAvailable(sc Scope, a AvailableSet, since time.Time) (bool, error) {
	n, err := scalar[int64](tx, `SELECT count(*) FROM available_set WHERE account = $1 AND region = $2 AND operating_system = $3 AND product = $4
		AND hash = $5 AND learned_at > $6`, sc.Account, sc.Region, a.OperatingSystem, a.Product, a.Hash, at(since))
	return n > 0, err
}

// PutAvailableSet notes that the catalogue has all versions of a set as of now.
func (tx *Tx) PutAvailableSet(sc Scope, a AvailableSet) error {
	_, err := tx.exec(`INSERT INTO available_set (account, region, operating_system, product, hash, learned_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region, operating_system, product, hash) DO UPDATE SET learned_at = excluded.learned_at`,
		sc.Account, sc.Region, a.OperatingSystem, a.Product, a.Hash, at(tx.now))
	return err
}

// DeleteOldAvailableSets forgets sets that were taken in before the given time, at most limit. The next report of
// one takes it in again.
func (tx *Tx) DeleteOldAvailableSets(before time.Time, limit int) (int64, error) {
	const key = `account, region, operating_system, product, hash`
	return tx.exec(`DELETE FROM available_set WHERE (`+key+`) IN (SELECT `+key+` FROM available_set WHERE learned_at < $1 ORDER BY learned_at LIMIT $2)`,
		at(before), limit)
}

// AvailablePatches lists the catalogue of an operating system after the given key, in key order.
func (tx *Tx) AvailablePatches(sc Scope, os string, after AvailablePatch, limit int) ([]AvailablePatch, error) {
	return all[AvailablePatch](tx, `SELECT `+availableColumns+` FROM available_patch WHERE account = $1 AND region = $2 AND operating_system = $3
		AND (product, name, version, arch, repository) > ($4, $5, $6, $7, $8) ORDER BY product, name, version, arch, repository LIMIT $9`,
		sc.Account, sc.Region, os, after.Product, after.Name, after.Version, after.Arch, after.Repository, limit)
}

// AvailableProducts lists the products of an operating system in the catalogue.
func (tx *Tx) AvailableProducts(sc Scope, os string) ([]string, error) {
	return column[string](tx, `SELECT DISTINCT product FROM available_patch WHERE account = $1 AND region = $2 AND operating_system = $3 ORDER BY product`,
		sc.Account, sc.Region, os)
}
