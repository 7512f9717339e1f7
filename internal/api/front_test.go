package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	sdksts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"oakum.dev/iam"
	"oakum.dev/internal/api"
	"oakum.dev/internal/audit"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
	"oakum.dev/wire/sts"
)

const (
	account   = "000000000001"
	adminKey  = "AKIAADMIN0000000000A"
	readerKey = "AKIAREADER000000000A"
	nodeKey   = "ASIANODE00000000000A"
	secret    = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	nodeID    = "mi-0123456789abcdef0"
	otherNode = "mi-0fedcba9876543210"
	token     = "node-session-token"
)

// keyring is the Credentials of the tests.
type keyring struct {
	pub   []byte
	fault error
}

func (k *keyring) AccessKey(_ context.Context, id, session string) (string, iam.Principal, error) {
	if k.fault != nil {
		return "", iam.Principal{}, k.fault
	}
	switch {
	case id == adminKey && session == "":
		return secret, iam.Principal{Kind: iam.Administrator, Account: account, ARN: "arn:aws:iam::" + account + ":user/admin", UserID: "AIDAADMIN"}, nil
	case id == readerKey && session == "":
		return secret, iam.Principal{Kind: iam.ReadOnly, Account: account, ARN: "arn:aws:iam::" + account + ":user/reader", UserID: "AIDAREADER"}, nil
	case id == nodeKey && session == token:
		return secret, iam.Principal{Kind: iam.Node, Account: account, Region: "us-east-1", NodeID: nodeID, ARN: "arn:aws:sts::" + account + ":assumed-role/node/" + nodeID}, nil
	case id == nodeKey && session == "old":
		return "", iam.Principal{}, api.ErrExpired
	}
	return "", iam.Principal{}, api.ErrUnknownKey
}

func (k *keyring) NodeKey(_ context.Context, id string) ([]byte, iam.Principal, error) {
	if id != nodeID || k.pub == nil {
		return nil, iam.Principal{}, api.ErrUnknownKey
	}
	return k.pub, iam.Principal{Kind: iam.Node, Account: account, Region: "us-east-1", NodeID: id, ARN: "arn:aws:sts::" + account + ":assumed-role/node/" + id}, nil
}

// bench is a front on a real listener, with handlers that a test sets.
type bench struct {
	url     string
	keys    *keyring
	ssm     *ssm.Handlers
	mu      sync.Mutex
	records []*audit.Record
}

func (b *bench) audited() []*audit.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*audit.Record(nil), b.records...)
}

func start(t *testing.T, h *ssm.Handlers, change ...func(*api.Config)) *bench {
	t.Helper()
	b := &bench{keys: &keyring{}, ssm: h}
	messages := &ec2messages.Handlers{
		GetMessages: func(ctx context.Context, in *ec2messages.GetMessagesInput) (*ec2messages.GetMessagesOutput, error) {
			return &ec2messages.GetMessagesOutput{Destination: in.Destination, MessagesRequestId: in.MessagesRequestId, Messages: []ec2messages.Message{}}, nil
		},
		AcknowledgeMessage: func(context.Context, *ec2messages.AcknowledgeMessageInput) (*ec2messages.AcknowledgeMessageOutput, error) {
			return nil, nil
		},
	}
	identity := &sts.Handlers{
		GetCallerIdentity: func(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
			p := iam.PrincipalFrom(ctx)
			return &sts.GetCallerIdentityOutput{Account: &p.Account, Arn: &p.ARN, UserId: &p.UserID}, nil
		},
	}
	ops := append(h.Operations(), messages.Operations()...)
	c := api.Config{
		Credentials: b.keys,
		Operations:  append(ops, identity.Operations()...),
		Landing: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "landing")
		}),
		AuditLog: func(_ context.Context, r *audit.Record) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.records = append(b.records, r)
			return nil
		},
	}
	for _, f := range change {
		f(&c)
	}
	srv := httptest.NewServer(api.New(c))
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *bench) client(key, session string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &b.url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, session),
	})
}

// request signs a JSON call by hand, lets edit spoil it, and sends it.
type request struct {
	target, body, key, region, service string
	at                                 time.Time
	before, after                      func(*http.Request)
}

type answer struct {
	status  int
	code    string
	message string
	header  http.Header
	body    string
}

func (b *bench) send(t *testing.T, q request) answer {
	t.Helper()
	if q.key == "" {
		q.key = adminKey
	}
	if q.region == "" {
		q.region = "us-east-1"
	}
	if q.service == "" {
		q.service = "ssm"
	}
	if q.at.IsZero() {
		q.at = time.Now()
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/", strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if q.target != "" {
		r.Header.Set("X-Amz-Target", q.target)
	}
	if q.before != nil {
		q.before(r)
	}
	c := sigv4.Credentials{AccessKeyID: q.key, SecretAccessKey: secret}
	if q.key == nodeKey {
		c.SessionToken = token
	}
	sigv4.Sign(r, sigv4.Hash([]byte(q.body)), c, q.region, q.service, q.at)
	if q.after != nil {
		q.after(r)
	}
	return do(t, r)
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body), code: resp.Header.Get("X-Amzn-Errortype")}
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &e) == nil {
		a.message = e.Message
	}
	return a
}

func baselineHandlers() *ssm.Handlers {
	return &ssm.Handlers{
		CreatePatchBaseline: func(ctx context.Context, in *ssm.CreatePatchBaselineInput) (*ssm.CreatePatchBaselineOutput, error) {
			return &ssm.CreatePatchBaselineOutput{BaselineId: new("pb-0123456789abcdef0")}, nil
		},
		GetPatchBaseline: func(ctx context.Context, in *ssm.GetPatchBaselineInput) (*ssm.GetPatchBaselineOutput, error) {
			if *in.BaselineId != "pb-0123456789abcdef0" {
				return nil, ssm.DoesNotExistException("Patch Baseline to be retrieved does not exist.")
			}
			return &ssm.GetPatchBaselineOutput{
				BaselineId: in.BaselineId, ApprovedPatches: []string{}, CreatedDate: codec.NewTime(time.Unix(1795308500, 863e6)),
				GlobalFilters: &ssm.PatchFilterGroup{PatchFilters: []ssm.PatchFilter{}},
				ApprovalRules: &ssm.PatchRuleGroup{PatchRules: []ssm.PatchRule{{ApproveAfterDays: new(int64), EnableNonSecurity: new(false)}}},
			}, nil
		},
	}
}

func TestSDKRoundTrip(t *testing.T) {
	b := start(t, baselineHandlers())
	c := b.client(adminKey, "")
	created, err := c.CreatePatchBaseline(t.Context(), &sdk.CreatePatchBaselineInput{Name: aws.String("web"), ApprovedPatches: []string{"x"}})
	if err != nil || aws.ToString(created.BaselineId) != "pb-0123456789abcdef0" {
		t.Fatalf("CreatePatchBaseline = %v, %v", created, err)
	}
	got, err := c.GetPatchBaseline(t.Context(), &sdk.GetPatchBaselineInput{BaselineId: created.BaselineId})
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(1795308500, 863e6).UTC(); !got.CreatedDate.Equal(want) {
		t.Errorf("CreatedDate = %v, want %v", got.CreatedDate, want)
	}
	if got.ApprovedPatches == nil || got.GlobalFilters.PatchFilters == nil || got.RejectedPatches != nil {
		t.Errorf("empty lists stay, absent ones are absent: got %v, %v, %v", got.ApprovedPatches, got.GlobalFilters.PatchFilters, got.RejectedPatches)
	}
	if d := got.ApprovalRules.PatchRules[0].ApproveAfterDays; d == nil || *d != 0 {
		t.Errorf("ApproveAfterDays = %v, want 0", d)
	}
	_, err = c.GetPatchBaseline(t.Context(), &sdk.GetPatchBaselineInput{BaselineId: aws.String("pb-0000000000000000f")})
	if e, ok := errors.AsType[*types.DoesNotExistException](err); !ok || e.ErrorMessage() != "Patch Baseline to be retrieved does not exist." {
		t.Errorf("unknown baseline: %v, want DoesNotExistException", err)
	}
	_, err = c.DeletePatchBaseline(t.Context(), &sdk.DeletePatchBaselineInput{BaselineId: created.BaselineId})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "UnknownOperationException" {
		t.Errorf("operation without handler: %v, want UnknownOperationException", err)
	}
	_, err = c.CreatePatchBaseline(t.Context(), &sdk.CreatePatchBaselineInput{Name: aws.String("a b")})
	want := `1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\-.]{3,128}$`
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ValidationException" || e.ErrorMessage() != want {
		t.Errorf("bad name: %v, want ValidationException %q", err, want)
	}
}

func TestSTS(t *testing.T) {
	b := start(t, &ssm.Handlers{})
	c := sdksts.New(sdksts.Options{Region: "eu-west-1", BaseEndpoint: &b.url, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(adminKey, secret, "")})
	out, err := c.GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(out.Account) != account || aws.ToString(out.UserId) != "AIDAADMIN" {
		t.Fatalf("GetCallerIdentity = %+v, %v", out, err)
	}
	presigned, err := sdksts.NewPresignClient(c).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), presigned.Method, presigned.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, r); a.status != http.StatusOK || !strings.Contains(a.body, "<Account>"+account+"</Account>") {
		t.Errorf("presigned GetCallerIdentity = %d %s", a.status, a.body)
	}
	bad := sdksts.New(sdksts.Options{Region: "eu-west-1", BaseEndpoint: &b.url, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKIANOBODY", secret, "")})
	_, err = bad.GetCallerIdentity(t.Context(), nil)
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "InvalidClientTokenId" {
		t.Errorf("unknown key: %v, want InvalidClientTokenId", err)
	}
	_, err = c.AssumeRole(t.Context(), &sdksts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::1:role/x"), RoleSessionName: aws.String("s")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "InvalidAction" {
		t.Errorf("unserved action: %v, want InvalidAction", err)
	}
}

func TestRefusals(t *testing.T) {
	b := start(t, baselineHandlers())
	const get, id = "AmazonSSM.GetPatchBaseline", `{"BaselineId":"pb-0123456789abcdef0"}`
	deep := `{"Unknown":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`
	for _, tc := range []struct {
		name          string
		q             request
		status        int
		code, message string
	}{
		{"fine", request{target: get, body: id}, 200, "", ""},
		{"no_signature", request{target: get, body: id, after: func(r *http.Request) { r.Header.Del("Authorization") }}, 400, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{"malformed", request{target: get, body: id, after: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x") }}, 400, "IncompleteSignatureException", ""},
		{"sigv4a", request{target: get, body: id, after: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1))
		}}, 400, "IncompleteSignatureException", ""},
		{"two_authorizations", request{target: get, body: id, after: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }}, 400, "IncompleteSignatureException", ""},
		{"unknown_key", request{target: get, body: id, key: "AKIANOBODY0000000000"}, 400, "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"body_changed", request{target: get, body: id, after: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(id, "pb-0", "pb-1", 1)))
		}}, 400, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided."},
		{"path_changed", request{target: get, body: id, after: func(r *http.Request) { r.URL.Path = "/other" }}, 400, "InvalidSignatureException", ""},
		{"too_old", request{target: get, body: id, at: time.Now().Add(-6 * time.Minute)}, 400, "InvalidSignatureException", "Signature expired: "},
		{"too_new", request{target: get, body: id, at: time.Now().Add(6 * time.Minute)}, 400, "InvalidSignatureException", "Signature not yet current: "},
		{"unsigned_amz_header", request{target: get, body: id, after: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }}, 400, "InvalidSignatureException", "'x-amz-security-token' must be a 'SignedHeader'"},
		{"token_on_long_term_key", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }}, 400, "UnrecognizedClientException", ""},
		{"content_hash_wrong", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", sigv4.EmptyHash) }}, 400, "InvalidSignatureException", "x-amz-content-sha256"},
		{"content_hash_right", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", sigv4.Hash([]byte(id))) }}, 200, "", ""},
		{"unsigned_payload", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }}, 400, "InvalidSignatureException", "The payload must be signed."},
		{"other_service", request{target: get, body: id, service: "sts"}, 400, "InvalidSignatureException", "Credential should be scoped to correct service: 'ssm'."},
		{"unknown_operation", request{target: "AmazonSSM.Nothing", body: id}, 400, "UnknownOperationException", ""},
		{"unknown_operation_unsigned", request{target: "AmazonSSM.Nothing", body: id, after: func(r *http.Request) { r.Header.Del("Authorization") }}, 400, "MissingAuthenticationTokenException", ""},
		{"broken_json", request{target: get, body: `{"BaselineId":`}, 400, "SerializationException", "Unexpected end of input"},
		{"trailing_text", request{target: get, body: id + "x"}, 400, "SerializationException", ""},
		{"wrong_type", request{target: get, body: `{"BaselineId":7}`}, 400, "SerializationException", "NUMBER_VALUE can not be converted to String"},
		{"too_deep", request{target: get, body: deep}, 400, "SerializationException", "nested more than 64"},
		{"bad_utf8", request{target: get, body: "{\"BaselineId\":\"\xff\"}"}, 400, "SerializationException", "UTF-8"},
		{"other_case_is_unknown", request{target: get, body: `{"baselineid":"pb-0123456789abcdef0"}`}, 400, "ValidationException", "Value null at 'baselineId' failed to satisfy constraint: Member must not be null"},
		{"null_is_absent", request{target: get, body: `{"BaselineId":null}`}, 400, "ValidationException", "Member must not be null"},
		{"empty_body", request{target: get}, 400, "ValidationException", "Member must not be null"},
		{"too_large", request{target: get, body: strings.Repeat(" ", 256<<10+1)}, 413, "RequestEntityTooLargeException", ""},
		{"content_type", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }}, 400, "SerializationException", "Content-Type"},
		{"json_1_0", request{target: get, body: id, before: func(r *http.Request) { r.Header.Set("Content-Type", "application/x-amz-json-1.0") }}, 200, "", ""},
		{"reader_reads", request{target: get, body: id, key: readerKey}, 200, "", ""},
		{
			"reader_writes",
			request{target: "AmazonSSM.CreatePatchBaseline", body: `{"Name":"web"}`, key: readerKey},
			400, "AccessDeniedException",
			"User: arn:aws:iam::000000000001:user/reader is not authorized to perform: ssm:CreatePatchBaseline on resource: arn:aws:ssm:us-east-1:000000000001:* because no identity-based policy allows the ssm:CreatePatchBaseline action",
		},
		{"denied_before_validated", request{target: "AmazonSSM.CreatePatchBaseline", body: `{}`, key: readerKey}, 400, "AccessDeniedException", ""},
		{"node_on_operator_action", request{target: get, body: id, key: nodeKey}, 400, "AccessDeniedException", "on resource: arn:aws:ssm:us-east-1:000000000001:patchbaseline/pb-0123456789abcdef0 because"},
		{"node_in_other_region", request{target: "EC2WindowsMessageDeliveryService.GetMessages", service: "ec2messages", region: "eu-west-1", key: nodeKey, body: `{"Destination":"` + nodeID + `","MessagesRequestId":"1"}`}, 400, "UnrecognizedClientException", ""},
		{"node_on_itself", request{target: "EC2WindowsMessageDeliveryService.GetMessages", service: "ec2messages", key: nodeKey, body: `{"Destination":"` + nodeID + `","MessagesRequestId":"1"}`}, 200, "", ""},
		{"node_on_another", request{target: "EC2WindowsMessageDeliveryService.GetMessages", service: "ec2messages", key: nodeKey, body: `{"Destination":"` + otherNode + `","MessagesRequestId":"1"}`}, 400, "AccessDeniedException", ""},
		{"node_on_its_message", request{target: "EC2WindowsMessageDeliveryService.AcknowledgeMessage", service: "ec2messages", key: nodeKey, body: `{"MessageId":"aws.ssm.8be8a6cd-51e4-4219-96a1-9fdda751550a.` + nodeID + `"}`}, 200, "", ""},
		{"node_on_others_message", request{target: "EC2WindowsMessageDeliveryService.AcknowledgeMessage", service: "ec2messages", key: nodeKey, body: `{"MessageId":"aws.ssm.8be8a6cd-51e4-4219-96a1-9fdda751550a.` + otherNode + `"}`}, 400, "AccessDeniedException", ""},
		{"node_on_malformed_message", request{target: "EC2WindowsMessageDeliveryService.AcknowledgeMessage", service: "ec2messages", key: nodeKey, body: `{"MessageId":"x"}`}, 400, "AccessDeniedException", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := b.send(t, tc.q)
			if a.status != tc.status || a.code != tc.code || !strings.Contains(a.message, tc.message) {
				t.Errorf("answer = %d %s %q, want %d %s %q", a.status, a.code, a.message, tc.status, tc.code, tc.message)
			}
			if a.header.Get("Date") == "" || a.header.Get("X-Amzn-Requestid") == "" {
				t.Errorf("headers = %v, want Date and X-Amzn-Requestid", a.header)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	b := start(t, &ssm.Handlers{
		DescribePatchBaselines: func(context.Context, *ssm.DescribePatchBaselinesInput) (*ssm.DescribePatchBaselinesOutput, error) {
			panic("a bug with a secret in it")
		},
		DescribePatchGroups: func(context.Context, *ssm.DescribePatchGroupsInput) (*ssm.DescribePatchGroupsOutput, error) {
			return nil, errors.New("disk /secret/path is full")
		},
	})
	for _, op := range []string{"DescribePatchBaselines", "DescribePatchGroups"} {
		a := b.send(t, request{target: "AmazonSSM." + op, body: "{}"})
		if a.status != 500 || a.code != "InternalServerError" || strings.Contains(a.body, "secret") {
			t.Errorf("%s = %d %s %s, want 500 without details", op, a.status, a.code, a.body)
		}
	}
	b.keys.fault = errors.New("database is locked")
	if a := b.send(t, request{target: "AmazonSSM.DescribePatchGroups", body: "{}"}); a.status != 500 {
		t.Errorf("credentials that fail answer %d %s, want 500", a.status, a.code)
	}
}

func TestLanding(t *testing.T) {
	b := start(t, &ssm.Handlers{})
	for path, want := range map[string]int{"/": 200, "/other": 400} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := do(t, r); a.status != want {
			t.Errorf("GET %s = %d, want %d", path, a.status, want)
		}
	}
}

func TestThrottling(t *testing.T) {
	b := start(t, baselineHandlers(), func(c *api.Config) { c.Rates.Read = api.Rate{PerSecond: 0.001, Burst: 2} })
	var codes []string
	for range 3 {
		codes = append(codes, b.send(t, request{target: "AmazonSSM.GetPatchBaseline", body: `{"BaselineId":"pb-0123456789abcdef0"}`}).code)
	}
	if got := strings.Join(codes, ","); got != ",,ThrottlingException" {
		t.Errorf("codes = %s, want the third throttled", got)
	}
}

func TestAudit(t *testing.T) {
	h := baselineHandlers()
	h.UpdatePatchBaseline = func(ctx context.Context, _ *ssm.UpdatePatchBaselineInput) (*ssm.UpdatePatchBaselineOutput, error) {
		r := audit.Pending(ctx)
		if !r.Claim() || r.Claim() {
			t.Error("a record can be claimed once")
		}
		r.Release()
		if !r.Claim() {
			t.Error("a released record can be claimed again")
		}
		r.Written()
		return &ssm.UpdatePatchBaselineOutput{}, nil
	}
	h.PutInventory = func(context.Context, *ssm.PutInventoryInput) (*ssm.PutInventoryOutput, error) { return nil, nil }
	h.SendCommand = func(context.Context, *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
		return nil, ssm.InvalidDocument("The document does not exist")
	}
	b := start(t, h)
	const id = "pb-0123456789abcdef0"
	b.send(t, request{target: "AmazonSSM.GetPatchBaseline", body: `{"BaselineId":"` + id + `"}`})                                                                                                            // reads: no record
	b.send(t, request{target: "AmazonSSM.UpdatePatchBaseline", body: `{"BaselineId":"` + id + `"}`})                                                                                                         // written by its transaction
	b.send(t, request{target: "AmazonSSM.PutInventory", key: nodeKey, body: `{"InstanceId":"` + nodeID + `","Items":[{"TypeName":"AWS:File","SchemaVersion":"1.0","CaptureTime":"2026-11-22T00:00:00Z"}]}`}) // frequent
	b.send(t, request{target: "AmazonSSM.CreatePatchBaseline", body: `{"Name":"web","Sources":[{"Name":"src","Products":["*"],"Configuration":"password=1"}]}`})
	b.send(t, request{target: "AmazonSSM.CreatePatchBaseline", key: readerKey, body: `{"Name":"web"}`})
	b.send(t, request{target: "AmazonSSM.SendCommand", body: `{"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["echo secret"]}}`})
	b.send(t, request{target: "AmazonSSM.PutInventory", key: nodeKey, body: `{"InstanceId":"` + otherNode + `","Items":[]}`})
	var got []string
	for _, r := range b.audited() {
		got = append(got, r.EventName+" "+r.ErrorCode)
	}
	want := []string{"CreatePatchBaseline ", "CreatePatchBaseline AccessDeniedException", "SendCommand InvalidDocument", "PutInventory AccessDeniedException"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("records = %q, want %q", got, want)
	}
	text, err := json.Marshal(b.audited()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"requestParameters":{"name":"web","sources":[{"name":"src","products":["*"],"configuration":"HIDDEN_DUE_TO_SECURITY_REASONS"}]}`,
		`"responseElements":{"baselineId":"pb-0123456789abcdef0"}`, `"eventSource":"ssm.amazonaws.com"`, `"awsRegion":"us-east-1"`,
		`"recipientAccountId":"000000000001"`, `"type":"IAMUser"`, `"userName":"admin"`, `"accessKeyId":"` + adminKey + `"`, `"readOnly":false`,
	} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("record = %s, want %s in it", text, part)
		}
	}
	if text, _ := json.Marshal(b.audited()[2]); bytes.Contains(text, []byte("echo secret")) {
		t.Errorf("record = %s, want the command's parameters hidden", text)
	}
}

func TestLongPollEndsWhenTheClientLeaves(t *testing.T) {
	gone := make(chan error, 1)
	b := start(t, &ssm.Handlers{
		DescribePatchGroups: func(ctx context.Context, _ *ssm.DescribePatchGroupsInput) (*ssm.DescribePatchGroupsOutput, error) {
			<-ctx.Done()
			gone <- ctx.Err()
			return nil, ctx.Err()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := b.client(adminKey, "").DescribePatchGroups(ctx, &sdk.DescribePatchGroupsInput{}); err == nil {
		t.Fatal("call returned although its client left")
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("handler still waits after its client left")
	}
}

func TestPaginator(t *testing.T) {
	pager := codec.Pager{Key: []byte("0123456789abcdef")}
	b := start(t, &ssm.Handlers{
		DescribePatchGroups: func(ctx context.Context, in *ssm.DescribePatchGroupsInput) (*ssm.DescribePatchGroupsOutput, error) {
			p := iam.PrincipalFrom(ctx)
			bind := codec.Binding{Operation: "DescribePatchGroups", Account: p.Account, Region: p.Region, Input: in}
			cur, err := pager.Cursor(bind, in.NextToken)
			if err != nil {
				return nil, err
			}
			out := &ssm.DescribePatchGroupsOutput{}
			switch {
			case cur == nil:
				out.NextToken = pager.Token(bind, codec.Cursor{Key: []string{"a"}})
			case cur.Key[0] == "a":
				out.NextToken = pager.Token(bind, codec.Cursor{Key: []string{"b"}})
			}
			out.Mappings = []ssm.PatchGroupPatchBaselineMapping{{PatchGroup: new("g")}}
			return out, nil
		},
	})
	p := sdk.NewDescribePatchGroupsPaginator(b.client(adminKey, ""), &sdk.DescribePatchGroupsInput{MaxResults: aws.Int32(1)})
	pages := 0
	for p.HasMorePages() {
		if _, err := p.NextPage(t.Context()); err != nil {
			t.Fatal(err)
		}
		pages++
	}
	if pages != 3 {
		t.Errorf("pages = %d, want 3", pages)
	}
}
