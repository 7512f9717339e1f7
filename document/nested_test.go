package document_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
)

func TestNested(t *testing.T) {
	for _, tc := range []struct {
		name   string
		inputs map[string]any
		want   document.Nested
		err    string
	}{
		{"name", map[string]any{"documentType": "SSMDocument", "documentPath": "Hook"}, document.Nested{Name: "Hook"}, ""},
		{"version", map[string]any{"documentType": "SSMDocument", "documentPath": " Hook:3 "}, document.Nested{Name: "Hook", Version: "3"}, ""},
		{"arn", map[string]any{"documentType": "SSMDocument", "documentPath": "arn:aws:ssm:us-east-1:111122223333:document/Hook"}, document.Nested{Name: "arn:aws:ssm:us-east-1:111122223333:document/Hook"}, ""},
		{
			"arn_and_version",
			map[string]any{"documentType": "SSMDocument", "documentPath": "arn:aws:ssm:us-east-1:111122223333:document/Hook:$LATEST"},
			document.Nested{Name: "arn:aws:ssm:us-east-1:111122223333:document/Hook", Version: "$LATEST"},
			"",
		},
		{"path", map[string]any{"documentType": "LocalPath", "documentPath": "C:/a:b"}, document.Nested{Path: "C:/a:b"}, ""},
		{"object", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": map[string]any{"a": "1"}}, document.Nested{Name: "H", Parameters: map[string]any{"a": "1"}}, ""},
		{"json", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": `{"a": ["1"]}`}, document.Nested{Name: "H", Parameters: map[string]any{"a": []any{"1"}}}, ""},
		{"yaml", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": "a: x\nb: [y]\n"}, document.Nested{Name: "H", Parameters: map[string]any{"a": "x", "b": []any{"y"}}}, ""},
		{"empty", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": " "}, document.Nested{Name: "H"}, ""},
		{"no_path", map[string]any{"documentType": "SSMDocument"}, document.Nested{}, "documentPath is empty"},
		{"no_type", map[string]any{"documentPath": "H"}, document.Nested{}, `documentType is SSMDocument or LocalPath, not ""`},
		{"list", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": []any{"a"}}, document.Nested{}, "documentParameters must be an object"},
		{"text_that_is_none", map[string]any{"documentType": "SSMDocument", "documentPath": "H", "documentParameters": "{"}, document.Nested{}, "documentParameters is not an object"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := document.Step{Name: "x", Properties: []map[string]any{tc.inputs}}.Nested()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("Nested = %+v, %v, want %s", got, err, tc.err)
				}
				return
			}
			if d := cmp.Diff(tc.want, got); d != "" || err != nil {
				t.Errorf("Nested: %v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestConvert(t *testing.T) {
	d, err := document.Parse([]byte(`{"schemaVersion":"2.2","parameters":{"S":{"type":"String","default":"d"},"L":{"type":"StringList","default":[]},"B":{"type":"Boolean","default":true},
		"I":{"type":"Integer","default":1},"M":{"type":"StringMap","default":{}},"R":{"type":"String","allowedValues":["x","y"]}},"mainSteps":[{"action":"a","name":"b"}]}`), document.JSON)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Convert(map[string]any{"S": json.Number("5"), "L": "one", "B": "TRUE", "I": "7", "M": `{"a":1}`, "R": []any{"x"}, "Unknown": "z"})
	want := document.Values{"S": "5", "L": []any{"one"}, "B": true, "I": json.Number("7"), "M": map[string]any{"a": json.Number("1")}, "R": "x"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Convert: %v (-want +got):\n%s", err, diff)
	}
	for name, given := range map[string]map[string]any{"missing": {}, "not_allowed": {"R": "z"}, "two": {"R": []any{"x", "y"}}, "no_number": {"R": "x", "I": "seven"}, "no_map": {"R": "x", "M": "a"}} {
		if got, err := d.Convert(given); err == nil {
			t.Errorf("%s: Convert = %v, want an error", name, got)
		}
	}
}

// What the hooks document does is in its text: this is what keeps its order and its failure rules.
func TestHooksDocument(t *testing.T) {
	b, _ := document.LookupBuiltin(document.RunPatchHooks)
	for _, tc := range []struct {
		name   string
		values document.Values
		ends   map[string]int // exit codes of steps, of those that are not 0
		runs   string
	}{
		{"scan", document.Values{"Operation": "Scan"}, map[string]int{"CheckState": 168}, "PatchScan CheckState"},
		{"scan_fails", document.Values{"Operation": "Scan"}, map[string]int{"PatchScan": 1}, "PatchScan"},
		{"nothing_to_do", document.Values{"Operation": "Install"}, map[string]int{"CheckState": 168}, "PatchScan CheckState OnExitHook"},
		{"scan_of_an_install_fails", document.Values{"Operation": "Install"}, map[string]int{"PatchScan": 1}, "PatchScan OnExitHook"},
		{"check_fails", document.Values{"Operation": "Install"}, map[string]int{"CheckState": 1}, "PatchScan CheckState OnExitHook"},
		{"pre_fails", document.Values{"Operation": "Install"}, map[string]int{"PreInstallHook": 1}, "PatchScan CheckState PreInstallHook OnExitHook"},
		{"install_fails", document.Values{"Operation": "Install"}, map[string]int{"InstallNoReboot": 1}, "PatchScan CheckState PreInstallHook InstallNoReboot OnExitHook"},
		{"post_fails", document.Values{"Operation": "Install"}, map[string]int{"PostInstallHook": 1}, "PatchScan CheckState PreInstallHook InstallNoReboot PostInstallHook OnExitHook"},
		{"no_reboot", document.Values{"Operation": "Install"}, map[string]int{"CheckReboot": 168}, "PatchScan CheckState PreInstallHook InstallNoReboot PostInstallHook CheckReboot OnExitHook"},
		{"all", document.Values{"Operation": "Install"}, nil, "PatchScan CheckState PreInstallHook InstallNoReboot PostInstallHook CheckReboot RebootAndReport OnExitHook"},
		{"reboot_fails", document.Values{"Operation": "Install"}, map[string]int{"RebootAndReport": 1}, "PatchScan CheckState PreInstallHook InstallNoReboot PostInstallHook CheckReboot RebootAndReport OnExitHook"},
	} {
		for _, p := range []document.Platform{document.Linux, document.MacOS, document.Windows} {
			t.Run(tc.name+"_on_"+string(p), func(t *testing.T) {
				values := b.WithDefaults(tc.values)
				var flow document.Flow
				var ran []string
				for i := range b.Steps {
					step := b.Steps[i].Bind(values)
					support := document.Supported
					if step.Action == "aws:runShellScript" && p == document.Windows {
						support = document.Unsupported
					}
					if flow.Skips(step, i, len(b.Steps)) || b.Decide(step, support, p, values).Status == document.Skipped {
						continue
					}
					name := strings.TrimSuffix(step.Name, "Windows")
					ran = append(ran, name)
					code := tc.ends[name]
					flow.Finish(step, document.ExitStatus(code, p), code)
				}
				if got := strings.Join(ran, " "); got != tc.runs {
					t.Errorf("ran %s\nwant %s", got, tc.runs)
				}
			})
		}
	}
}

func TestEngine(t *testing.T) {
	for _, tc := range []struct {
		doc, step, action string
		values            document.Values
		want              document.EngineUse
	}{
		{document.RunPatchBaseline, "PatchLinux", "aws:runShellScript", document.Values{"Operation": "Install"}, document.EngineInstalls},
		{document.RunPatchBaseline, "PatchLinux", "aws:runShellScript", document.Values{"Operation": "Scan"}, document.EngineLooks},
		{document.RunPatchAssociation, "PatchWindows", "aws:runPowerShellScript", document.Values{"Operation": "Install"}, document.EngineInstalls},
		{document.RunPatchHooks, "CheckState", "aws:runShellScript", document.Values{"Operation": "Install"}, document.EngineLooks},
		{document.RunPatchHooks, "RebootAndReportWindows", "aws:runPowerShellScript", document.Values{"Operation": "Install"}, document.EngineInstalls},
		{document.RunPatchHooks, "PreInstallHook", document.RunDocument, document.Values{"Operation": "Install"}, document.NoEngine},
		{document.RebootAndReport, "RebootNode", "aws:runShellScript", nil, document.EngineLooks},
		{"AWS-InstallWindowsUpdates", "x", "aws:runPowerShellScript", document.Values{"Action": "Scan"}, document.EngineLooks},
		{"AWS-InstallMissingWindowsUpdates", "x", "aws:runPowerShellScript", nil, document.EngineInstalls},
		{"AWS-FindWindowsUpdates", "x", "aws:runPowerShellScript", nil, document.EngineLooks},
		{"AWS-RunShellScript", "x", "aws:runShellScript", document.Values{"Operation": "Install"}, document.NoEngine},
	} {
		if got := document.Engine(tc.doc, document.Step{Name: tc.step, Action: tc.action}, tc.values); got != tc.want {
			t.Errorf("Engine(%s, %s, %v) = %d, want %d", tc.doc, tc.step, tc.values, got, tc.want)
		}
	}
	for name, want := range map[string]bool{document.RunPatchBaseline: true, document.RunPatchHooks: true, document.RebootAndReport: true, document.RunPatchAssociation: false, document.RunShellScript: false, "Own": false} {
		if got := document.Snapshots(name); got != want {
			t.Errorf("Snapshots(%s) = %v", name, got)
		}
	}
}
