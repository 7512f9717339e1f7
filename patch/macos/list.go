package macos

import (
	"regexp"
	"strings"
	"sync"
	"time"
)

// Item is something that Software Update offers.
type Item struct {
	Label       string // to install it by; it can differ from one list to the next
	Title       string
	Version     string
	Size        int64 // bytes
	Recommended bool
	Restart     bool // or a shutdown
	Deferred    bool // a profile hides it from users for now
}

// Lines of the two forms of softwareupdate --list: that of macOS 10.15 and later,
//
//   - Label: Safari17.6-17.6
//     Title: Safari, Version: 17.6, Size: 145123KiB, Recommended: YES, Action: restart,
//
// and the older one, where * marks what is recommended:
//
//   - iTunesX-12.8.2
//     iTunes (12.8.2), 273564K [recommended] [restart]
//
// Source: softwareupdate(8) for the older form, with the version after a comma; the forms of later systems are in public
// bug reports, named in testdata/README.md.
var (
	labelLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*([*-])\s+(Label:\s*)?(\S.*?)\s*$`) })
	newFacts  = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\b(Title|Version|Size|Recommended|Action|Deferred):\s*`)
	})
	oldFacts = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(.*?)(?:\s*\(([^()]*)\)|,\s*([^,\s]+))?\s*,\s*(\d+)\s*K(?:i?B)?\b(.*)$`)
	})
)

// parseList reads the output of softwareupdate --list. ok is false when it is not a list, not even an empty one.
func parseList(text string) (items []Item, ok bool) {
	ok = strings.Contains(text, "No new software available") || strings.Contains(text, "found the following")
	var at *Item
	isNew := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := labelLine().FindStringSubmatch(line); m != nil {
			isNew = m[2] != ""
			items = append(items, Item{Label: m[3], Recommended: m[1] == "*" && !isNew})
			at = &items[len(items)-1]
			continue
		}
		rest := strings.TrimSpace(line)
		if at == nil || at.Title != "" || rest == "" {
			continue
		}
		if isNew {
			at.newForm(rest)
		} else {
			at.oldForm(rest)
		}
	}
	for i := range items {
		items[i].complete()
	}
	return items, ok
}

func (i *Item) newForm(text string) {
	at := newFacts().FindAllStringSubmatchIndex(text, -1)
	for n, m := range at {
		end := len(text)
		if n+1 < len(at) {
			end = at[n+1][0]
		}
		value := strings.TrimRight(strings.TrimSpace(text[m[1]:end]), ", ")
		switch text[m[2]:m[3]] {
		case "Title":
			i.Title = value
		case "Version":
			i.Version = value
		case "Size":
			i.Size = kibibytes(value)
		case "Recommended":
			i.Recommended = strings.EqualFold(value, "YES")
		case "Action":
			i.Restart = strings.EqualFold(value, "restart") || strings.EqualFold(value, "shut down")
		case "Deferred":
			i.Deferred = strings.EqualFold(value, "YES")
		}
	}
}

func (i *Item) oldForm(text string) {
	m := oldFacts().FindStringSubmatch(text)
	if m == nil {
		i.Title = text
		return
	}
	i.Title, i.Version, i.Size = strings.TrimSpace(m[1]), strings.TrimSpace(m[2]+m[3]), kibibytes(m[4])
	i.Recommended = i.Recommended || strings.Contains(m[5], "[recommended]")
	i.Restart = strings.Contains(m[5], "[restart]") || strings.Contains(m[5], "[shut down]")
}

// complete takes from the label what the line about an item did not say: its end is the version.
func (i *Item) complete() {
	if i.Version == "" {
		if n := strings.LastIndexByte(i.Label, '-'); n > 0 {
			i.Version = strings.TrimSpace(i.Label[n+1:])
		}
	}
	if i.Title == "" {
		i.Title = i.Label
	}
}

func kibibytes(text string) int64 {
	var n int64
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<40 {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n << 10
}

// upgrade reports whether the item is a newer version of the system itself. Security responses are not: they leave the
// version as it is.
func (i *Item) upgrade() bool {
	t := strings.ToLower(i.Title)
	if strings.Contains(t, "security response") || strings.Contains(t, "background security") {
		return false
	}
	return strings.HasPrefix(t, "macos ") || strings.HasPrefix(t, "os x ")
}

// Past is an entry of a history: something that was installed.
type Past struct {
	Name, Version string
	At            time.Time
	By            string   // the process that installed it; empty where it is not told
	Packages      []string // ids of its packages
}

// parseHistory reads softwareupdate --history: columns under dashes. The rows of dates that are not understood have none.
func parseHistory(text string, zone *time.Location) []Past {
	var out []Past
	var starts []int
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n")
		if strings.HasPrefix(line, "---") {
			starts = columns(line)
			continue
		}
		if len(starts) < 2 || line == "" {
			continue
		}
		cell := func(n int) string {
			if n >= len(starts) || starts[n] >= len(line) {
				return ""
			}
			end := len(line)
			if n+1 < len(starts) {
				end = min(end, starts[n+1])
			}
			return strings.TrimSpace(line[starts[n]:end])
		}
		p := Past{Name: cell(0), Version: cell(1), By: "softwareupdated"}
		for _, form := range []string{"01/02/2006, 15:04:05", "2006-01-02 15:04:05"} {
			if at, err := time.ParseInLocation(form, cell(2), zone); err == nil {
				p.At = at.UTC()
			}
		}
		if p.Name != "" {
			out = append(out, p)
		}
	}
	return out
}

func columns(dashes string) []int {
	var out []int
	for i := range len(dashes) {
		if dashes[i] == '-' && (i == 0 || dashes[i-1] != '-') {
			out = append(out, i)
		}
	}
	return out
}
