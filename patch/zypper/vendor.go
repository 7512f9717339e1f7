package zypper

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// vendors are groups of vendors that may take each other's place, by the beginning of their names in lower case.
// Source: zypp.conf, vendordir. Without any, what begins with suse is one group.
type vendors []vendor

type vendor struct {
	prefix string
	group  int
}

func (c *config) readVendors(f *files) error {
	c.vendors = vendors{{"suse", 0}}
	names, err := f.dir(inRoot(c.main.Get("vendordir", "/etc/zypp/vendors.d")))
	if err != nil {
		return fmt.Errorf("read the vendors: %w", err)
	}
	for _, name := range names {
		conf, err := f.conf(name)
		if err != nil {
			return fmt.Errorf("read the vendors: %w", err)
		}
		c.vendors.join(strings.Split(conf.Get("main", "vendors", ""), ","))
	}
	return nil
}

// join makes one group of vendors, and of the groups that they are in already.
func (v *vendors) join(names []string) {
	group := len(*v)
	for _, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" {
			continue
		}
		i := slices.IndexFunc(*v, func(x vendor) bool { return x.prefix == name })
		if i < 0 {
			*v = append(*v, vendor{name, group})
			continue
		}
		old := (*v)[i].group
		for k := range *v {
			if (*v)[k].group == old {
				(*v)[k].group = group
			}
		}
	}
	slices.SortFunc(*v, func(a, b vendor) int { return cmp.Compare(b.prefix, a.prefix) }) // of two that fit the longer one comes first
}

// equivalent reports whether a package may change from one vendor to another.
func (v vendors) equivalent(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == b {
		return true
	}
	x, y := v.group(a), v.group(b)
	return x >= 0 && x == y
}

// group is the group of a vendor, or -1. openSUSE's projects are told apart by their whole name.
func (v vendors) group(name string) int {
	for _, x := range v {
		if strings.HasPrefix(name, "opensuse") && name != x.prefix {
			continue
		}
		if strings.HasPrefix(name, x.prefix) {
			return x.group
		}
	}
	return -1
}
