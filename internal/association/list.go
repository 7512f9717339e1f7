package association

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/schedule"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func microseconds(t time.Time) string { return text(t.UnixMicro()) }

func fromMicroseconds(s string) time.Time {
	us, err := strconv.ParseInt(s, 10, 64)
	if err != nil || us <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// newest is the key before all others of a list that begins with the newest.
func newest(p *page.Page) (time.Time, string) {
	if p.At(0) == "" {
		return time.UnixMicro(1 << 62), ""
	}
	return fromMicroseconds(p.At(0)), p.At(1)
}

func someTime(t time.Time) *codec.Time {
	if t.IsZero() {
		return nil
	}
	return codec.NewTime(t)
}

// describe is an association as the API shows it.
func describe(a store.Association, d *definition) (*ssm.AssociationDescription, error) {
	o, err := overviewOf(a)
	if err != nil {
		return nil, err
	}
	var status ssm.AssociationStatus
	if err := codec.Unmarshal([]byte(a.Status), &status); err != nil {
		return nil, err
	}
	return &ssm.AssociationDescription{
		Name: d.Name, InstanceId: d.InstanceId, AssociationVersion: new(text(a.Version)), Date: codec.NewTime(a.CreatedAt), LastUpdateAssociationDate: codec.NewTime(a.ModifiedAt),
		Status: &status, Overview: o.wire(), DocumentVersion: new(orDefault(d.DocumentVersion)), AutomationTargetParameterName: d.AutomationTargetParameterName, Parameters: d.Parameters,
		AssociationId: &a.ID, Targets: targets(d), ScheduleExpression: d.ScheduleExpression, OutputLocation: d.OutputLocation, LastExecutionDate: someTime(a.LastRunAt),
		LastSuccessfulExecutionDate: someTime(a.LastSuccessAt), AssociationName: d.AssociationName, MaxErrors: d.MaxErrors, MaxConcurrency: d.MaxConcurrency,
		ComplianceSeverity: d.ComplianceSeverity, SyncCompliance: d.SyncCompliance, ApplyOnlyAtCronInterval: d.ApplyOnlyAtCronInterval, ScheduleOffset: d.ScheduleOffset,
		Duration: d.Duration, AlarmConfiguration: d.AlarmConfiguration, AssociationDispatchAssumeRole: d.AssociationDispatchAssumeRole,
	}, nil
}

// DescribeAssociation answers an association, as it is or as one of its versions had it.
func (s *Service) DescribeAssociation(ctx context.Context, in *ssm.DescribeAssociationInput) (*ssm.DescribeAssociationOutput, error) {
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeAssociationOutput{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		a, d, err := find(tx, sc, in.AssociationId, in.Name, in.InstanceId)
		if err != nil {
			return err
		}
		if ok, err := s.forNode(ctx, tx, sc, d); err != nil || !ok {
			return errors.Join(err, hidden(ok))
		}
		if v := codec.Value(in.AssociationVersion); v != "" && v != "$LATEST" && v != text(a.Version) {
			n, err := strconv.ParseInt(v, 10, 64)
			list, lerr := tx.AssociationVersions(sc, a.ID, n, 1)
			if lerr != nil {
				return lerr
			}
			if err != nil || len(list) == 0 || list[0].Version != n {
				return ssm.InvalidAssociationVersion("The association has no version %s.", v)
			}
			if d, err = decode(list[0].Body); err != nil {
				return err
			}
			a.Version = n
		}
		out.AssociationDescription, err = describe(a, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func hidden(visible bool) error {
	if visible {
		return nil
	}
	return gone()
}

// UpdateAssociationStatus sets the status of an association of the old form, with one node.
func (s *Service) UpdateAssociationStatus(ctx context.Context, in *ssm.UpdateAssociationStatusInput) (*ssm.UpdateAssociationStatusOutput, error) {
	sc := store.ScopeOf(ctx)
	out := &ssm.UpdateAssociationStatusOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		a, _, err := find(tx, sc, nil, in.Name, in.InstanceId)
		if err != nil {
			return err
		}
		a, d, err := lock(tx, sc, a.ID)
		if err != nil {
			return err
		}
		status := string(codec.Marshal(in.AssociationStatus))
		if status == a.Status {
			return ssm.StatusUnchanged("The updated status is the same as the current status.")
		}
		a.Status = status
		if err := tx.SaveAssociation(sc, a); err != nil {
			return err
		}
		out.AssociationDescription, err = describe(a, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// instant reads a date of a filter.
func instant(key, value string) (time.Time, error) {
	t, err := schedule.ParseDate(value)
	if err != nil {
		return t, awserr.Validation("%s: %s is not an ISO 8601 date and time", key, value)
	}
	return t, nil
}

// listFilter is a checked filter of ListAssociations.
type listFilter struct {
	key, value string
	at         time.Time
}

func listFilters(in []ssm.AssociationFilter) (out []listFilter, err error) {
	for _, f := range in {
		l := listFilter{key: codec.Value(f.Key), value: codec.Value(f.Value)}
		if l.key == ssm.AssociationFilterKeyLastExecutedBefore || l.key == ssm.AssociationFilterKeyLastExecutedAfter {
			if l.at, err = instant(l.key, l.value); err != nil {
				return nil, err
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// takes reports whether a filter lets an association through. node is the one that InstanceId names.
func (f listFilter) takes(a store.Association, d *definition, o overview, node target.Node) bool {
	switch f.key {
	case ssm.AssociationFilterKeyInstanceId:
		return matches(d, node)
	case ssm.AssociationFilterKeyName:
		return codec.Value(d.Name) == f.value || a.DocumentName == f.value
	case ssm.AssociationFilterKeyAssociationId:
		return a.ID == f.value
	case ssm.AssociationFilterKeyAssociationStatusName:
		return o.Status == f.value
	case ssm.AssociationFilterKeyLastExecutedBefore:
		return !a.LastRunAt.IsZero() && a.LastRunAt.Before(f.at)
	case ssm.AssociationFilterKeyLastExecutedAfter:
		return a.LastRunAt.After(f.at)
	case ssm.AssociationFilterKeyAssociationName:
		return a.Name == f.value
	case ssm.AssociationFilterKeyResourceGroupName:
		return slices.ContainsFunc(d.Targets, func(t ssm.Target) bool {
			return codec.Value(t.Key) == "resource-groups:Name" && slices.Contains(t.Values, f.value)
		})
	}
	return false
}

// ListAssociations lists associations by their creation. A node sees those that name it alone.
func (s *Service) ListAssociations(ctx context.Context, in *ssm.ListAssociationsInput) (*ssm.ListAssociationsOutput, error) {
	pg, err := s.pages.Open(ctx, "ListAssociations", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	filters, err := listFilters(in.AssociationFilterList)
	if err != nil {
		return nil, err
	}
	sc, caller := store.ScopeOf(ctx), iam.PrincipalFrom(ctx)
	out := &ssm.ListAssociationsOutput{Associations: []ssm.Association{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		nodes := make([]target.Node, len(filters))
		for i, f := range filters {
			if f.key == ssm.AssociationFilterKeyInstanceId {
				if _, err := tx.Node(sc, f.value); errors.Is(err, store.ErrNotFound) {
					return nil // nothing reaches it
				} else if err != nil {
					return err
				}
				if nodes[i], err = s.seenBy(tx, sc, f.value); err != nil {
					return err
				}
			}
		}
		var rows []store.Association
		err := each(tx, sc, fromMicroseconds(pg.At(0)), pg.At(1), func(a store.Association, d *definition) (bool, error) {
			o, err := overviewOf(a)
			if err != nil {
				return false, err
			}
			for i, f := range filters {
				if !f.takes(a, d, o, nodes[i]) {
					return true, nil
				}
			}
			if caller.Kind != iam.Node || a.NodeID == caller.NodeID {
				rows = append(rows, a)
			}
			return len(rows) <= pg.Size, nil
		})
		if err != nil {
			return err
		}
		rows, out.NextToken = page.Cut(pg, rows, keyOf)
		for _, a := range rows {
			d, err := decode(a.Body)
			if err != nil {
				return err
			}
			o, err := overviewOf(a)
			if err != nil {
				return err
			}
			out.Associations = append(out.Associations, ssm.Association{
				Name: d.Name, InstanceId: d.InstanceId, AssociationId: new(a.ID), AssociationVersion: new(text(a.Version)), DocumentVersion: d.DocumentVersion, Targets: targets(d),
				LastExecutionDate: someTime(a.LastRunAt), Overview: o.wire(), ScheduleExpression: d.ScheduleExpression, AssociationName: d.AssociationName,
				ScheduleOffset: d.ScheduleOffset, Duration: d.Duration,
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListAssociationVersions lists the versions of an association, oldest first.
func (s *Service) ListAssociationVersions(ctx context.Context, in *ssm.ListAssociationVersionsInput) (*ssm.ListAssociationVersionsOutput, error) {
	pg, err := s.pages.Open(ctx, "ListAssociationVersions", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.ListAssociationVersionsOutput{AssociationVersions: []ssm.AssociationVersionInfo{}}
	from, _ := strconv.ParseInt(pg.At(0), 10, 64) // of a token of ours, or of none
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := read(tx, sc, codec.Value(in.AssociationId)); err != nil {
			return err
		}
		rows, err := tx.AssociationVersions(sc, *in.AssociationId, from+1, pg.Size+1)
		if err != nil {
			return err
		}
		rows, out.NextToken = page.Cut(pg, rows, func(v store.AssociationVersion) []string { return []string{text(v.Version)} })
		for _, v := range rows {
			d, err := decode(v.Body)
			if err != nil {
				return err
			}
			out.AssociationVersions = append(out.AssociationVersions, ssm.AssociationVersionInfo{
				AssociationId: in.AssociationId, AssociationVersion: new(text(v.Version)), CreatedDate: codec.NewTime(v.CreatedAt), Name: d.Name,
				DocumentVersion: new(orDefault(d.DocumentVersion)), Parameters: d.Parameters, Targets: targets(d), ScheduleExpression: d.ScheduleExpression, OutputLocation: d.OutputLocation,
				AssociationName: d.AssociationName, MaxErrors: d.MaxErrors, MaxConcurrency: d.MaxConcurrency, ComplianceSeverity: d.ComplianceSeverity, SyncCompliance: d.SyncCompliance,
				ApplyOnlyAtCronInterval: d.ApplyOnlyAtCronInterval, ScheduleOffset: d.ScheduleOffset, Duration: d.Duration,
				AssociationDispatchAssumeRole: d.AssociationDispatchAssumeRole,
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// executionFilter is a checked filter of DescribeAssociationExecutions.
type executionFilter struct {
	key, value, how string
	at              time.Time
}

func executionFilters(in []ssm.AssociationExecutionFilter) (out []executionFilter, err error) {
	for _, f := range in {
		l := executionFilter{key: codec.Value(f.Key), value: codec.Value(f.Value), how: codec.Value(f.Type)}
		if l.key == ssm.AssociationExecutionFilterKeyCreatedTime {
			if l.at, err = instant(l.key, l.value); err != nil {
				return nil, err
			}
		} else if l.how != ssm.AssociationFilterOperatorTypeEqual {
			return nil, awserr.Validation("The filter %s takes the type EQUAL only, not %s.", l.key, l.how)
		}
		out = append(out, l)
	}
	return out, nil
}

func (f executionFilter) takes(e store.AssociationExecution) bool {
	switch f.key {
	case ssm.AssociationExecutionFilterKeyExecutionId:
		return e.ID == f.value
	case ssm.AssociationExecutionFilterKeyStatus:
		return e.Status == f.value || e.DetailedStatus == f.value
	}
	at := codec.NewTime(e.CreatedAt).Time // as it is told
	switch f.how {
	case ssm.AssociationFilterOperatorTypeLessThan:
		return at.Before(f.at)
	case ssm.AssociationFilterOperatorTypeGreaterThan:
		return at.After(f.at)
	}
	if !strings.ContainsAny(f.value, ".,") { // who leaves out the fraction means the second
		at = at.Truncate(time.Second)
	}
	return at.Equal(f.at)
}

// DescribeAssociationExecutions lists the runs of an association, newest first.
func (s *Service) DescribeAssociationExecutions(ctx context.Context, in *ssm.DescribeAssociationExecutionsInput) (*ssm.DescribeAssociationExecutionsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeAssociationExecutions", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	filters, err := executionFilters(in.Filters)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeAssociationExecutionsOutput{AssociationExecutions: []ssm.AssociationExecution{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		a, _, err := read(tx, sc, codec.Value(in.AssociationId))
		if err != nil {
			return err
		}
		var rows []store.AssociationExecution
		before, id := newest(pg)
		for len(rows) <= pg.Size {
			list, err := tx.AssociationExecutions(sc, a.ID, before, id, 200)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				before, id = e.CreatedAt, e.ID
				if !slices.ContainsFunc(filters, func(f executionFilter) bool { return !f.takes(e) }) {
					rows = append(rows, e)
				}
			}
		}
		rows, out.NextToken = page.Cut(pg, rows, func(e store.AssociationExecution) []string { return []string{microseconds(e.CreatedAt), e.ID} })
		for _, e := range rows {
			if e.EndedAt.IsZero() {
				counts, err := countsOf(tx, sc, &e)
				if err != nil {
					return err
				}
				e.Counts = countsText(counts)
			}
			out.AssociationExecutions = append(out.AssociationExecutions, ssm.AssociationExecution{
				AssociationId: in.AssociationId, AssociationVersion: new(text(e.Version)), ExecutionId: new(e.ID), Status: new(e.Status), DetailedStatus: new(e.DetailedStatus),
				CreatedTime: codec.NewTime(e.CreatedAt), LastExecutionDate: codec.NewTime(e.CreatedAt), ResourceCountByStatus: new(e.Counts),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeAssociationExecutionTargets lists the nodes of a run with what became of it there, by id.
func (s *Service) DescribeAssociationExecutionTargets(ctx context.Context, in *ssm.DescribeAssociationExecutionTargetsInput) (*ssm.DescribeAssociationExecutionTargetsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeAssociationExecutionTargets", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeAssociationExecutionTargetsOutput{AssociationExecutionTargets: []ssm.AssociationExecutionTarget{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := read(tx, sc, codec.Value(in.AssociationId)); err != nil {
			return err
		}
		e, err := tx.AssociationExecution(sc, *in.AssociationId, codec.Value(in.ExecutionId))
		if errors.Is(err, store.ErrNotFound) {
			return ssm.AssociationExecutionDoesNotExist("The execution %s does not exist.", codec.Value(in.ExecutionId))
		}
		if err != nil {
			return err
		}
		rows, err := targetsOf(tx, sc, &e, pg, in.Filters)
		if err != nil {
			return err
		}
		rows, out.NextToken = page.Cut(pg, rows, func(n store.AssociationNode) []string { return []string{n.NodeID} })
		for _, n := range rows {
			t := ssm.AssociationExecutionTarget{
				AssociationId: in.AssociationId, AssociationVersion: new(text(e.Version)), ExecutionId: in.ExecutionId, ResourceId: new(n.NodeID), ResourceType: new(managedInstance),
				Status: new(n.Status), DetailedStatus: new(n.DetailedStatus), LastExecutionDate: codec.NewTime(n.RunAt),
			}
			if n.CommandID != "" {
				t.OutputSource = &ssm.OutputSource{OutputSourceId: new(n.CommandID), OutputSourceType: new("RunCommand")}
			}
			out.AssociationExecutionTargets = append(out.AssociationExecutionTargets, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

const managedInstance = "ManagedInstance"

func takesTarget(filters []ssm.AssociationExecutionTargetsFilter, n store.AssociationNode) bool {
	for _, f := range filters {
		v := codec.Value(f.Value)
		switch codec.Value(f.Key) {
		case "Status":
			if n.Status != v && n.DetailedStatus != v {
				return false
			}
		case "ResourceId":
			if n.NodeID != v {
				return false
			}
		case "ResourceType":
			if v != managedInstance {
				return false
			}
		}
	}
	return true
}

// targetsOf lists the nodes of an execution after the page's key, one more than the page holds: those of its command, and
// those whose own agents run it.
func targetsOf(tx *store.Tx, sc store.Scope, e *store.AssociationExecution, pg *page.Page, filters []ssm.AssociationExecutionTargetsFilter) ([]store.AssociationNode, error) {
	var rows []store.AssociationNode
	of := outcomeOf(e)
	for after := pg.At(0); e.CommandID != "" && len(rows) <= pg.Size; {
		list, err := tx.InvocationsOf(sc, e.CommandID, after, 500)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		for _, v := range list {
			after = v.NodeID
			n := store.AssociationNode{NodeID: v.NodeID, CommandID: v.CommandID, RunAt: e.CreatedAt}
			if n.Status, n.DetailedStatus = of(v.StatusDetails); takesTarget(filters, n) {
				rows = append(rows, n)
			}
		}
	}
	for after := pg.At(0); ; {
		list, err := tx.OwnRuns(sc, e.AssociationID, e.ID, after, 500)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		for _, n := range list {
			if after = n.NodeID; takesTarget(filters, n) {
				rows = append(rows, n)
			}
		}
	}
	slices.SortFunc(rows, func(a, b store.AssociationNode) int { return strings.Compare(a.NodeID, b.NodeID) })
	return rows, nil
}
