package arn_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"testing/iotest"

	"oakum.dev/arn"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in, kind, id string
		ok           bool
	}{
		{"arn:aws:ssm:us-east-1:123456789012:patchbaseline/pb-0123456789abcdef0", "patchbaseline", "pb-0123456789abcdef0", true},
		{"arn:aws:ssm:us-east-1::document/AWS-RunPatchBaseline", "document", "AWS-RunPatchBaseline", true},
		{"arn:aws:ssm:us-east-1:1234:patchbaseline/pb-0123456789abcdef0", "", "", false},
		{"arn:aws:ssm", "", "", false},
		{"pb-0123456789abcdef0", "", "", false},
		{"", "", "", false},
	} {
		a, err := arn.Parse(tc.in)
		if (err == nil) != tc.ok {
			t.Errorf("Parse(%q) = %v, %v, want ok %v", tc.in, a, err, tc.ok)
			continue
		}
		if !tc.ok {
			continue
		}
		if kind, id := a.Split(); kind != tc.kind || id != tc.id || a.String() != tc.in {
			t.Errorf("Parse(%q) = %s %s, printed %s", tc.in, kind, id, a)
		}
	}
}

func TestBareOrFull(t *testing.T) {
	const id = "pb-0123456789abcdef0"
	for in, want := range map[string]string{
		id: id,
		"arn:aws:ssm:us-east-1:123456789012:patchbaseline/" + id: id,
		"arn:aws:ssm:us-east-1:123456789012:document/" + id:      "",
		"pb-0123456789ABCDEF0":                                   "",
		"pb-0123":                                                "",
		"mw-0123456789abcdef0":                                   "",
	} {
		if got, err := arn.BaselineID(in); got != want || (err == nil) != (want != "") {
			t.Errorf("BaselineID(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := arn.NodeID("arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"); err != nil || got != "i-0123456789abcdef0" {
		t.Errorf("NodeID of an instance = %q, %v", got, err)
	}
	if got, err := arn.DocumentName("arn:aws:ssm:us-east-1::document/AWS-RunPatchBaseline"); err != nil || got != "AWS-RunPatchBaseline" {
		t.Errorf("DocumentName = %q, %v", got, err)
	}
}

func TestResource(t *testing.T) {
	for _, tc := range []struct{ kind, id, want string }{
		{"patchbaseline", "pb-0123456789abcdef0", "arn:aws:ssm:us-east-1:123456789012:patchbaseline/pb-0123456789abcdef0"},
		{"patchbaseline", "arn:aws:ssm:us-east-1:1:patchbaseline/x", "arn:aws:ssm:us-east-1:1:patchbaseline/x"},
		{"document", "AWS-RunShellScript", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript"},
		{"document", "mine", "arn:aws:ssm:us-east-1:123456789012:document/mine"},
		{"managed-instance", "mi-0123456789abcdef0", "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0"},
		{"managed-instance", "i-01234567", "arn:aws:ec2:us-east-1:123456789012:instance/i-01234567"},
		{"parameter", "/a/b", "arn:aws:ssm:us-east-1:123456789012:parameter/a/b"},
	} {
		if got := arn.Resource(tc.kind, tc.id, "123456789012", "us-east-1"); got != tc.want {
			t.Errorf("Resource(%s, %s) = %s, want %s", tc.kind, tc.id, got, tc.want)
		}
	}
}

func TestMint(t *testing.T) {
	for name, f := range map[string]struct {
		mint  func() (string, error)
		valid func(string) bool
	}{
		"baseline":  {func() (string, error) { return arn.NewBaselineID(rand.Reader) }, arn.IsBaselineID},
		"window":    {func() (string, error) { return arn.NewWindowID(rand.Reader) }, arn.IsWindowID},
		"node":      {func() (string, error) { return arn.NewHybridNodeID(rand.Reader) }, arn.IsHybridNodeID},
		"uuid":      {func() (string, error) { return arn.NewUUID(rand.Reader) }, arn.IsUUID},
		"permanent": {func() (string, error) { return arn.NewAccessKeyID(rand.Reader, false) }, func(s string) bool { return len(s) == 20 && strings.HasPrefix(s, "AKIA") }},
		"temporary": {func() (string, error) { return arn.NewAccessKeyID(rand.Reader, true) }, func(s string) bool { return len(s) == 20 && strings.HasPrefix(s, "ASIA") }},
	} {
		a, err1 := f.mint()
		b, err2 := f.mint()
		if err1 != nil || err2 != nil || !f.valid(a) || a == b {
			t.Errorf("%s: minted %q and %q, %v, %v", name, a, b, err1, err2)
		}
	}
	if _, err := arn.NewUUID(iotest.ErrReader(iotest.ErrTimeout)); err == nil {
		t.Error("NewUUID without randomness gives no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("arn:aws:ssm:us-east-1:123456789012:patchbaseline/pb-0123456789abcdef0")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := arn.Parse(s); err == nil && a.String() != s {
			t.Errorf("%q prints as %q", s, a)
		}
	})
}
