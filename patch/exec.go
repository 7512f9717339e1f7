package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Command is a program to run on the node. Arguments are never joined into a shell line.
type Command struct {
	Path      string // absolute
	Args      []string
	Env       []string      // the whole environment
	Dir       string        // empty: /
	Timeout   time.Duration // 0: none beyond the context
	MaxOutput int           // bytes kept of each stream; 0: 1 MiB
	// Log, when set, takes both streams in place of Output. Being a file, it lets the program go on without this process.
	Log *os.File
	// Lasting programs go on to their end when the context or this process ends: a package manager in the middle of a
	// transaction. Log must be set; Timeout is not looked at.
	Lasting bool
	// Unit names the systemd scope that a lasting program runs in, so that stopping the agent's unit does not stop it.
	// Where systemd does not run it is not used.
	Unit string
}

// Output is what a program left.
type Output struct {
	Code           int // exit code; -1 when a signal ended it
	Stdout, Stderr []byte
	Truncated      bool // a stream was longer than MaxOutput; its end was dropped
	Took           time.Duration
}

// Exec starts programs. The error is about starting; an exit code is no error.
type Exec interface {
	Run(ctx context.Context, c Command) (Output, error)
}

// BaseEnv is the environment of every program that the engine starts: fixed language, no terminal, no prompts.
func BaseEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "LANGUAGE=", "COLUMNS=32767",
		"PAGER=cat", "SYSTEMD_PAGER=", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
		"APT_LISTCHANGES_FRONTEND=none", "APT_LISTBUGS_FRONTEND=none", "NEEDRESTART_MODE=l", "NEEDRESTART_SUSPEND=1", "UCF_FORCE_CONFFOLD=1",
	}
}

// OSExec runs programs of this machine in a session of their own, with stdin closed.
type OSExec struct{}

// Run starts c and waits for it. When the context or the timeout ends, the whole process group is killed.
func (OSExec) Run(ctx context.Context, c Command) (Output, error) {
	if c.Lasting {
		if c.Log == nil {
			return Output{}, fmt.Errorf("run %s: a program that outlives this process needs a log", c.Path)
		}
		if err := ctx.Err(); err != nil {
			return Output{}, err
		}
		ctx = context.WithoutCancel(ctx)
	} else if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	limit := c.MaxOutput
	if limit == 0 {
		limit = 1 << 20
	}
	stdout, stderr := &clipped{left: limit}, &clipped{left: limit}
	path, args := c.Path, c.Args
	if c.Lasting {
		path, args = scoped(c.Unit, path, args)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, stdout, stderr
	if c.Log != nil {
		cmd.Stdout, cmd.Stderr = c.Log, c.Log
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.WaitDelay = 5 * time.Second
	isolate(cmd)
	start := time.Now()
	err := cmd.Run()
	out := Output{Stdout: stdout.b.Bytes(), Stderr: stderr.b.Bytes(), Truncated: stdout.cut || stderr.cut, Took: time.Since(start)}
	if cmd.ProcessState != nil {
		out.Code = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	var exit *exec.ExitError
	// A program that has ended well may leave one behind that keeps its streams open: what was written by then counts.
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		return out, nil
	}
	return out, err
}

// clipped keeps the first bytes of a stream and swallows the rest.
type clipped struct {
	b    bytes.Buffer
	left int
	cut  bool
}

func (c *clipped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.b.Write(p[:n])
	c.left -= n
	c.cut = c.cut || n < len(p)
	return len(p), nil
}

// Stopwatch adds up how long programs ran. It is used by one goroutine at a time.
type Stopwatch struct {
	Exec
	Spent time.Duration
}

// Run starts c and adds its time.
func (w *Stopwatch) Run(ctx context.Context, c Command) (Output, error) {
	out, err := w.Exec.Run(ctx, c)
	w.Spent += out.Took
	return out, err
}
