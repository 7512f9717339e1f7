package zypper

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// config is what libzypp's configuration says. Source: zypp.conf, zypper(8) and the .repo files' documentation.
type config struct {
	main     *md.Section
	vars     map[string]string
	repos    []rpm.Repo
	raw      string // folder of the repositories' metadata, for fs.FS
	packages string // folder of downloaded packages, for fs.FS
	locks    []lock
	vendors  vendors
	multi    []string
	refused  map[string]string // alias of a repository to why the node has no access
	digest   []byte            // of everything that was read
	degraded []string
}

// files reads configuration files and sums up what they say.
type files struct {
	fs  fs.FS
	sum hash.Hash
}

func (f *files) bytes(name string) ([]byte, error) {
	b, err := system.ReadFile(f.fs, name)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(f.sum, "%s %d\n", name, len(b))
	f.sum.Write(b)
	return b, nil
}

func (f *files) conf(name string) (md.Conf, error) {
	b, err := f.bytes(name)
	if err != nil {
		return md.Conf{}, err
	}
	c, err := md.ReadConf(bytes.NewReader(b), md.Zypp)
	if err != nil {
		err = fmt.Errorf("/%s: %w", name, err)
	}
	return c, err
}

// dir lists the files of a folder, by name. A folder that is not there has none.
func (f *files) dir(name string) ([]string, error) {
	entries, err := fs.ReadDir(f.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, path.Join(name, e.Name()))
		}
	}
	return out, err
}

// inRoot makes a path of the node one for fs.FS.
func inRoot(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// readConfig reads the node's configuration, with a baseline's sources in place of its repositories where there are any.
func (m *Manager) readConfig(sources []baseline.Source) (*config, error) {
	c := &config{refused: map[string]string{}}
	f := &files{m.cfg.FS, sha256.New()}
	for _, name := range []string{"etc/zypp/zypp.conf", "usr/etc/zypp/zypp.conf"} {
		conf, err := f.conf(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		c.main = conf.Section("main")
		break
	}
	c.vars = map[string]string{"arch": rpm.Machine(m.cfg.FS), "basearch": rpm.BaseArch(rpm.Machine(m.cfg.FS)), "releasever": m.platform.Version}
	major, minor, _ := strings.Cut(m.platform.Version, ".")
	c.vars["releasever_major"], c.vars["releasever_minor"] = major, minor
	own, err := md.ReadVars(m.cfg.FS, "etc/zypp/vars.d")
	if err != nil {
		return nil, fmt.Errorf("read the variables: %w", err)
	}
	maps.Copy(c.vars, own)
	for _, k := range slices.Sorted(maps.Keys(c.vars)) {
		fmt.Fprintf(f.sum, "%s=%s\n", k, c.vars[k])
	}
	cache := c.main.Get("cachedir", "/var/cache/zypp")
	c.raw = inRoot(c.main.Get("metadatadir", cache+"/raw"))
	c.packages = inRoot(c.main.Get("packagesdir", cache+"/packages"))
	for _, read := range []func(*files) error{c.readLocks, c.readVendors, c.readMultiversion} {
		if err := read(f); err != nil {
			return nil, err
		}
	}
	if sources != nil {
		if c.raw, c.packages, err = m.ownCache(); err != nil {
			return nil, err
		}
		for _, s := range sources {
			conf, err := md.ReadConf(strings.NewReader(s.Configuration), md.Zypp)
			if err != nil {
				return nil, fmt.Errorf("patch source %s: %w", s.Name, err)
			}
			f.sum.Write([]byte(s.Configuration))
			m.addRepos(c, &conf)
		}
	} else {
		if err := m.readRepos(c, f); err != nil {
			return nil, err
		}
		c.degraded = append(c.degraded, m.registration(c, f)...)
	}
	c.digest = f.sum.Sum(nil)
	return c, nil
}

func (m *Manager) readRepos(c *config, f *files) error {
	names, err := f.dir(inRoot(c.main.Get("reposdir", "/etc/zypp/repos.d")))
	if err != nil {
		return fmt.Errorf("read the repositories: %w", err)
	}
	for _, name := range names {
		if path.Ext(name) != ".repo" {
			continue
		}
		conf, err := f.conf(name)
		if err != nil {
			return fmt.Errorf("read the repositories: %w", err)
		}
		m.addRepos(c, &conf)
	}
	return nil
}

// defaultPriority is what a repository has that says nothing. Source: zypper(8), addrepo --priority.
const defaultPriority = 99

// addRepos takes the enabled repositories of a .repo file. Where zypper keeps their metadata follows from their alias.
func (m *Manager) addRepos(c *config, conf *md.Conf) {
	for i := range conf.Sections {
		s := &conf.Sections[i]
		if s.Name == "" || s.Name == "main" || !s.Bool("enabled", true) {
			continue
		}
		r := rpm.Repo{ID: s.Name, Priority: defaultPriority, Failed: m.failed[s.Name]}
		if slices.ContainsFunc(c.repos, func(x rpm.Repo) bool { return x.ID == r.ID }) {
			continue // the first one of an alias counts
		}
		r.Name = md.Expand(s.Get("name", r.ID), c.vars)
		r.URI = md.Expand(strings.TrimSpace(strings.SplitN(cmp.Or(s.Get("baseurl", ""), s.Get("mirrorlist", ""), s.Get("metalink", "")), "\n", 2)[0]), c.vars)
		if n, err := strconv.Atoi(s.Get("priority", "")); err == nil && n > 0 {
			r.Priority = n
		}
		check := s.Bool("gpgcheck", c.main.Bool("gpgcheck", true))
		r.Trusted = s.Bool("repo_gpgcheck", check) || s.Bool("pkg_gpgcheck", check)
		dir := path.Join(c.raw, escapedAlias(r.ID), s.Get("path", "/"), "repodata")
		switch _, err := fs.Stat(m.cfg.FS, path.Join(dir, "repomd.xml")); {
		case err == nil:
			r.Dir = dir
		case r.Failed == "" && slices.Contains([]string{"yast2", "plaindir"}, s.Get("type", "")):
			r.Failed = "it is of type " + s.Get("type", "") + ", which has no metadata that can be read: use a repository with repodata"
		}
		if why := refusedAccess(r.Failed); why != "" {
			c.refused[r.ID] = why
		}
		c.repos = append(c.repos, r)
	}
}

// escapedAlias is the name of a repository's folder.
func escapedAlias(alias string) string {
	alias = strings.ReplaceAll(alias, "/", "_")
	if strings.HasPrefix(alias, ".") {
		alias = "_" + alias
	}
	return alias
}

// refusedAccess recognizes in zypper's complaint that a repository wants a subscription that the node does not have.
func refusedAccess(why string) string {
	for _, s := range []string{"HTTP response: 401", "HTTP response: 403", "error: 401", "error: 403", "Permission to access", "Authentication required", "Login failed", "subscription"} {
		if strings.Contains(why, s) {
			return "the repository refuses access (" + why + "): see SUSEConnect --status"
		}
	}
	return ""
}

// registration says what a registered system's repositories depend on and what of it is not there.
func (m *Manager) registration(c *config, f *files) []string {
	has := func(name string) bool { _, err := fs.Stat(m.cfg.FS, name); return err == nil }
	var out []string
	for _, alias := range slices.Sorted(maps.Keys(c.refused)) {
		out = append(out, "repository "+alias+": "+c.refused[alias])
	}
	registered := has("etc/zypp/credentials.d/SCCcredentials") || has("etc/zypp/credentials.d/NCCcredentials")
	if names, err := f.dir("etc/zypp/services.d"); err == nil {
		registered = registered || len(names) > 0
	}
	if (has("usr/bin/SUSEConnect") || has("usr/sbin/SUSEConnect") || has("usr/bin/suseconnect")) && !registered && len(c.repos) == 0 {
		out = append(out, "the node is not registered, and has no repositories: see SUSEConnect --status")
	}
	return out
}

// readMultiversion reads what may be installed in several versions side by side.
func (c *config) readMultiversion(f *files) error {
	c.multi = c.main.List("multiversion")
	names, err := f.dir(inRoot(c.main.Get("multiversiondir", "/etc/zypp/multiversion.d")))
	if err != nil {
		return fmt.Errorf("read what may be installed side by side: %w", err)
	}
	for _, name := range names {
		b, err := f.bytes(name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				c.multi = append(c.multi, line)
			}
		}
	}
	return nil
}

func (c *config) installOnly(p *md.Package) bool {
	return slices.ContainsFunc(c.multi, func(entry string) bool {
		capability, is := strings.CutPrefix(entry, "provides:")
		return !is && entry == p.Name || is && provides(p, capability)
	})
}

func provides(p *md.Package, capability string) bool {
	return slices.ContainsFunc(p.Provides, func(r md.Relation) bool { return r.Name == capability })
}

// newView makes the view that patch/rpm reads a node by.
func (m *Manager) newView(c *config, sources []baseline.Source) *rpm.View {
	v := &rpm.View{
		OS: baseline.SUSE, Machine: rpm.Machine(m.cfg.FS), Repos: c.repos, Away: c.away, InstallOnly: c.installOnly, Held: c.held, Refused: c.refuses,
		Withdrawn: func(x *md.Notice) bool { return strings.EqualFold(x.Status, "retracted") }, Remark: remark, Issued: true,
		Classify: category, NoSeverity: "Unspecified", Degraded: c.degraded, Identity: "zypper " + hex.EncodeToString(c.digest),
	}
	for _, alias := range slices.Sorted(maps.Keys(c.refused)) {
		v.Identity += " " + alias
	}
	if sources != nil {
		v.Source = "sources"
	}
	return v
}

// category is the classification of a patch. Source: zypper(8), "patch categories"; libzypp takes the words of other
// distributions for its own.
func category(kind string) string {
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "bugfix":
		return "Recommended"
	case "enhancement", "newpackage":
		return "Optional"
	}
	return rpm.Title(kind)
}

// remark is what a person should know of a patch before it goes in.
func remark(x *md.Notice) string {
	switch {
	case x.Reboot:
		return "patch " + x.ID + " suggests a reboot"
	case x.Restart:
		return "patch " + x.ID + " updates the package manager itself"
	case x.Relogin:
		return "patch " + x.ID + " suggests to log in anew"
	}
	return ""
}

// away says why zypper would not take an offered version.
func (c *config) away(r *rpm.Repo, p, have *md.Package) rpm.Away {
	switch {
	case provides(p, "retracted-patch-package()"):
		return rpm.Away{Reason: patch.ReasonRetracted, Unusable: true, Detail: "its publisher has withdrawn it"}
	case provides(p, "ptf()") || provides(p, "ptf-package()"):
		return rpm.Away{Reason: patch.ReasonNotAutomatic, Unusable: true, Detail: "a temporary fix for a single customer"}
	case c.refused[r.ID] != "":
		return rpm.Away{Reason: patch.ReasonEntitlement, Detail: c.refused[r.ID]}
	}
	for i := range c.locks {
		if l := &c.locks[i]; l.takes(p, r.ID) {
			return rpm.Away{Reason: patch.ReasonHeld, Detail: l.String()}
		}
	}
	if !c.installOnly(p) && !c.main.Bool("solver.allowVendorChange", false) && !c.vendors.equivalent(have.Vendor, p.Vendor) {
		return rpm.Away{Reason: patch.ReasonVendor, Detail: fmt.Sprintf("it is of vendor %q, the installed version of %q", p.Vendor, have.Vendor)}
	}
	return rpm.Away{}
}

// ownDir is where a baseline's sources and their metadata are: no file of the node is touched for them.
func (m *Manager) ownDir() string { return filepath.Join(m.cfg.CacheDir, "zypper-sources") }

// ownCache is where zypper keeps the metadata and packages of a baseline's sources, for fs.FS.
func (m *Manager) ownCache() (raw, packages string, err error) {
	if m.cfg.CacheDir == "" {
		return "", "", errors.New("patch sources need a folder of their own, and there is none")
	}
	dir, err := filepath.Rel(m.cfg.Root, filepath.Join(m.ownDir(), "cache"))
	if err != nil || strings.HasPrefix(dir, "..") {
		return "", "", fmt.Errorf("patch sources need a folder in the node's root, and %s is not", m.ownDir())
	}
	dir = filepath.ToSlash(dir)
	return path.Join(dir, "raw"), path.Join(dir, "packages"), nil
}

// ownOptions writes a baseline's sources and returns the options that make zypper use them in place of the node's.
func (m *Manager) ownOptions(sources []baseline.Source) ([]string, error) {
	if sources == nil {
		return nil, nil
	}
	dir := filepath.Join(m.ownDir(), "repos.d")
	if err := rpm.WriteSources(m.cfg, dir, sources); err != nil {
		return nil, err
	}
	return []string{"--reposd-dir", dir, "--cache-dir", filepath.Join(m.ownDir(), "cache")}, nil
}
