package rpm

import (
	"fmt"
	"io"
	"strconv"
	"time"
)

// Query says which packages of a repository are read in full: those that any of its functions takes. A nil function
// takes nothing. Names are valid during the call.
type Query struct {
	Name      func(name []byte) bool // of the package
	Obsoletes func(name []byte) bool // a name that the package obsoletes
	Provides  func(name []byte) bool // a name that it provides, or the path of a file of it that primary lists
}

// Brief is what is read of a package that a Query does not take. Its slices are valid during the call.
type Brief struct {
	Name, Arch, Epoch, Version, Release []byte
	Built                               int64 // Unix seconds; 0 when not said
}

// ScanPrimary reads a repository's primary metadata (opened) and calls full with each package that q takes, which is full's
// to keep, and rest, unless it is nil, with every other one. It keeps one package in memory at a time.
func ScanPrimary(r io.Reader, q Query, full func(*Package) error, rest func(*Brief) error) error {
	mark := ""
	if q.Obsoletes != nil {
		mark = "obsoletes"
	}
	p := primary{q: q}
	err := scanRecords(r, "metadata", "package", mark, func(b []byte, obsoletes bool) error {
		if err := p.head(b); err != nil {
			return err
		}
		take := q.Name != nil && q.Name(p.brief.Name)
		if !take && (obsoletes || q.Provides != nil) {
			var err error
			if take, err = p.takes(b); err != nil {
				return fmt.Errorf("package %s: %w", clip(p.brief.Name), err)
			}
		}
		if !take {
			if rest == nil {
				return nil
			}
			return rest(&p.brief)
		}
		pkg, err := p.full(b)
		if err != nil {
			return fmt.Errorf("package %s: %w", clip(p.brief.Name), err)
		}
		return full(pkg)
	})
	if err != nil {
		return fmt.Errorf("primary metadata: %w", err)
	}
	return nil
}

// primary holds what is used again from package to package.
type primary struct {
	q       Query
	t       tokens
	brief   Brief
	strings arena
	list    []Relation
}

// head reads name, arch, version and time, which come first, and stops as soon as it has them.
func (p *primary) head(b []byte) error {
	p.brief = Brief{}
	t := &p.t
	t.reset(b)
	for missing := 4; missing > 0; {
		switch t.next() {
		case done:
			if t.err != nil {
				return t.err
			}
			if len(p.brief.Name) == 0 || len(p.brief.Version) == 0 {
				return fmt.Errorf("package %q without a name or a version", clip(p.brief.Name))
			}
			return nil // without a time
		case start:
			if t.depth != 2 {
				continue
			}
			switch string(t.name) {
			case "name":
				p.brief.Name = t.text()
				missing--
			case "arch":
				p.brief.Arch = t.text()
				missing--
			case "version":
				t.attr(func(name, v []byte) {
					switch string(name) {
					case "epoch":
						p.brief.Epoch = noZero(v)
					case "ver":
						p.brief.Version = v
					case "rel":
						p.brief.Release = v
					}
				})
				missing--
			case "time":
				t.attr(func(name, v []byte) {
					if string(name) == "build" {
						p.brief.Built = number(v)
					}
				})
				missing--
			}
		}
	}
	if t.err == nil && (len(p.brief.Name) == 0 || len(p.brief.Version) == 0) {
		return fmt.Errorf("package %q without a name or a version", clip(p.brief.Name))
	}
	return t.err
}

// takes reports whether the query wants the package for what it obsoletes, provides or owns.
func (p *primary) takes(b []byte) (bool, error) {
	t := &p.t
	t.reset(b)
	var ask func([]byte) bool
	found := false
	for {
		switch t.next() {
		case done:
			return found, t.err
		case start:
			switch {
			case t.depth == 3:
				switch string(t.name) {
				case "obsoletes":
					ask = p.q.Obsoletes
				case "provides":
					ask = p.q.Provides
				case "file":
					ask = nil
					found = found || p.q.Provides != nil && p.q.Provides(t.text())
				default:
					ask = nil
				}
			case t.depth == 4 && ask != nil && string(t.name) == "entry":
				t.attr(func(name, v []byte) {
					found = found || string(name) == "name" && ask(v)
				})
			}
			if found {
				return true, t.err
			}
		}
	}
}

// full reads the whole package.
func (p *primary) full(b []byte) (*Package, error) {
	pkg := &Package{
		Name: p.strings.put(p.brief.Name), Arch: p.strings.put(p.brief.Arch), Epoch: p.strings.put(p.brief.Epoch),
		Version: p.strings.put(p.brief.Version), Release: p.strings.put(p.brief.Release), Built: unix(p.brief.Built),
	}
	t := &p.t
	t.reset(b)
	var list *[]Relation
	for {
		switch t.next() {
		case done:
			return pkg, t.err
		case finish:
			if t.depth == 2 && list != nil && len(p.list) > 0 { // a list is kept in the room that it takes
				*list = append(*list, p.list...)
				p.list = p.list[:0]
			}
		case start:
			switch t.depth {
			case 2:
				p.child(pkg)
			case 3:
				list, p.list = nil, p.list[:0]
				switch string(t.name) {
				case "vendor":
					pkg.Vendor = p.strings.put(t.text())
				case "sourcerpm":
					pkg.Source = p.strings.put(t.text())
				case "file":
					pkg.Files = append(pkg.Files, p.strings.put(t.text()))
				case "requires":
					list = &pkg.Requires
				case "provides":
					list = &pkg.Provides
				case "conflicts":
					list = &pkg.Conflicts
				case "obsoletes":
					list = &pkg.Obsoletes
				}
			case 4:
				if list != nil && string(t.name) == "entry" {
					if err := p.entry(); err != nil {
						return nil, err
					}
				}
			}
		}
	}
}

// child reads a child of the package element itself.
func (p *primary) child(pkg *Package) {
	t := &p.t
	switch string(t.name) {
	case "size":
		t.attr(func(name, v []byte) {
			switch string(name) {
			case "package":
				pkg.Bytes = number(v)
			case "installed":
				pkg.DiskBytes = number(v)
			}
		})
	case "location":
		elsewhere := false
		t.attr(func(name, v []byte) {
			switch string(name) {
			case "base":
				elsewhere = len(v) > 0
			case "href":
				pkg.Location = p.strings.put(v)
			}
		})
		// A package that is kept outside of the repository is left to the package manager.
		if elsewhere || !inside(pkg.Location) {
			pkg.Location = ""
		}
	}
}

func (p *primary) entry() error {
	var r Relation
	bad := ""
	p.t.attr(func(name, v []byte) {
		switch string(name) {
		case "name":
			r.Name = p.strings.put(v)
		case "epoch":
			r.Epoch = p.strings.put(noZero(v))
		case "ver":
			r.Version = p.strings.put(v)
		case "rel":
			r.Release = p.strings.put(v)
		case "pre":
			r.Pre = truth(v)
		case "flags":
			switch string(v) {
			case "LT":
				r.Sense = Less
			case "LE":
				r.Sense = Less | Equal
			case "EQ":
				r.Sense = Equal
			case "GE":
				r.Sense = Greater | Equal
			case "GT":
				r.Sense = Greater
			default:
				bad = clip(v)
			}
		}
	})
	if bad != "" {
		return fmt.Errorf("relation %s has unknown flags %q", r.Name, bad)
	}
	if r.Name != "" {
		p.list = append(p.list, r)
	}
	return nil
}

// noZero leaves out an epoch of 0.
func noZero(v []byte) []byte {
	if string(v) == "0" {
		return nil
	}
	return v
}

// number reads a count; what is none counts as 0.
func number(v []byte) int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func unix(s int64) time.Time {
	if s <= 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
