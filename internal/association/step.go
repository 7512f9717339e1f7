package association

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Statuses of associations, their executions and targets. Source: AWS Systems Manager User Guide, "Viewing association
// histories"; DetailedStatus says more.
const (
	pending    = "Pending"
	inProgress = "InProgress"
	success    = "Success"
	failed     = "Failed"
	timedOut   = "TimedOut"
	skipped    = "Skipped"

	creating         = "Creating"
	associated       = "Associated"
	deliveryTimedOut = "DeliveryTimedOut"
	invalidPlatform  = "InvalidPlatform"
	cancelled        = "Cancelled"
	noTargets        = "NoTargets" // no node matched
	late             = "Missed"    // the server was not there
)

// cause is why an association runs.
type cause string

const (
	created   cause = "create"
	changed   cause = "update"
	published cause = "document" // its document has another version
	asked     cause = "once"
	scheduled cause = "schedule"
	joined    cause = "node" // a node has come to match, or has come back
	replan    cause = "plan" // nothing runs: tags that its schedule rests on have changed
)

// admission is what becomes of a run that is wanted.
type admission int

const (
	begin       admission = iota
	beginAlone            // what runs is timed out first
	waitForEnds           // when what runs has ended
	drop                  // there is nothing to do
)

// admit decides on a run of all targets, or of one node where that is joined: open are the executions that run. A changed
// association lets running nodes finish; else a new run makes an unfinished one time out.
// Source: AWS Systems Manager User Guide, "State Manager associations".
func admit(why cause, open int) admission {
	switch {
	case why == replan:
		return drop
	case open == 0 || why == joined:
		return begin
	case why == changed || why == published:
		return waitForEnds
	}
	return beginAlone
}

// wanted reports whether a node that matches is to be run now by itself: the association has never run there, or its last
// run did not reach the node. was is nil where it has not.
func wanted(d *definition, was *store.AssociationNode) bool {
	switch {
	case oneShot(d):
		return false
	case was == nil:
		return true
	case was.EndedAt.IsZero():
		return false
	}
	return was.DetailedStatus == deliveryTimedOut && codec.Value(d.Duration) == 0 // else it waits for the next interval
}

// outcome is the status of a target by its command's StatusDetails. late says that the execution was timed out.
func outcome(details string, late bool) (status, detailed string) {
	switch details {
	case pending, "":
		return pending, pending
	case inProgress, "Delayed", "Cancelling":
		return pending, inProgress
	case success:
		return success, success
	case deliveryTimedOut, "ExecutionTimedOut":
		return timedOut, details
	case invalidPlatform:
		return skipped, details
	case cancelled, "Terminated":
		if late {
			return timedOut, timedOut
		}
	}
	return failed, details
}

// sum is the status of an execution whose targets have ended, by how many of them have which.
func sum(counts map[string]int64) (status, detailed string) {
	switch {
	case counts[failed] > 0:
		return failed, failed
	case counts[timedOut] > 0:
		return failed, timedOut
	case counts[success] > 0:
		return success, success
	case counts[skipped] > 0:
		return skipped, skipped
	}
	return skipped, noTargets
}

// tally counts targets by their status.
func tally(list []store.StatusCount, of func(details string) (string, string)) map[string]int64 {
	out := map[string]int64{}
	for _, c := range list {
		status, detailed := c.Status, c.DetailedStatus
		if of != nil {
			status, detailed = of(c.DetailedStatus)
		}
		if status == pending && detailed == inProgress {
			status = inProgress
		}
		out[status] += c.Count
	}
	return out
}

// countsText is ResourceCountByStatus: {Failed=1, Success=2}.
func countsText(counts map[string]int64) string {
	var parts []string
	for status, n := range counts {
		parts = append(parts, status+"="+strconv.FormatInt(n, 10))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// overview is how an association stands on all of its nodes.
type overview struct {
	Status   string           `json:"status"`
	Detailed string           `json:"detailed"`
	Counts   map[string]int64 `json:"counts,omitempty"`
}

// standing is an association's overview by how many of its nodes have which status; refused says why the last run could
// not be sent.
func standing(counts map[string]int64, running bool, refused string) overview {
	o := overview{Status: success, Detailed: success, Counts: counts}
	switch {
	case refused != "":
		o.Status, o.Detailed = failed, refused
	case running || counts[pending]+counts[inProgress] > 0:
		o.Status, o.Detailed = pending, inProgress
	case counts[failed] > 0:
		o.Status, o.Detailed = failed, failed
	case counts[timedOut] > 0:
		o.Status, o.Detailed = failed, timedOut
	case counts[success] > 0:
	case counts[skipped] > 0: // as of a command that every node ignored
		o.Status, o.Detailed = failed, failed
	default:
		o.Status, o.Detailed = pending, associated
	}
	return o
}

func (o overview) text() string {
	b, err := json.Marshal(o)
	if err != nil {
		return "{}" // strings and numbers only: cannot fail
	}
	return string(b)
}

func (o overview) wire() *ssm.AssociationOverview {
	return &ssm.AssociationOverview{Status: &o.Status, DetailedStatus: &o.Detailed, AssociationStatusAggregatedCount: o.Counts}
}

func overviewOf(a store.Association) (o overview, err error) {
	return o, json.Unmarshal([]byte(a.Overview), &o)
}

// statusBlock is the status of an association, as the old form of the API has it.
func statusBlock(name, message string, now time.Time) string {
	return string(codec.Marshal(&ssm.AssociationStatus{Name: &name, Message: &message, Date: codec.NewTime(now)}))
}
