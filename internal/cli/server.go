package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"oakum.dev/internal/server"
)

// serverFlags are the flags that oakum server and oakum up share.
type serverFlags struct {
	dataDir, databaseURL, account, region, tlsCert, tlsKey, logLevel string
	listen, proxies                                                  []string
	insecure, printConfig                                            bool
}

func (f *serverFlags) register(cmd *cobra.Command, dataDir string, listen []string) {
	fl := cmd.Flags()
	fl.StringVar(&f.dataDir, "data-dir", envOr("OAKUM_DATA_DIR", dataDir), "`DIR` of database, keys, certificates and buckets")
	if v := os.Getenv("OAKUM_LISTEN"); v != "" {
		listen = strings.Split(v, ",")
	}
	fl.StringSliceVar(&f.listen, "listen", listen, "`URL` to serve: https://ADDRESS:PORT, or http:// on loopback; may be repeated")
	fl.StringVar(&f.databaseURL, "database-url", os.Getenv("OAKUM_DATABASE_URL"), "postgres://... instead of the embedded database")
	fl.StringVar(&f.account, "account-id", os.Getenv("OAKUM_ACCOUNT_ID"), "12 digits; on first start (default "+server.DefaultAccount+")")
	fl.StringVar(&f.region, "region", envOr("OAKUM_REGION", server.DefaultRegion), "region of what the server makes itself; clients name their own")
	fl.StringVar(&f.tlsCert, "tls-cert", os.Getenv("OAKUM_TLS_CERT"), "PEM `FILE` with the certificate (default: signed by the server's own authority)")
	fl.StringVar(&f.tlsKey, "tls-key", os.Getenv("OAKUM_TLS_KEY"), "PEM `FILE` with its key")
	fl.BoolVar(&f.insecure, "insecure-http", os.Getenv("OAKUM_INSECURE_HTTP") == "true", "allow http:// on other than loopback addresses")
	if v := os.Getenv("OAKUM_BEHIND_PROXY"); v != "" {
		f.proxies = strings.Split(v, ",")
	}
	fl.StringSliceVar(&f.proxies, "behind-proxy", f.proxies, "`ADDRESS` or network of a proxy whose X-Forwarded headers are believed; may be repeated")
	fl.Lookup("behind-proxy").NoOptDefVal = "127.0.0.0/8,::1/128"
	fl.StringVar(&f.logLevel, "log-level", envOr("OAKUM_LOG_LEVEL", "info"), "debug, info, warn or error")
}

// config checks the flags.
func (f *serverFlags) config(log *slog.Logger) (server.Config, error) {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return server.Config{}, usage("--tls-cert and --tls-key belong together")
	}
	if f.dataDir == "" {
		return server.Config{}, usage("--data-dir is missing")
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
		Region: f.region, BehindProxy: f.proxies, Version: Version, Binary: self, Log: log,
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

Every flag can be given as an environment variable: --data-dir as OAKUM_DATA_DIR.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(s.Err, f.logLevel)
			if err != nil {
				return err
			}
			cfg, err := f.config(log)
			if err != nil {
				return err
			}
			if f.printConfig {
				printConfig(s, cmd)
				return nil
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
	f.register(cmd, "", []string{"https://0.0.0.0:8443"})
	cmd.Flags().BoolVar(&f.printConfig, "print-config", false, "print every setting with where it comes from, and end")
	return cmd
}

// printConfig shows the value of every flag and its origin. Passwords in the database's URL are left out.
func printConfig(s *Streams, cmd *cobra.Command) {
	for _, name := range []string{"account-id", "behind-proxy", "data-dir", "database-url", "insecure-http", "listen", "log-level", "region", "tls-cert", "tls-key"} {
		fl := cmd.Flags().Lookup(name)
		origin := "default"
		if os.Getenv("OAKUM_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))) != "" {
			origin = "environment"
		}
		if fl.Changed {
			origin = "flag"
		}
		value := fl.Value.String()
		if name == "database-url" && value != "" {
			value = redactURL(value)
		}
		fmt.Fprintf(s.Out, "%-14s %-40s # %s\n", name, value, origin)
	}
}
