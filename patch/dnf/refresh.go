package dnf

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Refresh runs dnf makecache. A repository that could not be fetched is in the report, in dnf's words, whatever its
// skip_if_unavailable says.
func (m *Manager) Refresh(ctx context.Context, req patch.InventoryRequest) (patch.RefreshReport, error) {
	m.platform = req.Platform
	m.failed, m.broken = map[string]string{}, nil
	if err := system.WaitLocks(ctx, m.locks()[:4], m.cfg.LockWait, m.cfg.Note); err != nil {
		return patch.RefreshReport{}, err
	}
	own, err := m.ownOptions(req.Sources)
	if err != nil {
		return patch.RefreshReport{}, err
	}
	// All that can be had is fetched, whichever repository is missing: what is missing is said all the same.
	args := []string{"--assumeno", "--setopt=skip_if_unavailable=1", "--setopt=*.skip_if_unavailable=1"}
	args = slices.Concat(args, m.release(), own, []string{"makecache"})
	if m.tool.name == "yum3" { // it would fetch databases in place of the XML that is read here; yum.conf(5)
		args = append([]string{"--setopt=mddownloadpolicy=xml", "--setopt=*.mddownloadpolicy=xml", "--setopt=metadata_expire=0", "--setopt=*.metadata_expire=0"}, args...)
	} else { // plain files in place of zchunk ones; dnf.conf(5)
		args = append([]string{"--refresh", "--setopt=zchunk=0"}, args...)
	}
	out, err := m.cfg.Exec.Run(ctx, patch.Command{Path: m.tool.path, Args: args, Env: patch.BaseEnv(), Timeout: time.Hour, MaxOutput: 4 << 20})
	if err != nil {
		return patch.RefreshReport{}, fmt.Errorf("run %s makecache: %w", m.tool.name, err)
	}
	text := patch.Lines(string(out.Stdout) + "\n" + string(out.Stderr))
	m.failed, m.broken = refreshFaults(text, out.Code)
	var report patch.RefreshReport
	for id, why := range m.failed {
		report.Failed = append(report.Failed, id+": "+why)
	}
	slices.Sort(report.Failed)
	return report, nil
}

// refreshFaults reads which repositories dnf ignored, and why. Complaints that belong to none of them are apart.
func refreshFaults(text string, code int) (failed map[string]string, other []string) {
	failed = map[string]string{}
	why := map[string]string{}
	current, mirrors, lost := "", "", ""
	var last []string
	end := ""
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		end = cmp.Or(s, end)
		switch {
		case strings.HasPrefix(s, "Errors during downloading metadata for repository '"):
			current, _, _ = strings.Cut(strings.TrimPrefix(s, "Errors during downloading metadata for repository '"), "'")
		case current != "" && strings.HasPrefix(s, "- "):
			if why[current] == "" {
				why[current] = strings.TrimPrefix(s, "- ")
			}
		case strings.HasPrefix(s, "Error: Failed to download metadata for repo '"):
			id, rest, _ := strings.Cut(strings.TrimPrefix(s, "Error: Failed to download metadata for repo '"), "'")
			failed[id] = strings.TrimLeft(rest, ": ")
		case strings.HasPrefix(s, "Could not retrieve mirrorlist "): // yum 3; the next line says why
			mirrors = s
		case mirrors != "" && s != "" && !strings.HasPrefix(s, "Cannot find a valid baseurl"):
			if lost == "" {
				lost = s
			}
			mirrors = ""
		case strings.HasPrefix(s, "Cannot find a valid baseurl for repo: "):
			id, _, _ := strings.Cut(strings.TrimPrefix(s, "Cannot find a valid baseurl for repo: "), "/")
			failed[id] = lost
			lost = ""
		case strings.HasPrefix(s, "Ignoring repositories: "):
			for id := range strings.SplitSeq(strings.TrimPrefix(s, "Ignoring repositories: "), ",") {
				failed[strings.TrimSpace(id)] += ""
			}
		case strings.HasPrefix(s, "Error: ") || strings.HasPrefix(s, "error: "):
			last = append(last, s[len("Error: "):])
		case strings.Contains(s, ": [Errno ") && strings.HasPrefix(s, "http"): // yum 3 names the address only
			last = append(last, s)
		}
	}
	for id := range failed {
		if why[id] != "" {
			failed[id] = why[id]
		}
		if failed[id] == "" {
			failed[id] = "dnf could not fetch its metadata"
		}
	}
	if code != 0 && len(failed) == 0 {
		if len(last) == 0 && end != "" { // such as [Errno 28] No space left on device
			last = append(last, end)
		}
		other = append(other, "not refreshed: "+strings.Join(append(last, fmt.Sprintf("makecache ended with %d", code)), "; "))
	}
	return failed, other
}
