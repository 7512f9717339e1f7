package server_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/coder/websocket"

	"oakum.dev/internal/agent"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/server"
	"oakum.dev/wire/mgs"
)

// eventually waits for what another goroutine or process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func openChannel(t *testing.T, n *servertest.Node) *servertest.Channel {
	t.Helper()
	c, err := n.OpenChannel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() }) // it may be closed already
	return c
}

// soon is a context for what comes at once, if it comes.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestControlChannel drives a node by its control channel as an unmodified AWS agent opens and answers it.
//
// proves
func TestControlChannel(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		client, nodes := s.SSM(s.Admin), s.Nodes(3)
		n := nodes[0]
		c := openChannel(t, n)
		sent := must[*ssm.SendCommandOutput](t)(client.SendCommand(t.Context(), shell(n.ID))).Command
		var job mgs.Job
		f, err := c.Next(soon(t), mgs.AgentJob, &job)
		try(t, err)
		if want := "aws.ssm." + *sent.CommandId + "." + n.ID; job.JobID != want || job.Topic != "aws.ssm.sendCommand.us-east-1" || job.SchemaVersion != 1 || !strings.Contains(job.Content, `"DocumentContent":{`) {
			t.Fatalf("job %+v, want the id %s", job, want)
		}

		// A full agent gets the message again; so does one that says nothing. One that has acknowledged does not.
		try(t, c.Ack(soon(t), f, job.JobID, mgs.ProcessorBufferFull))
		s.Advance(11 * time.Second)
		wake := must[*ssm.SendCommandOutput](t)(client.SendCommand(t.Context(), shell(n.ID))).Command // the channel's own timer goes by the real clock
		ids := map[string]mgs.Frame{}
		for range 2 {
			f, err := c.Next(soon(t), mgs.AgentJob, &job)
			try(t, err)
			ids[job.JobID] = f
		}
		first, second := "aws.ssm."+*sent.CommandId+"."+n.ID, "aws.ssm."+*wake.CommandId+"."+n.ID
		if len(ids) != 2 || ids[first].Type == "" || ids[second].Type == "" {
			t.Fatalf("offered: %v", ids)
		}
		try(t, c.Ack(soon(t), ids[first], first, mgs.Successful))
		try(t, c.Ack(soon(t), ids[second], second, mgs.DuplicateCommand))

		// Replies in the wrong order, and one that cannot be read: each is acknowledged, the end stays the end.
		ok := must[string](t)(servertest.ReplyPayload("Success", map[string]servertest.Step{"aws:runShellScript": {Status: "Success", Plugin: "aws:runShellScript", Stdout: "done"}}))
		progress := must[string](t)(servertest.ReplyPayload("InProgress", nil))
		for _, content := range []string{ok, progress, "{", ok} {
			try(t, c.Reply(soon(t), first, content))
		}
		if g := invocation(t, client, sent.CommandId, n.ID); g.Status != "Success" || *g.StandardOutputContent != "done" {
			t.Errorf("the invocation is %s %q", g.Status, *g.StandardOutputContent)
		}
		try(t, c.Reply(soon(t), "aws.ssm."+*sent.CommandId+"."+nodes[1].ID, ok)) // another node's: taken for nothing

		// A message that cannot be run is over.
		try(t, c.Ack(soon(t), ids[second], second, mgs.InvalidDocument))
		eventually(t, "the end of a refused command", func() bool { return invocation(t, client, wake.CommandId, n.ID).Status == "Failed" })

		// Cancel goes the same way.
		run := must[*ssm.SendCommandOutput](t)(client.SendCommand(t.Context(), shell(n.ID))).Command
		f, err = c.Next(soon(t), mgs.AgentJob, &job)
		try(t, err)
		try(t, c.Ack(soon(t), f, job.JobID, mgs.Successful))
		eventually(t, "the acknowledgement", func() bool { return invocation(t, client, run.CommandId, n.ID).Status == "InProgress" })
		must[*ssm.CancelCommandOutput](t)(client.CancelCommand(t.Context(), &ssm.CancelCommandInput{CommandId: run.CommandId}))
		_, err = c.Next(soon(t), mgs.AgentJob, &job)
		try(t, err)
		if job.Topic != "aws.ssm.cancelCommand.us-east-1" || !strings.Contains(job.Content, "aws.ssm."+*run.CommandId+"."+n.ID) {
			t.Errorf("cancel came as %+v", job)
		}

		// A newer channel takes the place of the older one, which is closed.
		newer := openChannel(t, n)
		if _, _, err := c.Read(soon(t)); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the older channel ends with %v", err)
		}

		// Deregistration closes it at once.
		must[*ssm.DeregisterManagedInstanceOutput](t)(client.DeregisterManagedInstance(t.Context(), &ssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}))
		for {
			if _, _, err := newer.Read(soon(t)); err != nil {
				if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
					t.Errorf("the channel of a deregistered node ends with %v", err)
				}
				break
			}
		}
		if _, err := n.ChannelToken(t.Context(), n.ID); err == nil {
			t.Error("a deregistered node got a token")
		}
	})
}

// TestControlChannelRefusals: nobody opens a channel that is not theirs, and what is sent on one cannot do harm.
//
// proves R-10
func TestControlChannelRefusals(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, "sqlite")
	nodes := s.Nodes(2)
	n := nodes[0]
	if _, err := n.ChannelToken(t.Context(), nodes[1].ID); err == nil || !strings.Contains(err.Error(), "<AccessDeniedException>") {
		t.Errorf("another node's channel: %v", err) // by this element the AWS agent turns to polling
	}
	theirs := must[string](t)(nodes[1].ChannelToken(t.Context(), nodes[1].ID))
	late := must[string](t)(n.ChannelToken(t.Context(), n.ID))
	s.Advance(2 * time.Minute)
	mine := must[string](t)(n.ChannelToken(t.Context(), n.ID))
	for name, token := range map[string]string{"none": "", "another node's": theirs, "an old one": late, "a forged one": mine[:len(mine)-2] + "AA", "dots": "..", "no time": "!." + mine[7:]} {
		c := must[*servertest.Channel](t)(n.OpenWith(t.Context(), token))
		if _, _, err := c.Read(soon(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("with the token %s: %v", name, err)
		}
	}
	c := must[*servertest.Channel](t)(n.OpenWith(t.Context(), mine))
	eventually(t, "an open channel", func() bool { return s.Channels() == 1 })
	again := must[*servertest.Channel](t)(n.OpenWith(t.Context(), mine))
	if _, _, err := again.Read(soon(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("with a used token: %v", err)
	}
	// A frame of a type that is not known is passed over; bytes that are no frame end the channel, and nothing else.
	_, err := c.Send(soon(t), "agent_telemetry", map[string]string{})
	try(t, err)
	try(t, c.Reply(soon(t), "aws.ssm.x", "{}"))
	try(t, c.Write(soon(t), websocket.MessageBinary, make([]byte, 200)))
	if _, _, err := c.Read(soon(t)); err == nil {
		t.Error("a channel goes on after garbage")
	}
	c = openChannel(t, n)
	try(t, c.Ping(pinging(t, c)))
	if r, err := n.Poll(contextOf(t, time.Second)); err == nil && len(r) > 0 {
		t.Errorf("messages from nowhere: %v", r)
	}
}

func contextOf(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// pinging lets the client read, which is what takes the pong.
func pinging(t *testing.T, c *servertest.Channel) context.Context { return c.CloseRead(soon(t)) }

// TestIdleChannelsCostNoReads: neither a ping nor a parked channel begins a transaction, and a silent channel is closed.
func TestIdleChannelsCostNoReads(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, "sqlite")
	n := s.Nodes(1)[0]
	c := openChannel(t, n)
	eventually(t, "an open channel", func() bool { return s.Channels() == 1 })
	ctx := pinging(t, c)
	const pings = 300
	before, start := s.Reads(), time.Now()
	for range pings {
		try(t, c.Ping(ctx))
	}
	took := time.Since(start)
	// The server's own background work begins a few transactions a second.
	if begun := s.Reads() - before; begun > 20+5*int64(took/time.Second) {
		t.Errorf("%d transactions in %d pings", begun, pings)
	}
	s.Advance(3 * time.Minute)
	try(t, s.Sweep(t.Context()))
	if s.Channels() != 0 {
		t.Error("a silent channel stays open")
	}
}

// TestControlChannelBesideAnotherServer: a command accepted by one server reaches a channel at another, and so does the news
// that its node is deregistered.
//
// proves R-26
func TestControlChannelBesideAnotherServer(t *testing.T) {
	t.Parallel()
	a := servertest.Start(t, "postgres")
	b := a.Beside()
	n := a.Nodes(1)[0]
	token := must[string](t)(n.ChannelToken(t.Context(), n.ID)) // a token of one server is good at the other
	c := must[*servertest.Channel](t)(n.At(b).OpenWith(t.Context(), token))
	sent := must[*ssm.SendCommandOutput](t)(a.SSM(a.Admin).SendCommand(t.Context(), shell(n.ID))).Command
	var job mgs.Job
	f, err := c.Next(soon(t), mgs.AgentJob, &job)
	try(t, err)
	try(t, c.Ack(soon(t), f, job.JobID, mgs.Successful))
	eventually(t, "the acknowledgement", func() bool { return invocation(t, a.SSM(a.Admin), sent.CommandId, n.ID).Status == "InProgress" })
	must[*ssm.DeregisterManagedInstanceOutput](t)(a.SSM(a.Admin).DeregisterManagedInstance(t.Context(), &ssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}))
	try(t, b.Reconcile(t.Context()))
	for {
		if _, _, err := c.Read(soon(t)); err != nil {
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("the channel ends with %v", err)
			}
			return
		}
	}
}

// TestAgentControlChannel: Oakum's agent takes its commands over a control channel where the server has TLS, opens it again
// after a restart of the server, and does not poll meanwhile.
func TestAgentControlChannel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(listen string) (*server.Server, func()) {
		srv, err := server.New(context.WithoutCancel(t.Context()), server.Config{DataDir: dir, Listen: []string{listen}, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- srv.Run(ctx) }()
		return srv, func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	srv, stop := start("https://127.0.0.1:0")
	url := srv.Addresses()[0]
	s := servertest.AttachTLS(t, url, dir, filepath.Join(dir, "ca.pem"))
	id, code := s.Activate(1)
	state := filepath.Join(t.TempDir(), "state")
	node, err := agent.Register(t.Context(), agent.Options{
		Endpoint: url, Region: servertest.Region, ActivationID: id, ActivationCode: code, CAFile: filepath.Join(dir, "ca.pem"), StateDir: state,
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	a, err := agent.New(agent.Config{StateDir: state, Version: "1.2.3", Log: log, Scope: new(false), Timing: agent.Timing{BackoffCap: time.Second, ChannelPing: 200 * time.Millisecond, ChannelLost: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	defer func() {
		cancel()
		<-over
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	run := func() {
		t.Helper()
		client := s.SSM(s.Admin)
		sent := must[*ssm.SendCommandOutput](t)(client.SendCommand(t.Context(), shell(node))).Command
		eventually(t, "the end of the command", func() bool {
			g, err := client.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: sent.CommandId, InstanceId: &node})
			return err == nil && g.Status == "Success"
		})
		if p := srv.Parked(); p != 0 {
			t.Errorf("%d polls are parked beside the channel", p)
		}
	}
	eventually(t, "the agent's channel", func() bool { return srv.Channels() == 1 })
	run()
	time.Sleep(700 * time.Millisecond) // some pings
	run()
	// What came over a channel goes on when the channel is lost, and is reported over the next one.
	long := shell(node)
	long.Parameters["commands"] = []string{"sleep 3; echo over"}
	sent := must[*ssm.SendCommandOutput](t)(s.SSM(s.Admin).SendCommand(t.Context(), long)).Command
	eventually(t, "the beginning of the command", func() bool {
		g, err := s.SSM(s.Admin).GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: sent.CommandId, InstanceId: &node})
		return err == nil && g.Status == "InProgress"
	})
	stop()
	srv, stop = start(url)
	defer func() { stop() }()
	eventually(t, "the agent's channel after a restart", func() bool { return srv.Channels() == 1 })
	eventually(t, "the end of the command that a restart fell into", func() bool {
		g, err := s.SSM(s.Admin).GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: sent.CommandId, InstanceId: &node})
		return err == nil && g.Status == "Success" && *g.StandardOutputContent == "over\n"
	})
	run()
}
