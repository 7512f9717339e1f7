package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/document"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/mgs"
)

// visibility is how long a message offered to this agent stays hidden from its later polls, in seconds.
const visibility = 10

// maxQueued bounds accepted commands that are not done; more are left with the server, which offers them again.
const maxQueued = 64

// poll asks for messages, while there is no control channel, until ctx ends. A poll that failed is repeated with the same request id.
func (a *Agent) poll(ctx context.Context) {
	b := a.newBackoff()
	requestID := ""
	for {
		a.polling.wait(ctx)
		if ctx.Err() != nil {
			return
		}
		if requestID == "" {
			var err error
			if requestID, err = a.sys.uuid(); err != nil {
				a.log.LogAttrs(ctx, slog.LevelError, "no poll", slog.Any("err", err))
				wait(ctx, b.next())
				continue
			}
		}
		started := a.sys.Now()
		messages, err := a.getMessages(ctx, requestID)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && a.sys.Now().Sub(started) >= 10*time.Second && !isAnswer(err):
			b.reset() // an idle connection that was cut by something in between
			wait(ctx, a.sys.jitter(a.timing.BackoffBase))
		case err != nil:
			if b.failures == 0 {
				a.log.LogAttrs(ctx, slog.LevelWarn, "poll failed", slog.Any("err", err))
			}
			wait(ctx, b.next())
		default:
			b.reset()
			requestID = ""
			for i := range messages {
				a.handle(ctx, &messages[i])
			}
			if len(messages) == 0 && a.sys.Now().Sub(started) < time.Second {
				wait(ctx, a.timing.IdlePoll) // the server does not hold polls
			}
		}
	}
}

func isAnswer(err error) bool { return awserr.Code(err) != "" }

func (a *Agent) getMessages(ctx context.Context, requestID string) ([]ec2messages.Message, error) {
	id, seconds := a.InstanceID(), int64(visibility)
	in := &ec2messages.GetMessagesInput{Destination: &id, MessagesRequestId: &requestID, VisibilityTimeoutInSeconds: &seconds}
	var out ec2messages.GetMessagesOutput
	err := a.client.once(ctx, a.timing.Poll, "ec2messages", "GetMessages", in, &out)
	return out.Messages, err
}

var messagePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\Aaws\.ssm\.([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})\.(mi-[0-9a-f]{17})\z`)
})

// commandID takes the command's id from a message id for this node.
func (a *Agent) commandID(messageID string) (string, error) {
	m := messagePattern().FindStringSubmatch(messageID)
	if m == nil || m[2] != a.InstanceID() {
		return "", fmt.Errorf("message id %q is not aws.ssm.COMMAND.%s", messageID, a.InstanceID())
	}
	return strings.ToLower(m[1]), nil
}

// handle deals with one message. Whatever it is, the server hears of it, or it would be offered for ever.
func (a *Agent) handle(ctx context.Context, m *ec2messages.Message) {
	id, topic, payload := codec.Value(m.MessageId), codec.Value(m.Topic), codec.Value(m.Payload)
	log := a.log.With(slog.String("message", id))
	if id == "" || codec.Value(m.Destination) != a.InstanceID() {
		log.LogAttrs(ctx, slog.LevelWarn, "message ignored: not for this node")
		return
	}
	command, err := a.commandID(id)
	if sum := sha256.Sum256([]byte(payload)); err == nil && codec.Value(m.PayloadDigest) != "" && !strings.EqualFold(*m.PayloadDigest, hex.EncodeToString(sum[:])) {
		err = fmt.Errorf("the payload does not have its digest")
	}
	switch {
	case err != nil:
		log.LogAttrs(ctx, slog.LevelWarn, "message refused", slog.Any("err", err))
		a.fail(ctx, id, "InternalHandlerException")
	case strings.HasPrefix(topic, "aws.ssm.sendCommand"):
		a.receive(ctx, command, id, payload)
	case strings.HasPrefix(topic, "aws.ssm.cancelCommand"):
		a.receiveCancel(ctx, command, id, payload)
	default:
		log.LogAttrs(ctx, slog.LevelWarn, "message refused: unknown topic", slog.String("topic", topic))
		a.fail(ctx, id, "NoHandlerExists")
	}
}

func (a *Agent) fail(ctx context.Context, messageID, failure string) {
	in := &ec2messages.FailMessageInput{MessageId: &messageID, FailureType: &failure}
	if err := a.client.Call(ctx, "ec2messages", "FailMessage", in, nil); err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "message not failed", slog.String("message", messageID), slog.Any("err", err))
	}
}

func (a *Agent) acknowledge(ctx context.Context, messageID string) error {
	if l := a.link.Load(); l != nil {
		if done, err := l.acknowledge(ctx, messageID, mgs.Successful, "Successful"); done && err == nil {
			return nil
		}
	}
	return a.client.once(ctx, a.timing.RequestTimeout, "ec2messages", "AcknowledgeMessage", &ec2messages.AcknowledgeMessageInput{MessageId: &messageID}, nil)
}

// receive takes a command: on disk first, then reported, then run. A command seen before is only acknowledged.
func (a *Agent) receive(ctx context.Context, id, messageID, payload string) {
	log := a.log.With(slog.String("command", id))
	if a.known.has(id) {
		if c := a.find(id); c == nil || c.isDelivered() {
			if err := a.acknowledge(ctx, messageID); err != nil {
				log.LogAttrs(ctx, slog.LevelWarn, "repeated message not acknowledged", slog.Any("err", err))
			}
		}
		return // one that is not delivered yet is being reported
	}
	if !a.room() {
		log.LogAttrs(ctx, slog.LevelWarn, "command left with the server: too many are waiting")
		return
	}
	c, err := a.accept(id, messageID, payload)
	if err != nil {
		// Nothing is on disk that could be resumed: the server offers the message again.
		log.LogAttrs(ctx, slog.LevelError, "command not accepted", slog.Any("err", err))
		return
	}
	log.LogAttrs(ctx, slog.LevelInfo, "command received", slog.String("document", c.payload.DocumentName))
	a.start(ctx, c)
}

// receiveCancel cancels a command that runs or waits. The cancel message gets an InProgress reply and an
// acknowledgement, never a final reply.
func (a *Agent) receiveCancel(ctx context.Context, id, messageID, payload string) {
	var p struct{ CancelMessageId string }
	target := ""
	err := json.Unmarshal([]byte(payload), &p)
	if err == nil {
		target, err = a.commandID(p.CancelMessageId)
	}
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "cancel message refused", slog.Any("err", err))
		a.fail(ctx, messageID, "InternalHandlerException")
		return
	}
	if c := a.find(target); c != nil {
		a.log.LogAttrs(ctx, slog.LevelInfo, "command cancelled", slog.String("command", target))
		c.cancel(a.log)
	}
	reply := a.reply(messageID, document.InProgress, "", nil, nil)
	reply.ReplyID = replyID(messageID, "accepted")
	if err := a.sendReply(ctx, reply); err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "cancel message not replied to", slog.String("command", id), slog.Any("err", err))
	}
	if err := a.acknowledge(ctx, messageID); err != nil {
		a.log.LogAttrs(ctx, slog.LevelWarn, "cancel message not acknowledged", slog.String("command", id), slog.Any("err", err))
	}
}

func (a *Agent) find(id string) *command {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running[id]
}

func (a *Agent) room() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.running) < maxQueued
}
