package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	"oakum.dev/repo/compress"
	"oakum.dev/repo/deb"
)

// index is one Packages list of the node.
type index struct {
	path      string // below the root, with its extension
	info      fs.FileInfo
	base      string // of pool addresses: the source's URI
	site      string // host of the URI
	suite     string // as configured
	component string
	arch      string
	trusted   bool
	listed    string // its name in the Release file
	rel       *release
	priority  int  // after pins on whole archives
	never     bool // Pin-Priority: never
	pinned    bool // priority comes from the node's configuration
	pin       string
}

// release is one Release or InRelease file.
type release struct {
	deb.Release
	uri, suite string // as configured
	path       string // empty: never fetched
	signed     bool
	refreshed  time.Time // modification time of the list files apt left
}

func (i *index) name() string {
	s := i.rel.Codename
	if s == "" {
		s = i.suite
	}
	if i.component != "" {
		s += "/" + i.component
	}
	return s
}

// security reports whether the archive carries security updates.
func (i *index) security() bool {
	r := i.rel
	return i.trusted && (strings.Contains(r.Suite, "security") || strings.HasSuffix(r.Codename, "-security") || r.Label == "Debian-Security")
}

// version is one version of a package with the lists that offer it.
type version struct {
	*deb.Package
	indexes   []*index
	installed bool
	own       bool     // installed, and an archive has another build of it
	pin       *deb.Pin // that speaks of this version
}

// pkg is an installed package, or one looked at as a dependency.
type pkg struct {
	name, arch string // arch: all counts as the native one
	installed  *version
	versions   []*version // newest first
	candidate  *version
}

// node is what was read of a node.
type node struct {
	cfg      *Config
	conf     conf
	native   string
	archs    []string
	aptVer   string
	indexes  []*index
	releases []*release
	sources  []deb.Source
	pins     []deb.Pin
	pkgs     map[string]*pkg // name:arch
	order    []*pkg          // installed ones, by name
	phase    phasing
	lists    *extraction
	degraded []string
	statusID string          // changes when the status file does
	looked   map[string]bool // names that were looked up as dependencies
	sourced  bool            // the lists are those of a baseline's sources
}

func key(name, arch string) string { return name + ":" + arch }

// load reads a node. sources replace its own when not nil.
func load(ctx context.Context, cfg *Config, own []baseline.Source) (*node, error) {
	n := &node{cfg: cfg, pkgs: map[string]*pkg{}, looked: map[string]bool{}}
	var err error
	if n.conf, n.degraded, err = readConf(cfg.FS); err != nil {
		return nil, fmt.Errorf("read apt's configuration: %w", err)
	}
	if err := n.readStatus(); err != nil {
		return nil, err
	}
	n.readArchitectures()
	lists := n.conf.path("Dir::State::lists", "lists")
	if own != nil {
		n.sourced = true
		lists = ownListsDir(cfg)
		n.sources, err = ownSources(own)
	} else {
		n.sources, err = n.readSources()
	}
	if err != nil {
		return nil, err
	}
	if err := n.findIndexes(lists); err != nil {
		return nil, err
	}
	if err := n.readPreferences(); err != nil {
		return nil, err
	}
	machineID, err := fs.ReadFile(cfg.FS, "etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.degraded = append(n.degraded, "machine id: "+err.Error())
	}
	n.phase = newPhasing(n.conf, string(machineID), n.aptVer, cfg.Live && inChroot())
	if n.lists, err = extract(ctx, n); err != nil {
		return nil, err
	}
	n.addHits(n.lists.hits)
	for _, p := range n.order {
		n.choose(p)
	}
	return n, nil
}

func (n *node) readStatus() error {
	f, err := n.cfg.FS.Open(n.conf.path("Dir::State::status", "/var/lib/dpkg/status"))
	if err != nil {
		return fmt.Errorf("read what is installed: %w", rooted(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		n.statusID = system.FileID(info)
	}
	tail := &ending{r: f}
	err = deb.ReadStatus(tail, func(p *deb.Package) error {
		if p.Status == "" || p.Present() && (p.Version == "" || p.Arch == "") {
			return fmt.Errorf("damaged: the record of %s lacks its status, version or architecture", p.Name)
		}
		if !p.Present() {
			return nil
		}
		if p.Name == "dpkg" && n.native == "" {
			n.native = p.Arch
		}
		if p.Name == "apt" {
			n.aptVer = p.Version
		}
		v := &version{Package: p, installed: true}
		n.order = append(n.order, &pkg{name: p.Name, arch: p.Arch, installed: v, versions: []*version{v}})
		return nil
	})
	switch {
	case err != nil:
	case len(n.order) == 0:
		err = errors.New("damaged or empty: no package is installed according to it")
	case string(tail.last[:]) != "\n\n": // dpkg ends each record with a blank line
		err = errors.New("damaged: it ends in the middle of a record")
	}
	if err != nil {
		e := patch.Fail("FAILED", "read what is installed: /%s: %w", n.conf.path("Dir::State::status", "/var/lib/dpkg/status"), err)
		e.Hint = "the previous one is /var/lib/dpkg/status-old; dpkg --audit says what dpkg makes of it"
		return e
	}
	updates, err := fs.ReadDir(n.cfg.FS, "var/lib/dpkg/updates")
	if err == nil && slices.ContainsFunc(updates, func(e fs.DirEntry) bool { return strings.Trim(e.Name(), "0123456789") == "" }) {
		n.degraded = append(n.degraded, "dpkg was interrupted and what it did last is not in its status file: run dpkg --configure -a")
	}
	return nil
}

// ending remembers the last two bytes that went through.
type ending struct {
	r    io.Reader
	last [2]byte
}

func (l *ending) Read(p []byte) (int, error) {
	k, err := l.r.Read(p)
	switch {
	case k > 1:
		l.last = [2]byte(p[k-2 : k])
	case k == 1:
		l.last = [2]byte{l.last[1], p[0]}
	}
	return k, err
}

func (n *node) readArchitectures() {
	if b, err := fs.ReadFile(n.cfg.FS, "var/lib/dpkg/arch"); err == nil {
		n.archs = strings.Fields(string(b))
	}
	if len(n.archs) > 0 {
		n.native = n.archs[0]
	}
	if n.native == "" { // a root without dpkg itself: the commonest architecture
		count := map[string]int{}
		for _, p := range n.order {
			if p.arch != "all" {
				count[p.arch]++
				if count[p.arch] > count[n.native] {
					n.native = p.arch
				}
			}
		}
	}
	n.native = n.conf.get("APT::Architecture", n.native)
	if len(n.archs) == 0 {
		n.archs = []string{n.native}
	}
	if a := n.conf["apt::architectures"]; len(a) > 0 {
		n.archs = strings.Split(strings.Join(a, ","), ",") // in one value they are separated by commas
	}
	slices.SortStableFunc(n.order, func(a, b *pkg) int { return strings.Compare(a.name, b.name) })
	for _, p := range n.order {
		if p.arch == "all" {
			p.arch = n.native
		}
		n.pkgs[key(p.name, p.arch)] = p
	}
}

func (n *node) readSources() ([]deb.Source, error) {
	dir := n.conf.path("Dir::Etc::sourceparts", "sources.list.d")
	files, err := parts(n.cfg.FS, dir, ".list", ".sources")
	if err != nil {
		return nil, err
	}
	var out []deb.Source
	for _, name := range append([]string{n.conf.path("Dir::Etc::sourcelist", "sources.list")}, files...) {
		f, err := n.cfg.FS.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			n.degraded = append(n.degraded, closed(name))
			continue
		}
		if err != nil {
			return nil, err
		}
		read := deb.ReadSourcesList
		if path.Ext(name) == ".sources" {
			read = deb.ReadSources
		}
		s, err := read(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("/%s: %w", name, err)
		}
		out = append(out, s...)
	}
	return out, nil
}

// findIndexes lists the Packages files of the configured sources that are on the disk.
func (n *node) findIndexes(dir string) error {
	entries, err := fs.ReadDir(n.cfg.FS, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read apt's lists: %w", rooted(err))
	}
	have := make(map[string]fs.DirEntry, len(entries))
	for _, e := range entries {
		have[e.Name()] = e
	}
	seen := map[string]bool{}
	releases := map[string]*release{}
	for _, s := range n.sources {
		uri := strings.ReplaceAll(strings.TrimSuffix(s.URI, "/")+"/", "$(ARCH)", n.native)
		suite := strings.ReplaceAll(s.Suite, "$(ARCH)", n.native)
		flat := strings.HasSuffix(suite, "/")
		root := uri + "dists/" + suite + "/"
		switch {
		case suite == "/":
			root = uri
		case flat:
			root = uri + suite
		}
		rel := releases[root]
		if rel == nil {
			if rel, err = n.readRelease(dir, listName(root), have); err != nil {
				return err
			}
			rel.uri, rel.suite = strings.TrimSuffix(uri, "/"), suite
			releases[root] = rel
			n.releases = append(n.releases, rel)
		}
		if rel.path == "" {
			continue
		}
		trusted := rel.signed
		switch s.Trusted {
		case "yes":
			trusted = true
		case "no":
			trusted = false
		}
		site := ""
		if u, err := url.Parse(uri); err == nil {
			site = u.Hostname()
		}
		archs := n.archs
		if len(s.Archs) > 0 {
			archs = s.Archs
		}
		archs = slices.DeleteFunc(slices.Concat(archs, s.More), func(a string) bool { return slices.Contains(s.Less, a) })
		components := s.Components
		if flat {
			components, archs = []string{""}, []string{""}
		} else {
			archs = append(archs, "all")
		}
		for _, comp := range components {
			found := false
			for _, arch := range archs {
				name := root + comp + "/binary-" + arch + "/Packages"
				if flat {
					name = root + "Packages"
				}
				for _, ext := range compress.Extensions {
					file := listName(name) + ext
					e, ok := have[file]
					if !ok {
						continue
					}
					found = true
					if seen[file] {
						break
					}
					seen[file] = true
					info, err := e.Info()
					if err != nil {
						return fmt.Errorf("read apt's lists: %w", rooted(err))
					}
					n.indexes = append(n.indexes, &index{
						path: path.Join(dir, file), info: info, base: uri, site: site, suite: suite, component: comp, arch: arch, trusted: trusted, rel: rel,
						listed: strings.TrimPrefix(name, root),
					})
					break
				}
			}
			if !found && !flat {
				if err := n.lacking(rel, comp); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lacking notes that nothing is known of a component, unless its archive has nothing in it for this architecture. apt says
// no more than a warning, and exits with 0.
func (n *node) lacking(rel *release, comp string) error {
	if len(rel.Components) > 0 && !slices.ContainsFunc(rel.Components, func(c string) bool { return path.Base(c) == path.Base(comp) }) {
		n.degraded = append(n.degraded, fmt.Sprintf("%s %s has no component %s: is the source misspelt?", rel.uri, rel.suite, comp))
		return nil
	}
	f, err := n.cfg.FS.Open(rel.path)
	if err != nil {
		return fmt.Errorf("read apt's lists: %w", rooted(err))
	}
	defer f.Close()
	sizes, err := deb.ReadSizes(f)
	if err != nil {
		return fmt.Errorf("/%s: %w", rel.path, err)
	}
	if sizes[comp+"/binary-"+n.native+"/Packages"] > 0 {
		n.degraded = append(n.degraded, noLists(rel.uri, rel.suite+" "+comp))
	}
	return nil
}

func (n *node) readRelease(dir, prefix string, have map[string]fs.DirEntry) (*release, error) {
	r := &release{}
	name := prefix + "InRelease"
	e, ok := have[name]
	r.signed = ok
	if !ok {
		name = prefix + "Release"
		e, ok = have[name]
		_, r.signed = have[name+".gpg"]
	}
	if !ok {
		return r, nil
	}
	f, err := n.cfg.FS.Open(path.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read apt's lists: %w", rooted(err))
	}
	defer f.Close()
	got, err := deb.ReadRelease(f)
	if err != nil { // without it the archive's versions would be left out, and the node would look better than it is
		return nil, fmt.Errorf("read apt's lists: /%s: %w", path.Join(dir, name), err)
	}
	r.Release, r.path = *got, path.Join(dir, name)
	if info, err := e.Info(); err == nil {
		r.refreshed = info.ModTime().UTC()
	}
	return r, nil
}

// listName is the name under which apt keeps what it fetched from an address.
func listName(uri string) string {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = rest
		host, tail, _ := strings.Cut(uri, "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			uri = host[at+1:] + "/" + tail
		}
	} else if _, rest, ok := strings.Cut(uri, ":"); ok {
		uri = rest
	}
	var b strings.Builder
	for i := range len(uri) {
		switch c := uri[i]; {
		case c == '/':
			b.WriteByte('_')
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`\|{}[]<>"^~_=!@#$%^&*`, c) >= 0:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// addHits joins stanzas of lists to the packages of the node. Equal version texts are one version.
func (n *node) addHits(hits []deb.Hit) {
	for i := range hits {
		h := &hits[i]
		arch := h.Package.Arch
		if arch == "all" {
			arch = n.native
		}
		p := n.pkgs[key(h.Package.Name, arch)]
		if p == nil {
			p = &pkg{name: h.Package.Name, arch: arch}
			n.pkgs[key(p.name, arch)] = p
		}
		idx := n.indexes[h.List]
		at, found := slices.BinarySearchFunc(p.versions, h.Package.Version, func(v *version, s string) int { return -pkgver.Dpkg(v.Version, s) })
		if !found {
			p.versions = slices.Insert(p.versions, at, &version{Package: &h.Package})
		}
		v := p.versions[at]
		if !slices.Contains(v.indexes, idx) {
			v.indexes = append(v.indexes, idx)
		}
		if v.installed { // the status file knows neither
			v.own = v.own || !sameBuild(v.Package, &h.Package)
			v.Package.Filename, v.Package.Size, v.Package.Phased = h.Package.Filename, h.Package.Size, h.Package.Phased
		}
	}
}

// sameBuild reports whether two stanzas of one version are of one build, going by what apt itself tells them apart by:
// dpkg's status has no checksum.
func sameBuild(a, b *deb.Package) bool {
	if a.InstalledSize != b.InstalledSize {
		return false
	}
	for _, r := range [][2]string{{a.Depends, b.Depends}, {a.PreDepends, b.PreDepends}, {a.Conflicts, b.Conflicts}, {a.Breaks, b.Breaks}} {
		if r[0] != r[1] && !slices.EqualFunc(relations(r[0]), relations(r[1]), func(x, y relation) bool { return x.plain() == y.plain() }) {
			return false
		}
	}
	return true
}

// openList makes a deb.List of an index.
func (n *node) openList(id int) (deb.List, func(), error) {
	i := n.indexes[id]
	l := deb.List{ID: id, Size: i.info.Size()}
	ext := path.Ext(i.path)
	if !slices.Contains(compress.Extensions[1:], ext) {
		ext = ""
	}
	if ext == "" {
		f, err := n.cfg.FS.Open(i.path)
		if err != nil {
			return l, nil, err
		}
		if at, ok := f.(io.ReaderAt); ok {
			l.At = at
			return l, func() { f.Close() }, nil
		}
		f.Close()
	}
	l.Open = func() (io.ReadCloser, error) {
		f, err := n.cfg.FS.Open(i.path)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && !sameFile(info, i.info) {
			f.Close()
			return nil, errChanged
		}
		r, err := compress.Reader(f, ext, deb.MaxFile)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("/%s: %w", i.path, err)
		}
		return both{r, f}, nil
	}
	return l, func() {}, nil
}

// both closes a decompressor and the file under it.
type both struct {
	io.ReadCloser
	file io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.file.Close()) }
