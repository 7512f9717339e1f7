package host

import (
	"oakum.dev/patch"
	"oakum.dev/patch/wua"
)

func openSystem(cfg Config) (patch.PackageManager, error) {
	c, err := wua.System(cfg.CacheDir, cfg.Note)
	if err != nil {
		return nil, err
	}
	c.Wait = cfg.LockWait
	return wua.New(c), nil
}
