package store

// Tag is one tag of a resource.
type Tag struct {
	Key   string
	Value string
}

func (t *Tag) fields() []any { return []any{&t.Key, &t.Value} }

// Tags lists the tags of a resource in the order in which they were added.
func (tx *Tx) Tags(sc Scope, resourceType, id string) ([]Tag, error) {
	return all[Tag](tx, `SELECT tag_key, tag_value FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND resource_id = $4
		ORDER BY position, tag_key`, sc.Account, sc.Region, resourceType, id)
}

// PutTag adds a tag or changes its value; its place in the order stays.
func (tx *Tx) PutTag(sc Scope, resourceType, id string, t Tag) error {
	_, err := tx.exec(`INSERT INTO tag (account, region, resource_type, resource_id, tag_key, tag_value, position)
		VALUES ($1, $2, $3, $4, $5, $6, (SELECT coalesce(max(position), 0) + 1 FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND resource_id = $4))
		ON CONFLICT (account, region, resource_type, resource_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value`,
		sc.Account, sc.Region, resourceType, id, t.Key, t.Value)
	return err
}

// DeleteTag removes a tag; one that is not there is no error.
func (tx *Tx) DeleteTag(sc Scope, resourceType, id, key string) error {
	_, err := tx.exec(`DELETE FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND resource_id = $4 AND tag_key = $5`,
		sc.Account, sc.Region, resourceType, id, key)
	return err
}

// DeleteTags removes every tag of a resource.
func (tx *Tx) DeleteTags(sc Scope, resourceType, id string) error {
	_, err := tx.exec(`DELETE FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND resource_id = $4`,
		sc.Account, sc.Region, resourceType, id)
	return err
}

// TaggedWith lists the resources that carry the key with one of the values.
func (tx *Tx) TaggedWith(sc Scope, resourceType, key string, values []string) ([]string, error) {
	args := append([]any{sc.Account, sc.Region, resourceType, key}, anys(values)...)
	return column[string](tx, `SELECT resource_id FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND tag_key = $4
		AND tag_value IN (`+placeholders(5, len(values))+`) ORDER BY resource_id`, args...)
}

// TaggedKey lists the resources that carry the key with any value.
func (tx *Tx) TaggedKey(sc Scope, resourceType, key string) ([]string, error) {
	return column[string](tx, `SELECT resource_id FROM tag WHERE account = $1 AND region = $2 AND resource_type = $3 AND tag_key = $4
		ORDER BY resource_id`, sc.Account, sc.Region, resourceType, key)
}

// ResourceTag is a tag with the resource that carries it.
type ResourceTag struct {
	ResourceType, ResourceID string
	Tag
}

func (t *ResourceTag) fields() []any { return []any{&t.ResourceType, &t.ResourceID, &t.Key, &t.Value} }

// TagsAfter lists the tags of the resources after the given one, by type, id and the order in which they were added,
// at most limit tags.
func (tx *Tx) TagsAfter(sc Scope, typeAfter, idAfter string, limit int) ([]ResourceTag, error) {
	return all[ResourceTag](tx, `SELECT resource_type, resource_id, tag_key, tag_value FROM tag WHERE account = $1 AND region = $2
		AND (resource_type, resource_id) > ($3, $4) ORDER BY resource_type, resource_id, position, tag_key LIMIT $5`, sc.Account, sc.Region, typeAfter, idAfter, limit)
}

// TagKeys lists the keys in use after the given key.
func (tx *Tx) TagKeys(sc Scope, after string, limit int) ([]string, error) {
	return column[string](tx, `SELECT DISTINCT tag_key FROM tag WHERE account = $1 AND region = $2 AND tag_key > $3 ORDER BY tag_key LIMIT $4`,
		sc.Account, sc.Region, after, limit)
}

// TagValues lists the values of a key from the given value on.
func (tx *Tx) TagValues(sc Scope, key, from string, limit int) ([]string, error) {
	return column[string](tx, `SELECT DISTINCT tag_value FROM tag WHERE account = $1 AND region = $2 AND tag_key = $3 AND tag_value >= $4
		ORDER BY tag_value LIMIT $5`, sc.Account, sc.Region, key, from, limit)
}
