package servertest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"oakum.dev/arn"
	"oakum.dev/compliance"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

// Node is a managed node that does what a test tells it.
type Node struct {
	ID          string
	Key         *rsa.PrivateKey
	Fingerprint string
	Session     Key // of the node's role

	s *Server
}

var keys struct {
	sync.Mutex
	list []*rsa.PrivateKey
	next int
}

// nodeKey hands out a few keys in turn: making one takes longer than all else that a test does.
func nodeKey(t testing.TB) *rsa.PrivateKey {
	keys.Lock()
	defer keys.Unlock()
	keys.next++
	if len(keys.list) < 4 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys.list = append(keys.list, k)
		return k
	}
	return keys.list[keys.next%len(keys.list)]
}

// PublicKey is a node's public key as it goes over the wire.
func PublicKey(t testing.TB, k *rsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// Activate makes an activation for limit nodes.
func (s *Server) Activate(limit int64, tags ...ssm.Tag) (id, code string) {
	s.t.Helper()
	var out ssm.CreateActivationOutput
	in := &ssm.CreateActivationInput{IamRole: new("service-role/SSMRole"), RegistrationLimit: &limit, Tags: tags, DefaultInstanceName: new("web")}
	if err := s.Call(s.t.Context(), s.Admin, "ssm", "CreateActivation", in, &out); err != nil {
		s.t.Fatal(err)
	}
	return *out.ActivationId, *out.ActivationCode
}

// Register makes a node with an activation, without asking for its session yet.
func (s *Server) Register(id, code string) (*Node, error) {
	n := &Node{Key: nodeKey(s.t), s: s}
	var err error
	if n.Fingerprint, err = arn.NewUUID(rand.Reader); err != nil {
		return nil, err
	}
	var out ssm.RegisterManagedInstanceOutput
	err = s.call(s.t.Context(), "ssm", "RegisterManagedInstance", &ssm.RegisterManagedInstanceInput{
		ActivationId: &id, ActivationCode: &code, PublicKey: new(PublicKey(s.t, n.Key)), PublicKeyType: new("Rsa"), Fingerprint: &n.Fingerprint,
	}, &out, nil)
	n.ID = codec.Value(out.InstanceId)
	return n, err
}

// Nodes makes that many registered nodes with sessions and a first heartbeat as Debian 12.
func (s *Server) Nodes(count int, tags ...ssm.Tag) []*Node {
	s.t.Helper()
	id, code := s.Activate(int64(count), tags...)
	list := make([]*Node, count)
	for i := range list {
		n, err := s.Register(id, code)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := n.Login(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		if err := n.Heartbeat(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		list[i] = n
	}
	return list
}

// At is the same node as it talks to another server.
func (n *Node) At(s *Server) *Node {
	other := *n
	other.s = s
	return &other
}

// AsNode performs a call that is signed with the node's own key.
func (n *Node) AsNode(ctx context.Context, op string, in codec.Encodable, out codec.Decodable) error {
	return n.s.call(ctx, "ssm", op, in, out, func(r *http.Request, body []byte) error {
		return sigv4.SignNode(rand.Reader, r, sigv4.Hash(body), n.ID, n.s.Region, n.Key, n.s.Now())
	})
}

// Login takes session credentials.
func (n *Node) Login(ctx context.Context) error {
	var out ssm.RequestManagedInstanceRoleTokenOutput
	err := n.AsNode(ctx, "RequestManagedInstanceRoleToken", &ssm.RequestManagedInstanceRoleTokenInput{Fingerprint: &n.Fingerprint}, &out)
	if err != nil {
		return err
	}
	n.Session = Key{AccessKeyID: *out.AccessKeyId, SecretAccessKey: *out.SecretAccessKey, SessionToken: *out.SessionToken}
	return nil
}

// Call performs an operation with the node's session.
func (n *Node) Call(ctx context.Context, service, op string, in any, out codec.Decodable) error {
	return n.s.Call(ctx, n.Session, service, op, in, out)
}

// Heartbeat reports the node as Debian 12.
func (n *Node) Heartbeat(ctx context.Context) error {
	return n.Call(ctx, "ssm", "UpdateInstanceInformation", &ssm.UpdateInstanceInformationInput{
		InstanceId: &n.ID, AgentName: new("amazon-ssm-agent"), AgentStatus: new("Active"), AgentVersion: new("3.3.0.0"), PlatformType: new("Linux"),
		PlatformName: new("Debian GNU/Linux"), PlatformVersion: new("12"), ComputerName: new("node"), IPAddress: new("10.0.0.1"),
	}, nil)
}

// Poll takes the waiting messages; it is held like an agent's poll when there are none.
func (n *Node) Poll(ctx context.Context) ([]ec2messages.Message, error) {
	id, err := arn.NewUUID(rand.Reader)
	if err != nil {
		return nil, err
	}
	var out ec2messages.GetMessagesOutput
	err = n.Call(ctx, "ec2messages", "GetMessages", &ec2messages.GetMessagesInput{
		Destination: &n.ID, MessagesRequestId: &id, VisibilityTimeoutInSeconds: new(int64(10)),
	}, &out)
	return out.Messages, err
}

// PollNow is Poll, given up after a short time.
func (n *Node) PollNow(ctx context.Context) []ec2messages.Message {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // a busy machine takes its time
	defer cancel()
	list, _ := n.Poll(ctx) // nothing waits: the poll was cut off
	return list
}

// Ack acknowledges a message.
func (n *Node) Ack(ctx context.Context, messageID string) error {
	return n.Call(ctx, "ec2messages", "AcknowledgeMessage", &ec2messages.AcknowledgeMessageInput{MessageId: &messageID}, nil)
}

// Step is one step of a reply.
type Step struct {
	Status, Plugin, Stdout, Stderr, Started, Ended string
	Code                                           int
}

// Reply sends a reply with the document's status and its steps.
func (n *Node) Reply(ctx context.Context, messageID, status string, steps map[string]Step) error {
	payload, err := ReplyPayload(status, steps)
	if err != nil {
		return err
	}
	id, err := arn.NewUUID(rand.Reader)
	if err != nil {
		return err
	}
	return n.Call(ctx, "ec2messages", "SendReply", &ec2messages.SendReplyInput{MessageId: &messageID, Payload: &payload, ReplyId: &id}, nil)
}

// ReplyPayload is the payload of a reply.
func ReplyPayload(status string, steps map[string]Step) (string, error) {
	runtime := map[string]any{}
	for name, st := range steps {
		runtime[name] = map[string]any{
			"status": st.Status, "code": st.Code, "name": st.Plugin, "output": st.Stdout, "standardOutput": st.Stdout, "standardError": st.Stderr,
			"startDateTime": st.Started, "endDateTime": st.Ended,
		}
	}
	b, err := json.Marshal(map[string]any{"documentStatus": status, "documentTraceOutput": "", "runtimeStatus": runtime})
	return string(b), err
}

// Finish acknowledges a message of AWS-RunShellScript and reports its end.
func (n *Node) Finish(ctx context.Context, messageID, status string, code int, stdout string) error {
	if err := n.Ack(ctx, messageID); err != nil {
		return err
	}
	now := n.s.Now().UTC().Format(time.RFC3339)
	return n.Reply(ctx, messageID, status, map[string]Step{
		"aws:runShellScript": {Status: status, Plugin: "aws:runShellScript", Code: code, Stdout: stdout, Started: now, Ended: now},
	})
}

// PutResult uploads a scan as Oakum's agent does: the hash first, then what the server lacks.
func (n *Node) PutResult(ctx context.Context, r *compliance.Result) error {
	b := compliance.EncodeItems(r.Items)
	in := &oakum.PutPatchResultInput{InstanceId: &n.ID, Header: new(string(compliance.EncodeHeader(&r.Header))), ItemsHash: new(compliance.Hash(b))}
	var available []byte
	if len(r.Available) > 0 {
		available = compliance.EncodeAvailable(r.Available)
		in.AvailableHash = new(compliance.Hash(available))
	}
	for range 2 {
		var out oakum.PutPatchResultOutput
		if err := n.Call(ctx, "oakum", "PutPatchResult", in, &out); err != nil || codec.Value(out.Stored) {
			return err
		}
		if codec.Value(out.ItemsNeeded) {
			in.Items = store.Compress(b)
		}
		if codec.Value(out.AvailableNeeded) {
			in.Available = store.Compress(available)
		}
	}
	return context.DeadlineExceeded // the server went on asking for what it has got
}

// Inventory turns a result into the PutInventory call that reports it.
func (n *Node) Inventory(r *compliance.Result) *ssm.PutInventoryInput {
	in := &ssm.PutInventoryInput{InstanceId: &n.ID}
	for _, i := range r.Inventory() {
		in.Items = append(in.Items, ssm.InventoryItem{
			TypeName: &i.TypeName, SchemaVersion: &i.SchemaVersion, CaptureTime: &i.CaptureTime, ContentHash: &i.ContentHash, Content: i.Content, Context: i.Context,
		})
	}
	return in
}
