package ssm_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"

	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// agentOnly are operations that the public model does not have.
var agentOnly = []string{
	"GetManifest", "ListInstanceAssociations", "PutConfigurePackageResult", "RegisterManagedInstance",
	"RequestManagedInstanceRoleToken", "UpdateInstanceAssociationStatus", "UpdateInstanceInformation",
	"UpdateManagedInstancePublicKey",
}

// knownMissing are members and values of AWS that the frozen model lacks and that belong to what is not
// served: just-in-time node access and connectors to other clouds.
var knownMissing = []string{
	"DocumentType=AutoApprovalPolicy", "DocumentType=ManualApprovalPolicy",
	"ResourceTypeForTagging=CloudConnector", "SourceType=Microsoft.Compute/virtualMachines",
}

// TestMembersLikeSDK fails when AWS's own SDK knows a member of a served operation that our shapes lack.
func TestMembersLikeSDK(t *testing.T) {
	client := reflect.TypeFor[*sdk.Client]()
	missing := map[string]bool{}
	for _, op := range ssm.Table() {
		if slices.Contains(agentOnly, op.Name) {
			continue
		}
		m, ok := client.MethodByName(op.Name)
		if !ok {
			t.Errorf("the SDK has no operation %s", op.Name)
			continue
		}
		compare(reflect.TypeOf(op.NewInput()).Elem(), m.Type.In(2).Elem(), op.Name+"Input", map[reflect.Type]bool{}, missing)
		compare(reflect.TypeOf(op.NewOutput()).Elem(), m.Type.Out(0).Elem(), op.Name+"Output", map[reflect.Type]bool{}, missing)
	}
	for k := range missingValues(t) {
		missing[k] = true
	}
	for _, k := range knownMissing {
		if !missing[k] {
			t.Errorf("%s is listed as missing but is there", k)
		}
		delete(missing, k)
	}
	for _, k := range codec.Sorted(missing) {
		t.Errorf("AWS has %s, our shapes do not: add it to internal/gen/api/additions/ssm.json", k)
	}
}

// enums are the enumerations that compare has met, with the SDK's values.
var enums = map[string][]string{}

var enumFunc = regexp.MustCompile(`func (\w+)Values\(\) \[\]string {\s*return \[\]string{(.*)}`)

// missingValues returns the values of the SDK's enumerations that the generated ones lack.
func missingValues(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("zz_enums.go")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{}
	for _, m := range enumFunc.FindAllStringSubmatch(string(text), -1) {
		ours[m[1]] = m[2]
	}
	if len(ours) == 0 {
		t.Fatal("no enumeration found in zz_enums.go")
	}
	out := map[string]bool{}
	for name, values := range enums {
		list, ok := ours[name]
		if !ok {
			continue
		}
		for _, v := range values {
			if !strings.Contains(list, `"`+v+`"`) {
				out[name+"="+v] = true
			}
		}
	}
	return out
}

func compare(ours, theirs reflect.Type, path string, seen map[reflect.Type]bool, missing map[string]bool) {
	for theirs.Kind() == reflect.Pointer || theirs.Kind() == reflect.Slice || theirs.Kind() == reflect.Map {
		theirs = theirs.Elem()
	}
	for ours.Kind() == reflect.Pointer || ours.Kind() == reflect.Slice || ours.Kind() == reflect.Map {
		ours = ours.Elem()
	}
	if m, ok := theirs.MethodByName("Values"); ok && theirs.Kind() == reflect.String {
		var values []string
		for list, i := m.Func.Call([]reflect.Value{reflect.Zero(theirs)})[0], 0; i < list.Len(); i++ {
			values = append(values, list.Index(i).String())
		}
		enums[theirs.Name()] = values
	}
	if theirs.Kind() != reflect.Struct || ours.Kind() != reflect.Struct || seen[theirs] || strings.HasPrefix(theirs.PkgPath(), "time") {
		return
	}
	seen[theirs] = true
	for i := range theirs.NumField() {
		f := theirs.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		mine, ok := ours.FieldByName(f.Name)
		if !ok {
			missing[ours.Name()+"."+f.Name] = true
			continue
		}
		compare(mine.Type, f.Type, path+"."+f.Name, seen, missing)
	}
}
