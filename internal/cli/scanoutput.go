package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"oakum.dev/compliance"
)

// scanDocument is the JSON answer of oakum scan; its names are those of the API.
type scanDocument struct {
	OperatingSystem string
	Product         string
	PlatformName    string
	PlatformVersion string
	BaselineID      string `json:"BaselineId"`
	BaselineName    string
	Status          string
	Severity        string
	compliantCounts
	OperationStartTime string
	OperationEndTime   string
	RebootRequired     bool
	RebootReasons      []string              `json:",omitempty"`
	LivePatch          *compliance.LivePatch `json:",omitempty"`
	Services           []compliance.Service  `json:",omitempty"`
	Updaters           []string              `json:",omitempty"`
	Degraded           []string              `json:",omitempty"`
	Repositories       []compliance.Repository
	Install            *compliance.Install `json:",omitempty"`
	Image              *compliance.Image   `json:",omitempty"`
	Items              []scanItem
}

type compliantCounts struct {
	InstalledCount              int
	InstalledOtherCount         int
	InstalledPendingRebootCount int
	InstalledRejectedCount      int
	MissingCount                int
	FailedCount                 int
	NotApplicableCount          int
	CriticalNonCompliantCount   int
	SecurityNonCompliantCount   int
	OtherNonCompliantCount      int
}

type scanItem struct {
	ID               string `json:"Id"`
	Name             string
	Arch             string
	Title            string
	State            string
	Level            string
	Classification   string   `json:",omitempty"`
	Severity         string   `json:",omitempty"`
	InstalledVersion string   `json:",omitempty"`
	AvailableVersion string   `json:",omitempty"`
	InstalledTime    string   `json:",omitempty"`
	ReleasedTime     string   `json:",omitempty"`
	ApprovalDate     string   `json:",omitempty"`
	Reason           string   `json:",omitempty"`
	Detail           string   `json:",omitempty"`
	Repository       string   `json:",omitempty"`
	CVEIDs           []string `json:"CVEIds,omitempty"`
}

func counts(c compliance.Counts) compliantCounts {
	return compliantCounts{
		c.Installed, c.InstalledOther, c.InstalledPendingReboot, c.InstalledRejected, c.Missing, c.Failed, c.NotApplicable,
		c.CriticalNonCompliant, c.SecurityNonCompliant, c.OtherNonCompliant,
	}
}

func item(i *compliance.Item) scanItem {
	return scanItem{
		i.ID, i.Name, i.Arch, i.Title, string(i.State), string(i.Level), i.Classification, i.Severity, i.InstalledVersion, i.AvailableVersion,
		when(i.InstalledTime), when(i.ReleasedTime), when(i.ApprovalDate), i.Reason, i.Detail, i.Repository, i.CVEs,
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func writeScanJSON(s *Streams, res *compliance.Result) error {
	h := &res.Header
	doc := scanDocument{
		OperatingSystem: string(h.OperatingSystem), Product: h.Product, PlatformName: h.PlatformName, PlatformVersion: h.PlatformVersion,
		BaselineID: h.BaselineID, BaselineName: h.BaselineName, Status: h.Status, Severity: string(h.Severity), compliantCounts: counts(h.Counts),
		OperationStartTime: when(h.StartedAt), OperationEndTime: when(h.EndedAt), RebootRequired: h.Reboot.Required, RebootReasons: h.Reboot.Reasons, LivePatch: h.Reboot.LivePatch,
		Services: h.Reboot.Services, Updaters: h.Updaters, Degraded: h.Degraded, Repositories: h.Repositories, Install: h.Install, Image: h.Image, Items: make([]scanItem, 0, len(res.Items)),
	}
	for i := range res.Items {
		doc.Items = append(doc.Items, item(&res.Items[i]))
	}
	w := bufio.NewWriterSize(s.Out, 64<<10)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	return w.Flush()
}

func writeScanCSV(s *Streams, res *compliance.Result) error {
	rows := [][]string{{
		"Id", "Title", "State", "Level", "Classification", "Severity", "InstalledVersion", "AvailableVersion", "InstalledTime", "ReleasedTime",
		"ApprovalDate", "Reason", "Detail", "Repository", "CVEIds",
	}}
	for i := range res.Items {
		x := item(&res.Items[i])
		rows = append(rows, []string{
			x.ID, x.Title, x.State, x.Level, x.Classification, x.Severity, x.InstalledVersion, x.AvailableVersion, x.InstalledTime, x.ReleasedTime,
			x.ApprovalDate, x.Reason, x.Detail, x.Repository, strings.Join(x.CVEIDs, ","),
		})
	}
	return writeCSV(s.Out, rows)
}

func writeScanTable(s *Streams, res *compliance.Result) error {
	h := &res.Header
	w := bufio.NewWriter(s.Out)
	rows := [][]string{{"PATCH", "STATE", "INSTALLED", "AVAILABLE", "FROM", "REASON"}}
	hidden := 0
	for i := range res.Items {
		x := &res.Items[i]
		if x.Status() != compliance.NonCompliant && x.Reason == "" {
			hidden++
			continue
		}
		available := x.AvailableVersion
		if available == x.InstalledVersion {
			available = ""
		}
		rows = append(rows, []string{x.ID, string(x.State), x.InstalledVersion, available, x.Repository, x.Reason})
	}
	if len(rows) > 1 {
		writeColumns(w, rows, terminalWidth(s.Out), nil)
		fmt.Fprintln(w)
	}
	c := h.Counts
	if h.Image != nil {
		fmt.Fprintf(w, "image %s\n", h.Image)
	}
	fmt.Fprintf(w, "%s %s, baseline %s\n", h.PlatformName, h.PlatformVersion, h.BaselineName)
	fmt.Fprintf(w, "%s: %d missing, %d failed, %d pending reboot, %d rejected, %d installed, %d other", h.Status, c.Missing, c.Failed,
		c.InstalledPendingReboot, c.InstalledRejected, c.Installed, c.InstalledOther)
	if h.Status == compliance.NonCompliant {
		fmt.Fprintf(w, " (severity %s)", h.Severity)
	}
	fmt.Fprintln(w)
	if hidden > 0 {
		fmt.Fprintf(w, "%d packages with nothing newer are not shown; --output json shows all\n", hidden)
	}
	for _, r := range h.Reboot.Reasons {
		fmt.Fprintf(w, "reboot needed: %s\n", r)
	}
	if text := livePatchText(h.Reboot.LivePatch, h.EndedAt); text != "" {
		fmt.Fprintf(w, "kernel live patching: %s\n", printable(text))
	}
	for _, u := range h.Reboot.Services {
		fmt.Fprintf(w, "restart needed: %s\n", u.Unit)
	}
	return w.Flush()
}
