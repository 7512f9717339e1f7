package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// TagFilters is the type of query that finds resources by their tags.
const TagFilters = "TAG_FILTERS_1_0"

// AllSupported stands for every resource type.
const AllSupported = "AWS::AllSupported"

// TagFilter asks for a tag: its key and, unless it is empty, one of the values.
type TagFilter struct {
	Key    string
	Values []string
}

// Query is what a resource group holds: resources of some types that have every tag asked for.
type Query struct {
	ResourceTypeFilters []string
	TagFilters          []TagFilter
}

// Limits of a query, which is a text of 4096 characters at most.
const (
	maxQueryTypes = 100
	maxQueryTags  = 50
	maxTagValues  = 20
)

var resourceType = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\AAWS::[A-Za-z0-9]+::[A-Za-z0-9]+\z`) })

// ParseQuery reads the JSON of a TAG_FILTERS_1_0 query.
// Source: CreateGroup in the AWS Resource Groups API reference.
func ParseQuery(text string) (Query, error) {
	var q Query
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil || dec.More() {
		return q, errors.New("the query is not a JSON object with ResourceTypeFilters and TagFilters")
	}
	if len(q.ResourceTypeFilters) == 0 || len(q.ResourceTypeFilters) > maxQueryTypes {
		return q, fmt.Errorf("the query needs 1 to %d ResourceTypeFilters", maxQueryTypes)
	}
	for _, t := range q.ResourceTypeFilters {
		if t != AllSupported && !resourceType().MatchString(t) {
			return q, fmt.Errorf("%.128q is not a resource type", t)
		}
	}
	if len(q.TagFilters) > maxQueryTags {
		return q, fmt.Errorf("the query has %d TagFilters; at most %d are taken", len(q.TagFilters), maxQueryTags)
	}
	for _, f := range q.TagFilters {
		if f.Key == "" || len(f.Values) > maxTagValues {
			return q, fmt.Errorf("a tag filter needs a Key and at most %d Values", maxTagValues)
		}
	}
	return q, nil
}

// HasType reports whether the query looks at resources of a type.
func (q *Query) HasType(typ string) bool {
	return slices.Contains(q.ResourceTypeFilters, AllSupported) || slices.Contains(q.ResourceTypeFilters, typ)
}

// Matches reports whether a resource with these tags is one that the query finds, of whatever type it is.
func (q *Query) Matches(tags map[string]string) bool { return MatchTags(q.TagFilters, tags) }

// MatchTags reports whether tags pass all filters.
func MatchTags(filters []TagFilter, tags map[string]string) bool {
	for _, f := range filters {
		v, ok := tags[f.Key]
		if !ok || len(f.Values) > 0 && !slices.Contains(f.Values, v) {
			return false
		}
	}
	return true
}
