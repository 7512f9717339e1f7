package codec

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"oakum.dev/awserr"
)

// maxShown is how many characters of a refused value a message repeats.
const maxShown = 1024

// Constraint is what the model demands of a scalar, a list, a map or a blob. Min and Max are a value
// for numbers and a length for everything else.
type Constraint struct {
	Min, Max       int64
	HasMin, HasMax bool
	Pattern        *Pattern
	Enum           []string
	Sensitive      bool   // the value is left out of messages
	EnumCode       string // the error code of a value outside Enum, where it is not ValidationException
}

// Pattern is a regular expression of the model, matched against the whole value. It is compiled when
// first used.
type Pattern struct {
	Text string // as in the model, for messages
	once sync.Once
	re   *regexp.Regexp
	test func(string) bool
}

// special holds the patterns that RE2 cannot run.
var special = map[string]func(string) bool{
	`^(?!\s*$).+`: func(s string) bool {
		return strings.TrimSpace(s) != "" && !strings.ContainsAny(s, "\n")
	},
	`^.{1,100000}$`: func(s string) bool {
		n := utf8.RuneCountInString(s)
		return n >= 1 && n <= 100000 && !strings.Contains(s, "\n")
	},
}

var javaEscape = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

// Compile prepares the pattern; an error is one of the model and found by the generator.
func (p *Pattern) Compile() error {
	var err error
	p.once.Do(func() {
		if p.test = special[p.Text]; p.test != nil {
			return
		}
		if p.re, err = regexp.Compile(`\A(?:` + javaEscape.ReplaceAllString(p.Text, `\x{$1}`) + `)\z`); err == nil {
			p.test = p.re.MatchString
		}
	})
	return err
}

// Match reports whether the whole of s matches.
func (p *Pattern) Match(s string) bool {
	if err := p.Compile(); err != nil || p.test == nil {
		return false
	}
	return p.test(s)
}

// Path says where in the input a value stands; nil is the input itself.
type Path struct {
	parent *Path
	name   string
}

// Member returns the path of a structure's member.
func (p *Path) Member(name string) *Path { return &Path{parent: p, name: name} }

// Elem returns the path of element i, from 0, of the list in a member.
func (p *Path) Elem(name string, i int) *Path {
	return &Path{parent: p, name: dotted(name, strconv.Itoa(i+1)) + ".member"}
}

// Entry returns the path of a value in the map in a member.
func (p *Path) Entry(name, key string) *Path {
	return &Path{parent: p, name: dotted(name, shown(key)) + ".member"}
}

// dotted joins a member's name, empty for a list or map inside another, with a place in it.
func dotted(name, place string) string {
	if name == "" {
		return place
	}
	return name + "." + place
}

func (p *Path) text(name string) string {
	if p == nil {
		return name
	}
	if name == "" {
		return p.parent.text(p.name)
	}
	return p.parent.text(p.name) + "." + name
}

// Violations collects what is wrong with an input.
type Violations struct {
	texts []string
	code  string
}

// Err returns the error for all violations, nil if there are none.
func (e *Violations) Err() error {
	n := len(e.texts)
	if n == 0 {
		return nil
	}
	head := "1 validation error detected: "
	if n > 1 {
		head = strconv.Itoa(n) + " validation errors detected: "
	}
	err := awserr.Validation("%s", head+strings.Join(e.texts, "; "))
	if n == 1 && e.code != "" {
		err.Code = e.code
	}
	return err
}

func (e *Violations) add(at *Path, name, value string, c *Constraint, rule string) {
	if len(e.texts) >= 100 {
		return // the rest would only make the message unreadable
	}
	v := "Value '" + value + "' at '"
	if c.Sensitive {
		v = "Value at '"
	}
	e.texts = append(e.texts, v+at.text(name)+"' failed to satisfy constraint: "+rule)
}

// Null records that a required member is absent.
func (e *Violations) Null(at *Path, name string) {
	e.texts = append(e.texts, "Value null at '"+at.text(name)+"' failed to satisfy constraint: Member must not be null")
}

func lengthRules(c *Constraint, what string) (rules []string) {
	if c.HasMax {
		rules = append(rules, "Member must have "+what+" less than or equal to "+strconv.FormatInt(c.Max, 10))
	}
	if c.HasMin {
		rules = append(rules, "Member must have "+what+" greater than or equal to "+strconv.FormatInt(c.Min, 10))
	}
	return rules
}

// bounds calls report with the rule that n breaks, if any.
func bounds(c *Constraint, n int64, what string, report func(rule string)) {
	if c.HasMax && n > c.Max {
		report("Member must have " + what + " less than or equal to " + strconv.FormatInt(c.Max, 10))
	}
	if c.HasMin && n < c.Min {
		report("Member must have " + what + " greater than or equal to " + strconv.FormatInt(c.Min, 10))
	}
}

func shown(s string) string {
	if utf8.RuneCountInString(s) <= maxShown {
		return s
	}
	return string([]rune(s)[:maxShown]) + "..."
}

// String checks a string: length in characters, pattern, enum.
func (e *Violations) String(at *Path, name, v string, c *Constraint) {
	checkString(v, c, func(rule string) { e.add(at, name, shown(v), c, rule) })
	if c.EnumCode != "" && len(c.Enum) > 0 && !slices.Contains(c.Enum, v) {
		e.code = c.EnumCode
	}
}

func checkString(v string, c *Constraint, report func(rule string)) {
	if c.HasMin || c.HasMax {
		bounds(c, int64(utf8.RuneCountInString(v)), "length", report)
	}
	if c.Pattern != nil && !c.Pattern.Match(v) {
		report("Member must satisfy regular expression pattern: " + c.Pattern.Text)
	}
	if len(c.Enum) > 0 && !slices.Contains(c.Enum, v) {
		report("Member must satisfy enum value set: [" + strings.Join(c.Enum, ", ") + "]")
	}
}

// allRules are the constraints of a list's elements as one message names them.
func allRules(c *Constraint) string {
	rules := lengthRules(c, "length")
	if c.Pattern != nil {
		rules = append(rules, "Member must satisfy regular expression pattern: "+c.Pattern.Text)
	}
	if len(c.Enum) > 0 {
		rules = append(rules, "Member must satisfy enum value set: ["+strings.Join(c.Enum, ", ")+"]")
	}
	return "[" + strings.Join(rules, ", ") + "]"
}

// Int checks a number's range.
func (e *Violations) Int(at *Path, name string, v int64, c *Constraint) {
	bounds(c, v, "value", func(rule string) { e.add(at, name, strconv.FormatInt(v, 10), c, rule) })
}

// Len checks the length of a list of structures, a map or a blob, whose content is not repeated.
func (e *Violations) Len(at *Path, name string, n int, c *Constraint) {
	bounds(c, int64(n), "length", func(rule string) { e.add(at, name, "[...]", c, rule) })
}

// Strings checks a list of strings and its elements; a failing element is reported once, on the list.
func (e *Violations) Strings(at *Path, name string, v []string, list, elem *Constraint) {
	value := func() string { return shown("[" + strings.Join(v, ", ") + "]") }
	if list != nil {
		bounds(list, int64(len(v)), "length", func(rule string) { e.add(at, name, value(), list, rule) })
	}
	if elem == nil {
		return
	}
	for _, s := range v {
		bad := false
		checkString(s, elem, func(string) { bad = true })
		if bad {
			e.add(at, name, value(), elem, "Member must satisfy constraint: "+allRules(elem))
			return
		}
	}
}

// Keys checks the length of a map and its keys.
func Keys[T any](e *Violations, at *Path, name string, m map[string]T, c, key *Constraint) {
	if c != nil {
		e.Len(at, name, len(m), c)
	}
	if key == nil {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		bad := false
		checkString(k, key, func(string) { bad = true })
		if bad {
			e.add(at, name, "["+shown(k)+"]", key, "Map keys must satisfy constraint: "+allRules(key))
			return
		}
	}
}

// Sorted returns the keys of m in order, for a stable order of messages.
func Sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
