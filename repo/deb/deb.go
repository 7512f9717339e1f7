// Package deb reads the files of a Debian archive and of a Debian node: Packages lists, the dpkg status file,
// Release and InRelease, sources.list and .sources, preferences. It reads from io.Reader or io.ReaderAt and never
// opens a path. It decides nothing: which version is a candidate is the business of patch/apt.
// Start with Lists, which walks Packages lists at memory speed and keeps only what is asked for.
package deb

import (
	"strings"

	"oakum.dev/repo/compress"
)

// Limits on foreign input. A Packages stanza of a real archive stays below 100 kB.
const (
	MaxStanza = 4 << 20 // bytes of one stanza
	MaxFile   = 4 << 30 // bytes of one list after decompression
	MaxSmall  = 8 << 20 // bytes of a Release, sources or preferences file
)

// ErrTooLarge says that an input goes beyond a limit of this package.
var ErrTooLarge = compress.ErrTooLarge

// Package is one stanza of a Packages list or of the dpkg status file. Fields that the archive does not give are empty.
type Package struct {
	Name, Arch, Version   string
	Source, SourceVersion string // as in the Source field; empty when equal to Name and Version
	Priority, Section     string
	MultiArch             string
	Depends, PreDepends   string
	Conflicts, Breaks     string
	Provides, Replaces    string
	Filename              string // below the archive's root
	Size                  int64  // of the .deb, bytes
	InstalledSize         int64  // KiB on the disk, as the package says
	Phased                int    // Phased-Update-Percentage, 0..100; 100 when absent
	Essential             bool   // Essential: yes or Important: yes or Protected: yes
	Status                string // dpkg status only: "install ok installed"
}

// SourceName is the name of the source package.
func (p *Package) SourceName() string {
	if p.Source != "" {
		return p.Source
	}
	return p.Name
}

// SourceVer is the version of the source package.
func (p *Package) SourceVer() string {
	if p.SourceVersion != "" {
		return p.SourceVersion
	}
	return p.Version
}

// Held reports whether dpkg's selection holds the package back.
func (p *Package) Held() bool { return strings.HasPrefix(p.Status, "hold ") }

// Present reports whether the package counts as installed: every state but not-installed and config-files.
func (p *Package) Present() bool {
	switch p.State() {
	case "", "not-installed", "config-files":
		return false
	}
	return true
}

// State is dpkg's third status word: installed, half-configured, unpacked and so on.
func (p *Package) State() string {
	i := strings.LastIndexByte(p.Status, ' ')
	return p.Status[i+1:]
}

// Broken reports a package that dpkg left half way.
func (p *Package) Broken() bool {
	switch p.State() {
	case "half-installed", "half-configured", "unpacked":
		return true
	}
	return strings.Contains(p.Status, " reinstreq ")
}
