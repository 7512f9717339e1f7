// Package audit is the CloudTrail-shaped record of one API call and its way to the store: the front hangs a
// Record into the context, and the transaction that makes the change writes it (promise R-29).
// Start with Record.
package audit

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"
)

// UserIdentity says who called, in CloudTrail's words.
type UserIdentity struct {
	Type        string `json:"type"` // IAMUser, AssumedRole, Anonymous
	PrincipalID string `json:"principalId,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AccountID   string `json:"accountId,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
}

// Record is one call. Sensitive request members are blanked before they get here.
type Record struct {
	EventID           string
	RequestID         string
	EventTime         time.Time
	EventSource       string // ssm.amazonaws.com
	EventName         string
	Account           string
	Region            string
	SourceIP          string
	UserAgent         string
	UserIdentity      UserIdentity
	ReadOnly          bool
	RequestParameters json.RawMessage // at most 16 kB
	ResponseElements  json.RawMessage
	ErrorCode         string
	ErrorMessage      string

	claimed atomic.Bool
}

// Claim marks the record as written and reports whether this call was the first to do so.
func (r *Record) Claim() bool { return r.claimed.CompareAndSwap(false, true) }

// Written reports whether the record was committed.
func (r *Record) Written() bool { return r.claimed.Load() }

// JSON is the record in the form of a CloudTrail event.
func (r *Record) JSON() ([]byte, error) {
	return json.Marshal(struct {
		EventVersion       string          `json:"eventVersion"`
		UserIdentity       UserIdentity    `json:"userIdentity"`
		EventTime          string          `json:"eventTime"`
		EventSource        string          `json:"eventSource"`
		EventName          string          `json:"eventName"`
		AWSRegion          string          `json:"awsRegion"`
		SourceIPAddress    string          `json:"sourceIPAddress"`
		UserAgent          string          `json:"userAgent"`
		ErrorCode          string          `json:"errorCode,omitempty"`
		ErrorMessage       string          `json:"errorMessage,omitempty"`
		RequestParameters  json.RawMessage `json:"requestParameters"`
		ResponseElements   json.RawMessage `json:"responseElements"`
		RequestID          string          `json:"requestID"`
		EventID            string          `json:"eventID"`
		ReadOnly           bool            `json:"readOnly"`
		EventType          string          `json:"eventType"`
		ManagementEvent    bool            `json:"managementEvent"`
		RecipientAccountID string          `json:"recipientAccountId"`
		EventCategory      string          `json:"eventCategory"`
	}{
		"1.08", r.UserIdentity, r.EventTime.UTC().Format(time.RFC3339), r.EventSource, r.EventName, r.Region, r.SourceIP, r.UserAgent,
		r.ErrorCode, r.ErrorMessage, orNull(r.RequestParameters), orNull(r.ResponseElements), r.RequestID, r.EventID, r.ReadOnly,
		"AwsApiCall", true, r.Account, "Management",
	})
}

func orNull(m json.RawMessage) json.RawMessage {
	if len(m) == 0 {
		return json.RawMessage("null")
	}
	return m
}

type pendingKey struct{}

// WithPending returns a context whose first transaction writes the record.
func WithPending(ctx context.Context, r *Record) context.Context {
	return context.WithValue(ctx, pendingKey{}, r)
}

// Pending returns the record that the call's transaction has to write, or nil.
func Pending(ctx context.Context) *Record {
	r, _ := ctx.Value(pendingKey{}).(*Record)
	return r
}
