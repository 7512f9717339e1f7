package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/pkgver"
)

// Operator is how a filter compares.
type Operator string

// The operators of filters.
const (
	Equal       Operator = "Equal"
	NotEqual    Operator = "NotEqual"
	BeginWith   Operator = "BeginWith"
	LessThan    Operator = "LessThan"
	GreaterThan Operator = "GreaterThan"
	Exists      Operator = "Exists"
)

// Filter asks whether an entry's attribute has one of the values, or with NotEqual none of them. Attribute is empty for
// Exists of a whole type. Values are alternatives.
type Filter struct {
	Type, Attribute string
	Operator        Operator
	Values          []string
}

// typeNameKey is the key that asks, with Exists, whether a node has reported types at all.
const typeNameKey = "TypeName"

// SplitKey parts TYPE.ATTRIBUTE, such as AWS:Application.Name.
func SplitKey(key string) (typeName, attribute string) {
	typeName, attribute, _ = strings.Cut(key, ".")
	return typeName, attribute
}

// ParseFilter reads a filter of a request. op is empty for Equal. The key is TYPE.ATTRIBUTE, for Exists also TYPE, or
// TypeName with types as values.
func ParseFilter(key, op string, values []string) ([]Filter, error) {
	o := Operator(op)
	switch o {
	case "":
		o = Equal
	case Equal, NotEqual, BeginWith, LessThan, GreaterThan, Exists:
	default:
		return nil, fmt.Errorf("the filter type %q is not known", op)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("the filter %s has no value", key)
	}
	if key == typeNameKey {
		if o != Exists {
			return nil, fmt.Errorf("the filter %s goes with the type Exists only", key)
		}
		var out []Filter
		for _, v := range values {
			if err := CheckAttribute(v, ""); err != nil {
				return nil, err
			}
			out = append(out, Filter{Type: v, Operator: Exists, Values: values})
		}
		return out, nil
	}
	f := Filter{Operator: o, Values: values}
	f.Type, f.Attribute = SplitKey(key)
	if f.Attribute == "" && o != Exists {
		return nil, fmt.Errorf("the filter key %q is not of the form TYPE.ATTRIBUTE", key)
	}
	if err := CheckAttribute(f.Type, f.Attribute); err != nil {
		return nil, err
	}
	return []Filter{f}, nil
}

// CheckAttribute refuses what no type or attribute can be called. Custom types have the attributes that nodes report.
func CheckAttribute(typeName, attribute string) error {
	if IsCustom(typeName) {
		return nil
	}
	t, ok := Lookup(typeName)
	if !ok {
		return fmt.Errorf("there is no inventory type %q", typeName)
	}
	if attribute != "" && !slices.ContainsFunc(t.Attributes, func(a Attribute) bool { return a.Name == attribute }) {
		return fmt.Errorf("%s has no attribute %q", typeName, attribute)
	}
	return nil
}

// Match reports whether an entry passes the filter.
func (f *Filter) Match(e Entry) bool {
	if f.Attribute == "" {
		return f.Operator == Exists
	}
	v, present := e[f.Attribute]
	some := func(hit func(want string) bool) bool { return slices.ContainsFunc(f.Values, hit) }
	switch f.Operator {
	case Equal:
		return present && slices.Contains(f.Values, v)
	case NotEqual:
		return !slices.Contains(f.Values, v)
	case BeginWith:
		return present && some(func(w string) bool { return strings.HasPrefix(v, w) })
	case LessThan:
		return present && some(func(w string) bool { return Compare(e, f.Attribute, w) < 0 })
	case GreaterThan:
		return present && some(func(w string) bool { return Compare(e, f.Attribute, w) > 0 })
	case Exists:
		return present
	}
	return false
}

// MatchEntries returns the entries of one node and type that pass all filters, which are of that type. A node passes by its
// own entries only: of several filters one entry must pass all. NotEqual alone asks that no entry has the value: then all
// entries are returned, or none.
func MatchEntries(filters []Filter, entries []Entry) []Entry {
	only := !slices.ContainsFunc(filters, func(f Filter) bool { return f.Operator != NotEqual })
	var out []Entry
	for _, e := range entries {
		ok := true
		for i := range filters {
			ok = ok && filters[i].Match(e)
		}
		switch {
		case ok:
			out = append(out, e)
		case only:
			return nil
		}
	}
	return out
}

// MayMatch reports whether JSON text, as encoding/json writes a list of entries, can hold an entry that passes: it is quick
// and says no only where an Equal filter's attribute has none of its values anywhere.
func MayMatch(filters []Filter, text []byte) bool {
	for i := range filters {
		f := &filters[i]
		if f.Operator != Equal {
			continue
		}
		found := false
		for _, v := range f.Values {
			pair, err := json.Marshal(map[string]string{f.Attribute: v})
			if err != nil {
				return true
			}
			found = found || bytes.Contains(text, pair[1:len(pair)-1])
		}
		if !found {
			return false
		}
	}
	return true
}

// Compare orders the value of an entry's attribute against another value: versions as package managers order them, numbers
// as numbers, everything else, ISO times among it, as text. An entry with a Release or an Epoch is of rpm: then a version
// that is asked for may have them too, as in 1:3.0.7-18.el9.
func Compare(e Entry, attribute, want string) int {
	v := e[attribute]
	if attribute == "Version" || strings.HasSuffix(attribute, "Version") {
		_, release := e["Release"]
		_, epoch := e["Epoch"]
		if attribute == "Version" && (release || epoch) {
			return compareRPM(e, want)
		}
		return pkgver.Dpkg(v, want)
	}
	x, err1 := strconv.ParseFloat(v, 64)
	y, err2 := strconv.ParseFloat(want, 64)
	if err1 == nil && err2 == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(v, want)
}

// compareRPM compares as much of an entry's epoch, version and release as the wanted version names. Without an epoch in
// either the epochs do not count.
func compareRPM(e Entry, want string) int {
	have := e["Version"]
	if strings.Contains(want, ":") {
		epoch := e["Epoch"]
		if epoch == "" {
			epoch = "0"
		}
		have = epoch + ":" + have
	}
	if strings.Contains(want, "-") {
		have += "-" + e["Release"]
	}
	return pkgver.RPM(have, want)
}
