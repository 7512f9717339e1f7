package agent

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"oakum.dev/document"
)

// The limits of output in replies, in characters, and the marks of what was cut.
// Source: measured on amazon-ssm-agent 3.3.
const (
	maxStream       = 24000
	maxOutput       = 2500
	streamCut       = "--output truncated--"
	outputCut       = "---Output truncated---"
	errorCut        = "---Error truncated----"
	errorTitle      = "\n----------ERROR-------\n"
	replyTimeFormat = "2006-01-02T15:04:05.000Z"
)

// stepReply is one step's part of a reply.
type stepReply struct {
	Status             document.Status `json:"status"`
	Code               int             `json:"code"`
	Name               string          `json:"name"`
	Output             string          `json:"output"`
	StandardOutput     string          `json:"standardOutput"`
	StandardError      string          `json:"standardError"`
	StartDateTime      string          `json:"startDateTime"`
	EndDateTime        string          `json:"endDateTime"`
	OutputS3BucketName string          `json:"outputS3BucketName"`
	OutputS3KeyPrefix  string          `json:"outputS3KeyPrefix"`
	StepName           string          `json:"stepName"`
}

type replyPayload struct {
	AdditionalInfo struct {
		Agent struct {
			Lang string `json:"lang"`
			Name string `json:"name"`
			OS   string `json:"os"`
			OSV  string `json:"osver"`
			Ver  string `json:"ver"`
		} `json:"agent"`
		DateTime             string                  `json:"dateTime"`
		RunID                string                  `json:"runId"`
		RuntimeStatusCounts  map[document.Status]int `json:"runtimeStatusCounts"`
		AbleToOpenMGSChannel bool                    `json:"ableToOpenMGSConnection"`
	} `json:"additionalInfo"`
	DocumentStatus      document.Status      `json:"documentStatus"`
	DocumentTraceOutput string               `json:"documentTraceOutput"`
	RuntimeStatus       map[string]stepReply `json:"runtimeStatus"`
}

// reply makes a reply to a message: the document's status, and one step or none.
func (a *Agent) reply(messageID string, status document.Status, trace string, steps map[string]stepReply, counts map[document.Status]int) queuedReply {
	var p replyPayload
	now := a.sys.Now().UTC()
	p.AdditionalInfo.Agent.Lang, p.AdditionalInfo.Agent.Name = "en-US", Name
	p.AdditionalInfo.Agent.OS, p.AdditionalInfo.Agent.OSV, p.AdditionalInfo.Agent.Ver = a.sys.GOOS, "1", a.cfg.Version
	p.AdditionalInfo.DateTime = now.Format(replyTimeFormat)
	p.AdditionalInfo.RuntimeStatusCounts = counts
	if counts == nil {
		p.AdditionalInfo.RuntimeStatusCounts = map[document.Status]int{}
	}
	p.DocumentStatus, p.DocumentTraceOutput, p.RuntimeStatus = status, cut(trace, maxOutput, outputCut), steps
	if steps == nil {
		p.RuntimeStatus = map[string]stepReply{}
	}
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte("{}") // not reachable: strings and numbers only
	}
	return queuedReply{MessageID: messageID, Payload: string(b), At: now}
}

// replyID derives the id of a reply from what it is about, so that a reply made again after a crash is the same
// one to the server.
func replyID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return formatUUID([16]byte(sum[:16]))
}

func formatTime(t time.Time) string { return t.UTC().Format(replyTimeFormat) }

// cut shortens s to at most limit characters, the mark included. Bytes that are not UTF-8 become U+FFFD.
func cut(s string, limit int, mark string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	keep := limit - len(mark)
	for i := range s {
		if keep == 0 {
			return s[:i] + mark
		}
		keep--
	}
	return s
}

// join is the combined output of a step: stdout, then stderr under a title, the longer of them shortened when
// both do not fit.
func join(stdout, stderr string) string {
	if stderr == "" {
		return cut(stdout, maxOutput, outputCut)
	}
	room := maxOutput - len(errorTitle)
	out, err := utf8.RuneCountInString(stdout), utf8.RuneCountInString(stderr)
	switch {
	case out+err <= room:
	case out <= room/2:
		stderr = cut(stderr, room-out, errorCut)
	case err <= room/2:
		stdout = cut(stdout, room-err, outputCut)
	default:
		stdout, stderr = cut(stdout, room/2, outputCut), cut(stderr, room/2, errorCut)
	}
	return stdout + errorTitle + stderr
}
