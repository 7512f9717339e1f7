// Package agent is the node side of Oakum: it registers a node with an activation, keeps its credentials, reports
// its health and inventory, polls for commands and runs their documents at most once, whatever crashes meanwhile.
// It speaks the protocol of amazon-ssm-agent and holds no server code. Start with Register, then New and Run.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"oakum.dev/document"
)

// Name is the AgentName reported to the server.
const Name = "oakum-agent"

// Config is how an agent runs. Zero values take the defaults named.
type Config struct {
	StateDir string       // DefaultStateDir
	Version  string       // version reported, for example 1.2.3
	Log      *slog.Logger // discards
	System   *System      // the real one
	Timing   Timing       // DefaultTiming for zero members
	Commands int          // commands run at the same time; 5
	// MaxReboots bounds the reboots of one command; 3, at most 15.
	MaxReboots int
	// Settle ends what crashes left of patch runs whose commands are over, or that no command started, and of the command
	// with the given id. It is called once when the agent starts, without an id, and for a command that is given up. It
	// returns what it did, in words; nil: nothing is ended.
	Settle func(ctx context.Context, command string) (string, error)
	// Fetch gets what a document names from elsewhere than the server; nil: with the system's proxy and trust.
	Fetch *http.Client
	// Scope runs steps in their own systemd scope. nil: when systemd runs here and the agent is root.
	Scope *bool

	beforeRecord, afterRecord func(record) // tests stop the process here
}

// Timing holds the agent's periods and limits. They are there to be shortened in tests.
type Timing struct {
	Health          time.Duration // full health report; 5 min
	Poll            time.Duration // limit of one poll; 65 s
	IdlePoll        time.Duration // wait after an empty answer that came at once; 2 s
	BackoffBase     time.Duration // 1 s
	BackoffCap      time.Duration // 60 s
	Denied          time.Duration // shortest wait after a refused token; 25 min, plus up to a fifth
	KillWait        time.Duration // after killing a step; 10 s
	CancelGrace     time.Duration // between SIGTERM and SIGKILL of a patch step, whose package manager ends its transaction; 30 min
	InventoryWait   time.Duration // longest random wait before an upload; 30 s
	RebootWait      time.Duration // how long a requested reboot may take before it is requested again; 10 min
	ReplyKeep       time.Duration // how long an undelivered reply is kept; 48 h
	CommandKeep     time.Duration // how long a finished command's files are kept; 14 days
	RequestTimeout  time.Duration // of calls other than polls; 30 s
	UploadTimeout   time.Duration // of one step's output; 60 s
	ChannelPing     time.Duration // between two pings of the control channel, and the wait for their answers; 54 s
	ChannelLost     time.Duration // how long the channel may be lost before the agent polls; 30 s
	ChannelRetry    time.Duration // between two tries to open a channel that never was, and up to as much again; 5 min
	ReattachPolling time.Duration // how often a step of an earlier agent process is looked at; 1 s
}

// DefaultTiming returns the periods of a node in service.
func DefaultTiming() Timing {
	return Timing{
		Health: 5 * time.Minute, Poll: 65 * time.Second, IdlePoll: 2 * time.Second,
		BackoffBase: time.Second, BackoffCap: time.Minute, Denied: 25 * time.Minute,
		KillWait: 10 * time.Second, CancelGrace: 30 * time.Minute, InventoryWait: 30 * time.Second,
		RebootWait: 10 * time.Minute, ReplyKeep: 48 * time.Hour, CommandKeep: 14 * 24 * time.Hour,
		RequestTimeout: 30 * time.Second, UploadTimeout: time.Minute, ReattachPolling: time.Second,
		ChannelPing: 54 * time.Second, ChannelLost: 30 * time.Second, ChannelRetry: 5 * time.Minute,
	}
}

// Agent is one registered node's agent. Make it with New.
type Agent struct {
	*Node
	cfg    Config
	log    *slog.Logger
	timing Timing
	self   Platform
	outbox *outbox
	known  *known
	lock   *stateLock

	polling *gate                // open while the agent is to poll
	link    atomic.Pointer[link] // the open control channel, or nil

	mu       sync.Mutex
	running  map[string]*command // by command id, accepted and not done
	rebootAt time.Time           // when a reboot was requested; no new command starts after it
	wg       sync.WaitGroup
	slots    chan struct{}

	reportsMu    sync.Mutex // one goroutine delivers queued reports
	deniedLogged atomic.Bool
	statusMu     sync.Mutex
	contact      contact
}

// New loads the registration in cfg.StateDir, verifies the directory's ownership and modes and takes its lock:
// one agent per state directory. Close releases it.
func New(cfg Config) (*Agent, error) {
	if cfg.StateDir == "" {
		cfg.StateDir = DefaultStateDir
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.System == nil {
		cfg.System = RealSystem()
	}
	if cfg.Version == "" {
		cfg.Version = "0.0.0"
	}
	if cfg.Commands <= 0 {
		cfg.Commands = 5
	}
	if cfg.MaxReboots <= 0 {
		cfg.MaxReboots = 3
	}
	cfg.MaxReboots = min(cfg.MaxReboots, 15)
	cfg.Timing = cfg.Timing.withDefaults()
	node, err := loadNode(cfg.StateDir, cfg.System, cfg.Version, cfg.Timing)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Node: node, cfg: cfg, timing: cfg.Timing, self: readPlatform(cfg.System),
		log:     cfg.Log.With(slog.String("node", node.InstanceID())),
		running: map[string]*command{}, slots: make(chan struct{}, cfg.Commands), polling: newGate(),
	}
	a.creds.onChange = a.logCredentials
	if a.lock, err = lockState(node.paths.lock, false); err != nil {
		return nil, err
	}
	if err := a.openState(); err != nil {
		a.lock.release()
		return nil, err
	}
	return a, nil
}

func (a *Agent) openState() (err error) {
	for _, dir := range []string{a.paths.commands, a.paths.outbox, a.paths.inventory} {
		if err := makeDir(dir); err != nil {
			return err
		}
	}
	if a.outbox, err = openOutbox(a.paths.outbox, a); err != nil {
		return err
	}
	a.known, err = openKnown(a.paths.known, a.sys.Now())
	return err
}

// Close releases the state directory. Call it after Run has returned.
func (a *Agent) Close() error {
	err := a.known.close()
	a.lock.release()
	return err
}

// Run resumes what an earlier process left, then reports and takes commands until ctx ends. Steps that are running then
// are left running; the next process takes them up again.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.log.LogAttrs(ctx, slog.LevelInfo, "agent started", slog.String("endpoint", a.reg.Endpoint), slog.String("version", a.cfg.Version))
	a.resume(ctx)
	if a.cfg.Settle != nil {
		a.wg.Go(func() {
			if _, err := a.cfg.Settle(ctx, ""); err != nil && ctx.Err() == nil {
				a.log.LogAttrs(ctx, slog.LevelWarn, "earlier patch runs not ended", slog.Any("err", err))
			}
		})
	}
	for _, loop := range []func(context.Context){a.outbox.run, a.reportHealth, a.controlWith, a.poll, a.tidy} {
		a.wg.Go(func() { loop(ctx) })
	}
	<-ctx.Done()
	a.wg.Wait()
	a.transport.CloseIdleConnections()
	a.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "agent stopped")
	return nil
}

// Tune makes the Go runtime fit a process that is nothing but an idle agent: two processors, a small heap, and the
// pages of startup given back. A process that also runs a server must not call it.
func Tune() {
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(24 << 20)
	var release func()
	release = func() {
		debug.FreeOSMemory()
		ReleasePages()
		time.AfterFunc(10*time.Minute, release)
	}
	time.AfterFunc(15*time.Second, release)
}

func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	for _, m := range []struct{ v, def *time.Duration }{
		{&t.Health, &d.Health},
		{&t.Poll, &d.Poll},
		{&t.IdlePoll, &d.IdlePoll},
		{&t.BackoffBase, &d.BackoffBase},
		{&t.BackoffCap, &d.BackoffCap},
		{&t.Denied, &d.Denied},
		{&t.KillWait, &d.KillWait},
		{&t.CancelGrace, &d.CancelGrace},
		{&t.InventoryWait, &d.InventoryWait},
		{&t.RebootWait, &d.RebootWait},
		{&t.ReplyKeep, &d.ReplyKeep},
		{&t.CommandKeep, &d.CommandKeep},
		{&t.RequestTimeout, &d.RequestTimeout},
		{&t.UploadTimeout, &d.UploadTimeout},
		{&t.ReattachPolling, &d.ReattachPolling},
		{&t.ChannelPing, &d.ChannelPing},
		{&t.ChannelLost, &d.ChannelLost},
		{&t.ChannelRetry, &d.ChannelRetry},
	} {
		if *m.v == 0 {
			*m.v = *m.def
		}
	}
	return t
}

// wait sleeps for d or until ctx ends, and reports whether it slept.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// backoff counts failures in a row and gives waits with full jitter.
type backoff struct {
	sys       *System
	base, cap time.Duration
	failures  int
}

func (a *Agent) newBackoff() *backoff {
	return &backoff{sys: a.sys, base: a.timing.BackoffBase, cap: a.timing.BackoffCap}
}

// next returns a random wait of at most base x 2^failures and cap.
func (b *backoff) next() time.Duration {
	limit := b.cap
	if b.failures < 20 {
		limit = min(limit, b.base<<b.failures)
	}
	b.failures++
	return b.sys.jitter(limit)
}

func (b *backoff) reset() { b.failures = 0 }

// The profiles of an agent: what it runs is decided on the node, whatever the server says.
const (
	ProfileFull      = "full"       // every document
	ProfilePatchOnly = "patch-only" // the built-in patch and inventory documents, from the agent's own binary
)

// allowed returns the document to run under the agent's profile: as sent, or the agent's own copy.
func (a *Agent) allowed(name string, sent *document.Document) (*document.Document, error) {
	if a.reg.Profile != ProfilePatchOnly {
		return sent, nil
	}
	switch name {
	case document.RunPatchBaseline, document.RunPatchAssociation, document.RunPatchHooks, document.RebootAndReport, document.Noop, document.GatherSoftwareInventory:
		b, _ := document.LookupBuiltin(name)
		return b.Document, nil
	}
	return nil, fmt.Errorf("document %s is refused: this node's agent has the profile %s", name, ProfilePatchOnly)
}

func checkEndpoint(endpoint string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("endpoint %q must look like https://HOST[:PORT]", endpoint)
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return nil, errors.New("endpoint " + endpoint + " is not encrypted; plain http is for loopback addresses only")
	}
	u.Path = ""
	return u, nil
}
