package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

// bodyTimeout is how long a client may take to send a body that the front reads.
const bodyTimeout = 60 * time.Second

// call is one request on its way through the front.
type call struct {
	f         *Front
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context
	id        string // request id
	start     time.Time
	op        *codec.Operation // nil if unknown
	query     bool             // query protocol
	service   string           // service that the request addresses, "" if not known
	rest      *REST
	principal iam.Principal
	body      []byte
	form      url.Values
	params    map[string]string // RESTJSON: what the path says
	wrote     bool
}

// ServeHTTP serves one signed request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.Landing != nil && landing(r) {
		f.Landing.ServeHTTP(w, r)
		return
	}
	f.serve(w, r, nil)
}

// ServeAs serves one request whose caller is known by other means than a signature, such as the
// console's session. Only operations of JSON services can be called so.
func (f *Front) ServeAs(w http.ResponseWriter, r *http.Request, p iam.Principal) {
	f.serve(w, r, &p)
}

// landing reports whether r is a person looking at the address.
func landing(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path == "/" &&
		r.Header.Get("X-Amz-Target") == "" && r.Header.Get("Authorization") == "" && !r.URL.Query().Has("X-Amz-Algorithm") &&
		!r.URL.Query().Has("AWSAccessKeyId")
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request, as *iam.Principal) {
	id, err := arn.NewUUID(rand.Reader)
	if err != nil { // crypto/rand does not fail on supported systems
		id = "00000000-0000-0000-0000-000000000000"
	}
	c := &call{f: f, w: w, r: r, ctx: r.Context(), id: id, start: f.Now()}
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("Date", c.start.UTC().Format(http.TimeFormat))
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			f.Log.LogAttrs(c.ctx, slog.LevelError, "panic in a request", slog.String("request_id", id), slog.String("op", c.name()),
				slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			if !c.wrote {
				c.fail(awserr.Internal())
			}
		}
	}()
	release, err := c.run(as)
	defer release()
	if err != nil {
		c.fail(err)
	}
}

func (c *call) name() string {
	if c.op == nil {
		return ""
	}
	return c.op.Action
}

// run takes the request through its steps; an error is answered by the caller.
func (c *call) run(as *iam.Principal) (release func(), err error) {
	release = func() {}
	if err := c.route(); err != nil {
		return release, err
	}
	auth, err := c.identify(as)
	if err != nil {
		return release, err
	}
	if c.rest != nil {
		return c.serveREST(auth)
	}
	if release, err = c.read(c.bodyLimit()); err != nil {
		return release, err
	}
	if auth != nil {
		if err := c.verify(auth, sigv4.Hash(c.body)); err != nil {
			return release, err
		}
	}
	c.ctx = iam.WithPrincipal(c.ctx, c.principal)
	if c.op == nil && c.query {
		if err := c.routeForm(auth); err != nil {
			return release, err
		}
	}
	if c.op == nil {
		return release, awserr.UnknownOperation()
	}
	return release, c.operate()
}

// route finds the operation by X-Amz-Target, or sees that a form or a path will tell.
func (c *call) route() error {
	if targets := c.r.Header.Values("X-Amz-Target"); len(targets) > 0 {
		c.op = c.f.targets[targets[0]]
		if c.op != nil {
			c.service = c.op.Service
		}
		if len(targets) > 1 || c.r.Method != http.MethodPost {
			c.op = nil
		}
		return c.checkContentType()
	}
	if t, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); t == "application/x-www-form-urlencoded" || c.r.URL.Query().Has("Action") {
		c.query = true
	}
	return nil
}

// routePath finds the operation of a service that routes by method and path; none is an unknown operation.
func (c *call) routePath(service string) {
	for _, op := range c.f.paths[service] {
		if op.Method != c.r.Method {
			continue
		}
		if params, ok := op.MatchPath(c.r.URL.EscapedPath()); ok {
			c.op, c.params = op, params
			return
		}
	}
}

func (c *call) checkContentType() error {
	ct := c.r.Header.Get("Content-Type")
	if ct == "" {
		return nil
	}
	switch t, _, _ := mime.ParseMediaType(ct); t {
	case "application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json":
		return nil
	}
	return awserr.Serialization("Content-Type must be application/x-amz-json-1.1")
}

// routeForm finds the operation of a query-protocol request.
func (c *call) routeForm(auth *sigv4.Authorization) error {
	form, err := url.ParseQuery(string(c.body))
	if err == nil && len(c.body) == 0 {
		form, err = url.ParseQuery(c.r.URL.RawQuery)
	}
	if err != nil {
		return awserr.New("MalformedQueryString", http.StatusBadRequest, "The query string contains a syntax error")
	}
	c.form = form
	if auth == nil {
		return nil
	}
	c.op = c.f.queries[auth.Scope.Service+"/"+form.Get("Version")+"/"+form.Get("Action")]
	if c.op == nil {
		return awserr.New("InvalidAction", http.StatusBadRequest, "Could not find operation %s for version %s", form.Get("Action"), form.Get("Version"))
	}
	return nil
}

func (c *call) bodyLimit() int64 {
	switch {
	case c.op != nil && c.op.BodyLimit > 0:
		return c.op.BodyLimit
	case c.rest != nil && c.rest.BodyLimit > 0:
		return c.rest.BodyLimit
	}
	return defaultBodyLimit
}

// read takes the body into memory, within the limit and the budget of all requests together; release
// gives the budget back.
func (c *call) read(limit int64) (release func(), err error) {
	release = func() {}
	if c.r.ContentLength > limit {
		return release, awserr.TooLarge(limit)
	}
	need := limit
	if c.r.ContentLength >= 0 {
		need = c.r.ContentLength
	}
	if need > 0 {
		need = min(need, c.f.BodyMemory)
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		if err := c.f.memory.Acquire(ctx, need); err != nil {
			return release, awserr.Unavailable("The server is busy, please try again")
		}
		release = func() { c.f.memory.Release(need) }
	}
	rc := http.NewResponseController(c.w)
	deadline := rc.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil // the real clock: this is about a socket
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(c.r.Body, limit+1))
	if deadline {
		_ = rc.SetReadDeadline(time.Time{}) // the connection is as good as gone if this fails
	}
	switch {
	case err != nil:
		return release, awserr.New("RequestTimeoutException", http.StatusBadRequest, "The request body could not be read").Because(err)
	case n > limit:
		return release, awserr.TooLarge(limit)
	}
	c.body = buf.Bytes()
	return release, nil
}

// operate authorizes, validates, calls and answers.
func (c *call) operate() error {
	op := c.op
	var in codec.Shape
	var err error
	switch op.Protocol {
	case codec.Query:
		in, err = op.DecodeForm(c.form)
	case codec.RESTJSON:
		in, err = op.DecodeREST(c.body, c.params, c.r.URL.Query())
	default:
		in, err = op.Decode(c.body)
	}
	if err != nil {
		return err
	}
	rec := c.record(in)
	var out codec.Encodable
	if err = c.authorize(in); err == nil {
		if err = c.f.limits.allow(c.principal, op, c.f.clientIP(c.r), c.start); err == nil {
			if err = validate(op, in); err == nil {
				ctx := c.ctx
				if !op.Quiet { // a frequent call that succeeds leaves no record, also where it changes something
					ctx = audit.WithPending(ctx, rec)
				}
				out, err = c.invoke(ctx, in)
			}
		}
	}
	c.audit(rec, out, err)
	if err != nil {
		return err
	}
	switch op.Protocol {
	case codec.Query:
		c.write(http.StatusOK, "text/xml", op.XML(out, c.id))
	case codec.RESTJSON:
		c.write(http.StatusOK, "application/json", codec.Marshal(out))
	default:
		c.write(http.StatusOK, "application/x-amz-json-1.1", codec.Marshal(out))
	}
	c.observe("")
	return nil
}

// validate checks the input's shape, and answers in the words of the service.
func validate(op *codec.Operation, in codec.Shape) error {
	err := in.Validate()
	if e, ok := errors.AsType[*awserr.Error](err); ok && op.Invalid != "" {
		return awserr.New(op.Invalid, http.StatusBadRequest, "%s", e.Message)
	}
	return err
}

// invoke calls the handler; a panic is a fault that is audited like any other.
func (c *call) invoke(ctx context.Context, in codec.Shape) (out codec.Encodable, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.op.Call(ctx, in)
}

func (c *call) authorize(in codec.Shape) error {
	op, p := c.op, c.principal
	if op.Auth == codec.Anonymous {
		return nil
	}
	req := iam.Request{Principal: p, Action: op.Action, ReadOnly: op.ReadOnly, NodeOwn: op.NodeOwn}
	if op.NodeIDs != nil {
		req.NodeIDs = op.NodeIDs(in)
	}
	if op.Resources != nil {
		req.Resources = op.Resources(in, p.Account, p.Region)
	}
	d := iam.Decide(req)
	if d.Allowed {
		return nil
	}
	resource := "arn:aws:" + op.Service + ":" + p.Region + ":" + p.Account + ":*"
	if len(req.Resources) > 0 {
		resource = req.Resources[0]
	}
	return awserr.AccessDenied("User: %s is not authorized to perform: %s on resource: %s because %s", p.ARN, op.Action, resource, d.Reason)
}

func (c *call) observe(code string) {
	if c.f.Observe != nil && c.op != nil {
		c.f.Observe(c.op, code, c.f.Now().Sub(c.start))
	}
	if c.f.Log.Enabled(c.ctx, slog.LevelDebug) {
		c.f.Log.LogAttrs(c.ctx, slog.LevelDebug, "call", slog.String("request_id", c.id), slog.String("op", c.name()),
			slog.String("account", c.principal.Account), slog.String("region", c.principal.Region), slog.String("principal", c.principal.ARN),
			slog.String("node", c.principal.NodeID), slog.String("code", code), slog.Duration("took", c.f.Now().Sub(c.start)))
	}
}
