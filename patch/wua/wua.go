// Package wua is the Windows half of the patch engine: it asks the Windows Update Agent of this machine what is installed
// and what is offered, and has it download and install. What it decides is portable and is tested from recorded answers;
// only the COM calls, the registry and the process's token need Windows. Which updates are wanted is decided in package
// patch. Start with New.
package wua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
)

// Config is the edge of the process. Client and Registry are required.
type Config struct {
	Client   Client
	Registry Registry
	Account  func() (Account, error)              // who runs this; nil: whoever may install
	Free     func(dir string) (int64, error)      // bytes free on the file system of a folder; nil: enough
	Uptime   func() time.Duration                 // since boot; nil: not known
	StateDir string                               // where revisions of updates are remembered; empty: they are not
	Root     string                               // of the system: C:\Windows
	Now      func() time.Time                     // required
	Note     func(text string)                    // a sentence for whoever waits; may be nil
	Wait     time.Duration                        // how long an installation under way is waited for; 0: 10 minutes
	Deadline time.Duration                        // of a search; 0: 60 minutes
	Tick     func(time.Duration) <-chan time.Time // of notes and retries; nil: time.After
	Optional bool                                 // also updates that are offered as optional
}

// Limits of the defaults in Config, and of an install's rounds.
const (
	defaultWait     = 10 * time.Minute
	defaultDeadline = 60 * time.Minute // on very old builds a search takes that long
	maxRounds       = 10
	heartbeat       = time.Minute
)

// Manager is the package manager of Windows. It is used by one goroutine at a time.
type Manager struct {
	cfg    Config
	seen   []Update          // of the last search
	asked  bool              // there was one, and nothing has been installed since
	online bool              // it went to the update service
	status Status            // as of the last search
	partly []string          // why the last search was not complete
	wanted map[string]string // KB to the version text that was planned
	edge   sync.Mutex        // for Note
}

var (
	_ patch.PackageManager = (*Manager)(nil)
	_ patch.Rounder        = (*Manager)(nil)
)

// New returns the manager of a machine.
func New(cfg Config) *Manager {
	cfg.Wait = cmp.Or(cfg.Wait, defaultWait)
	cfg.Deadline = cmp.Or(cfg.Deadline, defaultDeadline)
	if cfg.Tick == nil {
		cfg.Tick = time.After
	}
	return &Manager{cfg: cfg, wanted: map[string]string{}}
}

// Name is the program's name.
func (*Manager) Name() string { return "Windows Update" }

// Rounds is how often an install looks again: a servicing stack or a prerequisite unlocks others.
func (*Manager) Rounds() int { return maxRounds }

const versionKey = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`

// Platform identifies the node by what the registry says of the installed Windows.
func (m *Manager) Platform(context.Context) (patch.Platform, error) {
	name, _, err := m.cfg.Registry.Text(versionKey, "ProductName")
	if err != nil {
		return patch.Platform{}, fmt.Errorf("read the name of this Windows: %w", err)
	}
	build, _, err := m.cfg.Registry.Text(versionKey, "CurrentBuildNumber")
	if err != nil {
		return patch.Platform{}, fmt.Errorf("read the build of this Windows: %w", err)
	}
	major, _, _ := m.cfg.Registry.Number(versionKey, "CurrentMajorVersionNumber") // absent before Windows 10
	minor, _, _ := m.cfg.Registry.Number(versionKey, "CurrentMinorVersionNumber")
	version := fmt.Sprintf("%d.%d.%s", major, minor, build)
	if major == 0 {
		old, _, _ := m.cfg.Registry.Text(versionKey, "CurrentVersion") // "6.3"
		version = old + "." + build
	}
	p := platformOf(name, version, build)
	if p.Node.OS == "" {
		return p, &patch.Error{
			Reason: "UNSUPPORTED_OS", Code: patch.CodeUnsupported, Err: fmt.Errorf("%q is no Windows that can be patched", name),
			Hint: "Windows Server 2012 and later, Windows 10 and Windows 11 are",
		}
	}
	return p, nil
}

// platformOf names the product. Windows 11 still calls itself Windows 10 in the registry; its builds begin at 22000.
func platformOf(name, version, build string) patch.Platform {
	full := name
	if !strings.HasPrefix(full, "Microsoft ") {
		full = "Microsoft " + full
	}
	p := patch.Platform{Name: full, Version: version}
	if n, ok := baseline.Detect(full, version); ok {
		p.Node = n
		return p
	}
	switch {
	case len(build) == 5 && build >= "22000" && strings.Contains(name, "Windows 1"):
		p.Name = strings.Replace(full, "Windows 10", "Windows 11", 1)
		p.Node = baseline.Node{OS: baseline.Windows, Product: "Windows11"}
	case strings.Contains(name, "Windows 10"):
		p.Node = baseline.Node{OS: baseline.Windows, Product: "Windows10"}
	}
	return p
}

// Refresh asks the update service what there is. A search that fails is no search: nothing is judged by old answers.
func (m *Manager) Refresh(ctx context.Context, _ patch.InventoryRequest) (patch.RefreshReport, error) {
	return patch.RefreshReport{}, m.search(ctx, true)
}

// search fills seen. The agent's own cached answers are used where online is false: a removed update is not offered by
// them, and neither is a newer one.
func (m *Manager) search(ctx context.Context, online bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Deadline)
	defer cancel()
	stop := m.heartbeat(ctx, "the Windows Update Agent is searching")
	defer stop()
	found, err := m.cfg.Client.Search(ctx, criteria(m.cfg.Optional), online)
	if err == nil && (found.Result == ResultFailed || found.Result == ResultAborted) {
		err = &ResultError{Call: "Search", Code: firstCode(found.Warnings), Text: "the search failed"}
	}
	if err != nil {
		return m.explain("search for updates", err, "REPO_METADATA")
	}
	status, err := m.cfg.Client.Status(ctx)
	if err != nil {
		return m.explain("ask the Windows Update Agent for its state", err, "REPO_METADATA")
	}
	m.seen, m.asked, m.online, m.status, m.partly = found.Updates, true, online, status, nil
	if found.Result == ResultSucceededWithErrors {
		m.partly = []string{"the search for updates was not complete: updates can be missing that are not listed here"}
		for _, w := range found.Warnings {
			m.partly = append(m.partly, "search: "+strings.TrimSuffix(Explain(w.Code).Text()+": "+w.Text, ": "))
		}
	}
	return nil
}

func firstCode(ws []Warning) uint32 {
	for _, w := range ws {
		if w.Code != 0 {
			return w.Code
		}
	}
	return 0x80240FFF // WU_E_UNEXPECTED
}

// criteria is the search: everything that is installed and everything that is offered, hidden or not. Drivers are
// included: whether they are wanted is a rule's question. OR is allowed at the top only.
// Source: Microsoft Learn, "IUpdateSearcher::Search method (wuapi.h)".
func criteria(optional bool) string {
	c := "(IsInstalled=0 and IsHidden=0) or (IsInstalled=0 and IsHidden=1) or (IsInstalled=1)"
	if optional {
		c += " or (IsInstalled=0 and IsHidden=0 and DeploymentAction='OptionalInstallation')"
	}
	return c
}

// heartbeat says now and then that something is still going on.
func (m *Manager) heartbeat(ctx context.Context, what string) (stop func()) {
	if m.cfg.Note == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	start := m.cfg.Now()
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-m.cfg.Tick(heartbeat):
				m.note("%s, for %s now", what, m.cfg.Now().Sub(start).Round(time.Second))
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (m *Manager) note(format string, args ...any) {
	if m.cfg.Note == nil {
		return
	}
	m.edge.Lock()
	defer m.edge.Unlock()
	m.cfg.Note(fmt.Sprintf(format, args...))
}

// explain makes an error of the engine of one of the agent's.
func (m *Manager) explain(what string, err error, reason string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &patch.Error{
			Reason: reason, Code: patch.CodeFailed, Err: fmt.Errorf("%s: it was not over after %s", what, m.cfg.Deadline),
			Hint: "restart the Windows Update service (wuauserv) and try again; where it stays so, the agent's data store is damaged",
		}
	}
	code, ok := resultOf(err)
	if !ok {
		return &patch.Error{Reason: reason, Code: patch.CodeFailed, Err: fmt.Errorf("%s: %w", what, err), Hint: hintOf(err)}
	}
	c := Explain(code)
	if c.Advice == missingAgent {
		return &patch.Error{Reason: "UNSUPPORTED_OS", Code: patch.CodeUnsupported, Err: fmt.Errorf("%s: %s", what, c.Text()), Hint: c.Advice}
	}
	if s := m.policy().source; s != "" && reason == "REPO_METADATA" {
		what += " at " + s
	}
	return &patch.Error{Reason: reason, Code: patch.CodeFailed, Err: fmt.Errorf("%s: %s", what, c.Text()), Hint: c.Advice}
}

// groups are the updates of each KB, in the order of their ids. Updates without a KB are not handled, as in the original.
func (m *Manager) groups() (kbs []string, of map[string][]*Update) {
	of = map[string][]*Update{}
	for i := range m.seen {
		u := &m.seen[i]
		if kb := u.KB(); kb != "" {
			of[kb] = append(of[kb], u)
		}
	}
	for _, us := range of {
		slices.SortFunc(us, func(a, b *Update) int {
			return cmp.Or(strings.Compare(a.UpdateID, b.UpdateID), cmp.Compare(a.Revision, b.Revision))
		})
	}
	return slices.Sorted(maps.Keys(of)), of
}

// Lower finds nothing: the service offers one revision of an update.
func (*Manager) Lower(context.Context, []patch.Target, map[string]patch.Block, map[string][]*patch.Version, func(baseline.Patch) bool) (map[string]*patch.Version, error) {
	return nil, nil
}
