package api

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/wire/codec"
)

// record starts the audit record of a call, before anything is done.
func (c *call) record(in codec.Shape) *audit.Record {
	id, err := arn.NewUUID(rand.Reader)
	if err != nil {
		id = c.id
	}
	p := c.principal
	rec := &audit.Record{
		EventVersion: "1.11", EventID: id, RequestID: c.id, EventTime: c.start.UTC().Truncate(time.Second),
		EventSource: c.op.Service + ".amazonaws.com", EventName: c.op.Name, EventType: "AwsApiCall", EventCategory: "Management",
		Region: p.Region, Account: p.Account, SourceIP: p.SourceIP, UserAgent: p.UserAgent, UserIdentity: identity(p),
		ReadOnly: c.op.ReadOnly, ManagementEvent: true,
		ResponseElements: audit.Parameters(nil),
	}
	if c.op.ReadOnly && c.op.Quiet {
		return rec
	}
	rec.RequestParameters = audit.Parameters(codec.MarshalAudit(in))
	return rec
}

func identity(p iam.Principal) audit.UserIdentity {
	u := audit.UserIdentity{Type: "IAMUser", PrincipalID: p.UserID, ARN: p.ARN, AccountID: p.Account, AccessKeyID: p.AccessKeyID, NodeID: p.NodeID}
	switch {
	case p.Kind == iam.Anonymous:
		u.Type = "Anonymous"
	case strings.Contains(p.ARN, ":assumed-role/"):
		u.Type = "AssumedRole"
	case strings.HasSuffix(p.ARN, ":root"):
		u.Type = "Root"
	}
	if _, name, ok := strings.Cut(p.ARN, ":user/"); ok {
		u.UserName = name[strings.LastIndexByte(name, '/')+1:]
	}
	return u
}

// audit keeps the record of a call that changed something, failed or was refused, unless the change's own
// transaction has written it. Frequent calls are kept only when they fail; throttled ones never.
func (c *call) audit(rec *audit.Record, out codec.Encodable, err error) {
	if c.f.AuditLog == nil || awserr.Code(err) == "ThrottlingException" || errors.Is(err, context.Canceled) {
		return
	}
	if err == nil && (c.op.ReadOnly || c.op.Quiet || rec.IsWritten()) {
		return
	}
	if err != nil {
		e := awserr.From(err)
		rec.ErrorCode, rec.ErrorMessage = e.Code, e.Message
		if rec.IsWritten() { // the change was committed and its answer failed: say so in a record of its own
			if id, ierr := arn.NewUUID(rand.Reader); ierr == nil {
				rec.EventID = id
			}
		}
	} else {
		rec.ResponseElements = audit.Parameters(codec.MarshalAudit(out))
	}
	if rec.Account == "" {
		return // nobody's: an anonymous call that failed belongs to no account
	}
	// The client may be gone; what happened is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second)
	defer cancel()
	if aerr := c.f.AuditLog(ctx, rec); aerr != nil {
		c.f.Log.LogAttrs(c.ctx, slog.LevelError, "audit record lost", slog.String("request_id", c.id), slog.String("op", c.op.Action), slog.Any("err", aerr))
		return
	}
	rec.Written()
}
