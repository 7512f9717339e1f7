package acceptance

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeStart runs the two commands with which the README starts, from the file: make run shows this machine as
// an online managed node with its patches, and the AWS CLI works against it.
func TestReadmeStart(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds and runs a whole server")
	}
	aws := os.Getenv("OAKUM_AWS")
	if aws == "" {
		aws = "aws"
	}
	if _, err := exec.LookPath(aws); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("the AWS CLI is not installed: %v", err)
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)\n```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 || blocks[0][1] != "make run" {
		t.Fatalf("the README starts with %d blocks of commands: %q", len(blocks), blocks)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	_ = l.Close() // the server takes the port next
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "sh", "-c", blocks[0][1])
	run.Dir = ".."
	run.Env = append(os.Environ(), "DATA_DIR="+dir, "LISTEN="+address)
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }
	out := &lockedBuffer{}
	run.Stdout, run.Stderr = out, out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(out.String(), "Another machine") {
		select {
		case err := <-ended:
			t.Fatalf("make run ended with %v:\n%s", err, out)
		case <-tick.C:
		}
	}
	for _, want := range []string{"This machine is managed node mi-", "patches missing", "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "admin.credentials")} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("make run does not say %q:\n%s", want, out)
		}
	}
	second := strings.ReplaceAll(strings.ReplaceAll(blocks[1][1], ".oakum/", dir+"/"), "http://127.0.0.1:8080", address)
	second = strings.Replace(second, " aws ", " "+aws+" ", 1)
	call := exec.CommandContext(ctx, "sh", "-c", second)
	answer, err := call.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", second, err, answer)
	}
	for _, want := range []string{`"PingStatus": "Online"`, `"PlatformType": "Linux"`, `"InstanceId": "mi-`} {
		if !bytes.Contains(answer, []byte(want)) {
			t.Errorf("the AWS CLI does not show %s:\n%s", want, answer)
		}
	}
	// SIGTERM drains and ends with 0.
	if err := syscall.Kill(-run.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: // make itself says that it was told to stop
	case <-time.After(20 * time.Second):
		t.Error("the server did not stop within 20 s of SIGTERM")
	}
	if strings.Contains(out.String(), "oakum: error") {
		t.Errorf("the run printed an error:\n%s", out)
	}
}
