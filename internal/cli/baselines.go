package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"

	"oakum.dev/baseline"
)

func newBaselinesCommand(s *Streams) *cobra.Command {
	var system string
	cmd, o := clientCommand(&cobra.Command{
		Use:   "baselines [BASELINE]",
		Short: "List patch baselines, or show one",
		Long: `List patch baselines, or show one with its rules. BASELINE is an id, an ARN or a name.

The JSON of one baseline is that of get-patch-baseline and can be given to "oakum scan --baseline". Baselines are changed
with the AWS CLI (aws ssm create-patch-baseline, update-patch-baseline) or Terraform.`,
		Example: `  oakum baselines --operating-system DEBIAN
  oakum baselines AWS-DebianDefaultPatchBaseline --output json > baseline.json`,
		Args: argRange(0, 1, "BASELINE"),
	})
	cmd.Flags().StringVar(&system, "operating-system", "", "only baselines for this operating `SYSTEM`, such as DEBIAN")
	cmd.ValidArgsFunction = completeBaselines(o)
	noError(cmd.RegisterFlagCompletionFunc("operating-system", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, os := range baseline.OperatingSystems() {
			names = append(names, string(os))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		system = strings.ToUpper(system)
		if system != "" && !baseline.OS(system).Valid() {
			return usage("%s is not an operating system that baselines know", system)
		}
		if len(args) == 1 && system != "" {
			return usage("--operating-system goes with the list, not with one baseline")
		}
		c, err := o.connect(cmd.Context(), "baselines")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return c.explain(showBaseline(cmd.Context(), s, o, c, args[0]))
		}
		return c.explain(listBaselines(cmd.Context(), s, o, c, system))
	}
	return cmd
}

// bareID is an id without the ARN that predefined baselines are shown with.
func bareID(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func (c *Client) baselines(ctx context.Context, system string) ([]types.PatchBaselineIdentity, error) {
	in := &ssm.DescribePatchBaselinesInput{}
	if system != "" {
		in.Filters = []types.PatchOrchestratorFilter{{Key: aws.String("OPERATING_SYSTEM"), Values: []string{system}}}
	}
	list := []types.PatchBaselineIdentity{}
	pages := ssm.NewDescribePatchBaselinesPaginator(c.SSM, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.BaselineIdentities...)
	}
	return list, nil
}

func listBaselines(ctx context.Context, s *Streams, o *clientOptions, c *Client, system string) error {
	list, err := c.baselines(ctx, system)
	if err != nil {
		return err
	}
	rows := [][]string{{"BaselineId", "BaselineName", "OperatingSystem", "DefaultBaseline", "BaselineDescription"}}
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.DescribePatchBaselinesOutput{BaselineIdentities: list})
	case "csv":
		for _, b := range list {
			rows = append(rows, []string{aws.ToString(b.BaselineId), aws.ToString(b.BaselineName), string(b.OperatingSystem), fmt.Sprint(b.DefaultBaseline), aws.ToString(b.BaselineDescription)})
		}
		return writeCSV(s.Out, rows)
	}
	rows[0] = []string{"BASELINE", "NAME", "OPERATING SYSTEM", "DEFAULT"}
	for _, b := range list {
		def := ""
		if b.DefaultBaseline {
			def = "yes"
		}
		rows = append(rows, []string{bareID(aws.ToString(b.BaselineId)), aws.ToString(b.BaselineName), string(b.OperatingSystem), def})
	}
	o.table(s, rows)
	o.say(s, "%s", plural(len(list), "baseline", "baselines"))
	return nil
}

// findBaseline gets a baseline by id, ARN or name.
func (c *Client) findBaseline(ctx context.Context, ref string) (*ssm.GetPatchBaselineOutput, error) {
	id := ref
	if !strings.HasPrefix(bareID(ref), "pb-") {
		list, err := c.baselines(ctx, "")
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, b := range list {
			if strings.EqualFold(aws.ToString(b.BaselineName), ref) {
				ids = append(ids, aws.ToString(b.BaselineId))
			}
		}
		switch len(ids) {
		case 0:
			return nil, failed(hinted(fmt.Sprintf("there is no patch baseline named %q in region %s", ref, c.Region), `"oakum baselines" lists the baselines`))
		case 1:
			id = ids[0]
		default:
			return nil, failed(hinted(fmt.Sprintf("%d patch baselines are named %s: %s", len(ids), ref, strings.Join(ids, ", ")), "give the id"))
		}
	}
	return c.SSM.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &id})
}

func showBaseline(ctx context.Context, s *Streams, o *clientOptions, c *Client, ref string) error {
	b, err := c.findBaseline(ctx, ref)
	if err != nil {
		if isCode(err, "DoesNotExistException", "ValidationException") { // the latter for what cannot be an id
			return failed(hinted(fmt.Sprintf("there is no patch baseline %s in region %s", ref, c.Region), `"oakum baselines" lists the baselines`))
		}
		return err
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, b)
	case "csv":
		rows := [][]string{{"Rule", "PatchFilters", "ComplianceLevel", "Approval", "EnableNonSecurity"}}
		for i, r := range rulesOf(b) {
			rows = append(rows, []string{fmt.Sprint(i + 1), filterText(r.PatchFilterGroup), string(r.ComplianceLevel), approvalText(r), fmt.Sprint(aws.ToBool(r.EnableNonSecurity))})
		}
		return writeCSV(s.Out, rows)
	}
	var out bytes.Buffer
	writeBaseline(&out, b, terminalWidth(s.Out))
	_, err = s.Out.Write(out.Bytes())
	return err
}

func rulesOf(b *ssm.GetPatchBaselineOutput) []types.PatchRule {
	if b.ApprovalRules == nil {
		return nil
	}
	return b.ApprovalRules.PatchRules
}

func filterText(g *types.PatchFilterGroup) string {
	if g == nil || len(g.PatchFilters) == 0 {
		return "every patch"
	}
	parts := make([]string, len(g.PatchFilters))
	for i, f := range g.PatchFilters {
		parts[i] = string(f.Key) + "=" + strings.Join(f.Values, ",")
	}
	return strings.Join(parts, " and ")
}

func approvalText(r types.PatchRule) string {
	switch {
	case aws.ToString(r.ApproveUntilDate) != "":
		return "released until " + *r.ApproveUntilDate
	case aws.ToInt32(r.ApproveAfterDays) == 0:
		return "at once"
	}
	return plural(*r.ApproveAfterDays, "day", "days") + " after release"
}

func writeBaseline(w io.Writer, b *ssm.GetPatchBaselineOutput, width int) {
	text := func(list []string) string { return strings.Join(list, ", ") }
	day := func(t *time.Time) string { return stamp(aws.ToTime(t)) }
	rejected := text(b.RejectedPatches)
	if rejected != "" && b.RejectedPatchesAction != "" {
		rejected += " (" + string(b.RejectedPatchesAction) + ")"
	}
	approved := text(b.ApprovedPatches)
	if approved != "" && b.ApprovedPatchesComplianceLevel != "" {
		approved += " (level " + string(b.ApprovedPatchesComplianceLevel) + ")"
	}
	filters := ""
	if b.GlobalFilters != nil && len(b.GlobalFilters.PatchFilters) > 0 {
		filters = filterText(b.GlobalFilters)
	}
	fields(w, nil,
		"Baseline", aws.ToString(b.BaselineId), "Name", aws.ToString(b.Name), "Description", aws.ToString(b.Description),
		"Operating system", string(b.OperatingSystem), "Patch groups", text(b.PatchGroups), "Global filters", filters, "Approved", approved,
		"Rejected", rejected, "Created", day(b.CreatedDate), "Modified", day(b.ModifiedDate))
	if rules := rulesOf(b); len(rules) > 0 {
		rows := [][]string{{"RULE", "APPROVES", "WHEN", "LEVEL", "NON-SECURITY"}}
		for i, r := range rules {
			non := "no"
			if aws.ToBool(r.EnableNonSecurity) {
				non = "yes"
			}
			rows = append(rows, []string{fmt.Sprint(i + 1), filterText(r.PatchFilterGroup), approvalText(r), string(r.ComplianceLevel), non})
		}
		fmt.Fprintln(w)
		writeColumns(w, rows, width, nil)
	}
	if len(b.Sources) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{{"SOURCE", "PRODUCTS"}}
		for _, src := range b.Sources {
			rows = append(rows, []string{aws.ToString(src.Name), text(slices.Sorted(slices.Values(src.Products)))})
		}
		writeColumns(w, rows, width, nil)
	}
}
