// Package awserr is the one error type whose code and message may be shown to a caller of the API.
// It is a leaf: domain packages and services make such errors, the HTTP front writes them, and
// anything else that reaches the front is a fault, answered without details. Start with Error.
package awserr

import (
	"errors"
	"fmt"
)

// Error is a failure that is part of the API's contract.
type Error struct {
	Code    string            // AWS error code, "DoesNotExistException"
	Message string            // safe to show
	Status  int               // HTTP status; 0 means 400
	Fields  map[string]string // further members of the error shape, such as TypeName
	Cause   error             // logged, never shown
}

// badRequest is the HTTP status of nearly every error of the caller.
const badRequest = 400

// New returns an error with a code and a status. Without args the format is the message, verbatim.
func New(code string, status int, format string, args ...any) *Error {
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	return &Error{Code: code, Status: status, Message: msg}
}

// Error returns "code: message".
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// HTTPStatus returns the status to answer with, 400 unless another is set.
func (e *Error) HTTPStatus() int {
	if e.Status == 0 {
		return badRequest
	}
	return e.Status
}

// With returns a copy of e that carries a further member of the error shape.
func (e *Error) With(name, value string) *Error {
	c := *e
	c.Fields = make(map[string]string, len(e.Fields)+1)
	for k, v := range e.Fields {
		c.Fields[k] = v
	}
	c.Fields[name] = value
	return &c
}

// Because returns a copy of e that remembers its cause for the log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Cause = err
	return &c
}

// Is reports whether target is an Error with the same code, so that errors.Is(err, &Error{Code: c}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Code returns the code of the first Error in err's chain, "" if there is none.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// From returns the first Error in err's chain; any other error becomes InternalServerError with err as
// its cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Internal().Because(err)
}
