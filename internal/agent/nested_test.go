//go:build unix

package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"oakum.dev/document"
)

// step22 is a step of a document of schema 2.2 with any plugin.
type step22 struct {
	Action string         `json:"action"`
	Name   string         `json:"name"`
	Inputs map[string]any `json:"inputs"`
}

func runs(name, path string, more ...any) step22 {
	inputs := map[string]any{"documentType": "SSMDocument", "documentPath": path}
	for i := 0; i < len(more); i += 2 {
		inputs[more[i].(string)] = more[i+1]
	}
	return step22{document.RunDocument, name, inputs}
}

func script(name, text string, more ...any) step22 {
	inputs := map[string]any{"runCommand": []string{text}, "timeoutSeconds": "30"}
	for i := 0; i < len(more); i += 2 {
		inputs[more[i].(string)] = more[i+1]
	}
	return step22{"aws:runShellScript", name, inputs}
}

func docOf(t testing.TB, parameters string, steps ...step22) string {
	t.Helper()
	if parameters == "" {
		parameters = "{}"
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "parameters": json.RawMessage(parameters), "mainSteps": steps})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A document that another one runs: its steps' results add up to the one step that runs it.
func TestRunDocument(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	work := t.TempDir()
	local := filepath.Join(work, "local.yaml")
	if err := os.WriteFile(local, []byte("schemaVersion: '2.2'\nmainSteps:\n- {action: 'aws:runShellScript', name: file, inputs: {runCommand: ['echo from a file']}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const who = `{"Who":{"type":"String","allowedPattern":"[a-z]+"},"List":{"type":"StringList","default":["none"]}}`
	f.documents = map[string]string{
		"Good": docOf(t, "", script("one", "echo one"), script("two", "echo two; echo too >&2")),
		"Bad":  docOf(t, "", script("one", "echo one"), script("two", "echo no >&2; exit 5", "onFailure", "exit"), script("three", "echo three")),
		"Exit": docOf(t, "", script("one", "exit 168"), script("two", "echo two")),
		"Boot": docOf(t, "", script("one", "echo one; exit 194"), script("two", "echo two")),
		"Who":  docOf(t, who, script("one", "echo '{{ Who }}' '{{ List }}' $SSM_Who")),
		"Self": docOf(t, "", script("one", "echo x"), runs("again", "Self")),
	}
	run(t, registered(t, f))
	for i, tc := range []struct {
		name           string
		step           step22
		status         document.Status
		code           int
		stdout, stderr string // the latter has to contain it
	}{
		{"good", runs("step", "Good"), document.Success, 0, "one\ntwo\n", "too\n"},
		{"bad", runs("step", "Bad"), document.Failed, 1, "one\n", "no\nfailed to run commands: exit status 5\nstep two of Bad ended as Failed with code 5"},
		{"exit_ends_the_inner_document_only", runs("step", "Exit"), document.Success, 0, "", ""},
		{"reboot_is_refused", runs("step", "Boot"), document.Failed, 1, "one\ntwo\n", "exit code 194: a document that another one runs cannot ask for a reboot"},
		{"parameters_as_object", runs("step", "Who", "documentParameters", map[string]any{"Who": "anna", "List": "a"}), document.Success, 0, "anna [\"a\"] anna\n", ""},
		{"parameters_as_text", runs("step", "Who", "documentParameters", `{"Who": ["anna"], "List": ["a", "b"], "Unknown": 1}`), document.Success, 0, "anna [\"a\",\"b\"] anna\n", ""},
		{"bad_parameter", runs("step", "Who", "documentParameters", map[string]any{"Who": "A; x"}), document.Failed, 1, "", "failed to run the document: The following SSM parameters are invalid: Who: the value must match"},
		{"missing_parameter", runs("step", "Who"), document.Failed, 1, "", "Who: a value is required"},
		{"parameters_that_are_no_object", runs("step", "Who", "documentParameters", "[1]"), document.Failed, 1, "", "documentParameters is not an object"},
		{"unknown_document", runs("step", "Nonsense"), document.Failed, 1, "", "failed to run the document: get Nonsense: "},
		{"without_end", runs("step", "Self"), document.Failed, 1, "x\nx\nx\n", "at most 3 deep"},
		{"unknown_type", runs("step", "Good", "documentType", "Other"), document.Failed, 1, "", "documentType is SSMDocument or LocalPath"},
		{"local", runs("step", local, "documentType", "LocalPath"), document.Success, 0, "from a file\n", ""},
		{"local_outside", runs("step", "../../registration.json", "documentType", "LocalPath"), document.Failed, 1, "", "leads out of the command's downloads"},
		{"local_folder", runs("step", work, "documentType", "LocalPath"), document.Failed, 1, "", "is not a file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := f.send(fmt.Sprintf("11111111-1111-4111-8111-%012d", i), "Outer", []byte(docOf(t, "", tc.step, script("after", "echo after"))), "{}", "")
			final := f.final(t, id)
			s := f.steps(id)
			got := s["step"]
			if got.Status != tc.status || got.Code != tc.code || got.StandardOutput != tc.stdout || !strings.Contains(got.StandardError, tc.stderr) || got.Name != document.RunDocument {
				t.Errorf("step %+v\nwant %s %d %q %q", got, tc.status, tc.code, tc.stdout, tc.stderr)
			}
			if s["after"].StandardOutput != "after\n" || final.DocumentStatus != tc.status {
				t.Errorf("document %s, after %+v", final.DocumentStatus, s["after"])
			}
		})
	}
}

// The agent is killed at every record of a command whose steps are in two documents: none of them runs twice, the document
// is fetched once where it could be kept, and the command ends.
//
// proves R-02
func TestRunDocumentKilledAtEveryRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two processes per record")
	}
	t.Parallel()
	// received, delivered, the outer step's start, per inner step start and end, the outer step's end and reply, the same for
	// the last step, done
	for n := 1; n <= 13; n++ {
		for _, when := range []string{"before", "after"} {
			t.Run(fmt.Sprintf("%s_record_%d", when, n), func(t *testing.T) {
				t.Parallel()
				f := newFakeServer(t, false)
				dir := registered(t, f)
				marks := filepath.Join(t.TempDir(), "marks")
				f.documents["Inner"] = docOf(t, "", script("one", "echo one >> "+marks+"; echo out-one"), script("two", "echo two >> "+marks+"; echo out-two"))
				h := startHelper(t, dir, "boot-1", when+":"+strconv.Itoa(n), "/dev/null")
				id := f.send(cmd1, "Outer", []byte(docOf(t, "", runs("inner", "Inner"), script("last", "echo last >> "+marks))), "{}", "")
				h.wait()
				f.with(func() { f.documents["Inner"] = docOf(t, "", script("other", "echo other >> "+marks)) }) // changed meanwhile
				startHelper(t, dir, "boot-1", "never", "/dev/null")
				final := f.final(t, id)
				inner := f.steps(id)["inner"]
				got := readHead(marks)
				fetched := n > 2 // the step that runs it is still to be started then
				for _, mark := range []string{"one", "two", "last", "other"} {
					if strings.Count(got, mark) > 1 || mark == "other" && fetched && strings.Contains(got, mark) {
						t.Errorf("the steps that ran: %q", got)
					}
				}
				if last := f.steps(id)["last"]; last.Status != document.Success && !strings.HasPrefix(last.StandardError, "OAKUM INTERRUPTED: step ") {
					t.Errorf("the step after it: %+v", last)
				}
				switch {
				case inner.Status == document.Success && (inner.StandardOutput == "out-one\nout-two\n" || !fetched):
				case inner.Status == document.Failed && strings.HasPrefix(inner.StandardError, "OAKUM INTERRUPTED: step "):
				default:
					t.Errorf("step %+v", inner)
				}
				if final.DocumentStatus != document.Success && final.DocumentStatus != document.Failed {
					t.Errorf("document %s", final.DocumentStatus)
				}
			})
		}
	}
}

// An agent of the profile patch-only runs the patching documents with hooks, and no hook.
func TestPatchOnlyRefusesHooks(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f, func(o *Options) { o.Profile = ProfilePatchOnly })
	mark := filepath.Join(t.TempDir(), "mark")
	f.documents["Hook"] = docOf(t, "", script("one", "touch "+mark))
	noop, _ := document.LookupBuiltin(document.Noop)
	f.documents["AWS-RunPatchBaseline"], f.documents["AWS-Noop"] = docOf(t, "", script("one", "touch "+mark)), string(noop.Content())
	run(t, dir, func(c *Config) { c.System.Executable = "/bin/true" })
	b, _ := document.LookupBuiltin(document.RunPatchHooks)
	id := f.send(cmd1, document.RunPatchHooks, b.Content(), `{"Operation":"Install","OnExitHookDocName":"Hook"}`, "")
	f.final(t, id)
	if s := f.steps(id)["OnExitHook"]; s.Status != document.Failed || !strings.Contains(s.StandardError, "document Hook is refused") || exists(mark) {
		t.Errorf("the hook: %+v", s)
	}
}

// What aws:downloadContent writes, and what it refuses.
func TestDownloadContent(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") }))
	t.Cleanup(plain.Close)
	var web *httptest.Server
	web = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch r.URL.Path {
		case "/run.sh":
			fmt.Fprint(w, "#!/bin/sh\necho it ran with \"$1\"\n")
		case "/secret.txt":
			if user != "anna" || password != "pass" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		case "/down":
			http.Redirect(w, r, plain.URL+"/x", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, web.URL+"/loop", http.StatusFound)
		case "/broken":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(web.Close)
	f := newFakeServer(t, false)
	f.objects["/tools/a/b.txt"] = "from a bucket"
	f.documents["Doc"] = docOf(t, "", script("one", "echo from a downloaded document"))
	run(t, registered(t, f), func(c *Config) { c.Fetch = web.Client() })
	absolute := t.TempDir()
	for i, tc := range []struct {
		name, kind, info, to string
		then                 string // run after it
		want                 string // its output, or a part of the refusal
	}{
		{"http_into_the_downloads", "HTTP", `{"url":"` + web.URL + `/run.sh"}`, "", "./run.sh me", "it ran with me\n"},
		{"http_into_a_folder", "HTTP", `{"url":"` + web.URL + `/run.sh"}`, "x/y/", "x/y/run.sh me", "it ran with me\n"},
		{"http_under_another_name", "HTTP", `{"url":"` + web.URL + `/run.sh"}`, "x/mine", "x/mine me", "it ran with me\n"},
		{"http_absolute", "HTTP", `{"url":"` + web.URL + `/run.sh"}`, absolute, absolute + "/run.sh me", "it ran with me\n"},
		{"basic", "HTTP", `{"url":"` + web.URL + `/secret.txt","authMethod":"Basic","username":"anna","password":"pass"}`, "", "ls", "secret.txt\n"},
		{"basic_wrong", "HTTP", `{"url":"` + web.URL + `/secret.txt","authMethod":"Basic","username":"anna"}`, "", "", "401 Unauthorized"},
		{"digest", "HTTP", `{"url":"` + web.URL + `/run.sh","authMethod":"Digest"}`, "", "", "not one of None, Basic"},
		{"not_encrypted", "HTTP", `{"url":"` + plain.URL + `/run.sh"}`, "", "", "only with allowInsecureDownload"},
		{"not_encrypted_allowed", "HTTP", `{"url":"` + plain.URL + `/f","allowInsecureDownload":true}`, "", "cat f", "plain"},
		{"redirect_that_is_not_encrypted", "HTTP", `{"url":"` + web.URL + `/down","allowInsecureDownload":"true"}`, "", "", "not encrypted"},
		{"redirect_without_end", "HTTP", `{"url":"` + web.URL + `/loop"}`, "", "", "more than three redirects"},
		{"half", "HTTP", `{"url":"` + web.URL + `/broken"}`, "", "", "unexpected EOF"},
		{"gone", "HTTP", `{"url":"` + web.URL + `/nothing"}`, "", "", "404 Not Found"},
		{"out_of_the_downloads", "HTTP", `{"url":"` + web.URL + `/run.sh"}`, "../../evil", "", "leads out of the command's downloads"},
		{"bucket", "S3", `{"path":"s3://tools/a/b.txt"}`, "", "cat b.txt", "from a bucket"},
		{"bucket_by_s3_address", "S3", `{"path":"https://tools.s3.us-east-1.amazonaws.com/a/b.txt"}`, "", "cat b.txt", "from a bucket"},
		{"bucket_by_old_s3_address", "S3", `{"path":"https://s3.amazonaws.com/tools/a/b.txt"}`, "", "cat b.txt", "from a bucket"},
		{"bucket_by_the_servers_address", "S3", `{"path":"` + f.URL + `/tools/a/b.txt"}`, "", "cat b.txt", "from a bucket"},
		{"bucket_folder", "S3", `{"path":"s3://tools/a/"}`, "", "", "folders are not downloaded"},
		{"bucket_elsewhere", "S3", `{"path":"https://example.com/tools/a"}`, "", "", "neither this server nor S3"},
		{"object_gone", "S3", `{"path":"s3://tools/nothing"}`, "", "", "404"},
		{"document", "SSMDocument", `{"name":"Doc"}`, "", "cat Doc.json | head -c 1", "{"},
		{"git", "Git", `{"repository":"git@example.com:x"}`, "", "", "does not fetch from Git"},
		{"unknown", "FTP", `{}`, "", "", `sourceType "FTP" is not one of`},
		{"no_json", "HTTP", `url`, "", "", "sourceInfo is not a JSON object"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inputs := map[string]any{"sourceType": tc.kind, "sourceInfo": tc.info, "destinationPath": tc.to}
			command := fmt.Sprintf("22222222-2222-4222-8222-%012d", i)
			id := f.send(command, "Own", []byte(docOf(t, "", step22{pluginDownload, "get", inputs}, script("then", tc.then))), "{}", "")
			f.final(t, id)
			s := f.steps(id)
			if tc.then != "" {
				if s["get"].Status != document.Success || s["then"].StandardOutput != tc.want {
					t.Errorf("%+v\n%+v", s["get"], s["then"])
				}
				return
			}
			if s["get"].Status != document.Failed || !strings.Contains(s["get"].StandardError, tc.want) || strings.Contains(s["get"].StandardError, "pass") {
				t.Errorf("%+v, want %q", s["get"], tc.want)
			}
			if left, _ := filepath.Glob(filepath.Join(commandPaths("", command).downloads, "*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A document from a download, run by its path.
func TestRunDownloadedDocument(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	f.documents["Doc"] = docOf(t, "", script("one", "echo from a download"))
	run(t, registered(t, f))
	id := f.send(cmd1, "Own", []byte(docOf(t, "",
		step22{pluginDownload, "get", map[string]any{"sourceType": "SSMDocument", "sourceInfo": map[string]any{"name": "Doc"}, "destinationPath": "docs/"}},
		runs("then", "docs/Doc.json", "documentType", "LocalPath"))), "{}", "")
	f.final(t, id)
	if s := f.steps(id)["then"]; s.StandardOutput != "from a download\n" {
		t.Errorf("%+v", s)
	}
}

// A hook whose steps are all for another platform would count as done without being it: it fails, and what it guards does not happen.
func TestHookOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	f.documents = map[string]string{
		"Elsewhere": `{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runPowerShellScript","name":"w","precondition":{"StringEquals":["platformType","Windows"]},"inputs":{"runCommand":["true"]}}]}`,
	}
	run(t, registered(t, f))
	doc := docOf(t, "", runs("PreInstallHook", "Elsewhere", "onFailure", "exit"), script("InstallNoReboot", "echo installed"))
	id := f.send(cmd1, document.RunPatchHooks, []byte(doc), "{}", "")
	if final := f.final(t, id); final.DocumentStatus != document.Failed {
		t.Errorf("the command ended %s", final.DocumentStatus)
	}
	s := f.steps(id)
	if got := s["PreInstallHook"]; got.Status != document.Failed || !strings.Contains(got.StandardError, "the hook Elsewhere has no step for Linux") {
		t.Errorf("the hook: %+v", got)
	}
	if got := s["InstallNoReboot"]; strings.Contains(got.StandardOutput, "installed") {
		t.Errorf("the install: %+v", got)
	}
}
