package dnf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	"oakum.dev/pkgver"
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
	if detail := locked(c.locks, p); detail != "" {
		return rpm.Away{Reason: patch.ReasonHeld, Detail: detail}
	}
	return rpm.Away{}
}

// excludes names the setting that excludes a package, or nothing. What one list of includes takes is included, main's or the
// repository's own. Source: dnf.conf(5), excludepkgs and includepkgs.
func (c *config) excludes(r *repo, p *md.Package) string {
	off := c.main.List("disable_excludes")
	if slices.Contains(off, "all") || slices.Contains(off, "*") {
		return ""
	}
	limits := ""
	included := false
	for _, list := range []struct {
		where string
		of    *md.Section
	}{{"main", c.main}, {r.ID, r.section}} {
		if slices.Contains(off, list.where) {
			continue
		}
		for _, key := range []string{"excludepkgs", "exclude"} {
			for _, pattern := range list.of.List(key) {
				if c.takes(pattern, p) {
					return fmt.Sprintf("%s=%s of [%s]", key, pattern, list.where)
				}
			}
		}
		if only := list.of.List("includepkgs"); len(only) > 0 {
			limits = list.where
			included = included || slices.ContainsFunc(only, func(pattern string) bool { return c.takes(pattern, p) })
		}
	}
	if limits != "" && !included {
		return fmt.Sprintf("includepkgs of [%s] does not name it", limits)
	}
	return ""
}

// takes reports whether an entry of excludes or includes takes a package. dnf reads an entry as the name of a package, and as
// a name and a version only where no package has such a name: php-* is php-fpm, and not every version of php.
// Source: dnf(8), "Specifying Packages".
func (c *config) takes(pattern string, p *md.Package) bool {
	rest, arch, hasArch := cutLast(pattern, '.')
	hasArch = hasArch && !strings.ContainsAny(arch, "-:")
	if name, evr, ok := cutVersion(rest, 2); hasArch && ok && baseline.Glob(name, p.Name) && baseline.Glob(arch, p.Arch) && likeVersion(evr, p) {
		return true
	}
	named := func(name, of string) bool {
		return baseline.Glob(pattern, name) || hasArch && baseline.Glob(rest, name) && baseline.Glob(arch, of)
	}
	if named(p.Name, p.Arch) {
		return true
	}
	known, asked := c.asNames[pattern]
	if !asked {
		known = c.known != nil && c.known(named)
		if c.asNames == nil {
			c.asNames = map[string]bool{}
		}
		c.asNames[pattern] = known
	}
	if known {
		return false
	}
	for _, words := range []int{2, 1} {
		if name, evr, ok := cutVersion(pattern, words); ok && baseline.Glob(name, p.Name) && likeVersion(evr, p) {
			return true
		}
	}
	all := forms(p)
	return baseline.Glob(pattern, all[len(all)-1]) || baseline.Glob(pattern, p.Name+"-"+p.Version+"-"+p.Release+"."+p.Arch)
}

// cutVersion splits NAME-VERSION (words is 1) or NAME-VERSION-RELEASE (2) before its version.
func cutVersion(s string, words int) (name, evr string, ok bool) {
	at := len(s)
	for range words {
		if at = strings.LastIndexByte(s[:at], '-'); at <= 0 {
			return "", "", false
		}
	}
	return s[:at], s[at+1:], true
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, sep); i > 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// likeVersion reports whether a package has a version, with or without an epoch and a release.
func likeVersion(pattern string, p *md.Package) bool {
	if e, rest, ok := strings.Cut(pattern, ":"); ok {
		if e != cmp.Or(p.Epoch, "0") {
			return false
		}
		pattern = rest
	}
	version, release, full := strings.Cut(pattern, "-")
	return baseline.Glob(version, p.Version) && (!full || baseline.Glob(release, p.Release))
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
	name, text string
	exclude    bool
	takes      func(p *md.Package) bool
}

// locked says why versionlock keeps a version away, or nothing. Of several locks of a name one that takes the version is enough.
// Source: dnf-versionlock(8).
func locked(locks []lock, p *md.Package) string {
	why := ""
	for i := range locks {
		l := &locks[i]
		switch {
		case !baseline.Glob(l.name, p.Name):
		case l.exclude:
			if l.takes(p) {
				return "versionlock excludes " + l.text
			}
		case l.takes(p):
			why = " "
		case why == "":
			why = "versionlock keeps " + l.text
		}
	}
	return strings.TrimSpace(why)
}

// readLocks reads versionlock's list, where its plugin is installed and enabled: without it dnf does not look at the list.
func (m *Manager) readLocks(main *md.Section, raw func(string) ([]byte, error), read func(string) (md.Conf, error)) ([]lock, error) {
	conf, list, plugin := "etc/dnf/plugins/versionlock.conf", "/etc/dnf/plugins/versionlock.list", "usr/lib*/python3*/*-packages/dnf-plugins/versionlock.py"
	switch m.tool.name {
	case "dnf5":
		return readLocks5(raw)
	case "yum3":
		conf, list, plugin = "etc/yum/pluginconf.d/versionlock.conf", "/etc/yum/pluginconf.d/versionlock.list", "usr/lib/yum-plugins/versionlock.py"
	}
	found, err := fs.Glob(m.cfg.FS, plugin)
	if err != nil || len(found) == 0 || !main.Bool("plugins", m.tool.name != "yum3") {
		return nil, err
	}
	if _, err := raw(found[0]); err != nil { // that it is there is part of the answer
		return nil, fmt.Errorf("look for versionlock: %w", err)
	}
	c, err := read(conf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read versionlock's configuration: %w", err)
	}
	if !c.Bool("main", "enabled", true) {
		return nil, nil
	}
	b, err := raw(strings.TrimPrefix(path.Clean(c.Get("main", "locklist", list)), "/"))
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
		pattern, exclude := strings.CutPrefix(line, "!")
		if e, rest, ok := strings.Cut(pattern, ":"); ok && strings.Trim(e, "0123456789") == "" { // yum 3 writes EPOCH:NAME-VERSION
			i := strings.LastIndexByte(rest, '-')
			if i > 0 {
				i = strings.LastIndexByte(rest[:i], '-')
			}
			if i > 0 {
				pattern = rest[:i] + "-" + e + ":" + rest[i+1:]
			}
		}
		out = append(out, lock{name: rpm.NameOf(pattern), text: pattern, exclude: exclude, takes: func(p *md.Package) bool { return names(pattern, p) }})
	}
	return out
}

// readLocks5 reads dnf 5's list: entries of a name and conditions on evr and arch, all of which have to hold.
// Source: dnf5-versionlock(8).
func readLocks5(raw func(string) ([]byte, error)) ([]lock, error) {
	b, err := raw("etc/dnf/versionlock.toml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read versionlock's list: %w", err)
	}
	var out []lock
	var conditions []*condition
	end := func() {
		if n := len(out); n > 0 {
			own := conditions
			out[n-1].takes = func(p *md.Package) bool {
				return !slices.ContainsFunc(own, func(c *condition) bool { return !c.holds(p) })
			}
		}
		conditions = nil
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch line {
		case "[[packages]]":
			end()
			out = append(out, lock{})
			continue
		case "[[packages.conditions]]":
			conditions = append(conditions, &condition{})
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok || len(out) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		v = strings.Trim(strings.TrimSpace(v), `"'`)
		l := &out[len(out)-1]
		switch k = strings.TrimSpace(k); {
		case k == "name" && len(conditions) == 0:
			l.name, l.text = v, v
		case len(conditions) == 0:
		case k == "key":
			conditions[len(conditions)-1].key = v
		case k == "comparator":
			conditions[len(conditions)-1].op = v
		case k == "value":
			conditions[len(conditions)-1].value = v
			l.text += " " + conditions[len(conditions)-1].op + " " + v
		}
	}
	end()
	return slices.DeleteFunc(out, func(l lock) bool { return l.name == "" }), nil
}

// condition is one of dnf 5's conditions of a lock.
type condition struct{ key, op, value string }

func (c *condition) holds(p *md.Package) bool {
	order := 0
	switch c.key {
	case "evr":
		if order = pkgver.RPM(rpm.Text(p), rpm.Full(c.value)); !strings.Contains(c.value, "-") { // without a release those are not compared
			order = pkgver.RPM(rpm.Full(strings.TrimSuffix(p.EVR(), "-"+p.Release)), rpm.Full(c.value))
		}
	case "arch":
		order = strings.Compare(p.Arch, c.value)
	default:
		return true // not known: it limits nothing
	}
	switch c.op {
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return order == 0
}
