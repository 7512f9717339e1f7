package baseline

import (
	"regexp"
	"strings"
	"sync"
)

// OS is an operating system as patch baselines name it.
type OS string

// The operating systems, in the order of the API model.
const (
	Windows         OS = "WINDOWS"
	AmazonLinux     OS = "AMAZON_LINUX"
	AmazonLinux2    OS = "AMAZON_LINUX_2"
	AmazonLinux2022 OS = "AMAZON_LINUX_2022"
	Ubuntu          OS = "UBUNTU"
	RedHat          OS = "REDHAT_ENTERPRISE_LINUX"
	SUSE            OS = "SUSE"
	CentOS          OS = "CENTOS"
	OracleLinux     OS = "ORACLE_LINUX"
	Debian          OS = "DEBIAN"
	MacOS           OS = "MACOS"
	Raspbian        OS = "RASPBIAN"
	RockyLinux      OS = "ROCKY_LINUX"
	AlmaLinux       OS = "ALMA_LINUX"
	AmazonLinux2023 OS = "AMAZON_LINUX_2023"
)

// OperatingSystems lists every operating system in the order of the API model.
func OperatingSystems() []OS {
	return []OS{
		Windows, AmazonLinux, AmazonLinux2, AmazonLinux2022, Ubuntu, RedHat, SUSE, CentOS, OracleLinux, Debian, MacOS,
		Raspbian, RockyLinux, AlmaLinux, AmazonLinux2023,
	}
}

// Valid reports whether the name is one of the enum.
func (o OS) Valid() bool {
	for _, x := range OperatingSystems() {
		if x == o {
			return true
		}
	}
	return false
}

// Apt reports whether the system's packages are .deb packages.
func (o OS) Apt() bool { return o == Ubuntu || o == Debian || o == Raspbian }

// RPM reports whether the system is patched with yum or dnf. SUSE is not among them.
func (o OS) RPM() bool { return o.Valid() && !o.Apt() && o != Windows && o != MacOS && o != SUSE }

// platforms maps the start of a platform name to its system; the longest match wins.
// Source: the platform names that the agent reports, and os-release of the distributions.
var platforms = []struct {
	name   string
	os     OS
	prefix string // of the product
}{
	{"Amazon Linux AMI", AmazonLinux, "AmazonLinux"},
	{"Amazon Linux Bare Metal", AmazonLinux, "AmazonLinux"},
	{"Amazon Linux", AmazonLinux, "AmazonLinux"},
	{"CentOS", CentOS, "CentOS"},
	{"Debian GNU/Linux", Debian, "Debian"},
	{"Raspbian GNU/Linux", Raspbian, "Raspbian"},
	{"Ubuntu", Ubuntu, "Ubuntu"},
	{"Oracle Linux Server", OracleLinux, "OracleLinux"},
	{"Red Hat Enterprise Linux", RedHat, "RedhatEnterpriseLinux"},
	{"SLES", SUSE, "Suse"},
	{"SLES_SAP", SUSE, "Suse"},
	{"Rocky Linux", RockyLinux, "RockyLinux"},
	{"AlmaLinux", AlmaLinux, "AlmaLinux"},
	{"macOS", MacOS, ""},
	{"Mac OS X", MacOS, ""},
}

var macNames = map[string]string{
	"10.14": "Mojave", "10.15": "Catalina", "11": "BigSur", "12": "Monterey", "13": "Ventura", "14": "Sonoma", "15": "Sequoia", "26": "Tahoe",
}

var windowsServer = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`Server (\d{4})( R2)?`) })

// Detect names the operating system and the product of a node from its platform name and version. The version may
// have more dots than the product keeps. It reports false for a platform that baselines do not know.
func Detect(platformName, version string) (Node, bool) {
	if m := windowsServer().FindStringSubmatch(platformName); m != nil {
		return Node{Windows, "WindowsServer" + m[1] + strings.TrimSpace(m[2])}, true
	}
	var n Node
	best := -1
	prefix := ""
	for _, p := range platforms {
		if strings.HasPrefix(strings.ToLower(platformName), strings.ToLower(p.name)) && len(p.name) > best {
			best, n.OS, prefix = len(p.name), p.os, p.prefix
		}
	}
	if best < 0 {
		return Node{}, false
	}
	version = twoParts(version)
	major, _, _ := strings.Cut(version, ".")
	switch n.OS {
	case AmazonLinux:
		switch major {
		case "2":
			n.OS, version = AmazonLinux2, major
		case "2022":
			n.OS, version = AmazonLinux2022, major
		case "2023":
			n.OS, version = AmazonLinux2023, major
		}
	case Debian, Raspbian:
		version = major
	case MacOS:
		if prefix = macNames[major]; major == "10" {
			prefix = macNames[version]
		}
		n.Product = prefix + version
		return n, true
	}
	n.Product = prefix + version
	return n, true
}

// DetectFamily judges a Linux distribution that Detect does not know by the ID and ID_LIKE of its os-release.
// The product stays empty: only rules for every product take its patches.
func DetectFamily(id, idLike string) (Node, bool) {
	for _, w := range append([]string{id}, strings.Fields(idLike)...) {
		switch strings.ToLower(w) {
		case "ubuntu":
			return Node{OS: Ubuntu}, true
		case "debian":
			return Node{OS: Debian}, true
		case "raspbian":
			return Node{OS: Raspbian}, true
		case "rhel":
			return Node{OS: RedHat}, true
		case "centos":
			return Node{OS: CentOS}, true
		case "fedora":
			return Node{OS: RedHat}, true
		case "sles", "suse", "opensuse":
			return Node{OS: SUSE}, true
		case "amzn":
			return Node{OS: AmazonLinux2023}, true
		}
	}
	return Node{}, false
}

func twoParts(v string) string {
	first, rest, ok := strings.Cut(v, ".")
	if !ok {
		return first
	}
	second, _, _ := strings.Cut(rest, ".")
	return first + "." + second
}
