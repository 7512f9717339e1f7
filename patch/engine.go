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

// Engine runs scans on one node. It is used by one goroutine at a time.
type Engine struct {
	Manager  PackageManager
	Now      func() time.Time
	Log      *slog.Logger
	StateDir string        // lock and state; empty: neither is used
	LockWait time.Duration // how long another run is waited for; 0: 10 minutes
	BootID   string        // of the running system; empty when it is not running (--root)
	Waiting  func(Owner)   // called when the lock is held by somebody else; may be nil
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
	Refresh       bool // fetch the repositories' metadata first
	Record        bool // count this scan in the state folder
}

// Scan finds the state of every installed package.
func (e *Engine) Scan(ctx context.Context, req ScanRequest) (*compliance.Result, error) {
	started := e.Now().UTC()
	log := e.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if e.StateDir != "" {
		wait := e.LockWait
		if wait == 0 {
			wait = 10 * time.Minute
		}
		me := Owner{PID: os.Getpid(), Run: req.ExecutionID, Command: "scan", Since: started}
		release, err := Lock(ctx, e.StateDir, me, wait, e.Waiting)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	platform, err := e.Manager.Platform(ctx)
	if err != nil {
		return nil, asError(err, "UNSUPPORTED_OS", CodeUnsupported)
	}
	inv, degraded, err := e.inventory(ctx, platform, req)
	if err != nil {
		return nil, err
	}
	state, stateErr := loadState(e.StateDir)
	if stateErr != nil {
		degraded = append(degraded, stateErr.Error())
	}
	j := Judgement{Baseline: req.Baseline, Node: platform.Node, Now: req.EvaluatedAt, Pending: state.pending(e.BootID)}
	if j.Now.IsZero() {
		j.Now = started
	}
	var rejected func(baseline.Patch) bool
	if req.Baseline.Blocks() && len(req.Baseline.RejectedPatches) > 0 {
		rejected = func(p baseline.Patch) bool { return req.Baseline.Rejects(platform.Node, &p) }
	}
	targets := j.Decide(inv)
	blocks, err := e.Manager.Check(ctx, inv, targets, rejected)
	if err != nil {
		return nil, asError(err, "DEPENDENCY", CodeDependency)
	}
	items, notApplicable := j.Judge(inv, blocks)
	reboot, updaters, err := e.Manager.Evidence(ctx, inv)
	if err != nil {
		degraded = append(degraded, "reboot evidence: "+err.Error())
	}
	b := req.Baseline
	res := &compliance.Result{Items: items, Available: available(inv, platform), Header: compliance.Header{
		OperatingSystem: platform.Node.OS, Product: platform.Node.Product, PlatformName: platform.Name, PlatformVersion: platform.Version,
		BaselineID: b.BaselineID, BaselineName: b.Name, SnapshotID: req.SnapshotID, PatchGroup: req.PatchGroup, Operation: "Scan",
		RebootOption: req.RebootOption, StartedAt: started, Reboot: reboot, Repositories: inv.Repositories, Updaters: updaters,
		Degraded: append(degraded, inv.Degraded...), LastNoReboot: state.LastNoReboot, ExecutionType: req.ExecutionType, ExecutionID: req.ExecutionID,
		BootID: e.BootID,
	}}
	if len(state.pending(e.BootID)) > 0 {
		res.Header.Reboot.Reasons = append(res.Header.Reboot.Reasons, "patches were installed without the reboot that they wait for")
	}
	res.Finish(notApplicable)
	if req.Record && e.StateDir != "" {
		state.ScanSeq++
		res.Header.ScanSeq = state.ScanSeq
		if err := state.save(e.StateDir); err != nil {
			res.Header.Degraded = append(res.Header.Degraded, err.Error())
		}
	}
	res.Header.EndedAt = e.Now().UTC()
	log.LogAttrs(ctx, slog.LevelDebug, "scan finished", slog.String("baseline", b.BaselineID), slog.Int("missing", res.Header.Counts.Missing),
		slog.Int64("dur_ms", res.Header.EndedAt.Sub(started).Milliseconds()))
	return res, nil
}

// inventory refreshes where that is asked for, and reads.
func (e *Engine) inventory(ctx context.Context, platform Platform, req ScanRequest) (*Inventory, []string, error) {
	sources, err := applicable(req.Baseline, platform.Node)
	if err != nil {
		return nil, nil, &Error{Reason: "REPO_METADATA", Code: CodeFailed, Err: err}
	}
	ask := InventoryRequest{Platform: platform, Sources: sources, Now: e.Now(), Dates: delays(req.Baseline)}
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
	if req.Refresh {
		for i := range inv.Repositories { // a file that did not change keeps its old time on the disk
			if r := &inv.Repositories[i]; !r.Stale {
				r.RefreshedAt = ask.Now.UTC().Truncate(time.Second)
			}
		}
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
			out = append(out, compliance.Available{
				Name: p.Name, Arch: p.Arch, Version: v.Text, Priority: f.Priority, Section: f.Section, Classification: f.Classification,
				Repository: v.Repository, ReleasedTime: f.Released, Product: platform.Node.Product,
			})
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
