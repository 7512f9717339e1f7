package host

import (
	"os"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/macos"
)

func openSystem(cfg Config) (patch.PackageManager, error) {
	return macos.New(macos.Config{
		Exec: cfg.Exec, FS: cfg.FS, Owner: macos.OwnerOf, Free: macos.FreeIn, Now: time.Now, Note: cfg.Note, Root: os.Geteuid() == 0,
	}), nil
}
