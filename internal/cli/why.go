package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// whyDocument is the JSON answer of oakum why.
type whyDocument struct {
	InstanceId  *string
	CaptureTime *codec.Time
	BaselineId  string
	Items       []whyItem
}

type whyItem struct {
	oakum.PatchItem
	Explanation []string
}

func newWhyCommand(s *Streams) *cobra.Command {
	cmd, o := clientCommand(&cobra.Command{
		Use:   "why NODE PATCH",
		Short: "Explain why a patch is or is not on a node",
		Long: `Explain in plain sentences what the last scan found of a patch on a node: its state, the versions, why a newer one is not
installed, which rule of the baseline speaks about it, and what the answer rests on.

PATCH is a package name, a package with its architecture (openssl.amd64), or a pattern with * and ?.`,
		Example: "  oakum why web1 openssl\n  oakum why mi-0123456789abcdef0 'linux-image-*' --output json",
		Args:    argRange(2, 2, "NODE PATCH"),
	})
	cmd.ValidArgsFunction = completeNodes(o, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect(cmd.Context(), "why NODE PATCH")
		if err != nil {
			return err
		}
		return c.explain(why(cmd.Context(), s, o, c, args[0], args[1]))
	}
	return cmd
}

func why(ctx context.Context, s *Streams, o *clientOptions, c *Client, ref, patchID string) error {
	n, err := c.findNode(ctx, ref)
	if err != nil {
		return err
	}
	id := codec.Value(n.InstanceId)
	res, h, err := c.patchResult(ctx, id, patchID)
	if err != nil {
		return err
	}
	if h == nil {
		return failed(hinted(fmt.Sprintf("node %s has never been scanned, so nothing is known of its patches", id), "oakum patch-now --operation Scan --node "+id))
	}
	if len(res.Items) == 0 {
		return failed(hinted(fmt.Sprintf("the last scan of %s found no package %s", id, patchID),
			"a patch speaks of a package that is installed; is it spelled as the package manager does? Patterns with * are allowed"))
	}
	b := c.judgingBaseline(ctx, o, s, h)
	now := time.Now()
	doc := whyDocument{n.InstanceId, res.CaptureTime, h.BaselineID, nil}
	for i := range res.Items {
		doc.Items = append(doc.Items, whyItem{res.Items[i], explainItem(&res.Items[i], h, b, now)})
	}
	switch o.output {
	case "json":
		return writeWhyJSON(s, &doc)
	case "csv":
		rows := itemRecords(res.Items)
		rows[0] = append(rows[0], "Explanation")
		for i := range doc.Items {
			rows[i+1] = append(rows[i+1], strings.Join(doc.Items[i].Explanation, " "))
		}
		return writeCSV(s.Out, rows)
	}
	var out bytes.Buffer
	for i := range doc.Items {
		if i > 0 {
			fmt.Fprintln(&out)
		}
		fmt.Fprintln(&out, printable(codec.Value(doc.Items[i].Id)+" on "+nodeTitle(n)))
		for _, line := range doc.Items[i].Explanation {
			for k, l := range wrap(printable(line), min(terminalWidth(s.Out), 100)-4) {
				mark := "  "
				if k == 0 {
					mark = "- "
				}
				fmt.Fprintf(&out, "%s%s\n", mark, l)
			}
		}
	}
	_, err = s.Out.Write(out.Bytes())
	return err
}

func nodeTitle(n *oakum.Node) string {
	id, name, computer := codec.Value(n.InstanceId), codec.Value(n.Name), codec.Value(n.ComputerName)
	names := slices.DeleteFunc(slices.Compact([]string{name, computer}), func(s string) bool { return s == "" })
	if len(names) == 0 {
		return id
	}
	return id + " (" + strings.Join(names, ", ") + ")"
}

func writeWhyJSON(s *Streams, doc *whyDocument) error {
	b, err := apiJSON(struct {
		InstanceId  *string
		CaptureTime *codec.Time
		BaselineId  string
	}{doc.InstanceId, doc.CaptureTime, doc.BaselineId})
	if err != nil {
		return err
	}
	items := make([]json.RawMessage, len(doc.Items))
	for i := range doc.Items {
		one, err := apiJSON(doc.Items[i].PatchItem)
		if err != nil {
			return err
		}
		told, err := apiJSON(doc.Items[i].Explanation)
		if err != nil {
			return err
		}
		items[i] = joinObjects(one, []byte(`{"Explanation":`+string(told)+`}`))
	}
	list, err := apiJSON(items)
	if err != nil {
		return err
	}
	return writeJSON(s.Out, json.RawMessage(joinObjects(b, []byte(`{"Items":`+string(list)+`}`))))
}

// joinObjects appends the members of b to those of a; neither is empty.
func joinObjects(a, b []byte) []byte {
	return append(append(a[:len(a)-1:len(a)-1], ','), b[1:]...)
}

// wrap breaks a sentence into lines of at most width characters, where it can.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// judgingBaseline gets the baseline that a result names, as it is now. Without it the explanation is shorter.
func (c *Client) judgingBaseline(ctx context.Context, o *clientOptions, s *Streams, h *compliance.Header) *baseline.Baseline {
	if p, ok := baseline.FindPredefined(bareID(h.BaselineID)); ok {
		return &p.Baseline
	}
	out, err := c.SSM.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: &h.BaselineID})
	if err != nil {
		if !isCode(err, "DoesNotExistException") {
			o.say(s, "oakum: warning: the baseline cannot be read, so its rules are not explained: %v", c.explain(err))
		}
		return nil
	}
	b, err := apiJSON(out)
	if err != nil {
		return nil
	}
	parsed, err := baseline.Parse(aws.ToString(out.Name), b)
	if err != nil {
		o.say(s, "oakum: warning: the baseline cannot be read, so its rules are not explained: %v", err)
		return nil
	}
	if parsed.ModifiedDate != nil && out.ModifiedDate != nil && out.ModifiedDate.After(h.StartedAt) {
		o.say(s, "oakum: warning: the baseline was changed after the scan (%s); its rules are explained as they are now", stamp(*out.ModifiedDate))
	}
	return parsed
}

// explainItem says in sentences what is known of a patch. b may be nil.
func explainItem(i *oakum.PatchItem, h *compliance.Header, b *baseline.Baseline, now time.Time) []string {
	t := codec.Value[string]
	name, installed, available := t(i.Name), t(i.InstalledVersion), t(i.AvailableVersion)
	newer := available != "" && available != installed
	state := compliance.State(t(i.State))
	var out []string
	out = append(out, stateSentence(state, t(i.Level), name, installed, available, newer))
	if newer && state != compliance.Missing && state != compliance.Failed {
		out = append(out, fmt.Sprintf("Version %s is available%s.", available, from(t(i.Repository))))
	} else if repo := t(i.Repository); repo != "" && newer {
		out = append(out, fmt.Sprintf("%s offers it.", repo))
	}
	if at := codec.TimeOf(i.ReleasedTime); !at.IsZero() {
		out = append(out, fmt.Sprintf("It was released on %s (%s).", at.Format("2006-01-02"), ago(at, now)))
	}
	if reason := t(i.Reason); reason != "" {
		meaning := patch.Reasons()[reason]
		line := fmt.Sprintf("It is not installed because: %s", meaning)
		if meaning == "" {
			line = "It is not installed for the reason"
		}
		line += " [" + reason + "]"
		if d := t(i.Detail); d != "" && d != meaning {
			line += ": " + d
		}
		out = append(out, strings.TrimRight(line, ".")+".")
	} else if d := t(i.Detail); d != "" {
		out = append(out, strings.TrimRight(d, ".")+".")
	}
	out = append(out, baselineSentences(i, h, b, newer, now)...)
	if len(i.CVEIds) > 0 {
		out = append(out, "It fixes "+strings.Join(i.CVEIds, ", ")+".")
	}
	if at := codec.TimeOf(i.InstalledTime); !at.IsZero() && at.Year() > 1970 {
		out = append(out, fmt.Sprintf("The installed version has been there since %s.", at.Format("2006-01-02 15:04 MST")))
	}
	return append(out, evidenceSentences(t(i.Repository), h, now)...)
}

func from(repo string) string {
	if repo == "" {
		return ""
	}
	return " from " + repo
}

func stateSentence(state compliance.State, level, name, installed, available string, newer bool) string {
	target := available
	if target == "" {
		target = "a newer version"
	}
	switch state {
	case compliance.Missing:
		return fmt.Sprintf("Missing (level %s): the baseline approves %s %s, and %s is installed.", level, name, target, installed)
	case compliance.Failed:
		return fmt.Sprintf("Failed (level %s): %s %s was approved and its installation did not succeed; %s is installed.", level, name, target, installed)
	case compliance.Installed:
		return fmt.Sprintf("Installed: %s %s is installed and the baseline approves it.", name, installed)
	case compliance.InstalledOther:
		if newer {
			return fmt.Sprintf("InstalledOther: %s %s is installed, and the baseline asks for no other version. That is compliant.", name, installed)
		}
		return fmt.Sprintf("InstalledOther: %s %s is installed without the baseline asking for it. That is compliant.", name, installed)
	case compliance.InstalledRejected:
		return fmt.Sprintf("InstalledRejected (level %s): %s %s is installed although the baseline rejects it. Oakum never removes packages: remove it, or take it off the rejected list.", level, name, installed)
	case compliance.InstalledPendingReboot:
		return fmt.Sprintf("InstalledPendingReboot (level %s): %s %s is installed and takes effect at the next reboot.", level, name, installed)
	case compliance.NotApplicable:
		return fmt.Sprintf("NotApplicable: %s does not apply to this node.", name)
	case compliance.AvailableSecurityUpdate:
		return fmt.Sprintf("AvailableSecurityUpdate: security update %s of %s is available and the baseline does not approve it (yet).", target, name)
	}
	return fmt.Sprintf("%s: %s %s.", state, name, installed)
}

// baselineSentences say which part of the baseline speaks about the patch.
func baselineSentences(i *oakum.PatchItem, h *compliance.Header, b *baseline.Baseline, newer bool, now time.Time) []string {
	where := fmt.Sprintf("baseline %s (%s)", h.BaselineName, bareID(h.BaselineID))
	if h.PatchGroup != "" {
		where += ", for a node of patch group " + h.PatchGroup
	}
	approval := codec.TimeOf(i.ApprovalDate)
	wait := ""
	if !approval.IsZero() {
		if wait = " since " + approval.Format("2006-01-02"); approval.After(now) {
			wait = " from " + approval.Format("2006-01-02") + " on"
		}
	}
	if b == nil {
		if wait != "" {
			return []string{fmt.Sprintf("Judged by %s, which approves it%s.", where, wait)}
		}
		return []string{fmt.Sprintf("Judged by %s.", where)}
	}
	p, node := judgedPatch(i, newer), baseline.Node{OS: h.OperatingSystem, Product: h.Product}
	d, rule := b.Evaluate(node, p, h.StartedAt), ruleOf(b, node, *p)
	switch {
	case b.Rejects(node, p):
		return []string{fmt.Sprintf("Judged by %s: the rejected list names it (action %s).", where, orDefault(string(b.RejectedPatchesAction), string(baseline.AllowAsDependency)))}
	case d.Explicit && d.Approved:
		return []string{fmt.Sprintf("Judged by %s: the approved list names it.", where)}
	case p.Classification == "" && p.Severity == "":
		return []string{fmt.Sprintf("Judged by %s.", where)} // too little is known of it to say by which part
	case rule > 0:
		r := b.ApprovalRules.PatchRules[rule-1]
		line := fmt.Sprintf("Judged by %s: rule %d takes it (%s) ", where, rule, groupText(r.PatchFilterGroup))
		if d.Reason == baseline.ReasonNotSecurity {
			return []string{line + "but approves security patches only, and this is none."}
		}
		line += "and approves " + ruleDelay(r)
		if wait != "" {
			line += ", that is" + wait
		}
		return []string{line + "."}
	}
	return []string{fmt.Sprintf("Judged by %s: no rule and no list takes it.", where)}
}

func ruleDelay(r baseline.Rule) string {
	switch {
	case r.ApproveUntilDate != "":
		return "what was released until " + r.ApproveUntilDate
	case r.ApproveAfterDays != nil && *r.ApproveAfterDays > 0:
		return plural(*r.ApproveAfterDays, "day", "days") + " after release"
	}
	return "at once"
}

// judgedPatch is what the item tells of the version in question.
func judgedPatch(i *oakum.PatchItem, newer bool) *baseline.Patch {
	t := codec.Value[string]
	p := &baseline.Patch{
		Name: t(i.Name), Arch: t(i.Arch), Version: t(i.InstalledVersion), Classification: t(i.Classification), Severity: t(i.Severity), Priority: t(i.Severity),
		Section: t(i.Classification), CVEs: i.CVEIds, Released: codec.TimeOf(i.ReleasedTime), HasNotice: true, Security: t(i.Classification) == "Security",
	}
	if newer {
		p.Version = t(i.AvailableVersion)
	}
	return p
}

// ruleOf is the number of the first rule whose filters take the patch, whatever its delay and whether it is a security patch;
// 0 is none.
func ruleOf(b *baseline.Baseline, n baseline.Node, p baseline.Patch) int {
	p.Security = true
	for k, r := range b.ApprovalRules.PatchRules {
		days := 0
		r.ApproveAfterDays, r.ApproveUntilDate = &days, ""
		only := baseline.Baseline{OperatingSystem: b.OperatingSystem, GlobalFilters: b.GlobalFilters, ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{r}}}
		if only.Evaluate(n, &p, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)).Approved {
			return k + 1
		}
	}
	return 0
}

func groupText(g baseline.FilterGroup) string {
	if len(g.PatchFilters) == 0 {
		return "every patch"
	}
	parts := make([]string, len(g.PatchFilters))
	for i, f := range g.PatchFilters {
		parts[i] = f.Key + "=" + strings.Join(f.Values, ",")
	}
	return strings.Join(parts, " and ")
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// evidenceSentences say what the answer rests on.
func evidenceSentences(repo string, h *compliance.Header, now time.Time) []string {
	out := []string{fmt.Sprintf("Found by the %s of %s (%s).", strings.ToLower(orDefault(h.Operation, "Scan")), h.EndedAt.UTC().Format("2006-01-02 15:04 MST"), ago(h.EndedAt, now))}
	stale := 0
	for _, r := range h.Repositories {
		if r.Stale {
			stale++
		}
	}
	if stale > 0 {
		out = append(out, fmt.Sprintf("Caution: %s of %d could not be refreshed for that scan, so newer versions may exist.", plural(stale, "repository", "repositories"), len(h.Repositories)))
	}
	return out
}
