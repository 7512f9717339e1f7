//go:build linux

package acceptance

import (
	"strings"
	"testing"
	"time"
)

// runEnd waits for the newest execution of an association to end, the nth.
func (s *installation) runEnd(id string, n int, limit time.Duration) value {
	s.t.Helper()
	var v value
	eventually(s.t, "the end of the association's run", limit, func() bool {
		v = s.aws("ssm", "describe-association-executions", "--association-id", id)
		return v.at("AssociationExecutions").len() == n && v.at("AssociationExecutions", 0, "Status").String() != "Pending"
	})
	return v.at("AssociationExecutions", 0)
}

// Associations and journey W11, with the real AWS CLI on real nodes: a scan that is kept up by State Manager, also over a
// kill of the server and for a node that comes later, and Patch now built on it.
func TestW11AssociationsAndPatchNow(t *testing.T) {
	t.Parallel()
	s := install(t, "sqlite")
	r := newAptRepo(t, "deb bookworm oaktool 1.0-1\ndeb bookworm-security oaktool 1.1-1\n")
	n, m := r.node(t, "assocone", []string{"oaktool"}), r.node(t, "assoctwo", []string{"oaktool"})
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--registration-limit", "2", "--tags", "Key=PatchGroup,Value=web")
	a := n.mustRegister(s, act, "/var/lib/oakum")
	a.start(t)
	s.online(1)

	d := s.aws("ssm", "create-association", "--name", "AWS-RunPatchBaseline", "--association-name", "nightly", "--targets", "Key=tag:PatchGroup,Values=web",
		"--schedule-expression", "cron(0 2 ? * * *)", "--parameters", "Operation=Scan", "--compliance-severity", "HIGH", "--max-concurrency", "10%", "--max-errors", "1",
		"--output-location", "S3Location={OutputS3BucketName=logs,OutputS3KeyPrefix=scans}").at("AssociationDescription")
	id := d.at("AssociationId").String()
	d.is("AssociationVersion", "1", "DocumentVersion", "$DEFAULT")
	// The server is killed before or while the first run goes: it goes on.
	listen := s.url
	s.kill()
	s.start(listen)
	e := s.runEnd(id, 1, time.Minute)
	e.is("Status", "Success", "ResourceCountByStatus", "{Success=1}")
	target := s.aws("ssm", "describe-association-execution-targets", "--association-id", id, "--execution-id", e.at("ExecutionId").String()).at("AssociationExecutionTargets", 0)
	target.is("ResourceId", a.id, "ResourceType", "ManagedInstance", "Status", "Success")
	s.state(a).is("MissingCount", 1, "Operation", "Scan", "SnapshotId", e.at("ExecutionId").String())
	if out := s.mustOakum("s3", "ls", "s3://logs", "--recursive"); !strings.Contains(out, "scans/"+target.at("OutputSource", "OutputSourceId").String()+"/"+a.id) {
		t.Errorf("output in the bucket:\n%s", out)
	}
	item := s.aws("ssm", "list-compliance-items", "--resource-ids", a.id, "--resource-types", "ManagedInstance", "--filters", "Key=ComplianceType,Values=Association,Type=EQUAL").at("ComplianceItems", 0)
	item.is("Id", id, "Status", "COMPLIANT", "Severity", "HIGH")

	// A node that registers later is run by itself; an update runs all of them.
	b := m.mustRegister(s, act, "/var/lib/oakum")
	b.start(t)
	s.runEnd(id, 2, time.Minute).is("Status", "Success", "ResourceCountByStatus", "{Success=1}")
	s.state(b).is("MissingCount", 1)
	u := s.aws("ssm", "update-association", "--association-id", id, "--association-name", "weekly", "--schedule-expression", "rate(7 days)", "--parameters", "Operation=Scan").at("AssociationDescription")
	u.is("AssociationVersion", "2", "AssociationName", "weekly")
	if u.at("ComplianceSeverity").String() != "" || u.at("OutputLocation").String() != "" {
		t.Errorf("what the update does not name is still there: %s", u)
	}
	s.runEnd(id, 3, time.Minute).is("Status", "Success", "ResourceCountByStatus", "{Success=2}")
	if out := s.mustOakum("associations", "weekly"); !strings.Contains(out, "rate(7 days)") || !strings.Contains(out, b.id) {
		t.Errorf("oakum associations weekly:\n%s", out)
	}

	// W11.4
	out, errs, err := s.oakum("patch-now", "--operation", "Install", "--node", a.id, "--reboot-option", "NoReboot", "--yes", "--bucket", "logs")
	if err != nil || !strings.Contains(errs, "1 patch installed on 1 node, 0 failed, 1 pending a reboot") || !strings.Contains(out, a.id) {
		t.Errorf("oakum patch-now = %v\n%s\n%s", err, out, errs)
	}
	if v := n.versions(); v["oaktool:all"] != "1.1-1" {
		t.Errorf("%s has oaktool %s", n.name, v["oaktool:all"])
	}
	list := s.aws("ssm", "list-associations", "--association-filter-list", "key=AssociationName,value=AWS-PatchNowAssociation").at("Associations")
	if list.len() != 1 {
		t.Fatalf("associations of Patch now: %s", list)
	}
	now := list.at(0, "AssociationId").String()
	s.runEnd(now, 1, time.Minute).is("Status", "Success", "ResourceCountByStatus", "{Success=1}")
	s.aws("ssm", "describe-association", "--association-id", now).at("AssociationDescription").is("MaxConcurrency", "1", "MaxErrors", "1")
	if out := s.mustOakum("patch-now", "--recent"); !strings.Contains(out, now) || !strings.Contains(out, "1 Success") {
		t.Errorf("oakum patch-now --recent:\n%s", out)
	}
}
