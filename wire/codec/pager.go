package codec

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// ErrToken is a page token that this server did not make for this caller and these parameters.
var ErrToken = errors.New("page token is not one of this operation, account and parameters")

// Pager makes and reads page tokens: the last key of a page, authenticated, and bound to the question it
// is the answer to. Key is the secret, at least 16 bytes. It is safe for concurrent use.
type Pager struct{ Key []byte }

// Binding is the question that a token belongs to. Input is the operation's input; its NextToken and
// MaxResults may change between pages, nothing else.
type Binding struct {
	Operation, Account, Region string
	Input                      Encodable
}

// Cursor is where a page ended: the key of its last row and the instant that the listing is of.
type Cursor struct {
	Key  []string
	AsOf time.Time // may be zero
}

const (
	tokenVersion = 1
	tokenMAC     = 16
	maxTokenPart = 1 << 12
)

func (p *Pager) sum(b Binding, payload []byte) []byte {
	h := hmac.New(sha256.New, p.Key)
	var n [8]byte
	var params []byte
	if b.Input != nil {
		params = marshalWithout(b.Input, "NextToken", "MaxResults")
	}
	for _, part := range [][]byte{[]byte("oakum page token"), []byte(b.Operation), []byte(b.Account), []byte(b.Region), params, payload} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return h.Sum(nil)[:tokenMAC]
}

// Token returns the token that continues after c.
func (p *Pager) Token(b Binding, c Cursor) *string {
	buf := []byte{tokenVersion}
	var asOf int64
	if !c.AsOf.IsZero() {
		asOf = c.AsOf.UnixMicro()
	}
	buf = binary.AppendVarint(buf, asOf)
	buf = binary.AppendUvarint(buf, uint64(len(c.Key)))
	for _, k := range c.Key {
		buf = binary.AppendUvarint(buf, uint64(len(k)))
		buf = append(buf, k...)
	}
	s := base64.RawURLEncoding.EncodeToString(append(buf, p.sum(b, buf)...))
	return &s
}

// Cursor returns what a token says. A nil token is the first page, whose cursor is nil; a token that is
// foreign or broken is ErrToken.
func (p *Pager) Cursor(b Binding, token *string) (*Cursor, error) {
	if token == nil {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*token)
	if err != nil || strings.ContainsAny(*token, "\r\n") || // which decoding skips
		len(raw) < 1+tokenMAC || raw[0] != tokenVersion {
		return nil, ErrToken
	}
	body, sum := raw[:len(raw)-tokenMAC], raw[len(raw)-tokenMAC:]
	if !hmac.Equal(sum, p.sum(b, body)) {
		return nil, ErrToken
	}
	return parseCursor(body[1:])
}

func parseCursor(b []byte) (*Cursor, error) {
	c := &Cursor{}
	asOf, n := binary.Varint(b)
	if n <= 0 {
		return nil, ErrToken
	}
	if b = b[n:]; asOf != 0 {
		c.AsOf = time.UnixMicro(asOf).UTC()
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count > 64 {
		return nil, ErrToken
	}
	b = b[n:]
	for range count {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > maxTokenPart || uint64(len(b)-n) < size {
			return nil, ErrToken
		}
		c.Key = append(c.Key, string(b[n:n+int(size)]))
		b = b[n+int(size):]
	}
	if len(b) != 0 {
		return nil, ErrToken
	}
	return c, nil
}
