package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/spf13/cobra"
)

// activationDocument is the answer of "oakum activation create": that of CreateActivation and how to use it.
type activationDocument struct {
	ActivationId, ActivationCode *string
	InstallCommand               string
}

func newActivationCommand(s *Streams) *cobra.Command {
	cmd, o := clientCommand(group(&cobra.Command{
		Use:   "activation",
		Short: "Create, list and delete activations, by which machines become managed nodes",
	}))
	cmd.AddCommand(newActivationCreate(s, o), newActivationList(s, o), newActivationDelete(s, o))
	return cmd
}

func newActivationCreate(s *Streams, o *clientOptions) *cobra.Command {
	var name, description, role string
	var limit int32
	var expires time.Duration
	var tags []string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an activation and print the line that makes a machine a managed node",
		Long: `Create an activation and print the line that, run on a machine, makes it a managed node of this server.

The activation code is shown once, now. Whoever has it can add nodes until the activation expires or is used up.`,
		Example: "  oakum activation create --name web --limit 10 --expires-in 48h --tag PatchGroup=web",
		Args:    argRange(0, 0, ""),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "name of the nodes that it adds")
	f.StringVar(&description, "description", "", "what it is for")
	f.StringVar(&role, "iam-role", "service-role/SSMRole", "role to record, as the API demands one")
	f.Int32Var(&limit, "limit", 1, "how many nodes it adds at most")
	f.DurationVar(&expires, "expires-in", 24*time.Hour, "how long it can be used, at most 720h")
	f.StringArrayVar(&tags, "tag", nil, "`KEY=VALUE` on the nodes that it adds; PatchGroup=NAME puts them into a patch group")
	quietly(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		parsed, err := parseTags(tags)
		if err != nil {
			return err
		}
		if limit < 1 || limit > 1000 {
			return usage("--limit is from 1 to 1000, not %d", limit)
		}
		if expires < time.Minute || expires > 30*24*time.Hour {
			return usage("--expires-in is from 1m to 720h, not %s", expires)
		}
		c, err := o.connect(cmd.Context(), "activation create")
		if err != nil {
			return err
		}
		in := &ssm.CreateActivationInput{IamRole: &role, RegistrationLimit: &limit, ExpirationDate: aws.Time(time.Now().Add(expires)), Tags: parsed}
		if name != "" {
			in.DefaultInstanceName = &name
		}
		if description != "" {
			in.Description = &description
		}
		out, err := c.SSM.CreateActivation(cmd.Context(), in)
		if err != nil {
			return c.explain(err)
		}
		return failed(writeActivation(cmd.Context(), s, o, c, out, *in.ExpirationDate, limit))
	}
	return cmd
}

func parseTags(texts []string) ([]types.Tag, error) {
	var out []types.Tag
	for _, t := range texts {
		key, value, ok := strings.Cut(t, "=")
		if !ok || key == "" {
			return nil, usage("--tag is KEY=VALUE, not %q", t)
		}
		out = append(out, types.Tag{Key: &key, Value: &value})
	}
	return out, nil
}

func writeActivation(ctx context.Context, s *Streams, o *clientOptions, c *Client, out *ssm.CreateActivationOutput, until time.Time, limit int32) error {
	line, note := c.installLine(ctx, aws.ToString(out.ActivationId), aws.ToString(out.ActivationCode))
	switch o.output {
	case "json":
		return writeJSON(s.Out, activationDocument{out.ActivationId, out.ActivationCode, line})
	case "csv":
		return writeCSV(s.Out, [][]string{{"ActivationId", "ActivationCode", "InstallCommand"}, {aws.ToString(out.ActivationId), aws.ToString(out.ActivationCode), line}})
	}
	if note != "" {
		o.say(s, "oakum: warning: %s", note)
	}
	o.say(s, "Activation %s adds up to %s until %s. Run on each machine:", aws.ToString(out.ActivationId), plural(limit, "node", "nodes"), stamp(until))
	_, err := fmt.Fprintln(s.Out, line)
	return err
}

// installLine is the command that makes a machine a node of this server. When the server's authority is one that other
// machines do not know, the line pins the server's key, so that the script can only come from it.
func (c *Client) installLine(ctx context.Context, id, code string) (line, note string) {
	curl := "curl -fsS"
	if c.Endpoint.Scheme == "https" {
		pin, public, err := c.pin(ctx)
		switch {
		case err != nil:
			note = fmt.Sprintf("the server's certificate could not be read (%v): if its authority is a private one, give curl --cacert", err)
		case !public:
			curl += " -k --pinnedpubkey '" + pin + "'"
		}
	}
	if host := c.Endpoint.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
		note = strings.TrimPrefix(note+"; ", "; ") + c.Endpoint.Host + " means every machine itself: replace it by a name that nodes can reach"
	}
	region := ""
	if c.Region != clientRegion {
		region = " " + c.Region
	}
	return fmt.Sprintf("%s %s/install.sh | sudo sh -s -- %s %s%s", curl, c.Endpoint, id, code, region), note
}

// pin connects with the configured trust and returns the pin of the server's key, and whether the system's own
// authorities would do.
func (c *Client) pin(ctx context.Context) (pin string, public bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Endpoint.String()+"/healthz", nil)
	if err != nil {
		return "", false, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", false, err
	}
	res.Body.Close()
	if res.TLS == nil || len(res.TLS.PeerCertificates) == 0 {
		return "", false, fmt.Errorf("no certificate")
	}
	leaf := res.TLS.PeerCertificates[0]
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:]), knownEverywhere(res.TLS, c.Endpoint.Hostname()), nil
}

// knownEverywhere reports whether a machine with nothing but its system's authorities would trust the connection.
func knownEverywhere(state *tls.ConnectionState, host string) bool {
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Intermediates: between})
	return err == nil
}

func newActivationList(s *Streams, o *clientOptions) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List activations", Args: argRange(0, 0, "")}
	quietly(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := o.connect(cmd.Context(), "activation list")
		if err != nil {
			return err
		}
		return c.explain(listActivations(cmd.Context(), s, o, c))
	}
	return cmd
}

func listActivations(ctx context.Context, s *Streams, o *clientOptions, c *Client) error {
	list := []types.Activation{}
	pages := ssm.NewDescribeActivationsPaginator(c.SSM, &ssm.DescribeActivationsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		list = append(list, page.ActivationList...)
	}
	switch o.output {
	case "json":
		return writeJSON(s.Out, ssm.DescribeActivationsOutput{ActivationList: list})
	case "csv":
		rows := [][]string{{"ActivationId", "DefaultInstanceName", "Description", "IamRole", "RegistrationLimit", "RegistrationsCount", "Expired", "ExpirationDate", "CreatedDate"}}
		for _, a := range list {
			rows = append(rows, []string{
				aws.ToString(a.ActivationId), aws.ToString(a.DefaultInstanceName), aws.ToString(a.Description), aws.ToString(a.IamRole),
				fmt.Sprint(aws.ToInt32(a.RegistrationLimit)), fmt.Sprint(aws.ToInt32(a.RegistrationsCount)), fmt.Sprint(a.Expired),
				when(aws.ToTime(a.ExpirationDate)), when(aws.ToTime(a.CreatedDate)),
			})
		}
		return writeCSV(s.Out, rows)
	}
	if len(list) == 0 {
		o.say(s, `no activations; "oakum activation create" makes one`)
		return nil
	}
	rows := [][]string{{"ACTIVATION", "NAME", "USED", "STATE", "EXPIRES", "DESCRIPTION"}}
	for _, a := range list {
		state := "usable"
		switch {
		case a.Expired:
			state = "expired"
		case aws.ToInt32(a.RegistrationsCount) >= aws.ToInt32(a.RegistrationLimit):
			state = "used up"
		}
		rows = append(rows, []string{
			aws.ToString(a.ActivationId), aws.ToString(a.DefaultInstanceName), fmt.Sprintf("%d of %d", aws.ToInt32(a.RegistrationsCount), aws.ToInt32(a.RegistrationLimit)),
			state, stamp(aws.ToTime(a.ExpirationDate)), aws.ToString(a.Description),
		})
	}
	o.table(s, rows)
	return nil
}

func newActivationDelete(s *Streams, o *clientOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete ACTIVATION...", Short: "Delete activations; nodes that they added stay", Args: argRange(1, 1000, "ACTIVATION"),
	}
	quietly(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect(cmd.Context(), "activation delete")
		if err != nil {
			return err
		}
		for _, id := range args {
			if _, err := c.SSM.DeleteActivation(cmd.Context(), &ssm.DeleteActivationInput{ActivationId: &id}); err != nil {
				if isCode(err, "InvalidActivation", "InvalidActivationId", "ValidationException") {
					return failed(hinted("there is no activation "+id, `"oakum activation list" lists the activations`))
				}
				return c.explain(err)
			}
			o.say(s, "deleted activation %s", id)
		}
		return nil
	}
	return cmd
}
