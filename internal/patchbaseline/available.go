package patchbaseline

import (
	"context"
	"slices"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
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
		if !availableMatches(in.Filters, p) {
			return true
		}
		if len(out.Patches) == pg.Size {
			out.NextToken = next()
			return false
		}
		out.Patches = append(out.Patches, wirePatch(p))
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

func availableMatches(filters []ssm.PatchOrchestratorFilter, p store.AvailablePatch) bool {
	for _, f := range filters {
		ok := slices.ContainsFunc(f.Values, func(v string) bool {
			if v == "*" {
				return true
			}
			switch *f.Key {
			case "PRODUCT":
				return strings.EqualFold(v, p.Product)
			case "NAME":
				return strings.EqualFold(v, p.Name)
			case "VERSION":
				return v == p.Version
			case "ARCH":
				return strings.EqualFold(v, p.Arch)
			case "REPOSITORY":
				return strings.EqualFold(v, p.Repository)
			case "CLASSIFICATION":
				return strings.EqualFold(v, p.Classification)
			case "SEVERITY":
				return strings.EqualFold(v, severityOf(p))
			case "PRIORITY":
				return strings.EqualFold(v, p.Priority)
			case "SECTION":
				return strings.EqualFold(v, p.Section)
			case "SECURITY":
				return strings.EqualFold(v, map[bool]string{true: "true", false: "false"}[strings.EqualFold(p.Classification, "Security")])
			}
			return false // what .deb packages do not have: epochs of their own, releases, advisories
		})
		if !ok {
			return false
		}
	}
	return true
}

// severityOf is the publisher's severity; .deb packages have a priority in its place.
func severityOf(p store.AvailablePatch) string {
	if p.Severity != "" {
		return p.Severity
	}
	return p.Priority
}

func wirePatch(p store.AvailablePatch) ssm.Patch {
	w := ssm.Patch{Name: &p.Name, Version: &p.Version, Arch: &p.Arch, Product: &p.Product}
	if sev := severityOf(p); sev != "" {
		w.Severity = &sev
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
		d := b.Evaluate(baseline.Node{OS: b.OperatingSystem, Product: p.Product}, facts(p), now)
		status := deploymentStatus(d)
		if status == "" {
			return true
		}
		if len(out.EffectivePatches) == pg.Size {
			out.NextToken = next()
			return false
		}
		w := ssm.EffectivePatch{Patch: new(wirePatch(p)), PatchStatus: &ssm.PatchStatus{DeploymentStatus: &status, ComplianceLevel: new(string(orUnspecified(d.Level)))}}
		if !d.ApprovalDate.IsZero() {
			w.PatchStatus.ApprovalDate = codec.NewTime(d.ApprovalDate)
		}
		out.EffectivePatches = append(out.EffectivePatches, w)
		return true
	})
	return out, err
}

func facts(p store.AvailablePatch) *baseline.Patch {
	return &baseline.Patch{
		Name: p.Name, Arch: p.Arch, Version: p.Version, Classification: p.Classification, Severity: p.Severity, Priority: p.Priority, Section: p.Section,
		Security: strings.EqualFold(p.Classification, "Security"), Released: p.ReleasedAt,
	}
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
