package dnf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"oakum.dev/patch/rpm"
	"oakum.dev/patch/system"
	"oakum.dev/repo/compress"
	md "oakum.dev/repo/rpm"
)

// modules knows which packages belong to module streams that are not active. It reads modules.yaml when it is first
// asked: where the cache of the inventory is enough, never. Source: dnf's documentation of modularity.
type modules struct {
	m      *Manager
	c      *config
	read   bool
	err    error
	stream map[string]string   // by module: the active stream
	on     map[string]bool     // artifacts of active streams
	off    map[string]string   // artifacts of others, to why they are hidden
	names  map[string]struct{} // of packages in active streams
}

func newModules(m *Manager, c *config) *modules { return &modules{m: m, c: c} }

const moduleDir = "etc/dnf/modules.d"

// moduleStates changes when a choice of streams does.
func moduleStates(root fs.FS) string {
	var b strings.Builder
	for _, dir := range []string{moduleDir, "etc/dnf/modules.defaults.d"} {
		entries, err := fs.ReadDir(root, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				b.WriteString(e.Name() + " " + system.FileID(info) + " ")
			}
		}
	}
	return b.String()
}

// active reports whether NAME:STREAM counts on this node. A module that no repository describes does not.
func (x *modules) active(module string) bool {
	x.load()
	name, stream, _ := strings.Cut(module, ":")
	return x.stream[name] == stream && stream != ""
}

// hides says why a package is hidden by modules, or nothing.
func (x *modules) hides(r *repo, p *md.Package) string {
	if r.hotfixes { // nothing of it is, whichever module it belongs to
		return ""
	}
	x.load()
	e := p.Epoch
	if e == "" {
		e = "0"
	}
	nevra := fmt.Sprintf("%s-%s:%s-%s.%s", p.Name, e, p.Version, p.Release, p.Arch)
	if x.on[nevra] {
		return ""
	}
	if why, ok := x.off[nevra]; ok {
		return why
	}
	if _, shadowed := x.names[p.Name]; shadowed {
		return "an enabled module has the package " + p.Name
	}
	for i := range p.Provides {
		if _, shadowed := x.names[p.Provides[i].Name]; shadowed {
			return "it provides " + p.Provides[i].Name + ", and an enabled module has the package of that name"
		}
	}
	return ""
}

func (x *modules) load() {
	if x.read {
		return
	}
	x.read = true
	x.stream, x.on, x.off, x.names = map[string]string{}, map[string]bool{}, map[string]string{}, map[string]struct{}{}
	states, err := md.ReadModuleState(x.m.cfg.FS, moduleDir)
	if err != nil {
		x.err = err
		return
	}
	var all []md.Module
	for _, r := range x.c.repos {
		list, defaults, err := x.readRepo(r)
		if err != nil {
			x.err = fmt.Errorf("read the modules of repository %s: %w", r.ID, err)
			return
		}
		all = append(all, list...)
		for name, stream := range defaults {
			if s, chosen := states[name]; !chosen || s.State == "" {
				x.stream[name] = stream
			}
		}
	}
	own, err := x.ownDefaults()
	if err != nil {
		x.err = err
		return
	}
	for name, stream := range own {
		if s, chosen := states[name]; !chosen || s.State == "" {
			x.stream[name] = stream
		}
	}
	for name, s := range states {
		if s.State == "enabled" {
			x.stream[name] = s.Stream
		}
	}
	x.stream = activate(all, x.stream, states)
	for i := range all {
		chosen := x.stream[all[i].Name] == all[i].Stream
		on, why := chosen && met(&all[i], x.stream), "it belongs to the module stream "+all[i].Name+":"+all[i].Stream+", which is not enabled"
		if chosen {
			why = "it belongs to a build of the module stream " + all[i].Name + ":" + all[i].Stream + " for other streams than the enabled ones: " + strings.Join(all[i].Requires, " ")
		}
		for _, a := range all[i].Artifacts {
			if strings.HasSuffix(a, ".src") || strings.HasSuffix(a, ".nosrc") { // what is built from a source may have other names
				continue
			}
			if on {
				x.on[a] = true
				if name := rpm.NameOf(a); name != "" {
					x.names[name] = struct{}{}
				}
			} else if _, have := x.off[a]; !have {
				x.off[a] = why
			}
		}
	}
}

// activate takes the chosen streams and makes of them the active ones: a stream brings those along that it needs and that
// nothing is said about, and one whose needs cannot be met is not active, even if it is enabled. A stream may be built several
// times for different streams of the modules that it needs; one of these is enough.
func activate(all []md.Module, chosen map[string]string, states map[string]md.ModuleState) map[string]string {
	active := maps.Clone(chosen)
	builds := map[string][]*md.Module{} // by NAME:STREAM
	streams := map[string][]string{}    // by module
	for i := range all {
		m := &all[i]
		builds[m.Name+":"+m.Stream] = append(builds[m.Name+":"+m.Stream], m)
		if !slices.Contains(streams[m.Name], m.Stream) {
			streams[m.Name] = append(streams[m.Name], m.Stream)
		}
	}
	barred := map[string]bool{} // modules that are not to be had
	for name, s := range states {
		barred[name] = s.State == "disabled"
	}
	enabled := func(name string) bool { return states[name].State == "enabled" }
	brings := func(m *md.Module) (more map[string]string, ok bool) {
		more = map[string]string{}
		for name, wanted := range needs(m) {
			if _, is := active[name]; is || barred[name] {
				if !meets(active, name, wanted) {
					return nil, false
				}
				continue
			}
			i := slices.IndexFunc(streams[name], func(s string) bool { return len(wanted) == 0 || slices.Contains(wanted, s) })
			if i < 0 {
				return nil, false
			}
			more[name] = streams[name][i]
		}
		return more, true
	}
	for again := true; again; { // each turn adds a module or bars one
		again = false
		names := slices.Sorted(maps.Keys(active))
		slices.SortStableFunc(names, func(a, b string) int { // what somebody enabled comes before defaults
			switch {
			case enabled(a) == enabled(b):
				return 0
			case enabled(a):
				return -1
			}
			return 1
		})
		for _, name := range names {
			list := builds[name+":"+active[name]]
			if len(list) == 0 || slices.ContainsFunc(list, func(m *md.Module) bool { return met(m, active) }) {
				continue // of one that no repository describes nothing is hidden
			}
			again = true
			found := false
			for _, m := range list {
				if more, ok := brings(m); ok {
					maps.Copy(active, more)
					found = true
					break
				}
			}
			if !found {
				delete(active, name)
				barred[name] = true
			}
			break
		}
	}
	return active
}

// needs are the modules that a module needs, and the streams of each that will do; none: any.
func needs(m *md.Module) map[string][]string {
	out := map[string][]string{}
	for _, r := range m.Requires {
		name, stream, one := strings.Cut(r, ":")
		if one {
			out[name] = append(out[name], stream)
		} else if out[name] == nil {
			out[name] = []string{}
		}
	}
	return out
}

// met reports whether the active streams are what a module needs.
func met(m *md.Module, active map[string]string) bool {
	for name, wanted := range needs(m) {
		if !meets(active, name, wanted) {
			return false
		}
	}
	return true
}

func meets(active map[string]string, name string, wanted []string) bool {
	stream, is := active[name]
	return is && (len(wanted) == 0 || slices.Contains(wanted, stream))
}

// ownDefaults are the default streams that the administrator names in place of the repositories' ones.
func (x *modules) ownDefaults() (map[string]string, error) {
	const dir = "etc/dnf/modules.defaults.d"
	out := map[string]string{}
	entries, err := fs.ReadDir(x.m.cfg.FS, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the defaults of modules: %w", err)
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".yaml" {
			continue
		}
		b, err := system.ReadFile(x.m.cfg.FS, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the defaults of modules: %w", err)
		}
		_, defaults, err := md.ReadModules(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("/%s/%s: %w", dir, e.Name(), err)
		}
		maps.Copy(out, defaults)
	}
	return out, nil
}

func (x *modules) readRepo(r *repo) ([]md.Module, map[string]string, error) {
	if r.Dir == "" {
		return nil, nil, nil
	}
	f, err := x.m.cfg.FS.Open(path.Join(r.Dir, "repomd.xml"))
	if err != nil {
		return nil, nil, err
	}
	index, err := md.ReadRepomd(f)
	f.Close()
	if err != nil {
		return nil, nil, err
	}
	d := index.Find("modules")
	if d == nil {
		return nil, nil, nil
	}
	file, err := x.m.cfg.FS.Open(path.Join(r.Dir, path.Base(d.Location)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.New("its index names modules, which are not on the disk")
	}
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	z, err := compress.Sniff(file, maxModules)
	if err != nil {
		return nil, nil, err
	}
	defer z.Close()
	return md.ReadModules(z)
}

// maxModules bounds an opened modules.yaml, in bytes.
const maxModules = 256 << 20
