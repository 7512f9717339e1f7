//go:build linux

package acceptance

import (
	"strings"
	"testing"
	"time"
)

// soon is an at() expression for some seconds from now.
func soon(d time.Duration) string {
	return "at(" + time.Now().UTC().Add(d).Format("2006-01-02T15:04:05") + ")"
}

// windowEnd waits for the newest execution of a window to end.
func (s *installation) windowEnd(id string, limit time.Duration) value {
	s.t.Helper()
	var v value
	eventually(s.t, "the end of the window's execution", limit, func() bool {
		v = s.aws("ssm", "describe-maintenance-window-executions", "--window-id", id)
		return v.at("WindowExecutions").len() > 0 && v.at("WindowExecutions", 0, "EndTime").String() != ""
	})
	return v.at("WindowExecutions", 0)
}

// Journeys W5 and W6 with the real AWS CLI: a maintenance window patches a Debian node and an RPM node by their patch group,
// beside which the server is killed; and the tutorial about windows.
func TestW5MaintenanceWindow(t *testing.T) {
	t.Parallel()
	needNspawn(t)
	s := install(t, "sqlite")
	deb := newAptRepo(t, "deb bookworm oaktool 1.0-1\ndeb bookworm-security oaktool 1.1-1 postinst=\"sleep 3\"\n").node(t, "windowdeb", []string{"oaktool"}, "--systemd")
	deb.boot()
	a := deb.serve(s, "Database Servers")
	r := newRPMRepo(t, "package oaktool 1.0-1 x86_64\npackage oaktool 1.1-1 x86_64\nadvisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oaktool-1.1-1.x86_64\n")
	rpm := r.node(t, "windowrpm", "rhel9", "oaktool-1.0-1", "--systemd")
	rpm.boot()
	b := rpm.serve(s, "Database Servers")

	// W5.3: the schedule of the tutorial, and then one that does not take until Tuesday.
	mw := s.aws("ssm", "create-maintenance-window", "--name", "Production-Tuesdays", "--schedule", "cron(0 0 22 ? * TUE *)", "--duration", "1", "--cutoff", "0",
		"--no-allow-unassociated-targets", "--tags", "Key=Environment,Value=Production").at("WindowId").String()
	next, err := time.Parse(time.RFC3339, s.aws("ssm", "get-maintenance-window", "--window-id", mw).at("NextExecutionTime").String())
	if err != nil || next.Weekday() != time.Tuesday || next.UTC().Hour() != 22 || next.Before(time.Now()) {
		t.Errorf("the next execution is at %s, %v", next, err)
	}
	s.aws("ssm", "list-tags-for-resource", "--resource-type", "MaintenanceWindow", "--resource-id", mw).at("TagList", 0).is("Key", "Environment", "Value", "Production")
	// W5.4, W5.5
	target := s.aws("ssm", "register-target-with-maintenance-window", "--window-id", mw, "--targets", "Key=tag:PatchGroup,Values=Database Servers",
		"--owner-information", "Database Servers", "--resource-type", "INSTANCE").at("WindowTargetId").String()
	s.aws("ssm", "register-task-with-maintenance-window", "--window-id", mw, "--targets", "Key=WindowTargetIds,Values="+target, "--task-arn", "AWS-RunPatchBaseline",
		"--service-role-arn", "arn:aws:iam::000000000001:role/MW-Role", "--task-type", "RUN_COMMAND", "--max-concurrency", "2", "--max-errors", "1", "--priority", "1",
		"--task-invocation-parameters", "RunCommand={Parameters={Operation=Install,RebootOption=NoReboot}}")
	// W5.6
	s.aws("ssm", "describe-patch-group-state", "--patch-group", "Database Servers").is("Instances", 2, "InstancesWithInstalledPatches", 0, "InstancesWithMissingPatches", 0)
	s.aws("ssm", "update-maintenance-window", "--window-id", mw, "--schedule", soon(5*time.Second)).is("WindowId", mw, "Name", "Production-Tuesdays", "Duration", 1)
	// W5.7, and the server is killed in the middle.
	eventually(t, "the window has opened", time.Minute, func() bool {
		v := s.aws("ssm", "describe-maintenance-window-executions", "--window-id", mw)
		return v.at("WindowExecutions").len() == 1 && v.at("WindowExecutions", 0, "Status").String() == "IN_PROGRESS"
	})
	time.Sleep(time.Second) // another process: somewhere in the middle
	listen := s.url
	s.kill()
	s.start(listen)
	e := s.windowEnd(mw, 5*time.Minute)
	e.is("Status", "SUCCESS")
	id := e.at("WindowExecutionId").String()
	task := s.aws("ssm", "describe-maintenance-window-execution-tasks", "--window-execution-id", id).at("WindowExecutionTaskIdentities", 0)
	task.is("Status", "SUCCESS", "TaskArn", "AWS-RunPatchBaseline", "TaskType", "RUN_COMMAND")
	inv := s.aws("ssm", "describe-maintenance-window-execution-task-invocations", "--window-execution-id", id, "--task-id", task.at("TaskExecutionId").String()).
		at("WindowExecutionTaskInvocationIdentities", 0)
	inv.is("Status", "SUCCESS", "WindowTargetId", target, "OwnerInformation", "Database Servers")
	c := s.aws("ssm", "list-commands", "--command-id", inv.at("ExecutionId").String())
	c.at("Commands", 0).is("Status", "Success", "TargetCount", 2, "CompletedCount", 2, "MaxConcurrency", "2")
	// W5.8
	s.aws("ssm", "describe-patch-group-state", "--patch-group", "Database Servers").is("Instances", 2, "InstancesWithMissingPatches", 0, "InstancesWithInstalledPendingRebootPatches", 2)
	states := s.aws("ssm", "describe-instance-patch-states-for-patch-group", "--patch-group", "Database Servers")
	if x, y := states.at("InstancePatchStates", 0, "SnapshotId").String(), states.at("InstancePatchStates", 1, "SnapshotId").String(); x != y || len(x) != 36 {
		t.Errorf("snapshots %q and %q", x, y)
	}
	for _, n := range []*debNode{deb, rpm} {
		if n == deb && !strings.Contains(n.mustRun("dpkg-query", "-W", "oaktool"), "1.1-1") || n == rpm && strings.TrimSpace(n.mustRun("rpm", "-q", "oaktool")) != "oaktool-1.1-1.x86_64" {
			t.Errorf("%s is not patched", n.name)
		}
		if runs := strings.Count(n.mustRun("oakum", "runs", "--local"), "Install"); runs != 1 {
			t.Errorf("%s was patched %d times", n.name, runs)
		}
	}

	// W6, as far as it is not about time.
	w6 := s.aws("ssm", "create-maintenance-window", "--name", "My-First-Maintenance-Window", "--schedule", "rate(5 minutes)", "--duration", "2", "--cutoff", "1",
		"--allow-unassociated-targets").at("WindowId").String()
	s.aws("ssm", "describe-maintenance-windows", "--filters", "Key=Name,Values=My", "Key=Enabled,Values=true").at("WindowIdentities", 0).is("WindowId", w6, "Schedule", "rate(5 minutes)", "Cutoff", 1)
	for _, targets := range []string{"Key=InstanceIds,Values=" + a.id, "Key=tag:Region,Values=East", "Key=tag-key,Values=Name,CostCenter"} {
		s.aws("ssm", "register-target-with-maintenance-window", "--window-id", w6, "--resource-type", "INSTANCE", "--targets", targets, "--owner-information", "CostCenter1", "--description", "d")
	}
	s.aws("ssm", "register-target-with-maintenance-window", "--window-id", w6, "--resource-type", "RESOURCE_GROUP", "--targets", "Key=resource-groups:Name,Values=MyGroup")
	list := s.aws("ssm", "describe-maintenance-window-targets", "--window-id", w6, "--filters", "Key=OwnerInformation,Values=CostCenter1")
	if list.at("Targets").len() != 3 {
		t.Errorf("targets: %s", list)
	}
	df := s.aws("ssm", "register-task-with-maintenance-window", "--window-id", w6, "--task-arn", "AWS-RunShellScript", "--max-concurrency", "1", "--max-errors", "1", "--priority", "10",
		"--targets", "Key=InstanceIds,Values="+a.id, "--task-type", "RUN_COMMAND", "--task-invocation-parameters",
		`{"RunCommand":{"Comment":"c","Parameters":{"commands":["df"]}}}`).at("WindowTaskId").String()
	s.aws("ssm", "register-task-with-maintenance-window", "--window-id", w6, "--task-arn", "AWS-RunShellScript", "--max-concurrency", "1", "--max-errors", "1", "--priority", "11",
		"--targets", "Key=InstanceIds,Values="+b.id, "--task-type", "RUN_COMMAND", "--task-invocation-parameters", `{"RunCommand":{"Parameters":{"LevelUp":["df"]}}}`)
	if v := s.aws("ssm", "describe-maintenance-window-tasks", "--window-id", w6, "--filters", "Key=Priority,Values=10", "Key=TaskType,Values=RUN_COMMAND"); v.at("Tasks").len() != 1 {
		t.Errorf("tasks: %s", v)
	}
	s.aws("ssm", "register-task-with-maintenance-window", "--window-id", w6, "--task-arn", "AWS-RestartEC2Instance", "--task-type", "AUTOMATION", "--priority", "12")
	_, text, err := s.awsRun("ssm", "register-task-with-maintenance-window", "--window-id", w6, "--task-arn", "AWS-RestartEC2Instance", "--task-type", "AUTOMATION", "--max-errors", "3")
	if err == nil || !strings.Contains(text, "Maintenance window tasks without targets don't support MaxErrors values") {
		t.Errorf("MaxErrors without targets: %v %s", err, text)
	}
	runs := s.aws("ssm", "describe-maintenance-window-schedule", "--window-id", w6, "--max-results", "4")
	if runs.at("ScheduledWindowExecutions").len() != 4 || runs.at("NextToken").String() == "" {
		t.Errorf("schedule: %s", runs)
	}
	if v := s.aws("ssm", "describe-maintenance-windows-for-target", "--resource-type", "INSTANCE", "--targets", "Key=InstanceIds,Values="+b.id); v.at("WindowIdentities").len() != 1 {
		t.Errorf("windows that reach %s by its tag: %s", b.id, v)
	}
	s.aws("ssm", "update-maintenance-window", "--window-id", w6, "--name", "Second", "--schedule", soon(3*time.Second))
	e = s.windowEnd(w6, time.Minute)
	e.is("Status", "FAILED")
	id = e.at("WindowExecutionId").String()
	tasks := s.aws("ssm", "describe-maintenance-window-execution-tasks", "--window-execution-id", id).at("WindowExecutionTaskIdentities")
	tasks.at(0).is("Status", "SUCCESS")
	tasks.at(1).is("Status", "FAILED", "StatusDetails", "The following SSM parameters are invalid: LevelUp")
	tasks.at(2).is("Status", "FAILED", "StatusDetails", "Task type AUTOMATION is not supported by this Oakum server")
	s.aws("ssm", "get-maintenance-window-execution-task", "--window-execution-id", id, "--task-id", tasks.at(0, "TaskExecutionId").String()).is("Priority", 10, "Type", "RUN_COMMAND")
	// W6.7
	first := list.at("Targets", 0, "WindowTargetId").String()
	u := s.aws("ssm", "update-maintenance-window-target", "--window-id", w6, "--window-target-id", first, "--replace", "--targets", "Key=InstanceIds,Values="+a.id)
	if u.at("Description").String() != "" || u.at("OwnerInformation").String() != "" {
		t.Errorf("after --replace: %s", u)
	}
	u = s.aws("ssm", "update-maintenance-window-task", "--window-id", w6, "--window-task-id", df, "--task-invocation-parameters", "RunCommand={OutputS3BucketName=out}")
	if u.at("TaskInvocationParameters", "RunCommand", "Comment").String() != "" {
		t.Errorf("after new parameters: %s", u)
	}
	s.aws("ssm", "update-maintenance-window", "--window-id", w6, "--no-enabled").is("Enabled", false)
	if v := s.aws("ssm", "get-maintenance-window", "--window-id", w6); v.at("NextExecutionTime").String() != "" {
		t.Errorf("a disabled window runs at %s", v.at("NextExecutionTime"))
	}
	// W6.8
	s.refused("TargetInUseException", "ssm", "deregister-target-from-maintenance-window", "--window-id", mw, "--window-target-id", target, "--safe")
	s.aws("ssm", "deregister-target-from-maintenance-window", "--window-id", mw, "--window-target-id", target)
	// W6.9
	long := s.aws("ssm", "create-maintenance-window", "--name", "long", "--schedule", soon(3*time.Second), "--duration", "2", "--cutoff", "1", "--allow-unassociated-targets").at("WindowId").String()
	s.aws("ssm", "register-task-with-maintenance-window", "--window-id", long, "--task-arn", "AWS-RunShellScript", "--max-concurrency", "1", "--max-errors", "1",
		"--targets", "Key=InstanceIds,Values="+a.id, "--task-type", "RUN_COMMAND", "--task-invocation-parameters", `{"RunCommand":{"Parameters":{"commands":["sleep 600"]}}}`)
	eventually(t, "the long task runs", time.Minute, func() bool {
		out, err := deb.run("pgrep", "-f", "sleep 600")
		return err == nil && out != ""
	})
	s.aws("ssm", "cancel-maintenance-window-execution", "--window-execution-id", s.aws("ssm", "describe-maintenance-window-executions", "--window-id", long).at("WindowExecutions", 0, "WindowExecutionId").String())
	s.windowEnd(long, time.Minute).is("Status", "CANCELLED")
	// W6.11
	for range 2 {
		s.aws("ssm", "delete-maintenance-window", "--window-id", w6).is("WindowId", w6)
	}
	s.refused("DoesNotExistException", "ssm", "get-maintenance-window", "--window-id", w6)
}
