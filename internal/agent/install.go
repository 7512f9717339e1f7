package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"oakum.dev/patch/journal"
)

// UnitName is the systemd unit of the agent.
const UnitName = "oakum-agent.service"

// unit is as good as unconfined: what a command runs inherits whatever is set here, even in a scope of its own,
// and package scripts need all of the machine and the usual umask. KillMode=process: a step outlives a restart of
// the agent, which finds it again.
const unit = `[Unit]
Description=Oakum node agent
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=%s agent run --state-dir %s
Restart=always
RestartSec=10
KillMode=process
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
`

// InstallUnit makes the agent a service of the machine and starts it: a systemd unit on Linux, a launchd daemon on macOS, a
// service on Windows. It returns the path of the unit or the name of the service.
func InstallUnit(ctx context.Context, sys *System, stateDir string) (string, error) {
	if sys == nil {
		sys = RealSystem()
	}
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	if sys.UID != 0 {
		return "", errors.New("installing the agent as a service needs " + map[bool]string{true: "an administrator", false: "root"}[sys.GOOS == "windows"])
	}
	if sys.Executable == "" {
		return "", errors.New("the path of this program is not known")
	}
	switch sys.GOOS {
	case "linux":
		return installSystemd(ctx, sys, stateDir)
	case "darwin":
		return installLaunchd(ctx, sys, stateDir)
	case "windows":
		return installService(sys, stateDir)
	}
	return "", fmt.Errorf("installing the agent as a service is not supported on %s", sys.GOOS)
}

// UninstallUnit stops the agent and takes its service away. The registration and the records of runs stay.
func UninstallUnit(ctx context.Context, sys *System) (string, error) {
	if sys == nil {
		sys = RealSystem()
	}
	if sys.UID != 0 {
		return "", errors.New("taking the agent's service away needs " + map[bool]string{true: "an administrator", false: "root"}[sys.GOOS == "windows"])
	}
	switch sys.GOOS {
	case "linux":
		path := sys.path("etc/systemd/system/" + UnitName)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("the agent is not installed as a service: %w", err)
		}
		if _, err := os.Stat(sys.path("run/systemd/system")); err == nil {
			if err := control(ctx, "systemctl", "disable", "--now", UnitName); err != nil {
				return "", err
			}
		}
		return path, os.Remove(path)
	case "darwin":
		return uninstallLaunchd(ctx, sys)
	case "windows":
		return ServiceName, uninstallService()
	}
	return "", fmt.Errorf("the agent is no service on %s", sys.GOOS)
}

func control(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func installSystemd(ctx context.Context, sys *System, stateDir string) (string, error) {
	if strings.ContainsAny(sys.Executable+stateDir, " \t\n\"'\\%$") {
		return "", fmt.Errorf("the paths %q and %q must not contain blanks, quotes, percent or dollar signs", sys.Executable, stateDir)
	}
	path := sys.path("etc/systemd/system/" + UnitName)
	if err := journal.WriteFile(path, fmt.Appendf(nil, unit, sys.Executable, stateDir), 0o644); err != nil {
		return "", err
	}
	if _, err := os.Stat(sys.path("run/systemd/system")); err != nil {
		return path, nil //nolint:nilerr // no systemd runs here: an image being built
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", UnitName}, {"restart", UnitName}} {
		if err := control(ctx, append([]string{"systemctl"}, args...)...); err != nil {
			return path, err
		}
	}
	return path, nil
}
