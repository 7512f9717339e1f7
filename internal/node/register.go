package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Kinds of resources of which a change of tags has consequences.
const (
	resourceNode        = "ManagedInstance"
	resourceAssociation = "Association"
)

// tooManyFailures slows down guessing: five wrong codes a minute for an activation, ten for an address.
func (s *Service) tooManyFailures(activationID, ip string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) > 10000 {
		clear(s.failures)
	}
	now, limited := s.now(), false
	for key, perMinute := range map[string]int{"activation " + activationID: 5, "address " + ip: 10} {
		if l := s.failures[key]; l != nil && l.TokensAt(now) < 1 {
			limited = true
		} else if l == nil {
			s.failures[key] = rate.NewLimiter(rate.Every(time.Minute/time.Duration(perMinute)), perMinute)
		}
	}
	return limited
}

func (s *Service) countFailure(activationID, ip string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range []string{"activation " + activationID, "address " + ip} {
		if l := s.failures[key]; l != nil {
			l.AllowN(s.now(), 1)
		}
	}
}

// RegisterManagedInstance makes a node of whoever knows an activation's code. It is called without a signature.
// The number of registrations and the expiry are checked in the transaction that makes the node.
func (s *Service) RegisterManagedInstance(ctx context.Context, in *ssm.RegisterManagedInstanceInput) (*ssm.RegisterManagedInstanceOutput, error) {
	caller := iam.PrincipalFrom(ctx)
	activationID, code := codec.Value(in.ActivationId), codec.Value(in.ActivationCode)
	if s.tooManyFailures(activationID, caller.SourceIP) {
		return nil, awserr.Throttling()
	}
	key, keyType, err := parsePublicKey(codec.Value(in.PublicKey), codec.Value(in.PublicKeyType))
	if err != nil {
		return nil, ssm.InvalidPublicKey("%v", err)
	}
	id, err := arn.NewHybridNodeID(s.random)
	if err != nil {
		return nil, err
	}
	invalid := ssm.InvalidActivation("The activation is not valid. The activation might have been deleted, or the ActivationId and the ActivationCode do not match.")
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.ActivationByID(activationID)
		if errors.Is(err, store.ErrNotFound) {
			return invalid
		}
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare([]byte(a.CodeHash), []byte(store.Hash([]byte(code)))) != 1 || a.Deleted {
			return invalid
		}
		if rec := audit.Pending(ctx); rec != nil { // an unsigned call belongs to the activation's tenant
			rec.Account, rec.Region = a.Account, a.Region
		}
		ok, err := tx.TakeRegistration(activationID)
		if err != nil {
			return err
		}
		if !ok {
			if !a.ExpiresAt.After(tx.Now()) {
				return ssm.ActivationExpired("The activation is expired.")
			}
			return ssm.RegistrationLimitExceeded("Registration limit exceeded for the activation: %d nodes have registered with it.", a.RegistrationsCount)
		}
		return s.insertNode(tx, a, store.Node{ID: id, PublicKey: key, PublicKeyType: keyType, Fingerprint: codec.Value(in.Fingerprint)})
	})
	if err != nil {
		if errors.Is(err, invalid) {
			s.countFailure(activationID, caller.SourceIP)
		}
		return nil, err
	}
	return &ssm.RegisterManagedInstanceOutput{InstanceId: &id}, nil
}

func (s *Service) insertNode(tx *store.Tx, a store.Activation, n store.Node) error {
	sc := store.Scope{Account: a.Account, Region: a.Region}
	var tags []ssm.Tag
	if err := json.Unmarshal([]byte(a.Tags), &tags); err != nil {
		return fmt.Errorf("tags of activation %s: %w", a.ID, err)
	}
	var err error
	if n.Num, err = tx.NextNumber(sc, "node"); err != nil {
		return err
	}
	n.Account, n.Region, n.ActivationID, n.Name, n.IamRole = a.Account, a.Region, a.ID, a.DefaultInstanceName, a.IamRole
	n.RegisteredAt, n.KeyEpoch = tx.Now(), 1
	for _, t := range tags {
		if err := tx.PutTag(sc, resourceNode, n.ID, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
			return err
		}
	}
	n.PatchGroup = patchGroup(tags)
	return tx.InsertNode(n)
}

// patchGroup is the value of the tag PatchGroup or, without one, of Patch Group.
func patchGroup(tags []ssm.Tag) string {
	spaced := ""
	for _, t := range tags {
		switch codec.Value(t.Key) {
		case "PatchGroup":
			return codec.Value(t.Value)
		case "Patch Group":
			spaced = codec.Value(t.Value)
		}
	}
	return spaced
}

// parsePublicKey checks a node's public key: base64 of a PKIX structure, RSA of at least 2048 bits or P-256.
func parsePublicKey(text, keyType string) ([]byte, string, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, "", errors.New("the public key is not base64")
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, "", errors.New("the public key cannot be read")
	}
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 || k.N.BitLen() > 8192 {
			return nil, "", errors.New("the RSA key must have 2048 to 8192 bits")
		}
		if keyType != "" && keyType != "Rsa" {
			return nil, "", fmt.Errorf("the key is of type Rsa, not %s", keyType)
		}
		return der, "Rsa", nil
	case *ecdsa.PublicKey:
		return nil, "", errors.New("only RSA keys are supported")
	}
	return nil, "", errors.New("only RSA keys are supported")
}

// RequestManagedInstanceRoleToken gives the node temporary credentials. The front has verified the node's own
// signature. The fingerprint must be the one that the node registered with: another one means a clone.
func (s *Service) RequestManagedInstanceRoleToken(ctx context.Context, in *ssm.RequestManagedInstanceRoleTokenInput) (*ssm.RequestManagedInstanceRoleTokenOutput, error) {
	p := iam.PrincipalFrom(ctx)
	sc := store.Scope{Account: p.Account, Region: p.Region}
	var n store.Node
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { n, err = tx.Node(sc, p.NodeID); return err }); err != nil {
		return nil, notANode(err, p.NodeID)
	}
	if subtle.ConstantTimeCompare([]byte(n.Fingerprint), []byte(codec.Value(in.Fingerprint))) != 1 {
		return nil, ssm.MachineFingerprintDoesNotMatch("The fingerprint does not match the one the node registered with: its hardware changed or it is a copy of another machine. Register it again.")
	}
	c, err := s.creds.IssueNodeSession(ctx, p.NodeID)
	if err != nil {
		return nil, err
	}
	s.Seen(p)
	return &ssm.RequestManagedInstanceRoleTokenOutput{
		AccessKeyId: &c.AccessKeyID, SecretAccessKey: &c.SecretAccessKey, SessionToken: &c.SessionToken,
		TokenExpirationDate: codec.NewTime(c.Expiration), UpdateKeyPair: new(false),
	}, nil
}

// UpdateManagedInstancePublicKey replaces the node's key; the call is signed with the old one. Exactly one of
// the two keys verifies at any time, so that an agent that lost the answer can find out which.
func (s *Service) UpdateManagedInstancePublicKey(ctx context.Context, in *ssm.UpdateManagedInstancePublicKeyInput) (*ssm.UpdateManagedInstancePublicKeyOutput, error) {
	p := iam.PrincipalFrom(ctx)
	sc := store.Scope{Account: p.Account, Region: p.Region}
	key, keyType, err := parsePublicKey(codec.Value(in.NewPublicKey), codec.Value(in.NewPublicKeyType))
	if err != nil {
		return nil, ssm.InvalidPublicKey("%v", err)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Node(sc, p.NodeID)
		if err != nil {
			return notANode(err, p.NodeID)
		}
		if string(n.PublicKey) == string(key) {
			return ssm.PublicKeyAlreadyRegistered("The public key is registered already.")
		}
		ok, err := tx.SaveNodeKey(sc, p.NodeID, n.KeyEpoch, key, keyType)
		if err == nil && !ok {
			return ssm.TooManyUpdates("The key was changed by another call.")
		}
		return err
	})
	s.creds.Forget(p.NodeID)
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// notANode turns a missing row into the API's error.
func notANode(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return ssm.InvalidInstanceId("Instance %s is not a managed instance of this account and region", id)
	}
	return err
}

// DeregisterManagedInstance removes a node from every list and revokes its credentials at once. Its id
// is never used again; its commands are still listed.
func (s *Service) DeregisterManagedInstance(ctx context.Context, in *ssm.DeregisterManagedInstanceInput) (*ssm.DeregisterManagedInstanceOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Node(sc, id)
		if err != nil {
			return notANode(err, id)
		}
		if _, err := tx.DeregisterNode(sc, id); err != nil {
			return err
		}
		if err := tx.DeleteNodeState(sc, id, n.Num); err != nil {
			return err
		}
		if err := tx.DeleteInventory(sc, id); err != nil {
			return err
		}
		if err := tx.DeleteAssociationsOn(sc, id); err != nil {
			return err
		}
		return tx.DeleteTags(sc, resourceNode, id)
	})
	if err != nil {
		return nil, err
	}
	s.gone(id)
	return nil, nil
}

// gone forgets a node that has been deregistered and closes its connections.
func (s *Service) gone(id string) {
	s.creds.Forget(id)
	s.forget(id)
	if s.OnDeregister != nil {
		s.OnDeregister(id)
	}
}

// Reconcile makes this server forget nodes that another one has deregistered since an instant: an open control channel is
// not authenticated again.
func (s *Service) Reconcile(ctx context.Context, since time.Time) error {
	var ids []string
	err := s.store.View(ctx, func(tx *store.Tx) (err error) { ids, err = tx.DeregisteredSince(since); return err })
	for _, id := range ids {
		s.gone(id)
	}
	return err
}

// UpdateManagedInstanceRole changes the role that the node's credentials stand for.
func (s *Service) UpdateManagedInstanceRole(ctx context.Context, in *ssm.UpdateManagedInstanceRoleInput) (*ssm.UpdateManagedInstanceRoleOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		ok, err := tx.SetNodeRole(sc, id, codec.Value(in.IamRole))
		if err == nil && !ok {
			err = notANode(store.ErrNotFound, id)
		}
		return err
	})
	s.creds.Forget(id)
	if err != nil {
		return nil, err
	}
	return nil, nil
}
