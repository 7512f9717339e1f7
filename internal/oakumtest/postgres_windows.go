package oakumtest

import "os/exec"

const nobody = 0

func dropRoot(*exec.Cmd) {}
