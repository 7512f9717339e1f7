package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ssm"
)

// TestInventoryCommand asks a fleet which of its nodes have an old openssl, how many there are of each, and what is known at all.
func TestInventoryCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	s := servertest.Start(t, "sqlite")
	nodes := s.Nodes(3)
	for i, version := range []string{"3.0.9-1", "3.0.11-1"} { // the third reports nothing
		err := nodes[i].Call(t.Context(), "ssm", "PutInventory", &ssm.PutInventoryInput{InstanceId: &nodes[i].ID, Items: []ssm.InventoryItem{{
			TypeName: new("AWS:Application"), SchemaVersion: new("1.1"), CaptureTime: new("2026-07-01T00:00:00Z"),
			Content: []map[string]string{{"Name": "openssl", "Version": version, "Architecture": "amd64"}, {"Name": "bash", "Version": "5.2", "Summary": "a shell"}},
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	clientEnvironment(t, s.URL, s.Admin.AccessKeyID, s.Admin.SecretAccessKey)
	run := func(args ...string) (string, string) {
		t.Helper()
		out, errOut, code := oakumRun(t, append([]string{"inventory"}, args...)...)
		if code != 0 {
			t.Fatalf("oakum inventory %v = %d %s", args, code, errOut)
		}
		return out, errOut
	}
	out, talk := run("application", "--where", "Name=openssl", "--where", "Version<3.0.11-1")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[1], nodes[0].ID) || !strings.Contains(lines[1], "3.0.9-1") || !strings.Contains(talk, "1 entry of AWS:Application on 1 node") {
		t.Errorf("old openssl:\n%s%s", out, talk)
	}
	out, talk = run("Application", "-o", "csv")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "InstanceId,NodeName,Name,Version,Architecture,Summary") || talk != "" && !strings.Contains(talk, "note") {
		t.Errorf("csv:\n%s%s", out, talk)
	}
	out, _ = run("Application", "--where", "Name=openssl", "--count-by", "Name,Version", "-o", "json")
	var counts struct{ Counts []map[string]string }
	if err := json.Unmarshal([]byte(out), &counts); err != nil || len(counts.Counts) != 3 || counts.Counts[0]["Name"] != "bash" || counts.Counts[0]["Count"] != "2" {
		t.Errorf("counts: %v %s", err, out)
	}
	if out, _ = run("Application", "--count-by", "Version", "--where", "Name^=open"); !strings.Contains(out, "NODES") || !strings.Contains(out, "3.0.11-1") {
		t.Errorf("counts:\n%s", out)
	}
	out, _ = run("Application", "--node", nodes[1].ID, "--where", "InstanceInformation.PlatformType=Linux", "-o", "json")
	var shown struct {
		TypeName string
		Entries  []inventoryRow
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.TypeName != "AWS:Application" || len(shown.Entries) != 2 || shown.Entries[0].InstanceId != nodes[1].ID || shown.Entries[0].Name == "" {
		t.Errorf("one node: %v %s", err, out)
	}
	if _, talk = run("Application"); !strings.Contains(talk, "1 node has reported nothing of AWS:Application") {
		t.Errorf("what is not known is not said: %s", talk)
	}
	if out, _ = run(); !strings.Contains(out, "AWS:Application") || strings.Contains(out, "AWS:WindowsRole") {
		t.Errorf("types:\n%s", out)
	}
	for _, args := range [][]string{
		{"Applications"},
		{"Application", "--where", "Name"},
		{"Application", "--where", "Colour=red"},
		{"Application", "--where", "Version<=3"},
		{"Application", "--count-by", "Colour"},
		{"--where", "Name=x"},
		{"Application", "--where", "Nothing.Name=x"},
		{"Application", "Service"},
	} {
		if out, errOut, code := oakumRun(t, append([]string{"inventory"}, args...)...); code != exitUsage || out != "" || !strings.Contains(errOut, "oakum: error: ") {
			t.Errorf("oakum inventory %q = %d %q %q", args, code, out, errOut)
		}
	}
}
