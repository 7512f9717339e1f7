//go:build !unix

package patch

import "os/exec"

func isolate(*exec.Cmd) {}

func scoped(_, path string, args []string) (string, []string) { return path, args }
