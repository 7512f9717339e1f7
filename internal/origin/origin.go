// Package origin is the server as a node sees it: the address under which a call reached it, and the programs that it hands
// out. Documents that another agent than Oakum's runs need both, and get them written into their text. Start with Fill.
package origin

import (
	"context"
	"regexp"
	"strings"
)

type key struct{}

// With returns a context that says under which address, scheme and host, the caller reached this server.
func With(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, key{}, address)
}

// Of is the address under which the caller reached this server, or "" when there is no caller.
func Of(ctx context.Context) string {
	address, _ := ctx.Value(key{}).(string)
	return address
}

// Architectures are those of the programs that nodes can be given, as Go calls them.
var Architectures = []string{"amd64", "arm64", "arm", "386"}

// Program is the name of the program for a Linux node of an architecture.
func Program(arch string) string { return "oakum-linux-" + arch }

const endpointMark = "@OAKUM_ENDPOINT@"

// sumMark stands in a document where the SHA-256 of an architecture's program belongs.
func sumMark(arch string) string { return "@OAKUM_SHA256_" + strings.ToUpper(arch) + "@" }

// safe is what may stand between single quotes in a script, and in JSON as it is: the Host header is the caller's.
var safe = regexp.MustCompile(`^https?://[A-Za-z0-9._\[\]:-]+$`)

// Safe reports whether an address can be written into a script.
func Safe(address string) bool { return safe.MatchString(address) }

// Sums gives the SHA-256 sums of the programs that a server has, by name, in hex; a nil one has none.
type Sums func() (map[string]string, error)

// Fill writes the address under which the node reached the server, and the sums of its programs, into a document's text where it
// asks for them. A program that the server does not have, or an address that is not safe, leaves an empty string, and the
// document says what is missing.
func Fill(ctx context.Context, text string, programs Sums) (string, error) {
	if !strings.Contains(text, endpointMark) {
		return text, nil
	}
	var sums map[string]string
	if programs != nil {
		var err error
		if sums, err = programs(); err != nil {
			return "", err
		}
	}
	address := Of(ctx)
	if !Safe(address) {
		address = ""
	}
	pairs := []string{endpointMark, address}
	for _, arch := range Architectures {
		pairs = append(pairs, sumMark(arch), sums[Program(arch)])
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}
