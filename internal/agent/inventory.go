package agent

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's content hash, no secret depends on it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/patch/journal"
	"oakum.dev/patch/livepatch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// inventoryType is one kind of data that aws:softwareInventory gathers. An error says why it was not: errNotHere where the
// machine has nothing of the kind, which is no failure.
type inventoryType struct {
	input, name, version string
	gather               func(context.Context, *Agent) ([]map[string]string, error)
}

var inventoryTypes = []inventoryType{
	{"applications", "AWS:Application", "1.1", func(_ context.Context, a *Agent) ([]map[string]string, error) { return a.applications() }},
	{"awsComponents", "AWS:AWSComponent", "1.0", func(_ context.Context, a *Agent) ([]map[string]string, error) { return a.components() }},
	{"networkConfig", "AWS:Network", "1.0", func(_ context.Context, a *Agent) ([]map[string]string, error) { return a.networks() }},
	{"instanceDetailedInformation", "AWS:InstanceDetailedInformation", "1.0", func(_ context.Context, a *Agent) ([]map[string]string, error) { return a.details(), nil }},
	{"services", "AWS:Service", "1.0", func(ctx context.Context, a *Agent) ([]map[string]string, error) { return a.services(ctx) }},
}

var errNotHere = errors.New("this machine has none")

// What is sent of one type and in one call, below what the server takes. Source: the API model, and reliability of its own.
const (
	maxEntries     = 10_000
	maxValueChars  = 4096
	maxTypeBytes   = 3 << 20
	maxCallBytes   = 8 << 20
	maxCustomTypes = 20
)

// inventory runs an aws:softwareInventory step: gather what is enabled, wait a little so that a fleet does not
// report at once, and send it in as few calls as its size allows. What could not be gathered fails the step after the rest was sent.
func (r *stepRun) inventory(ctx context.Context) (outcome, error) {
	a := r.command.agent
	g := a.gather(ctx, r.step.Properties[0])
	if !wait(ctx, a.sys.jitter(a.timing.InventoryWait)) {
		return outcome{}, ctx.Err()
	}
	sent, err := a.putInventory(ctx, g.items)
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	summary := fmt.Sprintf("inventory of %d types sent, %d of them unchanged\n", len(g.items), len(g.items)-sent)
	if err != nil {
		summary = ""
		g.failures = append(g.failures, "the inventory was not taken: "+err.Error())
	}
	for _, n := range g.notes {
		summary += n + "\n"
	}
	if err := os.WriteFile(filepath.Join(r.dir, "stdout"), []byte(summary), 0o600); err != nil {
		return failed(err.Error()), nil
	}
	if len(g.failures) > 0 {
		return failed(strings.Join(g.failures, "\n")), nil
	}
	return outcome{status: document.Success}, nil
}

// gathered is an inventory as it is sent, what was left out of it and why, and what failed.
type gathered struct {
	items           []ssm.InventoryItem
	notes, failures []string
	capture         string
}

func (g *gathered) note(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

func (g *gathered) add(name, version string, content []map[string]string) {
	content, cut := bounded(content)
	if cut != "" {
		g.note("%s: %s", name, cut)
	}
	hash := contentHash(content)
	g.items = append(g.items, ssm.InventoryItem{TypeName: &name, SchemaVersion: &version, CaptureTime: &g.capture, ContentHash: &hash, Content: content})
}

// bounded cuts content to what the server takes, and says what was cut.
func bounded(content []map[string]string) (out []map[string]string, cut string) {
	out = make([]map[string]string, 0, min(len(content), maxEntries)) // nothing of that kind is real data
	size, values := len("[]"), 0
	for _, row := range content {
		for k, v := range row {
			if utf8.RuneCountInString(v) > maxValueChars {
				row[k] = string([]rune(v)[:maxValueChars])
				values++
			}
		}
		if size += jsonSize(row) + len(","); size > maxTypeBytes || len(out) == maxEntries {
			return out, fmt.Sprintf("cut to %d of %d entries, which is what is taken of one type", len(out), len(content))
		}
		out = append(out, row)
	}
	if values > 0 {
		cut = fmt.Sprintf("%d values cut to %d characters", values, maxValueChars)
	}
	return out, cut
}

func (a *Agent) gather(ctx context.Context, inputs map[string]any) gathered {
	g := gathered{capture: a.sys.Now().UTC().Format(time.RFC3339)}
	var apps []map[string]string
	enabled := func(input string) bool { return document.Text(inputs[input]) == "Enabled" }
	for _, t := range inventoryTypes {
		if !enabled(t.input) {
			continue
		}
		content, err := t.gather(ctx, a)
		switch {
		case errors.Is(err, errNotHere):
			g.note("%s: %v", t.name, err)
		case err != nil:
			g.failures = append(g.failures, fmt.Sprintf("%s was not gathered: %v", t.name, err))
		default:
			g.add(t.name, t.version, content)
		}
		if t.input == "applications" {
			apps = content
		}
	}
	if text := document.Text(inputs["files"]); strings.TrimSpace(text) != "" {
		content, notes, err := a.files(ctx, text)
		for _, n := range notes {
			g.note("AWS:File: %s", n)
		}
		if err != nil {
			g.failures = append(g.failures, fmt.Sprintf("AWS:File was not gathered: %v", err))
		} else {
			g.add("AWS:File", "1.0", content)
		}
	}
	if enabled("customInventory") {
		custom, refused := a.customInventory()
		for _, c := range custom {
			g.add(c.TypeName, c.SchemaVersion, c.Content)
		}
		g.notes = append(g.notes, refused...)
		// An operator's own data goes first: of the same name, and where a node has as many custom types as it may.
		own := slices.ContainsFunc(custom, func(c customItem) bool { return c.TypeName == livepatch.InventoryType })
		if !own && len(custom) < maxCustomTypes {
			if apps == nil {
				apps, _ = a.applications() // that they cannot be read was said where they were asked for
			}
			if content := a.livePatch(ctx, apps); content != nil {
				g.add(livepatch.InventoryType, livepatch.InventoryVersion, content)
			}
		}
	}
	return g
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
	path := filepath.Join(a.paths.inventory, "hashes.json")
	known := map[string]string{}
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &known) != nil {
		known = map[string]string{}
	}
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && (n == 0 || size+jsonSize(items[n].Content) <= maxCallBytes) {
			size += jsonSize(items[n].Content)
			n++
		}
		full, err := a.putItems(ctx, items[:n], known)
		if err != nil {
			return sent, err
		}
		sent += full
		for _, item := range items[:n] {
			known[codec.Value(item.TypeName)] = codec.Value(item.ContentHash)
		}
		items = items[n:]
	}
	b, err := json.Marshal(known)
	if err != nil {
		return sent, err
	}
	return sent, journal.WriteFile(path, b, 0o600)
}

// putItems sends what fits into one call.
func (a *Agent) putItems(ctx context.Context, items []ssm.InventoryItem, known map[string]string) (sent int, err error) {
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
	return sent, err
}

// jsonSize is how many bytes a value has as JSON.
func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil { // strings, lists and maps of strings only
		return 0
	}
	return len(b)
}
