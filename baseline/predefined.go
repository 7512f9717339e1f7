package baseline

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
)

// Predefined is a baseline that every installation has, cannot change, and starts with as default.
type Predefined struct {
	Baseline
	Default bool     // of its operating system, until another is registered
	Aliases []string // ids and names under which scripts and tools know the same baseline
}

// PredefinedBaselines returns all predefined baselines. BaselineID is the bare id, stable over releases; the API
// shows it as arn:aws:ssm:REGION:ACCOUNT:patchbaseline/ID.
// Source: AWS Systems Manager User Guide, "About predefined patch baselines".
func PredefinedBaselines() []Predefined {
	list := slices.Clone(predefinedBaselines())
	for i := range list {
		list[i] = list[i].copied()
	}
	return list
}

// copied is p with rules of its own, so that a caller may change them.
func (p Predefined) copied() Predefined {
	p.ApprovalRules.PatchRules = slices.Clone(p.ApprovalRules.PatchRules)
	return p
}

var predefinedBaselines = sync.OnceValue(func() []Predefined {
	seven, zero := 7, 0
	security := func(severities ...string) Rule {
		return Rule{
			PatchFilterGroup: group("PRODUCT", "*").and("CLASSIFICATION", "Security").and("SEVERITY", severities...),
			ApproveAfterDays: &seven, ComplianceLevel: Unspecified,
		}
	}
	bugfix := Rule{PatchFilterGroup: group("PRODUCT", "*").and("CLASSIFICATION", "Bugfix"), ApproveAfterDays: &seven, ComplianceLevel: Unspecified}
	usual := []Rule{security("Critical", "Important"), bugfix}
	apt := []Rule{{
		PatchFilterGroup: group("PRODUCT", "*").and("PRIORITY", "Required", "Important", "Standard", "Optional", "Extra"),
		ApproveAfterDays: &zero, ComplianceLevel: Unspecified,
	}}
	windowsOS := Rule{
		PatchFilterGroup: group("PATCH_SET", "OS").and("PRODUCT", "*").and("CLASSIFICATION", "CriticalUpdates", "SecurityUpdates").
			and("MSRC_SEVERITY", "Critical", "Important"),
		ApproveAfterDays: &seven, ComplianceLevel: Unspecified,
	}
	applications := Rule{PatchFilterGroup: group("PATCH_SET", "APPLICATION").and("PRODUCT", "*"), ApproveAfterDays: &seven, ComplianceLevel: Unspecified}
	everything := Rule{PatchFilterGroup: group("PRODUCT", "*"), ApproveAfterDays: &seven, ComplianceLevel: Unspecified, EnableNonSecurity: true}
	mac := Rule{PatchFilterGroup: group("PRODUCT", "*"), ApproveAfterDays: &zero, ComplianceLevel: Unspecified, EnableNonSecurity: true}

	return []Predefined{
		predefined("AWS-AlmaLinuxDefaultPatchBaseline", AlmaLinux, "AlmaLinux", usual, "pb-0cb0c4966f86b059b"),
		predefined("AWS-AmazonLinuxDefaultPatchBaseline", AmazonLinux, "Amazon Linux", usual, "pb-0c10e657807c7a700"),
		predefined("AWS-AmazonLinux2DefaultPatchBaseline", AmazonLinux2, "Amazon Linux 2", usual, "pb-0be8c61cde3be63f3"),
		predefined("AWS-AmazonLinux2022DefaultPatchBaseline", AmazonLinux2022, "Amazon Linux 2022", usual, "pb-0028ca011460d5eaf"),
		predefined("AWS-AmazonLinux2023DefaultPatchBaseline", AmazonLinux2023, "Amazon Linux 2023", usual, "pb-05c9c9bf778d4c4d0"),
		predefined("AWS-CentOSDefaultPatchBaseline", CentOS, "CentOS", []Rule{everything}, "pb-03e3f588eec25344c"),
		predefined("AWS-DebianDefaultPatchBaseline", Debian, "Debian", apt, "pb-09a5f8eb62bde80b1"),
		predefined("AWS-MacOSDefaultPatchBaseline", MacOS, "macOS", []Rule{mac}, "pb-0ee4f94581368c0d4"),
		predefined("AWS-OracleLinuxDefaultPatchBaseline", OracleLinux, "Oracle Linux", []Rule{security("Important", "Moderate"), bugfix}, "pb-06bff38e95fe85c02"),
		predefined("AWS-DefaultRaspbianPatchBaseline", Raspbian, "Raspberry Pi OS", apt, "pb-0ec16280999c5c75e", "AWS-RaspbianDefaultPatchBaseline"),
		predefined("AWS-RedHatDefaultPatchBaseline", RedHat, "Red Hat Enterprise Linux", usual, "pb-0cbb3a633de00f07c"),
		predefined("AWS-RockyLinuxDefaultPatchBaseline", RockyLinux, "Rocky Linux", usual, "pb-03ec98bc512aa3ac0"),
		predefined("AWS-SuseDefaultPatchBaseline", SUSE, "SUSE", []Rule{security("Critical", "Important")}, "pb-07d8884178197b66b"),
		predefined("AWS-UbuntuDefaultPatchBaseline", Ubuntu, "Ubuntu", apt, "pb-0c7e89f711c3095f4"),
		predefined("AWS-DefaultPatchBaseline", Windows, "Windows", []Rule{windowsOS}, "pb-09ca3fb51f0412ec3"),
		notDefault(predefined("AWS-WindowsPredefinedPatchBaseline-OS", Windows, "Windows", []Rule{windowsOS})),
		notDefault(predefined("AWS-WindowsPredefinedPatchBaseline-OS-Applications", Windows, "Windows", []Rule{windowsOS, applications})),
	}
})

func predefined(name string, os OS, title string, rules []Rule, aliases ...string) Predefined {
	sum := sha256.Sum256([]byte("oakum predefined patch baseline " + name))
	return Predefined{
		Baseline: Baseline{
			BaselineID: "pb-" + hex.EncodeToString(sum[:])[:17], OperatingSystem: os, Name: name,
			Description:   "Default Patch Baseline for " + title + " Provided by AWS.",
			GlobalFilters: FilterGroup{PatchFilters: []Filter{}}, ApprovalRules: RuleGroup{PatchRules: rules},
			ApprovedPatchesComplianceLevel: Unspecified, RejectedPatchesAction: AllowAsDependency,
		},
		Default: true, Aliases: aliases,
	}
}

func notDefault(p Predefined) Predefined {
	p.Default = false
	return p
}

func group(key string, values ...string) FilterGroup { return FilterGroup{}.and(key, values...) }

func (g FilterGroup) and(key string, values ...string) FilterGroup {
	return FilterGroup{PatchFilters: append(append([]Filter{}, g.PatchFilters...), Filter{Key: key, Values: values})}
}

// DefaultFor returns the predefined default baseline of an operating system.
func DefaultFor(os OS) (Predefined, bool) {
	for _, p := range predefinedBaselines() {
		if p.OperatingSystem == os && p.Default {
			return p.copied(), true
		}
	}
	return Predefined{}, false
}

// FindPredefined returns the predefined baseline with the given bare id, name or alias.
func FindPredefined(idOrName string) (Predefined, bool) {
	if i := indexPredefined(idOrName); i >= 0 {
		return predefinedBaselines()[i].copied(), true
	}
	return Predefined{}, false
}

// IsPredefined reports whether FindPredefined would find one.
func IsPredefined(idOrName string) bool { return indexPredefined(idOrName) >= 0 }

func indexPredefined(idOrName string) int {
	return slices.IndexFunc(predefinedBaselines(), func(p Predefined) bool {
		return p.BaselineID == idOrName || p.Name == idOrName || slices.Contains(p.Aliases, idOrName)
	})
}
