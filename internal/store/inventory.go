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
	Context       string // JSON
}

func (i *InventoryItem) fields() []any {
	return []any{&i.NodeID, &i.TypeName, &i.SchemaVersion, &i.CaptureTime, &i.ClientHash, &i.ContentHash, &i.Context}
}

const inventoryColumns = `node_id, type_name, schema_version, capture_time, client_hash, content_hash, context`

// PutInventoryItem stores a report.
func (tx *Tx) PutInventoryItem(sc Scope, i InventoryItem) error {
	_, err := tx.exec(`INSERT INTO inventory_item (account, region, `+inventoryColumns+`) VALUES (`+placeholders(1, 9)+`)
		ON CONFLICT (account, region, node_id, type_name) DO UPDATE SET schema_version = excluded.schema_version, capture_time = excluded.capture_time,
		client_hash = excluded.client_hash, content_hash = excluded.content_hash, context = excluded.context`,
		sc.Account, sc.Region, i.NodeID, i.TypeName, i.SchemaVersion, i.CaptureTime, i.ClientHash, i.ContentHash, i.Context)
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
