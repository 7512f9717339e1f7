package system

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Leftovers lists files below /etc with one of the suffixes under which a package manager leaves new versions of
// configuration files beside changed ones.
func Leftovers(ctx context.Context, root fs.FS, suffixes []string) ([]string, error) {
	var out []string
	err := fs.WalkDir(root, "etc", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) }) && !d.IsDir() {
			out = append(out, "/"+filepath.ToSlash(name))
		}
		return ctx.Err()
	})
	return out, err
}
