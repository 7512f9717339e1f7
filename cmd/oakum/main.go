// Command oakum is the server, the node agent, the patch engine and the command-line client.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"oakum.dev/internal/cli"
)

// version is set by the linker.
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cli.Version = version
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
