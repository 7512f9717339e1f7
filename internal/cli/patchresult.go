package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"golang.org/x/sync/errgroup"

	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// nodeResult is how a command ended on one node. The counts are of a scan by this command, or absent; the last members
// are of an install.
type nodeResult struct {
	InstanceId, Name, Status, StatusDetails                                         *string
	ResponseCode                                                                    *int32
	ComplianceStatus                                                                *string
	MissingCount, FailedCount, CriticalNonCompliantCount, SecurityNonCompliantCount *int64
	RebootRequired                                                                  *bool
	LastScanTime                                                                    *codec.Time
	Reason                                                                          *string
	Outcome, Run                                                                    *string
	ChangedPatchCount, ChangedDependencyCount, PendingRebootCount                   *int64
}

// resultDocument is the JSON answer of a command that was waited for.
type resultDocument struct {
	Command     *types.Command
	Invocations []nodeResult
}

// readers is how many nodes' results are read at the same time.
const readers = 8

func (w *watch) installs() bool {
	return slices.Equal(w.command.Parameters["Operation"], []string{patch.OperationInstall})
}

// finish gathers the result of every node and writes it.
func (w *watch) finish(ctx context.Context) error {
	nodes, err := w.c.nodesByID(ctx, w.ids())
	if err != nil {
		return err
	}
	doc := resultDocument{Command: w.command, Invocations: make([]nodeResult, len(w.invocations))}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range w.invocations {
		g.Go(func() error {
			v := &w.invocations[i]
			n, known := nodes[aws.ToString(v.InstanceId)]
			if !known {
				doc.Invocations[i] = w.result(gctx, v, nil)
				return nil
			}
			doc.Invocations[i] = w.result(gctx, v, &n)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	bad := 0
	for i := range w.invocations {
		if w.invocations[i].Status != types.CommandInvocationStatusSuccess {
			bad++
		}
	}
	if err := writeResults(w.s, w.o, &doc, w.installs()); err != nil {
		return err
	}
	if w.installs() {
		w.o.say(w.s, "%s", installSum(doc.Invocations))
	}
	if bad > 0 {
		return failed(hinted(fmt.Sprintf("%d of %s did not succeed", bad, plural(len(doc.Invocations), "node", "nodes")), fmt.Sprintf(`"oakum runs %s NODE" shows the output of one`, w.id)))
	}
	if w.command.Status != types.CommandStatusSuccess {
		return failed(fmt.Errorf("the command ended as %s", aws.ToString(w.command.StatusDetails)))
	}
	return nil
}

// overridden reports whether the command's nodes are judged by other baselines than their own, in which case they do not
// replace what is known of them.
func (w *watch) overridden() bool {
	set := func(name string) bool {
		v := w.command.Parameters[name]
		return len(v) > 0 && v[0] != ""
	}
	return set("BaselineOverride") && !set("AssociationId")
}

// result is how the command ended on one node; n is nil when the node is not known any more.
func (w *watch) result(ctx context.Context, v *types.CommandInvocation, n *oakum.Node) nodeResult {
	r := nodeResult{InstanceId: v.InstanceId, Status: aws.String(string(v.Status)), StatusDetails: v.StatusDetails}
	ok := v.Status == types.CommandInvocationStatusSuccess
	if n != nil {
		r.Name = aws.String(nodeLabel(n))
	}
	if !ok {
		r.ResponseCode, r.Reason = w.reason(ctx, v)
	}
	if n == nil || !ok && !w.installs() {
		return r
	}
	fresh, h := w.scanned(ctx, n) // the counts of an older scan would be a lie here
	if !fresh {
		switch {
		case ok && w.overridden():
			r.Reason = aws.String("with a baseline override no result is kept; the output has it")
		case ok:
			r.Reason = aws.String("the node has not delivered its result yet")
		}
		return r
	}
	r.ComplianceStatus, r.MissingCount, r.FailedCount = n.ComplianceStatus, n.MissingCount, n.FailedCount
	r.CriticalNonCompliantCount, r.SecurityNonCompliantCount = n.CriticalNonCompliantCount, n.SecurityNonCompliantCount
	r.RebootRequired, r.LastScanTime = n.RebootRequired, n.LastScanTime
	if h == nil {
		return r
	}
	if h.Install == nil {
		if ok && w.installs() { // with hooks: the scan at the beginning found nothing to install
			r.ChangedPatchCount, r.ChangedDependencyCount, r.PendingRebootCount = new(int64), new(int64), n.PendingRebootCount
		}
		return r
	}
	var wanted, along int64
	for _, c := range h.Install.Changes {
		if c.Dependency {
			along++
		} else {
			wanted++
		}
	}
	r.Outcome, r.Run, r.ChangedPatchCount, r.ChangedDependencyCount = &h.Install.Outcome, &h.Install.Run, &wanted, &along
	r.PendingRebootCount = n.PendingRebootCount
	return r
}

// scanned reports whether what is known of a node's patches comes from this command. The node's clock stands in its
// result; when that does not settle it, or the result of an install is wanted, the result itself says what made it.
func (w *watch) scanned(ctx context.Context, n *oakum.Node) (bool, *compliance.Header) {
	at, asked := codec.TimeOf(n.LastScanTime), aws.ToTime(w.command.RequestedDateTime)
	if !w.installs() && at.After(asked) {
		return true, nil
	}
	if at.Before(asked.Add(-skewLimit)) {
		return false, nil
	}
	_, h, err := w.c.patchResult(ctx, codec.Value(n.InstanceId), "-") // no patch has this id: the header is enough
	return err == nil && h != nil && h.ExecutionID == w.id, h
}

// failedStep is the first step of a node that did not succeed: with hooks it may be another than the one that patches.
func (w *watch) failedStep(ctx context.Context, v *types.CommandInvocation) string {
	out, err := w.c.SSM.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{CommandId: &w.id, InstanceId: v.InstanceId, Details: true})
	if err == nil && len(out.CommandInvocations) == 1 {
		for _, p := range out.CommandInvocations[0].CommandPlugins {
			if p.Status == types.CommandPluginStatusFailed || p.Status == types.CommandPluginStatusTimedOut {
				return aws.ToString(p.Name)
			}
		}
	}
	return patchStep
}

// reason is why a node did not succeed: the first line of the step's standard error, or what the state means.
func (w *watch) reason(ctx context.Context, v *types.CommandInvocation) (code *int32, text *string) {
	out, err := w.c.SSM.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: &w.id, InstanceId: v.InstanceId, PluginName: aws.String(w.failedStep(ctx, v))})
	if err == nil {
		for line := range strings.Lines(aws.ToString(out.StandardErrorContent)) {
			if line = strings.TrimPrefix(strings.TrimSpace(line), "OAKUM "); line != "" {
				return &out.ResponseCode, &line
			}
		}
		if out.ResponseCode > 0 {
			return &out.ResponseCode, aws.String(fmt.Sprintf("exit code %d", out.ResponseCode))
		}
	}
	if m, ok := detailMeanings[aws.ToString(v.StatusDetails)]; ok {
		return nil, &m
	}
	return nil, v.StatusDetails
}

// detailMeanings are the ends of an invocation that say nothing by themselves.
var detailMeanings = map[string]string{
	"DeliveryTimedOut": "the node was not reached, or did not answer, in time", "ExecutionTimedOut": "the step ran over its time",
	"Undeliverable": "the node is not known or does not answer", "Terminated": "not started: too many nodes failed",
	"InvalidPlatform": "the document is not for the node's platform", "AccessDenied": "not allowed on this node", "Cancelled": "cancelled",
}

// installSum is an install in one sentence. It counts what nodes said of this command alone.
func installSum(list []nodeResult) string {
	var changed, failed, waiting, told int64
	on := 0
	for _, r := range list {
		if r.ChangedPatchCount == nil {
			continue
		}
		told++
		changed, failed, waiting = changed+*r.ChangedPatchCount, failed+codec.Value(r.FailedCount), waiting+codec.Value(r.PendingRebootCount)
		if *r.ChangedPatchCount+codec.Value(r.ChangedDependencyCount) > 0 {
			on++
		}
	}
	text := fmt.Sprintf("%s installed on %s, %d failed, %d pending a reboot", plural(changed, "patch", "patches"), plural(on, "node", "nodes"), failed, waiting)
	if n := int64(len(list)) - told; n > 0 {
		text += fmt.Sprintf("; %s no result of it", plural(n, "node has", "nodes have"))
	}
	return text
}

func writeResults(s *Streams, o *clientOptions, doc *resultDocument, install bool) error {
	switch o.output {
	case "json":
		return writeJSON(s.Out, doc)
	case "csv":
		return writeCSV(s.Out, resultRecords(doc.Invocations, install))
	}
	t := codec.Value[string]
	var rows [][]string
	if install {
		rows = append(rows, []string{"NODE", "NAME", "RESULT", "INSTALLED", "FAILED", "PENDING", "MISSING", "COMPLIANCE", "REBOOT", "REASON"})
	} else {
		rows = append(rows, []string{"NODE", "NAME", "RESULT", "COMPLIANCE", "MISSING", "SECURITY", "CRITICAL", "REBOOT", "REASON"})
	}
	for _, r := range doc.Invocations {
		end, status := orDefault(t(r.StatusDetails), t(r.Status)), orDefault(t(r.ComplianceStatus), "-")
		if install {
			rows = append(rows, []string{
				t(r.InstanceId), t(r.Name), end, installedText(&r), number(r.FailedCount), number(r.PendingRebootCount), number(r.MissingCount), status, yesNo(r.RebootRequired), t(r.Reason),
			})
			continue
		}
		rows = append(rows, []string{
			t(r.InstanceId), t(r.Name), end, status, number(r.MissingCount), number(r.SecurityNonCompliantCount), number(r.CriticalNonCompliantCount), yesNo(r.RebootRequired), t(r.Reason),
		})
	}
	o.table(s, rows, "CRITICAL", "REBOOT", "NAME", "COMPLIANCE")
	return nil
}

// installedText is how many patches went in, and how many packages came along for them.
func installedText(r *nodeResult) string {
	text := number(r.ChangedPatchCount)
	if n := codec.Value(r.ChangedDependencyCount); n > 0 {
		text += fmt.Sprintf(" (+%d)", n)
	}
	return text
}

func resultRecords(list []nodeResult, install bool) [][]string {
	t := codec.Value[string]
	num := func(p *int64) string { return strings.TrimPrefix(number(p), "-") }
	rows := [][]string{{
		"InstanceId", "Name", "Status", "StatusDetails", "ResponseCode", "ComplianceStatus", "MissingCount", "FailedCount",
		"CriticalNonCompliantCount", "SecurityNonCompliantCount", "RebootRequired", "LastScanTime", "Reason",
	}}
	if install {
		rows[0] = append(rows[0], "Outcome", "Run", "ChangedPatchCount", "ChangedDependencyCount", "PendingRebootCount")
	}
	for _, r := range list {
		code, reboot := "", ""
		if r.ResponseCode != nil {
			code = fmt.Sprint(*r.ResponseCode)
		}
		if r.RebootRequired != nil {
			reboot = fmt.Sprint(*r.RebootRequired)
		}
		row := []string{
			t(r.InstanceId), t(r.Name), t(r.Status), t(r.StatusDetails), code, t(r.ComplianceStatus), num(r.MissingCount), num(r.FailedCount),
			num(r.CriticalNonCompliantCount), num(r.SecurityNonCompliantCount), reboot, when(codec.TimeOf(r.LastScanTime)), t(r.Reason),
		}
		if install {
			row = append(row, t(r.Outcome), t(r.Run), num(r.ChangedPatchCount), num(r.ChangedDependencyCount), num(r.PendingRebootCount))
		}
		rows = append(rows, row)
	}
	return rows
}
