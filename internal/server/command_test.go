package server_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/awserr"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ec2messages"
	wire "oakum.dev/wire/ssm"
)

func shell(ids ...string) *ssm.SendCommandInput {
	return &ssm.SendCommandInput{DocumentName: str("AWS-RunShellScript"), InstanceIds: ids, Parameters: map[string][]string{"commands": {"echo HelloWorld"}}}
}

func invocation(t *testing.T, c *ssm.Client, id *string, node string) *ssm.GetCommandInvocationOutput {
	t.Helper()
	return must[*ssm.GetCommandInvocationOutput](t)(c.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: id, InstanceId: &node}))
}

func commandOf(t *testing.T, c *ssm.Client, id *string) types.Command {
	t.Helper()
	return must[*ssm.ListCommandsOutput](t)(c.ListCommands(t.Context(), &ssm.ListCommandsInput{CommandId: id})).Commands[0]
}

// journey W2.1-4, 6, 8, 9 with a node that follows a script.
func TestRunCommand(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1, wire.Tag{Key: new("PatchGroup"), Value: new("web")})[0]
		in := &ssm.SendCommandInput{
			DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("instanceids"), Values: []string{n.ID}}}, Comment: str("echo"),
			Parameters: map[string][]string{"commands": {"echo HelloWorld"}}, OutputS3BucketName: str("out"), OutputS3KeyPrefix: str("p/"),
		}
		cmd := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, in)).Command
		if cmd.Status != "Pending" || *cmd.StatusDetails != "Pending" || cmd.TargetCount != 1 || *cmd.MaxConcurrency != "50" || *cmd.MaxErrors != "0" ||
			cmd.ExpiresAfter.Sub(*cmd.RequestedDateTime) != 7200*time.Second || *cmd.Comment != "echo" || *cmd.DocumentVersion != "$DEFAULT" || *cmd.OutputS3BucketName != "out" || len(*cmd.CommandId) != 36 {
			t.Errorf("SendCommand = %+v", cmd)
		}
		if g := invocation(t, c, cmd.CommandId, n.ID); g.Status != "Pending" || g.ResponseCode != -1 || *g.ExecutionEndDateTime != "" {
			t.Errorf("before it was sent: %+v", g)
		}
		msgs := must[[]string](t)(ids(n.Poll(ctx)))
		if len(msgs) != 1 || msgs[0] != "aws.ssm."+*cmd.CommandId+"."+n.ID {
			t.Fatalf("messages = %v", msgs)
		}
		try(t, n.Reply(ctx, msgs[0], "InProgress", nil))
		if g := invocation(t, c, cmd.CommandId, n.ID); g.Status != "InProgress" {
			t.Errorf("after the first reply: %s", g.Status)
		}
		s.Advance(5 * time.Minute) // the visibility time is long over: no second offer after a reply
		if again := n.PollNow(ctx); len(again) != 0 {
			t.Errorf("offered again after a reply: %v", again)
		}
		try(t, n.Ack(ctx, msgs[0]))
		steps := map[string]servertest.Step{"aws:runShellScript": {
			Status: "Success", Plugin: "aws:runShellScript", Stdout: "HelloWorld\n", Started: "2026-11-22T01:00:00.000Z", Ended: "2026-11-22T01:00:01.250Z",
		}}
		for range 3 {
			try(t, n.Reply(ctx, msgs[0], "Success", steps))
		}
		try(t, n.Reply(ctx, msgs[0], "Failed", steps))
		try(t, n.Reply(ctx, msgs[0], "InProgress", nil))
		g := invocation(t, c, cmd.CommandId, n.ID)
		if g.Status != "Success" || g.ResponseCode != 0 || *g.StandardOutputContent != "HelloWorld\n" || *g.ExecutionElapsedTime != "PT1.25S" || *g.PluginName != "aws:runShellScript" ||
			!strings.Contains(*g.StandardOutputUrl, "out") || !strings.HasSuffix(*g.StandardOutputUrl, "p/"+*cmd.CommandId+"/"+n.ID+"/awsrunShellScript/0.awsrunShellScript/stdout") {
			t.Errorf("GetCommandInvocation = %+v, %s, %s", g, *g.ExecutionElapsedTime, *g.StandardOutputUrl)
		}
		list := must[*ssm.ListCommandInvocationsOutput](t)(c.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{CommandId: cmd.CommandId, Details: true})).CommandInvocations
		if len(list) != 1 || list[0].Status != "Success" || len(list[0].CommandPlugins) != 1 || *list[0].CommandPlugins[0].Output != "HelloWorld\n" || list[0].CommandPlugins[0].ResponseCode != 0 || *list[0].InstanceName != "web" {
			t.Errorf("ListCommandInvocations = %+v", list)
		}
		if got := commandOf(t, c, cmd.CommandId); got.Status != "Success" || got.CompletedCount != 1 || got.ErrorCount != 0 {
			t.Errorf("ListCommands = %+v", got)
		}
		waiter := ssm.NewCommandExecutedWaiter(c)
		try(t, waiter.Wait(ctx, &ssm.GetCommandInvocationInput{CommandId: cmd.CommandId, InstanceId: &n.ID}, time.Minute))

		none := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"none"}}}, Parameters: map[string][]string{"commands": {"true"}},
		})).Command
		if got := commandOf(t, c, none.CommandId); got.TargetCount != 0 || *got.StatusDetails != "NoInstancesInTag" || none.TargetCount != 0 {
			t.Errorf("no node has the tag: %+v", got)
		}
		tagged := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: str("AWS-RunPatchBaseline"), Targets: []types.Target{{Key: str("tag:PatchGroup"), Values: []string{"web"}}},
			Parameters: map[string][]string{"Operation": {"Scan"}}, TimeoutSeconds: aws.Int32(600),
		})).Command
		if tagged.TargetCount != 1 || tagged.ExpiresAfter.Sub(*tagged.RequestedDateTime) != 22200*time.Second {
			t.Errorf("AWS-RunPatchBaseline: %d targets, expires after %v", tagged.TargetCount, tagged.ExpiresAfter.Sub(*tagged.RequestedDateTime))
		}
		_, err := c.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: tagged.CommandId, InstanceId: &n.ID})
		if _, ok := errors.AsType[*types.InvalidPluginName](err); !ok {
			t.Errorf("GetCommandInvocation of several steps without PluginName = %v", err)
		}
		linux := must[*ssm.GetCommandInvocationOutput](t)(c.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: tagged.CommandId, InstanceId: &n.ID, PluginName: str("PatchLinux")}))
		if linux.Status != "Pending" {
			t.Errorf("PatchLinux is %s", linux.Status)
		}

		// proves R-06: undelivered is never delivered, delivered gets one cancel message.
		must[*ssm.CancelCommandOutput](t)(c.CancelCommand(ctx, &ssm.CancelCommandInput{CommandId: tagged.CommandId}))
		if msgs := n.PollNow(ctx); len(msgs) != 0 {
			t.Errorf("a cancelled command was delivered: %v", msgs)
		}
		if got := commandOf(t, c, tagged.CommandId); got.Status != "Cancelled" {
			t.Errorf("cancelled before delivery: %s", got.Status)
		}
		running := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, shell(n.ID))).Command
		msg := must[[]string](t)(ids(n.Poll(ctx)))[0]
		try(t, n.Ack(ctx, msg))
		for range 3 {
			must[*ssm.CancelCommandOutput](t)(c.CancelCommand(ctx, &ssm.CancelCommandInput{CommandId: running.CommandId, InstanceIds: []string{n.ID}}))
		}
		if g := invocation(t, c, running.CommandId, n.ID); g.Status != "Cancelling" {
			t.Errorf("after CancelCommand: %s", g.Status)
		}
		cancels := n.PollNow(ctx)
		if len(cancels) != 1 || !strings.HasPrefix(*cancels[0].Topic, "aws.ssm.cancelCommand") || !strings.Contains(*cancels[0].Payload, msg) {
			t.Fatalf("cancel messages = %+v", cancels)
		}
		try(t, n.Reply(ctx, *cancels[0].MessageId, "InProgress", nil))
		try(t, n.Ack(ctx, *cancels[0].MessageId))
		try(t, n.Reply(ctx, msg, "Cancelled", nil))
		if g := invocation(t, c, running.CommandId, n.ID); g.Status != "Cancelled" {
			t.Errorf("after the node's answer: %s", g.Status)
		}
		if rest := n.PollNow(ctx); len(rest) != 0 {
			t.Errorf("messages left: %v", rest)
		}
	})
}

func ids(list []ec2messages.Message, err error) ([]string, error) {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = *m.MessageId
	}
	return out, err
}

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		n := s.Nodes(1)[0]
		cmd := must[*ssm.SendCommandOutput](t)(s.SSM(s.Admin).SendCommand(t.Context(), shell(n.ID))).Command
		try(t, s.Flush(t.Context()))
		before := s.Dump()
		const send = `{"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["true"]},`
		checkErrors(t, s, map[string]string{"$NODE": n.ID, "$GONE": "mi-0123456789abcdef0", "$CMD": *cmd.CommandId, "$NOCMD": "00000000-0000-4000-8000-000000000000", "$ACCT": s.Account()}, []errorCase{
			{"SendCommand", send + `"InstanceIds":["$GONE"]}`, "InvalidInstanceId", "Instances [[$GONE]] not in a valid state for account $ACCT"},
			{"SendCommand", send + `"InstanceIds":["$NODE","$NODE"]}`, "DuplicateInstanceId", ""},
			{"SendCommand", send + `"Comment":"x"}`, "InvalidParameters", ""},
			{"SendCommand", send + `"InstanceIds":["$NODE"],"Targets":[{"Key":"tag:a","Values":["b"]}]}`, "InvalidParameters", ""},
			{"SendCommand", send + `"Targets":[{"Key":"InstanceIds","Values":["nonsense"]}]}`, "InvalidInstanceId", ""},
			{"SendCommand", send + `"InstanceIds":["$NODE"],"MaxErrors":"x"}`, "ValidationException", ""},
			{"SendCommand", send + `"InstanceIds":["$NODE"],"TimeoutSeconds":29}`, "ValidationException", "1 validation error detected: Value '29' at 'timeoutSeconds' failed to satisfy constraint: Member must have value greater than or equal to 30"},
			{"SendCommand", send + `"InstanceIds":["$NODE"],"DocumentVersion":"7"}`, "InvalidDocumentVersion", ""},
			{"SendCommand", send + `"InstanceIds":["$NODE"],"DocumentHash":"abc","DocumentHashType":"Sha256"}`, "InvalidDocument", ""},
			{"SendCommand", `{"DocumentName":"Nonsense","InstanceIds":["$NODE"]}`, "InvalidDocument", "Document with name Nonsense does not exist."},
			{"SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["$NODE"]}`, "InvalidParameters", ""},
			{"SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["$NODE"],"Parameters":{"commands":["x"],"colour":["red"]}}`, "InvalidParameters", ""},
			{"SendCommand", `{"DocumentName":"AWS-RunPatchBaseline","InstanceIds":["$NODE"],"Parameters":{"Operation":["Destroy"]}}`, "InvalidParameters", ""},
			{"ListCommands", `{"CommandId":"$NOCMD"}`, "InvalidCommandId", ""},
			{"ListCommands", `{"Filters":[{"key":"Colour","value":"red"}]}`, "ValidationException", ""},
			{"ListCommands", `{"Filters":[{"key":"Status","value":"Asleep"}]}`, "InvalidFilterKey", ""},
			{"ListCommands", `{"InstanceId":"$NODE","Filters":[{"key":"Status","value":"Pending"}]}`, "InvalidFilterKey", ""},
			{"ListCommandInvocations", `{"Filters":[{"key":"ExecutionStage","value":"Complete"}]}`, "InvalidFilterKey", ""},
			{"GetCommandInvocation", `{"CommandId":"$NOCMD","InstanceId":"$NODE"}`, "InvocationDoesNotExist", ""},
			{"GetCommandInvocation", `{"CommandId":"$CMD","InstanceId":"$GONE"}`, "InvocationDoesNotExist", ""},
			{"GetCommandInvocation", `{"CommandId":"$CMD","InstanceId":"$NODE","PluginName":"nonsense"}`, "InvalidPluginName", ""},
			{"CancelCommand", `{"CommandId":"$NOCMD"}`, "InvalidCommandId", ""},
			{"CancelCommand", `{"CommandId":"$CMD","InstanceIds":["$GONE"]}`, "InvalidInstanceId", ""},
			{"CancelCommand", `{"CommandId":"$CMD","InstanceIds":["$NODE","$NODE"]}`, "DuplicateInstanceId", ""},
			{"GetDocument", `{"Name":"Nonsense"}`, "InvalidDocument", "Document with name Nonsense does not exist."},
			{"GetDocument", `{"Name":"AWS-RunPatchBaseline","DocumentVersion":"9"}`, "InvalidDocumentVersion", ""},
			{"DescribeDocument", `{"Name":"Nonsense"}`, "InvalidDocument", "Document with name Nonsense does not exist."},
			{"ListDocuments", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilterKey", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
	})
}

// journey W2.7: the limit of errors, strict with concurrency 1.
func TestMaxErrorsStopsTheCommand(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(10, wire.Tag{Key: new("Env"), Value: new("test")})
		cmd := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("tag:Env"), Values: []string{"test"}}}, MaxConcurrency: str("10%"), MaxErrors: str("10%"),
			Parameters: map[string][]string{"commands": {"exit 1"}},
		})).Command
		for range 2 {
			var wg sync.WaitGroup
			for _, n := range nodes {
				wg.Go(func() {
					for _, m := range n.PollNow(ctx) {
						if err := n.Finish(ctx, *m.MessageId, "Failed", 1, ""); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}
		for _, n := range nodes {
			if list := n.PollNow(ctx); len(list) != 0 {
				t.Errorf("delivered after the limit: %v", list)
			}
		}
		counts := map[string]int{}
		p := ssm.NewListCommandInvocationsPaginator(c, &ssm.ListCommandInvocationsInput{CommandId: cmd.CommandId, MaxResults: aws.Int32(3)})
		for p.HasMorePages() {
			for _, v := range must[*ssm.ListCommandInvocationsOutput](t)(p.NextPage(ctx)).CommandInvocations {
				counts[*v.StatusDetails]++
			}
		}
		if d := cmp.Diff(map[string]int{"Failed": 2, "Terminated": 8}, counts); d != "" {
			t.Errorf("invocations (-want +got):\n%s", d)
		}
		if got := commandOf(t, c, cmd.CommandId); got.Status != "Failed" || got.ErrorCount != 2 || got.CompletedCount != 10 {
			t.Errorf("command = %s, %d errors", got.Status, got.ErrorCount)
		}
	})
}

// proves R-03: whatever never comes back ends by its deadline. A late result is kept beside the end.
func TestCommandsEnd(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		nodes := s.Nodes(3, wire.Tag{Key: new("Env"), Value: new("test")})
		in := shell()
		in.Targets = []types.Target{{Key: str("tag:Env"), Values: []string{"test"}}}
		in.TimeoutSeconds = aws.Int32(60)
		cmd := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, in)).Command
		var msg, runs string
		for _, n := range nodes { // one takes the message and falls silent, two never hear of it
			if list := n.PollNow(ctx); len(list) == 1 && msg == "" {
				msg, runs = *list[0].MessageId, n.ID
				try(t, n.Ack(ctx, msg))
			}
		}
		s.Advance(61 * time.Second)
		for _, n := range nodes {
			if list := n.PollNow(ctx); len(list) != 0 {
				t.Errorf("delivered after TimeoutSeconds: %v", list)
			}
		}
		s.Advance(time.Hour)
		try(t, s.Work(ctx))
		got := commandOf(t, c, cmd.CommandId)
		if *got.StatusDetails != "DeliveryTimedOut" || got.Status != "TimedOut" || got.DeliveryTimedOutCount != 3 || got.CompletedCount != 3 || got.ErrorCount != 0 {
			t.Errorf("after its deadline the command is %s: %+v", *got.StatusDetails, got)
		}
		for _, n := range nodes {
			if n.ID != runs {
				continue
			}
			try(t, n.Login(ctx)) // the hour has ended its session
			try(t, n.Reply(ctx, msg, "Success", map[string]servertest.Step{"aws:runShellScript": {Status: "Success", Plugin: "aws:runShellScript", Stdout: "late"}}))
			g := invocation(t, c, cmd.CommandId, n.ID)
			if *g.StatusDetails != "DeliveryTimedOut" || *g.StandardOutputContent != "late" {
				t.Errorf("a late result: %s %q", *g.StatusDetails, *g.StandardOutputContent)
			}
		}
	})
}

// proves R-01: a stopped and started server goes on where it was.
func TestRestartKeepsCommands(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := s.Nodes(1)[0]
		cmd := must[*ssm.SendCommandOutput](t)(s.SSM(s.Admin).SendCommand(ctx, shell(n.ID))).Command
		s.Restart()
		msgs := n.PollNow(ctx)
		if len(msgs) != 1 {
			t.Fatalf("%d messages after a restart, want 1", len(msgs))
		}
		try(t, n.Ack(ctx, *msgs[0].MessageId))
		s.Restart()
		try(t, n.Finish(ctx, *msgs[0].MessageId, "Success", 0, "x"))
		if g := invocation(t, s.SSM(s.Admin), cmd.CommandId, n.ID); g.Status != "Success" {
			t.Errorf("after two restarts: %s", g.Status)
		}
		s.Advance(11 * time.Second)
		if again := n.PollNow(ctx); len(again) != 0 {
			t.Errorf("delivered again: %v", again)
		}
	})
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		p := ssm.NewListDocumentsPaginator(c, &ssm.ListDocumentsInput{MaxResults: aws.Int32(2), Filters: []types.DocumentKeyValuesFilter{{Key: str("Owner"), Values: []string{"Amazon"}}}})
		var names []string
		for p.HasMorePages() {
			for _, d := range must[*ssm.ListDocumentsOutput](t)(p.NextPage(ctx)).DocumentIdentifiers {
				names = append(names, *d.Name)
				doc := must[*ssm.DescribeDocumentOutput](t)(c.DescribeDocument(ctx, &ssm.DescribeDocumentInput{Name: d.Name})).Document
				text := must[*ssm.GetDocumentOutput](t)(c.GetDocument(ctx, &ssm.GetDocumentInput{Name: d.Name, DocumentVersion: str("$LATEST")}))
				if *doc.Owner != "Amazon" || doc.Status != "Active" || len(*doc.Hash) != 64 || !strings.Contains(*text.Content, "schemaVersion") {
					t.Errorf("%s: %+v", *d.Name, doc)
				}
			}
		}
		if len(names) < 3 || !strings.Contains(fmt.Sprint(names), "AWS-RunPatchBaseline") {
			t.Errorf("documents = %v", names)
		}
	})
}

// Two polls of one node at once must not both get a message.
func TestOneOfferAtATime(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		for range 10 {
			must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, shell(n.ID)))
			var mu sync.Mutex
			seen := map[string]int{}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for _, m := range n.PollNow(ctx) {
						mu.Lock()
						seen[*m.MessageId]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			for id, k := range seen {
				if k != 1 {
					t.Errorf("%s was offered %d times at once", id, k)
				}
				if err := n.Finish(ctx, id, "Success", 0, ""); awserr.Code(err) != "" {
					t.Error(err)
				}
			}
			s.Advance(11 * time.Second) // a poll that was cut off may have taken it: it comes again
			for _, m := range n.PollNow(ctx) {
				try(t, n.Finish(ctx, *m.MessageId, "Success", 0, ""))
			}
		}
	})
}

// A node that nobody hears of does not hold up the others, also at one node at a time: it comes last.
func TestSilentNodesComeLast(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		silent := s.Nodes(4)
		try(t, s.Flush(ctx))
		s.Advance(30 * time.Minute)
		heard := s.Nodes(2) // their heartbeats may not be written yet
		sent := must[*ssm.SendCommandOutput](t)(s.SSM(s.Admin).SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: str("AWS-RunShellScript"), Targets: []types.Target{{Key: str("InstanceIds"), Values: []string{"*"}}}, Parameters: map[string][]string{"commands": {"true"}},
			MaxConcurrency: str("1"),
		}))
		done := 0
		for range heard { // each gets its turn when the one before has ended
			for _, n := range heard {
				for _, m := range n.PollNow(ctx) {
					try(t, n.Finish(ctx, *m.MessageId, "Success", 0, ""))
					done++
				}
			}
		}
		if done != len(heard) {
			t.Errorf("%d of %d connected nodes were served beside %d silent ones", done, len(heard), len(silent))
		}
		list := must[*ssm.ListCommandsOutput](t)(s.SSM(s.Admin).ListCommands(ctx, &ssm.ListCommandsInput{CommandId: sent.Command.CommandId}))
		if c := list.Commands[0]; c.CompletedCount != int32(len(heard)) || c.TargetCount != int32(len(heard)+len(silent)) {
			t.Errorf("%d of %d done, want %d of %d", c.CompletedCount, c.TargetCount, len(heard), len(heard)+len(silent))
		}
	})
}
