package patch_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"oakum.dev/patch"
)

var update = flag.Bool("update", false, "write docs/reasons.md")

// TestReasonsDocument keeps docs/reasons.md up to date: go test ./patch -run TestReasonsDocument -update
func TestReasonsDocument(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# Reason codes

<!-- Made by go test ./patch -run TestReasonsDocument -update; do not edit. -->

Every patch that is offered and not installed carries exactly one reason; a run that fails carries one too. Both sets
are closed: scripts can rely on them, and a new code is in the changelog.

## Why a newer version is not installed

In the field Reason of a scan's items, in "oakum why NODE PATCH" and in exports. An item without one is simply missing: an
Install would put it in.

| Reason | Meaning |
|---|---|
`)
	table(&b, patch.Reasons())
	b.WriteString(`
## Why a run failed

In the first line of a failed step's stderr, "OAKUM REASON: text (engine code N)". A run that fails reports no states: the
node keeps its last result, with its age.

| Reason | Meaning |
|---|---|
`)
	table(&b, patch.Failures())
	const file = "../docs/reasons.md"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("docs/reasons.md is stale (%v): run go test ./patch -run TestReasonsDocument -update", err)
	}
}

func table(b *bytes.Buffer, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(b, "| `%s` | %s |\n", k, m[k])
	}
}
