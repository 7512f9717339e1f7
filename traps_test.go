package oakum_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTrapsAreTested fails when a trap is not in docs/traps.md, or the document names a test that is not there or that
// does not have the trap's id.
func TestTrapsAreTested(t *testing.T) {
	doc, err := os.ReadFile("docs/traps.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, g := range []struct {
		letter string
		last   int
	}{{"A", 15}, {"R", 10}, {"G", 5}, {"D", 21}, {"W", 14}, {"X", 4}, {"Y", 17}, {"Z", 9}} {
		for i := range g.last {
			want = append(want, fmt.Sprint(g.letter, i+1))
		}
	}
	var listed []string
	named := regexp.MustCompile("`([a-z/]+)\\.(Test\\w+)(/\\w+)?`")
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \|(.*)\|(.*)\|$`).FindAllStringSubmatch(string(doc), -1) {
		id, cell := m[1], m[3]
		listed = append(listed, id)
		if strings.TrimSpace(cell) == "" {
			t.Errorf("%s has neither a test nor a reason why there is none", id)
		}
		tests := named.FindAllStringSubmatch(cell, -1)
		if strings.Contains(cell, "Test") != (len(tests) > 0) || len(tests) != strings.Count(cell, "`")/2 {
			t.Errorf("%s: the tests in %q cannot be read", id, cell)
		}
		has := regexp.MustCompile(`Trap ` + id + `\b|[Tt]rap_(\w+_)?` + id + `_`)
		found := len(tests) == 0
		for _, test := range tests {
			text := testSource(t, test[1], test[2])
			if text == "" {
				t.Errorf("%s names %s.%s, which is not there", id, test[1], test[2])
				continue
			}
			if sub := strings.TrimPrefix(test[3], "/"); sub != "" && !subtestThere(test[1], sub) {
				t.Errorf("%s names %s of %s, which is not there", id, sub, test[2])
			}
			found = found || has.MatchString(text)
		}
		if !found {
			t.Errorf("none of the tests of %s has its id", id)
		}
	}
	slices.Sort(want)
	if slices.Sort(listed); !slices.Equal(listed, want) {
		t.Errorf("docs/traps.md lists %v, want %v", listed, want)
	}
}

// testSource is a test function with its comment; empty when there is none of that name.
func testSource(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile(`(?m)^(//.*\n)*func ` + name + `\(t \*testing\.T\) \{(?s:.*?)\n\}\n`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if text := source.FindString(string(b)); text != "" {
			return text
		}
	}
	return ""
}

// subtestThere reports whether a package's tests have a subtest's name in them.
func subtestThere(dir, name string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go")) // the pattern is right
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		return err == nil && strings.Contains(string(b), `"`+name+`"`)
	})
}
