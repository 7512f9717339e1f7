package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/coder/websocket"

	"oakum.dev/wire/mgs"
	"oakum.dev/wire/sigv4"
)

const (
	parkedFor = 60 * time.Second // long enough for four polls and a ping of each node
	perAct    = 1000             // nodes an activation takes
	atOnce    = 64               // registrations and connections under way
)

// hollow is a node without a machine: it takes commands and says at once that they succeeded.
type hollow struct {
	f        *fleet
	id       string
	creds    sigv4.Credentials
	received time.Time
}

// fleet is a server process and its hollow nodes. All of them run on the same cores, so that figures compare only within a run.
type fleet struct {
	url    string
	admin  *ssm.Client
	client *http.Client
	key    *rsa.PrivateKey
	public string
	pid    int
	nodes  []*hollow
	took   sync.WaitGroup // of the command under way
}

// measureFleet parks nodes at a server on each transport and sends one command to all of them; the same with an earlier
// version of the program, where there is one.
func measureFleet(t *table, oakum, before string, sizes []int) error {
	for _, n := range sizes {
		for _, transport := range []string{"poll", "channel"} {
			for _, program := range []struct{ name, path string }{{"", oakum}, {"before: ", before}} {
				if program.path == "" {
					continue
				}
				err := measureOne(t, program.name, program.path, transport, n)
				if program.name != "" && err != nil { // it may not have this transport
					fmt.Printf("%s%d nodes by %s: %v\n", program.name, n, transport, err)
					continue
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func measureOne(t *table, name, oakum, transport string, n int) error {
	dir, err := os.MkdirTemp("", "oakum-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	l.Close()
	server, err := start(filepath.Join(dir, "server.log"), oakum, "server", "--data-dir", dir, "--listen", "https://"+address)
	if err != nil {
		return err
	}
	defer stop(server)
	f := &fleet{url: "https://" + address, pid: server.Process.Pid}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := f.connect(ctx, dir); err != nil {
		return err
	}
	if err := f.populate(ctx, n); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // what registration left to be collected
	before, err := status(f.pid)
	if err != nil {
		return err
	}
	ready := make(chan error, n)
	gate := make(chan struct{}, atOnce)
	for _, h := range f.nodes {
		go func() {
			gate <- struct{}{}
			if transport == "poll" {
				<-gate
				ready <- nil
				h.poll(ctx)
				return
			}
			c, err := h.open(ctx)
			<-gate
			ready <- err
			if err == nil {
				h.serve(ctx, c)
			}
		}()
	}
	for range f.nodes {
		if err := <-ready; err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second)
	cpu := ticks(f.pid)
	time.Sleep(parkedFor)
	cpu = ticks(f.pid) - cpu
	after, err := status(f.pid)
	if err != nil {
		return err
	}
	kb := (after["VmRSS"] - before["VmRSS"]) / float64(n)
	label := fmt.Sprintf("%s%d nodes by %s, ", name, n, transport)
	target := 60.0 // kB of a parked node; it is our own promise that counts, not an earlier version's
	if name != "" {
		target = 1e9
	}
	t.line(label+"memory of one", kb, target, "kB", fmt.Sprintf("server at %.0f MiB", after["VmRSS"]/1024))
	t.line(label+"processor", cpu/parkedFor.Seconds()/float64(n)*1000, target/60*5, "%", "of one core, for a thousand idle nodes")
	return f.dispatch(ctx, t, label, target)
}

// dispatch sends one command to all nodes.
func (f *fleet) dispatch(ctx context.Context, t *table, label string, target float64) error {
	f.took.Add(len(f.nodes))
	start := time.Now()
	out, err := f.admin.SendCommand(ctx, &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"), Parameters: map[string][]string{"commands": {"true"}}, MaxConcurrency: aws.String("100%"), MaxErrors: aws.String("100%"),
		Targets: []types.Target{{Key: aws.String("tag:Bench"), Values: []string{"fleet"}}},
	})
	if err != nil {
		return err
	}
	accepted := time.Now()
	done := make(chan struct{})
	go func() { f.took.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		return errors.New("five minutes after the command some nodes have not got it")
	}
	var waits []time.Duration
	for _, h := range f.nodes {
		waits = append(waits, h.received.Sub(accepted))
	}
	slices.Sort(waits)
	last := waits[len(waits)-1]
	for {
		list, err := f.admin.ListCommands(ctx, &ssm.ListCommandsInput{CommandId: out.Command.CommandId})
		if err != nil {
			return err
		}
		if c := list.Commands[0]; c.Status == types.CommandStatusSuccess {
			break
		} else if c.Status != types.CommandStatusInProgress && c.Status != types.CommandStatusPending {
			return fmt.Errorf("the command ended %s", aws.ToString(c.StatusDetails))
		}
		time.Sleep(50 * time.Millisecond)
	}
	end := time.Since(accepted)
	at := func(p float64) float64 { return waits[int(p*float64(len(waits)-1))].Seconds() }
	t.line(label+"command to the last node", last.Seconds(), target/60*30, "s", fmt.Sprintf("%.0f a second; half of them after %.2f s, 99 %% after %.2f s; accepted in %.2f s; all replies in after %.1f s",
		float64(len(waits))/last.Seconds(), at(0.5), at(0.99), accepted.Sub(start).Seconds(), end.Seconds()))
	return nil
}

func (f *fleet) connect(ctx context.Context, dir string) error {
	var pem []byte
	for range 100 {
		var err error
		if pem, err = os.ReadFile(filepath.Join(dir, "ca.pem")); err == nil {
			if _, err = os.Stat(filepath.Join(dir, "admin.credentials")); err == nil {
				break
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	f.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 1 << 15, MaxIdleConns: 1 << 15, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}}
	for try := 0; ; try++ {
		res, err := f.client.Get(f.url + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if try == 100 {
			return fmt.Errorf("the server at %s does not get ready: %w", f.url, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithSharedCredentialsFiles([]string{filepath.Join(dir, "admin.credentials")}))
	if err != nil {
		return err
	}
	f.admin = ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.BaseEndpoint, o.HTTPClient = &f.url, f.client })
	if f.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	f.public = base64.StdEncoding.EncodeToString(der)
	return err
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return mgs.FormatID(b)
}

// populate registers the nodes, with sessions and a first heartbeat.
func (f *fleet) populate(ctx context.Context, n int) error {
	errs := make(chan error, n)
	gate := make(chan struct{}, atOnce)
	var mu sync.Mutex
	for first := 0; first < n; first += perAct {
		a, err := f.admin.CreateActivation(ctx, &ssm.CreateActivationInput{IamRole: aws.String("bench"), RegistrationLimit: aws.Int32(int32(min(perAct, n-first))), Tags: []types.Tag{{Key: aws.String("Bench"), Value: aws.String("fleet")}}})
		if err != nil {
			return err
		}
		for range min(perAct, n-first) {
			go func() {
				gate <- struct{}{}
				defer func() { <-gate }()
				h, err := f.register(ctx, *a.ActivationId, *a.ActivationCode)
				mu.Lock()
				f.nodes = append(f.nodes, h)
				mu.Unlock()
				errs <- err
			}()
		}
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) register(ctx context.Context, id, code string) (*hollow, error) {
	h := &hollow{f: f}
	fingerprint := uuid()
	var reg struct{ InstanceId string }
	register := func() error {
		return f.call(ctx, "ssm", "AmazonSSM.RegisterManagedInstance", map[string]string{
			"ActivationId": id, "ActivationCode": code, "PublicKey": f.public, "PublicKeyType": "Rsa", "Fingerprint": fingerprint,
		}, &reg, nil)
	}
	err := register()
	for err != nil && strings.Contains(err.Error(), "ThrottlingException") {
		time.Sleep(time.Second) // so many nodes at once come from nowhere else
		err = register()
	}
	if err != nil {
		return nil, err
	}
	h.id = reg.InstanceId
	var tok struct{ AccessKeyId, SecretAccessKey, SessionToken string }
	err = f.call(ctx, "ssm", "AmazonSSM.RequestManagedInstanceRoleToken", map[string]string{"Fingerprint": fingerprint}, &tok, func(r *http.Request, body []byte) error {
		return sigv4.SignNode(rand.Reader, r, sigv4.Hash(body), h.id, region, f.key, time.Now())
	})
	if err != nil {
		return nil, err
	}
	h.creds = sigv4.Credentials{AccessKeyID: tok.AccessKeyId, SecretAccessKey: tok.SecretAccessKey, SessionToken: tok.SessionToken}
	return h, h.call(ctx, "ssm", "AmazonSSM.UpdateInstanceInformation", map[string]string{
		"InstanceId": h.id, "AgentName": "amazon-ssm-agent", "AgentStatus": "Active", "AgentVersion": "3.3.0.0", "PlatformType": "Linux", "PlatformName": "Debian GNU/Linux", "PlatformVersion": "12",
	}, nil)
}

func (h *hollow) call(ctx context.Context, service, target string, in, out any) error {
	return h.f.call(ctx, service, target, in, out, func(r *http.Request, body []byte) error {
		sigv4.Sign(r, sigv4.Hash(body), h.creds, region, service, time.Now())
		return nil
	})
}

func (f *fleet) call(ctx context.Context, _, target string, in, out any, sign func(*http.Request, []byte) error) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	if sign != nil {
		if err := sign(r, body); err != nil {
			return err
		}
	}
	res, err := f.client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s %s", target, res.Status, b)
	case out == nil:
		return nil
	}
	return json.Unmarshal(b, out)
}

// poll takes commands by ec2messages until ctx ends.
func (h *hollow) poll(ctx context.Context) {
	const prefix = "EC2WindowsMessageDeliveryService."
	for ctx.Err() == nil {
		var out struct{ Messages []struct{ MessageId string } }
		err := h.call(ctx, "ec2messages", prefix+"GetMessages", map[string]any{"Destination": h.id, "MessagesRequestId": uuid(), "VisibilityTimeoutInSeconds": 30}, &out)
		if err != nil {
			time.Sleep(100 * time.Millisecond) // a request that was cut
			continue
		}
		for _, m := range out.Messages {
			h.got()
			_ = h.call(ctx, "ec2messages", prefix+"AcknowledgeMessage", map[string]string{"MessageId": m.MessageId}, nil) // else it is offered again
			_ = h.call(ctx, "ec2messages", prefix+"SendReply", map[string]string{"MessageId": m.MessageId, "ReplyId": uuid(), "Payload": succeeded}, nil)
		}
	}
}

// succeeded is the reply of a command that did nothing.
const succeeded = `{"documentStatus":"Success","documentTraceOutput":"","runtimeStatus":{"aws:runShellScript":{"status":"Success","code":0,"name":"aws:runShellScript",
"output":"","standardOutput":"","standardError":"","startDateTime":"2026-11-22T00:46:27.578Z","endDateTime":"2026-11-22T00:46:27.618Z"}}}`

// got notes the first arrival of the command.
func (h *hollow) got() {
	if h.received.IsZero() {
		h.received = time.Now()
		h.f.took.Done()
	}
}

// open opens the node's control channel.
func (h *hollow) open(ctx context.Context) (*websocket.Conn, error) {
	request := func(method, query string, body []byte) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, method, h.f.url+mgs.Path+h.id+query, bytes.NewReader(body))
		if err == nil {
			sigv4.Sign(r, sigv4.Hash(body), h.creds, region, "ssmmessages", time.Now())
		}
		return r, err
	}
	r, err := request(http.MethodPost, "", fmt.Appendf(nil, `{"MessageSchemaVersion":"1.0","RequestId":"%s"}`, uuid()))
	if err != nil {
		return nil, err
	}
	res, err := h.f.client.Do(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	var token struct{ TokenValue string }
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s %s", res.Status, strings.TrimSpace(string(b)))
	}
	if err == nil {
		err = xml.Unmarshal(b, &token)
	}
	if err != nil {
		return nil, err
	}
	if r, err = request(http.MethodGet, "?role=subscribe&stream=input", nil); err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "oakum-agent/bench") // it takes jobs at once
	c, _, err := websocket.Dial(ctx, r.URL.String(), &websocket.DialOptions{HTTPClient: h.f.client, HTTPHeader: r.Header})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(mgs.MaxFrame)
	b, err = json.Marshal(mgs.Open{MessageSchemaVersion: "1.0", RequestID: uuid(), TokenValue: token.TokenValue, AgentVersion: "3.3.0.0", PlatformType: "linux"})
	if err != nil {
		return nil, err
	}
	return c, c.Write(ctx, websocket.MessageText, b)
}

// serve takes commands over the channel, and pings as agents do.
func (h *hollow) serve(ctx context.Context, c *websocket.Conn) {
	defer c.CloseNow()
	go func() {
		for wait := time.NewTicker(54 * time.Second); ; {
			select {
			case <-ctx.Done():
				wait.Stop()
				return
			case <-wait.C:
				_ = c.Ping(ctx) // a channel that is lost ends the reader
			}
		}
	}()
	send := func(kind string, payload any) {
		b, err := json.Marshal(payload)
		if err != nil {
			return
		}
		f := mgs.Frame{Type: kind, Created: time.Now(), Payload: b}
		_, _ = rand.Read(f.ID[:])                             // never fails
		_ = c.Write(ctx, websocket.MessageBinary, f.Encode()) // a channel that is lost ends the reader
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		f, err := mgs.Decode(b)
		if err != nil || f.Type != mgs.AgentJob {
			continue
		}
		var j mgs.Job
		if json.Unmarshal(f.Payload, &j) != nil {
			continue
		}
		h.got()
		send(mgs.AgentJobAck, mgs.JobAck{JobID: j.JobID, AcknowledgedMessageID: mgs.FormatID(f.ID), StatusCode: mgs.Successful})
		send(mgs.AgentJobReply, mgs.JobReply{SchemaVersion: 1, JobID: j.JobID, Content: succeeded, Topic: "aws.ssm.sendCommand"})
	}
}
