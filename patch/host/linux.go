package host

import (
	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/apt"
	"oakum.dev/patch/dnf"
	"oakum.dev/patch/system"
	"oakum.dev/patch/zypper"
)

// openLinux goes by the operating system that os-release names: of the managers that a root may have, it is the
// distribution's own that patches it.
func openLinux(cfg Config) (patch.PackageManager, error) {
	p, err := system.Platform(cfg.FS, "this build", func(os baseline.OS) bool { return os.Apt() || os.RPM() || os == baseline.SUSE })
	if !cfg.Live && !p.Node.OS.Apt() {
		// dnf and zypper would run plugins that the root's own configuration names, as root of this machine. apt takes over
		// nothing of a root but settings that bear on its answer.
		cfg.Exec = nil
	}
	switch {
	case err != nil:
		return nil, err
	case p.Node.OS.RPM():
		return dnf.New(cfg), nil
	case p.Node.OS == baseline.SUSE:
		return zypper.New(cfg), nil
	}
	return apt.New(cfg), nil
}
