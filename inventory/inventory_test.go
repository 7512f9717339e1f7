package inventory

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func filter(t *testing.T, key, op string, values ...string) Filter {
	t.Helper()
	f, err := ParseFilter(key, op, values)
	if err != nil || len(f) != 1 {
		t.Fatalf("ParseFilter(%s, %s) = %v, %v", key, op, f, err)
	}
	return f[0]
}

func TestMatch(t *testing.T) {
	deb := Entry{"Name": "openssl", "Version": "3.0.11-1~deb12u2", "Architecture": "amd64"}
	rpm := Entry{"Name": "openssl", "Epoch": "1", "Version": "3.0.7", "Release": "18.el9"}
	for _, tc := range []struct {
		name, key, op string
		values        []string
		entry         Entry
		want          bool
	}{
		{"equal_is_the_default", "AWS:Application.Name", "", []string{"curl", "openssl"}, deb, true},
		{"equal_of_an_absent_attribute", "AWS:Application.Release", "Equal", []string{""}, deb, false},
		{"not_equal_to_any", "AWS:Application.Name", "NotEqual", []string{"curl", "openssl"}, deb, false},
		{"not_equal_of_an_absent_attribute", "AWS:Application.Release", "NotEqual", []string{"1"}, deb, true},
		{"begin_with", "AWS:Application.Version", "BeginWith", []string{"3.0.11"}, deb, true},
		{"exists", "AWS:Application.Epoch", "Exists", []string{"true"}, deb, false},
		{"deb_version_is_not_text", "AWS:Application.Version", "LessThan", []string{"3.0.9"}, deb, false},
		{"deb_tilde_sorts_first", "AWS:Application.Version", "LessThan", []string{"3.0.11-1"}, deb, true},
		{"deb_epoch", "AWS:Application.Version", "LessThan", []string{"1:1.0"}, deb, true},
		{"rpm_version_alone", "AWS:Application.Version", "LessThan", []string{"3.0.10"}, rpm, true},
		{"rpm_release", "AWS:Application.Version", "LessThan", []string{"3.0.7-20.el9"}, rpm, true},
		{"rpm_same_release", "AWS:Application.Version", "LessThan", []string{"3.0.7-18.el9"}, rpm, false},
		{"rpm_epoch_of_both", "AWS:Application.Version", "GreaterThan", []string{"0:9.9"}, rpm, true},
		{"numbers", "AWS:InstanceDetailedInformation.CPUs", "GreaterThan", []string{"8"}, Entry{"CPUs": "16"}, true},
		{"times", "AWS:File.ModificationTime", "LessThan", []string{"2026-02-01T00:00:00Z"}, Entry{"ModificationTime": "2026-01-31T23:59:59Z"}, true},
		{"platform_version", "AWS:InstanceInformation.PlatformVersion", "LessThan", []string{"12"}, Entry{"PlatformVersion": "9.4"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := filter(t, tc.key, tc.op, tc.values...)
			if got := f.Match(tc.entry); got != tc.want {
				t.Errorf("%v on %v = %v, want %v", f, tc.entry, got, tc.want)
			}
		})
	}
}

func TestOneEntryMustPassAll(t *testing.T) {
	entries := []Entry{{"Name": "openssl", "Version": "3.0"}, {"Name": "bash", "Version": "1.0"}}
	older := []Filter{filter(t, "AWS:Application.Name", "", "openssl"), filter(t, "AWS:Application.Version", "LessThan", "2.0")}
	if got := MatchEntries(older, entries); got != nil {
		t.Errorf("an old bash makes an old openssl: %v", got)
	}
	without := []Filter{filter(t, "AWS:Application.Name", "NotEqual", "telnetd")}
	if got := MatchEntries(without, entries); len(got) != 2 {
		t.Errorf("a node without telnetd: %v", got)
	}
	if got := MatchEntries(without, append(entries, Entry{"Name": "telnetd"})); got != nil {
		t.Errorf("a node with telnetd: %v", got)
	}
	if got := MatchEntries(without, nil); got != nil {
		t.Errorf("a node that has reported nothing is not known to be without: %v", got)
	}
}

func TestFiltersThatAreRefused(t *testing.T) {
	for _, tc := range []struct {
		key, op string
		values  []string
		want    string
	}{
		{"AWS:Application", "Equal", []string{"x"}, "not of the form"},
		{"Name", "Equal", []string{"x"}, "not of the form"},
		{"AWS:Nothing.Name", "Equal", []string{"x"}, "no inventory type"},
		{"AWS:Application.Colour", "Equal", []string{"x"}, "no attribute"},
		{"AWS:Application.Name", "Like", []string{"x"}, "not known"},
		{"AWS:Application.Name", "Equal", nil, "no value"},
		{"Custom:rack.Name", "Equal", []string{"x"}, "no inventory type"},
		{"TypeName", "Equal", []string{"AWS:File"}, "Exists only"},
	} {
		if _, err := ParseFilter(tc.key, tc.op, tc.values); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseFilter(%s, %s, %v): %v, want %q", tc.key, tc.op, tc.values, err, tc.want)
		}
	}
	if f, err := ParseFilter("TypeName", "Exists", []string{"AWS:File", "Custom:Rack"}); err != nil || len(f) != 2 || f[1].Type != "Custom:Rack" {
		t.Errorf("TypeName: %v, %v", f, err)
	}
}

// The quick look at the text says no only where the slow one does.
func FuzzMayMatch(f *testing.F) {
	f.Add("Name", "a\"b\\c<é\u2028", "a\"b\\c<é\u2028", "other")
	f.Add("Name", "", "x", "")
	f.Fuzz(func(t *testing.T, attribute, a, b, want string) {
		entries := []Entry{{attribute: a}, {attribute: b, "Version": want}}
		text, err := json.Marshal(entries)
		if err != nil {
			t.Skip()
		}
		var read []Entry
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		filters := []Filter{{Type: "Custom:X", Attribute: attribute, Operator: Equal, Values: []string{want}}}
		if attribute != "" && len(MatchEntries(filters, read)) > 0 && !MayMatch(filters, text) {
			t.Errorf("MayMatch(%v, %s) = false, but an entry passes", filters, text)
		}
	})
}

func TestCounts(t *testing.T) {
	node := func(platform string, names ...string) map[string][]Entry {
		out := map[string][]Entry{InstanceInformation: {{"PlatformName": platform, "PlatformType": "Linux"}}}
		for _, n := range names {
			out["AWS:Application"] = append(out["AWS:Application"], Entry{"Name": n, "Version": "1"})
		}
		return out
	}
	fleet := []map[string][]Entry{node("Debian", "bash", "bash", "curl"), node("Debian", "bash"), node("SLES", "zypper"), node("SLES")}
	for _, tc := range []struct {
		name string
		a    Aggregator
		want []Entry
	}{
		{"one_attribute", Aggregator{Type: InstanceInformation, Attribute: "PlatformName"}, []Entry{{"PlatformName": "Debian", "Count": "2"}, {"PlatformName": "SLES", "Count": "2"}}},
		{"a_node_counts_once", Aggregator{Type: "AWS:Application", Attribute: "Name"}, []Entry{{"Name": "bash", "Count": "2"}, {"Name": "curl", "Count": "1"}, {"Name": "zypper", "Count": "1"}}},
		{
			"nested_of_another_type",
			Aggregator{Type: InstanceInformation, Attribute: "PlatformName", Nested: []Aggregator{{Type: "AWS:Application", Attribute: "Name"}}},
			[]Entry{{"PlatformName": "Debian", "Name": "bash", "Count": "2"}, {"PlatformName": "Debian", "Name": "curl", "Count": "1"}, {"PlatformName": "SLES", "Name": "zypper", "Count": "1"}},
		},
		{
			"groups",
			Aggregator{Groups: []Group{{"with bash", []Filter{filter(t, "AWS:Application.Name", "", "bash")}}, {"reports", []Filter{filter(t, "AWS:Application", "Exists", "true")}}}},
			[]Entry{{"Name": "with bash", "matchingCount": "2", "notMatchingCount": "2"}, {"Name": "reports", "matchingCount": "3", "notMatchingCount": "1"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.a.Check(); err != nil {
				t.Fatal(err)
			}
			c := NewCounter(tc.a)
			for _, n := range fleet {
				if err := c.Add(n); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(tc.want, c.Rows()); d != "" {
				t.Errorf("rows (-want +got):\n%s", d)
			}
		})
	}
	for name, a := range map[string]Aggregator{
		"nothing":           {},
		"both":              {Type: "AWS:File", Attribute: "Name", Groups: []Group{{}}},
		"no_attribute":      {Type: "AWS:File"},
		"unknown_attribute": {Type: "AWS:File", Attribute: "Colour"},
		"nested_groups":     {Type: "AWS:File", Attribute: "Name", Nested: []Aggregator{{Groups: []Group{{}}}}},
	} {
		if a.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestSchemaVersions(t *testing.T) {
	if CompareVersions("1.10", "1.9") <= 0 || CompareVersions("2.0", "10.0") >= 0 || CompareVersions("1.0", "1.0") != 0 {
		t.Error("versions of schemas are compared as text")
	}
}
