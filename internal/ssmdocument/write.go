package ssmdocument

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// reservedPrefixes may not begin the name of a customer's document, in any case of letters: "aws" covers AWSEC2,
// AWSConfigRemediation and AWSSupport. Source: AWS API reference, CreateDocument.
var reservedPrefixes = []string{"aws", "amazon", "amzn"}

func checkName(name string) error {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(strings.ToLower(name), p) {
			return awserr.Validation("Invalid document name %s: names that begin with aws, amazon or amzn are reserved.", name)
		}
	}
	return nil
}

func refuseAttachments(list []ssm.AttachmentsSource) error {
	if len(list) > 0 {
		return awserr.Validation("Attachments are not supported: create the document without them.")
	}
	return nil
}

// contentFault turns what is wrong with a document's text into the API's error. AWS's sentence comes first: clients
// look for it.
func contentFault(err error) error {
	switch {
	case errors.Is(err, document.ErrContent):
		return ssm.InvalidDocumentContent("The content for the document is not valid. %v", err)
	case errors.Is(err, document.ErrSchemaVersion):
		return ssm.InvalidDocumentSchemaVersion("The version of the document schema is not supported. %v", err)
	case errors.Is(err, document.ErrSize):
		return ssm.MaxDocumentSizeExceeded("The size limit of a document is 64 KB: %v", err)
	}
	return err
}

// formatOf is the notation of a text: the one given, else AWS's default, JSON; calendars have only one.
func formatOf(kind document.Kind, given *string) document.Format {
	switch {
	case codec.Value(given) != "":
		return document.Format(*given)
	case kind == document.ChangeCalendar:
		return document.Plain
	}
	return document.JSON
}

// platforms are where a document can run. Kinds that run nothing have none.
func platforms(kind document.Kind, d *document.Document) []document.Platform {
	switch kind {
	case document.Command, document.Policy, document.Automation, document.Session, "Package":
		return d.Platforms()
	}
	return []document.Platform{}
}

// newVersion makes the row of a version from its text, which it stores.
func newVersion(ctx context.Context, tx *store.Tx, sc store.Scope, kind document.Kind, format document.Format, text []byte, d *document.Document) (store.DocumentVersion, error) {
	where, err := json.Marshal(platforms(kind, d))
	if err != nil {
		return store.DocumentVersion{}, err
	}
	hash, err := tx.PutContent(sc.Account, text)
	return store.DocumentVersion{
		Account: sc.Account, Region: sc.Region, Format: string(format), SchemaVersion: d.SchemaVersion, Description: d.Description, Platforms: string(where),
		ContentHash: hash, Author: iam.PrincipalFrom(ctx).ARN, CreatedAt: tx.Now(),
	}, err
}

// CreateDocument makes a document with its first version, which is the default one and active at once.
func (s *Service) CreateDocument(ctx context.Context, in *ssm.CreateDocumentInput) (*ssm.CreateDocumentOutput, error) {
	sc, name := store.ScopeOf(ctx), codec.Value(in.Name)
	kind := document.Command
	if t := codec.Value(in.DocumentType); t != "" {
		kind = document.Kind(t)
	}
	for _, err := range []error{checkName(name), refuseAttachments(in.Attachments), tag.Check(in.Tags)} {
		if err != nil {
			return nil, err
		}
	}
	if len(in.Tags) > tag.Max {
		return nil, awserr.Validation("The document would have %d tags; at most %d are allowed.", len(in.Tags), tag.Max)
	}
	text, format := []byte(codec.Value(in.Content)), formatOf(kind, in.DocumentFormat)
	d, err := document.Validate(kind, text, format)
	if err != nil {
		return nil, contentFault(err)
	}
	requires := []ssm.DocumentRequires{}
	if in.Requires != nil {
		requires = in.Requires
	}
	required, err := json.Marshal(requires)
	if err != nil {
		return nil, err
	}
	out := &ssm.CreateDocumentOutput{}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockDocument(sc, name); err == nil {
			return ssm.DocumentAlreadyExists("The specified document already exists.")
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if n, err := tx.DocumentCount(sc); err != nil {
			return err
		} else if n >= maxDocuments {
			return ssm.DocumentLimitExceeded("There are %d documents already; at most %d are allowed in an account and region.", n, maxDocuments)
		}
		v, err := newVersion(ctx, tx, sc, kind, format, text, d)
		if err != nil {
			return err
		}
		v.Name, v.Version, v.VersionName, v.DisplayName, v.TargetType = name, 1, codec.Value(in.VersionName), codec.Value(in.DisplayName), codec.Value(in.TargetType)
		v.Requires = string(required)
		doc := store.Document{Account: sc.Account, Region: sc.Region, Name: name, Type: string(kind), DefaultVersion: 1, LatestVersion: 1, LastVersion: 1}
		if err := errors.Join(tx.InsertDocument(doc), tx.InsertDocumentVersion(v)); err != nil {
			return err
		}
		for _, t := range in.Tags {
			if err := tx.PutTag(sc, resourceType, name, store.Tag{Key: codec.Value(t.Key), Value: codec.Value(t.Value)}); err != nil {
				return err
			}
		}
		out.DocumentDescription, err = describe(tx, ref{sc: sc, name: name}, stored{doc: doc, version: v})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateDocument adds a version; the default one stays. A number in DocumentVersion must be that of the latest version,
// so that two who edit at once notice each other.
func (s *Service) UpdateDocument(ctx context.Context, in *ssm.UpdateDocumentInput) (*ssm.UpdateDocumentOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := own(sc, codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	if err := refuseAttachments(in.Attachments); err != nil {
		return nil, err
	}
	out := &ssm.UpdateDocumentOutput{}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		doc, err := lock(tx, r)
		if err != nil {
			return err
		}
		old, err := tx.DocumentVersion(sc, r.name, doc.LatestVersion)
		if err != nil {
			return err
		}
		v, err := s.nextVersion(ctx, tx, in, doc, old)
		if err != nil {
			return err
		}
		doc.LatestVersion, doc.LastVersion = v.Version, v.Version
		if err := errors.Join(tx.InsertDocumentVersion(v), save(tx, sc, doc)); err != nil {
			return err
		}
		out.DocumentDescription, err = describe(tx, r, stored{doc: doc, version: v})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// nextVersion checks an update and makes the version that it adds. What the request leaves out is as in the latest one.
func (s *Service) nextVersion(ctx context.Context, tx *store.Tx, in *ssm.UpdateDocumentInput, doc store.Document, old store.DocumentVersion) (v store.DocumentVersion, err error) {
	sc := store.Scope{Account: doc.Account, Region: doc.Region}
	if given := codec.Value(in.DocumentVersion); given != "" && (stored{doc: doc}).number(given) != doc.LatestVersion {
		return v, ssm.InvalidDocumentVersion("The document version is not valid or does not exist: %s is not the latest version, which is %d.", given, doc.LatestVersion)
	}
	kind, text := document.Kind(doc.Type), []byte(codec.Value(in.Content))
	format := formatOf(kind, in.DocumentFormat)
	d, err := document.Validate(kind, text, format)
	if err != nil {
		return v, contentFault(err)
	}
	if strings.HasPrefix(d.SchemaVersion, "1.") && slices.Contains([]document.Kind{document.Command, document.Policy}, kind) {
		return v, ssm.InvalidDocumentSchemaVersion("A document of schema version %s cannot be updated: create another one, of schema version 2.2.", d.SchemaVersion)
	}
	target := old.TargetType
	if in.TargetType != nil {
		target = *in.TargetType
	}
	if store.Hash(text) == old.ContentHash && string(format) == old.Format && target == old.TargetType {
		return v, ssm.DuplicateDocumentContent("The content of the association document matches another document. Change the content of the document and try again.")
	}
	name := codec.Value(in.VersionName)
	if name != "" {
		if _, err := tx.DocumentVersionNamed(sc, doc.Name, name); err == nil {
			return v, ssm.DuplicateDocumentVersionName("The specified version name is a duplicate.")
		} else if !errors.Is(err, store.ErrNotFound) {
			return v, err
		}
	}
	if n, err := tx.DocumentVersionCount(sc, doc.Name); err != nil {
		return v, err
	} else if n >= maxVersions {
		return v, ssm.DocumentVersionLimitExceeded("The document has too many versions. Delete one or more document versions and try again.")
	}
	if v, err = newVersion(ctx, tx, sc, kind, format, text, d); err != nil {
		return v, err
	}
	v.Name, v.Version, v.VersionName, v.TargetType, v.DisplayName, v.Requires = doc.Name, doc.LastVersion+1, name, target, old.DisplayName, old.Requires
	if in.DisplayName != nil {
		v.DisplayName = *in.DisplayName
	}
	return v, nil
}

// UpdateDocumentDefaultVersion says which version is used by those who name none.
func (s *Service) UpdateDocumentDefaultVersion(ctx context.Context, in *ssm.UpdateDocumentDefaultVersionInput) (*ssm.UpdateDocumentDefaultVersionOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := own(sc, codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	out := &ssm.UpdateDocumentDefaultVersionOutput{}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		doc, err := lock(tx, r)
		if err != nil {
			return err
		}
		v, err := tx.DocumentVersion(sc, r.name, (stored{doc: doc}).number(codec.Value(in.DocumentVersion)))
		if errors.Is(err, store.ErrNotFound) {
			return versionNotFound(r, codec.Value(in.DocumentVersion))
		}
		if err != nil {
			return err
		}
		doc.DefaultVersion = v.Version
		out.Description = &ssm.DocumentDefaultVersionDescription{Name: &r.name, DefaultVersion: number(v.Version), DefaultVersionName: optional(v.VersionName)}
		return save(tx, sc, doc)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteDocument removes one version, or the whole document. Commands that were accepted keep what they were sent with.
func (s *Service) DeleteDocument(ctx context.Context, in *ssm.DeleteDocumentInput) (*ssm.DeleteDocumentOutput, error) {
	sc, version, versionName := store.ScopeOf(ctx), codec.Value(in.DocumentVersion), codec.Value(in.VersionName)
	r, err := own(sc, codec.Value(in.Name))
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		doc, err := lock(tx, r)
		if err != nil {
			return err
		}
		shares, err := tx.DocumentShares(sc, r.name, 0, 1)
		if err != nil {
			return err
		}
		associations, err := tx.AssociationsOfDocument(sc, r.name)
		switch {
		case err != nil:
			return err
		case len(associations) > 0 && version == "" && versionName == "":
			return ssm.AssociatedInstances("You must disassociate a document from all managed nodes before you can delete it: the association %s runs it.", associations[0].ID)
		case len(shares) > 0:
			return ssm.InvalidDocumentOperation("Must unshare document first before delete")
		case document.Kind(doc.Type) == document.ConfigurationSchema && !codec.Value(in.Force):
			return ssm.InvalidDocumentOperation("A document of the type %s is deleted only with Force.", doc.Type)
		case version == "" && versionName == "":
			return tx.DeleteDocument(sc, r.name)
		}
		st, err := r.find(tx, iam.PrincipalFrom(ctx), version, versionName)
		if awserr.Code(err) == "InvalidDocumentVersion" { // which the operation does not have
			return ssm.InvalidDocument("The document version %s of %s does not exist.", version+versionName, r.name)
		}
		if err != nil {
			return err
		}
		return deleteVersion(tx, sc, st)
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// save stores which versions a document has, and promises to look at the associations that run it.
func save(tx *store.Tx, sc store.Scope, doc store.Document) error {
	if err := tx.SaveDocument(doc); err != nil {
		return err
	}
	list, err := tx.AssociationsOfDocument(sc, doc.Name)
	if err != nil || len(list) == 0 {
		return err
	}
	return tx.Schedule(store.WorkDocumentChanged, sc, doc.Name, tx.Now())
}

func deleteVersion(tx *store.Tx, sc store.Scope, st stored) error {
	if st.version.Version == st.doc.DefaultVersion {
		return ssm.InvalidDocumentOperation("Default version of the document can't be deleted.")
	}
	if err := tx.DeleteDocumentVersion(sc, st.doc.Name, st.version.Version); err != nil {
		return err
	}
	rest, err := tx.DocumentVersions(sc, st.doc.Name, st.doc.LastVersion+1, 1)
	if err != nil {
		return err
	}
	st.doc.LatestVersion = rest[0].Version // the default version is left at least
	return save(tx, sc, st.doc)
}
