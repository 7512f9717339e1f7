package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/document"
	"oakum.dev/internal/cli"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"oakum": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs what users type. Those of client and install find a server in their environment, with four nodes:
// web1 misses patches, db1 misses none, broken1 fails every command, new1 has never been scanned and is silent.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Setup: plainEnvironment, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != ""})
}

func TestClientScripts(t *testing.T) { clientScripts(t, "testdata/client") }

// TestInstallScripts have a fleet of their own: what they install is gone for the other scripts.
func TestInstallScripts(t *testing.T) { clientScripts(t, "testdata/install") }

func clientScripts(t *testing.T, dir string) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	f := startFleet(t)
	testscript.Run(t, testscript.Params{Dir: dir, RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", Condition: builtin, Setup: func(e *testscript.Env) error {
		if err := plainEnvironment(e); err != nil {
			return err
		}
		e.Setenv("AWS_ENDPOINT_URL", f.s.URL)
		e.Setenv("AWS_ACCESS_KEY_ID", f.s.Admin.AccessKeyID)
		e.Setenv("AWS_SECRET_ACCESS_KEY", f.s.Admin.SecretAccessKey)
		e.Setenv("TOMORROW", time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339))
		e.Setenv("READER_ID", f.s.Reader.AccessKeyID)
		e.Setenv("READER_SECRET", f.s.Reader.SecretAccessKey)
		for name, n := range f.nodes {
			e.Setenv(name, n.ID)
		}
		return nil
	}})
}

// builtin is a condition of scripts, document:NAME: that there is a built-in document of that name.
func builtin(cond string) (bool, error) {
	name, ok := strings.CutPrefix(cond, "document:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	_, ok = document.LookupBuiltin(name)
	return ok, nil
}

// plainEnvironment keeps scripts from the configuration of whoever runs them.
func plainEnvironment(e *testscript.Env) error {
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("AWS_CONFIG_FILE", e.WorkDir+"/no-config")
	e.Setenv("AWS_SHARED_CREDENTIALS_FILE", e.WorkDir+"/no-credentials")
	e.Setenv("OAKUM_DATA_DIR", e.WorkDir+"/no-data")
	e.Setenv("NO_PROXY", "127.0.0.1,localhost")
	return nil
}

// fleet is a server with nodes that answer commands.
type fleet struct {
	s     *servertest.Server
	nodes map[string]*servertest.Node
}

func startFleet(t *testing.T) *fleet {
	f := &fleet{s: servertest.Start(t, "sqlite"), nodes: map[string]*servertest.Node{}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	for _, name := range []string{"web1", "db1", "broken1", "new1"} {
		n := f.register(t, name)
		f.nodes[name] = n
		if name == "new1" {
			continue
		}
		if name != "broken1" {
			if err := n.PutResult(ctx, scanResult(name, "")); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() { f.obey(ctx, name, n) })
	}
	return f
}

// register makes a node with a name, that belongs to the patch group of its kind.
func (f *fleet) register(t *testing.T, name string) *servertest.Node {
	t.Helper()
	var out ssm.CreateActivationOutput
	in := &ssm.CreateActivationInput{IamRole: new("service-role/SSMRole"), DefaultInstanceName: &name, Tags: []ssm.Tag{{Key: new("Tier"), Value: new(name[:len(name)-1])}}}
	if err := f.s.Call(t.Context(), f.s.Admin, "ssm", "CreateActivation", in, &out); err != nil {
		t.Fatal(err)
	}
	n, err := f.s.Register(codec.Value(out.ActivationId), codec.Value(out.ActivationCode))
	if err != nil {
		t.Fatal(err)
	}
	if name == "new1" {
		return n // registered, and never heard of since
	}
	if err := n.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = n.Call(t.Context(), "ssm", "UpdateInstanceInformation", &ssm.UpdateInstanceInformationInput{
		InstanceId: &n.ID, AgentName: new("oakum-agent"), AgentStatus: new("Active"), AgentVersion: new("1.0"), PlatformType: new("Linux"),
		PlatformName: new("Debian GNU/Linux"), PlatformVersion: new("12"), ComputerName: new(name + ".example.com"), IPAddress: new("192.0.2.7"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// obey answers commands until ctx ends.
func (f *fleet) obey(ctx context.Context, name string, n *servertest.Node) {
	for ctx.Err() == nil {
		messages, err := n.Poll(ctx)
		if err != nil {
			continue
		}
		for _, m := range messages {
			var payload struct {
				CommandID  string `json:"CommandId"`
				Parameters struct{ Operation string }
			}
			if json.Unmarshal([]byte(codec.Value(m.Payload)), &payload) != nil || n.Ack(ctx, codec.Value(m.MessageId)) != nil {
				continue
			}
			now := time.Now().UTC().Format(time.RFC3339)
			st := servertest.Step{Status: "Success", Plugin: "aws:runShellScript", Stdout: "Patch Summary for " + n.ID + "\n", Started: now, Ended: now}
			if name == "broken1" {
				st.Status, st.Code, st.Stdout, st.Stderr = "Failed", 1, "", "OAKUM REPO_METADATA: no repository could be reached (engine code 1)\nmore\n"
			} else {
				res := scanResult(name, payload.CommandID)
				if payload.Parameters.Operation == "Install" {
					install(res)
				}
				if n.PutResult(ctx, res) != nil {
					continue
				}
			}
			_ = n.Reply(ctx, codec.Value(m.MessageId), st.Status, map[string]servertest.Step{"PatchLinux": st}) // sent again by the server
		}
	}
}

// install turns the result of a scan into that of an install, which puts in what is missing and is not held.
func install(r *compliance.Result) {
	r.Header.Operation, r.Header.RebootOption = "Install", "NoReboot"
	r.Header.Install = &compliance.Install{Run: "run-20261122T103000Z-0a1b2c3d", Outcome: "Success"}
	for k := range r.Items {
		i := &r.Items[k]
		if i.State != compliance.Missing || i.Reason != "" {
			continue
		}
		r.Header.Install.Changes = append(r.Header.Install.Changes, compliance.Change{Name: i.Name, Arch: i.Arch, Old: i.InstalledVersion, New: i.AvailableVersion})
		i.State, i.InstalledVersion, i.AvailableVersion = compliance.InstalledPendingReboot, i.AvailableVersion, ""
	}
	r.Finish(10)
}

// scanResult is what a scan finds on a node.
func scanResult(name, command string) *compliance.Result {
	def, _ := baseline.DefaultFor(baseline.Debian)
	now := time.Now().UTC().Truncate(time.Millisecond)
	released := time.Date(2026, 7, 1, 8, 0, 0, 0, time.UTC)
	r := &compliance.Result{Header: compliance.Header{
		OperatingSystem: baseline.Debian, Product: "Debian12", PlatformName: "Debian GNU/Linux", PlatformVersion: "12", BaselineID: def.BaselineID,
		BaselineName: def.Name, Operation: "Scan", StartedAt: now.Add(-time.Second), EndedAt: now, ExecutionType: "Command", ExecutionID: command,
		Repositories: []compliance.Repository{
			{URI: "http://deb.example.com/debian", Suite: "bookworm", Date: released, RefreshedAt: now, Trusted: true},
			{URI: "http://deb.example.com/debian-security", Suite: "bookworm-security", Date: released, RefreshedAt: now, Trusted: true},
		},
	}}
	installed := func(pkg, version string) compliance.Item {
		return compliance.Item{ID: pkg + ".amd64", Name: pkg, Arch: "amd64", Title: pkg + ".amd64:" + version, State: compliance.InstalledOther, Level: baseline.Unspecified, InstalledVersion: version}
	}
	r.Items = append(r.Items, installed("bash", "5.2.15-2"), installed("dash", "0.5.12-2"))
	if name == "web1" {
		missing := compliance.Item{
			ID: "openssl.amd64", Name: "openssl", Arch: "amd64", Title: "openssl.amd64:3.0.15-1", State: compliance.Missing, Level: baseline.Unspecified,
			Classification: "Security", Severity: "optional", InstalledVersion: "3.0.11-1", AvailableVersion: "3.0.15-1", ReleasedTime: released,
			ApprovalDate: released.Truncate(24 * time.Hour), Repository: "bookworm-security/main", CVEs: []string{"CVE-2026-1234"},
		}
		held := missing
		held.ID, held.Name, held.Title, held.Reason, held.Detail = "curl.amd64", "curl", "curl.amd64:8.0-2", "held", "held with apt-mark hold"
		held.InstalledVersion, held.AvailableVersion, held.CVEs = "8.0-1", "8.0-2", nil
		formula := installed("formula", "=1+1")
		formula.Detail = fmt.Sprintf("@%s", "SUM")
		r.Items = append(r.Items, missing, held, formula)
		r.Header.Reboot = compliance.Reboot{Required: true, Reasons: []string{"the running kernel is not the newest installed one"}, RunningKernel: "6.1.0-1", InstalledKernel: "6.1.0-2"}
		r.Header.Degraded = []string{"1 repository was not refreshed"}
	}
	r.Finish(10)
	return r
}
