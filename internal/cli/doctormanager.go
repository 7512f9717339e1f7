package cli

import (
	"context"
	"io"
	"runtime"
	"strings"
	"time"

	"oakum.dev/internal/agent"
)

// startAgent is the line that starts the agent's service on this system.
func startAgent() string {
	switch runtime.GOOS {
	case "windows":
		return "sc start " + agent.ServiceName
	case "darwin":
		return "launchctl kickstart system/" + agent.DaemonLabel
	}
	return "systemctl start " + agent.UnitName
}

// manager tests the way to the update service of systems whose package manager is part of them: whether it answers, what
// it waits for and what else installs updates.
func (d *doctor) manager(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	engine, platform, _, err := scanEngine(ctx, &Streams{Out: io.Discard, Err: io.Discard}, &scanOptions{root: "/"})
	if err != nil {
		d.fault(checkFail, "system", err)
		return
	}
	d.ok("system", "%s %s", platform.Name, platform.Version)
	if engine.StateDir == "" {
		d.add(checkWarn, "rights", "this is an ordinary account: patches cannot be installed from here", map[bool]string{true: "run it as administrator", false: runAsRoot}[runtime.GOOS == "windows"])
	}
	reboot, updaters, err := engine.Manager.Evidence(ctx, nil)
	if err != nil {
		d.fault(checkFail, engine.Manager.Name(), scanFailure(err))
		return
	}
	d.ok(engine.Manager.Name(), "it answers")
	if reboot.Required {
		d.add(checkWarn, "reboot", strings.Join(reboot.Reasons, "; "), "reboot the machine; on Windows nothing can be installed before")
	}
	for _, u := range updaters {
		d.add(checkWarn, "other updaters", u, "it does not know of patch baselines")
	}
}
