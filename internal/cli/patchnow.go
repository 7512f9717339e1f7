package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"

	"oakum.dev/document"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

const patchStep = "PatchLinux"

type patchNow struct {
	operation, reboot, list, concurrency, errors, override, comment string
	nodes, tags                                                     []string
	all, noWait, yes                                                bool
	timeout                                                         time.Duration // 0: chosen by operation and number of nodes
}

// rebootOptions are the values of --reboot-option with what each does to a node.
var rebootOptions = map[string]string{
	patch.RebootIfNeeded: "a node on which anything is installed, or waits for a reboot, is rebooted", patch.NoReboot: "no node is rebooted",
	patch.RebootIfRequired: "a node is rebooted where there is evidence that it needs one",
	patch.RestartServices:  "no node is rebooted; services that use replaced files are restarted",
}

func newPatchNowCommand(s *Streams) *cobra.Command {
	p := &patchNow{}
	cmd, o := clientCommand(&cobra.Command{
		Use:   "patch-now",
		Short: "Scan or patch managed nodes now and wait for the results",
		Long: `Run AWS-RunPatchBaseline on managed nodes now, show its progress and, at the end, the result of every node.

Choose nodes with --node, --tag or --all. --operation Install puts in what each node's patch baseline approves, or what
--install-override-list names; it shows first what it would touch, and asks. How many nodes it patches at a time and how
many may fail before it stops is chosen by their number, as Patch now of AWS does, unless given. Interrupting (Ctrl-C)
asks whether to cancel the command; it goes on otherwise and "oakum runs ID --watch" shows it again.

Exit codes: 0 every node succeeded, 1 one did not, 2 usage. What a scan found does not matter for the exit code.`,
		Example: `  oakum patch-now --operation Scan --all
  oakum patch-now --operation Install --node web1 --reboot-option NoReboot
  oakum patch-now --operation Install --tag PatchGroup=web --max-concurrency 10% --max-errors 0 --yes --output json`,
		Args: argRange(0, 0, ""),
	})
	f := cmd.Flags()
	f.StringVar(&p.operation, "operation", "Scan", "Scan, or Install, which changes the nodes")
	f.StringVar(&p.reboot, "reboot-option", "", "with Install: RebootIfNeeded, RebootIfRequired, NoReboot or RestartServices (default: RebootIfNeeded)")
	f.StringVar(&p.list, "install-override-list", "", "with Install: install what this list names, `s3://BUCKET/KEY` or https://…, in place of what baselines approve")
	f.StringArrayVar(&p.nodes, "node", nil, "`NODE` by id or name; may be repeated")
	f.StringArrayVar(&p.tags, "tag", nil, "nodes with the tag `KEY=VALUE[,VALUE]`; may be repeated, all must match")
	f.BoolVar(&p.all, "all", false, "all managed nodes of the account and region")
	f.StringVar(&p.concurrency, "max-concurrency", "", "how many nodes at a time, `N` or N% (default: "+scanRate+" for a scan; for an install 1 below 25 nodes, 5% up to 100, 8% up to 1000, else 10%)")
	f.StringVar(&p.errors, "max-errors", "", "how many nodes may fail before no more are started, `N` or N% (default: "+scanRate+" for a scan; for an install 1 below 25 nodes, 5 up to 100, else 10)")
	f.StringVar(&p.override, "baseline-override", "", "judge by the baselines in this document, `s3://BUCKET/KEY`, and not by the node's")
	f.DurationVar(&p.timeout, "timeout", 0, "how long until the last node must have begun, at least 30s (default: 10m; for an install 30m more for every turn that it takes)")
	f.StringVar(&p.comment, "comment", "", "comment to keep with the command, at most 100 characters")
	f.BoolVar(&p.noWait, "no-wait", false, "print the command's id and do not wait")
	f.BoolVar(&p.yes, "yes", false, "do not ask before an install")
	noError(cmd.RegisterFlagCompletionFunc("node", completeNodes(o, 0)))
	noError(cmd.RegisterFlagCompletionFunc("operation", cobra.FixedCompletions([]string{"Scan", "Install"}, cobra.ShellCompDirectiveNoFileComp)))
	noError(cmd.RegisterFlagCompletionFunc("reboot-option",
		cobra.FixedCompletions([]string{patch.RebootIfNeeded, patch.RebootIfRequired, patch.NoReboot, patch.RestartServices}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := p.check(cmd.Flags().Changed("timeout")); err != nil {
			return err
		}
		c, err := o.connect(cmd.Context(), "patch-now --all")
		if err != nil {
			return err
		}
		return c.explain(p.run(cmd.Context(), s, o, c))
	}
	return cmd
}

var (
	concurrencyForm = regexp.MustCompile(`^([1-9][0-9]{0,6}|[1-9][0-9]?%|100%)$`)
	errorsForm      = regexp.MustCompile(`^([0-9]{1,7}|[1-9]?[0-9]%|100%)$`)
)

func (p *patchNow) installs() bool { return p.operation == patch.OperationInstall }

func (p *patchNow) check(timed bool) error {
	ways := 0
	for _, chosen := range []bool{len(p.nodes) > 0, len(p.tags) > 0, p.all} {
		if chosen {
			ways++
		}
	}
	switch {
	case strings.EqualFold(p.operation, "Install"):
		p.operation = patch.OperationInstall
	case strings.EqualFold(p.operation, "Scan"):
		p.operation = "Scan"
	default:
		return usage("--operation is Scan or Install, not %q", p.operation)
	}
	switch {
	case !p.installs() && p.reboot != "":
		return usageHint("--reboot-option goes with an install", "say --operation Install")
	case !p.installs() && p.list != "":
		return usageHint("--install-override-list goes with an install", "say --operation Install")
	case p.list != "" && p.override != "":
		return usage("--install-override-list and --baseline-override exclude each other")
	case ways == 0:
		return usageHint("no nodes are chosen", "give --node, --tag or --all")
	case ways > 1:
		return usage("--node, --tag and --all exclude each other")
	case len(p.nodes) > 50:
		return usageHint(fmt.Sprintf("%d nodes are too many for --node, which takes 50", len(p.nodes)), "choose them with --tag or --all")
	case len(p.tags) > 5:
		return usage("at most 5 tags can be given")
	case p.concurrency != "" && !concurrencyForm.MatchString(p.concurrency):
		return usage("--max-concurrency is a number from 1 or a percentage from 1%% to 100%%, not %q", p.concurrency)
	case p.errors != "" && !errorsForm.MatchString(p.errors):
		return usage("--max-errors is a number or a percentage, not %q", p.errors)
	case p.override != "" && !fetchable(p.override):
		return usageHint("--baseline-override is s3://BUCKET/KEY, not "+p.override, "a file has to be in a bucket of the server, where nodes can read it")
	case p.list != "" && !fetchable(p.list):
		return usageHint("--install-override-list is s3://BUCKET/KEY or an https address, not "+p.list, "a file has to be in a bucket of the server, where nodes can read it")
	case timed && (p.timeout < 30*time.Second || p.timeout > maxTimeout):
		return usage("--timeout is from 30s to 720h, not %s", p.timeout)
	case len([]rune(p.comment)) > 100:
		return usage("--comment has at most 100 characters")
	}
	return p.checkReboot()
}

func (p *patchNow) checkReboot() error {
	if p.reboot == "" {
		p.reboot = patch.RebootIfNeeded
	}
	for name := range rebootOptions {
		if strings.EqualFold(name, p.reboot) {
			p.reboot = name
			return nil
		}
	}
	return usage("--reboot-option is RebootIfNeeded, RebootIfRequired, NoReboot or RestartServices, not %q", p.reboot)
}

func fetchable(address string) bool {
	return strings.HasPrefix(address, "s3://") || strings.HasPrefix(address, "https://")
}

// input is the request, with the nodes that it names; those that tags or --all choose are not looked up.
func (p *patchNow) input(ctx context.Context, c *Client) (*ssm.SendCommandInput, []oakum.Node, error) {
	in := &ssm.SendCommandInput{DocumentName: aws.String(document.RunPatchBaseline), Parameters: map[string][]string{"Operation": {p.operation}}}
	if p.comment != "" {
		in.Comment = &p.comment
	}
	if p.installs() {
		in.Parameters["RebootOption"] = []string{p.reboot}
	}
	if p.override != "" {
		in.Parameters["BaselineOverride"] = []string{p.override}
	}
	if p.list != "" {
		in.Parameters["InstallOverrideList"] = []string{p.list}
	}
	var nodes []oakum.Node
	switch {
	case p.all:
		in.Targets = []types.Target{{Key: aws.String("InstanceIds"), Values: []string{"*"}}}
	case len(p.tags) > 0:
		for _, t := range p.tags {
			key, values, ok := strings.Cut(t, "=")
			if !ok || key == "" {
				return nil, nil, usage("--tag is KEY=VALUE[,VALUE], not %q", t)
			}
			in.Targets = append(in.Targets, types.Target{Key: aws.String("tag:" + key), Values: strings.Split(values, ",")})
		}
	default:
		for _, ref := range p.nodes {
			n, err := c.findNode(ctx, ref)
			if err != nil {
				return nil, nil, err
			}
			if id := codec.Value(n.InstanceId); !slices.Contains(in.InstanceIds, id) {
				in.InstanceIds, nodes = append(in.InstanceIds, id), append(nodes, *n)
			}
		}
	}
	return in, nodes, nil
}

// rate sets rate control and time-out, where they were not given, by the operation and the number of nodes.
func (p *patchNow) rate(in *ssm.SendCommandInput, nodes int) {
	if p.concurrency == "" {
		p.concurrency, _ = patchNowRate(p.installs(), nodes)
	}
	if p.errors == "" {
		_, p.errors = patchNowRate(p.installs(), nodes)
	}
	if p.timeout == 0 {
		p.timeout = beginWithin
		if p.installs() {
			p.timeout = min(p.timeout+turnTime*time.Duration(turns(p.concurrency, nodes)-1), maxTimeout)
		}
	}
	in.MaxConcurrency, in.MaxErrors, in.TimeoutSeconds = &p.concurrency, &p.errors, aws.Int32(int32(p.timeout.Seconds()))
}

var errNobody = failed(hinted("no managed node matches", `"oakum nodes" lists the nodes; tags are those of the managed nodes, case and all`))

func (p *patchNow) run(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	if p.installs() {
		if err := c.thawed(ctx); err != nil {
			return err
		}
	}
	in, nodes, err := p.input(ctx, c)
	if err != nil {
		return err
	}
	if p.installs() {
		if nodes, err = c.targeted(ctx, in.Targets, nodes); err != nil {
			return err
		}
		if len(nodes) == 0 {
			return errNobody
		}
	}
	p.rate(in, len(nodes))
	if p.installs() {
		if err := p.consent(ctx, s, o, c, nodes); err != nil {
			return err
		}
	}
	sent, err := c.SSM.SendCommand(ctx, in)
	if err != nil {
		return err
	}
	id := aws.ToString(sent.Command.CommandId)
	if sent.Command.TargetCount == 0 {
		return errNobody
	}
	if p.noWait {
		return writeSent(s, o, sent.Command)
	}
	what := "Scan of"
	if p.installs() {
		what = "Install on"
	}
	o.say(s, "%s %s: command %s", what, plural(sent.Command.TargetCount, "node", "nodes"), id)
	w := &watch{c: c, s: s, o: o, id: id, what: p.operation}
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.finish(ctx)
}

func writeSent(s *Streams, o *clientOptions, cmd *types.Command) error {
	switch id := aws.ToString(cmd.CommandId); o.output {
	case "json":
		return writeJSON(s.Out, ssm.SendCommandOutput{Command: cmd})
	case "csv":
		return writeCSV(s.Out, [][]string{{"CommandId", "Status", "TargetCount"}, {id, string(cmd.Status), fmt.Sprint(cmd.TargetCount)}})
	default:
		o.say(s, `"oakum runs %s --watch" shows its progress`, id)
		_, err := fmt.Fprintln(s.Out, id)
		return err
	}
}

// nodesByID gets what is known of nodes.
func (c *Client) nodesByID(ctx context.Context, ids []string) (map[string]oakum.Node, error) {
	out := map[string]oakum.Node{}
	for chunk := range slices.Chunk(ids, 50) {
		err := c.nodes(ctx, []oakum.NodeFilter{{Key: aws.String("InstanceIds"), Values: chunk}}, func(n oakum.Node) bool {
			out[codec.Value(n.InstanceId)] = n
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
