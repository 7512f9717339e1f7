package agent

import (
	"encoding/json"
	"errors"
	"time"

	"oakum.dev/document"
	"oakum.dev/patch/journal"
)

// The kinds of records in a command's journal, in the order they are usually written.
const (
	kindReceived     = "received"
	kindDelivered    = "delivered"     // the server knows that the command was received
	kindStarting     = "step-starting" // written before the step can have any effect
	kindResuming     = "step-resuming" // the patch engine is started to finish what it had begun, by its own journal
	kindFinished     = "step-finished" // with the result as the plugin gave it
	kindReplied      = "step-replied"  // the step's reply is in the outbox
	kindReboot       = "reboot"        // a reboot is about to be requested
	kindRebootFailed = "reboot-failed" // and did not happen
	kindCancelled    = "cancelled"
	kindDone         = "done" // the final reply is in the outbox
)

type record struct {
	Kind    string          `json:"kind"`
	At      time.Time       `json:"at"`
	Step    string          `json:"step,omitzero"`
	Boot    string          `json:"boot,omitzero"`
	Status  document.Status `json:"status,omitzero"`
	Code    int             `json:"code,omitzero"`
	Notice  string          `json:"notice,omitzero"`  // goes before the step's stderr
	Message string          `json:"message,omitzero"` // goes after it
	Output  [2]int64        `json:"output,omitzero"`  // sizes of stdout and stderr when the step was started
}

// commandState is what the records of a command add up to.
type commandState struct {
	at                                   time.Time // of the last record
	received, delivered, cancelled, done bool
	started                              bool   // some step was started
	boot                                 string // boot id when the first one was
	steps                                map[string]*stepState
	reboots                              int // that were requested for the steps so far, repetitions not counted
}

type stepState struct {
	starts            int       // how often it was started
	boot              string    // boot id of the last start
	begun, last       time.Time // of the first and the last start
	ended             time.Time
	finished, replied bool
	status            document.Status
	code              int
	notice, message   string
	requests          int      // reboots requested since the last start
	output            [2]int64 // sizes of stdout and stderr when it was started last, restarts after crashes not counted
}

func (s *commandState) step(name string) *stepState {
	if s.steps == nil {
		s.steps = map[string]*stepState{}
	}
	st := s.steps[name]
	if st == nil {
		st = &stepState{}
		s.steps[name] = st
	}
	return st
}

func (s *commandState) apply(r record) {
	s.at = r.At
	switch r.Kind {
	case kindReceived:
		s.received = true
	case kindDelivered:
		s.delivered = true
	case kindCancelled:
		s.cancelled = true
	case kindDone:
		s.done = true
	case kindStarting, kindResuming:
		if !s.started {
			s.started, s.boot = true, r.Boot
		}
		st := s.step(r.Step)
		begun, output := st.begun, st.output
		if r.Kind == kindStarting {
			output = r.Output
		}
		*st = stepState{starts: st.starts + 1, boot: r.Boot, begun: begun, last: r.At, output: output}
		if begun.IsZero() {
			st.begun = r.At
		}
	case kindFinished:
		st := s.step(r.Step)
		st.finished, st.ended, st.status, st.code, st.notice, st.message = true, r.At, r.Status, r.Code, r.Notice, r.Message
		st.replied = false
		if st.begun.IsZero() {
			st.begun = r.At
		}
	case kindReplied:
		s.step(r.Step).replied = true
	case kindReboot:
		st := s.step(r.Step)
		if st.requests == 0 {
			s.reboots++
		}
		st.requests++
	}
}

func replay(records [][]byte) commandState {
	var s commandState
	for _, b := range records {
		var r record
		if json.Unmarshal(b, &r) == nil {
			s.apply(r)
		}
	}
	return s
}

var errNotReceived = errors.New("the command was never received completely")

func readCommandState(path string) (commandState, error) {
	records, err := journal.Read(path)
	if err != nil {
		return commandState{}, err
	}
	s := replay(records)
	if !s.received {
		return s, errNotReceived
	}
	return s, nil
}

// append makes a record durable and applies it.
func (c *command) append(r record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.At = c.agent.sys.Now().UTC()
	if hook := c.agent.cfg.beforeRecord; hook != nil {
		hook(r)
	}
	if err := c.j.AppendJSON(r); err != nil {
		return err
	}
	c.state.apply(r)
	if hook := c.agent.cfg.afterRecord; hook != nil {
		hook(r)
	}
	return nil
}
