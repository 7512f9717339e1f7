package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	if err := json.Unmarshal([]byte(out), &counts); err != nil || !cmp.Equal(counts.Counts, []map[string]string{
		{"Name": "openssl", "Version": "3.0.11-1", "Count": "1"}, {"Name": "openssl", "Version": "3.0.9-1", "Count": "1"},
	}) {
		t.Errorf("counts: %v %s", err, out)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--where", "Name=openssl", "--count-by", "Version"}, "Count,Version\n1,3.0.11-1\n1,3.0.9-1\n"}, // the example of the help
		{[]string{"--where", "Name=openssl,bash", "--count-by", "Name"}, "Count,Name\n2,bash\n2,openssl\n"},
		{[]string{"--count-by", "Version"}, "Count,Version\n2,5.2\n1,3.0.11-1\n1,3.0.9-1\n"},
		{[]string{"--where", "Version<3.0.11-1", "--count-by", "Name,InstanceInformation.PlatformType"}, "Count,Name,PlatformType\n1,openssl,Linux\n"},
		{[]string{"--where", "Name=nothing", "--count-by", "Version"}, "Count,Version\n"},
	} {
		if out, _ := run(append([]string{"Application", "-o", "csv"}, tc.args...)...); strings.ReplaceAll(out, "\r\n", "\n") != tc.want {
			t.Errorf("%v:\n%swant\n%s", tc.args, out, tc.want)
		}
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
