package report

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"oakum.dev/arn"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// WorkDelete is the kind of work item that deletes inventory; the subject is the deletion's id.
const WorkDelete = "inventory-delete"

// deletePerTurn is how many nodes' data one turn of a deletion removes.
const deletePerTurn = 500

// DeleteInventory deletes what nodes have reported of a custom type, in the background, and with SchemaDeleteOption the type
// itself. What nodes report after the call stays.
func (s *Service) DeleteInventory(ctx context.Context, in *ssm.DeleteInventoryInput) (*ssm.DeleteInventoryOutput, error) {
	sc, name := store.ScopeOf(ctx), codec.Value(in.TypeName)
	if !inventory.IsCustom(name) {
		return nil, ssm.InvalidTypeNameException("Only custom inventory types can be deleted, not %s.", name)
	}
	out := &ssm.DeleteInventoryOutput{TypeName: &name}
	if codec.Value(in.DryRun) {
		err := s.store.View(ctx, func(tx *store.Tx) error {
			_, counts, err := deletable(tx, sc, name)
			out.DeletionSummary = deletionSummary(counts, counts)
			return err
		})
		if err != nil {
			return nil, err
		}
		return out, nil
	}
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	request := *in
	request.ClientToken = nil
	id, err = s.store.UpdateOnce(ctx, sc, "DeleteInventory", codec.Value(in.ClientToken), store.Hash(codec.Marshal(&request)), id, func(tx *store.Tx) error {
		return startDeletion(tx, sc, id, name, codec.Value(in.SchemaDeleteOption))
	})
	if errors.Is(err, store.ErrTokenMismatch) {
		return nil, ssm.InvalidInventoryRequestException("The client token was used before with another request.")
	}
	if err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.InventoryDeletion(sc, id)
		if err != nil {
			return err
		}
		w, err := wireDeletion(d)
		out.DeletionId, out.DeletionSummary = w.DeletionId, w.DeletionSummary
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// deletable is a custom type with the number of nodes that hold data of it.
func deletable(tx *store.Tx, sc store.Scope, name string) (store.CustomType, []store.VersionCount, error) {
	c, err := tx.CustomType(sc, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return c, nil, err
	}
	known := err == nil
	counts, err := tx.InventoryVersions(sc, name, tx.Now())
	if err == nil && !known && len(counts) == 0 {
		err = ssm.InvalidTypeNameException("There is no custom inventory type %s.", name)
	}
	return c, counts, err
}

func startDeletion(tx *store.Tx, sc store.Scope, id, name, option string) error {
	c, counts, err := deletable(tx, sc, name)
	if err != nil {
		return err
	}
	switch option {
	case ssm.InventorySchemaDeleteOptionDeleteSchema:
		err = tx.DeleteCustomType(sc, name)
	case ssm.InventorySchemaDeleteOptionDisableSchema:
		c.TypeName, c.DisabledVersion = name, c.SchemaVersion
		if c.Attributes == "" { // reported before types were kept
			c.Attributes = "[]"
			for _, v := range counts {
				if inventory.CompareVersions(v.Version, c.SchemaVersion) > 0 {
					c.SchemaVersion, c.DisabledVersion = v.Version, v.Version
				}
			}
		}
		err = tx.PutCustomType(sc, c)
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	d := store.InventoryDeletion{
		ID: id, TypeName: name, Status: ssm.InventoryDeletionStatusInProgress, Message: "Deletion is in progress", Counts: string(text), Remaining: string(text),
		StartedAt: tx.Now(), UpdatedAt: tx.Now(),
	}
	if err := tx.PutInventoryDeletion(sc, d); err != nil {
		return err
	}
	return tx.Schedule(WorkDelete, sc, id, tx.Now())
}

// Delete does one turn of a deletion.
func (s *Service) Delete(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.InventoryDeletion(sc, w.Subject)
		if errors.Is(err, store.ErrNotFound) {
			_, err = tx.FinishWork(w)
			return err
		}
		if err != nil {
			return err
		}
		n, err := tx.DeleteInventoryOfType(sc, d.TypeName, d.StartedAt, deletePerTurn)
		if err != nil {
			return err
		}
		remaining, err := tx.InventoryVersions(sc, d.TypeName, d.StartedAt)
		if err != nil {
			return err
		}
		text, err := json.Marshal(remaining)
		if err != nil {
			return err
		}
		d.Remaining, d.UpdatedAt = string(text), tx.Now()
		mine := false
		if n < deletePerTurn {
			d.Status, d.Message = ssm.InventoryDeletionStatusComplete, "Deletion is successful"
			mine, err = tx.FinishWork(w)
		} else {
			mine, err = tx.PostponeWork(w, tx.Now())
		}
		if err != nil {
			return err
		}
		if !mine { // another worker has it: what was deleted here comes back
			return errLost
		}
		if err := tx.PutInventoryDeletion(sc, d); err != nil {
			return err
		}
		if s.Changed != nil {
			return s.Changed(tx, sc)
		}
		return nil
	})
}

// errLost says that another worker has taken a work item over.
var errLost = errors.New("the work item was taken over by another worker")

func wireDeletion(d store.InventoryDeletion) (ssm.InventoryDeletionStatusItem, error) {
	var counts, remaining []store.VersionCount
	if err := errors.Join(json.Unmarshal([]byte(d.Counts), &counts), json.Unmarshal([]byte(d.Remaining), &remaining)); err != nil {
		return ssm.InventoryDeletionStatusItem{}, err
	}
	return ssm.InventoryDeletionStatusItem{
		DeletionId: &d.ID, TypeName: &d.TypeName, DeletionStartTime: codec.NewTime(d.StartedAt), LastStatus: &d.Status, LastStatusMessage: &d.Message,
		LastStatusUpdateTime: codec.NewTime(d.UpdatedAt), DeletionSummary: deletionSummary(counts, remaining),
	}, nil
}

func deletionSummary(counts, remaining []store.VersionCount) *ssm.InventoryDeletionSummary {
	left := map[string]int64{}
	for _, v := range remaining {
		left[v.Version] = v.Count
	}
	out := &ssm.InventoryDeletionSummary{SummaryItems: []ssm.InventoryDeletionSummaryItem{}}
	var total, rest int64
	for _, v := range counts {
		out.SummaryItems = append(out.SummaryItems, ssm.InventoryDeletionSummaryItem{Version: new(v.Version), Count: new(v.Count), RemainingCount: new(left[v.Version])})
		total += v.Count
		rest += left[v.Version]
	}
	out.TotalCount, out.RemainingCount = &total, &rest
	return out
}

// DescribeInventoryDeletions lists deletions of the last 30 days, the newest first, or tells of one.
func (s *Service) DescribeInventoryDeletions(ctx context.Context, in *ssm.DescribeInventoryDeletionsInput) (*ssm.DescribeInventoryDeletionsOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribeInventoryDeletions", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	var rows []store.InventoryDeletion
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		if in.DeletionId != nil {
			d, err := tx.InventoryDeletion(sc, *in.DeletionId)
			if errors.Is(err, store.ErrNotFound) {
				return ssm.InvalidDeletionIdException("The ID %s isn't that of an inventory deletion.", *in.DeletionId)
			}
			rows = []store.InventoryDeletion{d}
			return err
		}
		before, id := tx.Now().Add(time.Hour), pg.At(1)
		if at, err := strconv.ParseInt(pg.At(0), 10, 64); err == nil {
			before = time.UnixMicro(at)
		}
		rows, err = tx.InventoryDeletions(sc, before, id, pg.Size+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeInventoryDeletionsOutput{InventoryDeletions: []ssm.InventoryDeletionStatusItem{}}
	rows, out.NextToken = page.Cut(pg, rows, func(d store.InventoryDeletion) []string {
		return []string{strconv.FormatInt(d.StartedAt.UnixMicro(), 10), d.ID}
	})
	for _, d := range rows {
		w, err := wireDeletion(d)
		if err != nil {
			return nil, err
		}
		out.InventoryDeletions = append(out.InventoryDeletions, w)
	}
	return out, nil
}
