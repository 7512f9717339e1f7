package host

import (
	"context"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/apt"
)

// FetchLists gets the package lists of a system that lies unpacked in dir/root and does not run, with this machine's
// own tools and from the system's own sources. It returns what could not be fetched. dir is as for apt.FetchLists.
func FetchLists(ctx context.Context, os baseline.OS, ex patch.Exec, dir string, env []string) ([]string, error) {
	if os.Apt() {
		return apt.FetchLists(ctx, ex, dir, env)
	}
	e := patch.Fail("REPO_METADATA", "the metadata of a %s image cannot be fetched from outside it", os)
	e.Hint = "refresh the metadata inside the image (dnf makecache, zypper refresh), keep it below /var/cache, and scan without --refresh"
	return nil, e
}
