// Package servertest starts a whole Oakum server in the test's process, with clients that sign: the AWS SDK as
// an administrator and as a reader, and managed nodes that follow a script. Start with Start or Engines.
package servertest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/server"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

// Region is where the clients of a server live unless a test says otherwise.
const Region = "us-east-1"

// Server is a server in this process with its clients.
type Server struct {
	*server.Server
	URL    string
	Engine string
	Admin  Key // its own key
	Reader Key // may only read
	Region string

	http   *http.Client // nil: the default one
	t      testing.TB
	dir    string
	dbURL  string
	offset *atomic.Int64
	stop   context.CancelFunc
	done   chan error
}

// Key is an access key with its session token, if it has one.
type Key = sigv4.Credentials

// Engines runs fn on a new server of each database engine, at the same time.
func Engines(t *testing.T, fn func(t *testing.T, s *Server)) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			fn(t, Start(t, engine))
		})
	}
}

// Start starts a server on an empty database and stops it when the test ends.
func Start(t testing.TB, engine string) *Server {
	t.Helper()
	s := &Server{t: t, Engine: engine, Region: Region, dir: t.TempDir(), offset: &atomic.Int64{}}
	if engine == "postgres" {
		s.dbURL = oakumtest.Postgres(t)
	}
	s.start()
	var err error
	if s.Admin, err = readCredentials(server.CredentialsFile(s.dir)); err != nil {
		t.Fatal(err)
	}
	if s.Reader.AccessKeyID, s.Reader.SecretAccessKey, err = s.NewKey(t.Context(), "reader", iam.ReadOnly); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return s
}

// Attach returns clients of a server that runs elsewhere, such as in a process that the test kills. Only what goes
// over the wire works on it.
func Attach(t testing.TB, url, dataDir string) *Server {
	t.Helper()
	s := &Server{URL: url, Region: Region, t: t, dir: dataDir, offset: &atomic.Int64{}}
	var err error
	if s.Admin, err = readCredentials(server.CredentialsFile(dataDir)); err != nil {
		t.Fatal(err)
	}
	return s
}

// AttachTLS is Attach for a server with a certificate of its own authority.
func AttachTLS(t testing.TB, url, dataDir, caFile string) *Server {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s := Attach(t, url, dataDir)
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return s
}

func (s *Server) start() {
	s.t.Helper()
	var log *slog.Logger
	if os.Getenv("OAKUM_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	srv, err := server.New(context.WithoutCancel(s.t.Context()), server.Config{
		DataDir: s.dir, Listen: []string{"http://127.0.0.1:0"}, DatabaseURL: s.dbURL, Now: s.Now, Log: log, Version: "test",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.Server, s.URL, s.stop, s.done = srv, srv.Addresses()[0], stop, make(chan error, 1)
	go func() { s.done <- srv.Run(ctx) }()
}

// Beside starts another server on the same PostgreSQL database and data directory, with the same clock and clients.
func (s *Server) Beside() *Server {
	s.t.Helper()
	other := *s
	other.start()
	s.t.Cleanup(func() {
		if err := other.Stop(); err != nil {
			s.t.Errorf("the second server ended with %v", err)
		}
	})
	return &other
}

// Stop drains the server; a second call does nothing.
func (s *Server) Stop() error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	s.stop = nil
	return <-s.done
}

// Restart stops the server and starts it on the same data, at another address.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.Stop(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

// Dir is the server's data directory.
func (s *Server) Dir() string { return s.dir }

// Now is the server's time: the real one, moved by Advance.
func (s *Server) Now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// Advance moves the server's clock.
func (s *Server) Advance(d time.Duration) { s.offset.Add(int64(d)) }

func readCredentials(path string) (k Key, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return k, err
	}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte("="))
		switch v := string(bytes.TrimSpace(value)); string(bytes.TrimSpace(name)) {
		case "aws_access_key_id":
			k.AccessKeyID = v
		case "aws_secret_access_key":
			k.SecretAccessKey = v
		}
	}
	return k, nil
}

// SSM is the AWS SDK's client with the given key.
func (s *Server) SSM(k Key) *ssm.Client {
	o := ssm.Options{
		Region: s.Region, BaseEndpoint: &s.URL,
		Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken),
	}
	if s.http != nil {
		o.HTTPClient = s.http
	}
	return ssm.New(o)
}

// STS is the AWS SDK's client with the given key.
func (s *Server) STS(k Key) *sts.Client {
	return sts.New(sts.Options{
		Region: s.Region, BaseEndpoint: &s.URL,
		Credentials: aws.CredentialsProvider(credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)),
	})
}

var prefixes = map[string]string{"ssm": "AmazonSSM", "ec2messages": "EC2WindowsMessageDeliveryService", "oakum": "Oakum", "tagging": "ResourceGroupsTaggingAPI_20170126"}

// Call performs one operation once, with the server's time, and reads the answer into out, which may be nil.
// in is a wire shape or, as a string, the JSON itself. Errors of the API are *awserr.Error.
func (s *Server) Call(ctx context.Context, k Key, service, op string, in any, out codec.Decodable) error {
	return s.call(ctx, service, op, in, out, func(r *http.Request, body []byte) error {
		sigv4.Sign(r, sigv4.Hash(body), k, s.Region, service, s.Now())
		return nil
	})
}

// REST performs one operation of a service that routes by method and path, and reads the answer into out, which may be nil.
func (s *Server) REST(ctx context.Context, k Key, service, method, path, body string, out codec.Decodable) error {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	sigv4.Sign(req, sigv4.Hash([]byte(body)), k, s.Region, service, s.Now())
	answer, err := s.do(req, path)
	if err != nil || out == nil {
		return err
	}
	return codec.Unmarshal(answer, out)
}

// Raw is Call for the answer as it came.
func (s *Server) Raw(ctx context.Context, k Key, service, op string, in any) ([]byte, error) {
	return s.send(ctx, service, op, in, func(r *http.Request, body []byte) error {
		sigv4.Sign(r, sigv4.Hash(body), k, s.Region, service, s.Now())
		return nil
	})
}

func (s *Server) call(ctx context.Context, service, op string, in any, out codec.Decodable, sign func(*http.Request, []byte) error) error {
	answer, err := s.send(ctx, service, op, in, sign)
	if err != nil || out == nil {
		return err
	}
	return codec.Unmarshal(answer, out)
}

func (s *Server) send(ctx context.Context, service, op string, in any, sign func(*http.Request, []byte) error) ([]byte, error) {
	var body []byte
	switch in := in.(type) {
	case string:
		body = []byte(in)
	case codec.Encodable:
		body = codec.Marshal(in)
	default:
		return nil, fmt.Errorf("%s: input is a %T", op, in)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", prefixes[service]+"."+op)
	if sign != nil {
		if err := sign(req, body); err != nil {
			return nil, err
		}
	}
	return s.do(req, op)
}

func (s *Server) do(req *http.Request, op string) ([]byte, error) {
	resp, err := cmp.Or(s.http, http.DefaultClient).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(answer, &e); err != nil {
			return nil, fmt.Errorf("%s answered %s %q", op, resp.Status, answer)
		}
		return nil, awserr.New(e.Type, resp.StatusCode, "%s", e.Message)
	}
	return answer, nil
}

// Audit reads all audit records of the account and region, oldest first.
func (s *Server) Audit() []*audit.Record {
	s.t.Helper()
	var out []*audit.Record
	s.View(func(tx *store.Tx) error {
		list, err := tx.AuditEvents(store.Scope{Account: s.Account(), Region: s.Region}, 100_000)
		for i := len(list) - 1; i >= 0; i-- {
			r := &audit.Record{}
			if err := json.Unmarshal([]byte(list[i].Body), r); err != nil {
				return err
			}
			out = append(out, r)
		}
		return err
	})
	return out
}

// View looks at the server's database beside it.
func (s *Server) View(fn func(tx *store.Tx) error) {
	s.t.Helper()
	st, err := store.Open(s.t.Context(), store.Config{Path: filepath.Join(s.dir, "oakum.db"), URL: s.dbURL, ReadOnly: true, Now: s.Now})
	if err != nil {
		s.t.Fatal(err)
	}
	defer st.Close()
	if err := st.View(s.t.Context(), fn); err != nil {
		s.t.Fatal(err)
	}
}

// Dump is the whole database as text, to see that a call changed nothing. Audit records are left out. Work that is due now, such as
// what a new node or a changed tag asks for, is done before.
func (s *Server) Dump() string {
	s.t.Helper()
	st, err := store.Open(s.t.Context(), store.Config{Path: filepath.Join(s.dir, "oakum.db"), URL: s.dbURL, ReadOnly: true, Now: s.Now})
	if err != nil {
		s.t.Fatal(err)
	}
	defer st.Close()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // the server's own work
		var next time.Time
		if err := st.View(s.t.Context(), func(tx *store.Tx) (err error) { next, err = tx.NextWork(); return err }); err != nil {
			s.t.Fatal(err)
		}
		if next.IsZero() || next.After(s.Now()) {
			break
		}
	}
	var b bytes.Buffer
	if err := st.Dump(s.t.Context(), &b); err != nil {
		s.t.Fatal(err)
	}
	text, _, _ := bytes.Cut(b.Bytes(), []byte(`{"table":"audit_event"`))
	return string(text)
}
