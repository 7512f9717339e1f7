package command

import (
	"context"
	"crypto/sha1" // DocumentHashType Sha1 is AWS's, and protects nothing here
	"encoding/hex"
	"strings"

	"oakum.dev/document"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Documents finds what a command runs.
type Documents interface {
	// Find returns a version of the document that the caller of ctx names by name or ARN, the default one without a
	// version, as it is in the transaction. Errors are those of SendCommand.
	Find(ctx context.Context, tx *store.Tx, name, version string) (document.Version, error)
}

// wireVersion echoes the version that the caller asked for: $DEFAULT when none.
func wireVersion(v *string) string {
	if codec.Value(v) == "" {
		return "$DEFAULT"
	}
	return *v
}

// sendable finds the document of a request and refuses what Run Command cannot run, before any node is asked.
func (s *Service) sendable(ctx context.Context, tx *store.Tx, in *ssm.SendCommandInput) (document.Version, error) {
	d, err := s.documents.Find(ctx, tx, codec.Value(in.DocumentName), codec.Value(in.DocumentVersion))
	if err != nil {
		return d, err
	}
	if d.Kind != document.Command {
		return d, ssm.InvalidDocument("The document %s has the type %s: Run Command runs documents of the type Command only.", d.Name, d.Kind)
	}
	if len(d.Steps) == 0 {
		return d, ssm.InvalidDocument("The document %s has the schema version %s, which has no steps to run.", d.Name, d.SchemaVersion)
	}
	return d, checkHash(d, codec.Value(in.DocumentHash), codec.Value(in.DocumentHashType))
}

// checkHash compares the hash of a request with that of the text as it was submitted.
func checkHash(d document.Version, hash, kind string) error {
	want := store.Hash(d.Text)
	if kind == ssm.DocumentHashTypeSha1 {
		sum := sha1.Sum(d.Text)
		want = hex.EncodeToString(sum[:])
	}
	if hash != "" && !strings.EqualFold(hash, want) {
		return ssm.InvalidDocument("The document's hash does not match the one given: version %s of %s has %s.", d.Number, d.Name, want)
	}
	return nil
}

// refuseReferences refuses what would stay in a script as it is: there is no Parameter Store to take values from.
func refuseReferences(d document.Version, given map[string][]string) error {
	texts := []string{string(d.Content())}
	for _, values := range given {
		texts = append(texts, values...)
	}
	for _, text := range texts {
		if found := document.StoreReference(text); found != "" {
			return ssm.InvalidParameters("The following SSM parameters are invalid: %s cannot be resolved, as this server has no Parameter Store.", found)
		}
	}
	return nil
}
