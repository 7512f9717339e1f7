package agent

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's content hash, no secret depends on it
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/patch/journal"
	"oakum.dev/patch/livepatch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// inventoryType is one kind of data that aws:softwareInventory gathers.
type inventoryType struct {
	input, name, version string
	gather               func(*Agent) []map[string]string
}

var inventoryTypes = []inventoryType{
	{"applications", "AWS:Application", "1.1", (*Agent).applications},
	{"awsComponents", "AWS:AWSComponent", "1.0", (*Agent).components},
	{"networkConfig", "AWS:Network", "1.0", (*Agent).networks},
	{"instanceDetailedInformation", "AWS:InstanceDetailedInformation", "1.0", (*Agent).details},
}

// inventory runs an aws:softwareInventory step: gather what is enabled, wait a little so that a fleet does not
// report at once, and send it in one call.
func (r *stepRun) inventory(ctx context.Context) (outcome, error) {
	a := r.command.agent
	items := a.gather(ctx, r.step.Properties[0])
	if !wait(ctx, a.sys.jitter(a.timing.InventoryWait)) {
		return outcome{}, ctx.Err()
	}
	sent, err := a.putInventory(ctx, items)
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if err != nil {
		return failed("the inventory was not taken: " + err.Error()), nil
	}
	summary := fmt.Sprintf("inventory of %d types sent, %d of them unchanged\n", len(items), len(items)-sent)
	if err := os.WriteFile(filepath.Join(r.dir, "stdout"), []byte(summary), 0o600); err != nil {
		return failed(err.Error()), nil
	}
	return outcome{status: document.Success}, nil
}

func (a *Agent) gather(ctx context.Context, inputs map[string]any) []ssm.InventoryItem {
	capture := a.sys.Now().UTC().Format(time.RFC3339)
	var items []ssm.InventoryItem
	add := func(name, version string, content []map[string]string) {
		if content == nil {
			content = []map[string]string{} // nothing of that kind is real data
		}
		hash := contentHash(content)
		items = append(items, ssm.InventoryItem{TypeName: &name, SchemaVersion: &version, CaptureTime: &capture, ContentHash: &hash, Content: content})
	}
	var apps []map[string]string
	for _, t := range inventoryTypes {
		if document.Text(inputs[t.input]) == "Enabled" {
			content := t.gather(a)
			if t.input == "applications" {
				apps = content
			}
			add(t.name, t.version, content)
		}
	}
	if document.Text(inputs["customInventory"]) == "Enabled" {
		custom := a.customInventory()
		for _, c := range custom {
			add(c.TypeName, c.SchemaVersion, c.Content)
		}
		// An operator's own data goes first: of the same name, and where a node has as many custom types as it may.
		own := slices.ContainsFunc(custom, func(c customItem) bool { return c.TypeName == livepatch.InventoryType })
		if !own && len(custom) < maxCustomTypes {
			if apps == nil {
				apps = a.applications()
			}
			if content := a.livePatch(ctx, apps); content != nil {
				add(livepatch.InventoryType, livepatch.InventoryVersion, content)
			}
		}
	}
	return items
}

func contentHash(content []map[string]string) string {
	b, err := json.Marshal(content) // keys sorted
	if err != nil {
		return ""
	}
	sum := md5.Sum(b) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// putInventory sends items, unchanged ones by their hash only, and everything again when the server does not
// hold what a hash stands for. It returns how many were sent with content.
func (a *Agent) putInventory(ctx context.Context, items []ssm.InventoryItem) (sent int, err error) {
	if len(items) == 0 {
		return 0, nil
	}
	path := filepath.Join(a.paths.inventory, "hashes.json")
	known := map[string]string{}
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &known) != nil {
		known = map[string]string{}
	}
	short := make([]ssm.InventoryItem, len(items))
	for i, item := range items {
		short[i] = item
		if known[*item.TypeName] == *item.ContentHash {
			short[i].Content = nil
		} else {
			sent++
		}
	}
	id := a.InstanceID()
	err = a.client.Call(ctx, "ssm", "PutInventory", &ssm.PutInventoryInput{InstanceId: &id, Items: short}, nil)
	if code := awserr.Code(err); sent < len(items) && (code == "ItemContentMismatchException" || code == "InvalidItemContentException") {
		sent = len(items)
		err = a.client.Call(ctx, "ssm", "PutInventory", &ssm.PutInventoryInput{InstanceId: &id, Items: items}, nil)
	}
	if err != nil {
		return sent, err
	}
	for _, item := range items {
		known[codec.Value(item.TypeName)] = codec.Value(item.ContentHash)
	}
	b, err := json.Marshal(known)
	if err != nil {
		return sent, err
	}
	return sent, journal.WriteFile(path, b, 0o600)
}

// maxCustomTypes is how many custom types the server takes of a node.
// Source: AWS Systems Manager endpoints and quotas, "Inventory".
const maxCustomTypes = 20

type customItem struct {
	TypeName, SchemaVersion string
	Content                 []map[string]string
}

// customInventory reads the files an operator put into inventory/custom of the state directory. Content is one
// object or a list of them, as in AWS.
func (a *Agent) customInventory() []customItem {
	dir := filepath.Join(a.paths.inventory, "custom")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var items []customItem
	for _, e := range entries {
		if len(items) == maxCustomTypes || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || len(b) > 1<<20 {
			continue
		}
		var raw struct {
			TypeName, SchemaVersion string
			Content                 json.RawMessage
		}
		if json.Unmarshal(b, &raw) != nil || !strings.HasPrefix(raw.TypeName, "Custom:") {
			continue
		}
		item := customItem{TypeName: raw.TypeName, SchemaVersion: raw.SchemaVersion}
		if json.Unmarshal(raw.Content, &item.Content) != nil {
			var one map[string]string
			if json.Unmarshal(raw.Content, &one) != nil {
				continue
			}
			item.Content = []map[string]string{one}
		}
		items = append(items, item)
	}
	return items
}
