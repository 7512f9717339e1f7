// Package document reads SSM documents and decides what a node does with them: parameters and their limits,
// substitution, preconditions, the order of steps, exit codes and time-outs. It does no I/O and runs nothing;
// the agent runs steps and the server stores documents. Start with Parse.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// MaxSize is the largest document text that is accepted, in bytes.
const MaxSize = 64 << 10

// Format is the notation of a document's text.
type Format string

// The notations of documents. Auto takes JSON when the first character is a brace, else YAML.
const (
	Auto Format = ""
	JSON Format = "JSON"
	YAML Format = "YAML"
)

// What can be wrong with a document or its parameters. The service turns each into the AWS error named here.
var (
	// ErrContent becomes InvalidDocumentContent.
	ErrContent = errors.New("invalid document content")
	// ErrSchemaVersion becomes InvalidDocumentSchemaVersion.
	ErrSchemaVersion = errors.New("invalid document schema version")
	// ErrSize becomes MaxDocumentSizeExceeded.
	ErrSize = errors.New("document too large")
	// ErrParameters becomes InvalidParameters.
	ErrParameters = errors.New("invalid parameters")
)

// Error is a defect of a document or of the parameters given to it. Its text may be shown to the caller.
type Error struct {
	Kind    error    // one of ErrContent, ErrSchemaVersion, ErrSize, ErrParameters
	Names   []string // the parameters concerned, sorted; nil for defects of the document
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind, so that errors.Is(err, ErrParameters) works.
func (e *Error) Unwrap() error { return e.Kind }

// Document is a parsed document. It is not changed after Parse and may be shared.
type Document struct {
	SchemaVersion string
	Description   string
	Parameters    map[string]*Parameter
	Steps         []Step // in the order of execution; empty for schemas that are stored only

	content []byte
}

// Step is one plugin call of a document.
type Step struct {
	Action string // plugin, for example aws:runShellScript
	Name   string // step name in 2.x; the plugin name in 1.2, which is what is reported there
	// Precondition is nil when the step has none. Operators are the keys; only StringEquals is defined.
	Precondition map[string][]string
	// Properties are the plugin's inputs: exactly one set in 2.x, one per property in 1.2.
	Properties []map[string]any

	malformed string // why the precondition cannot be read
}

// Parse reads a document. Text over MaxSize, more than 10,000 nodes or 64 levels is refused.
// Schema versions 1.2, 2.0 to 2.0.3 and 2.2 get steps; others that Systems Manager knows (0.3, 1.0) are accepted
// without. Errors are *Error.
func Parse(text []byte, format Format) (*Document, error) {
	if len(text) > MaxSize {
		return nil, tooLarge(text)
	}
	return parse(text, format)
}

// ParsePayload reads the DocumentContent of a command payload, which is JSON and may be larger than MaxSize
// because the payload is limited as a whole.
func ParsePayload(content []byte) (*Document, error) { return parse(content, JSON) }

func parse(text []byte, format Format) (*Document, error) {
	content, err := ToJSON(text, format)
	if err != nil {
		return nil, err
	}
	var top map[string]any
	if err := decodeJSON(content, &top); err != nil {
		return nil, contentError("%v", err)
	}
	d := &Document{content: content, Parameters: map[string]*Parameter{}}
	version, ok := top["schemaVersion"].(string)
	if !ok {
		return nil, &Error{Kind: ErrSchemaVersion, Message: "schemaVersion is missing or not a string"}
	}
	d.SchemaVersion = version
	d.Description, _ = top["description"].(string)
	if err := d.readParameters(top["parameters"]); err != nil {
		return nil, err
	}
	switch version {
	case "1.2":
		err = d.readRuntimeConfig(content)
	case "2.0", "2.0.1", "2.0.2", "2.0.3", "2.2":
		err = d.readMainSteps(top["mainSteps"])
	case "0.3", "1.0":
	default:
		err = &Error{Kind: ErrSchemaVersion, Message: fmt.Sprintf("Document with schema version %s is not supported", version)}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Content returns the document as compact JSON with the members in their written order, as it goes to a node.
// The caller must not change it.
func (d *Document) Content() []byte { return d.content }

func (d *Document) readMainSteps(v any) error {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return contentError("mainSteps must be a list with at least one step")
	}
	seen := map[string]bool{}
	for i, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return contentError("mainSteps[%d] must be an object", i)
		}
		var s Step
		if s.Action, ok = m["action"].(string); !ok || s.Action == "" {
			return contentError("mainSteps[%d].action is missing", i)
		}
		if s.Name, ok = m["name"].(string); !ok || !validStepName(s.Name) {
			return contentError("mainSteps[%d].name must have 1 to 128 letters, digits, '_', '-', '.' or ':'", i)
		}
		if seen[s.Name] {
			return contentError("mainSteps[%d].name %q is used twice", i, s.Name)
		}
		seen[s.Name] = true
		inputs, ok := m["inputs"].(map[string]any)
		if !ok && m["inputs"] != nil {
			return contentError("mainSteps[%d].inputs must be an object", i)
		}
		s.Properties = []map[string]any{inputs}
		s.Precondition, s.malformed = readPrecondition(m["precondition"])
		if isTrue(inputs["finallyStep"]) && i != len(list)-1 {
			return contentError("mainSteps[%d]: finallyStep is allowed on the last step only", i)
		}
		d.Steps = append(d.Steps, s)
	}
	return nil
}

func (d *Document) readRuntimeConfig(content []byte) error {
	var top struct {
		RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	}
	if err := json.Unmarshal(content, &top); err != nil {
		return contentError("%v", err)
	}
	var plugins map[string]map[string]any
	if err := decodeJSON(top.RuntimeConfig, &plugins); err != nil || len(plugins) == 0 {
		return contentError("runtimeConfig must be an object with at least one plugin")
	}
	for _, name := range keyOrder(top.RuntimeConfig) {
		if !validStepName(name) {
			return contentError("runtimeConfig: plugin name %q is not valid", name)
		}
		s := Step{Action: name, Name: name}
		switch p := plugins[name]["properties"].(type) {
		case nil:
			s.Properties = []map[string]any{{}}
		case map[string]any:
			s.Properties = []map[string]any{p}
		case []any:
			for i, item := range p {
				m, ok := item.(map[string]any)
				if !ok {
					return contentError("runtimeConfig.%s.properties[%d] must be an object", name, i)
				}
				s.Properties = append(s.Properties, m)
			}
		default:
			return contentError("runtimeConfig.%s.properties must be a list or an object", name)
		}
		if plugins[name]["precondition"] != nil {
			s.Precondition, s.malformed = readPrecondition(plugins[name]["precondition"])
		}
		d.Steps = append(d.Steps, s)
	}
	return nil
}

// validStepName keeps step names usable as file and object names.
func validStepName(s string) bool {
	if s == "" || len(s) > 128 || strings.Trim(s, ".") == "" {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

func isTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return strings.EqualFold(v, "true")
	}
	return false
}

func contentError(format string, args ...any) *Error {
	return &Error{Kind: ErrContent, Message: fmt.Sprintf(format, args...)}
}

// decodeJSON decodes one JSON value and keeps numbers as they are written.
func decodeJSON(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("text after the end of the document")
	}
	return nil
}

// keyOrder returns the keys of a JSON object in their written order, each once.
func keyOrder(raw []byte) []string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	var keys []string
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return keys
		}
		key, _ := t.(string)
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return keys
		}
		if !seen[key] {
			keys = append(keys, key)
			seen[key] = true
		}
	}
	return keys
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
