package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/document"
	"oakum.dev/internal/agent"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// adHoc is what the documents for Windows updates choose by, in place of a patch baseline.
type adHoc struct {
	on                                             bool
	includeKBs, excludeKBs, categories, severities string
	publishedDays, publishedAfter, publishedBefore string
	allowReboot                                    string
}

func (a *adHoc) flags(f *pflag.FlagSet) {
	f.BoolVar(&a.on, "ad-hoc", false, "")
	for name, v := range map[string]*string{
		"include-kbs": &a.includeKBs, "exclude-kbs": &a.excludeKBs, "categories": &a.categories, "severity-levels": &a.severities,
		"published-days-old": &a.publishedDays, "published-after": &a.publishedAfter, "published-before": &a.publishedBefore, "allow-reboot": &a.allowReboot,
	} {
		f.StringVar(v, name, "", "")
	}
}

// listOf splits a list that is separated by commas.
func listOf(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func kbs(text string) []string {
	list := listOf(text)
	for i, kb := range list {
		if !strings.HasPrefix(kb, "KB") {
			list[i] = "KB" + kb
		}
	}
	return list
}

// baseline is the choice as a patch baseline: KB numbers alone are all that is taken; otherwise what has the categories,
// severities and age asked for, with the KB numbers beside it.
func (a *adHoc) baseline(now time.Time) (*baseline.Baseline, error) {
	if a.publishedAfter != "" {
		return nil, coded("PARAM_CONFLICT", 1, "PublishedDateAfter is not supported: use PublishedDateBefore or PublishedDaysOld")
	}
	b := &baseline.Baseline{
		OperatingSystem: baseline.Windows, Name: "chosen by the command", ApprovedPatches: kbs(a.includeKBs), ApprovedPatchesEnableNonSecurity: true,
		RejectedPatches: kbs(a.excludeKBs), RejectedPatchesAction: baseline.Block,
	}
	if a.includeKBs != "" && a.categories == "" && a.severities == "" && a.publishedDays == "" && a.publishedBefore == "" {
		return b, nil
	}
	days := 0
	if a.publishedDays != "" {
		n, err := strconv.Atoi(a.publishedDays)
		if err != nil || n < 0 {
			return nil, coded("PARAM_CONFLICT", 1, "PublishedDaysOld is a number of days, not %q", a.publishedDays)
		}
		days = n
	}
	until := a.publishedBefore
	if until != "" {
		if _, err := time.Parse(time.DateOnly, until); err != nil {
			return nil, coded("PARAM_CONFLICT", 1, "PublishedDateBefore is a day as YYYY-MM-DD, not %q", until)
		}
		if old := now.UTC().AddDate(0, 0, -days).Format(time.DateOnly); old < until { // both hold
			until = old
		}
	}
	for _, set := range []string{"OS", "APPLICATION"} {
		filters := []baseline.Filter{{Key: "PATCH_SET", Values: []string{set}}, {Key: "PRODUCT", Values: []string{"*"}}}
		if list := listOf(a.categories); len(list) > 0 {
			filters = append(filters, baseline.Filter{Key: "CLASSIFICATION", Values: list})
		}
		if list := listOf(a.severities); len(list) > 0 {
			filters = append(filters, baseline.Filter{Key: "MSRC_SEVERITY", Values: list})
		}
		rule := baseline.Rule{PatchFilterGroup: baseline.FilterGroup{PatchFilters: filters}, EnableNonSecurity: true}
		if until != "" {
			rule.ApproveUntilDate = until
		} else {
			rule.ApproveAfterDays = &days
		}
		b.ApprovalRules.PatchRules = append(b.ApprovalRules.PatchRules, rule)
	}
	return b, nil
}

// snapshot stands in for that of a patch baseline.
func (a *adHoc) snapshot(now time.Time) (*baseline.Snapshot, error) {
	b, err := a.baseline(now)
	if err != nil {
		return nil, err
	}
	return &baseline.Snapshot{Baseline: *b, EvaluatedAt: now}, nil
}

// reportAssociation tells whether an association is met on this node: one item, which leaves those of other associations
// and the patches of the node as they are. Source: AWS Systems Manager User Guide, "AWS-RunPatchBaselineAssociation".
func (o *nodePatch) reportAssociation(ctx context.Context, node *agent.Node, res *compliance.Result) error {
	id := node.InstanceID()
	details := map[string]string{"DocumentName": document.RunPatchAssociation, "DocumentVersion": "1", "PatchBaselineId": res.Header.BaselineID}
	severity := string(res.Header.Severity)
	if severity == "" {
		severity = string(baseline.Unspecified)
	}
	in := &ssm.PutComplianceItemsInput{
		ResourceId: &id, ResourceType: new("ManagedInstance"), ComplianceType: new("Association"), UploadType: new("PARTIAL"),
		ExecutionSummary: &ssm.ComplianceExecutionSummary{ExecutionTime: codec.NewTime(res.Header.EndedAt), ExecutionId: new(os.Getenv("SSM_COMMAND_ID")), ExecutionType: new("Command")},
		Items:            []ssm.ComplianceItemEntry{{Id: &o.associationID, Title: new(""), Severity: &severity, Status: new(res.Header.Status), Details: details}},
	}
	if err := node.Client().Call(ctx, "ssm", "PutComplianceItems", in, nil); err != nil {
		return coded("REPORT", 149, "report the compliance of the association: %v", err)
	}
	return nil
}

// writeChosen lists what an ad-hoc scan found, or an ad-hoc installation left.
func writeChosen(s *Streams, res *compliance.Result) {
	n := 0
	for i := range res.Items {
		if it := &res.Items[i]; it.State == compliance.Missing || it.State == compliance.Failed || it.State == compliance.InstalledPendingReboot {
			if n++; n == 1 {
				fmt.Fprintln(s.Out, "\nUpdates (the stored compliance is unchanged):")
			}
			fmt.Fprintf(s.Out, "%-24s %s\n", it.State, it.Title)
		}
	}
	if n == 0 {
		fmt.Fprintln(s.Out, "\nno updates are missing")
	}
}
