package tagging

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/resourcegroups"
)

// maxGroups is how many resource groups an account and region may have. AWS has 100.
const maxGroups = 1000

// groupName returns the name in text, a name or the ARN of a resource group.
func groupName(text string) (string, error) {
	if !arn.Is(text) {
		return text, nil
	}
	a, err := arn.Parse(text)
	if err != nil {
		return "", err
	}
	part, name := a.Split()
	if a.Service != "resource-groups" || part != "group" || name == "" {
		return "", errNoResource
	}
	return name, nil
}

func groupARN(sc store.Scope, name string) string {
	k, _ := kindNamed(kindGroup)
	return k.arnOf(sc, name)
}

// group reads the group that a call names by its name or ARN, or by the older member GroupName.
func group(tx *store.Tx, sc store.Scope, older, text *string) (store.ResourceGroup, error) {
	name := codec.Value(text)
	if name == "" {
		name = codec.Value(older)
	}
	if name == "" {
		return store.ResourceGroup{}, wire.BadRequestException("The name of a group is needed.")
	}
	k, _ := kindNamed(kindGroup)
	id, err := k.resolve(tx, sc, name)
	if errors.Is(err, errNoResource) {
		return store.ResourceGroup{}, wire.NotFoundException("Cannot find the group %s.", name)
	}
	if err != nil {
		return store.ResourceGroup{}, err
	}
	return tx.ResourceGroup(sc, id)
}

func wireGroup(sc store.Scope, g store.ResourceGroup) *wire.Group {
	w := &wire.Group{GroupArn: new(groupARN(sc, g.Name)), Name: &g.Name}
	if g.Description != "" {
		w.Description = &g.Description
	}
	return w
}

func wireQuery(g store.ResourceGroup) *wire.ResourceQuery {
	return &wire.ResourceQuery{Type: &g.QueryType, Query: &g.Query}
}

// parse refuses queries that cannot be answered.
func parse(q *wire.ResourceQuery) (target.Query, error) {
	if q == nil {
		return target.Query{}, wire.BadRequestException("A ResourceQuery is needed: groups that have a configuration in its place are not supported.")
	}
	if t := codec.Value(q.Type); t != target.TagFilters {
		return target.Query{}, wire.BadRequestException("Queries of the type %s are not supported, only %s.", t, target.TagFilters)
	}
	parsed, err := target.ParseQuery(codec.Value(q.Query))
	if err != nil {
		return parsed, wire.BadRequestException("%v", err)
	}
	return parsed, nil
}

func sortedTags(tags map[string]string) ([]store.Tag, error) {
	var out []store.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if tag.Reserved(k) {
			return nil, wire.BadRequestException("aws: prefixed tag key names are not allowed for external use.")
		}
		out = append(out, store.Tag{Key: k, Value: tags[k]})
	}
	if len(out) > tag.Max {
		return nil, wire.BadRequestException("A group may have %d tags, not %d.", tag.Max, len(out))
	}
	return out, nil
}

// CreateGroup makes a resource group.
func (s *Service) CreateGroup(ctx context.Context, in *wire.CreateGroupInput) (*wire.CreateGroupOutput, error) {
	sc, name := store.ScopeOf(ctx), codec.Value(in.Name)
	if strings.HasPrefix(strings.ToLower(name), "aws") {
		return nil, wire.BadRequestException("The name of a group cannot begin with AWS.")
	}
	if len(in.Configuration) > 0 {
		return nil, wire.BadRequestException("Groups with a configuration are not supported.")
	}
	if _, err := parse(in.ResourceQuery); err != nil {
		return nil, err
	}
	tags, err := sortedTags(in.Tags)
	if err != nil {
		return nil, err
	}
	g := store.ResourceGroup{Name: name, Description: codec.Value(in.Description), QueryType: codec.Value(in.ResourceQuery.Type), Query: codec.Value(in.ResourceQuery.Query)}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if n, err := tx.ResourceGroupCount(sc); err != nil {
			return err
		} else if n >= maxGroups {
			return wire.BadRequestException("There are %d resource groups already; at most %d are allowed.", n, maxGroups)
		}
		g.CreatedAt = tx.Now()
		made, err := tx.InsertResourceGroup(sc, g)
		if err != nil {
			return err
		}
		if !made {
			return wire.BadRequestException("A group with the name %s exists already.", name)
		}
		for _, t := range tags {
			if err := tx.PutTag(sc, kindGroup, name, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &wire.CreateGroupOutput{Group: wireGroup(sc, g), ResourceQuery: wireQuery(g), Tags: in.Tags}, nil
}

// view reads a group for an answer.
func (s *Service) view(ctx context.Context, older, name *string) (g store.ResourceGroup, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error { g, err = group(tx, store.ScopeOf(ctx), older, name); return err })
	return g, err
}

// GetGroup answers a group.
func (s *Service) GetGroup(ctx context.Context, in *wire.GetGroupInput) (*wire.GetGroupOutput, error) {
	g, err := s.view(ctx, in.GroupName, in.Group)
	if err != nil {
		return nil, err
	}
	return &wire.GetGroupOutput{Group: wireGroup(store.ScopeOf(ctx), g)}, nil
}

// GetGroupQuery answers a group's query.
func (s *Service) GetGroupQuery(ctx context.Context, in *wire.GetGroupQueryInput) (*wire.GetGroupQueryOutput, error) {
	g, err := s.view(ctx, in.GroupName, in.Group)
	if err != nil {
		return nil, err
	}
	return &wire.GetGroupQueryOutput{GroupQuery: &wire.GroupQuery{GroupName: &g.Name, ResourceQuery: wireQuery(g)}}, nil
}

// GetGroupConfiguration answers that a group has none: groups that have one are not made here.
func (s *Service) GetGroupConfiguration(ctx context.Context, in *wire.GetGroupConfigurationInput) (*wire.GetGroupConfigurationOutput, error) {
	if _, err := s.view(ctx, nil, in.Group); err != nil {
		return nil, err
	}
	return &wire.GetGroupConfigurationOutput{GroupConfiguration: &wire.GroupConfiguration{Configuration: []wire.GroupConfigurationItem{}, Status: new(wire.GroupConfigurationStatusUpdateComplete)}}, nil
}

// changeGroup reads a group and changes it, in one transaction.
func (s *Service) changeGroup(ctx context.Context, older, name *string, fn func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error) (g store.ResourceGroup, err error) {
	sc := store.ScopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if g, err = group(tx, sc, older, name); err != nil {
			return err
		}
		return fn(tx, sc, &g)
	})
	return g, err
}

// UpdateGroup changes a group's description.
func (s *Service) UpdateGroup(ctx context.Context, in *wire.UpdateGroupInput) (*wire.UpdateGroupOutput, error) {
	g, err := s.changeGroup(ctx, in.GroupName, in.Group, func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error {
		g.Description = codec.Value(in.Description)
		return tx.SaveResourceGroup(sc, *g)
	})
	if err != nil {
		return nil, err
	}
	return &wire.UpdateGroupOutput{Group: wireGroup(store.ScopeOf(ctx), g)}, nil
}

// UpdateGroupQuery changes what a group holds.
func (s *Service) UpdateGroupQuery(ctx context.Context, in *wire.UpdateGroupQueryInput) (*wire.UpdateGroupQueryOutput, error) {
	if _, err := parse(in.ResourceQuery); err != nil {
		return nil, err
	}
	g, err := s.changeGroup(ctx, in.GroupName, in.Group, func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error {
		g.QueryType, g.Query = codec.Value(in.ResourceQuery.Type), codec.Value(in.ResourceQuery.Query)
		return tx.SaveResourceGroup(sc, *g)
	})
	if err != nil {
		return nil, err
	}
	return &wire.UpdateGroupQueryOutput{GroupQuery: &wire.GroupQuery{GroupName: &g.Name, ResourceQuery: wireQuery(g)}}, nil
}

// DeleteGroup removes a group; what it held stays.
func (s *Service) DeleteGroup(ctx context.Context, in *wire.DeleteGroupInput) (*wire.DeleteGroupOutput, error) {
	g, err := s.changeGroup(ctx, in.GroupName, in.Group, func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error {
		if err := tx.DeleteTags(sc, kindGroup, g.Name); err != nil {
			return err
		}
		return tx.DeleteResourceGroup(sc, g.Name)
	})
	if err != nil {
		return nil, err
	}
	return &wire.DeleteGroupOutput{Group: wireGroup(store.ScopeOf(ctx), g)}, nil
}

// The page tokens of Resource Groups are of the letters of base64, not of its form for addresses.
var (
	toBase64   = strings.NewReplacer("-", "+", "_", "/")
	fromBase64 = strings.NewReplacer("+", "-", "/", "_")
)

func (s *Service) openGroups(ctx context.Context, operation string, in codec.Encodable, token *string, size *int64) (*page.Page, error) {
	if codec.Value(token) == "" {
		token = nil
	} else {
		token = new(fromBase64.Replace(*token))
	}
	pg, err := s.pages.Open(ctx, operation, in, token, size, 50)
	if awserr.Code(err) == "InvalidNextToken" {
		err = wire.BadRequestException("The NextToken is not one that this request was answered with.")
	}
	return pg, err
}

func groupsToken(token *string) *string {
	if token == nil {
		return nil
	}
	return new(toBase64.Replace(*token))
}

// ListGroups lists groups by their names.
func (s *Service) ListGroups(ctx context.Context, in *wire.ListGroupsInput) (*wire.ListGroupsOutput, error) {
	pg, err := s.openGroups(ctx, "ListGroups", in, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &wire.ListGroupsOutput{GroupIdentifiers: []wire.GroupIdentifier{}, Groups: []wire.Group{}}
	var rows []store.ResourceGroup
	err = s.store.View(ctx, func(tx *store.Tx) error {
		after := pg.At(0)
		for len(rows) <= pg.Size {
			part, err := tx.ResourceGroups(sc, after, perRead)
			if err != nil || len(part) == 0 {
				return err
			}
			for _, g := range part {
				if takesGroup(in.Filters, g) {
					rows = append(rows, g)
				}
			}
			after = part[len(part)-1].Name
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, out.NextToken = page.Cut(pg, rows, func(g store.ResourceGroup) []string { return []string{g.Name} })
	out.NextToken = groupsToken(out.NextToken)
	for _, g := range rows {
		out.GroupIdentifiers = append(out.GroupIdentifiers, wire.GroupIdentifier{GroupName: new(g.Name), GroupArn: new(groupARN(sc, g.Name))})
		out.Groups = append(out.Groups, *wireGroup(sc, g))
	}
	return out, nil
}

// takesGroup applies filters: resource-type by what a group's query names, configuration-type finds none.
func takesGroup(filters []wire.GroupFilter, g store.ResourceGroup) bool {
	for _, f := range filters {
		q, err := target.ParseQuery(g.Query)
		if err != nil || codec.Value(f.Name) != wire.GroupFilterNameResourceType ||
			!slices.ContainsFunc(f.Values, func(v string) bool { return slices.Contains(q.ResourceTypeFilters, v) }) {
			return false
		}
	}
	return true
}

// resource is what a query has found.
type resource struct{ arn, typ string }

// findAll lists the resources that a query finds, by their ARNs; types narrow it, unless there are none.
func findAll(tx *store.Tx, sc store.Scope, q target.Query, types []string) ([]resource, error) {
	var out []resource
	for _, k := range kinds {
		ids, err := find(tx, sc, &k, q)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if typ := k.typeOf(id); q.HasType(typ) && (len(types) == 0 || slices.Contains(types, typ)) {
				out = append(out, resource{k.arnOf(sc, id), typ})
			}
		}
	}
	slices.SortFunc(out, func(a, b resource) int { return cmp.Compare(a.arn, b.arn) })
	return out, nil
}

// find lists the resources of a kind that have the tags of a query; without tags in it, all of them.
func find(tx *store.Tx, sc store.Scope, k *kind, q target.Query) ([]string, error) {
	if len(q.TagFilters) == 0 {
		return k.all(tx, sc)
	}
	var ids []string
	for i, f := range q.TagFilters {
		var have []string
		var err error
		if len(f.Values) == 0 {
			have, err = tx.TaggedKey(sc, k.name, f.Key)
		} else {
			have, err = tx.TaggedWith(sc, k.name, f.Key, f.Values)
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			ids = have
			continue
		}
		in := make(map[string]bool, len(have))
		for _, id := range have {
			in[id] = true
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return !in[id] })
	}
	return ids, nil
}

// ListGroupResources lists what a group holds now.
func (s *Service) ListGroupResources(ctx context.Context, in *wire.ListGroupResourcesInput) (*wire.ListGroupResourcesOutput, error) {
	pg, err := s.openGroups(ctx, "ListGroupResources", in, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	var types []string
	for _, f := range in.Filters {
		types = append(types, f.Values...)
	}
	sc := store.ScopeOf(ctx)
	var list []resource
	err = s.store.View(ctx, func(tx *store.Tx) error {
		g, err := group(tx, sc, in.GroupName, in.Group)
		if err != nil {
			return err
		}
		q, err := target.ParseQuery(g.Query)
		if err != nil {
			return err
		}
		list, err = findAll(tx, sc, q, types)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.ListGroupResourcesOutput{Resources: []wire.ListGroupResourcesItem{}, ResourceIdentifiers: []wire.ResourceIdentifier{}, QueryErrors: []wire.QueryError{}}
	list, out.NextToken = page.Slice(pg, list, func(r resource) string { return r.arn })
	out.NextToken = groupsToken(out.NextToken)
	for _, r := range list {
		id := wire.ResourceIdentifier{ResourceArn: new(r.arn), ResourceType: new(r.typ)}
		out.Resources = append(out.Resources, wire.ListGroupResourcesItem{Identifier: &id})
		out.ResourceIdentifiers = append(out.ResourceIdentifiers, id)
	}
	return out, nil
}

// SearchResources lists what a query finds, without a group.
func (s *Service) SearchResources(ctx context.Context, in *wire.SearchResourcesInput) (*wire.SearchResourcesOutput, error) {
	q, err := parse(in.ResourceQuery)
	if err != nil {
		return nil, err
	}
	pg, err := s.openGroups(ctx, "SearchResources", in, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	var list []resource
	err = s.store.View(ctx, func(tx *store.Tx) (err error) { list, err = findAll(tx, store.ScopeOf(ctx), q, nil); return err })
	if err != nil {
		return nil, err
	}
	out := &wire.SearchResourcesOutput{ResourceIdentifiers: []wire.ResourceIdentifier{}, QueryErrors: []wire.QueryError{}}
	list, out.NextToken = page.Slice(pg, list, func(r resource) string { return r.arn })
	out.NextToken = groupsToken(out.NextToken)
	for _, r := range list {
		out.ResourceIdentifiers = append(out.ResourceIdentifiers, wire.ResourceIdentifier{ResourceArn: new(r.arn), ResourceType: new(r.typ)})
	}
	return out, nil
}

// Tag gives a group tags.
func (s *Service) Tag(ctx context.Context, in *wire.TagInput) (*wire.TagOutput, error) {
	tags, err := sortedTags(in.Tags)
	if err != nil {
		return nil, err
	}
	_, err = s.changeGroup(ctx, nil, in.Arn, func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error {
		k, _ := kindNamed(kindGroup)
		n, err := s.put(tx, sc, k, g.Name, tags)
		if err == nil && n > tag.Max {
			err = wire.BadRequestException("The group would have %d tags; at most %d are allowed.", n, tag.Max)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &wire.TagOutput{Arn: in.Arn, Tags: in.Tags}, nil
}

// Untag takes tags from a group; a key that is not there is no error.
func (s *Service) Untag(ctx context.Context, in *wire.UntagInput) (*wire.UntagOutput, error) {
	_, err := s.changeGroup(ctx, nil, in.Arn, func(tx *store.Tx, sc store.Scope, g *store.ResourceGroup) error {
		k, _ := kindNamed(kindGroup)
		return s.drop(tx, sc, k, g.Name, in.Keys)
	})
	if err != nil {
		return nil, err
	}
	return &wire.UntagOutput{Arn: in.Arn, Keys: in.Keys}, nil
}

// GetTags answers the tags of a group.
func (s *Service) GetTags(ctx context.Context, in *wire.GetTagsInput) (*wire.GetTagsOutput, error) {
	sc := store.ScopeOf(ctx)
	out := &wire.GetTagsOutput{Arn: in.Arn, Tags: map[string]string{}}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		g, err := group(tx, sc, nil, in.Arn)
		if err != nil {
			return err
		}
		rows, err := tx.Tags(sc, kindGroup, g.Name)
		for _, t := range rows {
			out.Tags[t.Key] = t.Value
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GroupExists reports whether there is a resource group of a name or ARN.
func (s *Service) GroupExists(tx *store.Tx, sc store.Scope, name string) (bool, error) {
	_, err := group(tx, sc, nil, &name)
	switch awserr.Code(err) {
	case "NotFoundException", "BadRequestException": // none has that name, or it is no name
		return false, nil
	}
	return err == nil, err
}

// NodesOf lists the managed nodes that a resource group, by name or ARN, holds now; types narrow it, unless there are none.
// ok is false when there is no such group.
func (s *Service) NodesOf(tx *store.Tx, sc store.Scope, name string, types []string) (ids []string, ok bool, err error) {
	g, err := group(tx, sc, nil, &name)
	if awserr.Code(err) == "NotFoundException" {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	q, err := target.ParseQuery(g.Query)
	if err != nil {
		return nil, false, err
	}
	k, _ := kindNamed(kindNode)
	if ids, err = find(tx, sc, &k, q); err != nil {
		return nil, false, err
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		return !q.HasType(k.typeOf(id)) || len(types) > 0 && !slices.Contains(types, k.typeOf(id))
	}), true, nil
}

// GroupsOf lists the names of the resource groups that a managed node is in.
func (s *Service) GroupsOf(tx *store.Tx, sc store.Scope, nodeID string) (names []string, err error) {
	rows, err := tx.Tags(sc, kindNode, nodeID)
	if err != nil {
		return nil, err
	}
	k, _ := kindNamed(kindNode)
	values := (&tagged{tags: rows}).values()
	for after := ""; ; {
		list, err := tx.ResourceGroups(sc, after, perRead)
		if err != nil || len(list) == 0 {
			return names, err
		}
		for _, g := range list {
			if q, err := target.ParseQuery(g.Query); err == nil && q.HasType(k.typeOf(nodeID)) && q.Matches(values) {
				names = append(names, g.Name)
			}
		}
		after = list[len(list)-1].Name
	}
}
