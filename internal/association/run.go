package association

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/store"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// nodesPerTurn bounds how many nodes one transaction works off.
const nodesPerTurn = 500

// missedPerTurn bounds how many missed instants one transaction records: what is due now waits behind them.
const missedPerTurn = 100

const softwareInventory = "aws:softwareInventory" // the AWS agent runs it for an association only

// turn is one work item at a locked association.
func (s *Service) turn(ctx context.Context, w store.WorkItem, fn func(tx *store.Tx, sc store.Scope, a *store.Association, d *definition) (wake []string, err error)) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	id, _, _ := strings.Cut(w.Subject, "/")
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		a, d, err := lock(tx, sc, id) // before the work item, as whoever changes the association does: else the two wait for each other
		deleted := awserr.Code(err) == "AssociationDoesNotExist"
		if err != nil && !deleted {
			return err
		}
		if ok, err := tx.FinishWork(w); err != nil || !ok || deleted {
			wake = nil
			return err
		}
		before := a
		if wake, err = fn(tx, sc, &a, d); err != nil || a == before {
			return err
		}
		return tx.SaveAssociation(sc, a)
	})
	if err == nil && len(wake) > 0 {
		s.Wake(wake)
	}
	return err
}

// Run begins the run of an association whose instant has come, and promises the next one. It is the handler of WorkRun. A
// run that is too late is recorded as missed; it is caught up at the next instant. Of several servers one begins a run:
// the association's row, which is locked, says which instant is next.
func (s *Service) Run(ctx context.Context, w store.WorkItem) error {
	return s.turn(ctx, w, func(tx *store.Tx, sc store.Scope, a *store.Association, d *definition) ([]string, error) {
		for range missedPerTurn {
			due := a.NextAt
			if due.IsZero() {
				return nil, nil
			}
			if tx.Now().Before(due) {
				return nil, tx.Schedule(WorkRun, sc, a.ID, due)
			}
			late := missed(d, due, tx.Now())
			from := due
			if !late {
				from = tx.Now() // what has come meanwhile is this run
			}
			if err := s.plan(tx, sc, a, d, from); err != nil {
				return nil, err
			}
			if !late {
				return s.enter(ctx, tx, sc, a, d, scheduled, due)
			}
			if err := s.passOver(tx, sc, a, due); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// Start begins a run that was asked for. It is the handler of WorkStart.
func (s *Service) Start(ctx context.Context, w store.WorkItem) error {
	return s.turn(ctx, w, func(tx *store.Tx, sc store.Scope, a *store.Association, d *definition) ([]string, error) {
		_, what, _ := strings.Cut(w.Subject, "/")
		why, nodeID, _ := strings.Cut(what, "/")
		switch cause(why) {
		case joined:
			return s.join(ctx, tx, sc, a, d, nodeID)
		case replan:
			return nil, s.plan(tx, sc, a, d, tx.Now())
		}
		return s.enter(ctx, tx, sc, a, d, cause(why), tx.Now())
	})
}

// Skip records that a run was passed over, as the server was restored from a copy and its original may have begun it. It
// is the handler of store.WorkAssociationSkipped.
func (s *Service) Skip(ctx context.Context, w store.WorkItem) error {
	return s.turn(ctx, w, func(tx *store.Tx, sc store.Scope, a *store.Association, d *definition) ([]string, error) {
		if _, what, once := strings.Cut(w.Subject, "/"); once {
			if why, _, _ := strings.Cut(what, "/"); cause(why) == joined || cause(why) == replan {
				return nil, nil
			}
		} else if err := s.plan(tx, sc, a, d, tx.Now()); err != nil {
			return nil, err
		}
		return nil, s.passOver(tx, sc, a, tx.Now())
	})
}

// passOver records a run that was due and did not take place.
func (s *Service) passOver(tx *store.Tx, sc store.Scope, a *store.Association, due time.Time) error {
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return err
	}
	return tx.InsertAssociationExecution(sc, store.AssociationExecution{
		AssociationID: a.ID, ID: id, Version: a.Version, Status: skipped, DetailedStatus: late, Counts: "{}", CreatedAt: due, EndedAt: tx.Now(),
	})
}

// enter begins a run of all targets as soon as admit lets it.
func (s *Service) enter(ctx context.Context, tx *store.Tx, sc store.Scope, a *store.Association, d *definition, why cause, due time.Time) (wake []string, err error) {
	open, err := tx.RunningAssociationExecutions(sc, a.ID)
	if err != nil {
		return nil, err
	}
	switch admit(why, len(open)) {
	case drop:
		return nil, nil
	case waitForEnds:
		a.RunAgain = true
		return nil, nil
	case beginAlone:
		for i := range open {
			more, err := s.timeOut(tx, sc, &open[i])
			if err != nil {
				return nil, err
			}
			wake = append(wake, more...)
		}
	}
	more, err := s.begin(ctx, tx, sc, a, d, "", due)
	return append(wake, more...), err
}

// join runs a node that has come to match by itself, and forgets one that does not match any more.
func (s *Service) join(ctx context.Context, tx *store.Tx, sc store.Scope, a *store.Association, d *definition, nodeID string) ([]string, error) {
	n, err := tx.Node(sc, nodeID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ok, err := s.reaches(tx, sc, d, n.ID)
	if err != nil {
		return nil, err
	}
	was, err := tx.AssociationNode(sc, a.ID, nodeID)
	found := &was
	if errors.Is(err, store.ErrNotFound) {
		found = nil
	} else if err != nil {
		return nil, err
	}
	switch {
	case !ok && found != nil && (!found.EndedAt.IsZero() || found.CommandID == ""):
		if err := s.forget(tx, sc, a.ID, nodeID); err != nil {
			return nil, err
		}
		return nil, s.sumUp(tx, sc, a, "")
	case !ok || !wanted(d, found):
		return nil, nil
	}
	return s.begin(ctx, tx, sc, a, d, nodeID, tx.Now())
}

// reaches reports whether an association's targets select a node.
func (s *Service) reaches(tx *store.Tx, sc store.Scope, d *definition, nodeID string) (bool, error) {
	node, err := s.seenBy(tx, sc, nodeID)
	return err == nil && matches(d, node), err
}

// seenBy is a node as targets see it.
func (s *Service) seenBy(tx *store.Tx, sc store.Scope, nodeID string) (n target.Node, err error) {
	n = target.Node{ID: nodeID, Tags: map[string]string{}, Types: []string{"AWS::SSM::ManagedInstance"}}
	rows, err := tx.Tags(sc, "ManagedInstance", nodeID)
	if err != nil {
		return n, err
	}
	for _, t := range rows {
		n.Tags[t.Key] = t.Value
	}
	n.Groups, err = s.Groups(tx, sc, nodeID)
	return n, err
}

func matches(d *definition, node target.Node) bool {
	var list []target.Target
	for _, t := range targets(d) {
		list = append(list, target.Target{Key: codec.Value(t.Key), Values: t.Values})
	}
	return target.Match(list, node)
}

// request is the SendCommand of a run of an association, with what State Manager fills into parameters.
func request(id, executionID string, d *definition, doc document.Version) *ssm.SendCommandInput {
	in := &ssm.SendCommandInput{
		DocumentName: d.Name, DocumentVersion: d.DocumentVersion, Targets: targets(d), Parameters: map[string][]string{},
		MaxConcurrency: new(cmp.Or(codec.Value(d.MaxConcurrency), "50")), MaxErrors: new(cmp.Or(codec.Value(d.MaxErrors), "100%")),
	}
	for name, values := range d.Parameters {
		in.Parameters[name] = values
	}
	if l := d.OutputLocation; l != nil && l.S3Location != nil {
		in.OutputS3BucketName, in.OutputS3KeyPrefix, in.OutputS3Region = l.S3Location.OutputS3BucketName, l.S3Location.OutputS3KeyPrefix, l.S3Location.OutputS3Region
	}
	given := func(name string) bool { return strings.Join(in.Parameters[name], "") != "" }
	takes := func(name string) bool { return doc.Parameters[name] != nil && !given(name) }
	if builtin, err := arn.DocumentName(codec.Value(d.Name)); err == nil && arn.IsAWSDocument(builtin) {
		// With an override of baselines the id says that its results count: that is for the owner of the association to say.
		if takes("AssociationId") && !given("BaselineOverride") {
			in.Parameters["AssociationId"] = []string{id}
		}
		if takes("SnapshotId") { // all nodes of a run are judged alike
			in.Parameters["SnapshotId"] = []string{executionID}
		}
	}
	return in
}

// begin makes an execution and sends its command: for all targets, or for one node. What cannot be sent ends it, and the
// association says why.
func (s *Service) begin(ctx context.Context, tx *store.Tx, sc store.Scope, a *store.Association, d *definition, nodeID string, due time.Time) (wake []string, err error) {
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	e := store.AssociationExecution{
		AssociationID: a.ID, ID: id, Version: a.Version, NodeID: nodeID, Status: pending, DetailedStatus: inProgress, Counts: "{}", CreatedAt: tx.Now(), CutoffAt: cutoff(d, due),
	}
	a.LastRunAt = tx.Now()
	if nodeID == "" {
		a.RunAgain = false // whatever comes of it
	}
	ctx = principal(ctx, sc)
	wake, err = s.send(ctx, tx, sc, a, d, &e)
	if known, ok := errors.AsType[*awserr.Error](err); ok {
		s.log.LogAttrs(ctx, slog.LevelWarn, "association could not run", slog.String("association", a.ID), slog.String("execution", e.ID), slog.Any("err", known))
		e.Status, e.DetailedStatus, e.EndedAt = failed, known.Code, tx.Now()
		a.Status = statusBlock(failed, known.Message, tx.Now())
	} else if err != nil {
		return nil, err
	}
	if err := tx.InsertAssociationExecution(sc, e); err != nil {
		return nil, err
	}
	if err := s.record(tx, sc, a, &e); err != nil {
		return nil, err
	}
	return wake, s.advance(tx, sc, a, d, &e)
}

// record keeps that a run was dispatched as an event of the service.
func (s *Service) record(tx *store.Tx, sc store.Scope, a *store.Association, e *store.AssociationExecution) error {
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return err
	}
	said := func(m map[string]string) json.RawMessage {
		b, err := json.Marshal(m)
		if err != nil {
			return nil // strings only: cannot fail
		}
		return b
	}
	return tx.AppendAudit(&audit.Record{
		EventVersion: "1.11", EventID: id, RequestID: e.ID, EventTime: tx.Now().UTC().Truncate(time.Second), EventSource: "ssm.amazonaws.com", EventName: "StartAssociationExecution",
		EventType: "AwsServiceEvent", EventCategory: "Management", Region: sc.Region, Account: sc.Account, SourceIP: "ssm.amazonaws.com", UserAgent: "ssm.amazonaws.com",
		UserIdentity: audit.UserIdentity{Type: "AWSService", AccountID: sc.Account}, ManagementEvent: true,
		RequestParameters: audit.Parameters(said(map[string]string{"associationId": a.ID, "associationVersion": text(e.Version), "documentName": a.DocumentName, "instanceId": e.NodeID})),
		ResponseElements:  audit.Parameters(said(map[string]string{"executionId": e.ID, "commandId": e.CommandID, "status": e.Status, "detailedStatus": e.DetailedStatus})),
	})
}

// send hands a run to Run Command, and what only a node's own agent can run to that. Errors of the API refuse the run.
func (s *Service) send(ctx context.Context, tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution) (wake []string, err error) {
	doc, err := s.commands.DocumentIn(ctx, tx, &ssm.SendCommandInput{DocumentName: d.Name, DocumentVersion: d.DocumentVersion})
	if err != nil {
		return nil, err
	}
	if e.NodeID == "" {
		a.RanVersion = doc.Number
	}
	in := request(a.ID, e.ID, d, doc)
	if e.NodeID != "" {
		in.Targets = []ssm.Target{{Key: new("InstanceIds"), Values: []string{e.NodeID}}}
	}
	nodes, err := s.commands.TargetsIn(tx, sc, in)
	if err != nil {
		return nil, err
	}
	if own := slices.ContainsFunc(doc.Steps, func(st document.Step) bool { return st.Action == softwareInventory }); own {
		alone, rest := apart(nodes)
		for _, n := range alone {
			if err := tx.PutAssociationNode(sc, store.AssociationNode{AssociationID: a.ID, NodeID: n.ID, Version: e.Version, ExecutionID: e.ID, Status: pending, DetailedStatus: pending, RunAt: tx.Now()}); err != nil {
				return nil, err
			}
		}
		if len(alone) > 0 {
			if nodes = rest; len(nodes) == 0 {
				return nil, nil
			}
			in.Targets = []ssm.Target{{Key: new("InstanceIds")}}
			for _, n := range rest {
				in.Targets[0].Values = append(in.Targets[0].Values, n.ID)
			}
		}
	}
	tags, err := tx.Tags(sc, resourceType, a.ID)
	if err != nil {
		return nil, err
	}
	rate, err := target.ParseMaxConcurrency(*in.MaxConcurrency)
	if err != nil {
		return nil, ssm.InvalidParameters("%v", err)
	}
	if comment := tagged(tags, CommentTag); comment != "" {
		in.Comment = new(firstRunes(comment, 100))
	}
	in.TimeoutSeconds = new(timeout(tags, max(1, rate.Of(len(nodes))), len(nodes)))
	c, wake, err := s.commands.SendIn(ctx, tx, in, WorkStep+":"+a.ID+"/"+e.ID+"/end", e.CutoffAt)
	if err != nil {
		return nil, err
	}
	e.CommandID = c.ID
	return wake, tx.BeginAssociationNodes(sc, *e, pending, pending)
}

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// apart parts the nodes whose own agents run what Run Command cannot from the others.
func apart(nodes []store.Node) (alone, rest []store.Node) {
	for _, n := range nodes {
		if n.AgentName == "amazon-ssm-agent" {
			alone = append(alone, n)
		} else {
			rest = append(rest, n)
		}
	}
	return alone, rest
}

// Step looks at an execution after something may have happened to it. It is the handler of WorkStep.
func (s *Service) Step(ctx context.Context, w store.WorkItem) error {
	return s.turn(ctx, w, func(tx *store.Tx, sc store.Scope, a *store.Association, d *definition) ([]string, error) {
		_, what, _ := strings.Cut(w.Subject, "/")
		id, _, _ := strings.Cut(what, "/")
		e, err := tx.AssociationExecution(sc, a.ID, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var wake []string
		if e.EndedAt.IsZero() && !e.CutoffAt.IsZero() && !tx.Now().Before(e.CutoffAt) {
			if wake, err = s.timeOut(tx, sc, &e); err != nil {
				return nil, err
			}
		}
		return wake, s.advance(tx, sc, a, d, &e)
	})
}

// timeOut ends an execution that has not ended: what of it was not delivered never is, and what runs is cancelled.
func (s *Service) timeOut(tx *store.Tx, sc store.Scope, e *store.AssociationExecution) (wake []string, err error) {
	counts, err := countsOf(tx, sc, e)
	if err != nil {
		return nil, err
	}
	for _, open := range []string{pending, inProgress} {
		if counts[open] > 0 {
			counts[timedOut] += counts[open]
			delete(counts, open)
		}
	}
	if e.CommandID != "" {
		if wake, err = s.commands.CancelIn(tx, sc, e.CommandID); err != nil {
			return nil, err
		}
	}
	e.Status, e.DetailedStatus, e.Counts, e.EndedAt = failed, timedOut, countsText(counts), tx.Now()
	return wake, tx.SaveAssociationExecution(sc, *e)
}

// countsOf counts the targets of an execution by their status, as they are now.
func countsOf(tx *store.Tx, sc store.Scope, e *store.AssociationExecution) (map[string]int64, error) {
	out := map[string]int64{}
	if e.CommandID != "" {
		list, err := tx.InvocationCounts(sc, e.CommandID)
		if err != nil {
			return nil, err
		}
		out = tally(list, outcomeOf(e))
	}
	own, err := tx.OwnRunCounts(sc, e.AssociationID, e.ID)
	for status, n := range tally(own, nil) {
		out[status] += n
	}
	return out, err
}

// outcomeOf is outcome for the targets of an execution.
func outcomeOf(e *store.AssociationExecution) func(details string) (string, string) {
	late := e.DetailedStatus == timedOut
	return func(details string) (string, string) { return outcome(details, late) }
}

// advance takes over what has ended of an execution, and ends it when all has. The association is locked.
func (s *Service) advance(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution) error {
	more, err := s.fold(tx, sc, a, d, e)
	if err != nil {
		return err
	}
	waits, moreOwn, err := s.own(tx, sc, a, d, e)
	if err != nil {
		return err
	}
	more = more || moreOwn
	if e.EndedAt.IsZero() && !more {
		over := !waits
		if e.CommandID != "" && over {
			c, err := tx.Command(sc, e.CommandID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			over = err != nil || c.CompletedCount >= c.TargetCount
		}
		if over {
			err = s.finish(tx, sc, a, e)
		} else {
			err = tx.Schedule(WorkStep, sc, a.ID+"/"+e.ID+"/tick", tx.Now().Add(tickEvery))
		}
		if err != nil {
			return err
		}
	}
	if !e.EndedAt.IsZero() && !more {
		if more, err = s.prune(tx, sc, a, d, e); err != nil {
			return err
		}
	}
	if more {
		if err := tx.Schedule(WorkStep, sc, a.ID+"/"+e.ID+"/more", tx.Now()); err != nil {
			return err
		}
	}
	if !e.EndedAt.IsZero() {
		if err := s.again(tx, sc, a); err != nil {
			return err
		}
	}
	refused := ""
	if e.CommandID == "" && e.Status == failed && e.DetailedStatus != timedOut {
		refused = e.DetailedStatus
	}
	return s.sumUp(tx, sc, a, refused)
}

// finish ends an execution whose targets have ended.
func (s *Service) finish(tx *store.Tx, sc store.Scope, a *store.Association, e *store.AssociationExecution) error {
	counts, err := countsOf(tx, sc, e)
	if err != nil {
		return err
	}
	e.Status, e.DetailedStatus = sum(counts)
	e.Counts, e.EndedAt = countsText(counts), tx.Now()
	if e.Status == success {
		a.LastSuccessAt = tx.Now()
	}
	return tx.SaveAssociationExecution(sc, *e)
}

// again promises the run of a change that waited for what ran, once that has ended, however it did.
func (s *Service) again(tx *store.Tx, sc store.Scope, a *store.Association) error {
	if !a.RunAgain {
		return nil
	}
	open, err := tx.RunningAssociationExecutions(sc, a.ID)
	if err != nil || len(open) > 0 {
		return err
	}
	return tx.Schedule(WorkStart, sc, a.ID+"/"+string(changed), tx.Now())
}

// prune forgets nodes on which an older version ran and which the association does not reach any more, once the run of
// the new one has ended. It reports whether there may be more of them.
func (s *Service) prune(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution) (more bool, err error) {
	if e.NodeID != "" || e.Version != a.Version {
		return false, nil
	}
	list, err := tx.OutdatedAssociationNodes(sc, a.ID, a.Version, nodesPerTurn)
	if err != nil {
		return false, err
	}
	gone := 0
	for _, n := range list {
		ok, err := s.reaches(tx, sc, d, n.NodeID)
		if err != nil {
			return false, err
		}
		if ok {
			continue
		}
		if err := s.forget(tx, sc, a.ID, n.NodeID); err != nil {
			return false, err
		}
		gone++
	}
	return len(list) == nodesPerTurn && gone > 0, nil
}

// fold takes over the ends of an execution's invocations, and reports whether there may be more of them.
func (s *Service) fold(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution) (more bool, err error) {
	if e.CommandID == "" {
		return false, nil
	}
	list, err := tx.EndedOnNodes(sc, a.ID, e.CommandID, nodesPerTurn)
	if err != nil {
		return false, err
	}
	of := outcomeOf(e)
	for _, v := range list {
		n := store.AssociationNode{AssociationID: a.ID, NodeID: v.NodeID, Version: e.Version, ExecutionID: e.ID, CommandID: e.CommandID, RunAt: e.CreatedAt, EndedAt: v.EndedAt}
		n.Status, n.DetailedStatus = of(v.StatusDetails)
		if err := s.take(tx, sc, a, d, e, n); err != nil {
			return false, err
		}
	}
	return len(list) == nodesPerTurn, nil
}

// take takes over the end on a node. One that does not match any more is forgotten. One that is there, and was not reached
// as others held it up or it came back too late for the command, is run by itself: nothing else would tell that it can be.
func (s *Service) take(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution, n store.AssociationNode) error {
	row, err := tx.Node(sc, n.NodeID)
	if errors.Is(err, store.ErrNotFound) { // it never was there, or is not any more: the run has failed on it
		return tx.PutAssociationNode(sc, n)
	}
	if err != nil {
		return err
	}
	if ok, err := s.reaches(tx, sc, d, row.ID); err != nil || !ok {
		return errors.Join(err, s.forget(tx, sc, a.ID, n.NodeID))
	}
	if wanted(d, &n) && tx.Now().Sub(row.LastPingAt) < onlineFor {
		due := tx.Now()
		if again := e.CreatedAt.Add(againAfter); e.NodeID != "" && again.After(due) { // it was tried by itself already
			due = again
		}
		if err := tx.Schedule(WorkStart, sc, a.ID+"/"+string(joined)+"/"+n.NodeID, due); err != nil {
			return err
		}
	}
	return s.put(tx, sc, a, d, n)
}

// put stores how an association stands on a node, and what that says of the node's compliance.
func (s *Service) put(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, n store.AssociationNode) error {
	if n.EndedAt.IsZero() || n.Status == skipped || codec.Value(d.SyncCompliance) == ssm.AssociationSyncComplianceManual {
		return tx.PutAssociationNode(sc, n)
	}
	status := "COMPLIANT"
	if n.Status != success {
		status = "NON_COMPLIANT"
	}
	item := ssm.ComplianceItemEntry{
		Id: &a.ID, Title: &a.Name, Severity: new(cmp.Or(codec.Value(d.ComplianceSeverity), "UNSPECIFIED")), Status: &status,
		Details: map[string]string{"DocumentName": a.DocumentName, "DocumentVersion": cmp.Or(a.RanVersion, codec.Value(d.DocumentVersion), "$DEFAULT")},
	}
	// The node's row first, as whoever deregisters it does: else the two wait for each other.
	err := s.compliance.PutItemIn(tx, sc, n.NodeID, resourceType, item, &ssm.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(n.EndedAt), ExecutionId: &n.ExecutionID, ExecutionType: new("Command")})
	if err != nil {
		return err
	}
	return tx.PutAssociationNode(sc, n)
}

// own ends what nodes' own agents do not report in time. It reports whether an execution waits for others of them, and
// whether there may be more to end.
func (s *Service) own(tx *store.Tx, sc store.Scope, a *store.Association, d *definition, e *store.AssociationExecution) (waits, more bool, err error) {
	over := !e.EndedAt.IsZero() || !tx.Now().Before(e.CreatedAt.Add(ownWithin))
	ended := 0
	for after := ""; ; {
		list, err := tx.OpenAssociationNodes(sc, a.ID, "", after, nodesPerTurn)
		if err != nil || len(list) == 0 {
			return false, false, err
		}
		for _, n := range list {
			after = n.NodeID
			switch {
			case n.ExecutionID != e.ID:
				continue
			case !over:
				return true, false, nil
			case ended == nodesPerTurn:
				return false, true, nil
			case n.DetailedStatus == pending:
				n.DetailedStatus = deliveryTimedOut
			default:
				n.DetailedStatus = timedOut
			}
			n.Status, n.EndedAt = timedOut, tx.Now()
			if err := s.put(tx, sc, a, d, n); err != nil {
				return false, false, err
			}
			ended++
		}
	}
}

// sumUp brings an association's overview in step with its nodes. refused is why the last run could not be sent; empty: it
// was.
func (s *Service) sumUp(tx *store.Tx, sc store.Scope, a *store.Association, refused string) error {
	list, err := tx.AssociationNodeCounts(sc, a.ID)
	if err != nil {
		return err
	}
	open, err := tx.RunningAssociationExecutions(sc, a.ID)
	if err != nil {
		return err
	}
	a.Overview = standing(tally(list, nil), len(open) > 0, refused).text()
	return nil
}
