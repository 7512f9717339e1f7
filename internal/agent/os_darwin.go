package agent

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"oakum.dev/patch"
	"oakum.dev/patch/macos"
)

// defaultStateDir is the same as on Linux: a path without blanks, which scripts are glad of.
func defaultStateDir() string { return "/var/lib/oakum" }

func effectiveUID() int { return os.Geteuid() }

// bootID is the kernel's own name for this boot.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

var platformUUID = regexp.MustCompile(`"IOPlatformUUID" = "([0-9A-Fa-f-]+)"`)

// machineID is the UUID of the hardware.
func machineID() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice").Output()
	if err != nil {
		return ""
	}
	if m := platformUUID.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

func osVersion() (name, version string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p, err := macos.New(macos.Config{Exec: patch.OSExec{}}).Platform(ctx)
	if err != nil {
		return "", ""
	}
	return p.Name, p.Version
}

func rebootCommand() []string { return []string{"/sbin/shutdown", "-r", "+1"} }

func protect(string) error { return nil } // its mode does
