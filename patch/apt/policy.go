package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"oakum.dev/baseline"
	"oakum.dev/pkgver"
	"oakum.dev/repo/deb"
)

// pinsSource is the first apt that knows pins of the type source-version; older ones leave them out with a warning.
const pinsSource = "2.9.9~"

// readPreferences reads pins and gives every list its priority.
// Source: apt_preferences(5).
func (n *node) readPreferences() error {
	files, err := parts(n.cfg.FS, n.conf.path("Dir::Etc::preferencesparts", "preferences.d"), ".pref")
	if err != nil {
		return err
	}
	for _, name := range append([]string{n.conf.path("Dir::Etc::preferences", "preferences")}, files...) {
		f, err := n.cfg.FS.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			n.degraded = append(n.degraded, closed(name))
			continue
		}
		if err != nil {
			return err
		}
		pins, err := deb.ReadPreferences(f, "/"+name)
		f.Close()
		if err != nil {
			return err
		}
		if n.aptVer != "" && pkgver.Dpkg(n.aptVer, pinsSource) < 0 {
			pins = slices.DeleteFunc(pins, func(p deb.Pin) bool { return p.Type == "source-version" })
		}
		n.pins = append(n.pins, pins...)
	}
	general := []deb.Pin{}
	if def := n.conf.get("APT::Default-Release", ""); def != "" {
		general = append(general, deb.Pin{Packages: []string{"*"}, Type: "release", Data: def, Priority: 990, Where: "APT::Default-Release " + def})
	}
	for _, p := range n.pins {
		if len(p.Packages) == 1 && p.Packages[0] == "*" {
			general = append(general, p)
		}
	}
	defaulted := n.conf.get("APT::Default-Release", "")
	for _, i := range n.indexes {
		i.priority = 500
		switch {
		case i.rel.ButAutomaticUpgrades && i.rel.NotAutomatic:
			i.priority = 100
		case i.rel.NotAutomatic:
			i.priority = 1
		}
		for _, p := range general {
			if i.never || i.pinned && !p.Never || !pinFile(&p, i) {
				continue
			}
			i.pinned, i.priority, i.never, i.pin = true, p.Priority, p.Never, p.Where
		}
		if defaulted != "" && !i.pinned {
			i.pin = "APT::Default-Release is " + defaulted
		}
	}
	return nil
}

// statusPriority is the priority of the installed version.
func (n *node) statusPriority() int {
	for _, p := range n.pins {
		if len(p.Packages) == 1 && p.Packages[0] == "*" && p.Type == "release" && releaseMatch(p.Data, nil) {
			return p.Priority
		}
	}
	return 100
}

// pinFile reports whether a pin of type release or origin takes a list.
func pinFile(p *deb.Pin, i *index) bool {
	if p.Type == "origin" {
		site := strings.Trim(p.Data, `"`)
		return expression(site, i.site)
	}
	return p.Type == "release" && releaseMatch(p.Data, i)
}

// releaseMatch matches the data of a release pin with a list, or with dpkg's status when i is nil.
func releaseMatch(data string, i *index) bool {
	if data == "" {
		return false
	}
	if data == "*" {
		return true
	}
	get := func(k byte) string {
		if i == nil {
			if k == 'a' {
				return "now"
			}
			return ""
		}
		switch k {
		case 'a':
			return i.rel.Suite
		case 'n':
			return i.rel.Codename
		case 'v':
			return i.rel.Version
		case 'o':
			return i.rel.Origin
		case 'l':
			return i.rel.Label
		case 'c':
			return i.component
		case 'b':
			return i.arch
		}
		return ""
	}
	if len(data) < 2 || data[1] != '=' {
		if data[0] >= '0' && data[0] <= '9' {
			return versionExpression(data, get('v'))
		}
		return expression(data, get('a')) || expression(data, get('n'))
	}
	want := map[byte]string{} // of a key that is given twice the last counts
	for _, part := range strings.Split(data, ",") {
		if part = strings.TrimSpace(part); len(part) > 1 && part[1] == '=' {
			want[strings.ToLower(part)[0]] = part[2:]
		}
	}
	for k, value := range want {
		switch k {
		case 'v':
			if !versionExpression(value, get(k)) {
				return false
			}
		case 'o', 'a', 'n', 'l', 'c', 'b':
			if !expression(value, get(k)) {
				return false
			}
		}
	}
	return true
}

func versionExpression(want, have string) bool {
	if strings.HasSuffix(want, "*") && strings.HasPrefix(have, strings.TrimSuffix(want, "*")) {
		return true
	}
	return want == have || expression(want, have)
}

// expression matches as apt does: /regex/ or a glob, both without regard to case.
func expression(pattern, s string) bool {
	if len(pattern) > 1 && pattern[0] == '/' && pattern[len(pattern)-1] == '/' {
		re, err := regexp.CompilePOSIX(strings.ToLower(pattern[1 : len(pattern)-1]))
		return err == nil && re.MatchString(strings.ToLower(s))
	}
	return baseline.Glob(strings.ToLower(pattern), strings.ToLower(s))
}

// applyPins finds the pin that speaks of each version of p: the first one that does.
func (n *node) applyPins(p *pkg) {
	for _, pin := range n.pins {
		for _, name := range pin.Packages {
			if name == "*" && len(pin.Packages) == 1 {
				continue
			}
			name, bySource := strings.CutPrefix(name, "src:")
			arch := ""
			if i := strings.LastIndexByte(name, ':'); i >= 0 {
				name, arch = name[:i], name[i+1:]
			}
			if arch == "" {
				arch = n.native
			}
			if arch != "any" && arch != p.arch {
				continue
			}
			for _, v := range p.versions {
				have := p.name
				if bySource {
					have = v.SourceName()
				}
				if v.pin == nil && pinName(name, have) && n.pinVersion(&pin, v) {
					v.pin = &pin
				}
			}
		}
	}
}

func pinName(pattern, name string) bool {
	if pattern == name {
		return true
	}
	wild := len(pattern) > 1 && pattern[0] == '/' && pattern[len(pattern)-1] == '/' || strings.ContainsAny(pattern, "*[?")
	return wild && expression(pattern, name)
}

func (n *node) pinVersion(p *deb.Pin, v *version) bool {
	switch p.Type {
	case "version":
		return versionExpression(p.Data, v.Version)
	case "source-version":
		return versionExpression(p.Data, v.SourceVer())
	}
	for _, i := range v.indexes {
		if pinFile(p, i) {
			return true
		}
	}
	return v.installed && p.Type == "release" && releaseMatch(p.Data, nil)
}

// priority is the priority of a version, as apt-cache policy shows it.
func (n *node) priority(v *version) int {
	if n.phase.pins && n.phase.ignores(v.Package) {
		return 1 // whatever pins say
	}
	return n.plainPriority(v)
}

func (n *node) plainPriority(v *version) int {
	usable := v.installed
	for _, i := range v.indexes {
		usable = usable || !i.never
	}
	if v.pin != nil && usable {
		return v.pin.Priority
	}
	const none = -1 << 20
	best := none
	if v.installed {
		best = n.statusPriority()
	}
	for _, i := range v.indexes {
		if i.never {
			best = max(best, -1<<15)
			continue
		}
		best = max(best, i.priority)
	}
	if best == none {
		return 0
	}
	return best
}

// choose finds the version that apt would take: the highest priority, of equal ones the newest; an older one than
// the installed only above priority 1000.
func (n *node) choose(p *pkg) {
	n.applyPins(p)
	best := -1
	for _, v := range p.versions {
		prio := n.priority(v)
		if prio == 0 || prio <= best {
			continue
		}
		if p.installed != nil && prio < 1000 && pkgver.Dpkg(v.Version, p.installed.Version) < 0 {
			continue
		}
		best, p.candidate = prio, v
	}
}

// away says whether and why the node keeps a version newer than the installed one away. kept is a reason that leaves
// an approved version missing; unusable takes it out of the running.
func (n *node) away(p *pkg, v *version) (kept, unusable, detail string) {
	trusted := slices.ContainsFunc(v.indexes, func(i *index) bool { return i.trusted })
	prio := n.priority(v)
	switch {
	case len(v.indexes) == 0:
		return "", "", ""
	case !trusted:
		return "", "notTrusted", "offered only by " + v.indexes[0].name() + ", which has no accepted signature"
	case prio < 0:
		return "pinned", "", fmt.Sprintf("priority %d by %s", prio, pinWhere(v))
	case n.phase.pins && n.phase.ignores(v.Package) && p.candidate != v:
		return "phased", "", phasedText(v)
	case p.candidate == nil || pkgver.Dpkg(p.candidate.Version, v.Version) < 0:
		if where := n.pinBetween(p, v); where != "" {
			return "pinned", "", fmt.Sprintf("priority %d, candidate is %s: %s", prio, candidateText(p), where)
		}
		return "", "notAutomatic", v.indexes[0].name() + " is used on request only"
	case p.candidate != v && v.pin == nil && !slices.ContainsFunc(v.indexes, func(i *index) bool { return i.pinned || i.priority >= 500 }):
		return "", "notAutomatic", v.indexes[0].name() + " is used on request only"
	case !n.phase.pins && n.phased(p, v):
		return "phased", "", phasedText(v)
	}
	return "", "", ""
}

func phasedText(v *version) string {
	return fmt.Sprintf("rolled out to %d %% of machines, not yet to this one", v.Phased)
}

func candidateText(p *pkg) string {
	if p.candidate == nil {
		return "none"
	}
	return p.candidate.Version
}

func pinWhere(v *version) string {
	if v.pin != nil {
		return v.pin.Where
	}
	for _, i := range v.indexes {
		if i.pin != "" {
			return i.pin
		}
	}
	return "the node's preferences"
}

// pinBetween names the setting because of which another version is preferred to v.
func (n *node) pinBetween(p *pkg, v *version) string {
	for _, x := range []*version{v, p.candidate} {
		if x == nil {
			continue
		}
		if x.pin != nil {
			return x.pin.Where
		}
		for _, i := range x.indexes {
			if i.pin != "" {
				return i.pin
			}
		}
	}
	if n.statusPriority() != 100 {
		return "a pin on installed versions"
	}
	return ""
}

// phased reports whether apt leaves the version for later. It does not when a version on the way to it, above the
// installed one, is in a security archive.
func (n *node) phased(p *pkg, v *version) bool {
	if v.Phased >= 100 {
		return false
	}
	for _, x := range p.versions {
		if x.installed {
			break
		}
		c := pkgver.Dpkg(x.Version, v.Version)
		if c > 0 || c == 0 && !n.phase.own {
			continue
		}
		for _, i := range x.indexes {
			if strings.HasSuffix(i.rel.Suite, "-security") {
				return false
			}
		}
	}
	return n.phase.ignores(v.Package)
}
