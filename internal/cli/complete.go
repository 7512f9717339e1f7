package cli

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// completionBudget bounds how long a shell waits for names. A server that does not answer completes nothing.
const completionBudget = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeNodes completes the ids of nodes as the first arguments, up to a number of them; 0 is without limit.
func completeNodes(o *clientOptions, most int) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, o, func(ctx context.Context, c *Client) (out []string, err error) {
			err = c.nodes(ctx, nil, func(n oakum.Node) bool {
				out = append(out, codec.Value(n.InstanceId)+"\t"+nodeLabel(&n))
				return len(out) < 1000
			})
			return out, err
		})
	}
}

func completeBaselines(o *clientOptions) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, o, func(ctx context.Context, c *Client) (out []string, err error) {
			pages := ssm.NewDescribePatchBaselinesPaginator(c.SSM, &ssm.DescribePatchBaselinesInput{})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, b := range page.BaselineIdentities {
					out = append(out, bareID(aws.ToString(b.BaselineId))+"\t"+aws.ToString(b.BaselineName))
				}
			}
			return out, nil
		})
	}
}

func completeDocuments(o *clientOptions) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, o, func(ctx context.Context, c *Client) (out []string, err error) {
			list, err := c.documents(ctx, "")
			for _, d := range list {
				out = append(out, aws.ToString(d.Name)+"\t"+string(d.DocumentType))
			}
			return out, err
		})
	}
}

func complete(cmd *cobra.Command, o *clientOptions, get func(context.Context, *Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionBudget)
	defer cancel()
	c, err := o.connect(ctx, cmd.Name())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := get(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
