package livepatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// maxOutput bounds what is parsed of a tool's output.
const maxOutput = 4 << 20

// KpatchModule is a module that kpatch has on the disk, and the kernel that it is for.
type KpatchModule struct{ Name, Kernel string }

// ParseKpatchList reads what kpatch list prints: the modules that are loaded, and those that are installed.
// Source: dynup/kpatch, kpatch/kpatch ("list"); Amazon Linux 2 User Guide, "View the applied kernel live patches".
func ParseKpatchList(out string) (loaded []Module, installed []KpatchModule, err error) {
	section := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "Loaded patch modules"), strings.HasPrefix(line, "Installed patch modules"):
			section = line[:1]
			continue
		case line == "" || strings.HasSuffix(line, ":"): // "Stalled processes:" and other headings
			if line != "" {
				section = "?"
			}
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		switch section {
		case "L":
			m := Module{Name: name}
			switch state := strings.Trim(strings.TrimSpace(rest), "[]"); {
			case state == "enabled":
				m.Enabled = true
			case strings.HasPrefix(state, "enabling"), strings.HasPrefix(state, "enabled"):
				m.Enabled, m.Transition = true, true
			case strings.HasPrefix(state, "disabling"):
				m.Transition = true
			}
			loaded = append(loaded, m)
		case "I":
			installed = append(installed, KpatchModule{name, strings.Trim(strings.TrimSpace(rest), "()")})
		case "":
			return nil, nil, fmt.Errorf("kpatch list begins with %.80q", line)
		}
	}
	if section == "" {
		return nil, nil, errors.New("kpatch list printed nothing")
	}
	return loaded, installed, nil
}

var supportEnds = regexp.MustCompile(`no longer receive live patches after (\d{4}-\d{2}-\d{2})`)

// ParseSupport reads what dnf kernel-livepatch support and yum kernel-livepatch supported print: the last day on which
// the running kernel gets live patches, or that it gets none any more.
// Source: Amazon Linux 2023 User Guide, "Kernel Live Patching", "Support window".
func ParseSupport(out string) (end time.Time, ended bool) {
	if m := supportEnds.FindStringSubmatch(out); m != nil {
		if t, err := time.Parse(time.DateOnly, m[1]); err == nil {
			return t, false
		}
	}
	return time.Time{}, strings.Contains(out, "to get a continued stream of live patches")
}

// CanonicalStatus is what canonical-livepatch says of the running kernel.
type CanonicalStatus struct {
	Kernel     string
	State      string // applied, nothing-to-apply, applying, unapplied, applied-with-bug, apply-failed, kernel-upgrade-required
	Supported  string // supported, unsupported, kernel-upgrade-required, kernel-end-of-life, unknown
	Version    string
	CVEs       []string // that are patched
	SupportEnd time.Time
}

// ParseCanonical reads what canonical-livepatch status --format json prints. Entries of kernels that do not run are left
// out. Source: Landscape documentation, "REST API: Livepatch" (the client's JSON); Ubuntu Livepatch documentation, "How
// to check the Livepatch client status" (the states).
func ParseCanonical(out []byte) (*CanonicalStatus, error) {
	var doc struct {
		Status []struct {
			Kernel              string
			Running             *bool
			Supported           string
			UpgradeRequiredDate string
			Livepatch           struct {
				State, Version string
				Fixes          []struct {
					Name    string
					Patched bool
				}
			}
		}
	}
	if len(out) > maxOutput {
		return nil, errors.New("canonical-livepatch printed too much")
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return nil, fmt.Errorf("read the status of canonical-livepatch: %w", err)
	}
	for _, k := range doc.Status {
		if k.Running != nil && !*k.Running {
			continue
		}
		s := &CanonicalStatus{Kernel: k.Kernel, State: k.Livepatch.State, Supported: k.Supported, Version: k.Livepatch.Version}
		for _, f := range k.Livepatch.Fixes {
			if f.Patched && strings.HasPrefix(strings.ToUpper(f.Name), "CVE-") {
				s.CVEs = append(s.CVEs, strings.ToUpper(f.Name))
			}
		}
		if day := k.UpgradeRequiredDate; len(day) >= len(time.DateOnly) {
			if t, err := time.Parse(time.DateOnly, day[:len(time.DateOnly)]); err == nil {
				s.SupportEnd = t
			}
		}
		return s, nil
	}
	return nil, errors.New("canonical-livepatch says nothing of the running kernel")
}

// ProStatus is what Ubuntu Pro says of its service livepatch.
type ProStatus struct {
	Status    string // enabled, disabled, n/a, warning; "—" when the machine is not attached
	Entitled  string // yes, no
	Available string // yes, no
}

// ParsePro reads the service livepatch of what pro status --format json prints; nil when it is not listed.
// Source: Ubuntu Pro Client documentation, "pro status" JSON schema (ua_status).
func ParsePro(out []byte) (*ProStatus, error) {
	var doc struct {
		Services []struct{ Name, Status, Entitled, Available string }
	}
	if len(out) > maxOutput {
		return nil, errors.New("pro status printed too much")
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return nil, fmt.Errorf("read the status of Ubuntu Pro: %w", err)
	}
	for _, s := range doc.Services {
		if s.Name == "livepatch" {
			return &ProStatus{s.Status, s.Entitled, s.Available}, nil
		}
	}
	return nil, nil
}

// KlpPatch is a live patch that klp lists.
type KlpPatch struct {
	Module string
	Active bool
	RPM    string
	CVEs   []string
	Fixes  bool // it fixes something: an initial patch does not
}

var cve = regexp.MustCompile(`CVE-\d{4}-\d{4,}`)

// ParseKlp reads what klp -v patches prints: a block for each module, whose lines are indented.
// Source: SUSE Linux Enterprise Server Administration Guide, "Kernel Live Patching", "The klp tool"; klp(8).
func ParseKlp(out string) []KlpPatch {
	var list []KlpPatch
	field := ""
	for line := range strings.Lines(out) {
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := strings.Cut(text, " ")
			list, field = append(list, KlpPatch{Module: name}), ""
			continue
		}
		if len(list) == 0 {
			continue
		}
		p := &list[len(list)-1]
		if k, v, ok := strings.Cut(text, ":"); ok && (k == "active" || k == "RPM" || k == "CVE" || k == "bug fixes and enhancements") {
			field, text = k, strings.TrimSpace(v)
		}
		switch field {
		case "active":
			p.Active = text == "1"
		case "RPM":
			p.RPM = text
		case "CVE":
			p.CVEs = append(p.CVEs, cve.FindAllString(text, -1)...)
			p.Fixes = p.Fixes || len(p.CVEs) > 0
		case "bug fixes and enhancements":
			p.Fixes = p.Fixes || text != "" && !strings.HasPrefix(text, "(none")
		}
	}
	return list
}

// ParseKlpStatus reads what klp status prints and reports whether a patch is going in or out.
func ParseKlpStatus(out string) (transition bool, err error) {
	switch s := strings.TrimSpace(out); s {
	case "ready":
		return false, nil
	case "in_progress":
		return true, nil
	default:
		return false, fmt.Errorf("klp status says %.80q", s)
	}
}

var kernelText = regexp.MustCompile(`^\d[0-9A-Za-z._~+-]*$`)

// ParseUptrack reads what uptrack-uname -r prints: the effective kernel.
// Source: Oracle Linux Ksplice User's Guide, "Managing Ksplice Updates by Using the uptrack-upgrade Command".
func ParseUptrack(out string) (string, error) {
	s := strings.TrimSpace(out)
	if !kernelText.MatchString(s) {
		return "", fmt.Errorf("uptrack-uname says %.80q", s)
	}
	return s, nil
}
