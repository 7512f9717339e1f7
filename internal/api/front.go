// Package api is the HTTP front of every AWS-shaped call: it finds the operation of a request, verifies
// its signature, asks iam for permission, validates, calls the handler, audits and encodes the answer.
// It knows no service and no store: operations come as a table, credentials and the audit log by
// interfaces. Start with Front.
package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

// What Credentials answers besides keys. Any other error is a fault: the caller gets a 5xx and may retry.
var (
	ErrUnknownKey = iam.ErrUnknownKey
	ErrExpired    = iam.ErrExpired
)

// Credentials finds the secrets behind signatures.
type Credentials interface {
	// AccessKey returns the secret and the principal of an access key, with the session token that came
	// along ("" if none). The front fills Region, SourceIP and UserAgent of the principal; a Region that
	// is set binds the key to it.
	AccessKey(ctx context.Context, accessKeyID, sessionToken string) (secret string, p iam.Principal, err error)
	// NodeKey returns a node's public key (PKIX DER) and its principal, with account, region and node id.
	NodeKey(ctx context.Context, nodeID string) (pub []byte, p iam.Principal, err error)
}

// REST is a service that routes by method and path, such as s3 or ssmmessages, behind the front's
// authentication. Its handler finds the caller with iam.PrincipalFrom and does its own authorization.
type REST struct {
	Handler http.Handler
	// Stream leaves the body to the handler, who reads it as it comes; reading fails at the end if the
	// signed hash does not match. Otherwise the front reads and checks it before.
	Stream bool
	// Unsigned allows UNSIGNED-PAYLOAD and the streaming form with a trailer, over TLS.
	Unsigned bool
	// Path is sigv4.S3 where the path is signed as it is sent; else both other rules are tried.
	Path sigv4.PathRule
	// WriteError answers a refusal of the front in the service's own form; nil for JSON.
	WriteError func(w http.ResponseWriter, r *http.Request, code, message string, status int, requestID string)
	// BodyLimit is for bodies that the front reads, 256 KiB if 0.
	BodyLimit int64
}

// Config is what a Front is built from. Credentials and Operations are required.
type Config struct {
	Credentials Credentials
	Operations  []codec.Operation
	REST        map[string]REST // by signing name
	// Landing answers GET and HEAD of / without a signature.
	Landing http.Handler
	// AuditLog keeps a record that no transaction has written; nil keeps none.
	AuditLog func(ctx context.Context, r *audit.Record) error
	// Observe is told of every call of an operation, for metrics; code is "" on success.
	Observe func(op *codec.Operation, code string, took time.Duration)
	Log     *slog.Logger
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// ClientIP returns the caller's address, the peer's if nil. A proxy's headers are its business.
	ClientIP func(*http.Request) string
	// TrustedProxy reports whether X-Forwarded-Host and -Proto of a request are to be believed; nil: never.
	TrustedProxy func(*http.Request) bool
	// Rates are the token buckets; zero values mean generous defaults.
	Rates Rates
	// BodyMemory bounds the bytes of all bodies being read or served, 256 MiB if 0.
	BodyMemory int64
}

// Front serves AWS-shaped calls. It is safe for concurrent use.
type Front struct {
	Config
	targets map[string]*codec.Operation   // "AmazonSSM.SendCommand"
	queries map[string]*codec.Operation   // "sts/2011-06-15/GetCallerIdentity"
	queryNS map[string]string             // query service -> XML namespace
	paths   map[string][]*codec.Operation // RESTJSON service -> its operations
	keys    sigv4.KeyCache
	replays replayCache
	limits  limiter
	memory  *semaphore.Weighted
}

const defaultBodyLimit = 256 << 10

// New builds a front.
func New(c Config) *Front {
	f := &Front{
		Config: c, targets: map[string]*codec.Operation{}, queries: map[string]*codec.Operation{}, queryNS: map[string]string{},
		paths: map[string][]*codec.Operation{},
	}
	if f.Now == nil {
		f.Now = time.Now
	}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	if f.BodyMemory == 0 {
		f.BodyMemory = 256 << 20
	}
	f.memory = semaphore.NewWeighted(f.BodyMemory)
	f.limits.rates = f.Rates.withDefaults()
	for i := range c.Operations {
		op := &c.Operations[i]
		switch op.Protocol {
		case codec.Query:
			f.queries[op.Service+"/"+op.Version+"/"+op.Name] = op
			f.queryNS[op.Service] = op.Namespace
		case codec.RESTJSON:
			f.paths[op.Service] = append(f.paths[op.Service], op)
		default:
			f.targets[op.TargetPrefix+"."+op.Name] = op
		}
	}
	return f
}

func (f *Front) clientIP(r *http.Request) string {
	if f.ClientIP != nil {
		return f.ClientIP(r)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// proxied reports whether r came through a proxy that is to be believed.
func (f *Front) proxied(r *http.Request) bool { return f.TrustedProxy != nil && f.TrustedProxy(r) }

func (f *Front) secure(r *http.Request) bool {
	return r.TLS != nil || f.proxied(r) && r.Header.Get("X-Forwarded-Proto") == "https"
}
