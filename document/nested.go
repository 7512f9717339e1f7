package document

import (
	"encoding/json"
	"fmt"
	"strings"
)

// RunDocument is the plugin that runs another document as a step.
const RunDocument = "aws:runDocument"

// MaxDepth is how deep documents may run documents; the command's own has depth 0.
// Source: AWS Systems Manager User Guide, "aws:runDocument".
const MaxDepth = 3

// Nested is what a step of the plugin aws:runDocument runs.
type Nested struct {
	Name, Version string // of an SSM document: its name or ARN; the version is empty for the default one
	Path          string // of a file on the node; Name is empty then
	Parameters    map[string]any
}

// Nested reads the inputs of an aws:runDocument step that is bound to its values. Errors are *Error of kind ErrContent.
func (s Step) Nested() (n Nested, err error) {
	var inputs map[string]any
	if len(s.Properties) > 0 {
		inputs = s.Properties[0]
	}
	path := strings.TrimSpace(Text(inputs["documentPath"]))
	if path == "" {
		return n, contentError("documentPath is empty: it names the document that %s runs", s.Name)
	}
	switch kind := Text(inputs["documentType"]); kind {
	case "SSMDocument":
		n.Name, n.Version = SplitVersion(path)
	case "LocalPath":
		n.Path = path
	default:
		return n, contentError("documentType is SSMDocument or LocalPath, not %q", kind)
	}
	switch p := inputs["documentParameters"].(type) {
	case nil:
	case map[string]any:
		n.Parameters = p
	case string:
		if strings.TrimSpace(p) == "" {
			break
		}
		b, err := ToJSON([]byte(p), Auto)
		if err == nil {
			err = decodeJSON(b, &n.Parameters)
		}
		if err != nil {
			return n, contentError("documentParameters is not an object of JSON or YAML: %v", err)
		}
	default:
		return n, contentError("documentParameters must be an object, or a text that is one")
	}
	return n, nil
}

// SplitVersion takes a version off the end of a document's name or ARN.
func SplitVersion(path string) (name, version string) {
	head, tail := "", path
	if i := strings.LastIndexByte(path, '/'); strings.HasPrefix(path, "arn:") && i >= 0 {
		head, tail = path[:i+1], path[i+1:]
	}
	tail, version, _ = strings.Cut(tail, ":")
	return head + tail, version
}

// Convert turns the values that a step gives to a document into the document's types, and checks them. A list of one
// stands for its item where a single value is wanted, and an item for a list of one, as documents write both. Names
// that the document does not have are left out, as the agent of AWS does. Errors are *Error of kind ErrParameters.
func (d *Document) Convert(given map[string]any) (Values, error) {
	values := Values{}
	for name, v := range given {
		if p := d.Parameters[name]; p != nil && v != nil {
			values[name] = p.coerce(v)
		}
	}
	if err := d.Check(values); err != nil {
		return nil, err
	}
	return values, nil
}

func (p *Parameter) coerce(v any) any {
	list, isList := v.([]any)
	switch p.Type {
	case TypeStringList:
		if !isList {
			return []any{text(v)}
		}
		out := make([]any, len(list))
		for i, item := range list {
			out[i] = text(item)
		}
		return out
	case TypeMapList:
		if !isList {
			return []any{v}
		}
		return v
	}
	if isList && len(list) == 1 {
		v = list[0]
	}
	s, isText := v.(string)
	switch {
	case p.Type == TypeString:
		return text(v)
	case !isText:
		return v
	case p.Type == TypeBoolean && (strings.EqualFold(s, "true") || strings.EqualFold(s, "false")):
		return strings.EqualFold(s, "true")
	case p.Type == TypeInteger:
		return json.Number(s)
	case p.Type == TypeStringMap:
		var m map[string]any
		if decodeJSON([]byte(s), &m) == nil {
			return m
		}
	}
	return v
}

// Referred reports whether the document that an unbound aws:runDocument step runs is named by one of the parameters.
func (s Step) Referred() bool {
	return len(s.Properties) > 0 && anyReference.MatchString(Text(s.Properties[0]["documentPath"]))
}

// TooDeep is why a document is not run at a depth.
func TooDeep(name string) error {
	return fmt.Errorf("document %s is not run: documents run documents at most %d deep", name, MaxDepth)
}
