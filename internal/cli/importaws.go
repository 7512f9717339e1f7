package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newImportCommand makes the commands that bring in what another system holds.
func newImportCommand(s *Streams) *cobra.Command {
	cmd, o := clientCommand(&cobra.Command{Use: "import", Short: "Bring in what another Systems Manager holds"})
	cmd.AddCommand(newImportAWS(s, o))
	return group(cmd)
}

// importAnswer is the JSON of an import.
type importAnswer struct {
	Applied bool
	Steps   []*importStep
}

func newImportAWS(s *Streams, o *clientOptions) *cobra.Command {
	var from clientOptions
	var only []string
	var apply, disabled bool
	cmd := &cobra.Command{
		Use:   "aws",
		Short: "Import documents, baselines, windows and associations from AWS, or from another Oakum",
		Long: `Read documents, patch baselines with their patch groups, maintenance windows with targets and tasks, and State Manager associations of
one account and region, and make them here. The source is AWS, by the profile and region given, or any other Systems
Manager with --from-endpoint-url; nothing is written there.

Without --apply the plan is shown and nothing is done. What was made carries the tag oakum:imported-from with its id at the source: a
later import finds it by that, updates what has changed, and leaves the rest. Nothing is ever deleted. What names nodes by
their ids is left out, since they have other ids here. Windows and associations act here once they are made, on nodes whose tags
match: --disabled makes windows disabled and leaves associations out.`,
		Example: "  oakum import aws --from-profile production --from-region eu-west-1\n  oakum import aws --from-profile production --from-region eu-west-1 --disabled --apply",
		Args:    argRange(0, 0, ""),
	}
	f := cmd.Flags()
	f.StringVar(&from.endpoint, "from-endpoint-url", "", "`URL` of the source (default: AWS)")
	f.StringVar(&from.profile, "from-profile", "", "`NAME` of the profile with the source's credentials")
	f.StringVar(&from.region, "from-region", "", "region of the source (default: the profile's)")
	f.StringVar(&from.caFile, "from-ca-file", "", "PEM `FILE` of the authorities that the source's certificate may have")
	f.StringSliceVar(&only, "only", nil, "only these `KINDS`: "+strings.Join(importKinds, ", "))
	f.BoolVar(&apply, "apply", false, "do what the plan says")
	f.BoolVar(&disabled, "disabled", false, "make windows disabled, and no associations")
	noError(cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(importKinds, cobra.ShellCompDirectiveNoFileComp)))
	quietly(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kinds := map[string]bool{}
		for _, k := range only {
			if !slices.Contains(importKinds, k) {
				return usage("--only is made of %s, not %q", strings.Join(importKinds, ", "), k)
			}
			kinds[k] = true
		}
		if len(kinds) == 0 {
			for _, k := range importKinds {
				kinds[k] = true
			}
		}
		if from.profile == "" {
			return usageHint("the source is not named", "give --from-profile NAME, and --from-endpoint-url for another source than AWS")
		}
		to, err := o.connect(cmd.Context(), "import aws")
		if err != nil {
			return err
		}
		source, err := from.source(cmd.Context())
		if err != nil {
			return err
		}
		if source.Endpoint.Host == to.Endpoint.Host && source.Region == to.Region {
			return usage("source and target are the same: %s in %s", to.Endpoint, to.Region)
		}
		return runImport(cmd.Context(), s, o, source, to, kinds, disabled, apply)
	}
	return cmd
}

// source makes a client of the system that is read. What the environment says of an endpoint is about the target.
func (o *clientOptions) source(ctx context.Context) (*Client, error) {
	if o.endpoint == "" {
		region := o.region
		if region == "" {
			cfg, _, err := o.load(ctx)
			if err != nil {
				return nil, err
			}
			region = cfg.Region
		}
		if region == "" {
			return nil, usageHint("the region of the source is not known", "give --from-region")
		}
		o.region, o.endpoint = region, "https://ssm."+region+".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			o.endpoint += ".cn"
		}
	}
	o.output = "table"
	return o.connect(ctx, "import aws")
}

func runImport(ctx context.Context, s *Streams, o *clientOptions, source, to *Client, kinds map[string]bool, disabled, apply bool) error {
	have, err := readHoldings(ctx, source.SSM, kinds)
	if err != nil {
		return failed(fmt.Errorf("read the source %s: %w", source.Endpoint.Host, source.explain(err)))
	}
	here, err := readHoldings(ctx, to.SSM, kinds)
	if err != nil {
		return to.explain(err)
	}
	p := planImport(have, here, kinds, disabled)
	if !apply {
		return o.writeImport(s, p, false, fmt.Sprintf("nothing was done; --apply does this in %s of %s", to.Region, to.Endpoint.Host))
	}
	broken := 0
	for _, step := range p.steps {
		if step.do == nil {
			continue
		}
		if err := step.do(ctx); err != nil {
			if ctx.Err() != nil {
				return failed(errors.New("stopped; what was made so far stays, and another import goes on from there"))
			}
			broken++
			step.Action, step.Detail = "failed", strings.TrimSuffix(to.explain(err).Error(), ".")
		}
	}
	if err := o.writeImport(s, p, true, "done"); err != nil {
		return err
	}
	if broken > 0 {
		return failed(hinted(fmt.Sprintf("%s failed", plural(broken, "step", "steps")), "mend what they say and import again: what is there already is left alone"))
	}
	return nil
}

func (o *clientOptions) writeImport(s *Streams, p *importPlan, applied bool, end string) error {
	count := map[string]int{}
	rows := [][]string{{"ACTION", "KIND", "NAME", "DETAIL"}}
	if o.output == "csv" {
		rows[0] = []string{"Action", "Kind", "Name", "Source", "Target", "Detail"}
	}
	for _, step := range p.steps {
		count[step.Action]++
		if o.output == "csv" {
			rows = append(rows, []string{step.Action, step.Kind, step.Name, step.Source, step.Target, step.Detail})
		} else {
			rows = append(rows, []string{step.Action, step.Kind, step.Name, step.Detail})
		}
	}
	switch o.output {
	case "json":
		if p.steps == nil {
			p.steps = []*importStep{}
		}
		return writeJSON(s.Out, importAnswer{applied, p.steps})
	case "csv":
		return writeCSV(s.Out, rows)
	}
	if len(p.steps) > 0 {
		o.table(s, rows)
	}
	var parts []string
	for _, a := range []string{importCreate, importUpdate, importSame, importSkip, "failed"} {
		if count[a] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[a], a))
		}
	}
	if len(parts) == 0 {
		parts = []string{"the source holds nothing of this"}
	}
	if count[importCreate]+count[importUpdate]+count["failed"] == 0 {
		end = "there is nothing to do"
	}
	o.say(s, "%s; %s", strings.Join(parts, ", "), end)
	return nil
}
