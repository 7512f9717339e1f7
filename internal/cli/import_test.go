package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/internal/oakumtest/servertest"
)

// imported runs an import and counts its steps by action.
func imported(t *testing.T, wantCode int, args ...string) (steps []importStep, counts map[string]int) {
	t.Helper()
	out, errOut, code := oakumRun(t, append([]string{"import", "aws", "--output", "json"}, args...)...)
	if code != wantCode {
		t.Fatalf("import %v ended with %d: %s%s", args, code, out, errOut)
	}
	var a struct{ Steps []importStep }
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	counts = map[string]int{}
	for _, s := range a.Steps {
		counts[s.Action]++
	}
	return a.Steps, counts
}

// TestImport moves what one server holds to another, shows the plan first, and finds what it has made when it comes again.
func TestImport(t *testing.T) {
	from, to := servertest.Start(t, "sqlite"), servertest.Start(t, "sqlite")
	ctx, src, dst := t.Context(), from.SSM(from.Admin), to.SSM(to.Admin)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// What the source holds.
	const text = "schemaVersion: \"2.2\"\nmainSteps:\n- action: aws:runShellScript\n  name: drain\n  inputs:\n    runCommand:\n    - \"true\"\n"
	_, err := src.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: aws.String("Drain"), Content: aws.String(text), DocumentFormat: types.DocumentFormatYaml, DocumentType: types.DocumentTypeCommand, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("web")}}})
	check(err)
	b, err := src.CreatePatchBaseline(ctx, &ssm.CreatePatchBaselineInput{
		Name: aws.String("prod"), OperatingSystem: types.OperatingSystemDebian, RejectedPatches: []string{"bad*"}, Tags: []types.Tag{{Key: aws.String("Env"), Value: aws.String("prod")}},
		ApprovalRules: &types.PatchRuleGroup{PatchRules: []types.PatchRule{{ApproveAfterDays: aws.Int32(0), PatchFilterGroup: &types.PatchFilterGroup{PatchFilters: []types.PatchFilter{{Key: types.PatchFilterKeySection, Values: []string{"*"}}}}}}},
	})
	check(err)
	_, err = src.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: b.BaselineId})
	check(err)
	_, err = src.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: b.BaselineId, PatchGroup: aws.String("web")})
	check(err)
	ubuntu, err := src.GetDefaultPatchBaseline(ctx, &ssm.GetDefaultPatchBaselineInput{OperatingSystem: types.OperatingSystemUbuntu})
	check(err)
	_, err = src.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: ubuntu.BaselineId, PatchGroup: aws.String("web")})
	check(err)
	w, err := src.CreateMaintenanceWindow(ctx, &ssm.CreateMaintenanceWindowInput{Name: aws.String("tuesdays"), Schedule: aws.String("cron(0 2 ? * TUE *)"), ScheduleTimezone: aws.String("Europe/Berlin"), Duration: aws.Int32(3), Cutoff: 1})
	check(err)
	tg, err := src.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{WindowId: w.WindowId, ResourceType: types.MaintenanceWindowResourceTypeInstance, Targets: []types.Target{{Key: aws.String("tag:Env"), Values: []string{"prod"}}}})
	check(err)
	_, err = src.RegisterTargetWithMaintenanceWindow(ctx, &ssm.RegisterTargetWithMaintenanceWindowInput{WindowId: w.WindowId, ResourceType: types.MaintenanceWindowResourceTypeInstance, Targets: []types.Target{{Key: aws.String("InstanceIds"), Values: []string{from.Nodes(1)[0].ID}}}})
	check(err)
	_, err = src.RegisterTaskWithMaintenanceWindow(ctx, &ssm.RegisterTaskWithMaintenanceWindowInput{
		WindowId: w.WindowId, TaskArn: aws.String("AWS-RunPatchBaseline"), TaskType: types.MaintenanceWindowTaskTypeRunCommand, MaxConcurrency: aws.String("2"), MaxErrors: aws.String("1"), Priority: aws.Int32(3),
		Targets:                  []types.Target{{Key: aws.String("WindowTargetIds"), Values: []string{*tg.WindowTargetId}}},
		TaskInvocationParameters: &types.MaintenanceWindowTaskInvocationParameters{RunCommand: &types.MaintenanceWindowRunCommandParameters{Parameters: map[string][]string{"Operation": {"Scan"}}}},
	})
	check(err)

	for _, in := range []*ssm.CreateAssociationInput{
		{Name: aws.String("AWS-RunPatchBaseline"), AssociationName: aws.String("nightly"), ScheduleExpression: aws.String("cron(0 2 ? * SUN *)"), Parameters: map[string][]string{"Operation": {"Scan"}}, Targets: []types.Target{{Key: aws.String("tag:Env"), Values: []string{"prod"}}}, MaxErrors: aws.String("3"), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("web")}}},
		{Name: aws.String("AWS-RunPatchBaseline"), AssociationName: aws.String("AWS-PatchNowAssociation"), Parameters: map[string][]string{"Operation": {"Install"}}, Targets: []types.Target{{Key: aws.String("InstanceIds"), Values: []string{"*"}}}}, // it would install again
		{Name: aws.String("AWS-GatherSoftwareInventory"), ScheduleExpression: aws.String("rate(12 hours)"), Targets: []types.Target{{Key: aws.String("InstanceIds"), Values: []string{"*"}}}},
		{Name: aws.String("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"true"}}, Targets: []types.Target{{Key: aws.String("InstanceIds"), Values: []string{from.Nodes(1)[0].ID}}}},
	} {
		_, err = src.CreateAssociation(ctx, in)
		check(err)
	}

	clientEnvironment(t, to.URL, to.Admin.AccessKeyID, to.Admin.SecretAccessKey)
	credentials := filepath.Join(t.TempDir(), "credentials")
	check(os.WriteFile(credentials, fmt.Appendf(nil, "[source]\naws_access_key_id = %s\naws_secret_access_key = %s\n", from.Admin.AccessKeyID, from.Admin.SecretAccessKey), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentials)
	base := []string{"--from-endpoint-url", from.URL, "--from-profile", "source"}
	source := base
	before := to.Dump()

	// The plan does nothing.
	_, counts := imported(t, 0, source...)
	if want := map[string]int{"create": 9, "update": 1, "skip": 3}; cmp.Diff(want, counts) != "" {
		t.Errorf("the plan has %v, want %v", counts, want)
	}
	if to.Dump() != before {
		t.Error("showing the plan changed something")
	}
	table, _, _ := oakumRun(t, append([]string{"import", "aws"}, source...)...)
	for _, line := range []string{"create  document            Drain", "skip    window target", "other ones here", "cron(0 2 ? * TUE *) Europe/Berlin"} {
		if !strings.Contains(table, line) {
			t.Errorf("the table does not hold %q:\n%s", line, table)
		}
	}

	// It is done, and found again.
	imported(t, 0, append(source, "--apply")...)
	if _, counts = imported(t, 0, source...); counts["unchanged"] != 10 || counts["skip"] != 3 || len(counts) != 2 {
		t.Errorf("after it was done the plan has %v", counts)
	}
	d, err := dst.GetDefaultPatchBaseline(ctx, &ssm.GetDefaultPatchBaselineInput{OperatingSystem: types.OperatingSystemDebian})
	check(err)
	got, err := dst.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: d.BaselineId})
	check(err)
	if *got.Name != "prod" || len(got.RejectedPatches) != 1 || len(got.PatchGroups) != 1 || got.PatchGroups[0] != "web" {
		t.Errorf("the default baseline here is %+v", got)
	}
	doc, err := dst.GetDocument(ctx, &ssm.GetDocumentInput{Name: aws.String("Drain"), DocumentFormat: types.DocumentFormatYaml})
	check(err)
	if *doc.Content != text {
		t.Errorf("the document is %s", *doc.Content)
	}
	windows, err := dst.DescribeMaintenanceWindows(ctx, &ssm.DescribeMaintenanceWindowsInput{})
	check(err)
	tasks, err := dst.DescribeMaintenanceWindowTasks(ctx, &ssm.DescribeMaintenanceWindowTasksInput{WindowId: windows.WindowIdentities[0].WindowId})
	check(err)
	targets, err := dst.DescribeMaintenanceWindowTargets(ctx, &ssm.DescribeMaintenanceWindowTargetsInput{WindowId: windows.WindowIdentities[0].WindowId})
	check(err)
	if len(tasks.Tasks) != 1 || len(targets.Targets) != 1 || tasks.Tasks[0].Targets[0].Values[0] != *targets.Targets[0].WindowTargetId || tasks.Tasks[0].Priority != 3 {
		t.Errorf("the window has the tasks %+v and the targets %+v", tasks.Tasks, targets.Targets)
	}

	// What changes at the source changes here, and what was made here by hand stays.
	_, err = src.UpdatePatchBaseline(ctx, &ssm.UpdatePatchBaselineInput{BaselineId: b.BaselineId, RejectedPatches: []string{}, Description: aws.String("new")})
	check(err)
	list, err := src.ListAssociations(ctx, &ssm.ListAssociationsInput{AssociationFilterList: []types.AssociationFilter{{Key: types.AssociationFilterKeyAssociationName, Value: aws.String("nightly")}}})
	check(err)
	_, err = src.UpdateAssociation(ctx, &ssm.UpdateAssociationInput{AssociationId: list.Associations[0].AssociationId, AssociationName: aws.String("weekly"), ScheduleExpression: aws.String("rate(7 days)"), Parameters: map[string][]string{"Operation": {"Scan"}}, Targets: list.Associations[0].Targets})
	check(err)
	_, err = src.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{WindowId: w.WindowId, Enabled: aws.Bool(false)})
	check(err)
	up, err := src.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: aws.String("Drain"), Content: aws.String(strings.Replace(text, "true", "false", 1)), DocumentFormat: types.DocumentFormatYaml, DocumentVersion: aws.String("$LATEST")})
	check(err)
	for _, version := range []string{*up.DocumentDescription.DocumentVersion, "1"} { // the second time it is an old text again
		_, err = src.UpdateDocumentDefaultVersion(ctx, &ssm.UpdateDocumentDefaultVersionInput{Name: aws.String("Drain"), DocumentVersion: &version})
		check(err)
		_, counts = imported(t, 0, append(source, "--apply")...)
		if want := map[string]int{"2": 4, "1": 1}[version]; counts["update"] != want || counts["create"] != 0 {
			t.Errorf("with version %s: %v", version, counts)
		}
	}
	_, counts = imported(t, 0, source...)
	if counts["unchanged"] != 10 {
		t.Errorf("after the changes: %v", counts)
	}
	got, err = dst.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: d.BaselineId})
	check(err)
	here, err := dst.ListAssociations(ctx, &ssm.ListAssociationsInput{AssociationFilterList: []types.AssociationFilter{{Key: types.AssociationFilterKeyAssociationName, Value: aws.String("weekly")}}})
	check(err)
	if len(here.Associations) != 1 || *here.Associations[0].ScheduleExpression != "rate(7 days)" {
		t.Errorf("the associations here are %+v", here.Associations)
	}
	if len(got.RejectedPatches) != 0 || aws.ToString(got.Description) != "new" {
		t.Errorf("the baseline here is %+v", got)
	}

	// A step that fails is told, and the others are done.
	_, err = src.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: aws.String("Undrain"), Content: aws.String(text), DocumentFormat: types.DocumentFormatYaml, DocumentType: types.DocumentTypeCommand})
	check(err)
	t.Setenv("AWS_ACCESS_KEY_ID", to.Reader.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", to.Reader.SecretAccessKey)
	steps, counts := imported(t, exitFailed, append(base, "--apply", "--only", "documents")...)
	if counts["failed"] != 1 || counts["unchanged"] != 1 || !slices.ContainsFunc(steps, func(s importStep) bool { return strings.Contains(s.Detail, "not allowed") }) {
		t.Errorf("with a key that may only read: %v %+v", counts, steps)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", to.Admin.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", to.Admin.SecretAccessKey)
	imported(t, 0, append(base, "--apply", "--only", "documents")...)
	_, counts = imported(t, 0, append(base, "--only", "documents")...)
	if counts["unchanged"] != 2 || len(counts) != 1 {
		t.Errorf("documents alone: %v", counts)
	}

	// Bad calls.
	for _, args := range [][]string{{}, {"--from-profile", "source", "--from-endpoint-url", to.URL}, {"--from-profile", "source", "--from-endpoint-url", from.URL, "--only", "nodes"}} {
		if _, errOut, code := oakumRun(t, append([]string{"import", "aws"}, args...)...); code != exitUsage {
			t.Errorf("import aws %v ended with %d: %s", args, code, errOut)
		}
	}
	if _, errOut, code := oakumRun(t, "import", "aws", "--from-profile", "nobody", "--from-endpoint-url", from.URL); code != exitFailed || !strings.Contains(errOut, `no profile "nobody"`) {
		t.Errorf("with an unknown profile: %d %s", code, errOut)
	}
}
