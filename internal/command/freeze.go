package command

import (
	"context"
	"errors"
	"strings"
	"time"

	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// longestFreeze bounds how far ahead a freeze may end: one that outlives the people who remember it leaves nodes
// unpatched without anybody knowing.
const longestFreeze = 366 * 24 * time.Hour

// PutInstallFreeze refuses installs in the caller's account and region until EndDate. Setting it again changes reason
// and end of the freeze that is in effect.
func (s *Service) PutInstallFreeze(ctx context.Context, in *oakum.PutInstallFreezeInput) (*oakum.PutInstallFreezeOutput, error) {
	sc := store.ScopeOf(ctx)
	reason, end := strings.TrimSpace(codec.Value(in.Reason)), codec.TimeOf(in.EndDate).UTC()
	switch now := s.now(); {
	case reason == "" || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, oakum.InvalidParameters("Reason must be a line of text.")
	case !end.After(now):
		return nil, oakum.InvalidParameters("EndDate %s is not in the future.", end.Format(time.RFC3339))
	case end.Sub(now) > longestFreeze:
		return nil, oakum.InvalidParameters("EndDate %s is more than a year ahead; a freeze can be made longer later.", end.Format(time.RFC3339))
	}
	var f store.Freeze
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		started := tx.Now().UTC().Truncate(time.Second)
		switch old, err := tx.Freeze(sc); {
		case err == nil:
			started = old.StartedAt
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		f = store.Freeze{
			Account: sc.Account, Region: sc.Region, Reason: reason, StartedAt: started, EndsAt: end.Truncate(time.Microsecond), SetBy: iam.PrincipalFrom(ctx).ARN,
		}
		return tx.PutFreeze(f)
	})
	if err != nil {
		return nil, err
	}
	return (*oakum.PutInstallFreezeOutput)(wireFreeze(f)), nil
}

// GetInstallFreeze answers whether installs are frozen. Managed nodes ask it before they change anything.
func (s *Service) GetInstallFreeze(ctx context.Context, _ *oakum.GetInstallFreezeInput) (*oakum.GetInstallFreezeOutput, error) {
	f, err := s.freeze(ctx, store.ScopeOf(ctx))
	if err != nil {
		return nil, err
	}
	return (*oakum.GetInstallFreezeOutput)(wireFreeze(f)), nil
}

// DeleteInstallFreeze lifts the freeze. Lifting what is not there is no error.
func (s *Service) DeleteInstallFreeze(ctx context.Context, _ *oakum.DeleteInstallFreezeInput) (*oakum.DeleteInstallFreezeOutput, error) {
	out := &oakum.DeleteInstallFreezeOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		lifted, err := tx.DeleteFreeze(store.ScopeOf(ctx))
		out.Lifted = &lifted
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// freeze reads the freeze in effect; the zero value when there is none.
func (s *Service) freeze(ctx context.Context, sc store.Scope) (f store.Freeze, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		f, err = tx.Freeze(sc)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return f, err
}

func wireFreeze(f store.Freeze) *oakum.InstallFreeze {
	if f.Account == "" {
		return &oakum.InstallFreeze{Active: new(false)}
	}
	return &oakum.InstallFreeze{Active: new(true), Reason: &f.Reason, StartDate: codec.NewTime(f.StartedAt), EndDate: codec.NewTime(f.EndsAt), By: &f.SetBy}
}

// refuseFrozen fails where installs are frozen. It runs in the transaction that would accept the command: what was
// accepted before the freeze is the nodes' to refuse.
func refuseFrozen(tx *store.Tx, sc store.Scope) error {
	f, err := tx.Freeze(sc)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return ssm.InvalidParameters("Installs are frozen in this account and region until %s: %s", f.EndsAt.Format(time.RFC3339), f.Reason)
}
