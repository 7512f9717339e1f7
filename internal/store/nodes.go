package store

import (
	"time"
)

// Node is a managed node. A deregistered one stays as a tombstone.
type Node struct {
	Account, Region string
	ID              string
	Num             int64
	ActivationID    string
	Name            string
	IamRole         string
	PublicKey       []byte // PKIX DER
	PublicKeyType   string
	Fingerprint     string
	KeyEpoch        int64
	RegisteredAt    time.Time
	DeregisteredAt  time.Time
	LastPingAt      time.Time
	AgentName       string
	AgentVersion    string
	PlatformType    string
	PlatformName    string
	PlatformVersion string
	ComputerName    string
	IPAddress       string
	PatchGroup      string
}

func (n *Node) fields() []any {
	return []any{
		&n.Account, &n.Region, &n.ID, &n.Num, &n.ActivationID, &n.Name, &n.IamRole, &n.PublicKey, &n.PublicKeyType, &n.Fingerprint,
		&n.KeyEpoch,
		instant{&n.RegisteredAt},
		instant{&n.DeregisteredAt},
		instant{&n.LastPingAt},
		&n.AgentName, &n.AgentVersion,
		&n.PlatformType, &n.PlatformName, &n.PlatformVersion, &n.ComputerName, &n.IPAddress, &n.PatchGroup,
	}
}

const nodeColumns = `account, region, id, num, activation_id, name, iam_role, public_key, public_key_type, fingerprint,
	key_epoch, registered_at, deregistered_at, last_ping_at, agent_name, agent_version,
	platform_type, platform_name, platform_version, computer_name, ip_address, patch_group`

// InsertNode stores a new node.
func (tx *Tx) InsertNode(n Node) error {
	_, err := tx.exec(`INSERT INTO node (`+nodeColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`,
		n.Account, n.Region, n.ID, n.Num, n.ActivationID, n.Name, n.IamRole, n.PublicKey, n.PublicKeyType, n.Fingerprint,
		n.KeyEpoch, at(n.RegisteredAt), at(n.DeregisteredAt), at(n.LastPingAt), n.AgentName, n.AgentVersion,
		n.PlatformType, n.PlatformName, n.PlatformVersion, n.ComputerName, n.IPAddress, n.PatchGroup)
	return err
}

// NodeByID finds a node of any tenant, deregistered ones too: a node that authenticates knows only its id.
func (tx *Tx) NodeByID(id string) (Node, error) {
	return one[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE id = $1`, id)
}

// Node reads a registered node of the scope, or ErrNotFound.
func (tx *Tx) Node(sc Scope, id string) (Node, error) {
	return one[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE account = $1 AND region = $2 AND id = $3 AND deregistered_at = 0`, sc.Account, sc.Region, id)
}

// LockNode is Node for a change that rests on what the node's other rows hold.
func (tx *Tx) LockNode(sc Scope, id string) (Node, error) {
	return one[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE account = $1 AND region = $2 AND id = $3 AND deregistered_at = 0`+tx.s.d.forUpdate(), sc.Account, sc.Region, id)
}

// NodesByID reads the registered nodes among ids, in the order of their ids.
func (tx *Tx) NodesByID(sc Scope, ids []string) ([]Node, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := append([]any{sc.Account, sc.Region}, anys(ids)...)
	return all[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE account = $1 AND region = $2 AND id IN (`+placeholders(3, len(ids))+`)
		AND deregistered_at = 0 ORDER BY id`, args...)
}

// Nodes lists registered nodes with an id above after, in the order of their ids.
func (tx *Tx) Nodes(sc Scope, after string, limit int) ([]Node, error) {
	return all[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE account = $1 AND region = $2 AND id > $3 AND deregistered_at = 0
		ORDER BY id LIMIT $4`, sc.Account, sc.Region, after, limit)
}

// NodesOfGroup lists registered nodes of a patch group with an id above after.
func (tx *Tx) NodesOfGroup(sc Scope, group, after string, limit int) ([]Node, error) {
	return all[Node](tx, `SELECT `+nodeColumns+` FROM node WHERE account = $1 AND region = $2 AND patch_group = $3 AND id > $4 AND deregistered_at = 0
		ORDER BY id LIMIT $5`, sc.Account, sc.Region, group, after, limit)
}

// SaveNodeKey replaces a node's public key if it still is of the given epoch: exactly one key verifies at any time.
func (tx *Tx) SaveNodeKey(sc Scope, id string, epoch int64, key []byte, keyType string) (bool, error) {
	n, err := tx.exec(`UPDATE node SET public_key = $1, public_key_type = $2, key_epoch = key_epoch + 1
		WHERE account = $3 AND region = $4 AND id = $5 AND key_epoch = $6 AND deregistered_at = 0`, key, keyType, sc.Account, sc.Region, id, epoch)
	return n == 1, err
}

// DeregisterNode turns a node into a tombstone and reports whether it was registered.
func (tx *Tx) DeregisterNode(sc Scope, id string) (bool, error) {
	n, err := tx.exec(`UPDATE node SET deregistered_at = $1 WHERE account = $2 AND region = $3 AND id = $4 AND deregistered_at = 0`,
		at(tx.now), sc.Account, sc.Region, id)
	return n == 1, err
}

// DeregisteredSince lists the nodes of all accounts that were deregistered at or after an instant.
func (tx *Tx) DeregisteredSince(t time.Time) ([]string, error) {
	return column[string](tx, `SELECT id FROM node WHERE deregistered_at > 0 AND deregistered_at >= $1`, at(t))
}

// SetNodeRole changes the node's role and reports whether the node is registered.
func (tx *Tx) SetNodeRole(sc Scope, id, role string) (bool, error) {
	n, err := tx.exec(`UPDATE node SET iam_role = $1 WHERE account = $2 AND region = $3 AND id = $4 AND deregistered_at = 0`, role, sc.Account, sc.Region, id)
	return n == 1, err
}

// SetPatchGroup keeps the node's patch group in step with its tags.
func (tx *Tx) SetPatchGroup(sc Scope, id, group string) error {
	_, err := tx.exec(`UPDATE node SET patch_group = $1 WHERE account = $2 AND region = $3 AND id = $4`, group, sc.Account, sc.Region, id)
	return err
}

// SavePing stores what a node last said of itself; an empty field leaves the stored value.
func (tx *Tx) SavePing(n Node) error {
	_, err := tx.exec(`UPDATE node SET last_ping_at = $1,
		agent_name = CASE WHEN $2 = '' THEN agent_name ELSE $2 END, agent_version = CASE WHEN $3 = '' THEN agent_version ELSE $3 END,
		platform_type = CASE WHEN $4 = '' THEN platform_type ELSE $4 END, platform_name = CASE WHEN $5 = '' THEN platform_name ELSE $5 END,
		platform_version = CASE WHEN $6 = '' THEN platform_version ELSE $6 END, computer_name = CASE WHEN $7 = '' THEN computer_name ELSE $7 END,
		ip_address = CASE WHEN $8 = '' THEN ip_address ELSE $8 END
		WHERE account = $9 AND region = $10 AND id = $11 AND last_ping_at <= $1`,
		at(n.LastPingAt), n.AgentName, n.AgentVersion, n.PlatformType, n.PlatformName, n.PlatformVersion, n.ComputerName, n.IPAddress,
		n.Account, n.Region, n.ID)
	return err
}
