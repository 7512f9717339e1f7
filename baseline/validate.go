package baseline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ValidationError is a fault of a baseline's content that the API answers as ValidationException.
type ValidationError struct{ Message string }

func (e *ValidationError) Error() string { return e.Message }

func invalid(format string, args ...any) error {
	return &ValidationError{Message: fmt.Sprintf(format, args...)}
}

var (
	namePattern   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_\-.]{3,128}$`) })
	sourcePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_\-.]{3,50}$`) })
)

// Validate checks the rules of content that the shapes of the API cannot express: which keys and values an operating
// system knows, and what excludes what. seen are products known beyond the static list (of registered nodes, of the
// catalogue). The error is a *ValidationError with the service's text.
func (b *Baseline) Validate(seen ...string) error {
	if !b.OperatingSystem.Valid() {
		return invalid("1 validation error detected: Value '%s' at 'operatingSystem' failed to satisfy constraint: Member must satisfy enum value set: %s",
			b.OperatingSystem, enumSet(OperatingSystems()))
	}
	if !namePattern().MatchString(b.Name) {
		return invalid(`1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: %s`,
			b.Name, `^[a-zA-Z0-9_\-.]{3,128}$`)
	}
	if err := b.validateLimits(); err != nil {
		return err
	}
	if err := validateGroup(b.OperatingSystem, b.GlobalFilters, seen); err != nil {
		return err
	}
	for i := range b.ApprovalRules.PatchRules {
		if err := b.ApprovalRules.PatchRules[i].validate(b.OperatingSystem, seen); err != nil {
			return err
		}
	}
	linux := b.OperatingSystem != Windows
	if !linux && b.ApprovedPatchesEnableNonSecurity {
		return invalid("ApprovedPatchesEnableNonSecurity is not supported for OperatingSystem: %s", b.OperatingSystem)
	}
	if (!linux || b.OperatingSystem == MacOS) && len(b.Sources) > 0 {
		return invalid("Sources are not supported for OperatingSystem: %s", b.OperatingSystem)
	}
	return b.validateSources()
}

func (b *Baseline) validateLimits() error {
	for _, l := range []struct {
		name      string
		have, max int
	}{
		{"ApprovedPatches", len(b.ApprovedPatches), 50},
		{"RejectedPatches", len(b.RejectedPatches), 50},
		{"ApprovalRules", len(b.ApprovalRules.PatchRules), 10},
		{"Sources", len(b.Sources), 20},
		{"GlobalFilters", len(b.GlobalFilters.PatchFilters), 4},
		{"Description", len(b.Description), 1024},
	} {
		if l.have > l.max {
			return invalid("%s holds %d, at most %d are allowed", l.name, l.have, l.max)
		}
	}
	for _, list := range [][]string{b.ApprovedPatches, b.RejectedPatches} {
		for _, e := range list {
			if len(e) == 0 || len(e) > 100 {
				return invalid("Patch id '%s' must have 1 to 100 characters", e)
			}
		}
	}
	if a := b.RejectedPatchesAction; a != "" && a != AllowAsDependency && a != Block {
		return invalid("Value '%s' at 'rejectedPatchesAction' must be one of ALLOW_AS_DEPENDENCY, BLOCK", a)
	}
	if s := b.AvailableSecurityUpdates; s != "" && s != "COMPLIANT" && s != "NON_COMPLIANT" {
		return invalid("Value '%s' at 'availableSecurityUpdatesComplianceStatus' must be one of COMPLIANT, NON_COMPLIANT", s)
	}
	return validLevel("approvedPatchesComplianceLevel", b.ApprovedPatchesComplianceLevel)
}

func validLevel(where string, l Level) error {
	if l == "" || slices.Contains(Levels(), l) {
		return nil
	}
	return invalid("Value '%s' at '%s' must be one of %s", l, where, enumSet(Levels()))
}

func (r *Rule) validate(os OS, seen []string) error {
	if (r.ApproveAfterDays == nil) == (r.ApproveUntilDate == "") {
		return invalid("Exactly one of ApproveAfterDays and ApproveUntilDate must be specified for an approval rule")
	}
	if d := r.ApproveAfterDays; d != nil && (*d < 0 || *d > 360) {
		return invalid("ApproveAfterDays must be between 0 and 360: %d", *d)
	}
	if r.ApproveUntilDate != "" {
		if _, err := time.Parse(time.DateOnly, r.ApproveUntilDate); err != nil {
			return invalid("ApproveUntilDate must be a date in the format YYYY-MM-DD: %s", r.ApproveUntilDate)
		}
	}
	if os == Windows && r.EnableNonSecurity {
		return invalid("EnableNonSecurity is not supported for OperatingSystem: %s", os)
	}
	if len(r.PatchFilterGroup.PatchFilters) > 4 {
		return invalid("A rule holds %d filters, at most 4 are allowed", len(r.PatchFilterGroup.PatchFilters))
	}
	if err := validLevel("complianceLevel", r.ComplianceLevel); err != nil {
		return err
	}
	return validateGroup(os, r.PatchFilterGroup, seen)
}

func validateGroup(os OS, g FilterGroup, seen []string) error {
	set := "OS"
	for _, f := range g.PatchFilters {
		if f.Key == "PATCH_SET" && slices.Contains(f.Values, "APPLICATION") {
			set = "APPLICATION"
		}
	}
	for _, f := range g.PatchFilters {
		if !slices.Contains(FilterKeys(os), f.Key) && f.Key != "PATCH_ID" {
			return invalid("Invalid Filter Key: %s for OperatingSystem: %s, valid keys are: %s", f.Key, os, strings.Join(FilterKeys(os), ", "))
		}
		if len(f.Values) == 0 || len(f.Values) > 20 {
			return invalid("Filter %s holds %d values, 1 to 20 are allowed", f.Key, len(f.Values))
		}
		for _, v := range f.Values {
			if len(v) == 0 || len(v) > 64 {
				return invalid("Value '%s' of filter %s must have 1 to 64 characters", v, f.Key)
			}
			if !knownValue(os, f.Key, v, set, seen) {
				return invalid("Invalid Filter Value: %s for Key: %s, valid values are: %s", v, f.Key, strings.Join(Properties(os, f.Key, set), ", "))
			}
		}
	}
	return nil
}

// knownValue reports whether a closed list holds v; open lists hold everything.
func knownValue(os OS, key, v, set string, seen []string) bool {
	fold := func(x string) bool { return strings.EqualFold(x, v) }
	if v == "*" {
		return true
	}
	switch key {
	case "PRODUCT":
		return os == Windows && set == "APPLICATION" || KnownProduct(os, v) || slices.ContainsFunc(seen, fold)
	case "CLASSIFICATION", "SEVERITY", "MSRC_SEVERITY", "PRIORITY", "PATCH_SET":
		return slices.ContainsFunc(Properties(os, key, set), fold) || key == "SEVERITY" && os.RPM() && (fold("Moderate") || fold("None"))
	}
	return true // PRODUCT_FAMILY, SECTION, PATCH_ID
}

func (b *Baseline) validateSources() error {
	for _, s := range b.Sources {
		switch {
		case !sourcePattern().MatchString(s.Name):
			return invalid("Source name '%s' must match ^[a-zA-Z0-9_\\-.]{3,50}$", s.Name)
		case len(s.Products) == 0 || len(s.Products) > 20:
			return invalid("Source %s names %d products, 1 to 20 are allowed", s.Name, len(s.Products))
		case s.Configuration == "" || len(s.Configuration) > 1024:
			return invalid("Configuration of source %s must have 1 to 1024 characters", s.Name)
		}
	}
	return nil
}

func enumSet[T ~string](values []T) string {
	var s []string
	for _, v := range values {
		s = append(s, string(v))
	}
	return "[" + strings.Join(s, ", ") + "]"
}
