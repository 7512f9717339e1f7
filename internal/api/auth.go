package api

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

// skew is how far a client's clock may be off, either way.
const skew = 5 * time.Minute

// dummySecret takes the place of an unknown key's secret, so that both take the same time.
const dummySecret = "the secret of a key that does not exist."

var hexHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func badSignature(format string, args ...any) *awserr.Error {
	return awserr.New("InvalidSignatureException", http.StatusBadRequest, format, args...)
}

var (
	errSignature = badSignature("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	errToken     = awserr.New("UnrecognizedClientException", http.StatusBadRequest, "The security token included in the request is invalid.")
	errExpired   = awserr.New("ExpiredTokenException", http.StatusBadRequest, "The security token included in the request is expired")
)

// identify reads the authorization and checks all of it that needs neither secret nor body. A nil result
// without error is a caller who is known already, or an operation that takes anonymous ones.
func (c *call) identify(as *iam.Principal) (*sigv4.Authorization, error) {
	if as != nil {
		c.principal = *as
		c.meta()
		return nil, nil
	}
	a, err := sigv4.Parse(c.r)
	if err != nil {
		if c.op != nil && c.op.Auth == codec.Anonymous && errors.Is(err, sigv4.ErrMissing) {
			c.principal = iam.Principal{Kind: iam.Anonymous}
			c.meta()
			return nil, nil
		}
		return nil, err
	}
	if err := c.checkScope(a); err != nil {
		return nil, err
	}
	if err := c.checkSigned(a); err != nil {
		return nil, err
	}
	return a, c.checkTime(a)
}

// meta fills what the request itself says about its caller.
func (c *call) meta() {
	c.principal.SourceIP = c.f.clientIP(c.r)
	c.principal.UserAgent = printable(c.r.UserAgent(), 512)
}

// checkScope sees that the signature is for the service that the request addresses.
func (c *call) checkScope(a *sigv4.Authorization) error {
	service := a.Scope.Service
	want := c.service
	switch {
	case want != "":
	case c.query && c.f.queryNS[service] != "":
		want = service
	case c.r.Header.Get("X-Amz-Target") == "":
		if rest, ok := c.f.REST[service]; ok {
			c.rest, want, c.query = &rest, service, false
		} else if c.f.paths[service] != nil {
			want, c.query = service, false
			c.routePath(service)
		}
	default:
		return nil // an unknown operation: authenticate, then say so
	}
	if want == "" {
		c.query = false
		return badSignature("Credential should be scoped to a service that is served here, not '%s'.", service)
	}
	c.service = want
	if service != want {
		return badSignature("Credential should be scoped to correct service: '%s'.", want)
	}
	return nil
}

// checkSigned sees that the host and every x-amz-* header is part of what was signed.
func (c *call) checkSigned(a *sigv4.Authorization) error {
	signed := map[string]bool{}
	for _, h := range a.SignedHeaders {
		signed[h] = true
	}
	if !signed["host"] {
		return badSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range c.r.Header {
		n := strings.ToLower(name)
		if !strings.HasPrefix(n, "x-amz-") || signed[n] {
			continue
		}
		if n == "x-amz-content-sha256" && isNode(a) {
			continue // checked against the body all the same
		}
		return badSignature("'%s' must be a 'SignedHeader' in the AWS Authorization.", n)
	}
	return nil
}

func isNode(a *sigv4.Authorization) bool { return strings.HasPrefix(a.AccessKeyID, "mi-") }

func (c *call) checkTime(a *sigv4.Authorization) error {
	now, text := c.start.UTC(), func(t time.Time) string { return t.UTC().Format(sigv4.TimeFormat) }
	oldest, unit := now.Add(-skew), "5 min."
	if a.Presigned {
		oldest, unit = now.Add(-a.Expires), a.Expires.String()
	}
	switch {
	case a.Time.Before(oldest.Truncate(time.Second)):
		return badSignature("Signature expired: %s is now earlier than %s (%s - %s)", text(a.Time), text(oldest), text(now), unit).With("reason", "skew")
	case a.Time.After(now.Add(skew)):
		return badSignature("Signature not yet current: %s is still later than %s (%s + 5 min.)", text(a.Time), text(now.Add(skew)), text(now)).With("reason", "skew")
	}
	return nil
}

// verify proves the signature over a body with this hash, and sets the principal.
func (c *call) verify(a *sigv4.Authorization, bodyHash string) error {
	payload, err := c.payloadHash(a, bodyHash)
	if err != nil {
		return err
	}
	if isNode(a) || c.op != nil && c.op.Auth == codec.NodeKey {
		err = c.verifyNode(a, payload)
	} else {
		err = c.verifyKey(a, payload)
	}
	if err != nil {
		return err
	}
	if r := c.principal.Region; r != "" && r != a.Scope.Region && c.service != "sts" {
		return errToken
	}
	c.principal.Region = a.Scope.Region
	c.meta()
	return nil
}

// payloadHash returns what the signer put for the payload's hash, once it is known to be true.
func (c *call) payloadHash(a *sigv4.Authorization, bodyHash string) (string, error) {
	sent := c.r.Header.Values("X-Amz-Content-Sha256")
	unsigned := c.rest != nil && c.rest.Unsigned
	switch {
	case len(sent) > 1:
		return "", badSignature("The x-amz-content-sha256 header may be given only once.")
	case len(sent) == 0 && a.Presigned && unsigned:
		return sigv4.UnsignedPayload, nil
	case len(sent) == 0:
		return bodyHash, nil
	case sent[0] == sigv4.UnsignedPayload || sent[0] == sigv4.StreamingUnsignedTrailer:
		if !unsigned || !c.f.secure(c.r) && c.r.ContentLength != 0 {
			return "", badSignature("The payload must be signed.")
		}
		return sent[0], nil
	case !hexHash.MatchString(sent[0]):
		return "", badSignature("The value of x-amz-content-sha256 is not supported.")
	case bodyHash == "": // streamed: checked at its end
		return sent[0], nil
	case !hmac.Equal([]byte(sent[0]), []byte(bodyHash)):
		return "", badSignature("The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	return bodyHash, nil
}

func (c *call) verifyKey(a *sigv4.Authorization, payload string) error {
	secret, p, err := c.f.Credentials.AccessKey(c.ctx, a.AccessKeyID, a.SessionToken)
	id, refuse := a.AccessKeyID, error(nil)
	switch {
	case errors.Is(err, ErrUnknownKey):
		id, secret, refuse = "", dummySecret, errToken
	case errors.Is(err, ErrExpired):
		id, secret, refuse = "", dummySecret, errExpired
	case err != nil:
		return err
	}
	key := c.f.keys.Key(id, secret, a.Scope)
	ok := c.matches(a, payload, func(sts string) bool {
		return hmac.Equal([]byte(sigv4.Signature(key, sts)), []byte(a.Signature))
	})
	switch {
	case refuse != nil:
		return refuse
	case !ok:
		return errSignature
	}
	p.AccessKeyID = a.AccessKeyID
	c.principal = p
	return nil
}

// matches tries the forms in which the same request may have been signed: the path normalised or not,
// the host as received or as a trusted proxy received it.
func (c *call) matches(a *sigv4.Authorization, payload string, equal func(stringToSign string) bool) bool {
	m := a.Message(c.r, payload)
	rules := []sigv4.PathRule{sigv4.Normalized, sigv4.Raw}
	if c.rest != nil && c.rest.Path == sigv4.S3 {
		rules = []sigv4.PathRule{sigv4.S3}
	}
	hosts := []string{m.Host}
	if fwd := c.r.Header.Get("X-Forwarded-Host"); fwd != "" && c.f.proxied(c.r) {
		hosts = append(hosts, fwd)
	}
	for _, m.Host = range hosts {
		var last string
		for _, rule := range rules {
			canonical := m.Canonical(rule)
			if canonical == last {
				continue
			}
			if last = canonical; equal(sigv4.StringToSign(a.Time, a.Scope, canonical)) {
				return true
			}
		}
	}
	return false
}

func (c *call) verifyNode(a *sigv4.Authorization, payload string) error {
	if c.op == nil || c.op.Auth != codec.NodeKey || !arn.IsHybridNodeID(a.AccessKeyID) || a.Presigned {
		return errToken
	}
	der, p, err := c.f.Credentials.NodeKey(c.ctx, a.AccessKeyID)
	if errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrExpired) {
		return errToken
	} else if err != nil {
		return err
	}
	pub, err := sigv4.ParseNodeKey(der)
	if err != nil {
		return err
	}
	if !c.matches(a, payload, func(sts string) bool { return sigv4.VerifyNode(pub, sts, a.Signature) }) {
		return errSignature
	}
	if !c.f.replays.first(a.Signature, c.start) {
		return badSignature("The signature has been used before.")
	}
	c.principal = p
	return nil
}

// serveREST verifies the signature and hands over to a service that routes by path.
func (c *call) serveREST(a *sigv4.Authorization) (release func(), err error) {
	release = func() {}
	if a == nil {
		return release, sigv4.ErrMissing
	}
	r := c.r
	if c.rest.Stream {
		if err := c.verify(a, c.streamHash()); err != nil {
			return release, err
		}
		if want := r.Header.Get("X-Amz-Content-Sha256"); hexHash.MatchString(want) {
			r = r.Clone(c.ctx)
			r.Body = &hashedBody{ReadCloser: c.r.Body, sum: sha256.New(), want: want}
		}
	} else {
		if release, err = c.read(c.bodyLimit()); err != nil {
			return release, err
		}
		if err := c.verify(a, sigv4.Hash(c.body)); err != nil {
			return release, err
		}
		r = r.Clone(c.ctx)
		r.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	if err := c.f.limits.rest(c.principal, c.start); err != nil {
		return release, err
	}
	c.wrote = true
	c.rest.Handler.ServeHTTP(c.w, r.WithContext(iam.WithPrincipal(c.ctx, c.principal)))
	return release, nil
}

// streamHash is the hash of a streamed body as far as it is known before reading: that of no body.
func (c *call) streamHash() string {
	if c.r.Header.Get("X-Amz-Content-Sha256") == "" && c.r.ContentLength == 0 {
		return sigv4.EmptyHash
	}
	return ""
}

type hashedBody struct {
	io.ReadCloser
	sum  hash.Hash
	want string
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(b.sum.Sum(nil)) != b.want {
		return n, sigv4.ErrPayloadHash
	}
	return n, err
}

// printable cuts s and drops what does not belong in a log line.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}
