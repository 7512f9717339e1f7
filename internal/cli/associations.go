package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"
)

// associationAnswer is the JSON of one association.
type associationAnswer struct {
	Association *types.AssociationDescription
	Tags        []types.Tag
	Executions  []types.AssociationExecution
	Targets     []types.AssociationExecutionTarget // of the newest execution
}

func newAssociationsCommand(s *Streams) *cobra.Command {
	root, o := clientCommand(&cobra.Command{
		Use:   "associations [ASSOCIATION]",
		Short: "List State Manager associations, show one with its runs, run or delete it",
		Long: `List associations, or show one with its last runs and how the newest one went on each node. ASSOCIATION is an id or a
name that one association has.

Associations are made with the AWS CLI (aws ssm create-association) or Terraform; "oakum patch-now" makes those of Patch now.`,
		Example: "  oakum associations\n  oakum associations nightly-scan\n  oakum associations run nightly-scan",
		Args:    argRange(0, 1, "ASSOCIATION"),
	})
	run := func(fn func(context.Context, *Client, []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			c, err := o.connect(cmd.Context(), "associations")
			if err != nil {
				return err
			}
			return c.explain(fn(cmd.Context(), c, args))
		}
	}
	complete := func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := o.connect(cmd.Context(), "associations")
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.associations(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names := make([]string, 0, len(list))
		for _, a := range list {
			names = append(names, aws.ToString(a.AssociationId)+"\t"+strings.TrimSpace(aws.ToString(a.AssociationName)+" "+aws.ToString(a.Name)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	root.ValidArgsFunction = complete
	root.RunE = run(func(ctx context.Context, c *Client, args []string) error {
		if len(args) == 1 {
			return showAssociation(ctx, s, o, c, args[0])
		}
		return listAssociations(ctx, s, o, c)
	})
	list := &cobra.Command{Use: "list", Short: "List associations", Args: argRange(0, 0, "")}
	list.RunE = run(func(ctx context.Context, c *Client, _ []string) error { return listAssociations(ctx, s, o, c) })
	show := &cobra.Command{Use: "show ASSOCIATION", Short: "Show an association with its runs", Args: argRange(1, 1, "ASSOCIATION"), ValidArgsFunction: complete}
	show.RunE = run(func(ctx context.Context, c *Client, args []string) error {
		return showAssociation(ctx, s, o, c, args[0])
	})
	once := &cobra.Command{
		Use: "run ASSOCIATION", Short: "Run an association now on all of its targets", Args: argRange(1, 1, "ASSOCIATION"), ValidArgsFunction: complete,
		Long: "Run an association now on all of its targets, whatever its schedule says. A run that has not ended is timed out.",
	}
	once.RunE = run(func(ctx context.Context, c *Client, args []string) error {
		id, err := findAssociation(ctx, c, args[0])
		if err != nil {
			return err
		}
		if _, err := c.SSM.StartAssociationsOnce(ctx, &ssm.StartAssociationsOnceInput{AssociationIds: []string{id}}); err != nil {
			return noSuchAssociation(err, c, id)
		}
		o.say(s, `association %s runs now; "oakum associations %s" shows how it goes`, id, id)
		return nil
	})
	var yes bool
	remove := &cobra.Command{
		Use: "delete ASSOCIATION", Short: "Delete an association", Args: argRange(1, 1, "ASSOCIATION"), ValidArgsFunction: complete,
		Long: "Delete an association with the history of its runs. A run that has not ended is cancelled; what it did on nodes stays.",
	}
	remove.Flags().BoolVar(&yes, "yes", false, "do not ask")
	remove.RunE = run(func(ctx context.Context, c *Client, args []string) error {
		id, err := findAssociation(ctx, c, args[0])
		if err != nil {
			return err
		}
		d, err := c.SSM.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
		if err != nil {
			return noSuchAssociation(err, c, id)
		}
		a := d.AssociationDescription
		if !yes {
			fields(s.Err, nil, "Association", id, "Name", aws.ToString(a.AssociationName), "Document", aws.ToString(a.Name), "On", targetsText(a.Targets))
			if !isTerminal(s.In) {
				return usageHint("an association is deleted for good, and there is nobody to ask", "nothing was deleted; say --yes to do this")
			}
			if err := confirm(s, "Delete it?"); err != nil {
				return err
			}
		}
		if err := c.withdraw(ctx, id); err != nil {
			return noSuchAssociation(err, c, id)
		}
		o.say(s, "association %s is deleted", id)
		return nil
	})
	root.AddCommand(list, show, once, remove)
	return root
}

// associations lists them by their creation, oldest first.
func (c *Client) associations(ctx context.Context, filters ...types.AssociationFilter) ([]types.Association, error) {
	list := []types.Association{}
	pages := ssm.NewListAssociationsPaginator(c.SSM, &ssm.ListAssociationsInput{AssociationFilterList: filters})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Associations...)
	}
	return list, nil
}

// standing is an association's status in one word or two.
func standing(v *types.AssociationOverview) string {
	if v == nil {
		return ""
	}
	status, detailed := aws.ToString(v.Status), aws.ToString(v.DetailedStatus)
	if status == detailed || detailed == "" {
		return status
	}
	return status + " (" + detailed + ")"
}

// standingNodes is how many nodes stand how: 3 Success, 1 Failed.
func standingNodes(v *types.AssociationOverview) string {
	if v == nil {
		return ""
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(v.AssociationStatusAggregatedCount)) {
		parts = append(parts, fmt.Sprintf("%d %s", v.AssociationStatusAggregatedCount[status], status))
	}
	return strings.Join(parts, ", ")
}

func listAssociations(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	list, err := c.associations(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"ASSOCIATION", "NAME", "DOCUMENT", "SCHEDULE", "LAST RUN", "STATUS", "NODES", "ON"}}
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.ListAssociationsOutput{Associations: list})
	case "csv":
		rows[0] = []string{"AssociationId", "AssociationName", "Name", "ScheduleExpression", "LastExecutionDate", "Status", "Nodes", "Targets"}
	}
	for _, a := range list {
		row := []string{
			aws.ToString(a.AssociationId), aws.ToString(a.AssociationName), aws.ToString(a.Name), scheduleText(a.ScheduleExpression, nil, a.ScheduleOffset), "",
			standing(a.Overview), standingNodes(a.Overview), targetsText(a.Targets),
		}
		if row[4] = ago(aws.ToTime(a.LastExecutionDate), time.Now()); o.output == "csv" {
			row[4] = when(aws.ToTime(a.LastExecutionDate))
		}
		rows = append(rows, row)
	}
	if o.output == "csv" {
		return writeCSV(s.Out, rows)
	}
	if len(list) > 0 {
		o.table(s, rows, "ON", "NAME", "SCHEDULE")
	}
	o.say(s, "%s in %s", plural(len(list), "association", "associations"), c.Region)
	return nil
}

// findAssociation takes an id or a name.
func findAssociation(ctx context.Context, c *Client, name string) (string, error) {
	if len(name) == 36 && strings.Count(name, "-") == 4 {
		return name, nil
	}
	list, err := c.associations(ctx, types.AssociationFilter{Key: types.AssociationFilterKeyAssociationName, Value: &name})
	if err != nil && !isCode(err, "ValidationException") { // of what cannot be a name
		return "", err
	}
	switch len(list) {
	case 0:
		return "", failed(hinted(fmt.Sprintf("there is no association named %q in region %s", name, c.Region), `"oakum associations" lists them`))
	case 1:
		return aws.ToString(list[0].AssociationId), nil
	}
	var ids []string
	for _, a := range list {
		ids = append(ids, aws.ToString(a.AssociationId))
	}
	return "", failed(hinted(fmt.Sprintf("%d associations are named %q", len(list), name), "name one by its id: "+few(ids)))
}

// noSuchAssociation says of an error that the association is not there, if that is what it says.
func noSuchAssociation(err error, c *Client, id string) error {
	if isCode(err, "AssociationDoesNotExist", "InvalidAssociation") {
		return failed(hinted(fmt.Sprintf("there is no association %s in region %s", id, c.Region), `"oakum associations" lists them`))
	}
	return err
}

func showAssociation(ctx context.Context, s *Streams, o *clientOptions, c *Client, name string) error {
	id, err := findAssociation(ctx, c, name)
	if err != nil {
		return err
	}
	d, err := c.SSM.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: &id})
	if err != nil {
		return noSuchAssociation(err, c, id)
	}
	a := associationAnswer{Association: d.AssociationDescription, Targets: []types.AssociationExecutionTarget{}}
	tags, err := c.SSM.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingAssociation, ResourceId: &id})
	if err != nil {
		return err
	}
	a.Tags = tags.TagList
	runs, err := c.SSM.DescribeAssociationExecutions(ctx, &ssm.DescribeAssociationExecutionsInput{AssociationId: &id, MaxResults: aws.Int32(lastExecutions)})
	if err != nil {
		return err
	}
	a.Executions = runs.AssociationExecutions
	if len(a.Executions) > 0 {
		pages := ssm.NewDescribeAssociationExecutionTargetsPaginator(c.SSM, &ssm.DescribeAssociationExecutionTargetsInput{AssociationId: &id, ExecutionId: a.Executions[0].ExecutionId})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			a.Targets = append(a.Targets, page.AssociationExecutionTargets...)
		}
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, a)
	case "csv":
		rows := [][]string{{"ExecutionId", "AssociationVersion", "CreatedTime", "Status", "DetailedStatus", "ResourceCountByStatus"}}
		for _, e := range a.Executions {
			rows = append(rows, []string{
				aws.ToString(e.ExecutionId), aws.ToString(e.AssociationVersion), when(aws.ToTime(e.CreatedTime)), aws.ToString(e.Status), aws.ToString(e.DetailedStatus), aws.ToString(e.ResourceCountByStatus),
			})
		}
		return writeCSV(s.Out, rows)
	}
	var ids []string
	for _, t := range a.Targets {
		ids = append(ids, aws.ToString(t.ResourceId))
	}
	nodes, err := c.nodesByID(ctx, ids)
	if err != nil {
		return err
	}
	titles := map[string]string{}
	for id := range nodes {
		n := nodes[id]
		titles[id] = nodeTitle(&n)
	}
	var b bytes.Buffer
	writeAssociation(&b, &a, titles, terminalWidth(s.Out))
	_, err = s.Out.Write(b.Bytes())
	return err
}

// writeAssociation shows an association; titles are what nodes are called.
func writeAssociation(w io.Writer, a *associationAnswer, titles map[string]string, width int) {
	d := a.Association
	zone, why := "", ""
	for _, t := range a.Tags {
		if aws.ToString(t.Key) == "ScheduleTimezone" {
			zone = aws.ToString(t.Value)
		}
	}
	if d.Status != nil && d.Status.Name == types.AssociationStatusNameFailed {
		why = aws.ToString(d.Status.Message)
	}
	var parameters []string
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		parameters = append(parameters, name+"="+strings.Join(d.Parameters[name], ","))
	}
	expression := scheduleText(d.ScheduleExpression, &zone, d.ScheduleOffset)
	switch {
	case aws.ToString(d.ScheduleExpression) == "":
		expression = "none: it runs once, and on nodes that come later"
		if n := aws.ToString(d.AssociationName); n == patchNowName || n == patchRebootName {
			expression = "none: it runs once"
		}
	case d.ApplyOnlyAtCronInterval:
		expression += ", and at no other time"
	}
	duration := ""
	if d.Duration != nil {
		duration = plural(*d.Duration, "hour", "hours") + " after its time nothing more of a run starts, and what runs is cancelled"
	}
	fields(w, nil,
		"Association", aws.ToString(d.AssociationId), "Name", aws.ToString(d.AssociationName), "Version", aws.ToString(d.AssociationVersion),
		"Document", strings.TrimSpace(aws.ToString(d.Name)+" "+strings.TrimPrefix(aws.ToString(d.DocumentVersion), "$DEFAULT")), "Parameters", printable(few(parameters)),
		"On", targetsText(d.Targets), "Schedule", expression, "Ends", duration, "At once", aws.ToString(d.MaxConcurrency), "Errors", aws.ToString(d.MaxErrors),
		"Severity", string(d.ComplianceSeverity), "Status", standing(d.Overview), "Why", printable(why), "Nodes", standingNodes(d.Overview))
	if len(a.Executions) == 0 {
		fmt.Fprintln(w, "\nIt has not run yet.")
		return
	}
	rows := [][]string{{"EXECUTION", "BEGUN", "VERSION", "STATUS", "NODES"}}
	for _, e := range a.Executions {
		status := aws.ToString(e.Status)
		if detailed := aws.ToString(e.DetailedStatus); detailed != status {
			status += " (" + detailed + ")"
		}
		rows = append(rows, []string{aws.ToString(e.ExecutionId), stamp(aws.ToTime(e.CreatedTime)), aws.ToString(e.AssociationVersion), status, strings.Trim(aws.ToString(e.ResourceCountByStatus), "{}")})
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, width, nil)
	if len(a.Targets) == 0 {
		return
	}
	rows = [][]string{{"NODE OF THE NEWEST", "STATUS", "COMMAND"}}
	for _, t := range a.Targets {
		id, cmd := aws.ToString(t.ResourceId), "its agent runs it"
		if t.OutputSource != nil {
			cmd = aws.ToString(t.OutputSource.OutputSourceId)
		}
		title := id
		if n := titles[id]; n != "" {
			title = n
		}
		rows = append(rows, []string{printable(title), aws.ToString(t.DetailedStatus), cmd})
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, width, nil)
}
