//go:build linux

package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/oakum"
)

// hookDocument writes down in /tmp/hooks that it ran and what it was told, and does what the file of its name says.
const hookDocument = `schemaVersion: "2.2"
description: Writes down what it is told
mainSteps:
- action: aws:runShellScript
  name: noteIt
  inputs:
    runCommand:
    - |
      echo "$OAKUM_HOOK $OAKUM_OPERATION code=$OAKUM_PATCH_EXIT_CODE missing=$OAKUM_MISSING_COUNT rebooted=$OAKUM_REBOOTED" >>/tmp/hooks
      echo "this is $OAKUM_HOOK"
      [ -e "$OAKUM_INSTALLED_JSON" ] && cp "$OAKUM_INSTALLED_JSON" "/tmp/$OAKUM_HOOK.json"
      if [ -e /tmp/do-NAME ]; then . /tmp/do-NAME; fi
`

// hooked is a node on which commands with hooks are tried out.
type hooked struct {
	*agent
	s   *installation
	dir string
}

func newHooked(t *testing.T, s *installation, a *agent) *hooked {
	t.Helper()
	h := &hooked{agent: a, s: s, dir: t.TempDir()}
	for _, name := range []string{"Pre", "Post", "Exit"} {
		h.document("Hook-"+name, strings.ReplaceAll(hookDocument, "NAME", strings.ToLower(name)))
	}
	return h
}

func (h *hooked) document(name, text string) {
	h.s.t.Helper()
	file := filepath.Join(h.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.s.t.Fatal(err)
	}
	h.s.aws("ssm", "create-document", "--name", name, "--document-format", "YAML", "--document-type", "Command", "--content", "file://"+file)
}

// do writes a file of the node.
func (h *hooked) write(name, text string) {
	h.s.t.Helper()
	if err := os.WriteFile(filepath.Join(h.n.root, name), []byte(text), 0o644); err != nil {
		h.s.t.Fatal(err)
	}
}

func (h *hooked) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(h.n.root, name))
	return string(b)
}

// send sends AWS-RunPatchBaselineWithHooks with the three hooks.
func (h *hooked) send(pairs ...string) string {
	h.s.t.Helper()
	p := map[string][]string{"PreInstallHookDocName": {"Hook-Pre"}, "PostInstallHookDocName": {"Hook-Post"}, "OnExitHookDocName": {"Hook-Exit"}}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = []string{pairs[i+1]}
	}
	b, err := json.Marshal(p)
	if err != nil {
		h.s.t.Fatal(err)
	}
	return h.s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaselineWithHooks", "--instance-ids", h.id, "--parameters", string(b)).at("Command", "CommandId").String()
}

// steps is how the steps of a command for this platform ended, in their order.
func (h *hooked) steps(id string) string {
	h.s.t.Helper()
	var out []string
	list := h.s.aws("ssm", "list-command-invocations", "--command-id", id, "--details").at("CommandInvocations", 0, "CommandPlugins")
	for i := range list.len() {
		p := list.at(i)
		if strings.HasSuffix(p.at("Name").String(), "Windows") {
			continue
		}
		text := p.at("Name").String() + " " + p.at("StatusDetails").String()
		if strings.HasPrefix(p.at("Output").String(), "Step skipped: ") {
			text += " (skipped)"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (h *hooked) step(id, name string) value {
	h.s.t.Helper()
	return h.s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", h.id, "--plugin-name", name)
}

// W10 and W4 variant: AWS-RunPatchBaselineWithHooks by the AWS CLI on a real node.
func TestPatchHooks(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakslow 1.0-1
deb bookworm-security oakslow 1.1-1
`)
	n := r.node(t, "hooks", []string{"oaktool", "oakslow"})
	s := install(t, "sqlite")
	h := newHooked(t, s, n.mustRegister(s, s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole"), "/var/lib/oakum"))
	h.start(t)
	s.online(1)
	version := func(name string) string { return strings.TrimSpace(n.mustRun("dpkg-query", "-Wf", "${Version}", name)) }

	// What no node could do is refused.
	for parameters, code := range map[string]string{
		"Operation=Install,PreInstallHookDocName=Nonsense":                                                             "InvalidDocument",
		"Operation=Install,BaselineOverride=https://example.com/b.json,InstallOverrideList=https://example.com/l.yaml": "InvalidParameters",
		"Operation=Install,OnExitHookDocName=AWS-RunShellScript":                                                       "InvalidParameters", // it needs commands
	} {
		s.refused(code, "ssm", "send-command", "--document-name", "AWS-RunPatchBaselineWithHooks", "--instance-ids", h.id, "--parameters", parameters)
	}

	// A script from a bucket of the server, by a document that another one runs.
	script := filepath.Join(h.dir, "hello.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"hello $1 from $PWD\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.aws("s3api", "put-object", "--bucket", "scripts", "--key", "a/hello.sh", "--body", script)
	id := s.aws("ssm", "send-command", "--document-name", "AWS-RunDocument", "--instance-ids", h.id, "--parameters", `{"sourceType":["SSMDocument"],"documentPath":["AWS-RunRemoteScript"],`+
		`"documentParameters":["{\"sourceType\":\"S3\",\"sourceInfo\":{\"path\":\"s3://scripts/a/hello.sh\"},\"commandLine\":\"hello.sh world\"}"]}`).at("Command", "CommandId").String()
	s.commandEnd(id, time.Minute).is("Status", "Success")
	if got := h.step(id, "runDocument").at("StandardOutputContent").String(); !strings.HasPrefix(got, "Content downloaded to /") || !strings.Contains(got, "\nhello world from /var/lib/oakum/commands/") {
		t.Errorf("AWS-RunRemoteScript: %s", got)
	}

	// A scan runs no hook.
	id = h.send("Operation", "Scan")
	s.commandEnd(id, time.Minute).is("Status", "Success")
	if got, want := h.steps(id), "PatchScan Success, CheckState Success, PreInstallHook Success (skipped), InstallNoReboot Success (skipped), "+
		"PostInstallHook Success (skipped), CheckReboot Success (skipped), RebootAndReport Success (skipped), OnExitHook Success (skipped)"; got != want {
		t.Errorf("a scan: %s\nwant %s", got, want)
	}
	h.step(id, "PreInstallHook").is("StandardOutputContent", "Step skipped: Operation is Scan: nothing is installed", "StandardErrorContent", "")
	if got := h.step(id, "PatchScan").at("StandardOutputContent").String(); !strings.HasPrefix(got, "Patch Summary for "+h.id) {
		t.Errorf("the output of the scan: %s", got)
	}
	if got := h.read("tmp/hooks"); got != "" {
		t.Errorf("a scan ran hooks: %s", got)
	}
	if out := s.mustOakum("runs", id, h.id); !strings.Contains(out, "\nPreInstallHook: Skipped: Operation is Scan: nothing is installed\n") || strings.Contains(out, "Windows") {
		t.Errorf("oakum runs: %s", out)
	}

	// A hook that fails before the installation prevents it; the exit hook runs.
	h.write("tmp/do-pre", "exit 7\n")
	id = h.send("Operation", "Install", "RebootOption", "NoReboot")
	s.commandEnd(id, time.Minute).is("Status", "Failed")
	if got, want := h.steps(id), "PatchScan Success, CheckState Success, PreInstallHook Failed, InstallNoReboot Success (skipped), "+
		"PostInstallHook Success (skipped), CheckReboot Success (skipped), RebootAndReport Success (skipped), OnExitHook Success"; got != want {
		t.Errorf("a failing hook: %s\nwant %s", got, want)
	}
	if got, want := h.read("tmp/hooks"), "pre-install Install code=0 missing=2 rebooted=0\non-exit Install code=0 missing=2 rebooted=0\n"; got != want {
		t.Errorf("the hooks ran:\n%swant\n%s", got, want)
	}
	h.step(id, "PreInstallHook").is("ResponseCode", 1, "StandardOutputContent", "this is pre-install\n")
	h.step(id, "InstallNoReboot").is("StandardOutputContent", "Step skipped: PreInstallHook ended as Failed")
	if v := version("oaktool"); v != "1.0-1" {
		t.Errorf("oaktool %s was installed after the hook had failed", v)
	}

	// A hook that fails after the installation: the exit hook knows what was installed.
	h.write("tmp/do-pre", "")
	h.write("tmp/do-post", "exit 3\n")
	h.write("tmp/hooks", "")
	id = h.send("Operation", "Install", "RebootOption", "NoReboot", "InstallOverrideList", "")
	s.commandEnd(id, time.Minute).is("Status", "Failed")
	if got, want := h.steps(id), "PatchScan Success, CheckState Success, PreInstallHook Success, InstallNoReboot Success, "+
		"PostInstallHook Failed, CheckReboot Success (skipped), RebootAndReport Success (skipped), OnExitHook Success"; got != want {
		t.Errorf("a failing hook: %s\nwant %s", got, want)
	}
	if got, want := h.read("tmp/hooks"), "pre-install Install code=0 missing=2 rebooted=0\npost-install Install code=0 missing=0 rebooted=0\non-exit Install code=0 missing=0 rebooted=0\n"; got != want {
		t.Errorf("the hooks ran:\n%swant\n%s", got, want)
	}
	if got := h.read("tmp/on-exit.json"); !strings.Contains(got, `"Name": "oaktool"`) || !strings.Contains(got, `"To": "1.1-1"`) {
		t.Errorf("OAKUM_INSTALLED_JSON: %s", got)
	}
	if v := version("oaktool"); v != "1.1-1" {
		t.Errorf("oaktool %s", v)
	}

	// Nothing is left to do: only the exit hook runs.
	h.write("tmp/do-post", "")
	h.write("tmp/hooks", "")
	id = h.send("Operation", "Install", "RebootOption", "NoReboot")
	s.commandEnd(id, time.Minute).is("Status", "Success")
	if got := h.read("tmp/hooks"); got != "on-exit Install code=0 missing=0 rebooted=0\n" {
		t.Errorf("the hooks ran:\n%s", got)
	}

	// AWS-RunPatchBaselineAssociation: the baseline that a tag selects judges, and one item tells of the association.
	const association = "11111111-2222-4333-8444-555555555555"
	baseline := func(name, approval string) string {
		return s.aws("ssm", "create-patch-baseline", "--name", name, "--operating-system", "DEBIAN", "--tags", "Key=stage,Value=test", "--approval-rules", approval).at("BaselineId").String()
	}
	chosen := baseline("Chosen", "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=PRODUCT,Values=[Debian12]}]},ApproveAfterDays=0}]")
	n.mustRun("apt-get", "-y", "--allow-downgrades", "install", "oaktool=1.0-1")
	associate := func() (id, errors string) {
		id = s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaselineAssociation", "--instance-ids", h.id, "--parameters",
			`{"Operation":["Scan"],"AssociationId":["`+association+`"],"BaselineTags":["Key=stage,Values=test,more"]}`).at("Command", "CommandId").String()
		s.commandEnd(id, time.Minute)
		return id, h.step(id, "PatchLinux").at("StandardErrorContent").String()
	}
	before := s.state(h.agent).at("OperationEndTime").String()
	if id, errors := associate(); errors != "" {
		t.Errorf("AWS-RunPatchBaselineAssociation %s: %s", id, errors)
	}
	items := s.aws("ssm", "list-compliance-items", "--resource-ids", h.id, "--resource-types", "ManagedInstance", "--filters", "Key=ComplianceType,Values=Association").at("ComplianceItems")
	if items.len() != 1 {
		t.Fatalf("the association's compliance: %v", items)
	}
	items.at(0).is("Id", association, "Status", "NON_COMPLIANT")
	items.at(0, "Details").is("PatchBaselineId", chosen, "DocumentName", "AWS-RunPatchBaselineAssociation")
	if after := s.state(h.agent).at("OperationEndTime").String(); after != before {
		t.Error("it changed the node's patch state")
	}
	baseline("Other", "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=PRODUCT,Values=[Debian12]}]},ApproveAfterDays=0}]")
	if _, errors := associate(); !strings.HasPrefix(errors, "OAKUM BASELINE_LOOKUP: ") || !strings.Contains(errors, "only one may carry that key and value") {
		t.Errorf("with two baselines that carry the tag: %s", errors)
	}

	// All that runs on the node is killed while a hook does: nothing is installed, and the exit hook runs.
	h.write("tmp/hooks", "")
	h.write("tmp/do-pre", "sleep 60\n")
	id = h.send("Operation", "Install", "RebootOption", "NoReboot")
	eventually(t, "the hook begins", time.Minute, func() bool { return h.read("tmp/hooks") != "" })
	h.stop()
	h.start(t)
	s.commandEnd(id, time.Minute).is("Status", "Failed")
	if got, want := h.read("tmp/hooks"), "pre-install Install code=0 missing=1 rebooted=0\non-exit Install code=0 missing=1 rebooted=0\n"; got != want {
		t.Errorf("after the crash the hooks ran:\n%swant\n%s", got, want)
	}
	if got := h.step(id, "PreInstallHook").at("StandardErrorContent").String(); !strings.HasPrefix(got, "OAKUM INTERRUPTED: step noteIt was running when") {
		t.Errorf("the hook that was killed: %s", got)
	}

	// Cancelled in the middle: what the first hook has changed is put right.
	h.write("tmp/hooks", "")
	id = h.send("Operation", "Install", "RebootOption", "NoReboot")
	eventually(t, "the hook begins", time.Minute, func() bool { return h.read("tmp/hooks") != "" })
	s.aws("ssm", "cancel-command", "--command-id", id)
	s.commandEnd(id, time.Minute).is("Status", "Cancelled")
	if got := h.read("tmp/hooks"); !strings.HasPrefix(got, "pre-install ") || !strings.HasSuffix(got, "on-exit Install code=0 missing=1 rebooted=0\n") {
		t.Errorf("after the cancellation the hooks ran:\n%s", got)
	}
	if v := version("oaktool"); v != "1.0-1" {
		t.Errorf("oaktool %s was installed by a cancelled command", v)
	}
}

// rebootNow waits until a reboot is announced, which is a minute before it comes, and does not wait for that.
func (l *living) rebootNow() {
	l.t.Helper()
	eventually(l.t, "a reboot is announced", time.Minute, func() bool {
		_, err := l.run("test", "-e", "/run/systemd/shutdown/scheduled")
		return err == nil
	})
	l.mustRun("systemctl", "reboot")
}

// With a reboot in the middle, and the agent killed while a hook runs; then Oakum-RebootAndReport.
func TestPatchHooksReboot(t *testing.T) {
	t.Parallel()
	needNspawn(t)
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
`)
	l := &living{debNode: r.node(t, "hookboot", []string{"oaktool"}, "--systemd")}
	l.boot()
	l.find(t)
	s := install(t, "sqlite")
	h := newHooked(t, s, l.serve(s, "web"))
	inside := func(path string) string { out, _ := l.run("cat", path); return out }
	l.mustRun("sh", "-c", "echo 'while ! [ -e /root/go-on ]; do sleep 0.1; done' >/tmp/do-pre; echo 'cp /tmp/hooks /root/hooks-before' >/tmp/do-post")
	old := l.bootID()
	id := h.send("Operation", "Install")
	eventually(t, "the hook begins", time.Minute, func() bool { return inside("/tmp/hooks") != "" })
	killed := false
	for _, p := range l.processes() {
		if isAgent(p) {
			killed = syscall.Kill(p.pid, syscall.SIGKILL) == nil
		}
	}
	if !killed {
		t.Fatal("no agent was running")
	}
	l.mustRun("touch", "/root/go-on")
	l.rebootNow()
	s.commandEnd(id, 3*time.Minute).is("Status", "Success")
	if got, want := h.steps(id), "PatchScan Success, CheckState Success, PreInstallHook Success, InstallNoReboot Success, PostInstallHook Success, "+
		"CheckReboot Success, RebootAndReport Success, OnExitHook Success"; got != want {
		t.Errorf("the steps: %s\nwant %s", got, want)
	}
	if b := l.bootID(); b == old {
		t.Error("the node was not rebooted")
	}
	got := inside("/root/hooks-before") + "--\n" + inside("/tmp/hooks") // /tmp does not outlive a boot
	if want := "pre-install Install code=0 missing=1 rebooted=0\npost-install Install code=0 missing=0 rebooted=0\n--\non-exit Install code=0 missing=0 rebooted=1\n"; got != want {
		t.Errorf("the hooks ran:\n%swant\n%s", got, want)
	}
	if got := inside("/tmp/on-exit.json"); !strings.Contains(got, `"To": "1.1-1"`) {
		t.Errorf("OAKUM_INSTALLED_JSON after the reboot: %s", got)
	}
	s.state(h.agent).is("MissingCount", 0, "InstalledPendingRebootCount", 0)
	var last oakum.GetPatchResultOutput // the last report is that of the step that rebooted; the command has installed something all the same
	client := servertest.Attach(t, s.url, s.dir)
	if err := client.Call(t.Context(), client.Admin, "oakum", "GetPatchResult", &oakum.GetPatchResultInput{InstanceId: &h.id}, &last); err != nil {
		t.Fatal(err)
	}
	if head, err := compliance.DecodeHeader([]byte(*last.Header)); err != nil || head.Install == nil || len(head.Install.Changes) != 1 || head.Install.Changes[0].New != "1.1-1" {
		t.Errorf("what the command has installed: %s, %v", *last.Header, err)
	}

	// A reboot that nobody needs does not happen; one that is asked for does, once.
	l.mustRun("sh", "-c", "rm -f /tmp/hooks /root/go-on")
	for _, only := range []string{"true", "false"} {
		old = l.bootID()
		id = s.aws("ssm", "send-command", "--document-name", "Oakum-RebootAndReport", "--instance-ids", h.id, "--parameters", "PostRebootHookDocName=Hook-Exit,OnlyIfPending="+only).at("Command", "CommandId").String()
		if only == "false" {
			l.rebootNow()
		}
		s.commandEnd(id, 2*time.Minute).is("Status", "Success")
		if got, want := h.steps(id), "RebootNode Success, PatchScan Success, PostRebootHook Success"; got != want {
			t.Errorf("OnlyIfPending=%s: %s\nwant %s", only, got, want)
		}
		rebooted := map[string]string{"true": "0", "false": "1"}[only]
		if got, want := inside("/tmp/hooks"), "post-reboot Scan code=0 missing=0 rebooted="+rebooted+"\n"; got != want {
			t.Errorf("OnlyIfPending=%s: the hook ran: %s, want %s", only, got, want)
		}
		if b := l.bootID(); (b != old) != (only == "false") {
			t.Errorf("OnlyIfPending=%s: boot %s, before %s", only, b, old)
		}
	}
}
