package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits of a custom inventory file, most of them the server's. Source: PutInventory in the API model.
const (
	maxCustomBytes     = 1 << 20
	maxAttributes      = 50
	maxAttributeChars  = 64
	maxCustomNameChars = 100
)

// awsCustomDir is where the agent of AWS looks for the custom inventory of a node, whose id stands for %s.
const awsCustomDir = "var/lib/amazon/ssm/%s/inventory/custom"

type customItem struct {
	TypeName, SchemaVersion string
	Content                 []map[string]string
}

// customInventory reads the files that operators put into inventory/custom of the state directory, or where the agent of
// AWS reads them. What is not a custom inventory is refused, with the reason.
func (a *Agent) customInventory() (items []customItem, refused []string) {
	for _, dir := range []string{filepath.Join(a.paths.inventory, "custom"), a.sys.path(fmt.Sprintf(awsCustomDir, a.InstanceID()))} {
		entries, err := os.ReadDir(dir) // in the order of their names
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				refused = append(refused, "custom inventory: "+err.Error())
			}
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".json") {
				continue
			}
			item, err := readCustom(filepath.Join(dir, e.Name()))
			switch {
			case err != nil:
			case slices.ContainsFunc(items, func(c customItem) bool { return c.TypeName == item.TypeName }):
				err = fmt.Errorf("the type %s is in another file too", item.TypeName)
			case len(items) == maxCustomTypes:
				err = fmt.Errorf("there are %d custom types already", maxCustomTypes)
			}
			if err != nil {
				refused = append(refused, fmt.Sprintf("custom inventory %q was refused: %v", e.Name(), err))
				continue
			}
			items = append(items, item)
		}
	}
	return items, refused
}

var (
	customType    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^Custom:[A-Z][A-Za-z0-9_-]*$`) })
	schemaVersion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,6}\.[0-9]{1,6}$`) })
)

// readCustom reads one file. Content is one object or a list of them, as in AWS.
func readCustom(path string) (item customItem, err error) {
	b, err := readRegular(path, maxCustomBytes)
	if err != nil {
		return item, err
	}
	var raw struct {
		TypeName, SchemaVersion string
		Content                 json.RawMessage
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return item, fmt.Errorf("it is not the JSON of a custom inventory: %w", err)
	}
	item.TypeName, item.SchemaVersion = raw.TypeName, raw.SchemaVersion
	switch {
	case !customType().MatchString(raw.TypeName) || len(raw.TypeName) > maxCustomNameChars:
		return item, fmt.Errorf("the TypeName %.120q is not Custom: and a word that begins with a capital letter, of %d characters at most", raw.TypeName, maxCustomNameChars)
	case !schemaVersion().MatchString(raw.SchemaVersion):
		return item, fmt.Errorf("the SchemaVersion %.40q is not of the form 1.0", raw.SchemaVersion)
	case len(raw.Content) == 0:
		return item, errors.New("it has no Content")
	}
	if err := json.Unmarshal(raw.Content, &item.Content); err != nil {
		var one map[string]string
		if json.Unmarshal(raw.Content, &one) != nil {
			return item, errors.New("its Content is neither an object of strings nor a list of them")
		}
		item.Content = []map[string]string{one}
	}
	return item, checkEntries(item.Content)
}

// checkEntries refuses what the server would refuse with everything else of the call.
func checkEntries(content []map[string]string) error {
	if len(content) > maxEntries {
		return fmt.Errorf("it has %d entries; at most %d are taken", len(content), maxEntries)
	}
	for i, row := range content {
		if len(row) > maxAttributes {
			return fmt.Errorf("entry %d has %d attributes; at most %d are taken", i+1, len(row), maxAttributes)
		}
		for k, v := range row {
			if n := utf8.RuneCountInString(k); n == 0 || n > maxAttributeChars {
				return fmt.Errorf("entry %d has the attribute %.80q; names have 1 to %d characters", i+1, k, maxAttributeChars)
			}
			if n := utf8.RuneCountInString(v); n > maxValueChars {
				return fmt.Errorf("the attribute %s of entry %d has %d characters; at most %d are taken", k, i+1, n, maxValueChars)
			}
		}
	}
	return nil
}

// readRegular reads a regular file that is no link, such as a pipe that nobody writes to would be, up to a size in bytes.
func readRegular(path string, limit int64) ([]byte, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if before.Size() > limit {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", before.Size(), limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !os.SameFile(before, st) {
		return nil, errors.New("it was replaced while it was being read")
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, err
}
