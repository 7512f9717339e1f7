package cli

import (
	"bytes"
	"cmp"
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
)

// lastExecutions is how many executions of a window are shown.
const lastExecutions = 10

// windowAnswer is the JSON of one maintenance window.
type windowAnswer struct {
	Window     *ssm.GetMaintenanceWindowOutput
	Targets    []types.MaintenanceWindowTarget
	Tasks      []types.MaintenanceWindowTask
	NextRuns   []types.ScheduledWindowExecution
	Executions []types.MaintenanceWindowExecution
}

func newWindowsCommand(s *Streams) *cobra.Command {
	cmd, o := clientCommand(&cobra.Command{
		Use:   "windows [WINDOW]",
		Short: "List maintenance windows, or show one with its tasks, next runs and executions",
		Long: `List maintenance windows, or show one with what is registered with it, its next runs and its last executions. WINDOW is
an id (mw-...) or a name.

Windows are made with the AWS CLI (aws ssm create-maintenance-window and register-...) or Terraform.`,
		Example: "  oakum windows\n  oakum windows tuesdays",
		Args:    argRange(0, 1, "WINDOW"),
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := o.connect(cmd.Context(), "windows")
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.windows(cmd.Context())
		names := make([]string, 0, len(list))
		for _, w := range list {
			names = append(names, aws.ToString(w.WindowId)+"\t"+aws.ToString(w.Name))
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect(cmd.Context(), "windows")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return c.explain(showWindow(cmd.Context(), s, o, c, args[0]))
		}
		return c.explain(listWindows(cmd.Context(), s, o, c))
	}
	return cmd
}

// windows are all of them; the next one to open comes first, those that never do last.
func (c *Client) windows(ctx context.Context) ([]types.MaintenanceWindowIdentity, error) {
	list := []types.MaintenanceWindowIdentity{}
	pages := ssm.NewDescribeMaintenanceWindowsPaginator(c.SSM, &ssm.DescribeMaintenanceWindowsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.WindowIdentities...)
	}
	slices.SortStableFunc(list, func(a, b types.MaintenanceWindowIdentity) int {
		x, y := instantOf(a.NextExecutionTime), instantOf(b.NextExecutionTime)
		if x.IsZero() != y.IsZero() {
			return map[bool]int{true: 1, false: -1}[x.IsZero()]
		}
		return x.Compare(y)
	})
	return list, nil
}

// instantOf reads a date that the wire has as a text; the zero time when there is none.
func instantOf(s *string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, aws.ToString(s))
	if err != nil {
		return time.Time{}
	}
	return t
}

// nextRun is the next run of a window as it is shown: in the window's own zone, or why there is none.
func nextRun(text *string, enabled bool) string {
	switch t := instantOf(text); {
	case !t.IsZero():
		return t.Format("2006-01-02 15:04 -07:00")
	case !enabled:
		return "(disabled)"
	}
	return "(never again)"
}

func scheduleText(expression, zone *string, offset *int32) string {
	out := aws.ToString(expression)
	if offset != nil {
		out += fmt.Sprintf(" + %s", plural(int(*offset), "day", "days"))
	}
	return strings.TrimSpace(out + " " + aws.ToString(zone))
}

func listWindows(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	list, err := c.windows(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"WINDOW", "NAME", "NEXT RUN", "SCHEDULE", "HOURS", "CUTOFF"}}
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.DescribeMaintenanceWindowsOutput{WindowIdentities: list})
	case "csv":
		rows[0] = []string{"WindowId", "Name", "NextExecutionTime", "Schedule", "Duration", "Cutoff", "Enabled"}
		for _, w := range list {
			rows = append(rows, []string{
				aws.ToString(w.WindowId), aws.ToString(w.Name), aws.ToString(w.NextExecutionTime), scheduleText(w.Schedule, w.ScheduleTimezone, w.ScheduleOffset),
				fmt.Sprint(aws.ToInt32(w.Duration)), fmt.Sprint(w.Cutoff), fmt.Sprint(w.Enabled),
			})
		}
		return writeCSV(s.Out, rows)
	}
	for _, w := range list {
		rows = append(rows, []string{
			aws.ToString(w.WindowId), aws.ToString(w.Name), nextRun(w.NextExecutionTime, w.Enabled), scheduleText(w.Schedule, w.ScheduleTimezone, w.ScheduleOffset),
			fmt.Sprint(aws.ToInt32(w.Duration)), fmt.Sprint(w.Cutoff),
		})
	}
	if len(list) > 0 {
		o.table(s, rows, "CUTOFF", "HOURS", "SCHEDULE")
	}
	o.say(s, "%s in %s", plural(len(list), "maintenance window", "maintenance windows"), c.Region)
	return nil
}

// findWindow takes an id or a name.
func findWindow(ctx context.Context, c *Client, name string) (string, error) {
	if strings.HasPrefix(name, "mw-") {
		return name, nil
	}
	list, err := c.windows(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, w := range list {
		if aws.ToString(w.Name) == name {
			ids = append(ids, aws.ToString(w.WindowId))
		}
	}
	switch len(ids) {
	case 0:
		return "", failed(hinted(fmt.Sprintf("there is no maintenance window named %q in region %s", name, c.Region), `"oakum windows" lists them`))
	case 1:
		return ids[0], nil
	}
	return "", failed(hinted(fmt.Sprintf("%d maintenance windows are named %q", len(ids), name), "name one by its id: "+strings.Join(ids, ", ")))
}

func showWindow(ctx context.Context, s *Streams, o *clientOptions, c *Client, name string) error {
	id, err := findWindow(ctx, c, name)
	if err != nil {
		return err
	}
	a := windowAnswer{Targets: []types.MaintenanceWindowTarget{}, Tasks: []types.MaintenanceWindowTask{}}
	if a.Window, err = c.SSM.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: &id}); err != nil {
		if isCode(err, "DoesNotExistException", "ValidationException") { // the latter for what cannot be an id
			return failed(hinted(fmt.Sprintf("there is no maintenance window %s in region %s", id, c.Region), `"oakum windows" lists them`))
		}
		return err
	}
	targets := ssm.NewDescribeMaintenanceWindowTargetsPaginator(c.SSM, &ssm.DescribeMaintenanceWindowTargetsInput{WindowId: &id})
	for targets.HasMorePages() {
		page, err := targets.NextPage(ctx)
		if err != nil {
			return err
		}
		a.Targets = append(a.Targets, page.Targets...)
	}
	tasks := ssm.NewDescribeMaintenanceWindowTasksPaginator(c.SSM, &ssm.DescribeMaintenanceWindowTasksInput{WindowId: &id})
	for tasks.HasMorePages() {
		page, err := tasks.NextPage(ctx)
		if err != nil {
			return err
		}
		a.Tasks = append(a.Tasks, page.Tasks...)
	}
	slices.SortStableFunc(a.Tasks, func(x, y types.MaintenanceWindowTask) int { return cmp.Compare(x.Priority, y.Priority) })
	runs, err := c.SSM.DescribeMaintenanceWindowSchedule(ctx, &ssm.DescribeMaintenanceWindowScheduleInput{WindowId: &id, MaxResults: aws.Int32(5)})
	if err != nil {
		return err
	}
	a.NextRuns = runs.ScheduledWindowExecutions
	done, err := c.SSM.DescribeMaintenanceWindowExecutions(ctx, &ssm.DescribeMaintenanceWindowExecutionsInput{WindowId: &id, MaxResults: aws.Int32(lastExecutions)})
	if err != nil {
		return err
	}
	a.Executions = done.WindowExecutions
	switch o.output {
	case "json":
		return writeJSON(s.Out, a)
	case "csv":
		rows := [][]string{{"WindowExecutionId", "Status", "StatusDetails", "StartTime", "EndTime"}}
		for _, e := range a.Executions {
			rows = append(rows, []string{aws.ToString(e.WindowExecutionId), string(e.Status), aws.ToString(e.StatusDetails), when(aws.ToTime(e.StartTime)), when(aws.ToTime(e.EndTime))})
		}
		return writeCSV(s.Out, rows)
	}
	var b bytes.Buffer
	writeWindow(&b, a, terminalWidth(s.Out))
	_, err = s.Out.Write(b.Bytes())
	return err
}

func targetsText(list []types.Target) string {
	parts := make([]string, len(list))
	for i, t := range list {
		parts[i] = aws.ToString(t.Key) + "=" + strings.Join(t.Values, ",")
	}
	return strings.Join(parts, " and ")
}

func writeWindow(w io.Writer, a windowAnswer, width int) {
	d := a.Window
	fields(w, nil,
		"Window", aws.ToString(d.WindowId), "Name", aws.ToString(d.Name), "Description", aws.ToString(d.Description),
		"Schedule", scheduleText(d.Schedule, d.ScheduleTimezone, d.ScheduleOffset), "From", aws.ToString(d.StartDate), "Until", aws.ToString(d.EndDate),
		"Open for", plural(int(aws.ToInt32(d.Duration)), "hour", "hours"), "Cutoff", fmt.Sprintf("%s before the end", plural(int(d.Cutoff), "hour", "hours")),
		"Next run", nextRun(d.NextExecutionTime, d.Enabled))
	if len(a.NextRuns) > 1 {
		rows := [][]string{{"THEN"}}
		for _, r := range a.NextRuns[1:] {
			rows = append(rows, []string{nextRun(r.ExecutionTime, true)})
		}
		fmt.Fprintln(w)
		writeColumns(w, rows, width, nil)
	}
	names := map[string]string{}
	if len(a.Targets) > 0 {
		rows := [][]string{{"TARGET", "NAME", "OWNER", "NODES"}}
		for _, t := range a.Targets {
			names[aws.ToString(t.WindowTargetId)] = targetsText(t.Targets)
			rows = append(rows, []string{aws.ToString(t.WindowTargetId), aws.ToString(t.Name), aws.ToString(t.OwnerInformation), targetsText(t.Targets)})
		}
		fmt.Fprintln(w)
		writeColumns(w, rows, width, nil)
	}
	fmt.Fprintln(w)
	if len(a.Tasks) == 0 {
		fmt.Fprintln(w, "No tasks are registered: the window opens and does nothing.")
	} else {
		rows := [][]string{{"PRIORITY", "TASK", "TYPE", "AT ONCE", "ERRORS", "AT CUTOFF", "ON"}}
		for _, t := range a.Tasks {
			var on []string
			for _, x := range t.Targets {
				for _, v := range x.Values {
					on = append(on, cmp.Or(names[v], v))
				}
			}
			rows = append(rows, []string{
				fmt.Sprint(t.Priority), aws.ToString(t.TaskArn), string(t.Type), aws.ToString(t.MaxConcurrency), aws.ToString(t.MaxErrors),
				map[bool]string{true: "cancel", false: "go on"}[t.CutoffBehavior == types.MaintenanceWindowTaskCutoffBehaviorCancelTask], strings.Join(on, "; "),
			})
		}
		writeColumns(w, rows, width, nil)
	}
	if len(a.Executions) > 0 {
		rows := [][]string{{"EXECUTION", "STARTED", "ENDED", "STATUS", "DETAILS"}}
		for _, e := range a.Executions {
			ended := ""
			if e.EndTime != nil {
				ended = stamp(*e.EndTime)
			}
			rows = append(rows, []string{aws.ToString(e.WindowExecutionId), stamp(aws.ToTime(e.StartTime)), ended, string(e.Status), aws.ToString(e.StatusDetails)})
		}
		fmt.Fprintln(w)
		writeColumns(w, rows, width, nil)
	}
}
