package account

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/iam"
)

// NodeSessionLife is how long a node's temporary credentials live; agents renew them at half of it.
const NodeSessionLife = time.Hour

// session is the sealed content of a session token: all that is needed to verify its key without a lookup
// other than the node's epoch.
type session struct {
	NodeID  string    `json:"n"`
	Account string    `json:"a"`
	Region  string    `json:"r"`
	Epoch   int64     `json:"e"`
	Secret  string    `json:"s"`
	Expires time.Time `json:"x"`
}

// Credentials are temporary credentials.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// IssueNodeSession makes temporary credentials of a registered node.
func (s *Service) IssueNodeSession(ctx context.Context, nodeID string) (Credentials, error) {
	n, err := s.node(ctx, nodeID)
	if err != nil {
		return Credentials{}, err
	}
	id, err := arn.NewAccessKeyID(s.random, true)
	if err != nil {
		return Credentials{}, err
	}
	raw := make([]byte, 30)
	if _, err := io.ReadFull(s.random, raw); err != nil {
		return Credentials{}, err
	}
	now := s.now()
	c := Credentials{AccessKeyID: id, SecretAccessKey: base64.StdEncoding.EncodeToString(raw), Expiration: now.Add(NodeSessionLife).UTC().Truncate(time.Second)}
	body, err := json.Marshal(session{n.ID, n.Account, n.Region, n.KeyEpoch, c.SecretAccessKey, c.Expiration})
	if err != nil {
		return Credentials{}, err
	}
	day := tokenDay(now)
	sealed, err := seal(s.master, body, tokenAAD(id, day), s.random)
	if err != nil {
		return Credentials{}, err
	}
	c.SessionToken = "1." + strconv.FormatInt(day, 36) + "." + base64.RawURLEncoding.EncodeToString(sealed)
	return c, nil
}

func tokenDay(t time.Time) int64 { return t.Unix() / 86400 }

func tokenAAD(id string, day int64) string {
	return "session|" + id + "|" + strconv.FormatInt(day, 10) + "|v1"
}

// sessionKey opens the token of a temporary key. The token is bound to its key id; a node's epoch makes
// tokens of before a key rotation or a deregistration worthless.
func (s *Service) sessionKey(ctx context.Context, id, token string) (string, iam.Principal, error) {
	unknown := func() (string, iam.Principal, error) { return "", iam.Principal{}, iam.ErrUnknownKey }
	version, rest, _ := strings.Cut(token, ".")
	dayText, sealedText, ok := strings.Cut(rest, ".")
	if !ok || version != "1" || len(token) > 2048 {
		return unknown()
	}
	day, err := strconv.ParseInt(dayText, 36, 64)
	if err != nil {
		return unknown()
	}
	sealed, err := base64.RawURLEncoding.DecodeString(sealedText)
	if err != nil {
		return unknown()
	}
	body, err := unseal(s.master, sealed, tokenAAD(id, day))
	if err != nil {
		return unknown()
	}
	var t session
	if err := json.Unmarshal(body, &t); err != nil {
		return unknown()
	}
	if !s.now().Before(t.Expires) {
		return "", iam.Principal{}, iam.ErrExpired
	}
	n, err := s.node(ctx, t.NodeID)
	if err != nil {
		return "", iam.Principal{}, err
	}
	if n.KeyEpoch != t.Epoch || n.Account != t.Account || n.Region != t.Region {
		return unknown()
	}
	p := nodePrincipal(n)
	p.AccessKeyID = id
	return t.Secret, p, nil
}
