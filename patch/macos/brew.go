package macos

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"oakum.dev/patch"
)

// brew is one installation of Homebrew.
type brew struct {
	prefix string // "opt/homebrew", below the root
	user   string // who owns it, and runs it
}

// formula is an installed formula or cask.
type formula struct {
	Name, Version string // the newest that is installed
	Newer         string // that would be installed now; empty: none
	Cask          bool
	Pinned        bool
	At            time.Time
}

// findBrews looks for Homebrew in its two places. That there is none is fine. One that belongs to root is left alone:
// Homebrew refuses to run as root.
func (m *Manager) findBrews(trouble *[]string) []brew {
	if m.brews != nil {
		return m.brews
	}
	m.brews = []brew{}
	for _, prefix := range m.cfg.Prefix {
		if _, err := fs.Stat(m.cfg.FS, prefix+"/bin/brew"); err != nil {
			continue
		}
		folder := prefix
		if _, err := fs.Stat(m.cfg.FS, prefix+"/Homebrew"); err == nil {
			folder = prefix + "/Homebrew" // in /usr/local only what is below it belongs to Homebrew's user
		}
		user, err := m.cfg.Owner("/" + folder)
		switch {
		case err != nil:
			*trouble = append(*trouble, "Homebrew in /"+prefix+": "+err.Error())
		case user == "":
			*trouble = append(*trouble, "Homebrew in /"+prefix+" belongs to root, as whom it does not run: give the folder to a user")
		default:
			m.brews = append(m.brews, brew{prefix, user})
		}
	}
	return m.brews
}

// brewCommand runs Homebrew as the owner of its folder, without questions and without work that nobody asked for.
func (m *Manager) brewCommand(b brew, limit time.Duration, args ...string) patch.Command {
	settings := []string{
		"HOMEBREW_NO_AUTO_UPDATE=1", "HOMEBREW_NO_ANALYTICS=1", "HOMEBREW_NO_ENV_HINTS=1", "HOMEBREW_NO_COLOR=1", "HOMEBREW_NO_EMOJI=1",
		"HOMEBREW_NO_INSTALL_CLEANUP=1", "HOMEBREW_NO_INSTALLED_DEPENDENTS_CHECK=1", "HOMEBREW_NO_ASK=1", "NONINTERACTIVE=1", "LC_ALL=C", "LANG=C",
		"PATH=/" + b.prefix + "/bin:/usr/bin:/bin:/usr/sbin:/sbin",
	}
	brewPath := "/" + b.prefix + "/bin/brew"
	if !m.cfg.Root {
		return patch.Command{Path: "/usr/bin/env", Args: append(append(settings, brewPath), args...), Env: env(), Timeout: limit, Dir: "/"}
	}
	all := append([]string{"-n", "-H", "-u", b.user, "--", "/usr/bin/env"}, settings...)
	return patch.Command{Path: "/usr/bin/sudo", Args: append(append(all, brewPath), args...), Env: env(), Timeout: limit, Dir: "/"}
}

// formulae asks an installation what is there and what would be newer.
func (m *Manager) formulae(ctx context.Context, b brew) ([]formula, error) {
	have, err := m.run(ctx, m.brewCommand(b, searchLimit, "info", "--json=v2", "--installed"))
	if err != nil {
		return nil, err
	}
	newer, err := m.run(ctx, m.brewCommand(b, searchLimit, "outdated", "--json=v2"))
	if err != nil {
		return nil, err
	}
	return parseBrew(have, newer)
}

// parseBrew reads the JSON of "brew info --json=v2 --installed" and "brew outdated --json=v2".
// Source: Homebrew documentation, "Querying Brew", and brew(1).
func parseBrew(have, newer string) ([]formula, error) {
	var info struct {
		Formulae []struct {
			Name      string `json:"name"`
			Pinned    bool   `json:"pinned"`
			Installed []struct {
				Version string `json:"version"`
				Time    int64  `json:"time"`
			} `json:"installed"`
		} `json:"formulae"`
		Casks []struct {
			Token     string  `json:"token"`
			Installed *string `json:"installed"`
			Time      int64   `json:"installed_time"`
		} `json:"casks"`
	}
	if err := json.Unmarshal([]byte(have), &info); err != nil {
		return nil, fmt.Errorf("read what Homebrew has installed: %w", err)
	}
	type old struct {
		Name    string `json:"name"`
		Current string `json:"current_version"`
		Pinned  bool   `json:"pinned"`
	}
	var outdated struct {
		Formulae []old `json:"formulae"`
		Casks    []old `json:"casks"`
	}
	if err := json.Unmarshal([]byte(newer), &outdated); err != nil {
		return nil, fmt.Errorf("read what Homebrew has newer: %w", err)
	}
	better := map[string]old{}
	for _, o := range outdated.Formulae {
		better["f "+shortName(o.Name)] = o
	}
	for _, o := range outdated.Casks {
		better["c "+shortName(o.Name)] = o
	}
	var out []formula
	for _, f := range info.Formulae {
		if len(f.Installed) == 0 {
			continue
		}
		last := f.Installed[len(f.Installed)-1]
		o := better["f "+shortName(f.Name)]
		out = append(out, formula{f.Name, last.Version, o.Current, false, f.Pinned || o.Pinned, instant(last.Time)})
	}
	for _, c := range info.Casks {
		if c.Installed == nil || *c.Installed == "" {
			continue
		}
		out = append(out, formula{c.Token, *c.Installed, better["c "+shortName(c.Token)].Current, true, false, instant(c.Time)})
	}
	return out, nil
}

// shortName leaves out the tap.
func shortName(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func instant(sec int64) time.Time {
	if sec <= 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0).UTC()
}
