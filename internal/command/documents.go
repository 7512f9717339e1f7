package command

import (
	"context"
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"oakum.dev/arn"
	"oakum.dev/document"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// builtinVersion is the only version of a built-in document.
const builtinVersion = "1"

// lookup finds a document by name or ARN, in the version asked for.
func lookup(name string, version *string) (document.Builtin, error) {
	bare, err := arn.DocumentName(name)
	if err != nil {
		return document.Builtin{}, notFound(name)
	}
	doc, ok := document.LookupBuiltin(bare)
	if !ok {
		return document.Builtin{}, notFound(name)
	}
	switch codec.Value(version) {
	case "", "$DEFAULT", "$LATEST", builtinVersion:
		return doc, nil
	}
	return document.Builtin{}, ssm.InvalidDocumentVersion("The document version %s of %s is not valid or does not exist.", codec.Value(version), bare)
}

// wireVersion echoes the version that the caller asked for: $DEFAULT when none.
func wireVersion(v *string) string {
	if codec.Value(v) == "" {
		return "$DEFAULT"
	}
	return *v
}

func contentHash(d document.Builtin) string { return store.Hash(d.Content()) }

// GetDocument answers a document's content.
func (s *Service) GetDocument(_ context.Context, in *ssm.GetDocumentInput) (*ssm.GetDocumentOutput, error) {
	d, err := lookup(codec.Value(in.Name), in.DocumentVersion)
	if err != nil {
		return nil, err
	}
	if codec.Value(in.VersionName) != "" {
		return nil, ssm.InvalidDocumentVersion("The document %s has no version named %s.", d.Name, codec.Value(in.VersionName))
	}
	format := codec.Value(in.DocumentFormat)
	text := string(d.Content())
	switch format {
	case "", "JSON":
		format = "JSON"
	case "YAML": // JSON is YAML
	default:
		return nil, ssm.InvalidDocument("The document %s cannot be had as %s.", d.Name, format)
	}
	return &ssm.GetDocumentOutput{
		Name: &d.Name, DocumentVersion: new(builtinVersion), Status: new("Active"), Content: &text, DocumentType: new("Command"), DocumentFormat: &format,
	}, nil
}

func platformNames(d document.Builtin) []string {
	out := make([]string, len(d.Platforms))
	for i, p := range d.Platforms {
		out[i] = string(p)
	}
	return out
}

// DescribeDocument answers what a document is and takes.
func (s *Service) DescribeDocument(_ context.Context, in *ssm.DescribeDocumentInput) (*ssm.DescribeDocumentOutput, error) {
	d, err := lookup(codec.Value(in.Name), in.DocumentVersion)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(d.Parameters))
	for name := range d.Parameters {
		names = append(names, name)
	}
	sort.Strings(names)
	params := make([]ssm.DocumentParameter, len(names))
	for i, name := range names {
		p := d.Parameters[name]
		params[i] = ssm.DocumentParameter{Name: &p.Name, Type: &p.Type, Description: &p.Description}
		if p.Default != nil {
			text, ok := p.Default.(string)
			if !ok {
				b, err := json.Marshal(p.Default)
				if err != nil {
					return nil, err
				}
				text = string(b)
			}
			params[i].DefaultValue = &text
		}
	}
	return &ssm.DescribeDocumentOutput{Document: &ssm.DocumentDescription{
		Name: &d.Name, Owner: new("Amazon"), Description: &d.Description, Status: new("Active"), DocumentVersion: new(builtinVersion),
		LatestVersion: new(builtinVersion), DefaultVersion: new(builtinVersion), DocumentType: new("Command"), DocumentFormat: new("JSON"),
		SchemaVersion: &d.SchemaVersion, PlatformTypes: platformNames(d), Parameters: params, Hash: new(contentHash(d)), HashType: new("Sha256"), Tags: []ssm.Tag{},
	}}, nil
}

// ListDocuments lists documents by name.
func (s *Service) ListDocuments(ctx context.Context, in *ssm.ListDocumentsInput) (*ssm.ListDocumentsOutput, error) {
	pg, err := s.pages.Open(ctx, "ListDocuments", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	type condition struct {
		key    string
		values []string
	}
	var conditions []condition
	for _, f := range in.Filters {
		conditions = append(conditions, condition{codec.Value(f.Key), f.Values})
	}
	for _, f := range in.DocumentFilterList {
		conditions = append(conditions, condition{codec.Value(f.Key), []string{codec.Value(f.Value)}})
	}
	list := []ssm.DocumentIdentifier{}
next:
	for _, d := range document.Builtins() {
		for _, c := range conditions {
			ok, known := documentMatches(d, c.key, c.values)
			if !known {
				return nil, ssm.InvalidFilterKey("The specified key isn't valid: %s", c.key)
			}
			if !ok {
				continue next
			}
		}
		list = append(list, ssm.DocumentIdentifier{
			Name: &d.Name, Owner: new("Amazon"), PlatformTypes: platformNames(d), DocumentVersion: new(builtinVersion), DocumentType: new("Command"),
			SchemaVersion: &d.SchemaVersion, DocumentFormat: new("JSON"), Tags: []ssm.Tag{},
		})
	}
	out := &ssm.ListDocumentsOutput{}
	out.DocumentIdentifiers, out.NextToken = page.Slice(pg, list, func(d ssm.DocumentIdentifier) string { return *d.Name })
	if out.DocumentIdentifiers == nil {
		out.DocumentIdentifiers = []ssm.DocumentIdentifier{}
	}
	return out, nil
}

func documentMatches(d document.Builtin, key string, values []string) (ok, known bool) {
	some := func(match func(v string) bool) bool { return slices.ContainsFunc(values, match) }
	switch {
	case strings.EqualFold(key, "Name"):
		return some(func(v string) bool { return strings.HasPrefix(d.Name, v) }), true
	case strings.EqualFold(key, "Owner"):
		return some(func(v string) bool {
			return slices.Contains([]string{"Amazon", "Public", "All"}, v)
		}), true
	case strings.EqualFold(key, "PlatformTypes"):
		return some(func(v string) bool { return slices.Contains(platformNames(d), v) }), true
	case strings.EqualFold(key, "DocumentType"):
		return some(func(v string) bool { return v == "Command" }), true
	case strings.EqualFold(key, "SearchKeyword"):
		return some(func(v string) bool {
			return strings.Contains(strings.ToLower(d.Name+" "+d.Description), strings.ToLower(v))
		}), true
	case strings.EqualFold(key, "TargetType"), strings.HasPrefix(key, "tag:"):
		return false, true // built-in documents have neither
	}
	return false, false
}
