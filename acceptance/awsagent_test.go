//go:build linux

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/mgs"
)

// TestAgentIsMovedAndMovedBack runs the script that points amazon-ssm-agent at the server, with a program in its place that
// writes down what it was asked.
func TestAgentIsMovedAndMovedBack(t *testing.T) {
	t.Parallel()
	n := newDebNode(t, "awsmove")
	s := install(t, "sqlite")
	at := func(name string) string { return filepath.Join(n.root, name) }
	resp, err := http.Get(s.url + "/ssm-agent.sh")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	script, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", resp.Status, err)
	}
	writeFile(t, at("root/move.sh"), string(script))
	const config = "etc/amazon/ssm/amazon-ssm-agent.json"
	run := func(wantErr string, args ...string) {
		t.Helper()
		out, err := n.run(append([]string{"sh", "/root/move.sh"}, args...)...)
		if (err != nil) != (wantErr != "") || !strings.Contains(out, wantErr) {
			t.Errorf("%v: %v %s, want %q", args, err, out, wantErr)
		}
	}
	run("amazon-ssm-agent is not installed here", "id", "code")
	writeFile(t, at("usr/local/bin/amazon-ssm-agent"), "#!/bin/sh\necho \"$@\" >>/root/asked\n[ ! -e /root/refuse ]\n")
	if err := os.Chmod(at("usr/local/bin/amazon-ssm-agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(at(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return string(b)
	}
	for _, before := range []string{"", `{"Profile":{"ShareCreds":true}}` + "\n"} { // without a configuration, and with one
		if before != "" {
			writeFile(t, at(config), before)
		}
		run("give the activation", "id")
		run("was not moved by this script", "--back")
		if got := read(config); got != before {
			t.Errorf("a refused call left %s", got)
		}
		writeFile(t, at("root/refuse"), "")
		run("it has its configuration of before", "id-0", "code-0")
		if got := read(config); got != before || read(config+".before-oakum") != "" {
			t.Errorf("a registration that was refused left %q", got)
		}
		if err := os.Remove(at("root/refuse")); err != nil {
			t.Fatal(err)
		}
		run("", "id-1", "code-1", "eu-west-1")
		run("", "id-2", "code-2") // again, with another activation
		var c struct{ Ssm, Mds, Mgs, S3, Kms struct{ Endpoint string } }
		if err := json.Unmarshal([]byte(read(config)), &c); err != nil || c.Ssm.Endpoint != s.url || c.Mgs.Endpoint != s.url || c.S3.Endpoint != s.url {
			t.Errorf("the configuration is %s, %v", read(config), err)
		}
		writeFile(t, at("root/refuse"), "")
		run("the registration could not be removed", "--back")
		if err := os.Remove(at("root/refuse")); err != nil {
			t.Fatal(err)
		}
		run("", "--back")
		if got := read(config); got != before || read(config+".before-oakum") != "" {
			t.Errorf("back at %q, want %q", got, before)
		}
	}
	want := strings.Repeat("-register -y -id id-0 -code code-0 -region us-east-1\n-register -y -id id-1 -code code-1 -region eu-west-1\n-register -y -id id-2 -code code-2 -region us-east-1\n-register -clear -y\n-register -clear -y\n", 2)
	if got := read("root/asked"); got != want {
		t.Errorf("the agent was asked\n%swant\n%s", got, want)
	}
}

// TestPatchedByAnotherAgent does by hand what an unmodified amazon-ssm-agent does with AWS-RunPatchBaseline: it takes the command
// from its control channel, writes the script of the step that is for this platform, runs it with the environment that it gives to
// steps, and replies. There is no oakum on the node: the script fetches the server's.
//
// proves R-02
func TestPatchedByAnotherAgent(t *testing.T) {
	t.Parallel()
	n := newDebNode(t, "awsagent", "--outdated", "default")
	if err := os.Remove(filepath.Join(n.root, "usr/local/bin/oakum")); err != nil {
		t.Fatal(err)
	}
	n.mustRun("apt-get", "-qq", "update")
	want := n.securityPending()
	if len(want) == 0 {
		t.Fatal("the node misses nothing")
	}
	s := install(t, "sqlite")
	as := servertest.Attach(t, s.url, s.dir)
	node := as.Nodes(1)[0]
	c, err := node.OpenChannel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	credentials := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", node.Session.AccessKeyID, node.Session.SecretAccessKey, node.Session.SessionToken)
	if err := os.MkdirAll(filepath.Join(n.root, "root/.aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(n.root, "root/.aws/credentials"), credentials)

	// next takes a command and returns the script of its Linux step with the parameters in their places.
	next := func() (job mgs.Job, commandID, script string) {
		f, err := c.Next(t.Context(), mgs.AgentJob, &job)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ack(t.Context(), f, job.JobID, mgs.Successful); err != nil {
			t.Fatal(err)
		}
		var p struct {
			CommandId       string
			Parameters      map[string]string
			DocumentContent struct {
				Parameters map[string]struct{ Default string }
				MainSteps  []struct {
					Name   string
					Inputs struct{ RunCommand []string }
				}
			}
		}
		if err := json.Unmarshal([]byte(job.Content), &p); err != nil {
			t.Fatal(err)
		}
		for _, st := range p.DocumentContent.MainSteps {
			if st.Name == "PatchLinux" {
				script = strings.Join(st.Inputs.RunCommand, "\n")
			}
		}
		script = regexp.MustCompile(`\{\{ (\w+) \}\}`).ReplaceAllStringFunc(script, func(ref string) string {
			name := strings.Trim(ref, "{ }")
			if v, ok := p.Parameters[name]; ok {
				return v
			}
			return p.DocumentContent.Parameters[name].Default
		})
		return job, p.CommandId, script
	}
	run := func(commandID, script string) (out string, code int) {
		writeFile(t, filepath.Join(n.root, "root/_script.sh"), script)
		out, err := n.run("env", "-u", "OAKUM_BIN", "AWS_SSM_INSTANCE_ID="+node.ID, "AWS_SSM_REGION_NAME=us-east-1", "AWS_SSM_PLATFORM_NAME=Debian GNU/Linux",
			"SSM_COMMAND_ID="+commandID, "AWS_SHARED_CREDENTIALS_FILE=/root/.aws/credentials", "sh", "/root/_script.sh")
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return out, e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		return out, 0
	}
	// patch sends a command, runs it and replies with its end.
	patch := func(wantCode int, parameters ...string) (commandID, out string) {
		t.Helper()
		args := append([]string{"ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", node.ID, "--parameters"}, strings.Join(parameters, ","))
		s.aws(args...)
		job, commandID, script := next()
		out, code := run(commandID, script)
		if code != wantCode {
			t.Fatalf("%v ended with %d, want %d:\n%s", parameters, code, wantCode, out)
		}
		status := map[int]string{0: "Success", 194: "SuccessAndReboot"}[code]
		now := time.Now().UTC().Format(time.RFC3339)
		content, err := servertest.ReplyPayload(status, map[string]servertest.Step{"PatchLinux": {Status: status, Plugin: "aws:runShellScript", Code: code, Stdout: out, Started: now, Ended: now}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Reply(t.Context(), job.JobID, content); err != nil {
			t.Fatal(err)
		}
		return commandID, out
	}
	state := func() value {
		t.Helper()
		return s.aws("ssm", "describe-instance-patch-states", "--instance-ids", node.ID).at("InstancePatchStates", 0)
	}
	kept := func() []string {
		list, err := filepath.Glob(filepath.Join(n.root, "var/lib/oakum/bin/*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}

	id, out := patch(0, "Operation=Scan")
	if !strings.HasPrefix(out, "Patch Summary for "+node.ID+"\n") {
		t.Errorf("the output begins with %.200s", out)
	}
	state().is("MissingCount", len(want), "Operation", "Scan")
	s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", node.ID, "--plugin-name", "PatchLinux").is("Status", "Success", "ResponseCode", 0)
	if list := kept(); len(list) != 1 {
		t.Fatalf("kept: %v", list)
	}
	before, err := os.Stat(kept()[0])
	if err != nil {
		t.Fatal(err)
	}
	patch(0, "Operation=Install", "RebootOption=NoReboot")
	state().is("MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", len(want), "Operation", "Install", "RebootOption", "NoReboot")
	if after, err := os.Stat(kept()[0]); err != nil || !os.SameFile(before, after) {
		t.Errorf("the program was fetched again: %v", err)
	}
	if left := n.securityPending(); len(left) > 0 {
		t.Errorf("apt would still upgrade %v", left)
	}
	patch(194, "Operation=Install") // the reboot that is owed; the step runs again after it

	// What the server does not vouch for is not run.
	s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", node.ID, "--parameters", "Operation=Scan")
	_, commandID, script := next()
	if err := os.Truncate(kept()[0], 0); err != nil { // a power cut after it was fetched
		t.Fatal(err)
	}
	if out, code := run(commandID, script); code != 0 || !strings.HasPrefix(out, "Patch Summary for ") {
		t.Errorf("with an empty program: %d %s", code, out)
	}
	sum := strings.TrimPrefix(filepath.Base(kept()[0]), "oakum-")
	if out, code := run(commandID, strings.ReplaceAll(script, sum, strings.Repeat("0", 64))); code != 1 || !strings.Contains(out, "OAKUM NOEXEC: what "+s.url+"/oakum/bin/oakum-linux-") {
		t.Errorf("another checksum: %d %s", code, out)
	}
	if out, code := run(commandID, strings.ReplaceAll(script, sum, "")); code != 1 || !strings.Contains(out, "OAKUM NOEXEC: the server has no program oakum-linux-") {
		t.Errorf("no checksum: %d %s", code, out)
	}
	if list := kept(); len(list) != 1 {
		t.Errorf("a refused program stays: %v", list)
	}
	// Credentials that are no longer good give their reason in the first line.
	writeFile(t, filepath.Join(n.root, "root/.aws/credentials"), "[default]\n")
	if out, code := run(commandID, script); code != 1 || !strings.HasPrefix(out, "OAKUM ") {
		t.Errorf("without credentials: %d %s", code, out)
	}
}

// TestAmazonSSMAgent runs an unmodified amazon-ssm-agent on a node: it registers over TLS, takes a script and a scan. The folder
// with its programs is OAKUM_SSM_AGENT.
func TestAmazonSSMAgent(t *testing.T) {
	programs := os.Getenv("OAKUM_SSM_AGENT")
	if programs == "" {
		t.Skip("OAKUM_SSM_AGENT does not name a folder with amazon-ssm-agent, ssm-agent-worker and ssm-document-worker: nothing is shown about the real agent")
	}
	n := newDebNode(t, "ssmagent", "--outdated", "default")
	n.mustRun("apt-get", "-qq", "-y", "install", "ca-certificates", "curl")
	for _, name := range []string{"amazon-ssm-agent", "ssm-agent-worker", "ssm-document-worker"} {
		b, err := os.ReadFile(filepath.Join(programs, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(n.root, "usr/bin", name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &installation{t: t, dir: t.TempDir()}
	s.start("https://127.0.0.1:0")
	t.Cleanup(s.stop)
	t.Setenv("AWS_CA_BUNDLE", filepath.Join(s.dir, "ca.pem"))
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole")
	n.mustRun("sh", "-c", fmt.Sprintf("curl -fsSk %s/ssm-agent.sh | sh -s -- %s %s", s.url, act.at("ActivationId"), act.at("ActivationCode")))
	l := n.live(t)
	agent := l.command("/usr/bin/amazon-ssm-agent")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	id := s.online(1).at("InstanceInformationList", 0, "InstanceId").String()
	for _, c := range []struct{ document, parameters, step string }{
		{"AWS-RunShellScript", "commands=echo hello", "aws:runShellScript"},
		{"AWS-RunPatchBaseline", "Operation=Scan", "PatchLinux"},
	} {
		sent := s.aws("ssm", "send-command", "--document-name", c.document, "--instance-ids", id, "--parameters", c.parameters).at("Command", "CommandId").String()
		s.commandEnd(sent, 5*time.Minute).is("Status", "Success")
		s.aws("ssm", "get-command-invocation", "--command-id", sent, "--instance-id", id, "--plugin-name", c.step).is("Status", "Success", "ResponseCode", 0)
	}
	s.aws("ssm", "describe-instance-patch-states", "--instance-ids", id).at("InstancePatchStates", 0).is("Operation", "Scan", "FailedCount", 0)
}
