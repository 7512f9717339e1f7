package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"oakum.dev/repo/deb"
)

// conf is what apt.conf and its parts set. Keys are in lower case; a list's values are kept in order.
// Source: apt.conf(5).
type conf map[string][]string

func (c conf) get(key, def string) string {
	if v := c[strings.ToLower(key)]; len(v) > 0 {
		return v[len(v)-1]
	}
	return def
}

func (c conf) bool(key string, def bool) bool {
	if v, ok := deb.Bool(c.get(key, "")); ok {
		return v
	}
	return def
}

// path finds a file or folder of apt's below the root, with the Dir scopes above it, as a path for fs.FS.
func (c conf) path(key, def string) string {
	p := c.get(key, def)
	for scope := key; !strings.HasPrefix(p, "/"); {
		i := strings.LastIndex(scope, "::")
		if i < 0 {
			break
		}
		scope = scope[:i]
		up := map[string]string{"dir": "/", "dir::etc": "etc/apt", "dir::state": "var/lib/apt", "dir::cache": "var/cache/apt"}[strings.ToLower(scope)]
		p = path.Join(c.get(scope, up), p)
	}
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// readConf reads apt.conf.d and apt.conf of a root. Files that hold passwords are often for root only; as apt does, others
// do without them. unread names those.
func readConf(root fs.FS) (c conf, unread []string, err error) {
	c = conf{}
	files, err := parts(root, "etc/apt/apt.conf.d", ".conf")
	if err != nil {
		return nil, nil, err
	}
	for _, f := range append(files, "etc/apt/apt.conf") {
		b, err := fs.ReadFile(root, f)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission):
			unread = append(unread, closed(f))
		case err != nil:
			return nil, nil, err
		default:
			if err := c.parse(string(b)); err != nil {
				return nil, nil, fmt.Errorf("/%s: %w", f, err)
			}
		}
	}
	return c, unread, nil
}

// closed is the sentence about a file that this user may not read.
func closed(name string) string {
	return "/" + name + " is not for this user to read, and what it says is not known: run as root"
}

// parts lists the files of a configuration folder that apt reads: names without odd characters, and with the
// extension or, for .conf and .pref, none. A missing folder is empty, and so is what is none: /dev/null stands for it.
func parts(root fs.FS, dir string, exts ...string) ([]string, error) {
	info, err := fs.Stat(root, dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root, dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		ext := path.Ext(name)
		ok := slices.Contains(exts, ext) || ext == "" && (slices.Contains(exts, ".conf") || slices.Contains(exts, ".pref"))
		for _, r := range strings.TrimSuffix(name, ext) {
			ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:", r))
		}
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		name = path.Join(dir, name)
		if e.Type()&fs.ModeSymlink != 0 {
			if info, err := fs.Stat(root, name); err == nil {
				e = fs.FileInfoToDirEntry(info)
			} else if to, _ := fs.ReadLink(root, name); errors.Is(err, fs.ErrNotExist) || to == "/dev/null" {
				continue
			}
		}
		if t := e.Type(); t.IsRegular() || t&fs.ModeSymlink != 0 { // a link that cannot be followed is an error when it is read
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// parse reads the syntax of apt.conf: `Key "value";`, nested scopes and lists. Unknown directives are skipped.
func (c conf) parse(s string) error {
	var scope []string
	var words []string
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, "//"):
			_, s, _ = strings.Cut(s, "\n")
		case s[0] == '#':
			line, rest, _ := strings.Cut(s, "\n")
			if strings.HasPrefix(line, "#clear ") {
				for _, k := range strings.Fields(strings.Trim(line[7:], "; ")) {
					c.clear(strings.Trim(k, ";{}"))
				}
			}
			s = rest
		case strings.HasPrefix(s, "/*"):
			_, after, ok := strings.Cut(s[2:], "*/")
			if !ok {
				return errors.New("a comment does not end")
			}
			s = after
		case s[0] == '"':
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return errors.New("a quoted value does not end")
			}
			words = append(words, s[:end+1]) // the opening quote marks it as a value
			s = s[end+2:]
		case s[0] == '{':
			key := ""
			if len(words) > 0 {
				key = words[0]
			}
			scope = append(scope, key)
			words = nil
			s = s[1:]
		case s[0] == '}':
			if len(scope) > 0 {
				scope = scope[:len(scope)-1]
			}
			words = nil
			s = s[1:]
		case s[0] == ';':
			c.set(scope, words)
			words = nil
			s = s[1:]
		case s[0] == ' ' || s[0] == '\t' || s[0] == '\n' || s[0] == '\r':
			s = s[1:]
		default:
			i := strings.IndexAny(s, " \t\r\n;{}\"")
			if i < 0 {
				i = len(s)
			}
			words = append(words, s[:i])
			s = s[i:]
		}
	}
	return nil
}

func (c conf) set(scope, words []string) {
	if len(words) == 0 {
		return
	}
	key, value := words[0], ""
	rest := words[1:]
	if strings.HasPrefix(key, `"`) { // a bare value in a scope: an element of a list
		key, rest = "", words
	}
	for i, w := range rest {
		if i > 0 {
			value += " "
		}
		value += strings.TrimPrefix(w, `"`)
	}
	full := strings.Join(scope, "::")
	if key != "" {
		if full != "" {
			full += "::"
		}
		full += key
	}
	list := key == "" || strings.HasSuffix(full, "::")
	full = strings.ToLower(strings.TrimSuffix(full, "::"))
	if list {
		c[full] = append(c[full], value)
		return
	}
	c[full] = []string{value}
}

func (c conf) clear(key string) {
	key = strings.ToLower(strings.TrimSuffix(key, "::"))
	for k := range c {
		if k == key || strings.HasPrefix(k, key+"::") {
			delete(c, k)
		}
	}
}
