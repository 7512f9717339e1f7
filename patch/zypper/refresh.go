package zypper

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"oakum.dev/patch"
)

// Refresh runs zypper refresh. A repository that could not be fetched is in the report, in zypper's words. Keys that the
// node does not know are not imported: their repositories fail.
func (m *Manager) Refresh(ctx context.Context, req patch.InventoryRequest) (patch.RefreshReport, error) {
	m.platform = req.Platform
	m.failed, m.broken = map[string]string{}, nil
	own, err := m.ownOptions(req.Sources)
	if err != nil {
		return patch.RefreshReport{}, err
	}
	out, err := m.ask(ctx, slices.Concat(own, []string{"refresh"}))
	if err != nil {
		return patch.RefreshReport{}, err
	}
	c, err := m.readConfig(req.Sources)
	if err != nil {
		return patch.RefreshReport{}, err
	}
	alias := map[string]string{}
	for i := range c.repos {
		alias[c.repos[i].Name] = c.repos[i].ID
	}
	a := readAnswer(out.Stdout)
	m.failed, m.broken = refreshFaults(a.errors, alias, out.Code)
	var report patch.RefreshReport
	for id, why := range m.failed {
		report.Failed = append(report.Failed, id+": "+why)
	}
	slices.Sort(report.Failed)
	return report, nil
}

// refreshFaults reads which repositories zypper skipped, and why. Complaints that belong to none of them are apart. alias
// finds a repository's alias by its name.
func refreshFaults(said []string, alias map[string]string, code int) (failed map[string]string, other []string) {
	failed = map[string]string{}
	var why []string
	for _, s := range said {
		name, skipped := strings.CutPrefix(s, "Skipping repository '")
		if !skipped {
			why = append(why, s)
			continue
		}
		if i := strings.LastIndex(name, "' because"); i >= 0 {
			name = name[:i]
		}
		id, text := faultOf(why)
		if id == "" {
			id = alias[name]
		}
		if id == "" {
			id = name
		}
		if text == "" {
			text = "zypper skips it"
		}
		failed[id], why = text, nil
	}
	if code != 0 && len(failed) == 0 {
		for i, s := range why {
			why[i] = strings.Join(strings.Fields(s), " ")
		}
		other = append(other, "not refreshed: "+strings.Join(append(why, fmt.Sprintf("zypper refresh ended with %d", code)), "; "))
	}
	return failed, other
}

// faultOf finds the alias in complaints about a repository, "[ALIAS|URI] ...", and the line that says most.
func faultOf(said []string) (alias, text string) {
	best := -1
	for _, s := range said {
		for line := range strings.Lines(s) {
			line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "- "))
			if rest, ok := strings.CutPrefix(line, "["); ok {
				id, tail, _ := strings.Cut(rest, "|")
				if alias == "" && id != "" {
					alias = id
				}
				if _, after, ok := strings.Cut(tail, "] "); ok {
					line = after
				}
			}
			if rank := telling(line); rank > best {
				best, text = rank, strings.TrimPrefix(line, "Error message: ")
			}
		}
	}
	return alias, text
}

// telling ranks lines of a complaint by how much they say.
func telling(line string) int {
	for i, word := range []string{"is invalid", "Valid metadata not found", "Can't provide", "type can't be determined", "not found", "Error code:", "Error message:", "Signature verification", "unknown key", "Permission", "HTTP response: 40"} {
		if strings.Contains(line, word) {
			return i + 1
		}
	}
	if line == "" || strings.HasPrefix(line, "Please check") || strings.HasPrefix(line, "History:") {
		return -1
	}
	return 0
}
