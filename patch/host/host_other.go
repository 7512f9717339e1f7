//go:build !linux && !windows && !darwin

package host

import "oakum.dev/patch"

func openSystem(cfg Config) (patch.PackageManager, error) { return openLinux(cfg) }
