package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/internal/agent"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// Outcomes of a check.
const (
	checkOK   = "OK"
	checkWarn = "WARN"
	checkFail = "FAIL"
)

// check is one line of a doctor's report. Hint says what to do and stands only where something is not right.
type check struct {
	Area   string // client, node, server
	Name   string
	Status string
	Text   string
	Hint   string `json:",omitempty"`
}

// doctor collects checks.
type doctor struct {
	area string
	list []check
	now  func() time.Time

	answers map[string]bool // addresses of servers that answered, and whether as one should
}

func (d *doctor) add(status, name, text, hint string) {
	if status == checkOK {
		hint = ""
	}
	d.list = append(d.list, check{d.area, name, status, text, hint})
}

func (d *doctor) ok(name, format string, args ...any) {
	d.add(checkOK, name, fmt.Sprintf(format, args...), "")
}

// fault adds a check that failed with an error, with its hint if it has one.
func (d *doctor) fault(status, name string, err error) {
	hint := ""
	var h interface{ HintText() string }
	if errors.As(err, &h) {
		hint = h.HintText()
	}
	d.add(status, name, err.Error(), hint)
}

func newDoctorCommand(s *Streams) *cobra.Command {
	var stateDir, dataDir string
	cmd, o := clientCommand(&cobra.Command{
		Use:   "doctor",
		Short: "Test everything that patching depends on here, and say what is wrong and what to do",
		Long: `Test everything that patching depends on, on this machine, and say what is wrong and what to do about it.

On a managed node: its registration, the way to the server (name, proxy, TLS, clock), package manager locks and
interrupted runs, apt's own proxies, repositories, disk space, reboots that are due. On a server: its data directory,
certificates and whether it serves. On a client: the configuration, the way to the server and the access key. What this
machine is, is found out from the directories; --state-dir and --data-dir name others.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 2 usage.`,
		Args: argRange(0, 0, ""),
	})
	cmd.Flags().StringVar(&stateDir, "state-dir", "", "`DIR` of the node agent's state (default: "+agent.DefaultStateDir+" if there is a registration)")
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "`DIR` of the server's data (default: OAKUM_DATA_DIR or that of \"oakum up\", if there is a server's data)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		d := &doctor{now: time.Now}
		d.examine(cmd.Context(), o, stateDir, dataDir)
		return d.report(s, o)
	}
	return cmd
}

// examine finds out what this machine is and tests that.
func (d *doctor) examine(ctx context.Context, o *clientOptions, stateDir, dataDir string) {
	isNode, isServer := stateDir != "", dataDir != ""
	if !isNode {
		stateDir = agent.DefaultStateDir
		st, err := agent.Status(stateDir)
		isNode = err == nil && st.Registered || errors.Is(err, os.ErrPermission)
	}
	if !isServer {
		for _, dir := range []string{os.Getenv("OAKUM_DATA_DIR"), defaultDataDir()} {
			if _, err := os.Stat(filepath.Join(dir, "admin.credentials")); dir != "" && err == nil && !isServer {
				dataDir, isServer = dir, true
			}
		}
	}
	if isServer {
		d.area = "server"
		d.server(ctx, o, dataDir)
	}
	if isNode {
		d.area = "node"
		d.node(ctx, stateDir)
	}
	d.area = "client"
	d.client(ctx, o, isNode || isServer)
}

func (d *doctor) client(ctx context.Context, o *clientOptions, optional bool) {
	c, err := o.connect(ctx, "doctor")
	if err != nil {
		if optional && o.endpoint == "" && os.Getenv("AWS_ENDPOINT_URL") == "" && os.Getenv("AWS_ENDPOINT_URL_SSM") == "" {
			d.ok("configuration", "no client is configured here, and none is needed")
			return
		}
		d.fault(checkFail, "configuration", err)
		return
	}
	d.ok("configuration", "server %s, region %s", c.Endpoint, c.Region)
	if !d.reach(ctx, c.Endpoint, c.http) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var sum oakum.GetFleetSummaryOutput
	if err := c.Oakum(ctx, "GetFleetSummary", &oakum.GetFleetSummaryInput{}, &sum); err != nil {
		d.fault(checkFail, "access key", c.explain(err))
		return
	}
	d.ok("access key", "accepted; %s", summaryLine(&sum, c.Region))
	d.freeze(sum.InstallFreeze, c.Region)
	if codec.Value(sum.Managed) > 0 && codec.Value(sum.Unknown)+codec.Value(sum.Stale) > 0 {
		d.add(checkWarn, "coverage", fmt.Sprintf("of %d nodes, %d have never been scanned and %d not recently", *sum.Managed, codec.Value(sum.Unknown), codec.Value(sum.Stale)),
			"oakum nodes --filter ComplianceStatus=UNKNOWN,STALE")
	}
}

// freeze tells that installs are refused, which is no fault but explains why nothing is installed.
func (d *doctor) freeze(f *oakum.InstallFreeze, region string) {
	if line := freezeLine(f, region); line != "" {
		d.add(checkWarn, "installs", line, "it ends by itself; an administrator can end it now: oakum freeze lift")
	}
}

type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// reach tests the way to a server: name, proxy, connection, certificate, readiness, clock. It reports whether there is one.
// A server that has answered already, as when this machine is node and client of it, is not told of twice. Over TLS
// it is asked once more, since another client may trust other authorities.
func (d *doctor) reach(ctx context.Context, endpoint *url.URL, client doer) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	address := strings.TrimRight(endpoint.String(), "/")
	good, known := d.answers[address]
	if known && endpoint.Scheme != "https" {
		return good
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		d.fault(checkFail, "address", err)
		return false
	}
	if known {
		res, err := client.Do(req)
		if err != nil {
			d.fault(checkFail, "connection", explainNetwork(err, endpoint.String(), endpoint.Hostname()))
			return false
		}
		res.Body.Close()
		return good
	}
	proxy, err := http.ProxyFromEnvironment(req)
	switch {
	case err != nil:
		d.add(checkFail, "proxy", fmt.Sprintf("the proxy of the environment is not valid: %v", err), "correct HTTPS_PROXY or HTTP_PROXY")
	case proxy != nil:
		d.ok("proxy", "%s is reached through %s", endpoint.Host, proxy.Redacted())
	default:
		d.ok("proxy", "none in the environment for %s", endpoint.Host)
	}
	if proxy == nil {
		d.resolve(ctx, endpoint.Hostname())
	}
	res, err := client.Do(req)
	if err != nil {
		d.fault(checkFail, "connection", explainNetwork(err, endpoint.String(), endpoint.Hostname()))
		return false
	}
	res.Body.Close()
	if d.answers == nil {
		d.answers = map[string]bool{}
	}
	d.answers[address] = res.StatusCode == http.StatusOK || res.StatusCode == http.StatusServiceUnavailable
	d.ok("connection", "%s answers", endpoint)
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		d.certificate("certificate", res.TLS.PeerCertificates[0].NotAfter, "issued by "+res.TLS.PeerCertificates[0].Issuer.CommonName)
	}
	switch {
	case res.StatusCode == http.StatusOK:
		d.ok("server", "ready")
	case res.StatusCode == http.StatusServiceUnavailable:
		d.add(checkFail, "server", "it answers that it is not ready", "look at its log")
	default:
		d.add(checkFail, "server", "it answered "+res.Status+", which no Oakum server would", "is it the right address?")
		return false
	}
	if t, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		d.clock(t.Sub(d.now()))
	}
	return true
}

func (d *doctor) resolve(ctx context.Context, host string) {
	if net.ParseIP(host) != nil {
		return
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		d.add(checkFail, "name service", fmt.Sprintf("%s cannot be resolved: %v", host, err), "check the address, and the name service of this machine (/etc/resolv.conf)")
		return
	}
	d.ok("name service", "%s is %s", host, strings.Join(addresses, ", "))
}

func (d *doctor) certificate(name string, until time.Time, issuer string) {
	text := fmt.Sprintf("valid until %s, %s", stamp(until), issuer)
	switch left := until.Sub(d.now()); {
	case left < 0:
		d.add(checkFail, name, "expired: "+text, "put a new one in place and restart the server")
	case left < 14*24*time.Hour:
		d.add(checkWarn, name, "expires soon: "+text, "servers with an authority of their own renew by themselves; others need a new one")
	default:
		d.ok(name, "%s", text)
	}
}

// clock judges by how much the server's clock is ahead. The Date header has whole seconds.
func (d *doctor) clock(ahead time.Duration) {
	switch ahead = ahead.Round(time.Second); {
	case ahead.Abs() >= skewLimit:
		d.add(checkFail, "clock", skewText(ahead), "synchronise it, for example with chrony or systemd-timesyncd")
	case ahead.Abs() > 30*time.Second:
		d.add(checkWarn, "clock", fmt.Sprintf("%s away from the server's; from %s on signatures are refused", ahead.Abs(), skewLimit), "synchronise it, for example with chrony or systemd-timesyncd")
	default:
		d.ok("clock", "agrees with the server's")
	}
}

// report writes the checks and returns the exit code.
func (d *doctor) report(s *Streams, o *clientOptions) error {
	fails, warns := 0, 0
	for _, c := range d.list {
		switch c.Status {
		case checkFail:
			fails++
		case checkWarn:
			warns++
		}
	}
	if err := d.write(s, o); err != nil {
		return err
	}
	if o.output == "table" {
		o.say(s, "%s: %d failed, %s", plural(len(d.list), "check", "checks"), fails, plural(warns, "warning", "warnings"))
	}
	if fails > 0 {
		return &ExitError{Code: exitFailed}
	}
	return nil
}

func (d *doctor) write(s *Streams, o *clientOptions) error {
	switch o.output {
	case "json":
		return writeJSON(s.Out, struct{ Checks []check }{d.list})
	case "csv":
		rows := [][]string{{"Area", "Name", "Status", "Text", "Hint"}}
		for _, c := range d.list {
			rows = append(rows, []string{c.Area, c.Name, c.Status, c.Text, c.Hint})
		}
		return writeCSV(s.Out, rows)
	}
	paint := o.paint(s.Out)
	area := ""
	for _, c := range d.list {
		if c.Area != area {
			if area != "" {
				fmt.Fprintln(s.Out)
			}
			area = c.Area
			fmt.Fprintf(s.Out, "%s\n", area)
		}
		mark := fmt.Sprintf("%-4s", c.Status)
		if paint != nil {
			mark = paint(c.Status, mark)
		}
		fmt.Fprintf(s.Out, "  %s  %s: %s\n", mark, c.Name, printable(c.Text))
		if c.Hint != "" {
			fmt.Fprintf(s.Out, "        -> %s\n", printable(c.Hint))
		}
	}
	return nil
}
