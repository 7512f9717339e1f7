// Package channel is how nodes get their messages: the long polls of ec2messages ("MDS"). It parks a poll until
// a message waits for its node; a poll of a node without messages costs no database read. Start with Hub.
package channel

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/command"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
)

// Hold is how long a poll without a message is held. The AWS agent gives up at 20 s, and after an answer
// faster than 1 s it waits 2 s: so the answer comes late, but not too late.
const Hold = 15 * time.Second

// Hub parks the polls of nodes. It is safe for concurrent use.
type Hub struct {
	commands *command.Service
	seen     func(iam.Principal)
	now      func() time.Time
	log      *slog.Logger
	hold     time.Duration

	mu      sync.Mutex
	waiting map[string]time.Time // nodes with a message, and when it may be offered
	parked  map[string]*poll     // at most one poll a node
	closed  chan struct{}
}

// poll is one parked request.
type poll struct {
	wake chan struct{} // buffered: something changed
	gone chan struct{} // closed when a newer poll of the node took its place
}

// NewHub returns a hub. seen is told of every poll.
func NewHub(commands *command.Service, seen func(iam.Principal), now func() time.Time, log *slog.Logger) *Hub {
	return &Hub{
		commands: commands, seen: seen, now: now, log: log, hold: Hold,
		waiting: map[string]time.Time{}, parked: map[string]*poll{}, closed: make(chan struct{}),
	}
}

// Load learns from the database which nodes have messages: at start, and now and then beside other servers.
func (h *Hub) Load(ctx context.Context) error {
	nodes, err := h.commands.Waiting(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range nodes {
		if old, ok := h.waiting[id]; !ok || t.Before(old) {
			h.set(id, t)
		}
	}
	return nil
}

func (h *Hub) set(id string, visible time.Time) {
	h.waiting[id] = visible
	if p := h.parked[id]; p != nil {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Wake says that the nodes have got messages.
func (h *Hub) Wake(nodeIDs []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range nodeIDs {
		h.set(id, time.Time{})
	}
}

// Drop ends the node's parked poll: it has been deregistered.
func (h *Hub) Drop(nodeID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.parked[nodeID]; p != nil {
		close(p.gone)
		delete(h.parked, nodeID)
	}
	delete(h.waiting, nodeID)
}

// Close answers all parked polls with an empty list and lets later ones through at once.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
}

// Parked is the number of polls that wait.
func (h *Hub) Parked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.parked)
}

func (h *Hub) park(id string) *poll {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.parked[id]; old != nil {
		close(old.gone)
	}
	p := &poll{wake: make(chan struct{}, 1), gone: make(chan struct{})}
	h.parked[id] = p
	return p
}

func (h *Hub) unpark(id string, p *poll) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parked[id] == p {
		delete(h.parked, id)
	}
}

// Handlers are the operations of ec2messages.
func (h *Hub) Handlers() *ec2messages.Handlers {
	return &ec2messages.Handlers{
		GetMessages: h.getMessages, AcknowledgeMessage: h.acknowledge, SendReply: h.sendReply, FailMessage: h.fail,
		DeleteMessage: h.deleteMessage, GetEndpoint: h.getEndpoint,
	}
}

func (h *Hub) getMessages(ctx context.Context, in *ec2messages.GetMessagesInput) (*ec2messages.GetMessagesOutput, error) {
	p := iam.PrincipalFrom(ctx)
	if p.NodeID == "" {
		return nil, ec2messages.InvalidDestinationException("The destination is not a managed instance")
	}
	h.seen(p)
	visibility := 10 * time.Second
	if in.VisibilityTimeoutInSeconds != nil {
		visibility = time.Duration(min(max(*in.VisibilityTimeoutInSeconds, 1), 300)) * time.Second
	}
	out := &ec2messages.GetMessagesOutput{Destination: in.Destination, MessagesRequestId: in.MessagesRequestId, Messages: []ec2messages.Message{}}
	mine := h.park(p.NodeID)
	defer h.unpark(p.NodeID, mine)
	end := time.NewTimer(h.hold)
	defer end.Stop()
	for {
		h.mu.Lock()
		visible, waits := h.waiting[p.NodeID]
		h.mu.Unlock()
		var retry <-chan time.Time
		if waits {
			if d := visible.Sub(h.now()); d > 0 {
				t := time.NewTimer(d)
				defer t.Stop() // a poll sees a handful of these
				retry = t.C
			} else if list, ok := h.offer(ctx, p, visibility); ok && len(list) > 0 {
				out.Messages = list
				return out, nil
			} else if ok {
				continue
			}
		}
		select {
		case <-mine.wake:
		case <-retry:
		case <-mine.gone:
			return out, nil
		case <-end.C:
			return out, nil
		case <-h.closed:
			return out, nil
		case <-ctx.Done():
			return out, nil
		}
	}
}

// offer takes messages out of the database. When that fails the poll is held as if there were none: an agent
// must not see an error for reasons of ours.
func (h *Hub) offer(ctx context.Context, p iam.Principal, visibility time.Duration) ([]ec2messages.Message, bool) {
	h.mu.Lock()
	delete(h.waiting, p.NodeID) // before the read: a message that comes meanwhile sets it again
	h.mu.Unlock()
	rows, next, err := h.commands.Offer(ctx, p, visibility)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.log.Warn("messages could not be offered", "node", p.NodeID, "err", err)
		h.waiting[p.NodeID] = h.now().Add(time.Second)
		return nil, false
	}
	if _, again := h.waiting[p.NodeID]; !again && !next.IsZero() {
		h.waiting[p.NodeID] = next
	}
	list := make([]ec2messages.Message, len(rows))
	for i, m := range rows {
		created, digest := m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z"), m.Digest()
		list[i] = ec2messages.Message{
			CreatedDate: &created, Destination: &p.NodeID, MessageId: &m.ID, Payload: &m.Payload, PayloadDigest: &digest, Topic: &m.Topic,
		}
	}
	return list, true
}

// answer turns a message id of another node into the service's error.
func answer(err error) error {
	if errors.Is(err, command.ErrMessageID) {
		return ec2messages.InvalidMessageIdException("The message id is not valid")
	}
	return err
}

func (h *Hub) acknowledge(ctx context.Context, in *ec2messages.AcknowledgeMessageInput) (*ec2messages.AcknowledgeMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	return nil, answer(h.commands.Acknowledge(ctx, p, codec.Value(in.MessageId)))
}

func (h *Hub) sendReply(ctx context.Context, in *ec2messages.SendReplyInput) (*ec2messages.SendReplyOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	reply, err := command.ParseReply(codec.Value(in.Payload))
	if err != nil {
		return nil, awserr.Validation("%v", err)
	}
	return nil, answer(h.commands.TakeReply(ctx, p, codec.Value(in.MessageId), reply))
}

func (h *Hub) fail(ctx context.Context, in *ec2messages.FailMessageInput) (*ec2messages.FailMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	return nil, answer(h.commands.Fail(ctx, p, codec.Value(in.MessageId), codec.Value(in.FailureType)))
}

func (h *Hub) deleteMessage(ctx context.Context, in *ec2messages.DeleteMessageInput) (*ec2messages.DeleteMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	return nil, answer(h.commands.Acknowledge(ctx, p, codec.Value(in.MessageId)))
}

func (h *Hub) getEndpoint(context.Context, *ec2messages.GetEndpointInput) (*ec2messages.GetEndpointOutput, error) {
	empty := ""
	return &ec2messages.GetEndpointOutput{Endpoint: &empty}, nil
}
