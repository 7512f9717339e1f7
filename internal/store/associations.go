package store

import (
	"strconv"
	"time"
)

// Kinds of work items of State Manager that other parts of the server promise: the subject is a node's id or a document's
// name, or an association's id and after a slash what is wanted.
const (
	WorkAssociationStart = "association-start"
	WorkNodeChanged      = "association-node"     // a node is new, has come back, or has other tags
	WorkDocumentChanged  = "association-document" // a document's default or latest version is another one
)

// Association is a State Manager association; Body is its definition.
type Association struct {
	ID            string
	DocumentName  string
	Name          string // AssociationName; empty: none
	NodeID        string // of the old form that names one node
	Version       int64
	Body          string // JSON
	CreatedAt     time.Time
	ModifiedAt    time.Time
	AnchorAt      time.Time // of the last change: rates count from it
	NextAt        time.Time // zero: none
	LastRunAt     time.Time // zero: not yet
	LastSuccessAt time.Time
	RanVersion    string // of the document, that the last run of all targets had
	RunAgain      bool   // was changed while it ran
	Status        string // JSON of the status block
	Overview      string // JSON
}

func (a *Association) fields() []any {
	return []any{
		&a.ID, &a.DocumentName, &a.Name, &a.NodeID, &a.Version, &a.Body,
		instant{&a.CreatedAt},
		instant{&a.ModifiedAt},
		instant{&a.AnchorAt},
		instant{&a.NextAt},
		instant{&a.LastRunAt},
		instant{&a.LastSuccessAt},
		&a.RanVersion, &a.RunAgain, &a.Status, &a.Overview,
	}
}

const associationColumns = `id, document_name, association_name, node_id, version, body, created_at, modified_at, anchor_at, next_at,
	last_run_at, last_success_at, ran_version, run_again, status, overview`

// InsertAssociation stores a new association.
func (tx *Tx) InsertAssociation(sc Scope, a Association) error {
	_, err := tx.exec(`INSERT INTO association (account, region, `+associationColumns+`) VALUES (`+placeholders(1, 18)+`)`,
		sc.Account, sc.Region, a.ID, a.DocumentName, a.Name, a.NodeID, a.Version, a.Body, at(a.CreatedAt), at(a.ModifiedAt), at(a.AnchorAt), at(a.NextAt),
		at(a.LastRunAt), at(a.LastSuccessAt), a.RanVersion, a.RunAgain, a.Status, a.Overview)
	return err
}

// Association reads an association, or ErrNotFound.
func (tx *Tx) Association(sc Scope, id string) (Association, error) {
	return one[Association](tx, `SELECT `+associationColumns+` FROM association WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// LockAssociation is Association for a change that follows: everything about an association and its executions is
// serialised on its row.
func (tx *Tx) LockAssociation(sc Scope, id string) (Association, error) {
	return one[Association](tx, `SELECT `+associationColumns+` FROM association WHERE account = $1 AND region = $2 AND id = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, id)
}

// SaveAssociation stores an association's new state.
func (tx *Tx) SaveAssociation(sc Scope, a Association) error {
	_, err := tx.exec(`UPDATE association SET document_name = $1, association_name = $2, node_id = $3, version = $4, body = $5, modified_at = $6, anchor_at = $7,
		next_at = $8, last_run_at = $9, last_success_at = $10, ran_version = $11, run_again = $12, status = $13, overview = $14
		WHERE account = $15 AND region = $16 AND id = $17`,
		a.DocumentName, a.Name, a.NodeID, a.Version, a.Body, at(a.ModifiedAt), at(a.AnchorAt), at(a.NextAt), at(a.LastRunAt), at(a.LastSuccessAt),
		a.RanVersion, a.RunAgain, a.Status, a.Overview, sc.Account, sc.Region, a.ID)
	return err
}

// DeleteAssociation removes an association with its versions. Its executions and what it left on nodes are taken away
// with DeleteAssociationExecutions and DeleteAssociationNode.
func (tx *Tx) DeleteAssociation(sc Scope, id string) error {
	for _, q := range []string{
		`DELETE FROM association_version WHERE account = $1 AND region = $2 AND association_id = $3`,
		`DELETE FROM association WHERE account = $1 AND region = $2 AND id = $3`,
	} {
		if _, err := tx.exec(q, sc.Account, sc.Region, id); err != nil {
			return err
		}
	}
	return tx.DeleteTags(sc, "Association", id)
}

// AssociationCount counts the associations of the scope.
func (tx *Tx) AssociationCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM association WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}

// Associations lists associations in the order of creation, after the given creation time and id.
func (tx *Tx) Associations(sc Scope, createdAfter time.Time, idAfter string, limit int) ([]Association, error) {
	return all[Association](tx, `SELECT `+associationColumns+` FROM association WHERE account = $1 AND region = $2 AND (created_at, id) > ($3, $4)
		ORDER BY created_at, id LIMIT $5`, sc.Account, sc.Region, at(createdAfter), idAfter, limit)
}

// AssociationsOfDocument lists the associations that run a document of that name.
func (tx *Tx) AssociationsOfDocument(sc Scope, name string) ([]Association, error) {
	return all[Association](tx, `SELECT `+associationColumns+` FROM association WHERE account = $1 AND region = $2 AND document_name = $3 ORDER BY id`,
		sc.Account, sc.Region, name)
}

// AssociationOfNode is the association of the old form, which names a document and one node, or ErrNotFound.
func (tx *Tx) AssociationOfNode(sc Scope, document, nodeID string) (Association, error) {
	return one[Association](tx, `SELECT `+associationColumns+` FROM association
		WHERE account = $1 AND region = $2 AND document_name = $3 AND node_id = $4 AND node_id <> '' LIMIT 1`, sc.Account, sc.Region, document, nodeID)
}

// AssociationKey names an association of any tenant.
type AssociationKey struct{ Account, Region, ID string }

func (k *AssociationKey) fields() []any { return []any{&k.Account, &k.Region, &k.ID} }

// OldAssociations lists the associations of a name that were made before the given time and do not run again.
func (tx *Tx) OldAssociations(name string, before time.Time, limit int) ([]AssociationKey, error) {
	return all[AssociationKey](tx, `SELECT account, region, id FROM association WHERE association_name = $1 AND created_at < $2 AND next_at = 0
		AND last_run_at < $2 ORDER BY created_at LIMIT $3`, name, at(before), limit)
}

// AssociationVersion is a definition that an association has or had.
type AssociationVersion struct {
	AssociationID string
	Version       int64
	Body          string // JSON
	CreatedAt     time.Time
}

func (v *AssociationVersion) fields() []any {
	return []any{&v.AssociationID, &v.Version, &v.Body, instant{&v.CreatedAt}}
}

// InsertAssociationVersion keeps a definition.
func (tx *Tx) InsertAssociationVersion(sc Scope, v AssociationVersion) error {
	_, err := tx.exec(`INSERT INTO association_version (account, region, association_id, version, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		sc.Account, sc.Region, v.AssociationID, v.Version, v.Body, at(v.CreatedAt))
	return err
}

// AssociationVersions lists the versions of an association, oldest first, from a number on.
func (tx *Tx) AssociationVersions(sc Scope, id string, from int64, limit int) ([]AssociationVersion, error) {
	return all[AssociationVersion](tx, `SELECT association_id, version, body, created_at FROM association_version
		WHERE account = $1 AND region = $2 AND association_id = $3 AND version >= $4 ORDER BY version LIMIT $5`, sc.Account, sc.Region, id, from, limit)
}

// AssociationExecution is one run of an association: for all of its targets, or for one node that came later.
type AssociationExecution struct {
	AssociationID  string
	ID             string
	Version        int64
	NodeID         string // empty: all targets
	CommandID      string // empty: nothing was sent
	Status         string
	DetailedStatus string
	Counts         string // ResourceCountByStatus, as it was at the end
	CreatedAt      time.Time
	CutoffAt       time.Time // zero: none
	EndedAt        time.Time // zero: it runs
}

func (e *AssociationExecution) fields() []any {
	return []any{
		&e.AssociationID, &e.ID, &e.Version, &e.NodeID, &e.CommandID, &e.Status, &e.DetailedStatus, &e.Counts,
		instant{&e.CreatedAt},
		instant{&e.CutoffAt},
		instant{&e.EndedAt},
	}
}

const associationExecutionColumns = `association_id, id, version, node_id, command_id, status, detailed_status, counts, created_at, cutoff_at, ended_at`

// InsertAssociationExecution stores a new execution.
func (tx *Tx) InsertAssociationExecution(sc Scope, e AssociationExecution) error {
	_, err := tx.exec(`INSERT INTO association_execution (account, region, `+associationExecutionColumns+`) VALUES (`+placeholders(1, 13)+`)`,
		sc.Account, sc.Region, e.AssociationID, e.ID, e.Version, e.NodeID, e.CommandID, e.Status, e.DetailedStatus, e.Counts, at(e.CreatedAt), at(e.CutoffAt), at(e.EndedAt))
	return err
}

// SaveAssociationExecution stores an execution's new state.
func (tx *Tx) SaveAssociationExecution(sc Scope, e AssociationExecution) error {
	_, err := tx.exec(`UPDATE association_execution SET command_id = $1, status = $2, detailed_status = $3, counts = $4, ended_at = $5
		WHERE account = $6 AND region = $7 AND association_id = $8 AND id = $9`,
		e.CommandID, e.Status, e.DetailedStatus, e.Counts, at(e.EndedAt), sc.Account, sc.Region, e.AssociationID, e.ID)
	return err
}

// AssociationExecution reads an execution, or ErrNotFound.
func (tx *Tx) AssociationExecution(sc Scope, associationID, id string) (AssociationExecution, error) {
	return one[AssociationExecution](tx, `SELECT `+associationExecutionColumns+` FROM association_execution
		WHERE account = $1 AND region = $2 AND association_id = $3 AND id = $4`, sc.Account, sc.Region, associationID, id)
}

// RunningAssociationExecutions lists the executions of an association that have not ended.
func (tx *Tx) RunningAssociationExecutions(sc Scope, associationID string) ([]AssociationExecution, error) {
	return all[AssociationExecution](tx, `SELECT `+associationExecutionColumns+` FROM association_execution
		WHERE account = $1 AND region = $2 AND association_id = $3 AND ended_at = 0 ORDER BY created_at, id`, sc.Account, sc.Region, associationID)
}

// AssociationExecutions lists the executions of an association, newest first, before the given creation time and id.
func (tx *Tx) AssociationExecutions(sc Scope, associationID string, createdBefore time.Time, idBefore string, limit int) ([]AssociationExecution, error) {
	return all[AssociationExecution](tx, `SELECT `+associationExecutionColumns+` FROM association_execution
		WHERE account = $1 AND region = $2 AND association_id = $3 AND (created_at, id) < ($4, $5) ORDER BY created_at DESC, id DESC LIMIT $6`,
		sc.Account, sc.Region, associationID, at(createdBefore), idBefore, limit)
}

// DeleteAssociationExecutions removes the executions of an association.
func (tx *Tx) DeleteAssociationExecutions(sc Scope, associationID string) error {
	_, err := tx.exec(`DELETE FROM association_execution WHERE account = $1 AND region = $2 AND association_id = $3`, sc.Account, sc.Region, associationID)
	return err
}

// DeleteOldAssociationExecutions removes executions that ended and were made before the given time, at most limit. It
// returns how many.
func (tx *Tx) DeleteOldAssociationExecutions(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM association_execution WHERE (account, region, association_id, id) IN (
		SELECT account, region, association_id, id FROM association_execution WHERE created_at < $1 AND ended_at > 0 ORDER BY created_at LIMIT $2)`, at(before), limit)
}

// AssociationNode is how an association stands on a node.
type AssociationNode struct {
	AssociationID  string
	NodeID         string
	Version        int64
	ExecutionID    string
	CommandID      string // empty: the node's agent runs it by itself
	Status         string
	DetailedStatus string
	Summary        string // this and the next two as an agent reports them
	ErrorCode      string
	OutputURL      string
	RunAt          time.Time
	EndedAt        time.Time // zero: its end is not taken over yet
}

func (n *AssociationNode) fields() []any {
	return []any{
		&n.AssociationID, &n.NodeID, &n.Version, &n.ExecutionID, &n.CommandID, &n.Status, &n.DetailedStatus, &n.Summary, &n.ErrorCode, &n.OutputURL,
		instant{&n.RunAt},
		instant{&n.EndedAt},
	}
}

const associationNodeColumns = `association_id, node_id, version, execution_id, command_id, status, detailed_status, summary, error_code, output_url, run_at, ended_at`

// PutAssociationNode stores how an association stands on a node.
func (tx *Tx) PutAssociationNode(sc Scope, n AssociationNode) error {
	_, err := tx.exec(`INSERT INTO association_node (account, region, `+associationNodeColumns+`) VALUES (`+placeholders(1, 14)+`)
		ON CONFLICT (account, region, association_id, node_id) DO UPDATE SET version = excluded.version, execution_id = excluded.execution_id,
		command_id = excluded.command_id, status = excluded.status, detailed_status = excluded.detailed_status, summary = excluded.summary,
		error_code = excluded.error_code, output_url = excluded.output_url, run_at = excluded.run_at, ended_at = excluded.ended_at`,
		sc.Account, sc.Region, n.AssociationID, n.NodeID, n.Version, n.ExecutionID, n.CommandID, n.Status, n.DetailedStatus, n.Summary, n.ErrorCode, n.OutputURL,
		at(n.RunAt), at(n.EndedAt))
	return err
}

// BeginAssociationNodes notes for every node of an execution's command that the association runs there.
func (tx *Tx) BeginAssociationNodes(sc Scope, e AssociationExecution, status, detailedStatus string) error {
	_, err := tx.exec(`INSERT INTO association_node (account, region, `+associationNodeColumns+`)
		SELECT account, region, $1, node_id, `+strconv.FormatInt(e.Version, 10)+`, $2, command_id, $3, $4, '', '', '', `+strconv.FormatInt(at(e.CreatedAt), 10)+`, 0
		FROM invocation WHERE account = $5 AND region = $6 AND command_id = $7
		ON CONFLICT (account, region, association_id, node_id) DO UPDATE SET version = excluded.version, execution_id = excluded.execution_id,
		command_id = excluded.command_id, status = excluded.status, detailed_status = excluded.detailed_status, summary = '',
		error_code = '', output_url = '', run_at = excluded.run_at, ended_at = 0`,
		e.AssociationID, e.ID, status, detailedStatus, sc.Account, sc.Region, e.CommandID)
	return err
}

// AssociationNode reads how an association stands on a node, or ErrNotFound.
func (tx *Tx) AssociationNode(sc Scope, associationID, nodeID string) (AssociationNode, error) {
	return one[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND node_id = $4`, sc.Account, sc.Region, associationID, nodeID)
}

// AssociationNodes lists how an association stands on nodes, after the given node.
func (tx *Tx) AssociationNodes(sc Scope, associationID, nodeAfter string, limit int) ([]AssociationNode, error) {
	return all[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND node_id > $4 ORDER BY node_id LIMIT $5`, sc.Account, sc.Region, associationID, nodeAfter, limit)
}

// OpenAssociationNodes lists the nodes on which the association still runs by a command, or by the nodes' own agents when
// that is empty, after the given node.
func (tx *Tx) OpenAssociationNodes(sc Scope, associationID, commandID, nodeAfter string, limit int) ([]AssociationNode, error) {
	return all[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND command_id = $4 AND node_id > $5 AND ended_at = 0 ORDER BY node_id LIMIT $6`,
		sc.Account, sc.Region, associationID, commandID, nodeAfter, limit)
}

// OutdatedAssociationNodes lists nodes on which an older version of the association ran, and does not any more.
func (tx *Tx) OutdatedAssociationNodes(sc Scope, associationID string, version int64, limit int) ([]AssociationNode, error) {
	return all[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND version < $4 AND ended_at > 0 ORDER BY node_id LIMIT $5`, sc.Account, sc.Region, associationID, version, limit)
}

// EndedOnNodes lists the invocations of a command that have ended and whose ends the association has not taken over.
func (tx *Tx) EndedOnNodes(sc Scope, associationID, commandID string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+prefixed("v", invocationColumns)+` FROM association_node n
		JOIN invocation v ON v.account = n.account AND v.region = n.region AND v.command_id = n.command_id AND v.node_id = n.node_id
		WHERE n.account = $1 AND n.region = $2 AND n.association_id = $3 AND n.command_id = $4 AND n.ended_at = 0 AND v.ended_at > 0
		ORDER BY n.node_id LIMIT $5`, sc.Account, sc.Region, associationID, commandID, limit)
}

// AssociationsOn lists how associations stand on a node, after the given association.
func (tx *Tx) AssociationsOn(sc Scope, nodeID, associationAfter string, limit int) ([]AssociationNode, error) {
	return all[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND node_id = $3 AND association_id > $4 ORDER BY association_id LIMIT $5`,
		sc.Account, sc.Region, nodeID, associationAfter, limit)
}

// DeleteAssociationNode forgets how an association stands on a node.
func (tx *Tx) DeleteAssociationNode(sc Scope, associationID, nodeID string) error {
	_, err := tx.exec(`DELETE FROM association_node WHERE account = $1 AND region = $2 AND association_id = $3 AND node_id = $4`, sc.Account, sc.Region, associationID, nodeID)
	return err
}

// DeleteAssociationsOn forgets how any association stands on a node.
func (tx *Tx) DeleteAssociationsOn(sc Scope, nodeID string) error {
	_, err := tx.exec(`DELETE FROM association_node WHERE account = $1 AND region = $2 AND node_id = $3`, sc.Account, sc.Region, nodeID)
	return err
}

// StatusCount is how many nodes have a status.
type StatusCount struct {
	Status         string
	DetailedStatus string
	Count          int64
}

func (c *StatusCount) fields() []any { return []any{&c.Status, &c.DetailedStatus, &c.Count} }

// AssociationNodeCounts counts the nodes of an association by their status.
func (tx *Tx) AssociationNodeCounts(sc Scope, associationID string) ([]StatusCount, error) {
	return all[StatusCount](tx, `SELECT status, detailed_status, count(*) FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 GROUP BY status, detailed_status ORDER BY status, detailed_status`, sc.Account, sc.Region, associationID)
}

// OwnRunCounts counts the nodes whose own agents run an execution, by their status.
func (tx *Tx) OwnRunCounts(sc Scope, associationID, executionID string) ([]StatusCount, error) {
	return all[StatusCount](tx, `SELECT status, detailed_status, count(*) FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND execution_id = $4 AND command_id = ''
		GROUP BY status, detailed_status ORDER BY status, detailed_status`, sc.Account, sc.Region, associationID, executionID)
}

// OwnRuns lists the nodes whose own agents run an execution, after the given node.
func (tx *Tx) OwnRuns(sc Scope, associationID, executionID, nodeAfter string, limit int) ([]AssociationNode, error) {
	return all[AssociationNode](tx, `SELECT `+associationNodeColumns+` FROM association_node
		WHERE account = $1 AND region = $2 AND association_id = $3 AND execution_id = $4 AND command_id = '' AND node_id > $5 ORDER BY node_id LIMIT $6`,
		sc.Account, sc.Region, associationID, executionID, nodeAfter, limit)
}

// InvocationCounts counts the invocations of a command by their status.
func (tx *Tx) InvocationCounts(sc Scope, commandID string) ([]StatusCount, error) {
	return all[StatusCount](tx, `SELECT status, status_details, count(*) FROM invocation WHERE account = $1 AND region = $2 AND command_id = $3
		GROUP BY status, status_details ORDER BY status, status_details`, sc.Account, sc.Region, commandID)
}

// WorkAssociationSkipped is the kind that the work item of an association's run gets in a restored database when it was
// due already: the original may have begun it.
const WorkAssociationSkipped = "association-skip"

// forgetAssociations makes sure that a restored database begins no run of an association that the original may have begun
// already. What runs ends with its command.
func (tx *Tx) forgetAssociations() error {
	_, err := tx.exec(`UPDATE work_item SET kind = $1 WHERE kind IN ('association-run', 'association-start') AND due_at <= $2`, WorkAssociationSkipped, at(tx.now))
	return err
}
