package bucket_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oakum.dev/iam"
	"oakum.dev/internal/api"
	"oakum.dev/internal/bucket"
	"oakum.dev/wire/sigv4"
)

const (
	account = "000000000001"
	secret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	nodeID  = "mi-0123456789abcdef0"
)

type keyring struct{}

func (keyring) AccessKey(_ context.Context, id, _ string) (string, iam.Principal, error) {
	kinds := map[string]iam.Kind{"AKIAADMIN": iam.Administrator, "AKIAREADER": iam.ReadOnly, "ASIANODE": iam.Node}
	if kinds[id] == "" {
		return "", iam.Principal{}, api.ErrUnknownKey
	}
	p := iam.Principal{Kind: kinds[id], Account: account}
	if p.Kind == iam.Node {
		p.NodeID = nodeID
	}
	return secret, p, nil
}

func (keyring) NodeKey(context.Context, string) ([]byte, iam.Principal, error) {
	return nil, iam.Principal{}, api.ErrUnknownKey
}

func start(t *testing.T, tls bool) (*httptest.Server, *bucket.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := bucket.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := api.New(api.Config{Credentials: keyring{}, REST: map[string]api.REST{
		"s3": {Handler: &bucket.Handler{Store: store, MaxObject: 32 << 20}, Stream: true, Unsigned: true, Path: sigv4.S3, WriteError: bucket.WriteError},
	}})
	srv := httptest.NewUnstartedServer(f)
	if tls {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv, store, filepath.Join(dir, account)
}

type request struct {
	method, path, host, key, body string
	header                        map[string]string
	hash                          string
}

func send(t *testing.T, srv *httptest.Server, q request) (status int, body string, h http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, srv.URL+q.path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	if q.host != "" {
		r.Host = q.host
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	if q.hash == "" {
		q.hash = sigv4.Hash([]byte(q.body))
	}
	if q.key == "" {
		q.key = "AKIAADMIN"
	}
	sigv4.Sign(r, q.hash, sigv4.Credentials{AccessKeyID: q.key, SecretAccessKey: secret}, "us-east-1", "s3", time.Now())
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func crc(s string) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(s))))
}

func TestHandler(t *testing.T) {
	srv, _, dir := start(t, false)
	own := "/out-put/run/" + nodeID + "/stdout"
	for _, tc := range []struct {
		name   string
		q      request
		status int
		want   string // in the body
	}{
		{"head_missing_bucket", request{method: "HEAD", path: "/out-put"}, 404, ""},
		{"node_heads_bucket_to_come", request{method: "HEAD", path: "/out-put", key: "ASIANODE"}, 200, ""},
		{"node_asks_for_encryption", request{method: "GET", path: "/out-put?encryption", key: "ASIANODE"}, 404, "ServerSideEncryptionConfigurationNotFoundError"},
		{"node_puts_own", request{method: "PUT", path: own, key: "ASIANODE", body: "hello", header: map[string]string{"X-Amz-Acl": "bucket-owner-full-control"}}, 200, ""},
		{"node_puts_other", request{method: "PUT", path: "/out-put/run/mi-0fedcba9876543210/stdout", key: "ASIANODE", body: "x"}, 403, "AccessDenied"},
		{"node_id_is_no_folder", request{method: "PUT", path: "/out-put/" + nodeID, key: "ASIANODE", body: "x"}, 403, "AccessDenied"},
		{"node_gets_own", request{method: "GET", path: own, key: "ASIANODE"}, 200, "hello"},
		{"node_gets_what_is_for_all", request{method: "GET", path: "/out-put/lists/override.json", key: "ASIANODE"}, 404, "NoSuchKey"},
		{"node_gets_other", request{method: "GET", path: "/out-put/run/mi-0fedcba9876543210/stdout", key: "ASIANODE"}, 403, "AccessDenied"},
		{"node_deletes_own", request{method: "DELETE", path: own, key: "ASIANODE"}, 403, "AccessDenied"},
		{"node_lists_all", request{method: "GET", path: "/out-put?list-type=2", key: "ASIANODE"}, 403, "AccessDenied"},
		{"reader_gets", request{method: "GET", path: own, key: "AKIAREADER"}, 200, "hello"},
		{"reader_puts", request{method: "PUT", path: "/out-put/a", key: "AKIAREADER", body: "x"}, 403, "AccessDenied"},
		{"virtual_host", request{method: "GET", path: "/run/" + nodeID + "/stdout", host: "out-put.localhost:80"}, 200, "hello"},
		{"virtual_host_of_address", request{method: "GET", path: "/run/" + nodeID + "/stdout", host: "out-put.127.0.0.1:80"}, 200, "hello"},
		{"range", request{method: "GET", path: own, header: map[string]string{"Range": "bytes=1-2"}}, 206, "el"},
		{"missing_key", request{method: "GET", path: "/out-put/none"}, 404, "NoSuchKey"},
		{"missing_bucket", request{method: "GET", path: "/none-such/none"}, 404, "NoSuchBucket"},
		{"dots", request{method: "PUT", path: "/out-put/a/%2e%2e/b", body: "x"}, 400, "InvalidArgument"},
		{"bucket_dots", request{method: "PUT", path: "/%2e%2e%2fetc/b", body: "x"}, 400, "InvalidArgument"},
		{"below_an_object", request{method: "PUT", path: own + "/x", body: "x"}, 409, "OperationAborted"},
		{"folder_as_object", request{method: "PUT", path: "/out-put/run", body: "x"}, 409, "OperationAborted"},
		{"spaces_and_plus", request{method: "PUT", path: "/out-put/a%20b+c%2Bd", body: "plus"}, 200, ""},
		{"spaces_and_plus_back", request{method: "GET", path: "/out-put/a%20b%2Bc%2Bd"}, 200, "plus"},
		{"hash_mismatch", request{method: "PUT", path: "/out-put/bad", body: "x", hash: sigv4.EmptyHash}, 400, "XAmzContentSHA256Mismatch"},
		{"hash_mismatch_stored_nothing", request{method: "GET", path: "/out-put/bad"}, 404, "NoSuchKey"},
		{"checksum", request{method: "PUT", path: "/out-put/sum", body: "abc", header: map[string]string{"X-Amz-Checksum-Crc32": crc("abc")}}, 200, ""},
		{"checksum_mismatch", request{method: "PUT", path: "/out-put/sum", body: "abd", header: map[string]string{"X-Amz-Checksum-Crc32": crc("abc")}}, 400, "BadDigest"},
		{"unsigned_over_http", request{method: "PUT", path: "/out-put/u", body: "x", hash: "UNSIGNED-PAYLOAD"}, 403, "SignatureDoesNotMatch"},
		{"too_large", request{method: "PUT", path: "/out-put/large", body: strings.Repeat("x", 32<<20+1)}, 400, "EntityTooLarge"},
		{"list", request{method: "GET", path: "/out-put?list-type=2&delimiter=%2F"}, 200, "<CommonPrefixes><Prefix>run/</Prefix></CommonPrefixes>"},
		{"list_page", request{method: "GET", path: "/out-put?list-type=2&max-keys=1"}, 200, "<NextContinuationToken>"},
		{"unknown_key", request{method: "GET", path: "/out-put", key: "AKIANOBODY"}, 403, "InvalidAccessKeyId"},
		{"delete", request{method: "DELETE", path: own}, 204, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body, h := send(t, srv, tc.q)
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("%s %s = %d %s, want %d with %s", tc.q.method, tc.q.path, status, body, tc.status, tc.want)
			}
			if tc.q.method == "HEAD" && tc.status == 200 && h.Get("X-Amz-Bucket-Region") != "us-east-1" {
				t.Errorf("X-Amz-Bucket-Region = %q, want us-east-1", h.Get("X-Amz-Bucket-Region"))
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "out-put", "run")); !os.IsNotExist(err) {
		t.Errorf("empty folders stay after a delete: %v", err)
	}
}

func TestStreamingTrailer(t *testing.T) {
	srv, _, dir := start(t, true)
	body := func(sum string) string {
		return "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:" + sum + "\r\n\r\n"
	}
	q := request{method: "PUT", path: "/bucket/key", hash: sigv4.StreamingUnsignedTrailer, header: map[string]string{
		"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": "11", "X-Amz-Trailer": "x-amz-checksum-crc32",
	}}
	for _, tc := range []struct {
		name, body string
		status     int
	}{
		{"right", body(crc("hello world")), 200},
		{"wrong_sum", body(crc("hello there")), 400},
		{"no_trailer", "b\r\nhello world\r\n0\r\n\r\n", 400},
		{"short", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc("hello") + "\r\n\r\n", 400},
		{"cut", "5\r\nhel", 400},
		{"no_size", "x\r\n", 400},
		{"negative", "-5\r\nhello\r\n", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q.body = tc.body
			if status, answer, _ := send(t, srv, q); status != tc.status {
				t.Errorf("PUT = %d %s, want %d", status, answer, tc.status)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(dir, "bucket", "key")); err != nil || string(b) != "hello world" {
		t.Errorf("stored %q, %v, want the decoded data of the one upload that was right", b, err)
	}
}

func TestPresigned(t *testing.T) {
	srv, store, _ := start(t, false)
	if _, err := store.Put(t.Context(), account, "reports", "a.csv", strings.NewReader("a,b\n")); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/reports/a.csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(at time.Time, valid time.Duration) int {
		u := sigv4.Presign(r, sigv4.UnsignedPayload, sigv4.Credentials{AccessKeyID: "AKIAADMIN", SecretAccessKey: secret}, "us-east-1", "s3", at, valid)
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := get(time.Now(), time.Hour); got != 200 {
		t.Errorf("presigned GET = %d, want 200", got)
	}
	if got := get(time.Now().Add(-2*time.Hour), time.Hour); got != 403 {
		t.Errorf("presigned GET after its time = %d, want 403", got)
	}
}

func TestCLI(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no aws command in PATH")
	}
	if testing.Short() {
		t.Skip("starts the AWS CLI ten times")
	}
	srv, _, dir := start(t, false)
	tlsSrv, _, tlsDir := start(t, true)
	tmp := t.TempDir()
	small, large := filepath.Join(tmp, "small"), filepath.Join(tmp, "large")
	for name, n := range map[string]int{small: 100, large: 20 << 20} {
		if err := os.WriteFile(name, []byte(strings.Repeat("0123456789", n/10)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(url string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), aws, append([]string{"--endpoint-url", url, "--region", "us-east-1", "--no-verify-ssl"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAADMIN", "AWS_SECRET_ACCESS_KEY="+secret, "AWS_CONFIG_FILE=/dev/null",
			"AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "PYTHONWARNINGS=ignore", "NO_PROXY=127.0.0.1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for _, tc := range []struct{ name, url, dir string }{{"http", srv.URL, dir}, {"https", tlsSrv.URL, tlsDir}} {
		t.Run(tc.name, func(t *testing.T) {
			run(tc.url, "s3", "mb", "s3://my-bucket")
			for _, f := range []string{small, large} {
				key := "s3://my-bucket/dir/" + filepath.Base(f)
				back := filepath.Join(tmp, tc.name+filepath.Base(f))
				run(tc.url, "s3", "cp", f, key)
				run(tc.url, "s3", "cp", key, back)
				want, err1 := os.ReadFile(f)
				got, err2 := os.ReadFile(back)
				if err1 != nil || err2 != nil || string(want) != string(got) {
					t.Errorf("%s does not come back as it was sent (%v, %v)", f, err1, err2)
				}
			}
			if out := run(tc.url, "s3", "ls", "s3://my-bucket/", "--recursive"); !strings.Contains(out, "dir/small") || !strings.Contains(out, "dir/large") {
				t.Errorf("ls = %s", out)
			}
			if out := run(tc.url, "s3", "ls"); !strings.Contains(out, "my-bucket") {
				t.Errorf("ls = %s", out)
			}
			run(tc.url, "s3", "rm", "s3://my-bucket/dir/small")
			if _, err := os.Stat(filepath.Join(tc.dir, "my-bucket", "dir", "small")); !os.IsNotExist(err) {
				t.Errorf("object stays after rm: %v", err)
			}
		})
	}
}

func TestListPages(t *testing.T) {
	srv, store, _ := start(t, false)
	for i := range 25 {
		if _, err := store.Put(t.Context(), account, "bucket", fmt.Sprintf("d%d/k%02d", i%3, i), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	count, token := 0, ""
	for range 20 {
		path := "/bucket?list-type=2&max-keys=4"
		if token != "" {
			path += "&continuation-token=" + token
		}
		_, body, _ := send(t, srv, request{method: "GET", path: path})
		count += strings.Count(body, "<Contents>")
		_, rest, ok := strings.Cut(body, "<NextContinuationToken>")
		if !ok {
			break
		}
		token, _, _ = strings.Cut(rest, "<")
	}
	if count != 25 {
		t.Errorf("pages hold %d objects, want 25", count)
	}
	_, body, _ := send(t, srv, request{method: "GET", path: "/bucket?list-type=2&delimiter=/&max-keys=2"})
	if strings.Count(body, "<CommonPrefixes>") != 2 || !strings.Contains(body, "<IsTruncated>true") {
		t.Errorf("folded page = %s, want two prefixes and more to come", body)
	}
}
