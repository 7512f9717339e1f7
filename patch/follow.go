package patch

import (
	"io"
	"os"
	"strings"
)

// follower finds in the package manager's words how many packages of a plan are done.
type follower struct {
	plan     *Plan
	finished func(line string) (name string, ok bool)
	progress func(Progress)
	done     map[string]bool
}

// read looks at what a log holds beyond at and returns how far it came.
func (f *follower) read(log string, at int64) int64 {
	file, err := os.Open(log)
	if err != nil {
		return at // it is only shown
	}
	defer file.Close()
	b, err := io.ReadAll(io.NewSectionReader(file, at, 4<<20))
	if err != nil {
		return at
	}
	end := strings.LastIndexByte(string(b), '\n') + 1
	for line := range strings.Lines(string(b[:end])) {
		name, ok := f.finished(strings.TrimSuffix(line, "\n"))
		if !ok {
			continue
		}
		if f.done == nil {
			f.done = map[string]bool{}
		}
		f.done[name] = true
		f.progress(Progress{Phase: "install", Done: min(len(f.done), len(f.plan.Changes)), Total: len(f.plan.Changes), Text: name})
	}
	return at + int64(end)
}
