package node

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tag"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// Bounds of activations. Source: AWS Systems Manager User Guide, "Create a hybrid activation".
const (
	defaultActivationLife = 24 * time.Hour
	maxActivationLife     = 30 * 24 * time.Hour
	activationCodeLength  = 20 // the agent's SDK refuses to send fewer
)

// codeAlphabet gives each of the 20 characters 6 bits: 120 bits, beyond guessing.
const codeAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// CreateActivation makes an activation; its code is shown here and never again.
func (s *Service) CreateActivation(ctx context.Context, in *ssm.CreateActivationInput) (*ssm.CreateActivationOutput, error) {
	sc, now := store.ScopeOf(ctx), s.now()
	role := codec.Value(in.IamRole)
	if strings.HasPrefix(role, "arn:") {
		return nil, awserr.Validation("Nonexistent role or missing ssm service principal in trust policy: %s: give the name of a role, not its ARN", role)
	}
	expires := now.Add(defaultActivationLife)
	if in.ExpirationDate != nil {
		expires = in.ExpirationDate.Time
		if !expires.After(now) || expires.After(now.Add(maxActivationLife)) {
			return nil, ssm.InvalidParameters("The expiration date must be in the future and no more than 30 days ahead.")
		}
	}
	tags := append([]ssm.Tag{}, in.Tags...)
	if err := tag.Check(tags); err != nil {
		return nil, err
	}
	if len(tags) > tag.Max {
		return nil, ssm.InvalidParameters("The Targets parameter includes too many tags: at most %d are allowed.", tag.Max)
	}
	tagJSON, err := json.Marshal(tags)
	if err != nil {
		return nil, err
	}
	id, err := arn.NewUUID(s.random)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, activationCodeLength)
	if _, err := io.ReadFull(s.random, raw); err != nil {
		return nil, err
	}
	code := make([]byte, len(raw))
	for i, b := range raw {
		code[i] = codeAlphabet[b&63]
	}
	limit := int64(1)
	if in.RegistrationLimit != nil {
		limit = *in.RegistrationLimit
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.InsertActivation(store.Activation{
			Account: sc.Account, Region: sc.Region, ID: id, CodeHash: store.Hash(code), IamRole: role, Description: codec.Value(in.Description),
			DefaultInstanceName: codec.Value(in.DefaultInstanceName), RegistrationLimit: limit, Tags: string(tagJSON), CreatedAt: now, ExpiresAt: expires,
		})
	})
	if err != nil {
		return nil, err
	}
	return &ssm.CreateActivationOutput{ActivationId: &id, ActivationCode: new(string(code))}, nil
}

// DescribeActivations lists activations by id.
func (s *Service) DescribeActivations(ctx context.Context, in *ssm.DescribeActivationsInput) (*ssm.DescribeActivationsOutput, error) {
	sc := store.ScopeOf(ctx)
	for _, f := range in.Filters {
		switch codec.Value(f.FilterKey) {
		case "ActivationIds", "DefaultInstanceName", "IamRole":
		default:
			return nil, ssm.InvalidFilter("The filter key %s is not valid.", codec.Value(f.FilterKey))
		}
	}
	pg, err := s.pages.Open(ctx, "DescribeActivations", in, in.NextToken, in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeActivationsOutput{ActivationList: []ssm.Activation{}}
	now := s.now()
	err = s.store.View(ctx, func(tx *store.Tx) error {
		after := pg.At(0)
		for {
			rows, err := tx.Activations(sc, after, 200)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, a := range rows {
				if !activationMatches(in.Filters, a) {
					after = a.ID
					continue
				}
				if len(out.ActivationList) == pg.Size {
					out.NextToken = pg.Next(after)
					return nil
				}
				out.ActivationList = append(out.ActivationList, wireActivation(a, now))
				after = a.ID
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func activationMatches(filters []ssm.DescribeActivationsFilter, a store.Activation) bool {
	for _, f := range filters {
		v := map[string]string{"ActivationIds": a.ID, "DefaultInstanceName": a.DefaultInstanceName, "IamRole": a.IamRole}[codec.Value(f.FilterKey)]
		if !slices.Contains(f.FilterValues, v) {
			return false
		}
	}
	return true
}

func wireActivation(a store.Activation, now time.Time) ssm.Activation {
	out := ssm.Activation{
		ActivationId: &a.ID, IamRole: &a.IamRole, RegistrationLimit: &a.RegistrationLimit, RegistrationsCount: &a.RegistrationsCount,
		ExpirationDate: codec.NewTime(a.ExpiresAt), Expired: new(!a.ExpiresAt.After(now)), CreatedDate: codec.NewTime(a.CreatedAt),
	}
	if a.Description != "" {
		out.Description = &a.Description
	}
	if a.DefaultInstanceName != "" {
		out.DefaultInstanceName = &a.DefaultInstanceName
	}
	if err := json.Unmarshal([]byte(a.Tags), &out.Tags); err != nil {
		out.Tags = nil // written by CreateActivation; a damaged list must not hide the activation
	}
	return out
}

// DeleteActivation ends an activation; the nodes that registered with it stay.
func (s *Service) DeleteActivation(ctx context.Context, in *ssm.DeleteActivationInput) (*ssm.DeleteActivationOutput, error) {
	sc, id := store.ScopeOf(ctx), codec.Value(in.ActivationId)
	if !arn.IsUUID(id) {
		return nil, ssm.InvalidActivationId("The activation ID is not valid. Verify that you entered the correct ActivationId or ActivationCode and try again.")
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		ok, err := tx.DeleteActivation(sc, id)
		if err == nil && !ok {
			return ssm.InvalidActivation("The activation is not valid. The activation might have been deleted, or the ActivationId and the ActivationCode do not match.")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}
