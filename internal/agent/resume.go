package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"

	"oakum.dev/document"
	"oakum.dev/patch/journal"
)

// resume takes up every command that an earlier process accepted and did not finish. What was not accepted
// completely is removed; the server offers it again.
func (a *Agent) resume(ctx context.Context) {
	entries, err := os.ReadDir(a.paths.commands)
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "commands not resumed", slog.Any("err", err))
		return
	}
	for _, e := range entries {
		log := a.log.With(slog.String("command", e.Name()))
		c, err := a.reopen(e.Name())
		switch {
		case errors.Is(err, errNotReceived):
			if err := os.RemoveAll(commandPaths(a.paths.commands, e.Name()).dir); err != nil {
				log.LogAttrs(ctx, slog.LevelWarn, "incomplete command not removed", slog.Any("err", err))
			}
		case err != nil:
			log.LogAttrs(ctx, slog.LevelError, "command not resumed", slog.Any("err", err))
		case c != nil:
			log.LogAttrs(ctx, slog.LevelInfo, "command resumed")
			a.start(ctx, c)
		}
	}
}

// reopen loads a command from disk; nil when it is done.
func (a *Agent) reopen(id string) (*command, error) {
	p := commandPaths(a.paths.commands, id)
	state, err := readCommandState(p.journal)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNotReceived
	}
	if err != nil {
		return nil, err
	}
	if err := a.known.add(id, a.sys.Now()); err != nil {
		return nil, err
	}
	if state.done {
		return nil, nil
	}
	b, err := os.ReadFile(p.payload)
	if err != nil {
		return nil, err
	}
	var stored storedPayload
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, err
	}
	c := &command{agent: a, id: id, messageID: stored.MessageID, paths: p, cancelled: make(chan struct{}), counts: map[document.Status]int{}}
	j, records, err := journal.Open(p.journal)
	if err != nil {
		return nil, err
	}
	c.j, c.state = j, replay(records)
	if c.state.cancelled {
		close(c.cancelled)
	}
	c.parse(stored.Payload)
	return c, nil
}
