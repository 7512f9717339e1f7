package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
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

// Names of what Patch now makes. Source: AWS Systems Manager User Guide, "Patching managed nodes on demand".
const (
	patchNowName    = "AWS-PatchNowAssociation"
	patchRebootName = "AWS-PatchRebootAssociation"
	withHooks       = "AWS-RunPatchBaselineWithHooks"
	rebootAndReport = "Oakum-RebootAndReport"
)

type patchNow struct {
	operation, reboot, rebootAt, list, concurrency, errors, override, comment, bucket, prefix string
	preInstall, postInstall, onExit, postReboot                                               string // hooks: names of documents
	nodes, tags                                                                               []string
	all, noWait, yes, recent                                                                  bool
	timeout                                                                                   time.Duration // 0: the server chooses it by the number of nodes
	at                                                                                        time.Time     // of the reboot; zero: none is scheduled
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

As Patch now of AWS, it makes an association without a schedule, AWS-PatchNowAssociation, which runs once for the nodes
that there are: --recent lists the last ones. With --reboot-at no node is rebooted before that time; a second
association, AWS-PatchRebootAssociation, then reboots those that wait for it and scans them again. Hooks are the names of
documents that run on each node around its install.

Exit codes: 0 every node succeeded, 1 one did not, 2 usage. What a scan found does not matter for the exit code.`,
		Example: `  oakum patch-now --operation Scan --all
  oakum patch-now --operation Install --node web1 --reboot-option NoReboot
  oakum patch-now --operation Install --tag PatchGroup=web --max-concurrency 10% --max-errors 0 --yes --output json
  oakum patch-now --operation Install --all --reboot-at 2027-01-21T02:00
  oakum patch-now --recent`,
		Args: argRange(0, 0, ""),
	})
	f := cmd.Flags()
	f.StringVar(&p.operation, "operation", "Scan", "Scan, or Install, which changes the nodes")
	f.StringVar(&p.reboot, "reboot-option", "", "with Install: RebootIfNeeded, RebootIfRequired, NoReboot or RestartServices (default: RebootIfNeeded)")
	f.StringVar(&p.rebootAt, "reboot-at", "", "with Install: reboot at `TIME`, a date with a time, in UTC unless it names a zone, and not before")
	f.StringVar(&p.preInstall, "pre-install-hook", "", "with Install: `DOCUMENT` to run before anything is installed; when it fails, nothing is")
	f.StringVar(&p.postInstall, "post-install-hook", "", "with Install: `DOCUMENT` to run after the install, before a reboot")
	f.StringVar(&p.onExit, "on-exit-hook", "", "with Install: `DOCUMENT` to run at the end, whatever happened")
	f.StringVar(&p.postReboot, "post-reboot-hook", "", "with --reboot-at: `DOCUMENT` to run after the reboot")
	f.StringVar(&p.bucket, "bucket", "", "keep the output of every node in this bucket of the server")
	f.StringVar(&p.prefix, "prefix", "", "with --bucket: what the keys of the output begin with")
	f.StringVar(&p.list, "install-override-list", "", "with Install: install what this list names, `s3://BUCKET/KEY` or https://…, in place of what baselines approve")
	f.StringArrayVar(&p.nodes, "node", nil, "`NODE` by id or name; may be repeated")
	f.StringArrayVar(&p.tags, "tag", nil, "nodes with the tag `KEY=VALUE[,VALUE]`; may be repeated, all must match")
	f.BoolVar(&p.all, "all", false, "all managed nodes of the account and region")
	f.StringVar(&p.concurrency, "max-concurrency", "", "how many nodes at a time, `N` or N% (default: "+scanRate+" for a scan; for an install 1 below 25 nodes, 5% up to 100, 8% up to 1000, else 10%)")
	f.StringVar(&p.errors, "max-errors", "", "how many nodes may fail before no more are started, `N` or N% (default: "+scanRate+" for a scan; for an install 1 below 25 nodes, 5 up to 100, else 10)")
	f.StringVar(&p.override, "baseline-override", "", "judge by the baselines in this document, `s3://BUCKET/KEY`, and not by the node's")
	f.DurationVar(&p.timeout, "timeout", 0, "how long until the last node must have begun, at least 30s (default: 10m, and 30m more for every turn that the nodes take)")
	f.StringVar(&p.comment, "comment", "", "comment to keep with the command, at most 100 characters")
	f.BoolVar(&p.noWait, "no-wait", false, "print the association's id and do not wait")
	f.BoolVar(&p.recent, "recent", false, "list the last operations of Patch now, and begin none")
	f.BoolVar(&p.yes, "yes", false, "do not ask before an install")
	noError(cmd.RegisterFlagCompletionFunc("node", completeNodes(o, 0)))
	noError(cmd.RegisterFlagCompletionFunc("operation", cobra.FixedCompletions([]string{"Scan", "Install"}, cobra.ShellCompDirectiveNoFileComp)))
	noError(cmd.RegisterFlagCompletionFunc("reboot-option",
		cobra.FixedCompletions([]string{patch.RebootIfNeeded, patch.RebootIfRequired, patch.NoReboot, patch.RestartServices}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if p.recent {
			if len(p.nodes)+len(p.tags) > 0 || p.all || p.installs() {
				return usage("--recent lists what was done, and goes with no nodes and no operation")
			}
			c, err := o.connect(cmd.Context(), "patch-now --recent")
			if err != nil {
				return err
			}
			return c.explain(recentPatchNow(cmd.Context(), s, o, c))
		}
		if err := p.check(cmd.Flags().Changed("timeout"), time.Now()); err != nil {
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
	commentForm     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`) // it is kept as a tag
	errorsForm      = regexp.MustCompile(`^([0-9]{1,7}|[1-9]?[0-9]%|100%)$`)
)

func (p *patchNow) installs() bool { return p.operation == patch.OperationInstall }

func (p *patchNow) check(timed bool, now time.Time) error {
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
	case !commentForm.MatchString(p.comment):
		return usage("--comment takes letters, numbers, blanks and _ . : / = + - @")
	case p.prefix != "" && p.bucket == "":
		return usageHint("--prefix goes with --bucket", "name the bucket that keeps the output")
	case !p.installs() && p.hooked():
		return usageHint("hooks go with an install", "say --operation Install")
	}
	return p.checkReboot(now)
}

// hooked reports whether documents are to run around the install itself.
func (p *patchNow) hooked() bool { return p.preInstall != "" || p.postInstall != "" || p.onExit != "" }

// rebootTimes are the forms of --reboot-at.
var rebootTimes = []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}

// checkSchedule reads --reboot-at, and what goes with it or does not.
func (p *patchNow) checkSchedule(now time.Time) error {
	if p.rebootAt == "" {
		if p.postReboot != "" {
			return usageHint("--post-reboot-hook goes with --reboot-at", "say when to reboot; --on-exit-hook runs at the end without one")
		}
		return nil
	}
	switch {
	case !p.installs():
		return usageHint("--reboot-at goes with an install", "say --operation Install")
	case p.reboot != "":
		return usage("--reboot-option and --reboot-at exclude each other")
	case p.onExit != "":
		return usageHint("--on-exit-hook does not go with --reboot-at", "--post-reboot-hook runs after the reboot")
	}
	for _, form := range rebootTimes {
		t, err := time.Parse(form, p.rebootAt)
		if err != nil {
			continue
		}
		if !t.After(now) {
			return usage("--reboot-at %s has passed", p.rebootAt)
		}
		p.at, p.reboot = t.UTC(), patch.NoReboot
		return nil
	}
	return usage("--reboot-at is a date with a time, such as 2027-01-21T02:00, not %q", p.rebootAt)
}

func (p *patchNow) checkReboot(now time.Time) error {
	if err := p.checkSchedule(now); err != nil {
		return err
	}
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
func (p *patchNow) input(ctx context.Context, c *Client) (*ssm.CreateAssociationInput, []oakum.Node, error) {
	in := &ssm.CreateAssociationInput{
		Name: aws.String(document.RunPatchBaseline), AssociationName: aws.String(patchNowName), Parameters: map[string][]string{"Operation": {p.operation}},
	}
	set := func(name, value string) {
		if value != "" {
			in.Parameters[name] = []string{value}
		}
	}
	if p.installs() {
		set("RebootOption", p.reboot)
	}
	set("BaselineOverride", p.override)
	set("InstallOverrideList", p.list)
	if p.hooked() {
		in.Name = aws.String(withHooks)
		set("PreInstallHookDocName", p.preInstall)
		set("PostInstallHookDocName", p.postInstall)
		set("OnExitHookDocName", p.onExit)
	}
	if p.bucket != "" {
		in.OutputLocation = &types.InstanceAssociationOutputLocation{S3Location: &types.S3OutputLocation{OutputS3BucketName: &p.bucket, OutputS3Region: &c.Region}}
		if p.prefix != "" {
			in.OutputLocation.S3Location.OutputS3KeyPrefix = &p.prefix
		}
	}
	if p.comment != "" {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String("Oakum:Comment"), Value: &p.comment})
	}
	if p.timeout != 0 {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String("Oakum:TimeoutSeconds"), Value: aws.String(strconv.Itoa(int(p.timeout.Seconds())))})
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
		var ids []string
		for _, ref := range p.nodes {
			n, err := c.findNode(ctx, ref)
			if err != nil {
				return nil, nil, err
			}
			if id := codec.Value(n.InstanceId); !slices.Contains(ids, id) {
				ids, nodes = append(ids, id), append(nodes, *n)
			}
		}
		in.Targets = []types.Target{{Key: aws.String("InstanceIds"), Values: ids}}
	}
	return in, nodes, nil
}

// rate sets rate control, where it was not given, by the operation and the number of nodes.
func (p *patchNow) rate(in *ssm.CreateAssociationInput, nodes int) {
	if p.concurrency == "" {
		p.concurrency, _ = patchNowRate(p.installs(), nodes)
	}
	if p.errors == "" {
		_, p.errors = patchNowRate(p.installs(), nodes)
	}
	in.MaxConcurrency, in.MaxErrors = &p.concurrency, &p.errors
}

// reboots is the association that reboots the nodes later.
func (p *patchNow) reboots(in *ssm.CreateAssociationInput) *ssm.CreateAssociationInput {
	r := &ssm.CreateAssociationInput{
		Name: aws.String(rebootAndReport), AssociationName: aws.String(patchRebootName), Targets: in.Targets, MaxConcurrency: in.MaxConcurrency, MaxErrors: in.MaxErrors,
		OutputLocation: in.OutputLocation, ScheduleExpression: aws.String("at(" + p.at.Format("2006-01-02T15:04:05") + ")"), ApplyOnlyAtCronInterval: true,
		Parameters: map[string][]string{"OnlyIfPending": {"true"}},
	}
	if p.postReboot != "" {
		r.Parameters["PostRebootHookDocName"] = []string{p.postReboot}
	}
	return r
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
	// The reboot first: where it cannot be had, nothing is installed.
	reboot := ""
	if !p.at.IsZero() {
		made, err := c.SSM.CreateAssociation(ctx, p.reboots(in))
		if err != nil {
			return lacks(err, rebootAndReport, "--reboot-at")
		}
		reboot = aws.ToString(made.AssociationDescription.AssociationId)
	}
	made, err := c.SSM.CreateAssociation(ctx, in)
	if err != nil {
		return errors.Join(lacks(err, withHooks, "hook"), c.withdraw(ctx, reboot))
	}
	a := made.AssociationDescription
	if reboot != "" {
		o.say(s, "Reboot at %s: association %s", stamp(p.at), reboot)
	}
	if p.noWait {
		return writeMade(s, o, a)
	}
	begun, err := c.begun(ctx, aws.ToString(a.AssociationId))
	if err != nil {
		if errors.Is(err, errNobody) {
			err = errors.Join(err, c.withdraw(ctx, aws.ToString(a.AssociationId)), c.withdraw(ctx, reboot))
		}
		return err
	}
	what := "Scan of"
	if p.installs() {
		what = "Install on"
	}
	o.say(s, "%s %s: command %s", what, plural(begun.TargetCount, "node", "nodes"), aws.ToString(begun.CommandId))
	w := &watch{c: c, s: s, o: o, id: aws.ToString(begun.CommandId), what: p.operation}
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.finish(ctx)
}

// lacks says of an error that it is for want of a built-in document.
func lacks(err error, document, what string) error {
	if isCode(err, "InvalidDocument") && strings.Contains(err.Error(), document) {
		return failed(hinted("this server has no document "+document+", without which there is no "+what, "nothing was begun; a newer server has it"))
	}
	return err
}

// withdraw takes an association away that is of no use; an empty id is none.
func (c *Client) withdraw(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	_, err := c.SSM.DeleteAssociation(ctx, &ssm.DeleteAssociationInput{AssociationId: &id})
	return err
}

// begun waits for the run of an association that was just made, and returns its command.
func (c *Client) begun(ctx context.Context, id string) (*types.Command, error) {
	again := fmt.Sprintf(`"oakum associations %s" shows it`, id)
	for pause := 100 * time.Millisecond; ; pause = min(pause*5/4, 2*time.Second) {
		out, err := c.SSM.DescribeAssociationExecutions(ctx, &ssm.DescribeAssociationExecutionsInput{AssociationId: &id})
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil && len(out.AssociationExecutions) > 0 {
			e := out.AssociationExecutions[len(out.AssociationExecutions)-1]
			cmd, err := c.commandOf(ctx, e)
			if cmd != nil || err != nil && ctx.Err() == nil {
				return cmd, err
			}
			switch status := aws.ToString(e.DetailedStatus); {
			case status == "NoTargets":
				return nil, errNobody
			case aws.ToString(e.Status) != "Pending":
				text := "the nodes could not be sent anything: " + status
				if d, err := c.SSM.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: &id}); err == nil && d.AssociationDescription.Status != nil {
					text = aws.ToString(d.AssociationDescription.Status.Message)
				}
				return nil, failed(hinted(text, again))
			}
		}
		select {
		case <-ctx.Done():
			return nil, failed(hinted("interrupted; the operation goes on", again))
		case <-time.After(pause):
		}
	}
}

// commandOf is the command of an association's execution, or nil when it has none.
func (c *Client) commandOf(ctx context.Context, e types.AssociationExecution) (*types.Command, error) {
	out, err := c.SSM.DescribeAssociationExecutionTargets(ctx, &ssm.DescribeAssociationExecutionTargetsInput{AssociationId: e.AssociationId, ExecutionId: e.ExecutionId, MaxResults: aws.Int32(1)})
	if err != nil || len(out.AssociationExecutionTargets) == 0 || out.AssociationExecutionTargets[0].OutputSource == nil {
		return nil, err
	}
	list, err := c.SSM.ListCommands(ctx, &ssm.ListCommandsInput{CommandId: out.AssociationExecutionTargets[0].OutputSource.OutputSourceId})
	if err != nil || len(list.Commands) == 0 {
		return nil, err
	}
	return &list.Commands[0], nil
}

func writeMade(s *Streams, o *clientOptions, a *types.AssociationDescription) error {
	switch id := aws.ToString(a.AssociationId); o.output {
	case "json":
		return writeJSON(s.Out, ssm.CreateAssociationOutput{AssociationDescription: a})
	case "csv":
		return writeCSV(s.Out, [][]string{{"AssociationId", "AssociationName"}, {id, aws.ToString(a.AssociationName)}})
	default:
		o.say(s, `"oakum associations %s" shows its progress`, id)
		_, err := fmt.Fprintln(s.Out, id)
		return err
	}
}

// recentOperations is how many operations of Patch now are listed.
const recentOperations = 20

// recentPatchNow lists the last operations of Patch now, newest first.
func recentPatchNow(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	list := []types.AssociationDescription{}
	for _, name := range []string{patchNowName, patchRebootName} {
		found, err := c.associations(ctx, types.AssociationFilter{Key: types.AssociationFilterKeyAssociationName, Value: aws.String(name)})
		if err != nil {
			return err
		}
		for _, a := range found[max(0, len(found)-recentOperations):] {
			d, err := c.SSM.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: a.AssociationId})
			if isCode(err, "AssociationDoesNotExist") { // deleted meanwhile
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, *d.AssociationDescription)
		}
	}
	slices.SortFunc(list, func(a, b types.AssociationDescription) int { return aws.ToTime(b.Date).Compare(aws.ToTime(a.Date)) })
	list = list[:min(len(list), recentOperations)]
	rows := [][]string{{"ASSOCIATION", "OPERATION", "REBOOT", "BEGUN", "STATUS", "NODES", "ON"}}
	switch o.output {
	case "json":
		return writeJSON(s.Out, struct {
			Associations []types.AssociationDescription
		}{list})
	case "csv":
		rows[0] = []string{"AssociationId", "Operation", "RebootOption", "Date", "Status", "Nodes", "Targets"}
	}
	for _, a := range list {
		operation, reboot := strings.Join(a.Parameters["Operation"], ""), strings.Join(a.Parameters["RebootOption"], "")
		if aws.ToString(a.AssociationName) == patchRebootName {
			operation, reboot = "Reboot", strings.Trim(strings.TrimPrefix(aws.ToString(a.ScheduleExpression), "at"), "()")
		}
		row := []string{aws.ToString(a.AssociationId), operation, reboot, "", standing(a.Overview), standingNodes(a.Overview), targetsText(a.Targets)}
		if row[3] = ago(aws.ToTime(a.Date), time.Now()); o.output == "csv" {
			row[3] = when(aws.ToTime(a.Date))
		}
		rows = append(rows, row)
	}
	if o.output == "csv" {
		return writeCSV(s.Out, rows)
	}
	if len(list) > 0 {
		o.table(s, rows, "ON", "REBOOT")
	}
	o.say(s, "%s of Patch now in %s; \"oakum associations ID\" shows one", plural(len(list), "operation", "operations"), c.Region)
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
