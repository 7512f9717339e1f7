package macos

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"oakum.dev/patch"
)

// Present reads what is installed now.
func (m *Manager) Present(ctx context.Context) (map[string]patch.Presence, error) {
	inv := &patch.Inventory{}
	past, err := m.past(ctx, inv)
	if err != nil {
		return nil, err
	}
	out := map[string]patch.Presence{}
	for _, p := range past {
		out[p.Name+"."] = patch.Presence{Version: cmp.Or(p.Version, "0")}
	}
	for _, b := range m.findBrews(&inv.Degraded) {
		list, err := m.formulae(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("ask Homebrew what is installed: %w", err)
		}
		for _, f := range list {
			out[f.Name+"."] = patch.Presence{Version: f.Version}
		}
	}
	return out, m.settled(ctx, out)
}

// settled adds what Software Update was to install and does not offer any more: what it calls an item in its history need
// not be what it calls it in its list.
func (m *Manager) settled(ctx context.Context, present map[string]patch.Presence) error {
	for name, version := range m.wanted {
		if strings.HasPrefix(m.class[name], classBrew) {
			continue
		}
		if !m.listed {
			if err := m.list(ctx); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(m.items, func(i Item) bool { return i.Title == name }) {
			present[name+"."] = patch.Presence{Version: version}
		}
	}
	return nil
}

// Plan repeats what is asked for: neither manager tells beforehand what else it would do.
func (m *Manager) Plan(_ context.Context, w patch.Wish) (*patch.Plan, error) {
	if len(w.Remove) > 0 || w.Down {
		return &patch.Plan{Refused: "Software Update and Homebrew cannot put older versions back"}, nil
	}
	p := &patch.Plan{}
	for _, x := range w.Install {
		c := patch.Change{Name: x.Name, Arch: x.Arch, Old: m.have[x.Name], New: x.Version}
		if i := slices.IndexFunc(m.items, func(i Item) bool { return i.Title == x.Name && i.Version == x.Version }); i >= 0 {
			c.Bytes, c.Grows = m.items[i].Size, m.items[i].Size
		}
		p.Changes = append(p.Changes, c)
	}
	return p, nil
}

// Room compares what Software Update says with what is free. Homebrew does not tell sizes.
func (m *Manager) Room(_ context.Context, _ patch.Wish, p *patch.Plan) error {
	if m.cfg.Free == nil {
		return nil
	}
	need := int64(200 << 20)
	for _, c := range p.Changes {
		need += (c.Bytes + c.Grows) * 12 / 10
	}
	free, err := m.cfg.Free("/")
	if err != nil {
		return fmt.Errorf("look how much is free: %w", err)
	}
	if free < need {
		return patch.Fail("DISK", "/ has %d MiB free, and the install needs %d MiB there", free>>20, need>>20)
	}
	return nil
}

// Fetch lists once more, since labels change, and downloads nothing: an item that is fetched ahead may be another one by
// the time it is installed. What has gone meanwhile is lacking.
func (m *Manager) Fetch(ctx context.Context, _ patch.Wish, p *patch.Plan, _ *os.File) (map[string]string, error) {
	lacking := map[string]string{}
	if !slices.ContainsFunc(p.Changes, func(c patch.Change) bool { return m.class[c.Name] == classSoftwareUpdate }) {
		return lacking, nil
	}
	if err := m.list(ctx); err != nil {
		return nil, err
	}
	for _, c := range p.Changes {
		if m.class[c.Name] == classSoftwareUpdate && m.label(c) == "" {
			lacking[c.Key()] = "Software Update does not offer it any more"
		}
	}
	return lacking, nil
}

func (m *Manager) label(c patch.Change) string {
	for _, i := range m.items {
		if i.Title == c.Name && i.Version == c.New && !i.upgrade() && !(i.Restart && m.silicon) {
			return i.Label
		}
	}
	return ""
}

// Keep keeps nothing: there are no files of old versions.
func (*Manager) Keep(context.Context, *patch.Plan, string, *os.File) (map[string]string, error) {
	return nil, nil
}

// Apply installs by label, then lets each Homebrew upgrade what is named. Nothing can be asked: standard input is closed.
func (m *Manager) Apply(ctx context.Context, _ patch.Wish, p *patch.Plan, unit string, log *os.File) (patch.Applied, error) {
	var labels []string
	brews := map[string][]string{} // "brew opt/homebrew" to names
	for _, c := range p.Changes {
		m.wanted[c.Name] = c.New
		switch class := m.class[c.Name]; {
		case class == classSoftwareUpdate:
			if l := m.label(c); l != "" {
				labels = append(labels, l)
			}
		case strings.HasPrefix(class, classBrew):
			brews[class] = append(brews[class], c.Name)
		}
	}
	m.listed = false
	applied := patch.Applied{Faults: map[string]string{}}
	start := func(c patch.Command) error {
		c.Log, c.Lasting, c.Unit, c.Timeout = log, true, unit, 0
		fmt.Fprintf(log, "\n$ %s %s\n", c.Path, strings.Join(c.Args, " "))
		at, err := log.Seek(0, 2)
		if err != nil {
			at = 0
		}
		out, err := m.cfg.Exec.Run(ctx, c)
		if err != nil {
			return fmt.Errorf("run %s: %w", c.Path, err)
		}
		said := tail(log, at)
		if why := authorizationFailed(said); why != "" && out.Code == 0 {
			out.Code = 1 // it says so and ends well
		}
		if out.Code != 0 {
			applied.Code, applied.Text = out.Code, lastLine(said)
		}
		return nil
	}
	if len(labels) > 0 {
		args := append([]string{"--install"}, labels...)
		if major(m.platform.Version) >= 11 {
			args = append(args, "--agree-to-license")
		}
		if err := start(patch.Command{Path: softwareupdate, Args: args, Env: env()}); err != nil {
			return applied, err
		}
	}
	for _, b := range m.brews {
		for _, class := range []string{classBrew, classCask} {
			names := brews[class+" "+b.prefix]
			if len(names) == 0 {
				continue
			}
			kind := map[string]string{classBrew: "--formula", classCask: "--cask"}[class]
			if err := start(m.brewCommand(b, 0, append([]string{"upgrade", kind, "--"}, names...)...)); err != nil {
				return applied, err
			}
		}
	}
	return applied, nil
}

// authorizationFailed finds what softwareupdate prints when it wants an owner of the volume.
func authorizationFailed(text string) string {
	for _, s := range []string{"Failed to authenticate", "authentication failed", "Not authorized"} {
		if strings.Contains(text, s) {
			return s
		}
	}
	return ""
}

// tail reads what was written to a log since.
func tail(log *os.File, from int64) string {
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	from = max(from, info.Size()-(64<<10))
	b := make([]byte, max(0, info.Size()-from))
	n, _ := log.ReadAt(b, from) // a log: what can be read of it
	return string(b[:n])
}

func major(version string) int {
	n := 0
	for _, c := range version {
		if c < '0' || c > '9' || n > 1000 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// Finished knows the line that softwareupdate ends an item with.
func (m *Manager) Finished(line string) (string, bool) {
	for _, done := range []string{"Done with ", "Installed "} {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), done); ok {
			return name, true
		}
	}
	return "", false
}

// Settle remembers what a run that is taken up had planned.
func (m *Manager) Settle(_ context.Context, changes []patch.Change, _ *os.File) error {
	for _, c := range changes {
		m.wanted[c.Name] = c.New
	}
	return nil
}

// Leftovers lists nothing: neither manager keeps configuration aside.
func (*Manager) Leftovers(context.Context) ([]string, error) { return nil, nil }
