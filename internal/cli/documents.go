package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"
)

// documentAnswer is the JSON of one document.
type documentAnswer struct {
	Document         *types.DocumentDescription
	DocumentVersions []types.DocumentVersionInfo
}

func newDocumentsCommand(s *Streams) *cobra.Command {
	var owner string
	cmd, o := clientCommand(&cobra.Command{
		Use:   "documents [DOCUMENT]",
		Short: "List SSM documents, or show what one takes and its versions",
		Long: `List SSM documents, or show one with its parameters and versions. DOCUMENT is a name or an ARN.

Documents are written with the AWS CLI (aws ssm create-document, update-document) or Terraform, and sent with
aws ssm send-command.`,
		Example: "  oakum documents --owner Self\n  oakum documents AWS-RunShellScript",
		Args:    argRange(0, 1, "DOCUMENT"),
	})
	cmd.Flags().StringVar(&owner, "owner", "", "only documents of this `OWNER`: Self, Amazon, Private, Public, or an account")
	cmd.ValidArgsFunction = completeDocuments(o)
	noError(cmd.RegisterFlagCompletionFunc("owner", cobra.FixedCompletions([]string{"Self", "Amazon", "Private", "Public"}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && owner != "" {
			return usage("--owner goes with the list, not with one document")
		}
		c, err := o.connect(cmd.Context(), "documents")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return c.explain(showDocument(cmd.Context(), s, o, c, args[0]))
		}
		return c.explain(listDocuments(cmd.Context(), s, o, c, owner))
	}
	return cmd
}

func (c *Client) documents(ctx context.Context, owner string) ([]types.DocumentIdentifier, error) {
	in := &ssm.ListDocumentsInput{}
	if owner != "" {
		in.Filters = []types.DocumentKeyValuesFilter{{Key: aws.String("Owner"), Values: []string{owner}}}
	}
	list := []types.DocumentIdentifier{}
	pages := ssm.NewListDocumentsPaginator(c.SSM, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.DocumentIdentifiers...)
	}
	return list, nil
}

func platformText(list []types.PlatformType) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

func listDocuments(ctx context.Context, s *Streams, o *clientOptions, c *Client, owner string) error {
	list, err := c.documents(ctx, owner)
	if err != nil {
		return err
	}
	rows := [][]string{{"DOCUMENT", "TYPE", "OWNER", "VERSION", "PLATFORMS"}}
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.ListDocumentsOutput{DocumentIdentifiers: list})
	case "csv":
		rows[0] = []string{"Name", "DocumentType", "Owner", "DocumentVersion", "PlatformTypes"}
	}
	for _, d := range list {
		rows = append(rows, []string{aws.ToString(d.Name), string(d.DocumentType), aws.ToString(d.Owner), aws.ToString(d.DocumentVersion), platformText(d.PlatformTypes)})
	}
	if o.output == "csv" {
		return writeCSV(s.Out, rows)
	}
	o.table(s, rows, "PLATFORMS", "VERSION")
	o.say(s, "%s", plural(len(list), "document", "documents"))
	return nil
}

func showDocument(ctx context.Context, s *Streams, o *clientOptions, c *Client, name string) error {
	out, err := c.SSM.DescribeDocument(ctx, &ssm.DescribeDocumentInput{Name: &name})
	if err != nil {
		if isCode(err, "InvalidDocument", "ValidationException") { // the latter for what cannot be a name
			return failed(hinted(fmt.Sprintf("there is no document %s in region %s", name, c.Region), `"oakum documents" lists the documents`))
		}
		return err
	}
	answer := documentAnswer{Document: out.Document, DocumentVersions: []types.DocumentVersionInfo{}}
	pages := ssm.NewListDocumentVersionsPaginator(c.SSM, &ssm.ListDocumentVersionsInput{Name: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		answer.DocumentVersions = append(answer.DocumentVersions, page.DocumentVersions...)
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, answer)
	case "csv":
		rows := [][]string{{"DocumentVersion", "VersionName", "IsDefaultVersion", "DocumentFormat", "CreatedDate"}}
		for _, v := range answer.DocumentVersions {
			rows = append(rows, []string{
				aws.ToString(v.DocumentVersion), aws.ToString(v.VersionName), fmt.Sprint(v.IsDefaultVersion), string(v.DocumentFormat), when(aws.ToTime(v.CreatedDate)),
			})
		}
		return writeCSV(s.Out, rows)
	}
	var b bytes.Buffer
	writeDocument(&b, answer, terminalWidth(s.Out))
	_, err = s.Out.Write(b.Bytes())
	return err
}

func writeDocument(w io.Writer, a documentAnswer, width int) {
	d := a.Document
	var tags []string
	for _, t := range d.Tags {
		tags = append(tags, aws.ToString(t.Key)+"="+aws.ToString(t.Value))
	}
	fields(w, nil,
		"Document", aws.ToString(d.Name), "Name", aws.ToString(d.DisplayName), "Description", aws.ToString(d.Description), "Owner", aws.ToString(d.Owner),
		"Type", string(d.DocumentType), "Schema", aws.ToString(d.SchemaVersion), "Platforms", platformText(d.PlatformTypes), "Target type", aws.ToString(d.TargetType),
		"Default version", aws.ToString(d.DefaultVersion), "Latest version", aws.ToString(d.LatestVersion), "Sha256", aws.ToString(d.Hash), "Tags", strings.Join(tags, ", "))
	if len(d.Parameters) > 0 {
		rows := [][]string{{"PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"}}
		for _, p := range d.Parameters {
			def := "(required)"
			if p.DefaultValue != nil {
				def = *p.DefaultValue
			}
			rows = append(rows, []string{aws.ToString(p.Name), string(p.Type), def, aws.ToString(p.Description)})
		}
		fmt.Fprintln(w)
		writeColumns(w, rows, width, nil)
	}
	rows := [][]string{{"VERSION", "NAME", "FORMAT", "CREATED", "DEFAULT"}}
	for _, v := range a.DocumentVersions {
		def := ""
		if v.IsDefaultVersion {
			def = "yes"
		}
		rows = append(rows, []string{aws.ToString(v.DocumentVersion), aws.ToString(v.VersionName), string(v.DocumentFormat), stamp(aws.ToTime(v.CreatedDate)), def})
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, width, nil)
}
