package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"oakum.dev/internal/agent"
	"oakum.dev/internal/server"
)

// defaultDataDir is where "oakum up" keeps its data.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/oakum-server"
	}
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "oakum")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "oakum")
}

func newUpCommand(s *Streams) *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a server with this machine as its first managed node",
		Long: `Run a server on an embedded database with this machine as its first managed node, and scan it at once. Prints
where to look and how to point the AWS CLI at it. As an ordinary user the package lists are judged as they are.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, end, err := f.load(s, cmd)
			if err != nil || end {
				return err
			}
			return runUp(cmd.Context(), s, cfg)
		},
	}
	f.register(cmd, defaultDataDir(), "http://127.0.0.1:8080", "warn")
	return cmd
}

func runUp(ctx context.Context, s *Streams, cfg server.Config) error {
	srv, err := server.New(ctx, cfg)
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") {
			return hinted(err.Error(), "another program serves there: give a free address with --listen, such as --listen http://127.0.0.1:8081")
		}
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Run(gctx) })
	g.Go(func() error {
		err := firstNode(gctx, s, srv, cfg)
		if err != nil && gctx.Err() == nil {
			return err
		}
		return nil
	})
	return g.Wait()
}

// firstNode registers this machine, runs its agent and has it scanned.
func firstNode(ctx context.Context, s *Streams, srv *server.Server, cfg server.Config) (err error) {
	base := srv.Addresses()[0]
	fmt.Fprintf(s.Out, "Oakum is running at %s (account %s, region %s).\n", base, srv.Account(), cfg.Region)
	stateDir := filepath.Join(cfg.DataDir, "node")
	id, fresh, err := ensureRegistered(ctx, srv, cfg, base, stateDir)
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{StateDir: stateDir, Version: Version, Log: cfg.Log})
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(gctx) })
	g.Go(func() error {
		if os.Geteuid() != 0 {
			fmt.Fprintln(s.Out, "Not running as root: the package lists are judged as they lie there, without a refresh.")
		}
		fmt.Fprintf(s.Err, "oakum: scanning this machine (%s)...\n", id)
		res, err := srv.ScanNode(gctx, id)
		if err != nil {
			if gctx.Err() != nil {
				return nil
			}
			fmt.Fprintf(s.Err, "oakum: warning: the first scan failed: %v\n", err)
		}
		writeWelcome(s.Out, cfg, base, id, res, fresh)
		return nil
	})
	err = g.Wait()
	return errors.Join(err, a.Close())
}

func ensureRegistered(ctx context.Context, srv *server.Server, cfg server.Config, base, stateDir string) (id string, fresh bool, err error) {
	if st, err := agent.Status(stateDir); err == nil && st.Registered {
		if ok, err := srv.Knows(ctx, st.InstanceID); err != nil {
			return "", false, err
		} else if ok && st.Endpoint == base {
			return st.InstanceID, false, nil
		}
	}
	activation, code, err := srv.NewActivation(ctx, "this machine")
	if err != nil {
		return "", false, err
	}
	o := agent.Options{
		Endpoint: base, Region: cfg.Region, ActivationID: activation, ActivationCode: code, StateDir: stateDir, Version: Version, Force: true,
		InsecureHTTP: cfg.InsecureHTTP,
	}
	if strings.HasPrefix(base, "https://") && cfg.TLSCert == "" {
		o.CAFile = filepath.Join(cfg.DataDir, "ca.pem")
	}
	id, err = agent.Register(ctx, o)
	return id, true, err
}

func writeWelcome(w io.Writer, cfg server.Config, base, id string, res *server.ScanSummary, fresh bool) {
	known := ""
	if !fresh {
		known = " (registered earlier)"
	}
	fmt.Fprintf(w, "\nThis machine is managed node %s%s.\n", id, known)
	if res != nil {
		fmt.Fprintf(w, "%s %s: %d patches missing, %d of them security; %d installed. Baseline %s.\n",
			res.PlatformName, res.PlatformVersion, res.Missing, res.Security, res.Installed, res.BaselineName)
		if res.RebootRequired {
			fmt.Fprintf(w, "A reboot is due: %s.\n", strings.Join(res.RebootReasons, "; "))
		}
	}
	extra := ""
	if strings.HasPrefix(base, "https://") && cfg.TLSCert == "" {
		extra = "  export AWS_CA_BUNDLE=" + filepath.Join(cfg.DataDir, "ca.pem") + "\n"
	}
	self, err := os.Executable()
	if err != nil {
		self = "oakum"
	}
	fmt.Fprintf(w, `
The AWS CLI, as it is:
  export AWS_SHARED_CREDENTIALS_FILE=%s
%s  aws --region %s --endpoint-url %s ssm describe-instance-information
  aws --region %s --endpoint-url %s ssm describe-instance-patch-states --instance-ids %s

The same, friendlier (with that environment):
  export AWS_ENDPOINT_URL=%s AWS_REGION=%s
  %s nodes
  %s why %s PATCH

Another machine: make an activation and run the line it prints there.
  %s activation create

Ctrl-C stops the server; the data stays in %s.
`, server.CredentialsFile(cfg.DataDir), extra, cfg.Region, base, cfg.Region, base, id, base, cfg.Region, self, self, id, self, cfg.DataDir)
}
