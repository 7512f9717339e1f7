package api_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"oakum.dev/iam"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

func TestNodeSignedCalls(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, &ssm.Handlers{
		RequestManagedInstanceRoleToken: func(ctx context.Context, _ *ssm.RequestManagedInstanceRoleTokenInput) (*ssm.RequestManagedInstanceRoleTokenOutput, error) {
			p := iam.PrincipalFrom(ctx)
			return &ssm.RequestManagedInstanceRoleTokenOutput{AccessKeyId: new(p.NodeID + p.Region), UpdateKeyPair: new(false)}, nil
		},
		RegisterManagedInstance: func(ctx context.Context, _ *ssm.RegisterManagedInstanceInput) (*ssm.RegisterManagedInstanceOutput, error) {
			if p := iam.PrincipalFrom(ctx); p.Kind != iam.Anonymous || p.SourceIP != "127.0.0.1" {
				t.Errorf("principal of a registration = %+v", p)
			}
			return &ssm.RegisterManagedInstanceOutput{InstanceId: new(nodeID)}, nil
		},
		DescribePatchGroups: func(context.Context, *ssm.DescribePatchGroupsInput) (*ssm.DescribePatchGroupsOutput, error) {
			return nil, nil
		},
	})
	if b.keys.pub, err = x509.MarshalPKIXPublicKey(&key.PublicKey); err != nil {
		t.Fatal(err)
	}
	const body = `{"Fingerprint":"8be8a6cd-51e4-4219-96a1-9fdda751550a"}`
	build := func(target, id, region string, at time.Time) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/", io.MultiReader(strings.NewReader(body))) // no length: sent chunked
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", target)
		if err := sigv4.SignNode(rand.Reader, r, sigv4.Hash([]byte(body)), id, region, key, at); err != nil {
			t.Fatal(err)
		}
		return r
	}
	const call = "AmazonSSM.RequestManagedInstanceRoleToken"
	good := build(call, nodeID, "us-east-1", time.Now())
	if a := do(t, good); a.status != 200 || !strings.Contains(a.body, nodeID+"us-east-1") {
		t.Errorf("token request = %d %s", a.status, a.body)
	}
	replay := build(call, nodeID, "us-east-1", time.Now())
	replay.Header = good.Header
	if a := do(t, replay); a.code != "InvalidSignatureException" || !strings.Contains(a.message, "used before") {
		t.Errorf("replayed token request = %s %s, want InvalidSignatureException", a.code, a.message)
	}
	for name, tc := range map[string]struct {
		r    *http.Request
		code string
	}{
		"unknown_node":       {build(call, otherNode, "us-east-1", time.Now()), "UnrecognizedClientException"},
		"other_region":       {build(call, nodeID, "eu-west-1", time.Now()), "UnrecognizedClientException"},
		"too_old":            {build(call, nodeID, "us-east-1", time.Now().Add(-6*time.Minute)), "InvalidSignatureException"},
		"operator_operation": {build("AmazonSSM.DescribePatchGroups", nodeID, "us-east-1", time.Now()), "UnrecognizedClientException"},
		"malformed_id":       {build(call, "mi-short", "us-east-1", time.Now()), "UnrecognizedClientException"},
	} {
		if a := do(t, tc.r); a.code != tc.code {
			t.Errorf("%s = %d %s %s, want %s", name, a.status, a.code, a.message, tc.code)
		}
	}
	spoiled := build(call, nodeID, "us-east-1", time.Now())
	spoiled.Header.Set("X-Amz-Content-Sha256", sigv4.EmptyHash)
	if a := do(t, spoiled); a.code != "InvalidSignatureException" {
		t.Errorf("wrong unsigned content hash = %s, want InvalidSignatureException", a.code)
	}
	// A session's access key cannot ask for a token, nor a node's key stand in for one.
	if a := b.send(t, request{target: call, body: body, key: nodeKey}); a.code != "UnrecognizedClientException" {
		t.Errorf("token request with an access key = %s, want UnrecognizedClientException", a.code)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/", strings.NewReader(`{"ActivationId":"8be8a6cd-51e4-4219-96a1-9fdda751550a","ActivationCode":"aaaaaaaaaaaaaaaaaaaa","PublicKey":"AAAA","Fingerprint":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonSSM.RegisterManagedInstance")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if a := do(t, r); a.status != 200 || !strings.Contains(a.body, nodeID) {
		t.Errorf("unsigned registration = %d %s", a.status, a.body)
	}
}
