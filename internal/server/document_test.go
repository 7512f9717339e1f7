package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"oakum.dev/awserr"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/internal/store"
	"oakum.dev/wire/ec2messages"
	wire "oakum.dev/wire/ssm"
)

// ownDocument is a document of one step that says something, spaced as a person would.
func ownDocument(says string) string {
	return `{
   "schemaVersion" : "2.2",
   "description":"says ` + says + `",
   "parameters": {"Who":{"type":"String","default":"World","allowedPattern":"[A-Za-z]+","description":"whom"}},
   "mainSteps":[ {"action":"aws:runShellScript", "name":"say", "inputs":{"timeoutSeconds":"60","runCommand":["echo ` + says + ` {{ Who }}"]}} ]
}
`
}

// apiRefused is refused for an error of the SDK.
func apiRefused(t *testing.T, what string, err error, code, message string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || message != "" && e.ErrorMessage() != message {
		t.Errorf("%s = %v, want %s: %s", what, err, code, message)
	}
}

const yamlDocument = "# kept as it is\nschemaVersion: \"2.2\"\ndescription: two steps\nmainSteps:\n- action: aws:runShellScript\n  name: first\n" +
	"  precondition: {StringEquals: [platformType, Linux]}\n  inputs:\n    runCommand:\n    - |\n      echo one\n      exit 1\n    onFailure: exit\n" +
	"- {action: 'aws:runShellScript', name: last, inputs: {finallyStep: true, runCommand: [echo last]}}\n"

// Every operation on a document of one's own, through the SDK.
func TestOwnDocuments(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		first := ownDocument("one")
		d := must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Say"), Content: &first, VersionName: str("r1"), DisplayName: str("Say something"), TargetType: str("/AWS::EC2::Instance"),
			Tags: []types.Tag{{Key: str("z"), Value: str("1")}, {Key: str("a"), Value: str("2")}}, Requires: []types.DocumentRequires{{Name: str("Other"), Version: str("1")}},
		})).DocumentDescription
		if d.Status != "Active" || *d.DocumentVersion != "1" || *d.DefaultVersion != "1" || *d.LatestVersion != "1" || *d.Hash != store.Hash([]byte(first)) || d.HashType != "Sha256" ||
			*d.Owner != s.Account() || d.DocumentType != "Command" || d.DocumentFormat != "JSON" || *d.SchemaVersion != "2.2" || *d.Description != "says one" || *d.VersionName != "r1" ||
			*d.DisplayName != "Say something" || *d.TargetType != "/AWS::EC2::Instance" || len(d.Requires) != 1 || *d.Requires[0].Name != "Other" || d.CreatedDate.IsZero() {
			t.Errorf("CreateDocument = %+v", d)
		}
		if d := cmp.Diff([]types.PlatformType{"Linux", "MacOS"}, d.PlatformTypes); d != "" {
			t.Errorf("PlatformTypes: %s", d)
		}
		if len(d.Parameters) != 1 || *d.Parameters[0].Name != "Who" || *d.Parameters[0].DefaultValue != "World" || *d.Parameters[0].Description != "whom" || d.Parameters[0].Type != "String" {
			t.Errorf("Parameters = %+v", d.Parameters)
		}
		if len(d.Tags) != 2 || *d.Tags[0].Key != "z" {
			t.Errorf("Tags = %+v", d.Tags)
		}
		get := func(in *ssm.GetDocumentInput) *ssm.GetDocumentOutput {
			t.Helper()
			in.Name = str("Say")
			return must[*ssm.GetDocumentOutput](t)(c.GetDocument(ctx, in))
		}
		if g := get(&ssm.GetDocumentInput{DocumentFormat: "JSON"}); *g.Content != first || g.DocumentFormat != "JSON" || *g.VersionName != "r1" || len(g.Requires) != 1 {
			t.Errorf("GetDocument = %+v\n%s", g, *g.Content)
		}

		// A second version, in YAML; the default stays.
		u := must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{
			Name: str("Say"), Content: str(yamlDocument), DocumentFormat: "YAML", DocumentVersion: str("$LATEST"), VersionName: str("r2"),
		})).DocumentDescription
		if *u.DocumentVersion != "2" || *u.LatestVersion != "2" || *u.DefaultVersion != "1" || *u.DisplayName != "Say something" || u.DocumentFormat != "YAML" || len(u.Requires) != 1 ||
			cmp.Diff([]types.PlatformType{"Linux", "MacOS"}, u.PlatformTypes) != "" {
			t.Errorf("UpdateDocument = %+v", u)
		}
		if g := get(&ssm.GetDocumentInput{}); *g.DocumentVersion != "1" {
			t.Errorf("the default version is %s after an update", *g.DocumentVersion)
		}
		if g := get(&ssm.GetDocumentInput{DocumentVersion: str("$LATEST"), DocumentFormat: "YAML"}); *g.Content != yamlDocument || *g.DocumentVersion != "2" {
			t.Errorf("YAML as it was submitted: %q", *g.Content)
		}
		asJSON := get(&ssm.GetDocumentInput{VersionName: str("r2")})
		if !json.Valid([]byte(*asJSON.Content)) || asJSON.DocumentFormat != "JSON" || !strings.Contains(*asJSON.Content, `"echo one\nexit 1\n"`) {
			t.Errorf("YAML as JSON: %s", *asJSON.Content)
		}
		if g := get(&ssm.GetDocumentInput{DocumentVersion: str("1"), DocumentFormat: "YAML"}); !strings.HasPrefix(*g.Content, "schemaVersion: \"2.2\"\ndescription: says one\n") {
			t.Errorf("JSON as YAML: %s", *g.Content)
		}
		v := must[*ssm.UpdateDocumentDefaultVersionOutput](t)(c.UpdateDocumentDefaultVersion(ctx, &ssm.UpdateDocumentDefaultVersionInput{Name: str("Say"), DocumentVersion: str("2")})).Description
		if *v.DefaultVersion != "2" || *v.DefaultVersionName != "r2" || *v.Name != "Say" {
			t.Errorf("UpdateDocumentDefaultVersion = %+v", v)
		}
		desc := must[*ssm.DescribeDocumentOutput](t)(c.DescribeDocument(ctx, &ssm.DescribeDocumentInput{Name: str("arn:aws:ssm:us-east-1:" + s.Account() + ":document/Say")})).Document
		if *desc.DocumentVersion != "2" || *desc.Name != "Say" || *desc.Hash != store.Hash([]byte(yamlDocument)) {
			t.Errorf("DescribeDocument by ARN = %+v", desc)
		}
		for i := range 5 {
			must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Say"), Content: str(ownDocument(fmt.Sprint("more ", i)))}))
		}
		var versions []string
		p := ssm.NewListDocumentVersionsPaginator(c, &ssm.ListDocumentVersionsInput{Name: str("Say"), MaxResults: aws.Int32(3)})
		for p.HasMorePages() {
			for _, v := range must[*ssm.ListDocumentVersionsOutput](t)(p.NextPage(ctx)).DocumentVersions {
				versions = append(versions, fmt.Sprint(*v.DocumentVersion, aws.ToString(v.VersionName), v.IsDefaultVersion, v.Status, v.DocumentFormat))
			}
		}
		if d := cmp.Diff([]string{"7falseActiveJSON", "6falseActiveJSON", "5falseActiveJSON", "4falseActiveJSON", "3falseActiveJSON", "2r2trueActiveYAML", "1r1falseActiveJSON"}, versions); d != "" {
			t.Errorf("ListDocumentVersions: %s", d)
		}

		// One version, the latest, is deleted: its number does not come back.
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Say"), DocumentVersion: str("$LATEST")}))
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Say"), VersionName: str("r1")}))
		if d := must[*ssm.DescribeDocumentOutput](t)(c.DescribeDocument(ctx, &ssm.DescribeDocumentInput{Name: str("Say")})).Document; *d.LatestVersion != "6" || *d.DefaultVersion != "2" {
			t.Errorf("after the latest version was deleted: %+v", d)
		}
		if u := must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Say"), Content: &first, DocumentVersion: str("6"), VersionName: str("r1")})).DocumentDescription; *u.DocumentVersion != "8" {
			t.Errorf("the next version is %s, want 8", *u.DocumentVersion)
		}

		// Tags, by name and by ARN.
		must[*ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Document", ResourceId: str("Say"), Tags: []types.Tag{{Key: str("a"), Value: str("3")}, {Key: str("n"), Value: str("4")}}}))
		must[*ssm.RemoveTagsFromResourceOutput](t)(c.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{
			ResourceType: "Document", ResourceId: str("arn:aws:ssm:us-east-1:" + s.Account() + ":document/Say"), TagKeys: []string{"z"},
		}))
		tags := must[*ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Document", ResourceId: str("Say")})).TagList
		if len(tags) != 2 || *tags[0].Key != "a" || *tags[0].Value != "3" || *tags[1].Key != "n" {
			t.Errorf("ListTagsForResource = %+v", tags)
		}

		// Shares.
		share := func(add, remove []string, version *string) error {
			_, err := c.ModifyDocumentPermission(ctx, &ssm.ModifyDocumentPermissionInput{Name: str("Say"), PermissionType: "Share", AccountIdsToAdd: add, AccountIdsToRemove: remove, SharedDocumentVersion: version})
			return err
		}
		try(t, share([]string{"111122223333", "444455556666"}, nil, str("$ALL")))
		try(t, share([]string{"000000000099"}, []string{"444455556666", "777777777777"}, nil))
		perm := must[*ssm.DescribeDocumentPermissionOutput](t)(c.DescribeDocumentPermission(ctx, &ssm.DescribeDocumentPermissionInput{Name: str("Say"), PermissionType: "Share"}))
		if d := cmp.Diff([]string{"111122223333", "000000000099"}, perm.AccountIds); d != "" || len(perm.AccountSharingInfoList) != 2 || *perm.AccountSharingInfoList[0].SharedDocumentVersion != "$ALL" ||
			*perm.AccountSharingInfoList[1].SharedDocumentVersion != "$DEFAULT" {
			t.Errorf("DescribeDocumentPermission = %+v %s", perm, d)
		}
		apiRefused(t, "sharing with all beside accounts", share([]string{"All", "111122223333"}, nil, nil), "DocumentPermissionLimit", "Accounts can either be all or a group of AWS accounts")
		_, err := c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Say")})
		apiRefused(t, "deleting a shared document", err, "InvalidDocumentOperation", "Must unshare document first before delete")
		try(t, share([]string{"All"}, nil, nil)) // in the place of the accounts
		if perm := must[*ssm.DescribeDocumentPermissionOutput](t)(c.DescribeDocumentPermission(ctx, &ssm.DescribeDocumentPermissionInput{Name: str("Say"), PermissionType: "Share"})); !slices.Equal(perm.AccountIds, []string{"all"}) {
			t.Errorf("shared with %v, want all", perm.AccountIds)
		}
		try(t, share([]string{"111122223333"}, nil, nil)) // and the other way round
		if perm := must[*ssm.DescribeDocumentPermissionOutput](t)(c.DescribeDocumentPermission(ctx, &ssm.DescribeDocumentPermissionInput{Name: str("Say"), PermissionType: "Share"})); !slices.Equal(perm.AccountIds, []string{"111122223333"}) {
			t.Errorf("shared with %v, want the account alone", perm.AccountIds)
		}
		try(t, share(nil, []string{"111122223333"}, nil))

		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Say")}))
		_, err = c.DescribeDocument(ctx, &ssm.DescribeDocumentInput{Name: str("Say")})
		apiRefused(t, "a deleted document", err, "InvalidDocument", "Document with name Say does not exist.")
		again := must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Say"), Content: &first})).DocumentDescription
		if *again.DocumentVersion != "1" || len(again.Tags) != 0 || again.VersionName != nil || again.TargetType != nil {
			t.Errorf("made again after its deletion: %+v", again)
		}
	})
}

func TestListDocuments(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		for _, name := range []string{"Zeta", "AAlpha", "Mid", "Midway"} {
			must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
				Name: &name, Content: str(ownDocument("it")), TargetType: str("/" + name), Tags: []types.Tag{{Key: str("team"), Value: str(name[:1])}},
			}))
		}
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Book"), DocumentType: "Automation", DocumentFormat: "YAML", Content: str("schemaVersion: '0.3'\nmainSteps:\n- {name: a, action: 'aws:sleep', inputs: {Duration: PT1S}}\n"),
		}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Days"), DocumentType: "ChangeCalendar", DocumentFormat: "TEXT", Content: str("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"),
		}))
		must[*ssm.ModifyDocumentPermissionOutput](t)(c.ModifyDocumentPermission(ctx, &ssm.ModifyDocumentPermissionInput{Name: str("Mid"), PermissionType: "Share", AccountIdsToAdd: []string{"all"}}))
		list := func(filters ...string) (names []string) {
			t.Helper()
			in := &ssm.ListDocumentsInput{MaxResults: aws.Int32(2)}
			for _, f := range filters {
				key, values, _ := strings.Cut(f, "=")
				in.Filters = append(in.Filters, types.DocumentKeyValuesFilter{Key: &key, Values: strings.Split(values, ",")})
			}
			p := ssm.NewListDocumentsPaginator(c, in)
			for p.HasMorePages() {
				for _, d := range must[*ssm.ListDocumentsOutput](t)(p.NextPage(ctx)).DocumentIdentifiers {
					names = append(names, *d.Name)
				}
			}
			return names
		}
		all := list()
		if !slices.IsSorted(all) || len(all) < 11 || !slices.Contains(all, "AWS-RunShellScript") || !slices.Contains(all, "Zeta") {
			t.Errorf("all documents: %v", all)
		}
		for _, tc := range []struct {
			filters []string
			want    []string
		}{
			{[]string{"Owner=Self"}, []string{"AAlpha", "Book", "Days", "Mid", "Midway", "Zeta"}},
			{[]string{"Owner=" + s.Account(), "Name=Mid"}, []string{"Mid", "Midway"}},
			{[]string{"Owner=Public", "Name=M"}, []string{"Mid"}},
			{[]string{"Owner=Private"}, []string{"AAlpha", "Book", "Days", "Midway", "Zeta"}},
			{[]string{"Owner=999999999999,ThirdParty"}, nil},
			{[]string{"Name=Mid,Zet"}, []string{"Mid", "Midway", "Zeta"}},
			{[]string{"DocumentType=Automation,ChangeCalendar"}, []string{"Book", "Days"}},
			{[]string{"PlatformTypes=Windows", "Owner=Self"}, []string{"Book"}},
			{[]string{"TargetType=/Zeta"}, []string{"Zeta"}},
			{[]string{"tag:team=M,Z"}, []string{"Mid", "Midway", "Zeta"}},
			{[]string{"tag:team=M", "TargetType=/Mid"}, []string{"Mid"}},
			{[]string{"tag:none=x"}, nil},
			{[]string{"SearchKeyword=SAYS IT"}, []string{"AAlpha", "Mid", "Midway", "Zeta"}},
			{[]string{"Owner=Amazon", "Name=AWS-RunP"}, []string{"AWS-RunPatchBaseline", "AWS-RunPatchBaselineAssociation", "AWS-RunPatchBaselineWithHooks", "AWS-RunPowerShellScript"}},
		} {
			if d := cmp.Diff(tc.want, list(tc.filters...)); d != "" {
				t.Errorf("%v (-want +got):\n%s", tc.filters, d)
			}
		}
		old := must[*ssm.ListDocumentsOutput](t)(c.ListDocuments(ctx, &ssm.ListDocumentsInput{DocumentFilterList: []types.DocumentFilter{{Key: "Owner", Value: str("Self")}}})).DocumentIdentifiers
		if len(old) != 6 || *old[0].Owner != s.Account() || *old[0].DocumentVersion != "1" || old[0].DocumentFormat != "JSON" || *old[0].TargetType != "/AAlpha" || len(old[0].Tags) != 1 || old[0].CreatedDate == nil {
			t.Errorf("DocumentFilterList = %+v", old)
		}
		other := *s
		other.Region = "eu-west-1"
		var elsewhere wire.ListDocumentsOutput
		try(t, other.Call(ctx, s.Admin, "ssm", "ListDocuments", `{"Filters":[{"Key":"Owner","Values":["Self","All"]}]}`, &elsewhere))
		for _, d := range elsewhere.DocumentIdentifiers {
			if *d.Owner != "Amazon" {
				t.Errorf("another region has %s of %s", *d.Name, *d.Owner)
			}
		}
	})
}

func TestDocumentErrors(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		for _, name := range []string{"Have", "Deleted"} {
			must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: &name, Content: str(ownDocument("one")), VersionName: str("r1")}))
		}
		must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Have"), Content: str(ownDocument("two")), VersionName: str("r2")}))
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Deleted")}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Old"), Content: str(`{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"runCommand":["a"]}]}}}`),
		}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Schema"), DocumentType: "ApplicationConfigurationSchema", Content: str(`{}`)}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Book"), DocumentType: "Automation", Content: str(`{"schemaVersion":"0.3","mainSteps":[{"name":"a","action":"aws:sleep"}]}`)}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Store"), Content: str(ownDocument("{{ ssm:/a/name }}"))}))
		quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
		two, three := quote(ownDocument("two")), quote(ownDocument("three"))
		large := quote(ownDocument("x") + strings.Repeat(" ", 64<<10))
		try(t, s.Flush(ctx))
		before := s.Dump()
		const exists, invalid = "The specified document already exists.", "InvalidDocumentContent"
		checkErrors(t, s, map[string]string{"$TWO": two, "$THREE": three, "$LARGE": large, "$NODE": n.ID, "$ACCT": s.Account()}, []errorCase{
			{"CreateDocument", `{"Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"a b c","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"ab","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"New","Content":""}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"New","Content":$THREE,"DocumentType":"Nonsense"}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"New","Content":$THREE,"DocumentFormat":"XML"}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"AWS-Mine","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"awsMine","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"AmazonMine","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"amzn.mine","Content":$THREE}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"New","Content":$THREE,"Attachments":[{"Key":"SourceUrl","Values":["s3://b/k"]}]}`, "ValidationException", "Attachments are not supported: create the document without them."},
			{"CreateDocument", `{"Name":"New","Content":$THREE,"Tags":[{"Key":"aws:x","Value":"y"}]}`, "ValidationException", ""},
			{"CreateDocument", `{"Name":"Have","Content":$THREE}`, "DocumentAlreadyExists", exists},
			{"CreateDocument", `{"Name":"New","Content":"nonsense"}`, invalid, "The content for the document is not valid. the document is not valid JSON: invalid character 'o' in literal null (expecting 'u') (line 1, column 2)"},
			{"CreateDocument", `{"Name":"New","Content":"{\"schemaVersion\":\"2.2\",\"mainSteps\":[{\"name\":\"x\"}]}"}`, invalid, "The content for the document is not valid. mainSteps[0].action is missing"},
			{"CreateDocument", `{"Name":"New","Content":"{\"schemaVersion\":\"0.3\",\"mainSteps\":[]}"}`, "InvalidDocumentSchemaVersion", ""},
			{"CreateDocument", `{"Name":"New","Content":"{}"}`, "InvalidDocumentSchemaVersion", ""},
			{"CreateDocument", `{"Name":"New","Content":$LARGE}`, "MaxDocumentSizeExceeded", ""},
			{"UpdateDocument", `{"Name":"Nonsense","Content":$THREE}`, "InvalidDocument", "Document with name Nonsense does not exist."},
			{"UpdateDocument", `{"Name":"Deleted","Content":$THREE}`, "InvalidDocument", "Document with name Deleted does not exist."},
			{"UpdateDocument", `{"Name":"AWS-RunShellScript","Content":$THREE}`, "InvalidDocument", ""},
			{"UpdateDocument", `{"Name":"Have","Content":$TWO}`, "DuplicateDocumentContent", "The content of the association document matches another document. Change the content of the document and try again."},
			{"UpdateDocument", `{"Name":"Have","Content":$THREE,"VersionName":"r1"}`, "DuplicateDocumentVersionName", "The specified version name is a duplicate."},
			{"UpdateDocument", `{"Name":"Have","Content":$THREE,"DocumentVersion":"1"}`, "InvalidDocumentVersion", ""},
			{"UpdateDocument", `{"Name":"Have","Content":$THREE,"DocumentVersion":"$DEFAULT"}`, "InvalidDocumentVersion", ""},
			{"UpdateDocument", `{"Name":"Have","Content":$THREE,"DocumentVersion":"99999999999999999999"}`, "InvalidDocumentVersion", ""},
			{"UpdateDocument", `{"Name":"Have","Content":"{"}`, invalid, ""},
			{"UpdateDocument", `{"Name":"Have","Content":$LARGE}`, "MaxDocumentSizeExceeded", ""},
			{"UpdateDocument", `{"Name":"Old","Content":"{\"schemaVersion\":\"1.2\",\"runtimeConfig\":{\"a\":{}}}"}`, "InvalidDocumentSchemaVersion", ""},
			{"UpdateDocumentDefaultVersion", `{"Name":"Have","DocumentVersion":"3"}`, "InvalidDocumentVersion", ""},
			{"UpdateDocumentDefaultVersion", `{"Name":"Nonsense","DocumentVersion":"1"}`, "InvalidDocument", ""},
			{"UpdateDocumentDefaultVersion", `{"Name":"AWS-RunShellScript","DocumentVersion":"1"}`, "InvalidDocument", ""},
			{"DeleteDocument", `{"Name":"Nonsense"}`, "InvalidDocument", "Document with name Nonsense does not exist."},
			{"DeleteDocument", `{"Name":"AWS-RunShellScript"}`, "InvalidDocument", ""},
			{"DeleteDocument", `{"Name":"Have","DocumentVersion":"1"}`, "InvalidDocumentOperation", "Default version of the document can't be deleted."},
			{"DeleteDocument", `{"Name":"Have","DocumentVersion":"7"}`, "InvalidDocument", ""},
			{"DeleteDocument", `{"Name":"Have","VersionName":"r3"}`, "InvalidDocument", ""},
			{"DeleteDocument", `{"Name":"Have","VersionName":"r2","DocumentVersion":"1"}`, "InvalidDocument", ""},
			{"DeleteDocument", `{"Name":"Schema"}`, "InvalidDocumentOperation", ""},
			{"GetDocument", `{"Name":"Have","DocumentVersion":"3"}`, "InvalidDocumentVersion", ""},
			{"GetDocument", `{"Name":"Have","VersionName":"r3"}`, "InvalidDocumentVersion", ""},
			{"GetDocument", `{"Name":"Have","DocumentFormat":"TEXT"}`, "InvalidDocument", ""},
			{"GetDocument", `{"Name":"arn:aws:ssm:eu-west-1:$ACCT:document/Have"}`, "InvalidDocument", ""},
			{"GetDocument", `{"Name":"arn:aws:ssm:us-east-1::document/Have"}`, "InvalidDocument", ""},
			{"GetDocument", `{"Name":"arn:aws:ssm:us-east-1:999999999999:document/Have"}`, "InvalidDocument", "Document with name arn:aws:ssm:us-east-1:999999999999:document/Have does not exist."},
			{"ListDocumentVersions", `{"Name":"Nonsense"}`, "InvalidDocument", ""},
			{"ListDocuments", `{"Filters":[{"Key":"tag:","Values":["x"]}]}`, "InvalidFilterKey", ""},
			{"ListDocuments", `{"Filters":[{"Key":"Owner","Values":["Self"]}],"DocumentFilterList":[{"key":"Owner","value":"Self"}]}`, "ValidationException", ""},
			{"DescribeDocumentPermission", `{"Name":"Nonsense","PermissionType":"Share"}`, "InvalidDocument", ""},
			{"DescribeDocumentPermission", `{"Name":"Have","PermissionType":"Own"}`, "InvalidPermissionType", "1 validation error detected: Value 'Own' at 'permissionType' failed to satisfy constraint: Member must satisfy enum value set: [Share]"},
			{"ModifyDocumentPermission", `{"Name":"Have","PermissionType":"Own"}`, "InvalidPermissionType", ""},
			{"ModifyDocumentPermission", `{"Name":"Nonsense","PermissionType":"Share","AccountIdsToAdd":["all"]}`, "InvalidDocument", ""},
			{"ModifyDocumentPermission", `{"Name":"Have","PermissionType":"Share","AccountIdsToAdd":["12"]}`, "ValidationException", ""},
			{"ModifyDocumentPermission", `{"Name":"Have","PermissionType":"Share","AccountIdsToAdd":["all","111122223333"]}`, "DocumentPermissionLimit", "Accounts can either be all or a group of AWS accounts"},
			{"ModifyDocumentPermission", `{"Name":"Have","PermissionType":"Share","SharedDocumentVersion":"1","AccountIdsToAdd":["111122223333"]}`, "ValidationException", ""},
			{"AddTagsToResource", `{"ResourceType":"Document","ResourceId":"Nonsense","Tags":[{"Key":"a","Value":"b"}]}`, "InvalidResourceId", ""},
			{"AddTagsToResource", `{"ResourceType":"Document","ResourceId":"AWS-RunShellScript","Tags":[{"Key":"a","Value":"b"}]}`, "InvalidResourceId", ""},
			{"ListTagsForResource", `{"ResourceType":"Document","ResourceId":"arn:aws:ssm:us-east-1:999999999999:document/Have"}`, "InvalidResourceId", ""},
			{"SendCommand", `{"DocumentName":"Book","InstanceIds":["$NODE"]}`, "InvalidDocument", "The document Book has the type Automation: Run Command runs documents of the type Command only."},
			{"SendCommand", `{"DocumentName":"Have","InstanceIds":["$NODE"],"DocumentVersion":"3"}`, "InvalidDocumentVersion", ""},
			{"SendCommand", `{"DocumentName":"Have","InstanceIds":["$NODE"],"DocumentHash":"00","DocumentHashType":"Sha256"}`, "InvalidDocument", ""},
			{"SendCommand", `{"DocumentName":"Have","InstanceIds":["$NODE"],"Parameters":{"Who":["a b"]}}`, "InvalidParameters", ""},
			{"SendCommand", `{"DocumentName":"Have","InstanceIds":["$NODE"],"Parameters":{"What":["a"]}}`, "InvalidParameters", "The following SSM parameters are invalid: What"},
			{"SendCommand", `{"DocumentName":"Store","InstanceIds":["$NODE"]}`, "InvalidParameters", "The following SSM parameters are invalid: {{ ssm:/a/name }} cannot be resolved, as this server has no Parameter Store."},
			{"SendCommand", `{"DocumentName":"Deleted","InstanceIds":["$NODE"]}`, "InvalidDocument", "Document with name Deleted does not exist."},
		})
		unchanged(t, "refused calls changed the database", before, s.Dump())
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Schema"), Force: true}))
		err := s.Call(ctx, s.Reader, "ssm", "DeleteDocument", `{"Name":"Have"}`, nil)
		refused(t, "a reader deletes", err, "AccessDeniedException", "")
		try(t, s.Call(ctx, s.Reader, "ssm", "GetDocument", `{"Name":"Have"}`, nil))
		try(t, s.Call(ctx, s.Reader, "ssm", "DescribeDocumentPermission", `{"Name":"Have","PermissionType":"Share"}`, nil))
	})
}

// payload is what a node gets of a command.
type payload struct {
	DocumentName    string
	Parameters      map[string]any
	DocumentContent json.RawMessage
}

func payloadOf(t *testing.T, m ec2messages.Message) (p payload) {
	t.Helper()
	try(t, json.Unmarshal([]byte(*m.Payload), &p))
	return p
}

// A command runs the version that it was sent with, whatever becomes of the document meanwhile.
func TestCommandsKeepTheirVersion(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n, m := s.Nodes(2)[0], s.Nodes(1)[0]
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Say"), Content: str(ownDocument("one"))}))
		must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Say"), Content: str(ownDocument("two"))}))
		send := func(in *ssm.SendCommandInput) *types.Command {
			t.Helper()
			in.InstanceIds = []string{n.ID}
			return must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, in)).Command
		}
		arn := "arn:aws:ssm:us-east-1:" + s.Account() + ":document/Say"
		hash := store.Hash([]byte(ownDocument("two")))
		byDefault := send(&ssm.SendCommandInput{DocumentName: str("Say"), Parameters: map[string][]string{"Who": {"Anna"}}})
		byNumber := send(&ssm.SendCommandInput{DocumentName: &arn, DocumentVersion: str("2"), DocumentHash: &hash, DocumentHashType: "Sha256"})
		latest := send(&ssm.SendCommandInput{DocumentName: str("Say"), DocumentVersion: str("$LATEST")})
		if *byDefault.DocumentVersion != "$DEFAULT" || *byNumber.DocumentVersion != "2" || *byDefault.DocumentName != "Say" || byDefault.ExpiresAfter.Sub(*byDefault.RequestedDateTime).Seconds() != 3660 {
			t.Errorf("SendCommand = %+v, %+v", byDefault, byNumber)
		}

		// Only who was sent a document may read it, and only for as long as the command lasts.
		if err := n.Call(ctx, "ssm", "GetDocument", `{"Name":"Say"}`, nil); err != nil {
			t.Errorf("the node cannot read the document that it was sent: %v", err)
		}
		refused(t, "another node reads it", m.Call(ctx, "ssm", "GetDocument", `{"Name":"Say"}`, nil), "InvalidDocument", "Document with name Say does not exist.")
		refused(t, "another node describes it", m.Call(ctx, "ssm", "DescribeDocument", `{"Name":"Say"}`, nil), "InvalidDocument", "")
		try(t, m.Call(ctx, "ssm", "GetDocument", `{"Name":"AWS-RunShellScript"}`, nil))

		must[*ssm.UpdateDocumentDefaultVersionOutput](t)(c.UpdateDocumentDefaultVersion(ctx, &ssm.UpdateDocumentDefaultVersionInput{Name: str("Say"), DocumentVersion: str("2")}))
		must[*ssm.UpdateDocumentOutput](t)(c.UpdateDocument(ctx, &ssm.UpdateDocumentInput{Name: str("Say"), Content: str(ownDocument("three"))}))
		must[*ssm.DeleteDocumentOutput](t)(c.DeleteDocument(ctx, &ssm.DeleteDocumentInput{Name: str("Say")}))
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{Name: str("Say"), Content: str(ownDocument("new"))}))
		s.Advance(49 * 60 * 1e9) // and the sweep of what nothing refers to
		try(t, s.Retain(ctx))
		want := map[string]string{*byDefault.CommandId: "echo one", *byNumber.CommandId: "echo two", *latest.CommandId: "echo two"}
		for _, msg := range must[[]ec2messages.Message](t)(n.Poll(ctx)) {
			id := strings.Split(*msg.MessageId, ".")[2]
			p := payloadOf(t, msg)
			if !strings.Contains(string(p.DocumentContent), want[id]) || p.DocumentName != "Say" {
				t.Errorf("command %s runs %s %s, want %s", id, p.DocumentName, p.DocumentContent, want[id])
			}
			if id == *byDefault.CommandId && p.Parameters["Who"] != "Anna" {
				t.Errorf("parameters = %v", p.Parameters)
			}
			delete(want, id)
			try(t, n.Ack(ctx, *msg.MessageId))
			try(t, n.Reply(ctx, *msg.MessageId, "Success", map[string]servertest.Step{"say": {Status: "Success", Plugin: "aws:runShellScript", Stdout: "said", Started: "2026-11-22T01:00:00.000Z", Ended: "2026-11-22T01:00:01.000Z"}}))
		}
		if len(want) != 0 {
			t.Errorf("not delivered: %v", want)
		}
		refused(t, "the node reads it when all is over", n.Call(ctx, "ssm", "GetDocument", `{"Name":"Say"}`, nil), "InvalidDocument", "")
		g := invocation(t, c, byNumber.CommandId, n.ID)
		if *g.DocumentName != arn || *g.DocumentVersion != "2" || *g.PluginName != "say" || *g.StandardOutputContent != "said" || g.Status != "Success" {
			t.Errorf("GetCommandInvocation = %+v", g)
		}
		if list := must[*ssm.ListCommandInvocationsOutput](t)(c.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{
			Filters: []types.CommandFilter{{Key: "DocumentName", Value: str("Say")}}, Details: true,
		})).CommandInvocations; len(list) != 3 || *list[0].CommandPlugins[0].Name != "say" {
			t.Errorf("ListCommandInvocations by name = %+v", list)
		}
		if list := must[*ssm.ListCommandsOutput](t)(c.ListCommands(ctx, &ssm.ListCommandsInput{Filters: []types.CommandFilter{{Key: "DocumentName", Value: &arn}}})).Commands; len(list) != 1 || *list[0].DocumentVersion != "2" {
			t.Errorf("ListCommands by ARN = %+v", list)
		}
	})
}

// A node without a step for its platform refuses the command, by its document's steps and their preconditions.
func TestOwnDocumentOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		n := s.Nodes(1)[0]
		must[*ssm.CreateDocumentOutput](t)(c.CreateDocument(ctx, &ssm.CreateDocumentInput{
			Name: str("Mac"), Content: str(strings.Replace(ownDocument("x"), `"name":"say"`, `"name":"say","precondition":{"StringEquals":["platformType","MacOS"]}`, 1)),
		}))
		_, err := c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: str("Mac"), InstanceIds: []string{n.ID}})
		apiRefused(t, "a document for macOS on Linux", err, "UnsupportedPlatformType", "")
		sent := must[*ssm.SendCommandOutput](t)(c.SendCommand(ctx, &ssm.SendCommandInput{DocumentName: str("Mac"), Targets: []types.Target{{Key: str("InstanceIds"), Values: []string{n.ID}}}})).Command
		if g := invocation(t, c, sent.CommandId, n.ID); *g.StatusDetails != "InvalidPlatform" {
			t.Errorf("a target of another platform: %s", *g.StatusDetails)
		}
	})
}

// Of many who edit at once with the number of the version that they saw, one succeeds.
func TestEditorsNoticeEachOther(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		var mu sync.Mutex
		codes := map[string]int{}
		race := func(call func(i int) error) {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					err := call(i)
					mu.Lock()
					defer mu.Unlock()
					codes[awserr.Code(err)]++
				})
			}
			wg.Wait()
		}
		race(func(i int) error {
			return s.Call(ctx, s.Admin, "ssm", "CreateDocument", &wire.CreateDocumentInput{Name: str("Raced"), Content: str(ownDocument(fmt.Sprint("made ", i)))}, nil)
		})
		race(func(i int) error {
			return s.Call(ctx, s.Admin, "ssm", "UpdateDocument", &wire.UpdateDocumentInput{Name: str("Raced"), Content: str(ownDocument(fmt.Sprint("edit ", i))), DocumentVersion: str("1")}, nil)
		})
		if d := cmp.Diff(map[string]int{"": 2, "DocumentAlreadyExists": 7, "InvalidDocumentVersion": 7}, codes); d != "" {
			t.Errorf("outcomes (-want +got):\n%s", d)
		}
		race(func(i int) error {
			return s.Call(ctx, s.Admin, "ssm", "UpdateDocument", &wire.UpdateDocumentInput{Name: str("Raced"), Content: str(ownDocument(fmt.Sprint("more ", i)))}, nil)
		})
		list := must[*ssm.ListDocumentVersionsOutput](t)(c.ListDocumentVersions(ctx, &ssm.ListDocumentVersionsInput{Name: str("Raced")})).DocumentVersions
		if len(list) != 10 || *list[0].DocumentVersion != "10" {
			t.Errorf("%d versions after ten successful edits, the latest %s", len(list), *list[0].DocumentVersion)
		}
	})
}
