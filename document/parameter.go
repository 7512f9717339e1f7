package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The types of document parameters.
const (
	TypeString     = "String"
	TypeStringList = "StringList"
	TypeStringMap  = "StringMap"
	TypeBoolean    = "Boolean"
	TypeInteger    = "Integer"
	TypeMapList    = "MapList"
)

// Parameter is one declared parameter of a document. The limits are nil or empty when not declared.
type Parameter struct {
	Name, Type, Description, DisplayType string
	Default                              any // typed as Values are; nil without a default
	AllowedValues                        []string
	AllowedPattern                       string // must match the whole value
	MinItems, MaxItems                   *int
	MinChars, MaxChars                   *int

	pattern *regexp.Regexp
}

// Values are parameters in the types of the document: string, []any of strings, map[string]any, bool,
// json.Number and []any of maps. This is the form of the payload that goes to a node.
type Values map[string]any

func (d *Document) readParameters(v any) error {
	if v == nil {
		return nil
	}
	all, ok := v.(map[string]any)
	if !ok {
		return contentError("parameters must be an object")
	}
	for _, name := range sortedKeys(all) {
		m, ok := all[name].(map[string]any)
		if !ok {
			return contentError("parameters.%s must be an object", name)
		}
		p, err := readParameter(name, m)
		if err != nil {
			return err
		}
		d.Parameters[name] = p
	}
	return nil
}

func readParameter(name string, m map[string]any) (*Parameter, error) {
	p := &Parameter{Name: name}
	p.Type, _ = m["type"].(string)
	switch p.Type {
	case TypeString, TypeStringList, TypeStringMap, TypeBoolean, TypeInteger, TypeMapList:
	default:
		if !strings.HasPrefix(p.Type, "AWS::") && !strings.HasPrefix(p.Type, "List<") {
			return nil, contentError("parameters.%s.type %q is not a parameter type", name, p.Type)
		}
		// Typed references of automation documents are strings to everyone but the console.
		p.Type = map[bool]string{true: TypeStringList, false: TypeString}[strings.HasPrefix(p.Type, "List<")]
	}
	p.Description, _ = m["description"].(string)
	p.DisplayType, _ = m["displayType"].(string)
	if list, ok := m["allowedValues"]; ok {
		items, ok := list.([]any)
		if !ok {
			return nil, contentError("parameters.%s.allowedValues must be a list", name)
		}
		for _, item := range items {
			p.AllowedValues = append(p.AllowedValues, text(item))
		}
	}
	if s, ok := m["allowedPattern"].(string); ok && s != "" {
		re, err := regexp.Compile(`\A(?:` + s + `)\z`)
		if err != nil {
			return nil, contentError("parameters.%s.allowedPattern is not a regular expression that can be evaluated: %v", name, err)
		}
		p.AllowedPattern, p.pattern = s, re
	}
	for key, dst := range map[string]**int{"minItems": &p.MinItems, "maxItems": &p.MaxItems, "minChars": &p.MinChars, "maxChars": &p.MaxChars} {
		v, ok := m[key]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(text(v))
		if err != nil || n < 0 {
			return nil, contentError("parameters.%s.%s must be a number that is not negative", name, key)
		}
		*dst = &n
	}
	if v, ok := m["default"]; ok && v != nil {
		if p.Type == TypeString { // documents write numbers and booleans here
			v = text(v)
		}
		if p.Type == TypeStringList {
			if s, ok := v.(string); ok {
				v = []any{s}
			}
		}
		if p.Type == TypeBoolean {
			if s, ok := v.(string); ok && (strings.EqualFold(s, "true") || strings.EqualFold(s, "false")) {
				v = strings.EqualFold(s, "true")
			}
		}
		if why := p.checkType(v); why != "" {
			return nil, contentError("parameters.%s.default %s", name, why)
		}
		p.Default = v
	}
	return p, nil
}

// Resolve checks parameters as the API carries them and returns those given in the document's types, the form
// of a command payload. A parameter without value and default, an unknown name and a value outside its limits
// are *Error of kind ErrParameters.
// Source: AWS Systems Manager User Guide, "Data elements and parameters".
func (d *Document) Resolve(given map[string][]string) (Values, error) {
	var unknown []string
	for _, name := range sortedKeys(given) {
		if d.Parameters[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, &Error{Kind: ErrParameters, Names: unknown, Message: "The following SSM parameters are invalid: " + strings.Join(unknown, ", ")}
	}
	values := Values{}
	for _, name := range sortedKeys(d.Parameters) {
		p := d.Parameters[name]
		list, ok := given[name]
		if !ok || len(list) == 0 && p.Type != TypeStringList && p.Type != TypeMapList {
			if p.Default == nil {
				return nil, parameterError(name, "a value is required")
			}
			continue
		}
		v, why := p.convert(list)
		if why == "" {
			why = p.check(v)
		}
		if why != "" {
			return nil, parameterError(name, why)
		}
		values[name] = v
	}
	return values, nil
}

// Check verifies values in typed form, as a node gets them: types, allowed values, patterns and limits.
// Unknown names are ignored, as the agent of AWS does.
func (d *Document) Check(values Values) error {
	for _, name := range sortedKeys(d.Parameters) {
		p := d.Parameters[name]
		v, ok := values[name]
		if !ok {
			if p.Default == nil {
				return parameterError(name, "a value is required")
			}
			continue
		}
		why := p.checkType(v)
		if why == "" {
			why = p.check(v)
		}
		if why != "" {
			return parameterError(name, why)
		}
	}
	return nil
}

// WithDefaults returns the values of all parameters: given ones, else the document's defaults.
func (d *Document) WithDefaults(given Values) Values {
	all := Values{}
	for name, p := range d.Parameters {
		if v, ok := given[name]; ok {
			all[name] = v
		} else if p.Default != nil {
			all[name] = p.Default
		}
	}
	return all
}

func parameterError(name, why string) *Error {
	return &Error{Kind: ErrParameters, Names: []string{name}, Message: fmt.Sprintf("The following SSM parameters are invalid: %s: %s", name, why)}
}

// convert turns the list of the API into the parameter's type. The second result says what is wrong.
func (p *Parameter) convert(list []string) (any, string) {
	if p.Type == TypeStringList {
		items := make([]any, len(list))
		for i, s := range list {
			items[i] = s
		}
		return items, ""
	}
	if p.Type == TypeMapList {
		items := make([]any, 0, len(list))
		for _, s := range list {
			var m map[string]any
			if decodeJSON([]byte(s), &m) != nil || m == nil {
				return nil, "each value must be a JSON object"
			}
			items = append(items, m)
		}
		return items, ""
	}
	if len(list) != 1 {
		return nil, fmt.Sprintf("one value is expected, got %d", len(list))
	}
	switch s := list[0]; p.Type {
	case TypeBoolean:
		if b, ok := map[string]bool{"true": true, "false": false}[strings.ToLower(s)]; ok {
			return b, ""
		}
		return nil, "the value must be true or false"
	case TypeInteger:
		if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			return nil, "the value must be an integer"
		}
		return json.Number(s), ""
	case TypeStringMap:
		var m map[string]any
		if decodeJSON([]byte(s), &m) != nil || m == nil {
			return nil, "the value must be a JSON object"
		}
		return m, ""
	default:
		return s, ""
	}
}

func (p *Parameter) checkType(v any) string {
	ok := false
	switch p.Type {
	case TypeString:
		_, ok = v.(string)
	case TypeBoolean:
		_, ok = v.(bool)
	case TypeInteger:
		var n json.Number
		if n, ok = v.(json.Number); ok {
			_, err := n.Int64()
			ok = err == nil
		}
	case TypeStringMap:
		_, ok = v.(map[string]any)
	case TypeStringList, TypeMapList:
		var list []any
		list, ok = v.([]any)
		for _, item := range list {
			if p.Type == TypeStringList {
				_, isItem := item.(string)
				ok = ok && isItem
			} else {
				_, isItem := item.(map[string]any)
				ok = ok && isItem
			}
		}
	}
	if !ok {
		return "is not of type " + p.Type
	}
	return ""
}

// check enforces the limits on a value of the right type.
func (p *Parameter) check(v any) string {
	var texts []string
	count := 1
	switch v := v.(type) {
	case []any:
		count = len(v)
		for _, item := range v {
			texts = append(texts, text(item))
		}
	case map[string]any:
		count = len(v)
		texts = []string{text(v)}
	default:
		texts = []string{text(v)}
	}
	if p.MinItems != nil && count < *p.MinItems {
		return fmt.Sprintf("at least %d items are required, got %d", *p.MinItems, count)
	}
	if p.MaxItems != nil && count > *p.MaxItems {
		return fmt.Sprintf("at most %d items are allowed, got %d", *p.MaxItems, count)
	}
	for _, s := range texts {
		n := utf8.RuneCountInString(s)
		switch {
		case p.MinChars != nil && n < *p.MinChars:
			return fmt.Sprintf("at least %d characters are required, got %d", *p.MinChars, n)
		case p.MaxChars != nil && n > *p.MaxChars:
			return fmt.Sprintf("at most %d characters are allowed, got %d", *p.MaxChars, n)
		case len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, s):
			return "the value must be one of: " + strings.Join(p.AllowedValues, ", ")
		case p.pattern != nil && !p.pattern.MatchString(s):
			return "the value must match the pattern " + p.AllowedPattern
		}
	}
	return ""
}

// text is a value as it appears inside a longer string: strings as they are, everything else as JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return string(marshal(v))
}
