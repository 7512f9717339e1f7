// Package tagging serves tags: the tag operations of Systems Manager, the Resource Groups Tagging API, and resource groups,
// which are queries over tags. What can be tagged is in kinds. Start with Service.
package tagging

import (
	"context"
	"errors"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Service serves tags and resource groups. It is safe for concurrent use.
type Service struct {
	store *store.Store
	pages page.Book

	// Retagged is told in the transaction that changes the tags of a node.
	Retagged func(tx *store.Tx, sc store.Scope, nodeID string) error
}

// New returns the service.
func New(st *store.Store, pages page.Book) *Service {
	return &Service{store: st, pages: pages, Retagged: func(*store.Tx, store.Scope, string) error { return nil }}
}

const (
	kindNode        = "ManagedInstance"
	kindGroup       = "ResourceGroup"
	kindAssociation = "Association"
)

// kind is a kind of resource that has tags.
type kind struct {
	name    string // of the tag operations of Systems Manager
	service string // in an ARN and in resource types of the tagging API
	part    string // there too
	typ     string // of resource groups
	// id reads what names the resource in a call: an id or an ARN.
	id func(text string) (string, error)
	// exists is ErrNotFound where there is no such resource.
	exists func(tx *store.Tx, sc store.Scope, id string) error
	// all lists every resource of the kind.
	all func(tx *store.Tx, sc store.Scope) ([]string, error)
}

// kinds are all that can be tagged, in the order in which they are listed.
var kinds = []kind{
	{kindAssociation, "ssm", "association", "AWS::SSM::Association", arn.AssociationID, found((*store.Tx).Association), listed(associationsAfter)},
	{"Document", "ssm", "document", "AWS::SSM::Document", arn.DocumentName, found((*store.Tx).Document), listed(documentsAfter)},
	{"MaintenanceWindow", "ssm", "maintenancewindow", "AWS::SSM::MaintenanceWindow", arn.WindowID, found((*store.Tx).Window), listed(windowsAfter)},
	{kindNode, "ssm", "managed-instance", "AWS::SSM::ManagedInstance", arn.NodeID, found((*store.Tx).Node), listed(nodesAfter)},
	{"PatchBaseline", "ssm", "patchbaseline", "AWS::SSM::PatchBaseline", arn.BaselineID, found((*store.Tx).Baseline), listed(baselinesAfter)},
	{kindGroup, "resource-groups", "group", "AWS::ResourceGroups::Group", groupName, found((*store.Tx).ResourceGroup), listed(groupsAfter)},
}

func found[T any](read func(*store.Tx, store.Scope, string) (T, error)) func(*store.Tx, store.Scope, string) error {
	return func(tx *store.Tx, sc store.Scope, id string) error { _, err := read(tx, sc, id); return err }
}

const perRead = 500

// cursor is where a listing goes on: by creation and id, or by id alone.
type cursor struct {
	at time.Time
	id string
}

func listed(after func(*store.Tx, store.Scope, cursor) ([]cursor, error)) func(*store.Tx, store.Scope) ([]string, error) {
	return func(tx *store.Tx, sc store.Scope) (ids []string, err error) {
		var c cursor
		for {
			part, err := after(tx, sc, c)
			if err != nil || len(part) == 0 {
				return ids, err
			}
			for _, p := range part {
				ids = append(ids, p.id)
			}
			c = part[len(part)-1]
		}
	}
}

func nodesAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.Nodes(sc, c.id, perRead)
	return each(list, func(n store.Node) cursor { return cursor{id: n.ID} }), err
}

func associationsAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.Associations(sc, c.at, c.id, perRead)
	return each(list, func(a store.Association) cursor { return cursor{a.CreatedAt, a.ID} }), err
}

func windowsAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.Windows(sc, c.at, c.id, perRead)
	return each(list, func(w store.Window) cursor { return cursor{w.CreatedAt, w.ID} }), err
}

func baselinesAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.Baselines(sc, c.at, c.id, perRead)
	return each(list, func(b store.PatchBaseline) cursor { return cursor{b.CreatedAt, b.ID} }), err
}

func groupsAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.ResourceGroups(sc, c.id, perRead)
	return each(list, func(g store.ResourceGroup) cursor { return cursor{id: g.Name} }), err
}

func documentsAfter(tx *store.Tx, sc store.Scope, c cursor) ([]cursor, error) {
	list, err := tx.Documents(sc, c.id, perRead) // from the name on
	out := each(list, func(d store.ListedDocument) cursor { return cursor{id: d.Name} })
	if len(out) > 0 && out[0].id == c.id {
		out = out[1:]
	}
	return out, err
}

func each[T any](list []T, key func(T) cursor) []cursor {
	out := make([]cursor, len(list))
	for i, x := range list {
		out[i] = key(x)
	}
	return out
}

func kindNamed(name string) (kind, bool) {
	for _, k := range kinds {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// arnOf is the ARN of a resource.
func (k *kind) arnOf(sc store.Scope, id string) string {
	if k.service != "ssm" {
		return arn.ARN{Partition: "aws", Service: k.service, Region: sc.Region, Account: sc.Account, Resource: k.part + "/" + id}.String()
	}
	return arn.Resource(k.part, id, sc.Account, sc.Region)
}

// typeOf is the resource type of resource groups: nodes with an i- id are ec2's.
func (k *kind) typeOf(id string) string {
	if k.name == kindNode && strings.HasPrefix(id, "i-") {
		return "AWS::EC2::Instance"
	}
	return k.typ
}

var errNoResource = errors.New("there is no such resource in this account and region")

// resolve finds the resource of the scope that text, an id or an ARN, names. Errors: errNoResource.
func (k *kind) resolve(tx *store.Tx, sc store.Scope, text string) (string, error) {
	id, err := k.id(text)
	if err != nil {
		return "", errNoResource
	}
	if a, err := arn.Parse(text); err == nil && (a.Account != sc.Account || a.Region != sc.Region) {
		return "", errNoResource
	}
	if err := k.exists(tx, sc, id); errors.Is(err, store.ErrNotFound) {
		return "", errNoResource
	} else if err != nil {
		return "", err
	}
	return id, nil
}

// taggable finds the resource of a tag operation of Systems Manager.
func taggable(tx *store.Tx, sc store.Scope, name, text string) (kind, string, error) {
	invalid := ssm.InvalidResourceId("The resource ID isn't valid. Verify that you entered the correct ID and try again.")
	k, ok := kindNamed(name)
	if !ok || name == kindGroup {
		return k, "", invalid
	}
	id, err := k.resolve(tx, sc, text)
	if errors.Is(err, errNoResource) {
		err = invalid
	}
	return k, id, err
}

// AddTagsToResource adds tags or changes their values.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	sc := store.ScopeOf(ctx)
	if err := tag.Check(in.Tags); err != nil {
		return nil, err
	}
	tags := make([]store.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		k, id, err := taggable(tx, sc, codec.Value(in.ResourceType), codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		n, err := s.put(tx, sc, k, id, tags)
		if err == nil && n > tag.Max {
			err = ssm.TooManyTagsError("The resource would have %d tags; at most %d are allowed.", n, tag.Max)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// put gives a resource tags, unless it would have more than tag.Max, and returns how many it has or would have.
func (s *Service) put(tx *store.Tx, sc store.Scope, k kind, id string, tags []store.Tag) (int, error) {
	have, err := tx.Tags(sc, k.name, id)
	if err != nil {
		return 0, err
	}
	keys := map[string]bool{}
	for _, t := range append(have, tags...) {
		keys[t.Key] = true
	}
	if len(keys) > tag.Max {
		return len(keys), nil
	}
	for _, t := range tags {
		if err := tx.PutTag(sc, k.name, id, t); err != nil {
			return 0, err
		}
	}
	return len(keys), s.retagged(tx, sc, k, id)
}

// drop takes tags away; a key that is not there is no error.
func (s *Service) drop(tx *store.Tx, sc store.Scope, k kind, id string, keys []string) error {
	for _, key := range keys {
		if err := tx.DeleteTag(sc, k.name, id, key); err != nil {
			return err
		}
	}
	return s.retagged(tx, sc, k, id)
}

func (s *Service) retagged(tx *store.Tx, sc store.Scope, k kind, id string) error {
	switch k.name {
	case kindNode:
		return s.Retagged(tx, sc, id)
	case kindAssociation: // its schedule may be in another zone now
		return tx.Schedule(store.WorkAssociationStart, sc, id+"/plan", tx.Now())
	}
	return nil
}

// RemoveTagsFromResource removes tags; a key that is not there is no error.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error) {
	sc := store.ScopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		k, id, err := taggable(tx, sc, codec.Value(in.ResourceType), codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		return s.drop(tx, sc, k, id, in.TagKeys)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// ListTagsForResource lists the tags of a resource in the order in which they were added.
func (s *Service) ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	sc := store.ScopeOf(ctx)
	out := &ssm.ListTagsForResourceOutput{TagList: []ssm.Tag{}}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		k, id, err := taggable(tx, sc, codec.Value(in.ResourceType), codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		rows, err := tx.Tags(sc, k.name, id)
		for _, t := range rows {
			out.TagList = append(out.TagList, ssm.Tag{Key: new(t.Key), Value: new(t.Value)})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
