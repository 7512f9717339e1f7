package store

import "time"

// Document is a customer's own document; its content is in its versions.
type Document struct {
	Account, Region, Name string
	Type                  string
	DefaultVersion        int64
	LatestVersion         int64 // the highest there is
	LastVersion           int64 // the highest there ever was: numbers are not given out twice
}

func (d *Document) fields() []any {
	return []any{&d.Account, &d.Region, &d.Name, &d.Type, &d.DefaultVersion, &d.LatestVersion, &d.LastVersion}
}

const documentColumns = `account, region, name, document_type, default_version, latest_version, last_version`

// DocumentVersion is one version of a document. It never changes.
type DocumentVersion struct {
	Account, Region, Name string
	Version               int64
	VersionName           string // empty when it has none
	DisplayName           string
	TargetType            string
	Format                string
	SchemaVersion         string
	Description           string
	Platforms             string // JSON list
	Requires              string // JSON list
	ContentHash           string // of the text as it was submitted, which PutContent stored
	Author                string // ARN
	CreatedAt             time.Time
}

func (v *DocumentVersion) fields() []any {
	return []any{
		&v.Account, &v.Region, &v.Name, &v.Version, &v.VersionName, &v.DisplayName, &v.TargetType, &v.Format, &v.SchemaVersion, &v.Description,
		&v.Platforms, &v.Requires, &v.ContentHash, &v.Author,
		instant{&v.CreatedAt},
	}
}

const documentVersionColumns = `account, region, name, version, version_name, display_name, target_type, format, schema_version, description,
	platforms, requires, content_hash, author, created_at`

// ListedDocument is a document with the version that a list shows of it.
type ListedDocument struct {
	Document
	DocumentVersion DocumentVersion
}

func (l *ListedDocument) fields() []any {
	return append(l.Document.fields(), l.DocumentVersion.fields()...)
}

// DocumentShare lets another account, or "all", use a document.
type DocumentShare struct {
	Account, Region, Name string
	With                  string // an account id, or all
	Version               string // $DEFAULT, $LATEST or $ALL: which versions may be used
	Position              int64  // counts up within a document; PutDocumentShare sets it
}

func (s *DocumentShare) fields() []any {
	return []any{&s.Account, &s.Region, &s.Name, &s.With, &s.Version, &s.Position}
}

const documentShareColumns = `account, region, name, shared_with, shared_version, position`

// InsertDocument stores a new document, without its versions.
func (tx *Tx) InsertDocument(d Document) error {
	_, err := tx.exec(`INSERT INTO document (`+documentColumns+`) VALUES (`+placeholders(1, 7)+`)`,
		d.Account, d.Region, d.Name, d.Type, d.DefaultVersion, d.LatestVersion, d.LastVersion)
	return err
}

// Document reads a document, or ErrNotFound.
func (tx *Tx) Document(sc Scope, name string) (Document, error) {
	return one[Document](tx, `SELECT `+documentColumns+` FROM document WHERE account = $1 AND region = $2 AND name = $3`, sc.Account, sc.Region, name)
}

// LockDocument is Document for a change that follows in the same transaction.
func (tx *Tx) LockDocument(sc Scope, name string) (Document, error) {
	return one[Document](tx, `SELECT `+documentColumns+` FROM document WHERE account = $1 AND region = $2 AND name = $3`+tx.s.d.forUpdate(),
		sc.Account, sc.Region, name)
}

// SaveDocument stores which versions a document has.
func (tx *Tx) SaveDocument(d Document) error {
	_, err := tx.exec(`UPDATE document SET default_version = $1, latest_version = $2, last_version = $3 WHERE account = $4 AND region = $5 AND name = $6`,
		d.DefaultVersion, d.LatestVersion, d.LastVersion, d.Account, d.Region, d.Name)
	return err
}

// DeleteDocument removes a document with its versions, shares and tags.
func (tx *Tx) DeleteDocument(sc Scope, name string) error {
	for _, q := range []string{
		`DELETE FROM document_share WHERE account = $1 AND region = $2 AND name = $3`,
		`DELETE FROM document_version WHERE account = $1 AND region = $2 AND name = $3`,
		`DELETE FROM document WHERE account = $1 AND region = $2 AND name = $3`,
	} {
		if _, err := tx.exec(q, sc.Account, sc.Region, name); err != nil {
			return err
		}
	}
	return tx.DeleteTags(sc, "Document", name)
}

// DocumentCount counts the documents of the scope.
func (tx *Tx) DocumentCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM document WHERE account = $1 AND region = $2`, sc.Account, sc.Region)
}

// Documents lists the scope's documents by name with their default versions, from a name on.
func (tx *Tx) Documents(sc Scope, nameFrom string, limit int) ([]ListedDocument, error) {
	return all[ListedDocument](tx, `SELECT `+prefixed("d", documentColumns)+`, `+prefixed("v", documentVersionColumns)+` FROM document d
		JOIN document_version v ON v.account = d.account AND v.region = d.region AND v.name = d.name AND v.version = d.default_version
		WHERE d.account = $1 AND d.region = $2 AND d.name >= $3 ORDER BY d.name LIMIT $4`, sc.Account, sc.Region, nameFrom, limit)
}

// SharedDocuments lists the documents of the region that are shared with an account, or with all, by name and owner,
// each in the version that the share shows.
func (tx *Tx) SharedDocuments(region, with, nameAfter, ownerAfter string, limit int) ([]ListedDocument, error) {
	return all[ListedDocument](tx, `SELECT `+prefixed("d", documentColumns)+`, `+prefixed("v", documentVersionColumns)+` FROM document_share s
		JOIN document d ON d.account = s.account AND d.region = s.region AND d.name = s.name
		JOIN document_version v ON v.account = d.account AND v.region = d.region AND v.name = d.name
			AND v.version = CASE s.shared_version WHEN '$LATEST' THEN d.latest_version ELSE d.default_version END
		WHERE s.region = $1 AND s.shared_with = $2 AND (s.name, s.account) > ($3, $4) ORDER BY s.name, s.account LIMIT $5`,
		region, with, nameAfter, ownerAfter, limit)
}

// InsertDocumentVersion stores a new version. A version name that the document has already is a violated constraint.
func (tx *Tx) InsertDocumentVersion(v DocumentVersion) error {
	_, err := tx.exec(`INSERT INTO document_version (`+documentVersionColumns+`) VALUES (`+placeholders(1, 15)+`)`,
		v.Account, v.Region, v.Name, v.Version, v.VersionName, v.DisplayName, v.TargetType, v.Format, v.SchemaVersion, v.Description,
		v.Platforms, v.Requires, v.ContentHash, v.Author, at(v.CreatedAt))
	return err
}

// DocumentVersion reads a version by its number, or ErrNotFound.
func (tx *Tx) DocumentVersion(sc Scope, name string, version int64) (DocumentVersion, error) {
	return one[DocumentVersion](tx, `SELECT `+documentVersionColumns+` FROM document_version WHERE account = $1 AND region = $2 AND name = $3 AND version = $4`,
		sc.Account, sc.Region, name, version)
}

// DocumentVersionNamed reads a version by its name, or ErrNotFound.
func (tx *Tx) DocumentVersionNamed(sc Scope, name, versionName string) (DocumentVersion, error) {
	return one[DocumentVersion](tx, `SELECT `+documentVersionColumns+` FROM document_version
		WHERE account = $1 AND region = $2 AND name = $3 AND version_name = $4 AND version_name <> ''`, sc.Account, sc.Region, name, versionName)
}

// DocumentVersions lists the versions of a document, newest first, below a number.
func (tx *Tx) DocumentVersions(sc Scope, name string, below int64, limit int) ([]DocumentVersion, error) {
	return all[DocumentVersion](tx, `SELECT `+documentVersionColumns+` FROM document_version
		WHERE account = $1 AND region = $2 AND name = $3 AND version < $4 ORDER BY version DESC LIMIT $5`, sc.Account, sc.Region, name, below, limit)
}

// DocumentVersionCount counts the versions of a document.
func (tx *Tx) DocumentVersionCount(sc Scope, name string) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM document_version WHERE account = $1 AND region = $2 AND name = $3`, sc.Account, sc.Region, name)
}

// DeleteDocumentVersion removes one version.
func (tx *Tx) DeleteDocumentVersion(sc Scope, name string, version int64) error {
	_, err := tx.exec(`DELETE FROM document_version WHERE account = $1 AND region = $2 AND name = $3 AND version = $4`, sc.Account, sc.Region, name, version)
	return err
}

// PutDocumentShare shares a document, or changes which versions are shared; the share's place in the order stays.
func (tx *Tx) PutDocumentShare(s DocumentShare) error {
	_, err := tx.exec(`INSERT INTO document_share (`+documentShareColumns+`) VALUES ($1, $2, $3, $4, $5,
		(SELECT coalesce(max(position), 0) + 1 FROM document_share WHERE account = $1 AND region = $2 AND name = $3))
		ON CONFLICT (account, region, name, shared_with) DO UPDATE SET shared_version = excluded.shared_version`, s.Account, s.Region, s.Name, s.With, s.Version)
	return err
}

// DeleteDocumentShare ends a share; one that is not there is no error.
func (tx *Tx) DeleteDocumentShare(sc Scope, name, with string) error {
	_, err := tx.exec(`DELETE FROM document_share WHERE account = $1 AND region = $2 AND name = $3 AND shared_with = $4`, sc.Account, sc.Region, name, with)
	return err
}

// DocumentShare reads the share of a document with an account, or with all, or ErrNotFound.
func (tx *Tx) DocumentShare(sc Scope, name, with string) (DocumentShare, error) {
	return one[DocumentShare](tx, `SELECT `+documentShareColumns+` FROM document_share WHERE account = $1 AND region = $2 AND name = $3 AND shared_with = $4`,
		sc.Account, sc.Region, name, with)
}

// DocumentShares lists the shares of a document in the order in which they were made, after a position.
func (tx *Tx) DocumentShares(sc Scope, name string, after int64, limit int) ([]DocumentShare, error) {
	return all[DocumentShare](tx, `SELECT `+documentShareColumns+` FROM document_share
		WHERE account = $1 AND region = $2 AND name = $3 AND position > $4 ORDER BY position LIMIT $5`, sc.Account, sc.Region, name, after, limit)
}

// PublicDocumentCount counts the documents of the scope that are shared with all.
func (tx *Tx) PublicDocumentCount(sc Scope) (int64, error) {
	return scalar[int64](tx, `SELECT count(*) FROM document_share WHERE region = $1 AND shared_with = 'all' AND account = $2`, sc.Region, sc.Account)
}

// RunsDocument reports whether a command that has not ended on the node was sent with a document of one of the names, or
// with one that runs it, or an association with one of them is run by the node.
func (tx *Tx) RunsDocument(sc Scope, nodeID string, names []string) (bool, error) {
	in := placeholders(4, len(names))
	n, err := scalar[int64](tx, `SELECT count(*) FROM invocation v JOIN command c ON c.account = v.account AND c.region = v.region AND c.id = v.command_id
		WHERE v.account = $1 AND v.region = $2 AND v.node_id = $3 AND v.ended_at = 0 AND (c.document_name IN (`+in+`) OR EXISTS (
			SELECT 1 FROM command_document d WHERE d.account = v.account AND d.region = v.region AND d.command_id = v.command_id AND d.document_name IN (`+in+`)))`,
		append([]any{sc.Account, sc.Region, nodeID}, anys(names)...)...)
	if n > 0 || err != nil {
		return n > 0, err
	}
	n, err = scalar[int64](tx, `SELECT count(*) FROM association_node n JOIN association a ON a.account = n.account AND a.region = n.region AND a.id = n.association_id
		WHERE n.account = $1 AND n.region = $2 AND n.node_id = $3 AND n.ended_at = 0 AND a.document_name IN (`+placeholders(4, len(names))+`)`,
		append([]any{sc.Account, sc.Region, nodeID}, anys(names)...)...)
	return n > 0, err
}
