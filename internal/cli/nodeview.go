package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// nodeDocument is one node with its last result; the members are those of DescribeNodes and GetPatchResult.
type nodeDocument struct {
	Node        oakum.Node
	Header      json.RawMessage `json:",omitempty"`
	CaptureTime *codec.Time
	ResultHash  *string
	Items       []oakum.PatchItem
}

// patchResult gets the last result of a node. The header is nil when there is none.
func (c *Client) patchResult(ctx context.Context, node, patchID string) (*oakum.GetPatchResultOutput, *compliance.Header, error) {
	in := &oakum.GetPatchResultInput{InstanceId: &node}
	if patchID != "" {
		in.PatchId = &patchID
	}
	var out oakum.GetPatchResultOutput
	if err := c.Oakum(ctx, "GetPatchResult", in, &out); err != nil {
		return nil, nil, err
	}
	if codec.Value(out.Header) == "" {
		return &out, nil, nil
	}
	h, err := compliance.DecodeHeader([]byte(*out.Header))
	if err != nil {
		return nil, nil, fmt.Errorf("read the result of %s: %w", node, err)
	}
	return &out, h, nil
}

func showNode(ctx context.Context, s *Streams, o *clientOptions, c *Client, ref string) error {
	n, err := c.findNode(ctx, ref)
	if err != nil {
		return err
	}
	res, h, err := c.patchResult(ctx, codec.Value(n.InstanceId), "")
	if err != nil {
		return err
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, nodeDocument{*n, json.RawMessage(codec.Value(res.Header)), res.CaptureTime, res.ResultHash, res.Items})
	case "csv":
		return writeCSV(s.Out, itemRecords(res.Items))
	}
	var b bytes.Buffer
	writeNode(&b, n, h, res.Items, time.Now(), terminalWidth(s.Out), o.paint(s.Out))
	_, err = s.Out.Write(b.Bytes())
	return err
}

// fields writes names and values in two columns, leaving out what is empty.
func fields(w io.Writer, paint func(string, string) string, pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		v := printable(pairs[i+1])
		if v == "" {
			continue
		}
		if paint != nil {
			word, rest, _ := strings.Cut(v, " ")
			if rest != "" {
				rest = " " + rest
			}
			v = paint(word, word) + rest
		}
		fmt.Fprintf(w, "%-*s  %s\n", width, pairs[i], v)
	}
}

func writeNode(w io.Writer, n *oakum.Node, h *compliance.Header, items []oakum.PatchItem, now time.Time, width int, paint func(string, string) string) {
	t := codec.Value[string]
	ping := t(n.PingStatus)
	if at := codec.TimeOf(n.LastPingDateTime); !at.IsZero() {
		ping += " (last heard of " + ago(at, now) + ")"
	}
	fields(w, paint,
		"Node", t(n.InstanceId), "Name", t(n.Name), "Computer", t(n.ComputerName), "Address", t(n.IPAddress),
		"Platform", strings.TrimSpace(t(n.PlatformName)+" "+t(n.PlatformVersion)), "Agent", t(n.AgentVersion), "Ping", ping,
		"Patch group", t(n.PatchGroup), "Compliance", complianceText(n, h, now))
	if h == nil {
		fmt.Fprintf(w, "\nThis node has never been scanned. Scan it: oakum patch-now --operation Scan --node %s\n", t(n.InstanceId))
		return
	}
	c := h.Counts
	fmt.Fprintf(w, "\nLast %s\n", strings.ToLower(h.Operation))
	by := ""
	if h.ExecutionID != "" {
		by = strings.ToLower(h.ExecutionType) + " " + h.ExecutionID
	}
	kernel := h.Reboot.RunningKernel
	if k := h.Reboot.InstalledKernel; k != "" && k != kernel {
		kernel += ", installed " + k
	}
	reboot := "not needed"
	if h.Reboot.Required {
		reboot = "needed: " + strings.Join(h.Reboot.Reasons, "; ")
	}
	fields(w, nil, append(installFields(h),
		"  Ended", fmt.Sprintf("%s (%s, took %s)", stamp(h.EndedAt), ago(h.EndedAt, now), h.EndedAt.Sub(h.StartedAt).Round(100*time.Millisecond)),
		"  Baseline", strings.TrimSpace(h.BaselineName+" "+h.BaselineID), "  Snapshot", h.SnapshotID, "  By", by,
		"  Patches", fmt.Sprintf("%d missing, %d failed, %d pending reboot, %d rejected, %d installed, %d other", c.Missing, c.Failed,
			c.InstalledPendingReboot, c.InstalledRejected, c.Installed, c.InstalledOther),
		"  Not compliant", fmt.Sprintf("%d critical, %d security, %d other", c.CriticalNonCompliant, c.SecurityNonCompliant, c.OtherNonCompliant),
		"  Reboot", reboot, "  Kernel", kernel, "  Live patching", livePatchText(h.Reboot.LivePatch, now), "  Restart needed", serviceNames(h.Reboot.Services), "  Other updaters", strings.Join(h.Updaters, ", "))...)
	if alarm := h.Reboot.LivePatch.Alarm(); alarm != "" {
		fmt.Fprintf(w, "  Warning: %s\n", printable(alarm))
	}
	for _, d := range h.Degraded {
		fmt.Fprintf(w, "  Degraded: %s\n", printable(d))
	}
	writeNodeInstall(w, n, h, width)
	if len(h.Repositories) > 0 {
		fmt.Fprintln(w)
		writeColumns(w, repositoryRows(h.Repositories, now), width, paint)
	}
	if rows := missingRows(items); len(rows) > 1 {
		fmt.Fprintln(w)
		writeColumns(w, rows, width, paint)
		fmt.Fprintf(w, "\nWhy one of them is there: oakum why %s PATCH\n", t(n.InstanceId))
	}
}

// installFields are what an install says of itself, as far as it fits into lines.
func installFields(h *compliance.Header) []string {
	i := h.Install
	if i == nil {
		return nil
	}
	outcome := i.Outcome
	if i.Text != "" {
		outcome = strings.TrimPrefix(outcome+": "+i.Text, ": ")
	}
	if i.Resumes > 0 {
		outcome += fmt.Sprintf(" (interrupted and taken up %s)", plural(i.Resumes, "time", "times"))
	}
	return []string{
		"  Outcome", orDefault(outcome, "none"), "  Run", i.Run, "  Reboot option", h.RebootOption, "  Override list", h.InstallOverrideList,
		"  Changed", changedText(i.Changes), "  Restarted", strings.Join(i.Restarts, "; "),
	}
}

func changedText(list []compliance.Change) string {
	along, replaced := 0, 0
	for _, c := range list {
		switch {
		case c.New == "": // an install removes nothing else
			replaced++
		case c.Dependency:
			along++
		}
	}
	return plural(len(list)-along-replaced, "patch", "patches") + company(along, replaced)
}

// shownChanges bounds the list of what an install changed, so that what is missing stays in sight.
const shownChanges = 30

// writeNodeInstall lists what the install changed, and what it left for a person to do.
func writeNodeInstall(w io.Writer, n *oakum.Node, h *compliance.Header, width int) {
	if h.Install == nil {
		return
	}
	for _, f := range h.Install.Leftovers {
		fmt.Fprintf(w, "  Changed configuration kept; the new version is %s\n", printable(f))
	}
	changes := h.Install.Changes
	if len(changes) == 0 {
		return
	}
	rows := [][]string{{"CHANGED", "FROM", "TO", "BECAUSE"}}
	for _, c := range changes[:min(len(changes), shownChanges)] {
		because := because(changeRow{Dependency: c.Dependency, replaced: c.New == ""})
		rows = append(rows, []string{strings.TrimSuffix(c.Name+"."+c.Arch, "."), orDefault(c.Old, "(new)"), orDefault(c.New, "(removed)"), because})
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, width, nil)
	if more := len(changes) - shownChanges; more > 0 {
		fmt.Fprintf(w, "and %d more: oakum nodes %s --output json\n", more, codec.Value(n.InstanceId))
	}
}

// complianceText is the status with what it rests on.
func complianceText(n *oakum.Node, h *compliance.Header, now time.Time) string {
	st := codec.Value(n.ComplianceStatus)
	switch {
	case h == nil:
		return st + " (no scan yet)"
	case st == oakum.NodeComplianceStatusStale:
		return fmt.Sprintf("%s (the last scan, %s, said %s)", st, ago(h.EndedAt, now), h.Status)
	case st == oakum.NodeComplianceStatusNonCompliant:
		return fmt.Sprintf("%s (severity %s)", st, h.Severity)
	}
	return st
}

func serviceNames(list []compliance.Service) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Unit
	}
	return strings.Join(names, ", ")
}

func repositoryRows(list []compliance.Repository, now time.Time) [][]string {
	rows := [][]string{{"REPOSITORY", "SUITE", "PUBLISHED", "REFRESHED", "STATE"}}
	for _, r := range list {
		state := "fresh"
		switch {
		case r.Missing:
			state = "never fetched: " + r.Detail
		case r.Stale && r.Detail != "":
			state = "stale: " + r.Detail
		case r.Stale:
			state = "stale"
		case r.Detail != "":
			state = r.Detail
		}
		if !r.Trusted {
			state += ", not trusted"
		}
		suite := r.Suite
		if suite == "" {
			suite = r.Codename
		}
		published := "unknown"
		if !r.Date.IsZero() {
			published = ago(r.Date, now)
		}
		rows = append(rows, []string{r.URI, suite, published, ago(r.RefreshedAt, now), state})
	}
	return rows
}

// missingRows are the patches that somebody has to do something about, or that wait for a reason.
func missingRows(items []oakum.PatchItem) [][]string {
	t := codec.Value[string]
	rows := [][]string{{"PATCH", "STATE", "LEVEL", "INSTALLED", "AVAILABLE", "REASON"}}
	for _, i := range items {
		switch compliance.State(t(i.State)) {
		case compliance.Missing, compliance.Failed, compliance.InstalledPendingReboot, compliance.InstalledRejected, compliance.AvailableSecurityUpdate:
		default:
			continue
		}
		rows = append(rows, []string{t(i.Id), t(i.State), t(i.Level), t(i.InstalledVersion), t(i.AvailableVersion), t(i.Reason)})
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return stateRank(a[1]) - stateRank(b[1]) })
	return rows
}

func stateRank(s string) int {
	return slices.Index([]compliance.State{
		compliance.Failed, compliance.Missing, compliance.InstalledRejected, compliance.InstalledPendingReboot, compliance.AvailableSecurityUpdate,
	}, compliance.State(s))
}

func itemRecords(items []oakum.PatchItem) [][]string {
	t := codec.Value[string]
	rows := [][]string{{
		"Id", "Name", "Arch", "Title", "State", "Level", "Classification", "Severity", "InstalledVersion", "AvailableVersion", "InstalledTime",
		"ReleasedTime", "ApprovalDate", "Reason", "Detail", "Repository", "CVEIds",
	}}
	for _, i := range items {
		rows = append(rows, []string{
			t(i.Id), t(i.Name), t(i.Arch), t(i.Title), t(i.State), t(i.Level), t(i.Classification), t(i.Severity), t(i.InstalledVersion),
			t(i.AvailableVersion), when(codec.TimeOf(i.InstalledTime)), when(codec.TimeOf(i.ReleasedTime)), when(codec.TimeOf(i.ApprovalDate)),
			t(i.Reason), t(i.Detail), t(i.Repository), strings.Join(i.CVEIds, ","),
		})
	}
	return rows
}
