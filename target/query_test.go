package target_test

import (
	"strings"
	"testing"

	"oakum.dev/target"
)

func TestQuery(t *testing.T) {
	q, err := target.ParseQuery(`{"ResourceTypeFilters":["AWS::SSM::ManagedInstance"],"TagFilters":[{"Key":"Stage","Values":["Test","Prod"]},{"Key":"Owner"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		tags map[string]string
		want bool
	}{
		{"all", map[string]string{"Stage": "Prod", "Owner": ""}, true},
		{"other_value", map[string]string{"Stage": "prod", "Owner": "x"}, false},
		{"one_is_missing", map[string]string{"Stage": "Prod"}, false},
	} {
		if got := q.Matches(tc.tags); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if !q.HasType("AWS::SSM::ManagedInstance") || q.HasType("AWS::SSM::Document") {
		t.Error("types")
	}
	for _, text := range []string{
		``, `[]`, `{}`, `{"ResourceTypeFilters":[]}`, `{"ResourceTypeFilters":["EC2"]}`, `{"ResourceTypeFilters":["AWS::AllSupported"],"Colour":1}`,
		`{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Values":["x"]}]}`, `{"ResourceTypeFilters":["AWS::AllSupported"]} {}`,
		`{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"k","Values":[` + strings.Repeat(`"v",`, 20) + `"v"]}]}`,
	} {
		if _, err := target.ParseQuery(text); err == nil {
			t.Errorf("ParseQuery(%.80s) was taken", text)
		}
	}
}
