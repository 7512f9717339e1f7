// Package inventory knows AWS's inventory types and answers questions about entries: filters, comparisons, groups and
// counts. It is pure: where entries come from is the business of its callers. Start with Filter and Aggregator.
package inventory

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Entry is one entry of an inventory type: attributes by their names.
type Entry = map[string]string

// Type is an inventory type with its attributes.
type Type struct {
	Name       string
	Version    string // of the schema
	Attributes []Attribute
	// Aggregates are the attributes by which nodes are usually counted.
	Aggregates []string
	// SubTypes reports that entries come with a context that says what they are of.
	SubTypes bool
}

// Attribute is an attribute of a type. Values of a Number are still written as strings.
type Attribute struct {
	Name   string
	Number bool
}

// The types that are made from what else is known of a node.
const (
	InstanceInformation = "AWS:InstanceInformation"
	PatchSummary        = "AWS:PatchSummary"
	PatchCompliance     = "AWS:PatchCompliance"
	ComplianceItem      = "AWS:ComplianceItem"
	ComplianceSummary   = "AWS:ComplianceSummary"
	Tag                 = "AWS:Tag"
	ResourceGroup       = "AWS:ResourceGroup"
)

// attributes reads a list of names, of which those that end in # are numbers.
func attributes(text string) []Attribute {
	var out []Attribute
	for name := range strings.FieldsSeq(text) {
		bare, number := strings.CutSuffix(name, "#")
		out = append(out, Attribute{bare, number})
	}
	return out
}

// types are AWS's inventory types. Source: AWS Systems Manager User Guide, "Metadata collected by inventory".
var types = sync.OnceValue(func() []Type {
	counts := ""
	for _, side := range []string{"Compliant", "NonCompliant"} {
		for _, level := range []string{"Critical", "High", "Medium", "Low", "Informational", "Unspecified"} {
			counts += " " + side + level + "Count#"
		}
	}
	all := []Type{
		{Name: "AWS:AWSComponent", Version: "1.0", Attributes: attributes("Name ApplicationType Publisher Version InstalledTime Architecture URL"), Aggregates: []string{"Name", "Version"}},
		{Name: "AWS:Application", Version: "1.1", Attributes: attributes("Name ApplicationType Publisher Version Release Epoch InstalledTime Architecture URL Summary PackageId"), Aggregates: []string{"Name", "Version", "Publisher"}},
		{Name: "AWS:BillingInfo", Version: "1.0", Attributes: attributes("BillingProductId"), Aggregates: []string{"BillingProductId"}},
		{Name: ComplianceItem, Version: "1.0", Attributes: attributes("ComplianceType ExecutionId ExecutionType ExecutionTime Id Title Status Severity DocumentName DocumentVersion Classification PatchBaselineId PatchSeverity PatchState PatchGroup InstalledTime InstallOverrideList DetailedText DetailedLink CVEIds"), Aggregates: []string{"ComplianceType", "Status", "Severity", "PatchState"}, SubTypes: true},
		{Name: ComplianceSummary, Version: "1.0", Attributes: attributes("ComplianceType PatchGroup PatchBaselineId Status OverallSeverity ExecutionId ExecutionType ExecutionTime" + counts), Aggregates: []string{"ComplianceType", "Status", "OverallSeverity"}, SubTypes: true},
		{Name: "AWS:File", Version: "1.0", Attributes: attributes("Name Size Description FileVersion InstalledDate ModificationTime LastAccessTime ProductName InstalledDir ProductLanguage CompanyName ProductVersion"), Aggregates: []string{"Name"}},
		{Name: "AWS:InstanceDetailedInformation", Version: "1.0", Attributes: attributes("CPUModel CPUCores# CPUs# CPUSpeedMHz# CPUSockets# CPUHyperThreadEnabled OSServicePack KernelVersion"), Aggregates: []string{"CPUModel", "KernelVersion"}},
		{Name: InstanceInformation, Version: "1.0", Attributes: attributes("AgentType AgentVersion ComputerName InstanceId IpAddress PlatformName PlatformType PlatformVersion ResourceType AgentStatus InstanceStatus"), Aggregates: []string{"PlatformName", "PlatformType", "PlatformVersion"}},
		{Name: "AWS:Network", Version: "1.0", Attributes: attributes("Name SubnetMask Gateway DHCPServer DNSServer MacAddress IPV4 IPV6"), Aggregates: []string{"Gateway", "DNSServer"}},
		{Name: PatchCompliance, Version: "1.0", Attributes: attributes("Title KBId Classification Severity State InstalledTime"), Aggregates: []string{"State", "Severity", "Classification"}},
		{Name: PatchSummary, Version: "1.0", Attributes: attributes("PatchGroup BaselineId SnapshotId OwnerInformation InstalledCount# InstalledPendingRebootCount# InstalledOtherCount# InstalledRejectedCount# NotApplicableCount# UnreportedNotApplicableCount# MissingCount# FailedCount# OperationType OperationStartTime OperationEndTime InstallOverrideList RebootOption LastNoRebootInstallOperationTime ExecutionId NonCompliantSeverity SecurityNonCompliantCount# CriticalNonCompliantCount# OtherNonCompliantCount# AvailableSecurityUpdateCount#"), Aggregates: []string{"PatchGroup", "BaselineId"}},
		{Name: "AWS:Process", Version: "1.0", Attributes: attributes("StartTime CommandLine User FileName FileVersion FileDescription FileSize CompanyName ProductName ProductVersion InstalledDate InstalledDir UsageId"), Aggregates: []string{"FileName"}},
		{Name: ResourceGroup, Version: "1.0", Attributes: attributes("Name Arn"), Aggregates: []string{"Name"}},
		{Name: "AWS:Service", Version: "1.0", Attributes: attributes("Name DisplayName ServiceType Status DependentServices ServicesDependedOn StartType"), Aggregates: []string{"Name", "Status", "StartType"}},
		{Name: Tag, Version: "1.0", Attributes: attributes("Key Value"), Aggregates: []string{"Key", "Value"}},
		{Name: "AWS:WindowsRegistry", Version: "1.0", Attributes: attributes("KeyPath ValueName ValueType Value"), Aggregates: []string{"KeyPath", "ValueName"}},
		{Name: "AWS:WindowsRole", Version: "1.0", Attributes: attributes("Name DisplayName Path FeatureType DependsOn Description Installed InstalledState SubFeatures ServerComponentDescriptor Parent"), Aggregates: []string{"Name", "Installed"}},
		{Name: "AWS:WindowsUpdate", Version: "1.0", Attributes: attributes("HotFixId Description InstalledTime InstalledBy"), Aggregates: []string{"HotFixId"}},
	}
	slices.SortFunc(all, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return all
})

// Types returns AWS's inventory types by their names.
func Types() []Type { return slices.Clone(types()) }

// Lookup finds one of AWS's types.
func Lookup(name string) (Type, bool) {
	for _, t := range types() {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}

var awsName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\AAWS:[A-Z][A-Za-z0-9]*\z`) })

// IsName reports whether a name can be that of a type that a node reports: a custom type, or one of AWS's, also one that
// is newer than Types.
func IsName(name string) bool {
	return IsCustom(name) || len(name) <= maxNameLength && awsName().MatchString(name)
}

var customName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\ACustom:[A-Z][A-Za-z0-9_\-]*\z`) })

// maxNameLength is the longest name of a type.
const maxNameLength = 100

// IsCustom reports whether a name can be that of a custom type: Custom: and a word that begins with a capital letter.
func IsCustom(name string) bool { return len(name) <= maxNameLength && customName().MatchString(name) }

// CompareVersions orders versions of schemas, such as 1.0 and 1.10.
func CompareVersions(a, b string) int {
	am, an, _ := strings.Cut(a, ".")
	bm, bn, _ := strings.Cut(b, ".")
	number := func(s string) int { n, _ := strconv.Atoi(s); return n } // what is no number counts as 0
	if c := number(am) - number(bm); c != 0 {
		return c
	}
	return number(an) - number(bn)
}
