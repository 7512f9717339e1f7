package codec_test

import (
	"maps"
	"net/url"
	"testing"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/resourcegroups"
)

func operation(t *testing.T, name string) codec.Operation {
	t.Helper()
	for _, op := range resourcegroups.Table() {
		if op.Name == name {
			return op
		}
	}
	t.Fatalf("no operation %s", name)
	panic("unreachable")
}

func TestMatchPath(t *testing.T) {
	op := operation(t, "GetTags")
	for _, tc := range []struct {
		name, path string
		want       map[string]string // nil: no match
	}{
		{"escaped_slash_is_one_segment", "/resources/arn%3Aaws%3Aresource-groups%3A%3A%3Agroup%2Fa/tags", map[string]string{"Arn": "arn:aws:resource-groups:::group/a"}},
		{"behind_a_prefix", "/base/path/resources/x/tags", map[string]string{"Arn": "x"}},
		{"slash_at_the_end", "/resources/x/tags/", map[string]string{"Arn": "x"}},
		{"too_short", "/x/tags", nil},
		{"too_long", "/resources/x/tags/more", nil},
		{"open_slash", "/resources/group/a/tags", nil},
		{"empty", "/resources//tags", nil},
		{"not_an_escape", "/resources/%zz/tags", nil},
	} {
		got, ok := op.MatchPath(tc.path)
		if ok != (tc.want != nil) || ok && !maps.Equal(got, tc.want) {
			t.Errorf("%s: MatchPath(%s) = %v, %v, want %v", tc.name, tc.path, got, ok, tc.want)
		}
	}
}

func TestDecodeREST(t *testing.T) {
	op := operation(t, "ListGroups")
	in, err := op.DecodeREST([]byte(`{"MaxResults":3,"Filters":[{"Name":"resource-type","Values":["AWS::SSM::Document"]}]}`), nil, url.Values{"maxResults": {"7"}, "nextToken": {"abc"}})
	if err != nil {
		t.Fatal(err)
	}
	if g := in.(*resourcegroups.ListGroupsInput); *g.MaxResults != 7 || *g.NextToken != "abc" || len(g.Filters) != 1 {
		t.Errorf("input %+v: the query string does not win over the body", g)
	}
	if in, err = op.DecodeREST(nil, nil, nil); err != nil || in.(*resourcegroups.ListGroupsInput).MaxResults != nil {
		t.Errorf("no body: %v, %v", in, err)
	}
	for _, n := range []string{"x", "", "1.5", "99999999999"} {
		if _, err := op.DecodeREST(nil, nil, url.Values{"maxResults": {n}}); awserr.Code(err) != "SerializationException" {
			t.Errorf("maxResults=%s: %v", n, err)
		}
	}
	tag := operation(t, "Tag")
	in, err = tag.DecodeREST([]byte(`{"Arn":"other","Tags":{"a":"b"}}`), map[string]string{"Arn": "mine"}, nil)
	if g := in.(*resourcegroups.TagInput); err != nil || *g.Arn != "mine" || g.Tags["a"] != "b" {
		t.Errorf("input %+v, %v: the path does not win over the body", g, err)
	}
}
