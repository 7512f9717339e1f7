// Package rpm reads the files of rpm systems: the database of installed packages, repository metadata (repomd, primary,
// updateinfo, modules) and the configuration of yum, dnf and zypper. Readers take an io.Reader or an fs.FS, stream, and
// bound what a hostile file can cost: ErrTooLarge.
package rpm

import (
	"strings"
	"time"
)

// Package is a package of a repository or of the database.
type Package struct {
	Name, Arch              string
	Epoch, Version, Release string // Epoch is empty for 0
	Source                  string // name of the source package's file
	Vendor                  string
	Label                   string    // modularity label NAME:STREAM:VERSION:CONTEXT; database only
	Location                string    // of the package file below the repository's address; repositories only
	Built                   time.Time // UTC; zero when not said
	Installed               time.Time // UTC; database only
	Bytes                   int64     // of the package file
	DiskBytes               int64     // when installed
	Requires                []Relation
	Provides                []Relation
	Conflicts               []Relation
	Obsoletes               []Relation
	Files                   []string // repositories: what primary lists; database: nothing, see Files
}

// EVR is "[epoch:]version-release", without an epoch of 0, as rpm prints it.
func (p *Package) EVR() string { return evr(p.Epoch, p.Version, p.Release) }

func evr(epoch, version, release string) string {
	var b strings.Builder
	if epoch != "" && epoch != "0" {
		b.WriteString(epoch + ":")
	}
	b.WriteString(version)
	if release != "" {
		b.WriteString("-" + release)
	}
	return b.String()
}

// Relation is a capability that a package requires, provides, conflicts with or obsoletes. Without Sense any version
// is meant. Rich dependencies ("(a or b)") have the whole expression as Name.
type Relation struct {
	Name                    string
	Sense                   Sense
	Epoch, Version, Release string
	Pre                     bool // needed before the package's scripts run; Requires only
}

// Sense says which versions a relation takes.
type Sense uint8

// The comparisons of a relation; LE is Less|Equal, GE is Greater|Equal.
const (
	Less Sense = 1 << iota
	Greater
	Equal
)

// Rich reports whether the relation is a boolean expression, which needs a solver.
func (r *Relation) Rich() bool { return strings.HasPrefix(r.Name, "(") }

// Notice is one update notice of updateinfo.
type Notice struct {
	ID, Type, Severity, Status, Title, From string
	Issued, Updated                         time.Time // UTC; zero when absent or unreadable
	CVEs, Bugzillas                         []string
	Self                                    []string // ids of references of type self
	Reboot, Restart, Relogin                bool     // suggested for the notice or any package of it; Restart is of the package manager
	Packages                                []NoticePackage
}

// NoticePackage is a package version that a notice names.
type NoticePackage struct {
	Name, Arch, Epoch, Version, Release string
	Module                              string // NAME:STREAM of the collection; empty: of no module
}

// EVR is "[epoch:]version-release", without an epoch of 0.
func (p *NoticePackage) EVR() string { return evr(p.Epoch, p.Version, p.Release) }

// Repomd is the index of a repository's metadata.
type Repomd struct {
	Revision string
	Data     []Data
}

// Data is one file of a repository's metadata.
type Data struct {
	Type                   string // primary, updateinfo, modules, filelists, ...
	Location               string // below the repository's address; never leads out of it
	Checksum, ChecksumType string // of the file as it is fetched
	Bytes, OpenBytes       int64  // 0 when not said
	Timestamp              time.Time
}

// Module is one stream of a module in modules.yaml.
type Module struct {
	Name, Stream, Version, Context, Arch string
	Artifacts                            []string // NAME-EPOCH:VERSION-RELEASE.ARCH
	Requires                             []string // NAME or NAME:STREAM of other modules, platform left out
}
