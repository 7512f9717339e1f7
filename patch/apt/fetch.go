package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/repo/deb"
)

// maxKey bounds a key or a list of sources of a foreign root.
const maxKey = 4 << 20

// FetchLists gets the package lists of a system that lies unpacked in dir/root, such as an image's, with this machine's
// apt-get. The system's own sources and keys are used and none of its other settings: they are foreign, and apt's
// settings can name programs to run. This machine's proxies are used, and nothing of it is changed. What could not be
// fetched is returned as Refresh does. dir has to be passable (0711) for apt's own user; beside root it must be empty.
func FetchLists(ctx context.Context, ex patch.Exec, dir string, env []string) (failed []string, err error) {
	top, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	img, err := top.OpenRoot("root")
	if err != nil {
		return nil, err
	}
	defer img.Close()
	n := &node{cfg: &system.Config{FS: img.FS()}, pkgs: map[string]*pkg{}, looked: map[string]bool{}}
	if n.conf, _, err = readConf(n.cfg.FS); err != nil {
		return nil, fmt.Errorf("read apt's configuration: %w", err)
	}
	if err := n.readStatus(); err != nil {
		return nil, err
	}
	n.readArchitectures()
	f := &fetching{n: n, dir: filepath.Join(dir, "fetch")}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "keys", "sources", "state"} {
		if err := os.MkdirAll(filepath.Join(f.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := f.sources(); err != nil {
		return nil, err
	}
	if err := f.trusted(); err != nil {
		return nil, err
	}
	conf, err := f.config(ctx, ex, filepath.Join(dir, "root"))
	if err != nil {
		return nil, err
	}
	out, err := ex.Run(ctx, patch.Command{
		Path: "/usr/bin/apt-get", Args: []string{"-q", "-o", "APT::Update::Error-Mode=any", "-o", "Dpkg::Use-Pty=0", "update"},
		Env: append(append(patch.BaseEnv(), env...), "APT_CONFIG="+conf), Timeout: 30 * time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("run apt-get update for the image: %w", err)
	}
	if out.Code < 0 {
		return nil, patch.Fail("REPO_METADATA", "apt-get update was killed")
	}
	f.failed = append(f.failed, updateFaults(string(out.Stdout)+string(out.Stderr), out.Code)...)
	return f.failed, f.deliver(top)
}

// fetching is one FetchLists.
type fetching struct {
	n      *node
	dir    string // passable for apt's own user, as everything below it
	keys   int
	failed []string
}

var (
	signedBy   = regexp.MustCompile(`(?im)^(signed-by:[ \t]*)(/.*)$`)
	signedByIn = regexp.MustCompile(`(?i)([\[ \t]signed-by=)(/[^\] \t]*)`)
)

// sources copies the image's sources, with copies of the keys that they name. A file with other addresses than those
// of the web is left out: apt's other methods read this machine's files and start its programs.
func (f *fetching) sources() error {
	root := f.n.cfg.FS
	files, err := parts(root, f.n.conf.path("Dir::Etc::sourceparts", "sources.list.d"), ".list", ".sources")
	if err != nil {
		return err
	}
	for i, name := range append([]string{f.n.conf.path("Dir::Etc::sourcelist", "sources.list")}, files...) {
		b, err := readBounded(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		text, ext, read, names := string(b), ".list", deb.ReadSourcesList, signedByIn
		if path.Ext(name) == ".sources" {
			ext, read, names = ".sources", deb.ReadSources, signedBy
		}
		list, err := read(strings.NewReader(text))
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		if s := slices.IndexFunc(list, func(s deb.Source) bool { return !web(s.URI) }); s >= 0 {
			f.failed = append(f.failed, fmt.Sprintf("/%s: %s is not an address of the web, and no other is fetched for an image", name, list[s].URI))
			continue
		}
		text = names.ReplaceAllStringFunc(text, func(m string) string {
			part := names.FindStringSubmatch(m)
			paths := strings.FieldsFunc(part[2], func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
			for i, p := range paths {
				if !strings.HasPrefix(p, "/") {
					continue // a fingerprint
				}
				if paths[i], err = f.key(p); err != nil {
					f.failed = append(f.failed, fmt.Sprintf("/%s: the key %s: %v", name, p, err))
				}
			}
			return part[1] + strings.Join(paths, ",")
		})
		if err := os.WriteFile(filepath.Join(f.dir, "sources", fmt.Sprintf("%04d%s", i, ext)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func web(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// key copies a key of the image to where apt's own user can read it.
func (f *fetching) key(name string) (string, error) {
	to := filepath.Join(f.dir, "keys", fmt.Sprintf("%04d%s", f.keys, path.Ext(name)))
	f.keys++
	b, err := readBounded(f.n.cfg.FS, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return to, err
	}
	return to, os.WriteFile(to, b, 0o644)
}

// trusted copies the keys that are good for every source.
func (f *fetching) trusted() error {
	dir := filepath.Join(f.dir, "trusted.gpg.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	files, err := parts(f.n.cfg.FS, "etc/apt/trusted.gpg.d", ".gpg", ".asc")
	if err != nil {
		return err
	}
	for _, name := range append(files, "etc/apt/trusted.gpg") {
		b, err := readBounded(f.n.cfg.FS, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(name)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readBounded(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err == nil && len(b) > maxKey {
		err = fmt.Errorf("/%s is larger than %d bytes", name, maxKey)
	}
	return b, err
}

// config writes the settings of the run. They are all there are: those of this machine may start programs after an
// update that clear its caches, and those of the image are foreign.
func (f *fetching) config(ctx context.Context, ex patch.Exec, root string) (string, error) {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s \"%s\";\n", key, value) }
	out, err := ex.Run(ctx, patch.Command{Path: "/usr/bin/apt-config", Args: []string{"dump"}, Env: patch.BaseEnv(), Timeout: time.Minute})
	if err != nil {
		e := patch.Fail("REPO_METADATA", "the image's lists cannot be fetched with this machine's apt-get: %w", err)
		e.Hint = "run apt-get update inside the image, keep /var/lib/apt/lists, and scan it again"
		return "", e
	}
	for line := range strings.Lines(string(out.Stdout)) { // this machine's way to the web
		for _, k := range []string{"Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::ForceIPv"} {
			if strings.HasPrefix(line, k) {
				b.WriteString(line)
			}
		}
	}
	for _, m := range []string{"cdrom", "copy", "file", "ftp", "mirror", "rsh", "ssh", "tor"} {
		set("Dir::Bin::Methods::"+m, "false")
	}
	set("Dir::Etc::main", "/dev/null")
	set("Dir::Etc::parts", "/dev/null")
	set("Dir::Etc::sourcelist", "/dev/null")
	set("Dir::Etc::sourceparts", filepath.Join(f.dir, "sources"))
	set("Dir::Etc::trusted", "/dev/null")
	set("Dir::Etc::trustedparts", filepath.Join(f.dir, "trusted.gpg.d"))
	set("Dir::Etc::preferences", "/dev/null")
	set("Dir::Etc::preferencesparts", "/dev/null")
	set("Dir::Etc::netrc", filepath.Join(root, "etc/apt/auth.conf"))
	set("Dir::Etc::netrcparts", filepath.Join(root, "etc/apt/auth.conf.d"))
	set("Dir::State", filepath.Join(f.dir, "state"))
	set("Dir::State::lists", filepath.Join(f.dir, "lists"))
	set("Dir::State::status", filepath.Join(root, "var/lib/dpkg/status"))
	set("Dir::Cache", filepath.Join(f.dir, "cache"))
	set("Dir::Cache::pkgcache", "")
	set("Dir::Cache::srcpkgcache", "")
	set("Acquire::Languages", "none")
	for _, a := range append([]string{f.n.native}, f.n.archs...) {
		if !plainWord(a) {
			return "", patch.Fail("REPO_METADATA", "the image's architecture %.60q is none", a)
		}
	}
	set("APT::Architecture", f.n.native)
	for _, a := range f.n.archs {
		set("APT::Architectures::", a)
	}
	name := filepath.Join(f.dir, "apt.conf")
	return name, os.WriteFile(name, []byte(b.String()), 0o644)
}

// plainWord reports whether s can stand in a setting without being read as something else.
func plainWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._:/~") == ""
}

// deliver puts the lists where the scan looks for them.
func (f *fetching) deliver(top *os.Root) error {
	now := time.Now()
	entries, err := fs.ReadDir(top.FS(), "fetch/lists")
	if err != nil {
		return err
	}
	for _, e := range entries { // apt gives files the publisher's time; a scan wants to know when they were fetched
		if e.Type().IsRegular() {
			if err := top.Chtimes("fetch/lists/"+e.Name(), now, now); err != nil {
				return err
			}
		}
	}
	if err := top.RemoveAll("fetch/lists/partial"); err != nil {
		return err
	}
	lists := "root/" + f.n.conf.path("Dir::State::lists", "lists")
	if err := top.RemoveAll(lists); err != nil {
		return err
	}
	if err := top.MkdirAll(path.Dir(lists), 0o700); err != nil {
		return err
	}
	return top.Rename("fetch/lists", lists)
}
