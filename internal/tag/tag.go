// Package tag holds the rules for tags that all kinds of resources share. What tags do to a node is in package node.
// Start with Check.
package tag

import (
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Max is how many tags a resource may carry.
const Max = 50

// Check refuses keys that AWS keeps for its own use: those that begin with aws: in any case. The error is a
// ValidationException.
func Check(tags []ssm.Tag) error {
	for _, t := range tags {
		if Reserved(codec.Value(t.Key)) {
			return awserr.Validation("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return nil
}

// Reserved reports whether AWS keeps a key for its own use.
func Reserved(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }
