// Package account keeps accounts, access keys and session credentials: it makes and seals their secrets, tells
// the front whose signature it sees, and gives managed nodes their temporary credentials.
// Start with Service.
package account

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"oakum.dev/arn"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/wire/sts"
)

// revocationDelay is how long a lookup may be cached: a revoked credential dies within it.
const revocationDelay = 5 * time.Second

// nodeCache is how long a node may be taken as registered on a server that did not deregister it itself; the one
// that did forgets it at once.
const nodeCache = 30 * time.Second

// Service knows the credentials of an installation. It is safe for concurrent use.
type Service struct {
	store  *store.Store
	master []byte
	random io.Reader
	now    func() time.Time

	mu      sync.Mutex
	keys    map[string]cachedKey
	nodes   map[string]cachedNode
	changes uint64 // calls of Forget: a lookup that one has overtaken is not cached
}

type cachedKey struct {
	secret string
	p      iam.Principal
	err    error
	until  time.Time
}

type cachedNode struct {
	node  store.Node
	err   error
	until time.Time
}

// New returns the service over an open store and the installation's master key.
func New(st *store.Store, master []byte, random io.Reader, now func() time.Time) *Service {
	return &Service{store: st, master: master, random: random, now: now, keys: map[string]cachedKey{}, nodes: map[string]cachedNode{}}
}

// Derive returns a secret of the installation for one purpose, such as page tokens.
func (s *Service) Derive(purpose string) ([]byte, error) {
	gcm, err := recordCipher(s.master, []byte("oakum derive"), purpose)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(nil, make([]byte, gcm.NonceSize()), []byte(purpose), nil), nil
}

// Ensure creates the account if it is not there and reports whether it did.
func (s *Service) Ensure(ctx context.Context, id string) (bool, error) {
	if !arn.IsAccount(id) {
		return false, fmt.Errorf("account %q is not 12 digits", id)
	}
	made := false
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		made = false
		list, err := tx.Accounts()
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.ID == id {
				return nil
			}
		}
		data := make([]byte, masterKeySize)
		if _, err := io.ReadFull(s.random, data); err != nil {
			return err
		}
		wrapped, err := seal(s.master, data, "account|"+id+"|data_key|v1", s.random)
		if err != nil {
			return err
		}
		made = true
		return tx.InsertAccount(store.Account{ID: id, DataKey: wrapped, CreatedAt: tx.Now()})
	})
	return made, err
}

// NewKey makes an access key of the account. The secret is returned here and never again.
func (s *Service) NewKey(ctx context.Context, account, name string, kind iam.Kind) (id, secret string, err error) {
	return s.NewKeyKept(ctx, account, name, kind, func(string, string) error { return nil })
}

// NewKeyKept is NewKey with keep called before the key is stored: what keep writes is there if the key is.
func (s *Service) NewKeyKept(ctx context.Context, account, name string, kind iam.Kind, keep func(id, secret string) error) (id, secret string, err error) {
	if id, err = arn.NewAccessKeyID(s.random, false); err != nil {
		return "", "", err
	}
	raw := make([]byte, 30)
	if _, err := io.ReadFull(s.random, raw); err != nil {
		return "", "", err
	}
	secret = base64.StdEncoding.EncodeToString(raw) // 40 characters, as AWS's
	if err := keep(id, secret); err != nil {
		return "", "", err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		data, err := s.dataKey(tx, account)
		if err != nil {
			return err
		}
		sealed, err := seal(data, []byte(secret), keyAAD(account, id), s.random)
		if err != nil {
			return err
		}
		return tx.InsertAccessKey(store.AccessKey{ID: id, Account: account, Name: name, Kind: string(kind), Sealed: sealed, Active: true, CreatedAt: tx.Now()})
	})
	return id, secret, err
}

func keyAAD(account, id string) string { return "access_key|" + account + "|" + id + "|secret|v1" }

func (s *Service) dataKey(tx *store.Tx, account string) ([]byte, error) {
	list, err := tx.Accounts()
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.ID == account {
			return unseal(s.master, a.DataKey, "account|"+account+"|data_key|v1")
		}
	}
	return nil, fmt.Errorf("account %s: %w", account, store.ErrNotFound)
}

// AccessKey finds the secret and the principal of a key id. The region is the front's to fill in.
// Errors: iam.ErrUnknownKey, iam.ErrExpired.
func (s *Service) AccessKey(ctx context.Context, id, token string) (string, iam.Principal, error) {
	if len(id) > 4 && id[:4] == "ASIA" {
		return s.sessionKey(ctx, id, token)
	}
	if token != "" { // a long-term key has no session
		return "", iam.Principal{}, iam.ErrUnknownKey
	}
	now := s.now()
	s.mu.Lock()
	c, ok := s.keys[id]
	s.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.secret, c.p, c.err
	}
	c = cachedKey{until: now.Add(revocationDelay)}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		k, err := tx.AccessKey(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !k.Active {
			c.err = iam.ErrUnknownKey
			return nil
		}
		if err != nil {
			return err
		}
		data, err := s.dataKey(tx, k.Account)
		if err != nil {
			return err
		}
		secret, err := unseal(data, k.Sealed, keyAAD(k.Account, k.ID))
		if err != nil {
			return fmt.Errorf("open the secret of %s: %w", k.ID, err)
		}
		c.secret = string(secret)
		c.p = iam.Principal{Kind: iam.Kind(k.Kind), Account: k.Account, AccessKeyID: k.ID, UserID: k.ID, ARN: "arn:aws:iam::" + k.Account + ":user/" + k.Name}
		return nil
	})
	if err != nil {
		return "", iam.Principal{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 10000 { // unknown ids come from anybody
		clear(s.keys)
	}
	s.keys[id] = c
	return c.secret, c.p, c.err
}

// node finds a node of any tenant, cached for nodeCache.
func (s *Service) node(ctx context.Context, id string) (store.Node, error) {
	now := s.now()
	s.mu.Lock()
	c, ok := s.nodes[id]
	changes := s.changes
	s.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.node, c.err
	}
	c = cachedNode{until: now.Add(nodeCache)}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		var err error
		c.node, err = tx.NodeByID(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !c.node.DeregisteredAt.IsZero() {
			c.err = iam.ErrUnknownKey
			return nil
		}
		return err
	})
	if err != nil {
		return store.Node{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nodes) > 200000 {
		clear(s.nodes)
	}
	if changes == s.changes {
		s.nodes[id] = c
	}
	return c.node, c.err
}

// Forget drops what is cached about a node, so that a change to its key or registration holds at once.
func (s *Service) Forget(nodeID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, nodeID)
	s.changes++
}

// NodeKey finds the public key (PKIX DER) and the principal of a registered node.
func (s *Service) NodeKey(ctx context.Context, nodeID string) ([]byte, iam.Principal, error) {
	n, err := s.node(ctx, nodeID)
	if err != nil {
		return nil, iam.Principal{}, err
	}
	return n.PublicKey, nodePrincipal(n), nil
}

func nodePrincipal(n store.Node) iam.Principal {
	return iam.Principal{
		Kind: iam.Node, Account: n.Account, Region: n.Region, NodeID: n.ID,
		UserID: n.IamRole + ":" + n.ID, ARN: "arn:aws:sts::" + n.Account + ":assumed-role/" + n.IamRole + "/" + n.ID,
	}
}

// GetCallerIdentity answers who the caller is; it needs no permission.
func (s *Service) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	p := iam.PrincipalFrom(ctx)
	return &sts.GetCallerIdentityOutput{UserId: &p.UserID, Account: &p.Account, Arn: &p.ARN}, nil
}
