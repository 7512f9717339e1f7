package server

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"oakum.dev/internal/oakumtest/golden"
	"oakum.dev/wire/codec"
)

// TestReference fails when docs/reference/api.md does not list the operations that are served.
func TestReference(t *testing.T) {
	s, err := New(t.Context(), Config{DataDir: t.TempDir(), Listen: []string{"http://127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	byService := map[string][]codec.Operation{}
	for _, op := range s.operations() {
		byService[op.Service] = append(byService[op.Service], op)
	}
	var b bytes.Buffer
	fmt.Fprint(&b, "# API\n\nThe operations that are served, from the operation table; `make generate` rewrites it. Shapes, constraints and errors are\nthose of AWS's API reference. Besides, objects of buckets are served over the S3 API.\n")
	services := make([]string, 0, len(byService))
	for name := range byService {
		services = append(services, name)
	}
	sort.Strings(services)
	for _, name := range services {
		ops := byService[name]
		sort.Slice(ops, func(i, j int) bool { return ops[i].Name < ops[j].Name })
		fmt.Fprintf(&b, "\n## %s\n\n| operation | who | |\n| --- | --- | --- |\n", name)
		for _, op := range ops {
			who := []string{"administrator"}
			if op.ReadOnly {
				who = append(who, "read-only key")
			}
			if op.NodeOwn {
				who = append(who, "node, on itself")
			}
			switch op.Auth {
			case codec.Anonymous:
				who = []string{"anybody with an activation"}
			case codec.NodeKey:
				who = []string{"node, with its own key"}
			}
			note := ""
			if op.Paginated {
				note = "paginated"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", op.Name, strings.Join(who, ", "), note)
		}
	}
	path := filepath.Join("..", "..", "docs", "reference", "api.md")
	golden.Check(t, path, b.Bytes(), "run make generate")
}
