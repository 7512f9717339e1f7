package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"oakum.dev/internal/oakumtest/golden"
)

// TestReference fails when docs/reference/commands.md does not say what the commands say of themselves.
func TestReference(t *testing.T) {
	for _, name := range []string{"OAKUM_DATA_DIR", "OAKUM_LISTEN", "OAKUM_REGION", "OAKUM_STATE_DIR", "OAKUM_LOG_LEVEL", "AWS_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("HOME", "/root")
	t.Setenv("XDG_DATA_HOME", "")
	var b bytes.Buffer
	fmt.Fprint(&b, "# Commands\n\nMade from the commands' own help; `make generate` rewrites it.\n")
	writeReference(&b, NewRoot(&Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}))
	path := filepath.Join("..", "..", "docs", "reference", "commands.md")
	golden.Check(t, path, b.Bytes(), "run make generate")
}

func writeReference(w io.Writer, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(w, "%s\n", strings.TrimSpace(text))
	if cmd.Runnable() {
		fmt.Fprintf(w, "\n    %s\n", cmd.UseLine())
	}
	var rows []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		kind, help := pflag.UnquoteUsage(f)
		def := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			def = " (default `" + strings.ReplaceAll(f.DefValue, "/root", "~") + "`)"
		}
		rows = append(rows, fmt.Sprintf("| `--%s` %s | %s%s |", f.Name, kind, strings.ReplaceAll(help, "|", "\\|"), def))
	})
	if len(rows) > 0 {
		fmt.Fprintf(w, "\n| flag | |\n| --- | --- |\n%s\n", strings.Join(rows, "\n"))
	}
	for _, sub := range cmd.Commands() {
		writeReference(w, sub)
	}
}
