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

// running reports whether any process of this machine has the word in its command line.
func running(word string) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(strings.ReplaceAll(string(b), "\x00", " "), word) && !strings.Contains(string(b), "send-command") {
			return true
		}
	}
	return false
}

// Journey W2: run a command and read it. Step 5 needs a node that boots; step 10 is TestOwnDocument.
func TestW2RunCommand(t *testing.T) {
	n := newDebNode(t, "command")
	engines(t, func(t *testing.T, s *installation) {
		n.t = t
		state := "/var/lib/oakum-" + strings.ReplaceAll(t.Name(), "/", "-")
		act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--registration-limit", "20", "--tags", "Key=Env,Value=w2")
		a := n.mustRegister(s, act, state)
		a.start(t)
		s.online(1)
		send := func(script string, more ...string) value {
			return s.aws(append([]string{"ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", "commands=[\"" + script + "\"]", "--targets", "Key=instanceids,Values=" + a.id}, more...)...).at("Command")
		}
		get := func(id string) value {
			return s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", a.id)
		}
		// 1
		cmd := send("echo HelloWorld", "--comment", "echo")
		cmd.is("Status", "Pending", "TargetCount", 1, "MaxConcurrency", "50", "MaxErrors", "0", "Comment", "echo")
		if d := cmd.at("ExpiresAfter").time().Sub(cmd.at("RequestedDateTime").time()); d != 7200*time.Second {
			t.Errorf("ExpiresAfter - RequestedDateTime = %v", d)
		}
		// 2
		id := cmd.at("CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Success", "CompletedCount", 1, "ErrorCount", 0)
		v := s.aws("ssm", "list-command-invocations", "--command-id", id, "--details").at("CommandInvocations", 0)
		v.is("Status", "Success", "InstanceId", a.id)
		v.at("CommandPlugins", 0).is("Output", "HelloWorld\n", "ResponseCode", 0, "Status", "Success")
		// 3
		g := get(id)
		g.is("StandardOutputContent", "HelloWorld\n", "StandardErrorContent", "", "Status", "Success", "ResponseCode", 0)
		if e := g.at("ExecutionElapsedTime").String(); !strings.HasPrefix(e, "PT") || !strings.HasSuffix(e, "S") {
			t.Errorf("ExecutionElapsedTime = %q", e)
		}
		// 4
		id = send("exit 1").at("CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Failed", "ErrorCount", 1)
		get(id).is("Status", "Failed", "ResponseCode", 1)
		id = send("false; true").at("CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Success")
		// 6
		word := fmt.Sprint("sleep 30", os.Getpid())
		id = send(word).at("CommandId").String()
		eventually(t, "the script runs", 30*time.Second, func() bool { return running(word) })
		s.aws("ssm", "cancel-command", "--command-id", id)
		if st := get(id).at("Status").String(); st != "Cancelling" && st != "Cancelled" {
			t.Errorf("after cancel-command: %s", st)
		}
		s.commandEnd(id, 30*time.Second).is("Status", "Cancelled")
		get(id).is("Status", "Cancelled")
		if running(word) {
			t.Error("the process of a cancelled command still runs")
		}
		// 8
		none := s.aws("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", `commands=["true"]`, "--targets", "Key=tag:Env,Values=none").at("Command")
		s.aws("ssm", "list-commands", "--command-id", none.at("CommandId").String()).at("Commands", 0).is("StatusDetails", "NoInstancesInTag", "TargetCount", 0)
		// 9
		id = send("echo to the bucket; echo and this >&2", "--output-s3-bucket-name", "bkt", "--output-s3-key-prefix", "p").at("CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Success")
		g = get(id)
		key := "p/" + id + "/" + a.id + "/awsrunShellScript/0.awsrunShellScript/stdout"
		if !strings.HasSuffix(g.at("StandardOutputUrl").String(), key) || g.at("StandardErrorUrl").String() == "" {
			t.Errorf("URLs = %s, %s", g.at("StandardOutputUrl"), g.at("StandardErrorUrl"))
		}
		file := filepath.Join(t.TempDir(), "out")
		s.aws("s3api", "get-object", "--bucket", "bkt", "--key", key, file)
		if b, err := os.ReadFile(file); err != nil || string(b) != "to the bucket\n" {
			t.Errorf("the object holds %q, %v", b, err)
		}
		// 7
		for k := range 9 {
			n.mustRegister(s, act, fmt.Sprint(state, "-", k)).start(t)
		}
		s.online(10)
		id = s.aws("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", `commands=["exit 1"]`, "--targets", "Key=tag:Env,Values=w2",
			"--max-concurrency", "10%", "--max-errors", "10%").at("Command", "CommandId").String()
		s.commandEnd(id, time.Minute).is("Status", "Failed", "ErrorCount", 2, "TargetCount", 10, "CompletedCount", 10)
		counts := map[string]int{}
		list := s.aws("ssm", "list-command-invocations", "--command-id", id).at("CommandInvocations")
		for k := range list.len() {
			counts[list.at(k, "StatusDetails").String()]++
		}
		if counts["Failed"] != 2 || counts["Terminated"] != 8 {
			t.Errorf("invocations: %v, want 2 Failed and 8 Terminated", counts)
		}
	})
}
