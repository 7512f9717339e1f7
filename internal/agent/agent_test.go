package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
)

const (
	cmd1 = "8be8a6cd-51e4-4219-96a1-9fdda751550a"
	cmd2 = "9be8a6cd-51e4-4219-96a1-9fdda751550b"
)

// doc22 is a 2.2 document of shell steps given as name, script pairs.
func doc22(steps ...string) []byte {
	var list []map[string]any
	for i := 0; i < len(steps); i += 2 {
		list = append(list, map[string]any{"action": "aws:runShellScript", "name": steps[i], "inputs": map[string]any{"runCommand": []string{steps[i+1]}, "timeoutSeconds": 60}})
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "mainSteps": list})
	if err != nil {
		panic(err)
	}
	return b
}

func TestCommandEndToEnd(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	a := run(t, registered(t, f))
	id := f.sendScript(t, cmd1, "echo hello", `echo "$AWS_SSM_INSTANCE_ID $AWS_SSM_REGION_NAME $SSM_COMMAND_ID $OAKUM_ENDPOINT"`, "echo oops >&2", `test -r "$AWS_SHARED_CREDENTIALS_FILE"`)
	final := f.final(t, id)
	step := final.RuntimeStatus["aws:runShellScript"]
	if final.DocumentStatus != document.Success || step.Status != document.Success || step.Code != 0 || step.Name != "aws:runShellScript" {
		t.Errorf("final reply %s", final.Payload)
	}
	want := "hello\nmi-0123456789abcdef0 oakum-1 " + cmd1 + " " + f.URL + "\n"
	if step.StandardOutput != want || step.StandardError != "oops\n" || step.Output != want+"\n----------ERROR-------\noops\n" {
		t.Errorf("stdout %q, stderr %q, output %q", step.StandardOutput, step.StandardError, step.Output)
	}
	if diff := cmp.Diff(map[document.Status]int{document.Success: 1}, final.AdditionalInfo.RuntimeStatusCounts); diff != "" {
		t.Error(diff)
	}
	f.waitFor(t, "both health reports", func() bool { return len(f.infos) == 2 })
	var order []string
	f.with(func() {
		for _, op := range f.log {
			if strings.HasPrefix(op, "SendReply") || op == "AcknowledgeMessage" {
				order = append(order, op)
			}
		}
		if f.infos[0]["AgentName"] != Name || f.infos[0]["AgentVersion"] != "1.2.3" || f.infos[0]["AgentStatus"] != "" || f.infos[1]["AgentStatus"] != "Active" || f.infos[1]["PlatformType"] == "" {
			t.Errorf("health reports %v", f.infos)
		}
	})
	if diff := cmp.Diff([]string{"SendReply InProgress", "AcknowledgeMessage", "SendReply InProgress", "SendReply Success"}, order); diff != "" {
		t.Error(diff)
	}
	st, err := Status(a.paths.dir)
	if err != nil || !st.Registered || !st.Running || st.LastContact.IsZero() || len(st.UnfinishedCommands) != 0 {
		t.Errorf("Status = %+v, %v", st, err)
	}
}

func TestReplyPayloadHasTheAgentsMembers(t *testing.T) {
	f := newFakeServer(t, false)
	a := run(t, registered(t, f))
	id := f.send(cmd1, "two", doc22("one", "true", "two", "exit 3"), "{}", "")
	final := f.final(t, id)
	var got map[string]any
	if err := json.Unmarshal([]byte(final.Payload), &got); err != nil {
		t.Fatal(err)
	}
	got["additionalInfo"].(map[string]any)["dateTime"] = "T"
	want := map[string]any{
		"additionalInfo": map[string]any{
			"agent":    map[string]any{"lang": "en-US", "name": "oakum-agent", "os": runtime.GOOS, "osver": "1", "ver": "1.2.3"},
			"dateTime": "T", "runId": "", "runtimeStatusCounts": map[string]any{"Success": 1.0, "Failed": 1.0}, "ableToOpenMGSConnection": false,
		},
		"documentStatus": "Failed", "documentTraceOutput": "", "runtimeStatus": map[string]any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	steps := f.steps(id)
	if s := steps["two"]; s.Code != 3 || s.StandardError != "failed to run commands: exit status 3" || s.Status != document.Failed {
		t.Errorf("step two: %+v", s)
	}
	var perStep []int
	f.with(func() {
		for _, r := range f.replies {
			perStep = append(perStep, len(r.RuntimeStatus))
		}
	})
	if diff := cmp.Diff([]int{0, 1, 1, 0}, perStep); diff != "" {
		t.Errorf("steps per reply: %s", diff)
	}
	_ = a
}

func TestRepeatedDeliveryRunsOnce(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	a := run(t, dir)
	out := filepath.Join(t.TempDir(), "runs")
	id := f.sendScript(t, cmd1, "echo run >> "+out)
	f.final(t, id)
	again := func() {
		f.with(func() {
			m := *f.inbox[0]
			m.acked = false
			f.inbox = append(f.inbox, &m)
		})
		f.wake <- struct{}{}
		f.waitFor(t, "the repeated message to be acknowledged", func() bool { return f.inbox[len(f.inbox)-1].acked })
	}
	again()
	again()
	a.stop()
	run(t, dir)
	again()
	if err := os.RemoveAll(filepath.Join(dir, "commands", cmd1)); err != nil {
		t.Fatal(err)
	}
	again()
	if b, err := os.ReadFile(out); err != nil || string(b) != "run\n" {
		t.Errorf("the script ran %q, %v", b, err)
	}
}

func TestMessagesThatCannotRun(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	f.post("aws.ssm."+cmd2+".mi-0123456789abcdef0", "aws.ssm.somethingElse", "{}")
	f.waitFor(t, "FailMessage", func() bool { return slices.Contains(f.log, "FailMessage NoHandlerExists") })
	f.post("aws.ssm.../../etc.mi-0123456789abcdef0", "aws.ssm.sendCommand.x", "{}")
	f.waitFor(t, "FailMessage", func() bool { return slices.Contains(f.log, "FailMessage InternalHandlerException") })
	for i, tc := range []struct{ content, trace string }{
		{`{"schemaVersion":"9.9"}`, "Document with schema version 9.9 is not supported"},
		{`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runShellScript","name":"../x"}]}`, "name"},
		{`{"schemaVersion":"2.2","parameters":{"p":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"one"}]}`, "p: a value is required"},
	} {
		id := f.send(fmt.Sprintf("8be8a6cd-51e4-4219-96a1-00000000000%d", i), "x", []byte(tc.content), "{}", "")
		final := f.final(t, id)
		if final.DocumentStatus != document.Failed || !strings.Contains(final.DocumentTraceOutput, tc.trace) {
			t.Errorf("%s: reply %s", tc.content, final.Payload)
		}
	}
	if f.with(func() {}); slices.Contains(f.log, "AcknowledgeMessage") {
		t.Error("a document that cannot be read was acknowledged")
	}
}

func TestUnsupportedPlugins(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	id := f.send(cmd1, "x", []byte(`{"schemaVersion":"2.2","mainSteps":[
		{"action":"aws:psModule","name":"ps","inputs":{"runCommand":["x"]}},
		{"action":"aws:downloadContent","name":"dl","inputs":{}},
		{"action":"aws:runShellScript","name":"sh","precondition":{"StringEquals":["platformType","Windows"]},"inputs":{"runCommand":["x"]}}]}`), "{}", "")
	final := f.final(t, id)
	got := map[string]document.Status{}
	for name, s := range f.steps(id) {
		got[name] = s.Status
	}
	want := map[string]document.Status{"ps": document.Skipped, "dl": document.Failed, "sh": document.Skipped}
	if diff := cmp.Diff(want, got); diff != "" || final.DocumentStatus != document.Failed {
		t.Errorf("document %s, steps %s", final.DocumentStatus, diff)
	}
}

func TestCancelKillsTheProcessGroup(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	pids := filepath.Join(t.TempDir(), "pids")
	id := f.send(cmd1, "x", doc22("one", "sleep 1000 & echo $! >> "+pids+"; (sleep 1000 & echo $! >> "+pids+"; wait); wait", "two", "echo never"), "{}", "")
	waitLines(t, pids, 2)
	f.post("aws.ssm."+cmd2+".mi-0123456789abcdef0", "aws.ssm.cancelCommand."+testRegion, `{"CancelMessageId":"`+id+`"}`)
	final := f.final(t, id)
	steps := f.steps(id)
	if final.DocumentStatus != document.Cancelled || steps["one"].Status != document.Cancelled || steps["one"].Code != 137 || steps["two"].Status != document.Cancelled {
		t.Errorf("document %s, steps %+v", final.DocumentStatus, steps)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(b)) {
		deadline := time.Now().Add(5 * time.Second)
		for processLives(pid) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if processLives(pid) {
			t.Errorf("process %s outlived the cancellation", pid)
		}
	}
	f.waitFor(t, "the cancel message to be acknowledged", func() bool { return f.inbox[1].acked })
	f.with(func() {
		for _, r := range f.replies {
			if r.MessageID == f.inbox[1].id && r.DocumentStatus != document.InProgress {
				t.Errorf("the cancel message got a final reply %s", r.DocumentStatus)
			}
		}
	})
}

// processLives reports whether a process exists and is not a zombie.
func processLives(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func waitLines(t *testing.T, path string, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if b, err := os.ReadFile(path); err == nil && strings.Count(string(b), "\n") >= n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s does not get %d lines", path, n)
}

func TestStepTimesOut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the shortest time-out there is, 5 s")
	}
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	b, _ := document.LookupBuiltin(document.RunShellScript)
	id := f.send(cmd1, document.RunShellScript, b.Content(), `{"commands":["echo start","sleep 600"],"executionTimeout":"5"}`, "")
	final := f.final(t, id)
	step := final.RuntimeStatus["aws:runShellScript"]
	if final.DocumentStatus != document.TimedOut || step.Status != document.TimedOut || step.Code != 137 || step.StandardOutput != "start\n" {
		t.Errorf("reply %s", final.Payload)
	}
}

func TestOutputIsCut(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	id := f.sendScript(t, cmd1, `i=0; while [ $i -lt 3000 ]; do echo "line number $i"; echo "error $i" >&2; i=$((i+1)); done; exit 2`)
	step := f.final(t, id).RuntimeStatus["aws:runShellScript"]
	if n := len(step.StandardOutput); n != 24000 || !strings.HasSuffix(step.StandardOutput, "--output truncated--") {
		t.Errorf("stdout has %d characters and ends with %q", n, step.StandardOutput[n-40:])
	}
	if n := len(step.StandardError); n != 24000 || !strings.HasSuffix(step.StandardError, "--output truncated--\nfailed to run commands: exit status 2") {
		t.Errorf("stderr has %d characters and ends with %q", n, step.StandardError[n-80:])
	}
	if n := len(step.Output); n > 2500 || !strings.Contains(step.Output, "---Output truncated---\n----------ERROR-------\n") || !strings.HasSuffix(step.Output, "---Error truncated----") {
		t.Errorf("output has %d characters: %q", n, step.Output[n-60:])
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"short", "short"},
		{"exactly 10", "exactly 10"},
		{"eleven chars", "eleven[..]"},
		{"äöüäöüäöüä", "äöüäöüäöüä"},
		{"äöüäöüäöüäö", "äöüäöü[..]"},
		{"bad \xff", "bad \uFFFD"},
	} {
		if got := cut(tc.in, 10, "[..]"); got != tc.want {
			t.Errorf("cut(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestOutputGoesToTheBucket(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	b, _ := document.LookupBuiltin(document.RunShellScript)
	long := strings.Repeat("x", 100)
	params, _ := json.Marshal(map[string]any{"commands": []string{`i=0; while [ $i -lt 400 ]; do echo ` + long + `; i=$((i+1)); done; echo problem >&2`}})
	id := f.send(cmd1, document.RunShellScript, b.Content(), string(params), `,"OutputS3BucketName":"logs","OutputS3KeyPrefix":"a b/+c"`)
	step := f.final(t, id).RuntimeStatus["aws:runShellScript"]
	base := "/logs/a b/+c/" + cmd1 + "/mi-0123456789abcdef0/awsrunShellScript/0.awsrunShellScript/"
	f.with(func() {
		if got := f.objects[base+"stdout"]; got != strings.Repeat(long+"\n", 400) {
			t.Errorf("stdout object has %d bytes; objects: %v", len(got), slices.Collect(keys(f.objects)))
		}
		if got := f.objects[base+"stderr"]; got != "problem\n" {
			t.Errorf("stderr object %q", got)
		}
	})
	if step.OutputS3BucketName != "logs" || step.OutputS3KeyPrefix != "a b/+c/"+cmd1+"/mi-0123456789abcdef0" {
		t.Errorf("step %+v", step)
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestRepliesWaitOutAnOutage(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	a := run(t, dir)
	gate := filepath.Join(t.TempDir(), "gate")
	tried := map[string]int{}
	id := f.sendScript(t, cmd1, "while [ ! -e "+gate+" ]; do sleep 0.05; done; echo done")
	f.waitFor(t, "the acknowledgement", func() bool { return slices.Contains(f.log, "AcknowledgeMessage") })
	f.with(func() {
		f.onReply = func(r fakeReply) bool { tried[r.ReplyID]++; return false }
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.waitFor(t, "a refused reply", func() bool { return len(tried) == 1 })
	f.with(func() { f.down = true })
	deadline := time.Now().Add(10 * time.Second)
	for len(unfinished(a.paths.commands)) > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	a.stop() // the replies survive the process
	if s, err := Status(dir); err != nil || s.QueuedReplies != 2 || s.Running {
		t.Errorf("Status = %+v, %v", s, err)
	}
	f.with(func() { f.down, f.onReply = false, nil })
	run(t, dir)
	if final := f.final(t, id); final.RuntimeStatus["aws:runShellScript"].StandardOutput != "done\n" {
		t.Errorf("reply %s", final.Payload)
	}
	f.with(func() {
		first := f.replies[1].ReplyID // after the acceptance
		if tried[first] == 0 {
			t.Errorf("the reply was sent again with another id: %v, then %s", tried, first)
		}
	})
}

func TestServerOutageAtStart(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	f.with(func() { f.down = true })
	run(t, dir)
	id := f.sendScript(t, cmd1, "echo back")
	time.Sleep(200 * time.Millisecond)
	f.with(func() { f.down = false })
	f.final(t, id)
}

func TestPatchOnlyProfile(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	fake := filepath.Join(t.TempDir(), "oakum")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho engine \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, registered(t, f, func(o *Options) { o.Profile = ProfilePatchOnly }), func(c *Config) { c.System.Executable = fake })
	final := f.final(t, f.sendScript(t, cmd1, "echo hello"))
	if final.DocumentStatus != document.Failed || !strings.Contains(final.DocumentTraceOutput, "patch-only") {
		t.Errorf("a script was not refused: %s", final.Payload)
	}
	// A document under a permitted name runs with the agent's own content, not the server's.
	id := f.send(cmd2, document.RunPatchBaseline, doc22("PatchLinux", "echo evil"), `{"Operation":"Scan"}`, "")
	f.final(t, id)
	if got := f.steps(id)["PatchLinux"].StandardOutput; !strings.HasPrefix(got, "engine node-patch --operation=Scan") {
		t.Errorf("PatchLinux printed %q", got)
	}
}

func TestInventory(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/os-release":              "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n",
		"var/lib/dpkg/status":         "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nArchitecture: amd64\nMaintainer: M\nDescription: shell\n long text\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
		"var/lib/dpkg/info/bash.list": "/\n",
		"proc/cpuinfo":                "processor : 0\nmodel name : X\nphysical id : 0\ncore id : 0\n\nprocessor : 1\nphysical id : 0\ncore id : 0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, registered(t, f), func(c *Config) { c.System.Root, c.System.GOOS = root, "linux" })
	b, _ := document.LookupBuiltin(document.GatherSoftwareInventory)
	gather := func(command string) map[string]map[string]any {
		f.with(func() { f.inventories = nil })
		final := f.final(t, f.send(command, document.GatherSoftwareInventory, b.Content(), `{"networkConfig":"Disabled"}`, ""))
		if final.DocumentStatus != document.Success {
			t.Fatalf("reply %s", final.Payload)
		}
		byType := map[string]map[string]any{}
		f.with(func() {
			for _, item := range f.inventories {
				byType[item["TypeName"].(string)] = item
			}
		})
		return byType
	}
	first := gather(cmd1)
	apps, ok := first["AWS:Application"]["Content"].([]any)
	if !ok || len(apps) != 1 {
		t.Fatalf("applications: %v", first["AWS:Application"])
	}
	app := apps[0].(map[string]any)
	delete(app, "InstalledTime")
	want := map[string]any{"Name": "bash", "Version": "5.2-1", "Architecture": "amd64", "Publisher": "M", "Summary": "shell", "PackageId": "bash_5.2-1_amd64"}
	if diff := cmp.Diff(want, app); diff != "" || first["AWS:Application"]["SchemaVersion"] != "1.1" {
		t.Error(diff)
	}
	if len(first) != 4 || first["AWS:Network"] != nil || first["Custom:KernelLivePatch"] == nil {
		t.Errorf("types %v", slices.Collect(keys(first)))
	}
	details := first["AWS:InstanceDetailedInformation"]["Content"].([]any)[0].(map[string]any)
	if details["CPUs"] != "2" || details["CPUCores"] != "1" || details["CPUHyperThreadEnabled"] != "true" {
		t.Errorf("details %v", details)
	}
	for name, item := range gather(cmd2) {
		if _, full := item["Content"]; full {
			t.Errorf("%s was sent again in full", name)
		}
	}
	f.with(func() { f.hashes = map[string]bool{} })
	for name, item := range gather("1be8a6cd-51e4-4219-96a1-9fdda751550b") {
		if _, full := item["Content"]; !full {
			t.Errorf("%s was not sent in full to a server that lost it", name)
		}
	}
}

func TestExpiredCommandIsNotStarted(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	out := filepath.Join(t.TempDir(), "runs")
	id := f.send(cmd1, "x", doc22("one", "touch "+out), "{}", `,"NotAfter":1`)
	if final := f.final(t, id); final.DocumentStatus != document.Failed || !strings.Contains(final.DocumentTraceOutput, "expired") {
		t.Errorf("reply %s", final.Payload)
	}
	if exists(out) {
		t.Error("an expired command was started")
	}
}

func TestFiveCommandsRunAtOnce(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	run(t, registered(t, f))
	dir := t.TempDir()
	var ids []string
	for i := range 8 {
		ids = append(ids, f.send(fmt.Sprintf("8be8a6cd-51e4-4219-96a1-10000000000%d", i), "x", doc22("one", fmt.Sprintf("touch %s/r%d; while [ ! -e %s/gate ]; do sleep 0.05; done", dir, i, dir)), "{}", ""))
	}
	count := func() int { m, _ := filepath.Glob(dir + "/r*"); return len(m) }
	f.waitFor(t, "all messages to be acknowledged", func() bool {
		return !slices.ContainsFunc(f.inbox, func(m *fakeMessage) bool { return !m.acked })
	})
	deadline := time.Now().Add(10 * time.Second)
	for count() < 5 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if n := count(); n != 5 {
		t.Errorf("%d commands run at once, want 5", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "gate"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		f.final(t, id)
	}
}
