package store

import "time"

// ResourceGroup is a resource group: a name for what a query finds.
type ResourceGroup struct {
	Name        string
	Description string
	QueryType   string
	Query       string // JSON, as it was given
	CreatedAt   time.Time
}

func (g *ResourceGroup) fields() []any {
	return []any{&g.Name, &g.Description, &g.QueryType, &g.Query, instant{&g.CreatedAt}}
}

const resourceGroupColumns = `name, description, query_type, query, created_at`

// InsertResourceGroup stores a new group and reports whether the name was free.
func (tx *Tx) InsertResourceGroup(sc Scope, g ResourceGroup) (bool, error) {
	n, err := tx.exec(`INSERT INTO resource_group (account, region, `+resourceGroupColumns+`) VALUES (`+placeholders(1, 7)+`)
		ON CONFLICT (account, region, name) DO NOTHING`, sc.Account, sc.Region, g.Name, g.Description, g.QueryType, g.Query, at(g.CreatedAt))
	return n == 1, err
}

// ResourceGroup reads a group, or ErrNotFound.
func (tx *Tx) ResourceGroup(sc Scope, name string) (ResourceGroup, error) {
	return one[ResourceGroup](tx, `SELECT `+resourceGroupColumns+` FROM resource_group WHERE account = $1 AND region = $2 AND name = $3`, sc.Account, sc.Region, name)
}

// SaveResourceGroup stores a group's description and query.
func (tx *Tx) SaveResourceGroup(sc Scope, g ResourceGroup) error {
	_, err := tx.exec(`UPDATE resource_group SET description = $1, query_type = $2, query = $3 WHERE account = $4 AND region = $5 AND name = $6`,
		g.Description, g.QueryType, g.Query, sc.Account, sc.Region, g.Name)
	return err
}

// DeleteResourceGroup removes a group.
func (tx *Tx) DeleteResourceGroup(sc Scope, name string) error {
	_, err := tx.exec(`DELETE FROM resource_group WHERE account = $1 AND region = $2 AND name = $3`, sc.Account, sc.Region, name)
	return err
}

// ResourceGroups lists groups with a name after the given one.
func (tx *Tx) ResourceGroups(sc Scope, after string, limit int) ([]ResourceGroup, error) {
	return all[ResourceGroup](tx, `SELECT `+resourceGroupColumns+` FROM resource_group WHERE account = $1 AND region = $2 AND name > $3
		ORDER BY name LIMIT $4`, sc.Account, sc.Region, after, limit)
}

// ResourceGroupCount counts the groups of the scope.
func (tx *Tx) ResourceGroupCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM resource_group WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}
