// Package setting serves the service settings of an account and region: values that change how an installation behaves.
// Settings is the list of all there are. Start with Service.
package setting

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"oakum.dev/arn"
	"oakum.dev/awserr"
	"oakum.dev/iam"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// PublicSharing says whether documents may be shared with everybody: Enable or Disable.
const PublicSharing = "/ssm/documents/console/public-sharing-permission"

// Setting is one that can be asked for.
type Setting struct {
	ID      string
	Default string
	Values  []string // that it can have; nil: any that Pattern takes
	Pattern *regexp.Regexp
	// Effective reports that it changes what this server does; the others are kept for those who ask.
	Effective bool
}

// Settings are all there are. Source: the ids that UpdateServiceSetting names in the AWS Systems Manager API reference.
var Settings = sync.OnceValue(func() []Setting {
	return []Setting{
		{ID: "/ssm/automation/customer-script-log-destination", Default: "None", Values: []string{"CloudWatch", "None"}},
		{ID: "/ssm/automation/customer-script-log-group-name", Default: "/aws/ssm/automation/executeScript", Pattern: regexp.MustCompile(`^[A-Za-z0-9_./#-]{1,512}$`)},
		{ID: PublicSharing, Default: "Enable", Values: []string{"Disable", "Enable"}, Effective: true},
		{ID: "/ssm/managed-instance/activation-tier", Default: "standard", Values: []string{"advanced", "standard"}},
		{ID: "/ssm/managed-instance/default-ec2-instance-management-role", Default: "$None", Pattern: regexp.MustCompile(`^(\$None|[A-Za-z0-9+=,.@_/-]{1,512})$`)},
		{ID: "/ssm/opsinsights/opscenter", Default: "Disabled", Values: []string{"Disabled", "Enabled"}},
		{ID: "/ssm/parameter-store/default-parameter-tier", Default: "Standard", Values: []string{"Advanced", "Intelligent-Tiering", "Standard"}},
		{ID: "/ssm/parameter-store/high-throughput-enabled", Default: "false", Values: []string{"false", "true"}},
	}
})

// Service serves settings. It is safe for concurrent use.
type Service struct{ store *store.Store }

// New returns the service.
func New(st *store.Store) *Service { return &Service{store: st} }

// find returns the setting that text, an id or an ARN of the scope, names.
func find(sc store.Scope, text string) (Setting, error) {
	id := text
	if a, err := arn.Parse(text); err == nil && a.Service == "ssm" && a.Account == sc.Account && a.Region == sc.Region {
		id, _ = strings.CutPrefix(a.Resource, "servicesetting")
	}
	for _, s := range Settings() {
		if s.ID == id {
			return s, nil
		}
	}
	return Setting{}, ssm.ServiceSettingNotFound("Setting with ID %s not found.", text)
}

func (s *Setting) check(value string) error {
	switch {
	case s.Values != nil && !slices.Contains(s.Values, value):
		return awserr.Validation("The value of %s must be one of: %s", s.ID, strings.Join(s.Values, ", "))
	case s.Pattern != nil && !s.Pattern.MatchString(value):
		return awserr.Validation("The value of %s must satisfy regular expression pattern: %s", s.ID, s.Pattern)
	}
	return nil
}

// answer is a setting as it is: changed by row, or with its default.
func (s *Setting) answer(sc store.Scope, row store.ServiceSetting, changed bool) *ssm.ServiceSetting {
	out := &ssm.ServiceSetting{
		SettingId: &s.ID, SettingValue: &s.Default, Status: new("Default"), LastModifiedUser: new("System"),
		ARN: new(arn.Resource("servicesetting", s.ID, sc.Account, sc.Region)),
	}
	if changed {
		out.SettingValue, out.Status, out.LastModifiedUser, out.LastModifiedDate = &row.Value, new("Customized"), &row.ModifiedBy, codec.NewTime(row.ModifiedAt)
	}
	return out
}

// GetServiceSetting answers a setting.
func (s *Service) GetServiceSetting(ctx context.Context, in *ssm.GetServiceSettingInput) (*ssm.GetServiceSettingOutput, error) {
	sc := store.ScopeOf(ctx)
	setting, err := find(sc, codec.Value(in.SettingId))
	if err != nil {
		return nil, err
	}
	out := &ssm.GetServiceSettingOutput{}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.ServiceSetting(sc, setting.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		out.ServiceSetting = setting.answer(sc, row, err == nil)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateServiceSetting changes a setting, at once.
func (s *Service) UpdateServiceSetting(ctx context.Context, in *ssm.UpdateServiceSettingInput) (*ssm.UpdateServiceSettingOutput, error) {
	sc := store.ScopeOf(ctx)
	setting, err := find(sc, codec.Value(in.SettingId))
	if err != nil {
		return nil, err
	}
	if err := setting.check(codec.Value(in.SettingValue)); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.PutServiceSetting(sc, store.ServiceSetting{ID: setting.ID, Value: codec.Value(in.SettingValue), ModifiedAt: tx.Now(), ModifiedBy: iam.PrincipalFrom(ctx).ARN})
	})
	if err != nil {
		return nil, err
	}
	return nil, nil
}

// ResetServiceSetting puts a setting back to its default, at once.
func (s *Service) ResetServiceSetting(ctx context.Context, in *ssm.ResetServiceSettingInput) (*ssm.ResetServiceSettingOutput, error) {
	sc := store.ScopeOf(ctx)
	setting, err := find(sc, codec.Value(in.SettingId))
	if err != nil {
		return nil, err
	}
	if err := s.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteServiceSetting(sc, setting.ID) }); err != nil {
		return nil, err
	}
	return &ssm.ResetServiceSettingOutput{ServiceSetting: setting.answer(sc, store.ServiceSetting{}, false)}, nil
}

// PublicSharingAllowed reports whether documents may be shared with everybody.
func PublicSharingAllowed(tx *store.Tx, sc store.Scope) (bool, error) {
	row, err := tx.ServiceSetting(sc, PublicSharing)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return row.Value != "Disable", err
}
