package cli

import "io"

// Streams are where a command reads from and writes to: Out carries the answer, Err the talk.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// ExitError ends the program with a code. Without Err nothing more is said.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the cause, or nil.
func (e *ExitError) Unwrap() error { return e.Err }
