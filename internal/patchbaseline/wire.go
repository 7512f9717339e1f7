package patchbaseline

import (
	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func fromCreate(in *ssm.CreatePatchBaselineInput) (*baseline.Baseline, error) {
	b := &baseline.Baseline{
		OperatingSystem: baseline.Windows, Name: codec.Value(in.Name), Description: codec.Value(in.Description),
		GlobalFilters: filtersFromWire(in.GlobalFilters), ApprovedPatches: in.ApprovedPatches, ApprovedPatchesComplianceLevel: level(in.ApprovedPatchesComplianceLevel),
		ApprovedPatchesEnableNonSecurity: codec.Value(in.ApprovedPatchesEnableNonSecurity), RejectedPatches: in.RejectedPatches,
		RejectedPatchesAction: action(in.RejectedPatchesAction), Sources: sourcesFromWire(in.Sources), AvailableSecurityUpdates: codec.Value(in.AvailableSecurityUpdatesComplianceStatus),
	}
	if in.OperatingSystem != nil {
		b.OperatingSystem = baseline.OS(*in.OperatingSystem)
	}
	var err error
	b.ApprovalRules, err = rulesFromWire(in.ApprovalRules)
	return b, err
}

// fromUpdate lays the members given over the stored baseline, or over an empty one with Replace.
func fromUpdate(in *ssm.UpdatePatchBaselineInput, old *baseline.Baseline) (*baseline.Baseline, error) {
	b := *old
	if codec.Value(in.Replace) {
		b = baseline.Baseline{
			BaselineID: old.BaselineID, OperatingSystem: old.OperatingSystem, ApprovedPatchesComplianceLevel: baseline.Unspecified,
			RejectedPatchesAction: baseline.AllowAsDependency,
		}
	}
	if in.Name != nil {
		b.Name = *in.Name
	}
	if in.Description != nil {
		b.Description = *in.Description
	}
	if in.GlobalFilters != nil {
		b.GlobalFilters = filtersFromWire(in.GlobalFilters)
	}
	if in.ApprovalRules != nil {
		rules, err := rulesFromWire(in.ApprovalRules)
		if err != nil {
			return nil, err
		}
		b.ApprovalRules = rules
	}
	if in.ApprovedPatches != nil {
		b.ApprovedPatches = in.ApprovedPatches
	}
	if in.ApprovedPatchesComplianceLevel != nil {
		b.ApprovedPatchesComplianceLevel = level(in.ApprovedPatchesComplianceLevel)
	}
	if in.ApprovedPatchesEnableNonSecurity != nil {
		b.ApprovedPatchesEnableNonSecurity = *in.ApprovedPatchesEnableNonSecurity
	}
	if in.RejectedPatches != nil {
		b.RejectedPatches = in.RejectedPatches
	}
	if in.RejectedPatchesAction != nil {
		b.RejectedPatchesAction = action(in.RejectedPatchesAction)
	}
	if in.Sources != nil {
		b.Sources = sourcesFromWire(in.Sources)
	}
	if in.AvailableSecurityUpdatesComplianceStatus != nil {
		b.AvailableSecurityUpdates = *in.AvailableSecurityUpdatesComplianceStatus
	}
	return &b, nil
}

func level(p *string) baseline.Level {
	if p == nil {
		return baseline.Unspecified
	}
	return baseline.Level(*p)
}

func action(p *string) baseline.RejectedAction {
	if p == nil {
		return baseline.AllowAsDependency
	}
	return baseline.RejectedAction(*p)
}

func filtersFromWire(g *ssm.PatchFilterGroup) (out baseline.FilterGroup) {
	if g == nil {
		return out
	}
	for _, f := range g.PatchFilters {
		out.PatchFilters = append(out.PatchFilters, baseline.Filter{Key: codec.Value(f.Key), Values: f.Values})
	}
	return out
}

func rulesFromWire(g *ssm.PatchRuleGroup) (out baseline.RuleGroup, err error) {
	if g == nil {
		return out, nil
	}
	for _, r := range g.PatchRules {
		rule := baseline.Rule{
			PatchFilterGroup: filtersFromWire(r.PatchFilterGroup), ComplianceLevel: level(r.ComplianceLevel),
			ApproveUntilDate: codec.Value(r.ApproveUntilDate), EnableNonSecurity: codec.Value(r.EnableNonSecurity),
		}
		if r.ApproveAfterDays != nil {
			rule.ApproveAfterDays = new(int(*r.ApproveAfterDays))
		}
		if (r.ApproveAfterDays == nil) == (r.ApproveUntilDate == nil) {
			return out, awserr.Validation("Exactly one of ApproveAfterDays and ApproveUntilDate must be given for each approval rule.")
		}
		out.PatchRules = append(out.PatchRules, rule)
	}
	return out, nil
}

func sourcesFromWire(list []ssm.PatchSource) (out []baseline.Source) {
	for _, s := range list {
		out = append(out, baseline.Source{Name: codec.Value(s.Name), Products: s.Products, Configuration: codec.Value(s.Configuration)})
	}
	return out
}

func filtersToWire(g baseline.FilterGroup) *ssm.PatchFilterGroup {
	out := &ssm.PatchFilterGroup{PatchFilters: []ssm.PatchFilter{}}
	for _, f := range g.PatchFilters {
		out.PatchFilters = append(out.PatchFilters, ssm.PatchFilter{Key: &f.Key, Values: f.Values})
	}
	return out
}

// toWire is the answer of GetPatchBaseline less id, groups and dates: lists are there even when empty, a
// description that was never set is not.
func toWire(b *baseline.Baseline) *ssm.GetPatchBaselineOutput {
	out := &ssm.GetPatchBaselineOutput{
		Name: &b.Name, OperatingSystem: new(string(b.OperatingSystem)), GlobalFilters: filtersToWire(b.GlobalFilters),
		ApprovalRules: &ssm.PatchRuleGroup{PatchRules: []ssm.PatchRule{}}, ApprovedPatches: append([]string{}, b.ApprovedPatches...),
		ApprovedPatchesComplianceLevel: new(string(orUnspecified(b.ApprovedPatchesComplianceLevel))), ApprovedPatchesEnableNonSecurity: &b.ApprovedPatchesEnableNonSecurity,
		RejectedPatches: append([]string{}, b.RejectedPatches...), RejectedPatchesAction: new(string(b.RejectedPatchesAction)), Sources: []ssm.PatchSource{},
	}
	if b.RejectedPatchesAction == "" {
		out.RejectedPatchesAction = new(string(baseline.AllowAsDependency))
	}
	if b.Description != "" {
		out.Description = &b.Description
	}
	if b.AvailableSecurityUpdates != "" {
		out.AvailableSecurityUpdatesComplianceStatus = &b.AvailableSecurityUpdates
	}
	for _, r := range b.ApprovalRules.PatchRules {
		w := ssm.PatchRule{
			PatchFilterGroup: filtersToWire(r.PatchFilterGroup), ComplianceLevel: new(string(orUnspecified(r.ComplianceLevel))), EnableNonSecurity: &r.EnableNonSecurity,
		}
		if r.ApproveAfterDays != nil {
			w.ApproveAfterDays = new(int64(*r.ApproveAfterDays))
		}
		if r.ApproveUntilDate != "" {
			w.ApproveUntilDate = &r.ApproveUntilDate
		}
		out.ApprovalRules.PatchRules = append(out.ApprovalRules.PatchRules, w)
	}
	for _, s := range b.Sources {
		out.Sources = append(out.Sources, ssm.PatchSource{Name: &s.Name, Products: s.Products, Configuration: &s.Configuration})
	}
	return out
}

func orUnspecified(l baseline.Level) baseline.Level {
	if l == "" {
		return baseline.Unspecified
	}
	return l
}

func toUpdateWire(g *ssm.GetPatchBaselineOutput, row store.PatchBaseline) *ssm.UpdatePatchBaselineOutput {
	return &ssm.UpdatePatchBaselineOutput{
		BaselineId: &row.ID, Name: g.Name, OperatingSystem: g.OperatingSystem, GlobalFilters: g.GlobalFilters, ApprovalRules: g.ApprovalRules,
		ApprovedPatches: g.ApprovedPatches, ApprovedPatchesComplianceLevel: g.ApprovedPatchesComplianceLevel,
		ApprovedPatchesEnableNonSecurity: g.ApprovedPatchesEnableNonSecurity, RejectedPatches: g.RejectedPatches,
		RejectedPatchesAction: g.RejectedPatchesAction, CreatedDate: codec.NewTime(row.CreatedAt), ModifiedDate: codec.NewTime(row.ModifiedAt),
		Description: g.Description, Sources: g.Sources, AvailableSecurityUpdatesComplianceStatus: g.AvailableSecurityUpdatesComplianceStatus,
	}
}
