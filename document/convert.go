package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxNodes = 10000 // values of a document after aliases are expanded
	maxDepth = 64
)

// ToJSON returns the text of a JSON or YAML document as compact JSON, the members in their written order.
// YAML timestamps and unquoted versions stay the strings they were written as where JSON has no such type.
func ToJSON(text []byte, format Format) ([]byte, error) {
	if format == Auto {
		format = YAML
		if t := bytes.TrimLeft(text, " \t\r\n\ufeff"); len(t) > 0 && t[0] == '{' {
			format = JSON
		}
	}
	switch format {
	case JSON:
		var b bytes.Buffer
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		if err := json.Compact(&b, text); err != nil {
			return nil, contentError("the document is not valid JSON: %v%s", err, position(text))
		}
		if err := checkDepth(b.Bytes()); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	case YAML:
		var node yaml.Node
		if err := yaml.Unmarshal(text, &node); err != nil {
			return nil, contentError("the document is not valid YAML: %v", err)
		}
		w := &jsonWriter{}
		if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
			return nil, contentError("the document is empty")
		}
		if err := w.write(node.Content[0], 0); err != nil {
			return nil, err
		}
		return w.out.Bytes(), nil
	}
	return nil, contentError("document format %q is not JSON or YAML", format)
}

// position tells people where the syntax error of a JSON text is. Only Unmarshal knows.
func position(text []byte) string {
	var all json.RawMessage
	syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(text, &all))
	if !ok {
		return ""
	}
	before := text[:min(max(int(syntax.Offset)-1, 0), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf(" (line %d, column %d)", line, column)
}

// checkDepth counts brackets outside strings of valid JSON.
func checkDepth(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return contentError("the document is nested more than %d levels deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

type jsonWriter struct {
	out   bytes.Buffer
	nodes int
}

func (w *jsonWriter) write(n *yaml.Node, depth int) error {
	w.nodes++
	if w.nodes > maxNodes || w.out.Len() > 4*MaxSize {
		return contentError("the document has more than %d values or expands to too much text", maxNodes)
	}
	if depth > maxDepth {
		return contentError("the document is nested more than %d levels deep", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.write(n.Alias, depth+1)
	case yaml.MappingNode:
		return w.writeMap(n, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.write(item, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return w.writeScalar(n)
	}
	return contentError("line %d: unexpected YAML", n.Line)
}

func (w *jsonWriter) writeMap(n *yaml.Node, depth int) error {
	w.out.WriteByte('{')
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			return contentError("line %d: a key must be a plain string", key.Line)
		}
		if seen[key.Value] {
			return contentError("line %d: key %q is used twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.writeJSON(key.Value)
		w.out.WriteByte(':')
		if err := w.write(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *jsonWriter) writeScalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		w.out.WriteString("null")
		return nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return contentError("line %d: %v", n.Line, err)
		}
		w.writeJSON(b)
		return nil
	case "!!int":
		var i int64
		if err := n.Decode(&i); err == nil {
			w.writeJSON(i)
			return nil
		}
		if json.Valid([]byte(n.Value)) { // beyond 64 bits
			w.out.WriteString(n.Value)
			return nil
		}
	case "!!float":
		if json.Valid([]byte(n.Value)) && !strings.ContainsAny(n.Value, "\"{[") {
			w.out.WriteString(n.Value)
			return nil
		}
	case "!!binary":
		return contentError("line %d: binary values are not allowed", n.Line)
	}
	w.writeJSON(n.Value)
	return nil
}

func (w *jsonWriter) writeJSON(v any) {
	w.out.Write(marshal(v))
}

// marshal encodes strings, numbers, booleans and trees of them without escaping for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte("null") // not reachable: only decoded JSON comes here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
