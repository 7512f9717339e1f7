package patch

import (
	"slices"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
)

// Judgement is the pure part of a scan.
type Judgement struct {
	Baseline *baseline.Baseline
	Node     baseline.Node
	Now      time.Time       // the instant at which delays are judged
	Pending  map[string]bool // titles installed without the reboot that they wait for
	Installs bool            // the run was an Install: what it tried and is still missing has failed
	Tried    map[string]bool // by Package.Key; nil: everything that the baseline approves
	// Attempted are the versions, by Package.Key, that an InstallOverrideList asked for; nil: there was no list.
	Attempted map[string]*Version
	Live      *LivePatching       // of the inventory
	Instead   map[string]Fallback // by Package.Key: what goes in where the newest approved version cannot
	Rebooting bool                // the node reboots now, so that nothing waits for that any more
	// Unreported is set by Judge: patches that do not apply beyond those that it lists.
	Unreported int
}

// maxListed bounds the patches that are listed as not applicable. What is more is only counted.
const maxListed = 1000

// Fallback is a lower approved version, and why it is not the newest one.
type Fallback struct {
	Version *Version
	Why     Block
}

// verdict is what the baseline says about one package.
type verdict struct {
	pkg     *Package
	target  *Version // newest approved version above the installed one that nothing keeps away
	kept    *Version // newest approved one that the node keeps away, when there is no target
	best    map[*Version]judged
	covered *Version // newest approved one, a kernel whose fixes live patches have applied, when there is no target
	current *Version // approved version at or below the installed one, whose facts the item shows
	newest  *Version // newest version that is offered, when newer than the installed one
}

// judged is the decision about a version with the facts of the notice that it was made on.
type judged struct {
	baseline.Decision
	patch *baseline.Patch
}

// Decide returns the targets of the baseline: per package the newest approved version above the installed one that
// the node's package manager may take. Pass it to PackageManager.Check, and what comes back to Judge.
func (j *Judgement) Decide(inv *Inventory) []Target {
	var out []Target
	for i := range inv.Packages {
		v := j.verdict(&inv.Packages[i])
		if v.target != nil && v.pkg.Held == "" {
			out = append(out, Target{v.pkg, v.target})
		}
	}
	return out
}

// Lower returns, by Package.Key, the approved versions below each target that is blocked and above the installed one,
// newest first. Pass it to PackageManager.Lower, and what comes back to Judge, as Instead.
// Source: AWS Systems Manager User Guide, "How security patches are selected", Debian Server and Ubuntu Server.
func (j *Judgement) Lower(targets []Target, blocks map[string]Block) map[string][]*Version {
	out := map[string][]*Version{}
	for _, t := range targets {
		if blocks[t.Package.Key()].Reason == "" {
			continue
		}
		below := false
		for i := len(t.Package.Versions) - 1; i >= 0; i-- {
			v := &t.Package.Versions[i]
			if below && v.Order > 0 && v.Offered && v.Unusable == "" && v.Kept == "" && j.judgeVersion(v).Approved {
				out[t.Package.Key()] = append(out[t.Package.Key()], v)
			}
			below = below || v.Text == t.Version.Text
		}
	}
	return out
}

// Judge gives every installed package its state and reason, and counts what does not apply.
// Source: AWS Systems Manager User Guide, "Understanding patch compliance state values"; design decision D9b.
func (j *Judgement) Judge(inv *Inventory, blocks map[string]Block) (items []compliance.Item, notApplicable int) {
	items = make([]compliance.Item, 0, len(inv.Packages))
	j.Unreported = 0
	listed := 0
	for i := range inv.Packages {
		it, ok := j.item(j.verdict(&inv.Packages[i]), blocks)
		if ok && it.State == compliance.NotApplicable {
			if listed++; listed > maxListed {
				j.Unreported++
				continue
			}
		}
		if ok {
			items = append(items, it)
		}
	}
	for i := range inv.NotApplicable {
		u := &inv.NotApplicable[i]
		for k := range u.Patches {
			if j.Baseline.Evaluate(j.Node, &u.Patches[k], j.Now).Approved {
				notApplicable += u.Count
				break
			}
		}
	}
	return items, notApplicable
}

func (j *Judgement) verdict(p *Package) verdict {
	settled := false
	v := verdict{pkg: p, best: make(map[*Version]judged, len(p.Versions))}
	for i := len(p.Versions) - 1; i >= 0; i-- {
		ver := &p.Versions[i]
		d := j.judgeVersion(ver)
		v.best[ver] = d
		if ver.Order > 0 && ver.Offered && v.newest == nil {
			v.newest = ver
		}
		if !d.Approved {
			continue
		}
		switch {
		case ver.Order <= 0:
			if v.current == nil {
				v.current = ver
			}
		case !ver.Offered || ver.Unusable != "":
		case ver.Kept != "":
			if v.kept == nil {
				v.kept = ver
			}
			settled = settled || ver.Settled
		case v.target == nil && !settled:
			if _, covered := j.Live.covers(p, ver.Text); covered {
				v.covered = ver
				settled = true // nor is an older one wanted
				break
			}
			v.target = ver
		}
	}
	return v
}

// judgeVersion judges each notice of a version alone; the approving one with the highest level wins, and the first
// of those, which the manager puts newest.
func (j *Judgement) judgeVersion(ver *Version) judged {
	var best judged
	for i := range ver.Patches {
		d := judged{j.Baseline.Evaluate(j.Node, &ver.Patches[i], j.Now), &ver.Patches[i]}
		switch {
		case d.Reason == baseline.ReasonRejected: // one rejected notice rejects the version
			return d
		case best.patch == nil,
			d.Approved && !best.Approved,
			d.Approved && best.Approved && d.Level.Rank() > best.Level.Rank(),
			!d.Approved && !best.Approved && reasonRank(d.Reason) < reasonRank(best.Reason):
			best = d
		}
	}
	return best
}

func reasonRank(r baseline.Reason) int {
	return slices.Index([]baseline.Reason{
		baseline.ReasonDelay, baseline.ReasonCutoff, baseline.ReasonNotSecurity, baseline.ReasonFilteredOut, baseline.ReasonNotApproved,
	}, r)
}

// item is what is reported of a package. ok is false where there is nothing to report: an update that is not installed
// and that nobody wants.
func (j *Judgement) item(v verdict, blocks map[string]Block) (it compliance.Item, ok bool) {
	p := v.pkg
	it = compliance.Item{
		ID: j.id(p), Name: p.Name, Arch: p.Arch, Title: j.shown(p, p.Installed), Level: baseline.Unspecified,
		InstalledVersion: p.Installed, InstalledTime: p.InstalledTime,
	}
	if v.newest != nil {
		it.AvailableVersion = v.newest.Text
	}
	want := v.target
	if f, ok := j.Instead[p.Key()]; ok && want != nil {
		want = f.Version
	}
	if want == nil {
		want = v.kept
	}
	if a := j.Attempted[p.Key()]; a != nil && (want == nil || v.upTo(want, a)) && !p.has(a.Text) {
		want = p.version(a.Text) // what the list asked for and did not get
	}
	if want != nil && want.Fleeting {
		if p.Installed == "" {
			return it, false
		}
		want = nil // what is installed counts
	}
	if want != nil {
		j.missing(&it, v, want, blocks)
		return it, true
	}
	if p.Installed == "" {
		return it, j.absent(&it, v)
	}
	if p.Broken != "" && v.current != nil && v.current.Order == 0 {
		j.halfWay(&it, v, blocks)
		return it, true
	}
	if c := v.covered; c != nil {
		it.State, it.Title, it.Repository, it.InstalledTime = compliance.Installed, j.shown(p, c.Text), c.Repository, time.Time{}
		it.Reason = ReasonLivePatched
		it.Detail, _ = j.Live.covers(p, c.Text)
		j.facts(&it, c, v)
		return it, true
	}
	it.Reason, it.Detail = v.why()
	if it.Reason == string(baseline.ReasonDelay) {
		it.ApprovalDate = v.best[v.newest].ApprovalDate
		it.ReleasedTime = v.best[v.newest].patch.Released
	}
	it.Repository = repositoryOf(v)
	installed := p.installed()
	switch {
	case j.loose(p) != "":
		it.State, it.Detail = compliance.InstalledPendingReboot, j.loose(p)
		j.facts(&it, v.current, v)
	case j.pendingReboot(p), p.Waits && !j.Rebooting:
		it.State = compliance.InstalledPendingReboot
		j.facts(&it, v.current, v)
	case j.Baseline.Blocks() && installed != nil && v.best[installed].Reason == baseline.ReasonRejected:
		it.State = compliance.InstalledRejected
	case v.current != nil && (!j.Node.OS.Apt() || v.current.Order == 0):
		it.State = compliance.Installed
		j.facts(&it, v.current, v)
	default:
		it.State = compliance.InstalledOther
	}
	return it, true
}

// loose says why an installed live patch is not in force, or nothing.
func (j *Judgement) loose(p *Package) string {
	if j.Live == nil {
		return ""
	}
	return j.Live.Loose[p.Key()]
}

// pendingReboot reports whether a package waits for a reboot. A kernel whose fixes live patches have applied does not count.
func (j *Judgement) pendingReboot(p *Package) bool {
	if !j.Pending[j.title(p, p.Installed)] {
		return false
	}
	_, covered := j.Live.covers(p, p.Installed)
	return !covered
}

// absent is an update that is not installed and not to be installed. Windows has two states for such.
// Source: AWS Systems Manager User Guide, "Understanding patch compliance state values".
func (j *Judgement) absent(it *compliance.Item, v verdict) bool {
	if v.pkg.NotApplicable != "" {
		for i := range v.pkg.Versions {
			if ver := &v.pkg.Versions[i]; v.best[ver].Approved {
				it.State, it.Detail = compliance.NotApplicable, v.pkg.NotApplicable
				j.facts(it, ver, v)
				return true
			}
		}
		return false
	}
	if j.Node.OS != baseline.Windows || v.newest == nil {
		return false
	}
	d := v.best[v.newest]
	if d.patch == nil || !d.patch.Security || d.Reason == baseline.ReasonRejected {
		return false
	}
	it.State, it.AvailableNonCompliant = compliance.AvailableSecurityUpdate, j.Baseline.AvailableSecurityUpdates == compliance.NonCompliant
	it.Classification, it.Severity, it.CVEs = d.patch.Classification, d.patch.Severity, d.patch.CVEs
	it.Reason, it.Detail = v.why()
	it.ReleasedTime, it.ApprovalDate, it.Repository = d.patch.Released, d.ApprovalDate, v.newest.Repository
	return true
}

// halfWay is an approved version that was unpacked and never set up: it is not installed.
func (j *Judgement) halfWay(it *compliance.Item, v verdict, blocks map[string]Block) {
	it.State, it.Reason, it.Detail = compliance.Missing, ReasonBroken, "the package manager left it "+v.pkg.Broken
	it.AvailableVersion, it.Repository, it.InstalledTime = v.current.Text, v.current.Repository, time.Time{}
	j.facts(it, v.current, v)
	if b, ok := blocks[v.pkg.Key()]; ok && b.Reason == ReasonBroken {
		it.Detail = b.Detail
	}
	if j.Installs {
		it.State = compliance.Failed
	}
}

// keptByNode are the reasons for which an Install does not try a patch at all.
var keptByNode = []string{ReasonHeld, ReasonPinned, ReasonPhased, ReasonHidden, ReasonAuthorization, ReasonDeferred}

func (j *Judgement) missing(it *compliance.Item, v verdict, want *Version, blocks map[string]Block) {
	p := v.pkg
	it.State = compliance.Missing
	it.Title = j.shown(p, want.Text)
	it.AvailableVersion = want.Text
	it.Repository = want.Repository
	it.InstalledTime = time.Time{}
	j.facts(it, want, v)
	b, blocked := blocks[p.Key()]
	switch {
	case p.Held != "":
		it.Reason, it.Detail = ReasonHeld, p.Held
	case blocked && b.Reason == "": // the manager's own solver takes it after all
	case want.Kept != "":
		it.Reason, it.Detail = want.Kept, want.Detail
	case blocked:
		it.Reason, it.Detail = b.Reason, b.Detail
	case want == j.Instead[p.Key()].Version:
		it.Detail = v.target.Text + " cannot be installed: " + j.Instead[p.Key()].Why.Detail
	default:
		it.Detail = want.Detail // a remark of the manager
	}
	// What the node itself keeps away was not attempted by an Install, so it has not failed.
	kept := slices.Contains(keptByNode, it.Reason) || want.Kept != "" && it.Reason == want.Kept
	attempted := !kept && (j.Tried == nil || j.Tried[p.Key()])
	if a := j.Attempted[p.Key()]; j.Attempted != nil {
		attempted = a != nil && a.Text == want.Text
	}
	if j.Installs && attempted {
		it.State = compliance.Failed
	}
	for i := range p.Versions {
		ver := &p.Versions[i]
		if ver.Order <= 0 {
			continue
		}
		for _, n := range ver.Patches {
			it.CVEs = append(it.CVEs, n.CVEs...)
		}
		if ver == want {
			break
		}
	}
	slices.Sort(it.CVEs)
	it.CVEs = slices.Compact(it.CVEs)
}

// facts puts the facts of the version that the baseline approves on the item.
func (j *Judgement) facts(it *compliance.Item, ver *Version, v verdict) {
	if ver == nil {
		return
	}
	d := v.best[ver]
	if d.patch == nil || !d.Approved {
		return
	}
	it.Level = baseline.Higher(baseline.Unspecified, d.Level)
	it.Classification, it.Severity = d.patch.Classification, d.patch.Severity
	if j.Node.OS.Apt() {
		it.Severity = d.patch.Priority
	}
	it.ReleasedTime, it.ApprovalDate = d.patch.Released, d.ApprovalDate
}

// why explains, with exactly one reason, why the newest version of a package is not wanted. It is empty when there
// is no newer version.
func (v verdict) why() (reason, detail string) {
	if v.newest == nil {
		if v.pkg.Replaced != "" {
			return ReasonObsoleted, v.pkg.Replaced + " takes its place; packages of another name are not installed"
		}
		return "", ""
	}
	if v.newest.Unusable != "" {
		return v.newest.Unusable, v.newest.Detail
	}
	d := v.best[v.newest]
	if v.newest.Unadvised && (d.Reason == baseline.ReasonNotSecurity || d.Reason == baseline.ReasonNotApproved) {
		return ReasonNoAdvisory, "the repository " + v.newest.Repository + " has no update notices"
	}
	return string(d.Reason), ""
}

func repositoryOf(v verdict) string {
	if v.newest != nil {
		return v.newest.Repository
	}
	if in := v.pkg.installed(); in != nil {
		return in.Repository
	}
	return ""
}

// upTo reports whether a comes no later than b in the order of versions.
func (v verdict) upTo(a, b *Version) bool {
	for i := range v.pkg.Versions {
		switch v.pkg.Versions[i].Text {
		case a.Text:
			return true
		case b.Text:
			return false
		}
	}
	return false
}

// version finds a newer version of the package that is still known, by its text.
func (p *Package) version(text string) *Version {
	for i := range p.Versions {
		if p.Versions[i].Text == text && p.Versions[i].Order > 0 {
			return &p.Versions[i]
		}
	}
	return nil
}

// has reports whether the package is at a version, or beyond it.
func (p *Package) has(text string) bool { return p.version(text) == nil }

// installed is the version that is installed.
func (p *Package) installed() *Version {
	for i := range p.Versions {
		if p.Versions[i].Order == 0 {
			return &p.Versions[i]
		}
	}
	return nil
}

func (j *Judgement) id(p *Package) string {
	if p.Arch == "" {
		return p.Name
	}
	return p.Name + "." + p.Arch
}

// shown is the title that a report has: that of the update on Windows.
func (j *Judgement) shown(p *Package, version string) string {
	if p.Title != "" {
		return p.Title
	}
	return j.title(p, version)
}

// title names a version of a package.
func (j *Judgement) title(p *Package, version string) string {
	if j.Node.OS == baseline.MacOS {
		return p.Name + "." + version
	}
	return j.id(p) + ":" + version
}
