package patchbaseline

import (
	"context"
	"errors"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/baseline"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

func osOf(p *string) baseline.OS {
	if p == nil {
		return baseline.Windows
	}
	return baseline.OS(*p)
}

// defaultID is the registered default of an operating system, else the predefined one.
func defaultID(tx *store.Tx, sc store.Scope, os baseline.OS) (string, error) {
	id, err := tx.DefaultBaseline(sc, string(os))
	if errors.Is(err, store.ErrNotFound) {
		p, ok := baseline.DefaultFor(os)
		if !ok {
			return "", ssm.UnsupportedOperatingSystem("There is no patch baseline for the operating system %s.", os)
		}
		return p.BaselineID, nil
	}
	return id, err
}

// effectiveID is the baseline of a patch group and operating system: the registered one, else the default.
func effectiveID(tx *store.Tx, sc store.Scope, group string, os baseline.OS) (string, error) {
	if group != "" {
		id, err := tx.PatchGroupBaseline(sc, group, string(os))
		if !errors.Is(err, store.ErrNotFound) {
			return id, err
		}
	}
	return defaultID(tx, sc, os)
}

// GetDefaultPatchBaseline answers the default of an operating system.
func (s *Service) GetDefaultPatchBaseline(ctx context.Context, in *ssm.GetDefaultPatchBaselineInput) (*ssm.GetDefaultPatchBaselineOutput, error) {
	sc, os := store.ScopeOf(ctx), osOf(in.OperatingSystem)
	var id string
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { id, err = defaultID(tx, sc, os); return err }); err != nil {
		return nil, err
	}
	return &ssm.GetDefaultPatchBaselineOutput{BaselineId: new(wireID(sc, id)), OperatingSystem: new(string(os))}, nil
}

// RegisterDefaultPatchBaseline makes a baseline the default of its own operating system.
func (s *Service) RegisterDefaultPatchBaseline(ctx context.Context, in *ssm.RegisterDefaultPatchBaselineInput) (*ssm.RegisterDefaultPatchBaselineOutput, error) {
	sc := store.ScopeOf(ctx)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		b, _, err := loadInUse(tx, sc, r, msgGone)
		if err != nil {
			return err
		}
		id := r.id
		if p, ok := baseline.DefaultFor(b.OperatingSystem); ok && p.BaselineID == id {
			id = ""
		}
		return tx.SetDefaultBaseline(sc, string(b.OperatingSystem), id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RegisterDefaultPatchBaselineOutput{BaselineId: new(wireID(sc, r.id))}, nil
}

// RegisterPatchBaselineForPatchGroup gives a patch group its baseline for one operating system. The same pair
// again succeeds.
func (s *Service) RegisterPatchBaselineForPatchGroup(ctx context.Context, in *ssm.RegisterPatchBaselineForPatchGroupInput) (*ssm.RegisterPatchBaselineForPatchGroupOutput, error) {
	sc, group := store.ScopeOf(ctx), codec.Value(in.PatchGroup)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		b, _, err := loadInUse(tx, sc, r, strings.Replace(msgGoneOnGroup, "%s", codec.Value(in.BaselineId), 1))
		if err != nil {
			return err
		}
		old, err := tx.PatchGroupBaseline(sc, group, string(b.OperatingSystem))
		switch {
		case err == nil && old == r.id:
			return nil
		case err == nil:
			return ssm.AlreadyExistsException("Patch Group baseline already has a baseline registered for OperatingSystem %s.", b.OperatingSystem)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		groups, err := tx.PatchGroupsOf(sc, r.id)
		if err != nil {
			return err
		}
		if len(groups) >= maxGroups {
			return ssm.ResourceLimitExceededException("The baseline is registered for %d patch groups already; at most %d are allowed.", len(groups), maxGroups)
		}
		return tx.InsertPatchGroup(sc, store.PatchGroupMapping{PatchGroup: group, OperatingSystem: string(b.OperatingSystem), BaselineID: r.id})
	})
	if err != nil {
		return nil, err
	}
	return &ssm.RegisterPatchBaselineForPatchGroupOutput{BaselineId: new(wireID(sc, r.id)), PatchGroup: &group}, nil
}

// DeregisterPatchBaselineForPatchGroup takes a group's baseline away; a pair that is not registered is no error.
func (s *Service) DeregisterPatchBaselineForPatchGroup(ctx context.Context, in *ssm.DeregisterPatchBaselineForPatchGroupInput) (*ssm.DeregisterPatchBaselineForPatchGroupOutput, error) {
	sc, group := store.ScopeOf(ctx), codec.Value(in.PatchGroup)
	r, err := named(sc, codec.Value(in.BaselineId))
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, _, err := load(tx, sc, r, msgGone); err != nil {
			return err
		}
		return tx.DeletePatchGroup(sc, group, r.id)
	})
	if err != nil {
		return nil, err
	}
	return &ssm.DeregisterPatchBaselineForPatchGroupOutput{BaselineId: new(wireID(sc, r.id)), PatchGroup: &group}, nil
}

// GetPatchBaselineForPatchGroup answers the baseline of a group, the operating system's default without one.
func (s *Service) GetPatchBaselineForPatchGroup(ctx context.Context, in *ssm.GetPatchBaselineForPatchGroupInput) (*ssm.GetPatchBaselineForPatchGroupOutput, error) {
	sc, os := store.ScopeOf(ctx), osOf(in.OperatingSystem)
	var id string
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		id, err = effectiveID(tx, sc, codec.Value(in.PatchGroup), os)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ssm.GetPatchBaselineForPatchGroupOutput{BaselineId: new(wireID(sc, id)), PatchGroup: in.PatchGroup, OperatingSystem: new(string(os))}, nil
}

// DescribePatchGroups lists registrations by group and operating system.
func (s *Service) DescribePatchGroups(ctx context.Context, in *ssm.DescribePatchGroupsInput) (*ssm.DescribePatchGroupsOutput, error) {
	for _, f := range in.Filters {
		if k := codec.Value(f.Key); k != "NAME_PREFIX" && k != "OPERATING_SYSTEM" {
			return nil, awserr.Validation("Invalid Filter Key: %s, valid keys are: NAME_PREFIX, OPERATING_SYSTEM", k)
		}
	}
	pg, err := s.pages.Open(ctx, "DescribePatchGroups", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	sc := store.ScopeOf(ctx)
	out := &ssm.DescribePatchGroupsOutput{Mappings: []ssm.PatchGroupPatchBaselineMapping{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		defaults, err := tx.DefaultBaselines(sc)
		if err != nil {
			return err
		}
		replaced, err := replacedDefaults(tx, sc, defaults)
		if err != nil {
			return err
		}
		group, os := pg.At(0), pg.At(1)
		for {
			rows, err := tx.PatchGroups(sc, group, os, 200)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, m := range rows {
				if groupMatches(in.Filters, m) {
					if len(out.Mappings) == pg.Size {
						out.NextToken = pg.Next(group, os)
						return nil
					}
					r, err := named(sc, m.BaselineID)
					if err != nil {
						return err
					}
					b, _, err := load(tx, sc, r, msgGone)
					if err != nil {
						return err
					}
					isDefault := false
					for _, id := range defaults {
						isDefault = isDefault || id == r.id
					}
					if r.predefined != nil && r.predefined.Default {
						isDefault = !replaced[b.OperatingSystem]
					}
					out.Mappings = append(out.Mappings, ssm.PatchGroupPatchBaselineMapping{PatchGroup: &m.PatchGroup, BaselineIdentity: new(identity(sc, b, isDefault))})
				}
				group, os = m.PatchGroup, m.OperatingSystem
			}
		}
	})
	return out, err
}

func groupMatches(filters []ssm.PatchOrchestratorFilter, m store.PatchGroupMapping) bool {
	for _, f := range filters {
		ok := false
		for _, v := range f.Values {
			if *f.Key == "NAME_PREFIX" {
				ok = ok || strings.HasPrefix(m.PatchGroup, v)
			} else {
				ok = ok || v == m.OperatingSystem
			}
		}
		if !ok {
			return false
		}
	}
	return true
}
