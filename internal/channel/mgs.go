package channel

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"oakum.dev/iam"
	"oakum.dev/internal/command"
	"oakum.dev/internal/origin"
	"oakum.dev/wire/mgs"
)

const (
	// pingEvery is how often an agent pings, and a little: the AWS agent and ours do so every 54 s.
	pingEvery = time.Minute
	// linkSilence is how long a channel may be silent before it is taken for dead: the AWS agent gives up after 114 s.
	linkSilence = 125 * time.Second
	// openWait is the time between the upgrade and the text frame.
	openWait = 10 * time.Second
	// tokenLife is how long a channel may take from its token to its text frame.
	tokenLife = time.Minute
	// settleWait is how long the AWS agent drops jobs after its text frame, without a word.
	settleWait = 2 * time.Second
	// writeWait bounds the writing of one frame.
	writeWait = 10 * time.Second
	// replyWait bounds what the database may take for a frame. A node that gets no acknowledgement sends its reply again.
	replyWait = 10 * time.Second
)

// Frames a node may send a second, and at once. An agent that replies about ten commands at a time stays far below.
const (
	frameRate  = 50
	frameBurst = 500
)

// link is one open control channel.
type link struct {
	hub   *Hub
	p     iam.Principal
	conn  *websocket.Conn
	heard atomic.Int64    // when anything came last, in nanoseconds since 1970
	own   bool            // the agent is Oakum's
	ctx   context.Context // says under which address the node reached the server; it does not end

	// The hub's mutex guards these.
	ready bool // jobs may be sent
	busy  bool // deliver runs
	wake  chan struct{}
	gone  chan struct{}
}

func (l *link) quiet(now time.Time) time.Duration { return now.Sub(time.Unix(0, l.heard.Load())) }

// rouse lets deliver look for messages. The caller holds the hub's mutex.
func (l *link) rouse() {
	if !l.busy {
		l.busy = true
		go l.deliver()
		return
	}
	signal(l.wake)
}

// part ends a channel. The caller holds the mutex.
func (h *Hub) part(l *link, code websocket.StatusCode) {
	if h.links[l.p.NodeID] == l {
		delete(h.links, l.p.NodeID)
	}
	select {
	case <-l.gone:
		return
	default:
		close(l.gone)
	}
	go func() { _ = l.conn.Close(code, "") }() // it waits for the node's own close frame, for 5 s
}

// Open is the number of control channels.
func (h *Hub) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.links)
}

// Sweep closes channels that have been silent for too long and forgets old tokens.
func (h *Hub) Sweep(context.Context) error {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		if l.quiet(now) > linkSilence {
			h.part(l, websocket.StatusGoingAway)
		}
	}
	for t, end := range h.used {
		if now.After(end) {
			delete(h.used, t)
		}
	}
	return nil
}

// ControlChannel serves ssmmessages: a node asks for a token, then opens a WebSocket. The caller has checked the
// signatures of both requests.
func (h *Hub) ControlChannel() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+mgs.Path+"{node}", h.createControlChannel)
	mux.HandleFunc("GET "+mgs.Path+"{node}", h.openControlChannel)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { // sessions, for one
		WriteError(w, r, "ResourceNotFoundException", "There are no data channels and no sessions here", http.StatusNotFound, "")
	})
	return mux
}

// WriteError answers with the error document of ssmmessages. At the sight of AccessDeniedException the AWS agent polls
// ec2messages at once.
func WriteError(w http.ResponseWriter, _ *http.Request, code, message string, status int, requestID string) {
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(message)) // a strings.Builder takes all
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<%s><Message>%s</Message><RequestId>%s</RequestId></%[1]s>", code, text.String(), requestID)
}

// caller sees that the path names the caller's own node.
func (h *Hub) caller(w http.ResponseWriter, r *http.Request) (p iam.Principal, ok bool) {
	p = iam.PrincipalFrom(r.Context())
	switch {
	case p.NodeID == "" || r.PathValue("node") != p.NodeID:
		WriteError(w, r, "AccessDeniedException", "A control channel belongs to the managed instance that opens it", http.StatusForbidden, "")
	case h.stopping():
		w.Header().Set("Retry-After", "1")
		WriteError(w, r, "ServiceUnavailable", "The server is stopping", http.StatusServiceUnavailable, "")
	default:
		return p, true
	}
	return p, false
}

func (h *Hub) createControlChannel(w http.ResponseWriter, r *http.Request) {
	p, ok := h.caller(w, r)
	if !ok {
		return
	}
	h.seen(p)
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "<CreateControlChannelResponse><MessageSchemaVersion>1.0</MessageSchemaVersion><TokenValue>%s</TokenValue></CreateControlChannelResponse>", h.token(p))
}

// token is good for one channel of the node, on any server, for a minute: its end, a nonce and a code over both.
func (h *Hub) token(p iam.Principal) string {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // never fails
	text := strconv.FormatInt(h.now().Add(tokenLife).Unix(), 36) + "." + base64.RawURLEncoding.EncodeToString(nonce)
	return text + "." + h.tokenCode(p, text)
}

func (h *Hub) tokenCode(p iam.Principal, text string) string {
	m := hmac.New(sha256.New, h.tokenKey)
	m.Write([]byte(p.Account + "|" + p.Region + "|" + p.NodeID + "|" + text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// redeem reports whether a token is good, and uses it up.
func (h *Hub) redeem(p iam.Principal, token string) bool {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || !hmac.Equal([]byte(h.tokenCode(p, token[:i])), []byte(token[i+1:])) {
		return false
	}
	text, _, _ := strings.Cut(token, ".")
	end, err := strconv.ParseInt(text, 36, 64)
	if err != nil || h.now().After(time.Unix(end, 0)) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.used[token]; again {
		return false
	}
	h.used[token] = time.Unix(end, 0)
	return true
}

func (h *Hub) openControlChannel(w http.ResponseWriter, r *http.Request) {
	p, ok := h.caller(w, r)
	if !ok {
		return
	}
	l := &link{hub: h, p: p, own: strings.HasPrefix(r.UserAgent(), "oakum-agent/"), wake: make(chan struct{}, 1), gone: make(chan struct{})}
	l.ctx = origin.With(context.Background(), origin.Of(r.Context()))
	l.hear()
	var err error
	l.conn, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // no browser's origin: the request is signed
		OnPingReceived: func(context.Context, []byte) bool {
			l.hear()
			return true
		},
	})
	if err != nil {
		return // Accept has answered
	}
	go l.serve() // the request's memory goes back
}

func (l *link) hear() {
	l.heard.Store(l.hub.now().UnixNano())
	l.hub.seen(l.p)
}

// serve reads the channel until it ends.
func (l *link) serve() {
	h := l.hub
	defer func() {
		if v := recover(); v != nil {
			h.log.Error("panic in a control channel", "node", l.p.NodeID, "err", v, "stack", string(debug.Stack()))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.part(l, websocket.StatusNormalClosure)
	}()
	if err := l.open(); err != nil {
		h.log.Debug("control channel refused", "node", l.p.NodeID, "err", err)
		_ = l.conn.Close(websocket.StatusPolicyViolation, "the channel was not opened as agreed") // it is as good as gone
		return
	}
	limit := rate.NewLimiter(frameRate, frameBurst)
	for {
		kind, b, err := l.conn.Read(context.Background()) // the sweep ends it
		if err != nil {
			return
		}
		l.hear()
		if err := limit.Wait(context.Background()); err != nil || kind != websocket.MessageBinary {
			continue
		}
		f, err := mgs.Decode(b)
		if err != nil {
			h.log.Warn("control channel closed", "node", l.p.NodeID, "err", err)
			return
		}
		l.take(f)
	}
}

// open takes the text frame and puts the channel in the place of the node's earlier one.
func (l *link) open() error {
	h := l.hub
	l.conn.SetReadLimit(4 << 10)
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	kind, b, err := l.conn.Read(ctx)
	if err != nil {
		return err
	}
	var o mgs.Open
	if err := json.Unmarshal(b, &o); err != nil || kind != websocket.MessageText {
		return errors.New("the first frame is not the one that opens a channel")
	}
	if !h.redeem(l.p, o.TokenValue) {
		return errors.New("the token is not good")
	}
	l.conn.SetReadLimit(mgs.MaxFrame)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping() {
		return errors.New("the server is stopping")
	}
	if old := h.links[l.p.NodeID]; old != nil {
		h.part(old, websocket.StatusNormalClosure)
	}
	h.links[l.p.NodeID] = l
	if l.own {
		h.begin(l)
	} else {
		time.AfterFunc(settleWait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.begin(l)
		})
	}
	return nil
}

// begin lets jobs go out. The caller holds the mutex.
func (h *Hub) begin(l *link) {
	l.ready = true
	if _, waits := h.waiting[l.p.NodeID]; waits && h.links[l.p.NodeID] == l {
		l.rouse()
	}
}

// deliver sends what waits for the node, and ends when nothing does.
func (l *link) deliver() {
	h, id := l.hub, l.p.NodeID
	for {
		h.mu.Lock()
		visible, waits := h.waiting[id]
		if !waits || h.links[id] != l || h.polls(l) {
			l.busy = false
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		if d := visible.Sub(h.now()); d > 0 {
			t := time.NewTimer(d)
			select {
			case <-t.C:
			case <-l.wake:
			case <-l.gone:
			}
			t.Stop()
			continue
		}
		list, _ := h.offer(l.ctx, l.p, visibility)
		for _, m := range list {
			if err := l.send(mgs.AgentJob, mgs.Job{SchemaVersion: 1, JobID: m.ID, Topic: m.Topic, Content: m.Payload}); err != nil {
				h.log.Debug("control channel lost", "node", id, "err", err)
				h.mu.Lock()
				h.part(l, websocket.StatusGoingAway)
				h.mu.Unlock()
				break // what was not sent is offered again when it is visible
			}
		}
	}
}

func (l *link) send(kind string, payload any) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	f := mgs.Frame{Type: kind, Created: l.hub.now(), Payload: b}
	_, _ = rand.Read(f.ID[:]) // never fails
	f.ID[6], f.ID[8] = f.ID[6]&0x0f|0x40, f.ID[8]&0x3f|0x80
	ctx, cancel := context.WithTimeout(context.Background(), writeWait)
	defer cancel()
	return l.conn.Write(ctx, websocket.MessageBinary, f.Encode())
}

// take handles one frame of the node. What the database does not take now is not acknowledged: the node sends it again.
func (l *link) take(f mgs.Frame) {
	h := l.hub
	ctx, cancel := context.WithTimeout(context.Background(), replyWait)
	defer cancel()
	var err error
	switch f.Type {
	case mgs.AgentJobAck:
		err = l.acknowledged(ctx, f)
	case mgs.AgentJobReply:
		err = l.replied(ctx, f)
	} // agent_telemetry, agent_update_result and whatever comes later are not needed
	if err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "frame of a node not taken", slog.String("node", l.p.NodeID), slog.String("type", f.Type), slog.Any("err", err))
	}
}

func (l *link) acknowledged(ctx context.Context, f mgs.Frame) error {
	var a mgs.JobAck
	if err := json.Unmarshal(f.Payload, &a); err != nil {
		return err
	}
	switch a.StatusCode {
	case mgs.Successful, mgs.DuplicateCommand:
		return l.hub.commands.Acknowledge(ctx, l.p, a.JobID)
	case mgs.ProcessorBufferFull, mgs.ClosedProcessor:
		return nil // offered again when it is visible
	}
	return l.hub.commands.Fail(ctx, l.p, a.JobID, "code "+a.StatusCode+" "+a.ErrorMessage)
}

func (l *link) replied(ctx context.Context, f mgs.Frame) error {
	var r mgs.JobReply
	err := json.Unmarshal(f.Payload, &r)
	if err == nil {
		var reply command.Reply
		if reply, err = command.ParseReply(r.Content); err == nil {
			err = l.hub.commands.TakeReply(ctx, l.p, r.JobID, reply)
			if err != nil && !errors.Is(err, command.ErrMessageID) {
				return err
			}
		}
	}
	// A reply that cannot be read now never can: acknowledged, it is not sent again for two hours.
	return errors.Join(err, l.send(mgs.AgentJobReplyAck, mgs.JobReplyAck{JobID: r.JobID, AcknowledgedMessageID: mgs.FormatID(f.ID)}))
}
