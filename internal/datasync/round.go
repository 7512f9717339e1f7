package datasync

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"oakum.dev/internal/bucket"
	"oakum.dev/internal/store"
	"oakum.dev/inventory"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// How a round goes: in turns that leave room for other work.
const (
	period       = 5 * time.Minute
	afterChange  = 20 * time.Second // so that a fleet that reports is copied in a few rounds, not in one for each node
	afterFailure = time.Minute
	nodesPerRead = 100
	maxNodes     = 2000 // of a turn
	maxObjects   = 100  // of a turn
	lastNode     = ""   // no bound: which text is above every id depends on the database's collation
)

// Types that are made of what else is known, in place of being reported: of a node's published scan, and of anything.
var (
	scanned = []string{inventory.ComplianceItem, inventory.PatchCompliance, inventory.PatchSummary}
	made    = []string{inventory.ComplianceSummary, inventory.InstanceInformation, inventory.Tag}
)

// Changed lets syncs of the scope run soon, in the transaction that takes new inventory.
func (s *Service) Changed(tx *store.Tx, sc store.Scope) error {
	list, err := tx.DataSyncs(sc)
	for _, d := range list {
		if err := tx.Hasten(WorkSync, sc, d.Name, tx.Now().Add(afterChange)); err != nil {
			return err
		}
	}
	return err
}

// write is one object to be written, or to be removed.
type write struct {
	store.DataSyncObject
	text   []byte
	remove bool
}

// Sync does one turn of a sync's round. What it writes can be written again: a crash between the bucket and the database, or
// another server that took over, repeats it.
func (s *Service) Sync(ctx context.Context, w store.WorkItem) error {
	sc := store.Scope{Account: w.Account, Region: w.Region}
	var d store.DataSync
	var writes []write
	next := ""
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		list, err := tx.DataSyncs(sc)
		if err != nil {
			return err
		}
		for _, x := range list {
			if x.Name == w.Subject {
				d = x
			}
		}
		if d.Name == "" {
			return nil
		}
		writes, next, err = s.turn(tx, sc, d)
		return err
	})
	if err != nil {
		return err
	}
	var b body
	if d.Name != "" {
		if err := json.Unmarshal([]byte(d.Body), &b); err != nil {
			return err
		}
	}
	done, failure := s.put(ctx, sc, b.Destination, writes)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.store.Update(ctx, func(tx *store.Tx) error { return note(tx, sc, w, done, next, failure) })
}

// put brings objects to the bucket, and returns those that it has brought there.
func (s *Service) put(ctx context.Context, sc store.Scope, to *ssm.ResourceDataSyncS3Destination, writes []write) (done []write, err error) {
	for _, x := range writes {
		name, k := codec.Value(to.BucketName), key(to, sc.Account, sc.Region, x.TypeName, x.NodeID)
		if x.remove {
			err = s.buckets.Delete(sc.Account, name, k)
		} else {
			_, err = s.buckets.Put(ctx, sc.Account, name, k, bytes.NewReader(x.text))
		}
		switch {
		case errors.Is(err, bucket.ErrConflict):
			return done, fmt.Errorf("%s is in the way of other objects, or they of it", k)
		case err != nil:
			return done, fmt.Errorf("S3 write failed for bucket %s: %w", name, err)
		}
		done = append(done, x)
	}
	return done, nil
}

// note writes down what a turn has done, and when the next one comes.
func note(tx *store.Tx, sc store.Scope, w store.WorkItem, done []write, next string, failure error) error {
	d, err := tx.LockDataSync(sc, w.Subject)
	if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
		_, err = tx.FinishWork(w)
		return err
	}
	if err != nil {
		return err
	}
	due := tx.Now()
	switch {
	case failure != nil:
		d.Status, d.Message, d.LastSyncAt = ssm.LastResourceDataSyncStatusFailed, failure.Error(), tx.Now()
		due = due.Add(afterFailure)
	case next != "":
		d.NodeAfter = next
	default:
		d.Status, d.Message, d.NodeAfter, d.LastSyncAt, d.LastSuccessAt = ssm.LastResourceDataSyncStatusSuccessful, "", "", tx.Now(), tx.Now()
		due = due.Add(period)
	}
	if mine, err := tx.PostponeWork(w, due); err != nil || !mine {
		return err // another worker has taken over, and does it again
	}
	for _, x := range done {
		if x.remove {
			err = tx.DeleteDataSyncObject(sc, d.Name, x.NodeID, x.TypeName)
		} else {
			err = tx.PutDataSyncObject(sc, d.Name, x.DataSyncObject)
		}
		if err != nil {
			return err
		}
	}
	return tx.PutDataSync(sc, d)
}

// turn looks at nodes from where the round has come to, until there is enough to write. next is empty when it has come to
// the end.
func (s *Service) turn(tx *store.Tx, sc store.Scope, d store.DataSync) (writes []write, next string, err error) {
	after := d.NodeAfter
	for seen := 0; seen < maxNodes && len(writes) < maxObjects; {
		nodes, err := tx.Nodes(sc, after, nodesPerRead)
		if err != nil {
			return nil, "", err
		}
		until := lastNode
		if len(nodes) == nodesPerRead {
			until = nodes[len(nodes)-1].ID
		}
		more, upTo, err := s.compare(tx, sc, d.Name, nodes, after, until, maxObjects-len(writes))
		if err != nil {
			return nil, "", err
		}
		writes = append(writes, more...)
		if upTo == lastNode {
			return writes, "", nil
		}
		after, seen = upTo, seen+len(nodes)
	}
	return writes, after, nil
}

// compare finds what has changed of the nodes after one id until another, which the bucket is known to hold something of or
// that exist. It stops at the end of a node once there is room for no more; upTo says where.
func (s *Service) compare(tx *store.Tx, sc store.Scope, name string, nodes []store.Node, after, until string, room int) (writes []write, upTo string, err error) {
	have, err := tx.DataSyncObjects(sc, name, after, until)
	if err != nil {
		return nil, "", err
	}
	held := map[string]map[string]string{}
	for _, o := range have {
		if held[o.NodeID] == nil {
			held[o.NodeID] = map[string]string{}
		}
		held[o.NodeID][o.TypeName] = o.ContentHash
	}
	items, scans := map[string][]store.InventoryItem{}, map[string]string{}
	if len(nodes) > 0 {
		ids := make([]string, len(nodes))
		for i, n := range nodes {
			ids[i] = n.ID
		}
		states, err := tx.NodeStates(sc, ids)
		if err != nil {
			return nil, "", err
		}
		for _, st := range states { // a scan is told by its publication: its items need not be read to see that it is the same
			scans[st.NodeID] = st.ResultHash + " " + strconv.FormatInt(st.PublishedAt.UnixMicro(), 10)
		}
		list, err := tx.InventoryOfNodes(sc, nodes[0].ID, nodes[len(nodes)-1].ID)
		if err != nil {
			return nil, "", err
		}
		for _, it := range list {
			items[it.NodeID] = append(items[it.NodeID], it)
		}
	}
	for _, n := range nodes {
		if len(writes) >= room {
			return append(writes, gone(have, nodes, upTo)...), upTo, nil
		}
		more, err := s.node(tx, sc, n, scans[n.ID], items[n.ID], held[n.ID])
		if err != nil {
			return nil, "", err
		}
		writes, upTo = append(writes, more...), n.ID
	}
	return append(writes, gone(have, nodes, until)...), until, nil
}

// gone are the objects, until a node, of nodes that exist no more.
func gone(have []store.DataSyncObject, nodes []store.Node, until string) (writes []write) {
	exists := map[string]bool{}
	for _, n := range nodes {
		exists[n.ID] = true
	}
	for _, o := range have {
		if !exists[o.NodeID] && (until == lastNode || o.NodeID <= until) {
			writes = append(writes, write{DataSyncObject: o, remove: true})
		}
	}
	return writes
}

// node finds what has changed of one node. scan tells its published scan, "" if there is none; held are the hashes of what
// the bucket has, by type.
func (s *Service) node(tx *store.Tx, sc store.Scope, n store.Node, scan string, items []store.InventoryItem, held map[string]string) (writes []write, err error) {
	seen := map[string]bool{}
	for _, typ := range scanned {
		hash := scan
		if typ == inventory.ComplianceItem { // has what was put besides the scan too
			sets, err := tx.ComplianceSets(sc, n.ID)
			if err != nil {
				return nil, err
			}
			if len(sets) == 0 && scan == "" {
				continue
			}
			text, err := json.Marshal(sets)
			if err != nil {
				return nil, err
			}
			hash += " " + store.Hash(text)
		}
		if hash == "" {
			continue
		}
		seen[typ] = true
		if held[typ] == hash {
			continue
		}
		rows, version, capture, err := s.inventory.Entries(tx, sc, n, typ)
		if err != nil {
			return nil, err
		}
		w := write{DataSyncObject: store.DataSyncObject{NodeID: n.ID, TypeName: typ, ContentHash: hash}}
		if w.text, err = lines(rows, n.ID, version, capture); err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for _, typ := range made {
		rows, version, capture, err := s.inventory.Entries(tx, sc, n, typ)
		if err != nil {
			return nil, err
		}
		if version == "" {
			continue
		}
		seen[typ] = true
		text, err := json.Marshal(rows)
		if err != nil {
			return nil, err
		}
		hash := store.Hash(append(text, version...))
		if held[typ] == hash {
			continue
		}
		w := write{DataSyncObject: store.DataSyncObject{NodeID: n.ID, TypeName: typ, ContentHash: hash}}
		if w.text, err = lines(rows, n.ID, version, capture); err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for _, it := range items {
		if seen[it.TypeName] || !inventory.IsName(it.TypeName) { // what is made of a patch type is above
			continue
		}
		seen[it.TypeName] = true
		hash := it.ContentHash + " " + it.SchemaVersion
		if held[it.TypeName] == hash {
			continue
		}
		text, err := tx.Content(sc.Account, it.ContentHash)
		if err != nil {
			return nil, err
		}
		var rows []map[string]string
		if err := json.Unmarshal(text, &rows); err != nil {
			return nil, err
		}
		w := write{DataSyncObject: store.DataSyncObject{NodeID: n.ID, TypeName: it.TypeName, ContentHash: hash}}
		if w.text, err = lines(rows, n.ID, it.SchemaVersion, it.CaptureTime); err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	for typ, hash := range held {
		if !seen[typ] {
			writes = append(writes, write{DataSyncObject: store.DataSyncObject{NodeID: n.ID, TypeName: typ, ContentHash: hash}, remove: true})
		}
	}
	return writes, nil
}

// lines writes entries as AWS does: one JSON object a line, with what they are of.
func lines(rows []map[string]string, nodeID, version, capture string) ([]byte, error) {
	var out bytes.Buffer
	for _, r := range rows {
		line := make(map[string]string, len(r)+3)
		for k, v := range r {
			line[k] = v
		}
		line["resourceId"], line["schemaVersion"], line["captureTime"] = nodeID, version, capture
		b, err := json.Marshal(line)
		if err != nil {
			return nil, err
		}
		out.Write(append(b, '\n'))
	}
	return out.Bytes(), nil
}
