package rpm

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	md "oakum.dev/repo/rpm"
)

// others counts packages that are offered or advised and not installed. Their names are not kept in the inventory, so
// that a list that asks for one does not count it; advisory, CVE and Bugzilla ids are.
type others struct {
	machine string
	key     []byte                  // used again from package to package
	notices map[string][]*md.Notice // by name.arch
	built   map[string]int64        // by name.arch: the day of the oldest one, in Unix seconds
}

func newOthers(machine string) others {
	return others{machine: machine, notices: map[string][]*md.Notice{}, built: map[string]int64{}}
}

func (o *others) offered(p *md.Brief) error {
	if md.Compatible(o.machine, string(p.Arch)) {
		o.key = append(append(append(o.key[:0], p.Name...), '.'), p.Arch...)
		o.add(p.Built)
	}
	return nil
}

// replacing counts a package that would take the place of an installed one and is read in full for that.
func (o *others) replacing(p *md.Package) {
	o.key = append(append(append(o.key[:0], p.Name...), '.'), p.Arch...)
	o.add(max(p.Built.Unix(), 0)) // 0 where nobody says when, as in a Brief
}

func (o *others) add(built int64) {
	day := built - built%(24*60*60)
	if have, ok := o.built[string(o.key)]; !ok || day < have {
		o.built[string(o.key)] = day
	}
}

func (o *others) advised(x *md.Notice, p *md.NoticePackage) {
	key := p.Name + "." + p.Arch
	if list := o.notices[key]; len(list) == 0 || list[len(list)-1] != x {
		o.notices[key] = append(list, x)
	}
}

// uninstalled groups what was counted by the facts that a baseline goes by.
func (o *others) uninstalled(v *View) []patch.Uninstalled {
	byDay := map[int64]int{}
	for key, day := range o.built {
		if _, advised := o.notices[key]; !advised {
			byDay[day]++
		}
	}
	out := make([]patch.Uninstalled, 0, len(byDay)+len(o.notices))
	for day, count := range byDay {
		out = append(out, patch.Uninstalled{Patches: []baseline.Patch{{Released: time.Unix(day, 0).UTC()}}, Count: count})
	}
	alone := map[*md.Notice]int{} // most packages are named by one notice, which names several
	var several [][]*md.Notice
	for _, list := range o.notices {
		if len(list) == 1 {
			alone[list[0]]++
			continue
		}
		slices.SortStableFunc(list, byID)
		several = append(several, list)
	}
	for x, count := range alone {
		out = append(out, patch.Uninstalled{Patches: []baseline.Patch{v.facts(x)}, Count: count})
	}
	slices.SortFunc(several, func(a, b []*md.Notice) int { return slices.CompareFunc(a, b, byID) })
	for i, list := range several {
		if i > 0 && slices.Equal(list, several[i-1]) {
			out[len(out)-1].Count++
			continue
		}
		u := patch.Uninstalled{Count: 1, Patches: make([]baseline.Patch, 0, len(list))}
		for _, x := range list {
			u.Patches = append(u.Patches, v.facts(x))
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b patch.Uninstalled) int {
		return cmp.Or(a.Patches[0].Released.Compare(b.Patches[0].Released), cmp.Compare(len(a.Patches), len(b.Patches)), cmp.Compare(a.Count, b.Count))
	})
	return out
}

func byID(a, b *md.Notice) int { return strings.Compare(a.ID, b.ID) }
