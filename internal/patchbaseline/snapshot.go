package patchbaseline

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/internal/origin"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// How long snapshots and the links to them live. Source: AWS Systems Manager API reference,
// GetDeployablePatchSnapshotForInstance.
const (
	snapshotLife = 3 * 24 * time.Hour
	linkLife     = 24 * time.Hour
)

// SnapshotPath is where snapshots are downloaded.
const SnapshotPath = "/oakum/snapshot/"

// GetDeployablePatchSnapshotForInstance freezes the baseline of a node under the snapshot id given. All nodes of
// one patch group and operating system get the same content for it, whatever is edited meanwhile.
func (s *Service) GetDeployablePatchSnapshotForInstance(ctx context.Context, in *ssm.GetDeployablePatchSnapshotForInstanceInput) (*ssm.GetDeployablePatchSnapshotForInstanceOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.InstanceId)
	var n store.Node
	var where baseline.Node
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if n, err = tx.Node(sc, id); errors.Is(err, store.ErrNotFound) {
			return ssm.InvalidInstanceId("Instance %s is not a managed instance of this account and region", id)
		} else if err != nil {
			return err
		}
		list := []store.Node{n}
		s.presence.Lay(list)
		n = list[0]
		if n.PlatformName == "" {
			return ssm.UnsupportedOperatingSystem("Instance %s has not reported its operating system yet.", id)
		}
		var ok bool
		if where, ok = baseline.Detect(n.PlatformName, n.PlatformVersion); !ok {
			return ssm.UnsupportedOperatingSystem("The operating system %q %s of %s is not supported by patch baselines.", n.PlatformName, n.PlatformVersion, id)
		}
		return s.freeze(tx, sc, n.PatchGroup, where, in)
	})
	if err != nil {
		return nil, err
	}
	link := s.link(ctx, sc, n.PatchGroup, where.OS, snapshotKey(in))
	return &ssm.GetDeployablePatchSnapshotForInstanceOutput{InstanceId: &id, SnapshotId: in.SnapshotId, SnapshotDownloadUrl: &link, Product: &where.Product}, nil
}

// snapshotKey is the id under which a snapshot is kept. One made of a caller's own rules never stands in for that of
// the group: a node must not decide what the others judge by.
func snapshotKey(in *ssm.GetDeployablePatchSnapshotForInstanceInput) string {
	id := codec.Value(in.SnapshotId)
	if in.BaselineOverride == nil && codec.Value(in.BaselineTags) == "" {
		return id
	}
	only := ssm.GetDeployablePatchSnapshotForInstanceInput{BaselineOverride: in.BaselineOverride, BaselineTags: in.BaselineTags}
	return id + "-" + store.Hash(codec.Marshal(&only))[:16]
}

func (s *Service) freeze(tx *store.Tx, sc store.Scope, group string, where baseline.Node, in *ssm.GetDeployablePatchSnapshotForInstanceInput) error {
	snapshotID, override := snapshotKey(in), in.BaselineOverride
	since := tx.Now().Add(-snapshotLife)
	_, err := tx.Snapshot(sc, group, string(where.OS), snapshotID, since)
	if !errors.Is(err, store.ErrNotFound) {
		return err // it is there, or the database failed
	}
	var b *baseline.Baseline
	row := store.PatchBaseline{}
	if override != nil {
		if b, err = fromOverride(override, where.OS); err != nil {
			return err
		}
	} else {
		id, err := taggedID(tx, sc, codec.Value(in.BaselineTags), where.OS)
		if err == nil && id == "" {
			id, err = effectiveID(tx, sc, group, where.OS)
		}
		if err != nil {
			return err
		}
		r, err := named(sc, id)
		if err != nil {
			return err
		}
		if b, row, err = load(tx, sc, r, msgGone); err != nil {
			return err
		}
	}
	snap := baseline.Snapshot{
		AccountID: sc.Account, Baseline: *b, PatchGroup: group, CreatedAt: row.CreatedAt, ModifiedAt: row.ModifiedAt, EvaluatedAt: tx.Now(),
		LivePatchReboot: s.LivePatchReboot,
	}
	body, err := snap.Encode()
	if err != nil {
		return err
	}
	return tx.PutSnapshot(sc, store.Snapshot{
		PatchGroup: group, OperatingSystem: string(where.OS), ID: snapshotID, BaselineID: b.BaselineID, Body: string(body), CreatedAt: tx.Now(),
	}, since)
}

// taggedID is the one baseline of the operating system that carries the tag of a BaselineTags parameter; "" when there is
// none. Source: AWS Systems Manager User Guide, "AWS-RunPatchBaselineAssociation", BaselineTags.
func taggedID(tx *store.Tx, sc store.Scope, tags string, os baseline.OS) (id string, err error) {
	if tags == "" {
		return "", nil
	}
	rest, okKey := strings.CutPrefix(tags, "Key=")
	key, values, okValues := strings.Cut(rest, ",Values=")
	if !okKey || !okValues || key == "" || values == "" {
		return "", awserr.Validation("BaselineTags is Key=KEY,Values=VALUE[,VALUE], not %q.", tags)
	}
	found, err := tx.TaggedWith(sc, resourceType, key, strings.Split(values, ","))
	if err != nil {
		return "", err
	}
	for _, f := range found {
		r, err := named(sc, f)
		if err != nil {
			return "", err
		}
		b, _, err := load(tx, sc, r, msgGone)
		if err != nil {
			return "", err
		}
		switch {
		case b.OperatingSystem != os:
		case id != "":
			return "", awserr.Validation("The patch baselines %s and %s for %s both carry the tag %s: only one may carry that key and value.", id, f, os, tags)
		default:
			id = f
		}
	}
	return id, nil
}

func fromOverride(o *ssm.BaselineOverride, os baseline.OS) (*baseline.Baseline, error) {
	name := "override"
	b, err := fromCreate(&ssm.CreatePatchBaselineInput{
		Name: &name, OperatingSystem: o.OperatingSystem, GlobalFilters: o.GlobalFilters, ApprovalRules: o.ApprovalRules, ApprovedPatches: o.ApprovedPatches,
		ApprovedPatchesComplianceLevel: o.ApprovedPatchesComplianceLevel, ApprovedPatchesEnableNonSecurity: o.ApprovedPatchesEnableNonSecurity,
		RejectedPatches: o.RejectedPatches, RejectedPatchesAction: o.RejectedPatchesAction, Sources: o.Sources,
		AvailableSecurityUpdatesComplianceStatus: o.AvailableSecurityUpdatesComplianceStatus,
	})
	if err != nil {
		return nil, err
	}
	if b.OperatingSystem != os {
		return nil, ssm.UnsupportedOperatingSystem("The baseline override is for %s, the node runs %s.", b.OperatingSystem, os)
	}
	if err := b.Validate(productsOf(b)...); err != nil { // a product that no list knows matches nothing on this node
		return nil, invalidContent(err)
	}
	return b, nil
}

// link signs the address of a snapshot for a day.
func (s *Service) link(ctx context.Context, sc store.Scope, group string, os baseline.OS, id string) string {
	base := origin.Of(ctx)
	expires := strconv.FormatInt(s.now().Add(linkLife).Unix(), 10)
	path := SnapshotPath + strings.Join([]string{sc.Account, sc.Region, "g" + base64.RawURLEncoding.EncodeToString([]byte(group)), string(os), id}, "/")
	q := url.Values{"expires": {expires}, "signature": {s.sign(path, expires)}}
	return base + path + "?" + q.Encode()
}

func (s *Service) sign(path, expires string) string {
	h := hmac.New(sha256.New, s.linkKey)
	fmt.Fprintf(h, "%s\n%s", path, expires)
	return hex.EncodeToString(h.Sum(nil))
}

// ServeSnapshot answers a signed link with the snapshot it names.
func (s *Service) ServeSnapshot(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, SnapshotPath), "/")
	if err != nil || len(parts) != 5 || !hmac.Equal([]byte(q.Get("signature")), []byte(s.sign(r.URL.Path, q.Get("expires")))) {
		http.Error(w, "the link is not valid", http.StatusForbidden)
		return
	}
	if s.now().Unix() > expires {
		http.Error(w, "the link has expired", http.StatusForbidden)
		return
	}
	group, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(parts[2], "g"))
	if err != nil {
		http.Error(w, "the link is not valid", http.StatusForbidden)
		return
	}
	var snap store.Snapshot
	err = s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		snap, err = tx.Snapshot(store.Scope{Account: parts[0], Region: parts[1]}, string(group), parts[3], parts[4], s.now().Add(-snapshotLife))
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		http.Error(w, "the snapshot is gone", http.StatusNotFound)
	case err != nil:
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(snap.Body)))
		_, _ = w.Write([]byte(snap.Body)) // the client has gone
	}
}
