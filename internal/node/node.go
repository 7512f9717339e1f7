// Package node serves managed nodes: activations, registration, credentials, presence, tags. What nodes report
// about their patches is package report's. Start with Service.
package node

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"oakum.dev/internal/account"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
)

// Credentials is what this service needs of the one that keeps keys.
type Credentials interface {
	IssueNodeSession(ctx context.Context, nodeID string) (account.Credentials, error)
	Forget(nodeID string)
}

// Service serves the operations of managed nodes. It is safe for concurrent use.
type Service struct {
	store  *store.Store
	creds  Credentials
	pages  page.Book
	random io.Reader
	now    func() time.Time

	// OnDeregister is called after a node has been deregistered, to close its connections.
	OnDeregister func(nodeID string)

	presence presence

	mu       sync.Mutex
	failures map[string]*rate.Limiter // registrations that failed, by activation and by address
}

// New returns the service.
func New(st *store.Store, creds Credentials, pages page.Book, random io.Reader, now func() time.Time) *Service {
	s := &Service{store: st, creds: creds, pages: pages, random: random, now: now, failures: map[string]*rate.Limiter{}}
	s.presence.dirty = map[string]store.Node{}
	s.presence.seen = map[string]time.Time{}
	s.presence.noted = map[string]time.Time{}
	s.presence.back = map[string]bool{}
	return s
}
