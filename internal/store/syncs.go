package store

import "time"

// DataSync is a resource data sync; Body is its destination or source.
type DataSync struct {
	Name          string
	Type          string
	Body          string // JSON
	CreatedAt     time.Time
	ModifiedAt    time.Time
	LastSyncAt    time.Time // zero: never
	LastSuccessAt time.Time // zero: never
	Status        string    // Successful, Failed, InProgress
	Message       string
	NodeAfter     string // how far the round under way has come
}

func (d *DataSync) fields() []any {
	return []any{
		&d.Name, &d.Type, &d.Body, instant{&d.CreatedAt}, instant{&d.ModifiedAt}, instant{&d.LastSyncAt}, instant{&d.LastSuccessAt}, &d.Status, &d.Message, &d.NodeAfter,
	}
}

const dataSyncColumns = `name, sync_type, body, created_at, modified_at, last_sync_at, last_success_at, status, message, node_after`

// PutDataSync stores a sync, or its new state.
func (tx *Tx) PutDataSync(sc Scope, d DataSync) error {
	_, err := tx.exec(`INSERT INTO resource_data_sync (account, region, `+dataSyncColumns+`) VALUES (`+placeholders(1, 12)+`)
		ON CONFLICT (account, region, name) DO UPDATE SET body = excluded.body, modified_at = excluded.modified_at, last_sync_at = excluded.last_sync_at,
		last_success_at = excluded.last_success_at, status = excluded.status, message = excluded.message, node_after = excluded.node_after`,
		sc.Account, sc.Region, d.Name, d.Type, d.Body, at(d.CreatedAt), at(d.ModifiedAt), at(d.LastSyncAt), at(d.LastSuccessAt), d.Status, d.Message, d.NodeAfter)
	return err
}

// LockDataSync reads a sync for a change, or ErrNotFound.
func (tx *Tx) LockDataSync(sc Scope, name string) (DataSync, error) {
	return one[DataSync](tx, `SELECT `+dataSyncColumns+` FROM resource_data_sync WHERE account = $1 AND region = $2 AND name = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, name)
}

// DataSyncs lists the syncs of the scope by their names.
func (tx *Tx) DataSyncs(sc Scope) ([]DataSync, error) {
	return all[DataSync](tx, `SELECT `+dataSyncColumns+` FROM resource_data_sync WHERE account = $1 AND region = $2 ORDER BY name`, sc.Account, sc.Region)
}

// DeleteDataSync removes a sync and what is known of its objects, which stay in the bucket.
func (tx *Tx) DeleteDataSync(sc Scope, name string) error {
	for _, q := range []string{
		`DELETE FROM data_sync_object WHERE account = $1 AND region = $2 AND sync_name = $3`,
		`DELETE FROM resource_data_sync WHERE account = $1 AND region = $2 AND name = $3`,
	} {
		if _, err := tx.exec(q, sc.Account, sc.Region, name); err != nil {
			return err
		}
	}
	return nil
}

// DataSyncObject is an object that a sync has written: a node's data of one type.
type DataSyncObject struct {
	NodeID, TypeName string
	ContentHash      string // of what the bucket holds
}

func (o *DataSyncObject) fields() []any { return []any{&o.NodeID, &o.TypeName, &o.ContentHash} }

// DataSyncObjects lists the objects of a sync for the nodes after one id until another, or all after it if that is "", by
// node and type.
func (tx *Tx) DataSyncObjects(sc Scope, name, after, until string) ([]DataSyncObject, error) {
	return all[DataSyncObject](tx, `SELECT node_id, type_name, content_hash FROM data_sync_object WHERE account = $1 AND region = $2 AND sync_name = $3
		AND node_id > $4 AND ($5 = '' OR node_id <= $5) ORDER BY node_id, type_name`, sc.Account, sc.Region, name, after, until)
}

// PutDataSyncObject notes what the bucket holds of a node and type.
func (tx *Tx) PutDataSyncObject(sc Scope, name string, o DataSyncObject) error {
	_, err := tx.exec(`INSERT INTO data_sync_object (account, region, sync_name, node_id, type_name, content_hash) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, region, sync_name, node_id, type_name) DO UPDATE SET content_hash = excluded.content_hash`,
		sc.Account, sc.Region, name, o.NodeID, o.TypeName, o.ContentHash)
	return err
}

// DeleteDataSyncObject notes that the bucket holds nothing of a node and type any more.
func (tx *Tx) DeleteDataSyncObject(sc Scope, name, nodeID, typeName string) error {
	_, err := tx.exec(`DELETE FROM data_sync_object WHERE account = $1 AND region = $2 AND sync_name = $3 AND node_id = $4 AND type_name = $5`,
		sc.Account, sc.Region, name, nodeID, typeName)
	return err
}
