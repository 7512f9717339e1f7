package deb

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Pin is one record of apt's preferences.
type Pin struct {
	Packages []string // names, globs, /regexes/, src: forms; "*" stands alone
	Type     string   // "version", "source-version", "release" or "origin"
	Data     string   // what follows the type
	Priority int
	Never    bool   // Pin-Priority: never
	Where    string // file and record, for messages
}

// ReadPreferences reads a preferences file. Records that apt leaves out with a warning are left out here.
// Source: apt_preferences(5).
func ReadPreferences(r io.Reader, file string) ([]Pin, error) {
	b, err := readSmall(r)
	if err != nil {
		return nil, err
	}
	var out []Pin
	for i, st := range paragraphs(b) {
		f := fields(st)
		if len(f) == 0 {
			continue
		}
		where := fmt.Sprintf("%s, record %d", file, i+1)
		if f["package"] == "" {
			return nil, fmt.Errorf("%s: no Package field", where)
		}
		if f["pin"] == "" {
			continue
		}
		p := Pin{Packages: strings.Fields(f["package"]), Where: where}
		kind := strings.Fields(f["pin"])[0]
		p.Type, p.Data = strings.ToLower(kind), strings.TrimSpace(f["pin"][len(kind):])
		general := f["package"] == "*"
		switch p.Type {
		case "release", "origin":
		case "version", "source-version":
			if general {
				continue
			}
		default:
			continue
		}
		if f["pin-priority"] == "never" {
			if !general {
				return nil, fmt.Errorf("%s: the priority never is for Package: * only", where)
			}
			p.Never = true
		} else {
			p.Priority, err = strconv.Atoi(number(f["pin-priority"]))
			if err != nil || p.Priority == 0 || p.Priority < -32768 || p.Priority > 32767 {
				return nil, fmt.Errorf("%s: priority %q is not a number other than 0 from -32768 to 32767", where, f["pin-priority"])
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// number is the number that s starts with: apt takes no notice of what follows it.
func number(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || i == 0 && (s[i] == '-' || s[i] == '+')) {
		i++
	}
	return s[:i]
}
