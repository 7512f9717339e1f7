// Package command is Run Command: it accepts commands, hands them to nodes under rate control, takes their
// replies, cancels, and ends every invocation by its deadline. The state machine is Step in step.go; this
// package's other files are the thin shells around it. Start with Service.
package command

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/internal/origin"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
)

// WorkExpire is the kind of the work item that ends a command at its ExpiresAfter.
const WorkExpire = "command-expire"

// Service serves Run Command. It is safe for concurrent use.
type Service struct {
	store     *store.Store
	documents Documents
	pages     page.Book
	random    io.Reader
	now       func() time.Time
	log       *slog.Logger

	// Wake is told which nodes have got a message, after the commit; nil is allowed.
	Wake func(nodeIDs []string)
	// Connected tells which nodes can be reached now, by id; nil: all of them.
	Connected func(nodes []store.Node) map[string]bool
	// Programs are those that documents tell nodes to fetch.
	Programs origin.Sums
	// Groups lists the nodes that a resource group holds, of some resource types or of all; false: there is no such group.
	Groups func(tx *store.Tx, sc store.Scope, name string, types []string) (nodeIDs []string, ok bool, err error)
	// OutputURL is the address of an object in a bucket, for StandardOutputUrl.
	OutputURL func(bucket, key string) string
}

// New returns the service.
func New(st *store.Store, documents Documents, pages page.Book, random io.Reader, now func() time.Time, log *slog.Logger) *Service {
	return &Service{
		store: st, documents: documents, pages: pages, random: random, now: now, log: log, Wake: func([]string) {},
		Groups:    func(*store.Tx, store.Scope, string, []string) ([]string, bool, error) { return nil, false, nil },
		OutputURL: func(bucket, key string) string { return "s3://" + bucket + "/" + key },
	}
}

// sendID is the id of the message that carries a command to a node; agents take the command id from it.
func sendID(commandID, nodeID string) string { return "aws.ssm." + commandID + "." + nodeID }

// change runs events of one command in one transaction: lock the command, step each invocation, carry out the
// effects, claim more. It returns the nodes that got a message.
type change struct {
	tx    *store.Tx
	sc    store.Scope
	c     store.Command
	wake  []string
	mint  func() (string, error)
	steps int
}

func (s *Service) open(tx *store.Tx, sc store.Scope, id string) (*change, error) {
	c, err := tx.LockCommand(sc, id)
	if err != nil {
		return nil, err
	}
	return &change{tx: tx, sc: sc, c: c, mint: func() (string, error) { return arn.NewUUID(s.random) }}, nil
}

// step applies one event to one invocation and stores it.
func (h *change) step(v store.Invocation, e Event) (Effects, error) {
	c, next, fx := Step(h.c, v, e, h.tx.Now())
	h.c = c
	h.steps++
	if next != v {
		if err := h.tx.SaveInvocation(next); err != nil {
			return fx, err
		}
	}
	if fx.DropMessage {
		if _, err := h.tx.DeleteMessage(h.sc, v.NodeID, sendID(h.c.ID, v.NodeID)); err != nil {
			return fx, err
		}
	}
	if fx.SendCancel {
		id, err := h.mint()
		if err != nil {
			return fx, err
		}
		if err := h.message(v.NodeID, sendID(id, v.NodeID), "cancel"); err != nil {
			return fx, err
		}
	}
	return fx, nil
}

func (h *change) message(nodeID, id, kind string) error {
	now := h.tx.Now()
	notAfter := h.c.ExpiresAt
	if kind == "send" {
		notAfter = h.c.DeliverByAt
	}
	h.wake = append(h.wake, nodeID)
	return h.tx.InsertMessage(store.Message{
		Account: h.sc.Account, Region: h.sc.Region, NodeID: nodeID, ID: id, Kind: kind, CommandID: h.c.ID, CreatedAt: now, VisibleAt: now, NotAfterAt: notAfter,
	})
}

// refill claims as many invocations as the rate control allows now, or ends those that will never be sent.
func (h *change) refill() error {
	for !h.c.CancelRequested && h.c.CompletedCount < h.c.TargetCount {
		ctl, progress := control(h.c)
		if ctl.Stopped(progress) {
			return h.dropUnclaimed(Terminated)
		}
		n := ctl.Claimable(progress)
		if n <= 0 {
			return nil
		}
		next, err := h.tx.UnclaimedInvocations(h.sc, h.c.ID, n)
		if err != nil || len(next) == 0 {
			return err
		}
		for _, v := range next {
			if _, err := h.step(v, Event{Kind: Claimed}); err != nil {
				return err
			}
			if err := h.message(v.NodeID, sendID(h.c.ID, v.NodeID), "send"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *change) dropUnclaimed(details string) error {
	for {
		rest, err := h.tx.UnclaimedInvocations(h.sc, h.c.ID, 1000)
		if err != nil || len(rest) == 0 {
			return err
		}
		for _, v := range rest {
			if _, err := h.step(v, Event{Kind: Dropped, Details: details}); err != nil {
				return err
			}
		}
	}
}

// close stores the command.
func (h *change) close() error {
	if h.c.CompletedCount == h.c.TargetCount {
		if err := h.tx.Unschedule(WorkExpire, h.sc, h.c.ID); err != nil {
			return err
		}
		if kind, subject, ok := strings.Cut(h.c.Origin, ":"); ok { // whoever sent it is told, once
			if err := h.tx.Schedule(kind, h.sc, subject, h.tx.Now()); err != nil {
				return err
			}
		}
	}
	return h.tx.SaveCommand(h.c)
}

// apply runs one event on one invocation, with everything that follows from it, in one transaction.
func (s *Service) apply(ctx context.Context, sc store.Scope, commandID, nodeID string, event func(tx *store.Tx, v store.Invocation) (Event, error)) error {
	var wake []string
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		wake = nil
		h, err := s.open(tx, sc, commandID)
		if err != nil {
			return err
		}
		v, err := tx.Invocation(sc, commandID, nodeID)
		if err != nil {
			return err
		}
		e, err := event(tx, v)
		if err != nil {
			return err
		}
		fx, err := h.step(v, e)
		if err != nil {
			return err
		}
		if fx.Refill {
			if err := h.refill(); err != nil {
				return err
			}
		}
		wake = h.wake
		return h.close()
	})
	if err == nil && len(wake) > 0 {
		s.Wake(wake)
	}
	return err
}

// Expire ends what is left of a command whose time is over. It is the handler of WorkExpire; the item is
// finished in the transaction that ends the last invocation.
func (s *Service) Expire(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.FinishWork(w); err != nil || !ok {
			return err
		}
		h, err := s.open(tx, sc, w.Subject)
		if errors.Is(err, store.ErrNotFound) { // swept meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		after := ""
		for {
			list, err := tx.OpenInvocations(sc, w.Subject, after, 1000)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return h.close()
			}
			for _, v := range list {
				if _, err := h.step(v, Event{Kind: Expired}); err != nil {
					return err
				}
				after = v.NodeID
			}
		}
	})
}
