package rpm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Conf is a configuration file of dnf, yum or zypper: sections in the order of the file. Sections and keys that occur
// twice are one, and the later value counts.
type Conf struct{ Sections []Section }

// Section is one [NAME] of a Conf with its keys in order.
type Section struct {
	Name string
	Keys []Setting
}

// Setting is one key of a Section. Lines of a value that goes on over several are joined by "\n".
type Setting struct{ Key, Value string }

// Dialect is whose reading of a configuration file counts: they part at lines that start with a blank.
type Dialect int

// The dialects. Comments are whole lines that start with # or ; in all of them.
const (
	// DNF: a line that starts with a blank goes on with the value right above it, also when it looks like a comment. A comment
	// or an empty line ends the value.
	DNF Dialect = iota
	// Yum: the same, but that comments and empty lines may stand within a value.
	Yum
	// Zypp: blanks at the start mean nothing. What is no comment, section or KEY = VALUE goes on with the value above.
	Zypp
)

// ReadConf reads an INI file. What the program of the dialect refuses is an error that names the line.
func ReadConf(r io.Reader, d Dialect) (Conf, error) {
	var c Conf
	var section *Section
	var value *string
	s := bufio.NewScanner(&capped{r: r, left: MaxSmall})
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimRight(line, "\r")
		text := strings.TrimSpace(line)
		if d == Zypp {
			line = text
		}
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			if d == DNF {
				value = nil
			}
		case text == "":
		case d == Zypp && value != nil && line[0] != '[' && !zyppSetting(line), line[0] == ' ' || line[0] == '\t':
			if value == nil {
				return c, fmt.Errorf("line %d: %q goes on with nothing", n, clip([]byte(text)))
			}
			if *value != "" {
				*value += "\n"
			}
			*value += text
		case line[0] == '[':
			end := strings.IndexByte(text, ']')
			if end < 2 {
				return c, fmt.Errorf("line %d: a section without a name", n)
			}
			section, value = c.section(text[1:end]), nil
		default:
			key, v, ok := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			if !ok || key == "" {
				return c, fmt.Errorf("line %d: %q is not KEY = VALUE", n, clip([]byte(text)))
			}
			if section == nil {
				return c, fmt.Errorf("line %d: %s stands before the first section", n, clip([]byte(key)))
			}
			value = section.setting(key)
			*value = strings.TrimSpace(v)
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return c, fmt.Errorf("a line: %w", ErrTooLarge)
	}
	return c, s.Err()
}

// zyppSetting reports whether libzypp takes a line for KEY = VALUE, and not for an address with an = in it.
func zyppSetting(line string) bool {
	key, _, ok := strings.Cut(line, "=")
	return ok && !strings.ContainsAny(key, ":/?|,\\")
}

// section finds or makes the section. The pointer is good until the next call.
func (c *Conf) section(name string) *Section {
	if s := c.Section(name); s != nil {
		return s
	}
	c.Sections = append(c.Sections, Section{Name: name})
	return &c.Sections[len(c.Sections)-1]
}

func (s *Section) setting(key string) *string {
	for i := range s.Keys {
		if s.Keys[i].Key == key {
			return &s.Keys[i].Value
		}
	}
	s.Keys = append(s.Keys, Setting{Key: key})
	return &s.Keys[len(s.Keys)-1].Value
}

// Section finds a section, or nil.
func (c *Conf) Section(name string) *Section {
	for i := range c.Sections {
		if c.Sections[i].Name == name {
			return &c.Sections[i]
		}
	}
	return nil
}

// Get is the value of a key of a section, or otherwise what is given.
func (c *Conf) Get(section, key, otherwise string) string {
	return c.Section(section).Get(key, otherwise)
}

// Bool is the truth of a key of a section, or otherwise what is given.
func (c *Conf) Bool(section, key string, otherwise bool) bool {
	return c.Section(section).Bool(key, otherwise)
}

// Has reports whether the section, which may be nil, sets the key.
func (s *Section) Has(key string) bool {
	if s == nil {
		return false
	}
	for i := range s.Keys {
		if s.Keys[i].Key == key {
			return true
		}
	}
	return false
}

// Get is the value of a key, or otherwise what is given. The section may be nil.
func (s *Section) Get(key, otherwise string) string {
	if s != nil {
		for i := range s.Keys {
			if s.Keys[i].Key == key {
				return s.Keys[i].Value
			}
		}
	}
	return otherwise
}

// Bool is the truth of a key as dnf reads it (1 yes true on, 0 no false off, in any case), or otherwise what is given,
// also when the value is none of these. The section may be nil.
func (s *Section) Bool(key string, otherwise bool) bool {
	switch strings.ToLower(s.Get(key, "")) {
	case "1", "yes", "true", "on":
		return true
	case "0", "no", "false", "off":
		return false
	}
	return otherwise
}

// List is the value of a key that is a list, separated by commas, blanks or lines. The section may be nil.
func (s *Section) List(key string) []string {
	return strings.FieldsFunc(s.Get(key, ""), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// ReadVars reads the variables of a folder such as etc/dnf/vars: the file's name, and its first line. A folder that
// does not exist has none.
func ReadVars(fsys fs.FS, dir string) (map[string]string, error) {
	vars := map[string]string{}
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return vars, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := readSmall(fsys, path.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // a link to nowhere is none
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read variable %s: %w", e.Name(), err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		vars[e.Name()] = strings.TrimSpace(line)
	}
	return vars, nil
}

// Expand replaces $NAME and ${NAME}, and dnf 5's ${NAME:-default} and ${NAME:+alternative}, in s. A name is letters, digits and
// underscores; an unknown one stays as it is.
func Expand(s string, vars map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return b.String() + s
		}
		b.WriteString(s[:i])
		s = s[i:]
		n := 1
		braces := strings.HasPrefix(s, "${")
		if braces {
			n = 2
		}
		from := n
		for n < len(s) && (s[n] == '_' || s[n] >= '0' && s[n] <= '9' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z') {
			n++
		}
		value, known := vars[s[from:n]]
		if braces {
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return b.String() + s
			}
			switch word := s[n:end]; {
			case word == "":
			case strings.HasPrefix(word, ":-"):
				if value == "" {
					value, known = word[2:], true
				}
			case strings.HasPrefix(word, ":+"):
				if value != "" {
					value = word[2:]
				}
				known = true
			default:
				known = false
			}
			n = end + 1
		}
		if n == from && !braces || !known {
			value = s[:n]
		}
		b.WriteString(value)
		s = s[n:]
	}
}

// readSmall reads a file of at most MaxSmall bytes.
func readSmall(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(&capped{r: f, left: MaxSmall})
}
