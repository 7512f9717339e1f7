package node

import (
	"oakum.dev/internal/store"
	"oakum.dev/wire/ssm"
)

// Retagged brings a node's patch group and associations in step with its tags.
func (s *Service) Retagged(tx *store.Tx, sc store.Scope, id string) error {
	rows, err := tx.Tags(sc, resourceNode, id)
	if err != nil {
		return err
	}
	tags := make([]ssm.Tag, len(rows))
	for i, t := range rows {
		tags[i] = ssm.Tag{Key: &t.Key, Value: &t.Value}
	}
	if err := tx.Schedule(store.WorkNodeChanged, sc, id, tx.Now()); err != nil { // associations may have come or gone with them
		return err
	}
	return tx.SetPatchGroup(sc, id, patchGroup(tags))
}
