// Package datasync serves resource data syncs, which keep a copy of all inventory in a bucket, for tools that read buckets.
// A sync is a row and a work item that comes again: each round writes what has changed. Start with Service.
package datasync

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"oakum.dev/internal/bucket"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// WorkSync is the kind of work item of a sync; the subject is its name.
const WorkSync = "data-sync"

// Types of syncs.
const (
	toDestination = "SyncToDestination"
	fromSource    = "SyncFromSource"
)

// maxSyncs is how many syncs an account and region may have. Source: AWS Systems Manager User Guide, "Quotas".
const maxSyncs = 5

// noSource is what a sync from other accounts says of itself.
const noSource = "Nothing is collected: this Oakum server has one account and no organization to collect from."

// Inventory reads what a node has reported of a type, or what is made of what else is known of it; an empty version says
// that there is nothing.
type Inventory interface {
	Entries(tx *store.Tx, sc store.Scope, n store.Node, typeName string) (rows []map[string]string, version, capture string, err error)
}

// Service serves resource data syncs. It is safe for concurrent use.
type Service struct {
	store     *store.Store
	pages     page.Book
	buckets   *bucket.Store
	inventory Inventory
}

// New returns the service.
func New(st *store.Store, pages page.Book, buckets *bucket.Store, inventory Inventory) *Service {
	return &Service{store: st, pages: pages, buckets: buckets, inventory: inventory}
}

// body is what a sync was asked to be.
type body struct {
	Destination *ssm.ResourceDataSyncS3Destination `json:",omitempty"`
	Source      *ssm.ResourceDataSyncSource        `json:",omitempty"`
}

func invalid(format string, args ...any) error {
	return ssm.ResourceDataSyncInvalidConfigurationException(format, args...)
}

func check(in *ssm.CreateResourceDataSyncInput, account string) error {
	d := in.S3Destination
	switch kind := codec.Value(in.SyncType); kind {
	case "", toDestination:
	case fromSource:
		switch {
		case in.SyncSource == nil:
			return invalid("A sync of the type %s needs a SyncSource.", kind)
		case d != nil:
			return invalid("A sync of the type %s has no S3Destination.", kind)
		}
		return nil
	default:
		return invalid("The sync type %s is neither %s nor %s.", kind, toDestination, fromSource)
	}
	switch {
	case in.SyncSource != nil:
		return invalid("A sync of the type %s has no SyncSource.", toDestination)
	case d == nil:
		return invalid("A sync of the type %s needs an S3Destination.", toDestination)
	case d.AWSKMSKeyARN != nil:
		return invalid("Objects are not encrypted with keys of KMS here: leave AWSKMSKeyARN out.")
	case d.DestinationDataSharing != nil:
		return invalid("There is no organization to share data with: leave DestinationDataSharing out.")
	case !bucket.Valid(codec.Value(d.BucketName)):
		return invalid("%.100q cannot be the name of a bucket.", codec.Value(d.BucketName))
	case !bucket.ValidKey(key(d, account, "us-east-1", "AWS:Application", "mi-0123456789abcdef0")):
		return invalid("%.300q cannot be the prefix of objects.", codec.Value(d.Prefix))
	}
	return nil
}

// CreateResourceDataSync makes a sync; its first round begins at once. The bucket is made if need be.
func (s *Service) CreateResourceDataSync(ctx context.Context, in *ssm.CreateResourceDataSyncInput) (*ssm.CreateResourceDataSyncOutput, error) {
	sc, name := store.ScopeOf(ctx), codec.Value(in.SyncName)
	if err := check(in, sc.Account); err != nil {
		return nil, err
	}
	text, err := json.Marshal(body{in.S3Destination, in.SyncSource})
	if err != nil {
		return nil, err
	}
	d := store.DataSync{Name: name, Type: codec.Value(in.SyncType), Body: string(text), Status: ssm.LastResourceDataSyncStatusInProgress}
	if d.Type == "" {
		d.Type = toDestination
	}
	if d.Type == fromSource {
		d.Status, d.Message = ssm.LastResourceDataSyncStatusFailed, noSource
	} else if err := s.buckets.Create(sc.Account, codec.Value(in.S3Destination.BucketName)); err != nil {
		return nil, ssm.ResourceDataSyncInvalidConfigurationException("S3 write failed for bucket %s", codec.Value(in.S3Destination.BucketName)).Because(err)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		list, err := tx.DataSyncs(sc)
		if err != nil {
			return err
		}
		for _, other := range list {
			if other.Name == name {
				return ssm.ResourceDataSyncAlreadyExistsException("A resource data sync with the name %s exists already.", name).With("SyncName", name)
			}
		}
		if len(list) >= maxSyncs {
			return ssm.ResourceDataSyncCountExceededException("There are %d resource data syncs already; at most %d are allowed.", len(list), maxSyncs)
		}
		d.CreatedAt, d.ModifiedAt = tx.Now(), tx.Now()
		if err := tx.PutDataSync(sc, d); err != nil || d.Type == fromSource {
			return err
		}
		return tx.Schedule(WorkSync, sc, name, tx.Now())
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// lock reads a sync of a type for a change.
func lock(tx *store.Tx, sc store.Scope, name string, kind *string) (store.DataSync, error) {
	d, err := tx.LockDataSync(sc, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && kind != nil && *kind != d.Type {
		err = ssm.ResourceDataSyncNotFoundException("There is no resource data sync %s.", name).With("SyncName", name)
	}
	return d, err
}

// UpdateResourceDataSync changes the source of a sync of the type SyncFromSource, as in AWS.
func (s *Service) UpdateResourceDataSync(ctx context.Context, in *ssm.UpdateResourceDataSyncInput) (*ssm.UpdateResourceDataSyncOutput, error) {
	sc := store.ScopeOf(ctx)
	if codec.Value(in.SyncType) != fromSource {
		return nil, invalid("Only syncs of the type %s can be updated.", fromSource)
	}
	text, err := json.Marshal(body{Source: in.SyncSource})
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := lock(tx, sc, codec.Value(in.SyncName), in.SyncType)
		if err != nil {
			return err
		}
		d.Body, d.ModifiedAt = string(text), tx.Now()
		return tx.PutDataSync(sc, d)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// DeleteResourceDataSync ends a sync; what it has written stays in the bucket.
func (s *Service) DeleteResourceDataSync(ctx context.Context, in *ssm.DeleteResourceDataSyncInput) (*ssm.DeleteResourceDataSyncOutput, error) {
	sc, name := store.ScopeOf(ctx), codec.Value(in.SyncName)
	if err := checkType(in.SyncType); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := lock(tx, sc, name, in.SyncType); err != nil {
			return err
		}
		if err := tx.Unschedule(WorkSync, sc, name); err != nil {
			return err
		}
		return tx.DeleteDataSync(sc, name)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

func checkType(kind *string) error {
	if k := codec.Value(kind); kind != nil && k != toDestination && k != fromSource {
		return invalid("The sync type %s is neither %s nor %s.", k, toDestination, fromSource)
	}
	return nil
}

// ListResourceDataSync lists syncs by their names.
func (s *Service) ListResourceDataSync(ctx context.Context, in *ssm.ListResourceDataSyncInput) (*ssm.ListResourceDataSyncOutput, error) {
	if err := checkType(in.SyncType); err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListResourceDataSync", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	var list []store.DataSync
	err = s.store.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.DataSyncs(store.ScopeOf(ctx)); return err })
	if err != nil {
		return nil, err
	}
	out := &ssm.ListResourceDataSyncOutput{ResourceDataSyncItems: []ssm.ResourceDataSyncItem{}}
	list, out.NextToken = page.Slice(pg, list, func(d store.DataSync) string { return d.Name })
	for _, d := range list {
		if in.SyncType != nil && *in.SyncType != d.Type {
			continue
		}
		w, err := wireSync(d)
		if err != nil {
			return nil, err
		}
		out.ResourceDataSyncItems = append(out.ResourceDataSyncItems, w)
	}
	return out, nil
}

func wireSync(d store.DataSync) (w ssm.ResourceDataSyncItem, err error) {
	var b body
	if err := json.Unmarshal([]byte(d.Body), &b); err != nil {
		return w, err
	}
	w = ssm.ResourceDataSyncItem{
		SyncName: &d.Name, SyncType: &d.Type, S3Destination: b.Destination, LastStatus: &d.Status, SyncCreatedTime: codec.NewTime(d.CreatedAt),
		SyncLastModifiedTime: codec.NewTime(d.ModifiedAt), LastSyncTime: instant(d.LastSyncAt), LastSuccessfulSyncTime: instant(d.LastSuccessAt),
	}
	if d.Message != "" {
		w.LastSyncStatusMessage = &d.Message
	}
	if x := b.Source; x != nil {
		w.SyncSource = &ssm.ResourceDataSyncSourceWithState{
			SourceType: x.SourceType, AwsOrganizationsSource: x.AwsOrganizationsSource, SourceRegions: x.SourceRegions, IncludeFutureRegions: x.IncludeFutureRegions,
			EnableAllOpsDataSources: x.EnableAllOpsDataSources,
		}
	}
	return w, nil
}

func instant(t time.Time) *codec.Time {
	if t.IsZero() {
		return nil
	}
	return codec.NewTime(t)
}

// key is where the data of a node and type are. Source: AWS Systems Manager User Guide, "Creating a resource data sync".
func key(d *ssm.ResourceDataSyncS3Destination, account, region, typeName, nodeID string) string {
	k := typeName + "/accountid=" + account + "/region=" + region + "/resourcetype=ManagedInstanceInventory/" + nodeID + ".json"
	if p := strings.TrimSuffix(codec.Value(d.Prefix), "/"); p != "" {
		k = p + "/" + k
	}
	return k
}
