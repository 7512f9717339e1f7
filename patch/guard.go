package patch

import (
	"fmt"
	"strings"
	"time"

	"oakum.dev/baseline"
)

// Reasons for which an Install leaves a patch out, or fails to install it. They belong to the closed set of Reasons.
const (
	ReasonRemoval     = "removal"        // it would remove an installed package
	ReasonDowngrade   = "downgrade"      // it would put an older version in place of an installed one
	ReasonListVersion = "listVersion"    // it needs another version of a package than the InstallOverrideList names
	ReasonBeyondPlan  = "beyondPlan"     // the run was interrupted, and going on would need more than was planned at first
	ReasonSuperseded  = "superseded"     // the planned version is not offered any more
	ReasonDownload    = "downloadFailed" // its package file, or one that it needs, could not be fetched
	ReasonInstall     = "installFailed"  // the package manager could not install it
	ReasonBroken      = "leftHalfWay"    // it is unpacked, but its scripts failed
	ReasonNoSpace     = "noSpace"        // too little disk space
	ReasonInterrupted = "interrupted"    // the run ended before its turn
	ReasonNotTried    = "notTried"       // the run failed before anything was installed
)

// Guard looks at a finished plan once more, apart from how it came about, just before it is carried out.
// A plan may hold approved versions of targets, and what they depend on as far as the baseline allows. Source: AWS
// Systems Manager User Guide, "About rejected patches"; nothing is removed or put back to an older version.
type Guard struct {
	Baseline *baseline.Baseline
	Node     baseline.Node
	Now      time.Time             // as in Judgement
	List     *baseline.InstallList // takes the place of the baseline's rules, and of its rejected list
	Only     map[string]string     // when a run is taken up again: Change.Key to New, and nothing else; nil: no limit
}

// Refusal is a change that a plan must not hold.
type Refusal struct {
	Change Change
	Block
}

// Check lists what is wrong with a plan. facts are those of an inventory: Package.Key and version text to notices.
func (g *Guard) Check(p *Plan, facts func(key, version string) []baseline.Patch) []Refusal {
	var out []Refusal
	for _, c := range p.Changes {
		if b := g.check(&c, facts); b.Reason != "" {
			out = append(out, Refusal{c, b})
		}
	}
	return out
}

func (g *Guard) check(c *Change, facts func(key, version string) []baseline.Patch) Block {
	name := c.Name + " " + c.New
	if b := c.takesAway(); b.Reason != "" {
		return b
	}
	if c.Held {
		return Block{ReasonHeld, fmt.Sprintf("%s %s is held on the node", c.Name, c.Old)}
	}
	if c.New == "" {
		return Block{}
	}
	if g.Only != nil && g.Only[c.Key()] != c.New {
		return Block{ReasonBeyondPlan, name + " was not in the plan of the run that was interrupted"}
	}
	notices := facts(c.Key(), c.New)
	if g.List != nil {
		return g.checkList(c, notices)
	}
	rejected := func(p *baseline.Patch) bool { return g.Baseline.Rejects(g.Node, p) }
	own := c.fact(g.Node.OS)
	if !c.Wanted {
		if g.Baseline.Blocks() && rejected(&own) {
			return Block{ReasonBlockedByRejected, "needs " + name + ", which the baseline rejects"}
		}
		return Block{}
	}
	approved := false
	for i := range notices {
		if rejected(&notices[i]) {
			return Block{string(baseline.ReasonRejected), name + " is on the baseline's rejected list"}
		}
		approved = approved || g.Baseline.Evaluate(g.Node, &notices[i], g.Now).Approved
	}
	if !approved {
		return Block{string(baseline.ReasonNotApproved), "the baseline does not approve " + name}
	}
	return Block{}
}

// takesAway says whether a change removes a package or puts an older version in its place.
func (c *Change) takesAway() Block {
	switch {
	case c.New == "" && c.By == "":
		return Block{ReasonRemoval, fmt.Sprintf("%s %s would be removed", c.Name, c.Old)}
	case c.Down:
		return Block{ReasonDowngrade, fmt.Sprintf("%s would go back from %s to %s", c.Name, c.Old, c.New)}
	}
	return Block{}
}

// fact is the new version of a change without any notice.
func (c *Change) fact(os baseline.OS) baseline.Patch {
	p := baseline.Patch{Name: c.Name, Arch: c.Arch, Version: c.New}
	if os.RPM() || os == baseline.SUSE {
		epoch, rest, ok := strings.Cut(c.New, ":")
		if !ok {
			epoch, rest = "0", c.New
		}
		p.Epoch = epoch
		p.Version, p.Release, _ = strings.Cut(rest, "-")
	}
	return p
}

func (g *Guard) checkList(c *Change, notices []baseline.Patch) Block {
	if len(notices) == 0 {
		notices = []baseline.Patch{c.fact(g.Node.OS)}
	}
	named := false
	for i := range notices {
		n, taken := g.List.Names(g.Node.OS, &notices[i])
		if taken {
			return Block{}
		}
		named = named || n
	}
	switch {
	case named:
		return Block{ReasonListVersion, fmt.Sprintf("needs %s %s, and the list names another version", c.Name, c.New)}
	case c.Wanted:
		return Block{string(baseline.ReasonNotApproved), "the list does not name " + c.Name}
	}
	return Block{}
}
