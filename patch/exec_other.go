//go:build !unix

package patch

import "os/exec"

func isolate(*exec.Cmd) {}
