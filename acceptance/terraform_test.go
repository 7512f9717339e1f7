//go:build linux

package acceptance

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// terraform is a working directory with the real AWS provider, pointed at an installation.
type terraform struct {
	t    *testing.T
	s    *installation
	dir  string
	path string
}

// newTerraform needs terraform in PATH and a filesystem mirror of providers at OAKUM_TF_MIRROR.
func newTerraform(t *testing.T, s *installation) *terraform {
	t.Helper()
	path, err := exec.LookPath("terraform")
	mirror := os.Getenv("OAKUM_TF_MIRROR")
	if err != nil || mirror == "" { // also in CI: the provider has 700 MB and comes from no package
		t.Skip("Terraform: it is not in PATH, or OAKUM_TF_MIRROR names no mirror of providers")
	}
	f := &terraform{t: t, s: s, dir: t.TempDir(), path: path}
	f.write("terraformrc", fmt.Sprintf("provider_installation {\n  filesystem_mirror { path = %q }\n}\ndisable_checkpoint = true\n", mirror))
	f.write("provider.tf", fmt.Sprintf(`terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
provider "aws" {
  region                   = "us-east-1"
  shared_credentials_files = [%q]
  skip_metadata_api_check  = true
  endpoints {
    ssm = %q
    sts = %[2]q
  }
}
`, filepath.Join(s.dir, "admin.credentials"), s.url))
	f.must("init", "-no-color", "-input=false")
	return f
}

func (f *terraform) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *terraform) run(args ...string) (string, error) {
	cmd := exec.CommandContext(f.t.Context(), f.path, args...)
	cmd.Dir = f.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "AWS_") || strings.HasPrefix(e, "TF_") })
	cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+filepath.Join(f.dir, "terraformrc"), "AWS_CONFIG_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (f *terraform) must(args ...string) {
	f.t.Helper()
	if out, err := f.run(args...); err != nil {
		f.t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// apply applies the configuration, after which a plan must propose nothing.
func (f *terraform) apply(what string) {
	f.t.Helper()
	f.must("apply", "-no-color", "-input=false", "-auto-approve")
	if out, err := f.run("plan", "-no-color", "-input=false", "-detailed-exitcode"); err != nil {
		f.t.Errorf("%s: the second plan is not empty: %v\n%s", what, err, out)
	}
}

// Terraform's aws_ssm_document: made, changed in every member and destroyed, and no plan proposes a change that is none.
// One engine is enough: what Terraform sees is the wire, and every call of it takes its provider seconds.
func TestTerraformDocument(t *testing.T) {
	s := install(t, "sqlite")
	f := newTerraform(t, s)
	config := func(more, content string) {
		f.write("main.tf", fmt.Sprintf("resource \"aws_ssm_document\" \"greet\" {\n  name = \"Greet\"\n  document_type = \"Command\"\n%s\n  content = <<-EOT\n%s\nEOT\n}\n", more, content))
	}
	yaml := func(says string) string {
		return "# kept\nschemaVersion: '2.2'\ndescription: " + says + "\nparameters:\n  Who: {type: String, default: world}\nmainSteps:\n- action: aws:runShellScript\n  name: greet\n  inputs:\n    runCommand: ['echo " + says + " {{ Who }}']"
	}
	config("  document_format = \"YAML\"\n  tags = { team = \"web\", stage = \"test\" }\n  permissions = { type = \"Share\", account_ids = \"444455556666,111122223333\" }", yaml("one"))
	f.apply("new")
	s.aws("ssm", "describe-document", "--name", "Greet").at("Document").is("DocumentVersion", "1", "DocumentFormat", "YAML", "Description", "one")
	config("  document_format = \"YAML\"\n  tags = { team = \"db\" }\n  target_type = \"/AWS::EC2::Instance\"\n  version_name = \"second\"\n  permissions = { type = \"Share\", account_ids = \"111122223333,777788889999\" }", yaml("two"))
	f.apply("everything changed")
	s.aws("ssm", "describe-document", "--name", "Greet").at("Document").is("DocumentVersion", "2", "DefaultVersion", "2", "Description", "two", "VersionName", "second")
	config("  permissions = { type = \"Share\", account_ids = \"all\" }\n  target_type = \"/AWS::EC2::Instance\"\n  version_name = \"third\"", `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"greet","inputs":{"runCommand":["true"]}}]}`)
	f.apply("shared with all, and JSON")
	s.aws("ssm", "describe-document", "--name", "Greet").at("Document").is("DocumentVersion", "3", "DocumentFormat", "JSON", "Tags", "[]", "VersionName", "third")
	f.must("destroy", "-no-color", "-input=false", "-auto-approve")
	s.refused("InvalidDocument", "ssm", "describe-document", "--name", "Greet")
}
