package patch

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"oakum.dev/compliance"
)

// Units that are never restarted for replaced files: whoever restarts them cuts off sessions, logins or this run
// itself. They ask for a reboot instead.
var neverRestarted = []string{"dbus.service", "dbus-broker.service", "systemd-logind.service", "display-manager.service", "gdm.service", "lightdm.service", "sddm.service"}

const (
	restartLimit = 2 * time.Minute
	healthAfter  = 3 * time.Second // a service that dies at once has died by then
)

// restart restarts the units that use replaced files, those that others need first, and looks whether they live.
func (e *Engine) restart(ctx context.Context, services []compliance.Service, r *liveRun) []Restart {
	var out []Restart
	var units []string
	own, _ := os.ReadFile("/proc/self/cgroup") // where there is none, no service manager runs this
	for _, s := range services {
		switch {
		case strings.Contains(string(own)+"\n", "/"+s.Unit+"\n"):
			out = append(out, Restart{s.Unit, "skipped: this run is part of it"})
		case !strings.HasSuffix(s.Unit, ".service"):
			out = append(out, Restart{s.Unit, "skipped: it is no service of the service manager"})
		case slices.Contains(neverRestarted, s.Unit) || strings.HasPrefix(s.Unit, "getty@") || strings.HasPrefix(s.Unit, "serial-getty@"):
			out = append(out, Restart{s.Unit, "skipped: restarting it would cut off sessions; reboot"})
		case strings.HasPrefix(s.Unit, "oakum") || strings.HasPrefix(s.Unit, "amazon-ssm-agent"):
			out = append(out, Restart{s.Unit, "skipped: the agent does not restart itself in a run"})
		default:
			units = append(units, s.Unit)
		}
	}
	if len(units) == 0 {
		return out
	}
	if e.Exec == nil {
		return append(out, Restart{"services", "skipped: there is no service manager"})
	}
	for _, u := range e.inOrder(ctx, units) {
		how := "restarted"
		if err := e.systemctl(ctx, "try-restart", "--", u); err != nil { // one that has ended meanwhile is not started
			how = "failed: " + err.Error()
		}
		r.note("%s %s", u, how)
		out = append(out, Restart{u, how})
	}
	e.pause(ctx, healthAfter)
	for i := range out {
		if out[i].Outcome != "restarted" {
			continue
		}
		if err := e.systemctl(ctx, "is-active", "--quiet", out[i].Unit); err != nil {
			out[i].Outcome = "failed: it is not active " + healthAfter.String() + " after its restart"
			r.note("%s %s", out[i].Unit, out[i].Outcome)
		}
	}
	return out
}

func (e *Engine) systemctl(ctx context.Context, args ...string) error {
	_, err := e.askSystemd(ctx, args...)
	return err
}

func (e *Engine) askSystemd(ctx context.Context, args ...string) (string, error) {
	out, err := e.Exec.Run(ctx, Command{Path: "/usr/bin/systemctl", Args: append([]string{"--no-pager", "--no-ask-password"}, args...), Env: BaseEnv(), Timeout: restartLimit})
	if err != nil {
		return "", err
	}
	if out.Code != 0 {
		text := strings.TrimSpace(string(out.Stderr))
		if text == "" {
			text = fmt.Sprintf("systemctl %s ended with %d", args[0], out.Code)
		}
		return "", fmt.Errorf("%s", strings.ReplaceAll(text, "\n", "; "))
	}
	return string(out.Stdout), nil
}

// inOrder puts units behind those that they are ordered after. Where the service manager does not say, names decide.
func (e *Engine) inOrder(ctx context.Context, units []string) []string {
	slices.Sort(units)
	after := map[string][]string{}
	for _, u := range units {
		text, err := e.askSystemd(ctx, "show", "--property=After", "--value", "--", u)
		if err == nil {
			after[u] = strings.Fields(text)
		}
	}
	return sortAfter(units, after)
}

// sortAfter sorts units so that each comes behind those it is ordered after; circles are broken by name.
func sortAfter(units []string, after map[string][]string) []string {
	var out []string
	state := map[string]int{} // 1: under way, 2: done
	var visit func(u string)
	visit = func(u string) {
		if state[u] != 0 {
			return
		}
		state[u] = 1
		for _, dep := range after[u] {
			if slices.Contains(units, dep) {
				visit(dep)
			}
		}
		state[u] = 2
		out = append(out, u)
	}
	for _, u := range units {
		visit(u)
	}
	return out
}

func (e *Engine) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
