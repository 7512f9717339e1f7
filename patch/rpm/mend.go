package rpm

import (
	"context"
	"os"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// Again installs packages once more in the versions that they have, with their scripts. It returns what was in its way.
type Again func(packages []*md.Package) (string, error)

// each asks for all at once, and for each alone where that does not go. It returns a line for each that does not.
func (again Again) each(packages []*md.Package) ([]string, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	said, err := again(packages)
	if err != nil || said == "" {
		return nil, err
	}
	if len(packages) == 1 { // its repository may not have it any more: then its scripts may not have run
		return []string{packages[0].Name + " could not be installed once more: " + said}, nil
	}
	var out []string
	for i := range packages {
		more, err := again.each(packages[i : i+1])
		if err != nil {
			return out, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// Mend finishes what an interrupted transaction left of packages that are installed twice: the new version is installed
// once more, with its scripts, and the old one is erased.
func Mend(ctx context.Context, cfg *system.Config, log *os.File, installOnly func(*md.Package) bool, again Again) (patch.Health, error) {
	h := patch.Health{Broken: map[string]string{}}
	twice, err := Twice(ctx, cfg.FS, installOnly)
	if err != nil || len(twice) == 0 {
		return h, err
	}
	var news, olds []*md.Package
	for _, d := range twice {
		news, olds = append(news, d.New), append(olds, d.Old...)
	}
	if h.Trouble, err = again.each(news); err != nil {
		return h, err
	}
	stays, err := erase(ctx, cfg, log, olds)
	if err != nil {
		return h, err
	}
	h.Trouble = append(h.Trouble, stays...)
	after, err := Twice(ctx, cfg.FS, installOnly)
	if err != nil {
		return h, err
	}
	left := map[string]bool{}
	for _, d := range after {
		left[d.Key()] = true
		h.Broken[d.Key()] = d.String()
	}
	var mended []string
	for _, d := range twice {
		if !left[d.Key()] {
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
func erase(ctx context.Context, cfg *system.Config, log *os.File, olds []*md.Package) ([]string, error) {
	one := func(list ...*md.Package) (string, error) {
		args := []string{"--erase"}
		for _, p := range list {
			args = append(args, p.Name+"-"+p.EVR()+"."+p.Arch)
		}
		text, code, err := system.Logged(ctx, cfg.Exec, log, "/usr/bin/rpm", args)
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

// Redo installs once more, with their scripts, the new versions of changes that are there.
func Redo(ctx context.Context, cfg *system.Config, changes []patch.Change, again Again) ([]string, error) {
	all, err := byKey(ctx, cfg.FS)
	if err != nil {
		return nil, err
	}
	var there []*md.Package
	for _, c := range changes {
		for _, key := range []string{c.Key(), c.Name + ".noarch"} {
			i := slices.IndexFunc(all[key], func(p *md.Package) bool { return Text(p) == c.New })
			if i >= 0 {
				there = append(there, all[key][i])
				break
			}
		}
	}
	return again.each(there)
}
