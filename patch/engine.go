package patch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
)

// Engine runs scans and installs on one node. It is used by one goroutine at a time.
type Engine struct {
	Manager  PackageManager
	Now      func() time.Time
	Log      *slog.Logger
	StateDir string         // lock and state; empty: neither is used
	LockWait time.Duration  // how long another run is waited for; 0: 10 minutes
	BootID   string         // of the running system; empty when it is not running (--root)
	Waiting  func(Owner)    // called when the lock is held by somebody else; may be nil
	Exec     Exec           // starts what no package manager does: restarts of services; nil: none. A Stopwatch's time is reported
	Progress func(Progress) // called as an install goes on, in phase install by another goroutine; may be nil
}

// ScanRequest says what a scan is to judge against and in whose name.
type ScanRequest struct {
	Baseline      *baseline.Baseline
	EvaluatedAt   time.Time // of the snapshot: the instant at which delays are judged; zero: now
	SnapshotID    string
	PatchGroup    string
	ExecutionType string // Command or PatchPolicy
	ExecutionID   string
	RebootOption  string
	Refresh       bool                     // fetch the repositories' metadata first
	Record        bool                     // count this scan in the state folder
	Catalogue     []baseline.SnapshotPatch // of the snapshot, as in InventoryRequest
}

// Scan finds the state of every installed package.
func (e *Engine) Scan(ctx context.Context, req ScanRequest) (*compliance.Result, error) {
	started := e.Now().UTC()
	release, err := e.lock(ctx, "scan", req.ExecutionID, started)
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := e.look(ctx, req, started)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.report(ctx, started, "Scan"), nil
}

// lock takes the engine's lock where there is a state folder.
func (e *Engine) lock(ctx context.Context, what, run string, started time.Time) (release func(), err error) {
	if e.StateDir == "" {
		return func() {}, nil
	}
	wait := e.LockWait
	if wait == 0 {
		wait = 10 * time.Minute
	}
	return Lock(ctx, e.StateDir, Owner{PID: os.Getpid(), Run: run, Command: what, Since: started}, wait, e.Waiting)
}

// sight is what the engine sees of a node at one instant, and how the baseline judges it.
type sight struct {
	e        *Engine
	req      ScanRequest
	platform Platform
	inv      *Inventory
	state    State
	j        Judgement
	targets  []Target
	listed   bool // the targets are those of a list
	blocks   map[string]Block
	degraded []string
}

// look reads the node and decides what is wanted.
func (e *Engine) look(ctx context.Context, req ScanRequest, started time.Time) (*sight, error) {
	s := &sight{e: e, req: req}
	var err error
	if s.platform, err = e.Manager.Platform(ctx); err != nil {
		return nil, asError(err, "FAILED", CodeFailed) // one that is not supported says so itself
	}
	if s.inv, s.degraded, err = e.inventory(ctx, s.platform, req); err != nil {
		return nil, err
	}
	if s.state, err = loadState(e.StateDir); err != nil {
		s.degraded = append(s.degraded, err.Error())
	}
	if req.Refresh {
		s.state.confirm(s.inv.Repositories, e.Now())
	}
	s.j = Judgement{Baseline: req.Baseline, Node: s.platform.Node, Now: req.EvaluatedAt, Pending: s.state.pending(e.BootID), Live: s.inv.LivePatching}
	if s.j.Now.IsZero() {
		s.j.Now = started
	}
	s.targets = s.j.Decide(s.inv)
	return s, nil
}

// check finds out what of the targets cannot be installed. Where a lower approved version of one can, that is its
// target from then on.
func (s *sight) check(ctx context.Context) error {
	var rejected func(baseline.Patch) bool
	if b := s.req.Baseline; b.Blocks() && len(b.RejectedPatches) > 0 {
		rejected = func(p baseline.Patch) bool { return b.Rejects(s.platform.Node, &p) }
	}
	var err error
	if s.blocks, err = s.e.Manager.Check(ctx, s.inv, s.targets, rejected); err != nil {
		return asError(err, "DEPENDENCY", CodeDependency)
	}
	if s.listed { // a list says which versions it wants
		return nil
	}
	lower := s.j.Lower(s.targets, s.blocks)
	if len(lower) == 0 {
		return nil
	}
	found, err := s.e.Manager.Lower(ctx, s.targets, s.blocks, lower, rejected)
	if err != nil {
		return asError(err, "DEPENDENCY", CodeDependency)
	}
	s.j.Instead = make(map[string]Fallback, len(found))
	for i := range s.targets {
		t := &s.targets[i]
		k := t.Package.Key()
		if v := found[k]; v != nil { // from here on it is the target, and nothing is in its way
			s.j.Instead[k] = Fallback{v, s.blocks[k]}
			t.Version = v
			delete(s.blocks, k)
		}
	}
	return nil
}

// report makes the result of what was seen. operation is Scan or Install.
func (s *sight) report(ctx context.Context, started time.Time, operation string) *compliance.Result {
	e, b := s.e, s.req.Baseline
	log := e.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	items, notApplicable := s.j.Judge(s.inv, s.blocks)
	reboot, updaters, err := e.Manager.Evidence(ctx, s.inv)
	if err != nil {
		s.degraded = append(s.degraded, "reboot evidence: "+err.Error())
	}
	res := &compliance.Result{Items: items, Available: available(s.inv, s.platform), Header: compliance.Header{
		OperatingSystem: s.platform.Node.OS, Product: s.platform.Node.Product, PlatformName: s.platform.Name, PlatformVersion: s.platform.Version,
		BaselineID: b.BaselineID, BaselineName: b.Name, SnapshotID: s.req.SnapshotID, PatchGroup: s.req.PatchGroup, Operation: operation,
		RebootOption: s.req.RebootOption, StartedAt: started, Reboot: reboot, Repositories: s.inv.Repositories, Updaters: updaters,
		Degraded: append(s.degraded, s.inv.Degraded...), LastNoReboot: s.state.LastNoReboot, ExecutionType: s.req.ExecutionType, ExecutionID: s.req.ExecutionID,
		BootID: e.BootID,
	}}
	if lp := s.inv.LivePatching; lp != nil {
		res.Header.Reboot.LivePatch = lp.Report
	}
	s.state.observe(res.Header.Reboot.LivePatch, e.BootID)
	if len(s.j.Pending) > 0 {
		res.Header.Reboot.Reasons = append(res.Header.Reboot.Reasons, "patches were installed without the reboot that they wait for")
	}
	res.Finish(notApplicable)
	if s.j.Unreported > 0 {
		res.Header.Counts.UnreportedNotApplicable = s.j.Unreported
	}
	if s.req.Record && e.StateDir != "" {
		s.state.ScanSeq++
		res.Header.ScanSeq = s.state.ScanSeq
		if err := s.state.save(e.StateDir); err != nil {
			res.Header.Degraded = append(res.Header.Degraded, err.Error())
		}
	}
	res.Header.EndedAt = e.Now().UTC()
	log.LogAttrs(ctx, slog.LevelDebug, strings.ToLower(operation)+" finished", slog.String("baseline", b.BaselineID), slog.Int("missing", res.Header.Counts.Missing),
		slog.Int64("dur_ms", res.Header.EndedAt.Sub(started).Milliseconds()))
	return res
}

// inventory refreshes where that is asked for, and reads.
func (e *Engine) inventory(ctx context.Context, platform Platform, req ScanRequest) (*Inventory, []string, error) {
	sources, err := applicable(req.Baseline, platform.Node)
	if err != nil {
		return nil, nil, &Error{Reason: "REPO_METADATA", Code: CodeFailed, Err: err}
	}
	ask := InventoryRequest{Platform: platform, Sources: sources, Now: e.Now(), Dates: delays(req.Baseline), Catalogue: req.Catalogue}
	var degraded []string
	if req.Refresh {
		report, err := e.Manager.Refresh(ctx, ask)
		if err != nil {
			return nil, nil, asError(err, "REPO_METADATA", CodeFailed)
		}
		for _, f := range report.Failed {
			degraded = append(degraded, "not refreshed: "+f)
		}
	}
	inv, err := e.Manager.Inventory(ctx, ask)
	if err != nil {
		return nil, nil, asError(err, "REPO_METADATA", CodeFailed)
	}
	return inv, degraded, nil
}

// delays reports whether release times can change what the baseline approves.
func delays(b *baseline.Baseline) bool {
	return slices.ContainsFunc(b.ApprovalRules.PatchRules, func(r baseline.Rule) bool {
		return r.ApproveUntilDate != "" || r.ApproveAfterDays != nil && *r.ApproveAfterDays > 0
	})
}

// applicable returns the baseline's sources for the node. Having sources of which none applies is an error.
func applicable(b *baseline.Baseline, n baseline.Node) ([]baseline.Source, error) {
	var out []baseline.Source
	for _, s := range b.Sources {
		if slices.Contains(s.Products, "*") || slices.ContainsFunc(s.Products, func(p string) bool { return strings.EqualFold(p, n.Product) }) {
			out = append(out, s)
		}
	}
	if len(b.Sources) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("the baseline %s has patch sources, but none of them is for %s", b.Name, n.Product)
	}
	return out, nil
}

// available lists the offered versions at or above the installed ones.
func available(inv *Inventory, platform Platform) []compliance.Available {
	var out []compliance.Available
	for i := range inv.Packages {
		p := &inv.Packages[i]
		for k := range p.Versions {
			v := &p.Versions[k]
			if !v.Offered || v.Order < 0 || len(v.Patches) == 0 {
				continue
			}
			f := &v.Patches[0]
			a := compliance.Available{
				Name: p.Name, Arch: p.Arch, Version: v.Text, Priority: f.Priority, Section: f.Section, Classification: f.Classification,
				Repository: v.Repository, ReleasedTime: f.Released, Product: platform.Node.Product,
			}
			for n := range v.Patches {
				if x := &v.Patches[n]; x.HasNotice {
					a.Notices = append(a.Notices, compliance.Notice{IDs: x.AdvisoryIDs, Classification: x.Classification, Severity: x.Severity, CVEs: x.CVEs, Bugzillas: x.Bugzillas, Released: x.Released})
				}
			}
			out = append(out, a)
		}
	}
	return out
}

func asError(err error, reason string, code int) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Reason: reason, Code: code, Err: err}
}
