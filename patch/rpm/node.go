// Package rpm is what nodes with an rpm database share, whichever program manages them: what is installed, what the
// repositories' metadata offers and its notices say, joined to an inventory; and whether updates go in together. It reads
// files only. patch/dnf and patch/zypper say what their repositories are and what their configuration keeps away.
package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	"oakum.dev/pkgver"
	"oakum.dev/repo/compress"
	md "oakum.dev/repo/rpm"
)

// maxOpen bounds what a metadata file may grow to when it is opened, in bytes.
const maxOpen = 2 << 30

// Repo is an enabled repository as the node's manager knows it.
type Repo struct {
	ID, Name, URI string
	Dir           string // folder with repomd.xml, as a path for fs.FS; empty: never fetched
	Priority      int    // the lowest number wins
	Cost          int
	Trusted       bool   // its packages' signatures are checked
	Failed        string // why the last refresh did not get it
}

// Away says why the node's manager keeps an offered version away. The zero value: it does not.
type Away struct {
	Reason   string // one of the patch.Reason constants
	Unusable bool   // never a target; otherwise it is missing all the same
	Detail   string
}

// View is what a manager's configuration makes of a node.
type View struct {
	OS          baseline.OS // of the platform
	Machine     string      // architecture as uname -m gives it
	Repos       []Repo
	Away        func(r *Repo, p, have *md.Package) Away // have is the installed version; nil: nothing is kept away
	Stream      func(module string) bool                // whether NAME:STREAM is active; nil: all are
	InstallOnly func(p *md.Package) bool                // several versions are installed side by side; nil: none
	Held        func(p *md.Package) string              // why an installed package is not touched at all; nil: none is
	Refused     func(x *md.Notice) string               // why what a notice names is not installed for it; nil: it is
	Withdrawn   func(x *md.Notice) bool                 // a notice counts as if it had not been published; nil: none does
	Remark      func(x *md.Notice) string               // what to say of a version that a notice names; nil: nothing
	Issued      bool                                    // a version is released when its notice is issued; later changes of the notice do not count
	Classify    func(kind string) string                // the classification of a notice's type
	NoSeverity  string                                  // the severity of a notice without one
	Err         func() error                            // what went wrong while they were answered; nil: nothing can
	KeepsNames  bool                                    // the manager replaces no package by one of another name that obsoletes it
	Source      string                                  // names what repositories these are, when not the node's own
	Identity    string                                  // changes when one of the answers above may
	Degraded    []string

	// Known reports whether any package, installed or offered, matches. Reader sets it before it asks Away.
	Known func(match func(name, arch string) bool) bool
}

// installed is a package of the node by name and architecture, in one or several versions.
type installed struct {
	name, arch string
	versions   []*md.Package // ascending
	broken     string
}

func (i *installed) newest() *md.Package { return i.versions[len(i.versions)-1] }

// offer is a version in a repository.
type offer struct {
	*md.Package
	repo *Repo
}

// naming is a notice that names a version of an installed package.
type naming struct {
	notice *md.Notice
	pkg    *md.NoticePackage
	repo   *Repo
}

// node is what was read of a node.
type node struct {
	cfg       *system.Config
	view      *View
	order     []*installed
	byName    map[string][]*installed
	offers    map[string][]offer
	obsoletes map[string][]offer // by the name of the installed package that they would take the place of
	notices   map[string][]naming
	advised   map[*Repo]bool // has notices at all
	dates     map[*Repo]time.Time
	others    others
	oddLock   sync.Mutex
	odds      map[*Repo]int
	degraded  []string
}

// errChanged: somebody refreshed metadata or installed something while the files were read.
var errChanged = errors.New("the package manager's files change all the time")

// identity changes when anything that a node is read from does.
func identity(root fs.FS, v *View) string {
	var b strings.Builder
	b.WriteString(v.Identity + "\n")
	add := func(name string) {
		if info, err := fs.Stat(root, name); err == nil {
			b.WriteString(name + " " + system.FileID(info) + "\n")
		}
	}
	for _, f := range md.DatabaseFiles(root) {
		add(f)
	}
	for i := range v.Repos {
		r := &v.Repos[i]
		fmt.Fprintf(&b, "%s %s %d %d %v\n", r.ID, r.URI, r.Priority, r.Cost, r.Trusted)
		if r.Dir != "" {
			add(path.Join(r.Dir, "repomd.xml"))
		}
	}
	return b.String()
}

// load reads a node, once more when something changed meanwhile.
func load(ctx context.Context, cfg *system.Config, v *View) (*node, error) {
	for range 5 {
		before := identity(cfg.FS, v)
		n, err := read(ctx, cfg, v)
		if identity(cfg.FS, v) == before {
			return n, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil, patch.Fail("REPO_METADATA", "%w", errChanged)
}

func read(ctx context.Context, cfg *system.Config, v *View) (*node, error) {
	n := &node{
		cfg: cfg, view: v, byName: map[string][]*installed{}, offers: map[string][]offer{}, obsoletes: map[string][]offer{},
		notices: map[string][]naming{}, advised: map[*Repo]bool{}, odds: map[*Repo]int{}, dates: map[*Repo]time.Time{}, others: newOthers(v.Machine),
	}
	v.Known = n.known
	if err := n.readDatabase(ctx); err != nil {
		return nil, err
	}
	for i := range v.Repos {
		r := &v.Repos[i]
		if r.Dir == "" {
			continue
		}
		if err := n.readRepo(ctx, r); err != nil {
			e := patch.Fail("REPO_METADATA", "read the metadata of repository %s: %w", r.ID, err)
			e.Hint = "what is on the disk is damaged: let the package manager fetch it anew"
			return nil, e
		}
	}
	return n, nil
}

// readDatabase reads what is installed.
func (n *node) readDatabase(ctx context.Context) error {
	at := map[string]*installed{}
	err := md.Installed(ctx, n.cfg.FS, func(p *md.Package) error {
		if p.Name == "gpg-pubkey" { // rpm keeps keys among the packages
			return nil
		}
		key := p.Name + "." + p.Arch
		i := at[key]
		if i == nil {
			i = &installed{name: p.Name, arch: p.Arch}
			at[key] = i
			n.order = append(n.order, i)
			n.byName[p.Name] = append(n.byName[p.Name], i)
		}
		i.versions = append(i.versions, p)
		return nil
	})
	if err == nil && len(n.order) == 0 {
		err = errors.New("damaged or empty: no package is installed according to it")
	}
	if err != nil {
		e := patch.Fail("FAILED", "read what is installed: the rpm database: %w", err)
		e.Hint = "rpm --verifydb says what rpm makes of it"
		return e
	}
	slices.SortFunc(n.order, func(a, b *installed) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.arch, b.arch)
	})
	var twice []string
	for _, i := range n.order {
		slices.SortFunc(i.versions, func(a, b *md.Package) int { return pkgver.RPM(a.EVR(), b.EVR()) })
		if len(i.versions) > 1 && !n.installOnly(i.newest()) {
			i.broken = fmt.Sprintf("installed twice, as %s and %s", i.versions[0].EVR(), i.newest().EVR())
			twice = append(twice, i.name)
		}
	}
	if len(twice) > 0 {
		n.degraded = append(n.degraded, "an interrupted transaction left packages installed twice: "+strings.Join(twice, " "))
	}
	return nil
}

func (n *node) known(match func(name, arch string) bool) bool {
	for _, i := range n.order {
		if match(i.name, i.arch) {
			return true
		}
	}
	for name, list := range n.offers { // of another architecture than what is installed
		for _, o := range list {
			if match(name, o.Arch) {
				return true
			}
		}
	}
	for key := range n.others.built {
		i := strings.LastIndexByte(key, '.')
		if match(key[:i], key[i+1:]) {
			return true
		}
	}
	return false
}

func (n *node) installOnly(p *md.Package) bool {
	return n.view.InstallOnly != nil && n.view.InstallOnly(p)
}

// fetched finds a kind of metadata, in the form that the manager keeps on the disk: the zchunk file in place of the plain one
// where that is not there.
func (n *node) fetched(r *Repo, index *md.Repomd, kind string) *md.Data {
	plain := index.Find(kind)
	if z := index.Find(kind + "_zck"); z != nil && (plain == nil || !n.there(r, plain) && n.there(r, z)) {
		return z
	}
	return plain
}

func (n *node) there(r *Repo, d *md.Data) bool {
	return slices.ContainsFunc(places(r, d), func(name string) bool { _, err := fs.Stat(n.cfg.FS, name); return err == nil })
}

// places are where a metadata file can be: dnf keeps files beside the index, zypper as the index says, and yum in either way.
func places(r *Repo, d *md.Data) []string {
	return []string{path.Join(r.Dir, path.Base(d.Location)), path.Join(path.Dir(r.Dir), d.Location)}
}

// open opens a metadata file of a repository.
func (n *node) open(r *Repo, d *md.Data) (io.ReadCloser, error) {
	for _, name := range places(r, d) {
		f, err := n.cfg.FS.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil && d.Bytes > 0 && info.Size() != d.Bytes {
			err = fmt.Errorf("%s has %d bytes, its index says %d", path.Base(name), info.Size(), d.Bytes)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		z, err := compress.Sniff(f, maxOpen)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
		return opened{z, f}, nil
	}
	return nil, fmt.Errorf("%s: %w", path.Base(d.Location), fs.ErrNotExist)
}

// opened closes a decompressor and the file under it.
type opened struct {
	io.ReadCloser
	file fs.File
}

func (o opened) Close() error { return errors.Join(o.ReadCloser.Close(), o.file.Close()) }

func (n *node) readRepo(ctx context.Context, r *Repo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := n.cfg.FS.Open(path.Join(r.Dir, "repomd.xml"))
	if err != nil {
		return err
	}
	index, err := md.ReadRepomd(f)
	f.Close()
	if err != nil {
		return err
	}
	for i := range index.Data {
		if t := index.Data[i].Timestamp; t.After(n.dates[r]) {
			n.dates[r] = t
		}
	}
	primary := n.fetched(r, index, "primary")
	if primary == nil {
		return errors.New("its index names no primary metadata")
	}
	// The two files fill different maps.
	var both errgroup.Group
	both.Go(func() error { return n.readPrimary(r, primary) })
	if notices := n.fetched(r, index, "updateinfo"); notices != nil {
		n.advised[r] = true
		both.Go(func() error { return n.readNotices(r, notices) })
	}
	return both.Wait()
}

func (n *node) readPrimary(r *Repo, d *md.Data) error {
	file, err := n.open(r, d)
	if err != nil {
		return err
	}
	err = md.ScanPrimary(file, md.Query{
		Name:      func(name []byte) bool { return n.byName[string(name)] != nil },
		Obsoletes: func(name []byte) bool { return n.byName[string(name)] != nil },
	}, func(p *md.Package) error { n.addOffer(r, p); return nil }, func(p *md.Brief) error {
		if !md.Sound(p.Name, p.Arch, p.Epoch, p.Version, p.Release) {
			n.odd(r)
			return nil
		}
		return n.others.offered(p)
	})
	return errors.Join(err, file.Close())
}

func (n *node) readNotices(r *Repo, d *md.Data) error {
	file, err := n.open(r, d)
	if err != nil {
		return err
	}
	err = md.ScanNotices(file, nil, func(x *md.Notice) error { n.addNotice(r, x); return nil })
	return errors.Join(err, file.Close())
}

func (n *node) addOffer(r *Repo, p *md.Package) {
	if !p.Sound() {
		n.odd(r)
		return
	}
	if !md.Compatible(n.view.Machine, p.Arch) {
		return
	}
	if n.byName[p.Name] != nil {
		n.offers[p.Name] = append(n.offers[p.Name], offer{p, r})
		return
	}
	for i := range p.Obsoletes {
		o := &p.Obsoletes[i]
		for _, in := range n.byName[o.Name] {
			if Takes(o, in.newest()) {
				n.obsoletes[o.Name] = append(n.obsoletes[o.Name], offer{p, r})
				break
			}
		}
	}
	n.others.replacing(p)
}

// odd notes that a repository names packages that there cannot be: a name or version with other characters than those of
// packages. They are left out.
func (n *node) odd(r *Repo) {
	n.oddLock.Lock()
	defer n.oddLock.Unlock()
	n.odds[r]++
}

func (n *node) addNotice(r *Repo, x *md.Notice) {
	if n.view.Withdrawn != nil && n.view.Withdrawn(x) {
		return
	}
	kept := x.Packages[:0]
	for _, p := range x.Packages {
		if !p.Sound() {
			n.odd(r)
			continue
		}
		if p.Module != "" && n.view.Stream != nil && !n.view.Stream(p.Module) {
			continue
		}
		if p.Arch != "" && p.Arch != "src" && !md.Compatible(n.view.Machine, p.Arch) || p.Arch == "src" || p.Arch == "nosrc" {
			continue
		}
		if n.byName[p.Name] == nil {
			n.others.advised(x, &p)
			continue
		}
		kept = append(kept, p)
	}
	x.Packages = slices.Clip(kept)
	for i := range x.Packages {
		p := &x.Packages[i]
		n.notices[p.Name] = append(n.notices[p.Name], naming{x, p, r})
	}
}
