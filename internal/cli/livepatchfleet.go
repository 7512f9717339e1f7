package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/patch/livepatch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// maxWithin is more days than any kernel gets live patches for.
const maxWithin = 3650

func newLivePatchCommand(s *Streams) *cobra.Command {
	var within int
	var all bool
	cmd, o := clientCommand(&cobra.Command{
		Use:   "livepatch",
		Short: "List nodes whose kernel live patching needs somebody",
		Long: `List nodes whose kernel live patching needs somebody: those whose kernel gets no more live patches after the days of
--within or gets none now, those where a live patch is installed and not in force or has failed, and those that a
reboot took live patches from.

What is listed is what the last scan of each node found, with the state that it has come to by now. REBOOT BY is the
last day on which the running kernel gets live patches; until then a reboot into a newer one can wait, but for the CVEs
that live patches do not fix.`,
		Example: "  oakum livepatch\n  oakum livepatch --within 45 --output csv\n  oakum livepatch --all",
		Args:    argRange(0, 0, ""),
	})
	cmd.Flags().IntVar(&within, "within", 30, "also nodes whose kernel gets no more live patches after this many `DAYS`")
	cmd.Flags().BoolVar(&all, "all", false, "every node that has kernel live patching")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if within < 0 || within > maxWithin {
			return usage("--within is a number of days from 0 to %d, not %d", maxWithin, within)
		}
		c, err := o.connect(cmd.Context(), "livepatch")
		if err != nil {
			return err
		}
		return c.explain(listLivePatches(cmd.Context(), s, o, c, within, all))
	}
	return cmd
}

func listLivePatches(ctx context.Context, s *Streams, o *clientOptions, c *Client, within int, all bool) error {
	now := time.Now()
	list := []oakum.Node{}
	have, unknown := 0, 0
	err := c.nodes(ctx, nil, func(n oakum.Node) bool {
		switch lp := n.KernelLivePatch; {
		case lp != nil:
			have++
			if all || livePatchNeeds(lp, within, now) != "" {
				list = append(list, n)
			}
		case n.LastScanTime == nil:
			unknown++
		}
		return true
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b oakum.Node) int { return compareLivePatches(a.KernelLivePatch, b.KernelLivePatch) })
	switch o.output {
	case "json":
		return writeJSON(s.Out, oakum.DescribeNodesOutput{Nodes: list})
	case "csv":
		return writeCSV(s.Out, livePatchRecords(list, within, now))
	}
	if len(list) > 0 {
		o.table(s, livePatchRows(list, within, now), "LAST SCAN", "KERNEL")
	}
	need := 0
	for i := range list {
		if livePatchNeeds(list[i].KernelLivePatch, within, now) != "" {
			need++
		}
	}
	text := fmt.Sprintf("%s with kernel live patching in %s, %d of them in need of somebody", plural(have, "node", "nodes"), c.Region, need)
	if unknown > 0 {
		text += fmt.Sprintf("; %s never scanned", plural(unknown, "node was", "nodes were"))
	}
	o.say(s, "%s", text)
	return nil
}

// livePatchNeeds says what somebody has to do about a node's live patching; empty: nothing within the days.
func livePatchNeeds(lp *oakum.KernelLivePatch, within int, now time.Time) string {
	end := codec.TimeOf(lp.SupportEndDate)
	switch state := livepatch.State(codec.Value(lp.State)); {
	case len(lp.LostModules) > 0:
		return "load again, lost at a reboot: " + strings.Join(lp.LostModules, ", ")
	case state == livepatch.Failed, state == livepatch.Stale:
		return cmp.Or(codec.Value(lp.Detail), "not in force")
	case state == livepatch.Expired:
		return "reboot into a newer kernel now"
	case state == livepatch.Expiring && end.IsZero(), state.On() && !end.IsZero() && end.Before(now.AddDate(0, 0, within)):
		return "reboot into a newer kernel"
	}
	return ""
}

// compareLivePatches puts what is worst first, and of those that end the one that ends first.
func compareLivePatches(a, b *oakum.KernelLivePatch) int {
	rank := func(lp *oakum.KernelLivePatch) int {
		i := slices.Index([]livepatch.State{livepatch.Failed, livepatch.Stale, livepatch.Expired, livepatch.Expiring}, livepatch.State(codec.Value(lp.State)))
		if i < 0 {
			return 4
		}
		return i
	}
	end := func(lp *oakum.KernelLivePatch) int64 {
		if t := codec.TimeOf(lp.SupportEndDate); !t.IsZero() {
			return t.Unix()
		}
		return math.MaxInt64
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(end(a), end(b)))
}

// livePatchRows are for people: one line a node.
func livePatchRows(list []oakum.Node, within int, now time.Time) [][]string {
	rows := [][]string{{"NODE", "NAME", "KERNEL", "STATE", "REBOOT BY", "NOT FIXED", "WHAT TO DO", "LAST SCAN"}}
	for i := range list {
		n, lp := &list[i], list[i].KernelLivePatch
		by := "-"
		if end := codec.TimeOf(lp.SupportEndDate); !end.IsZero() {
			by = end.UTC().Format(time.DateOnly)
		} else if codec.Value(lp.State) == string(livepatch.Expired) {
			by = "now"
		}
		scan := ago(codec.TimeOf(n.LastScanTime), now)
		if codec.Value(n.ComplianceStatus) == oakum.NodeComplianceStatusStale {
			scan += ", stale"
		}
		open := "-"
		if count := codec.Value(lp.RemainingCVECount); count > 0 {
			open = plural(int(count), "CVE", "CVEs")
		}
		rows = append(rows, []string{
			codec.Value(n.InstanceId), nodeLabel(n), codec.Value(lp.Kernel), codec.Value(lp.State), by, open,
			cmp.Or(livePatchNeeds(lp, within, now), "nothing"), scan,
		})
	}
	return rows
}

// livePatchRecords are for programs: everything of a node's live patching.
func livePatchRecords(list []oakum.Node, within int, now time.Time) [][]string {
	rows := [][]string{{
		"InstanceId", "Name", "ComputerName", "State", "System", "Kernel", "EffectiveKernel", "SupportEndDate", "DaysLeft", "Needs", "RemainingCVECount",
		"RemainingCVEIds", "Modules", "LostModules", "RebootDebt", "Detail", "LastScanTime", "ComplianceStatus",
	}}
	text := codec.Value[string]
	for _, n := range list {
		lp := n.KernelLivePatch
		day, left := "", ""
		if end := codec.TimeOf(lp.SupportEndDate).UTC(); !end.IsZero() {
			day = end.Format(time.DateOnly)
			left = strconv.Itoa(max(0, int(end.Sub(now.UTC().Truncate(24*time.Hour)).Hours()/24))) // whole UTC days; 0 on the last one and after it
		}
		rows = append(rows, []string{
			text(n.InstanceId), text(n.Name), text(n.ComputerName), text(lp.State), text(lp.System), text(lp.Kernel), text(lp.EffectiveKernel), day, left,
			livePatchNeeds(lp, within, now), strconv.FormatInt(codec.Value(lp.RemainingCVECount), 10), strings.Join(lp.RemainingCVEIds, ","),
			strings.Join(lp.Modules, ","), strings.Join(lp.LostModules, ","), text(lp.RebootDebt), text(lp.Detail), when(codec.TimeOf(n.LastScanTime)),
			text(n.ComplianceStatus),
		})
	}
	return rows
}
