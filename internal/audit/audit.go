// Package audit holds the record of one call in CloudTrail's shape and carries it through the context,
// so that the transaction which changes something can write the record in the same commit. It stores
// nothing itself. Start with Record.
package audit

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// MaxParameters is how many bytes of request parameters or response elements a record keeps.
const MaxParameters = 16 << 10

// UserIdentity says who called.
type UserIdentity struct {
	Type        string `json:"type"` // IAMUser, AssumedRole, Anonymous
	PrincipalID string `json:"principalId,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AccountID   string `json:"accountId,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	UserName    string `json:"userName,omitempty"`
	NodeID      string `json:"nodeId,omitempty"` // ours: the managed node behind a role session
}

// Record is one call. The members are CloudTrail's; JSON marshals it in CloudTrail's names.
type Record struct {
	EventVersion      string          `json:"eventVersion"`
	EventID           string          `json:"eventID"`
	RequestID         string          `json:"requestID"`
	EventTime         time.Time       `json:"eventTime"`
	EventSource       string          `json:"eventSource"` // "ssm.amazonaws.com"
	EventName         string          `json:"eventName"`
	EventType         string          `json:"eventType"` // AwsApiCall
	EventCategory     string          `json:"eventCategory"`
	Region            string          `json:"awsRegion"`
	Account           string          `json:"recipientAccountId"`
	SourceIP          string          `json:"sourceIPAddress"`
	UserAgent         string          `json:"userAgent"`
	UserIdentity      UserIdentity    `json:"userIdentity"`
	ReadOnly          bool            `json:"readOnly"`
	ManagementEvent   bool            `json:"managementEvent"`
	RequestParameters json.RawMessage `json:"requestParameters"` // null if there were none
	ResponseElements  json.RawMessage `json:"responseElements"`  // null of what reads, and unless known when written
	ErrorCode         string          `json:"errorCode,omitempty"`
	ErrorMessage      string          `json:"errorMessage,omitempty"`

	mu    sync.Mutex
	state state
}

type state int

const (
	free state = iota
	claimed
	written
)

// Claim reports whether the caller is the one to write r; it then calls Written after its commit, or
// Release after a rollback. It is false for nil, when r is written and while another has claimed it.
func (r *Record) Claim() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != free {
		return false
	}
	r.state = claimed
	return true
}

// Release gives a claim back after a rollback.
func (r *Record) Release() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == claimed {
		r.state = free
	}
}

// Written says that r is in the log for good.
func (r *Record) Written() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = written
}

// IsWritten reports whether r is in the log.
func (r *Record) IsWritten() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == written
}

// Parameters returns JSON as a record keeps it: null for nothing, a note in the place of what is too long.
func Parameters(text []byte) json.RawMessage {
	switch {
	case len(text) == 0, string(text) == "{}":
		return json.RawMessage("null")
	case len(text) > MaxParameters:
		b, _ := json.Marshal(map[string]any{"omitted": true, "originalSize": len(text), "reason": "too large"}) // cannot fail
		return b
	}
	return text
}

type pendingKey struct{}

// WithPending returns a context that carries r to the transaction that may write it.
func WithPending(ctx context.Context, r *Record) context.Context {
	return context.WithValue(ctx, pendingKey{}, r)
}

// Pending returns the record of the call that ctx belongs to, nil if there is none.
func Pending(ctx context.Context) *Record {
	r, _ := ctx.Value(pendingKey{}).(*Record)
	return r
}
