// Package livepatch knows the state of kernel live patching on a node, and what live patches mean for the kernel's
// packages: which of them apply to the running kernel, which CVEs they cover, and what a reboot is still needed for.
// The models are those of Amazon Linux, of RHEL and its relatives (kpatch), of SLES (klp), of Ubuntu (Livepatch) and
// of Oracle Linux (Ksplice); where a vendor's service applies patches by itself they are read and not managed.
//
//	s := livepatch.Read(ctx, livepatch.Node{OS: ..., Kernel: ..., FS: ..., Exec: ..., Packages: ..., Now: ...})
//	if livepatch.Applicable(name, s.Kernel) { ... }
//	v := s.Judge(livepatch.KernelUpdate{Version: ..., CVEs: ...})
//
// What is read is in Facts, and Decide makes a Status of it without looking anywhere: start there.
package livepatch

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/pkgver"
)

// State is what live patching is on a node.
type State string

// The states. Expiring and Expired are said of a kernel that live patching is on for.
const (
	Unsupported State = "Unsupported" // the system, its kernel or its architecture has no live patches
	Available   State = "Available"   // it could be turned on
	Enabled     State = "Enabled"     // it is on, and nothing is patched yet
	Active      State = "Active"      // the running kernel is patched
	Expiring    State = "Expiring"    // the running kernel gets live patches for less than 14 days more
	Expired     State = "Expired"     // the running kernel gets no more live patches
	Stale       State = "Stale"       // a live patch is installed and not in force
	Failed      State = "Failed"      // its service failed, or a module was refused
)

// States lists all of them.
func States() []State {
	return []State{Unsupported, Available, Enabled, Active, Expiring, Expired, Stale, Failed}
}

// expiring is how long before the end of support a kernel is said to expire.
const expiring = 14 * 24 * time.Hour

// On reports whether live patching is in force on the node, so that what it covers counts.
func (s State) On() bool {
	return slices.Contains([]State{Enabled, Active, Expiring, Expired, Stale}, s)
}

// System is whose live patching a node has.
type System string

// The systems.
const (
	Amazon    System = "Amazon Linux"
	Kpatch    System = "kpatch"
	SUSE      System = "SUSE"
	Canonical System = "Canonical Livepatch"
	Ksplice   System = "Ksplice"
)

// Installed is an installed package that bears on live patching.
type Installed struct {
	Name    string
	Version string // version-release, without an epoch
	CVEs    []string
}

// Status is the state of live patching on a node.
type Status struct {
	State      State
	System     System
	Kernel     string   // the running one, uname -r
	Effective  string   // the kernel whose fixes are in force, where the vendor says so (Ksplice)
	Modules    []string // that are in force
	Packages   []string // live patches for the running kernel, name-version-release
	Others     []string // live patches for other kernels
	CVEs       []string // that the live patches in force fix, where that is known
	Service    string   // what loads them at boot: enabled, disabled, ...; empty: not known
	SupportEnd time.Time
	Transition bool   // a module is going in or out
	Detail     string // what is behind the state, in words
}

// amazonKernels are the kernel series that Amazon makes live patches for.
// Source: Amazon Linux 2 User Guide and Amazon Linux 2023 User Guide, "Kernel Live Patching".
var amazonKernels = map[baseline.OS]map[string][]string{
	baseline.AmazonLinux2:    {"4.14": {"x86_64"}, "5.10": {"x86_64", "aarch64"}},
	baseline.AmazonLinux2023: {"6.1": {"x86_64", "aarch64"}, "6.12": {"x86_64", "aarch64"}},
}

// first414 is the first kernel of the series 4.14 with live patches.
const first414 = "4.14.165-131.185"

// Decide makes the status of what was read.
func Decide(f *Facts) Status {
	s := Status{Kernel: f.Kernel, SupportEnd: f.SupportEnd, Service: f.Service}
	for i := range f.Modules {
		m := &f.Modules[i]
		s.Transition = s.Transition || m.Transition
		if m.Enabled && !m.Transition {
			s.Modules = append(s.Modules, m.Name)
		}
	}
	for _, p := range f.Packages {
		if !IsPatch(p.Name) {
			continue
		}
		if !Applicable(p.Name, f.Kernel) {
			s.Others = append(s.Others, p.Name+"-"+p.Version)
			continue
		}
		s.Packages = append(s.Packages, p.Name+"-"+p.Version)
	}
	switch {
	case f.OS == baseline.AmazonLinux2 || f.OS == baseline.AmazonLinux2023:
		s.amazon(f)
	case f.OS == baseline.SUSE:
		s.suse(f)
	case f.OS == baseline.Ubuntu:
		s.ubuntu(f)
	case f.Uptrack != "" || f.has("uptrack") || f.has("ksplice"):
		s.ksplice(f)
	case slices.Contains([]baseline.OS{baseline.RedHat, baseline.CentOS, baseline.OracleLinux, baseline.AlmaLinux, baseline.RockyLinux}, f.OS):
		s.kpatch(f)
	default:
		s.State, s.Detail = Unsupported, "there are no live patches for this system"
	}
	if s.State == Active || s.State == Expiring || s.State == Expired || s.State == Stale {
		s.fixed(f)
	}
	return s
}

// fixed collects the CVEs that are fixed in the running kernel: those of installed live patches, and those that
// modules and vendors name. What is installed and not loaded fixes nothing.
func (s *Status) fixed(f *Facts) {
	s.CVEs = append(s.CVEs, f.Fixed...)
	if loaded, _ := f.loaded(); loaded {
		for _, p := range f.Packages {
			if Applicable(p.Name, f.Kernel) {
				s.CVEs = append(s.CVEs, p.CVEs...)
			}
		}
	}
	for _, m := range s.Modules {
		s.CVEs = append(s.CVEs, moduleCVEs(m)...)
	}
	slices.Sort(s.CVEs)
	s.CVEs = slices.Compact(s.CVEs)
}

var cveInModule = regexp.MustCompile(`(?i)CVE[_-](\d{4})[_-](\d{4,})`)

// moduleCVEs reads the CVE that Amazon names a module after: livepatch_CVE_2022_36946.
func moduleCVEs(module string) []string {
	var out []string
	for _, m := range cveInModule.FindAllStringSubmatch(module, -1) {
		out = append(out, "CVE-"+m[1]+"-"+m[2])
	}
	return out
}

func (s *Status) amazon(f *Facts) {
	s.System = Amazon
	archs := amazonKernels[f.OS][series(f.Kernel)]
	switch {
	case f.OS == baseline.AmazonLinux2 && series(f.Kernel) == "4.14" && pkgver.RPM(kernelPart(f.Kernel), first414) < 0 && f.Arch == "x86_64":
		s.State, s.Detail = Available, "the running kernel is too old for live patches: the first is "+first414
		return
	case !slices.Contains(archs, f.Arch):
		s.State, s.Detail = Unsupported, fmt.Sprintf("there are no live patches for kernel %s on %s", series(f.Kernel), f.Arch)
		return
	}
	plugin := "kpatch-dnf"
	if f.OS == baseline.AmazonLinux2 {
		plugin = "yum-plugin-kernel-livepatch"
	}
	if !f.has(plugin) {
		s.State, s.Detail = Available, plugin+" is not installed"
		return
	}
	s.running(f)
}

func (s *Status) kpatch(f *Facts) {
	s.System = Kpatch
	if !f.has("kpatch") && !f.has("kpatch-runtime") {
		s.State, s.Detail = Available, "kpatch is not installed"
		return
	}
	s.running(f)
}

// running decides between the states of a node that has kpatch.
func (s *Status) running(f *Facts) {
	loaded, why := f.loaded()
	switch {
	case f.Service == "failed":
		s.State, s.Detail = Failed, "kpatch.service has failed: see journalctl -u kpatch.service"
	case f.disabledModule() != "":
		s.State, s.Detail = Failed, "the kernel does not use the module "+f.disabledModule()
	case !f.has("kpatch-runtime") && !f.has("kpatch"):
		s.State, s.Detail = Available, "kpatch-runtime is not installed"
	case !loaded && !s.atBoot(): // another reboot would not load it
		s.State, s.Detail = Stale, why+", and kpatch.service, which loads it at boot, is not enabled"
	case !loaded:
		s.State, s.Detail = Stale, why
	case !s.atBoot() && len(s.Modules) > 0:
		s.State, s.Detail = Active, "kpatch.service is not enabled: what is loaded now is gone after a reboot"
	case !s.atBoot():
		s.State, s.Detail = Available, "kpatch.service is not enabled: what is loaded now is gone after a reboot"
	case len(s.Modules) > 0:
		s.State = Active
	case len(s.Others) > 0 && len(s.Packages) == 0:
		s.State, s.Detail = Stale, "only for another kernel: "+strings.Join(s.Others, ", ")
	default:
		s.State = Enabled
	}
	s.expire(f)
}

// atBoot reports whether live patches come back after a reboot, as far as that is known.
func (s *Status) atBoot() bool { return s.Service != "disabled" && s.Service != "masked" }

// expire makes a good state one that has an end in sight.
func (s *Status) expire(f *Facts) {
	if s.State != Active && s.State != Enabled {
		return
	}
	switch {
	case f.Ended, over(f.SupportEnd, f.Now):
		s.State = Expired
		s.Detail = join("the running kernel gets no more live patches: reboot into a newer one", s.Detail)
	case soon(f.SupportEnd, f.Now, expiring):
		s.State = Expiring
		s.Detail = join("the running kernel gets no more live patches after "+f.SupportEnd.Format(time.DateOnly), s.Detail)
	}
}

// over reports whether the last day with live patches has passed; the day itself is covered.
func over(end, now time.Time) bool { return !end.IsZero() && !now.Before(end.AddDate(0, 0, 1)) }

// soon reports whether the last day with live patches is nearer than some time.
func soon(end, now time.Time, within time.Duration) bool {
	return !end.IsZero() && end.Sub(now) < within
}

// At is the state of a report at a later time: a kernel's live patches end without anybody looking at the node.
func At(r *compliance.LivePatch, now time.Time) State {
	s := State(r.State)
	switch on := s == Active || s == Enabled || s == Expiring; {
	case on && over(r.SupportEnd, now):
		return Expired
	case on && soon(r.SupportEnd, now, expiring):
		return Expiring
	}
	return s
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

func (s *Status) suse(f *Facts) {
	s.System = SUSE
	switch {
	case f.Klp == nil && len(s.Packages)+len(s.Others) == 0:
		s.State, s.Detail = Available, "no kernel-livepatch package is installed"
		return
	case len(s.Packages) == 0 && len(s.Others) > 0:
		s.State, s.Detail = Stale, "only for another kernel: "+strings.Join(s.Others, ", ")
	case f.disabledModule() != "":
		s.State, s.Detail = Failed, "the kernel does not use the module "+f.disabledModule()
	case len(s.Modules) == 0 && slices.ContainsFunc(f.Packages, func(p Installed) bool { return Applicable(p.Name, f.Kernel) && !Empty(p.Name, p.Version) }):
		s.State, s.Detail = Stale, "a live patch is installed, and no module is loaded"
	case f.patched():
		s.State = Active
	default:
		s.State = Enabled
	}
	s.expire(f)
}

func (s *Status) ubuntu(f *Facts) {
	s.System = Canonical
	c := f.Canonical
	if c == nil {
		switch {
		case f.Pro == nil:
			s.State, s.Detail = Available, "canonical-livepatch is not enabled"
		case f.Pro.Available == "no" || f.Pro.Status == "n/a":
			s.State, s.Detail = Unsupported, "Ubuntu Pro has no live patches for this kernel or release"
		case f.Pro.Status == "enabled":
			s.State, s.Detail = Failed, "Ubuntu Pro says that Livepatch is enabled, and canonical-livepatch does not answer"
		default:
			s.State, s.Detail = Available, "canonical-livepatch is not enabled: pro enable livepatch"
		}
		return
	}
	switch c.State {
	case "applied":
		s.State = Active
	case "nothing-to-apply":
		s.State = Enabled
	case "applying", "unapplied":
		s.State, s.Detail = Enabled, "a patch is being applied"
		s.Transition = true
	case "applied-with-bug", "apply-failed":
		s.State, s.Detail = Failed, "canonical-livepatch says "+c.State
		return
	case "kernel-upgrade-required":
		s.State = Enabled
		f.Ended = true
	default:
		s.State, s.Detail = Failed, "canonical-livepatch says "+strconv.Quote(c.State)
		return
	}
	switch c.Supported {
	case "unsupported":
		s.State, s.Detail = Unsupported, "Canonical has no live patches for this kernel"
		return
	case "kernel-end-of-life", "kernel-upgrade-required":
		f.Ended = true
	}
	s.expire(f)
}

func (s *Status) ksplice(f *Facts) {
	s.System = Ksplice
	switch {
	case f.Uptrack == "":
		s.State, s.Detail = Failed, "Ksplice is installed, and uptrack-uname does not answer"
	case f.Uptrack != f.Kernel:
		s.State, s.Effective = Active, f.Uptrack
		s.Detail = "the effective kernel is " + f.Uptrack
	default:
		s.State, s.Effective = Enabled, f.Uptrack
	}
}

// series is the first two numbers of a kernel: "5.10".
func series(kernel string) string {
	p := strings.SplitN(kernel, ".", 3)
	if len(p) < 3 {
		return kernel
	}
	return p[0] + "." + p[1]
}
