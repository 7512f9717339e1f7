package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
)

// servicesLimit bounds what systemctl takes.
const servicesLimit = time.Minute

// services lists the services of systemd: those that it has loaded, and those that are installed only. StartType is
// systemd's own word, such as enabled, disabled, static or masked; Status is Running, Exited, Failed, Stopped or systemd's.
func (a *Agent) services(ctx context.Context) ([]map[string]string, error) {
	if _, err := os.Stat(a.sys.path("run/systemd/system")); err != nil || a.sys.Exec == nil {
		return nil, fmt.Errorf("systemd does not run: %w", errNotHere)
	}
	loaded, err := a.systemctl(ctx, "show", "*.service", "--property=Id,Description,Type,ActiveState,SubState,UnitFileState,LoadState,Requires,RequiredBy")
	if err != nil {
		return nil, err
	}
	files, err := a.systemctl(ctx, "list-unit-files", "--type=service", "--no-legend", "--plain", "--no-pager")
	if err != nil {
		return nil, err
	}
	return parseServices(loaded, files), nil
}

func (a *Agent) systemctl(ctx context.Context, args ...string) (string, error) {
	program := "/usr/bin/systemctl"
	if _, err := os.Stat(a.sys.path(program)); err != nil {
		program = "/bin/systemctl"
	}
	out, err := a.sys.Exec.Run(ctx, patch.Command{Path: program, Args: args, Env: patch.BaseEnv(), Timeout: servicesLimit, MaxOutput: 16 << 20})
	switch {
	case err != nil:
		return "", err
	case out.Code != 0:
		return "", fmt.Errorf("systemctl %s ended with %d: %.200s", args[0], out.Code, strings.TrimSpace(string(out.Stderr)))
	case out.Truncated:
		return "", fmt.Errorf("systemctl %s says more than is read", args[0])
	}
	return string(out.Stdout), nil
}

// parseServices reads what systemctl shows of loaded units, blocks of KEY=VALUE, and its list of unit files.
func parseServices(loaded, files string) []map[string]string {
	byName := map[string]map[string]string{}
	for block := range strings.SplitSeq(loaded, "\n\n") {
		p := map[string]string{}
		for line := range strings.Lines(block) {
			if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
				p[k] = v
			}
		}
		if !strings.HasSuffix(p["Id"], ".service") || p["LoadState"] == "not-found" {
			continue
		}
		byName[p["Id"]] = present(map[string]string{
			"Name": p["Id"], "DisplayName": p["Description"], "ServiceType": p["Type"], "Status": serviceStatus(p["ActiveState"], p["SubState"]),
			"StartType": p["UnitFileState"], "ServicesDependedOn": servicesOf(p["Requires"]), "DependentServices": servicesOf(p["RequiredBy"]),
		})
	}
	for line := range strings.Lines(files) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasSuffix(f[0], ".service") || strings.HasSuffix(f[0], "@.service") || f[1] == "alias" || byName[f[0]] != nil {
			continue
		}
		byName[f[0]] = map[string]string{"Name": f[0], "Status": "Stopped", "StartType": f[1]}
	}
	out := make([]map[string]string, 0, len(byName))
	for _, row := range byName {
		out = append(out, row)
	}
	slices.SortFunc(out, func(x, y map[string]string) int { return strings.Compare(x["Name"], y["Name"]) })
	return out
}

func serviceStatus(active, sub string) string {
	switch {
	case active == "failed":
		return "Failed"
	case active == "inactive" || sub == "dead":
		return "Stopped"
	case sub == "":
		return ""
	}
	return strings.ToUpper(sub[:1]) + sub[1:]
}

// servicesOf are the services in a list of units.
func servicesOf(units string) string {
	list := slices.DeleteFunc(strings.Fields(units), func(u string) bool { return filepath.Ext(u) != ".service" })
	slices.Sort(list)
	return strings.Join(list, ",")
}

// present leaves out attributes without a value.
func present(row map[string]string) map[string]string {
	for k, v := range row {
		if v == "" {
			delete(row, k)
		}
	}
	return row
}
