//go:build unix

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/document"
)

// ownStep is a step of a customer's document: a script with modifiers in its inputs.
type ownStep struct {
	name, script string
	inputs       map[string]any
}

func ownDocument(t *testing.T, parameters string, steps ...ownStep) []byte {
	t.Helper()
	var list []map[string]any
	for _, s := range steps {
		inputs := map[string]any{"runCommand": []string{s.script}, "timeoutSeconds": "30"}
		for k, v := range s.inputs {
			inputs[k] = v
		}
		list = append(list, map[string]any{"action": "aws:runShellScript", "name": s.name, "inputs": inputs})
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "parameters": json.RawMessage(parameters), "mainSteps": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a step says of the steps after it, by its modifiers and exit codes, as the server gets to see it.
func TestStepsOfOwnDocuments(t *testing.T) {
	t.Parallel()
	on := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	next, last := ownStep{"next", "echo ran", nil}, ownStep{"last", "echo ran", on("finallyStep", true)}
	for _, tc := range []struct {
		name  string
		first ownStep
		more  []ownStep
		want  string // the steps' states, the first one's code, and the document's state
	}{
		{"failure_goes_on", ownStep{"a", "exit 3", nil}, []ownStep{next}, "Failed 3, Success: Failed"},
		{"on_failure_exit", ownStep{"a", "exit 3", on("onFailure", "exit")}, []ownStep{next, next}, "Failed 3, Skipped, Skipped: Failed"},
		{"on_failure_exit_of_a_success", ownStep{"a", "true", on("onFailure", "exit")}, []ownStep{next}, "Success 0, Success: Success"},
		{"on_failure_success_and_exit", ownStep{"a", "exit 3", on("onFailure", "successAndExit")}, []ownStep{next}, "Success 168, Skipped: Success"},
		{"on_success_exit", ownStep{"a", "true", on("onSuccess", "exit")}, []ownStep{next}, "Success 0, Skipped: Success"},
		{"on_success_exit_of_a_failure", ownStep{"a", "exit 3", on("onSuccess", "exit")}, []ownStep{next}, "Failed 3, Success: Failed"},
		{"modifier_from_a_parameter", ownStep{"a", "exit 3", on("onFailure", "{{ Then }}")}, []ownStep{next}, "Failed 3, Skipped: Failed"},
		{"finally_after_a_failure", ownStep{"a", "exit 3", on("onFailure", "exit")}, []ownStep{next, last}, "Failed 3, Skipped, Success: Failed"},
		{"finally_after_success_and_exit", ownStep{"a", "exit 3", on("onFailure", "successAndExit")}, []ownStep{next, last}, "Success 168, Skipped, Success: Success"},
		{"finally_as_text", ownStep{"a", "exit 168", nil}, []ownStep{next, {"last", "true", on("finallyStep", "True")}}, "Success 168, Skipped, Success: Success"},
		{"code_168", ownStep{"a", "exit 168", nil}, []ownStep{next}, "Success 168, Skipped: Success"},
		{"code_169", ownStep{"a", "exit 169", nil}, []ownStep{next}, "Failed 169, Skipped: Failed"},
		{"time_out_exits", ownStep{"a", "sleep 60", on("onFailure", "exit", "timeoutSeconds", "5")}, []ownStep{next}, "TimedOut 137, Skipped: TimedOut"},
		{"failed_finally", ownStep{"a", "true", nil}, []ownStep{{"last", "exit 4", on("finallyStep", true)}}, "Success 0, Failed: Failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, false)
			run(t, registered(t, f))
			steps := []ownStep{tc.first}
			for i, s := range tc.more {
				s.name += string(rune('0' + i))
				steps = append(steps, s)
			}
			id := f.send(cmd1, "Own", ownDocument(t, `{"Then":{"type":"String","default":"exit"}}`, steps...), "{}", "")
			final := f.final(t, id)
			all := f.steps(id)
			var got []string
			for i, s := range steps {
				r := all[s.name]
				text := string(r.Status)
				if i == 0 {
					b, _ := json.Marshal(r.Code)
					text += " " + string(b)
				}
				if (r.Status == document.Skipped) != (i > 0 && r.StandardOutput == "" && strings.Contains(r.StandardError+r.Output, "skipped due to an earlier exit")) {
					t.Errorf("step %s: %+v", s.name, r)
				}
				got = append(got, text)
			}
			if text := strings.Join(got, ", ") + ": " + string(final.DocumentStatus); text != tc.want {
				t.Errorf("got %s, want %s", text, tc.want)
			}
		})
	}
}

// An exit that a step asked for holds also when the agent is killed before the next step.
func TestExitSurvivesTheAgent(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"after:4", "before:5", "after:5"} { // around the end of the first step and its reply
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			f := newFakeServer(t, false)
			dir := registered(t, f)
			marks := filepath.Join(t.TempDir(), "marks")
			h := startHelper(t, dir, "boot-1", at, "/dev/null")
			id := f.send(cmd1, "Own", ownDocument(t, `{}`,
				ownStep{"a", "echo a >> " + marks + "; exit 3", map[string]any{"onFailure": "successAndExit"}},
				ownStep{"b", "echo b >> " + marks, nil},
				ownStep{"c", "echo c >> " + marks, map[string]any{"finallyStep": true}}), "{}", "")
			h.wait()
			startHelper(t, dir, "boot-1", "never", "/dev/null")
			final := f.final(t, id)
			states := map[string]document.Status{}
			for name, s := range f.steps(id) {
				states[name] = s.Status
			}
			if d := cmp.Diff(map[string]document.Status{"a": document.Success, "b": document.Skipped, "c": document.Success}, states); d != "" || final.DocumentStatus != document.Success {
				t.Errorf("document %s, steps (-want +got):\n%s", final.DocumentStatus, d)
			}
			if b, _ := os.ReadFile(marks); string(b) != "a\nc\n" {
				t.Errorf("the steps that ran: %q", b)
			}
		})
	}
}
