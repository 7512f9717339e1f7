package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TimeFormat is the layout of X-Amz-Date.
const TimeFormat = "20060102T150405Z"

const dateFormat = "20060102"

// Credentials are an access key, with the session token that a temporary one needs.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
}

// Scope is what a signature is valid for.
type Scope struct {
	Date    string // 20261122
	Region  string
	Service string
}

// NewScope returns the scope of an instant.
func NewScope(t time.Time, region, service string) Scope {
	return Scope{Date: t.UTC().Format(dateFormat), Region: region, Service: service}
}

// String returns the scope as it stands in a credential.
func (s Scope) String() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/aws4_request"
}

// StringToSign returns what the signing key signs.
func StringToSign(t time.Time, s Scope, canonical string) string {
	return Algorithm + "\n" + t.UTC().Format(TimeFormat) + "\n" + s.String() + "\n" + Hash([]byte(canonical))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// SigningKey derives the day's key of a secret.
func SigningKey(secret string, s Scope) []byte {
	return mac(mac(mac(mac([]byte("AWS4"+secret), s.Date), s.Region), s.Service), "aws4_request")
}

// Signature returns the signature of a string to sign, in hex.
func Signature(signingKey []byte, stringToSign string) string {
	return hex.EncodeToString(mac(signingKey, stringToSign))
}

// KeyCache keeps derived signing keys. It is safe for concurrent use; its zero value is ready.
type KeyCache struct {
	Max int // entries kept, 4096 if 0

	mu   sync.Mutex
	keys map[cacheKey]cached
}

type cacheKey struct {
	id string
	Scope
}

type cached struct {
	secret [sha256.Size]byte
	key    []byte
}

// Key returns the signing key of an access key's secret, derived at most once a day and scope.
func (c *KeyCache) Key(accessKeyID, secret string, s Scope) []byte {
	k, sum := cacheKey{accessKeyID, s}, sha256.Sum256([]byte(secret))
	c.mu.Lock()
	have, ok := c.keys[k]
	c.mu.Unlock()
	if ok && have.secret == sum {
		return have.key
	}
	key := SigningKey(secret, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.Max
	if limit == 0 {
		limit = 4096
	}
	if c.keys == nil {
		c.keys = map[cacheKey]cached{}
	}
	for old := range c.keys {
		if len(c.keys) < limit {
			break
		}
		delete(c.keys, old)
	}
	c.keys[k] = cached{sum, key}
	return key
}

// unsigned are the headers that proxies and transports change.
var unsigned = []string{"authorization", "user-agent", "x-amzn-trace-id", "expect", "connection", "accept-encoding", "transfer-encoding"}

// signedHeaders returns the names that a signer signs: everything but what is changed under way.
func signedHeaders(r *http.Request) []string {
	names := []string{"host"}
	for name := range r.Header {
		if n := strings.ToLower(name); n != "host" && !slices.Contains(unsigned, n) {
			names = append(names, n)
		}
	}
	if r.ContentLength > 0 && r.Header.Get("Content-Length") == "" {
		names = append(names, "content-length")
	}
	slices.Sort(names)
	return names
}

func ruleOf(service string) PathRule {
	if service == "s3" {
		return S3
	}
	return Raw
}

// Sign adds X-Amz-Date, X-Amz-Security-Token and Authorization to r. payloadHash is the hex SHA-256 of the
// body; for S3 it is sent along, and may be UnsignedPayload. Headers added later are not signed.
func Sign(r *http.Request, payloadHash string, c Credentials, region, service string, now time.Time) {
	scope := NewScope(now, region, service)
	prepare(r, now, c.SessionToken)
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	}
	m := FromRequest(r)
	m.SignedHeaders, m.PayloadHash = signedHeaders(r), payloadHash
	sts := StringToSign(now, scope, m.Canonical(ruleOf(service)))
	authorize(r, c.AccessKeyID, scope, m.SignedHeaders, Signature(SigningKey(c.SecretAccessKey, scope), sts))
}

func prepare(r *http.Request, now time.Time, token string) {
	r.Header.Del("Authorization")
	r.Header.Set("X-Amz-Date", now.UTC().Format(TimeFormat))
	if token != "" {
		r.Header.Set("X-Amz-Security-Token", token)
	}
}

func authorize(r *http.Request, id string, scope Scope, signed []string, signature string) {
	r.Header.Set("Authorization", Algorithm+" Credential="+id+"/"+scope.String()+
		", SignedHeaders="+strings.Join(signed, ";")+", Signature="+signature)
}

// Presign returns the URL of r with a signature in its query, valid for a time of at most 7 days. Only
// the host is signed besides the query; payloadHash is UnsignedPayload for S3, EmptyHash for a GET elsewhere.
func Presign(r *http.Request, payloadHash string, c Credentials, region, service string, now time.Time, valid time.Duration) string {
	scope := NewScope(now, region, service)
	q := url.Values{
		"X-Amz-Algorithm":     {Algorithm},
		"X-Amz-Credential":    {c.AccessKeyID + "/" + scope.String()},
		"X-Amz-Date":          {now.UTC().Format(TimeFormat)},
		"X-Amz-Expires":       {strconv.Itoa(int(valid.Seconds()))},
		"X-Amz-SignedHeaders": {"host"},
	}
	if c.SessionToken != "" {
		q.Set("X-Amz-Security-Token", c.SessionToken)
	}
	m := FromRequest(r)
	raw := strings.ReplaceAll(q.Encode(), "+", "%20")
	if m.RawQuery != "" {
		raw = m.RawQuery + "&" + raw
	}
	m.RawQuery, m.SignedHeaders, m.PayloadHash = raw, []string{"host"}, payloadHash
	sts := StringToSign(now, scope, m.Canonical(ruleOf(service)))
	u := *r.URL
	u.RawQuery = raw + "&X-Amz-Signature=" + Signature(SigningKey(c.SecretAccessKey, scope), sts)
	return u.String()
}
