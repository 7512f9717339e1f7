package sigv4

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"oakum.dev/awserr"
)

// maxExpires is the longest life of a presigned URL, in seconds.
const maxExpires = 604800

// Authorization is what a request says about its signature. Nothing of it is proven.
type Authorization struct {
	AccessKeyID   string
	Scope         Scope
	SignedHeaders []string // lower case, sorted
	Signature     string   // hex, or base64 of a node's RSA signature
	SessionToken  string
	Time          time.Time
	Presigned     bool
	Expires       time.Duration // of a presigned request
}

func incomplete(format string, args ...any) error {
	return awserr.New("IncompleteSignatureException", http.StatusBadRequest, format, args...)
}

// ErrMissing is the answer to a request without any signature.
var ErrMissing = awserr.New("MissingAuthenticationTokenException", http.StatusBadRequest, "Missing Authentication Token")

// Parse reads the authorization of a request from its header or its query. It checks form only: one
// header of each kind, known algorithm, complete credential, dates that agree.
func Parse(r *http.Request) (*Authorization, error) {
	headers := r.Header.Values("Authorization")
	raw := FromRequest(r).RawQuery
	query := strings.Contains(raw, "X-Amz-Algorithm=")
	switch {
	case len(headers) > 1 || len(headers) == 1 && query:
		return nil, incomplete("Only one authorization may be given: a header or the query parameters")
	case query:
		return ParseQuery(raw)
	case len(headers) == 0:
		return nil, ErrMissing
	}
	a, err := ParseHeader(headers[0])
	if err != nil {
		return nil, err
	}
	dates := r.Header.Values("X-Amz-Date")
	if len(dates) > 1 || len(r.Header.Values("X-Amz-Security-Token")) > 1 || len(r.Header.Values("Host")) > 0 {
		return nil, incomplete("Host, X-Amz-Date and X-Amz-Security-Token may be given only once")
	}
	if len(dates) == 1 {
		a.Time, err = time.Parse(TimeFormat, dates[0])
	} else if date := r.Header.Get("Date"); date != "" {
		if a.Time, err = http.ParseTime(date); err != nil {
			a.Time, err = time.Parse(TimeFormat, date)
		}
	} else {
		return nil, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if err != nil {
		return nil, incomplete("Date must be in ISO-8601 'basic format'")
	}
	a.SessionToken = r.Header.Get("X-Amz-Security-Token")
	return a, a.checkDate()
}

func (a *Authorization) checkDate() error {
	a.Time = a.Time.UTC()
	if day := a.Time.Format(dateFormat); day != a.Scope.Date {
		return awserr.New("InvalidSignatureException", http.StatusBadRequest,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", a.Scope.Date, day)
	}
	return nil
}

// ParseHeader reads the value of an Authorization header, tolerant of blanks after commas.
func ParseHeader(value string) (*Authorization, error) {
	alg, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if alg != Algorithm {
		return nil, incomplete("Unsupported authorization algorithm; %s is required", Algorithm)
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" {
			return nil, incomplete("Authorization header is not a list of name=value")
		}
		if _, twice := params[name]; twice {
			return nil, incomplete("Authorization header has '%s' twice", name)
		}
		params[name] = v
	}
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if params[name] == "" {
			return nil, incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	a := &Authorization{Signature: params["Signature"]}
	if err := a.credential(params["Credential"]); err != nil {
		return nil, err
	}
	return a, a.headers(params["SignedHeaders"])
}

// ParseQuery reads the authorization of a presigned request.
func ParseQuery(raw string) (*Authorization, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, incomplete("The query string cannot be read")
	}
	get := func(name string) (string, error) {
		v := q[name]
		if len(v) != 1 || v[0] == "" {
			return "", incomplete("AWS query-string parameters must include '%s' once", name)
		}
		return v[0], nil
	}
	var text [6]string
	for i, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Expires"} {
		if name == "X-Amz-Expires" && len(q[name]) == 0 {
			text[i] = "900"
			continue
		}
		if text[i], err = get(name); err != nil {
			return nil, err
		}
	}
	if text[0] != Algorithm {
		return nil, incomplete("Unsupported authorization algorithm; %s is required", Algorithm)
	}
	a := &Authorization{Signature: text[4], Presigned: true}
	if tokens := q["X-Amz-Security-Token"]; len(tokens) > 1 {
		return nil, incomplete("AWS query-string parameters must include 'X-Amz-Security-Token' once")
	} else if len(tokens) == 1 {
		a.SessionToken = tokens[0]
	}
	if err := a.credential(text[1]); err != nil {
		return nil, err
	}
	if a.Time, err = time.Parse(TimeFormat, text[2]); err != nil {
		return nil, incomplete("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.Atoi(text[5])
	if err != nil || seconds < 0 || seconds > maxExpires {
		return nil, incomplete("X-Amz-Expires must be between 0 and %d", maxExpires)
	}
	a.Expires = time.Duration(seconds) * time.Second
	if err := a.headers(text[3]); err != nil {
		return nil, err
	}
	return a, a.checkDate()
}

var (
	keyID     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`) })
	scopeWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]{1,64}$`) })
	scopeDate = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{8}$`) })
)

func (a *Authorization) credential(s string) error {
	p := strings.Split(s, "/")
	if len(p) != 5 || p[4] != "aws4_request" {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request")
	}
	if !keyID().MatchString(p[0]) || !scopeDate().MatchString(p[1]) || !scopeWord().MatchString(p[2]) || !scopeWord().MatchString(p[3]) {
		return incomplete("Credential must be keyid/date/region/service/aws4_request")
	}
	a.AccessKeyID, a.Scope = p[0], Scope{Date: p[1], Region: p[2], Service: p[3]}
	return nil
}

func (a *Authorization) headers(s string) error {
	a.SignedHeaders = strings.Split(strings.ToLower(s), ";")
	slices.Sort(a.SignedHeaders)
	if slices.Contains(a.SignedHeaders, "") || len(a.SignedHeaders) > 200 {
		return incomplete("SignedHeaders must be a list of header names")
	}
	if len(slices.Compact(slices.Clone(a.SignedHeaders))) != len(a.SignedHeaders) {
		return incomplete("SignedHeaders names a header twice")
	}
	return nil
}

// Message returns the message that a received request's signature is over. payloadHash is that of the
// body as read, or the word that stands for it.
func (a *Authorization) Message(r *http.Request, payloadHash string) Message {
	m := FromRequest(r)
	m.SignedHeaders, m.PayloadHash = a.SignedHeaders, payloadHash
	if a.Presigned {
		m.RawQuery = CanonicalQuery(m.RawQuery, "X-Amz-Signature")
	}
	return m
}
