package baseline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// FilterKeys returns the keys that rules and global filters of a baseline for os may use.
func FilterKeys(os OS) []string {
	switch {
	case os == Windows:
		return []string{"PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "CLASSIFICATION", "MSRC_SEVERITY"}
	case os.Apt():
		return []string{"PRODUCT", "PRIORITY", "SECTION"}
	case os == MacOS:
		return []string{"PRODUCT", "CLASSIFICATION"}
	}
	return []string{"PRODUCT", "CLASSIFICATION", "SEVERITY"}
}

// Properties returns the values of one property of an operating system, as DescribePatchProperties lists them:
// PRODUCT, PRODUCT_FAMILY, CLASSIFICATION, MSRC_SEVERITY, PRIORITY, SEVERITY; PATCH_SET too. patchSet matters for
// Windows products only ("", "OS", "APPLICATION").
func Properties(os OS, property, patchSet string) []string {
	switch property {
	case "PRODUCT":
		if os == Windows && patchSet == "APPLICATION" {
			return slices.Clone(windowsApplications)
		}
		return slices.Clone(products()[os])
	case "PRODUCT_FAMILY":
		if os != Windows {
			return nil
		}
		if patchSet == "APPLICATION" {
			return []string{"Active Directory", "Developer Tools, Runtimes, and Redistributables", "Exchange Server", "Office", "SQL Server", "System Center"}
		}
		return []string{"Windows"}
	case "CLASSIFICATION":
		return slices.Clone(classifications(os))
	case "MSRC_SEVERITY":
		if os == Windows {
			return []string{"Critical", "Important", "Moderate", "Low", "Unspecified"}
		}
	case "SEVERITY":
		return slices.Clone(severities(os))
	case "PRIORITY":
		if os.Apt() {
			return []string{"Required", "Important", "Standard", "Optional", "Extra"}
		}
	case "PATCH_SET":
		if os == Windows {
			return []string{"OS", "APPLICATION"}
		}
	}
	return nil
}

func classifications(os OS) []string {
	switch {
	case os == Windows:
		return []string{
			"CriticalUpdates", "DefinitionUpdates", "Drivers", "FeaturePacks", "SecurityUpdates", "ServicePacks", "Tools", "UpdateRollups", "Updates", "Upgrades",
		}
	case os == SUSE:
		return []string{"Security", "Recommended", "Optional", "Feature", "Document", "Yast"}
	case os == MacOS:
		return []string{"softwareupdate", "installer", "brew", "brew cask"}
	case os.RPM():
		return []string{"Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"}
	}
	return nil
}

func severities(os OS) []string {
	switch {
	case os == SUSE:
		return []string{"Critical", "Important", "Moderate", "Low"}
	case os == AmazonLinux || os == AmazonLinux2:
		return []string{"Critical", "Important", "Medium", "Low"}
	case os == AmazonLinux2022 || os == AmazonLinux2023:
		return []string{"Critical", "Important", "Medium", "Low", "None"}
	case os.RPM():
		return []string{"Critical", "Important", "Medium", "Moderate", "Low", "None"}
	}
	return nil
}

// KnownProduct reports whether a PRODUCT filter value is one of the listed products or follows the pattern in which
// the system's products are named, so that a new release needs no new list.
func KnownProduct(os OS, product string) bool {
	for _, p := range products()[os] {
		if strings.EqualFold(p, product) {
			return true
		}
	}
	re := productPatterns()[os]
	return re != nil && re.MatchString(product)
}

// Both tables are made on first use: a scan should not pay for them at start.
var productPatterns = sync.OnceValue(func() map[OS]*regexp.Regexp {
	return map[OS]*regexp.Regexp{
		Windows:         regexp.MustCompile(`^(WindowsServer20\d\d(R2)?|Windows1\d(LTSB|LTSC)?)$`),
		AmazonLinux:     regexp.MustCompile(`^AmazonLinux201\d\.\d\d$`),
		AmazonLinux2:    regexp.MustCompile(`^AmazonLinux2(\.0)?$`),
		AmazonLinux2022: regexp.MustCompile(`^AmazonLinux2022$`),
		AmazonLinux2023: regexp.MustCompile(`^AmazonLinux2023$`),
		RedHat:          regexp.MustCompile(`^RedhatEnterpriseLinux\d{1,2}(\.\d{1,2})?$`),
		CentOS:          regexp.MustCompile(`^CentOS(Stream)?\d{1,2}(\.\d{1,2})?$`),
		SUSE:            regexp.MustCompile(`^Suse\d{1,2}(\.\d{1,2})?$`),
		OracleLinux:     regexp.MustCompile(`^OracleLinux\d{1,2}(\.\d{1,2})?$`),
		RockyLinux:      regexp.MustCompile(`^RockyLinux\d{1,2}(\.\d{1,2})?$`),
		AlmaLinux:       regexp.MustCompile(`^AlmaLinux\d{1,2}(\.\d{1,2})?$`),
		Ubuntu:          regexp.MustCompile(`^Ubuntu\d\d\.\d\d$`),
		Debian:          regexp.MustCompile(`^Debian\d{1,2}$`),
		Raspbian:        regexp.MustCompile(`^Raspbian\d{1,2}$`),
		MacOS:           regexp.MustCompile(`^[A-Z][A-Za-z]+\d{2}(\.\d{1,2}){0,2}$`),
	}
})

var windowsApplications = []string{
	"Active Directory Rights Management Services Client 2.0", "Exchange Server 2016", "Exchange Server 2019", "Microsoft SQL Server 2016",
	"Microsoft SQL Server 2017", "Microsoft SQL Server 2019", "Office 2010", "Office 2013", "Office 2016",
}

// products lists the products of each system that the API model, its guide and public configurations name, and the
// releases since then.
var products = sync.OnceValue(func() map[OS][]string {
	return map[OS][]string{
		Windows: {
			"Windows7", "Windows8", "Windows8.1", "Windows8Embedded", "Windows10", "Windows10LTSB", "WindowsServer2008", "WindowsServer2008R2",
			"WindowsServer2012", "WindowsServer2012R2", "WindowsServer2016", "WindowsServer2019", "WindowsServer2022", "WindowsServer2025",
			"MicrosoftDefenderAntivirus", "*",
		},
		AmazonLinux: append(prefixed("AmazonLinux", "2012.03", "2012.09", "2013.03", "2013.09", "2014.03", "2014.09", "2015.03", "2015.09",
			"2016.03", "2016.09", "2017.03", "2017.09", "2018.03"), "*"),
		AmazonLinux2:    {"AmazonLinux2", "AmazonLinux2.0", "*"},
		AmazonLinux2022: {"AmazonLinux2022", "*"},
		AmazonLinux2023: {"AmazonLinux2023", "*"},
		RedHat: append(slices.Concat(minors("RedhatEnterpriseLinux6", 5, 10), []string{"RedhatEnterpriseLinux7"}, minors("RedhatEnterpriseLinux7", 0, 9),
			[]string{"RedhatEnterpriseLinux8"}, minors("RedhatEnterpriseLinux8", 0, 10), []string{"RedhatEnterpriseLinux9"},
			minors("RedhatEnterpriseLinux9", 0, 6), []string{"RedhatEnterpriseLinux10"}, minors("RedhatEnterpriseLinux10", 0, 1)), "*"),
		CentOS: append(slices.Concat(minors("CentOS6", 5, 9), minors("CentOS7", 0, 9), []string{"CentOS8"}, minors("CentOS8", 0, 5),
			[]string{"CentOS9", "CentOS10"}), "*"),
		SUSE:        append(slices.Concat(minors("Suse12", 0, 9), minors("Suse15", 0, 7)), "*"),
		OracleLinux: append(slices.Concat(minors("OracleLinux7", 5, 9), minors("OracleLinux8", 0, 10), minors("OracleLinux9", 0, 6)), "*"),
		RockyLinux:  append(slices.Concat(minors("RockyLinux8", 0, 10), minors("RockyLinux9", 0, 6)), "*"),
		AlmaLinux:   append(slices.Concat(minors("AlmaLinux8", 0, 10), minors("AlmaLinux9", 0, 6)), "*"),
		Ubuntu:      append(prefixed("Ubuntu", "14.04", "16.04", "18.04", "20.04", "20.10", "22.04", "24.04", "25.04"), "*"),
		Debian:      append(prefixed("Debian", "8", "9", "10", "11", "12", "13"), "*"),
		Raspbian:    append(prefixed("Raspbian", "9", "10", "11", "12", "13"), "*"),
		MacOS: {
			"Mojave10.14", "Mojave10.14.1", "Catalina10.15", "Catalina10.15.1", "BigSur11", "Monterey12", "Ventura13", "Sonoma14", "Sequoia15", "*",
		},
	}
})

func prefixed(prefix string, versions ...string) []string {
	var out []string
	for _, v := range versions {
		out = append(out, prefix+v)
	}
	return out
}

func minors(prefix string, from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("%s.%d", prefix, i))
	}
	return out
}
