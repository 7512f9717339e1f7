package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"oakum.dev/document"
)

// Plugin is what is known of one step of an invocation.
type Plugin struct {
	Name     string `json:"name"`   // step name
	Plugin   string `json:"plugin"` // aws:runShellScript
	Status   string `json:"status"` // as the agent reports it
	Code     int    `json:"code"`
	Output   string `json:"output,omitempty"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	Started  string `json:"started,omitempty"`
	Ended    string `json:"ended,omitempty"`
	S3Bucket string `json:"s3Bucket,omitempty"`
	S3Prefix string `json:"s3Prefix,omitempty"`
}

// Plugins are the steps of an invocation by name.
type Plugins map[string]Plugin

// rank orders the states of a step, so that replies can come in any order: the higher one stays.
func rank(status string) int {
	switch document.Status(status) {
	case "", document.NotStarted:
		return 0
	case document.InProgress:
		return 1
	case document.SuccessAndReboot, document.PassedAndReboot: // the step runs again after the reboot
		return 2
	}
	return 3
}

// later reports whether b says more about a step than a does. It is a total order, so that merging is
// idempotent and free of order.
func later(a, b Plugin) bool {
	if x, y := rank(a.Status), rank(b.Status); x != y {
		return x < y
	}
	if a.Ended != b.Ended {
		return a.Ended < b.Ended
	}
	x, _ := json.Marshal(a) // a struct of strings and numbers
	y, _ := json.Marshal(b)
	return bytes.Compare(x, y) < 0
}

func mergePlugins(stored string, more Plugins) string {
	if len(more) == 0 {
		return stored
	}
	p := parsePlugins(stored)
	for name, n := range more {
		if old, ok := p[name]; !ok || later(old, n) {
			p[name] = n
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return stored // strings and numbers only: cannot fail
	}
	return string(b)
}

func parsePlugins(stored string) Plugins {
	p := Plugins{}
	if stored != "" {
		_ = json.Unmarshal([]byte(stored), &p) // written by mergePlugins
	}
	return p
}

// Limits of what a reply may bring. The agent cuts both streams at 24,000 characters.
const (
	maxReplyBytes  = 256 << 10
	maxStreamChars = 24000 + 32
	maxSteps       = 100
)

// Reply is the content of a node's reply.
type Reply struct {
	Details string // StatusDetails that the document's status stands for
	Trace   string
	Plugins Plugins
}

// ParseReply reads the payload of SendReply. Every member may be missing or null.
func ParseReply(payload string) (Reply, error) {
	if len(payload) > maxReplyBytes {
		return Reply{}, fmt.Errorf("the reply has %d bytes, more than %d", len(payload), maxReplyBytes)
	}
	var in struct {
		DocumentStatus      string `json:"documentStatus"`
		DocumentTraceOutput string `json:"documentTraceOutput"`
		RuntimeStatus       map[string]struct {
			Status             string          `json:"status"`
			Code               int             `json:"code"`
			Name               string          `json:"name"`
			Output             json.RawMessage `json:"output"`
			StandardOutput     string          `json:"standardOutput"`
			StandardError      string          `json:"standardError"`
			StartDateTime      string          `json:"startDateTime"`
			EndDateTime        string          `json:"endDateTime"`
			OutputS3BucketName string          `json:"outputS3BucketName"`
			OutputS3KeyPrefix  string          `json:"outputS3KeyPrefix"`
		} `json:"runtimeStatus"`
	}
	if err := json.Unmarshal([]byte(payload), &in); err != nil {
		return Reply{}, fmt.Errorf("the reply is not JSON: %w", err)
	}
	if len(in.RuntimeStatus) > maxSteps {
		return Reply{}, fmt.Errorf("the reply has %d steps", len(in.RuntimeStatus))
	}
	r := Reply{Details: replyDetails(in.DocumentStatus), Trace: cut(in.DocumentTraceOutput, 2500), Plugins: Plugins{}}
	for name, s := range in.RuntimeStatus {
		var output string
		if err := json.Unmarshal(s.Output, &output); err != nil {
			output = string(s.Output) // some plugins report something else than text
		}
		r.Plugins[name] = Plugin{
			Name: name, Plugin: s.Name, Status: s.Status, Code: s.Code, Output: cut(output, 2600), Stdout: cut(s.StandardOutput, maxStreamChars),
			Stderr: cut(s.StandardError, maxStreamChars), Started: timeText(s.StartDateTime), Ended: timeText(s.EndDateTime),
			S3Bucket: s.OutputS3BucketName, S3Prefix: s.OutputS3KeyPrefix,
		}
	}
	return r, nil
}

// timeText keeps a node's instant only if it is one: nodes write what they like.
func timeText(s string) string {
	if _, err := time.Parse(time.RFC3339, s); err != nil {
		return ""
	}
	return s
}

// replyDetails maps an agent's document or step status to StatusDetails.
func replyDetails(status string) string {
	switch document.Status(status) {
	case document.Success, document.Skipped:
		return Success
	case document.Failed:
		return Failed
	case document.TimedOut:
		return ExecutionTimedOut
	case document.Cancelled:
		return Cancelled
	}
	return InProgress
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return strings.Clone(s[:i])
		}
		n--
	}
	return s
}
