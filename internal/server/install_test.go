package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"oakum.dev/internal/server"
)

// TestScriptsForNodes: a shell can read both scripts as they come from a server with an authority of its own, which they carry.
func TestScriptsForNodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := server.New(t.Context(), server.Config{DataDir: dir, Listen: []string{"https://127.0.0.1:0"}, Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	for _, name := range []string{"install.sh", "ssm-agent.sh"} {
		resp, err := client.Get(srv.Addresses()[0] + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{string(pem), srv.Addresses()[0], "eu-west-1"} {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s does not hold %s", name, part)
			}
		}
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(string(b))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}
