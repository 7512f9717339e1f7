// Command timer runs inside the node: it times the programs that stdin names and prints what they took. It is a program
// of its own because the peak memory of a process starts with that of the one that forked it.
package main

import (
	"fmt"
	"os"

	"oakum.dev/bench/engine/timing"
)

func main() {
	if err := timing.Run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "timer: "+err.Error())
		os.Exit(1)
	}
}
