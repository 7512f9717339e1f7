package zypper

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/patch/rpm"
	md "oakum.dev/repo/rpm"
)

// lock is an entry of zypper's list of locks. Source: zypper(8), "Package Lock Management"; locks(5) of libzypp.
type lock struct {
	kinds   []string // package, patch, ...; none: all
	names   []string
	match   string // glob, exact, substring, word or regex
	exact   bool   // upper and lower case differ
	repos   []string
	version *md.Relation // nil: all
	status  string       // installed, not-installed or all
	strange string       // something that is not understood
}

func (c *config) readLocks(f *files) error {
	if !c.main.Bool("locksfile.apply", true) {
		return nil
	}
	b, err := f.bytes(inRoot(c.main.Get("locksfile.path", "/etc/zypp/locks")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the locks: %w", err)
	}
	c.locks = parseLocks(string(b))
	for i := range c.locks {
		if s := c.locks[i].strange; s != "" {
			c.degraded = append(c.degraded, fmt.Sprintf("the lock with %q in /etc/zypp/locks is not understood: zypper may keep back what is called missing here", s))
		}
	}
	return nil
}

// parseLocks reads the list: lines KEY: VALUE, and blank lines between locks.
func parseLocks(text string) []lock {
	var out []lock
	var l *lock
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "":
			l = nil
			continue
		case strings.HasPrefix(line, "#") || !ok:
			continue
		}
		if l == nil {
			out = append(out, lock{match: "substring"}) // unless it says more; zypper always does
			l = &out[len(out)-1]
		}
		switch key {
		case "type":
			l.kinds = append(l.kinds, value)
		case "solvable_name", "query_string":
			l.names = append(l.names, value)
		case "match_type", "string_type":
			l.match = value
		case "case_sensitive":
			l.exact = value == "on" || value == "true" || value == "1"
		case "repo":
			l.repos = append(l.repos, value)
		case "version":
			l.version = relation(value)
		case "install_status":
			l.status = value
		case "comment": // limits nothing
		default:
			l.strange = line
		}
	}
	return out
}

// relation reads "OP [EPOCH:]VERSION[-RELEASE]".
func relation(s string) *md.Relation {
	op, evr := strings.TrimRight(s[:len(s)-len(strings.TrimLeft(s, "<>=! "))], " "), strings.TrimLeft(s, "<>=! ")
	if evr == "" {
		return nil
	}
	r := &md.Relation{Sense: md.Equal}
	switch op {
	case "<":
		r.Sense = md.Less
	case "<=":
		r.Sense = md.Less | md.Equal
	case ">":
		r.Sense = md.Greater
	case ">=":
		r.Sense = md.Greater | md.Equal
	case "!=":
		r.Sense = md.Less | md.Greater
	}
	if e, rest, ok := strings.Cut(evr, ":"); ok {
		r.Epoch, evr = e, rest
	}
	r.Version, r.Release, _ = strings.Cut(evr, "-")
	return r
}

func (l *lock) String() string {
	name := strings.Join(l.names, " ")
	command := "zypper removelock "
	for _, kind := range l.kinds {
		if kind != "package" { // which is what it looks for unless it is told more
			command += "-t " + kind + " "
		}
	}
	for _, repo := range l.repos {
		command += "-r " + repo + " "
	}
	return "zypper's lock on " + name + " (" + command + "'" + name + "')"
}

// about reports whether a lock is about things of a kind and name.
func (l *lock) about(kind, name string) bool {
	if len(l.kinds) > 0 && !contains(l.kinds, kind) || l.strange != "" {
		return false
	}
	for _, pattern := range l.names {
		if l.matches(pattern, name) {
			return true
		}
	}
	return false
}

func (l *lock) matches(pattern, name string) bool {
	if !l.exact {
		pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	}
	switch l.match {
	case "exact":
		return pattern == name
	case "substring":
		return strings.Contains(name, pattern)
	case "word", "words":
		re, err := regexp.Compile(`\b` + regexp.QuoteMeta(pattern) + `\b`)
		return err == nil && re.MatchString(name)
	case "regex":
		re, err := regexp.Compile(pattern)
		return err == nil && re.MatchString(name)
	}
	return baseline.Glob(pattern, name)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

// installedAlias is what libzypp calls the repository of what is installed.
const installedAlias = "@System"

// takes reports whether a lock keeps a package of a repository as it is.
func (l *lock) takes(p *md.Package, repo string) bool {
	return l.about("package", p.Name) && (len(l.repos) == 0 || contains(l.repos, repo)) && (l.version == nil || rpm.Takes(l.version, p)) &&
		(l.status != "installed" || repo == installedAlias) && (l.status != "not-installed" || repo != installedAlias)
}

// held says why an installed package stays as it is.
func (c *config) held(p *md.Package) string {
	for i := range c.locks {
		if l := &c.locks[i]; l.takes(p, installedAlias) {
			return l.String()
		}
	}
	return ""
}

// refuses says why a patch is not wanted.
func (c *config) refuses(x *md.Notice) string {
	for i := range c.locks {
		if l := &c.locks[i]; l.about("patch", x.ID) {
			return "of patch " + x.ID + ": " + l.String()
		}
	}
	return ""
}
