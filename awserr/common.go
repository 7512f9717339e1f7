package awserr

// The errors that every operation may answer, with the texts of AWS. Errors of single operations are
// generated with their service, in wire/.

// Validation is a request that breaks a rule of its shape or of the business.
func Validation(format string, args ...any) *Error {
	return New("ValidationException", badRequest, format, args...)
}

// Serialization is a body that cannot be read into the operation's input.
func Serialization(format string, args ...any) *Error {
	return New("SerializationException", badRequest, format, args...)
}

// AccessDenied is an authenticated caller without permission.
func AccessDenied(format string, args ...any) *Error {
	return New("AccessDeniedException", badRequest, format, args...)
}

// Throttling asks the caller to slow down; SDKs retry it.
func Throttling() *Error {
	return New("ThrottlingException", badRequest, "Rate exceeded")
}

// UnknownOperation is a call of something that is not served.
func UnknownOperation() *Error {
	return New("UnknownOperationException", badRequest, "")
}

// Internal is a fault of the server; its text never says more.
func Internal() *Error {
	return New("InternalServerError", 500, "An error occurred on the server side.")
}

// Unavailable is a temporary inability; SDKs retry it.
func Unavailable(format string, args ...any) *Error {
	return New("ServiceUnavailableException", 503, format, args...)
}

// TooLarge is a body over the operation's limit.
func TooLarge(limit int64) *Error {
	return New("RequestEntityTooLargeException", 413,
		"Request body is larger than the limit of %d bytes", limit)
}
