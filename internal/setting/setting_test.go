package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The document names every setting, says which take effect, and every default is a value that can be set.
func TestSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "inventory.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		row := ""
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| `/ssm/") && strings.Contains(line, "`"+s.ID+"`") {
				row = line
			}
		}
		if row == "" || strings.Contains(row, "takes effect") != s.Effective {
			t.Errorf("docs/inventory.md says of %s: %q, and that it takes effect is %v", s.ID, row, s.Effective)
		}
		if err := s.check(s.Default); err != nil {
			t.Errorf("the default of %s: %v", s.ID, err)
		}
		if s.Values == nil && s.Pattern == nil {
			t.Errorf("%s takes anything", s.ID)
		}
	}
}
