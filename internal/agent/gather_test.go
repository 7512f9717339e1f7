//go:build linux

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// anAgent reads the files of a tree that stands for a machine.
func anAgent(t *testing.T, root string) *Agent {
	t.Helper()
	sys := RealSystem()
	sys.Root, sys.Exec = root, nil
	return &Agent{Node: &Node{sys: sys, reg: &registration{InstanceID: "mi-0123456789abcdef0"}, paths: pathsOf(filepath.Join(root, "state"))}}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	a := anAgent(t, root)
	put(t, filepath.Join(root, "etc/a.conf"), "12345")
	put(t, filepath.Join(root, "etc/sub/b.conf"), "")
	put(t, filepath.Join(root, "etc/sub/c.txt"), "")
	put(t, filepath.Join(root, "proc/1/x.conf"), "")
	put(t, filepath.Join(root, "opt/d.conf"), "")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "etc/a.conf"), at, at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("/etc", filepath.Join(root, "etc/loop")), os.Symlink("a.conf", filepath.Join(root, "etc/link.conf")), os.Symlink("opt", filepath.Join(root, "etc2"))); err != nil {
		t.Fatal(err)
	}
	names := func(text string) (out, notes []string) {
		t.Helper()
		rows, notes, err := a.files(t.Context(), text)
		if err != nil {
			t.Fatalf("files(%s): %v", text, err)
		}
		for _, r := range rows {
			out = append(out, r["InstalledDir"]+"/"+r["Name"])
		}
		return out, notes
	}
	for _, tc := range []struct {
		name, text string
		want       []string
		note       string
	}{
		{"one_folder", `[{"Path":"/etc","Pattern":["*.conf"]}]`, []string{"/etc/a.conf"}, ""},
		{"recursive", `[{"Path":"/etc/","Pattern":["*.conf","c*"],"Recursive":true}]`, []string{"/etc/a.conf", "/etc/sub/b.conf", "/etc/sub/c.txt"}, ""},
		{"everywhere_but_processes", `[{"Path":"/","Pattern":["*.conf"],"Recursive":true}]`, []string{"/etc/a.conf", "/etc/sub/b.conf", "/opt/d.conf"}, ""},
		{"the_path_may_be_a_link", `[{"Path":"/etc2","Pattern":["*"]}]`, []string{"/opt/d.conf"}, ""},
		{"twice_the_same", `[{"Path":"/etc","Pattern":["a*"]},{"Path":"/etc","Pattern":["*.conf"]}]`, []string{"/etc/a.conf"}, ""},
		{"limit_of_folders", `[{"Path":"/etc","Pattern":["*"],"Recursive":true,"DirScanLimit":1}]`, []string{"/etc/a.conf"}, "more than 1 directories"},
		{"missing", `[{"Path":"/nothing","Pattern":["*"]}]`, nil, "cannot be read"},
	} {
		got, notes := names(tc.text)
		if d := cmp.Diff(tc.want, got); d != "" || tc.note == "" && len(notes) > 0 || !strings.Contains(strings.Join(notes, "\n"), tc.note) {
			t.Errorf("%s: notes %q, files (-want +got):\n%s", tc.name, notes, d)
		}
	}
	rows, _, err := a.files(t.Context(), `[{"Path":"/etc","Pattern":["a.conf"]}]`)
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if r := rows[0]; r["Size"] != "5" || r["ModificationTime"] != "2026-01-02T03:04:05Z" || r["LastAccessTime"] != "2026-01-02T03:04:05Z" {
		t.Errorf("entry %v", r)
	}
	for _, text := range []string{
		`{"Path":"/etc"}`, `[{"Path":"etc","Pattern":["*"]}]`, `[{"Path":"/etc"}]`, `[{"Path":"/etc","Pattern":["["]}]`, `[{"Path":"/etc","Pattern":["../*"]}]`,
		`[{"Path":"/etc","Pattern":["*"],"DirScanLimit":0}]`, `[] []`, "[" + strings.Repeat(`{"Path":"/a","Pattern":["b"]},`, 50) + `{"Path":"/a","Pattern":["b"]}]`,
	} {
		if _, _, err := a.files(t.Context(), text); err == nil {
			t.Errorf("files(%.60s) was taken", text)
		}
	}
}

func TestCustomInventoryThatIsRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	a := anAgent(t, root)
	dir := filepath.Join(a.paths.inventory, "custom")
	good := `{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Location":"A1"}}`
	put(t, filepath.Join(dir, "00-rack.json"), good)
	put(t, filepath.Join(dir, "01-list.json"), `{"SchemaVersion":"1.0","TypeName":"Custom:List","Content":[{"a":"1"},{"a":"2"}]}`)
	put(t, filepath.Join(dir, "readme.txt"), "not looked at")
	for name, tc := range map[string]struct{ text, reason string }{
		"02-twice":      {good, "in another file too"},
		"03-no-json":    {`{"SchemaVersion":`, "not the JSON"},
		"04-aws":        {`{"SchemaVersion":"1.0","TypeName":"AWS:Application","Content":{"Name":"x"}}`, "TypeName"},
		"05-lower":      {`{"SchemaVersion":"1.0","TypeName":"Custom:rack","Content":{"Name":"x"}}`, "TypeName"},
		"06-version":    {`{"SchemaVersion":"1","TypeName":"Custom:V","Content":{"Name":"x"}}`, "SchemaVersion"},
		"07-numbers":    {`{"SchemaVersion":"1.0","TypeName":"Custom:N","Content":{"Name":1}}`, "object of strings"},
		"08-nothing":    {`{"SchemaVersion":"1.0","TypeName":"Custom:N"}`, "no Content"},
		"09-long":       {`{"SchemaVersion":"1.0","TypeName":"Custom:L","Content":{"Name":"` + strings.Repeat("x", maxValueChars+1) + `"}}`, "characters"},
		"10-attributes": {`{"SchemaVersion":"1.0","TypeName":"Custom:A","Content":{` + manyAttributes(51) + `}}`, "attributes"},
		"11-big":        {strings.Repeat(" ", maxCustomBytes+1), "bytes"},
		"12-deep":       {strings.Repeat("[", 100_000), "not the JSON"},
	} {
		put(t, filepath.Join(dir, name+".json"), tc.text)
	}
	const want = 14
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "20-pipe.json"), 0o600), os.Symlink("/etc/passwd", filepath.Join(dir, "21-link.json")), os.Mkdir(filepath.Join(dir, "22-folder.json"), 0o700)); err != nil {
		t.Fatal(err)
	}
	items, refused := a.customInventory()
	if len(items) != 2 || items[0].TypeName != "Custom:Rack" || len(items[1].Content) != 2 {
		t.Errorf("taken: %+v", items)
	}
	if len(refused) != want {
		t.Errorf("%d refused, want %d: %s", len(refused), want, strings.Join(refused, "\n"))
	}
	all := strings.Join(refused, "\n")
	for _, part := range []string{`"02-twice.json" was refused: the type Custom:Rack is in another file too`, `"11-big.json" was refused: it has 1048577 bytes`, `"09-long.json" was refused: the attribute Name of entry 1 has 4097 characters`} {
		if !strings.Contains(all, part) {
			t.Errorf("not said: %s in\n%s", part, all)
		}
	}
	// The folder of AWS's agent counts too, and there are not more types than the server takes.
	aws := filepath.Join(root, fmt.Sprintf(awsCustomDir, a.InstanceID()))
	for i := range maxCustomTypes {
		put(t, filepath.Join(aws, fmt.Sprintf("%02d.json", i)), fmt.Sprintf(`{"SchemaVersion":"1.0","TypeName":"Custom:T%d","Content":[]}`, i))
	}
	if items, refused = a.customInventory(); len(items) != maxCustomTypes || len(refused) != want+2 {
		t.Errorf("%d types, %d refused", len(items), len(refused))
	}
}

func manyAttributes(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"k%d":"v"`, i))
	}
	return strings.Join(parts, ",")
}

func TestContentIsBounded(t *testing.T) {
	t.Parallel()
	long := []map[string]string{{"Name": "a", "Summary": strings.Repeat("é", maxValueChars+9)}}
	if out, cut := bounded(long); len([]rune(out[0]["Summary"])) != maxValueChars || !strings.Contains(cut, "1 values") {
		t.Errorf("long value: %q", cut)
	}
	var many, big []map[string]string
	for range maxEntries + 5 {
		many = append(many, map[string]string{"a": "b"})
	}
	if out, cut := bounded(many); len(out) != maxEntries || !strings.Contains(cut, "10000 of 10005") {
		t.Errorf("%d entries: %q", len(out), cut)
	}
	for range 1000 {
		big = append(big, map[string]string{"a": strings.Repeat("x", maxValueChars)})
	}
	out, cut := bounded(big)
	b, err := json.Marshal(out)
	if err != nil || len(b) > maxTypeBytes || len(b) < maxTypeBytes-2*maxValueChars || cut == "" {
		t.Errorf("%d bytes: %q, %v", len(b), cut, err)
	}
	if out, cut := bounded(nil); out == nil || cut != "" {
		t.Errorf("nothing is %v %q", out, cut)
	}
}

func TestParseServices(t *testing.T) {
	t.Parallel()
	loaded := "Type=notify\nRequires=system.slice sysinit.target dbus.service\nRequiredBy=\nId=ssh.service\nDescription=OpenBSD Secure Shell server\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\n" +
		"Id=gone.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\n" +
		"Type=oneshot\nRequiredBy=ssh.service a.target\nId=once.service\nDescription=a = b\nLoadState=loaded\nActiveState=active\nSubState=exited\nUnitFileState=static\n\n" +
		"Id=bad.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=disabled\n"
	files := "ssh.service enabled enabled\nidle.service disabled enabled\ngetty@.service enabled enabled\nsshd.service alias -\nnonsense\n"
	want := []map[string]string{
		{"Name": "bad.service", "Status": "Failed", "StartType": "disabled"},
		{"Name": "idle.service", "Status": "Stopped", "StartType": "disabled"},
		{"Name": "once.service", "DisplayName": "a = b", "ServiceType": "oneshot", "Status": "Exited", "StartType": "static", "DependentServices": "ssh.service"},
		{"Name": "ssh.service", "DisplayName": "OpenBSD Secure Shell server", "ServiceType": "notify", "Status": "Running", "StartType": "enabled", "ServicesDependedOn": "dbus.service"},
	}
	if d := cmp.Diff(want, parseServices(loaded, files)); d != "" {
		t.Errorf("services (-want +got):\n%s", d)
	}
}
