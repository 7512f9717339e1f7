package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"oakum.dev/awserr"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/mgs"
	"oakum.dev/wire/sigv4"
)

// gate lets the poll loop through or holds it: an agent with a control channel does not poll.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

// wait returns when the gate is open, or ctx has ended.
func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
	}
}

// controlWith keeps the control channel of a node open, where the server has TLS. Until the channel has failed to open twice,
// and while it is open, the agent does not poll; when it has been lost for ChannelLost, the agent polls until it is open again.
func (a *Agent) controlWith(ctx context.Context) {
	if a.client.endpoint.Scheme != "https" {
		a.polling.set(true)
		return
	}
	b := a.newBackoff()
	opened := false // once in this process: then the server has channels, and is only away for a while
	var lost *time.Timer
	for ctx.Err() == nil {
		l, err := a.openChannel(ctx)
		if err == nil {
			alive := false
			err = l.serve(ctx, func() {
				alive, opened = true, true
				b.reset()
				a.link.Store(l)
				if lost != nil {
					lost.Stop()
				}
				a.polling.set(false)
				a.log.LogAttrs(ctx, slog.LevelInfo, "control channel open")
			})
			a.link.Store(nil)
			if alive {
				lost = time.AfterFunc(a.timing.ChannelLost, func() {
					if a.link.Load() == nil {
						a.polling.set(true)
					}
				})
			}
			if alive && ctx.Err() == nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "control channel lost", slog.Any("err", err))
			}
		}
		if err != nil && b.failures == 0 && !opened && ctx.Err() == nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "control channel not opened", slog.Any("err", err))
		}
		pause := b.next()
		if busy, ok := errors.AsType[*busyError](err); ok {
			pause = min(max(pause, busy.after), a.timing.BackoffCap)
		}
		if !opened && b.failures >= 2 {
			a.polling.set(true)
			pause = a.timing.ChannelRetry + a.sys.jitter(a.timing.ChannelRetry)
		}
		if !wait(ctx, pause) {
			break
		}
	}
	if lost != nil {
		lost.Stop()
	}
}

// busyError is a refusal with a Retry-After.
type busyError struct {
	after time.Duration
	err   error
}

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// replyAckWait is how long a reply waits for its acknowledgement, which comes within a second, before it is sent by SendReply.
const replyAckWait = 10 * time.Second

// link is one open control channel.
type link struct {
	agent *Agent
	conn  *websocket.Conn
	queue chan ec2messages.Message
	over  chan struct{} // closed when the channel has ended

	mu     sync.Mutex
	frames map[string]string        // message id to the id of the frame that brought it last
	acks   map[string]chan struct{} // replies that wait, by the id of their frame
}

// openChannel asks for a token, upgrades and sends the first frame.
func (a *Agent) openChannel(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timing.RequestTimeout)
	defer cancel()
	requestID, err := a.sys.uuid()
	if err != nil {
		return nil, err
	}
	body := fmt.Appendf(nil, `{"MessageSchemaVersion":"1.0","RequestId":"%s"}`, requestID)
	resp, err := a.client.signed(ctx, http.MethodPost, mgs.Path+a.InstanceID(), body, func(r *http.Request) (*http.Response, error) {
		r.Header.Set("Content-Type", "application/json")
		return a.client.http.Do(r)
	})
	if err != nil {
		return nil, fmt.Errorf("ask for a control channel: %w", err)
	}
	defer resp.Body.Close()
	var answer struct{ TokenValue string }
	if err := xml.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil || answer.TokenValue == "" {
		return nil, fmt.Errorf("ask for a control channel: the answer has no token")
	}
	l := &link{agent: a, queue: make(chan ec2messages.Message, maxQueued), over: make(chan struct{}), frames: map[string]string{}, acks: map[string]chan struct{}{}}
	_, err = a.client.signed(ctx, http.MethodGet, mgs.Path+a.InstanceID()+"?role=subscribe&stream=input", nil, func(r *http.Request) (resp *http.Response, err error) {
		l.conn, resp, err = websocket.Dial(ctx, r.URL.String(), &websocket.DialOptions{HTTPClient: a.client.http, HTTPHeader: r.Header})
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = nil // the answer says more
		}
		return resp, err
	})
	if err != nil {
		return nil, fmt.Errorf("open a control channel: %w", err)
	}
	l.conn.SetReadLimit(mgs.MaxFrame)
	first, err := json.Marshal(mgs.Open{
		MessageSchemaVersion: "1.0", RequestID: requestID, TokenValue: answer.TokenValue, AgentVersion: a.cfg.Version, PlatformType: strings.ToLower(string(a.self.Type)),
	})
	if err == nil {
		err = l.conn.Write(ctx, websocket.MessageText, first)
	}
	if err != nil {
		_ = l.conn.CloseNow() // it failed
		return nil, fmt.Errorf("open a control channel: %w", err)
	}
	return l, nil
}

// signed makes a request of the message gateway and reads its refusal.
func (c *Client) signed(ctx context.Context, method, path string, body []byte, do func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	creds, err := c.creds.get(ctx)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.endpoint.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.userAgent)
	sigv4.Sign(r, sigv4.Hash(body), creds.Credentials, c.region, "ssmmessages", c.now())
	sent := c.sys.Now()
	resp, err := do(r)
	if err != nil {
		return nil, unwrapURL(err)
	}
	c.learnTime(resp.Header.Get("Date"), sent)
	if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil
	}
	defer resp.Body.Close()
	var refusal struct {
		XMLName xml.Name
		Message string
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // as much as there is
	code := http.StatusText(resp.StatusCode)
	if xml.Unmarshal(b, &refusal) == nil && refusal.XMLName.Local != "" {
		code = refusal.XMLName.Local
	}
	err = awserr.New(code, resp.StatusCode, "%s", refusal.Message)
	if refusedSession(err) {
		c.creds.refused(ctx, creds)
	}
	if n, nerr := strconv.Atoi(resp.Header.Get("Retry-After")); nerr == nil && n > 0 {
		err = &busyError{time.Duration(n) * time.Second, err}
	}
	return nil, err
}

// serve takes jobs until the channel is lost or ctx ends. alive is told when the server has answered a first ping: a channel that
// something in between lets open, and cuts, is none.
func (l *link) serve(agent context.Context, alive func()) error {
	defer l.conn.CloseNow()
	ctx, stop := context.WithCancel(agent)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	defer close(l.over) // whoever waits for an answer waits no longer
	wg.Go(func() { l.work(ctx, agent) })
	first := make(chan struct{})
	wg.Go(func() { l.ping(ctx, first) })
	wg.Go(func() {
		select {
		case <-first:
			alive()
		case <-ctx.Done():
		}
	})
	for {
		kind, b, err := l.conn.Read(ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			continue
		}
		f, err := mgs.Decode(b)
		if err != nil {
			return err
		}
		switch f.Type {
		case mgs.AgentJob:
			err = l.job(ctx, f)
		case mgs.AgentJobReplyAck:
			var a mgs.JobReplyAck
			if err = json.Unmarshal(f.Payload, &a); err == nil {
				l.answered(a.AcknowledgedMessageID)
			}
		}
		if err != nil {
			l.agent.log.LogAttrs(ctx, slog.LevelWarn, "frame of the control channel ignored", slog.String("type", f.Type), slog.Any("err", err))
		}
	}
}

// ping keeps the channel alive, and ends it when the server does not answer any more.
func (l *link) ping(ctx context.Context, first chan<- struct{}) {
	for answered := false; !answered || wait(ctx, l.agent.timing.ChannelPing); {
		pong, cancel := context.WithTimeout(ctx, min(l.agent.timing.ChannelPing, l.agent.timing.RequestTimeout))
		err := l.conn.Ping(pong)
		cancel()
		if err != nil {
			_ = l.conn.CloseNow() // serve ends
			return
		}
		if !answered {
			answered = true
			close(first)
		}
	}
}

// work handles jobs in their order, beside serve: some wait for what serve reads. What they start belongs to the agent, and
// goes on when the channel is lost.
func (l *link) work(ctx, agent context.Context) {
	for {
		select {
		case m := <-l.queue:
			l.agent.handle(agent, &m)
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) job(ctx context.Context, f mgs.Frame) error {
	var j mgs.Job
	if err := json.Unmarshal(f.Payload, &j); err != nil {
		return err
	}
	l.mu.Lock()
	if len(l.frames) > 4*maxQueued {
		clear(l.frames) // acknowledged by the other way then
	}
	l.frames[j.JobID] = mgs.FormatID(f.ID)
	l.mu.Unlock()
	id := l.agent.InstanceID()
	select {
	case l.queue <- ec2messages.Message{MessageId: &j.JobID, Destination: &id, Topic: &j.Topic, Payload: &j.Content}:
		return nil
	default:
		_, err := l.acknowledge(ctx, j.JobID, mgs.ProcessorBufferFull, "BufferFull")
		return err
	}
}

// acknowledge answers the frame that brought a message. done is false for a message that came by another way.
func (l *link) acknowledge(ctx context.Context, messageID, code, text string) (done bool, err error) {
	l.mu.Lock()
	frame, ok := l.frames[messageID]
	delete(l.frames, messageID)
	l.mu.Unlock()
	if !ok {
		return false, nil
	}
	id, err := l.agent.sys.uuid()
	if err != nil {
		return false, err
	}
	err = l.send(ctx, mgs.AgentJobAck, id, mgs.JobAck{
		JobID: messageID, AcknowledgedMessageID: frame, CreatedDate: l.agent.sys.Now().UTC().Format(time.RFC3339Nano), StatusCode: code, ErrorMessage: text,
	})
	return err == nil, err
}

// reply sends a reply and waits until the server has taken it.
func (l *link) reply(ctx context.Context, r queuedReply) error {
	taken := make(chan struct{})
	l.mu.Lock()
	l.acks[r.ReplyID] = taken
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.acks, r.ReplyID)
	}()
	if err := l.send(ctx, mgs.AgentJobReply, r.ReplyID, mgs.JobReply{SchemaVersion: 1, JobID: r.MessageID, Content: r.Payload, Topic: "aws.ssm.sendCommand"}); err != nil {
		return err
	}
	t := time.NewTimer(replyAckWait)
	defer t.Stop()
	select {
	case <-taken:
		return nil
	case <-t.C:
		return errors.New("the server has not acknowledged the reply")
	case <-l.over:
		return errors.New("the control channel was lost")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) answered(frameID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if taken := l.acks[frameID]; taken != nil {
		delete(l.acks, frameID)
		close(taken)
	}
}

// send writes one frame under the given id, a UUID.
func (l *link) send(ctx context.Context, kind, id string, payload any) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	f := mgs.Frame{Type: kind, Created: l.agent.sys.Now(), Payload: b}
	if n, err := hex.Decode(f.ID[:], []byte(strings.ReplaceAll(id, "-", ""))); err != nil || n != len(f.ID) {
		return fmt.Errorf("%q is not a UUID", id)
	}
	ctx, cancel := context.WithTimeout(ctx, l.agent.timing.RequestTimeout)
	defer cancel()
	return l.conn.Write(ctx, websocket.MessageBinary, f.Encode())
}
