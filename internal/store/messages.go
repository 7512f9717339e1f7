package store

import (
	"strings"
	"time"
)

// prefixed puts a table's alias before every column of a list.
func prefixed(alias, columns string) string {
	list := strings.Split(columns, ",")
	for i, c := range list {
		list[i] = alias + "." + strings.TrimSpace(c)
	}
	return strings.Join(list, ", ")
}

// Message is what waits to be handed to a node: a command or the cancelling of one.
type Message struct {
	Account, Region string
	NodeID          string
	ID              string // aws.ssm.COMMAND.NODE, or a UUID of its own for a cancel
	Kind            string // send, cancel
	CommandID       string
	CreatedAt       time.Time
	FirstOfferedAt  time.Time
	VisibleAt       time.Time
	NotAfterAt      time.Time
}

func (m *Message) fields() []any {
	return []any{
		&m.Account, &m.Region, &m.NodeID, &m.ID, &m.Kind, &m.CommandID,
		instant{&m.CreatedAt},
		instant{&m.FirstOfferedAt},
		instant{&m.VisibleAt},
		instant{&m.NotAfterAt},
	}
}

const messageColumns = `account, region, node_id, message_id, kind, command_id, created_at, first_offered_at, visible_at, not_after_at`

// redeliverFor bounds how long a message is offered again: the AWS agent remembers command ids for 30 minutes,
// and an offer after that would run the command twice.
const redeliverFor = 25 * time.Minute

// InsertMessage queues a message for a node.
func (tx *Tx) InsertMessage(m Message) error {
	_, err := tx.exec(`INSERT INTO node_message (`+messageColumns+`) VALUES (`+placeholders(1, 10)+`)
		ON CONFLICT (account, region, node_id, message_id) DO NOTHING`,
		m.Account, m.Region, m.NodeID, m.ID, m.Kind, m.CommandID, at(m.CreatedAt), at(m.FirstOfferedAt), at(m.VisibleAt), at(m.NotAfterAt))
	return err
}

// OfferMessages hands out the node's visible messages and hides them for the visibility time. Visibility is asked
// for twice: PostgreSQL looks again at a row that a poll beside this one has just taken.
func (tx *Tx) OfferMessages(sc Scope, nodeID string, visibility time.Duration, limit int) ([]Message, error) {
	now := at(tx.now)
	return all[Message](tx, `UPDATE node_message SET visible_at = $1, first_offered_at = CASE WHEN first_offered_at = 0 THEN $2 ELSE first_offered_at END
		WHERE account = $3 AND region = $4 AND node_id = $5 AND message_id IN (
			SELECT message_id FROM node_message WHERE account = $3 AND region = $4 AND node_id = $5 AND visible_at <= $2 AND not_after_at > $2
			AND (first_offered_at = 0 OR first_offered_at > $6) ORDER BY created_at, message_id LIMIT $7) AND visible_at <= $2
		RETURNING `+messageColumns, at(tx.now.Add(visibility)), now, sc.Account, sc.Region, nodeID, at(tx.now.Add(-redeliverFor)), limit)
}

// LockMessage reads one waiting message of a node, or ErrNotFound, for a change that follows: an offer of the same message waits for it, or it for the offer.
func (tx *Tx) LockMessage(sc Scope, nodeID, messageID string) (Message, error) {
	return one[Message](tx, `SELECT `+messageColumns+` FROM node_message WHERE account = $1 AND region = $2 AND node_id = $3 AND message_id = $4`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, nodeID, messageID)
}

// DeleteMessage takes a message out of the queue and reports whether it was there.
func (tx *Tx) DeleteMessage(sc Scope, nodeID, messageID string) (bool, error) {
	n, err := tx.exec(`DELETE FROM node_message WHERE account = $1 AND region = $2 AND node_id = $3 AND message_id = $4`, sc.Account, sc.Region, nodeID, messageID)
	return n == 1, err
}

// NextVisible is when the node's next message may be offered, or the zero time when nothing waits.
func (tx *Tx) NextVisible(sc Scope, nodeID string) (time.Time, error) {
	list, err := column[int64](tx, `SELECT visible_at FROM node_message WHERE account = $1 AND region = $2 AND node_id = $3 AND not_after_at > $4
		AND (first_offered_at = 0 OR first_offered_at > $5) ORDER BY visible_at LIMIT 1`, sc.Account, sc.Region, nodeID, at(tx.now), at(tx.now.Add(-redeliverFor)))
	if err != nil || len(list) == 0 {
		return time.Time{}, err
	}
	return time.UnixMicro(list[0]).UTC(), nil
}

// WaitingNode names a node for which a message waits.
type WaitingNode struct {
	ID        string
	VisibleAt time.Time
}

func (w *WaitingNode) fields() []any { return []any{&w.ID, instant{&w.VisibleAt}} }

// WaitingNodes lists every node with a message that may still be offered: what a server must know when it starts.
func (tx *Tx) WaitingNodes() ([]WaitingNode, error) {
	return all[WaitingNode](tx, `SELECT node_id, min(visible_at) FROM node_message WHERE not_after_at > $1
		AND (first_offered_at = 0 OR first_offered_at > $2) GROUP BY node_id`, at(tx.now), at(tx.now.Add(-redeliverFor)))
}

// DeleteExpiredMessages removes messages that may never be offered again.
func (tx *Tx) DeleteExpiredMessages(limit int) (int64, error) {
	return tx.exec(`DELETE FROM node_message WHERE (account, region, node_id, message_id) IN
		(SELECT account, region, node_id, message_id FROM node_message WHERE not_after_at <= $1 ORDER BY not_after_at LIMIT $2)`, at(tx.now), limit)
}
