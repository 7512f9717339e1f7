//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
)

// content is what a node has reported of a type, as GetInventory answers the SDK: a process of the CLI for each costs seconds.
func (s *installation) content(id, typ string) []map[string]string {
	s.t.Helper()
	c := servertest.Attach(s.t, s.url, s.dir)
	out, err := c.SSM(c.Admin).GetInventory(s.t.Context(), &ssm.GetInventoryInput{
		Filters:          []types.InventoryFilter{{Key: new("AWS:InstanceInformation.InstanceId"), Values: []string{id}}},
		ResultAttributes: []types.ResultAttribute{{TypeName: &typ}},
	})
	if err != nil || len(out.Entities) != 1 {
		s.t.Fatalf("%s of %s: %v, %v", typ, id, out, err)
	}
	return out.Entities[0].Data[typ].Content
}

// column is what entries have of some attributes, sorted.
func column(rows []map[string]string, names ...string) (out []string) {
	for _, r := range rows {
		var values []string
		for _, n := range names {
			values = append(values, r[n])
		}
		out = append(out, strings.TrimSpace(strings.Join(values, " ")))
	}
	slices.Sort(out)
	return out
}

func sortedLines(text string) []string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	slices.Sort(lines)
	return lines
}

// The inventory of a booted Debian node against what dpkg-query, ip, systemctl and find say there; then, by the real AWS CLI, queries, a deletion beside which the server is killed, tags, a resource group as the
// target of a command, and a copy in a bucket.
func TestInventoryByAWSCLI(t *testing.T) {
	t.Parallel()
	needNspawn(t)
	s := install(t, "sqlite")
	deb := newAptRepo(t, "deb bookworm oaktool 1.0-1\n").node(t, "inventorydeb", []string{"oaktool"}, "--systemd")
	deb.boot()
	a := deb.serve(s, "web")
	custom := filepath.Join(deb.root, "var/lib/oakum/inventory/custom")
	if err := os.MkdirAll(custom, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(custom, "rack.json"), `{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Location":"A1"}}`)
	writeFile(t, filepath.Join(custom, "evil.json"), `{"SchemaVersion":"1.0","TypeName":"AWS:Application","Content":{"Name":"x"}}`)
	deb.mustRun("mkfifo", "/var/lib/oakum/inventory/custom/pipe.json")
	files := `{"files":["[{\"Path\":\"/etc/systemd\",\"Pattern\":[\"*.conf\"],\"Recursive\":true}]"]}`
	send := func(parameters string, ids ...string) value {
		t.Helper()
		args := append([]string{"ssm", "send-command", "--document-name", "AWS-GatherSoftwareInventory", "--parameters", parameters, "--instance-ids"}, ids...)
		id := s.aws(args...).at("Command", "CommandId").String()
		s.commandEnd(id, 2*time.Minute).is("Status", "Success")
		return s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", ids[0])
	}
	said := send(files, a.id).at("StandardOutputContent").String()
	for _, part := range []string{`"evil.json" was refused: the TypeName "AWS:Application" is not Custom:`, `"pipe.json" was refused: it is not a regular file`} {
		if !strings.Contains(said, part) {
			t.Errorf("the step does not say %s:\n%s", part, said)
		}
	}

	apps := s.content(a.id, "AWS:Application")
	dpkg := slices.DeleteFunc(sortedLines(deb.mustRun("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\\n")), func(l string) bool { return !strings.HasPrefix(l, "installed ") })
	for i := range dpkg {
		dpkg[i] = strings.TrimPrefix(dpkg[i], "installed ")
	}
	if d := cmp.Diff(dpkg, column(apps, "Name", "Version", "Architecture")); d != "" || len(apps) < 50 {
		t.Errorf("%d applications (-dpkg-query +inventory):\n%.2000s", len(apps), d)
	}
	var links []struct {
		Name  string   `json:"ifname"`
		Flags []string `json:"flags"`
		MAC   string   `json:"address"`
		Addr  []struct {
			Family string `json:"family"`
			Local  string `json:"local"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(deb.mustRun("ip", "-j", "addr")), &links); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, l := range links {
		if slices.Contains(l.Flags, "LOOPBACK") {
			continue
		}
		var v4, v6 []string
		for _, x := range l.Addr {
			if x.Family == "inet" {
				v4 = append(v4, x.Local)
			} else {
				v6 = append(v6, x.Local)
			}
		}
		want = append(want, strings.TrimSpace(fmt.Sprint(l.Name, " ", l.MAC, " ", strings.Join(v4, ","), " ", strings.Join(v6, ","))))
	}
	slices.Sort(want)
	if d := cmp.Diff(want, column(s.content(a.id, "AWS:Network"), "Name", "MacAddress", "IPV4", "IPV6")); d != "" {
		t.Errorf("network (-ip +inventory):\n%s", d)
	}

	services := s.content(a.id, "AWS:Service")
	running := sortedLines(deb.mustRun("sh", "-c", "systemctl list-units --type=service --state=running --no-legend --plain | awk '{print $1}'"))
	var got []string
	for _, r := range services {
		if r["Status"] == "Running" {
			got = append(got, r["Name"])
		}
	}
	if d := cmp.Diff(running, got); d != "" || len(running) < 2 {
		t.Errorf("running services (-systemctl +inventory):\n%s", d)
	}
	enabled := sortedLines(deb.mustRun("sh", "-c", "systemctl list-unit-files --type=service --state=enabled --no-legend --plain | awk '{print $1}' | grep -v '@\\.service$'"))
	got = nil
	for _, r := range services {
		if r["StartType"] == "enabled" && !strings.Contains(r["Name"], "@") {
			got = append(got, r["Name"])
		}
	}
	if d := cmp.Diff(enabled, got); d != "" || len(enabled) < 2 {
		t.Errorf("enabled services (-systemctl +inventory):\n%s", d)
	}

	found := sortedLines(deb.mustRun("find", "/etc/systemd", "-type", "f", "-name", "*.conf", "-printf", "%h %f %s %TY-%Tm-%Td\\n"))
	fileRows := s.content(a.id, "AWS:File")
	for _, r := range fileRows {
		r["ModificationTime"], _, _ = strings.Cut(r["ModificationTime"], "T")
	}
	if d := cmp.Diff(found, column(fileRows, "InstalledDir", "Name", "Size", "ModificationTime")); d != "" || len(found) < 3 {
		t.Errorf("files (-find +inventory):\n%s", d)
	}
	details := s.content(a.id, "AWS:InstanceDetailedInformation")[0]
	if n := strings.TrimSpace(deb.mustRun("sh", "-c", "grep -c ^processor /proc/cpuinfo")); details["CPUs"] != n || details["KernelVersion"] != strings.TrimSpace(deb.mustRun("uname", "-r")) {
		t.Errorf("details %v, and there are %s processors", details, n)
	}

	// Which nodes have an oaktool older than that?
	old := s.aws("ssm", "get-inventory", "--filters", "Key=AWS:Application.Name,Values=oaktool", "Key=AWS:Application.Version,Values=1.0-10,Type=LessThan", "--result-attributes", "TypeName=AWS:Application")
	if old.at("Entities").len() != 1 || old.at("Entities", 0, "Id").String() != a.id || old.at("Entities", 0, "Data", "AWS:Application", "Content").len() != 1 {
		t.Errorf("nodes with an old oaktool: %.500s", old)
	}
	s.aws("ssm", "get-inventory-schema", "--type-name", "Custom:Rack").at("Schemas", 0).is("TypeName", "Custom:Rack", "Version", "1.0")

	// A deletion goes on over the end of the server.
	id := s.aws("ssm", "delete-inventory", "--type-name", "Custom:Rack", "--schema-delete-option", "DeleteSchema").at("DeletionId").String()
	listen := s.url
	s.kill()
	s.start(listen)
	eventually(t, "the deletion ends", time.Minute, func() bool {
		return s.aws("ssm", "describe-inventory-deletions", "--deletion-id", id).at("InventoryDeletions", 0, "LastStatus").String() == "Complete"
	})
	// Tags by the tagging API, and the group that they make as a target.
	arn := "arn:aws:ssm:us-east-1:000000000001:managed-instance/"
	s.aws("resourcegroupstaggingapi", "tag-resources", "--resource-arn-list", arn+a.id, "--tags", "Stage=Test,Owner=ops")
	list := s.aws("resourcegroupstaggingapi", "get-resources", "--tag-filters", "Key=Owner,Values=ops", "--resource-type-filters", "ssm:managed-instance")
	if list.at("ResourceTagMappingList").len() != 1 || list.at("ResourceTagMappingList", 0, "ResourceARN").String() != arn+a.id {
		t.Errorf("resources: %s", list)
	}
	query := `{"Type":"TAG_FILTERS_1_0","Query":"{\"ResourceTypeFilters\":[\"AWS::SSM::ManagedInstance\"],\"TagFilters\":[{\"Key\":\"Stage\",\"Values\":[\"Test\"]}]}"}`
	s.aws("resource-groups", "create-group", "--name", "Tests", "--description", "all of test", "--resource-query", query, "--tags", "Team=ops").at("Group").is("Name", "Tests")
	if v := s.aws("resource-groups", "list-group-resources", "--group-name", "Tests", "--page-size", "1"); v.at("ResourceIdentifiers").len() != 1 {
		t.Errorf("the group holds %s", v)
	}
	if v := s.aws("resource-groups", "search-resources", "--resource-query", query); v.at("ResourceIdentifiers").len() != 1 {
		t.Errorf("the query finds %s", v)
	}
	s.aws("resource-groups", "tag", "--arn", "arn:aws:resource-groups:us-east-1:000000000001:group/Tests", "--tags", "Cost=1")
	if v := s.aws("resourcegroupstaggingapi", "get-tag-values", "--key", "Cost"); v.at("TagValues").String() != `["1"]` {
		t.Errorf("values: %s", v)
	}
	s.refused("NotFoundException", "resource-groups", "get-group-query", "--group-name", "Nobody")
	cmdID := s.aws("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", "commands=hostname", "--targets", "Key=resource-groups:Name,Values=Tests").at("Command", "CommandId").String()
	s.commandEnd(cmdID, time.Minute).is("Status", "Success", "TargetCount", 1, "CompletedCount", 1)

	// A copy in a bucket, read back as anybody would.
	s.aws("ssm", "create-resource-data-sync", "--sync-name", "all", "--s3-destination", "BucketName=inventory,Prefix=fleet,SyncFormat=JsonSerDe,Region=us-east-1")
	eventually(t, "the first round of the sync", time.Minute, func() bool {
		return s.aws("ssm", "list-resource-data-sync").at("ResourceDataSyncItems", 0, "LastStatus").String() == "Successful"
	})
	copied := filepath.Join(t.TempDir(), "apps.json")
	if _, text, err := s.awsRun("s3", "cp", "--only-show-errors", "s3://inventory/fleet/AWS:Application/accountid=000000000001/region=us-east-1/resourcetype=ManagedInstanceInventory/"+a.id+".json", copied); err != nil {
		t.Fatalf("aws s3 cp: %v %s", err, text)
	}
	text, err := os.ReadFile(copied)
	if err != nil || len(sortedLines(string(text))) != len(apps) || !strings.Contains(string(text), `"resourceId":"`+a.id+`"`) {
		t.Errorf("the copy has %d lines, want %d; %v", len(sortedLines(string(text))), len(apps), err)
	}
}
