package window

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Open starts the execution of a window whose instant has come, and promises the next one. It is the handler of WorkOpen and,
// where it records that the instant was passed over, of store.WorkSkipped. Of several servers one starts an execution: the
// instant is unique among those of a window.
func (s *Service) Open(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.LockWindow(sc, w.Subject) // before the work item, as whoever changes the window does: else the two wait for each other
		deleted := errors.Is(err, store.ErrNotFound)
		if err != nil && !deleted {
			return err
		}
		if ok, err := tx.FinishWork(w); err != nil || !ok || deleted || row.NextAt.IsZero() {
			return err
		}
		d, err := decode[definition](row.Body)
		if err != nil {
			return err
		}
		if tx.Now().Before(row.NextAt) {
			return promise(tx, sc, &row)
		}
		for range missedPerTurn {
			due, from, skip := row.NextAt, row.NextAt, w.Kind == store.WorkSkipped
			if skip {
				from = tx.Now()
			}
			if err := plan(&row, d, from); err != nil {
				return err
			}
			if err := s.begin(tx, sc, &row, d, due, skip); err != nil {
				return err
			}
			if row.NextAt.IsZero() || tx.Now().Before(cutoffOf(d, row.NextAt)) {
				break
			}
		}
		if err := tx.SaveWindow(sc, row); err != nil {
			return err
		}
		return promise(tx, sc, &row)
	})
}

// missedPerTurn bounds how many missed instants one transaction records: after a long outage there may be thousands, and
// what is due now waits behind them.
const missedPerTurn = 100

// cutoffOf is the cutoff of an instant.
func cutoffOf(d *definition, due time.Time) time.Time {
	return due.Add(time.Duration(codec.Value(d.Duration)-codec.Value(d.Cutoff)) * time.Hour)
}

// begin makes the execution of one instant.
func (s *Service) begin(tx *store.Tx, sc store.Scope, w *store.Window, d *definition, due time.Time, skip bool) error {
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return err
	}
	e := store.WindowExecution{
		ID: id, WindowID: w.ID, DueAt: due, CutoffAt: cutoffOf(d, due), EndsByAt: due.Add(time.Duration(codec.Value(d.Duration)) * time.Hour), Status: inProgress, StartedAt: tx.Now(),
	}
	_, err = tx.RunningWindowExecution(sc, w.ID)
	switch {
	case skip:
		end(&e.Status, &e.StatusDetails, &e.EndedAt, timedOut, restored, tx.Now())
	case err == nil:
		end(&e.Status, &e.StatusDetails, &e.EndedAt, overlapping, overlaps, tx.Now())
	case !errors.Is(err, store.ErrNotFound):
		return err
	case !tx.Now().Before(e.CutoffAt):
		end(&e.Status, &e.StatusDetails, &e.EndedAt, timedOut, missed, tx.Now())
	}
	if fresh, err := tx.InsertWindowExecution(sc, e); err != nil || !fresh || !e.EndedAt.IsZero() {
		return err
	}
	tasks, err := s.tasks(tx, sc, &e)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if err := tx.InsertWindowTaskExecution(sc, t.WindowTaskExecution); err != nil {
			return err
		}
		for _, v := range t.Invocations {
			if err := tx.InsertWindowInvocation(sc, v); err != nil {
				return err
			}
		}
	}
	if err := tx.Schedule(WorkStep, sc, e.ID+"/cutoff", e.CutoffAt); err != nil {
		return err
	}
	return tx.Schedule(WorkStep, sc, e.ID+"/begin", tx.Now())
}

// asked is what an invocation was made for, as its Body keeps it.
type asked struct {
	Targets      []ssm.Target `json:"targets"`
	WindowTarget string       `json:"windowTargetId,omitempty"`
	TargetType   string       `json:"targetType,omitempty"`
	Owner        string       `json:"ownerInformation,omitempty"`
	Parameters   string       `json:"parameters,omitempty"` // what was sent, as the wire reports it
}

// name is what an invocation was made for, as people read it.
func (a *asked) name() string {
	if a.WindowTarget != "" {
		return "the window target " + a.WindowTarget
	}
	var parts []string
	for _, t := range a.Targets {
		parts = append(parts, codec.Value(t.Key)+"="+strings.Join(t.Values, ","))
	}
	return strings.Join(parts, " and ")
}

// tasks freezes the tasks of a window for one execution: by priority, and each with an invocation for every target.
func (s *Service) tasks(tx *store.Tx, sc store.Scope, e *store.WindowExecution) ([]running, error) {
	rows, err := tx.WindowParts(sc, e.WindowID, store.WindowTask)
	if err != nil {
		return nil, err
	}
	targets, err := tx.WindowParts(sc, e.WindowID, store.WindowTarget)
	if err != nil {
		return nil, err
	}
	out := make([]running, 0, len(rows))
	for _, p := range rows {
		d, err := decode[registeredTask](p.Body)
		if err != nil {
			return nil, err
		}
		t := running{Priority: codec.Value(d.Priority), Type: codec.Value(d.TaskType)}
		t.WindowTaskExecution = store.WindowTaskExecution{ExecutionID: e.ID, TaskID: p.ID, Body: p.Body, Status: pending}
		if t.ID, err = arn.NewUUID(s.random); err != nil {
			return nil, err
		}
		if t.Type != runCommand {
			end(&t.Status, &t.StatusDetails, &t.EndedAt, failed, fmt.Sprintf(unsupported, t.Type), tx.Now())
			t.StartedAt = tx.Now()
		}
		for _, a := range wanted(d, targets) {
			b, err := json.Marshal(a)
			if err != nil {
				return nil, err
			}
			v := store.WindowInvocation{ExecutionID: e.ID, TaskExecutionID: t.ID, Position: int64(len(t.Invocations)), Body: string(b), Status: pending}
			if v.ID, err = arn.NewUUID(s.random); err != nil {
				return nil, err
			}
			if ended(t.Status) {
				end(&v.Status, &v.StatusDetails, &v.EndedAt, t.Status, t.StatusDetails, tx.Now())
			}
			t.Invocations = append(t.Invocations, v)
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b running) int { return cmp.Compare(a.Priority, b.Priority) })
	for i := range out {
		out[i].Position = int64(i)
	}
	return out, nil
}

// wanted are the invocations of a task: one for each registered target that it names, and one for its node ids.
func wanted(d *registeredTask, targets []store.WindowPart) (out []asked) {
	for _, t := range d.Targets {
		if codec.Value(t.Key) != windowTargetIDs {
			out = append(out, asked{Targets: []ssm.Target{t}, TargetType: "INSTANCE"})
			continue
		}
		for _, id := range t.Values {
			a := asked{WindowTarget: id}
			for _, p := range targets {
				if r, err := decode[registeredTarget](p.Body); err == nil && p.ID == id {
					a.Targets, a.Owner, a.TargetType = r.Targets, codec.Value(r.OwnerInformation), codec.Value(r.ResourceType)
				}
			}
			out = append(out, a)
		}
	}
	return out
}

// load reads an execution with all that it does.
func load(tx *store.Tx, sc store.Scope, e store.WindowExecution) (*state, error) {
	x := &state{WindowExecution: e}
	rows, err := tx.WindowTaskExecutions(sc, e.ID)
	if err != nil {
		return nil, err
	}
	list, err := tx.WindowInvocations(sc, e.ID)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		d, err := decode[registeredTask](r.Body)
		if err != nil {
			return nil, err
		}
		t := running{WindowTaskExecution: r, Priority: codec.Value(d.Priority), Type: codec.Value(d.TaskType), CancelAtEnd: codec.Value(d.CutoffBehavior) == "CANCEL_TASK"}
		for _, v := range list {
			if v.TaskExecutionID == r.ID {
				t.Invocations = append(t.Invocations, v)
			}
		}
		x.Tasks = append(x.Tasks, t)
	}
	return x, nil
}

// Step moves an execution on after something has happened to it: its begin, its cutoff, or the end of a command. It is the
// handler of WorkStep.
func (s *Service) Step(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		id, _, _ := strings.Cut(w.Subject, "/")
		e, err := tx.LockWindowExecution(sc, id) // before the work item, as in Open
		swept := errors.Is(err, store.ErrNotFound)
		if err != nil && !swept {
			return err
		}
		if ok, err := tx.FinishWork(w); err != nil || !ok || swept || ended(e.Status) {
			return err
		}
		wake, err = s.advance(ctx, tx, sc, e)
		return err
	})
	if err == nil && len(wake) > 0 {
		s.Wake(wake)
	}
	return err
}

// advance runs the state machine of an execution, which is locked, until nothing is left to do now.
func (s *Service) advance(ctx context.Context, tx *store.Tx, sc store.Scope, e store.WindowExecution) (wake []string, err error) {
	x, err := load(tx, sc, e)
	if err != nil {
		return nil, err
	}
	before := x.clone()
	for i := range x.Tasks {
		for k := range x.Tasks[i].Invocations {
			if err := result(tx, sc, &x.Tasks[i].Invocations[k]); err != nil {
				return nil, err
			}
		}
	}
	for again := true; again; {
		again = false
		fx := step(x, tx.Now())
		for _, v := range fx.Cancel {
			more, err := s.commands.CancelIn(tx, sc, v.CommandID)
			if err != nil {
				return nil, err
			}
			wake = append(wake, more...)
			again = true
			if err := result(tx, sc, v); err != nil {
				return nil, err
			}
		}
		for _, v := range fx.Start {
			again = true
			more, err := s.start(ctx, tx, sc, x, v)
			if err != nil {
				return nil, err
			}
			wake = append(wake, more...)
		}
	}
	return wake, save(tx, sc, before, x)
}

// save stores what has changed.
func save(tx *store.Tx, sc store.Scope, before, x *state) error {
	for i := range x.Tasks {
		t, was := &x.Tasks[i], &before.Tasks[i]
		if t.WindowTaskExecution != was.WindowTaskExecution {
			if err := tx.SaveWindowTaskExecution(sc, t.WindowTaskExecution); err != nil {
				return err
			}
		}
		for k := range t.Invocations {
			if t.Invocations[k] != was.Invocations[k] {
				if err := tx.SaveWindowInvocation(sc, t.Invocations[k]); err != nil {
					return err
				}
			}
		}
	}
	if x.WindowExecution == before.WindowExecution {
		return nil
	}
	if ended(x.Status) {
		if err := tx.Unschedule(WorkStep, sc, x.ID+"/cutoff"); err != nil {
			return err
		}
	}
	return tx.SaveWindowExecution(sc, x.WindowExecution)
}

// ends maps the end of a command to that of an invocation. Source: AWS Systems Manager User Guide, "Maintenance windows".
var ends = map[string]string{"Success": success, "Failed": failed, "TimedOut": timedOut, "Cancelled": cancelled}

// result takes over the end of an invocation's command, if it has ended.
func result(tx *store.Tx, sc store.Scope, v *store.WindowInvocation) error {
	if v.CommandID == "" || ended(v.Status) {
		return nil
	}
	c, err := tx.Command(sc, v.CommandID)
	if errors.Is(err, store.ErrNotFound) {
		end(&v.Status, &v.StatusDetails, &v.EndedAt, failed, "The command is not there any more.", tx.Now())
		return nil
	}
	if err != nil {
		return err
	}
	status, over := ends[c.Status]
	if !over || c.CompletedCount < c.TargetCount {
		return nil
	}
	details := c.StatusDetails
	if c.TargetCount == 0 {
		var a asked
		if err := json.Unmarshal([]byte(v.Body), &a); err != nil {
			return err
		}
		status, details = failed, short("No node matches "+a.name()+".")
	}
	end(&v.Status, &v.StatusDetails, &v.EndedAt, status, details, tx.Now())
	return nil
}

// start sends the command of an invocation. What cannot be sent ends it, and says why.
func (s *Service) start(ctx context.Context, tx *store.Tx, sc store.Scope, x *state, v *store.WindowInvocation) (wake []string, err error) {
	i := slices.IndexFunc(x.Tasks, func(t running) bool { return t.ID == v.TaskExecutionID })
	t := &x.Tasks[i]
	d, err := decode[registeredTask](t.Body)
	if err != nil {
		return nil, err
	}
	var a asked
	if err := json.Unmarshal([]byte(v.Body), &a); err != nil {
		return nil, err
	}
	refuse := func(why string) ([]string, error) {
		end(&v.Status, &v.StatusDetails, &v.EndedAt, failed, short(why), tx.Now())
		return nil, nil
	}
	if len(a.Targets) == 0 {
		return refuse("The window target " + a.WindowTarget + " is not registered any more.")
	}
	in, err := request(x, t, d, v, &a)
	if err != nil {
		return nil, err
	}
	switch left, err := budget(tx, sc, t, d); {
	case errors.Is(err, errSpent):
		return refuse(errorLimit)
	case err != nil:
		return nil, err
	case left != "":
		in.MaxErrors = &left
	}
	if err := note(v, &a, in, nil); err != nil {
		return nil, err
	}
	role := cmp.Or(codec.Value(d.ServiceRoleArn), "arn:aws:iam::"+sc.Account+":role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM")
	ctx = iam.WithPrincipal(ctx, iam.Principal{Kind: iam.Administrator, Account: sc.Account, Region: sc.Region, ARN: role})
	var notAfter time.Time
	if t.CancelAtEnd { // no node begins it behind the cutoff, whenever it comes back
		notAfter = x.CutoffAt
	}
	c, wake, err := s.commands.SendIn(ctx, tx, in, WorkStep+":"+x.ID+"/"+v.ID, notAfter)
	if e, ok := errors.AsType[*awserr.Error](err); ok {
		return refuse(e.Message)
	}
	if err != nil {
		return nil, err
	}
	v.CommandID = c.ID
	nodes, err := tx.InvocationsOf(sc, c.ID, "", maxNamedNodes)
	if err != nil {
		return nil, err
	}
	if err := note(v, &a, in, nodes); err != nil {
		return nil, err
	}
	return wake, result(tx, sc, v)
}

// short cuts a text to what StatusDetails may have.
func short(s string) string {
	if len(s) <= 250 {
		return s
	}
	return strings.ToValidUTF8(s[:247], "") + "..."
}

// errSpent says that a task has had more errors than it may.
var errSpent = errors.New("the error limit was passed")

// budget is what earlier invocations of the task have left of its MaxErrors, where that is a number; empty where there was
// none. It is errSpent when one of them has passed the limit.
func budget(tx *store.Tx, sc store.Scope, t *running, d *registeredTask) (string, error) {
	limit, err := target.ParseMaxErrors(codec.Value(d.MaxErrors))
	if err != nil {
		return "", err
	}
	left, before := int64(limit.Of(1)), false
	for i := range t.Invocations {
		id := t.Invocations[i].CommandID
		if id == "" {
			continue
		}
		c, err := tx.Command(sc, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		if c.ErrorCount > c.ErrorLimit {
			return "", errSpent
		}
		left -= c.ErrorCount
		before = true
	}
	if !before || strings.HasSuffix(codec.Value(d.MaxErrors), "%") {
		return "", nil
	}
	return text(max(left, 0)), nil
}

// orchestration is the GUID that all tasks of one execution share, for snapshots: a name-based UUID of the execution's id.
// Source: RFC 9562, version 5.
func orchestration(executionID string) string {
	h := sha1.New()
	h.Write([]byte(strings.ReplaceAll(executionID, "-", "")))
	h.Write([]byte("aws:ORCHESTRATION_ID"))
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// request is the SendCommand of an invocation, with pseudo parameters replaced.
func request(x *state, t *running, d *registeredTask, v *store.WindowInvocation, a *asked) (*ssm.SendCommandInput, error) {
	in := &ssm.SendCommandInput{DocumentName: d.TaskArn, Targets: a.Targets, MaxConcurrency: d.MaxConcurrency, MaxErrors: d.MaxErrors, Parameters: map[string][]string{}}
	if p := d.TaskInvocationParameters; p != nil && p.RunCommand != nil {
		r := p.RunCommand
		in.Comment, in.DocumentHash, in.DocumentHashType, in.DocumentVersion = r.Comment, r.DocumentHash, r.DocumentHashType, r.DocumentVersion
		in.NotificationConfig, in.OutputS3BucketName, in.OutputS3KeyPrefix = r.NotificationConfig, r.OutputS3BucketName, r.OutputS3KeyPrefix
		in.ServiceRoleArn, in.TimeoutSeconds, in.CloudWatchOutputConfig = r.ServiceRoleArn, r.TimeoutSeconds, r.CloudWatchOutputConfig
		for name, values := range r.Parameters {
			in.Parameters[name] = values
		}
	} else {
		for name, value := range d.TaskParameters { // the deprecated form
			in.Parameters[name] = value.Values
		}
	}
	if l := d.LoggingInfo; l != nil && in.OutputS3BucketName == nil {
		in.OutputS3BucketName, in.OutputS3KeyPrefix = l.S3BucketName, l.S3KeyPrefix
	}
	replace := strings.NewReplacer(pairs(map[string]string{
		"WINDOW_ID": x.WindowID, "WINDOW_TASK_ID": t.TaskID, "WINDOW_TARGET_ID": a.WindowTarget, "WINDOW_EXECUTION_ID": x.ID, "TASK_EXECUTION_ID": t.ID,
		"INVOCATION_ID": v.ID, "TARGET_TYPE": a.TargetType, "aws:ORCHESTRATION_ID": orchestration(x.ID),
	})...)
	for name, values := range in.Parameters {
		list := make([]string, len(values))
		for i, s := range values {
			list[i] = replace.Replace(s)
		}
		in.Parameters[name] = list
	}
	// All tasks of an execution judge by one snapshot, whether their parameters say so or not.
	name, err := arn.DocumentName(codec.Value(d.TaskArn))
	if err == nil && document.Snapshots(name) && strings.Join(in.Parameters["SnapshotId"], "") == "" {
		in.Parameters["SnapshotId"] = []string{orchestration(x.ID)}
	}
	return in, nil
}

func pairs(values map[string]string) (out []string) {
	for name, value := range values {
		out = append(out, "{{"+name+"}}", value, "{{ "+name+" }}", value)
	}
	return out
}

// maxNamedNodes bounds how many nodes an invocation's Parameters name: its command knows them all.
const maxNamedNodes = 50

// note keeps what an invocation sends.
func note(v *store.WindowInvocation, a *asked, in *ssm.SendCommandInput, nodes []store.Invocation) error {
	a.Parameters = sent(in, nodes)
	b, err := json.Marshal(a)
	v.Body = string(b)
	return err
}

// sent is what an invocation's Parameters say on the wire.
func sent(in *ssm.SendCommandInput, nodes []store.Invocation) string {
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.NodeID
	}
	b, err := json.Marshal(map[string]any{
		"instanceIds": ids, "documentName": in.DocumentName, "targets": in.Targets, "maxConcurrency": in.MaxConcurrency, "maxErrors": in.MaxErrors, "parameters": in.Parameters,
	})
	if err != nil {
		return "{}" // strings only: cannot fail
	}
	return string(b)
}

// cancel asks a running execution to end.
func (s *Service) cancel(tx *store.Tx, sc store.Scope, id string) error {
	e, err := tx.LockWindowExecution(sc, id)
	if err != nil || ended(e.Status) || e.CancelRequested {
		return err
	}
	e.CancelRequested, e.Status = true, cancelling
	if err := tx.SaveWindowExecution(sc, e); err != nil {
		return err
	}
	return tx.Schedule(WorkStep, sc, id+"/cancel", tx.Now())
}

// CancelMaintenanceWindowExecution ends an execution: what has not started never starts, commands that run are cancelled.
func (s *Service) CancelMaintenanceWindowExecution(ctx context.Context, in *ssm.CancelMaintenanceWindowExecutionInput) (*ssm.CancelMaintenanceWindowExecutionOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.WindowExecutionId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		err := s.cancel(tx, sc, id)
		if errors.Is(err, store.ErrNotFound) {
			return executionGone(id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ssm.CancelMaintenanceWindowExecutionOutput{WindowExecutionId: &id}, nil
}
