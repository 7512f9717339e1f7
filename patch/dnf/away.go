package dnf

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	md "oakum.dev/repo/rpm"
)

// away says why dnf would not take an offered version.
func (c *config) away(r *repo, p *md.Package, mods *modules) rpm.Away {
	if detail := mods.hides(r, p); detail != "" {
		return rpm.Away{Reason: patch.ReasonModule, Unusable: true, Detail: detail}
	}
	if r.certificate != "" {
		return rpm.Away{Reason: patch.ReasonEntitlement, Detail: r.certificate}
	}
	if detail := c.excludes(r, p); detail != "" {
		return rpm.Away{Reason: patch.ReasonExcluded, Detail: detail}
	}
	for _, l := range c.locks {
		if detail := l.keeps(p); detail != "" {
			return rpm.Away{Reason: patch.ReasonHeld, Detail: detail}
		}
	}
	return rpm.Away{}
}

// excludes names the setting that excludes a package, or nothing. Source: dnf.conf(5), excludepkgs and includepkgs.
func (c *config) excludes(r *repo, p *md.Package) string {
	off := c.main.List("disable_excludes")
	if slices.Contains(off, "all") || slices.Contains(off, "*") {
		return ""
	}
	for where, s := range map[string]*md.Section{"main": c.main, r.ID: r.section} {
		if slices.Contains(off, where) {
			continue
		}
		for _, key := range []string{"excludepkgs", "exclude"} {
			for _, pattern := range s.List(key) {
				if names(pattern, p) {
					return fmt.Sprintf("%s=%s of [%s]", key, pattern, where)
				}
			}
		}
		only := s.List("includepkgs")
		if len(only) > 0 && !slices.ContainsFunc(only, func(pattern string) bool { return names(pattern, p) }) {
			return fmt.Sprintf("includepkgs of [%s] does not name it", where)
		}
	}
	return ""
}

// names reports whether a pattern takes a package in one of the forms that dnf knows.
// Source: dnf(8), "Specifying Packages".
func names(pattern string, p *md.Package) bool {
	for _, form := range forms(p) {
		if baseline.Glob(pattern, form) {
			return true
		}
	}
	return false
}

func forms(p *md.Package) []string {
	e := p.Epoch
	if e == "" {
		e = "0"
	}
	vr := p.Version + "-" + p.Release
	return []string{
		p.Name, p.Name + "." + p.Arch, p.Name + "-" + p.Version, p.Name + "-" + vr, p.Name + "-" + vr + "." + p.Arch,
		p.Name + "-" + e + ":" + p.Version, p.Name + "-" + e + ":" + vr, p.Name + "-" + e + ":" + vr + "." + p.Arch,
	}
}

// lock is an entry of versionlock's list.
type lock struct {
	name, pattern string
	exclude       bool
}

// keeps says why a lock keeps a version away, or nothing.
func (l *lock) keeps(p *md.Package) string {
	switch {
	case l.exclude && names(l.pattern, p):
		return "versionlock excludes " + l.pattern
	case !l.exclude && baseline.Glob(l.name, p.Name) && !names(l.pattern, p):
		return "versionlock keeps " + l.pattern
	}
	return ""
}

// readLocks reads versionlock's list, where its plugin is installed and enabled: without it dnf does not look at the list.
func (m *Manager) readLocks(read func(string) (md.Conf, error)) ([]lock, error) {
	conf, list, plugin := "etc/dnf/plugins/versionlock.conf", "/etc/dnf/plugins/versionlock.list", "usr/lib*/python3*/*-packages/dnf-plugins/versionlock.py"
	switch m.tool.name {
	case "dnf5":
		return m.readLocks5()
	case "yum3":
		conf, list, plugin = "etc/yum/pluginconf.d/versionlock.conf", "/etc/yum/pluginconf.d/versionlock.list", "usr/lib/yum-plugins/versionlock.py"
	}
	if found, err := fs.Glob(m.cfg.FS, plugin); err != nil || len(found) == 0 {
		return nil, err
	}
	c, err := read(conf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read versionlock's configuration: %w", err)
	}
	if !c.Bool("main", "enabled", true) {
		return nil, nil
	}
	b, err := fs.ReadFile(m.cfg.FS, strings.TrimPrefix(path.Clean(c.Get("main", "locklist", list)), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read versionlock's list: %w", err)
	}
	return parseLocks(string(b)), nil
}

func parseLocks(text string) []lock {
	var out []lock
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		l := lock{pattern: strings.TrimPrefix(line, "!"), exclude: strings.HasPrefix(line, "!")}
		if e, rest, ok := strings.Cut(l.pattern, ":"); ok && strings.Trim(e, "0123456789") == "" { // yum 3 writes EPOCH:NAME-VERSION
			i := strings.LastIndexByte(rest, '-')
			if i > 0 {
				i = strings.LastIndexByte(rest[:i], '-')
			}
			if i > 0 {
				l.pattern = rest[:i] + "-" + e + ":" + rest[i+1:]
			}
		}
		l.name = nameOf(l.pattern)
		out = append(out, l)
	}
	return out
}

// nameOf is the name in NAME-[EPOCH:]VERSION-RELEASE[.ARCH], or the whole when there is no version.
func nameOf(pattern string) string {
	i := strings.LastIndexByte(pattern, '-')
	if i <= 0 {
		return pattern
	}
	if k := strings.LastIndexByte(pattern[:i], '-'); k > 0 {
		return pattern[:k]
	}
	return pattern[:i]
}

// readLocks5 reads dnf 5's list: tables of a name and conditions on evr and arch. Of a condition's comparators those are
// known that dnf 5 writes itself. Source: dnf5-versionlock(8).
func (m *Manager) readLocks5() ([]lock, error) {
	b, err := fs.ReadFile(m.cfg.FS, "etc/dnf/versionlock.toml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read versionlock's list: %w", err)
	}
	var out []lock
	name, key, op := "", "", ""
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		v = strings.Trim(strings.TrimSpace(v), `"'`)
		if !ok {
			continue
		}
		switch strings.TrimSpace(k) {
		case "name":
			name = v
		case "key":
			key = v
		case "comparator":
			op = v
		case "value":
			switch {
			case key == "evr" && op == "=":
				out = append(out, lock{name: name, pattern: name + "-" + v + "*"})
			case key == "evr" && op == "!=":
				out = append(out, lock{name: name, pattern: name + "-" + v + "*", exclude: true})
			}
		}
	}
	return out, nil
}
