package wua

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"oakum.dev/patch"
)

// Account is who runs this process.
type Account struct {
	Name     string // DOMAIN\user
	System   bool   // local SYSTEM
	Elevated bool   // an administrator with all rights
	Network  bool   // it came in over the network, such as by WinRM or ssh
}

// mayInstall says why an account cannot install updates. Source: Microsoft Learn, "Using WUA From a Remote Computer".
func (a Account) mayInstall() error {
	switch {
	case a.System:
		return nil
	case a.Network:
		return &patch.Error{
			Reason: "FAILED", Code: patch.CodeFailed, Err: fmt.Errorf("%s came in over the network, and for such Windows Update refuses to install", a.Name),
			Hint: "let the agent do it, which runs as SYSTEM, or start it from a scheduled task of SYSTEM",
		}
	case !a.Elevated:
		return &patch.Error{
			Reason: "FAILED", Code: patch.CodeFailed, Err: fmt.Errorf("%s may not install updates", a.Name),
			Hint: "run it as administrator",
		}
	}
	return nil
}

// Repair waits until nobody else installs. Half installed updates are the servicing stack's to finish, at the next boot.
func (m *Manager) Repair(ctx context.Context, _ *os.File, _ func(patch.Change) bool) (patch.Health, error) {
	if m.cfg.Account != nil {
		a, err := m.cfg.Account()
		if err != nil {
			return patch.Health{}, fmt.Errorf("find out who runs this: %w", err)
		}
		if err := a.mayInstall(); err != nil {
			return patch.Health{}, err
		}
	}
	until := m.cfg.Now().Add(m.cfg.Wait)
	for told := false; ; told = true {
		st, err := m.cfg.Client.Status(ctx)
		if err != nil {
			return patch.Health{}, m.explain("ask the Windows Update Agent for its state", err, "FAILED")
		}
		m.status = st
		if !st.Busy {
			return patch.Health{}, nil
		}
		if !told {
			m.note("waiting for an installation of updates that somebody else has started")
		}
		if !m.cfg.Now().Before(until) {
			return patch.Health{}, patch.Fail("LOCKED", "the Windows Update Agent was still installing for somebody else after %s", m.cfg.Wait)
		}
		select {
		case <-ctx.Done():
			return patch.Health{}, ctx.Err()
		case <-m.cfg.Tick(5 * time.Second):
		}
	}
}

// Plan names the updates of each KB. The agent has no solver to ask: prerequisites are offered by themselves.
func (m *Manager) Plan(_ context.Context, w patch.Wish) (*patch.Plan, error) {
	if len(w.Remove) > 0 || w.Down {
		return &patch.Plan{Refused: "the Windows Update Agent cannot take updates back: see \"wusa /uninstall\" and \"dism /remove-package\""}, nil
	}
	p := &patch.Plan{}
	_, of := m.groups()
	for _, x := range w.Install {
		ids, err := identities(x.Version)
		if err != nil {
			return nil, err
		}
		c := patch.Change{Name: x.Name, Arch: x.Arch, Old: m.installedText(x.Name, of[x.Name]), New: x.Version}
		offered := 0
		for _, id := range ids {
			for _, u := range of[x.Name] {
				if u.Identity == id && !u.in() {
					offered++
					c.Bytes += u.Size
					c.Grows += max(u.Size, u.DiskMB<<20)
				}
			}
		}
		if offered < len(ids) {
			return &patch.Plan{Refused: x.Name + " is not offered any more in that revision"}, nil
		}
		p.Changes = append(p.Changes, c)
	}
	return p, nil
}

// Room compares what the plan needs with what is free on the system's drive. Updates are unpacked beside what they replace.
func (m *Manager) Room(_ context.Context, _ patch.Wish, p *patch.Plan) error {
	if m.cfg.Free == nil {
		return nil
	}
	const spare = 200 << 20
	need := int64(spare)
	for _, c := range p.Changes {
		need += (c.Bytes + c.Grows) * 12 / 10
	}
	free, err := m.cfg.Free(m.cfg.Root)
	if err != nil {
		return fmt.Errorf("look how much is free: %w", err)
	}
	if free < need {
		return patch.Fail("DISK", "%s has %d MiB free, and the install needs %d MiB there", m.cfg.Root, free>>20, need>>20)
	}
	return nil
}

// Fetch accepts licence terms, which is what approving an update means, and downloads.
func (m *Manager) Fetch(ctx context.Context, _ patch.Wish, p *patch.Plan, log *os.File) (map[string]string, error) {
	ids, kbs, err := planned(p)
	if err != nil {
		return nil, err
	}
	lacking := map[string]string{}
	_, of := m.groups()
	var terms []Identity
	for _, id := range ids {
		for _, u := range of[kbs[id]] {
			if u.Identity == id && !u.EulaAccepted {
				terms = append(terms, id)
			}
		}
	}
	if len(terms) > 0 {
		out, err := m.cfg.Client.AcceptEula(ctx, terms)
		if err != nil {
			return nil, m.explain("accept licence terms", err, "REPO_METADATA")
		}
		for _, o := range out {
			if !o.ok() {
				lacking[kbs[o.Identity]+"."] = "its licence terms could not be accepted: " + Explain(o.Code).Text()
			}
		}
	}
	out, err := m.cfg.Client.Download(ctx, ids)
	if err != nil {
		return nil, m.explain("download updates", err, "REPO_METADATA")
	}
	for _, o := range out {
		say(log, "download", kbs[o.Identity], &o)
		if o.ok() {
			continue
		}
		if o.Gone {
			lacking[kbs[o.Identity]+"."] = m.goneText(o.Identity)
			continue
		}
		lacking[kbs[o.Identity]+"."] = Explain(o.Code).Text()
	}
	return lacking, nil
}

// goneText says why an update is not there any more.
func (m *Manager) goneText(id Identity) string {
	for i := range m.seen {
		u := &m.seen[i]
		for _, s := range u.Supersedes {
			if strings.EqualFold(s, id.UpdateID) {
				return "superseded by " + u.KB()
			}
		}
	}
	return "the update service does not offer it any more"
}

// planned are the updates of a plan, and the KB of each.
func planned(p *patch.Plan) ([]Identity, map[Identity]string, error) {
	var ids []Identity
	kbs := map[Identity]string{}
	for _, c := range p.Changes {
		of, err := identities(c.New)
		if err != nil {
			return nil, nil, err
		}
		for _, id := range of {
			ids = append(ids, id)
			kbs[id] = c.Name
		}
	}
	return ids, kbs, nil
}

// Keep keeps nothing: the component store has what an uninstall needs.
func (*Manager) Keep(context.Context, *patch.Plan, string, *os.File) (map[string]string, error) {
	return nil, nil
}

// Apply installs the updates of a plan: together those that can be, and each that has to be alone by itself.
func (m *Manager) Apply(_ context.Context, _ patch.Wish, p *patch.Plan, _ string, log *os.File) (patch.Applied, error) {
	ctx := context.Background() // an installation under way is not stopped
	ids, kbs, err := planned(p)
	if err != nil {
		return patch.Applied{}, err
	}
	for _, c := range p.Changes {
		m.wanted[c.Name] = c.New
	}
	_, of := m.groups()
	var calls [][]Identity
	var together []Identity
	for _, id := range ids {
		alone := false
		for _, u := range of[kbs[id]] {
			alone = alone || u.Identity == id && u.Exclusive
		}
		if alone {
			calls = append(calls, []Identity{id})
		} else {
			together = append(together, id)
		}
	}
	if len(together) > 0 {
		calls = append([][]Identity{together}, calls...)
	}
	m.asked = false // whatever comes of it: only a new search tells what is installed
	applied := patch.Applied{Faults: map[string]string{}}
	stop := m.heartbeat(ctx, "the Windows Update Agent is installing")
	defer stop()
	for _, call := range calls {
		res, err := m.cfg.Client.Install(ctx, call)
		if err != nil {
			applied.Code, applied.Text = 1, m.explain("install updates", err, "FAILED").Error()
			fmt.Fprintln(log, applied.Text)
			var r *ResultError
			if !errors.As(err, &r) {
				return applied, nil
			}
			for _, id := range call {
				applied.Faults[kbs[id]] = Explain(r.Code).Text()
			}
			continue
		}
		for i := range res.Outcomes {
			o := &res.Outcomes[i]
			say(log, "install", kbs[o.Identity], o)
			switch {
			case o.Gone:
				applied.Code, applied.Faults[kbs[o.Identity]] = 1, m.goneText(o.Identity)
			case !o.ok():
				c := Explain(o.Code)
				applied.Code, applied.Text, applied.Faults[kbs[o.Identity]] = 1, kbs[o.Identity]+": "+c.Text(), c.Text()
			}
		}
	}
	return applied, nil
}

// say writes a line about an update to a run's log.
func say(log *os.File, what, kb string, o *Outcome) {
	word := map[int]string{
		ResultNotStarted: "not started", ResultInProgress: "in progress", ResultSucceeded: "succeeded", ResultSucceededWithErrors: "succeeded with errors",
		ResultFailed: "failed", ResultAborted: "aborted",
	}[o.Result]
	line := fmt.Sprintf("%s %s %s: %s", what, kb, o.Identity, word)
	if o.Gone {
		line = fmt.Sprintf("%s %s %s: not offered any more", what, kb, o.Identity)
	}
	if o.Code != 0 {
		line += ", " + Explain(o.Code).Text()
	}
	if o.Reboot {
		line += ", a reboot is required"
	}
	fmt.Fprintln(log, line)
}

// Finished knows the lines of say.
func (*Manager) Finished(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "install ")
	if !ok || !strings.Contains(rest, ": succeeded") {
		return "", false
	}
	name, _, _ := strings.Cut(rest, " ")
	return name, true
}

// Settle remembers what a run that is taken up had planned, so that Present knows it when it is in.
func (m *Manager) Settle(_ context.Context, changes []patch.Change, _ *os.File) error {
	for _, c := range changes {
		m.wanted[c.Name] = c.New
	}
	return nil
}

// Leftovers lists nothing: updates of Windows keep no configuration aside.
func (*Manager) Leftovers(context.Context) ([]string, error) { return nil, nil }
