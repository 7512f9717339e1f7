package api

import (
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/wire/codec"
)

// Rates are calls a second, and how many may come at once, before ThrottlingException. Calls that read
// and calls that change have buckets of their own for each account; each node and each anonymous address
// has one.
type Rates struct {
	Read, Change, Node, Anonymous Rate
}

// Rate is a token bucket.
type Rate struct {
	PerSecond float64
	Burst     int
}

func (r Rates) withDefaults() Rates {
	for _, d := range []struct {
		p *Rate
		v Rate
	}{
		{&r.Read, Rate{20000, 40000}},
		{&r.Change, Rate{2000, 4000}},
		{&r.Node, Rate{200, 400}},
		{&r.Anonymous, Rate{50, 200}},
	} {
		if d.p.PerSecond == 0 {
			*d.p = d.v
		}
	}
	return r
}

// maxBuckets bounds the memory of the limiter; a bucket that is forgotten starts full.
const maxBuckets = 200_000

type limiter struct {
	rates   Rates
	mu      sync.Mutex
	buckets map[bucketKey]*rate.Limiter
}

type bucketKey struct{ kind, id string }

func (l *limiter) allow(p iam.Principal, op *codec.Operation, ip string, now time.Time) error {
	switch {
	case op.Auth == codec.Anonymous:
		return l.take(bucketKey{"anonymous", ip}, l.rates.Anonymous, now)
	case p.Kind == iam.Node:
		return l.take(bucketKey{"node", p.Account + "/" + p.NodeID}, l.rates.Node, now)
	case op.ReadOnly:
		return l.take(bucketKey{"read", p.Account}, l.rates.Read, now)
	}
	return l.take(bucketKey{"change", p.Account}, l.rates.Change, now)
}

func (l *limiter) rest(p iam.Principal, now time.Time) error {
	if p.Kind == iam.Node {
		return l.take(bucketKey{"node", p.Account + "/" + p.NodeID}, l.rates.Node, now)
	}
	return l.take(bucketKey{"read", p.Account}, l.rates.Read, now)
}

func (l *limiter) take(k bucketKey, r Rate, now time.Time) error {
	l.mu.Lock()
	b := l.buckets[k]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[bucketKey]*rate.Limiter{}
		}
		for old := range l.buckets {
			if len(l.buckets) < maxBuckets {
				break
			}
			delete(l.buckets, old)
		}
		b = rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
		l.buckets[k] = b
	}
	l.mu.Unlock()
	if !b.AllowN(now, 1) {
		return awserr.Throttling()
	}
	return nil
}

// replayLife is how long a node's signature is remembered: twice the skew that is accepted.
const replayLife = 2 * skew

// maxReplays bounds the memory of the replay cache; the oldest go first.
const maxReplays = 500_000

type replayCache struct {
	mu    sync.Mutex
	seen  map[[sha256.Size]byte]struct{}
	order []replay
}

type replay struct {
	sum [sha256.Size]byte
	at  time.Time
}

// first reports whether the signature has not been seen before, and remembers it.
func (c *replayCache) first(signature string, now time.Time) bool {
	sum := sha256.Sum256([]byte(signature))
	c.mu.Lock()
	defer c.mu.Unlock()
	drop := 0
	for drop < len(c.order) && (now.Sub(c.order[drop].at) > replayLife || len(c.order)-drop >= maxReplays) {
		delete(c.seen, c.order[drop].sum)
		drop++
	}
	c.order = c.order[drop:]
	if _, ok := c.seen[sum]; ok {
		return false
	}
	if c.seen == nil {
		c.seen = map[[sha256.Size]byte]struct{}{}
	}
	c.seen[sum] = struct{}{}
	c.order = append(c.order, replay{sum, now})
	return true
}
