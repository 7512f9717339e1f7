package agent

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"oakum.dev/document"
	"oakum.dev/wire/mgs"
)

// gateway puts control channels before a fake server's other operations. Without open it refuses them.
type gateway struct {
	next http.Handler

	mu    sync.Mutex
	open  bool
	cuts  bool // lets channels open, and cuts them
	asked int
	conns []*websocket.Conn
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, mgs.Path) {
		g.next.ServeHTTP(w, r)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !g.open:
		g.asked++
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<AccessDeniedException><Message>no</Message></AccessDeniedException>"))
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte("<CreateControlChannelResponse><TokenValue>t</TokenValue></CreateControlChannelResponse>"))
	default:
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		if g.cuts {
			_ = c.CloseNow() // as something in between does
			return
		}
		g.conns = append(g.conns, c)
		go func() {
			for {
				if _, _, err := c.Read(context.Background()); err != nil { // what the agent sends falls on deaf ears
					return
				}
			}
		}()
	}
}

// set opens the gateway or closes it, with all that is open.
func (g *gateway) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	for _, c := range g.conns {
		_ = c.CloseNow() // the agent's end is what counts
	}
	g.conns = nil
}

func gated(t *testing.T, open bool) (*fakeServer, *gateway, string) {
	f := newFakeServer(t, true)
	g := &gateway{next: f.Config.Handler, open: open}
	f.Config.Handler = g
	return f, g, registered(t, f, func(o *Options) { o.CAFile = f.caFile(t) })
}

// TestPollsWithoutAChannel: two refusals are enough.
func TestPollsWithoutAChannel(t *testing.T) {
	t.Parallel()
	f, g, dir := gated(t, false)
	id := f.sendScript(t, cmd1, "true")
	run(t, dir)
	if r := f.final(t, id); r.DocumentStatus != document.Success {
		t.Errorf("the command ended %s", r.DocumentStatus)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked != 2 {
		t.Errorf("a channel was asked for %d times", g.asked)
	}
}

// TestPollsWhenChannelsAreCut: a channel that opens and is gone at once is none.
func TestPollsWhenChannelsAreCut(t *testing.T) {
	t.Parallel()
	f, g, dir := gated(t, true)
	g.cuts = true
	id := f.sendScript(t, cmd1, "true")
	run(t, dir)
	if r := f.final(t, id); r.DocumentStatus != document.Success {
		t.Errorf("the command ended %s", r.DocumentStatus)
	}
}

// TestPollsWhenTheChannelIsLost: an agent with a channel does not poll; one that has lost it does after a while, and stops
// when it has a channel again. Replies go the other way meanwhile.
func TestPollsWhenTheChannelIsLost(t *testing.T) {
	t.Parallel()
	f, g, dir := gated(t, true)
	a := run(t, dir, func(c *Config) {
		c.Timing.ChannelLost = 300 * time.Millisecond
		c.Timing.BackoffCap = 200 * time.Millisecond
	})
	open := func() bool { return a.link.Load() != nil }
	f.waitFor(t, "the channel", open)
	id := f.sendScript(t, cmd1, "true")
	time.Sleep(600 * time.Millisecond) // polls would have taken it
	f.with(func() {
		if len(f.replies) > 0 {
			t.Errorf("polled beside a channel: %v", f.log)
		}
	})
	g.set(false)
	if r := f.final(t, id); r.DocumentStatus != document.Success {
		t.Errorf("the command ended %s", r.DocumentStatus)
	}
	g.set(true)
	f.waitFor(t, "the channel again", open)
	time.Sleep(2 * time.Second) // the poll that was under way, on a busy machine
	second := f.sendScript(t, cmd2, "true")
	time.Sleep(600 * time.Millisecond)
	f.with(func() {
		for _, r := range f.replies {
			if r.MessageID == second {
				t.Errorf("polled beside the second channel: %v", f.log)
			}
		}
	})
}

func TestGate(t *testing.T) {
	t.Parallel()
	g := newGate()
	for _, open := range []bool{false, true, true, false, false, true} {
		g.set(open)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		g.wait(ctx)
		if passed := ctx.Err() == nil; passed != open {
			t.Errorf("the gate is open: %v, want %v", passed, open)
		}
		cancel()
	}
}
