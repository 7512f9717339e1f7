package rpm

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// ScanNotices reads a repository's updateinfo (opened) and calls fn with each notice that names a package which want
// takes; a nil want takes all notices, also those without packages. The notice, with all of its packages, is fn's to
// keep. It keeps one notice in memory at a time. Type, severity and status are as the file has them.
func ScanNotices(r io.Reader, want func(name []byte) bool, fn func(*Notice) error) error {
	n := notices{want: want}
	err := scanRecords(r, "updates", "update", "", func(b []byte, _ bool) error {
		if want != nil && !n.mayWant(b) {
			return nil
		}
		notice, taken, err := n.read(b)
		if err != nil {
			return fmt.Errorf("notice %q: %w", notice.ID, err)
		}
		if want != nil && !taken {
			return nil
		}
		return fn(notice)
	})
	if err != nil {
		return fmt.Errorf("updateinfo: %w", err)
	}
	return nil
}

// notices holds what is used again from notice to notice.
type notices struct {
	want    func([]byte) bool
	t       tokens
	strings arena
	list    []NoticePackage
}

// mayWant looks at the package tags alone, which is cheap. A yes may be wrong, a no is not.
func (n *notices) mayWant(b []byte) bool {
	if bytes.Contains(b, []byte(":package")) {
		return true
	}
	tag := []byte("<package")
	for {
		i := bytes.Index(b, tag)
		if i < 0 {
			return false
		}
		b = b[i:]
		end := tagLen(b)
		if end == 0 {
			return true
		}
		yes := false
		if err := eachAttr(b[:end], func(name, value []byte) {
			yes = yes || string(name) == "name" && (bytes.IndexByte(value, '&') >= 0 || n.want(value)) || bytes.IndexByte(name, ':') >= 0
		}); err != nil || yes {
			return true
		}
		b = b[end:]
	}
}

// read reads one notice; taken says whether one of its packages is wanted.
func (n *notices) read(b []byte) (notice *Notice, taken bool, err error) {
	t := &n.t
	t.reset(b)
	notice = &Notice{}
	n.list = n.list[:0]
	first, severity := 0, "" // first package of the collection; severity given as an attribute
	module := ""
	for {
		switch t.next() {
		case done:
			if notice.Severity == "" {
				notice.Severity = severity
			}
			notice.Packages = append([]NoticePackage(nil), n.list...) // in the room that they take
			return notice, taken, t.err
		case finish:
			if string(t.name) == "collection" {
				for i := first; i < len(n.list); i++ {
					n.list[i].Module = module
				}
				first, module = len(n.list), ""
			}
		case start:
			switch string(t.name) {
			case "update":
				if t.depth == 1 {
					severity = n.update(notice)
				}
			case "collection":
				first, module = len(n.list), ""
			case "module":
				var name, stream string
				t.attr(func(key, v []byte) {
					switch string(key) {
					case "name":
						name = string(v)
					case "stream":
						stream = string(v)
					}
				})
				if name != "" {
					module = n.strings.put([]byte(name + ":" + stream))
				}
			case "package":
				taken = n.pkg(notice) || taken
			case "reference":
				n.reference(notice)
			case "reboot_suggested", "restart_suggested", "relogin_suggested":
				suggest(notice, t.name, truth(t.text()))
			default:
				if t.depth == 2 {
					n.field(notice)
				}
			}
		}
	}
}

// update reads the attributes of the notice's own element.
func (n *notices) update(notice *Notice) (severity string) {
	n.t.attr(func(name, v []byte) {
		switch string(name) {
		case "from":
			notice.From = n.strings.put(v)
		case "status":
			notice.Status = n.strings.put(v)
		case "type":
			notice.Type = n.strings.put(v)
		case "severity":
			severity = n.strings.put(v)
		default:
			suggest(notice, name, len(v) > 0 && truth(v))
		}
	})
	return severity
}

// field reads a child of the notice that has a plain value.
func (n *notices) field(notice *Notice) {
	t := &n.t
	switch string(t.name) {
	case "id":
		notice.ID = n.strings.put(t.text())
	case "title":
		notice.Title = n.strings.put(t.text())
	case "severity":
		notice.Severity = n.strings.put(t.text())
	case "issued":
		notice.Issued = n.date()
	case "updated":
		notice.Updated = n.date()
	}
}

func (n *notices) date() time.Time {
	var at time.Time
	n.t.attr(func(name, v []byte) {
		if string(name) == "date" {
			at = ParseDate(string(v))
		}
	})
	if at.IsZero() {
		at = ParseDate(string(n.t.text()))
	}
	return at
}

func (n *notices) pkg(notice *Notice) (wanted bool) {
	var p NoticePackage
	n.t.attr(func(name, v []byte) {
		switch string(name) {
		case "name":
			wanted = n.want != nil && n.want(v)
			p.Name = n.strings.put(v)
		case "arch":
			p.Arch = n.strings.put(v)
		case "epoch":
			p.Epoch = n.strings.put(noZero(v))
		case "version":
			p.Version = n.strings.put(v)
		case "release":
			p.Release = n.strings.put(v)
		default:
			suggest(notice, name, len(v) > 0 && truth(v))
		}
	})
	if p.Name != "" {
		n.list = append(n.list, p)
	}
	return wanted
}

func (n *notices) reference(notice *Notice) {
	var id, kind string
	n.t.attr(func(name, v []byte) {
		switch string(name) {
		case "id":
			id = n.strings.put(v)
		case "type":
			kind = string(v)
		}
	})
	var list *[]string
	switch strings.ToLower(kind) {
	case "cve":
		list = &notice.CVEs
	case "bugzilla":
		list = &notice.Bugzillas
	case "self":
		list = &notice.Self
	default:
		return
	}
	if id != "" && !slices.Contains(*list, id) {
		*list = append(*list, id)
	}
}

func suggest(notice *Notice, name []byte, yes bool) {
	switch string(name) {
	case "reboot_suggested":
		notice.Reboot = notice.Reboot || yes
	case "restart_suggested":
		notice.Restart = notice.Restart || yes
	case "relogin_suggested":
		notice.Relogin = notice.Relogin || yes
	}
}

// truth reads a flag of the metadata; an element without text says yes.
func truth(v []byte) bool {
	switch strings.ToLower(string(v)) {
	case "", "1", "true", "yes":
		return true
	}
	return false
}

// ParseDate reads a date of updateinfo: YYYY-MM-DD[ HH[:MM[:SS]]] in UTC, whatever follows; RFC 3339; or Unix
// seconds. What is none of these is the zero time.
func ParseDate(s string) time.Time {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}
	}
	if strings.Trim(s, "0123456789") == "" {
		if len(s) > 11 {
			return time.Time{}
		}
		return unix(number([]byte(s)))
	}
	if len(s) < 10 {
		return time.Time{}
	}
	if len(s) > 10 && (s[10] == 'T' || s[10] == 't') {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at.UTC()
		}
	}
	at, err := time.Parse(time.DateOnly, s[:10])
	if err != nil {
		return time.Time{}
	}
	clock := strings.TrimLeft(s[10:], " T")
	if clock == s[10:] {
		return at
	}
	for _, unit := range []struct {
		of   time.Duration
		most int
	}{{time.Hour, 23}, {time.Minute, 59}, {time.Second, 60}} {
		if len(clock) < 2 || clock[0] < '0' || clock[0] > '9' || clock[1] < '0' || clock[1] > '9' {
			break
		}
		n := int(clock[0]-'0')*10 + int(clock[1]-'0')
		if n > unit.most {
			break
		}
		at = at.Add(time.Duration(n) * unit.of)
		var more bool
		if clock, more = strings.CutPrefix(clock[2:], ":"); !more {
			break
		}
	}
	return at
}
