package rpm

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	md "oakum.dev/repo/rpm"
)

// byKey reads the database by name and architecture, versions ascending.
func byKey(ctx context.Context, root fs.FS) (map[string][]*md.Package, error) {
	out := map[string][]*md.Package{}
	err := md.Installed(ctx, root, func(p *md.Package) error {
		if p.Name != "gpg-pubkey" {
			out[p.Name+"."+p.Arch] = append(out[p.Name+"."+p.Arch], p)
		}
		return nil
	})
	if err != nil {
		return nil, patch.Fail("FAILED", "read what is installed: the rpm database: %w", err)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *md.Package) int { return pkgver.RPM(a.EVR(), b.EVR()) })
	}
	return out, nil
}

// Present says what is installed now, by Package.Key: of several versions the newest. A package of architecture noarch is
// found under the others too, and the other way round.
func Present(ctx context.Context, root fs.FS, installOnly func(*md.Package) bool) (map[string]patch.Presence, error) {
	all, err := byKey(ctx, root)
	if err != nil {
		return nil, err
	}
	out := make(map[string]patch.Presence, len(all))
	for key, list := range all {
		top := list[len(list)-1]
		p := patch.Presence{Version: Text(top)}
		if len(list) > 1 && !installOnly(top) {
			p.Broken = Duplicate{New: top, Old: list[:len(list)-1]}.String()
		}
		out[key] = p
		for _, arch := range []string{"noarch", "x86_64", "aarch64", "ppc64le", "s390x", "i686"} {
			other := top.Name + "." + arch
			if _, own := all[other]; !own && (top.Arch == "noarch" || arch == "noarch") {
				if _, taken := out[other]; !taken {
					out[other] = p
				}
			}
		}
	}
	return out, nil
}

// Duplicate is a package that an interrupted transaction left in several versions.
type Duplicate struct {
	New *md.Package
	Old []*md.Package
}

// Key is Package.Key.
func (d Duplicate) Key() string { return d.New.Name + "." + d.New.Arch }

func (d Duplicate) String() string {
	versions := make([]string, 0, len(d.Old)+1)
	for _, o := range append(slices.Clone(d.Old), d.New) {
		versions = append(versions, o.EVR())
	}
	return "installed more than once, as " + strings.Join(versions, " and ")
}

// Twice lists what is installed in several versions and is not meant to be.
func Twice(ctx context.Context, root fs.FS, installOnly func(*md.Package) bool) ([]Duplicate, error) {
	all, err := byKey(ctx, root)
	if err != nil {
		return nil, err
	}
	var out []Duplicate
	for _, list := range all {
		if top := list[len(list)-1]; len(list) > 1 && !installOnly(top) {
			out = append(out, Duplicate{top, list[:len(list)-1]})
		}
	}
	slices.SortFunc(out, func(a, b Duplicate) int { return strings.Compare(a.Key(), b.Key()) })
	return out, nil
}

// Room compares what a plan needs with what is free: the package files in the manager's cache, the growth where they are
// installed, and the next kernel in /boot.
func Room(cfg system.Config, cache string, p *patch.Plan) error {
	var download, grows int64
	kernel := false
	for _, c := range p.Changes {
		download += c.Bytes
		grows += c.Grows
		kernel = kernel || c.New != "" && kernelName(c.Name)
	}
	places := []system.Place{{Dir: cache, Bytes: download}, {Dir: "usr", Bytes: max(grows, 0)}, {Dir: databaseDir(cfg.FS)}, {Dir: "etc"}}
	if kernel {
		places = append(places, system.Place{Dir: "boot", Bytes: system.BootFiles(cfg.FS), Tight: true})
	}
	return system.Room(cfg.Root, places)
}

// NoRoom reports whether a manager or rpm complains about too little disk space.
func NoRoom(text string) bool {
	for _, words := range []string{"No space left on device", "more space needed on the", "more space on the", "Not enough free space", "Not enough space", "not enough disk space"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

func databaseDir(root fs.FS) string {
	for _, f := range md.DatabaseFiles(root) {
		return f[:strings.LastIndexByte(f, '/')]
	}
	return "var/lib/rpm"
}
