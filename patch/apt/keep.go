package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
)

// Keep puts the package files of the versions that the plan replaces into dir: out of apt's cache, or from an archive
// that still has them.
func (m *Manager) Keep(ctx context.Context, p *patch.Plan, dir string, log *os.File) (map[string]string, error) {
	kept := map[string]string{}
	left := int64(system.MaxKept)
	if v, err := system.VolumeOf("/", dir); err == nil { // what the install needs stays free
		left = min(left, v.Free-system.Needs(p))
	}
	var fetch []string
	names := map[string]string{} // file name to key
	var errs []error
	for _, c := range p.Changes {
		if c.Old == "" || c.Own { // a file of that name would be the other build
			continue
		}
		file := c.Name + "_" + strings.ReplaceAll(c.Old, ":", "%3a") + "_" + c.Arch + ".deb"
		names[file] = c.Key()
		cached := filepath.Join(m.cfg.Root, m.node.conf.path("Dir::Cache::archives", "archives"), file)
		info, err := os.Stat(cached)
		if err == nil && info.Size() <= left {
			if err := system.KeepFile(cached, filepath.Join(dir, file)); err != nil {
				errs = append(errs, err)
				continue
			}
			left -= info.Size()
			kept[c.Key()] = file
			continue
		}
		pkg := m.node.pkgs[key(c.Name, m.archOf(c.Arch))]
		if pkg == nil || pkg.installed == nil || pkg.installed.Size > left || m.node.sourced ||
			!slices.ContainsFunc(pkg.installed.indexes, func(i *index) bool { return i.trusted }) {
			continue
		}
		left -= pkg.installed.Size
		fetch = append(fetch, c.Name+":"+m.archOf(c.Arch)+"="+c.Old)
	}
	if len(fetch) > 0 && ctx.Err() == nil {
		from, err := log.Seek(0, io.SeekEnd)
		if err != nil {
			return kept, err
		}
		fmt.Fprintf(log, "\n$ apt-get download %s\n", strings.Join(fetch, " ")) // a log
		out, err := m.cfg.Exec.Run(ctx, patch.Command{
			Path: "/usr/bin/apt-get", Args: append([]string{"-q", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Sandbox::User=root", "download"}, fetch...),
			Env: patch.BaseEnv(), Dir: dir, Log: log, Timeout: 10 * time.Minute,
		})
		if err != nil {
			errs = append(errs, err)
		} else if out.Code != 0 {
			text, _ := system.ReadFrom(log.Name(), from) // the code alone is enough
			errs = append(errs, fmt.Errorf("apt-get download: %s", complaint(text, out.Code)))
		}
		for file, key := range names {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
				kept[key] = file
			}
		}
	}
	return kept, errors.Join(errs...)
}
