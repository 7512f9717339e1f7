package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/wire/mgs"
)

// System is what the agent takes from its machine: clock, randomness, environment and reboot. RealSystem is the
// only place that reads them.
type System struct {
	Now        func() time.Time
	Rand       io.Reader
	Environ    []string // of the agent's process; steps inherit it
	Proxy      func(*http.Request) (*url.URL, error)
	Hostname   func() string
	Executable string // the oakum binary, for steps
	Root       string // where the machine's own files are read from; "/" but in tests
	UID        int
	GOOS       string
	BootID     func() string // changes with every boot; "" if the machine has none
	MachineID  func() string // nil: that of /etc/machine-id
	Reboot     func(context.Context) error
	Exec       patch.Exec // starts the tools that inventory asks; nil: it reads files only
}

// RealSystem returns the machine the process runs on.
func RealSystem() *System {
	exe, err := os.Executable()
	if err != nil {
		exe = "" // steps then look for an installed binary
	}
	s := &System{
		Now: time.Now, Rand: rand.Reader, Environ: os.Environ(), Proxy: http.ProxyFromEnvironment,
		Executable: exe, Root: "/", UID: effectiveUID(), GOOS: runtime.GOOS, Exec: patch.OSExec{},
	}
	s.Hostname = func() string {
		name, err := os.Hostname()
		if err != nil {
			return "localhost"
		}
		return name
	}
	s.BootID = bootID
	if s.GOOS != "linux" {
		s.MachineID = machineID
	}
	s.Reboot = func(ctx context.Context) error {
		args := rebootCommand()
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	return s
}

// path returns a file of the machine.
func (s *System) path(name string) string { return filepath.Join(s.Root, name) }

// readFile reads a small file of the machine, "" if there is none.
func (s *System) readFile(name string) string {
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		return ""
	}
	return string(b)
}

func (s *System) readLine(name string) string {
	line, _, _ := strings.Cut(s.readFile(name), "\n")
	return strings.TrimSpace(line)
}

// machineID tells machines apart: a clone has another one once it has been set up.
func (s *System) machineID() string {
	if s.MachineID != nil {
		return s.MachineID()
	}
	return s.readLine("etc/machine-id")
}

// jitter returns a random duration in [0, limit).
func (s *System) jitter(limit time.Duration) time.Duration {
	var b [8]byte
	if limit <= 0 {
		return 0
	}
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return limit / 2
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(limit))
}

// uuid returns a random UUID of version 4.
func (s *System) uuid() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return "", fmt.Errorf("read random numbers: %w", err)
	}
	return formatUUID(b), nil
}

func formatUUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return mgs.FormatID(b)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// lookupEnv returns the last value of a variable in an environment.
func lookupEnv(environ []string, name string) string {
	value := ""
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			value = v
		}
	}
	return value
}
