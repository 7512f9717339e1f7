// Package channel is how nodes get their messages: the long polls of ec2messages ("MDS") and the control channels of
// ssmmessages ("MGS"). Either is a map entry until a message waits for its node; a poll or a ping of a node without messages
// costs no database read. Start with Hub.
package channel

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/websocket"

	"oakum.dev/iam"
	"oakum.dev/internal/command"
)

// Hold is how long a poll without a message is held. The AWS agent gives up at 20 s, and after an answer
// faster than 1 s it waits 2 s: so the answer comes late, but not too late.
const Hold = 15 * time.Second

// visibility is how long a message that was handed out stays hidden, unless a poll says otherwise. The AWS agent, and ours,
// acknowledges within a second; what was not acknowledged is offered again.
const visibility = 10 * time.Second

// Hub parks the polls of nodes and holds their control channels. It is safe for concurrent use.
type Hub struct {
	commands *command.Service
	seen     func(iam.Principal)
	now      func() time.Time
	log      *slog.Logger
	hold     time.Duration
	tokenKey []byte

	mu      sync.Mutex
	waiting map[string]time.Time // nodes with a message, and when it may be offered
	parked  map[string]*poll     // at most one poll a node
	links   map[string]*link     // at most one control channel a node
	used    map[string]time.Time // tokens of control channels that were opened, until they expire
	closed  chan struct{}
}

// poll is one parked request.
type poll struct {
	wake chan struct{} // buffered: something changed
	gone chan struct{} // closed when a newer poll of the node took its place
}

// NewHub returns a hub. seen is told of every poll and of every ping; tokenKey signs the tokens of control channels, the same on
// every server of an installation.
func NewHub(commands *command.Service, seen func(iam.Principal), tokenKey []byte, now func() time.Time, log *slog.Logger) *Hub {
	return &Hub{
		commands: commands, seen: seen, now: now, log: log, hold: Hold, tokenKey: tokenKey,
		waiting: map[string]time.Time{}, parked: map[string]*poll{}, links: map[string]*link{}, used: map[string]time.Time{},
		closed: make(chan struct{}),
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

// set notes that a message waits and wakes the node's channel, or else its poll: an agent that has just opened its channel
// polls for another minute, and one whose channel is dead has begun to poll again.
func (h *Hub) set(id string, visible time.Time) {
	h.waiting[id] = visible
	if l := h.links[id]; l != nil && l.ready && !h.polls(l) {
		l.rouse()
	} else if p := h.parked[id]; p != nil {
		signal(p.wake)
	}
}

// polls reports whether the node of a channel has begun to poll again, as the channel is dead.
func (h *Hub) polls(l *link) bool {
	return h.parked[l.p.NodeID] != nil && l.quiet(h.now()) > pingEvery
}

// signal wakes one who waits on a buffered channel.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
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

// Drop ends the node's parked poll and its control channel: it has been deregistered.
func (h *Hub) Drop(nodeID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[nodeID]; l != nil {
		h.part(l, websocket.StatusPolicyViolation)
	}
	if p := h.parked[nodeID]; p != nil {
		close(p.gone)
		delete(h.parked, nodeID)
	}
	delete(h.waiting, nodeID)
}

// Close answers all parked polls with an empty list, lets later ones through at once, and closes all control channels.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping() {
		return
	}
	close(h.closed)
	for _, l := range h.links {
		h.part(l, websocket.StatusGoingAway)
	}
}

func (h *Hub) stopping() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
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

// offer takes messages out of the database. When that fails it is as if there were none, for a second: an agent must not
// see an error for reasons of ours.
func (h *Hub) offer(ctx context.Context, p iam.Principal, visibility time.Duration) ([]command.Message, bool) {
	h.mu.Lock()
	delete(h.waiting, p.NodeID) // before the read: a message that comes meanwhile sets it again
	h.mu.Unlock()
	rows, next, err := h.commands.Offer(ctx, p, visibility)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.log.Warn("messages could not be offered", "node", p.NodeID, "err", err)
		h.set(p.NodeID, h.now().Add(time.Second))
		return nil, false
	}
	if _, again := h.waiting[p.NodeID]; !again && !next.IsZero() {
		h.set(p.NodeID, next) // the node may have another channel by now, which has seen nothing waiting
	}
	return rows, true
}
