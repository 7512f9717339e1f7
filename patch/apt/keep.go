package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
)

// maxKept bounds what is kept of one run's old packages, in bytes.
const maxKept = 300 << 20

// Keep puts the package files of the versions that the plan replaces into dir: out of apt's cache, or from an archive
// that still has them.
func (m *Manager) Keep(ctx context.Context, p *patch.Plan, dir string, log *os.File) (map[string]string, error) {
	kept := map[string]string{}
	left := int64(maxKept)
	if v, err := m.volume(dir); err == nil { // what the install needs stays free
		left = min(left, v.free-needs(p))
	}
	var fetch []string
	names := map[string]string{} // file name to key
	var errs []error
	for _, c := range p.Changes {
		if c.Old == "" {
			continue
		}
		file := c.Name + "_" + strings.ReplaceAll(c.Old, ":", "%3a") + "_" + c.Arch + ".deb"
		names[file] = c.Key()
		cached := filepath.Join(m.cfg.Root, m.node.conf.path("Dir::Cache::archives", "archives"), file)
		info, err := os.Stat(cached)
		if err == nil && info.Size() <= left {
			if err := copyFile(cached, filepath.Join(dir, file)); err != nil {
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
			text, _ := readFrom(log.Name(), from) // the code alone is enough
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

// needs is what has to stay free for a plan whose package files are all there.
func needs(p *patch.Plan) int64 {
	var grows int64
	for _, c := range p.Changes {
		grows += max(c.Grows, 0)
	}
	return spare + grows*12/10
}

// copyFile links a file to another folder, or copies it where that is another file system.
func copyFile(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that was interrupted and is taken up
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
