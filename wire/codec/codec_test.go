package codec_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
	"oakum.dev/wire/sts"
)

func TestTime(t *testing.T) {
	for _, tc := range []struct{ in, out string }{
		{"1795308500.863", "1795308500.863"},
		{"1795308500", "1795308500"},
		{"1795308500.5", "1795308500.5"},
		{"1795308500.8639", "1795308500.863"},
		{"1.79e9", "1790000000"},
		{"0", "0"},
		{"-1.5", "-1.5"},
		{`"2026-11-22T01:16:04Z"`, "1795310164"},
		{`"2026-11-22T01:16:04.25+01:00"`, "1795306564.25"},
		{`"2026-11-22"`, "1795305600"},
		{"253402300799", "253402300799"},
		{"253402300800", ""},
		{"-62135596801", ""},
		{"1e300", ""},
		{"99999999999999999999", ""},
		{`"yesterday"`, ""},
		{`"0000-01-01T00:00:00Z"`, ""},
		{"true", ""},
		{"01", ""},
		{"1.", ""},
	} {
		var v codec.Time
		err := v.UnmarshalJSON([]byte(tc.in))
		if tc.out == "" {
			if awserr.Code(err) != "SerializationException" {
				t.Errorf("UnmarshalJSON(%s) = %v, %v, want SerializationException", tc.in, v, err)
			}
			continue
		}
		if got := string(v.AppendJSON(nil)); err != nil || got != tc.out {
			t.Errorf("UnmarshalJSON(%s) prints as %s, %v, want %s", tc.in, got, err, tc.out)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{ // want: JSON, or the start of an error's message
		{"unknown_members_are_skipped", `{"A":{"b":[1,2.5e3,true,null,"x"]},"Name":"web"}`, `{"Name":"web"}`},
		{"case_matters", `{"name":"web"}`, `{}`},
		{"null_is_absent", `{"Name":null,"ApprovedPatches":null}`, `{}`},
		{"empty_list_is_kept", `{"ApprovedPatches":[]}`, `{"ApprovedPatches":[]}`},
		{"last_one_counts", `{"Name":"a","Name":"b"}`, `{"Name":"b"}`},
		{"escapes", `{"Name":"\u0041\n\ud83d\ude00\/"}`, `{"Name":"A\n😀/"}`},
		{"nested", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":0}]}}`, `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":0}]}}`},
		{"integral_float", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":7.0}]}}`, `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":7}]}}`},
		{"fraction", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":7.5}]}}`, "NUMBER_VALUE can not be converted to Integer"},
		{"huge", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":1e400}]}}`, "NUMBER_VALUE can not be converted to Integer"},
		{"beyond_32_bits", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":2147483648}]}}`, "NUMBER_VALUE can not be converted to Integer"},
		{"string_for_integer", `{"ApprovalRules":{"PatchRules":[{"ApproveAfterDays":"7"}]}}`, "STRING_VALUE can not be converted to Integer"},
		{"number_for_string", `{"Name":7}`, "NUMBER_VALUE can not be converted to String"},
		{"true_for_string", `{"Name":true}`, "TRUE_VALUE can not be converted to String"},
		{"object_for_string", `{"Name":{}}`, "Start of structure or map found where not expected."},
		{"list_for_string", `{"Name":[]}`, "Start of list found where not expected"},
		{"string_for_list", `{"ApprovedPatches":"KB1"}`, "Expected list or null"},
		{"string_for_structure", `{"ApprovalRules":"x"}`, "STRING_VALUE can not be converted to Structure"},
		{"string_for_boolean", `{"ApprovedPatchesEnableNonSecurity":"true"}`, "STRING_VALUE can not be converted to Boolean"},
		{"null_in_list", `{"ApprovedPatches":[null]}`, "NULL_VALUE can not be converted to String"},
		{"list_for_all", `[]`, "Start of list found where not expected"},
		{"nothing", ``, `{}`},
		{"null", ` null `, `{}`},
		{"cut", `{"Name":"we`, "Unexpected end of input"},
		{"trailing_comma", `{"Name":"web",}`, "Unexpected token"},
		{"trailing_comma_in_list", `{"ApprovedPatches":["a",]}`, "Unexpected token"},
		{"no_comma", `{"Name":"a" "Description":"b"}`, "Unexpected token"},
		{"control_character", "{\"Name\":\"a\nb\"}", "Unexpected token"},
		{"lone_surrogate", `{"Name":"\ud83d"}`, "Invalid surrogate"},
		{"bad_utf8", "{\"Name\":\"\xc3\x28\"}", "Invalid UTF-8"},
		{"two_values", `{} {}`, "Unexpected token"},
		{"depth_63", `{"A":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{}`},
		{"depth_64", `{"A":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, "Document is nested more than 64 levels deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v ssm.CreatePatchBaselineInput
			err := codec.Unmarshal([]byte(tc.in), &v)
			if !strings.HasPrefix(tc.want, "{") {
				e, ok := errors.AsType[*awserr.Error](err)
				if !ok || e.Code != "SerializationException" || !strings.HasPrefix(e.Message, tc.want) {
					t.Errorf("Unmarshal(%s) = %v, want SerializationException: %s", tc.in, err, tc.want)
				}
				return
			}
			if got := string(codec.Marshal(&v)); err != nil || got != tc.want {
				t.Errorf("Unmarshal(%s) = %s, %v, want %s", tc.in, got, err, tc.want)
			}
		})
	}
}

func TestBlob(t *testing.T) {
	var v oakum.PutPatchResultInput
	if err := codec.Unmarshal([]byte(`{"Items":"AQID"}`), &v); err != nil || string(v.Items) != "\x01\x02\x03" {
		t.Errorf("blob = %q, %v", v.Items, err)
	}
	if got := string(codec.Marshal(&v)); got != `{"Items":"AQID"}` {
		t.Errorf("Marshal = %s", got)
	}
	if got := string(codec.MarshalAudit(&v)); got != `{"items":"3 bytes"}` {
		t.Errorf("MarshalAudit = %s, want the size only", got)
	}
	if err := codec.Unmarshal([]byte(`{"Items":"!"}`), &v); awserr.Code(err) != "SerializationException" {
		t.Errorf("bad base64: %v", err)
	}
}

// TestMarshalLikeEncodingJSON holds the generated encoder against encoding/json on the same structs.
func TestMarshalLikeEncodingJSON(t *testing.T) {
	v := &ssm.GetPatchBaselineOutput{
		Name: new("a\"\\\n\x01é\u2028<&>"), ApprovedPatches: []string{}, RejectedPatches: nil, CreatedDate: codec.NewTime(time.Unix(1, 5e6)),
		ApprovalRules: &ssm.PatchRuleGroup{PatchRules: []ssm.PatchRule{{ApproveAfterDays: new(int64), EnableNonSecurity: new(true)}}},
	}
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(want, &a); err != nil {
		t.Fatal(err)
	}
	got := codec.Marshal(v)
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("Marshal differs from encoding/json (-want +got):\n%s", d)
	}
}

func TestValidationMessages(t *testing.T) {
	in := &ssm.CreatePatchBaselineInput{
		OperatingSystem: new("BEOS"), ClientToken: new(strings.Repeat("é", 65)),
		ApprovedPatches: []string{"KB1", ""},
		ApprovalRules:   &ssm.PatchRuleGroup{PatchRules: []ssm.PatchRule{{ApproveAfterDays: new(int64(361)), PatchFilterGroup: &ssm.PatchFilterGroup{PatchFilters: []ssm.PatchFilter{}}}}},
		Sources:         []ssm.PatchSource{{Name: new("src"), Products: []string{"p"}, Configuration: new("")}},
	}
	err := awserr.From(in.Validate())
	if err.Code != "ValidationException" || err.HTTPStatus() != 400 {
		t.Errorf("Validate = %v, want ValidationException with status 400", err)
	}
	for _, part := range []string{
		"6 validation errors detected: ",
		"Value null at 'name' failed to satisfy constraint: Member must not be null; ",
		"Value 'BEOS' at 'operatingSystem' failed to satisfy constraint: Member must satisfy enum value set: [WINDOWS, AMAZON_LINUX, ",
		"Value '361' at 'approvalRules.patchRules.1.member.approveAfterDays' failed to satisfy constraint: Member must have value less than or equal to 360",
		"Value '[KB1, ]' at 'approvedPatches' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 100, Member must have length greater than or equal to 1]",
		"Value at 'sources.1.member.configuration' failed to satisfy constraint: Member must have length greater than or equal to 1",
		"' at 'clientToken' failed to satisfy constraint: Member must have length less than or equal to 64",
	} {
		if !strings.Contains(err.Message, part) {
			t.Errorf("Validate = %s\nwant %q in it", err.Message, part)
		}
	}
	tag := &ssm.AddTagsToResourceInput{ResourceType: new("Car"), ResourceId: new("x"), Tags: []ssm.Tag{}}
	if err := awserr.From(tag.Validate()); err.Code != "InvalidResourceType" || !strings.HasPrefix(err.Message, "1 validation error detected: Value 'Car' at 'resourceType'") {
		t.Errorf("unknown resource type: %v, want InvalidResourceType", err)
	}
	long := &ssm.GetPatchBaselineInput{BaselineId: new(strings.Repeat("x", 1<<20))}
	if err := awserr.From(long.Validate()); len(err.Message) > 4096 {
		t.Errorf("message repeats %d bytes of a refused value", len(err.Message))
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{`^(?!\s*$).+`, "a", true},
		{`^(?!\s*$).+`, " ", false},
		{`^(?!\s*$).+`, "", false},
		{`^(?!\s*$).+`, "a\nb", false},
		{`^.{1,100000}$`, strings.Repeat("é", 100000), true},
		{`^.{1,100000}$`, strings.Repeat("é", 100001), false},
		{`[a-z]+`, "ab1", false},
		{`a|ab`, "ab", true},
		{`^[\u0009\u000A\u0020-\uD7FF]+$`, "\t é", true},
		{`^[\u0009\u0020-\u00FF]+$`, "\n", false},
	} {
		p := codec.Pattern{Text: tc.pattern}
		if err := p.Compile(); err != nil {
			t.Errorf("Compile(%s): %v", tc.pattern, err)
		}
		if got := p.Match(tc.value); got != tc.want {
			t.Errorf("%s matches %.20q = %v, want %v", tc.pattern, tc.value, got, tc.want)
		}
	}
}

func TestPager(t *testing.T) {
	p := codec.Pager{Key: []byte("0123456789abcdef0123456789abcdef")}
	in := &ssm.DescribePatchBaselinesInput{Filters: []ssm.PatchOrchestratorFilter{{Key: new("OWNER"), Values: []string{"Self"}}}}
	bind := codec.Binding{Operation: "DescribePatchBaselines", Account: "000000000001", Region: "us-east-1", Input: in}
	want := &codec.Cursor{Key: []string{"pb-1", ""}, AsOf: time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC)}
	token := p.Token(bind, *want)
	got, err := p.Cursor(bind, token)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatalf("Cursor = %v, %v (-want +got):\n%s", got, err, d)
	}
	again := *in
	again.NextToken, again.MaxResults = token, new(int64(7))
	bind.Input = &again
	if _, err := p.Cursor(bind, token); err != nil {
		t.Errorf("token of a question with another page size: %v, want none", err)
	}
	if c, err := p.Cursor(bind, nil); c != nil || err != nil {
		t.Errorf("Cursor(nil) = %v, %v", c, err)
	}
	for name, change := range map[string]func(b *codec.Binding, s *string){
		"operation": func(b *codec.Binding, _ *string) { b.Operation = "DescribePatchGroups" },
		"account":   func(b *codec.Binding, _ *string) { b.Account = "000000000002" },
		"region":    func(b *codec.Binding, _ *string) { b.Region = "eu-west-1" },
		"filters":   func(b *codec.Binding, _ *string) { b.Input = &ssm.DescribePatchBaselinesInput{} },
		"empty":     func(_ *codec.Binding, s *string) { *s = "" },
		"text":      func(_ *codec.Binding, s *string) { *s = "next" },
		"one_bit":   func(_ *codec.Binding, s *string) { *s = "B" + (*s)[1:] },
		"cut":       func(_ *codec.Binding, s *string) { *s = (*s)[:len(*s)-4] },
	} {
		b, s := bind, *token
		change(&b, &s)
		if c, err := p.Cursor(b, &s); !errors.Is(err, codec.ErrToken) {
			t.Errorf("token with another %s = %v, %v, want ErrToken", name, c, err)
		}
	}
}

func TestForm(t *testing.T) {
	var op codec.Operation
	for _, o := range sts.Table() {
		if o.Name == "AssumeRole" {
			op = o
		}
	}
	form, err := url.ParseQuery("Action=AssumeRole&RoleArn=arn%3Aaws&RoleSessionName=s&DurationSeconds=900&Tags.member.1.Key=k&Tags.member.1.Value=v&Tags.member.2.Key=k2&TransitiveTagKeys.member.1=k&Unknown.member.1=x")
	if err != nil {
		t.Fatal(err)
	}
	in, err := op.DecodeForm(form)
	want := &sts.AssumeRoleInput{
		RoleArn: new("arn:aws"), RoleSessionName: new("s"), DurationSeconds: new(int64(900)), TransitiveTagKeys: []string{"k"},
		Tags: []sts.Tag{{Key: new("k"), Value: new("v")}, {Key: new("k2")}},
	}
	if d := cmp.Diff(want, in); err != nil || d != "" {
		t.Errorf("DecodeForm: %v (-want +got):\n%s", err, d)
	}
	if _, err := op.DecodeForm(url.Values{"DurationSeconds": {"x"}}); awserr.Code(err) != "MalformedQueryString" {
		t.Errorf("DurationSeconds=x: %v, want MalformedQueryString", err)
	}
	out := &sts.AssumeRoleOutput{Credentials: &sts.Credentials{AccessKeyId: new("A<K"), Expiration: codec.NewTime(time.Unix(1795310164, 0))}}
	got := string(op.XML(out, "id"))
	const text = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>A&lt;K</AccessKeyId><Expiration>2026-11-22T01:16:04Z</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></AssumeRoleResponse>`
	if got != text {
		t.Errorf("XML = %s, want %s", got, text)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"Name":"web","ApprovedPatches":["KB1"],"Sources":[{"Name":"s","Products":["*"],"Configuration":"c"}],"Tags":[{"Key":"k","Value":"v"}]}`,
		`{"ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"PRODUCT","Values":["x"]}]},"ApproveAfterDays":-1.0e1}]}}`,
		`{"X":[[[{}]]],"Name":"\ud83d\ude00"}`, ` null`, "{\"Name\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v ssm.CreatePatchBaselineInput
		if err := codec.Unmarshal(data, &v); err != nil {
			if awserr.Code(err) != "SerializationException" {
				t.Errorf("Unmarshal(%q) = %v, want SerializationException", data, err)
			}
			return
		}
		if len(strings.TrimSpace(string(data))) > 0 && !json.Valid(data) {
			t.Errorf("Unmarshal(%q) takes what is not JSON", data)
		}
		text := codec.Marshal(&v)
		var again ssm.CreatePatchBaselineInput
		if err := codec.Unmarshal(text, &again); err != nil || !cmp.Equal(v, again) {
			t.Errorf("%q prints as %s, which reads differently: %v %s", data, text, err, cmp.Diff(v, again))
		}
		_ = v.Validate()
	})
}

func FuzzPageToken(f *testing.F) {
	p := codec.Pager{Key: []byte("0123456789abcdef")}
	b := codec.Binding{Operation: "X"}
	good := *p.Token(b, codec.Cursor{Key: []string{"a", "b"}})
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := p.Cursor(b, &s); err == nil && *p.Token(b, *c) != s {
			t.Errorf("token %q was not made here but reads as %+v", s, c)
		}
	})
}
