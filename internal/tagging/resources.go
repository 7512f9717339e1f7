package tagging

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"oakum.dev/arn"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/target"
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/tagging"
)

// Page sizes of the tagging API. Source: GetResources in the Resource Groups Tagging API reference.
const (
	defaultResources         = 50
	maxResources             = 100
	minTagsPage, maxTagsPage = 100, 500
	keysPerPage              = 100
	tagsPerRead              = 2000 // far more than one resource has
)

// open reads a page token in the words of the tagging API. in is the request without its token and size.
func (s *Service) open(ctx context.Context, operation string, in codec.Encodable, token *string, size int) (*page.Page, error) {
	if codec.Value(token) == "" {
		token = nil
	}
	pg, err := s.pages.Open(ctx, operation, in, token, nil, size)
	if err != nil {
		return nil, wire.InvalidParameterException("The PaginationToken is not one that this request was answered with.")
	}
	return pg, nil
}

// GetResources lists the resources that have tags, with them.
func (s *Service) GetResources(ctx context.Context, in *wire.GetResourcesInput) (*wire.GetResourcesOutput, error) {
	if err := checkResources(in); err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	request := *in
	request.PaginationToken, request.ResourcesPerPage, request.TagsPerPage = nil, nil, nil
	pg, err := s.open(ctx, "GetResources", &request, in.PaginationToken, defaultResources)
	if err != nil {
		return nil, err
	}
	if in.ResourcesPerPage != nil {
		pg.Size = int(*in.ResourcesPerPage)
	}
	tagsLeft := -1
	if in.TagsPerPage != nil {
		pg.Size, tagsLeft = int(*in.TagsPerPage), int(*in.TagsPerPage)
	}
	filters := make([]target.TagFilter, len(in.TagFilters))
	for i, f := range in.TagFilters {
		filters[i] = target.TagFilter{Key: codec.Value(f.Key), Values: f.Values}
	}
	out := &wire.GetResourcesOutput{ResourceTagMappingList: []wire.ResourceTagMapping{}}
	take := func(r tagged) bool { // false: the page is full
		k, ok := kindNamed(r.kind)
		if !ok || !ofTypes(&k, r.id, in.ResourceTypeFilters) || !target.MatchTags(filters, r.values()) ||
			len(in.ResourceARNList) > 0 && !slices.Contains(in.ResourceARNList, k.arnOf(sc, r.id)) || codec.Value(in.ExcludeCompliantResources) {
			return true
		}
		if n := len(out.ResourceTagMappingList); n == pg.Size || n > 0 && tagsLeft >= 0 && tagsLeft < len(r.tags) {
			return false
		}
		tagsLeft -= min(len(r.tags), max(tagsLeft, 0))
		m := wire.ResourceTagMapping{ResourceARN: new(k.arnOf(sc, r.id)), Tags: []wire.Tag{}}
		for _, t := range r.tags {
			m.Tags = append(m.Tags, wire.Tag{Key: new(t.Key), Value: new(t.Value)})
		}
		if codec.Value(in.IncludeComplianceDetails) { // there are no tag policies that it could break
			m.ComplianceDetails = &wire.ComplianceDetails{ComplianceStatus: new(true)}
		}
		out.ResourceTagMappingList = append(out.ResourceTagMappingList, m)
		return true
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		lastKind, lastID := pg.At(0), pg.At(1)
		return eachTagged(tx, sc, lastKind, lastID, func(r tagged) bool {
			if !take(r) {
				out.PaginationToken = pg.Next(lastKind, lastID)
				return false
			}
			lastKind, lastID = r.kind, r.id
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkResources(in *wire.GetResourcesInput) error {
	switch {
	case in.ResourcesPerPage != nil && in.TagsPerPage != nil:
		return wire.InvalidParameterException("ResourcesPerPage and TagsPerPage cannot be given together.")
	case in.ResourcesPerPage != nil && (*in.ResourcesPerPage < 1 || *in.ResourcesPerPage > maxResources):
		return wire.InvalidParameterException("ResourcesPerPage must be from 1 to %d.", maxResources)
	case in.TagsPerPage != nil && (*in.TagsPerPage < minTagsPage || *in.TagsPerPage > maxTagsPage):
		return wire.InvalidParameterException("TagsPerPage must be from %d to %d.", minTagsPage, maxTagsPage)
	case len(in.ResourceARNList) > 0 && (len(in.TagFilters) > 0 || len(in.ResourceTypeFilters) > 0 || in.ResourcesPerPage != nil || in.TagsPerPage != nil || codec.Value(in.PaginationToken) != ""):
		return wire.InvalidParameterException("ResourceARNList cannot be given with filters or pages.")
	case codec.Value(in.ExcludeCompliantResources) && !codec.Value(in.IncludeComplianceDetails):
		return wire.InvalidParameterException("ExcludeCompliantResources goes with IncludeComplianceDetails.")
	}
	for _, f := range in.TagFilters {
		if codec.Value(f.Key) == "" {
			return wire.InvalidParameterException("A tag filter needs a Key.")
		}
	}
	for _, t := range in.ResourceTypeFilters {
		service, _, _ := strings.Cut(t, ":")
		if service == "" || strings.ContainsAny(t, " /") {
			return wire.InvalidParameterException("%q is not a resource type of the form SERVICE or SERVICE:TYPE.", t)
		}
	}
	return nil
}

// ofTypes reports whether a resource is of one of the types SERVICE or SERVICE:TYPE; none are all.
func ofTypes(k *kind, id string, types []string) bool {
	own := k.service + ":" + k.part
	if k.typeOf(id) != k.typ {
		own = "ec2:instance"
	}
	service, _, _ := strings.Cut(own, ":")
	return len(types) == 0 || slices.Contains(types, own) || slices.Contains(types, service)
}

// tagged is a resource with its tags.
type tagged struct {
	kind, id string
	tags     []store.Tag
}

func (r *tagged) values() map[string]string {
	out := make(map[string]string, len(r.tags))
	for _, t := range r.tags {
		out[t.Key] = t.Value
	}
	return out
}

// eachTagged calls fn for every resource with tags after the given one, by kind and id, until it says stop.
func eachTagged(tx *store.Tx, sc store.Scope, kindAfter, idAfter string, fn func(tagged) bool) error {
	for {
		rows, err := tx.TagsAfter(sc, kindAfter, idAfter, tagsPerRead)
		if err != nil {
			return err
		}
		var list []tagged
		for _, t := range rows {
			if n := len(list); n == 0 || list[n-1].kind != t.ResourceType || list[n-1].id != t.ResourceID {
				list = append(list, tagged{kind: t.ResourceType, id: t.ResourceID})
			}
			list[len(list)-1].tags = append(list[len(list)-1].tags, t.Tag)
		}
		last := len(rows) < tagsPerRead
		if !last && len(list) > 1 {
			list = list[:len(list)-1] // the rest of its tags may come next
		}
		for _, r := range list {
			if !fn(r) {
				return nil
			}
			kindAfter, idAfter = r.kind, r.id
		}
		if last {
			return nil
		}
	}
}

// GetTagKeys lists the keys of all tags.
func (s *Service) GetTagKeys(ctx context.Context, in *wire.GetTagKeysInput) (*wire.GetTagKeysOutput, error) {
	pg, err := s.open(ctx, "GetTagKeys", &wire.GetTagKeysInput{}, in.PaginationToken, keysPerPage)
	if err != nil {
		return nil, err
	}
	out := &wire.GetTagKeysOutput{TagKeys: []string{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		keys, err := tx.TagKeys(store.ScopeOf(ctx), pg.At(0), pg.Size+1)
		keys, out.PaginationToken = page.Cut(pg, keys, func(k string) []string { return []string{k} })
		out.TagKeys = append(out.TagKeys, keys...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetTagValues lists the values that a key has.
func (s *Service) GetTagValues(ctx context.Context, in *wire.GetTagValuesInput) (*wire.GetTagValuesOutput, error) {
	pg, err := s.open(ctx, "GetTagValues", &wire.GetTagValuesInput{Key: in.Key}, in.PaginationToken, keysPerPage)
	if err != nil {
		return nil, err
	}
	out := &wire.GetTagValuesOutput{TagValues: []string{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		values, err := tx.TagValues(store.ScopeOf(ctx), codec.Value(in.Key), pg.At(0), pg.Size+1)
		if len(values) > pg.Size { // the empty value is one too: the token names the first of the next page
			out.PaginationToken = pg.Next(values[pg.Size])
			values = values[:pg.Size]
		}
		out.TagValues = append(out.TagValues, values...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// locate finds the resource that an ARN names.
func locate(tx *store.Tx, sc store.Scope, text string) (kind, string, error) {
	a, err := arn.Parse(text)
	if err != nil {
		return kind{}, "", errNoResource
	}
	part, _ := a.Split()
	for _, k := range kinds {
		if a.Service == k.service && part == k.part || k.name == kindNode && a.Service == "ec2" && part == "instance" {
			id, err := k.resolve(tx, sc, text)
			return k, id, err
		}
	}
	return kind{}, "", errNoResource
}

// change does something to every resource of a list; those it cannot be done to are answered, with the reason.
func (s *Service) change(ctx context.Context, arns []string, fn func(tx *store.Tx, k kind, id string) (problem string, err error)) (map[string]wire.FailureInfo, error) {
	sc := store.ScopeOf(ctx)
	var failures map[string]wire.FailureInfo
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		failures = map[string]wire.FailureInfo{}
		for _, text := range arns {
			k, id, err := locate(tx, sc, text)
			problem := ""
			switch {
			case errors.Is(err, errNoResource):
				problem = err.Error()
			case err != nil:
				return err
			default:
				if problem, err = fn(tx, k, id); err != nil {
					return err
				}
			}
			if problem != "" {
				failures[text] = wire.FailureInfo{StatusCode: new(int64(400)), ErrorCode: new(wire.ErrorCodeInvalidParameterException), ErrorMessage: &problem}
			}
		}
		return nil
	})
	return failures, err
}

// TagResources gives tags to resources.
func (s *Service) TagResources(ctx context.Context, in *wire.TagResourcesInput) (*wire.TagResourcesOutput, error) {
	tags := make([]store.Tag, 0, len(in.Tags))
	for _, k := range slices.Sorted(maps.Keys(in.Tags)) {
		if tag.Reserved(k) {
			return nil, wire.InvalidParameterException("aws: prefixed tag key names are not allowed for external use.")
		}
		tags = append(tags, store.Tag{Key: k, Value: in.Tags[k]})
	}
	sc := store.ScopeOf(ctx)
	failures, err := s.change(ctx, in.ResourceARNList, func(tx *store.Tx, k kind, id string) (string, error) {
		n, err := s.put(tx, sc, k, id, tags)
		if n > tag.Max {
			return "The resource would have more tags than are allowed.", err
		}
		return "", err
	})
	if err != nil {
		return nil, err
	}
	return &wire.TagResourcesOutput{FailedResourcesMap: failures}, nil
}

// UntagResources takes tags away from resources; a key that is not there is no error.
func (s *Service) UntagResources(ctx context.Context, in *wire.UntagResourcesInput) (*wire.UntagResourcesOutput, error) {
	sc := store.ScopeOf(ctx)
	failures, err := s.change(ctx, in.ResourceARNList, func(tx *store.Tx, k kind, id string) (string, error) {
		return "", s.drop(tx, sc, k, id, in.TagKeys)
	})
	if err != nil {
		return nil, err
	}
	return &wire.UntagResourcesOutput{FailedResourcesMap: failures}, nil
}
