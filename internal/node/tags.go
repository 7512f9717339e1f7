package node

import (
	"context"
	"errors"

	"oakum.dev/arn"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// taggable checks that a resource exists and may be tagged, and returns the id under which its tags are kept.
func taggable(tx *store.Tx, sc store.Scope, resourceType, id string) (string, error) {
	invalid := ssm.InvalidResourceId("The resource ID isn't valid. Verify that you entered the correct ID and try again.")
	var err error
	switch resourceType {
	case resourceNode:
		_, err = tx.Node(sc, id)
	case "PatchBaseline":
		bare, idErr := arn.BaselineID(id)
		if idErr != nil {
			return "", invalid
		}
		id = bare
		_, err = tx.Baseline(sc, id)
	case "MaintenanceWindow":
		_, err = tx.Window(sc, id)
	case resourceAssociation:
		_, err = tx.Association(sc, id)
	case "Document":
		name, nameErr := arn.DocumentName(id)
		if a, arnErr := arn.Parse(id); nameErr != nil || arnErr == nil && (a.Account != sc.Account || a.Region != sc.Region) {
			return "", invalid
		}
		id = name
		_, err = tx.Document(sc, id)
	default:
		return "", invalid
	}
	if errors.Is(err, store.ErrNotFound) {
		return "", invalid
	}
	return id, err
}

// AddTagsToResource adds tags or changes their values.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	sc, kind := store.ScopeOf(ctx), codec.Value(in.ResourceType)
	if err := tag.Check(in.Tags); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		id, err := taggable(tx, sc, kind, codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		for _, t := range in.Tags {
			if err := tx.PutTag(sc, kind, id, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
				return err
			}
		}
		return keepTags(tx, sc, kind, id)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// keepTags checks the number of tags after a change and brings the node's patch group in step with them.
func keepTags(tx *store.Tx, sc store.Scope, kind, id string) error {
	rows, err := tx.Tags(sc, kind, id)
	if err != nil {
		return err
	}
	if len(rows) > tag.Max {
		return ssm.TooManyTagsError("The resource would have %d tags; at most %d are allowed.", len(rows), tag.Max)
	}
	switch kind {
	case resourceAssociation: // its schedule may be in another zone now
		return tx.Schedule(store.WorkAssociationStart, sc, id+"/plan", tx.Now())
	case resourceNode:
	default:
		return nil
	}
	if err := tx.Schedule(store.WorkNodeChanged, sc, id, tx.Now()); err != nil { // associations may have come or gone with them
		return err
	}
	return tx.SetPatchGroup(sc, id, patchGroup(wireTags(rows)))
}

func wireTags(rows []store.Tag) []ssm.Tag {
	out := make([]ssm.Tag, len(rows))
	for i, t := range rows {
		out[i] = ssm.Tag{Key: &t.Key, Value: &t.Value}
	}
	return out
}

// RemoveTagsFromResource removes tags; a key that is not there is no error.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error) {
	sc, kind := store.ScopeOf(ctx), codec.Value(in.ResourceType)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		id, err := taggable(tx, sc, kind, codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		for _, key := range in.TagKeys {
			if err := tx.DeleteTag(sc, kind, id, key); err != nil {
				return err
			}
		}
		return keepTags(tx, sc, kind, id)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// ListTagsForResource lists the tags of a resource in the order in which they were added.
func (s *Service) ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	sc, kind := store.ScopeOf(ctx), codec.Value(in.ResourceType)
	out := &ssm.ListTagsForResourceOutput{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		id, err := taggable(tx, sc, kind, codec.Value(in.ResourceId))
		if err != nil {
			return err
		}
		rows, err := tx.Tags(sc, kind, id)
		out.TagList = wireTags(rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
