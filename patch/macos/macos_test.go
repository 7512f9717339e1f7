package macos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/macos"
)

func now() time.Time { return time.Date(2026, 7, 14, 9, 0, 0, 0, time.UTC) }

func data(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mac answers programs with recorded output. A program that it does not know fails.
type mac struct {
	t        *testing.T
	silicon  bool
	version  string
	lists    []string // of softwareupdate --list; the last one stays
	outdated string
	says     string // what an installation prints
	ran      []string
	commands []patch.Command
}

func (m *mac) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	line := c.Path + " " + strings.Join(c.Args, " ")
	m.ran = append(m.ran, line)
	m.commands = append(m.commands, c)
	if strings.Contains(line, "/bin/brew") && !strings.HasPrefix(line, "/usr/bin/sudo -n -H -u ada -- /usr/bin/env ") {
		m.t.Errorf("Homebrew does not run as its owner: %s", line)
	}
	text := ""
	switch {
	case strings.HasSuffix(c.Path, "sw_vers"):
		text = "ProductName:\t\tmacOS\nProductVersion:\t\t" + m.version + "\nBuildVersion:\t\t22G820\n"
	case strings.Contains(line, "hw.optional.arm64"):
		text = map[bool]string{true: "1\n", false: "0\n"}[m.silicon]
	case strings.Contains(line, "kern.boottime"):
		text = "{ sec = 1770000000, usec = 5 } Mon Feb  2 02:40:00 2026\n"
	case strings.HasSuffix(line, "softwareupdate --list"):
		text = m.lists[0]
		if len(m.lists) > 1 {
			m.lists = m.lists[1:]
		}
	case strings.HasSuffix(line, "softwareupdate --history"):
		text = data(m.t, "history.txt")
	case strings.Contains(line, "softwareupdate --install"), strings.Contains(line, "brew upgrade"):
		fmt.Fprint(c.Log, m.says)
	case strings.Contains(line, "brew info"):
		text = data(m.t, "brew-info.json")
	case strings.Contains(line, "brew outdated"):
		text = m.outdated
	case strings.Contains(line, "brew update"):
	default:
		return patch.Output{Code: 1, Stderr: []byte("no such setting")}, nil
	}
	return patch.Output{Stdout: []byte(text)}, nil
}

func newMac(t *testing.T) *mac {
	return &mac{t: t, version: "13.6.8", lists: []string{data(t, "list-new.txt")}, outdated: data(t, "brew-outdated.json")}
}

func root(t *testing.T, more map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{
		"Library/Receipts/InstallHistory.plist":             {Data: []byte(data(t, "InstallHistory.plist"))},
		"private/var/db/receipts/com.example.tool.plist":    {Data: []byte(`<plist version="1.0"><dict><key>PackageIdentifier</key><string>com.example.tool</string><key>PackageVersion</key><string>2.0</string><key>InstallDate</key><date>2026-01-01T00:00:00Z</date><key>InstallProcessName</key><string>installer</string></dict></plist>`)},
		"private/var/db/receipts/com.example.backup.plist":  {Data: []byte(`<plist version="1.0"><dict><key>PackageIdentifier</key><string>com.example.backup</string><key>PackageVersion</key><string>4.2</string></dict></plist>`)},
		"private/var/db/receipts/com.example.backup.bom":    {Data: []byte("BOMStore")},
		"private/var/db/receipts/com.example.damaged.plist": {Data: []byte("bplist00\xff\xff")},
		"opt/homebrew/bin/brew":                             {Data: []byte("#!")},
	}
	for name, text := range more {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func engine(t *testing.T, m *mac, more map[string]string) *patch.Engine {
	mgr := macos.New(macos.Config{Exec: m, FS: root(t, more), Owner: func(string) (string, error) { return "ada", nil }, Now: now, Root: true})
	return &patch.Engine{Manager: mgr, Now: now, StateDir: t.TempDir(), BootID: "first"}
}

func all(nonSecurity bool) *baseline.Baseline {
	n := 0
	return &baseline.Baseline{OperatingSystem: baseline.MacOS, Name: "all", ApprovalRules: baseline.RuleGroup{PatchRules: []baseline.Rule{{ApproveAfterDays: &n, EnableNonSecurity: nonSecurity}}}}
}

func states(res *compliance.Result) map[string]string {
	out := map[string]string{}
	for i := range res.Items {
		it := &res.Items[i]
		out[it.Title] = strings.TrimSpace(it.ID + " " + string(it.State) + " " + it.Classification + " " + it.Reason)
	}
	return out
}

// TestScan has every state that a Mac can have, with its titles and ids.
func TestScan(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		silicon     bool
		nonSecurity bool
		differs     map[string]string
	}{
		{"intel", false, true, nil},
		{"Trap_X1_apple_silicon", true, true, map[string]string{
			"macOS Rapid Security Response 13.6.8 (a).13.6.8 (a)": "macOS Rapid Security Response 13.6.8 (a) Missing softwareupdate authorization",
		}},
		{"security_only", false, false, map[string]string{
			"Printer Drivers, Europe.5.1": "", "Pro Video Formats.2.3": "", "openssl@3.3.4.0": "", "wget.1.25.0": "", "firefox.128.0": "", "jq.1.7.1": "jq InstalledOther",
			"openssl@3.3.3.1": "openssl@3 InstalledOther  notSecurity", "wget.1.24.5": "wget InstalledOther  notSecurity", "firefox.127.0": "firefox InstalledOther  notSecurity",
			"Backup Client.4.2": "Backup Client InstalledOther", "com.example.tool.2.0": "com.example.tool InstalledOther", "macOS.13.6.8": "macOS InstalledOther  osUpgrade",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMac(t)
			m.silicon = tc.silicon
			res, err := engine(t, m, nil).Scan(t.Context(), patch.ScanRequest{Baseline: all(tc.nonSecurity), Refresh: true})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{
				"Safari.17.6": "Safari Missing softwareupdate", "Command Line Tools for Xcode.15.3": "Command Line Tools for Xcode Missing softwareupdate",
				"macOS Rapid Security Response 13.6.8 (a).13.6.8 (a)": "macOS Rapid Security Response 13.6.8 (a) Missing softwareupdate",
				"Printer Drivers, Europe.5.1":                         "Printer Drivers, Europe Missing softwareupdate deferred", "Pro Video Formats.2.3": "Pro Video Formats Missing softwareupdate",
				"XProtectPlistConfigData.2171": "XProtectPlistConfigData Installed softwareupdate", "MRTConfigData.1.93": "MRTConfigData Installed softwareupdate",
				"Backup Client.4.2": "Backup Client Installed installer", "com.example.tool.2.0": "com.example.tool Installed installer",
				"macOS.13.6.8": "macOS Installed softwareupdate osUpgrade", "openssl@3.3.4.0": "openssl@3 Missing brew", "wget.1.25.0": "wget Missing brew held",
				"jq.1.7.1": "jq Installed brew", "firefox.128.0": "firefox Missing brew cask",
			}
			for k, v := range tc.differs {
				if want[k] = v; v == "" {
					delete(want, k)
				}
			}
			if diff := cmp.Diff(want, states(res)); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
			if res.Header.Product != "Ventura13.6" || !slices.ContainsFunc(res.Header.Degraded, func(s string) bool { return strings.Contains(s, "does not upgrade the system") }) ||
				!slices.ContainsFunc(res.Header.Degraded, func(s string) bool { return strings.Contains(s, "damaged") }) {
				t.Errorf("product %s, degraded %q", res.Header.Product, res.Header.Degraded)
			}
		})
	}
}

// TestInstall lists again before it installs, by the label of that moment, and lets Homebrew's owner upgrade.
//
// Trap X2: labels have blanks in them and change between two lists.
func TestTrap_X2_ListedAgain(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	first := m.lists[0]
	second := strings.ReplaceAll(first, "* Label: Command Line Tools for Xcode-15.3", "* Label: Command Line Tools for Xcode 15.3 seed-15.3")
	second = strings.ReplaceAll(second, "* Label: ProVideoFormats-2.3\n\tTitle: Pro Video Formats, Version: 2.3, Size: 8000K, Recommended: NO, \n", "")
	after := "Software Update Tool\n\nFinding available software\nNo new software available.\n"
	m.lists = []string{first, second, second, after} // what has gone is planned without, and listed again
	in, err := engine(t, m, nil).Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(true), RebootOption: patch.NoReboot}})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(m.ran, func(s string) bool { return strings.Contains(s, "softwareupdate --install") })
	if i < 0 {
		t.Fatalf("nothing was installed: %v", m.ran)
	}
	want := []string{"--install", "Command Line Tools for Xcode 15.3 seed-15.3", "Safari17.6VenturaAuto-17.6", "macOS Rapid Security Response 13.6.8 (a)-22G829a", "--agree-to-license"}
	if !slices.Equal(m.commands[i].Args, want) || !m.commands[i].Lasting {
		t.Errorf("installed with %q, want %q", m.commands[i].Args, want)
	}
	for _, brew := range []string{"/opt/homebrew/bin/brew upgrade --formula -- openssl@3", "/opt/homebrew/bin/brew upgrade --cask -- firefox"} {
		if !slices.ContainsFunc(m.ran, func(s string) bool { return strings.HasSuffix(s, brew) }) {
			t.Errorf("no %q among %q", brew, m.ran)
		}
	}
	got := states(in.Result)
	if got["Pro Video Formats.2.3"] != "" || in.Run.Failed["Pro Video Formats."].Detail != "Pro Video Formats 2.3: Software Update does not offer it any more" {
		t.Errorf("what has gone: %q, %+v", got["Pro Video Formats.2.3"], in.Run.Failed)
	}
	if got["openssl@3.3.4.0"] != "openssl@3 Failed brew installFailed" { // the recorded Homebrew did nothing
		t.Errorf("openssl is %q", got["openssl@3.3.4.0"])
	}
	if !slices.ContainsFunc(in.Run.Changed, func(c patch.Change) bool { return c.Name == "Safari" && c.Old == "17.5" && c.New == "17.6" }) {
		t.Errorf("changed %+v", in.Run.Changed)
	}
}

// Trap X1: what needs an owner of the volume is not tried, and a refusal that ends with 0 is a failure.
func TestTrap_X1_Authorization(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	m.silicon, m.says = true, "Downloading Safari\nFailed to authenticate\n"
	in, err := engine(t, m, nil).Install(t.Context(), patch.InstallRequest{ScanRequest: patch.ScanRequest{Baseline: all(false), RebootOption: patch.NoReboot}})
	if err != nil {
		t.Fatal(err)
	}
	got := states(in.Result)
	if got["Safari.17.6"] != "Safari Failed softwareupdate installFailed" || got["macOS Rapid Security Response 13.6.8 (a).13.6.8 (a)"] != "macOS Rapid Security Response 13.6.8 (a) Missing softwareupdate authorization" {
		t.Errorf("states %v", got)
	}
	for _, line := range m.ran {
		if strings.Contains(line, "--install") && (strings.Contains(line, "Security Response") || strings.Contains(line, "--user") || strings.Contains(line, "--stdinpass")) {
			t.Errorf("ran %s", line)
		}
	}
}

// Trap X3: profiles that hide updates are told.
func TestTrap_X3_Deferrals(t *testing.T) {
	t.Parallel()
	res, err := engine(t, newMac(t), map[string]string{"Library/Managed Preferences/com.apple.applicationaccess.plist": data(t, "com.apple.applicationaccess.plist")}).
		Scan(t.Context(), patch.ScanRequest{Baseline: all(true)})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(res.Header.Degraded, "\n")
	for _, want := range []string{"hides updates of macOS for 14 days", "hides other updates of Apple's for 7 days"} {
		if !strings.Contains(text, want) {
			t.Errorf("degraded %q lacks %q", text, want)
		}
	}
}

// Trap X4: a macOS that is newer than this program is judged all the same.
func TestTrap_X4_NewerSystems(t *testing.T) {
	t.Parallel()
	for version, product := range map[string]string{"26.1": "Tahoe26.1", "31.0": "31.0", "10.15.7": "Catalina10.15"} {
		m := newMac(t)
		m.version = version
		res, err := engine(t, m, nil).Scan(t.Context(), patch.ScanRequest{Baseline: all(true)})
		if err != nil || res.Header.Product != product {
			t.Errorf("macOS %s: product %q, %v; want %q", version, res.Header.Product, err, product)
		}
	}
}

func TestListForms(t *testing.T) {
	t.Parallel()
	old, ok := macos.ParseList(data(t, "list-old.txt"))
	if diff := cmp.Diff([]macos.Item{
		{Label: "iPhoto-2.0", Title: "iPhoto", Version: "2.0", Size: 34100 << 10, Recommended: true},
		{Label: "iCal-1.0.2", Title: "iCal", Version: "1.0.2", Size: 6520 << 10},
		{Label: "AirPortSW-4.1", Title: "AirPort Software", Version: "4.1", Size: 13880 << 10, Recommended: true, Restart: true},
		{Label: "GatekeeperConfigData-164", Title: "Gatekeeper Configuration Data", Version: "164", Size: 3459 << 10, Recommended: true},
		{Label: "macOS 10.14.4 Update-", Title: "macOS 10.14.4 Update", Size: 2480000 << 10, Recommended: true, Restart: true},
	}, old); diff != "" || !ok {
		t.Errorf("old form %v (-want +got):\n%s", ok, diff)
	}
	newer, ok := macos.ParseList(data(t, "list-new.txt"))
	if len(newer) != 6 || !ok {
		t.Fatalf("new form: %d items, %v", len(newer), ok)
	}
	if diff := cmp.Diff(macos.Item{Label: "Printer Drivers, Europe-5.1", Title: "Printer Drivers, Europe", Version: "5.1", Size: 9000 << 10, Deferred: true}, newer[4]); diff != "" {
		t.Errorf("an item (-want +got):\n%s", diff)
	}
	for text, want := range map[string]bool{"Finding available software\nNo new software available.\n": true, "": false, "Can't connect to the Apple Software Update server": false} {
		if items, ok := macos.ParseList(text); ok != want || len(items) > 0 {
			t.Errorf("ParseList(%q) = %v, %v", text, items, ok)
		}
	}
}

// TestNoList: without an answer of Software Update nothing is judged.
func TestNoList(t *testing.T) {
	t.Parallel()
	m := newMac(t)
	m.lists = []string{"Can't connect to the Apple Software Update server, because of a network problem."}
	_, err := engine(t, m, nil).Scan(t.Context(), patch.ScanRequest{Baseline: all(true), Refresh: true})
	if pe, ok := errors.AsType[*patch.Error](err); !ok || pe.Reason != "REPO_METADATA" || !strings.Contains(pe.Error(), "network problem") {
		t.Errorf("Scan = %v", err)
	}
}

// TestWithoutHomebrew: its absence is fine, and one that belongs to root is left alone.
func TestHomebrewThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"absent": "", "of_root": "belongs to root"} {
		m := newMac(t)
		fsys := root(t, nil)
		if name == "absent" {
			delete(fsys, "opt/homebrew/bin/brew")
		}
		delete(fsys, "private/var/db/receipts/com.example.damaged.plist")
		mgr := macos.New(macos.Config{Exec: m, FS: fsys, Owner: func(string) (string, error) { return "", nil }, Now: now, Root: true})
		m.lists = []string{"No new software available."}
		res, err := (&patch.Engine{Manager: mgr, Now: now}).Scan(t.Context(), patch.ScanRequest{Baseline: all(true), Refresh: true})
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(res.Header.Degraded, ";"); (want == "") != (text == "") || !strings.Contains(text, want) {
			t.Errorf("%s: degraded %q", name, text)
		}
		for _, line := range m.ran {
			if strings.Contains(line, "brew") {
				t.Errorf("%s: ran %s", name, line)
			}
		}
	}
}

// TestEvidence goes by the boot.
func TestEvidence(t *testing.T) {
	t.Parallel()
	history := `<plist version="1.0"><array><dict><key>date</key><date>2026-06-01T00:00:00Z</date><key>displayName</key><string>Security Update 2026-003</string><key>displayVersion</key><string> </string><key>processName</key><string>softwareupdated</string></dict></array></plist>`
	got, _, err := engine(t, newMac(t), map[string]string{"Library/Receipts/InstallHistory.plist": history}).Manager.Evidence(t.Context(), nil)
	if err != nil || !got.Required || !strings.Contains(got.Reasons[0], "after the last boot") {
		t.Errorf("after the boot: %+v, %v", got, err)
	}
	got, _, err = engine(t, newMac(t), map[string]string{"Library/Receipts/InstallHistory.plist": strings.ReplaceAll(history, "2026-06", "2026-01")}).Manager.Evidence(t.Context(), nil)
	if err != nil || got.Required {
		t.Errorf("before the boot: %+v, %v", got, err)
	}
}

func FuzzParseList(f *testing.F) {
	for _, name := range []string{"list-old.txt", "list-new.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, s string) {
		items, _ := macos.ParseList(s)
		for _, i := range items {
			if i.Label == "" || i.Title == "" || i.Size < 0 {
				t.Errorf("%q yields %+v", s, i)
			}
		}
		macos.ParseHistory(s, time.UTC)
		_, _ = macos.ParseBrew(s, s)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`<plist version="1.0"><array><dict><key>date</key><date>2026-06-01T00:00:00Z</date></dict></array></plist>`))
	f.Add([]byte("bplist00\xd1\x01\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := fstest.MapFS{"Library/Receipts/InstallHistory.plist": {Data: b}}
		_, _ = macos.InstallHistory(fsys)
	})
}
