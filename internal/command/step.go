package command

import (
	"time"

	"oakum.dev/internal/store"
	"oakum.dev/target"
)

// Statuses of commands and invocations on the wire. Source: AWS Systems Manager User Guide,
// "Understanding command statuses".
const (
	Pending    = "Pending"
	InProgress = "InProgress"
	Delayed    = "Delayed"
	Success    = "Success"
	Failed     = "Failed"
	Cancelled  = "Cancelled"
	Cancelling = "Cancelling"
	TimedOut   = "TimedOut"

	DeliveryTimedOut  = "DeliveryTimedOut"
	ExecutionTimedOut = "ExecutionTimedOut"
	Undeliverable     = "Undeliverable"
	Terminated        = "Terminated"
	InvalidPlatform   = "InvalidPlatform"
	Incomplete        = "Incomplete"
	NoInstancesInTag  = "NoInstancesInTag"
)

// coarse maps StatusDetails to Status.
var coarse = map[string]string{
	Pending: Pending, InProgress: InProgress, Delayed: Delayed, Success: Success, Failed: Failed, Cancelled: Cancelled, Cancelling: Cancelling,
	DeliveryTimedOut: TimedOut, ExecutionTimedOut: TimedOut, Undeliverable: Failed, Terminated: Cancelled, InvalidPlatform: Failed,
	Incomplete: Failed, NoInstancesInTag: Success,
}

// Ended reports whether a status is terminal: it is never replaced.
func Ended(status string) bool {
	switch status {
	case Success, Failed, Cancelled, TimedOut:
		return true
	}
	return false
}

// EventKind is what can happen to an invocation.
type EventKind int

// The events of an invocation.
const (
	Claimed   EventKind = iota // a slot was taken; its message goes out
	Delivered                  // the node acknowledged the message
	Replied                    // the node sent a reply, with a document status
	CancelAsked
	Expired // ExpiresAfter has passed
	Dropped // never sent: Details says why (Terminated, Undeliverable, InvalidPlatform)
	Refused // the node could not take the message
)

// Event is one event of an invocation.
type Event struct {
	Kind    EventKind
	Details string  // Replied: the StatusDetails that the reply stands for; Dropped: the end
	Plugins Plugins // Replied: what the reply says of steps
	Trace   string
	Offered bool // CancelAsked: the message was offered, so that the node may be running it
}

// Effects are what has to happen in the same transaction as the new state.
type Effects struct {
	DropMessage bool // the command's message must not be offered (again)
	SendCancel  bool // the node is to be told to stop
	Refill      bool // a slot may be free: claim more
}

// Step is the state machine of one invocation and the counters of its command. It is pure; any order and
// repetition of the same events of a node leads to the same state, and a terminal state stays.
func Step(c store.Command, v store.Invocation, e Event, now time.Time) (store.Command, store.Invocation, Effects) {
	var fx Effects
	switch e.Kind {
	case Claimed:
		if v.Claimed || Ended(v.Status) {
			return c, v, fx
		}
		v.Claimed = true
		c.ClaimedCount++
		c.InFlight++
	case Delivered:
		deliver(&c, &v, &fx)
	case Replied:
		deliver(&c, &v, &fx)
		v.Plugins = mergePlugins(v.Plugins, e.Plugins)
		if !Ended(coarse[e.Details]) {
			break
		}
		if Ended(v.Status) {
			if v.StatusDetails != e.Details && v.LateResult == "" {
				v.LateResult = e.Details
			}
			break
		}
		v.Trace = e.Trace // only the end's, so that the order of replies does not matter
		end(&c, &v, &fx, e.Details, now)
	case Refused:
		deliver(&c, &v, &fx)
		if !Ended(v.Status) {
			v.Trace = e.Trace
			end(&c, &v, &fx, Failed, now)
		}
	case CancelAsked:
		switch {
		case Ended(v.Status) || v.Status == Cancelling:
		case v.Delivered:
			v.Status, v.StatusDetails = Cancelling, Cancelling
			fx.SendCancel = true
		default:
			fx.DropMessage, fx.SendCancel = v.Claimed, e.Offered
			end(&c, &v, &fx, Cancelled, now)
		}
	case Expired:
		if !Ended(v.Status) {
			fx.DropMessage = true
			end(&c, &v, &fx, DeliveryTimedOut, now)
		}
	case Dropped:
		if !Ended(v.Status) && !v.Claimed {
			end(&c, &v, &fx, e.Details, now)
		}
	}
	return c, v, fx
}

// deliver notes that the node has the message: it is never offered again.
func deliver(c *store.Command, v *store.Invocation, fx *Effects) {
	fx.DropMessage = true
	if v.Delivered {
		return
	}
	v.Delivered = true
	if Ended(v.Status) { // cancelled or expired before: the slot is free already
		return
	}
	c.DeliveredCount++
	v.Status, v.StatusDetails = InProgress, InProgress
	fx.Refill = true
	if c.Status == Pending {
		c.Status, c.StatusDetails = InProgress, InProgress
	}
}

func end(c *store.Command, v *store.Invocation, fx *Effects, details string, now time.Time) {
	v.StatusDetails, v.Status, v.EndedAt = details, coarse[details], now
	if v.Claimed {
		c.InFlight--
		if !v.Delivered {
			c.LostCount++
		}
	}
	v.Claimed = true // an ended invocation is never claimed
	c.CompletedCount++
	switch details {
	case Success:
		c.SuccessCount++
	case Failed:
		c.ErrorCount++
	case ExecutionTimedOut:
		c.ErrorCount++
		c.ExecutionTimedOutCount++
	case DeliveryTimedOut:
		c.DeliveryTimedOutCount++
	case Undeliverable, InvalidPlatform:
		c.IgnoredCount++
	}
	fx.Refill = true
	if c.CompletedCount == c.TargetCount {
		c.StatusDetails = aggregate(*c)
		c.Status = coarse[c.StatusDetails]
	}
}

// aggregate is the StatusDetails of a command whose invocations have all ended. Source: AWS Systems Manager
// User Guide, "Understanding command statuses"; the rule for ignored ones follows its example.
func aggregate(c store.Command) string {
	failed := c.ErrorCount - c.ExecutionTimedOutCount
	switch {
	case c.TargetCount == 0:
		return NoInstancesInTag
	case c.CancelRequested && c.SuccessCount+c.ErrorCount+c.DeliveryTimedOutCount+c.IgnoredCount < c.TargetCount:
		return Cancelled
	case c.ErrorCount > c.ErrorLimit && failed == 0:
		return ExecutionTimedOut
	case c.ErrorCount > c.ErrorLimit:
		return Failed
	case c.DeliveryTimedOutCount > c.ErrorLimit:
		return DeliveryTimedOut
	case c.IgnoredCount == c.TargetCount:
		return Failed
	case c.SuccessCount+c.IgnoredCount == c.TargetCount:
		return Success
	}
	return Incomplete
}

// control is the command's rate control and how far it is.
func control(c store.Command) (target.Control, target.Progress) {
	return target.Control{Concurrency: int(c.ConcurrencyLimit), Errors: int(c.ErrorLimit)}, target.Progress{
		Targets: int(c.TargetCount), Claimed: int(c.ClaimedCount), Delivered: int(c.DeliveredCount),
		Terminal: int(c.ClaimedCount - c.InFlight), Lost: int(c.LostCount), Errors: int(c.ErrorCount),
	}
}
