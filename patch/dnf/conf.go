package dnf

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// repo is a repository of the node's configuration.
type repo struct {
	rpm.Repo
	section     *md.Section
	hotfixes    bool   // its packages are not hidden by modules
	certificate string // why its client certificate gives no access
}

// config is what dnf's configuration says. Source: dnf.conf(5), yum.conf(5).
type config struct {
	main     *md.Section
	vars     map[string]string
	repos    []*repo
	cacheDir string
	locks    []lock
	digest   []byte // of everything that was read
	degraded []string
	known    func(match func(name, arch string) bool) bool // whether any package, installed or offered, matches
	asNames  map[string]bool                               // entries of excludes and includes to whether a package has such a name
}

// latest: Amazon Linux 2023 locks a node to the release that it was installed with. Its updates are in later ones, and
// patching takes the latest, as the original does.
func (m *Manager) latest() bool { return m.platform.Node.OS == baseline.AmazonLinux2023 }

// readConfig reads the node's configuration, with a baseline's sources in place of its repositories where there are any.
func (m *Manager) readConfig(ctx context.Context, sources []baseline.Source) (*config, error) {
	c := &config{}
	h := sha256.New()
	raw := func(name string) ([]byte, error) { // what is read is part of what an answer follows from
		b, err := system.ReadFile(m.cfg.FS, name)
		fmt.Fprintf(h, "%s %d %v\n", name, len(b), err == nil)
		h.Write(b)
		return b, err
	}
	read := func(name string) (md.Conf, error) {
		b, err := raw(name)
		if err != nil {
			return md.Conf{}, err
		}
		conf, err := m.readINI(b)
		if err != nil {
			err = fmt.Errorf("/%s: %w", name, errINI{err})
		}
		return conf, err
	}
	file := "etc/dnf/dnf.conf"
	if m.tool.name == "yum3" {
		file = "etc/yum.conf"
	}
	conf, err := read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c.main = conf.Section("main")
	if err := m.readVars(ctx, c); err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(c.vars)) {
		fmt.Fprintf(h, "%s=%s\n", k, c.vars[k])
	}
	c.cacheDir = strings.TrimPrefix(path.Clean(md.Expand(c.main.Get("cachedir", m.defaultCache()), c.vars)), "/")
	confs := []md.Conf{conf}
	if sources != nil {
		c.cacheDir = "" // its own
		confs = nil
		for _, s := range sources {
			conf, err := m.readINI([]byte(s.Configuration))
			if err != nil {
				return nil, fmt.Errorf("patch source %s: %w", s.Name, err)
			}
			h.Write([]byte(s.Configuration))
			confs = append(confs, conf)
		}
	} else {
		dirs := c.main.List("reposdir")
		if len(dirs) == 0 {
			dirs = []string{"/etc/yum.repos.d", "/etc/yum/repos.d", "/etc/distro.repos.d"}
		}
		for _, dir := range dirs {
			entries, err := fs.ReadDir(m.cfg.FS, strings.TrimPrefix(path.Clean(dir), "/"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("read the repositories: %w", err)
			}
			// In dnf's order, which counts where two files have a repository of the same id: a.repo comes before a-b.repo.
			slices.SortFunc(entries, func(a, b fs.DirEntry) int {
				return strings.Compare(strings.TrimSuffix(a.Name(), ".repo"), strings.TrimSuffix(b.Name(), ".repo"))
			})
			for _, e := range entries {
				if path.Ext(e.Name()) != ".repo" || strings.HasPrefix(e.Name(), ".") || e.IsDir() {
					continue
				}
				conf, err := read(strings.TrimPrefix(path.Join(dir, e.Name()), "/"))
				if _, bad := errors.AsType[errINI](err); bad { // dnf goes on without it
					c.degraded = append(c.degraded, m.Name()+" cannot read "+err.Error()+": its repositories are not looked at")
					continue
				}
				if err != nil {
					return nil, fmt.Errorf("read the repositories: %w", err)
				}
				confs = append(confs, conf)
			}
		}
	}
	overrides, err := m.dropIns(c, read)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for i := range confs {
		for k := range confs[i].Sections {
			s := &confs[i].Sections[k]
			if s.Name == "main" || s.Name == "" || known[s.Name] { // the first one of an id counts, enabled or not
				continue
			}
			known[s.Name] = true
			if strings.ContainsFunc(md.Expand(s.Name, c.vars), notInID) { // dnf leaves it out, with a word about it
				c.degraded = append(c.degraded, fmt.Sprintf("%q is no id that a repository can have: %s does not look at it", s.Name, m.Name()))
				continue
			}
			for _, o := range overrides {
				if baseline.Glob(o.Name, s.Name) {
					s.Keys = append(slices.Clone(o.Keys), s.Keys...) // the first of a key is what is read
				}
			}
			if s.Bool("enabled", true) {
				c.repos = append(c.repos, m.repository(c, s, sources))
			}
		}
	}
	if c.locks, err = m.readLocks(c.main, raw, read); err != nil {
		return nil, err
	}
	c.digest = h.Sum(nil)
	return c, nil
}

// errINI: a file is none that dnf could read.
type errINI struct{ error }

func (e errINI) Unwrap() error { return e.error }

// readINI reads a configuration file. A value that is in quotes as a whole is read without them by dnf, with them by yum 3.
func (m *Manager) readINI(b []byte) (md.Conf, error) {
	if m.tool.name == "yum3" {
		return md.ReadConf(bytes.NewReader(b), md.Yum)
	}
	conf, err := md.ReadConf(bytes.NewReader(b), md.DNF)
	for i := range conf.Sections {
		for k := range conf.Sections[i].Keys {
			v := &conf.Sections[i].Keys[k].Value
			if n := len(*v); n > 1 && (*v)[0] == (*v)[n-1] && ((*v)[0] == '"' || (*v)[0] == '\'') {
				*v = (*v)[1 : n-1]
			}
		}
	}
	return conf, err
}

// notInID reports what dnf allows in no repository's id.
func notInID(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:", r))
}

// dropIns are the settings of dnf 5 that lie beside its configuration: of main they are merged, those of repositories come
// back, later ones first. Source: dnf5.conf(5) and dnf5(8), "Drop-in configuration" and "Repository overrides".
func (m *Manager) dropIns(c *config, read func(string) (md.Conf, error)) ([]md.Section, error) {
	if m.tool.name != "dnf5" {
		return nil, nil
	}
	var overrides []md.Section
	for _, dir := range []string{"usr/share/dnf5/libdnf.conf.d", "etc/dnf/libdnf5.conf.d", "usr/share/dnf5/repos.override.d", "etc/dnf/repos.override.d"} {
		entries, err := fs.ReadDir(m.cfg.FS, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		for _, e := range entries { // by name
			if ext := path.Ext(e.Name()); e.IsDir() || ext != ".conf" && ext != ".repo" {
				continue
			}
			conf, err := read(path.Join(dir, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("read the configuration: %w", err)
			}
			if main := conf.Section("main"); main != nil && strings.Contains(dir, "conf.d") {
				if c.main == nil {
					c.main = &md.Section{Name: "main"}
				}
				c.main.Keys = append(slices.Clone(main.Keys), c.main.Keys...)
				continue
			}
			overrides = append(overrides, conf.Sections...)
		}
	}
	return overrides, nil
}

func (m *Manager) defaultCache() string {
	switch m.tool.name {
	case "dnf5":
		return "/var/cache/libdnf5"
	case "yum3":
		return "/var/cache/yum/$basearch/$releasever"
	}
	return "/var/cache/dnf"
}

// readVars finds what $releasever, $basearch and the node's own variables stand for.
func (m *Manager) readVars(ctx context.Context, c *config) error {
	arch := rpm.Machine(m.cfg.FS)
	c.vars = map[string]string{"arch": arch, "basearch": rpm.BaseArch(arch)}
	dirs := c.main.List("varsdir")
	if len(dirs) == 0 || m.tool.name == "yum3" {
		dirs = []string{"/etc/yum/vars", "/etc/dnf/vars"}
	}
	for _, dir := range dirs {
		vars, err := md.ReadVars(m.cfg.FS, strings.TrimPrefix(path.Clean(dir), "/"))
		if err != nil {
			return fmt.Errorf("read the variables: %w", err)
		}
		for k, v := range vars {
			c.vars[k] = v
		}
	}
	switch {
	case m.latest():
		c.vars["releasever"] = "latest"
	case c.vars["releasever"] != "":
		c.degraded = append(c.degraded, "the node is locked to release "+c.vars["releasever"]+": later ones are not looked at")
		if m.platform.Version == c.vars["releasever"] || strings.HasPrefix(m.platform.Version, c.vars["releasever"]+".") {
			c.degraded = nil // it says no more than the system itself
		}
	default:
		r, err := rpm.ReleaseVersion(ctx, m.cfg.FS)
		if err != nil {
			return err
		}
		c.vars["releasever"] = cmp.Or(r, m.platform.Version)
	}
	major, minor, _ := strings.Cut(c.vars["releasever"], ".")
	c.vars["releasever_major"], c.vars["releasever_minor"] = major, minor
	return nil
}

// repository makes a repository of its section. Where dnf keeps its metadata follows from its address.
func (m *Manager) repository(c *config, s *md.Section, sources []baseline.Source) *repo {
	get := func(key string) string { return strings.TrimSpace(md.Expand(s.Get(key, ""), c.vars)) }
	number := func(key string, otherwise int) int { // of the repository alone: main has neither priority nor cost
		if n, err := strconv.Atoi(get(key)); err == nil {
			return n
		}
		return otherwise
	}
	id := md.Expand(s.Name, c.vars)
	r := &repo{section: s, hotfixes: s.Bool("module_hotfixes", false)}
	base := ""
	if list := s.List("baseurl"); len(list) > 0 {
		base = md.Expand(list[0], c.vars)
		if strings.HasPrefix(base, "/") && m.tool.name != "yum3" {
			base = "file://" + base
		}
	}
	address := cmp.Or(get("metalink"), get("mirrorlist"), base, id)
	r.Repo = rpm.Repo{
		ID: id, Name: md.Expand(s.Get("name", id), c.vars), URI: address, Priority: number("priority", 99), Cost: number("cost", 1000),
		Trusted: s.Bool("gpgcheck", c.main.Bool("gpgcheck", false)), Failed: m.failed[id],
	}
	r.Dir = m.metadataDir(c, id, address, sources)
	if cert := md.Expand(cmp.Or(s.Get("sslclientcert", ""), c.main.Get("sslclientcert", "")), c.vars); cert != "" {
		r.certificate = m.entitlement(cert)
	}
	return r
}

func (m *Manager) metadataDir(c *config, id, address string, sources []baseline.Source) string {
	cache := c.cacheDir
	if sources != nil {
		dir, err := filepath.Rel(m.cfg.Root, filepath.Join(m.ownDir(), "cache"))
		if err != nil || strings.HasPrefix(dir, "..") {
			return ""
		}
		cache = filepath.ToSlash(dir)
	}
	sum := sha256.Sum256([]byte(address))
	for _, dir := range []string{path.Join(cache, id+"-"+hex.EncodeToString(sum[:8]), "repodata"), path.Join(cache, id)} {
		if _, err := fs.Stat(m.cfg.FS, path.Join(dir, "repomd.xml")); err == nil {
			return dir
		}
	}
	return ""
}

// ownDir is where a baseline's sources and their metadata are: no file of the node is touched for them.
func (m *Manager) ownDir() string { return filepath.Join(m.cfg.CacheDir, "dnf-sources") }

// ownOptions writes a baseline's sources and returns the options that make dnf use them in place of the node's.
func (m *Manager) ownOptions(sources []baseline.Source) ([]string, error) {
	if sources == nil {
		return nil, nil
	}
	dir := filepath.Join(m.ownDir(), "repos")
	if err := rpm.WriteSources(m.cfg, dir, sources); err != nil {
		return nil, err
	}
	return []string{"--setopt=reposdir=" + dir, "--setopt=cachedir=" + filepath.Join(m.ownDir(), "cache")}, nil
}

// entitlement says why a client certificate gives no access, or nothing.
func (m *Manager) entitlement(file string) string {
	b, err := system.ReadFile(m.cfg.FS, strings.TrimPrefix(path.Clean(file), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return "the certificate of its subscription, " + file + ", is not there"
	}
	block, _ := pem.Decode(b)
	if err != nil || block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.NotAfter.After(time.Now()) {
		return ""
	}
	return "the certificate of its subscription ended on " + cert.NotAfter.UTC().Format(time.DateOnly)
}

// installOnly is what may be installed in several versions side by side.
func (c *config) installOnly(p *md.Package) bool {
	names := append(slices.Clone(defaultInstallOnly), c.main.List("installonlypkgs")...)
	if slices.Contains(names, p.Name) {
		return true
	}
	return slices.ContainsFunc(p.Provides, func(r md.Relation) bool { return slices.Contains(names, r.Name) })
}

// defaultInstallOnly are the defaults of dnf and of yum 3. Source: dnf.conf(5) and yum.conf(5), installonlypkgs.
var defaultInstallOnly = []string{
	"kernel", "kernel-PAE", "installonlypkg(kernel)", "installonlypkg(kernel-module)", "installonlypkg(vm)", "multiversion(kernel)",
	"kernel-bigmem", "kernel-enterprise", "kernel-smp", "kernel-debug", "kernel-unsupported", "kernel-source", "kernel-devel", "kernel-PAE-debug",
}

// readView makes the view that patch/rpm reads a node by.
func (m *Manager) readView(ctx context.Context, sources []baseline.Source) (*rpm.View, error) {
	c, err := m.readConfig(ctx, sources)
	if err != nil {
		return nil, err
	}
	v := &rpm.View{
		OS:      m.platform.Node.OS,
		Machine: rpm.Machine(m.cfg.FS), InstallOnly: c.installOnly, Classify: rpm.Title, NoSeverity: "None", Degraded: c.degraded,
		KeepsNames: !c.main.Bool("obsoletes", true), // dnf.conf(5)
		Identity:   m.tool.name + " " + hex.EncodeToString(c.digest) + " " + moduleStates(m.cfg.FS),
	}
	if sources != nil {
		v.Source = "sources"
	}
	byID := map[string]*repo{}
	for _, r := range c.repos {
		if byID[r.ID] != nil { // the first one of an id counts
			continue
		}
		byID[r.ID] = r
		v.Repos = append(v.Repos, r.Repo)
		if r.certificate != "" {
			v.Degraded = append(v.Degraded, "repository "+r.ID+": "+r.certificate)
			v.Identity += " " + r.certificate
		}
	}
	mods := newModules(m, c)
	v.Stream, v.Err = mods.active, func() error { return mods.err }
	c.known = func(match func(name, arch string) bool) bool { return v.Known != nil && v.Known(match) }
	v.Away = func(r *rpm.Repo, p, _ *md.Package) rpm.Away { return c.away(byID[r.ID], p, mods) }
	return v, nil
}
