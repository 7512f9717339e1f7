package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/spf13/cobra"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/sigv4"
)

// clientRegion is used when neither a flag, nor the environment, nor the profile names one: where a server makes
// what it makes itself.
const clientRegion = "us-east-1"

// answerLimit bounds what is read of one answer, in bytes.
const answerLimit = 256 << 20

// NewClientCommands makes the commands that are clients of a server's API.
func NewClientCommands(s *Streams) []*cobra.Command {
	return []*cobra.Command{
		newNodesCommand(s), newLivePatchCommand(s), newWhyCommand(s), newPatchNowCommand(s), newFreezeCommand(s), newRunsCommand(s), newBaselinesCommand(s),
		newDocumentsCommand(s), newWindowsCommand(s), newAssociationsCommand(s), newInventoryCommand(s), newActivationCommand(s),
		newImportCommand(s), newS3Command(s), newDoctorCommand(s),
	}
}

// clientOptions are the flags that every client command takes.
type clientOptions struct {
	endpoint, region, profile, caFile, output string
	quiet, noColor                            bool
}

// clientCommand gives a command, or a group of them, what all clients have in common.
func clientCommand(cmd *cobra.Command) (*cobra.Command, *clientOptions) {
	o := &clientOptions{}
	f := cmd.PersistentFlags()
	f.StringVar(&o.endpoint, "endpoint-url", "", "`URL` of the server (default: AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL, the profile)")
	f.StringVar(&o.region, "region", "", "region (default: AWS_REGION, the profile, "+clientRegion+")")
	f.StringVar(&o.profile, "profile", "", "`NAME` of the profile in the AWS configuration files (default: AWS_PROFILE)")
	f.StringVar(&o.caFile, "ca-file", "", "PEM `FILE` of the authorities to trust (default: AWS_CA_BUNDLE, the system's)")
	f.StringVarP(&o.output, "output", "o", "table", "table, json or csv")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "answer and errors only")
	f.BoolVar(&o.noColor, "no-color", false, "no colours (as with NO_COLOR)")
	noError(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp)))
	quietly(cmd)
	return cmd, o
}

// quietly leaves talking about errors to the root command.
func quietly(cmd *cobra.Command) {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &ExitError{exitUsage, hinted(err.Error(), fmt.Sprintf("%q shows the flags", c.CommandPath()+" --help"))}
	})
}

// noError is for calls that can only fail by a mistake in this program.
func noError(err error) {
	if err != nil {
		panic(err)
	}
}

// usage is an error of the person who typed, with exit code 2.
func usage(format string, args ...any) error {
	return &ExitError{exitUsage, fmt.Errorf(format, args...)}
}

func usageHint(text, hint string) error { return &ExitError{exitUsage, hinted(text, hint)} }

func failed(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ExitError](err); ok {
		return err
	}
	return &ExitError{exitFailed, err}
}

// argRange demands a number of arguments and names what they are.
func argRange(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageHint("missing argument: "+what, "usage: "+cmd.UseLine())
		case len(args) > most:
			return usageHint(fmt.Sprintf("unknown argument %q", args[most]), "usage: "+cmd.UseLine())
		}
		return nil
	}
}

// group makes a command that only holds others.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageHint(fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath()), fmt.Sprintf("%q lists the commands", c.CommandPath()+" --help"))
		}
		return c.Help()
	}
	return cmd
}

func (o *clientOptions) check() error {
	switch o.output {
	case "table", "json", "csv":
		return nil
	}
	return usage("--output is table, json or csv, not %q", o.output)
}

// say writes a line of talk.
func (o *clientOptions) say(s *Streams, format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(s.Err, format+"\n", args...)
	}
}

func (o *clientOptions) paint(w io.Writer) func(string, string) string {
	if o.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return nil
	}
	return paintWord
}

// table writes rows as a table on the answer's stream. Where they do not fit, the columns in drop go first.
func (o *clientOptions) table(s *Streams, rows [][]string, drop ...string) {
	writeColumns(s.Out, narrow(rows, terminalWidth(s.Out), drop...), terminalWidth(s.Out), o.paint(s.Out))
}

// Client calls one server.
type Client struct {
	SSM      *ssm.Client
	Endpoint *url.URL
	Region   string

	http  *awshttp.BuildableClient
	creds aws.CredentialsProvider
	clock *serverClock
}

// serverClock remembers what the server's clock said, to tell a wrong clock from a wrong key.
type serverClock struct {
	mu   sync.Mutex
	skew time.Duration
	seen bool
}

func (c *serverClock) see(date string) {
	t, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew, c.seen = time.Until(t), true
}

func (c *serverClock) ahead() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew, c.seen
}

// seeing is the SDK's HTTP client with a look at the Date header.
type seeing struct {
	aws.HTTPClient
	clock *serverClock
}

func (h seeing) Do(r *http.Request) (*http.Response, error) {
	res, err := h.HTTPClient.Do(r)
	if err == nil {
		h.clock.see(res.Header.Get("Date"))
	}
	return res, err
}

// setupHint says how to call a server from its own host.
func setupHint(command string) string {
	dir, address := "DATA-DIR", "https://localhost:8443 --ca-file DATA-DIR/ca.pem"
	for _, d := range []string{os.Getenv("OAKUM_DATA_DIR"), defaultDataDir()} {
		if d == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(d, "admin.credentials")); err != nil {
			continue
		}
		dir, address = d, "http://127.0.0.1:8080"
		if _, err := os.Stat(filepath.Join(d, "ca.pem")); err == nil {
			address = "https://localhost:8443 --ca-file " + filepath.Join(d, "ca.pem")
		}
		break
	}
	return fmt.Sprintf("on the server's host: AWS_SHARED_CREDENTIALS_FILE=%s oakum %s --endpoint-url %s", filepath.Join(dir, "admin.credentials"), command, address)
}

// load reads the AWS configuration: environment, profiles, flags.
func (o *clientOptions) load(ctx context.Context) (aws.Config, *awshttp.BuildableClient, error) {
	dialer := func(d *net.Dialer) { d.Timeout = 10 * time.Second }
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithDialerOptions(dialer)),
		config.WithEC2IMDSClientEnableState(imds.ClientDisabled), // the keys are the server's own; a cloud's would not fit, and asking takes seconds
	}
	if o.profile != "" {
		options = append(options, config.WithSharedConfigProfile(o.profile))
	}
	if o.region != "" {
		options = append(options, config.WithRegion(o.region))
	}
	if o.endpoint != "" {
		options = append(options, config.WithBaseEndpoint(o.endpoint))
	}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return aws.Config{}, nil, failed(fmt.Errorf("read the authorities: %w", err))
		}
		options = append(options, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, nil, failed(configError(err))
	}
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return aws.Config{}, nil, failed(fmt.Errorf("the AWS configuration gives a client of type %T", cfg.HTTPClient))
	}
	return cfg, client, nil
}

// httpClient is a client with the configured trust and proxy.
func (o *clientOptions) httpClient(ctx context.Context) (*awshttp.BuildableClient, error) {
	_, client, err := o.load(ctx)
	return client, err
}

// connect makes a client of the configured server. Nothing is sent.
func (o *clientOptions) connect(ctx context.Context, command string) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cfg, client, err := o.load(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		cfg.Region = clientRegion
	}
	c := &Client{Region: cfg.Region, http: client, creds: cfg.Credentials, clock: &serverClock{}}
	cfg.HTTPClient = seeing{c.http, c.clock}
	c.SSM = ssm.NewFromConfig(cfg, func(so *ssm.Options) {
		if o.endpoint != "" {
			so.BaseEndpoint = &o.endpoint // a flag wins over AWS_ENDPOINT_URL_SSM
		}
	})
	base := aws.ToString(c.SSM.Options().BaseEndpoint)
	if base == "" {
		return nil, failed(hinted("no server is named", "give --endpoint-url or set AWS_ENDPOINT_URL; "+setupHint(command)))
	}
	c.Endpoint, err = url.Parse(strings.TrimRight(base, "/"))
	if err != nil || c.Endpoint.Host == "" || c.Endpoint.Scheme != "http" && c.Endpoint.Scheme != "https" {
		return nil, usage("the address of the server is http(s)://HOST[:PORT], not %q", base)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, failed(hinted("no access key is configured", "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "+setupHint(command)))
	}
	return c, nil
}

func configError(err error) error {
	if e, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return hinted(fmt.Sprintf("there is no profile %q", e.Profile), "profiles are in ~/.aws/config, ~/.aws/credentials or the file that AWS_SHARED_CREDENTIALS_FILE names")
	}
	return fmt.Errorf("read the AWS configuration: %w", err)
}

// Oakum performs an operation of the oakum service.
func (c *Client) Oakum(ctx context.Context, op string, in codec.Encodable, out codec.Decodable) error {
	body := codec.Marshal(in)
	for try := 0; ; try++ {
		again, err := c.oakumOnce(ctx, op, body, out)
		if err == nil || !again || try == 2 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond << try):
		}
	}
}

func (c *Client) oakumOnce(ctx context.Context, op string, body []byte, out codec.Decodable) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Endpoint.String()+"/", bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Oakum."+op)
	res, err := c.send(req, sigv4.Hash(body), "oakum")
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return true, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode >= 500, answerError(res, answer)
	}
	if err := codec.Unmarshal(answer, out); err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	return false, nil
}

// send signs a request and sends it. Bodies are not signed again: the caller knows the hash.
func (c *Client) send(req *http.Request, hash, service string) (*http.Response, error) {
	k, err := c.creds.Retrieve(req.Context())
	if err != nil {
		return nil, fmt.Errorf("get the access key: %w", err)
	}
	sigv4.Sign(req, hash, sigv4.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}, c.Region, service, time.Now())
	return seeing{c.http, c.clock}.Do(req)
}

// answerError reads the error out of an answer in JSON 1.1.
func answerError(res *http.Response, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	if bytes.Contains(body, []byte("HTTP request to an HTTPS server")) {
		return failed(hinted(res.Request.URL.Host+" speaks TLS", "use https:// in --endpoint-url"))
	}
	if json.Unmarshal(body, &e) != nil || e.Type == "" {
		return fmt.Errorf("%s answered %s, which no Oakum server would", res.Request.URL.Host, res.Status)
	}
	if e.Message == "" {
		e.Message = e.Upper
	}
	return &awserr.Error{Code: e.Type[strings.LastIndexByte(e.Type, '#')+1:], Message: e.Message, Status: res.StatusCode}
}
