package document

import (
	"strconv"
	"strings"
	"time"
)

// Platform is a node's platform as documents name it.
type Platform string

// The platforms.
const (
	Linux   Platform = "Linux"
	MacOS   Platform = "MacOS"
	Windows Platform = "Windows"
)

// Status is the state of a step or, summed up, of a document on one node.
type Status string

// The states an agent reports.
const (
	NotStarted       Status = "NotStarted"
	InProgress       Status = "InProgress"
	Success          Status = "Success"
	SuccessAndReboot Status = "SuccessAndReboot"
	PassedAndReboot  Status = "PassedAndReboot"
	Failed           Status = "Failed"
	Cancelled        Status = "Cancelled"
	TimedOut         Status = "TimedOut"
	Skipped          Status = "Skipped"
)

// Exit codes with a meaning of their own.
// Source: AWS Systems Manager User Guide, "Exit codes and rebooting".
const (
	ExitSkipRest       = 168 // the step succeeded, the steps after it are skipped
	ExitFailSkipRest   = 169 // the step failed, the steps after it are skipped
	ExitReboot         = 194 // Linux and macOS: reboot, then run the step again
	ExitRebootWindows  = 3010
	ExitKilled         = 137 // time-out or cancellation
	defaultStepTimeout = 3600
)

// ExitStatus maps a script's exit code.
func ExitStatus(code int, p Platform) Status {
	switch {
	case code == 0 || code == ExitSkipRest:
		return Success
	case p == Windows && code == ExitRebootWindows, p != Windows && code == ExitReboot:
		return SuccessAndReboot
	}
	return Failed
}

// order ranks states from best to worst for steps of several properties.
var order = map[Status]int{Skipped: 1, Success: 2, SuccessAndReboot: 3, PassedAndReboot: 4, NotStarted: 5, InProgress: 6, Failed: 7, Cancelled: 8, TimedOut: 9}

// Worst returns the state of a step whose properties ended in the given states. It is Skipped for none.
func Worst(states ...Status) Status {
	worst := Skipped
	for _, s := range states {
		if order[s] > order[worst] {
			worst = s
		}
	}
	return worst
}

// Sum returns the status of a document from its steps: SuccessAndReboot before Failed before TimedOut before
// Cancelled before Success; Success only when every step succeeded or was skipped.
// Source: amazon-ssm-agent 3.3.
func Sum(states []Status) Status {
	count := map[Status]int{}
	for _, s := range states {
		count[s]++
	}
	switch {
	case count[SuccessAndReboot]+count[PassedAndReboot] > 0:
		return SuccessAndReboot
	case count[Failed] > 0:
		return Failed
	case count[TimedOut] > 0:
		return TimedOut
	case count[Cancelled] > 0:
		return Cancelled
	case count[Success]+count[Skipped] == len(states):
		return Success
	}
	return InProgress
}

// Flow follows the steps of one run and knows when the remaining ones are skipped. The zero value is a fresh run.
type Flow struct {
	exited bool
	by     string
	status Status
}

// Skips reports whether step i of n is skipped because of an earlier exit.
func (f *Flow) Skips(s Step, i, n int) bool {
	return f.exited && (i != n-1 || !isTrue(s.input("finallyStep")))
}

// Finish records the result of a step and returns it as it is to be reported: onFailure=successAndExit turns
// a failure into Success with code 168.
func (f *Flow) Finish(s Step, status Status, code int) (Status, int) {
	if code == ExitSkipRest || code == ExitFailSkipRest {
		f.exit(s, status)
		return status, code
	}
	onFailure, onSuccess := Text(s.input("onFailure")), Text(s.input("onSuccess"))
	switch status {
	case Failed, TimedOut:
		switch onFailure {
		case "exit":
			f.exit(s, status)
		case "successAndExit":
			f.exit(s, status)
			return Success, ExitSkipRest
		}
	case Success:
		if onSuccess == "exit" {
			f.exit(s, status)
		}
	}
	return status, code
}

func (f *Flow) exit(s Step, status Status) {
	if !f.exited {
		f.exited, f.by, f.status = true, s.Name, status
	}
}

// By returns the step that ended the run early, and how it ended itself; "" when none did.
func (f *Flow) By() (step string, status Status) { return f.by, f.status }

func (s Step) input(name string) any {
	if len(s.Properties) == 0 {
		return nil
	}
	return s.Properties[0][name]
}

// Timeout returns how long the step may run: its largest timeoutSeconds, 3600 s where that is missing, not a
// number or outside 5 to 172800. The step must be bound to its values.
func (s Step) Timeout() time.Duration {
	longest := 0
	for _, p := range s.Properties {
		longest = max(longest, TimeoutSeconds(p["timeoutSeconds"]))
	}
	if longest == 0 {
		longest = defaultStepTimeout
	}
	return time.Duration(longest) * time.Second
}

// TimeoutSeconds reads a timeoutSeconds input by the rule of Timeout.
func TimeoutSeconds(v any) int {
	n, err := strconv.Atoi(strings.TrimSpace(Text(v)))
	if err != nil || n < 5 || n > 172800 {
		return defaultStepTimeout
	}
	return n
}

// TotalTimeout returns how long after the request a command expires: the time to deliver plus the time-outs of
// all steps after substitution, those included that a platform skips.
// Source: AWS Systems Manager User Guide, "Command timeout values"; the guide's samples confirm 600 s for
// AWS-RunPatchBaseline giving 22,200 s.
func (d *Document) TotalTimeout(given Values, deliverySeconds int) time.Duration {
	total := time.Duration(deliverySeconds) * time.Second
	values := d.WithDefaults(given)
	for _, s := range d.Steps {
		total += s.Bind(values).Timeout()
	}
	return total
}
