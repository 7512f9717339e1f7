//go:build !windows && !darwin

package agent

import (
	"os"
	"strings"
)

func defaultStateDir() string { return "/var/lib/oakum" }

func effectiveUID() int { return os.Geteuid() }

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func osVersion() (name, version string) { return "", "" } // os-release tells

func rebootCommand() []string {
	return []string{"/sbin/shutdown", "-r", "+1", "oakum: reboot requested by a command"}
}

func protect(string) error { return nil } // its mode does
