package agent

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

// session are temporary credentials of a node.
type session struct {
	sigv4.Credentials
	Issued, Expires time.Time // by the server's clock
}

// credentialSource hands out session credentials and renews them at half their life. One caller renews, the
// others wait or go on with what they have.
type credentialSource struct {
	node     *Node
	timing   Timing
	onChange func(error)                       // told about the outcome of each renewal
	borrow   func() (sigv4.Credentials, error) // of another agent, who renews them; nil for a node of our own

	sem chan struct{} // held while reading or changing what follows
	cur session
	// after a failed renewal:
	next     time.Time
	failures int
	err      error
}

func newCredentialSource(n *Node, t Timing) *credentialSource {
	s := &credentialSource{node: n, timing: t, sem: make(chan struct{}, 1)}
	s.load()
	return s
}

// get returns valid credentials. It waits as long as the server refuses or cannot be reached, until ctx ends,
// and never asks more often than the back-off allows.
func (s *credentialSource) get(ctx context.Context) (session, error) {
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return session{}, ctx.Err()
	}
	for {
		now := s.node.client.now()
		valid := s.cur.AccessKeyID != "" && now.Before(s.cur.Expires.Add(-time.Minute))
		if valid && now.Before(s.cur.Issued.Add(s.cur.Expires.Sub(s.cur.Issued)/2)) {
			return s.cur, nil
		}
		if pause := s.next.Sub(s.node.sys.Now()); pause > 0 {
			if valid {
				return s.cur, nil
			}
			if s.node.impatient {
				return session{}, s.err
			}
			if !wait(ctx, pause) {
				return session{}, ctx.Err()
			}
			continue
		}
		s.renew(ctx)
		if ctx.Err() != nil {
			return session{}, ctx.Err()
		}
	}
}

// refused drops credentials the server did not accept, unless they are so new that asking again is no use.
func (s *credentialSource) refused(ctx context.Context, old session) bool {
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return false
	}
	if s.cur.AccessKeyID != old.AccessKeyID {
		return true // somebody else renewed them meanwhile
	}
	if s.node.client.now().Sub(old.Issued) < time.Minute {
		return false
	}
	s.cur = session{}
	return true
}

func (s *credentialSource) renew(ctx context.Context) {
	var err error
	if s.borrow != nil {
		err = s.lend()
	} else {
		err = s.node.requestToken(ctx, s)
	}
	if ctx.Err() != nil {
		return
	}
	s.err = err
	if s.onChange != nil {
		s.onChange(err)
	}
	if err == nil {
		s.failures, s.next = 0, time.Time{}
		return
	}
	s.next = s.node.sys.Now().Add(s.pause(err))
	s.failures++
}

// borrowedFor is how long borrowed credentials are used before their file is read again: their agent renews them half an hour
// before they expire.
const borrowedFor = 10 * time.Minute

func (s *credentialSource) lend() error {
	c, err := s.borrow()
	if err != nil {
		return err
	}
	now := s.node.client.now()
	s.cur = session{Credentials: c, Issued: now, Expires: now.Add(2 * borrowedFor)}
	return nil
}

// pause returns how long to wait after a refused or failed token request.
// Source: agent-side waits of amazon-ssm-agent 3.3; outages are retried faster here.
func (s *credentialSource) pause(err error) time.Duration {
	denied := s.timing.Denied + s.node.sys.jitter(s.timing.Denied/5)
	b := backoff{sys: s.node.sys, base: s.timing.BackoffBase, cap: s.timing.BackoffCap, failures: s.failures}
	switch {
	case deniedForGood(err):
		return denied
	case temporary(err):
		return b.next()
	}
	b.cap = denied
	return s.timing.BackoffBase + b.next()
}

// deniedForGood reports whether the server knows the node no more, or refuses it.
func deniedForGood(err error) bool {
	switch awserr.Code(err) {
	case "MachineFingerprintDoesNotMatch", "AccessDeniedException", "InvalidInstanceId", "InvalidActivation":
		return true
	}
	return false
}

// requestToken gets new credentials, saves them, and rotates the node's key when the server asks for it.
func (n *Node) requestToken(ctx context.Context, s *credentialSource) error {
	rotate, err := n.newSession(ctx, s)
	if err != nil || !rotate || !n.rotates {
		return err
	}
	failed := n.rotateKey(ctx)
	// A server that has the new key takes the session of before no longer. When the rotation's answer was lost, the
	// next token tells which of the keys it has.
	_, err = n.newSession(ctx, s)
	switch {
	case failed == nil && err != nil:
		s.cur = session{}
		return err
	case failed == nil || len(n.reg.NextKey) == 0:
		return nil
	}
	return failed // the node goes on with the credentials that it has
}

// newSession gets credentials with the key that the server holds and saves them. rotate tells that the server wants
// another key.
func (n *Node) newSession(ctx context.Context, s *credentialSource) (rotate bool, err error) {
	var out ssm.RequestManagedInstanceRoleTokenOutput
	if err := n.askToken(ctx, &out); err != nil {
		return false, err
	}
	got := session{
		Credentials: sigv4.Credentials{AccessKeyID: codec.Value(out.AccessKeyId), SecretAccessKey: codec.Value(out.SecretAccessKey), SessionToken: codec.Value(out.SessionToken)},
		Issued:      n.client.now(), Expires: codec.TimeOf(out.TokenExpirationDate),
	}
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || !got.Expires.After(got.Issued) {
		return false, errors.New("the server's token is incomplete or has expired already")
	}
	s.cur = got
	if err := s.save(); err != nil {
		return false, fmt.Errorf("save credentials: %w", err)
	}
	return codec.Value(out.UpdateKeyPair), nil
}

// askToken signs with the node's key and, when that is refused while the answer of a rotation is missing, with the
// next one: exactly one of the two is the server's.
func (n *Node) askToken(ctx context.Context, out *ssm.RequestManagedInstanceRoleTokenOutput) error {
	fingerprint := n.fingerprint()
	ask := func(key *rsa.PrivateKey) error {
		return n.client.callAsNode(ctx, n.reg.InstanceID, key, "RequestManagedInstanceRoleToken", &ssm.RequestManagedInstanceRoleTokenInput{Fingerprint: &fingerprint}, out)
	}
	err := ask(n.key)
	if err == nil || awserr.Code(err) == "" || temporary(err) {
		return err
	}
	if !n.rotates { // the agent may have rotated the key since this program read it
		if reg, rerr := readRegistration(n.paths.dir); rerr == nil && reg.InstanceID == n.reg.InstanceID {
			if key, kerr := reg.key(); kerr == nil {
				n.reg, n.key = reg, key
				if err = ask(key); err == nil {
					return nil
				}
			}
		}
	}
	if len(n.reg.NextKey) == 0 {
		return err
	}
	next, kerr := parseKey(n.reg.NextKey)
	if kerr != nil || ask(next) != nil {
		return err
	}
	if !n.rotates {
		return nil // which key is the node's is written by the agent alone
	}
	return n.adoptNextKey(next)
}

// rotateKey replaces the node's key. The new key is on disk before the server hears of it, so that a lost
// answer leaves both to try. It is offered again until its fate is known: a request that was given up may still
// arrive, and the key that it carries must not have been forgotten then.
func (n *Node) rotateKey(ctx context.Context) error {
	var key *rsa.PrivateKey
	var err error
	if len(n.reg.NextKey) > 0 {
		key, err = parseKey(n.reg.NextKey)
	} else {
		key, err = n.makeNextKey()
	}
	if err != nil {
		return err
	}
	public, err := publicKey(key)
	if err != nil {
		return err
	}
	err = n.client.callAsNode(ctx, n.reg.InstanceID, n.key, "UpdateManagedInstancePublicKey",
		&ssm.UpdateManagedInstancePublicKeyInput{NewPublicKey: &public, NewPublicKeyType: new("Rsa")}, nil)
	if err != nil {
		return fmt.Errorf("rotate the node's key: %w", err)
	}
	return n.adoptNextKey(key)
}

func (n *Node) makeNextKey() (*rsa.PrivateKey, error) {
	key, der, err := newKey(n.sys)
	if err != nil {
		return nil, err
	}
	n.reg.NextKey = der
	if err := n.reg.save(n.paths.dir); err != nil {
		n.reg.NextKey = nil // it is not on disk, and so must not be offered
		return nil, err
	}
	return key, nil
}

func (n *Node) adoptNextKey(key *rsa.PrivateKey) error {
	n.key = key
	n.reg.PrivateKey, n.reg.NextKey = n.reg.NextKey, nil
	return n.reg.save(n.paths.dir)
}

// load takes cached credentials, so that a restart makes no call. A damaged cache is the same as none.
func (s *credentialSource) load() {
	if verifyOwned(s.node.paths.credentials, false) != nil {
		return
	}
	b, err := os.ReadFile(s.node.paths.credentials)
	if err != nil {
		return
	}
	var cur session
	if json.Unmarshal(b, &cur) == nil {
		s.cur = cur
	}
}

// save writes the cache and the shared credentials file that steps sign with.
func (s *credentialSource) save() error {
	b, err := json.Marshal(s.cur)
	if err != nil {
		return err
	}
	if err := journal.WriteFile(s.node.paths.credentials, b, 0o600); err != nil {
		return err
	}
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", s.cur.AccessKeyID, s.cur.SecretAccessKey, s.cur.SessionToken)
	return journal.WriteFile(s.node.paths.awsCredentials, []byte(text), 0o600)
}
