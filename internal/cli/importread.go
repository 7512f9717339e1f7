package cli

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// importedFrom is the tag by which an import finds again what an earlier one made: the id that it has at its source.
const importedFrom = "oakum:imported-from"

// heldDocument is a document with the text of its default version.
type heldDocument struct {
	types.DocumentIdentifier
	text string
}

// heldBaseline is a patch baseline of the account's own.
type heldBaseline struct {
	*ssm.GetPatchBaselineOutput
	tags      []types.Tag
	isDefault bool
}

// heldWindow is a maintenance window with what is registered with it.
type heldWindow struct {
	*ssm.GetMaintenanceWindowOutput
	tags    []types.Tag
	targets []types.MaintenanceWindowTarget
	tasks   []*ssm.GetMaintenanceWindowTaskOutput
}

// heldAssociation is a State Manager association.
type heldAssociation struct {
	*types.AssociationDescription
	tags []types.Tag
}

// heldGroup is a patch group's baseline for an operating system.
type heldGroup struct {
	name     string
	baseline types.PatchBaselineIdentity
}

// holdings are what one account and region of a Systems Manager holds about patching.
type holdings struct {
	client       *ssm.Client
	documents    []heldDocument
	baselines    []heldBaseline
	predefined   map[string]string // names of predefined baselines to their ids, with the operating system before the name
	groups       []heldGroup
	windows      []heldWindow
	associations []heldAssociation
}

// kinds of what is imported, in the order in which it has to be made.
var importKinds = []string{"documents", "baselines", "windows", "associations"}

// readHoldings reads the kinds asked for.
func readHoldings(ctx context.Context, c *ssm.Client, kinds map[string]bool) (*holdings, error) {
	h := &holdings{client: c, predefined: map[string]string{}}
	for _, read := range []struct {
		kind string
		fn   func(context.Context) error
	}{{"documents", h.readDocuments}, {"baselines", h.readBaselines}, {"windows", h.readWindows}, {"associations", h.readAssociations}} {
		if !kinds[read.kind] {
			continue
		}
		if err := read.fn(ctx); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *holdings) readDocuments(ctx context.Context) error {
	pages := ssm.NewListDocumentsPaginator(h.client, &ssm.ListDocumentsInput{Filters: []types.DocumentKeyValuesFilter{{Key: aws.String("Owner"), Values: []string{"Self"}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, d := range page.DocumentIdentifiers {
			out, err := h.client.GetDocument(ctx, &ssm.GetDocumentInput{Name: d.Name, DocumentFormat: d.DocumentFormat})
			if err != nil {
				return err
			}
			h.documents = append(h.documents, heldDocument{d, aws.ToString(out.Content)})
		}
	}
	return nil
}

func (h *holdings) readBaselines(ctx context.Context) error {
	pages := ssm.NewDescribePatchBaselinesPaginator(h.client, &ssm.DescribePatchBaselinesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, b := range page.BaselineIdentities {
			if predefinedBaseline(b) {
				h.predefined[baselineName(b)] = aws.ToString(b.BaselineId)
				continue
			}
			out, err := h.client.GetPatchBaseline(ctx, &ssm.GetPatchBaselineInput{BaselineId: b.BaselineId})
			if err != nil {
				return err
			}
			tags, err := h.tags(ctx, types.ResourceTypeForTaggingPatchBaseline, b.BaselineId)
			if err != nil {
				return err
			}
			h.baselines = append(h.baselines, heldBaseline{out, tags, b.DefaultBaseline})
		}
	}
	groups := ssm.NewDescribePatchGroupsPaginator(h.client, &ssm.DescribePatchGroupsInput{})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, g := range page.Mappings {
			if g.BaselineIdentity != nil {
				h.groups = append(h.groups, heldGroup{aws.ToString(g.PatchGroup), *g.BaselineIdentity})
			}
		}
	}
	return nil
}

// predefinedBaseline goes by the name: the id of a predefined baseline is an ARN in AWS.
func predefinedBaseline(b types.PatchBaselineIdentity) bool {
	return strings.HasPrefix(aws.ToString(b.BaselineName), "AWS-")
}

func baselineName(b types.PatchBaselineIdentity) string {
	return string(b.OperatingSystem) + "/" + aws.ToString(b.BaselineName)
}

func (h *holdings) readWindows(ctx context.Context) error {
	pages := ssm.NewDescribeMaintenanceWindowsPaginator(h.client, &ssm.DescribeMaintenanceWindowsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, w := range page.WindowIdentities {
			held, err := h.readWindow(ctx, w.WindowId)
			if err != nil {
				return err
			}
			h.windows = append(h.windows, held)
		}
	}
	return nil
}

func (h *holdings) readWindow(ctx context.Context, id *string) (w heldWindow, err error) {
	if w.GetMaintenanceWindowOutput, err = h.client.GetMaintenanceWindow(ctx, &ssm.GetMaintenanceWindowInput{WindowId: id}); err != nil {
		return w, err
	}
	if w.tags, err = h.tags(ctx, types.ResourceTypeForTaggingMaintenanceWindow, id); err != nil {
		return w, err
	}
	targets := ssm.NewDescribeMaintenanceWindowTargetsPaginator(h.client, &ssm.DescribeMaintenanceWindowTargetsInput{WindowId: id})
	for targets.HasMorePages() {
		page, err := targets.NextPage(ctx)
		if err != nil {
			return w, err
		}
		w.targets = append(w.targets, page.Targets...)
	}
	tasks := ssm.NewDescribeMaintenanceWindowTasksPaginator(h.client, &ssm.DescribeMaintenanceWindowTasksInput{WindowId: id})
	for tasks.HasMorePages() {
		page, err := tasks.NextPage(ctx)
		if err != nil {
			return w, err
		}
		for _, t := range page.Tasks {
			task, err := h.client.GetMaintenanceWindowTask(ctx, &ssm.GetMaintenanceWindowTaskInput{WindowId: id, WindowTaskId: t.WindowTaskId})
			if err != nil {
				return w, err
			}
			w.tasks = append(w.tasks, task)
		}
	}
	return w, nil
}

func (h *holdings) readAssociations(ctx context.Context) error {
	pages := ssm.NewListAssociationsPaginator(h.client, &ssm.ListAssociationsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, a := range page.Associations {
			out, err := h.client.DescribeAssociation(ctx, &ssm.DescribeAssociationInput{AssociationId: a.AssociationId})
			if err != nil {
				return err
			}
			tags, err := h.tags(ctx, types.ResourceTypeForTaggingAssociation, a.AssociationId)
			if err != nil {
				return err
			}
			h.associations = append(h.associations, heldAssociation{out.AssociationDescription, tags})
		}
	}
	return nil
}

func (h *holdings) tags(ctx context.Context, kind types.ResourceTypeForTagging, id *string) ([]types.Tag, error) {
	out, err := h.client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: kind, ResourceId: id})
	if err != nil {
		return nil, err
	}
	return out.TagList, nil
}

// carried are the tags of a thing that its copy gets: its own, but for those that only its cloud can give, and where it is from.
func carried(tags []types.Tag, id *string) []types.Tag {
	out := []types.Tag{{Key: aws.String(importedFrom), Value: id}}
	for _, t := range tags {
		if k := aws.ToString(t.Key); !strings.HasPrefix(strings.ToLower(k), "aws:") && k != importedFrom {
			out = append(out, t)
		}
	}
	return out
}

// originOf is the id that a copy has at its source, or "".
func originOf(tags []types.Tag) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == importedFrom {
			return aws.ToString(t.Value)
		}
	}
	return ""
}
