package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

const maxTimeout = 720 * time.Hour

const scanRate = "1000"

// patchNowRate is how many nodes Patch now works on at a time, and how many may fail. Source: AWS Systems Manager User
// Guide, "Patching managed nodes on demand".
func patchNowRate(install bool, nodes int) (concurrency, errors string) {
	switch {
	case !install: // it changes nothing on nodes
		return scanRate, scanRate
	case nodes < 25:
		return "1", "1"
	case nodes <= 100:
		return "5%", "5"
	case nodes <= 1000:
		return "8%", "10"
	}
	return "10%", "10"
}

// targeted lists the nodes that a command would go to, by name.
func (c *Client) targeted(ctx context.Context, targets []types.Target, named []oakum.Node) ([]oakum.Node, error) {
	var nodes []oakum.Node
	switch {
	case len(named) > 0:
		nodes = named
	case aws.ToString(targets[0].Key) == "InstanceIds": // all
		if err := c.nodes(ctx, nil, func(n oakum.Node) bool { nodes = append(nodes, n); return true }); err != nil {
			return nil, err
		}
	default:
		in := &ssm.DescribeInstanceInformationInput{}
		for _, t := range targets {
			in.Filters = append(in.Filters, types.InstanceInformationStringFilter{Key: t.Key, Values: t.Values})
		}
		var ids []string
		pages := ssm.NewDescribeInstanceInformationPaginator(c.SSM, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, n := range page.InstanceInformationList {
				ids = append(ids, aws.ToString(n.InstanceId))
			}
		}
		known, err := c.nodesByID(ctx, ids)
		if err != nil {
			return nil, err
		}
		nodes = slices.Collect(maps.Values(known))
	}
	slices.SortFunc(nodes, func(a, b oakum.Node) int {
		return cmp.Or(cmp.Compare(nodeTitle(&a), nodeTitle(&b)), cmp.Compare(codec.Value(a.InstanceId), codec.Value(b.InstanceId)))
	})
	return nodes, nil
}

// thawed fails where installs are frozen, before anything is looked up.
func (c *Client) thawed(ctx context.Context) error {
	f, err := c.frozen(ctx)
	if err != nil {
		return err
	}
	if line := freezeLine(f, c.Region); line != "" {
		return failed(hinted(line, `scans go on; "oakum freeze" shows who froze them, and "oakum freeze lift" allows them again`))
	}
	return nil
}

// consent shows what an install would touch and asks whether to go on.
func (p *patchNow) consent(ctx context.Context, s *Streams, o *clientOptions, c *Client, nodes []oakum.Node) error {
	if !p.yes || !o.quiet {
		p.writeTouched(s.Err, nodes, c.Region, c.baselineNames(ctx, nodes))
	}
	switch {
	case p.yes:
		return nil
	case !isTerminal(s.In):
		return usageHint("an install changes the nodes, and there is nobody to ask", "nothing was sent; say --yes to do this")
	}
	return confirm(s, "Go on?")
}

// baselineNames finds what the baselines of nodes are called. It is for reading: where that fails, ids do.
func (c *Client) baselineNames(ctx context.Context, nodes []oakum.Node) map[string]string {
	out := map[string]string{}
	for i := range nodes {
		id := codec.Value(nodes[i].BaselineId)
		if _, known := out[id]; known || id == "" || len(out) >= 20 {
			continue
		}
		out[id] = id
		if b, err := c.SSM.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &id}); err == nil {
			out[id] = cmp.Or(aws.ToString(b.Name), id)
		}
	}
	return out
}

// writeTouched says what an install is going to do to whom.
func (p *patchNow) writeTouched(w io.Writer, nodes []oakum.Node, region string, names map[string]string) {
	var titles, lost []string
	baselines := map[string]int{}
	var missing int64
	unseen, outdated := 0, 0
	for i := range nodes {
		n := &nodes[i]
		titles = append(titles, nodeTitle(n))
		if codec.Value(n.PingStatus) != "Online" {
			lost = append(lost, nodeTitle(n))
		}
		if n.LastScanTime == nil {
			unseen++
			continue
		}
		missing += codec.Value(n.MissingCount)
		if codec.Value(n.ComplianceStatus) == oakum.NodeComplianceStatusStale {
			outdated++
		}
		baselines[cmp.Or(names[codec.Value(n.BaselineId)], codec.Value(n.BaselineId))]++
	}
	known := plural(missing, "patch", "patches") + " at the last scans"
	if unseen > 0 {
		known += fmt.Sprintf("; %s never been scanned", plural(unseen, "node has", "nodes have"))
	}
	if outdated > 0 {
		known += fmt.Sprintf("; %s too old to rely on", plural(outdated, "scan is", "scans are"))
	}
	by := "each node's own"
	if len(baselines) > 0 {
		var list []string
		for _, b := range slices.Sorted(maps.Keys(baselines)) {
			list = append(list, fmt.Sprintf("%s (%s)", b, plural(baselines[b], "node", "nodes")))
		}
		by += ", at the last scans " + few(list)
	}
	switch {
	case p.override != "":
		by = "out of " + p.override + ", in place of each node's own"
	case p.list != "":
		by = "none: what " + p.list + " names is installed, approved or not"
	}
	waiting := ""
	if len(lost) > 0 {
		waiting = few(lost) + ": they come last, and are waited for"
	}
	pace := fmt.Sprintf("at most %s at a time; no more are started after more than %s", of(p.concurrency, "node", "nodes"), of(p.errors, "failure", "failures"))
	fmt.Fprintf(w, "Install on %s in %s\n", plural(len(nodes), "node", "nodes"), region)
	fields(w, nil, "  Nodes", few(titles), "  Missing", known, "  Baseline", by, "  Reboot", p.rebootText(), "  Hooks", p.hooks(), "  Pace", pace, "  Not connected", waiting)
}

// rebootText says what becomes of nodes that wait for a reboot.
func (p *patchNow) rebootText() string {
	if !p.at.IsZero() {
		return "at " + stamp(p.at) + ": those that wait for it then, and none before"
	}
	return p.reboot + ": " + rebootOptions[p.reboot]
}

// hooks names the documents that run around the install.
func (p *patchNow) hooks() string {
	var list []string
	for _, h := range []struct{ when, document string }{
		{"before the install", p.preInstall}, {"after it", p.postInstall}, {"at the end", p.onExit}, {"after the reboot", p.postReboot},
	} {
		if h.document != "" {
			list = append(list, h.document+" "+h.when)
		}
	}
	return strings.Join(list, ", ")
}

// of is a rate in words: 1 node, 5 nodes, 10% of the nodes.
func of(rate, one, many string) string {
	if strings.HasSuffix(rate, "%") {
		return rate + " of the nodes"
	}
	n, _ := strconv.Atoi(rate) // its form was checked
	return plural(n, one, many)
}

// few names the first of a list.
func few(list []string) string {
	if len(list) > 6 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:5], ", "), len(list)-5)
	}
	return strings.Join(list, ", ")
}
