package patchbaseline

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/page"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// DescribePatchProperties lists the values that a filter of a baseline may have, with the products seen on nodes.
func (s *Service) DescribePatchProperties(ctx context.Context, in *ssm.DescribePatchPropertiesInput) (*ssm.DescribePatchPropertiesOutput, error) {
	pg, err := s.pages.Open(ctx, "DescribePatchProperties", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc, os, property := store.ScopeOf(ctx), osOf(in.OperatingSystem), codec.Value(in.Property)
	values := baseline.Properties(os, property, codec.Value(in.PatchSet))
	if property == "PRODUCT" && codec.Value(in.PatchSet) != "APPLICATION" {
		var seen []string
		err := s.store.View(ctx, func(tx *store.Tx) (err error) { seen, err = seenProducts(tx, sc, string(os)); return err })
		if err != nil {
			return nil, err
		}
		for _, v := range seen {
			if v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
	}
	out := &ssm.DescribePatchPropertiesOutput{Properties: []map[string]string{}}
	start := 0
	if after := pg.At(0); after != "" {
		start = slices.Index(values, after) + 1
	}
	for _, v := range values[start:] {
		if len(out.Properties) == pg.Size {
			out.NextToken = pg.Next(out.Properties[pg.Size-1]["Name"])
			break
		}
		out.Properties = append(out.Properties, map[string]string{"Name": v})
	}
	return out, nil
}

// availableKeys are the filter keys of DescribeAvailablePatches.
var availableKeys = map[bool][]string{
	true: {"PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "MSRC_SEVERITY", "CLASSIFICATION", "PATCH_ID"},
	false: {
		"PRODUCT", "NAME", "SEVERITY", "EPOCH", "VERSION", "RELEASE", "ARCH", "REPOSITORY", "ADVISORY_ID", "CVE_ID", "BUGZILLA_ID", "CLASSIFICATION", "PRIORITY",
		"SECTION", "SECURITY",
	},
}

// osOfProducts finds the operating system whose products a filter names.
func osOfProducts(products []string) (baseline.OS, bool) {
	for _, os := range baseline.OperatingSystems() {
		for _, p := range products {
			if p != "*" && baseline.KnownProduct(os, p) {
				return os, true
			}
		}
	}
	return "", false
}

// DescribeAvailablePatches lists the versions that the nodes' repositories offer, for every operating system of
// which a node has reported. Without a filter it lists Windows updates; other systems are chosen by PRODUCT.
func (s *Service) DescribeAvailablePatches(ctx context.Context, in *ssm.DescribeAvailablePatchesInput) (*ssm.DescribeAvailablePatchesOutput, error) {
	os := baseline.Windows
	products := false
	for _, f := range in.Filters {
		if codec.Value(f.Key) == "PRODUCT" {
			products = true
			found, ok := osOfProducts(f.Values)
			if !ok {
				return nil, awserr.Validation("Invalid Filter Value: %s for Key: PRODUCT", strings.Join(f.Values, ", "))
			}
			os = found
		}
	}
	keys := availableKeys[os == baseline.Windows]
	for _, f := range in.Filters {
		if k := codec.Value(f.Key); !slices.Contains(keys, k) {
			if !products && slices.Contains(availableKeys[false], k) {
				return nil, awserr.Validation("A PRODUCT filter is required for operating systems other than Windows.")
			}
			return nil, awserr.Validation("Invalid Filter Key: %s, valid keys are: %s", k, strings.Join(keys, ", "))
		}
	}
	pg, err := s.pages.Open(ctx, "DescribeAvailablePatches", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeAvailablePatchesOutput{Patches: []ssm.Patch{}}
	err = s.eachAvailable(ctx, os, pg, func(p store.AvailablePatch, next func() *string) bool {
		notices := noticesOf(p)
		if !availableMatches(in.Filters, p, os, notices) {
			return true
		}
		if len(out.Patches) == pg.Size {
			out.NextToken = next()
			return false
		}
		out.Patches = append(out.Patches, wirePatch(p, os, notices))
		return true
	})
	return out, err
}

// eachAvailable walks the catalogue of an operating system from the page's start. next makes the token of a page
// that begins with the row at hand.
func (s *Service) eachAvailable(ctx context.Context, os baseline.OS, pg *page.Page, fn func(p store.AvailablePatch, next func() *string) bool) error {
	sc := store.ScopeOf(ctx)
	return s.store.View(ctx, func(tx *store.Tx) error {
		last := store.AvailablePatch{Product: pg.At(0), Name: pg.At(1), Version: pg.At(2), Arch: pg.At(3), Repository: pg.At(4)}
		for {
			rows, err := tx.AvailablePatches(sc, string(os), last, 500)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, p := range rows {
				if !fn(p, func() *string { return pg.Next(last.Product, last.Name, last.Version, last.Arch, last.Repository) }) {
					return nil
				}
				last = p
			}
		}
	})
}

// noticesOf are the update notices about a version.
func noticesOf(p store.AvailablePatch) []compliance.Notice {
	var out []compliance.Notice
	if p.Notices == "" || json.Unmarshal([]byte(p.Notices), &out) != nil { // the server wrote it: what cannot be read says nothing
		return nil
	}
	return out
}

// availableMatches reports whether the filters take a version. Of several notices about it one is enough for each filter.
func availableMatches(filters []ssm.PatchOrchestratorFilter, p store.AvailablePatch, os baseline.OS, notices []compliance.Notice) bool {
	for _, f := range filters {
		have := availableValues(*f.Key, p, os, notices)
		if !slices.ContainsFunc(f.Values, func(v string) bool {
			return v == "*" || slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(v, h) })
		}) {
			return false
		}
	}
	return true
}

// availableValues are what a version has for a filter's key. A .deb package has no epoch of its own, release or advisory.
func availableValues(key string, p store.AvailablePatch, os baseline.OS, notices []compliance.Notice) (out []string) {
	epoch, version, release := evr(p, os)
	of := func(fn func(n *compliance.Notice) []string) []string {
		for i := range notices {
			out = append(out, fn(&notices[i])...)
		}
		return out
	}
	switch key {
	case "PRODUCT":
		return []string{p.Product}
	case "NAME":
		return []string{p.Name}
	case "EPOCH":
		return []string{epoch}
	case "VERSION":
		return []string{version}
	case "RELEASE":
		return []string{release}
	case "ARCH":
		return []string{p.Arch}
	case "REPOSITORY":
		return []string{p.Repository}
	case "CLASSIFICATION":
		return append(of(func(n *compliance.Notice) []string { return []string{n.Classification} }), p.Classification)
	case "SEVERITY":
		return append(of(func(n *compliance.Notice) []string { return []string{n.Severity} }), severityOf(p))
	case "PRIORITY":
		return []string{p.Priority}
	case "SECTION":
		return []string{p.Section}
	case "ADVISORY_ID":
		return of(func(n *compliance.Notice) []string { return n.IDs })
	case "CVE_ID":
		return of(func(n *compliance.Notice) []string { return n.CVEs })
	case "BUGZILLA_ID":
		return of(func(n *compliance.Notice) []string { return n.Bugzillas })
	case "SECURITY":
		security := strings.EqualFold(p.Classification, "Security") || slices.ContainsFunc(notices, func(n compliance.Notice) bool { return n.Classification == "Security" })
		return []string{strconv.FormatBool(security)}
	}
	return nil
}

// evr parts a version where the system's packages have an epoch and a release.
func evr(p store.AvailablePatch, os baseline.OS) (epoch, version, release string) {
	if !os.RPM() && os != baseline.SUSE {
		return "", p.Version, ""
	}
	version = p.Version
	if e, rest, ok := strings.Cut(version, ":"); ok {
		epoch, version = e, rest
	}
	version, release, _ = strings.Cut(version, "-")
	return epoch, version, release
}

// severityOf is the publisher's severity; .deb packages have a priority in its place.
func severityOf(p store.AvailablePatch) string {
	if p.Severity != "" {
		return p.Severity
	}
	return p.Priority
}

func wirePatch(p store.AvailablePatch, os baseline.OS, notices []compliance.Notice) ssm.Patch {
	epoch, version, release := evr(p, os)
	w := ssm.Patch{Name: &p.Name, Version: &version, Arch: &p.Arch, Product: &p.Product}
	if release != "" {
		w.Release = &release
	}
	if n, err := strconv.ParseInt(epoch, 10, 64); err == nil {
		w.Epoch = &n
	}
	severity := severityOf(p)
	for _, n := range notices {
		w.AdvisoryIds = append(w.AdvisoryIds, n.IDs...)
		w.CVEIds = append(w.CVEIds, n.CVEs...)
		w.BugzillaIds = append(w.BugzillaIds, n.Bugzillas...)
		severity = cmp.Or(severity, n.Severity)
	}
	if severity != "" {
		w.Severity = &severity
	}
	if p.Classification != "" {
		w.Classification = &p.Classification
	}
	if p.Repository != "" {
		w.Repository = &p.Repository
	}
	if !p.ReleasedAt.IsZero() {
		w.ReleaseDate = codec.NewTime(p.ReleasedAt)
	}
	return w
}

// DescribeEffectivePatchesForPatchBaseline previews a baseline on the catalogue of its operating system. AWS
// answers for Windows only; here every operating system of which a node has reported is answered.
func (s *Service) DescribeEffectivePatchesForPatchBaseline(ctx context.Context, in *ssm.DescribeEffectivePatchesForPatchBaselineInput) (*ssm.DescribeEffectivePatchesForPatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	pg, err := s.pages.Open(ctx, "DescribeEffectivePatchesForPatchBaseline", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	var b *baseline.Baseline
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { b, _, err = load(tx, sc, r, msgGone); return err }); err != nil {
		return nil, err
	}
	out := &ssm.DescribeEffectivePatchesForPatchBaselineOutput{EffectivePatches: []ssm.EffectivePatch{}}
	now := s.now()
	err = s.eachAvailable(ctx, b.OperatingSystem, pg, func(p store.AvailablePatch, next func() *string) bool {
		notices := noticesOf(p)
		d := effective(b, p, notices, now)
		status := deploymentStatus(d)
		if status == "" {
			return true
		}
		if len(out.EffectivePatches) == pg.Size {
			out.NextToken = next()
			return false
		}
		w := ssm.EffectivePatch{Patch: new(wirePatch(p, b.OperatingSystem, notices)), PatchStatus: &ssm.PatchStatus{DeploymentStatus: &status, ComplianceLevel: new(string(orUnspecified(d.Level)))}}
		if !d.ApprovalDate.IsZero() {
			w.PatchStatus.ApprovalDate = codec.NewTime(d.ApprovalDate)
		}
		out.EffectivePatches = append(out.EffectivePatches, w)
		return true
	})
	return out, err
}

// effective is what a baseline says of a version: each notice about it is judged alone, and one that approves is enough.
func effective(b *baseline.Baseline, p store.AvailablePatch, notices []compliance.Notice, now time.Time) baseline.Decision {
	node := baseline.Node{OS: b.OperatingSystem, Product: p.Product}
	epoch, version, release := evr(p, b.OperatingSystem)
	fact := baseline.Patch{
		Name: p.Name, Arch: p.Arch, Epoch: epoch, Version: version, Release: release, Classification: p.Classification, Severity: p.Severity, Priority: p.Priority, Section: p.Section,
		Security: strings.EqualFold(p.Classification, "Security"), Released: p.ReleasedAt,
	}
	if len(notices) == 0 {
		return b.Evaluate(node, &fact, now)
	}
	var best baseline.Decision
	for i, n := range notices {
		x := fact
		x.HasNotice, x.Security, x.AdvisoryIDs, x.CVEs, x.Bugzillas, x.Classification, x.Severity, x.Released = true, true, n.IDs, n.CVEs, n.Bugzillas, n.Classification, n.Severity, n.Released
		d := b.Evaluate(node, &x, now)
		switch {
		case d.Reason == baseline.ReasonRejected:
			return d
		case i == 0, d.Approved && !best.Approved, d.Approved && d.Level.Rank() > best.Level.Rank(), !best.Approved && d.Reason == baseline.ReasonDelay:
			best = d
		}
	}
	return best
}

func deploymentStatus(d baseline.Decision) string {
	switch {
	case d.Approved && d.Explicit:
		return "EXPLICIT_APPROVED"
	case d.Approved:
		return "APPROVED"
	case d.Reason == baseline.ReasonRejected:
		return "EXPLICIT_REJECTED"
	case d.Reason == baseline.ReasonDelay:
		return "PENDING_APPROVAL"
	}
	return ""
}
