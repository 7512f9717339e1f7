// Package target holds the arithmetic of Run Command: which nodes a command's targets select, how many of them
// may run at once (MaxConcurrency) and how many errors stop it (MaxErrors). It knows no store and no clock.
// Start with ParseMaxConcurrency, ParseMaxErrors and Control.
package target

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Rate is a number of nodes or a percentage of a command's targets.
type Rate struct {
	Value   int
	Percent bool
}

// The defaults of SendCommand.
var (
	DefaultConcurrency = Rate{Value: 50}
	DefaultErrors      = Rate{Value: 0}
)

// ParseMaxConcurrency reads a whole number of at least 1 or a percentage of 1% to 100%, at most 7 characters.
func ParseMaxConcurrency(s string) (Rate, error) { return parse(s, 1, "MaxConcurrency") }

// ParseMaxErrors reads a whole number of at least 0 or a percentage of 0% to 100%, at most 7 characters.
func ParseMaxErrors(s string) (Rate, error) { return parse(s, 0, "MaxErrors") }

func parse(s string, lowest int, what string) (Rate, error) {
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	ok := err == nil && len(s) <= 7 && n >= lowest && (!percent || n <= 100)
	if !ok || strings.Trim(digits, "0123456789") != "" || len(digits) > 1 && digits[0] == '0' {
		return Rate{}, fmt.Errorf("%s %q must be a number of at least %d or a percentage from %d%% to 100%%", what, s, lowest, lowest)
	}
	return Rate{Value: n, Percent: percent}, nil
}

// String returns the notation of the API.
func (r Rate) String() string {
	if r.Percent {
		return strconv.Itoa(r.Value) + "%"
	}
	return strconv.Itoa(r.Value)
}

// Of returns the rate for n targets, percentages rounded down. AWS does not document its rounding; this is the
// careful reading, and gives the documented 5 for 10% of 50 targets.
func (r Rate) Of(n int) int {
	if !r.Percent {
		return r.Value
	}
	return int(int64(n) * int64(r.Value) / 100)
}

// Control is the rate control of one command. Make it with NewControl.
type Control struct {
	Concurrency int  // most invocations between claim and terminal at any instant; at least 1
	Errors      int  // most errors after which dispatch goes on
	NoRamp      bool // start with Concurrency nodes instead of one
}

// NewControl resolves both rates for a number of targets.
func NewControl(concurrency, errors Rate, targets int) Control {
	return Control{Concurrency: max(1, concurrency.Of(targets)), Errors: errors.Of(targets)}
}

// Progress counts the invocations of one command. Terminal ones include those that were never claimed only in
// Targets; Claimed counts every invocation ever claimed.
type Progress struct {
	Targets   int
	Claimed   int // taken for delivery, whatever became of them
	Delivered int // claimed and acknowledged by the node, or replied to
	Terminal  int // claimed and ended
	Lost      int // claimed and ended without ever being delivered
	Errors    int // Failed and ExecutionTimedOut; delivery time-outs do not count
}

// Stopped reports whether dispatch has ended because there were more errors than allowed: MaxErrors 0 stops at
// the first, 3 at the fourth.
func (c Control) Stopped(p Progress) bool { return p.Errors > c.Errors }

// Claimable returns how many more invocations may be claimed now. The ramp claims one node, two more when that
// one has acknowledged, then four, doubling until Concurrency are in flight; an invocation that ends
// undelivered lets one other start and does not make the ramp grow.
// Source: AWS Systems Manager User Guide, "Use rate controls"; the ramp as observed in its examples.
func (c Control) Claimable(p Progress) int {
	if c.Stopped(p) {
		return 0
	}
	free := min(c.Concurrency-(p.Claimed-p.Terminal), p.Targets-p.Claimed)
	if reach := rampReach(p.Delivered); !c.NoRamp && reach < c.Concurrency {
		free = min(free, reach+p.Lost-p.Claimed)
	}
	return max(0, free)
}

// rampReach is the number of claims that the ramp allows in total after so many acknowledgements: 1, 3, 7, ...,
// the next batch once the whole previous one is acknowledged.
func rampReach(delivered int) int {
	return 1<<bits.Len(uint(delivered+1)) - 1
}
