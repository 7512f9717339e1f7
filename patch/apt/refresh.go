package apt

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Refresh runs apt-get update. A repository that could not be fetched is in the report, in apt's words, also where
// apt itself would go on with old lists and say nothing by its exit code.
func (m *Manager) Refresh(ctx context.Context, req patch.InventoryRequest) (patch.RefreshReport, error) {
	var report patch.RefreshReport
	if m.cfg.Exec == nil || !m.cfg.Live {
		return report, fmt.Errorf("the lists of %s cannot be refreshed from here", m.cfg.Root)
	}
	args := []string{"-q", "-o", "APT::Update::Error-Mode=any", "-o", "Dpkg::Use-Pty=0"}
	if req.Sources != nil {
		opts, err := m.ownOptions(req.Sources)
		if err != nil {
			return report, err
		}
		args = append(args, opts...)
	}
	before := m.releaseDates(ctx, req)
	lock := filepath.Join(m.cfg.Root, "var/lib/apt/lists/lock")
	deadline := time.Now().Add(m.cfg.LockWait)
	for killed := 0; ; {
		if err := system.WaitLocks(ctx, []string{lock}, time.Until(deadline), m.cfg.Note); err != nil {
			return report, err
		}
		out, err := m.cfg.Exec.Run(ctx, patch.Command{
			Path: "/usr/bin/apt-get", Args: append(slices.Clone(args), "update"), Env: patch.BaseEnv(), Timeout: 30 * time.Minute,
		})
		if err != nil {
			return report, fmt.Errorf("run apt-get update: %w", err)
		}
		if out.Code < 0 { // that says nothing about any repository, and lists may be missing that were about to come
			if killed++; killed < maxKilled {
				continue
			}
			return report, patch.Fail("REPO_METADATA", "apt-get update was killed %d times", killed)
		}
		text := string(out.Stdout) + string(out.Stderr)
		// Between the look at the lock and apt's own attempt another process may have taken it.
		if out.Code != 0 && strings.Contains(text, "Could not get lock") && time.Now().Before(deadline) {
			continue
		}
		report.Failed = updateFaults(text, out.Code)
		break
	}
	for uri, now := range m.releaseDates(ctx, req) {
		if old, ok := before[uri]; ok && now.Before(old) {
			report.Failed = append(report.Failed, fmt.Sprintf("%s went back in time: %s, before %s", uri, now.Format(time.RFC3339), old.Format(time.RFC3339)))
		}
	}
	m.failed = report.Failed
	return report, nil
}

// updateFaults picks the complaints out of apt-get update's output.
func updateFaults(text string, code int) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		kind, rest, ok := strings.Cut(line, ": ")
		if !ok || kind != "E" && kind != "W" {
			continue
		}
		fault := kind == "E" || strings.Contains(rest, "Failed to fetch") || strings.Contains(rest, "previous index files will be used") ||
			strings.Contains(rest, "Some index files failed") || strings.Contains(rest, "is expired") || strings.Contains(rest, "not valid yet") ||
			strings.Contains(rest, "is not signed")
		if fault && !strings.HasPrefix(rest, "Some index files failed") && !slices.Contains(out, rest) {
			out = append(out, rest)
		}
	}
	if code != 0 && len(out) == 0 {
		out = append(out, fmt.Sprintf("apt-get update ended with %d", code))
	}
	return out
}

// releaseDates are the publication dates of the lists on the disk.
func (m *Manager) releaseDates(_ context.Context, req patch.InventoryRequest) map[string]time.Time {
	out := map[string]time.Time{}
	n := &node{cfg: &m.cfg, pkgs: map[string]*pkg{}, looked: map[string]bool{}}
	var err error
	if n.conf, _, err = readConf(m.cfg.FS); err != nil {
		return out // the scan that follows says so
	}
	lists := n.conf.path("Dir::State::lists", "lists")
	if req.Sources != nil {
		lists = ownListsDir(&m.cfg)
		n.sources, err = ownSources(req.Sources)
	} else {
		n.sources, err = n.readSources()
	}
	if err != nil || n.findIndexes(lists) != nil {
		return out
	}
	for _, r := range n.releases {
		if !r.Date.IsZero() {
			out["/"+r.path] = r.Date
		}
	}
	return out
}
