package baseline

import (
	"slices"
	"strings"
	"time"
)

// Reason says why a baseline does not approve a patch. The set is closed.
type Reason string

// The reasons of a baseline, in the order in which they win over each other.
const (
	ReasonRejected    Reason = "rejected"    // on the rejected list
	ReasonDelay       Reason = "delay"       // a rule takes it, its approval delay is not over
	ReasonCutoff      Reason = "cutoffDate"  // a rule takes it, it was released after ApproveUntilDate
	ReasonNotSecurity Reason = "notSecurity" // a rule or list takes it, but it is no security patch and only those are wanted
	ReasonFilteredOut Reason = "filteredOut" // the global filters do not take it
	ReasonNotApproved Reason = "notApproved" // no rule and no list takes it
)

// Decision is what a baseline says about one patch.
type Decision struct {
	Approved     bool
	Explicit     bool      // approved or rejected by a list
	Level        Level     // when approved: the highest of what approves it
	Reason       Reason    // when not approved
	ApprovalDate time.Time // when approved or waiting: the instant from which rules approve it; zero when not known
}

// Evaluate judges patch p on node n at now. Order: global filters, rules, approved list, rejected list.
// Source: AWS Systems Manager User Guide, "How patches are selected"; delays count whole UTC days.
func (b *Baseline) Evaluate(n Node, p *Patch, now time.Time) Decision {
	d := Decision{Reason: ReasonNotApproved, Level: Unspecified}
	inGlobal := b.GlobalFilters.matches(n, p)
	if inGlobal {
		for i := range b.ApprovalRules.PatchRules {
			b.ApprovalRules.PatchRules[i].judge(n, p, now, &d)
		}
	} else {
		d.Reason = ReasonFilteredOut
	}
	if hit, byNotice := matchList(n.OS, b.ApprovedPatches, p); hit {
		if byNotice || b.ApprovedPatchesEnableNonSecurity || countsAsSecurity(n.OS, p) {
			if !d.Approved {
				d.Level = Unspecified
			}
			d.Approved, d.Explicit = true, true
			d.Level = Higher(d.Level, b.ApprovedPatchesComplianceLevel)
		} else if !d.Approved {
			d.Reason = stronger(d.Reason, ReasonNotSecurity)
		}
	}
	if hit, _ := matchList(n.OS, b.RejectedPatches, p); hit {
		return Decision{Reason: ReasonRejected, Explicit: true, Level: Unspecified}
	}
	if d.Approved {
		d.Reason = ""
	}
	return d
}

// Rejects reports whether the rejected list names the patch.
func (b *Baseline) Rejects(n Node, p *Patch) bool {
	hit, _ := matchList(n.OS, b.RejectedPatches, p)
	return hit
}

// judge adds what one rule says to d.
func (r *Rule) judge(n Node, p *Patch, now time.Time, d *Decision) {
	if !r.PatchFilterGroup.matches(n, p) {
		return
	}
	if n.OS == Windows && !r.PatchFilterGroup.has("PATCH_SET") && p.PatchSet != "" && p.PatchSet != "OS" {
		return
	}
	from, ok := r.approval(p, now)
	switch {
	case !r.EnableNonSecurity && !countsAsSecurity(n.OS, p):
		d.Reason = stronger(d.Reason, ReasonNotSecurity)
	case ok:
		if d.ApprovalDate.IsZero() || from.Before(d.ApprovalDate) || !d.Approved {
			d.ApprovalDate = from
		}
		d.Approved = true
		d.Level = Higher(d.Level, r.ComplianceLevel)
	case r.ApproveUntilDate != "":
		d.Reason = stronger(d.Reason, ReasonCutoff)
	default:
		d.Reason = stronger(d.Reason, ReasonDelay)
		if !d.Approved && (d.ApprovalDate.IsZero() || from.Before(d.ApprovalDate)) {
			d.ApprovalDate = from
		}
	}
}

// approval returns the instant from which the rule's delay is over and whether that is so at now.
func (r *Rule) approval(p *Patch, now time.Time) (time.Time, bool) {
	if p.Released.IsZero() {
		return time.Time{}, true
	}
	day, today := date(p.Released), date(now)
	if r.ApproveUntilDate != "" {
		until, err := time.Parse(time.DateOnly, r.ApproveUntilDate)
		return day, err == nil && !day.After(until)
	}
	n := 0
	if r.ApproveAfterDays != nil {
		n = *r.ApproveAfterDays
	}
	from := day.AddDate(0, 0, n)
	// A release instant in the future is never approved, also when its day has begun.
	return from, !from.After(today) && !p.Released.After(now)
}

// date is the start of the UTC day of t.
func date(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// countsAsSecurity is the clause that EnableNonSecurity=false adds. SUSE and Windows have none.
func countsAsSecurity(os OS, p *Patch) bool { return os == SUSE || os == Windows || p.Security }

var reasonOrder = []Reason{ReasonRejected, ReasonDelay, ReasonCutoff, ReasonNotSecurity, ReasonFilteredOut, ReasonNotApproved}

// stronger returns the reason that tells more.
func stronger(a, b Reason) Reason {
	if slices.Index(reasonOrder, b) < slices.Index(reasonOrder, a) {
		return b
	}
	return a
}

func (g FilterGroup) has(key string) bool {
	return slices.ContainsFunc(g.PatchFilters, func(f Filter) bool { return f.Key == key })
}

func (g FilterGroup) matches(n Node, p *Patch) bool {
	for _, f := range g.PatchFilters {
		if !f.matches(n, p) {
			return false
		}
	}
	return true
}

func (f Filter) matches(n Node, p *Patch) bool {
	if slices.Contains(f.Values, "*") {
		return true
	}
	for _, have := range f.values(n, p) {
		for _, want := range f.Values {
			if have != "" && (strings.EqualFold(have, want) || f.synonym(n, have, want)) {
				return true
			}
		}
	}
	return false
}

// synonym knows the spellings that mean the same: Medium and Moderate on rpm systems, the two names of one product.
func (f Filter) synonym(n Node, have, want string) bool {
	switch f.Key {
	case "SEVERITY":
		moderate := func(s string) bool { return strings.EqualFold(s, "medium") || strings.EqualFold(s, "moderate") }
		return n.OS.RPM() && moderate(have) && moderate(want)
	case "PRODUCT":
		return strings.EqualFold(strings.TrimSuffix(have, ".0"), strings.TrimSuffix(want, ".0")) && n.OS == AmazonLinux2
	}
	return false
}

// values returns what the patch, or for PRODUCT the node, has for the filter's key.
func (f Filter) values(n Node, p *Patch) []string {
	switch f.Key {
	case "PRODUCT":
		if n.OS == Windows && p.Product != "" {
			return []string{p.Product, n.Product}
		}
		return []string{n.Product}
	case "PRODUCT_FAMILY":
		return []string{p.ProductFamily}
	case "CLASSIFICATION":
		return []string{p.Classification}
	case "SEVERITY", "MSRC_SEVERITY":
		return []string{p.Severity}
	case "PRIORITY":
		return []string{p.Priority}
	case "SECTION":
		return []string{p.Section}
	case "PATCH_SET":
		return []string{p.PatchSet}
	case "PATCH_ID":
		return []string{p.KB, p.Name}
	}
	return nil
}
