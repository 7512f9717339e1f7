package store

import "time"

// ComplianceSet is what was last reported for a node and a compliance type other than Patch.
type ComplianceSet struct {
	NodeID         string
	Type           string
	ContentHash    string
	ClientHash     string
	ExecutionID    string
	ExecutionType  string
	ExecutionAt    time.Time
	Status         string
	Severity       string
	SeverityCounts string // JSON
}

func (c *ComplianceSet) fields() []any {
	return []any{
		&c.NodeID, &c.Type, &c.ContentHash, &c.ClientHash, &c.ExecutionID, &c.ExecutionType, instant{&c.ExecutionAt}, &c.Status, &c.Severity, &c.SeverityCounts,
	}
}

const complianceColumns = `node_id, compliance_type, content_hash, client_hash, execution_id, execution_type, execution_at, status, severity, severity_counts`

// PutComplianceSet stores the items of a node and type.
func (tx *Tx) PutComplianceSet(sc Scope, c ComplianceSet) error {
	_, err := tx.exec(`INSERT INTO compliance_set (account, region, `+complianceColumns+`) VALUES (`+placeholders(1, 12)+`)
		ON CONFLICT (account, region, node_id, compliance_type) DO UPDATE SET content_hash = excluded.content_hash, client_hash = excluded.client_hash,
		execution_id = excluded.execution_id, execution_type = excluded.execution_type, execution_at = excluded.execution_at, status = excluded.status,
		severity = excluded.severity, severity_counts = excluded.severity_counts`,
		sc.Account, sc.Region, c.NodeID, c.Type, c.ContentHash, c.ClientHash, c.ExecutionID, c.ExecutionType, at(c.ExecutionAt), c.Status, c.Severity, c.SeverityCounts)
	return err
}

// DeleteComplianceSet removes the items of a node and type.
func (tx *Tx) DeleteComplianceSet(sc Scope, nodeID, complianceType string) error {
	_, err := tx.exec(`DELETE FROM compliance_set WHERE account = $1 AND region = $2 AND node_id = $3 AND compliance_type = $4`, sc.Account, sc.Region, nodeID, complianceType)
	return err
}

// ComplianceSets lists the sets of a node, by type.
func (tx *Tx) ComplianceSets(sc Scope, nodeID string) ([]ComplianceSet, error) {
	return all[ComplianceSet](tx, `SELECT `+complianceColumns+` FROM compliance_set WHERE account = $1 AND region = $2 AND node_id = $3 ORDER BY compliance_type`,
		sc.Account, sc.Region, nodeID)
}

// ComplianceTypes lists the compliance types in use in the scope.
func (tx *Tx) ComplianceTypes(sc Scope) ([]string, error) {
	return column[string](tx, `SELECT DISTINCT compliance_type FROM compliance_set WHERE account = $1 AND region = $2 ORDER BY compliance_type`, sc.Account, sc.Region)
}

// InventoryItem is the last report of an inventory type of a node.
type InventoryItem struct {
	NodeID        string
	TypeName      string
	SchemaVersion string
	CaptureTime   string
	ClientHash    string
	ContentHash   string
	Context       string    // JSON
	PutAt         time.Time // when the content was last taken; a report of its hash alone does not move it
}

func (i *InventoryItem) fields() []any {
	return []any{&i.NodeID, &i.TypeName, &i.SchemaVersion, &i.CaptureTime, &i.ClientHash, &i.ContentHash, &i.Context, instant{&i.PutAt}}
}

const inventoryColumns = `node_id, type_name, schema_version, capture_time, client_hash, content_hash, context, put_at`

// PutInventoryItem stores a report.
func (tx *Tx) PutInventoryItem(sc Scope, i InventoryItem) error {
	_, err := tx.exec(`INSERT INTO inventory_item (account, region, `+inventoryColumns+`) VALUES (`+placeholders(1, 10)+`)
		ON CONFLICT (account, region, node_id, type_name) DO UPDATE SET schema_version = excluded.schema_version, capture_time = excluded.capture_time,
		client_hash = excluded.client_hash, content_hash = excluded.content_hash, context = excluded.context,
		put_at = excluded.put_at`,
		sc.Account, sc.Region, i.NodeID, i.TypeName, i.SchemaVersion, i.CaptureTime, i.ClientHash, i.ContentHash, i.Context, at(i.PutAt))
	return err
}

// InventoryItem reads the last report of a type, or ErrNotFound.
func (tx *Tx) InventoryItem(sc Scope, nodeID, typeName string) (InventoryItem, error) {
	return one[InventoryItem](tx, `SELECT `+inventoryColumns+` FROM inventory_item WHERE account = $1 AND region = $2 AND node_id = $3 AND type_name = $4`,
		sc.Account, sc.Region, nodeID, typeName)
}

// InventoryTypes lists the types that a node reported.
func (tx *Tx) InventoryTypes(sc Scope, nodeID string) ([]string, error) {
	return column[string](tx, `SELECT type_name FROM inventory_item WHERE account = $1 AND region = $2 AND node_id = $3 ORDER BY type_name`, sc.Account, sc.Region, nodeID)
}

// DeleteInventory removes everything a node reported.
func (tx *Tx) DeleteInventory(sc Scope, nodeID string) error {
	_, err := tx.exec(`DELETE FROM inventory_item WHERE account = $1 AND region = $2 AND node_id = $3`, sc.Account, sc.Region, nodeID)
	return err
}

// InventoryOfType lists the reports of a type of the nodes from one id to another, both included, by node.
func (tx *Tx) InventoryOfType(sc Scope, typeName, from, to string) ([]InventoryItem, error) {
	return all[InventoryItem](tx, `SELECT `+inventoryColumns+` FROM inventory_item WHERE account = $1 AND region = $2 AND type_name = $3
		AND node_id >= $4 AND node_id <= $5 ORDER BY node_id`, sc.Account, sc.Region, typeName, from, to)
}

// InventoryOfNodes lists all reports of the nodes from one id to another, both included, by node and type.
func (tx *Tx) InventoryOfNodes(sc Scope, from, to string) ([]InventoryItem, error) {
	return all[InventoryItem](tx, `SELECT `+inventoryColumns+` FROM inventory_item WHERE account = $1 AND region = $2
		AND node_id >= $3 AND node_id <= $4 ORDER BY node_id, type_name`, sc.Account, sc.Region, from, to)
}

// VersionCount is how many nodes have reported a version of an inventory type.
type VersionCount struct {
	Version string
	Count   int64
}

func (v *VersionCount) fields() []any { return []any{&v.Version, &v.Count} }

// InventoryVersions counts the nodes that hold a type in each of its versions, by content that was taken until a time.
func (tx *Tx) InventoryVersions(sc Scope, typeName string, until time.Time) ([]VersionCount, error) {
	return all[VersionCount](tx, `SELECT schema_version, count(*) FROM inventory_item WHERE account = $1 AND region = $2 AND type_name = $3
		AND put_at <= $4 GROUP BY schema_version ORDER BY schema_version`, sc.Account, sc.Region, typeName, at(until))
}

// DeleteInventoryOfType removes reports of a type whose content was taken until a time, at most limit of them.
func (tx *Tx) DeleteInventoryOfType(sc Scope, typeName string, until time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM inventory_item WHERE account = $1 AND region = $2 AND type_name = $3 AND node_id IN (
		SELECT node_id FROM inventory_item WHERE account = $1 AND region = $2 AND type_name = $3 AND put_at <= $4 ORDER BY node_id LIMIT $5)`,
		sc.Account, sc.Region, typeName, at(until), limit)
}

// CustomType is a custom inventory type: what nodes have reported of it.
type CustomType struct {
	TypeName        string
	SchemaVersion   string // the newest
	Attributes      string // JSON list of names
	DisabledVersion string // reports of it and of earlier ones are ignored; empty: none
}

func (c *CustomType) fields() []any {
	return []any{&c.TypeName, &c.SchemaVersion, &c.Attributes, &c.DisabledVersion}
}

const customTypeColumns = `type_name, schema_version, attributes, disabled_version`

// PutCustomType stores a custom inventory type.
func (tx *Tx) PutCustomType(sc Scope, c CustomType) error {
	_, err := tx.exec(`INSERT INTO custom_inventory_type (account, region, `+customTypeColumns+`) VALUES (`+placeholders(1, 6)+`)
		ON CONFLICT (account, region, type_name) DO UPDATE SET schema_version = excluded.schema_version, attributes = excluded.attributes,
		disabled_version = excluded.disabled_version`, sc.Account, sc.Region, c.TypeName, c.SchemaVersion, c.Attributes, c.DisabledVersion)
	return err
}

// CustomType reads a custom inventory type, or ErrNotFound.
func (tx *Tx) CustomType(sc Scope, typeName string) (CustomType, error) {
	return one[CustomType](tx, `SELECT `+customTypeColumns+` FROM custom_inventory_type WHERE account = $1 AND region = $2 AND type_name = $3`,
		sc.Account, sc.Region, typeName)
}

// CustomTypes lists the custom inventory types of the scope by their names.
func (tx *Tx) CustomTypes(sc Scope) ([]CustomType, error) {
	return all[CustomType](tx, `SELECT `+customTypeColumns+` FROM custom_inventory_type WHERE account = $1 AND region = $2 ORDER BY type_name`, sc.Account, sc.Region)
}

// DeleteCustomType forgets a custom inventory type.
func (tx *Tx) DeleteCustomType(sc Scope, typeName string) error {
	_, err := tx.exec(`DELETE FROM custom_inventory_type WHERE account = $1 AND region = $2 AND type_name = $3`, sc.Account, sc.Region, typeName)
	return err
}

// InventoryDeletion is a deletion of a custom inventory type's data, under way or done.
type InventoryDeletion struct {
	ID        string
	TypeName  string
	Status    string // InProgress, Complete
	Message   string
	Counts    string // JSON list of VersionCount, at the start
	Remaining string // JSON list of VersionCount
	StartedAt time.Time
	UpdatedAt time.Time
}

func (d *InventoryDeletion) fields() []any {
	return []any{&d.ID, &d.TypeName, &d.Status, &d.Message, &d.Counts, &d.Remaining, instant{&d.StartedAt}, instant{&d.UpdatedAt}}
}

const deletionColumns = `id, type_name, status, message, counts, remaining, started_at, updated_at`

// PutInventoryDeletion stores a deletion, or what has become of it.
func (tx *Tx) PutInventoryDeletion(sc Scope, d InventoryDeletion) error {
	_, err := tx.exec(`INSERT INTO inventory_deletion (account, region, `+deletionColumns+`) VALUES (`+placeholders(1, 10)+`)
		ON CONFLICT (account, region, id) DO UPDATE SET status = excluded.status, message = excluded.message, remaining = excluded.remaining,
		updated_at = excluded.updated_at`, sc.Account, sc.Region, d.ID, d.TypeName, d.Status, d.Message, d.Counts, d.Remaining, at(d.StartedAt), at(d.UpdatedAt))
	return err
}

// InventoryDeletion reads a deletion, or ErrNotFound.
func (tx *Tx) InventoryDeletion(sc Scope, id string) (InventoryDeletion, error) {
	return one[InventoryDeletion](tx, `SELECT `+deletionColumns+` FROM inventory_deletion WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// InventoryDeletions lists deletions, the newest first, before the given start and id.
func (tx *Tx) InventoryDeletions(sc Scope, before time.Time, idBefore string, limit int) ([]InventoryDeletion, error) {
	return all[InventoryDeletion](tx, `SELECT `+deletionColumns+` FROM inventory_deletion WHERE account = $1 AND region = $2
		AND (started_at, id) < ($3, $4) ORDER BY started_at DESC, id DESC LIMIT $5`, sc.Account, sc.Region, at(before), idBefore, limit)
}

// DeleteOldInventoryDeletions removes the records of deletions that were started before a time, at most limit of them.
func (tx *Tx) DeleteOldInventoryDeletions(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM inventory_deletion WHERE (account, region, id) IN (
		SELECT account, region, id FROM inventory_deletion WHERE started_at < $1 AND status = 'Complete' ORDER BY started_at LIMIT $2)`, at(before), limit)
}
