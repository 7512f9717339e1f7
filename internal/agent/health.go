package agent

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"log/slog"
	"os"
	"time"

	"oakum.dev/patch/journal"
	"oakum.dev/wire/ssm"
)

// reportHealth sends the short report and the full one at once, as the agent of AWS does, and then the full one every
// Health period at the node's own phase, with a little jitter.
func (a *Agent) reportHealth(ctx context.Context) {
	b := a.newBackoff()
	for a.ping(ctx, false) != nil {
		if !wait(ctx, b.next()) {
			return
		}
	}
	for {
		b.reset()
		for a.ping(ctx, true) != nil {
			if !wait(ctx, b.next()) {
				return
			}
		}
		if !wait(ctx, untilPhase(a.InstanceID(), a.sys.Now(), a.timing.Health)+a.sys.jitter(a.timing.Health/20)) {
			return
		}
	}
}

// untilPhase returns the time to the next instant whose offset in the period is the node's own, at least half
// a period away.
func untilPhase(id string, now time.Time, period time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	phase := time.Duration(h.Sum64() % uint64(period))
	d := phase - time.Duration(now.UnixNano())%period
	for d < period/2 {
		d += period
	}
	return d
}

func (a *Agent) ping(ctx context.Context, full bool) error {
	id, name, platform := a.InstanceID(), Name, string(a.self.Type)
	in := &ssm.UpdateInstanceInformationInput{InstanceId: &id, AgentName: &name, AgentVersion: &a.cfg.Version, PlatformType: &platform}
	if full {
		self := readPlatform(a.sys) // the name, address or release may have changed
		empty := ""
		in.AgentStatus, in.AvailabilityZone, in.AvailabilityZoneId = new("Active"), &empty, &empty
		in.ComputerName, in.IPAddress = given(self.Computer), given(self.IPAddress)
		in.PlatformName, in.PlatformVersion = given(self.Name), given(self.Version)
		in.SSMConnectionChannel = new("ec2messages")
		if a.link.Load() != nil {
			in.SSMConnectionChannel = new("ssmmessages")
		}
	}
	err := a.client.once(ctx, a.timing.RequestTimeout, "ssm", "UpdateInstanceInformation", in, nil)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "health report refused", slog.Any("err", err))
	} else {
		a.deliverReports(ctx)
	}
	a.saveStatus(err)
	return err
}

// given leaves out what is not known, such as the address of a node without a network: the server refuses empty values.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a *Agent) deliverReports(ctx context.Context) {
	a.reportsMu.Lock()
	defer a.reportsMu.Unlock()
	a.flushReports(ctx, a.log)
}

// logCredentials logs the outcome of a token request, an ongoing failure once. The credential source calls it
// while it holds its state.
func (a *Agent) logCredentials(err error) {
	switch {
	case err == nil:
		a.deniedLogged.Store(false)
	case deniedForGood(err):
		if !a.deniedLogged.Swap(true) {
			a.log.LogAttrs(context.Background(), slog.LevelError, "the server refuses this node; it may have been deregistered", slog.Any("err", err))
		}
	case a.creds.failures == 0:
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "credentials not renewed", slog.Any("err", err))
	}
	if err != nil {
		a.saveStatus(err)
	}
}

// contact is what the agent process leaves for `oakum agent status`.
type contact struct {
	PID         int       `json:"pid"`
	Version     string    `json:"version"`
	LastAttempt time.Time `json:"lastAttempt"`
	LastContact time.Time `json:"lastContact"`
	ClockSkewMS int64     `json:"clockSkewMs"`
	Error       string    `json:"error,omitzero"`
}

func (a *Agent) saveStatus(err error) {
	a.statusMu.Lock()
	defer a.statusMu.Unlock()
	now := a.sys.Now().UTC()
	a.contact.PID, a.contact.Version, a.contact.LastAttempt, a.contact.Error = os.Getpid(), a.cfg.Version, now, ""
	a.contact.ClockSkewMS = time.Duration(a.client.skew.Load()).Milliseconds()
	if err != nil {
		a.contact.Error = err.Error()
	} else {
		a.contact.LastContact = now
	}
	b, jerr := json.Marshal(a.contact)
	if jerr == nil {
		jerr = journal.WriteFile(a.paths.status, b, 0o600)
	}
	if jerr != nil {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "status not written", slog.Any("err", jerr))
	}
}

// State is what is known about an agent from its state directory.
type State struct {
	Registered               bool
	InstanceID, Region       string
	Endpoint, Profile        string
	Running                  bool // an agent process holds the directory
	PID                      int
	Version                  string
	LastContact, LastAttempt time.Time // zero if never
	ClockSkew                time.Duration
	LastError                string // of the last attempt
	QueuedReplies            int
	UnfinishedCommands       []string
}

// Status reads a state directory. A directory without registration is not an error.
func Status(stateDir string) (State, error) {
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	reg, err := readRegistration(stateDir)
	if errors.Is(err, ErrNotRegistered) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	p := pathsOf(stateDir)
	s := State{Registered: true, InstanceID: reg.InstanceID, Region: reg.Region, Endpoint: reg.Endpoint, Profile: reg.Profile}
	if b, err := os.ReadFile(p.status); err == nil {
		var c contact
		if json.Unmarshal(b, &c) == nil {
			s.PID, s.Version, s.LastContact, s.LastAttempt, s.LastError = c.PID, c.Version, c.LastContact, c.LastAttempt, c.Error
			s.ClockSkew = time.Duration(c.ClockSkewMS) * time.Millisecond
		}
	}
	if lock, err := lockState(p.lock, true); err != nil {
		s.Running = true
	} else {
		lock.release()
	}
	if files, err := os.ReadDir(p.outbox); err == nil {
		s.QueuedReplies = len(files)
	}
	s.UnfinishedCommands = unfinished(p.commands)
	return s, nil
}
