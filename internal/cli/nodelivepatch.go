package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/baseline"
	"oakum.dev/document"
	"oakum.dev/patch"
	"oakum.dev/patch/livepatch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
)

// nodeLivePatch is one run of AWS-ConfigureKernelLivePatching on a node: the payload of the document's step.
type nodeLivePatch struct{ change, rebootAllowed, stateDir string }

// newNodeLivePatchCommand makes the hidden command that the document runs. It is not part of the command-line contract.
func newNodeLivePatchCommand(s *Streams) *cobra.Command {
	var o nodeLivePatch
	cmd := &cobra.Command{
		Use:    "node-livepatch",
		Short:  "Turn kernel live patching on or off for a document",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reboot, err := o.run(cmd.Context(), s)
			if err != nil {
				e, ok := errors.AsType[*patch.Error](err)
				if !ok {
					e = patch.Fail("FAILED", "%v", err)
				}
				fmt.Fprintln(s.Err, e.Line())
				if e.Hint != "" {
					fmt.Fprintln(s.Err, e.Hint)
				}
				return &ExitError{Code: exitFailed}
			}
			if reboot {
				return &ExitError{Code: document.ExitReboot}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.change, "change", "", "Enable or Disable")
	f.StringVar(&o.rebootAllowed, "reboot-allowed", "True", "True or False")
	stateDirFlag(cmd, &o.stateDir)
	return cmd
}

func (o *nodeLivePatch) run(ctx context.Context, s *Streams) (reboot bool, err error) {
	switch {
	case o.change != "Enable" && o.change != "Disable":
		return false, coded("PARAM_CONFLICT", 1, "EnableOrDisable is Enable or Disable, not %q", o.change)
	case o.rebootAllowed != "True" && o.rebootAllowed != "False":
		return false, coded("PARAM_CONFLICT", 1, "RebootAllowed is True or False, not %q", o.rebootAllowed)
	case runtime.GOOS != "linux":
		return false, coded("UNSUPPORTED_OS", patch.CodeUnsupported, "kernel live patching is configured on Amazon Linux only")
	}
	root := os.DirFS("/")
	platform, err := system.Platform(root, "live patching", func(baseline.OS) bool { return true })
	if err != nil {
		return false, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return false, err
	}
	n := livepatch.Node{
		OS: platform.Node.OS, Kernel: strings.TrimSpace(string(kernel)), FS: root, Exec: patch.OSExec{}, Now: time.Now(),
		Arch: rpm.Machine(root),
	}
	amazon := n.OS == baseline.AmazonLinux2 || n.OS == baseline.AmazonLinux2023
	if amazon && os.Geteuid() != 0 {
		return false, coded("FAILED", 1, "configuring live patching needs root, and the agent runs as an ordinary user. Nothing was changed")
	}
	if amazon { // a patch run and this would be in each other's way
		owner := patch.Owner{PID: os.Getpid(), Run: os.Getenv("SSM_COMMAND_ID"), Command: "configure live patching", Since: time.Now().UTC()}
		release, err := patch.Lock(ctx, o.stateDir, owner, 10*time.Minute, func(by patch.Owner) {
			fmt.Fprintf(s.Out, "waiting for another patch run: %s\n", by)
		})
		if err != nil {
			return false, err
		}
		defer release()
	}
	return livepatch.Configure(ctx, n, livepatch.Change{
		Enable: o.change == "Enable", RebootAllowed: o.rebootAllowed == "True",
		Say: func(text string) { fmt.Fprintln(s.Out, text) },
		Sleep: func(ctx context.Context, d time.Duration) bool {
			select {
			case <-ctx.Done():
				return false
			case <-time.After(d):
				return true
			}
		},
	})
}
