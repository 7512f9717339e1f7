package store

import (
	"time"
)

// Command is one SendCommand with its counters.
type Command struct {
	Account, Region        string
	ID                     string
	DocumentName           string
	DocumentVersion        string
	PayloadHash            string
	Steps                  string // JSON
	Comment                string
	Parameters             string // JSON, as the caller sent them
	InstanceIDs            string // JSON
	Targets                string // JSON
	TimeoutSeconds         int64
	RequestedAt            time.Time
	DeliverByAt            time.Time
	ExpiresAt              time.Time
	OutputBucket           string
	OutputPrefix           string
	OutputRegion           string
	ServiceRole            string
	MaxConcurrency         string
	MaxErrors              string
	ConcurrencyLimit       int64
	ErrorLimit             int64
	TargetCount            int64
	ClaimedCount           int64
	DeliveredCount         int64
	InFlight               int64
	CompletedCount         int64
	ErrorCount             int64
	DeliveryTimedOutCount  int64
	SuccessCount           int64
	ExecutionTimedOutCount int64
	IgnoredCount           int64
	LostCount              int64
	CancelRequested        bool
	Status                 string
	StatusDetails          string
	RequestedBy            string
	Origin                 string // kind and subject of the work item that tells who sent it of its end; empty: nobody asks
}

func (c *Command) fields() []any {
	return []any{
		&c.Account, &c.Region, &c.ID, &c.DocumentName, &c.DocumentVersion, &c.PayloadHash, &c.Steps, &c.Comment, &c.Parameters,
		&c.InstanceIDs, &c.Targets, &c.TimeoutSeconds,
		instant{&c.RequestedAt},
		instant{&c.DeliverByAt},
		instant{&c.ExpiresAt},
		&c.OutputBucket, &c.OutputPrefix, &c.OutputRegion, &c.ServiceRole, &c.MaxConcurrency, &c.MaxErrors, &c.ConcurrencyLimit, &c.ErrorLimit,
		&c.TargetCount, &c.ClaimedCount, &c.DeliveredCount, &c.InFlight, &c.CompletedCount, &c.ErrorCount, &c.DeliveryTimedOutCount,
		&c.SuccessCount, &c.ExecutionTimedOutCount, &c.IgnoredCount, &c.LostCount, &c.CancelRequested, &c.Status, &c.StatusDetails, &c.RequestedBy, &c.Origin,
	}
}

const commandColumns = `account, region, id, document_name, document_version, payload_hash, steps, comment, parameters,
	instance_ids, targets, timeout_s, requested_at, deliver_by_at, expires_at,
	output_bucket, output_prefix, output_region, service_role, max_concurrency, max_errors, concurrency_limit, error_limit,
	target_count, claimed_count, delivered_count, in_flight, completed_count, error_count, delivery_timed_out_count,
	success_count, execution_timed_out_count, ignored_count, lost_count, cancel_requested, status, status_details, requested_by, origin`

// InsertCommand stores a new command.
func (tx *Tx) InsertCommand(c Command) error {
	_, err := tx.exec(`INSERT INTO command (`+commandColumns+`) VALUES (`+placeholders(1, 39)+`)`,
		c.Account, c.Region, c.ID, c.DocumentName, c.DocumentVersion, c.PayloadHash, c.Steps, c.Comment, c.Parameters,
		c.InstanceIDs, c.Targets, c.TimeoutSeconds, at(c.RequestedAt), at(c.DeliverByAt), at(c.ExpiresAt),
		c.OutputBucket, c.OutputPrefix, c.OutputRegion, c.ServiceRole, c.MaxConcurrency, c.MaxErrors, c.ConcurrencyLimit, c.ErrorLimit,
		c.TargetCount, c.ClaimedCount, c.DeliveredCount, c.InFlight, c.CompletedCount, c.ErrorCount, c.DeliveryTimedOutCount,
		c.SuccessCount, c.ExecutionTimedOutCount, c.IgnoredCount, c.LostCount, c.CancelRequested, c.Status, c.StatusDetails, c.RequestedBy, c.Origin)
	return err
}

// Command reads one command, or ErrNotFound.
func (tx *Tx) Command(sc Scope, id string) (Command, error) {
	return one[Command](tx, `SELECT `+commandColumns+` FROM command WHERE account = $1 AND region = $2 AND id = $3`, sc.Account, sc.Region, id)
}

// LockCommand is Command for a change that follows: everything about a command is serialised on its row.
func (tx *Tx) LockCommand(sc Scope, id string) (Command, error) {
	return one[Command](tx, `SELECT `+commandColumns+` FROM command WHERE account = $1 AND region = $2 AND id = $3`+tx.s.d.forUpdate(), sc.Account, sc.Region, id)
}

// SaveCommand stores a command's counters and state.
func (tx *Tx) SaveCommand(c Command) error {
	_, err := tx.exec(`UPDATE command SET claimed_count = $1, delivered_count = $2, in_flight = $3, completed_count = $4, error_count = $5,
		delivery_timed_out_count = $6, success_count = $7, execution_timed_out_count = $8, ignored_count = $9, cancel_requested = $10,
		status = $11, status_details = $12, lost_count = $13 WHERE account = $14 AND region = $15 AND id = $16`,
		c.ClaimedCount, c.DeliveredCount, c.InFlight, c.CompletedCount, c.ErrorCount,
		c.DeliveryTimedOutCount, c.SuccessCount, c.ExecutionTimedOutCount, c.IgnoredCount, c.CancelRequested,
		c.Status, c.StatusDetails, c.LostCount, c.Account, c.Region, c.ID)
	return err
}

// Commands lists commands, newest first, before the given request time and id.
func (tx *Tx) Commands(sc Scope, before time.Time, idBefore string, limit int) ([]Command, error) {
	return all[Command](tx, `SELECT `+commandColumns+` FROM command WHERE account = $1 AND region = $2 AND (requested_at, id) < ($3, $4)
		ORDER BY requested_at DESC, id DESC LIMIT $5`, sc.Account, sc.Region, at(before), idBefore, limit)
}

// Invocation is one command on one node.
type Invocation struct {
	Account, Region string
	CommandID       string
	NodeID          string
	Position        int64
	RequestedAt     time.Time
	Status          string
	StatusDetails   string
	Claimed         bool
	Delivered       bool
	EndedAt         time.Time
	Plugins         string // JSON
	Trace           string
	LateResult      string
}

func (v *Invocation) fields() []any {
	return []any{
		&v.Account, &v.Region, &v.CommandID, &v.NodeID, &v.Position,
		instant{&v.RequestedAt},
		&v.Status, &v.StatusDetails, &v.Claimed,
		&v.Delivered,
		instant{&v.EndedAt},
		&v.Plugins, &v.Trace, &v.LateResult,
	}
}

const invocationColumns = `account, region, command_id, node_id, position, requested_at, status, status_details, claimed,
	delivered, ended_at, plugins, trace, late_result`

// InsertInvocation stores a new invocation.
func (tx *Tx) InsertInvocation(v Invocation) error {
	_, err := tx.exec(`INSERT INTO invocation (`+invocationColumns+`) VALUES (`+placeholders(1, 14)+`)`,
		v.Account, v.Region, v.CommandID, v.NodeID, v.Position, at(v.RequestedAt), v.Status, v.StatusDetails, v.Claimed,
		v.Delivered, at(v.EndedAt), v.Plugins, v.Trace, v.LateResult)
	return err
}

// Invocation reads one invocation, or ErrNotFound. Who changes it has locked its command.
func (tx *Tx) Invocation(sc Scope, commandID, nodeID string) (Invocation, error) {
	return one[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation WHERE account = $1 AND region = $2 AND command_id = $3 AND node_id = $4`,
		sc.Account, sc.Region, commandID, nodeID)
}

// SaveInvocation stores an invocation's state.
func (tx *Tx) SaveInvocation(v Invocation) error {
	_, err := tx.exec(`UPDATE invocation SET status = $1, status_details = $2, claimed = $3, delivered = $4, ended_at = $5, plugins = $6,
		trace = $7, late_result = $8 WHERE account = $9 AND region = $10 AND command_id = $11 AND node_id = $12`,
		v.Status, v.StatusDetails, v.Claimed, v.Delivered, at(v.EndedAt), v.Plugins, v.Trace, v.LateResult, v.Account, v.Region, v.CommandID, v.NodeID)
	return err
}

// UnclaimedInvocations lists the next invocations of a command that were not claimed yet.
func (tx *Tx) UnclaimedInvocations(sc Scope, commandID string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation
		WHERE account = $1 AND region = $2 AND command_id = $3 AND claimed = FALSE ORDER BY position LIMIT $4`, sc.Account, sc.Region, commandID, limit)
}

// OpenInvocations lists the invocations of a command that have not ended, after the given node.
func (tx *Tx) OpenInvocations(sc Scope, commandID, nodeAfter string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation
		WHERE account = $1 AND region = $2 AND command_id = $3 AND node_id > $4 AND ended_at = 0 ORDER BY node_id LIMIT $5`,
		sc.Account, sc.Region, commandID, nodeAfter, limit)
}

// InvocationsOf lists the invocations of a command in the order of its targets, after a position.
func (tx *Tx) InvocationsOf(sc Scope, commandID, nodeAfter string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation
		WHERE account = $1 AND region = $2 AND command_id = $3 AND node_id > $4 ORDER BY node_id LIMIT $5`, sc.Account, sc.Region, commandID, nodeAfter, limit)
}

// InvocationsOn lists the invocations of a node, newest first.
func (tx *Tx) InvocationsOn(sc Scope, nodeID string, before time.Time, commandBefore string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation
		WHERE account = $1 AND region = $2 AND node_id = $3 AND (requested_at, command_id) < ($4, $5) ORDER BY requested_at DESC, command_id DESC LIMIT $6`,
		sc.Account, sc.Region, nodeID, at(before), commandBefore, limit)
}

// Invocations lists all invocations, newest first.
func (tx *Tx) Invocations(sc Scope, before time.Time, commandBefore, nodeBefore string, limit int) ([]Invocation, error) {
	return all[Invocation](tx, `SELECT `+invocationColumns+` FROM invocation
		WHERE account = $1 AND region = $2 AND (requested_at, command_id, node_id) < ($3, $4, $5)
		ORDER BY requested_at DESC, command_id DESC, node_id DESC LIMIT $6`, sc.Account, sc.Region, at(before), commandBefore, nodeBefore, limit)
}

// CommandsOn lists the ids of the commands sent to a node, newest first.
func (tx *Tx) CommandsOn(sc Scope, nodeID string, before time.Time, idBefore string, limit int) ([]Command, error) {
	return all[Command](tx, `SELECT `+prefixed("c", commandColumns)+` FROM invocation v
		JOIN command c ON c.account = v.account AND c.region = v.region AND c.id = v.command_id
		WHERE v.account = $1 AND v.region = $2 AND v.node_id = $3 AND (v.requested_at, v.command_id) < ($4, $5)
		ORDER BY v.requested_at DESC, v.command_id DESC LIMIT $6`, sc.Account, sc.Region, nodeID, at(before), idBefore, limit)
}

// CommandKey names a command of any tenant.
type CommandKey struct {
	Account, Region, ID string
	RequestedAt         time.Time
}

func (k *CommandKey) fields() []any {
	return []any{&k.Account, &k.Region, &k.ID, instant{&k.RequestedAt}}
}

// OldCommands lists commands requested before the given time, but for those that may still end: whoever sent one of them
// waits for its end.
func (tx *Tx) OldCommands(before time.Time, limit int) ([]CommandKey, error) {
	return all[CommandKey](tx, `SELECT account, region, id, requested_at FROM command
		WHERE requested_at < $1 AND (completed_count >= target_count OR expires_at < $1) ORDER BY requested_at LIMIT $2`, at(before), limit)
}

// PutCommandDocuments lets the nodes of a command read documents, by name or by ARN, beside the one that it was sent with.
func (tx *Tx) PutCommandDocuments(sc Scope, commandID string, documents []string) error {
	for _, name := range documents {
		_, err := tx.exec(`INSERT INTO command_document (account, region, command_id, document_name) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			sc.Account, sc.Region, commandID, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteCommand removes a command with its invocations and messages.
func (tx *Tx) DeleteCommand(sc Scope, id string) error {
	for _, q := range []string{
		`DELETE FROM node_message WHERE account = $1 AND region = $2 AND command_id = $3`,
		`DELETE FROM invocation WHERE account = $1 AND region = $2 AND command_id = $3`,
		`DELETE FROM command_document WHERE account = $1 AND region = $2 AND command_id = $3`,
		`DELETE FROM command WHERE account = $1 AND region = $2 AND id = $3`,
	} {
		if _, err := tx.exec(q, sc.Account, sc.Region, id); err != nil {
			return err
		}
	}
	return nil
}
