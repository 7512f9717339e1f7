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
    ssm            = %q
    sts            = %[2]q
    resourcegroups = %[2]q
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

// Terraform's aws_ssm_maintenance_window with its targets and tasks: made, changed in every member and destroyed.
func TestTerraformWindow(t *testing.T) {
	s := install(t, "sqlite")
	f := newTerraform(t, s)
	f.write("main.tf", `
resource "aws_ssm_maintenance_window" "w" {
  name              = "tuesdays"
  schedule          = "cron(0 22 ? * TUE#2 *)"
  schedule_timezone = "Europe/Berlin"
  schedule_offset   = 2
  duration          = 3
  cutoff            = 1
  start_date        = "2027-01-01T00:00:00Z"
  end_date          = "2030-01-01T00:00:00+01:00"
  description       = "patches"
  tags              = { team = "ops" }
}
resource "aws_ssm_maintenance_window_target" "t" {
  window_id         = aws_ssm_maintenance_window.w.id
  name              = "web"
  description       = "all of web"
  resource_type     = "INSTANCE"
  owner_information = "ops"
  targets {
    key    = "tag:PatchGroup"
    values = ["web", "db"]
  }
}
resource "aws_ssm_maintenance_window_task" "patch" {
  window_id        = aws_ssm_maintenance_window.w.id
  task_arn         = "AWS-RunPatchBaseline"
  task_type        = "RUN_COMMAND"
  priority         = 1
  max_concurrency  = "10%"
  max_errors       = "5"
  cutoff_behavior  = "CANCEL_TASK"
  name             = "patch"
  description      = "d"
  targets {
    key    = "WindowTargetIds"
    values = [aws_ssm_maintenance_window_target.t.id]
  }
  task_invocation_parameters {
    run_command_parameters {
      comment              = "c"
      timeout_seconds      = 600
      output_s3_bucket     = "out"
      output_s3_key_prefix = "p"
      parameter {
        name   = "Operation"
        values = ["Install"]
      }
      parameter {
        name   = "RebootOption"
        values = ["NoReboot"]
      }
    }
  }
}
resource "aws_ssm_maintenance_window_task" "lambda" {
  window_id = aws_ssm_maintenance_window.w.id
  task_arn  = "arn:aws:lambda:us-east-1:000000000001:function:SSMdone"
  task_type = "LAMBDA"
  priority  = 9
  task_invocation_parameters {
    lambda_parameters {
      payload = "{\"a\":1}"
    }
  }
}
`)
	f.apply("new")
	w := s.aws("ssm", "describe-maintenance-windows").at("WindowIdentities", 0)
	w.is("Name", "tuesdays", "ScheduleOffset", 2, "Enabled", true, "StartDate", "2027-01-01T00:00:00Z")
	f.write("main.tf", `
resource "aws_ssm_maintenance_window" "w" {
  name                       = "wednesdays"
  schedule                   = "rate(7 days)"
  duration                   = 4
  cutoff                     = 0
  allow_unassociated_targets = true
  enabled                    = false
  tags                       = { team = "db" }
}
resource "aws_ssm_maintenance_window_target" "t" {
  window_id     = aws_ssm_maintenance_window.w.id
  resource_type = "INSTANCE"
  targets {
    key    = "tag:PatchGroup"
    values = ["db"]
  }
}
resource "aws_ssm_maintenance_window_task" "patch" {
  window_id       = aws_ssm_maintenance_window.w.id
  task_arn        = "AWS-RunShellScript"
  task_type       = "RUN_COMMAND"
  priority        = 2
  max_concurrency = "1"
  max_errors      = "0"
  targets {
    key    = "InstanceIds"
    values = ["mi-0123456789abcdef0"]
  }
  task_invocation_parameters {
    run_command_parameters {
      parameter {
        name   = "commands"
        values = ["true"]
      }
    }
  }
}
`)
	f.apply("everything changed")
	w = s.aws("ssm", "get-maintenance-window", "--window-id", w.at("WindowId").String())
	w.is("Name", "wednesdays", "Enabled", false, "AllowUnassociatedTargets", true, "Schedule", "rate(7 days)")
	if w.at("StartDate").String() != "" || w.at("Description").String() != "" || w.at("NextExecutionTime").String() != "" {
		t.Errorf("what was taken out of the configuration is still there: %s", w)
	}
	f.must("destroy", "-no-color", "-input=false", "-auto-approve")
	if v := s.aws("ssm", "describe-maintenance-windows"); v.at("WindowIdentities").len() != 0 {
		t.Errorf("after destroy: %s", v)
	}
}

// Terraform's resources of patching: baselines, patch groups, the default and activations.
func TestTerraformPatching(t *testing.T) {
	s := install(t, "sqlite")
	f := newTerraform(t, s)
	config := func(days int, more string) {
		f.write("main.tf", fmt.Sprintf(`
resource "aws_ssm_patch_baseline" "b" {
  name                                 = "production"
  operating_system                     = "DEBIAN"
  approved_patches_compliance_level    = "HIGH"
  approved_patches_enable_non_security = true
  approved_patches                     = ["libssl3*"]
  rejected_patches                     = ["telnet*"]
  rejected_patches_action              = "BLOCK"
  approval_rule {
    approve_after_days  = %d
    compliance_level    = "CRITICAL"
    enable_non_security = true
    patch_filter {
      key    = "PRODUCT"
      values = ["Debian12"]
    }
    patch_filter {
      key    = "PRIORITY"
      values = ["Required", "Important"]
    }
  }
  %s
}
resource "aws_ssm_patch_group" "g" {
  baseline_id = aws_ssm_patch_baseline.b.id
  patch_group = "web"
}
resource "aws_ssm_default_patch_baseline" "d" {
  baseline_id      = aws_ssm_patch_baseline.b.id
  operating_system = "DEBIAN"
}
resource "aws_ssm_activation" "a" {
  name               = "nodes"
  iam_role           = "service-role/SSMRole"
  registration_limit = 5
  tags               = { PatchGroup = "web" }
}
`, days, more))
	}
	config(7, "description = \"d\"\n  tags = { team = \"ops\" }\n  source {\n    name = \"own\"\n    products = [\"Debian12\"]\n    configuration = \"deb https://deb.example.com/ bookworm main\"\n  }\n  global_filter {\n    key = \"SECTION\"\n    values = [\"libs\"]\n  }")
	f.apply("new")
	s.aws("ssm", "get-patch-baseline-for-patch-group", "--patch-group", "web", "--operating-system", "DEBIAN").is("OperatingSystem", "DEBIAN")
	// The provider cannot take the last filter or source away, and sends an empty description for one that was.
	config(0, "description = \"e\"\n  source {\n    name = \"other\"\n    products = [\"*\"]\n    configuration = \"deb https://deb2.example.com/ bookworm main\"\n  }\n  global_filter {\n    key = \"SECTION\"\n    values = [\"*\"]\n  }")
	f.apply("changed")
	f.must("destroy", "-no-color", "-input=false", "-auto-approve")
	if v := s.aws("ssm", "describe-patch-baselines", "--filters", "Key=OWNER,Values=Self"); v.at("BaselineIdentities").len() != 0 {
		t.Errorf("after destroy: %s", v)
	}
}

// Terraform's aws_ssm_association: made, with the wait for its first run, changed in every member and destroyed.
func TestTerraformAssociation(t *testing.T) {
	s := install(t, "sqlite")
	f := newTerraform(t, s)
	f.write("main.tf", `
resource "aws_ssm_association" "scan" {
  name                = "AWS-RunPatchBaseline"
  association_name    = "nightly"
  document_version    = "$LATEST"
  schedule_expression = "cron(0 2 ? * SUN *)"
  apply_only_at_cron_interval = true
  compliance_severity = "HIGH"
  sync_compliance     = "AUTO"
  max_concurrency     = "10%"
  max_errors          = "5"
  parameters = {
    Operation = "Scan"
  }
  targets {
    key    = "tag:PatchGroup"
    values = ["web", "db"]
  }
  output_location {
    s3_bucket_name = "out"
    s3_key_prefix  = "scans"
    s3_region      = "us-east-1"
  }
  tags = { team = "ops" }
}
resource "aws_ssm_association" "all" {
  name = "AWS-GatherSoftwareInventory"
  schedule_expression = "rate(30 minutes)"
  targets {
    key    = "InstanceIds"
    values = ["*"]
  }
}
`)
	f.apply("new")
	a := s.aws("ssm", "list-associations", "--association-filter-list", "key=AssociationName,value=nightly").at("Associations", 0)
	a.is("Name", "AWS-RunPatchBaseline", "AssociationVersion", "1", "DocumentVersion", "$LATEST")
	f.write("main.tf", `
resource "aws_ssm_association" "scan" {
  name                = "AWS-RunPatchBaseline"
  association_name    = "weekly"
  schedule_expression = "rate(7 days)"
  parameters = {
    Operation    = "Install"
    RebootOption = "NoReboot"
  }
  targets {
    key    = "tag:PatchGroup"
    values = ["web"]
  }
  tags = { team = "db" }
}
resource "aws_ssm_association" "all" {
  name = "AWS-GatherSoftwareInventory"
  schedule_expression = "rate(1 hour)"
  targets {
    key    = "InstanceIds"
    values = ["*"]
  }
}
`)
	f.apply("everything changed")
	d := s.aws("ssm", "describe-association", "--association-id", a.at("AssociationId").String()).at("AssociationDescription")
	d.is("AssociationName", "weekly", "AssociationVersion", "2", "ScheduleExpression", "rate(7 days)")
	if d.at("OutputLocation").String() != "" || d.at("MaxErrors").String() != "" {
		t.Errorf("what was taken out of the configuration is still there: %s", d)
	}
	f.must("destroy", "-no-color", "-input=false", "-auto-approve")
	if v := s.aws("ssm", "list-associations"); v.at("Associations").len() != 0 {
		t.Errorf("after destroy: %s", v)
	}
}

// Terraform's service settings, data syncs and resource groups: made, changed and destroyed.
func TestTerraformInventory(t *testing.T) {
	s := install(t, "sqlite")
	f := newTerraform(t, s)
	config := func(tier, stage, prefix string) {
		f.write("main.tf", fmt.Sprintf(`
resource "aws_ssm_service_setting" "tier" {
  setting_id    = "arn:aws:ssm:us-east-1:000000000001:servicesetting/ssm/managed-instance/activation-tier"
  setting_value = %q
}
resource "aws_ssm_resource_data_sync" "all" {
  name = "all"
  s3_destination {
    bucket_name = "inventory"
    region      = "us-east-1"
    prefix      = %q
  }
}
resource "aws_resourcegroups_group" "g" {
  name        = "stage"
  description = "nodes of %[3]s"
  resource_query {
    query = jsonencode({ ResourceTypeFilters = ["AWS::SSM::ManagedInstance"], TagFilters = [{ Key = "Stage", Values = [%[3]q] }] })
  }
  tags = { Stage = %[3]q }
}
`, tier, prefix, stage))
	}
	config("advanced", "Test", "fleet")
	f.apply("new")
	s.aws("ssm", "get-service-setting", "--setting-id", "/ssm/managed-instance/activation-tier").at("ServiceSetting").is("SettingValue", "advanced")
	config("standard", "Prod", "fleet2")
	f.apply("changed")
	f.must("destroy", "-no-color", "-input=false", "-auto-approve")
	if v := s.aws("ssm", "list-resource-data-sync"); v.at("ResourceDataSyncItems").len() != 0 {
		t.Errorf("after destroy: %s", v)
	}
	s.refused("NotFoundException", "resource-groups", "get-group", "--group-name", "stage")
}
