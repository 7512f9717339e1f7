package agent

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oakum.dev/document"
	"oakum.dev/wire/sigv4"
)

const testRegion = "oakum-1"

// fakeServer speaks the node's side of the protocol and verifies every signature.
type fakeServer struct {
	*httptest.Server
	t    testing.TB
	wake chan struct{}

	mu          sync.Mutex
	key         *rsa.PublicKey
	nodeID      string
	fingerprint string
	secrets     map[string]string // access key: secret
	tokens      int
	tokenLife   time.Duration
	updateKey   bool // ask for a rotation with the next token
	loseUpdate  bool // carry out the next rotation and lose the answer
	delayUpdate bool // hold the next rotation back, so that the answer is lost and the key comes into force later
	offered     [][]byte
	denied      bool
	down        bool
	offset      time.Duration // of the server's clock
	inbox       []*fakeMessage
	log         []string // operations in order, with what they were about
	replies     []fakeReply
	infos       []map[string]string
	inventories []map[string]any
	hashes      map[string]bool
	objects     map[string]string
	documents   map[string]string    // by name
	onReply     func(fakeReply) bool // false: answer 503
}

type fakeMessage struct {
	id, topic, payload string
	acked              bool
	visible            time.Time
}

type fakeReply struct {
	MessageID, ReplyID, Payload string
	replyPayload
}

func newFakeServer(t testing.TB, useTLS bool) *fakeServer {
	f := &fakeServer{t: t, wake: make(chan struct{}, 100), secrets: map[string]string{}, tokenLife: time.Hour, hashes: map[string]bool{}, objects: map[string]string{}, documents: map[string]string{}}
	if useTLS {
		f.Server = httptest.NewTLSServer(f)
	} else {
		f.Server = httptest.NewServer(f)
	}
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(func() { f.CloseClientConnections(); f.Close() })
	return f
}

func (f *fakeServer) caFile(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (f *fakeServer) pin() string {
	sum := sha256.Sum256(f.Certificate().RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (f *fakeServer) now() time.Time { return time.Now().Add(f.offset) }

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down := f.down
	w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
	f.mu.Unlock()
	if down {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method == http.MethodGet {
		if f.verify(w, r, body, "s3") {
			f.mu.Lock()
			text, ok := f.objects[r.URL.Path]
			f.mu.Unlock()
			if !ok {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, text)
		}
		return
	}
	if r.Method == http.MethodPut {
		if f.verify(w, r, body, "s3") {
			f.mu.Lock()
			f.objects[r.URL.Path] = string(body)
			f.mu.Unlock()
		}
		return
	}
	prefix, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	service := map[string]string{"AmazonSSM": "ssm", "EC2WindowsMessageDeliveryService": "ec2messages"}[prefix]
	switch op {
	case "RegisterManagedInstance":
		f.register(w, r, body)
	case "RequestManagedInstanceRoleToken", "UpdateManagedInstancePublicKey":
		if f.verifyNode(w, r, body) {
			f.nodeCall(w, op, body)
		}
	default:
		if f.verify(w, r, body, service) {
			f.call(w, r, op, body)
		}
	}
}

func fakeError(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, message)
}

func (f *fakeServer) register(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct{ ActivationId, ActivationCode, PublicKey, PublicKeyType, Fingerprint string }
	if err := json.Unmarshal(body, &in); err != nil || r.Header.Get("Authorization") != "" {
		fakeError(w, 400, "ValidationException", "bad request")
		return
	}
	if in.ActivationCode != "12345678901234567890" {
		fakeError(w, 400, "InvalidActivation", "Activation is not valid")
		return
	}
	der, err := base64.StdEncoding.DecodeString(in.PublicKey)
	if err != nil || len(in.PublicKey) != 392 || in.PublicKeyType != "Rsa" {
		fakeError(w, 400, "InvalidPublicKey", "")
		return
	}
	key, err := sigv4.ParseNodeKey(der)
	if err != nil {
		fakeError(w, 400, "InvalidPublicKey", err.Error())
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key, f.nodeID, f.fingerprint = key, "mi-0123456789abcdef0", in.Fingerprint
	fmt.Fprintf(w, `{"InstanceId":%q}`, f.nodeID)
}

func (f *fakeServer) verifyNode(w http.ResponseWriter, r *http.Request, body []byte) bool {
	auth, err := sigv4.Parse(r)
	f.mu.Lock()
	key, id, denied := f.key, f.nodeID, f.denied
	f.mu.Unlock()
	switch {
	case err != nil:
		fakeError(w, 400, "IncompleteSignature", err.Error())
	case denied || auth.AccessKeyID != id:
		fakeError(w, 400, "AccessDeniedException", "deregistered")
	case f.now().Sub(auth.Time).Abs() > 5*time.Minute:
		fakeError(w, 400, "RequestExpired", "clock")
	default:
		m := auth.Message(r, sigv4.Hash(body))
		if sigv4.VerifyNode(key, sigv4.StringToSign(auth.Time, auth.Scope, m.Canonical(sigv4.Raw)), auth.Signature) {
			return true
		}
		fakeError(w, 400, "InvalidSignatureException", "RSA signature does not match")
	}
	return false
}

func (f *fakeServer) verify(w http.ResponseWriter, r *http.Request, body []byte, service string) bool {
	auth, err := sigv4.Parse(r)
	if err != nil {
		fakeError(w, 400, "IncompleteSignature", err.Error())
		return false
	}
	f.mu.Lock()
	secret, denied := f.secrets[auth.AccessKeyID], f.denied
	f.mu.Unlock()
	rule := sigv4.Raw
	if service == "s3" {
		rule = sigv4.S3
	}
	m := auth.Message(r, sigv4.Hash(body))
	want := sigv4.Signature(sigv4.SigningKey(secret, auth.Scope), sigv4.StringToSign(auth.Time, auth.Scope, m.Canonical(rule)))
	switch {
	case denied:
		fakeError(w, 400, "AccessDeniedException", "deregistered")
	case secret == "":
		fakeError(w, 403, "UnrecognizedClientException", "unknown key")
	case f.now().Sub(auth.Time).Abs() > 5*time.Minute:
		fakeError(w, 403, "InvalidSignatureException", "Signature expired")
	case auth.Scope.Service != service || auth.Scope.Region != testRegion || auth.SessionToken != "token-"+auth.AccessKeyID || auth.Signature != want:
		fakeError(w, 403, "InvalidSignatureException", "signature does not match")
	default:
		return true
	}
	return false
}

func (f *fakeServer) nodeCall(w http.ResponseWriter, op string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, op)
	if op == "UpdateManagedInstancePublicKey" {
		var in struct{ NewPublicKey string }
		_ = json.Unmarshal(body, &in)
		der, _ := base64.StdEncoding.DecodeString(in.NewPublicKey)
		key, err := sigv4.ParseNodeKey(der)
		if err != nil {
			fakeError(w, 400, "InvalidPublicKey", err.Error())
			return
		}
		f.offered = append(f.offered, der)
		if f.delayUpdate {
			f.delayUpdate = false
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		f.accept(key)
		if f.loseUpdate {
			f.loseUpdate = false
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, `{}`)
		return
	}
	var in struct{ Fingerprint string }
	_ = json.Unmarshal(body, &in)
	if in.Fingerprint != f.fingerprint {
		fakeError(w, 400, "MachineFingerprintDoesNotMatch", "")
		return
	}
	f.tokens++
	id := fmt.Sprintf("ASIA%016d", f.tokens)
	f.secrets[id] = "secret-" + id
	fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q,"TokenExpirationDate":%d.5,"UpdateKeyPair":%v}`,
		id, "secret-"+id, "token-"+id, f.now().Add(f.tokenLife).Unix(), f.updateKey)
	f.updateKey = false
}

// accept puts a node's new key into force, which ends the sessions of before.
func (f *fakeServer) accept(key *rsa.PublicKey) {
	f.key, f.secrets = key, map[string]string{}
}

func (f *fakeServer) call(w http.ResponseWriter, r *http.Request, op string, body []byte) {
	var in struct {
		Name                                                                                 string
		InstanceId, Destination, MessageId, MessagesRequestId, ReplyId, Payload, FailureType string
		Items                                                                                []map[string]any
	}
	if err := json.Unmarshal(body, &in); err != nil {
		fakeError(w, 400, "ValidationException", err.Error())
		return
	}
	if op == "GetMessages" {
		f.getMessages(w, r, in.MessagesRequestId)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	entry := op
	switch op {
	case "GetDocument":
		text, ok := f.documents[in.Name]
		if !ok {
			fakeError(w, 400, "InvalidDocument", "Document with name "+in.Name+" does not exist.")
			return
		}
		f.log = append(f.log, op+" "+in.Name)
		b, _ := json.Marshal(map[string]string{"Name": in.Name, "Content": text, "DocumentType": "Command"})
		_, _ = w.Write(b)
		return
	case "UpdateInstanceInformation":
		var info map[string]string
		_ = json.Unmarshal(body, &info)
		f.infos = append(f.infos, info)
	case "AcknowledgeMessage":
		f.remove(in.MessageId)
	case "FailMessage":
		f.remove(in.MessageId)
		entry += " " + in.FailureType
	case "SendReply":
		reply := fakeReply{MessageID: in.MessageId, ReplyID: in.ReplyId, Payload: in.Payload}
		if err := json.Unmarshal([]byte(in.Payload), &reply.replyPayload); err != nil {
			f.t.Errorf("reply payload: %v", err)
		}
		if f.onReply != nil && !f.onReply(reply) {
			fakeError(w, 503, "InternalServerException", "")
			return
		}
		f.replies = append(f.replies, reply)
		entry += " " + string(reply.DocumentStatus)
		if reply.DocumentStatus != document.InProgress {
			f.remove(in.MessageId)
		}
	case "PutInventory":
		for _, item := range in.Items {
			hash, _ := item["ContentHash"].(string)
			if _, full := item["Content"]; !full && !f.hashes[hash] {
				fakeError(w, 400, "ItemContentMismatchException", "")
				return
			}
		}
		for _, item := range in.Items {
			hash, _ := item["ContentHash"].(string)
			f.hashes[hash] = true
			f.inventories = append(f.inventories, item)
		}
	}
	f.log = append(f.log, entry)
	fmt.Fprint(w, `{}`)
}

func (f *fakeServer) remove(id string) {
	for _, m := range f.inbox {
		if m.id == id {
			m.acked = true
		}
	}
}

func (f *fakeServer) getMessages(w http.ResponseWriter, r *http.Request, requestID string) {
	deadline := time.NewTimer(200 * time.Millisecond)
	defer deadline.Stop()
	for {
		f.mu.Lock()
		var list []map[string]string
		for _, m := range f.inbox {
			if !m.acked && time.Now().After(m.visible) {
				m.visible = time.Now().Add(300 * time.Millisecond)
				sum := sha256.Sum256([]byte(m.payload))
				list = append(list, map[string]string{
					"CreatedDate": "2026-11-22T00:46:27.000Z", "Destination": f.nodeID, "MessageId": m.id,
					"Topic": m.topic, "Payload": m.payload, "PayloadDigest": hex.EncodeToString(sum[:]),
				})
			}
		}
		f.mu.Unlock()
		if len(list) == 0 {
			select {
			case <-f.wake:
				continue
			case <-deadline.C:
			case <-r.Context().Done():
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Destination": f.nodeID, "MessagesRequestId": requestID, "Messages": list})
		return
	}
}

func (f *fakeServer) post(id, topic, payload string) {
	f.mu.Lock()
	f.inbox = append(f.inbox, &fakeMessage{id: id, topic: topic, payload: payload})
	f.mu.Unlock()
	f.wake <- struct{}{}
}

// send offers a command and returns its message id.
func (f *fakeServer) send(command, name string, content []byte, parameters string, extra string) string {
	id := "aws.ssm." + command + ".mi-0123456789abcdef0"
	f.post(id, "aws.ssm.sendCommand."+testRegion, fmt.Sprintf(`{"CommandId":%q,"DocumentName":%q,"Parameters":%s,"DocumentContent":%s%s}`, command, name, parameters, content, extra))
	return id
}

func (f *fakeServer) sendScript(t testing.TB, command string, lines ...string) string {
	b, _ := document.LookupBuiltin(document.RunShellScript)
	params, err := json.Marshal(map[string]any{"commands": lines})
	if err != nil {
		t.Fatal(err)
	}
	return f.send(command, document.RunShellScript, b.Content(), string(params), "")
}

func (f *fakeServer) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// waitFor polls a condition under the server's lock.
func (f *fakeServer) waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		f.mu.Lock()
		done := ok()
		f.mu.Unlock()
		if done {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Fatalf("timed out waiting for %s; operations so far: %v", what, f.log)
}

// final waits for the final reply of a message.
func (f *fakeServer) final(t testing.TB, id string) fakeReply {
	t.Helper()
	var got fakeReply
	f.waitFor(t, "the final reply of "+id, func() bool {
		i := slices.IndexFunc(f.replies, func(r fakeReply) bool {
			return r.MessageID == id && r.DocumentStatus != document.InProgress && r.DocumentStatus != document.SuccessAndReboot
		})
		if i >= 0 {
			got = f.replies[i]
		}
		return i >= 0
	})
	return got
}

// steps merges the step results of all replies to a message.
func (f *fakeServer) steps(id string) map[string]stepReply {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]stepReply{}
	for _, r := range f.replies {
		if r.MessageID == id {
			for name, s := range r.RuntimeStatus {
				all[name] = s
			}
		}
	}
	return all
}

func quickTiming() Timing {
	return Timing{
		Health: time.Hour, IdlePoll: 10 * time.Millisecond, BackoffBase: 10 * time.Millisecond, BackoffCap: 100 * time.Millisecond,
		Denied: 300 * time.Millisecond, KillWait: 2 * time.Second, CancelGrace: 300 * time.Millisecond, InventoryWait: time.Nanosecond,
		RebootWait: 200 * time.Millisecond, RequestTimeout: 5 * time.Second, UploadTimeout: 5 * time.Second, ReattachPolling: 20 * time.Millisecond,
	}
}

// registered registers a node with the server in a new state directory.
func registered(t testing.TB, f *fakeServer, change ...func(*Options)) string {
	t.Helper()
	o := Options{Endpoint: f.URL, Region: testRegion, ActivationID: "a-1", ActivationCode: "12345678901234567890", StateDir: filepath.Join(t.TempDir(), "state")}
	for _, c := range change {
		c(&o)
	}
	if _, err := Register(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o.StateDir
}

// running is an agent that runs until the test ends or stop is called.
type running struct {
	*Agent
	stop func()
	logs *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func run(t testing.TB, dir string, change ...func(*Config)) *running {
	t.Helper()
	logs := &logBuffer{}
	no := false
	cfg := Config{StateDir: dir, Version: "1.2.3", Timing: quickTiming(), Scope: &no, System: RealSystem(), Log: slog.New(slog.NewTextHandler(logs, nil))}
	cfg.System.BootID = func() string { return "boot-1" }
	cfg.System.Reboot = func(context.Context) error { return nil }
	for _, c := range change {
		c(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	var once sync.Once
	r := &running{Agent: a, logs: logs, stop: func() { once.Do(func() { cancel(); <-done }) }}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log(logs.String())
		}
	})
	return r
}
