package oakum_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// TestPromisesHaveTests fails when a promise of docs/promises.md has no test that names it, or a test names one
// that is not there.
func TestPromisesHaveTests(t *testing.T) {
	doc, err := os.ReadFile("docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (R-\d\d) \|`).FindAllStringSubmatch(string(doc), -1) {
		promised[m[1]] = true
	}
	proof := regexp.MustCompile(`// [Pp]roves (R-\d\d(?:(?:,| and) R-\d\d)*)`)
	id := regexp.MustCompile(`R-\d\d`)
	proved := map[string][]string{}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") || path == "promises_test.go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range proof.FindAllStringSubmatch(string(b), -1) {
			for _, r := range id.FindAllString(m[1], -1) {
				proved[r] = append(proved[r], path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for r := range promised {
		if len(proved[r]) == 0 {
			t.Errorf("%s is promised and no test proves it", r)
		}
	}
	names := make([]string, 0, len(proved))
	for r := range proved {
		names = append(names, r)
	}
	sort.Strings(names)
	for _, r := range names {
		if !promised[r] {
			t.Errorf("%v name %s, which docs/promises.md does not have", proved[r], r)
		}
		t.Logf("%s: %s", r, strings.Join(proved[r], " "))
	}
}
