package channel

import (
	"context"
	"errors"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/command"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
)

// Handlers are the operations of ec2messages.
func (h *Hub) Handlers() *ec2messages.Handlers {
	return &ec2messages.Handlers{
		GetMessages: h.getMessages, AcknowledgeMessage: h.acknowledge, SendReply: h.sendReply, FailMessage: h.fail,
		DeleteMessage: h.deleteMessage, GetEndpoint: h.getEndpoint,
	}
}

func (h *Hub) getMessages(ctx context.Context, in *ec2messages.GetMessagesInput) (*ec2messages.GetMessagesOutput, error) {
	p := iam.PrincipalFrom(ctx)
	if p.NodeID == "" {
		return nil, ec2messages.InvalidDestinationException("The destination is not a managed instance")
	}
	h.seen(p)
	visibility := visibility
	if in.VisibilityTimeoutInSeconds != nil {
		visibility = time.Duration(min(max(*in.VisibilityTimeoutInSeconds, 1), 300)) * time.Second
	}
	out := &ec2messages.GetMessagesOutput{Destination: in.Destination, MessagesRequestId: in.MessagesRequestId, Messages: []ec2messages.Message{}}
	mine := h.park(p.NodeID)
	defer h.unpark(p.NodeID, mine)
	end := time.NewTimer(h.hold)
	defer end.Stop()
	for {
		h.mu.Lock()
		visible, waits := h.waiting[p.NodeID]
		h.mu.Unlock()
		var retry <-chan time.Time
		if waits {
			if d := visible.Sub(h.now()); d > 0 {
				t := time.NewTimer(d)
				defer t.Stop() // a poll sees a handful of these
				retry = t.C
			} else if list, ok := h.offer(ctx, p, visibility); ok && len(list) > 0 {
				out.Messages = messages(p, list)
				return out, nil
			} else if ok {
				continue
			}
		}
		select {
		case <-mine.wake:
		case <-retry:
		case <-mine.gone:
			return out, nil
		case <-end.C:
			return out, nil
		case <-h.closed:
			return out, nil
		case <-ctx.Done():
			return out, nil
		}
	}
}

func messages(p iam.Principal, rows []command.Message) []ec2messages.Message {
	list := make([]ec2messages.Message, len(rows))
	for i, m := range rows {
		created, digest := m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z"), m.Digest()
		list[i] = ec2messages.Message{
			CreatedDate: &created, Destination: &p.NodeID, MessageId: &m.ID, Payload: &m.Payload, PayloadDigest: &digest, Topic: &m.Topic,
		}
	}
	return list
}

// answer turns a message id of another node into the service's error.
func answer(err error) error {
	if errors.Is(err, command.ErrMessageID) {
		return ec2messages.InvalidMessageIdException("The message id is not valid")
	}
	return err
}

func (h *Hub) acknowledge(ctx context.Context, in *ec2messages.AcknowledgeMessageInput) (*ec2messages.AcknowledgeMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	return nil, answer(h.commands.Acknowledge(ctx, p, codec.Value(in.MessageId)))
}

func (h *Hub) sendReply(ctx context.Context, in *ec2messages.SendReplyInput) (*ec2messages.SendReplyOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	reply, err := command.ParseReply(codec.Value(in.Payload))
	if err != nil {
		return nil, awserr.Validation("%v", err)
	}
	return nil, answer(h.commands.TakeReply(ctx, p, codec.Value(in.MessageId), reply))
}

func (h *Hub) fail(ctx context.Context, in *ec2messages.FailMessageInput) (*ec2messages.FailMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	h.seen(p)
	return nil, answer(h.commands.Fail(ctx, p, codec.Value(in.MessageId), codec.Value(in.FailureType)))
}

func (h *Hub) deleteMessage(ctx context.Context, in *ec2messages.DeleteMessageInput) (*ec2messages.DeleteMessageOutput, error) {
	p := iam.PrincipalFrom(ctx)
	return nil, answer(h.commands.Acknowledge(ctx, p, codec.Value(in.MessageId)))
}

func (h *Hub) getEndpoint(context.Context, *ec2messages.GetEndpointInput) (*ec2messages.GetEndpointOutput, error) {
	empty := ""
	return &ec2messages.GetEndpointOutput{Endpoint: &empty}, nil
}
