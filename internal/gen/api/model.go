package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// model is an api-2.json file: an AWS service description, or ours in the same format.
type model struct {
	Metadata   metadata              `json:"metadata"`
	Operations map[string]*operation `json:"operations"`
	Shapes     map[string]*shape     `json:"shapes"`
}

type metadata struct {
	APIVersion   string `json:"apiVersion"`
	Protocol     string `json:"protocol"`
	TargetPrefix string `json:"targetPrefix"`
	XMLNamespace string `json:"xmlNamespace"`
}

type operation struct {
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input  *ref  `json:"input"`
	Output *ref  `json:"output"`
	Errors []ref `json:"errors"`
}

type ref struct {
	Shape            string `json:"shape"`
	IdempotencyToken bool   `json:"idempotencyToken"`
	Location         string `json:"location"`     // rest-json: uri, querystring; "" is the body
	LocationName     string `json:"locationName"` // there
}

type shape struct {
	Type      string       `json:"type"`
	Members   members      `json:"members"`
	Required  []string     `json:"required"`
	Member    *ref         `json:"member"`
	Key       *ref         `json:"key"`
	Value     *ref         `json:"value"`
	Min       *json.Number `json:"min"`
	Max       *json.Number `json:"max"`
	Pattern   string       `json:"pattern"`
	Enum      []string     `json:"enum"`
	Sensitive bool         `json:"sensitive"`
	Exception bool         `json:"exception"`
	Fault     bool         `json:"fault"`
	Error     *struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
	} `json:"error"`
}

type member struct {
	name string
	ref
}

// members keeps the model's order, which encoding/json would lose in a map.
type members []member

// UnmarshalJSON reads an object in order.
func (m *members) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var r ref
		if err := dec.Decode(&r); err != nil {
			return err
		}
		*m = append(*m, member{name: name.(string), ref: r})
	}
	return nil
}

func (m members) find(name string) *member {
	for i := range m {
		if m[i].name == name {
			return &m[i]
		}
	}
	return nil
}

// merge adds what add has: new operations and shapes, and to known shapes members, enum values, errors.
func (m *model) merge(add *model) error {
	for name, op := range add.Operations {
		if have := m.Operations[name]; have != nil {
			have.Errors = append(have.Errors, op.Errors...)
			continue
		}
		m.Operations[name] = op
	}
	for name, s := range add.Shapes {
		have := m.Shapes[name]
		if have == nil {
			m.Shapes[name] = s
			continue
		}
		if have.Type != s.Type {
			return fmt.Errorf("addition %s is a %s, the model's a %s", name, s.Type, have.Type)
		}
		for _, mem := range s.Members {
			if have.Members.find(mem.name) != nil {
				return fmt.Errorf("addition %s.%s is in the model", name, mem.name)
			}
			have.Members = append(have.Members, mem)
		}
		for _, v := range s.Enum {
			if !slices.Contains(have.Enum, v) {
				have.Enum = append(have.Enum, v)
			}
		}
		have.Sensitive = have.Sensitive || s.Sensitive
	}
	return nil
}

// services is services.json: what is generated, and what no model says about operations.
type services struct {
	Services []service `json:"services"`
}

type service struct {
	Package    string              `json:"package"`
	Doc        string              `json:"doc"`
	Signing    string              `json:"signing"`
	Model      string              `json:"model"`     // "aws:ssm/2014-11-06" or a file of this directory
	Additions  string              `json:"additions"` // a file of this directory
	Operations map[string]opConfig `json:"operations"`
	// Actions is the prefix of IAM actions, the signing name if empty.
	Actions string `json:"actions"`
	// Invalid is the code of what breaks a rule of a shape, where it is not ValidationException.
	Invalid string `json:"invalid"`
	// Sensitive lists shape.member names that audit records must not hold, beyond the model's own.
	Sensitive []string `json:"sensitive"`
}

type opConfig struct {
	NodeOwn   bool   `json:"nodeOwn"`
	Quiet     bool   `json:"quiet"`
	Auth      string `json:"auth"` // "", anonymous, nodeKey
	BodyLimit int64  `json:"bodyLimit"`
	ReadOnly  *bool  `json:"readOnly"`
	// EnumErrors maps members whose enum violation has an error code of its own.
	EnumErrors map[string]string `json:"enumErrors"`
	// Resource names the kind of resource that the member Name is.
	NameIs string `json:"nameIs"`
}
