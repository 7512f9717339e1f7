package rpm

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// Mender finishes what an interrupted transaction left. It is used by one goroutine at a time.
type Mender struct {
	cfg       system.Config
	reinstall func(ctx context.Context, packages []*md.Package, unit string, log *os.File) (string, error)
	done      map[string]bool // name, version and architecture of what was installed once more
	units     int
}

// NewMender returns a mender of a node. reinstall lets the package manager install packages once more in the versions that
// they have, with their scripts, in a unit of that name. It returns what was in its way.
func NewMender(cfg system.Config, reinstall func(ctx context.Context, packages []*md.Package, unit string, log *os.File) (string, error)) *Mender {
	return &Mender{cfg: cfg, reinstall: reinstall, done: map[string]bool{}}
}

// Spec is the package in its version, NAME-EVR.ARCH.
func Spec(p *md.Package) string { return p.Name + "-" + Text(p) + "." + p.Arch }

// again asks for all at once, and where that does not go for each alone, twice: what was in the way may be over, such as a
// kill. It returns a line for each that does not go.
func (m *Mender) again(ctx context.Context, packages []*md.Package, log *os.File) ([]string, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	said, err := m.try(ctx, packages, log)
	if err != nil || said == "" {
		return nil, err
	}
	var out []string
	for i, p := range packages {
		for range 2 {
			if said, err = m.try(ctx, packages[i:i+1], log); err != nil {
				return out, err
			}
			if said == "" {
				break
			}
		}
		if said != "" { // its repository may not have it any more: then its scripts may not have run
			out = append(out, p.Name+" could not be installed once more: "+said)
		}
	}
	return out, nil
}

// try asks for packages once, in a unit of its own name.
func (m *Mender) try(ctx context.Context, packages []*md.Package, log *os.File) (string, error) {
	m.units++
	said, err := m.reinstall(ctx, packages, fmt.Sprintf("oakum-repair-%d-%d", os.Getpid(), m.units), log)
	if err == nil && said == "" {
		for _, p := range packages {
			m.done[Spec(p)] = true
		}
	}
	return said, err
}

// Mend finishes packages that are installed twice: the new version is installed once more, with its scripts, and the old
// one is erased.
func (m *Mender) Mend(ctx context.Context, installOnly func(*md.Package) bool, log *os.File) (patch.Health, error) {
	h := patch.Health{Broken: map[string]string{}}
	twice, err := Twice(ctx, m.cfg.FS, installOnly)
	if err != nil || len(twice) == 0 {
		return h, err
	}
	var news, olds []*md.Package
	for _, d := range twice {
		news = append(news, d.New)
	}
	if h.Trouble, err = m.again(ctx, news, log); err != nil {
		return h, err
	}
	left, err := Twice(ctx, m.cfg.FS, installOnly)
	if err != nil {
		return h, err
	}
	for _, d := range left {
		for _, old := range d.Old { // one version may be there twice, too: erasing that would take the package away
			if Text(old) != Text(d.New) {
				olds = append(olds, old)
			}
		}
	}
	stays, err := m.erase(ctx, olds, log)
	if err != nil {
		return h, err
	}
	h.Trouble = append(h.Trouble, stays...)
	after, err := Twice(ctx, m.cfg.FS, installOnly)
	if err != nil {
		return h, err
	}
	broken := map[string]bool{}
	for _, d := range after {
		broken[d.Key()] = true
		h.Broken[d.Key()] = d.String()
	}
	var mended []string
	for _, d := range twice {
		if !broken[d.Key()] {
			mended = append(mended, d.Key())
		}
	}
	if len(mended) > 0 {
		h.Repaired = append(h.Repaired, "an interrupted transaction had left packages installed twice; finished: "+strings.Join(mended, " "))
	}
	return h, nil
}

// erase takes old versions away: all at once, as they may need each other, or as many as can go one by one. It says which
// stay, and why.
func (m *Mender) erase(ctx context.Context, olds []*md.Package, log *os.File) ([]string, error) {
	if len(olds) == 0 {
		return nil, nil
	}
	one := func(list ...*md.Package) (string, error) {
		args := []string{"--erase"}
		for _, p := range list {
			args = append(args, p.Name+"-"+p.EVR()+"."+p.Arch)
		}
		text, code, err := system.Logged(ctx, m.cfg.Exec, log, "/usr/bin/rpm", args)
		if err != nil || code == 0 {
			return "", err
		}
		return strings.Join(strings.Fields(text), " "), nil
	}
	said, err := one(olds...)
	if err != nil || said == "" {
		return nil, err
	}
	why := map[*md.Package]string{}
	for n := -1; n != len(olds) && len(olds) > 0; {
		n = len(olds)
		olds = slices.DeleteFunc(olds, func(p *md.Package) bool {
			if err == nil {
				why[p], err = one(p)
			}
			return err == nil && why[p] == ""
		})
	}
	var out []string
	for _, p := range olds {
		out = append(out, "the old version of "+p.Name+" stays: "+why[p])
	}
	return out, err
}

// Redo installs once more, with their scripts, the new versions of changes that are there: the database does not tell
// whether their scripts have run, of which %posttrans come last. What was mended a moment ago is done.
func (m *Mender) Redo(ctx context.Context, changes []patch.Change, log *os.File) ([]string, error) {
	all, err := byKey(ctx, m.cfg.FS)
	if err != nil {
		return nil, err
	}
	var there []*md.Package
	for _, c := range changes {
		for _, key := range []string{c.Key(), c.Name + ".noarch"} {
			i := slices.IndexFunc(all[key], func(p *md.Package) bool { return Text(p) == c.New })
			if i >= 0 && !m.done[Spec(all[key][i])] {
				there = append(there, all[key][i])
			}
			if i >= 0 {
				break
			}
		}
	}
	return m.again(ctx, there, log)
}
