package awserr_test

import (
	"errors"
	"fmt"
	"testing"

	"oakum.dev/awserr"
)

func TestFrom(t *testing.T) {
	if awserr.From(nil) != nil {
		t.Error("From(nil) is an error")
	}
	denied := awserr.AccessDenied("no %d%%", 5)
	wrapped := fmt.Errorf("call: %w", denied)
	if got := awserr.From(wrapped); got != denied || got.Message != "no 5%" || got.HTTPStatus() != 400 {
		t.Errorf("From(%v) = %v", wrapped, got)
	}
	fault := errors.New("disk is full")
	got := awserr.From(fault)
	if got.Code != "InternalServerError" || got.HTTPStatus() != 500 || !errors.Is(got, fault) || got.Message == fault.Error() {
		t.Errorf("From(fault) = %v, want InternalServerError with the fault as its cause only", got)
	}
	if awserr.Code(wrapped) != "AccessDeniedException" || awserr.Code(fault) != "" {
		t.Errorf("Code = %q, %q", awserr.Code(wrapped), awserr.Code(fault))
	}
	if !errors.Is(wrapped, &awserr.Error{Code: "AccessDeniedException"}) || errors.Is(wrapped, &awserr.Error{Code: "Other"}) {
		t.Error("errors.Is goes by the code")
	}
}

func TestCopies(t *testing.T) {
	e := awserr.Validation("all wrong")
	f := e.With("TypeName", "AWS:File").With("Other", "x").Because(errors.New("why"))
	if len(e.Fields) != 0 || e.Cause != nil || len(f.Fields) != 2 || f.Cause == nil || f.Error() != "ValidationException: all wrong" {
		t.Errorf("With and Because change the original: %+v, %+v", e, f)
	}
}
