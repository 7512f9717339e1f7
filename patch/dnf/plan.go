package dnf

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
	md "oakum.dev/repo/rpm"
)

const (
	planTimeout  = 5 * time.Minute
	fetchTimeout = 2 * time.Hour
	maxWords     = 12 // lines of one of dnf's complaints
)

// options are those of every dnf that plans or changes something. Metadata is used as the last refresh left it.
func (m *Manager) options(sources []baseline.Source) ([]string, error) {
	opts := []string{"--setopt=install_weak_deps=0", "--setopt=clean_requirements_on_remove=0"}
	if m.tool.name == "yum3" {
		opts = []string{"--setopt=clean_requirements_on_remove=0"}
	} else {
		opts = append(opts, "--setopt=metadata_expire=-1", "--setopt=best=0", "--setopt=strict=1")
	}
	// Whoever says yes to everything says yes to importing keys, too: of a file that is not there none can be imported.
	opts = append(opts, "--setopt=*.gpgkey=file:///etc/pki/rpm-gpg/no-key-is-imported")
	opts = append(opts, m.release()...)
	own, err := m.ownOptions(sources)
	return append(opts, own...), err
}

// release makes dnf look at the release that the inventory was read for.
func (m *Manager) release() []string {
	if m.latest() {
		return []string{"--releasever=latest"}
	}
	return nil
}

// command makes dnf's words for orders. Words of several kinds go through a script, which is one transaction. done
// removes it.
func (m *Manager) command(orders []rpm.Order) (args []string, done func(), err error) {
	done = func() {}
	verbs := map[string]bool{}
	for _, o := range orders {
		verbs[o.Verb] = true
	}
	switch {
	case len(orders) == 0:
		return []string{"upgrade", "oakum-nothing"}, done, nil
	case len(verbs) == 1:
		args = append(args, orders[0].Verb)
		for _, o := range orders {
			args = append(args, o.Spec())
		}
		return args, done, nil
	case m.tool.name == "dnf5":
		args = append(args, "do")
		for _, o := range orders {
			args = append(args, "--action="+o.Verb, o.Spec())
		}
		return args, done, nil
	}
	f, err := os.CreateTemp("", "oakum-dnf-*")
	if err != nil {
		return nil, done, fmt.Errorf("write what dnf is to do: %w", err)
	}
	done = func() { os.Remove(f.Name()) }
	var b strings.Builder
	b.WriteString(script(orders))
	_, err = f.WriteString(b.String())
	if err := closeWith(f, err); err != nil {
		done()
		return nil, func() {}, fmt.Errorf("write what dnf is to do: %w", err)
	}
	return []string{"shell", f.Name()}, done, nil
}

// script writes orders as lines, one for each verb. dnf takes package files in the first line only, so those share one.
func script(orders []rpm.Order) string {
	local := func(o rpm.Order) bool { return o.File != "" }
	verb := ""
	for _, o := range orders {
		switch {
		case !local(o):
		case verb == "" || verb == o.Verb:
			verb = o.Verb
		default:
			verb = "install" // takes older files too
		}
	}
	lines := map[string][]string{}
	verbs := []string{}
	add := func(v, spec string) {
		if lines[v] == nil {
			verbs = append(verbs, v)
		}
		lines[v] = append(lines[v], spec)
	}
	for _, o := range orders {
		if local(o) {
			add(verb, o.Spec())
		}
	}
	for _, o := range orders {
		if !local(o) {
			add(o.Verb, o.Spec())
		}
	}
	var b strings.Builder
	for _, v := range verbs {
		b.WriteString(v + " " + strings.Join(lines[v], " ") + "\n")
	}
	b.WriteString("run\nexit\n")
	return b.String()
}

func closeWith(f *os.File, err error) error {
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// words are dnf's for a wish: options and orders. done takes away what they refer to.
func (m *Manager) words(ctx context.Context, w patch.Wish) (args []string, done func(), err error) {
	opts, err := m.options(w.Sources)
	if err != nil {
		return nil, nil, err
	}
	orders, err := m.reader.Orders(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	args, done, err = m.command(orders)
	return slices.Concat(opts, args), done, err
}

// Plan asks dnf's solver.
func (m *Manager) Plan(ctx context.Context, w patch.Wish) (*patch.Plan, error) {
	args, done, err := m.words(ctx, w)
	if err != nil {
		return nil, err
	}
	defer done()
	root, err := m.pointAt()
	if err != nil {
		return nil, err
	}
	out, err := m.cfg.Exec.Run(ctx, patch.Command{
		Path: m.tool.path, Args: slices.Concat([]string{"-C", "--assumeno"}, root, args), Env: patch.BaseEnv(), Timeout: planTimeout, MaxOutput: 8 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", filepath.Base(m.tool.path), err)
	}
	if out.Code < 0 {
		return nil, fmt.Errorf("%s was killed", filepath.Base(m.tool.path))
	}
	rows, found := readTable(out.Stdout)
	if !found && bytes.Contains(out.Stderr, []byte("Read-only file system")) { // dnf wants to write a log even to plan
		return nil, patch.Fail("READ_ONLY", "dnf cannot be asked on a read-only file system: %s", strings.Join(strings.Fields(string(out.Stderr)), " "))
	}
	if !found && out.Code != 0 {
		text, reason := refusal(out.Stdout, out.Stderr, out.Code)
		return &patch.Plan{Refused: text, Reason: reason}, nil
	}
	p, err := m.reader.Plan(ctx, w, rows)
	if err != nil {
		return nil, err
	}
	for _, x := range w.Install { // dnf upgrades what it can, and only mentions the rest
		if !slices.ContainsFunc(p.Changes, func(c patch.Change) bool { return c.Name == x.Name && c.New == x.Version }) && !m.has(ctx, x) {
			text, reason := refusal(problems(out.Stdout), out.Stderr, out.Code)
			return &patch.Plan{Refused: text, Reason: reason}, nil
		}
	}
	return p, nil
}

// has reports whether a version is installed already.
func (m *Manager) has(ctx context.Context, w patch.Want) bool {
	have, err := m.reader.Installed(ctx, w.Name)
	return err == nil && slices.ContainsFunc(have[w.Arch], func(p *md.Package) bool { return rpm.Text(p) == w.Version })
}

// problems is what dnf says before its table.
func problems(stdout []byte) []byte {
	head, _, _ := bytes.Cut(stdout, []byte("\n==="))
	return head
}

// pointAt makes dnf look at another root than the running system's.
func (m *Manager) pointAt() ([]string, error) {
	if m.cfg.Live || m.cfg.Root == "/" {
		return nil, nil
	}
	if m.tool.name == "dnf5" {
		return []string{"--installroot=" + m.cfg.Root, "--use-host-config=0"}, nil
	}
	return []string{"--installroot=" + m.cfg.Root}, nil
}

// actions are the headings of the table, in the words of dnf 4, dnf 5 and yum 3.
var actions = map[string]string{
	"Installing": "install", "Installing dependencies": "install", "Installing weak dependencies": "install", "Installing for dependencies": "install",
	"Installing group/module packages": "install",
	"Upgrading":                        "upgrade", "Updating": "upgrade", "Updating for dependencies": "upgrade", "Downgrading": "upgrade",
	"Reinstalling": "reinstall",
	"Removing":     "remove", "Removing dependent packages": "remove", "Removing unused dependencies": "remove", "Removing for dependencies": "remove",
}

// readTable reads the table. A name that is too long for its column has the rest on the next line. found is false where
// there is no table.
func readTable(b []byte) (rows []rpm.Step, found bool) {
	action := ""
	var words []string
	flush := func() {
		if len(words) >= 3 && action != "" {
			rows = append(rows, rpm.Step{Action: action, Name: words[0], Arch: words[1], EVR: words[2]})
		}
		words = nil
	}
	for line := range bytes.Lines(b) {
		text := strings.TrimRight(string(line), " \r\n")
		heading, isHeading := strings.CutSuffix(text, ":")
		switch {
		case strings.HasPrefix(text, "Transaction Summary"):
			flush()
			return rows, true
		case strings.HasPrefix(text, "Nothing to do."), strings.HasPrefix(text, "No packages marked for update"):
			flush()
			return rows, true
		case isHeading && !strings.HasPrefix(text, " "):
			flush()
			action = actions[heading]
		case strings.HasPrefix(strings.TrimSpace(text), "replacing "):
			flush()
			if n := len(rows); n > 0 {
				rows[n-1].Replaces = append(rows[n-1].Replaces, strings.Join(strings.Fields(text)[1:], " "))
			}
		case strings.HasPrefix(text, "  ") && len(words) > 0 && len(words) < 4:
			words = append(words, strings.Fields(text)...)
		case strings.HasPrefix(text, " ") && action != "":
			flush()
			words = strings.Fields(text)
		default:
			flush()
		}
	}
	flush()
	return rows, false
}

// refusal picks out of dnf's complaint what a person needs, and names its kind.
func refusal(stdout, stderr []byte, code int) (text, reason string) {
	var out []string
	if bytes.Contains(stderr, []byte("You have enabled checking of packages via GPG keys")) || bytes.Contains(stdout, []byte("You have enabled checking of packages via GPG keys")) {
		return "packages are to be checked (gpgcheck), and neither the node nor the repository has a key: import one with rpm --import", patch.ReasonNotTrusted
	}
	for line := range bytes.Lines(append(slices.Clone(stderr), stdout...)) {
		s := strings.TrimSpace(string(line))
		low := strings.ToLower(s)
		switch {
		case s == "" || s == "Error:" || strings.HasPrefix(s, "(try to add") || strings.HasPrefix(s, "Last metadata") || strings.HasPrefix(s, "Operation aborted") ||
			strings.HasPrefix(s, "You can try to add") || strings.HasPrefix(s, "Dependencies resolved") || strings.HasPrefix(s, "Leaving Shell") || s == "Problem:" ||
			strings.HasSuffix(s, "available, but installed for different architecture."): // a noarch package has become the machine's own: it goes in
			continue
		case strings.Contains(low, "nothing provides") || strings.Contains(s, "Requires:"):
			reason = patch.ReasonUnmetDependency
		case reason == "" && (strings.Contains(low, "conflicts with") || strings.Contains(low, "cannot install both") || strings.Contains(low, "obsoletes")):
			reason = patch.ReasonConflict
		}
		switch {
		case strings.Contains(low, "filtered out by exclude filtering"):
			reason = patch.ReasonExcluded
		case strings.Contains(low, "filtered out by modular filtering"):
			reason = patch.ReasonModule
		}
		if s = strings.TrimPrefix(strings.TrimPrefix(s, "Error: "), "- "); len(out) < maxWords && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("dnf ended with %d", code), reason
	}
	return strings.Join(out, "; "), reason
}
