package node

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// onlineFor is how long after its last contact a node counts as Online: two heartbeats of five minutes and
// some slack.
const onlineFor = 11 * time.Minute

// presence keeps heartbeats in memory between two writes: a heartbeat costs no transaction, and the first one
// of a starting agent is accepted even when the database is down, since an agent that is refused hibernates.
type presence struct {
	mu    sync.Mutex
	seen  map[string]time.Time  // last contact of every node since this server started
	dirty map[string]store.Node // what is to be written, by node id
	noted map[string]time.Time  // when a contact was last put into dirty
	back  map[string]bool       // nodes of dirty that were not Online before, as far as this server knows
}

// contactEvery is how often a contact that is no heartbeat is written: polls come four times a minute.
const contactEvery = time.Minute

// Seen notes that the node has just been heard of.
func (s *Service) Seen(p iam.Principal) {
	now := s.now()
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	s.arrive(p.NodeID, now)
	if now.Sub(s.presence.noted[p.NodeID]) >= contactEvery {
		s.note(store.Node{Account: p.Account, Region: p.Region, ID: p.NodeID, LastPingAt: now})
	}
}

// arrive notes a contact. The caller holds the lock.
func (s *Service) arrive(nodeID string, now time.Time) {
	if last := s.presence.seen[nodeID]; now.Sub(last) >= onlineFor {
		s.presence.back[nodeID] = true
	}
	s.presence.seen[nodeID] = now
}

// note puts what is known of a node into the next write. The caller holds the lock.
func (s *Service) note(n store.Node) {
	s.presence.noted[n.ID] = n.LastPingAt
	s.presence.dirty[n.ID] = merge(s.presence.dirty[n.ID], n)
}

// Unwritten are the nodes of a tenant that were heard of since the last write.
func (s *Service) Unwritten(sc store.Scope) (ids []string) {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	for id, n := range s.presence.dirty {
		if n.Account == sc.Account && n.Region == sc.Region {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *Service) forget(nodeID string) {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	delete(s.presence.seen, nodeID)
	delete(s.presence.dirty, nodeID)
	delete(s.presence.noted, nodeID)
	delete(s.presence.back, nodeID)
}

// UpdateInstanceInformation takes a heartbeat. A member that is absent leaves what is stored.
func (s *Service) UpdateInstanceInformation(ctx context.Context, in *ssm.UpdateInstanceInformationInput) (*ssm.UpdateInstanceInformationOutput, error) {
	p := iam.PrincipalFrom(ctx)
	if p.Kind != iam.Node {
		return nil, ssm.InvalidInstanceId("Only a managed instance reports on itself")
	}
	n := store.Node{
		Account: p.Account, Region: p.Region, ID: p.NodeID, AgentName: codec.Value(in.AgentName), AgentVersion: codec.Value(in.AgentVersion),
		PlatformType: codec.Value(in.PlatformType), PlatformName: codec.Value(in.PlatformName), PlatformVersion: codec.Value(in.PlatformVersion),
		ComputerName: codec.Value(in.ComputerName), IPAddress: codec.Value(in.IPAddress), LastPingAt: s.now(),
	}
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	s.arrive(n.ID, n.LastPingAt)
	s.note(n)
	return nil, nil
}

// merge lays a heartbeat over an earlier one.
func merge(old, n store.Node) store.Node {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&n.AgentName, old.AgentName},
		{&n.AgentVersion, old.AgentVersion},
		{&n.PlatformType, old.PlatformType},
		{&n.PlatformName, old.PlatformName},
		{&n.PlatformVersion, old.PlatformVersion},
		{&n.ComputerName, old.ComputerName},
		{&n.IPAddress, old.IPAddress},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	return n
}

// Flush writes the heartbeats since the last call in one transaction. Losing them in a crash is allowed:
// presence is learned again within one heartbeat. Nodes are written in the order in which all who lock several of them do:
// else two such transactions wait for each other.
func (s *Service) Flush(ctx context.Context) error {
	s.presence.mu.Lock()
	batch, back := s.presence.dirty, s.presence.back
	s.presence.dirty, s.presence.back = map[string]store.Node{}, map[string]bool{}
	s.presence.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for _, n := range inOrder(batch) {
			if back[n.ID] {
				if err := announce(tx, n); err != nil {
					return err
				}
			}
			if err := tx.SavePing(n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.presence.mu.Lock()
		defer s.presence.mu.Unlock()
		for id := range back {
			s.presence.back[id] = true
		}
		for id, n := range batch { // newer heartbeats win over those that could not be written
			if newer, ok := s.presence.dirty[id]; ok {
				n = merge(n, newer)
			}
			s.presence.dirty[id] = n
		}
	}
	return err
}

// inOrder sorts nodes by account, region and id.
func inOrder(batch map[string]store.Node) []store.Node {
	return slices.SortedFunc(maps.Values(batch), func(a, b store.Node) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID))
	})
}

// announce promises to look at what a node has missed, when it is Online now and was not.
func announce(tx *store.Tx, n store.Node) error {
	sc := store.Scope{Account: n.Account, Region: n.Region}
	was, err := tx.Node(sc, n.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && PingStatus(was, n.LastPingAt) == "Online" { // of which another server knew
		return nil
	}
	if err != nil {
		return err
	}
	if list, err := tx.Associations(sc, time.Time{}, "", 1); err != nil || len(list) == 0 {
		return err
	}
	return tx.Schedule(store.WorkNodeChanged, sc, n.ID, tx.Now())
}

// Lay puts what is known in memory over stored nodes.
func (s *Service) Lay(nodes []store.Node) {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	for i := range nodes {
		n := &nodes[i]
		if d, ok := s.presence.dirty[n.ID]; ok {
			m := merge(*n, d)
			n.AgentName, n.AgentVersion, n.PlatformType, n.PlatformName = m.AgentName, m.AgentVersion, m.PlatformType, m.PlatformName
			n.PlatformVersion, n.ComputerName, n.IPAddress = m.PlatformVersion, m.ComputerName, m.IPAddress
		}
		if t := s.presence.seen[n.ID]; t.After(n.LastPingAt) {
			n.LastPingAt = t
		}
	}
}

// PingStatus is Online, ConnectionLost, or "" for a node that has never been heard of.
func PingStatus(n store.Node, now time.Time) string {
	switch {
	case n.LastPingAt.IsZero():
		return ""
	case now.Sub(n.LastPingAt) < onlineFor:
		return "Online"
	}
	return "ConnectionLost"
}

// OnlineSince is the contact time from which on a node counts as Online.
func OnlineSince(now time.Time) time.Time { return now.Add(-onlineFor) }
