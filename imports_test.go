// Package oakum_test keeps the shape of the module: which package may import which, where each library has its
// home, and that every package says what it is for.
package oakum_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type listed struct {
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,GoFiles,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var list []listed
	dec := json.NewDecoder(out)
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return list
}

// match reports whether path is pattern, or below it when the pattern ends in /...
func match(pattern, path string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

var domain = []string{
	"oakum.dev/arn", "oakum.dev/awserr", "oakum.dev/pkgver", "oakum.dev/baseline", "oakum.dev/compliance", "oakum.dev/schedule", "oakum.dev/document", "oakum.dev/target", "oakum.dev/iam", "oakum.dev/inventory",
}

// TestImports fails when an arrow of the layout is turned round.
func TestImports(t *testing.T) {
	deny := map[string][]string{
		"oakum.dev/wire/...":               {"oakum.dev/internal/...", "oakum.dev/patch/...", "oakum.dev/repo/...", "database/sql"},
		"oakum.dev/repo/...":               {"oakum.dev/internal/...", "oakum.dev/patch/...", "net/http", "database/sql"},
		"oakum.dev/patch/...":              {"oakum.dev/internal/...", "database/sql", "net/http"},
		"oakum.dev/internal/store":         {"oakum.dev/internal/node", "oakum.dev/internal/command", "oakum.dev/internal/report", "oakum.dev/internal/api", "oakum.dev/patch/..."},
		"oakum.dev/internal/node":          {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/command":       {"oakum.dev/internal/api", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/report":        {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/agent"},
		"oakum.dev/internal/tagging":       {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/datasync":      {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/setting":       {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/patchbaseline": {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/ssmdocument":   {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/association":   {"oakum.dev/internal/api", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report", "oakum.dev/internal/agent"},
		"oakum.dev/internal/account":       {"oakum.dev/internal/api", "oakum.dev/internal/node", "oakum.dev/internal/command", "oakum.dev/internal/agent"},
		"oakum.dev/internal/api":           {"oakum.dev/internal/store", "oakum.dev/internal/node", "oakum.dev/internal/command", "oakum.dev/internal/server"},
		"oakum.dev/internal/bucket":        {"oakum.dev/internal/store", "oakum.dev/internal/server"},
		"oakum.dev/internal/channel":       {"oakum.dev/internal/server", "oakum.dev/internal/agent"},
		"oakum.dev/internal/agent/...":     {"oakum.dev/internal/store", "oakum.dev/internal/server", "oakum.dev/internal/command", "oakum.dev/internal/node", "oakum.dev/internal/report"},
	}
	for _, d := range domain {
		deny[d] = []string{"oakum.dev/internal/...", "oakum.dev/patch/...", "oakum.dev/wire/...", "os", "net", "net/http", "time/tzdata", "database/sql", "math/rand", "crypto/rand"}
	}
	for _, p := range packages(t) {
		for pattern, denied := range deny {
			if !match(pattern, p.ImportPath) {
				continue
			}
			for _, imp := range p.Imports {
				for _, d := range denied {
					if match(d, imp) {
						t.Errorf("%s imports %s: the layout's arrows point the other way", p.ImportPath, imp)
					}
				}
			}
		}
	}
}

// TestLibrariesHaveOneHome fails when a library is imported outside the packages that it belongs to.
func TestLibrariesHaveOneHome(t *testing.T) {
	home := map[string][]string{
		"github.com/go-ole/go-ole/...":      {"oakum.dev/patch/wua"},
		"howett.net/plist":                  {"oakum.dev/patch/macos"},
		"modernc.org/sqlite":                {"oakum.dev/internal/store"},
		"github.com/jackc/pgx/v5/...":       {"oakum.dev/internal/store", "oakum.dev/internal/oakumtest"},
		"github.com/pressly/goose/v3":       {"oakum.dev/internal/store"},
		"github.com/spf13/cobra":            {"oakum.dev/internal/cli"},
		"github.com/prometheus/...":         {"oakum.dev/internal/server"},
		"go.yaml.in/yaml/v3":                {"oakum.dev/document", "oakum.dev/baseline", "oakum.dev/internal/cli", "oakum.dev/repo/rpm"},
		"github.com/pierrec/lz4/v4":         {"oakum.dev/repo/compress"},
		"github.com/ulikunitz/xz/...":       {"oakum.dev/repo/compress"},
		"github.com/aws/aws-sdk-go-v2/...":  {"oakum.dev/internal/cli", "oakum.dev/internal/oakumtest/...", "oakum.dev/bench/..."},
		"github.com/coder/websocket":        {"oakum.dev/internal/channel", "oakum.dev/internal/agent", "oakum.dev/internal/oakumtest/...", "oakum.dev/bench/..."},
		"github.com/klauspost/compress/...": {"oakum.dev/internal/store", "oakum.dev/internal/cli", "oakum.dev/repo/compress"},
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for lib, homes := range home {
				if match(lib, imp) && !slices.ContainsFunc(homes, func(h string) bool { return match(h, p.ImportPath) }) {
					t.Errorf("%s imports %s, whose home is %s", p.ImportPath, imp, strings.Join(homes, ", "))
				}
			}
		}
	}
}

// TestAgentStaysSmall fails when the agent would drag heavy libraries into its idle process.
func TestAgentStaysSmall(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "oakum.dev/internal/agent" {
			continue
		}
		for _, d := range p.Deps {
			for _, heavy := range []string{"modernc.org/...", "github.com/aws/...", "github.com/spf13/...", "github.com/prometheus/..."} {
				if match(heavy, d) {
					t.Errorf("the agent depends on %s", d)
				}
			}
		}
	}
}

// TestPackagesSayWhatTheyAreFor wants a doc comment on every package and no drawer for everything.
func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "types", "models", "manager"}, p.Name) {
			t.Errorf("%s: %q says nothing of what the package is for", p.ImportPath, p.Name)
		}
	}
}

// TestModule wants a module that builds from the proxy alone.
func TestModule(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"\nreplace ", "\nexclude "} {
		if strings.Contains(string(b), word) {
			t.Errorf("go.mod has a %s directive", strings.TrimSpace(word))
		}
	}
}
