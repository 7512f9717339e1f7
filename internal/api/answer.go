package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
)

// queryErrors are the codes and statuses of common errors in the query protocol.
var queryErrors = map[string]struct {
	code   string
	status int
}{
	"MissingAuthenticationTokenException": {"MissingAuthenticationToken", 403},
	"IncompleteSignatureException":        {"IncompleteSignature", 400},
	"UnrecognizedClientException":         {"InvalidClientTokenId", 403},
	"ExpiredTokenException":               {"ExpiredToken", 403},
	"InvalidSignatureException":           {"SignatureDoesNotMatch", 403},
	"AccessDeniedException":               {"AccessDenied", 403},
	"UnknownOperationException":           {"InvalidAction", 400},
	"SerializationException":              {"MalformedQueryString", 400},
	"ValidationException":                 {"ValidationError", 400},
	"ThrottlingException":                 {"Throttling", 400},
	"InternalServerError":                 {"InternalFailure", 500},
	"ServiceUnavailableException":         {"ServiceUnavailable", 503},
	"RequestEntityTooLargeException":      {"RequestEntityTooLarge", 413},
	"RequestTimeoutException":             {"RequestTimeout", 400},
}

func (c *call) write(status int, contentType string, body []byte) {
	c.wrote = true
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	if _, err := c.w.Write(body); err != nil {
		c.f.Log.LogAttrs(c.ctx, slog.LevelDebug, "client left before the answer", slog.String("request_id", c.id), slog.Any("err", err))
	}
}

// fail answers an error in the form of the request's protocol. Faults are logged here, once.
func (c *call) fail(err error) {
	e := awserr.From(err)
	if e.HTTPStatus() >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		c.f.Log.LogAttrs(c.ctx, slog.LevelError, "fault", slog.String("request_id", c.id), slog.String("op", c.name()),
			slog.String("account", c.principal.Account), slog.String("region", c.principal.Region), slog.Any("err", cause(e, err)))
	}
	c.observe(e.Code)
	code, status := e.Code, e.HTTPStatus()
	if c.rest != nil && c.rest.WriteError != nil {
		c.wrote = true
		c.rest.WriteError(c.w, c.r, s3Reason(e), e.Message, status, c.id)
		return
	}
	if c.query {
		kind := "Sender"
		if q, ok := queryErrors[code]; ok {
			code, status = q.code, q.status
		}
		if status >= http.StatusInternalServerError {
			kind = "Receiver"
		}
		ns := c.f.queryNS[c.service]
		c.w.Header().Set("X-Amzn-Errortype", code)
		c.write(status, "text/xml", codec.ErrorXML(ns, kind, code, e.Message, c.id))
		return
	}
	c.w.Header().Set("X-Amzn-Errortype", code)
	c.write(status, "application/x-amz-json-1.1", errorJSON(e))
}

// s3Reason tells a refusal for the clock from others, which S3 has a code of its own for.
func s3Reason(e *awserr.Error) string {
	if e.Code == "InvalidSignatureException" && e.Fields["reason"] == "skew" {
		return "RequestTimeTooSkewed"
	}
	return e.Code
}

func cause(e *awserr.Error, err error) error {
	if e.Cause != nil {
		return e.Cause
	}
	return err
}

func errorJSON(e *awserr.Error) []byte {
	body := map[string]string{"__type": e.Code, "message": e.Message}
	for k, v := range e.Fields {
		if k != "reason" {
			body[k] = v
		}
	}
	if e.Message == "" {
		delete(body, "message")
	}
	b, err := json.Marshal(body)
	if err != nil { // a map of strings always marshals
		return []byte("{}")
	}
	return b
}
