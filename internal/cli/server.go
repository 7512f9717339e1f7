package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"oakum.dev/internal/server"
)

// livePatchRebootUsage says what --compat-livepatch-reboot does, for the fleet of a server and for one machine.
const livePatchRebootUsage = "reboot with RebootIfNeeded also when only kernel live patches were installed, as AWS does"

// serverFlags are the flags that oakum server and oakum up share.
type serverFlags struct {
	configFile                                                       string
	dataDir, databaseURL, account, region, tlsCert, tlsKey, logLevel string
	listen, proxies                                                  []string
	insecure, printConfig, livePatchReboot                           bool
}

// register makes the flags; resolve gives them their values of the environment and the configuration file.
func (f *serverFlags) register(cmd *cobra.Command, dataDir, listen, logLevel string) {
	fl := cmd.Flags()
	fl.StringVar(&f.configFile, "config", os.Getenv("OAKUM_CONFIG"), "YAML `FILE` of settings, named like the flags")
	fl.StringVar(&f.dataDir, "data-dir", dataDir, "`DIR` of database, keys, certificates and buckets")
	fl.StringSliceVar(&f.listen, "listen", []string{listen}, "`URL` to serve: https://ADDRESS:PORT, or http:// on loopback; may be repeated")
	fl.StringVar(&f.databaseURL, "database-url", "", "postgres://... instead of the embedded database")
	fl.StringVar(&f.account, "account-id", "", "12 digits; on first start (default "+server.DefaultAccount+")")
	fl.StringVar(&f.region, "region", server.DefaultRegion, "region of what the server makes itself; clients name their own")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "PEM `FILE` with the certificate (default: signed by the server's own authority)")
	fl.StringVar(&f.tlsKey, "tls-key", "", "PEM `FILE` with its key")
	fl.BoolVar(&f.insecure, "insecure-http", false, "allow http:// on other than loopback addresses")
	fl.StringSliceVar(&f.proxies, "behind-proxy", nil, "`ADDRESS` or network of a proxy whose X-Forwarded headers are believed; may be repeated")
	fl.Lookup("behind-proxy").NoOptDefVal = "127.0.0.0/8,::1/128"
	fl.BoolVar(&f.livePatchReboot, "compat-livepatch-reboot", false, livePatchRebootUsage)
	fl.StringVar(&f.logLevel, "log-level", logLevel, "debug, info, warn or error")
	fl.BoolVar(&f.printConfig, "print-config", false, "print every setting with where it comes from, and end")
}

// load makes the server's configuration of flags, environment and file. end tells that it was only to be shown.
func (f *serverFlags) load(s *Streams, cmd *cobra.Command) (cfg server.Config, end bool, err error) {
	origins, err := f.resolve(cmd)
	if err != nil {
		return cfg, false, err
	}
	if f.printConfig {
		return cfg, true, printConfig(s.Out, cmd, origins)
	}
	log, err := logger(s.Err, f.logLevel)
	if err != nil {
		return cfg, false, err
	}
	cfg, err = f.config(log)
	return cfg, false, err
}

// config checks the flags.
func (f *serverFlags) config(log *slog.Logger) (server.Config, error) {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return server.Config{}, usage("--tls-cert and --tls-key belong together")
	}
	if f.dataDir == "" {
		return server.Config{}, usageHint("--data-dir is missing", "it can be given as OAKUM_DATA_DIR and in the file of --config too")
	}
	dir, err := filepath.Abs(f.dataDir)
	if err != nil {
		return server.Config{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return server.Config{}, fmt.Errorf("find this program: %w", err)
	}
	return server.Config{
		DataDir: dir, Listen: f.listen, InsecureHTTP: f.insecure, TLSCert: f.tlsCert, TLSKey: f.tlsKey, DatabaseURL: f.databaseURL, Account: f.account,
		Region: f.region, BehindProxy: f.proxies, CompatLivePatchReboot: f.livePatchReboot, Version: Version, Binary: self, Log: log,
	}, nil
}

// logger writes JSON, or text on a terminal.
func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level is debug, info, warn or error, not %q", level)
	}
	o := &slog.HandlerOptions{Level: l}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return slog.New(slog.NewJSONHandler(w, o)), nil
}

func newServerCommand(s *Streams) *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the server",
		Long: `Run the server. The first start on an empty data directory makes the account and an administrator access key
in DIR/admin.credentials. SIGTERM lets calls under way finish and ends with 0.

Every setting can be given as a flag, as an environment variable (--data-dir as OAKUM_DATA_DIR) or in the YAML file
of --config or OAKUM_CONFIG (as data-dir), in this order; --print-config shows what is in effect and why.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, end, err := f.load(s, cmd)
			if err != nil || end {
				return err
			}
			srv, err := server.New(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for _, a := range srv.Addresses() {
				fmt.Fprintf(s.Out, "oakum: listening on %s\n", a)
			}
			return srv.Run(cmd.Context())
		},
	}
	f.register(cmd, "", "https://0.0.0.0:8443", "info")
	return cmd
}
