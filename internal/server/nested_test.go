package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/arn"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/oakum"
	wire "oakum.dev/wire/ssm"
)

// runner is a document that runs another one.
func runner(name, parameters string) string {
	return fmt.Sprintf(`{"schemaVersion":"2.2","mainSteps":[{"action":"aws:runDocument","name":"again","inputs":{"documentType":"SSMDocument","documentPath":%q,"documentParameters":%s}}]}`, name, parameters)
}

// What SendCommand finds in the documents that a command's own one runs: what is missing, what installs, and what the
// command's nodes may read for it.
func TestDocumentsThatRunDocuments(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n, m := s.Nodes(2)[0], s.Nodes(1)[0]
		create := func(name, content string, kind types.DocumentType) {
			t.Helper()
			must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: &name, Content: &content, DocumentType: kind}))
		}
		create("Say", ownDocument("one"), "")
		create("Other", ownDocument("other"), "")
		create("Hook", runner("Say", `{"Who":"Anna"}`), "")
		create("Needs", `{"schemaVersion":"2.2","parameters":{"Who":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"say","inputs":{"runCommand":["x"]}}]}`, "")
		create("Book", `{"schemaVersion":"0.3","mainSteps":[{"name":"x","action":"aws:sleep","inputs":{}}]}`, "Automation")
		create("Patch", runner("AWS-RunPatchBaseline", `{"Operation":"Install"}`), "")
		create("Deep", runner("Patch", `{}`), "")
		create("Lost", runner("Nonsense", `{}`), "")
		create("Circle", runner("Circle", `{}`), "")
		hooks := func(pairs ...string) *ssm.SendCommandInput {
			in := &ssm.SendCommandInput{DocumentName: str("AWS-RunPatchBaselineWithHooks"), InstanceIds: []string{n.ID}, Parameters: map[string][]string{"Operation": {"Install"}}}
			for i := 0; i < len(pairs); i += 2 {
				in.Parameters[pairs[i]] = []string{pairs[i+1]}
			}
			return in
		}
		runs := func(name, parameters string) *ssm.SendCommandInput {
			return &ssm.SendCommandInput{DocumentName: str("AWS-RunDocument"), InstanceIds: []string{n.ID}, Parameters: map[string][]string{
				"sourceType": {"SSMDocument"}, "documentPath": {name}, "documentParameters": {parameters},
			}}
		}
		for what, tc := range map[string]struct {
			in            *ssm.SendCommandInput
			code, message string
		}{
			"a hook that is not there":          {hooks("PreInstallHookDocName", "Nonsense"), "InvalidDocument", "Document with name Nonsense does not exist."},
			"a version that is not there":       {hooks("OnExitHookDocName", "Say:7"), "InvalidDocumentVersion", ""},
			"a hook that needs a value":         {hooks("PostInstallHookDocName", "Needs"), "InvalidParameters", "PostInstallHook: document Needs: The following SSM parameters are invalid: Who: a value is required"},
			"a hook of another type":            {hooks("PostInstallHookDocName", "Book"), "InvalidDocument", "The document Book has the type Automation: only documents of the type Command are run."},
			"a hook that is no name":            {hooks("PreInstallHookDocName", "x y"), "InvalidParameters", ""},
			"two lists":                         {hooks("BaselineOverride", "s3://bucket/a", "InstallOverrideList", "s3://bucket/b"), "InvalidParameters", "BaselineOverride and InstallOverrideList cannot be given together."},
			"a document that is not there":      {runs("Nonsense", "{}"), "InvalidDocument", ""},
			"a value that is not taken":         {runs("Say", `{"Who":"A; B"}`), "InvalidParameters", ""},
			"parameters that are not an object": {runs("Say", `[]`), "InvalidParameters", ""},
		} {
			_, err := c.SendCommand(ctx, tc.in)
			apiRefused(t, what, err, tc.code, tc.message)
		}
		if list := must[*ssm.ListCommandsOutput](t)(c.ListCommands(ctx, &ssm.ListCommandsInput{})).Commands; len(list) != 0 {
			t.Errorf("refused commands are there: %+v", list)
		}

		// The nodes of a command may read what it runs, and nothing else, until it has ended.
		read := func(node *servertest.Node, name string) error {
			return node.Call(ctx, "ssm", "GetDocument", `{"Name":"`+name+`"}`, nil)
		}
		refused(t, "a hook before there is a command", read(n, "Hook"), "InvalidDocument", "")
		must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, hooks("PreInstallHookDocName", "Hook", "OnExitHookDocName", "arn:aws:ssm:us-east-1:"+s.Account()+":document/Hook:1")))
		for _, name := range []string{"Hook", "arn:aws:ssm:us-east-1:" + s.Account() + ":document/Hook", "Say", "AWS-Noop"} {
			try(t, read(n, name))
		}
		refused(t, "a document that it does not run", read(n, "Other"), "InvalidDocument", "")
		refused(t, "another node", read(m, "Hook"), "InvalidDocument", "")
		for _, msg := range must[[]ec2messages.Message](t)(n.Poll(ctx)) {
			if p := payloadOf(t, msg); !arn.IsUUID(fmt.Sprint(p.Parameters["SnapshotId"])) {
				t.Errorf("the command's snapshot is %v", p.Parameters["SnapshotId"])
			}
			try(t, n.Reply(ctx, *msg.MessageId, "Success", nil))
		}
		refused(t, "a hook when all is over", read(n, "Hook"), "InvalidDocument", "")

		// What is missing further down may never be run; circles have an end.
		for _, name := range []string{"Lost", "Circle"} {
			must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, runs(name, "{}")))
		}

		// A freeze holds for installs by whatever way.
		try(t, s.Call(ctx, s.Admin, "oakum", "PutInstallFreeze", &oakum.PutInstallFreezeInput{Reason: new("no"), EndDate: codec.NewTime(time.Now().Add(time.Hour))}, nil))
		frozen := map[string]*ssm.SendCommandInput{
			"with hooks": hooks(), "in a document": runs("AWS-RunPatchBaseline", `{"Operation":"Install"}`), "in a document in a document": runs("Deep", "{}"),
			"of Windows updates": {DocumentName: str("AWS-InstallMissingWindowsUpdates"), InstanceIds: []string{n.ID}},
		}
		for what, in := range frozen {
			_, err := c.SendCommand(ctx, in)
			if err == nil || !strings.Contains(err.Error(), "Installs are frozen") {
				t.Errorf("an install %s while frozen: %v", what, err)
			}
		}
		scan := hooks()
		scan.Parameters["Operation"] = []string{"Scan"}
		must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, scan))
		must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, runs("AWS-RunPatchBaseline", `{"Operation":["Scan"]}`)))
	})
}

// A snapshot by BaselineTags is that of the one baseline that carries the tag, and leaves that of the group alone.
func TestSnapshotByBaselineTags(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		n := s.Nodes(1)[0]
		try(t, n.Heartbeat(ctx))
		create := func(name, os string, tags ...wire.Tag) string {
			t.Helper()
			var out wire.CreatePatchBaselineOutput
			try(t, s.Call(ctx, s.Admin, "ssm", "CreatePatchBaseline", &wire.CreatePatchBaselineInput{Name: &name, OperatingSystem: &os, ApprovedPatches: []string{"of-" + name}, Tags: tags}, &out))
			return *out.BaselineId
		}
		tag := func(v string) wire.Tag { return wire.Tag{Key: new("stage"), Value: &v} }
		create("Test", "DEBIAN", tag("test"))
		create("Test2", "UBUNTU", tag("test"))
		one, two := create("One", "DEBIAN", tag("both")), create("Two", "DEBIAN", tag("both"))
		snapshot := func(tags string) (string, error) {
			in := &wire.GetDeployablePatchSnapshotForInstanceInput{InstanceId: &n.ID, SnapshotId: new("11111111-2222-3333-4444-555555555555")}
			if tags != "" {
				in.BaselineTags = &tags
			}
			var out wire.GetDeployablePatchSnapshotForInstanceOutput
			if err := n.Call(ctx, "ssm", "GetDeployablePatchSnapshotForInstance", in, &out); err != nil {
				return "", err
			}
			code, text := fetch(t, *out.SnapshotDownloadUrl)
			if code != http.StatusOK {
				t.Fatalf("%d %s", code, text)
			}
			return text, nil
		}
		if text, err := snapshot("Key=stage,Values=none,test"); err != nil || !strings.Contains(text, `"of-Test"`) {
			t.Errorf("by tag: %v %s", err, text)
		}
		for _, tags := range []string{"", "Key=stage,Values=none"} {
			if text, err := snapshot(tags); err != nil || !strings.Contains(text, "AWS-DebianDefaultPatchBaseline") {
				t.Errorf("%q: %v %s", tags, err, text)
			}
		}
		_, err := snapshot("Key=stage,Values=both")
		if one > two {
			one, two = two, one
		}
		refused(t, "two baselines", err, "ValidationException", fmt.Sprintf("The patch baselines %s and %s for DEBIAN both carry the tag Key=stage,Values=both: only one may carry that key and value.", one, two))
		_, err = snapshot("stage=both")
		refused(t, "no tags", err, "ValidationException", `BaselineTags is Key=KEY,Values=VALUE[,VALUE], not "stage=both".`)
	})
}
