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

// InstallUnit writes the agent's systemd unit and, where systemd runs, enables and starts it. It returns the
// path of the unit.
func InstallUnit(ctx context.Context, sys *System, stateDir string) (string, error) {
	if sys == nil {
		sys = RealSystem()
	}
	if stateDir == "" {
		stateDir = DefaultStateDir
	}
	switch {
	case sys.GOOS != "linux":
		return "", errors.New("installing the agent as a service is supported with systemd on Linux only")
	case sys.UID != 0:
		return "", errors.New("installing the agent as a service needs root")
	case sys.Executable == "" || strings.ContainsAny(sys.Executable+stateDir, " \t\n\"'\\%$"):
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
		if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
			return path, fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return path, nil
}
