package livepatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakum.dev/compliance"
)

// PatchState is the state of a live patch for the running kernel: installed says whether its package is, enabled whether
// the kernel uses its module. Empty means that the baseline decides.
func PatchState(installed, enabled bool) (state compliance.State, detail string) {
	switch {
	case installed && enabled:
		return compliance.Installed, ""
	case installed:
		return compliance.InstalledPendingReboot, "module not loaded"
	}
	return "", ""
}

// Idle reports whether an installed live patch for the running kernel, by its name and version-release, fixes nothing because
// no module is in force, whatever the reason: its service failed, the kernel refused it, or what loads it is not there.
func (s *Status) Idle(pkg, version string) bool {
	return Applicable(pkg, s.Kernel) && !Empty(pkg, version) && len(s.Modules) == 0 && !s.Transition
}

// Cover says what a newer kernel fixes and live patches do not. Covered is true when nothing remains. A kernel that names
// no CVE is covered by nothing: what it fixes is not known.
func Cover(kernel, fixed []string) (covered bool, remaining []string) {
	for _, c := range kernel {
		if !slices.ContainsFunc(fixed, func(f string) bool { return strings.EqualFold(f, c) }) && !slices.Contains(remaining, c) {
			remaining = append(remaining, c)
		}
	}
	slices.Sort(remaining)
	return len(kernel) > 0 && len(remaining) == 0, remaining
}

// KernelUpdate is a kernel that is newer than the running one. CVEs are those of the notices of every kernel from the
// running one, exclusive, up to it.
type KernelUpdate struct {
	Package string // "kernel"
	Version string // version-release
	CVEs    []string
	// Installed: it is on the disk and waits for a reboot.
	Installed bool
}

// Verdict is what live patches make of a newer kernel.
type Verdict struct {
	State     compliance.State // Installed without a time, Missing, InstalledPendingReboot
	Detail    string
	Covered   bool     // every CVE is fixed in the running kernel: only a reboot is owed
	Remaining []string // CVEs that only the newer kernel fixes
}

// Judge says how a newer kernel counts. Source: AWS Systems Manager User Guide, "Using Kernel Live Patching on Amazon
// Linux 2 managed nodes", "Kernel compliance": a kernel whose CVEs are all live-patched is reported as installed.
func (s *Status) Judge(k KernelUpdate) Verdict {
	var v Verdict
	fixed := s.CVEs
	if !s.State.On() {
		fixed = nil
	}
	v.Covered, v.Remaining = Cover(k.CVEs, fixed)
	switch {
	case v.Covered:
		v.State = compliance.Installed
		v.Detail = "its fixes are applied to the running kernel by live patches; it waits for a reboot"
	case k.Installed:
		v.State = compliance.InstalledPendingReboot
		v.Detail = remains(v.Remaining)
	default:
		v.State = compliance.Missing
		v.Detail = remains(v.Remaining)
	}
	return v
}

func remains(cves []string) string {
	if len(cves) == 0 {
		return ""
	}
	return "live patches do not fix " + list(cves)
}

// list names the first of many.
func list(cves []string) string {
	if len(cves) > 20 {
		return fmt.Sprintf("%s and %d more", cut(strings.Join(cves[:20], ", ")), len(cves)-20)
	}
	return cut(strings.Join(cves, ", "))
}

// Report is the status in the form that results carry. remaining are the CVEs that a reboot into a newer kernel fixes
// and live patches do not.
func (s *Status) Report(remaining []string) *compliance.LivePatch {
	return &compliance.LivePatch{
		State: string(s.State), System: string(s.System), Kernel: cut(s.Kernel), Effective: cut(s.Effective), Modules: first(s.Modules), Service: cut(s.Service),
		Packages:   first(slices.DeleteFunc(slices.Clone(s.Packages), emptyPatch)),
		Transition: s.Transition, SupportEnd: s.SupportEnd, Detail: cut(s.Detail), CVEs: first(s.CVEs), Remaining: first(remaining),
	}
}

// Bounds of what is reported, far beyond what nodes have: tools that print megabytes do not fill the server.
const (
	maxReported = 2000
	maxText     = 1000 // bytes
)

func first(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list[:min(len(list), maxReported)])
	for i := range out {
		out[i] = cut(out[i])
	}
	return out
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "..."
}

// Newer is what a newer kernel would bring that live patches do not. The zero value is none.
type Newer struct {
	Version string
	CVEs    []string // that it fixes and live patches do not
	Unnamed bool     // its notices name no CVE at all: what it fixes is not known
}

// Debt is the sentence about the reboot that is owed: how long the node is protected without it, and what it is needed
// for all the same. waits is the kernel that is installed and not booted, offered the newest that could be installed.
// Without either there is no sentence, unless the protection ends.
func (s *Status) Debt(waits, offered Newer) string {
	day, protected := s.SupportEnd.Format(time.DateOnly), ""
	switch {
	case s.State == Expired:
		protected = "live patches have ended for kernel " + s.Kernel
	case s.State != Active && s.State != Expiring:
		return ""
	case s.State == Expiring && len(s.Modules)+len(s.CVEs) == 0: // what is only on protects nothing yet
		protected = "nothing is live-patched, and live patches end on " + day
	case s.SupportEnd.IsZero():
		protected = "protected by live patches"
	default:
		protected = "protected until " + day + " by live patches"
	}
	parts := []string{protected}
	switch {
	case waits.Version == "":
	case len(waits.CVEs) > 0:
		parts = append(parts, "still needs a reboot into kernel "+waits.Version+" for: "+list(waits.CVEs))
	case waits.Unnamed:
		parts = append(parts, "kernel "+waits.Version+" waits for a reboot, and what it fixes is not known")
	default:
		parts = append(parts, "kernel "+waits.Version+" waits for a reboot")
	}
	beyond := slices.DeleteFunc(slices.Clone(offered.CVEs), func(c string) bool { return slices.Contains(waits.CVEs, c) })
	if offered.Version != "" && len(beyond) > 0 {
		parts = append(parts, "still needs kernel "+offered.Version+" and a reboot for: "+list(beyond))
	}
	if len(parts) == 1 {
		switch s.State {
		case Active:
			return ""
		case Expired:
			return protected + "; a newer kernel and a reboot are needed"
		}
		return protected + "; a newer kernel and a reboot are needed by then"
	}
	return strings.Join(parts, "; ")
}

// Memory is what is remembered between scans: kernels that wait for a reboot and count as installed because live patches
// cover them. It lies beside the engine's state as kernel-livepatch.json. The zero value is empty.
type Memory struct {
	Kernels map[string]time.Time `json:"kernels,omitempty"` // package and version: since when
}

// MemoryFile is the name of the file of a Memory in the engine's state folder.
const MemoryFile = "kernel-livepatch.json"

// DecodeMemory reads a memory. Nothing, or what cannot be read, is an empty one: the next scan fills it.
func DecodeMemory(b []byte) Memory {
	var m Memory
	if len(b) > 1<<20 || json.Unmarshal(b, &m) != nil {
		return Memory{}
	}
	return m
}

// Encode writes the memory.
func (m Memory) Encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // plain data always encodes
	}
	return b
}

// Update remembers the installed kernels that v, by package and version, says are covered. It returns those that were and
// are not any more: they wait for a reboot again, as when live patching is turned off.
func (m *Memory) Update(v map[string]Verdict, now time.Time) (back []string) {
	kept := map[string]time.Time{}
	for k, verdict := range v {
		since, known := m.Kernels[k]
		switch {
		case verdict.Covered && known:
			kept[k] = since
		case verdict.Covered:
			kept[k] = now.UTC().Truncate(time.Second)
		case known && verdict.State == compliance.InstalledPendingReboot:
			back = append(back, k)
		}
	}
	m.Kernels = kept
	slices.Sort(back)
	return back
}
