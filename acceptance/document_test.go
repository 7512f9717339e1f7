//go:build linux

package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// greet is a document of three steps, of which the one for another platform does not run.
const greet = `# greets whom it is told to
schemaVersion: "2.2"
description: Greets
parameters:
  Who:
    type: String
    description: whom
    default: world
    allowedPattern: "[a-z]+"
mainSteps:
- action: aws:runShellScript
  name: greet
  precondition:
    StringEquals: [platformType, Linux]
  inputs:
    runCommand:
    - |
      echo "VERSION {{ Who }}"
      exit CODE
    onFailure: exit
- action: aws:runPowerShellScript
  name: elsewhere
  precondition: {StringEquals: [platformType, Windows]}
  inputs: {runCommand: [Write-Output no]}
- action: aws:runShellScript
  name: farewell
  inputs:
    runCommand: [echo bye]
    finallyStep: true
`

// A customer's own document, from its first version to its deletion, by the AWS CLI and a node that runs it.
func TestOwnDocument(t *testing.T) {
	t.Parallel()
	n := newDebNode(t, "document")
	engines(t, func(t *testing.T, s *installation) {
		n.t = t
		a := n.mustRegister(s, s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole"), "/var/lib/oakum-"+strings.ReplaceAll(t.Name(), "/", "-"))
		a.start(t)
		s.online(1)
		dir := t.TempDir()
		file := func(version string, code int) (path, text string) {
			text = strings.NewReplacer("VERSION", version, "CODE", fmt.Sprint(code)).Replace(greet)
			path = filepath.Join(dir, version+".yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path, text
		}
		one, oneText := file("one", 0)
		two, twoText := file("two", 5)

		d := s.aws("ssm", "create-document", "--name", "Greet", "--document-format", "YAML", "--content", "file://"+one, "--version-name", "first", "--tags", "Key=team,Value=web").at("DocumentDescription")
		d.is("Name", "Greet", "Status", "Active", "DocumentVersion", "1", "DefaultVersion", "1", "LatestVersion", "1", "DocumentFormat", "YAML", "SchemaVersion", "2.2",
			"DocumentType", "Command", "HashType", "Sha256", "VersionName", "first", "Description", "Greets", "PlatformTypes", `["Windows","Linux","MacOS"]`)
		d.at("Parameters", 0).is("Name", "Who", "Type", "String", "DefaultValue", "world")
		s.refused("DocumentAlreadyExists", "ssm", "create-document", "--name", "Greet", "--document-format", "YAML", "--content", "file://"+one)
		s.refused("InvalidDocumentContent", "ssm", "create-document", "--name", "Greet2", "--content", "file://"+one)
		s.refused("DuplicateDocumentContent", "ssm", "update-document", "--name", "Greet", "--document-format", "YAML", "--content", "file://"+one)
		s.aws("ssm", "update-document", "--name", "Greet", "--document-format", "YAML", "--content", "file://"+two, "--document-version", "1").at("DocumentDescription").
			is("DocumentVersion", "2", "DefaultVersion", "1", "LatestVersion", "2")
		for version, want := range map[string]string{"$DEFAULT": oneText, "$LATEST": twoText} {
			if got := s.aws("ssm", "get-document", "--name", "Greet", "--document-format", "YAML", "--document-version", version).at("Content").String(); got != want {
				t.Errorf("%s reads\n%s\nwant\n%s", version, got, want)
			}
		}
		asJSON := s.aws("ssm", "get-document", "--name", "Greet", "--document-format", "JSON").at("Content").String()
		if !strings.HasPrefix(asJSON, "{\n") || !strings.Contains(asJSON, `"name": "greet"`) {
			t.Errorf("as JSON: %s", asJSON)
		}

		send := func(args ...string) string {
			t.Helper()
			return s.aws(append([]string{"ssm", "send-command", "--document-name", "Greet", "--instance-ids", a.id}, args...)...).at("Command", "CommandId").String()
		}
		step := func(id, name string) value {
			t.Helper()
			return s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", a.id, "--plugin-name", name)
		}
		// The default version, with the hash that was shown.
		id := send("--parameters", "Who=anna", "--document-hash", d.at("Hash").String(), "--document-hash-type", "Sha256")
		s.commandEnd(id, 30*time.Second).is("Status", "Success", "DocumentName", "Greet", "DocumentVersion", "$DEFAULT")
		step(id, "greet").is("Status", "Success", "StandardOutputContent", "one anna\n", "ResponseCode", 0, "DocumentName", "Greet", "DocumentVersion", "$DEFAULT")
		step(id, "elsewhere").is("Status", "Success", "StandardOutputContent", "")
		step(id, "farewell").is("Status", "Success", "StandardOutputContent", "bye\n")
		// The latest one, by ARN: its first step fails and ends the document, but for its last step.
		arn := "arn:aws:ssm:us-east-1:000000000001:document/Greet"
		id = s.aws("ssm", "send-command", "--document-name", arn, "--document-version", "2", "--instance-ids", a.id).at("Command", "CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Failed", "DocumentName", arn, "DocumentVersion", "2")
		step(id, "greet").is("Status", "Failed", "StandardOutputContent", "two world\n", "ResponseCode", 5)
		step(id, "farewell").is("Status", "Success", "StandardOutputContent", "bye\n")
		s.refused("InvalidParameters", "ssm", "send-command", "--document-name", "Greet", "--instance-ids", a.id, "--parameters", "Who=A; reboot")
		s.refused("InvalidDocument", "ssm", "send-command", "--document-name", "Greet", "--instance-ids", a.id, "--document-hash", "00", "--document-hash-type", "Sha256")
		s.refused("InvalidDocumentVersion", "ssm", "send-command", "--document-name", "Greet", "--instance-ids", a.id, "--document-version", "3")

		s.aws("ssm", "update-document-default-version", "--name", "Greet", "--document-version", "2").at("Description").is("DefaultVersion", "2")
		if list := s.aws("ssm", "list-document-versions", "--name", "Greet").at("DocumentVersions"); list.len() != 2 || list.at(0, "DocumentVersion").String() != "2" {
			t.Errorf("versions: %v", list)
		}
		s.aws("ssm", "add-tags-to-resource", "--resource-type", "Document", "--resource-id", "Greet", "--tags", "Key=stage,Value=test")
		s.aws("ssm", "remove-tags-from-resource", "--resource-type", "Document", "--resource-id", "Greet", "--tag-keys", "team")
		s.aws("ssm", "list-tags-for-resource", "--resource-type", "Document", "--resource-id", "Greet").is("TagList", `[{"Key":"stage","Value":"test"}]`)
		for _, filter := range []string{"Key=Owner,Values=Self", "Key=tag:stage,Values=test", "Key=Name,Values=Gre", "Key=SearchKeyword,Values=greets"} {
			if list := s.aws("ssm", "list-documents", "--filters", filter).at("DocumentIdentifiers"); list.len() != 1 || list.at(0, "Name").String() != "Greet" {
				t.Errorf("%s lists %v", filter, list)
			}
		}

		if out := s.mustOakum("documents", "--owner", "Self", "--output", "csv"); !strings.Contains(out, "\nGreet,Command,000000000001,2,") {
			t.Errorf("oakum documents: %s", out)
		}
		if out := s.mustOakum("documents", "Greet"); !strings.Contains(out, "Who") || !strings.Contains(out, "first") {
			t.Errorf("oakum documents Greet: %s", out)
		}
		if _, errs, err := s.oakum("documents", "Nonsense"); err == nil || !strings.Contains(errs, "there is no document Nonsense in region us-east-1") {
			t.Errorf("oakum documents Nonsense: %v %s", err, errs)
		}

		s.aws("ssm", "modify-document-permission", "--name", "Greet", "--permission-type", "Share", "--account-ids-to-add", "111122223333")
		s.aws("ssm", "describe-document-permission", "--name", "Greet", "--permission-type", "Share").is("AccountIds", `["111122223333"]`)
		s.refused("InvalidDocumentOperation", "ssm", "delete-document", "--name", "Greet")
		s.aws("ssm", "modify-document-permission", "--name", "Greet", "--permission-type", "Share", "--account-ids-to-remove", "111122223333")

		// A command that the node gets after the document is gone.
		a.stop()
		id = send("--document-version", "1", "--parameters", "Who=late")
		s.refused("InvalidDocumentOperation", "ssm", "delete-document", "--name", "Greet", "--document-version", "2")
		s.aws("ssm", "delete-document", "--name", "Greet")
		s.refused("InvalidDocument", "ssm", "describe-document", "--name", "Greet")
		s.refused("InvalidDocument", "ssm", "send-command", "--document-name", "Greet", "--instance-ids", a.id)
		a.start(t)
		s.commandEnd(id, time.Minute).is("Status", "Success", "DocumentName", "Greet")
		step(id, "greet").is("Status", "Success", "StandardOutputContent", "one late\n", "DocumentVersion", "1")
	})
}
