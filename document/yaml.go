package document

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// ToYAML returns the text of a JSON or YAML document as YAML, the members in their written order. ToJSON turns it back
// into the same document.
func ToYAML(text []byte, format Format) ([]byte, error) {
	content, err := ToJSON(text, format)
	if err != nil {
		return nil, err
	}
	node, err := readNode(content)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return b.Bytes(), nil
}

// readNode reads valid JSON and refuses an object that has a key twice: readers differ in which of the values they take.
func readNode(content []byte) (*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return nil, contentError("%v", err)
	}
	return node, nil
}

// yamlNode reads one JSON value.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		seen := map[string]bool{}
		for dec.More() { // in an object, keys and values in turn, which is how the nodes want them
			item, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			if n.Kind == yaml.MappingNode && len(n.Content)%2 == 0 {
				if seen[item.Value] {
					return nil, fmt.Errorf("key %q is used twice", item.Value)
				}
				seen[item.Value] = true
			}
			n.Content = append(n.Content, item)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := dec.Token()
		return n, err
	case string:
		n := &yaml.Node{}
		n.SetString(t)
		return n, nil
	case json.Number:
		tag := "!!int"
		if bytes.ContainsAny([]byte(t), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}
