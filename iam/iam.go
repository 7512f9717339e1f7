// Package iam decides who may do what: it holds the principal of a request and the one decision point
// that the front asks for every operation. It is pure: no store, no clock, no HTTP.
// Start with Decide.
package iam

import (
	"context"
	"errors"
	"strings"
)

// Kind says which sort of credential a principal came with; it is what the built-in rules go by
// as long as an installation has no policies of its own.
type Kind string

// The kinds of principals.
const (
	Anonymous     Kind = "Anonymous"     // no credential: may only register a node
	Administrator Kind = "Administrator" // may do everything in its account
	ReadOnly      Kind = "ReadOnly"      // may call what reads
	Node          Kind = "Node"          // a managed node: its own operations, on its own id
)

// Principal is the authenticated caller of one request. Account, Region and NodeID come from the
// credential and the signature's scope, never from the request's body.
type Principal struct {
	Kind        Kind
	Account     string // 12 digits
	Region      string // as signed for
	ARN         string // arn:aws:iam::ACCOUNT:user/NAME, or the node's assumed-role ARN
	UserID      string // the unique id GetCallerIdentity answers
	AccessKeyID string // empty for Anonymous
	NodeID      string // mi-..., only for Node
	SourceIP    string
	UserAgent   string
}

// Request asks whether Principal may perform Action on Resources.
type Request struct {
	Principal Principal
	Action    string   // "ssm:SendCommand"
	ReadOnly  bool     // the operation changes nothing
	NodeOwn   bool     // the operation is one that a managed node performs for itself
	Resources []string // ARNs; empty stands for "*"
	NodeIDs   []string // every managed node id that the request's body names
}

// Decision is the answer; Reason completes the sentence of AccessDeniedException after "because ".
type Decision struct {
	Allowed bool
	Reason  string
}

// Decide is the authorization point of every operation. An administrator may do everything, a
// read-only key may read, a node may do its own operations on its own id, and nobody else anything.
func Decide(r Request) Decision {
	deny := Decision{Reason: "no identity-based policy allows the " + r.Action + " action"}
	switch r.Principal.Kind {
	case Administrator:
		return Decision{Allowed: true}
	case ReadOnly:
		if r.ReadOnly || strings.EqualFold(r.Action, "sts:GetCallerIdentity") {
			return Decision{Allowed: true}
		}
		return deny
	case Node:
		if !r.NodeOwn {
			return deny
		}
		for _, id := range r.NodeIDs {
			if id != r.Principal.NodeID {
				return deny
			}
		}
		return Decision{Allowed: true}
	}
	return deny
}

type principalKey struct{}

// WithPrincipal returns a context that carries p to the services.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns the caller that the front authenticated; the zero Principal if there is none.
func PrincipalFrom(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// What a credential lookup can say no with. The front turns them into UnrecognizedClientException and
// ExpiredTokenException.
var (
	ErrUnknownKey = errors.New("unknown or inactive access key")
	ErrExpired    = errors.New("expired session")
)
