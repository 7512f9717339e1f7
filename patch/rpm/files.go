package rpm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// PackageFile is the usual name of a version's package file. text is the version as in titles.
func PackageFile(name, text, arch string) string {
	_, vr, _ := strings.Cut(text, ":")
	return name + "-" + vr + "." + arch + ".rpm"
}

// NameOf is the name in NAME-[EPOCH:]VERSION-RELEASE[.ARCH], or the whole when there is no version.
func NameOf(nevra string) string {
	i := strings.LastIndexByte(nevra, '-')
	if i <= 0 {
		return nevra
	}
	if k := strings.LastIndexByte(nevra[:i], '-'); k > 0 {
		return nevra[:k]
	}
	return nevra[:i]
}

// WriteSources writes a baseline's sources into a folder of their own, one file each, in place of what was there.
func WriteSources(cfg system.Config, dir string, sources []baseline.Source) error {
	if cfg.CacheDir == "" {
		return errors.New("patch sources need a folder of their own, and there is none")
	}
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	for i, s := range sources {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.repo", i)), []byte(s.Configuration+"\n"), 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("write the patch sources: %w", err)
	}
	return nil
}

// Unsigned finds package files whose signature the node does not accept. files are absolute paths with the keys of what
// they belong to; what comes back is why not, by key.
func Unsigned(ctx context.Context, exec patch.Exec, files map[string]string, log *os.File) (map[string]string, error) {
	if len(files) == 0 {
		return nil, nil
	}
	args := []string{"--checksig"}
	for f := range files {
		args = append(args, f)
	}
	slices.Sort(args[1:])
	out, err := exec.Run(ctx, patch.Command{Path: "/usr/bin/rpmkeys", Args: args, Env: patch.BaseEnv(), Timeout: 10 * time.Minute, MaxOutput: 8 << 20})
	if err != nil {
		return nil, fmt.Errorf("run rpmkeys: %w", err)
	}
	lacking := map[string]string{}
	for _, key := range files {
		lacking[key] = "its signature could not be read"
	}
	for line := range strings.Lines(string(out.Stdout)) {
		file, said, ok := strings.Cut(strings.TrimSpace(line), ": ")
		key, known := files[file]
		switch {
		case !ok || !known:
		case accepted(said):
			delete(lacking, key)
		default:
			lacking[key] = "its signature is not accepted (" + said + "): import the key of its repository with rpm --import"
		}
	}
	if len(lacking) > 0 {
		fmt.Fprintf(log, "\n$ rpmkeys --checksig\n%s%s", out.Stdout, out.Stderr) // a log
	}
	return lacking, nil
}

// accepted reads what rpm --checksig says of a file: "digests signatures OK", and before rpm 4.14 "rsa sha1 (md5) pgp md5 OK".
// What is wrong is in capitals; a file without a signature is OK by its digests alone.
func accepted(said string) bool {
	words := strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(said))
	n := len(words)
	return n > 1 && words[n-1] == "OK" && words[n-2] != "NOT" &&
		slices.ContainsFunc(words[:n-1], func(w string) bool { return slices.Contains([]string{"signatures", "pgp", "gpg", "rsa", "dsa"}, w) })
}

// Keep puts the package files of the versions that a plan replaces into dir and returns their names by Change.Key: those
// that cached names (absolute paths), and those that fetch can get into dir. There is a bound on what is kept.
func (r *Reader) Keep(
	ctx context.Context, p *patch.Plan, dir string, cached func(name, text, arch string) []string, fetch func([]*md.Package) error,
) (map[string]string, error) {
	kept := map[string]string{}
	left := int64(system.MaxKept)
	if v, err := system.VolumeOf("/", dir); err == nil {
		left = min(left, v.Free-system.Needs(p))
	}
	var ask []*md.Package
	names := map[string]string{} // file to key
	for _, c := range p.Changes {
		if c.Old == "" || c.Own { // what can be had under its name is another one
			continue
		}
		have, err := r.Installed(ctx, c.Name)
		if err != nil {
			return kept, err
		}
		if list := have[c.Arch]; len(list) > 0 && r.installOnly(list[0]) {
			continue // the old one stays installed
		}
		file := PackageFile(c.Name, c.Old, c.Arch)
		if files := cached(c.Name, c.Old, c.Arch); len(files) > 0 {
			info, err := os.Stat(files[0])
			if err == nil && info.Size() <= left && system.KeepFile(files[0], filepath.Join(dir, file)) == nil {
				left -= info.Size()
				kept[c.Key()] = file
			}
			continue
		}
		o, ok := r.Offered(ctx, c.Name, c.Arch, c.Old)
		if !ok || o.Bytes > left {
			continue
		}
		left -= o.Bytes
		names[path.Base(o.Location)] = c.Key()
		ask = append(ask, o)
	}
	if len(ask) == 0 || ctx.Err() != nil {
		return kept, nil
	}
	err := fetch(ask)
	for file, key := range names {
		if _, no := os.Stat(filepath.Join(dir, file)); no == nil {
			kept[key] = file
		}
	}
	return kept, err
}
