package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/internal/agent"
)

func newAgentCommand(s *Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "agent", Short: "Make this machine a managed node and keep it one"}
	cmd.AddCommand(newAgentRegister(s), newAgentRun(s), newAgentStatus(s), newAgentInstall(s), newAgentUninstall(s), newAgentRunStep())
	return cmd
}

func stateDirFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "state-dir", envOr("OAKUM_STATE_DIR", agent.DefaultStateDir), "`DIR` of the node's registration, journal and queues")
}

func newAgentRegister(s *Streams) *cobra.Command {
	o := agent.Options{Version: Version}
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Register this machine with an activation",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, v := range map[string]string{"endpoint": o.Endpoint, "activation-id": o.ActivationID, "activation-code": o.ActivationCode} {
				if v == "" {
					return usage("--%s is missing", name)
				}
			}
			id, err := agent.Register(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s\n", id)
			fmt.Fprintf(s.Err, "oakum: this machine is managed node %s of %s\n", id, o.Endpoint)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Endpoint, "endpoint", os.Getenv("OAKUM_ENDPOINT"), "`URL` of the server")
	f.StringVar(&o.Region, "region", envOr("OAKUM_REGION", "us-east-1"), "region of the activation")
	f.StringVar(&o.ActivationID, "activation-id", "", "id of the activation")
	f.StringVar(&o.ActivationCode, "activation-code", "", "code of the activation")
	f.StringVar(&o.CAFile, "ca-file", "", "PEM `FILE` of the authority that signed the server's certificate")
	f.StringVar(&o.CAPin, "ca-pin", "", "sha256:`HEX` of that authority's certificate, or of its public key")
	f.StringVar(&o.Proxy, "proxy", "", "`URL` of an HTTP proxy (default: from the environment)")
	f.StringVar(&o.Profile, "profile", agent.ProfileFull, `what the node does for the server: "full", or "patch-only" for nothing but patching, inventory and health`)
	f.BoolVar(&o.Force, "force", false, "replace an existing registration; the node gets a new id")
	f.BoolVar(&o.InsecureHTTP, "insecure-http", false, "allow http:// to an address that is not this machine")
	stateDirFlag(cmd, &o.StateDir)
	return cmd
}

func newAgentRun(s *Streams) *cobra.Command {
	var stateDir, level string
	var service bool // the service manager of Windows starts it
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent until it is told to stop",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if service {
				return agent.Serve(stateDir, func(ctx context.Context, log *slog.Logger) error { return runAgent(ctx, log, stateDir) })
			}
			log, err := logger(s.Err, level)
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), log, stateDir)
		},
	}
	stateDirFlag(cmd, &stateDir)
	cmd.Flags().StringVar(&level, "log-level", envOr("OAKUM_LOG_LEVEL", "info"), "debug, info, warn or error")
	cmd.Flags().BoolVar(&service, "service", false, "")
	noError(cmd.Flags().MarkHidden("service"))
	return cmd
}

func runAgent(ctx context.Context, log *slog.Logger, stateDir string) (err error) {
	agent.Tune()
	a, err := agent.New(agent.Config{StateDir: stateDir, Version: Version, Log: log, Settle: settler(log, stateDir)})
	if err != nil {
		return agentError(err, stateDir)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return a.Run(ctx)
}

// settler runs the patch engine to end what a crash left of earlier runs. It is another process, so that the agent
// stays small.
func settler(log *slog.Logger, stateDir string) func(context.Context, string) (string, error) {
	if !agent.Privileged() {
		return nil
	}
	return func(ctx context.Context, command string) (string, error) {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		cmd := exec.CommandContext(ctx, self, "node-patch", "--operation=Settle", "--state-dir="+stateDir, "--given-up="+command)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		text := strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; ")
		if all := strings.TrimSpace(text + " " + said.String()); all != "" {
			log.LogAttrs(ctx, slog.LevelInfo, "earlier patch runs ended", slog.String("runs", all))
		}
		return text, err
	}
}

func agentError(err error, stateDir string) error {
	if errors.Is(err, agent.ErrNotRegistered) {
		return hinted("this node is not registered: "+stateDir+" holds no registration", `make an activation on the server and run "oakum agent register"`)
	}
	return err
}

func newAgentStatus(s *Streams) *cobra.Command {
	var stateDir, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what the agent on this machine is and does",
		Long:  "Say what the agent on this machine is and does. Exit code 1 when the node is not registered or no agent runs.",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			st, err := agent.Status(stateDir)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				e := json.NewEncoder(s.Out)
				e.SetIndent("", "  ")
				if err := e.Encode(st); err != nil {
					return err
				}
			case "table":
				writeAgentStatus(s, st)
			default:
				return usage("--output is table or json, not %q", output)
			}
			if !st.Registered || !st.Running {
				return &ExitError{Code: exitFailed}
			}
			return nil
		},
	}
	stateDirFlag(cmd, &stateDir)
	cmd.Flags().StringVar(&output, "output", "table", "table or json")
	return cmd
}

func writeAgentStatus(s *Streams, st agent.State) {
	line := func(name, value string) { fmt.Fprintf(s.Out, "%-16s %s\n", name, value) }
	if !st.Registered {
		line("Registered", "no")
		return
	}
	line("Node", st.InstanceID)
	line("Endpoint", st.Endpoint)
	line("Region", st.Region)
	line("Profile", st.Profile)
	if st.Running {
		line("Agent", fmt.Sprintf("running, process %d, version %s", st.PID, st.Version))
	} else {
		line("Agent", "not running")
	}
	when := "never"
	if !st.LastContact.IsZero() {
		when = st.LastContact.Local().Format(time.RFC3339) + " (" + age(time.Since(st.LastContact)) + " ago)"
	}
	line("Last contact", when)
	if st.LastError != "" {
		line("Last error", st.LastError)
	}
	if skew := st.ClockSkew.Round(time.Second); skew.Abs() > 5*time.Second {
		line("Clock", fmt.Sprintf("%s away from the server's", skew))
	}
	line("Queued replies", fmt.Sprint(st.QueuedReplies))
	if len(st.UnfinishedCommands) > 0 {
		line("Running", strings.Join(st.UnfinishedCommands, ", "))
	}
}

func newAgentInstall(s *Streams) *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make the agent a service of this machine, and start it",
		Long: `Make the agent a service of this machine, and start it: a systemd unit on Linux, a launchd daemon on macOS, a service on
Windows that runs as SYSTEM. Doing it again puts the present program and paths in place.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := agent.InstallUnit(cmd.Context(), nil, stateDir)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s\n", path)
			return nil
		},
	}
	stateDirFlag(cmd, &stateDir)
	return cmd
}

func newAgentUninstall(s *Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the agent and take its service away; the registration stays",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := agent.UninstallUnit(cmd.Context(), nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s\n", path)
			return nil
		},
	}
}

// newAgentRunStep makes the hidden command that stands around a step's script where there is no shell.
func newAgentRunStep() *cobra.Command {
	return &cobra.Command{
		Use: "run-step EXIT-FILE PID-FILE -- PROGRAM [ARGUMENT...]", Hidden: true, Args: cobra.MinimumNArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			code, err := agent.RunStep(args[0], args[1], args[2:])
			if err != nil {
				return err
			}
			if code != 0 {
				return &ExitError{Code: code}
			}
			return nil
		},
	}
}
