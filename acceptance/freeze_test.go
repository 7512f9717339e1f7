//go:build linux

package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// oakum runs this program as a client of the server, with the administrator's key.
func (s *installation) oakum(args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(s.t.Context(), binary(s.t), args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(s.dir, "admin.credentials"), "AWS_CONFIG_FILE="+os.DevNull, "AWS_ENDPOINT_URL="+s.url, "AWS_REGION=us-east-1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (s *installation) mustOakum(args ...string) string {
	s.t.Helper()
	out, errs, err := s.oakum(args...)
	if err != nil {
		s.t.Fatalf("oakum %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	return out
}

// While installs are frozen the server takes none, a node does not begin one that it got before, and one that has begun
// is finished. Scans go on.
func TestInstallFreeze(t *testing.T) {
	r := newAptRepo(t, `deb bookworm oaktool 1.0-1
deb bookworm-security oaktool 1.1-1
deb bookworm oakslow 1.0-1
`)
	n := r.node(t, "freeze", []string{"oaktool", "oakslow"})
	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value=web")
	a := n.mustRegister(s, act, "/var/lib/oakum")
	send := []string{"ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters", "Operation=Install,RebootOption=NoReboot"}

	// Accepted before the freeze, and not delivered yet: the node does not begin it.
	queued := s.aws(send...).at("Command", "CommandId").String()
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	out := s.mustOakum("freeze", "set", "--until", until.Format(time.RFC3339), "--reason", "year's end")
	if !strings.Contains(out, "installs are frozen in us-east-1") {
		t.Errorf("oakum freeze set: %s", out)
	}
	_, errs, err := s.awsRun(send...)
	if want := "(InvalidParameters) when calling the SendCommand operation: Installs are frozen in this account and region until " + until.Format(time.RFC3339) + ": year's end"; err == nil || !strings.Contains(errs, want) {
		t.Errorf("send-command Install while frozen = %v %s, want %s", err, errs, want)
	}
	a.start(t)
	s.online(1)
	s.commandEnd(queued, 3*time.Minute)
	g := s.aws("ssm", "get-command-invocation", "--command-id", queued, "--instance-id", a.id, "--plugin-name", "PatchLinux")
	g.is("Status", "Failed", "ResponseCode", 1)
	first, _, _ := strings.Cut(g.at("StandardErrorContent").String(), "\n")
	if want := "OAKUM FROZEN: installs are frozen until " + until.Format("2006-01-02 15:04:05 MST") + ": year's end (engine code 1)"; first != want {
		t.Errorf("the first line of stderr is %q, want %q", first, want)
	}
	s.patch(a, map[string]string{"Operation": "Scan"}).is("Status", "Success", "ResponseCode", 0)
	s.state(a).is("MissingCount", 1, "Operation", "Scan")
	if v := n.versions(); v["oaktool:all"] != "1.0-1" {
		t.Errorf("oaktool is at %s while installs are frozen", v["oaktool:all"])
	}
	if list := localRuns(t, n); len(list) != 0 {
		t.Errorf("the node began installs: %+v", list)
	}
	if _, errs, err := s.oakum("patch-now", "--operation", "Install", "--all", "--yes"); err == nil || !strings.Contains(errs, "oakum: error: installs are frozen in us-east-1 until ") {
		t.Errorf("oakum patch-now while frozen = %v %s", err, errs)
	}
	if _, errs, err := s.oakum("nodes"); err != nil || !strings.Contains(errs, "installs are frozen in us-east-1") {
		t.Errorf("oakum nodes while frozen = %v %s", err, errs)
	}

	// Lifted: it goes, and the end says what went in.
	s.mustOakum("freeze", "lift")
	out, errs, err = s.oakum("patch-now", "--operation", "Install", "--all", "--yes", "--reboot-option", "NoReboot")
	if err != nil || !strings.Contains(errs, "1 patch installed on 1 node, 0 failed, 1 pending a reboot") || !strings.Contains(out, a.id) {
		t.Errorf("oakum patch-now after the freeze = %v\n%s\n%s", err, out, errs)
	}
	if v := n.versions(); v["oaktool:all"] != "1.1-1" {
		t.Errorf("oaktool is at %s after the install", v["oaktool:all"])
	}
	if out := s.mustOakum("nodes", a.id); !strings.Contains(out, "\nLast install\n") || !strings.Contains(out, "\noaktool.all  1.0-1  1.1-1  approved\n") {
		t.Errorf("oakum nodes %s:\n%s", a.id, out)
	}
}

// A freeze does not stop an install that has begun: cut off in the middle and taken up again while installs are frozen,
// it is finished.
func TestFreezeLetsABegunInstallEnd(t *testing.T) {
	r := newAptRepo(t, "deb bookworm oakslow 1.0-1\ndeb bookworm-security oakslow 1.1-1 postinst=\"sleep 6\"\n")
	n := r.node(t, "freezing", []string{"oakslow"})
	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value=web")
	a := n.mustRegister(s, act, "/var/lib/oakum")
	a.start(t)
	s.online(1)
	id := s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters", "Operation=Install,RebootOption=NoReboot").
		at("Command", "CommandId").String()
	eventually(t, "the package's script runs", time.Minute, func() bool {
		logs, _ := filepath.Glob(filepath.Join(n.root, "var/lib/oakum/runs/*/log"))
		return len(logs) == 1 && strings.Contains(readText(logs[0]), "Setting up oakslow (1.1-1)")
	})
	s.mustOakum("freeze", "set", "--until", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "--reason", "incident")
	if err := syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL); err != nil { // all that runs in the node goes with it
		t.Fatal(err)
	}
	a.start(t)
	s.commandEnd(id, 3*time.Minute)
	g := s.aws("ssm", "get-command-invocation", "--command-id", id, "--instance-id", a.id, "--plugin-name", "PatchLinux")
	g.is("Status", "Success", "ResponseCode", 0)
	if v := n.versions(); v["oakslow:all"] != "1.1-1" {
		t.Errorf("oakslow is %s", v["oakslow:all"])
	}
	runs := localRuns(t, n)
	if len(runs) != 1 || runs[0].Outcome != "Success" || runs[0].Resumes == 0 {
		t.Errorf("the node's records: %+v, want one run that was taken up and succeeded", runs)
	}
}

// readText is a file's text, empty while there is none.
func readText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}
