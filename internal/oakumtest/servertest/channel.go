package servertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"oakum.dev/wire/mgs"
	"oakum.dev/wire/sigv4"
)

// Channel is a node's open control channel, as an AWS agent has it. Its calls are for one goroutine.
type Channel struct {
	*websocket.Conn

	n *Node
}

// gateway makes a signed request of ssmmessages for the control channel of a node.
func (n *Node) gateway(ctx context.Context, method, nodeID, query string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, n.s.URL+mgs.Path+nodeID+query, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	sigv4.Sign(r, sigv4.Hash(body), n.Session, n.s.Region, "ssmmessages", n.s.Now())
	return r, nil
}

// ChannelToken asks for the token of a control channel of a node. An error carries the answer.
func (n *Node) ChannelToken(ctx context.Context, nodeID string) (string, error) {
	r, err := n.gateway(ctx, http.MethodPost, nodeID, "", []byte(`{"MessageSchemaVersion":"1.0","RequestId":"7b8b5a3c-17a4-4e3b-a6b3-0d5c0f2a5c11"}`))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return "", err
	}
	var out struct{ TokenValue string }
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: %s", resp.Status, b.String())
	}
	return out.TokenValue, xml.Unmarshal(b.Bytes(), &out)
}

// OpenWith upgrades and sends the first frame with a token, whatever it is.
func (n *Node) OpenWith(ctx context.Context, token string) (*Channel, error) {
	r, err := n.gateway(ctx, http.MethodGet, n.ID, "?role=subscribe&stream=input", nil)
	if err != nil {
		return nil, err
	}
	conn, _, err := websocket.Dial(ctx, r.URL.String(), &websocket.DialOptions{HTTPHeader: r.Header})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(mgs.MaxFrame)
	b, err := json.Marshal(mgs.Open{MessageSchemaVersion: "1.0", RequestID: "7b8b5a3c-17a4-4e3b-a6b3-0d5c0f2a5c11", TokenValue: token, AgentVersion: "3.3.0.0", PlatformType: "linux"})
	if err != nil {
		return nil, err
	}
	return &Channel{Conn: conn, n: n}, conn.Write(ctx, websocket.MessageText, b)
}

// OpenChannel opens a control channel as an AWS agent does.
func (n *Node) OpenChannel(ctx context.Context) (*Channel, error) {
	token, err := n.ChannelToken(ctx, n.ID)
	if err != nil {
		return nil, err
	}
	return n.OpenWith(ctx, token)
}

// Next waits for a frame and reads its payload into out.
func (c *Channel) Next(ctx context.Context, kind string, out any) (mgs.Frame, error) {
	_, b, err := c.Read(ctx)
	if err != nil {
		return mgs.Frame{}, err
	}
	f, err := mgs.Decode(b)
	if err == nil && f.Type != kind {
		err = fmt.Errorf("a frame of type %q in place of %q", f.Type, kind)
	}
	if err == nil {
		err = json.Unmarshal(f.Payload, out)
	}
	return f, err
}

// Send sends a frame and returns it.
func (c *Channel) Send(ctx context.Context, kind string, payload any) (mgs.Frame, error) {
	b, err := json.Marshal(payload)
	if err != nil {
		return mgs.Frame{}, err
	}
	f := mgs.Frame{Type: kind, Created: c.n.s.Now().Truncate(time.Millisecond), Payload: b}
	_, _ = rand.Read(f.ID[:]) // never fails
	return f, c.Write(ctx, websocket.MessageBinary, f.Encode())
}

// Ack answers a job.
func (c *Channel) Ack(ctx context.Context, job mgs.Frame, jobID, code string) error {
	_, err := c.Send(ctx, mgs.AgentJobAck, mgs.JobAck{
		JobID: jobID, AcknowledgedMessageID: mgs.FormatID(job.ID), CreatedDate: c.n.s.Now().Format(time.RFC3339), StatusCode: code,
	})
	return err
}

// Reply sends a reply about a job and waits for its acknowledgement.
func (c *Channel) Reply(ctx context.Context, jobID, content string) error {
	f, err := c.Send(ctx, mgs.AgentJobReply, mgs.JobReply{SchemaVersion: 1, JobID: jobID, Content: content, Topic: "aws.ssm.sendCommand"})
	if err != nil {
		return err
	}
	var a mgs.JobReplyAck
	if _, err := c.Next(ctx, mgs.AgentJobReplyAck, &a); err != nil {
		return err
	}
	if a.JobID != jobID || a.AcknowledgedMessageID != mgs.FormatID(f.ID) {
		return fmt.Errorf("the reply %s of %s was acknowledged as %+v", mgs.FormatID(f.ID), jobID, a)
	}
	return nil
}
