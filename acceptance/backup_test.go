//go:build linux

package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ssm"
)

// A copy made while the server runs restores into the other engine; nothing is carried out again because of it.
//
// proves R-36
func TestBackupAndRestore(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run("from_"+engine, func(t *testing.T) { backupAndRestore(t, engine) })
	}
}

func backupAndRestore(t *testing.T, engine string) {
	ctx := t.Context()
	s := install(t, engine)
	c := servertest.Attach(t, s.url, s.dir)
	n := c.Nodes(1)[0]
	send := func() string {
		t.Helper()
		var out ssm.SendCommandOutput
		in := &ssm.SendCommandInput{DocumentName: new("AWS-RunShellScript"), InstanceIds: []string{n.ID}, Parameters: map[string][]string{"commands": {"true"}}}
		if err := c.Call(ctx, c.Admin, "ssm", "SendCommand", in, &out); err != nil {
			t.Fatal(err)
		}
		return *out.Command.CommandId
	}
	receive := func() string {
		t.Helper()
		list, err := n.Poll(ctx)
		if err != nil || len(list) != 1 {
			t.Fatalf("messages = %v, %v", list, err)
		}
		return *list[0].MessageId
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	done := send()
	must(n.Finish(ctx, receive(), "Success", 0, "before the copy"))
	runs := send()
	message := receive()
	must(n.Ack(ctx, message))
	waits := send()
	var base ssm.CreatePatchBaselineOutput
	must(c.Call(ctx, c.Admin, "ssm", "CreatePatchBaseline", &ssm.CreatePatchBaselineInput{Name: new("kept"), OperatingSystem: new("DEBIAN")}, &base))

	oakum := func(args ...string) (string, error) {
		cmd := exec.Command(binary(t), args...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	file := filepath.Join(t.TempDir(), "copy")
	from := []string{"backup", file, "--data-dir", s.dir}
	if s.dbURL != "" {
		from = append(from, "--database-url", s.dbURL)
	}
	if out, err := oakum(from...); err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
	must(n.Finish(ctx, receive(), "Success", 0, "after the copy")) // the copy does not know of it
	s.stop()

	to := &installation{t: t, dir: t.TempDir()}
	into := []string{"restore", file, "--data-dir", to.dir}
	if engine == "sqlite" {
		to.dbURL = oakumtest.Postgres(t)
		into = append(into, "--database-url", to.dbURL)
	}
	if out, err := oakum(into...); err == nil || !strings.Contains(out, "master.key") {
		t.Errorf("restore without the master key = %v\n%s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "master.key"))
	must(err)
	must(os.WriteFile(filepath.Join(to.dir, "master.key"), key, 0o400))
	if out, err := oakum(into...); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	if out, err := oakum(into...); err == nil || !strings.Contains(out, "not empty") {
		t.Errorf("restore again = %v\n%s", err, out)
	}
	to.start("http://127.0.0.1:0")
	t.Cleanup(to.stop)
	c.URL = to.url // the same keys, the same node
	if list := n.PollNow(ctx); len(list) != 0 {
		t.Errorf("sent again because of the restore: %v", list)
	}
	must(n.Finish(ctx, message, "Success", 0, "finished at the restored server"))
	for id, want := range map[string]string{done: "Success before the copy", runs: "Success finished at the restored server", waits: "Cancelled "} {
		var got ssm.GetCommandInvocationOutput
		must(c.Call(ctx, c.Admin, "ssm", "GetCommandInvocation", &ssm.GetCommandInvocationInput{CommandId: &id, InstanceId: &n.ID}, &got))
		if text := *got.Status + " " + *got.StandardOutputContent; text != want {
			t.Errorf("command %s: %q, want %q", id, text, want)
		}
	}
	var again ssm.GetPatchBaselineOutput
	must(c.Call(ctx, c.Admin, "ssm", "GetPatchBaseline", &ssm.GetPatchBaselineInput{BaselineId: base.BaselineId}, &again))
	must(n.Login(ctx))
	must(n.Heartbeat(ctx))
	newKey := []string{"admin", "new-key", "--data-dir", to.dir}
	if to.dbURL != "" {
		newKey = append(newKey, "--database-url", to.dbURL)
	}
	if out, err := oakum(newKey...); err != nil || !strings.Contains(out, "AKIA") && !strings.Contains(out, "admin.credentials") {
		t.Errorf("admin new-key = %v\n%s", err, out)
	}
}
