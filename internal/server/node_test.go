package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	"oakum.dev/wire/codec"
	wire "oakum.dev/wire/ssm"
)

// journey W1, without the agent.
func TestFirstNode(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		act := must[*ssm.CreateActivationOutput](t)(c.CreateActivation(ctx, &ssm.CreateActivationInput{
			IamRole: str("service-role/SSMRole"), RegistrationLimit: aws.Int32(2), DefaultInstanceName: str("web"),
			Tags: []types.Tag{{Key: str("PatchGroup"), Value: str("web")}},
		}))
		if len(*act.ActivationId) != 36 || len(*act.ActivationCode) < 20 {
			t.Errorf("CreateActivation = %s, %d characters of code", *act.ActivationId, len(*act.ActivationCode))
		}
		n, err := s.Register(*act.ActivationId, *act.ActivationCode)
		try(t, err)
		info := func() []types.InstanceInformation {
			return must[*ssm.DescribeInstanceInformationOutput](t)(c.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{
				Filters: []types.InstanceInformationStringFilter{{Key: str("PingStatus"), Values: []string{"Online"}}},
			})).InstanceInformationList
		}
		if list := info(); len(list) != 0 {
			t.Errorf("a node that was never heard of is listed as Online: %v", list)
		}
		try(t, n.Login(ctx))
		try(t, n.Heartbeat(ctx))
		list := info()
		if len(list) != 1 {
			t.Fatalf("%d nodes Online, want 1", len(list))
		}
		i := list[0]
		if *i.InstanceId != n.ID || i.PingStatus != "Online" || i.PlatformType != "Linux" || *i.PlatformName != "Debian GNU/Linux" || *i.PlatformVersion != "12" ||
			*i.AgentVersion != "3.3.0.0" || *i.ActivationId != *act.ActivationId || *i.IamRole != "service-role/SSMRole" || i.ResourceType != "ManagedInstance" ||
			i.SourceType != "AWS::SSM::ManagedInstance" || *i.IPAddress != "10.0.0.1" || *i.ComputerName != "node" || *i.Name != "web" {
			t.Errorf("DescribeInstanceInformation = %+v", i)
		}
		old := must[*ssm.DescribeInstanceInformationOutput](t)(c.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{
			InstanceInformationFilterList: []types.InstanceInformationFilter{{Key: "InstanceIds", ValueSet: []string{n.ID}}},
		}))
		if len(old.InstanceInformationList) != 1 {
			t.Errorf("by the older filters: %d nodes", len(old.InstanceInformationList))
		}
		tags := must[*ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "ManagedInstance", ResourceId: &n.ID}))
		if d := cmp.Diff([]types.Tag{{Key: str("PatchGroup"), Value: str("web")}}, tags.TagList, ignoreUnexported); d != "" {
			t.Error(d)
		}
		acts := must[*ssm.DescribeActivationsOutput](t)(c.DescribeActivations(ctx, &ssm.DescribeActivationsInput{})).ActivationList
		if len(acts) != 1 || *acts[0].RegistrationsCount != 1 || acts[0].Expired || *acts[0].RegistrationLimit != 2 || acts[0].ExpirationDate.Sub(*acts[0].CreatedDate) != 24*time.Hour {
			t.Errorf("DescribeActivations = %+v", acts)
		}

		// Used up, expired, deleted, wrong code; nodes that are registered keep working.
		second, err := s.Register(*act.ActivationId, *act.ActivationCode)
		try(t, err)
		_, err = s.Register(*act.ActivationId, *act.ActivationCode)
		refused(t, "a third registration of two", err, "RegistrationLimitExceeded", "")
		id, code := s.Activate(1)
		_, err = s.Register(id, "AAAAAAAAAAAAAAAAAAAA")
		refused(t, "a wrong code", err, "InvalidActivation", "")
		_, err = s.Register("00000000-0000-4000-8000-000000000000", code)
		refused(t, "an unknown activation", err, "InvalidActivation", "")
		s.Advance(24 * time.Hour)
		_, err = s.Register(id, code)
		refused(t, "an expired activation", err, "ActivationExpired", "")
		id, code = s.Activate(1)
		must[*ssm.DeleteActivationOutput](t)(c.DeleteActivation(ctx, &ssm.DeleteActivationInput{ActivationId: &id}))
		_, err = s.Register(id, code)
		refused(t, "a deleted activation", err, "InvalidActivation", "")
		_, err = c.DeleteActivation(ctx, &ssm.DeleteActivationInput{ActivationId: &id})
		if _, ok := errors.AsType[*types.InvalidActivation](err); !ok {
			t.Errorf("DeleteActivation again = %v", err)
		}
		refused(t, "a session of yesterday", n.Heartbeat(ctx), "ExpiredTokenException", "The security token included in the request is expired")
		try(t, second.Login(ctx))
		try(t, n.Login(ctx))
		try(t, n.Heartbeat(ctx))

		// proves R-26: deregistration revokes at once, on calls, new sessions and parked polls.
		sent := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: str("AWS-RunShellScript"), InstanceIds: []string{n.ID}, Parameters: map[string][]string{"commands": {"true"}}}))
		msgs := n.PollNow(ctx)
		if len(msgs) != 1 {
			t.Fatalf("%d messages, want 1", len(msgs))
		}
		try(t, n.Finish(ctx, *msgs[0].MessageId, "Success", 0, ""))
		parked := make(chan error, 1)
		go func() { _, err := n.Poll(ctx); parked <- err }()
		for s.Parked() == 0 {
			time.Sleep(time.Millisecond) // until the other goroutine's request has arrived
		}
		start := time.Now()
		must[*ssm.DeregisterManagedInstanceOutput](t)(c.DeregisterManagedInstance(ctx, &ssm.DeregisterManagedInstanceInput{InstanceId: &n.ID}))
		<-parked
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("the poll of a deregistered node was held for %v", d)
		}
		refused(t, "a heartbeat after deregistration", n.Heartbeat(ctx), "UnrecognizedClientException", "The security token included in the request is invalid.")
		refused(t, "a new session after deregistration", n.Login(ctx), "UnrecognizedClientException", "")
		if list := must[*ssm.DescribeInstanceInformationOutput](t)(c.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{})).InstanceInformationList; len(list) != 1 || *list[0].InstanceId != second.ID {
			t.Errorf("nodes after deregistration = %+v", list)
		}
		inv := must[*ssm.GetCommandInvocationOutput](t)(c.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: sent.Command.CommandId, InstanceId: &n.ID}))
		if inv.Status != "Success" {
			t.Errorf("the deregistered node's invocation is %s", inv.Status)
		}
		_, err = c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: str("AWS-RunShellScript"), InstanceIds: []string{n.ID}, Parameters: map[string][]string{"commands": {"true"}}})
		if e, ok := errors.AsType[*types.InvalidInstanceId](err); !ok || *e.Message != fmt.Sprintf("Instances [[%s]] not in a valid state for account %s", n.ID, s.Account()) {
			t.Errorf("SendCommand to a deregistered node = %v", err)
		}
	})
}

// proves R-27
func TestActivationLimitUnderRace(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		id, code := s.Activate(5)
		var mu sync.Mutex
		ids := map[string]bool{}
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				n, err := s.Register(id, code)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					ids[n.ID] = true
				case awserr.Code(err) != "RegistrationLimitExceeded":
					t.Errorf("RegisterManagedInstance: %v", err)
				}
			})
		}
		wg.Wait()
		if len(ids) != 5 {
			t.Errorf("%d nodes registered, want 5", len(ids))
		}
	})
}

func TestNodeErrors(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		n := s.Nodes(1)[0]
		before := s.Dump()
		long := strings.Repeat("x", 256)
		checkErrors(t, s, map[string]string{"$NODE": n.ID, "$GONE": "mi-0123456789abcdef0", "$LONG": long}, []errorCase{
			{"CreateActivation", `{}`, "ValidationException", "1 validation error detected: Value null at 'iamRole' failed to satisfy constraint: Member must not be null"},
			{"CreateActivation", `{"IamRole":"arn:aws:iam::000000000001:role/x"}`, "ValidationException", "Nonexistent role or missing ssm service principal in trust policy: arn:aws:iam::000000000001:role/x: give the name of a role, not its ARN"},
			{"CreateActivation", `{"IamRole":"r","RegistrationLimit":1001}`, "ValidationException", "1 validation error detected: Value '1001' at 'registrationLimit' failed to satisfy constraint: Member must have value less than or equal to 1000"},
			{"CreateActivation", `{"IamRole":"r","ExpirationDate":1}`, "InvalidParameters", ""},
			{"CreateActivation", `{"IamRole":"r","ExpirationDate":99999999999}`, "InvalidParameters", ""},
			{"DescribeActivations", `{"Filters":[{"FilterKey":"Colour","FilterValues":["x"]}]}`, "ValidationException", ""},
			{"DeleteActivation", `{"ActivationId":"nonsense"}`, "ValidationException", ""},
			{"DeleteActivation", `{"ActivationId":"00000000-0000-4000-8000-000000000000"}`, "InvalidActivation", ""},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"Colour","Values":["x"]}]}`, "InvalidFilterKey", ""},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"PingStatus","Values":["Asleep"]}]}`, "InvalidInstanceInformationFilterValue", ""},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"InstanceIds","Values":["x"]}]}`, "InvalidInstanceId", ""},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"tag:a","Values":["x"]},{"Key":"PingStatus","Values":["Online"]}]}`, "InvalidFilterKey", ""},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"PingStatus","Values":["Online"]}],"InstanceInformationFilterList":[{"key":"PingStatus","valueSet":["Online"]}]}`, "ValidationException", ""},
			{"DescribeInstanceInformation", `{"MaxResults":4}`, "ValidationException", ""},
			{"DeregisterManagedInstance", `{"InstanceId":"$GONE"}`, "InvalidInstanceId", ""},
			{"DeregisterManagedInstance", `{"InstanceId":"i-0123456789abcdef0"}`, "ValidationException", ""},
			{"UpdateManagedInstanceRole", `{"InstanceId":"$GONE","IamRole":"r"}`, "InvalidInstanceId", ""},
			{"AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"$GONE","Tags":[{"Key":"a","Value":"b"}]}`, "InvalidResourceId", ""},
			{"AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"$NODE","Tags":[{"Key":"a","Value":"$LONG$LONG"}]}`, "ValidationException", ""},
			{"RemoveTagsFromResource", `{"ResourceType":"ManagedInstance","ResourceId":"$GONE","TagKeys":["a"]}`, "InvalidResourceId", ""},
			{"RegisterManagedInstance", `{"ActivationId":"00000000-0000-4000-8000-000000000000","ActivationCode":"AAAAAAAAAAAAAAAAAAAA","PublicKey":"bm9uc2Vuc2U=","Fingerprint":"f"}`, "InvalidPublicKey", ""},
			{"UpdateInstanceInformation", `{"InstanceId":"$NODE"}`, "InvalidInstanceId", ""},
			{"NoSuchOperation", `{}`, "UnknownOperationException", ""},
			{"DescribeActivations", `{"MaxResults":"x"}`, "SerializationException", ""},
			{"DescribeActivations", `{`, "SerializationException", ""},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
	})
}

func TestPatchGroupFollowsTags(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1, wire.Tag{Key: new("Patch Group"), Value: new("old")})[0]
		members := func(group string) int32 {
			return must[*ssm.DescribePatchGroupStateOutput](t)(c.DescribePatchGroupState(ctx, &ssm.DescribePatchGroupStateInput{PatchGroup: &group})).Instances
		}
		check := func(when, group string) {
			t.Helper()
			for _, g := range []string{"old", "new"} {
				if got := members(g) == 1; got != (g == group) {
					t.Errorf("%s: the node is in group %s: %v", when, g, got)
				}
			}
		}
		check("registered with Patch Group", "old")
		must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "ManagedInstance", ResourceId: &n.ID, Tags: []types.Tag{{Key: str("PatchGroup"), Value: str("new")}}}))
		check("PatchGroup added", "new")
		must[*ssm.RemoveTagsFromResourceOutput](t)(c.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: "ManagedInstance", ResourceId: &n.ID, TagKeys: []string{"PatchGroup"}}))
		check("PatchGroup removed", "old")
		must[*ssm.RemoveTagsFromResourceOutput](t)(c.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: "ManagedInstance", ResourceId: &n.ID, TagKeys: []string{"Patch Group"}}))
		check("both removed", "")
	})
}

// TestNodesAreIsolated goes through the whole operation table as a node: it may perform its own operations on its
// own id and nothing else, and what it tries on another node changes nothing.
//
// proves R-10
func TestNodesAreIsolated(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		nodes := s.Nodes(2)
		a, b := nodes[0], nodes[1]
		sent := must[*ssm.SendCommandOutput](t)(s.SSM(s.Admin).SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: str("AWS-RunShellScript"), InstanceIds: []string{b.ID}, Parameters: map[string][]string{"commands": {"true"}},
		}))
		message := "aws.ssm." + *sent.Command.CommandId + "." + b.ID
		try(t, s.Flush(ctx))
		before := s.Dump()
		// Inputs that pass validation and name node B; every node-own operation must have one or name no node.
		of := map[string]string{
			"ec2messages:GetMessages":                   `{"Destination":"$B","MessagesRequestId":"00000000-0000-4000-8000-000000000000","VisibilityTimeoutInSeconds":10}`,
			"ec2messages:AcknowledgeMessage":            `{"MessageId":"$M"}`,
			"ec2messages:DeleteMessage":                 `{"MessageId":"$M"}`,
			"ec2messages:FailMessage":                   `{"MessageId":"$M","FailureType":"NoHandlerExists"}`,
			"ec2messages:SendReply":                     `{"MessageId":"$M","Payload":"{\"documentStatus\":\"Success\"}","ReplyId":"00000000-0000-4000-8000-000000000000"}`,
			"ec2messages:GetEndpoint":                   `{"Destination":"$B"}`,
			"ssm:PutInventory":                          `{"InstanceId":"$B","Items":[{"TypeName":"Custom:X","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","Content":[{"a":"b"}]}]}`,
			"ssm:PutComplianceItems":                    `{"ResourceId":"$B","ResourceType":"ManagedInstance","ComplianceType":"Custom:x","ExecutionSummary":{"ExecutionTime":1},"Items":[{"Id":"1","Severity":"LOW","Status":"COMPLIANT"}]}`,
			"ssm:UpdateInstanceInformation":             `{"InstanceId":"$B","ComputerName":"stolen"}`,
			"ssm:GetDeployablePatchSnapshotForInstance": `{"InstanceId":"$B","SnapshotId":"00000000-0000-4000-8000-000000000000"}`,
			"ssm:ListInstanceAssociations":              `{"InstanceId":"$B"}`,
			"ssm:UpdateInstanceAssociationStatus":       `{"AssociationId":"00000000-0000-4000-8000-000000000000","InstanceId":"$B","ExecutionResult":{"Status":"Success"}}`,
			"oakum:PutPatchResult":                      `{"InstanceId":"$B","Header":"{\"endedAt\":\"2026-07-01T00:00:00Z\"}","ItemsHash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","Items":"KLUv/SAAAQAA"}`,
		}
		r := strings.NewReplacer("$B", b.ID, "$M", message)
		shared := []string{"ssm:GetDocument", "ssm:DescribeDocument", "ssm:GetParameters", "ssm:GetParameter", "sts:GetCallerIdentity", "ssm:GetManifest", "ssm:PutConfigurePackageResult", "oakum:GetInstallFreeze"}
		for _, op := range s.Operations() {
			name := op.Service + ":" + op.Name
			if op.Auth == codec.Anonymous || op.Protocol != codec.JSON11 || slices.Contains(shared, name) {
				continue
			}
			in, ok := of[name]
			switch {
			case op.Auth == codec.NodeKey: // its body names no node: another's signature is what could be tried
				stolen := *a
				stolen.ID = b.ID
				if stolen.Key == b.Key {
					t.Fatal("two nodes with one key")
				}
				err := stolen.AsNode(ctx, op.Name, &wire.RequestManagedInstanceRoleTokenInput{Fingerprint: &b.Fingerprint}, nil)
				refused(t, name+" signed by another node", err, "InvalidSignatureException", "")
				err = a.Call(ctx, "ssm", op.Name, &wire.RequestManagedInstanceRoleTokenInput{Fingerprint: &a.Fingerprint}, nil)
				refused(t, name+" with a session", err, "UnrecognizedClientException", "")
			case !op.NodeOwn:
				err := a.Call(ctx, op.Service, op.Name, `{}`, nil)
				refused(t, name+" as a node", err, "AccessDeniedException", "")
			case !ok:
				t.Errorf("%s is a node's own operation: say here how a node could try it on another", name)
			default:
				err := a.Call(ctx, op.Service, op.Name, r.Replace(in), nil)
				if code := awserr.Code(err); code != "AccessDeniedException" && code != "InvalidMessageIdException" && (err != nil || name != "ec2messages:GetEndpoint") {
					t.Errorf("%s on another node = %v, want AccessDeniedException", name, err)
				}
				if err := b.Call(ctx, op.Service, op.Name, `{"InstanceId":"x"}`, nil); awserr.Code(err) == "UnknownOperationException" {
					t.Errorf("%s is not served", name)
				}
			}
		}
		if list := a.PollNow(ctx); len(list) != 0 {
			t.Errorf("node A got the messages of node B: %v", list)
		}
		try(t, s.Flush(ctx))
		unchanged(t, "what node A tried on node B changed the database", before, s.Dump())
		if list := b.PollNow(ctx); len(list) != 1 || *list[0].MessageId != message {
			t.Errorf("node B's messages = %v, want %s", list, message)
		}
		// Another region or a foreign session token is another tenant's.
		other := *s
		other.Region = "eu-west-1"
		refused(t, "a session in another region", other.Call(ctx, a.Session, "ssm", "ListInstanceAssociations", `{"InstanceId":"`+a.ID+`"}`, nil), "UnrecognizedClientException", "")
		mixed := a.Session
		mixed.SessionToken = b.Session.SessionToken
		refused(t, "another's session token", s.Call(ctx, mixed, "ssm", "ListInstanceAssociations", `{"InstanceId":"`+b.ID+`"}`, nil), "UnrecognizedClientException", "")
	})
}

// A cloned machine has another fingerprint; a rotated key works at once and the old one no longer.
func TestNodeKeys(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		list := s.Nodes(2)
		n, other := list[0], list[1]
		clone := *n
		clone.Fingerprint = other.Fingerprint
		refused(t, "a clone", clone.Login(ctx), "MachineFingerprintDoesNotMatch", "")
		in := &wire.UpdateManagedInstancePublicKeyInput{NewPublicKey: new(servertest.PublicKey(t, n.Key)), NewPublicKeyType: new("Rsa")}
		refused(t, "the same key again", n.AsNode(ctx, "UpdateManagedInstancePublicKey", in, nil), "PublicKeyAlreadyRegistered", "")
		in.NewPublicKey = new(servertest.PublicKey(t, other.Key))
		try(t, n.AsNode(ctx, "UpdateManagedInstancePublicKey", in, nil))
		refused(t, "the old key", n.Login(ctx), "InvalidSignatureException", "")
		refused(t, "a session of before the rotation", n.Heartbeat(ctx), "UnrecognizedClientException", "")
		n.Key = other.Key
		try(t, n.Login(ctx))
		try(t, n.Heartbeat(ctx))
	})
}

func TestReaderReadsOnly(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		s.Nodes(1)
		before := s.Dump()
		for _, op := range s.Operations() {
			if op.Protocol != codec.JSON11 || op.Auth != codec.SigV4 {
				continue
			}
			err := s.Call(ctx, s.Reader, op.Service, op.Name, `{}`, nil)
			if denied := awserr.Code(err) == "AccessDeniedException"; denied == op.ReadOnly {
				t.Errorf("%s with a read-only key = %v", op.Action, err)
			}
		}
		unchanged(t, "a read-only key changed the database", before, s.Dump())
	})
}

// proves R-29: exactly one record for each call that changes something or is denied, in the change's transaction.
func TestAuditHasOneRecordPerChangeOrDenial(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := s.Nodes(1)[0]
		before := map[string]bool{}
		for _, r := range s.Audit() {
			before[r.EventID] = true
		}
		type want struct{ name, code, user string }
		var wants []want
		call := func(who servertest.Key, user, service, op, in, code string) {
			t.Helper()
			err := s.Call(ctx, who, service, op, in, nil)
			if awserr.Code(err) != code {
				t.Errorf("%s %s = %v, want %q", op, in, err, code)
			}
			wants = append(wants, want{op, code, user})
		}
		quiet := func(who servertest.Key, service, op, in string) {
			t.Helper()
			try(t, s.Call(ctx, who, service, op, in, nil))
		}
		call(s.Admin, "admin", "ssm", "CreatePatchBaseline", `{"Name":"abc","ClientToken":"t"}`, "")
		call(s.Admin, "admin", "ssm", "CreatePatchBaseline", `{"Name":"abc","ClientToken":"t"}`, "")
		call(s.Admin, "admin", "ssm", "CreatePatchBaseline", `{"Name":"abd","ClientToken":"t"}`, "IdempotentParameterMismatch")
		call(s.Admin, "admin", "ssm", "CreatePatchBaseline", `{}`, "ValidationException")
		call(s.Admin, "admin", "ssm", "DeletePatchBaseline", `{"BaselineId":"pb-0123456789abcdef0"}`, "")
		call(s.Admin, "admin", "ssm", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["`+n.ID+`"],"Parameters":{"commands":["true"]}}`, "")
		call(s.Admin, "admin", "ssm", "SendCommand", `{"DocumentName":"Nonsense","InstanceIds":["`+n.ID+`"]}`, "InvalidDocument")
		call(s.Reader, "reader", "ssm", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["`+n.ID+`"]}`, "AccessDeniedException")
		call(s.Admin, "admin", "ssm", "CreateActivation", `{"IamRole":"r"}`, "")
		call(n.Session, "", "ssm", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["`+n.ID+`"]}`, "AccessDeniedException")
		call(n.Session, "", "ssm", "UpdateInstanceInformation", `{"InstanceId":"mi-0123456789abcdef0"}`, "AccessDeniedException")
		call(s.Admin, "admin", "ssm", "AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"`+n.ID+`","Tags":[{"Key":"a","Value":"b"}]}`, "")
		quiet(n.Session, "ssm", "UpdateInstanceInformation", `{"InstanceId":"`+n.ID+`"}`) // heartbeats and polls are not recorded
		if len(n.PollNow(ctx)) != 1 {
			t.Error("no message")
		}
		call(s.Admin, "admin", "ssm", "DeregisterManagedInstance", `{"InstanceId":"`+n.ID+`"}`, "")

		var got []want
		seen := map[string]bool{}
		for _, r := range s.Audit() {
			if before[r.EventID] || r.ReadOnly && r.ErrorCode == "" {
				continue
			}
			got = append(got, want{r.EventName, r.ErrorCode, r.UserIdentity.UserName})
			if seen[r.EventID] || r.RequestID == "" || r.Account != s.Account() || r.SourceIP != "127.0.0.1" {
				t.Errorf("record %+v", r)
			}
			seen[r.EventID] = true
			if strings.Contains(string(r.ResponseElements), "ActivationCode\":\"") && !strings.Contains(string(r.ResponseElements), "HIDDEN") {
				t.Errorf("the activation code is in the record: %s", r.ResponseElements)
			}
		}
		sortWants := func(a, b want) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
		slices.SortFunc(got, sortWants) // times are whole seconds
		slices.SortFunc(wants, sortWants)
		if d := cmp.Diff(wants, got, cmp.AllowUnexported(want{})); d != "" {
			t.Errorf("audit records (-want +got):\n%s", d)
		}
	})
}

// Text that PostgreSQL cannot hold must not make a call fail that works on SQLite, nor stop other nodes' heartbeats.
func TestNodesMaySayAnything(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		nodes := s.Nodes(2)
		err := nodes[0].Call(ctx, "ssm", "UpdateInstanceInformation", `{"InstanceId":"`+nodes[0].ID+`","ComputerName":"a\u0000b"}`, nil)
		if code := awserr.Code(err); err != nil && code != "SerializationException" {
			t.Errorf("a heartbeat with a NUL = %v", err)
		}
		try(t, nodes[1].Call(ctx, "ssm", "UpdateInstanceInformation", `{"InstanceId":"`+nodes[1].ID+`","ComputerName":"fine"}`, nil))
		if err := s.Flush(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("Flush: %v", err)
		}
		for _, c := range []struct{ service, op, in string }{
			{"ssm", "PutInventory", `{"InstanceId":"$","Items":[{"TypeName":"Custom:X","SchemaVersion":"1.0","CaptureTime":"2026-07-01T00:00:00Z","ContentHash":"\u0000","Content":[{"a\u0000":"\u0000b"}],"Context":{"x":"\u0000"}}]}`},
			{"ssm", "PutComplianceItems", `{"ResourceId":"$","ResourceType":"ManagedInstance","ComplianceType":"Custom:x","ExecutionSummary":{"ExecutionTime":1,"ExecutionId":"\u0000"},"Items":[{"Id":"\u0000","Severity":"LOW","Status":"COMPLIANT"}]}`},
		} {
			err := nodes[0].Call(ctx, c.service, c.op, strings.ReplaceAll(c.in, "$", nodes[0].ID), nil)
			if e := awserr.From(err); err != nil && e.Status >= 500 {
				t.Errorf("%s with a NUL = %v", c.op, err)
			}
		}
		for _, c := range []struct{ op, in string }{
			{"SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["$"],"Comment":"a\u0000b","Parameters":{"commands":["printf '\u0000'"]}}`},
			{"CreateActivation", `{"IamRole":"r","Description":"\u0000","DefaultInstanceName":"a\u0000"}`},
			{"CreatePatchBaseline", `{"Name":"abc","Description":"\u0000","ClientToken":"\u0000"}`},
			{"AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"$","Tags":[{"Key":"a\u0000","Value":"\u0000"}]}`},
			{"AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"\u0000","Tags":[{"Key":"a","Value":""}]}`},
			{"DescribeInstanceInformation", `{"Filters":[{"Key":"tag:\u0000","Values":["\u0000"]}]}`},
			{"DescribePatchGroupState", `{"PatchGroup":"\u0000"}`},
			{"GetConnectionStatus", `{"Target":"\u0000"}`},
			{"ListCommands", `{"Filters":[{"key":"DocumentName","value":"\u0000"}]}`},
			{"ListInventoryEntries", `{"InstanceId":"$","TypeName":"Custom:\u0000"}`},
		} {
			err := s.Call(ctx, s.Admin, "ssm", c.op, strings.ReplaceAll(c.in, "$", nodes[0].ID), nil)
			if e := awserr.From(err); err != nil && e.Status >= 500 {
				t.Errorf("%s %s = %v", c.op, c.in, err)
			}
		}
	})
}
