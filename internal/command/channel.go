package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/iam"
	"oakum.dev/internal/origin"
	"oakum.dev/internal/store"
)

// Message is what a node gets: its topic says whether it carries a command or cancels one.
type Message struct {
	ID        string
	CreatedAt time.Time
	Topic     string
	Payload   string
}

// Digest is the SHA-256 of the payload, in hex.
func (m Message) Digest() string {
	sum := sha256.Sum256([]byte(m.Payload))
	return hex.EncodeToString(sum[:])
}

// offerLimit is how many messages one poll takes: the AWS agent runs five commands and queues five more.
const offerLimit = 10

// Offer hands the waiting messages of a node out and hides them for the visibility time. next is when another
// message may become visible, zero when nothing waits. The node is the one of the credential, never of the
// request's body.
func (s *Service) Offer(ctx context.Context, p iam.Principal, visibility time.Duration) (list []Message, next time.Time, err error) {
	sc := store.Scope{Account: p.Account, Region: p.Region}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		list = nil
		rows, err := tx.OfferMessages(sc, p.NodeID, visibility, offerLimit)
		if err != nil {
			return err
		}
		for _, r := range rows {
			m, err := s.message(ctx, tx, sc, r)
			if errors.Is(err, store.ErrNotFound) { // the command was swept: nothing can come of it
				if _, err := tx.DeleteMessage(sc, r.NodeID, r.ID); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, m)
		}
		next, err = tx.NextVisible(sc, p.NodeID)
		return err
	})
	return list, next, err
}

func (s *Service) message(ctx context.Context, tx *store.Tx, sc store.Scope, r store.Message) (Message, error) {
	m := Message{ID: r.ID, CreatedAt: r.CreatedAt}
	if r.Kind == "cancel" {
		m.Topic = "aws.ssm.cancelCommand." + sc.Region
		b, err := json.Marshal(map[string]string{"CancelMessageId": sendID(r.CommandID, r.NodeID)})
		m.Payload = string(b)
		return m, err
	}
	c, err := tx.Command(sc, r.CommandID)
	if err != nil {
		return m, err
	}
	payload, err := tx.Content(sc.Account, c.PayloadHash)
	if err != nil {
		return m, err
	}
	m.Topic = "aws.ssm.sendCommand." + sc.Region
	m.Payload, err = origin.Fill(ctx, string(payload), s.Programs)
	return m, err
}

// ErrMessageID says that a message id is not one of ours for this node.
var ErrMessageID = errors.New("invalid message id")

// splitMessageID reads aws.ssm.COMMAND.NODE and checks that it is the caller's own.
func splitMessageID(p iam.Principal, id string) (commandID string, err error) {
	parts := strings.Split(id, ".")
	if len(parts) != 4 || parts[0] != "aws" || parts[1] != "ssm" || !arn.IsUUID(parts[2]) || parts[3] != p.NodeID {
		return "", fmt.Errorf("%w: %q", ErrMessageID, id)
	}
	return parts[2], nil
}

// Acknowledge takes a message out of the queue for good.
func (s *Service) Acknowledge(ctx context.Context, p iam.Principal, messageID string) error {
	return s.receive(ctx, p, messageID, func(*store.Tx, store.Invocation) (Event, error) { return Event{Kind: Delivered}, nil })
}

// Fail ends an invocation whose message the node cannot handle.
func (s *Service) Fail(ctx context.Context, p iam.Principal, messageID, failure string) error {
	return s.receive(ctx, p, messageID, func(*store.Tx, store.Invocation) (Event, error) {
		return Event{Kind: Refused, Trace: "the agent refused the message: " + cut(failure, 200)}, nil
	})
}

// TakeReply merges a node's reply. Replies may come twice, in any order and after the end.
func (s *Service) TakeReply(ctx context.Context, p iam.Principal, messageID string, r Reply) error {
	return s.receive(ctx, p, messageID, func(*store.Tx, store.Invocation) (Event, error) {
		return Event{Kind: Replied, Details: r.Details, Plugins: r.Plugins, Trace: r.Trace}, nil
	})
}

func (s *Service) receive(ctx context.Context, p iam.Principal, messageID string, event func(*store.Tx, store.Invocation) (Event, error)) error {
	commandID, err := splitMessageID(p, messageID)
	if err != nil {
		return err
	}
	sc := store.Scope{Account: p.Account, Region: p.Region}
	err = s.apply(ctx, sc, commandID, p.NodeID, event)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	// Not a command of this node: the message cancels one, or belongs to a command long gone.
	return s.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.DeleteMessage(sc, p.NodeID, messageID)
		return err
	})
}

// Waiting lists the nodes for which a message waits, with the time at which it may be offered.
func (s *Service) Waiting(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.WaitingNodes()
		for _, r := range rows {
			out[r.ID] = r.VisibleAt
		}
		return err
	})
	return out, err
}
