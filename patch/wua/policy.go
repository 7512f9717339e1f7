package wua

import (
	"context"
	"fmt"
	"strings"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch"
)

// Registry reads HKEY_LOCAL_MACHINE. A key or value that is not there is no error.
type Registry interface {
	Text(key, value string) (text string, found bool, err error)
	Number(key, value string) (n uint64, found bool, err error)
	Texts(key, value string) (texts []string, found bool, err error) // REG_MULTI_SZ
	Key(key string) (found bool, err error)
}

// Keys of the registry.
// Source: Microsoft Learn, "Manage additional Windows Update settings" and "Configure Automatic Updates ... by editing the registry".
const (
	policyKey  = `SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate`
	autoKey    = policyKey + `\AU`
	rebootKey  = `SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired`
	cbsKey     = `SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending`
	sessionKey = `SYSTEM\CurrentControlSet\Control\Session Manager`
)

// policies are the settings of an administrator that an install has to respect.
type policies struct {
	server   string // WSUS; empty: none
	source   string // where updates come from
	detail   string
	updater  string   // what Windows does by itself; empty: nothing
	warnings []string // what can surprise
}

// policy reads the settings. They are reported and never changed: the agent obeys them by itself.
func (m *Manager) policy() policies {
	var p policies
	r := m.cfg.Registry
	number := func(key, value string) (uint64, bool) { // a value of another type counts as none
		n, found, err := r.Number(key, value)
		return n, found && err == nil
	}
	on := func(key, value string) bool { n, ok := number(key, value); return ok && n == 1 }
	p.source = "https://update.microsoft.com"
	server, _, _ := r.Text(policyKey, "WUServer") // without a server the rest does not count
	if on(autoKey, "UseWUServer") {
		if server == "" {
			p.warnings = append(p.warnings, "policy UseWUServer is set and WUServer is not: searches fail until that is mended")
		} else {
			p.server, p.source = server, server
			p.detail = "WSUS by policy: only updates that are approved there are offered"
			if status, _, _ := r.Text(policyKey, "WUStatusServer"); status != "" && !strings.EqualFold(status, server) {
				p.warnings = append(p.warnings, fmt.Sprintf("policies WUServer and WUStatusServer differ (%s, %s): Windows ignores both then", server, status))
			}
		}
	} else if server != "" {
		p.warnings = append(p.warnings, "policy WUServer names "+server+", but UseWUServer is off: updates come from Microsoft")
	}
	if on(policyKey, "DisableDualScan") {
		p.detail = strings.TrimPrefix(p.detail+"; DisableDualScan: Microsoft's own service is not asked", "; ")
	}
	for _, d := range []struct{ flag, days, what string }{
		{"DeferQualityUpdates", "DeferQualityUpdatesPeriodInDays", "quality"},
		{"DeferFeatureUpdates", "DeferFeatureUpdatesPeriodInDays", "feature"},
	} {
		if days, ok := number(policyKey, d.days); ok && on(policyKey, d.flag) && days > 0 {
			p.warnings = append(p.warnings, fmt.Sprintf("policy %s hides %s updates for %d days after their release", d.days, d.what, days))
		}
	}
	if on(policyKey, "DoNotConnectToWindowsUpdateInternetLocations") && p.server == "" {
		p.warnings = append(p.warnings, "policy DoNotConnectToWindowsUpdateInternetLocations is set and there is no WSUS: no updates can be found")
	}
	if !on(autoKey, "NoAutoUpdate") {
		p.updater = "Windows automatic updates"
		if n, ok := number(autoKey, "AUOptions"); ok {
			p.updater += " (" + map[uint64]string{
				2: "AUOptions 2: it asks before it downloads", 3: "AUOptions 3: it downloads and asks before it installs", 4: "AUOptions 4: it downloads and installs by its schedule",
				5: "AUOptions 5: a local administrator chooses", 7: "AUOptions 7: it downloads and notifies",
			}[n] + ")"
			p.updater = strings.TrimSuffix(p.updater, " ()")
		}
	}
	if on(autoKey, "AlwaysAutoRebootAtScheduledTime") {
		p.warnings = append(p.warnings, "policy AlwaysAutoRebootAtScheduledTime lets Windows reboot by itself after updates, also when a run is not to reboot")
	}
	return p
}

// settleTime is how long the servicing stack's key can stay after a boot while it still cleans up.
const settleTime = 10 * time.Minute

// Evidence collects signs that a reboot is due. Windows Update's own word is what counts; the servicing stack's only some
// time after the boot, and file renames, which any installer leaves, are told and decide nothing.
func (m *Manager) Evidence(ctx context.Context, _ *patch.Inventory) (compliance.Reboot, []string, error) {
	var out compliance.Reboot
	r := m.cfg.Registry
	st, err := m.cfg.Client.Status(ctx)
	if err != nil {
		return out, nil, m.explain("ask the Windows Update Agent for its state", err, "FAILED")
	}
	key, err := r.Key(rebootKey)
	if err != nil {
		return out, nil, fmt.Errorf("look for a pending reboot: %w", err)
	}
	if key || st.Reboot {
		out.Required = true
		out.Reasons = append(out.Reasons, "Windows Update waits for a reboot")
	}
	if cbs, err := r.Key(cbsKey); err != nil {
		return out, nil, fmt.Errorf("look for a pending reboot: %w", err)
	} else if cbs {
		if m.cfg.Uptime == nil || m.cfg.Uptime() > settleTime {
			out.Required = true
			out.Reasons = append(out.Reasons, "the servicing of components waits for a reboot")
		} else {
			out.Reasons = append(out.Reasons, "the servicing of components is still at work after the boot; that is no reboot yet")
		}
	}
	if names, found, err := r.Texts(sessionKey, "PendingFileRenameOperations"); err == nil && found && len(names) > 0 {
		out.Reasons = append(out.Reasons, fmt.Sprintf("%d files are replaced at the next boot; installers leave that at will, and it asks for no reboot by itself", (len(names)+1)/2))
	}
	var updaters []string
	if u := m.policy().updater; u != "" {
		updaters = append(updaters, u)
	}
	return out, updaters, nil
}
