package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/sigv4"
)

// clientEnvironment points the AWS configuration at a server and nothing else.
func clientEnvironment(t *testing.T, endpoint, id, secret string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_ENDPOINT_URL_SSM": "", "AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": "/dev/null/none", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null/none", "OAKUM_DATA_DIR": "", "HOME": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	os.Unsetenv("AWS_CA_BUNDLE")
}

// oakumRun runs a client command line and returns what it wrote and its exit code.
func oakumRun(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Main(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return out.String(), errOut.String(), code
}

// TestServersThatAreNotRight holds what a person reads when the server is not what it should be.
func TestServersThatAreNotRight(t *testing.T) {
	answer := func(h http.HandlerFunc) *httptest.Server {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s
	}
	tlsServer := httptest.NewUnstartedServer(http.NotFoundHandler())
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	plainServer := answer(http.NotFound)
	for _, tc := range []struct {
		name, endpoint, want, hint string
	}{
		{"unknown_authority", tlsServer.URL, "is signed by an authority that this machine does not trust", "--ca-file or AWS_CA_BUNDLE"},
		{"http_to_tls", strings.Replace(tlsServer.URL, "https", "http", 1), "speaks TLS", "https://"},
		{"tls_to_http", strings.Replace(plainServer.URL, "http", "https", 1), "speaks plain HTTP", "http://"},
		{"not_oakum", plainServer.URL, "answered 404 Not Found, which no Oakum server would", ""},
		{"clock_behind", answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(7*time.Minute).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"InvalidSignatureException","message":"Signature expired: x is now earlier than y"}`)
		}).URL, " behind the server's, which is more than signatures allow", "chrony"},
		{"denied", answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"AccessDeniedException","Message":"User x is not authorized to perform: y"}`)
		}).URL, "not allowed: User x is not authorized to perform: y", "ask an administrator"},
		{"hangs_up", answer(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				c.Close()
			}
		}).URL, "closed the connection", "https"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clientEnvironment(t, tc.endpoint, "AKIAEXAMPLE", "secret")
			out, errOut, code := oakumRun(t, "nodes")
			if code != exitFailed || out != "" || !strings.Contains(errOut, "oakum: error: ") || !strings.Contains(errOut, tc.want) || !strings.Contains(errOut, tc.hint) {
				t.Errorf("oakum nodes = %d, stdout %q, stderr %q, want %q and %q", code, out, errOut, tc.want, tc.hint)
			}
		})
	}
}

// TestTrustAndPin connects with --ca-file and pins the key of a server whose authority is private.
func TestTrustAndPin(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "Oakum.DescribeNodes" {
			fmt.Fprint(w, `{"Nodes":[]}`)
			return
		}
		fmt.Fprint(w, `{}`)
	}))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	clientEnvironment(t, s.URL, "AKIAEXAMPLE", "secret")
	if out, errOut, code := oakumRun(t, "nodes", "--ca-file", ca, "--output", "json"); code != 0 || out != "{\n  \"Nodes\": []\n}\n" {
		t.Errorf("oakum nodes --ca-file = %d %q %q", code, out, errOut)
	}
	o := &clientOptions{output: "table", caFile: ca}
	c, err := o.connect(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	line, note := c.installLine(t.Context(), "ID", "CODE")
	pin, public, err := c.pin(t.Context())
	if err != nil || public || !strings.HasPrefix(pin, "sha256//") || !strings.HasPrefix(line, "curl -fsS -k --pinnedpubkey '"+pin+"' "+s.URL+"/install.sh | sudo sh -s -- ID CODE") {
		t.Errorf("installLine = %q, %q; pin = %q, %v, %v", line, note, pin, public, err)
	}
	if !strings.Contains(note, "means every machine itself") {
		t.Errorf("the note on a loopback address is missing: %q", note)
	}
}

// TestFreezeOfAnOlderServer installs where the server does not know of freezes, and not where it cannot say.
func TestFreezeOfAnOlderServer(t *testing.T) {
	for code, want := range map[string]string{"UnknownOperationException": "no managed node matches", "InternalServerError": "InternalServerError"} {
		t.Run(code, func(t *testing.T) {
			var asked []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch op := r.Header.Get("X-Amz-Target"); op {
				case "Oakum.GetInstallFreeze":
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprintf(w, `{"__type":%q,"message":"x"}`, code)
				case "Oakum.DescribeNodes":
					fmt.Fprint(w, `{"Nodes":[]}`)
				default:
					asked = append(asked, op)
				}
			}))
			defer s.Close()
			clientEnvironment(t, s.URL, "AKIAEXAMPLE", "secret")
			out, errOut, exit := oakumRun(t, "patch-now", "--operation", "Install", "--all", "--yes")
			if exit != exitFailed || out != "" || !strings.Contains(errOut, want) || len(asked) > 0 {
				t.Errorf("patch-now = %d, stdout %q, stderr %q, want %q; other calls %q", exit, out, errOut, want, asked)
			}
		})
	}
}

// TestEnvironment holds which of the AWS CLI's settings wins.
func TestEnvironment(t *testing.T) {
	clientEnvironment(t, "http://general.example", "AKIAEXAMPLE", "secret")
	profile := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(profile, []byte("[profile ops]\nregion = eu-north-1\nendpoint_url = http://profile.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", profile)
	for _, tc := range []struct {
		name                     string
		env                      map[string]string
		o                        clientOptions
		wantEndpoint, wantRegion string
	}{
		{"general", nil, clientOptions{}, "http://general.example", "us-east-1"},
		{"of_the_service", map[string]string{"AWS_ENDPOINT_URL_SSM": "http://ssm.example/"}, clientOptions{}, "http://ssm.example", "us-east-1"},
		{"flag", map[string]string{"AWS_ENDPOINT_URL_SSM": "http://ssm.example"}, clientOptions{endpoint: "http://flag.example", region: "eu-west-1"}, "http://flag.example", "eu-west-1"},
		{"region", map[string]string{"AWS_REGION": "ap-south-1"}, clientOptions{}, "http://general.example", "ap-south-1"},
		{"profile", map[string]string{"AWS_ENDPOINT_URL": "", "AWS_PROFILE": "ops"}, clientOptions{}, "http://profile.example", "eu-north-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
				if v == "" {
					os.Unsetenv(k)
				}
			}
			tc.o.output = "table"
			c, err := tc.o.connect(t.Context(), "nodes")
			if err != nil {
				t.Fatal(err)
			}
			if c.Endpoint.String() != tc.wantEndpoint || c.Region != tc.wantRegion {
				t.Errorf("connect = %s in %s, want %s in %s", c.Endpoint, c.Region, tc.wantEndpoint, tc.wantRegion)
			}
		})
	}
}

// TestBuckets reads back an object whose name needs every kind of escape.
func TestBuckets(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	s := servertest.Start(t, "sqlite")
	clientEnvironment(t, s.URL, s.Admin.AccessKeyID, s.Admin.SecretAccessKey)
	const key = "a b/ü+&=%41'(1).txt"
	body := strings.Repeat("line\n", 1000)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path = "/logs/" + key
	req.URL.RawPath = escapeKey(req.URL.Path)
	req.Header.Set("X-Amz-Content-Sha256", sigv4.Hash([]byte(body)))
	sigv4.Sign(req, sigv4.Hash([]byte(body)), s.Admin, servertest.Region, "s3", time.Now())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("put the object: %s %s", res.Status, text)
	}
	dir := t.TempDir()
	if out, errOut, code := oakumRun(t, "s3", "cp", "s3://logs/"+key, dir); code != 0 || out != "" || !strings.Contains(errOut, "4.9 KiB") {
		t.Errorf("s3 cp = %d %q %q", code, out, errOut)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "ü+&=%41'(1).txt")); err != nil || string(got) != body {
		t.Errorf("the copy has %d bytes, %v", len(got), err)
	}
	if out, _, code := oakumRun(t, "s3", "cp", "s3://logs/"+key, "-"); code != 0 || out != body {
		t.Errorf("s3 cp - = %d, %d bytes", code, len(out))
	}
	for args, want := range map[string]string{
		"s3 ls": "s3://logs\n", "s3 ls s3://logs": "s3://logs/a b/", "s3 ls s3://logs --recursive": "4.9 KiB", "s3 ls s3://logs -r -o json": `"Size": 5000`, "s3 ls s3://logs/a -r -o csv": "Key,LastModified,Size",
	} {
		if out, errOut, code := oakumRun(t, strings.Fields(args)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("oakum %s = %d %q %q, want %q", args, code, out, errOut, want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".oakum-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, errOut, code := oakumRun(t, "s3", "cp", "s3://logs/nothing", filepath.Join(dir, "x")); code != exitFailed || !strings.Contains(errOut, "there is no object s3://logs/nothing") {
		t.Errorf("s3 cp of nothing = %d %q", code, errOut)
	}
}

// TestInterrupt says how to go on with a command when the watching ends, where nobody can be asked.
func TestInterrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	s := servertest.Start(t, "sqlite")
	s.Nodes(1) // nobody answers for it
	clientEnvironment(t, s.URL, s.Admin.AccessKeyID, s.Admin.SecretAccessKey)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	talk := &signalled{until: ": Pending", then: stop}
	code := Main(ctx, []string{"patch-now", "--all"}, strings.NewReader(""), &out, talk)
	if code != exitFailed || out.Len() > 0 || !strings.Contains(talk.String(), "interrupted; the command goes on") || !strings.Contains(talk.String(), "--watch") {
		t.Errorf("interrupted patch-now = %d %q %q", code, out.String(), talk.String())
	}
}

// signalled is a stream that calls a function once a text has passed.
type signalled struct {
	bytes.Buffer
	until string
	then  func()
}

func (s *signalled) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), s.until) {
		s.then()
	}
	return n, err
}

func TestDoctorJudges(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return noon }
	for _, tc := range []struct {
		name string
		do   func(d *doctor)
		want string
	}{
		{"clock_right", func(d *doctor) { d.clock(-time.Second) }, checkOK},
		{"clock_off", func(d *doctor) { d.clock(time.Minute) }, checkWarn},
		{"clock_wrong", func(d *doctor) { d.clock(-6 * time.Minute) }, checkFail},
		{"certificate_good", func(d *doctor) { d.certificate("c", noon.Add(30*24*time.Hour), "x") }, checkOK},
		{"certificate_soon", func(d *doctor) { d.certificate("c", noon.Add(24*time.Hour), "x") }, checkWarn},
		{"certificate_over", func(d *doctor) { d.certificate("c", noon.Add(-time.Hour), "x") }, checkFail},
		{"no_name", func(d *doctor) { d.resolve(context.Background(), "no-such-host.invalid") }, checkFail},
		{"hinted", func(d *doctor) { d.fault(checkWarn, "x", hinted("text", "hint")) }, checkWarn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &doctor{now: now}
			tc.do(d)
			if len(d.list) != 1 || d.list[0].Status != tc.want || (d.list[0].Hint == "") != (tc.want == checkOK) {
				t.Errorf("checks = %+v, want one %s", d.list, tc.want)
			}
		})
	}
}

func TestDoctorFindsInterruptedDpkg(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("dpkg is on Linux")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "updates"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "updates", "0001"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := &doctor{now: time.Now}
	d.interrupted(t.Context(), dir)
	if len(d.list) != 1 || d.list[0].Status != checkFail || d.list[0].Hint != "dpkg --configure -a" {
		t.Errorf("checks = %+v", d.list)
	}
}

func TestDoctorServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "draining", http.StatusServiceUnavailable)
	}))
	defer s.Close()
	clientEnvironment(t, s.URL, "AKIAEXAMPLE", "secret")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.credentials"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := &doctor{area: "server", now: time.Now}
	d.server(t.Context(), &clientOptions{output: "table"}, dir)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	d.reach(t.Context(), u, s.Client())
	var b bytes.Buffer
	err = d.report(&Streams{Out: &b, Err: io.Discard}, &clientOptions{output: "table"})
	if e, ok := errors.AsType[*ExitError](err); !ok || e.Code != exitFailed || e.Err != nil {
		t.Errorf("report = %v", err)
	}
	for _, want := range []string{"master.key is missing", "can be read by others (mode 0644)", "-> chmod 600", "it answers that it is not ready"} {
		if runtime.GOOS != "windows" && !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}
