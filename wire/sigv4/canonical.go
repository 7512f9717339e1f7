// Package sigv4 signs requests with AWS Signature Version 4 and reads what others signed: canonical
// request, string to sign, signing key, Authorization header, presigned query, and the RSA form in which
// a managed node signs with its own key. It decides nothing about who may do what.
// Start with Sign on the client's side and Parse on the server's.
package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Algorithm is the only signing algorithm that is spoken; nodes' RSA signatures carry the same name.
const Algorithm = "AWS4-HMAC-SHA256"

// Values of X-Amz-Content-Sha256 that are not a hash.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// EmptyHash is the SHA-256 of an empty payload.
const EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// ErrPayloadHash is what reading a payload ends with when it is not the one that was signed.
var ErrPayloadHash = errors.New("payload does not have the signed hash")

// Hash returns the SHA-256 of a payload in hex.
func Hash(payload []byte) string {
	h := sha256.Sum256(payload)
	return hex.EncodeToString(h[:])
}

// Message is a request as a signature sees it.
type Message struct {
	Method        string
	Path          string // as on the wire: escaped, without the query
	RawQuery      string
	Host          string
	ContentLength int64 // for a signed content-length that is not in Header; negative if unknown
	Header        http.Header
	SignedHeaders []string // lower case, sorted
	PayloadHash   string
}

// PathRule says how the canonical path is made from the one on the wire.
type PathRule int

// The path rules.
const (
	Normalized PathRule = iota // dot segments and double slashes removed, encoded once more
	Raw                        // encoded once more only; what signers that do not normalise sign
	S3                         // encoded once, nothing removed
)

// Canonical returns the canonical request.
func (m *Message) Canonical(rule PathRule) string {
	var b strings.Builder
	b.WriteString(m.Method)
	b.WriteByte('\n')
	b.WriteString(CanonicalPath(m.Path, rule))
	b.WriteByte('\n')
	b.WriteString(CanonicalQuery(m.RawQuery, ""))
	b.WriteByte('\n')
	for _, name := range m.SignedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range m.values(name) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(fold(v))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(m.SignedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(m.PayloadHash)
	return b.String()
}

func (m *Message) values(name string) []string {
	switch name {
	case "host":
		return []string{m.Host}
	case "content-length":
		if v := m.Header.Values("Content-Length"); len(v) == 0 && m.ContentLength >= 0 {
			return []string{strconv.FormatInt(m.ContentLength, 10)}
		}
	case "transfer-encoding":
		if v := m.Header.Values("Transfer-Encoding"); len(v) == 0 {
			return []string{"chunked"}
		}
	}
	return m.Header[http.CanonicalHeaderKey(name)]
}

// fold trims a header's value and folds inner runs of blanks.
func fold(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if !strings.Contains(s, "  ") && !strings.ContainsAny(s, "\t\r\n") {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }), " ")
}

// CanonicalPath returns the canonical form of an escaped path.
func CanonicalPath(path string, rule PathRule) string {
	if path == "" {
		return "/"
	}
	switch rule {
	case S3:
		segments := strings.Split(path, "/")
		for i, seg := range segments { // one by one: %2F in a key stays as it is
			segments[i] = encode(unescape(seg, false), false)
		}
		return strings.Join(segments, "/")
	case Normalized:
		return encode(removeDots(path), true)
	}
	return encode(path, true)
}

func removeDots(path string) string {
	var out []string
	for seg := range strings.SplitSeq(path, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, seg)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if len(out) > 0 && (strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")) {
		clean += "/"
	}
	return clean
}

// CanonicalQuery returns the canonical form of a raw query, without the parameter named skip.
func CanonicalQuery(raw, skip string) string {
	if raw == "" {
		return ""
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		n, v, _ := strings.Cut(part, "=")
		n = unescape(n, true)
		if skip != "" && n == skip {
			continue
		}
		pairs = append(pairs, pair{encode(n, false), encode(unescape(v, true), false)})
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// encode percent-encodes every byte but RFC 3986's unreserved ones, and slashes if they are kept.
func encode(s string, keepSlash bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '~' || keepSlash && c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

// unescape undoes percent encoding; what is not a valid escape stays as it is.
func unescape(s string, plus bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			b = append(b, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		case c == '+' && plus:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// FromRequest returns the message of a request: on a server from its request line, on a client from its
// URL. SignedHeaders and PayloadHash are left to the caller.
func FromRequest(r *http.Request) Message {
	m := Message{
		Method: r.Method, Host: r.Host, ContentLength: r.ContentLength, Header: r.Header,
		Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery,
	}
	if uri := r.RequestURI; uri != "" {
		if !strings.HasPrefix(uri, "/") {
			if _, rest, ok := strings.Cut(uri, "://"); ok {
				_, path, _ := strings.Cut(rest, "/")
				uri = "/" + path
			}
		}
		m.Path, m.RawQuery, _ = strings.Cut(uri, "?")
	}
	if m.Host == "" {
		m.Host = r.URL.Host
	}
	return m
}
