//go:build linux

package acceptance

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootNode makes a node in which systemd runs, with this build's agent as its service.
func bootNode(t *testing.T, name string, args ...string) *debNode {
	t.Helper()
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		missing(t, "booted nodes: %v", err)
	}
	freshNode(name)
	n := newDebNode(t, name, append([]string{"--systemd"}, args...)...)
	n.boot()
	return n
}

func (n *debNode) boot() {
	n.t.Helper()
	if out, err := testbed("boot", n.name).CombinedOutput(); err != nil {
		n.t.Fatalf("boot %s: %v\n%s", n.name, err, out)
	}
}

// bootID identifies the running boot; empty while the node is down.
func (n *debNode) bootID() string {
	out, err := n.run("cat", "/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// serve registers a booted node and starts the agent as its service.
func (n *debNode) serve(s *installation, group string) *agent {
	n.t.Helper()
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value="+group)
	a := n.mustRegister(s, act, "/var/lib/oakum")
	n.mustRun("/usr/local/bin/oakum", "agent", "install")
	eventually(n.t, n.name+" online", time.Minute, func() bool {
		v := s.aws("ssm", "describe-instance-information", "--filters", "Key=InstanceIds,Values="+a.id)
		return v.at("InstanceInformationList").len() == 1 && v.at("InstanceInformationList", 0, "PingStatus").String() == "Online"
	})
	return a
}

// patch sends AWS-RunPatchBaseline to a node and waits for its end.
func (s *installation) patch(a *agent, parameters map[string]string) value {
	s.t.Helper()
	p := map[string][]string{}
	for k, v := range parameters {
		p[k] = []string{v}
	}
	b, err := json.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	began := time.Now()
	id := s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters", string(b)).at("Command", "CommandId").String()
	s.commandEnd(id, 6*time.Minute)
	s.t.Logf("AWS-RunPatchBaseline %v took %v", parameters, time.Since(began).Round(time.Second))
	g := s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", a.id, "--plugin-name", "PatchLinux")
	if text := g.at("StandardErrorContent").String(); text != "" {
		s.t.Logf("AWS-RunPatchBaseline %v ended with %s:\n%.4000s", parameters, g.at("ResponseCode"), text)
	}
	return g
}

func (s *installation) state(a *agent) value {
	s.t.Helper()
	return s.aws("ssm", "describe-instance-patch-states", "--instance-ids", a.id).at("InstancePatchStates", 0)
}

func (s *installation) compliance(a *agent) string {
	s.t.Helper()
	return s.aws("ssm", "list-resource-compliance-summaries", "--filters", "Key=ComplianceType,Values=Patch", "Key=InstanceId,Values="+a.id).
		at("ResourceComplianceSummaryItems", 0, "Status").String()
}

// Journey W4, steps 1 to 3: patch a real Debian node without its reboot, which comes later.
func TestW4CorrectiveControl(t *testing.T) {
	t.Parallel()
	n := bootNode(t, "corrective", "--outdated", "default")
	n.mustRun("apt-get", "-qq", "update") // the lists of its base may be of another day
	want := n.securityPending()
	if len(want) == 0 {
		t.Fatal("the node misses nothing")
	}
	s := install(t, "sqlite")
	a := n.serve(s, "web")
	// 1, 2
	g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot"})
	g.is("Status", "Success", "ResponseCode", 0)
	if left := n.securityPending(); len(left) != 0 {
		t.Errorf("after the install apt still offers %v", left)
	}
	st := s.state(a)
	st.is("Operation", "Install", "MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", len(want), "RebootOption", "NoReboot")
	if st.at("LastNoRebootInstallOperationTime").String() == "" {
		t.Error("LastNoRebootInstallOperationTime is not set")
	}
	if c := s.compliance(a); c != "NON_COMPLIANT" {
		t.Errorf("before the reboot the node is %s", c)
	}
	installed := st.at("InstalledCount").String()
	// 3
	old := n.bootID()
	n.mustRun("systemctl", "reboot")
	eventually(t, "the node is back", time.Minute, func() bool { b := n.bootID(); return b != "" && b != old })
	s.patch(a, map[string]string{"Operation": "Scan"}).is("Status", "Success")
	st = s.state(a)
	st.is("MissingCount", 0, "InstalledPendingRebootCount", 0, "Operation", "Scan")
	if st.at("InstalledCount").String() == installed {
		t.Errorf("InstalledCount stays %s after the reboot", installed)
	}
	if c := s.compliance(a); c != "COMPLIANT" {
		t.Errorf("after the reboot the node is %s", c)
	}
	// Nothing to do and nothing pending: no reboot.
	old = n.bootID()
	s.patch(a, map[string]string{"Operation": "Install"}).is("Status", "Success")
	if b := n.bootID(); b != old {
		t.Error("an install of nothing rebooted the node")
	}
}

// Journey W4, step 4: one command installs, reboots and reports.
func TestW4RebootIfNeeded(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakkernel 6.1.1-1 restart=yes
deb bookworm-security oakkernel 6.1.2-1 restart=yes
deb bookworm oakquiet 1.0-1
`)
	n := r.node(t, "reboot", []string{"oaktool", "oakkernel", "oakquiet"}, "--systemd")
	n.mustRun("rm", "-f", "/run/reboot-required", "/run/reboot-required.pkgs")
	n.boot()
	s := install(t, "sqlite")
	a := n.serve(s, "web")
	old := n.bootID()
	g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "RebootIfNeeded"})
	g.is("Status", "Success", "ResponseCode", 0)
	if b := n.bootID(); b == old || b == "" {
		t.Errorf("the boot id is %q, before it was %q", b, old)
	}
	s.state(a).is("Operation", "Install", "MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", 0, "RebootOption", "RebootIfNeeded")
	if c := s.compliance(a); c != "COMPLIANT" {
		t.Errorf("the node is %s", c)
	}
	list := s.aws("ssm", "list-command-invocations", "--command-id", g.at("CommandId").String()).at("CommandInvocations")
	if list.len() != 1 {
		t.Errorf("%d invocations", list.len())
	}
	if v := n.versions(); v["oaktool:all"] != "1.1-1" || v["oakkernel:all"] != "6.1.2-1" {
		t.Errorf("installed: %v", v)
	}
	runs := localRuns(t, n)
	if len(runs) != 1 || runs[0].Outcome != "Success" || runs[0].Reboots != 1 || len(runs[0].Changed) != 2 {
		t.Errorf("the node's runs: %+v", runs)
	}
	// RebootIfRequired: a package that asks for nothing does not reboot, one that asks does.
	r.build(`deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakkernel 6.1.1-1 restart=yes
deb bookworm-security oakkernel 6.1.2-1 restart=yes
deb bookworm oakquiet 1.0-1
deb bookworm-security oakquiet 1.1-1
`)
	old = n.bootID()
	s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "RebootIfRequired"}).is("Status", "Success")
	if b := n.bootID(); b != old {
		t.Error("RebootIfRequired rebooted for a package that asks for nothing")
	}
	s.state(a).is("MissingCount", 0, "InstalledPendingRebootCount", 0)
	r.build(`deb bookworm oakkernel 6.1.1-1 restart=yes
deb bookworm-security oakkernel 6.1.3-1 restart=yes
`)
	s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "RebootIfRequired"}).is("Status", "Success")
	if b := n.bootID(); b == old {
		t.Error("RebootIfRequired did not reboot for a package that asks for it")
	}
	s.state(a).is("MissingCount", 0, "InstalledPendingRebootCount", 0)
}

// Journey W4, step 6: one broken package does not keep the rest out, and is named.
func TestW4OneBrokenPackage(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakbroken 1.0-1
deb bookworm-security oakbroken 1.1-1 postinst="echo broken on purpose >&2; exit 1"
`)
	n := r.node(t, "broken", []string{"oaktool", "oakbroken"})
	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value=web")
	a := n.mustRegister(s, act, "/var/lib/oakum")
	a.start(t)
	s.online(1)
	g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot"})
	g.is("Status", "Failed", "ResponseCode", 1)
	first, _, _ := strings.Cut(g.at("StandardErrorContent").String(), "\n")
	if !strings.HasPrefix(first, "OAKUM PATCH_FAILED: ") || !strings.Contains(first, "oakbroken") {
		t.Errorf("the first line of stderr is %q", first)
	}
	if out := g.at("StandardOutputContent").String(); !strings.HasPrefix(out, "Patch Summary for "+a.id) || !strings.Contains(out, "broken on purpose") {
		t.Errorf("stdout:\n%s", out)
	}
	s.state(a).is("FailedCount", 1, "MissingCount", 0, "InstalledPendingRebootCount", 1, "Operation", "Install")
	rows := s.aws("ssm", "describe-instance-patches", "--instance-id", a.id, "--filters", "Key=State,Values=Failed").at("Patches")
	if rows.len() != 1 || rows.at(0, "KBId").String() != "oakbroken.all" {
		t.Errorf("failed patches: %v", rows)
	}
	if v := n.versions(); v["oaktool:all"] != "1.1-1" || v["oakbroken:all"] != "1.1-1 half-configured" {
		t.Errorf("installed: oaktool %s, oakbroken %s", v["oaktool:all"], v["oakbroken:all"])
	}
	// Undo puts the broken one back too.
	run := localRuns(t, n)[0]
	n.mustRun("/usr/local/bin/oakum", "undo", run.ID, "--yes")
	if v := n.versions(); v["oaktool:all"] != "1.0-1" || v["oakbroken:all"] != "1.0-1" {
		t.Errorf("after undo: oaktool %s, oakbroken %s", v["oaktool:all"], v["oakbroken:all"])
	}
}

// Journey W9: a list of patches to install in place of what the baseline approves.
func TestW9InstallOverrideList(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oaklist 1.0-1
deb bookworm oaklist 1.1-1
deb bookworm oaklist 1.2-1
deb bookworm oakrest 1.0-1
deb bookworm-security oakrest 1.1-1
`)
	n := r.node(t, "list", []string{"oaktool", "oaklist=1.0-1", "oakrest"})
	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value=web")
	a := n.mustRegister(s, act, "/var/lib/oakum")
	a.start(t)
	s.online(1)
	list := filepath.Join(t.TempDir(), "monthly.yaml")
	writeFile(t, list, "patches:\n  - id: 'oaklist.all'\n    title: 'oaklist.all:1.1*'\n  - id: 'oakto*'\n    note: ignored\n")
	s.aws("s3api", "put-object", "--bucket", "lists", "--key", "monthly.yaml", "--body", list)
	g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot", "InstallOverrideList": "s3://lists/monthly.yaml"})
	g.is("Status", "Success", "ResponseCode", 0)
	if v := n.versions(); v["oaktool:all"] != "1.1-1" || v["oaklist:all"] != "1.1-1" || v["oakrest:all"] != "1.0-1" {
		t.Errorf("installed: %v", v)
	}
	// Compliance is still the baseline's: what it approves and the list left out is missing.
	s.state(a).is("MissingCount", 1, "FailedCount", 0, "InstallOverrideList", "s3://lists/monthly.yaml")
	// A scan ignores the list.
	s.patch(a, map[string]string{"Operation": "Scan", "InstallOverrideList": "s3://lists/monthly.yaml"}).is("Status", "Success")
	st := s.state(a)
	st.is("MissingCount", 1)
	if l := st.at("InstallOverrideList").String(); l != "" {
		t.Errorf("a scan shows the list %q", l)
	}
	// With a BaselineOverride too it is refused before anything is sent.
	s.refused("InvalidParameters", "ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters",
		`{"Operation":["Install"],"InstallOverrideList":["s3://lists/monthly.yaml"],"BaselineOverride":["s3://lists/b.json"]}`)
	// A list that is not there fails the run, and nothing changes.
	g = s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot", "InstallOverrideList": "s3://lists/none.yaml"})
	g.is("Status", "Failed")
	if first, _, _ := strings.Cut(g.at("StandardErrorContent").String(), "\n"); !strings.HasPrefix(first, "OAKUM OVERRIDE: ") {
		t.Errorf("the first line of stderr is %q", first)
	}
}

// localRun is what "oakum runs --local --output json" says of an install.
type localRun struct {
	ID, Operation, Outcome, Phase, Text string
	Reboots, Resumes, Transactions      int
	Changed, Planned                    []struct{ Name, Old, New string }
	Failed                              map[string]struct{ Reason, Detail string }
}

func localRuns(t *testing.T, n *debNode) []localRun {
	t.Helper()
	var doc struct{ Runs []localRun }
	text := n.mustRun("/usr/local/bin/oakum", "runs", "--local", "--output", "json")
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("oakum runs --local: %v\n%s", err, text)
	}
	return doc.Runs
}
