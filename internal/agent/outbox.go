package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/ec2messages"
)

// outbox sends replies in the order they were written and keeps each on disk until the server has taken it, so
// that neither an outage nor a crash loses one. A reply keeps its ReplyId however often it is sent.
type outbox struct {
	dir   string
	agent *Agent
	wake  chan struct{}

	mu      sync.Mutex
	seq     uint64
	pending []string // file names, oldest first
	idle    chan struct{}
}

type queuedReply struct {
	MessageID string    `json:"messageId"`
	ReplyID   string    `json:"replyId"`
	Payload   string    `json:"payload"`
	At        time.Time `json:"at"`
}

func openOutbox(dir string, a *Agent) (*outbox, error) {
	o := &outbox{dir: dir, agent: a, wake: make(chan struct{}, 1), idle: make(chan struct{})}
	entries, err := os.ReadDir(dir) // sorted by name, which starts with the sequence
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") { // a temporary file of a crash
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		var seq uint64
		if _, err := fmt.Sscanf(e.Name(), "%020d", &seq); err != nil {
			continue
		}
		o.seq = max(o.seq, seq)
		o.pending = append(o.pending, e.Name())
	}
	if len(o.pending) == 0 {
		close(o.idle)
	}
	return o, nil
}

// put makes a reply durable; it is sent when its turn comes.
func (o *outbox) put(r queuedReply) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	name := fmt.Sprintf("%020d.json", o.seq)
	if err := journal.WriteFile(filepath.Join(o.dir, name), b, 0o600); err != nil {
		return err
	}
	if len(o.pending) == 0 {
		o.idle = make(chan struct{})
	}
	o.pending = append(o.pending, name)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// flush waits until everything queued has been sent, d at most.
func (o *outbox) flush(ctx context.Context, d time.Duration) {
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	case <-ctx.Done():
	}
}

func (o *outbox) run(ctx context.Context) {
	b := o.agent.newBackoff()
	for {
		name := o.first()
		if name == "" {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := o.send(ctx, name); err != nil {
			if ctx.Err() != nil {
				return
			}
			if b.failures == 0 {
				o.agent.log.LogAttrs(ctx, slog.LevelWarn, "reply kept for later", slog.Any("err", err))
			}
			if !wait(ctx, b.next()) {
				return
			}
			continue
		}
		b.reset()
		o.agent.deliverReports(ctx) // the server is there: what a run could not deliver need not wait for the next health report
		if err := o.drop(name); err != nil {
			o.agent.log.LogAttrs(ctx, slog.LevelError, "sent reply not removed", slog.Any("err", err))
			if !wait(ctx, b.next()) {
				return
			}
		}
	}
}

func (o *outbox) first() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) == 0 {
		return ""
	}
	return o.pending[0]
}

func (o *outbox) drop(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := os.Remove(filepath.Join(o.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if i := slices.Index(o.pending, name); i >= 0 {
		o.pending = slices.Delete(o.pending, i, i+1)
	}
	if len(o.pending) == 0 {
		close(o.idle)
	}
	return nil
}

// send returns nil when the reply needs no further attempt: taken, refused for good, damaged or too old.
func (o *outbox) send(ctx context.Context, name string) error {
	log := o.agent.log.With(slog.String("reply", name))
	b, err := os.ReadFile(filepath.Join(o.dir, name))
	var r queuedReply
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		log.LogAttrs(ctx, slog.LevelError, "reply dropped: not readable", slog.Any("err", err))
		return nil
	}
	err = o.agent.sendReply(ctx, r)
	switch code := awserr.Code(err); {
	case err == nil:
		return nil
	case o.agent.sys.Now().Sub(r.At) > o.agent.timing.ReplyKeep:
		log.LogAttrs(ctx, slog.LevelError, "reply dropped: not delivered in time", slog.Any("err", err))
		return nil
	case code != "" && !temporary(err) && !refusedSession(err):
		log.LogAttrs(ctx, slog.LevelError, "reply dropped: refused by the server", slog.Any("err", err))
		return nil
	}
	return err
}

func (a *Agent) sendReply(ctx context.Context, r queuedReply) error {
	if l := a.link.Load(); l != nil {
		if err := l.reply(ctx, r); err == nil || ctx.Err() != nil {
			return err
		}
	}
	in := &ec2messages.SendReplyInput{MessageId: &r.MessageID, ReplyId: &r.ReplyID, Payload: &r.Payload}
	return a.client.once(ctx, a.timing.RequestTimeout, "ec2messages", "SendReply", in, nil)
}
