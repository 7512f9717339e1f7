package inventory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of counting, which keep one question from taking all memory.
const (
	maxDepth    = 5       // of nested aggregators
	maxPerNode  = 10_000  // combinations of values of one node
	maxDistinct = 200_000 // combinations of values of all nodes
)

// ErrTooMany says that there are more combinations of values than are counted.
var ErrTooMany = errors.New("there are too many different values to count: ask with filters")

// Group counts nodes that pass filters, and those that do not.
type Group struct {
	Name    string
	Filters []Filter
}

// Aggregator counts nodes: by the values of Expression and below them by those of the nested ones, or by groups.
type Aggregator struct {
	Type, Attribute string // of Expression
	Nested          []Aggregator
	Groups          []Group
}

// Check refuses aggregators that cannot be counted by.
func (a *Aggregator) Check() error { return a.check(1) }

func (a *Aggregator) check(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("aggregators may be nested %d deep at most", maxDepth)
	}
	if (a.Type == "") == (len(a.Groups) == 0) {
		return errors.New("an aggregator needs either an expression or groups")
	}
	if len(a.Groups) > 0 {
		if depth > 1 || len(a.Nested) > 0 {
			return errors.New("groups cannot be nested, nor have aggregators below them")
		}
		return nil
	}
	if a.Attribute == "" {
		return fmt.Errorf("the expression %q is not of the form TYPE.ATTRIBUTE", a.Type)
	}
	if err := CheckAttribute(a.Type, a.Attribute); err != nil {
		return err
	}
	for i := range a.Nested {
		if err := a.Nested[i].check(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// Types lists the types whose entries the aggregator looks at.
func (a *Aggregator) Types() []string {
	set := map[string]bool{}
	a.types(set)
	return slices.Sorted(maps.Keys(set))
}

func (a *Aggregator) types(set map[string]bool) {
	if a.Type != "" {
		set[a.Type] = true
	}
	for i := range a.Nested {
		a.Nested[i].types(set)
	}
	for _, g := range a.Groups {
		for _, f := range g.Filters {
			set[f.Type] = true
		}
	}
}

// ResultType is the type under which the counts are answered.
func (a *Aggregator) ResultType() string {
	if a.Type != "" {
		return a.Type
	}
	return a.Groups[0].Filters[0].Type
}

// Counter counts the nodes of a fleet for one aggregator. Make it with NewCounter.
type Counter struct {
	a       Aggregator
	paths   [][]column
	counts  []map[string]int // per path: nodes by their values
	matched []int            // per group
	nodes   int
}

// column is one attribute that a path of aggregators counts by.
type column struct{ typ, attribute, name string }

// NewCounter returns a counter for a checked aggregator.
func NewCounter(a Aggregator) *Counter {
	c := &Counter{a: a, matched: make([]int, len(a.Groups))}
	if a.Type != "" {
		c.walk(&a, nil)
	}
	for range c.paths {
		c.counts = append(c.counts, map[string]int{})
	}
	return c
}

func (c *Counter) walk(a *Aggregator, above []column) {
	col := column{a.Type, a.Attribute, a.Attribute}
	if slices.ContainsFunc(above, func(o column) bool { return o.name == col.name }) {
		col.name = a.Type + "." + a.Attribute
	}
	path := append(slices.Clone(above), col)
	if len(a.Nested) == 0 {
		c.paths = append(c.paths, path)
	}
	for i := range a.Nested {
		c.walk(&a.Nested[i], path)
	}
}

// Types lists the types whose entries Add needs.
func (c *Counter) Types() []string { return c.a.Types() }

// ResultType is the type under which Rows are answered.
func (c *Counter) ResultType() string { return c.a.ResultType() }

// separator parts the values of a combination; entries hold no such character.
const separator = "\x00"

// Add counts one node; entries are its entries by type. Errors: ErrTooMany.
func (c *Counter) Add(entries map[string][]Entry) error {
	c.nodes++
	for i, g := range c.a.Groups {
		if MatchNode(g.Filters, entries) {
			c.matched[i]++
		}
	}
	for i, path := range c.paths {
		rows := []string{""}
		for start := 0; start < len(path); {
			end := start + 1 // attributes of one type belong together: to one entry
			for end < len(path) && path[end].typ == path[start].typ {
				end++
			}
			values := distinct(path[start:end], entries[path[start].typ])
			if len(rows)*len(values) > maxPerNode {
				return ErrTooMany
			}
			next := make([]string, 0, len(rows)*len(values))
			for _, r := range rows {
				for _, v := range values {
					next = append(next, r+v)
				}
			}
			rows, start = next, end
		}
		for _, r := range rows {
			c.counts[i][r]++
		}
		if len(c.counts[i]) > maxDistinct {
			return ErrTooMany
		}
	}
	return nil
}

// distinct are the combinations of values that the entries have of some attributes.
func distinct(columns []column, entries []Entry) []string {
	set := map[string]bool{}
	for _, e := range entries {
		var key strings.Builder
		ok := true
		for _, col := range columns {
			v, has := e[col.attribute]
			ok = ok && has
			key.WriteString(strings.ReplaceAll(v, separator, ""))
			key.WriteString(separator)
		}
		if ok {
			set[key.String()] = true
		}
	}
	return slices.Collect(maps.Keys(set))
}

// Rows are the counts: an entry for each combination of values with its Count, ordered by the values; for groups one each
// with its Name, matchingCount and notMatchingCount.
func (c *Counter) Rows() []Entry {
	var out []Entry
	for i, g := range c.a.Groups {
		out = append(out, Entry{"Name": g.Name, "matchingCount": strconv.Itoa(c.matched[i]), "notMatchingCount": strconv.Itoa(c.nodes - c.matched[i])})
	}
	for i, path := range c.paths {
		for _, key := range slices.Sorted(maps.Keys(c.counts[i])) {
			e := Entry{"Count": strconv.Itoa(c.counts[i][key])}
			for j, v := range strings.Split(strings.TrimSuffix(key, separator), separator) {
				e[path[j].name] = v
			}
			out = append(out, e)
		}
	}
	return out
}

// MatchNode reports whether a node, whose entries are given by type, passes filters of any types. Filters of one type must be
// passed by one and the same entry. Exists of several types by TypeName needs them all.
func MatchNode(filters []Filter, entries map[string][]Entry) bool {
	for typ, list := range ByType(filters) {
		if len(MatchEntries(list, entries[typ])) == 0 {
			return false
		}
	}
	return true
}

// ByType sorts filters by their types.
func ByType(filters []Filter) map[string][]Filter {
	out := map[string][]Filter{}
	for _, f := range filters {
		out[f.Type] = append(out[f.Type], f)
	}
	return out
}
