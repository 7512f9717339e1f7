// Package host finds the package manager of a node. It is the only place that knows all of them.
package host

import (
	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Config says where a node's root is and what may be used there.
type Config = system.Config

// Open returns the package manager of the node at cfg.Root. The error of a system that none of them patches is an
// *patch.Error with reason UNSUPPORTED_OS; one of a root that is none wraps fs.ErrNotExist.
func Open(cfg Config) (patch.PackageManager, error) {
	if !cfg.Live {
		return openLinux(cfg)
	}
	return openSystem(cfg)
}
