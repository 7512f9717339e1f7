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
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// Rate control of Patch now for a scan, which changes nothing on nodes. Source: AWS Systems Manager User Guide,
// "Patching managed nodes on demand".
const scanRate = "1000"

const patchStep = "PatchLinux"

type patchNow struct {
	operation, concurrency, errors, override, comment string
	nodes, tags                                       []string
	all, noWait                                       bool
	timeout                                           time.Duration
}

func newPatchNowCommand(s *Streams) *cobra.Command {
	p := &patchNow{}
	cmd, o := clientCommand(&cobra.Command{
		Use:   "patch-now",
		Short: "Scan managed nodes now and wait for the results",
		Long: `Run AWS-RunPatchBaseline on managed nodes now, show its progress and, at the end, the result of every node.

Choose nodes with --node, --tag or --all. Interrupting (Ctrl-C) asks whether to cancel the command; it goes on otherwise
and "oakum runs ID --watch" shows it again.

Exit codes: 0 every node succeeded, 1 one did not, 2 usage. What a scan found does not matter for the exit code.`,
		Example: `  oakum patch-now --operation Scan --all
  oakum patch-now --node web1 --node web2
  oakum patch-now --tag PatchGroup=web --max-concurrency 10% --output json`,
		Args: argRange(0, 0, ""),
	})
	f := cmd.Flags()
	f.StringVar(&p.operation, "operation", "Scan", "Scan; Install is not available yet")
	f.StringArrayVar(&p.nodes, "node", nil, "`NODE` by id or name; may be repeated")
	f.StringArrayVar(&p.tags, "tag", nil, "nodes with the tag `KEY=VALUE[,VALUE]`; may be repeated, all must match")
	f.BoolVar(&p.all, "all", false, "all managed nodes of the account and region")
	f.StringVar(&p.concurrency, "max-concurrency", scanRate, "how many nodes at a time, `N` or N%")
	f.StringVar(&p.errors, "max-errors", scanRate, "how many nodes may fail before no more are started, `N` or N%")
	f.StringVar(&p.override, "baseline-override", "", "judge by the baselines in this document, `s3://BUCKET/KEY`, and not by the node's")
	f.DurationVar(&p.timeout, "timeout", 10*time.Minute, "how long a node that cannot be reached is waited for, at least 30s")
	f.StringVar(&p.comment, "comment", "", "comment to keep with the command, at most 100 characters")
	f.BoolVar(&p.noWait, "no-wait", false, "print the command's id and do not wait")
	noError(cmd.RegisterFlagCompletionFunc("node", completeNodes(o, 0)))
	noError(cmd.RegisterFlagCompletionFunc("operation", cobra.FixedCompletions([]string{"Scan"}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := p.check(); err != nil {
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

func (p *patchNow) check() error {
	ways := 0
	for _, chosen := range []bool{len(p.nodes) > 0, len(p.tags) > 0, p.all} {
		if chosen {
			ways++
		}
	}
	switch {
	case strings.EqualFold(p.operation, "Install"):
		return failed(hinted("Install is not available yet: this version scans", "use --operation Scan, and install with the node's own package manager"))
	case !strings.EqualFold(p.operation, "Scan"):
		return usage("--operation is Scan, not %q", p.operation)
	case ways == 0:
		return usageHint("no nodes are chosen", "give --node, --tag or --all")
	case ways > 1:
		return usage("--node, --tag and --all exclude each other")
	case len(p.nodes) > 50:
		return usageHint(fmt.Sprintf("%d nodes are too many for --node, which takes 50", len(p.nodes)), "choose them with --tag or --all")
	case len(p.tags) > 5:
		return usage("at most 5 tags can be given")
	case !concurrencyForm.MatchString(p.concurrency):
		return usage("--max-concurrency is a number from 1 or a percentage from 1%% to 100%%, not %q", p.concurrency)
	case !errorsForm.MatchString(p.errors):
		return usage("--max-errors is a number or a percentage, not %q", p.errors)
	case p.override != "" && !strings.HasPrefix(p.override, "s3://") && !strings.HasPrefix(p.override, "https://"):
		return usageHint("--baseline-override is s3://BUCKET/KEY, not "+p.override, "a file has to be in a bucket of the server, where nodes can read it")
	case p.timeout < 30*time.Second || p.timeout > 720*time.Hour:
		return usage("--timeout is from 30s to 720h, not %s", p.timeout)
	case len([]rune(p.comment)) > 100:
		return usage("--comment has at most 100 characters")
	}
	return nil
}

func (p *patchNow) input(ctx context.Context, c *Client) (*ssm.SendCommandInput, error) {
	in := &ssm.SendCommandInput{
		DocumentName: aws.String(document.RunPatchBaseline), Parameters: map[string][]string{"Operation": {"Scan"}},
		MaxConcurrency: &p.concurrency, MaxErrors: &p.errors, TimeoutSeconds: aws.Int32(int32(p.timeout.Seconds())),
	}
	if p.comment != "" {
		in.Comment = &p.comment
	}
	if p.override != "" {
		in.Parameters["BaselineOverride"] = []string{p.override}
	}
	switch {
	case p.all:
		in.Targets = []types.Target{{Key: aws.String("InstanceIds"), Values: []string{"*"}}}
	case len(p.tags) > 0:
		for _, t := range p.tags {
			key, values, ok := strings.Cut(t, "=")
			if !ok || key == "" {
				return nil, usage("--tag is KEY=VALUE[,VALUE], not %q", t)
			}
			in.Targets = append(in.Targets, types.Target{Key: aws.String("tag:" + key), Values: strings.Split(values, ",")})
		}
	default:
		for _, ref := range p.nodes {
			n, err := c.findNode(ctx, ref)
			if err != nil {
				return nil, err
			}
			if id := codec.Value(n.InstanceId); !slices.Contains(in.InstanceIds, id) {
				in.InstanceIds = append(in.InstanceIds, id)
			}
		}
	}
	return in, nil
}

func (p *patchNow) run(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	in, err := p.input(ctx, c)
	if err != nil {
		return err
	}
	sent, err := c.SSM.SendCommand(ctx, in)
	if err != nil {
		return err
	}
	id := aws.ToString(sent.Command.CommandId)
	if sent.Command.TargetCount == 0 {
		return failed(hinted("no managed node matches", `"oakum nodes" lists the nodes; tags are those of the managed nodes, case and all`))
	}
	if p.noWait {
		return writeSent(s, o, sent.Command)
	}
	o.say(s, "Scan of %s: command %s", plural(sent.Command.TargetCount, "node", "nodes"), id)
	w := &watch{c: c, s: s, o: o, id: id, what: "Scan"}
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

// nodeResult is how a command ended on one node. The counts are of a scan by this command, or absent.
type nodeResult struct {
	InstanceId, Name, Status, StatusDetails                                         *string
	ResponseCode                                                                    *int32
	ComplianceStatus                                                                *string
	MissingCount, FailedCount, CriticalNonCompliantCount, SecurityNonCompliantCount *int64
	RebootRequired                                                                  *bool
	LastScanTime                                                                    *codec.Time
	Reason                                                                          *string
}

// resultDocument is the JSON answer of a command that was waited for.
type resultDocument struct {
	Command     *types.Command
	Invocations []nodeResult
}

// finish gathers the result of every node and writes it.
func (w *watch) finish(ctx context.Context) error {
	nodes, err := w.c.nodesByID(ctx, w.ids())
	if err != nil {
		return err
	}
	doc := resultDocument{Command: w.command, Invocations: []nodeResult{}}
	bad := 0
	for i := range w.invocations {
		v := &w.invocations[i]
		r := nodeResult{InstanceId: v.InstanceId, Status: aws.String(string(v.Status)), StatusDetails: v.StatusDetails}
		n, known := nodes[aws.ToString(v.InstanceId)]
		if known {
			r.Name = aws.String(nodeLabel(&n))
		}
		if v.Status == types.CommandInvocationStatusSuccess {
			if known && w.scanned(ctx, &n) { // the counts of an older scan would be a lie here
				r.ComplianceStatus, r.MissingCount, r.FailedCount = n.ComplianceStatus, n.MissingCount, n.FailedCount
				r.CriticalNonCompliantCount, r.SecurityNonCompliantCount = n.CriticalNonCompliantCount, n.SecurityNonCompliantCount
				r.RebootRequired, r.LastScanTime = n.RebootRequired, n.LastScanTime
			} else {
				r.Reason = aws.String("the node has not delivered its result yet")
			}
		} else {
			bad++
			r.ResponseCode, r.Reason = w.reason(ctx, v)
		}
		doc.Invocations = append(doc.Invocations, r)
	}
	if err := writeResults(w.s, w.o, &doc); err != nil {
		return err
	}
	if bad > 0 {
		return failed(hinted(fmt.Sprintf("%d of %s did not succeed", bad, plural(len(doc.Invocations), "node", "nodes")), fmt.Sprintf(`"oakum runs %s NODE" shows the output of one`, w.id)))
	}
	if w.command.Status != types.CommandStatusSuccess {
		return failed(fmt.Errorf("the command ended as %s", aws.ToString(w.command.StatusDetails)))
	}
	return nil
}

// scanned reports whether what is known of a node's patches comes from this command. The node's clock stands in its
// result; when that does not settle it, the result itself says what made it.
func (w *watch) scanned(ctx context.Context, n *oakum.Node) bool {
	at, asked := codec.TimeOf(n.LastScanTime), aws.ToTime(w.command.RequestedDateTime)
	if at.After(asked) {
		return true
	}
	if at.Before(asked.Add(-skewLimit)) {
		return false
	}
	_, h, err := w.c.patchResult(ctx, codec.Value(n.InstanceId), "-") // no patch has this id: the header is enough
	return err == nil && h != nil && h.ExecutionID == w.id
}

// reason is why a node did not succeed: the first line of the step's standard error, or what the state means.
func (w *watch) reason(ctx context.Context, v *types.CommandInvocation) (code *int32, text *string) {
	out, err := w.c.SSM.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: &w.id, InstanceId: v.InstanceId, PluginName: aws.String(patchStep)})
	if err == nil {
		for line := range strings.Lines(aws.ToString(out.StandardErrorContent)) {
			if line = strings.TrimSpace(line); line != "" {
				return &out.ResponseCode, &line
			}
		}
		if out.ResponseCode > 0 {
			return &out.ResponseCode, aws.String(fmt.Sprintf("exit code %d", out.ResponseCode))
		}
	}
	if m, ok := detailMeanings[aws.ToString(v.StatusDetails)]; ok {
		return nil, &m
	}
	return nil, v.StatusDetails
}

// detailMeanings are the ends of an invocation that say nothing by themselves.
var detailMeanings = map[string]string{
	"DeliveryTimedOut": "the node was not reached, or did not answer, in time", "ExecutionTimedOut": "the step ran over its time",
	"Undeliverable": "the node is not known or does not answer", "Terminated": "not started: too many nodes failed",
	"InvalidPlatform": "the document is not for the node's platform", "AccessDenied": "not allowed on this node", "Cancelled": "cancelled",
}

func writeResults(s *Streams, o *clientOptions, doc *resultDocument) error {
	t := codec.Value[string]
	switch o.output {
	case "json":
		return writeJSON(s.Out, doc)
	case "csv":
		rows := [][]string{{
			"InstanceId", "Name", "Status", "StatusDetails", "ResponseCode", "ComplianceStatus", "MissingCount", "FailedCount",
			"CriticalNonCompliantCount", "SecurityNonCompliantCount", "RebootRequired", "LastScanTime", "Reason",
		}}
		for _, r := range doc.Invocations {
			code, reboot := "", ""
			if r.ResponseCode != nil {
				code = fmt.Sprint(*r.ResponseCode)
			}
			if r.RebootRequired != nil {
				reboot = fmt.Sprint(*r.RebootRequired)
			}
			num := func(p *int64) string { return strings.TrimPrefix(number(p), "-") }
			rows = append(rows, []string{
				t(r.InstanceId), t(r.Name), t(r.Status), t(r.StatusDetails), code, t(r.ComplianceStatus), num(r.MissingCount), num(r.FailedCount),
				num(r.CriticalNonCompliantCount), num(r.SecurityNonCompliantCount), reboot, when(codec.TimeOf(r.LastScanTime)), t(r.Reason),
			})
		}
		return writeCSV(s.Out, rows)
	}
	rows := [][]string{{"NODE", "NAME", "RESULT", "COMPLIANCE", "MISSING", "SECURITY", "CRITICAL", "REBOOT", "REASON"}}
	for _, r := range doc.Invocations {
		rows = append(rows, []string{
			t(r.InstanceId), t(r.Name), orDefault(t(r.StatusDetails), t(r.Status)), orDefault(t(r.ComplianceStatus), "-"), number(r.MissingCount),
			number(r.SecurityNonCompliantCount), number(r.CriticalNonCompliantCount), yesNo(r.RebootRequired), t(r.Reason),
		})
	}
	o.table(s, rows, "CRITICAL", "REBOOT", "NAME")
	return nil
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
