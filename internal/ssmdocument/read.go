package ssmdocument

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"sort"
	"strconv"

	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/origin"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// active is the status of every version: there is nothing to wait for.
const active = "Active"

// GetDocument answers a document's content: as it was submitted when that is the format asked for, else turned into it.
// Without a format it is JSON, or TEXT for a calendar. Source: AWS API reference, GetDocument.
func (s *Service) GetDocument(ctx context.Context, in *ssm.GetDocumentInput) (*ssm.GetDocumentOutput, error) {
	r, err := named(store.ScopeOf(ctx), codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	version, versionName := codec.Value(in.DocumentVersion), codec.Value(in.VersionName)
	out := &ssm.GetDocumentOutput{Name: new(r.wireName()), Status: new(active)}
	if r.builtin != nil {
		if err := checkBuiltin(r, version, versionName); err != nil {
			return nil, err
		}
		out.DocumentVersion, out.DocumentType = new(builtinVersion), new(string(document.Command))
		if err := setContent(out, r, r.builtin.Content(), document.JSON, in.DocumentFormat); err != nil {
			return nil, err
		}
		if iam.PrincipalFrom(ctx).Kind == iam.Node { // an agent that is going to run it
			*out.Content, err = origin.Fill(ctx, *out.Content, s.Programs)
		}
		return out, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		st, err := r.find(tx, iam.PrincipalFrom(ctx), version, versionName)
		if err != nil {
			return err
		}
		text, err := st.text(tx)
		if err != nil {
			return err
		}
		v := st.version
		out.CreatedDate, out.DisplayName, out.VersionName = codec.NewTime(v.CreatedAt), optional(v.DisplayName), optional(v.VersionName)
		out.DocumentVersion, out.DocumentType, out.Requires = number(v.Version), &st.doc.Type, requires(v)
		return setContent(out, r, text, document.Format(v.Format), in.DocumentFormat)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func setContent(out *ssm.GetDocumentOutput, r ref, text []byte, have document.Format, asked *string) error {
	want := document.Format(codec.Value(asked))
	if want == "" {
		want = document.JSON
		if have == document.Plain {
			want = have
		}
	}
	if want != have && (want == document.Plain || have == document.Plain) {
		return ssm.InvalidDocument("The document %s cannot be had as %s: it is %s.", r.name, want, have)
	}
	var err error
	if want != have {
		if text, err = convert(text, have, want); err != nil {
			return err
		}
	}
	out.Content, out.DocumentFormat = new(string(text)), new(string(want))
	return nil
}

func convert(text []byte, have, want document.Format) ([]byte, error) {
	if want == document.YAML {
		return document.ToYAML(text, have)
	}
	compact, err := document.ToJSON(text, have)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, compact, "", "  ")
	return b.Bytes(), err
}

// DescribeDocument answers what a document is and takes.
func (s *Service) DescribeDocument(ctx context.Context, in *ssm.DescribeDocumentInput) (*ssm.DescribeDocumentOutput, error) {
	r, err := named(store.ScopeOf(ctx), codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	version, versionName := codec.Value(in.DocumentVersion), codec.Value(in.VersionName)
	if r.builtin != nil {
		if err := checkBuiltin(r, version, versionName); err != nil {
			return nil, err
		}
		d := describeBuiltin(r.builtin)
		return &ssm.DescribeDocumentOutput{Document: d}, nil
	}
	out := &ssm.DescribeDocumentOutput{}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		st, err := r.find(tx, iam.PrincipalFrom(ctx), version, versionName)
		if err != nil {
			return err
		}
		out.Document, err = describe(tx, r, st)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func describeBuiltin(d *document.Builtin) *ssm.DocumentDescription {
	return &ssm.DocumentDescription{
		Name: &d.Name, Owner: new(amazon), Description: &d.Description, Status: new(active), DocumentVersion: new(builtinVersion),
		LatestVersion: new(builtinVersion), DefaultVersion: new(builtinVersion), DocumentType: new(string(document.Command)), DocumentFormat: new(string(document.JSON)),
		SchemaVersion: &d.SchemaVersion, PlatformTypes: platformNames(d.Platforms), Parameters: parameters(d.Document), Hash: new(store.Hash(d.Content())),
		HashType: new(ssm.DocumentHashTypeSha256), Tags: []ssm.Tag{},
	}
}

// describe is a version's description. Parameters come from the text: a kind that is only stored may have none.
func describe(tx *store.Tx, r ref, st stored) (*ssm.DocumentDescription, error) {
	v := st.version
	out := &ssm.DocumentDescription{
		Name: new(r.wireName()), DisplayName: optional(v.DisplayName), VersionName: optional(v.VersionName), Owner: &st.doc.Account,
		CreatedDate: codec.NewTime(v.CreatedAt), Status: new(active), DocumentVersion: number(v.Version), Description: optional(v.Description),
		PlatformTypes: stringList(v.Platforms), DocumentType: &st.doc.Type, SchemaVersion: optional(v.SchemaVersion), LatestVersion: number(st.doc.LatestVersion),
		DefaultVersion: number(st.doc.DefaultVersion), DocumentFormat: &v.Format, TargetType: optional(v.TargetType), Requires: requires(v),
		Hash: &v.ContentHash, HashType: new(ssm.DocumentHashTypeSha256), Author: optional(v.Author), Parameters: []ssm.DocumentParameter{}, Tags: []ssm.Tag{},
	}
	if document.Format(v.Format) != document.Plain {
		text, err := st.text(tx)
		if err != nil {
			return nil, err
		}
		if d, err := document.Parse(text, document.Format(v.Format)); err == nil {
			out.Parameters = parameters(d)
		}
	}
	if r.foreign { // tags are the owner's
		return out, nil
	}
	tags, err := tx.Tags(r.sc, resourceType, r.name)
	out.Tags = wireTags(tags)
	return out, err
}

func parameters(d *document.Document) []ssm.DocumentParameter {
	names := make([]string, 0, len(d.Parameters))
	for name := range d.Parameters {
		names = append(names, name)
	}
	sort.Strings(names)
	out := make([]ssm.DocumentParameter, len(names))
	for i, name := range names {
		p := d.Parameters[name]
		out[i] = ssm.DocumentParameter{Name: &p.Name, Type: &p.Type, Description: &p.Description}
		if p.Default != nil {
			out[i].DefaultValue = new(document.Text(p.Default))
		}
	}
	return out
}

func platformNames(list []document.Platform) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = string(p)
	}
	return out
}

// stringList reads a JSON list that newVersion wrote.
func stringList(text string) []string {
	out := []string{}
	_ = json.Unmarshal([]byte(text), &out) // written by newVersion
	return out
}

// requires are the documents that a version says it needs; nil when it says nothing.
func requires(v store.DocumentVersion) []ssm.DocumentRequires {
	var out []ssm.DocumentRequires
	_ = json.Unmarshal([]byte(v.Requires), &out) // written by CreateDocument
	if len(out) == 0 {
		return nil
	}
	return out
}

// ListDocumentVersions lists the versions of a document that the caller may use, newest first.
func (s *Service) ListDocumentVersions(ctx context.Context, in *ssm.ListDocumentVersionsInput) (*ssm.ListDocumentVersionsOutput, error) {
	r, err := named(store.ScopeOf(ctx), codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "ListDocumentVersions", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.ListDocumentVersionsOutput{DocumentVersions: []ssm.DocumentVersionInfo{}}
	if r.builtin != nil {
		out.DocumentVersions = append(out.DocumentVersions, ssm.DocumentVersionInfo{
			Name: &r.name, DocumentVersion: new(builtinVersion), IsDefaultVersion: new(true), DocumentFormat: new(string(document.JSON)), Status: new(active),
		})
		return out, nil
	}
	below := int64(math.MaxInt64)
	if n, err := strconv.ParseInt(pg.At(0), 10, 64); err == nil {
		below = n
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		st, err := r.open(tx, iam.PrincipalFrom(ctx))
		if err != nil {
			return err
		}
		for {
			rows, err := tx.DocumentVersions(r.sc, r.name, below, 100)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, v := range rows {
				if st.allows(r, v.Version) {
					if len(out.DocumentVersions) == pg.Size {
						out.NextToken = pg.Next(strconv.FormatInt(below, 10))
						return nil
					}
					out.DocumentVersions = append(out.DocumentVersions, ssm.DocumentVersionInfo{
						Name: new(r.wireName()), DisplayName: optional(v.DisplayName), DocumentVersion: number(v.Version), VersionName: optional(v.VersionName),
						CreatedDate: codec.NewTime(v.CreatedAt), IsDefaultVersion: new(v.Version == st.doc.DefaultVersion), DocumentFormat: &v.Format, Status: new(active),
					})
				}
				below = v.Version
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
