package document_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
)

func mustParse(t *testing.T, text string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(text), document.Auto)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return d
}

const typed = `
schemaVersion: "2.2"
parameters:
  s: {type: String, allowedPattern: "[a-z]+", minChars: 2, maxChars: 4}
  choice: {type: String, allowedValues: [one, two], default: one}
  list: {type: StringList, minItems: 1, maxItems: 2, default: [a]}
  m: {type: StringMap, default: {k: v}}
  b: {type: Boolean, default: true}
  n: {type: Integer, default: 7}
  ml: {type: MapList, default: []}
mainSteps:
- action: aws:runShellScript
  name: one
  inputs: {runCommand: "{{ list }}"}
`

func TestResolve(t *testing.T) {
	d := mustParse(t, typed)
	for _, tc := range []struct {
		name  string
		given map[string][]string
		want  string // JSON of the values
		err   string
	}{
		{"only_required", map[string][]string{"s": {"abc"}}, `{"s":"abc"}`, ""},
		{"every_type", map[string][]string{"s": {"abc"}, "list": {"x", "y"}, "m": {`{"a":"b"}`}, "b": {"False"}, "n": {"-3"}, "ml": {`{"k":1}`}}, `{"b":false,"list":["x","y"],"m":{"a":"b"},"ml":[{"k":1}],"n":-3,"s":"abc"}`, ""},
		{"missing", nil, "", "The following SSM parameters are invalid: s: a value is required"},
		{"unknown_names_sorted", map[string][]string{"s": {"abc"}, "zz": {"1"}, "aa": {"1"}}, "", "The following SSM parameters are invalid: aa, zz"},
		{"pattern_matches_the_whole_value", map[string][]string{"s": {"ab1"}}, "", "pattern"},
		{"pattern_does_not_stop_at_a_newline", map[string][]string{"s": {"ab\n"}}, "", "pattern"},
		{"too_short", map[string][]string{"s": {"a"}}, "", "at least 2 characters"},
		{"too_long", map[string][]string{"s": {"abcde"}}, "", "at most 4 characters"},
		{"not_allowed", map[string][]string{"s": {"abc"}, "choice": {"three"}}, "", "one of: one, two"},
		{"two_values_for_a_string", map[string][]string{"s": {"abc", "def"}}, "", "one value is expected"},
		{"too_many_items", map[string][]string{"s": {"abc"}, "list": {"1", "2", "3"}}, "", "at most 2 items"},
		{"empty_list", map[string][]string{"s": {"abc"}, "list": {}}, "", "at least 1 items"},
		{"bad_integer", map[string][]string{"s": {"abc"}, "n": {"1.5"}}, "", "integer"},
		{"bad_boolean", map[string][]string{"s": {"abc"}, "b": {"yes"}}, "", "true or false"},
		{"bad_map", map[string][]string{"s": {"abc"}, "m": {"[1]"}}, "", "JSON object"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values, err := d.Resolve(tc.given)
			if tc.err != "" {
				if !errors.Is(err, document.ErrParameters) || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("Resolve = %v, want an ErrParameters with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("Resolve = %s, want %s", got, tc.want)
			}
			if err := d.Check(values); err != nil {
				t.Errorf("Check refuses what Resolve made: %v", err)
			}
		})
	}
}

func TestSubstitute(t *testing.T) {
	values := document.Values{"s": "x", "list": []any{"a", "b"}, "n": json.Number("5"), "ref": "{{ s }}", "pid": "$$ $1", "m": map[string]any{"k": "<v>"}}
	for _, tc := range []struct{ in, want string }{
		{"{{ s }}", `"x"`},
		{"{{s}}", `"x"`},
		{"{{ list }}", `["a","b"]`},
		{"v={{ list }}", `"v=[\"a\",\"b\"]"`},
		{"{{ n }}", `5`},
		{"n={{ n }};{{s}}", `"n=5;x"`},
		{"{{ ref }}!", `"{{ s }}!"`},
		{"{{ unknown }} {{ s }}", `"{{ unknown }} x"`},
		{"{{ not-a-name }}", `"{{ not-a-name }}"`},
		{"{{ ssm:name }}", `"{{ ssm:name }}"`},
		{"{{ pid }}", `"$$ $1"`},
		{"a {{ pid }}", `"a $ $1"`},
		{"m={{ m }}", `"m={\"k\":\"<v>\"}"`},
	} {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(document.Substitute(tc.in, values)); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(b.String()); got != tc.want {
			t.Errorf("Substitute(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestDecide(t *testing.T) {
	doc := func(schema, precondition string) *document.Document {
		return mustParse(t, `{"schemaVersion":"`+schema+`","parameters":{"p":{"type":"String","default":"yes"}},"mainSteps":[{"action":"aws:runShellScript","name":"one","inputs":{}`+precondition+`}]}`)
	}
	pre := func(s string) string { return `,"precondition":` + s }
	for _, tc := range []struct {
		name, schema, precondition string
		support                    document.Support
		want                       document.Status
	}{
		{"no_precondition", "2.2", "", document.Supported, ""},
		{"unknown_plugin", "2.2", "", document.Unknown, document.Failed},
		{"unsupported_plugin", "2.2", "", document.Unsupported, document.Skipped},
		{"unsupported_before_malformed", "2.2", pre(`{"Nope":[]}`), document.Unsupported, document.Skipped},
		{"platform", "2.2", pre(`{"StringEquals":["platformType","linux"]}`), document.Supported, ""},
		{"platform_reversed", "2.2", pre(`{"StringEquals":["Linux","PLATFORMTYPE"]}`), document.Supported, ""},
		{"other_platform", "2.2", pre(`{"StringEquals":["platformType","Windows"]}`), document.Supported, document.Skipped},
		{"platform_with_parameter", "2.2", pre(`{"StringEquals":["platformType","{{ p }}"]}`), document.Supported, document.Failed},
		{"parameter", "2.2", pre(`{"StringEquals":["{{ p }}","yes"]}`), document.Supported, ""},
		{"parameter_case_sensitive", "2.2", pre(`{"StringEquals":["{{ p }}","Yes"]}`), document.Supported, document.Skipped},
		{"mixed_string", "2.2", pre(`{"StringEquals":["a{{ p }}","ayes"]}`), document.Supported, ""},
		{"no_parameter", "2.2", pre(`{"StringEquals":["a","b"]}`), document.Supported, document.Failed},
		{"identical", "2.2", pre(`{"StringEquals":["{{ p }}","{{ p }}"]}`), document.Supported, document.Failed},
		{"ssm_reference", "2.2", pre(`{"StringEquals":["{{ ssm:x }}","{{ p }}"]}`), document.Supported, document.Failed},
		{"three_arguments", "2.2", pre(`{"StringEquals":["a","b","c"]}`), document.Supported, document.Failed},
		{"other_operator", "2.2", pre(`{"StringLike":["platformType","Linux"]}`), document.Supported, document.Failed},
		{"not_a_list", "2.2", pre(`{"StringEquals":"a"}`), document.Supported, document.Failed},
		{"old_schema_with_precondition", "2.0", pre(`{"StringEquals":["platformType","Linux"]}`), document.Supported, document.Failed},
		{"old_schema_unsupported", "2.0", "", document.Unsupported, document.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := doc(tc.schema, tc.precondition)
			got := d.Decide(d.Steps[0], tc.support, document.Linux, d.WithDefaults(nil))
			if got.Status != tc.want || (got.Status != "") != (got.Reason != "") {
				t.Errorf("Decide = %+v, want status %q", got, tc.want)
			}
		})
	}
}

func TestFlow(t *testing.T) {
	step := func(inputs map[string]any) document.Step {
		return document.Step{Properties: []map[string]any{inputs}}
	}
	for _, tc := range []struct {
		name   string
		inputs map[string]any
		status document.Status
		code   int
		want   document.Status
		exits  bool
	}{
		{"failure_goes_on", nil, document.Failed, 1, document.Failed, false},
		{"on_failure_exit", map[string]any{"onFailure": "exit"}, document.Failed, 1, document.Failed, true},
		{"on_failure_success_and_exit", map[string]any{"onFailure": "successAndExit"}, document.Failed, 1, document.Success, true},
		{"on_success_exit", map[string]any{"onSuccess": "exit"}, document.Success, 0, document.Success, true},
		{"code_168", nil, document.Success, 168, document.Success, true},
		{"code_169", nil, document.Failed, 169, document.Failed, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f document.Flow
			got, _ := f.Finish(step(tc.inputs), tc.status, tc.code)
			if got != tc.want {
				t.Errorf("Finish = %s, want %s", got, tc.want)
			}
			if skips := f.Skips(step(nil), 1, 3); skips != tc.exits {
				t.Errorf("the next step is skipped = %v, want %v", skips, tc.exits)
			}
			if f.Skips(step(map[string]any{"finallyStep": true}), 2, 3) {
				t.Error("the last step with finallyStep is skipped")
			}
		})
	}
}

func TestSum(t *testing.T) {
	const s, k, f, r, c, o = document.Success, document.Skipped, document.Failed, document.SuccessAndReboot, document.Cancelled, document.TimedOut
	for _, tc := range []struct {
		in   []document.Status
		want document.Status
	}{
		{[]document.Status{s, k}, s},
		{[]document.Status{s, f, r}, r},
		{[]document.Status{o, f}, f},
		{[]document.Status{c, o}, o},
		{[]document.Status{s, c}, c},
		{[]document.Status{s, document.NotStarted}, document.InProgress},
	} {
		if got := document.Sum(tc.in); got != tc.want {
			t.Errorf("Sum(%v) = %s, want %s", tc.in, got, tc.want)
		}
	}
	if got := document.Worst(s, k, f); got != f {
		t.Errorf("Worst = %s", got)
	}
	for code, want := range map[int]document.Status{0: s, 168: s, 169: f, 194: r, 1: f, 3010: f} {
		if got := document.ExitStatus(code, document.Linux); got != want {
			t.Errorf("ExitStatus(%d) = %s, want %s", code, got, want)
		}
	}
}

func TestBuiltins(t *testing.T) {
	var names []string
	for _, b := range document.Builtins() {
		names = append(names, b.Name)
		if len(b.Platforms) == 0 {
			t.Errorf("%s has no platforms", b.Name)
		}
		again, err := document.Parse(b.Content(), document.JSON)
		if err != nil {
			t.Errorf("%s: its own JSON does not parse: %v", b.Name, err)
			continue
		}
		if diff := cmp.Diff(b.Steps, again.Steps, cmp.AllowUnexported(document.Step{})); diff != "" {
			t.Errorf("%s changes when parsed again: %s", b.Name, diff)
		}
	}
	want := []string{
		"AWS-ApplyPatchBaseline", "AWS-ConfigureAWSPackage", "AWS-ConfigureKernelLivePatching", "AWS-ConfigureWindowsUpdate", "AWS-FindWindowsUpdates",
		"AWS-GatherSoftwareInventory", "AWS-InstallMissingWindowsUpdates", "AWS-InstallSpecificWindowsUpdates", "AWS-InstallWindowsUpdates", "AWS-Noop",
		"AWS-RefreshAssociation", "AWS-RunDocument", "AWS-RunPatchBaseline", "AWS-RunPatchBaselineAssociation", "AWS-RunPatchBaselineWithHooks",
		"AWS-RunPowerShellScript", "AWS-RunRemoteScript", "AWS-RunShellScript", "AWS-UpdateSSMAgent", "Oakum-RebootAndReport",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestTotalTimeout(t *testing.T) {
	for _, tc := range []struct {
		name     string
		values   document.Values
		delivery int
		want     time.Duration
	}{
		{document.RunPatchBaseline, document.Values{"Operation": "Scan"}, 600, 22200 * time.Second},
		{document.RunShellScript, document.Values{"commands": []any{"true"}}, 3600, 7200 * time.Second},
		{document.RunShellScript, document.Values{"commands": []any{"true"}}, 600, 4200 * time.Second},
		{document.RunShellScript, document.Values{"executionTimeout": "60"}, 600, 660 * time.Second},
	} {
		b, ok := document.LookupBuiltin(tc.name)
		if !ok {
			t.Fatal(tc.name)
		}
		if got := b.TotalTimeout(tc.values, tc.delivery); got != tc.want {
			t.Errorf("%s %v: TotalTimeout = %s, want %s", tc.name, tc.values, got, tc.want)
		}
	}
}

func TestPatchBaselineRefusesShellText(t *testing.T) {
	b, _ := document.LookupBuiltin(document.RunPatchBaseline)
	for _, bad := range []string{"https://x/'; rm -rf /", "https://x/$(id)", "https://x/`id`", `https://x/"`, "https://x/\\", "http://x/", "s3://b/a b", "x", "https://x/\n"} {
		for _, name := range []string{"InstallOverrideList", "BaselineOverride", "SnapshotId", "AssociationId", "RebootOption"} {
			if _, err := b.Resolve(map[string][]string{"Operation": {"Scan"}, name: {bad}}); err == nil {
				t.Errorf("%s accepts %q", name, bad)
			}
		}
	}
	good := map[string][]string{"Operation": {"Install"}, "SnapshotId": {"a3f5ff34-9bc4-4d2c-a665-4d1c1e000000"}, "InstallOverrideList": {"https://host.example/x.yaml?X-Amz-Date=1&X-Amz-Signature=ab%2F"}, "BaselineOverride": {"s3://bucket/some/key.json"}, "RebootOption": {"NoReboot"}}
	if _, err := b.Resolve(good); err != nil {
		t.Error(err)
	}
}

func TestPatchLinuxScript(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh")
	}
	b, _ := document.LookupBuiltin(document.RunPatchBaseline)
	values, err := b.Resolve(map[string][]string{"Operation": {"Scan"}, "InstallOverrideList": {"https://h/a?b=1&c=(2)*"}})
	if err != nil {
		t.Fatal(err)
	}
	var script string
	for _, s := range b.Steps {
		if s.Name == "PatchLinux" {
			script = strings.Join(document.Strings(s.Bind(b.WithDefaults(values)).Properties[0]["runCommand"]), "\n")
		}
	}
	dir := t.TempDir()
	fake := filepath.Join(dir, "oakum")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 194\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "OAKUM_BIN="+fake)
	out, _ := cmd.CombinedOutput()
	want := "<node-patch><--operation=Scan><--snapshot-id=><--reboot-option=RebootIfNeeded><--install-override-list=https://h/a?b=1&c=(2)*><--baseline-override=><--association-id=>"
	if string(out) != want || cmd.ProcessState.ExitCode() != 194 {
		t.Errorf("script printed %s and ended with %d, want %s and 194", out, cmd.ProcessState.ExitCode(), want)
	}
	cmd = exec.Command("sh", "-c", script)
	cmd.Env = []string{"OAKUM_BIN=" + filepath.Join(dir, "none")}
	out, _ = cmd.CombinedOutput()
	if !strings.HasPrefix(string(out), "OAKUM NOEXEC: ") || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("without a binary the script printed %q and ended with %d", out, cmd.ProcessState.ExitCode())
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "schemaVersion: \"2.2\"\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 8; i++ {
		p, n := string(rune('0'+i-1)), string(rune('0'+i))
		bomb += "a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+p+",", 10), ",") + "]\n"
	}
	step := func(s string) string { return `{"schemaVersion":"2.2","mainSteps":[` + s + `]}` }
	for _, tc := range []struct {
		name, text string
		kind       error
	}{
		{"too_large", `{"schemaVersion":"2.2","description":"` + strings.Repeat("x", document.MaxSize) + `"}`, document.ErrSize},
		{"broken_json", `{"schemaVersion":`, document.ErrContent},
		{"broken_yaml", "a: [", document.ErrContent},
		{"alias_bomb", bomb, document.ErrContent},
		{"deep", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), document.ErrContent},
		{"duplicate_yaml_key", "schemaVersion: '2.2'\nschemaVersion: '2.2'\n", document.ErrContent},
		{"not_an_object", "- 1", document.ErrContent},
		{"no_version", `{}`, document.ErrSchemaVersion},
		{"number_version", "schemaVersion: 2.2", document.ErrSchemaVersion},
		{"unknown_version", `{"schemaVersion":"3.0"}`, document.ErrSchemaVersion},
		{"no_steps", step(""), document.ErrContent},
		{"no_action", step(`{"name":"a"}`), document.ErrContent},
		{"step_name_with_path", step(`{"action":"aws:runShellScript","name":"../a"}`), document.ErrContent},
		{"step_name_dots", step(`{"action":"aws:runShellScript","name":".."}`), document.ErrContent},
		{"step_name_twice", step(`{"action":"a","name":"abc"},{"action":"a","name":"abc"}`), document.ErrContent},
		{"finally_not_last", step(`{"action":"a","name":"abc","inputs":{"finallyStep":true}},{"action":"a","name":"abd"}`), document.ErrContent},
		{"bad_type", `{"schemaVersion":"2.2","parameters":{"a":{"type":"Text"}}}`, document.ErrContent},
		{"bad_pattern", `{"schemaVersion":"2.2","parameters":{"a":{"type":"String","allowedPattern":"("}}}`, document.ErrContent},
		{"bad_default", `{"schemaVersion":"2.2","parameters":{"a":{"type":"Integer","default":"x"}}}`, document.ErrContent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := document.Parse([]byte(tc.text), document.Auto); !errors.Is(err, tc.kind) {
				t.Errorf("Parse = %v, want %v", err, tc.kind)
			}
		})
	}
}

func TestYAMLKeepsOrderAndTypes(t *testing.T) {
	d := mustParse(t, "schemaVersion: '2.2'\nzeta: 1\nalpha: {b: true, a: null, f: 1.5, t: 2020-01-02, big: 123456789012345678901}\nmainSteps:\n- {action: aws:runShellScript, name: one}\n")
	want := `{"schemaVersion":"2.2","zeta":1,"alpha":{"b":true,"a":null,"f":1.5,"t":"2020-01-02","big":123456789012345678901},"mainSteps":[{"action":"aws:runShellScript","name":"one"}]}`
	if got := string(d.Content()); got != want {
		t.Errorf("Content = %s, want %s", got, want)
	}
}

func TestRuntimeConfigOrder(t *testing.T) {
	d := mustParse(t, `{"schemaVersion":"1.2","runtimeConfig":{"aws:b":{"properties":[{"id":"0"},{"id":"1"}]},"aws:a":{"properties":{"id":"x"}}}}`)
	if len(d.Steps) != 2 || d.Steps[0].Name != "aws:b" || len(d.Steps[0].Properties) != 2 || d.Steps[1].Action != "aws:a" {
		t.Errorf("steps = %+v", d.Steps)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(typed)
	for _, b := range document.Builtins() {
		f.Add(string(b.Content()))
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := document.Parse([]byte(text), document.Auto)
		if err != nil {
			if e := (*document.Error)(nil); !errors.As(err, &e) {
				t.Fatalf("Parse returned %T", err)
			}
			return
		}
		if !json.Valid(d.Content()) {
			t.Fatalf("Content is not JSON: %s", d.Content())
		}
		if _, err := document.ParsePayload(d.Content()); err != nil {
			t.Fatalf("the document's own content is refused: %v", err)
		}
		if valid, err := document.Validate(document.Command, d.Content(), document.JSON); err == nil {
			yaml, err := document.ToYAML(valid.Content(), document.JSON)
			if err != nil {
				t.Fatalf("a valid document cannot be had as YAML: %v", err)
			}
			if _, err := document.Validate(document.Command, yaml, document.YAML); err != nil && !errors.Is(err, document.ErrSize) {
				t.Fatalf("the document as YAML is refused: %v\n%s", err, yaml)
			}
		}
		for _, s := range d.Steps {
			s.Bind(d.WithDefaults(nil)).Timeout()
			d.Decide(s, document.Supported, document.Linux, d.WithDefaults(nil))
		}
	})
}

// TestPatchStepsPassEverything: each platform's step of AWS-RunPatchBaseline hands every parameter to the engine.
func TestPatchStepsPassEverything(t *testing.T) {
	t.Parallel()
	b, ok := document.LookupBuiltin(document.RunPatchBaseline)
	if !ok {
		t.Fatal("AWS-RunPatchBaseline is not there")
	}
	flags := map[string]string{
		"Operation": "--operation=", "SnapshotId": "--snapshot-id=", "RebootOption": "--reboot-option=", "InstallOverrideList": "--install-override-list=",
		"BaselineOverride": "--baseline-override=", "AssociationId": "--association-id=",
	}
	if len(b.Steps) != 3 || len(b.Parameters) != len(flags) {
		t.Fatalf("%d steps, %d parameters", len(b.Steps), len(b.Parameters))
	}
	values := document.Values{}
	for name := range flags {
		values[name] = "value-of-" + name
	}
	for _, s := range b.Steps {
		text := strings.Join(document.Strings(s.Bind(values).Properties[0]["runCommand"]), "\n")
		for name, flag := range flags {
			if !strings.Contains(text, flag+"value-of-"+name+"'") && !strings.Contains(text, flag+"'value-of-"+name+"'") {
				t.Errorf("step %s does not pass %s", s.Name, name)
			}
		}
	}
}
