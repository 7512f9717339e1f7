package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// What becomes of one thing of the source.
const (
	importCreate = "create"
	importUpdate = "update"
	importSame   = "unchanged"
	importSkip   = "skip"
)

// importStep is one line of the plan.
type importStep struct {
	Action string
	Kind   string // document, patch baseline, ...
	Name   string
	Source string `json:",omitempty"` // its id there
	Target string `json:",omitempty"` // its id here, once it is made
	Detail string `json:",omitempty"`

	do func(context.Context) error // nil where nothing is to be done
}

// importPlan compares a source with a target. Ids of the source that are mentioned by other things are translated when a
// step is done: then the thing they name has been made.
type importPlan struct {
	from, to *holdings
	disabled bool              // windows are made disabled, and associations left out
	ids      map[string]string // of baselines, windows and window targets: the source's to the target's
	known    map[string]bool   // documents that exist at the target, or will
	steps    []*importStep
}

func planImport(from, to *holdings, kinds map[string]bool, disabled bool) *importPlan {
	p := &importPlan{from: from, to: to, disabled: disabled, ids: map[string]string{}, known: map[string]bool{}}
	for _, d := range to.documents {
		p.known[aws.ToString(d.Name)] = true
	}
	if kinds["documents"] {
		p.planDocuments()
	}
	if kinds["baselines"] {
		p.planBaselines()
	}
	if kinds["windows"] {
		p.planWindows()
	}
	if kinds["associations"] {
		p.planAssociations()
	}
	return p
}

func (p *importPlan) add(s importStep) *importStep {
	p.steps = append(p.steps, &s)
	return &s
}

func (p *importPlan) planDocuments() {
	there := map[string]heldDocument{}
	for _, d := range p.to.documents {
		there[aws.ToString(d.Name)] = d
	}
	for _, d := range p.from.documents {
		step := p.add(importStep{Action: importCreate, Kind: "document", Name: aws.ToString(d.Name)})
		p.known[step.Name] = true
		old, exists := there[step.Name]
		switch {
		case exists && old.text == d.text && old.DocumentType == d.DocumentType:
			step.Action = importSame
		case exists && old.DocumentType != d.DocumentType:
			step.Action, step.Detail = importSkip, fmt.Sprintf("there is a document of that name here, of the type %s", old.DocumentType)
		case exists:
			step.Action, step.Detail = importUpdate, "a new default version"
			step.do = func(ctx context.Context) error {
				out, err := p.to.client.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: d.Name, Content: &d.text, DocumentFormat: d.DocumentFormat, DocumentVersion: aws.String("$LATEST")})
				if isCode(err, "DuplicateDocumentContent") { // an earlier version has this text: it becomes the default again
					return p.defaultWithText(ctx, d)
				}
				if err != nil {
					return err
				}
				return p.makeDefault(ctx, d.Name, out.DocumentDescription.DocumentVersion)
			}
		default:
			step.do = func(ctx context.Context) error {
				_, err := p.to.client.CreateDocument(ctx, &ssm.CreateDocumentInput{
					Name: d.Name, Content: &d.text, DocumentFormat: d.DocumentFormat, DocumentType: d.DocumentType, TargetType: d.TargetType, Tags: carried(d.Tags, d.Name),
				})
				return err
			}
		}
	}
}

func (p *importPlan) makeDefault(ctx context.Context, name, version *string) error {
	_, err := p.to.client.UpdateDocumentDefaultVersion(ctx, &ssm.UpdateDocumentDefaultVersionInput{Name: name, DocumentVersion: version})
	return err
}

func (p *importPlan) defaultWithText(ctx context.Context, d heldDocument) error {
	pages := ssm.NewListDocumentVersionsPaginator(p.to.client, &ssm.ListDocumentVersionsInput{Name: d.Name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, v := range page.DocumentVersions {
			out, err := p.to.client.GetDocument(ctx, &ssm.GetDocumentInput{Name: d.Name, DocumentVersion: v.DocumentVersion, DocumentFormat: d.DocumentFormat})
			if err != nil {
				return err
			}
			if aws.ToString(out.Content) == d.text {
				return p.makeDefault(ctx, d.Name, v.DocumentVersion)
			}
		}
	}
	return fmt.Errorf("the text of %s is a duplicate of no version", aws.ToString(d.Name))
}

func baselineInput(b heldBaseline) *ssm.CreatePatchBaselineInput {
	return &ssm.CreatePatchBaselineInput{
		Name: b.Name, Description: b.Description, OperatingSystem: b.OperatingSystem, GlobalFilters: b.GlobalFilters, ApprovalRules: b.ApprovalRules,
		ApprovedPatches: b.ApprovedPatches, ApprovedPatchesComplianceLevel: b.ApprovedPatchesComplianceLevel,
		ApprovedPatchesEnableNonSecurity: b.ApprovedPatchesEnableNonSecurity, RejectedPatches: b.RejectedPatches, RejectedPatchesAction: b.RejectedPatchesAction,
		Sources: b.Sources, AvailableSecurityUpdatesComplianceStatus: b.AvailableSecurityUpdatesComplianceStatus,
	}
}

func (p *importPlan) planBaselines() {
	copies := map[string]heldBaseline{}
	for _, b := range p.to.baselines {
		if from := originOf(b.tags); from != "" {
			copies[from] = b
		}
	}
	for _, b := range p.from.baselines {
		source := aws.ToString(b.BaselineId)
		step := p.add(importStep{Action: importCreate, Kind: "patch baseline", Name: aws.ToString(b.Name), Source: source, Detail: string(b.OperatingSystem)})
		in := baselineInput(b)
		if old, ok := copies[source]; ok {
			step.Target = aws.ToString(old.BaselineId)
			p.ids[source] = step.Target
			step.Action = importSame
			if !sameSettings(in, baselineInput(old)) {
				step.Action = importUpdate
				step.do = func(ctx context.Context) error {
					_, err := p.to.client.UpdatePatchBaseline(ctx, &ssm.UpdatePatchBaselineInput{
						BaselineId: &step.Target, Replace: aws.Bool(true), Name: in.Name, Description: in.Description, GlobalFilters: in.GlobalFilters, ApprovalRules: in.ApprovalRules,
						ApprovedPatches: in.ApprovedPatches, ApprovedPatchesComplianceLevel: in.ApprovedPatchesComplianceLevel,
						ApprovedPatchesEnableNonSecurity: in.ApprovedPatchesEnableNonSecurity, RejectedPatches: in.RejectedPatches,
						RejectedPatchesAction: in.RejectedPatchesAction, Sources: in.Sources, AvailableSecurityUpdatesComplianceStatus: in.AvailableSecurityUpdatesComplianceStatus,
					})
					return err
				}
			}
		} else {
			in.Tags = carried(b.tags, b.BaselineId)
			step.do = func(ctx context.Context) error {
				out, err := p.to.client.CreatePatchBaseline(ctx, in)
				if err != nil {
					return err
				}
				step.Target = aws.ToString(out.BaselineId)
				p.ids[source] = step.Target
				return nil
			}
		}
		if b.isDefault {
			p.planDefault(b, copies[source].isDefault)
		}
	}
	p.planGroups()
}

func (p *importPlan) planDefault(b heldBaseline, already bool) {
	step := p.add(importStep{Action: importSame, Kind: "default baseline", Name: string(b.OperatingSystem), Detail: aws.ToString(b.Name)})
	if already {
		return
	}
	step.Action = importUpdate
	step.do = func(ctx context.Context) error {
		id, err := p.target("patch baseline", aws.ToString(b.BaselineId))
		if err == nil {
			_, err = p.to.client.RegisterDefaultPatchBaseline(ctx, &ssm.RegisterDefaultPatchBaselineInput{BaselineId: &id})
		}
		return err
	}
}

// target is the id here of something that the source has under another.
func (p *importPlan) target(what, source string) (string, error) {
	if id := p.ids[source]; id != "" {
		return id, nil
	}
	return "", fmt.Errorf("its %s %s could not be made", what, source)
}

func (p *importPlan) planGroups() {
	for _, g := range p.from.groups {
		step := p.add(importStep{Action: importCreate, Kind: "patch group", Name: g.name, Detail: baselineName(g.baseline)})
		source := aws.ToString(g.baseline.BaselineId)
		if predefinedBaseline(g.baseline) {
			id := p.to.predefined[baselineName(g.baseline)]
			if id == "" {
				step.Action, step.Detail = importSkip, "there is no predefined baseline "+baselineName(g.baseline)+" here"
				continue
			}
			p.ids[source] = id
		}
		for _, old := range p.to.groups {
			if old.name != g.name || old.baseline.OperatingSystem != g.baseline.OperatingSystem {
				continue
			}
			step.Action = importSame
			if id := aws.ToString(old.baseline.BaselineId); id != p.ids[source] {
				step.Action, step.Detail = importSkip, "the group is registered with "+aws.ToString(old.baseline.BaselineName)+" here"
			}
		}
		if step.Action == importCreate {
			step.do = func(ctx context.Context) error {
				id, err := p.target("patch baseline", source)
				if err == nil {
					_, err = p.to.client.RegisterPatchBaselineForPatchGroup(ctx, &ssm.RegisterPatchBaselineForPatchGroupInput{BaselineId: &id, PatchGroup: &step.Name})
				}
				return err
			}
		}
	}
}

func windowInput(w heldWindow) *ssm.CreateMaintenanceWindowInput {
	return &ssm.CreateMaintenanceWindowInput{
		Name: w.Name, Description: w.Description, Schedule: w.Schedule, ScheduleTimezone: w.ScheduleTimezone, ScheduleOffset: w.ScheduleOffset, StartDate: w.StartDate,
		EndDate: w.EndDate, Duration: w.Duration, Cutoff: w.Cutoff, AllowUnassociatedTargets: w.AllowUnassociatedTargets,
	}
}

func (p *importPlan) planWindows() {
	copies := map[string]heldWindow{}
	for _, w := range p.to.windows {
		if from := originOf(w.tags); from != "" {
			copies[from] = w
		}
	}
	for _, w := range p.from.windows {
		source := aws.ToString(w.WindowId)
		step := p.add(importStep{Action: importCreate, Kind: "maintenance window", Name: aws.ToString(w.Name), Source: source, Detail: scheduleText(w.Schedule, w.ScheduleTimezone, w.ScheduleOffset)})
		enabled := w.Enabled && !p.disabled
		old, ok := copies[source]
		if ok {
			step.Target = aws.ToString(old.WindowId)
			p.ids[source] = step.Target
			step.Action = importSame
			if p.disabled { // whoever has enabled it here meant it
				enabled = old.Enabled
			}
			if !sameSettings(windowInput(w), windowInput(old)) || old.Enabled != enabled {
				step.Action = importUpdate
				step.do = func(ctx context.Context) error { return p.setWindow(ctx, step.Target, w, enabled) }
			}
		} else {
			in := windowInput(w)
			in.Tags = carried(w.tags, w.WindowId)
			if !enabled {
				step.Detail += " (disabled)"
			}
			step.do = func(ctx context.Context) error {
				out, err := p.to.client.CreateMaintenanceWindow(ctx, in)
				if err != nil {
					return err
				}
				step.Target = aws.ToString(out.WindowId)
				p.ids[source] = step.Target
				if enabled {
					return nil
				}
				_, err = p.to.client.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{WindowId: out.WindowId, Enabled: aws.Bool(false)})
				return err
			}
		}
		p.planWindowTargets(w, old)
		p.planWindowTasks(w, old)
	}
}

func (p *importPlan) setWindow(ctx context.Context, id string, w heldWindow, enabled bool) error {
	in := windowInput(w)
	_, err := p.to.client.UpdateMaintenanceWindow(ctx, &ssm.UpdateMaintenanceWindowInput{
		WindowId: &id, Replace: aws.Bool(true), Name: in.Name, Description: in.Description, Schedule: in.Schedule, ScheduleTimezone: in.ScheduleTimezone,
		ScheduleOffset: in.ScheduleOffset, StartDate: in.StartDate, EndDate: in.EndDate, Duration: in.Duration, Cutoff: aws.Int32(in.Cutoff),
		AllowUnassociatedTargets: aws.Bool(in.AllowUnassociatedTargets), Enabled: &enabled,
	})
	return err
}

func windowTargetInput(t types.MaintenanceWindowTarget) *ssm.RegisterTargetWithMaintenanceWindowInput {
	return &ssm.RegisterTargetWithMaintenanceWindowInput{ResourceType: t.ResourceType, Targets: t.Targets, OwnerInformation: t.OwnerInformation, Name: t.Name, Description: t.Description}
}

// nodesByID reports whether targets name nodes: those have other ids here.
func nodesByID(targets []types.Target) bool {
	for _, t := range targets {
		if strings.EqualFold(aws.ToString(t.Key), "InstanceIds") && !(len(t.Values) == 1 && t.Values[0] == "*") {
			return true
		}
	}
	return false
}

const skippedByID = "it names nodes by their ids, which are other ones here"

func (p *importPlan) planWindowTargets(w, old heldWindow) {
	window := aws.ToString(w.WindowId)
	for _, t := range w.targets {
		source := aws.ToString(t.WindowTargetId)
		step := p.add(importStep{Action: importCreate, Kind: "window target", Name: aws.ToString(w.Name), Source: source, Detail: targetsText(t.Targets)})
		if nodesByID(t.Targets) {
			step.Action, step.Detail = importSkip, skippedByID
			continue
		}
		in := windowTargetInput(t)
		for _, have := range old.targets {
			if sameSettings(in, windowTargetInput(have)) {
				step.Action, step.Target = importSame, aws.ToString(have.WindowTargetId)
				p.ids[source] = step.Target
			}
		}
		if step.Action == importSame {
			continue
		}
		step.do = func(ctx context.Context) error {
			id, err := p.target("maintenance window", window)
			if err != nil {
				return err
			}
			in.WindowId = &id
			out, err := p.to.client.RegisterTargetWithMaintenanceWindow(ctx, in)
			if err != nil {
				return err
			}
			step.Target = aws.ToString(out.WindowTargetId)
			p.ids[source] = step.Target
			return nil
		}
	}
}

func windowTaskInput(t *ssm.GetMaintenanceWindowTaskOutput) *ssm.RegisterTaskWithMaintenanceWindowInput {
	return &ssm.RegisterTaskWithMaintenanceWindowInput{
		TaskArn: t.TaskArn, TaskType: t.TaskType, Targets: t.Targets, ServiceRoleArn: t.ServiceRoleArn, TaskParameters: t.TaskParameters,
		TaskInvocationParameters: t.TaskInvocationParameters, Priority: aws.Int32(t.Priority), MaxConcurrency: t.MaxConcurrency, MaxErrors: t.MaxErrors, Name: t.Name,
		Description: t.Description, CutoffBehavior: t.CutoffBehavior, LoggingInfo: t.LoggingInfo,
	}
}

func (p *importPlan) planWindowTasks(w, old heldWindow) {
	window := aws.ToString(w.WindowId)
	for _, t := range w.tasks {
		step := p.add(importStep{Action: importCreate, Kind: "window task", Name: aws.ToString(w.Name), Source: aws.ToString(t.WindowTaskId), Detail: aws.ToString(t.TaskArn)})
		if nodesByID(t.Targets) {
			step.Action, step.Detail = importSkip, skippedByID
			continue
		}
		in := windowTaskInput(t)
		for _, have := range old.tasks {
			same := windowTaskInput(have)
			translated := *in
			if targets, err := p.translate(in.Targets); err == nil {
				translated.Targets = targets
				if sameSettings(&translated, same) {
					step.Action, step.Target = importSame, aws.ToString(have.WindowTaskId)
				}
			}
		}
		if step.Action == importSame {
			continue
		}
		step.do = func(ctx context.Context) error {
			id, err := p.target("maintenance window", window)
			if err != nil {
				return err
			}
			in.WindowId = &id
			if in.Targets, err = p.translate(in.Targets); err != nil {
				return err
			}
			out, err := p.to.client.RegisterTaskWithMaintenanceWindow(ctx, in)
			if err != nil {
				return err
			}
			step.Target = aws.ToString(out.WindowTaskId)
			return nil
		}
	}
}

// translate gives targets of a task the ids that their window targets have here.
func (p *importPlan) translate(targets []types.Target) ([]types.Target, error) {
	var out []types.Target
	for _, t := range targets {
		if aws.ToString(t.Key) == "WindowTargetIds" {
			values := make([]string, len(t.Values))
			for i, v := range t.Values {
				var err error
				if values[i], err = p.target("window target", v); err != nil {
					return nil, err
				}
			}
			t.Values = values
		}
		out = append(out, t)
	}
	return out, nil
}

func associationInput(a heldAssociation) *ssm.CreateAssociationInput {
	return &ssm.CreateAssociationInput{
		Name: a.Name, AssociationName: a.AssociationName, DocumentVersion: a.DocumentVersion, Targets: a.Targets, Parameters: a.Parameters,
		ScheduleExpression: a.ScheduleExpression, ScheduleOffset: a.ScheduleOffset, ApplyOnlyAtCronInterval: a.ApplyOnlyAtCronInterval, MaxConcurrency: a.MaxConcurrency,
		MaxErrors: a.MaxErrors, ComplianceSeverity: a.ComplianceSeverity, SyncCompliance: a.SyncCompliance, OutputLocation: a.OutputLocation, CalendarNames: a.CalendarNames,
		Duration: a.Duration,
	}
}

func (p *importPlan) planAssociations() {
	copies := map[string]heldAssociation{}
	for _, a := range p.to.associations {
		if from := originOf(a.tags); from != "" {
			copies[from] = a
		}
	}
	for _, a := range p.from.associations {
		source := aws.ToString(a.AssociationId)
		step := p.add(importStep{Action: importCreate, Kind: "association", Name: aws.ToString(a.AssociationName), Source: source})
		step.Detail = strings.Join([]string{aws.ToString(a.Name), scheduleText(a.ScheduleExpression, nil, a.ScheduleOffset), "on " + targetsText(a.Targets)}, " ")
		if step.Name == "" {
			step.Name = source
		}
		in := associationInput(a)
		old, ok := copies[source]
		switch {
		case strings.HasPrefix(aws.ToString(a.AssociationName), "AWS-QuickSetup"):
			step.Action, step.Detail = importSkip, "Quick Setup made it"
		case !ok && ranOnce(a, time.Now()): // it would run again, at once, on all nodes that match
			step.Action, step.Detail = importSkip, "it has no schedule, or one that is over: it ran at the source, and is not run again"
		case len(a.TargetLocations) > 0:
			step.Action, step.Detail = importSkip, "it runs in several accounts"
		case a.InstanceId != nil || nodesByID(a.Targets):
			step.Action, step.Detail = importSkip, skippedByID
		case p.disabled && !ok:
			step.Action, step.Detail = importSkip, "an association runs once it is there (--disabled)"
		case ok && sameSettings(in, associationInput(old)):
			step.Action, step.Target = importSame, aws.ToString(old.AssociationId)
		case ok:
			step.Action, step.Target = importUpdate, aws.ToString(old.AssociationId)
			step.do = func(ctx context.Context) error {
				_, err := p.to.client.UpdateAssociation(ctx, &ssm.UpdateAssociationInput{
					AssociationId: &step.Target, Name: in.Name, AssociationName: in.AssociationName, DocumentVersion: in.DocumentVersion, Targets: in.Targets,
					Parameters: in.Parameters, ScheduleExpression: in.ScheduleExpression, ScheduleOffset: in.ScheduleOffset,
					ApplyOnlyAtCronInterval: in.ApplyOnlyAtCronInterval, MaxConcurrency: in.MaxConcurrency, MaxErrors: in.MaxErrors,
					ComplianceSeverity: in.ComplianceSeverity, SyncCompliance: in.SyncCompliance, OutputLocation: in.OutputLocation, CalendarNames: in.CalendarNames, Duration: in.Duration,
				})
				return err
			}
		default:
			if !a.ApplyOnlyAtCronInterval {
				step.Detail += ", runs at once"
			}
			in.Tags = carried(a.tags, a.AssociationId)
			step.do = func(ctx context.Context) error {
				out, err := p.to.client.CreateAssociation(ctx, in)
				if err != nil {
					return err
				}
				step.Target = aws.ToString(out.AssociationDescription.AssociationId)
				return nil
			}
		}
	}
}

// ranOnce reports whether an association has nothing left to do at its source: it has no schedule, as those of Patch now, or
// one instant that is over.
func ranOnce(a heldAssociation, now time.Time) bool {
	name, expression := aws.ToString(a.AssociationName), aws.ToString(a.ScheduleExpression)
	if expression == "" || name == patchNowName || name == patchRebootName {
		return true
	}
	text, ok := strings.CutPrefix(expression, "at(")
	if !ok {
		return false
	}
	t, err := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(text, ")"))
	return err == nil && !t.After(now)
}

// filledIn are members that a server gives a value of its own where the other one has none.
var filledIn = []string{"MaxConcurrency", "MaxErrors", "Priority", "ComplianceSeverity", "SyncCompliance", "CutoffBehavior", "RejectedPatchesAction", "ApprovedPatchesComplianceLevel", "DocumentVersion", "ScheduleTimezone", "TimeoutSeconds"}

// sameSettings reports whether the target has what the source has. A member that is missing is the same as an empty one, and
// what the target has filled in by itself does not count.
func sameSettings(source, target any) bool {
	return reflect.DeepEqual(settings(source), dropFilledIn(settings(source), settings(target)))
}

func settings(v any) map[string]any {
	var out map[string]any
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err) // shapes of the SDK are plain data
	}
	pruned, _ := prune(out).(map[string]any)
	return pruned
}

// prune takes empty members away.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x = prune(x); x == nil {
				delete(v, k)
			} else {
				v[k] = x
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = prune(v[i])
		}
		return v
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

func dropFilledIn(source, target map[string]any) map[string]any {
	for _, k := range filledIn {
		if _, ok := source[k]; !ok {
			delete(target, k)
		}
	}
	return target
}
