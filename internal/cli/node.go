package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"oakum.dev/internal/origin"
)

// newNodeCommand makes the commands about nodes with an agent that is not Oakum's.
func newNodeCommand(s *Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Settings for amazon-ssm-agent on a node"}
	cmd.AddCommand(newNodeConfig(s))
	return cmd
}

func newNodeConfig(s *Streams) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration by which amazon-ssm-agent finds the server",
		Long: `Print the configuration by which amazon-ssm-agent finds the server. It belongs into
/etc/amazon/ssm/amazon-ssm-agent.json; the node must trust the server's certificate. The script that the server has under
/ssm-agent.sh writes it, registers the agent and can put everything back.`,
		Example: "  oakum node config --endpoint https://oakum.example:8443 >/etc/amazon/ssm/amazon-ssm-agent.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if endpoint == "" {
				return usage("--endpoint is missing")
			}
			b, err := origin.AWSAgentConfig(endpoint)
			if err != nil {
				return usage("%v", err)
			}
			_, err = fmt.Fprintf(s.Out, "%s\n", b)
			return err
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", os.Getenv("OAKUM_ENDPOINT"), "`URL` of the server, as the node reaches it")
	return cmd
}
