package rpm

import (
	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// cacheMagic changes with the form of the cache and with what is read out of metadata.
const cacheMagic = "oakum rpm metadata 4\n"

// cached walks over what the cache holds. What live patches change is asked anew in each scan.
func (s *stored) cached(c *system.Cache) {
	if s.Inventory == nil {
		s.Inventory = &patch.Inventory{}
	}
	inv := s.Inventory
	system.List(c, &inv.Packages, func(p *patch.Package) {
		c.Texts(&p.Name, &p.Arch, &p.Title, &p.Installed, &p.Held, &p.Broken, &p.Replaced, &p.NotApplicable)
		c.Time(&p.InstalledTime)
		c.Bool(&p.Waits)
		system.List(c, &p.Versions, func(v *patch.Version) {
			c.Texts(&v.Text, &v.Repository, &v.Kept, &v.Unusable, &v.Detail)
			c.Int(&v.Order)
			for _, b := range []*bool{&v.Offered, &v.Unadvised, &v.Settled, &v.Fleeting} {
				c.Bool(b)
			}
			facts(c, &v.Patches)
		})
	})
	system.List(c, &inv.Repositories, func(r *compliance.Repository) {
		c.Texts(&r.URI, &r.Suite, &r.Codename, &r.Origin, &r.Label, &r.Detail)
		c.Time(&r.Date)
		c.Time(&r.RefreshedAt)
		for _, b := range []*bool{&r.Trusted, &r.Stale, &r.Missing, &r.NoAdvisories} {
			c.Bool(b)
		}
	})
	system.List(c, &inv.NotApplicable, func(u *patch.Uninstalled) {
		c.Int(&u.Count)
		facts(c, &u.Patches)
	})
	c.TextList(&inv.Degraded)
	system.List(c, &s.Boot, func(p *md.Package) {
		c.Texts(&p.Name, &p.Arch, &p.Epoch, &p.Version, &p.Release)
		c.Time(&p.Installed)
	})
	system.List(c, &s.Suggestions, func(x *suggestion) {
		c.Texts(&x.Package, &x.Notice)
		c.Time(&x.Installed)
	})
	system.Table(c, &s.Blocks, func(m *map[string]patch.Block) {
		system.Table(c, m, func(b *patch.Block) { c.Texts(&b.Reason, &b.Detail) })
	})
}

func facts(c *system.Cache, list *[]baseline.Patch) {
	system.List(c, list, func(p *baseline.Patch) {
		c.Texts(
			&p.Name, &p.Arch, &p.Epoch, &p.Version, &p.Release, &p.KB, &p.Bulletin, &p.Classification, &p.Severity, &p.Priority, &p.Section,
			&p.PatchSet, &p.Product, &p.ProductFamily,
		)
		c.Bool(&p.Security)
		c.Bool(&p.HasNotice)
		c.TextList(&p.AdvisoryIDs)
		c.TextList(&p.CVEs)
		c.TextList(&p.Bugzillas)
		c.Time(&p.Released)
	})
}
