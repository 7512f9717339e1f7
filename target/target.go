package target

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Target is one element of a command's Targets: a key and the values of which a node must have one.
type Target struct {
	Key    string
	Values []string
}

// The limits of Targets.
// Source: SendCommand in the AWS Systems Manager API reference.
const (
	MaxTargets   = 5
	MaxValues    = 50
	MaxKeyLength = 163
)

// Kind is what a target's key selects by.
type Kind int

// The kinds of target keys.
const (
	ByInstanceID Kind = iota + 1
	ByTag             // Name is the tag key
	ByTagKey          // the node has all listed tag keys
	ByResourceGroup
	ByResourceType
)

var keyPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[\p{L}\p{Z}\p{N}_.:/=\-@]*\z`) })

// Kind parses the key; name is the tag key of ByTag.
func (t Target) Kind() (k Kind, name string, err error) {
	switch {
	case strings.EqualFold(t.Key, "InstanceIds"):
		return ByInstanceID, "", nil
	case strings.HasPrefix(t.Key, "tag:") && len(t.Key) > len("tag:"):
		return ByTag, t.Key[len("tag:"):], nil
	case t.Key == "tag-key":
		return ByTagKey, "", nil
	case t.Key == "resource-groups:Name":
		return ByResourceGroup, "", nil
	case t.Key == "resource-groups:ResourceTypeFilters":
		return ByResourceType, "", nil
	}
	return 0, "", fmt.Errorf("target key %q is not InstanceIds, tag:KEY, tag-key, resource-groups:Name or resource-groups:ResourceTypeFilters", t.Key)
}

// Validate checks a whole list of targets.
func Validate(targets []Target) error {
	if len(targets) > MaxTargets {
		return fmt.Errorf("at most %d targets are allowed, got %d", MaxTargets, len(targets))
	}
	groups, types := 0, 0
	for _, t := range targets {
		if len(t.Key) > MaxKeyLength || !keyPattern().MatchString(t.Key) {
			return fmt.Errorf("target key %q is not valid", t.Key)
		}
		kind, _, err := t.Kind()
		if err != nil {
			return err
		}
		if len(t.Values) == 0 || len(t.Values) > MaxValues {
			return fmt.Errorf("target %s needs 1 to %d values, got %d", t.Key, MaxValues, len(t.Values))
		}
		switch kind {
		case ByResourceGroup:
			groups++
			if len(t.Values) != 1 {
				return fmt.Errorf("target %s takes one resource group", t.Key)
			}
		case ByResourceType:
			types++
			if len(t.Values) > 5 {
				return fmt.Errorf("target %s takes at most 5 resource types", t.Key)
			}
		}
	}
	if groups > 1 || types > 1 || types > groups {
		return fmt.Errorf("resource-groups:Name may be used once, with at most one resource-groups:ResourceTypeFilters")
	}
	return nil
}

// Node is what targets look at.
type Node struct {
	ID     string
	Tags   map[string]string
	Groups []string // resource groups the node is in
	Types  []string // resource types, for example AWS::SSM::ManagedInstance
}

// Match reports whether the node is selected by every target; no targets select nothing. InstanceIds with the
// value * selects every node.
func Match(targets []Target, n Node) bool {
	for _, t := range targets {
		kind, name, err := t.Kind()
		ok := false
		switch {
		case err != nil:
		case kind == ByInstanceID:
			ok = slices.Contains(t.Values, n.ID) || slices.Contains(t.Values, "*")
		case kind == ByTag:
			value, has := n.Tags[name]
			ok = has && slices.Contains(t.Values, value)
		case kind == ByTagKey:
			ok = true
			for _, key := range t.Values {
				_, has := n.Tags[key]
				ok = ok && has
			}
		case kind == ByResourceGroup:
			ok = intersect(t.Values, n.Groups)
		case kind == ByResourceType:
			ok = intersect(t.Values, n.Types)
		}
		if !ok {
			return false
		}
	}
	return len(targets) > 0
}

func intersect(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
