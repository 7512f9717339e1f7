package agent

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"

	"oakum.dev/patch/journal"
)

// DaemonLabel names the agent to launchd.
const DaemonLabel = "dev.oakum.agent"

// daemon is the agent's property list. AbandonProcessGroup: a step outlives a restart of the agent, which finds it again.
// launchd waits ten seconds between two starts.
const daemon = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key><string>%s</string>
	<key>ProgramArguments</key>
	<array><string>%s</string><string>agent</string><string>run</string><string>--state-dir</string><string>%s</string></array>
	<key>RunAtLoad</key><true/>
	<key>KeepAlive</key><true/>
	<key>ThrottleInterval</key><integer>10</integer>
	<key>AbandonProcessGroup</key><true/>
	<key>ExitTimeOut</key><integer>20</integer>
	<key>ProcessType</key><string>Background</string>
	<key>EnvironmentVariables</key>
	<dict><key>PATH</key><string>/usr/bin:/bin:/usr/sbin:/sbin</string></dict>
	<key>StandardErrorPath</key><string>/var/log/oakum-agent.log</string>
</dict>
</plist>
`

func launchdPath(sys *System) string {
	return sys.path("Library/LaunchDaemons/" + DaemonLabel + ".plist")
}

func installLaunchd(ctx context.Context, sys *System, stateDir string) (string, error) {
	path := launchdPath(sys)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	text := fmt.Appendf(nil, daemon, DaemonLabel, escaped(sys.Executable), escaped(stateDir))
	if err := journal.WriteFile(path, text, 0o644); err != nil { // launchd refuses one that others can write
		return "", err
	}
	if sys.Root != "/" {
		return path, nil
	}
	_ = control(ctx, "/bin/launchctl", "bootout", "system/"+DaemonLabel) // an older one; there may be none
	for _, args := range [][]string{{"enable", "system/" + DaemonLabel}, {"bootstrap", "system", path}} {
		if err := control(ctx, append([]string{"/bin/launchctl"}, args...)...); err != nil {
			return path, err
		}
	}
	return path, nil
}

func uninstallLaunchd(ctx context.Context, sys *System) (string, error) {
	path := launchdPath(sys)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the agent is not installed as a daemon: %w", err)
	}
	if sys.Root == "/" {
		_ = control(ctx, "/bin/launchctl", "bootout", "system/"+DaemonLabel) // it may not be running
	}
	return path, os.Remove(path)
}

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}
