package server_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"oakum.dev/awserr"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/oakumtest/servertest"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }

// must ends the test when a call failed.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks the code of an error and, unless it is empty, its whole message.
func refused(t *testing.T, what string, err error, code, message string) {
	t.Helper()
	e := awserr.From(err)
	if err == nil || e.Code != code || message != "" && e.Message != message {
		t.Errorf("%s = %v, want %s: %s", what, err, code, message)
	}
}

// errorCase is one call that is refused. Names with a $ in the input stand for what the test made.
type errorCase struct {
	op, in, code, message string
}

func checkErrors(t *testing.T, s *servertest.Server, names map[string]string, cases []errorCase) {
	t.Helper()
	var pairs []string
	for k, v := range names {
		pairs = append(pairs, k, v)
	}
	r := strings.NewReplacer(pairs...)
	for _, c := range cases {
		service := "ssm"
		if strings.HasPrefix(c.op, "oakum:") {
			service, c.op = "oakum", c.op[len("oakum:"):]
		}
		refused(t, c.op+" "+c.in, s.Call(t.Context(), s.Admin, service, c.op, r.Replace(c.in), nil), c.code, r.Replace(c.message))
	}
}

// unchanged compares two copies of the database and shows where they differ.
func unchanged(t *testing.T, what, before, after string) {
	t.Helper()
	have := map[string]bool{}
	for line := range strings.Lines(before) {
		have[line] = true
	}
	for line := range strings.Lines(after) {
		if !have[line] {
			t.Errorf("%s: new in the database: %.300s", what, line)
		}
	}
	if len(before) > len(after) {
		t.Errorf("%s: the database lost %d bytes", what, len(before)-len(after))
	}
}

var str = aws.String
