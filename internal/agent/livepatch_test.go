package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
	"oakum.dev/patch"
)

// recordedTools answers as the tools of Amazon Linux 2023 do. Source: Amazon Linux 2023 User Guide, "Kernel Live Patching".
type recordedTools struct{}

func (recordedTools) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	line := filepath.Base(c.Path) + " " + strings.Join(c.Args, " ")
	text, ok := map[string]string{
		"kpatch list":                        "Loaded patch modules:\nlivepatch_CVE_2022_36946 [enabled]\n\nInstalled patch modules:\nlivepatch_CVE_2022_36946 (6.1.57-29.131.amzn2023.x86_64)\n",
		"systemctl is-failed kpatch.service": "active\n", "systemctl is-enabled kpatch.service": "disabled\n",
		"dnf kernel-livepatch support": "\x1b[0mThe current version of the Linux kernel you are running will no longer receive live patches after 2099-02-01.\n",
	}[line]
	if !ok {
		return patch.Output{}, os.ErrNotExist
	}
	return patch.Output{Stdout: []byte(text)}, nil
}

// TestLivePatchInventory: the inventory of a Linux node has the state of kernel live patching, unless an operator's own
// data has the name or fills the room.
func TestLivePatchInventory(t *testing.T) {
	t.Parallel()
	amazon := map[string]string{
		"etc/os-release": "NAME=\"Amazon Linux\"\nVERSION_ID=\"2023\"\n", "proc/sys/kernel/osrelease": "6.1.57-29.131.amzn2023.x86_64\n",
		"var/lib/dpkg/status": "", // packages are read of whichever database there is
		"sys/kernel/livepatch/livepatch_CVE_2022_36946/enabled": "1\n", "sys/kernel/livepatch/livepatch_CVE_2022_36946/transition": "0\n",
	}
	for name, version := range map[string]string{"kpatch-dnf": "1-1", "kpatch-runtime": "1-1", "kernel-livepatch-6.1.57-29.131": "1.0-2.amzn2023"} {
		amazon["var/lib/dpkg/status"] += fmt.Sprintf("Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: amd64\n\n", name, version)
	}
	active := map[string]string{
		"State": "Active", "System": "Amazon Linux", "Kernel": "6.1.57-29.131.amzn2023.x86_64", "Modules": "livepatch_CVE_2022_36946", "Service": "disabled",
		"LivePatches": "kernel-livepatch-6.1.57-29.131-1.0-2.amzn2023", "CVEs": "CVE-2022-36946", "SupportEnd": "2099-02-01", "Transition": "false",
		"Detail": "kpatch.service is not enabled: what is loaded now is gone after a reboot",
	}
	own := `{"TypeName":"Custom:KernelLivePatch","SchemaVersion":"1.0","Content":{"State":"mine"}}`
	full := map[string]string{}
	for i := range maxCustomTypes {
		full[fmt.Sprintf("t%02d.json", i)] = fmt.Sprintf(`{"TypeName":"Custom:T%02d","SchemaVersion":"1.0","Content":{"a":"b"}}`, i)
	}
	for _, tc := range []struct {
		name   string
		root   map[string]string
		custom map[string]string
		goos   string
		inputs map[string]any
		want   []map[string]string
	}{
		{"amazon", amazon, nil, "linux", map[string]any{"customInventory": "Enabled"}, []map[string]string{active}},
		{"with_applications", amazon, nil, "linux", map[string]any{"customInventory": "Enabled", "applications": "Enabled"}, []map[string]string{active}},
		{
			"debian",
			map[string]string{"etc/os-release": "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n", "proc/sys/kernel/osrelease": "6.1.0-1-amd64\n"},
			nil, "linux",
			map[string]any{"customInventory": "Enabled"},
			[]map[string]string{{"State": "Unsupported", "Kernel": "6.1.0-1-amd64", "Detail": "there are no live patches for this system"}},
		},
		{"nobody_knows", nil, nil, "linux", map[string]any{"customInventory": "Enabled"}, []map[string]string{{"State": "Unsupported", "Detail": "there are no live patches for this system"}}},
		{"windows", nil, nil, "windows", map[string]any{"customInventory": "Enabled"}, nil},
		{"macos", nil, nil, "darwin", map[string]any{"customInventory": "Enabled"}, nil},
		{"not_asked_for", amazon, nil, "linux", map[string]any{"customInventory": "Disabled"}, nil},
		{"an_operators_own", amazon, map[string]string{"own.json": own}, "linux", map[string]any{"customInventory": "Enabled"}, []map[string]string{{"State": "mine"}}},
		{"no_room", amazon, full, "linux", map[string]any{"customInventory": "Enabled"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root, state := t.TempDir(), t.TempDir()
			write := func(dir string, files map[string]string) {
				for name, text := range files {
					path := filepath.Join(dir, name)
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			write(root, tc.root)
			write(filepath.Join(state, "custom"), tc.custom)
			sys := RealSystem()
			sys.Root, sys.GOOS, sys.Exec = root, tc.goos, recordedTools{}
			a := &Agent{Node: &Node{sys: sys, reg: &registration{}}}
			a.paths.inventory = state
			var got []map[string]string
			for _, item := range a.gather(t.Context(), tc.inputs).items {
				if *item.TypeName == "Custom:KernelLivePatch" {
					if got != nil {
						t.Error("the type is sent twice")
					}
					got = item.Content
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				b, _ := json.Marshal(got)
				t.Errorf("(-want +got):\n%s\n%s", diff, b)
			}
		})
	}
}

// TestLivePatchInventoryIsSentOnce: a state that did not change is sent by its hash.
func TestLivePatchInventoryIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, registered(t, f), func(c *Config) { c.System.Root, c.System.GOOS = root, "linux" })
	b, _ := document.LookupBuiltin(document.GatherSoftwareInventory)
	for i, command := range []string{cmd1, cmd2} {
		f.with(func() { f.inventories = nil })
		if final := f.final(t, f.send(command, document.GatherSoftwareInventory, b.Content(), `{}`, "")); final.DocumentStatus != document.Success {
			t.Fatalf("reply %s", final.Payload)
		}
		found := false
		f.with(func() {
			for _, item := range f.inventories {
				if item["TypeName"] == "Custom:KernelLivePatch" {
					_, full := item["Content"]
					found = full == (i == 0) && item["ContentHash"] != "" && item["SchemaVersion"] == "1.0"
				}
			}
		})
		if !found {
			t.Errorf("inventory %d: the state was not sent, or its content not only the first time", i)
		}
	}
}
