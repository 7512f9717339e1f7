package apt

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/patch"
)

// maxSingles bounds how many targets are tried one by one when apt refuses them together.
const maxSingles = 25

// ask lets apt's own solver decide where ours was not certain. full: the goals are all that apt could upgrade.
func (s *solver) ask(m *Manager, full bool) error {
	if full {
		plan, ok, err := m.simulate(s, []string{"dist-upgrade"})
		if err != nil || !ok {
			return err
		}
		s.settle(plan)
		if len(plan.removes) > 0 {
			return s.spare(m, plan)
		}
		return nil
	}
	base := []string{"install"}
	var open []*pkg
	for p, v := range s.goal {
		if s.unsure[p] {
			open = append(open, p)
		} else if !s.isBlocked(p) {
			base = append(base, installName(p, v))
		}
	}
	slices.Sort(base[1:])
	slices.SortFunc(open, func(a, b *pkg) int { return strings.Compare(a.name, b.name) })
	if len(open) > maxSingles {
		open = open[:maxSingles]
	}
	for _, p := range open {
		plan, ok, err := m.simulate(s, append(slices.Clone(base), installName(p, s.goal[p])))
		if err != nil {
			return err
		}
		if ok && plan.installs[planKey(s, p)] == s.goal[p].Version && len(plan.removes) == 0 {
			delete(s.blocked, p)
		}
	}
	return nil
}

// settle takes apt's plan as the answer for every goal.
func (s *solver) settle(plan *plan) {
	for p, v := range s.goal {
		if plan.installs[planKey(s, p)] == v.Version {
			delete(s.blocked, p)
		} else if !s.isBlocked(p) {
			s.blocked[p] = patch.Block{Reason: patch.ReasonSolver, Detail: "apt-get -s dist-upgrade keeps it back"}
		}
	}
	// A phased update goes in all the same when only it makes the rest fit.
	for _, p := range s.n.order {
		if c := p.candidate; c != nil && s.goal[p] == nil && c != p.installed && plan.installs[planKey(s, p)] == c.Version {
			s.blocked[p] = patch.Block{}
		}
	}
}

// spare takes back what apt's plan puts in by a removal: an install takes nothing away.
func (s *solver) spare(m *Manager, removing *plan) error {
	plan, ok, err := m.simulate(s, []string{"--with-new-pkgs", "upgrade"})
	if err != nil || !ok {
		return err
	}
	for p := range s.unsure {
		if v := s.goal[p]; v != nil && removing.installs[planKey(s, p)] == v.Version && plan.installs[planKey(s, p)] != v.Version {
			s.blocked[p] = patch.Block{Reason: patch.ReasonRemoval, Detail: "apt-get -s dist-upgrade would remove " + strings.Join(removing.removes, " ")}
		}
	}
	return nil
}

func installName(p *pkg, v *version) string { return p.name + ":" + p.arch + "=" + v.Version }

func planKey(s *solver, p *pkg) string {
	if p.arch == s.n.native {
		return p.name
	}
	return p.name + ":" + p.arch
}

// plan is what apt-get -s would do.
type plan struct {
	installs map[string]string // name, with its architecture when it is foreign, to version
	removes  []string
}

// simulate runs apt-get -s. ok is false when apt refuses.
func (m *Manager) simulate(s *solver, args []string) (*plan, bool, error) {
	conf, done, err := m.pointAt(s.n.native, s.n.archs)
	if err != nil {
		return nil, false, err
	}
	defer done()
	full := append([]string{
		"-s", "-q", "-y", "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=false", "-o", "Dpkg::Use-Pty=0",
		"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
	}, args...)
	out, err := m.cfg.Exec.Run(s.ctx, patch.Command{
		Path: "/usr/bin/apt-get", Args: full, Env: append(patch.BaseEnv(), conf...), Timeout: 2 * time.Minute, MaxOutput: 8 << 20,
	})
	if err != nil {
		return nil, false, err
	}
	if out.Code != 0 {
		return nil, false, nil
	}
	return parsePlan(out.Stdout), true, nil
}

// solving are the settings of a foreign root that bear on what apt would install. Others are not taken over: they can
// name programs to start.
var solving = []string{
	"apt::default-release", "apt::get::", "apt::ignore-hold", "apt::install-recommends", "apt::install-suggests", "apt::machine-id",
	"apt::cache-limit", "pkgproblemresolver::",
}

// pointAt returns the environment that makes apt-get look at another root, or nothing for the running system.
func (m *Manager) pointAt(native string, archs []string) (env []string, done func(), err error) {
	if m.cfg.Root == "/" || m.cfg.Root == "" {
		return nil, func() {}, nil
	}
	f, err := os.CreateTemp("", "oakum-apt-*.conf")
	if err != nil {
		return nil, nil, err
	}
	root := filepath.Clean(m.cfg.Root) + "/"
	fmt.Fprintf(f, "Dir %q;\nDPkg::Chroot-Directory %q;\nAPT::Architecture %q;\n", root, root, native)
	fmt.Fprintf(f, "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n#clear APT::Architectures;\n")
	for _, a := range archs {
		fmt.Fprintf(f, "APT::Architectures:: %q;\n", a)
	}
	c := conf{}
	if m.node != nil {
		c = m.node.conf
	}
	for _, p := range [][2]string{
		{"Dir::State::status", "/var/lib/dpkg/status"},
		{"Dir::State::lists", "lists"},
		{"Dir::Etc::sourcelist", "sources.list"},
		{"Dir::Etc::sourceparts", "sources.list.d"},
		{"Dir::Etc::preferences", "preferences"},
		{"Dir::Etc::preferencesparts", "preferences.d"},
	} {
		fmt.Fprintf(f, "%s %q;\n", p[0], root+c.path(p[0], p[1]))
	}
	for _, key := range slices.Sorted(maps.Keys(c)) {
		if !slices.ContainsFunc(solving, func(s string) bool { return key == s || strings.HasSuffix(s, "::") && strings.HasPrefix(key, s) }) {
			continue
		}
		for _, v := range c[key] {
			if plainWord(key) && (v == "" || plainWord(v)) {
				fmt.Fprintf(f, "%s %q;\n", key, v)
			}
		}
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	return []string{"APT_CONFIG=" + f.Name()}, func() { os.Remove(f.Name()) }, nil
}

// parsePlan reads the Inst and Remv lines: "Inst name [old] (new Origin [arch])".
func parsePlan(b []byte) *plan {
	p := &plan{installs: map[string]string{}}
	for line := range bytes.Lines(b) {
		w := strings.Fields(string(line))
		switch {
		case len(w) > 1 && w[0] == "Remv":
			p.removes = append(p.removes, w[1])
		case len(w) > 2 && w[0] == "Inst":
			for _, x := range w[2:] {
				if v, ok := strings.CutPrefix(x, "("); ok {
					p.installs[w[1]] = v
					break
				}
			}
		}
	}
	return p
}
