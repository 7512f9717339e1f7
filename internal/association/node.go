package association

import (
	"context"
	"errors"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// each reads all associations after a key, until fn has enough.
func each(tx *store.Tx, sc store.Scope, createdAfter time.Time, idAfter string, fn func(store.Association, *definition) (bool, error)) error {
	for {
		rows, err := tx.Associations(sc, createdAfter, idAfter, 200)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, a := range rows {
			d, err := decode(a.Body)
			if err != nil {
				return err
			}
			if more, err := fn(a, d); err != nil || !more {
				return err
			}
			createdAfter, idAfter = a.CreatedAt, a.ID
		}
	}
}

// NodeChanged looks which associations a node that is new, has come back or has other tags is to be run by, or has left.
// It is the handler of store.WorkNodeChanged.
func (s *Service) NodeChanged(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.FinishWork(w); err != nil || !ok {
			return err
		}
		n, err := tx.Node(sc, w.Subject)
		if errors.Is(err, store.ErrNotFound) {
			return tx.DeleteAssociationsOn(sc, w.Subject)
		}
		if err != nil || n.LastPingAt.IsZero() { // it is looked at when it is first heard of
			return err
		}
		node, err := s.seenBy(tx, sc, n.ID)
		if err != nil {
			return err
		}
		stands := map[string]*store.AssociationNode{}
		for after := ""; ; {
			list, err := tx.AssociationsOn(sc, n.ID, after, nodesPerTurn)
			if err != nil {
				return err
			}
			for i := range list {
				stands[list[i].AssociationID], after = &list[i], list[i].AssociationID
			}
			if len(list) < nodesPerTurn {
				break
			}
		}
		return each(tx, sc, time.Time{}, "", func(a store.Association, d *definition) (bool, error) {
			was := stands[a.ID]
			ok := matches(d, node)
			if ok && wanted(d, was) || !ok && was != nil {
				return true, tx.Schedule(WorkStart, sc, a.ID+"/"+string(joined)+"/"+n.ID, tx.Now())
			}
			return true, nil
		})
	})
}

// DocumentChanged runs the associations whose document has another version than they last ran. It is the handler of
// store.WorkDocumentChanged.
func (s *Service) DocumentChanged(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.FinishWork(w); err != nil || !ok {
			return err
		}
		list, err := tx.AssociationsOfDocument(sc, w.Subject)
		if err != nil {
			return err
		}
		for _, a := range list {
			d, err := decode(a.Body)
			if err != nil {
				return err
			}
			switch codec.Value(d.DocumentVersion) {
			case "", "$DEFAULT", "$LATEST":
			default:
				continue
			}
			if oneShot(d) || a.RanVersion == "" {
				continue
			}
			doc, err := s.commands.DocumentIn(principal(ctx, sc), tx, &ssm.SendCommandInput{DocumentName: d.Name, DocumentVersion: d.DocumentVersion})
			if _, refused := errors.AsType[*awserr.Error](err); refused { // it is gone: the next run says so
				continue
			}
			if err != nil {
				return err
			}
			if doc.Number == a.RanVersion {
				continue
			}
			if err := tx.Schedule(WorkStart, sc, a.ID+"/"+string(published), tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// on is an association that reaches a node, and how it stands there; nil: it has not run there yet.
type on struct {
	store.Association
	*definition
	stands *store.AssociationNode
}

// reaching lists the associations that reach a node by id, after the given one, at most limit.
func (s *Service) reaching(tx *store.Tx, sc store.Scope, nodeID string, after *page.Page) (out []on, err error) {
	if _, err := tx.Node(sc, nodeID); errors.Is(err, store.ErrNotFound) {
		return nil, ssm.InvalidInstanceId("Instances [[%s]] not in a valid state for account %s", nodeID, sc.Account)
	} else if err != nil {
		return nil, err
	}
	node, err := s.seenBy(tx, sc, nodeID)
	if err != nil {
		return nil, err
	}
	err = each(tx, sc, fromMicroseconds(after.At(0)), after.At(1), func(a store.Association, d *definition) (bool, error) {
		if !matches(d, node) {
			return true, nil
		}
		o := on{a, d, nil}
		n, err := tx.AssociationNode(sc, a.ID, nodeID)
		if err == nil {
			if err := current(tx, sc, &n); err != nil {
				return false, err
			}
			o.stands = &n
		} else if !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		out = append(out, o)
		return len(out) <= after.Size, nil
	})
	return out, err
}

// current lays over how an association stands on a node what its command has come to since.
func current(tx *store.Tx, sc store.Scope, n *store.AssociationNode) error {
	if n.CommandID == "" || !n.EndedAt.IsZero() {
		return nil
	}
	v, err := tx.Invocation(sc, n.CommandID, n.NodeID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	n.Status, n.DetailedStatus = outcome(v.StatusDetails, false)
	return err
}

func keyOf(a store.Association) []string { return []string{microseconds(a.CreatedAt), a.ID} }

// DescribeInstanceAssociationsStatus lists the associations that reach a node with how they stand there.
func (s *Service) DescribeInstanceAssociationsStatus(ctx context.Context, in *ssm.DescribeInstanceAssociationsStatusInput) (*ssm.DescribeInstanceAssociationsStatusOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeInstanceAssociationsStatus", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeInstanceAssociationsStatusOutput{InstanceAssociationStatusInfos: []ssm.InstanceAssociationStatusInfo{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		list, err := s.reaching(tx, sc, codec.Value(in.InstanceId), pg)
		if err != nil {
			return err
		}
		list, out.NextToken = page.Cut(pg, list, func(o on) []string { return keyOf(o.Association) })
		for _, o := range list {
			i := ssm.InstanceAssociationStatusInfo{
				AssociationId: new(o.ID), Name: o.definition.Name, DocumentVersion: new(orDefault(o.DocumentVersion)), AssociationVersion: new(text(o.Version)), InstanceId: in.InstanceId,
				Status: new(pending), DetailedStatus: new(associated), AssociationName: o.AssociationName,
			}
			if n := o.stands; n != nil {
				i.AssociationVersion, i.Status, i.DetailedStatus, i.ExecutionDate = new(text(n.Version)), &n.Status, &n.DetailedStatus, codec.NewTime(n.RunAt)
				i.ErrorCode, i.ExecutionSummary = &n.ErrorCode, &n.Summary
				if n.OutputURL != "" {
					i.OutputUrl = &ssm.InstanceAssociationOutputUrl{S3OutputUrl: &ssm.S3OutputUrl{OutputUrl: &n.OutputURL}}
				} else if l := o.OutputLocation; l != nil && l.S3Location != nil && n.CommandID != "" {
					i.OutputUrl = &ssm.InstanceAssociationOutputUrl{S3OutputUrl: &ssm.S3OutputUrl{OutputUrl: new(s.outputURL(l.S3Location, n))}}
				}
			}
			out.InstanceAssociationStatusInfos = append(out.InstanceAssociationStatusInfos, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// outputURL is where the output of a run on a node lies.
func (s *Service) outputURL(l *ssm.S3OutputLocation, n *store.AssociationNode) string {
	key := n.CommandID + "/" + n.NodeID
	if prefix := codec.Value(l.OutputS3KeyPrefix); prefix != "" {
		key = prefix + "/" + key
	}
	return s.OutputURL(codec.Value(l.OutputS3BucketName), key)
}

func orDefault(v *string) string {
	if codec.Value(v) == "" {
		return "$DEFAULT"
	}
	return *v
}

// DescribeEffectiveInstanceAssociations lists the associations that reach a node with the documents that they run.
func (s *Service) DescribeEffectiveInstanceAssociations(ctx context.Context, in *ssm.DescribeEffectiveInstanceAssociationsInput) (*ssm.DescribeEffectiveInstanceAssociationsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeEffectiveInstanceAssociations", in, in.NextToken, in.MaxResults, 5)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribeEffectiveInstanceAssociationsOutput{Associations: []ssm.InstanceAssociation{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		list, err := s.reaching(tx, sc, codec.Value(in.InstanceId), pg)
		if err != nil {
			return err
		}
		list, out.NextToken = page.Cut(pg, list, func(o on) []string { return keyOf(o.Association) })
		for _, o := range list {
			i := ssm.InstanceAssociation{AssociationId: new(o.ID), InstanceId: in.InstanceId, AssociationVersion: new(text(o.Version))}
			doc, err := s.commands.DocumentIn(principal(ctx, sc), tx, &ssm.SendCommandInput{DocumentName: o.definition.Name, DocumentVersion: o.DocumentVersion})
			if err == nil {
				i.Content = new(string(doc.Content()))
			} else if _, refused := errors.AsType[*awserr.Error](err); !refused {
				return err
			}
			out.Associations = append(out.Associations, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListInstanceAssociations answers a node's agent what it is to run by itself now. That is what Run Command cannot make it
// run; all else is sent as commands, and the server keeps the schedules. It never fails for want of an association: the
// AWS agent falls back to older calls then.
func (s *Service) ListInstanceAssociations(ctx context.Context, in *ssm.ListInstanceAssociationsInput) (*ssm.ListInstanceAssociationsOutput, error) {
	pg, err := s.pages.Open(ctx, "ListInstanceAssociations", in, in.NextToken, in.MaxResults, 20)
	if err != nil {
		return nil, err
	}
	sc, nodeID := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	out := &ssm.ListInstanceAssociationsOutput{Associations: []ssm.InstanceAssociationSummary{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for after := pg.At(0); ; {
			list, err := tx.AssociationsOn(sc, nodeID, after, nodesPerTurn)
			if err != nil || len(list) == 0 {
				return err
			}
			for i := range list {
				n := &list[i]
				if n.CommandID == "" && n.EndedAt.IsZero() {
					if len(out.Associations) == pg.Size {
						out.NextToken = pg.Next(after)
						return nil
					}
					item, err := s.ownRun(principal(ctx, sc), tx, sc, n)
					if err != nil {
						return err
					}
					if item != nil {
						out.Associations = append(out.Associations, *item)
					}
				}
				after = n.AssociationID
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ownRun is what a node's agent has to know to run an association by itself: no schedule, so that it runs it once.
func (s *Service) ownRun(ctx context.Context, tx *store.Tx, sc store.Scope, n *store.AssociationNode) (*ssm.InstanceAssociationSummary, error) {
	a, err := tx.Association(sc, n.AssociationID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := decode(a.Body)
	if err != nil {
		return nil, err
	}
	doc, err := s.commands.DocumentIn(ctx, tx, &ssm.SendCommandInput{DocumentName: d.Name, DocumentVersion: d.DocumentVersion})
	if _, refused := errors.AsType[*awserr.Error](err); refused {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	i := &ssm.InstanceAssociationSummary{
		AssociationId: &a.ID, AssociationName: d.AssociationName, AssociationVersion: new(text(n.Version)), Name: d.Name, DocumentVersion: &doc.Number, InstanceId: &n.NodeID,
		Checksum: new(store.Hash([]byte(string(doc.Content()) + a.Body))), DetailedStatus: &n.DetailedStatus, Parameters: d.Parameters, OutputLocation: d.OutputLocation,
	}
	if n.DetailedStatus != pending {
		i.LastExecutionDate = codec.NewTime(n.RunAt)
	}
	return i, nil
}

// UpdateInstanceAssociationStatus takes what a node's agent says of an association that it runs by itself. What it says
// of another one, or of a run that is over, is not taken.
func (s *Service) UpdateInstanceAssociationStatus(ctx context.Context, in *ssm.UpdateInstanceAssociationStatusInput) (*ssm.UpdateInstanceAssociationStatusOutput, error) {
	sc, nodeID, r := store.ScopeOf(ctx), codec.Value(in.InstanceId), in.ExecutionResult
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		a, d, err := lock(tx, sc, codec.Value(in.AssociationId))
		if err != nil {
			return err
		}
		n, err := tx.AssociationNode(sc, a.ID, nodeID)
		if errors.Is(err, store.ErrNotFound) {
			return gone()
		}
		if err != nil || n.CommandID != "" || !n.EndedAt.IsZero() {
			return err
		}
		n.ErrorCode, n.Summary = codec.Value(r.ErrorCode), firstRunes(codec.Value(r.ExecutionSummary), 510)
		if r.OutputUrl != nil && r.OutputUrl.S3OutputUrl != nil {
			n.OutputURL = codec.Value(r.OutputUrl.S3OutputUrl.OutputUrl)
		}
		switch status := codec.Value(r.Status); status {
		case success, failed, timedOut, skipped:
			n.Status, n.DetailedStatus, n.EndedAt = status, status, tx.Now()
		case inProgress:
			n.Status, n.DetailedStatus = pending, inProgress
		}
		if err := s.put(tx, sc, &a, d, n); err != nil {
			return err
		}
		if n.EndedAt.IsZero() {
			return nil
		}
		return tx.Schedule(WorkStep, sc, a.ID+"/"+n.ExecutionID+"/own", tx.Now())
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// forNode reports whether the caller may see an association: a node sees those that reach it.
func (s *Service) forNode(ctx context.Context, tx *store.Tx, sc store.Scope, d *definition) (bool, error) {
	p := iam.PrincipalFrom(ctx)
	if p.Kind != iam.Node {
		return true, nil
	}
	return s.reaches(tx, sc, d, p.NodeID)
}
