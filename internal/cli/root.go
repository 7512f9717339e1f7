// Package cli is the oakum command: server, agent, patch engine and client, one file for each subcommand.
// Start with Main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Version is what "oakum --version" says; main sets it before Main.
var Version = "0.1.0-dev"

// Main runs the command line and returns the process's exit code: 0 done, 1 failed, 2 usage, and what the
// subcommands say of themselves.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	s := &Streams{In: in, Out: out, Err: errOut}
	root := NewRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return report(s, err)
}

// report prints an error with its hint and returns the exit code.
func report(s *Streams, err error) int {
	if err == nil {
		return 0
	}
	code := exitFailed
	if e, ok := errors.AsType[*ExitError](err); ok {
		code = e.Code
		if e.Err == nil {
			return code
		}
		err = e.Err
	} else if strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "unknown flag") ||
		strings.HasPrefix(err.Error(), "required flag") || strings.HasPrefix(err.Error(), "accepts ") || strings.HasPrefix(err.Error(), "requires ") {
		code = exitUsage
	}
	fmt.Fprintf(s.Err, "oakum: error: %s\n", strings.TrimSpace(err.Error()))
	var h interface{ HintText() string }
	if errors.As(err, &h) {
		fmt.Fprintf(s.Err, "oakum: hint: %s\n", h.HintText())
	} else if code == exitUsage {
		fmt.Fprintln(s.Err, `oakum: hint: see "oakum --help"`)
	}
	return code
}

// NewRoot makes the whole command tree.
func NewRoot(s *Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "oakum",
		Short: "Patch Manager for your own machines",
		Long: `Oakum is AWS Systems Manager Patch Manager as software you run yourself: server, node agent, patch engine and
command-line client in one program. "oakum up" starts a server with this machine as its first managed node;
"oakum scan" checks this machine without any server, and "oakum install" patches it.`,
		Version: Version, SilenceUsage: true, SilenceErrors: true,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &ExitError{exitUsage, err} })
	root.SetVersionTemplate("oakum {{.Version}}\n")
	root.AddCommand(NewScanCommand(s), newInstallCommand(s), newUndoCommand(s), newUpCommand(s), newServerCommand(s), newAdminCommand(s), newBackupCommand(s), newRestoreCommand(s),
		newAgentCommand(s), newNodeCommand(s), newNodePatchCommand(s), newNodeLivePatchCommand(s))
	root.AddCommand(NewClientCommands(s)...)
	return root
}

// noArgs refuses arguments with the exit code of usage errors.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &ExitError{exitUsage, fmt.Errorf("unknown argument %q", args[0])}
	}
	return nil
}

// envOr is a flag's default: the environment's value, else def.
func envOr(name, def string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return def
}
