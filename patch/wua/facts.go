package wua

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"oakum.dev/baseline"
)

// classifications are the category ids that say what kind of update it is, and the names that baselines have for them.
// Source: Microsoft Learn, "WSUS Classification GUIDs".
var classifications = map[string]string{
	"e6cf1350-c01b-414d-a61f-263d14d133b4": "CriticalUpdates",
	"0fa1201d-4330-4fa8-8ae9-b877473b6441": "SecurityUpdates",
	"e0789628-ce08-4437-be74-2495b842f43b": "DefinitionUpdates",
	"ebfc1fc5-71a4-4f7b-9aca-3b9a503104a0": "Drivers",
	"b54e7d24-7add-428f-8b75-90a396fa584f": "FeaturePacks",
	"68c5b0a3-d1a6-4553-ae49-01d3a7827828": "ServicePacks",
	"b4832bd8-e735-4761-8daf-37f882276dab": "Tools",
	"28bc880e-0592-4cbf-8f95-c79b17911d5f": "UpdateRollups",
	"cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83": "Updates",
	"3689bdc8-b205-4af4-8d4a-a63924c5e9d5": "Upgrades",
}

// classification names the kind of an update. It goes by ids: names are in the system's language.
func (u *Update) classification() string {
	named := ""
	for _, c := range u.Categories {
		if n := classifications[strings.ToLower(strings.Trim(c.ID, "{}"))]; n != "" {
			return n
		}
		if c.Type == "UpdateClassification" {
			named = strings.ReplaceAll(c.Name, " ", "")
		}
	}
	if named == "" && u.Type == "Driver" {
		return "Drivers"
	}
	return named
}

// severity is the rating of Microsoft's security response centre; most updates have none.
func (u *Update) severity() string {
	if u.Severity == "" {
		return "Unspecified"
	}
	return u.Severity
}

// serverReleases are the products whose name does not say which Windows Server they are.
var serverReleases = map[string]string{
	"21H2": "WindowsServer2022", "22H2": "WindowsServer2022", "23H2": "WindowsServer2022", "24H2": "WindowsServer2025",
}

var serverSystem = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^microsoft server operating system-(\d\dH\d)`)
})

// product is one of an update's products as filters of baselines name it.
type product struct{ name, family, set string }

// products lists an update's products. Those of the operating system go by the name that AWS has for them, others
// by Microsoft's title. One without any is the operating system's.
func (u *Update) products() []product {
	var out []product
	for _, c := range u.Categories {
		if c.Type != "Product" && (c.Type != "" || classifications[strings.ToLower(c.ID)] != "") {
			continue
		}
		p := product{c.Name, c.Family, "APPLICATION"}
		if systemProduct(c) {
			p = product{strings.ReplaceAll(c.Name, " ", ""), "Windows", "OS"}
			if m := serverSystem().FindStringSubmatch(c.Name); m != nil && serverReleases[strings.ToUpper(m[1])] != "" {
				p.name = serverReleases[strings.ToUpper(m[1])]
			}
			if strings.HasPrefix(c.Name, "Microsoft Defender") || strings.HasPrefix(c.Name, "Windows Defender") {
				p.name = "MicrosoftDefenderAntivirus"
			}
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if out == nil {
		out = []product{{"", "", "OS"}}
	}
	return out
}

// windowsFamily is the id of the product family Windows.
const windowsFamily = "6964aab4-c5b5-43bd-a17d-ffb4346a8e1d"

func systemProduct(c Category) bool {
	if strings.EqualFold(c.ID, windowsFamily) || c.Family == "Windows" {
		return true
	}
	if c.Family != "" {
		return false
	}
	for _, start := range []string{"Windows", "Microsoft Server operating system", "Microsoft Server Operating System", "Microsoft Defender"} {
		if strings.HasPrefix(c.Name, start) {
			return true
		}
	}
	return false
}

// facts are what rules judge an update by: once for each product, and once more for each earlier revision, since an
// update is wanted when it or an earlier revision of it is. firstSeen stands in for a release time that is not known.
// Source: AWS Systems Manager User Guide, "How patch baseline rules work on Windows Server".
func (u *Update) facts(earlier []Revision, firstSeen time.Time) []baseline.Patch {
	class := u.classification()
	var out []baseline.Patch
	add := func(class, severity string, released time.Time) {
		for _, p := range u.products() {
			f := baseline.Patch{
				Name: u.KB(), KB: u.KB(), Version: u.Identity.String(), Classification: class, Severity: severity, PatchSet: p.set, Product: p.name,
				ProductFamily: p.family, Security: class == "SecurityUpdates", HasNotice: true, CVEs: u.CVEs, Released: released,
			}
			if len(u.Bulletins) > 0 {
				f.Bulletin = u.Bulletins[0]
			}
			f.AdvisoryIDs = append(f.AdvisoryIDs, u.Bulletins...)
			for _, kb := range u.KBs[min(1, len(u.KBs)):] {
				f.AdvisoryIDs = append(f.AdvisoryIDs, "KB"+kb)
			}
			out = append(out, f)
		}
	}
	released := u.Released
	if released.IsZero() {
		released = firstSeen
	}
	add(class, u.severity(), released)
	for _, r := range earlier {
		add(r.Classification, r.Severity, r.Released)
	}
	return out
}
