package zypper

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
)

// answer is what zypper says with --xmlout. Source: zypper's xmlout.rnc.
type answer struct {
	errors   []string // messages of type error and warning, in order
	infos    []string
	problems []string // of the solver
	steps    []rpm.Step
	vendors  []string // packages whose vendor would change
	summary  bool     // there is an install-summary
}

// readAnswer reads as much as there is: zypper that is killed does not close its elements.
func readAnswer(b []byte) answer {
	var a answer
	d := xml.NewDecoder(bytes.NewReader(b))
	d.Strict = false
	var path []string
	var text strings.Builder
	kind, section := "", ""
	for {
		t, err := d.Token()
		if err != nil {
			return a
		}
		switch t := t.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			text.Reset()
			switch name := t.Name.Local; {
			case name == "message":
				kind = attr(t, "type")
			case name == "install-summary":
				a.summary = true
			case strings.HasPrefix(name, "to-"):
				section = name
			case name == "solvable":
				a.solvable(section, t)
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
			said := strings.TrimSpace(text.String())
			switch name := t.Name.Local; {
			case name == "message" && said != "" && (kind == "error" || kind == "warning"):
				a.errors = append(a.errors, said)
			case name == "message" && said != "":
				a.infos = append(a.infos, said)
			case name == "description" && slices.Contains(path, "prompt") && said != "":
				a.problems = append(a.problems, said)
			}
			text.Reset()
		}
	}
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// solvable takes a line of the summary. Packages whose architecture or vendor changes are listed twice.
func (a *answer) solvable(section string, t xml.StartElement) {
	if kind := attr(t, "type"); kind != "package" && kind != "" {
		return // products and patches follow from packages
	}
	s := rpm.Step{Name: attr(t, "name"), Arch: attr(t, "arch"), EVR: attr(t, "edition")}
	if old := attr(t, "arch-old"); old != "" {
		s.Arch = old // it is known under the architecture that is installed
	}
	switch section {
	case "to-install":
		s.Action = "install"
	case "to-upgrade", "to-downgrade", "to-upgrade-change-arch", "to-downgrade-change-arch":
		s.Action = "upgrade"
	case "to-remove":
		s.Action = "remove"
	case "to-reinstall":
		s.Action = "reinstall"
	case "to-change-vendor":
		a.vendors = append(a.vendors, s.Name)
		return
	default:
		return
	}
	a.steps = append(a.steps, s)
}

// maxWords bounds how much of zypper's complaint is passed on, in lines.
const maxWords = 12

// refusal picks out of zypper's words what a person needs, and names its kind.
func (a *answer) refusal() (text, reason string) {
	var out []string
	put := func(s string) {
		if s = strings.TrimSpace(s); s != "" && len(out) < maxWords && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, p := range a.problems {
		advice := false // lines that say what could be done instead
		for line := range strings.Lines(p) {
			s := strings.TrimSpace(line)
			if strings.HasPrefix(s, "Solution ") {
				advice = true
			} else if rest, ok := strings.CutPrefix(s, "Problem: "); ok {
				advice, s = false, rest
			}
			locked := strings.Contains(s, "remove lock")
			switch {
			case locked:
				reason = patch.ReasonHeld
			case advice && reason == "" && strings.Contains(s, "vendor change"):
				reason = patch.ReasonVendor
			case advice || reason == patch.ReasonHeld:
			case strings.Contains(s, "nothing provides") || strings.Contains(s, "cannot be provided"):
				reason = patch.ReasonUnmetDependency
			case reason == "" && (strings.Contains(s, "conflicts with") || strings.Contains(s, "obsoletes") || strings.Contains(s, "cannot install both")):
				reason = patch.ReasonConflict
			}
			if !advice || locked {
				put(s)
			}
		}
	}
	for _, e := range a.errors {
		put(strings.Join(strings.Fields(e), " "))
	}
	return strings.Join(out, "; "), reason
}
