package document_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
)

const step = `{"action":"aws:runShellScript","name":"one","inputs":{"runCommand":["true"]}}`

func TestValidate(t *testing.T) {
	t.Parallel()
	command := `{"schemaVersion":"2.2","mainSteps":[` + step + `]}`
	for _, tc := range []struct {
		name   string
		kind   document.Kind
		format document.Format
		text   string
		kindOf error  // nil: valid
		says   string // what the message must contain
	}{
		{"command", document.Command, document.JSON, command, nil, ""},
		{"command_in_yaml", document.Command, document.YAML, "schemaVersion: '2.2'\nmainSteps:\n- action: aws:runShellScript\n  name: one\n  inputs: {runCommand: [a]}\n", nil, ""},
		{"json_is_yaml", document.Command, document.YAML, command, nil, ""},
		{"yaml_is_not_json", document.Command, document.JSON, "schemaVersion: '2.2'", document.ErrContent, "line 1, column 1"},
		{"json_syntax_error", document.Command, document.JSON, "{\n \"schemaVersion\": \"2.2\",\n \"é\", }", document.ErrContent, "line 3, column 5"},
		{"json_cut_off", document.Command, document.JSON, "{\n\"a\":", document.ErrContent, "unexpected end of JSON input"},
		{"yaml_syntax_error", document.Command, document.YAML, "a: [1,\nb: }", document.ErrContent, "not valid YAML: yaml: line 1"},
		{"old_schema", document.Command, document.JSON, `{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"runCommand":["a"]}]}}}`, nil, ""},
		{"no_schema_version", document.Command, document.JSON, `{"mainSteps":[` + step + `]}`, document.ErrSchemaVersion, "schemaVersion"},
		{"runbook_as_command", document.Command, document.JSON, `{"schemaVersion":"0.3","mainSteps":[` + step + `]}`, document.ErrSchemaVersion, "0.3 is not supported for the document type Command"},
		{"unknown_schema", document.Command, document.JSON, `{"schemaVersion":"9.9"}`, document.ErrSchemaVersion, "9.9"},
		{"no_steps", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[]}`, document.ErrContent, "mainSteps"},
		{"step_without_action", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[` + step + `,{"name":"two"}]}`, document.ErrContent, "mainSteps[1].action"},
		{"step_name_twice", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[` + step + `,` + step + `]}`, document.ErrContent, `mainSteps[1].name "one" is used twice`},
		{"finally_in_the_middle", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[{"action":"a","name":"x","inputs":{"finallyStep":true}},` + step + `]}`, document.ErrContent, "finallyStep"},
		{"malformed_precondition", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[{"action":"a","name":"x","precondition":{"StringEquals":"y"}}]}`, document.ErrContent, "step x: precondition"},
		{"parameter_type", document.Command, document.JSON, `{"schemaVersion":"2.2","parameters":{"p":{"type":"Text"}},"mainSteps":[` + step + `]}`, document.ErrContent, "parameters.p.type"},
		{"parameter_name", document.Command, document.JSON, `{"schemaVersion":"2.2","parameters":{"a-b":{"type":"String"}},"mainSteps":[` + step + `]}`, document.ErrContent, "parameters.a-b"},
		{"parameter_pattern", document.Command, document.JSON, `{"schemaVersion":"2.2","parameters":{"p":{"type":"String","allowedPattern":"("}},"mainSteps":[` + step + `]}`, document.ErrContent, "parameters.p.allowedPattern"},
		{"not_an_object", document.Command, document.JSON, `[1]`, document.ErrContent, ""},
		{"key_twice", document.Command, document.JSON, `{"schemaVersion":"2.2","mainSteps":[],"mainSteps":[` + step + `]}`, document.ErrContent, `key "mainSteps" is used twice`},
		{"nul", document.Command, document.JSON, "{\x00}", document.ErrContent, "NUL"},
		{"not_utf8", document.Command, document.JSON, "{\"\xff\":1}", document.ErrContent, "UTF-8"},
		{"largest", document.Command, document.JSON, command + strings.Repeat(" ", document.MaxSize-len(command)), nil, ""},
		{"too_large", document.Command, document.JSON, command + strings.Repeat(" ", document.MaxSize-len(command)+1), document.ErrSize, "65537 bytes"},
		{"policy", document.Policy, document.JSON, command, nil, ""},
		{"policy_of_an_old_schema", document.Policy, document.JSON, `{"schemaVersion":"1.2","runtimeConfig":{"a":{}}}`, document.ErrSchemaVersion, "Policy"},
		{"runbook", document.Automation, document.YAML, "schemaVersion: '0.3'\nparameters:\n  Id: {type: 'List<AWS::EC2::Instance::Id>'}\nmainSteps:\n- name: a\n  action: aws:sleep\n  inputs: {Duration: PT1M}\n", nil, ""},
		{"runbook_without_steps", document.Automation, document.JSON, `{"schemaVersion":"0.3"}`, document.ErrContent, "mainSteps"},
		{"runbook_step_without_name", document.Automation, document.JSON, `{"schemaVersion":"0.3","mainSteps":[{"action":"a"}]}`, document.ErrContent, "mainSteps[0]"},
		{"command_as_runbook", document.Automation, document.JSON, command, document.ErrSchemaVersion, "Automation, which has 0.3"},
		{"session", document.Session, document.JSON, `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{}}`, nil, ""},
		{"package", "Package", document.JSON, `{"schemaVersion":"2.0","version":"1","packages":{}}`, nil, ""},
		{"other_kind_is_not_an_object", "CloudFormation", document.YAML, "- a", document.ErrContent, "object"},
		{"calendar", document.ChangeCalendar, document.Plain, "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n", nil, ""},
		{"calendar_in_json", document.ChangeCalendar, document.JSON, "{}", document.ErrContent, "TEXT"},
		{"broken_calendar", document.ChangeCalendar, document.Plain, "VERSION:2.0", document.ErrContent, "BEGIN:VCALENDAR"},
		{"command_in_text", document.Command, document.Plain, command, document.ErrContent, "ChangeCalendar only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := document.Validate(tc.kind, []byte(tc.text), tc.format)
			if !errors.Is(err, tc.kindOf) || tc.kindOf != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Validate(%s, %.60q, %s) = %v, want %v with %q", tc.kind, tc.text, tc.format, err, tc.kindOf, tc.says)
			}
		})
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	on := func(platform string) string {
		return `,"precondition":{"StringEquals":["platformType","` + platform + `"]}`
	}
	step := func(action, more string) string {
		return fmt.Sprintf(`{"action":%q,"name":"s%d"%s}`, action, len(action+more), more)
	}
	for _, tc := range []struct {
		name  string
		steps string
		want  []document.Platform
	}{
		{"shell", step("aws:runShellScript", ""), []document.Platform{document.Linux, document.MacOS}},
		{"power_shell", step("aws:runPowerShellScript", ""), []document.Platform{document.Windows, document.Linux, document.MacOS}},
		{"shell_on_linux", step("aws:runShellScript", on("linux")), []document.Platform{document.Linux}},
		{"either", step("aws:runShellScript", on("Linux")) + "," + step("aws:runPowerShellScript", on("Windows")), []document.Platform{document.Windows, document.Linux}},
		{"other_way_round", step("aws:runShellScript", `,"precondition":{"StringEquals":["MacOS","platformType"]}`), []document.Platform{document.MacOS}},
		{"parameter_says_nothing", step("aws:psModule", `,"precondition":{"StringEquals":["{{ a }}","b"]}`), []document.Platform{document.Windows}},
		{"unknown_plugin", step("aws:new", ""), []document.Platform{document.Windows, document.Linux, document.MacOS}},
		{"contradiction", step("aws:psModule", on("Linux")), []document.Platform{document.Windows, document.Linux, document.MacOS}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := mustParse(t, `{"schemaVersion":"2.2","mainSteps":[`+tc.steps+`]}`)
			if diff := cmp.Diff(tc.want, d.Platforms()); diff != "" {
				t.Errorf("Platforms (-want +got):\n%s", diff)
			}
		})
	}
}

// What is turned into YAML and back is the same document, whatever its strings look like.
func TestYAMLAndBack(t *testing.T) {
	t.Parallel()
	texts := []string{
		`{"schemaVersion":"2.2","z":1,"a":[1,-2.50,1e3,true,null,"",[],{}],"b":{"k":"v"}}`,
		`{"s":["2.2","1e3","true","null","~","- a","a: b","#c"," x ","é\u0000","\ud83d\ude00","a/b","<&>","2026-11-22","0x10","0o7","1_000",".5","=","<<","yes","on"]}`,
		`{"script":["set -e\nif [ -e /x ]; then\n\techo \"$HOME\"  \nfi\n","\n lead","trail \n\n","a\r\nb","tab\there"]}`,
		`{"<<":{"a":1},"true":2,"1":3,"":4,"multi\nline":5}`,
		`[1]`, `"x"`, `7`, `[18446744073709551615,99999999999999999999999,-1]`,
	}
	for _, b := range document.Builtins() {
		texts = append(texts, string(b.Content()))
	}
	for _, text := range texts {
		want, err := document.ToJSON([]byte(text), document.JSON)
		if err != nil {
			t.Fatal(err)
		}
		yaml, err := document.ToYAML([]byte(text), document.JSON)
		if err != nil {
			t.Errorf("ToYAML(%.80s) = %v", text, err)
			continue
		}
		got, err := document.ToJSON(yaml, document.YAML)
		if err != nil || unescaped(string(got)) != unescaped(string(want)) {
			t.Errorf("%.200s\nis as YAML\n%.300s\nand as JSON again\n%.200s (%v)", want, yaml, got, err)
		}
	}
}

// unescaped undoes the escapes that JSON leaves to the writer's taste.
func unescaped(s string) string {
	return strings.NewReplacer(`\u0000`, "\x00", `\ud83d\ude00`, "😀").Replace(s)
}

func TestStoreReference(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"echo {{ ssm:/my/name }} {{ssm:b}}": "{{ ssm:/my/name }}", "{{ssm-secure:x}}": "{{ssm-secure:x}}", "{{ name }}": "", "{{ ssm: }}": "", "ssm:x": "",
	} {
		if got := document.StoreReference(in); got != want {
			t.Errorf("StoreReference(%q) = %q, want %q", in, got, want)
		}
	}
}
