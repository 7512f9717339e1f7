package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
)

// undeliverable is how long a command that could not be reported as received is kept.
const undeliverable = 2 * time.Hour

// commandPayload is the payload of a sendCommand message.
type commandPayload struct {
	CommandID          string `json:"CommandId"`
	DocumentName       string
	Parameters         json.RawMessage
	DocumentContent    json.RawMessage
	OutputS3BucketName string
	OutputS3KeyPrefix  string
	NotAfter           *codec.Time // when absent, the command may start at any time
}

// command is one accepted command. Its journal decides what happens after a crash.
type command struct {
	agent     *Agent
	id        string
	messageID string
	paths     commandFiles
	payload   commandPayload
	invalid   error // why the payload cannot be run
	doc       *document.Document
	values    document.Values

	mu        sync.Mutex // guards journal and the flags that other goroutines see
	j         *journal.Journal
	state     commandState
	cancelled chan struct{} // closed on cancellation
	counts    map[document.Status]int
}

type commandFiles struct{ dir, journal, payload, steps, downloads, result string }

func commandPaths(commands, id string) commandFiles {
	dir := filepath.Join(commands, id)
	return commandFiles{dir, filepath.Join(dir, "journal"), filepath.Join(dir, "payload.json"), filepath.Join(dir, "steps"), filepath.Join(dir, "downloads"), filepath.Join(dir, "result.json")}
}

type storedPayload struct {
	MessageID string `json:"messageId"`
	Payload   string `json:"payload"`
}

// accept writes a command to disk. When it returns an error nothing of the command is left.
func (a *Agent) accept(id, messageID, payload string) (*command, error) {
	c := &command{agent: a, id: id, messageID: messageID, paths: commandPaths(a.paths.commands, id), cancelled: make(chan struct{}), counts: map[document.Status]int{}}
	b, err := json.Marshal(storedPayload{messageID, payload})
	if err != nil {
		return nil, err
	}
	undo := func(err error) (*command, error) {
		if c.j != nil {
			_ = c.j.Close() // the file goes away
		}
		return nil, errors.Join(err, os.RemoveAll(c.paths.dir))
	}
	if err := os.Mkdir(c.paths.dir, 0o700); err != nil {
		return nil, err
	}
	if err := journal.SyncDir(a.paths.commands); err != nil {
		return undo(err)
	}
	if err := journal.WriteFile(c.paths.payload, b, 0o600); err != nil {
		return undo(err)
	}
	if c.j, _, err = journal.Open(c.paths.journal); err != nil {
		return undo(err)
	}
	if err := c.append(record{Kind: kindReceived}); err != nil {
		return undo(err)
	}
	if err := a.known.add(id, a.sys.Now()); err != nil {
		return undo(err)
	}
	c.parse(payload)
	return c, nil
}

// parse reads the payload and applies the agent's profile. What is wrong with it is reported, not returned.
func (c *command) parse(payload string) {
	c.invalid = func() error {
		if err := json.Unmarshal([]byte(payload), &c.payload); err != nil {
			return fmt.Errorf("the command's payload cannot be read: %w", err)
		}
		sent, err := document.ParsePayload(c.payload.DocumentContent)
		if err != nil {
			return fmt.Errorf("the document cannot be read: %w", err)
		}
		if c.doc, err = c.agent.allowed(c.payload.DocumentName, sent); err != nil {
			return err
		}
		given := document.Values{}
		if len(c.payload.Parameters) > 0 {
			dec := json.NewDecoder(bytes.NewReader(c.payload.Parameters))
			dec.UseNumber()
			if err := dec.Decode(&given); err != nil {
				return fmt.Errorf("the command's parameters cannot be read: %w", err)
			}
		}
		if err := c.doc.Check(given); err != nil {
			return err
		}
		c.values = c.doc.WithDefaults(given)
		if len(c.doc.Steps) == 0 {
			return fmt.Errorf("the document's schema version %s is not supported by this agent", c.doc.SchemaVersion)
		}
		return nil
	}()
}

// start runs the command in the background.
func (a *Agent) start(ctx context.Context, c *command) {
	a.mu.Lock()
	a.running[c.id] = c
	a.mu.Unlock()
	a.wg.Go(func() {
		defer func() {
			a.mu.Lock()
			delete(a.running, c.id)
			a.mu.Unlock()
			c.mu.Lock()
			_ = c.j.Close() // every record is synced already
			c.mu.Unlock()
		}()
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			a.log.LogAttrs(ctx, slog.LevelError, "command stopped: its journal cannot be written", slog.String("command", c.id), slog.Any("err", err))
		}
	})
}

// run takes the command from where its journal stands to its end. It returns early when ctx ends; an error means
// that the disk failed, after which nothing more is started.
func (c *command) run(ctx context.Context) error {
	if c.invalid != nil {
		return c.finish(ctx, document.Failed, c.invalid.Error())
	}
	if !c.isDelivered() {
		if dropped, err := c.deliver(ctx); dropped || err != nil {
			return err
		}
	}
	select {
	case c.agent.slots <- struct{}{}:
		defer func() { <-c.agent.slots }()
	case <-c.cancelled:
	case <-ctx.Done():
		return ctx.Err()
	}
	for c.agent.rebooting() && !c.isCancelled() && !c.started() {
		if !wait(ctx, time.Second) {
			return ctx.Err()
		}
	}
	if end := codec.TimeOf(c.payload.NotAfter); !end.IsZero() && !c.started() && !c.agent.client.now().Before(end) {
		return c.finish(ctx, document.Failed, "the command was not started: it had expired at "+end.UTC().Format(time.RFC3339))
	}
	f := c.top()
	if !c.started() && !c.isCancelled() {
		f.prefetch(ctx)
	}
	status, err := f.run(ctx)
	if err != nil {
		return err
	}
	return c.finish(ctx, status, "")
}

// deliver tells the server that the command was received, before anything is started: first an InProgress reply,
// then the acknowledgement. One of the two must arrive. dropped means that the server does not know the message
// any more, and that the command is over without having started.
func (c *command) deliver(ctx context.Context) (dropped bool, err error) {
	a := c.agent
	b := a.newBackoff()
	reply := a.reply(c.messageID, document.InProgress, "", nil, nil)
	reply.ReplyID = replyID(c.messageID, "accepted")
	first := a.sys.Now()
	for {
		replyErr := a.sendReply(ctx, reply)
		ackErr := a.acknowledge(ctx, c.messageID)
		if replyErr == nil || ackErr == nil {
			return false, c.append(record{Kind: kindDelivered})
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if final(replyErr) && final(ackErr) || a.sys.Now().Sub(first) > undeliverable {
			a.log.LogAttrs(ctx, slog.LevelWarn, "command dropped: the server does not know it", slog.String("command", c.id), slog.Any("err", ackErr))
			return true, c.append(record{Kind: kindDone, Status: document.Cancelled})
		}
		if !wait(ctx, b.next()) {
			return false, ctx.Err()
		}
	}
}

// final reports whether an error is the server's answer and will not change.
func final(err error) bool {
	return awserr.Code(err) != "" && !temporary(err) && !refusedSession(err)
}

// finish queues the final reply and ends the journal.
func (c *command) finish(ctx context.Context, status document.Status, trace string) error {
	var steps map[string]stepReply
	if c.doc != nil && len(c.doc.Steps) == 1 && c.state.step(c.doc.Steps[0].Name).finished {
		s := c.doc.Steps[0]
		steps = map[string]stepReply{s.Name: c.top().stepReply(0, s)}
	}
	reply := c.agent.reply(c.messageID, status, trace, steps, c.counts)
	reply.ReplyID = replyID(c.messageID, "final")
	if err := c.agent.outbox.put(reply); err != nil {
		return err
	}
	c.agent.log.LogAttrs(ctx, slog.LevelInfo, "command finished", slog.String("command", c.id), slog.String("status", string(status)))
	return c.append(record{Kind: kindDone, Status: status})
}

// cancel is called from the poll loop, possibly more than once.
func (c *command) cancel(log *slog.Logger) {
	if c.isCancelled() {
		return
	}
	if err := c.append(record{Kind: kindCancelled}); err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "cancellation not written", slog.String("command", c.id), slog.Any("err", err))
	}
	close(c.cancelled)
}

func (c *command) isCancelled() bool {
	select {
	case <-c.cancelled:
		return true
	default:
		return false
	}
}

func (c *command) isDelivered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.delivered
}

// started reports whether any step has been started, by this process or an earlier one.
func (c *command) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.started
}

// tidy removes the files of commands that finished long ago, an hour after the start at
// most and then once a day.
func (a *Agent) tidy(ctx context.Context) {
	for pause := a.sys.jitter(time.Hour); wait(ctx, pause); pause = 24*time.Hour + a.sys.jitter(time.Hour) {
		entries, err := os.ReadDir(a.paths.commands)
		if err != nil {
			continue
		}
		for _, e := range entries {
			p := commandPaths(a.paths.commands, e.Name())
			state, err := readCommandState(p.journal)
			if err != nil || !state.done || a.sys.Now().Sub(state.at) < a.timing.CommandKeep {
				continue
			}
			if err := os.RemoveAll(p.dir); err != nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "old command not removed", slog.String("command", e.Name()), slog.Any("err", err))
			}
		}
	}
}
