// Package mgs is the wire form of the control channel between a node and its server, of the Message Gateway Service
// (signing name ssmmessages): binary frames in a WebSocket, with JSON in them. It is what amazon-ssm-agent speaks.
// Start with Frame.
package mgs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The types of frames.
const (
	AgentJob         = "agent_job"           // server to node: a Job
	AgentJobAck      = "agent_job_ack"       // node to server: a JobAck
	AgentJobReply    = "agent_job_reply"     // node to server: a JobReply
	AgentJobReplyAck = "agent_job_reply_ack" // server to node: a JobReplyAck
)

// Path is where control channels are; the node's id follows.
const Path = "/v1/control-channel/"

// Job is the payload of an agent_job: a message of the kind that ec2messages carries.
type Job struct {
	SchemaVersion int
	JobID         string `json:"JobId"` // the message's id, aws.ssm.COMMAND.NODE
	Topic         string
	Content       string
}

// JobAck says what became of a job's frame. CreatedDate is in RFC 3339 form.
type JobAck struct {
	JobID                 string `json:"jobId"`
	AcknowledgedMessageID string `json:"acknowledgedMessageId"`
	CreatedDate           string `json:"createdDate"`
	StatusCode            string `json:"statusCode"`
	ErrorMessage          string `json:"errorMessage"`
}

// The status codes of a JobAck. Any other means that the job's message cannot be run.
const (
	Successful          = "200"
	DuplicateCommand    = "51405" // the node has it already
	ProcessorBufferFull = "51402" // to be offered again in 10 to 20 s
	ClosedProcessor     = "51401" // the agent is stopping: to be offered again on its next channel
	InvalidDocument     = "51406"
)

// JobReply is a reply about a message. Content is what SendReply of ec2messages has as its payload.
type JobReply struct {
	SchemaVersion int    `json:"schemaVersion"`
	JobID         string `json:"jobId"`
	Content       string `json:"content"`
	Topic         string `json:"topic"`
}

// JobReplyAck tells the node that a reply was taken, within a second or so: the node keeps a reply until then.
type JobReplyAck struct {
	JobID                 string `json:"jobId"`
	AcknowledgedMessageID string `json:"acknowledgedMessageId"`
}

// Open is the first frame of a channel, the node's only one in text. Its token comes from CreateControlChannel.
type Open struct {
	Cookie               *string
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
	TokenValue           string
	AgentVersion         string
	PlatformType         string
}

// Frame is one binary message of a channel.
type Frame struct {
	Type    string   // at most 32 bytes
	ID      [16]byte // a UUID in its usual order
	Created time.Time
	Payload []byte
}

// headerSize is the value of a frame's first field: what comes before the payload's length.
const headerSize = 116

// MaxPayload bounds what is read, in bytes. The AWS agent sends 120,000 at most.
const MaxPayload = 1 << 20

// MaxFrame is the size of the largest frame in bytes.
const MaxFrame = headerSize + 4 + MaxPayload

// Encode writes a frame. A type longer than 32 bytes is cut.
func (f Frame) Encode() []byte {
	b := make([]byte, headerSize+4+len(f.Payload))
	be := binary.BigEndian
	be.PutUint32(b, headerSize)
	copy(b[4:36], f.Type+strings.Repeat(" ", 32))
	be.PutUint32(b[36:], 1) // schema version
	be.PutUint64(b[40:], uint64(f.Created.UnixMilli()))
	// sequence number and flags are 0
	copy(b[64:], f.ID[8:])
	copy(b[72:], f.ID[:8])
	sum := sha256.Sum256(f.Payload)
	copy(b[80:], sum[:])
	// the payload's type is 0
	be.PutUint32(b[116:], uint32(len(f.Payload)))
	copy(b[120:], f.Payload)
	return b
}

// ErrFrame is what Decode's errors are.
var ErrFrame = errors.New("not a frame of a control channel")

// Decode reads a frame and checks its lengths and its digest. The payload is a part of b.
func Decode(b []byte) (f Frame, err error) {
	be := binary.BigEndian
	if len(b) < headerSize+4 {
		return f, fmt.Errorf("%w: %d bytes", ErrFrame, len(b))
	}
	header := be.Uint32(b)
	if header < headerSize || uint64(header)+4 > uint64(len(b)) {
		return f, fmt.Errorf("%w: a header of %d bytes", ErrFrame, header)
	}
	f.Payload = b[header+4:]
	if n := be.Uint32(b[header:]); uint64(n) != uint64(len(f.Payload)) || n > MaxPayload {
		return f, fmt.Errorf("%w: %d bytes of a payload of %d", ErrFrame, len(f.Payload), n)
	}
	f.Type = string(bytes.TrimRight(b[4:36], " \x00"))
	f.Created = time.UnixMilli(int64(be.Uint64(b[40:]))).UTC()
	copy(f.ID[:8], b[72:80])
	copy(f.ID[8:], b[64:72])
	if sum := sha256.Sum256(f.Payload); !bytes.Equal(sum[:], b[80:112]) {
		return f, fmt.Errorf("%w: the payload does not have its digest", ErrFrame)
	}
	return f, nil
}

// FormatID writes a frame's id as a UUID.
func FormatID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
