// Package ssmdocument serves SSM documents: the built-in ones that Amazon owns in every account, customers' own with
// their versions, and those that other accounts share. What a document may say is decided in package document, and
// running one is package command's. Start with Service.
package ssmdocument

import (
	"context"
	"errors"
	"strconv"

	"oakum.dev/arn"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/origin"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/ssm"
)

// Quotas. Source: AWS General Reference, "AWS Systems Manager endpoints and quotas".
const (
	maxDocuments = 500  // an account and region
	maxVersions  = 1000 // a document
	maxAccounts  = 1000 // that a document is shared with
	maxPublic    = 5    // documents of an account and region that are shared with all
)

const (
	resourceType   = "Document"
	amazon         = "Amazon"
	builtinVersion = "1" // the only version of a built-in document
	everybody      = "all"
)

// Service serves documents. It is safe for concurrent use.
type Service struct {
	store *store.Store
	pages page.Book

	// Programs are those that documents tell nodes to fetch.
	Programs origin.Sums
	// PublicSharing reports whether documents may be shared with everybody; nil: they may.
	PublicSharing func(tx *store.Tx, sc store.Scope) (bool, error)
}

// New returns the service.
func New(st *store.Store, pages page.Book) *Service { return &Service{store: st, pages: pages} }

// ref is a document that a caller named, which may not exist.
type ref struct {
	builtin *document.Builtin
	sc      store.Scope // the owner's
	name    string      // without the ARN around it
	foreign bool        // of another account
}

// named reads a document's name or ARN. A document is used in its own region only.
func named(sc store.Scope, text string) (ref, error) {
	name, err := arn.DocumentName(text)
	if err != nil {
		return ref{}, notFound(text)
	}
	if b, ok := document.LookupBuiltin(name); ok {
		return ref{builtin: &b, name: name}, nil
	}
	r := ref{sc: sc, name: name}
	if a, err := arn.Parse(text); err == nil {
		if a.Region != sc.Region || a.Account == "" {
			return ref{}, notFound(text)
		}
		r.sc.Account, r.foreign = a.Account, a.Account != sc.Account
	}
	return r, nil
}

// own is named for what only the owner may do.
func own(sc store.Scope, text string) (ref, error) {
	r, err := named(sc, text)
	switch {
	case err != nil:
		return r, err
	case r.builtin != nil:
		return r, ssm.InvalidDocument("The document %s belongs to Amazon and cannot be changed.", r.name)
	case r.foreign:
		return r, notFound(text)
	}
	return r, nil
}

// lock reads an own document for a change.
func lock(tx *store.Tx, r ref) (store.Document, error) {
	doc, err := tx.LockDocument(r.sc, r.name)
	if errors.Is(err, store.ErrNotFound) {
		err = notFound(r.name)
	}
	return doc, err
}

// arn is the document's ARN.
func (r ref) arn() string { return arn.Resource("document", r.name, r.sc.Account, r.sc.Region) }

// wireName is how answers name the document.
func (r ref) wireName() string {
	if r.foreign {
		return r.arn()
	}
	return r.name
}

// notFound is the error of an unknown document; Terraform looks for "does not exist".
func notFound(name string) error {
	return ssm.InvalidDocument("Document with name %s does not exist.", name)
}

func versionNotFound(r ref, version string) error {
	return ssm.InvalidDocumentVersion("The document version %s of %s is not valid or does not exist.", version, r.name)
}

// stored is a version of an own document as it is in the store.
type stored struct {
	doc     store.Document
	version store.DocumentVersion
	shares  []store.DocumentShare // that let the caller use another account's document
}

// allows reports whether the caller may use the version of that number.
func (s stored) allows(r ref, number int64) bool {
	if !r.foreign {
		return true
	}
	for _, sh := range s.shares {
		if sh.Version == "$ALL" || sh.Version == "$LATEST" && number == s.doc.LatestVersion || sh.Version == "$DEFAULT" && number == s.doc.DefaultVersion {
			return true
		}
	}
	return false
}

// open reads a document that is not built in, without a version. What the caller may not see does not exist for it.
func (r ref) open(tx *store.Tx, caller iam.Principal) (s stored, err error) {
	if s.doc, err = tx.Document(r.sc, r.name); errors.Is(err, store.ErrNotFound) {
		return s, notFound(r.wireName())
	} else if err != nil {
		return s, err
	}
	if r.foreign {
		for _, with := range []string{caller.Account, everybody} {
			sh, err := tx.DocumentShare(r.sc, r.name, with)
			if err == nil {
				s.shares = append(s.shares, sh)
			} else if !errors.Is(err, store.ErrNotFound) {
				return s, err
			}
		}
		if len(s.shares) == 0 {
			return s, notFound(r.wireName())
		}
	}
	if caller.Kind == iam.Node { // a node sees what it was sent, for as long as it is at it
		names := []string{r.arn()}
		if !r.foreign {
			names = append(names, r.name)
		}
		runs, err := tx.RunsDocument(store.Scope{Account: caller.Account, Region: caller.Region}, caller.NodeID, names)
		if err != nil {
			return s, err
		}
		if !runs {
			return s, notFound(r.wireName())
		}
	}
	return s, nil
}

// find is open with the version that the caller names by number, $LATEST, $DEFAULT or name; the default one without.
func (r ref) find(tx *store.Tx, caller iam.Principal, version, versionName string) (stored, error) {
	s, err := r.open(tx, caller)
	if err != nil {
		return s, err
	}
	if versionName != "" {
		s.version, err = tx.DocumentVersionNamed(r.sc, r.name, versionName)
		if errors.Is(err, store.ErrNotFound) || err == nil && version != "" && s.number(version) != s.version.Version {
			return s, versionNotFound(r, versionName)
		}
	} else {
		s.version, err = tx.DocumentVersion(r.sc, r.name, s.number(version))
		if errors.Is(err, store.ErrNotFound) {
			return s, versionNotFound(r, version)
		}
	}
	if err == nil && !s.allows(r, s.version.Version) {
		return s, versionNotFound(r, strconv.FormatInt(s.version.Version, 10))
	}
	return s, err
}

// number reads a DocumentVersion; 0, which no version has, when it is none.
func (s stored) number(version string) int64 {
	switch version {
	case "", "$DEFAULT":
		return s.doc.DefaultVersion
	case "$LATEST":
		return s.doc.LatestVersion
	}
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// text is the content of a version as it was submitted.
func (s stored) text(tx *store.Tx) ([]byte, error) {
	return tx.Content(s.doc.Account, s.version.ContentHash)
}

// checkBuiltin refuses versions that a built-in document does not have.
func checkBuiltin(r ref, version, versionName string) error {
	switch version {
	case "", "$DEFAULT", "$LATEST", builtinVersion:
	default:
		return versionNotFound(r, version)
	}
	if versionName != "" {
		return versionNotFound(r, versionName)
	}
	return nil
}

// Find returns a version of the document that the caller names by name or ARN, with its steps if it is one for Run
// Command. The caller comes with ctx.
func (s *Service) Find(ctx context.Context, tx *store.Tx, name, version string) (document.Version, error) {
	caller := iam.PrincipalFrom(ctx)
	r, err := named(store.ScopeOf(ctx), name)
	if err != nil {
		return document.Version{}, err
	}
	if b := r.builtin; b != nil {
		return document.Version{
			Name: b.Name, Owner: amazon, Number: builtinVersion, Kind: document.Command, Format: document.JSON, Text: b.Content(), Platforms: b.Platforms,
			Document: b.Document,
		}, checkBuiltin(r, version, "")
	}
	st, err := r.find(tx, caller, version, "")
	if err != nil {
		return document.Version{}, err
	}
	v := document.Version{
		Name: r.wireName(), Owner: st.doc.Account, Number: strconv.FormatInt(st.version.Version, 10), VersionName: st.version.VersionName,
		Kind: document.Kind(st.doc.Type), Format: document.Format(st.version.Format),
	}
	for _, p := range stringList(st.version.Platforms) {
		v.Platforms = append(v.Platforms, document.Platform(p))
	}
	if v.Text, err = st.text(tx); err == nil && v.Kind == document.Command {
		v.Document, err = document.Parse(v.Text, v.Format)
	}
	return v, err
}

// wireTags are tags in the API's form.
func wireTags(rows []store.Tag) []ssm.Tag {
	out := make([]ssm.Tag, len(rows))
	for i, t := range rows {
		out[i] = ssm.Tag{Key: &t.Key, Value: &t.Value}
	}
	return out
}

// optional is a member that is absent when it has no value.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func number(n int64) *string { return new(strconv.FormatInt(n, 10)) }
