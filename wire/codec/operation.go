// Package codec is what the generated service packages of wire/ share: reading and writing JSON 1.1 and
// query+XML, validating against the model, page tokens, and the operation table that the HTTP front
// dispatches by. It knows no HTTP and no service. Start with Operation.
package codec

import (
	"context"
	"strings"

	"oakum.dev/arn"
)

// Protocol is how a service's operations are written on the wire.
type Protocol int

// The protocols served.
const (
	JSON11   Protocol = iota // X-Amz-Target and a JSON body
	Query                    // Action= in a form, XML answers
	RESTJSON                 // method and path, a JSON body
)

// Auth is how the caller of an operation proves itself.
type Auth int

// The ways of authentication.
const (
	SigV4     Auth = iota // an access key's signature
	Anonymous             // none: the operation proves its caller itself
	NodeKey               // the managed node's own RSA key in the place of an access key
)

// Shape is an operation's input.
type Shape interface {
	Decodable
	Encodable
	Validate() error
}

// Operation is one row of the table by which requests are dispatched. It is built by a generated
// package and bound to its handler by Bind.
type Operation struct {
	Service      string // signing name and package: "ssm"
	Name         string // "CreatePatchBaseline"
	Action       string // IAM action: "ssm:CreatePatchBaseline"
	Protocol     Protocol
	TargetPrefix string // JSON11: what X-Amz-Target has before the last dot
	Version      string // API version
	Namespace    string // Query: the XML namespace
	Method, Path string // RESTJSON: "PUT", "/resources/{Arn}/tags"
	Params       []Param
	Invalid      string // code of what breaks a rule of a shape; "" is ValidationException
	ReadOnly     bool   // changes nothing
	NodeOwn      bool   // a managed node performs it for itself
	Auth         Auth
	Quiet        bool  // frequent: success is not audited
	BodyLimit    int64 // bytes

	Paginated              bool  // takes NextToken and MaxResults
	MinResults, MaxResults int64 // range of MaxResults, 0 if not bounded

	IdempotencyToken string   // member, "" if none
	Sensitive        []string // members, dotted, that logs and audit must not hold
	Errors           []string // codes that the model lists

	NewInput  func() Shape
	NewOutput func() Decodable
	NodeIDs   func(in Shape) []string                         // every managed node that the input names; nil: none
	Resources func(in Shape, account, region string) []string // ARNs the input names; nil: none
	Call      func(ctx context.Context, in Shape) (Encodable, error)
}

// Param is a member of a RESTJSON input that is in the path or the query string.
type Param struct {
	Member, Name string // in the shape, on the wire
	InPath       bool
	Number       bool // an integer; else a string
}

// Decode reads a JSON body into a new input.
func (o *Operation) Decode(body []byte) (Shape, error) {
	in := o.NewInput()
	if err := Unmarshal(body, in); err != nil {
		return nil, err
	}
	return in, nil
}

// PageSize returns how many results one page holds: what the caller asked for, else 50 or less.
func (o *Operation) PageSize(maxResults *int64) int {
	if maxResults != nil {
		return int(*maxResults)
	}
	if o.MaxResults > 0 && o.MaxResults < 50 {
		return int(o.MaxResults)
	}
	return 50
}

// Bind returns op calling f. A nil output of f is answered as an empty one.
func Bind[I, O any, PI interface {
	*I
	Shape
}, PO interface {
	*O
	Encodable
}](op Operation, f func(context.Context, *I) (*O, error)) Operation {
	op.Call = func(ctx context.Context, in Shape) (Encodable, error) {
		out, err := f(ctx, (*I)(in.(PI)))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(O)
		}
		return PO(out), nil
	}
	return op
}

// Value returns what p points to, the zero value for nil.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// AppendID appends the id in p to ids, if there is one.
func AppendID(ids []string, p *string) []string {
	if p == nil {
		return ids
	}
	return append(ids, *p)
}

// AppendMessageNode appends the managed node that a message id, aws.ssm.COMMAND.NODE, is for; of a
// malformed id, the whole.
func AppendMessageNode(ids []string, p *string) []string {
	if p == nil {
		return ids
	}
	if parts := strings.Split(*p, "."); len(parts) == 4 && parts[0] == "aws" && parts[1] == "ssm" {
		return append(ids, parts[3])
	}
	return append(ids, *p)
}

// ResourceARN returns the ARN of the resource of a kind ("patchbaseline") named id; an id that is an ARN
// already is returned as it is, nil appends nothing.
func ResourceARN(arns []string, kind string, id *string, account, region string) []string {
	if id == nil {
		return arns
	}
	return append(arns, arn.Resource(kind, *id, account, region))
}

// TaggedARN is ResourceARN for the resource types of the tag operations, and NodeIDs' rule for them.
func TaggedARN(arns []string, resourceType, id *string, account, region string) []string {
	kind := map[string]string{
		"Document": "document", "ManagedInstance": "managed-instance", "MaintenanceWindow": "maintenancewindow",
		"Parameter": "parameter", "PatchBaseline": "patchbaseline", "OpsItem": "opsitem", "OpsMetadata": "opsmetadata",
		"Automation": "automation-execution", "Association": "association",
	}[Value(resourceType)]
	if kind == "" {
		return arns
	}
	return ResourceARN(arns, kind, id, account, region)
}
