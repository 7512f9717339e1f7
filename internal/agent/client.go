package agent

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

const maxAnswer = 16 << 20

// targets are the X-Amz-Target prefixes of the services a node calls.
var targets = map[string]string{"ssm": "AmazonSSM", "ec2messages": "EC2WindowsMessageDeliveryService", "oakum": "Oakum"}

// Client makes signed calls as one node. It is safe for concurrent use.
type Client struct {
	http      *http.Client
	endpoint  *url.URL
	region    string
	userAgent string
	sys       *System
	timeout   time.Duration
	creds     *credentialSource // nil while registering
	skew      atomic.Int64      // nanoseconds that the server's clock is ahead
}

// Call performs one operation of ssm, ec2messages or oakum with the node's session credentials and reads the
// answer into out, which may be nil. Network faults, throttling and 5xx answers are tried four times in all.
// An answer that names an error is an *awserr.Error.
func (c *Client) Call(ctx context.Context, service, op string, in codec.Encodable, out codec.Decodable) error {
	b := &backoff{sys: c.sys, base: 500 * time.Millisecond, cap: 20 * time.Second}
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, c.timeout, service, op, in, out)
		if err == nil || attempt == 4 || !temporary(err) || !wait(ctx, b.next()) {
			return err
		}
	}
}

// once is Call without retries, but for one after a clock difference has been learnt or a session was refused.
func (c *Client) once(ctx context.Context, timeout time.Duration, service, op string, in codec.Encodable, out codec.Decodable) error {
	body := codec.Marshal(in)
	for attempt := 1; ; attempt++ {
		creds, err := c.creds.get(ctx)
		if err != nil {
			return err
		}
		skew := c.skew.Load()
		err = c.send(ctx, timeout, service, op, body, out, func(r *http.Request) error {
			sigv4.Sign(r, sigv4.Hash(body), creds.Credentials, c.region, service, c.now())
			return nil
		})
		if err == nil || attempt == 2 {
			return err
		}
		switch {
		case c.clockMoved(skew, err):
		case refusedSession(err) && c.creds.refused(ctx, creds):
		default:
			return err
		}
	}
}

// callAsNode performs a call signed with the node's own key.
func (c *Client) callAsNode(ctx context.Context, nodeID string, key *rsa.PrivateKey, op string, in codec.Encodable, out codec.Decodable) error {
	body := codec.Marshal(in)
	for attempt := 1; ; attempt++ {
		skew := c.skew.Load()
		err := c.send(ctx, c.timeout, "ssm", op, body, out, func(r *http.Request) error {
			return sigv4.SignNode(c.sys.Rand, r, sigv4.Hash(body), nodeID, c.region, key, c.now())
		})
		if err == nil || attempt == 2 || !c.clockMoved(skew, err) {
			return err
		}
	}
}

// now is the server's time as far as it is known.
func (c *Client) now() time.Time { return c.sys.Now().Add(time.Duration(c.skew.Load())) }

// clockMoved reports whether a signature was refused and the server's clock turned out to be another one.
func (c *Client) clockMoved(before int64, err error) bool {
	switch awserr.Code(err) {
	case "RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestInTheFuture", "AccessDeniedException":
		d := time.Duration(c.skew.Load() - before)
		return d.Abs() > 30*time.Second
	}
	return false
}

// send makes one request. sign is nil for anonymous calls.
func (c *Client) send(ctx context.Context, timeout time.Duration, service, op string, body []byte, out codec.Decodable, sign func(*http.Request) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String()+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", targets[service]+"."+op)
	req.Header.Set("User-Agent", c.userAgent)
	if sign != nil {
		if err := sign(req); err != nil {
			return err
		}
	}
	sent := c.sys.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", op, unwrapURL(err))
	}
	defer resp.Body.Close()
	c.learnTime(resp.Header.Get("Date"), sent)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", op, err)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("the answer of %s is larger than %d bytes", op, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return apiError(resp, answer)
	}
	if out == nil {
		return nil
	}
	if err := codec.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", op, err)
	}
	return nil
}

// learnTime measures the server's clock, which it gives in whole seconds.
func (c *Client) learnTime(date string, sent time.Time) {
	server, err := http.ParseTime(date)
	if err != nil {
		return
	}
	received := c.sys.Now()
	skew := server.Add(500 * time.Millisecond).Sub(sent.Add(received.Sub(sent) / 2))
	if received.Sub(sent) > 5*time.Second {
		skew = server.Sub(received) // a held poll: the header was written at the end
	}
	if skew.Abs() < 2*time.Second {
		skew = 0
	}
	c.skew.Store(int64(skew))
}

func apiError(resp *http.Response, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	if json.Unmarshal(body, &e) != nil || e.Type == "" {
		e.Type, e.Message = "UnknownError", http.StatusText(resp.StatusCode)
	}
	if i := strings.LastIndexByte(e.Type, '#'); i >= 0 {
		e.Type = e.Type[i+1:]
	}
	if e.Message == "" {
		e.Message = e.Upper
	}
	return awserr.New(e.Type, resp.StatusCode, "%s", e.Message)
}

// temporary reports whether the same call may succeed a little later.
func temporary(err error) bool {
	e, ok := errors.AsType[*awserr.Error](err)
	if !ok {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, errPin)
	}
	switch e.Code {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "TooManyUpdates", "ServiceUnavailable", "InternalServerError":
		return true
	}
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// refusedSession reports whether an error means that session credentials are no longer good.
func refusedSession(err error) bool {
	switch awserr.Code(err) {
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
		"AccessDeniedException", "IncompleteSignature", "MissingAuthenticationTokenException":
		return true
	}
	return false
}

func unwrapURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err // its text would repeat the address
	}
	return err
}
