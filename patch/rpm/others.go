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
	notices map[string][]*md.Notice // by name.arch
	built   map[string]time.Time    // by name.arch: the day of the oldest one
}

func (o *others) offered(p *md.Brief) error {
	o.add(string(p.Name), string(p.Arch), time.Unix(p.Built, 0).UTC())
	return nil
}

func (o *others) add(name, arch string, built time.Time) {
	if !md.Compatible(o.machine, arch) {
		return
	}
	key, day := name+"."+arch, built.Truncate(24*time.Hour)
	if have, ok := o.built[key]; !ok || day.Before(have) {
		o.built[key] = day
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
	byDay := map[time.Time]int{}
	byNotices := map[string]int{}
	lists := map[string][]*md.Notice{}
	for key, day := range o.built {
		if _, advised := o.notices[key]; !advised {
			byDay[day]++
		}
	}
	for _, list := range o.notices {
		slices.SortFunc(list, func(a, b *md.Notice) int { return strings.Compare(a.ID, b.ID) })
		ids := make([]string, len(list))
		for i, x := range list {
			ids[i] = x.ID
		}
		id := strings.Join(ids, " ")
		byNotices[id]++
		lists[id] = list
	}
	var out []patch.Uninstalled
	for day, count := range byDay {
		out = append(out, patch.Uninstalled{Patches: []baseline.Patch{{Released: day}}, Count: count})
	}
	for id, count := range byNotices {
		u := patch.Uninstalled{Count: count}
		for _, x := range lists[id] {
			u.Patches = append(u.Patches, v.facts(x))
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b patch.Uninstalled) int {
		return cmp.Or(a.Patches[0].Released.Compare(b.Patches[0].Released), cmp.Compare(len(a.Patches), len(b.Patches)), cmp.Compare(a.Count, b.Count))
	})
	return out
}
