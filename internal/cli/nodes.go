package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/patch/livepatch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

func newNodesCommand(s *Streams) *cobra.Command {
	var filters []string
	cmd, o := clientCommand(&cobra.Command{
		Use:   "nodes [NODE]",
		Short: "List managed nodes with their patch compliance, or show one",
		Long: `List managed nodes with their patch compliance, or show one node: its last scan or install, what that rests on and
what an install changed, and the patches that it misses.

COMPLIANCE is what the last scan found: COMPLIANT or NON_COMPLIANT. STALE means that the scan is too old to rely on,
UNKNOWN that there has been none. NODE is an id, a name or a computer name.`,
		Example: `  oakum nodes
  oakum nodes --filter ComplianceStatus=NON_COMPLIANT,STALE --filter PatchGroup=web
  oakum nodes web1 --output json`,
		Args: argRange(0, 1, "NODE"),
	})
	cmd.Flags().StringArrayVar(&filters, "filter", nil, "only nodes with `KEY=VALUE[,VALUE]`; keys: InstanceIds, Name, PatchGroup, ComplianceStatus, PingStatus, KernelLivePatch")
	cmd.ValidArgsFunction = completeNodes(o, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parsed, err := parseFilters(filters)
		if err != nil {
			return err
		}
		if len(args) == 1 && len(parsed) > 0 {
			return usage("--filter goes with the list, not with one node")
		}
		c, err := o.connect(cmd.Context(), "nodes")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return c.explain(showNode(cmd.Context(), s, o, c, args[0]))
		}
		return c.explain(listNodes(cmd.Context(), s, o, c, parsed))
	}
	return cmd
}

var nodeFilterKeys = []string{"InstanceIds", "Name", "PatchGroup", "ComplianceStatus", "PingStatus", "KernelLivePatch"}

func parseFilters(texts []string) ([]oakum.NodeFilter, error) {
	var out []oakum.NodeFilter
	for _, t := range texts {
		key, values, ok := strings.Cut(t, "=")
		if !ok {
			return nil, usage("--filter is KEY=VALUE[,VALUE], not %q", t)
		}
		i := slices.IndexFunc(nodeFilterKeys, func(k string) bool { return strings.EqualFold(k, key) })
		if i < 0 {
			return nil, usageHint(fmt.Sprintf("there is no filter %q", key), "the filters are "+strings.Join(nodeFilterKeys, ", "))
		}
		list := strings.Split(values, ",")
		if nodeFilterKeys[i] == "ComplianceStatus" {
			for k, v := range list {
				list[k] = strings.ToUpper(v)
				if !slices.Contains(oakum.NodeComplianceStatusValues(), list[k]) {
					return nil, usageHint(fmt.Sprintf("there is no compliance status %q", v), "they are "+strings.Join(oakum.NodeComplianceStatusValues(), ", "))
				}
			}
		}
		if nodeFilterKeys[i] == "KernelLivePatch" {
			for k, v := range list {
				n := slices.IndexFunc(livepatch.States(), func(st livepatch.State) bool { return strings.EqualFold(string(st), v) })
				if n < 0 {
					return nil, usageHint(fmt.Sprintf("there is no state %q of kernel live patching", v), "they are "+strings.Trim(strings.ReplaceAll(fmt.Sprint(livepatch.States()), " ", ", "), "[]"))
				}
				list[k] = string(livepatch.States()[n])
			}
		}
		out = append(out, oakum.NodeFilter{Key: &nodeFilterKeys[i], Values: list})
	}
	return out, nil
}

// nodes calls yield for every node that the filters take, page by page.
func (c *Client) nodes(ctx context.Context, filters []oakum.NodeFilter, yield func(oakum.Node) bool) error {
	in := &oakum.DescribeNodesInput{Filters: filters}
	size := int64(200)
	in.MaxResults = &size
	for {
		var out oakum.DescribeNodesOutput
		if err := c.Oakum(ctx, "DescribeNodes", in, &out); err != nil {
			return err
		}
		for _, n := range out.Nodes {
			if !yield(n) {
				return nil
			}
		}
		if codec.Value(out.NextToken) == "" {
			return nil
		}
		in.NextToken = out.NextToken
	}
}

var nodeID = regexp.MustCompile(`^m?i-[0-9a-f]{8,}$`)

// findNode returns the node with an id, a name or a computer name.
func (c *Client) findNode(ctx context.Context, ref string) (*oakum.Node, error) {
	filter := func(key string) ([]oakum.Node, error) {
		var found []oakum.Node
		err := c.nodes(ctx, []oakum.NodeFilter{{Key: &key, Values: []string{ref}}}, func(n oakum.Node) bool { found = append(found, n); return true })
		return found, err
	}
	key := "Name"
	if nodeID.MatchString(ref) {
		key = "InstanceIds"
	}
	found, err := filter(key)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && key == "Name" {
		err := c.nodes(ctx, nil, func(n oakum.Node) bool {
			if strings.EqualFold(codec.Value(n.ComputerName), ref) {
				found = append(found, n)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	switch len(found) {
	case 1:
		return &found[0], nil
	case 0:
		return nil, failed(hinted(fmt.Sprintf("there is no managed node %s in region %s", ref, c.Region), `"oakum nodes" lists the nodes; another region is chosen with --region`))
	}
	ids := make([]string, len(found))
	for i, n := range found {
		ids[i] = codec.Value(n.InstanceId)
	}
	return nil, failed(hinted(fmt.Sprintf("%d nodes are named %s: %s", len(found), ref, strings.Join(ids, ", ")), "give the id"))
}

func listNodes(ctx context.Context, s *Streams, o *clientOptions, c *Client, filters []oakum.NodeFilter) error {
	list := []oakum.Node{}
	if err := c.nodes(ctx, filters, func(n oakum.Node) bool { list = append(list, n); return true }); err != nil {
		return err
	}
	now := time.Now()
	switch o.output {
	case "json":
		return writeJSON(s.Out, oakum.DescribeNodesOutput{Nodes: list})
	case "csv":
		return writeCSV(s.Out, nodeRecords(list))
	}
	if len(list) > 0 {
		o.table(s, nodeRows(list, now), "PLATFORM", "CRITICAL", "LAST SCAN")
	}
	if len(filters) > 0 {
		o.say(s, "%s", plural(len(list), "node", "nodes"))
	}
	var sum oakum.GetFleetSummaryOutput
	if o.quiet {
		return nil
	}
	if err := c.Oakum(ctx, "GetFleetSummary", &oakum.GetFleetSummaryInput{}, &sum); err != nil {
		return err
	}
	o.say(s, "%s", summaryLine(&sum, c.Region))
	if line := freezeLine(sum.InstallFreeze, c.Region); line != "" {
		o.say(s, "oakum: note: %s", line)
	}
	if codec.Value(sum.Managed) == 0 {
		o.say(s, `oakum: hint: add the first with "oakum activation create"`)
	}
	return nil
}

func summaryLine(f *oakum.GetFleetSummaryOutput, region string) string {
	n := codec.Value[int64]
	return fmt.Sprintf("%s in %s: %d compliant, %d not compliant, %d stale, %d unknown; %d online, %d without connection",
		plural(n(f.Managed), "managed node", "managed nodes"), region, n(f.Compliant), n(f.NonCompliant), n(f.Stale), n(f.Unknown), n(f.Online), n(f.ConnectionLost))
}

// nodeLabel is what people call a node, besides its id.
func nodeLabel(n *oakum.Node) string {
	name, computer := codec.Value(n.Name), codec.Value(n.ComputerName)
	switch {
	case name == "" || name == computer:
		return computer
	case computer == "":
		return name
	}
	return name + " (" + computer + ")"
}

// number is a count that only a scan gives; without one there is none, which is not zero.
func number(p *int64) string {
	if p == nil {
		return "-"
	}
	return strconv.FormatInt(*p, 10)
}

func yesNo(p *bool) string {
	switch {
	case p == nil:
		return "-"
	case *p:
		return "yes"
	}
	return "no"
}

func nodeRows(list []oakum.Node, now time.Time) [][]string {
	rows := [][]string{{"NODE", "NAME", "PLATFORM", "PING", "COMPLIANCE", "MISSING", "SECURITY", "CRITICAL", "REBOOT", "LAST SCAN"}}
	for i := range list {
		n := &list[i]
		rows = append(rows, []string{
			codec.Value(n.InstanceId), nodeLabel(n), strings.TrimSpace(codec.Value(n.PlatformName) + " " + codec.Value(n.PlatformVersion)),
			orDefault(codec.Value(n.PingStatus), "-"), codec.Value(n.ComplianceStatus), number(n.MissingCount), number(n.SecurityNonCompliantCount),
			number(n.CriticalNonCompliantCount), yesNo(n.RebootRequired), ago(codec.TimeOf(n.LastScanTime), now),
		})
	}
	return rows
}

func nodeRecords(list []oakum.Node) [][]string {
	rows := [][]string{{
		"InstanceId", "Name", "ComputerName", "IPAddress", "PlatformType", "PlatformName", "PlatformVersion", "AgentVersion", "PingStatus",
		"LastPingDateTime", "PatchGroup", "ComplianceStatus", "ComplianceSeverity", "InstalledCount", "MissingCount", "FailedCount",
		"PendingRebootCount", "RejectedCount", "CriticalNonCompliantCount", "SecurityNonCompliantCount", "RebootRequired", "LastScanTime", "BaselineId",
	}}
	text := codec.Value[string]
	num := func(p *int64) string {
		if p == nil {
			return ""
		}
		return strconv.FormatInt(*p, 10)
	}
	for _, n := range list {
		reboot := ""
		if n.RebootRequired != nil {
			reboot = strconv.FormatBool(*n.RebootRequired)
		}
		rows = append(rows, []string{
			text(n.InstanceId), text(n.Name), text(n.ComputerName), text(n.IPAddress), text(n.PlatformType), text(n.PlatformName), text(n.PlatformVersion),
			text(n.AgentVersion), text(n.PingStatus), when(codec.TimeOf(n.LastPingDateTime)), text(n.PatchGroup), text(n.ComplianceStatus),
			text(n.ComplianceSeverity), num(n.InstalledCount), num(n.MissingCount), num(n.FailedCount), num(n.PendingRebootCount), num(n.RejectedCount),
			num(n.CriticalNonCompliantCount), num(n.SecurityNonCompliantCount), reboot, when(codec.TimeOf(n.LastScanTime)), text(n.BaselineId),
		})
	}
	return rows
}
