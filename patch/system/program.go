package system

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"oakum.dev/patch"
)

// TransactionMark is in the environment of every program that changes the node for a run, and of what it starts.
const TransactionMark = "OAKUM_TRANSACTION=1"

// Logged runs a program that changes the node to its end, whatever becomes of this process, with its words in a run's log.
// It returns them and the exit code, -1 when a signal ended it.
func Logged(ctx context.Context, exec patch.Exec, log *os.File, program string, args []string) (string, int, error) {
	return LoggedCommand(ctx, exec, patch.Command{Path: program, Args: args, Env: append(patch.BaseEnv(), TransactionMark), Log: log, Lasting: true})
}

// LoggedCommand is Logged for a command that says itself how it is run. Its Log is set.
func LoggedCommand(ctx context.Context, exec patch.Exec, c patch.Command) (string, int, error) {
	name := filepath.Base(c.Path)
	from, err := c.Log.Seek(0, io.SeekEnd)
	if err != nil {
		return "", 0, err
	}
	fmt.Fprintf(c.Log, "\n$ %s %s\n", name, strings.Join(c.Args, " ")) // a log: the program's own failure says more than ours would
	out, err := exec.Run(ctx, c)
	if err != nil {
		return "", 0, fmt.Errorf("run %s: %w", name, err)
	}
	text, err := ReadFrom(c.Log.Name(), from)
	if err != nil {
		err = fmt.Errorf("read what %s wrote: %w", name, err)
	}
	return text, out.Code, err
}

// maxLog bounds what is read of one program's words.
const maxLog = 16 << 20

// ReadFrom reads what a program wrote. Progress bars return the carriage and end no line: what comes after one is a line
// of its own.
func ReadFrom(name string, at int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, at, maxLog))
	return patch.Lines(string(b)), err
}

// Said puts what a program said about its failure into one line; where it said nothing, how it ended.
func Said(words []string, program string, code int) string {
	switch {
	case len(words) > 0:
		return strings.Join(words, "; ")
	case code < 0:
		return program + " was killed"
	}
	return fmt.Sprintf("%s ended with %d", program, code)
}
