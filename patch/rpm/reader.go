package rpm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// Reader reads a node's inventory, and keeps what it found for as long as nothing changes. It is used by one goroutine
// at a time.
type Reader struct {
	cfg   system.Config
	name  string
	view  *View
	node  *node // nil while the cache has been enough
	key   [sha256.Size]byte
	store stored
	dirty bool
	live  *lived
}

// stored is what the cache holds.
type stored struct {
	Inventory   *patch.Inventory
	Boot        []md.Package // installed packages that a running system does without its newest version of only until it reboots
	Suggestions []suggestion
	Blocks      map[string]map[string]patch.Block // answers of the package manager's solver, by what it was asked
}

// maxAnswers bounds how many answers of a solver are kept for one state of a node.
const maxAnswers = 8

// NewReader returns a reader. name is the package manager's.
func NewReader(cfg system.Config, name string) *Reader {
	return &Reader{cfg: cfg.Complete(), name: name}
}

// Inventory joins what is installed and what the repositories of v offer.
func (r *Reader) Inventory(ctx context.Context, v *View, now time.Time) (*patch.Inventory, error) {
	r.view, r.node, r.dirty, r.live = v, nil, false, nil
	r.key = sha256.Sum256([]byte(cacheMagic + identity(r.cfg.FS, v)))
	if !r.recall() {
		n, err := load(ctx, &r.cfg, v)
		if err != nil {
			return nil, err
		}
		inv := n.inventory(now)
		if v.Err != nil {
			if err := v.Err(); err != nil {
				return nil, patch.Fail("REPO_METADATA", "%w", err)
			}
		}
		r.node, r.store = n, stored{Inventory: inv, Boot: n.bootPackages(), Suggestions: n.suggestions(), Blocks: map[string]map[string]patch.Block{}}
		r.dirty = true // Check, which every scan ends with, saves it
	}
	inv := *r.store.Inventory
	inv.Packages, inv.Repositories, inv.Degraded = slices.Clone(inv.Packages), slices.Clone(inv.Repositories), slices.Clone(inv.Degraded)
	for i := range inv.Repositories { // when and how it was fetched is no part of what it says
		c := &inv.Repositories[i]
		if r.fetched(&v.Repos[i], c); c.Missing {
			inv.Degraded = append(inv.Degraded, c.Detail)
		}
	}
	if r.cfg.Live {
		r.livePatches(ctx, &inv, now)
	}
	return &inv, nil
}

// fetched says of a repository when its metadata was fetched, and what became of the last time.
func (r *Reader) fetched(repo *Repo, c *compliance.Repository) {
	switch {
	case repo.Dir == "":
		c.Stale, c.Missing, c.Detail = true, true, "the metadata of repository "+repo.ID+" has never been fetched"
		if repo.Failed != "" {
			c.Detail += ": " + repo.Failed
		}
		return
	case repo.Failed != "":
		c.Stale, c.Detail = true, repo.Failed
	case c.NoAdvisories:
		c.Detail = "has no update notices: none of its packages counts as a security patch"
	}
	if info, err := fs.Stat(r.cfg.FS, path.Join(repo.Dir, "repomd.xml")); err == nil {
		c.RefreshedAt = info.ModTime().UTC().Truncate(time.Second)
	}
}

func (r *Reader) file() string {
	if r.cfg.CacheDir == "" {
		return ""
	}
	where := sha256.Sum256([]byte(r.cfg.Root + " " + r.view.Source))
	return filepath.Join(r.cfg.CacheDir, r.name+"-"+hex.EncodeToString(where[:8])+".cache")
}

// recall reads the cache.
func (r *Reader) recall() bool {
	var s stored
	file := r.file()
	if file == "" || !system.ReadCache(file, r.key, s.cached) || len(s.Inventory.Repositories) != len(r.view.Repos) {
		return false
	}
	r.store = s
	return true
}

// save writes the cache.
func (r *Reader) save() {
	if file := r.file(); file != "" && r.dirty {
		r.dirty = false
		system.WriteCache(file, r.key, r.store.cached)
	}
}

// loaded is the node itself, read again where the cache was enough until now.
func (r *Reader) loaded(ctx context.Context) (*node, error) {
	if r.node == nil {
		n, err := load(ctx, &r.cfg, r.view)
		if err != nil {
			return nil, err
		}
		r.node = n
	}
	return r.node, nil
}

// Check answers for a package manager: nothing where the targets certainly go in together, else what ask finds out. Its
// answer is kept under id; an empty id keeps none. It writes the cache.
func (r *Reader) Check(ctx context.Context, targets []patch.Target, id string, ask func() (map[string]patch.Block, error)) (map[string]patch.Block, error) {
	defer r.save()
	if len(targets) == 0 {
		return nil, nil
	}
	var b strings.Builder
	for _, t := range targets {
		b.WriteString(t.Package.Key() + " " + t.Version.Text + "\n")
	}
	sum := sha256.Sum256([]byte(id + "\n" + b.String()))
	key := hex.EncodeToString(sum[:])
	if blocks, ok := r.store.Blocks[key]; ok && id != "" {
		return blocks, nil
	}
	n, err := r.loaded(ctx)
	if err != nil {
		return nil, err
	}
	var blocks map[string]patch.Block
	if !n.sure(ctx, targets) {
		if blocks, err = ask(); err != nil {
			return nil, err
		}
	}
	if id != "" {
		for k := range r.store.Blocks {
			if len(r.store.Blocks) >= maxAnswers {
				delete(r.store.Blocks, k)
			}
		}
		r.store.Blocks[key], r.dirty = blocks, true
	}
	return blocks, nil
}

// sure looks up the packages of targets and whether they certainly go in.
func (n *node) sure(ctx context.Context, targets []patch.Target) bool {
	var news, olds []*md.Package
	for _, t := range targets {
		p, old := n.target(t)
		if p == nil {
			return false
		}
		news, olds = append(news, p), append(olds, old)
	}
	// Files that anything requires are looked up at once, when the first of them is asked for: that reads the database again.
	var failed error
	owners := sync.OnceValue(func() map[string]string {
		files := map[string]struct{}{}
		need := func(p *md.Package) {
			for i := range p.Requires {
				if r := &p.Requires[i]; strings.HasPrefix(r.Name, "/") {
					files[r.Name] = struct{}{}
				}
			}
		}
		for _, i := range n.order {
			for _, p := range i.versions {
				need(p)
			}
		}
		for _, p := range news {
			need(p)
		}
		var found map[string]string
		found, failed = md.Owners(ctx, n.cfg.FS, files)
		return found
	})
	return n.certain(news, olds, func(file string) string { return owners()[file] }) && failed == nil
}

// target finds the offered package of a target, and the installed one that it replaces.
func (n *node) target(t patch.Target) (p, old *md.Package) {
	for _, i := range n.byName[t.Package.Name] {
		if i.arch != t.Package.Arch {
			continue
		}
		p = n.offered(i.name, i.arch, t.Version.Text)
		if old = i.newest(); n.installOnly(old) {
			old = nil
		}
	}
	return p, old
}

// offered finds a version in the repositories: of the architecture that is asked for, else of those that it may change places
// with the one that the machine likes best.
func (n *node) offered(name, arch, text string) (best *md.Package) {
	rank := func(p *md.Package) int {
		if p.Arch == arch {
			return -1
		}
		return slices.Index(md.Arches(n.view.Machine), p.Arch)
	}
	for _, o := range n.offers[name] {
		if Text(o.Package) == text && (arch == "" || o.Arch == arch || o.Arch == "noarch" || arch == "noarch") && (best == nil || rank(o.Package) < rank(best)) {
			best = o.Package
		}
	}
	return best
}

// Offered finds a version of a package, by name, architecture and version text, in the repositories that were read last.
// An empty architecture is any.
func (r *Reader) Offered(ctx context.Context, name, arch, text string) (*md.Package, bool) {
	n, err := r.loaded(ctx)
	if err != nil {
		return nil, false
	}
	p := n.offered(name, arch, text)
	return p, p != nil
}

// Installed are the packages of a name, by architecture, as they were read last, each in ascending order of versions.
func (r *Reader) Installed(ctx context.Context, name string) (map[string][]*md.Package, error) {
	n, err := r.loaded(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]*md.Package{}
	for _, i := range n.byName[name] {
		out[i.arch] = i.versions
	}
	return out, nil
}

// ReleaseVersion is the version of the package that says which release a system is, as $releasever has it, or nothing.
// Source: dnf.conf(5), distroverpkg.
func ReleaseVersion(ctx context.Context, root fs.FS) (string, error) {
	best, release := 0, ""
	ranks := map[string]int{"system-release(releasever)": 3, "system-release": 2, "distribution-release(releasever)": 3, "distribution-release": 2, "redhat-release": 2}
	err := md.Installed(ctx, root, func(p *md.Package) error {
		for i := range p.Provides {
			r := &p.Provides[i]
			rank := ranks[r.Name]
			if rank <= best {
				continue
			}
			best, release = rank, p.Version
			if rank == 3 && r.Version != "" {
				release = r.Version
			}
		}
		return nil
	})
	return release, err
}
