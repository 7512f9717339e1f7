package command

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/internal/store"
	"oakum.dev/wire/ssm"
)

// reach is what a command does through the documents that its own one runs.
type reach struct {
	documents []string // by name or ARN, but for the built-in ones, which every node may read
	installs  bool     // some document on the way installs patches
}

// maxNested bounds how many documents are looked at for one command.
const maxNested = 100

// nested follows a command's document into those that it runs, with the values that it gives them. One that the caller has
// named in a parameter (a hook, say) must be there, and take what it is given: the nodes could only fail. What is wrong
// further down is found out by the nodes, which may never come to it.
func (s *Service) nested(ctx context.Context, tx *store.Tx, doc document.Version, given document.Values) (reach, error) {
	var r reach
	type entry struct {
		document.Version
		values document.Values
		depth  int
		told   bool // a document above says itself whether it installs
	}
	queue := []entry{{doc, doc.WithDefaults(given), 0, false}}
	for seen := 0; len(queue) > 0 && seen < maxNested; seen++ {
		d := queue[0]
		queue = queue[1:]
		op, patches := document.PatchOperation(d.Name, d.values)
		r.installs = r.installs || op == "Install" && !d.told
		d.told = d.told || patches // a scan with hooks names an install that it never comes to
		for _, step := range d.Steps {
			bound := step.Bind(d.values)
			named := d.depth == 0 && step.Referred()
			if name := downloaded(bound); name != "" {
				if v, err := s.documents.Find(ctx, tx, name, ""); err == nil && !builtin(v.Name) {
					r.documents = append(r.documents, v.Name)
				}
			}
			if step.Action != document.RunDocument || d.depth >= document.MaxDepth {
				continue
			}
			n, err := bound.Nested()
			if err != nil || n.Name == "" {
				if err != nil && named {
					return r, ssm.InvalidParameters("%s: %v", step.Name, err)
				}
				continue
			}
			v, values, err := s.runnable(ctx, tx, n)
			if err != nil {
				if refused, ok := errors.AsType[*awserr.Error](err); !ok || named {
					if ok && refused.Code == "InvalidParameters" {
						return r, ssm.InvalidParameters("%s: document %s: %s", step.Name, n.Name, refused.Message)
					}
					return r, err
				}
				continue
			}
			if !builtin(v.Name) {
				r.documents = append(r.documents, v.Name)
			}
			queue = append(queue, entry{v, values, d.depth + 1, d.told})
		}
	}
	return r, nil
}

func builtin(name string) bool {
	_, ok := document.LookupBuiltin(name)
	return ok
}

// runnable finds a document that another one runs, with the values that it gets.
func (s *Service) runnable(ctx context.Context, tx *store.Tx, n document.Nested) (document.Version, document.Values, error) {
	v, err := s.documents.Find(ctx, tx, n.Name, n.Version)
	if err != nil {
		return v, nil, err
	}
	if v.Kind != document.Command || len(v.Steps) == 0 {
		return v, nil, ssm.InvalidDocument("The document %s has the type %s: only documents of the type Command are run.", n.Name, v.Kind)
	}
	values, err := v.Convert(n.Parameters)
	if err != nil {
		return v, nil, parameterError(err)
	}
	return v, v.WithDefaults(values), nil
}

// downloaded is the document that an aws:downloadContent step reads; "" when it reads none.
func downloaded(s document.Step) string {
	if s.Action != "aws:downloadContent" || len(s.Properties) == 0 || document.Text(s.Properties[0]["sourceType"]) != "SSMDocument" {
		return ""
	}
	var info struct{ Name string }
	if json.Unmarshal([]byte(document.Text(s.Properties[0]["sourceInfo"])), &info) != nil {
		return ""
	}
	name, _ := document.SplitVersion(strings.TrimSpace(info.Name))
	return name
}
