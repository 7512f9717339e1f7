package server

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"oakum.dev/internal/association"
	"oakum.dev/internal/command"
	"oakum.dev/internal/datasync"
	"oakum.dev/internal/report"
	"oakum.dev/internal/store"
	"oakum.dev/internal/window"
)

// Periods of the background work.
const (
	flushEvery   = 5 * time.Second
	workEvery    = time.Second
	workLease    = time.Minute
	workBatch    = 50
	retainEvery  = time.Hour
	sweepEvery   = 30 * time.Second // of control channels
	reloadEvery  = 2 * time.Second  // of waiting messages, beside other servers
	maxAttempts  = 3                // after that an item waits for an operator, out of the others' way
	quarantine   = 24 * time.Hour
	expireRetry  = 15 * time.Second
	sweepPerTurn = 2000
)

// Retention of what grows. Source: AWS Systems Manager keeps command history 30 days, snapshots 3 days.
const (
	keepCommands     = 30 * 24 * time.Hour
	keepWindows      = 400 * 24 * time.Hour // executions of maintenance windows
	keepAssociations = 30 * 24 * time.Hour  // executions of associations, and the associations of Patch now
	keepSnapshots    = 4 * 24 * time.Hour
	keepTokens       = 48 * time.Hour
	keepHistory      = 90 * 24 * time.Hour
	keepAudit        = 400 * 24 * time.Hour
	keepAvailable    = 90 * 24 * time.Hour // of versions that no node reports, as long as the scans that name them
	keepDeletions    = 30 * 24 * time.Hour // records of deletions of inventory
	keepContent      = 24 * time.Hour      // of blobs that nothing refers to
)

func (s *Server) background(ctx context.Context, g *errgroup.Group) {
	every := func(period time.Duration, soon <-chan struct{}, name string, fn func(context.Context) error) {
		g.Go(func() error {
			t := time.NewTicker(period)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-t.C:
				case <-soon:
				}
				if err := fn(ctx); err != nil && ctx.Err() == nil {
					s.log.Error("background work failed", "work", name, "err", err)
				}
			}
		})
	}
	every(flushEvery, nil, "heartbeats", s.nodes.Flush)
	every(workEvery, s.soon, "due work", s.work)
	every(retainEvery, nil, "retention", s.retain)
	every(sweepEvery, nil, "control channels", s.hub.Sweep)
	if s.store.Engine() == "postgres" {
		every(reloadEvery, nil, "messages", s.hub.Load)
		every(sweepEvery, nil, "deregistered nodes", s.reconcile)
	}
}

// workSoon has due work looked for before the next turn.
func (s *Server) workSoon() {
	select {
	case s.soon <- struct{}{}:
	default: // it is looked for already
	}
}

// reconcile looks back far enough for a server whose clock is a little off.
func (s *Server) reconcile(ctx context.Context) error {
	return s.nodes.Reconcile(ctx, s.cfg.Now().Add(-4*sweepEvery))
}

// work does what is due. An item whose handling fails comes back as retryAfter says; the queue behind it goes on.
func (s *Server) work(ctx context.Context) error {
	for {
		var items []store.WorkItem
		err := s.store.Update(ctx, func(tx *store.Tx) (err error) { items, err = tx.ClaimWork(workLease, workBatch); return err })
		if err != nil || len(items) == 0 {
			return err
		}
		for _, w := range items {
			if err := s.handle(ctx, w); err != nil {
				s.log.Error("work item failed", "kind", w.Kind, "subject", w.Subject, "attempt", w.Attempts, "err", err)
				if wait := retryAfter(w); wait > 0 {
					err := s.store.Update(ctx, func(tx *store.Tx) error {
						_, err := tx.PostponeWork(w, tx.Now().Add(wait))
						return err
					})
					if err != nil {
						return err
					}
				}
			}
		}
	}
}

// retryAfter is when a failed item is tried again; 0 leaves it to its lease. A command's end, a maintenance window and an
// association are promises with deadlines of their own: they are tried until they succeed. Anything else that has failed three times waits for a
// day, out of the others' way.
func retryAfter(w store.WorkItem) time.Duration {
	switch {
	case w.Kind == command.WorkExpire, w.Kind == window.WorkOpen, w.Kind == store.WorkSkipped, w.Kind == window.WorkStep,
		w.Kind == report.WorkDelete, w.Kind == datasync.WorkSync, strings.HasPrefix(w.Kind, "association-"):
		return expireRetry
	case w.Attempts >= maxAttempts:
		return quarantine
	}
	return 0
}

func (s *Server) handle(ctx context.Context, w store.WorkItem) error {
	switch w.Kind {
	case command.WorkExpire:
		return s.commands.Expire(ctx, w)
	case window.WorkOpen, store.WorkSkipped:
		return s.windows.Open(ctx, w)
	case window.WorkStep:
		return s.windows.Step(ctx, w)
	case report.WorkDelete:
		return s.reports.Delete(ctx, w)
	case datasync.WorkSync:
		return s.syncs.Sync(ctx, w)
	case association.WorkRun:
		return s.associations.Run(ctx, w)
	case association.WorkStart:
		return s.associations.Start(ctx, w)
	case association.WorkStep:
		return s.associations.Step(ctx, w)
	case association.WorkGone:
		return s.associations.Gone(ctx, w)
	case store.WorkAssociationSkipped:
		return s.associations.Skip(ctx, w)
	case store.WorkNodeChanged:
		return s.associations.NodeChanged(ctx, w)
	case store.WorkDocumentChanged:
		return s.associations.DocumentChanged(ctx, w)
	}
	s.log.Error("unknown kind of work", "kind", w.Kind)
	return s.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.PostponeWork(w, tx.Now().Add(quarantine))
		return err
	})
}

// retain removes what is older than its retention, in pieces that do not hold up others.
func (s *Server) retain(ctx context.Context) error {
	now := s.cfg.Now()
	for _, sweep := range []func(*store.Tx) (int64, error){
		func(tx *store.Tx) (int64, error) { return tx.DeleteOldSnapshots(now.Add(-keepSnapshots), sweepPerTurn) },
		func(tx *store.Tx) (int64, error) { return tx.DeleteOldTokens(now.Add(-keepTokens), sweepPerTurn) },
		func(tx *store.Tx) (int64, error) { return tx.DeleteOldHistory(now.Add(-keepHistory), sweepPerTurn) },
		func(tx *store.Tx) (int64, error) { return tx.DeleteOldAvailable(now.Add(-keepAvailable), sweepPerTurn) },
		func(tx *store.Tx) (int64, error) {
			return tx.DeleteOldAvailableSets(now.Add(-report.Relearn), sweepPerTurn)
		},
		func(tx *store.Tx) (int64, error) { return tx.DeleteOldAudit(now.Add(-keepAudit), sweepPerTurn) },
		func(tx *store.Tx) (int64, error) { return tx.DeleteExpiredMessages(sweepPerTurn) },
		func(tx *store.Tx) (int64, error) { return deleteOldCommands(tx, now.Add(-keepCommands)) },
		func(tx *store.Tx) (int64, error) {
			return tx.DeleteOldWindowExecutions(now.Add(-keepWindows), sweepPerTurn)
		},
		func(tx *store.Tx) (int64, error) {
			return tx.DeleteOldInventoryDeletions(now.Add(-keepDeletions), sweepPerTurn)
		},
		func(tx *store.Tx) (int64, error) {
			return tx.DeleteOldAssociationExecutions(now.Add(-keepAssociations), sweepPerTurn)
		},
		func(tx *store.Tx) (int64, error) {
			return s.associations.Sweep(tx, now.Add(-keepAssociations), sweepPerTurn)
		},
		func(tx *store.Tx) (int64, error) { return tx.SweepContent(now.Add(-keepContent), sweepPerTurn) },
	} {
		for ctx.Err() == nil {
			var n int64
			if err := s.store.Update(ctx, func(tx *store.Tx) (err error) { n, err = sweep(tx); return err }); err != nil {
				return err
			}
			if n < sweepPerTurn {
				break
			}
		}
	}
	return ctx.Err()
}

func deleteOldCommands(tx *store.Tx, before time.Time) (int64, error) {
	const perTurn = 50 // a command may have many invocations
	list, err := tx.OldCommands(before, perTurn)
	if err != nil {
		return 0, err
	}
	for _, c := range list {
		if err := tx.DeleteCommand(store.Scope{Account: c.Account, Region: c.Region}, c.ID); err != nil {
			return 0, err
		}
	}
	if len(list) == perTurn {
		return sweepPerTurn, nil // there is more
	}
	return 0, nil
}
