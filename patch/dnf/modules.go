package dnf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
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
	off    map[string]string   // artifacts of others, to NAME:STREAM
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
	x.load()
	e := p.Epoch
	if e == "" {
		e = "0"
	}
	nevra := fmt.Sprintf("%s-%s:%s-%s.%s", p.Name, e, p.Version, p.Release, p.Arch)
	if x.on[nevra] {
		return ""
	}
	if module, ok := x.off[nevra]; ok {
		return "it belongs to the module stream " + module + ", which is not enabled"
	}
	if _, shadowed := x.names[p.Name]; shadowed && !r.hotfixes {
		return "an enabled module has the package " + p.Name
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
	for i := range all {
		on := x.stream[all[i].Name] == all[i].Stream
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
				x.off[a] = all[i].Name + ":" + all[i].Stream
			}
		}
	}
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
